/*
 * stat.c - attributes: the stat family (with the entries that older programs were linked with), statx, access, statfs, realpath.
 */
#include "answers.h"

#include <stdlib.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

void dc_wire_to_stat(const struct dc_wire_attr *wire, uint64_t device, struct stat *out) {
	memset(out, 0, sizeof *out);
	out->st_dev = device;
	out->st_ino = wire->ino;
	out->st_mode = wire->mode;
	out->st_nlink = wire->nlink;
	out->st_uid = wire->uid;
	out->st_gid = wire->gid;
	out->st_rdev = wire->rdev;
	out->st_size = (off_t)wire->size;
	out->st_blksize = (blksize_t)(wire->blksize ? wire->blksize : 4096);
	out->st_blocks = (blkcnt_t)wire->blocks;
	out->st_atim = (struct timespec){wire->atime, wire->atime_ns};
	out->st_mtim = (struct timespec){wire->mtime, wire->mtime_ns};
	out->st_ctim = (struct timespec){wire->ctime, wire->ctime_ns};
}

/* The attributes of an open description. 0 or -errno. */
static int wire_of_file(struct dc_file *file, struct dc_wire_attr *wire) {
	struct dc_question question = {.client = file->client, .base = file->handle, .instance = file->instance, .flags = DC_PATH_EMPTY, .operation = DC_OP_STAT, .path = ""};
	struct dc_answer answer;
	bool asks;
	if (dc_answer_find(&question, &answer, &asks)) {
		*wire = answer.body.attr;
		return (int)answer.result;
	}
	struct dc_call call;
	dc_call_begin(&call, file->client, DC_OP_STAT, file->instance, file->handle);
	call.slot->flags = DC_PATH_EMPTY | (asks ? DC_PATH_LEASE : 0);
	int64_t result = dc_call_send(&call);
	if (result == 0) *wire = call.slot->attr;
	if (asks) dc_answer_remember(&question, &call, result);
	dc_call_end(&call);
	return (int)(result == -ESTALE ? -EIO : result);
}

int dc_stat_file(struct dc_file *file, struct stat *out) {
	struct dc_wire_attr wire;
	int error = wire_of_file(file, &wire);
	if (error == 0) dc_wire_to_stat(&wire, file->device, out);
	return error;
}

static uint32_t path_flags(int flags) {
	return (flags & AT_SYMLINK_NOFOLLOW ? DC_PATH_NOFOLLOW : 0) | (flags & AT_EMPTY_PATH ? DC_PATH_EMPTY : 0);
}

EXPORT int fstat(int fd, struct stat *out) {
	struct dc_file *file = dc_file_get(fd);
	if (!file) return NEXT(fstat)(fd, out);
	int error = dc_bad_address(out) ? -EFAULT : dc_stat_file(file, out);
	dc_file_put(file);
	return (int)dc_return(error);
}
ALIAS(fstat64, fstat);
ALIAS(__fstat64, fstat);

static int stat_at(int dirfd, const char *path, struct stat *out, int flags) {
	if (dc_bad_address(out)) return NEXT(fstatat)(dc_kernel_dirfd(dirfd), path, out, flags);
	if (flags & AT_EMPTY_PATH && !dc_bad_address(path) && !path[0] && dirfd >= 0) return fstat(dirfd, out);
	struct dc_walk walk;
	for (dc_walk_start(&walk, dirfd, path, path_flags(flags)), dc_walk_keep(&walk, 0); dc_walk_next(&walk, DC_OP_STAT); dc_walk_send(&walk)) continue;
	if (walk.kernel) {
		dc_walk_end(&walk);
		return NEXT(fstatat)(walk.dirfd, walk.path, out, flags);
	}
	if (walk.result == 0) dc_wire_to_stat(dc_walk_attr(&walk), walk.place.device, out);
	return (int)dc_walk_finish(&walk);
}

EXPORT int fstatat(int dirfd, const char *path, struct stat *out, int flags) {
	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT)) return NEXT(fstatat)(dc_kernel_dirfd(dirfd), path, out, flags);
	return stat_at(dirfd, path, out, flags);
}
ALIAS(fstatat64, fstatat);

EXPORT int stat(const char *path, struct stat *out) {
	return stat_at(AT_FDCWD, path, out, 0);
}
ALIAS(stat64, stat);

EXPORT int lstat(const char *path, struct stat *out) {
	return stat_at(AT_FDCWD, path, out, AT_SYMLINK_NOFOLLOW);
}
ALIAS(lstat64, lstat);

/* Programs linked before glibc 2.33. `version` names the layout of struct stat; there is one on 64-bit machines. */
int __xstat(int version, const char *path, struct stat *out);
EXPORT int __xstat(int version, const char *path, struct stat *out) {
	return stat(path, out);
}
ALIAS(__xstat64, __xstat);

int __lxstat(int version, const char *path, struct stat *out);
EXPORT int __lxstat(int version, const char *path, struct stat *out) {
	return lstat(path, out);
}
ALIAS(__lxstat64, __lxstat);

int __fxstat(int version, int fd, struct stat *out);
EXPORT int __fxstat(int version, int fd, struct stat *out) {
	return fstat(fd, out);
}
ALIAS(__fxstat64, __fxstat);

int __fxstatat(int version, int dirfd, const char *path, struct stat *out, int flags);
EXPORT int __fxstatat(int version, int dirfd, const char *path, struct stat *out, int flags) {
	return fstatat(dirfd, path, out, flags);
}
ALIAS(__fxstatat64, __fxstatat);

static struct statx_timestamp moment(int64_t seconds, uint32_t nanoseconds) {
	return (struct statx_timestamp){.tv_sec = seconds, .tv_nsec = nanoseconds};
}

static void wire_to_statx(const struct dc_wire_attr *wire, uint64_t device, struct statx *out) {
	memset(out, 0, sizeof *out);
	out->stx_mask = STATX_BASIC_STATS | (wire->birth_ns != UINT32_MAX ? STATX_BTIME : 0);
	out->stx_blksize = wire->blksize ? wire->blksize : 4096;
	out->stx_nlink = wire->nlink;
	out->stx_uid = wire->uid;
	out->stx_gid = wire->gid;
	out->stx_mode = (uint16_t)wire->mode;
	out->stx_ino = wire->ino;
	out->stx_size = wire->size;
	out->stx_blocks = wire->blocks;
	out->stx_atime = moment(wire->atime, wire->atime_ns);
	out->stx_mtime = moment(wire->mtime, wire->mtime_ns);
	out->stx_ctime = moment(wire->ctime, wire->ctime_ns);
	if (wire->birth_ns != UINT32_MAX) out->stx_btime = moment(wire->birth, wire->birth_ns);
	out->stx_rdev_major = major(wire->rdev);
	out->stx_rdev_minor = minor(wire->rdev);
	out->stx_dev_major = major(device);
	out->stx_dev_minor = minor(device);
}

EXPORT int statx(int dirfd, const char *restrict path, int flags, unsigned mask, struct statx *restrict out) {
	const int known = AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_STATX_SYNC_TYPE;
	if (flags & ~known || mask & STATX__RESERVED || (flags & AT_STATX_SYNC_TYPE) == AT_STATX_SYNC_TYPE || (mask & ~(STATX_BASIC_STATS | STATX_BTIME)) || dc_bad_address(out))
		return NEXT(statx)(dc_kernel_dirfd(dirfd), path, flags, mask, out);
	struct dc_walk walk;
	for (dc_walk_start(&walk, dirfd, path, path_flags(flags)), dc_walk_keep(&walk, 0); dc_walk_next(&walk, DC_OP_STAT); dc_walk_send(&walk)) continue;
	if (walk.kernel) {
		dc_walk_end(&walk);
		return NEXT(statx)(walk.dirfd, walk.path, flags, mask, out);
	}
	if (walk.result == 0) wire_to_statx(dc_walk_attr(&walk), walk.place.device, out);
	return (int)dc_walk_finish(&walk);
}

/* ---- access ---------------------------------------------------------------------------------------------------------------- */
EXPORT int faccessat(int dirfd, const char *path, int mode, int flags) {
	if (flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) return NEXT(faccessat)(dc_kernel_dirfd(dirfd), path, mode, flags);
	struct dc_walk walk;
	for (dc_walk_start(&walk, dirfd, path, path_flags(flags)), dc_walk_keep(&walk, (uint32_t)mode); dc_walk_next(&walk, DC_OP_ACCESS); dc_walk_send(&walk)) {
		walk.call.slot->mode = (uint32_t)mode;
		if (flags & AT_EACCESS) walk.call.slot->flags |= DC_ACCESS_EFFECTIVE; /* which the service does not tell apart */
	}
	if (walk.kernel) {
		dc_walk_end(&walk);
		return NEXT(faccessat)(walk.dirfd, walk.path, mode, flags);
	}
	return (int)dc_walk_finish(&walk);
}

EXPORT int access(const char *path, int mode) {
	return faccessat(AT_FDCWD, path, mode, 0);
}

EXPORT int eaccess(const char *path, int mode) {
	return faccessat(AT_FDCWD, path, mode, AT_EACCESS);
}
ALIAS(euidaccess, eaccess);

/* ---- statfs ---------------------------------------------------------------------------------------------------------------- */
#define FUSE_MAGIC 0x65735546 /* what the kernel door says it is */

static void wire_to_statfs(const struct dc_wire_statfs *wire, struct statfs *out) {
	memset(out, 0, sizeof *out);
	out->f_type = FUSE_MAGIC;
	out->f_bsize = (__fsword_t)wire->bsize;
	out->f_frsize = (__fsword_t)(wire->frsize ? wire->frsize : wire->bsize);
	out->f_blocks = wire->blocks;
	out->f_bfree = wire->bfree;
	out->f_bavail = wire->bavail;
	out->f_files = wire->files;
	out->f_ffree = wire->ffree;
	out->f_namelen = (__fsword_t)wire->namemax;
	out->f_flags = (__fsword_t)wire->flag;
}

static void wire_to_statvfs(const struct dc_wire_statfs *wire, struct statvfs *out) {
	memset(out, 0, sizeof *out);
	out->f_bsize = wire->bsize;
	out->f_frsize = wire->frsize ? wire->frsize : wire->bsize;
	out->f_blocks = wire->blocks;
	out->f_bfree = wire->bfree;
	out->f_bavail = wire->bavail;
	out->f_files = wire->files;
	out->f_ffree = wire->ffree;
	out->f_favail = wire->favail;
	out->f_namemax = wire->namemax;
	out->f_flag = wire->flag;
}

/* 1: answered; 0: the kernel's; -1 and errno. An open description by dirfd and an empty path. */
static int statfs_of(struct dc_walk *walk, int dirfd, const char *path, struct dc_wire_statfs *wire) {
	for (dc_walk_start(walk, dirfd, path, path[0] ? 0 : DC_PATH_EMPTY); dc_walk_next(walk, DC_OP_STATFS); dc_walk_send(walk)) continue;
	if (walk->kernel) {
		dc_walk_end(walk);
		return 0;
	}
	if (walk->result >= 0) memcpy(wire, walk->call.buffer, sizeof *wire);
	return dc_walk_finish(walk) < 0 ? -1 : 1;
}

EXPORT int statfs(const char *path, struct statfs *out) {
	struct dc_walk walk;
	struct dc_wire_statfs wire;
	walk.path = path;
	int found = !dc_bad_address(path) && path[0] && !dc_bad_address(out) ? statfs_of(&walk, AT_FDCWD, path, &wire) : 0;
	if (found == 0) return NEXT(statfs)(walk.path, out);
	if (found > 0) wire_to_statfs(&wire, out);
	return found < 0 ? -1 : 0;
}
ALIAS(statfs64, statfs);
ALIAS(__statfs, statfs);

EXPORT int fstatfs(int fd, struct statfs *out) {
	struct dc_walk walk;
	struct dc_wire_statfs wire;
	int found = fd >= 0 && !dc_bad_address(out) ? statfs_of(&walk, fd, "", &wire) : 0;
	if (found == 0) return NEXT(fstatfs)(fd, out);
	if (found > 0) wire_to_statfs(&wire, out);
	return found < 0 ? -1 : 0;
}
ALIAS(fstatfs64, fstatfs);

EXPORT int statvfs(const char *restrict path, struct statvfs *restrict out) {
	struct dc_walk walk;
	struct dc_wire_statfs wire;
	walk.path = path;
	int found = !dc_bad_address(path) && path[0] && !dc_bad_address(out) ? statfs_of(&walk, AT_FDCWD, path, &wire) : 0;
	if (found == 0) return NEXT(statvfs)(walk.path, out);
	if (found > 0) wire_to_statvfs(&wire, out);
	return found < 0 ? -1 : 0;
}
ALIAS(statvfs64, statvfs);

EXPORT int fstatvfs(int fd, struct statvfs *out) {
	struct dc_walk walk;
	struct dc_wire_statfs wire;
	int found = fd >= 0 && !dc_bad_address(out) ? statfs_of(&walk, fd, "", &wire) : 0;
	if (found == 0) return NEXT(fstatvfs)(fd, out);
	if (found > 0) wire_to_statvfs(&wire, out);
	return found < 0 ? -1 : 0;
}
ALIAS(fstatvfs64, fstatvfs);
