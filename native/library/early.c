/*
 * early.c - the first calls of a process are the kernel door's.
 *
 * To attach and to leave costs some milliseconds in all (wake-ups, page faults, cold caches), which is what some hundred calls through the kernel door cost more than the library's; most programs of a
 * script or a build end before they have made as many. So a process attaches when it has made dc_patience calls that could have been carried, WEIGHT bytes read or written counting as one more: it
 * never pays much more than twice what the better door would have cost (the ski-rental bound). Both doors show the same files at any time, so nobody sees the difference but by the clock.
 *
 * What is opened meanwhile has the kernel door's own descriptor, and is marked (DC_KNOWN_EARLY): it was opened by this process and its open description is nobody else's, so once the process is
 * attached it is adopted with its offset, as if the library had opened it. Whatever gives the description to others before that takes the mark away, and it is adopted like any inherited one; after a fork
 * it is the children's, too, while there are any (DC_KNOWN_EARLY_FORKED).
 * A call of the kernel's that moves the offset of a marked descriptor is counted while it is under way; with one under way none is adopted. Between the look at that count and the entry in the table
 * (one system call) the mark says DC_KNOWN_TAKEN, and such calls wait. A signal handler that leaves one by longjmp leaves it counted: then those descriptors stay the kernel door's.
 */
#include "internal.h"

#include <sched.h>

int dc_patience = 256;

#define WEIGHT 16384u
#define MUCH (1u << 30)

static _Atomic uint32_t under_way; /* calls that move the offset of a marked descriptor, and forks */
static _Atomic int high = -1;
static _Atomic uint32_t life;      /* dc_session_life of those marks */

static bool is_marked(int fd) { return (unsigned)fd < DC_FD_MAX && dc_active() && dc_known[fd] >= DC_KNOWN_EARLY; }

static uint8_t mark_of(int fd) { return __atomic_load_n(&dc_known[fd], __ATOMIC_SEQ_CST); }

static bool change_mark(int fd, uint8_t from, uint8_t to) { return __atomic_compare_exchange_n(&dc_known[fd], &from, to, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); }

/* A copy of a process that was not made by our fork(). */
static void notice_fork(void) {
	if (atomic_load_explicit(&high, memory_order_relaxed) >= 0 && atomic_load_explicit(&life, memory_order_relaxed) != dc_session_life()) dc_early_forked();
}

void dc_early_opened(int fd) {
	if (fd <= STDERR_FILENO || fd >= DC_FD_MAX) return; /* what glibc's standard streams use is the kernel door's */
	notice_fork();
	atomic_store(&life, dc_session_life());
	int seen = atomic_load(&high);
	while (fd > seen && !atomic_compare_exchange_weak(&high, &seen, fd)) continue;
	__atomic_store_n(&dc_known[fd], DC_KNOWN_EARLY, __ATOMIC_SEQ_CST);
}

bool dc_early_own(int fd) {
	if (!is_marked(fd)) return false;
	notice_fork();
	return is_marked(fd);
}

bool dc_early_is_file(int fd) {
	struct stat st;
	struct dc_place place;
	return dc_early_own(fd) && k_stat(fd, "", &st, AT_EMPTY_PATH) == 0 && S_ISREG(st.st_mode) && dc_mounts_device(st.st_dev, &place);
}

int dc_early_high(void) { return atomic_load_explicit(&high, memory_order_relaxed); }

bool dc_early_begin(int fd) {
	if (!is_marked(fd)) return false;
	for (;;) {
		atomic_fetch_add(&under_way, 1);
		uint8_t mark = mark_of(fd);
		if (mark == DC_KNOWN_EARLY || mark == DC_KNOWN_EARLY_FORKED) return true;
		atomic_fetch_sub(&under_way, 1);
		if (mark != DC_KNOWN_TAKEN) return false;
		sched_yield();
	}
}

/* What is read or written by the kernel. */
void dc_early_weigh(int fd, const struct iovec *iov, int count) {
	if (is_marked(fd) && count > 0 && iov->iov_len >= WEIGHT) dc_session_first((uint32_t)(iov->iov_len < MUCH ? iov->iov_len / WEIGHT : MUCH / WEIGHT));
}

/* Not below zero, in a child that was forked by a signal handler on top of such a call. */
void dc_early_end(void) {
	uint32_t seen = atomic_load(&under_way);
	while (seen && !atomic_compare_exchange_weak(&under_way, &seen, seen - 1)) continue;
}

void dc_early_hold(void) { atomic_fetch_add(&under_way, 1); }

struct dc_file *dc_early_file(int fd, bool *early) {
	for (;;) {
		struct dc_file *file = dc_file_get(fd);
		if (file) return file;
		if (dc_early_begin(fd)) {
			*early = true;
			return NULL;
		}
		if (!atomic_load(&dc_table[fd])) return NULL;
	}
}

static bool take(int fd, struct dc_file *file) {
	uint8_t mark = mark_of(fd);
	if (mark < DC_KNOWN_EARLY || mark == DC_KNOWN_TAKEN || !change_mark(fd, mark, DC_KNOWN_TAKEN)) return false;
	/* Another thread may have closed the number meanwhile, and it may name something else. */
	long offset = atomic_load(&under_way) || !dc_names_file(fd, file) ? -1 : k_lseek(fd, 0, SEEK_CUR);
	if (offset < 0) {
		change_mark(fd, DC_KNOWN_TAKEN, mark);
		return false;
	}
	atomic_store(&file->offset, offset);
	bool alone = mark == DC_KNOWN_EARLY || dc_children_none();
	atomic_store(&file->forked, !alone);
	atomic_store(&file->shared, !alone);
	dc_table_set(fd, file);
	return true;
}

struct dc_file *dc_early_adopted(int fd, struct dc_file *file) {
	uint64_t before = dc_signals_block(); /* a handler would wait for what it interrupts */
	bool taken = take(fd, file);
	dc_signals_restore(before);
	if (!taken) dc_file_put(file);
	return dc_file_find(fd);
}

static void remark(int fd, uint8_t to) {
	uint8_t mark;
	if (!is_marked(fd)) return;
	while ((mark = mark_of(fd)) >= DC_KNOWN_EARLY && mark != to)
		if (mark == DC_KNOWN_TAKEN || !change_mark(fd, mark, to)) sched_yield();
}

/* The description may be somebody else's too from now on. */
void dc_early_shared(int fd) { remark(fd, 0); }

void dc_early_forks(void) {
	for (int fd = 0; fd <= atomic_load(&high); fd++) remark(fd, DC_KNOWN_EARLY_FORKED);
}

void dc_early_share_all(bool inheritable) {
	for (int fd = 0; fd <= atomic_load(&high); fd++) {
		if (!is_marked(fd)) continue;
		long flags = inheritable ? k_fcntl(fd, F_GETFD, 0) : 0;
		if (flags >= 0 && !(flags & FD_CLOEXEC)) dc_early_shared(fd);
	}
}

/* In a forked child: they are the parent's, too. */
void dc_early_forked(void) {
	for (int fd = 0; fd <= atomic_load(&high); fd++) {
		if (dc_known[fd] < DC_KNOWN_EARLY) continue;
		dc_known[fd] = DC_KNOWN_PARENTS;
		if (fd > dc_inherited_high) dc_inherited_high = fd;
	}
	atomic_store(&high, -1);
	atomic_store(&under_way, 0);
}
