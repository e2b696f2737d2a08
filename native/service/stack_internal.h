/* stack_internal.h - shared by stack*.c and libservice_core.c alone. */
#ifndef DICICLO_SERVICE_STACK_INTERNAL_H
#define DICICLO_SERVICE_STACK_INTERNAL_H

#include "stack.h"

#include <stdatomic.h>

#define DC_STACK_NODES_MAX 256u
#define DC_STACK_PLAN_BYTES_MAX (1u << 20)
#define DC_MODULES_MAX 128u

struct dc_options {
	const json_t *values; /* a JSON object: option name to value */
};

/* One file of the module directory. `type` is NULL when it could not be loaded; `failure` then says why. */
struct dc_module {
	char name[64]; /* the file's name without ".so" */
	void *handle;
	const struct dc_type *type;
	char failure[256];
};

struct dc_modules {
	uint32_t count;
	struct dc_module module[DC_MODULES_MAX]; /* sorted by name */
};

struct dc_stack_node {
	struct dc_libservice object; /* stable address: the array is never moved */
	struct dc_file_binding file;
	struct dc_libservice *children[DC_ROLE_MAX * DC_CHILD_MAX];
	json_t *options; /* owned */
	uint32_t parents;
	bool claimed;
	bool created;
};

struct dc_stack {
	char instance[128];
	json_t *plan; /* owned: the option strings live here */
	struct dc_stack_node *root;
	uint32_t count; /* nodes that are built, children first */
	struct dc_stack_node *nodes;
};

const char *dc_kind_name(enum dc_kind kind);
const struct dc_module *dc_modules_find(const struct dc_modules *modules, const char *type);

/* stack_check.c: is this plan node what its type accepts? Errors are one sentence that names the node, the option and what was expected. */
int dc_stack_check_options(const char *id, const struct dc_type *type, const json_t *options, struct dc_error *error);
int dc_stack_check_keys(const char *what, const json_t *object, const char *const *keys, struct dc_error *error);
bool dc_stack_name_valid(const char *name);

/* stack_bind.c: fills node->file from the type's table, the child's binding (filters), or stubs that answer -ENOSYS or -EOPNOTSUPP. */
void dc_stack_bind(struct dc_stack_node *node);

#endif
