/*
 * addresses.c - pointers of the program's that cannot be any: the kernel answers EFAULT to them where we would die.
 *
 * Nobody can be asked about every pointer: a system call takes several times as long as a cached read. But what programs (and their tests) pass wrongly is NULL, a small number, -1 or some
 * 0xdeadc0de, and next to nothing of a position-independent program lies in the first 4 GiB. Of others their data and their heap do: of those the pages that were found mapped are remembered. One
 * that is unmapped later is not noticed, nor is what points anywhere else: SIGSEGV, as in a call of libc's that does not go to the kernel.
 */
#include "internal.h"

#include <sys/mman.h>

#define PLACES 128u

static _Atomic uintptr_t mapped[PLACES]; /* page numbers */

bool dc_address_is_bad(uintptr_t address) {
	uintptr_t page = address >> 12;
	_Atomic uintptr_t *place = &mapped[page % PLACES];
	if (page && atomic_load_explicit(place, memory_order_relaxed) == page) return false;
	unsigned char resident;
	if (!page || dc_raw6(SYS_mincore, (long)(page << 12), 1, (long)&resident, 0, 0, 0) == -ENOMEM) return true;
	atomic_store_explicit(place, page, memory_order_relaxed);
	return false;
}
