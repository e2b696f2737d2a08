/*
 * ending.c - the end of processes, and of the pool: TERM, a grace, KILL; then the mounts, then the service, then pool-init itself, with which the kernel ends whatever is left.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "pool.h"

#define TICK_MS 20u
#define STOP_GRACE_MS 5000u
#define KILL_MS 5000u    /* how long killed processes may take to go; those in the kernel's hands may take for ever */
#define MOUNTS_MS 10000u
#define GRACE_MAX_S 3600.0

/* One `kill`, or the whole `stop`. */
struct dc_ending {
	struct dc_pool *pool;
	struct dc_timer timer;
	struct dc_request *request;
	uint64_t kill_ms, give_up_ms; /* from when on KILL; until when at all */
	bool stop, mounts_logged;
};

static bool is_ours(struct dc_pool *pool, pid_t pid) {
	for (unsigned i = 0; i < pool->keepers.count; i++)
		if (pid == pool->keepers.list[i]->pid) return true;
	return pid == 1 || pid == pool->service.process.child.pid;
}

static bool is_zombie_or_gone(pid_t pid) {
	char path[32], text[512];
	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	if (dc_read_file(-1, path, text, sizeof text) <= 0) return true;
	const char *end = strrchr(text, ')');
	return !end || end[1] == 0 || end[2] == 'Z' || end[2] == 'X';
}

static bool is_helper(struct dc_pool *pool, pid_t pid) {
	char path[32], text[512];
	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	if (dc_read_file(-1, path, text, sizeof text) <= 0) return false;
	/* A child of ours that runs no program: helpers never call exec. What a server's start is before its exec is as short. */
	static char self[PATH_MAX], other[PATH_MAX];
	snprintf(path, sizeof path, "/proc/%d/exe", (int)pid);
	ssize_t own = readlink("/proc/self/exe", self, sizeof self), theirs = readlink(path, other, sizeof other);
	if (own <= 0 || own != theirs || memcmp(self, other, (size_t)own) != 0) return false;
	for (struct dc_child *child = pool->loop.children; child; child = child->next)
		if (child->pid == pid) return true;
	return false;
}

/* Sends the signal to all of the pool but pool-init, its helpers and the service; how many there are. */
static unsigned signal_all(struct dc_pool *pool, int number) {
	DIR *directory = opendir("/proc");
	unsigned count = 0;
	if (!directory) return 0;
	for (struct dirent *entry; (entry = readdir(directory));) {
		pid_t pid = isdigit((unsigned char)entry->d_name[0]) ? atoi(entry->d_name) : 0;
		if (pid <= 0 || is_ours(pool, pid) || is_zombie_or_gone(pid) || is_helper(pool, pid)) continue;
		count++;
		if (number) kill(pid, number);
		if (number == SIGTERM) kill(pid, SIGCONT); /* a stopped process would not see it */
	}
	closedir(directory);
	return count;
}

static void end_now(struct dc_pool *pool) {
	dc_attach_stop(pool);
	dc_control_stop(pool);
	unlinkat(pool->directory_fd, "service.sock", 0);
	unlinkat(pool->directory_fd, "mounts", 0);
	unlinkat(pool->directory_fd, "init.json", 0);
	dc_log("the pool is stopped");
	pool->loop.done = true;
}

static void on_mounts_tick(struct dc_timer *timer) {
	struct dc_ending *ending = dc_container_of(timer, struct dc_ending, timer);
	struct dc_pool *pool = ending->pool;
	bool late = dc_now_ms() > ending->give_up_ms;
	if (!dc_mounts_clear(pool) && !late) {
		dc_timer_set(&pool->loop, timer, TICK_MS, on_mounts_tick);
		return;
	}
	if (late) dc_log("the mounts were not all closed within %u s; going on", MOUNTS_MS / 1000);
	dc_service_quit(pool, end_now);
}

static void processes_gone(struct dc_ending *ending, unsigned left) {
	if (left) dc_log("%u processes could not be killed; they wait in the kernel", left);
	if (ending->stop) {
		ending->give_up_ms = dc_now_ms() + MOUNTS_MS;
		on_mounts_tick(&ending->timer);
		return;
	}
	if (left) dc_request_fail(ending->request, ETIMEDOUT, "%u processes of the pool could not be killed", left);
	else dc_request_answer(ending->request, NULL);
	free(ending);
}

static void on_tick(struct dc_timer *timer) {
	struct dc_ending *ending = dc_container_of(timer, struct dc_ending, timer);
	uint64_t now = dc_now_ms();
	dc_children_reap(&ending->pool->loop);
	unsigned left = signal_all(ending->pool, now >= ending->kill_ms ? SIGKILL : 0);
	if (left == 0 || now >= ending->give_up_ms) processes_gone(ending, left);
	else dc_timer_set(&ending->pool->loop, timer, TICK_MS, on_tick);
}

static void begin(struct dc_ending *ending, uint64_t grace_ms) {
	ending->kill_ms = dc_now_ms() + grace_ms;
	ending->give_up_ms = ending->kill_ms + KILL_MS;
	dc_servers_disable(ending->pool);
	if (grace_ms) signal_all(ending->pool, SIGTERM);
	dc_timer_set(&ending->pool->loop, &ending->timer, 1, on_tick);
}

void dc_kill_request(struct dc_pool *pool, struct dc_request *request) {
	json_t *grace = json_object_get(dc_request_message(request), "graceSeconds");
	double seconds = grace ? json_number_value(grace) : 5.0;
	if ((grace && !json_is_number(grace)) || !(seconds >= 0 && seconds <= GRACE_MAX_S)) {
		dc_request_fail(request, EINVAL, "'graceSeconds' must be a number from 0 to %.0f", GRACE_MAX_S);
		return;
	}
	struct dc_ending *ending = calloc(1, sizeof *ending);
	if (!ending) {
		dc_request_fail(request, ENOMEM, "out of memory");
		return;
	}
	ending->pool = pool;
	ending->request = request;
	begin(ending, (uint64_t)(seconds * 1000.0));
}

void dc_stop_request(struct dc_pool *pool, struct dc_request *request) {
	static struct dc_ending ending;
	bool first = pool->ending == NULL;
	pool->ending = &ending;
	dc_request_answer(request, NULL);
	if (!first) return;
	dc_log("the pool is being stopped");
	ending.pool = pool;
	ending.stop = true;
	begin(&ending, STOP_GRACE_MS);
}
