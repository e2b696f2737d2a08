/*
 * fake_service.c - speaks the service's side of the link (native/init/link.h) and the least of FUSE, for tests of pool-init alone. Every message it gets becomes a line of DIR/trace.
 * How it behaves is said by files in DIR, so that a test can change it while it runs:
 *   fail      prints the file's text and exits with 3 at once       silent    never says ready
 *   hold      STATFS requests are read and not answered             mute      clients are not answered
 * and by an instance's name: "refused" (not mounted), "once" (not mounted by a restarted service), "crash" (dies when told to mount it).
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdbool.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "link.h"
#include "queue.h"

static const char *directory;
static int trace_fd;
static json_int_t epoch;

static bool is_set(const char *name) {
	char path[512];
	snprintf(path, sizeof path, "%s/%s", directory, name);
	return access(path, F_OK) == 0;
}

static void say(json_t *message) {
	char *text = json_dumps(message, JSON_COMPACT);
	json_decref(message);
	if (send(DC_LINK_DESCRIPTOR, text, strlen(text), MSG_NOSIGNAL) < 0) _exit(9);
	free(text);
}

/* ---- FUSE: a root directory with nothing in it --------------------------------------------------------------------------------- */
static void reply(int fd, uint64_t unique, int error, const void *data, size_t size) {
	char buffer[sizeof(struct fuse_out_header) + 512];
	struct fuse_out_header header = {.len = (uint32_t)(sizeof header + size), .error = error, .unique = unique};
	memcpy(buffer, &header, sizeof header);
	if (size) memcpy(buffer + sizeof header, data, size);
	(void)!write(fd, buffer, header.len); /* ENOENT: a predecessor has answered it */
}

static void answer(int fd, const struct fuse_in_header *request) {
	uint64_t unique = request->unique;
	struct fuse_init_out init = {.major = 7, .minor = 31, .max_write = 131072, .max_background = 16, .congestion_threshold = 12};
	struct fuse_attr_out attr = {.attr = {.ino = 1, .mode = S_IFDIR | 0755, .nlink = 2, .blksize = 4096}};
	struct fuse_statfs_out statfs = {.st = {.blocks = (uint64_t)epoch, .bsize = 4096, .frsize = 4096, .namelen = 255}};
	struct fuse_open_out open_out = {0};
	if (unique >> 63) dprintf(trace_fd, "{\"type\": \"resent\", \"opcode\": %u}\n", request->opcode);
	switch (request->opcode) {
	case FUSE_INIT: reply(fd, unique, 0, &init, sizeof init); break;
	case FUSE_GETATTR: reply(fd, unique, 0, &attr, sizeof attr); break;
	case FUSE_STATFS:
		if (is_set("hold")) dprintf(trace_fd, "{\"type\": \"held\"}\n");
		else reply(fd, unique, 0, &statfs, sizeof statfs);
		break;
	case FUSE_OPENDIR: reply(fd, unique, 0, &open_out, sizeof open_out); break;
	case FUSE_READDIR:
	case FUSE_RELEASEDIR: reply(fd, unique, 0, NULL, 0); break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT: break;
	default: reply(fd, unique, -ENOSYS, NULL, 0);
	}
}

struct door {
	int fd;
	struct fuse_in_header init;
};

static void *serve(void *argument) {
	struct door *door = argument;
	static _Thread_local char buffer[1 << 20];
	answer(door->fd, &door->init);
	for (;;) {
		ssize_t got = read(door->fd, buffer, sizeof buffer);
		if (got < 0 && (errno == EINTR || errno == ENOENT)) continue;
		if (got < (ssize_t)sizeof(struct fuse_in_header)) break;
		answer(door->fd, (const struct fuse_in_header *)(const void *)buffer);
	}
	close(door->fd);
	free(door);
	return NULL;
}

static void on_mount(json_t *message, const int *descriptors, unsigned count) {
	const char *name = json_string_value(json_object_get(message, "name")), *hex = json_string_value(json_object_get(message, "init"));
	json_int_t id = json_integer_value(json_object_get(message, "id"));
	if (strcmp(name, "crash") == 0) abort();
	if (strcmp(name, "refused") == 0 || (strcmp(name, "once") == 0 && epoch > 1)) {
		for (unsigned i = 0; i < count; i++) close(descriptors[i]);
		say(json_pack("{s:s, s:I, s:b, s:s, s:s}", "type", "mounted", "id", id, "ok", 0, "error", "the plan has a colour that nobody likes", "code", "EDOM"));
		return;
	}
	struct door *door = calloc(1, sizeof *door);
	unsigned char *bytes = (unsigned char *)&door->init;
	unsigned byte;
	for (size_t i = 0; i < sizeof door->init && sscanf(hex + 2 * i, "%2x", &byte) == 1; i++) bytes[i] = (unsigned char)byte;
	for (unsigned i = 0; i < count; i++)
		if (i != 1) close(descriptors[i]);
	door->fd = descriptors[1];
	pthread_t thread;
	pthread_create(&thread, NULL, serve, door);
	pthread_detach(thread);
	say(json_pack("{s:s, s:I, s:b}", "type", "mounted", "id", id, "ok", 1));
}

/* ---- the link --------------------------------------------------------------------------------------------------------------- */
static void handle(json_t *message, int *descriptors, unsigned count) {
	const char *type = json_string_value(json_object_get(message, "type"));
	json_t *client = json_object_get(message, "client"), *generation = json_object_get(message, "generation");
	json_object_set_new(message, "descriptors", json_integer(count));
	json_object_set_new(message, "epoch", json_integer(strcmp(type, DC_LINK_START) == 0 ? json_integer_value(json_object_get(message, "epoch")) : epoch));
	char *line = json_dumps(message, 0);
	dprintf(trace_fd, "%s\n", line);
	free(line);
	if (strcmp(type, DC_LINK_MOUNT) == 0) {
		on_mount(message, descriptors, count);
		return;
	}
	if (strcmp(type, DC_LINK_START) == 0 && count >= 1) {
		struct dc_queue *queue = mmap(NULL, sizeof *queue, PROT_READ | PROT_WRITE, MAP_SHARED, descriptors[0], 0);
		if (queue == MAP_FAILED) _exit(8);
		dc_queue_init(queue, 1, 0);
	}
	for (unsigned i = 0; i < count; i++) close(descriptors[i]);
	if (strcmp(type, DC_LINK_START) == 0) epoch = json_integer_value(json_object_get(message, "epoch"));
	else if (strcmp(type, DC_LINK_CLIENT_ADD) == 0 && !is_set("mute")) say(json_pack("{s:s, s:O, s:O}", "type", DC_LINK_CLIENT_ADDED, "client", client, "generation", generation));
	else if (strcmp(type, DC_LINK_CLIENT_DEL) == 0) say(json_pack("{s:s, s:O, s:O}", "type", DC_LINK_CLIENT_GONE, "client", client, "generation", generation));
	else if (strcmp(type, DC_LINK_UNMOUNT) == 0) say(json_pack("{s:s, s:O, s:b}", "type", DC_LINK_UNMOUNTED, "id", json_object_get(message, "id"), "ok", 1));
	else if (strcmp(type, DC_LINK_GO) == 0 && !is_set("silent")) say(json_pack("{s:s, s:I, s:i}", "type", DC_LINK_READY, "epoch", epoch, "clones", 2));
	else if (strcmp(type, DC_LINK_QUIT) == 0) exit(0);
}

int main(int argc, char **argv) {
	for (int i = 1; i + 1 < argc; i += 2)
		if (strcmp(argv[i], "--dir") == 0) directory = argv[i + 1];
	char path[512], text[512] = "";
	snprintf(path, sizeof path, "%s/trace", directory);
	trace_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	snprintf(path, sizeof path, "%s/fail", directory);
	int fail = open(path, O_RDONLY);
	if (fail >= 0) {
		(void)!read(fail, text, sizeof text - 1);
		fprintf(stderr, "%s\n", text);
		return 3;
	}
	(void)!send(DC_LINK_DESCRIPTOR, "{\"type\": \"nonsense\"}", 20, 0);
	(void)!send(DC_LINK_DESCRIPTOR, "}{", 2, 0);
	for (;;) {
		static char buffer[DC_LINK_MESSAGE_MAX];
		char space[CMSG_SPACE(DC_LINK_DESCRIPTORS_MAX * sizeof(int))];
		struct iovec iov = {.iov_base = buffer, .iov_len = sizeof buffer};
		struct msghdr packet = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
		ssize_t got = recvmsg(DC_LINK_DESCRIPTOR, &packet, MSG_CMSG_CLOEXEC);
		if (got <= 0) return 1;
		int descriptors[DC_LINK_DESCRIPTORS_MAX];
		struct cmsghdr *header = CMSG_FIRSTHDR(&packet);
		unsigned count = header ? (unsigned)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int)) : 0;
		if (count) memcpy(descriptors, CMSG_DATA(header), count * sizeof(int));
		json_t *message = json_loadb(buffer, (size_t)got, 0, NULL);
		handle(message, descriptors, count);
		json_decref(message);
	}
}
