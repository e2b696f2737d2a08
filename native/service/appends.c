/*
 * appends.c - an append is one write, whichever door it comes through (POSIX.1-2017 write, O_APPEND).
 *
 * The kernel's writes to a FUSE file go through its page cache, and where it has only written a part of a page that it had not read it ends the request there (fuse_fill_write_pages): an append across
 * the end of such a page comes as two. Meanwhile it holds the inode's lock, which keeps everybody out who comes through the kernel, but not the library. So after a request that ends with a page in such
 * a way the library's appends to that file wait until the rest has come, or for dc_append_hold_us: nothing says that there is a rest.
 *
 * One word for each file (core.appends): how many appends of the library are under way, and above that until when they are held back, in microseconds; 0: they are not.
 */
#include "appends.h"

#include <time.h>

#include "instance.h"

#define UNDER_WAY_BITS 16
#define UNDER_WAY ((UINT64_C(1) << UNDER_WAY_BITS) - 1)
#define UNTIL_RELEASED (UINT64_MAX >> UNDER_WAY_BITS)
#define LOOK_NS 20000

_Atomic unsigned dc_append_hold_us = 10000;

static uint64_t now_us(void) { return dc_now_ns() / 1000; }

static void pause_a_little(void) { nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL); }

/* Whether they are held back. `seen`: what the word says then. */
static bool is_held(struct dc_node *node, uint64_t *seen) {
	uint64_t until = *seen >> UNDER_WAY_BITS;
	if (!until) return false;
	if (until == UNTIL_RELEASED || now_us() <= until) return true;
	if (atomic_compare_exchange_strong(&node->core.appends, seen, *seen & UNDER_WAY)) *seen &= UNDER_WAY;
	return *seen >> UNDER_WAY_BITS;
}

void dc_append_begin(struct dc_node *node) {
	uint64_t seen = atomic_load(&node->core.appends);
	for (;;) {
		if (is_held(node, &seen)) {
			pause_a_little();
			seen = atomic_load(&node->core.appends);
		} else if (atomic_compare_exchange_strong(&node->core.appends, &seen, seen + 1)) {
			return;
		}
	}
}

void dc_append_end(struct dc_node *node) { atomic_fetch_sub(&node->core.appends, 1); }

bool dc_append_hold(struct dc_node *node, bool more) {
	uint64_t seen = atomic_load(&node->core.appends);
	do {
		if (!is_held(node, &seen) && !more) return false;
	} while (!atomic_compare_exchange_strong(&node->core.appends, &seen, UNTIL_RELEASED << UNDER_WAY_BITS | (seen & UNDER_WAY)));
	uint64_t last = now_us() + dc_append_hold_us; /* one that takes longer is not waited for: it may wait for what the kernel has locked */
	while ((atomic_load(&node->core.appends) & UNDER_WAY) && now_us() < last) pause_a_little();
	return true;
}

void dc_append_release(struct dc_node *node, bool more) {
	uint64_t until = more ? now_us() + dc_append_hold_us : 0, seen = atomic_load(&node->core.appends);
	while (!atomic_compare_exchange_strong(&node->core.appends, &seen, until << UNDER_WAY_BITS | (seen & UNDER_WAY))) continue;
}
