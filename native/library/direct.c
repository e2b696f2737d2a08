/*
 * direct.c - what NEXT() answers under system call dispatch (dispatch.c): libc's plain system call functions without libc.
 *
 * There every system call that libc makes comes back to us as a signal, and its handler calls our wrappers. A wrapper that hands a call on must not go through libc then: it would come
 * back once more, for ever. So these make the call from the library's own code, which is not dispatched (and costs no signal). What is not in the list is libc's function: it is composed of
 * several calls (fopen, nftw, posix_spawn), each of which comes back by itself.
 */
#include "dispatch.h"
#include "internal.h"

#if defined(__x86_64__)

#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/wait.h>

#define SYS_FACCESSAT2 439
#define SYS_FCHMODAT2 452

static long plain(long number, long a, long b, long c, long d, long e, long f) {
	return dc_return(dc_raw6(number, a, b, c, d, e, f));
}

/* A call that may block: a cancellation point, made as glibc makes it. */
static long blocking(long number, long a, long b, long c, long d, long e, long f) {
	int type;
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
	long result = dc_raw6(number, a, b, c, d, e, f);
	pthread_setcanceltype(type, NULL);
	return dc_return(result);
}

#define L(x) ((long)(x))
/* name, type, how, parameters, the call's arguments */
#define DIRECT0(how, type, name, parameters, number) static type direct_##name parameters { return (type)how(number, 0, 0, 0, 0, 0, 0); }
#define DIRECT1(how, type, name, parameters, number, a) static type direct_##name parameters { return (type)how(number, L(a), 0, 0, 0, 0, 0); }
#define DIRECT2(how, type, name, parameters, number, a, b) static type direct_##name parameters { return (type)how(number, L(a), L(b), 0, 0, 0, 0); }
#define DIRECT3(how, type, name, parameters, number, a, b, c) static type direct_##name parameters { return (type)how(number, L(a), L(b), L(c), 0, 0, 0); }
#define DIRECT4(how, type, name, parameters, number, a, b, c, d) static type direct_##name parameters { return (type)how(number, L(a), L(b), L(c), L(d), 0, 0); }
#define DIRECT5(how, type, name, parameters, number, a, b, c, d, e) static type direct_##name parameters { return (type)how(number, L(a), L(b), L(c), L(d), L(e), 0); }
#define DIRECT6(how, type, name, parameters, number, a, b, c, d, e, f) static type direct_##name parameters { return (type)how(number, L(a), L(b), L(c), L(d), L(e), L(f)); }

/* ---- opened, read, written --------------------------------------------------------------------------------------------------- */
DIRECT4(blocking, int, openat, (int dirfd, const char *path, int flags, mode_t mode), SYS_openat, dirfd, path, flags, mode)
DIRECT1(blocking, int, close, (int fd), SYS_close, fd)
DIRECT3(plain, int, close_range, (unsigned first, unsigned last, int flags), SYS_close_range, first, last, flags)
DIRECT3(blocking, ssize_t, read, (int fd, void *buffer, size_t size), SYS_read, fd, buffer, size)
DIRECT3(blocking, ssize_t, write, (int fd, const void *buffer, size_t size), SYS_write, fd, buffer, size)
DIRECT4(blocking, ssize_t, pread, (int fd, void *buffer, size_t size, off_t offset), SYS_pread64, fd, buffer, size, offset)
DIRECT4(blocking, ssize_t, pwrite, (int fd, const void *buffer, size_t size, off_t offset), SYS_pwrite64, fd, buffer, size, offset)
DIRECT3(blocking, ssize_t, readv, (int fd, const struct iovec *iov, int count), SYS_readv, fd, iov, count)
DIRECT3(blocking, ssize_t, writev, (int fd, const struct iovec *iov, int count), SYS_writev, fd, iov, count)
DIRECT5(blocking, ssize_t, preadv, (int fd, const struct iovec *iov, int count, off_t offset), SYS_preadv, fd, iov, count, offset, 0)
DIRECT5(blocking, ssize_t, pwritev, (int fd, const struct iovec *iov, int count, off_t offset), SYS_pwritev, fd, iov, count, offset, 0)
DIRECT6(blocking, ssize_t, preadv2, (int fd, const struct iovec *iov, int count, off_t offset, int flags), SYS_preadv2, fd, iov, count, offset, 0, flags)
DIRECT6(blocking, ssize_t, pwritev2, (int fd, const struct iovec *iov, int count, off_t offset, int flags), SYS_pwritev2, fd, iov, count, offset, 0, flags)
DIRECT3(plain, off_t, lseek, (int fd, off_t offset, int whence), SYS_lseek, fd, offset, whence)
DIRECT1(blocking, int, fsync, (int fd), SYS_fsync, fd)
DIRECT1(blocking, int, fdatasync, (int fd), SYS_fdatasync, fd)
DIRECT1(plain, int, syncfs, (int fd), SYS_syncfs, fd)
DIRECT2(plain, int, ftruncate, (int fd, off_t size), SYS_ftruncate, fd, size)
DIRECT2(plain, int, truncate, (const char *path, off_t size), SYS_truncate, path, size)
DIRECT4(blocking, int, fallocate, (int fd, int mode, off_t offset, off_t length), SYS_fallocate, fd, mode, offset, length)
DIRECT3(plain, ssize_t, readahead, (int fd, off_t offset, size_t count), SYS_readahead, fd, offset, count)
DIRECT4(blocking, int, sync_file_range, (int fd, off_t offset, off_t length, unsigned flags), SYS_sync_file_range, fd, offset, length, flags)
DIRECT4(plain, ssize_t, sendfile, (int out, int in, off_t *offset, size_t count), SYS_sendfile, out, in, offset, count)
DIRECT6(blocking, ssize_t, splice, (int in, off64_t *from, int out, off64_t *to, size_t size, unsigned flags), SYS_splice, in, from, out, to, size, flags)
DIRECT6(blocking, ssize_t, copy_file_range, (int in, off64_t *from, int out, off64_t *to, size_t size, unsigned flags), SYS_copy_file_range, in, from, out, to, size, flags)
DIRECT3(plain, ssize_t, getdents64, (int fd, void *buffer, size_t size), SYS_getdents64, fd, buffer, size)

static int direct_posix_fadvise(int fd, off_t offset, off_t length, int advice) {
	return (int)-dc_raw6(SYS_fadvise64, fd, offset, length, advice, 0, 0);
}

static void direct_sync(void) {
	dc_raw6(SYS_sync, 0, 0, 0, 0, 0, 0);
}

/* ---- descriptors ------------------------------------------------------------------------------------------------------------- */
DIRECT1(plain, int, dup, (int fd), SYS_dup, fd)
DIRECT2(plain, int, dup2, (int from, int to), SYS_dup2, from, to)
DIRECT3(plain, int, dup3, (int from, int to, int flags), SYS_dup3, from, to, flags)
DIRECT3(blocking, int, fcntl, (int fd, int command, void *argument), SYS_fcntl, fd, command, argument)
DIRECT3(plain, int, ioctl, (int fd, unsigned long request, void *argument), SYS_ioctl, fd, request, argument)
DIRECT2(plain, int, flock, (int fd, int operation), SYS_flock, fd, operation)
DIRECT3(blocking, int, poll, (struct pollfd *fds, nfds_t count, int timeout), SYS_poll, fds, count, timeout)
DIRECT4(plain, int, epoll_ctl, (int epoll, int operation, int fd, struct epoll_event *event), SYS_epoll_ctl, epoll, operation, fd, event)
DIRECT3(blocking, ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), SYS_sendmsg, fd, message, flags)
DIRECT3(blocking, ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), SYS_recvmsg, fd, message, flags)
DIRECT4(blocking, int, sendmmsg, (int fd, struct mmsghdr *list, unsigned count, int flags), SYS_sendmmsg, fd, list, count, flags)
DIRECT5(blocking, int, recvmmsg, (int fd, struct mmsghdr *list, unsigned count, int flags, struct timespec *timeout), SYS_recvmmsg, fd, list, count, flags, timeout)
DIRECT3(blocking, int, accept, (int fd, struct sockaddr *address, socklen_t *length), SYS_accept, fd, address, length)
DIRECT4(blocking, int, accept4, (int fd, struct sockaddr *address, socklen_t *length, int flags), SYS_accept4, fd, address, length, flags)
DIRECT3(plain, int, socket, (int domain, int type, int protocol), SYS_socket, domain, type, protocol)
DIRECT4(plain, int, socketpair, (int domain, int type, int protocol, int pair[2]), SYS_socketpair, domain, type, protocol, pair)
DIRECT1(plain, int, pipe, (int pair[2]), SYS_pipe, pair)
DIRECT2(plain, int, pipe2, (int pair[2], int flags), SYS_pipe2, pair, flags)

/* ---- attributes --------------------------------------------------------------------------------------------------------------- */
DIRECT2(plain, int, fstat, (int fd, struct stat *out), SYS_fstat, fd, out)
DIRECT4(plain, int, fstatat, (int dirfd, const char *path, struct stat *out, int flags), SYS_newfstatat, dirfd, path, out, flags)
DIRECT5(plain, int, statx, (int dirfd, const char *path, int flags, unsigned mask, struct statx *out), SYS_statx, dirfd, path, flags, mask, out)
DIRECT2(plain, int, statfs, (const char *path, struct statfs *out), SYS_statfs, path, out)
DIRECT2(plain, int, fstatfs, (int fd, struct statfs *out), SYS_fstatfs, fd, out)
DIRECT2(plain, int, fchmod, (int fd, mode_t mode), SYS_fchmod, fd, mode)
DIRECT3(plain, int, fchown, (int fd, uid_t uid, gid_t gid), SYS_fchown, fd, uid, gid)
DIRECT5(plain, int, fchownat, (int dirfd, const char *path, uid_t uid, gid_t gid, int flags), SYS_fchownat, dirfd, path, uid, gid, flags)
DIRECT4(plain, int, futimens, (int fd, const struct timespec times[2]), SYS_utimensat, fd, NULL, times, 0)

static int direct_faccessat(int dirfd, const char *path, int mode, int flags) {
	return (int)plain(flags ? SYS_FACCESSAT2 : SYS_faccessat, dirfd, L(path), mode, flags, 0, 0);
}

static int direct_utimensat(int dirfd, const char *path, const struct timespec times[2], int flags) {
	return (int)(path ? plain(SYS_utimensat, dirfd, L(path), L(times), flags, 0, 0) : dc_return(-EINVAL)); /* as libc: no other name for futimens */
}

/* A link's own mode, before Linux 6.6: glibc refuses links and changes others by their number. */
static int direct_fchmodat(int dirfd, const char *path, mode_t mode, int flags) {
	long result = dc_raw6(flags ? SYS_FCHMODAT2 : SYS_fchmodat, dirfd, L(path), mode, flags, 0, 0);
	if (!flags || result != -ENOSYS) return (int)dc_return(result);
	struct stat st;
	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) return (int)dc_return(-EINVAL);
	int fd = (int)dc_raw6(SYS_openat, dirfd, L(path[0] ? path : "."), O_PATH | O_NOFOLLOW | O_CLOEXEC, 0, 0, 0);
	if (fd < 0) return (int)dc_return(fd);
	result = k_stat(fd, "", &st, AT_EMPTY_PATH);
	if (result == 0) result = S_ISLNK(st.st_mode) ? -EOPNOTSUPP : 0;
	char name[32] = "/proc/self/fd/";
	char digits[12];
	unsigned count = 0, length = 14;
	for (int left = fd; count == 0 || left; left /= 10) digits[count++] = (char)('0' + left % 10);
	while (count) name[length++] = digits[--count];
	name[length] = 0;
	if (result == 0) result = dc_raw6(SYS_chmod, L(name), mode, 0, 0, 0, 0);
	k_close(fd);
	return (int)dc_return(result);
}

DIRECT4(plain, ssize_t, getxattr, (const char *path, const char *name, void *value, size_t size), SYS_getxattr, path, name, value, size)
DIRECT4(plain, ssize_t, lgetxattr, (const char *path, const char *name, void *value, size_t size), SYS_lgetxattr, path, name, value, size)
DIRECT4(plain, ssize_t, fgetxattr, (int fd, const char *name, void *value, size_t size), SYS_fgetxattr, fd, name, value, size)
DIRECT3(plain, ssize_t, listxattr, (const char *path, char *list, size_t size), SYS_listxattr, path, list, size)
DIRECT3(plain, ssize_t, llistxattr, (const char *path, char *list, size_t size), SYS_llistxattr, path, list, size)
DIRECT3(plain, ssize_t, flistxattr, (int fd, char *list, size_t size), SYS_flistxattr, fd, list, size)
DIRECT5(plain, int, setxattr, (const char *path, const char *name, const void *value, size_t size, int flags), SYS_setxattr, path, name, value, size, flags)
DIRECT5(plain, int, lsetxattr, (const char *path, const char *name, const void *value, size_t size, int flags), SYS_lsetxattr, path, name, value, size, flags)
DIRECT5(plain, int, fsetxattr, (int fd, const char *name, const void *value, size_t size, int flags), SYS_fsetxattr, fd, name, value, size, flags)
DIRECT2(plain, int, removexattr, (const char *path, const char *name), SYS_removexattr, path, name)
DIRECT2(plain, int, lremovexattr, (const char *path, const char *name), SYS_lremovexattr, path, name)
DIRECT2(plain, int, fremovexattr, (int fd, const char *name), SYS_fremovexattr, fd, name)

/* ---- names -------------------------------------------------------------------------------------------------------------------- */
DIRECT3(plain, int, mkdirat, (int dirfd, const char *path, mode_t mode), SYS_mkdirat, dirfd, path, mode)
DIRECT4(plain, int, mknodat, (int dirfd, const char *path, mode_t mode, dev_t device), SYS_mknodat, dirfd, path, mode, device)
DIRECT3(plain, int, unlinkat, (int dirfd, const char *path, int flags), SYS_unlinkat, dirfd, path, flags)
DIRECT3(plain, int, symlinkat, (const char *target, int dirfd, const char *path), SYS_symlinkat, target, dirfd, path)
DIRECT3(plain, ssize_t, readlink, (const char *path, char *out, size_t size), SYS_readlink, path, out, size)
DIRECT4(plain, ssize_t, readlinkat, (int dirfd, const char *path, char *out, size_t size), SYS_readlinkat, dirfd, path, out, size)
DIRECT5(plain, int, renameat2, (int from_dirfd, const char *from, int to_dirfd, const char *to, unsigned flags), SYS_renameat2, from_dirfd, from, to_dirfd, to, flags)
DIRECT5(plain, int, linkat, (int from_dirfd, const char *from, int to_dirfd, const char *to, int flags), SYS_linkat, from_dirfd, from, to_dirfd, to, flags)
DIRECT1(plain, int, chdir, (const char *path), SYS_chdir, path)
DIRECT1(plain, int, fchdir, (int fd), SYS_fchdir, fd)
DIRECT1(plain, int, chroot, (const char *path), SYS_chroot, path)
DIRECT2(plain, int, pivot_root, (const char *root, const char *old), SYS_pivot_root, root, old)
DIRECT1(plain, int, unshare, (int flags), SYS_unshare, flags)
DIRECT2(plain, int, setns, (int fd, int type), SYS_setns, fd, type)

/* ---- processes ---------------------------------------------------------------------------------------------------------------- */
DIRECT3(plain, int, execve, (const char *path, char *const argv[], char *const envp[]), SYS_execve, path, argv, envp)
DIRECT5(plain, int, execveat, (int dirfd, const char *path, char *const argv[], char *const envp[], int flags), SYS_execveat, dirfd, path, argv, envp, flags)
DIRECT4(blocking, pid_t, wait4, (pid_t pid, int *status, int options, struct rusage *usage), SYS_wait4, pid, status, options, usage)
DIRECT4(blocking, pid_t, waitpid, (pid_t pid, int *status, int options), SYS_wait4, pid, status, options, NULL)
DIRECT5(blocking, int, waitid, (idtype_t type, id_t id, siginfo_t *info, int options), SYS_waitid, type, id, info, options, NULL)
DIRECT4(plain, int, prlimit, (pid_t pid, int resource, const struct rlimit *value, struct rlimit *former), SYS_prlimit64, pid, resource, value, former)
DIRECT4(plain, int, setrlimit, (int resource, const struct rlimit *value), SYS_prlimit64, 0, resource, value, NULL)

#define NAMES(X) \
	X(openat) X(close) X(close_range) X(read) X(write) X(pread) X(pwrite) X(readv) X(writev) X(preadv) X(pwritev) X(preadv2) X(pwritev2) X(lseek) X(fsync) X(fdatasync) X(syncfs) \
	X(ftruncate) X(truncate) X(fallocate) X(readahead) X(sync_file_range) X(sendfile) X(splice) X(copy_file_range) X(getdents64) X(posix_fadvise) X(sync) X(dup) X(dup2) X(dup3) \
	X(fcntl) X(ioctl) X(flock) X(poll) X(epoll_ctl) X(sendmsg) X(recvmsg) X(sendmmsg) X(recvmmsg) X(accept) X(accept4) X(socket) X(socketpair) X(pipe) X(pipe2) X(fstat) X(fstatat) \
	X(statx) X(statfs) X(fstatfs) X(fchmod) X(fchown) X(fchownat) X(utimensat) X(futimens) X(faccessat) X(fchmodat) X(getxattr) X(lgetxattr) X(fgetxattr) X(listxattr) X(llistxattr) \
	X(flistxattr) X(setxattr) X(lsetxattr) X(fsetxattr) X(removexattr) X(lremovexattr) X(fremovexattr) X(mkdirat) X(mknodat) X(unlinkat) X(symlinkat) X(readlink) X(readlinkat) \
	X(renameat2) X(linkat) X(chdir) X(fchdir) X(chroot) X(pivot_root) X(unshare) X(setns) X(execve) X(execveat) X(wait4) X(waitpid) X(waitid) X(prlimit) X(setrlimit)

void *dc_direct(const char *name) {
#define X(id) \
	if (!strcmp(name, #id)) return (void *)direct_##id;
	NAMES(X)
#undef X
	return NULL;
}

#endif
