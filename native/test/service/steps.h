/* steps.h - what the tests of the service do again and again, and how they count. */
#ifndef DICICLO_TEST_STEPS_H
#define DICICLO_TEST_STEPS_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "harness.h"

static __attribute__((unused)) unsigned passed, failed;
static __attribute__((unused)) void check(bool ok, const char *what, int64_t got) {
	if (ok) passed++;
	else failed++;
	if (!ok) fprintf(stderr, "FAILED: %s (got %lld)\n", what, (long long)got);
}
#define EXPECT(want, expression) do { int64_t got_ = (expression); check(got_ == (want), #expression " == " #want, got_); } while (0)

static __attribute__((unused)) int64_t simple(struct dc_client *client, uint16_t operation, const char *path, uint32_t mode) {
	struct call call = {.operation = operation, .path = path, .mode = mode};
	return harness_call(client, &call);
}
static __attribute__((unused)) int64_t two(struct dc_client *client, uint16_t operation, const char *path, const char *path2, uint32_t mask) {
	struct call call = {.operation = operation, .path = path, .path2 = path2, .mask = mask};
	return harness_call(client, &call);
}
static __attribute__((unused)) int64_t open_at(struct dc_client *client, const char *path, int flags, uint32_t mode, uint64_t *handle) {
	struct call call = {.operation = DC_OP_OPEN, .path = path, .mask = (uint32_t)flags, .mode = mode};
	int64_t result = harness_call(client, &call);
	*handle = call.value0;
	return result;
}
static __attribute__((unused)) int64_t write_at(struct dc_client *client, uint64_t handle, uint64_t offset, const char *text) {
	struct call call = {.operation = DC_OP_WRITE, .handle = handle, .offset = offset, .data = text, .length = strlen(text)};
	return harness_call(client, &call);
}
static __attribute__((unused)) int64_t read_at(struct dc_client *client, uint64_t handle, uint64_t offset, char *out, size_t length) {
	struct call call = {.operation = DC_OP_READ, .handle = handle, .offset = offset, .out = out, .length = length};
	return harness_call(client, &call);
}
static __attribute__((unused)) int64_t close_handle(struct dc_client *client, uint64_t handle) {
	struct call call = {.operation = DC_OP_CLOSE, .handle = handle};
	return harness_call(client, &call);
}

#endif
