#include "copy_profile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROFILE_BYTES_MAX (256u << 10)

const char *dc_copy_profile_path(void) {
	const char *told = getenv("DICICLO_COPY_PROFILE");
	return told && *told ? told : DC_COPY_PROFILE_DEFAULT;
}

/* The whole file, or NULL and *error. Not through jansson: what is no file, or has no end, must not be read for ever. */
static char *read_whole(const char *path, size_t *size, int *error) {
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	*error = fd < 0 ? -errno : fstat(fd, &st) ? -errno : !S_ISREG(st.st_mode) || st.st_size > PROFILE_BYTES_MAX ? -EINVAL : 0;
	char *text = *error ? NULL : malloc(PROFILE_BYTES_MAX);
	ssize_t got = text ? read(fd, text, PROFILE_BYTES_MAX) : -1;
	if (!*error && got < 0) *error = text ? -errno : -ENOMEM;
	if (fd >= 0) close(fd);
	if (*error) {
		free(text);
		return NULL;
	}
	*size = (size_t)got;
	return text;
}

static int direction_of(const char *name) {
	for (unsigned i = 0; name && i < DC_COPY_DIRECTIONS; i++)
		if (!strcmp(name, dc_copy_direction_name(i))) return (int)i;
	return -1;
}

/* "upTo": null is the last class. */
static int class_of(const json_t *up_to) {
	if (!json_is_integer(up_to) && !json_is_null(up_to)) return -1;
	json_int_t limit = json_is_null(up_to) ? 0 : json_integer_value(up_to);
	if (!limit && !json_is_null(up_to)) return -1;
	for (unsigned i = 0; i < DC_COPY_CLASSES; i++)
		if ((json_int_t)dc_copy_class_limit(i) == limit) return (int)i;
	return -1;
}

static const char *take_rows(const json_t *rows, struct dc_copy_choice *choice) {
	size_t index;
	json_t *row;
	if (!json_is_array(rows)) return "it has no rows";
	json_array_foreach(rows, index, row) {
		int direction = direction_of(json_string_value(json_object_get(row, "direction"))), class = class_of(json_object_get(row, "upTo"));
		const char *name = json_string_value(json_object_get(row, "routine"));
		if (direction < 0 || class < 0 || !name) return "a row has no known direction and class, or no routine";
		for (unsigned i = 0; i < DC_COPY_ROUTINES; i++)
			if (dc_copy_name(i) && !strcmp(name, dc_copy_name(i))) choice->routine[direction][class] = (uint8_t)i;
	}
	return NULL;
}

static int judge(const json_t *profile, struct dc_copy_choice *choice, char *why, size_t space) {
	char cpu[DC_COPY_CPU_MAX];
	const char *measured = json_string_value(json_object_get(profile, "cpu")), *wrong = NULL;
	const json_t *version = json_object_get(profile, "version");
	dc_copy_cpu(cpu);
	if (!json_is_object(profile)) wrong = "it is not a JSON object";
	else if (!json_is_integer(version) || json_integer_value(version) != DC_COPY_PROFILE_VERSION) wrong = "it is of another version";
	else if (!measured) wrong = "it does not say for which CPU it is";
	if (!wrong && strcmp(measured, cpu)) {
		snprintf(why, space, "it was measured on %.80s, and this is %s", measured, cpu);
		return -ESTALE;
	}
	if (!wrong) wrong = take_rows(json_object_get(profile, "rows"), choice);
	if (wrong) snprintf(why, space, "%s", wrong);
	return wrong ? -EINVAL : 0;
}

int dc_copy_profile_load(const char *path, struct dc_copy_choice *choice, char *why, size_t space, json_t **profile) {
	size_t size = 0;
	int result;
	json_error_t error;
	memset(choice, 0, sizeof *choice);
	why[0] = 0;
	if (profile) *profile = NULL;
	char *text = read_whole(path, &size, &result);
	if (!text) {
		if (result == -EINVAL) snprintf(why, space, "it is no file of a profile's size");
		else snprintf(why, space, "%s", strerror(-result));
		return result;
	}
	json_t *object = json_loadb(text, size, 0, &error);
	free(text);
	if (!object) snprintf(why, space, "line %d: %.120s", error.line, error.text);
	result = object ? judge(object, choice, why, space) : -EINVAL;
	if (result) memset(choice, 0, sizeof *choice);
	if (profile && (!result || result == -ESTALE)) *profile = object;
	else json_decref(object);
	return result;
}

/* The directories above it, for those who may make them. */
static void make_parents(char *path) {
	for (char *at = path + 1; (at = strchr(at, '/')); at++) {
		*at = 0;
		mkdir(path, 0755);
		*at = '/';
	}
}

int dc_copy_profile_store(const char *path, const json_t *profile) {
	char text[PATH_MAX];
	if (snprintf(text, sizeof text, "%s.XXXXXX", path) >= (int)sizeof text) return -ENAMETOOLONG;
	make_parents(text);
	int fd = mkostemp(text, O_CLOEXEC);
	if (fd < 0) return -errno;
	int error = json_dumpfd(profile, fd, JSON_INDENT(1)) || fchmod(fd, 0644) || fsync(fd) ? -EIO : 0;
	if (close(fd) && !error) error = -errno;
	if (!error && rename(text, path)) error = -errno;
	if (error) unlink(text);
	return error;
}
