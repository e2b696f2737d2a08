/*
 * attributes.c - attributes and extended attributes. The service is root, so what the kernel does for an unprivileged caller (dropping set-id bits) is done here.
 */
#include "local.h"

#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#define SET_ID (S_ISUID | S_ISGID)

int local_status(int descriptor, struct statx *status)
{
	return statx(descriptor, "", AT_EMPTY_PATH | AT_STATX_SYNC_AS_STAT, STATX_BASIC_STATS | STATX_BTIME, status) ? -errno : 0;
}

static struct timespec time_of(const struct statx_timestamp *stamp)
{
	return (struct timespec){.tv_sec = stamp->tv_sec, .tv_nsec = stamp->tv_nsec};
}

/* Also learns what later calls need to know about the node. `attr` may be NULL. */
void local_fill(struct local *local, struct local_node *node, const struct statx *status, struct dc_attr *attr)
{
	bool set_id = S_ISREG(status->stx_mode) && ((status->stx_mode & S_ISUID) || (status->stx_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP));

	if (atomic_load_explicit(&node->set_id, memory_order_relaxed) != set_id)
		node->set_id = set_id;
	if (atomic_load_explicit(&node->executable, memory_order_relaxed) != !!(status->stx_mode & 0111))
		node->executable = status->stx_mode & 0111;
	if (!status->stx_nlink)
		atomic_fetch_or(&node->node.flags, DC_NODE_UNLINKED);
	if (!attr)
		return;
	memset(attr, 0, sizeof *attr);
	attr->st.st_ino = node->node.ino;
	attr->st.st_mode = status->stx_mode;
	attr->st.st_nlink = status->stx_nlink;
	attr->st.st_uid = status->stx_uid;
	attr->st.st_gid = status->stx_gid;
	attr->st.st_rdev = makedev(status->stx_rdev_major, status->stx_rdev_minor);
	attr->st.st_size = (off_t)status->stx_size;
	attr->st.st_blksize = status->stx_blksize;
	attr->st.st_blocks = (blkcnt_t)status->stx_blocks;
	attr->st.st_atim = time_of(&status->stx_atime);
	attr->st.st_mtim = time_of(&status->stx_mtime);
	attr->st.st_ctim = time_of(&status->stx_ctime);
	attr->birth = time_of(&status->stx_btime);
	if (!(status->stx_mask & STATX_BTIME))
		attr->birth.tv_nsec = -1;
}

static int fill_from(struct local *local, struct local_node *node, int descriptor, struct dc_attr *attr)
{
	struct statx status;
	int result = local_status(descriptor, &status);

	if (!result)
		local_fill(local, node, &status, attr);
	return result;
}

int local_getattr(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, struct dc_attr *attr)
{
	struct local_node *at = local_node_of(node);
	int descriptor = local_use(local_of(self), at), result;

	if (descriptor < 0)
		return descriptor;
	result = fill_from(local_of(self), at, descriptor, attr);
	local_done(at);
	return result;
}

bool local_in_group(const struct dc_cred *cred, gid_t gid)
{
	uint32_t i;

	for (i = 0; i < cred->group_count && i < DC_GROUPS_MAX; i++)
		if (cred->groups[i] == gid)
			return true;
	return cred->uid == 0 || cred->gid == gid;
}

int local_chmod(struct local_node *node, int descriptor, mode_t mode)
{
	char path[32];

	if (S_ISLNK(node->node.type))
		return -EOPNOTSUPP;
	if (node->level > LOCAL_PATH && !fchmod(descriptor, mode))
		return 0;
	snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
	return chmod(path, mode) ? -errno : 0;
}

void local_clear_set_id(struct dc_context *context, struct local_node *node, int descriptor)
{
	struct statx status;
	mode_t mode;

	if (context->cred->uid == 0 || !atomic_load_explicit(&node->set_id, memory_order_relaxed) || local_status(descriptor, &status))
		return;
	mode = status.stx_mode & 07777 & ~(mode_t)S_ISUID;
	if (mode & S_IXGRP)
		mode &= ~(mode_t)S_ISGID;
	if (mode == (status.stx_mode & 07777) || !local_chmod(node, descriptor, mode))
		node->set_id = false;
}

static int set_size(struct local *local, struct dc_context *context, struct local_node *node, int descriptor, off_t size)
{
	int result;

	if (S_ISDIR(node->node.type))
		return -EISDIR;
	if (!S_ISREG(node->node.type) || size < 0)
		return -EINVAL;
	do {
		result = local_raise(local, context, node, descriptor, LOCAL_WRITE);
		if (result)
			return result;
		dc_block_begin_briefly(context);
		result = ftruncate(descriptor, size) ? -errno : 0;
		dc_block_end(context);
	} while ((result == -EINVAL || result == -EBADF) && node->level != LOCAL_WRITE);
	if (!result)
		local_clear_set_id(context, node, descriptor);
	return result;
}

static int set_mode(struct dc_context *context, struct local_node *node, int descriptor, mode_t mode)
{
	struct statx status;
	int result;

	mode &= 07777;
	if ((mode & S_ISGID) && context->cred->uid != 0) {
		result = local_status(descriptor, &status);
		if (result)
			return result;
		if (!local_in_group(context->cred, status.stx_gid))
			mode &= ~(mode_t)S_ISGID;
	}
	if (mode & 0111)
		local_lower(node, descriptor);
	return local_chmod(node, descriptor, mode);
}

static int set_times(int descriptor, const struct dc_attr *set, uint32_t mask)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_OMIT}};

	if (mask & DC_SET_ATIME)
		times[0] = set->st.st_atim;
	if (mask & DC_SET_MTIME)
		times[1] = set->st.st_mtim;
	if (mask & DC_SET_ATIME_NOW)
		times[0].tv_nsec = UTIME_NOW;
	if (mask & DC_SET_MTIME_NOW)
		times[1].tv_nsec = UTIME_NOW;
	return utimensat(descriptor, "", times, AT_EMPTY_PATH) ? -errno : 0;
}

int local_setattr(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const struct dc_attr *set, uint32_t mask, struct dc_attr *attr)
{
	struct local *local = local_of(self);
	struct local_node *at = local_node_of(node);
	int descriptor, result = 0;

	if (local->read_only && mask)
		return -EROFS;
	descriptor = local_use(local, at);
	if (descriptor < 0)
		return descriptor;
	if (mask & DC_SET_SIZE)
		result = set_size(local, context, at, descriptor, set->st.st_size);
	/* Owner before mode: a change of owner clears the set-id bits, which the new mode may want. */
	if (!result && (mask & (DC_SET_UID | DC_SET_GID)) &&
	    fchownat(descriptor, "", mask & DC_SET_UID ? set->st.st_uid : (uid_t)-1, mask & DC_SET_GID ? set->st.st_gid : (gid_t)-1, AT_EMPTY_PATH))
		result = -errno;
	if (!result && (mask & DC_SET_MODE))
		result = set_mode(context, at, descriptor, set->st.st_mode);
	if (!result && (mask & (DC_SET_ATIME | DC_SET_MTIME | DC_SET_ATIME_NOW | DC_SET_MTIME_NOW)))
		result = set_times(descriptor, set, mask);
	if (!result)
		result = fill_from(local, at, descriptor, attr);
	local_done(at);
	return result;
}

/* ---- extended attributes: O_PATH descriptors have no f*xattr, so they go by the descriptor's name in /proc ------------------------------ */
static bool starts_with(const char *name, const char *prefix)
{
	return !strncmp(name, prefix, strlen(prefix));
}

ssize_t local_getxattr(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const char *name, void *value, size_t size)
{
	struct local_node *at = local_node_of(node);
	int descriptor = local_use(local_of(self), at);
	char path[32];
	ssize_t result;

	if (descriptor < 0)
		return descriptor;
	snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
	if (context->cred->uid != 0 && starts_with(name, "trusted."))
		result = -ENODATA; /* as the kernel answers the unprivileged */
	else
		result = getxattr(path, name, value, size);
	if (result == -1)
		result = -errno;
	local_done(at);
	return result;
}

static bool xattr_forbidden(const struct dc_context *context, const char *name)
{
	return context->cred->uid != 0 && (starts_with(name, "trusted.") || starts_with(name, "security."));
}

/* `remove`: no value. */
static int change_xattr(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const char *name, bool remove, const void *value, size_t size, int flags)
{
	struct local_node *at = local_node_of(node);
	int descriptor, result;
	char path[32];

	if (local_of(self)->read_only)
		return -EROFS;
	if (xattr_forbidden(context, name))
		return -EPERM;
	descriptor = local_use(local_of(self), at);
	if (descriptor < 0)
		return descriptor;
	snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
	result = (remove ? removexattr(path, name) : setxattr(path, name, value, size, flags)) ? -errno : 0;
	local_done(at);
	return result;
}

int local_setxattr(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const char *name, const void *value, size_t size, int flags)
{
	return change_xattr(self, context, node, name, false, value, size, flags);
}

int local_removexattr(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const char *name)
{
	return change_xattr(self, context, node, name, true, NULL, 0, 0);
}

ssize_t local_listxattr(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, char *list, size_t size)
{
	struct local_node *at = local_node_of(node);
	int descriptor = local_use(local_of(self), at);
	char path[32];
	ssize_t result;

	if (descriptor < 0)
		return descriptor;
	snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
	result = listxattr(path, list, size);
	if (result < 0)
		result = -errno;
	local_done(at);
	return result;
}
