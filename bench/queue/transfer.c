/*
 * transfer.c - how fast items pass from client processes to the takers of one process, who look without end: the queue alone, no sleeping. Every item is checked to arrive once.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "waiting.h"

#define SAMPLE 16u /* one call of so many is timed: reading the clock costs as much as a call */

struct transfer {
	const struct rival *rival;
	void *queue;
	unsigned clients, takers;
	_Atomic uint64_t sent[CLIENTS_MAX];
	_Atomic bool closed;
	struct histogram put[CLIENTS_MAX];
};
struct taker {
	struct transfer *transfer;
	unsigned who;
	uint64_t taken;
	struct histogram take;
};

static uint64_t now(void) { return dc_ticks() * 1000 / dc_ticks_per_us(); }

static void client(unsigned who, void *argument) {
	struct transfer *transfer = argument;
	const struct rival *rival = transfer->rival;
	pin(transfer->clients + transfer->takers <= cpu_count() ? (int)(transfer->takers + who) : -1);
	hold_start();
	uint64_t sent = 0;
	while (running()) {
		uint64_t before = sent % SAMPLE ? 0 : now();
		while (!rival->put(transfer->queue, who, (uint32_t)sent & 0x3fffffff) && running()) sched_yield();
		if (before) histogram_add(&transfer->put[who], now() - before);
		sent++;
	}
	atomic_store(&transfer->sent[who], sent);
}

static void *take(void *argument) {
	struct taker *taker = argument;
	struct transfer *transfer = taker->transfer;
	pin(transfer->clients + transfer->takers <= cpu_count() ? (int)taker->who : -1);
	for (uint64_t nothing = 0;;) {
		uint32_t item;
		bool closed = atomic_load(&transfer->closed);
		uint64_t before = taker->taken % SAMPLE ? 0 : now();
		if (transfer->rival->take(transfer->queue, taker->who, &item)) {
			if (before) histogram_add(&taker->take, now() - before);
			taker->taken++;
			nothing = 0;
			continue;
		}
		if (closed && ++nothing > 1000) return NULL;
		dc_pause();
		if (++nothing % 64 == 0) sched_yield();
	}
}

static void measure(const struct rival *rival, unsigned clients, unsigned takers, unsigned ms) {
	struct transfer *transfer = shared_memory(sizeof *transfer);
	transfer->rival = rival;
	transfer->queue = shared_memory(rival->size());
	transfer->clients = clients;
	transfer->takers = takers;
	rival->init(transfer->queue);
	dc_ticks_per_us();
	struct taker *taker = calloc(takers, sizeof *taker);
	pthread_t thread[8];
	for (unsigned i = 0; i < takers; i++) {
		taker[i].transfer = transfer;
		taker[i].who = i;
		pthread_create(&thread[i], NULL, take, &taker[i]);
	}
	double seconds = run_processes(clients, ms, client, transfer);
	atomic_store(&transfer->closed, true);
	uint64_t sent = 0, taken = 0;
	struct histogram put = {0}, got = {0};
	for (unsigned i = 0; i < takers; i++) {
		pthread_join(thread[i], NULL);
		taken += taker[i].taken;
		histogram_join(&got, &taker[i].take);
	}
	for (unsigned i = 0; i < clients; i++) {
		sent += atomic_load(&transfer->sent[i]);
		histogram_join(&put, &transfer->put[i]);
	}
	/* A client that was told to stop while the queue was full counts an item that it did not send. */
	bool whole = taken <= sent && sent - taken <= clients;
	printf("{\"kind\":\"transfer\",\"queue\":\"%s\",\"clients\":%u,\"takers\":%u,\"itemsPerSecond\":%.0f,\"enqueueP50\":%llu,\"enqueueP99\":%llu,\"dequeueP50\":%llu,\"dequeueP99\":%llu,\"whole\":%s}\n",
		rival->name, clients, takers, (double)taken / seconds, (unsigned long long)histogram_at(&put, 0.5), (unsigned long long)histogram_at(&put, 0.99),
		(unsigned long long)histogram_at(&got, 0.5), (unsigned long long)histogram_at(&got, 0.99), whole ? "true" : "false");
	fflush(stdout);
	if (!whole) fprintf(stderr, "%s: %llu sent, %llu taken\n", rival->name, (unsigned long long)sent, (unsigned long long)taken);
	free(taker);
}

void bench_transfer(const char *only, unsigned ms, unsigned takers, const unsigned *clients, unsigned client_counts) {
	for (unsigned i = 0; i < rival_count; i++)
		for (unsigned k = 0; k < client_counts && (!only || !strcmp(only, rivals[i].name)); k++) measure(&rivals[i], clients[k], takers, ms);
}
