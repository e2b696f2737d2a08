/*
 * handles.c - open descriptions. A handle's number is {generation:32, index:24}; the table grows in chunks that are never freed, so that any number that a client may send is
 * safe to look up. Numbers, and with them the descriptions, outlive a service: the ledger has each one that is open, and the last generation of each place (handle_ledger.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "clients.h"
#include "handle_ledger.h"
#include "host.h"
#include "offences.h"

#define CHUNK 1024u
#define CHUNKS 16384u
#define CLOSING (UINT64_C(1) << 31)
#define CLAIMED (UINT64_C(1) << 30)
#define USERS(state) ((state) & 0x7fffffffu) /* with the claim */
#define GENERATION(state) ((uint32_t)((state) >> 32))
#define NUMBER_GENERATION(number) ((uint32_t)((number) >> 24))

static _Atomic(struct dc_handle *) chunks[CHUNKS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct dc_handle *free_handles;
static uint32_t chunk_count;

static struct dc_ledger_entry *ledger_of(uint32_t index) {
	return dc_ledger() ? &dc_ledger()->entry[index] : NULL;
}

/* Under `lock`. */
static bool grow(void) {
	if (chunk_count == CHUNKS) return false;
	struct dc_handle *chunk = calloc(CHUNK, sizeof *chunk);
	if (!chunk) return false;
	for (uint32_t i = 0; i < CHUNK; i++) {
		chunk[i].index = chunk_count * CHUNK + i;
		struct dc_ledger_entry *entry = ledger_of(chunk[i].index);
		uint64_t last = entry ? atomic_load(&entry->word) : 0;
		/* Where nothing is written down, numbers of different services differ by what they start from. */
		uint32_t generation = last ? NUMBER_GENERATION(last) : (uint32_t)(dc_epoch() << 20 | 1);
		atomic_store(&chunk[i].state, (uint64_t)generation << 32 | CLOSING);
		if (last & DC_LEDGER_LIVE) continue; /* dc_handles_restore has it, or frees it */
		chunk[i].next_free = free_handles;
		free_handles = &chunk[i];
	}
	atomic_store_explicit(&chunks[chunk_count++], chunk, memory_order_release);
	if (dc_ledger() && chunk_count * CHUNK > atomic_load(&dc_ledger()->used)) atomic_store(&dc_ledger()->used, chunk_count * CHUNK);
	return true;
}

uint64_t dc_handle_number(const struct dc_handle *handle) {
	return (uint64_t)GENERATION(atomic_load(&handle->state)) << 24 | handle->index;
}

static uint64_t next_generation(uint64_t state) {
	uint32_t next = GENERATION(state) + 1;
	return next ? next : 1;
}

/* Before anybody is told the number. */
static void write_down(const struct dc_handle *handle, const struct dc_node *node, uint64_t number) {
	struct dc_ledger_entry *entry = ledger_of(handle->index);
	if (!entry) return;
	int length = DC_FILE_CALL(handle->instance->root, identify, (struct dc_node *)(uintptr_t)node, entry->identity);
	entry->length = (uint8_t)(length < 0 ? 0 : length);
	entry->instance = handle->instance->id;
	entry->flags = (uint32_t)handle->flags;
	entry->sequence = handle->sequence;
	entry->slot = handle->slot;
	entry->client = (uint16_t)handle->client->index;
	entry->client_generation = (uint16_t)handle->client->generation;
	atomic_store_explicit(&entry->word, number | DC_LEDGER_LIVE, memory_order_release);
}

static void cross_out(const struct dc_handle *handle) {
	struct dc_ledger_entry *entry = ledger_of(handle->index);
	if (entry) atomic_fetch_and_explicit(&entry->word, ~DC_LEDGER_LIVE, memory_order_release);
}

static void take_place(struct dc_handle *handle, struct dc_client_record *client, struct dc_instance *instance, struct dc_node *node, int flags) {
	handle->client = client;
	handle->instance = instance;
	handle->flags = flags;
	handle->grant = 0;
	atomic_store(&handle->named, false);
	atomic_store(&handle->post_error, 0);
	pthread_mutex_lock(&client->lock);
	handle->previous = NULL;
	handle->next = client->handles;
	if (client->handles) client->handles->previous = handle;
	client->handles = handle;
	pthread_mutex_unlock(&client->lock);
	atomic_fetch_add_explicit(&node->core.opens, 1, memory_order_relaxed);
}

int dc_handle_open(struct dc_request *request, struct dc_node *node, int flags, uint64_t *number) {
	pthread_mutex_lock(&lock);
	if (!free_handles && !grow()) {
		pthread_mutex_unlock(&lock);
		return -ENFILE;
	}
	struct dc_handle *handle = free_handles;
	free_handles = handle->next_free;
	pthread_mutex_unlock(&lock);
	take_place(handle, request->client, request->instance, node, flags);
	handle->slot = request->index;
	handle->sequence = request->sequence;
	uint64_t state = atomic_load(&handle->state);
	while (!atomic_compare_exchange_weak(&handle->state, &state, next_generation(state) << 32 | USERS(state))) continue;
	atomic_store_explicit(&handle->node, node, memory_order_release); /* from here on the handle can be had */
	*number = dc_handle_number(handle);
	write_down(handle, node, *number);
	return 0;
}

/* What the kernel has opened by the handle's name it keeps under it, and with it the file's space, until memory is short. */
static void unname(const struct dc_handle *handle) {
	struct dc_instance *instance = dc_instances_get(handle->instance->id);
	if (!instance) return;
	dc_door_unname(instance->door, dc_handle_number(handle));
	dc_instances_put(instance);
}

static void finish(struct dc_handle *handle) {
	struct dc_client_record *client = handle->client;
	cross_out(handle);
	if (atomic_load(&handle->named)) unname(handle);
	pthread_mutex_lock(&client->lock);
	if (handle->previous) handle->previous->next = handle->next;
	else client->handles = handle->next;
	if (handle->next) handle->next->previous = handle->previous;
	pthread_mutex_unlock(&client->lock);
	struct dc_cred service = {.uid = 0};
	struct dc_context context = {.cred = &service};
	struct dc_libservice *root = handle->instance->root;
	struct dc_node *node = atomic_exchange(&handle->node, NULL);
	atomic_fetch_sub_explicit(&node->core.opens, 1, memory_order_relaxed);
	if (!(handle->flags & O_PATH)) DC_FILE_CALL(root, close, &context, node, handle->flags);
	DC_FILE_CALL(root, forget, node, 1);
	atomic_fetch_and(&handle->state, ~CLAIMED);
	pthread_mutex_lock(&lock);
	handle->next_free = free_handles;
	free_handles = handle;
	pthread_mutex_unlock(&lock);
}

static struct dc_handle *find(uint64_t number) {
	uint32_t index = (uint32_t)(number & 0xffffffu);
	struct dc_handle *chunk = index / CHUNK < CHUNKS ? atomic_load_explicit(&chunks[index / CHUNK], memory_order_acquire) : NULL;
	return chunk ? &chunk[index % CHUNK] : NULL;
}

static struct dc_handle *get(uint64_t number, int *error) {
	*error = -EBADF;
	struct dc_handle *handle = find(number);
	if (!handle || number >> 56) return NULL;
	uint64_t before = atomic_fetch_add_explicit(&handle->state, 1, memory_order_acq_rel);
	if (!(before & CLOSING) && GENERATION(before) == NUMBER_GENERATION(number) && atomic_load_explicit(&handle->node, memory_order_acquire)) return handle;
	if (handle->lost == NUMBER_GENERATION(number)) *error = -ESTALE;
	dc_handle_put(handle);
	return NULL;
}

struct dc_handle *dc_handle_get(struct dc_client_record *client, uint64_t number, int *error) {
	struct dc_handle *handle = get(number, error);
	if (number >> 56) dc_client_offends(client, DC_OFFENCE_REQUEST, "handles that do not exist");
	if (!handle) return NULL;
	if (handle->client == client) return handle;
	dc_handle_put(handle);
	dc_client_offends(client, DC_OFFENCE_REQUEST, "another process's handles");
	*error = -EBADF;
	return NULL;
}

/*
 * A handle has a node exactly from the end of open to its finish. Who leaves last a closing handle that has one claims it by a swap of the very state it saw, so that late getters of
 * a free or reused handle come and go without effect.
 */
void dc_handle_put(struct dc_handle *handle) {
	uint64_t after = atomic_fetch_sub_explicit(&handle->state, 1, memory_order_acq_rel) - 1;
	if (USERS(after) || !(after & CLOSING) || !atomic_load(&handle->node)) return;
	if (atomic_compare_exchange_strong(&handle->state, &after, after | CLAIMED)) finish(handle);
}

void dc_handle_close(struct dc_handle *handle) {
	atomic_fetch_or_explicit(&handle->state, CLOSING, memory_order_acq_rel);
}

bool dc_handle_lives(uint64_t number) {
	int error;
	struct dc_handle *handle = get(number, &error);
	if (handle) dc_handle_put(handle);
	return handle != NULL;
}

struct dc_node *dc_handle_node(struct dc_instance *instance, uint64_t number) {
	int error;
	struct dc_handle *handle = get(number, &error);
	if (!handle) return NULL;
	struct dc_node *node = NULL;
	if (handle->instance == instance) {
		node = handle->node;
		DC_FILE_CALL(instance->root, reference, node, 1);
		atomic_store(&handle->named, true);
	}
	dc_handle_put(handle);
	return node;
}

/* ---- after a restart, before the workers run ---------------------------------------------------------------------------------- */
static int restore(struct dc_handle *handle, const struct dc_ledger_entry *entry, struct dc_client_record *client) {
	struct dc_cred service = {.uid = 0};
	struct dc_context context = {.cred = &service};
	struct dc_instance *instance = dc_instances_get(entry->instance);
	if (!instance) return -ESTALE;
	struct dc_node *node = NULL;
	int flags = (int)entry->flags, error = entry->length && entry->length <= DC_IDENTITY_MAX ? 0 : -ESTALE;
	if (!error) error = DC_FILE_CALL(instance->root, recover, &context, entry->identity, entry->length, &node);
	if (!error && !(flags & O_PATH)) {
		error = DC_FILE_CALL(instance->root, open, &context, node, flags);
		if (error) DC_FILE_CALL(instance->root, forget, node, 1);
	}
	dc_instances_put(instance);
	if (error) return error;
	take_place(handle, client, instance, node, flags);
	handle->slot = entry->slot;
	handle->sequence = entry->sequence;
	atomic_store(&handle->named, true); /* perhaps */
	atomic_store(&handle->state, (uint64_t)NUMBER_GENERATION(atomic_load(&entry->word)) << 32);
	atomic_store_explicit(&handle->node, node, memory_order_release);
	return 0;
}

static void lose(struct dc_handle *handle, bool known) {
	if (known) handle->lost = GENERATION(atomic_load(&handle->state)); /* its owner hears ESTALE, not that there is no such descriptor */
	cross_out(handle);
	handle->next_free = free_handles;
	free_handles = handle;
}

unsigned dc_handles_restore(unsigned *lost) {
	struct dc_ledger *ledger = dc_ledger();
	unsigned restored = 0;
	*lost = 0;
	if (!ledger) return 0;
	uint32_t used = atomic_load(&ledger->used);
	while (chunk_count < CHUNKS && chunk_count * CHUNK < used && grow()) continue;
	for (uint32_t i = 0; i < chunk_count * CHUNK; i++) {
		const struct dc_ledger_entry *entry = &ledger->entry[i];
		if (!(atomic_load(&entry->word) & DC_LEDGER_LIVE)) continue;
		struct dc_handle *handle = &atomic_load(&chunks[i / CHUNK])[i % CHUNK];
		struct dc_client_record *client = dc_client_get(entry->client, entry->client_generation); /* NULL: it died meanwhile */
		int error = client ? restore(handle, entry, client) : -ESTALE;
		if (!error) restored++;
		else lose(handle, client != NULL);
		if (client && error) {
			(*lost)++;
			dc_log(LOG_WARNING, "client %u (%s): an open file cannot be found again: %s", entry->client, client->command, strerror(-error));
		}
		if (client) dc_client_put(client);
	}
	return restored;
}

struct dc_handle *dc_handle_opened_by(struct dc_client_record *client, unsigned slot, uint32_t sequence) {
	pthread_mutex_lock(&client->lock);
	struct dc_handle *handle = client->handles;
	while (handle && (handle->slot != slot || handle->sequence != sequence)) handle = handle->next;
	pthread_mutex_unlock(&client->lock);
	return handle;
}
