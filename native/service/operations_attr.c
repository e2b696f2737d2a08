#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "operations.h"

int64_t dc_op_stat(struct dc_request *request) {
	struct dc_attr attr;
	struct dc_node *node;
	int error = dc_request_node(request, &node, &attr);
	if (error) return error;
	dc_forget(request, node);
	dc_answer_attr(request, &attr);
	return 0;
}

/* chmod(2), chown(2), utimensat(2), truncate(2): who may. Clears what the kernel would clear. */
static int may_set(struct dc_request *request, const struct dc_attr *now, struct dc_attr *set, uint32_t *mask, bool by_handle) {
	const struct dc_cred *cred = request->context->cred;
	if (*mask & DC_SET_MODE && S_ISLNK(now->st.st_mode)) return -EOPNOTSUPP;
	if (cred->uid == 0) return 0;
	bool owner = cred->uid == now->st.st_uid;
	if (*mask & DC_SET_MODE) {
		if (!owner) return -EPERM;
		if (!S_ISDIR(now->st.st_mode) && !dc_cred_in_group(cred, now->st.st_gid)) set->st.st_mode &= ~(mode_t)S_ISGID;
	}
	if (*mask & DC_SET_UID && (!owner || set->st.st_uid != now->st.st_uid)) return -EPERM;
	if (*mask & DC_SET_GID && (!owner || (set->st.st_gid != now->st.st_gid && !dc_cred_in_group(cred, set->st.st_gid)))) return -EPERM;
	if (*mask & (DC_SET_UID | DC_SET_GID) && !(*mask & DC_SET_MODE) && !S_ISDIR(now->st.st_mode) && now->st.st_mode & (S_ISUID | S_ISGID)) {
		*mask |= DC_SET_MODE;
		set->st.st_mode = now->st.st_mode & 07777 & ~(mode_t)S_ISUID & ~(mode_t)(now->st.st_mode & S_IXGRP ? S_ISGID : 0);
	}
	uint32_t times = *mask & (DC_SET_ATIME | DC_SET_MTIME), both_now = DC_SET_ATIME_NOW | DC_SET_MTIME_NOW;
	if (times && !owner) return -EPERM;
	if (*mask & both_now && !owner) {
		if ((*mask & both_now) != both_now) return -EPERM;
		int error = dc_access_check(cred, now, W_OK);
		if (error) return error;
	}
	if (*mask & DC_SET_SIZE && !by_handle) return dc_access_check(cred, now, W_OK);
	return 0;
}

/* ftruncate wants a descriptor open for writing; truncate a regular file. */
static int may_truncate(struct dc_request *request, const struct dc_node *node, bool by_handle) {
	if (S_ISDIR(node->type)) return by_handle ? -EINVAL : -EISDIR;
	if (!S_ISREG(node->type)) return -EINVAL;
	if (!by_handle) return 0;
	int error;
	struct dc_handle *handle = dc_handle_get(request->client, request->handle, &error);
	if (!handle) return error;
	error = (handle->flags & O_ACCMODE) == O_RDONLY || handle->flags & O_PATH ? -EINVAL : 0;
	dc_handle_put(handle);
	return error;
}

int64_t dc_op_setattr(struct dc_request *request) {
	struct dc_wire_attr wire;
	memcpy(&wire, &request->slot->attr, sizeof wire);
	__asm__ volatile("" ::: "memory");
	if (wire.size > INT64_MAX) return -EINVAL;
	struct dc_attr set = {.st = {.st_mode = wire.mode & 07777, .st_uid = wire.uid, .st_gid = wire.gid, .st_size = (off_t)wire.size,
		.st_atim = {wire.atime, wire.atime_ns}, .st_mtim = {wire.mtime, wire.mtime_ns}}};
	if (wire.atime_ns >= 1000000000u || wire.mtime_ns >= 1000000000u) return -EINVAL;
	struct dc_node *node;
	struct dc_attr attr;
	int error = dc_request_node(request, &node, &attr);
	if (error) return error;
	uint32_t mask = request->mask;
	bool by_handle = request->path_length == 0 && request->handle;
	if (mask & DC_SET_SIZE) error = may_truncate(request, node, by_handle);
	if (!error) error = may_set(request, &attr, &set, &mask, by_handle);
	if (!error) error = DC_REQUEST_CALL(request, setattr, node, &set, mask, &attr);
	if (!error) {
		if (mask & DC_SET_SIZE) dc_door_changed_data(request->instance->door, node, 0, 0);
		else dc_door_changed_attr(request->instance->door, node);
		dc_answer_attr(request, &attr);
	}
	dc_forget(request, node);
	return error;
}

int64_t dc_op_access(struct dc_request *request) {
	if (request->mode & ~(uint32_t)(R_OK | W_OK | X_OK)) return -EINVAL;
	struct dc_node *node;
	struct dc_attr attr;
	int error = dc_request_node(request, &node, &attr);
	if (error) return error;
	dc_forget(request, node);
	return dc_access_check(request->context->cred, &attr, (int)request->mode);
}

int64_t dc_op_readlink(struct dc_request *request) {
	struct dc_node *node;
	struct dc_attr attr;
	request->flags |= DC_PATH_NOFOLLOW;
	int error = dc_request_node(request, &node, &attr);
	if (error) return error;
	ssize_t result = -EINVAL;
	dc_once_begin(request, 0);
	if (S_ISLNK(node->type)) result = DC_REQUEST_CALL(request, readlink, node, (char *)request->buffer, request->length);
	dc_once_end(request, result);
	dc_forget(request, node);
	return result;
}

int64_t dc_op_statfs(struct dc_request *request) {
	struct dc_node *node;
	struct dc_attr attr;
	int error = dc_request_node(request, &node, &attr);
	if (error) return error;
	dc_forget(request, node);
	struct statvfs out;
	error = DC_FILE_CALL(request->instance->root, statfs, request->context, &out);
	if (error) return error;
	struct dc_wire_statfs wire = {.bsize = out.f_bsize, .frsize = out.f_frsize, .blocks = out.f_blocks, .bfree = out.f_bfree, .bavail = out.f_bavail,
		.files = out.f_files, .ffree = out.f_ffree, .favail = out.f_favail, .fsid = out.f_fsid, .flag = out.f_flag, .namemax = out.f_namemax};
	dc_once_begin(request, 0);
	memcpy(request->buffer, &wire, sizeof wire);
	return dc_once_end(request, sizeof wire);
}

/* xattr(7): "user." wants the file's permission bits, the rest is root's. */
static int may_xattr(struct dc_request *request, const char *name, const struct dc_attr *attr, bool write) {
	if (request->context->cred->uid == 0) return 0;
	if (!strncmp(name, "user.", 5)) {
		if (!S_ISREG(attr->st.st_mode) && !S_ISDIR(attr->st.st_mode)) return write ? -EPERM : -ENODATA;
		return dc_access_check(request->context->cred, attr, write ? W_OK : R_OK);
	}
	if (!strncmp(name, "trusted.", 8)) return write ? -EPERM : -ENODATA;
	if (!write) return 0;
	if (!strncmp(name, "system.posix_acl_", 17)) return request->context->cred->uid == attr->st.st_uid ? 0 : -EPERM;
	return -EPERM;
}

/* The node and the name of an xattr request; the buffer keeps the rest. */
static int xattr_begin(struct dc_request *request, bool write, struct dc_node **node, char name[DC_NAME_MAX + 1]) {
	int error = dc_request_text(request, name, DC_NAME_MAX + 1);
	if (error) return error == -ENAMETOOLONG ? -ERANGE : error;
	if (!name[0]) return -ERANGE;
	struct dc_attr attr;
	error = dc_request_node(request, node, &attr);
	if (error) return error;
	error = may_xattr(request, name, &attr, write);
	if (error) dc_forget(request, *node);
	return error;
}

int64_t dc_op_getxattr(struct dc_request *request) {
	struct dc_node *node;
	char name[DC_NAME_MAX + 1];
	int error = xattr_begin(request, false, &node, name);
	if (error) return error;
	dc_once_begin(request, 0);
	ssize_t result = dc_once_end(request, DC_REQUEST_CALL(request, getxattr, node, name, request->length ? request->buffer : NULL, request->length));
	dc_forget(request, node);
	return result;
}

int64_t dc_op_setxattr(struct dc_request *request) {
	struct dc_node *node;
	char name[DC_NAME_MAX + 1];
	if (request->length > 65536) return -E2BIG;
	int error = xattr_begin(request, true, &node, name);
	if (error) return error;
	if (request->mask & XATTR_CREATE) dc_once_begin(request, 0);
	error = DC_REQUEST_CALL(request, setxattr, node, name, request->buffer + request->path_length + request->path2_length, request->length, (int)request->mask);
	if (request->mask & XATTR_CREATE) dc_once_end(request, error);
	if (!error) dc_door_changed_attr(request->instance->door, node);
	dc_forget(request, node);
	return error;
}

int64_t dc_op_listxattr(struct dc_request *request) {
	struct dc_node *node;
	struct dc_attr attr;
	int error = dc_request_node(request, &node, &attr);
	if (error) return error;
	dc_once_begin(request, 0);
	ssize_t result = dc_once_end(request, DC_REQUEST_CALL(request, listxattr, node, request->length ? (char *)request->buffer : NULL, request->length));
	dc_forget(request, node);
	return result;
}

int64_t dc_op_removexattr(struct dc_request *request) {
	struct dc_node *node;
	char name[DC_NAME_MAX + 1];
	int error = xattr_begin(request, true, &node, name);
	if (error) return error;
	dc_once_begin(request, 0);
	error = (int)dc_once_end(request, DC_REQUEST_CALL(request, removexattr, node, name));
	if (!error) dc_door_changed_attr(request->instance->door, node);
	dc_forget(request, node);
	return error;
}
