/*
 * doors.c - kernel doors: /dev/fuse, mount, unmount, resend. pool-init holds every descriptor of a connection, so that the connection outlives the service.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "log.h"
#include "mounts.h"

#define INIT_WAIT_MS 2000
#define READ_MAX (1u << 20)
#define RESEND_MINOR 40u  /* FUSE protocol of Linux 6.9 */
#define NOTIFY_RESEND 7   /* FUSE_NOTIFY_RESEND; Debian 12's header does not have it */

int dc_door_open(struct dc_pool_mount *mount, struct dc_fault *fault) {
	mount->fuse_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (mount->fuse_fd >= 0) return 0;
	return dc_fault_set(fault, errno, errno == ENOENT || errno == ENODEV ? "this machine has no FUSE (modprobe fuse): /dev/fuse: " : "cannot open /dev/fuse: ");
}

void dc_door_clone(struct dc_pool_mount *mount, unsigned clones) {
	while (mount->clone_count < clones) {
		int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
		uint32_t original = (uint32_t)mount->fuse_fd;
		if (fd >= 0 && ioctl(fd, FUSE_DEV_IOC_CLONE, &original) == 0) {
			mount->clones[mount->clone_count++] = fd;
			continue;
		}
		dc_log("cannot clone the FUSE descriptor of %s: %s; it works with %u", mount->mountpoint, strerror(errno), mount->clone_count + 1);
		if (fd >= 0) close(fd);
		return;
	}
}

void dc_door_close(struct dc_pool_mount *mount) {
	while (mount->clone_count) close(mount->clones[--mount->clone_count]);
	if (mount->fuse_fd >= 0) close(mount->fuse_fd);
	mount->fuse_fd = -1;
	mount->init_length = 0;
}

int dc_door_read_init(struct dc_pool_mount *mount, struct dc_fault *fault) {
	static unsigned char buffer[READ_MAX + 65536]; /* the kernel demands room for the longest request, whatever it sends */
	/* mount(2) has queued it before it returned: this does not wait. */
	struct pollfd wait = {.fd = mount->fuse_fd, .events = POLLIN};
	if (poll(&wait, 1, INIT_WAIT_MS) != 1) return dc_fault_set(fault, ETIMEDOUT, "the kernel sent no FUSE_INIT for %s", mount->mountpoint);
	ssize_t got = read(mount->fuse_fd, buffer, sizeof buffer);
	if (got < 0) return dc_fault_set(fault, errno, "cannot read the kernel's FUSE_INIT for %s: ", mount->mountpoint);
	struct fuse_in_header header;
	if ((size_t)got < sizeof header + 8 || (size_t)got > sizeof mount->init) return dc_fault_set(fault, EPROTO, "the kernel's FUSE_INIT for %s has %zd bytes", mount->mountpoint, got);
	memcpy(&header, buffer, sizeof header);
	if (header.opcode != FUSE_INIT) return dc_fault_set(fault, EPROTO, "the kernel's first request for %s is %u, not FUSE_INIT", mount->mountpoint, header.opcode);
	memcpy(mount->init, buffer, (size_t)got);
	mount->init_length = (size_t)got;
	return 0;
}

bool dc_door_resend(struct dc_pool_mount *mount) {
	if (mount->pool->resend_forbidden) return false;
	struct fuse_init_in init = {0};
	if (mount->init_length < sizeof(struct fuse_in_header) + 8) return false;
	memcpy(&init, mount->init + sizeof(struct fuse_in_header), 8);
	if (init.major != 7 || init.minor < RESEND_MINOR) return false;
	struct fuse_out_header notify = {.len = sizeof notify, .error = NOTIFY_RESEND, .unique = 0};
	_Static_assert(sizeof notify == 16, "FUSE wire layout");
	ssize_t written;
	do written = write(mount->fuse_fd, &notify, sizeof notify);
	while (written < 0 && errno == EINTR);
	if (written == (ssize_t)sizeof notify) return true;
	dc_log("the kernel refuses to resend the requests of %s: %s", mount->mountpoint, strerror(errno));
	return false;
}

/* ---- in helper processes ---------------------------------------------------------------------------------------------------- */
static struct dc_pool_mount *mount_of(struct dc_helper *helper) {
	return dc_container_of(helper, struct dc_pool_mount, helper);
}

/* Without asking the service for anything. */
static int device_at(const char *path, uint64_t *device, bool *is_root) {
	struct statx about;
	if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, 0, &about) != 0) return -errno;
	*device = makedev(about.stx_dev_major, about.stx_dev_minor);
	*is_root = about.stx_attributes & STATX_ATTR_MOUNT_ROOT;
	return 0;
}

static void remove_made(const char *mountpoint, uint32_t made_length) {
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%s", mountpoint);
	while (made_length && strlen(path) >= made_length) {
		if (rmdir(path) != 0 && errno != ENOENT) return;
		*strrchr(path, '/') = 0;
	}
}

static int make_directories(const char *mountpoint, uint32_t *made_length, struct dc_fault *fault) {
	char path[PATH_MAX];
	for (const char *end = strchr(mountpoint + 1, '/');; end = strchr(end + 1, '/')) {
		size_t length = end ? (size_t)(end - mountpoint) : strlen(mountpoint);
		memcpy(path, mountpoint, length);
		path[length] = 0;
		if (mkdir(path, 0755) == 0) {
			if (!*made_length) *made_length = (uint32_t)length;
		} else if (errno != EEXIST && !(errno == EROFS && access(path, F_OK) == 0)) {
			int error = errno;
			remove_made(mountpoint, *made_length);
			*made_length = 0;
			return dc_fault_set(fault, error, "cannot make the directory %s: %s", path, strerror(error));
		}
		if (!end) return 0;
	}
}

static int mount_call(const char *mountpoint, const char *options) {
	return mount("diciclo", mountpoint, "fuse.diciclo", MS_NOSUID | MS_NODEV, options);
}

static int mount_door(struct dc_pool_mount *mount, struct dc_helper_answer *answer) {
	char options[256];
	bool is_root;
	snprintf(options, sizeof options, "fd=%d,rootmode=40755,user_id=0,group_id=0,allow_other,default_permissions,max_read=%u", mount->fuse_fd, READ_MAX);
	if (mount_call(mount->mountpoint, options) != 0) {
		int error = errno;
		if (error == ENOENT) return dc_fault_set(&answer->fault, error, "the mount point %s does not exist", mount->mountpoint);
		if (error == ENOTDIR) return dc_fault_set(&answer->fault, error, "the mount point %s is not a directory", mount->mountpoint);
		return dc_fault_set(&answer->fault, error, "cannot mount at %s: %s", mount->mountpoint, strerror(error));
	}
	int result = device_at(mount->mountpoint, &answer->device, &is_root);
	if (result == 0) return 0;
	umount2(mount->mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW);
	return dc_fault_set(&answer->fault, -result, "cannot see what was mounted at %s: %s", mount->mountpoint, strerror(-result));
}

void dc_door_mount(struct dc_helper *helper, struct dc_helper_answer *answer) {
	struct dc_pool_mount *mount = mount_of(helper);
	if (mount->make_directory && make_directories(mount->mountpoint, &answer->made_length, &answer->fault) < 0) return;
	if (mount_door(mount, answer) == 0) return;
	remove_made(mount->mountpoint, answer->made_length);
	answer->made_length = 0;
}

static bool detach(const char *mountpoint, uint64_t expected) {
	uint64_t device;
	bool is_root;
	int flags = MNT_DETACH | MNT_FORCE | UMOUNT_NOFOLLOW; /* MNT_FORCE aborts the connection: whoever waits for an answer gets an error */
	return device_at(mountpoint, &device, &is_root) == 0 && is_root && device == expected && umount2(mountpoint, flags) == 0;
}

static void detach_covered(struct dc_pool_mount *mount) {
	unsigned count = mount->covered_count;
	while (count && detach(mount->mountpoint, mount->covered[count - 1])) count--;
}

void dc_door_unmount(struct dc_helper *helper, struct dc_helper_answer *answer) {
	struct dc_pool_mount *mount = mount_of(helper);
	uint64_t device;
	bool is_root;
	int result = device_at(mount->mountpoint, &device, &is_root);
	if (result == 0 && (!is_root || device != mount->device)) {
		if (mount->force) return; /* covered or gone: with the last descriptor the connection ends all the same */
		dc_fault_set(&answer->fault, EBUSY, "%s is covered by another mount, or was unmounted by somebody else", mount->mountpoint);
		return;
	}
	if (result < 0 && !mount->force && result != -ENOTCONN) {
		dc_fault_set(&answer->fault, -result, "cannot reach %s: %s", mount->mountpoint, strerror(-result));
		return;
	}
	bool done = umount2(mount->mountpoint, UMOUNT_NOFOLLOW | (mount->force ? MNT_DETACH : 0)) == 0;
	int error = errno;
	if (done) detach_covered(mount);
	if (done || mount->force) return;
	if (error == EBUSY) dc_fault_set(&answer->fault, error, "%s is in use: a process has a file open or its working directory there", mount->mountpoint);
	else dc_fault_set(&answer->fault, error, "cannot unmount %s: %s", mount->mountpoint, strerror(error));
}

void dc_door_renew(struct dc_helper *helper, struct dc_helper_answer *answer) {
	/* On top of the dead one, which stays: without it there would be a moment when the directory beneath shows, and a program could write its files there. */
	mount_door(mount_of(helper), answer);
}

void dc_door_undo(struct dc_helper *helper, struct dc_helper_answer *answer) {
	struct dc_pool_mount *mount = mount_of(helper);
	detach(mount->mountpoint, mount->device);
	remove_made(mount->mountpoint, mount->made_length);
}
