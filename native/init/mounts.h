/*
 * mounts.h - one instance and its kernel door, as pool-init holds it.
 */
#ifndef DICICLO_INIT_MOUNTS_H
#define DICICLO_INIT_MOUNTS_H

#include "link.h"
#include "pool.h"

#define DC_INIT_REQUEST_MAX 1024u /* the kernel's FUSE_INIT has about 100 bytes */

enum dc_mount_state {
	DC_MOUNT_MAKING,   /* a helper mounts it */
	DC_MOUNT_ASKING,   /* the service opens the stack */
	DC_MOUNT_LIVE,
	DC_MOUNT_RENEWING, /* a helper mounts it anew, because the kernel cannot resend what a dead service took */
	DC_MOUNT_DEAD,     /* the service could not open it again: stays mounted and answers errors, since the directory beneath must not take its place */
	DC_MOUNT_LEAVING,  /* a helper unmounts it */
	DC_MOUNT_CLOSING,  /* the service closes the stack */
	DC_MOUNT_UNDOING,  /* it failed: a helper removes what was made */
};

struct dc_pool_mount {
	struct dc_pool_mount *next;
	struct dc_pool *pool;
	enum dc_mount_state state;
	uint32_t id;
	char *name, *mountpoint;
	bool cache, make_directory;
	int plan_fd, fuse_fd;
	int clones[DC_LINK_CLONES_MAX];
	unsigned clone_count;
	unsigned char init[DC_INIT_REQUEST_MAX];
	size_t init_length;
	uint64_t device;
	uint64_t *covered;        /* devices of dead connections below the living one */
	unsigned covered_count;
	uint32_t made_length;     /* of the first directory that we made on the way to it */
	bool fresh;               /* no service was told of this connection yet */
	bool told;                /* this service was */
	bool stale;               /* the connection died with a service: mount anew */
	bool seen;                /* in the kernel's mount table (mount_watch.c) */
	bool again;               /* closing, to be mounted anew */
	unsigned taken_away;      /* times in a row that the kernel had taken it away before it was served */
	bool restored, force;
	struct dc_request *request; /* who waits; NULL: nobody */
	struct dc_helper helper;
	struct dc_fault fault;    /* why it is being undone */
};

/* ---- doors.c ---------------------------------------------------------------------------------------------------------------- */
/* Opens /dev/fuse and `clones` further descriptors of it. */
int dc_door_open(struct dc_pool_mount *mount, struct dc_fault *fault);
void dc_door_clone(struct dc_pool_mount *mount, unsigned clones);
void dc_door_close(struct dc_pool_mount *mount);
/* Reads the kernel's INIT once it is mounted. */
int dc_door_read_init(struct dc_pool_mount *mount, struct dc_fault *fault);
/* Puts what a dead service took back into the queue; false: this kernel cannot. */
bool dc_door_resend(struct dc_pool_mount *mount);
/* In a helper process, since each of them may block. */
void dc_door_mount(struct dc_helper *helper, struct dc_helper_answer *answer);
void dc_door_unmount(struct dc_helper *helper, struct dc_helper_answer *answer);
void dc_door_renew(struct dc_helper *helper, struct dc_helper_answer *answer);
void dc_door_undo(struct dc_helper *helper, struct dc_helper_answer *answer);

/* ---- mounts.c, for mount_watch.c: somebody else has unmounted it. ------------------------------------------------------------------- */
void dc_mount_lost(struct dc_pool_mount *mount);
/* Whether all that should be mounted is. What is being mounted is not looked at, so its mounting ends with a look: nothing more may change after. */
void dc_mounts_look(struct dc_pool *pool);

/* ---- mount_table.c: the file that libraries map ------------------------------------------------------------------------------- */
void dc_mount_table_publish(struct dc_pool *pool, const struct dc_pool_mount *mount, uint32_t flags);
void dc_mount_table_remove(struct dc_pool *pool, uint32_t id);

#endif
