/*
 * handles.c - open descriptions. A handle's number is {epoch:16, generation:24, index:24}; the table grows in chunks that are never freed, so that any number that a client
 * may send is safe to look up.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "clients.h"

#define CHUNK 1024u
#define CHUNKS 16384u
#define CLOSING (UINT64_C(1) << 31)
#define CLAIMED (UINT64_C(1) << 30)
#define USERS(state) ((state) & 0x7fffffffu) /* with the claim */
#define GENERATION(state) ((state) >> 32 & 0xffffffu)

static _Atomic(struct dc_handle *) chunks[CHUNKS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct dc_handle *free_handles;
static uint32_t chunk_count;

/* Under `lock`. */
static bool grow(void) {
	if (chunk_count == CHUNKS) return false;
	struct dc_handle *chunk = calloc(CHUNK, sizeof *chunk);
	if (!chunk) return false;
	for (uint32_t i = 0; i < CHUNK; i++) {
		chunk[i].index = chunk_count * CHUNK + i;
		atomic_store(&chunk[i].state, UINT64_C(1) << 32 | CLOSING); /* generation 1, closed */
		chunk[i].next_free = free_handles;
		free_handles = &chunk[i];
	}
	atomic_store_explicit(&chunks[chunk_count++], chunk, memory_order_release);
	return true;
}

static uint64_t number_of(const struct dc_handle *handle) {
	return (dc_epoch() & 0xffff) << 48 | GENERATION(atomic_load(&handle->state)) << 24 | handle->index;
}

static uint64_t next_generation(uint64_t state) {
	uint64_t next = (GENERATION(state) + 1) & 0xffffffu;
	return next ? next : 1;
}

int dc_handle_open(struct dc_client_record *client, struct dc_instance *instance, struct dc_node *node, int flags, uint64_t *number) {
	pthread_mutex_lock(&lock);
	if (!free_handles && !grow()) {
		pthread_mutex_unlock(&lock);
		return -ENFILE;
	}
	struct dc_handle *handle = free_handles;
	free_handles = handle->next_free;
	pthread_mutex_unlock(&lock);
	handle->client = client;
	handle->instance = instance;
	handle->flags = flags;
	pthread_mutex_lock(&client->lock);
	handle->previous = NULL;
	handle->next = client->handles;
	if (client->handles) client->handles->previous = handle;
	client->handles = handle;
	pthread_mutex_unlock(&client->lock);
	atomic_fetch_add_explicit(&node->core.opens, 1, memory_order_relaxed);
	uint64_t state = atomic_load(&handle->state);
	while (!atomic_compare_exchange_weak(&handle->state, &state, next_generation(state) << 32 | USERS(state))) continue;
	atomic_store_explicit(&handle->node, node, memory_order_release); /* from here on the handle can be had */
	*number = number_of(handle);
	return 0;
}

static void finish(struct dc_handle *handle) {
	struct dc_client_record *client = handle->client;
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
	if (number >> 48 != (dc_epoch() & 0xffff)) {
		*error = -ESTALE;
		return NULL;
	}
	struct dc_handle *handle = find(number);
	if (!handle) return NULL;
	uint64_t before = atomic_fetch_add_explicit(&handle->state, 1, memory_order_acq_rel);
	if (!(before & CLOSING) && GENERATION(before) == (number >> 24 & 0xffffffu) && atomic_load_explicit(&handle->node, memory_order_acquire)) return handle;
	dc_handle_put(handle);
	return NULL;
}

struct dc_handle *dc_handle_get(struct dc_client_record *client, uint64_t number, int *error) {
	struct dc_handle *handle = get(number, error);
	if (!handle) return NULL;
	if (handle->client == client) return handle;
	dc_handle_put(handle); /* another process's number */
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

struct dc_node *dc_handle_node(struct dc_instance *instance, uint64_t number) {
	int error;
	struct dc_handle *handle = get(number, &error);
	if (!handle) return NULL;
	struct dc_node *node = NULL;
	if (handle->instance == instance) {
		node = handle->node;
		DC_FILE_CALL(instance->root, reference, node, 1);
	}
	dc_handle_put(handle);
	return node;
}
