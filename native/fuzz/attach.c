/*
 * attach.c - pool-init's end of attach.sock: what a peer sends, in any pieces and order, mixed with what a service answers about clients.
 */
#include "../init/attach.c"

#include <fcntl.h>
#include <sys/mman.h>

#include "ground.h"
#include "mounts.h"

static struct dc_pool pool;

/* ---- what these parts want of the rest ------------------------------------------------------------------------------------------ */
pid_t dc_host_pid(struct dc_pool *of, int pidfd) {
	(void)of, (void)pidfd;
	return getpid();
}
void dc_service_send(struct dc_pool *to, json_t *message, const int *descriptors, unsigned count) {
	(void)to, (void)descriptors, (void)count;
	json_decref(message);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
	(void)argc, (void)argv;
	pool.options.trust = "pool";
	pool.service.line.source.fd = -1;
	pool.service.epoch = 1;
	pool.queue_fd = memfd_create("queue", MFD_CLOEXEC);
	ssize_t length = readlink("/proc/self/ns/ipc", pool.ipc_namespace, sizeof pool.ipc_namespace - 1);
	if (dc_loop_init(&pool.loop) || length <= 0) abort();
	if (!getenv("FUZZ_LOG")) {
		int null = open("/dev/null", O_WRONLY);
		dup2(null, 1);
	}
	return 0;
}

static void on_service_word(struct bytes *bytes) {
	uint32_t index = (uint32_t)take_number(bytes, 1) % 8 + (pool.client_next > 4 ? pool.client_next - 4 : 0);
	uint32_t generation = (uint32_t)take_number(bytes, 1) % 4;
	switch (take_number(bytes, 1) % 3) {
	case 0: dc_clients_added(&pool, index, generation, (int)take_number(bytes, 1) % 64); break;
	case 1: dc_clients_gone(&pool, index, generation); break;
	default: dc_clients_cut(&pool, index, generation, "fuzz");
	}
}

static void run_loop(void) {
	struct epoll_event event;
	for (unsigned i = 0; i < 8 && epoll_wait(pool.loop.epoll_fd, &event, 1, 0) == 1; i++) {
		struct dc_source *source = event.data.ptr;
		source->ready(source, event.events);
	}
}

static void packet(struct bytes *bytes, int fd) {
	struct dc_attach_request proper = {DC_ATTACH_MAGIC, DC_LAYOUT_VERSION};
	const uint8_t *text;
	bool is_proper = take_number(bytes, 1) & 1;
	size_t size = take_text(bytes, &text, 64);
	if (is_proper) {
		memcpy((unsigned char *)&proper + sizeof proper - (size > 4 ? 4 : size), text, size > 4 ? 4 : size);
		send(fd, &proper, sizeof proper, MSG_NOSIGNAL | MSG_DONTWAIT);
	} else {
		send(fd, text, size, MSG_NOSIGNAL | MSG_DONTWAIT);
	}
}

static void leave_all(void) {
	for (uint32_t i = 0; i < DC_POOL_CLIENTS_MAX; i++) {
		struct dc_client_slot *client = pool.clients[i];
		if (!client) continue;
		if (client->state == DC_CLIENT_BANNED || client->cut) {
			client->cut = false;
			client->state = DC_CLIENT_LEAVING;
		}
		if (client->state == DC_CLIENT_LEAVING) dc_clients_gone(&pool, client->index, client->generation);
		else dc_client_leave(client);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct bytes bytes = {data, data + size};
	int peer[4] = {-1, -1, -1, -1};
	while (bytes.at < bytes.end) {
		uint8_t kind = (uint8_t)take_number(&bytes, 1);
		int *one = &peer[kind >> 6], pair[2];
		if (*one < 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0) {
			*one = pair[0];
			if (kind & 1) packet(&bytes, *one);
			take_connection(&pool, pair[1]);
		} else if ((kind & 7) == 7) {
			close(*one);
			*one = -1;
		} else if (kind & 1) {
			on_service_word(&bytes);
		} else {
			packet(&bytes, *one);
		}
		run_loop();
	}
	for (unsigned i = 0; i < 4; i++)
		if (peer[i] >= 0) close(peer[i]);
	for (unsigned i = 0; i < 16; i++) run_loop();
	leave_all();
	if (pool.client_count || pool.attaching || pool.loop.timers) abort(); /* something is left over */
	return 0;
}
