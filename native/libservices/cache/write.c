/*
 * write.c - writing through, and whatever else changes data.
 *
 * The node's io lock is held across the child's write and the pages' change, so the pages never differ from the child. The caller's buffers may be memory
 * that a client writes at the same time: each byte is read once, into fresh pages (whole pages) or a buffer of our own (the rest), and both the child and the cache get
 * that copy. Nothing is kept of what the child did not accept: after an error or a short write the pages of the range are dropped and the size is asked for again.
 */
#include "cache.h"

#include <stdlib.h>

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define STACK_BYTES 16384u
#define CHUNK_BYTES (256u * 1024)
#define PAST_BYTES (128u * 1024)

struct writing {
	struct cache *cache;
	struct dc_context *context;
	struct cache_node *node;
	struct cache_cursor cursor;
	off_t offset; /* of the next byte; where it went, after an append */
	uint32_t flags;
	uint32_t epoch;
};

static uint64_t page_of(uint64_t offset) { return offset >> CACHE_PAGE_SHIFT; }

static void grow(struct cache_node *node, int64_t end)
{
	if (end > atomic_load_explicit(&node->data->size, memory_order_relaxed))
		atomic_store_explicit(&node->data->size, end, memory_order_release);
}

/* The child took `done` (or refused) of `bytes` from `offset` on: what we know of the range is worth nothing. */
static void doubtful(struct writing *writing, off_t offset, size_t bytes, ssize_t done)
{
	cache_pages_drop(writing->cache, writing->node, page_of((uint64_t)offset), page_of((uint64_t)offset + bytes));
	if (done > 0)
		grow(writing->node, offset + done);
	atomic_store_explicit(&writing->node->data->until, 0, memory_order_release);
}

/* ---- whole pages: from the caller into fresh pages, from there to the child, then in place of the old ones ------------------------------- */
/* Answers -ENOBUFS when there are no pages to be had. */
static ssize_t write_pages(struct writing *writing, uint32_t count, size_t *asked)
{
	struct cache *cache = writing->cache;
	uint32_t pages[CACHE_RUN_PAGES], taken = cache_pages_take(cache, pages, count);
	struct iovec vectors[CACHE_RUN_PAGES];
	size_t bytes = (size_t)taken * CACHE_PAGE;
	off_t at = writing->offset;
	int used, i;
	ssize_t put;

	if (!taken)
		return -ENOBUFS;
	*asked = bytes;
	used = cache_pages_vectors(cache, pages, taken, vectors);
	for (i = 0; i < used; i++)
		cache_cursor_copy(cache, &writing->cursor, vectors[i].iov_base, NULL, vectors[i].iov_len);
	put = CACHE_CALL(cache, write, writing->context, writing->node->below, vectors, used, &at, writing->flags);
	writing->offset = at + (put > 0 ? put : 0);
	if (put != (ssize_t)bytes) {
		cache_pages_give(cache, pages, taken);
		doubtful(writing, at, bytes, put);
		return put;
	}
	cache_pages_publish(cache, writing->node, page_of((uint64_t)at), pages, taken, writing->epoch, true);
	grow(writing->node, at + put);
	return put;
}

/* ---- any bytes: through a buffer of ours ---------------------------------------------------------------------------------- */
/* A page that is not there may be made if all of it is known: whole, or beyond the old end of the file where everything else is zeros. */
static void store_page(struct writing *writing, uint64_t index, size_t offset, const char *data, size_t bytes, int64_t old_size)
{
	struct cache *cache = writing->cache;
	unsigned char *page;
	uint32_t taken;

	if (cache_page_update(cache, writing->node, index, offset, data, bytes))
		return;
	if (bytes < CACHE_PAGE && (int64_t)(index << CACHE_PAGE_SHIFT) < old_size)
		return;
	if (!cache_pages_take(cache, &taken, 1))
		return;
	page = cache_page_data(cache, taken);
	memset(page, 0, offset);
	memcpy(page + offset, data, bytes);
	memset(page + offset + bytes, 0, CACHE_PAGE - offset - bytes);
	cache_pages_publish(cache, writing->node, index, &taken, 1, writing->epoch, true);
}

static ssize_t write_buffer(struct writing *writing, const char *buffer, size_t bytes)
{
	struct iovec vector = {(void *)buffer, bytes};
	int64_t old_size = atomic_load(&writing->node->data->size);
	off_t at = writing->offset;
	ssize_t put = CACHE_CALL(writing->cache, write, writing->context, writing->node->below, &vector, 1, &at, writing->flags);
	size_t done = 0;

	writing->offset = at + (put > 0 ? put : 0);
	if (put != (ssize_t)bytes) {
		doubtful(writing, at, bytes, put);
		return put;
	}
	if ((writing->flags & DC_IO_APPEND) && at != old_size) {
		/* Somebody else appended before us: from the old end on we know nothing. */
		cache_pages_drop(writing->cache, writing->node, page_of((uint64_t)MIN(at, old_size)), UINT64_MAX - 1);
		old_size = INT64_MAX;
	}
	while (done < bytes) {
		uint64_t here = (uint64_t)at + done;
		size_t offset = here % CACHE_PAGE, part = MIN(CACHE_PAGE - offset, bytes - done);

		store_page(writing, page_of(here), offset, buffer + done, part, old_size);
		done += part;
	}
	grow(writing->node, at + put);
	return put;
}

static ssize_t write_copied(struct writing *writing, size_t bytes)
{
	char stack[STACK_BYTES], *buffer = bytes <= sizeof stack ? stack : malloc(bytes);
	ssize_t put;

	if (!buffer)
		return -ENOMEM;
	cache_cursor_copy(writing->cache, &writing->cursor, buffer, NULL, bytes);
	put = write_buffer(writing, buffer, bytes);
	if (buffer != stack)
		free(buffer);
	return put;
}

/* ---- the call ------------------------------------------------------------------------------------------------------------- */
/* One call to the child: the next whole pages, or the next piece of *asked bytes. An append is never split. */
static ssize_t write_next(struct writing *writing, size_t left, size_t *asked)
{
	uint32_t limit = MIN(CACHE_RUN_PAGES, cache_pages_budget(writing->cache) / 8);
	bool append = writing->flags & DC_IO_APPEND;
	ssize_t put = -ENOBUFS;

	if (!append && writing->offset % CACHE_PAGE == 0 && (left % CACHE_PAGE == 0 || left > 4 * CACHE_PAGE))
		put = write_pages(writing, (uint32_t)MIN(left / CACHE_PAGE, limit), asked);
	if (put != -ENOBUFS)
		return put;
	*asked = append ? left : MIN(left, CHUNK_BYTES);
	if (!append && left > 4 * CACHE_PAGE && writing->offset % CACHE_PAGE)
		*asked = CACHE_PAGE - writing->offset % CACHE_PAGE; /* up to where whole pages begin */
	return write_copied(writing, *asked);
}

static ssize_t write_through(struct writing *writing, size_t total, off_t *offset)
{
	size_t done = 0, asked;
	ssize_t put;

	do {
		put = write_next(writing, total - done, &asked);
		if (put <= 0)
			break;
		if (!done)
			*offset = writing->offset - put;
		done += (size_t)put;
	} while ((size_t)put == asked && done < total);
	return done ? (ssize_t)done : put;
}

/*
 * O_DIRECT, or a long write over what was written before and never read since: from the caller's buffers to the child, and out of the cache. Pages would cost the writer a copy, and the processor's caches
 * as much again; should somebody read after all, the child has it in memory. What is new is kept, since most of it is read soon, and so is what is read between two writes.
 */
static bool goes_past(struct writing *writing, size_t total)
{
	struct cache_node *node = writing->node;
	uint64_t from = (uint64_t)writing->offset, first = page_of(from), last = page_of(from + total - 1), begin = page_of(from + CACHE_PAGE - 1), end = page_of(from + total);
	uint32_t unread, read;

	if (writing->flags & DC_IO_DIRECT)
		return true;
	if (writing->flags & DC_IO_APPEND || total < PAST_BYTES || !(writing->cache->child->traits & DC_TRAIT_MEMORY))
		return false;
	unread = cache_pages_drop_cold(writing->cache, node, begin, end - 1, 1, &read);
	if (read || unread)
		atomic_store_explicit(&node->written_past, !read, memory_order_relaxed);
	if (!atomic_load_explicit(&node->written_past, memory_order_relaxed))
		return false;
	/* Of these a part remains what it was. */
	if (first < begin)
		cache_pages_drop(writing->cache, node, first, first);
	if (last >= end)
		cache_pages_drop(writing->cache, node, last, last);
	return true;
}

static ssize_t write_past(struct writing *writing, const struct iovec *iov, int iovcnt, size_t total, off_t *offset)
{
	struct cache *cache = writing->cache;
	ssize_t put = CACHE_CALL(cache, write, writing->context, writing->node->below, iov, iovcnt, offset, writing->flags);

	if (put == (ssize_t)total && !(writing->flags & DC_IO_DIRECT))
		grow(writing->node, *offset + put);
	else
		doubtful(writing, *offset, total, put);
	if (put > 0)
		CACHE_COUNT(cache, bypassed, (uint64_t)put);
	return put;
}

ssize_t cache_write(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const struct iovec *iov, int iovcnt, off_t *offset, uint32_t flags)
{
	struct cache *cache = cache_of(self);
	struct cache_node *at = cache_node_of(node);
	struct writing writing = {cache, context, at, {iov, iovcnt, 0}, *offset, flags, 0};
	size_t total = cache_iov_bytes(iov, iovcnt);
	struct cache_change change;
	ssize_t result = 0;

	if (!S_ISREG(node->type) || !total || (*offset < 0 && !(flags & DC_IO_APPEND)))
		return CACHE_CALL(cache, write, context, at->below, iov, iovcnt, offset, flags);
	pthread_rwlock_wrlock(&at->io);
	if (atomic_load_explicit(&at->data->until, memory_order_acquire) <= cache_now())
		result = cache_validate(cache, context, at, NULL);
	if (result) {
		pthread_rwlock_unlock(&at->io);
		return result;
	}
	writing.epoch = cache_epoch(cache, at);
	if (flags & DC_IO_APPEND)
		writing.offset = atomic_load(&at->data->size);
	change = cache_change_begin(cache, at);
	if (goes_past(&writing, total))
		result = write_past(&writing, iov, iovcnt, total, offset);
	else
		result = write_through(&writing, total, offset);
	cache_change_end(cache, at, change, NULL);
	if (!cache->ttl)
		cache_validate(cache, context, at, NULL); /* so that the next look tells others' changes from this one */
	pthread_rwlock_unlock(&at->io);
	return result;
}

/* ---- the rest ------------------------------------------------------------------------------------------------------------- */
/* After a failed sync nobody knows what of the file is on stable storage, and the child may have let go of what it could not write: look again. */
int cache_fsync(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, bool data_only)
{
	struct cache *cache = cache_of(self);
	struct cache_node *at = cache_node_of(node);
	int result = CACHE_CALL(cache, fsync, context, at->below, data_only);

	if (result && S_ISREG(node->type)) {
		pthread_rwlock_wrlock(&at->io);
		cache_pages_drop(cache, at, 0, UINT64_MAX);
		atomic_store_explicit(&at->data->until, 0, memory_order_release);
		pthread_rwlock_unlock(&at->io);
	}
	return result;
}

/* The child changed [offset, offset + length), or everything from `offset` on: drop it, and take the size from the child while nobody else changes it. */
static void changed_below(struct cache *cache, struct dc_context *context, struct cache_node *node, struct cache_change change, off_t offset, uint64_t last)
{
	struct dc_attr attr;
	bool known = !CACHE_CALL(cache, getattr, context, node->below, &attr);

	if (known)
		atomic_store_explicit(&node->data->size, attr.st.st_size, memory_order_release);
	else
		atomic_store_explicit(&node->data->until, 0, memory_order_release);
	cache_pages_drop(cache, node, page_of((uint64_t)offset), last);
	cache_change_end(cache, node, change, known ? &attr : NULL);
}

int cache_fallocate(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, int mode, off_t offset, off_t length)
{
	struct cache *cache = cache_of(self);
	struct cache_node *at = cache_node_of(node);
	bool moves = mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE);
	struct cache_change change;
	int result;

	if (!S_ISREG(node->type) || offset < 0 || length <= 0)
		return CACHE_CALL(cache, fallocate, context, at->below, mode, offset, length);
	pthread_rwlock_wrlock(&at->io);
	change = cache_change_begin(cache, at);
	result = CACHE_CALL(cache, fallocate, context, at->below, mode, offset, length);
	changed_below(cache, context, at, change, offset, moves ? UINT64_MAX - 1 : page_of((uint64_t)offset + (uint64_t)length));
	pthread_rwlock_unlock(&at->io);
	return result;
}

ssize_t cache_copy(struct dc_libservice *self, struct dc_context *context, struct dc_node *from, off_t from_offset, struct dc_node *to, off_t to_offset, size_t length)
{
	struct cache *cache = cache_of(self);
	struct cache_node *target = cache_node_of(to);
	struct cache_change change;
	ssize_t result;

	if (!S_ISREG(to->type) || to_offset < 0)
		return CACHE_CALL(cache, copy, context, cache_node_of(from)->below, from_offset, target->below, to_offset, length);
	pthread_rwlock_wrlock(&target->io);
	change = cache_change_begin(cache, target);
	result = CACHE_CALL(cache, copy, context, cache_node_of(from)->below, from_offset, target->below, to_offset, length);
	changed_below(cache, context, target, change, to_offset, page_of((uint64_t)to_offset + MIN(length, (size_t)INT64_MAX)));
	pthread_rwlock_unlock(&target->io);
	return result;
}
