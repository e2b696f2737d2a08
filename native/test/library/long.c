/*
 * long.c - reads and writes that are longer than a piece (library/pipeline.h), at odd offsets and out of odd vectors; files that end inside, limits and full disks in the middle; several threads
 * on one description; appends; handlers on top of them and out of them. Prints what each answered (run.py compares with a host directory).
 * usage: long DIRECTORY
 */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "show.h"

#define MIB (1u << 20)
#define SPACE (9u * MIB)
static unsigned char *data, *back;

static uint64_t hash(const unsigned char *at, size_t size) {
	uint64_t value = 14695981039346656037u;
	for (size_t i = 0; i < size; i++) value = (value ^ at[i]) * 1099511628211u;
	return value;
}

static void fill(unsigned seed) {
	for (size_t i = 0; i < SPACE; i++) data[i] = (unsigned char)((seed = seed * 1664525 + 1013904223) >> 24);
}

/* The whole file, through small reads, which are no subject here. */
static void show_hash(const char *what, int fd) {
	static unsigned char bytes[60000];
	uint64_t value = 0;
	off_t size = 0;
	for (ssize_t got; (got = pread(fd, bytes, sizeof bytes, size)) > 0; size += got) value = value * 31 + hash(bytes, (size_t)got);
	printf("%s: %ld bytes, %lx\n", what, (long)size, (unsigned long)value);
}

static const size_t lengths[] = {131071, 131072, 131073, 262143, 262144, 262145, 300000, 524288, MIB - 1, MIB, MIB + 1, 3 * MIB + 12345, 8 * MIB};
static const off_t offsets[] = {0, 1, 4095, 4096, 70001, 262144};
#define COUNT(array) (sizeof(array) / sizeof *(array))

static void positioned(void) {
	int fd = open("positioned", O_CREAT | O_RDWR | O_TRUNC, 0644);
	for (size_t i = 0; i < COUNT(lengths); i++)
		for (size_t k = 0; k < COUNT(offsets); k += lengths[i] > MIB ? 2 : 1) {
			fill((unsigned)(i * 10 + k));
			long put = pwrite(fd, data, lengths[i], offsets[k]);
			memset(back, 0, SPACE);
			long got = pread(fd, back, lengths[i], offsets[k]);
			long past = pread(fd, back + lengths[i], SPACE - lengths[i], offsets[k] + (off_t)lengths[i] - 5);
			printf("%zu at %ld: put %ld got %ld %s; to the end %ld\n", lengths[i], (long)offsets[k], put, got, memcmp(data, back, lengths[i]) ? "DIFFERENT" : "same", past);
		}
	show_hash("positioned", fd);
	close(fd);
}

static void vectors(void) {
	int fd = open("vectors", O_CREAT | O_RDWR | O_TRUNC, 0644);
	struct iovec out[400], in[300];
	size_t at = 0, total;
	fill(77);
	for (size_t i = 0; i < COUNT(out); i++) {
		out[i] = (struct iovec){data + at, i % 7 == 3 ? 0 : (i * 7919) % 17001};
		at += out[i].iov_len;
	}
	total = at;
	SHOW(writev(fd, out, COUNT(out)));
	SHOW(pwritev(fd, out, COUNT(out), 12345));
	SHOW(lseek(fd, 1, SEEK_SET));
	at = 0;
	for (size_t i = 0; i < COUNT(in); i++) {
		in[i] = (struct iovec){back + at, i == COUNT(in) - 1 ? SPACE - at : (i * 104729) % 23003};
		at += in[i].iov_len;
	}
	memset(back, 0, SPACE);
	long got = readv(fd, in, COUNT(in));
	printf("readv %ld of %zu written, %lx, offset %ld\n", got, total, (unsigned long)hash(back, got > 0 ? (size_t)got : 0), (long)lseek(fd, 0, SEEK_CUR));
	close(fd);
}

/* Sequential calls, and a file that ends in the middle of one. */
static void ends_inside(void) {
	int fd = open("ends", O_CREAT | O_RDWR | O_TRUNC, 0644);
	fill(5);
	SHOW(write(fd, data, 700001));
	SHOW(lseek(fd, 100000, SEEK_SET));
	SHOW(read(fd, back, 2 * MIB));
	SHOW(lseek(fd, 0, SEEK_CUR));
	SHOW(read(fd, back, 2 * MIB));
	SHOW(pread(fd, back, 2 * MIB, 262144));
	SHOW(pread(fd, back, 2 * MIB, 700000));
	SHOW(pread(fd, back, 2 * MIB, 700001));
	SHOW(pread(fd, back, 2 * MIB, 5000000));
	SHOW(ftruncate(fd, 262144));
	SHOW(pread(fd, back, MIB, 0));
	SHOW(pread(fd, back, MIB, 1));
	SHOW(pwrite(fd, data, 2 * MIB, 1500000));
	memset(back, 1, SPACE);
	SHOW(pread(fd, back, 4 * MIB, 0));
	printf("hole %d, rest %s\n", back[1000000], memcmp(back + 1500000, data, 2 * MIB) ? "DIFFERENT" : "same");
	close(fd);
	fd = open("ends", O_RDONLY);
	SHOW(write(fd, data, MIB));
	close(fd);
	fd = open("ends", O_WRONLY | O_DSYNC);
	SHOW(read(fd, back, MIB));
	SHOW(pwrite(fd, data, 3 * MIB, 4097));
	close(fd);
}

static void limits(void) {
	struct rlimit before, limit;
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &before);
	int fd = open("limits", O_CREAT | O_RDWR | O_TRUNC, 0644);
	limit = before;
	limit.rlim_cur = 1700001;
	setrlimit(RLIMIT_FSIZE, &limit);
	SHOW(pwrite(fd, data, 3 * MIB, 1));
	SHOW(pwrite(fd, data, 3 * MIB, 1700000));
	SHOW(pwrite(fd, data, 3 * MIB, 1700001));
	setrlimit(RLIMIT_FSIZE, &before);
	SHOW(pwrite(fd, data, 3 * MIB, INT64_MAX - MIB));
	SHOW(pread(fd, back, 3 * MIB, INT64_MAX - MIB));
	/* ext4's largest file ends in the middle of this one; other filesystems answer what they like, on both sides. Written back, that is known too late. */
	const char *mode = getenv("MODE");
	if (!mode || strcmp(mode, "write-back")) SHOW(pwrite(fd, data, 3 * MIB, 17592186040320 - 1500000));
	SHOW(lseek(fd, 0, SEEK_END));
	SHOW(ftruncate(fd, 10));
	close(fd);
}

/* Where the directory is small (run.py's SPACE): the disk is full in the middle. */
static void full(void) {
	int fd = open("full", O_CREAT | O_RDWR | O_TRUNC, 0644);
	long sum = 0, put = 0;
	fill(9);
	for (int i = 0; i < 12 && (put = write(fd, data, 3 * MIB + 1)) > 0; i++) sum += put;
	show("write", put);
	printf("%ld in all, offset %ld, size %ld\n", sum, (long)lseek(fd, 0, SEEK_CUR), (long)lseek(fd, 0, SEEK_END));
	show_hash("full", fd);
	SHOW(ftruncate(fd, 0));
	SHOW(pwrite(fd, data, 2 * MIB, 3));
	show_hash("room again", fd);
	close(fd);
}

static int shared_fd;
static _Atomic unsigned blocks[256], mixed;
static bool uniform(const unsigned char *at, size_t size) {
	return !memcmp(at, at + 1, size - 1);
}

static void *write_blocks(void *argument) {
	unsigned char *block = malloc(MIB);
	for (unsigned i = 0; block && i < 4; i++) {
		memset(block, (int)((uintptr_t)argument * 4 + i + 1), MIB);
		if (write(shared_fd, block, MIB) != MIB) atomic_fetch_add(&mixed, 1);
	}
	free(block);
	return NULL;
}

static void *read_blocks(void *argument) {
	unsigned char *block = malloc(MIB);
	while (block && read(shared_fd, block, MIB) == MIB) {
		if (!uniform(block, MIB)) atomic_fetch_add(&mixed, 1);
		atomic_fetch_add(&blocks[block[0]], 1);
	}
	free(block);
	return NULL;
}

/* Two at a time on one description: each call gets or takes a stretch of its own. */
static void together(void) {
	pthread_t threads[2];
	unsigned once = 0;
	shared_fd = open("together", O_CREAT | O_RDWR | O_TRUNC, 0644);
	for (uintptr_t i = 0; i < 2; i++) pthread_create(&threads[i], NULL, write_blocks, (void *)i);
	for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
	printf("offset %ld\n", (long)lseek(shared_fd, 0, SEEK_CUR));
	lseek(shared_fd, 0, SEEK_SET);
	for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, read_blocks, NULL);
	for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
	for (int i = 1; i <= 8; i++) once += blocks[i] == 1;
	printf("mixed %u, %u blocks once\n", mixed, once);
	close(shared_fd);
}

/* What two processes append stays whole. */
static void appends(void) {
	pid_t children[2];
	enum { LONG = 2600000 }; /* in three slots' buffers */
	fflush(stdout);
	for (int i = 0; i < 2; i++) {
		children[i] = fork();
		if (children[i]) continue;
		int fd = open("appended", O_CREAT | O_WRONLY | O_APPEND, 0644);
		memset(data, 'a' + i, LONG);
		struct iovec parts[3] = {{data, 1500001}, {NULL, 0}, {data, LONG - 1500001}};
		for (int k = 0; k < 6; k++)
			if ((k % 2 ? writev(fd, parts, 3) : write(fd, data, LONG)) != LONG) _exit(1);
		_exit(0);
	}
	int status, bad = 0, torn = 0;
	for (int i = 0; i < 2; i++) bad += waitpid(children[i], &status, 0) < 0 || status;
	int fd = open("appended", O_RDONLY);
	for (int k = 0; k < 12; k++) torn += pread(fd, back, LONG, (off_t)k * LONG) != LONG || !uniform(back, LONG);
	printf("children failed %d, torn %d, size %ld\n", bad, torn, (long)lseek(fd, 0, SEEK_END));
	close(fd);
}

static sigjmp_buf out;
static volatile sig_atomic_t armed, handled, nested_failed;
static int nested_fd;

static void on_alarm(int number) {
	unsigned char bytes[300];
	memset(bytes, 'n', sizeof bytes);
	handled++;
	if (pwrite(nested_fd, bytes, sizeof bytes, 0) != sizeof bytes || pread(nested_fd, bytes, sizeof bytes, 0) != sizeof bytes) nested_failed++;
	if (armed) siglongjmp(out, 1);
}

/* Handlers come on top of long calls, and leave them for good, more often than there are slots. */
static void handlers(void) {
	struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
	struct itimerval often = {{0, 700}, {0, 700}}, never = {{0, 0}, {0, 0}};
	int fd = open("handlers", O_CREAT | O_RDWR | O_TRUNC, 0644);
	int log = open("log", O_CREAT | O_WRONLY | O_APPEND | O_TRUNC, 0644);
	nested_fd = open("nested", O_CREAT | O_RDWR | O_TRUNC, 0644);
	fill(3);
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	int wrong = 0;
	for (int i = 0; i < 10 || handled < 20; i++) {
		wrong += pwrite(fd, data, 2 * MIB, i % 5 * 1000) != 2 * MIB;
		wrong += pread(fd, back, 2 * MIB, i % 5 * 1000) != 2 * MIB || memcmp(data, back, 2 * MIB);
	}
	volatile int left = 0;
	volatile long rounds = 0;
	while (left < 150 && !getenv("NO_JUMPS")) { /* a sanitizer inside the library is not told that its frames are gone */
		if (sigsetjmp(out, 1)) left++;
		armed = 1;
		if (++rounds % 3 == 0) pwrite(fd, data, 2 * MIB, 0);
		else if (rounds % 3 == 1) pread(fd, back, 2 * MIB, 0);
		else if (lseek(log, 0, SEEK_END) < 64 * MIB) write(log, data, 3 * MIB);
		else ftruncate(log, 0);
		armed = 0;
	}
	setitimer(ITIMER_REAL, &never, NULL);
	wrong += pwrite(fd, data, 2 * MIB, 0) != 2 * MIB;
	wrong += pread(fd, back, 2 * MIB, 0) != 2 * MIB || memcmp(data, back, 2 * MIB);
	printf("wrong %d, nested wrong %d\n", wrong, (int)nested_failed);
	wrong = ftruncate(log, 0) || write(log, data, SPACE) != SPACE || lseek(log, 0, SEEK_END) != SPACE;
	printf("a long append after all of it: wrong %d\n", wrong);
	close(log);
	close(nested_fd);
	close(fd);
}

/* A handler forks on top of a long call, and the child returns into it: it has the bytes or was interrupted, and what it does next is its own; the parent notices nothing. */
static volatile sig_atomic_t forks, forked;

static void on_alarm_fork(int number) {
	if (forked || ++forks % 8) return;
	pid_t child = fork();
	if (child == 0) forked = 1;
}

static _Noreturn void end_child(ssize_t result, bool bytes) {
	int error = errno;
	if (result < 0 ? error != EINTR : !bytes) _exit(1);
	int fd = open("child's", O_CREAT | O_RDWR, 0644);
	if (fd < 0 || pwrite(fd, "its own", 7, 0) != 7 || pread(fd, back, 7, 0) != 7 || memcmp(back, "its own", 7)) _exit(2);
	_exit(0);
}

static void forked_inside(void) {
	struct sigaction action = {.sa_handler = on_alarm_fork, .sa_flags = SA_RESTART};
	struct itimerval often = {{0, 700}, {0, 700}}, never = {{0, 0}, {0, 0}};
	int fd = open("forks", O_CREAT | O_RDWR | O_TRUNC, 0644), wrong = 0, ended[4] = {0}, status;
	fill(4);
	fflush(stdout);
	pwrite(fd, data, 3 * MIB, 0);
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	for (long rounds = 0; forks < 8 * 40; rounds++) {
		size_t size = rounds % 2 ? 2 * MIB : 5000;
		ssize_t result = rounds % 3 ? pread(fd, back, size, 777) : pwrite(fd, data + 777, size, 777);
		bool bytes = result > 0 && (rounds % 3 == 0 || !memcmp(back, data + 777, (size_t)result));
		if (forked) end_child(result, bytes);
		wrong += result != (ssize_t)size || !bytes;
		while (waitpid(-1, &status, WNOHANG) > 0) ended[WIFEXITED(status) ? WEXITSTATUS(status) : 3]++;
	}
	setitimer(ITIMER_REAL, &never, NULL);
	if (forked) _exit(0); /* just now, out of no call */
	while (wait(&status) > 0) ended[WIFEXITED(status) ? WEXITSTATUS(status) : 3]++;
	wrong += pread(fd, back, 3 * MIB, 0) != 3 * MIB || memcmp(back, data, 3 * MIB);
	printf("forked inside: wrong %d; of the children %d with wrong results, %d without files, %d killed\n", wrong, ended[1], ended[2], ended[3]);
	close(fd);
}

int main(int argc, char **argv) {
	if (argc < 2 || chdir(argv[1]) < 0) return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	data = malloc(SPACE);
	back = malloc(SPACE);
	if (!data || !back) return 2;
	if (getenv("SPACE")) {
		full();
		return 0;
	}
	positioned();
	vectors();
	ends_inside();
	limits();
	together();
	appends();
	handlers();
	forked_inside();
	return 0;
}
