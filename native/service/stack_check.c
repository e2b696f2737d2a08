/* stack_check.c - the plan is untrusted: every option present, with its exact type, in its range, and nothing else. */
#include "stack_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Names become part of messages and of JSON: printable ASCII without spaces, and short. */
bool dc_stack_name_valid(const char *name)
{
	size_t length;

	for (length = 0; name[length]; length++)
		if (length >= 127 || name[length] <= ' ' || name[length] > '~')
			return false;
	return length > 0;
}

int dc_stack_check_keys(const char *what, const json_t *object, const char *const *keys, struct dc_error *error)
{
	const char *const *key;
	const char *present;
	json_t *value;

	for (key = keys; *key; key++)
		if (!json_object_get(object, *key))
			return dc_error_set(error, EINVAL, "%s lacks \"%s\"", what, *key);
	json_object_foreach((json_t *)object, present, value) {
		for (key = keys; *key && strcmp(*key, present); key++)
			;
		if (!*key)
			return dc_error_set(error, EINVAL, "%s has the unknown key \"%.64s\"", what, present);
	}
	return 0;
}

static const char *json_type_name(const json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_OBJECT: return "an object";
	case JSON_ARRAY: return "a list";
	case JSON_STRING: return "a string";
	case JSON_INTEGER: return "an integer";
	case JSON_REAL: return "a fraction";
	case JSON_TRUE: case JSON_FALSE: return "a boolean";
	case JSON_NULL: return "null";
	}
	return "something else";
}

static int check_number(const char *id, const struct dc_option *option, const json_t *value, const char *what, struct dc_error *error)
{
	int64_t number;

	if (!json_is_integer(value))
		return dc_error_set(error, EINVAL, "%s: option \"%s\" is %s, expected %s", id, option->name, json_type_name(value), what);
	number = json_integer_value(value);
	if (option->type != DC_OPTION_INTEGER && number < 0)
		return dc_error_set(error, EINVAL, "%s: option \"%s\" is %" PRId64 ", expected %s that is not negative", id, option->name, number, what);
	if ((option->minimum || option->maximum) && number < option->minimum)
		return dc_error_set(error, ERANGE, "%s: option \"%s\" is %" PRId64 ", expected at least %" PRId64, id, option->name, number, option->minimum);
	if (option->maximum && number > option->maximum)
		return dc_error_set(error, ERANGE, "%s: option \"%s\" is %" PRId64 ", expected at most %" PRId64, id, option->name, number, option->maximum);
	return 0;
}

static int check_enum(const char *id, const struct dc_option *option, const char *text, struct dc_error *error)
{
	const char *const *value;
	char accepted[256] = "";
	size_t used = 0;

	for (value = option->values; *value; value++) {
		if (!strcmp(*value, text))
			return 0;
		if (used < sizeof accepted)
			used += (size_t)snprintf(accepted + used, sizeof accepted - used, "%s\"%s\"", used ? ", " : "", *value);
	}
	return dc_error_set(error, EINVAL, "%s: option \"%s\" is \"%.64s\", expected one of %s", id, option->name, text, accepted);
}

static int check_option(const char *id, const struct dc_option *option, const json_t *value, struct dc_error *error)
{
	switch (option->type) {
	case DC_OPTION_SIZE: return check_number(id, option, value, "a size in bytes", error);
	case DC_OPTION_DURATION: return check_number(id, option, value, "a duration in milliseconds", error);
	case DC_OPTION_INTEGER: return check_number(id, option, value, "an integer", error);
	case DC_OPTION_BOOLEAN:
		if (!json_is_boolean(value))
			return dc_error_set(error, EINVAL, "%s: option \"%s\" is %s, expected true or false", id, option->name, json_type_name(value));
		return 0;
	case DC_OPTION_STRING: case DC_OPTION_PATH: case DC_OPTION_ENUM: break;
	}
	if (!json_is_string(value))
		return dc_error_set(error, EINVAL, "%s: option \"%s\" is %s, expected a string", id, option->name, json_type_name(value));
	if (json_string_length(value) >= DC_PATH_MAX || strlen(json_string_value(value)) != json_string_length(value))
		return dc_error_set(error, EINVAL, "%s: option \"%s\" is too long or holds a NUL character", id, option->name);
	if (option->type == DC_OPTION_PATH && !json_string_length(value))
		return dc_error_set(error, EINVAL, "%s: option \"%s\" is empty, expected a path", id, option->name);
	return option->type == DC_OPTION_ENUM ? check_enum(id, option, json_string_value(value), error) : 0;
}

int dc_stack_check_options(const char *id, const struct dc_type *type, const json_t *options, struct dc_error *error)
{
	const struct dc_option *option;
	const char *name;
	json_t *value;
	int result;

	if (!json_is_object(options))
		return dc_error_set(error, EINVAL, "%s: \"options\" is %s, expected an object", id, json_type_name(options));
	json_object_foreach((json_t *)options, name, value) {
		for (option = type->options; option->name && strcmp(option->name, name); option++)
			;
		if (!option->name)
			return dc_error_set(error, EINVAL, "%s: %s has no option \"%.64s\"", id, type->name, name);
	}
	for (option = type->options; option->name; option++) {
		value = json_object_get(options, option->name);
		if (!value)
			return dc_error_set(error, EINVAL, "%s: option \"%s\" of %s is missing", id, option->name, type->name);
		result = check_option(id, option, value, error);
		if (result)
			return result;
	}
	return 0;
}
