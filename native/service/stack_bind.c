/*
 * stack_bind.c - resolves every operation of a file libservice once, when its stack is built, so that a call to a child costs one indirect call whatever
 * number of filters that do not care lie between.
 */
#include "stack_internal.h"

#include <errno.h>

#define SELF struct dc_libservice *self, struct dc_context *context

static int stub_root(SELF, struct dc_node **node) { return -ENOSYS; }
static int stub_lookup(SELF, struct dc_node *parent, const char *path, size_t length, struct dc_node **node, struct dc_attr *attr, size_t *consumed) { return -ENOSYS; }
static void stub_reference(struct dc_libservice *self, struct dc_node *node, uint64_t count) { atomic_fetch_add(&node->references, count); }
static void stub_forget(struct dc_libservice *self, struct dc_node *node, uint64_t count) { atomic_fetch_sub(&node->references, count); }
static int stub_getattr(SELF, struct dc_node *node, struct dc_attr *attr) { return -ENOSYS; }
static int stub_setattr(SELF, struct dc_node *node, const struct dc_attr *set, uint32_t mask, struct dc_attr *attr) { return -ENOSYS; }
static ssize_t stub_readlink(SELF, struct dc_node *node, char *buffer, size_t size) { return -ENOSYS; }
static int stub_open(SELF, struct dc_node *node, int flags) { return -ENOSYS; }
static void stub_close(SELF, struct dc_node *node, int flags) {}
static int stub_create(SELF, struct dc_node *parent, const char *name, mode_t mode, int flags, struct dc_node **node, struct dc_attr *attr) { return -ENOSYS; }
static int stub_tmpfile(SELF, struct dc_node *parent, mode_t mode, int flags, struct dc_node **node, struct dc_attr *attr) { return -EOPNOTSUPP; }
static ssize_t stub_read(SELF, struct dc_node *node, const struct iovec *iov, int iovcnt, off_t offset, uint32_t flags) { return -ENOSYS; }
static ssize_t stub_write(SELF, struct dc_node *node, const struct iovec *iov, int iovcnt, off_t *offset, uint32_t flags) { return -ENOSYS; }
static int stub_fsync(SELF, struct dc_node *node, bool data_only) { return -ENOSYS; }
static int stub_fallocate(SELF, struct dc_node *node, int mode, off_t offset, off_t length) { return -EOPNOTSUPP; }
static off_t stub_seek(SELF, struct dc_node *node, off_t offset, int whence) { return -ENOSYS; }
static ssize_t stub_copy(SELF, struct dc_node *from, off_t from_offset, struct dc_node *to, off_t to_offset, size_t length) { return -EOPNOTSUPP; }
static int stub_readdir(SELF, struct dc_node *node, uint64_t cookie, struct dc_dirent_sink *sink) { return -ENOSYS; }
static int stub_mkdir(SELF, struct dc_node *parent, const char *name, mode_t mode, struct dc_node **node, struct dc_attr *attr) { return -ENOSYS; }
static int stub_mknod(SELF, struct dc_node *parent, const char *name, mode_t mode, dev_t device, struct dc_node **node, struct dc_attr *attr) { return -ENOSYS; }
static int stub_symlink(SELF, struct dc_node *parent, const char *name, const char *target, struct dc_node **node, struct dc_attr *attr) { return -ENOSYS; }
static int stub_link(SELF, struct dc_node *node, struct dc_node *parent, const char *name, struct dc_attr *attr) { return -ENOSYS; }
static int stub_unlink(SELF, struct dc_node *parent, const char *name) { return -ENOSYS; }
static int stub_rmdir(SELF, struct dc_node *parent, const char *name) { return -ENOSYS; }
static int stub_rename(SELF, struct dc_node *from, const char *from_name, struct dc_node *to, const char *to_name, uint32_t flags) { return -ENOSYS; }
static ssize_t stub_getxattr(SELF, struct dc_node *node, const char *name, void *value, size_t size) { return -EOPNOTSUPP; }
static int stub_setxattr(SELF, struct dc_node *node, const char *name, const void *value, size_t size, int flags) { return -EOPNOTSUPP; }
static ssize_t stub_listxattr(SELF, struct dc_node *node, char *list, size_t size) { return -EOPNOTSUPP; }
static int stub_removexattr(SELF, struct dc_node *node, const char *name) { return -EOPNOTSUPP; }
static int stub_statfs(SELF, struct statvfs *out) { return -ENOSYS; }
static int stub_sync(SELF) { return -ENOSYS; }
static int stub_identify(struct dc_libservice *self, struct dc_node *node, void *identity) { return -ENOSYS; }
static int stub_shared(struct dc_libservice *self, struct dc_node *node, struct dc_shared_file *out) { return -ENOENT; }
static void stub_withhold(struct dc_libservice *self, struct dc_node *node) {}
static void stub_permit(struct dc_libservice *self, struct dc_node *node) {}
static uint64_t stub_believed(struct dc_libservice *self, struct dc_node *node, const char *name, size_t length) { return 0; }
static int stub_recover(SELF, const void *identity, size_t length, struct dc_node **node) { return -ENOSYS; }

void dc_stack_bind(struct dc_stack_node *node)
{
	const struct dc_type *type = node->object.type;
	const struct dc_file_binding *below = NULL;

	if (type->kind != DC_KIND_FILE)
		return;
	if (type->flags & DC_TYPE_FILTER)
		below = node->object.child[0][0]->file;
#define X(operation) \
	if (type->ops.file->operation) { \
		node->file.operation.call = type->ops.file->operation; \
		node->file.operation.self = &node->object; \
	} else if (below) { \
		node->file.operation.call = below->operation.call; \
		node->file.operation.self = below->operation.self; \
	} else { \
		node->file.operation.call = stub_##operation; \
		node->file.operation.self = &node->object; \
	}
	DC_FILE_OPERATIONS(X)
#undef X
	/* A filter that does something to what is read must not be gone round. */
	if (type->ops.file->read && !type->ops.file->shared) {
		node->file.shared.call = stub_shared;
		node->file.shared.self = &node->object;
	}
	if ((type->ops.file->lookup || type->ops.file->getattr || type->ops.file->readlink) && !type->ops.file->believed) {
		node->file.believed.call = stub_believed;
		node->file.believed.self = &node->object;
	}
	node->object.file = &node->file;
}

bool dc_stack_believes(const struct dc_libservice *root)
{
	return root->file->believed.call != stub_believed;
}
