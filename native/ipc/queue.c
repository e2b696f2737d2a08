#include "queue.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <time.h>

#include "raw.h"

uint64_t dc_monotonic_ns(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Measured over 50 us at the first use: precise enough to bound a spin, and no thread waits for another that measures. */
uint32_t dc_ticks_per_us(void) {
	static _Atomic uint32_t cached;
	uint32_t known = atomic_load_explicit(&cached, memory_order_relaxed);
	if (known) return known;
	uint64_t start_ns = dc_monotonic_ns(), start = dc_ticks(), now_ns;
	do now_ns = dc_monotonic_ns();
	while (now_ns - start_ns < 50000);
	uint64_t rate = (dc_ticks() - start) * 1000u / (now_ns - start_ns);
	known = rate < 1 ? 1 : rate > 100000 ? 100000 : (uint32_t)rate;
	atomic_store_explicit(&cached, known, memory_order_relaxed);
	return known;
}

/* Raw: an application's errno is never touched. */
static long raw_futex(_Atomic uint32_t *word, int operation, uint32_t value, const struct timespec *timeout) {
	return dc_raw6(SYS_futex, (long)word, operation, value, (long)timeout, 0, 0);
}

int dc_futex_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ns) {
	struct timespec timeout = {.tv_sec = (time_t)(timeout_ns / 1000000000u), .tv_nsec = (long)(timeout_ns % 1000000000u)};
	return (int)raw_futex(word, FUTEX_WAIT, expected, timeout_ns ? &timeout : NULL);
}

int dc_futex_wake(_Atomic uint32_t *word, int count) {
	return (int)raw_futex(word, FUTEX_WAKE, (uint32_t)count, NULL);
}

void dc_queue_init(struct dc_queue *queue, uint32_t running_target, uint32_t spin_ns) {
	queue->version = DC_LAYOUT_VERSION;
	queue->slots = DC_QUEUE_SLOTS;
	queue->running_target = running_target;
	queue->spin_ns = spin_ns;
	atomic_store(&queue->workers, 0);
	queue->magic = DC_QUEUE_MAGIC;
}

void dc_queue_wake(struct dc_queue *queue) {
	uint32_t workers = atomic_load_explicit(&queue->workers, memory_order_seq_cst);
	if (DC_WORKERS_SPINNING(workers) || !DC_WORKERS_SLEEPING(workers) || DC_WORKERS_RUNNING(workers) >= queue->running_target) return;
	_Atomic uint32_t *word = workers & DC_WORKERS_FIRST_SLEEPS ? &queue->wake : &queue->wake_reserve;
	atomic_fetch_add_explicit(word, 1, memory_order_seq_cst);
	dc_futex_wake(word, 1);
}

/* The slot of a ticket: 0 published, 1 the ticket was invalidated, -1 still full of the lap before. */
static int publish(struct dc_queue *queue, uint64_t ticket, uint32_t item) {
	_Atomic uint64_t *word = &queue->slot[ticket & (DC_QUEUE_SLOTS - 1)].word;
	uint32_t lap = (uint32_t)(ticket >> DC_QUEUE_SHIFT);
	uint64_t seen = atomic_load_explicit(word, memory_order_acquire);
	for (;;) {
		int32_t ahead = (int32_t)(DC_WORD_LAP(seen) - lap);
		if (ahead > 0) return 1;
		if (ahead < 0) return -1;
		if (DC_WORD_STATE(seen) != DC_WORD_FREE) return 1; /* tickets are unique: only a lying peer gets here */
		if (atomic_compare_exchange_weak_explicit(word, &seen, DC_WORD(lap, DC_WORD_OCCUPIED, item), memory_order_seq_cst, memory_order_acquire)) return 0;
	}
}

int dc_queue_put(struct dc_queue *queue, uint32_t item, uint64_t patience_ns) {
	uint64_t deadline = 0;
	for (;;) {
		uint64_t ticket = atomic_fetch_add_explicit(&queue->tail, 1, memory_order_seq_cst);
		int state;
		for (unsigned round = 0; (state = publish(queue, ticket, item)) < 0; round++) {
			if (round < 100) {
				dc_pause();
				continue;
			}
			/* Full: a worker must drain first. The ticket stays ours; should we give up, a worker invalidates it after its patience. */
			dc_queue_wake(queue);
			uint64_t now = dc_monotonic_ns();
			if (!deadline) deadline = now + patience_ns;
			else if (now > deadline) return -EAGAIN;
			sched_yield();
		}
		if (state == 0) break;
	}
	dc_queue_wake(queue);
	return 0;
}

enum dc_take dc_queue_take(struct dc_queue_reader *reader, uint32_t *item) {
	uint64_t head = atomic_load_explicit(&reader->head, memory_order_relaxed);
	do {
		if (head >= atomic_load_explicit(&reader->queue->tail, memory_order_seq_cst)) return DC_TAKE_EMPTY;
	} while (!atomic_compare_exchange_weak_explicit(&reader->head, &head, head + 1, memory_order_acq_rel, memory_order_relaxed));

	_Atomic uint64_t *word = &reader->queue->slot[head & (DC_QUEUE_SLOTS - 1)].word;
	uint32_t lap = (uint32_t)(head >> DC_QUEUE_SHIFT);
	uint64_t deadline = 0;
	uint64_t seen = atomic_load_explicit(word, memory_order_acquire);
	for (unsigned round = 0;; round++) {
		int32_t ahead = (int32_t)(DC_WORD_LAP(seen) - lap);
		if (ahead > 0) return DC_TAKE_INVALIDATED; /* a lying peer moved it */
		if (ahead == 0 && DC_WORD_STATE(seen) == DC_WORD_OCCUPIED) {
			if (atomic_compare_exchange_strong_explicit(word, &seen, DC_WORD(lap + 1, DC_WORD_FREE, 0), memory_order_acq_rel, memory_order_acquire)) {
				*item = DC_WORD_ITEM(seen);
				return DC_TAKE_ITEM;
			}
			continue;
		}
		/*
		 * A lap behind: another worker has claimed the item before and is about to take it; workers are ours, so this is waited for without bound. Free: given out, not
		 * published yet; the sender is between two instructions, descheduled, stopped or dead.
		 */
		if (round < 200) {
			dc_pause();
		} else if (ahead < 0) {
			sched_yield();
		} else {
			uint64_t now = dc_monotonic_ns();
			if (!deadline) deadline = now + reader->patience_ns;
			else if (now > deadline) {
				if (atomic_compare_exchange_strong_explicit(word, &seen, DC_WORD(lap + 1, DC_WORD_FREE, 0), memory_order_acq_rel, memory_order_acquire)) {
					atomic_fetch_add_explicit(&reader->invalidated, 1, memory_order_relaxed);
					return DC_TAKE_INVALIDATED;
				}
				continue; /* published after all: take it */
			}
			sched_yield();
		}
		seen = atomic_load_explicit(word, memory_order_acquire);
	}
}
