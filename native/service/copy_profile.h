/*
 * copy_profile.h - what `diciclo tune` has found out about this machine, as a file: which routine copies best, by direction and size class. Written by diciclo-tune, read by every service.
 */
#ifndef DICICLO_SERVICE_COPY_PROFILE_H
#define DICICLO_SERVICE_COPY_PROFILE_H

#include <jansson.h>

#include "copy.h"

#define DC_COPY_PROFILE_DEFAULT "/var/lib/diciclo/copy.json" /* survives a reboot, unlike the runtime directory */
#define DC_COPY_PROFILE_VERSION 2

const char *dc_copy_profile_path(void); /* $DICICLO_COPY_PROFILE, else the default */
/*
 * 0; -ENOENT; -ESTALE: measured on another CPU; -EINVAL: not a profile, and why in `why`; another -errno of reading it. But for 0 the choice is libc's memcpy throughout. A routine that this
 * build does not know counts as libc's memcpy. `*profile` (may be NULL) is the file's object, to be put back, also after -ESTALE.
 */
int dc_copy_profile_load(const char *path, struct dc_copy_choice *choice, char *why, size_t space, json_t **profile);
/* Atomically: a reader finds the old one or the new one, whole. 0 or -errno. */
int dc_copy_profile_store(const char *path, const json_t *profile);

#endif
