/*
 * kernel_only.c - calls on descriptors that only the kernel can do: the descriptor becomes the kernel door's own first. Each is counted.
 */
#include "internal.h"

#include <aio.h>
#include <linux/magic.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/vfs.h>

/* The kernel asks for the size again: it may have changed through the library since it last looked, and beyond the size that it knows a mapping faults. */
static void refresh_size(int fd) {
	struct stat st;
	k_stat(fd, "", &st, AT_EMPTY_PATH);
}

/* Writes are synchronous to the service, so nothing is pending here that the mapping would miss. */
EXPORT void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
	if (!(flags & MAP_ANONYMOUS)) {
		int error = dc_upgrade_fd(fd, DC_UNCARRIED_mmap);
		if (error) {
			errno = -error;
			return MAP_FAILED;
		}
		if (dc_active() && (unsigned)fd < DC_FD_MAX && atomic_load_explicit(&dc_table[fd], memory_order_relaxed)) refresh_size(fd);
	}
	long result = dc_raw6(SYS_mmap, (long)address, (long)length, protection, flags, fd, offset); /* raw: allocators map before dlsym can be used */
	if (result >= 0 || result < -4095) return (void *)result;
	errno = (int)-result;
	return MAP_FAILED;
}
ALIAS(mmap64, mmap);
ALIAS(__mmap, mmap);

/* ---- waiting for descriptors: a regular file is always ready, its placeholder is not ------------------------------------------ */
void dc_upgrade_polled(const void *list, unsigned long count) {
	const struct pollfd *fds = list;
	if (!dc_active() || !fds || !dc_session_if_ready()) return;
	for (nfds_t i = 0; i < count; i++) dc_upgrade_fd(fds[i].fd, DC_UNCARRIED_poll);
}

EXPORT int poll(struct pollfd *fds, nfds_t count, int timeout) {
	dc_upgrade_polled(fds, count);
	return NEXT(poll)(fds, count, timeout);
}
ALIAS(__poll, poll);

EXPORT int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask) {
	dc_upgrade_polled(fds, count);
	return NEXT(ppoll)(fds, count, timeout, mask);
}

int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t space);
EXPORT int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t space) {
	dc_upgrade_polled(fds, count);
	return NEXT(__poll_chk)(fds, count, timeout, space);
}

int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask, size_t space);
EXPORT int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask, size_t space) {
	dc_upgrade_polled(fds, count);
	return NEXT(__ppoll_chk)(fds, count, timeout, mask, space);
}

void dc_upgrade_selected(int count, const void *bits) {
	const fd_set *set = bits;
	if (!set || !dc_active() || !dc_session_if_ready()) return;
	int high = atomic_load(&dc_table_high);
	for (int fd = 0; fd < count && fd <= high; fd++)
		if (set->fds_bits[fd / __NFDBITS] & (__fd_mask)(1UL << (fd % __NFDBITS))) dc_upgrade_fd(fd, DC_UNCARRIED_select); /* sets may be longer than FD_SETSIZE */
}

EXPORT int select(int count, fd_set *restrict in, fd_set *restrict out, fd_set *restrict except, struct timeval *restrict timeout) {
	dc_upgrade_selected(count, in);
	dc_upgrade_selected(count, out);
	return NEXT(select)(count, in, out, except, timeout);
}
ALIAS(__select, select);

EXPORT int pselect(int count, fd_set *restrict in, fd_set *restrict out, fd_set *restrict except, const struct timespec *restrict timeout, const sigset_t *restrict mask) {
	dc_upgrade_selected(count, in);
	dc_upgrade_selected(count, out);
	return NEXT(pselect)(count, in, out, except, timeout, mask);
}

/* A file is not waited for, say disk filesystems; FUSE's files would be taken. */
EXPORT int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event) {
	struct dc_file *file = operation == EPOLL_CTL_ADD ? dc_file_in_table(fd) : NULL;
	if (file) {
		bool place = file->flags & O_PATH;
		dc_file_put(file);
		return (int)dc_return(place ? -EBADF : -EPERM);
	}
	if (operation == EPOLL_CTL_ADD && dc_early_is_file(fd)) return (int)dc_return(-EPERM);
	dc_upgrade_fd(fd, DC_UNCARRIED_epoll);
	return NEXT(epoll_ctl)(epoll, operation, fd, event);
}

/* ---- copies inside the kernel ------------------------------------------------------------------------------------------------ */
/* Brings the kernel's offset up to date before, and ours after, a call that moves it. */
struct lent {
	struct dc_file *file;
	int fd;
	bool locked, early;
};

static void lend(struct lent *lent, int fd, bool moves, enum dc_uncarried why) {
	lent->fd = fd;
	lent->locked = false;
	lent->early = dc_early_begin(fd);
	lent->file = dc_file_in_table(fd);
	if (!lent->file) return;
	dc_uncarried(why);
	dc_kernel_wanted(lent->file);
	dc_upgrade(lent->file);
	refresh_size(fd);
	if (!moves || (atomic_load(&lent->file->shared) && !atomic_load(&lent->file->forked))) {
		dc_file_put(lent->file);
		lent->file = NULL;
		return;
	}
}

static void lend_lock(struct lent *lent) {
	if (!lent->file) return;
	lent->locked = dc_file_lock(lent->file);
	if (!atomic_load(&lent->file->shared)) k_lseek(lent->fd, atomic_load(&lent->file->offset), SEEK_SET);
}

/* In order of address, so that two copies in opposite directions do not wait for each other. */
static void lend_locks(struct lent *a, struct lent *b) {
	lend_lock(a->file < b->file ? a : b);
	lend_lock(a->file < b->file ? b : a);
}

static void take_back(struct lent *lent) {
	if (lent->early) dc_early_end();
	if (!lent->file) return;
	int error = errno;
	long offset = atomic_load(&lent->file->shared) ? -1 : k_lseek(lent->fd, 0, SEEK_CUR);
	if (offset >= 0) atomic_store(&lent->file->offset, offset);
	dc_file_unlock(lent->file, lent->locked);
	dc_file_put(lent->file);
	errno = error;
}

EXPORT ssize_t sendfile(int out, int in, off_t *offset, size_t count) {
	struct lent from, to;
	lend(&from, in, offset == NULL, DC_UNCARRIED_sendfile);
	lend(&to, out, true, DC_UNCARRIED_sendfile);
	lend_locks(&from, &to);
	ssize_t result = NEXT(sendfile)(out, in, offset, count);
	take_back(&to);
	take_back(&from);
	return result;
}
ALIAS(sendfile64, sendfile);

EXPORT ssize_t splice(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t length, unsigned flags) {
	struct lent from, to;
	lend(&from, in, in_offset == NULL, DC_UNCARRIED_splice);
	lend(&to, out, out_offset == NULL, DC_UNCARRIED_splice);
	lend_locks(&from, &to);
	ssize_t result = NEXT(splice)(in, in_offset, out, out_offset, length, flags);
	take_back(&to);
	take_back(&from);
	return result;
}

/* The instance has no copy of its own: through this process, a piece at most, as copy_file_range may. -errno. */
static int64_t copy_through(struct dc_file *from, off_t from_offset, struct dc_file *to, off_t to_offset, size_t length) {
	char piece[16384]; /* may be on a signal stack (dispatch.c) */
	size_t done = 0;
	while (done < length && done < (1u << 20)) {
		struct iovec iov = {piece, length - done < sizeof piece ? length - done : sizeof piece};
		ssize_t got = dc_transfer(from, false, &iov, 1, from_offset + (off_t)done, 0);
		if (got <= 0) return done ? (int64_t)done : got;
		iov.iov_len = (size_t)got;
		ssize_t put = dc_transfer(to, true, &iov, 1, to_offset + (off_t)done, 0);
		if (put <= 0) return done ? (int64_t)done : put;
		done += (size_t)put;
		if (put < got) break;
	}
	return (int64_t)done;
}

/* Both ends in one instance: the service copies. -errno, or DC_RESULT_KERNEL. */
static int64_t copy_inside(struct dc_file *from, off_t from_offset, struct dc_file *to, off_t to_offset, size_t length) {
	if (from->flags & O_PATH || to->flags & O_PATH || (from->flags & O_ACCMODE) == O_WRONLY || (to->flags & O_ACCMODE) == O_RDONLY) return -EBADF;
	if (atomic_load(&to->append)) return -EBADF;
	if (from->directory || to->directory) return -EISDIR;
	if (from_offset < 0 || to_offset < 0) return -EINVAL;
	if (from->ino == to->ino && from_offset < to_offset + (off_t)length && to_offset < from_offset + (off_t)length) return -EINVAL;
	struct dc_call call;
	dc_call_begin(&call, from->client, DC_OP_COPY, from->instance, from->handle);
	call.slot->offset = (uint64_t)from_offset;
	call.slot->handle2 = to->handle;
	call.slot->argument[0] = (uint64_t)to_offset;
	call.slot->length = length < (1u << 30) ? length : 1u << 30;
	int64_t result = dc_call_send(&call);
	dc_call_end(&call);
	if (result == -ENOSYS || result == -EOPNOTSUPP || result == -EXDEV) return copy_through(from, from_offset, to, to_offset, length);
	return result == -ESTALE ? -EIO : result;
}

/* As lend_locks. */
static void lock_two(struct dc_file *a, struct dc_file *b, bool locked[2]) {
	bool swap = a > b;
	locked[swap ? 1 : 0] = dc_file_lock(swap ? b : a);
	locked[swap ? 0 : 1] = a == b ? false : dc_file_lock(swap ? a : b);
}

static int64_t copy_carried(struct dc_file *from, off64_t *from_offset, struct dc_file *to, off64_t *to_offset, size_t length) {
	bool locked[2];
	lock_two(from, to, locked);
	off_t read_at = from_offset ? *from_offset : atomic_load(&from->offset), write_at = to_offset ? *to_offset : atomic_load(&to->offset);
	int64_t result = copy_inside(from, read_at, to, write_at, length);
	if (result > 0) {
		if (from_offset) *from_offset += result;
		else atomic_store(&from->offset, read_at + result);
		if (to_offset) *to_offset += result;
		else atomic_store(&to->offset, write_at + result);
	}
	dc_file_unlock(from, locked[0]);
	dc_file_unlock(to, locked[1]);
	return result;
}

static bool unshared(const struct dc_file *file, const off64_t *offset) {
	return offset || !atomic_load(&file->shared);
}

/*
 * One end is ours, the other on another filesystem: since Linux 5.19 copy_file_range(2) refuses that, after what it checks before, and to be told so needs no descriptor of the kernel door's. Every
 * `cat` and `cp` asks. -errno, or DC_RESULT_KERNEL where the kernel may do it: by splice, between two FUSE mounts.
 */
static int64_t copy_across(struct dc_file *ours, int theirs, bool out_of_ours) {
	struct stat st;
	struct statfs fs;
	long flags = k_fcntl(theirs, F_GETFL, 0);
	if (flags < 0 || k_stat(theirs, "", &st, AT_EMPTY_PATH) < 0) return -EBADF;
	if (flags & O_PATH || ours->flags & O_PATH) return -EBADF;
	if (S_ISDIR(st.st_mode) || ours->directory) return -EISDIR;
	if (!S_ISREG(st.st_mode)) return -EINVAL;
	if (dc_raw6(SYS_fstatfs, theirs, (long)&fs, 0, 0, 0, 0) < 0 || fs.f_type == FUSE_SUPER_MAGIC) return DC_RESULT_KERNEL;
	int in = out_of_ours ? ours->flags : (int)flags, out = out_of_ours ? (int)flags : ours->flags;
	bool appends = out_of_ours ? (flags & O_APPEND) != 0 : atomic_load(&ours->append);
	return (in & O_ACCMODE) == O_WRONLY || (out & O_ACCMODE) == O_RDONLY || appends ? -EBADF : -EXDEV;
}

EXPORT ssize_t copy_file_range(int in, off64_t *in_offset, int out, off64_t *out_offset, size_t length, unsigned flags) {
	struct dc_file *from = flags ? NULL : dc_file_get(in), *to = flags ? NULL : dc_file_get(out);
	int64_t result = DC_RESULT_KERNEL;
	if (from && to && from->instance == to->instance && from->client == to->client && unshared(from, in_offset) && unshared(to, out_offset))
		result = copy_carried(from, in_offset, to, out_offset, length);
	else if ((from || to) && !(from && to) && !flags)
		result = copy_across(from ? from : to, from ? out : in, from != NULL);
	dc_file_put(from);
	dc_file_put(to);
	if (result != DC_RESULT_KERNEL) return dc_return(result);
	struct lent source, target;
	lend(&source, in, in_offset == NULL, DC_UNCARRIED_copy);
	lend(&target, out, out_offset == NULL, DC_UNCARRIED_copy);
	lend_locks(&source, &target);
	ssize_t count = NEXT(copy_file_range)(in, in_offset, out, out_offset, length, flags);
	take_back(&target);
	take_back(&source);
	return count;
}

/* ---- descriptors that leave the process --------------------------------------------------------------------------------------- */
static void share_rights(const struct msghdr *message) {
	if (!message || !message->msg_controllen) return;
	if (dc_borrowed) dc_children_escaped();
	if (!dc_active()) return;
	struct msghdr copy = *message;
	for (struct cmsghdr *header = CMSG_FIRSTHDR(&copy); header; header = CMSG_NXTHDR(&copy, header)) {
		if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS || header->cmsg_len < CMSG_LEN(0)) continue;
		size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
			if (fd >= 0 && fd < DC_FD_MAX && dc_known[fd] == DC_KNOWN_PARENTS) dc_children_escaped();
			if (dc_share_fd(fd)) {
				dc_uncarried(DC_UNCARRIED_sendmsg);
				dc_children_escaped();
			}
		}
	}
}

static void receive_rights(const struct msghdr *message) {
	if (!dc_active() || !message->msg_controllen) return;
	struct msghdr copy = *message;
	for (struct cmsghdr *header = CMSG_FIRSTHDR(&copy); header; header = CMSG_NXTHDR(&copy, header)) {
		if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS || header->cmsg_len < CMSG_LEN(0)) continue;
		size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
			dc_forget_new(fd);
		}
	}
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
	dc_upgrade_fd(fd, DC_UNCARRIED_kind);
	share_rights(message);
	return NEXT(sendmsg)(fd, message, flags);
}

EXPORT int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags) {
	for (unsigned i = 0; messages && i < count; i++) share_rights(&messages[i].msg_hdr);
	return NEXT(sendmmsg)(fd, messages, count, flags);
}

EXPORT ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
	dc_upgrade_fd(fd, DC_UNCARRIED_kind);
	ssize_t result = NEXT(recvmsg)(fd, message, flags);
	if (result >= 0) receive_rights(message);
	return result;
}

EXPORT int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout) {
	int result = NEXT(recvmmsg)(fd, messages, count, flags, timeout);
	for (int i = 0; i < result; i++) receive_rights(&messages[i].msg_hdr);
	return result;
}

EXPORT int name_to_handle_at(int dirfd, const char *path, struct file_handle *handle, int *mount, int flags) {
	dc_upgrade_fd(dirfd, DC_UNCARRIED_handle_at);
	return NEXT(name_to_handle_at)(dirfd, path, handle, mount, flags);
}

/* The kernel tells what it did itself: changes that other processes make through the library are seen as far as the service tells the kernel of them. */
EXPORT int inotify_add_watch(int fd, const char *path, uint32_t mask) {
	struct dc_place place;
	if (dc_active() && !dc_bad_address(path) && path[0] == '/' && dc_mounts_match(path, &place)) dc_uncarried(DC_UNCARRIED_inotify);
	return NEXT(inotify_add_watch)(fd, path, mask);
}

/* ---- POSIX asynchronous I/O: glibc's threads read and write unseen ------------------------------------------------------------- */
static void lend_aio(const struct aiocb *request) {
	if (request) dc_upgrade_fd(request->aio_fildes, DC_UNCARRIED_aio);
}

EXPORT int aio_read(struct aiocb *request) {
	lend_aio(request);
	return NEXT(aio_read)(request);
}
ALIAS(aio_read64, aio_read);

EXPORT int aio_write(struct aiocb *request) {
	lend_aio(request);
	return NEXT(aio_write)(request);
}
ALIAS(aio_write64, aio_write);

EXPORT int aio_fsync(int operation, struct aiocb *request) {
	lend_aio(request);
	return NEXT(aio_fsync)(operation, request);
}
ALIAS(aio_fsync64, aio_fsync);

EXPORT int lio_listio(int mode, struct aiocb *const list[restrict], int count, struct sigevent *restrict event) {
	for (int i = 0; list && i < count; i++) lend_aio(list[i]);
	return NEXT(lio_listio)(mode, list, count, event);
}
ALIAS(lio_listio64, lio_listio);

/* libaio: its own system calls, its own exported names. `iocb` as the kernel lays it out. */
struct kernel_iocb {
	uint64_t data;
	uint32_t key, rw_flags;
	uint16_t opcode;
	int16_t priority;
	uint32_t fd;
};
int io_submit(void *context, long count, struct kernel_iocb **list);
EXPORT int io_submit(void *context, long count, struct kernel_iocb **list) {
	for (long i = 0; list && i < count; i++)
		if (list[i]) dc_upgrade_fd((int)list[i]->fd, DC_UNCARRIED_aio);
	return NEXT(io_submit)(context, count, list);
}
