#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "mailbox.h"
#include "queue.h"
#include "raw.h"

#define raw dc_raw6 /* inside a preloaded library the libc names are our own wrappers */

static void raw_close(int fd) {
	raw(SYS_close, fd, 0, 0, 0, 0, 0);
}

#define QUICK_NS 50000000 /* an answer that takes longer waits for a service */

/* Signals that the caller has blocked, but for `mask`, come in while the answer is waited for long. */
static void wait_for_answer(int fd, const uint64_t *mask) {
	struct pollfd polled = {.fd = fd, .events = POLLIN};
	struct timespec quick = {.tv_nsec = QUICK_NS};
	if (!mask || raw(SYS_ppoll, (long)&polled, 1, (long)&quick, 0, 0, 0) != 0) return;
	while (raw(SYS_ppoll, (long)&polled, 1, 0, (long)mask, sizeof *mask, 0) == -EINTR) continue;
}

static int receive_answer(int fd, struct dc_attach_answer *answer, int descriptors[2]) {
	char control[CMSG_SPACE(2 * sizeof(int))];
	struct iovec iov = {.iov_base = answer, .iov_len = sizeof *answer};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	long received;
	do received = raw(SYS_recvmsg, fd, (long)&message, MSG_CMSG_CLOEXEC, 0, 0, 0);
	while (received == -EINTR);
	if (received < 0) return (int)received;
	struct cmsghdr *header = CMSG_FIRSTHDR(&message); /* whatever the answer says: what came with it is ours to close */
	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS && header->cmsg_len <= CMSG_LEN(2 * sizeof(int)))
		memcpy(descriptors, CMSG_DATA(header), header->cmsg_len - CMSG_LEN(0));
	if (received != sizeof *answer || answer->magic != DC_ATTACH_MAGIC) return -EPROTO;
	if (answer->error) return answer->error > 0 && answer->error < 4096 ? -answer->error : -EPROTO;
	return descriptors[0] >= 0 && (descriptors[1] >= 0) == (answer->queue_size != 0) ? 0 : -EPROTO;
}

static int hello(const char *socket_path, const uint64_t *mask, struct dc_attach_answer *answer, int descriptors[2]) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = strlen(socket_path);
	if (length >= sizeof address.sun_path) return -ENAMETOOLONG;
	memcpy(address.sun_path, socket_path, length + 1);
	long fd = raw(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, 0, 0, 0);
	if (fd < 0) return (int)fd;
	struct dc_attach_request request = {.magic = DC_ATTACH_MAGIC, .version = DC_LAYOUT_VERSION};
	long result;
	do result = raw(SYS_connect, fd, (long)&address, sizeof address, 0, 0, 0);
	while (result == -EINTR);
	if (result == 0) result = raw(SYS_sendto, fd, (long)&request, sizeof request, MSG_NOSIGNAL, 0, 0);
	if (result >= 0) wait_for_answer((int)fd, mask);
	if (result >= 0) result = receive_answer((int)fd, answer, descriptors);
	raw_close((int)fd);
	return (int)result;
}

/* Only memory that is as long as it must be: beyond the end of a file a mapping faults. */
static void *map(int fd, size_t size) {
	struct stat st;
	if (raw(SYS_fstat, fd, (long)&st, 0, 0, 0, 0) < 0 || !S_ISREG(st.st_mode) || st.st_size < 0 || (size_t)st.st_size < size) return NULL;
	long address = raw(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	return address < 0 && address > -4096 ? NULL : (void *)address;
}

void dc_client_init(struct dc_client *client, struct dc_queue *queue, struct dc_arena *arena, uint32_t index, uint32_t generation) {
	memset(client, 0, sizeof *client);
	client->queue = queue;
	client->arena = arena;
	client->mailbox = &arena->mailbox[DC_MAILBOX_PLACE(index)];
	client->worker_cpu = queue ? &queue->board.worker_cpu : &client->mailbox->worker_cpu;
	client->spin_ns = queue ? &queue->spin_ns : &client->mailbox->spin_ns;
	client->index = index;
	client->generation = generation;
}

int dc_client_attach(struct dc_client *client, const char *socket_path, const uint64_t *mask) {
	struct dc_attach_answer answer = {0};
	int descriptors[2] = {-1, -1};
	int result = hello(socket_path, mask, &answer, descriptors);
	struct dc_queue *queue = NULL;
	struct dc_arena *arena = NULL;
	if (result >= 0 && ((answer.queue_size && answer.queue_size != sizeof(struct dc_queue)) || answer.arena_size != DC_ARENA_SIZE)) result = -EPROTO;
	if (result >= 0) {
		arena = map(descriptors[0], DC_ARENA_SIZE);
		queue = answer.queue_size ? map(descriptors[1], sizeof(struct dc_queue)) : NULL;
		if (!arena || (answer.queue_size && !queue)) result = -ENOMEM;
		else if (arena->magic != DC_ARENA_MAGIC || arena->version != DC_LAYOUT_VERSION) result = -EPROTO;
	}
	for (int i = 0; i < 2; i++)
		if (descriptors[i] >= 0) raw_close(descriptors[i]);
	if (result < 0) {
		if (queue) raw(SYS_munmap, (long)queue, sizeof *queue, 0, 0, 0, 0);
		if (arena) raw(SYS_munmap, (long)arena, DC_ARENA_SIZE, 0, 0, 0, 0);
		return result;
	}
	dc_client_init(client, queue, arena, answer.client, answer.generation);
	client->epoch = answer.epoch;
	return 0;
}

void dc_client_detach(struct dc_client *client) {
	if (client->queue) raw(SYS_munmap, (long)client->queue, sizeof *client->queue, 0, 0, 0, 0);
	if (client->arena) raw(SYS_munmap, (long)client->arena, DC_ARENA_SIZE, 0, 0, 0, 0);
	client->queue = NULL;
	client->arena = NULL;
}

static bool is_left(struct dc_client *client, unsigned slot, uint32_t owner) {
	return owner == DC_OWNER_NOBODY && DC_ANSWER_STATE(atomic_load_explicit(&dc_client_slot(client, slot)->answer, memory_order_acquire)) == DC_ANSWER_DONE;
}

static bool claim(struct dc_client *client, unsigned slot, uint32_t owner) {
	uint32_t seen = atomic_load_explicit(&client->use[slot].owner, memory_order_relaxed);
	return (seen == 0 || is_left(client, slot, seen)) && atomic_compare_exchange_strong_explicit(&client->use[slot].owner, &seen, owner, memory_order_acquire, memory_order_relaxed);
}

/* Slots of threads that ended in the middle of a call. By thread id alone: a vfork child is another process with the same slots. */
static void reclaim_of_dead(struct dc_client *client) {
	for (unsigned slot = 0; slot < DC_REQUEST_SLOTS; slot++) {
		uint32_t owner = atomic_load_explicit(&client->use[slot].owner, memory_order_acquire);
		if (owner && owner != DC_OWNER_NOBODY && raw(SYS_tkill, owner, 0, 0, 0, 0, 0) == -ESRCH) dc_client_abandoned(client, slot);
	}
}

unsigned dc_client_acquire(struct dc_client *client, int hint, uint32_t owner) {
	unsigned first = hint >= 0 ? (unsigned)hint : owner % DC_REQUEST_SLOTS;
	for (;;) {
		for (unsigned i = 0; i < DC_REQUEST_SLOTS; i++)
			if (claim(client, (first + i) % DC_REQUEST_SLOTS, owner)) return (first + i) % DC_REQUEST_SLOTS;
		/* All taken: this process has as many calls in flight. Sleep until one is released; not for long, a release may just have missed us. */
		uint32_t waiters = atomic_fetch_add_explicit(&client->busy_waiters, 1, memory_order_seq_cst) + 1;
		if (dc_futex_wait(&client->busy_waiters, waiters, 2000000) == -ETIMEDOUT) reclaim_of_dead(client);
	}
}

void dc_client_release(struct dc_client *client, unsigned slot) {
	atomic_store_explicit(&client->use[slot].owner, 0, memory_order_release);
	if (__builtin_expect(atomic_load_explicit(&client->busy_waiters, memory_order_relaxed), 0)) {
		atomic_store_explicit(&client->busy_waiters, 0, memory_order_seq_cst);
		dc_futex_wake(&client->busy_waiters, INT_MAX);
	}
}

bool dc_client_in_use(struct dc_client *client) {
	for (unsigned slot = 0; slot < DC_REQUEST_SLOTS; slot++) {
		uint32_t owner = atomic_load_explicit(&client->use[slot].owner, memory_order_acquire);
		if (owner && !(client->arena && is_left(client, slot, owner))) return true;
	}
	return false;
}

/* Says that the slot holds a request: by the queue, or the mailbox; wakes nobody. 0, or -EAGAIN: the queue was full for that long. */
static int place(struct dc_client *client, unsigned index, uint64_t patience_ns) {
	if (client->queue) return dc_queue_place(client->queue, DC_ITEM(client->generation, client->index, index), patience_ns);
	dc_mailbox_put(client->mailbox, index);
	return 0;
}

/* A worker, if nobody is about to look. */
static void wake(struct dc_client *client) {
	if (client->queue) dc_queue_wake(client->queue);
	else dc_mailbox_wake(client->mailbox);
}

/* Both. */
static int notify(struct dc_client *client, unsigned index, uint64_t patience_ns) {
	if (client->queue) return dc_queue_put(client->queue, DC_ITEM(client->generation, client->index, index), patience_ns);
	dc_mailbox_ring(client->mailbox, index);
	return 0;
}

bool dc_client_abandoned(struct dc_client *client, unsigned index) {
	struct dc_slot_use *use = &client->use[index];
	if (!dc_answer_awaited(atomic_load_explicit(&dc_client_slot(client, index)->answer, memory_order_acquire))) {
		dc_client_release(client, index);
		return true;
	}
	if (use->resent != use->sequence && notify(client, index, 1000000u) == 0) use->resent = use->sequence;
	return false;
}

#define SPIN_MAX_NS 200000u /* the queue may say anything */
#define RESEND_NS 100000000u
#define LOOK_NS UINT64_C(200000) /* not taken for so long, nor anybody else's: who was to take it waits for a CPU */
#define LATER_MAX 4u     /* doublings of that: 3.2 ms */
#define CALM 255u        /* waits without one, and it comes a step earlier */

static bool worker_is_at(struct dc_client *client, uint32_t cpu) {
	return atomic_load_explicit(client->worker_cpu, memory_order_relaxed) == cpu;
}

/* Spin while that pays: a peer on this very CPU cannot answer while we spin. */
static uint32_t spin_for_answer(struct dc_client *client, struct dc_slot *slot, uint32_t pending, uint32_t cpu) {
	uint32_t answer = atomic_load_explicit(&slot->answer, memory_order_acquire);
	uint32_t spin_ns = *client->spin_ns;
	uint64_t budget = (uint64_t)(spin_ns < SPIN_MAX_NS ? spin_ns : SPIN_MAX_NS) * dc_ticks_per_us() / 1000u;
	uint64_t start = dc_ticks();
	for (unsigned round = 0; answer == pending; round++) {
		dc_pause();
		answer = atomic_load_explicit(&slot->answer, memory_order_acquire);
		if ((round & 15) == 15) {
			if (worker_is_at(client, cpu)) break;
			if (dc_ticks() - start > budget) break;
		}
	}
	return answer;
}

static bool is_closed(struct dc_client *client) {
	return __builtin_expect(atomic_load_explicit(&client->severed, memory_order_relaxed) || atomic_load_explicit(&client->arena->closed, memory_order_relaxed), 0);
}

static int64_t no_answer(struct dc_client *client) {
	return atomic_load_explicit(&client->severed, memory_order_relaxed) ? -EINTR : -EIO;
}

static bool is_taken(struct dc_client *client, unsigned index) {
	return __atomic_load_n(&dc_client_slot(client, index)->taken, __ATOMIC_RELAXED) == DC_TAKEN(client->use[index].sequence & 0x3fffffffu);
}

/* Nobody has taken the request for so long that its item, or the wake-up, may have been destroyed by somebody who writes into the queue. A second item does no harm. */
static void send_again(struct dc_client *client, unsigned index) {
	if (!client->queue || is_taken(client, index)) return;
	notify(client, index, 1000000u);
	dc_queue_rouse(client->queue);
}

/*
 * The worker is on this CPU, and runs when we let it. If it sleeps, who wakes it gives it the CPU at once, for one request: so the other threads of ours come first, and it is woken for all of
 * theirs (unless there are none). Whoever goes on from here without an answer has woken it.
 */
static bool yield_for_answer(struct dc_client *client, unsigned index, uint32_t pending, uint32_t cpu) {
	struct dc_slot *slot = dc_client_slot(client, index);
	for (unsigned round = 0; round < DC_YIELDS; round++) {
		if (round && !worker_is_at(client, cpu)) break;
		sched_yield();
		if (atomic_load_explicit(&slot->answer, memory_order_acquire) != pending) return true;
		if (round == 0) wake(client);
	}
	return atomic_load_explicit(&slot->answer, memory_order_acquire) != pending;
}

/* Has another worker woken. */
static void call(struct dc_client *client) {
	if (client->queue) dc_queue_look(client->queue, true);
	else dc_mailbox_call(client->mailbox);
}

/* Moves when others are served: they ask again. By mailboxes we know of our own process only. */
static uint64_t progress(struct dc_client *client) {
	if (client->queue) return atomic_load_explicit(&client->queue->tail, memory_order_relaxed);
	return atomic_load_explicit(&client->slept, memory_order_relaxed);
}

/* Not taken for so long, though others were: it is our turn soon, and one more worker would have the same CPU. Looks cost timers, so they come later, for a while. */
static void learn_to_wait(struct dc_slot_use *use, bool queued) {
	if (queued) use->later = LATER_MAX;
	use->calm = queued ? 0 : use->calm + 1;
	if (use->later && use->calm == CALM) {
		use->later--;
		use->calm = 0;
	}
}

/* False: nobody answers any more. */
static bool sleep_for_answer(struct dc_client *client, unsigned index, uint32_t waiting) {
	struct dc_slot *slot = dc_client_slot(client, index);
	struct dc_slot_use *use = &client->use[index];
	uint64_t seen = progress(client), patience_ns = LOOK_NS << use->later;
	bool looks = true, queued = false;
	while (atomic_load_explicit(&slot->answer, memory_order_acquire) == waiting) {
		if (dc_futex_wait(&slot->answer, waiting, patience_ns) != -ETIMEDOUT) continue;
		if (is_closed(client)) return false;
		if (looks) {
			bool taken = is_taken(client, index);
			uint64_t now = progress(client);
			queued = looks = !taken && now != seen && patience_ns < LOOK_NS << LATER_MAX;
			seen = now;
			if (!taken && !looks) call(client);
			patience_ns = looks ? 2 * patience_ns : RESEND_NS;
			continue;
		}
		send_again(client, index);
		if (patience_ns < 8 * RESEND_NS) patience_ns *= 2;
	}
	learn_to_wait(use, queued);
	atomic_fetch_add_explicit(&client->slept, 1, memory_order_relaxed);
	return true;
}

static bool spin_or_sleep(struct dc_client *client, unsigned index, uint32_t pending, uint32_t cpu) {
	struct dc_slot *slot = dc_client_slot(client, index);
	const uint32_t waiting = pending - DC_ANSWER_PENDING + DC_ANSWER_WAITING;
	uint32_t answer = pending;
	/* It may have been woken elsewhere meanwhile. */
	if (!worker_is_at(client, cpu)) {
		answer = spin_for_answer(client, slot, pending, cpu);
		if (answer == pending && client->queue && !is_taken(client, index)) dc_queue_look(client->queue, false);
	}
	if (answer != pending) return true;
	atomic_fetch_add_explicit(&client->sleeps, 1, memory_order_relaxed);
	if (!atomic_compare_exchange_strong_explicit(&slot->answer, &answer, waiting, memory_order_acq_rel, memory_order_acquire)) return true;
	return sleep_for_answer(client, index, waiting);
}

/* How the answer is waited for where the worker was last seen on this CPU, and elsewhere. */
enum how { ELSEWHERE, YIELDS, SLEEPS };

static enum how begin_wait(struct dc_client *client, uint32_t cpu) {
	if (!worker_is_at(client, cpu)) return ELSEWHERE;
	return dc_trial_begin(&client->yields, dc_ticks()) ? SLEEPS : YIELDS;
}

static int64_t await(struct dc_client *client, unsigned index, uint32_t cpu, enum how how) {
	uint32_t pending = DC_ANSWER(client->use[index].sequence & 0x3fffffffu, DC_ANSWER_PENDING);
	bool answered = (how == YIELDS && yield_for_answer(client, index, pending, cpu)) || spin_or_sleep(client, index, pending, cpu);
	if (how != ELSEWHERE) dc_trial_end(&client->yields, dc_ticks());
	return answered ? dc_client_slot(client, index)->result : no_answer(client);
}

static void count_used(struct dc_client *client, unsigned index) {
	_Atomic uint32_t *used = &client->arena->slots_used;
	for (uint32_t seen = atomic_load_explicit(used, memory_order_relaxed); seen <= index && !atomic_compare_exchange_weak(used, &seen, index + 1);) continue;
}

static void send_request(struct dc_client *client, unsigned index, uint32_t cpu, bool wakes) {
	struct dc_slot *slot = dc_client_slot(client, index);
	uint32_t sequence = ++client->use[index].sequence & 0x3fffffffu;
	count_used(client, index);
	slot->sequence = sequence;
	slot->cpu = (uint16_t)cpu;
	atomic_store_explicit(&slot->answer, DC_ANSWER(sequence, DC_ANSWER_PENDING), memory_order_release);
	while (!is_closed(client) && place(client, index, 1000000000u) == -EAGAIN) continue; /* full for a second: the service is being restarted */
	if (wakes) wake(client);
}

int64_t dc_client_call(struct dc_client *client, unsigned index) {
	if (is_closed(client)) return no_answer(client);
	uint32_t cpu = (uint32_t)sched_getcpu();
	enum how how = begin_wait(client, cpu);
	/* By mailboxes a ring wakes who listens, also where another looks already. */
	send_request(client, index, cpu, how != YIELDS || (client->queue && dc_trial_alone(&client->yields)));
	return await(client, index, cpu, how);
}

void dc_client_leave(struct dc_client *client, unsigned index) {
	if (is_closed(client)) {
		dc_client_release(client, index);
		return;
	}
	dc_client_send(client, index);
	atomic_store_explicit(&client->use[index].owner, DC_OWNER_NOBODY, memory_order_release);
}

/* Who wakes the worker on this CPU may be made to wait for it there and then: that counts, if as no wait of its own. */
void dc_client_send(struct dc_client *client, unsigned index) {
	uint32_t cpu = (uint32_t)sched_getcpu();
	bool together = worker_is_at(client, cpu);
	if (together) dc_trial_count(&client->yields, dc_ticks(), 1);
	send_request(client, index, cpu, true);
	if (together) dc_trial_count(&client->yields, dc_ticks(), -1);
}

int64_t dc_client_await(struct dc_client *client, unsigned index) {
	struct dc_slot *slot = dc_client_slot(client, index);
	if (DC_ANSWER_STATE(atomic_load_explicit(&slot->answer, memory_order_acquire)) == DC_ANSWER_DONE) return slot->result;
	uint32_t cpu = (uint32_t)sched_getcpu();
	return await(client, index, cpu, begin_wait(client, cpu));
}

bool dc_client_try_acquire(struct dc_client *client, unsigned beside, uint32_t owner, unsigned *slot) {
	for (unsigned i = 1; i < DC_REQUEST_SLOTS; i++) {
		*slot = (beside + i) % DC_REQUEST_SLOTS;
		if (claim(client, *slot, owner)) return true;
	}
	return false;
}

/* ---- posted writes ------------------------------------------------------------------------------------------------------------------------------- */
#define KICK_BYTES (128u << 10)

static void kick(struct dc_client *client) {
	client->post_unkicked = 0;
	notify(client, DC_SLOT_POSTS, 1000000u);
}

static struct dc_post_record *record_at(struct dc_client *client, uint64_t position) {
	return (struct dc_post_record *)(dc_arena_posts(client->arena) + (position & (DC_POST_BYTES - 1)));
}

static void write_record(struct dc_post_record *record, const struct dc_post_record *from) {
	memcpy(record, from, sizeof *record);
}

/*
 * The lock keeps two threads of this process apart. It is only tried: in a signal handler its holder may be the interrupted call. Who leaves by longjmp while holding it switches posting off
 * for the process, which is slower and no less right.
 */
void *dc_client_post_begin(struct dc_client *client, uint32_t grant, uint64_t handle, uint64_t offset, uint32_t bytes) {
	struct dc_post_ring *ring = dc_arena_post(client->arena);
	uint32_t free = 0;
	if (atomic_load_explicit(&ring->generation, memory_order_acquire) != grant || bytes > DC_POST_MAX) return NULL;
	if (!atomic_compare_exchange_strong_explicit(&client->post_lock, &free, 1, memory_order_acquire, memory_order_relaxed)) return NULL;
	uint64_t tail = client->post_tail, used = tail - atomic_load_explicit(&ring->head, memory_order_acquire);
	uint32_t need = (uint32_t)sizeof(struct dc_post_record) + ((bytes + DC_POST_ALIGN - 1) & ~(DC_POST_ALIGN - 1)), room = DC_POST_BYTES - (uint32_t)(tail & (DC_POST_BYTES - 1));
	uint32_t filler = room < need ? room : 0;
	if (used > DC_POST_BYTES || DC_POST_BYTES - used < need + filler) {
		/* Full: the request that is sent instead waits until the ring was drained. */
		atomic_store_explicit(&client->post_lock, 0, memory_order_release);
		return NULL;
	}
	if (filler) {
		write_record(record_at(client, tail), &(struct dc_post_record){.length = filler, .generation = grant, .kind = DC_POST_FILLER});
		tail += filler;
	}
	struct dc_post_record *record = record_at(client, tail);
	write_record(record, &(struct dc_post_record){.length = need, .bytes = bytes, .handle = handle, .offset = offset, .generation = grant, .kind = DC_POST_WRITE});
	client->post_next = tail + need;
	client->post_record = record;
	return record + 1;
}

bool dc_client_post_end(struct dc_client *client, uint32_t grant) {
	struct dc_post_ring *ring = dc_arena_post(client->arena);
	uint64_t next = client->post_next;
	struct dc_post_record *record = client->post_record;
	bool counts = true;
	client->post_unkicked += (uint32_t)(next - client->post_tail);
	client->post_tail = next;
	atomic_exchange_explicit(&ring->tail, next, memory_order_seq_cst); /* published, then the look: pairs with the service's taking back */
	uint32_t now = atomic_load_explicit(&ring->generation, memory_order_seq_cst);
	if (__builtin_expect(now != grant, 0)) {
		/* The service is making what it found, or, if it died, its successor will. */
		for (unsigned round = 0; (int32_t)(atomic_load_explicit(&ring->sealed, memory_order_acquire) - now) < 0; round++) {
			if (round < 1000) dc_pause();
			else sched_yield();
		}
		counts = atomic_load_explicit(&ring->head, memory_order_acquire) >= next && atomic_load_explicit(&record->kind, memory_order_relaxed) != DC_POST_VOID;
	}
	if (client->post_unkicked >= KICK_BYTES && !atomic_load_explicit(&ring->draining, memory_order_seq_cst)) kick(client);
	atomic_store_explicit(&client->post_lock, 0, memory_order_release);
	return counts;
}
