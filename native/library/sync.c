/*
 * sync.c - making data durable, reserving and giving back space, advice.
 */
#include "internal.h"

#include <linux/falloc.h>

/* A request on a description that carries no path. -errno. */
static int64_t simple(struct dc_file *file, enum dc_operation operation, uint32_t mask) {
	struct dc_call call;
	dc_call_begin(&call, file->client, operation, file->instance, file->handle);
	call.slot->mask = mask;
	int64_t result = dc_call_send(&call);
	dc_call_end(&call);
	return result == -ESTALE ? -EIO : result;
}

static bool sync_file(int fd, enum dc_operation operation, uint32_t mask, int *result) {
	if (operation == DC_OP_FSYNC) dc_cancellation_point(); /* not syncfs */
	struct dc_file *file = dc_file_get(fd);
	if (!file) return false;
	int64_t answer = file->flags & O_PATH ? -EBADF : simple(file, operation, mask);
	dc_file_put(file);
	*result = (int)dc_return(answer);
	return true;
}

EXPORT int fsync(int fd) {
	int result;
	return sync_file(fd, DC_OP_FSYNC, 0, &result) ? result : NEXT(fsync)(fd);
}

EXPORT int fdatasync(int fd) {
	int result;
	return sync_file(fd, DC_OP_FSYNC, 1, &result) ? result : NEXT(fdatasync)(fd);
}

EXPORT int syncfs(int fd) {
	int result;
	return sync_file(fd, DC_OP_SYNC, 0, &result) ? result : NEXT(syncfs)(fd);
}

/* The kernel's sync does not reach user-level filesystems, so each mounted instance is asked, once this process has to do with them or not. */
EXPORT void sync(void) {
	NEXT(sync)();
	struct dc_client *client = dc_active() ? dc_session() : NULL;
	uint32_t instances[DC_MOUNTS_MAX];
	unsigned count = client ? dc_mounts_instances(instances, DC_MOUNTS_MAX) : 0;
	for (unsigned i = 0; i < count; i++) {
		struct dc_call call;
		dc_call_begin(&call, client, DC_OP_SYNC, instances[i], 0);
		dc_call_send(&call);
		dc_call_end(&call);
	}
}

/*
 * sync_file_range promises to start or await write-out of a range and says itself that it makes nothing durable. With WAIT_AFTER it is answered by fdatasync, which is more than asked;
 * without it, it only asks for an early start: nothing is pending in this process, and the service writes out as it sees fit.
 */
EXPORT int sync_file_range(int fd, off_t offset, off_t length, unsigned flags) {
	struct dc_file *file = dc_file_get(fd);
	if (!file) return NEXT(sync_file_range)(fd, offset, length, flags);
	int64_t result = 0;
	if (file->flags & O_PATH) result = -EBADF;
	else if (offset < 0 || length < 0 || flags & ~(unsigned)(SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER)) result = -EINVAL;
	else if (flags & SYNC_FILE_RANGE_WAIT_AFTER) result = simple(file, DC_OP_FSYNC, 1);
	dc_file_put(file);
	return (int)dc_return(result);
}

static int64_t allocate(struct dc_file *file, int mode, off_t offset, off_t length) {
	if (file->flags & O_PATH || (file->flags & O_ACCMODE) == O_RDONLY) return -EBADF;
	if (offset < 0 || length <= 0) return -EINVAL;
	if (file->directory) return -ENODEV;
	if (!(mode & FALLOC_FL_KEEP_SIZE) && (uint64_t)offset + (uint64_t)length > dc_size_limit()) return dc_size_exceeded();
	struct dc_call call;
	dc_call_begin(&call, file->client, DC_OP_FALLOCATE, file->instance, file->handle);
	call.slot->mode = (uint32_t)mode;
	call.slot->offset = (uint64_t)offset;
	call.slot->length = (uint64_t)length;
	int64_t result = dc_call_send(&call);
	dc_call_end(&call);
	return result == -ESTALE ? -EIO : result;
}

EXPORT int fallocate(int fd, int mode, off_t offset, off_t length) {
	struct dc_file *file = dc_file_get(fd);
	if (!file) return NEXT(fallocate)(fd, mode, offset, length);
	int64_t result = allocate(file, mode, offset, length);
	dc_file_put(file);
	return (int)dc_return(result);
}
ALIAS(fallocate64, fallocate);

/* Where the instance cannot reserve space: what glibc does, one byte per block, without losing what others write meanwhile to places that have data already. */
static int64_t allocate_by_hand(struct dc_file *file, off_t offset, off_t length) {
	struct stat st;
	int error = dc_stat_file(file, &st);
	if (error) return error;
	off_t block = 4096, end;
	if (__builtin_add_overflow(offset, length, &end)) return -EFBIG;
	for (off_t at = offset; at < end; at += block) {
		off_t last = at + block < end ? at + block - 1 : end - 1;
		char byte = 0;
		struct iovec iov = {&byte, 1};
		if (last < st.st_size && (file->flags & O_ACCMODE) == O_RDWR) {
			ssize_t got = dc_transfer(file, false, &iov, 1, last, 0);
			if (got < 0) return got;
			if (byte) continue;
		}
		ssize_t put = dc_transfer(file, true, &iov, 1, last, 0);
		if (put < 0) return put;
	}
	return 0;
}

/* Answers the error instead of setting errno. */
EXPORT int posix_fallocate(int fd, off_t offset, off_t length) {
	struct dc_file *file = dc_file_get(fd);
	if (!file) return NEXT(posix_fallocate)(fd, offset, length);
	int64_t result = allocate(file, 0, offset, length);
	if (result == -EOPNOTSUPP || result == -ENOSYS) result = atomic_load(&file->append) ? -EBADF : allocate_by_hand(file, offset, length);
	dc_file_put(file);
	return (int)-result;
}
ALIAS(posix_fallocate64, posix_fallocate);

/* Advice: the service's cache decides for itself. */
EXPORT int posix_fadvise(int fd, off_t offset, off_t length, int advice) {
	struct dc_file *file = dc_file_get(fd);
	if (!file) return NEXT(posix_fadvise)(fd, offset, length, advice);
	int result = file->flags & O_PATH ? EBADF : length < 0 || advice < POSIX_FADV_NORMAL || advice > POSIX_FADV_NOREUSE ? EINVAL : 0;
	dc_file_put(file);
	return result;
}
ALIAS(posix_fadvise64, posix_fadvise);

EXPORT ssize_t readahead(int fd, off64_t offset, size_t count) {
	struct dc_file *file = dc_file_get(fd);
	if (!file) return NEXT(readahead)(fd, offset, count);
	int64_t result = file->flags & O_PATH || (file->flags & O_ACCMODE) == O_WRONLY ? -EBADF : file->directory ? -EINVAL : 0;
	dc_file_put(file);
	return dc_return(result);
}
