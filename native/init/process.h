/*
 * process.h - what pool-init starts: programs (the service, the servers) and helpers (a fork of itself that does one thing which may block, such as mount or unmount, and answers).
 */
#ifndef DICICLO_INIT_PROCESS_H
#define DICICLO_INIT_PROCESS_H

#include <sys/resource.h>

#include "loop.h"
#include "util.h"

struct dc_pool;

struct dc_program {
	const char *path;          /* looked up in PATH when it has no slash */
	char *const *argv;
	char *const *environment;
	const char *directory;     /* working directory */
	int output_fd;             /* stdout and stderr */
	int descriptor3;           /* -1: none */
	bool own_limits;           /* the limit of open files that pool-init was started with, not its raised one */
};

struct dc_process {
	struct dc_child child;
	struct dc_source report; /* the child tells its pid on the host, then why it could not start; its end says that it runs */
	struct dc_pool *pool;
	pid_t host_pid;          /* 0: not known yet */
	int start_error;
	char start_step[16];
	/* Once, before `ended`: error 0, or errno and the step that failed ("chdir", "exec"). */
	void (*started)(struct dc_process *process, int error, const char *step);
	void (*ended)(struct dc_process *process, int status);
};

/* Starts it in a session of its own. `started` and `ended` are set by the caller before. 0 or -errno (then neither is called). */
int dc_process_start(struct dc_pool *pool, struct dc_process *process, const struct dc_program *program);
static inline bool dc_process_lives(const struct dc_process *process) { return process->child.pid != 0; }

/* ---- helpers ---------------------------------------------------------------------------------------------------------------- */
struct dc_helper_answer {
	struct dc_fault fault; /* error 0: done */
	uint64_t device;
	uint32_t made_length;  /* of the first directory made, a prefix of the mount point; 0: none */
};

struct dc_helper {
	struct dc_child child;
	int answer_fd;
	void (*done)(struct dc_helper *helper, const struct dc_helper_answer *answer);
};

/* Runs `work` in a child of its own; `done` is called from the loop. 0 or -errno. */
int dc_helper_run(struct dc_pool *pool, struct dc_helper *helper, void (*work)(struct dc_helper *, struct dc_helper_answer *),
	void (*done)(struct dc_helper *, const struct dc_helper_answer *));

/* ---- restarts --------------------------------------------------------------------------------------------------------------- */
#define DC_BACKOFF_DEATHS 3u
struct dc_backoff {
	uint64_t death_ms[DC_BACKOFF_DEATHS];
	uint64_t delay_ms;
};
/* Notes a death; how long to wait before the next start: 0, or after three deaths within 10 s 100 ms doubling up to 5 s. */
uint64_t dc_backoff_next(struct dc_backoff *backoff);

#endif
