/*
 * filesystems.c - calls that name a directory to the kernel to make something else of it: handles, mounts, marks. All are the kernel's, with descriptors of ours made fit for it.
 */
#include "internal.h"

#include <sys/fanotify.h>
#include <sys/mount.h>

EXPORT int open_by_handle_at(int mount, struct file_handle *handle, int flags) {
	return dc_forget_new(NEXT(open_by_handle_at)(dc_kernel_dirfd(mount), handle, flags));
}

/* As inotify: the kernel tells what it was told. */
EXPORT int fanotify_mark(int fd, unsigned flags, uint64_t mask, int dirfd, const char *path) {
	struct dc_place place;
	if (dc_active() && !dc_bad_address(path) && path[0] == '/' && dc_mounts_match(path, &place)) dc_uncarried(DC_UNCARRIED_inotify);
	return NEXT(fanotify_mark)(fd, flags, mask, dc_kernel_dirfd(dirfd), path);
}

EXPORT int fanotify_init(unsigned flags, unsigned event_flags) { return dc_forget_new(NEXT(fanotify_init)(flags, event_flags)); }

int pivot_root(const char *new_root, const char *put_old);
/* Absolute paths mean something else afterwards, as after chroot. */
EXPORT int pivot_root(const char *new_root, const char *put_old) {
	int result = NEXT(pivot_root)(new_root, put_old);
	if (result == 0) dc_absolute_stopped = true;
	dc_cwd_changed();
	return result;
}

/* ---- the mount interface of Linux 5.2 -------------------------------------------------------------------------------------------- */
EXPORT int fsopen(const char *name, unsigned flags) { return dc_forget_new(NEXT(fsopen)(name, flags)); }
EXPORT int fsmount(int fd, unsigned flags, unsigned attributes) { return dc_forget_new(NEXT(fsmount)(fd, flags, attributes)); }
EXPORT int fspick(int dirfd, const char *path, unsigned flags) { return dc_forget_new(NEXT(fspick)(dc_kernel_dirfd(dirfd), path, flags)); }
EXPORT int open_tree(int dirfd, const char *path, unsigned flags) { return dc_forget_new(NEXT(open_tree)(dc_kernel_dirfd(dirfd), path, flags)); }

EXPORT int move_mount(int from_dirfd, const char *from, int to_dirfd, const char *to, unsigned flags) {
	return NEXT(move_mount)(dc_kernel_dirfd(from_dirfd), from, dc_kernel_dirfd(to_dirfd), to, flags);
}

EXPORT int mount_setattr(int dirfd, const char *path, unsigned flags, struct mount_attr *attributes, size_t size) {
	return NEXT(mount_setattr)(dc_kernel_dirfd(dirfd), path, flags, attributes, size);
}
