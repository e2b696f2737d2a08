#include "keeper.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <unistd.h>

#include "host.h"
#include "raw.h"

/* ---- the keeper itself: raw system calls only, since it was cloned from a process with threads ------------------------------ */
#define FDS_MAX (1 << 24)

#define FUSE_MAJOR 10u
#define FUSE_MINOR 229u

/*
 * The service is dead. Its connections must end with it, sockets and kernel doors: who waits at the other end would wait for ever (pool-init has its own descriptors of the doors that are to
 * live). Everything else stays. Numbers are counted up and not listed, which would take a descriptor; a table ends where a long run of numbers is unused.
 */
__attribute__((no_sanitize("address", "thread", "undefined"))) static void close_connections(void) {
	for (long fd = 0, unused = 0; fd < FDS_MAX && unused < 65536; fd++) {
		struct statx status;
		long result = dc_raw6(SYS_statx, fd, (long)"", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, (long)&status, 0);
		unused = result == -EBADF ? unused + 1 : 0;
		if (result < 0) continue;
		bool door = S_ISCHR(status.stx_mode) && status.stx_rdev_major == FUSE_MAJOR && status.stx_rdev_minor == FUSE_MINOR;
		if (S_ISSOCK(status.stx_mode) || door) dc_raw6(SYS_close, fd, 0, 0, 0, 0, 0);
	}
}

__attribute__((no_sanitize("address", "thread", "undefined"))) static void keep(int service, long guardian) {
	uint64_t all = ~UINT64_C(0);
	struct pollfd death = {.fd = service, .events = POLLIN};
	dc_raw6(SYS_rt_sigprocmask, SIG_SETMASK, (long)&all, 0, sizeof all, 0, 0);
	dc_raw6(SYS_prctl, PR_SET_NAME, (long)"keeper", 0, 0, 0, 0);
	dc_raw6(SYS_prctl, PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0, 0); /* so that a successor may look into our table where Yama restricts that */
	while (dc_raw6(SYS_ppoll, (long)&death, 1, 0, 0, 0, 0) != 1) continue;
	/* From now on we are the guardian's: of no use without it. */
	dc_raw6(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0, 0);
	if (dc_raw6(SYS_getppid, 0, 0, 0, 0, 0, 0) != guardian) dc_raw6(SYS_exit_group, 0, 0, 0, 0, 0, 0);
	close_connections();
	for (;;) dc_raw6(SYS_ppoll, 0, 0, 0, 0, 0, 0);
}

pid_t dc_keeper_start(void) {
	int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
	if (self < 0) return -errno;
	long guardian = getppid(); /* who started the service adopts its children */
	long pid = dc_raw6(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0, 0);
	if (pid == 0) keep(self, guardian);
	if (pid < 0) close(self);
	return (pid_t)pid;
}

/* ---- the successor's side --------------------------------------------------------------------------------------------------- */
#define KEEPERS_MAX 8u

struct kept {
	dev_t device;
	ino_t inode;
	int fd;          /* in the keeper's table */
	uint8_t keeper, level;
	bool used;
};

static struct {
	pthread_mutex_t lock;
	unsigned keepers;
	pid_t pid[KEEPERS_MAX];
	int pidfd[KEEPERS_MAX];
	bool scanned;
	struct kept *table; /* open addressing */
	size_t size, count;
} inheritance = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct kept *place(struct kept *table, size_t size, dev_t device, ino_t inode) {
	size_t at = ((inode ^ device << 32) * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (size - 1);
	while (table[at].used && (table[at].inode != inode || table[at].device != device)) at = (at + 1) & (size - 1);
	return &table[at];
}

static bool grow(void) {
	if (inheritance.count * 2 < inheritance.size) return true;
	size_t size = inheritance.size ? inheritance.size * 2 : 4096;
	struct kept *wider = calloc(size, sizeof *wider);
	if (!wider) return false;
	for (size_t i = 0; i < inheritance.size; i++)
		if (inheritance.table[i].used) *place(wider, size, inheritance.table[i].device, inheritance.table[i].inode) = inheritance.table[i];
	free(inheritance.table);
	inheritance.table = wider;
	inheritance.size = size;
	return true;
}

static void note(unsigned keeper, int fd) {
	int copy = (int)syscall(SYS_pidfd_getfd, inheritance.pidfd[keeper], fd, 0);
	if (copy < 0) return;
	struct stat st;
	int flags = fcntl(copy, F_GETFL), mode = flags & O_ACCMODE;
	if (flags >= 0 && fstat(copy, &st) == 0 && !S_ISSOCK(st.st_mode) && !S_ISFIFO(st.st_mode) && grow()) {
		struct kept fresh = {.device = st.st_dev, .inode = st.st_ino, .fd = fd, .keeper = (uint8_t)keeper, .used = true};
		fresh.level = flags & O_PATH ? 0 : mode == O_RDONLY ? 1 : 2;
		struct kept *known = place(inheritance.table, inheritance.size, st.st_dev, st.st_ino);
		if (!known->used) inheritance.count++;
		if (!known->used || known->level < fresh.level) *known = fresh;
	}
	close(copy);
}

static void scan(unsigned keeper) {
	char path[48];
	snprintf(path, sizeof path, "/proc/%d/fd", (int)inheritance.pid[keeper]);
	DIR *directory = opendir(path);
	if (!directory) {
		dc_log(LOG_ERR, "cannot look into the descriptors of the dead service's keeper %d (%s): files that were open are lost", (int)inheritance.pid[keeper], strerror(errno));
		return;
	}
	for (struct dirent *entry; (entry = readdir(directory));)
		if (entry->d_name[0] != '.') note(keeper, atoi(entry->d_name));
	closedir(directory);
}

void dc_keeper_inherit(const pid_t *pids, const int *pidfds, unsigned count) {
	for (unsigned i = 0; i < count; i++) {
		if (inheritance.keepers == KEEPERS_MAX || pidfds[i] < 0) {
			if (pidfds[i] >= 0) close(pidfds[i]);
			continue;
		}
		inheritance.pid[inheritance.keepers] = pids[i];
		inheritance.pidfd[inheritance.keepers++] = pidfds[i];
	}
}

int dc_keeper_find(dev_t device, ino_t inode) {
	int result = -ENOENT;
	pthread_mutex_lock(&inheritance.lock);
	if (!inheritance.scanned) { /* most restarts of an idle pool need nothing of it */
		inheritance.scanned = true;
		for (unsigned i = inheritance.keepers; i-- > 0;) scan(i);
	}
	struct kept *found = inheritance.size ? place(inheritance.table, inheritance.size, device, inode) : NULL;
	if (found && found->used) {
		result = (int)syscall(SYS_pidfd_getfd, inheritance.pidfd[found->keeper], found->fd, 0);
		if (result < 0) result = errno == EMFILE ? -ENFILE : -errno;
	}
	pthread_mutex_unlock(&inheritance.lock);
	return result;
}

void dc_keeper_forget(void) {
	pthread_mutex_lock(&inheritance.lock);
	for (unsigned i = 0; i < inheritance.keepers; i++) close(inheritance.pidfd[i]);
	free(inheritance.table);
	inheritance.keepers = 0;
	inheritance.table = NULL;
	inheritance.size = inheritance.count = 0;
	inheritance.scanned = true;
	pthread_mutex_unlock(&inheritance.lock);
}
