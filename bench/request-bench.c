/*
 * request-bench.c - a request that asks for nothing (DC_OP_NULL) to the pool's own service, with the shipped client (native/ipc) and no library; beside it a cache line that two cores bounce,
 * which is the least that any request and its answer can cost. And what it takes to attach.
 * usage: request-bench POOL_DIRECTORY [SERVER_PID]      lives as long as its standard input; each line a command, each answer one line of JSON
 *   ping MILLISECONDS CPU CPU     nanoseconds per round trip of a cache line
 *   hand MILLISECONDS CPU HOW [THINK_US]   nanoseconds in which two processes on one CPU hand it to each other and back, and do nothing else: by `yield`, `futex` (wake and wait) or `pipe`
 *   null MILLISECONDS CPU [THINK_US]   nanoseconds per request, CPU of client and service; CPU: where the client runs, -1 anywhere
 *   attach TIMES                  medians of a new process's attach and of its first request, nanoseconds
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

#include "client.h"
#include "protocol.h"
#include "waiting.h"

#define ATTACHES_MAX 1000

static char socket_path[4096];
static struct dc_client client;
static unsigned slot;
static clockid_t server_clock;
static bool has_server;
static cpu_set_t all_cpus;

static _Noreturn void die(const char *what, int error) {
	fprintf(stderr, "request-bench: %s: %s\n", what, strerror(error));
	exit(1);
}

static uint64_t cpu_ns(clockid_t clock) {
	struct timespec now;
	if (clock_gettime(clock, &now)) die("clock", errno);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void pin(int cpu) {
	cpu_set_t one;
	CPU_ZERO(&one);
	if (cpu >= 0) CPU_SET((unsigned)cpu, &one);
	if (sched_setaffinity(0, sizeof one, cpu >= 0 ? &one : &all_cpus)) die("affinity", errno);
}

/* ---- a bare cache line ---------------------------------------------------------------------------------------------------- */
static struct {
	alignas(128) _Atomic uint32_t word;
	alignas(128) _Atomic bool stop;
	int cpu;
} line;

static void *echo(void *unused) {
	(void)unused;
	pin(line.cpu);
	for (uint32_t next = 1; !atomic_load_explicit(&line.stop, memory_order_relaxed);) {
		if (atomic_load_explicit(&line.word, memory_order_acquire) != next) continue;
		atomic_store_explicit(&line.word, next + 1, memory_order_release);
		next += 2;
	}
	return NULL;
}

static void ping(unsigned ms, int here, int there) {
	pthread_t peer;
	atomic_store(&line.word, 0);
	atomic_store(&line.stop, false);
	line.cpu = there;
	if (pthread_create(&peer, NULL, echo, NULL)) die("thread", EAGAIN);
	pin(here);
	uint64_t start = dc_monotonic_ns(), took, rounds = 0;
	uint32_t next = 1;
	do {
		for (unsigned i = 0; i < 1000; i++, next += 2) {
			atomic_store_explicit(&line.word, next, memory_order_release);
			while (atomic_load_explicit(&line.word, memory_order_acquire) != next + 1) continue;
		}
		rounds += 1000;
		took = dc_monotonic_ns() - start;
	} while (took < ms * 1000000u);
	atomic_store(&line.stop, true);
	pthread_join(peer, NULL);
	pin(-1);
	printf("{\"calls\":%llu,\"ns\":%.1f}\n", (unsigned long long)rounds, (double)took / (double)rounds);
}

/* ---- a CPU handed over and back: the least that any request to another process on it can cost -------------------------------- */
enum hand { BY_YIELD, BY_FUTEX, BY_PIPE, HANDS };
static const char *const hands[HANDS] = {"yield", "futex", "pipe"};
struct turns {
	alignas(128) _Atomic uint32_t here;
	alignas(128) _Atomic uint32_t there;
	int out[2], back[2];
};

static void tell(enum hand how, _Atomic uint32_t *turn, uint32_t value, int fd) {
	atomic_store(turn, value);
	if (how == BY_FUTEX) dc_futex_wake(turn, 1);
	if (how == BY_PIPE && write(fd, "", 1) != 1) _exit(1);
}

static void await_turn(enum hand how, _Atomic uint32_t *turn, uint32_t value, int fd) {
	char byte;
	if (how == BY_PIPE && read(fd, &byte, 1) != 1) _exit(0);
	while (atomic_load(turn) != value) {
		if (how == BY_FUTEX) dc_futex_wait(turn, value - 1, 0);
		else sched_yield();
	}
}

static void think(unsigned us);

static void hand(unsigned ms, int cpu, enum hand how, unsigned think_us) {
	struct turns *turns = mmap(NULL, sizeof *turns, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (turns == MAP_FAILED || pipe(turns->out) || pipe(turns->back)) die("hand", errno);
	pin(cpu);
	pid_t peer = fork();
	for (uint32_t i = 1; peer == 0; i++) {
		await_turn(how, &turns->here, i, turns->out[0]);
		tell(how, &turns->there, i, turns->back[1]);
	}
	uint64_t start = dc_monotonic_ns(), before = start, took = 0, until = start + ms * 1000000u;
	uint32_t rounds = 0;
	while (before < until) {
		tell(how, &turns->here, ++rounds, turns->out[1]);
		await_turn(how, &turns->there, rounds, turns->back[0]);
		uint64_t after = dc_monotonic_ns();
		took += after - before;
		if (think_us) think(think_us);
		before = think_us ? dc_monotonic_ns() : after;
	}
	kill(peer, SIGKILL);
	waitpid(peer, NULL, 0);
	for (unsigned i = 0; i < 2; i++) {
		close(turns->out[i]);
		close(turns->back[i]);
	}
	munmap(turns, sizeof *turns);
	pin(-1);
	printf("{\"calls\":%u,\"ns\":%.1f}\n", rounds, (double)took / rounds);
}

/* ---- requests ------------------------------------------------------------------------------------------------------------- */
static void think(unsigned us) {
	if (us >= 100) usleep(us);
	else if (us)
		for (uint64_t until = dc_monotonic_ns() + us * 1000u; dc_monotonic_ns() < until;) dc_pause();
}

static void null_requests(unsigned ms, int cpu, unsigned think_us) {
	pin(cpu);
	struct dc_slot *request = dc_client_slot(&client, slot);
	request->operation = DC_OP_NULL;
	uint64_t own = cpu_ns(CLOCK_PROCESS_CPUTIME_ID), served = has_server ? cpu_ns(server_clock) : 0;
	uint64_t start = dc_monotonic_ns(), until = start + ms * 1000000u, in_calls = 0, calls = 0;
	if (think_us) {
		for (uint64_t before; (before = dc_monotonic_ns()) < until; calls++) {
			dc_client_call(&client, slot);
			in_calls += dc_monotonic_ns() - before;
			think(think_us);
		}
	} else {
		for (uint64_t now = start; now < until; now = dc_monotonic_ns(), calls += 64)
			for (unsigned i = 0; i < 64; i++) dc_client_call(&client, slot);
		in_calls = dc_monotonic_ns() - start;
	}
	own = cpu_ns(CLOCK_PROCESS_CPUTIME_ID) - own;
	served = has_server ? cpu_ns(server_clock) - served : 0;
	pin(-1);
	printf("{\"calls\":%llu,\"ns\":%.1f,\"cpuNs\":%.1f,\"serverCpuNs\":%.1f}\n", (unsigned long long)calls, (double)in_calls / (double)calls, (double)own / (double)calls, (double)served / (double)calls);
}

/* ---- attach --------------------------------------------------------------------------------------------------------------- */
static int compare(const void *a, const void *b) {
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

/* In a process of its own, as every application attaches once. */
static void attach_once(uint64_t out[2]) {
	int ends[2];
	if (pipe(ends)) die("pipe", errno);
	pid_t pid = fork();
	if (pid == 0) {
		struct dc_client own;
		uint64_t start = dc_monotonic_ns(), took[2];
		int error = dc_client_attach(&own, socket_path, NULL);
		if (error) die("attach", -error);
		took[0] = dc_monotonic_ns() - start;
		unsigned at = dc_client_acquire(&own, -1, (uint32_t)getpid());
		dc_client_slot(&own, at)->operation = DC_OP_NULL;
		dc_client_call(&own, at);
		took[1] = dc_monotonic_ns() - start;
		_exit(write(ends[1], took, sizeof took) == sizeof took ? 0 : 1);
	}
	close(ends[1]);
	if (read(ends[0], out, 2 * sizeof *out) != 2 * sizeof *out) die("attach", EPIPE);
	close(ends[0]);
	waitpid(pid, NULL, 0);
}

static void attach(unsigned times) {
	static uint64_t attached[ATTACHES_MAX], answered[ATTACHES_MAX];
	if (times > ATTACHES_MAX) times = ATTACHES_MAX;
	for (unsigned i = 0; i < times; i++) {
		uint64_t took[2];
		attach_once(took);
		attached[i] = took[0];
		answered[i] = took[1];
	}
	qsort(attached, times, sizeof *attached, compare);
	qsort(answered, times, sizeof *answered, compare);
	printf("{\"attachNs\":%llu,\"attachP90Ns\":%llu,\"firstAnswerNs\":%llu}\n", (unsigned long long)attached[times / 2], (unsigned long long)attached[times * 9 / 10], (unsigned long long)answered[times / 2]);
}

int main(int argc, char **argv) {
	if (argc < 2) {
		fprintf(stderr, "usage: request-bench POOL_DIRECTORY [SERVER_PID]\n");
		return 2;
	}
	sched_getaffinity(0, sizeof all_cpus, &all_cpus);
	snprintf(socket_path, sizeof socket_path, "%s/attach.sock", argv[1]);
	if (argc > 2 && atol(argv[2]) > 0) has_server = clock_getcpuclockid((pid_t)atol(argv[2]), &server_clock) == 0;
	dc_ticks_per_us();
	int error = dc_client_attach(&client, socket_path, NULL);
	if (error) die(socket_path, -error);
	slot = dc_client_acquire(&client, 0, (uint32_t)gettid());
	printf("{\"ready\":true}\n");
	fflush(stdout);
	for (char text[256]; fgets(text, sizeof text, stdin);) {
		unsigned ms, think_us = 0;
		int here, there;
		char word[16];
		enum hand how = HANDS;
		if (sscanf(text, "ping %u %d %d", &ms, &here, &there) == 3) ping(ms, here, there);
		else if (sscanf(text, "hand %u %d %15s %u", &ms, &here, word, &think_us) >= 3) {
			for (how = BY_YIELD; how < HANDS && strcmp(word, hands[how]);) how++;
			if (how == HANDS) die("not understood", EINVAL);
			hand(ms, here, how, think_us);
		} else if (sscanf(text, "null %u %d %u", &ms, &here, &think_us) >= 2) null_requests(ms, here, think_us);
		else if (sscanf(text, "attach %u", &ms) == 1 && ms > 0) attach(ms);
		else die("not understood", EINVAL);
		fflush(stdout);
	}
	return 0;
}
