#include "measure.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "waiting.h"

#define BUFFER_BYTES (1u << 20) /* as a slot's (segment.h) */
#define BATCH_BYTES (64u << 10) /* small copies are timed by the batch */
#define PAGES_BYTES (32u << 20) /* a cache whose next pages are in nobody's CPU cache */
#define READ_BYTES (1u << 20)  /* of it, for what a client reads again and again: about what its core keeps */
#define ROUNDS_MAX 512u

enum task { IDLE, WRITE, READ, END };

/* Shared by both; the lines that they talk by are apart from the data. */
struct talk {
	_Alignas(64) _Atomic uint32_t task;
	_Alignas(64) size_t bytes, count, stride;
	uint64_t ticks; /* that the last task took */
	_Alignas(4096) unsigned char buffer[BUFFER_BYTES];
};

struct measure {
	struct talk *talk;
	unsigned char *own;   /* memory of this process alone, twice a buffer's */
	unsigned char *pages; /* shared memory like a cache's region */
	size_t next_page, next_read;
	pid_t peer;
	int cpus[2];
};

static void wait_until(_Atomic uint32_t *word, bool idle) {
	for (unsigned round = 1; (atomic_load_explicit(word, memory_order_acquire) == IDLE) != idle; round++) {
		if (round % 2048) dc_pause();
		else sched_yield(); /* on one CPU the other side needs it */
	}
}

/* ---- the peer --------------------------------------------------------------------------------------------------------------- */
static void peer_main(struct talk *talk) {
	unsigned char *own = malloc(BUFFER_BYTES);
	if (!own) _exit(1);
	memset(own, 7, BUFFER_BYTES);
	for (;;) {
		wait_until(&talk->task, false);
		uint32_t task = atomic_load_explicit(&talk->task, memory_order_relaxed);
		if (task == END) _exit(0);
		uint64_t start = dc_ticks();
		for (size_t i = 0; i < talk->count; i++) {
			unsigned char *at = talk->buffer + i * talk->stride;
			if (task == WRITE) memcpy(at, own + i * talk->stride, talk->bytes);
			else memcpy(own + i * talk->stride, at, talk->bytes);
			__asm__ volatile("" : : "r"(own), "r"(at) : "memory");
		}
		talk->ticks = dc_ticks() - start;
		atomic_store_explicit(&talk->task, IDLE, memory_order_release);
	}
}

static uint64_t let_peer(struct measure *measure, enum task task) {
	atomic_store_explicit(&measure->talk->task, task, memory_order_release);
	if (task == END) return 0;
	wait_until(&measure->talk->task, true);
	return measure->talk->ticks;
}

/* ---- where both run ----------------------------------------------------------------------------------------------------------- */
static int core_of(int cpu) {
	char path[96];
	int core = -1;
	snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/core_id", cpu);
	FILE *file = fopen(path, "re");
	if (file && fscanf(file, "%d", &core) != 1) core = -1;
	if (file) fclose(file);
	return core;
}

/* Two cores if there are two, else two threads of one, else the same CPU twice. */
static bool choose_cpus(int cpus[2]) {
	cpu_set_t allowed;
	if (sched_getaffinity(0, sizeof allowed, &allowed)) return false;
	cpus[0] = cpus[1] = -1;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &allowed)) continue;
		if (cpus[0] < 0) cpus[0] = cpu;
		else if (cpus[1] < 0) cpus[1] = cpu;
		else if (core_of(cpus[0]) == core_of(cpus[1]) && core_of(cpu) != core_of(cpus[0])) cpus[1] = cpu;
	}
	if (cpus[1] < 0) cpus[1] = cpus[0];
	return true;
}

static void stay_on(int cpu) {
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof set, &set);
}

static void *shared_memory(size_t bytes) {
	int fd = memfd_create("diciclo-tune", MFD_CLOEXEC);
	void *at = fd >= 0 && ftruncate(fd, (off_t)bytes) == 0 ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
	if (fd >= 0) close(fd);
	if (at == MAP_FAILED) return NULL;
	memset(at, 1, bytes);
	return at;
}

struct measure *measure_start(void) {
	struct measure *measure = calloc(1, sizeof *measure);
	if (!measure) return NULL;
	measure->peer = -1;
	measure->talk = shared_memory(sizeof *measure->talk);
	measure->pages = shared_memory(PAGES_BYTES);
	measure->own = malloc(2 * BUFFER_BYTES + 64);
	if (!measure->talk || !measure->pages || !measure->own || !choose_cpus(measure->cpus)) goto failed;
	memset(measure->own, 3, 2 * BUFFER_BYTES + 64);
	atomic_store(&measure->talk->task, IDLE);
	pid_t parent = getpid();
	measure->peer = fork();
	if (measure->peer < 0) goto failed;
	if (measure->peer == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent) _exit(1);
		stay_on(measure->cpus[1]);
		peer_main(measure->talk);
	}
	stay_on(measure->cpus[0]);
	return measure;
failed:
	measure_stop(measure);
	return NULL;
}

void measure_stop(struct measure *measure) {
	int error = errno;
	if (measure->peer > 0) {
		let_peer(measure, END);
		while (waitpid(measure->peer, NULL, 0) < 0 && errno == EINTR) continue;
	}
	if (measure->talk) munmap(measure->talk, sizeof *measure->talk);
	if (measure->pages) munmap(measure->pages, PAGES_BYTES);
	free(measure->own);
	free(measure);
	errno = error;
}

void measure_cpus(const struct measure *measure, int cpus[2]) {
	memcpy(cpus, measure->cpus, sizeof measure->cpus);
}

/* ---- one batch: ticks --------------------------------------------------------------------------------------------------------- */
static void copy_all(struct talk *talk, dc_copy_function *routine, unsigned char *to, const unsigned char *from) {
	for (size_t i = 0; i < talk->count; i++) routine(to + i * talk->stride, from + i * talk->stride, talk->bytes);
}

/* The client's data are hot; the service has read the buffer last, and reads it next. */
static uint64_t to_shared(struct measure *measure, dc_copy_function *routine) {
	struct talk *talk = measure->talk;
	unsigned char *source = measure->own + 16; /* where malloc's large blocks begin */
	memset(source, 5, talk->count * talk->stride);
	uint64_t start = dc_ticks();
	copy_all(talk, routine, talk->buffer, source);
	uint64_t took = dc_ticks() - start;
	return took + let_peer(measure, READ);
}

static uint64_t look_at(const unsigned char *at, size_t bytes) {
	uint64_t sum = 0;
	for (size_t i = 0; i < bytes; i += 64) sum += *(const volatile unsigned char *)(at + i);
	return sum;
}

/* The service has just written the buffer; the client looks at what it got. */
static uint64_t from_shared(struct measure *measure, dc_copy_function *routine) {
	struct talk *talk = measure->talk;
	unsigned char *target = measure->own + 16;
	let_peer(measure, WRITE);
	uint64_t start = dc_ticks();
	copy_all(talk, routine, target, talk->buffer);
	look_at(target, talk->count * talk->stride);
	return dc_ticks() - start;
}

/* The client has read the cache's pages before, and nobody has written them since; it reads into the same memory every time. */
static uint64_t from_cache(struct measure *measure, dc_copy_function *routine) {
	struct talk *talk = measure->talk;
	unsigned char *target = measure->own + 16;
	size_t all = talk->count * talk->stride;
	if (measure->next_read + all > READ_BYTES) measure->next_read = 0;
	const unsigned char *pages = measure->pages + measure->next_read;
	measure->next_read += (all + 4095) & ~(size_t)4095;
	uint64_t start = dc_ticks();
	for (size_t i = 0; i < talk->count; i++) {
		routine(target, pages + i * talk->stride, talk->bytes);
		look_at(target, talk->bytes);
	}
	return dc_ticks() - start;
}

/* A write's data go from the client's buffer into pages and on to the child, which reads them; and a read's from pages to the buffer, which the client reads. */
static uint64_t within(struct measure *measure, dc_copy_function *routine) {
	struct talk *talk = measure->talk;
	size_t all = talk->count * talk->stride;
	if (measure->next_page + all > PAGES_BYTES) measure->next_page = 0;
	unsigned char *pages = measure->pages + measure->next_page;
	measure->next_page += (all + 4095) & ~(size_t)4095;
	let_peer(measure, WRITE);
	uint64_t start = dc_ticks();
	copy_all(talk, routine, pages, talk->buffer);
	copy_all(talk, memcpy, measure->own, pages);
	copy_all(talk, routine, talk->buffer, pages);
	uint64_t took = dc_ticks() - start;
	return took + let_peer(measure, READ);
}

static int by_size(const void *a, const void *b) {
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

void measure_compare(struct measure *measure, enum dc_copy_direction direction, size_t bytes, dc_copy_function *const *routines, unsigned count, unsigned rounds, double *costs) {
	static uint64_t (*const batches[DC_COPY_DIRECTIONS])(struct measure *, dc_copy_function *) = {
		[DC_COPY_TO_SHARED] = to_shared, [DC_COPY_FROM_SHARED] = from_shared, [DC_COPY_WITHIN] = within, [DC_COPY_FROM_CACHE] = from_cache};
	static uint64_t ticks[DC_COPY_ROUTINES][ROUNDS_MAX];
	struct talk *talk = measure->talk;
	talk->bytes = bytes;
	talk->stride = (bytes + 63) & ~(size_t)63;
	talk->count = talk->stride < BATCH_BYTES ? BATCH_BYTES / talk->stride : 1;
	if (rounds > ROUNDS_MAX) rounds = ROUNDS_MAX;
	for (unsigned i = 0; i < count; i++) batches[direction](measure, routines[i]); /* warm */
	for (unsigned round = 0; round < rounds; round++)
		for (unsigned i = 0; i < count; i++) ticks[(i + round) % count][round] = batches[direction](measure, routines[(i + round) % count]);
	for (unsigned i = 0; i < count; i++) {
		qsort(ticks[i], rounds, sizeof ticks[i][0], by_size);
		costs[i] = (double)ticks[i][rounds / 2] * 1000 / dc_ticks_per_us() / (double)talk->count;
	}
}
