/*
 * receiver.h - the service's side of the transport, whichever it is: workers take requests and wait for them.
 *   DC_BY_QUEUE      `trust: pool`: one relaxed queue for all processes (queue.h)
 *   DC_BY_MAILBOXES  `trust: process`: a mailbox per process (mailbox.h)
 *
 * Waiting: at most one worker spins at a time; it spins for about the cost of waking an idle virtual CPU (tens of microseconds), less while spinning has not paid, and not at all when
 * the last sender runs on the same CPU, which it would only keep from sending. Everybody else sleeps. Another worker is woken for waiting requests while fewer than `running_target` run; a worker
 * that may block (dc_receiver_block) does not count as running meanwhile.
 *
 * By mailboxes, the one worker that sleeps first is the listener: only it can be woken by clients. While nobody listens or spins, a worker runs that will look when it is done; one that blocks makes
 * another sleeper the listener.
 */
#ifndef DICICLO_IPC_RECEIVER_H
#define DICICLO_IPC_RECEIVER_H

#include "mailbox.h"
#include "queue.h"
#include "yielding.h"

enum dc_transport { DC_BY_QUEUE, DC_BY_MAILBOXES };
enum dc_worker_state { DC_WORKER_RUN, DC_WORKER_SPIN, DC_WORKER_SLEEP, DC_WORKER_BLOCKED, DC_WORKER_BRIEF };

struct dc_seat;
struct dc_receiver {
	enum dc_transport transport;
	uint32_t running_target;
	uint32_t spin_ns;
	struct dc_board *board;           /* the queue's, or `own_board` */
	struct dc_queue_reader reader;
	struct dc_mailboxes *mailboxes;
	struct dc_board own_board;        /* `workers` is the truth; by mailboxes clients see nothing of it, by the queue a copy */
	_Atomic uint32_t come, expected;  /* sleepers that have come back; what that will be when those that were woken have */
	struct dc_seat *seat[DC_WORKERS_MAX]; /* that ever entered */
	uint32_t seats;
	_Atomic bool stopping;
};

/* What a worker waits by: its own. */
struct dc_seat {
	_Atomic uint32_t cpu;  /* last published; others look at it for information */
	uint32_t sender_cpu;   /* of the last request; the server of requests sets it */
	unsigned block_depth;
	bool known;            /* to the receiver */
	_Atomic uint64_t brief_since; /* ticks */
	unsigned cursor;       /* mailboxes: whose turn it is */
	uint64_t spin_ticks;   /* today's budget */
	uint32_t last;                  /* the request before */
	bool again;                     /* it was from the same slot: one thread asks */
	struct dc_yielding yielding[2]; /* learned from several threads that ask, and from one */
	_Atomic uint32_t state;
	_Atomic uint64_t handled;  /* requests taken */
	_Atomic uint64_t waits;    /* how often there was none */
	_Atomic uint64_t spins;    /* waits that began by spinning */
	_Atomic uint64_t caught;   /* spins that ended with a request */
	_Atomic uint64_t sleeps;   /* waits that went to sleep */
	_Atomic uint64_t rung;     /* sleeps ended by a client's ring (mailboxes) */
	_Atomic uint64_t spurious; /* of `handled`, those that named no pending request; the server of requests counts them */
};

/* `queue` or `mailboxes` is NULL, and that decides. The queue's memory may be a dead service's: dc_queue_drop(&receiver->reader) before anything is taken. */
void dc_receiver_init(struct dc_receiver *receiver, struct dc_queue *queue, struct dc_mailboxes *mailboxes, uint32_t running_target, uint32_t spin_ns, uint64_t patience_ns);

/* A worker's life: enter, next until it stops, leave. next: takes a request, or waits for a while and answers that there was none. */
void dc_receiver_enter(struct dc_receiver *receiver, struct dc_seat *seat);
enum dc_take dc_receiver_next(struct dc_receiver *receiver, struct dc_seat *seat, uint32_t *item);
void dc_receiver_leave(struct dc_receiver *receiver);

/* By a worker that is about to step to another CPU: its last sender need not yield to it. */
void dc_receiver_depart(struct dc_receiver *receiver, struct dc_seat *seat);

/* Around what may block, by the worker that does it; nest. `briefly`: it counts as running, until one is woken by a client that has waited and finds it at that for long. */
void dc_receiver_block(struct dc_receiver *receiver, struct dc_seat *seat, bool briefly);
void dc_receiver_unblock(struct dc_receiver *receiver, struct dc_seat *seat);

/* Wakes every sleeper: the clients have changed, or the receiver stops. */
void dc_receiver_kick(struct dc_receiver *receiver);
bool dc_receiver_empty(struct dc_receiver *receiver);
uint64_t dc_receiver_depth(struct dc_receiver *receiver);

/*
 * Passes on what the group's clients have rung for (from 1; the workers listen to group 0), then listens until one rings again or `wake` is no longer `seen`. To be called for ever, by a thread
 * of its own for each further DC_LISTEN_MAX clients.
 */
void dc_receiver_overhear(struct dc_receiver *receiver, unsigned group, _Atomic uint32_t *wake, uint32_t seen);

/*
 * By mailboxes: waits for clients of the group (from 0) whose requests are not taken, then wakes a further worker, whatever the others are said to do: one may wait for a CPU. Answers when that is
 * done or `wake` is no longer `seen`; to be called for ever, by a thread of its own for each group. `calls`: the thread's own, zero at first. By the queue, clients do it themselves (dc_queue_look).
 */
void dc_receiver_attend(struct dc_receiver *receiver, unsigned group, uint32_t calls[DC_LISTEN_MAX], _Atomic uint32_t *wake, uint32_t seen);

/* The answer to a request: stands in the slot, then the word is swapped, and the sender woken if it sleeps. */
void dc_answer(struct dc_slot *slot, uint32_t sequence, int64_t result);

#endif
