#include "pipeline.h"
#include "leases.h"

#include <sched.h>

/* ---- scatter lists ------------------------------------------------------------------------------------------------------------- */
/* The next bytes that lie together: how many of `size`, and where. */
static size_t next_part(struct dc_cursor *cursor, size_t size, unsigned char **at) {
	size_t part = cursor->iov->iov_len - cursor->used;
	*at = (unsigned char *)cursor->iov->iov_base + cursor->used;
	if (part > size) part = size;
	cursor->used += part;
	if (cursor->used == cursor->iov->iov_len) {
		cursor->iov++;
		cursor->left--;
		cursor->used = 0;
	}
	return part;
}

size_t dc_cursor_in(struct dc_cursor *cursor, void *shared, size_t size) {
	size_t done = 0;
	while (done < size && cursor->left) {
		unsigned char *user;
		size_t part = next_part(cursor, size - done, &user);
		if (part) dc_copy(&dc_copier, DC_COPY_TO_SHARED, (unsigned char *)shared + done, user, part);
		done += part;
	}
	return done;
}

size_t dc_cursor_out(struct dc_cursor *cursor, enum dc_copy_direction direction, const void *shared, size_t size) {
	size_t done = 0;
	while (done < size && cursor->left) {
		unsigned char *user;
		size_t part = next_part(cursor, size - done, &user);
		if (part) dc_copy(&dc_copier, direction, user, (const unsigned char *)shared + done, part);
		done += part;
	}
	return done;
}

/* ---- pieces -------------------------------------------------------------------------------------------------------------------- */
/* Up to where a page begins, so that only the first and the last piece may have parts of pages. */
static size_t piece_at(off_t offset, size_t left, size_t most) {
	size_t piece = most - (size_t)offset % 4096;
	return left < piece ? left : piece;
}

bool dc_pipeline_begin(struct dc_pipeline *pipeline, struct dc_file *file, enum dc_operation operation) {
	if (file->flags & (O_SYNC | O_DSYNC | O_DIRECT)) return false;
	if (atomic_load_explicit(file->client->worker_cpu, memory_order_relaxed) == (uint32_t)sched_getcpu()) return false;
	pipeline->file = file;
	dc_call_begin(&pipeline->call[0], file->client, operation, file->instance, file->handle);
	if (dc_call_beside(&pipeline->call[1], &pipeline->call[0])) return true;
	dc_call_end(&pipeline->call[0]);
	return false;
}

static int64_t end(struct dc_pipeline *pipeline, size_t done, int64_t result) {
	dc_call_end(&pipeline->call[1]);
	dc_call_end(&pipeline->call[0]);
	return result >= 0 ? (int64_t)done + result : done ? (int64_t)done : result;
}

int64_t dc_pipeline_write(struct dc_pipeline *pipeline, struct dc_cursor *cursor, size_t size, off_t offset, off_t *last) {
	struct dc_call *call = &pipeline->call[0], *other = &pipeline->call[1];
	size_t done = 0, part = piece_at(offset, size, DC_WRITE_PIECE);
	dc_write_fill(call, cursor, part, offset);
	for (;;) {
		dc_call_start(call);
		size_t next = piece_at(offset + (off_t)(done + part), size - done - part, DC_WRITE_PIECE);
		if (next) dc_write_fill(other, cursor, next, offset + (off_t)(done + part));
		int64_t result = dc_write_answer(pipeline->file, call, dc_call_await(call), last);
		if (result < (int64_t)part || !next) return end(pipeline, done, result);
		done += part;
		part = next;
		struct dc_call *made = call;
		call = other;
		other = made;
	}
}

static void ask(struct dc_call *call, size_t size, off_t offset, bool place) {
	call->slot->offset = (uint64_t)offset;
	call->slot->length = size;
	call->slot->flags = place ? DC_READ_PLACE : 0;
	dc_call_start(call);
}

static int64_t answer(struct dc_call *call, size_t size) {
	int64_t result = dc_call_await(call);
	return result > (int64_t)size ? -EIO : result;
}

int64_t dc_pipeline_read(struct dc_pipeline *pipeline, struct dc_cursor *cursor, size_t size, off_t offset, bool place) {
	struct dc_call *call = &pipeline->call[0], *other = &pipeline->call[1];
	size_t done = 0, part = piece_at(offset, size, DC_READ_PIECE);
	ask(call, part, offset, place);
	for (;;) {
		off_t at = offset + (off_t)done;
		int64_t result = answer(call, part);
		size_t next = result < (int64_t)part ? 0 : piece_at(at + (off_t)part, size - done - part, DC_READ_PIECE);
		if (next) ask(other, next, at + (off_t)part, false);
		if (result > 0) dc_cursor_out(cursor, DC_COPY_FROM_SHARED, call->buffer, (size_t)result);
		if (result >= 0 && place) dc_lease_place(pipeline->file, call->slot->value[0]);
		place = false;
		if (next && result < (int64_t)part) dc_call_await(other); /* the file has become shorter meanwhile: its slot must be answered before it is given back */
		if (result < (int64_t)part || !next) return end(pipeline, done, result);
		done += part;
		part = next;
		struct dc_call *taken = call;
		call = other;
		other = taken;
	}
}
