#include "queue.h"

#include <errno.h>
#include <sched.h>

void dc_queue_mend_header(struct dc_queue *queue, uint32_t running_target, uint32_t spin_ns) {
	queue->running_target = running_target;
	queue->spin_ns = spin_ns;
}

void dc_queue_init(struct dc_queue *queue, uint32_t running_target, uint32_t spin_ns) {
	atomic_store(&queue->board.workers, 0);
	dc_queue_mend_header(queue, running_target, spin_ns);
}

static bool wake_sleeper(struct dc_board *board, uint32_t workers) {
	_Atomic uint32_t *word = workers & DC_WORKERS_FIRST_SLEEPS ? &board->wake : &board->wake_reserve;
	atomic_fetch_add_explicit(word, 1, memory_order_seq_cst);
	return dc_futex_wake(word, 1) > 0;
}

bool dc_board_wake(struct dc_board *board, uint32_t workers, uint32_t running_target) {
	if (DC_WORKERS_SPINNING(workers) || !DC_WORKERS_SLEEPING(workers) || DC_WORKERS_RUNNING(workers) >= running_target) return false;
	return wake_sleeper(board, workers);
}

void dc_board_rouse(struct dc_board *board, uint32_t workers) {
	if (DC_WORKERS_SLEEPING(workers)) wake_sleeper(board, workers);
}

void dc_queue_wake(struct dc_queue *queue) {
	uint32_t target = queue->running_target;
	dc_board_wake(&queue->board, atomic_load_explicit(&queue->board.workers, memory_order_seq_cst), target ? target : 1);
}

void dc_queue_look(struct dc_queue *queue, bool though_some_run) {
	uint32_t workers = atomic_load_explicit(&queue->board.workers, memory_order_seq_cst);
	if (though_some_run || DC_WORKERS_SPINNING(workers)) dc_board_rouse(&queue->board, workers);
}

void dc_queue_rouse(struct dc_queue *queue) {
	_Atomic uint32_t *const words[] = {&queue->board.wake, &queue->board.wake_reserve};
	for (unsigned i = 0; i < 2; i++) {
		atomic_fetch_add_explicit(words[i], 1, memory_order_seq_cst);
		dc_futex_wake(words[i], 1);
	}
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

int dc_queue_place(struct dc_queue *queue, uint32_t item, uint64_t patience_ns) {
	uint64_t deadline = 0;
	for (unsigned tries = 1;; tries++) {
		uint64_t ticket = atomic_fetch_add_explicit(&queue->tail, 1, memory_order_seq_cst);
		int state;
		for (unsigned round = 0; (state = publish(queue, ticket, item)) < 0; round++) {
			if (round < 100) {
				dc_pause();
				continue;
			}
			/* Full: a worker must drain first. The ticket stays ours; should we give up, a worker invalidates it after its patience. */
			if (atomic_load_explicit(&queue->tail, memory_order_relaxed) <= ticket) break; /* the tail had been run away, and was put right: no ticket any more */
			dc_queue_wake(queue);
			uint64_t now = dc_monotonic_ns();
			if (!deadline) deadline = now + patience_ns;
			else if (now > deadline) return -EAGAIN;
			sched_yield();
		}
		if (state == 0) break;
		if (tries % 64 == 0) dc_queue_rouse(queue); /* as many dead tickets in a row: the tail is behind the head, which only a worker can see */
	}
	return 0;
}

int dc_queue_put(struct dc_queue *queue, uint32_t item, uint64_t patience_ns) {
	int result = dc_queue_place(queue, item, patience_ns);
	if (result == 0) dc_queue_wake(queue);
	return result;
}

/* ---- the service's side ---------------------------------------------------------------------------------------------------- */
/* Too far ahead to be true: as many tickets as there are slots count, whose words are looked at. Behind: nobody is told these tickets, they were taken. */
static bool mend_tail(struct dc_queue_reader *reader, uint64_t head, uint64_t tail) {
	uint64_t right = tail > head ? head + DC_QUEUE_SLOTS : head;
	if (tail == right || (tail > head && tail - head <= DC_QUEUE_AHEAD_MAX)) return false;
	if (atomic_compare_exchange_strong_explicit(&reader->queue->tail, &tail, right, memory_order_seq_cst, memory_order_relaxed))
		atomic_fetch_add_explicit(&reader->mended, 1, memory_order_relaxed);
	return true;
}

static bool claim_ticket(struct dc_queue_reader *reader, uint64_t *ticket) {
	uint64_t head = atomic_load_explicit(&reader->head, memory_order_relaxed);
	for (;;) {
		uint64_t tail = atomic_load_explicit(&reader->queue->tail, memory_order_seq_cst);
		if (__builtin_expect(tail - head > DC_QUEUE_AHEAD_MAX, 0) && mend_tail(reader, head, tail)) {
			head = atomic_load_explicit(&reader->head, memory_order_relaxed);
			continue;
		}
		if (head >= tail) return false;
		if (atomic_compare_exchange_weak_explicit(&reader->head, &head, head + 1, memory_order_acq_rel, memory_order_relaxed)) break;
	}
	*ticket = head;
	return true;
}

/* The ticket is done with: the worker of the slot's next one may come. */
static enum dc_take leave_slot(struct dc_queue_reader *reader, uint64_t ticket, enum dc_take taken) {
	atomic_store_explicit(&reader->lap[ticket & (DC_QUEUE_SLOTS - 1)], (uint32_t)(ticket >> DC_QUEUE_SHIFT) + 1, memory_order_release);
	uint32_t dead = __atomic_load_n(&reader->dead, __ATOMIC_RELAXED);
	if (taken == DC_TAKE_ITEM ? dead : dead < 63) __atomic_store_n(&reader->dead, taken == DC_TAKE_ITEM ? 0 : dead + 1, __ATOMIC_RELAXED);
	return taken;
}

enum dc_take dc_queue_take(struct dc_queue_reader *reader, uint32_t *item) {
	uint64_t ticket, deadline = 0;
	if (!claim_ticket(reader, &ticket)) return DC_TAKE_EMPTY;
	unsigned place = (unsigned)(ticket & (DC_QUEUE_SLOTS - 1));
	_Atomic uint64_t *word = &reader->queue->slot[place].word;
	uint32_t lap = (uint32_t)(ticket >> DC_QUEUE_SHIFT);
	/* Another worker has claimed the item before and is about to take it; workers are ours, so this is waited for without bound. */
	for (unsigned round = 0; atomic_load_explicit(&reader->lap[place], memory_order_acquire) != lap; round++) {
		if (round < 200) dc_pause();
		else sched_yield();
	}
	/* One dead ticket after the other is a sender that runs the tail away: waited for ever less, and no sender loses more than its turn by it. */
	uint32_t dead = __atomic_load_n(&reader->dead, __ATOMIC_RELAXED);
	uint64_t seen = atomic_load_explicit(word, memory_order_acquire);
	for (unsigned round = dead < 16 ? 0 : 190;; round++) {
		if (__builtin_expect(DC_WORD_LAP(seen) != lap, 0)) {
			/* From this lap to the next it is ours alone to move: damaged. */
			if (!atomic_compare_exchange_strong_explicit(word, &seen, DC_WORD(lap + 1, DC_WORD_FREE, 0), memory_order_acq_rel, memory_order_acquire)) continue;
			atomic_fetch_add_explicit(&reader->mended, 1, memory_order_relaxed);
			return leave_slot(reader, ticket, DC_TAKE_INVALIDATED);
		}
		if (DC_WORD_STATE(seen) == DC_WORD_OCCUPIED) {
			if (atomic_compare_exchange_strong_explicit(word, &seen, DC_WORD(lap + 1, DC_WORD_FREE, 0), memory_order_acq_rel, memory_order_acquire)) {
				*item = DC_WORD_ITEM(seen);
				return leave_slot(reader, ticket, DC_TAKE_ITEM);
			}
			continue;
		}
		/* Free: given out, not published yet; the sender is between two instructions, descheduled, stopped or dead. */
		if (round < 200) {
			dc_pause();
		} else {
			uint64_t now = dc_monotonic_ns();
			if (!deadline) deadline = now + (reader->patience_ns >> dead);
			else if (now > deadline) {
				if (atomic_compare_exchange_strong_explicit(word, &seen, DC_WORD(lap + 1, DC_WORD_FREE, 0), memory_order_acq_rel, memory_order_acquire)) {
					atomic_fetch_add_explicit(&reader->invalidated, 1, memory_order_relaxed);
					return leave_slot(reader, ticket, DC_TAKE_INVALIDATED);
				}
				continue; /* published after all: take it */
			}
			if (dead < 16) sched_yield();
		}
		seen = atomic_load_explicit(word, memory_order_acquire);
	}
}

void dc_queue_stand(struct dc_queue_reader *reader, uint64_t head) {
	for (uint64_t i = head; i < head + DC_QUEUE_SLOTS; i++) atomic_store_explicit(&reader->lap[i & (DC_QUEUE_SLOTS - 1)], (uint32_t)(i >> DC_QUEUE_SHIFT), memory_order_relaxed);
	atomic_store(&reader->head, head);
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
	dc_queue_stand(reader, tail);
}
