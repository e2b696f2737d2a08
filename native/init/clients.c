#include "clients.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "link.h"
#include "log.h"

static int make_arena(const struct dc_pool *pool, uint32_t index, uint32_t generation) {
	int fd = memfd_create("diciclo-arena", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0) return -errno;
	/* Only the fields before the slots: the rest of the header is megabytes of nothing. */
	struct __attribute__((packed)) { /* padding would be written behind it */
		uint64_t magic;
		uint32_t version, slots, client, generation;
		struct dc_copy_choice copy;
	} header = {DC_ARENA_MAGIC, DC_LAYOUT_VERSION, DC_ARENA_SLOTS, index, generation, pool->service.copy};
	_Static_assert(offsetof(struct dc_arena, client) == 16 && offsetof(struct dc_arena, generation) == 20 && offsetof(struct dc_arena, copy) == 24 &&
		offsetof(struct dc_arena, closed) == sizeof header, "arena layout");
	if (ftruncate(fd, (off_t)DC_ARENA_SIZE) == 0 && pwrite(fd, &header, sizeof header, 0) == (ssize_t)sizeof header &&
		fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
		return fd;
	int error = errno;
	close(fd);
	return -error;
}

/* An index rests as long as possible before it is used again; with it goes a generation that it has not had for 1023 turns. */
static struct dc_client_slot *take_index(struct dc_pool *pool) {
	if (pool->client_count >= DC_POOL_CLIENTS_MAX) return NULL;
	uint32_t index = pool->client_next;
	while (pool->clients[index]) index = (index + 1) % DC_POOL_CLIENTS_MAX;
	struct dc_client_slot *client = calloc(1, sizeof *client);
	if (!client) return NULL;
	pool->client_next = (index + 1) % DC_POOL_CLIENTS_MAX;
	pool->client_generation[index] = (uint16_t)(pool->client_generation[index] % DC_LINK_GENERATION_MAX + 1);
	client->pool = pool;
	client->index = index;
	client->generation = pool->client_generation[index];
	client->arena_fd = -1;
	client->death.fd = -1;
	client->peer.pidfd = -1;
	pool->clients[index] = client;
	pool->client_count++;
	return client;
}

static void stop_watching(struct dc_client_slot *client) {
	dc_source_remove(&client->pool->loop, &client->death);
	if (client->peer.pidfd >= 0) close(client->peer.pidfd);
	client->peer.pidfd = -1;
}

static void free_client(struct dc_client_slot *client) {
	stop_watching(client);
	if (client->arena_fd >= 0) close(client->arena_fd);
	client->pool->clients[client->index] = NULL;
	client->pool->client_count--;
	free(client);
}

static json_t *describe(const struct dc_client_slot *client) {
	json_t *groups = json_array();
	for (unsigned i = 0; i < client->peer.group_count; i++) json_array_append_new(groups, json_integer(client->peer.groups[i]));
	return json_pack("{s:s, s:i, s:i, s:i, s:I, s:I, s:o, s:s%}", "type", DC_LINK_CLIENT_ADD, "client", (int)client->index, "generation", (int)client->generation, "pid",
		(int)client->peer.pid, "uid", (json_int_t)client->peer.uid, "gid", (json_int_t)client->peer.gid, "groups", groups, "command", client->peer.command,
		strlen(client->peer.command));
}

static void on_death(struct dc_source *source, uint32_t events) {
	struct dc_client_slot *client = dc_container_of(source, struct dc_client_slot, death);
	if (client->state == DC_CLIENT_BANNED) {
		free_client(client);
	} else if (client->cut) {
		client->cut = false; /* the service lets go of it by itself */
		stop_watching(client);
	} else {
		dc_client_leave(client);
	}
}

/* Its number may be another process's by now, its pidfd is not. */
static bool still_lives(const struct dc_client_slot *client) {
	struct pollfd wait = {.fd = client->peer.pidfd, .events = POLLIN};
	return poll(&wait, 1, 0) == 0;
}

int dc_client_add(struct dc_pool *pool, const struct dc_peer *peer, struct dc_attaching *attaching, struct dc_client_slot **added) {
	/* One process, one client: an earlier one of the same process (before exec, or under other ids) is memory that nobody has any more. */
	for (uint32_t index = 0; index < DC_POOL_CLIENTS_MAX; index++) {
		struct dc_client_slot *other = pool->clients[index];
		if (!other || other->peer.pid != peer->pid) continue;
		if (other->cut && still_lives(other)) return -EPERM;
		if (other->state == DC_CLIENT_ADDING || other->state == DC_CLIENT_LIVE) dc_client_leave(other);
	}
	struct dc_client_slot *client = take_index(pool);
	if (!client) return -EUSERS;
	client->state = DC_CLIENT_ADDING;
	int result = client->arena_fd = make_arena(pool, client->index, client->generation);
	if (result >= 0) result = dc_source_add(&pool->loop, &client->death, peer->pidfd, EPOLLIN, on_death);
	client->peer = *peer;
	client->peer.pidfd = -1;
	/* While the service is being restarted it is told with all the others. */
	if (result >= 0 && pool->service.line.source.fd >= 0) result = dc_line_send(&pool->service.line, describe(client), &client->arena_fd, 1);
	if (result < 0) {
		free_client(client);
		return result;
	}
	client->peer.pidfd = peer->pidfd;
	client->attaching = attaching;
	*added = client;
	return 0;
}

/* Clients of which the service has not said yet that it has them, or has let go of them. More than so many and it is behind: then who attaches waits, or it would never catch up with processes that come and go. */
#define BEHIND 16u

static bool is_behind(const struct dc_pool *pool) {
	unsigned told = 0;
	for (uint32_t index = 0; index < DC_POOL_CLIENTS_MAX && told <= BEHIND; index++) {
		const struct dc_client_slot *client = pool->clients[index];
		told += client && (client->state == DC_CLIENT_ADDING || (client->state == DC_CLIENT_LEAVING && !client->cut));
	}
	return told > BEHIND;
}

bool dc_client_need_not_wait(const struct dc_client_slot *client) {
	return client->pool->service.state == DC_SERVICE_RUNNING && dc_trusts_pool(client->pool) && !is_behind(client->pool);
}

/* What its process asks is answered by nobody. */
static void close_arena(struct dc_client_slot *client) {
	uint32_t closed = 1;
	if (pwrite(client->arena_fd, &closed, sizeof closed, offsetof(struct dc_arena, closed)) < 0) dc_log("cannot close the arena of client %u: %s", client->index, strerror(errno));
}

/* It was acknowledged writes that no service has made yet (service/posts.h). */
static bool left_posts(const struct dc_client_slot *client) {
	uint64_t head = 0, tail = 0;
	off_t ring = offsetof(struct dc_arena, post);
	return client->arena_fd >= 0 && pread(client->arena_fd, &head, sizeof head, ring + (off_t)offsetof(struct dc_post_ring, head)) == sizeof head &&
		pread(client->arena_fd, &tail, sizeof tail, ring + (off_t)offsetof(struct dc_post_ring, tail)) == sizeof tail && head != tail;
}

static void tell_end(struct dc_client_slot *client) {
	dc_service_send(client->pool, json_pack("{s:s, s:i, s:i}", "type", DC_LINK_CLIENT_DEL, "client", (int)client->index, "generation", (int)client->generation), NULL, 0);
}

void dc_client_leave(struct dc_client_slot *client) {
	struct dc_pool *pool = client->pool;
	struct dc_attaching *attaching = client->attaching;
	client->attaching = NULL;
	if (attaching) {
		attaching->client = NULL;
		dc_attach_answer(attaching, ECANCELED);
	}
	bool known = pool->service.line.source.fd >= 0;
	if (!known && !left_posts(client)) {
		free_client(client);
		return;
	}
	client->state = DC_CLIENT_LEAVING; /* index and arena stay until a service has let go */
	stop_watching(client);
	if (known) tell_end(client);
}

static struct dc_client_slot *find(struct dc_pool *pool, uint32_t index, uint32_t generation) {
	struct dc_client_slot *client = index < DC_POOL_CLIENTS_MAX ? pool->clients[index] : NULL;
	return client && client->generation == generation ? client : NULL;
}

/* No service knows it any more. A process that was cut off is remembered until it ends. */
static void let_go(struct dc_client_slot *client) {
	if (client->cut) client->state = DC_CLIENT_BANNED;
	else free_client(client);
}

void dc_clients_added(struct dc_pool *pool, uint32_t index, uint32_t generation, int error) {
	struct dc_client_slot *client = find(pool, index, generation);
	if (!client) return;
	if (client->state != DC_CLIENT_LEAVING) {
		if (error) dc_log("the service refused client %u (pid %d, %s): %s", index, (int)client->host_pid, client->peer.command, strerror(error));
		else client->state = DC_CLIENT_LIVE;
		struct dc_attaching *attaching = client->attaching;
		client->attaching = NULL;
		if (attaching) dc_attach_answer(attaching, error);
		else if (error) close_arena(client);
	}
	if (error) let_go(client);
}

void dc_clients_gone(struct dc_pool *pool, uint32_t index, uint32_t generation) {
	struct dc_client_slot *client = find(pool, index, generation);
	if (client && client->state == DC_CLIENT_LEAVING) let_go(client);
}

void dc_clients_cut(struct dc_pool *pool, uint32_t index, uint32_t generation, const char *reason) {
	struct dc_client_slot *client = find(pool, index, generation);
	if (!client || client->state == DC_CLIENT_LEAVING || client->state == DC_CLIENT_BANNED) return;
	dc_log("pid %d (%s, uid %u) is cut off from the service and may not attach again: %s", (int)client->host_pid, client->peer.command, (unsigned)client->peer.uid, reason);
	struct dc_attaching *attaching = client->attaching;
	client->attaching = NULL;
	if (attaching) dc_attach_answer(attaching, EPERM);
	client->state = DC_CLIENT_LEAVING;
	client->cut = true;
	close(client->arena_fd);
	client->arena_fd = -1;
}

void dc_clients_tell(struct dc_pool *pool) {
	for (uint32_t index = 0; index < DC_POOL_CLIENTS_MAX; index++) {
		struct dc_client_slot *client = pool->clients[index];
		if (!client) continue;
		if (client->state == DC_CLIENT_LEAVING && (client->cut || !left_posts(client))) let_go(client); /* its service is gone, and this one need not know it */
		else if (client->state != DC_CLIENT_BANNED) dc_service_send(pool, describe(client), &client->arena_fd, 1);
	}
}

void dc_clients_tell_ended(struct dc_pool *pool) {
	for (uint32_t index = 0; index < DC_POOL_CLIENTS_MAX; index++)
		if (pool->clients[index] && pool->clients[index]->state == DC_CLIENT_LEAVING) tell_end(pool->clients[index]);
}

json_t *dc_clients_json(struct dc_pool *pool) {
	json_t *list = json_array();
	for (uint32_t index = 0; index < DC_POOL_CLIENTS_MAX; index++) {
		struct dc_client_slot *client = pool->clients[index];
		if (!client || client->state == DC_CLIENT_LEAVING || client->state == DC_CLIENT_BANNED) continue;
		json_array_append_new(list, json_pack("{s:i, s:i, s:s}", "id", (int)index, "pid", (int)client->host_pid, "command", client->peer.command));
	}
	return list;
}
