/*
 * posts.c - posted writes; see posts.h for what they promise.
 *
 * Locks: a client's posts.lock is held while its writes are made, so it comes before everything that a stack locks, and nothing below the front calls up to it. While it is held the kernel
 * is told nothing: whatever the kernel door lets the kernel cache of a node with posters it announces first and reads afterwards, behind this lock.
 */
#include "posts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

#include "host.h"
#include "offences.h"
#include "queue.h"
#include "regions.h"
#include "stamps.h"

#define POSTERS_MAX 256u /* clients with grants at a time; others send requests */
#define TICK_NS 200000000u
#define IDLE_TICKS 10u
#define READERS_MAX 16u
#define COMPLAINTS_MAX 20u /* in the log, of one client */
#define ROUNDS_MAX 64u
#define RUN_RECORDS 256u
#define RUN_BYTES (1u << 20)
#define CACHED_BITS 7u /* attributes, pages, entries: door_internal.h */

/* Clients whose rings may hold something: {generation:32, index + 1:32}. */
static _Atomic uint64_t posters[POSTERS_MAX];
static _Atomic uint32_t poster_count; /* futex of the ticker */
static pthread_once_t ticker_once = PTHREAD_ONCE_INIT;
static struct { _Atomic uint64_t writes, bytes, runs, errors, taken_back; } counts;

static struct dc_post_ring *ring_of(struct dc_client_record *client) {
	return dc_arena_post(client->arena);
}

/* Unwrapped: the front would look for posters and find us. */
static struct dc_libservice *stack_root(struct dc_instance *instance) {
	return instance->front.state ? instance->front.state : instance->root;
}

/* ---- making what was posted ------------------------------------------------------------------------------------------------------------------------ */
/* Neighbouring writes of one handle, made by one call. */
struct run {
	uint64_t handle, offset;
	size_t bytes;
	unsigned count;
	struct iovec iov[RUN_RECORDS];
};

static int make(struct dc_client_record *client, struct dc_worker *worker, struct dc_handle *handle, struct run *run) {
	struct dc_node *node = atomic_load_explicit(&handle->node, memory_order_acquire);
	if (handle->flags & O_PATH || (handle->flags & O_ACCMODE) == O_RDONLY || !S_ISREG(node->type)) return -EBADF;
	if (run->offset > INT64_MAX || run->offset + run->bytes > INT64_MAX) return -EFBIG;
	struct dc_context context = {.cred = &client->cred, .pid = client->pid, .worker = worker};
	off_t offset = (off_t)run->offset;
	atomic_store_explicit(&node->core.readers, 0, memory_order_relaxed);
	uint64_t start = dc_ticks();
	ssize_t result = DC_FILE_CALL(stack_root(handle->instance), write, &context, node, run->iov, (int)run->count, &offset, 0);
	uint64_t each = (dc_ticks() - start) * 1000 / dc_ticks_per_us() / run->count;
	for (unsigned i = 0; i < run->count; i++) dc_count(handle->instance, DC_DOOR_LIBRARY, DC_COUNTED_write, result < 0 ? result : (int64_t)run->iov[i].iov_len, each);
	return result < 0 ? (int)result : (size_t)result < run->bytes ? -ENOSPC : 0;
}

static void make_run(struct dc_client_record *client, struct dc_worker *worker, struct run *run) {
	if (!run->count) return;
	int error;
	struct dc_handle *handle = dc_handle_get(client, run->handle, &error);
	if (handle) error = make(client, worker, handle, run);
	if (error) {
		atomic_fetch_add(&counts.errors, 1);
		if (handle) atomic_store(&handle->post_error, error);
		if (client->complaints++ < COMPLAINTS_MAX)
			dc_log(LOG_WARNING, "%zu bytes that %s (%d) had posted at %llu could not be written: %s", run->bytes, client->command, (int)client->pid,
			(unsigned long long)run->offset, strerror(-error));
	}
	if (handle) dc_handle_put(handle);
	atomic_fetch_add_explicit(&counts.writes, run->count, memory_order_relaxed);
	atomic_fetch_add_explicit(&counts.bytes, run->bytes, memory_order_relaxed);
	atomic_fetch_add_explicit(&counts.runs, 1, memory_order_relaxed);
	run->count = 0;
	run->bytes = 0;
}

static bool joins(const struct run *run, const struct dc_post_record *record) {
	return run->count && run->count < RUN_RECORDS && run->handle == record->handle && run->offset + run->bytes == record->offset && run->bytes + record->bytes <= RUN_BYTES;
}

/* Copied once and checked: the client may write it at any time. */
static bool read_record(struct dc_arena *arena, uint64_t at, uint64_t until, struct dc_post_record *record) {
	uint32_t place = (uint32_t)(at & (DC_POST_BYTES - 1));
	memcpy(record, dc_arena_posts(arena) + place, sizeof *record);
	__asm__ volatile("" ::: "memory");
	uint32_t kind = atomic_load_explicit(&record->kind, memory_order_relaxed);
	return kind >= DC_POST_WRITE && kind <= DC_POST_VOID && record->length >= DC_POST_ALIGN && record->length % DC_POST_ALIGN == 0 && record->length <= until - at && record->length <= DC_POST_BYTES - place &&
		record->bytes <= record->length - DC_POST_ALIGN;
}

static void drop_grant(struct dc_handle *handle) {
	struct dc_node *node = atomic_load(&handle->node);
	DC_FILE_CALL(stack_root(handle->instance), permit, node);
	atomic_fetch_sub(&node->core.posters, 1);
	handle->grant = 0;
}

static void drop_grants(struct dc_posts *posts) {
	while (posts->granted) {
		struct dc_handle *handle = posts->granted;
		posts->granted = handle->granted_next;
		drop_grant(handle);
	}
}

/* A ring that makes no sense is never looked at again: generation 0. */
static void cut_off(struct dc_client_record *client) {
	dc_client_offends(client, DC_OFFENCE_MEMORY, "nonsense in its post ring");
	client->posts.generation = 0;
	atomic_store(&ring_of(client)->generation, 0);
	drop_grants(&client->posts);
}

/* Everything up to `tail`; posts.lock held. */
static void make_until(struct dc_client_record *client, struct dc_worker *worker, uint64_t tail) {
	struct dc_post_ring *ring = ring_of(client);
	struct dc_posts *posts = &client->posts;
	struct run run = {0};
	if (tail - posts->head > DC_POST_BYTES) {
		cut_off(client);
		return;
	}
	while (posts->head != tail) {
		struct dc_post_record record;
		if (!read_record(client->arena, posts->head, tail, &record)) {
			make_run(client, worker, &run);
			cut_off(client);
			return;
		}
		unsigned char *at = dc_arena_posts(client->arena) + (posts->head & (DC_POST_BYTES - 1));
		bool current = record.generation == posts->generation, write = atomic_load_explicit(&record.kind, memory_order_relaxed) == DC_POST_WRITE;
		if (!joins(&run, &record) || !current || !write) make_run(client, worker, &run);
		if (!current) atomic_store_explicit(&((struct dc_post_record *)at)->kind, DC_POST_VOID, memory_order_relaxed);
		if (current && write && record.bytes) {
			if (!run.count) run = (struct run){.handle = record.handle, .offset = record.offset};
			run.iov[run.count++] = (struct iovec){at + sizeof record, record.bytes};
			run.bytes += record.bytes;
		}
		posts->head += record.length;
		if (!run.count) atomic_store_explicit(&ring->head, posts->head, memory_order_release);
	}
	make_run(client, worker, &run);
	atomic_store_explicit(&ring->head, posts->head, memory_order_release);
}

static void make_all(struct dc_client_record *client, struct dc_worker *worker) {
	if (client->posts.generation) make_until(client, worker, atomic_load_explicit(&ring_of(client)->tail, memory_order_seq_cst));
}

static bool is_empty(struct dc_client_record *client) {
	return atomic_load_explicit(&ring_of(client)->tail, memory_order_seq_cst) == atomic_load_explicit(&ring_of(client)->head, memory_order_relaxed);
}

void dc_posts_lock(struct dc_client_record *client) {
	struct dc_posts *posts = &client->posts;
	if (pthread_mutex_trylock(&posts->lock) == 0) return;
	atomic_fetch_add(&posts->wanted, 1);
	pthread_mutex_lock(&posts->lock);
	atomic_fetch_sub(&posts->wanted, 1);
}

void dc_posts_drain(struct dc_client_record *client, struct dc_worker *worker) {
	struct dc_posts *posts = &client->posts;
	if (is_empty(client)) return; /* a client that lies about its head fools itself */
	dc_posts_lock(client);
	make_all(client, worker);
	pthread_mutex_unlock(&posts->lock);
}

/* It holds something, and nobody waits for the lock. */
static bool is_free_to_make(struct dc_client_record *client) {
	return !is_empty(client) && !atomic_load(&client->posts.wanted);
}

/* The ring has something new since it was last rung for, or the client rings for nothing. */
bool dc_posts_rung(struct dc_client_record *client, struct dc_worker *worker) {
	uint64_t tail = atomic_load_explicit(&ring_of(client)->tail, memory_order_seq_cst);
	uint64_t before = __atomic_exchange_n(&client->posts_rung, tail, __ATOMIC_RELAXED);
	for (unsigned round = 0; round < ROUNDS_MAX && is_free_to_make(client); round++) {
		if (pthread_mutex_trylock(&client->posts.lock)) break; /* another worker is at it, and looks again when it has let go */
		atomic_store_explicit(&ring_of(client)->draining, 1, memory_order_relaxed);
		for (; round < ROUNDS_MAX && is_free_to_make(client); round++) make_all(client, worker);
		atomic_store_explicit(&ring_of(client)->draining, 0, memory_order_seq_cst); /* then the look: pairs with the client's, behind its record */
		pthread_mutex_unlock(&client->posts.lock);
	}
	return tail != before;
}

/* ---- grants ---------------------------------------------------------------------------------------------------------------------------------------- */
void dc_posts_take_back_locked(struct dc_client_record *client) {
	struct dc_posts *posts = &client->posts;
	struct dc_post_ring *ring = ring_of(client);
	if (!posts->generation) return;
	uint32_t before = posts->generation, next = before == UINT32_MAX ? 1 : before + 1;
	atomic_store_explicit(&ring->generation, next, memory_order_seq_cst); /* then the look: pairs with dc_client_post_end */
	make_until(client, NULL, atomic_load_explicit(&ring->tail, memory_order_seq_cst));
	if (posts->generation) posts->generation = next;
	atomic_store_explicit(&ring->sealed, next, memory_order_release);
	drop_grants(posts); /* only now: until here whoever looks at a node waits for us */
	atomic_fetch_add_explicit(&counts.taken_back, 1, memory_order_relaxed);
}

void dc_posts_take_back(struct dc_client_record *client) {
	dc_posts_lock(client);
	dc_posts_take_back_locked(client);
	pthread_mutex_unlock(&client->posts.lock);
}

static void unlist(struct dc_client_record *client) {
	uint64_t entry = (uint64_t)client->generation << 32 | (client->index + 1);
	for (unsigned i = 0; i < POSTERS_MAX && client->posts.listed; i++) {
		uint64_t seen = entry;
		if (!atomic_compare_exchange_strong(&posters[i], &seen, 0)) continue;
		client->posts.listed = false;
		atomic_fetch_sub(&poster_count, 1);
	}
}

static void unlock_poster(struct dc_client_record *client) {
	pthread_mutex_unlock(&client->posts.lock);
	dc_client_put(client); /* behind it: its end takes the lock */
}

/*
 * A listed client, its posts.lock held; NULL: there is none. One that is gone and has users left, or is being torn down, is one of them until dc_posts_end has made what it was acknowledged: an entry
 * goes under the lock alone, and until then the arena is mapped.
 */
static struct dc_client_record *lock_poster(unsigned place) {
	uint64_t entry = atomic_load(&posters[place]);
	struct dc_client_record *client = entry ? dc_client_hold((uint32_t)entry - 1) : NULL;
	if (!client) return NULL;
	dc_posts_lock(client);
	if (atomic_load(&posters[place]) == entry) return client;
	unlock_poster(client);
	return NULL;
}

static void tick(struct dc_client_record *client) {
	struct dc_posts *posts = &client->posts;
	if (!is_empty(client)) {
		posts->idle_ticks = 0;
		make_all(client, NULL);
	} else if (++posts->idle_ticks >= IDLE_TICKS) {
		dc_posts_take_back_locked(client);
		unlist(client);
	}
}

/* Sleeps for good while nobody has a grant: an idle pool uses no core. */
static void *ticker(void *unused) {
	pthread_setname_np(pthread_self(), "posts");
	for (;;) {
		if (atomic_load(&poster_count) == 0) dc_futex_wait(&poster_count, 0, 0);
		struct timespec pause = {.tv_nsec = TICK_NS};
		nanosleep(&pause, NULL);
		for (unsigned i = 0; i < POSTERS_MAX; i++) {
			struct dc_client_record *client = lock_poster(i);
			if (!client) continue;
			tick(client);
			unlock_poster(client);
		}
	}
	return NULL;
}

static void start_ticker(void) {
	pthread_t thread;
	if (pthread_create(&thread, NULL, ticker, NULL) == 0) pthread_detach(thread);
}

static bool list(struct dc_client_record *client) {
	if (client->posts.listed) return true;
	pthread_once(&ticker_once, start_ticker);
	for (unsigned i = 0; i < POSTERS_MAX; i++) {
		uint64_t none = 0;
		if (!atomic_compare_exchange_strong(&posters[i], &none, (uint64_t)client->generation << 32 | (client->index + 1))) continue;
		client->posts.listed = true;
		client->posts.idle_ticks = 0;
		if (atomic_fetch_add(&poster_count, 1) == 0) dc_futex_wake(&poster_count, 1);
		return true;
	}
	return false;
}

uint32_t dc_posts_grant(struct dc_handle *handle, struct dc_node *node) {
	if (!handle->instance->front.state || handle->flags & (O_APPEND | O_SYNC | O_DSYNC | O_DIRECT) || !S_ISREG(node->type)) return 0;
	struct dc_client_record *client = handle->client;
	struct dc_posts *posts = &client->posts;
	dc_posts_lock(client);
	uint32_t grant = handle->grant;
	if (!grant && posts->generation && list(client)) {
		atomic_fetch_add(&node->core.posters, 1); /* then the look: pairs with the kernel door's announcing, then looking here */
		if (atomic_load(&node->core.kernel_cached) & CACHED_BITS) {
			atomic_fetch_sub(&node->core.posters, 1);
		} else {
			DC_FILE_CALL(stack_root(handle->instance), withhold, node); /* a posted write is not in the page yet, */
			dc_stamps_moved(handle->instance, node);                    /* nor in the attributes */
			grant = handle->grant = posts->generation;
			handle->granted_next = posts->granted;
			posts->granted = handle;
		}
	}
	pthread_mutex_unlock(&posts->lock);
	return grant;
}

int dc_posts_error(struct dc_handle *handle) {
	return atomic_load_explicit(&handle->post_error, memory_order_relaxed) ? atomic_exchange(&handle->post_error, 0) : 0;
}

int dc_posts_closed(struct dc_handle *handle) {
	struct dc_posts *posts = &handle->client->posts;
	if (!handle->instance->front.state) return 0;
	dc_posts_lock(handle->client);
	for (struct dc_handle **link = &posts->granted; handle->grant && *link; link = &(*link)->granted_next) {
		if (*link != handle) continue;
		*link = handle->granted_next;
		drop_grant(handle);
		break;
	}
	pthread_mutex_unlock(&posts->lock);
	return dc_posts_error(handle);
}

void dc_posts_begin(struct dc_client_record *client) {
	struct dc_posts *posts = &client->posts;
	struct dc_post_ring *ring = ring_of(client);
	uint32_t generation = atomic_load(&ring->generation);
	posts->generation = generation ? generation : 1;
	posts->head = atomic_load(&ring->head);
	posts->granted = NULL;
	posts->listed = false;
	posts->idle_ticks = 0;
	atomic_store(&ring->lease_epoch, dc_regions_open() ? (uint32_t)dc_epoch() : 0); /* before any door of this service is open */
	atomic_store(&ring->sealed, posts->generation);
	atomic_store(&ring->draining, 0);
	atomic_store(&ring->generation, posts->generation);
}

void dc_posts_end(struct dc_client_record *client) {
	dc_posts_lock(client);
	dc_posts_take_back_locked(client);
	unlist(client);
	pthread_mutex_unlock(&client->posts.lock);
}

void dc_posts_counts(struct dc_posts_counts *out) {
	*out = (struct dc_posts_counts){atomic_load(&counts.writes), atomic_load(&counts.bytes), atomic_load(&counts.runs), atomic_load(&counts.errors), atomic_load(&counts.taken_back)};
}

/* ---- the front: what both doors call in place of the stack's root ---------------------------------------------------------------------------------- */
static void drain_all(struct dc_worker *worker) {
	for (unsigned i = 0; i < POSTERS_MAX; i++) {
		struct dc_client_record *client = lock_poster(i);
		if (!client) continue;
		make_all(client, worker);
		unlock_poster(client);
	}
}

static void take_back_from(struct dc_client_record *client, const struct dc_node *node) {
	struct dc_handle *handle = client->posts.granted;
	while (handle && atomic_load(&handle->node) != node) handle = handle->granted_next;
	if (handle) dc_posts_take_back_locked(client);
}

static void take_back_all(const struct dc_node *node) {
	for (unsigned i = 0; i < POSTERS_MAX; i++) {
		struct dc_client_record *client = lock_poster(i);
		if (!client) continue;
		take_back_from(client, node);
		unlock_poster(client);
	}
}

bool dc_posts_looked_at(struct dc_node *node) {
	if (atomic_fetch_add_explicit(&node->core.readers, 1, memory_order_relaxed) < READERS_MAX) return false;
	take_back_all(node); /* it is read now, and no longer written */
	return true;
}

/* Nobody with a grant, nothing to do: one load. */
static inline void settle(struct dc_context *context, struct dc_node *node) {
	if (__builtin_expect(atomic_load_explicit(&node->core.posters, memory_order_seq_cst) == 0, 1)) return;
	if (!context->worker) {
		take_back_all(node);
		return;
	}
	drain_all(context->worker);
}

#define BELOW(operation, ...) DC_FILE_CALL((struct dc_libservice *)self->state, operation, __VA_ARGS__)
#define SELF struct dc_libservice *self, struct dc_context *context

static int front_lookup(SELF, struct dc_node *parent, const char *path, size_t length, struct dc_node **node, struct dc_attr *attr, size_t *consumed) {
	int result = BELOW(lookup, context, parent, path, length, node, attr, consumed);
	if (result || !attr || !atomic_load_explicit(&(*node)->core.posters, memory_order_seq_cst)) return result;
	settle(context, *node);
	result = BELOW(getattr, context, *node, attr);
	if (result) {
		BELOW(forget, *node, 1);
		*node = NULL;
	}
	return result;
}
static int front_getattr(SELF, struct dc_node *node, struct dc_attr *attr) {
	settle(context, node);
	return BELOW(getattr, context, node, attr);
}
static int front_setattr(SELF, struct dc_node *node, const struct dc_attr *set, uint32_t mask, struct dc_attr *attr) {
	settle(context, node);
	return BELOW(setattr, context, node, set, mask, attr);
}
static ssize_t front_read(SELF, struct dc_node *node, const struct iovec *iov, int iovcnt, off_t offset, uint32_t flags) {
	if (atomic_load_explicit(&node->core.posters, memory_order_seq_cst) && !dc_posts_looked_at(node)) settle(context, node);
	return BELOW(read, context, node, iov, iovcnt, offset, flags);
}
static ssize_t front_write(SELF, struct dc_node *node, const struct iovec *iov, int iovcnt, off_t *offset, uint32_t flags) {
	settle(context, node);
	return BELOW(write, context, node, iov, iovcnt, offset, flags);
}
static int front_fsync(SELF, struct dc_node *node, bool data_only) {
	settle(context, node);
	return BELOW(fsync, context, node, data_only);
}
static int front_fallocate(SELF, struct dc_node *node, int mode, off_t offset, off_t length) {
	settle(context, node);
	return BELOW(fallocate, context, node, mode, offset, length);
}
static off_t front_seek(SELF, struct dc_node *node, off_t offset, int whence) {
	settle(context, node);
	return BELOW(seek, context, node, offset, whence);
}
static ssize_t front_copy(SELF, struct dc_node *from, off_t from_offset, struct dc_node *to, off_t to_offset, size_t length) {
	settle(context, from);
	settle(context, to);
	return BELOW(copy, context, from, from_offset, to, to_offset, length);
}
/* syncfs: of everybody. */
static int front_sync(SELF) {
	drain_all(context->worker);
	return BELOW(sync, context);
}

struct dc_libservice *dc_posts_wrap(struct dc_instance *instance) {
	struct dc_libservice *root = instance->root, *front = &instance->front;
	*front = *root;
	front->state = root;
	instance->front_file = *root->file;
	front->file = &instance->front_file;
#define X(operation) \
	instance->front_file.operation.call = front_##operation; \
	instance->front_file.operation.self = front;
	X(lookup) X(getattr) X(setattr) X(read) X(write) X(fsync) X(fallocate) X(seek) X(copy) X(sync)
#undef X
	return front;
}
