#include "copying.h"

#include <errno.h>
#include <string.h>
#include <syslog.h>

#include "copy_profile.h"
#include "host.h"

#define LIBC_ROW {memcpy, memcpy, memcpy, memcpy, memcpy}
struct dc_copier dc_copier = {{LIBC_ROW, LIBC_ROW, LIBC_ROW, LIBC_ROW}};
_Static_assert(DC_COPY_CLASSES == 5 && DC_COPY_DIRECTIONS == 4, "one memcpy each");

static struct dc_copy_choice choice;
static int state = -ENOENT; /* of dc_copy_profile_load */

void dc_copying_start(void) {
	char why[256];
	const char *path = dc_copy_profile_path();
	state = dc_copy_profile_load(path, &choice, why, sizeof why, NULL);
	if (state && state != -ENOENT) dc_log(LOG_WARNING, "the copy profile %s is not used: %s; `diciclo tune` makes a new one", path, why);
	dc_copier_bind(&dc_copier, &choice, memcpy);
}

const struct dc_copy_choice *dc_copying_choice(void) {
	return &choice;
}

json_t *dc_copying_json(void) {
	json_t *rows = json_array();
	uint32_t features = dc_copy_features();
	for (unsigned direction = 0; direction < DC_COPY_DIRECTIONS; direction++) {
		for (unsigned class = 0; class < DC_COPY_CLASSES; class++) {
			unsigned routine = choice.routine[direction][class];
			size_t limit = dc_copy_class_limit(class);
			json_t *up_to = limit ? json_integer((json_int_t)limit) : json_null();
			const char *name = dc_copy_routine(routine, features, memcpy) ? dc_copy_name(routine) : dc_copy_name(DC_COPY_LIBC);
			json_array_append_new(rows, json_pack("{s:s,s:o,s:s}", "direction", dc_copy_direction_name(direction), "upTo", up_to, "routine", name));
		}
	}
	const char *word = state == 0 ? "used" : state == -ENOENT ? "none" : state == -ESTALE ? "other-cpu" : "unreadable";
	return json_pack("{s:s,s:s,s:o}", "profile", word, "path", dc_copy_profile_path(), "routines", rows);
}
