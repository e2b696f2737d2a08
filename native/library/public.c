/*
 * public.c - the functions of diciclo/diciclo.h.
 */
#include "internal.h"

#include <diciclo/diciclo.h>

EXPORT int diciclo_interface_version(void) { return DICICLO_INTERFACE_VERSION; }
EXPORT const char *diciclo_version(void) { return DICICLO_RELEASE; }

EXPORT int diciclo_use(const char *pool_directory) {
	if (dc_active()) return (int)dc_return(pool_directory && !strcmp(pool_directory, dc_pool_dir) ? 0 : -EBUSY);
	return (int)dc_return(dc_mounts_start(pool_directory));
}

EXPORT int diciclo_attach(void) {
	if (!dc_active()) return (int)dc_return(-ENOTCONN);
	return (int)dc_return(dc_session() ? 0 : -ECONNREFUSED);
}

EXPORT void diciclo_leave(void) { dc_stop_carrying(); }

static enum diciclo_door by_device(int dirfd, const char *path, int flags) {
	struct stat st;
	struct dc_place place;
	return dc_pool_dir[0] && k_stat(dirfd, path, &st, flags) == 0 && dc_mounts_device(st.st_dev, &place) ? DICICLO_DOOR_KERNEL : DICICLO_DOOR_NONE;
}

EXPORT enum diciclo_door diciclo_door_of_path(const char *path) {
	struct dc_place place;
	struct dc_file *base = NULL;
	if (!path || !path[0]) return DICICLO_DOOR_NONE;
	bool found = dc_locate(AT_FDCWD, path, 0, &place, &base);
	dc_file_put(base);
	if (!found) return by_device(AT_FDCWD, path, 0);
	return dc_session() ? DICICLO_DOOR_LIBRARY : DICICLO_DOOR_KERNEL;
}

EXPORT enum diciclo_door diciclo_door_of_descriptor(int fd) {
	struct dc_file *file = dc_file_get(fd);
	dc_file_put(file);
	return file ? DICICLO_DOOR_LIBRARY : by_device(fd, "", AT_EMPTY_PATH);
}

EXPORT size_t diciclo_uncarried(struct diciclo_count *out, size_t space) {
	size_t count = 0;
	for (enum dc_uncarried which = 0; which < DC_UNCARRIED_COUNT; which++) {
		struct diciclo_count one;
		one.count = dc_uncarried_count(which, &one.name);
		if (one.count && count++ < space) out[count - 1] = one;
	}
	return count;
}
