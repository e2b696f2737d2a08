/*
 * door_internal.h - what the parts of the kernel door share. See docs/doors.md for the reasoning.
 *
 *   door.c        start, stop, threads    door_init.c  the handshake
 *   door_nodes.c  kernel node numbers <-> nodes of the stack
 *   door_notify.c what the kernel must be told after changes made elsewhere
 *   door_names.c  operations on names    door_attr.c  on attributes and extended attributes
 *   door_data.c   on file contents       door_dir.c   directory listings
 *   door_flights.c what must happen once
 */
#ifndef DICICLO_SERVICE_DOOR_INTERNAL_H
#define DICICLO_SERVICE_DOOR_INTERNAL_H

#define FUSE_USE_VERSION 314
#include <fuse3/fuse_lowlevel.h>
#include <linux/fuse.h>

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <syslog.h>

#include "instance.h"

/* Younger than Debian 12's headers. */
#define DOOR_NOTIFY_RESEND 7
#define DOOR_NOTIFY_INC_EPOCH 8
#define DOOR_UNIQUE_RESEND (UINT64_C(1) << 63)
#define DOOR_INIT_HANDLE_KILLPRIV_V2 (UINT64_C(1) << 28)
#define DOOR_INIT_DIRECT_IO_ALLOW_MMAP (UINT64_C(1) << 36)
#define DOOR_FOPEN_PARALLEL_DIRECT_WRITES (1u << 6)
#define DOOR_OPCODE_TMPFILE 51u
#define DOOR_OPCODE_STATX 52u

#define DOOR_TRANSFER_MAX (1u << 20)               /* bytes of one read or write */
#define DOOR_PAGE_SIZE 4096u
#define DOOR_BUFFER_SIZE (DOOR_TRANSFER_MAX + 4096u)
#define DOOR_STORE_SPAN (64u << 20)                /* bytes; see push_size */
#define DOOR_FOREVER 1e9                           /* seconds; the kernel is told when something changes */
#define DOOR_SHARED 1.0                            /* seconds; of the attributes of a node that is changed elsewhere too: door_attributes_keep */

/*
 * core.kernel_cached: bits of what the kernel may hold, above them a count of the times that one was set (see door_notify.c). FRESH: it may be about to make its inode from a reply.
 * INODE: it may have an inode, with a size in it; from the first reply until it has forgotten the node.
 */
enum { DOOR_ATTRIBUTES = 1u << 0, DOOR_PAGES = 1u << 1, DOOR_ENTRIES = 1u << 2, DOOR_FRESH = 1u << 3, DOOR_INODE = 1u << 4, DOOR_CACHED_STEP = 1u << 5 };

#define DOOR_NAME_WORDS 8u

/* One node that the kernel knows. Entries live in chunks that are never freed while the door is open, so that a late reader of node->core.door meets memory, at worst another node's. */
struct door_entry {
	_Atomic(struct dc_node *) node;   /* referenced; NULL: free */
	_Atomic uint64_t number;          /* the kernel's nodeid of this use */
	uint32_t index;
	uint32_t generation;
	struct door_entry *next;          /* in its hash bucket or in the free list */
	_Atomic uint64_t parent;          /* number of the directory under whose lock the kernel last got this node from a reply */
	_Atomic uint32_t streak;          /* data notifications since the kernel last read */
	_Atomic uint64_t pushed_ns;       /* last data notification */
	_Atomic uint64_t changed_ns;      /* last change of its attributes elsewhere that the kernel was told of; 0: none */
	_Atomic uint64_t landed_ns;       /* first answer after that */
	_Atomic uint64_t pages;           /* file: the kernel's size has at least so many pages {pages:48, times lowered:16} */
	_Atomic uint64_t names[DOOR_NAME_WORDS]; /* directory: filter of the names that the kernel may know, existing or not */
};

#define DOOR_CHUNK 1024u
#define DOOR_CHUNKS 65536u

struct door_table {
	pthread_mutex_t lock;
	uint64_t epoch;                   /* bits 48 up of this incarnation's numbers; never 0 */
	_Atomic(struct door_entry *) *chunks;
	uint32_t chunk_count;
	struct door_entry *free;
	struct door_entry **buckets;      /* by inode number */
	uint32_t bucket_count, count;
	struct door_entry *root;
};

struct door_thread;
struct door_ledger;

struct dc_door {
	struct dc_instance *instance;
	struct dc_libservice *root;       /* of the stack */
	struct fuse_session *session;
	int fd;
	bool cache;
	bool keeps_names;                 /* and attributes and listings: see door_notify.c, 2 */
	bool no_open, no_opendir;         /* the kernel takes ENOSYS for "needs no open" */
	double timeout;                   /* of entries and attributes */
	uint32_t kernel_minor;
	uint64_t kernel_flags;            /* offered in INIT */
	const unsigned char *init_request;/* until it was fed */
	size_t init_length;
	uint64_t init_unique;
	void *unreadable;                 /* DOOR_STORE_SPAN bytes without any rights */
	bool restarted;                   /* the kernel had its INIT answer from an earlier incarnation */
	bool handover;                    /* stop leaves the ledger to a successor */
	struct door_table table;
	struct door_ledger *ledger;

	pthread_mutex_t lock;             /* threads */
	pthread_cond_t gone;
	struct door_thread *threads;
	unsigned thread_count, threads_max;
	_Atomic int available;            /* threads that wait for a request */
	_Atomic uint64_t thread_wanted_ns; /* when the last one was started */
	_Atomic bool stopping, serving;
};

/* What the calling thread works on. libfuse's request is opaque; handlers run on the thread that read the request, so the raw bytes are at hand. */
struct door_request {
	struct dc_door *door;
	const struct fuse_in_header *header;
	unsigned char *scratch;           /* DOOR_TRANSFER_MAX bytes behind a small request; a write's own data are there */
	bool resent;                      /* possibly done already by an earlier incarnation */
	struct door_flight *flight;       /* its record, while it must happen once */
	int counted;                      /* enum dc_counted, or -1 */
	int64_t result;
};
extern _Thread_local struct door_request door_current;

extern const struct fuse_lowlevel_ops door_operations;

/*
 * The kernel forgets a node only after the answers to all that it asked about it: an order that passes through the kernel, where the thread sanitizer cannot see it.
 */
#ifdef __SANITIZE_THREAD__
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define DOOR_BEFORE_ANSWER(door) __tsan_release(door)
#define DOOR_AT_FORGET(door) __tsan_acquire(door)
#else
#define DOOR_BEFORE_ANSWER(door) ((void)(door))
#define DOOR_AT_FORGET(door) ((void)(door))
#endif

/* ---- nodes ---------------------------------------------------------------------------------------------------------------- */
int door_table_open(struct dc_door *door);
void door_table_close(struct dc_door *door);
/* The entry of a kernel's number, or NULL: a number that was lost in a restart (or nonsense): ESTALE. No reference is taken: the kernel holds its own while it asks. */
struct door_entry *door_entry_of(struct dc_door *door, uint64_t number);
/* One more lookup by the kernel; if it does not get or take the reply, forget it. Takes over the caller's reference to `node`. NULL: no memory (reference dropped). */
struct door_entry *door_entry_take(struct dc_door *door, struct dc_node *node);
void door_entry_forget(struct dc_door *door, uint64_t number, uint64_t count);
/* After a restart, before any thread serves: room for so many entries; an earlier incarnation's entry, taking over a reference to `node` (false: refused); then what is free is gathered. */
int door_table_extend(struct dc_door *door, uint32_t used);
bool door_entry_restore(struct dc_door *door, uint32_t index, uint64_t number, uint64_t lookups, struct dc_node *node);
void door_table_gather(struct dc_door *door);

/* ---- the handshake -------------------------------------------------------------------------------------------------------- */
void door_init(void *userdata, struct fuse_conn_info *conn);
/* libfuse's answer on its way to the kernel: adds what libfuse 3.14 has no word for. */
void door_init_answer(struct dc_door *door, struct fuse_init_out *out);
/* Feeds the saved INIT through libfuse, on the caller's thread. */
int door_serve_init(struct dc_door *door, const struct dc_door_options *options, struct dc_error *error);

/* ---- notifications -------------------------------------------------------------------------------------------------------- */
/* Before reading from the stack what a reply will let the kernel cache. */
void door_cached_set(struct dc_node *node, uint32_t bits);
void door_cached_none(struct dc_node *node); /* the kernel has forgotten the node */
/* The same for a reply from which the kernel may make the node's inode, sent for a name in `parent`. Answers another directory to settle after the reply, or 0. */
uint64_t door_cached_entry(struct door_entry *entry, uint64_t parent);
void door_settle(struct dc_door *door, uint64_t parent);
/* For how long (seconds) the reply that is being made may have the kernel keep the node's attributes. */
double door_attributes_keep(const struct dc_door *door, struct door_entry *entry);
/* A reply to a question about the node may make the kernel believe this size (bytes): before it is sent. */
void door_size_lowered(struct door_entry *entry, uint64_t size);
void door_cached_name(struct door_entry *directory, const char *name, size_t length);
int door_notify_inode(struct dc_door *door, uint64_t number, int64_t offset, int64_t length); /* offset -1: attributes only */
int door_notify_entry(struct dc_door *door, uint64_t parent, const char *name, size_t length);
int door_notify_bare(struct dc_door *door, int code);
/* Before a thread of the door notifies: lets another one serve meanwhile, since the kernel may wait for a request of its own before it lets us go on. */
void door_step_aside(struct dc_door *door);

/* ---- what must happen once (door_flights.c) ------------------------------------------------------------------------------ */
/* UNKNOWN: the request was with a predecessor that left no word. */
enum door_stage { DOOR_NOT_BEGUN, DOOR_BEGUN, DOOR_DONE, DOOR_UNKNOWN };
struct door_seen {
	int64_t result; /* DONE */
	uint64_t value; /* BEGUN: door_once_begin's; DONE: door_once_end's */
};
/* How far a predecessor came with this request. */
enum door_stage door_once_seen(struct dc_door *door, struct door_seen *seen);
/* Right before and right after the stack's operation. */
void door_once_begin(struct dc_door *door, uint64_t value);
void door_once_end(int64_t result, uint64_t value);
void door_once_answered(void);

/* ---- small helpers of the handlers ---------------------------------------------------------------------------------------- */
#define DOOR_CALL(door, operation, ...) DC_FILE_CALL((door)->root, operation, __VA_ARGS__)

struct door_call {
	struct dc_cred cred;
	struct dc_context context;
};
struct dc_context *door_context(fuse_req_t req, struct door_call *call);
void door_log(const struct dc_door *door, int priority, const char *format, ...) __attribute__((format(printf, 3, 4)));

static inline struct dc_door *door_of(fuse_req_t req) {
	return fuse_req_userdata(req);
}
/* Positive or negative errno, 0 for success. */
static inline void door_reply(fuse_req_t req, int error) {
	int code = error < 0 ? -error : error;
	if (code >= 1000) code = EIO; /* libfuse and the kernel refuse it, and the caller would hang */
	door_current.result = -code;
	fuse_reply_err(req, code);
}
/* The node of a number; answers the request and returns NULL when it is stale. */
struct dc_node *door_node(fuse_req_t req, fuse_ino_t number, struct door_entry **entry);
/* An operation that must happen once and may have happened: answers EIO. */
void door_doubt(fuse_req_t req, const char *what);
/*
 * One that leaves nothing to ask about: true when it has been answered, with what a predecessor had come to (by `answer`; NULL: it has no more than a status) or with EIO. Else it is to be
 * done, and has begun; door_once_end follows.
 */
bool door_once(fuse_req_t req, const char *what, void (*answer)(fuse_req_t req, int64_t result));
bool door_is_handle_name(const struct dc_door *door, fuse_ino_t parent, const char *name);
/* Consumes the caller's reference to `node`. `open`: the raw fuse_open_out that CREATE and TMPFILE append, or NULL. */
void door_reply_entry(fuse_req_t req, uint64_t parent, struct dc_node *node, double entry_timeout, double attr_timeout, const struct fuse_open_out *open);
void door_fill_attr(struct fuse_attr *out, const struct stat *st);
void door_fill_entry(struct fuse_entry_out *out, uint64_t number, const struct stat *st, double entry_timeout, double attr_timeout);
void door_open_out(const struct dc_door *door, struct fuse_open_out *out);
/* 1: bits were taken, 0: there were none, or -errno. */
int door_kill_privileges(fuse_req_t req, struct dc_node *node, bool privileged);

/* ---- handlers, by file ---------------------------------------------------------------------------------------------------- */
void door_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void door_forget(fuse_req_t req, fuse_ino_t number, uint64_t count);
void door_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void door_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t device);
void door_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void door_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void door_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void door_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void door_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name, unsigned flags);
void door_link(fuse_req_t req, fuse_ino_t number, fuse_ino_t new_parent, const char *new_name);
void door_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *info);
void door_readlink(fuse_req_t req, fuse_ino_t number);
/* Opcodes that libfuse 3.14 does not know; false: answer ENOSYS. Answers by itself. */
bool door_raw_request(struct dc_door *door, const struct fuse_in_header *header, size_t length);

void door_getattr(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *info);
void door_setattr(fuse_req_t req, fuse_ino_t number, struct stat *attr, int to_set, struct fuse_file_info *info);
void door_statfs(fuse_req_t req, fuse_ino_t number);
void door_getxattr(fuse_req_t req, fuse_ino_t number, const char *name, size_t size);
void door_setxattr(fuse_req_t req, fuse_ino_t number, const char *name, const char *value, size_t size, int flags);
void door_listxattr(fuse_req_t req, fuse_ino_t number, size_t size);
void door_removexattr(fuse_req_t req, fuse_ino_t number, const char *name);

void door_open(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *info);
void door_read(fuse_req_t req, fuse_ino_t number, size_t size, off_t offset, struct fuse_file_info *info);
void door_write(fuse_req_t req, fuse_ino_t number, const char *data, size_t size, off_t offset, struct fuse_file_info *info);
void door_flush(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *info);
void door_release(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *info);
void door_fsync(fuse_req_t req, fuse_ino_t number, int data_only, struct fuse_file_info *info);
void door_fallocate(fuse_req_t req, fuse_ino_t number, int mode, off_t offset, off_t length, struct fuse_file_info *info);
void door_lseek(fuse_req_t req, fuse_ino_t number, off_t offset, int whence, struct fuse_file_info *info);
void door_copy_file_range(fuse_req_t req, fuse_ino_t from, off_t from_offset, struct fuse_file_info *from_info, fuse_ino_t to, off_t to_offset,
                          struct fuse_file_info *to_info, size_t length, int flags);

void door_opendir(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *info);
void door_readdir(fuse_req_t req, fuse_ino_t number, size_t size, off_t offset, struct fuse_file_info *info);
void door_readdirplus(fuse_req_t req, fuse_ino_t number, size_t size, off_t offset, struct fuse_file_info *info);

#endif
