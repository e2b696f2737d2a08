/*
 * leases.h - reading the service's cache where it lies (trust: pool): the file's pages are found in the cache's own index (ipc/page_index.h), copied, and looked at again, so a read of what is
 * cached needs no request. See docs/internals.md, "One copy, or none".
 */
#ifndef DICICLO_LIBRARY_LEASES_H
#define DICICLO_LIBRARY_LEASES_H

#include <diciclo/libservice.h>

#include "internal.h"
#include "page_index.h"
#include "pipeline.h"

/* An index as this process has it mapped. */
struct dc_lease_index {
	uint32_t number; /* of its region */
	struct dc_index index;
	_Atomic(const unsigned char *) *block; /* where the blocks are mapped; NULL: not yet */
	_Atomic uint8_t *heat;                 /* NULL: there is none */
};

/* Does the service that answers now tell where data lie? */
static inline bool dc_lease_given(struct dc_client *client) {
	return client->queue && atomic_load_explicit(&dc_arena_post(client->arena)->lease_epoch, memory_order_relaxed);
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
/* What an OPEN, or a READ with DC_READ_PLACE, was answered: kept, once this process has read often enough that mapping the cache pays. */
void dc_lease_place(struct dc_file *file, uint64_t place);
/* *done: the bytes copied. True: that is all there is to read, or all that was asked for. */
bool dc_lease_read(struct dc_file *file, struct dc_cursor *cursor, size_t size, off_t offset, struct dc_lease_time time, size_t *done);
/* The same for what lies within one page of the file; counted. False: nothing has been read. */
bool dc_lease_read_page(struct dc_file *file, void *to, size_t size, off_t offset, size_t *done);
/* A region, mapped if need be; stays mapped until the process ends. NULL: not to be had now. */
const unsigned char *dc_lease_region(struct dc_client *client, uint32_t number, size_t *bytes);

#endif
