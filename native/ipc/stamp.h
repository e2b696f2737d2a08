/*
 * stamp.h - words by which whoever was told something knows whether it still holds: an instance's board of stamps, written by the service alone and mapped read-only by its clients
 * (docs/internals.md, "Answers under a lease").
 *
 * A stamp is {changes:48, under way:16}. Whoever changes what a stamp stands for adds to both before it changes anything, and takes itself off `under way` when the change is made and not
 * acknowledged yet. Whoever gives a lease reads the stamp before it reads what it will say, and gives none while a change is under way; so what was said holds for as long as the whole word is
 * what it was, and no longer than until somebody could have seen anything newer. A word of zero is never given: it is what a board is filled with, before its time and after.
 */
#ifndef DICICLO_IPC_STAMP_H
#define DICICLO_IPC_STAMP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "generation.h"

#define DC_STAMP_CHANGE (UINT64_C(1) << 16)
#define DC_STAMP_UNDER_WAY(word) ((word) & (DC_STAMP_CHANGE - 1))

static inline void dc_stamp_begin(_Atomic uint64_t *stamp) {
	atomic_fetch_add_explicit(stamp, DC_STAMP_CHANGE + 1, memory_order_seq_cst);
	DC_FENCE(memory_order_release); /* nothing of the change may be seen before */
}

static inline void dc_stamp_end(_Atomic uint64_t *stamp) {
	atomic_fetch_sub_explicit(stamp, 1, memory_order_seq_cst);
}

/* Before what it stands for is read: the word to be given, or 0: none now. */
static inline uint64_t dc_stamp_read(_Atomic uint64_t *stamp) {
	uint64_t word = atomic_load_explicit(stamp, memory_order_acquire);
	if (word == 0 && atomic_compare_exchange_strong_explicit(stamp, &word, DC_STAMP_CHANGE, memory_order_acq_rel, memory_order_acquire)) word = DC_STAMP_CHANGE;
	return DC_STAMP_UNDER_WAY(word) ? 0 : word;
}

static inline bool dc_stamp_holds(const _Atomic uint64_t *stamp, uint64_t given) {
	return atomic_load_explicit(stamp, memory_order_acquire) == given;
}

#endif
