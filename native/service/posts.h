/*
 * posts.h - posted writes: on an instance that writes back (DC_TRAIT_WRITE_BACK) a client with a grant puts writes into the ring of its arena (ipc/segment.h) and goes on at once.
 *
 * Nobody can see that a posted write is not made yet. The service reads the rings by itself, so it needs no client's help to keep that promise:
 *   - a request of any client on a node that somebody may post to (node->core.posters) first makes what the posters' rings hold;
 *   - a request of the kernel door takes the grants back as well, since the kernel may cache what it is told; a grant is given only while the kernel caches nothing of the node;
 *   - a request that changes something, or promises durability, first makes what its own sender has posted: a process's changes are made in the order in which it made them, and what
 *     a crash loses is always the newest of them;
 *   - a process's end makes what it has left, by the next service if need be; until then it counts as one that posts.
 * Otherwise a ring is emptied when DC_POST_BYTES / 8 have come together, and within a tick (200 ms). An error is answered by the next write, fsync or close of the description.
 */
#ifndef DICICLO_SERVICE_POSTS_H
#define DICICLO_SERVICE_POSTS_H

#include "clients.h"

/* The root to be used in place of the instance's own; lives as long as the instance. */
struct dc_libservice *dc_posts_wrap(struct dc_instance *instance);

void dc_posts_begin(struct dc_client_record *client); /* a client attached, or was attached to an earlier service */
void dc_posts_end(struct dc_client_record *client);   /* it is gone, its handles are still open */

/* The client's posts.lock. Who empties the ring for its own sake lets go of it for anybody else. */
void dc_posts_lock(struct dc_client_record *client);

/* Makes what the client has posted. `worker` may be NULL. */
void dc_posts_drain(struct dc_client_record *client, struct dc_worker *worker);
/* The client rings for its ring: the same, and what is added meanwhile, unless another worker is at it. False: it held nothing that it had not been rung for. */
bool dc_posts_rung(struct dc_client_record *client, struct dc_worker *worker);
/* The same, and every grant of the client is void. */
void dc_posts_take_back(struct dc_client_record *client);
void dc_posts_take_back_locked(struct dc_client_record *client); /* posts.lock held */

/* After a write through the handle: may it post the next ones? The ring's generation, or 0. */
uint32_t dc_posts_grant(struct dc_handle *handle, struct dc_node *node);
/* The error of an earlier posted write, once. */
int dc_posts_error(struct dc_handle *handle);
/* The handle is about to be closed: the same, and no grant is left. */
int dc_posts_closed(struct dc_handle *handle);

/* The node, which somebody may post to, is looked at and could be remembered by who looks. True: it has been often enough, since it was last posted to, for the grants to have ended now. */
bool dc_posts_looked_at(struct dc_node *node);

struct dc_posts_counts {
	uint64_t writes, bytes, runs, errors, taken_back;
};
void dc_posts_counts(struct dc_posts_counts *out);

#endif
