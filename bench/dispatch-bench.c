/*
 * dispatch-bench.c - what one call costs when it passes libc's symbols, and when it does not: the same calls by instructions of its own, and through libc.
 * usage: dispatch-bench DIRECTORY own|libc     prints JSON: per case nanoseconds per call (the tenth part of many short rounds that is quickest:
 * a busy machine interrupts the others).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 1000
#define ROUND_NS 100000u
#define FILE_BYTES (1 << 20)

static bool own;
static char buffer[4096], path[4096];
static int file, zero;

static inline long call(long number, long a, long b, long c, long d) {
	register long r10 __asm__("r10") = d;
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
	return result;
}

static void die(const char *what) {
	fprintf(stderr, "dispatch-bench: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void getpid_(unsigned i) {
	(void)i;
	if ((own ? call(SYS_getpid, 0, 0, 0, 0) : getpid()) <= 0) die("getpid");
}
static void read_zero(unsigned i) {
	(void)i;
	if ((own ? call(SYS_read, zero, (long)buffer, 8, 0) : read(zero, buffer, 8)) != 8) die("/dev/zero");
}
static void pread4k(unsigned i) {
	off_t at = (off_t)(i % (FILE_BYTES / 4096)) * 4096;
	if ((own ? call(SYS_pread64, file, (long)buffer, 4096, at) : pread(file, buffer, 4096, at)) != 4096) die("pread");
}
static void pwrite4k(unsigned i) {
	off_t at = (off_t)(i % (FILE_BYTES / 4096)) * 4096;
	if ((own ? call(SYS_pwrite64, file, (long)buffer, 4096, at) : pwrite(file, buffer, 4096, at)) != 4096) die("pwrite");
}
static void stat_(unsigned i) {
	struct stat st;
	(void)i;
	if (own ? call(SYS_newfstatat, AT_FDCWD, (long)path, (long)&st, 0) : stat(path, &st)) die("stat");
}
static void open_close(unsigned i) {
	(void)i;
	long fd = own ? call(SYS_openat, AT_FDCWD, (long)path, O_RDONLY, 0) : open(path, O_RDONLY);
	if (fd < 0 || (own ? call(SYS_close, fd, 0, 0, 0) : close((int)fd))) die("open");
}

static const struct {
	const char *name;
	void (*call)(unsigned i);
} cases[] = {{"getpid", getpid_}, {"readZero", read_zero}, {"pread4k", pread4k}, {"pwrite4k", pwrite4k}, {"stat", stat_}, {"openClose", open_close}};

static int compare(const void *a, const void *b) {
	double difference = *(const double *)a - *(const double *)b;
	return difference < 0 ? -1 : difference > 0;
}

static void measure(unsigned index) {
	unsigned calls = 1;
	for (;; calls *= 2) {
		uint64_t start = now_ns();
		for (unsigned i = 0; i < calls; i++) cases[index].call(i);
		if (now_ns() - start > ROUND_NS) break;
	}
	static double ns[ROUNDS];
	for (unsigned round = 0; round < ROUNDS; round++) {
		uint64_t start = now_ns();
		for (unsigned i = 0; i < calls; i++) cases[index].call(i);
		ns[round] = (double)(now_ns() - start) / calls;
	}
	qsort(ns, ROUNDS, sizeof *ns, compare);
	printf("%s\"%s\":%.1f", index ? "," : "{", cases[index].name, ns[ROUNDS / 10]);
}

int main(int argc, char **argv) {
	if (argc != 3) {
		fprintf(stderr, "usage: dispatch-bench DIRECTORY own|libc\n");
		return 2;
	}
	own = strcmp(argv[2], "own") == 0;
	snprintf(path, sizeof path, "%s/dispatch-bench", argv[1]);
	zero = open("/dev/zero", O_RDONLY);
	file = (int)(own ? call(SYS_openat, AT_FDCWD, (long)path, O_RDWR | O_CREAT, 0644) : open(path, O_RDWR | O_CREAT, 0644));
	if (file < 0 || zero < 0) die(path);
	for (unsigned i = 0; i < FILE_BYTES / 4096; i++) pwrite4k(i);
	for (unsigned i = 0; i < FILE_BYTES / 4096; i++) pread4k(i);
	for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) measure(i);
	printf("}\n");
	unlink(path);
	return 0;
}
