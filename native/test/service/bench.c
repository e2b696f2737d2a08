/*
 * bench.c - what a request costs without a library around it: null, 4 KiB read and write, stat. Nanoseconds per request, best of rounds, with 1, 2, 4 and 8 clients.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "queue.h"

struct task {
	struct dc_client *client;
	struct call call;
	unsigned rounds;
};

static void *run(void *argument) {
	struct task *task = argument;
	unsigned index = dc_client_acquire(task->client, -1, (uint32_t)gettid());
	struct dc_slot *slot = dc_client_slot(task->client, index);
	slot->operation = task->call.operation;
	slot->flags = 0;
	slot->instance = 1;
	slot->handle = task->call.handle;
	slot->length = task->call.length;
	slot->mask = 0;
	slot->path_length = task->call.path ? (uint32_t)strlen(task->call.path) : 0;
	if (task->call.path) memcpy(dc_client_buffer(task->client, index), task->call.path, strlen(task->call.path));
	for (unsigned i = 0; i < task->rounds; i++) {
		slot->offset = task->call.offset + (i % 64) * 4096;
		if (dc_client_call(task->client, index) < 0) abort();
	}
	dc_client_release(task->client, index);
	return NULL;
}

static double measure(struct dc_client *clients, unsigned count, const struct call *call, unsigned rounds) {
	double best = 1e18;
	for (unsigned repeat = 0; repeat < 5; repeat++) {
		struct task task[8];
		pthread_t thread[8];
		uint64_t start = dc_monotonic_ns();
		for (unsigned i = 0; i < count; i++) {
			task[i] = (struct task){.client = &clients[i], .call = *call, .rounds = rounds};
			pthread_create(&thread[i], NULL, run, &task[i]);
		}
		for (unsigned i = 0; i < count; i++) pthread_join(thread[i], NULL);
		double ns = (double)(dc_monotonic_ns() - start) / ((double)rounds * count);
		if (ns < best) best = ns;
	}
	return best;
}

int main(void) {
	struct harness harness;
	struct dc_client client[8];
	static char block[256 * 1024];
	harness_start(&harness, getenv("DICICLO_PLAN"));
	for (unsigned i = 0; i < 8; i++) harness_attach(&harness, &client[i], 0, 0);
	uint64_t handle[8];
	for (unsigned i = 0; i < 8; i++) {
		struct call open_call = {.operation = DC_OP_OPEN, .path = "bench", .mask = O_RDWR | O_CREAT, .mode = 0644};
		if (harness_call(&client[i], &open_call)) abort();
		handle[i] = open_call.value0;
		struct call write_call = {.operation = DC_OP_WRITE, .handle = handle[i], .data = block, .length = sizeof block};
		if (harness_call(&client[i], &write_call) < 0) abort();
	}
	printf("%-14s %10s %10s %10s %10s   ns per request, aggregate\n", "", "1 client", "2", "4", "8");
	struct { const char *name; struct call call; } cases[] = {
		{"null", {.operation = DC_OP_NULL}},
		{"read 4 KiB", {.operation = DC_OP_READ, .handle = handle[0], .length = 4096}},
		{"write 4 KiB", {.operation = DC_OP_WRITE, .handle = handle[0], .length = 4096}},
		{"stat", {.operation = DC_OP_STAT, .path = "bench"}},
	};
	for (unsigned i = 0; i < 4; i++) {
		printf("%-14s", cases[i].name);
		for (unsigned count = 1; count <= 8; count *= 2)
			printf(" %10.0f", count > 1 && cases[i].call.handle ? 0.0 : measure(client, count, &cases[i].call, 20000));
		printf("\n");
	}
	harness_stop(&harness);
	return 0;
}
