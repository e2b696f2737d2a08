/*
 * nodes.c - nodes and names.
 *
 * One node of ours per node of the child, so hard links share one. A node stays after its last reference, with attributes, names and pages, until the
 * clock comes by and memory is short. Names are entries {directory, name} -> node or "missing" in one hash; a walk takes only a stripe's spin lock per component and asks
 * nobody. All changes are made under the names lock; what unlinks an entry from its bucket takes the stripe as well. A node is freed under the names lock when nobody
 * refers to it, after its entries are gone, so what a walk finds under a stripe is alive.
 */
#include "cache.h"

#include <stdlib.h>

#define ENTRY_COST(length) (sizeof(struct cache_entry) + (length) + 1 + 16)

static uint64_t name_hash(uint64_t parent, const char *name, size_t length)
{
	uint64_t hash = parent * 0x9e3779b97f4a7c15u ^ length, word;

	for (; length >= 8; length -= 8, name += 8) {
		memcpy(&word, name, 8);
		hash = (hash ^ word) * 0xff51afd7ed558ccdu;
		hash ^= hash >> 32;
	}
	word = 0;
	memcpy(&word, name, length);
	hash = (hash ^ word) * 0xc4ceb9fe1a85ec53u;
	return hash ^ hash >> 29;
}

static inline struct cache_rwspin *stripe_of(struct cache *cache, uint64_t hash) { return &cache->stripes[hash & cache->entry_mask & (CACHE_STRIPES - 1)]; }

static inline struct cache_entry *entry_find(struct cache *cache, uint64_t hash, uint64_t parent, const char *name, size_t length)
{
	struct cache_entry *entry = cache->entry_buckets[hash & cache->entry_mask];

	while (entry && (entry->hash != hash || entry->parent_id != parent || entry->length != length || memcmp(entry->name, name, length)))
		entry = entry->chain;
	return entry;
}

static void names_lock(struct cache *cache)
{
	pthread_mutex_lock(&cache->names_lock);
}

/* Dead nodes are buried outside the lock: the child's last reference to an unlinked file may take the time of freeing its space. */
static void names_unlock(struct cache *cache)
{
	struct cache_node *node = cache->dead, *next;

	cache->dead = NULL;
	pthread_mutex_unlock(&cache->names_lock);
	for (; node; node = next) {
		next = node->chain;
		cache_pages_drop(cache, node, 0, UINT64_MAX);
		CACHE_CALL(cache, forget, node->below, 1);
		cache_file_give(cache, node);
		pthread_rwlock_destroy(&node->io);
		cache_discharge(cache, CACHE_NODE_COST);
		CACHE_COUNT(cache, node_evictions, 1);
		free(node);
	}
}

/* ---- walking -------------------------------------------------------------------------------------------------------------- */
enum cache_found cache_walk(struct cache *cache, struct cache_node *parent, const char *path, size_t length, uint64_t now, struct cache_node **node, size_t *consumed)
{
	uint64_t directory = parent->id, hash;
	size_t at = 0, name;

	for (*consumed = 0;; at += name + 1) {
		const char *slash = memchr(path + at, '/', length - at);
		struct cache_rwspin *stripe;
		struct cache_entry *entry;
		struct cache_node *target;

		name = slash ? (size_t)(slash - (path + at)) : length - at;
		hash = name_hash(directory, path + at, name);
		stripe = stripe_of(cache, hash);
		cache_read_lock(stripe);
		entry = entry_find(cache, hash, directory, path + at, name);
		if (!entry || atomic_load_explicit(&entry->until, memory_order_relaxed) <= now) {
			cache_read_unlock(stripe);
			return CACHE_MISS;
		}
		if (!atomic_load_explicit(&entry->recent, memory_order_relaxed))
			atomic_store_explicit(&entry->recent, true, memory_order_relaxed);
		target = entry->target;
		if (!target || !slash || !S_ISDIR(target->node.type)) {
			*node = target ? target : entry->parent;
			atomic_fetch_add(&(*node)->node.references, 1);
			cache_read_unlock(stripe);
			*consumed = target ? at + name : *consumed;
			return target ? CACHE_FOUND : CACHE_NEGATIVE;
		}
		directory = target->id;
		cache_read_unlock(stripe);
		*consumed = at + name;
	}
}

/* Nothing is asked for and nothing is touched: what comes first is thought to be looked up next. */
uint64_t cache_believed(struct dc_libservice *self, struct dc_node *node, const char *name, size_t length)
{
	struct cache *cache = cache_of(self);
	struct cache_node *at = cache_node_of(node);
	struct cache_rwspin *stripe;
	struct cache_entry *entry;
	uint64_t hash, until;

	if (!name)
		return atomic_load_explicit(&at->attr_until, memory_order_acquire);
	hash = name_hash(at->id, name, length);
	stripe = stripe_of(cache, hash);
	cache_read_lock(stripe);
	entry = entry_find(cache, hash, at->id, name, length);
	until = entry ? atomic_load_explicit(&entry->until, memory_order_relaxed) : 0;
	cache_read_unlock(stripe);
	return until;
}

/* ---- entries, names lock held --------------------------------------------------------------------------------------------- */
static void entry_free(struct cache *cache, struct cache_entry *entry)
{
	struct cache_rwspin *stripe = stripe_of(cache, entry->hash);
	struct cache_entry **link = &cache->entry_buckets[entry->hash & cache->entry_mask];

	while (*link != entry)
		link = &(*link)->chain;
	cache_write_lock(stripe);
	*link = entry->chain;
	cache_write_unlock(stripe);
	if (entry->sibling_next)
		entry->sibling_next->sibling_previous = entry->sibling_previous;
	*(entry->sibling_previous ? &entry->sibling_previous->sibling_next : &entry->parent->children) = entry->sibling_next;
	if (entry->target) {
		if (entry->alias_next)
			entry->alias_next->alias_previous = entry->alias_previous;
		*(entry->alias_previous ? &entry->alias_previous->alias_next : &entry->target->aliases) = entry->alias_next;
	}
	if (entry->newer == entry) {
		cache->entry_ring = NULL;
	} else {
		if (cache->entry_ring == entry)
			cache->entry_ring = entry->newer;
		entry->newer->older = entry->older;
		entry->older->newer = entry->newer;
	}
	cache->entry_count--;
	cache->metadata -= ENTRY_COST(entry->length);
	cache_discharge(cache, ENTRY_COST(entry->length));
	free(entry);
}

static void entry_link(struct cache *cache, struct cache_entry *entry)
{
	struct cache_rwspin *stripe = stripe_of(cache, entry->hash);

	entry->sibling_next = entry->parent->children;
	if (entry->sibling_next)
		entry->sibling_next->sibling_previous = entry;
	entry->parent->children = entry;
	if (entry->target) {
		entry->alias_next = entry->target->aliases;
		if (entry->alias_next)
			entry->alias_next->alias_previous = entry;
		entry->target->aliases = entry;
	}
	if (!cache->entry_ring) {
		cache->entry_ring = entry->newer = entry->older = entry;
	} else { /* just behind the hand: the last to be looked at */
		entry->newer = cache->entry_ring;
		entry->older = cache->entry_ring->older;
		entry->older->newer = entry->newer->older = entry;
	}
	cache->entry_count++;
	cache_write_lock(stripe);
	entry->chain = cache->entry_buckets[entry->hash & cache->entry_mask];
	cache->entry_buckets[entry->hash & cache->entry_mask] = entry;
	cache_write_unlock(stripe);
}

static bool node_try_free(struct cache *cache, struct cache_node *node);

/*
 * A node that lost its last name in the very moment when its last reference went is left behind by both (cache_node_forget takes no lock). It would keep the
 * file's space: each new node looks at two others.
 */
static void sweep(struct cache *cache)
{
	unsigned steps;

	for (steps = 0; steps < 2 && cache->sweep_hand; steps++) {
		struct cache_node *node = cache->sweep_hand;
		cache->sweep_hand = node->newer;
		if ((node->node.flags & DC_NODE_UNLINKED) && !node->node.references)
			node_try_free(cache, node);
	}
}

/* Idle names and nodes may have an eighth of the cache; beyond, each new one sees some of the oldest off. */
static void trim(struct cache *cache)
{
	unsigned steps;

	for (steps = 0; steps < 64 && cache->metadata > cache->size / 8; steps++) {
		struct cache_entry *entry = cache->entry_ring;
		struct cache_node *node = cache->node_ring;
		if (entry) {
			cache->entry_ring = entry->newer;
			if (!atomic_exchange(&entry->recent, false))
				entry_free(cache, entry);
		}
		if (node) {
			cache->node_ring = node->newer;
			if (!node->node.references && (!atomic_exchange(&node->recent, false) || (node->node.flags & DC_NODE_UNLINKED)))
				node_try_free(cache, node);
		}
	}
}

static void entry_put(struct cache *cache, struct cache_node *parent, const char *name, size_t length, struct cache_node *target)
{
	uint64_t hash = name_hash(parent->id, name, length), until = cache_until(cache, cache_now());
	struct cache_entry *entry;

	trim(cache);
	entry = entry_find(cache, hash, parent->id, name, length);
	if (entry && entry->target == target) {
		atomic_store_explicit(&entry->until, until, memory_order_relaxed);
		return;
	}
	if (entry)
		entry_free(cache, entry);
	if (!cache->ttl || length > DC_NAME_MAX)
		return;
	entry = calloc(1, sizeof *entry + length + 1);
	if (!entry)
		return;
	entry->parent = parent;
	entry->target = target;
	entry->parent_id = parent->id;
	entry->hash = hash;
	entry->until = until;
	entry->length = (uint8_t)length;
	memcpy(entry->name, name, length);
	entry_link(cache, entry);
	cache->metadata += ENTRY_COST(length);
	cache_charge(cache, ENTRY_COST(length));
}

/* ---- entries, for the others ---------------------------------------------------------------------------------------------- */
void cache_entry_drop(struct cache *cache, struct cache_node *parent, const char *name, size_t length)
{
	struct cache_entry *entry;

	names_lock(cache);
	entry = entry_find(cache, name_hash(parent->id, name, length), parent->id, name, length);
	if (entry)
		entry_free(cache, entry);
	names_unlock(cache);
}

/*
 * A remover begins its change of the directory before it asks the child, and drops the entry afterwards under this lock. So if the change is alone now, a later
 * remover will find the entry; if it is not, the entry is not kept.
 */
void cache_entry_set(struct cache *cache, struct cache_node *parent, const char *name, size_t length, struct cache_node *target, const struct cache_change *change)
{
	struct cache_entry *entry;

	names_lock(cache);
	if (cache_change_alone(parent, *change)) {
		entry_put(cache, parent, name, length, target);
	} else {
		entry = entry_find(cache, name_hash(parent->id, name, length), parent->id, name, length);
		if (entry)
			entry_free(cache, entry);
	}
	names_unlock(cache);
}

void cache_entry_learn(struct cache *cache, struct cache_node *parent, const char *name, size_t length, struct cache_node *target, uint32_t version)
{
	bool quiet;

	names_lock(cache);
	if (cache_version(parent, &quiet) == version && quiet)
		entry_put(cache, parent, name, length, target);
	names_unlock(cache);
}

void cache_entries_drop_below(struct cache *cache, struct cache_node *directory)
{
	names_lock(cache);
	while (directory->children)
		entry_free(cache, directory->children);
	names_unlock(cache);
}

/* ---- nodes, names lock held ----------------------------------------------------------------------------------------------- */
static struct cache_node **node_bucket(struct cache *cache, const struct dc_node *below)
{
	return &cache->node_buckets[((uintptr_t)below >> 4) * 0x9e3779b97f4a7c15u >> 24 & cache->node_mask];
}

static struct cache_node *node_find(struct cache *cache, const struct dc_node *below)
{
	struct cache_node *node = *node_bucket(cache, below);

	while (node && node->below != below)
		node = node->chain;
	return node;
}

static void node_link(struct cache *cache, struct cache_node *node)
{
	struct cache_node **bucket = node_bucket(cache, node->below);

	node->chain = *bucket;
	*bucket = node;
	if (!cache->node_ring) {
		cache->node_ring = cache->sweep_hand = node->newer = node->older = node;
	} else {
		node->newer = cache->node_ring;
		node->older = cache->node_ring->older;
		node->older->newer = node->newer->older = node;
	}
	cache->node_count++;
	cache->metadata += CACHE_NODE_COST;
}

static void node_unlink(struct cache *cache, struct cache_node *node)
{
	struct cache_node **link = node_bucket(cache, node->below);

	while (*link != node)
		link = &(*link)->chain;
	*link = node->chain;
	if (node->newer == node) {
		cache->node_ring = cache->sweep_hand = NULL;
	} else {
		if (cache->node_ring == node)
			cache->node_ring = node->newer;
		if (cache->sweep_hand == node)
			cache->sweep_hand = node->newer;
		node->newer->older = node->older;
		node->older->newer = node->newer;
	}
	cache->node_count--;
	cache->metadata -= CACHE_NODE_COST;
}

/* False: somebody found it by a name at the last moment. */
static bool node_try_free(struct cache *cache, struct cache_node *node)
{
	if (node->node.references)
		return false;
	while (node->aliases)
		entry_free(cache, node->aliases);
	while (node->children)
		entry_free(cache, node->children);
	if (node->node.references)
		return false;
	atomic_fetch_add(&cache->changes, 1);
	node_unlink(cache, node);
	node->chain = cache->dead;
	cache->dead = node;
	return true;
}

static struct cache_node *node_new(struct cache *cache, struct dc_node *below)
{
	struct cache_node *node = calloc(1, sizeof *node);
	pthread_rwlockattr_t attributes;

	if (!node)
		return NULL;
	dc_node_init(&node->node, cache->self, below->ino, below->type);
	node->below = below;
	node->id = ++cache->next_id;
	node->data = &node->own;
	if (S_ISREG(below->type))
		cache_file_take(cache, node);
	pthread_rwlockattr_init(&attributes);
	pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&node->io, &attributes);
	pthread_rwlockattr_destroy(&attributes);
	node_link(cache, node);
	cache_charge(cache, CACHE_NODE_COST);
	return node;
}

/* ---- nodes, for the others ------------------------------------------------------------------------------------------------ */
int cache_node_get(struct cache *cache, struct dc_node *below, const struct dc_attr *attr, uint64_t changes, struct cache_node **out)
{
	struct cache_node *node;
	uint32_t version;
	bool quiet;

	names_lock(cache);
	node = node_find(cache, below);
	if (node) {
		atomic_fetch_add(&node->node.references, 1);
		CACHE_CALL(cache, forget, below, 1); /* not the last: we keep one */
	} else {
		trim(cache);
		sweep(cache);
		node = node_new(cache, below);
	}
	names_unlock(cache);
	if (!node) {
		CACHE_CALL(cache, forget, below, 1);
		return -ENOMEM;
	}
	node->recent = true;
	if (attr && attr->st.st_nlink == 0)
		atomic_fetch_or(&node->node.flags, DC_NODE_UNLINKED);
	version = cache_version(node, &quiet);
	if (attr && quiet && atomic_load(&cache->changes) == changes)
		cache_attr_learn(cache, node, attr, version);
	*out = node;
	return 0;
}

/* An idle node stays, so this needs no lock; but one without a name is freed by whoever lets go last. */
void cache_node_forget(struct cache *cache, struct cache_node *node, uint64_t count)
{
	if (!(atomic_load(&node->node.flags) & DC_NODE_UNLINKED)) {
		if (!atomic_load_explicit(&node->recent, memory_order_relaxed))
			atomic_store_explicit(&node->recent, true, memory_order_relaxed);
		atomic_fetch_sub(&node->node.references, count); /* from here on it may be gone */
		return;
	}
	names_lock(cache);
	if (atomic_fetch_sub(&node->node.references, count) == count && (node->node.flags & DC_NODE_UNLINKED))
		node_try_free(cache, node);
	names_unlock(cache);
}

/* The caller holds a reference, and forgets it afterwards: then the node is freed if it has no name left. */
void cache_node_unlinked(struct cache *cache, struct dc_context *context, struct cache_node *node, bool last)
{
	struct dc_attr attr;

	if (last || S_ISDIR(node->node.type) || cache_validate(cache, context, node, &attr) || attr.st.st_nlink == 0)
		atomic_fetch_or(&node->node.flags, DC_NODE_UNLINKED);
}

void cache_reclaim(struct cache *cache, unsigned nodes)
{
	size_t steps;

	names_lock(cache);
	for (steps = 2 * cache->node_count; steps && nodes && cache->node_ring; steps--) {
		struct cache_node *node = cache->node_ring;
		cache->node_ring = node->newer;
		if (!node->node.references && !atomic_exchange(&node->recent, false))
			nodes -= node_try_free(cache, node);
	}
	names_unlock(cache);
}

/* ---- start and stop ------------------------------------------------------------------------------------------------------- */
int cache_names_start(struct cache *cache, struct dc_error *error)
{
	size_t buckets = CACHE_STRIPES;

	while (buckets < cache->size / 8 / 256 && buckets < 1u << 20)
		buckets *= 2;
	pthread_mutex_init(&cache->names_lock, NULL);
	cache->entry_mask = cache->node_mask = buckets - 1;
	cache->entry_buckets = calloc(buckets, sizeof *cache->entry_buckets);
	cache->node_buckets = calloc(buckets, sizeof *cache->node_buckets);
	if (!cache->entry_buckets || !cache->node_buckets) {
		cache_names_stop(cache);
		return dc_error_set(error, ENOMEM, "%s: not enough memory for the tables of a cache of %llu bytes", cache->self->id, (unsigned long long)cache->size);
	}
	cache_charge(cache, 2 * buckets * sizeof(void *));
	return 0;
}

void cache_names_stop(struct cache *cache)
{
	names_lock(cache);
	while (cache->node_ring) {
		cache->node_ring->node.references = 0;
		node_try_free(cache, cache->node_ring);
	}
	names_unlock(cache);
	free(cache->entry_buckets);
	free(cache->node_buckets);
	pthread_mutex_destroy(&cache->names_lock);
}
