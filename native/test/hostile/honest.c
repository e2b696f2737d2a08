/*
 * honest.c - a load that checks itself, for tests in which others misbehave: a file is written, read, cut, renamed and looked at in random order, and compared with a copy in memory. A plain
 * program; run under the library. Says "ready" when it begins; ends at SIGTERM, or after SECONDS, with one line of JSON: how much it did, how long its longest call took, how it went.
 *   honest DIRECTORY SEED SECONDS [SERVICE_PID]
 * With the service's pid it tells a machine that has too much to do from a service that keeps it waiting: during each call it looks at how long the kernel let this thread, and those threads of the
 * service that hold what others wait for, wait for a CPU (schedstat). `longestRestMs` is the longest that is left of a call without all of that, and the figures after it are of that call.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SIZE (256u << 10)
#define PIECE (24u << 10)

static unsigned char model[SIZE];
static size_t length;
static uint64_t state, operations, longest_ns;
static const char *longest = "";
static struct {
	uint64_t rest_ns, took_ns, own_ns, service_ns;
	const char *call;
} unexplained = {.call = ""};
static volatile sig_atomic_t stopped;

static void on_term(int number) {
	(void)number;
	stopped = 1;
}

static uint64_t now(void) {
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint32_t next(uint32_t below) {
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 16) % below;
}

static void finish(const char *wrong, long got) {
	printf("{\"ok\": %s, \"wrong\": \"%s\", \"got\": %ld, \"errno\": %d, \"operations\": %llu, \"longestMs\": %.1f, \"longestCall\": \"%s\", "
		"\"longestRestMs\": %.2f, \"longestRestOfMs\": %.1f, \"longestRestOwnMs\": %.1f, \"longestRestServiceMs\": %.1f, \"longestRestCall\": \"%s\"}\n", wrong ? "false" : "true", wrong ? wrong : "", got,
		wrong ? errno : 0, (unsigned long long)operations, (double)longest_ns / 1e6, longest, (double)unexplained.rest_ns / 1e6, (double)unexplained.took_ns / 1e6, (double)unexplained.own_ns / 1e6,
		(double)unexplained.service_ns / 1e6, unexplained.call);
	exit(wrong ? 1 : 0);
}

/* ---- who waited for a CPU ---------------------------------------------------------------------------------------------------------- */
#define WATCHED_MAX 33u
static int watched[WATCHED_MAX]; /* schedstat of this thread, then of the service's */
static unsigned watched_count;

static void watch(const char *path) {
	int fd = watched_count < WATCHED_MAX ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd >= 0) watched[watched_count++] = fd;
}

/* Workers, the one that makes posted writes, and the one that pool-init talks to: the process's own name. */
static bool is_watched(const char *tasks, const char *task) {
	char path[4096], name[32] = "";
	snprintf(path, sizeof path, "%s/%s/comm", tasks, task);
	FILE *file = fopen(path, "re");
	if (!file) return false;
	bool found = fgets(name, sizeof name, file) && (strncmp(name, "worker-", 7) == 0 || strncmp(name, "posts", 5) == 0 || strncmp(name, "diciclo-service", 15) == 0);
	fclose(file);
	return found;
}

static void watch_service(const char *pid) {
	char tasks[64], path[4096];
	snprintf(tasks, sizeof tasks, "/proc/%s/task", pid);
	watch("/proc/thread-self/schedstat");
	DIR *directory = opendir(tasks);
	for (struct dirent *entry; directory && (entry = readdir(directory));) {
		if (!is_watched(tasks, entry->d_name)) continue;
		snprintf(path, sizeof path, "%s/%s/schedstat", tasks, entry->d_name);
		watch(path);
	}
	if (directory) closedir(directory);
}

struct waits {
	uint64_t own_ns, service_ns;
};

static struct waits waited(void) {
	struct waits waits = {0};
	for (unsigned i = 0; i < watched_count; i++) {
		char text[96] = "";
		unsigned long long ns = 0;
		ssize_t got = pread(watched[i], text, sizeof text - 1, 0);
		if (got <= 0 || sscanf(text, "%*u %llu", &ns) != 1) continue;
		*(i ? &waits.service_ns : &waits.own_ns) += ns;
	}
	return waits;
}

/* ---- calls ------------------------------------------------------------------------------------------------------------------------- */
static long timed(const char *name, long result, uint64_t start, struct waits before) {
	uint64_t took = now() - start;
	struct waits after = waited();
	uint64_t own = after.own_ns - before.own_ns, service = after.service_ns - before.service_ns, rest = took > own + service ? took - own - service : 0;
	operations++;
	if (took > longest_ns) {
		longest_ns = took;
		longest = name;
	}
	if (watched_count && rest > unexplained.rest_ns) {
		unexplained.rest_ns = rest;
		unexplained.took_ns = took;
		unexplained.own_ns = own;
		unexplained.service_ns = service;
		unexplained.call = name;
	}
	return result;
}
#define TIMED(call) ({ struct waits before = waited(); uint64_t started = now(); long answer = (long)(call); timed(#call, answer, started, before); })

static void write_piece(int fd) {
	static unsigned char piece[PIECE];
	size_t offset = next(SIZE - PIECE), size = 1 + next(PIECE);
	for (size_t i = 0; i < size; i++) piece[i] = (unsigned char)next(256);
	long done = TIMED(pwrite(fd, piece, size, (off_t)offset));
	if (done != (long)size) finish("a write", done);
	if (offset > length) memset(model + length, 0, offset - length);
	memcpy(model + offset, piece, size);
	if (offset + size > length) length = offset + size;
}

static void read_piece(int fd) {
	static unsigned char piece[PIECE];
	size_t offset = next(SIZE), size = 1 + next(PIECE), there = offset < length ? length - offset : 0;
	long done = TIMED(pread(fd, piece, size, (off_t)offset));
	if (done != (long)(there < size ? there : size)) finish("a read's length", done);
	if (done > 0 && memcmp(piece, model + offset, (size_t)done)) finish("data", (long)offset);
}

static void cut(int fd) {
	size_t to = next(SIZE);
	long done = TIMED(ftruncate(fd, (off_t)to));
	if (done) finish("a truncation", done);
	if (to > length) memset(model + length, 0, to - length);
	length = to;
}

static void look(const char *path) {
	struct stat st;
	long done = TIMED(stat(path, &st));
	if (done || (size_t)st.st_size != length) finish("a size", done ? done : (long)st.st_size);
}

static int reopen(int fd, char *path, char *other) {
	if (TIMED(fsync(fd))) finish("an fsync", 0);
	if (TIMED(close(fd))) finish("a close", 0);
	if (TIMED(rename(path, other))) finish("a rename", 0);
	char name[4096];
	strcpy(name, path);
	strcpy(path, other);
	strcpy(other, name);
	fd = (int)TIMED(open(path, O_RDWR));
	if (fd < 0) finish("an open", fd);
	return fd;
}

int main(int argc, char **argv) {
	if (argc != 4 && argc != 5) return 2;
	if (argc == 5) watch_service(argv[4]);
	static char path[4096], other[4096];
	state = strtoull(argv[2], NULL, 10) * 2 + 0x9e3779b97f4a7c15;
	snprintf(path, sizeof path, "%s/honest-%s", argv[1], argv[2]);
	snprintf(other, sizeof other, "%s/renamed-%s", argv[1], argv[2]);
	signal(SIGTERM, on_term);
	printf("ready\n");
	fflush(stdout);
	uint64_t end = now() + strtoull(argv[3], NULL, 10) * 1000000000u;
	int fd = (int)TIMED(open(path, O_RDWR | O_CREAT | O_TRUNC, 0600));
	if (fd < 0) finish("the first open", fd);
	while (!stopped && now() < end) {
		uint32_t what = next(100);
		if (what < 40) write_piece(fd);
		else if (what < 85) read_piece(fd);
		else if (what < 92) look(path);
		else if (what < 96) cut(fd);
		else fd = reopen(fd, path, other);
	}
	if (TIMED(close(fd)) || TIMED(unlink(path))) finish("the end", 0);
	finish(NULL, 0);
}
