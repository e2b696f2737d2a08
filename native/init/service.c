/*
 * service.c - the service: started, told everything (link.h), started again when it ends.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "link.h"
#include "log.h"
#include "pool.h"

#define START_MS 25000u
#define QUIT_MS 10000u
#define STUCK_MS 1000u
#define FUSE_DEVICE makedev(10, 229) /* Documentation/admin-guide/devices.txt */
#define LOG_NAME "log/service.log"

static void spawn(struct dc_pool *pool);
static void watch_thread(struct dc_pool *pool, json_int_t thread);

static struct dc_pool *pool_of_process(struct dc_process *process) {
	return process->pool;
}

/* ---- what it says ----------------------------------------------------------------------------------------------------------- */
static const char *text_of(json_t *message, const char *key) {
	const char *text = json_string_value(json_object_get(message, key));
	return text ? text : "";
}

static json_int_t number_of(json_t *message, const char *key) {
	json_t *value = json_object_get(message, key);
	return json_is_integer(value) ? json_integer_value(value) : -1;
}

/* Routines by number, for the arenas; whoever uses them checks them. */
static void take_copy_choice(struct dc_service *service, json_t *list) {
	unsigned char *out = (unsigned char *)&service->copy;
	memset(out, 0, sizeof service->copy);
	for (size_t i = 0; i < json_array_size(list) && i < sizeof service->copy; i++) out[i] = (unsigned char)json_integer_value(json_array_get(list, i));
}

static void on_service_ready(struct dc_pool *pool, json_t *message) {
	struct dc_service *service = &pool->service;
	if (service->state != DC_SERVICE_STARTING || number_of(message, "epoch") != (json_int_t)service->epoch) return;
	json_int_t clones = number_of(message, "clones");
	service->clones = clones < 0 ? 0 : clones > DC_LINK_CLONES_MAX ? DC_LINK_CLONES_MAX : (unsigned)clones;
	service->state = DC_SERVICE_RUNNING;
	take_copy_choice(service, json_object_get(message, "copy"));
	dc_timer_clear(&pool->loop, &service->timer);
	watch_thread(pool, number_of(message, "thread"));
	dc_keepers_settle(pool);
	dc_watchdog_start(pool);
	dc_record_write(pool);
	dc_log("the service is ready: pid %d, epoch %llu", (int)service->process.host_pid, (unsigned long long)service->epoch);
	dc_pool_is_ready(pool);
	dc_mounts_service_ready(pool);
	dc_upgrade_ready(pool);
}

static bool service_drains(const struct dc_pool *pool) {
	return pool->service.state == DC_SERVICE_DRAINING;
}

static void on_message(struct dc_line *line, json_t *message) {
	struct dc_pool *pool = dc_container_of(line, struct dc_pool, service.line);
	const char *type = text_of(message, "type");
	uint32_t client = (uint32_t)number_of(message, "client"), generation = (uint32_t)number_of(message, "generation"), id = (uint32_t)number_of(message, "id");
	bool ok = json_is_true(json_object_get(message, "ok"));
	json_int_t error = number_of(message, "error");
	if (strcmp(type, DC_LINK_CLIENT_ADDED) == 0) dc_clients_added(pool, client, generation, error < 0 || error > 4095 ? 0 : (int)error);
	else if (strcmp(type, DC_LINK_CLIENT_GONE) == 0) dc_clients_gone(pool, client, generation);
	else if (strcmp(type, DC_LINK_CLIENT_CUT) == 0) dc_clients_cut(pool, client, generation, text_of(message, "reason"));
	else if (strcmp(type, DC_LINK_KEEPER) == 0) dc_keepers_add(pool, (pid_t)number_of(message, "pid"));
	else if (strcmp(type, DC_LINK_DRAINED) == 0) pool->drained = service_drains(pool);
	else if (strcmp(type, DC_LINK_READY) == 0) on_service_ready(pool, message);
	else if (strcmp(type, DC_LINK_MOUNTED) == 0) dc_mounts_mounted(pool, id, ok, text_of(message, "code"), text_of(message, "error"));
	else if (strcmp(type, DC_LINK_UNMOUNTED) == 0) dc_mounts_unmounted(pool, id, ok, text_of(message, "error"));
	else if (strcmp(type, DC_LINK_LOG) == 0) dc_log("service: %s", text_of(message, "message"));
	else dc_log("the service sent a message of the unknown type '%.64s'; ignored", type);
}

/* It let go of the line without ending: useless from now on. */
static void on_closed(struct dc_line *line) {
	struct dc_pool *pool = dc_container_of(line, struct dc_pool, service.line);
	if (dc_process_lives(&pool->service.process) && pool->service.state != DC_SERVICE_ENDING) kill(pool->service.process.child.pid, SIGKILL);
}

void dc_service_send(struct dc_pool *pool, json_t *message, const int *descriptors, unsigned count) {
	int result = dc_line_send(&pool->service.line, message, descriptors, count);
	if (result < 0 && result != -EPIPE && result != -ECONNRESET) dc_log("cannot tell the service: %s", strerror(-result));
}

/* ---- its life --------------------------------------------------------------------------------------------------------------- */
static void explain_first_failure(struct dc_pool *pool, int status) {
	char line[400];
	dc_log_last_line(pool->directory_fd, LOG_NAME, line, sizeof line);
	if (line[0]) dc_pool_give_up(pool, "the service ended with status %d before it was ready: %s", dc_exit_status(status), line);
	dc_pool_give_up(pool, "the service ended with status %d before it was ready, without a word", dc_exit_status(status));
}

static void on_backoff_over(struct dc_timer *timer) {
	spawn(dc_container_of(timer, struct dc_pool, service.timer));
}

/* The mounts are such that requests wait in the kernel for the next service. */
static void start_again(struct dc_pool *pool) {
	struct dc_service *service = &pool->service;
	if (service->state != DC_SERVICE_BACKOFF) return; /* the pool was stopped meanwhile */
	uint64_t delay = service->backoff.delay_ms;
	if (delay) dc_timer_set(&pool->loop, &service->timer, delay, on_backoff_over);
	else spawn(pool);
}

/* As it was asked to: its successor is started at once. */
static void end_for_another(struct dc_pool *pool, int status) {
	struct dc_service *service = &pool->service;
	if (!pool->drained) dc_log("the service ended with status %d before it had finished what was under way", dc_exit_status(status));
	service->state = DC_SERVICE_BACKOFF;
	service->backoff = (struct dc_backoff){0};
	dc_upgrade_drained(pool);
	dc_mounts_service_ended(pool);
	pool->drained = false;
	dc_mounts_renew(pool, start_again);
}

/*
 * A killed service may not be able to end: a thread that tells the kernel of a change waits for a directory's lock, uninterruptibly, and who holds the lock waits for an answer that only a
 * successor will give. So the end of a thread that cannot be caught like this is watched (Linux 6.9; its first thread's end is told only when all have ended, since 6.15), and when the process is
 * dead and all that is left of it do nothing but that, it counts as ended: none of them will run its code again, and they go when they get the lock. A thread that stands in a write to a file is
 * waited for: the write may still be made, and must not come after the successor's.
 */
static bool tells_the_kernel(struct dc_pool *pool, const char *task) {
	char path[128], text[256];
	long number;
	unsigned long fd;
	struct stat st;
	snprintf(path, sizeof path, "%s/syscall", task);
	if (dc_read_file(pool->host_proc_fd, path, text, sizeof text) <= 0 || sscanf(text, "%ld %lx", &number, &fd) != 2 || (number != SYS_write && number != SYS_writev)) return false;
	snprintf(path, sizeof path, "%s/fd/%lu", task, fd);
	return fstatat(pool->host_proc_fd, path, &st, 0) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == FUSE_DEVICE;
}

static bool waits_for_successor(struct dc_pool *pool) {
	char path[64], text[512];
	int leader = pool->service.process.host_pid, left = 0;
	snprintf(path, sizeof path, "%d/stat", leader);
	if (dc_read_file(pool->host_proc_fd, path, text, sizeof text) <= 0 || !strstr(text, ") Z ")) return false;
	snprintf(path, sizeof path, "%d/task", leader);
	int fd = openat(pool->host_proc_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *tasks = fd >= 0 ? fdopendir(fd) : NULL;
	if (!tasks) {
		if (fd >= 0) close(fd);
		return false;
	}
	bool all = true;
	for (struct dirent *entry; all && (entry = readdir(tasks));) {
		int thread = atoi(entry->d_name);
		char task[96];
		if (thread <= 0 || thread == leader) continue;
		left++;
		snprintf(task, sizeof task, "%d/task/%d", leader, thread);
		all = tells_the_kernel(pool, task);
	}
	closedir(tasks);
	return all && left;
}

static void thread_forget(struct dc_pool *pool) {
	struct dc_service *service = &pool->service;
	dc_timer_clear(&pool->loop, &service->stuck);
	if (service->thread.fd < 0) return;
	int fd = service->thread.fd;
	dc_source_remove(&pool->loop, &service->thread);
	close(fd);
	service->thread.fd = -1;
}

static void on_stuck(struct dc_timer *timer) {
	struct dc_pool *pool = dc_container_of(timer, struct dc_pool, service.stuck);
	struct dc_process *process = &pool->service.process;
	if (!dc_process_lives(process)) return;
	if (!waits_for_successor(pool)) {
		dc_timer_set(&pool->loop, timer, STUCK_MS, on_stuck);
		return;
	}
	dc_log("threads of the killed service wait in the kernel for its successor, which is started");
	dc_child_abandon(&pool->loop, &process->child);
	process->ended(process, SIGKILL);
}

static void on_thread_ended(struct dc_source *source, uint32_t events) {
	struct dc_pool *pool = dc_container_of(source, struct dc_pool, service.thread);
	thread_forget(pool);
	dc_timer_set(&pool->loop, &pool->service.stuck, STUCK_MS, on_stuck);
}

static void watch_thread(struct dc_pool *pool, json_int_t thread) {
	struct dc_service *service = &pool->service;
	int fd = thread > 0 && thread <= INT_MAX ? (int)syscall(SYS_pidfd_open, (int)thread, O_EXCL) : -1; /* PIDFD_THREAD; EINVAL before Linux 6.9 */
	if (fd >= 0 && dc_source_add(&pool->loop, &service->thread, fd, EPOLLIN, on_thread_ended) < 0) {
		close(fd);
		service->thread.fd = -1;
	}
}

static void on_ended(struct dc_process *process, int status) {
	struct dc_pool *pool = pool_of_process(process);
	struct dc_service *service = &pool->service;
	dc_line_finish(&service->line); /* its end may be heard of before its last words are: that it has finished what was under way, or a keeper's pid */
	thread_forget(pool);
	dc_timer_clear(&pool->loop, &service->timer);
	if (service->state == DC_SERVICE_ENDING) {
		service->state = DC_SERVICE_ENDED;
		dc_keepers_end(pool);
		if (status) dc_log("the service ended with status %d while it was quitting", dc_exit_status(status));
		service->quitted(pool);
		return;
	}
	dc_watchdog_stop(pool);
	if (pool->ready_fd >= 0) explain_first_failure(pool, status);
	if (service_drains(pool)) {
		end_for_another(pool, status);
		return;
	}
	if (service->state == DC_SERVICE_STARTING) dc_upgrade_failed(pool, status);
	if (pool->backoff_forbidden) service->backoff = (struct dc_backoff){0};
	uint64_t delay = dc_backoff_next(&service->backoff);
	dc_log("the service ended with status %d (epoch %llu); it is started again in %llu ms", dc_exit_status(status), (unsigned long long)service->epoch,
		(unsigned long long)delay);
	service->state = DC_SERVICE_BACKOFF;
	service->restarts++;
	dc_mounts_service_ended(pool);
	dc_mounts_renew(pool, start_again);
}

static void on_started(struct dc_process *process, int error, const char *step) {
	struct dc_pool *pool = pool_of_process(process);
	if (!error) return; /* it ends by itself otherwise, and is started again */
	if (pool->ready_fd >= 0) dc_pool_give_up(pool, "cannot start the service %s: %s: %s", pool->options.service, step, strerror(error));
	dc_log("cannot start the service %s: %s: %s", pool->options.service, step, strerror(error));
}

static void on_late(struct dc_timer *timer) {
	struct dc_pool *pool = dc_container_of(timer, struct dc_pool, service.timer);
	if (pool->ready_fd >= 0) dc_pool_give_up(pool, "the service was not ready within %u s", START_MS / 1000);
	dc_log("the service was not ready within %u s; it is killed", START_MS / 1000);
	kill(pool->service.process.child.pid, SIGKILL);
}

static void tell_everything(struct dc_pool *pool) {
	int descriptors[2 + DC_LINK_KEEPERS_MAX] = {pool->queue_fd, pool->ledger_fd};
	json_t *keepers = json_array();
	for (unsigned i = 0; i < pool->keepers.count; i++) {
		descriptors[2 + i] = pool->keepers.list[i]->death.fd;
		json_array_append_new(keepers, json_integer(pool->keepers.list[i]->pid));
	}
	json_t *start = json_pack("{s:s, s:I, s:s, s:i, s:s, s:b, s:o}", "type", DC_LINK_START, "epoch", (json_int_t)pool->service.epoch, "name", pool->options.name, "workers",
		(int)pool->options.workers, "trust", pool->options.trust, "keep", 1, "keepers", keepers);
	dc_service_send(pool, start, descriptors, 2 + pool->keepers.count);
	dc_clients_tell(pool);
	dc_mounts_tell(pool);
	dc_service_send(pool, json_pack("{s:s}", "type", DC_LINK_GO), NULL, 0);
	dc_clients_tell_ended(pool);
}

static int start_process(struct dc_pool *pool, int line_fd) {
	const struct dc_options *options = &pool->options;
	char workers[16], descriptor[16], layout[16];
	snprintf(workers, sizeof workers, "%u", options->workers);
	snprintf(descriptor, sizeof descriptor, "%d", DC_LINK_DESCRIPTOR);
	snprintf(layout, sizeof layout, "%u", DC_LAYOUT_VERSION);
	char *argv[] = {(char *)(uintptr_t)options->service, "--link", descriptor, "--dir", (char *)(uintptr_t)options->directory, "--name", (char *)(uintptr_t)options->name,
		"--modules", (char *)(uintptr_t)options->modules, "--workers", workers, "--trust", (char *)(uintptr_t)options->trust, "--layout", layout, NULL};
	int output = dc_log_file(pool->directory_fd, LOG_NAME);
	if (output < 0) return output;
	char **environment = dc_environment_copy(environ);
	/* The service must never be its own client. */
	if (environment) dc_environment_set(&environment, "LD_PRELOAD", NULL);
	if (environment) dc_environment_set(&environment, "DICICLO_POOL_DIR", NULL);
	struct dc_program program = {.path = options->service, .argv = argv, .environment = environment, .directory = "/", .output_fd = output, .descriptor3 = line_fd};
	pool->service.process.started = on_started;
	pool->service.process.ended = on_ended;
	int result = environment ? dc_process_start(pool, &pool->service.process, &program) : -ENOMEM;
	dc_environment_free(environment);
	close(output);
	return result;
}

static void spawn(struct dc_pool *pool) {
	struct dc_service *service = &pool->service;
	int ends[2];
	int result = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0 ? 0 : -errno;
	if (result == 0) {
		service->epoch++;
		service->state = DC_SERVICE_STARTING;
		service->line.received = on_message;
		service->line.closed = on_closed;
		result = start_process(pool, ends[1]);
		close(ends[1]);
		if (result == 0) result = dc_line_open(&service->line, &pool->loop, ends[0]);
		else close(ends[0]);
	}
	if (result == 0) {
		dc_timer_set(&pool->loop, &service->timer, START_MS, on_late);
		tell_everything(pool);
		return;
	}
	if (pool->ready_fd >= 0) dc_pool_give_up(pool, "cannot start the service: %s", strerror(-result));
	dc_log("cannot start the service: %s; trying again", strerror(-result));
	if (dc_process_lives(&service->process)) {
		kill(service->process.child.pid, SIGKILL); /* its end starts the next */
		return;
	}
	service->state = DC_SERVICE_BACKOFF;
	dc_timer_set(&pool->loop, &service->timer, 1000, on_backoff_over);
}

void dc_service_start(struct dc_pool *pool) {
	pool->service.line.source.fd = -1;
	pool->service.thread.fd = -1;
	pool->service.process.report.fd = -1;
	pool->watchdog.line.fd = -1;
	spawn(pool);
}

static void on_quit_late(struct dc_timer *timer) {
	struct dc_pool *pool = dc_container_of(timer, struct dc_pool, service.timer);
	dc_log("the service did not quit within %u s; it is killed", QUIT_MS / 1000);
	kill(pool->service.process.child.pid, SIGKILL);
}

void dc_service_quit(struct dc_pool *pool, void (*quitted)(struct dc_pool *)) {
	struct dc_service *service = &pool->service;
	service->quitted = quitted;
	if (!dc_process_lives(&service->process)) {
		dc_timer_clear(&pool->loop, &service->timer);
		service->state = DC_SERVICE_ENDED;
		dc_keepers_end(pool);
		quitted(pool);
		return;
	}
	dc_watchdog_stop(pool);
	service->state = DC_SERVICE_ENDING;
	dc_service_send(pool, json_pack("{s:s}", "type", DC_LINK_QUIT), NULL, 0);
	dc_timer_set(&pool->loop, &service->timer, QUIT_MS, on_quit_late);
}

json_t *dc_service_json(struct dc_pool *pool) {
	static const char *const names[] = {"starting", "running", "backoff", "draining", "ending", "ended"};
	const struct dc_service *service = &pool->service;
	return json_pack("{s:i, s:I, s:I, s:s}", "pid", dc_process_lives(&service->process) ? (int)service->process.host_pid : 0, "epoch", (json_int_t)service->epoch, "restarts",
		(json_int_t)service->restarts, "state", names[service->state]);
}
