/*
 * table.c - descriptors and the open file descriptions behind them.
 *
 * A number is looked up with one load. The description is then referenced and the number looked up again, so that a close and a new open in another thread can never make a call go to
 * the wrong file: descriptions live in memory that is only ever reused for descriptions. Lock-free, so that signal handlers and forked children of threaded processes can use it.
 */
#include "internal.h"

#include <sys/mman.h>
#include <sys/sysmacros.h>

#include "queue.h"

#define CHUNK 128u
#define CHUNKS 1024u
#define WAITERS 0x80000000u

_Atomic(struct dc_file *) dc_table[DC_FD_MAX];
uint8_t dc_known[DC_FD_MAX];
_Atomic int dc_table_high = -1;
int dc_inherited_high = -1;

static _Atomic(struct dc_file *) chunks[CHUNKS];
static _Atomic uint32_t fresh;                /* descriptions never used yet begin here */
static _Atomic uint64_t free_list;            /* {count:32, index + 1:32} */

static struct dc_file *by_index(uint32_t index) {
	_Atomic(struct dc_file *) *place = &chunks[index / CHUNK];
	struct dc_file *chunk = atomic_load_explicit(place, memory_order_acquire);
	if (!chunk) {
		long address = dc_raw6(SYS_mmap, 0, CHUNK * sizeof *chunk, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (address < 0 && address > -4096) return NULL;
		if (atomic_compare_exchange_strong(place, &chunk, (struct dc_file *)address)) chunk = (struct dc_file *)address;
		else dc_raw6(SYS_munmap, address, CHUNK * sizeof *chunk, 0, 0, 0, 0);
	}
	return &chunk[index % CHUNK];
}

struct dc_file *dc_file_new(void) {
	struct dc_file *file;
	uint64_t head = atomic_load_explicit(&free_list, memory_order_acquire);
	while ((uint32_t)head) {
		file = by_index((uint32_t)head - 1);
		uint32_t next = *(volatile uint32_t *)&file->next_free;
		if (atomic_compare_exchange_weak_explicit(&free_list, &head, ((head >> 32) + 1) << 32 | next, memory_order_acq_rel, memory_order_acquire)) goto found;
	}
	uint32_t index = atomic_fetch_add(&fresh, 1);
	if (index >= CHUNK * CHUNKS) {
		atomic_store(&fresh, CHUNK * CHUNKS);
		return NULL;
	}
	file = by_index(index);
	if (!file) return NULL;
	file->index = index;
found:
	file->client = NULL;
	file->handle = 0;
	atomic_store_explicit(&file->lock, 0, memory_order_relaxed);
	atomic_store_explicit(&file->offset, 0, memory_order_relaxed);
	atomic_store_explicit(&file->kernel, false, memory_order_relaxed);
	atomic_store_explicit(&file->shared, false, memory_order_relaxed);
	atomic_store_explicit(&file->forked, false, memory_order_relaxed);
	atomic_store_explicit(&file->append, false, memory_order_relaxed);
	atomic_store_explicit(&file->write_hint, 0, memory_order_relaxed);
	atomic_store_explicit(&file->grant, 0, memory_order_relaxed);
	atomic_store_explicit(&file->lease_epoch, 0, memory_order_relaxed);
	file->directory = file->nameless = false;
	file->hint_length = 0;
	atomic_store_explicit(&file->references, 1, memory_order_release);
	return file;
}

void dc_file_reference(struct dc_file *file) {
	atomic_fetch_add_explicit(&file->references, 1, memory_order_relaxed);
}

static int finish(struct dc_file *file) {
	int64_t result = 0;
	if (file->handle) {
		struct dc_call call;
		dc_call_begin(&call, file->client, DC_OP_CLOSE, file->instance, file->handle);
		/* Only the error of a posted write is worth waiting for. */
		if (atomic_load_explicit(&file->grant, memory_order_relaxed)) {
			result = dc_call_send(&call);
			dc_call_end(&call);
		} else {
			dc_call_leave(&call);
		}
		file->handle = 0;
	}
	uint64_t head = atomic_load_explicit(&free_list, memory_order_relaxed);
	do file->next_free = (uint32_t)head;
	while (!atomic_compare_exchange_weak_explicit(&free_list, &head, ((head >> 32) + 1) << 32 | (file->index + 1), memory_order_acq_rel, memory_order_relaxed));
	return result == -ESTALE ? 0 : (int)result;
}

int dc_file_put(struct dc_file *file) {
	return file && atomic_fetch_sub_explicit(&file->references, 1, memory_order_acq_rel) == 1 ? finish(file) : 0;
}

static bool reference_live(struct dc_file *file) {
	uint64_t references = atomic_load_explicit(&file->references, memory_order_relaxed);
	while (references)
		if (atomic_compare_exchange_weak_explicit(&file->references, &references, references + 1, memory_order_acq_rel, memory_order_relaxed)) return true;
	return false;
}

/*
 * A ring's requests name, open and close numbers without a call that we see. So once there is a ring, every description is the kernel door's own and has its offset there, and each call
 * first asks the kernel whether the number still names that file (two system calls that ask nobody else; what is read or written by number goes on being carried). Another open description
 * of the same file, opened in the same way, is as good.
 */
_Atomic bool dc_ringed;

void dc_ring_made(void) {
	if (!dc_active()) return;
	dc_uncarried(DC_UNCARRIED_uring);
	if (atomic_exchange(&dc_ringed, true)) return;
	dc_share_table(DC_SHARE_ALL); /* whoever opens one meanwhile looks at dc_ringed after it is in the table */
}

static bool still_names(int fd, const struct dc_file *file) {
	struct statx now;
	if (!atomic_load_explicit(&file->kernel, memory_order_acquire)) return true; /* there is no twin to be had */
	if (dc_raw6(SYS_statx, fd, (long)"", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, (long)&now, 0) < 0) return false;
	if (now.stx_ino != file->ino || makedev(now.stx_dev_major, now.stx_dev_minor) != file->device) return false;
	long flags = k_fcntl(fd, F_GETFL, 0);
	return flags >= 0 && ((flags ^ atomic_load_explicit(&file->flags, memory_order_relaxed)) & (O_PATH | (flags & O_PATH ? 0 : O_ACCMODE))) == 0;
}

/* Whether the referenced description is what the number names; if not, it was closed behind our back. */
static bool is_current(int fd, struct dc_file *file) {
	if (still_names(fd, file)) return true;
	struct dc_file *seen = file;
	if (atomic_compare_exchange_strong(&dc_table[fd], &seen, NULL)) dc_file_put(file);
	return false;
}

struct dc_file *dc_file_find(int fd) {
	if ((unsigned)fd >= DC_FD_MAX) return NULL;
	for (;;) {
		struct dc_file *file = atomic_load_explicit(&dc_table[fd], memory_order_acquire);
		if (!file) return NULL;
		if (__builtin_expect(!dc_session_if_ready(), 0)) {
			dc_forked_child(NULL); /* not by our fork(): what the table holds is the parent's */
			return NULL;
		}
		if (!reference_live(file)) continue;
		if (atomic_load_explicit(&dc_table[fd], memory_order_acquire) == file && (__builtin_expect(!atomic_load_explicit(&dc_ringed, memory_order_relaxed), 1) || is_current(fd, file))) return file;
		dc_file_put(file);
	}
}

static void raise_high(int fd) {
	int high = atomic_load_explicit(&dc_table_high, memory_order_relaxed);
	while (fd > high && !atomic_compare_exchange_weak(&dc_table_high, &high, fd)) continue;
}

void dc_table_set(int fd, struct dc_file *file) {
	if (file) raise_high(fd);
	struct dc_file *before = atomic_exchange_explicit(&dc_table[fd], file, memory_order_acq_rel);
	dc_known[fd] = 0; /* behind it: early.c */
	dc_file_put(before);
}

/* The kernel gave out a number that we thought in use: it was closed behind our back. */
void dc_table_forget(int fd) {
	if ((unsigned)fd < DC_FD_MAX) dc_table_set(fd, NULL);
}

/* close_handles false: in a forked child, where the handles are the parent's. */
void dc_table_drop_all(bool close_handles) {
	for (int fd = 0; fd <= atomic_load(&dc_table_high); fd++) {
		struct dc_file *file = atomic_load(&dc_table[fd]);
		if (!file) continue;
		if (!close_handles && !atomic_load(&file->kernel)) dc_upgrade(file); /* the parent had no time to: while it lives its handle can be opened */
		file = atomic_exchange(&dc_table[fd], NULL);
		dc_known[fd] = close_handles ? 0 : DC_KNOWN_PARENTS;
		if (!close_handles) dc_inherited_high = fd;
		if (!file) continue;
		if (!close_handles) file->handle = 0;
		dc_file_put(file);
	}
	atomic_store(&dc_table_high, -1);
}

struct dc_file *dc_file_of_node(struct dc_client *client, const struct dc_place *place, const struct stat *st, int number, int flags) {
	struct dc_file *file = dc_file_new();
	if (!file) return NULL;
	struct dc_call call;
	dc_call_begin(&call, client, DC_OP_ADOPT, place->instance, 0);
	call.slot->argument[0] = st->st_ino;
	call.slot->argument[1] = (uint64_t)((int64_t)number + 1);
	call.slot->mask = (uint32_t)flags & ~(uint32_t)O_APPEND;
	bool made = dc_call_send(&call) == 0;
	if (made) file->handle = call.slot->value[0];
	dc_call_end(&call);
	if (!made) {
		dc_file_put(file);
		return NULL;
	}
	file->client = client;
	file->instance = place->instance;
	file->entry = place->entry;
	file->device = st->st_dev;
	file->ino = st->st_ino;
	atomic_store(&file->append, flags & O_APPEND);
	file->flags = flags & ~O_APPEND;
	file->directory = S_ISDIR(st->st_mode);
	return file;
}

/*
 * An inherited or received descriptor, or one that the kernel opened from a directory of the host. The kernel door's descriptors are recognised by their device; a placeholder that
 * could not be upgraded is the mount's root to us, as it is to the kernel.
 */
struct dc_file *dc_file_adopt(int fd) {
	if (fd < 0 || fd >= DC_FD_MAX) return NULL;
	struct stat st;
	struct dc_place place;
	bool own = dc_early_own(fd), attaches = own || dc_session_was_attached(), looked = own || dc_known[fd] == DC_KNOWN_PARENTS;
	if (attaches && looked && dc_early()) return NULL;
	if (k_stat(fd, "", &st, AT_EMPTY_PATH) < 0) return NULL;
	if (!dc_mounts_device(st.st_dev, &place)) {
		dc_known[fd] = DC_KNOWN_NOT;
		return NULL;
	}
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) return dc_early_shared(fd), NULL;
	if (attaches && !looked && dc_early()) return NULL;
	struct dc_client *client = attaches ? dc_session() : dc_session_if_ready();
	if (!client) return NULL;
	long flags = k_fcntl(fd, F_GETFL, 0);
	if (flags < 0 || (flags & O_PATH && !S_ISDIR(st.st_mode))) return NULL;
	struct dc_file *file = dc_file_of_node(client, &place, &st, fd, (int)flags);
	if (!file) {
		dc_uncarried(DC_UNCARRIED_stale);
		dc_known[fd] = DC_KNOWN_NOT;
		return NULL;
	}
	atomic_store(&file->kernel, true);
	if (own && !file->directory) return dc_early_adopted(fd, file);
	dc_early_shared(fd); /* where a directory's cookies are, the kernel knows */
	atomic_store(&file->shared, true);
	struct dc_file *none = NULL;
	raise_high(fd);
	if (atomic_compare_exchange_strong(&dc_table[fd], &none, file)) return dc_file_find(fd);
	dc_file_put(file);
	return dc_file_find(fd);
}

/* ---- placeholders ---------------------------------------------------------------------------------------------------------- */
static _Atomic int source = -1; /* a number that is a file's placeholder, or was */
static _Atomic uint32_t numbers_begun, numbers_ended;

void dc_numbers_begin(void) {
	atomic_fetch_add(&numbers_begun, 1);
}

void dc_numbers_end(void) {
	atomic_fetch_add(&numbers_ended, 1);
}

static bool is_placeholder(const struct dc_file *file) {
	return file && !file->directory && !atomic_load_explicit(&file->kernel, memory_order_acquire);
}

void dc_placeholder_named(int fd, const struct dc_file *file) {
	int now = atomic_load_explicit(&source, memory_order_relaxed);
	if (is_placeholder(file) && (now < 0 || !is_placeholder(atomic_load_explicit(&dc_table[now], memory_order_relaxed)))) atomic_store_explicit(&source, fd, memory_order_relaxed);
}

/*
 * A copy of a placeholder that another open file has: half of what a path costs the kernel. Every close takes a number out of the table before the kernel closes it, and what gives it another
 * meaning besides is between dc_numbers_begin and _end; so what is in the table after the copy as it was before was copied as what it is. Without a reference, since to let go of one may take a
 * request and this is done while one is under way: a description that was closed meanwhile and is another's is told by its handle, which is never used twice. -1: there is none.
 */
static int copy_placeholder(uint32_t instance, uint32_t entry, bool cloexec) {
	int from = atomic_load_explicit(&source, memory_order_relaxed);
	struct dc_file *file = from < 0 ? NULL : atomic_load(&dc_table[from]);
	uint32_t ended = atomic_load(&numbers_ended), begun = atomic_load(&numbers_begun);
	uint64_t handle = file ? __atomic_load_n(&file->handle, __ATOMIC_SEQ_CST) : 0;
	if (!handle || ended != begun || !is_placeholder(file) || file->instance != instance || file->entry != entry) return -1;
	int fd = (int)k_fcntl(from, cloexec ? F_DUPFD_CLOEXEC : F_DUPFD, 0);
	if (fd < 0) return -1;
	if (atomic_load(&dc_table[from]) == file && __atomic_load_n(&file->handle, __ATOMIC_SEQ_CST) == handle && is_placeholder(file) && atomic_load(&numbers_begun) == begun) return fd;
	k_close(fd);
	return -1;
}

/*
 * The number that a carried open answers: an O_PATH descriptor of the mount point, which keeps the mount busy and on which an un-hooked read or write fails. For directories an O_PATH
 * descriptor of the mount table: an un-hooked openat or fchdir on the mount point would reach a wrong place, here it fails.
 */
int dc_placeholder(uint32_t instance, uint32_t entry, bool directory, bool cloexec) {
	char path[1024];
	int fd = directory ? -1 : copy_placeholder(instance, entry, cloexec);
	if (fd >= 0) return fd;
	if (directory) strcat(strcpy(path, dc_pool_dir), "/mounts");
	else if (!dc_mounts_point(instance, entry, path)) return -EIO;
	return k_open(AT_FDCWD, path, O_PATH | (cloexec ? O_CLOEXEC : 0));
}

bool dc_file_lock(struct dc_file *file) {
	uint32_t self = dc_tid(), seen = 0;
	if (atomic_compare_exchange_strong_explicit(&file->lock, &seen, self, memory_order_acquire, memory_order_relaxed)) return true;
	for (;;) {
		if ((seen & ~WAITERS) == self) return false; /* a signal handler inside our own call */
		if (seen == 0) {
			if (atomic_compare_exchange_weak(&file->lock, &seen, self | WAITERS)) return true;
			continue;
		}
		if (!(seen & WAITERS) && !atomic_compare_exchange_weak(&file->lock, &seen, seen | WAITERS)) continue;
		dc_futex_wait(&file->lock, seen | WAITERS, 0);
		seen = atomic_load(&file->lock);
	}
}

void dc_file_unlock(struct dc_file *file, bool locked) {
	if (locked && (atomic_exchange_explicit(&file->lock, 0, memory_order_release) & WAITERS)) dc_futex_wake(&file->lock, 1);
}
