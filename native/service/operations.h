/*
 * operations.h - helpers that the files of the back driver share.
 */
#ifndef DICICLO_SERVICE_OPERATIONS_H
#define DICICLO_SERVICE_OPERATIONS_H

#include <string.h>

#include "clients.h"
#include "walk.h"

/* The slots in whose buffers the data of a write go on (DC_WRITE_GATHER). */
uint64_t dc_gathered(const struct dc_request *request);
/* Where a client that has it open with these flags finds the file's pages without a request (page_index.h): {region:32, entry:32}, 0: nowhere. */
uint64_t dc_shared_place(struct dc_request *request, struct dc_node *node, int flags);

/* Where the path of a request starts: the handle's directory or the root. `handle` (may be NULL) must be put after. */
struct dc_base {
	struct dc_handle *handle;
	struct dc_node *node; /* borrowed */
};
int dc_base_get(struct dc_request *request, uint64_t number, struct dc_base *base);
void dc_base_put(struct dc_base *base);

/* The request's path resolved to a node (referenced), its attributes; DC_PATH_EMPTY and DC_PATH_NOFOLLOW obeyed. */
int dc_request_node(struct dc_request *request, struct dc_node **node, struct dc_attr *attr);
/* The directory and last name of the request's first or second path; dc_walk_end after success. */
int dc_request_parent(struct dc_request *request, bool second, struct dc_walk *walk, int dot);
/* Copies `leaves` into the buffer when `error` is DC_RESULT_LEAVES; answers `error`. */
int dc_request_leaves(struct dc_request *request, const struct dc_walk *walk, int error);
/* The second text of the request, terminated, in `out`; -ENAMETOOLONG, -EINVAL. */
int dc_request_text(const struct dc_request *request, char *out, size_t size);

void dc_attr_to_wire(const struct dc_attr *attr, struct dc_wire_attr *wire);
void dc_answer_attr(struct dc_request *request, const struct dc_attr *attr);

/* One name below a directory, for what is about to change it: -EACCES/-EPERM as unlink(2) says (write permission, sticky bit). `node` may be NULL (name not there). */
int dc_may_change(struct dc_request *request, struct dc_node *parent, struct dc_node *node);
int dc_lookup_name(struct dc_request *request, struct dc_node *parent, const char *name, struct dc_node **node, struct dc_attr *attr);
void dc_forget(struct dc_request *request, struct dc_node *node);

/*
 * Around a change that must happen once: should the service die before it answers, its successor knows from the slot whether the change was tried at all, what it was about (`value`: the
 * inode number of what is removed, renamed or linked), and how it ended (recover.c). Also around answers that overwrite the request's path: it cannot be read again.
 */
static inline void dc_once_begin(struct dc_request *request, uint64_t value) {
	request->slot->stage_value = value;
	__asm__ volatile("" ::: "memory");
	request->slot->stage = DC_STAGE_BEGUN;
	__asm__ volatile("" ::: "memory");
}
static inline int64_t dc_once_end(struct dc_request *request, int64_t result) {
	request->slot->result = result;
	memcpy(request->slot->value, request->value, sizeof request->value);
	__asm__ volatile("" ::: "memory");
	request->slot->stage = DC_STAGE_DONE;
	return result;
}

#define DC_REQUEST_CALL(request, operation, ...) DC_FILE_CALL((request)->instance->root, operation, (request)->context, __VA_ARGS__)

/* operations_open.c, operations_io.c, operations_attr.c, operations_names.c */
int64_t dc_op_open(struct dc_request *request);
int64_t dc_op_close(struct dc_request *request);
int64_t dc_op_adopt(struct dc_request *request);
int64_t dc_op_read(struct dc_request *request);
int64_t dc_op_write(struct dc_request *request);
int64_t dc_op_fsync(struct dc_request *request);
int64_t dc_op_readdir(struct dc_request *request);
int64_t dc_op_fallocate(struct dc_request *request);
int64_t dc_op_seek(struct dc_request *request);
int64_t dc_op_copy(struct dc_request *request);
int64_t dc_op_sync(struct dc_request *request);
int64_t dc_op_stat(struct dc_request *request);
int64_t dc_op_setattr(struct dc_request *request);
int64_t dc_op_access(struct dc_request *request);
int64_t dc_op_readlink(struct dc_request *request);
int64_t dc_op_statfs(struct dc_request *request);
int64_t dc_op_getxattr(struct dc_request *request);
int64_t dc_op_setxattr(struct dc_request *request);
int64_t dc_op_listxattr(struct dc_request *request);
int64_t dc_op_removexattr(struct dc_request *request);
int64_t dc_op_mkdir(struct dc_request *request);
int64_t dc_op_mknod(struct dc_request *request);
int64_t dc_op_symlink(struct dc_request *request);
int64_t dc_op_unlink(struct dc_request *request);
int64_t dc_op_rmdir(struct dc_request *request);
int64_t dc_op_rename(struct dc_request *request);
int64_t dc_op_link(struct dc_request *request);

#endif
