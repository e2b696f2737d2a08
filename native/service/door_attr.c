/*
 * door_attr.c - attributes, extended attributes, statfs.
 *
 * A SETATTR answer is kept by the kernel whatever was notified while it travelled, so it says "do not keep": the next stat asks. GETATTR answers are guarded by the kernel itself
 * (but see door_notify.c, 5).
 */
#include <fcntl.h>

#include "door_internal.h"

#define XATTR_VALUE_MAX (64u << 10)

static void reply_attr(fuse_req_t req, const struct dc_attr *attr, double timeout) {
	struct fuse_attr_out out = {.attr_valid = (uint64_t)timeout};
	door_fill_attr(&out.attr, &attr->st);
	door_current.result = 0;
	fuse_reply_buf(req, (const char *)&out, sizeof out);
}

void door_getattr(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *info) {
	struct dc_door *door = door_of(req);
	struct door_entry *entry;
	struct dc_node *node = door_node(req, number, &entry);
	(void)info;
	if (!node) return;
	struct door_call call;
	struct dc_attr attr;
	if (door->keeps_names) door_cached_set(node, DOOR_ATTRIBUTES);
	int result = DOOR_CALL(door, getattr, door_context(req, &call), node, &attr);
	if (result) {
		door_reply(req, result);
		return;
	}
	door_size_lowered(entry, (uint64_t)attr.st.st_size);
	reply_attr(req, &attr, door_attributes_keep(door, entry));
}

/*
 * As root: who may is the kernel's affair, and it goes by groups and capabilities that are not known here. A stack would refuse, for instance, what the kernel asks for on behalf of whom it has
 * let write: that security.capability go; or take the set-group-id bit from who may set it by a supplementary group.
 */
static struct dc_context *root_context(fuse_req_t req, struct door_call *call) {
	struct dc_context *context = door_context(req, call);
	call->cred.uid = 0;
	call->cred.gid = 0;
	return context;
}

static bool caller_in_group(fuse_req_t req, gid_t gid) {
	gid_t groups[256];
	if (fuse_req_ctx(req)->gid == gid) return true;
	int count = fuse_req_getgroups(req, (int)(sizeof groups / sizeof *groups), groups); /* from /proc; more than fit are not looked at */
	for (int i = 0; i < count && i < (int)(sizeof groups / sizeof *groups); i++)
		if (groups[i] == gid) return true;
	return false;
}

/*
 * Writing, truncating or giving away a file takes its set-id bits, as the kernel does for its own filesystems: without group execution the set-group-id bit goes only if the caller is not of
 * the group. `privileged`: that does not matter to the caller. (Capabilities, security.capability, are taken by the kernel, or by the filesystem beneath.)
 */
int door_kill_privileges(fuse_req_t req, struct dc_node *node, bool privileged) {
	struct dc_door *door = door_of(req);
	struct door_call call;
	struct dc_attr attr;
	if (!S_ISREG(node->type)) return 0;
	struct dc_context *context = root_context(req, &call);
	int result = DOOR_CALL(door, getattr, context, node, &attr);
	if (result) return result;
	mode_t kill = attr.st.st_mode & S_ISUID;
	if ((attr.st.st_mode & S_ISGID) && ((attr.st.st_mode & S_IXGRP) || !(privileged || caller_in_group(req, attr.st.st_gid)))) kill |= S_ISGID;
	if (!kill) return 0;
	struct dc_attr set = {.st.st_mode = attr.st.st_mode & 07777 & ~kill};
	result = DOOR_CALL(door, setattr, context, node, &set, DC_SET_MODE, &attr);
	return result ? result : 1;
}

static uint32_t set_mask(int to_set) {
	static const struct { int kernel; uint32_t ours; } bits[] = {
		{FUSE_SET_ATTR_MODE, DC_SET_MODE}, {FUSE_SET_ATTR_UID, DC_SET_UID}, {FUSE_SET_ATTR_GID, DC_SET_GID}, {FUSE_SET_ATTR_SIZE, DC_SET_SIZE},
		{FUSE_SET_ATTR_ATIME, DC_SET_ATIME}, {FUSE_SET_ATTR_MTIME, DC_SET_MTIME}, {FUSE_SET_ATTR_ATIME_NOW, DC_SET_ATIME_NOW}, {FUSE_SET_ATTR_MTIME_NOW, DC_SET_MTIME_NOW},
	};
	uint32_t mask = 0;
	for (unsigned i = 0; i < sizeof bits / sizeof *bits; i++)
		if (to_set & bits[i].kernel) mask |= bits[i].ours;
	if (mask & DC_SET_ATIME_NOW) mask &= ~(uint32_t)DC_SET_ATIME;
	if (mask & DC_SET_MTIME_NOW) mask &= ~(uint32_t)DC_SET_MTIME;
	return mask;
}

void door_setattr(fuse_req_t req, fuse_ino_t number, struct stat *attr, int to_set, struct fuse_file_info *info) {
	struct dc_door *door = door_of(req);
	struct door_entry *entry;
	struct dc_node *node = door_node(req, number, &entry);
	(void)info;
	if (!node) return;
	uint32_t mask = set_mask(to_set);
	if (mask & DC_SET_SIZE) door_current.counted = DC_COUNTED_truncate;
	struct door_call call;
	struct dc_context *context = root_context(req, &call);
	struct dc_attr set = {.st = *attr}, out;
	int result = mask ? DOOR_CALL(door, setattr, context, node, &set, mask, &out) : 0;
	bool owner = mask & (DC_SET_UID | DC_SET_GID), kill = owner || (to_set & FUSE_SET_ATTR_KILL_SUID); /* of a change of owner the kernel does not say whose it is */
	if (!result && kill && !(mask & DC_SET_MODE)) {
		result = door_kill_privileges(req, node, owner && fuse_req_ctx(req)->uid == 0);
		if (result > 0) result = 0;
	}
	if (!result && (kill || !mask)) result = DOOR_CALL(door, getattr, context, node, &out);
	door_size_lowered(entry, 0);
	if (result) door_reply(req, result);
	else reply_attr(req, &out, 0);
	door_size_lowered(entry, 0); /* whatever was pushed meanwhile, the kernel takes the answer's size */
}

void door_statfs(fuse_req_t req, fuse_ino_t number) {
	struct door_call call;
	struct statvfs out = {0};
	(void)number; /* one answer for the whole instance */
	int result = DOOR_CALL(door_of(req), statfs, door_context(req, &call), &out);
	if (result) {
		door_reply(req, result);
		return;
	}
	door_current.result = 0;
	fuse_reply_statfs(req, &out);
}

/* ---- extended attributes -------------------------------------------------------------------------------------------------- */
static bool is_acl(const char *name) {
	return !strcmp(name, "system.posix_acl_access") || !strcmp(name, "system.posix_acl_default");
}

static void reply_value(fuse_req_t req, ssize_t length, size_t size) {
	if (length < 0) {
		door_reply(req, (int)length);
	} else if (size == 0) {
		door_current.result = 0;
		fuse_reply_xattr(req, (size_t)length);
	} else if ((size_t)length > size) {
		door_reply(req, ERANGE);
	} else {
		door_current.result = 0;
		fuse_reply_buf(req, (const char *)door_current.scratch, (size_t)length);
	}
}

void door_getxattr(fuse_req_t req, fuse_ino_t number, const char *name, size_t size) {
	struct dc_node *node = door_node(req, number, NULL);
	if (!node) return;
	struct door_call call;
	ssize_t length = DOOR_CALL(door_of(req), getxattr, root_context(req, &call), node, name, size ? door_current.scratch : NULL, size < XATTR_VALUE_MAX ? size : XATTR_VALUE_MAX);
	/* A permission check must not fail because a stack has no ACLs. */
	if ((length == -EOPNOTSUPP || length == -ENOSYS) && is_acl(name)) length = -ENODATA;
	reply_value(req, length, size);
}

void door_setxattr(fuse_req_t req, fuse_ino_t number, const char *name, const char *value, size_t size, int flags) {
	struct dc_node *node = door_node(req, number, NULL);
	if (!node || (flags && door_once(req, "setxattr", NULL))) return; /* XATTR_CREATE and XATTR_REPLACE answer otherwise the second time */
	struct door_call call;
	int result = DOOR_CALL(door_of(req), setxattr, root_context(req, &call), node, name, value, size, flags);
	if (result == -ENOSYS && is_acl(name)) result = -EOPNOTSUPP;
	door_once_end(result, 0);
	door_reply(req, result);
}

void door_listxattr(fuse_req_t req, fuse_ino_t number, size_t size) {
	struct dc_node *node = door_node(req, number, NULL);
	if (!node) return;
	struct door_call call;
	reply_value(req, DOOR_CALL(door_of(req), listxattr, root_context(req, &call), node, size ? (char *)door_current.scratch : NULL, size < XATTR_VALUE_MAX ? size : XATTR_VALUE_MAX), size);
}

void door_removexattr(fuse_req_t req, fuse_ino_t number, const char *name) {
	struct dc_node *node = door_node(req, number, NULL);
	if (!node || door_once(req, "removexattr", NULL)) return;
	struct door_call call;
	int result = DOOR_CALL(door_of(req), removexattr, root_context(req, &call), node, name);
	if (result == -ENOSYS && is_acl(name)) result = -EOPNOTSUPP;
	door_once_end(result, 0);
	door_reply(req, result);
}
