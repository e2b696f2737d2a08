/*
 * data.c - reading.
 *
 * A hit takes no lock and asks nobody: time, size, then page by page a copy that its generation vouches for, then the size again. What is missing is
 * read from the child straight into pages, with the node's io lock shared, so that no writer of ours is between the child's answer and the pages. Sequential misses read
 * ahead, up to 128 KiB. A call for more than an eighth of the cache goes past it, and a sequential reader that has passed a quarter of the cache drops what it has read behind it.
 */
#include "cache.h"

#include <stdlib.h>

#define MIN(a, b) ((a) < (b) ? (a) : (b))

/* ---- scatter lists -------------------------------------------------------------------------------------------------------- */
size_t cache_iov_bytes(const struct iovec *iov, int count)
{
	size_t bytes = 0;
	int i;

	for (i = 0; i < count; i++)
		bytes += iov[i].iov_len;
	return bytes;
}

void cache_cursor_copy(struct cache *cache, struct cache_cursor *cursor, void *to, const void *from, size_t bytes)
{
	while (bytes && cursor->count) {
		size_t here = MIN(bytes, cursor->iov->iov_len - cursor->skip);
		char *at = (char *)cursor->iov->iov_base + cursor->skip;

		if (to) {
			cache_copy_data(cache, to, at, here);
			to = (char *)to + here;
		} else {
			cache_copy_data(cache, at, from, here);
			from = (const char *)from + here;
		}
		bytes -= here;
		cursor->skip += here;
		if (cursor->skip == cursor->iov->iov_len) {
			cursor->iov++;
			cursor->count--;
			cursor->skip = 0;
		}
	}
}

int cache_cursor_slice(struct cache_cursor *cursor, size_t bytes, struct iovec *out, int limit, size_t *taken)
{
	int count = 0;

	for (*taken = 0; count < limit && *taken < bytes && cursor->count; count++) {
		size_t here = MIN(bytes - *taken, cursor->iov->iov_len - cursor->skip);

		out[count] = (struct iovec){(char *)cursor->iov->iov_base + cursor->skip, here};
		*taken += here;
		cursor->skip += here;
		if (cursor->skip == cursor->iov->iov_len) {
			cursor->iov++;
			cursor->count--;
			cursor->skip = 0;
		}
	}
	return count;
}

/* One page's part of a hit: usually within one vector. */
static bool read_page(struct cache *cache, struct cache_node *node, struct cache_cursor *cursor, uint64_t index, size_t offset, size_t bytes)
{
	while (bytes) {
		size_t here = MIN(bytes, cursor->iov->iov_len - cursor->skip);

		if (here && !cache_page_read(cache, node, index, offset, (char *)cursor->iov->iov_base + cursor->skip, here))
			return false;
		bytes -= here;
		offset += here;
		cursor->skip += here;
		if (cursor->skip == cursor->iov->iov_len) {
			cursor->iov++;
			cursor->count--;
			cursor->skip = 0;
		}
	}
	return true;
}

/* ---- misses: the io lock is held shared ----------------------------------------------------------------------------------- */
struct reading {
	struct cache *cache;
	struct dc_context *context;
	struct cache_node *node;
	struct cache_cursor cursor;
	uint64_t offset; /* of the next byte */
	uint64_t end;    /* where the call ends; the file may end before */
	bool past;       /* a large call: not kept */
};

/* How many pages from `index` on are wanted and missing, up to `limit`. */
static uint32_t missing_run(struct reading *reading, uint64_t index, uint64_t last, uint32_t limit)
{
	uint32_t count = 1;

	while (count < limit && index + count <= last && !cache_page_present(reading->cache, reading->node, index + count))
		count++;
	return count;
}

/* Sequential misses open a window, which doubles. The pages of it, beyond `count`. */
static uint32_t read_ahead(struct reading *reading, uint64_t index, uint32_t count, uint64_t file_last)
{
	struct cache_node *node = reading->node;
	uint32_t window = 0, limit = cache_pages_budget(reading->cache) / 16, kept;
	uint64_t stream = 0;

	if (index && atomic_load_explicit(&node->stream_next, memory_order_relaxed) == index) {
		window = atomic_load_explicit(&node->stream_window, memory_order_relaxed) * 2;
		window = window < 4 ? 4 : MIN(window, CACHE_READAHEAD_PAGES);
		stream = atomic_load_explicit(&node->stream_pages, memory_order_relaxed);
	}
	window = MIN(window, limit);
	atomic_store_explicit(&node->stream_window, window, memory_order_relaxed);
	if (window > CACHE_RUN_PAGES - count)
		window = CACHE_RUN_PAGES - count;
	window = index + count > file_last ? 0 : (uint32_t)MIN((uint64_t)window, file_last - index - count + 1);
	window = window ? missing_run(reading, index + count - 1, file_last, window + 1) - 1 : 0;
	atomic_store_explicit(&node->stream_next, index + count + window, memory_order_relaxed);
	atomic_store_explicit(&node->stream_pages, stream + count + window, memory_order_relaxed);
	if (stream > cache_pages_budget(reading->cache) / 4 && index > 2 * CACHE_RUN_PAGES)
		cache_pages_drop_cold(reading->cache, node, index - 2 * CACHE_RUN_PAGES, index - CACHE_RUN_PAGES, 2, &kept);
	return window;
}

/* Past the cache: from the child into the caller's buffers. */
static ssize_t read_past(struct reading *reading, size_t bytes)
{
	struct iovec vectors[CACHE_RUN_PAGES];
	size_t taken;
	struct cache_cursor before = reading->cursor;
	int count = cache_cursor_slice(&reading->cursor, bytes, vectors, CACHE_RUN_PAGES, &taken);
	ssize_t got = CACHE_CALL(reading->cache, read, reading->context, reading->node->below, vectors, count, (off_t)reading->offset, 0);

	if (got > 0) {
		CACHE_COUNT(reading->cache, bypassed, (uint64_t)got);
		reading->offset += (uint64_t)got;
		if ((size_t)got < taken) {
			reading->cursor = before;
			cache_cursor_slice(&reading->cursor, (size_t)got, vectors, CACHE_RUN_PAGES, &taken);
		}
	}
	return got;
}

static void hand_over(struct reading *reading, const uint32_t *pages, uint64_t index, uint64_t until)
{
	while (reading->offset < until) {
		size_t offset = reading->offset % CACHE_PAGE, bytes = MIN(CACHE_PAGE - offset, until - reading->offset);

		cache_cursor_copy(reading->cache, &reading->cursor, NULL, cache_page_data(reading->cache, pages[(reading->offset >> CACHE_PAGE_SHIFT) - index]) + offset, bytes);
		reading->offset += bytes;
	}
}

/* Reads pages from the one of reading->offset on, hands over what was asked for and keeps them. >0: go on; 0: the file ends here. */
static ssize_t read_missing(struct reading *reading, uint64_t size)
{
	struct cache *cache = reading->cache;
	uint64_t index = reading->offset >> CACHE_PAGE_SHIFT, last = (reading->end - 1) >> CACHE_PAGE_SHIFT, start = index << CACHE_PAGE_SHIFT, until;
	uint32_t pages[CACHE_RUN_PAGES], epoch, count, wanted, taken, filled, limit = cache_pages_budget(cache) / 8;
	struct iovec vectors[CACHE_RUN_PAGES];
	ssize_t got;

	if (reading->past)
		return read_past(reading, reading->end - reading->offset);
	wanted = missing_run(reading, index, last, MIN(limit, CACHE_RUN_PAGES));
	CACHE_COUNT(cache, misses, wanted);
	if (atomic_load_explicit(&reading->node->written_past, memory_order_relaxed))
		atomic_store_explicit(&reading->node->written_past, false, memory_order_relaxed); /* it is read after all */
	count = wanted + read_ahead(reading, index, wanted, (size - 1) >> CACHE_PAGE_SHIFT);
	epoch = cache_epoch(cache, reading->node);
	taken = cache_pages_take(cache, pages, count);
	if (!taken)
		return read_past(reading, MIN(reading->end - reading->offset, CACHE_PAGE - reading->offset % CACHE_PAGE));
	got = CACHE_CALL(cache, read, reading->context, reading->node->below, vectors, cache_pages_vectors(cache, pages, taken, vectors), (off_t)start, 0);
	if (got <= 0) {
		cache_pages_give(cache, pages, taken);
		return got;
	}
	filled = (uint32_t)(((size_t)got + CACHE_PAGE - 1) / CACHE_PAGE);
	if ((size_t)got % CACHE_PAGE)
		memset(cache_page_data(cache, pages[filled - 1]) + (size_t)got % CACHE_PAGE, 0, CACHE_PAGE - (size_t)got % CACHE_PAGE);
	until = MIN(reading->end, start + (uint64_t)got);
	if (filled > wanted)
		CACHE_COUNT(cache, readahead, filled - wanted);
	/* Less than the file should have: it was cut behind our back, and ends here for this call. */
	got = start + (uint64_t)got == MIN(size, start + (uint64_t)taken * CACHE_PAGE) || start + (uint64_t)got >= size;
	hand_over(reading, pages, index, until);
	cache_pages_publish(cache, reading->node, index, pages, filled, epoch, false);
	if (filled < taken)
		cache_pages_give(cache, pages + filled, taken - filled);
	return got;
}

/* ---- the call ------------------------------------------------------------------------------------------------------------- */
static ssize_t read_slow(struct reading *reading, uint64_t start, size_t total)
{
	struct cache_node *node = reading->node;
	uint64_t hits = 0, size;
	ssize_t got = 1;

	pthread_rwlock_rdlock(&node->io);
	size = (uint64_t)atomic_load(&node->data->size);
	reading->end = MIN(size, start + total);
	reading->past = total / CACHE_PAGE > cache_pages_budget(reading->cache) / 8;
	while (reading->offset < reading->end && got > 0) {
		size_t offset = reading->offset % CACHE_PAGE, bytes = MIN(CACHE_PAGE - offset, reading->end - reading->offset);
		struct cache_cursor before = reading->cursor;

		if (read_page(reading->cache, node, &reading->cursor, reading->offset >> CACHE_PAGE_SHIFT, offset, bytes)) {
			reading->offset += bytes;
			hits++;
			continue;
		}
		reading->cursor = before;
		got = read_missing(reading, size);
	}
	if (!got) /* shorter than we thought: somebody else cut it. Look again at the next call. */
		atomic_store_explicit(&node->data->until, 0, memory_order_release);
	pthread_rwlock_unlock(&node->io);
	if (hits)
		CACHE_COUNT(reading->cache, hits, hits);
	return reading->offset > start ? (ssize_t)(reading->offset - start) : got < 0 ? got : 0;
}

/* What is wholly in the cache. -EAGAIN: it is not, or the file's size changed meanwhile. */
static ssize_t read_hit(struct cache *cache, struct cache_node *node, struct cache_cursor cursor, uint64_t offset, size_t total)
{
	int64_t size = atomic_load_explicit(&node->data->size, memory_order_acquire);
	uint64_t end, at = offset, pages = 0;

	if (offset >= (uint64_t)size)
		return 0;
	end = MIN((uint64_t)size, offset + total);
	while (at < end) {
		size_t within = at % CACHE_PAGE, bytes = MIN(CACHE_PAGE - within, end - at);

		if (!read_page(cache, node, &cursor, at >> CACHE_PAGE_SHIFT, within, bytes))
			return -EAGAIN;
		at += bytes;
		pages++;
	}
	if (atomic_load_explicit(&node->data->size, memory_order_acquire) != size)
		return -EAGAIN;
	CACHE_COUNT(cache, hits, pages);
	return (ssize_t)(end - offset);
}

ssize_t cache_read(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const struct iovec *iov, int iovcnt, off_t offset, uint32_t flags)
{
	struct cache *cache = cache_of(self);
	struct cache_node *at = cache_node_of(node);
	struct reading reading = {cache, context, at, {iov, iovcnt, 0}, (uint64_t)offset, 0, false};
	size_t total = cache_iov_bytes(iov, iovcnt);
	ssize_t result;

	if (!S_ISREG(node->type) || (flags & DC_IO_DIRECT) || offset < 0 || !total)
		return CACHE_CALL(cache, read, context, at->below, iov, iovcnt, offset, flags);
	if (atomic_load_explicit(&at->data->until, memory_order_acquire) <= cache_now()) {
		result = cache_validate(cache, context, at, NULL);
		if (result)
			return result;
	}
	if (!atomic_load_explicit(&at->recent, memory_order_relaxed))
		atomic_store_explicit(&at->recent, true, memory_order_relaxed);
	if (iovcnt < 1)
		return 0;
	result = read_hit(cache, at, reading.cursor, (uint64_t)offset, total);
	return result != -EAGAIN ? result : read_slow(&reading, (uint64_t)offset, total);
}

/* ---- by those who map the regions ------------------------------------------------------------------------------------------ */
int cache_shared(struct dc_libservice *self, struct dc_node *node, struct dc_shared_file *out)
{
	struct cache *cache = cache_of(self);
	struct cache_node *at = cache_node_of(node);

	if (!at->file)
		return -ENOENT;
	*out = (struct dc_shared_file){cache->pool.index_region, at->file};
	return 0;
}
