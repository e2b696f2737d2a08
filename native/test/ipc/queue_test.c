/*
 * queue_test.c - the relaxed queue: nothing lost, nothing doubled, with threads (for the thread sanitizer) and with processes that are killed and stopped at random.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "queue.h"

static unsigned passed, failed;
static void check(bool ok, const char *what) {
	if (ok) passed++;
	else failed++;
	if (!ok) fprintf(stderr, "FAILED: %s\n", what);
}

static struct dc_queue *new_queue(void) {
	struct dc_queue *queue = mmap(NULL, sizeof *queue, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	dc_queue_init(queue, 2, 50000);
	return queue;
}

/* ---- one thread: order, laps, full ----------------------------------------------------------------------------------------- */
static void test_single(void) {
	struct dc_queue *queue = new_queue();
	struct dc_queue_reader reader = {.queue = queue, .patience_ns = 1000000};
	uint32_t item;
	check(dc_queue_take(&reader, &item) == DC_TAKE_EMPTY, "empty at first");
	bool ok = true;
	for (uint32_t i = 0; i < 5 * DC_QUEUE_SLOTS; i++) ok = ok && dc_queue_put(queue, i & 0x3fffffff, 0) == 0 && dc_queue_take(&reader, &item) == DC_TAKE_ITEM && item == i;
	check(ok, "five laps in order");
	for (uint32_t i = 0; i < DC_QUEUE_SLOTS; i++) ok = ok && dc_queue_put(queue, i, 0) == 0;
	check(ok, "filled");
	check(dc_queue_put(queue, 1, 1000000) == -EAGAIN, "full says EAGAIN");
	for (uint32_t i = 0; i < DC_QUEUE_SLOTS; i++) ok = ok && dc_queue_take(&reader, &item) == DC_TAKE_ITEM && item == i;
	check(ok, "drained in order");
	check(dc_queue_take(&reader, &item) == DC_TAKE_INVALIDATED, "the ticket given up is invalidated");
	check(dc_queue_put(queue, 7, 0) == 0 && dc_queue_take(&reader, &item) == DC_TAKE_ITEM && item == 7, "goes on behind it");
	munmap(queue, sizeof *queue);
}

/* ---- laps wrap ------------------------------------------------------------------------------------------------------------- */
static void test_wrap(void) {
	struct dc_queue *queue = new_queue();
	uint64_t start = ((UINT64_C(1) << 32) - 2) << DC_QUEUE_SHIFT;
	struct dc_queue_reader reader = {.queue = queue, .patience_ns = 1000000};
	dc_queue_stand(&reader, start);
	atomic_store(&queue->tail, start);
	for (unsigned i = 0; i < DC_QUEUE_SLOTS; i++) atomic_store(&queue->slot[i].word, DC_WORD(UINT32_MAX - 1, DC_WORD_FREE, 0));
	uint32_t item;
	bool ok = true;
	for (uint32_t i = 0; i < 5 * DC_QUEUE_SLOTS; i++) ok = ok && dc_queue_put(queue, i, 0) == 0 && dc_queue_take(&reader, &item) == DC_TAKE_ITEM && item == i;
	check(ok, "the lap counter wraps");
	munmap(queue, sizeof *queue);
}

/* ---- threads --------------------------------------------------------------------------------------------------------------- */
#define SENDERS 4u
#define READERS 2u
static struct dc_queue *shared;
static struct dc_queue_reader shared_reader;
static unsigned per_sender;
static _Atomic unsigned char *seen;
static _Atomic uint64_t taken;

static void *send_thread(void *argument) {
	uint32_t base = (uint32_t)(uintptr_t)argument * per_sender;
	for (uint32_t i = 0; i < per_sender; i++)
		while (dc_queue_put(shared, base + i, 1000000000) == -EAGAIN) continue;
	return NULL;
}
static void *take_thread(void *argument) {
	while (atomic_load(&taken) < (uint64_t)SENDERS * per_sender) {
		uint32_t item;
		if (dc_queue_take(&shared_reader, &item) == DC_TAKE_ITEM) {
			atomic_fetch_add(&seen[item], 1);
			atomic_fetch_add(&taken, 1);
		} else {
			sched_yield();
		}
	}
	return NULL;
}
static void test_threads(unsigned count) {
	shared = new_queue();
	memset(&shared_reader, 0, sizeof shared_reader);
	shared_reader.queue = shared;
	shared_reader.patience_ns = 300000;
	per_sender = count;
	seen = calloc(SENDERS * per_sender, 1);
	atomic_store(&taken, 0);
	pthread_t thread[SENDERS + READERS];
	for (unsigned i = 0; i < READERS; i++) pthread_create(&thread[SENDERS + i], NULL, take_thread, NULL);
	for (unsigned i = 0; i < SENDERS; i++) pthread_create(&thread[i], NULL, send_thread, (void *)(uintptr_t)i);
	for (unsigned i = 0; i < SENDERS + READERS; i++) pthread_join(thread[i], NULL);
	unsigned wrong = 0;
	for (unsigned i = 0; i < SENDERS * per_sender; i++) wrong += atomic_load(&seen[i]) != 1;
	check(wrong == 0, "threads: each item once");
	free((void *)seen);
	munmap(shared, sizeof *shared);
}

/* ---- processes that are killed and stopped --------------------------------------------------------------------------------- */
#define VICTIMS 3u
#define RECORDS 65536u
struct storm {
	_Atomic uint32_t sent[VICTIMS][RECORDS];  /* set before put (1) and after (2), by the sender */
	_Atomic uint32_t got[VICTIMS][RECORDS];   /* counted by the reader */
	_Atomic uint32_t next[VICTIMS];
};

static void victim(struct dc_queue *queue, struct storm *storm, unsigned id) {
	for (;;) {
		uint32_t i = atomic_fetch_add(&storm->next[id], 1);
		if (i >= RECORDS) _exit(0);
		atomic_store(&storm->sent[id][i], 1);
		if (dc_queue_put(queue, id << 16 | i, 1000000000) == 0) atomic_store(&storm->sent[id][i], 2);
	}
}

static _Atomic bool storm_over;
struct storm_reader {
	struct dc_queue_reader *reader;
	struct storm *storm;
};
static void *storm_take(void *argument) {
	struct storm_reader *state = argument;
	for (;;) {
		uint32_t item;
		enum dc_take result = dc_queue_take(state->reader, &item);
		if (result == DC_TAKE_ITEM) atomic_fetch_add(&state->storm->got[item >> 16][item & 0xffff], 1);
		else if (result == DC_TAKE_EMPTY && atomic_load(&storm_over)) return NULL;
	}
}

static void test_storm(unsigned kills) {
	struct dc_queue *queue = new_queue();
	struct storm *storm = mmap(NULL, sizeof *storm, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct dc_queue_reader reader = {.queue = queue, .patience_ns = 300000};
	struct storm_reader state = {&reader, storm};
	atomic_store(&storm_over, false);
	pthread_t thread[2];
	for (unsigned i = 0; i < 2; i++) pthread_create(&thread[i], NULL, storm_take, &state);
	pid_t pid[VICTIMS] = {0};
	unsigned seed = 1;
	for (unsigned round = 0; round < kills; round++) {
		unsigned id = round % VICTIMS;
		if (!pid[id] && !(pid[id] = fork())) victim(queue, storm, id);
		usleep((useconds_t)(rand_r(&seed) % 500));
		bool stop = rand_r(&seed) % 4 == 0;
		kill(pid[id], stop ? SIGSTOP : SIGKILL);
		if (stop) {
			usleep(1000);
			kill(pid[id], SIGKILL);
		}
		waitpid(pid[id], NULL, 0);
		pid[id] = 0;
	}
	atomic_store(&storm_over, true);
	for (unsigned i = 0; i < 2; i++) pthread_join(thread[i], NULL);
	unsigned lost = 0, doubled = 0, total = 0;
	for (unsigned id = 0; id < VICTIMS; id++)
		for (unsigned i = 0; i < RECORDS; i++) {
			uint32_t got = atomic_load(&storm->got[id][i]), sent = atomic_load(&storm->sent[id][i]);
			total += got;
			lost += sent == 2 && got == 0;
			doubled += got > 1 || (got && !sent);
		}
	printf("storm: %u kills, %u items, %llu tickets invalidated\n", kills, total, (unsigned long long)atomic_load(&reader.invalidated));
	check(total > 0, "storm: something went through");
	check(lost == 0, "storm: no acknowledged item lost");
	check(doubled == 0, "storm: no item doubled");
	munmap(queue, sizeof *queue);
	munmap(storm, sizeof *storm);
}

/* A sender whose request stays where it is wakes a sleeper; not when nobody sleeps, and not while nobody is said to look. */
static void test_look(void) {
	struct dc_queue *queue = new_queue();
	struct dc_board *board = &queue->board;
	const uint32_t sleeping = 1u, spinning = 1u << 8, running = 1u << 16;
	atomic_store(&board->workers, running | sleeping | DC_WORKERS_FIRST_SLEEPS);
	dc_queue_look(queue, false);
	check(atomic_load(&board->wake) == 0, "nobody looks: a running worker is waited for");
	dc_queue_look(queue, true);
	check(atomic_load(&board->wake) == 1, "a worker that runs and takes nothing: another is woken");
	atomic_store(&board->workers, spinning | sleeping);
	dc_queue_look(queue, false);
	check(atomic_load(&board->wake) == 1 && atomic_load(&board->wake_reserve) == 1, "a spinner that takes nothing: one in reserve is woken");
	atomic_store(&board->workers, spinning | running);
	dc_queue_look(queue, true);
	check(atomic_load(&board->wake) == 1 && atomic_load(&board->wake_reserve) == 1, "nobody sleeps: nobody is woken");
	munmap(queue, sizeof *queue);
}

int main(int argc, char **argv) {
	unsigned kills = argc > 1 ? (unsigned)atoi(argv[1]) : 300;
	test_single();
	test_wrap();
	test_look();
	test_threads(20000);
	test_storm(kills);
	printf("%u passed, %u failed\n", passed, failed);
	return failed != 0;
}
