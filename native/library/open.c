/*
 * open.c - the open family. An open that the service answers gets a real descriptor: a placeholder, or the kernel door's own where the kernel knows the file and is likely to need it.
 */
#include "internal.h"
#include "leases.h"

#include <stdarg.h>

/*
 * Whether the kernel had to act on the last files that were opened for reading (mapped them, mostly): then the kernel's descriptor is taken at once where the kernel knows the file, which costs
 * less than an upgrade, but 20 us where a placeholder takes 1.
 */
static _Atomic int8_t wanted;
#define WANTED_MAX 4

void dc_kernel_wanted(const struct dc_file *file) {
	if (!file->directory && (file->flags & O_ACCMODE) == O_RDONLY && atomic_load_explicit(&wanted, memory_order_relaxed) != WANTED_MAX) atomic_store_explicit(&wanted, WANTED_MAX, memory_order_relaxed);
}

static bool is_wanted(void) {
	int8_t now = atomic_load_explicit(&wanted, memory_order_relaxed);
	if (now > 0) atomic_store_explicit(&wanted, (int8_t)(now - 1), memory_order_relaxed);
	return now > 0;
}

/*
 * The kernel's descriptor of the same file, if it can be had without side effects; else a placeholder. For reading only: what is written through the library makes the kernel forget what
 * it knew, and each such open would have it ask again (49 us).
 */
static int descriptor(const struct dc_walk *walk, struct dc_file *file, bool kernel_knows, int flags, int reserved) {
	bool by_path = walk->path[0] == '/' || walk->dirfd == AT_FDCWD;
	bool known = kernel_knows && by_path && (flags & (O_ACCMODE | O_TRUNC | O_CREAT)) == O_RDONLY && !(flags & O_PATH) && is_wanted();
	bool twin = atomic_load(&dc_ringed) || (dc_locks_any(file) && !file->directory);
	if (reserved >= 0 && (known || twin || file->directory != !!(flags & O_DIRECTORY))) {
		k_close(reserved); /* not replaced by a copy: to close the original would end this process's locks on the file */
		reserved = -1;
	}
	if (known) {
		int fd = k_open(AT_FDCWD, walk->path, flags);
		if (fd >= 0 && dc_names_file(fd, file)) {
			atomic_store(&file->kernel, true);
			return fd;
		}
		if (fd >= 0) k_close(fd);
	}
	if (twin) {
		int fd = dc_open_twin(file);
		if (fd >= 0) {
			if (!(flags & O_CLOEXEC)) k_fcntl(fd, F_SETFD, 0);
			atomic_store(&file->kernel, true);
			return fd;
		}
	}
	return reserved >= 0 ? reserved : dc_placeholder(file->instance, file->entry, file->directory, flags & O_CLOEXEC);
}

static void keep_hint(struct dc_file *file, const struct dc_walk *walk, const struct dc_file *base) {
	const char *path = walk->path;
	size_t length = strnlen(path, DC_HINT_MAX), before = 0;
	if (path[0] != '/') {
		before = base ? base->hint_length : 0;
		if (!before || before + 1 + length >= DC_HINT_MAX) return;
		memcpy(file->hint, base->hint, before);
		file->hint[before++] = '/';
	}
	if (length == 0 || before + length >= DC_HINT_MAX) return;
	memcpy(file->hint + before, path, length);
	file->hint[before + length] = 0;
	file->hint_length = (uint16_t)(before + length);
}

/* The service has the file open: makes the description and its number. Ends the walk. */
static int attach_descriptor(struct dc_walk *walk, int flags, int reserved) {
	struct dc_file *file = dc_file_new();
	struct dc_slot *slot = walk->call.slot;
	if (!file) {
		dc_walk_end(walk); /* the handle stays until the process ends: more open descriptions than there are numbers */
		if (reserved >= 0) k_close(reserved);
		return -ENFILE;
	}
	bool kernel_knows = slot->value[1] != 0;
	file->handle = slot->value[0];
	file->ino = slot->attr.ino;
	file->directory = S_ISDIR(slot->attr.mode);
	file->client = walk->client;
	file->instance = walk->place.instance;
	file->entry = walk->place.entry;
	file->device = walk->place.device;
	bool temporary = (flags & O_TMPFILE) == O_TMPFILE;
	file->nameless = temporary && flags & O_EXCL;
	atomic_store(&file->append, flags & O_APPEND && !(flags & O_PATH));
	file->flags = (flags & ~(O_CREAT | O_EXCL | O_TRUNC | O_CLOEXEC | O_NOCTTY | O_APPEND | (temporary ? O_TMPFILE : 0))) & ~(flags & O_PATH ? O_ACCMODE : 0);
	dc_lease_place(file, slot->value[2]);
	if (!temporary) keep_hint(file, walk, walk->base);
	dc_walk_end(walk);
	int fd = descriptor(walk, file, kernel_knows, flags, reserved);
	if (fd >= 0 && fd < DC_FD_MAX) {
		dc_table_set(fd, file);
		dc_placeholder_named(fd, file);
		if (fd <= STDERR_FILENO || atomic_load(&dc_ringed)) dc_share_fd(fd); /* glibc's standard streams use it unseen; so may a ring */
		return fd;
	}
	if (fd >= 0) { /* beyond the table: the kernel's own descriptor, not carried */
		k_close(fd);
		dc_uncarried(DC_UNCARRIED_descriptor);
		walk->kernel = true;
		fd = (int)DC_RESULT_KERNEL;
	}
	dc_file_put(file);
	return fd;
}

/* Whether the last opens of what is there ended with a placeholder: then the next one's number is made while the service looks for the file. */
static _Atomic int8_t luck = 2;

static void learn(bool placeholder) {
	int8_t now = atomic_load_explicit(&luck, memory_order_relaxed), next = placeholder ? now < 3 ? now + 1 : now : 0;
	if (next != now) atomic_store_explicit(&luck, next, memory_order_relaxed);
}

static int open_walk(struct dc_walk *walk, int dirfd, const char *path, int flags, mode_t mode, uint32_t scope) {
	bool makes = flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE, ahead = !makes && atomic_load_explicit(&luck, memory_order_relaxed) >= 2;
	if (makes) mode &= ~dc_umask();
	int reserved = -1; /* with O_CREAT a number before the file: without one nothing may have been made */
	dc_walk_start(walk, dirfd, path, (flags & O_NOFOLLOW ? DC_PATH_NOFOLLOW : 0) | scope);
	if (!makes && !scope) dc_walk_keep(walk, 0);
	for (; dc_walk_next(walk, DC_OP_OPEN); dc_walk_send(walk)) {
		walk->call.slot->mask = (uint32_t)flags & ~(uint32_t)(O_CLOEXEC | O_APPEND); /* each write says whether it appends: F_SETFL may change it */
		walk->call.slot->mode = mode & 07777;
		if (!(flags & O_CREAT) && !ahead) continue;
		if (ahead) dc_walk_post(walk);
		if (reserved >= 0) k_close(reserved); /* led on, perhaps into another instance */
		reserved = dc_placeholder(walk->place.instance, walk->place.entry, flags & O_DIRECTORY, flags & O_CLOEXEC);
		if (flags & O_CREAT && (reserved == -EMFILE || reserved == -ENFILE)) {
			dc_walk_end(walk);
			return reserved;
		}
	}
	bool opened = !walk->kernel && walk->result == 0;
	if (!makes && !walk->kept) learn(opened && !(walk->call.slot->value[1] && atomic_load_explicit(&wanted, memory_order_relaxed) > 0));
	if (opened) return attach_descriptor(walk, flags, reserved);
	if (reserved >= 0) k_close(reserved);
	dc_walk_end(walk);
	return walk->kernel ? DC_RESULT_KERNEL : (int)walk->result;
}

int dc_open_carried(int dirfd, const char *path, int flags, mode_t mode, uint32_t scope) {
	if (!dc_active()) return DC_RESULT_KERNEL;
	struct dc_walk walk;
	return open_walk(&walk, dirfd, path, flags, mode, scope);
}

/* Where the walk ended; marked if it is an early one. A nameless file or an O_PATH descriptor is adopted as any other is. */
static int open_by_kernel(const struct dc_walk *walk, int flags, mode_t mode) {
	int fd = dc_forget_new(NEXT(openat)(walk->dirfd, walk->path, flags, mode));
	if (fd >= 0 && walk->early && !(flags & O_PATH) && (flags & O_TMPFILE) != O_TMPFILE) dc_early_opened(fd);
	return fd;
}

int dc_open_at(int dirfd, const char *path, int flags, mode_t mode) {
	if (!dc_active()) return NEXT(openat)(dirfd, path, flags, mode);
	dc_cancellation_point();
	struct dc_walk walk;
	int fd = open_walk(&walk, dirfd, path, flags, mode, 0);
	return fd == DC_RESULT_KERNEL ? open_by_kernel(&walk, flags, mode) : (int)dc_return(fd);
}

int dc_open_early(const char *path, int flags, mode_t mode) {
	struct dc_walk walk;
	int fd = open_walk(&walk, AT_FDCWD, path, flags, mode, 0);
	if (fd != DC_RESULT_KERNEL || !walk.early) return fd;
	fd = open_by_kernel(&walk, flags, mode);
	return fd < 0 ? -errno : fd;
}

static mode_t mode_of(int flags, va_list list) {
	return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(list, mode_t) : 0;
}

EXPORT int open(const char *path, int flags, ...) {
	va_list list;
	va_start(list, flags);
	mode_t mode = mode_of(flags, list);
	va_end(list);
	return dc_open_at(AT_FDCWD, path, flags, mode);
}
ALIAS(open64, open);
ALIAS(__open, open);
ALIAS(__open64, open);

EXPORT int openat(int dirfd, const char *path, int flags, ...) {
	va_list list;
	va_start(list, flags);
	mode_t mode = mode_of(flags, list);
	va_end(list);
	return dc_open_at(dirfd, path, flags, mode);
}
ALIAS(openat64, openat);

EXPORT int creat(const char *path, mode_t mode) {
	return dc_open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}
ALIAS(creat64, creat);

/* What -D_FORTIFY_SOURCE makes of an open without mode. */
int __open_2(const char *path, int flags);
EXPORT int __open_2(const char *path, int flags) {
	return dc_open_at(AT_FDCWD, path, flags, 0);
}
ALIAS(__open64_2, __open_2);

int __openat_2(int dirfd, const char *path, int flags);
EXPORT int __openat_2(int dirfd, const char *path, int flags) {
	return dc_open_at(dirfd, path, flags, 0);
}
ALIAS(__openat64_2, __openat_2);

int dc_close_fd(int fd) {
	if (dc_active() && (unsigned)fd < DC_FD_MAX) {
		dc_known[fd] = 0;
		if (atomic_load_explicit(&dc_table[fd], memory_order_relaxed)) {
			struct dc_file *file = atomic_exchange_explicit(&dc_table[fd], NULL, memory_order_acq_rel);
			/* The service hears of it first, unless its answer is waited for: it need not wait for the kernel to close a placeholder. */
			bool first = file && !atomic_load(&file->kernel) && !atomic_load_explicit(&file->grant, memory_order_relaxed);
			int error = first ? dc_file_put(file) : 0;
			long result = k_close(fd);
			if (!first) error = dc_file_put(file);
			return result < 0 ? (int)result : error;
		}
	}
	return DC_RESULT_KERNEL;
}

EXPORT int close(int fd) {
	dc_cancellation_point();
	int result = dc_close_fd(fd);
	return result == DC_RESULT_KERNEL ? NEXT(close)(fd) : (int)dc_return(result);
}
ALIAS(__close, close);
