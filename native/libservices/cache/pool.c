/*
 * pool.c - the pages: where they are, how a reader finds one without a lock, and who has to go when there is no room.
 *
 * Pages are found through one index (ipc/page_index.h) whose size follows from the cache's: no memory is needed per file, however large or sparse it is. It lies in a region of its own, so that
 * clients find pages as the service does. Readers walk it without a lock: they find a page, note its even generation, check that it is theirs, copy, and look at the generation again. Pages are
 * never unmapped while the cache lives, so a reader that loses a race copies something it then throws away. All changes are made under the pool's lock, which no hit takes.
 *
 * Eviction is CLOCK with two steps of heat. A page comes in cold, so what is read once is the next to go: a stream passes through the cold pages, and one that is
 * longer than a quarter of the cache recycles its own (data.c).
 */
#include "cache.h"

#include <stdlib.h>
#include <sys/mman.h>

#define PAGE_COST (CACHE_PAGE + sizeof(struct cache_page) + sizeof(struct dc_index_page) + 1)
#define PAGES_KEPT 16u /* nodes in use may take everything but these */
#define HAND_MAX 256u
#define DROP_BATCH 128u

#ifdef CACHE_TSAN
/* Readers copy pages that may be changing, and throw the copy away if they were: invisible to the thread sanitizer on purpose. Generations stay visible to it. */
static void page_copy(struct cache *cache, void *to, const void *from, size_t bytes)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
}
#else
static inline void page_copy(struct cache *cache, void *to, const void *from, size_t bytes)
{
	cache_copy_data(cache, to, from, bytes);
}
#endif

static inline _Atomic uint64_t *generation(struct cache *cache, uint32_t page)
{
	return &cache->pool.index.page[page].generation;
}

static inline void make_odd(struct cache *cache, uint32_t page)
{
	dc_generation_begin(generation(cache, page));
}

static inline void make_even(struct cache *cache, uint32_t page)
{
	dc_generation_end(generation(cache, page));
}

/* With the pool's lock: what is there is found. */
static uint32_t find(struct cache *cache, const struct cache_node *node, uint64_t index)
{
	return dc_index_find(&cache->pool.index, node->id, index, SIZE_MAX);
}

/* ---- the hit -------------------------------------------------------------------------------------------------------------- */
bool cache_page_read(struct cache *cache, struct cache_node *node, uint64_t index, size_t offset, void *out, size_t bytes)
{
	int tries;

	for (tries = 0; tries < 4; tries++) {
		uint32_t page = dc_index_find(&cache->pool.index, node->id, index, DC_INDEX_CHAIN_MAX);
		struct dc_index_page *at = &cache->pool.index.page[page];
		uint64_t before;

		if (!page)
			return false;
		before = dc_index_begin(at, node->id, index);
		if (!before)
			continue;
		page_copy(cache, out, cache_page_data(cache, page) + offset, bytes);
		if (!dc_generation_holds(&at->generation, before))
			continue;
		dc_index_touch(&cache->pool.heat[page]);
		return true;
	}
	return false;
}

bool cache_page_present(struct cache *cache, struct cache_node *node, uint64_t index)
{
	return dc_index_find(&cache->pool.index, node->id, index, DC_INDEX_CHAIN_MAX) != 0;
}

/* ---- under the pool's lock ------------------------------------------------------------------------------------------------ */
static _Atomic uint32_t *bucket_of(struct cache_pool *pool, uint32_t page)
{
	struct dc_index_page *at = &pool->index.page[page];

	return dc_index_bucket(&pool->index, atomic_load_explicit(&at->owner, memory_order_relaxed), atomic_load_explicit(&at->number, memory_order_relaxed));
}

static void chain_remove(struct cache *cache, uint32_t page)
{
	struct cache_pool *pool = &cache->pool;
	_Atomic uint32_t *link = bucket_of(pool, page);

	while (*link != page)
		link = &pool->index.page[*link].chain;
	atomic_store_explicit(link, pool->index.page[page].chain, memory_order_release);
}

/* Takes a page from its owner. It is left odd and unowned. */
static void detach(struct cache *cache, uint32_t page)
{
	struct cache_pool *pool = &cache->pool;
	struct cache_page *at = &pool->pages[page];
	struct cache_node *node = at->owner;

	chain_remove(cache, page);
	make_odd(cache, page);
	if (at->previous)
		pool->pages[at->previous].next = at->next;
	else
		node->page_list = at->next;
	if (at->next)
		pool->pages[at->next].previous = at->previous;
	node->page_count--;
	at->owner = NULL;
	atomic_store_explicit(&pool->index.page[page].owner, 0, memory_order_release);
}

static void attach(struct cache *cache, uint32_t page, struct cache_node *node, uint64_t index)
{
	struct cache_pool *pool = &cache->pool;
	struct cache_page *at = &pool->pages[page];
	struct dc_index_page *shown = &pool->index.page[page];
	_Atomic uint32_t *bucket;

	atomic_store_explicit(&shown->number, index, memory_order_relaxed);
	atomic_store_explicit(&pool->heat[page], 0, memory_order_relaxed);
	atomic_store_explicit(&shown->owner, node->id, memory_order_release);
	at->owner = node;
	at->previous = 0;
	at->next = node->page_list;
	if (at->next)
		pool->pages[at->next].previous = page;
	node->page_list = page;
	node->page_count++;
	make_even(cache, page);
	bucket = bucket_of(pool, page);
	atomic_store_explicit(&shown->chain, *bucket, memory_order_relaxed);
	atomic_store_explicit(bucket, page, memory_order_release);
}

static uint64_t number_of(const struct cache_pool *pool, uint32_t page)
{
	return atomic_load_explicit(&pool->index.page[page].number, memory_order_relaxed);
}

static void put_free(struct cache_pool *pool, uint32_t page)
{
	pool->pages[page].next = pool->free_list;
	pool->free_list = page;
	pool->free_count++;
	pool->used--;
}

static uint32_t evict(struct cache *cache)
{
	struct cache_pool *pool = &cache->pool;
	uint32_t steps, force = HAND_MAX;

	for (steps = 0; steps < pool->fresh + force; steps++) {
		struct cache_page *at;
		if (++pool->hand >= pool->fresh)
			pool->hand = 1;
		at = &pool->pages[pool->hand];
		if (!at->owner || at->busy)
			continue;
		/* After a bounded walk even a hot page goes: the lock is not held longer than this. */
		if (atomic_load_explicit(&pool->heat[pool->hand], memory_order_relaxed) > 1 && steps < force) {
			atomic_store_explicit(&pool->heat[pool->hand], 1, memory_order_relaxed);
			continue;
		}
		detach(cache, pool->hand);
		CACHE_COUNT(cache, evictions, 1);
		if (pool->region_pause)
			pool->region_pause--;
		return pool->hand;
	}
	return 0;
}

/* The next 2 MiB of the host's memory. Asked for in larger pieces as the cache is larger, since each piece costs a descriptor. */
static bool add_block(struct cache *cache)
{
	struct cache_pool *pool = &cache->pool;
	const struct dc_host *host = cache->self->host;
	uint32_t blocks = pool->region_blocks, i, region;
	unsigned char *base;

	if (pool->fresh / CACHE_BLOCK_PAGES < pool->block_count)
		return true;
	if (pool->region_pause)
		return false;
	if (blocks > pool->block_limit - pool->block_count)
		blocks = pool->block_limit - pool->block_count;
	base = blocks ? host->cache_region(host, blocks * CACHE_BLOCK_BYTES, &region) : NULL;
	if (!base) {
		pool->region_pause = 1024;
		return false;
	}
	pool->regions[pool->region_count++] = region;
	for (i = 0; i < blocks; i++)
		atomic_store_explicit(&pool->index.block[pool->block_count + i], (uint64_t)region << 32 | i, memory_order_relaxed);
	for (i = 0; i < blocks; i++)
		atomic_store_explicit(&pool->blocks[pool->block_count + i], base + i * CACHE_BLOCK_BYTES, memory_order_release);
	pool->block_count += blocks;
	return true;
}

static bool try_charge(struct cache *cache, uint64_t bytes)
{
	uint64_t charged = atomic_load(&cache->charged);

	do
		if (charged + bytes > cache->size)
			return false;
	while (!atomic_compare_exchange_weak(&cache->charged, &charged, charged + bytes));
	return true;
}

static uint32_t take_fresh(struct cache *cache)
{
	struct cache_pool *pool = &cache->pool;
	uint32_t page = pool->fresh ? pool->fresh : 1; /* 0 is none */

	if (page >= pool->page_limit || !add_block(cache) || !try_charge(cache, PAGE_COST))
		return 0;
	pool->fresh = page + 1;
	return page;
}

static uint32_t take_one(struct cache *cache)
{
	struct cache_pool *pool = &cache->pool;
	uint32_t page = pool->free_list;

	if (page) {
		pool->free_list = pool->pages[page].next;
		pool->free_count--;
	} else if (pool->released_list && try_charge(cache, CACHE_PAGE)) {
		page = pool->released_list;
		pool->released_list = pool->pages[page].next;
	} else {
		page = take_fresh(cache);
	}
	if (page)
		pool->used++;
	else
		page = evict(cache);
	if (page)
		make_odd(cache, page);
	return page;
}

/* ---- for the others ------------------------------------------------------------------------------------------------------- */
uint32_t cache_pages_take(struct cache *cache, uint32_t *pages, uint32_t count)
{
	uint32_t taken = 0, i;
	bool backwards;

	pthread_mutex_lock(&cache->pool.lock);
	while (taken < count && (pages[taken] = take_one(cache)))
		taken++;
	pthread_mutex_unlock(&cache->pool.lock);
	/* What was freed together comes back the other way round: neighbours in memory shall be neighbours in the file. */
	backwards = taken && pages[0] > pages[taken - 1];
	for (i = 0; backwards && i < taken / 2; i++) {
		uint32_t page = pages[i];
		pages[i] = pages[taken - 1 - i];
		pages[taken - 1 - i] = page;
	}
	return taken;
}

int cache_pages_vectors(struct cache *cache, const uint32_t *pages, uint32_t count, struct iovec *vectors)
{
	int used = 0;
	uint32_t i;

	for (i = 0; i < count; i++) {
		unsigned char *data = cache_page_data(cache, pages[i]);

		if (used && (unsigned char *)vectors[used - 1].iov_base + vectors[used - 1].iov_len == data)
			vectors[used - 1].iov_len += CACHE_PAGE;
		else
			vectors[used++] = (struct iovec){data, CACHE_PAGE};
	}
	return used;
}

void cache_pages_give(struct cache *cache, const uint32_t *pages, uint32_t count)
{
	uint32_t i;

	pthread_mutex_lock(&cache->pool.lock);
	for (i = 0; i < count; i++)
		put_free(&cache->pool, pages[i]);
	pthread_mutex_unlock(&cache->pool.lock);
}

void cache_pages_publish(struct cache *cache, struct cache_node *node, uint64_t index, const uint32_t *pages, uint32_t count, uint32_t epoch, bool replace)
{
	struct cache_pool *pool = &cache->pool;
	uint32_t i;

	pthread_mutex_lock(&pool->lock);
	for (i = 0; i < count; i++) {
		uint32_t there = find(cache, node, index + i);
		if (node->epoch != epoch || (there && !replace)) {
			put_free(pool, pages[i]);
			continue;
		}
		if (there) {
			detach(cache, there);
			put_free(pool, there);
		}
		attach(cache, pages[i], node, index + i);
	}
	pthread_mutex_unlock(&pool->lock);
}

bool cache_page_update(struct cache *cache, struct cache_node *node, uint64_t index, size_t offset, const void *data, size_t bytes)
{
	struct cache_pool *pool = &cache->pool;
	uint32_t page;

	pthread_mutex_lock(&pool->lock);
	page = find(cache, node, index);
	if (page)
		pool->pages[page].busy = true;
	pthread_mutex_unlock(&pool->lock);
	if (!page)
		return false;
	make_odd(cache, page);
	if (data)
		page_copy(cache, cache_page_data(cache, page) + offset, data, bytes);
	else
		memset(cache_page_data(cache, page) + offset, 0, bytes);
	make_even(cache, page);
	atomic_store_explicit(&pool->pages[page].busy, false, memory_order_release);
	return true;
}

uint32_t cache_epoch(struct cache *cache, struct cache_node *node)
{
	uint32_t epoch;

	pthread_mutex_lock(&cache->pool.lock);
	epoch = node->epoch;
	pthread_mutex_unlock(&cache->pool.lock);
	return epoch;
}

/* Pool lock held; let go for a moment when the page is being updated. */
static void drop_one(struct cache *cache, struct cache_node *node, uint64_t index, uint32_t page)
{
	struct cache_pool *pool = &cache->pool;

	while (page && pool->pages[page].busy) {
		pthread_mutex_unlock(&pool->lock);
		sched_yield();
		pthread_mutex_lock(&pool->lock);
		page = find(cache, node, index);
	}
	if (page) {
		detach(cache, page);
		put_free(pool, page);
	}
}

static void breathe(struct cache_pool *pool, uint32_t *budget)
{
	if ((*budget)--)
		return;
	pthread_mutex_unlock(&pool->lock);
	pthread_mutex_lock(&pool->lock);
	*budget = DROP_BATCH;
}

/* Everything goes: by the node's list. Else by number, or by the list where that is shorter. */
void cache_pages_drop(struct cache *cache, struct cache_node *node, uint64_t first, uint64_t last)
{
	struct cache_pool *pool = &cache->pool;
	uint32_t budget = DROP_BATCH, page, next;
	uint64_t index;

	pthread_mutex_lock(&pool->lock);
	if (first == 0 && last == UINT64_MAX) {
		node->epoch++;
		while ((page = node->page_list)) {
			drop_one(cache, node, number_of(pool, page), page);
			breathe(pool, &budget);
		}
	} else if (last - first < node->page_count) {
		for (index = first; index <= last; index++) {
			drop_one(cache, node, index, find(cache, node, index));
			breathe(pool, &budget);
		}
	} else {
		/* The list may change only by eviction meanwhile (callers are writers), so the lock is kept: page_count is below last - first. */
		for (page = node->page_list; page; page = next) {
			next = pool->pages[page].next;
			index = number_of(pool, page);
			if (index >= first && index <= last) {
				detach(cache, page);
				put_free(pool, page);
			}
		}
	}
	pthread_mutex_unlock(&pool->lock);
}

uint32_t cache_pages_drop_cold(struct cache *cache, struct cache_node *node, uint64_t first, uint64_t last, unsigned hits, uint32_t *kept)
{
	struct cache_pool *pool = &cache->pool;
	uint32_t budget = DROP_BATCH, dropped = 0;
	uint64_t index;

	*kept = 0;
	pthread_mutex_lock(&pool->lock);
	for (index = first; index <= last; index++) {
		uint32_t page = find(cache, node, index);
		if (page && !pool->pages[page].busy && atomic_load_explicit(&pool->heat[page], memory_order_relaxed) < hits) {
			detach(cache, page);
			put_free(pool, page);
			dropped++;
		} else if (page) {
			++*kept;
		}
		breathe(pool, &budget);
	}
	pthread_mutex_unlock(&pool->lock);
	return dropped;
}

uint32_t cache_pages_budget(struct cache *cache)
{
	return (uint32_t)(cache->size / CACHE_PAGE);
}

/* ---- accounting ----------------------------------------------------------------------------------------------------------- */
/* One page back to the system. */
static bool release_one(struct cache *cache)
{
	struct cache_pool *pool = &cache->pool;
	uint32_t page = pool->free_list;

	if (page) {
		pool->free_list = pool->pages[page].next;
		pool->free_count--;
	} else if (pool->used > PAGES_KEPT && (page = evict(cache))) {
		pool->used--;
	}
	if (!page)
		return false;
	if (madvise(cache_page_data(cache, page), CACHE_PAGE, MADV_REMOVE)) {
		pool->used++;
		put_free(pool, page);
		return false;
	}
	pool->pages[page].next = pool->released_list;
	pool->released_list = page;
	atomic_fetch_sub(&cache->charged, CACHE_PAGE);
	return true;
}

void cache_charge(struct cache *cache, uint64_t bytes)
{
	atomic_fetch_add(&cache->charged, bytes);
	if (atomic_load(&cache->charged) <= cache->size)
		return;
	pthread_mutex_lock(&cache->pool.lock);
	while (atomic_load(&cache->charged) > cache->size && release_one(cache))
		;
	pthread_mutex_unlock(&cache->pool.lock);
}

void cache_discharge(struct cache *cache, uint64_t bytes)
{
	atomic_fetch_sub(&cache->charged, bytes);
}

/* ---- entries of files ----------------------------------------------------------------------------------------------------- */
/* Free ones are chained through `until`: a small number, which is a time long past. When there are none, nobody reads the file without asking. */
void cache_file_take(struct cache *cache, struct cache_node *node)
{
	struct cache_pool *pool = &cache->pool;
	struct dc_index_file *file = &node->own;

	pthread_mutex_lock(&pool->lock);
	node->file = pool->file_free ? pool->file_free : pool->file_fresh < pool->file_limit ? pool->file_fresh++ : 0;
	if (node->file) {
		file = &pool->index.file[node->file];
		if (node->file == pool->file_free)
			pool->file_free = (uint32_t)file->until;
	}
	pthread_mutex_unlock(&pool->lock);
	node->data = file;
	atomic_store_explicit(&file->withheld, 0, memory_order_relaxed);
	atomic_store_explicit(&file->until, 0, memory_order_relaxed);
	atomic_store_explicit(&file->size, 0, memory_order_relaxed);
	atomic_store_explicit(&file->id, node->id, memory_order_release);
}

void cache_file_give(struct cache *cache, struct cache_node *node)
{
	struct cache_pool *pool = &cache->pool;

	if (!node->file)
		return;
	atomic_store_explicit(&node->data->id, 0, memory_order_seq_cst);
	pthread_mutex_lock(&pool->lock);
	atomic_store_explicit(&node->data->until, pool->file_free, memory_order_release);
	pool->file_free = node->file;
	pthread_mutex_unlock(&pool->lock);
}

/* ---- life ----------------------------------------------------------------------------------------------------------------- */
static size_t whole_blocks(size_t bytes)
{
	return (bytes + CACHE_BLOCK_BYTES - 1) / CACHE_BLOCK_BYTES * CACHE_BLOCK_BYTES;
}

static bool start_index(struct cache *cache, uint64_t buckets)
{
	struct cache_pool *pool = &cache->pool;
	const struct dc_host *host = cache->self->host;
	struct dc_index_head head = {.pages = pool->page_limit, .blocks = pool->block_limit, .files = pool->file_limit, .bucket_mask = buckets - 1};
	size_t bytes = whole_blocks(dc_index_layout(&head));
	void *region = host->cache_region(host, bytes, &pool->index_region);

	if (!region)
		return false;
	if (host->shared_region)
		pool->heat = host->shared_region(host, whole_blocks(pool->page_limit), &head.heat);
	if (!pool->heat) {
		head.heat = 0;
		pool->heat = calloc(pool->page_limit, 1);
	}
	*(struct dc_index_head *)region = head;
	pool->index = dc_index_at(region);
	return pool->heat != NULL;
}

int cache_pool_start(struct cache *cache, struct dc_error *error)
{
	struct cache_pool *pool = &cache->pool;
	uint64_t pages = cache->size / CACHE_PAGE + cache->size / CACHE_BLOCK_BYTES + 2, buckets = 64;

	if (pages > UINT32_MAX / 2)
		return dc_error_set(error, ERANGE, "%s: option \"size\" is too large", cache->self->id);
	while (buckets < pages)
		buckets *= 2;
	pthread_mutex_init(&pool->lock, NULL);
	pool->page_limit = (uint32_t)pages;
	pool->block_limit = (uint32_t)(pages / CACHE_BLOCK_PAGES + 1);
	pool->region_blocks = pool->block_limit / 16 ? pool->block_limit / 16 : 1;
	if (pool->region_blocks > 32)
		pool->region_blocks = 32;
	pool->file_fresh = 1;
	pool->file_limit = 64 + (uint32_t)(cache->size / 8 / CACHE_NODE_COST);
	pool->regions = calloc(pool->block_limit, sizeof *pool->regions);
	pool->blocks = calloc(pool->block_limit, sizeof *pool->blocks);
	/* Zero pages of the system until they are touched, so a page's record counts only once the page is in use. */
	pool->pages = mmap(NULL, pages * sizeof *pool->pages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (pool->pages == MAP_FAILED)
		pool->pages = NULL;
	if (!pool->regions || !pool->blocks || !pool->pages || !start_index(cache, buckets)) {
		cache_pool_stop(cache);
		return dc_error_set(error, ENOMEM, "%s: not enough memory for the tables of a cache of %llu bytes", cache->self->id, (unsigned long long)cache->size);
	}
	atomic_fetch_add(&cache->charged, buckets * sizeof(uint32_t) + pool->block_limit * (sizeof *pool->blocks + sizeof *pool->regions + sizeof(uint64_t)));
	return 0;
}

void cache_pool_stop(struct cache *cache)
{
	struct cache_pool *pool = &cache->pool;
	const struct dc_host *host = cache->self->host;
	uint32_t i;

	if (pool->index.head) {
		uint32_t heat = pool->index.head->heat;

		host->cache_release(host, pool->index_region); /* first: from here on nothing is found */
		if (heat)
			host->cache_release(host, heat);
		else
			free((void *)pool->heat);
	}
	for (i = 0; i < pool->region_count; i++)
		host->cache_release(host, pool->regions[i]);
	if (pool->pages)
		munmap(pool->pages, pool->page_limit * sizeof *pool->pages);
	free(pool->regions);
	free((void *)pool->blocks);
	pthread_mutex_destroy(&pool->lock);
}
