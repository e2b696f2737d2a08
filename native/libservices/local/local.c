/*
 * local - a directory of the host as a file libservice.
 *
 * What       Every node is an inode of the directory (hard links are one node), every call a system call on its descriptor. Nothing is cached here.
 * Children   None.
 * Confined   Paths are resolved with openat2 RESOLVE_BENEATH, without symbolic or magic links; ".." stops at the root; devices, pipes and sockets are never
 *            opened. Other filesystems mounted below are part of it. A directory that a host process moves out stays usable by who already holds it, but its ".." does not lead out.
 * Ownership  The service is root: what it makes is given to the caller's uid and gid (set-group-id directories as the kernel does it), and set-id bits are
 *            cleared by an unprivileged caller's write, truncate, fallocate and copy. Between making and giving, the host may see root as owner for a moment.
 * Promises   As the host's filesystem: fsync is its fsync, a rename is atomic, an append is atomic also against host writers.
 * Limits     Descriptors: see nodes.c. Set-id bits that a host process adds after our last look at the file are seen at the next look.
 * Lacks      Locks and memory maps (the doors' affair), ioctl, leases, whiteout renames.
 */
#include "local.h"

#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int local_root(struct dc_libservice *self, struct dc_context *context, struct dc_node **node)
{
	*node = &local_of(self)->root->node;
	local_node_reference(local_of(self)->root, 1);
	return 0;
}

static void local_reference(struct dc_libservice *self, struct dc_node *node, uint64_t count)
{
	local_node_reference(local_node_of(node), count);
}

static void local_forget(struct dc_libservice *self, struct dc_node *node, uint64_t count)
{
	local_node_forget(local_of(self), local_node_of(node), count);
}

static int local_statfs(struct dc_libservice *self, struct dc_context *context, struct statvfs *out)
{
	return fstatvfs(local_of(self)->root->descriptor, out) ? -errno : 0;
}

static int local_sync(struct dc_libservice *self, struct dc_context *context)
{
	int result;

	dc_block_begin(context);
	result = syncfs(local_of(self)->root->descriptor) ? -errno : 0;
	dc_block_end(context);
	return result;
}

static int local_start(struct dc_libservice *self, const struct dc_options *options, struct dc_error *error)
{
	const char *path = dc_option_string(options, "path");
	struct local *local;
	int result;

	if (path[0] != '/')
		return dc_error_set(error, EINVAL, "%s: option \"path\" is \"%.300s\", expected an absolute path", self->id, path);
	local = calloc(1, sizeof *local);
	if (!local)
		return dc_error_set(error, ENOMEM, "%s: not enough memory", self->id);
	local->self = self;
	local->uid = geteuid(); /* once: a call of the kernel */
	local->gid = getegid();
	local->read_only = dc_option_boolean(options, "readOnly");
	result = local_nodes_start(local, path, error, self->id);
	if (result) {
		free(local);
		return result;
	}
	self->state = local;
	self->traits |= DC_TRAIT_MEMORY;
	return 0;
}

static void local_stop(struct dc_libservice *self)
{
	local_nodes_stop(local_of(self));
	free(self->state);
	self->state = NULL;
}

static const char *const local_statistics[] = {"bytesRead", "bytesWritten", "descriptors", "lookups", "nodes", "parked", "reads", "reopens", "syncs", "writes", NULL};

static void local_stat(struct dc_libservice *self, struct dc_statistics_sink *sink)
{
	struct local *local = local_of(self);
	size_t nodes;

	pthread_mutex_lock(&local->table_lock);
	nodes = local->node_count;
	pthread_mutex_unlock(&local->table_lock);
	sink->number(sink, "bytesRead", (int64_t)local->bytes_read);
	sink->number(sink, "bytesWritten", (int64_t)local->bytes_written);
	sink->number(sink, "descriptors", (int64_t)local_descriptors());
	sink->number(sink, "lookups", (int64_t)local->lookups);
	sink->number(sink, "nodes", (int64_t)nodes);
	sink->number(sink, "parked", (int64_t)local->parked);
	sink->number(sink, "reads", (int64_t)local->reads);
	sink->number(sink, "reopens", (int64_t)local->reopens);
	sink->number(sink, "syncs", (int64_t)local->syncs);
	sink->number(sink, "writes", (int64_t)local->writes);
}

static void local_stat_reset(struct dc_libservice *self)
{
	struct local *local = local_of(self);

	local->lookups = local->reads = local->writes = local->bytes_read = local->bytes_written = local->syncs = local->reopens = 0;
}

static const struct dc_file_ops local_ops = {
	.struct_size = sizeof(struct dc_file_ops),
	.root = local_root, .lookup = local_lookup, .reference = local_reference, .forget = local_forget, .getattr = local_getattr, .setattr = local_setattr,
	.readlink = local_readlink, .open = local_open, .close = local_close, .create = local_create, .tmpfile = local_tmpfile, .read = local_read,
	.write = local_write, .fsync = local_fsync, .fallocate = local_fallocate, .seek = local_seek, .copy = local_copy, .readdir = local_readdir,
	.mkdir = local_mkdir, .mknod = local_mknod, .symlink = local_symlink, .link = local_link, .unlink = local_unlink, .rmdir = local_rmdir,
	.rename = local_rename, .getxattr = local_getxattr, .setxattr = local_setxattr, .listxattr = local_listxattr, .removexattr = local_removexattr,
	.statfs = local_statfs, .sync = local_sync, .identify = local_identify, .recover = local_recover,
};

static const struct dc_option local_options[] = {
	{.name = "path", .type = DC_OPTION_PATH},
	{.name = "readOnly", .type = DC_OPTION_BOOLEAN},
	{.name = NULL},
};

DC_MODULE_EXPORT const struct dc_type dc_libservice_type = {
	.interface_version = DC_INTERFACE_VERSION,
	.struct_size = sizeof(struct dc_type),
	.name = "local",
	.summary = "A directory of the host, confined",
	.kind = DC_KIND_FILE,
	.version = 1,
	.options = local_options,
	.statistics = local_statistics,
	.ops.file = &local_ops,
	.create = local_start,
	.destroy = local_stop,
	.stat = local_stat,
	.stat_reset = local_stat_reset,
};
