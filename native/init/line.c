#include "line.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "link.h"
#include "log.h"

struct dc_packet {
	struct dc_packet *next;
	unsigned count;
	int descriptors[DC_LINK_DESCRIPTORS_MAX];
	size_t size;
	char text[];
};

static void free_packet(struct dc_packet *packet) {
	for (unsigned i = 0; i < packet->count; i++) close(packet->descriptors[i]);
	free(packet);
}

int dc_packet_send(int fd, const void *data, size_t size, const int *descriptors, unsigned count) {
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(DC_LINK_DESCRIPTORS_MAX * sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	if (count) {
		memset(&control, 0, sizeof control);
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(count * sizeof(int));
		struct cmsghdr *header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(header), descriptors, count * sizeof(int));
	}
	for (;;) {
		if (sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return 0;
		if (errno != EINTR) return -errno;
	}
}

static void watch(struct dc_line *line) {
	dc_source_change(line->loop, &line->source, EPOLLIN | (line->first ? EPOLLOUT : 0));
}

/* A peer that is gone is noticed by the reading side; what cannot be sent any more is dropped. */
static void flush(struct dc_line *line) {
	while (line->first) {
		struct dc_packet *packet = line->first;
		int sent = dc_packet_send(line->source.fd, packet->text, packet->size, packet->descriptors, packet->count);
		if (sent == -EAGAIN || sent == -ENOBUFS || sent == -ETOOMANYREFS) break;
		line->first = packet->next;
		if (!line->first) line->last = &line->first;
		line->waiting--;
		free_packet(packet);
	}
	watch(line);
}

/* One packet. 1, 0: nothing there now, -1: nothing will come any more. */
static int receive_one(struct dc_line *line) {
	static char text[DC_LINK_MESSAGE_MAX + 1];
	ssize_t got = recv(line->source.fd, text, sizeof text, MSG_DONTWAIT);
	/* A peer that closes before it has read everything leaves this error, once, and before what it had sent itself (unix_release_sock, __skb_try_recv_datagram). */
	if (got < 0 && errno == ECONNRESET) got = recv(line->source.fd, text, sizeof text, MSG_DONTWAIT);
	if (got <= 0) return got < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
	json_error_t error;
	json_t *message = got > (ssize_t)DC_LINK_MESSAGE_MAX ? NULL : json_loadb(text, (size_t)got, JSON_REJECT_DUPLICATES, &error);
	if (json_is_object(message)) line->received(line, message);
	else dc_log("the service sent %zd bytes that are no message; ignored", got);
	json_decref(message);
	return 1;
}

static void receive(struct dc_line *line) {
	int result = 1;
	for (unsigned round = 0; round < 64 && result > 0 && line->source.fd >= 0; round++) result = receive_one(line); /* bounded: others want their turn */
	if (result >= 0) return;
	dc_line_close(line);
	line->closed(line);
}

static void on_ready(struct dc_source *source, uint32_t events) {
	struct dc_line *line = dc_container_of(source, struct dc_line, source);
	if (events & EPOLLOUT) flush(line);
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(line);
}

int dc_line_open(struct dc_line *line, struct dc_loop *loop, int fd) {
	line->loop = loop;
	line->first = NULL;
	line->last = &line->first;
	line->waiting = 0;
	return dc_source_add(loop, &line->source, fd, EPOLLIN, on_ready);
}

void dc_line_close(struct dc_line *line) {
	if (line->source.fd < 0) return;
	int fd = line->source.fd;
	dc_source_remove(line->loop, &line->source);
	close(fd);
	while (line->first) {
		struct dc_packet *packet = line->first;
		line->first = packet->next;
		free_packet(packet);
	}
	line->last = &line->first;
	line->waiting = 0;
}

void dc_line_finish(struct dc_line *line) {
	while (line->source.fd >= 0 && receive_one(line) > 0) continue;
	dc_line_close(line);
}

static int enqueue(struct dc_line *line, const char *text, size_t size, const int *descriptors, unsigned count) {
	struct dc_packet *packet = malloc(sizeof *packet + size);
	if (!packet) return -ENOMEM;
	packet->next = NULL;
	packet->count = 0;
	packet->size = size;
	memcpy(packet->text, text, size);
	for (; packet->count < count; packet->count++) {
		int copy = fcntl(descriptors[packet->count], F_DUPFD_CLOEXEC, 3);
		if (copy < 0) {
			int error = errno;
			free_packet(packet);
			return -error;
		}
		packet->descriptors[packet->count] = copy;
	}
	*line->last = packet;
	line->last = &packet->next;
	line->waiting++;
	watch(line);
	return 0;
}

int dc_line_send(struct dc_line *line, json_t *message, const int *descriptors, unsigned count) {
	char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
	json_decref(message);
	if (!text) return -ENOMEM;
	size_t size = strlen(text);
	int result = line->source.fd < 0 ? -EPIPE : size > DC_LINK_MESSAGE_MAX || count > DC_LINK_DESCRIPTORS_MAX ? -EMSGSIZE : 0;
	if (result == 0) {
		result = line->first ? -EAGAIN : dc_packet_send(line->source.fd, text, size, descriptors, count);
		/* ETOOMANYREFS: more descriptors in flight than the limit of open files; they are, once the service reads. */
		if (result == -EAGAIN || result == -ETOOMANYREFS || result == -ENOBUFS) result = enqueue(line, text, size, descriptors, count);
	}
	free(text);
	return result;
}
