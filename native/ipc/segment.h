/*
 * segment.h - the layout of shared memory between the processes of a pool and its service.
 *
 *   queue    one sealed memfd per pool, shared by all its processes (`trust: pool` only): slots of the relaxed queue and the workers' wake-up words, nothing else;
 *   arena    one sealed memfd per client process, mapped by that process and the service only: its mailbox (`trust: process`), requests, answers and buffers;
 *   mounts   one file per pool, mapped read-only by libraries: which paths belong to which instance.
 *
 * Shared memory carries messages, never state: what the service decides by it copies once and keeps in private memory (DESIGN §5.1, Xen XSA-155).
 */
#ifndef DICICLO_IPC_SEGMENT_H
#define DICICLO_IPC_SEGMENT_H

#include <limits.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "copy.h"

#define DC_LAYOUT_VERSION 10u
#define DC_CACHE_LINE 64

/* ---- queue ---------------------------------------------------------------------------------------------------------------- */
#ifndef DC_QUEUE_SHIFT /* tests make it smaller */
#define DC_QUEUE_SHIFT 10u
#endif
#define DC_QUEUE_SLOTS (1u << DC_QUEUE_SHIFT)
#define DC_WORKERS_MAX 32u

/* One word moves everything: {lap:32, state:2, item:30}. It changes by compare-and-swap only. */
#define DC_WORD_FREE 0u
#define DC_WORD_OCCUPIED 1u
#define DC_WORD(lap, state, item) (((uint64_t)(uint32_t)(lap) << 32) | ((uint64_t)(state) << 30) | (uint64_t)(item))
#define DC_WORD_LAP(word) ((uint32_t)((word) >> 32))
#define DC_WORD_STATE(word) ((uint32_t)((word) >> 30) & 3u)
#define DC_WORD_ITEM(word) ((uint32_t)(word) & 0x3fffffffu)

/* An item names a request: {client generation:10, client index:14, slot:6}. The service compares the generation with its private table. */
#define DC_ITEM(generation, client, slot) ((((uint32_t)(generation) & 0x3ffu) << 20) | ((uint32_t)(client) << 6) | (uint32_t)(slot))
#define DC_ITEM_GENERATION(item) ((item) >> 20)
#define DC_ITEM_CLIENT(item) (((item) >> 6) & 0x3fffu)
#define DC_ITEM_SLOT(item) ((item) & 0x3fu)
#define DC_CLIENTS_MAX 16384u
#define DC_SLOTS_MAX 64u
#define DC_SLOT_POSTS 63u /* no request: "look at my post ring" */

struct dc_queue_slot {
	alignas(DC_CACHE_LINE) _Atomic uint64_t word;
};

/*
 * Worker counts in one word, so that an enqueuer decides by one load: sleeping | spinning << 8 | running << 16 (running: executing and not blocked), and whether one sleeps on `wake`. One
 * worker at most sleeps there, the last that worked if it can: its caches are warm. The others sleep on `wake_reserve`, and are woken when nobody is on `wake`.
 */
#define DC_WORKERS_FIRST_SLEEPS 0x80000000u
#define DC_WORKERS_SLEEPING(w) ((w) & 0xffu)
#define DC_WORKERS_SPINNING(w) (((w) >> 8) & 0xffu)
#define DC_WORKERS_RUNNING(w) (((w) >> 16) & 0x7fffu)

struct dc_board {
	alignas(DC_CACHE_LINE) _Atomic uint32_t workers;    /* written by the service, several times for a request */
	alignas(DC_CACHE_LINE) _Atomic uint32_t worker_cpu; /* where the spinning or last running worker is, for the sender's decision to spin; who waits keeps looking at it */
	alignas(DC_CACHE_LINE) _Atomic uint32_t wake;    /* futexes: workers sleep on them; each wake-up adds one */
	alignas(DC_CACHE_LINE) _Atomic uint32_t wake_reserve;
};

/* Its layout is that of the arenas, which say which. */
struct dc_queue {
	uint32_t running_target; /* wake another worker while fewer than this run */
	uint32_t spin_ns;        /* longest spin that pays on this machine */
	alignas(DC_CACHE_LINE) _Atomic uint64_t tail;
	struct dc_board board;
	alignas(DC_CACHE_LINE) struct dc_queue_slot slot[DC_QUEUE_SLOTS];
};
_Static_assert(offsetof(struct dc_queue, tail) == 64, "queue layout");
_Static_assert(offsetof(struct dc_queue, board) == 128, "queue layout");
_Static_assert(offsetof(struct dc_queue, slot) == 384, "queue layout");
_Static_assert(sizeof(struct dc_queue) == 384 + 64 * DC_QUEUE_SLOTS, "queue layout");

/* ---- arena ---------------------------------------------------------------------------------------------------------------- */
#define DC_ARENA_MAGIC UINT64_C(0x616e656172616364) /* "dcaranea" */
#define DC_ARENA_SLOTS DC_SLOTS_MAX
#define DC_BUFFER_SIZE (1u << 20)     /* one slot's buffer: the longest transfer of one request, bytes */
#define DC_ARENA_DATA_OFFSET 65536u
#define DC_REQUEST_SLOTS (DC_ARENA_SLOTS - 1) /* the last is DC_SLOT_POSTS */
#define DC_POST_BYTES DC_BUFFER_SIZE /* of records, in the buffer of DC_SLOT_POSTS: what may be acknowledged and not yet written, per process */
#define DC_ARENA_SIZE ((size_t)DC_ARENA_DATA_OFFSET + (size_t)DC_ARENA_SLOTS * DC_BUFFER_SIZE)

/*
 * The mailbox: how a process of a pool with `trust: process` says that a slot holds a request. Nobody but the process and the service can reach it, so whatever a hostile process writes here
 * concerns its own requests: it can ring for nothing, and lose its own.
 *   ring    client: set the slot's bit in `bells`; unless `ear` is quiet, mark it rung and wake it.   take   worker: clear a bit, make a rung ear quiet.
 *   sleep   worker: arm every ear, look at every bell once more, then sleep on all ears at once. Both sides are sequentially consistent (a Dekker pattern).
 *   call    client: count up `late` and wake whoever sleeps on it, a thread that does nothing but wake a further worker (dc_receiver_attend).
 */
enum { DC_EAR_QUIET, DC_EAR_ARMED, DC_EAR_RUNG };
struct dc_mailbox {
	alignas(DC_CACHE_LINE) _Atomic uint64_t bells; /* bit n: slot n holds a request */
	_Atomic uint32_t ear;                          /* futex: a worker sleeps on it while it is armed */
	_Atomic uint32_t worker_cpu;                   /* of the worker that took the last request, for the sender's decision to spin */
	uint32_t spin_ns;                              /* longest spin that pays on this machine; written by the service */
	_Atomic uint32_t late;                         /* futex: how often the client has called because its request was not taken for long */
};
_Static_assert(sizeof(struct dc_mailbox) == DC_CACHE_LINE, "mailbox layout");

/* One of the places is used, by the client's index: the workers look at everybody's mailbox in turn, and lines at the same offset in their pages would push each other out of the cache. */
#define DC_MAILBOX_PLACES 32u
#define DC_MAILBOX_PLACE(client) ((client) % DC_MAILBOX_PLACES)

/* The answer word: {sequence:30, state:2}; a futex. The client sets PENDING, the service swaps in DONE and wakes when it finds WAITING. */
#define DC_ANSWER_IDLE 0u
#define DC_ANSWER_PENDING 1u
#define DC_ANSWER_WAITING 2u
#define DC_ANSWER_DONE 3u
#define DC_ANSWER(sequence, state) (((uint32_t)(sequence) << 2) | (state))
#define DC_ANSWER_STATE(word) ((word) & 3u)
#define DC_ANSWER_SEQUENCE(word) ((word) >> 2)
static inline bool dc_answer_awaited(uint32_t word) { return DC_ANSWER_STATE(word) == DC_ANSWER_PENDING || DC_ANSWER_STATE(word) == DC_ANSWER_WAITING; }

/*
 * Posted writes: where an instance writes back, a client that holds a grant puts a write into this ring and is done; the service makes it later, and before anybody can see that it was not made
 * yet (service/posts.c). Positions count bytes for ever; the place is the position modulo DC_POST_BYTES. A record never wraps.
 *
 * `generation` moves when the service takes all grants of this client back; then it makes what is there, and says so in `sealed`. Records of an earlier generation that it finds later are marked
 * void and not made. So a client publishes its record (tail), then looks at the generation again: had it moved, the record counts only if the sealed ring's head is behind it and it is not void.
 */
#define DC_POST_ALIGN 32u
enum { DC_POST_WRITE = 1, DC_POST_FILLER = 2, DC_POST_VOID = 3 };
struct dc_post_record {
	uint32_t length;     /* with this header and padding, a multiple of DC_POST_ALIGN */
	uint32_t bytes;      /* of data, behind the header */
	uint64_t handle;
	uint64_t offset;
	uint32_t generation;
	_Atomic uint32_t kind;
};
struct dc_post_ring {
	alignas(DC_CACHE_LINE) _Atomic uint64_t tail;          /* the client writes */
	alignas(DC_CACHE_LINE) _Atomic uint64_t head;          /* from here on the service writes */
	_Atomic uint32_t generation; /* 0: no posting */
	_Atomic uint32_t sealed;     /* the last generation at whose begin everything before it was made */
	_Atomic uint32_t draining;   /* a worker makes what is there, and looks for more before it ends: nobody need ring */
	alignas(DC_CACHE_LINE) _Atomic uint32_t lease_epoch; /* of the service that answers now: places told by another are void. 0: none are given */
	alignas(DC_CACHE_LINE) _Atomic uint64_t leased;      /* the client counts: reads that needed no request, */
	_Atomic uint64_t leased_answers;                     /* and answers about names and attributes */
};
_Static_assert(sizeof(struct dc_post_record) == DC_POST_ALIGN, "post layout");
_Static_assert(sizeof(struct dc_post_ring) == 4 * DC_CACHE_LINE, "post layout");

/* Attributes on the wire: fixed layout, so that library and service may be of different builds. */
struct dc_wire_attr {
	uint64_t ino, size, blocks, rdev;
	uint32_t mode, nlink, uid, gid;
	uint32_t blksize, reserved;
	int64_t atime, mtime, ctime, birth; /* seconds */
	uint32_t atime_ns, mtime_ns, ctime_ns, birth_ns; /* birth_ns UINT32_MAX: unknown */
};
_Static_assert(sizeof(struct dc_wire_attr) == 104, "wire layout");

struct dc_slot {
	/* line 0: the service writes, once, when it answers: until then the sender may be looking at it without end */
	alignas(DC_CACHE_LINE) _Atomic uint32_t answer;
	uint32_t reserved0;
	int64_t result;     /* >= 0, or -errno, or DC_RESULT_* */
	uint64_t value[3];  /* by operation, see protocol.h */
	uint64_t reserved1[3];
	/* line 1 and 2: the client writes, the service copies once */
	alignas(DC_CACHE_LINE) uint16_t operation;
	uint16_t cpu;       /* where the sender runs */
	uint32_t flags;
	uint32_t sequence;  /* as in `answer` */
	uint32_t instance;
	uint64_t handle;    /* open description, or base directory of `path`; 0: the instance's root */
	uint64_t offset;
	uint64_t length;    /* of the data, or space for the answer, bytes */
	uint32_t path_length;   /* at the start of the buffer, not terminated */
	uint32_t path2_length;  /* behind it */
	uint32_t mode;
	uint32_t mask;
	alignas(DC_CACHE_LINE) uint64_t handle2;
	uint64_t argument[5];
	uint64_t reserved2[2];
	/* line 3 and 4: attributes, both directions */
	alignas(DC_CACHE_LINE) struct dc_wire_attr attr;
	/* By the service for its successor: which request it took last, so that it may have been done (DC_TAKEN); how far an operation that must happen once has got (DC_STAGE_*), and what it was about. */
	uint32_t taken;
	uint32_t reserved3;
	uint64_t stage, stage_value;
};
_Static_assert(offsetof(struct dc_slot, operation) == 64, "slot layout");
_Static_assert(offsetof(struct dc_slot, handle2) == 128, "slot layout");
_Static_assert(offsetof(struct dc_slot, attr) == 192, "slot layout");
_Static_assert(sizeof(struct dc_slot) == 320, "slot layout");

#define DC_TAKEN(sequence) ((uint32_t)(sequence) + 1) /* 0: none yet */
#define DC_STAGE_NONE 0u  /* nothing has been changed yet */
#define DC_STAGE_BEGUN 1u /* perhaps */
#define DC_STAGE_DONE 2u  /* yes, or it has failed: `result` */

#define DC_UNCARRIED_MAX 256u /* counters of calls that the library left to the kernel door, by enum of the library */
#define DC_UNCARRIED_NAME 20u

/*
 * Most processes live for milliseconds and ask for a few names, and what that costs is page faults: the first in a range of 2 MiB, which takes a page table, several times as much as another. So
 * what such a process needs is together at the begin (of the slots, the first few; of the buffers, the first), and neither side looks at what was not used.
 */
struct dc_arena {
	uint64_t magic;
	uint32_t version;
	uint32_t slots;
	uint32_t client;      /* index */
	uint32_t generation;
	struct dc_copy_choice copy; /* the service's, there before the client has attached; the library checks it */
	_Atomic uint32_t closed; /* by the service: this client is cut off, nobody answers any more */
	/* By the client, who harms itself if they are wrong: no slot from here on has ever been used; no counter (below) has. */
	_Atomic uint32_t slots_used, uncarried_used;
	struct dc_mailbox mailbox[DC_MAILBOX_PLACES];
	struct dc_post_ring post;
	alignas(DC_CACHE_LINE) struct dc_slot slot[DC_ARENA_SLOTS];
	/* For information only: the library counts, the service reports. name: NUL-padded. */
	alignas(DC_CACHE_LINE) struct { char name[DC_UNCARRIED_NAME]; uint32_t reserved; _Atomic uint64_t count; } uncarried[DC_UNCARRIED_MAX];
};
_Static_assert(offsetof(struct dc_arena, copy) == 24 && offsetof(struct dc_arena, mailbox) == 64, "arena layout");
_Static_assert(offsetof(struct dc_arena, slot[2]) <= 4096, "the mailboxes, and what a process of one thread needs, are in the first page");
_Static_assert(sizeof(struct dc_arena) <= DC_ARENA_DATA_OFFSET, "arena header fits");

static inline unsigned char *dc_arena_buffer(struct dc_arena *arena, unsigned slot) {
	return (unsigned char *)arena + DC_ARENA_DATA_OFFSET + (size_t)slot * DC_BUFFER_SIZE;
}

static inline struct dc_post_ring *dc_arena_post(struct dc_arena *arena) { return &arena->post; }
static inline unsigned char *dc_arena_posts(struct dc_arena *arena) { return dc_arena_buffer(arena, DC_SLOT_POSTS); }

/* ---- mounts --------------------------------------------------------------------------------------------------------------- */
#define DC_MOUNTS_MAGIC UINT64_C(0x73746e756f6d6364) /* "dcmounts" */
#define DC_MOUNTS_MAX 64u
#define DC_MOUNT_CARRIED 1u /* the library serves it (cleared while the instance is going away) */

struct dc_mount_entry {
	uint32_t instance;   /* never reused while pool-init lives; 0: empty entry */
	uint32_t flags;
	uint64_t device;     /* st_dev of the kernel door, as makedev() gives it */
	uint32_t path_length;
	uint32_t reserved;
	char path[1000];     /* absolute, normalized, NUL-terminated */
};
/* A sequence lock: odd while pool-init writes. Longest prefix wins. */
struct dc_mounts {
	uint64_t magic;
	uint32_t version;
	uint32_t count;
	_Atomic uint64_t generation;
	uint64_t reserved[5];
	struct dc_mount_entry entry[DC_MOUNTS_MAX];
};
_Static_assert(sizeof(struct dc_mount_entry) == 1024, "mounts layout");
_Static_assert(offsetof(struct dc_mounts, entry) == 64, "mounts layout");

#endif
