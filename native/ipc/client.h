/*
 * client.h - the sender's half: attach, take a slot, send, wait. Used by the filesystem library and by native tests; libc only, no threads, no locks,
 * usable in signal handlers. State lives in one struct, so that a test can be several clients.
 */
#ifndef DICICLO_IPC_CLIENT_H
#define DICICLO_IPC_CLIENT_H

#include <stdalign.h>
#include <stdbool.h>

#include "protocol.h"
#include "yielding.h"

#define DC_OWNER_NOBODY UINT32_MAX
struct dc_client {
	struct dc_queue *queue;           /* NULL: requests go through `mailbox` */
	struct dc_mailbox *mailbox;
	struct dc_arena *arena;
	uint32_t index, generation;
	uint64_t epoch;
	const _Atomic uint32_t *worker_cpu;
	const uint32_t *spin_ns;
	_Atomic uint32_t busy_waiters;    /* futex: threads waiting for a slot */
	_Atomic uint64_t sleeps, slept;   /* waits for answers: begun, and ended by them */
	_Atomic bool severed;             /* the arena is a copy, in a forked child */
	_Atomic uint32_t post_lock;       /* tried, never waited for: who fails sends a request instead */
	uint32_t post_unkicked;           /* bytes posted since the service was last woken for them */
	uint64_t post_tail, post_next;
	struct dc_post_record *post_record;
	struct dc_yield_trial yields;     /* whether to, beside a worker on the CPU */
	struct dc_slot_use {
		alignas(DC_CACHE_LINE) _Atomic uint32_t owner; /* thread id of the user, 0: free, DC_OWNER_NOBODY: until its answer comes. One word, so that a thread that jumps away at any instruction leaves its name */
		uint32_t sequence;
		uint32_t resent;                               /* sequence of the abandoned request that was put in again */
		uint8_t later, calm;                           /* when to look whether it waits for nothing: client.c */
	} use[DC_REQUEST_SLOTS];
};

/* On memory that is mapped already; `queue` NULL: by mailbox. */
void dc_client_init(struct dc_client *client, struct dc_queue *queue, struct dc_arena *arena, uint32_t index, uint32_t generation);
/* Connects to `socket_path`, maps. `mask`, or NULL: what signals are blocked while a service is waited for. 0, or -errno (-EPERM: refused, -ENOENT/-ECONNREFUSED: no pool). Leaves no descriptor open. Raw system calls only. */
int dc_client_attach(struct dc_client *client, const char *socket_path, const uint64_t *mask);
/* Unmaps; the service notices the process's end by itself. */
void dc_client_detach(struct dc_client *client);

/*
 * A fork (sever.c). Before it, by a signal handler on top of a call of `owner`'s, a copy of what that call has (NULL: no memory), which the parent drops. In the child the copy, or nothing, comes in
 * the arena's place, and the thread is `now`: what is asked there is answered -EINTR, until the client is detached.
 */
struct dc_arena *dc_client_copy(struct dc_client *client, uint32_t owner);
void dc_client_drop_copy(struct dc_arena *copy);
void dc_client_sever(struct dc_client *client, struct dc_arena *copy, uint32_t owner, uint32_t now);

/* A free slot's index; waits when all are taken. `hint` (-1: none): the slot this thread used last; `owner`: the calling thread's id (gettid). */
unsigned dc_client_acquire(struct dc_client *client, int hint, uint32_t owner);
/* One more, beside one that the thread has: never waits, since others may wait the same way. */
bool dc_client_try_acquire(struct dc_client *client, unsigned beside, uint32_t owner, unsigned *slot);
void dc_client_release(struct dc_client *client, unsigned slot);
/* Sends the slot's request and leaves it: nobody looks at the answer, and the slot is free when it has come. For what cannot fail and need not be waited for. */
void dc_client_leave(struct dc_client *client, unsigned slot);
bool dc_client_in_use(struct dc_client *client);
/*
 * A slot whose user left in the middle of a call (longjmp out of a signal handler, a thread's end) and will not touch it again: frees it if no request of it is under way, else sees to it that
 * it will be answered, and answers false: try again later. Whether the item had reached the queue is not known, so it is put in again; the service drops duplicates by sequence.
 */
bool dc_client_abandoned(struct dc_client *client, unsigned slot);

static inline struct dc_slot *dc_client_slot(struct dc_client *client, unsigned slot) { return &client->arena->slot[slot]; }
static inline unsigned char *dc_client_buffer(struct dc_client *client, unsigned slot) { return dc_arena_buffer(client->arena, slot); }

/*
 * Posts a write of `bytes` under `grant` (of the last write's answer): begin answers where the data go, or NULL: send a request instead. end publishes it; false: the grant was taken back
 * before, the write does not count, send a request. Nothing between the two may wait.
 */
#define DC_POST_MAX 65536u
void *dc_client_post_begin(struct dc_client *client, uint32_t grant, uint64_t handle, uint64_t offset, uint32_t bytes);
bool dc_client_post_end(struct dc_client *client, uint32_t grant);

/* Sends what the slot holds (operation and arguments set by the caller) and waits for the answer; returns slot->result. -EIO when the service is gone for good, -EINTR in a severed child. */
int64_t dc_client_call(struct dc_client *client, unsigned slot);
/* The same in two steps, for who has something to do meanwhile. */
void dc_client_send(struct dc_client *client, unsigned slot);
int64_t dc_client_await(struct dc_client *client, unsigned slot);

#endif
