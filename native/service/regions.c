/*
 * regions.c - regions.sock: an attached process asks for a region of the cache by its number. One thread, which sleeps in accept; a peer has a tenth of a second to say what it wants.
 */
#include "regions.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "clients.h"

static int listener = -1;
static _Atomic bool listening;

bool dc_regions_open(void) {
	return atomic_load_explicit(&listening, memory_order_relaxed);
}

/* The process that says it is this client, and nobody else. */
static int allowed(int fd, const struct dc_region_request *request) {
	struct ucred peer;
	socklen_t size = sizeof peer;
	if (request->magic != DC_REGION_MAGIC || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size)) return EPROTO;
	struct dc_client_record *client = dc_client_get(request->client, request->generation);
	if (!client) return EPERM;
	int error = client->pid == peer.pid ? 0 : EPERM;
	dc_client_put(client);
	return error;
}

static void answer(int fd, struct dc_region_answer *answer, int region) {
	char control[CMSG_SPACE(sizeof region)] = {0};
	struct iovec iov = {answer, sizeof *answer};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	if (region >= 0) {
		message.msg_control = control;
		message.msg_controllen = sizeof control;
		struct cmsghdr *header = CMSG_FIRSTHDR(&message);
		*header = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof region)};
		memcpy(CMSG_DATA(header), &region, sizeof region);
	}
	sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void serve(int fd) {
	struct dc_region_request request;
	struct timeval patience = {.tv_usec = 100000};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	if (recv(fd, &request, sizeof request, 0) != sizeof request) return;
	size_t bytes = 0;
	int error = allowed(fd, &request), region = error ? -1 : dc_host_region(request.region, &bytes);
	if (!error && region < 0) error = -region;
	answer(fd, &(struct dc_region_answer){.magic = DC_REGION_MAGIC, .error = error, .bytes = bytes}, region);
	if (region >= 0) close(region);
}

static void *regions_main(void *unused) {
	pthread_setname_np(pthread_self(), "regions");
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE) usleep(10000);
			continue;
		}
		serve(fd);
		close(fd);
	}
	return NULL;
}

int dc_regions_start(const char *path) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof address.sun_path) return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (listener < 0) return -errno;
	unlink(path);
	pthread_t thread;
	if (bind(listener, (struct sockaddr *)&address, sizeof address) || chmod(path, 0666) || listen(listener, 64)) return -errno;
	int error = pthread_create(&thread, NULL, regions_main, NULL);
	if (error) return -error;
	pthread_detach(thread);
	atomic_store(&listening, true);
	return 0;
}
