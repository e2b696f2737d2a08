/*
 * locks.c - locks are the kernel's, on the kernel door's descriptor: valid between processes and doors.
 *
 * POSIX locks belong to process and file, and *any* close of the file by the process gives them back. So a close must reach the kernel, and an upgrade, which closes the number that it
 * opened, must not happen to a file that is locked already. Hence: before the first lock on a file all its descriptions here get their kernel descriptors; later opens of it get
 * them at once (open.c). Which files those are is remembered for the process's life; more than fit means all.
 */
#include "internal.h"

#include <sys/file.h>

#define FILES 64u

static _Atomic uint32_t known; /* entries; FILES + 1: too many */
static struct {
	_Atomic uint64_t device, ino; /* ino is written last */
} files[FILES];

static bool is_known(uint64_t device, uint64_t ino) {
	uint32_t count = atomic_load_explicit(&known, memory_order_acquire);
	if (count > FILES) return true;
	for (uint32_t i = 0; i < count; i++)
		if (atomic_load(&files[i].ino) == ino && atomic_load(&files[i].device) == device) return true;
	return false;
}

bool dc_locks_any(const struct dc_file *file) { return is_known(file->device, file->ino); }

static void note(uint64_t device, uint64_t ino) {
	if (is_known(device, ino)) return;
	uint32_t place = atomic_fetch_add(&known, 1);
	if (place < FILES) {
		atomic_store(&files[place].device, device);
		atomic_store(&files[place].ino, ino);
	} else {
		atomic_store(&known, FILES + 1);
	}
	for (int fd = 0; fd <= atomic_load(&dc_table_high); fd++) {
		struct dc_file *other = dc_file_in_table(fd);
		if (other && other->ino == ino && other->device == device) dc_upgrade(other);
		dc_file_put(other);
	}
}

/* Before a lock is asked for. 0 or -errno. */
int dc_locks_prepare(struct dc_file *file) {
	int error = dc_upgrade(file);
	if (!error) note(file->device, file->ino);
	return error;
}

void dc_locks_of_kernel(int fd) {
	struct stat st;
	struct dc_place place;
	if (!dc_active() || (unsigned)fd >= DC_FD_MAX || dc_known[fd] < DC_KNOWN_PARENTS) return;
	if (k_stat(fd, "", &st, AT_EMPTY_PATH) == 0 && dc_mounts_device(st.st_dev, &place)) note(st.st_dev, st.st_ino);
}

EXPORT int flock(int fd, int operation) {
	dc_upgrade_fd(fd, DC_UNCARRIED_flock);
	return NEXT(flock)(fd, operation);
}

/* glibc's calls fcntl without being seen; it counts from the current offset. */
EXPORT int lockf(int fd, int command, off_t length) {
	struct dc_file *file = dc_file_in_table(fd);
	if (file) {
		dc_uncarried(DC_UNCARRIED_lock);
		int error = dc_locks_prepare(file);
		if (!error && !atomic_load(&file->shared)) k_lseek(fd, atomic_load(&file->offset), SEEK_SET);
		dc_file_put(file);
		if (error) return (int)dc_return(error);
	} else {
		dc_locks_of_kernel(fd);
	}
	return NEXT(lockf)(fd, command, length);
}
ALIAS(lockf64, lockf);
