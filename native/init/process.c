#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "pool.h"

#define BACKOFF_WINDOW_MS 10000u
#define BACKOFF_FIRST_MS 100u
#define BACKOFF_LAST_MS 5000u

/* What a starting child says, one record each, smaller than PIPE_BUF. */
struct report {
	enum { REPORT_PID = 1, REPORT_FAILED } kind;
	int value;
	char step[16];
};

static void say(int fd, int kind, int value, const char *step) {
	struct report report = {.kind = kind, .value = value};
	snprintf(report.step, sizeof report.step, "%s", step);
	(void)!write(fd, &report, sizeof report);
}

_Noreturn static void fail(int fd, const char *step) {
	say(fd, REPORT_FAILED, errno, step);
	_exit(127);
}

/* Moves a descriptor out of the way of 0..3, so that dup2 to those cannot destroy it. */
static int lift(int fd) {
	return fd >= 0 && fd <= 3 ? fcntl(fd, F_DUPFD_CLOEXEC, 4) : fd;
}

_Noreturn static void become(struct dc_pool *pool, const struct dc_program *program, int report_fd) {
	dc_signals_reset();
	setsid();
	char number[16];
	ssize_t length = readlinkat(pool->host_proc_fd, "self", number, sizeof number - 1);
	number[length < 0 ? 0 : length] = 0;
	report_fd = lift(report_fd);
	say(report_fd, REPORT_PID, atoi(number), "");

	int output = lift(program->output_fd), extra = lift(program->descriptor3), null = lift(open("/dev/null", O_RDWR | O_CLOEXEC));
	if (output < 0 || null < 0 || dup2(null, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0) fail(report_fd, "descriptors");
	if (program->descriptor3 >= 0 && dup2(extra, 3) < 0) fail(report_fd, "descriptors");
	if (program->own_limits) setrlimit(RLIMIT_NOFILE, &pool->files_limit);
	if (chdir(program->directory) != 0) fail(report_fd, "chdir");
	environ = (char **)(uintptr_t)program->environment;
	execvp(program->path, program->argv);
	fail(report_fd, "exec");
}

static void finish_report(struct dc_process *process) {
	int fd = process->report.fd;
	dc_source_remove(&process->pool->loop, &process->report);
	close(fd);
	process->started(process, process->start_error, process->start_step);
}

/* True when the writer's end is closed: the program runs, or the child is dead. */
static bool read_report(struct dc_process *process) {
	for (;;) {
		struct report report;
		ssize_t got = read(process->report.fd, &report, sizeof report);
		if (got < 0 && errno == EINTR) continue;
		if (got < 0 && errno == EAGAIN) return false;
		if (got != (ssize_t)sizeof report) return true;
		if (report.kind == REPORT_PID) process->host_pid = report.value;
		if (report.kind == REPORT_FAILED) {
			process->start_error = report.value;
			memcpy(process->start_step, report.step, sizeof process->start_step);
			process->start_step[sizeof process->start_step - 1] = 0;
		}
	}
}

static void on_report(struct dc_source *source, uint32_t events) {
	struct dc_process *process = dc_container_of(source, struct dc_process, report);
	if (read_report(process)) finish_report(process);
}

static void on_ended(struct dc_child *child, int status) {
	struct dc_process *process = dc_container_of(child, struct dc_process, child);
	if (process->report.fd >= 0) {
		read_report(process);
		finish_report(process);
	}
	process->ended(process, status);
}

int dc_process_start(struct dc_pool *pool, struct dc_process *process, const struct dc_program *program) {
	int ends[2];
	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return -errno;
	process->pool = pool;
	process->host_pid = 0;
	process->start_error = 0;
	process->start_step[0] = 0;
	pid_t pid = fork();
	if (pid == 0) become(pool, program, ends[1]);
	int error = errno;
	close(ends[1]);
	if (pid < 0) {
		close(ends[0]);
		return -error;
	}
	dc_child_watch(&pool->loop, &process->child, pid, on_ended);
	if (dc_source_add(&pool->loop, &process->report, ends[0], EPOLLIN, on_report) == 0) return 0;
	/* The kernel has no room to watch it: wait for it right here. */
	fcntl(ends[0], F_SETFL, 0);
	process->report.fd = ends[0];
	while (!read_report(process)) continue;
	finish_report(process);
	return 0;
}

/* ---- helpers ---------------------------------------------------------------------------------------------------------------- */
static void on_helper_ended(struct dc_child *child, int status) {
	struct dc_helper *helper = dc_container_of(child, struct dc_helper, child);
	struct dc_helper_answer answer = {0};
	ssize_t got = read(helper->answer_fd, &answer, sizeof answer);
	close(helper->answer_fd);
	if (got != (ssize_t)sizeof answer) {
		answer = (struct dc_helper_answer){0};
		dc_fault_set(&answer.fault, EIO, "a helper process ended with status %d before it was done", dc_exit_status(status));
	}
	helper->done(helper, &answer);
}

_Static_assert(sizeof(struct dc_helper_answer) <= PIPE_BUF, "the answer is written at once, whether or not somebody reads");

int dc_helper_run(struct dc_pool *pool, struct dc_helper *helper, void (*work)(struct dc_helper *, struct dc_helper_answer *),
	void (*done)(struct dc_helper *, const struct dc_helper_answer *)) {
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) != 0) return -errno;
	pid_t pid = fork();
	if (pid == 0) {
		dc_signals_reset();
		struct dc_helper_answer answer = {0};
		work(helper, &answer);
		_exit(dc_write_all(ends[1], &answer, sizeof answer) < 0);
	}
	int error = errno;
	close(ends[1]);
	if (pid < 0) {
		close(ends[0]);
		return -error;
	}
	helper->answer_fd = ends[0];
	helper->done = done;
	dc_child_watch(&pool->loop, &helper->child, pid, on_helper_ended);
	return 0;
}

/* ---- restarts --------------------------------------------------------------------------------------------------------------- */
uint64_t dc_backoff_next(struct dc_backoff *backoff) {
	uint64_t now = dc_now_ms();
	memmove(backoff->death_ms, backoff->death_ms + 1, sizeof backoff->death_ms - sizeof backoff->death_ms[0]);
	backoff->death_ms[DC_BACKOFF_DEATHS - 1] = now;
	uint64_t oldest = backoff->death_ms[0];
	if (oldest == 0 || now - oldest > BACKOFF_WINDOW_MS + backoff->delay_ms * DC_BACKOFF_DEATHS) {
		backoff->delay_ms = 0;
		return 0;
	}
	backoff->delay_ms = backoff->delay_ms == 0 ? BACKOFF_FIRST_MS : backoff->delay_ms * 2 > BACKOFF_LAST_MS ? BACKOFF_LAST_MS : backoff->delay_ms * 2;
	return backoff->delay_ms;
}
