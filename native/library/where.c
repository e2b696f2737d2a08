/*
 * where.c - where an open directory is now. The kernel allows a directory one name, so unlike a file it cannot be opened by its handle's name; when the path that it was opened by is
 * too long to be kept or leads elsewhere by now (it was renamed), its way up is walked, as getcwd did once: the parent by "..", the name by inode number in the parent.
 */
#include "internal.h"

#define DEPTH_MAX 512

/* The parent: its handle (opened for reading, to be closed) and inode number. DC_RESULT_LEAVES at the root, else -errno. */
static int64_t open_parent(const struct dc_file *file, uint64_t handle, uint64_t *parent, uint64_t *ino) {
	struct dc_call call;
	dc_call_begin(&call, file->client, DC_OP_OPEN, file->instance, handle);
	memcpy(call.buffer, "..", 2);
	call.slot->path_length = 2;
	call.slot->mask = O_RDONLY | O_DIRECTORY;
	int64_t result = dc_call_send(&call);
	if (result == 0) {
		*parent = call.slot->value[0];
		*ino = call.slot->attr.ino;
	}
	dc_call_end(&call);
	return result;
}

static void close_handle(const struct dc_file *file, uint64_t handle) {
	struct dc_call call;
	dc_call_begin(&call, file->client, DC_OP_CLOSE, file->instance, handle);
	dc_call_send(&call);
	dc_call_end(&call);
}

/* The name of `ino` in the directory of `handle`: its length, or -errno. */
static int64_t name_of(const struct dc_file *file, uint64_t handle, uint64_t ino, char name[NAME_MAX + 1]) {
	unsigned char buffer[4096] __attribute__((aligned(8)));
	for (int64_t cookie = 0;;) {
		int64_t size = dc_records(file->client, file->instance, handle, cookie, buffer, sizeof buffer);
		if (size <= 0) return size ? size : -ENOENT;
		const struct dc_wire_dirent *record;
		for (uint32_t used = 0; (record = dc_record_at(buffer, used, (uint32_t)size)); used += record->record) {
			cookie = (int64_t)record->cookie;
			if (record->ino != ino || record->name[0] == 0 || (record->name[0] == '.' && (record->name_length == 1 || (record->name_length == 2 && record->name[1] == '.')))) continue;
			memcpy(name, record->name, record->name_length);
			return record->name_length;
		}
	}
}

int dc_directory_path(const struct dc_file *file, char out[PATH_MAX]) {
	char text[PATH_MAX], name[NAME_MAX + 1];
	size_t at = sizeof text; /* what is known of it lies behind */
	uint64_t handle = file->handle, ino = file->ino, parent, parent_ino;
	int64_t result = -ELOOP;
	for (int depth = 0; depth < DEPTH_MAX; depth++) {
		result = open_parent(file, handle, &parent, &parent_ino);
		if (handle != file->handle) close_handle(file, handle);
		handle = file->handle;
		if (result != 0) break;
		handle = parent;
		int64_t length = name_of(file, parent, ino, name);
		result = length < 0 ? length : at < (size_t)length + 1 ? -ENAMETOOLONG : 0;
		if (result < 0) break;
		at -= (size_t)length;
		memcpy(text + at, name, (size_t)length);
		text[--at] = '/';
		ino = parent_ino;
	}
	if (handle != file->handle) close_handle(file, handle);
	if (result != DC_RESULT_LEAVES) return result < 0 && result > -4096 ? (int)result : -EIO;
	char point[1024];
	size_t before = dc_mounts_point(file->instance, file->entry, point), length = sizeof text - at;
	if (!before) return -EIO;
	if (point[before - 1] == '/' && length) before--; /* mounted at the root */
	if (before + length + 1 > PATH_MAX) return -ENAMETOOLONG;
	memcpy(out, point, before);
	memcpy(out + before, text + at, length);
	out[before + length] = 0;
	return 0;
}
