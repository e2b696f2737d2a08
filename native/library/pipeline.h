/*
 * pipeline.h - long reads and writes in pieces: the service makes one while the library copies its neighbour. And the scatter list that pieces come from and go to.
 */
#ifndef DICICLO_LIBRARY_PIPELINE_H
#define DICICLO_LIBRARY_PIPELINE_H

#include "internal.h"

/* Measured: less leaves hand-overs between, more leaves the first and the last copy alone. A write's piece takes the service longer than a read's, so there is less to gain by small ones. */
#define DC_READ_PIECE (128u << 10)
#define DC_WRITE_PIECE (256u << 10)

struct dc_cursor {
	const struct iovec *iov;
	int left;
	size_t used; /* of iov[0] */
};
size_t dc_cursor_in(struct dc_cursor *cursor, void *shared, size_t size); /* from the list into shared memory; how much there was */
size_t dc_cursor_out(struct dc_cursor *cursor, enum dc_copy_direction direction, const void *shared, size_t size); /* and back: from a slot's buffer, or a cache's pages */

/* Two calls in turn, of which one at a time is in the service. So what is made is made in order, and nothing behind the first piece that failed or fell short. */
struct dc_pipeline {
	struct dc_file *file;
	struct dc_call call[2];
};
/* False: it would not pay (a worker on this very CPU), must not be cut in pieces (written durably, or past the cache), or there is no second slot. The transfers below end it. */
bool dc_pipeline_begin(struct dc_pipeline *pipeline, struct dc_file *file, enum dc_operation operation);
int64_t dc_pipeline_read(struct dc_pipeline *pipeline, struct dc_cursor *cursor, size_t size, off_t offset, bool place); /* bytes, or -errno when there are none */
int64_t dc_pipeline_write(struct dc_pipeline *pipeline, struct dc_cursor *cursor, size_t size, off_t offset, off_t *end);

/* ---- transfer.c: one request's parts ---- */
void dc_write_fill(struct dc_call *call, struct dc_cursor *cursor, size_t size, off_t offset);
int64_t dc_write_answer(struct dc_file *file, const struct dc_call *call, int64_t result, off_t *end);

#endif
