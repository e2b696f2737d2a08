/*
 * libservice_core.c - what libservice.h offers to every libservice: errors, nodes, options. Linked into the service (and exported to its modules) and into tests.
 * dc_block_begin and dc_block_end are the workers' and live with them.
 */
#include "stack_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int dc_error_set(struct dc_error *error, int code, const char *format, ...)
{
	if (error) {
		va_list arguments;

		error->code = code;
		va_start(arguments, format);
		vsnprintf(error->message, sizeof error->message, format, arguments);
		va_end(arguments);
	}
	return -code;
}

void dc_node_init(struct dc_node *node, struct dc_libservice *owner, uint64_t ino, uint32_t type)
{
	memset(node, 0, sizeof *node);
	node->owner = owner;
	node->ino = ino;
	node->type = type & S_IFMT;
	atomic_init(&node->references, 1);
}

/* The framework has checked that every declared option is there with its type; an undeclared name is a bug of the libservice and reads as empty. */
const char *dc_option_string(const struct dc_options *options, const char *name)
{
	const char *value = json_string_value(json_object_get(options->values, name));
	return value ? value : "";
}

int64_t dc_option_number(const struct dc_options *options, const char *name)
{
	return json_integer_value(json_object_get(options->values, name));
}

bool dc_option_boolean(const struct dc_options *options, const char *name)
{
	return json_is_true(json_object_get(options->values, name));
}
