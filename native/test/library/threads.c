/*
 * threads.c - threads that open, read, copy and close the same few numbers: no call may ever reach another file than its own, nor the kernel's descriptor behind a number be another's;
 * one description's reads never overlap; forks meanwhile.
 * usage: threads DIRECTORY
 */
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 6
#define ROUNDS 1500
#define BESIDE 4000
static _Atomic int wrong;
static char top[PATH_MAX];
static int shared_fd;
static _Atomic unsigned char seen[60000];

static void *own_files(void *argument) {
	char name[32], letter = (char)('a' + (long)argument), buffer[128];
	snprintf(name, sizeof name, "own-%c", letter);
	for (int i = 0; i < ROUNDS; i++) {
		int fd = open(name, O_CREAT | O_RDWR | O_TRUNC, 0644);
		memset(buffer, letter, sizeof buffer);
		if (write(fd, buffer, sizeof buffer) != sizeof buffer) atomic_fetch_add(&wrong, 1);
		int copy = i % 3 ? -1 : dup(fd);
		memset(buffer, 0, sizeof buffer);
		if (pread(copy >= 0 ? copy : fd, buffer, sizeof buffer, 0) != sizeof buffer) atomic_fetch_add(&wrong, 1);
		for (unsigned k = 0; k < sizeof buffer; k++)
			if (buffer[k] != letter) {
				atomic_fetch_add(&wrong, 1);
				break;
			}
		if (copy >= 0) close(copy);
		if (i % 500 == 7) {
			pid_t child = fork();
			char byte;
			if (child == 0) _exit(pread(fd, &byte, 1, 5) == 1 && byte == letter ? 0 : 1);
			int status;
			waitpid(child, &status, 0);
			if (status) atomic_fetch_add(&wrong, 1);
		}
		close(fd);
	}
	return NULL;
}

/* Every pair of bytes of the file is read exactly once. */
static void *shared_reads(void *argument) {
	unsigned char bytes[2];
	while (read(shared_fd, bytes, 2) == 2) {
		unsigned index = (unsigned)bytes[0] << 8 | bytes[1];
		if (index >= 60000 || atomic_fetch_add(&seen[index], 1)) atomic_fetch_add(&wrong, 1);
	}
	return NULL;
}

/* What the kernel has under the number lies in the directory, or is its mount point: looked at past the library, as far as it can be. */
static void look_behind(int fd) {
	char path[64], target[PATH_MAX];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	ssize_t length;
#ifdef __x86_64__
	__asm__ volatile("syscall" : "=a"(length) : "0"((long)SYS_readlink), "D"(path), "S"(target), "d"(sizeof target - 1) : "rcx", "r11", "memory");
#else
	length = readlink(path, target, sizeof target - 1);
#endif
	target[length < 0 ? 0 : length] = 0;
	if (strncmp(target, top, strlen(top))) atomic_fetch_add(&wrong, 1);
}

static void *opened_beside(void *argument) {
	for (int i = 0; i < BESIDE; i++) {
		int fd = open("beside", i % 4 ? O_RDONLY : O_RDWR | O_CREAT, 0644);
		if (fd < 0) atomic_fetch_add(&wrong, 1);
		else look_behind(fd);
		close(fd);
	}
	return NULL;
}

/* Numbers that were a file's a moment ago, and are something else now. */
static void *taken_over(void *argument) {
	for (int i = 0; i < BESIDE; i++) {
		int fd = open("beside", O_RDONLY), pair[2] = {-1, -1};
		if (i % 3 == 0) close(fd);
		else if (i % 3 == 1) close_range((unsigned)fd, (unsigned)fd, 0);
		if (pipe(pair)) atomic_fetch_add(&wrong, 1);
		if (i % 3 == 2) {
			dup2(pair[0], fd);
			close(fd);
		}
		close(pair[0]);
		close(pair[1]);
	}
	return NULL;
}

int main(int argc, char **argv) {
	if (argc < 2 || chdir(argv[1]) < 0 || !getcwd(top, sizeof top)) return 2;
	close(open("beside", O_CREAT | O_RDWR, 0644));
	pthread_t beside[4];
	for (long i = 0; i < 4; i++) pthread_create(&beside[i], NULL, i % 2 ? taken_over : opened_beside, NULL);
	for (int i = 0; i < 4; i++) pthread_join(beside[i], NULL);
	pthread_t threads[THREADS];
	for (long i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, own_files, (void *)i);
	for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
	int fd = open("pairs", O_CREAT | O_RDWR | O_TRUNC, 0644);
	unsigned char pairs[20000];
	for (unsigned i = 0; i < 10000; i++) pairs[2 * i] = (unsigned char)(i >> 8), pairs[2 * i + 1] = (unsigned char)i;
	if (write(fd, pairs, sizeof pairs) != sizeof pairs) return 1;
	shared_fd = fd;
	lseek(fd, 0, SEEK_SET);
	for (long i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, shared_reads, NULL);
	for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < 10000; i++)
		if (seen[i] != 1) atomic_fetch_add(&wrong, 1);
	printf("wrong %d\n", wrong);
	return wrong != 0;
}
