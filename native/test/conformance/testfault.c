/* testfault.c - see testfault.h. A filter: what it does not fail goes below. */
#include "testfault.h"

#include <diciclo/libservice.h>

__attribute__((visibility("default"))) struct testfault_rules testfault_rules;

static int fault_lookup(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *path, size_t length, struct dc_node **node,
                        struct dc_attr *attr, size_t *consumed)
{
	int once = atomic_exchange(&testfault_rules.lookup_once, 0);

	testfault_rules.lookups++;
	*node = NULL;
	*consumed = 0;
	if (once || testfault_rules.lookup)
		return once ? -once : -testfault_rules.lookup;
	return DC_FILE_CALL(self->child[0][0], lookup, context, parent, path, length, node, attr, consumed);
}

static int fault_getattr(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, struct dc_attr *attr)
{
	testfault_rules.getattrs++;
	return testfault_rules.getattr ? -testfault_rules.getattr : DC_FILE_CALL(self->child[0][0], getattr, context, node, attr);
}

static ssize_t fault_read(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const struct iovec *iov, int iovcnt, off_t offset, uint32_t flags)
{
	testfault_rules.reads++;
	return testfault_rules.read ? -testfault_rules.read : DC_FILE_CALL(self->child[0][0], read, context, node, iov, iovcnt, offset, flags);
}

static ssize_t fault_write(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const struct iovec *iov, int iovcnt, off_t *offset, uint32_t flags)
{
	struct iovec cut;

	if (testfault_rules.write)
		return -testfault_rules.write;
	if (!testfault_rules.short_write || (size_t)testfault_rules.short_write >= iov[0].iov_len)
		return DC_FILE_CALL(self->child[0][0], write, context, node, iov, iovcnt, offset, flags);
	cut = (struct iovec){iov[0].iov_base, (size_t)testfault_rules.short_write};
	return DC_FILE_CALL(self->child[0][0], write, context, node, &cut, 1, offset, flags);
}

static int fault_fsync(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, bool data_only)
{
	testfault_rules.fsyncs++;
	return testfault_rules.fsync ? -testfault_rules.fsync : DC_FILE_CALL(self->child[0][0], fsync, context, node, data_only);
}

static const struct dc_file_ops fault_ops = {.struct_size = sizeof(struct dc_file_ops), .lookup = fault_lookup, .getattr = fault_getattr, .read = fault_read,
	.write = fault_write, .fsync = fault_fsync};

static int fault_create(struct dc_libservice *self, const struct dc_options *options, struct dc_error *error) { return 0; }
static void fault_destroy(struct dc_libservice *self) {}
static const struct dc_option fault_options[] = {{.name = NULL}};
static const char *const fault_statistics[] = {NULL};

DC_MODULE_EXPORT const struct dc_type dc_libservice_type = {
	.interface_version = DC_INTERFACE_VERSION, .struct_size = sizeof(struct dc_type), .name = "testfault", .summary = "Fails on demand", .kind = DC_KIND_FILE,
	.version = 1, .flags = DC_TYPE_FILTER, .roles = {{.name = "below", .kind = DC_KIND_FILE, .minimum = 1, .maximum = 1, .claim = true}},
	.options = fault_options, .statistics = fault_statistics, .ops.file = &fault_ops, .create = fault_create, .destroy = fault_destroy,
};
