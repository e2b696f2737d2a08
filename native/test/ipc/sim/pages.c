/*
 * pages.c - data without asking: the shipped pool of the cache (libservices/cache/pool.c) and the index of its pages (ipc/page_index.h, ipc/generation.h). A writer changes a page's two words in one
 * of several ways, while one reader finds the page by the index, as a client does (process 1, which can be stopped at any step), and another reads as the service does.
 * What must hold: a copy that counts is whole, the file's own, and no older than what was known before it was made.
 */
#include "scenarios.h"

#include "cache.h"

#define PAGES 3u /* of memory; what is asked for beyond evicts */
#define NODE 1u
#define OTHERS 1000u /* values of the other file */

static struct {
	const struct sim_scenario *scenario;
	struct cache cache;
	struct dc_libservice self;
	struct dc_host host;
	struct cache_node node, other;
	_Atomic uint64_t known;
} world;
static unsigned char region[CACHE_BLOCK_BYTES] __attribute__((aligned(4096))), index_region[CACHE_BLOCK_BYTES] __attribute__((aligned(4096)));

int dc_error_set(struct dc_error *error, int code, const char *format, ...) { return -code; }
/* The index is the first that is asked for. */
static void *cache_region(const struct dc_host *host, size_t bytes, uint32_t *number) {
	*number = 1 + (world.cache.pool.index_region != 0);
	return *number == 1 ? index_region : region;
}
static void cache_release(const struct dc_host *host, uint32_t number) {}

/* In place of mmap and munmap: the pool has one table of its pages. */
static unsigned char zeroes[16384] __attribute__((aligned(64)));
void *sim_zeroes(size_t bytes) { return bytes <= sizeof zeroes ? zeroes : MAP_FAILED; }
int sim_zeroes_over(void *memory, size_t bytes) {
	memset(memory, 0, bytes);
	return 0;
}

/* In place of memcpy: what touches the region does so word by word, each a step. */
static bool is_shared(const volatile void *at) { return (const volatile unsigned char *)at >= region && (const volatile unsigned char *)at < region + sizeof region; }
void *sim_memcpy(void *to, const void *from, size_t bytes) {
	if (!is_shared(to) && !is_shared(from)) return __builtin_memmove(to, from, bytes);
	for (size_t i = 0; i + 8 <= bytes; i += 8) {
		uint64_t *target = (uint64_t *)((char *)to + i), value;
		const uint64_t *source = (const uint64_t *)((const char *)from + i);
		value = is_shared(source) ? sim_load(source, 8, memory_order_relaxed) : *source;
		if (is_shared(target)) sim_store(target, 8, value, memory_order_relaxed);
		else *target = value;
	}
	return to;
}

static void raise_to(uint64_t value) {
	uint64_t seen = atomic_load(&world.known);
	while (seen < value && !atomic_compare_exchange_strong(&world.known, &seen, value)) continue;
}

static void show(struct cache_node *node) {
	atomic_store(&node->data->size, node->id == NODE ? CACHE_PAGE : 1);
	atomic_store(&node->data->until, 1);
}

static void fill(struct cache_node *node, uint64_t value, bool replace) {
	struct cache *cache = &world.cache;
	uint64_t words[2] = {value, value};
	uint32_t page;
	if (!cache_pages_take(cache, &page, 1)) return;
	sim_memcpy(cache_page_data(cache, page), words, sizeof words);
	cache_pages_publish(cache, node, 0, &page, 1, cache_epoch(cache, node), replace);
}

static void change(void *argument) {
	for (uint64_t n = 1; n <= world.scenario->requests; n++) {
		uint64_t words[2] = {n, n};
		switch (world.scenario->pages) {
		case SIM_POSTS: /* acknowledged before it is in the page */
			atomic_fetch_add(&world.node.data->withheld, 1);
			raise_to(n);
			cache_page_update(&world.cache, &world.node, 0, 0, words, sizeof words);
			atomic_fetch_sub(&world.node.data->withheld, 1);
			break;
		case SIM_FILES: /* the file goes, and another has its entry */
			cache_pages_drop(&world.cache, &world.node, 0, UINT64_MAX);
			cache_file_give(&world.cache, &world.node);
			cache_file_take(&world.cache, &world.other);
			show(&world.other);
			fill(&world.other, OTHERS + n, true);
			return;
		case SIM_UPDATES:
			cache_page_update(&world.cache, &world.node, 0, 0, words, sizeof words);
			break;
		case SIM_REPLACEMENTS:
			fill(&world.node, n, true);
			break;
		default: /* another file's pages take all there are; then ours is filled anew with what the child has by now */
			cache_pages_drop(&world.cache, &world.node, 0, 0);
			raise_to(n);
			cache_pages_drop(&world.cache, &world.other, 0, 0);
			fill(&world.other, OTHERS + n, true);
			fill(&world.node, n, true);
		}
		raise_to(n);
	}
}

static void told(const uint64_t words[2], uint64_t known) {
	if (words[0] != words[1]) sim_fail("a copy that counts is torn");
	if (words[0] >= OTHERS) sim_fail("another file's data");
	if (words[0] < known) sim_fail("data older than what was known before they were read");
	raise_to(words[0]);
}

/* As the library does (library/leases.c). */
static void keep(void *argument) {
	const struct dc_index *index = &world.cache.pool.index;
	const struct dc_index_file *entry = world.node.data;
	for (unsigned i = 0; i < world.scenario->requests + 3; i++) {
		uint64_t words[2], generation, known = atomic_load(&world.known);
		int64_t size;
		if (!dc_index_open(entry, NODE, 0, &size)) continue;
		if (size != CACHE_PAGE) { /* the read would end here */
			if (dc_index_holds(entry, NODE, size)) sim_fail("another file's size");
			continue;
		}
		uint32_t page = dc_index_find(index, NODE, 0, DC_INDEX_CHAIN_MAX);
		if (!page || !(generation = dc_index_begin(&index->page[page], NODE, 0))) continue;
		sim_memcpy(words, region + page % CACHE_BLOCK_PAGES * CACHE_PAGE, sizeof words);
		if (!dc_generation_holds(&index->page[page].generation, generation) || !dc_index_holds(entry, NODE, size)) continue;
		told(words, known);
	}
}

static void read_in_service(void *argument) {
	for (unsigned i = 0; world.scenario->pages != SIM_POSTS && i < world.scenario->requests + 1; i++) { /* the service makes what was posted before it reads */
		uint64_t words[2], known = atomic_load(&world.known);
		if (cache_page_read(&world.cache, &world.node, 0, 0, words, sizeof words)) told(words, known);
	}
}

static const char *verdict(void) {
	return world.cache.pool.lock.__data.__lock ? "the pool's lock is left behind" : NULL;
}

static void begin(const struct sim_scenario *scenario) {
	sim_private(NULL, SIZE_MAX); /* all is */
	if (world.cache.pool.pages) cache_pool_stop(&world.cache);
	memset(&world, 0, sizeof world);
	memset(index_region, 0, 32768);
	world.scenario = scenario;
	world.host = (struct dc_host){.cache_region = cache_region, .cache_release = cache_release};
	world.self.host = &world.host;
	world.cache.self = &world.self;
	world.cache.size = 64 * CACHE_PAGE;
	cache_pool_start(&world.cache, NULL);
	world.cache.size = world.cache.charged + PAGES * (CACHE_PAGE + sizeof(struct cache_page) + sizeof(struct dc_index_page) + 1);
	world.node.id = NODE;
	world.other.id = 2;
	cache_file_take(&world.cache, &world.node);
	show(&world.node);
	world.other.data = &world.other.own;
	fill(&world.node, 0, false);
	sim_private(NULL, 0);
}

const char *sim_pages_run(const struct sim_scenario *scenario, const struct sim_plan *plan) {
	sim_begin(plan);
	begin(scenario);
	sim_thread("writer", 0, 0, change, NULL);
	sim_thread("keeper", 1, 8, keep, NULL);
	sim_thread("reader", 0, 1, read_in_service, NULL);
	return sim_run(verdict);
}
