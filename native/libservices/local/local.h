/* local.h - the parts of the `local` libservice; see local.c for what it is. */
#ifndef DICICLO_LOCAL_H
#define DICICLO_LOCAL_H

#include <diciclo/libservice.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/sysmacros.h>

/* What a node's one descriptor can do; it only ever rises while the node is in use, by dup3 onto the same number, so that no reader has to be stopped. */
enum { LOCAL_PATH = 0, LOCAL_READ = 1, LOCAL_WRITE = 2 };

struct local_node {
	struct dc_node node; /* first */
	struct local_node *chain;           /* same hash bucket */
	struct local_node *newer, *older;   /* ring of nodes that hold a descriptor */
	dev_t device;
	ino_t inode;
	_Atomic int descriptor;             /* -1: parked, only `handle` is left */
	_Atomic int level;
	_Atomic uint32_t users;             /* calls that are using the descriptor */
	_Atomic uint32_t opens, write_opens;
	_Atomic bool recent;                /* used since the clock hand came by */
	_Atomic bool set_id;                /* set-user-id or set-group-id bits were seen: writes have to clear them */
	_Atomic bool executable;            /* execute bits were seen: do not keep a write descriptor open longer than needed */
	bool hashed;
	pthread_mutex_t lock;               /* level changes, appends and the descriptor's position */
	uint64_t directory_position;
	struct file_handle *handle;
};

#define LOCAL_DEVICES_MAX 256u

struct local {
	struct dc_libservice *self;
	bool read_only;
	uid_t uid; /* the service's own */
	gid_t gid;
	bool handles; /* the filesystem can reopen an inode by handle, so idle nodes can give up their descriptor */
	struct local_node *root;
	size_t budget; /* descriptors that all of this process may hold before idle nodes are parked */

	pthread_mutex_t table_lock;
	struct local_node **buckets;
	size_t bucket_count, node_count;
	struct local_node *ring; /* the clock's hand */
	_Atomic size_t parked;
	dev_t devices[LOCAL_DEVICES_MAX]; /* other filesystems mounted below, in the order seen: their tags keep inode numbers unique */
	uint16_t device_tags[LOCAL_DEVICES_MAX];
	_Atomic uint32_t device_count;

	_Atomic uint64_t lookups, reads, writes, bytes_read, bytes_written, syncs, reopens;
};

/* nodes.c */
int local_nodes_start(struct local *local, const char *path, struct dc_error *error, const char *id);
void local_nodes_stop(struct local *local);
size_t local_descriptors(void);
/* Takes over `descriptor` (an O_PATH or better one of `level`) and answers its node with one more reference. */
int local_node_get(struct local *local, int descriptor, int level, const struct statx *status, struct local_node **node);
void local_node_reference(struct local_node *node, uint64_t count);
void local_node_forget(struct local *local, struct local_node *node, uint64_t count);
int local_use(struct local *local, struct local_node *node); /* its descriptor, or -errno; balanced by local_done unless it failed */
void local_done(struct local_node *node);
int local_raise(struct local *local, struct dc_context *context, struct local_node *node, int descriptor, int level);
void local_lower(struct local_node *node, int descriptor);
int local_make_room(struct local *local); /* before a new descriptor is opened: -ENFILE when there is none to spare */
void local_keep(struct local *local, dev_t device, ino_t inode); /* this inode is about to lose a name: no node of it may stay parked */
uint64_t local_ino(struct local *local, dev_t device, ino_t inode);
int local_identify(struct dc_libservice *self, struct dc_node *node, void *identity);
int local_recover(struct dc_libservice *self, struct dc_context *context, const void *identity, size_t length, struct dc_node **node);

/* attributes.c */
int local_status(int descriptor, struct statx *status);
void local_fill(struct local *local, struct local_node *node, const struct statx *status, struct dc_attr *attr);
int local_getattr(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, struct dc_attr *attr);
int local_setattr(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const struct dc_attr *set, uint32_t mask, struct dc_attr *attr);
void local_clear_set_id(struct dc_context *context, struct local_node *node, int descriptor);
bool local_in_group(const struct dc_cred *cred, gid_t gid);
int local_chmod(struct local_node *node, int descriptor, mode_t mode);
ssize_t local_getxattr(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const char *name, void *value, size_t size);
int local_setxattr(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const char *name, const void *value, size_t size, int flags);
ssize_t local_listxattr(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, char *list, size_t size);
int local_removexattr(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const char *name);

/* names.c */
int local_open_beneath(int directory, const char *path, uint64_t flags, mode_t mode);
int local_lookup(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *path, size_t length, struct dc_node **node,
                 struct dc_attr *attr, size_t *consumed);
int local_create(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name, mode_t mode, int flags, struct dc_node **node,
                 struct dc_attr *attr);
int local_tmpfile(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, mode_t mode, int flags, struct dc_node **node, struct dc_attr *attr);
int local_mkdir(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name, mode_t mode, struct dc_node **node, struct dc_attr *attr);
int local_mknod(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name, mode_t mode, dev_t device, struct dc_node **node,
                struct dc_attr *attr);
int local_symlink(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name, const char *target, struct dc_node **node,
                  struct dc_attr *attr);
int local_link(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, struct dc_node *parent, const char *name, struct dc_attr *attr);
int local_unlink(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name);
int local_rmdir(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name);
int local_rename(struct dc_libservice *self, struct dc_context *context, struct dc_node *from, const char *from_name, struct dc_node *to, const char *to_name, uint32_t flags);
int local_readdir(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, uint64_t cookie, struct dc_dirent_sink *sink);
ssize_t local_readlink(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, char *buffer, size_t size);

/* data.c */
int local_open(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, int flags);
void local_close(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, int flags);
ssize_t local_read(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const struct iovec *iov, int iovcnt, off_t offset, uint32_t flags);
ssize_t local_write(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const struct iovec *iov, int iovcnt, off_t *offset, uint32_t flags);
int local_fsync(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, bool data_only);
int local_fallocate(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, int mode, off_t offset, off_t length);
off_t local_seek(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, off_t offset, int whence);
ssize_t local_copy(struct dc_libservice *self, struct dc_context *context, struct dc_node *from, off_t from_offset, struct dc_node *to, off_t to_offset, size_t length);

static inline struct local *local_of(struct dc_libservice *self) { return self->state; }
static inline struct local_node *local_node_of(struct dc_node *node) { return (struct local_node *)node; }

#endif
