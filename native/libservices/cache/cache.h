/* cache.h - the parts of the `cache` libservice; see cache.c for what it is. */
#ifndef DICICLO_CACHE_H
#define DICICLO_CACHE_H

#include <diciclo/libservice.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "page_index.h"

#define CACHE_PAGE DC_INDEX_PAGE
#define CACHE_PAGE_SHIFT 12
#define CACHE_BLOCK_PAGES DC_INDEX_BLOCK_PAGES /* 2 MiB */
#define CACHE_BLOCK_BYTES ((size_t)CACHE_BLOCK_PAGES * CACHE_PAGE)
#define CACHE_RUN_PAGES 64u    /* pages per call to the child */
#define CACHE_READAHEAD_PAGES 32u
#define CACHE_STRIPES 64u
#define CACHE_SHARDS 16u

#if defined(__SANITIZE_THREAD__)
#define CACHE_TSAN 1
#endif
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CACHE_TSAN 1
#endif
#endif

/* ---- small locks ---------------------------------------------------------------------------------------------------------- */
struct cache_spin { _Atomic uint32_t held; };
struct cache_rwspin { _Alignas(64) _Atomic int32_t state; }; /* readers, or -1 for the writer */

static inline void cache_relax(unsigned round)
{
	if ((round & 63) == 63)
		sched_yield();
#if defined(__x86_64__)
	else
		__builtin_ia32_pause();
#endif
}

static inline void cache_spin_lock(struct cache_spin *spin)
{
	unsigned round = 0;
	while (atomic_exchange_explicit(&spin->held, 1, memory_order_acquire))
		cache_relax(round++);
}

static inline void cache_spin_unlock(struct cache_spin *spin) { atomic_store_explicit(&spin->held, 0, memory_order_release); }

static inline void cache_read_lock(struct cache_rwspin *lock)
{
	unsigned round = 0;
	while (atomic_fetch_add_explicit(&lock->state, 1, memory_order_acquire) < 0) {
		atomic_fetch_sub_explicit(&lock->state, 1, memory_order_relaxed);
		while (atomic_load_explicit(&lock->state, memory_order_relaxed) < 0)
			cache_relax(round++);
	}
}

static inline void cache_read_unlock(struct cache_rwspin *lock) { atomic_fetch_sub_explicit(&lock->state, 1, memory_order_release); }

#define CACHE_WRITER (-(1 << 30)) /* far below zero: readers that try meanwhile add to it and take it back */
static inline void cache_write_lock(struct cache_rwspin *lock)
{
	unsigned round = 0;
	int32_t none = 0;
	while (!atomic_compare_exchange_weak_explicit(&lock->state, &none, CACHE_WRITER, memory_order_acquire, memory_order_relaxed)) {
		none = 0;
		cache_relax(round++);
	}
}

static inline void cache_write_unlock(struct cache_rwspin *lock) { atomic_fetch_sub_explicit(&lock->state, CACHE_WRITER, memory_order_release); }

/* ---- pages ---------------------------------------------------------------------------------------------------------------- */
/*
 * What the cache keeps to itself of one page of data. The data and the page's record in the index (page_index.h) are in regions that clients may map: the generation is odd while the page
 * changes, is free or changes hands, and never restarts. Everything else is guarded by the pool's lock; readers go without any lock.
 */
struct cache_page {
	struct cache_node *owner;
	uint32_t next, previous;            /* the owner's pages, or the free list */
	_Atomic bool busy;                  /* its owner's writer is updating it: keep off */
};

struct cache_pool {
	_Alignas(64) pthread_mutex_t lock;
	uint32_t page_limit;      /* highest page number + 1 that the size allows */
	uint32_t fresh;           /* pages below were used at least once */
	uint32_t hand;
	uint32_t free_list, free_count;
	uint32_t released_list;   /* free, and given back to the system */
	uint32_t used;            /* owned by nodes or in the making */
	uint32_t region_pause;    /* evictions to wait before the host is asked for memory again */
	uint32_t block_count, block_limit, region_blocks;
	uint32_t *regions, region_count;
	uint32_t index_region;
	uint32_t file_fresh, file_free, file_limit; /* entries of files: those below `fresh` were used, `free` is the first of those that are not now; 0 is none */
	_Alignas(64) _Atomic(unsigned char *) *blocks; /* base address by page number / 512 */
	struct cache_page *pages;
	struct dc_index index;
	_Atomic uint8_t *heat; /* by page: hits since the clock's hand came by, up to 2; clients write it too, unless the index names no region of it */
};

/* ---- names and nodes ------------------------------------------------------------------------------------------------------ */
struct cache_entry {
	struct cache_entry *chain;
	struct cache_node *parent, *target; /* target NULL: this name is known to be missing */
	struct cache_entry *sibling_next, *sibling_previous; /* entries of the parent */
	struct cache_entry *alias_next, *alias_previous;     /* entries for the target */
	struct cache_entry *newer, *older;                   /* the clock's ring */
	uint64_t parent_id, hash;
	_Atomic uint64_t until; /* believed so long */
	_Atomic bool recent;
	uint8_t length;
	char name[];
};

#define CACHE_ATTR_WORDS (sizeof(struct dc_attr) / 8)
_Static_assert(sizeof(struct dc_attr) % 8 == 0, "attributes are copied by words");

struct cache_node {
	struct dc_node node; /* first; node.references counts callers only */
	struct dc_node *below; /* one reference of the child's */
	uint64_t id;           /* never reused: names and pages are found by it */
	_Atomic bool recent;

	/* Changes through us: `version` moves at the begin and the end of each, `changing` counts those on their way. What was asked of the child is kept only if neither moved meanwhile. */
	struct cache_spin spin;
	uint32_t version, changing;
	bool seen;    /* times and size are known */
	bool changed; /* by us, since the child's times were last seen */
	struct timespec seen_mtime, seen_ctime;
	_Atomic uint64_t sequence; /* of the attributes: odd while they change */
	_Atomic uint64_t attr_until;
	_Atomic uint64_t attr[CACHE_ATTR_WORDS];

	/* Data of a regular file. */
	struct dc_index_file *data;    /* until when pages and size are believed; the size: index.file[file], or `own` when there is no entry left (file 0) */
	struct dc_index_file own;
	uint32_t file;
	pthread_rwlock_t io;   /* held by writers across the child's write and the pages' change, shared by those who fill pages; not taken by hits */
	uint32_t page_list, page_count; /* pool lock */
	uint32_t epoch;                 /* pool lock; moves when all pages are dropped */
	_Atomic uint64_t stream_next, stream_pages; /* sequential reading */
	_Atomic uint32_t stream_window;
	_Atomic bool written_past; /* rewritten unread: the last long write went to the child and not into pages (write.c) */

	/* Names lock. */
	struct cache_node *chain; /* same bucket, by `below` */
	struct cache_node *newer, *older;
	struct cache_entry *children, *aliases;
};

struct cache_counters {
	_Alignas(64) _Atomic uint64_t hits; /* alone in its declaration: the alignment would hold for each */
	_Atomic uint64_t misses, readahead, lookup_hits, lookup_misses, negative_hits, attribute_hits, attribute_misses;
	_Atomic uint64_t evictions, invalidations, node_evictions, bypassed;
};
enum { CACHE_COUNTERS = 12 };
_Static_assert(sizeof(struct cache_counters) == 128, "cache_stat reads them as an array");

struct cache {
	struct dc_libservice *self, *child;
	uint64_t size, ttl; /* bytes, nanoseconds */
	_Atomic uint64_t charged; /* bytes in use for everything */
	_Atomic uint64_t changes; /* begins and ends of changes, and freed nodes: moves whenever an answer of the child may have become old */

	struct cache_pool pool;

	pthread_mutex_t names_lock; /* every change of names and of the node table; hits take only a stripe */
	struct cache_rwspin stripes[CACHE_STRIPES];
	struct cache_entry **entry_buckets;
	size_t entry_mask, entry_count;
	struct cache_entry *entry_ring;
	struct cache_node **node_buckets;
	size_t node_mask, node_count;
	struct cache_node *node_ring, *sweep_hand, *dead; /* dead: to be buried after the lock is let go */
	uint64_t next_id;
	uint64_t metadata; /* bytes of nodes and entries */

	struct cache_counters counters[CACHE_SHARDS];
};

#define CACHE_NODE_COST (sizeof(struct cache_node) + sizeof(struct dc_index_file) + 32)

static inline struct cache *cache_of(struct dc_libservice *self) { return self->state; }
/* Data, from or to a request's buffers. */
static inline void cache_copy_data(struct cache *cache, void *restrict to, const void *restrict from, size_t bytes) { dc_host_copy(cache->self->host, to, from, bytes); }

static inline struct cache_node *cache_node_of(struct dc_node *node) { return (struct cache_node *)node; }
#define CACHE_CALL(cache, operation, ...) DC_FILE_CALL((cache)->child, operation, __VA_ARGS__)

static inline struct cache_counters *cache_count(struct cache *cache)
{
	return &cache->counters[(unsigned)sched_getcpu() % CACHE_SHARDS];
}
#define CACHE_COUNT(cache, counter, by) atomic_fetch_add_explicit(&cache_count(cache)->counter, by, memory_order_relaxed)

static inline uint64_t cache_now(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- pool.c --------------------------------------------------------------------------------------------------------------- */
int cache_pool_start(struct cache *cache, struct dc_error *error);
void cache_pool_stop(struct cache *cache);
void cache_charge(struct cache *cache, uint64_t bytes); /* pages make room */
void cache_discharge(struct cache *cache, uint64_t bytes);
uint32_t cache_pages_budget(struct cache *cache);       /* how many pages there may be */
uint32_t cache_pages_take(struct cache *cache, uint32_t *pages, uint32_t count); /* unowned, generation odd */
void cache_pages_give(struct cache *cache, const uint32_t *pages, uint32_t count);
int cache_pages_vectors(struct cache *cache, const uint32_t *pages, uint32_t count, struct iovec *vectors); /* as few as it takes: how many */
/* Makes them the node's from `index` on. With `replace` they win over what is there (a writer's), else they lose (a filler's). Not at all if the epoch has moved. */
void cache_pages_publish(struct cache *cache, struct cache_node *node, uint64_t index, const uint32_t *pages, uint32_t count, uint32_t epoch, bool replace);
bool cache_page_update(struct cache *cache, struct cache_node *node, uint64_t index, size_t offset, const void *data, size_t bytes); /* data NULL: zeros */
bool cache_page_present(struct cache *cache, struct cache_node *node, uint64_t index);
void cache_pages_drop(struct cache *cache, struct cache_node *node, uint64_t first, uint64_t last); /* inclusive */
/* Those with fewer hits than `hits`. How many; *kept: how many of the others are there. */
uint32_t cache_pages_drop_cold(struct cache *cache, struct cache_node *node, uint64_t first, uint64_t last, unsigned hits, uint32_t *kept);
uint32_t cache_epoch(struct cache *cache, struct cache_node *node);
bool cache_page_read(struct cache *cache, struct cache_node *node, uint64_t index, size_t offset, void *out, size_t bytes); /* false: not there */
void cache_file_take(struct cache *cache, struct cache_node *node); /* sets node->data */
void cache_file_give(struct cache *cache, struct cache_node *node); /* after its pages have gone */
static inline unsigned char *cache_page_data(struct cache *cache, uint32_t page)
{
	return atomic_load_explicit(&cache->pool.blocks[page / CACHE_BLOCK_PAGES], memory_order_relaxed) + (size_t)(page % CACHE_BLOCK_PAGES) * CACHE_PAGE;
}

/* ---- attributes.c --------------------------------------------------------------------------------------------------------- */
struct cache_change { uint32_t version; };
struct cache_change cache_change_begin(struct cache *cache, struct cache_node *node);
/* Of a node that is about to lose a name: is it known to be the last one? True holds as long as the change is alone. */
struct cache_change cache_change_begin_unlink(struct cache *cache, struct cache_node *node, bool *last);
bool cache_change_alone(struct cache_node *node, struct cache_change change); /* no other change of the node was or is on its way */
void cache_change_end(struct cache *cache, struct cache_node *node, struct cache_change change, const struct dc_attr *attr);
uint32_t cache_version(struct cache_node *node, bool *quiet); /* quiet: no change is on its way */
void cache_attr_learn(struct cache *cache, struct cache_node *node, const struct dc_attr *attr, uint32_t version);
bool cache_attr_copy(struct cache_node *node, struct dc_attr *attr, uint64_t now); /* false: not known, or no longer believed */
int cache_validate(struct cache *cache, struct dc_context *context, struct cache_node *node, struct dc_attr *attr); /* asks the child */
int cache_getattr(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, struct dc_attr *attr);
int cache_setattr(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const struct dc_attr *set, uint32_t mask, struct dc_attr *attr);
static inline uint64_t cache_until(const struct cache *cache, uint64_t now) { return cache->ttl > UINT64_MAX - now ? UINT64_MAX : now + cache->ttl; }

/* ---- nodes.c -------------------------------------------------------------------------------------------------------------- */
int cache_names_start(struct cache *cache, struct dc_error *error);
void cache_names_stop(struct cache *cache);
/* Takes over one reference of `below` and answers our node with one more. `changes`: cache->changes before the child was asked for `attr` (may be NULL). */
int cache_node_get(struct cache *cache, struct dc_node *below, const struct dc_attr *attr, uint64_t changes, struct cache_node **node);
void cache_node_forget(struct cache *cache, struct cache_node *node, uint64_t count);
void cache_node_unlinked(struct cache *cache, struct dc_context *context, struct cache_node *node, bool last); /* it just lost a name; last: all it had */
void cache_reclaim(struct cache *cache, unsigned nodes); /* idle nodes, to let the child have its own memory and descriptors back */
/* A name's entry: its target, or NULL for missing. `set` is for who changes the directory (kept if that is its only change), `learn` for who asked the child (kept if there was none). */
void cache_entry_set(struct cache *cache, struct cache_node *parent, const char *name, size_t length, struct cache_node *target, const struct cache_change *change);
void cache_entry_learn(struct cache *cache, struct cache_node *parent, const char *name, size_t length, struct cache_node *target, uint32_t version);
void cache_entry_drop(struct cache *cache, struct cache_node *parent, const char *name, size_t length);
void cache_entries_drop_below(struct cache *cache, struct cache_node *directory);
uint64_t cache_believed(struct dc_libservice *self, struct dc_node *node, const char *name, size_t length);
enum cache_found { CACHE_MISS, CACHE_FOUND, CACHE_NEGATIVE };
/* As far as the cache knows: FOUND with the node referenced, NEGATIVE with the directory referenced, MISS with *consumed the bytes that were known. */
enum cache_found cache_walk(struct cache *cache, struct cache_node *parent, const char *path, size_t length, uint64_t now, struct cache_node **node, size_t *consumed);

/* ---- names.c, data.c, write.c --------------------------------------------------------------------------------------------- */
extern const struct dc_file_ops cache_ops;
int cache_lookup(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *path, size_t length, struct dc_node **node,
                 struct dc_attr *attr, size_t *consumed);
int cache_create(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name, mode_t mode, int flags, struct dc_node **node,
                 struct dc_attr *attr);
int cache_tmpfile(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, mode_t mode, int flags, struct dc_node **node, struct dc_attr *attr);
int cache_mkdir(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name, mode_t mode, struct dc_node **node, struct dc_attr *attr);
int cache_mknod(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name, mode_t mode, dev_t device, struct dc_node **node,
                struct dc_attr *attr);
int cache_symlink(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name, const char *target, struct dc_node **node,
                  struct dc_attr *attr);
int cache_link(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, struct dc_node *parent, const char *name, struct dc_attr *attr);
int cache_unlink(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name);
int cache_rmdir(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name);
int cache_rename(struct dc_libservice *self, struct dc_context *context, struct dc_node *from, const char *from_name, struct dc_node *to, const char *to_name, uint32_t flags);
ssize_t cache_read(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const struct iovec *iov, int iovcnt, off_t offset, uint32_t flags);
int cache_shared(struct dc_libservice *self, struct dc_node *node, struct dc_shared_file *out);
ssize_t cache_write(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const struct iovec *iov, int iovcnt, off_t *offset, uint32_t flags);
int cache_fsync(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, bool data_only);
int cache_fallocate(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, int mode, off_t offset, off_t length);
ssize_t cache_copy(struct dc_libservice *self, struct dc_context *context, struct dc_node *from, off_t from_offset, struct dc_node *to, off_t to_offset, size_t length);

/* A place in a scatter list. */
struct cache_cursor { const struct iovec *iov; int count; size_t skip; };
size_t cache_iov_bytes(const struct iovec *iov, int count);
void cache_cursor_copy(struct cache *cache, struct cache_cursor *cursor, void *to, const void *from, size_t bytes); /* `to` NULL: into the list; `from` NULL: out of it */
int cache_cursor_slice(struct cache_cursor *cursor, size_t bytes, struct iovec *out, int limit, size_t *taken); /* advances */

#endif
