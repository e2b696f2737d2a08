/*
 * attributes.c - mode, owner, times, size.
 */
#include "internal.h"

#include <diciclo/libservice.h>

#include <sys/time.h>
#include <utime.h>

/* Sends; sets *kernel when the kernel must do it (walk->path then says with which path). */
long dc_set_attr(int dirfd, const char *path, uint32_t flags, uint32_t mask, const struct dc_wire_attr *set, bool *kernel, struct dc_walk *walk) {
	for (dc_walk_start(walk, dirfd, path, flags); dc_walk_next(walk, DC_OP_SETATTR); dc_walk_send(walk)) {
		walk->call.slot->mask = mask;
		walk->call.slot->attr = *set;
	}
	*kernel = walk->kernel;
	if (walk->kernel) dc_walk_end(walk);
	return walk->kernel ? 0 : dc_walk_finish(walk);
}

/* On a descriptor. False: not carried. */
static bool set_file(int fd, uint32_t mask, const struct dc_wire_attr *set, int *result) {
	struct dc_file *file = dc_file_get(fd);
	if (!file) return false;
	int64_t answer = -EBADF;
	if (!(file->flags & O_PATH)) {
		struct dc_call call;
		dc_call_begin(&call, file->client, DC_OP_SETATTR, file->instance, file->handle);
		call.slot->flags = DC_PATH_EMPTY;
		call.slot->mask = mask;
		call.slot->attr = *set;
		answer = dc_call_send(&call);
		dc_call_end(&call);
	}
	dc_file_put(file);
	*result = (int)dc_return(answer == -ESTALE ? -EIO : answer);
	return true;
}

/* ---- mode ------------------------------------------------------------------------------------------------------------------ */
EXPORT int fchmodat(int dirfd, const char *path, mode_t mode, int flags) {
	struct dc_walk walk;
	bool kernel;
	struct dc_wire_attr set = {.mode = mode & 07777};
	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) return NEXT(fchmodat)(dc_kernel_dirfd(dirfd), path, mode, flags);
	uint32_t path_flags = (flags & AT_SYMLINK_NOFOLLOW ? DC_PATH_NOFOLLOW : 0) | (flags & AT_EMPTY_PATH ? DC_PATH_EMPTY : 0);
	long result = dc_set_attr(dirfd, path, path_flags, DC_SET_MODE, &set, &kernel, &walk);
	return kernel ? NEXT(fchmodat)(walk.dirfd, walk.path, mode, flags) : (int)result;
}

EXPORT int chmod(const char *path, mode_t mode) {
	return fchmodat(AT_FDCWD, path, mode, 0);
}

EXPORT int lchmod(const char *path, mode_t mode) {
	return fchmodat(AT_FDCWD, path, mode, AT_SYMLINK_NOFOLLOW);
}

EXPORT int fchmod(int fd, mode_t mode) {
	struct dc_wire_attr set = {.mode = mode & 07777};
	int result;
	return set_file(fd, DC_SET_MODE, &set, &result) ? result : NEXT(fchmod)(fd, mode);
}

/* ---- owner ----------------------------------------------------------------------------------------------------------------- */
static uint32_t owner_mask(uid_t uid, gid_t gid) {
	return (uid != (uid_t)-1 ? DC_SET_UID : 0) | (gid != (gid_t)-1 ? DC_SET_GID : 0);
}

EXPORT int fchownat(int dirfd, const char *path, uid_t uid, gid_t gid, int flags) {
	struct dc_walk walk;
	bool kernel;
	struct dc_wire_attr set = {.uid = uid, .gid = gid};
	uint32_t path_flags = (flags & AT_SYMLINK_NOFOLLOW ? DC_PATH_NOFOLLOW : 0) | (flags & AT_EMPTY_PATH ? DC_PATH_EMPTY : 0);
	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) return NEXT(fchownat)(dc_kernel_dirfd(dirfd), path, uid, gid, flags);
	long result = dc_set_attr(dirfd, path, path_flags, owner_mask(uid, gid), &set, &kernel, &walk);
	return kernel ? NEXT(fchownat)(walk.dirfd, walk.path, uid, gid, flags) : (int)result;
}

EXPORT int chown(const char *path, uid_t uid, gid_t gid) {
	return fchownat(AT_FDCWD, path, uid, gid, 0);
}

EXPORT int lchown(const char *path, uid_t uid, gid_t gid) {
	return fchownat(AT_FDCWD, path, uid, gid, AT_SYMLINK_NOFOLLOW);
}

EXPORT int fchown(int fd, uid_t uid, gid_t gid) {
	struct dc_wire_attr set = {.uid = uid, .gid = gid};
	int result;
	return set_file(fd, owner_mask(uid, gid), &set, &result) ? result : NEXT(fchown)(fd, uid, gid);
}

/* ---- times ----------------------------------------------------------------------------------------------------------------- */
static bool moment(const struct timespec *time, uint32_t set_it, uint32_t now, uint32_t *mask, int64_t *seconds, uint32_t *nanoseconds) {
	if (time && time->tv_nsec == UTIME_OMIT) return true;
	*mask |= set_it;
	if (!time || time->tv_nsec == UTIME_NOW) {
		*mask |= now;
		return true;
	}
	if (time->tv_nsec < 0 || time->tv_nsec > 999999999) return false;
	*seconds = time->tv_sec;
	*nanoseconds = (uint32_t)time->tv_nsec;
	return true;
}

/* False: EINVAL. */
static bool set_times(const struct timespec *times, uint32_t *mask, struct dc_wire_attr *set) {
	*mask = 0;
	return moment(times, DC_SET_ATIME, DC_SET_ATIME_NOW, mask, &set->atime, &set->atime_ns) &&
	       moment(times ? times + 1 : NULL, DC_SET_MTIME, DC_SET_MTIME_NOW, mask, &set->mtime, &set->mtime_ns);
}

EXPORT int futimens(int fd, const struct timespec times[2]) {
	struct dc_wire_attr set = {0};
	uint32_t mask;
	int result;
	if (times && dc_bad_address(times)) return (int)dc_return(-EFAULT);
	if (!set_times(times, &mask, &set)) return (int)dc_return(-EINVAL);
	return set_file(fd, mask, &set, &result) ? result : NEXT(futimens)(fd, times);
}

EXPORT int utimensat(int dirfd, const char *path, const struct timespec times[2], int flags) {
	struct dc_walk walk;
	bool kernel;
	struct dc_wire_attr set = {0};
	uint32_t mask;
	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) || dc_bad_address(path) || (times && dc_bad_address(times)) || !set_times(times, &mask, &set))
		return NEXT(utimensat)(dc_kernel_dirfd(dirfd), path, times, flags);
	uint32_t path_flags = (flags & AT_SYMLINK_NOFOLLOW ? DC_PATH_NOFOLLOW : 0) | (flags & AT_EMPTY_PATH ? DC_PATH_EMPTY : 0);
	long result = dc_set_attr(dirfd, path, path_flags, mask, &set, &kernel, &walk);
	return kernel ? NEXT(utimensat)(walk.dirfd, walk.path, times, flags) : (int)result;
}

static const struct timespec *from_timeval(const struct timeval *from, struct timespec to[2], bool *valid) {
	*valid = true;
	if (!from) return NULL;
	for (int i = 0; i < 2; i++) {
		if (from[i].tv_usec < 0 || from[i].tv_usec > 999999) *valid = false;
		to[i] = (struct timespec){from[i].tv_sec, from[i].tv_usec * 1000};
	}
	return to;
}

static int timeval_at(int dirfd, const char *path, const struct timeval *times, int flags) {
	struct timespec converted[2];
	bool valid;
	if (times && dc_bad_address(times)) return (int)dc_return(-EFAULT);
	const struct timespec *use = from_timeval(times, converted, &valid);
	if (!valid) return (int)dc_return(-EINVAL);
	return utimensat(dirfd, path, use, flags);
}

EXPORT int utimes(const char *path, const struct timeval times[2]) {
	return timeval_at(AT_FDCWD, path, times, 0);
}

EXPORT int lutimes(const char *path, const struct timeval times[2]) {
	return timeval_at(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW);
}

EXPORT int futimes(int fd, const struct timeval times[2]) {
	struct timespec converted[2];
	bool valid;
	if (times && dc_bad_address(times)) return (int)dc_return(-EFAULT);
	const struct timespec *use = from_timeval(times, converted, &valid);
	return valid ? futimens(fd, use) : (int)dc_return(-EINVAL);
}

EXPORT int futimesat(int dirfd, const char *path, const struct timeval times[2]) {
	return path ? timeval_at(dirfd, path, times, 0) : futimes(dirfd, times);
}

EXPORT int utime(const char *path, const struct utimbuf *times) {
	struct timespec converted[2];
	if (times && dc_bad_address(times)) return (int)dc_return(-EFAULT);
	if (times) {
		converted[0] = (struct timespec){times->actime, 0};
		converted[1] = (struct timespec){times->modtime, 0};
	}
	return utimensat(AT_FDCWD, path, times ? converted : NULL, 0);
}

/* ---- size ------------------------------------------------------------------------------------------------------------------ */
EXPORT int truncate(const char *path, off_t size) {
	struct dc_walk walk;
	bool kernel;
	struct dc_wire_attr set = {.size = (uint64_t)size};
	if (size < 0) return (int)dc_return(-EINVAL);
	if (!dc_bad_address(path) && !path[0]) return (int)dc_return(-ENOENT);
	if (dc_active() && (uint64_t)size > dc_size_limit()) return NEXT(truncate)(path, size); /* RLIMIT_FSIZE: the kernel looks whether there is such a file first */
	long result = dc_set_attr(AT_FDCWD, path, 0, DC_SET_SIZE, &set, &kernel, &walk);
	return kernel ? NEXT(truncate)(walk.path, size) : (int)result;
}
ALIAS(truncate64, truncate);

EXPORT int ftruncate(int fd, off_t size) {
	struct dc_wire_attr set = {.size = (uint64_t)size};
	int result;
	if (size < 0) return NEXT(ftruncate)(fd, size);
	if (dc_active() && (uint64_t)size > dc_size_limit()) {
		dc_upgrade_fd(fd, DC_UNCARRIED_limit);
		return NEXT(ftruncate)(fd, size);
	}
	return set_file(fd, DC_SET_SIZE, &set, &result) ? result : NEXT(ftruncate)(fd, size);
}
ALIAS(ftruncate64, ftruncate);
