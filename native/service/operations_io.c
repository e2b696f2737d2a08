#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "appends.h"
#include "copying.h"
#include "operations.h"
#include "posts.h"
#include "regions.h"

/* A handle that may read or write data, and its node. */
static struct dc_handle *data_handle(struct dc_request *request, uint64_t number, bool write, struct dc_node **node, int *error) {
	struct dc_handle *handle = dc_handle_get(request->client, number, error);
	if (!handle) return NULL;
	int mode = handle->flags & O_ACCMODE;
	*node = atomic_load_explicit(&handle->node, memory_order_acquire);
	*error = handle->flags & O_PATH || mode == (write ? O_RDONLY : O_WRONLY) || handle->instance != request->instance ? -EBADF : 0;
	if (!*error && S_ISDIR((*node)->type)) *error = write ? -EBADF : -EISDIR;
	if (!*error) return handle;
	dc_handle_put(handle);
	return NULL;
}

uint64_t dc_shared_place(struct dc_request *request, struct dc_node *node, int flags) {
	struct dc_shared_file place;
	if (!dc_regions_open() || flags & (O_DIRECT | O_PATH) || (flags & O_ACCMODE) == O_WRONLY || !S_ISREG(node->type)) return 0;
	return DC_FILE_CALL(request->instance->root, shared, node, &place) ? 0 : (uint64_t)place.region << 32 | place.entry;
}

int64_t dc_op_read(struct dc_request *request) {
	struct dc_node *node;
	int error;
	if (request->offset > INT64_MAX) return -EINVAL;
	struct dc_handle *handle = data_handle(request, request->handle, false, &node, &error);
	if (!handle) return error;
	struct iovec iov = {.iov_base = request->buffer, .iov_len = request->length};
	uint32_t flags = handle->flags & O_DIRECT ? DC_IO_DIRECT : 0;
	request->value[0] = request->flags & DC_READ_PLACE ? dc_shared_place(request, node, handle->flags) : 0;
	ssize_t result = DC_REQUEST_CALL(request, read, node, &iov, 1, (off_t)request->offset, flags);
	dc_handle_put(handle);
	return result;
}

static uint32_t write_flags(int flags, uint32_t rwf) {
	uint32_t io = 0;
	if (flags & O_APPEND || rwf & RWF_APPEND) io |= DC_IO_APPEND;
	if ((flags & O_SYNC) == O_SYNC || rwf & RWF_SYNC) io |= DC_IO_SYNC;
	else if (flags & O_DSYNC || rwf & RWF_DSYNC) io |= DC_IO_DSYNC;
	if (flags & O_DIRECT) io |= DC_IO_DIRECT;
	return io;
}

uint64_t dc_gathered(const struct dc_request *request) {
	const uint64_t others = ((UINT64_C(1) << DC_REQUEST_SLOTS) - 1) & ~(UINT64_C(1) << request->index);
	return request->flags & DC_WRITE_GATHER ? request->argument[0] & others : 0;
}

/* Where the data of a write lie: how many pieces. Not longer than their buffers (dc_operation_execute). */
static int data_of(const struct dc_request *request, struct iovec iov[DC_REQUEST_SLOTS]) {
	uint64_t left = request->length, slots = dc_gathered(request);
	unsigned char *buffer = request->buffer;
	int count = 0;
	do {
		size_t part = left < DC_BUFFER_SIZE ? left : DC_BUFFER_SIZE;
		iov[count++] = (struct iovec){.iov_base = buffer, .iov_len = part};
		left -= part;
		if (slots) buffer = dc_arena_buffer(request->client->arena, (unsigned)__builtin_ctzll(slots));
		slots &= slots - 1;
	} while (left);
	return count;
}

int64_t dc_op_write(struct dc_request *request) {
	struct dc_node *node;
	int error;
	if (request->offset > INT64_MAX || request->offset + request->length > INT64_MAX) return -EFBIG;
	if (request->mask & ~(uint32_t)(RWF_APPEND | RWF_SYNC | RWF_DSYNC | RWF_HIPRI | RWF_NOWAIT)) return -EOPNOTSUPP;
	struct dc_handle *handle = data_handle(request, request->handle, true, &node, &error);
	if (!handle) return error;
	error = dc_posts_error(handle);
	if (error) {
		dc_handle_put(handle);
		return error;
	}
	struct iovec iov[DC_REQUEST_SLOTS];
	int count = data_of(request, iov);
	off_t offset = (off_t)request->offset;
	uint32_t flags = write_flags(handle->flags, request->mask);
	if (flags & DC_IO_APPEND) {
		dc_append_begin(node);
		dc_once_begin(request, 0);
	}
	ssize_t result = DC_REQUEST_CALL(request, write, node, iov, count, &offset, flags);
	if (flags & DC_IO_APPEND) dc_append_end(node);
	if (result >= 0) request->value[0] = (uint64_t)offset + (uint64_t)result;
	if (flags & DC_IO_APPEND) dc_once_end(request, result);
	if (result > 0) dc_door_changed_data(request->instance->door, node, offset, result);
	request->value[1] = result > 0 && !request->mask ? dc_posts_grant(handle, node) : 0;
	dc_handle_put(handle);
	return result;
}

int64_t dc_op_fsync(struct dc_request *request) {
	struct dc_base base;
	if (!request->handle) return -EBADF;
	int error = dc_base_get(request, request->handle, &base);
	if (error) return error;
	error = base.handle->flags & O_PATH ? -EBADF : DC_REQUEST_CALL(request, fsync, base.node, request->mask != 0);
	int posted = dc_posts_error(base.handle);
	if (!error) error = posted;
	dc_base_put(&base);
	return error;
}

int64_t dc_op_fallocate(struct dc_request *request) {
	if (request->offset > INT64_MAX || request->length > INT64_MAX || request->length == 0) return -EINVAL;
	if (request->offset + request->length > INT64_MAX) return -EFBIG;
	struct dc_node *node;
	int error;
	struct dc_handle *handle = data_handle(request, request->handle, true, &node, &error);
	if (!handle) return error;
	bool moves = request->mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE);
	if (moves) dc_once_begin(request, 0);
	error = DC_REQUEST_CALL(request, fallocate, node, (int)request->mode, (off_t)request->offset, (off_t)request->length);
	if (moves) dc_once_end(request, error);
	if (!error) dc_door_changed_data(request->instance->door, node, 0, 0);
	dc_handle_put(handle);
	return error;
}

int64_t dc_op_seek(struct dc_request *request) {
	if (request->mask != SEEK_DATA && request->mask != SEEK_HOLE) return -EINVAL;
	if (request->offset > INT64_MAX) return -ENXIO;
	struct dc_base base;
	if (!request->handle) return -EBADF;
	int error = dc_base_get(request, request->handle, &base);
	if (error) return error;
	int64_t result = DC_REQUEST_CALL(request, seek, base.node, (off_t)request->offset, (int)request->mask);
	dc_base_put(&base);
	return result;
}

int64_t dc_op_copy(struct dc_request *request) {
	if (request->offset > INT64_MAX || request->argument[0] > INT64_MAX || request->length > INT32_MAX) return -EINVAL;
	struct dc_node *from, *to;
	int error;
	struct dc_handle *source = data_handle(request, request->handle, false, &from, &error);
	if (!source) return error;
	struct dc_handle *target = data_handle(request, request->handle2, true, &to, &error);
	int64_t result = error;
	if (target) {
		result = target->flags & O_APPEND ? -EBADF
			: DC_REQUEST_CALL(request, copy, from, (off_t)request->offset, to, (off_t)request->argument[0], (size_t)request->length);
		if (result > 0) dc_door_changed_data(request->instance->door, to, (off_t)request->argument[0], result);
		dc_handle_put(target);
	}
	dc_handle_put(source);
	return result;
}

int64_t dc_op_sync(struct dc_request *request) {
	return DC_FILE_CALL(request->instance->root, sync, request->context);
}

struct packer {
	struct dc_dirent_sink sink;
	unsigned char *buffer;
	size_t space, used;
	bool full;
};

#define DIRENT_HEADER offsetof(struct dc_wire_dirent, name)

static bool pack(struct dc_dirent_sink *sink, const char *name, size_t length, uint64_t ino, uint32_t type, uint64_t cookie) {
	struct packer *packer = (struct packer *)sink;
	size_t record = (DIRENT_HEADER + length + 1 + 7) & ~(size_t)7;
	if (length > DC_NAME_MAX || packer->used + record > packer->space) {
		packer->full = true;
		return false;
	}
	struct dc_wire_dirent entry = {.ino = ino, .cookie = cookie, .record = (uint16_t)record, .type = (uint8_t)((type & S_IFMT) >> 12), .name_length = (uint8_t)length};
	unsigned char *at = packer->buffer + packer->used;
	memcpy(at, &entry, DIRENT_HEADER);
	memcpy(at + DIRENT_HEADER, name, length);
	memset(at + DIRENT_HEADER + length, 0, record - DIRENT_HEADER - length);
	packer->used += record;
	return true;
}

int64_t dc_op_readdir(struct dc_request *request) {
	struct dc_base base;
	int error = dc_base_get(request, request->handle, &base);
	if (error) return error;
	struct packer packer = {.sink = {.add = pack}, .buffer = request->buffer, .space = request->length};
	if (!S_ISDIR(base.node->type)) error = -ENOTDIR;
	else if (base.handle && base.handle->flags & O_PATH) error = -EBADF;
	else error = DC_REQUEST_CALL(request, readdir, base.node, request->offset, &packer.sink);
	dc_base_put(&base);
	if (error) return error;
	return packer.used == 0 && packer.full ? -EINVAL : (int64_t)packer.used; /* EINVAL: not even one entry fits, as getdents64 */
}
