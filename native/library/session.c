/*
 * session.c - this process's attachment to the service, made at the first need and again after fork, exec and a change of ids.
 *
 * A fork, however it was made, is noticed by a page that the kernel clears in the child (MADV_WIPEONFORK): an attachment is the parent's unless that page says otherwise.
 * An attachment that was left may still be in use by a call in progress, so it is kept (a few of them) and unmapped when it is idle.
 */
#include "internal.h"

#include <dlfcn.h>
#include <signal.h>
#include <sys/mman.h>

#include "dispatch.h"
#include "queue.h"

enum { NONE, ATTACHING, READY, REFUSED };

struct state { /* one page, cleared by the kernel in a forked child */
	_Atomic uint32_t phase;
	_Atomic uint32_t attaching; /* thread id */
	_Atomic uint64_t retry_ns;
	_Atomic uint32_t life;      /* 0: nobody asked yet */
	_Atomic uint32_t first;     /* calls that were left to the kernel door: early.c */
};

static struct state *state;
static struct dc_client clients[DC_SESSIONS];
static _Atomic(struct dc_client *) current;
static _Atomic bool was_attached;
static _Atomic uint64_t early[DC_UNCARRIED_COUNT]; /* counted before the attach */
static const char *const uncarried_names[] = {
#define X(id, text) text,
	DC_UNCARRIED(X)
#undef X
};
_Static_assert(DC_UNCARRIED_COUNT <= DC_UNCARRIED_MAX, "counters fit the arena");

/* Slots of this thread's calls in progress: more than one in a signal handler, or when a handler left by longjmp. */
#define NESTED 24 /* a long append takes GATHER_MAX of transfer.c */
#define NO_SLOT UINT32_MAX /* about to take one */
static _Atomic uint32_t threads;
static TLS struct {
	uint32_t tid;
	int hint;
	unsigned depth;
	struct {
		struct dc_client *client;
		uint32_t slot;
		uintptr_t frame;
	} call[NESTED];
} thread = {.hint = -1};

/* Not sanitized: the sanitizer's own start calls it, before there is shadow memory. */
__attribute__((no_sanitize("address"))) void *dc_next(_Atomic(void *) *cache, const char *name) {
	extern long dc_missing(void);
	void *found = dc_dispatching ? dc_direct(name) : NULL;
	if (!found) found = dlsym(RTLD_NEXT, name);
	if (!found) found = (void *)dc_missing;
	if (!dc_started) return found; /* kept only once it is known whether dispatch is on */
	atomic_store_explicit(cache, found, memory_order_relaxed);
	return found;
}

long dc_missing(void);
long dc_missing(void) {
	errno = ENOSYS;
	return -1;
}

void dc_session_init(void) {
	long page = dc_raw6(SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	static struct state fallback;
	state = page < 0 && page > -4096 ? &fallback : (struct state *)page;
	if (state != &fallback) dc_raw6(SYS_madvise, page, 4096, MADV_WIPEONFORK, 0, 0, 0);
}

uint32_t dc_tid(void) {
	if (!thread.tid) thread.tid = k_gettid();
	return thread.tid;
}

bool dc_session_was_attached(void) {
	return atomic_load_explicit(&was_attached, memory_order_relaxed);
}

uint32_t dc_session_life(void) {
	static _Atomic uint32_t lives; /* of this process and its forebears */
	uint32_t life = state ? atomic_load_explicit(&state->life, memory_order_relaxed) : 1;
	if (life) return life;
	uint32_t next = atomic_fetch_add(&lives, 1) + 1;
	return atomic_compare_exchange_strong(&state->life, &life, next) ? next : life;
}

/* This thread's calls are in progress in its name: a signal handler forks on top of them. */
static bool is_in_call(const struct dc_client *client) {
	for (unsigned i = 0; i < thread.depth && i < NESTED; i++)
		if (thread.call[i].client == client) return client->arena != NULL;
	return false;
}

void dc_session_before_fork(struct dc_arena *copy[DC_SESSIONS]) {
	for (unsigned i = 0; i < DC_SESSIONS; i++) copy[i] = is_in_call(&clients[i]) ? dc_client_copy(&clients[i], dc_tid()) : NULL;
}

void dc_session_after_fork(struct dc_arena *copy[DC_SESSIONS]) {
	for (unsigned i = 0; i < DC_SESSIONS; i++) dc_client_drop_copy(copy[i]);
}

void dc_forked_child(struct dc_arena *copy[DC_SESSIONS]) {
	uint32_t before = thread.tid;
	thread.tid = 0;
	dc_descriptors_reset();
	dc_early_forked();
	struct dc_client *client = atomic_exchange(&current, NULL);
	/* Whatever the fork came on top of may have its address still. */
	for (unsigned i = 0; i < DC_SESSIONS; i++)
		if (clients[i].arena) dc_client_sever(&clients[i], copy ? copy[i] : NULL, before, dc_tid());
	for (unsigned i = 0; i < DC_UNCARRIED_COUNT; i++)
		if (atomic_load(&early[i])) atomic_store(&early[i], 0);
	if (client) dc_table_drop_all(false);
	dc_cwd_drop(false);
}

/* A process made by something that is not our fork(). */
static void notice_fork(void) {
	if (atomic_load(&current)) dc_forked_child(NULL);
}

/* The one that was left longest ago: another thread may be about to use the latest. */
static struct dc_client *spare_client(void) {
	static unsigned turn; /* by whoever attaches */
	for (unsigned i = 0; i < DC_SESSIONS; i++) {
		struct dc_client *client = &clients[turn++ % DC_SESSIONS];
		if (client == atomic_load(&current) || dc_client_in_use(client)) continue;
		if (client->arena) dc_client_detach(client);
		return client;
	}
	return NULL;
}

static void count_uncarried(struct dc_arena *arena, unsigned which, uint64_t count) {
	if (!atomic_load_explicit(&arena->uncarried[which].count, memory_order_relaxed)) strncpy(arena->uncarried[which].name, uncarried_names[which], DC_UNCARRIED_NAME);
	atomic_fetch_add_explicit(&arena->uncarried[which].count, count, memory_order_relaxed);
	atomic_store_explicit(&arena->uncarried_used, 1, memory_order_relaxed);
}

static void count_early(struct dc_client *client) {
	for (unsigned i = 0; i < DC_UNCARRIED_COUNT; i++)
		if (atomic_load_explicit(&early[i], memory_order_relaxed)) count_uncarried(client->arena, i, atomic_exchange(&early[i], 0));
}

static void attach_blocked(const uint64_t *before) {
	char path[sizeof dc_pool_dir + 16];
	strcpy(path, dc_pool_dir);
	strcat(path, "/attach.sock");
	struct dc_client *client = spare_client();
	int error = client ? dc_client_attach(client, path, before) : -ENOMEM;
	if (error) {
		dc_log(1, "cannot attach, the kernel door serves:", path);
		atomic_store(&state->retry_ns, dc_monotonic_ns() + (error == -EPERM ? UINT64_MAX / 4 : 500000000u));
		atomic_store(&state->phase, REFUSED);
		return;
	}
	count_early(client);
	dc_copying_attached(client);
	dc_log(2, "attached:", path);
	atomic_store(&was_attached, true);
	atomic_store_explicit(&current, client, memory_order_release);
	atomic_store_explicit(&state->phase, READY, memory_order_release);
}

/* A signal handler that left it by longjmp would leave this process attaching for good. */
static void attach(void) {
	uint64_t before = dc_signals_block();
	uint32_t none = NONE;
	if (atomic_compare_exchange_strong(&state->phase, &none, ATTACHING)) {
		notice_fork();
		atomic_store(&state->attaching, dc_tid());
		attach_blocked(&before);
		dc_futex_wake(&state->phase, INT_MAX);
	}
	dc_signals_restore(before);
}

static struct dc_client *session_slow(void) {
	if (!state) return NULL;
	for (;;) {
		uint32_t phase = atomic_load(&state->phase);
		if (phase == READY) return atomic_load(&current);
		if (phase == REFUSED) {
			if (dc_monotonic_ns() < atomic_load(&state->retry_ns)) return NULL;
			atomic_compare_exchange_strong(&state->phase, &phase, NONE);
			continue;
		}
		if (phase == ATTACHING) {
			if (atomic_load(&state->attaching) == dc_tid()) return NULL; /* a signal handler on top of the attach */
			dc_futex_wait(&state->phase, ATTACHING, 1000000);
			continue;
		}
		attach();
	}
}

struct dc_client *dc_session_if_ready(void) {
	return state && atomic_load_explicit(&state->phase, memory_order_acquire) == READY ? atomic_load_explicit(&current, memory_order_relaxed) : NULL;
}

struct dc_client *dc_session(void) {
	if (dc_borrowed) return NULL;
	struct dc_client *client = dc_session_if_ready();
	return client ? client : session_slow();
}

void dc_session_first(uint32_t count) { atomic_fetch_add_explicit(&state->first, count, memory_order_relaxed); }

bool dc_early(void) {
	if (!state || dc_borrowed || atomic_load_explicit(&state->phase, memory_order_relaxed) != NONE || atomic_load_explicit(&state->first, memory_order_relaxed) >= (uint32_t)dc_patience) return false;
	dc_session_first(1);
	dc_uncarried(DC_UNCARRIED_early);
	return true;
}

void dc_session_leave(void) {
	if (!dc_session_if_ready()) return;
	dc_table_drop_all(true);
	dc_cwd_drop(true);
	atomic_store(&current, NULL);
	atomic_store(&state->phase, NONE);
}

uint64_t dc_uncarried_count(enum dc_uncarried which, const char **name) {
	struct dc_client *client = dc_session_if_ready();
	*name = uncarried_names[which];
	return atomic_load(&early[which]) + (client && atomic_load(&client->arena->uncarried_used) ? atomic_load(&client->arena->uncarried[which].count) : 0);
}

void dc_uncarried(enum dc_uncarried which) {
	struct dc_client *client = dc_session_if_ready();
	if (client) count_uncarried(client->arena, which, 1);
	else atomic_fetch_add_explicit(&early[which], 1, memory_order_relaxed);
	dc_log(3, "not carried:", uncarried_names[which]);
}

static bool is_mine(struct dc_client *client, unsigned slot) {
	return client->arena && atomic_load_explicit(&client->use[slot].owner, memory_order_relaxed) == dc_tid();
}

/* A call that was left between taking a slot and writing down which: what bears this thread's name and is not listed. Whether none is left. */
static bool reap_unlisted(struct dc_client *client, unsigned listed) {
	bool done = true;
	for (unsigned slot = 0; slot < DC_REQUEST_SLOTS; slot++) {
		bool known = !is_mine(client, slot);
		for (unsigned i = 0; i < listed && !known; i++) known = thread.call[i].client == client && thread.call[i].slot == slot;
		if (!known && !dc_client_abandoned(client, slot)) done = false;
	}
	return done;
}

/*
 * Calls of this thread that are still on the list although a new one begins: interrupted by the signal handler that we are in, or left by its longjmp. The latter have frames
 * deeper than ours on the same stack; their slots are given back once answered.
 */
static void reap_abandoned(uintptr_t frame) {
	stack_t alternate;
	if (dc_raw6(SYS_sigaltstack, 0, (long)&alternate, 0, 0, 0, 0) < 0 || (alternate.ss_flags & SS_ONSTACK)) return;
	unsigned kept = 0, listed = thread.depth < NESTED ? thread.depth : NESTED;
	for (unsigned i = 0; i < listed; i++) {
		struct dc_client *client = thread.call[i].client;
		uint32_t slot = thread.call[i].slot;
		bool live = thread.call[i].frame > frame, gone;
		if (slot == NO_SLOT) gone = !live && reap_unlisted(client, listed);
		else gone = !live && (!is_mine(client, slot) || dc_client_abandoned(client, slot));
		if (!gone) thread.call[kept++] = thread.call[i];
	}
	thread.depth -= listed - kept;
}

/* Twice: a signal handler's calls between the two lines use the same entry. */
static void list_call(unsigned at, struct dc_client *client, uintptr_t frame) {
	if (at >= NESTED) return;
	thread.call[at].client = client;
	thread.call[at].slot = NO_SLOT;
	thread.call[at].frame = frame;
	atomic_signal_fence(memory_order_seq_cst);
}

static void fill_slot(struct dc_call *call, enum dc_operation operation, uint32_t instance, uint64_t handle) {
	struct dc_slot *slot = call->slot = dc_client_slot(call->client, call->index);
	call->buffer = dc_client_buffer(call->client, call->index);
	slot->operation = (uint16_t)operation;
	slot->flags = 0;
	slot->instance = instance;
	slot->handle = handle;
	slot->offset = 0;
	slot->length = 0;
	slot->path_length = 0;
	slot->path2_length = 0;
	slot->mode = 0;
	slot->mask = 0;
	slot->handle2 = 0;
}

void dc_call_begin(struct dc_call *call, struct dc_client *client, enum dc_operation operation, uint32_t instance, uint64_t handle) {
	uintptr_t frame = (uintptr_t)__builtin_frame_address(0);
	if (__builtin_expect(thread.depth != 0, 0)) reap_abandoned(frame);
	call->client = client;
	unsigned at = thread.depth;
	list_call(at, client, frame);
	thread.depth = at + 1;
	atomic_signal_fence(memory_order_seq_cst);
	list_call(at, client, frame);
	if (thread.hint < 0) thread.hint = (int)(atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed) % DC_REQUEST_SLOTS); /* the first thread's slot is the first */
	call->index = dc_client_acquire(client, thread.hint, dc_tid());
	if (at < NESTED) thread.call[at].slot = call->index;
	thread.hint = (int)call->index;
	fill_slot(call, operation, instance, handle);
}

bool dc_call_beside(struct dc_call *call, const struct dc_call *first) {
	unsigned at = thread.depth;
	if (at >= NESTED) return false;
	call->client = first->client;
	list_call(at, call->client, (uintptr_t)__builtin_frame_address(0));
	thread.depth = at + 1;
	atomic_signal_fence(memory_order_seq_cst);
	list_call(at, call->client, (uintptr_t)__builtin_frame_address(0));
	if (!dc_client_try_acquire(call->client, first->index, dc_tid(), &call->index)) {
		thread.depth = at;
		return false;
	}
	thread.call[at].slot = call->index;
	fill_slot(call, (enum dc_operation)first->slot->operation, first->slot->instance, first->slot->handle);
	return true;
}

void dc_call_start(struct dc_call *call) {
	dc_client_send(call->client, call->index);
}

/* A failed service may answer anything; an application must not see what is no errno. */
static int64_t plausible(int64_t result) {
	return result < -4095 && result != DC_RESULT_LEAVES && result != DC_RESULT_KERNEL ? -EIO : result;
}

int64_t dc_call_await(struct dc_call *call) {
	return plausible(dc_client_await(call->client, call->index));
}

int64_t dc_call_send(struct dc_call *call) {
	return plausible(dc_client_call(call->client, call->index));
}

void dc_call_leave(struct dc_call *call) {
	dc_client_leave(call->client, call->index);
	atomic_signal_fence(memory_order_seq_cst);
	if (thread.depth) thread.depth--;
}

void dc_call_end(struct dc_call *call) {
	/* In this order: who jumps away in between leaves an entry whose slot is no longer its own. */
	dc_client_release(call->client, call->index);
	atomic_signal_fence(memory_order_seq_cst);
	if (thread.depth) thread.depth--;
}

static bool counted_early(void) {
	for (unsigned i = 0; i < DC_UNCARRIED_COUNT; i++)
		if (i != DC_UNCARRIED_early && atomic_load_explicit(&early[i], memory_order_relaxed)) return true;
	return false;
}

void dc_stop_carrying(void) {
	if (!dc_active()) return;
	if (counted_early()) dc_session(); /* else nobody would learn what this process leaves to the kernel door, and why */
	dc_share_table(DC_SHARE_ALL);
	dc_table_drop_all(true);
	dc_cwd_drop(true);
	dc_activated = false;
}
