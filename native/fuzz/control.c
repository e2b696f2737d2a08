/*
 * control.c - lines of service.sock, and plans: text to dc_stack_build. The first byte says which.
 */
#include "../service/control.c"

#include "ground.h"
#include "stack.h"

static int pair[2];

int LLVMFuzzerInitialize(int *argc, char ***argv) {
	(void)argc, (void)argv;
	struct dc_error error = {0};
	control.modules = dc_modules_load(fuzz_modules(), &error);
	fuzz_directory();
	mkdir("/mnt/a", 0777);
	dc_epoch_set(1);
	if (!control.modules || dc_workers_init(&(struct dc_workers_options){.queue = NULL, .count = 1, .running_target = 1})) abort();
	return 0;
}

/* Through the connection's own buffer, in pieces. */
static void talk(const uint8_t *data, size_t size) {
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair)) abort();
	struct connection connection = {.fd = pair[0], .line = malloc(LINE_MAX_BYTES)};
	char drain[65536];
	while (size && connection.fd >= 0) {
		size_t piece = 1 + data[0] * (size_t)data[0] % 4096;
		if (piece > size) piece = size;
		if (send(pair[1], data, piece, MSG_NOSIGNAL) != (ssize_t)piece) break;
		data += piece;
		size -= piece;
		receive(&connection);
		while (recv(pair[1], drain, sizeof drain, 0) > 0) continue;
	}
	if (connection.fd >= 0) drop(&connection);
	close(pair[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	if (!size) return 0;
	if (data[0] & 1) {
		talk(data + 1, size - 1);
		return 0;
	}
	struct dc_error error = {0};
	struct dc_stack *stack = dc_stack_build(control.modules, dc_host_get(1), (const char *)data + 1, size - 1, &error);
	if (!stack) {
		if (!error.code || !error.message[0]) abort(); /* refused without a word */
		return 0;
	}
	json_decref(dc_stack_json(stack));
	json_decref(dc_stack_statistics(stack));
	dc_stack_destroy(stack);
	return 0;
}
