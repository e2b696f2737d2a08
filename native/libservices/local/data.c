/* data.c - reading and writing. Nothing is kept here: the host's page cache is the cache, unless a `cache` is stacked above. */
#include "local.h"

#include <limits.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define VECTORS_MAX 64

/* ---- open ----------------------------------------------------------------------------------------------------------------- */
int local_open(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, int flags)
{
	struct local *local = local_of(self);
	struct local_node *at = local_node_of(node);
	bool writes = (flags & O_ACCMODE) != O_RDONLY;
	int descriptor = local_use(local, at), result;

	if (descriptor < 0)
		return descriptor;
	at->opens++;
	at->write_opens += writes;
	result = local_raise(local, context, at, descriptor, writes ? LOCAL_WRITE : LOCAL_READ);
	if (result) {
		at->opens--;
		at->write_opens -= writes;
	}
	local_done(at);
	return result;
}

void local_close(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, int flags)
{
	struct local_node *at = local_node_of(node);
	bool last_writer = (flags & O_ACCMODE) != O_RDONLY && atomic_fetch_sub(&at->write_opens, 1) == 1;
	int descriptor;

	at->opens--;
	if (!last_writer || !at->executable)
		return;
	descriptor = local_use(local_of(self), at);
	if (descriptor < 0)
		return;
	local_lower(at, descriptor);
	local_done(at);
}

/* ---- scatter lists -------------------------------------------------------------------------------------------------------- */
struct cursor {
	const struct iovec *iov;
	int count;
	size_t skip; /* done of the first */
};

/* The next vectors of what is left; how many. */
static int cursor_take(const struct cursor *cursor, struct iovec *out)
{
	int count = cursor->count < VECTORS_MAX ? cursor->count : VECTORS_MAX;

	memcpy(out, cursor->iov, (size_t)count * sizeof *out);
	if (count) {
		out[0].iov_base = (char *)out[0].iov_base + cursor->skip;
		out[0].iov_len -= cursor->skip;
	}
	return count;
}

static void cursor_advance(struct cursor *cursor, size_t bytes)
{
	while (cursor->count && bytes >= cursor->iov->iov_len - cursor->skip) {
		bytes -= cursor->iov->iov_len - cursor->skip;
		cursor->skip = 0;
		cursor->iov++;
		cursor->count--;
	}
	cursor->skip += bytes;
}

static size_t vector_bytes(const struct iovec *iov, int count)
{
	size_t bytes = 0;
	int i;

	for (i = 0; i < count; i++)
		bytes += iov[i].iov_len;
	return bytes;
}

/* The host copies so much in a few microseconds. */
#define BRIEF_BYTES (32u << 10)

static int data_refusal(const struct dc_node *node)
{
	return S_ISREG(node->type) ? 0 : S_ISDIR(node->type) ? -EISDIR : -EINVAL;
}

/* ---- read and write ------------------------------------------------------------------------------------------------------- */
/* What the host has in memory is copied at once; only a read that must wait for a device is bracketed. */
static ssize_t read_some(struct dc_context *context, int descriptor, const struct iovec *iov, int count, off_t offset)
{
	ssize_t got = preadv2(descriptor, iov, count, offset, RWF_NOWAIT);

	if (got >= 0 && (size_t)got == vector_bytes(iov, count))
		return got;
	dc_block_begin(context);
	do
		got = preadv2(descriptor, iov, count, offset, 0);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		got = -errno;
	dc_block_end(context);
	return got;
}

ssize_t local_read(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const struct iovec *iov, int iovcnt, off_t offset, uint32_t flags)
{
	struct local *local = local_of(self);
	struct local_node *at = local_node_of(node);
	struct cursor cursor = {iov, iovcnt, 0};
	struct iovec vectors[VECTORS_MAX];
	ssize_t done = 0, got = data_refusal(node);
	int descriptor;

	if (got)
		return got;
	if (offset < 0)
		return -EINVAL;
	descriptor = local_use(local, at);
	if (descriptor < 0)
		return descriptor;
	got = local_raise(local, context, at, descriptor, LOCAL_READ);
	while (!got && cursor.count) {
		int count = cursor_take(&cursor, vectors);
		got = read_some(context, descriptor, vectors, count, offset + done);
		if (got <= 0)
			break;
		done += got;
		cursor_advance(&cursor, (size_t)got);
		got = 0;
	}
	local_done(at);
	atomic_fetch_add_explicit(&local->reads, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&local->bytes_read, (uint64_t)done, memory_order_relaxed);
	return done ? done : got;
}

/*
 * An append at offset -1 moves the descriptor's position to the end of what it wrote, wherever other writers of the host had put the end of the
 * file: the only exact way to learn where it went. The position is guarded by the node's lock.
 */
static ssize_t append_some(struct local_node *node, int descriptor, const struct iovec *iov, int count, int flags, off_t *offset)
{
	ssize_t put;
	off_t end;

	pthread_mutex_lock(&node->lock);
	put = pwritev2(descriptor, iov, count, -1, flags | RWF_APPEND);
	if (put < 0) {
		put = -errno;
	} else {
		end = lseek(descriptor, 0, SEEK_CUR);
		*offset = end - put;
	}
	pthread_mutex_unlock(&node->lock);
	return put;
}

static ssize_t write_some(struct local_node *node, int descriptor, const struct iovec *iov, int count, off_t *offset, uint32_t flags)
{
	int kernel_flags = (flags & DC_IO_DSYNC ? RWF_DSYNC : 0) | (flags & DC_IO_SYNC ? RWF_SYNC : 0);
	ssize_t put;

	if (flags & DC_IO_APPEND)
		return append_some(node, descriptor, iov, count, kernel_flags, offset);
	put = pwritev2(descriptor, iov, count, *offset, kernel_flags);
	return put < 0 ? -errno : put;
}

/* One more than VECTORS_MAX vectors of an append must not be split: another writer could come between. */
static ssize_t write_vectors(struct local_node *node, int descriptor, struct cursor *cursor, off_t *offset, uint32_t flags)
{
	struct iovec vectors[VECTORS_MAX];
	int count;

	if (flags & DC_IO_APPEND && cursor->count > VECTORS_MAX)
		return write_some(node, descriptor, cursor->iov, cursor->count < IOV_MAX ? cursor->count : IOV_MAX, offset, flags);
	count = cursor_take(cursor, vectors);
	return write_some(node, descriptor, vectors, count, offset, flags);
}

static ssize_t write_all(struct local *local, struct dc_context *context, struct local_node *node, int descriptor, struct cursor cursor, off_t *offset, uint32_t flags)
{
	ssize_t done = 0, put = 0;
	off_t at = *offset;

	while (cursor.count && put >= 0) {
		put = local_raise(local, context, node, descriptor, LOCAL_WRITE);
		if (put)
			break;
		if (flags & (DC_IO_DSYNC | DC_IO_SYNC | DC_IO_DIRECT) || vector_bytes(cursor.iov, cursor.count) > BRIEF_BYTES)
			dc_block_begin(context);
		else
			dc_block_begin_briefly(context);
		put = write_vectors(node, descriptor, &cursor, &at, flags);
		dc_block_end(context);
		if (put == -EINTR || (put == -EBADF && node->level != LOCAL_WRITE)) { /* lowered just now (local_lower) */
			put = 0;
			continue;
		}
		if (put <= 0)
			break;
		if (!done)
			*offset = at;
		done += put;
		at += put;
		cursor_advance(&cursor, (size_t)put);
		if (flags & DC_IO_APPEND)
			break; /* never split: what did not fit is the caller's to see */
	}
	return done ? done : put;
}

ssize_t local_write(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const struct iovec *iov, int iovcnt, off_t *offset, uint32_t flags)
{
	struct local *local = local_of(self);
	struct local_node *at = local_node_of(node);
	ssize_t result = data_refusal(node);
	int descriptor;

	if (result)
		return result;
	if (local->read_only)
		return -EROFS;
	if (!(flags & DC_IO_APPEND) && *offset < 0)
		return -EINVAL;
	descriptor = local_use(local, at);
	if (descriptor < 0)
		return descriptor;
	result = write_all(local, context, at, descriptor, (struct cursor){iov, iovcnt, 0}, offset, flags);
	if (result > 0)
		local_clear_set_id(context, at, descriptor);
	local_done(at);
	atomic_fetch_add_explicit(&local->writes, 1, memory_order_relaxed);
	if (result > 0)
		atomic_fetch_add_explicit(&local->bytes_written, (uint64_t)result, memory_order_relaxed);
	return result;
}

/* ---- the rest of the data calls ------------------------------------------------------------------------------------------- */
int local_fsync(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, bool data_only)
{
	struct local *local = local_of(self);
	struct local_node *at = local_node_of(node);
	int descriptor = local_use(local, at), result;

	if (descriptor < 0)
		return descriptor;
	result = S_ISREG(node->type) || S_ISDIR(node->type) ? local_raise(local, context, at, descriptor, LOCAL_READ) : -EINVAL;
	if (!result) {
		dc_block_begin(context);
		result = (data_only ? fdatasync(descriptor) : fsync(descriptor)) ? -errno : 0;
		dc_block_end(context);
	}
	local_done(at);
	atomic_fetch_add_explicit(&local->syncs, 1, memory_order_relaxed);
	return result;
}

int local_fallocate(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, int mode, off_t offset, off_t length)
{
	struct local *local = local_of(self);
	struct local_node *at = local_node_of(node);
	int descriptor, result = S_ISREG(node->type) ? 0 : S_ISDIR(node->type) ? -EISDIR : -ENODEV;

	if (result)
		return result;
	descriptor = local_use(local, at);
	if (descriptor < 0)
		return descriptor;
	do {
		result = local_raise(local, context, at, descriptor, LOCAL_WRITE);
		if (result)
			break;
		dc_block_begin(context);
		result = fallocate(descriptor, mode, offset, length) ? -errno : 0;
		dc_block_end(context);
	} while (result == -EINTR || (result == -EBADF && at->level != LOCAL_WRITE));
	if (!result)
		local_clear_set_id(context, at, descriptor);
	local_done(at);
	return result;
}

off_t local_seek(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, off_t offset, int whence)
{
	struct local *local = local_of(self);
	struct local_node *at = local_node_of(node);
	off_t result = data_refusal(node);
	int descriptor;

	if (result)
		return result;
	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return -EINVAL;
	descriptor = local_use(local, at);
	if (descriptor < 0)
		return descriptor;
	result = local_raise(local, context, at, descriptor, LOCAL_READ);
	if (!result) {
		dc_block_begin_briefly(context);
		pthread_mutex_lock(&at->lock); /* it moves the position that appends read */
		result = lseek(descriptor, offset, whence);
		if (result < 0)
			result = -errno;
		pthread_mutex_unlock(&at->lock);
		dc_block_end(context);
	}
	local_done(at);
	return result;
}

static ssize_t copy_between(struct local *local, struct dc_context *context, struct local_node *from, int source, off_t from_offset, struct local_node *to, int target,
                            off_t to_offset, size_t length)
{
	ssize_t result;

	do {
		result = local_raise(local, context, from, source, LOCAL_READ);
		if (!result)
			result = local_raise(local, context, to, target, LOCAL_WRITE);
		if (result)
			return result;
		dc_block_begin(context);
		result = copy_file_range(source, &from_offset, target, &to_offset, length, 0);
		if (result < 0)
			result = -errno;
		dc_block_end(context);
	} while (result == -EINTR || (result == -EBADF && to->level != LOCAL_WRITE));
	if (result > 0)
		local_clear_set_id(context, to, target);
	return result;
}

ssize_t local_copy(struct dc_libservice *self, struct dc_context *context, struct dc_node *from, off_t from_offset, struct dc_node *to, off_t to_offset, size_t length)
{
	struct local *local = local_of(self);
	int source, target;
	ssize_t result = data_refusal(from) ? data_refusal(from) : data_refusal(to);

	if (result)
		return result;
	source = local_use(local, local_node_of(from));
	if (source < 0)
		return source;
	target = local_use(local, local_node_of(to));
	if (target >= 0) {
		result = copy_between(local, context, local_node_of(from), source, from_offset, local_node_of(to), target, to_offset, length);
		local_done(local_node_of(to));
	} else {
		result = target;
	}
	local_done(local_node_of(from));
	return result;
}
