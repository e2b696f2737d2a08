/*
 * cache - keeps data, attributes, names and missing names of the file libservice below in memory.
 *
 * What        Data in 4 KiB pages in memory that clients may later map (pool.c), attributes (attributes.c), nodes, names and negative lookups (nodes.c).
 * Children    below (file), claimed.
 * Passes      readdir, readlink, xattrs, seek, statfs, sync, open and close go below as they are; O_DIRECT goes past the pages.
 * Size        Pages, their tables, nodes and names together never exceed `size`. Idle nodes and names may have an eighth of it. Nodes that callers hold are
 *             charged first and pages make room for them; should they alone need more than `size`, nothing but them and 16 pages is kept.
 * Consistency Write-through: a write has happened in the child when it returns, and pages change only after the child has accepted it. Readers and writers of
 *             one page are atomic to each other. Changes through this instance are seen at once. Changes made behind its back are seen within `ttl` (0: at once, at the
 *             price of asking for everything): when the child's mtime, ctime or size are not what they were, the file's pages are dropped. Only a change behind our
 *             back that falls between two looks at a file which this instance writes too, and leaves its size alone, may go unnoticed.
 * Crash       Nothing is kept that the child has not got. fsync returns when the child's has; if it failed, the error is answered and the file's pages are dropped.
 * Write-back  The service acknowledges writes of libraries before they are made here (DC_TRAIT_WRITE_BACK, service/posts.h); what arrives here is written through in either mode.
 * Lacks       Access times of cached reads (the child does not see them).
 */
#include "cache.h"

#include <stdlib.h>

static int cache_root(struct dc_libservice *self, struct dc_context *context, struct dc_node **node)
{
	struct cache *cache = cache_of(self);
	struct cache_node *found;
	struct dc_node *below;
	int result = CACHE_CALL(cache, root, context, &below);

	if (!result)
		result = cache_node_get(cache, below, NULL, 0, &found);
	if (!result)
		*node = &found->node;
	return result;
}

static void cache_reference(struct dc_libservice *self, struct dc_node *node, uint64_t count)
{
	atomic_fetch_add(&node->references, count);
}

static void cache_forget(struct dc_libservice *self, struct dc_node *node, uint64_t count)
{
	cache_node_forget(cache_of(self), cache_node_of(node), count);
}

/* ---- what goes below as it is, with the child's node in place of ours ------------------------------------------------------------------- */
static int cache_open(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, int flags)
{
	return CACHE_CALL(cache_of(self), open, context, cache_node_of(node)->below, flags);
}

static void cache_close(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, int flags)
{
	CACHE_CALL(cache_of(self), close, context, cache_node_of(node)->below, flags);
}

static void cache_withhold(struct dc_libservice *self, struct dc_node *node)
{
	atomic_fetch_add(&cache_node_of(node)->data->withheld, 1);
}

static void cache_permit(struct dc_libservice *self, struct dc_node *node)
{
	atomic_fetch_sub(&cache_node_of(node)->data->withheld, 1);
}

static ssize_t cache_readlink(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, char *buffer, size_t size)
{
	return CACHE_CALL(cache_of(self), readlink, context, cache_node_of(node)->below, buffer, size);
}

static off_t cache_seek(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, off_t offset, int whence)
{
	return CACHE_CALL(cache_of(self), seek, context, cache_node_of(node)->below, offset, whence);
}

static int cache_readdir(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, uint64_t cookie, struct dc_dirent_sink *sink)
{
	return CACHE_CALL(cache_of(self), readdir, context, cache_node_of(node)->below, cookie, sink);
}

static ssize_t cache_getxattr(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const char *name, void *value, size_t size)
{
	return CACHE_CALL(cache_of(self), getxattr, context, cache_node_of(node)->below, name, value, size);
}

static ssize_t cache_listxattr(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, char *list, size_t size)
{
	return CACHE_CALL(cache_of(self), listxattr, context, cache_node_of(node)->below, list, size);
}

static int cache_setxattr(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const char *name, const void *value, size_t size, int flags)
{
	struct cache *cache = cache_of(self);
	struct cache_change change = cache_change_begin(cache, cache_node_of(node)); /* the change time moves, and an access list may move the mode */
	int result = CACHE_CALL(cache, setxattr, context, cache_node_of(node)->below, name, value, size, flags);

	cache_change_end(cache, cache_node_of(node), change, NULL);
	return result;
}

static int cache_removexattr(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const char *name)
{
	struct cache *cache = cache_of(self);
	struct cache_change change = cache_change_begin(cache, cache_node_of(node));
	int result = CACHE_CALL(cache, removexattr, context, cache_node_of(node)->below, name);

	cache_change_end(cache, cache_node_of(node), change, NULL);
	return result;
}

static int cache_identify(struct dc_libservice *self, struct dc_node *node, void *identity)
{
	return CACHE_CALL(cache_of(self), identify, cache_node_of(node)->below, identity);
}

static int cache_recover(struct dc_libservice *self, struct dc_context *context, const void *identity, size_t length, struct dc_node **node)
{
	struct cache *cache = cache_of(self);
	struct cache_node *found;
	struct dc_node *below;
	struct dc_attr attr;
	uint64_t changes = atomic_load(&cache->changes);
	int result = CACHE_CALL(cache, recover, context, identity, length, &below);

	if (result)
		return result;
	result = CACHE_CALL(cache, getattr, context, below, &attr); /* a file without a name must be known as such, to be let go of in time */
	if (result) {
		CACHE_CALL(cache, forget, below, 1);
		return result;
	}
	result = cache_node_get(cache, below, &attr, changes, &found);
	if (!result)
		*node = &found->node;
	return result;
}

/* statfs and sync name no node: left empty, they go to the child. */
const struct dc_file_ops cache_ops = {
	.struct_size = sizeof(struct dc_file_ops),
	.root = cache_root, .lookup = cache_lookup, .reference = cache_reference, .forget = cache_forget, .getattr = cache_getattr, .setattr = cache_setattr,
	.readlink = cache_readlink, .open = cache_open, .close = cache_close, .create = cache_create, .tmpfile = cache_tmpfile, .read = cache_read, .shared = cache_shared, .withhold = cache_withhold,
	.permit = cache_permit,
	.write = cache_write, .fsync = cache_fsync, .fallocate = cache_fallocate, .seek = cache_seek, .copy = cache_copy, .readdir = cache_readdir,
	.mkdir = cache_mkdir, .mknod = cache_mknod, .symlink = cache_symlink, .link = cache_link, .unlink = cache_unlink, .rmdir = cache_rmdir,
	.rename = cache_rename, .getxattr = cache_getxattr, .setxattr = cache_setxattr, .listxattr = cache_listxattr, .removexattr = cache_removexattr,
	.identify = cache_identify, .recover = cache_recover, .believed = cache_believed,
};

/* ---- life ----------------------------------------------------------------------------------------------------------------- */
static int cache_start(struct dc_libservice *self, const struct dc_options *options, struct dc_error *error)
{
	int64_t ttl = dc_option_number(options, "ttl");
	struct cache *cache = aligned_alloc(64, (sizeof *cache + 63) / 64 * 64);
	int result;

	if (!cache)
		return dc_error_set(error, ENOMEM, "%s: not enough memory", self->id);
	memset(cache, 0, sizeof *cache);
	cache->self = self;
	cache->child = self->child[0][0];
	cache->size = (uint64_t)dc_option_number(options, "size");
	cache->ttl = (uint64_t)ttl * 1000000;
	if (!strcmp(dc_option_string(options, "mode"), "write-back"))
		self->traits |= DC_TRAIT_WRITE_BACK;
	self->state = cache;
	result = cache_pool_start(cache, error);
	if (!result) {
		result = cache_names_start(cache, error);
		if (result)
			cache_pool_stop(cache);
	}
	if (result)
		free(cache);
	return result;
}

static void cache_stop(struct dc_libservice *self)
{
	cache_names_stop(cache_of(self));
	cache_pool_stop(cache_of(self));
	free(self->state);
}

static const char *const cache_statistics[] = {"attributeHits", "attributeMisses", "bypassedBytes", "entries", "evictions", "hits", "invalidations", "lookupHits",
	"lookupMisses", "metadataBytes", "misses", "negativeHits", "nodeEvictions", "nodes", "pages", "readaheadPages", "residentBytes", "sizeBytes", NULL};

static void cache_stat(struct dc_libservice *self, struct dc_statistics_sink *sink)
{
	static const char *const names[CACHE_COUNTERS] = {"hits", "misses", "readaheadPages", "lookupHits", "lookupMisses", "negativeHits", "attributeHits", "attributeMisses",
		"evictions", "invalidations", "nodeEvictions", "bypassedBytes"};
	struct cache *cache = cache_of(self);
	uint64_t totals[CACHE_COUNTERS] = {0}, nodes, entries, metadata, pages;
	size_t shard, i;

	for (shard = 0; shard < CACHE_SHARDS; shard++)
		for (i = 0; i < CACHE_COUNTERS; i++)
			totals[i] += atomic_load_explicit(&(&cache->counters[shard].hits)[i], memory_order_relaxed);
	for (i = 0; i < CACHE_COUNTERS; i++)
		sink->number(sink, names[i], (int64_t)totals[i]);
	pthread_mutex_lock(&cache->names_lock);
	nodes = cache->node_count;
	entries = cache->entry_count;
	metadata = cache->metadata;
	pthread_mutex_unlock(&cache->names_lock);
	pthread_mutex_lock(&cache->pool.lock);
	pages = cache->pool.used;
	pthread_mutex_unlock(&cache->pool.lock);
	sink->number(sink, "entries", (int64_t)entries);
	sink->number(sink, "metadataBytes", (int64_t)metadata);
	sink->number(sink, "nodes", (int64_t)nodes);
	sink->number(sink, "pages", (int64_t)pages);
	sink->number(sink, "residentBytes", (int64_t)atomic_load(&cache->charged));
	sink->number(sink, "sizeBytes", (int64_t)cache->size);
}

static void cache_stat_reset(struct dc_libservice *self)
{
	struct cache *cache = cache_of(self);
	size_t shard, i;

	for (shard = 0; shard < CACHE_SHARDS; shard++)
		for (i = 0; i < CACHE_COUNTERS; i++)
			atomic_store_explicit(&(&cache->counters[shard].hits)[i], 0, memory_order_relaxed);
}

static const char *const cache_modes[] = {"write-back", "write-through", NULL};
static const struct dc_option cache_options[] = {
	{.name = "mode", .type = DC_OPTION_ENUM, .values = cache_modes},
	{.name = "size", .type = DC_OPTION_SIZE, .minimum = 1 << 20, .maximum = (int64_t)1 << 42},
	{.name = "ttl", .type = DC_OPTION_DURATION, .maximum = 86400000},
	{.name = NULL},
};

DC_MODULE_EXPORT const struct dc_type dc_libservice_type = {
	.interface_version = DC_INTERFACE_VERSION,
	.struct_size = sizeof(struct dc_type),
	.name = "cache",
	.summary = "Keeps data, attributes, names and missing names of the libservice below in memory",
	.kind = DC_KIND_FILE,
	.version = 1,
	.flags = DC_TYPE_FILTER,
	.roles = {{.name = "below", .kind = DC_KIND_FILE, .minimum = 1, .maximum = 1, .claim = true}},
	.options = cache_options,
	.statistics = cache_statistics,
	.ops.file = &cache_ops,
	.create = cache_start,
	.destroy = cache_stop,
	.stat = cache_stat,
	.stat_reset = cache_stat_reset,
};
