#include "queue.h"

#include <errno.h>
#include <sched.h>

void dc_queue_init(struct dc_queue *queue, uint32_t running_target, uint32_t spin_ns) {
	queue->version = DC_LAYOUT_VERSION;
	queue->slots = DC_QUEUE_SLOTS;
	queue->running_target = running_target;
	queue->spin_ns = spin_ns;
	atomic_store(&queue->board.workers, 0);
	queue->magic = DC_QUEUE_MAGIC;
}

void dc_board_wake(struct dc_board *board, uint32_t running_target) {
	uint32_t workers = atomic_load_explicit(&board->workers, memory_order_seq_cst);
	if (DC_WORKERS_SPINNING(workers) || !DC_WORKERS_SLEEPING(workers) || DC_WORKERS_RUNNING(workers) >= running_target) return;
	_Atomic uint32_t *word = workers & DC_WORKERS_FIRST_SLEEPS ? &board->wake : &board->wake_reserve;
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
			dc_board_wake(&queue->board, queue->running_target);
			uint64_t now = dc_monotonic_ns();
			if (!deadline) deadline = now + patience_ns;
			else if (now > deadline) return -EAGAIN;
			sched_yield();
		}
		if (state == 0) break;
	}
	dc_board_wake(&queue->board, queue->running_target);
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

void dc_queue_drop(struct dc_queue_reader *reader) {
	struct dc_queue *queue = reader->queue;
	uint64_t tail = atomic_load(&queue->tail);
	for (uint64_t i = tail > DC_QUEUE_SLOTS ? tail - DC_QUEUE_SLOTS : 0; i < tail; i++) {
		_Atomic uint64_t *word = &queue->slot[i & (DC_QUEUE_SLOTS - 1)].word;
		uint64_t seen = atomic_load(word);
		uint32_t lap = (uint32_t)(i >> DC_QUEUE_SHIFT);
		while ((int32_t)(DC_WORD_LAP(seen) - lap) <= 0 && !atomic_compare_exchange_weak(word, &seen, DC_WORD(lap + 1, DC_WORD_FREE, 0))) continue;
	}
	atomic_store(&reader->head, tail);
}
