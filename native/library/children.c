/*
 * children.c - when a shared description is this process's alone again.
 *
 * A fork makes every description shared, and shared offsets are the kernel's: right, but each read and write then goes through the kernel door. Most children end soon (a
 * snapshot writer) or exec something that inherits nothing. So the parent remembers the children it made; when the last one has been waited for, and none of them handed a description on
 * (fork, exec or spawn with an inheritable one, SCM_RIGHTS), the offsets come back. What children did is in one page shared with them; when in doubt a description stays shared.
 */
#include "internal.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define CHILDREN 64

struct page {
	_Atomic uint32_t escaped; /* set by a child, never cleared */
};

static struct page *ours;   /* shared with our children */
static struct page *parents; /* of the process that made us */
static _Atomic int32_t child[CHILDREN];
static _Atomic uint32_t living;
static _Atomic bool lost; /* more children than can be remembered */

/* What we have of our parent's may live on in another process from now on. To who borrows our memory, what is in it is its parent's, and what that has of its own. */
void dc_children_escaped(void) {
	if (dc_borrowed && ours) atomic_store(&ours->escaped, 1);
	if (parents) atomic_store(&parents->escaped, 1);
}

static bool is_instances(int fd) {
	return dc_known[fd] >= DC_KNOWN_PARENTS || atomic_load(&dc_table[fd]);
}

void dc_children_copied(int fd) {
	if (dc_borrowed && fd >= 0 && fd < DC_FD_MAX && is_instances(fd)) dc_children_escaped();
}

/* exec and spawn: only if a descriptor of an instance is inherited. */
void dc_children_inherited(void) {
	for (int fd = 0; fd < DC_FD_MAX && (parents || dc_borrowed); fd++) {
		if (fd > atomic_load(&dc_table_high) && fd > dc_inherited_high && fd > dc_early_high()) break;
		if (!is_instances(fd)) continue;
		long flags = k_fcntl(fd, F_GETFD, 0);
		if (flags < 0 || (flags & FD_CLOEXEC)) continue;
		dc_children_escaped();
		return;
	}
}

/* Before a fork. */
void dc_children_prepare(void) {
	if (parents) atomic_store(&parents->escaped, 1); /* a grandchild has them too */
	if (ours) return;
	long map = dc_raw6(SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (map < 0 && map > -4096) atomic_store(&lost, true);
	else ours = (struct page *)map;
}

void dc_children_made(pid_t pid) {
	if (pid < 0) return;
	if (pid == 0) {
		if (parents && parents != ours) dc_raw6(SYS_munmap, (long)parents, 4096, 0, 0, 0, 0);
		parents = ours;
		ours = NULL;
		for (int i = 0; i < CHILDREN; i++) atomic_store(&child[i], 0);
		atomic_store(&living, 0);
		atomic_store(&lost, false);
		return;
	}
	atomic_fetch_add(&living, 1);
	for (int i = 0; i < CHILDREN; i++) {
		int32_t none = 0;
		if (atomic_compare_exchange_strong(&child[i], &none, pid)) return;
	}
	atomic_store(&lost, true);
}

bool dc_children_none(void) { return !atomic_load(&living) && !atomic_load(&lost) && (!ours || !atomic_load(&ours->escaped)); }

static void alone_again(void) {
	for (int fd = 0; fd <= atomic_load(&dc_table_high); fd++) {
		struct dc_file *file = dc_file_in_table(fd);
		if (file && atomic_load(&file->forked)) {
			bool locked = dc_file_lock(file);
			long offset = fd <= STDERR_FILENO || file->flags & O_PATH ? -1 : k_lseek(fd, 0, SEEK_CUR);
			if (offset >= 0) {
				atomic_store(&file->offset, offset);
				atomic_store(&file->forked, false);
				atomic_store(&file->shared, false);
			}
			dc_file_unlock(file, locked);
		}
		dc_file_put(file);
	}
}

static void reaped(pid_t pid) {
	if (pid <= 0 || !atomic_load(&living)) return;
	for (int i = 0; i < CHILDREN; i++) {
		int32_t wanted = pid;
		if (!atomic_compare_exchange_strong(&child[i], &wanted, 0)) continue;
		if (atomic_fetch_sub(&living, 1) == 1 && dc_children_none()) {
			int error = errno;
			alone_again();
			errno = error;
		}
		return;
	}
}

static bool ended(int status) { return WIFEXITED(status) || WIFSIGNALED(status); }

EXPORT pid_t wait4(pid_t pid, int *status, int options, struct rusage *usage) {
	int mine = 0;
	pid_t result = NEXT(wait4)(pid, status ? status : &mine, options, usage);
	if (result > 0 && ended(status ? *status : mine)) reaped(result);
	return result;
}

EXPORT pid_t wait3(int *status, int options, struct rusage *usage) { return wait4(-1, status, options, usage); }

EXPORT pid_t waitpid(pid_t pid, int *status, int options) {
	int mine = 0;
	pid_t result = NEXT(waitpid)(pid, status ? status : &mine, options);
	if (result > 0 && ended(status ? *status : mine)) reaped(result);
	return result;
}
ALIAS(__waitpid, waitpid);

EXPORT pid_t wait(int *status) { return waitpid(-1, status, 0); }
ALIAS(__wait, wait);

EXPORT int waitid(idtype_t type, id_t id, siginfo_t *info, int options) {
	siginfo_t mine = {0};
	siginfo_t *out = info ? info : &mine;
	int result = NEXT(waitid)(type, id, out, options);
	if (result == 0 && !(options & WNOWAIT) && (out->si_code == CLD_EXITED || out->si_code == CLD_KILLED || out->si_code == CLD_DUMPED)) reaped(out->si_pid);
	return result;
}
