/*
 * copying.h - by which routines this service copies, and its clients: from the machine's profile (copy_profile.h), read once at the start.
 */
#ifndef DICICLO_SERVICE_COPYING_H
#define DICICLO_SERVICE_COPYING_H

#include <jansson.h>

#include "copy.h"

extern struct dc_copier dc_copier; /* libc's memcpy before the start */
void dc_copying_start(void);
const struct dc_copy_choice *dc_copying_choice(void); /* for the clients' arenas */
json_t *dc_copying_json(void); /* docs/contract.md §6 `copy` */

#endif
