/*
 * libservice.h - the interface that every libservice implements and calls.
 *
 * A libservice is one storage function as a component. Its operations look like POSIX calls that take the libservice object as first
 * parameter; it keeps no globals, so that one process runs many. Libservices stack: a parent calls its children by plain function call
 * through the tables below. See docs/libservice-author.md.
 *
 * Conventions
 *   - data path operations return 0 or a count >= 0, or -errno; the control path (create) returns 0 or -errno and fills a dc_error;
 *   - an operation that a libservice lacks returns -ENOSYS or -EOPNOTSUPP and never silently succeeds;
 *   - every operation may be called from many threads at once; a libservice does its own locking and holds no lock of its own
 *     while it waits for anything but its children;
 *   - buffers are iovecs that may point straight into memory shared with a client: read each byte once, never decide by a second read;
 *   - nodes are reference counted by the libservice that made them.
 */
#ifndef DICICLO_LIBSERVICE_H
#define DICICLO_LIBSERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <diciclo/copy.h>

#define DC_INTERFACE_VERSION 5u
#define DC_NAME_MAX 255u
#define DC_PATH_MAX 4096u
#define DC_ROLE_MAX 4u
#define DC_CHILD_MAX 32u
#define DC_IDENTITY_MAX 36u

enum dc_kind { DC_KIND_FILE = 1, DC_KIND_BLOCK, DC_KIND_KV, DC_KIND_LOG };

/* ---- errors of the control path ------------------------------------------------------------------------------------------- */
struct dc_error {
	int code;           /* errno value */
	char message[512];  /* one sentence: what, where, what was expected */
};
int dc_error_set(struct dc_error *error, int code, const char *format, ...) __attribute__((format(printf, 3, 4))); /* returns -code */

/* ---- who asks ------------------------------------------------------------------------------------------------------------- */
#define DC_GROUPS_MAX 64u
struct dc_cred {
	uid_t uid;
	gid_t gid;
	uint32_t group_count;
	gid_t groups[DC_GROUPS_MAX];
};

struct dc_context {
	const struct dc_cred *cred; /* of the process that asks; never NULL. Permissions were checked above; use it for ownership of what is made */
	pid_t pid;                  /* of that process as the pool sees it; 0: the service itself */
	mode_t umask;               /* already applied to modes by the caller; for information */
	struct dc_worker *worker;   /* opaque: for dc_block_begin; NULL outside workers */
};

/* Bracket anything that may sleep in the kernel or on a network for longer than a few microseconds, so that another worker is woken for waiting requests. */
void dc_block_begin(struct dc_context *context);
/* The same for what takes some microseconds as a rule (a write into the kernel's page cache): nobody is woken for that. Should it take long, others wait for 0.2 ms (3.2 ms who has waited its turn among many), once. */
void dc_block_begin_briefly(struct dc_context *context);
void dc_block_end(struct dc_context *context);

/* ---- nodes ---------------------------------------------------------------------------------------------------------------- */
struct dc_file_ops;
struct dc_libservice;

/* Attributes: struct stat is the field's own. st_dev is set by the doors. st_ino is stable and unique in the instance. */
struct dc_attr {
	struct stat st;
	struct timespec birth; /* tv_nsec == -1: unknown */
};

/*
 * The first member of every node. `owner` makes and frees it. The door part belongs to the service's core, which uses it only on nodes of an instance's
 * topmost owner; libservices zero the whole struct at creation (dc_node_init) and never touch `core`.
 */
struct dc_node {
	struct dc_libservice *owner;
	_Atomic uint64_t references;
	uint64_t ino;
	uint32_t type;            /* S_IFMT bits */
	_Atomic uint32_t flags;   /* DC_NODE_* */
	struct {
		_Atomic(void *) door;             /* kernel door's entry: what the kernel may have cached of this node */
		_Atomic uint64_t kernel_lookups;  /* references the kernel holds */
		_Atomic uint32_t kernel_cached;   /* bit 0 attributes, bit 1 pages, bit 2 entries below (directory) */
		_Atomic uint32_t opens;           /* open descriptions through the library */
		_Atomic uint32_t posters;         /* open descriptions whose clients may post writes to this node (service/posts.c) */
		_Atomic uint32_t readers;         /* reads and leases that had to wait for them, since they last posted */
		_Atomic uint64_t appends;         /* the library's that are under way, and until when they are held back (service/appends.c) */
		uint64_t reserved[2];
	} core;
};
enum { DC_NODE_UNLINKED = 1u << 0 };
void dc_node_init(struct dc_node *node, struct dc_libservice *owner, uint64_t ino, uint32_t type); /* references = 1 */

/* ---- file kind ------------------------------------------------------------------------------------------------------------ */
/* For setattr. */
enum {
	DC_SET_MODE = 1u << 0, DC_SET_UID = 1u << 1, DC_SET_GID = 1u << 2, DC_SET_SIZE = 1u << 3,
	DC_SET_ATIME = 1u << 4, DC_SET_MTIME = 1u << 5, DC_SET_ATIME_NOW = 1u << 6, DC_SET_MTIME_NOW = 1u << 7,
};
/* For read and write. */
enum {
	DC_IO_APPEND = 1u << 0, /* write at the end, whatever `offset` says; the libservice answers where through *offset */
	DC_IO_DSYNC = 1u << 1,  /* O_DSYNC: on return the data are durable */
	DC_IO_SYNC = 1u << 2,   /* O_SYNC */
	DC_IO_DIRECT = 1u << 3, /* a hint: do not keep it in caches */
};
/* For rename: RENAME_NOREPLACE, RENAME_EXCHANGE as renameat2(2). */

/*
 * What readdir fills. `add` returns false when the entry did not fit: stop, and do not count it. `cookie` is where the next call
 * goes on after this entry; cookies stay valid while the directory is open, also when entries are made and removed meanwhile. "." and ".." are entries.
 */
struct dc_dirent_sink {
	bool (*add)(struct dc_dirent_sink *sink, const char *name, size_t length, uint64_t ino, uint32_t type, uint64_t cookie);
};

/* Where clients find a file's cached pages by themselves (shared below). */
struct dc_shared_file {
	uint32_t region; /* of dc_host.cache_region, that begins with a page index: ipc/page_index.h */
	uint32_t entry;  /* the file's */
};

/*
 * The file table. `self` is the libservice that owns the nodes passed in; a NULL entry of a filter (DC_TYPE_FILTER) goes to its only child, whose
 * nodes are then this libservice's nodes too; elsewhere NULL means -ENOSYS. Names are single components, not empty, without '/', at most DC_NAME_MAX bytes, NUL-terminated.
 * A returned node carries one reference for the caller. `attr` may be NULL.
 */
struct dc_file_ops {
	uint32_t struct_size; /* sizeof this struct, checked at load */

	int (*root)(struct dc_libservice *self, struct dc_context *context, struct dc_node **node);
	/*
	 * Resolve as much of `path` (components separated by single '/', no leading or trailing one, no "." and no ".."; `length` bytes, not terminated)
	 * as there is, below `parent`, without following a symbolic link. Stops at the last component, at a symbolic link, or at a node that is no directory, and answers that
	 * node, the bytes consumed, and its attributes. A missing component: -ENOENT with *consumed the bytes that did resolve and *node the directory where it is missing (referenced; no attributes).
	 * The single path ".." answers the parent directory; at the root -EXDEV.
	 */
	int (*lookup)(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *path, size_t length,
	              struct dc_node **node, struct dc_attr *attr, size_t *consumed);
	void (*reference)(struct dc_libservice *self, struct dc_node *node, uint64_t count);
	void (*forget)(struct dc_libservice *self, struct dc_node *node, uint64_t count); /* drops references; frees at zero */

	int (*getattr)(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, struct dc_attr *attr);
	/* st_mode & 07777, st_uid, st_gid, st_size, st_atim, st_mtim of `set` as `mask` says; answers the new attributes. */
	int (*setattr)(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const struct dc_attr *set, uint32_t mask, struct dc_attr *attr);
	ssize_t (*readlink)(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, char *buffer, size_t size);

	/* `flags`: O_ACCMODE and O_TRUNC-free open(2) flags; balanced by close. Data calls may come without open (the kernel door has no handles). */
	int (*open)(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, int flags);
	void (*close)(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, int flags);
	/* O_CREAT: answers -EEXIST when the name is there, whatever O_EXCL says (the caller decides). The node is open with `flags` on success. */
	int (*create)(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name, mode_t mode, int flags,
	              struct dc_node **node, struct dc_attr *attr);
	int (*tmpfile)(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, mode_t mode, int flags, struct dc_node **node, struct dc_attr *attr);

	/* A short count only at the end of file. Scatter list total at most 16 MiB. */
	ssize_t (*read)(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const struct iovec *iov, int iovcnt, off_t offset, uint32_t flags);
	ssize_t (*write)(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const struct iovec *iov, int iovcnt, off_t *offset, uint32_t flags);
	int (*fsync)(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, bool data_only); /* directories too */
	int (*fallocate)(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, int mode, off_t offset, off_t length);
	off_t (*seek)(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, off_t offset, int whence); /* SEEK_DATA, SEEK_HOLE only */
	ssize_t (*copy)(struct dc_libservice *self, struct dc_context *context, struct dc_node *from, off_t from_offset, struct dc_node *to, off_t to_offset, size_t length);

	int (*readdir)(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, uint64_t cookie, struct dc_dirent_sink *sink); /* 0 at the end too */
	int (*mkdir)(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name, mode_t mode, struct dc_node **node, struct dc_attr *attr);
	int (*mknod)(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name, mode_t mode, dev_t device, struct dc_node **node, struct dc_attr *attr);
	int (*symlink)(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name, const char *target, struct dc_node **node, struct dc_attr *attr);
	int (*link)(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, struct dc_node *parent, const char *name, struct dc_attr *attr);
	int (*unlink)(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name);
	int (*rmdir)(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name);
	int (*rename)(struct dc_libservice *self, struct dc_context *context, struct dc_node *from, const char *from_name, struct dc_node *to, const char *to_name, uint32_t flags);

	ssize_t (*getxattr)(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const char *name, void *value, size_t size);
	int (*setxattr)(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const char *name, const void *value, size_t size, int flags);
	ssize_t (*listxattr)(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, char *list, size_t size);
	int (*removexattr)(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const char *name);
	int (*statfs)(struct dc_libservice *self, struct dc_context *context, struct statvfs *out);
	int (*sync)(struct dc_libservice *self, struct dc_context *context); /* everything, as syncfs(2) */

	/*
	 * Cached data where it lies, for clients that map the host's cache regions: under which entry of which page index (ipc/page_index.h) a regular file's pages are found, for as long as the node
	 * lives; -ENOENT: under none. Whoever reads by the index reads what `read` would answer. A libservice with a `read` of its own and no `shared` has none.
	 * withhold: a read by the index that begins after its return finds that it has to ask, until each withhold has its permit.
	 */
	int (*shared)(struct dc_libservice *self, struct dc_node *node, struct dc_shared_file *out);
	void (*withhold)(struct dc_libservice *self, struct dc_node *node);
	void (*permit)(struct dc_libservice *self, struct dc_node *node);

	/*
	 * Restarts. identify: who the node is, in at most DC_IDENTITY_MAX bytes by which a later process of this service can `recover` it, whatever has become of its names; the length, or
	 * -errno. Every open pays it: no system call. recover: the node, referenced, not open; -ESTALE when it is gone.
	 */
	int (*identify)(struct dc_libservice *self, struct dc_node *node, void *identity);
	int (*recover)(struct dc_libservice *self, struct dc_context *context, const void *identity, size_t length, struct dc_node **node);

	/*
	 * Leases. Until when (CLOCK_MONOTONIC_COARSE, nanoseconds) what a lookup of the name below the directory, or (name NULL) a getattr of the node would now answer may be kept by those who
	 * will ask; 0: not at all. Whoever asks next gets what is as new or newer. Changes through this libservice are not its concern: the service revokes what it gave before it lets them
	 * through. A libservice whose answers may change by themselves, or behind its back without a bound, has none; nor has one with a lookup or getattr of its own and no `believed`.
	 */
	uint64_t (*believed)(struct dc_libservice *self, struct dc_node *node, const char *name, size_t length);
};

/* ---- other kinds: tables of the same style; their first users bring them to life ------------------------------------------- */
struct dc_block_ops {
	uint32_t struct_size;
	ssize_t (*read)(struct dc_libservice *self, struct dc_context *context, const struct iovec *iov, int iovcnt, off_t offset);
	ssize_t (*write)(struct dc_libservice *self, struct dc_context *context, const struct iovec *iov, int iovcnt, off_t offset);
	int (*flush)(struct dc_libservice *self, struct dc_context *context);
	int (*discard)(struct dc_libservice *self, struct dc_context *context, off_t offset, off_t length);
	off_t (*size)(struct dc_libservice *self, struct dc_context *context);
};

/* ---- a child as its parent sees it ---------------------------------------------------------------------------------------- */
struct dc_child {
	enum dc_kind kind;
	struct dc_libservice *object; /* what to name in messages; for file calls use the dc_file_* calls below, which find the implementing layer */
};

/* ---- the libservice object ------------------------------------------------------------------------------------------------ */
struct dc_type;
struct dc_file_binding; /* per operation: function and the object to pass; filled by the framework */

/*
 * WRITE_BACK  Writes may be acknowledged before they reach this libservice, as long as nobody can see that. fsync must make them durable.
 * MEMORY      What was just written is read again from this machine's memory (the kernel's page cache): for a copy, and no device or network. Nobody above needs to keep it for that.
 */
enum { DC_TRAIT_WRITE_BACK = 1u << 0, DC_TRAIT_MEMORY = 1u << 1 };

struct dc_libservice {
	const struct dc_type *type;
	char id[128];                          /* the plan's id, for messages */
	const struct dc_file_binding *file;    /* resolved table of this object: own operations, or a child's where it left them empty */
	uint32_t child_count[DC_ROLE_MAX];     /* by role, in the order of type->roles */
	struct dc_libservice **child[DC_ROLE_MAX];
	const struct dc_host *host;            /* what the service offers (dc_host) */
	void *state;                           /* the libservice's own */
	uint32_t traits;                       /* DC_TRAIT_*: set by `create`; a filter has those of its child besides */
};

/* Calls to a child (or the top of a stack) of kind file: dc_file_read(child, context, node, ...). One indirect call each. */
#define DC_FILE_OPERATIONS(X) \
	X(root) X(lookup) X(reference) X(forget) X(getattr) X(setattr) X(readlink) X(open) X(close) X(create) X(tmpfile) X(read) X(write) X(fsync) \
	X(fallocate) X(seek) X(copy) X(readdir) X(mkdir) X(mknod) X(symlink) X(link) X(unlink) X(rmdir) X(rename) X(getxattr) X(setxattr) \
	X(listxattr) X(removexattr) X(statfs) X(sync) X(shared) X(withhold) X(permit) X(identify) X(recover) X(believed)
struct dc_file_binding {
#define X(operation) struct { __typeof__(((struct dc_file_ops *)0)->operation) call; struct dc_libservice *self; } operation;
	DC_FILE_OPERATIONS(X)
#undef X
};
#define DC_FILE_CALL(object, operation, ...) ((object)->file->operation.call((object)->file->operation.self, __VA_ARGS__))

/* ---- options -------------------------------------------------------------------------------------------------------------- */
enum dc_option_type { DC_OPTION_STRING = 1, DC_OPTION_PATH, DC_OPTION_SIZE, DC_OPTION_INTEGER, DC_OPTION_BOOLEAN, DC_OPTION_ENUM, DC_OPTION_DURATION };
struct dc_option {
	const char *name;
	enum dc_option_type type;
	const char *const *values; /* DC_OPTION_ENUM: NULL-terminated */
	int64_t minimum, maximum;  /* numbers; both 0: unbounded */
};
/* The plan's values, every option present, types checked by the framework before `create`. */
struct dc_options;
const char *dc_option_string(const struct dc_options *options, const char *name); /* string, path, enum */
int64_t dc_option_number(const struct dc_options *options, const char *name);     /* size (bytes), integer, duration (ms) */
bool dc_option_boolean(const struct dc_options *options, const char *name);

/* ---- statistics ----------------------------------------------------------------------------------------------------------- */
struct dc_statistics_sink {
	void (*number)(struct dc_statistics_sink *sink, const char *name, int64_t value);
};

/* ---- what the service offers ---------------------------------------------------------------------------------------------- */
struct dc_host {
	uint32_t struct_size;
	/*
	 * Memory for cached data, from sealed memfds that clients of a trusting pool may map read-only: `bytes` a multiple of 2 MiB. Zero-filled, returned with its place
	 * (region id, so that a reference {region, offset} can be handed to a client). NULL and errno when the pool's limit is reached.
	 */
	void *(*cache_region)(const struct dc_host *host, size_t bytes, uint32_t *region);
	void (*cache_release)(const struct dc_host *host, uint32_t region);
	void (*log)(const struct dc_host *host, int priority, const char *format, ...) __attribute__((format(printf, 3, 4))); /* syslog(3) priorities */
	uint64_t epoch; /* of this service process: 1, 2, ... */
	/*
	 * After a restart, while nodes are recovered: an O_PATH or better descriptor of this inode that the dead process had open, so that files without a name are found too. It is the
	 * caller's, but shares its position with others: reopen it for data. -ENOENT when there is none. NULL: nothing is inherited here.
	 */
	int (*inherited)(const struct dc_host *host, dev_t device, ino_t inode);
	/* By which routines data is copied here (copy.h): dc_host_copy. NULL: libc's memcpy. */
	const struct dc_copier *copier;
	/* As cache_region, but clients may write it too: for hints only. NULL: there is no such memory here. */
	void *(*shared_region)(const struct dc_host *host, size_t bytes, uint32_t *region);
};

/* Between a request's buffers and memory of the libservice. */
static inline void dc_host_copy(const struct dc_host *host, void *restrict to, const void *restrict from, size_t bytes) {
	if (__builtin_expect(host->copier != NULL, 1)) dc_copy(host->copier, DC_COPY_WITHIN, to, from, bytes);
	else memcpy(to, from, bytes);
}

/* ---- the type ------------------------------------------------------------------------------------------------------------- */
struct dc_role {
	const char *name;
	enum dc_kind kind;
	uint32_t minimum, maximum; /* how many children */
	bool claim;                /* written by this parent: no other parent may share it */
};
enum {
	DC_TYPE_FILTER = 1u << 0, /* exactly one role with one child of the same kind; empty operations go down */
};
struct dc_type {
	uint32_t interface_version; /* DC_INTERFACE_VERSION */
	uint32_t struct_size;       /* sizeof(struct dc_type) */
	const char *name;
	const char *summary;
	enum dc_kind kind;
	uint32_t version;           /* of this libservice's options and on-disk form */
	uint32_t flags;
	struct dc_role roles[DC_ROLE_MAX]; /* name NULL ends */
	const struct dc_option *options;   /* sorted by name, name NULL ends */
	const char *const *statistics;     /* NULL-terminated */
	union { const struct dc_file_ops *file; const struct dc_block_ops *block; } ops;

	bool (*probe)(char *missing, size_t size); /* is what I need on this host? If not, a sentence that names the package. NULL: always */
	int (*create)(struct dc_libservice *self, const struct dc_options *options, struct dc_error *error); /* children are ready; set self->state */
	void (*destroy)(struct dc_libservice *self); /* no call is in progress and no node is referenced any more; frees everything */
	void (*stat)(struct dc_libservice *self, struct dc_statistics_sink *sink);
	void (*stat_reset)(struct dc_libservice *self);
};

/* Each module exports exactly this. */
#define DC_MODULE_SYMBOL "dc_libservice_type"
extern const struct dc_type dc_libservice_type;
#define DC_MODULE_EXPORT __attribute__((visibility("default")))

#endif
