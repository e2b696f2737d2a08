/*
 * rw.c - read, write and their positioned, vectored and fortified forms.
 *
 * A description that other processes may share has its offset in the kernel: read and write go through the kernel door then (right and slow); an append is still carried, and
 * the kernel's offset set behind it.
 */
#include "internal.h"

/* The kernel does it: only its offset is right. Whether a shared description appends, it says too. */
static bool left_to_kernel(struct dc_file *file, int fd, bool write) {
	return atomic_load_explicit(&file->shared, memory_order_relaxed) && !(write && dc_file_flags(file, fd) & O_APPEND);
}

static ssize_t kernels(int fd, bool writes, const struct iovec *iov, int count, int rwf) {
	if (rwf) return writes ? NEXT(pwritev2)(fd, iov, count, -1, rwf) : NEXT(preadv2)(fd, iov, count, -1, rwf);
	if (count == 1) return writes ? NEXT(write)(fd, iov->iov_base, iov->iov_len) : NEXT(read)(fd, iov->iov_base, iov->iov_len);
	return writes ? NEXT(writev)(fd, iov, count) : NEXT(readv)(fd, iov, count);
}

/*
 * A description shared by a fork may become ours alone at any moment (children.c), so the kernel's call is made under its lock. False: it just has. Others stay shared for good.
 */
static bool by_kernel(struct dc_file *file, int fd, bool writes, const struct iovec *iov, int count, int rwf, ssize_t *result) {
	bool forked = atomic_load(&file->forked), locked = forked && dc_file_lock(file), shared = atomic_load(&file->shared);
	if (shared) {
		dc_uncarried(writes ? DC_UNCARRIED_write_shared : DC_UNCARRIED_read_shared);
		*result = kernels(fd, writes, iov, count, rwf);
	}
	dc_file_unlock(file, locked);
	return shared;
}

static ssize_t done(struct dc_file *file, int fd, bool write, ssize_t result) {
	if (write && result > 0 && atomic_load_explicit(&file->shared, memory_order_relaxed)) k_lseek(fd, atomic_load(&file->offset), SEEK_SET);
	dc_file_put(file);
	return (ssize_t)dc_return(result);
}

/* Carried, or false. */
static bool sequential(int fd, bool write, const struct iovec *iov, int count, int rwf, ssize_t *result) {
	if (!dc_file_moves(fd)) return false;
	dc_cancellation_point();
	bool early;
	struct dc_file *file = dc_file_moving(fd, &early);
	if (early) {
		dc_early_weigh(fd, iov, count);
		*result = kernels(fd, write, iov, count, rwf);
		dc_early_end();
		return true;
	}
	if (!file) return false;
	if (left_to_kernel(file, fd, write) && by_kernel(file, fd, write, iov, count, rwf, result)) {
		dc_file_put(file);
		return true;
	}
	*result = done(file, fd, write, dc_transfer(file, write, iov, count, -1, rwf));
	return true;
}

static bool positioned(int fd, bool write, const struct iovec *iov, int count, off_t offset, int rwf, ssize_t *result) {
	dc_cancellation_point();
	struct dc_file *file = dc_file_get(fd);
	if (!file) {
		dc_early_weigh(fd, iov, count);
		return false;
	}
	if (write && atomic_load_explicit(&file->shared, memory_order_relaxed)) dc_file_flags(file, fd);
	ssize_t answer = offset < 0 ? -EINVAL : dc_transfer(file, write, iov, count, offset, rwf);
	dc_file_put(file);
	*result = (ssize_t)dc_return(answer);
	return true;
}

EXPORT ssize_t read(int fd, void *buffer, size_t size) {
	struct iovec iov = {buffer, size};
	ssize_t result;
	return sequential(fd, false, &iov, 1, 0, &result) ? result : NEXT(read)(fd, buffer, size);
}
ALIAS(__read, read);

EXPORT ssize_t write(int fd, const void *buffer, size_t size) {
	struct iovec iov = {(void *)buffer, size};
	ssize_t result;
	return sequential(fd, true, &iov, 1, 0, &result) ? result : NEXT(write)(fd, buffer, size);
}
ALIAS(__write, write);

EXPORT ssize_t readv(int fd, const struct iovec *iov, int count) {
	ssize_t result;
	return sequential(fd, false, iov, count, 0, &result) ? result : NEXT(readv)(fd, iov, count);
}

EXPORT ssize_t writev(int fd, const struct iovec *iov, int count) {
	ssize_t result;
	return sequential(fd, true, iov, count, 0, &result) ? result : NEXT(writev)(fd, iov, count);
}

EXPORT ssize_t pread(int fd, void *buffer, size_t size, off_t offset) {
	struct iovec iov = {buffer, size};
	ssize_t result;
	return positioned(fd, false, &iov, 1, offset, 0, &result) ? result : NEXT(pread)(fd, buffer, size, offset);
}
ALIAS(pread64, pread);
ALIAS(__pread64, pread);

EXPORT ssize_t pwrite(int fd, const void *buffer, size_t size, off_t offset) {
	struct iovec iov = {(void *)buffer, size};
	ssize_t result;
	return positioned(fd, true, &iov, 1, offset, 0, &result) ? result : NEXT(pwrite)(fd, buffer, size, offset);
}
ALIAS(pwrite64, pwrite);
ALIAS(__pwrite64, pwrite);

EXPORT ssize_t preadv(int fd, const struct iovec *iov, int count, off_t offset) {
	ssize_t result;
	return positioned(fd, false, iov, count, offset, 0, &result) ? result : NEXT(preadv)(fd, iov, count, offset);
}
ALIAS(preadv64, preadv);

EXPORT ssize_t pwritev(int fd, const struct iovec *iov, int count, off_t offset) {
	ssize_t result;
	return positioned(fd, true, iov, count, offset, 0, &result) ? result : NEXT(pwritev)(fd, iov, count, offset);
}
ALIAS(pwritev64, pwritev);

EXPORT ssize_t preadv2(int fd, const struct iovec *iov, int count, off_t offset, int flags) {
	ssize_t result;
	if (flags & ~(RWF_HIPRI | RWF_NOWAIT)) { /* nothing of ours: the kernel judges */
		dc_share_fd(fd);
		return NEXT(preadv2)(fd, iov, count, offset, flags);
	}
	bool carried = offset == -1 ? sequential(fd, false, iov, count, flags, &result) : positioned(fd, false, iov, count, offset, flags, &result);
	return carried ? result : NEXT(preadv2)(fd, iov, count, offset, flags);
}
ALIAS(preadv64v2, preadv2);

EXPORT ssize_t pwritev2(int fd, const struct iovec *iov, int count, off_t offset, int flags) {
	ssize_t result;
	bool carried = offset == -1 ? sequential(fd, true, iov, count, flags, &result) : positioned(fd, true, iov, count, offset, flags, &result);
	return carried ? result : NEXT(pwritev2)(fd, iov, count, offset, flags);
}
ALIAS(pwritev64v2, pwritev2);

/* -D_FORTIFY_SOURCE's forms; libc's own report the overflow. */
ssize_t __read_chk(int fd, void *buffer, size_t size, size_t space);
EXPORT ssize_t __read_chk(int fd, void *buffer, size_t size, size_t space) {
	return size > space ? NEXT(__read_chk)(fd, buffer, size, space) : read(fd, buffer, size);
}

ssize_t __pread_chk(int fd, void *buffer, size_t size, off_t offset, size_t space);
EXPORT ssize_t __pread_chk(int fd, void *buffer, size_t size, off_t offset, size_t space) {
	return size > space ? NEXT(__pread_chk)(fd, buffer, size, offset, space) : pread(fd, buffer, size, offset);
}
ALIAS(__pread64_chk, __pread_chk);

/* ---- lseek ----------------------------------------------------------------------------------------------------------------- */
static int64_t seek_base(struct dc_file *file, int whence, int64_t *base) {
	if (whence == SEEK_SET) return *base = 0;
	if (whence == SEEK_CUR) {
		*base = atomic_load_explicit(&file->offset, memory_order_relaxed);
		return 0;
	}
	struct stat st;
	int error = dc_stat_file(file, &st);
	*base = st.st_size;
	return error;
}

static int64_t seek_data(struct dc_file *file, off_t offset, int whence) {
	struct dc_call call;
	dc_call_begin(&call, file->client, DC_OP_SEEK, file->instance, file->handle);
	call.slot->offset = (uint64_t)offset;
	call.slot->mask = (uint32_t)whence;
	int64_t result = dc_call_send(&call);
	dc_call_end(&call);
	return result == -ESTALE ? -EIO : result;
}

int64_t dc_seek_file(struct dc_file *file, int fd, off_t offset, int whence) {
	if (file->flags & O_PATH) return -EBADF;
	if (whence < SEEK_SET || whence > SEEK_HOLE) return -EINVAL;
	if (file->directory && whence != SEEK_SET && whence != SEEK_CUR) return -EINVAL;
	bool locked = dc_file_lock(file);
	int64_t base = 0, target;
	if (whence == SEEK_DATA || whence == SEEK_HOLE) target = offset < 0 ? -ENXIO : seek_data(file, offset, whence);
	else {
		int64_t error = seek_base(file, whence, &base);
		if (error < 0) target = error;
		else if (__builtin_add_overflow(base, offset, &target)) target = -EOVERFLOW;
		else if (target < 0) target = -EINVAL;
	}
	if (target >= 0) atomic_store_explicit(&file->offset, target, memory_order_relaxed);
	dc_file_unlock(file, locked);
	return target;
}

EXPORT off_t lseek(int fd, off_t offset, int whence) {
	bool early;
	struct dc_file *file = dc_file_moving(fd, &early);
	if (!file) {
		off_t position = NEXT(lseek)(fd, offset, whence);
		if (early) dc_early_end();
		return position;
	}
	if (atomic_load_explicit(&file->shared, memory_order_relaxed)) {
		bool locked = atomic_load(&file->forked) && dc_file_lock(file), shared = atomic_load(&file->shared);
		off_t position = -1;
		if (shared) {
			dc_uncarried(DC_UNCARRIED_seek_shared);
			position = NEXT(lseek)(fd, offset, whence);
		}
		dc_file_unlock(file, locked);
		if (shared) {
			dc_file_put(file);
			return position;
		}
	}
	int64_t result = dc_seek_file(file, fd, offset, whence);
	dc_file_put(file);
	return dc_return(result);
}
ALIAS(lseek64, lseek);
ALIAS(__lseek, lseek);
ALIAS(llseek, lseek);
