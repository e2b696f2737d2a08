/*
 * attach.c - attach.sock: who may map the pool's queue. Every pool may run as uid 0, so the socket's mode says nothing; what counts is where the peer lives: it must be visible in the pool's
 * pid namespace (itself or one below it), and share a namespace or the control group with pool-init. Identity comes from the socket alone.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "clients.h"
#include "log.h"
#include "protocol.h"

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

#define HELLO_MS 1000u
#define SERVICE_MS 60000u
#define ATTACHING_MAX 512u
#define REFUSALS_LOGGED 100u

static void free_attaching(struct dc_attaching *attaching) {
	struct dc_pool *pool = attaching->pool;
	int fd = attaching->source.fd;
	dc_source_remove(&pool->loop, &attaching->source);
	dc_timer_clear(&pool->loop, &attaching->deadline);
	if (fd >= 0) close(fd);
	if (attaching->peer.pidfd >= 0) close(attaching->peer.pidfd);
	pool->attaching--;
	free(attaching);
}

/* A peer that does not take it is dropped. */
static void send_answer(int fd, const struct dc_attach_answer *answer, const int *descriptors, unsigned count) {
	dc_packet_send(fd, answer, sizeof *answer, descriptors, count);
}

static void refuse(int fd, int error) {
	struct dc_attach_answer answer = {.magic = DC_ATTACH_MAGIC, .error = error};
	send_answer(fd, &answer, NULL, 0);
}

void dc_attach_answer(struct dc_attaching *attaching, int error) {
	struct dc_client_slot *client = attaching->client;
	if (error || !client) {
		refuse(attaching->source.fd, error ? error : EIO);
	} else {
		/* Where processes do not trust each other they share no memory that one of them could write. */
		bool queue = dc_trusts_pool(attaching->pool);
		struct dc_attach_answer answer = {.magic = DC_ATTACH_MAGIC, .client = client->index, .generation = client->generation, .queue_size = queue ? sizeof(struct dc_queue) : 0,
			.arena_size = DC_ARENA_SIZE, .epoch = attaching->pool->service.epoch};
		int descriptors[2] = {client->arena_fd, attaching->pool->queue_fd};
		send_answer(attaching->source.fd, &answer, descriptors, queue ? 2 : 1);
	}
	free_attaching(attaching);
}

/* ---- who is it -------------------------------------------------------------------------------------------------------------- */
static int open_pidfd(int fd, pid_t pid) {
	int pidfd = -1;
	socklen_t length = sizeof pidfd;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &length) == 0) return pidfd;
	/* Before Linux 6.5: by number. A reused one would be a process of this pool all the same, since the number is looked up in the pool's own namespace. */
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	return pidfd < 0 ? -errno : pidfd;
}

static int identify(int fd, struct dc_peer *peer) {
	struct ucred credentials;
	socklen_t length = sizeof credentials;
	peer->pidfd = -1;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return -errno;
	peer->pid = credentials.pid;
	peer->uid = credentials.uid;
	peer->gid = credentials.gid;
	if (peer->pid <= 0) return -EPERM; /* not visible from the pool's pid namespace: of the host, or of another pool */
	length = sizeof peer->groups;
	peer->group_count = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, peer->groups, &length) == 0 ? (unsigned)(length / sizeof(gid_t)) : 0;
	int pidfd = open_pidfd(fd, peer->pid);
	if (pidfd < 0) return pidfd;
	peer->pidfd = pidfd;
	return 0;
}

static bool same_namespace(pid_t pid, const char *name, const char *ours) {
	char path[64], target[64];
	snprintf(path, sizeof path, "/proc/%d/ns/%s", (int)pid, name);
	ssize_t length = readlink(path, target, sizeof target - 1);
	if (length <= 0) return false;
	target[length] = 0;
	return ours[0] && strcmp(target, ours) == 0;
}

/* Every hierarchy in which the pool has a group of its own shows the peer in it or below, and there is at least one. */
static bool in_control_group(struct dc_pool *pool, pid_t pid) {
	char path[64], theirs[8192];
	snprintf(path, sizeof path, "/proc/%d/cgroup", (int)pid);
	if (!pool->cgroups || dc_read_file(-1, path, theirs, sizeof theirs) <= 0) return false;
	bool any = false;
	for (const char *line = pool->cgroups; *line; line += strcspn(line, "\n") + (line[strcspn(line, "\n")] != 0)) {
		size_t length = strcspn(line, "\n");
		const char *group = memchr(line, ':', length);
		if (group) group = memchr(group + 1, ':', length - (size_t)(group + 1 - line));
		if (!group || group + 2 >= line + length) continue; /* "/": everybody is below it */
		any = true;
		const char *found = theirs;
		while (found && !(strncmp(found, line, length) == 0 && strchr("/\n", found[length]))) found = strchr(found, '\n') ? strchr(found, '\n') + 1 : NULL;
		if (!found) return false;
	}
	return any;
}

static bool is_alive(int pidfd) {
	struct pollfd wait = {.fd = pidfd, .events = POLLIN};
	return poll(&wait, 1, 0) == 0;
}

static int admit(struct dc_pool *pool, int fd, struct dc_peer *peer) {
	int result = identify(fd, peer);
	if (result < 0) return result;
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/comm", (int)peer->pid);
	if (dc_read_file(-1, path, peer->command, sizeof peer->command) < 0) peer->command[0] = 0;
	for (char *at = peer->command; *at; at++) /* any bytes are allowed there, and JSON wants text */
		if ((unsigned char)*at < 32 || (unsigned char)*at > 126) *at = *at == '\n' && !at[1] ? 0 : '?';
	bool ours = same_namespace(peer->pid, "ipc", pool->ipc_namespace) || same_namespace(peer->pid, "mnt", pool->mount_namespace) || in_control_group(pool, peer->pid);
	/* Alive still, so that what /proc said was about this very process. */
	return !is_alive(peer->pidfd) ? -ESRCH : ours ? 0 : -EPERM;
}

/* ---- connections ------------------------------------------------------------------------------------------------------------ */
static void on_deadline(struct dc_timer *timer) {
	struct dc_attaching *attaching = dc_container_of(timer, struct dc_attaching, deadline);
	struct dc_client_slot *client = attaching->client;
	if (client) {
		dc_log("pid %d (%s) waited %u s for the service to take it", (int)client->host_pid, client->peer.command, SERVICE_MS / 1000);
		client->attaching = NULL;
		dc_client_leave(client);
	}
	attaching->client = NULL;
	dc_attach_answer(attaching, ETIMEDOUT);
}

/* It hung up, or says something when it has nothing to say. */
static void drop(struct dc_attaching *attaching) {
	struct dc_client_slot *client = attaching->client;
	if (client) {
		client->attaching = NULL;
		dc_client_leave(client);
	}
	free_attaching(attaching);
}

static void on_request(struct dc_source *source, uint32_t events) {
	struct dc_attaching *attaching = dc_container_of(source, struct dc_attaching, source);
	struct dc_pool *pool = attaching->pool;
	struct dc_attach_request request[2];
	ssize_t got = recv(source->fd, request, sizeof request, MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR) && !(events & (EPOLLHUP | EPOLLERR))) return;
	if (attaching->client || got != (ssize_t)sizeof request[0] || request[0].magic != DC_ATTACH_MAGIC) {
		drop(attaching);
		return;
	}
	if (attaching->refusal || request[0].version != DC_LAYOUT_VERSION) {
		dc_attach_answer(attaching, attaching->refusal ? attaching->refusal : EPROTO);
		return;
	}
	struct dc_client_slot *client = NULL;
	int result = dc_client_add(pool, &attaching->peer, attaching, &client);
	if (result < 0) {
		dc_log("cannot attach pid %d (%s): %s", (int)attaching->peer.pid, attaching->peer.command, strerror(-result));
		dc_attach_answer(attaching, -result);
		return;
	}
	attaching->client = client;
	attaching->peer.pidfd = -1; /* the client's now */
	if (dc_client_need_not_wait(client)) {
		client->attaching = NULL;
		dc_attach_answer(attaching, 0);
	} else {
		dc_timer_set(&pool->loop, &attaching->deadline, SERVICE_MS, on_deadline);
	}
	client->host_pid = dc_host_pid(pool, client->peer.pidfd);
}

static void log_refusal(const struct dc_peer *peer, int error) {
	static unsigned logged;
	if (logged >= REFUSALS_LOGGED) return;
	if (peer->pid <= 0) dc_log("refused to attach a process that is not of this pool (uid %u; not visible in its pid namespace)", (unsigned)peer->uid);
	else dc_log("refused to attach pid %d of the pool's pid namespace (%s, uid %u): %s", (int)peer->pid, peer->command, (unsigned)peer->uid, strerror(error));
	if (++logged == REFUSALS_LOGGED) dc_log("further refusals are not logged");
}

static void take_connection(struct dc_pool *pool, int fd) {
	struct dc_attaching *attaching = pool->attaching < ATTACHING_MAX ? calloc(1, sizeof *attaching) : NULL;
	if (!attaching) {
		close(fd);
		return;
	}
	attaching->pool = pool;
	attaching->peer.pidfd = -1;
	/* Refused when it has asked, not earlier: a socket closed with something unread loses the answer. */
	attaching->refusal = -admit(pool, fd, &attaching->peer);
	if (attaching->refusal == EPERM) log_refusal(&attaching->peer, EPERM);
	if (dc_source_add(&pool->loop, &attaching->source, fd, EPOLLIN, on_request) < 0) {
		if (attaching->peer.pidfd >= 0) close(attaching->peer.pidfd);
		free(attaching);
		close(fd);
		return;
	}
	pool->attaching++;
	dc_timer_set(&pool->loop, &attaching->deadline, HELLO_MS, on_deadline);
	on_request(&attaching->source, 0); /* it usually is there already */
}

static void on_connections(struct dc_source *source, uint32_t events) {
	struct dc_pool *pool = dc_container_of(source, struct dc_pool, attach);
	for (unsigned round = 0; round < 16; round++) {
		int fd = dc_accept(source->fd);
		if (fd < 0) return;
		take_connection(pool, fd);
	}
}

int dc_attach_listen(struct dc_pool *pool) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if ((size_t)snprintf(address.sun_path, sizeof address.sun_path, "%s/attach.sock", pool->options.directory) >= sizeof address.sun_path) return -ENAMETOOLONG;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) return -errno;
	unlinkat(pool->directory_fd, "attach.sock", 0);
	int result = bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && fchmodat(pool->directory_fd, "attach.sock", 0666, 0) == 0 && listen(fd, 4096) == 0 ? 0 : -errno;
	if (result == 0) result = dc_source_add(&pool->loop, &pool->attach, fd, EPOLLIN, on_connections);
	if (result < 0) close(fd);
	return result;
}

void dc_attach_stop(struct dc_pool *pool) {
	int fd = pool->attach.fd;
	dc_source_remove(&pool->loop, &pool->attach);
	if (fd >= 0) close(fd);
	unlinkat(pool->directory_fd, "attach.sock", 0);
}
