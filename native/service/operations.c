/*
 * operations.c - the back driver: executes a library's requests on an instance. What a client sent was copied once (clients.c); every field is checked here before use.
 */
#include "operations.h"
#include "offences.h"
#include "posts.h"

#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

struct operation {
	int64_t (*execute)(struct dc_request *request);
	enum dc_counted counted;
	bool ordered; /* after what its sender has posted: it changes something, or promises durability */
};

static const struct operation operations[DC_OP_COUNT] = {
	[DC_OP_OPEN] = {dc_op_open, DC_COUNTED_open, true},
	[DC_OP_CLOSE] = {dc_op_close, DC_COUNTED_close, true},
	[DC_OP_READ] = {dc_op_read, DC_COUNTED_read, false},
	[DC_OP_WRITE] = {dc_op_write, DC_COUNTED_write, true},
	[DC_OP_FSYNC] = {dc_op_fsync, DC_COUNTED_fsync, true},
	[DC_OP_STAT] = {dc_op_stat, DC_COUNTED_getattr, false},
	[DC_OP_SETATTR] = {dc_op_setattr, DC_COUNTED_setattr, true},
	[DC_OP_ACCESS] = {dc_op_access, DC_COUNTED_access, false},
	[DC_OP_READDIR] = {dc_op_readdir, DC_COUNTED_readdir, false},
	[DC_OP_MKDIR] = {dc_op_mkdir, DC_COUNTED_mkdir, true},
	[DC_OP_MKNOD] = {dc_op_mknod, DC_COUNTED_mknod, true},
	[DC_OP_UNLINK] = {dc_op_unlink, DC_COUNTED_unlink, true},
	[DC_OP_RMDIR] = {dc_op_rmdir, DC_COUNTED_rmdir, true},
	[DC_OP_RENAME] = {dc_op_rename, DC_COUNTED_rename, true},
	[DC_OP_LINK] = {dc_op_link, DC_COUNTED_link, true},
	[DC_OP_SYMLINK] = {dc_op_symlink, DC_COUNTED_symlink, true},
	[DC_OP_READLINK] = {dc_op_readlink, DC_COUNTED_readlink, false},
	[DC_OP_GETXATTR] = {dc_op_getxattr, DC_COUNTED_getxattr, false},
	[DC_OP_SETXATTR] = {dc_op_setxattr, DC_COUNTED_setxattr, true},
	[DC_OP_LISTXATTR] = {dc_op_listxattr, DC_COUNTED_listxattr, false},
	[DC_OP_REMOVEXATTR] = {dc_op_removexattr, DC_COUNTED_removexattr, true},
	[DC_OP_STATFS] = {dc_op_statfs, DC_COUNTED_statfs, false},
	[DC_OP_FALLOCATE] = {dc_op_fallocate, DC_COUNTED_fallocate, true},
	[DC_OP_SEEK] = {dc_op_seek, DC_COUNTED_seek, false},
	[DC_OP_COPY] = {dc_op_copy, DC_COUNTED_copy, true},
	[DC_OP_SYNC] = {dc_op_sync, DC_COUNTED_fsync, true},
	[DC_OP_ADOPT] = {dc_op_adopt, DC_COUNTED_adopt, false},
};

static const char *const names[] = {
#define X(name) [DC_COUNTED_##name] = #name,
	DC_COUNTED_OPERATIONS(X)
#undef X
};

const char *dc_operation_name(unsigned operation) {
	return operation < DC_OP_COUNT && operations[operation].execute ? names[operations[operation].counted] : "an unknown operation";
}

/* The answer's, behind the path. What depends on more than names and attributes is not for keeping. */
static void give_lease(struct dc_request *request, int64_t result) {
	const struct dc_trail *trail = request->trail;
	bool missing = result == -ENOENT || (result == -ENOTDIR && request->operation != DC_OP_OPEN); /* O_DIRECTORY of a file that is there */
	bool asked = request->operation == DC_OP_STAT || request->operation == DC_OP_ACCESS || request->operation == DC_OP_READLINK;
	bool fits = request->path_length <= DC_LEASE_OFFSET && (request->operation != DC_OP_READLINK || result <= (int64_t)DC_LEASE_OFFSET);
	bool given = fits && trail->stamps && trail->lease.count && (missing || (asked && (result >= 0 || result == -EACCES)));
	if (given) memcpy(request->buffer + DC_LEASE_OFFSET, &trail->lease, sizeof trail->lease);
	if (result < 0 || asked) request->value[2] = given; /* else it says other things */
}

/* Refused here, and held against the sender: no library sends it. */
static int64_t refuse(struct dc_request *request, int error, const char *reason) {
	dc_client_offends(request->client, DC_OFFENCE_REQUEST, reason);
	return error;
}

/* How long the data of a request can be. */
static uint64_t space_of(const struct dc_request *request) {
	if (request->operation == DC_OP_FALLOCATE || request->operation == DC_OP_COPY) return UINT64_MAX;
	return DC_BUFFER_SIZE * (1 + (request->operation == DC_OP_WRITE ? (uint64_t)__builtin_popcountll(dc_gathered(request)) : 0));
}

int64_t dc_operation_execute(struct dc_request *request) {
	if (request->operation >= DC_OP_COUNT || !operations[request->operation].execute) return refuse(request, -ENOSYS, "unknown operations");
	if (request->path_length >= DC_PATH_MAX || request->path2_length >= DC_PATH_MAX) return refuse(request, -ENAMETOOLONG, "paths longer than there are");
	if (request->length > space_of(request)) return refuse(request, -EINVAL, "data longer than its buffers");
	const struct operation *operation = &operations[request->operation];
	uint64_t start = dc_ticks();
	if (operation->ordered) dc_posts_drain(request->client, request->context->worker);
	struct dc_trail trail;
	request->trail = request->flags & DC_PATH_LEASE ? &trail : NULL;
	if (request->trail) dc_trail_begin(&trail, request->instance);
	int64_t result = operation->execute(request);
	if (request->trail) give_lease(request, result);
	uint64_t ticks = dc_ticks() - start;
	enum dc_counted counted = operation->counted;
	if (request->operation == DC_OP_FSYNC && request->mask) counted = DC_COUNTED_fdatasync;
	dc_count(request->instance, DC_DOOR_LIBRARY, counted, result, ticks * 1000 / dc_ticks_per_us());
	return result;
}

int dc_base_get(struct dc_request *request, uint64_t number, struct dc_base *base) {
	base->handle = NULL;
	base->node = request->instance->root_node;
	if (!number) return 0;
	int error;
	base->handle = dc_handle_get(request->client, number, &error);
	if (!base->handle) return error;
	base->node = atomic_load_explicit(&base->handle->node, memory_order_acquire);
	if (base->handle->instance == request->instance) return 0;
	dc_base_put(base);
	return -EBADF;
}

void dc_base_put(struct dc_base *base) {
	if (base->handle) dc_handle_put(base->handle);
	base->handle = NULL;
}

void dc_forget(struct dc_request *request, struct dc_node *node) {
	if (node) DC_FILE_CALL(request->instance->root, forget, node, 1);
}

int dc_request_leaves(struct dc_request *request, const struct dc_walk *walk, int error) {
	if (error != DC_RESULT_LEAVES) return error;
	size_t length = strlen(walk->leaves);
	dc_once_begin(request, 0);
	memcpy(request->buffer, walk->leaves, length);
	request->value[0] = length;
	return (int)dc_once_end(request, error);
}

int dc_request_node(struct dc_request *request, struct dc_node **node, struct dc_attr *attr) {
	struct dc_base base;
	int error = dc_base_get(request, request->handle, &base);
	if (error) return error;
	if (request->path_length == 0) {
		error = request->handle && !(request->flags & DC_PATH_EMPTY) ? -ENOENT : 0;
		if (!error) dc_trail_attributes(request->trail, base.node);
		if (!error) error = DC_REQUEST_CALL(request, getattr, base.node, attr);
		if (!error) {
			*node = base.node;
			DC_FILE_CALL(request->instance->root, reference, base.node, 1);
		}
		dc_base_put(&base);
		return error;
	}
	struct dc_walk walk;
	error = dc_walk_begin(&walk, request->instance, request->context, base.node, (const char *)request->buffer, request->path_length);
	if (!error) {
		dc_walk_confine(&walk, request->flags);
		if (request->trail && request->trail->stamps) walk.trail = request->trail;
		error = dc_walk_full(&walk, !(request->flags & DC_PATH_NOFOLLOW), node, attr);
		dc_request_leaves(request, &walk, error);
		dc_walk_end(&walk);
	}
	dc_base_put(&base);
	return error;
}

int dc_request_parent(struct dc_request *request, bool second, struct dc_walk *walk, int dot) {
	struct dc_base base;
	int error = dc_base_get(request, second ? request->handle2 : request->handle, &base);
	if (error) return error;
	const char *path = (const char *)request->buffer + (second ? request->path_length : 0);
	size_t length = second ? request->path2_length : request->path_length;
	error = length == 0 && (second ? request->handle2 : request->handle) ? -ENOENT : dc_walk_begin(walk, request->instance, request->context, base.node, path, length);
	dc_base_put(&base);
	if (error) return error;
	dc_walk_confine(walk, request->flags);
	error = dc_walk_parent(walk, dot);
	if (error) {
		/* Which of two paths leaves: value[1]. */
		request->value[1] = second;
		dc_request_leaves(request, walk, error);
		dc_walk_end(walk);
	}
	return error;
}

int dc_request_text(const struct dc_request *request, char *out, size_t size) {
	if (request->path2_length >= size) return -ENAMETOOLONG;
	memcpy(out, request->buffer + request->path_length, request->path2_length);
	out[request->path2_length] = 0;
	return strlen(out) == request->path2_length ? 0 : -EINVAL;
}

void dc_attr_to_wire(const struct dc_attr *attr, struct dc_wire_attr *wire) {
	const struct stat *st = &attr->st;
	*wire = (struct dc_wire_attr){.ino = st->st_ino, .size = (uint64_t)st->st_size, .blocks = (uint64_t)st->st_blocks, .rdev = st->st_rdev, .mode = st->st_mode,
		.nlink = (uint32_t)st->st_nlink, .uid = st->st_uid, .gid = st->st_gid, .blksize = (uint32_t)st->st_blksize, .atime = st->st_atim.tv_sec,
		.mtime = st->st_mtim.tv_sec, .ctime = st->st_ctim.tv_sec, .birth = attr->birth.tv_sec, .atime_ns = (uint32_t)st->st_atim.tv_nsec,
		.mtime_ns = (uint32_t)st->st_mtim.tv_nsec, .ctime_ns = (uint32_t)st->st_ctim.tv_nsec, .birth_ns = (uint32_t)attr->birth.tv_nsec};
}

void dc_answer_attr(struct dc_request *request, const struct dc_attr *attr) {
	dc_attr_to_wire(attr, &request->slot->attr);
}

int dc_lookup_name(struct dc_request *request, struct dc_node *parent, const char *name, struct dc_node **node, struct dc_attr *attr) {
	size_t consumed;
	*node = NULL;
	int error = DC_REQUEST_CALL(request, lookup, parent, name, strlen(name), node, attr, &consumed);
	if (error && *node) {
		dc_forget(request, *node);
		*node = NULL;
	}
	return error;
}

int dc_may_change(struct dc_request *request, struct dc_node *parent, struct dc_node *node) {
	const struct dc_cred *cred = request->context->cred;
	if (cred->uid == 0) return 0;
	struct dc_attr attr;
	int error = DC_REQUEST_CALL(request, getattr, parent, &attr);
	if (!error) error = dc_access_check(cred, &attr, W_OK | X_OK);
	if (error || !node || !(attr.st.st_mode & S_ISVTX) || attr.st.st_uid == cred->uid) return error;
	struct dc_attr own;
	error = DC_REQUEST_CALL(request, getattr, node, &own);
	return error ? error : own.st.st_uid == cred->uid ? 0 : -EPERM;
}
