#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../init/link.h"
#include "queue.h"

#define INSTANCE 1

static void die(const char *what) {
	fprintf(stderr, "harness: %s: %s\n", what, strerror(errno));
	exit(99);
}

static int memory(const char *name, size_t size) {
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0 || ftruncate(fd, (off_t)size)) die("memfd");
	fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	return fd;
}

static void send_with(struct harness *harness, json_t *json, const int *descriptors, unsigned count) {
	char *text = json_dumps(json, JSON_COMPACT);
	json_decref(json);
	char space[CMSG_SPACE(4 * sizeof(int))] = {0};
	struct iovec iov = {.iov_base = text, .iov_len = strlen(text)};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	if (count) {
		message.msg_control = space;
		message.msg_controllen = CMSG_SPACE(count * sizeof(int));
		struct cmsghdr *header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(header), descriptors, count * sizeof(int));
	}
	if (sendmsg(harness->link, &message, MSG_NOSIGNAL) < 0) die("link");
	free(text);
}

static void send_message(struct harness *harness, json_t *json, int fd) {
	send_with(harness, json, &fd, fd >= 0);
}

/* Waits for a message of `type`, ignoring others. */
static void expect(struct harness *harness, const char *type) {
	for (;;) {
		static char text[65536];
		ssize_t length = recv(harness->link, text, sizeof text, 0);
		if (length <= 0) die(type);
		json_t *json = json_loadb(text, (size_t)length, 0, NULL);
		bool found = !strcmp(json_string_value(json_object_get(json, "type")), type);
		if (!strcmp(json_string_value(json_object_get(json, "type")), DC_LINK_KEEPER)) harness->keeper = (pid_t)json_integer_value(json_object_get(json, "pid"));
		json_t *ok = json_object_get(json, "ok");
		if (found && ok && !json_is_true(ok)) {
			fprintf(stderr, "harness: %s\n", text);
			exit(99);
		}
		json_decref(json);
		if (found) return;
	}
}

static void tell_client(struct harness *harness, unsigned index, uid_t uid, gid_t gid, pid_t pid) {
	send_message(harness, json_pack("{s:s,s:i,s:i,s:i,s:i,s:i,s:[]}", "type", "client-add", "client", (int)index, "generation", 1, "pid", (int)pid, "uid", (int)uid, "gid",
		(int)gid, "groups"), harness->arena_fd[index]);
	expect(harness, "client-added");
}

static void tell_mount(struct harness *harness, unsigned id, const char *mountpoint, const char *text) {
	int plan = memory("plan", strlen(text));
	if (write(plan, text, strlen(text)) < 0) die("plan");
	send_message(harness, json_pack("{s:s,s:i,s:s,s:s,s:s}", "type", "mount", "id", (int)id, "name", id == INSTANCE ? "data" : "more", "mountpoint", mountpoint, "cache", "auto"), plan);
	close(plan);
	expect(harness, "mounted");
}

static void tell_more(struct harness *harness, unsigned index) {
	char plan[1024];
	snprintf(plan, sizeof plan, "{\"version\":1,\"instance\":\"more\",\"root\":\"more.0\",\"nodes\":[{\"id\":\"more.0\",\"type\":\"local\",\"kind\":\"file\",\"options\":{\"path\":"
		"\"%s%u\",\"readOnly\":false},\"children\":{}}]}", harness->data, harness->more[index].id);
	tell_mount(harness, harness->more[index].id, harness->more[index].mountpoint, plan);
}

void harness_mount(struct harness *harness, unsigned id, const char *mountpoint) {
	char path[320];
	snprintf(path, sizeof path, "%s%u", harness->data, id);
	if (mkdir(path, 0755) && errno != EEXIST) die(path);
	for (unsigned i = 0; i < 4; i++)
		if (!harness->more[i].id) {
			harness->more[i].id = id;
			snprintf(harness->more[i].mountpoint, sizeof harness->more[i].mountpoint, "%s", mountpoint);
			tell_more(harness, i);
			return;
		}
	errno = ENOSPC;
	die("harness_mount");
}

void harness_unmount(struct harness *harness, unsigned id) {
	for (unsigned i = 0; i < 4; i++)
		if (harness->more[i].id == id) harness->more[i].id = 0;
	send_message(harness, json_pack("{s:s,s:i}", "type", "unmount", "id", (int)id), -1);
	expect(harness, "unmounted");
}

static void end_keeper(pid_t *keeper) {
	if (*keeper <= 0) return;
	kill(*keeper, SIGKILL);
	waitpid(*keeper, NULL, 0); /* ours since its service died: we are its subreaper */
	*keeper = 0;
}

static void launch(struct harness *harness) {
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) die("socketpair");
	const char *service = getenv("DICICLO_SERVICE"), *modules = getenv("DICICLO_MODULES");
	if (!service || !modules) {
		errno = EINVAL;
		die("DICICLO_SERVICE and DICICLO_MODULES name the service and its modules");
	}
	char layout[16];
	snprintf(layout, sizeof layout, "%u", DC_LAYOUT_VERSION);
	harness->service = fork();
	if (harness->service == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(pair[1], 3);
		execl(service, service, "--link", "3", "--dir", harness->directory, "--name", "test/test", "--modules", modules, "--layout", layout, "--trust", harness->by_mailbox ? "process" : "pool", NULL);
		_exit(127);
	}
	close(pair[1]);
	harness->link = pair[0];
	int descriptors[3] = {harness->queue_fd, harness->ledger_fd, harness->old_keeper ? (int)syscall(SYS_pidfd_open, harness->old_keeper, 0) : -1};
	json_t *keepers = json_array();
	if (harness->old_keeper) json_array_append_new(keepers, json_integer(harness->old_keeper));
	send_with(harness, json_pack("{s:s,s:i,s:s,s:b,s:o}", "type", "start", "epoch", (int)++harness->epoch, "name", "test/test", "keep", 1, "keepers", keepers), descriptors,
		harness->old_keeper ? 3 : 2);
	if (harness->old_keeper) close(descriptors[2]);
	for (unsigned i = 0; i < harness->arena_count; i++) tell_client(harness, i, 0, 0, getpid());
	tell_mount(harness, INSTANCE, "/data", harness->plan);
	for (unsigned i = 0; i < 4; i++)
		if (harness->more[i].id) tell_more(harness, i);
	send_message(harness, json_pack("{s:s}", "type", "go"), -1);
	expect(harness, "ready");
	end_keeper(&harness->old_keeper);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk) {
	(void)st, (void)type, (void)walk;
	return remove(path);
}

/* In a session of its own: who kills the test's process group does not mean it. */
static void start_janitor(struct harness *harness) {
	int ends[2];
	if (pipe2(ends, O_CLOEXEC)) die("pipe");
	harness->alive = ends[1];
	harness->janitor = fork();
	if (harness->janitor < 0) die("fork");
	if (harness->janitor) {
		close(ends[0]);
		return;
	}
	setsid();
	dup2(ends[0], 0);
	close_range(1, ~0U, 0);
	char byte;
	while (read(0, &byte, 1) < 0 && errno == EINTR) continue;
	nftw(harness->directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	_exit(0);
}

static void end_janitor(struct harness *harness) {
	close(harness->alive);
	waitpid(harness->janitor, NULL, 0);
}

void harness_start(struct harness *harness, const char *plan) {
	memset(harness, 0, sizeof *harness);
	const char *trust = getenv("DICICLO_TRUST");
	harness->by_mailbox = trust && !strcmp(trust, "process");
	snprintf(harness->directory, sizeof harness->directory, "%s/diciclo-test-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	if (!mkdtemp(harness->directory)) die("mkdtemp");
	start_janitor(harness);
	snprintf(harness->data, sizeof harness->data, "%s/data", harness->directory);
	mkdir(harness->data, 0755);
	static const char standard[] = "{\"version\":1,\"instance\":\"data\",\"root\":\"data.0\",\"nodes\":[{\"id\":\"data.1\",\"type\":\"local\",\"kind\":\"file\",\"options\":{\"path\":"
		"\"%s\",\"readOnly\":false},\"children\":{}},{\"id\":\"data.0\",\"type\":\"cache\",\"kind\":\"file\",\"options\":{\"mode\":\"write-through\",\"size\":67108864,\"ttl\":1000},"
		"\"children\":{\"below\":[\"data.1\"]}}]}";
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(harness->plan, sizeof harness->plan, plan ? plan : standard, harness->data);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	harness->queue_fd = memory("queue", sizeof(struct dc_queue));
	harness->ledger_fd = memory("ledger", DC_LINK_LEDGER_BYTES);
	harness->queue = mmap(NULL, sizeof(struct dc_queue), PROT_READ | PROT_WRITE, MAP_SHARED, harness->queue_fd, 0);
	launch(harness);
}

void harness_make_client(struct harness *harness, struct dc_client *client) {
	unsigned index = harness->arena_count++;
	int fd = harness->arena_fd[index] = memory("arena", DC_ARENA_SIZE);
	struct dc_arena *arena = mmap(NULL, DC_ARENA_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	arena->magic = DC_ARENA_MAGIC;
	arena->version = DC_LAYOUT_VERSION;
	dc_client_init(client, harness->by_mailbox ? NULL : harness->queue, arena, index, 1);
}

void harness_end_client(struct harness *harness, const struct dc_client *client) {
	send_message(harness, json_pack("{s:s,s:i,s:i}", "type", "client-del", "client", (int)client->index, "generation", 1), -1);
}

void harness_await_end(struct harness *harness) {
	expect(harness, "client-gone");
}

void harness_attach(struct harness *harness, struct dc_client *client, uid_t uid, gid_t gid) {
	harness_make_client(harness, client);
	harness_tell_client(harness, client, uid, gid);
}

void harness_tell_client(struct harness *harness, const struct dc_client *client, uid_t uid, gid_t gid) {
	tell_client(harness, client->index, uid, gid, getpid());
}

void harness_restart(struct harness *harness) {
	kill(harness->service, SIGKILL);
	waitpid(harness->service, NULL, 0);
	close(harness->link);
	harness->old_keeper = harness->keeper;
	launch(harness);
}

void harness_stop(struct harness *harness) {
	send_message(harness, json_pack("{s:s}", "type", "quit"), -1);
	int status;
	waitpid(harness->service, &status, 0);
	if (!WIFEXITED(status) || WEXITSTATUS(status)) {
		fprintf(stderr, "harness: the service ended with status %d\n", status);
		exit(99);
	}
	end_keeper(&harness->keeper);
	close(harness->link);
	close(harness->queue_fd);
	close(harness->ledger_fd);
	for (unsigned i = 0; i < harness->arena_count; i++) close(harness->arena_fd[i]);
	end_janitor(harness);
}

int64_t harness_call(struct dc_client *client, struct call *call) {
	unsigned index = dc_client_acquire(client, -1, (uint32_t)gettid());
	struct dc_slot *slot = dc_client_slot(client, index);
	unsigned char *buffer = dc_client_buffer(client, index);
	size_t first = call->path ? strlen(call->path) : 0, second = call->path2 ? strlen(call->path2) : 0;
	slot->operation = call->operation;
	slot->flags = call->flags;
	slot->instance = call->instance ? call->instance : INSTANCE;
	slot->handle = call->handle;
	slot->handle2 = call->handle2;
	slot->offset = call->offset;
	slot->length = call->length;
	slot->mode = call->mode;
	slot->mask = call->mask;
	slot->argument[0] = call->argument0;
	slot->path_length = (uint32_t)first;
	slot->path2_length = (uint32_t)second;
	slot->attr = call->attr;
	if (first) memcpy(buffer, call->path, first);
	if (second) memcpy(buffer + first, call->path2, second);
	if (call->data) memcpy(buffer + first + second, call->data, call->length);
	int64_t result = dc_client_call(client, index);
	call->value0 = slot->value[0];
	call->value1 = slot->value[1];
	call->value2 = call->flags & DC_PATH_LEASE && !(call->operation == DC_OP_OPEN && result >= 0) ? slot->value[2] : 0; /* of an OPEN that is not a lease */
	if (call->value2) memcpy(&call->lease, buffer + DC_LEASE_OFFSET, sizeof call->lease);
	call->attr = slot->attr;
	if (call->out && result > 0) memcpy(call->out, buffer, (size_t)result);
	if (call->out && result == DC_RESULT_LEAVES) {
		memcpy(call->out, buffer, (size_t)call->value0);
		((char *)call->out)[call->value0] = 0;
	}
	dc_client_release(client, index);
	return result;
}
