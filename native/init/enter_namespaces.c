/*
 * enter_namespaces.c - finds the pool's namespaces, and carries a mount from there to the host: a clone of the mount, made in the pool's mount namespace and attached in the caller's, at the
 * same path. Nothing is left of it in the pool.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enter.h"
#include "util.h"

static int open_namespace(int process, const char *name) {
	char path[32];
	snprintf(path, sizeof path, "ns/%s", name);
	int fd = openat(process, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) enter_fail("cannot open the pool's %s namespace: %s", name, strerror(errno));
	return fd;
}

struct enter_namespaces enter_open_namespaces(const char *pool_directory) {
	char path[4096];
	json_error_t error;
	snprintf(path, sizeof path, "%s/init.json", pool_directory);
	json_t *record = json_load_file(path, 0, &error);
	json_int_t pid = json_integer_value(json_object_get(record, "pid")), expected = json_integer_value(json_object_get(record, "startTime"));
	json_decref(record);
	if (pid <= 0) enter_fail("the pool is not running: %s/init.json %s", pool_directory, access(path, F_OK) == 0 ? "is damaged" : "does not exist");
	/* This descriptor is of one process for ever: what is read through it after the check is of the process that was checked. */
	snprintf(path, sizeof path, "/proc/%lld", (long long)pid);
	int process = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint64_t start = 0;
	if (process < 0 || dc_start_time(process, "stat", &start) < 0 || start != (uint64_t)expected)
		enter_fail("the pool is not running: its first process, pid %lld, is gone", (long long)pid);
	struct enter_namespaces namespaces = {.mount = open_namespace(process, "mnt"), .ipc = open_namespace(process, "ipc"), .pid = open_namespace(process, "pid")};
	close(process);
	return namespaces;
}

void enter_join(struct enter_namespaces *namespaces) {
	if (setns(namespaces->ipc, CLONE_NEWIPC) != 0 || setns(namespaces->pid, CLONE_NEWPID) != 0 || setns(namespaces->mount, CLONE_NEWNS) != 0)
		enter_fail("cannot join the pool's namespaces: %s%s", strerror(errno), errno == EPERM ? " (root is needed)" : "");
	close(namespaces->mount);
	close(namespaces->ipc);
	close(namespaces->pid);
}

static bool is_mount_root(const char *path) {
	struct statx about;
	return statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, 0, &about) == 0 && about.stx_attributes & STATX_ATTR_MOUNT_ROOT;
}

int enter_host_mount(const char *pool_directory, const char *mountpoint) {
	if (!dc_is_normal_path(mountpoint)) enter_fail("the mount point must be an absolute path without '.', '..', '//' and a trailing '/': %s", mountpoint);
	struct enter_namespaces namespaces = enter_open_namespaces(pool_directory);
	int home = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (home < 0 || setns(namespaces.mount, CLONE_NEWNS) != 0) enter_fail("cannot look into the pool's mount namespace: %s", strerror(errno));
	if (!is_mount_root(mountpoint)) enter_fail("nothing is mounted at %s inside the pool", mountpoint);
	int tree = open_tree(AT_FDCWD, mountpoint, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);
	if (tree < 0) enter_fail("cannot clone the pool's mount at %s: %s", mountpoint, strerror(errno));
	if (setns(home, CLONE_NEWNS) != 0) enter_fail("cannot return to the caller's mount namespace: %s", strerror(errno));
	if (move_mount(tree, "", AT_FDCWD, mountpoint, MOVE_MOUNT_F_EMPTY_PATH) == 0) return 0;
	if (errno == ENOENT) enter_fail("the directory %s does not exist on the host", mountpoint);
	enter_fail("cannot mount at %s on the host: %s", mountpoint, strerror(errno));
}

/* The type of the topmost mount at `mountpoint`, "" when there is none. Asks the kernel's table, not the filesystem, which may have nobody to answer for it. */
static void mount_type(const char *mountpoint, char *type, size_t size) {
	FILE *table = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t space = 0;
	type[0] = 0;
	while (table && getline(&line, &space, table) > 0) {
		struct dc_mountinfo info;
		if (dc_mountinfo_parse(line, &info) && strcmp(info.mountpoint, mountpoint) == 0) snprintf(type, size, "%s", info.type);
	}
	free(line);
	if (table) fclose(table);
}

int enter_host_unmount(const char *mountpoint) {
	char type[64];
	mount_type(mountpoint, type, sizeof type);
	if (strcmp(type, "fuse.diciclo") != 0) enter_fail("no mount of diciclo at %s on the host", mountpoint);
	if (umount2(mountpoint, UMOUNT_NOFOLLOW) == 0) return 0;
	if (errno == EBUSY) enter_fail("%s is in use on the host: a process has a file open or its working directory there", mountpoint);
	enter_fail("cannot unmount %s on the host: %s", mountpoint, strerror(errno));
}
