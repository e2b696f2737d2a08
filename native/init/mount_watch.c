/*
 * mount_watch.c - notices when a kernel door is unmounted by somebody else: by hand, or by the kernel, which takes away whatever is mounted on a directory that its filesystem has replaced
 * (as a restarted service may do with the directories of an instance that hold the mount points of others).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "mounts.h"

static void mark(struct dc_pool *pool, const struct dc_mountinfo *info) {
	for (struct dc_pool_mount *mount = pool->mounts; mount; mount = mount->next) {
		char device[32];
		snprintf(device, sizeof device, "%u:%u", major(mount->device), minor(mount->device));
		if (strcmp(device, info->device) == 0 && strcmp(mount->mountpoint, info->mountpoint) == 0) mount->seen = true;
	}
}

void dc_mounts_look(struct dc_pool *pool) {
	FILE *table = fopen("/proc/self/mountinfo", "re");
	if (!table) return; /* out of descriptors: the next change tells again */
	for (struct dc_pool_mount *mount = pool->mounts; mount; mount = mount->next) mount->seen = false;
	char *line = NULL;
	size_t space = 0;
	while (getline(&line, &space, table) > 0) {
		struct dc_mountinfo info;
		if (dc_mountinfo_parse(line, &info)) mark(pool, &info);
	}
	free(line);
	fclose(table);
	for (struct dc_pool_mount *mount = pool->mounts, *next; mount; mount = next) {
		next = mount->next;
		if (!mount->seen && (mount->state == DC_MOUNT_LIVE || mount->state == DC_MOUNT_DEAD)) dc_mount_lost(mount);
	}
}

static void on_change(struct dc_source *source, uint32_t events) {
	dc_mounts_look(dc_container_of(source, struct dc_pool, mount_watch));
}

int dc_mounts_watch(struct dc_pool *pool) {
	int fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : dc_source_add(&pool->loop, &pool->mount_watch, fd, EPOLLPRI, on_change);
}
