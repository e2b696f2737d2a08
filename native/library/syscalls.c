/*
 * syscalls.c - syscall(2): programs that name a system call by its number. File calls go where their wrappers go; the rest is the kernel's, with descriptors made fit for it.
 */
#include "internal.h"

#include <dirent.h>
#include <linux/openat2.h>
#include <sched.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/time.h>
#include <sys/xattr.h>
#include <utime.h>

#define CALL_MISSING INT64_MIN
/* Newer than the oldest headers that we build with; the same on every machine. */
#define DC_SYS_clone3 435
#define DC_SYS_faccessat2 439
#define DC_SYS_fchmodat2 452

int pivot_root(const char *new_root, const char *put_old);

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
	case SYS_flock: return flock(fd, (int)a[1]);
	case SYS_ioctl: return ioctl(fd, (unsigned long)a[1], (void *)a[2]);
	case SYS_fstatfs: return fstatfs(fd, (struct statfs *)a[1]);
	case SYS_fadvise64: return dc_return(-posix_fadvise(fd, a[1], a[2], (int)a[3]));
	case SYS_readahead: return readahead(fd, a[1], (size_t)a[2]);
	case SYS_sync_file_range: return sync_file_range(fd, a[1], a[2], (unsigned)a[3]);
	case SYS_sendfile: return sendfile(fd, (int)a[1], (off_t *)a[2], (size_t)a[3]);
	case SYS_splice: return splice(fd, (off64_t *)a[1], (int)a[2], (off64_t *)a[3], (size_t)a[4], (unsigned)a[5]);
	case SYS_copy_file_range: return copy_file_range(fd, (off64_t *)a[1], (int)a[2], (off64_t *)a[3], (size_t)a[4], (unsigned)a[5]);
	case SYS_fgetxattr: return fgetxattr(fd, (const char *)a[1], (void *)a[2], (size_t)a[3]);
	case SYS_fsetxattr: return fsetxattr(fd, (const char *)a[1], (const void *)a[2], (size_t)a[3], (int)a[4]);
	case SYS_flistxattr: return flistxattr(fd, (char *)a[1], (size_t)a[2]);
	case SYS_fremovexattr: return fremovexattr(fd, (const char *)a[1]);
	case SYS_epoll_ctl: return epoll_ctl(fd, (int)a[1], (int)a[2], (struct epoll_event *)a[3]);
	case SYS_sendmsg: return sendmsg(fd, (const struct msghdr *)a[1], (int)a[2]);
	case SYS_recvmsg: return recvmsg(fd, (struct msghdr *)a[1], (int)a[2]);
	}
	return CALL_MISSING;
}

static int64_t on_attribute_path(long number, const long a[6]) {
	const char *path = (const char *)a[0], *name = (const char *)a[1];
	switch (number) {
	case SYS_statfs: return statfs(path, (struct statfs *)a[1]);
	case SYS_getxattr: return getxattr(path, name, (void *)a[2], (size_t)a[3]);
	case SYS_lgetxattr: return lgetxattr(path, name, (void *)a[2], (size_t)a[3]);
	case SYS_setxattr: return setxattr(path, name, (const void *)a[2], (size_t)a[3], (int)a[4]);
	case SYS_lsetxattr: return lsetxattr(path, name, (const void *)a[2], (size_t)a[3], (int)a[4]);
	case SYS_listxattr: return listxattr(path, (char *)a[1], (size_t)a[2]);
	case SYS_llistxattr: return llistxattr(path, (char *)a[1], (size_t)a[2]);
	case SYS_removexattr: return removexattr(path, name);
	case SYS_lremovexattr: return lremovexattr(path, name);
	case SYS_pivot_root: return pivot_root(path, (const char *)a[1]);
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
	case DC_SYS_faccessat2: return faccessat(dirfd, path, (int)a[2], (int)a[3]);
	case SYS_fchmodat: return fchmodat(dirfd, path, (mode_t)a[2], 0);
	case DC_SYS_fchmodat2: return fchmodat(dirfd, path, (mode_t)a[2], (int)a[3]);
	case SYS_fchownat: return fchownat(dirfd, path, (uid_t)a[2], (gid_t)a[3], (int)a[4]);
	case SYS_utimensat:
		if (!path && !a[3]) return futimens(dirfd, (const struct timespec *)a[2]);
		return utimensat(dirfd, path, (const struct timespec *)a[2], (int)a[3]);
	case SYS_renameat: return renameat(dirfd, path, (int)a[2], (const char *)a[3]);
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
	case SYS_mknod: return mknod(path, (mode_t)a[1], (dev_t)a[2]);
	case SYS_utime: return utime(path, (const struct utimbuf *)a[1]);
	case SYS_utimes: return utimes(path, (const struct timeval *)a[1]);
	case SYS_futimesat: return futimesat((int)a[0], (const char *)a[1], (const struct timeval *)a[2]);
	case SYS_poll: return poll((struct pollfd *)a[0], (nfds_t)a[1], (int)a[2]);
	case SYS_pipe: return pipe((int *)a[0]);
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

#define HOW_FLAGS (O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND | O_NONBLOCK | O_SYNC | O_DIRECT | O_LARGEFILE | O_TMPFILE | O_NOFOLLOW | O_NOATIME | O_CLOEXEC | O_PATH)

/* What openat2(2) asks, as the service's walk knows it. False: the kernel judges the path, or refuses what openat would let pass. */
static bool scope_of(const char *path, const struct open_how *how, size_t size, uint32_t *scope) {
	if (dc_bad_address(path) || dc_bad_address(how) || size != sizeof *how || how->flags & ~(uint64_t)HOW_FLAGS || how->mode & ~UINT64_C(07777)) return false;
	if (how->mode && !(how->flags & O_CREAT) && (how->flags & O_TMPFILE) != O_TMPFILE) return false;
	if (how->resolve & ~(uint64_t)(RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH)) return false;
	*scope = (how->resolve & RESOLVE_NO_XDEV ? DC_PATH_NO_XDEV : 0) | (how->resolve & RESOLVE_NO_SYMLINKS ? DC_PATH_NO_SYMLINKS : 0) | (how->resolve & RESOLVE_BENEATH ? DC_PATH_BENEATH : 0);
	return path[0] != '/' || !how->resolve; /* an absolute path begins outside of the instance: there may be links on the way to it */
}

static int64_t open_how(int dirfd, const char *path, const struct open_how *how, size_t size) {
	uint32_t scope;
	if (scope_of(path, how, size, &scope)) {
		if (!how->resolve) return openat(dirfd, path, (int)how->flags, (mode_t)how->mode);
		int fd = dc_open_carried(dirfd, path, (int)how->flags, (mode_t)how->mode, scope);
		if (fd != DC_RESULT_KERNEL) return dc_return(fd);
	}
	dc_uncarried(DC_UNCARRIED_openat2);
	dc_kernel_dirfd(dirfd);
	long result = dc_raw6(SYS_openat2, dirfd, (long)path, (long)how, (long)size, 0, 0);
	if (result >= 0) dc_forget_new((int)result);
	return dc_return(result);
}

/* glibc 2.43. */
int openat2(int dirfd, const char *restrict path, const struct open_how *restrict how, size_t size);
EXPORT int openat2(int dirfd, const char *restrict path, const struct open_how *restrict how, size_t size) { return (int)open_how(dirfd, path, how, size); }

static void copies(uint64_t flags) {
	if (flags & CLONE_VM) return;
	dc_children_escaped();
	dc_share_table(DC_SHARE_ALL);
}

static void upgrade_requests(long count, long *const *list) {
	for (long i = 0; list && i < count; i++)
		if (list[i]) dc_upgrade_fd((int)((const uint32_t *)(const void *)list[i])[5], DC_UNCARRIED_aio); /* struct iocb: aio_fildes */
}

/* The kernel does it with descriptors of ours. */
static void prepare(long number, const long a[6]) {
	switch (number) {
	case SYS_mmap:
		if (!(a[3] & MAP_ANONYMOUS)) dc_upgrade_fd((int)a[4], DC_UNCARRIED_mmap);
		break;
	case SYS_name_to_handle_at:
	case SYS_open_by_handle_at:
	case SYS_finit_module:
	case SYS_open_tree:
	case SYS_fspick:
	case SYS_mount_setattr: dc_upgrade_fd((int)a[0], DC_UNCARRIED_syscall); break;
	case SYS_move_mount:
		dc_upgrade_fd((int)a[0], DC_UNCARRIED_syscall);
		dc_upgrade_fd((int)a[2], DC_UNCARRIED_syscall);
		break;
	case SYS_fanotify_mark: dc_upgrade_fd((int)a[3], DC_UNCARRIED_syscall); break;
	case SYS_clone: copies((uint64_t)a[0]); break;
	case DC_SYS_clone3:
		if (a[0]) copies(*(const uint64_t *)a[0]);
		break;
	case SYS_io_submit: upgrade_requests(a[1], (long *const *)a[2]); break;
	case SYS_io_uring_setup: dc_ring_made(); break;
	case SYS_setuid: case SYS_setgid: case SYS_setreuid: case SYS_setregid: case SYS_setresuid: case SYS_setresgid: case SYS_setfsuid: case SYS_setfsgid: case SYS_setgroups:
		/* By number they change one thread, and the service knows ids by process. */
		dc_uncarried(DC_UNCARRIED_ids);
		dc_stop_carrying();
		break;
	}
}

/* Whether the answer is a new number: an entry that is still there was closed behind our back. */
static bool makes_number(long number) {
	switch (number) {
	case SYS_socket: case SYS_accept: case SYS_accept4: case SYS_eventfd2: case SYS_timerfd_create: case SYS_signalfd4: case SYS_epoll_create1: case SYS_inotify_init1:
	case SYS_memfd_create: case SYS_pidfd_open: case SYS_pidfd_getfd: case SYS_perf_event_open: case SYS_userfaultfd: case SYS_fsopen: case SYS_fsmount: case SYS_fspick:
	case SYS_open_tree: case SYS_open_by_handle_at: case SYS_fanotify_init: return true;
	}
	return false;
}

/* Calls on processes and on what is not files. */
static int64_t on_process(long number, const long a[6]) {
	switch (number) {
	case SYS_execve: return execve((const char *)a[0], (char *const *)a[1], (char *const *)a[2]);
	case SYS_execveat: return execveat((int)a[0], (const char *)a[1], (char *const *)a[2], (char *const *)a[3], (int)a[4]);
	case SYS_mmap:
		if (a[3] & MAP_ANONYMOUS) break;
		return (int64_t)mmap((void *)a[0], (size_t)a[1], (int)a[2], (int)a[3], (int)a[4], a[5]);
	case SYS_prlimit64: return prlimit((pid_t)a[0], (__rlimit_resource_t)a[1], (const struct rlimit *)a[2], (struct rlimit *)a[3]);
	case SYS_setrlimit: return setrlimit((__rlimit_resource_t)a[0], (const struct rlimit *)a[1]);
	case SYS_unshare: return unshare((int)a[0]);
	case SYS_setns: return setns((int)a[0], (int)a[1]);
	case SYS_sendmmsg: return sendmmsg((int)a[0], (struct mmsghdr *)a[1], (unsigned)a[2], (int)a[3]);
	case SYS_recvmmsg: return recvmmsg((int)a[0], (struct mmsghdr *)a[1], (unsigned)a[2], (int)a[3], (struct timespec *)a[4]);
	case SYS_sync: sync(); return 0;
	}
	return CALL_MISSING;
}

long dc_syscall(long number, const long a[6]) {
	int64_t result = number == SYS_openat2 ? open_how((int)a[0], (const char *)a[1], (const struct open_how *)a[2], (size_t)a[3]) : on_descriptor(number, a);
	if (result == CALL_MISSING) result = on_path(number, a);
	if (result == CALL_MISSING) result = on_attribute_path(number, a);
	if (result == CALL_MISSING) result = on_old_path(number, a);
	if (result == CALL_MISSING) result = on_process(number, a);
	if (result != CALL_MISSING) return result == -1 ? -errno : (long)result;
	prepare(number, a);
	result = dc_raw6(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	if (result >= 0 && makes_number(number)) dc_forget_new((int)result);
	return (long)result;
}

EXPORT long syscall(long number, ...) {
	long a[6];
	va_list list;
	va_start(list, number);
	for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
	va_end(list);
	return dc_return(dc_active() ? dc_syscall(number, a) : dc_raw6(number, a[0], a[1], a[2], a[3], a[4], a[5]));
}

/* liburing makes its system calls inline, but its entry points are symbols. */
int io_uring_setup(unsigned entries, void *params);
EXPORT int io_uring_setup(unsigned entries, void *params) {
	dc_ring_made();
	return dc_forget_new(NEXT(io_uring_setup)(entries, params));
}

int io_uring_queue_init_params(unsigned entries, void *ring, void *params);
EXPORT int io_uring_queue_init_params(unsigned entries, void *ring, void *params) {
	dc_ring_made();
	return NEXT(io_uring_queue_init_params)(entries, ring, params);
}

int io_uring_queue_init(unsigned entries, void *ring, unsigned flags);
EXPORT int io_uring_queue_init(unsigned entries, void *ring, unsigned flags) {
	dc_ring_made();
	return NEXT(io_uring_queue_init)(entries, ring, flags);
}

int io_uring_queue_init_mem(unsigned entries, void *ring, void *params, void *memory, size_t size);
EXPORT int io_uring_queue_init_mem(unsigned entries, void *ring, void *params, void *memory, size_t size) {
	dc_ring_made();
	return NEXT(io_uring_queue_init_mem)(entries, ring, params, memory, size);
}
