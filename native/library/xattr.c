/*
 * xattr.c - extended attributes: by path, by path without following the last link, by descriptor.
 */
#include "internal.h"

#include <sys/xattr.h>

#define NAME_SPACE 65536u

/* The descriptor forms use an empty path below the descriptor. An O_PATH descriptor has no xattr calls. */
static bool path_only(int fd) {
	struct dc_file *file = dc_file_get(fd);
	bool yes = file && file->flags & O_PATH;
	dc_file_put(file);
	return yes;
}

static void put_name(struct dc_walk *walk, const char *name) {
	size_t length = strnlen(name, 300);
	memcpy(walk->call.buffer + walk->length, name, length);
	walk->call.slot->path2_length = (uint32_t)length;
}

static const char all[] = ""; /* in place of a name */

/* `size` 0 asks for the length. -1 and errno, or *kernel. */
static ssize_t get(struct dc_walk *walk, int dirfd, const char *path, uint32_t flags, const char *name, void *value, size_t size, bool *kernel) {
	size_t space = size < NAME_SPACE ? size : NAME_SPACE;
	dc_walk_start(walk, dirfd, path, flags);
	if (dc_bad_address(name)) walk->kernel = true;
	for (; dc_walk_next(walk, name == all ? DC_OP_LISTXATTR : DC_OP_GETXATTR); dc_walk_send(walk)) {
		if (name != all) put_name(walk, name);
		walk->call.slot->length = space;
	}
	*kernel = walk->kernel;
	if (walk->kernel) {
		dc_walk_end(walk);
		return 0;
	}
	if (walk->result > 0 && size) {
		if (walk->result > (int64_t)size) walk->result = -ERANGE;
		else if (dc_bad_address(value)) walk->result = -EFAULT;
		else memcpy(value, walk->call.buffer, (size_t)walk->result);
	}
	return (ssize_t)dc_walk_finish(walk);
}

static int set(struct dc_walk *walk, int dirfd, const char *path, uint32_t path_flags, const char *name, const void *value, size_t size, int flags, bool *kernel) {
	*kernel = false;
	if (size > NAME_SPACE) return (int)dc_return(-E2BIG);
	dc_walk_start(walk, dirfd, path, path_flags);
	if (dc_bad_address(name) || (size && dc_bad_address(value))) walk->kernel = true;
	for (; dc_walk_next(walk, DC_OP_SETXATTR); dc_walk_send(walk)) {
		put_name(walk, name);
		struct dc_slot *slot = walk->call.slot;
		if (size) memcpy(walk->call.buffer + slot->path_length + slot->path2_length, value, size);
		slot->length = size;
		slot->mask = (uint32_t)flags;
	}
	*kernel = walk->kernel;
	if (walk->kernel) dc_walk_end(walk);
	return walk->kernel ? 0 : (int)dc_walk_finish(walk);
}

static int drop(struct dc_walk *walk, int dirfd, const char *path, uint32_t path_flags, const char *name, bool *kernel) {
	dc_walk_start(walk, dirfd, path, path_flags);
	if (dc_bad_address(name)) walk->kernel = true;
	for (; dc_walk_next(walk, DC_OP_REMOVEXATTR); dc_walk_send(walk)) put_name(walk, name);
	*kernel = walk->kernel;
	if (walk->kernel) dc_walk_end(walk);
	return walk->kernel ? 0 : (int)dc_walk_finish(walk);
}

EXPORT ssize_t getxattr(const char *path, const char *name, void *value, size_t size) {
	struct dc_walk walk;
	bool kernel;
	ssize_t result = get(&walk, AT_FDCWD, path, 0, name, value, size, &kernel);
	return kernel ? NEXT(getxattr)(walk.path, name, value, size) : result;
}

EXPORT ssize_t lgetxattr(const char *path, const char *name, void *value, size_t size) {
	struct dc_walk walk;
	bool kernel;
	ssize_t result = get(&walk, AT_FDCWD, path, DC_PATH_NOFOLLOW, name, value, size, &kernel);
	return kernel ? NEXT(lgetxattr)(walk.path, name, value, size) : result;
}

EXPORT ssize_t fgetxattr(int fd, const char *name, void *value, size_t size) {
	struct dc_walk walk;
	bool kernel;
	if (fd < 0 || path_only(fd)) return dc_return(-EBADF);
	ssize_t result = get(&walk, fd, "", DC_PATH_EMPTY, name, value, size, &kernel);
	return kernel ? NEXT(fgetxattr)(fd, name, value, size) : result;
}

EXPORT ssize_t listxattr(const char *path, char *list, size_t size) {
	struct dc_walk walk;
	bool kernel;
	ssize_t result = get(&walk, AT_FDCWD, path, 0, all, list, size, &kernel);
	return kernel ? NEXT(listxattr)(walk.path, list, size) : result;
}

EXPORT ssize_t llistxattr(const char *path, char *list, size_t size) {
	struct dc_walk walk;
	bool kernel;
	ssize_t result = get(&walk, AT_FDCWD, path, DC_PATH_NOFOLLOW, all, list, size, &kernel);
	return kernel ? NEXT(llistxattr)(walk.path, list, size) : result;
}

EXPORT ssize_t flistxattr(int fd, char *list, size_t size) {
	struct dc_walk walk;
	bool kernel;
	if (fd < 0 || path_only(fd)) return dc_return(-EBADF);
	ssize_t result = get(&walk, fd, "", DC_PATH_EMPTY, all, list, size, &kernel);
	return kernel ? NEXT(flistxattr)(fd, list, size) : result;
}

EXPORT int setxattr(const char *path, const char *name, const void *value, size_t size, int flags) {
	struct dc_walk walk;
	bool kernel;
	int result = set(&walk, AT_FDCWD, path, 0, name, value, size, flags, &kernel);
	return kernel ? NEXT(setxattr)(walk.path, name, value, size, flags) : result;
}

EXPORT int lsetxattr(const char *path, const char *name, const void *value, size_t size, int flags) {
	struct dc_walk walk;
	bool kernel;
	int result = set(&walk, AT_FDCWD, path, DC_PATH_NOFOLLOW, name, value, size, flags, &kernel);
	return kernel ? NEXT(lsetxattr)(walk.path, name, value, size, flags) : result;
}

EXPORT int fsetxattr(int fd, const char *name, const void *value, size_t size, int flags) {
	struct dc_walk walk;
	bool kernel;
	if (fd < 0 || path_only(fd)) return (int)dc_return(-EBADF);
	int result = set(&walk, fd, "", DC_PATH_EMPTY, name, value, size, flags, &kernel);
	return kernel ? NEXT(fsetxattr)(fd, name, value, size, flags) : result;
}

EXPORT int removexattr(const char *path, const char *name) {
	struct dc_walk walk;
	bool kernel;
	int result = drop(&walk, AT_FDCWD, path, 0, name, &kernel);
	return kernel ? NEXT(removexattr)(walk.path, name) : result;
}

EXPORT int lremovexattr(const char *path, const char *name) {
	struct dc_walk walk;
	bool kernel;
	int result = drop(&walk, AT_FDCWD, path, DC_PATH_NOFOLLOW, name, &kernel);
	return kernel ? NEXT(lremovexattr)(walk.path, name) : result;
}

EXPORT int fremovexattr(int fd, const char *name) {
	struct dc_walk walk;
	bool kernel;
	if (fd < 0 || path_only(fd)) return (int)dc_return(-EBADF);
	int result = drop(&walk, fd, "", DC_PATH_EMPTY, name, &kernel);
	return kernel ? NEXT(fremovexattr)(fd, name) : result;
}
