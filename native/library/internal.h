/*
 * internal.h - shared by the files of the preloaded library alone.
 *
 * A call of the application arrives in a wrapper that has the libc function's own name. The wrapper asks whether the path or descriptor belongs to an instance: if so a request goes to
 * the service (walk.c for paths, table.c for descriptors); if not, or if the kernel must do it, the next definition of the function is called (NEXT) with the same arguments.
 * Nothing here allocates, locks for long, or calls a libc function that another preload may have replaced, on the way of a carried call.
 */
#ifndef DICICLO_LIBRARY_INTERNAL_H
#define DICICLO_LIBRARY_INTERNAL_H

#ifdef _FILE_OFFSET_BITS
#error "the headers would give our wrappers other names: build with -U_FILE_OFFSET_BITS"
#endif

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/single_threaded.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include "client.h"
#include "copy.h"
#include "protocol.h"
#include "raw.h"

#define EXPORT __attribute__((visibility("default")))
#define TLS __attribute__((tls_model("initial-exec"))) _Thread_local
/* Another name of an exported function of this file. In assembly, because glibc declares the 64-bit variants with types of other names. */
#define ALIAS(name, target) __asm__(".globl " #name "\n.type " #name ", @function\n.set " #name ", " #target)
/* The next definition of an exported function: libc's, or another preload's. */
#define NEXT(name) \
	({ \
		static _Atomic(void *) next_; \
		void *found_ = atomic_load_explicit(&next_, memory_order_relaxed); \
		(__typeof__(&name))(found_ ? found_ : dc_next(&next_, #name)); \
	})
void *dc_next(_Atomic(void *) *cache, const char *name);
extern bool dc_started; /* the library's constructor has run */

#define DC_FD_MAX 65536
#define DC_HINT_MAX 216
#define DC_RESTARTS_MAX 40

/* ---- raw system calls of the library itself ------------------------------------------------------------------------------- */
static inline int k_open(int dirfd, const char *path, int flags) { return (int)dc_raw6(SYS_openat, dirfd, (long)path, flags, 0, 0, 0); }
static inline int k_close(int fd) { return (int)dc_raw6(SYS_close, fd, 0, 0, 0, 0, 0); }
static inline int k_dup3(int from, int to, int flags) { return (int)dc_raw6(SYS_dup3, from, to, flags, 0, 0, 0); }
static inline long k_fcntl(int fd, int command, long argument) { return dc_raw6(SYS_fcntl, fd, command, argument, 0, 0, 0); }
static inline int k_stat(int dirfd, const char *path, struct stat *out, int flags) { return (int)dc_raw6(SYS_newfstatat, dirfd, (long)path, (long)out, flags, 0, 0); }
static inline long k_lseek(int fd, off_t offset, int whence) { return dc_raw6(SYS_lseek, fd, offset, whence, 0, 0, 0); }
static inline long k_read(int fd, void *buffer, size_t size) { return dc_raw6(SYS_read, fd, (long)buffer, (long)size, 0, 0, 0); }
static inline uint32_t k_gettid(void) { return (uint32_t)dc_raw6(SYS_gettid, 0, 0, 0, 0, 0, 0); }
/* No handler from here on, but for what this thread does itself (a dispatched system call is a signal, too); the mask that was. */
static inline uint64_t dc_signals_block(void) {
#define DC_SIGNAL(number) (UINT64_C(1) << ((number) - 1))
	uint64_t others = ~(DC_SIGNAL(SIGSYS) | DC_SIGNAL(SIGSEGV) | DC_SIGNAL(SIGBUS) | DC_SIGNAL(SIGILL) | DC_SIGNAL(SIGFPE) | DC_SIGNAL(SIGTRAP) | DC_SIGNAL(SIGABRT)), before = 0;
#undef DC_SIGNAL
	dc_raw6(SYS_rt_sigprocmask, SIG_BLOCK, (long)&others, (long)&before, sizeof others, 0, 0);
	return before;
}
static inline void dc_signals_restore(uint64_t before) { dc_raw6(SYS_rt_sigprocmask, SIG_SETMASK, (long)&before, 0, sizeof before, 0, 0); }
void dc_log(int level, const char *text, const char *subject); /* DICICLO_LOG */

/* A carried call acts on a pending cancellation before it begins, as libc's would; what goes to libc is a cancellation point there. */
static inline void dc_cancellation_point(void) {
	if (!__libc_single_threaded) pthread_testcancel();
}

/* What a wrapper returns: errno from -errno. */
static inline long dc_return(int64_t result) {
	if (result >= 0) return (long)result;
	errno = (int)-result;
	return -1;
}

/* ---- what is not carried, by name (docs/contract.md §6) -------------------------------------------------------------------- */
#define DC_UNCARRIED(X) \
	X(mmap, "mmap") X(flock, "flock") X(lock, "fcntl-lock") X(read_shared, "read-shared") X(write_shared, "write-shared") X(seek_shared, "lseek-shared") \
	X(sendfile, "sendfile") X(splice, "splice") X(ioctl, "ioctl") X(poll, "poll") X(select, "select") X(epoll, "epoll") X(fork, "fork") X(exec, "exec") X(spawn, "spawn") \
	X(sendmsg, "sendmsg") X(fchdir, "fchdir") X(freopen, "freopen") X(ftw, "ftw") X(glob, "glob") X(fts, "fts") X(two_paths, "two-instances") X(leaves, "leaves") \
	X(special, "special-file") X(stale, "stale") X(dirfd, "kernel-dirfd") X(proc, "proc-fd") X(inotify, "inotify") X(handle_at, "name-to-handle") X(uring, "io-uring") \
	X(aio, "aio") X(stdio, "stdio-layout") X(wide, "stdio-wide") X(ids, "ids") X(copy, "copy-range") X(nested, "nested-mount") X(openat2, "openat2") X(mount, "mount") \
	X(fexecve, "fexecve") X(descriptor, "descriptor-high") X(syscall, "syscall") X(fcntl, "fcntl") X(exclusive, "handle-limit") X(kind, "other-kind") X(limit, "file-size-limit") \
	X(early, "first-calls")
enum dc_uncarried {
#define X(id, text) DC_UNCARRIED_##id,
	DC_UNCARRIED(X)
#undef X
	DC_UNCARRIED_COUNT
};
void dc_uncarried(enum dc_uncarried which);
uint64_t dc_uncarried_count(enum dc_uncarried which, const char **name);

/* ---- addresses.c ----------------------------------------------------------------------------------------------------------- */
#define DC_ADDRESS_LOW (UINT64_C(1) << 32)
#ifdef __aarch64__
#define DC_ADDRESS_END (UINT64_C(1) << 48)
#else
#define DC_ADDRESS_END (UINT64_C(1) << 47) /* with five levels of page tables a program may ask for addresses beyond: those are looked up */
#endif
bool dc_address_is_bad(uintptr_t address);
/* Certainly no memory of the program's: to be left to the kernel, or answered EFAULT. */
static inline bool dc_bad_address(const void *pointer) {
	uintptr_t address = (uintptr_t)pointer;
	return __builtin_expect(address - DC_ADDRESS_LOW >= DC_ADDRESS_END - DC_ADDRESS_LOW, 0) && dc_address_is_bad(address);
}
/* Not even an address of a program: the kernel refuses it before it looks at anything else, at the length 0 too. */
static inline bool dc_no_address(const void *pointer) { return __builtin_expect((uintptr_t)pointer >= DC_ADDRESS_END, 0) && dc_address_is_bad((uintptr_t)pointer); }

/* ---- mounts.c -------------------------------------------------------------------------------------------------------------- */
struct dc_place {
	uint32_t instance;
	uint32_t entry; /* index in the mount table */
	uint64_t device;
	const char *rest; /* below the mount point, no leading slash */
};
extern bool dc_activated;        /* there is a mount table: DICICLO_POOL_DIR */
extern TLS int dc_borrowed;      /* vforks above: the memory is the parent's, and everything of its stays as it is (process.c) */
static inline bool dc_active(void) { return dc_activated && !dc_borrowed; }
extern bool dc_absolute_stopped; /* chroot and the like: absolute paths mean something else now */
extern char dc_pool_dir[512];
extern char dc_library_path[512];
extern int dc_log_level;
int dc_mounts_start(const char *directory); /* 0 or -errno */
bool dc_mounts_match(const char *path, struct dc_place *place);
bool dc_mounts_device(uint64_t device, struct dc_place *place); /* rest stays unset */
/* The mount point of an instance into `out` (1001 bytes): its length, 0 when it is gone. */
size_t dc_mounts_point(uint32_t instance, uint32_t entry, char *out);
unsigned dc_mounts_instances(uint32_t *out, unsigned space); /* how many are carried, their numbers into `out` */
bool dc_mounts_nested(uint32_t entry); /* another mount lies below it */

/* ---- session.c ------------------------------------------------------------------------------------------------------------- */
/* The attached client of this process; attaches if needed. NULL: the kernel door must do. */
struct dc_client *dc_session(void);
struct dc_client *dc_session_if_ready(void);
bool dc_session_was_attached(void); /* also before a fork */
uint32_t dc_session_life(void); /* a number that is another one in a forked child, however it was forked */
/* Whether this call, which could be carried, is among the process's first, which are not (early.c); counts it. */
bool dc_early(void);
void dc_session_first(uint32_t count); /* as many more of them */
void dc_session_init(void);
void dc_session_leave(void); /* the next call attaches anew */
void dc_stop_carrying(void);  /* from now on this process uses the kernel door for all */
uint32_t dc_tid(void);
/* A fork. Around it, what calls in progress need in the child, if a signal handler forks on top of them; in the child: nothing of the parent's attachment is ours. NULL: a fork that was not ours. */
#define DC_SESSIONS 8 /* attachments, the latest and those that calls in progress still use */
void dc_session_before_fork(struct dc_arena *copy[DC_SESSIONS]);
void dc_session_after_fork(struct dc_arena *copy[DC_SESSIONS]);
void dc_forked_child(struct dc_arena *copy[DC_SESSIONS]);

/* One request. Begin takes a slot and clears what the service reads; the slot stays ours until dc_call_end, so that the answer can be read. */
struct dc_call {
	struct dc_client *client;
	unsigned index;
	struct dc_slot *slot;
	unsigned char *buffer;
};
void dc_call_begin(struct dc_call *call, struct dc_client *client, enum dc_operation operation, uint32_t instance, uint64_t handle);
int64_t dc_call_send(struct dc_call *call);
/* Its two halves, for who has something to do meanwhile; and a second call beside one that is begun, with the same arguments (false: there is none to be had), to be ended before it. */
void dc_call_start(struct dc_call *call);
int64_t dc_call_await(struct dc_call *call);
bool dc_call_beside(struct dc_call *call, const struct dc_call *first);
void dc_call_end(struct dc_call *call);
void dc_call_leave(struct dc_call *call); /* in place of send and end: the answer is not waited for */

/* ---- copying.c ------------------------------------------------------------------------------------------------------------- */
extern struct dc_copier dc_copier; /* of nothing before the first attach */
void dc_copying_attached(struct dc_client *client);

/* ---- table.c: open file descriptions and the descriptors that name them ---------------------------------------------------- */
struct dc_file {
	_Atomic uint64_t references; /* descriptors and calls in progress; 0: free */
	struct dc_client *client;
	uint64_t handle, device, ino;
	uint32_t instance, entry;
	_Atomic int flags;        /* open(2), without O_APPEND */
	_Atomic uint32_t lock;    /* of `offset`: the owner's thread id, and WAITERS */
	_Atomic int64_t offset;   /* while this process alone has the description; directories: the cookie */
	_Atomic bool kernel;      /* its descriptors are the kernel door's own, no placeholders */
	_Atomic bool shared;      /* other processes may have the description: the kernel's offset is the truth */
	_Atomic bool forked;      /* shared by nothing but a fork of ours: see children.c */
	_Atomic uint32_t grant;   /* writes may be posted under it (client.h), 0: not */
	_Atomic bool append;      /* O_APPEND, as of the open or of F_SETFL; of a shared description the kernel knows better: dc_file_flags */
	_Atomic uint8_t write_hint; /* F_SET_RW_HINT */
	/* Where its pages are found without a request (leases.h), as of lease_epoch; 0: unknown */
	_Atomic uint32_t lease_epoch;
	_Atomic uint64_t lease_id;
	_Atomic(const struct dc_index_file *) lease_file;
	_Atomic(struct dc_lease_index *) lease_index;
	bool directory;
	bool nameless;            /* O_TMPFILE with O_EXCL: linkat must not give it a name */
	uint32_t index, next_free;
	uint16_t hint_length;     /* 0: unknown */
	char hint[DC_HINT_MAX];   /* the absolute path it was opened by */
};

extern _Atomic(struct dc_file *) dc_table[DC_FD_MAX];
/* Looked at, not an instance's; an instance's, from the process that forked us; and early.c's: opened by this process, that and then a fork, about to be in the table. */
enum { DC_KNOWN_NOT = 1, DC_KNOWN_PARENTS = 2, DC_KNOWN_EARLY = 3, DC_KNOWN_EARLY_FORKED = 4, DC_KNOWN_TAKEN = 5 };
extern uint8_t dc_known[DC_FD_MAX];
extern int dc_inherited_high;
extern _Atomic int dc_table_high;

/* This process has made an io_uring ring: see dc_ring_made. */
extern _Atomic bool dc_ringed;
void dc_ring_made(void);

/* The description of a descriptor, referenced: or NULL when it is the kernel's. dc_file_find never adopts: for calls where an inherited descriptor goes to the kernel anyway. */
struct dc_file *dc_file_find(int fd);
struct dc_file *dc_file_adopt(int fd);
/* A description of the node that the kernel door calls so, with a handle of its own; `number`: a descriptor of it that this process has, or -1. NULL: the service does not know it. */
struct dc_file *dc_file_of_node(struct dc_client *client, const struct dc_place *place, const struct stat *st, int number, int flags);
static inline struct dc_file *dc_file_get(int fd) {
	if ((unsigned)fd >= DC_FD_MAX || !dc_active()) return NULL;
	if (atomic_load_explicit(&dc_table[fd], memory_order_relaxed)) return dc_file_find(fd);
	return dc_known[fd] == DC_KNOWN_NOT ? NULL : dc_file_adopt(fd);
}
/* As dc_file_find, for descriptors of which most are not in the table. */
static inline struct dc_file *dc_file_in_table(int fd) {
	return (unsigned)fd < DC_FD_MAX && dc_active() && atomic_load_explicit(&dc_table[fd], memory_order_relaxed) ? dc_file_find(fd) : NULL;
}
/* For what moves a descriptor's offset. *early: the kernel does it, before dc_early_end. */
struct dc_file *dc_early_file(int fd, bool *early);
static inline bool dc_file_moves(int fd) {
	return (unsigned)fd < DC_FD_MAX && dc_active() && (atomic_load_explicit(&dc_table[fd], memory_order_relaxed) || dc_known[fd] >= DC_KNOWN_EARLY);
}
static inline struct dc_file *dc_file_moving(int fd, bool *early) {
	*early = false;
	struct dc_file *file = dc_file_in_table(fd);
	return file || !dc_file_moves(fd) ? file : dc_early_file(fd, early);
}
struct dc_file *dc_file_new(void); /* one reference */
void dc_file_reference(struct dc_file *file);
int dc_file_put(struct dc_file *file); /* the last one closes: 0, or -errno of a write that was posted */
/* Makes `fd` name the file (whose reference it takes; NULL: none). What it named before is dropped. */
void dc_table_set(int fd, struct dc_file *file);
void dc_table_forget(int fd); /* the kernel gave out this number anew */
static inline int dc_forget_new(int fd) { /* for every call that makes a kernel descriptor */
	if (fd >= 0 && fd < DC_FD_MAX && dc_active()) {
		if (atomic_load_explicit(&dc_table[fd], memory_order_relaxed)) dc_table_forget(fd);
		dc_known[fd] = 0;
	}
	return fd;
}
void dc_table_drop_all(bool close_handles);
int dc_placeholder(uint32_t instance, uint32_t entry, bool directory, bool cloexec); /* a number for a file that is, or is yet to be, opened */
void dc_placeholder_named(int fd, const struct dc_file *file); /* it is in the table now: others may be copies of it */
/* Around what makes the kernel's meaning of numbers in the table another one. */
void dc_numbers_begin(void);
void dc_numbers_end(void);
int dc_file_send(struct dc_file *file, struct dc_call *call); /* result in call->slot->result; ESTALE as EIO */

/* Whether the kernel's descriptor is of that file. */
static inline bool dc_names_file(int fd, const struct dc_file *file) {
	struct stat st;
	return k_stat(fd, "", &st, AT_EMPTY_PATH) == 0 && st.st_ino == file->ino && st.st_dev == file->device;
}

/* offset lock; nested calls of one thread (signal handlers) pass */
bool dc_file_lock(struct dc_file *file);
void dc_file_unlock(struct dc_file *file, bool locked);

/* ---- early.c ---------------------------------------------------------------------------------------------------------------- */
extern int dc_patience;           /* calls */
void dc_early_opened(int fd);     /* by this process, the kernel's, below a mount */
bool dc_early_own(int fd);        /* it is such a one */
bool dc_early_is_file(int fd);    /* and a regular file */
bool dc_early_begin(int fd);      /* the descriptor is such a one, and is not adopted before the end */
void dc_early_end(void);
void dc_early_weigh(int fd, const struct iovec *iov, int count); /* it is about to */
void dc_early_hold(void);         /* none is, until the end */
struct dc_file *dc_early_adopted(int fd, struct dc_file *file); /* takes the reference; NULL: not now */
void dc_early_shared(int fd);
void dc_early_share_all(bool inheritable);
void dc_early_forks(void);        /* between dc_early_hold and the end */
void dc_early_forked(void);
int dc_early_high(void);

/* ---- dir.c, where.c -------------------------------------------------------------------------------------------------------- */
/* One request of the service's records. -errno, 0 at the end. */
int64_t dc_records(struct dc_client *client, uint32_t instance, uint64_t handle, int64_t cookie, void *out, size_t size);
/* Checked: the records come from memory that the service wrote, but a bad length must not run us out of the buffer. */
const struct dc_wire_dirent *dc_record_at(const unsigned char *buffer, uint32_t used, uint32_t size);
int dc_directory_path(const struct dc_file *file, char out[PATH_MAX]); /* 0 or -errno */

/* ---- upgrade.c: from placeholder to the kernel door's own descriptor ------------------------------------------------------- */
int dc_upgrade(struct dc_file *file);           /* 0 or -errno */
int dc_open_twin(const struct dc_file *file);   /* the kernel door's descriptor, close-on-exec, or -errno */
int dc_upgrade_fd(int fd, enum dc_uncarried why); /* nothing when not ours */
int dc_share_fd(int fd);
void dc_share_file(struct dc_file *file);
enum dc_share { DC_SHARE_ALL, DC_SHARE_FORK, DC_SHARE_INHERITABLE };
void dc_share_table(enum dc_share which);
int dc_proc_fd(const char *path);
void dc_upgrade_proc_path(const char *path); /* /proc/self/fd/N, /dev/fd/N, /dev/stdin ... */
bool dc_descriptors_lock(void);
void dc_descriptors_unlock(bool locked);
void dc_descriptors_reset(void);

/* ---- limits.c -------------------------------------------------------------------------------------------------------------- */
#define DC_SIZE_UNLIMITED ((uint64_t)INT64_MAX)
uint64_t dc_size_limit(void);   /* bytes that a file may have by a write of ours */
int dc_size_exceeded(void);     /* sends SIGXFSZ, answers -EFBIG */

/* ---- locks.c --------------------------------------------------------------------------------------------------------------- */
bool dc_locks_any(const struct dc_file *file); /* this process may hold POSIX locks on the file */
int dc_locks_prepare(struct dc_file *file);
void dc_locks_of_kernel(int fd); /* the same for a descriptor of an instance that is not in the table */

/* ---- children.c ------------------------------------------------------------------------------------------------------------ */
void dc_children_prepare(void);
void dc_children_made(pid_t pid); /* what fork answered, on both sides */
bool dc_children_none(void);      /* nobody has what is opened now and was before a fork */
void dc_children_escaped(void);   /* a process that we do not know may have our descriptions */
void dc_children_inherited(void); /* exec, spawn */
void dc_children_copied(int fd);  /* by a child that borrows our memory: under a number that is not in the table */

/* ---- cwd.c ----------------------------------------------------------------------------------------------------------------- */
struct dc_file *dc_cwd(void); /* referenced; NULL: not below a mount */
bool dc_cwd_early(void);      /* it is below one, and this process is not attached yet */
void dc_cwd_changed(void);
void dc_cwd_untracked(int change); /* +1, -1: somebody moves it behind our back */
void dc_cwd_drop(bool close_handles);
mode_t dc_umask(void);

/* ---- answers.c: what was asked of the service, and what it said -------------------------------------------------------------- */
struct dc_question {
	struct dc_client *client;
	uint64_t base;       /* handle that the path starts at; 0: the instance's root */
	uint32_t instance, flags, mode;
	uint16_t operation;
	const char *path;
	size_t length;
};
struct dc_answer {
	int64_t result;
	union dc_answer_body {
		struct dc_wire_attr attr;
		char text[sizeof(struct dc_wire_attr)]; /* of a symbolic link */
	} body;
};

/* ---- walk.c: calls by path ------------------------------------------------------------------------------------------------- */
/*
 *   struct dc_walk walk;
 *   for (dc_walk_start(&walk, dirfd, path, flags); dc_walk_next(&walk, DC_OP_X); dc_walk_send(&walk)) { ... fill walk.call.slot ... }
 *   if (walk.kernel) { dc_walk_end(&walk); return NEXT(x)(walk.dirfd, walk.path, ...); }
 *   ... read the answer ...; return dc_walk_finish(&walk);
 */
struct dc_walk {
	int dirfd;
	uint32_t flags;      /* DC_PATH_* */
	const char *path;
	size_t length;       /* of what was sent */
	struct dc_place place;
	struct dc_file *base;
	struct dc_client *client;
	struct dc_call call;
	int64_t result;
	unsigned restarts;
	uint32_t mode;       /* of the question */
	bool kernel, done, sent, held, second; /* sent: by dc_walk_post; second: the request has two paths */
	bool early;          /* with `kernel`: only because it is among the first calls */
	bool keeps, asks, kept; /* the answer may be a kept one (dc_walk_keep); a lease on it is asked for; it is a kept one */
	struct dc_answer answer;
	char text[PATH_MAX];
};
void dc_walk_start(struct dc_walk *walk, int dirfd, const char *path, uint32_t flags);
/* After dc_walk_start, for STAT, ACCESS (`mode`), READLINK, and for OPEN (as STAT: that there is nothing): an answer that was kept will do. */
static inline void dc_walk_keep(struct dc_walk *walk, uint32_t mode) {
	walk->keeps = true;
	walk->mode = mode;
}
static inline const struct dc_wire_attr *dc_walk_attr(const struct dc_walk *walk) {
	return walk->kept ? &walk->answer.body.attr : &walk->call.slot->attr;
}
bool dc_walk_next(struct dc_walk *walk, enum dc_operation operation);
void dc_walk_send(struct dc_walk *walk);
void dc_walk_post(struct dc_walk *walk); /* before dc_walk_send: the service is at it while the caller does what the answer does not decide */
void dc_walk_end(struct dc_walk *walk);
long dc_walk_finish(struct dc_walk *walk);
/* Finds where dirfd + path is. False: the kernel's. *base is referenced. */
bool dc_locate(int dirfd, const char *path, uint32_t flags, struct dc_place *place, struct dc_file **base);
bool dc_early_base(int dirfd, const char *path); /* the path is below a mount by what it starts at, which is the kernel's for now */
void dc_count_path(const char *path, enum dc_uncarried which); /* glibc is about to use a path unseen: counted if it is below a mount */
/* A descriptor that is about to be given to the kernel as a directory. */
int dc_kernel_dirfd(int dirfd);

/* ---- stdio.c --------------------------------------------------------------------------------------------------------------- */
struct _IO_FILE *dc_widened(struct _IO_FILE *stream); /* made fit for wide characters */

/* ---- syscalls.c, kernel_only.c --------------------------------------------------------------------------------------------- */
long dc_syscall(long number, const long a[6]); /* by number, carried where it can be. -errno */
void dc_upgrade_polled(const void *fds, unsigned long count); /* struct pollfd */
void dc_upgrade_selected(int count, const void *set);         /* fd_set */

/* ---- operations that several wrappers share -------------------------------------------------------------------------------- */
int dc_open_at(int dirfd, const char *path, int flags, mode_t mode); /* fd, or -1 and errno: what openat does */
void dc_kernel_wanted(const struct dc_file *file); /* the kernel is to act on an open file */
int dc_open_early(const char *path, int flags, mode_t mode); /* carried, or early: fd; -errno; DC_RESULT_KERNEL: neither */
int dc_open_carried(int dirfd, const char *path, int flags, mode_t mode, uint32_t scope); /* scope: DC_PATH_SCOPE. fd; -errno; DC_RESULT_KERNEL: not ours */
int dc_close_fd(int fd);
int dc_file_flags(struct dc_file *file, int fd); /* open(2), as F_GETFL would say */
ssize_t dc_transfer(struct dc_file *file, bool write, const struct iovec *iov, int count, off_t offset, int rwf); /* offset -1: the description's own. -errno */
int64_t dc_seek_file(struct dc_file *file, int fd, off_t offset, int whence);
int dc_stat_file(struct dc_file *file, struct stat *out);
void dc_wire_to_stat(const struct dc_wire_attr *wire, uint64_t device, struct stat *out);
int64_t dc_read_directory(struct dc_file *file, int64_t *cookie, void *out, size_t size, bool linux_form);
int dc_dup_to(int from, int to, int flags, bool any); /* dup, dup2, dup3, F_DUPFD: as the system call */
long dc_set_attr(int dirfd, const char *path, uint32_t flags, uint32_t mask, const struct dc_wire_attr *set, bool *kernel, struct dc_walk *walk);

#endif
