/* testslow.c - a filter: directories whose names begin with "slow" are made after six seconds, the directory "begun" beside them before. */
#include <diciclo/libservice.h>

#include <string.h>
#include <time.h>

static int slow_mkdir(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name, mode_t mode, struct dc_node **node, struct dc_attr *attr) {
	struct timespec pause = {.tv_sec = 6};
	struct dc_node *begun;
	struct dc_attr begun_attr;
	if (strncmp(name, "slow", 4) == 0) {
		if (DC_FILE_CALL(self->child[0][0], mkdir, context, parent, "begun", 0755, &begun, &begun_attr) == 0) DC_FILE_CALL(self->child[0][0], forget, begun, 1);
		nanosleep(&pause, NULL);
	}
	return DC_FILE_CALL(self->child[0][0], mkdir, context, parent, name, mode, node, attr);
}

static const struct dc_file_ops slow_ops = {.struct_size = sizeof(struct dc_file_ops), .mkdir = slow_mkdir};

static int slow_create(struct dc_libservice *self, const struct dc_options *options, struct dc_error *error) { return 0; }
static void slow_destroy(struct dc_libservice *self) {}
static const struct dc_option slow_options[] = {{.name = NULL}};
static const char *const slow_statistics[] = {NULL};

DC_MODULE_EXPORT const struct dc_type dc_libservice_type = {
	.interface_version = DC_INTERFACE_VERSION, .struct_size = sizeof(struct dc_type), .name = "testslow", .summary = "Makes directories slowly", .kind = DC_KIND_FILE,
	.version = 1, .flags = DC_TYPE_FILTER, .roles = {{.name = "below", .kind = DC_KIND_FILE, .minimum = 1, .maximum = 1, .claim = true}},
	.options = slow_options, .statistics = slow_statistics, .ops.file = &slow_ops, .create = slow_create, .destroy = slow_destroy,
};
