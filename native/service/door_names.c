/*
 * door_names.c - operations on names, and how every reply that gives the kernel a node is made.
 *
 * A regular file is made by MKNOD, not CREATE (answered ENOSYS where open needs no request): one request instead of two, since nothing is to be released later. MKNOD does not say whether
 * O_EXCL was asked for. When the name has come to be meanwhile, the answer is ESTALE: the kernel then walks the path once more, asks anew for every name, finds the file and
 * decides by itself, permissions included.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "door_internal.h"

#define HANDLE_PREFIX ".diciclo-handle-"

struct dc_context *door_context(fuse_req_t req, struct door_call *call) {
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	call->cred.uid = ctx->uid;
	call->cred.gid = ctx->gid;
	call->cred.group_count = 0; /* the kernel has checked permissions; ownership needs no more */
	call->context = (struct dc_context){.cred = &call->cred, .pid = ctx->pid};
	return &call->context;
}

struct dc_node *door_node(fuse_req_t req, fuse_ino_t number, struct door_entry **entry) {
	struct door_entry *found = door_entry_of(door_of(req), number);
	if (entry) *entry = found;
	struct dc_node *node = found ? atomic_load(&found->node) : NULL;
	if (!node) door_reply(req, ESTALE);
	return node;
}

void door_doubt(fuse_req_t req, const char *what) {
	door_log(door_of(req), LOG_WARNING, "%s was under way when the service died and may have happened: answered EIO", what);
	door_reply(req, EIO);
}

bool door_once(fuse_req_t req, const char *what, void (*answer)(fuse_req_t req, int64_t result)) {
	struct door_seen seen;
	enum door_stage stage = door_once_seen(door_of(req), &seen);
	if (stage == DOOR_NOT_BEGUN) {
		door_once_begin(door_of(req), 0);
		return false;
	}
	if (stage != DOOR_DONE) door_doubt(req, what);
	else if (answer) answer(req, seen.result);
	else door_reply(req, (int)seen.result);
	return true;
}

/* ---- replies that carry a node -------------------------------------------------------------------------------------------- */
void door_fill_attr(struct fuse_attr *out, const struct stat *st) {
	*out = (struct fuse_attr){
		.ino = st->st_ino, .size = (uint64_t)st->st_size, .blocks = (uint64_t)st->st_blocks,
		.atime = (uint64_t)st->st_atim.tv_sec, .mtime = (uint64_t)st->st_mtim.tv_sec, .ctime = (uint64_t)st->st_ctim.tv_sec,
		.atimensec = (uint32_t)st->st_atim.tv_nsec, .mtimensec = (uint32_t)st->st_mtim.tv_nsec, .ctimensec = (uint32_t)st->st_ctim.tv_nsec,
		.mode = st->st_mode, .nlink = (uint32_t)st->st_nlink, .uid = st->st_uid, .gid = st->st_gid,
		/* the kernel's 32-bit form of a device number */
		.rdev = (minor(st->st_rdev) & 0xff) | major(st->st_rdev) << 8 | (minor(st->st_rdev) & ~0xffu) << 12,
		.blksize = (uint32_t)st->st_blksize,
	};
}

void door_fill_entry(struct fuse_entry_out *out, uint64_t number, const struct stat *st, double entry_timeout, double attr_timeout) {
	memset(out, 0, sizeof *out);
	out->nodeid = number; /* unique for ever, so the generation can stay 0, as the root's must */
	out->entry_valid = (uint64_t)entry_timeout;
	out->attr_valid = (uint64_t)attr_timeout;
	door_fill_attr(&out->attr, st);
}

/* Answers `req`, or, where libfuse did not parse the request, the raw one. */
static int send_answer(fuse_req_t req, const void *data, size_t length) {
	if (req) return fuse_reply_buf(req, data, length);
	struct fuse_out_header header = {.len = (uint32_t)(sizeof header + length), .unique = door_current.header->unique};
	struct iovec iov[2] = {{&header, sizeof header}, {(void *)(uintptr_t)data, length}};
	DOOR_BEFORE_ANSWER(door_current.door);
	return writev(door_current.door->fd, iov, 2) < 0 ? -errno : 0;
}
static void send_error(fuse_req_t req, int error) {
	if (req) {
		door_reply(req, error);
		return;
	}
	struct fuse_out_header header = {.len = sizeof header, .error = error, .unique = door_current.header->unique};
	door_current.result = error;
	DOOR_BEFORE_ANSWER(door_current.door);
	if (write(door_current.door->fd, &header, sizeof header) < 0 && errno != ENOENT) door_log(door_current.door, LOG_WARNING, "a reply failed: %s", strerror(errno));
}

void door_reply_entry(fuse_req_t req, uint64_t parent, struct dc_node *node, double entry_timeout, double attr_timeout, const struct fuse_open_out *open) {
	struct dc_door *door = door_current.door;
	struct door_entry *entry = door_entry_take(door, node);
	if (!entry) {
		send_error(req, -ENOMEM);
		return;
	}
	uint64_t number = atomic_load(&entry->number), settle = attr_timeout > 0 ? door_cached_entry(entry, parent) : 0;
	struct dc_cred cred = {0};
	struct dc_context context = {.cred = &cred};
	struct dc_attr attr;
	int result = DOOR_CALL(door, getattr, &context, node, &attr); /* after the mark, whatever the stack has answered before: see door_notify.c */
	if (result) {
		send_error(req, result);
	} else {
		struct {
			struct fuse_entry_out entry;
			struct fuse_open_out open;
		} out;
		door_size_lowered(entry, attr_timeout > 0 ? (uint64_t)attr.st.st_size : 0);
		door_fill_entry(&out.entry, number, &attr.st, entry_timeout, attr_timeout > 0 ? door_attributes_keep(door, entry) : 0);
		if (open) out.open = *open;
		door_current.result = 0;
		result = send_answer(req, &out, open ? sizeof out : sizeof out.entry);
	}
	if (attr_timeout <= 0) door_size_lowered(entry, 0); /* a link's answer is taken whatever was pushed meanwhile */
	if (result) door_entry_forget(door, number, 1); /* the kernel did not get it */
	if (settle) door_settle(door, settle);
}

void door_open_out(const struct dc_door *door, struct fuse_open_out *out) {
	*out = (struct fuse_open_out){.open_flags = door->cache ? FOPEN_KEEP_CACHE : FOPEN_DIRECT_IO | DOOR_FOPEN_PARALLEL_DIRECT_WRITES};
}

/* ---- lookup --------------------------------------------------------------------------------------------------------------- */
bool door_is_handle_name(const struct dc_door *door, fuse_ino_t parent, const char *name) {
	(void)door;
	return parent == FUSE_ROOT_ID && !strncmp(name, HANDLE_PREFIX, sizeof HANDLE_PREFIX - 1);
}

/* ".diciclo-handle-<16 hex>": the node of a library's open description. The name is good for this one lookup. */
static void lookup_handle(fuse_req_t req, fuse_ino_t parent, const char *name) {
	struct dc_door *door = door_of(req);
	const char *digits = name + sizeof HANDLE_PREFIX - 1;
	if (strlen(digits) != 16 || strspn(digits, "0123456789abcdef") != 16) {
		door_reply(req, ENOENT);
		return;
	}
	uint64_t handle = strtoull(digits, NULL, 16);
	struct dc_node *node = dc_handle_node(door->instance, handle);
	if (!node) {
		door_reply(req, ENOENT);
	} else if (S_ISDIR(node->type)) {
		DOOR_CALL(door, forget, node, 1); /* the kernel allows a directory one name: it would move it here, from under its users */
		door_reply(req, EISDIR);
	} else {
		door_reply_entry(req, parent, node, 0, door->timeout, NULL);
		if (dc_handle_lives(handle)) return;
		door_step_aside(door); /* closed meanwhile */
		door_notify_entry(door, FUSE_ROOT_ID, name, strlen(name));
	}
}

void dc_door_unname(struct dc_door *door, uint64_t handle) {
	if (!door || !atomic_load(&door->serving) || door->handover) return;
	char name[sizeof HANDLE_PREFIX + 16];
	int length = snprintf(name, sizeof name, HANDLE_PREFIX "%016llx", (unsigned long long)handle);
	door_notify_entry(door, FUSE_ROOT_ID, name, (size_t)length);
}

static void negative_entry(fuse_req_t req) {
	struct dc_door *door = door_of(req);
	struct fuse_entry_out out = {.entry_valid = (uint64_t)door->timeout};
	door_current.result = -ENOENT;
	if (door->timeout > 0) fuse_reply_buf(req, (const char *)&out, sizeof out);
	else fuse_reply_err(req, ENOENT);
}

void door_lookup(fuse_req_t req, fuse_ino_t parent, const char *name) {
	struct dc_door *door = door_of(req);
	struct door_entry *entry;
	struct dc_node *directory = door_node(req, parent, &entry), *node = NULL;
	if (!directory) return;
	size_t length = strlen(name), consumed = 0;
	if (door_is_handle_name(door, parent, name)) {
		lookup_handle(req, parent, name);
		return;
	}
	if (length > DC_NAME_MAX) {
		door_reply(req, ENAMETOOLONG);
		return;
	}
	bool self = !strcmp(name, ".") || (parent == FUSE_ROOT_ID && !strcmp(name, "..")); /* file handles of an export */
	if (self) {
		DOOR_CALL(door, reference, directory, 1);
		door_reply_entry(req, parent, directory, door->timeout, door->timeout, NULL);
		return;
	}
	struct door_call call;
	if (door->cache) door_cached_name(entry, name, length);
	int result = DOOR_CALL(door, lookup, door_context(req, &call), directory, name, length, &node, NULL, &consumed);
	if (!result && consumed == length) {
		door_reply_entry(req, parent, node, door->timeout, door->timeout, NULL);
		return;
	}
	if (node) DOOR_CALL(door, forget, node, 1); /* with ENOENT: the directory, referenced */
	if (result == -ENOENT || !result) negative_entry(req);
	else door_reply(req, result);
}

void door_forget(fuse_req_t req, fuse_ino_t number, uint64_t count) {
	door_entry_forget(door_of(req), number, count);
	fuse_reply_none(req);
}

void door_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets) {
	for (size_t i = 0; i < count; i++) door_entry_forget(door_of(req), forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

/* ---- what the names tell about a predecessor's work (door_flights.c) ------------------------------------------------------- */
/* What the name names: referenced, or NULL and -errno. */
static int named(fuse_req_t req, struct dc_node *directory, const char *name, struct dc_node **node) {
	struct dc_door *door = door_of(req);
	struct door_call call;
	size_t consumed = 0, length = strlen(name);
	*node = NULL;
	int result = DOOR_CALL(door, lookup, door_context(req, &call), directory, name, length, node, NULL, &consumed);
	if (!result && consumed == length) return 0;
	if (*node) DOOR_CALL(door, forget, *node, 1);
	*node = NULL;
	return result ? result : -ENOENT;
}

#define NO_INODE 0u
#define NOT_KNOWN UINT64_MAX

/* Its inode number, or one of these. */
static uint64_t named_ino(fuse_req_t req, struct dc_node *directory, const char *name) {
	struct dc_node *node;
	int error = named(req, directory, name, &node);
	if (error) return error == -ENOENT ? NO_INODE : NOT_KNOWN;
	uint64_t ino = node->ino;
	DOOR_CALL(door_of(req), forget, node, 1);
	return ino;
}

/* Of a removal that was begun on the inode `ino`, or a renaming (`to`, `to_name`): true when it has been answered; else it is to be done. */
static bool removal_judged(fuse_req_t req, const char *what, struct dc_node *from, const char *name, struct dc_node *to, const char *to_name, uint64_t ino) {
	uint64_t now = named_ino(req, from, name);
	if (now == ino && ino != NOT_KNOWN) return false;
	bool gone = ino != NO_INODE && ino != NOT_KNOWN && now != NOT_KNOWN;
	if (gone && (!to || named_ino(req, to, to_name) == ino)) door_reply(req, 0);
	else door_doubt(req, what);
	return true;
}

static bool removal_answered(fuse_req_t req, const char *what, struct dc_node *from, const char *name, struct dc_node *to, const char *to_name) {
	struct door_seen seen;
	switch (door_once_seen(door_of(req), &seen)) {
	case DOOR_NOT_BEGUN: return false;
	case DOOR_BEGUN: return removal_judged(req, what, from, name, to, to_name, seen.value);
	case DOOR_DONE: door_reply(req, (int)seen.result); return true;
	default: door_doubt(req, what); return true;
	}
}

/* ---- making --------------------------------------------------------------------------------------------------------------- */
/* What is to be made. */
struct making {
	const char *what;
	fuse_ino_t parent;
	struct dc_node *directory;
	const char *name;
	bool links, shares; /* `shares`: whose it is does not matter (no O_EXCL) */
	const struct fuse_open_out *open;
};

/* What every operation that makes, moves or removes a name checks first. Answers and returns NULL if it may not go on. */
static struct dc_node *name_begin(fuse_req_t req, fuse_ino_t parent, const char *name) {
	struct dc_door *door = door_of(req);
	struct door_entry *entry;
	struct dc_node *directory = door_node(req, parent, &entry);
	if (!directory) return NULL;
	int error = strlen(name) > DC_NAME_MAX ? ENAMETOOLONG : door_is_handle_name(door, parent, name) ? EPERM : 0;
	if (error) {
		door_reply(req, error);
		return NULL;
	}
	if (door->cache) door_cached_name(entry, name, strlen(name));
	return directory;
}

/* The kernel takes a link's attributes unconditionally: let it not keep them. */
static void reply_made(fuse_req_t req, const struct making *making, struct dc_node *node) {
	struct dc_door *door = door_of(req);
	door_reply_entry(req, making->parent, node, door->timeout, making->links ? 0 : door->timeout, making->open);
}

/* The predecessor made the inode `ino` under this name. */
static void reply_named(fuse_req_t req, const struct making *making, uint64_t ino) {
	struct dc_node *node;
	if (!named(req, making->directory, making->name, &node) && node->ino == ino) {
		reply_made(req, making, node);
		return;
	}
	if (node) DOOR_CALL(door_of(req), forget, node, 1);
	door_doubt(req, making->what); /* it is somebody else's by now */
}

/* True: it was with a predecessor, and has been answered. What was begun and is not there has not been made. */
static bool making_answered(fuse_req_t req, const struct making *making) {
	struct door_seen seen;
	enum door_stage stage = door_once_seen(door_of(req), &seen);
	if (stage == DOOR_NOT_BEGUN) return false;
	if (stage == DOOR_DONE) {
		if (seen.result) door_reply(req, (int)seen.result);
		else reply_named(req, making, seen.value);
		return true;
	}
	uint64_t ino = named_ino(req, making->directory, making->name);
	if (ino == NO_INODE || making->shares) return false;
	if (stage == DOOR_BEGUN && making->links && ino == seen.value) reply_named(req, making, ino);
	else door_doubt(req, making->what);
	return true;
}

static void made(fuse_req_t req, const struct making *making, struct dc_node *node, int result) {
	door_once_end(result, result ? 0 : node->ino);
	if (result) door_reply(req, result);
	else reply_made(req, making, node);
}

static int make_file(fuse_req_t req, const struct making *making, mode_t mode, struct dc_node **node) {
	struct dc_door *door = door_of(req);
	struct door_call call;
	struct dc_context *context = door_context(req, &call);
	door_once_begin(door, 0);
	int result = DOOR_CALL(door, create, context, making->directory, making->name, mode & 07777, O_RDWR, node, NULL);
	if (!result) DOOR_CALL(door, close, context, *node, O_RDWR);
	return result;
}

void door_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t device) {
	struct dc_door *door = door_of(req);
	bool regular = S_ISREG(mode);
	if (regular) door_current.counted = DC_COUNTED_create;
	struct dc_node *directory = name_begin(req, parent, name), *node = NULL;
	struct making making = {.what = regular ? "create" : "mknod", .parent = parent, .directory = directory, .name = name};
	if (!directory || making_answered(req, &making)) return;
	struct door_call call;
	int result;
	if (regular) {
		result = make_file(req, &making, mode, &node);
	} else {
		door_once_begin(door, 0);
		result = DOOR_CALL(door, mknod, door_context(req, &call), directory, name, mode, device, &node, NULL);
	}
	made(req, &making, node, result == -EEXIST ? -ESTALE : result);
}

void door_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode) {
	struct dc_node *directory = name_begin(req, parent, name), *node = NULL;
	struct making making = {.what = "mkdir", .parent = parent, .directory = directory, .name = name};
	if (!directory || making_answered(req, &making)) return;
	struct door_call call;
	door_once_begin(door_of(req), 0);
	int result = DOOR_CALL(door_of(req), mkdir, door_context(req, &call), directory, name, mode & 07777, &node, NULL);
	made(req, &making, node, result);
}

void door_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name) {
	struct dc_node *directory = name_begin(req, parent, name), *node = NULL;
	struct making making = {.what = "symlink", .parent = parent, .directory = directory, .name = name};
	if (!directory || making_answered(req, &making)) return;
	struct door_call call;
	door_once_begin(door_of(req), 0);
	int result = DOOR_CALL(door_of(req), symlink, door_context(req, &call), directory, name, target, &node, NULL);
	made(req, &making, node, result);
}

void door_link(fuse_req_t req, fuse_ino_t number, fuse_ino_t new_parent, const char *new_name) {
	struct dc_door *door = door_of(req);
	struct dc_node *directory = name_begin(req, new_parent, new_name);
	struct making making = {.what = "link", .parent = new_parent, .directory = directory, .name = new_name, .links = true};
	if (!directory || making_answered(req, &making)) return;
	struct dc_node *node = door_node(req, number, NULL);
	if (!node) return;
	struct door_call call;
	door_once_begin(door, node->ino);
	int result = DOOR_CALL(door, link, door_context(req, &call), node, directory, new_name, NULL);
	if (!result) DOOR_CALL(door, reference, node, 1);
	made(req, &making, node, result);
}

/* Only where opens are requests (cache: none). O_EXCL is known here. */
void door_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *info) {
	struct dc_door *door = door_of(req);
	if (door->no_open) {
		door_current.counted = -1;
		door_reply(req, ENOSYS);
		return;
	}
	struct fuse_open_out open;
	door_open_out(door, &open);
	struct dc_node *directory = name_begin(req, parent, name), *node = NULL;
	struct making making = {.what = "create", .parent = parent, .directory = directory, .name = name, .shares = !(info->flags & O_EXCL), .open = &open};
	if (!directory || making_answered(req, &making)) return;
	int result = make_file(req, &making, mode, &node);
	made(req, &making, node, result == -EEXIST && !(info->flags & O_EXCL) ? -ESTALE : result);
}

/* ---- removing and moving -------------------------------------------------------------------------------------------------- */
static void removal_begin(fuse_req_t req, struct dc_node *directory, const char *name) {
	door_once_begin(door_of(req), named_ino(req, directory, name));
}

static void removed(fuse_req_t req, int result) {
	door_once_end(result, 0);
	door_reply(req, result);
}

void door_unlink(fuse_req_t req, fuse_ino_t parent, const char *name) {
	struct dc_node *directory = name_begin(req, parent, name);
	if (!directory || removal_answered(req, "unlink", directory, name, NULL, NULL)) return;
	struct door_call call;
	removal_begin(req, directory, name);
	removed(req, DOOR_CALL(door_of(req), unlink, door_context(req, &call), directory, name));
}

void door_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name) {
	struct dc_node *directory = name_begin(req, parent, name);
	if (!directory || removal_answered(req, "rmdir", directory, name, NULL, NULL)) return;
	struct door_call call;
	removal_begin(req, directory, name);
	removed(req, DOOR_CALL(door_of(req), rmdir, door_context(req, &call), directory, name));
}

void door_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name, unsigned flags) {
	struct dc_node *from = name_begin(req, parent, name), *to = from ? name_begin(req, new_parent, new_name) : NULL;
	if (!to) return;
	if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)) {
		door_reply(req, EINVAL);
		return;
	}
	if (removal_answered(req, "rename", from, name, to, new_name)) return;
	struct door_call call;
	removal_begin(req, from, name);
	removed(req, DOOR_CALL(door_of(req), rename, door_context(req, &call), from, name, to, new_name, flags));
}

void door_readlink(fuse_req_t req, fuse_ino_t number) {
	struct dc_node *node = door_node(req, number, NULL);
	if (!node) return;
	struct door_call call;
	char *text = (char *)door_current.scratch;
	ssize_t length = DOOR_CALL(door_of(req), readlink, door_context(req, &call), node, text, DC_PATH_MAX);
	if (length < 0) {
		door_reply(req, (int)length);
		return;
	}
	door_current.result = 0;
	fuse_reply_buf(req, text, (size_t)(length < (ssize_t)DC_PATH_MAX ? length : (ssize_t)DC_PATH_MAX - 1));
}

/* ---- requests that libfuse does not know ---------------------------------------------------------------------------------- */
/* O_TMPFILE: struct fuse_create_in, answered as CREATE is. Sent again it is made again: nobody knows of the other one. */
static bool raw_tmpfile(struct dc_door *door, const struct fuse_in_header *header, size_t length) {
	struct fuse_create_in in;
	if (length < sizeof *header + sizeof in) return false;
	memcpy(&in, header + 1, sizeof in);
	struct dc_cred cred = {.uid = header->uid, .gid = header->gid};
	struct dc_context context = {.cred = &cred, .pid = (pid_t)header->pid};
	struct door_entry *entry = door_entry_of(door, header->nodeid);
	struct dc_node *directory = entry ? atomic_load(&entry->node) : NULL, *node = NULL;
	int result = directory ? 0 : -ESTALE;
	if (!result) result = DOOR_CALL(door, tmpfile, &context, directory, in.mode & 07777, O_RDWR, &node, NULL);
	if (result) {
		send_error(NULL, result == -ENOSYS ? -EOPNOTSUPP : result);
		return true;
	}
	DOOR_CALL(door, close, &context, node, O_RDWR);
	struct fuse_open_out open;
	door_open_out(door, &open);
	door_reply_entry(NULL, header->nodeid, node, 0, 0, &open);
	return true;
}

bool door_raw_request(struct dc_door *door, const struct fuse_in_header *header, size_t length) {
	return header->opcode == DOOR_OPCODE_TMPFILE && raw_tmpfile(door, header, length);
}
