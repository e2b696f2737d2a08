/*
 * main.c - `queue-bench [transfer|waiting|idle|all] [MILLISECONDS [QUEUE]]`: what and for how long each; see bench/queue.mjs.
 */
#include "bench.h"

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

static struct {
	_Atomic uint32_t ready;
	_Atomic bool go, stop;
} *control;
static cpu_set_t all_cpus;

static unsigned bucket_of(uint64_t ns) {
	if (ns < 16) return (unsigned)ns;
	unsigned power = 63u - (unsigned)__builtin_clzll(ns);
	unsigned bucket = (power - 3) * 16 + (unsigned)(ns >> (power - 4) & 15);
	return bucket < HISTOGRAM ? bucket : HISTOGRAM - 1;
}
static uint64_t value_of(unsigned bucket) {
	return bucket < 16 ? bucket : (uint64_t)(16 + bucket % 16) << (bucket / 16 - 1);
}

void histogram_add(struct histogram *histogram, uint64_t ns) {
	histogram->count[bucket_of(ns)]++;
	histogram->total++;
}
void histogram_join(struct histogram *into, const struct histogram *from) {
	for (unsigned i = 0; i < HISTOGRAM; i++) into->count[i] += from->count[i];
	into->total += from->total;
}
uint64_t histogram_at(const struct histogram *histogram, double share) {
	uint64_t wanted = (uint64_t)((double)histogram->total * share), seen = 0;
	for (unsigned i = 0; i < HISTOGRAM; i++)
		if ((seen += histogram->count[i]) > wanted) return value_of(i);
	return 0;
}

/* Never given back: a bench is short. */
void *shared_memory(size_t bytes) {
	void *memory = mmap(NULL, (bytes + 4095) & ~(size_t)4095, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED) {
		perror("queue-bench: mmap");
		exit(1);
	}
	return memory;
}

unsigned cpu_count(void) { return (unsigned)CPU_COUNT(&all_cpus); }

void pin(int cpu) {
	cpu_set_t one = all_cpus;
	if (cpu >= 0) {
		CPU_ZERO(&one);
		for (int at = 0, seen = 0; at < CPU_SETSIZE; at++)
			if (CPU_ISSET(at, &all_cpus) && seen++ == cpu % (int)cpu_count()) CPU_SET(at, &one);
	}
	sched_setaffinity(0, sizeof one, &one);
}

bool running(void) { return !atomic_load_explicit(&control->stop, memory_order_relaxed); }
void hold_start(void) {
	atomic_fetch_add(&control->ready, 1);
	while (!atomic_load(&control->go)) usleep(200);
}

double run_processes(unsigned count, unsigned ms, void (*body)(unsigned who, void *argument), void *argument) {
	atomic_store(&control->ready, 0);
	atomic_store(&control->go, false);
	atomic_store(&control->stop, false);
	pid_t pid[CLIENTS_MAX];
	for (unsigned i = 0; i < count; i++) {
		pid[i] = fork();
		if (pid[i] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			body(i, argument);
			_exit(0);
		}
	}
	while (atomic_load(&control->ready) < count) usleep(200);
	uint64_t start = dc_monotonic_ns();
	atomic_store(&control->go, true);
	usleep(ms * 1000);
	atomic_store(&control->stop, true);
	double seconds = (double)(dc_monotonic_ns() - start) / 1e9;
	for (unsigned i = 0; i < count; i++) waitpid(pid[i], NULL, 0);
	return seconds;
}

int main(int argc, char **argv) {
	static const unsigned clients[] = {1, 2, 4, 8, 16, 32};
	const char *what = argc > 1 ? argv[1] : "all", *only = argc > 3 ? argv[3] : NULL;
	unsigned ms = argc > 2 ? (unsigned)atoi(argv[2]) : 200;
	sched_getaffinity(0, sizeof all_cpus, &all_cpus);
	control = shared_memory(sizeof *control);
	bool all = !strcmp(what, "all");
	if (all || !strcmp(what, "transfer")) {
		bench_transfer(only, ms, 1, clients, 6);
		if (cpu_count() > 1) bench_transfer(only, ms, 2, clients, 6);
	}
	if (all || !strcmp(what, "waiting") || !strcmp(what, "quick")) bench_waiting(ms, !strcmp(what, "quick"));
	if (all || !strcmp(what, "idle") || !strcmp(what, "quick")) bench_idle(ms < 1000 ? 1000 : ms);
	return 0;
}
