/*
 * mount_table.c - the `mounts` file (segment.h): which paths the library carries. Written by pwrite, not through a mapping: whoever truncates the file hurts himself only.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "mounts.h"

int dc_mounts_create(struct dc_pool *pool) {
	struct dc_mounts *table = calloc(1, sizeof *table);
	if (!table) return -ENOMEM;
	table->magic = DC_MOUNTS_MAGIC;
	table->version = DC_LAYOUT_VERSION;
	pool->mount_table = table;
	int result = dc_write_atomically(pool->directory_fd, "mounts", 0644, table, sizeof *table);
	if (result < 0) return result;
	pool->mount_table_fd = openat(pool->directory_fd, "mounts", O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	return pool->mount_table_fd < 0 ? -errno : 0;
}

static void put(struct dc_pool *pool, size_t offset, size_t size) {
	if (pwrite(pool->mount_table_fd, (const char *)pool->mount_table + offset, size, (off_t)offset) != (ssize_t)size) dc_log("cannot write the mount table: %s", strerror(errno));
}

static void change_generation(struct dc_pool *pool) {
	atomic_fetch_add(&pool->mount_table->generation, 1);
	put(pool, offsetof(struct dc_mounts, generation), sizeof pool->mount_table->generation);
}

static void write_entry(struct dc_pool *pool, struct dc_mount_entry *entry) {
	struct dc_mounts *table = pool->mount_table;
	uint32_t count = 0;
	for (uint32_t i = 0; i < DC_MOUNTS_MAX; i++)
		if (table->entry[i].instance) count = i + 1;
	change_generation(pool); /* odd */
	table->count = count;
	put(pool, offsetof(struct dc_mounts, count), sizeof table->count);
	put(pool, (size_t)((char *)entry - (char *)table), sizeof *entry);
	change_generation(pool); /* even */
}

static struct dc_mount_entry *find(struct dc_pool *pool, uint32_t id) {
	for (uint32_t i = 0; i < DC_MOUNTS_MAX; i++)
		if (pool->mount_table->entry[i].instance == id) return &pool->mount_table->entry[i];
	return NULL;
}

void dc_mount_table_publish(struct dc_pool *pool, const struct dc_pool_mount *mount, uint32_t flags) {
	struct dc_mount_entry *entry = find(pool, mount->id);
	if (!entry) entry = find(pool, 0);
	if (!entry) return; /* the number of mounts is limited before */
	memset(entry, 0, sizeof *entry);
	entry->instance = mount->id;
	entry->flags = flags;
	entry->device = mount->device;
	entry->path_length = (uint32_t)strlen(mount->mountpoint);
	memcpy(entry->path, mount->mountpoint, entry->path_length);
	write_entry(pool, entry);
}

void dc_mount_table_remove(struct dc_pool *pool, uint32_t id) {
	struct dc_mount_entry *entry = id ? find(pool, id) : NULL;
	if (!entry) return;
	memset(entry, 0, sizeof *entry);
	write_entry(pool, entry);
}
