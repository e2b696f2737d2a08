/*
 * syscalls.c - syscall(2): programs that name a system call by its number. File calls go where their wrappers go; the rest is the kernel's, with descriptors made fit for it.
 */
#include "internal.h"

#include <dirent.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>

#define CALL_MISSING INT64_MIN

/* Calls on a descriptor in the first argument. */
static int64_t on_descriptor(long number, const long a[6]) {
	int fd = (int)a[0];
	switch (number) {
	case SYS_read: return read(fd, (void *)a[1], (size_t)a[2]);
	case SYS_write: return write(fd, (const void *)a[1], (size_t)a[2]);
	case SYS_pread64: return pread(fd, (void *)a[1], (size_t)a[2], a[3]);
	case SYS_pwrite64: return pwrite(fd, (const void *)a[1], (size_t)a[2], a[3]);
	case SYS_readv: return readv(fd, (const struct iovec *)a[1], (int)a[2]);
	case SYS_writev: return writev(fd, (const struct iovec *)a[1], (int)a[2]);
	case SYS_preadv: return preadv(fd, (const struct iovec *)a[1], (int)a[2], a[3]);
	case SYS_pwritev: return pwritev(fd, (const struct iovec *)a[1], (int)a[2], a[3]);
	case SYS_preadv2: return preadv2(fd, (const struct iovec *)a[1], (int)a[2], a[3], (int)a[5]);
	case SYS_pwritev2: return pwritev2(fd, (const struct iovec *)a[1], (int)a[2], a[3], (int)a[5]);
	case SYS_lseek: return lseek(fd, a[1], (int)a[2]);
	case SYS_close: return close(fd);
	case SYS_close_range: return close_range((unsigned)a[0], (unsigned)a[1], (int)a[2]);
	case SYS_fstat: return fstat(fd, (struct stat *)a[1]);
	case SYS_getdents64: return getdents64(fd, (void *)a[1], (size_t)a[2]);
	case SYS_fsync: return fsync(fd);
	case SYS_fdatasync: return fdatasync(fd);
	case SYS_syncfs: return syncfs(fd);
	case SYS_ftruncate: return ftruncate(fd, a[1]);
	case SYS_fallocate: return fallocate(fd, (int)a[1], a[2], a[3]);
	case SYS_fchmod: return fchmod(fd, (mode_t)a[1]);
	case SYS_fchown: return fchown(fd, (uid_t)a[1], (gid_t)a[2]);
	case SYS_fchdir: return fchdir(fd);
	case SYS_dup: return dup(fd);
	case SYS_dup3: return dup3(fd, (int)a[1], (int)a[2]);
	case SYS_fcntl: return fcntl(fd, (int)a[1], (void *)a[2]);
	}
	return CALL_MISSING;
}

static int64_t on_path(long number, const long a[6]) {
	const char *path = (const char *)a[1];
	int dirfd = (int)a[0];
	switch (number) {
	case SYS_openat: return openat(dirfd, path, (int)a[2], (mode_t)a[3]);
	case SYS_statx: return statx(dirfd, path, (int)a[2], (unsigned)a[3], (struct statx *)a[4]);
	case SYS_newfstatat: return fstatat(dirfd, path, (struct stat *)a[2], (int)a[3]);
	case SYS_mkdirat: return mkdirat(dirfd, path, (mode_t)a[2]);
	case SYS_mknodat: return mknodat(dirfd, path, (mode_t)a[2], (dev_t)a[3]);
	case SYS_unlinkat: return unlinkat(dirfd, path, (int)a[2]);
	case SYS_symlinkat: return symlinkat((const char *)a[0], (int)a[1], (const char *)a[2]);
	case SYS_readlinkat: return readlinkat(dirfd, path, (char *)a[2], (size_t)a[3]);
	case SYS_renameat2: return renameat2(dirfd, path, (int)a[2], (const char *)a[3], (unsigned)a[4]);
	case SYS_linkat: return linkat(dirfd, path, (int)a[2], (const char *)a[3], (int)a[4]);
	case SYS_faccessat: return faccessat(dirfd, path, (int)a[2], 0);
	case SYS_chdir: return chdir((const char *)a[0]);
	case SYS_chroot: return chroot((const char *)a[0]);
	case SYS_truncate: return truncate((const char *)a[0], a[1]);
	case SYS_umask: return umask((mode_t)a[0]);
	}
	return CALL_MISSING;
}

#if defined(__x86_64__)
/* Numbers that newer machines do not have. */
static int64_t on_old_path(long number, const long a[6]) {
	const char *path = (const char *)a[0];
	switch (number) {
	case SYS_open: return open(path, (int)a[1], (mode_t)a[2]);
	case SYS_creat: return creat(path, (mode_t)a[1]);
	case SYS_stat: return stat(path, (struct stat *)a[1]);
	case SYS_lstat: return lstat(path, (struct stat *)a[1]);
	case SYS_access: return access(path, (int)a[1]);
	case SYS_mkdir: return mkdir(path, (mode_t)a[1]);
	case SYS_rmdir: return rmdir(path);
	case SYS_unlink: return unlink(path);
	case SYS_rename: return rename(path, (const char *)a[1]);
	case SYS_link: return link(path, (const char *)a[1]);
	case SYS_symlink: return symlink(path, (const char *)a[1]);
	case SYS_readlink: return readlink(path, (char *)a[1], (size_t)a[2]);
	case SYS_chmod: return chmod(path, (mode_t)a[1]);
	case SYS_chown: return chown(path, (uid_t)a[1], (gid_t)a[2]);
	case SYS_lchown: return lchown(path, (uid_t)a[1], (gid_t)a[2]);
	case SYS_dup2: return dup2((int)a[0], (int)a[1]);
	case SYS_getdents: dc_share_fd((int)a[0]); break; /* another record form: the kernel's */
	case SYS_fork:
		dc_children_escaped();
		dc_share_table(DC_SHARE_ALL);
		break;
	}
	return CALL_MISSING;
}
#else
static int64_t on_old_path(long number, const long a[6]) { return CALL_MISSING; }
#endif

/* openat2 without resolve restrictions is openat; with them the kernel judges the path. */
static int64_t open_how(const long a[6]) {
	const struct open_how *how = (const struct open_how *)a[2];
	if (how && (size_t)a[3] == sizeof *how && how->resolve == 0 && how->flags <= INT32_MAX && !(how->mode & ~UINT64_C(07777)))
		return openat((int)a[0], (const char *)a[1], (int)how->flags, (mode_t)how->mode);
	dc_uncarried(DC_UNCARRIED_openat2);
	dc_kernel_dirfd((int)a[0]);
	long result = dc_raw6(SYS_openat2, a[0], a[1], a[2], a[3], 0, 0);
	if (result >= 0) dc_forget_new((int)result);
	return dc_return(result);
}

/* The kernel does it with descriptors of ours. */
static void prepare(long number, const long a[6]) {
	switch (number) {
	case SYS_mmap:
		if (!(a[3] & MAP_ANONYMOUS)) dc_upgrade_fd((int)a[4], DC_UNCARRIED_mmap);
		break;
	case SYS_sendfile:
	case SYS_splice:
	case SYS_copy_file_range: /* their own wrappers keep offsets in step; by number the kernel's offset rules */
		dc_share_fd((int)a[0]);
		dc_share_fd((int)(number == SYS_sendfile ? a[1] : a[2]));
		break;
	case SYS_flock:
	case SYS_ioctl:
	case SYS_execveat: dc_upgrade_fd((int)a[0], DC_UNCARRIED_syscall); break;
	case SYS_execve:
		dc_children_inherited();
		dc_share_table(DC_SHARE_INHERITABLE);
		break;
	case SYS_clone:
		if (a[0] & CLONE_VM) break;
		dc_children_escaped();
		dc_share_table(DC_SHARE_ALL);
		break;
	case SYS_io_uring_setup:
		/* Its requests name, open and close descriptors without a call that we see: from now on this process uses the kernel door. */
		dc_uncarried(DC_UNCARRIED_uring);
		dc_stop_carrying();
		break;
	}
}

EXPORT long syscall(long number, ...) {
	long a[6];
	va_list list;
	va_start(list, number);
	for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
	va_end(list);
	if (!dc_active) return dc_return(dc_raw6(number, a[0], a[1], a[2], a[3], a[4], a[5]));
	int64_t result = number == SYS_openat2 ? open_how(a) : on_descriptor(number, a);
	if (result == CALL_MISSING) result = on_path(number, a);
	if (result == CALL_MISSING) result = on_old_path(number, a);
	if (result != CALL_MISSING) return result;
	prepare(number, a);
	return dc_return(dc_raw6(number, a[0], a[1], a[2], a[3], a[4], a[5]));
}

/* liburing makes its system calls inline, but its entry points are symbols. */
int io_uring_queue_init_params(unsigned entries, void *ring, void *params);
EXPORT int io_uring_queue_init_params(unsigned entries, void *ring, void *params) {
	dc_stop_carrying();
	return NEXT(io_uring_queue_init_params)(entries, ring, params);
}

int io_uring_queue_init(unsigned entries, void *ring, unsigned flags);
EXPORT int io_uring_queue_init(unsigned entries, void *ring, unsigned flags) {
	dc_stop_carrying();
	return NEXT(io_uring_queue_init)(entries, ring, flags);
}
