/*
 * spawn-bench.c - what a program costs from start to end, with the library in front of it and without, in turns.
 * usage: spawn-bench TIMES LIBRARY POOL_DIRECTORY PROGRAM [ARGUMENT]      LIBRARY "-": never
 * Prints the medians, in nanoseconds, as one line of JSON. Run it without the library.
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

int main(int argc, char **argv) {
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
