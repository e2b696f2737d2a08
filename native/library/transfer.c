/*
 * transfer.c - reads and writes of carried descriptions: from the cache's pages, by posting, by one request, or in pieces (pipeline.c).
 *
 * The offset of a description that this process alone has is kept here, under the description's lock as POSIX wants (two reads of one description never get the same bytes). An append is one,
 * and one request: longer than a buffer (1 MiB), it takes several slots' buffers. Beyond GATHER_MAX of them, or where other threads have them, it is several appends.
 */
#include "internal.h"
#include "leases.h"
#include "pipeline.h"

#include <limits.h>

#define TRANSFER_MAX 0x7ffff000 /* as Linux */
#define POST_REACH (INT64_C(1) << 40) /* any file system takes so large a file; a write beyond is not acknowledged before it has been accepted */

/* `place`: the answer shall tell where the file's pages are found without one. */
static int64_t read_request(struct dc_file *file, struct dc_cursor *cursor, size_t size, off_t offset, bool place) {
	struct dc_call call;
	dc_call_begin(&call, file->client, DC_OP_READ, file->instance, file->handle);
	call.slot->offset = (uint64_t)offset;
	call.slot->length = size;
	if (place) call.slot->flags = DC_READ_PLACE;
	int64_t result = dc_call_send(&call);
	if (result > (int64_t)size) result = -EIO;
	if (result >= 0 && place) dc_lease_place(file, call.slot->value[0]);
	if (result > 0) dc_cursor_out(cursor, DC_COPY_FROM_SHARED, call.buffer, (size_t)result);
	dc_call_end(&call);
	return result;
}

/* By one request, or many, each made while the one before is copied. *size: what was asked for in the end. */
static int64_t read_asked(struct dc_file *file, struct dc_cursor *cursor, size_t *size, off_t offset, bool place) {
	struct dc_pipeline pipeline;
	if (*size > DC_READ_PIECE && dc_pipeline_begin(&pipeline, file, DC_OP_READ)) return dc_pipeline_read(&pipeline, cursor, *size, offset, place);
	if (*size > DC_BUFFER_SIZE) *size = DC_BUFFER_SIZE;
	return read_request(file, cursor, *size, offset, place);
}

/* Without a request as far as that goes; else through the buffer. */
static int64_t read_piece(struct dc_file *file, struct dc_cursor *cursor, size_t *size, off_t offset) {
	if (!dc_lease_given(file->client)) return read_asked(file, cursor, size, offset, false);
	struct dc_lease_time time = dc_lease_time(file->client);
	size_t done;
	if (dc_lease_read(file, cursor, *size, offset, time, &done)) {
		dc_lease_count(file->client);
		return (int64_t)done;
	}
	size_t left = *size - done;
	int64_t result = read_asked(file, cursor, &left, offset + (off_t)done, atomic_load_explicit(&file->lease_epoch, memory_order_relaxed) != time.epoch);
	*size = done + left;
	return result >= 0 ? (int64_t)done + result : done ? (int64_t)done : result;
}

/* Into the ring, where the instance writes back and the service has granted it: done when it lies there. */
static bool post_piece(struct dc_file *file, struct dc_cursor *cursor, size_t size, off_t offset) {
	uint32_t grant = atomic_load_explicit(&file->grant, memory_order_relaxed);
	if (!grant || size > DC_POST_MAX || offset > POST_REACH) return false;
	struct dc_cursor before = *cursor;
	void *place = dc_client_post_begin(file->client, grant, file->handle, (uint64_t)offset, (uint32_t)size);
	if (!place) return false;
	dc_cursor_in(cursor, place, size);
	if (dc_client_post_end(file->client, grant)) return true;
	*cursor = before;
	return false;
}

void dc_write_fill(struct dc_call *call, struct dc_cursor *cursor, size_t size, off_t offset) {
	call->slot->offset = (uint64_t)offset;
	call->slot->length = dc_cursor_in(cursor, call->buffer, size);
}

int64_t dc_write_answer(struct dc_file *file, const struct dc_call *call, int64_t result, off_t *end) {
	if (result > (int64_t)call->slot->length) result = -EIO;
	if (result > 0) *end = (off_t)call->slot->value[0];
	atomic_store_explicit(&file->grant, result > 0 ? (uint32_t)call->slot->value[1] : 0, memory_order_relaxed);
	return result;
}

#define GATHER_MAX 16u

/* Calls beside each other; the first holds the request. */
static unsigned gather(struct dc_call call[GATHER_MAX], struct dc_file *file, unsigned wanted) {
	unsigned count = 1;
	dc_call_begin(&call[0], file->client, DC_OP_WRITE, file->instance, file->handle);
	while (count < wanted && dc_call_beside(&call[count], &call[0])) count++;
	return count;
}

/* The data go on in the order of the slots. */
static size_t fill_gathered(const struct dc_call call[GATHER_MAX], unsigned count, struct dc_cursor *cursor, size_t size, uint64_t *slots) {
	size_t done = dc_cursor_in(cursor, call[0].buffer, DC_BUFFER_SIZE);
	*slots = 0;
	for (unsigned i = 1; i < count; i++) *slots |= UINT64_C(1) << call[i].index;
	for (uint64_t left = *slots; left && done < size; left &= left - 1) {
		unsigned char *buffer = dc_client_buffer(call[0].client, (unsigned)__builtin_ctzll(left));
		done += dc_cursor_in(cursor, buffer, size - done < DC_BUFFER_SIZE ? size - done : DC_BUFFER_SIZE);
	}
	return done;
}

/* More than a buffer holds, as one write. *size: what was asked for in the end. */
static int64_t write_gathered(struct dc_file *file, struct dc_cursor *cursor, size_t *size, off_t offset, int rwf, off_t *end) {
	struct dc_call call[GATHER_MAX];
	size_t wanted = (*size + DC_BUFFER_SIZE - 1) / DC_BUFFER_SIZE;
	unsigned count = gather(call, file, wanted < GATHER_MAX ? (unsigned)wanted : GATHER_MAX);
	if (*size > (size_t)count * DC_BUFFER_SIZE) *size = (size_t)count * DC_BUFFER_SIZE;
	struct dc_slot *slot = call[0].slot;
	slot->offset = (uint64_t)offset;
	slot->length = fill_gathered(call, count, cursor, *size, &slot->argument[0]);
	slot->mask = (uint32_t)rwf;
	slot->flags = DC_WRITE_GATHER;
	int64_t result = dc_write_answer(file, &call[0], dc_call_send(&call[0]), end);
	while (count) dc_call_end(&call[--count]);
	return result;
}

/* As read_asked. An append, or what must be durable at once, is one request as far as a buffer reaches. */
static int64_t write_piece(struct dc_file *file, struct dc_cursor *cursor, size_t *size, off_t offset, int rwf, off_t *end) {
	if (!rwf && post_piece(file, cursor, *size, offset)) {
		*end = offset + (off_t)*size;
		return (int64_t)*size;
	}
	struct dc_pipeline pipeline;
	if (*size > DC_WRITE_PIECE && !rwf && dc_pipeline_begin(&pipeline, file, DC_OP_WRITE)) return dc_pipeline_write(&pipeline, cursor, *size, offset, end);
	if (*size > DC_BUFFER_SIZE && rwf & RWF_APPEND) return write_gathered(file, cursor, size, offset, rwf, end);
	if (*size > DC_BUFFER_SIZE) *size = DC_BUFFER_SIZE;
	struct dc_call call;
	dc_call_begin(&call, file->client, DC_OP_WRITE, file->instance, file->handle);
	dc_write_fill(&call, cursor, *size, offset);
	call.slot->mask = (uint32_t)rwf;
	int64_t result = dc_write_answer(file, &call, dc_call_send(&call), end);
	dc_call_end(&call);
	return result;
}

static __attribute__((noinline)) int64_t piecewise(struct dc_file *file, bool write, const struct iovec *iov, int count, size_t total, off_t offset, int rwf, off_t *end) {
	struct dc_cursor cursor = {.iov = iov, .left = count};
	size_t done = 0;
	*end = offset;
	do {
		/* Posted, a write is made in pieces while the next ones are copied. A long one fills the ring and waits for it, with a copy more than a request takes. */
		bool posted = write && !rwf && total <= DC_WRITE_PIECE && atomic_load_explicit(&file->grant, memory_order_relaxed);
		size_t size = posted && total - done > DC_POST_MAX ? DC_POST_MAX : total - done;
		int64_t result = write ? write_piece(file, &cursor, &size, offset + (off_t)done, rwf, end) : read_piece(file, &cursor, &size, offset + (off_t)done);
		if (result < 0) return done ? (int64_t)done : result == -ESTALE ? -EIO : result;
		done += (size_t)result;
		if ((size_t)result < size) break;
	} while (done < total);
	if (!write) *end = offset + (off_t)done;
	return (int64_t)done;
}

/* From `offset` on; answers the bytes done, and where the last write ended. */
static int64_t pieces(struct dc_file *file, bool write, const struct iovec *iov, int count, size_t total, off_t offset, int rwf, off_t *end) {
	size_t done;
	bool page = !write && count == 1 && total && (uint64_t)offset % DC_INDEX_PAGE + total <= DC_INDEX_PAGE;
	if (!page || !dc_lease_read_page(file, iov->iov_base, total, offset, &done)) return piecewise(file, write, iov, count, total, offset, rwf, end);
	*end = offset + (off_t)done;
	return (int64_t)done;
}

static int check(struct dc_file *file, bool write, const struct iovec *iov, int count, size_t *total) {
	int mode = file->flags & O_ACCMODE;
	if (file->flags & O_PATH || mode == (write ? O_RDONLY : O_WRONLY)) return -EBADF;
	if (count < 0 || count > IOV_MAX) return -EINVAL;
	if (count && dc_bad_address(iov)) return -EFAULT;
	*total = 0;
	bool bad = false;
	for (int i = 0; i < count; i++) {
		const char *base = iov[i].iov_base;
		size_t length = iov[i].iov_len;
		if (length > SSIZE_MAX) return -EINVAL;
		if (dc_no_address(base) || dc_no_address(base + length)) return -EFAULT;
		if (length && !bad && dc_bad_address(base)) { /* as far as there is memory */
			if (*total == 0) return -EFAULT;
			bad = true;
		}
		if (!bad) *total = length > TRANSFER_MAX - *total ? TRANSFER_MAX : *total + length;
	}
	if (file->directory) return -EISDIR;
	return 0;
}

static ssize_t sequential(struct dc_file *file, bool write, const struct iovec *iov, int count, size_t total, int rwf) {
	bool locked = dc_file_lock(file);
	off_t end, offset = atomic_load_explicit(&file->offset, memory_order_relaxed);
	int64_t result = pieces(file, write, iov, count, total, offset, rwf, &end);
	if (result > 0) atomic_store_explicit(&file->offset, end, memory_order_relaxed);
	dc_file_unlock(file, locked);
	return result;
}

/* What RLIMIT_FSIZE leaves of a write. An append's place is asked for: by the time it is written another may have been quicker, as in the kernel without its lock. */
static int within_limit(struct dc_file *file, off_t offset, int rwf, size_t *total) {
	uint64_t limit = dc_size_limit(), start = (uint64_t)(offset == -1 ? atomic_load(&file->offset) : offset);
	if (__builtin_expect(limit == DC_SIZE_UNLIMITED, 1)) return 0;
	if (rwf & RWF_APPEND) {
		struct stat st;
		int error = dc_stat_file(file, &st);
		if (error) return error;
		start = (uint64_t)st.st_size;
	}
	if (start >= limit) return dc_size_exceeded();
	if (*total > limit - start) *total = limit - start;
	return 0;
}

ssize_t dc_transfer(struct dc_file *file, bool write, const struct iovec *iov, int count, off_t offset, int rwf) {
	size_t total;
	int error = check(file, write, iov, count, &total);
	if (error) return error;
	if (write && total == 0) return 0;
	if (total > (uint64_t)INT64_MAX - (uint64_t)(offset == -1 ? atomic_load_explicit(&file->offset, memory_order_relaxed) : offset)) return -EINVAL; /* before anybody looks at how large a file may be */
	if (write && atomic_load_explicit(&file->append, memory_order_relaxed)) rwf |= RWF_APPEND;
	if (write && (error = within_limit(file, offset, rwf, &total))) return error;
	if (offset == -1) return sequential(file, write, iov, count, total, rwf);
	off_t end;
	return pieces(file, write, iov, count, total, offset, rwf, &end);
}
