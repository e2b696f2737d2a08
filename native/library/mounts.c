/*
 * mounts.c - which paths belong to an instance. The table is pool-init's, mapped read-only; a sequence number tells when it changed while it was read.
 */
#include "dispatch.h"
#include "internal.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <sys/mman.h>

bool dc_activated;
bool dc_started;
bool dc_absolute_stopped;
char dc_pool_dir[512];
char dc_library_path[512];
int dc_log_level;
static const struct dc_mounts *mounts;

/*
 * `path` below `mount` (both absolute, `mount` normalized)? Answers what follows, or NULL. Doubled slashes and "." are skipped; ".." before or right behind the mount's own path is the
 * kernel's to resolve.
 */
static const char *below(const char *path, const char *mount, uint32_t length) {
	const char *end = mount + length;
	if (length == 1) mount = end; /* "/" */
	for (;;) {
		while (*path == '/') path++;
		while (path[0] == '.' && (path[1] == '/' || path[1] == 0)) {
			path++;
			while (*path == '/') path++;
		}
		if (mount == end) return path[0] == '.' && path[1] == '.' && (path[2] == '/' || path[2] == 0) ? NULL : path;
		mount++; /* its slash */
		while (mount < end && *mount != '/' && *path == *mount) path++, mount++;
		if ((mount < end && *mount != '/') || (*path != 0 && *path != '/')) return NULL;
	}
}

/* Reads under the sequence lock; `found` decides per entry. */
static const struct dc_mount_entry *usable(uint32_t i) {
	const struct dc_mount_entry *entry = &mounts->entry[i];
	return entry->instance && entry->path_length && entry->path_length < sizeof entry->path && (entry->flags & DC_MOUNT_CARRIED) ? entry : NULL;
}

static uint32_t entry_count(void) {
	uint32_t count = *(const volatile uint32_t *)&mounts->count;
	return count < DC_MOUNTS_MAX ? count : DC_MOUNTS_MAX;
}

static uint64_t read_begin(void) {
	uint64_t generation;
	while ((generation = atomic_load_explicit(&((struct dc_mounts *)mounts)->generation, memory_order_acquire)) & 1) continue;
	return generation;
}

static bool read_again(uint64_t generation) {
	atomic_thread_fence(memory_order_acquire);
	return atomic_load_explicit(&((struct dc_mounts *)mounts)->generation, memory_order_relaxed) != generation;
}

bool dc_mounts_match(const char *path, struct dc_place *place) {
	uint64_t generation;
	bool found;
	do {
		generation = read_begin();
		found = false;
		uint32_t best = 0;
		for (uint32_t i = 0; i < entry_count(); i++) {
			const struct dc_mount_entry *entry = usable(i);
			if (!entry || entry->path_length < best) continue;
			const char *rest = below(path, entry->path, entry->path_length);
			if (!rest) continue;
			best = entry->path_length;
			*place = (struct dc_place){.instance = entry->instance, .entry = i, .device = entry->device, .rest = rest};
			found = true;
		}
	} while (read_again(generation));
	return found;
}

bool dc_mounts_device(uint64_t device, struct dc_place *place) {
	uint64_t generation;
	bool found;
	do {
		generation = read_begin();
		found = false;
		for (uint32_t i = 0; i < entry_count() && !found; i++) {
			const struct dc_mount_entry *entry = usable(i);
			if (!entry || entry->device != device) continue;
			place->instance = entry->instance;
			place->entry = i;
			place->device = device;
			found = true;
		}
	} while (read_again(generation));
	return found;
}

size_t dc_mounts_point(uint32_t instance, uint32_t i, char *out) {
	uint64_t generation;
	size_t length;
	do {
		generation = read_begin();
		const struct dc_mount_entry *entry = &mounts->entry[i];
		length = entry->instance == instance && entry->path_length < sizeof entry->path ? entry->path_length : 0;
		memcpy(out, entry->path, length);
		out[length] = 0;
	} while (read_again(generation));
	return length;
}

unsigned dc_mounts_instances(uint32_t *out, unsigned space) {
	uint64_t generation;
	unsigned count;
	do {
		generation = read_begin();
		count = 0;
		for (uint32_t i = 0; i < entry_count() && count < space; i++)
			if (usable(i)) out[count++] = mounts->entry[i].instance;
	} while (read_again(generation));
	return count;
}

bool dc_mounts_nested(uint32_t self) {
	uint64_t generation;
	bool nested;
	do {
		generation = read_begin();
		nested = false;
		const struct dc_mount_entry *outer = &mounts->entry[self];
		for (uint32_t i = 0; i < entry_count() && !nested; i++) {
			const struct dc_mount_entry *entry = &mounts->entry[i];
			if (i == self || !entry->instance || entry->path_length <= outer->path_length) continue;
			nested = below(entry->path, outer->path, outer->path_length) != NULL;
		}
	} while (read_again(generation));
	return nested;
}

void dc_log(int level, const char *text, const char *subject) {
	if (dc_log_level < level) return;
	struct iovec parts[] = {{(char *)"diciclo: ", 9}, {(char *)text, strlen(text)}, {(char *)" ", 1}, {(char *)subject, strlen(subject)}, {(char *)"\n", 1}};
	dc_raw6(SYS_writev, 2, (long)parts, 5, 0, 0, 0);
}

int dc_mounts_start(const char *directory) {
	if (!directory || directory[0] != '/' || strlen(directory) + 20 > sizeof dc_pool_dir) return -EINVAL;
	char path[sizeof dc_pool_dir + 16];
	strcpy(path, directory);
	strcat(path, "/mounts");
	int fd = k_open(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) return fd;
	long address = dc_raw6(SYS_mmap, 0, sizeof(struct dc_mounts), PROT_READ, MAP_SHARED, fd, 0);
	k_close(fd);
	if (address < 0 && address > -4096) return (int)address;
	const struct dc_mounts *found = (const struct dc_mounts *)address;
	if (found->magic != DC_MOUNTS_MAGIC || found->version != DC_LAYOUT_VERSION) {
		dc_log(1, "mount table of another version:", path);
		dc_raw6(SYS_munmap, address, sizeof *found, 0, 0, 0, 0);
		return -EPROTO;
	}
	mounts = found;
	strcpy(dc_pool_dir, directory);
	Dl_info info;
	if (dladdr((void *)dc_mounts_start, &info) && info.dli_fname && strlen(info.dli_fname) < sizeof dc_library_path) strcpy(dc_library_path, info.dli_fname);
	dc_session_init();
	dc_activated = true;
	return 0;
}

/* As little as possible: a process that never touches a mount pays for this and nothing else. */
__attribute__((constructor)) static void start(void) {
	/* Not of who runs a set-user-id program: it would answer that program's file calls. */
	const char *directory = secure_getenv("DICICLO_POOL_DIR"), *level = secure_getenv("DICICLO_LOG");
	const char *patience = secure_getenv("DICICLO_PATIENCE");
	if (level) dc_log_level = level[0] - '0';
	if (patience && patience[0] >= '0' && patience[0] <= '9') dc_patience = atoi(patience);
	bool active = directory && dc_mounts_start(directory) == 0;
	const char *syscalls = active ? secure_getenv("DICICLO_SYSCALLS") : NULL;
	if (syscalls && !strcmp(syscalls, "dispatch") && dc_dispatch_start() < 0) dc_log(0, "system call dispatch needs Linux 5.11 on x86-64: off in", program_invocation_short_name);
	dc_started = true;
}
