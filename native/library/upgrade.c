/*
 * upgrade.c - turns placeholders into the kernel door's own descriptors, in place and under the same numbers, before the kernel must act on them.
 *
 * The twin is opened by the path that the application used, if that still leads to the same file (then /proc/self/fd shows that path), else by the handle's name below the mount point,
 * a directory by the path that leads to it now (where.c).
 */
#include "internal.h"

#include <stdio.h>

#include "queue.h"

static _Atomic uint32_t descriptors_lock;

/* Serializes what changes several numbers of one description. Not on the way of reads and writes. False: this thread holds it already. */
bool dc_descriptors_lock(void) {
	uint32_t self = dc_tid();
	for (;;) {
		uint32_t seen = 0;
		if (atomic_compare_exchange_strong(&descriptors_lock, &seen, self)) return true;
		if (seen == self) return false;
		dc_futex_wait(&descriptors_lock, seen, 1000000);
	}
}

void dc_descriptors_unlock(bool locked) {
	if (!locked) return;
	atomic_store(&descriptors_lock, 0);
	dc_futex_wake(&descriptors_lock, 1);
}

void dc_descriptors_reset(void) {
	atomic_store(&descriptors_lock, 0);
}

#define TWIN_FLAGS (O_ACCMODE | O_SYNC | O_DSYNC | O_DIRECT | O_NOATIME | O_NONBLOCK | O_PATH)

static int open_same(const char *path, int flags, const struct dc_file *file) {
	int fd = k_open(AT_FDCWD, path, flags | O_CLOEXEC | O_NOCTTY | (file->flags & O_PATH ? O_NOFOLLOW : 0));
	if (fd < 0) return fd;
	struct stat st;
	int error = k_stat(fd, "", &st, AT_EMPTY_PATH);
	if (error == 0 && st.st_ino == file->ino && st.st_dev == file->device) return fd;
	k_close(fd);
	return error ? error : -ESTALE;
}

int dc_open_twin(const struct dc_file *file) {
	int flags = (file->flags & TWIN_FLAGS) | (atomic_load(&file->append) ? O_APPEND : 0) | (file->directory ? O_DIRECTORY : 0);
	if (file->hint_length) {
		int fd = open_same(file->hint, flags, file);
		if (fd >= 0) return fd;
	}
	if (file->directory) {
		char now[PATH_MAX];
		int error = dc_directory_path(file, now);
		return error ? error : open_same(now, flags, file);
	}
	char path[1000 + 64];
	size_t length = dc_mounts_point(file->instance, file->entry, path);
	if (!length) return -EIO;
	static const char digits[] = "0123456789abcdef";
	char *end = path + length;
	if (end[-1] != '/') *end++ = '/';
	end = stpcpy(end, ".diciclo-handle-");
	_Static_assert(sizeof DC_DOOR_HANDLE_NAME == sizeof ".diciclo-handle-%016llx", "the name below");
	for (int shift = 60; shift >= 0; shift -= 4) *end++ = digits[file->handle >> shift & 15];
	*end = 0;
	return open_same(path, flags, file);
}

int dc_upgrade(struct dc_file *file) {
	if (atomic_load_explicit(&file->kernel, memory_order_acquire)) return 0;
	bool locked = dc_descriptors_lock();
	int result = 0;
	if (!atomic_load(&file->kernel)) {
		int twin = dc_open_twin(file);
		result = twin < 0 ? twin : 0;
		if (twin >= 0) {
			if (!(file->flags & O_PATH) && !file->directory) k_lseek(twin, atomic_load(&file->offset), SEEK_SET);
			dc_numbers_begin();
			for (int fd = 0; fd <= atomic_load(&dc_table_high); fd++) {
				if (atomic_load(&dc_table[fd]) != file) continue;
				long cloexec = k_fcntl(fd, F_GETFD, 0);
				k_dup3(twin, fd, cloexec > 0 && (cloexec & FD_CLOEXEC) ? O_CLOEXEC : 0);
			}
			k_close(twin);
			atomic_store_explicit(&file->kernel, true, memory_order_release);
			dc_numbers_end();
		}
	}
	dc_descriptors_unlock(locked);
	if (result < 0) dc_log(1, "no kernel descriptor for", file->hint_length ? file->hint : "a file");
	return result;
}

int dc_upgrade_fd(int fd, enum dc_uncarried why) {
	struct dc_file *file = dc_file_in_table(fd);
	if (!file) return 0;
	if (why < DC_UNCARRIED_COUNT) dc_uncarried(why);
	dc_kernel_wanted(file);
	int result = dc_upgrade(file);
	dc_file_put(file);
	return result;
}

/* From now on the kernel's offset is the truth. */
static void share(struct dc_file *file, bool forked) {
	if (!atomic_load(&file->kernel)) dc_kernel_wanted(file);
	if (dc_upgrade(file) < 0) return;
	if (!forked) atomic_store(&file->forked, false);
	if (atomic_load(&file->shared)) return;
	bool locked = dc_file_lock(file);
	if (!(file->flags & O_PATH)) {
		for (int fd = 0; fd <= atomic_load(&dc_table_high); fd++) {
			if (atomic_load(&dc_table[fd]) != file) continue;
			k_lseek(fd, atomic_load(&file->offset), SEEK_SET);
			break;
		}
	}
	atomic_store(&file->forked, forked);
	atomic_store(&file->shared, true);
	dc_file_unlock(file, locked);
}

void dc_share_file(struct dc_file *file) {
	share(file, false);
}

int dc_share_fd(int fd) {
	dc_early_shared(fd);
	struct dc_file *file = dc_file_in_table(fd);
	if (!file) return 0;
	dc_share_file(file);
	dc_file_put(file);
	return 1;
}

void dc_share_table(enum dc_share which) {
	if (!dc_active()) return;
	if (which == DC_SHARE_FORK) dc_early_forks();
	else dc_early_share_all(which == DC_SHARE_INHERITABLE);
	if (!dc_session_if_ready()) return;
	for (int fd = 0; fd <= atomic_load(&dc_table_high); fd++) {
		if (!atomic_load(&dc_table[fd])) continue;
		long cloexec = which == DC_SHARE_INHERITABLE ? k_fcntl(fd, F_GETFD, 0) : 0;
		if (cloexec < 0 || (cloexec & FD_CLOEXEC)) continue;
		struct dc_file *file = dc_file_find(fd);
		if (file) share(file, which == DC_SHARE_FORK);
		dc_file_put(file);
	}
}

/* /proc/self/fd/N, /dev/fd/N, /dev/stdin ...: the number, or -1. */
int dc_proc_fd(const char *path) {
	const char *name = NULL;
	if (!strncmp(path, "/dev/", 5)) {
		path += 5;
		if (!strncmp(path, "fd/", 3)) name = path + 3;
		else if (!strcmp(path, "stdin")) name = "0";
		else if (!strcmp(path, "stdout")) name = "1";
		else if (!strcmp(path, "stderr")) name = "2";
	} else if (!strncmp(path, "/proc/", 6)) {
		name = strstr(path, "/fd/");
		if (name) name += 4;
	}
	if (!name || *name < '0' || *name > '9') return -1;
	int fd = 0;
	for (; *name >= '0' && *name <= '9' && fd < DC_FD_MAX; name++) fd = fd * 10 + (*name - '0');
	return *name && *name != '/' ? -1 : fd;
}

/* A path that the kernel resolves through one of our descriptors. */
void dc_upgrade_proc_path(const char *path) {
	int fd = dc_proc_fd(path);
	if (fd >= 0) dc_upgrade_fd(fd, DC_UNCARRIED_proc);
}
