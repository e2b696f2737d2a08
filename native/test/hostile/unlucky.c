/*
 * unlucky.c - a program that is to be killed or stopped wherever it is: it opens, writes, posts, reads, renames, locks, makes, removes and forks without end, in a directory of its own. Plain;
 * run under the library. Under a tracer's hand (the parent of `victims`) it is stepped.
 *   unlucky work DIRECTORY SEED            until it is killed
 *   unlucky victims DIRECTORY SEED KILLS   a child works; it is killed after a random time or, every third, after a random number of single steps into a random call; KILLS times.
 *                                          One line of JSON: how many of each
 *   unlucky stops DIRECTORY SEED SECONDS   children work; each is stopped at a random moment for a random time, again and again, killed at the end
 *   unlucky attaches DIRECTORY COUNT       COUNT children, one after the other, touch a file each, which attaches and detaches them
 *   unlucky stalls - - -                   until SIGTERM: a real-time thread on each CPU looks how late it is woken, which no work of others explains: the machine under us, or its kernel, stood still.
 *                                          One line of JSON
 *   unlucky forks DIRECTORY SEED SECONDS   threads call while the process forks; parent and child both go on, and what both wrote is checked
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STEPS_MAX 1500u

static uint64_t state;
static const char *directory;

static uint32_t next(uint32_t below) {
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)((state * UINT64_C(0x2545f4914f6cdd1d)) >> 40) % below;
}

static uint64_t now(void) {
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void die_with_parent(void) {
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

/* ---- what is interrupted ---------------------------------------------------------------------------------------------------------- */
static void one_round(const char *path, const char *other) {
	static char data[20000];
	int fd = open(path, O_RDWR | O_CREAT, 0600);
	if (fd < 0) return;
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 100};
	switch (next(8)) {
	case 0: flock(fd, LOCK_EX | LOCK_NB); break;
	case 1: fcntl(fd, F_SETLK, &lock); break;
	case 2: ftruncate(fd, next(30000)); break;
	case 3: fsync(fd); break;
	default: break;
	}
	for (unsigned i = 1 + next(6); i; i--) { /* from the second on it may be posted */
		if (pwrite(fd, data, 1 + next(sizeof data), next(60000)) < 0) break;
	}
	if (pread(fd, data, sizeof data, next(60000)) < 0) data[0] = 1;
	if (next(3) == 0) rename(path, other);
	if (next(8) == 0) unlink(other);
	if (next(8) == 0) {
		char name[4096];
		snprintf(name, sizeof name, "%s-dir", path);
		mkdir(name, 0700);
		rmdir(name);
	}
	if (next(12) == 0) {
		pid_t child = fork();
		if (child == 0) {
			struct stat st;
			_exit(fstat(fd, &st) != 0);
		}
		if (child > 0) waitpid(child, NULL, 0);
	}
	close(fd);
}

_Noreturn static void work(void) {
	char path[3000], other[3000];
	snprintf(path, sizeof path, "%s/unlucky-%llx", directory, (unsigned long long)state % 16);
	snprintf(other, sizeof other, "%s/unlucky-%llx-other", directory, (unsigned long long)state % 16);
	for (;;) one_round(path, other);
}

/* ---- kills ------------------------------------------------------------------------------------------------------------------------- */
static pid_t start_worker(bool traced) {
	uint64_t seed = state ^ (uint64_t)next(UINT32_MAX) << 20;
	pid_t child = fork();
	if (child) return child;
	die_with_parent();
	state = seed | 1;
	if (traced) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
	}
	work();
}

static void nap(uint32_t us) {
	struct timespec time = {.tv_nsec = (long)us * 1000};
	nanosleep(&time, NULL);
}

/* Runs it to a random system call, or for a random time, and from there by single steps. Returns how many. */
static unsigned step_and_kill(pid_t child) {
	int status;
	unsigned steps = 0, calls = next(120), limit = next(STEPS_MAX);
	waitpid(child, &status, 0);
	ptrace(PTRACE_SETOPTIONS, child, NULL, (void *)(uintptr_t)PTRACE_O_EXITKILL);
	for (unsigned i = 0; i < calls; i++)
		if (ptrace(PTRACE_SYSCALL, child, NULL, NULL) || waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) return steps;
	for (; steps < limit; steps++)
		if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) || waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) return steps;
	return steps;
}

static void end(pid_t child) {
	int status;
	kill(child, SIGKILL);
	while (waitpid(child, &status, 0) == child && WIFSTOPPED(status)) kill(child, SIGKILL);
}

/* Four at a time, so that they get into each other's way. */
static int victims(unsigned kills) {
	pid_t running[4] = {0};
	unsigned stepped = 0;
	uint64_t steps = 0;
	for (unsigned i = 0; i < kills; i++) {
		pid_t *place = &running[i % 4];
		if (*place) {
			nap(next(3000));
			end(*place);
		}
		*place = 0;
		if (i % 3 == 0) {
			pid_t child = start_worker(true);
			steps += step_and_kill(child);
			stepped++;
			end(child);
		} else {
			*place = start_worker(false);
		}
	}
	for (unsigned i = 0; i < 4; i++)
		if (running[i]) end(running[i]);
	printf("{\"kills\": %u, \"stepped\": %u, \"steps\": %llu}\n", kills, stepped, (unsigned long long)steps);
	return 0;
}

/* ---- stops -------------------------------------------------------------------------------------------------------------------------- */
static int stops(unsigned seconds) {
	pid_t child[4];
	unsigned count = 0;
	uint64_t until = now() + seconds * UINT64_C(1000000000);
	for (unsigned i = 0; i < 4; i++) child[i] = start_worker(false);
	for (; now() < until; count++) {
		pid_t one = child[next(4)];
		nap(next(5000));
		kill(one, SIGSTOP);
		nap(next(4) ? next(20000) : next(300000));
		kill(one, SIGCONT);
	}
	/* The last stand still for good while the others go on. */
	for (unsigned i = 0; i < 4; i++) kill(child[i], SIGSTOP);
	nap(900000);
	for (unsigned i = 0; i < 4; i++) end(child[i]);
	printf("{\"stops\": %u}\n", count);
	return 0;
}

/* ---- attaches ----------------------------------------------------------------------------------------------------------------------- */
static int attaches(unsigned count) {
	unsigned failed = 0;
	uint64_t start = now();
	for (unsigned i = 0; i < count; i++) {
		pid_t child = fork();
		if (child == 0) {
			struct stat st;
			_exit(stat(directory, &st) != 0 || st.st_uid == 0);
		}
		int status = 1;
		waitpid(child, &status, 0);
		failed += status != 0;
	}
	printf("{\"attaches\": %u, \"failed\": %u, \"perSecond\": %.0f}\n", count, failed, count * 1e9 / (double)(now() - start));
	return failed != 0;
}

/* ---- forks -------------------------------------------------------------------------------------------------------------------------- */
static _Atomic bool over;
static _Atomic unsigned wrong;

static void append_and_check(const char *name, unsigned records) {
	char path[4096], line[64], back[64];
	snprintf(path, sizeof path, "%s/%s", directory, name);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	for (unsigned i = 0; fd >= 0 && i < records; i++) {
		snprintf(line, sizeof line, "%s %u ", name, i);
		if (pwrite(fd, line, sizeof line, (off_t)(i * sizeof line)) != sizeof line || pread(fd, back, sizeof back, (off_t)(i * sizeof line)) != sizeof back || memcmp(line, back, sizeof line)) wrong++;
	}
	if (fd < 0 || close(fd) || unlink(path)) wrong++;
}

static void *caller(void *name) {
	while (!over) append_and_check(name, 40);
	return NULL;
}

static int forks(unsigned seconds) {
	static char names[3][32];
	pthread_t threads[3];
	unsigned count = 0;
	uint64_t until = now() + seconds * UINT64_C(1000000000);
	for (int i = 0; i < 3; i++) {
		snprintf(names[i], sizeof names[i], "thread-%d", i);
		pthread_create(&threads[i], NULL, caller, names[i]);
	}
	for (; now() < until; count++) {
		pid_t child = fork();
		if (child == 0) {
			die_with_parent();
			wrong = 0;
			append_and_check("child", 20);
			_exit(wrong != 0);
		}
		append_and_check("parent", 20);
		int status = 1;
		waitpid(child, &status, 0);
		if (status) wrong++;
	}
	over = true;
	for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
	printf("{\"forks\": %u, \"wrong\": %u}\n", count, (unsigned)wrong);
	return wrong != 0;
}

/* ---- stalls ------------------------------------------------------------------------------------------------------------------------- */
#define TICK_NS 1000000u
static _Atomic uint64_t longest_stall_ns;
static _Atomic bool real_time = true;

static void *watch_cpu(void *cpu) {
	cpu_set_t one;
	CPU_ZERO(&one);
	CPU_SET((unsigned)(uintptr_t)cpu, &one);
	if (sched_setaffinity(0, sizeof one, &one)) return NULL;
	if (sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = 2})) real_time = false;
	while (!over) {
		uint64_t before = now(), took;
		nap(TICK_NS / 1000);
		took = now() - before - TICK_NS;
		for (uint64_t longest = longest_stall_ns; took > longest && !atomic_compare_exchange_weak(&longest_stall_ns, &longest, took);) continue;
	}
	return NULL;
}

static int stalls(void) {
	pthread_t thread;
	sigset_t term;
	int number;
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL);
	for (long cpu = 0; cpu < sysconf(_SC_NPROCESSORS_ONLN); cpu++)
		if (pthread_create(&thread, NULL, watch_cpu, (void *)(uintptr_t)cpu) == 0) pthread_detach(thread);
	sigwait(&term, &number);
	printf("{\"longestStallMs\": %.1f, \"realTime\": %s}\n", (double)longest_stall_ns / 1e6, real_time ? "true" : "false");
	return 0;
}

int main(int argc, char **argv) {
	if (argc < 4) return 2;
	if (!strcmp(argv[1], "stalls")) return stalls();
	directory = argv[2];
	state = (strtoull(argv[3], NULL, 10) + 1) * UINT64_C(0x9e3779b97f4a7c15) | 1;
	unsigned count = (unsigned)strtoul(argv[argc - 1], NULL, 10);
	if (!strcmp(argv[1], "work")) work();
	if (!strcmp(argv[1], "victims")) return victims(count);
	if (!strcmp(argv[1], "stops")) return stops(count);
	if (!strcmp(argv[1], "attaches")) return attaches(count);
	if (!strcmp(argv[1], "forks")) return forks(count);
	return 2;
}
