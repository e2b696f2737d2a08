/*
 * pool.h - pool-init's state. One struct, one thread. Who owns what:
 *   start.c    arguments, control groups, namespaces, until the pool is ready     service.c  the service and its restarts
 *   attach.c   attach.sock; clients.c  the table of attached processes            mounts.c   instances and their kernel doors (doors.c: the calls that may block)
 *   servers.c  storage servers                                                    control.c  control.sock; operations.c  what it can be asked
 *   keepers.c  descriptors of dead services
 *   upgrade.c  another program in the service's place   watchdog.c  a service that does not answer
 *   ending.c   kill and stop                                                      record.c   init.json
 */
#ifndef DICICLO_INIT_POOL_H
#define DICICLO_INIT_POOL_H

#include <jansson.h>
#include <string.h>

#include "line.h"
#include "link.h"
#include "loop.h"
#include "process.h"
#include "segment.h"
#include "util.h"

#define DC_POOL_CLIENTS_MAX 4096u
#define DC_POOL_SERVERS_MAX 64u

struct dc_client_slot;
struct dc_pool_mount;
struct dc_server;
struct dc_ending;
struct dc_request;

struct dc_options {
	const char *directory, *name, *service, *modules, *library, *trust;
	unsigned workers;
	uint64_t watchdog_ms; /* 0: none */
};

enum dc_service_state { DC_SERVICE_STARTING, DC_SERVICE_RUNNING, DC_SERVICE_BACKOFF, DC_SERVICE_DRAINING, DC_SERVICE_ENDING, DC_SERVICE_ENDED };

struct dc_service {
	enum dc_service_state state;
	struct dc_process process;
	struct dc_line line;
	struct dc_backoff backoff;
	struct dc_timer timer;      /* start timeout, or back-off */
	struct dc_source thread;    /* pidfd of one of its threads */
	struct dc_timer stuck;      /* that has ended, and the process not */
	uint64_t epoch, restarts;
	struct dc_copy_choice copy; /* for the arenas */
	unsigned clones;            /* /dev/fuse descriptors wanted per mount besides the first */
	void (*quitted)(struct dc_pool *pool);
};

struct dc_watchdog {
	struct dc_source line; /* to service.sock */
	struct dc_timer timer;
	unsigned unanswered;
};

struct dc_keeper {
	struct dc_source death; /* its pidfd */
	struct dc_pool *pool;
	pid_t pid;
	uint64_t epoch; /* of its service */
};

struct dc_keepers {
	struct dc_keeper *list[DC_LINK_KEEPERS_MAX]; /* the youngest last */
	unsigned count;
};

struct dc_pool {
	struct dc_options options;
	struct dc_loop loop;
	int directory_fd;
	int host_proc_fd;           /* /proc of the host: pids as it sees them */
	struct rlimit files_limit;  /* as we were started */
	pid_t host_pid;
	uint64_t start_time;
	char ipc_namespace[64], mount_namespace[64]; /* as readlink of /proc/self/ns/ gives them */
	bool own_cgroups;
	char *cgroups;              /* our own /proc/self/cgroup; NULL: the pool has no group of its own */
	struct dc_source signals;
	struct dc_timer trim;
	int ready_fd;               /* to the starter, -1 when it has been told */

	int queue_fd, ledger_fd;    /* what one service leaves to the next in memory; and in descriptors: */
	struct dc_keepers keepers;
	struct dc_service service;
	struct dc_watchdog watchdog;

	struct dc_source attach;
	unsigned attaching;         /* connections in progress */
	struct dc_client_slot *clients[DC_POOL_CLIENTS_MAX];
	uint16_t client_generation[DC_POOL_CLIENTS_MAX];
	uint32_t client_next;       /* where to look for a free index first */
	unsigned client_count;

	struct dc_mounts *mount_table; /* our copy; the file is what libraries map */
	int mount_table_fd;
	void (*mounts_renewed)(struct dc_pool *pool);
	struct dc_pool_mount *mounts; /* in the order they were made */
	struct dc_source mount_watch;
	uint32_t mount_next_id;
	bool backoff_forbidden;     /* tests: a service that dies again and again is started again at once */
	bool drained;               /* the service that has just ended left nothing under way */
	bool resend_forbidden;      /* tests: behave as on a kernel without FUSE_NOTIFY_RESEND */

	struct dc_server *servers;
	unsigned server_count;

	struct dc_source control;
	unsigned connections;
	struct dc_ending *ending;   /* a stop in progress */
};

/* ---- start.c: the pool cannot go on; the starter says it and everything ends. */
_Noreturn void dc_pool_give_up(struct dc_pool *pool, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The pool answers: tells the starter, once. */
void dc_pool_is_ready(struct dc_pool *pool);

/* Where processes trust each other, they and the service share a queue. */
static inline bool dc_trusts_pool(const struct dc_pool *pool) { return strcmp(pool->options.trust, "pool") == 0; }

/* ---- record.c */
void dc_record_write(struct dc_pool *pool);
/* The process's pid as the host sees it, through its pidfd; 0 when it cannot be known. */
pid_t dc_host_pid(struct dc_pool *pool, int pidfd);

/* ---- service.c */
void dc_service_start(struct dc_pool *pool);
/* Nothing is mounted any more: asks it to quit, kills it after a while; then `quitted`. */
void dc_service_quit(struct dc_pool *pool, void (*quitted)(struct dc_pool *));
/* Sends a message (stolen) with descriptors to the service, if one is there. */
void dc_service_send(struct dc_pool *pool, json_t *message, const int *descriptors, unsigned count);
json_t *dc_service_json(struct dc_pool *pool);
static inline bool dc_service_answers(const struct dc_pool *pool) { return pool->service.state == DC_SERVICE_RUNNING; }

/* ---- upgrade.c */
void dc_upgrade_request(struct dc_pool *pool, struct dc_request *request);
void dc_upgrade_drained(struct dc_pool *pool);            /* the service has ended as it was asked to: the next is the new program */
bool dc_upgrade_failed(struct dc_pool *pool, int status); /* a service has ended before it was ready: whether it was a new program, and the old one is back in its place */
void dc_upgrade_ready(struct dc_pool *pool);

/* ---- watchdog.c: from when the service is ready until it ends */
void dc_watchdog_start(struct dc_pool *pool);
void dc_watchdog_stop(struct dc_pool *pool);

/* ---- keepers.c */
void dc_keepers_add(struct dc_pool *pool, pid_t pid);
void dc_keepers_settle(struct dc_pool *pool); /* the service is ready: ends those of its predecessors */
void dc_keepers_end(struct dc_pool *pool);

/* ---- clients.c, attach.c */
int dc_attach_listen(struct dc_pool *pool);
void dc_attach_stop(struct dc_pool *pool);
void dc_clients_tell(struct dc_pool *pool); /* all of them, to a new service; also those that have ended, where no service has made yet what they had been acknowledged, */
void dc_clients_tell_ended(struct dc_pool *pool); /* and after `go` that they have */
void dc_clients_added(struct dc_pool *pool, uint32_t index, uint32_t generation, int error);
void dc_clients_gone(struct dc_pool *pool, uint32_t index, uint32_t generation);
void dc_clients_cut(struct dc_pool *pool, uint32_t index, uint32_t generation, const char *reason);
json_t *dc_clients_json(struct dc_pool *pool);

/* ---- request of control.sock (control.c): answered exactly once, then gone. */
struct dc_request;
json_t *dc_request_message(struct dc_request *request);
void dc_request_answer(struct dc_request *request, json_t *fields); /* stolen; NULL: none */
void dc_request_fail(struct dc_request *request, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));
void dc_request_fault(struct dc_request *request, const struct dc_fault *fault);
int dc_control_listen(struct dc_pool *pool);
void dc_control_stop(struct dc_pool *pool);
/* operations.c */
void dc_operation_run(struct dc_pool *pool, struct dc_request *request);

/* ---- mounts.c */
int dc_mounts_create(struct dc_pool *pool);
int dc_mounts_watch(struct dc_pool *pool);
void dc_mount_request(struct dc_pool *pool, struct dc_request *request);
void dc_unmount_request(struct dc_pool *pool, struct dc_request *request);
/* When the service has died: what the kernel cannot resend for is mounted anew. `done` may be called at once. */
void dc_mounts_renew(struct dc_pool *pool, void (*done)(struct dc_pool *));
void dc_mounts_tell(struct dc_pool *pool);
void dc_mounts_service_ended(struct dc_pool *pool);
void dc_mounts_service_ready(struct dc_pool *pool);
void dc_mounts_mounted(struct dc_pool *pool, uint32_t id, bool ok, const char *code, const char *error);
void dc_mounts_unmounted(struct dc_pool *pool, uint32_t id, bool ok, const char *error);
/* Unmounts by force, one after the other, the last first: call it until it answers true (none is left). */
bool dc_mounts_clear(struct dc_pool *pool);
json_t *dc_mounts_json(struct dc_pool *pool);

/* ---- servers.c */
void dc_server_start_request(struct dc_pool *pool, struct dc_request *request);
void dc_server_stop_request(struct dc_pool *pool, struct dc_request *request);
void dc_server_restart_request(struct dc_pool *pool, struct dc_request *request);
/* None of them is started again until somebody asks. */
void dc_servers_disable(struct dc_pool *pool);
void dc_servers_trim_logs(struct dc_pool *pool);
json_t *dc_servers_json(struct dc_pool *pool);

/* ---- ending.c */
void dc_kill_request(struct dc_pool *pool, struct dc_request *request);
void dc_stop_request(struct dc_pool *pool, struct dc_request *request); /* NULL: a signal asks */

#endif
