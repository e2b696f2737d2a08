/*
 * names.c - calls that make, remove, rename and read names. A call with two paths is carried when both lie in one instance; else the kernel answers (EXDEV, as it should).
 */
#include "internal.h"

#include <stdio.h>
#include <sys/sysmacros.h>

/* The second path behind the first one in the buffer. */
static bool second_path(struct dc_walk *walk, const char *path) {
	size_t length = strlen(path);
	if (length >= PATH_MAX) return false;
	memcpy(walk->call.buffer + walk->length, path, length);
	walk->call.slot->path2_length = (uint32_t)length;
	return true;
}

/* ---- one path -------------------------------------------------------------------------------------------------------------- */
EXPORT int mkdirat(int dirfd, const char *path, mode_t mode) {
	struct dc_walk walk;
	for (dc_walk_start(&walk, dirfd, path, 0); dc_walk_next(&walk, DC_OP_MKDIR); dc_walk_send(&walk)) walk.call.slot->mode = mode & 07777 & ~dc_umask();
	if (walk.kernel) {
		dc_walk_end(&walk);
		return NEXT(mkdirat)(walk.dirfd, walk.path, mode);
	}
	return (int)dc_walk_finish(&walk);
}

EXPORT int mkdir(const char *path, mode_t mode) {
	return mkdirat(AT_FDCWD, path, mode);
}

EXPORT int mknodat(int dirfd, const char *path, mode_t mode, dev_t device) {
	struct dc_walk walk;
	for (dc_walk_start(&walk, dirfd, path, 0); dc_walk_next(&walk, DC_OP_MKNOD); dc_walk_send(&walk)) {
		walk.call.slot->mode = (mode & S_IFMT) | (mode & 07777 & ~dc_umask());
		walk.call.slot->argument[0] = device;
	}
	if (walk.kernel) {
		dc_walk_end(&walk);
		return NEXT(mknodat)(walk.dirfd, walk.path, mode, device);
	}
	return (int)dc_walk_finish(&walk);
}

EXPORT int mknod(const char *path, mode_t mode, dev_t device) {
	return mknodat(AT_FDCWD, path, mode, device);
}

int __xmknod(int version, const char *path, mode_t mode, dev_t *device);
EXPORT int __xmknod(int version, const char *path, mode_t mode, dev_t *device) {
	return mknodat(AT_FDCWD, path, mode, *device);
}

int __xmknodat(int version, int dirfd, const char *path, mode_t mode, dev_t *device);
EXPORT int __xmknodat(int version, int dirfd, const char *path, mode_t mode, dev_t *device) {
	return mknodat(dirfd, path, mode, *device);
}

EXPORT int mkfifoat(int dirfd, const char *path, mode_t mode) {
	return mknodat(dirfd, path, (mode & 07777) | S_IFIFO, 0);
}

EXPORT int mkfifo(const char *path, mode_t mode) {
	return mkfifoat(AT_FDCWD, path, mode);
}

EXPORT int unlinkat(int dirfd, const char *path, int flags) {
	if (flags & ~AT_REMOVEDIR) return NEXT(unlinkat)(dc_kernel_dirfd(dirfd), path, flags);
	struct dc_walk walk;
	enum dc_operation operation = flags & AT_REMOVEDIR ? DC_OP_RMDIR : DC_OP_UNLINK;
	for (dc_walk_start(&walk, dirfd, path, 0); dc_walk_next(&walk, operation); dc_walk_send(&walk)) continue;
	if (walk.kernel) {
		dc_walk_end(&walk);
		return NEXT(unlinkat)(walk.dirfd, walk.path, flags);
	}
	return (int)dc_walk_finish(&walk);
}

EXPORT int unlink(const char *path) {
	return unlinkat(AT_FDCWD, path, 0);
}

EXPORT int rmdir(const char *path) {
	return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

EXPORT int remove(const char *path) {
	int before = errno;
	if (unlinkat(AT_FDCWD, path, 0) == 0) return 0;
	if (errno != EISDIR && errno != EPERM) return -1;
	int error = errno;
	errno = before;
	if (unlinkat(AT_FDCWD, path, AT_REMOVEDIR) == 0) return 0;
	if (error == EPERM && errno == ENOTDIR) errno = EPERM;
	return -1;
}

EXPORT int symlinkat(const char *target, int dirfd, const char *path) {
	struct dc_walk walk;
	dc_walk_start(&walk, dirfd, path, 0);
	if (dc_bad_address(target)) walk.kernel = true;
	for (; dc_walk_next(&walk, DC_OP_SYMLINK); dc_walk_send(&walk)) {
		if (second_path(&walk, target)) continue;
		walk.result = -ENAMETOOLONG;
		return (int)dc_walk_finish(&walk);
	}
	if (walk.kernel) {
		dc_walk_end(&walk);
		return NEXT(symlinkat)(target, walk.dirfd, walk.path);
	}
	return (int)dc_walk_finish(&walk);
}

EXPORT int symlink(const char *target, const char *path) {
	return symlinkat(target, AT_FDCWD, path);
}

EXPORT ssize_t readlinkat(int dirfd, const char *restrict path, char *restrict buffer, size_t size) {
	struct dc_walk walk;
	if (size == 0 || size > SSIZE_MAX || dc_bad_address(buffer)) return NEXT(readlinkat)(dc_kernel_dirfd(dirfd), path, buffer, size);
	uint32_t space = size < PATH_MAX ? (uint32_t)size : PATH_MAX; /* a shorter answer is another answer */
	for (dc_walk_start(&walk, dirfd, path, DC_PATH_NOFOLLOW | DC_PATH_EMPTY), dc_walk_keep(&walk, space); dc_walk_next(&walk, DC_OP_READLINK); dc_walk_send(&walk))
		walk.call.slot->length = space;
	if (walk.kernel) {
		dc_walk_end(&walk);
		return NEXT(readlinkat)(walk.dirfd, walk.path, buffer, size);
	}
	if (walk.result > (int64_t)size) walk.result = (int64_t)size;
	if (walk.result > 0) memcpy(buffer, walk.kept ? walk.answer.body.text : (const char *)walk.call.buffer, (size_t)walk.result);
	return (ssize_t)dc_walk_finish(&walk);
}

EXPORT ssize_t readlink(const char *restrict path, char *restrict buffer, size_t size) {
	if (!dc_bad_address(path) && !path[0]) return NEXT(readlink)(path, buffer, size); /* ENOENT: unlike readlinkat, no descriptor is meant */
	return readlinkat(AT_FDCWD, path, buffer, size);
}

ssize_t __readlink_chk(const char *path, char *buffer, size_t size, size_t space);
EXPORT ssize_t __readlink_chk(const char *path, char *buffer, size_t size, size_t space) {
	return size > space ? NEXT(__readlink_chk)(path, buffer, size, space) : readlink(path, buffer, size);
}

ssize_t __readlinkat_chk(int dirfd, const char *path, char *buffer, size_t size, size_t space);
EXPORT ssize_t __readlinkat_chk(int dirfd, const char *path, char *buffer, size_t size, size_t space) {
	return size > space ? NEXT(__readlinkat_chk)(dirfd, path, buffer, size, space) : readlinkat(dirfd, path, buffer, size);
}

/* ---- two paths ------------------------------------------------------------------------------------------------------------- */
struct pair {
	struct dc_walk walk; /* the old name */
	struct dc_place place;
	struct dc_file *base; /* of the new name */
	bool moved;           /* a directory that the kernel knows */
};

static void pair_end(struct pair *pair) {
	dc_walk_end(&pair->walk);
	dc_file_put(pair->base);
	pair->base = NULL;
}

/* Prepares the request; false: the kernel's. One pass: where a path leaves the instance, the kernel door resolves both. */
static bool pair_begin(struct pair *pair, enum dc_operation operation, int from_dirfd, const char *from, uint32_t from_flags, int to_dirfd, const char *to) {
	struct dc_walk *walk = &pair->walk;
	dc_walk_start(walk, from_dirfd, from, from_flags);
	walk->second = true;
	pair->base = NULL;
	bool found = dc_locate(to_dirfd, to, 0, &pair->place, &pair->base);
	if (found && dc_walk_next(walk, operation)) {
		bool same = walk->place.instance == pair->place.instance && (!pair->base || pair->base->client == walk->client);
		if (same && second_path(walk, pair->place.rest)) {
			walk->call.slot->handle2 = pair->base ? pair->base->handle : 0;
			return true;
		}
		dc_uncarried(DC_UNCARRIED_two_paths);
	}
	pair_end(pair);
	dc_kernel_dirfd(from_dirfd);
	dc_kernel_dirfd(to_dirfd);
	return false;
}

/* Sends; false: the kernel's after all. */
static bool pair_send(struct pair *pair, int from_dirfd, int to_dirfd, int *result) {
	dc_walk_send(&pair->walk);
	bool kernel = pair->walk.kernel;
	int64_t answer = pair->walk.result;
	pair->moved = !kernel && answer == 0 && pair->walk.call.slot->value[0];
	pair_end(pair);
	if (!kernel) *result = (int)dc_return(answer);
	else dc_kernel_dirfd(from_dirfd), dc_kernel_dirfd(to_dirfd);
	return !kernel;
}

/* The kernel moves a directory that it holds (a working directory, the start of a path) when it is asked for the new name; until then getcwd would answer the old one. */
static void show_kernel(int dirfd, const char *path) {
	struct stat st;
	k_stat(path[0] == '/' ? dirfd : dc_kernel_dirfd(dirfd), path, &st, AT_SYMLINK_NOFOLLOW);
}

EXPORT int renameat2(int from_dirfd, const char *from, int to_dirfd, const char *to, unsigned flags) {
	struct pair pair;
	int result;
	if (!dc_bad_address(from) && !dc_bad_address(to) && pair_begin(&pair, DC_OP_RENAME, from_dirfd, from, 0, to_dirfd, to)) {
		pair.walk.call.slot->mask = flags;
		if (pair_send(&pair, from_dirfd, to_dirfd, &result)) {
			if (pair.moved) show_kernel(to_dirfd, to);
			if (pair.moved && flags & RENAME_EXCHANGE) show_kernel(from_dirfd, from);
			return result;
		}
	}
	return NEXT(renameat2)(from_dirfd, from, to_dirfd, to, flags);
}

EXPORT int renameat(int from_dirfd, const char *from, int to_dirfd, const char *to) {
	return renameat2(from_dirfd, from, to_dirfd, to, 0);
}

EXPORT int rename(const char *from, const char *to) {
	return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

static bool nameless(int fd) {
	struct dc_file *file = dc_file_in_table(fd);
	bool result = file && file->nameless;
	dc_file_put(file);
	return result;
}

EXPORT int linkat(int from_dirfd, const char *from, int to_dirfd, const char *to, int flags) {
	struct pair pair;
	int result;
	uint32_t path = (flags & AT_SYMLINK_FOLLOW ? DC_PATH2_FOLLOW : DC_PATH_NOFOLLOW) | (flags & AT_EMPTY_PATH ? DC_PATH_EMPTY : 0);
	bool known = !(flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH)) && !dc_bad_address(from) && !dc_bad_address(to);
	int named = known && dc_active() && (flags & AT_SYMLINK_FOLLOW) && !strncmp(from, "/proc/self/fd/", 14) ? dc_proc_fd(from) : -1;
	if (named >= 0 && (unsigned)named < DC_FD_MAX && atomic_load(&dc_table[named])) { /* how an O_TMPFILE gets its name */
		from_dirfd = named;
		from = "";
		flags = AT_EMPTY_PATH;
		path = DC_PATH_EMPTY | DC_PATH2_FOLLOW;
	}
	if (known && flags & AT_EMPTY_PATH && !from[0] && nameless(from_dirfd)) return (int)dc_return(-ENOENT);
	if (known && pair_begin(&pair, DC_OP_LINK, from_dirfd, from, path, to_dirfd, to)) {
		if (pair_send(&pair, from_dirfd, to_dirfd, &result)) return result;
	}
	return NEXT(linkat)(from_dirfd, from, to_dirfd, to, flags);
}

EXPORT int link(const char *from, const char *to) {
	return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}
