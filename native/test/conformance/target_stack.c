/* target_stack.c - the calls on a stack of libservices, put together from its operations as the doors do it. */
#include "target.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int reach(struct target *t, const char *path, size_t length, struct dc_node **node, struct dc_attr *attr)
{
	size_t consumed;
	int result;

	*node = NULL;
	if (!length || (length == 1 && *path == '.')) {
		*node = t->stand->root;
		DC_FILE_CALL(t->stand->top, reference, *node, 1);
		return attr ? CALL(t->stand, getattr, *node, attr) : 0;
	}
	result = CALL(t->stand, lookup, t->stand->root, path, length, node, attr, &consumed);
	if (!result && consumed < length)
		result = S_ISLNK((*node)->type) ? -ELOOP : -ENOTDIR;
	if (result && *node) {
		FORGET(t->stand, *node, 1);
		*node = NULL;
	}
	return result;
}

static int parent_of(struct target *t, const char *path, struct dc_node **parent, const char **name)
{
	const char *slash = strrchr(path, '/');
	int result = reach(t, path, slash ? (size_t)(slash - path) : 0, parent, NULL);

	*name = slash ? slash + 1 : path;
	if (!result && !S_ISDIR((*parent)->type)) {
		result = S_ISLNK((*parent)->type) ? -ELOOP : -ENOTDIR;
		FORGET(t->stand, *parent, 1);
	}
	return result;
}

/* `body` calls one operation on (parent, name). */
#define AT_PATH(body) \
	struct dc_node *parent; \
	const char *name; \
	int result = parent_of(t, path, &parent, &name); \
	if (result) \
		return result; \
	result = body; \
	FORGET(t->stand, parent, 1); \
	return result

/* `body` calls one operation on the node of the path. */
#define ON_NODE(type, body) \
	struct dc_node *node; \
	type result = reach(t, path, strlen(path), &node, NULL); \
	if (result) \
		return result; \
	result = body; \
	FORGET(t->stand, node, 1); \
	return result

static int open_existing(struct target *t, struct dc_node *parent, const char *name, int flags, struct dc_node **node)
{
	struct dc_attr set = {0};
	size_t consumed;
	int result = CALL(t->stand, lookup, parent, name, strlen(name), node, NULL, &consumed);

	if (result) {
		if (*node)
			FORGET(t->stand, *node, 1);
		return result;
	}
	if (S_ISLNK((*node)->type))
		result = -ELOOP;
	else if ((flags & O_CREAT) && S_ISDIR((*node)->type))
		result = -EISDIR;
	else if ((flags & O_DIRECTORY) && !S_ISDIR((*node)->type))
		result = -ENOTDIR;
	else
		result = CALL(t->stand, open, *node, flags);
	if (!result && (flags & O_TRUNC)) {
		result = CALL(t->stand, setattr, *node, &set, DC_SET_SIZE, NULL);
		if (result)
			CALL(t->stand, close, *node, flags);
	}
	if (result)
		FORGET(t->stand, *node, 1);
	return result;
}

static int stack_open(struct target *t, int handle, const char *path, int flags, mode_t mode)
{
	struct dc_node *parent, *node = NULL;
	const char *name;
	int result = parent_of(t, path, &parent, &name);

	if (result)
		return result;
	if (strlen(name) > DC_NAME_MAX)
		result = -ENAMETOOLONG;
	else if (flags & O_CREAT)
		result = CALL(t->stand, create, parent, name, mode, flags & ~(O_TRUNC | O_EXCL | O_CREAT), &node, NULL);
	if (!result && !node)
		result = open_existing(t, parent, name, flags, &node);
	else if (result == -EEXIST && !(flags & O_EXCL))
		result = open_existing(t, parent, name, flags, &node);
	FORGET(t->stand, parent, 1);
	if (!result) {
		t->nodes[handle] = node;
		t->modes[handle] = flags;
	}
	return result;
}

static void stack_close(struct target *t, int handle)
{
	if (!t->nodes[handle])
		return;
	CALL(t->stand, close, t->nodes[handle], t->modes[handle]);
	FORGET(t->stand, t->nodes[handle], 1);
	t->nodes[handle] = NULL;
}

static ssize_t stack_read(struct target *t, int handle, const struct iovec *iov, int count, off_t offset)
{
	if ((t->modes[handle] & O_ACCMODE) == O_WRONLY)
		return -EBADF; /* a descriptor's mode is the doors' affair */
	return CALL(t->stand, read, t->nodes[handle], iov, count, offset, 0);
}

static ssize_t stack_write(struct target *t, int handle, const struct iovec *iov, int count, off_t *offset, bool append)
{
	if ((t->modes[handle] & O_ACCMODE) == O_RDONLY)
		return -EBADF;
	return CALL(t->stand, write, t->nodes[handle], iov, count, offset, append ? DC_IO_APPEND : 0);
}

static int stack_truncate(struct target *t, int handle, off_t size)
{
	struct dc_attr set = {.st.st_size = size};
	return CALL(t->stand, setattr, t->nodes[handle], &set, DC_SET_SIZE, NULL);
}

static int attributes_from(const struct dc_attr *attr, struct attributes *a)
{
	const struct stat *status = &attr->st;
	*a = (struct attributes){status->st_mode, status->st_nlink, status->st_uid, status->st_gid, status->st_size, status->st_ino, status->st_atim, status->st_mtim,
		status->st_rdev};
	return 0;
}

static int stack_fstat(struct target *t, int handle, struct attributes *a)
{
	struct dc_attr attr;
	int result = CALL(t->stand, getattr, t->nodes[handle], &attr);
	return result ? result : attributes_from(&attr, a);
}

static int stack_fsync(struct target *t, int handle, bool data_only) { return CALL(t->stand, fsync, t->nodes[handle], data_only); }
static int stack_fallocate(struct target *t, int handle, int mode, off_t offset, off_t length)
{
	return CALL(t->stand, fallocate, t->nodes[handle], mode, offset, length);
}
static off_t stack_seek(struct target *t, int handle, off_t offset, int whence) { return CALL(t->stand, seek, t->nodes[handle], offset, whence); }
static ssize_t stack_copy(struct target *t, int from, off_t from_offset, int to, off_t to_offset, size_t length)
{
	return CALL(t->stand, copy, t->nodes[from], from_offset, t->nodes[to], to_offset, length);
}

static int stack_tmpfile(struct target *t, int handle, const char *directory, int flags, mode_t mode)
{
	struct dc_node *parent, *node;
	int result = reach(t, directory, strlen(directory), &parent, NULL);

	if (result)
		return result;
	result = CALL(t->stand, tmpfile, parent, mode, flags, &node, NULL);
	FORGET(t->stand, parent, 1);
	if (!result) {
		t->nodes[handle] = node;
		t->modes[handle] = flags;
	}
	return result;
}

static int stack_link_handle(struct target *t, int handle, const char *path)
{
	AT_PATH(CALL(t->stand, link, t->nodes[handle], parent, name, NULL));
}

static int stack_stat(struct target *t, const char *path, struct attributes *a)
{
	struct dc_node *node;
	struct dc_attr attr;
	int result = reach(t, path, strlen(path), &node, &attr);

	if (result)
		return result;
	FORGET(t->stand, node, 1);
	return attributes_from(&attr, a);
}

static int set_attributes(struct target *t, const char *path, const struct dc_attr *set, uint32_t mask) { ON_NODE(int, CALL(t->stand, setattr, node, set, mask, NULL)); }

static uint32_t time_mask(struct timespec time, uint32_t given, uint32_t now)
{
	return time.tv_nsec == UTIME_OMIT ? 0 : time.tv_nsec == UTIME_NOW ? now : given;
}

static int stack_set_times(struct target *t, const char *path, struct timespec atime, struct timespec mtime)
{
	struct dc_attr set = {.st.st_atim = atime, .st.st_mtim = mtime};
	return set_attributes(t, path, &set, time_mask(atime, DC_SET_ATIME, DC_SET_ATIME_NOW) | time_mask(mtime, DC_SET_MTIME, DC_SET_MTIME_NOW));
}

static int stack_chmod(struct target *t, const char *path, mode_t mode)
{
	struct dc_attr set = {.st.st_mode = mode};
	return set_attributes(t, path, &set, DC_SET_MODE);
}

static int stack_chown(struct target *t, const char *path, uid_t uid, gid_t gid)
{
	struct dc_attr set = {.st.st_uid = uid, .st.st_gid = gid};
	return set_attributes(t, path, &set, (uid != (uid_t)-1 ? DC_SET_UID : 0u) | (gid != (gid_t)-1 ? DC_SET_GID : 0u));
}

/* What makes a node answers it: drop it again. */
static int drop(struct target *t, int result, struct dc_node **node)
{
	if (!result)
		FORGET(t->stand, *node, 1);
	return result;
}

static int stack_mkdir(struct target *t, const char *path, mode_t mode)
{
	struct dc_node *node;
	AT_PATH(drop(t, CALL(t->stand, mkdir, parent, name, mode, &node, NULL), &node));
}

static int stack_mknod(struct target *t, const char *path, mode_t mode, dev_t device)
{
	struct dc_node *node;
	AT_PATH(drop(t, CALL(t->stand, mknod, parent, name, mode, device, &node, NULL), &node));
}

static int stack_symlink(struct target *t, const char *text, const char *path)
{
	struct dc_node *node;
	AT_PATH(drop(t, CALL(t->stand, symlink, parent, name, text, &node, NULL), &node));
}

static ssize_t stack_readlink(struct target *t, const char *path, char *buffer, size_t size) { ON_NODE(ssize_t, CALL(t->stand, readlink, node, buffer, size)); }
static int link_node(struct target *t, struct dc_node *node, const char *path) { AT_PATH(CALL(t->stand, link, node, parent, name, NULL)); }
static int link_to(struct target *t, const char *path, const char *to) { ON_NODE(int, link_node(t, node, to)); }
static int stack_link(struct target *t, const char *from, const char *to) { return link_to(t, from, to); }
static int stack_unlink(struct target *t, const char *path) { AT_PATH(CALL(t->stand, unlink, parent, name)); }
static int stack_rmdir(struct target *t, const char *path) { AT_PATH(CALL(t->stand, rmdir, parent, name)); }

static int stack_rename(struct target *t, const char *from, const char *to, unsigned flags)
{
	struct dc_node *source, *target;
	const char *from_name, *to_name;
	int result = parent_of(t, from, &source, &from_name);

	if (result)
		return result;
	result = parent_of(t, to, &target, &to_name);
	if (!result) {
		result = CALL(t->stand, rename, source, from_name, target, to_name, flags);
		FORGET(t->stand, target, 1);
	}
	FORGET(t->stand, source, 1);
	return result;
}

/* A small sink, so that a listing takes many calls. */
struct sink {
	struct dc_dirent_sink sink;
	struct entries *entries;
	uint64_t cookie;
	int room;
};

static bool sink_add(struct dc_dirent_sink *at, const char *name, size_t length, uint64_t ino, uint32_t type, uint64_t cookie)
{
	struct sink *sink = (struct sink *)at;

	if (!sink->room)
		return false;
	sink->room--;
	sink->cookie = cookie;
	entries_add(sink->entries, name, length, type, ino);
	return true;
}

static int list_node(struct target *t, struct dc_node *node, struct entries *entries)
{
	struct sink sink = {{sink_add}, entries, 0, 0};
	size_t before;
	int result;

	if (!S_ISDIR(node->type))
		return S_ISLNK(node->type) ? -ENOTDIR : CALL(t->stand, readdir, node, 0, &sink.sink);
	do {
		before = entries->count;
		sink.room = 7;
		result = CALL(t->stand, readdir, node, sink.cookie, &sink.sink);
	} while (!result && entries->count > before);
	return result;
}

static int stack_list(struct target *t, const char *path, struct entries *entries) { ON_NODE(int, list_node(t, node, entries)); }

static ssize_t stack_getxattr(struct target *t, const char *path, const char *name, char *value, size_t size)
{
	ON_NODE(ssize_t, CALL(t->stand, getxattr, node, name, value, size));
}

static int stack_setxattr(struct target *t, const char *path, const char *name, const char *value, size_t size, int flags)
{
	ON_NODE(int, CALL(t->stand, setxattr, node, name, value, size, flags));
}

static ssize_t stack_listxattr(struct target *t, const char *path, char *list, size_t size) { ON_NODE(ssize_t, CALL(t->stand, listxattr, node, list, size)); }
static int stack_removexattr(struct target *t, const char *path, const char *name) { ON_NODE(int, CALL(t->stand, removexattr, node, name)); }
static void stack_as(struct target *t, uid_t uid, gid_t gid) { stand_credentials(uid, gid); }

static int stack_parent(struct target *t, const char *directory, struct attributes *a)
{
	struct dc_node *node, *parent = NULL;
	struct dc_attr attr;
	size_t consumed;
	int result = reach(t, directory, strlen(directory), &node, NULL);

	if (result)
		return result;
	result = CALL(t->stand, lookup, node, "..", 2, &parent, &attr, &consumed);
	FORGET(t->stand, node, 1);
	if (!result)
		FORGET(t->stand, parent, 1);
	return result ? result : attributes_from(&attr, a);
}

const struct calls stack_calls = {stack_open, stack_close, stack_read, stack_write, stack_truncate, stack_fstat, stack_fsync, stack_fallocate, stack_seek, stack_copy,
	stack_tmpfile, stack_link_handle, stack_stat, stack_set_times, stack_chmod, stack_chown, stack_mkdir, stack_mknod, stack_symlink, stack_readlink, stack_link,
	stack_unlink, stack_rmdir, stack_rename, stack_list, stack_getxattr, stack_setxattr, stack_listxattr, stack_removexattr, stack_as, stack_parent};
