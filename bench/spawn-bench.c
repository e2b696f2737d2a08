/*
 * spawn-bench.c - what a program costs from start to end, with the library in front of it and without, in turns.
 * usage: spawn-bench TIMES LIBRARY POOL_DIRECTORY PROGRAM [ARGUMENT]      LIBRARY "-": never. Run it without the library.
 *        spawn-bench vfork TIMES MIB      what `true` costs a process of so much memory, by vfork; as it is, with the library or without
 * Prints the medians, in nanoseconds, as one line of JSON.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TIMES_MAX 2000

static uint64_t now_ns(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t once(char **argv, char **environment) {
	static posix_spawn_file_actions_t silent;
	static int ready;
	if (!ready++) {
		posix_spawn_file_actions_init(&silent);
		posix_spawn_file_actions_addopen(&silent, 1, "/dev/null", O_WRONLY, 0);
	}
	pid_t pid;
	int status;
	uint64_t start = now_ns();
	int error = posix_spawnp(&pid, argv[0], &silent, NULL, argv, environment);
	if (error || waitpid(pid, &status, 0) != pid || status) {
		fprintf(stderr, "spawn-bench: %s: %s\n", argv[0], error ? strerror(error) : "failed");
		exit(1);
	}
	return now_ns() - start;
}

static int compare(const void *a, const void *b) {
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static int large_parent(int times, size_t bytes) {
	static uint64_t took[TIMES_MAX];
	char *memory = malloc(bytes);
	if (!memory || times < 1 || times > TIMES_MAX) return 2;
	memset(memory, 1, bytes);
	for (int i = 0; i < times; i++) {
		uint64_t start = now_ns();
		pid_t pid = vfork();
		if (pid == 0) {
			execl("/bin/true", "true", NULL);
			_exit(127);
		}
		int status;
		if (waitpid(pid, &status, 0) != pid || status) return 1;
		took[i] = now_ns() - start;
	}
	qsort(took, (size_t)times, sizeof *took, compare);
	printf("{\"ns\":%llu}\n", (unsigned long long)took[times / 2]);
	free(memory);
	return 0;
}

int main(int argc, char **argv) {
	if (argc == 4 && !strcmp(argv[1], "vfork")) return large_parent(atoi(argv[2]), (size_t)atoi(argv[3]) << 20);
	if (argc < 5) {
		fprintf(stderr, "usage: spawn-bench TIMES LIBRARY POOL_DIRECTORY PROGRAM [ARGUMENT]\n");
		return 2;
	}
	static uint64_t bare[TIMES_MAX], preloaded[TIMES_MAX];
	int times = atoi(argv[1]), with = strcmp(argv[2], "-") != 0;
	if (times < 1 || times > TIMES_MAX) times = TIMES_MAX;
	char path[] = "PATH=/usr/bin:/bin", library[4200], pool[4200];
	snprintf(library, sizeof library, "LD_PRELOAD=%s", argv[2]);
	snprintf(pool, sizeof pool, "DICICLO_POOL_DIR=%s", argv[3]);
	char *without[] = {path, NULL}, *through[] = {path, library, pool, NULL};
	for (int i = 0; i < times; i++) {
		bare[i] = once(argv + 4, without);
		if (with) preloaded[i] = once(argv + 4, through);
	}
	qsort(bare, (size_t)times, sizeof *bare, compare);
	qsort(preloaded, (size_t)times, sizeof *preloaded, compare);
	printf("{\"bareNs\":%llu,\"preloadedNs\":%llu}\n", (unsigned long long)bare[times / 2], (unsigned long long)preloaded[times / 2]);
	return 0;
}
