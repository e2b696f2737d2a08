/*
 * ground.h - what the fuzz targets stand on: bytes as values, a tmpfs of their own, the service's parts in this process. libFuzzer drives them (`npm run fuzz -- TARGET`).
 */
#ifndef DICICLO_FUZZ_GROUND_H
#define DICICLO_FUZZ_GROUND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is left of an input. Beyond its end everything is zero. */
struct bytes {
	const uint8_t *at, *end;
};
uint64_t take_number(struct bytes *bytes, unsigned size);
/* At most `limit` bytes, their count first (one byte). */
size_t take_text(struct bytes *bytes, const uint8_t **text, size_t limit);
/* A number as it matters: small, near a border, or any. */
uint64_t take_length(struct bytes *bytes);

/* A directory on a tmpfs of 64 MiB in a mount namespace of this process's own; exits when that cannot be had. */
const char *fuzz_directory(void);
/* Everything below it goes, itself stays. */
void fuzz_clear(const char *path);
/* $DICICLO_MODULES */
const char *fuzz_modules(void);

#endif
