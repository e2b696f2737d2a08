#include "control.h"
#include "copying.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include "clients.h"
#include "host.h"

#define CONNECTIONS_MAX 64
#define LINE_MAX_BYTES 65536u
#define SEND_TIMEOUT_S 5
#define CONTROL_NICE (-10)

struct connection {
	int fd;
	char *line;
	size_t used;
};

static struct {
	int listener;
	_Atomic pid_t id; /* 0: has not begun to run */
	struct dc_modules *modules;
	struct connection connection[CONNECTIONS_MAX];
	uint64_t started_ns;
} control;

static int64_t resident_bytes(void) {
	long pages = 0;
	FILE *file = fopen("/proc/self/statm", "re");
	if (file && fscanf(file, "%*s %ld", &pages) != 1) pages = 0;
	if (file) fclose(file);
	return (int64_t)pages * sysconf(_SC_PAGESIZE);
}

static json_t *stats(void) {
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	double cpu = (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
	return json_pack("{s:b,s:I,s:f,s:f,s:I,s:o,s:o,s:o,s:o}", "ok", 1, "epoch", (json_int_t)dc_epoch(), "uptimeSeconds", (double)(dc_now_ns() - control.started_ns) / 1e9,
		"cpuSeconds", cpu, "residentBytes", (json_int_t)resident_bytes(), "queue", dc_workers_json(), "copy", dc_copying_json(), "instances", dc_instances_json(), "clients", dc_clients_json());
}

static json_t *failure(const char *code, const char *message) {
	return json_pack("{s:b,s:{s:s,s:s}}", "ok", 0, "error", "code", code, "message", message);
}

static json_t *with_ok(json_t *object) {
	json_object_set_new(object, "ok", json_true());
	return object;
}

static json_t *execute(const json_t *request) {
	const char *op = json_string_value(json_object_get(request, "op"));
	if (!op) return failure("EINVAL", "A request is an object with the string \"op\".");
	if (!strcmp(op, "ping")) return json_pack("{s:b,s:I}", "ok", 1, "epoch", (json_int_t)dc_epoch());
	if (!strcmp(op, "stats")) return stats();
	if (!strcmp(op, "queue")) return with_ok(dc_workers_json());
	if (!strcmp(op, "describe")) return with_ok(dc_modules_describe(control.modules));
	if (!strcmp(op, "reset")) {
		dc_instances_reset();
		dc_workers_reset();
		return json_pack("{s:b}", "ok", 1);
	}
	if (!strcmp(op, "stack")) {
		const char *mountpoint = json_string_value(json_object_get(request, "mountpoint"));
		if (!mountpoint) return failure("EINVAL", "\"stack\" needs the string \"mountpoint\".");
		json_t *stack = dc_instances_stack_json(mountpoint);
		return stack ? with_ok(stack) : failure("ENOENT", "Nothing is mounted at that mount point.");
	}
	return failure("ENOSYS", "Unknown op; known are ping, stats, queue, stack, describe, reset.");
}

static bool send_all(int fd, const char *data, size_t length) {
	while (length) {
		ssize_t sent = send(fd, data, length, MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR) continue;
		if (sent <= 0) return false;
		data += sent;
		length -= (size_t)sent;
	}
	return true;
}

static bool answer_line(struct connection *connection, const char *line, size_t length) {
	json_error_t error;
	json_t *request = json_loadb(line, length, JSON_REJECT_DUPLICATES, &error);
	json_t *answer = json_is_object(request) ? execute(request) : failure("EINVAL", "A request is one JSON object on one line.");
	json_decref(request);
	char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
	json_decref(answer);
	bool sent = text && send_all(connection->fd, text, strlen(text)) && send_all(connection->fd, "\n", 1);
	free(text);
	return sent;
}

static void drop(struct connection *connection) {
	close(connection->fd);
	free(connection->line);
	connection->fd = -1;
	connection->line = NULL;
	connection->used = 0;
}

static void receive(struct connection *connection) {
	ssize_t count = recv(connection->fd, connection->line + connection->used, LINE_MAX_BYTES - connection->used, 0);
	if (count <= 0) {
		if (count == 0 || (errno != EAGAIN && errno != EINTR)) drop(connection);
		return;
	}
	connection->used += (size_t)count;
	for (;;) {
		char *end = memchr(connection->line, '\n', connection->used);
		if (!end) break;
		size_t length = (size_t)(end - connection->line);
		if (!answer_line(connection, connection->line, length)) {
			drop(connection);
			return;
		}
		connection->used -= length + 1;
		memmove(connection->line, end + 1, connection->used);
	}
	if (connection->used == LINE_MAX_BYTES) drop(connection); /* no request is that long */
}

/* Only root, or whoever this service runs as, may ask. */
static void accept_one(void) {
	int fd = accept4(control.listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0) return;
	struct ucred peer = {.uid = (uid_t)-1};
	socklen_t size = sizeof peer;
	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size);
	struct timeval timeout = {.tv_sec = SEND_TIMEOUT_S};
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
	for (unsigned i = 0; i < CONNECTIONS_MAX && (peer.uid == 0 || peer.uid == geteuid()); i++) {
		struct connection *connection = &control.connection[i];
		if (connection->fd >= 0) continue;
		connection->line = malloc(LINE_MAX_BYTES);
		if (!connection->line) break;
		connection->fd = fd;
		return;
	}
	close(fd);
}

/*
 * Whether a real-time thread here may be in somebody's way: with cgroup v2, a kernel that divides real-time among groups lets nobody enable the cpu controller above one (cgroup-v2.rst, "CPU").
 * With v1 it refuses the thread instead.
 */
static bool may_be_real_time(void) {
	char line[4096], *controllers, *end;
	bool first_version = false;
	FILE *file = fopen("/proc/self/cgroup", "re");
	while (file && !first_version && fgets(line, sizeof line, file)) {
		if (!(controllers = strchr(line, ':')) || !(end = strchr(controllers + 1, ':'))) continue;
		*end = ',';
		end[1] = 0;
		*controllers = ',';
		first_version = strstr(controllers, ",cpu,") != NULL;
	}
	if (file) fclose(file);
	return first_version;
}

/*
 * This thread alone: it does little, and is waited for by people, however busy the workers are. At the lowest real-time priority it runs as soon as it is woken, also when its control group has used
 * up its CPU quota; a mistake here is held back by the kernel's limit for real-time threads. Kernels that divide real-time among groups refuse it in those that were given none; without any right
 * to it it runs as the others do.
 */
static void prefer(void) {
	if (!may_be_real_time() || sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &(struct sched_param){.sched_priority = 1}))
		setpriority(PRIO_PROCESS, (id_t)gettid(), CONTROL_NICE);
}

static _Noreturn void *control_main(void *unused) {
	pthread_setname_np(pthread_self(), "control");
	atomic_store(&control.id, gettid());
	prefer();
	for (;;) {
		struct pollfd poll_list[CONNECTIONS_MAX + 1] = {{.fd = control.listener, .events = POLLIN}};
		for (unsigned i = 0; i < CONNECTIONS_MAX; i++) poll_list[i + 1] = (struct pollfd){.fd = control.connection[i].fd, .events = POLLIN};
		if (poll(poll_list, CONNECTIONS_MAX + 1, -1) < 0) continue;
		for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
			if (poll_list[i + 1].revents && control.connection[i].fd >= 0) receive(&control.connection[i]);
		if (poll_list[0].revents) accept_one();
	}
}

int dc_control_listen(const char *path, struct dc_modules *modules) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof address.sun_path) return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	control.modules = modules;
	control.started_ns = dc_now_ns();
	for (unsigned i = 0; i < CONNECTIONS_MAX; i++) control.connection[i].fd = -1;
	control.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (control.listener < 0) return -errno;
	unlink(path);
	if (bind(control.listener, (struct sockaddr *)&address, sizeof address) || chmod(path, 0600) || listen(control.listener, 64)) return -errno;
	return 0;
}

int dc_control_serve(void) {
	pthread_t thread;
	int error = pthread_create(&thread, NULL, control_main, NULL);
	if (!error) pthread_detach(thread);
	return -error;
}

pid_t dc_control_thread(void) {
	while (!atomic_load(&control.id)) sched_yield();
	return atomic_load(&control.id);
}
