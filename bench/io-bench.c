/*
 * io-bench.c - what one call costs, whatever stands behind the path: the same program for ext4, FUSE daemons, the kernel door and (preloaded) the library.
 * usage: io-bench DIRECTORY [SERVER_PID]     prints JSON: per case nanoseconds per call (median of rounds), CPU nanoseconds per call of this process and of the server.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 7
#define FILE_BYTES (1 << 20)
#define LARGE (1 << 20)
#define LARGE_FILE (32 << 20)

static char *buffer;
static int small, large;
static char path_small[4096], path_large[4096], path_made[4096];
static long server;

static void die(const char *what) {
	fprintf(stderr, "io-bench: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t own_cpu_ns(void) {
	struct timespec now;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Run time of all threads of the server, from schedstat (nanoseconds). */
static uint64_t server_cpu_ns(void) {
	if (!server) return 0;
	char path[64];
	snprintf(path, sizeof path, "/proc/%ld/task", server);
	DIR *tasks = opendir(path);
	uint64_t sum = 0;
	for (struct dirent *task; tasks && (task = readdir(tasks));) {
		if (task->d_name[0] == '.') continue;
		char file[400];
		unsigned long long run = 0;
		snprintf(file, sizeof file, "%s/%s/schedstat", path, task->d_name);
		FILE *stat_file = fopen(file, "r");
		if (stat_file && fscanf(stat_file, "%llu", &run) == 1) sum += run;
		if (stat_file) fclose(stat_file);
	}
	if (tasks) closedir(tasks);
	return sum;
}

static void pread4k(unsigned i) {
	if (pread(small, buffer, 4096, (off_t)(i % (FILE_BYTES / 4096)) * 4096) != 4096) die("pread");
}
static void pwrite4k(unsigned i) {
	if (pwrite(small, buffer, 4096, (off_t)(i % (FILE_BYTES / 4096)) * 4096) != 4096) die("pwrite");
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

static const struct {
	const char *name;
	void (*call)(unsigned i);
} cases[] = {{"pread4k", pread4k}, {"pwrite4k", pwrite4k}, {"stat", stat_file}, {"openClose", open_close}, {"createUnlink", create_unlink}, {"read1m", read1m}, {"write1m", write1m}};

static int compare(const void *a, const void *b) {
	double difference = *(const double *)a - *(const double *)b;
	return difference < 0 ? -1 : difference > 0;
}

static void measure(unsigned index) {
	/* As many calls as take about 60 ms. */
	unsigned calls = 1;
	for (;;) {
		uint64_t start = now_ns();
		for (unsigned i = 0; i < calls; i++) cases[index].call(i);
		uint64_t took = now_ns() - start;
		if (took > 30000000u || calls > 1u << 24) break;
		calls *= 2;
	}
	double ns[ROUNDS], own[ROUNDS], served[ROUNDS];
	for (unsigned round = 0; round < ROUNDS; round++) {
		uint64_t own_before = own_cpu_ns(), served_before = server_cpu_ns(), start = now_ns();
		for (unsigned i = 0; i < calls; i++) cases[index].call(i);
		ns[round] = (double)(now_ns() - start) / calls;
		own[round] = (double)(own_cpu_ns() - own_before) / calls;
		uint64_t served_after = server_cpu_ns(); /* less than before when a thread has ended meanwhile */
		served[round] = served_after > served_before ? (double)(served_after - served_before) / calls : 0;
	}
	qsort(ns, ROUNDS, sizeof *ns, compare);
	qsort(own, ROUNDS, sizeof *own, compare);
	qsort(served, ROUNDS, sizeof *served, compare);
	printf("%s\"%s\":{\"ns\":%.1f,\"minNs\":%.1f,\"cpuNs\":%.1f,\"serverCpuNs\":%.1f}", index ? "," : "{", cases[index].name, ns[ROUNDS / 2], ns[0], own[ROUNDS / 2], served[ROUNDS / 2]);
}

int main(int argc, char **argv) {
	if (argc < 2) {
		fprintf(stderr, "usage: io-bench DIRECTORY [SERVER_PID]\n");
		return 2;
	}
	server = argc > 2 ? atol(argv[2]) : 0;
	snprintf(path_small, sizeof path_small, "%s/io-bench-small", argv[1]);
	snprintf(path_large, sizeof path_large, "%s/io-bench-large", argv[1]);
	snprintf(path_made, sizeof path_made, "%s/io-bench-made", argv[1]);
	if (posix_memalign((void **)&buffer, 4096, LARGE)) die("memory");
	memset(buffer, 'x', LARGE);
	small = open(path_small, O_RDWR | O_CREAT, 0644);
	large = open(path_large, O_RDWR | O_CREAT, 0644);
	if (small < 0 || large < 0) die("open");
	for (unsigned i = 0; i < FILE_BYTES / 4096; i++) pwrite4k(i);
	for (unsigned i = 0; i < LARGE_FILE / LARGE; i++) write1m(i);
	for (unsigned i = 0; i < FILE_BYTES / 4096; i++) pread4k(i);
	for (unsigned i = 0; i < LARGE_FILE / LARGE; i++) read1m(i);
	for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) measure(i);
	printf("}\n");
	close(small);
	close(large);
	unlink(path_small);
	unlink(path_large);
	return 0;
}
