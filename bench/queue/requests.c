/*
 * requests.c - a request and its answer, with the shipped client and receiver: how they wait, by where they run and how long clients think between two requests; and what it costs that clients
 * exist and say nothing. Not in it: that a service's worker steps aside to another CPU when it shares one with its sender (native/service/workers.c).
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "client.h"
#include "receiver.h"

#define WORKERS 2u

enum placement { APART, TOGETHER, UNPINNED };
static const char *const placements[] = {"apart", "together", "unpinned"};
/* How long both sides spin: ours, hardly, for ever. */
static const struct {
	const char *name;
	uint32_t spin_ns;
} policies[] = {{"adaptive", 50000}, {"sleep", 0}, {"spin", 1000000000}};

struct stand {
	struct dc_queue queue;
	struct dc_mailboxes mailboxes;
	struct dc_receiver receiver;
	struct dc_seat seat[WORKERS];
	enum placement placement;
	unsigned clients, think_us;
	struct dc_arena *arena[CLIENTS_MAX];
	struct histogram latency[CLIENTS_MAX];
	_Atomic uint64_t worker_cpu_ns;
};

static void *worker(void *argument) {
	struct stand *stand = argument;
	static _Atomic unsigned next;
	struct dc_seat *seat = &stand->seat[atomic_fetch_add(&next, 1) % WORKERS];
	pin(stand->placement == APART ? (int)cpu_count() - 1 : stand->placement == TOGETHER ? 0 : -1);
	dc_receiver_enter(&stand->receiver, seat);
	while (!atomic_load_explicit(&stand->receiver.stopping, memory_order_relaxed)) {
		uint32_t item;
		if (dc_receiver_next(&stand->receiver, seat, &item) != DC_TAKE_ITEM) continue;
		struct dc_slot *slot = &stand->arena[DC_ITEM_CLIENT(item)]->slot[DC_ITEM_SLOT(item)];
		seat->sender_cpu = slot->cpu;
		dc_answer(slot, DC_ANSWER_SEQUENCE(atomic_load(&slot->answer)), 0);
	}
	dc_receiver_leave(&stand->receiver);
	struct timespec used;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	atomic_fetch_add(&stand->worker_cpu_ns, (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec);
	return NULL;
}

static void think(unsigned us) {
	if (us >= 100) {
		struct timespec span = {.tv_nsec = us * 1000L};
		nanosleep(&span, NULL);
	} else if (us) {
		for (uint64_t until = dc_monotonic_ns() + us * 1000u; dc_monotonic_ns() < until;) dc_pause();
	}
}

static void send_requests(unsigned who, void *argument) {
	struct stand *stand = argument;
	struct dc_client client;
	dc_client_init(&client, stand->receiver.transport == DC_BY_QUEUE ? &stand->queue : NULL, stand->arena[who], who, 1);
	if (stand->placement == APART) pin(cpu_count() > 1 ? (int)(who % (cpu_count() - 1)) : 0);
	else pin(stand->placement == TOGETHER ? 0 : -1);
	unsigned slot = dc_client_acquire(&client, 0, (uint32_t)gettid());
	dc_client_slot(&client, slot)->operation = DC_OP_NULL;
	hold_start();
	while (running()) {
		uint64_t before = dc_monotonic_ns();
		dc_client_call(&client, slot);
		histogram_add(&stand->latency[who], dc_monotonic_ns() - before);
		think(stand->think_us);
	}
}

static void say_nothing(unsigned who, void *argument) {
	hold_start();
	/* Asleep until a second after the end at the latest. */
	while (running()) think(200000);
}

static struct stand *set_up(enum dc_transport transport, enum placement placement, unsigned clients, unsigned think_us, uint32_t spin_ns) {
	struct stand *stand = shared_memory(sizeof *stand);
	stand->placement = placement;
	stand->clients = clients;
	stand->think_us = think_us;
	dc_receiver_init(&stand->receiver, transport == DC_BY_QUEUE ? &stand->queue : NULL, transport == DC_BY_QUEUE ? NULL : &stand->mailboxes, cpu_count() > 3 ? cpu_count() / 2 : 1, spin_ns, 300000);
	for (unsigned i = 0; i < clients; i++) {
		stand->arena[i] = shared_memory(sizeof(struct dc_arena));
		struct dc_mailbox *box = &stand->arena[i]->mailbox[DC_MAILBOX_PLACE(i)];
		box->spin_ns = spin_ns;
		if (transport == DC_BY_MAILBOXES) dc_mailboxes_open(&stand->mailboxes, (unsigned)dc_mailboxes_reserve(&stand->mailboxes, i, 1), box);
	}
	return stand;
}

static double cpu_seconds(void) {
	double sum = 0;
	for (int who = RUSAGE_CHILDREN; who <= RUSAGE_SELF; who++) {
		struct rusage usage;
		getrusage(who, &usage);
		sum += (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
	}
	return sum;
}

static double run(struct stand *stand, unsigned ms, void (*body)(unsigned who, void *argument), double *cpu) {
	pthread_t thread[WORKERS];
	dc_ticks_per_us();
	for (unsigned i = 0; i < WORKERS; i++) pthread_create(&thread[i], NULL, worker, stand);
	double before = cpu_seconds();
	double seconds = run_processes(stand->clients, ms, body, stand);
	atomic_store(&stand->receiver.stopping, true);
	dc_receiver_kick(&stand->receiver);
	for (unsigned i = 0; i < WORKERS; i++) pthread_join(thread[i], NULL);
	*cpu = cpu_seconds() - before;
	return seconds;
}

static void measure(enum dc_transport transport, enum placement placement, unsigned policy, unsigned clients, unsigned think_us, unsigned ms) {
	struct stand *stand = set_up(transport, placement, clients, think_us, policies[policy].spin_ns);
	double cpu, seconds = run(stand, ms, send_requests, &cpu);
	struct histogram latency = {0};
	for (unsigned i = 0; i < clients; i++) histogram_join(&latency, &stand->latency[i]);
	uint64_t sleeps = atomic_load(&stand->seat[0].sleeps) + atomic_load(&stand->seat[1].sleeps);
	printf("{\"kind\":\"request\",\"transport\":\"%s\",\"placement\":\"%s\",\"waiting\":\"%s\",\"clients\":%u,\"thinkUs\":%u,\"perSecond\":%.0f,\"p50\":%llu,\"p99\":%llu,\"cpuNs\":%.0f,\"workerSleeps\":%llu}\n",
		transport == DC_BY_QUEUE ? "queue" : "mailboxes", placements[placement], policies[policy].name, clients, think_us, (double)latency.total / seconds,
		(unsigned long long)histogram_at(&latency, 0.5), (unsigned long long)histogram_at(&latency, 0.99), latency.total ? cpu * 1e9 / (double)latency.total : 0.0, (unsigned long long)sleeps);
	fflush(stdout);
}

void bench_waiting(unsigned ms, bool quick) {
	static const unsigned thinks[] = {0, 1, 10, 100, 1000}, counts[] = {1, 2, 4, 8, 16, 32};
	for (unsigned transport = 0; transport < 2; transport++) {
		for (unsigned placement = 0; placement < 3; placement++)
			for (unsigned policy = 0; policy < (quick ? 1 : 3); policy++) {
				/* Spinning for ever beside one's peer on one CPU answers once in a time slice: nothing is learnt from waiting for it. */
				if (policy == 2 && placement != APART) continue;
				for (unsigned i = 0; i < 5; i++) measure(transport, placement, policy, 1, thinks[i], ms);
			}
		for (unsigned i = 1; i < 6; i++) measure(transport, UNPINNED, 0, counts[i], 0, ms);
	}
}

void bench_idle(unsigned ms) {
	for (unsigned transport = 0; transport < 2; transport++) {
		struct stand *stand = set_up(transport, UNPINNED, CLIENTS_MAX, 0, 50000);
		double cpu, seconds = run(stand, ms, say_nothing, &cpu);
		uint64_t sleeps = atomic_load(&stand->seat[0].sleeps) + atomic_load(&stand->seat[1].sleeps);
		printf("{\"kind\":\"idle\",\"transport\":\"%s\",\"clients\":%u,\"workersCpuShare\":%.6f,\"workerSleeps\":%llu}\n", transport == DC_BY_QUEUE ? "queue" : "mailboxes", CLIENTS_MAX, (double)atomic_load(&stand->worker_cpu_ns) / 1e9 / seconds,
			(unsigned long long)sleeps);
		fflush(stdout);
	}
}
