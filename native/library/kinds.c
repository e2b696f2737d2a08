/*
 * kinds.c - calls on a descriptor that want another kind of file: a terminal, a socket, an event counter. On a file of an instance they must fail as the kernel says of a file
 * (ENOTTY, ENOTSOCK, EINVAL), but of a placeholder it says EBADF, and programs decide by that. So the descriptor becomes the kernel door's own first: one load for all others.
 * Also those that glibc serves unseen from a plain file: fpathconf, isfdtype, backtrace_symbols_fd.
 */
#include "internal.h"

#include <execinfo.h>
#include <pty.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <termios.h>
#include <utmp.h>

#define KIND(type, name, parameters, ...) \
	EXPORT type name parameters { \
		dc_upgrade_fd(fd, DC_UNCARRIED_kind); \
		return NEXT(name)(__VA_ARGS__); \
	}

/* ---- terminals: the two that every program asks, without the kernel ---------------------------------------------------------- */
static bool no_terminal(int fd) {
	struct dc_file *file = dc_file_in_table(fd);
	if (!file) return false;
	errno = file->flags & O_PATH ? EBADF : ENOTTY;
	dc_file_put(file);
	return true;
}

EXPORT int isatty(int fd) { return no_terminal(fd) ? 0 : NEXT(isatty)(fd); }
EXPORT int tcgetattr(int fd, struct termios *out) { return no_terminal(fd) ? -1 : NEXT(tcgetattr)(fd, out); }

int __ttyname_r_chk(int fd, char *out, size_t size, size_t space);
int __ptsname_r_chk(int fd, char *out, size_t size, size_t space);
int gtty(int fd, void *out);
int stty(int fd, const void *in);
KIND(int, tcsetattr, (int fd, int actions, const struct termios *in), fd, actions, in)
KIND(int, tcdrain, (int fd), fd)
KIND(int, tcflow, (int fd, int action), fd, action)
KIND(int, tcflush, (int fd, int queue), fd, queue)
KIND(int, tcsendbreak, (int fd, int duration), fd, duration)
KIND(pid_t, tcgetpgrp, (int fd), fd)
KIND(int, tcsetpgrp, (int fd, pid_t group), fd, group)
KIND(pid_t, tcgetsid, (int fd), fd)
KIND(int, gtty, (int fd, void *out), fd, out)
KIND(int, stty, (int fd, const void *in), fd, in)
KIND(char *, ttyname, (int fd), fd)
KIND(int, ttyname_r, (int fd, char *out, size_t size), fd, out, size)
KIND(int, __ttyname_r_chk, (int fd, char *out, size_t size, size_t space), fd, out, size, space)
KIND(char *, ptsname, (int fd), fd)
KIND(int, ptsname_r, (int fd, char *out, size_t size), fd, out, size)
KIND(int, __ptsname_r_chk, (int fd, char *out, size_t size, size_t space), fd, out, size, space)
KIND(int, grantpt, (int fd), fd)
KIND(int, unlockpt, (int fd), fd)

/* It becomes descriptors 0 to 2, copied unseen. */
EXPORT int login_tty(int fd) {
	dc_share_fd(fd);
	int result = NEXT(login_tty)(fd);
	if (result == 0)
		for (int number = 0; number <= STDERR_FILENO; number++) dc_forget_new(number);
	return result;
}

/* ---- sockets ------------------------------------------------------------------------------------------------------------------ */
ssize_t __recv_chk(int fd, void *buffer, size_t size, size_t space, int flags);
ssize_t __recvfrom_chk(int fd, void *buffer, size_t size, size_t space, int flags, __SOCKADDR_ARG address, socklen_t *length);
KIND(int, bind, (int fd, __CONST_SOCKADDR_ARG address, socklen_t length), fd, address, length)
KIND(int, connect, (int fd, __CONST_SOCKADDR_ARG address, socklen_t length), fd, address, length)
ALIAS(__connect, connect);
KIND(int, listen, (int fd, int backlog), fd, backlog)
KIND(int, shutdown, (int fd, int how), fd, how)
KIND(int, getsockname, (int fd, __SOCKADDR_ARG address, socklen_t *restrict length), fd, address, length)
KIND(int, getpeername, (int fd, __SOCKADDR_ARG address, socklen_t *restrict length), fd, address, length)
KIND(int, getsockopt, (int fd, int level, int option, void *restrict value, socklen_t *restrict length), fd, level, option, value, length)
KIND(int, setsockopt, (int fd, int level, int option, const void *value, socklen_t length), fd, level, option, value, length)
KIND(ssize_t, send, (int fd, const void *buffer, size_t size, int flags), fd, buffer, size, flags)
ALIAS(__send, send);
KIND(ssize_t, sendto, (int fd, const void *buffer, size_t size, int flags, __CONST_SOCKADDR_ARG address, socklen_t length), fd, buffer, size, flags, address, length)
KIND(ssize_t, recv, (int fd, void *buffer, size_t size, int flags), fd, buffer, size, flags)
ALIAS(__recv, recv);
KIND(ssize_t, recvfrom, (int fd, void *restrict buffer, size_t size, int flags, __SOCKADDR_ARG address, socklen_t *restrict length), fd, buffer, size, flags, address, length)
KIND(ssize_t, __recv_chk, (int fd, void *buffer, size_t size, size_t space, int flags), fd, buffer, size, space, flags)
KIND(ssize_t, __recvfrom_chk, (int fd, void *buffer, size_t size, size_t space, int flags, __SOCKADDR_ARG address, socklen_t *length), fd, buffer, size, space, flags, address, length)
KIND(int, sockatmark, (int fd), fd)

/* ---- other kinds ---------------------------------------------------------------------------------------------------------------- */
KIND(int, epoll_wait, (int fd, struct epoll_event *events, int count, int timeout), fd, events, count, timeout)
KIND(int, epoll_pwait, (int fd, struct epoll_event *events, int count, int timeout, const sigset_t *mask), fd, events, count, timeout, mask)
KIND(int, epoll_pwait2, (int fd, struct epoll_event *events, int count, const struct timespec *timeout, const sigset_t *mask), fd, events, count, timeout, mask)
KIND(int, timerfd_gettime, (int fd, struct itimerspec *out), fd, out)
KIND(int, timerfd_settime, (int fd, int flags, const struct itimerspec *in, struct itimerspec *out), fd, flags, in, out)
KIND(int, inotify_rm_watch, (int fd, int watch), fd, watch)
KIND(ssize_t, tee, (int fd, int out, size_t size, unsigned flags), fd, out, size, flags)
KIND(ssize_t, vmsplice, (int fd, const struct iovec *iov, size_t count, unsigned flags), fd, iov, count, flags)
KIND(int, isfdtype, (int fd, int type), fd, type)
KIND(long, fpathconf, (int fd, int name), fd, name)

/* Plain reads and writes of eight bytes, in glibc too. */
EXPORT int eventfd_read(int fd, eventfd_t *value) { return read(fd, value, sizeof *value) == sizeof *value ? 0 : -1; }
EXPORT int eventfd_write(int fd, eventfd_t value) { return write(fd, &value, sizeof value) == sizeof value ? 0 : -1; }

/* glibc writes unseen, often from a handler of a fatal signal. */
EXPORT void backtrace_symbols_fd(void *const *frames, int count, int fd) {
	dc_share_fd(fd);
	NEXT(backtrace_symbols_fd)(frames, count, fd);
}
ALIAS(__backtrace_symbols_fd, backtrace_symbols_fd);
