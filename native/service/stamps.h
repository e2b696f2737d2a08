/*
 * stamps.h - leases on names and attributes (ipc/stamp.h, docs/internals.md, "Answers under a lease"): an outermost layer of an instance's stack, which both doors call, moves the stamps of
 * what an operation changes before it lets the operation through; and a trail, which notes the stamps of all that the answer to a request came from.
 *
 * Nobody is asked and nobody is waited for when a lease ends: a client that is dead, stopped or lying delays no change at all.
 * What is revoked: names made, removed, moved (the names, both directories' attributes, the attributes of what they named and name), attributes set, data written, copied, allocated, extended
 * attributes. Not: access times of reads, which `cache` does not tell at once either.
 */
#ifndef DICICLO_SERVICE_STAMPS_H
#define DICICLO_SERVICE_STAMPS_H

#include "instance.h"
#include "protocol.h"

struct dc_stamps;

/* The root to be used in place of `root`, or `root` itself where no leases are given: processes that do not trust each other, a stack whose answers may not be kept. */
struct dc_libservice *dc_stamps_wrap(struct dc_instance *instance, struct dc_libservice *root);
void dc_stamps_drop(struct dc_instance *instance); /* nobody calls it any more */

/* For changes that are not made by an operation of the stack: every lease on the node's attributes is void; every lease of the instance is. */
void dc_stamps_moved(struct dc_instance *instance, const struct dc_node *node);
void dc_stamps_moved_all(struct dc_instance *instance);

/* What an answer came from. Noted before it is looked at; a trail that cannot be followed has no `stamps`. */
struct dc_trail {
	struct dc_instance *instance;
	struct dc_stamps *stamps;
	struct dc_wire_lease lease;
};
void dc_trail_begin(struct dc_trail *trail, struct dc_instance *instance);
void dc_trail_name(struct dc_trail *trail, struct dc_node *parent, const char *name, size_t length);
void dc_trail_attributes(struct dc_trail *trail, struct dc_node *node);
static inline void dc_trail_lose(struct dc_trail *trail) {
	if (trail) trail->stamps = NULL;
}

#endif
