/*
 * door_nodes.c - the kernel's node numbers.
 *
 * A number is {epoch:16, generation:20, index:28}; the root's is 1, as the protocol has it. The epoch is that of the service's incarnation that gave
 * it out, so no number is given out twice; those of earlier ones are taken over from the ledger, and what is not found there is answered ESTALE: the kernel looks the path up anew. The generation tells the uses of one place of the table apart.
 *
 * While the kernel asks about a number it holds a lookup count of it, so the way from number to node takes no lock. The counts themselves change under the table's lock.
 * A node is dropped when the kernel has forgotten all of its lookups.
 */
#include <stdlib.h>

#include "door_internal.h"
#include "door_ledger.h"

#define INDEX_BITS 28u
#define GENERATION_MASK 0xfffffu

static uint64_t number_of(const struct door_table *table, const struct door_entry *entry) {
	return table->epoch << 48 | (uint64_t)entry->generation << INDEX_BITS | entry->index;
}

static uint32_t bucket_of(const struct door_table *table, uint64_t ino) {
	return (uint32_t)((ino * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (table->bucket_count - 1);
}

/* The three below under the table's lock. */
static void hash_insert(struct door_table *table, struct door_entry *entry, uint64_t ino) {
	struct door_entry **bucket = &table->buckets[bucket_of(table, ino)];
	entry->next = *bucket;
	*bucket = entry;
	table->count++;
}

static void hash_remove(struct door_table *table, struct door_entry *entry, uint64_t ino) {
	struct door_entry **place = &table->buckets[bucket_of(table, ino)];
	while (*place && *place != entry) place = &(*place)->next;
	if (!*place) return;
	*place = entry->next;
	table->count--;
}

static void hash_grow(struct door_table *table) {
	if (table->count < table->bucket_count || table->bucket_count >= 1u << 24) return;
	uint32_t old_count = table->bucket_count;
	struct door_entry **old = table->buckets, **buckets = calloc(old_count * 2, sizeof(*buckets));
	if (!buckets) return; /* longer chains, nothing worse */
	table->buckets = buckets;
	table->bucket_count = old_count * 2;
	table->count = 0;
	for (uint32_t i = 0; i < old_count; i++)
		for (struct door_entry *entry = old[i], *next; entry; entry = next) {
			next = entry->next;
			hash_insert(table, entry, atomic_load(&entry->node)->ino);
		}
	free(old);
}

/* Under the table's lock. */
static bool add_chunk(struct door_table *table) {
	struct door_entry *chunk = table->chunk_count < DOOR_CHUNKS ? calloc(DOOR_CHUNK, sizeof *chunk) : NULL;
	if (!chunk) return false;
	for (uint32_t i = DOOR_CHUNK; i-- > 0;) {
		chunk[i].index = table->chunk_count * DOOR_CHUNK + i;
		chunk[i].next = table->free;
		table->free = &chunk[i];
	}
	atomic_store_explicit(&table->chunks[table->chunk_count++], chunk, memory_order_release);
	return true;
}

/* Under the table's lock. */
static struct door_entry *entry_allocate(struct door_table *table) {
	if (!table->free && !add_chunk(table)) return NULL;
	struct door_entry *entry = table->free;
	table->free = entry->next;
	entry->next = NULL;
	return entry;
}

static void entry_reset(struct door_entry *entry) {
	atomic_store(&entry->parent, 0);
	atomic_store(&entry->streak, 0);
	atomic_store(&entry->pushed_ns, 0);
	atomic_store(&entry->changed_ns, 0);
	atomic_store(&entry->landed_ns, 0);
	door_size_lowered(entry, 0);
	for (unsigned i = 0; i < DOOR_NAME_WORDS; i++) atomic_store(&entry->names[i], 0);
}

int door_table_open(struct dc_door *door) {
	struct door_table *table = &door->table;
	pthread_mutex_init(&table->lock, NULL);
	const struct dc_host *host = door->root->host;
	table->epoch = host && (host->epoch & 0xffff) ? host->epoch & 0xffff : 1;
	table->bucket_count = 256;
	table->buckets = calloc(table->bucket_count, sizeof(*table->buckets));
	table->chunks = calloc(DOOR_CHUNKS, sizeof *table->chunks);
	if (!table->buckets || !table->chunks || !(table->root = entry_allocate(table))) return -ENOMEM;
	struct dc_node *node = door->instance->root_node;
	DOOR_CALL(door, reference, node, 1);
	atomic_store(&node->core.kernel_lookups, 1);
	atomic_store(&node->core.door, table->root);
	atomic_store(&table->root->number, FUSE_ROOT_ID);
	atomic_store(&table->root->node, node);
	hash_insert(table, table->root, node->ino);
	return 0;
}

/* Lets go of a node: the kernel has no inode of it. */
static void node_release(struct dc_door *door, struct dc_node *node) {
	DOOR_CALL(door, forget, node, 1);
}

void door_table_close(struct dc_door *door) {
	struct door_table *table = &door->table;
	for (uint32_t i = 0; i < table->chunk_count; i++) {
		struct door_entry *chunk = atomic_load(&table->chunks[i]);
		for (uint32_t j = 0; j < DOOR_CHUNK; j++) {
			struct dc_node *node = atomic_exchange(&chunk[j].node, NULL);
			if (!node) continue;
			atomic_store(&node->core.kernel_lookups, 0);
			door_cached_none(node);
			atomic_store(&node->core.door, NULL);
			node_release(door, node);
		}
		free(chunk);
	}
	free(table->chunks);
	free(table->buckets);
	pthread_mutex_destroy(&table->lock);
}

struct door_entry *door_entry_of(struct dc_door *door, uint64_t number) {
	if (number == FUSE_ROOT_ID) return door->table.root;
	uint32_t index = (uint32_t)(number & ((1u << INDEX_BITS) - 1));
	if (index / DOOR_CHUNK >= DOOR_CHUNKS) return NULL;
	struct door_entry *chunk = atomic_load_explicit(&door->table.chunks[index / DOOR_CHUNK], memory_order_acquire);
	struct door_entry *entry = chunk ? &chunk[index % DOOR_CHUNK] : NULL;
	return entry && atomic_load_explicit(&entry->number, memory_order_acquire) == number && atomic_load(&entry->node) ? entry : NULL;
}

struct door_entry *door_entry_take(struct dc_door *door, struct dc_node *node) {
	struct door_table *table = &door->table;
	pthread_mutex_lock(&table->lock);
	struct door_entry *entry = atomic_load(&node->core.door);
	bool known = entry != NULL;
	if (!known && (entry = entry_allocate(table))) {
		entry_reset(entry);
		entry->generation = (entry->generation + 1) & GENERATION_MASK;
		atomic_store(&entry->node, node);
		atomic_store_explicit(&entry->number, number_of(table, entry), memory_order_release);
		door_ledger_set(door, entry->index, number_of(table, entry), node);
		hash_insert(table, entry, node->ino);
		hash_grow(table);
		atomic_store(&node->core.door, entry);
		door_cached_set(node, DOOR_INODE);
	}
	if (entry) door_ledger_count(door, entry->index, atomic_fetch_add(&node->core.kernel_lookups, 1) + 1);
	pthread_mutex_unlock(&table->lock);
	if (known || !entry) node_release(door, node); /* the entry holds one reference, not one per lookup */
	return entry;
}

/* Under the lock. */
static void entry_retire(struct dc_door *door, struct door_entry *entry, struct dc_node *node) {
	struct door_table *table = &door->table;
	door_ledger_set(door, entry->index, 0, NULL);
	hash_remove(table, entry, node->ino);
	atomic_store(&node->core.door, NULL);
	door_cached_none(node);
	atomic_store(&entry->number, 0);
	atomic_store(&entry->node, NULL);
	entry->next = table->free;
	table->free = entry;
}

void door_entry_forget(struct dc_door *door, uint64_t number, uint64_t count) {
	struct door_table *table = &door->table;
	if (number == FUSE_ROOT_ID) return;
	DOOR_AT_FORGET(door);
	pthread_mutex_lock(&table->lock);
	struct door_entry *entry = door_entry_of(door, number);
	struct dc_node *node = entry ? atomic_load(&entry->node) : NULL;
	if (node) {
		uint64_t have = atomic_load(&node->core.kernel_lookups); /* never below zero, whatever the kernel says */
		atomic_store(&node->core.kernel_lookups, count < have ? have - count : 0);
		if (count >= have) {
			entry_retire(door, entry, node);
		} else {
			door_ledger_count(door, entry->index, have - count);
			node = NULL;
		}
	}
	pthread_mutex_unlock(&table->lock);
	if (node) node_release(door, node);
}

/* ---- after a restart, before any thread serves (door_ledger.c) -------------------------------------------------------------- */
int door_table_extend(struct dc_door *door, uint32_t used) {
	while (door->table.chunk_count * DOOR_CHUNK < used)
		if (!add_chunk(&door->table)) return -ENOMEM;
	return 0;
}

bool door_entry_restore(struct dc_door *door, uint32_t index, uint64_t number, uint64_t lookups, struct dc_node *node) {
	struct door_table *table = &door->table;
	struct door_entry *entry = &atomic_load(&table->chunks[index / DOOR_CHUNK])[index % DOOR_CHUNK];
	if ((number & ((1u << INDEX_BITS) - 1)) != index || atomic_load(&entry->node) || atomic_load(&node->core.door)) return false;
	entry_reset(entry);
	/* Names are distrusted all at once where the kernel can (take_over); elsewhere any may be known. */
	if (door->kernel_minor < 44)
		for (unsigned i = 0; i < DOOR_NAME_WORDS; i++) atomic_store(&entry->names[i], ~UINT64_C(0));
	entry->generation = (uint32_t)(number >> INDEX_BITS) & GENERATION_MASK;
	atomic_store(&entry->node, node);
	atomic_store_explicit(&entry->number, number, memory_order_release);
	hash_insert(table, entry, node->ino);
	hash_grow(table);
	atomic_store(&node->core.door, entry);
	atomic_store(&node->core.kernel_lookups, lookups);
	door_cached_set(node, DOOR_ATTRIBUTES | DOOR_PAGES | DOOR_ENTRIES);
	if (!S_ISDIR(node->type)) atomic_store(&entry->changed_ns, dc_now_ns()); /* perhaps, and not said */
	return true;
}

void door_table_gather(struct dc_door *door) {
	struct door_table *table = &door->table;
	table->free = NULL;
	for (uint32_t i = table->chunk_count * DOOR_CHUNK; i-- > 0;) {
		struct door_entry *entry = &atomic_load(&table->chunks[i / DOOR_CHUNK])[i % DOOR_CHUNK];
		if (atomic_load(&entry->node)) continue;
		entry->next = table->free;
		table->free = entry;
	}
}

struct dc_node *dc_door_find(struct dc_door *door, uint64_t ino) {
	if (!door) return NULL;
	struct door_table *table = &door->table;
	pthread_mutex_lock(&table->lock);
	struct dc_node *node = NULL;
	for (struct door_entry *entry = table->buckets[bucket_of(table, ino)]; entry && !node; entry = entry->next) {
		struct dc_node *candidate = atomic_load(&entry->node);
		if (candidate && candidate->ino == ino) node = candidate;
	}
	if (node) DOOR_CALL(door, reference, node, 1); /* under the lock: the entry's own reference cannot go meanwhile */
	pthread_mutex_unlock(&table->lock);
	return node;
}

bool dc_door_knows(const struct dc_node *node) {
	return atomic_load_explicit(&node->core.door, memory_order_acquire) != NULL;
}
