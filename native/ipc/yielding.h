/*
 * yielding.h - waiting for a peer on the same CPU by giving it the CPU: a yield on either side costs what the two switches cost, where sleeping takes a futex wait and a wake on either side besides.
 *
 * It pays only while the peer is the one who gets the CPU, and soon. So one yields a few times at most, then sleeps; and learns: each time that nothing came it sleeps at once for twice as many waits,
 * up to 255, and for thousands when somebody else ran for a time slice meanwhile. For who yields goes behind everybody who wants this CPU, at each call; who sleeps and is woken does not.
 *
 * By no hooked operation (native/test/ipc/sim): no order depends on what was learned, and threads of a client may learn at the same time.
 */
#ifndef DICICLO_IPC_YIELDING_H
#define DICICLO_IPC_YIELDING_H

#include <sched.h>
#include <stdbool.h>

#include "waiting.h"

/* Once for the peer to run, once more should another have been next. */
#ifndef DC_YIELDS /* tests look through fewer orders */
#define DC_YIELDS 2u
#endif
#define DC_YIELD_NEVER UINT32_MAX /* as `skip`: tests */
#define DC_YIELD_SKIP_MAX 255u
#define DC_YIELD_SLICE_US 1000u /* beyond, somebody had a time slice */
#define DC_YIELD_PAYS_US 200u   /* for a worker: beyond, what a yield saves is little beside how long requests from other CPUs may have waited for it */
#define DC_YIELD_SLICE_SKIP 1023u
#define DC_YIELD_SLICE_SKIP_MAX 16383u

struct dc_yielding {
	uint32_t skip; /* so many waits sleep at once */
	uint32_t last; /* how many it was the last time that it did not pay; 0: it does */
};

static inline bool dc_yield_pays(struct dc_yielding *yielding) {
	uint32_t skip = __atomic_load_n(&yielding->skip, __ATOMIC_RELAXED);
	if (skip && skip != DC_YIELD_NEVER) __atomic_store_n(&yielding->skip, skip - 1, __ATOMIC_RELAXED);
	return !skip;
}

/* After a wait that began with yields: whether what was waited for came, how long it took, and how long it may take to pay. */
static inline void dc_yield_learn(struct dc_yielding *yielding, bool came, uint64_t ticks, unsigned pays_us) {
	uint32_t last = __atomic_load_n(&yielding->last, __ATOMIC_RELAXED), rate = dc_ticks_per_us();
	uint32_t least = 0, most = DC_YIELD_SKIP_MAX;
	if (came && ticks <= (uint64_t)pays_us * rate) {
		if (last) __atomic_store_n(&yielding->last, 0, __ATOMIC_RELAXED);
		return;
	}
	if (ticks > (uint64_t)DC_YIELD_SLICE_US * rate) {
		least = DC_YIELD_SLICE_SKIP;
		most = DC_YIELD_SLICE_SKIP_MAX;
	}
	last = 2 * last + 1 < least ? least : 2 * last + 1 > most ? most : 2 * last + 1;
	__atomic_store_n(&yielding->last, last, __ATOMIC_RELAXED);
	__atomic_store_n(&yielding->skip, last, __ATOMIC_RELAXED);
}

#endif
