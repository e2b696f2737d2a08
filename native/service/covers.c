/*
 * covers.c - which directories of an instance lie under another instance's mount.
 *
 * The kernel crosses mounts by itself, and the library sends a path to the instance with the longest matching mount point. What is left are paths whose spelling does not show where
 * they lead: symbolic links, "..", and paths relative to a directory. So each instance knows the directories on which younger ones are mounted, by inode number: a directory
 * that is renamed takes its mount along, as in the kernel.
 *
 * A set is made anew whenever an instance comes or goes, and never changed. Walks read it without a lock, so a replaced one stays (a kilobyte for each mount below another, bounded by mounts).
 */
#include "covers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>

#include "clients.h"
#include "host.h"
#include "stamps.h"

/* What of `path` lies below `mount`, or NULL. Both are normal: absolute, without doubled or trailing slashes. */
static const char *below(const char *path, const char *mount) {
	size_t length = strcmp(mount, "/") ? strlen(mount) : 0;
	return !strncmp(path, mount, length) && path[length] == '/' && path[length + 1] ? path + length + 1 : NULL;
}

/* Is `inner` mounted on a directory of `outer`: younger, below, and none between them? */
static const char *lies_on(const struct dc_instance *inner, const struct dc_instance *outer, struct dc_instance *const *all, unsigned count) {
	const char *rest = inner->id > outer->id ? below(inner->mountpoint, outer->mountpoint) : NULL;
	for (unsigned i = 0; rest && i < count; i++)
		if (all[i] != inner && all[i] != outer && all[i]->id < inner->id && below(inner->mountpoint, all[i]->mountpoint) && below(all[i]->mountpoint, outer->mountpoint)) rest = NULL;
	return rest;
}

/* The directory `path` of an instance, one component after the other; symbolic links are not followed. 0 and its inode number, or -errno. */
static int find_directory(struct dc_instance *instance, const char *path, uint64_t *ino) {
	struct dc_cred cred = {.uid = 0};
	struct dc_context context = {.cred = &cred};
	struct dc_node *at = instance->root_node;
	DC_FILE_CALL(instance->root, reference, at, 1);
	int error = 0;
	while (*path && !error) {
		size_t length = strcspn(path, "/"), consumed = 0;
		struct dc_node *next = NULL;
		error = DC_FILE_CALL(instance->root, lookup, &context, at, path, length, &next, NULL, &consumed);
		if (!error && !S_ISDIR(next->type)) error = S_ISLNK(next->type) ? -ELOOP : -ENOTDIR;
		if (error && next) DC_FILE_CALL(instance->root, forget, next, 1);
		if (error) break;
		DC_FILE_CALL(instance->root, forget, at, 1);
		at = next;
		path += length + (path[length] == '/');
	}
	*ino = at->ino;
	DC_FILE_CALL(instance->root, forget, at, 1);
	return error;
}

static struct dc_covers *covers_of(struct dc_instance *outer, struct dc_instance *const *all, unsigned count, const struct dc_instance *come) {
	struct dc_covers *covers = NULL;
	for (unsigned i = 0; i < count; i++) {
		const char *rest = lies_on(all[i], outer, all, count);
		if (!rest) continue;
		struct dc_cover cover = {.inner = all[i]->id};
		strcpy(cover.mountpoint, all[i]->mountpoint); /* the same size */
		int error = find_directory(outer, rest, &cover.ino);
		unsigned have = covers ? covers->count : 0;
		struct dc_covers *more = error ? NULL : realloc(covers, sizeof *covers + (have + 1) * sizeof cover);
		if (!more) {
			if (all[i] == come) dc_log(LOG_WARNING, "%s lies in %s, but its directory there cannot be found (%s): paths that come to it by a symbolic link will not see it through the library",
				all[i]->mountpoint, outer->name, strerror(error ? -error : ENOMEM));
			continue;
		}
		covers = more;
		covers->cover[have] = cover;
		covers->count = have + 1;
	}
	return covers;
}

static bool same(const struct dc_covers *a, const struct dc_covers *b) {
	if (!a || !b) return a == b;
	return a->count == b->count && !memcmp(a->cover, b->cover, a->count * sizeof *a->cover);
}

void dc_covers_changed(const struct dc_instance *come) {
	struct dc_instance *all[DC_INSTANCES_MAX];
	unsigned count = dc_instances_all(all);
	for (unsigned i = 0; i < count; i++) {
		struct dc_covers *covers = covers_of(all[i], all, count, come);
		if (same(covers, atomic_load(&all[i]->covers))) free(covers);
		else {
			atomic_store_explicit(&all[i]->covers, covers, memory_order_seq_cst);
			dc_stamps_moved_all(all[i]); /* paths that came past go elsewhere now */
		}
	}
	while (count) dc_instances_put(all[--count]);
}
