/*
 * copy.h - which routine copies data: one per size class and direction, chosen for this machine (`diciclo tune`, native/ipc/copy.c). Without a choice it is libc's memcpy.
 */
#ifndef DICICLO_COPY_H
#define DICICLO_COPY_H

#include <stdatomic.h>
#include <stddef.h>

/* As memcpy: no overlap. */
typedef void *dc_copy_function(void *restrict to, const void *restrict from, size_t bytes);

/* Who copies, and in whose cache the other end is. */
enum dc_copy_direction {
	DC_COPY_TO_SHARED,   /* a client: its own memory -> shared memory that the service has read last */
	DC_COPY_FROM_SHARED, /* a client: shared memory that the service has just written -> its own memory */
	DC_COPY_WITHIN,      /* the service: shared memory <-> pages of a cache */
	DC_COPY_FROM_CACHE,  /* a client: pages of a cache, which it may have read before -> its own memory */
	DC_COPY_DIRECTIONS
};

#define DC_COPY_CLASSES 5u
static inline unsigned dc_copy_class(size_t bytes) {
	if (bytes <= 4096) return bytes > 512;
	return 2u + (bytes > 65536) + (bytes > 262144);
}

/* The choice as functions. It may be made anew at any time, so each entry is read once. */
struct dc_copier {
	_Atomic(dc_copy_function *) call[DC_COPY_DIRECTIONS][DC_COPY_CLASSES];
};

static inline void dc_copy(const struct dc_copier *copier, enum dc_copy_direction direction, void *restrict to, const void *restrict from, size_t bytes) {
	atomic_load_explicit(&copier->call[direction][dc_copy_class(bytes)], memory_order_relaxed)(to, from, bytes);
}

#endif
