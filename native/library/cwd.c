/*
 * cwd.c - the working directory. chdir is always the kernel's, so getcwd and everything unhooked are right; where it leads below a mount a directory handle is adopted for it at
 * the first relative path.
 */
#include "internal.h"

enum { UNKNOWN, KERNEL, CARRIED, EARLY }; /* early: below a mount, not adopted yet */

static _Atomic(struct dc_file *) cwd;
static _Atomic uint64_t state;     /* {generation, UNKNOWN | KERNEL | CARRIED | EARLY} */
static _Atomic int untracked;

static struct dc_file *adopt(bool *early) {
	struct stat st;
	struct dc_place place;
	if (k_stat(AT_FDCWD, ".", &st, 0) < 0 || !dc_mounts_device(st.st_dev, &place)) return NULL;
	if (dc_mounts_nested(place.entry)) {
		dc_uncarried(DC_UNCARRIED_nested);
		return NULL;
	}
	*early = dc_early();
	struct dc_client *client = *early ? NULL : dc_session();
	struct dc_file *file = client ? dc_file_of_node(client, &place, &st, -1, O_PATH | O_DIRECTORY) : NULL;
	if (!file) return NULL;
	long length = dc_raw6(SYS_getcwd, (long)file->hint, sizeof file->hint, 0, 0, 0, 0);
	file->hint_length = length > 1 && file->hint[0] == '/' ? (uint16_t)(length - 1) : 0;
	return file;
}

struct dc_file *dc_cwd(void) {
	for (;;) {
		uint64_t seen = atomic_load_explicit(&state, memory_order_acquire);
		if ((seen & 3) == KERNEL || atomic_load_explicit(&untracked, memory_order_relaxed)) return NULL;
		if ((seen & 3) == CARRIED) {
			if (__builtin_expect(!dc_session_if_ready(), 0)) {
				dc_forked_child(NULL);
				continue;
			}
			struct dc_file *file = atomic_load_explicit(&cwd, memory_order_acquire);
			if (!file) continue;
			uint64_t references = atomic_load(&file->references);
			while (references && !atomic_compare_exchange_weak(&file->references, &references, references + 1)) continue;
			if (references && atomic_load(&cwd) == file && atomic_load(&state) == seen) return file;
			if (references) dc_file_put(file);
			continue;
		}
		if ((seen & 3) == EARLY && dc_early()) return NULL;
		bool early = false;
		struct dc_file *file = adopt(&early);
		if (!file) {
			atomic_compare_exchange_strong(&state, &seen, (seen & ~UINT64_C(3)) | (early ? EARLY : KERNEL));
			return NULL;
		}
		struct dc_file *none = NULL;
		if (!atomic_compare_exchange_strong(&cwd, &none, file)) {
			dc_file_put(file); /* another thread was quicker, or has not taken the old one away yet */
			if (atomic_load(&state) == seen) dc_cwd_drop(true);
			continue;
		}
		if (!atomic_compare_exchange_strong(&state, &seen, (seen & ~UINT64_C(3)) | CARRIED)) dc_cwd_drop(true);
	}
}

bool dc_cwd_early(void) { return (atomic_load_explicit(&state, memory_order_relaxed) & 3) == EARLY; }

void dc_cwd_changed(void) {
	if (dc_active()) dc_cwd_drop(true);
}

void dc_cwd_drop(bool close_handle) {
	uint64_t seen = atomic_load(&state);
	while (!atomic_compare_exchange_weak(&state, &seen, ((seen >> 2) + 1) << 2 | UNKNOWN)) continue;
	struct dc_file *file = atomic_exchange(&cwd, NULL);
	if (file && !close_handle) file->handle = 0;
	dc_file_put(file);
}

void dc_cwd_untracked(int change) {
	atomic_fetch_add(&untracked, change);
	dc_cwd_changed();
}

/* ---- wrappers -------------------------------------------------------------------------------------------------------------- */
EXPORT int chdir(const char *path) {
	if (dc_active() && !dc_bad_address(path) && path[0] == '/') dc_upgrade_proc_path(path);
	int result = NEXT(chdir)(path);
	if (result == 0) dc_cwd_changed();
	return result;
}

EXPORT int fchdir(int fd) {
	dc_upgrade_fd(fd, DC_UNCARRIED_fchdir);
	int result = NEXT(fchdir)(fd);
	if (result == 0) dc_cwd_changed();
	return result;
}

/* Absolute paths mean something else afterwards: the kernel resolves them. */
EXPORT int chroot(const char *path) {
	int result = NEXT(chroot)(path);
	if (result == 0 && !dc_borrowed) dc_absolute_stopped = true;
	dc_cwd_changed();
	return result;
}

/* ---- umask: the service is told the mode with the mask applied -------------------------------------------------------------- */
static _Atomic int mask = -1;

static int read_mask(void) {
	char text[1024];
	int fd = k_open(AT_FDCWD, "/proc/thread-self/status", O_RDONLY | O_CLOEXEC);
	long size = fd < 0 ? fd : k_read(fd, text, sizeof text - 1);
	if (fd >= 0) k_close(fd);
	if (size > 0) {
		text[size] = 0;
		const char *found = strstr(text, "Umask:\t");
		if (found) {
			int value = 0;
			for (found += 7; *found >= '0' && *found <= '7'; found++) value = value * 8 + (*found - '0');
			return value;
		}
	}
	int value = (int)dc_raw6(SYS_umask, 077, 0, 0, 0, 0, 0); /* no /proc */
	dc_raw6(SYS_umask, value, 0, 0, 0, 0, 0);
	return value;
}

mode_t dc_umask(void) {
	int value = atomic_load_explicit(&mask, memory_order_relaxed);
	if (value < 0) {
		int unknown = -1;
		value = read_mask();
		if (!atomic_compare_exchange_strong(&mask, &unknown, value)) value = unknown;
	}
	return (mode_t)value;
}

EXPORT mode_t umask(mode_t value) {
	mode_t before = (mode_t)dc_raw6(SYS_umask, value, 0, 0, 0, 0, 0);
	if (!dc_borrowed) atomic_store(&mask, (int)(value & 0777));
	return before;
}
