/*
 * door_data.c - file contents.
 *
 * There are no handles: where the kernel may cache, OPEN is answered ENOSYS once and never comes again, so an open and close cost no request, and data calls name the node.
 *
 * Appending is done by the stack, so that it is atomic against the library's appends. The kernel has put the data at what it believed the end into its page cache; if they landed
 * elsewhere, its pages go. Likewise a write of the kernel may cross with a notification of the library's write to the same page: the kernel's new page may have been dropped,
 * read again and filled before its own write arrived here. Near such notifications the written range is invalidated once more.
 */
#include <fcntl.h>

#include "appends.h"
#include "door_internal.h"

#define CROSSING_NS UINT64_C(1000000000)

void door_open(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *info) {
	struct dc_door *door = door_of(req);
	(void)info;
	if (door->no_open) {
		door_current.counted = -1;
		door_reply(req, ENOSYS);
		return;
	}
	if (!door_node(req, number, NULL)) return;
	struct fuse_open_out out;
	door_open_out(door, &out);
	door_current.result = 0;
	fuse_reply_buf(req, (const char *)&out, sizeof out);
}

void door_flush(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *info) {
	(void)number, (void)info;
	door_reply(req, ENOSYS); /* nothing is kept back; the kernel does not ask again */
}

void door_release(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *info) {
	(void)number, (void)info;
	door_reply(req, 0);
}

static uint32_t io_flags(const struct dc_door *door, int flags) {
	uint32_t out = flags & O_DIRECT ? DC_IO_DIRECT : 0;
	/* Where the kernel caches, it sends FSYNC by itself after a synchronous write. */
	if (!door->cache && (flags & O_DSYNC)) out |= (flags & O_SYNC) == O_SYNC ? DC_IO_SYNC : DC_IO_DSYNC;
	return out;
}

void door_read(fuse_req_t req, fuse_ino_t number, size_t size, off_t offset, struct fuse_file_info *info) {
	struct door_entry *entry;
	struct dc_node *node = door_node(req, number, &entry);
	if (!node) return;
	if (size > DOOR_TRANSFER_MAX) size = DOOR_TRANSFER_MAX;
	struct door_call call;
	struct iovec iov = {door_current.scratch, size};
	atomic_store_explicit(&entry->streak, 0, memory_order_relaxed);
	door_cached_set(node, DOOR_PAGES);
	ssize_t length = DOOR_CALL(door_of(req), read, door_context(req, &call), node, &iov, 1, offset, io_flags(door_of(req), info->flags));
	if (length < 0) {
		door_reply(req, (int)length);
		return;
	}
	door_current.result = length;
	if ((size_t)length < size) door_size_lowered(entry, (uint64_t)offset + (uint64_t)length); /* the kernel takes it for the end */
	fuse_reply_buf(req, (const char *)door_current.scratch, (size_t)length);
}

/* The kernel says with each write whether set-id bits are to go; libfuse 3.14 does not pass that on. */
static bool write_kills(void) {
	struct fuse_write_in in;
	memcpy(&in, door_current.header + 1, sizeof in);
	return in.write_flags & FUSE_WRITE_KILL_SUIDGID;
}

/* Before the answer: the caller's next stat shows it. The kernel drops attributes without a lock, so it needs nobody to serve meanwhile. */
static void kill_privileges(fuse_req_t req, fuse_ino_t number, struct dc_node *node) {
	if (door_kill_privileges(req, node, false) > 0) door_notify_inode(door_of(req), number, -1, 0);
}

/* A predecessor has appended: where, the kernel does not know, so what it put into its pages goes. */
static void answer_append(fuse_req_t req, int64_t result) {
	struct dc_door *door = door_of(req);
	uint64_t number = door_current.header->nodeid;
	if (result < 0) {
		door_reply(req, (int)result);
		return;
	}
	door_current.result = result;
	fuse_reply_write(req, (size_t)result);
	door_step_aside(door);
	door_notify_inode(door, number, 0, 0);
}

/* Whether the kernel may have more of the same append: it ends a request with a page of which it had only a part to write, and at the largest size (appends.c). */
static bool may_go_on(off_t offset, size_t size) {
	return (offset + (off_t)size) % DOOR_PAGE_SIZE == 0 && (offset % DOOR_PAGE_SIZE || size >= DOOR_TRANSFER_MAX);
}

void door_write(fuse_req_t req, fuse_ino_t number, const char *data, size_t size, off_t offset, struct fuse_file_info *info) {
	struct dc_door *door = door_of(req);
	bool append = (info->flags & O_APPEND) && !info->writepage; /* mapped pages go where they are */
	struct door_entry *entry;
	struct dc_node *node = door_node(req, number, &entry);
	if (!node || (append && door_once(req, "an appending write", answer_append))) return;
	struct door_call call;
	struct dc_context *context = door_context(req, &call);
	if (write_kills()) kill_privileges(req, number, node);
	struct iovec iov = {(void *)(uintptr_t)data, size};
	off_t where = offset;
	door_cached_set(node, DOOR_PAGES);
	bool more = append && may_go_on(offset, size), held = append && dc_append_hold(node, more);
	ssize_t length = DOOR_CALL(door, write, context, node, &iov, 1, &where, io_flags(door, info->flags) | (append ? DC_IO_APPEND : 0));
	if (held) dc_append_release(node, more && length == (ssize_t)size);
	door_once_end(length, 0);
	if (length < 0) {
		door_reply(req, (int)length);
		return;
	}
	struct fuse_write_out out = {.size = (uint32_t)length};
	door_current.result = length;
	uint64_t sent = atomic_load(&entry->number), pushed = atomic_load(&entry->pushed_ns);
	bool moved = append && where != offset;
	bool crossing = pushed && dc_now_ns() - pushed < CROSSING_NS;
	if (!moved && !crossing) {
		fuse_reply_buf(req, (const char *)&out, sizeof out);
		return;
	}
	fuse_reply_buf(req, (const char *)&out, sizeof out);
	door_step_aside(door);
	if (moved) door_notify_inode(door, sent, 0, 0);
	else door_notify_inode(door, sent, offset, length);
}

void door_fsync(fuse_req_t req, fuse_ino_t number, int data_only, struct fuse_file_info *info) {
	(void)info;
	struct dc_node *node = door_node(req, number, NULL);
	if (!node) return;
	if (data_only) door_current.counted = DC_COUNTED_fdatasync;
	struct door_call call;
	int result = DOOR_CALL(door_of(req), fsync, door_context(req, &call), node, data_only != 0);
	door_reply(req, result == -ENOSYS ? -EOPNOTSUPP : result); /* ENOSYS would make the kernel believe that fsync is never needed */
}

void door_fallocate(fuse_req_t req, fuse_ino_t number, int mode, off_t offset, off_t length, struct fuse_file_info *info) {
	(void)info;
	struct dc_node *node = door_node(req, number, NULL);
	if (!node || ((mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)) && door_once(req, "fallocate", NULL))) return;
	struct door_call call;
	int result = DOOR_CALL(door_of(req), fallocate, door_context(req, &call), node, mode, offset, length);
	if (result == -ENOSYS) result = -EOPNOTSUPP;
	door_once_end(result, 0);
	if (!result && fuse_req_ctx(req)->uid != 0) kill_privileges(req, number, node); /* here, and below, the kernel does not say who may keep them */
	door_reply(req, result);
}

void door_lseek(fuse_req_t req, fuse_ino_t number, off_t offset, int whence, struct fuse_file_info *info) {
	(void)info;
	struct dc_node *node = door_node(req, number, NULL);
	if (!node) return;
	struct door_call call;
	off_t result = DOOR_CALL(door_of(req), seek, door_context(req, &call), node, offset, whence);
	if (result < 0) {
		door_reply(req, (int)result); /* ENOSYS: the kernel takes all for data, which is right */
		return;
	}
	door_current.result = 0;
	fuse_reply_lseek(req, result);
}

void door_copy_file_range(fuse_req_t req, fuse_ino_t from, off_t from_offset, struct fuse_file_info *from_info, fuse_ino_t to, off_t to_offset,
                          struct fuse_file_info *to_info, size_t length, int flags) {
	(void)from_info, (void)to_info;
	struct dc_node *source = door_node(req, from, NULL);
	struct dc_node *target = source ? door_node(req, to, NULL) : NULL;
	if (!target) return;
	if (flags) {
		door_reply(req, EINVAL);
		return;
	}
	if (length > 0x7ffff000) length = 0x7ffff000; /* the answer has 32 bits */
	struct door_call call;
	ssize_t result = DOOR_CALL(door_of(req), copy, door_context(req, &call), source, from_offset, target, to_offset, length);
	if (result < 0) {
		door_reply(req, (int)result); /* ENOSYS, EXDEV, EOPNOTSUPP: the kernel copies by itself */
		return;
	}
	if (fuse_req_ctx(req)->uid != 0) kill_privileges(req, to, target);
	door_current.result = result;
	fuse_reply_write(req, (size_t)result);
}
