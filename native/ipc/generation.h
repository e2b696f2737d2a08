/*
 * generation.h - the word beside a page of cached data that tells readers without a lock whether what they copied is what the page held: odd while the page changes, never the same again after.
 * One writer at a time (the cache sees to that); readers anywhere, in the service and in clients that map the page.
 *   reader   value = dc_generation_read(); odd: not now. Copy. dc_generation_holds(value), or throw the copy away.
 */
#ifndef DICICLO_IPC_GENERATION_H
#define DICICLO_IPC_GENERATION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* The thread sanitizer knows no fences; it is kept from seeing what they order. */
#if defined(__SANITIZE_THREAD__)
#define DC_FENCE(order) ((void)0)
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define DC_FENCE(order) ((void)0)
#endif
#endif
#ifndef DC_FENCE
#define DC_FENCE(order) atomic_thread_fence(order)
#endif

static inline void dc_generation_begin(_Atomic uint64_t *generation) {
	uint64_t value = atomic_load_explicit(generation, memory_order_relaxed);
	if (!(value & 1)) atomic_exchange_explicit(generation, value + 1, memory_order_seq_cst);
	DC_FENCE(memory_order_release); /* nothing that changes the page may become visible before */
}

static inline void dc_generation_end(_Atomic uint64_t *generation) {
	atomic_store_explicit(generation, atomic_load_explicit(generation, memory_order_relaxed) + 1, memory_order_release);
}

static inline uint64_t dc_generation_read(const _Atomic uint64_t *generation) {
	return atomic_load_explicit(generation, memory_order_acquire);
}

/* After the copy: it was the page's. */
static inline bool dc_generation_holds(const _Atomic uint64_t *generation, uint64_t value) {
	DC_FENCE(memory_order_acquire); /* nothing of the copy may be read after */
	return atomic_load_explicit(generation, memory_order_relaxed) == value;
}

#endif
