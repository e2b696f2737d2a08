/*
 * door_dir.c - listings. The kernel keeps them in pages of the directory until it is told of a change.
 *
 * READDIRPLUS looks every name up after the stack's readdir has returned, never from within its sink: a libservice may hold its directory's lock there.
 */
#include <stddef.h>

#include "door_internal.h"

#define REPLY_MAX (64u << 10)
#define PLUS_MAX 512u

static uint32_t mode_of(uint32_t type) {
	return type & S_IFMT ? type & S_IFMT : (type & 15) << 12; /* S_IFMT bits or DT_* */
}

void door_opendir(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *info) {
	struct dc_door *door = door_of(req);
	(void)info;
	if (door->no_opendir) {
		door_current.counted = -1;
		door_reply(req, ENOSYS);
		return;
	}
	if (!door_node(req, number, NULL)) return;
	struct fuse_open_out out = {.open_flags = door->keeps_names ? FOPEN_KEEP_CACHE | FOPEN_CACHE_DIR : 0};
	door_current.result = 0;
	fuse_reply_buf(req, (const char *)&out, sizeof out);
}

/* ---- plain ---------------------------------------------------------------------------------------------------------------- */
struct plain_sink {
	struct dc_dirent_sink sink;
	char *buffer;
	size_t used, size;
};

static bool plain_add(struct dc_dirent_sink *base, const char *name, size_t length, uint64_t ino, uint32_t type, uint64_t cookie) {
	struct plain_sink *sink = (struct plain_sink *)base;
	size_t record = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + length);
	if (length > DC_NAME_MAX || record > sink->size - sink->used) return false;
	struct fuse_dirent *out = (struct fuse_dirent *)(void *)(sink->buffer + sink->used);
	*out = (struct fuse_dirent){.ino = ino, .off = cookie, .namelen = (uint32_t)length, .type = mode_of(type) >> 12};
	memcpy((char *)out + FUSE_NAME_OFFSET, name, length);
	memset((char *)out + FUSE_NAME_OFFSET + length, 0, record - FUSE_NAME_OFFSET - length);
	sink->used += record;
	return true;
}

void door_readdir(fuse_req_t req, fuse_ino_t number, size_t size, off_t offset, struct fuse_file_info *info) {
	(void)info;
	struct dc_door *door = door_of(req);
	struct dc_node *node = door_node(req, number, NULL);
	if (!node) return;
	struct door_call call;
	struct plain_sink sink = {.sink.add = plain_add, .buffer = (char *)door_current.scratch, .size = size < DOOR_TRANSFER_MAX ? size : DOOR_TRANSFER_MAX};
	if (door->keeps_names) door_cached_set(node, DOOR_PAGES);
	int result = DOOR_CALL(door, readdir, door_context(req, &call), node, (uint64_t)offset, &sink.sink);
	if (result) {
		door_reply(req, result);
		return;
	}
	door_current.result = 0;
	fuse_reply_buf(req, sink.buffer, sink.used);
}

/* ---- plus ----------------------------------------------------------------------------------------------------------------- */
struct plus_item {
	uint64_t number; /* 0: a name only */
	uint64_t settle;
	uint32_t place;  /* of its record in the buffer */
};
struct plus_sink {
	struct dc_dirent_sink sink;
	char *buffer;
	size_t used, size;
	unsigned count;
	struct plus_item item[PLUS_MAX];
};

static struct fuse_direntplus *plus_record(struct plus_sink *sink, unsigned i) {
	return (struct fuse_direntplus *)(void *)(sink->buffer + sink->item[i].place);
}

static bool plus_add(struct dc_dirent_sink *base, const char *name, size_t length, uint64_t ino, uint32_t type, uint64_t cookie) {
	struct plus_sink *sink = (struct plus_sink *)base;
	size_t record = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + length);
	if (length > DC_NAME_MAX || sink->count == PLUS_MAX || record > sink->size - sink->used) return false;
	sink->item[sink->count] = (struct plus_item){.place = (uint32_t)sink->used};
	struct fuse_direntplus *out = plus_record(sink, sink->count++);
	memset(out, 0, record);
	out->dirent.ino = ino;
	out->dirent.off = cookie;
	out->dirent.namelen = (uint32_t)length;
	out->dirent.type = mode_of(type) >> 12;
	memcpy((char *)out + FUSE_NAME_OFFSET_DIRENTPLUS, name, length);
	sink->used += record;
	return true;
}

static bool is_dots(const struct fuse_dirent *entry) {
	const char *name = (const char *)entry + FUSE_NAME_OFFSET;
	return name[0] == '.' && (entry->namelen == 1 || (entry->namelen == 2 && name[1] == '.'));
}

/* Fills in one name's node and attributes. A name that has gone meanwhile stays a mere name. */
static void plus_look_up(struct dc_door *door, struct dc_context *context, struct door_entry *directory, struct plus_sink *sink, unsigned i) {
	struct fuse_direntplus *out = plus_record(sink, i);
	if (is_dots(&out->dirent)) return;
	char name[DC_NAME_MAX + 1];
	size_t length = out->dirent.namelen, consumed = 0;
	memcpy(name, (char *)out + FUSE_NAME_OFFSET_DIRENTPLUS, length);
	name[length] = 0;
	door_cached_name(directory, name, length);
	struct dc_node *node = NULL;
	int result = DOOR_CALL(door, lookup, context, atomic_load(&directory->node), name, length, &node, NULL, &consumed);
	if (result || consumed != length) {
		if (node) DOOR_CALL(door, forget, node, 1);
		return;
	}
	struct door_entry *entry = door_entry_take(door, node);
	if (!entry) return;
	uint64_t number = atomic_load(&entry->number), settle = door_cached_entry(entry, atomic_load(&directory->number));
	struct dc_attr attr;
	if (DOOR_CALL(door, getattr, context, node, &attr)) {
		door_entry_forget(door, number, 1);
		return;
	}
	door_size_lowered(entry, (uint64_t)attr.st.st_size);
	door_fill_entry(&out->entry_out, number, &attr.st, door->timeout, door_attributes_keep(door, entry));
	sink->item[i].number = number;
	sink->item[i].settle = settle;
}

void door_readdirplus(fuse_req_t req, fuse_ino_t number, size_t size, off_t offset, struct fuse_file_info *info) {
	(void)info;
	struct dc_door *door = door_of(req);
	struct door_entry *directory;
	struct dc_node *node = door_node(req, number, &directory);
	if (!node) return;
	struct door_call call;
	struct dc_context *context = door_context(req, &call);
	struct plus_sink sink;
	sink.sink.add = plus_add;
	sink.buffer = (char *)door_current.scratch;
	sink.size = size < REPLY_MAX ? size : REPLY_MAX;
	sink.used = 0;
	sink.count = 0;
	door_cached_set(node, DOOR_PAGES);
	int result = DOOR_CALL(door, readdir, context, node, (uint64_t)offset, &sink.sink);
	if (result) {
		door_reply(req, result);
		return;
	}
	for (unsigned i = 0; i < sink.count; i++) plus_look_up(door, context, directory, &sink, i);
	door_current.result = 0;
	result = fuse_reply_buf(req, sink.buffer, sink.used);
	for (unsigned i = 0; i < sink.count; i++) {
		if (result && sink.item[i].number) door_entry_forget(door, sink.item[i].number, 1);
		if (sink.item[i].settle) door_settle(door, sink.item[i].settle);
	}
}
