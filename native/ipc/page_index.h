/*
 * page_index.h - where a cache's pages are and what they hold, in a region that clients of a trusting pool map read-only: the service and they find pages in it by the same code, without a lock
 * and without asking each other (docs/internals.md, "One copy, or none"). The service alone writes it.
 *
 * A hash of (file, page number) leads to a page's record: chains of record numbers, 0 the end. Records of a file's neighbours are neighbours in the table, so a long read walks along it. A chain
 * that is changed under a reader may hide a page; a miss is always allowed. How a file is read:
 *   its entry   still its own (id), believed (until), with no writes on their way past the cache (withheld), and its size;
 *   each page   found, its generation even, still its own; copied; the generation has not moved;
 *   its entry   the size is what it was, and the entry still its own.
 */
#ifndef DICICLO_IPC_PAGE_INDEX_H
#define DICICLO_IPC_PAGE_INDEX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "generation.h"

#define DC_INDEX_MAGIC 0x64635049u
#define DC_INDEX_PAGE 4096u
#define DC_INDEX_BLOCK_PAGES 512u /* of 2 MiB: pages of a block lie side by side in a region */
#define DC_INDEX_CHAIN_MAX 64

/* A regular file, by its entry's number. */
struct dc_index_file {
	_Atomic uint64_t id;       /* never used again in this index; 0: nobody's */
	_Atomic uint64_t until;    /* CLOCK_MONOTONIC_COARSE, ns: pages and size are believed so long */
	_Atomic int64_t size;      /* bytes */
	_Atomic uint32_t withheld; /* not to be read without asking, so many times */
	uint32_t reserved;
};

/* A page, by its number. */
struct dc_index_page {
	_Atomic uint64_t generation; /* generation.h; odd too while it is nobody's */
	_Atomic uint64_t owner;      /* id of its file */
	_Atomic uint64_t number;     /* in its file */
	_Atomic uint32_t chain;
	uint32_t reserved;
};
_Static_assert(sizeof(struct dc_index_file) == 32 && sizeof(struct dc_index_page) == 32, "two share a cache line, none lies in two");

/* At the region's begin. Offsets in bytes. */
struct dc_index_head {
	uint32_t magic, pages, blocks, files;
	uint64_t bucket_mask; /* buckets - 1 */
	uint64_t buckets_at, pages_at, blocks_at, files_at;
	uint32_t heat; /* region of one byte per page, which clients write: touched since the clock's hand came by, 0 to 2. 0: there is none */
	uint32_t reserved;
};

/* As it is mapped. The numbers are the head's. */
struct dc_index {
	const struct dc_index_head *head;
	uint32_t pages, blocks, files;
	uint64_t bucket_mask;
	_Atomic uint32_t *buckets;
	struct dc_index_page *page;
	_Atomic uint64_t *block; /* {region:32, block of the region:32} */
	struct dc_index_file *file;
};

/* Sets the rest of `head` and answers the bytes of the region. */
static inline size_t dc_index_layout(struct dc_index_head *head) {
	size_t at = DC_INDEX_PAGE;
	head->magic = DC_INDEX_MAGIC;
	head->buckets_at = at;
	at += (size_t)(head->bucket_mask + 1) * sizeof(uint32_t);
	head->blocks_at = at = (at + 63) & ~(size_t)63;
	at += (size_t)head->blocks * sizeof(uint64_t);
	head->files_at = at = (at + 63) & ~(size_t)63;
	at += (size_t)head->files * sizeof(struct dc_index_file);
	head->pages_at = at = (at + 63) & ~(size_t)63;
	return at + (size_t)head->pages * sizeof(struct dc_index_page);
}

static inline struct dc_index dc_index_at(void *region) {
	const struct dc_index_head *head = region;
	char *base = region;
	return (struct dc_index){head, head->pages, head->blocks, head->files, head->bucket_mask, (void *)(base + head->buckets_at), (void *)(base + head->pages_at), (void *)(base + head->blocks_at), (void *)(base + head->files_at)};
}

static inline _Atomic uint32_t *dc_index_bucket(const struct dc_index *index, uint64_t owner, uint64_t number) {
	uint64_t mixed = owner * UINT64_C(0x9e3779b97f4a7c15);
	return &index->buckets[((mixed ^ mixed >> 32) + number) & index->bucket_mask];
}

/* Its number, or 0. Without the writer's lock a chain may change on the way, so `limit` bounds the walk. */
static inline uint32_t dc_index_find(const struct dc_index *index, uint64_t owner, uint64_t number, size_t limit) {
	uint32_t page = atomic_load_explicit(dc_index_bucket(index, owner, number), memory_order_acquire);
	for (size_t steps = 0; page && page < index->pages && steps < limit; steps++) {
		const struct dc_index_page *at = &index->page[page];
		if (atomic_load_explicit(&at->number, memory_order_relaxed) == number && atomic_load_explicit(&at->owner, memory_order_relaxed) == owner) return page;
		page = atomic_load_explicit(&at->chain, memory_order_acquire);
	}
	return 0;
}

/* Before the copy: its generation, or 0: not now, or not any longer this page of this file. */
static inline uint64_t dc_index_begin(const struct dc_index_page *page, uint64_t owner, uint64_t number) {
	uint64_t generation = dc_generation_read(&page->generation);
	if (generation & 1 || atomic_load_explicit(&page->owner, memory_order_acquire) != owner || atomic_load_explicit(&page->number, memory_order_acquire) != number) return 0;
	return generation;
}

/* A page was read: its byte in the region of heat. */
static inline void dc_index_touch(_Atomic uint8_t *heat) {
	uint8_t seen = atomic_load_explicit(heat, memory_order_relaxed);
	if (seen < 2) atomic_store_explicit(heat, (uint8_t)(seen + 1), memory_order_relaxed);
}

/* Whether a file may be read, and its size then. */
static inline bool dc_index_open(const struct dc_index_file *file, uint64_t id, uint64_t now, int64_t *size) {
	if (atomic_load_explicit(&file->id, memory_order_acquire) != id || atomic_load_explicit(&file->withheld, memory_order_seq_cst)) return false;
	if (atomic_load_explicit(&file->until, memory_order_acquire) <= now) return false;
	*size = atomic_load_explicit(&file->size, memory_order_acquire);
	return true;
}

/* After all pages were copied: what was read is what the file held. */
static inline bool dc_index_holds(const struct dc_index_file *file, uint64_t id, int64_t size) {
	DC_FENCE(memory_order_acquire);
	return atomic_load_explicit(&file->size, memory_order_relaxed) == size && atomic_load_explicit(&file->id, memory_order_relaxed) == id;
}

#endif
