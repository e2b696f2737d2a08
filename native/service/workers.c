#include "workers.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "clients.h"

#define SLEEPING 1u
#define SPINNING (1u << 8)
#define RUNNING (1u << 16)
#define SPIN_NS 50000u
#define PATIENCE_NS 300000u
/* Shortest and longest time between two moves away from the sender's CPU. */
#define PART_NS 2000000u
#define PART_MAX_NS 1000000000u
/* A sleeper looks by itself now and then: a sender that dies between publishing and waking takes the wake-up with it; its end kicks us sooner (dc_workers_kick). */
#define SLEEP_NS 5000000000u

static struct {
	struct dc_queue_reader reader;
	struct dc_worker worker[DC_WORKERS_MAX];
	unsigned count;
	_Atomic bool stopping;
} pool;

static void move(uint32_t from, uint32_t to) {
	atomic_fetch_add_explicit(&pool.reader.queue->workers, to - from, memory_order_seq_cst);
}

static void set_state(struct dc_worker *worker, enum dc_worker_state state) {
	atomic_store_explicit(&worker->state, state, memory_order_relaxed);
}

static void bump(_Atomic uint64_t *counter) {
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1, memory_order_relaxed);
}

/* Requests wait and nobody is about to look: pass the baton. */
static void pass_on(void) {
	if (!dc_queue_empty(&pool.reader)) dc_queue_wake(pool.reader.queue);
}

void dc_block_begin(struct dc_context *context) {
	struct dc_worker *worker = context->worker;
	if (!worker || worker->block_depth++) return;
	set_state(worker, DC_WORKER_BLOCKED);
	move(RUNNING, 0);
	pass_on();
}

void dc_block_end(struct dc_context *context) {
	struct dc_worker *worker = context->worker;
	if (!worker || --worker->block_depth) return;
	move(0, RUNNING);
	set_state(worker, DC_WORKER_RUN);
}

/* Returns whether something came. Called as a spinner. */
static bool spin(struct dc_worker *worker) {
	uint64_t start = dc_ticks();
	bump(&worker->spins);
	for (unsigned round = 1;; round++) {
		if (!dc_queue_empty(&pool.reader)) return true;
		dc_pause();
		if ((round & 7) == 0 && dc_ticks() - start > worker->spin_ticks) return false;
	}
}

static void publish_cpu(struct dc_worker *worker) {
	uint32_t cpu = (uint32_t)sched_getcpu();
	if (atomic_load_explicit(&pool.reader.queue->worker_cpu, memory_order_relaxed) != cpu)
		atomic_store_explicit(&pool.reader.queue->worker_cpu, cpu, memory_order_relaxed);
	worker->cpu = cpu;
}

static void sleep_on_queue(struct dc_worker *worker, uint32_t from) {
	struct dc_queue *queue = pool.reader.queue;
	move(from, SLEEPING);
	bool first = !(atomic_fetch_or_explicit(&queue->workers, DC_WORKERS_FIRST_SLEEPS, memory_order_seq_cst) & DC_WORKERS_FIRST_SLEEPS);
	_Atomic uint32_t *word = first ? &queue->wake : &queue->wake_reserve;
	uint32_t seen = atomic_load_explicit(word, memory_order_seq_cst);
	/* Announced; look once more: a sender looks for sleepers after it has put its item in. */
	if (dc_queue_empty(&pool.reader) && !atomic_load(&pool.stopping)) {
		set_state(worker, DC_WORKER_SLEEP);
		bump(&worker->sleeps);
		uint64_t before = dc_ticks();
		dc_futex_wait(word, seen, SLEEP_NS);
		set_state(worker, DC_WORKER_RUN);
		/* Something came so soon that spinning for it would have been cheaper. */
		if (dc_ticks() - before < 2ull * SPIN_NS * dc_ticks_per_us() / 1000) worker->spin_ticks = (uint64_t)SPIN_NS * dc_ticks_per_us() / 1000;
	}
	if (first) atomic_fetch_and_explicit(&queue->workers, ~DC_WORKERS_FIRST_SLEEPS, memory_order_seq_cst);
	move(SLEEPING, RUNNING);
}

/* Nothing to do: spin if that may pay, else sleep. Enters and leaves as a running worker. */
static void idle(struct dc_worker *worker) {
	uint32_t workers = atomic_load_explicit(&pool.reader.queue->workers, memory_order_relaxed);
	uint32_t minimum = 2 * dc_ticks_per_us();
	uint32_t from = RUNNING;
	if (!DC_WORKERS_SPINNING(workers) && worker->sender_cpu != (uint32_t)sched_getcpu()) {
		set_state(worker, DC_WORKER_SPIN);
		publish_cpu(worker);
		move(RUNNING, SPINNING);
		bool came = spin(worker);
		if (came) {
			worker->spin_ticks = (uint64_t)SPIN_NS * dc_ticks_per_us() / 1000;
			move(SPINNING, RUNNING);
			set_state(worker, DC_WORKER_RUN);
			return;
		}
		worker->spin_ticks = worker->spin_ticks * 3 / 4 < minimum ? minimum : worker->spin_ticks * 3 / 4;
		from = SPINNING;
	}
	sleep_on_queue(worker, from);
}

/*
 * Sender and worker alternate on one CPU, each put to sleep for the other, while another CPU may stand idle: the scheduler sees one runnable task and has no reason to move it (its search
 * for an idle sibling gives up early on small machines). So the worker steps over by itself. Should it be brought back soon, the other CPU is wanted: it tries ever more seldom.
 */
static void part_from_sender(struct dc_worker *worker) {
	if (worker->sender_cpu != worker->cpu) {
		worker->together = 0;
		return;
	}
	if (++worker->together < 16) return;
	worker->together = 0;
	uint64_t now = dc_monotonic_ns(), since = now - worker->parted_ns;
	if (since < worker->part_interval_ns) return;
	worker->part_interval_ns = since < 4 * worker->part_interval_ns ? worker->part_interval_ns * 2 : PART_NS;
	if (worker->part_interval_ns > PART_MAX_NS) worker->part_interval_ns = PART_MAX_NS;
	worker->parted_ns = now;
	cpu_set_t all, others;
	if (sched_getaffinity(0, sizeof all, &all) || CPU_COUNT(&all) < 2) return;
	others = all;
	CPU_CLR(worker->cpu, &others);
	if (CPU_COUNT(&others) && sched_setaffinity(0, sizeof others, &others) == 0) sched_setaffinity(0, sizeof all, &all);
}

static void *worker_main(void *argument) {
	struct dc_worker *worker = argument;
	char name[16];
	snprintf(name, sizeof name, "worker-%u", worker->id);
	pthread_setname_np(pthread_self(), name);
	worker->spin_ticks = (uint64_t)SPIN_NS * dc_ticks_per_us() / 1000;
	worker->sender_cpu = UINT32_MAX;
	worker->part_interval_ns = PART_NS;
	move(0, RUNNING);
	while (!atomic_load_explicit(&pool.stopping, memory_order_relaxed)) {
		uint32_t item;
		switch (dc_queue_take(&pool.reader, &item)) {
		case DC_TAKE_ITEM:
			publish_cpu(worker);
			pass_on();
			dc_clients_serve(worker, item);
			bump(&worker->handled);
			part_from_sender(worker);
			break;
		case DC_TAKE_EMPTY:
			idle(worker);
			break;
		case DC_TAKE_INVALIDATED:
			break;
		}
	}
	move(RUNNING, 0);
	return NULL;
}

/* The scan of the arenas (dc_clients_recover) finds the requests; a sender between its fetch-and-add and its publish finds its ticket invalid and takes another. */
void dc_workers_drop_items(struct dc_queue *queue) {
	uint64_t tail = atomic_load(&queue->tail);
	for (uint64_t i = tail > DC_QUEUE_SLOTS ? tail - DC_QUEUE_SLOTS : 0; i < tail; i++) {
		_Atomic uint64_t *word = &queue->slot[i & (DC_QUEUE_SLOTS - 1)].word;
		uint64_t seen = atomic_load(word);
		uint32_t lap = (uint32_t)(i >> DC_QUEUE_SHIFT);
		while ((int32_t)(DC_WORD_LAP(seen) - lap) <= 0 && !atomic_compare_exchange_weak(word, &seen, DC_WORD(lap + 1, DC_WORD_FREE, 0))) continue;
	}
	atomic_store(&pool.reader.head, tail);
}

int dc_workers_start(struct dc_queue *queue, unsigned count, unsigned running_target) {
	pool.reader.queue = queue;
	pool.reader.patience_ns = PATIENCE_NS;
	pool.count = count > DC_WORKERS_MAX ? DC_WORKERS_MAX : count;
	dc_queue_init(queue, running_target, SPIN_NS);
	for (unsigned i = 0; i < pool.count; i++) {
		pool.worker[i].id = i;
		int error = pthread_create(&pool.worker[i].thread, NULL, worker_main, &pool.worker[i]);
		if (error) {
			pool.count = i;
			dc_workers_stop();
			return -error;
		}
	}
	return 0;
}

void dc_workers_kick(void) {
	if (!pool.reader.queue) return;
	for (unsigned i = 0; i < 2; i++) {
		_Atomic uint32_t *word = i ? &pool.reader.queue->wake_reserve : &pool.reader.queue->wake;
		atomic_fetch_add(word, 1);
		dc_futex_wake(word, INT_MAX);
	}
}

void dc_workers_stop(void) {
	atomic_store(&pool.stopping, true);
	dc_workers_kick();
	for (unsigned i = 0; i < pool.count; i++) pthread_join(pool.worker[i].thread, NULL);
	pool.count = 0;
}

json_t *dc_workers_json(void) {
	static const char *const states[] = {"run", "spin", "sleep", "blocked"};
	json_t *list = json_array();
	uint64_t handled = 0;
	for (unsigned i = 0; i < pool.count; i++) {
		struct dc_worker *worker = &pool.worker[i];
		handled += atomic_load(&worker->handled);
		json_array_append_new(list, json_pack("{s:i,s:i,s:s,s:I,s:I,s:I}", "id", (int)worker->id, "cpu", (int)worker->cpu, "state", states[atomic_load(&worker->state) & 3],
			"handled", (json_int_t)atomic_load(&worker->handled), "spins", (json_int_t)atomic_load(&worker->spins), "sleeps", (json_int_t)atomic_load(&worker->sleeps)));
	}
	uint64_t head = atomic_load(&pool.reader.head), tail = atomic_load(&pool.reader.queue->tail);
	return json_pack("{s:i,s:I,s:I,s:I,s:I,s:I,s:I,s:o}", "capacity", (int)DC_QUEUE_SLOTS, "head", (json_int_t)head, "tail", (json_int_t)tail, "depth",
		(json_int_t)(tail > head ? tail - head : 0), "enqueued", (json_int_t)tail, "dequeued", (json_int_t)handled, "invalidated",
		(json_int_t)atomic_load(&pool.reader.invalidated), "workers", list);
}

void dc_workers_reset(void) {
	for (unsigned i = 0; i < pool.count; i++) {
		atomic_store(&pool.worker[i].handled, 0);
		atomic_store(&pool.worker[i].spins, 0);
		atomic_store(&pool.worker[i].sleeps, 0);
	}
}
