/*
 * harness.h - starts a real diciclo-service without pool-init: the other end of the link, clients as a library would be. For tests and benches of the service alone.
 */
#ifndef DICICLO_TEST_HARNESS_H
#define DICICLO_TEST_HARNESS_H

#include <sys/types.h>

#include "client.h"

struct harness {
	pid_t service;
	int link;
	int queue_fd, ledger_fd;
	pid_t keeper, old_keeper; /* of this service, and of the one before */
	pid_t janitor; /* takes the directory away when the harness ends, however it does: */
	int alive;     /* then this is closed */
	struct dc_queue *queue;
	char directory[256]; /* pool directory, and `data` below it the host directory that is served */
	char data[300];
	unsigned next_client;
	unsigned epoch;
	char plan[2048];
	int arena_fd[64];
	unsigned arena_count;
	struct { unsigned id; char mountpoint[100]; } more[4]; /* instances besides the first */
	bool by_mailbox; /* by $DICICLO_TRUST, pool or process */
};

/* `plan` may hold %s for the served directory; NULL: cache over local. Exits with a message on failure: tests have nothing to go on with. */
void harness_start(struct harness *harness, const char *plan);
void harness_stop(struct harness *harness);
/* One more instance, `local` over a directory `data<id>` beside `data`. Told again after a restart. */
void harness_mount(struct harness *harness, unsigned id, const char *mountpoint);
void harness_unmount(struct harness *harness, unsigned id);
/* Kills the service and starts another on the same memory. */
void harness_restart(struct harness *harness);
/* A client as `uid`. */
void harness_attach(struct harness *harness, struct dc_client *client, uid_t uid, gid_t gid);
/* The same in two steps: its memory is there, then the service hears of it. */
void harness_make_client(struct harness *harness, struct dc_client *client);
void harness_tell_client(struct harness *harness, const struct dc_client *client, uid_t uid, gid_t gid);
/* Its process has ended, the service hears; and waits until it has let go of it. Then the client can be told anew. */
void harness_end_client(struct harness *harness, const struct dc_client *client);
void harness_await_end(struct harness *harness);

/* One request with a path: fills the slot, sends, answers the result; the slot's other fields as `prepare` was filled. */
struct call {
	uint32_t instance; /* 0: the first */
	uint16_t operation;
	uint32_t flags, mode, mask;
	uint64_t handle, handle2, offset, length, argument0;
	const char *path, *path2;
	const void *data;       /* to the buffer, `length` bytes */
	/* answers */
	uint64_t value0, value1, value2;
	struct dc_wire_attr attr;
	struct dc_wire_lease lease; /* with DC_PATH_LEASE, if value2 */
	void *out;              /* from the buffer, result bytes; with DC_RESULT_LEAVES the path, terminated */
};
int64_t harness_call(struct dc_client *client, struct call *call);

#endif
