/*
 * attributes.c - attributes: read without a lock (a sequence and words), believed for the time to live, and never kept when a change through us
 * was on its way while the child was asked. Here too is noticed what others did to the child behind our back.
 */
#include "cache.h"

/* ---- changes through us --------------------------------------------------------------------------------------------------- */
struct cache_change cache_change_begin(struct cache *cache, struct cache_node *node)
{
	struct cache_change change;

	atomic_fetch_add(&cache->changes, 1);
	cache_spin_lock(&node->spin);
	node->changing++;
	change.version = ++node->version;
	node->changed = true;
	atomic_store_explicit(&node->attr_until, 0, memory_order_release);
	cache_spin_unlock(&node->spin);
	return change;
}

struct cache_change cache_change_begin_unlink(struct cache *cache, struct cache_node *node, bool *last)
{
	struct cache_change change;
	struct dc_attr attr;
	uint32_t version;
	bool quiet;

	version = cache_version(node, &quiet);
	*last = quiet && cache_attr_copy(node, &attr, cache_now()) && attr.st.st_nlink == 1;
	change = cache_change_begin(cache, node);
	*last &= change.version == version + 1;
	return change;
}

bool cache_change_alone(struct cache_node *node, struct cache_change change)
{
	bool alone;

	cache_spin_lock(&node->spin);
	alone = node->changing == 1 && node->version == change.version;
	cache_spin_unlock(&node->spin);
	return alone;
}

uint32_t cache_version(struct cache_node *node, bool *quiet)
{
	uint32_t version;

	cache_spin_lock(&node->spin);
	version = node->version;
	*quiet = !node->changing;
	cache_spin_unlock(&node->spin);
	return version;
}

/* ---- the copy ------------------------------------------------------------------------------------------------------------- */
/* Spin lock held: one writer. */
static void attr_store(struct cache_node *node, const struct dc_attr *attr, uint64_t until)
{
	uint64_t words[CACHE_ATTR_WORDS];
	size_t i;

	memcpy(words, attr, sizeof words);
	atomic_store_explicit(&node->sequence, node->sequence + 1, memory_order_relaxed);
	for (i = 0; i < CACHE_ATTR_WORDS; i++)
		atomic_store_explicit(&node->attr[i], words[i], memory_order_release);
	atomic_store_explicit(&node->sequence, node->sequence + 1, memory_order_release);
	atomic_store_explicit(&node->attr_until, until, memory_order_release);
}

bool cache_attr_copy(struct cache_node *node, struct dc_attr *attr, uint64_t now)
{
	uint64_t words[CACHE_ATTR_WORDS], before;
	size_t i;
	int tries;

	for (tries = 0; tries < 8; tries++) {
		before = atomic_load_explicit(&node->sequence, memory_order_acquire);
		if (atomic_load_explicit(&node->attr_until, memory_order_acquire) <= now)
			return false;
		if (before & 1)
			continue;
		for (i = 0; i < CACHE_ATTR_WORDS; i++)
			words[i] = atomic_load_explicit(&node->attr[i], memory_order_acquire);
		if (atomic_load_explicit(&node->sequence, memory_order_relaxed) == before) {
			if (attr)
				memcpy(attr, words, sizeof words);
			return true;
		}
	}
	return false;
}

/* ---- what others did ------------------------------------------------------------------------------------------------------ */
static bool same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/*
 * Spin lock held; `attr` is what the child says, with no change of ours on its way. True: somebody else changed the data. After changes of our own the times are
 * news anyway, so then only a size that is not ours tells (cache.c says what that means).
 */
static bool foreign_change(struct cache_node *node, const struct dc_attr *attr)
{
	bool foreign = attr->st.st_size != atomic_load_explicit(&node->data->size, memory_order_relaxed);

	if (!node->changed)
		foreign |= !same_time(attr->st.st_mtim, node->seen_mtime) || !same_time(attr->st.st_ctim, node->seen_ctime);
	if (!node->seen)
		foreign = false;
	node->seen = true;
	node->changed = false;
	node->seen_mtime = attr->st.st_mtim;
	node->seen_ctime = attr->st.st_ctim;
	return foreign;
}

/* Spin lock held. */
static bool attr_keep(struct cache *cache, struct cache_node *node, const struct dc_attr *attr)
{
	uint64_t until = cache_until(cache, cache_now());
	bool foreign = S_ISREG(node->node.type) && foreign_change(node, attr);

	attr_store(node, attr, until);
	if (S_ISREG(node->node.type)) {
		atomic_store_explicit(&node->data->size, attr->st.st_size, memory_order_release);
		atomic_store_explicit(&node->data->until, foreign ? 0 : until, memory_order_release); /* once the old pages have gone */
	}
	return foreign;
}

static void attr_kept(struct cache *cache, struct cache_node *node, bool foreign)
{
	if (!foreign)
		return;
	cache_pages_drop(cache, node, 0, UINT64_MAX);
	CACHE_COUNT(cache, invalidations, 1);
}

void cache_change_end(struct cache *cache, struct cache_node *node, struct cache_change change, const struct dc_attr *attr)
{
	bool foreign = false;

	atomic_fetch_add(&cache->changes, 1);
	cache_spin_lock(&node->spin);
	if (attr && node->changing == 1 && node->version == change.version)
		foreign = attr_keep(cache, node, attr);
	else
		atomic_store_explicit(&node->attr_until, 0, memory_order_release);
	node->version++;
	node->changing--;
	cache_spin_unlock(&node->spin);
	attr_kept(cache, node, foreign);
}

void cache_attr_learn(struct cache *cache, struct cache_node *node, const struct dc_attr *attr, uint32_t version)
{
	bool foreign = false;

	cache_spin_lock(&node->spin);
	if (!node->changing && node->version == version)
		foreign = attr_keep(cache, node, attr);
	cache_spin_unlock(&node->spin);
	attr_kept(cache, node, foreign);
}

int cache_validate(struct cache *cache, struct dc_context *context, struct cache_node *node, struct dc_attr *attr)
{
	struct dc_attr answer;
	uint32_t version;
	bool quiet;
	int result;

	version = cache_version(node, &quiet);
	result = CACHE_CALL(cache, getattr, context, node->below, &answer);
	if (result)
		return result;
	if (quiet)
		cache_attr_learn(cache, node, &answer, version);
	if (attr)
		*attr = answer;
	return 0;
}

/* ---- operations ----------------------------------------------------------------------------------------------------------- */
int cache_getattr(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, struct dc_attr *attr)
{
	struct cache *cache = cache_of(self);
	struct cache_node *at = cache_node_of(node);

	if (cache_attr_copy(at, attr, cache_now())) {
		CACHE_COUNT(cache, attribute_hits, 1);
		return 0;
	}
	CACHE_COUNT(cache, attribute_misses, 1);
	return cache_validate(cache, context, at, attr);
}

/* The io lock is held for writing: nobody fills pages meanwhile. Readers see the new size before the pages go. */
static void resized(struct cache *cache, struct cache_node *node, int64_t size)
{
	uint64_t last = (uint64_t)size >> CACHE_PAGE_SHIFT;
	size_t tail = (size_t)size % CACHE_PAGE;

	atomic_store_explicit(&node->data->size, size, memory_order_release);
	if (tail)
		cache_page_update(cache, node, last++, tail, NULL, CACHE_PAGE - tail);
	cache_pages_drop(cache, node, last, UINT64_MAX - 1);
}

int cache_setattr(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const struct dc_attr *set, uint32_t mask, struct dc_attr *attr)
{
	struct cache *cache = cache_of(self);
	struct cache_node *at = cache_node_of(node);
	bool sizes = (mask & DC_SET_SIZE) && S_ISREG(node->type);
	struct cache_change change;
	struct dc_attr answer;
	int result;

	if (sizes)
		pthread_rwlock_wrlock(&at->io);
	change = cache_change_begin(cache, at);
	result = CACHE_CALL(cache, setattr, context, at->below, set, mask, &answer);
	if (sizes && !result)
		resized(cache, at, answer.st.st_size);
	else if (sizes)
		atomic_store_explicit(&at->data->until, 0, memory_order_release); /* it may have happened in part */
	cache_change_end(cache, at, change, result ? NULL : &answer);
	if (sizes)
		pthread_rwlock_unlock(&at->io);
	if (!result && attr)
		*attr = answer;
	return result;
}
