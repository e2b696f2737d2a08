/*
 * io-bench.c - what one call costs, whatever stands behind the path: the same program for ext4, FUSE daemons, the kernel door and (preloaded) the library.
 * usage: io-bench DIRECTORY [SERVER_PID]
 * It lives as long as its standard input, so that all sides can be measured in turn, round by round. Each line there is `CASE MILLISECONDS [THREADS [THINK_US]]`, `pin CPU` (-1: anywhere), or
 * `handed MILLISECONDS`: 1 MiB that one CPU fills in and another writes, which is what any service on a CPU of its own has to do for a write, and nothing else;
 * each answer one line of JSON:
 * nanoseconds per call, CPU nanoseconds per call of this process and of the server (all of its threads, kernel time included). With threads or thinking every call is timed: mean, median.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SMALL_FILE = 1 << 20, LARGE = 1 << 20, LARGE_FILE = 32 << 20, THREADS_MAX = 16, SAMPLES = 1 << 16 };

static _Thread_local char *buffer;
static _Thread_local char path_made[4096];
static const char *directory;
static int small, large;
static char path_small[4096], path_large[4096];
static clockid_t server_clock;
static bool has_server;

static _Noreturn void die(const char *what) {
	fprintf(stderr, "io-bench: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t read_clock(clockid_t clock) {
	struct timespec now;
	if (clock_gettime(clock, &now)) die("clock");
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
static uint64_t now_ns(void) { return read_clock(CLOCK_MONOTONIC); }
static uint64_t server_ns(void) { return has_server ? read_clock(server_clock) : 0; }

static void prepare_thread(unsigned who) {
	if (posix_memalign((void **)&buffer, 4096, LARGE)) die("memory");
	memset(buffer, 'x', LARGE);
	snprintf(path_made, sizeof path_made, "%s/io-bench-made-%u", directory, who);
}

static void pread4k(unsigned i) {
	if (pread(small, buffer, 4096, (off_t)(i % (SMALL_FILE / 4096)) * 4096) != 4096) die("pread");
}
static void pwrite4k(unsigned i) {
	if (pwrite(small, buffer, 4096, (off_t)(i % (SMALL_FILE / 4096)) * 4096) != 4096) die("pwrite");
}
static void stat_file(unsigned i) {
	struct stat st;
	(void)i;
	if (stat(path_small, &st)) die("stat");
}
static void open_close(unsigned i) {
	(void)i;
	int fd = open(path_small, O_RDONLY);
	if (fd < 0 || close(fd)) die("open");
}
static void create_unlink(unsigned i) {
	(void)i;
	int fd = open(path_made, O_RDWR | O_CREAT | O_EXCL, 0644);
	if (fd < 0 || close(fd) || unlink(path_made)) die("create");
}
static void read1m(unsigned i) {
	if (pread(large, buffer, LARGE, (off_t)(i % (LARGE_FILE / LARGE)) * LARGE) != LARGE) die("read 1 MiB");
}
static void write1m(unsigned i) {
	if (pwrite(large, buffer, LARGE, (off_t)(i % (LARGE_FILE / LARGE)) * LARGE) != LARGE) die("write 1 MiB");
}

static struct one {
	const char *name;
	void (*call)(unsigned i);
	unsigned calls, for_ms; /* as many as took about that long */
} cases[] = {
	{.name = "pread4k", .call = pread4k}, {.name = "pwrite4k", .call = pwrite4k}, {.name = "stat", .call = stat_file}, {.name = "openClose", .call = open_close},
	{.name = "createUnlink", .call = create_unlink}, {.name = "read1m", .call = read1m}, {.name = "write1m", .call = write1m},
};

struct cpu {
	uint64_t own, server;
};
static struct cpu cpu_now(void) { return (struct cpu){read_clock(CLOCK_PROCESS_CPUTIME_ID), server_ns()}; }

static void say(double calls, double ns, double median, struct cpu before) {
	struct cpu after = cpu_now();
	printf("{\"calls\":%.0f,\"ns\":%.1f,\"p50\":%.1f,\"cpuNs\":%.1f,\"serverCpuNs\":%.1f}\n", calls, ns, median, (double)(after.own - before.own) / calls, (double)(after.server - before.server) / calls);
	fflush(stdout);
}

/* ---- one thread, back to back: only the whole is timed ------------------------------------------------------------------------ */
static void measure(struct one *one, unsigned ms) {
	if (one->for_ms != ms) {
		uint64_t took = 0;
		for (one->calls = 1; one->calls < 1u << 24; one->calls *= 2) {
			uint64_t start = now_ns();
			for (unsigned i = 0; i < one->calls; i++) one->call(i);
			took = now_ns() - start;
			if (took > ms * 500000u) break;
		}
		uint64_t fitting = (uint64_t)one->calls * ms * 1000000u / (took + 1);
		one->calls = fitting < 1 ? 1 : fitting > 1u << 24 ? 1u << 24 : (unsigned)fitting;
		one->for_ms = ms;
	}
	struct cpu before = cpu_now();
	uint64_t start = now_ns();
	for (unsigned i = 0; i < one->calls; i++) one->call(i);
	double ns = (double)(now_ns() - start) / one->calls;
	say(one->calls, ns, ns, before);
}

/* ---- several threads, or pauses between calls: every call is timed ------------------------------------------------------------- */
struct task {
	pthread_t thread;
	const struct one *one;
	unsigned who, think_us;
	uint64_t calls, sum;
	uint32_t *sample;
};
static _Atomic bool stop;

static void think(unsigned us) {
	if (us >= 100) usleep(us);
	else if (us)
		for (uint64_t until = now_ns() + us * 1000u; now_ns() < until;) continue;
}

static void *run(void *argument) {
	struct task *task = argument;
	prepare_thread(task->who);
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		uint64_t start = now_ns();
		task->one->call((unsigned)task->calls + task->who * 16);
		uint64_t took = now_ns() - start;
		task->sample[task->calls++ % SAMPLES] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
		task->sum += took;
		think(task->think_us);
	}
	free(buffer);
	return NULL;
}

static int compare(const void *a, const void *b) {
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static void measure_threads(const struct one *one, unsigned ms, unsigned threads, unsigned think_us) {
	static struct task task[THREADS_MAX];
	uint64_t calls = 0, sum = 0;
	size_t samples = 0;
	uint32_t *all = malloc(sizeof *all * SAMPLES * threads);
	if (!all) die("memory");
	atomic_store(&stop, false);
	struct cpu before = cpu_now();
	for (unsigned i = 0; i < threads; i++) {
		task[i] = (struct task){.one = one, .who = i, .think_us = think_us, .sample = malloc(sizeof *all * SAMPLES)};
		if (!task[i].sample || pthread_create(&task[i].thread, NULL, run, &task[i])) die("thread");
	}
	usleep(ms * 1000);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(task[i].thread, NULL);
		size_t count = task[i].calls < SAMPLES ? task[i].calls : SAMPLES;
		memcpy(all + samples, task[i].sample, count * sizeof *all);
		samples += count;
		calls += task[i].calls;
		sum += task[i].sum;
		free(task[i].sample);
	}
	qsort(all, samples, sizeof *all, compare);
	say((double)calls, (double)sum / (double)calls, all[samples / 2], before);
	free(all);
}

/* ---- filled here, written there ------------------------------------------------------------------------------------------------ */
enum { PIECE = 256 << 10, PIECES = LARGE / PIECE };
static struct {
	alignas(128) _Atomic uint64_t filled;
	alignas(128) _Atomic uint64_t written;
	char *piece[2];
} handed;

static void *write_handed(void *unused) {
	cpu_set_t all, last;
	sched_getaffinity(0, sizeof all, &all);
	CPU_ZERO(&last);
	for (int cpu = CPU_SETSIZE - 1; cpu >= 0 && !CPU_COUNT(&last); cpu--)
		if (CPU_ISSET(cpu, &all)) CPU_SET(cpu, &last);
	sched_setaffinity(0, sizeof last, &last);
	for (uint64_t i = 0;; i++) {
		while (atomic_load_explicit(&handed.filled, memory_order_acquire) <= i)
			if (atomic_load_explicit(&stop, memory_order_relaxed)) return unused;
		if (pwrite(large, handed.piece[i % 2], PIECE, (off_t)(i % (LARGE_FILE / PIECE)) * PIECE) != PIECE) die("write");
		atomic_store_explicit(&handed.written, i + 1, memory_order_release);
	}
}

static void measure_handed(unsigned ms) {
	pthread_t writer;
	uint64_t filled = 0, start = now_ns();
	for (unsigned i = 0; i < 2; i++)
		if (posix_memalign((void **)&handed.piece[i], 4096, PIECE)) die("memory");
	atomic_store(&handed.filled, 0);
	atomic_store(&handed.written, 0);
	atomic_store(&stop, false);
	struct cpu before = cpu_now();
	if (pthread_create(&writer, NULL, write_handed, NULL)) die("thread");
	while (now_ns() - start < ms * 1000000u)
		for (unsigned k = 0; k < PIECES; k++) {
			while (filled - atomic_load_explicit(&handed.written, memory_order_acquire) >= 2) continue;
			memcpy(handed.piece[filled % 2], buffer + k * PIECE, PIECE);
			atomic_store_explicit(&handed.filled, ++filled, memory_order_release);
		}
	while (atomic_load(&handed.written) < filled) continue;
	double calls = (double)(filled / PIECES), ns = (double)(now_ns() - start) / calls;
	atomic_store(&stop, true);
	pthread_join(writer, NULL);
	for (unsigned i = 0; i < 2; i++) free(handed.piece[i]);
	say(calls, ns, ns, before);
}

static void pin(int cpu) {
	static cpu_set_t all;
	cpu_set_t one;
	if (!CPU_COUNT(&all)) sched_getaffinity(0, sizeof all, &all);
	CPU_ZERO(&one);
	if (cpu >= 0) CPU_SET((unsigned)cpu, &one);
	if (sched_setaffinity(0, sizeof one, cpu >= 0 ? &one : &all)) die("affinity");
	printf("{\"cpu\":%d}\n", cpu);
	fflush(stdout);
}

static void serve(const char *line) {
	int cpu;
	if (sscanf(line, "pin %d", &cpu) == 1) {
		pin(cpu);
		return;
	}
	char name[32];
	unsigned ms = 0, threads = 1, think_us = 0;
	if (sscanf(line, "handed %u", &ms) == 1) {
		measure_handed(ms);
		return;
	}
	if (sscanf(line, "%31s %u %u %u", name, &ms, &threads, &think_us) < 2 || threads < 1 || threads > THREADS_MAX) {
		fprintf(stderr, "io-bench: not understood: %s\n", line);
		exit(2);
	}
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		if (strcmp(cases[i].name, name)) continue;
		if (threads > 1 || think_us) measure_threads(&cases[i], ms, threads, think_us);
		else measure(&cases[i], ms);
		return;
	}
	fprintf(stderr, "io-bench: no case %s\n", name);
	exit(2);
}

int main(int argc, char **argv) {
	if (argc < 2) {
		fprintf(stderr, "usage: io-bench DIRECTORY [SERVER_PID]\n");
		return 2;
	}
	directory = argv[1];
	if (argc > 2 && atol(argv[2]) > 0) has_server = clock_getcpuclockid((pid_t)atol(argv[2]), &server_clock) == 0;
	snprintf(path_small, sizeof path_small, "%s/io-bench-small", directory);
	snprintf(path_large, sizeof path_large, "%s/io-bench-large", directory);
	prepare_thread(99);
	/* As a program that has run for a while: the first calls of a process under the library are the kernel door's, and a file that 256 of them write piece by piece lies in smaller folios of ext4's than ours would make. */
	for (unsigned i = 0; i < 1024; i++) {
		struct stat st;
		if (stat(directory, &st)) die("stat");
	}
	small = open(path_small, O_RDWR | O_CREAT, 0644);
	large = open(path_large, O_RDWR | O_CREAT, 0644);
	if (small < 0 || large < 0) die("open");
	for (unsigned i = 0; i < SMALL_FILE / 4096; i++) pwrite4k(i);
	for (unsigned i = 0; i < LARGE_FILE / LARGE; i++) write1m(i);
	for (unsigned i = 0; i < SMALL_FILE / 4096; i++) pread4k(i);
	for (unsigned i = 0; i < LARGE_FILE / LARGE; i++) read1m(i);
	printf("{\"ready\":true}\n");
	fflush(stdout);
	for (char line[256]; fgets(line, sizeof line, stdin);) serve(line);
	close(small);
	close(large);
	unlink(path_small);
	unlink(path_large);
	return 0;
}
