/*
 * passthrough - hands every call to the libservice below it, and counts the data that go by. The template for a new libservice: copy this file, rename
 * it, and fill in the operations that it is about. docs/libservice-author.md walks through it.
 *
 * What       Overrides read and write to count; everything else is left empty and goes below.
 * Children   below (file): any file libservice. Claimed: nobody else may write it behind our back.
 * Passes     Everything. Since `lookup` is left empty, the nodes that callers hold are the child's own, and are handed on as they are.
 * Promises   Whatever the child promises, unchanged. An empty operation costs nothing at run time: the stack binds the child's in its place.
 * Lacks      Nothing that the child has.
 */
#include <diciclo/libservice.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

/* A libservice has no globals: what it keeps hangs on self->state, so that one process can run many. */
struct passthrough {
	struct dc_libservice *below;
	_Atomic uint64_t reads, writes, bytes_read, bytes_written;
};

static ssize_t passthrough_read(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const struct iovec *iov, int iovcnt, off_t offset, uint32_t flags)
{
	struct passthrough *state = self->state;
	/* A call to a child is a plain function call through its table. */
	ssize_t count = DC_FILE_CALL(state->below, read, context, node, iov, iovcnt, offset, flags);

	/* Operations run in many threads at once: counters are atomic, and relaxed since nothing is decided by them. */
	atomic_fetch_add_explicit(&state->reads, 1, memory_order_relaxed);
	if (count > 0)
		atomic_fetch_add_explicit(&state->bytes_read, (uint64_t)count, memory_order_relaxed);
	return count;
}

static ssize_t passthrough_write(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const struct iovec *iov, int iovcnt, off_t *offset, uint32_t flags)
{
	struct passthrough *state = self->state;
	ssize_t count = DC_FILE_CALL(state->below, write, context, node, iov, iovcnt, offset, flags);

	atomic_fetch_add_explicit(&state->writes, 1, memory_order_relaxed);
	if (count > 0)
		atomic_fetch_add_explicit(&state->bytes_written, (uint64_t)count, memory_order_relaxed);
	return count;
}

static const struct dc_file_ops passthrough_ops = {
	.struct_size = sizeof(struct dc_file_ops), /* lets the service recognise a module that was built against another interface */
	.read = passthrough_read,
	.write = passthrough_write,
};

/* The framework has checked the options and the children before this runs: child[role][index] is there as the roles say. */
static int passthrough_create(struct dc_libservice *self, const struct dc_options *options, struct dc_error *error)
{
	struct passthrough *state = calloc(1, sizeof *state);

	if (!state)
		return dc_error_set(error, ENOMEM, "%s: not enough memory", self->id);
	state->below = self->child[0][0];
	self->state = state;
	return 0;
}

static void passthrough_destroy(struct dc_libservice *self)
{
	free(self->state);
}

static void passthrough_stat(struct dc_libservice *self, struct dc_statistics_sink *sink)
{
	struct passthrough *state = self->state;

	sink->number(sink, "bytesRead", (int64_t)state->bytes_read);
	sink->number(sink, "bytesWritten", (int64_t)state->bytes_written);
	sink->number(sink, "reads", (int64_t)state->reads);
	sink->number(sink, "writes", (int64_t)state->writes);
}

static void passthrough_stat_reset(struct dc_libservice *self)
{
	struct passthrough *state = self->state;

	state->reads = state->writes = state->bytes_read = state->bytes_written = 0;
}

/* Sorted by name; a TypeScript twin of the same name declares the same (src/libservices), and a test compares both. This one has none. */
static const struct dc_option passthrough_options[] = {{.name = NULL}};
static const char *const passthrough_statistics[] = {"bytesRead", "bytesWritten", "reads", "writes", NULL};

/* The one symbol that a module exports. */
DC_MODULE_EXPORT const struct dc_type dc_libservice_type = {
	.interface_version = DC_INTERFACE_VERSION,
	.struct_size = sizeof(struct dc_type),
	.name = "passthrough",
	.summary = "Hands everything to the libservice below: the template for a new one",
	.kind = DC_KIND_FILE,
	.version = 1,
	.flags = DC_TYPE_FILTER,
	.roles = {{.name = "below", .kind = DC_KIND_FILE, .minimum = 1, .maximum = 1, .claim = true}},
	.options = passthrough_options,
	.statistics = passthrough_statistics,
	.ops.file = &passthrough_ops,
	.create = passthrough_create,
	.destroy = passthrough_destroy,
	.stat = passthrough_stat,
	.stat_reset = passthrough_stat_reset,
};
