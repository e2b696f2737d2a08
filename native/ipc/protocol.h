/*
 * protocol.h - the requests that a library sends to its service, and how a process attaches.
 *
 * A request names its slot in the sender's arena; the answer lands in the same slot. Paths are relative to `handle` (a directory; 0: the instance's root, where an
 * empty path is the root itself), at most
 * DC_PATH_MAX bytes, not terminated, may hold "." and ".." and doubled or trailing slashes, and are resolved in one request; the service follows symbolic links that stay inside the instance.
 * `mode` has the process's umask applied by the library already.
 * Where a path leaves the instance (an absolute link, ".." above the root, or a directory on which another instance is mounted) the answer is DC_RESULT_LEAVES: the buffer holds the absolute path to go on with (`value[0]` bytes),
 * already without what was resolved, and the client starts again with it.
 */
#ifndef DICICLO_IPC_PROTOCOL_H
#define DICICLO_IPC_PROTOCOL_H

#include "segment.h"
#include "stamp.h"

enum dc_result {
	DC_RESULT_LEAVES = -5001,
	DC_RESULT_KERNEL = -5002, /* open of a FIFO, socket or device: the kernel itself must do it, through the kernel door */
};

/* Flags of `slot.flags` for paths. */
enum {
	DC_PATH_NOFOLLOW = 1u << 0,  /* do not follow a symbolic link in the last component */
	DC_PATH_EMPTY = 1u << 1,     /* an empty path means `handle` itself (AT_EMPTY_PATH, and every f* call) */
	DC_PATH2_FOLLOW = 1u << 2,   /* link: AT_SYMLINK_FOLLOW */
	DC_PATH_LEASE = 1u << 5,     /* the sender wants to keep the answer (below: leases) */
	DC_READ_PLACE = 1u << 4,     /* read: the sender can map cache regions */
	DC_WRITE_GATHER = 1u << 6,   /* write: see there */
	DC_PATH_NO_XDEV = 1u << 16, /* openat2(2): RESOLVE_NO_XDEV, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH. What they leave to the kernel's judgement is answered DC_RESULT_KERNEL */
	DC_PATH_NO_SYMLINKS = 1u << 17,
	DC_PATH_BENEATH = 1u << 18,
	DC_PATH_SCOPE = DC_PATH_NO_XDEV | DC_PATH_NO_SYMLINKS | DC_PATH_BENEATH,
	DC_ACCESS_EFFECTIVE = 1u << 3, /* access: by effective ids (the service knows only these two sets as of attach) */
};

/*
 * Operations. "path" = handle + path + flags. Answers: `result` 0 or a count, or -errno; `attr` where said.
 *   in = what the request carries besides, out = what the answer carries besides.
 */
enum dc_operation {
	DC_OP_NULL = 0,      /* nothing; for measuring */
	DC_OP_OPEN,          /* path; in: mode, mask = open(2) flags (O_CREAT, O_EXCL, O_TRUNC, O_DIRECTORY, O_NOFOLLOW, O_TMPFILE, O_APPEND, O_SYNC, O_PATH ...);
	                        out: value[0] handle, value[1] 1: the kernel door knows this node, value[2] as value[0] of READ, attr */
	DC_OP_CLOSE,         /* handle */
	DC_OP_READ,          /* handle, offset, length <= DC_BUFFER_SIZE; out: data in the buffer. With DC_READ_PLACE, where trust allows: out: value[0] where the file's pages are
	                        found without a request from now on (page_index.h): {region:32, entry:32}, 0: nowhere */
	DC_OP_WRITE,         /* handle, offset, length, data in the buffer; mask = RWF_* of pwritev2(2); the handle's O_APPEND holds; out: value[0] offset behind the last byte written,
	                        value[1] grant: the generation of the post ring under which more may be posted, 0: none.
	                        With DC_WRITE_GATHER the data go on in the buffers of the slots whose bits argument[0] has, in order: one write, and so one append, of more than a buffer */
	DC_OP_FSYNC,         /* handle, mask 1: fdatasync */
	DC_OP_STAT,          /* path; out: attr */
	DC_OP_SETATTR,       /* path; in: mask DC_SET_*, attr.{mode,uid,gid,size,atime,mtime} */
	DC_OP_ACCESS,        /* path; in: mode R_OK|W_OK|X_OK */
	DC_OP_READDIR,       /* handle, offset = cookie (0: start), length = space; out: records struct dc_wire_dirent, result = bytes, 0 at the end */
	DC_OP_MKDIR,         /* path; in: mode */
	DC_OP_MKNOD,         /* path; in: mode with type, argument[0] device */
	DC_OP_UNLINK,        /* path */
	DC_OP_RMDIR,         /* path */
	DC_OP_RENAME,        /* path (old), handle2 + path2 (new); in: mask RENAME_*; out: value[0] 1: a directory that the kernel door knows moved */
	DC_OP_LINK,          /* path (old), handle2 + path2 (new) */
	DC_OP_SYMLINK,       /* path = where; path2 = target, not resolved */
	DC_OP_READLINK,      /* path; length = space; out: text in the buffer, result = bytes */
	DC_OP_GETXATTR,      /* path; path2 = name; length = space; out: value in the buffer */
	DC_OP_SETXATTR,      /* path; path2 = name; value behind path2, length bytes; mask XATTR_* */
	DC_OP_LISTXATTR,     /* path; length = space */
	DC_OP_REMOVEXATTR,   /* path; path2 = name */
	DC_OP_STATFS,        /* path; out: struct dc_wire_statfs in the buffer */
	DC_OP_FALLOCATE,     /* handle, mode, offset, length */
	DC_OP_SEEK,          /* handle, offset, mask SEEK_DATA or SEEK_HOLE; result = offset */
	DC_OP_COPY,          /* handle, offset -> handle2, argument[0]; length */
	DC_OP_SYNC,          /* the instance */
	DC_OP_ADOPT,         /* an inherited kernel door descriptor: argument[0] st_ino, argument[1] its number + 1 (0: the working directory), mask open(2) flags of the descriptor; out as OPEN */
	DC_OP_COUNT
};

/*
 * Leases, for STAT, ACCESS, READLINK and OPEN with DC_PATH_LEASE: out value[2] 1: the answer may be kept, until the time said and as long as each stamp named here is what it is said to be
 * (stamp.h). It stands DC_LEASE_OFFSET bytes behind the buffer's begin, at the end of the first page: none is given where path or text reach so far. Of an OPEN only that there is nothing to open.
 */
#define DC_LEASE_OFFSET (4096u - (unsigned)sizeof(struct dc_wire_lease))
#define DC_LEASE_STAMPS 12u
#ifndef DC_STAMPS /* tests make it smaller */
#define DC_STAMPS 65536u /* on a board; the region has nothing else */
#endif
struct dc_wire_stamp {
	uint64_t word;
	uint32_t index, reserved;
};
struct dc_wire_lease {
	uint64_t until; /* CLOCK_MONOTONIC_COARSE, ns */
	uint32_t region, count;
	struct dc_wire_stamp stamp[DC_LEASE_STAMPS];
};

struct dc_wire_dirent {
	uint64_t ino;
	uint64_t cookie;   /* to go on behind this entry */
	uint16_t record;   /* bytes of this record, multiple of 8 */
	uint8_t type;      /* DT_* */
	uint8_t name_length;
	char name[];       /* NUL-terminated */
};

struct dc_wire_statfs {
	uint64_t bsize, frsize, blocks, bfree, bavail, files, ffree, favail, fsid, flag, namemax;
};

/* A descriptor of an open description's node through the kernel door: open this name below the mount point (mode checks are the kernel's own). */
#define DC_DOOR_HANDLE_NAME ".diciclo-handle-%016llx"

/* ---- attach --------------------------------------------------------------------------------------------------------------- */
/*
 * SOCK_SEQPACKET to POOLDIR/attach.sock, served by pool-init. The client sends dc_attach_request; pool-init checks the peer (SO_PEERCRED and its namespaces), makes the arena, tells the
 * service, and answers dc_attach_answer with the arena's descriptor and, in a pool with `trust: pool`, the queue's behind it. There it does not wait until the service has mapped the arena: what is
 * asked before is found then. The socket is closed: pool-init watches the process by pidfd. A process attaches again after fork, exec and a change of its ids.
 */
#define DC_ATTACH_MAGIC 0x64634154u
struct dc_attach_request {
	uint32_t magic;
	uint32_t version; /* DC_LAYOUT_VERSION */
};
struct dc_attach_answer {
	uint32_t magic;
	int32_t error;      /* 0 or errno */
	uint32_t client, generation;
	uint64_t queue_size, arena_size; /* queue_size 0: there is no queue, requests go through the arena's mailbox (trust: process) */
	uint64_t epoch;
};

/* ---- cache regions ---------------------------------------------------------------------------------------------------------
 * SOCK_SEQPACKET to POOLDIR/regions.sock, served by the service, trust: pool only: dc_region_request, answered by dc_region_answer with a read-only descriptor of the region.
 */
#define DC_REGION_MAGIC 0x64635267u
struct dc_region_request {
	uint32_t magic, client, generation, region;
};
struct dc_region_answer {
	uint32_t magic;
	int32_t error; /* 0 or errno */
	uint64_t bytes;
};

#endif
