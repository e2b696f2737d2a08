/*
 * queue.h - the relaxed circular queue (after RCQB: Polytropon, SoCC'20; TOPC 10.1145/3565514), corrected for processes that die.
 *
 * A fetch-and-add on `tail` assigns a ticket; ticket t belongs to slot t mod N in lap t / N; the item then moves by compare-and-swap on the slot's one word {lap, state, item}:
 *   enqueue  (lap, FREE) -> (lap, OCCUPIED, item)
 *   dequeue  (lap, OCCUPIED, item) -> (lap + 1, FREE)
 *   invalidate a ticket whose holder died or stands still: (lap, FREE) -> (lap + 1, FREE); the holder then finds its slot a lap ahead and takes a new ticket.
 * So an item is never lost nor doubled wherever a sender is killed or stopped. Workers claim tickets in order from a private `head`, one each, and each waits for its own slot only: a
 * ticket without a publisher holds up one worker for `patience` and nobody else.
 *
 * Any process that maps the queue can write anything into it. The service does not take its word for more than items: `head` and each slot's lap are in private memory too, so a slot whose word is
 * of another lap is damaged, and mended; a tail that is impossible is put right; a sender whose item is lost sends it again (client.c). The queue can be slowed by a liar, not stopped.
 *
 * The wake-up is a Dekker pattern (publish, then look for sleepers; announce sleep, then look for items): both sides are sequentially consistent.
 */
#ifndef DICICLO_IPC_QUEUE_H
#define DICICLO_IPC_QUEUE_H

#include <stdbool.h>

#include "segment.h"
#include "waiting.h"

void dc_queue_init(struct dc_queue *queue, uint32_t running_target, uint32_t spin_ns);
/* The header alone, should somebody have written into it. */
void dc_queue_mend_header(struct dc_queue *queue, uint32_t running_target, uint32_t spin_ns);

/*
 * Puts an item in. 0, or -EAGAIN after `patience_ns` of a full queue (every slot still holds the item of the lap before). Wakes a worker if one should.
 * Lock-free; safe in signal handlers; any process that maps the queue.
 */
int dc_queue_put(struct dc_queue *queue, uint32_t item, uint64_t patience_ns);
/* The same in two steps, for who lets others run before it wakes a worker. */
int dc_queue_place(struct dc_queue *queue, uint32_t item, uint64_t patience_ns);
void dc_queue_wake(struct dc_queue *queue);

/* Wakes a worker if, by these counts, nobody is about to look and one that should run sleeps: to be called where requests may wait. Whether somebody slept. */
bool dc_board_wake(struct dc_board *board, uint32_t workers, uint32_t running_target);
void dc_board_rouse(struct dc_board *board, uint32_t workers); /* a sleeper, if there is one, whatever others are said to do */
/* By a sender whose request nobody has taken although a worker is said to be looking, or, `though_some_run`, to run: that one waits for its CPU. Wakes another. */
void dc_queue_look(struct dc_queue *queue, bool though_some_run);
/* By a sender that has waited for long: whatever the counts say. */
void dc_queue_rouse(struct dc_queue *queue);

/* ---- the service's side ---------------------------------------------------------------------------------------------------- */
struct dc_queue_reader {
	struct dc_queue *queue;
	alignas(DC_CACHE_LINE) _Atomic uint64_t head;
	alignas(DC_CACHE_LINE) _Atomic uint64_t invalidated;
	_Atomic uint64_t mended; /* words that no honest sender leaves behind */
	uint64_t patience_ns;
	uint32_t dead;           /* tickets invalidated one after the other; relaxed, a hint */
	_Atomic uint32_t lap[DC_QUEUE_SLOTS]; /* of the slot's next ticket: what the word says too, unless somebody lies */
};
/* More tickets than there can be senders. */
#define DC_QUEUE_AHEAD_MAX ((uint64_t)DC_CLIENTS_MAX * DC_SLOTS_MAX)

enum dc_take { DC_TAKE_ITEM, DC_TAKE_EMPTY, DC_TAKE_INVALIDATED };

/* The next ticket to be taken. Before the first take, unless it is 0. */
void dc_queue_stand(struct dc_queue_reader *reader, uint64_t head);
/* Empties the queue that a dead service left, and stands the reader behind it: the requests are found in the arenas, a sender that has not published yet finds its ticket invalid. */
void dc_queue_drop(struct dc_queue_reader *reader);

static inline bool dc_queue_empty(struct dc_queue_reader *reader) {
	return atomic_load_explicit(&reader->head, memory_order_relaxed) >= atomic_load_explicit(&reader->queue->tail, memory_order_seq_cst);
}
/* Claims the next ticket if one was given out, and waits for its slot for at most `patience_ns`. */
enum dc_take dc_queue_take(struct dc_queue_reader *reader, uint32_t *item);

#endif
