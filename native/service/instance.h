/*
 * instance.h - one mounted stack, as both doors see it. The back driver (operations.c, for libraries) and the kernel door (door.c) call the stack's root through
 * DC_FILE_CALL(instance->root, ...) with nodes of that root; what one door changes it tells the other through dc_door_* below before the change is acknowledged.
 */
#ifndef DICICLO_SERVICE_INSTANCE_H
#define DICICLO_SERVICE_INSTANCE_H

#include <diciclo/libservice.h>
#include <pthread.h>

#include "stack.h"

struct dc_covers;
struct dc_door;
struct dc_stamps;

/* ---- counters by door and operation (docs/contract.md §6) ------------------------------------------------------------------ */
enum dc_door_kind { DC_DOOR_LIBRARY, DC_DOOR_KERNEL, DC_DOOR_KINDS };
#define DC_COUNTED_OPERATIONS(X) \
	X(lookup) X(getattr) X(setattr) X(open) X(close) X(create) X(read) X(write) X(fsync) X(fdatasync) X(readdir) X(mkdir) X(mknod) X(unlink) X(rmdir) \
	X(rename) X(link) X(symlink) X(readlink) X(getxattr) X(setxattr) X(listxattr) X(removexattr) X(statfs) X(fallocate) X(truncate) X(access) X(opendir) \
	X(seek) X(copy) X(adopt)
enum dc_counted {
#define X(name) DC_COUNTED_##name,
	DC_COUNTED_OPERATIONS(X)
#undef X
	DC_COUNTED_COUNT
};

struct dc_instance {
	uint32_t id;              /* number in the mount table; never reused */
	char name[128];
	char mountpoint[1000];
	struct dc_stack *stack;
	struct dc_libservice *root;
	struct dc_libservice front;        /* write-back: the root as both doors call it, which makes posted writes first (posts.c) */
	struct dc_file_binding front_file;
	struct dc_stamps *stamps;  /* leases on names and attributes (stamps.h); NULL: none are given */
	struct dc_node *root_node; /* referenced */
	struct dc_door *door;      /* NULL: no kernel door */
	_Atomic uint32_t users;    /* calls in progress by workers */
	_Atomic bool closing;
	_Atomic(struct dc_covers *) covers; /* covers.h; NULL: no other instance is mounted in this one */
	struct dc_instance *next;
};

/* Adds one operation to the calling thread's counters: no shared cache line is written. `result` as the operation returned it (bytes for read and write). */
void dc_count(struct dc_instance *instance, enum dc_door_kind door, enum dc_counted operation, int64_t result, uint64_t nanoseconds);
uint64_t dc_now_ns(void); /* cheap monotonic clock */

/* An open description of a library, by its handle: for DC_DOOR_HANDLE_NAME lookups of the kernel door. Answers a referenced node or NULL. */
struct dc_node *dc_handle_node(struct dc_instance *instance, uint64_t handle);
bool dc_handle_lives(uint64_t handle);

/* ---- the kernel door (door.c) ---------------------------------------------------------------------------------------------- */
struct dc_door_options {
	int fuse_fd;             /* owned by the door from now on */
	const unsigned char *init_request; /* the kernel's FUSE_INIT as pool-init read it */
	size_t init_length;
	bool cache;              /* false: OPEN answers direct I/O and timeouts are zero */
	bool unlocked;           /* with `cache`: this kernel looks a name up before it locks the directory (dc_door_kernel_unlocked) */
	unsigned threads_max;
	bool held;               /* dc_door_serve comes later: a predecessor's requests are decided about first */
};
/* Of a kernel's release: does FUSE_NOTIFY_INVAL_ENTRY of a name that it does not have return without the directory's lock? */
bool dc_door_kernel_unlocked(const char *release);
/* Starts serving. The INIT answer is always written; a second one after a restart fails with ENOENT and is ignored. */
struct dc_door *dc_door_start(struct dc_instance *instance, const struct dc_door_options *options, struct dc_error *error);
/* Of a held door: 0 or -errno. Until then nothing is told to the kernel either; it hears that all it knows is in doubt. */
int dc_door_serve(struct dc_door *door);
/* Stops its threads and closes the descriptor. The kernel side is pool-init's. */
void dc_door_stop(struct dc_door *door);
/* Stops its threads before this process ends; all that the kernel knows is left to a successor. */
void dc_door_hand_over(struct dc_door *door);

/*
 * Called by the library's back driver after a change and before it is acknowledged, holding no lock that a kernel request may need.
 * Each costs nothing (one load of node->core) when the kernel has nothing cached of the node.
 */
void dc_door_changed_data(struct dc_door *door, struct dc_node *node, off_t offset, off_t length); /* length 0: to the end; attributes too */
void dc_door_changed_attr(struct dc_door *door, struct dc_node *node);
void dc_door_changed_entry(struct dc_door *door, struct dc_node *parent, const char *name);        /* made, removed or replaced */
void dc_door_unname(struct dc_door *door, uint64_t handle); /* the kernel need not know a description by its handle's name any more */
/* The node with this st_ino if the kernel knows it (DC_OP_ADOPT): referenced, or NULL. */
struct dc_node *dc_door_find(struct dc_door *door, uint64_t ino);
bool dc_door_knows(const struct dc_node *node);

#endif
