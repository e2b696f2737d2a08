/*
 * descriptors.c - dup, fcntl, close_range, and what makes new numbers.
 *
 * Copies of a number name the same description here as they do in the kernel; placeholders may be copied, an upgrade reaches all numbers. One lock keeps copies and upgrades apart.
 */
#include "internal.h"

#include <linux/close_range.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <mqueue.h>
#include <pty.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

/* ---- copies ---------------------------------------------------------------------------------------------------------------- */
/* After the kernel made `to` a copy of `from`. */
static void copied(int from, int to) {
	dc_early_shared(from);
	struct dc_file *file = dc_file_in_table(from);
	if (to < DC_FD_MAX) {
		dc_table_set(to, file);
		if (!file && (unsigned)from < DC_FD_MAX && dc_known[from] == DC_KNOWN_PARENTS) {
			dc_known[to] = DC_KNOWN_PARENTS;
			if (to > dc_inherited_high) dc_inherited_high = to;
		}
		if (file && to <= STDERR_FILENO) dc_share_fd(to); /* glibc's standard streams use it unseen */
		return;
	}
	if (!file) return;
	dc_share_file(file); /* beyond the table the kernel alone serves it */
	k_dup3(from, to, k_fcntl(to, F_GETFD, 0) & FD_CLOEXEC ? O_CLOEXEC : 0);
	dc_file_put(file);
}

EXPORT int dup(int fd) {
	if (!dc_active()) return dc_children_copied(fd), NEXT(dup)(fd);
	bool locked = dc_descriptors_lock();
	int result = NEXT(dup)(fd);
	if (result >= 0) copied(fd, result);
	dc_descriptors_unlock(locked);
	return result;
}

EXPORT int dup3(int from, int to, int flags) {
	if (!dc_active()) return dc_children_copied(from), NEXT(dup3)(from, to, flags);
	bool locked = dc_descriptors_lock();
	dc_numbers_begin();
	int result = NEXT(dup3)(from, to, flags);
	if (result >= 0) copied(from, to);
	dc_numbers_end();
	dc_descriptors_unlock(locked);
	return result;
}

EXPORT int dup2(int from, int to) {
	if (!dc_active() || from == to) return dc_children_copied(from), NEXT(dup2)(from, to);
	bool locked = dc_descriptors_lock();
	dc_numbers_begin();
	int result = NEXT(dup2)(from, to);
	if (result >= 0) copied(from, to);
	dc_numbers_end();
	dc_descriptors_unlock(locked);
	return result;
}
ALIAS(__dup2, dup2);

/* ---- fcntl ----------------------------------------------------------------------------------------------------------------- */
#define SETTABLE (O_APPEND | O_NONBLOCK | O_ASYNC | O_DIRECT | O_NOATIME)

/* A description that other processes have may have been changed by them: the kernel knows. */
int dc_file_flags(struct dc_file *file, int fd) {
	long now = atomic_load_explicit(&file->shared, memory_order_relaxed) ? k_fcntl(fd, F_GETFL, 0) : -1;
	if (now >= 0) {
		atomic_store(&file->append, now & O_APPEND);
		atomic_store(&file->flags, (atomic_load(&file->flags) & ~SETTABLE) | ((int)now & SETTABLE & ~O_APPEND));
	}
	return atomic_load(&file->flags) | (atomic_load(&file->append) ? O_APPEND : 0);
}

static int64_t set_flags(struct dc_file *file, int fd, int flags) {
	if (file->flags & O_PATH) return -EBADF;
	long result = atomic_load(&file->kernel) ? k_fcntl(fd, F_SETFL, flags) : 0;
	if (result < 0) return result;
	atomic_store(&file->append, flags & O_APPEND);
	atomic_store(&file->flags, (file->flags & ~SETTABLE) | (flags & SETTABLE & ~O_APPEND));
	return 0;
}

/* Advice on how long what is written will live; databases give it of every file. Nobody below makes use of it yet. */
static int64_t write_hint(struct dc_file *file, bool set, uint64_t *hint) {
	if (file->flags & O_PATH) return -EBADF;
	if (!hint) return -EFAULT;
	if (!set) *hint = atomic_load(&file->write_hint);
	else if (*hint > RWH_WRITE_LIFE_EXTREME) return -EINVAL;
	else atomic_store(&file->write_hint, (uint8_t)*hint);
	return 0;
}

static bool is_lock(int command) { return command == F_SETLK || command == F_SETLKW || command == F_OFD_SETLK || command == F_OFD_SETLKW; }

static int64_t carried_fcntl(struct dc_file *file, int fd, int command, long argument, bool *kernel) {
	switch (command) {
	case F_GETFL: return dc_file_flags(file, fd) | (file->flags & O_PATH ? 0 : 0100000 /* O_LARGEFILE, as the kernel shows it */);
	case F_SETFL: return set_flags(file, fd, (int)argument);
	case F_GETFD:
	case F_SETFD: break; /* the placeholder's own are the application's */
	case F_GET_RW_HINT:
	case F_SET_RW_HINT: return write_hint(file, command == F_SET_RW_HINT, (uint64_t *)argument);
	case F_GETLK:
	case F_SETLK:
	case F_SETLKW:
	case F_OFD_GETLK:
	case F_OFD_SETLK:
	case F_OFD_SETLKW: {
		dc_uncarried(DC_UNCARRIED_lock);
		int error = dc_locks_prepare(file);
		if (error) return error;
		/* SEEK_CUR counts from the kernel's offset. */
		if (!atomic_load(&file->shared)) k_lseek(fd, atomic_load(&file->offset), SEEK_SET);
		break;
	}
	default: {
		dc_uncarried(DC_UNCARRIED_fcntl);
		int error = dc_upgrade(file);
		if (error) return error;
	}
	}
	*kernel = true;
	return 0;
}

EXPORT int fcntl(int fd, int command, ...) {
	va_list list;
	va_start(list, command);
	void *argument = va_arg(list, void *); /* a pointer holds every kind of third argument */
	va_end(list);
	bool copies = command == F_DUPFD || command == F_DUPFD_CLOEXEC;
	if (!dc_active()) {
		if (copies) dc_children_copied(fd);
		return NEXT(fcntl)(fd, command, argument);
	}
	if (copies) {
		bool locked = dc_descriptors_lock();
		int result = NEXT(fcntl)(fd, command, argument);
		if (result >= 0) copied(fd, result);
		dc_descriptors_unlock(locked);
		return result;
	}
	struct dc_file *file = dc_file_in_table(fd);
	if (!file) {
		if (is_lock(command)) dc_locks_of_kernel(fd);
		return NEXT(fcntl)(fd, command, argument);
	}
	bool kernel = false;
	int64_t result = carried_fcntl(file, fd, command, (long)argument, &kernel);
	dc_file_put(file);
	return kernel ? NEXT(fcntl)(fd, command, argument) : (int)dc_return(result);
}
ALIAS(fcntl64, fcntl);
ALIAS(__fcntl, fcntl);

/* ---- ioctl ----------------------------------------------------------------------------------------------------------------- */
static int64_t bytes_left(struct dc_file *file, int fd, int *out) {
	struct stat st;
	int error = dc_stat_file(file, &st);
	if (error) return error;
	if (file->directory) return -ENOTTY;
	off_t left = st.st_size - (atomic_load(&file->shared) ? k_lseek(fd, 0, SEEK_CUR) : atomic_load(&file->offset));
	*out = left < 0 ? 0 : left > INT32_MAX ? INT32_MAX : (int)left;
	return 0;
}

EXPORT int ioctl(int fd, unsigned long request, ...) {
	va_list list;
	va_start(list, request);
	void *argument = va_arg(list, void *);
	va_end(list);
	struct dc_file *file = dc_file_in_table(fd);
	if (!file) return NEXT(ioctl)(fd, request, argument);
	int64_t result = DC_RESULT_KERNEL;
	switch (request) {
	case FIOCLEX:
	case FIONCLEX: result = k_fcntl(fd, F_SETFD, request == FIOCLEX ? FD_CLOEXEC : 0); break;
	case FIONREAD: result = bytes_left(file, fd, argument); break;
	case TCGETS: result = file->flags & O_PATH ? -EBADF : -ENOTTY; break; /* isatty */
	case FICLONE:
	case FICLONERANGE: result = -EOPNOTSUPP; break; /* as the kernel says of FUSE */
	}
	if (result == DC_RESULT_KERNEL) {
		dc_uncarried(DC_UNCARRIED_ioctl);
		dc_upgrade(file);
	}
	dc_file_put(file);
	return result == DC_RESULT_KERNEL ? NEXT(ioctl)(fd, request, argument) : (int)dc_return(result);
}

/* ---- closing many ---------------------------------------------------------------------------------------------------------- */
static void forget_range(unsigned first, unsigned last) {
	if (!dc_active()) return;
	int high = atomic_load(&dc_table_high);
	for (unsigned fd = first; fd <= last && (int)fd <= high; fd++)
		if (atomic_load(&dc_table[fd])) dc_table_set((int)fd, NULL);
	for (unsigned fd = first; fd <= last && fd < DC_FD_MAX; fd++) dc_known[fd] = 0;
}

EXPORT int close_range(unsigned first, unsigned last, int flags) {
	dc_numbers_begin();
	int result = NEXT(close_range)(first, last, flags);
	if (result == 0 && !(flags & (int)CLOSE_RANGE_CLOEXEC)) forget_range(first, last);
	dc_numbers_end();
	return result;
}

EXPORT void closefrom(int first) {
	dc_numbers_begin();
	NEXT(closefrom)(first);
	forget_range(first < 0 ? 0 : (unsigned)first, UINT32_MAX);
	dc_numbers_end();
}

/* ---- new numbers: should the table think one in use, it was closed behind our back ------------------------------------------- */
EXPORT int socket(int domain, int type, int protocol) { return dc_forget_new(NEXT(socket)(domain, type, protocol)); }

static int forget_pair(int result, const int pair[2]) {
	if (result == 0) {
		dc_forget_new(pair[0]);
		dc_forget_new(pair[1]);
	}
	return result;
}

EXPORT int socketpair(int domain, int type, int protocol, int pair[2]) { return forget_pair(NEXT(socketpair)(domain, type, protocol, pair), pair); }
EXPORT int pipe(int pair[2]) { return forget_pair(NEXT(pipe)(pair), pair); }
ALIAS(__pipe, pipe);
EXPORT int pipe2(int pair[2], int flags) { return forget_pair(NEXT(pipe2)(pair, flags), pair); }
EXPORT int accept(int fd, struct sockaddr *restrict address, socklen_t *restrict length) {
	dc_upgrade_fd(fd, DC_UNCARRIED_kind);
	return dc_forget_new(NEXT(accept)(fd, address, length));
}
EXPORT int accept4(int fd, struct sockaddr *restrict address, socklen_t *restrict length, int flags) {
	dc_upgrade_fd(fd, DC_UNCARRIED_kind);
	return dc_forget_new(NEXT(accept4)(fd, address, length, flags));
}
EXPORT int epoll_create(int size) { return dc_forget_new(NEXT(epoll_create)(size)); }
EXPORT int epoll_create1(int flags) { return dc_forget_new(NEXT(epoll_create1)(flags)); }
EXPORT int eventfd(unsigned initial, int flags) { return dc_forget_new(NEXT(eventfd)(initial, flags)); }
EXPORT int timerfd_create(clockid_t clock, int flags) { return dc_forget_new(NEXT(timerfd_create)(clock, flags)); }
EXPORT int signalfd(int fd, const sigset_t *set, int flags) { return dc_forget_new(NEXT(signalfd)(fd, set, flags)); }
EXPORT int inotify_init(void) { return dc_forget_new(NEXT(inotify_init)()); }
EXPORT int inotify_init1(int flags) { return dc_forget_new(NEXT(inotify_init1)(flags)); }
EXPORT int memfd_create(const char *name, unsigned flags) { return dc_forget_new(NEXT(memfd_create)(name, flags)); }
EXPORT int posix_openpt(int flags) { return dc_forget_new(NEXT(posix_openpt)(flags)); }
EXPORT int getpt(void) { return dc_forget_new(NEXT(getpt)()); }
EXPORT int shm_open(const char *name, int flags, mode_t mode) { return dc_forget_new(NEXT(shm_open)(name, flags, mode)); }

EXPORT int openpty(int *master, int *slave, char *name, const struct termios *terminal, const struct winsize *size) {
	int result = NEXT(openpty)(master, slave, name, terminal, size);
	if (result == 0) forget_pair(0, (int[2]){*master, *slave});
	return result;
}

EXPORT mqd_t mq_open(const char *name, int flags, ...) {
	va_list list;
	va_start(list, flags);
	mode_t mode = va_arg(list, mode_t);
	struct mq_attr *attributes = va_arg(list, struct mq_attr *);
	va_end(list);
	return dc_forget_new(NEXT(mq_open)(name, flags, mode, attributes));
}

mqd_t __mq_open_2(const char *name, int flags);
EXPORT mqd_t __mq_open_2(const char *name, int flags) { return dc_forget_new(NEXT(__mq_open_2)(name, flags)); }

int pidfd_open(pid_t pid, unsigned flags);
EXPORT int pidfd_open(pid_t pid, unsigned flags) { return dc_forget_new(NEXT(pidfd_open)(pid, flags)); }
int pidfd_getfd(int pidfd, int target, unsigned flags);
EXPORT int pidfd_getfd(int pidfd, int target, unsigned flags) { return dc_forget_new(NEXT(pidfd_getfd)(pidfd, target, flags)); }
