/*
 * leases.h - reading the service's cache where it lies (trust: pool). What is remembered of a page is where it is and its generation: as long as the generation has not moved, the page holds
 * what the file holds, and a read needs no request. See docs/internals.md, "One copy, or none".
 */
#ifndef DICICLO_LIBRARY_LEASES_H
#define DICICLO_LIBRARY_LEASES_H

#include <diciclo/libservice.h>

#include "internal.h"

#define DC_LEASE_PAGE 4096u

struct dc_lease {
	const unsigned char *data;
	const _Atomic uint64_t *stamp;
	uint64_t generation;
};

/* Does the service that answers now tell where data lie? */
static inline bool dc_lease_given(struct dc_client *client) {
	return client->queue && atomic_load_explicit(&dc_arena_post(client->arena)->lease_epoch, memory_order_relaxed);
}
/* After the copy: it was the file's. */
static inline bool dc_lease_holds(const struct dc_lease *lease) {
	return dc_generation_holds(lease->stamp, lease->generation);
}
static inline void dc_lease_count(struct dc_client *client) {
	atomic_fetch_add_explicit(&dc_arena_post(client->arena)->leased, 1, memory_order_relaxed);
}
/* Taken once per read. */
struct dc_lease_time {
	uint64_t now;
	uint32_t epoch;
};
struct dc_lease_time dc_lease_time(struct dc_client *client);
/* Page `page` of the file, of which the first `bytes` bytes are wanted. */
bool dc_lease_lookup(struct dc_file *file, uint64_t page, size_t bytes, struct dc_lease_time time, struct dc_lease *lease);
/* The place that an answer refers to; maps its region if need be. */
bool dc_lease_find_region(struct dc_file *file, const struct dc_reference *reference, struct dc_lease *lease);
/* A region, mapped if need be; stays mapped until the process ends. NULL: not to be had now. */
const unsigned char *dc_lease_region(struct dc_client *client, uint32_t number, size_t *bytes);
void dc_lease_remember(struct dc_file *file, uint64_t page, const struct dc_lease *lease, uint32_t bytes, uint64_t until);

#endif
