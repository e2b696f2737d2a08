/*
 * copy.h - the routines that data may be copied by, and the choice among them. Libc only, nothing allocated, no state: the preloaded library is one of the users.
 */
#ifndef DICICLO_IPC_COPY_H
#define DICICLO_IPC_COPY_H

#include <diciclo/copy.h>

#include <stdbool.h>
#include <stdint.h>

/* Numbers stand in shared memory and names in profiles: only ever added to. */
enum dc_copy_routine {
	DC_COPY_LIBC,
	DC_COPY_MOVSB,
	DC_COPY_SSE2_4,
	DC_COPY_AVX2_4,
	DC_COPY_AVX2_8,
	DC_COPY_AVX2_4_AHEAD_512,
	DC_COPY_AVX2_4_AHEAD_1024,
	DC_COPY_AVX2_4_OWN_512,
	DC_COPY_AVX512_2,
	DC_COPY_AVX512_4,
	DC_COPY_AVX512_8,
	DC_COPY_AVX512_4_AHEAD_512,
	DC_COPY_AVX512_4_AHEAD_1024,
	DC_COPY_AVX512_4_OWN_512,
	DC_COPY_AVX2_4_NT,
	DC_COPY_AVX2_4_NT_AHEAD_512,
	DC_COPY_AVX512_4_NT,
	DC_COPY_AVX512_4_NT_AHEAD_512,
	DC_COPY_ROUTINES
};

/* A choice: numbers of routines, as it stands in an arena (segment.h) and in the profile. All zeros: libc's memcpy throughout. */
struct dc_copy_choice {
	uint8_t routine[DC_COPY_DIRECTIONS][DC_COPY_CLASSES];
};
_Static_assert(sizeof(struct dc_copy_choice) == 20, "choice layout");

uint32_t dc_copy_features(void); /* of this CPU: a few cpuid instructions, which cost microseconds in a virtual machine */
const char *dc_copy_name(unsigned routine); /* NULL: there is none of that number */
const char *dc_copy_direction_name(enum dc_copy_direction direction);
size_t dc_copy_class_limit(unsigned class); /* bytes; the last class has none: 0 */
/* NULL: unknown here, or not for this CPU. `libc`: its memcpy. */
dc_copy_function *dc_copy_routine(unsigned routine, uint32_t features, dc_copy_function *libc);
/* What of the choice is known here and fits this CPU; libc's memcpy for the rest, and throughout without a choice (NULL). The choice may be memory that others write. */
void dc_copier_bind(struct dc_copier *copier, const struct dc_copy_choice *choice, dc_copy_function *libc);
/* "AuthenticAMD 26.2.1 AMD EPYC": what a measurement holds for. */
#define DC_COPY_CPU_MAX 96u
void dc_copy_cpu(char out[DC_COPY_CPU_MAX]);

#endif
