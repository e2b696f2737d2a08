/*
 * attacher.c - a process that attaches as the library does, for tests of pool-init. One line of JSON per attach, then what the mode says.
 *   attacher SOCKET once          then waits until its stdin ends
 *   attacher SOCKET posted        as once, with a record in its post ring that nobody has made
 *   attacher SOCKET again         attaches, then becomes `once` by exec: the same process, another client
 *   attacher SOCKET storm N       N times: a child attaches and ends
 *   attacher SOCKET seals         tries to resize and unseal what it was given
 *   attacher SOCKET garbage       what no library sends, in many ways; ends with a proper attach
 *   attacher SOCKET leave N       N times: connects, asks, hangs up before the answer
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "queue.h"

static const char *path;

static int attach(struct dc_client *client) {
	uint64_t before = dc_monotonic_ns();
	int result = dc_client_attach(client, path, NULL);
	printf("{\"result\": %d, \"client\": %u, \"generation\": %u, \"epoch\": %llu, \"us\": %llu, \"pid\": %d}\n", result, result ? 0 : client->index, result ? 0 : client->generation,
		(unsigned long long)(result ? 0 : client->epoch), (unsigned long long)(dc_monotonic_ns() - before) / 1000, (int)getpid());
	fflush(stdout);
	return result;
}

static int dial(int type) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
	int fd = socket(AF_UNIX, type, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
	if (fd >= 0) close(fd);
	return -1;
}

static int once(uint64_t posted) {
	struct dc_client client;
	int result = attach(&client);
	char byte;
	if (result == 0) atomic_fetch_add(&dc_arena_post(client.arena)->tail, posted);
	while (result == 0 && read(0, &byte, 1) > 0) continue;
	return result ? 1 : 0;
}

static int storm(int count) {
	int failed = 0;
	for (int i = 0; i < count; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			struct dc_client client;
			_exit(dc_client_attach(&client, path, NULL) ? 1 : 0);
		}
		int status;
		waitpid(pid, &status, 0);
		failed += status != 0;
	}
	printf("{\"failed\": %d}\n", failed);
	return failed != 0;
}

/* `trust: process` gives no queue. */
static int seals(void) {
	int fd = dial(SOCK_SEQPACKET), descriptors[2] = {-1, -1};
	struct dc_attach_request request = {.magic = DC_ATTACH_MAGIC, .version = DC_LAYOUT_VERSION};
	struct dc_attach_answer answer;
	char space[CMSG_SPACE(sizeof descriptors)];
	struct iovec iov = {.iov_base = &answer, .iov_len = sizeof answer};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
	if (send(fd, &request, sizeof request, 0) < 0 || recvmsg(fd, &message, 0) < 0 || !CMSG_FIRSTHDR(&message)) return 1;
	int count = (int)((CMSG_FIRSTHDR(&message)->cmsg_len - CMSG_LEN(0)) / sizeof(int));
	if (count != (answer.queue_size ? 2 : 1)) return 4;
	memcpy(descriptors, CMSG_DATA(CMSG_FIRSTHDR(&message)), (size_t)count * sizeof(int));
	for (int i = 0; i < count; i++) {
		if (ftruncate(descriptors[i], 0) == 0 || ftruncate(descriptors[i], 1 << 30) == 0 || errno != EPERM) return 2;
		if (fcntl(descriptors[i], F_ADD_SEALS, F_SEAL_WRITE) == 0) return 3;
	}
	printf("{\"result\": 0, \"descriptors\": %d}\n", count);
	return 0;
}

static int garbage(void) {
	static char block[70000];
	unsigned seed = 1;
	for (int round = 0; round < 300; round++) {
		int fd = dial(SOCK_SEQPACKET);
		if (fd < 0) continue;
		size_t length = (size_t)rand_r(&seed) % (round % 3 ? 32 : sizeof block);
		for (size_t i = 0; i < length; i++) block[i] = (char)rand_r(&seed);
		struct dc_attach_request request = {.magic = DC_ATTACH_MAGIC, .version = (uint32_t)rand_r(&seed) + 2};
		if (round % 4 == 0) send(fd, &request, sizeof request, MSG_NOSIGNAL);
		else if (round % 4 == 1) {
			/* Descriptors that nobody asked for. */
			char space[CMSG_SPACE(sizeof(int))] = {0};
			struct iovec iov = {.iov_base = block, .iov_len = 8};
			struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
			struct cmsghdr *header = CMSG_FIRSTHDR(&message);
			*header = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
			memcpy(CMSG_DATA(header), &fd, sizeof fd);
			sendmsg(fd, &message, MSG_NOSIGNAL);
		} else send(fd, block, length, MSG_NOSIGNAL);
		if (round % 2) shutdown(fd, SHUT_RDWR);
		close(fd);
	}
	int stream = dial(SOCK_STREAM);
	if (stream >= 0) return 4;
	struct dc_client client;
	return attach(&client) ? 1 : 0;
}

static int leave(int count) {
	struct dc_attach_request request = {.magic = DC_ATTACH_MAGIC, .version = DC_LAYOUT_VERSION};
	for (int i = 0; i < count; i++) {
		int fd = dial(SOCK_SEQPACKET);
		if (fd < 0) return 1;
		send(fd, &request, sizeof request, MSG_NOSIGNAL);
		close(fd);
	}
	return 0;
}

int main(int argc, char **argv) {
	const char *mode = argc > 2 ? argv[2] : "";
	path = argc > 1 ? argv[1] : "";
	int count = argc > 3 ? atoi(argv[3]) : 0;
	if (strcmp(mode, "once") == 0) return once(0);
	if (strcmp(mode, "posted") == 0) return once(DC_POST_ALIGN);
	if (strcmp(mode, "storm") == 0) return storm(count);
	if (strcmp(mode, "seals") == 0) return seals();
	if (strcmp(mode, "garbage") == 0) return garbage();
	if (strcmp(mode, "leave") == 0) return leave(count);
	if (strcmp(mode, "again") == 0) {
		struct dc_client client;
		if (attach(&client)) return 1;
		execl("/proc/self/exe", argv[0], path, "once", (char *)NULL);
	}
	return 2;
}
