/*
 * mailbox.h - how requests travel in a pool with `trust: process`: each client process has a mailbox in its own arena (segment.h), and the workers look at all of them in turn.
 *
 * No client can reach memory of another, so none can take another's bell back, keep workers asleep, or run a shared counter away. What a hostile client can do is ring without end: a worker takes one
 * request of a client, then looks at the next client's, so each bell of others waits for at most one request, true or not, of every other client and worker.
 *
 * A worker sleeps on the ears of the first DC_LISTEN_MAX mailboxes and on its own wake-up word at once. Clients beyond those are listened to by threads that only pass the ring on (receiver.h).
 */
#ifndef DICICLO_IPC_MAILBOX_H
#define DICICLO_IPC_MAILBOX_H

#include <stdbool.h>

#include "queue.h"

/* The client's side: a slot of its arena holds a request. Wait-free but for one system call when a worker sleeps; safe in signal handlers. */
void dc_mailbox_ring(struct dc_mailbox *mailbox, unsigned slot);
/* The same in two steps, for who lets others run before it wakes a worker. */
void dc_mailbox_put(struct dc_mailbox *mailbox, unsigned slot);
void dc_mailbox_wake(struct dc_mailbox *mailbox);
/* A request has not been taken for long: whoever was to take it waits for a CPU. */
void dc_mailbox_call(struct dc_mailbox *mailbox);

/* ---- the service's side ---------------------------------------------------------------------------------------------------- */
#define DC_LISTEN_MAX (DC_FUTEX_WAIT_MAX - 1)
#define DC_LISTEN_GROUPS ((DC_CLIENTS_MAX + DC_LISTEN_MAX - 1) / DC_LISTEN_MAX)

#define DC_ALARMS_MAX 200u /* without a bell that explains them */

/* Places are dense, so that a round costs what the clients that there are cost. A box, once given, must stay readable and writable for ever, though another client's may come to stand there. */
struct dc_place {
	_Atomic(struct dc_mailbox *) box; /* NULL: free */
	_Atomic uint32_t name;            /* {generation:10, client:14} */
	_Atomic uint32_t turn;            /* slot to begin with: the threads of a client take turns too */
	uint32_t alarms;                  /* how often its ear was found rung, less what bells explain; relaxed, a hint */
};
struct dc_mailboxes {
	_Atomic uint32_t top; /* places in use are below */
	uint32_t alarmist;    /* place + 1 of a client whose ear wakes us for nothing, again and again; relaxed. 0: none */
	struct dc_place place[DC_CLIENTS_MAX];
};

/* One caller at a time for all three. A place for the client, or -ENOSPC; then its box, from when on it is looked at. */
int dc_mailboxes_reserve(struct dc_mailboxes *mailboxes, uint32_t client, uint32_t generation);
void dc_mailboxes_open(struct dc_mailboxes *mailboxes, unsigned place, struct dc_mailbox *box);
void dc_mailboxes_remove(struct dc_mailboxes *mailboxes, unsigned place);
/* The next request, going round from *cursor (the caller's own); tells the client that `cpu` has it. `listened`: a worker may sleep on the ears. Never waits. */
enum dc_take dc_mailboxes_take(struct dc_mailboxes *mailboxes, unsigned *cursor, bool listened, uint32_t cpu, uint32_t *item);
bool dc_mailboxes_empty(struct dc_mailboxes *mailboxes);
uint64_t dc_mailboxes_depth(struct dc_mailboxes *mailboxes);
/* Arms the ears of a group and lists them for dc_futex_wait_any; answers how many. To be called before the last look at the bells. */
unsigned dc_mailboxes_arm(struct dc_mailboxes *mailboxes, unsigned group, struct dc_futex_expectation *list);
/* Lists the calls of a group for dc_futex_wait_any, answers how many; *called: there were some since the last time (`seen`: the caller's own, by place in the group). */
unsigned dc_mailboxes_calls(struct dc_mailboxes *mailboxes, unsigned group, uint32_t seen[DC_LISTEN_MAX], struct dc_futex_expectation *list, bool *called);

#endif
