#include "workers.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <syslog.h>

#include "clients.h"
#include "host.h"
#include "offences.h"

#define SPIN_NS 50000u
#define PATIENCE_NS 300000u
/* Shortest and longest time between two moves away from the sender's CPU. */
#define PART_US UINT64_C(2000)
#define PART_MAX_US UINT64_C(64000)
#define PART_TOGETHER 16u /* requests from the same CPU, one after the other */
#define PART_JUDGED 64u   /* requests from another */
#define PAGE 4096u

/* A thread that does nothing but listen to the clients of one group (receiver.h): an attendant to their calls, an ear to their rings, unless the workers do that. */
struct listener {
	pthread_t thread;
	unsigned group;
	bool attends;
	uint32_t calls[DC_LISTEN_MAX]; /* an attendant's */
};

static struct {
	struct dc_receiver receiver;
	struct dc_workers_options options;
	struct dc_worker worker[DC_WORKERS_MAX];
	_Atomic unsigned count; /* that run; the control thread lists them while they are started */
	/* Mailboxes. Place p's is in page p, which never goes away: without a client it is nobody's memory, with one the first page of its arena. */
	pthread_mutex_t lock;
	struct dc_mailboxes mailboxes;
	unsigned char *pages;
	struct listener listener[2 * DC_LISTEN_GROUPS]; /* group by group, its ear before its attendant */
	unsigned listeners;
	_Atomic uint32_t wakes_before; /* of the boards' counts at the last reset */
	_Atomic uint32_t ear_wake;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER};

void dc_block_begin(struct dc_context *context) {
	struct dc_worker *worker = context->worker;
	if (worker) dc_receiver_block(&pool.receiver, &worker->seat, false);
}

void dc_block_begin_briefly(struct dc_context *context) {
	struct dc_worker *worker = context->worker;
	if (worker) dc_receiver_block(&pool.receiver, &worker->seat, true);
}

void dc_block_end(struct dc_context *context) {
	struct dc_worker *worker = context->worker;
	if (worker) dc_receiver_unblock(&pool.receiver, &worker->seat);
}

/* Of the last step to another CPU, or of one that could not be made. */
static void judge_parting(struct dc_worker *worker, bool paid) {
	uint64_t seldom = 2 * worker->part_interval_us;
	worker->part_interval_us = paid ? PART_US : seldom < PART_MAX_US ? seldom : PART_MAX_US;
	worker->parted = false;
}

static void came_from_elsewhere(struct dc_worker *worker) {
	worker->together = 0;
	if (worker->parted && ++worker->apart == PART_JUDGED) judge_parting(worker, (dc_ticks() - worker->parted_at) / PART_JUDGED <= worker->pace_together);
}

/*
 * Sender and worker alternate on one CPU, each waiting for the other, while another CPU may stand idle: the scheduler sees one runnable task and has no reason to move it (its search for an idle
 * sibling gives up early on small machines), and wakes either where the other is. So the worker steps over by itself, and compares how quickly requests come here and there: if there they come no
 * quicker (the other CPU is wanted, or the client thinks so long that it would have to be woken each time), or it was brought back at once, it tries ever more seldom.
 */
static void part_from_sender(struct dc_worker *worker) {
	if (worker->seat.sender_cpu != worker->seat.cpu) {
		came_from_elsewhere(worker);
		return;
	}
	if (worker->together++ == 0) worker->together_since = dc_ticks();
	if (worker->together <= PART_TOGETHER) return;
	uint64_t now = dc_ticks(), took = now - worker->together_since;
	worker->together = 0;
	if (now - worker->parted_at < worker->part_interval_us * dc_ticks_per_us()) return;
	if (worker->parted) judge_parting(worker, false);
	worker->pace_together = took / PART_TOGETHER;
	worker->parted_at = now;
	worker->apart = 0;
	cpu_set_t all, others;
	if (sched_getaffinity(0, sizeof all, &all) || CPU_COUNT(&all) < 2) {
		judge_parting(worker, false);
		return;
	}
	others = all;
	CPU_CLR(worker->seat.cpu, &others);
	dc_receiver_depart(&pool.receiver, &worker->seat);
	if (CPU_COUNT(&others) && sched_setaffinity(0, sizeof others, &others) == 0) worker->parted = sched_setaffinity(0, sizeof all, &all) == 0;
}

/* A client that keeps waking us for nothing. Found by hint: it may have gone, and another stand there, who has no alarms. */
static void look_for_alarmist(struct dc_worker *worker) {
	uint32_t place = __atomic_exchange_n(&pool.mailboxes.alarmist, 0, __ATOMIC_RELAXED);
	if (!place) return;
	uint32_t name = atomic_load(&pool.mailboxes.place[place - 1].name), alarms = __atomic_exchange_n(&pool.mailboxes.place[place - 1].alarms, 0, __ATOMIC_RELAXED);
	struct dc_client_record *client = dc_client_get(DC_ITEM_CLIENT(name << 6), DC_ITEM_GENERATION(name << 6));
	if (!client) return;
	if (alarms >= DC_ALARMS_MAX) dc_client_offends(client, DC_OFFENCE_MEMORY, "wakes the service without requests");
	dc_client_put(client);
}

static void *worker_main(void *argument) {
	struct dc_worker *worker = argument;
	char name[16];
	snprintf(name, sizeof name, "worker-%u", worker->id);
	pthread_setname_np(pthread_self(), name);
	worker->part_interval_us = PART_US;
	dc_receiver_enter(&pool.receiver, &worker->seat);
	while (!atomic_load_explicit(&pool.receiver.stopping, memory_order_relaxed)) {
		uint32_t item;
		if (__builtin_expect(__atomic_load_n(&pool.mailboxes.alarmist, __ATOMIC_RELAXED) != 0, 0)) look_for_alarmist(worker);
		if (dc_receiver_next(&pool.receiver, &worker->seat, &item) != DC_TAKE_ITEM) continue;
		dc_clients_serve(worker, item);
		part_from_sender(worker);
	}
	dc_receiver_leave(&pool.receiver);
	return NULL;
}

int dc_workers_init(const struct dc_workers_options *options) {
	pool.options = *options;
	if (!options->queue) {
		if (dc_futex_wait_any(NULL, 0, 0) == -ENOSYS) return -ENOSYS;
		void *pages = mmap(NULL, (size_t)DC_CLIENTS_MAX * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (pages == MAP_FAILED) return -errno;
		pool.pages = pages;
	}
	dc_receiver_init(&pool.receiver, options->queue, options->queue ? NULL : &pool.mailboxes, options->running_target, SPIN_NS, PATIENCE_NS);
	if (options->restarted && options->queue) dc_queue_drop(&pool.receiver.reader);
	return 0;
}

int dc_workers_start(void) {
	unsigned count = pool.options.count > DC_WORKERS_MAX ? DC_WORKERS_MAX : pool.options.count;
	for (unsigned i = 0; i < count; i++) {
		pool.worker[i].id = i;
		int error = pthread_create(&pool.worker[i].thread, NULL, worker_main, &pool.worker[i]);
		if (error) {
			dc_workers_stop();
			return -error;
		}
		atomic_store(&pool.count, i + 1);
	}
	return 0;
}

/* ---- mailboxes -------------------------------------------------------------------------------------------------------------- */
static void *listener_main(void *argument) {
	struct listener *listener = argument;
	pthread_setname_np(pthread_self(), listener->attends ? "attendant" : "ear");
	while (!atomic_load(&pool.receiver.stopping)) {
		uint32_t seen = atomic_load(&pool.ear_wake);
		if (atomic_load(&pool.receiver.stopping)) break;
		if (listener->attends) dc_receiver_attend(&pool.receiver, listener->group, listener->calls, &pool.ear_wake, seen);
		else dc_receiver_overhear(&pool.receiver, listener->group, &pool.ear_wake, seen);
	}
	return NULL;
}

/* The clients have changed: whoever sleeps on their ears must list them anew. */
static void relist(void) {
	atomic_fetch_add(&pool.ear_wake, 1);
	dc_futex_wake(&pool.ear_wake, INT_MAX);
	dc_receiver_kick(&pool.receiver);
}

/* For a client at this place. To the rings of group 0 the workers listen. */
static int grow_listeners(int place) {
	while (pool.listeners <= 2 * ((unsigned)place / DC_LISTEN_MAX)) {
		struct listener *listener = &pool.listener[pool.listeners];
		listener->group = (pool.listeners + 1) / 2;
		listener->attends = pool.listeners % 2 == 0;
		int error = pthread_create(&listener->thread, NULL, listener_main, listener);
		if (error) return -error;
		pool.listeners++;
	}
	return 0;
}

static void *page_of(int place) {
	return pool.pages + (size_t)place * PAGE;
}

/* Replaced in one step: a worker that looks meanwhile finds one or the other. */
static void empty_page(int place) {
	if (mmap(page_of(place), PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		dc_log(LOG_ERR, "cannot unmap a mailbox: %s", strerror(errno));
}

int dc_workers_add_client(int arena_fd, uint32_t index, uint32_t generation) {
	if (pool.options.queue) {
		dc_queue_mend_header(pool.options.queue, pool.receiver.running_target, pool.receiver.spin_ns); /* who attaches next reads it */
		return 0;
	}
	pthread_mutex_lock(&pool.lock);
	/* The box must stand before it can be looked at, and its address depends on its place. */
	int place = dc_mailboxes_reserve(&pool.mailboxes, index, generation);
	if (place >= 0 && mmap(page_of(place), PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, arena_fd, 0) == MAP_FAILED) place = -errno;
	int error = place < 0 ? place : grow_listeners(place);
	if (!error) {
		struct dc_mailbox *box = &((struct dc_arena *)page_of(place))->mailbox[DC_MAILBOX_PLACE(index)];
		box->spin_ns = SPIN_NS;
		dc_mailboxes_open(&pool.mailboxes, (unsigned)place, box);
		relist();
	} else if (place >= 0) {
		empty_page(place);
		place = error;
	}
	pthread_mutex_unlock(&pool.lock);
	return place;
}

bool dc_workers_by_mailbox(void) {
	return !pool.options.queue;
}

void dc_workers_del_client(int place) {
	if (pool.options.queue) return;
	pthread_mutex_lock(&pool.lock);
	dc_mailboxes_remove(&pool.mailboxes, (unsigned)place);
	empty_page(place);
	relist();
	pthread_mutex_unlock(&pool.lock);
}

void dc_workers_item(uint32_t item) {
	if (pool.options.queue) dc_queue_put(pool.options.queue, item, 1000000u);
}

/* ---- all together ----------------------------------------------------------------------------------------------------------- */
void dc_workers_kick(void) {
	if (pool.receiver.board && dc_receiver_depth(&pool.receiver)) dc_receiver_kick(&pool.receiver);
}

void dc_workers_stop(void) {
	atomic_store(&pool.receiver.stopping, true);
	relist();
	for (unsigned i = 0; i < pool.count; i++) pthread_join(pool.worker[i].thread, NULL);
	for (unsigned i = 0; i < pool.listeners; i++) pthread_join(pool.listener[i].thread, NULL);
	pool.count = pool.listeners = 0;
}

static const struct {
	const char *name;
	size_t offset;
} seat_counters[] = {
	{"handled", offsetof(struct dc_seat, handled)}, {"waits", offsetof(struct dc_seat, waits)}, {"spins", offsetof(struct dc_seat, spins)},
	{"caught", offsetof(struct dc_seat, caught)}, {"sleeps", offsetof(struct dc_seat, sleeps)}, {"rung", offsetof(struct dc_seat, rung)},
	{"spurious", offsetof(struct dc_seat, spurious)},
};
#define SEAT_COUNTERS (sizeof seat_counters / sizeof seat_counters[0])

static _Atomic uint64_t *seat_counter(struct dc_seat *seat, size_t which) {
	return (_Atomic uint64_t *)(void *)((char *)seat + seat_counters[which].offset);
}

static json_t *workers_list(json_t *sums) {
	static const char *const states[] = {"run", "spin", "sleep", "blocked"};
	json_t *list = json_array();
	json_int_t sum[SEAT_COUNTERS] = {0};
	for (unsigned i = 0; i < pool.count; i++) {
		struct dc_worker *worker = &pool.worker[i];
		json_t *row = json_pack("{s:i,s:i,s:s}", "id", (int)worker->id, "cpu", (int)worker->seat.cpu, "state", states[atomic_load(&worker->seat.state) & 3]);
		for (size_t k = 0; k < SEAT_COUNTERS; k++) {
			json_int_t value = (json_int_t)atomic_load(seat_counter(&worker->seat, k));
			sum[k] += value;
			json_object_set_new(row, seat_counters[k].name, json_integer(value));
		}
		json_array_append_new(list, row);
	}
	for (size_t k = 0; k < SEAT_COUNTERS; k++) json_object_set_new(sums, strcmp(seat_counters[k].name, "handled") ? seat_counters[k].name : "dequeued", json_integer(sum[k]));
	return list;
}

json_t *dc_workers_json(void) {
	struct dc_receiver *receiver = &pool.receiver;
	json_t *json = json_pack("{s:s,s:I}", "transport", pool.options.queue ? "queue" : "mailboxes", "depth", (json_int_t)dc_receiver_depth(receiver));
	json_t *list = workers_list(json);
	uint32_t wakes = receiver->board ? atomic_load(&receiver->board->wake) + atomic_load(&receiver->board->wake_reserve) - atomic_load(&pool.wakes_before) : 0;
	json_object_set_new(json, "wakes", json_integer((json_int_t)wakes + json_integer_value(json_object_get(json, "rung"))));
	if (pool.options.queue) {
		json_int_t head = (json_int_t)atomic_load(&receiver->reader.head), tail = (json_int_t)atomic_load(&pool.options.queue->tail);
		json_object_set_new(json, "capacity", json_integer(DC_QUEUE_SLOTS));
		json_object_set_new(json, "head", json_integer(head));
		json_object_set_new(json, "tail", json_integer(tail));
		json_object_set_new(json, "enqueued", json_integer(tail));
		json_object_set_new(json, "invalidated", json_integer((json_int_t)atomic_load(&receiver->reader.invalidated)));
		json_object_set_new(json, "mended", json_integer((json_int_t)atomic_load(&receiver->reader.mended)));
	} else {
		unsigned boxes = 0;
		for (unsigned at = 0; at < atomic_load(&pool.mailboxes.top); at++) boxes += atomic_load(&pool.mailboxes.place[at].box) != NULL;
		json_object_set_new(json, "mailboxes", json_integer(boxes));
		json_object_set_new(json, "doorbells", json_integer(json_integer_value(json_object_get(json, "dequeued"))));
	}
	json_object_set_new(json, "workers", list);
	return json;
}

void dc_workers_reset(void) {
	for (unsigned i = 0; i < pool.count; i++)
		for (size_t k = 0; k < SEAT_COUNTERS; k++) atomic_store(seat_counter(&pool.worker[i].seat, k), 0);
	atomic_store(&pool.receiver.reader.invalidated, 0);
	if (pool.receiver.board) atomic_store(&pool.wakes_before, atomic_load(&pool.receiver.board->wake) + atomic_load(&pool.receiver.board->wake_reserve));
}
