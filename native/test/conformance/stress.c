/* stress.c - many threads on one stack, against a model in memory and against what the host sees in the end. */
#include "special.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SCALE 4 /* sanitizers are slow */
#else
#define SCALE 1
#endif
#define THREADS 4

struct worker {
	struct stand *stand;
	struct dc_node *node;
	const char *directory;
	unsigned seed;
	int number;
	_Atomic bool *stop;
	char wrong[200];
};

static const char *run_threads(struct worker *workers, int count, void *(*body)(void *))
{
	pthread_t threads[16];
	int i;

	for (i = 0; i < count; i++)
		pthread_create(&threads[i], NULL, body, &workers[i]);
	for (i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	for (i = 0; i < count; i++)
		if (workers[i].wrong[0])
			return fault("thread %d: %s", i, workers[i].wrong);
	return NULL;
}

#define WRONG(worker, ...) snprintf((worker)->wrong, sizeof(worker)->wrong, __VA_ARGS__)

/* ---- a file of one's own, against a model --------------------------------------------------------------------------------- */
#define MODEL (600u * 1024)

static size_t model_limit(off_t offset, size_t bytes) { return (size_t)offset + bytes > MODEL ? MODEL - (size_t)offset : bytes; }

static bool model_read(struct worker *w, const unsigned char *model, off_t size, unsigned char *buffer, off_t offset, size_t bytes)
{
	ssize_t expected = offset >= size ? 0 : (ssize_t)bytes > size - offset ? size - offset : (ssize_t)bytes;
	ssize_t got = read_at(w->stand, w->node, buffer, bytes, offset);

	if (got == expected && !memcmp(buffer, model + offset, (size_t)got))
		return true;
	WRONG(w, "read of %zu at %lld (size %lld): %zd, expected %zd, data %s", bytes, (long long)offset, (long long)size, got, expected, got == expected ? "differ" : "aside");
	return false;
}

static void *model_body(void *argument)
{
	struct worker *w = argument;
	unsigned char *model = calloc(1, MODEL), *buffer = malloc(MODEL);
	off_t size = 0, offset;
	char name[32];
	int i;

	snprintf(name, sizeof name, "own-%d", w->number);
	w->node = make_file(w->stand, name, 0, 0);
	for (i = 0; i < 3000 / SCALE && !w->wrong[0]; i++) {
		size_t bytes = 1 + (size_t)rand_r(&w->seed) % (i % 4 ? 40000 : 400000);
		offset = rand_r(&w->seed) % (int)MODEL;
		bytes = model_limit(offset, bytes);
		switch (rand_r(&w->seed) % 10) {
		case 0:
			if (set_size(w->stand, w->node, offset))
				WRONG(w, "truncate");
			if (offset < size)
				memset(model + offset, 0, (size_t)(size - offset));
			size = offset;
			break;
		case 1:
			if (CALL(w->stand, fallocate, w->node, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, (off_t)bytes))
				WRONG(w, "punch");
			memset(model + offset, 0, bytes);
			break;
		case 2: case 3: case 4: case 5:
			if (i % 3 == 0) {
				offset &= ~4095;
				bytes &= ~(size_t)4095;
			}
			memset(buffer, i, bytes);
			if (bytes && write_at(w->stand, w->node, buffer, bytes, offset) != (ssize_t)bytes)
				WRONG(w, "write");
			memset(model + offset, i, bytes);
			if (bytes && size < offset + (off_t)bytes)
				size = offset + (off_t)bytes;
			break;
		default:
			model_read(w, model, size, buffer, offset, bytes);
		}
	}
	if (!w->wrong[0])
		model_read(w, model, size, buffer, 0, MODEL);
	drop_file(w->stand, w->node);
	free(model);
	free(buffer);
	return NULL;
}

/* ---- one file for all, each thread a part of it --------------------------------------------------------------------------- */
#define PART (256u * 1024)

static void *parts_body(void *argument)
{
	struct worker *w = argument;
	unsigned char *model = calloc(1, PART), *buffer = malloc(PART);
	off_t base = (off_t)w->number * PART;
	int i;

	for (i = 0; i < 2000 / SCALE && !w->wrong[0]; i++) {
		off_t offset = rand_r(&w->seed) % (int)PART;
		size_t bytes = 1 + (size_t)rand_r(&w->seed) % 20000;
		if (offset + (off_t)bytes > (off_t)PART)
			bytes = PART - (size_t)offset;
		if (rand_r(&w->seed) % 2) {
			memset(buffer, i ^ w->number, bytes);
			if (write_at(w->stand, w->node, buffer, bytes, base + offset) != (ssize_t)bytes)
				WRONG(w, "write");
			memset(model + offset, i ^ w->number, bytes);
		} else if (read_at(w->stand, w->node, buffer, bytes, base + offset) != (ssize_t)bytes || memcmp(buffer, model + offset, bytes)) {
			WRONG(w, "read of %zu at %lld differs from what was written", bytes, (long long)(base + offset));
		}
	}
	free(model);
	free(buffer);
	return NULL;
}

/* ---- blocks that describe themselves: no reader may see a mixture ------------------------------------------------------------------------ */
#define BLOCKS 64

static void block_fill(uint64_t *block, uint64_t number, uint64_t sequence)
{
	int i;
	for (i = 0; i < 512; i++)
		block[i] = number << 48 ^ sequence << 8 ^ (uint64_t)(i % 3);
}

static bool block_whole(const uint64_t *block, uint64_t number)
{
	uint64_t first = block[0];
	int i;

	if (first == 0) { /* never written, or cut off */
		for (i = 0; i < 512; i++)
			if (block[i])
				return false;
		return true;
	}
	if (first >> 48 != number)
		return false;
	for (i = 0; i < 512; i++)
		if (block[i] != (first ^ (uint64_t)(i % 3)))
			return false;
	return true;
}

static void *blocks_writer(struct worker *w)
{
	uint64_t *block = aligned_alloc(4096, BLOCKS * 4096), i, at;

	for (i = 1; i < 4000 / SCALE && !w->wrong[0]; i++) {
		uint64_t number = (uint64_t)rand_r(&w->seed) % BLOCKS, count = i % 8 ? 1 : 1 + (uint64_t)rand_r(&w->seed) % (BLOCKS - number);
		for (at = 0; at < count; at++)
			block_fill(block + at * 512, number + at, i << 2 | (unsigned)w->number);
		if (write_at(w->stand, w->node, block, count * 4096, (off_t)number * 4096) != (ssize_t)count * 4096)
			WRONG(w, "write");
		if (i % 200 == 0 && w->number == 0)
			set_size(w->stand, w->node, (off_t)(rand_r(&w->seed) % BLOCKS) * 4096);
	}
	*w->stop = true;
	free(block);
	return NULL;
}

static void *blocks_body(void *argument)
{
	struct worker *w = argument;
	uint64_t *block = aligned_alloc(4096, 4096);

	if (w->number < 2) {
		free(block);
		return blocks_writer(w);
	}
	while (!*w->stop && !w->wrong[0]) {
		uint64_t number = (uint64_t)rand_r(&w->seed) % BLOCKS;
		ssize_t got = read_at(w->stand, w->node, block, 4096, (off_t)number * 4096);
		if (got != 0 && got != 4096)
			WRONG(w, "a block of %zd bytes", got);
		if (got == 4096 && !block_whole(block, number))
			WRONG(w, "block %llu is a mixture: %llx", (unsigned long long)number, (unsigned long long)block[0]);
	}
	free(block);
	return NULL;
}

/* In the end cache and host agree. */
static const char *same_as_host(struct stand *stand, const char *directory, const char *name)
{
	size_t size = 4 << 20;
	char *ours = malloc(size), *theirs = malloc(size), path[4352];
	struct dc_node *node;
	ssize_t got, expected;
	int host;

	snprintf(path, sizeof path, "%s/%s", directory, name);
	host = open(path, O_RDONLY | O_CLOEXEC);
	expected = pread(host, theirs, size, 0);
	close(host);
	EXPECT(!find(stand, name, &node, NULL));
	got = read_at(stand, node, ours, size, 0);
	FORGET(stand, node, 1);
	if (got != expected || memcmp(ours, theirs, (size_t)got))
		return fault("%s: the stack reads %zd bytes, the host %zd%s", name, got, expected, got == expected ? ", with other data" : "");
	free(ours);
	free(theirs);
	return NULL;
}

static const char *shared_file(const char *modules, const char *shape, const char *directory, int threads, off_t size, void *(*body)(void *))
{
	struct worker workers[THREADS] = {0};
	_Atomic bool stop = false;
	struct stand stand;
	struct dc_node *node;
	const char *wrong;
	int i;

	stand_open(&stand, modules, shape, directory);
	node = make_file(&stand, "shared", 0, 0);
	set_size(&stand, node, size);
	for (i = 0; i < threads; i++)
		workers[i] = (struct worker){.stand = &stand, .node = node, .directory = directory, .seed = (unsigned)i + 5, .number = i, .stop = &stop};
	wrong = run_threads(workers, threads, body);
	drop_file(&stand, node);
	if (!wrong)
		wrong = same_as_host(&stand, directory, "shared");
	if (!wrong && stand_statistic(&stand, "cache", "residentBytes") > stand_statistic(&stand, "cache", "sizeBytes"))
		wrong = "the cache is larger than it was told";
	stand_close(&stand);
	return wrong;
}

static const char *stress_parts(const char *modules, const char *shape, const char *directory)
{
	return shared_file(modules, shape, directory, THREADS, THREADS * PART, parts_body);
}

static const char *stress_blocks(const char *modules, const char *shape, const char *directory)
{
	return shared_file(modules, shape, directory, THREADS, 0, blocks_body);
}

static const char *stress_models(const char *modules, const char *shape, const char *directory)
{
	return shared_file(modules, shape, directory, THREADS, 0, model_body);
}

/* ---- names ---------------------------------------------------------------------------------------------------------------- */
#define NAMES 12

static void *names_body(void *argument)
{
	struct worker *w = argument;
	struct dc_node *node;
	char a[32], b[32];
	int i;

	for (i = 0; i < 3000 / SCALE; i++) {
		snprintf(a, sizeof a, "n%d", rand_r(&w->seed) % NAMES);
		snprintf(b, sizeof b, "n%d", rand_r(&w->seed) % NAMES);
		switch (rand_r(&w->seed) % 8) {
		case 0:
			if (!CALL(w->stand, create, w->stand->root, a, 0600, O_RDWR, &node, NULL)) {
				write_at(w->stand, node, a, strlen(a), 0);
				drop_file(w->stand, node);
			}
			break;
		case 1: CALL(w->stand, unlink, w->stand->root, a); break;
		case 2: CALL(w->stand, rename, w->stand->root, a, w->stand->root, b, 0); break;
		case 3:
			if (!CALL(w->stand, mkdir, w->stand->root, a, 0700, &node, NULL))
				FORGET(w->stand, node, 1);
			break;
		case 4: CALL(w->stand, rmdir, w->stand->root, a); break;
		case 5:
			if (!find(w->stand, a, &node, NULL))
				CALL(w->stand, link, node, w->stand->root, b, NULL);
			if (node)
				FORGET(w->stand, node, 1);
			break;
		default: find_only(w->stand, a);
		}
	}
	return NULL;
}

static const char *names_agree(struct stand *stand, const char *directory)
{
	char name[32], path[4352];
	int i;

	for (i = 0; i < NAMES; i++) {
		struct dc_node *node;
		struct dc_attr attr;
		struct stat status;
		int ours, theirs;
		snprintf(name, sizeof name, "n%d", i);
		snprintf(path, sizeof path, "%s/%s", directory, name);
		ours = find(stand, name, &node, &attr);
		theirs = lstat(path, &status) ? -errno : 0;
		if (node)
			FORGET(stand, node, 1);
		if (ours != theirs)
			return fault("%s: the stack says %d, the host %d", name, ours, theirs);
		if (!ours && (attr.st.st_ino != status.st_ino || attr.st.st_mode != status.st_mode || attr.st.st_nlink != status.st_nlink || attr.st.st_size != status.st_size))
			return fault("%s: the stack's attributes are not the host's", name);
	}
	return NULL;
}

static const char *stress_names(const char *modules, const char *shape, const char *directory)
{
	struct worker workers[THREADS] = {0};
	struct stand stand;
	const char *wrong = NULL;
	int round, i;

	stand_open(&stand, modules, shape, directory);
	for (round = 0; round < 3 && !wrong; round++) {
		for (i = 0; i < THREADS; i++)
			workers[i] = (struct worker){.stand = &stand, .seed = (unsigned)(i + round * 10 + 3), .number = i};
		wrong = run_threads(workers, THREADS, names_body);
		if (!wrong)
			wrong = names_agree(&stand, directory);
	}
	stand_close(&stand);
	return wrong;
}

/* ---- appends from many sides ---------------------------------------------------------------------------------------------- */
static void *append_body(void *argument)
{
	struct worker *w = argument;
	uint64_t record[16];
	off_t offset;
	int i, j;

	for (i = 1; i <= 1000 / SCALE && !w->wrong[0]; i++) {
		struct iovec vector = {record, sizeof record};
		uint64_t back[16];
		for (j = 0; j < 16; j++)
			record[j] = (uint64_t)w->number << 32 | (unsigned)i;
		if (CALL(w->stand, write, w->node, &vector, 1, &offset, DC_IO_APPEND) != sizeof record || offset % (off_t)sizeof record)
			WRONG(w, "append");
		if (read_at(w->stand, w->node, back, sizeof back, offset) != sizeof back || memcmp(back, record, sizeof back))
			WRONG(w, "what was appended at %lld is not there", (long long)offset);
	}
	return NULL;
}

static const char *stress_appends(const char *modules, const char *shape, const char *directory)
{
	return shared_file(modules, shape, directory, THREADS, 0, append_body);
}

const struct special stresses[] = {
	{"stress_models", stress_models, NULL},
	{"stress_parts", stress_parts, NULL},
	{"stress_blocks", stress_blocks, "cache cache-passthrough cache-small cache-ttl0"}, /* the host's own reads may mix with a write */
	{"stress_names", stress_names, NULL},
	{"stress_appends", stress_appends, NULL},
};
const size_t stress_count = sizeof stresses / sizeof stresses[0];
