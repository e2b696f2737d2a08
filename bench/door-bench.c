/*
 * door-bench.c - what a FUSE mount does with the features of its handshake: `door-bench MOUNT BACKING` (BACKING: the directory that the mount shows, writable here; files are made there, so that the
 * kernel has seen nothing of them). Prints one line of JSON: microseconds per entry, MB/s. Everything is removed again.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { DIRECTORIES = 20, FILES = 500, THREADS = 4, DATA_MB = 128, MB = 1 << 20 };
static const char *mount_path, *backing;
static unsigned char *block;

static _Noreturn void die(const char *what) {
	fprintf(stderr, "door-bench: %s: %s\n", what, strerror(errno));
	exit(1);
}
static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}
static const char *at(const char *root, const char *format, int number, int second) {
	static _Thread_local char path[4][512];
	static _Thread_local unsigned next;
	char name[256], *out = path[next++ % 4];
	snprintf(name, sizeof name, format, number, second);
	snprintf(out, sizeof path[0], "%s/%s", root, name);
	return out;
}

/* ---- names ---------------------------------------------------------------------------------------------------------------- */
static void make_tree(int first) {
	for (int i = first; i < first + DIRECTORIES; i++) {
		if (mkdir(at(backing, "db-%d", i, 0), 0755)) die("mkdir");
		for (int j = 0; j < FILES; j++) {
			int fd = open(at(backing, "db-%d/file-%d", i, j), O_CREAT | O_WRONLY, 0644);
			if (fd < 0) die("create");
			close(fd);
		}
	}
}
static void remove_tree(int first) {
	for (int i = first; i < first + DIRECTORIES; i++) {
		for (int j = 0; j < FILES; j++) unlink(at(backing, "db-%d/file-%d", i, j));
		rmdir(at(backing, "db-%d", i, 0));
	}
}
/* Lists each directory once; `look`: with the attributes of every entry, as ls -l. */
static double list(int first, int look) {
	double start = now();
	for (int i = first; i < first + DIRECTORIES; i++) {
		DIR *directory = opendir(at(mount_path, "db-%d", i, 0));
		struct dirent *entry;
		struct stat st;
		if (!directory) die("opendir");
		while ((entry = readdir(directory)))
			if (look && fstatat(dirfd(directory), entry->d_name, &st, AT_SYMLINK_NOFOLLOW)) die("fstatat");
		closedir(directory);
	}
	return (now() - start) * 1e6 / (DIRECTORIES * FILES);
}
static void *stat_some(void *argument) {
	struct stat st;
	int which = (int)(long)argument, first = which / THREADS;
	for (int i = first; i < first + DIRECTORIES; i++)
		for (int j = which % THREADS; j < FILES; j += THREADS)
			if (stat(at(mount_path, "db-%d/file-%d", i, j), &st)) die("stat");
	return NULL;
}
/* Names that the kernel does not know, asked for by several threads in one directory. */
static double look_up(int first) {
	pthread_t threads[THREADS];
	double start = now();
	for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, stat_some, (void *)(long)(first * THREADS + i));
	for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
	return (now() - start) * 1e6 / (DIRECTORIES * FILES);
}

/* ---- data ----------------------------------------------------------------------------------------------------------------- */
static double transfer(const char *path, int flags, int writing, size_t piece) {
	int fd = open(path, flags | (writing ? O_WRONLY | O_CREAT : O_RDONLY), 0644);
	if (fd < 0) die(path);
	double start = now();
	for (off_t offset = 0; offset < (off_t)DATA_MB * MB; offset += (off_t)piece) {
		ssize_t got = writing ? pwrite(fd, block, piece, offset) : pread(fd, block, piece, offset);
		if (got != (ssize_t)piece) die(writing ? "pwrite" : "pread");
	}
	double taken = now() - start;
	close(fd);
	return DATA_MB / taken;
}

int main(int argc, char **argv) {
	if (argc != 3) {
		fprintf(stderr, "usage: door-bench MOUNT BACKING\n");
		return 2;
	}
	mount_path = argv[1];
	backing = argv[2];
	if (posix_memalign((void **)&block, 4096, 8 * MB)) die("memory");
	memset(block, 'x', 8 * MB);
	for (int i = 0; i < 3; i++) make_tree(100 * i);
	for (int i = 0; i < 2; i++) transfer(at(backing, "db-data%d", i, 0), 0, 1, MB);
	printf("{\"listLongUs\": %.2f, ", list(0, 1));
	printf("\"listNamesUs\": %.2f, ", list(100, 0));
	printf("\"lookup4ThreadsUs\": %.2f, ", look_up(200));
	printf("\"read64kMBs\": %.0f, ", transfer(at(mount_path, "db-data%d", 0, 0), 0, 0, 65536));
	printf("\"read1mMBs\": %.0f, ", transfer(at(mount_path, "db-data%d", 1, 0), 0, 0, MB));
	printf("\"rereadMBs\": %.0f, ", transfer(at(mount_path, "db-data%d", 1, 0), 0, 0, MB));
	printf("\"direct8mReadMBs\": %.0f, ", transfer(at(mount_path, "db-data%d", 0, 0), O_DIRECT, 0, 8 * MB));
	printf("\"write1mMBs\": %.0f, ", transfer(at(mount_path, "db-data%d", 2, 0), 0, 1, MB));
	printf("\"write4kMBs\": %.0f, ", transfer(at(mount_path, "db-data%d", 3, 0), 0, 1, 4096));
	printf("\"direct8mWriteMBs\": %.0f}\n", transfer(at(mount_path, "db-data%d", 2, 0), O_DIRECT, 1, 8 * MB));
	for (int i = 0; i < 4; i++) unlink(at(backing, "db-data%d", i, 0));
	for (int i = 0; i < 3; i++) remove_tree(100 * i);
	return 0;
}
