/*
 * clients.h - processes attached to the pool. pool-init keeps each one's arena, so that a restarted service gets it again, and watches the process by pidfd, so that no number is ever
 * taken for another process's.
 */
#ifndef DICICLO_INIT_CLIENTS_H
#define DICICLO_INIT_CLIENTS_H

#include "pool.h"

#define DC_CLIENT_GROUPS_MAX 256u
#define DC_CLIENT_COMMAND 16u

/* LEAVING: the service is to let go of it. BANNED: it has, since the client misbehaved; its process lives and may not attach again. */
enum dc_client_state { DC_CLIENT_ADDING, DC_CLIENT_LIVE, DC_CLIENT_LEAVING, DC_CLIENT_BANNED };

struct dc_peer {
	pid_t pid; /* as the pool sees it */
	uid_t uid;
	gid_t gid;
	unsigned group_count;
	gid_t groups[DC_CLIENT_GROUPS_MAX];
	int pidfd;
	char command[DC_CLIENT_COMMAND + 1];
};

struct dc_client_slot {
	struct dc_pool *pool;
	enum dc_client_state state;
	uint32_t index, generation;
	struct dc_peer peer;
	pid_t host_pid;
	int arena_fd;
	bool cut; /* by the service; LEAVING until that has let go, then BANNED unless its process is gone by then */
	struct dc_source death; /* the pidfd */
	struct dc_attaching *attaching; /* waits for `client-added`; NULL when answered, which may be before */
};

/* One connection of attach.sock (attach.c). */
struct dc_attaching {
	struct dc_pool *pool;
	struct dc_source source;
	struct dc_timer deadline;
	struct dc_client_slot *client; /* NULL: the request has not come yet */
	struct dc_peer peer;
	int refusal; /* errno: not admitted; told when it has asked */
};

/* Takes the peer's pidfd when it succeeds. 0 or -errno (-EUSERS: too many, -EPERM: banned). */
int dc_client_add(struct dc_pool *pool, const struct dc_peer *peer, struct dc_attaching *attaching, struct dc_client_slot **added);
/* Its process may be answered before the service has taken it. */
bool dc_client_need_not_wait(const struct dc_client_slot *client);
/* Its process is gone, attaches anew, or never got its answer. */
void dc_client_leave(struct dc_client_slot *client);
/* attach.c: the service serves it (error 0), or will not. Frees the connection. */
void dc_attach_answer(struct dc_attaching *attaching, int error);

#endif
