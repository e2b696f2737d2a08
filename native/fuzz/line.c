/*
 * line.c - the line protocol of control.sock: bytes in any pieces from a peer that may hang up, operations that answer at once, later, or never to anybody.
 */
#include "../init/control.c"

#include <fcntl.h>

#include "ground.h"

static struct dc_pool pool;
static struct dc_request *waiting[8];
static unsigned waiting_count;

static void answer(struct dc_request *request, const json_t *how) {
	if (json_is_true(how)) dc_request_answer(request, json_pack("{s:O}", "echo", dc_request_message(request)));
	else dc_request_fail(request, EINVAL, "no: %s", json_string_value(json_object_get(dc_request_message(request), "op")) ? "op" : "no op");
}

void dc_operation_run(struct dc_pool *of, struct dc_request *request) {
	(void)of;
	const json_t *later = json_object_get(dc_request_message(request), "later");
	if (json_is_true(later) && waiting_count < 8) waiting[waiting_count++] = request;
	else answer(request, json_object_get(dc_request_message(request), "ok"));
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
	(void)argc, (void)argv;
	if (dc_loop_init(&pool.loop)) abort();
	if (!getenv("FUZZ_LOG")) dup2(open("/dev/null", O_WRONLY), 1);
	return 0;
}

static void run_loop(void) {
	struct epoll_event event;
	for (unsigned i = 0; i < 8 && epoll_wait(pool.loop.epoll_fd, &event, 1, 0) == 1; i++) {
		struct dc_source *source = event.data.ptr;
		source->ready(source, event.events);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct bytes bytes = {data, data + size};
	int pair[2];
	char drain[4096];
	struct connection *connection = calloc(1, sizeof *connection);
	if (!connection || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair)) abort();
	connection->pool = &pool;
	if (dc_source_add(&pool.loop, &connection->source, pair[1], EPOLLIN, on_ready)) abort();
	pool.connections++;
	bool reads = true;
	while (bytes.at < bytes.end && pool.connections) {
		uint8_t kind = (uint8_t)take_number(&bytes, 1);
		const uint8_t *text;
		if (kind < 200) {
			size_t length = take_text(&bytes, &text, 255);
			send(pair[0], text, length, MSG_NOSIGNAL);
			if (kind & 1) send(pair[0], "\n", 1, MSG_NOSIGNAL);
		} else if (kind < 220 && waiting_count) {
			answer(waiting[--waiting_count], json_true());
		} else if (kind < 230) {
			reads = !reads;
		} else if (kind < 232) {
			shutdown(pair[0], SHUT_WR);
		}
		run_loop();
		while (reads && recv(pair[0], drain, sizeof drain, 0) > 0) continue;
	}
	close(pair[0]);
	for (unsigned i = 0; i < 16; i++) run_loop();
	while (waiting_count) answer(waiting[--waiting_count], json_true());
	for (unsigned i = 0; i < 16; i++) run_loop();
	if (pool.connections) abort(); /* nobody is there, and it is kept */
	return 0;
}
