#include "ground.h"

#include <ftw.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

uint64_t take_number(struct bytes *bytes, unsigned size) {
	uint64_t number = 0;
	for (unsigned i = 0; i < size && bytes->at < bytes->end; i++) number |= (uint64_t)*bytes->at++ << (8 * i);
	return number;
}

size_t take_text(struct bytes *bytes, const uint8_t **text, size_t limit) {
	size_t size = take_number(bytes, 1), there = (size_t)(bytes->end - bytes->at);
	if (size > there) size = there;
	if (size > limit) size = limit;
	*text = bytes->at;
	bytes->at += size;
	return size;
}

uint64_t take_length(struct bytes *bytes) {
	static const uint64_t borders[] = {4095, 4096, 65535, 65536, 1u << 20, (1u << 20) + 1, INT32_MAX, UINT32_MAX, INT64_MAX, UINT64_MAX, UINT64_MAX - 4095, UINT64_C(1) << 56};
	uint8_t kind = (uint8_t)take_number(bytes, 1);
	if (kind < 128) return kind;
	if (kind < 192) return borders[kind % (sizeof borders / sizeof *borders)];
	return take_number(bytes, 1 + kind % 8);
}

/* /mnt: corpora and artifacts, which libFuzzer writes, are elsewhere. */
const char *fuzz_directory(void) {
	static bool mounted;
	if (mounted) return "/mnt";
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount("tmpfs", "/mnt", "tmpfs", 0, "size=64m,mode=755")) {
		perror("a mount namespace with a tmpfs");
		exit(77);
	}
	mounted = true;
	return "/mnt";
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk) {
	(void)st, (void)type;
	return walk->level ? remove(path) : 0;
}

void fuzz_clear(const char *path) {
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *fuzz_modules(void) {
	const char *modules = getenv("DICICLO_MODULES");
	if (modules) return modules;
	fprintf(stderr, "DICICLO_MODULES names the directory of the libservices\n");
	exit(2);
}
