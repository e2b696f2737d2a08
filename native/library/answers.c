/*
 * answers.c - the table of kept answers. Direct-mapped and lossy, entries with a version each, as the pages' table (leases.c): nothing waits or allocates, and signal handlers may come in between
 * anywhere. A question leaves a tag when it is first asked and is remembered with its answer when it is asked again, so what is asked once costs nothing.
 */
#include "answers.h"

#include "leases.h"

#define ENTRIES 4096u
#define PATH_LONGEST 136u
#define BEFORE_MAPPING 8u /* questions asked again: mapping the stamps costs a process what about as many requests do */

static struct entry {
	alignas(64) _Atomic uint32_t version;
	uint32_t instance, epoch, mode;
	uint64_t owner, base, until; /* until 0: only the question is known */
	const _Atomic uint64_t *board;
	int32_t result;
	uint16_t operation, flags, length;
	uint8_t stamps;
	uint32_t stamp[DC_LEASE_STAMPS];
	uint64_t word[DC_LEASE_STAMPS];
	union dc_answer_body body;
	char path[PATH_LONGEST];
} entries[ENTRIES];

/* Of the last question with that place. Together, since a process that lives for milliseconds pays for each page that it touches first as much as for a request. */
static _Atomic uint16_t tags[ENTRIES];
static _Atomic uint32_t asked_again;

/* Never the same for two attachments: what another user was told, or the process that forked us, is not for us. */
static uint64_t owner_of(const struct dc_client *client) {
	return (uint64_t)client->index << 32 | client->generation;
}

static uint64_t hash_of(const struct dc_question *question) {
	uint64_t hash = question->base ^ (uint64_t)question->instance << 48 ^ (uint64_t)question->operation << 40 ^ (uint64_t)question->mode << 32 ^ question->flags, word;
	const char *path = question->path;
	size_t left = question->length;
	for (; left >= sizeof word; left -= sizeof word, path += sizeof word) {
		memcpy(&word, path, sizeof word);
		hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		hash ^= hash >> 29;
	}
	for (; left; left--) hash = (hash ^ (unsigned char)*path++) * UINT64_C(0x100000001b3);
	return hash * UINT64_C(0xd6e8feb86659fd93);
}

static unsigned place_of(uint64_t hash) {
	return hash >> 52 & (ENTRIES - 1);
}

/* {hash:14, missing:1, 1} */
static uint16_t tag_of(uint64_t hash, bool missing) {
	return (uint16_t)((hash >> 32 & 0xfffc) | (missing ? 3 : 1));
}

/* Whether it was asked before, and what came of it as far as a tag says it: -ENOENT or 0. */
static bool was_asked(uint64_t hash, int64_t *result) {
	uint16_t seen = atomic_load_explicit(&tags[place_of(hash)], memory_order_relaxed);
	*result = seen & 2 ? -ENOENT : 0;
	return (seen & ~2u) == tag_of(hash, false);
}

static void tag(uint64_t hash, bool missing) {
	atomic_store_explicit(&tags[place_of(hash)], tag_of(hash, missing), memory_order_relaxed);
}

static bool is_about(const struct entry *entry, const struct dc_question *question) {
	return entry->length == question->length && entry->base == question->base && entry->instance == question->instance && entry->operation == question->operation &&
		entry->mode == question->mode && entry->flags == question->flags && entry->owner == owner_of(question->client) && !memcmp(entry->path, question->path, question->length);
}

/* By one writer at a time; who finds another at it goes without. */
static bool write_begin(struct entry *entry, uint32_t *version) {
	*version = atomic_load_explicit(&entry->version, memory_order_relaxed);
	if (*version & 1 || !atomic_compare_exchange_strong_explicit(&entry->version, version, *version + 1, memory_order_acquire, memory_order_relaxed)) return false;
	atomic_thread_fence(memory_order_release);
	return true;
}

static void write_question(struct entry *entry, const struct dc_question *question) {
	entry->until = 0;
	entry->instance = question->instance;
	entry->mode = question->mode;
	entry->owner = owner_of(question->client);
	entry->base = question->base;
	entry->operation = question->operation;
	entry->flags = (uint16_t)question->flags;
	entry->length = (uint16_t)question->length;
	memcpy(entry->path, question->path, question->length);
}

static bool stamps_hold(const struct entry *copy) {
	for (unsigned i = 0; i < copy->stamps; i++)
		if (!dc_stamp_holds(&copy->board[copy->stamp[i]], copy->word[i])) return false;
	return true;
}

/* What is kept of the question, whole: false: nothing. */
static bool read_entry(const struct dc_question *question, const struct entry *entry, struct entry *copy, union dc_answer_body *body) {
	uint32_t version = atomic_load_explicit(&entry->version, memory_order_acquire);
	if (version & 1 || !is_about(entry, question)) return false;
	memcpy(copy, entry, offsetof(struct entry, path));
	*body = entry->body;
	atomic_thread_fence(memory_order_acquire);
	return atomic_load_explicit(&entry->version, memory_order_relaxed) == version;
}

bool dc_answer_find(const struct dc_question *question, struct dc_answer *answer, bool *asks) {
	*asks = false;
	answer->result = 0;
	if (!dc_lease_given(question->client) || question->length > PATH_LONGEST) return false;
	uint64_t hash = hash_of(question);
	struct entry copy;
	if (!was_asked(hash, &answer->result)) {
		tag(hash, false);
		return false;
	}
	if (read_entry(question, &entries[place_of(hash)], &copy, &answer->body)) {
		answer->result = copy.result;
		struct dc_lease_time time = dc_lease_time(question->client);
		if (copy.epoch == time.epoch && time.now < copy.until && stamps_hold(&copy)) {
			atomic_fetch_add_explicit(&dc_arena_post(question->client->arena)->leased_answers, 1, memory_order_relaxed);
			return true;
		}
	}
	*asks = atomic_fetch_add_explicit(&asked_again, 1, memory_order_relaxed) >= BEFORE_MAPPING;
	return false;
}

void dc_answer_expect(const struct dc_question *question, int64_t result) {
	if (dc_lease_given(question->client) && question->length <= PATH_LONGEST) tag(hash_of(question), result < 0);
}

/* Copied once and checked: the service wrote it, but a wrong number must not lead us out of the board. */
static bool read_lease(const struct dc_question *question, const struct dc_call *call, struct dc_wire_lease *lease, const _Atomic uint64_t **board) {
	memcpy(lease, call->buffer + DC_LEASE_OFFSET, sizeof *lease);
	size_t bytes;
	const unsigned char *data = lease->count && lease->count <= DC_LEASE_STAMPS ? dc_lease_region(question->client, lease->region, &bytes) : NULL;
	if (!data) return false;
	for (unsigned i = 0; i < lease->count; i++)
		if (lease->stamp[i].index >= bytes / sizeof **board) return false;
	*board = (const _Atomic uint64_t *)(const void *)data;
	return true;
}

void dc_answer_remember(const struct dc_question *question, const struct dc_call *call, int64_t result) {
	struct dc_wire_lease lease;
	const _Atomic uint64_t *board;
	bool text = question->operation == DC_OP_READLINK && result > 0;
	if (call->slot->value[2] != 1 || question->length > PATH_LONGEST || (text && (size_t)result > sizeof(union dc_answer_body))) return;
	uint32_t epoch = dc_lease_time(question->client).epoch, version;
	if (!read_lease(question, call, &lease, &board)) return;
	uint64_t hash = hash_of(question);
	struct entry *entry = &entries[place_of(hash)];
	tag(hash, result < 0);
	if (!write_begin(entry, &version)) return;
	write_question(entry, question);
	entry->epoch = epoch;
	entry->until = lease.until;
	entry->board = board;
	entry->result = (int32_t)result;
	entry->stamps = (uint8_t)lease.count;
	for (unsigned i = 0; i < lease.count; i++) {
		entry->stamp[i] = lease.stamp[i].index;
		entry->word[i] = lease.stamp[i].word;
	}
	if (text) memcpy(entry->body.text, call->buffer, (size_t)result);
	else entry->body.attr = call->slot->attr;
	atomic_store_explicit(&entry->version, version + 2, memory_order_release);
}
