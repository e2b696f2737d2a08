/*
 * copy_test.c - every copy routine that this CPU has: sizes around each vector's and class's borders, alignments of both ends, guard pages before and behind both, and nothing else written.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "copy.h"

#define ROOM (3u << 20)
#define PAGE 4096u
#define CANARY 0xa5

static unsigned char *source, *target;
static unsigned long checks;

/* Memory with a page on either side that nobody may touch. */
static unsigned char *guarded(void) {
	unsigned char *at = mmap(NULL, ROOM + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED || mprotect(at + PAGE, ROOM, PROT_READ | PROT_WRITE)) {
		perror("guard pages");
		exit(1);
	}
	return at + PAGE;
}

static void fail(const char *what, const char *name, size_t size, size_t from, size_t to) {
	fprintf(stderr, "%s: %s, %zu bytes from %zu to %zu\n", name, what, size, from, to);
	exit(1);
}

static void check(dc_copy_function *routine, const char *name, size_t size, size_t from, size_t to) {
	size_t before = to < 128 ? to : 128, behind = ROOM - to - size < 128 ? ROOM - to - size : 128;
	memset(target + to - before, CANARY, before + size + behind);
	if (routine(target + to, source + from, size) != target + to) fail("did not answer its target", name, size, from, to);
	if (memcmp(target + to, source + from, size)) fail("copied something else", name, size, from, to);
	for (size_t i = 0; i < before; i++)
		if (target[to - before + i] != CANARY) fail("wrote before its target", name, size, from, to);
	for (size_t i = 0; i < behind; i++)
		if (target[to + size + i] != CANARY) fail("wrote behind its target", name, size, from, to);
	checks++;
}

static void check_size(dc_copy_function *routine, const char *name, size_t size) {
	static const size_t shifts[] = {0, 1, 3, 8, 15, 16, 17, 31, 32, 33, 48, 63};
	size_t count = sizeof shifts / sizeof *shifts, step = size > 100000 ? 5 : size > 5000 ? 2 : 1;
	for (size_t i = 0; i < count; i += step)
		for (size_t k = 0; k < count; k += step) check(routine, name, size, 4096 + shifts[i], 8192 + shifts[k]);
	check(routine, name, size, 0, 0);
	check(routine, name, size, ROOM - size, ROOM - size);
	check(routine, name, size, 0, ROOM - size);
	check(routine, name, size, ROOM - size, 0);
	for (size_t shift = 1; shift < 64; shift += 9) {
		check(routine, name, size, ROOM - size, shift);
		check(routine, name, size, shift, ROOM - size);
	}
}

static void check_routine(dc_copy_function *routine, const char *name) {
	static const size_t borders[] = {320, 384, 512, 576, 640, 1024, 2048, 4096, 8192, 65536, 262144, 1048576, 2097152};
	for (size_t size = 0; size <= 260; size++) check_size(routine, name, size);
	for (size_t i = 0; i < sizeof borders / sizeof *borders; i++)
		for (size_t size = borders[i] - 1; size <= borders[i] + 1; size++) check_size(routine, name, size);
}

static unsigned failures;
#define EXPECT(condition) ((condition) ? (void)0 : (void)(failures++, fprintf(stderr, "line %d: %s\n", __LINE__, #condition)))

static void *stand_in(void *restrict to, const void *restrict from, size_t size) {
	return memcpy(to, from, size);
}

/* What is not known, or not this CPU's, becomes libc's. */
static void check_binding(void) {
	struct dc_copier copier;
	struct dc_copy_choice choice;
	uint32_t features = dc_copy_features();
	dc_copier_bind(&copier, NULL, stand_in);
	for (unsigned i = 0; i < DC_COPY_DIRECTIONS; i++)
		for (unsigned k = 0; k < DC_COPY_CLASSES; k++) EXPECT(copier.call[i][k] == stand_in);
	for (unsigned number = 0; number < 256; number++) {
		memset(&choice, (int)number, sizeof choice);
		dc_copier_bind(&copier, &choice, stand_in);
		dc_copy_function *expected = number < DC_COPY_ROUTINES ? dc_copy_routine(number, features, stand_in) : stand_in;
		EXPECT(copier.call[DC_COPY_WITHIN][DC_COPY_CLASSES - 1] == (expected ? expected : stand_in));
		EXPECT((dc_copy_name(number) != NULL) == (number < DC_COPY_ROUTINES) || number < DC_COPY_ROUTINES);
	}
	for (unsigned number = 1; number < DC_COPY_ROUTINES; number++)
		if (number != DC_COPY_SSE2_4) EXPECT(dc_copy_routine(number, 0, stand_in) == NULL);
	EXPECT(dc_copy_routine(UINT32_MAX, UINT32_MAX, stand_in) == NULL);
	for (unsigned class = 0; class < DC_COPY_CLASSES; class++) {
		size_t limit = dc_copy_class_limit(class);
		EXPECT((limit == 0) == (class == DC_COPY_CLASSES - 1));
		if (limit) EXPECT(dc_copy_class(limit) == class && dc_copy_class(limit + 1) == class + 1);
	}
	EXPECT(dc_copy_class(0) == 0 && dc_copy_class(SIZE_MAX) == DC_COPY_CLASSES - 1);
}

int main(void) {
	uint32_t features = dc_copy_features(), random = 12345;
	source = guarded();
	target = guarded();
	for (size_t i = 0; i < ROOM; i++) source[i] = (unsigned char)((random = random * 1664525 + 1013904223) >> 24);
	unsigned tried = 0;
	for (unsigned number = 0; number < DC_COPY_ROUTINES; number++) {
		dc_copy_function *routine = dc_copy_routine(number, features, memcpy);
		if (!routine) {
			printf("not on this CPU: %s\n", dc_copy_name(number) ? dc_copy_name(number) : "?");
			continue;
		}
		check_routine(routine, dc_copy_name(number));
		tried++;
	}
	check_binding();
	printf("%u routines, %lu copies\n", tried, checks);
	return failures || tried < 1;
}
