/*
 * rivals.c - the queues that are compared, each in its published form, on offsets instead of pointers.
 *   rcq         ours for `trust: pool` (native/ipc/queue.c)
 *   mailboxes   ours for `trust: process` (native/ipc/mailbox.c)
 *   rcqb        the blocking member of the family (TOPC 10.1145/3565514): four states per slot, data beside them; a process that dies within wedges the slot
 *   mutex       a ring behind a process-shared mutex
 *   vyukov      D. Vyukov's bounded queue: a sequence number per cell
 *   ms          Michael and Scott's list (PODC'96), nodes from a Treiber stack, both with tags
 *   scq         R. Nikolaev's scalable circular queue (DISC'19): two rings of indices
 */
#include <pthread.h>
#include <string.h>

#include "bench.h"
#include "mailbox.h"
#include "queue.h"

#define LINE 64
#define SLOTS 1024u
#define TAKERS 8u

#define load(p) atomic_load_explicit(p, memory_order_acquire)
#define peek(p) atomic_load_explicit(p, memory_order_relaxed)
#define store(p, v) atomic_store_explicit(p, v, memory_order_release)
#define swap(p, e, d) atomic_compare_exchange_strong_explicit(p, e, d, memory_order_acq_rel, memory_order_acquire)

/* ---- ours: the relaxed queue -------------------------------------------------------------------------------------------------- */
struct rcq {
	struct dc_queue queue;
	struct dc_queue_reader reader;
};
static size_t rcq_size(void) { return sizeof(struct rcq); }
static void rcq_init(void *memory) {
	struct rcq *rcq = memory;
	dc_queue_init(&rcq->queue, 1, 0);
	rcq->reader.queue = &rcq->queue; /* the parent's address: only it takes */
	rcq->reader.patience_ns = 300000; /* as shipped */
}
static bool rcq_put(void *memory, unsigned who, uint32_t item) { return dc_queue_put(&((struct rcq *)memory)->queue, item, 1000000000) == 0; }
static bool rcq_take(void *memory, unsigned who, uint32_t *item) { return dc_queue_take(&((struct rcq *)memory)->reader, item) == DC_TAKE_ITEM; }

/* ---- ours: mailboxes ------------------------------------------------------------------------------------------------------------ */
struct boxes {
	struct { alignas(4096) struct dc_mailbox place[DC_MAILBOX_PLACES]; } client[CLIENTS_MAX];
	struct dc_mailboxes mailboxes;
	struct { alignas(LINE) unsigned cursor; } taker[TAKERS];
};
static size_t boxes_size(void) { return sizeof(struct boxes); }
static void boxes_init(void *memory) {
	struct boxes *boxes = memory;
	for (unsigned i = 0; i < CLIENTS_MAX; i++) {
		int place = dc_mailboxes_reserve(&boxes->mailboxes, i, 1);
		dc_mailboxes_open(&boxes->mailboxes, (unsigned)place, &boxes->client[i].place[DC_MAILBOX_PLACE(i)]);
	}
}
static bool boxes_put(void *memory, unsigned who, uint32_t item) {
	struct dc_mailbox *box = &((struct boxes *)memory)->client[who].place[DC_MAILBOX_PLACE(who)];
	uint64_t bells = peek(&box->bells);
	if (!~bells) return false;
	/* As threads that each use a slot of their own would: not the one that was just rung for. */
	unsigned slot = item & 63;
	if (bells >> slot & 1) slot = (unsigned)__builtin_ctzll(~bells);
	dc_mailbox_ring(box, slot);
	return true;
}
static bool boxes_take(void *memory, unsigned who, uint32_t *item) {
	struct boxes *boxes = memory;
	return dc_mailboxes_take(&boxes->mailboxes, &boxes->taker[who].cursor, true, 0, item) == DC_TAKE_ITEM;
}

/* ---- RCQB ------------------------------------------------------------------------------------------------------------------------ */
enum { FREE, PUTTING, OCCUPIED, TAKING };
struct rcqb {
	alignas(LINE) _Atomic uint64_t head;
	alignas(LINE) _Atomic uint64_t tail;
	struct { alignas(LINE) _Atomic uint32_t state; _Atomic uint32_t waiters; uint64_t data; } slot[SLOTS];
	struct { alignas(LINE) uint64_t ticket; bool has; } taker[TAKERS];
};
static size_t rcqb_size(void) { return sizeof(struct rcqb); }
static void rcqb_init(void *memory) { (void)memory; }
static bool rcqb_put(void *memory, unsigned who, uint32_t item) {
	struct rcqb *rcqb = memory;
	uint64_t ticket = atomic_fetch_add_explicit(&rcqb->tail, 1, memory_order_acq_rel) % SLOTS;
	uint32_t expected = FREE;
	for (unsigned round = 0; !swap(&rcqb->slot[ticket].state, &expected, PUTTING); expected = FREE) {
		dc_pause();
		if (++round % 100 == 0) sched_yield();
	}
	rcqb->slot[ticket].data = item;
	atomic_store(&rcqb->slot[ticket].state, OCCUPIED);
	if (atomic_load(&rcqb->slot[ticket].waiters)) dc_futex_wake(&rcqb->slot[ticket].state, 1);
	return true;
}
static bool rcqb_take(void *memory, unsigned who, uint32_t *item) {
	struct rcqb *rcqb = memory;
	/* Taking waits for its slot: here it comes again to the same one. */
	if (!rcqb->taker[who].has) rcqb->taker[who].ticket = atomic_fetch_add_explicit(&rcqb->head, 1, memory_order_acq_rel) % SLOTS;
	rcqb->taker[who].has = true;
	uint64_t ticket = rcqb->taker[who].ticket;
	uint32_t expected = OCCUPIED;
	if (load(&rcqb->slot[ticket].state) != OCCUPIED || !swap(&rcqb->slot[ticket].state, &expected, TAKING)) return false;
	*item = (uint32_t)rcqb->slot[ticket].data;
	store(&rcqb->slot[ticket].state, FREE);
	rcqb->taker[who].has = false;
	return true;
}

/* ---- mutex ------------------------------------------------------------------------------------------------------------------------ */
struct locked {
	pthread_mutex_t lock;
	alignas(LINE) uint64_t head, tail;
	uint32_t item[SLOTS];
};
static size_t locked_size(void) { return sizeof(struct locked); }
static void locked_init(void *memory) {
	pthread_mutexattr_t attributes;
	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&((struct locked *)memory)->lock, &attributes);
}
static bool locked_put(void *memory, unsigned who, uint32_t item) {
	struct locked *locked = memory;
	pthread_mutex_lock(&locked->lock);
	bool room = locked->tail - locked->head < SLOTS;
	if (room) locked->item[locked->tail++ % SLOTS] = item;
	pthread_mutex_unlock(&locked->lock);
	return room;
}
static bool locked_take(void *memory, unsigned who, uint32_t *item) {
	struct locked *locked = memory;
	pthread_mutex_lock(&locked->lock);
	bool any = locked->tail != locked->head;
	if (any) *item = locked->item[locked->head++ % SLOTS];
	pthread_mutex_unlock(&locked->lock);
	return any;
}

/* ---- Vyukov ------------------------------------------------------------------------------------------------------------------------- */
struct vyukov {
	alignas(LINE) _Atomic uint64_t head;
	alignas(LINE) _Atomic uint64_t tail;
	struct { alignas(LINE) _Atomic uint64_t sequence; uint32_t item; } cell[SLOTS];
};
static size_t vyukov_size(void) { return sizeof(struct vyukov); }
static void vyukov_init(void *memory) {
	for (uint64_t i = 0; i < SLOTS; i++) store(&((struct vyukov *)memory)->cell[i].sequence, i);
}
static bool vyukov_put(void *memory, unsigned who, uint32_t item) {
	struct vyukov *vyukov = memory;
	uint64_t at = peek(&vyukov->tail);
	for (;;) {
		int64_t ahead = (int64_t)(load(&vyukov->cell[at % SLOTS].sequence) - at);
		if (ahead < 0) return false;
		if (ahead > 0) at = peek(&vyukov->tail);
		else if (atomic_compare_exchange_weak_explicit(&vyukov->tail, &at, at + 1, memory_order_relaxed, memory_order_relaxed)) break;
	}
	vyukov->cell[at % SLOTS].item = item;
	store(&vyukov->cell[at % SLOTS].sequence, at + 1);
	return true;
}
static bool vyukov_take(void *memory, unsigned who, uint32_t *item) {
	struct vyukov *vyukov = memory;
	uint64_t at = peek(&vyukov->head);
	for (;;) {
		int64_t ahead = (int64_t)(load(&vyukov->cell[at % SLOTS].sequence) - (at + 1));
		if (ahead < 0) return false;
		if (ahead > 0) at = peek(&vyukov->head);
		else if (atomic_compare_exchange_weak_explicit(&vyukov->head, &at, at + 1, memory_order_relaxed, memory_order_relaxed)) break;
	}
	*item = vyukov->cell[at % SLOTS].item;
	store(&vyukov->cell[at % SLOTS].sequence, at + SLOTS);
	return true;
}

/* ---- Michael and Scott: a reference is {tag:32, index:32}; index 0 is none ----------------------------------------------------------- */
struct ms {
	alignas(LINE) _Atomic uint64_t head;
	alignas(LINE) _Atomic uint64_t tail;
	alignas(LINE) _Atomic uint64_t free;
	struct { alignas(LINE) _Atomic uint64_t next; _Atomic uint32_t item; } node[SLOTS + 2];
};
#define INDEX(reference) ((uint32_t)(reference))
#define REFERENCE(before, index) ((((before) >> 32) + 1) << 32 | (index))
static size_t ms_size(void) { return sizeof(struct ms); }
static void ms_init(void *memory) {
	struct ms *ms = memory;
	store(&ms->head, 1);
	store(&ms->tail, 1);
	for (uint64_t i = 2; i <= SLOTS + 1; i++) store(&ms->node[i].next, i == SLOTS + 1 ? 0 : i + 1);
	store(&ms->free, 2);
}
static uint32_t ms_allocate(struct ms *ms) {
	uint64_t free = load(&ms->free);
	while (INDEX(free) && !swap(&ms->free, &free, REFERENCE(free, INDEX(peek(&ms->node[INDEX(free)].next))))) continue;
	return INDEX(free);
}
static void ms_release(struct ms *ms, uint32_t index) {
	uint64_t free = load(&ms->free);
	do store(&ms->node[index].next, REFERENCE(peek(&ms->node[index].next), INDEX(free)));
	while (!swap(&ms->free, &free, REFERENCE(free, index)));
}
static bool ms_put(void *memory, unsigned who, uint32_t item) {
	struct ms *ms = memory;
	uint32_t node = ms_allocate(ms);
	if (!node) return false;
	store(&ms->node[node].item, item);
	store(&ms->node[node].next, REFERENCE(peek(&ms->node[node].next), 0));
	for (;;) {
		uint64_t tail = load(&ms->tail), next = load(&ms->node[INDEX(tail)].next);
		if (tail != load(&ms->tail)) continue;
		if (INDEX(next)) {
			swap(&ms->tail, &tail, REFERENCE(tail, INDEX(next)));
		} else if (swap(&ms->node[INDEX(tail)].next, &next, REFERENCE(next, node))) {
			swap(&ms->tail, &tail, REFERENCE(tail, node));
			return true;
		}
	}
}
static bool ms_take(void *memory, unsigned who, uint32_t *item) {
	struct ms *ms = memory;
	for (;;) {
		uint64_t head = load(&ms->head), tail = load(&ms->tail), next = load(&ms->node[INDEX(head)].next);
		if (head != load(&ms->head)) continue;
		if (INDEX(head) == INDEX(tail)) {
			if (!INDEX(next)) return false;
			swap(&ms->tail, &tail, REFERENCE(tail, INDEX(next)));
			continue;
		}
		*item = peek(&ms->node[INDEX(next)].item);
		if (!swap(&ms->head, &head, REFERENCE(head, INDEX(next)))) continue;
		ms_release(ms, INDEX(head));
		return true;
	}
}

/* ---- SCQ: an entry is {cycle, safe:1, index:11}; the index of all ones is none -------------------------------------------------------- */
#define RING (2 * SLOTS)
#define NONE (RING - 1)
#define SAFE ((uint64_t)RING)
#define CYCLE(entry) ((entry) / (2 * RING))
#define ENTRY(cycle, safe, index) ((cycle) * (2 * RING) | (safe) | (index))
struct ring {
	alignas(LINE) _Atomic uint64_t head;
	alignas(LINE) _Atomic uint64_t tail;
	alignas(LINE) _Atomic int64_t threshold;
	alignas(LINE) _Atomic uint64_t entry[RING];
};
struct scq {
	struct ring free, full;
	struct { alignas(LINE) _Atomic uint32_t item; } data[SLOTS];
};
/* Neighbours in order are not neighbours in the cache. */
static unsigned spread(uint64_t at) { return (unsigned)((at % RING) / (RING / 8) + (at % RING) * 8 % RING); }
static void ring_put(struct ring *ring, uint64_t index) {
	for (;;) {
		uint64_t tail = atomic_fetch_add(&ring->tail, 1), cycle = tail / RING;
		_Atomic uint64_t *at = &ring->entry[spread(tail)];
		uint64_t seen = load(at);
		while (CYCLE(seen) < cycle && (seen & NONE) == NONE && ((seen & SAFE) || atomic_load(&ring->head) <= tail)) {
			if (!swap(at, &seen, ENTRY(cycle, SAFE, index))) continue;
			if (atomic_load(&ring->threshold) != 3 * (int64_t)SLOTS - 1) atomic_store(&ring->threshold, 3 * (int64_t)SLOTS - 1);
			return;
		}
	}
}
static bool ring_take(struct ring *ring, uint64_t *index) {
	if (atomic_load(&ring->threshold) < 0) return false;
	for (;;) {
		uint64_t head = atomic_fetch_add(&ring->head, 1), cycle = head / RING;
		_Atomic uint64_t *at = &ring->entry[spread(head)];
		uint64_t seen = load(at);
		for (;;) {
			if (CYCLE(seen) == cycle) {
				*index = atomic_fetch_or(at, NONE) & NONE;
				return true;
			}
			if (CYCLE(seen) > cycle) break;
			if (swap(at, &seen, (seen & NONE) == NONE ? ENTRY(cycle, seen & SAFE, NONE) : seen & ~SAFE)) break;
		}
		uint64_t tail = atomic_load(&ring->tail);
		if (tail <= head + 1) {
			while (tail < head + 1 && !swap(&ring->tail, &tail, head + 1)) continue;
			atomic_fetch_sub(&ring->threshold, 1);
			return false;
		}
		if (atomic_fetch_sub(&ring->threshold, 1) <= 0) return false;
	}
}
static size_t scq_size(void) { return sizeof(struct scq); }
static void ring_init(struct ring *ring) {
	for (unsigned i = 0; i < RING; i++) store(&ring->entry[i], ENTRY(0, SAFE, NONE));
	store(&ring->head, RING);
	store(&ring->tail, RING);
	store(&ring->threshold, -1);
}
static void scq_init(void *memory) {
	struct scq *scq = memory;
	ring_init(&scq->free);
	ring_init(&scq->full);
	for (uint64_t i = 0; i < SLOTS; i++) ring_put(&scq->free, i);
}
static bool scq_put(void *memory, unsigned who, uint32_t item) {
	struct scq *scq = memory;
	uint64_t index;
	if (!ring_take(&scq->free, &index)) return false;
	store(&scq->data[index].item, item);
	ring_put(&scq->full, index);
	return true;
}
static bool scq_take(void *memory, unsigned who, uint32_t *item) {
	struct scq *scq = memory;
	uint64_t index;
	if (!ring_take(&scq->full, &index)) return false;
	*item = peek(&scq->data[index].item);
	ring_put(&scq->free, index);
	return true;
}

const struct rival rivals[] = {
	{"rcq", "relaxed queue, shipped", rcq_size, rcq_init, rcq_put, rcq_take},
	{"mailboxes", "mailbox per client, shipped", boxes_size, boxes_init, boxes_put, boxes_take},
	{"rcqb", "relaxed queue, blocking slots", rcqb_size, rcqb_init, rcqb_put, rcqb_take},
	{"mutex", "ring behind a mutex", locked_size, locked_init, locked_put, locked_take},
	{"vyukov", "bounded MPMC", vyukov_size, vyukov_init, vyukov_put, vyukov_take},
	{"ms", "Michael-Scott list", ms_size, ms_init, ms_put, ms_take},
	{"scq", "scalable circular queue", scq_size, scq_init, scq_put, scq_take},
};
const unsigned rival_count = sizeof rivals / sizeof rivals[0];
