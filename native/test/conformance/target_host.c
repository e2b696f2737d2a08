/* target_host.c - the oracle: the same calls on a plain directory of the host, by system calls. */
#include "target.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ANSWER(call) ((call) < 0 ? -errno : 0)

/* The directory of `path`, without following links; *name is the rest. */
static int parent_of(struct target *t, const char *path, const char **name)
{
	const char *slash = strrchr(path, '/');
	struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS};
	char directory[4096];
	long opened;

	*name = slash ? slash + 1 : *path ? path : "."; /* "" is the root */
	snprintf(directory, sizeof directory, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
	opened = syscall(SYS_openat2, t->root, directory, &how, sizeof how);
	return opened < 0 ? -errno : (int)opened;
}

static int reach(struct target *t, const char *path, int flags)
{
	const char *name;
	int parent = parent_of(t, path, &name), opened;

	if (parent < 0)
		return parent;
	opened = openat(parent, name, flags | O_NOFOLLOW | O_CLOEXEC);
	if (opened < 0)
		opened = -errno;
	close(parent);
	return opened;
}

/* `body` is one system call on (parent, name). */
#define AT_PATH(body) \
	const char *name; \
	int parent = parent_of(t, path, &name), result; \
	if (parent < 0) \
		return parent; \
	result = ANSWER(body); \
	close(parent); \
	return result

static int host_open(struct target *t, int handle, const char *path, int flags, mode_t mode)
{
	const char *name;
	int parent = parent_of(t, path, &name), opened;

	if (parent < 0)
		return parent;
	opened = openat(parent, name, flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, mode);
	if (opened < 0)
		opened = -errno;
	close(parent);
	if (opened < 0)
		return opened;
	t->descriptors[handle] = opened;
	return 0;
}

static void host_close(struct target *t, int handle)
{
	if (t->descriptors[handle] >= 0)
		close(t->descriptors[handle]);
	t->descriptors[handle] = -1;
}

static ssize_t host_read(struct target *t, int handle, const struct iovec *iov, int count, off_t offset)
{
	ssize_t got = preadv(t->descriptors[handle], iov, count, offset);
	return got < 0 ? -errno : got;
}

static ssize_t host_write(struct target *t, int handle, const struct iovec *iov, int count, off_t *offset, bool append)
{
	ssize_t put;

	if (append)
		*offset = lseek(t->descriptors[handle], 0, SEEK_END);
	put = append ? pwritev2(t->descriptors[handle], iov, count, *offset, RWF_APPEND) : pwritev(t->descriptors[handle], iov, count, *offset);
	return put < 0 ? -errno : put;
}

static int host_truncate(struct target *t, int handle, off_t size)
{
	return ANSWER(ftruncate(t->descriptors[handle], size));
}

static int attributes_from(const struct stat *status, struct attributes *a)
{
	*a = (struct attributes){status->st_mode, status->st_nlink, status->st_uid, status->st_gid, status->st_size, status->st_ino, status->st_atim, status->st_mtim,
		status->st_rdev};
	return 0;
}

static int host_fstat(struct target *t, int handle, struct attributes *a)
{
	struct stat status;
	return fstat(t->descriptors[handle], &status) ? -errno : attributes_from(&status, a);
}

static int host_fsync(struct target *t, int handle, bool data_only)
{
	return ANSWER(data_only ? fdatasync(t->descriptors[handle]) : fsync(t->descriptors[handle]));
}

static int host_fallocate(struct target *t, int handle, int mode, off_t offset, off_t length)
{
	return ANSWER(fallocate(t->descriptors[handle], mode, offset, length));
}

static off_t host_seek(struct target *t, int handle, off_t offset, int whence)
{
	off_t result = lseek(t->descriptors[handle], offset, whence);
	return result < 0 ? -errno : result;
}

static ssize_t host_copy(struct target *t, int from, off_t from_offset, int to, off_t to_offset, size_t length)
{
	ssize_t result = copy_file_range(t->descriptors[from], &from_offset, t->descriptors[to], &to_offset, length, 0);
	return result < 0 ? -errno : result;
}

static int host_tmpfile(struct target *t, int handle, const char *directory, int flags, mode_t mode)
{
	int parent = reach(t, directory, O_PATH | O_DIRECTORY), opened;

	if (parent < 0)
		return parent;
	opened = openat(parent, ".", O_TMPFILE | O_CLOEXEC | flags, mode);
	if (opened < 0)
		opened = -errno;
	close(parent);
	if (opened < 0)
		return opened;
	t->descriptors[handle] = opened;
	return 0;
}

static int host_link_handle(struct target *t, int handle, const char *path)
{
	char from[32];

	snprintf(from, sizeof from, "/proc/self/fd/%d", t->descriptors[handle]);
	AT_PATH(linkat(AT_FDCWD, from, parent, name, AT_SYMLINK_FOLLOW));
}

static int host_stat(struct target *t, const char *path, struct attributes *a)
{
	struct stat status;
	const char *name;
	int parent = parent_of(t, path, &name), result;

	if (parent < 0)
		return parent;
	result = fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) ? -errno : attributes_from(&status, a);
	close(parent);
	return result;
}

static int host_set_times(struct target *t, const char *path, struct timespec atime, struct timespec mtime)
{
	struct timespec times[2] = {atime, mtime};
	AT_PATH(utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW));
}

static int host_chmod(struct target *t, const char *path, mode_t mode) { AT_PATH(fchmodat(parent, name, mode, AT_SYMLINK_NOFOLLOW)); }
static int host_chown(struct target *t, const char *path, uid_t uid, gid_t gid) { AT_PATH(fchownat(parent, name, uid, gid, AT_SYMLINK_NOFOLLOW)); }
static int host_mkdir(struct target *t, const char *path, mode_t mode) { AT_PATH(mkdirat(parent, name, mode)); }
static int host_mknod(struct target *t, const char *path, mode_t mode, dev_t device) { AT_PATH(mknodat(parent, name, mode, device)); }
static int host_symlink(struct target *t, const char *text, const char *path) { AT_PATH(symlinkat(text, parent, name)); }
static int host_unlink(struct target *t, const char *path) { AT_PATH(unlinkat(parent, name, 0)); }
static int host_rmdir(struct target *t, const char *path) { AT_PATH(unlinkat(parent, name, AT_REMOVEDIR)); }

static ssize_t host_readlink(struct target *t, const char *path, char *buffer, size_t size)
{
	const char *name;
	int parent = parent_of(t, path, &name);
	ssize_t result;

	if (parent < 0)
		return parent;
	result = readlinkat(parent, name, buffer, size);
	if (result < 0)
		result = -errno;
	close(parent);
	return result;
}

static int two_paths(struct target *t, const char *from, const char *to, unsigned flags, bool rename)
{
	const char *from_name, *to_name;
	int source = parent_of(t, from, &from_name), target, result;

	if (source < 0)
		return source;
	target = parent_of(t, to, &to_name);
	if (target < 0)
		result = target;
	else
		result = ANSWER(rename ? renameat2(source, from_name, target, to_name, flags) : linkat(source, from_name, target, to_name, 0));
	close(source);
	if (target >= 0)
		close(target);
	return result;
}

static int host_link(struct target *t, const char *from, const char *to) { return two_paths(t, from, to, 0, false); }
static int host_rename(struct target *t, const char *from, const char *to, unsigned flags) { return two_paths(t, from, to, flags, true); }

static int host_list(struct target *t, const char *path, struct entries *entries)
{
	int opened = reach(t, path, O_RDONLY | O_DIRECTORY);
	struct dirent *entry;
	DIR *directory;

	if (opened < 0)
		return opened;
	directory = fdopendir(opened);
	while ((entry = readdir(directory)))
		entries_add(entries, entry->d_name, strlen(entry->d_name), DTTOIF(entry->d_type), entry->d_ino);
	closedir(directory);
	return 0;
}

/* `body` is one call on the name of an O_PATH descriptor in /proc. */
#define BY_NAME(type, body) \
	int opened = reach(t, path, O_PATH); \
	char by_name[32]; \
	type result; \
	if (opened < 0) \
		return opened; \
	snprintf(by_name, sizeof by_name, "/proc/self/fd/%d", opened); \
	result = body; \
	if (result < 0) \
		result = -errno; \
	close(opened); \
	return result

static ssize_t host_getxattr(struct target *t, const char *path, const char *name, char *value, size_t size) { BY_NAME(ssize_t, getxattr(by_name, name, value, size)); }
static ssize_t host_listxattr(struct target *t, const char *path, char *list, size_t size) { BY_NAME(ssize_t, listxattr(by_name, list, size)); }
static int host_removexattr(struct target *t, const char *path, const char *name) { BY_NAME(int, removexattr(by_name, name)); }
static int host_setxattr(struct target *t, const char *path, const char *name, const char *value, size_t size, int flags)
{
	BY_NAME(int, setxattr(by_name, name, value, size, flags));
}

/* The effective identity, by raw calls that mean this thread alone: the kernel then drops the effective capabilities. */
static void host_as(struct target *t, uid_t uid, gid_t gid)
{
	if (uid) {
		syscall(SYS_setresgid, -1, gid, -1);
		syscall(SYS_setresuid, -1, uid, -1);
	} else {
		syscall(SYS_setresuid, -1, 0, -1);
		syscall(SYS_setresgid, -1, 0, -1);
	}
}

static int host_parent(struct target *t, const char *directory, struct attributes *a)
{
	int opened = reach(t, directory, O_PATH | O_DIRECTORY), result;
	struct stat status;

	if (opened < 0)
		return opened;
	result = fstatat(opened, "..", &status, 0) ? -errno : attributes_from(&status, a);
	close(opened);
	return result;
}

const struct calls host_calls = {host_open, host_close, host_read, host_write, host_truncate, host_fstat, host_fsync, host_fallocate, host_seek, host_copy, host_tmpfile,
	host_link_handle, host_stat, host_set_times, host_chmod, host_chown, host_mkdir, host_mknod, host_symlink, host_readlink, host_link, host_unlink, host_rmdir, host_rename,
	host_list, host_getxattr, host_setxattr, host_listxattr, host_removexattr, host_as, host_parent};
