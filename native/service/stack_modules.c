/* stack_modules.c - the loadable modules of a directory: open, check, describe (docs/contract.md §7). */
#include "stack_internal.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const option_type_names[] = {
	[DC_OPTION_STRING] = "string", [DC_OPTION_PATH] = "path", [DC_OPTION_SIZE] = "size", [DC_OPTION_INTEGER] = "integer",
	[DC_OPTION_BOOLEAN] = "boolean", [DC_OPTION_ENUM] = "enum", [DC_OPTION_DURATION] = "duration",
};

const char *dc_kind_name(enum dc_kind kind)
{
	switch (kind) {
	case DC_KIND_FILE: return "file";
	case DC_KIND_BLOCK: return "block";
	case DC_KIND_KV: return "kv";
	case DC_KIND_LOG: return "log";
	}
	return "unknown";
}

/* NULL when the type can be used, else what is wrong with it. A module is our own build's file: this catches a stale one, not a hostile one. */
static const char *type_fault(const struct dc_type *type)
{
	uint32_t role;

	if (type->interface_version != DC_INTERFACE_VERSION)
		return "it was built for another interface version";
	if (type->struct_size != sizeof(struct dc_type))
		return "its type structure has another size: rebuild it";
	if (!type->name || !dc_stack_name_valid(type->name) || !type->create || !type->options || !type->statistics)
		return "its type is incomplete";
	if (type->kind == DC_KIND_FILE && (!type->ops.file || type->ops.file->struct_size != sizeof(struct dc_file_ops)))
		return "its file table has another size: rebuild it";
	if (type->kind == DC_KIND_BLOCK && (!type->ops.block || type->ops.block->struct_size != sizeof(struct dc_block_ops)))
		return "its block table has another size: rebuild it";
	for (role = 0; role < DC_ROLE_MAX && type->roles[role].name; role++)
		if (type->roles[role].maximum > DC_CHILD_MAX || type->roles[role].minimum > type->roles[role].maximum)
			return "the arity of one of its roles is out of range";
	if ((type->flags & DC_TYPE_FILTER) && (role != 1 || type->roles[0].minimum != 1 || type->roles[0].maximum != 1 || type->roles[0].kind != type->kind))
		return "it calls itself a filter but does not have exactly one child of its own kind";
	return NULL;
}

static void module_open(struct dc_modules *modules, const char *directory, const char *file)
{
	struct dc_module *module = &modules->module[modules->count];
	const struct dc_type *type;
	const char *fault;
	char path[4352];
	uint32_t i;

	snprintf(module->name, sizeof module->name, "%.*s", (int)(strlen(file) - 3), file);
	snprintf(path, sizeof path, "%s/%s", directory, file);
	modules->count++;
	module->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!module->handle) {
		snprintf(module->failure, sizeof module->failure, "%s", dlerror());
		return;
	}
	type = dlsym(module->handle, DC_MODULE_SYMBOL);
	fault = type ? type_fault(type) : "it does not export " DC_MODULE_SYMBOL;
	for (i = 0; !fault && i + 1 < modules->count; i++)
		if (modules->module[i].type && !strcmp(modules->module[i].type->name, type->name))
			fault = "another module offers the same type";
	if (fault)
		snprintf(module->failure, sizeof module->failure, "the module cannot be used: %s", fault);
	else
		module->type = type;
}

static int select_module(const struct dirent *entry)
{
	size_t length = strlen(entry->d_name);
	return length > 3 && length < 64 && entry->d_name[0] != '.' && !strcmp(entry->d_name + length - 3, ".so");
}

struct dc_modules *dc_modules_load(const char *directory, struct dc_error *error)
{
	struct dc_modules *modules;
	struct dirent **entries = NULL;
	int count = scandir(directory, &entries, select_module, alphasort), i;

	if (count < 0) {
		dc_error_set(error, errno, "cannot read the directory of libservice modules %s: %s", directory, strerror(errno));
		return NULL;
	}
	modules = calloc(1, sizeof *modules);
	for (i = 0; i < count; i++) {
		if (modules && modules->count < DC_MODULES_MAX)
			module_open(modules, directory, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	if (!modules)
		dc_error_set(error, ENOMEM, "not enough memory for the table of modules");
	return modules;
}

void dc_modules_unload(struct dc_modules *modules)
{
	uint32_t i;

	if (!modules)
		return;
	for (i = 0; i < modules->count; i++)
		if (modules->module[i].handle)
			dlclose(modules->module[i].handle);
	free(modules);
}

const struct dc_module *dc_modules_find(const struct dc_modules *modules, const char *type)
{
	uint32_t i;

	for (i = 0; i < modules->count; i++)
		if (!strcmp(modules->module[i].type ? modules->module[i].type->name : modules->module[i].name, type))
			return &modules->module[i];
	return NULL;
}

static json_t *describe_options(const struct dc_type *type)
{
	json_t *options = json_array();
	const struct dc_option *option;

	for (option = type->options; option->name; option++) {
		json_t *one = json_pack("{s:s, s:s}", "name", option->name, "type", option_type_names[option->type]);
		if (option->type == DC_OPTION_ENUM) {
			json_t *values = json_array();
			const char *const *value;
			for (value = option->values; *value; value++)
				json_array_append_new(values, json_string(*value));
			json_object_set_new(one, "values", values);
		}
		if (option->minimum || option->maximum)
			json_object_set_new(one, "minimum", json_integer(option->minimum));
		if (option->maximum)
			json_object_set_new(one, "maximum", json_integer(option->maximum));
		json_array_append_new(options, one);
	}
	return options;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static json_t *describe_statistics(const struct dc_type *type)
{
	const char *names[128];
	json_t *statistics = json_array();
	size_t count = 0, i;

	while (count < 128 && type->statistics[count]) {
		names[count] = type->statistics[count];
		count++;
	}
	qsort(names, count, sizeof names[0], compare_names);
	for (i = 0; i < count; i++)
		json_array_append_new(statistics, json_string(names[i]));
	return statistics;
}

static json_t *describe_type(const struct dc_type *type)
{
	char missing[256] = "";
	bool available = !type->probe || type->probe(missing, sizeof missing);
	json_t *children = json_array(), *one;
	uint32_t role;

	for (role = 0; role < DC_ROLE_MAX && type->roles[role].name; role++)
		json_array_append_new(children, json_pack("{s:s, s:s, s:i, s:i, s:b}", "role", type->roles[role].name, "kind", dc_kind_name(type->roles[role].kind),
			"min", (int)type->roles[role].minimum, "max", (int)type->roles[role].maximum, "claim", type->roles[role].claim));
	one = json_pack("{s:s, s:s, s:i, s:s, s:o, s:o, s:o, s:b}", "type", type->name, "kind", dc_kind_name(type->kind), "version", (int)type->version,
		"summary", type->summary, "options", describe_options(type), "children", children, "statistics", describe_statistics(type), "available", available);
	if (!available)
		json_object_set_new(one, "missing", json_string(missing));
	return one;
}

json_t *dc_modules_describe(const struct dc_modules *modules)
{
	json_t *libservices = json_array();
	uint32_t i;

	for (i = 0; i < modules->count; i++) {
		const struct dc_module *module = &modules->module[i];
		json_array_append_new(libservices, module->type ? describe_type(module->type) :
			json_pack("{s:s, s:b, s:s}", "type", module->name, "available", 0, "missing", module->failure));
	}
	return json_pack("{s:i, s:o}", "interfaceVersion", (int)DC_INTERFACE_VERSION, "libservices", libservices);
}
