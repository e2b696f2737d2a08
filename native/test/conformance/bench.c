/*
 * bench.c - what the libservices cost by themselves: plain calls, one thread, no doors and no queue. Prints nanoseconds per operation beside the system
 * calls that do the same on the same file. Usage: libservices-bench MODULES [DIRECTORY]
 */
#include "stand.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FILE_BYTES (32u << 20)
#define PAGES (FILE_BYTES / 4096)
#define ROUNDS 400000u
#define WRITES 40000u
#define MAKES 10000u

static struct stand stand;
static struct dc_node *file, *directory;
static int host, host_directory;
static char host_path[512];
static char *buffer;

static double nanoseconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static uint32_t random_next(uint32_t *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}

static void stack_read(uint32_t page)
{
	struct iovec vector = {buffer, 4096};
	if (CALL(&stand, read, file, &vector, 1, (off_t)page * 4096, 0) != 4096)
		abort();
}

static void host_read(uint32_t page)
{
	if (pread(host, buffer, 4096, (off_t)page * 4096) != 4096)
		abort();
}

static void stack_write(uint32_t page)
{
	struct iovec vector = {buffer, 4096};
	off_t offset = (off_t)page * 4096;
	if (CALL(&stand, write, file, &vector, 1, &offset, 0) != 4096)
		abort();
}

static void host_write(uint32_t page)
{
	if (pwrite(host, buffer, 4096, (off_t)page * 4096) != 4096)
		abort();
}

static void stack_getattr(uint32_t page)
{
	struct dc_attr attr;
	if (CALL(&stand, getattr, file, &attr))
		abort();
}

static void host_getattr(uint32_t page)
{
	struct stat status;
	if (fstat(host, &status))
		abort();
}

static void stack_lookup(uint32_t page)
{
	struct dc_node *node;
	struct dc_attr attr;
	size_t consumed;
	if (CALL(&stand, lookup, stand.root, "one/two/file", 12, &node, &attr, &consumed))
		abort();
	FORGET(&stand, node, 1);
}

static void host_lookup(uint32_t page)
{
	struct stat status;
	if (stat(host_path, &status))
		abort();
}

static void host_openat(uint32_t page)
{
	int opened = open(host_path, O_RDONLY);
	if (opened < 0)
		abort();
	close(opened);
}

/* As the service does it: the name is looked up before it is made and before it is removed. */
static void stack_make(uint32_t page)
{
	struct dc_node *node;
	struct dc_attr attr;
	size_t consumed;
	if (CALL(&stand, lookup, directory, "made", 4, &node, NULL, &consumed) != -ENOENT)
		abort();
	FORGET(&stand, node, 1);
	if (CALL(&stand, create, directory, "made", 0644, O_RDWR, &node, &attr))
		abort();
	CALL(&stand, close, node, O_RDWR);
	FORGET(&stand, node, 1);
	if (CALL(&stand, lookup, directory, "made", 4, &node, NULL, &consumed) || CALL(&stand, unlink, directory, "made"))
		abort();
	FORGET(&stand, node, 1);
}

static void host_make(uint32_t page)
{
	int made = openat(host_directory, "made", O_RDWR | O_CREAT | O_EXCL, 0644);
	if (made < 0 || close(made) || unlinkat(host_directory, "made", 0))
		abort();
}

static void copy_alone(uint32_t page)
{
	memcpy(buffer, buffer + 8192 + (page % 256) * 4096, 4096);
	__asm__ volatile("" : : : "memory");
}

/* The best of three, since other work shares the machine. */
static double per_call(void (*call)(uint32_t), uint32_t rounds, uint32_t pages)
{
	double best = 1e18;
	int try;

	for (try = 0; try < 3; try++) {
		uint32_t state = 7, i;
		double start = nanoseconds(), took;
		for (i = 0; i < rounds; i++)
			call(random_next(&state) % pages);
		took = (nanoseconds() - start) / rounds;
		best = took < best ? took : best;
	}
	return best;
}

static void compare(const char *what, void (*ours)(uint32_t), const char *call, void (*theirs)(uint32_t), uint32_t rounds, uint32_t pages)
{
	double stack = per_call(ours, rounds, pages), system = per_call(theirs, rounds, pages);
	printf("%-44s %8.0f ns   %-10s %8.0f ns   %5.2f\n", what, stack, call, system, system / stack);
}

static void *reader(void *argument)
{
	uint32_t state = (uint32_t)(uintptr_t)argument, i;
	char *mine = malloc(4096);
	for (i = 0; i < ROUNDS; i++) {
		struct iovec vector = {mine, 4096};
		CALL(&stand, read, file, &vector, 1, (off_t)(random_next(&state) % 256) * 4096, 0);
	}
	free(mine);
	return NULL;
}

static void two_readers(void)
{
	pthread_t threads[2];
	double start = nanoseconds();
	for (uintptr_t i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, reader, (void *)(i + 1));
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	printf("%-44s %8.0f ns\n", "read 4 KiB of the same 1 MiB, two threads", (nanoseconds() - start) / ROUNDS);
}

static void prepare(const char *made_in)
{
	char path[600];
	struct dc_attr attr;
	size_t consumed;
	uint32_t i;

	snprintf(host_path, sizeof host_path, "%s/one", made_in);
	mkdir(host_path, 0755);
	snprintf(host_path, sizeof host_path, "%s/one/two", made_in);
	mkdir(host_path, 0755);
	snprintf(host_path, sizeof host_path, "%s/one/two/file", made_in);
	host = open(host_path, O_RDWR | O_CREAT | O_TRUNC, 0644);
	snprintf(path, sizeof path, "%s/one/host", made_in);
	mkdir(path, 0755);
	host_directory = open(path, O_RDONLY | O_DIRECTORY);
	for (i = 0; i < PAGES; i++)
		host_write(i);
	if (CALL(&stand, lookup, stand.root, "one/two", 7, &directory, &attr, &consumed) || CALL(&stand, lookup, stand.root, "one/two/file", 12, &file, &attr, &consumed) ||
	    CALL(&stand, open, file, O_RDWR))
		abort();
	for (i = 0; i < PAGES; i++)
		stack_read(i);
}

int main(int argc, char **argv)
{
	char made[] = "/tmp/diciclo-bench-XXXXXX";
	const char *made_in = argc > 2 ? argv[2] : mkdtemp(made);

	if (argc < 2 || !made_in) {
		fprintf(stderr, "usage: %s MODULES [DIRECTORY]\n", argv[0]);
		return 2;
	}
	buffer = aligned_alloc(4096, 2 << 20);
	memset(buffer, 'x', 2 << 20);
	stand_open(&stand, argv[1], "cache", made_in);
	prepare(made_in);
	printf("%-44s %8s      %-10s %8s      %s\n", "cache over local", "", "host", "", "ratio");
	printf("%-44s %8.0f ns\n", "memcpy 4 KiB alone, 1 MiB", per_call(copy_alone, ROUNDS, 256));
	compare("read 4 KiB of 1 MiB", stack_read, "pread", host_read, ROUNDS, 256);
	compare("read 4 KiB of 32 MiB", stack_read, "pread", host_read, ROUNDS, PAGES);
	two_readers();
	compare("getattr", stack_getattr, "fstat", host_getattr, ROUNDS, 1);
	compare("lookup of 3 components with attributes", stack_lookup, "stat", host_lookup, ROUNDS, 1);
	compare("lookup of 3 components with attributes", stack_lookup, "open+close", host_openat, ROUNDS, 1);
	compare("write 4 KiB through, 1 MiB", stack_write, "pwrite", host_write, WRITES, 256);
	compare("write 4 KiB through, 32 MiB", stack_write, "pwrite", host_write, WRITES, PAGES);
	compare("create, close and unlink", stack_make, "the same", host_make, MAKES, 1);
	CALL(&stand, close, file, O_RDWR);
	FORGET(&stand, file, 1);
	FORGET(&stand, directory, 1);
	stand_close(&stand);
	close(host);
	unlink(host_path);
	close(host_directory);
	if (argc <= 2) {
		char path[600];
		snprintf(path, sizeof path, "%s/one/host", made_in);
		rmdir(path);
		snprintf(path, sizeof path, "%s/one/two", made_in);
		rmdir(path);
		snprintf(path, sizeof path, "%s/one", made_in);
		rmdir(path);
		rmdir(made_in);
	}
	free(buffer);
	return 0;
}
