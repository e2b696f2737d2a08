/*
 * counters.c - what each door did, per thread: an operation writes only its own thread's lines. Threads hand their block back when they end, with its sums,
 * so that nothing is lost and the number of blocks is that of the most threads at one time.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "workers.h"

struct counter {
	_Atomic uint64_t count, errors, bytes, nanoseconds;
};
struct block {
	uint32_t instance;
	struct block *next;
	struct counter counter[DC_DOOR_KINDS][DC_COUNTED_COUNT];
};
/* A thread's blocks, by the instance's number modulo 64; the list holds what collides. */
struct thread_counters {
	struct thread_counters *next;
	bool used;
	_Atomic(struct block *) block[64];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct thread_counters *threads;
static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static _Thread_local struct thread_counters *mine;

static void hand_back(void *counters) {
	pthread_mutex_lock(&lock);
	((struct thread_counters *)counters)->used = false;
	pthread_mutex_unlock(&lock);
}
static void make_key(void) {
	pthread_key_create(&key, hand_back);
}

static struct thread_counters *take_counters(void) {
	pthread_once(&once, make_key);
	pthread_mutex_lock(&lock);
	struct thread_counters *found = threads;
	while (found && found->used) found = found->next;
	if (!found && (found = calloc(1, sizeof *found))) {
		found->next = threads;
		threads = found;
	}
	if (found) found->used = true;
	pthread_mutex_unlock(&lock);
	pthread_setspecific(key, found);
	return found;
}

static struct block *take_block(struct thread_counters *counters, uint32_t instance) {
	struct block *block = calloc(1, sizeof *block);
	if (!block) return NULL;
	block->instance = instance;
	block->next = atomic_load(&counters->block[instance % 64]);
	atomic_store_explicit(&counters->block[instance % 64], block, memory_order_release);
	return block;
}

static void add(_Atomic uint64_t *to, uint64_t value) {
	atomic_store_explicit(to, atomic_load_explicit(to, memory_order_relaxed) + value, memory_order_relaxed);
}

void dc_count(struct dc_instance *instance, enum dc_door_kind door, enum dc_counted operation, int64_t result, uint64_t nanoseconds) {
	if (!mine && !(mine = take_counters())) return;
	struct block *block = atomic_load_explicit(&mine->block[instance->id % 64], memory_order_relaxed);
	while (block && block->instance != instance->id) block = block->next;
	if (!block && !(block = take_block(mine, instance->id))) return;
	struct counter *counter = &block->counter[door][operation];
	add(&counter->count, 1);
	if (result < 0) add(&counter->errors, 1);
	else if (operation == DC_COUNTED_read || operation == DC_COUNTED_write || operation == DC_COUNTED_copy) add(&counter->bytes, (uint64_t)result);
	add(&counter->nanoseconds, nanoseconds);
}

uint64_t dc_now_ns(void) {
	return dc_monotonic_ns();
}

static json_t *door_json(uint32_t instance, enum dc_door_kind door) {
	static const char *const names[] = {
#define X(name) #name,
		DC_COUNTED_OPERATIONS(X)
#undef X
	};
	json_t *operations = json_object();
	pthread_mutex_lock(&lock);
	for (unsigned operation = 0; operation < DC_COUNTED_COUNT; operation++) {
		uint64_t sum[4] = {0};
		for (struct thread_counters *thread = threads; thread; thread = thread->next)
			for (struct block *block = atomic_load_explicit(&thread->block[instance % 64], memory_order_acquire); block; block = block->next) {
				if (block->instance != instance) continue;
				struct counter *counter = &block->counter[door][operation];
				sum[0] += atomic_load_explicit(&counter->count, memory_order_relaxed);
				sum[1] += atomic_load_explicit(&counter->errors, memory_order_relaxed);
				sum[2] += atomic_load_explicit(&counter->bytes, memory_order_relaxed);
				sum[3] += atomic_load_explicit(&counter->nanoseconds, memory_order_relaxed);
			}
		if (!sum[0]) continue;
		json_object_set_new(operations, names[operation], json_pack("{s:I,s:I,s:I,s:I}", "count", (json_int_t)sum[0], "errors", (json_int_t)sum[1], "bytes",
			(json_int_t)sum[2], "nanoseconds", (json_int_t)sum[3]));
	}
	pthread_mutex_unlock(&lock);
	return json_pack("{s:o}", "operations", operations);
}

json_t *dc_counters_json(const struct dc_instance *instance) {
	return json_pack("{s:o,s:o}", "library", door_json(instance->id, DC_DOOR_LIBRARY), "kernel", door_json(instance->id, DC_DOOR_KERNEL));
}

void dc_counters_reset(void) {
	pthread_mutex_lock(&lock);
	for (struct thread_counters *thread = threads; thread; thread = thread->next)
		for (unsigned i = 0; i < 64; i++)
			for (struct block *block = atomic_load(&thread->block[i]); block; block = block->next)
				for (unsigned door = 0; door < DC_DOOR_KINDS; door++)
					for (unsigned operation = 0; operation < DC_COUNTED_COUNT; operation++) {
						struct counter *counter = &block->counter[door][operation];
						atomic_store(&counter->count, 0);
						atomic_store(&counter->errors, 0);
						atomic_store(&counter->bytes, 0);
						atomic_store(&counter->nanoseconds, 0);
					}
	pthread_mutex_unlock(&lock);
}
