/*
 * threads.c - threads that open, read, copy and close the same few numbers: no call may ever reach another file than its own; one description's reads never overlap; forks meanwhile.
 * usage: threads DIRECTORY
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 6
#define ROUNDS 1500
static _Atomic int wrong;
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

int main(int argc, char **argv) {
	if (argc < 2 || chdir(argv[1]) < 0) return 2;
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
