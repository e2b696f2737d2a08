/*
 * bench.h - queues across processes, measured. Every figure is one line of JSON on stdout; bench/queue.mjs builds this against the shipped sources and makes tables.
 */
#ifndef DICICLO_BENCH_QUEUE_H
#define DICICLO_BENCH_QUEUE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLIENTS_MAX 32u

/* Latencies, ns: 16 steps in each power of two, so 6 % wide. One writer each; in shared memory. */
#define HISTOGRAM 640u
struct histogram {
	uint64_t count[HISTOGRAM];
	uint64_t total;
};
void histogram_add(struct histogram *histogram, uint64_t ns);
void histogram_join(struct histogram *into, const struct histogram *from);
uint64_t histogram_at(const struct histogram *histogram, double share);

/* A bounded or unbounded queue of 30-bit items in shared memory, many senders and takers. Neither call waits; `who` numbers the caller among its kind. */
struct rival {
	const char *name, *what;
	size_t (*size)(void);
	void (*init)(void *memory);
	bool (*put)(void *memory, unsigned who, uint32_t item);   /* false: full */
	bool (*take)(void *memory, unsigned who, uint32_t *item); /* false: nothing there now */
};
extern const struct rival rivals[];
extern const unsigned rival_count;

void *shared_memory(size_t bytes);
void pin(int cpu); /* -1: to any of those that there were */
unsigned cpu_count(void);
/* Processes 0..count-1 run `body`, all begun together; answered when all have ended after `ms` milliseconds: the time that it really was, in seconds. Meanwhile the caller's threads go on. */
double run_processes(unsigned count, unsigned ms, void (*body)(unsigned who, void *argument), void *argument);
bool running(void); /* in a body, and in the caller's threads: go on? */
void hold_start(void); /* in a body: until all are there */

void bench_transfer(const char *only, unsigned ms, unsigned takers, const unsigned *clients, unsigned client_counts);
void bench_waiting(unsigned ms, bool quick);
void bench_idle(unsigned ms);

#endif
