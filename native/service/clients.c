#include "clients.h"
#include "copying.h"
#include "offences.h"
#include "posts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define GONE (UINT64_C(1) << 63)

static _Atomic(struct dc_client_record *) table[DC_CLIENTS_MAX];
/* Records are never freed, only reused: a worker may have loaded an address and be about to look at `users`. */
static pthread_mutex_t free_lock = PTHREAD_MUTEX_INITIALIZER;
static struct dc_client_record *free_records;
static void (*on_gone)(uint32_t index, uint32_t generation);
static _Atomic uint64_t attached, attached_total;
static _Atomic uint64_t epoch;

/* What dead clients had left to the kernel door: name -> count. */
static pthread_mutex_t uncarried_lock = PTHREAD_MUTEX_INITIALIZER;
static json_t *uncarried_dead;
static _Atomic uint64_t leased_dead, answers_dead; /* reads, and other answers, without a request */

uint64_t dc_epoch(void) {
	return atomic_load_explicit(&epoch, memory_order_relaxed);
}
void dc_epoch_set(uint64_t value) {
	atomic_store_explicit(&epoch, value, memory_order_relaxed);
}
void dc_clients_on_gone(void (*gone)(uint32_t index, uint32_t generation)) {
	on_gone = gone;
}

/* The command's name for people, from /proc: a process may be gone already, and `out` stays what it is. */
static void read_command(pid_t pid, char *out, size_t size) {
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
	FILE *file = fopen(path, "re");
	if (file && fgets(out, (int)size, file)) out[strcspn(out, "\n")] = 0;
	if (file) fclose(file);
}

static void give_record(struct dc_client_record *client) {
	pthread_mutex_lock(&free_lock);
	client->next_free = free_records;
	free_records = client;
	pthread_mutex_unlock(&free_lock);
}

static struct dc_client_record *take_record(void) {
	pthread_mutex_lock(&free_lock);
	struct dc_client_record *client = free_records;
	if (client) free_records = client->next_free;
	pthread_mutex_unlock(&free_lock);
	if (client) return client;
	client = calloc(1, sizeof *client);
	if (client) {
		pthread_mutex_init(&client->lock, NULL);
		pthread_mutex_init(&client->posts.lock, NULL);
		atomic_store(&client->users, GONE);
	}
	return client;
}

int dc_clients_add(uint32_t index, uint32_t generation, pid_t pid, const char *command, const struct dc_cred *cred, int arena_fd) {
	if (index >= DC_CLIENTS_MAX || atomic_load(&table[index])) return -EEXIST;
	struct dc_arena *arena = mmap(NULL, DC_ARENA_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, arena_fd, 0);
	if (arena == MAP_FAILED) return -errno;
	struct dc_client_record *client = take_record();
	int place = client ? dc_workers_add_client(arena_fd, index, generation) : -ENOMEM;
	if (place < 0) {
		if (client) give_record(client);
		munmap(arena, DC_ARENA_SIZE);
		return place;
	}
	client->place = place;
	client->arena = arena;
	arena->copy = *dc_copying_choice(); /* for who is answered after this; else pool-init wrote it */
	client->index = index;
	client->generation = generation;
	client->pid = pid;
	client->cred = *cred;
	client->handles = NULL;
	for (unsigned i = 0; i < DC_SLOTS_MAX; i++) atomic_store(&client->done[i], 0);
	dc_posts_begin(client);
	dc_offences_begin(client);
	snprintf(client->command, sizeof client->command, "%s", command);
	atomic_store(&client->torn_down, false);
	atomic_fetch_and_explicit(&client->users, ~GONE, memory_order_acq_rel);
	atomic_fetch_add(&attached, 1);
	atomic_fetch_add(&attached_total, 1);
	atomic_store_explicit(&table[index], client, memory_order_release);
	return 0;
}

/* As it says; who says less than is so has nobody look at the rest of its own slots. */
static unsigned slots_used(struct dc_client_record *client) {
	uint32_t used = atomic_load_explicit(&client->arena->slots_used, memory_order_relaxed);
	return used < DC_REQUEST_SLOTS ? used : DC_REQUEST_SLOTS;
}

/* A worker may have taken the item and not known whose it was. */
void dc_clients_early(uint32_t index, uint32_t generation) {
	atomic_thread_fence(memory_order_seq_cst); /* dc_clients_serve's */
	struct dc_client_record *client = dc_client_get(index, generation);
	if (!client) return;
	for (unsigned slot = 0, used = slots_used(client); slot < used; slot++)
		if (dc_answer_awaited(atomic_load_explicit(&client->arena->slot[slot].answer, memory_order_acquire))) dc_workers_item(DC_ITEM(generation, index, slot));
	dc_client_put(client);
}

static void fold_uncarried(json_t *into, struct dc_arena *arena) {
	if (!atomic_load_explicit(&arena->uncarried_used, memory_order_relaxed)) return;
	for (unsigned i = 0; i < DC_UNCARRIED_MAX; i++) {
		uint64_t count = atomic_load_explicit(&arena->uncarried[i].count, memory_order_relaxed);
		if (!count) continue;
		char name[DC_UNCARRIED_NAME + 1] = {0};
		memcpy(name, arena->uncarried[i].name, DC_UNCARRIED_NAME);
		for (char *c = name; *c; c++)
			if (*c < 33 || *c > 126) *c = '?'; /* a client's text: printable or nothing */
		if (!name[0]) continue;
		json_int_t before = json_integer_value(json_object_get(into, name));
		json_object_set_new(into, name, json_integer(before + (json_int_t)(count & 0xffffffffffffu)));
	}
}

/* As it says: for information. */
static uint64_t leased_of(_Atomic uint64_t *count) {
	return atomic_load_explicit(count, memory_order_relaxed) & 0xffffffffffffu;
}

/* Threads of a process that was cut off, or attached anew, may wait still. */
static void answer_waiting(struct dc_client_record *client) {
	for (unsigned slot = 0, used = slots_used(client); slot < used; slot++) dc_client_answer_slot(client, slot, -EIO);
}

/* The last user has left a client that is gone. */
static void tear_down(struct dc_client_record *client) {
	dc_posts_end(client); /* what it was acknowledged is made */
	answer_waiting(client);
	while (client->handles) {
		int error;
		struct dc_handle *handle = dc_handle_get(client, dc_handle_number(client->handles), &error);
		if (!handle) break;
		dc_handle_close(handle);
		dc_handle_put(handle);
	}
	pthread_mutex_lock(&uncarried_lock);
	if (!uncarried_dead) uncarried_dead = json_object();
	fold_uncarried(uncarried_dead, client->arena);
	atomic_fetch_add(&leased_dead, leased_of(&dc_arena_post(client->arena)->leased));
	atomic_fetch_add(&answers_dead, leased_of(&dc_arena_post(client->arena)->leased_answers));
	pthread_mutex_unlock(&uncarried_lock);
	dc_workers_del_client(client->place);
	munmap(client->arena, DC_ARENA_SIZE);
	atomic_store(&table[client->index], NULL);
	atomic_fetch_sub(&attached, 1);
	if (on_gone) on_gone(client->index, client->generation);
	give_record(client);
}

/* The end of a call. Only one of those who see nobody else left tears down: a late dc_client_get may come and go meanwhile. */
void dc_client_put(struct dc_client_record *client) {
	if (atomic_fetch_sub_explicit(&client->users, 1, memory_order_acq_rel) == (GONE | 1) && !atomic_exchange(&client->torn_down, true)) tear_down(client);
}

struct dc_client_record *dc_client_hold(uint32_t index) {
	struct dc_client_record *client = index < DC_CLIENTS_MAX ? atomic_load_explicit(&table[index], memory_order_acquire) : NULL;
	if (client) atomic_fetch_add_explicit(&client->users, 1, memory_order_acq_rel);
	return client;
}

struct dc_client_record *dc_client_get(uint32_t index, uint32_t generation) {
	struct dc_client_record *client = dc_client_hold(index);
	if (!client) return NULL;
	if (!(atomic_load_explicit(&client->users, memory_order_acquire) & GONE) && (client->generation & 0x3ff) == (generation & 0x3ff)) return client;
	dc_client_put(client);
	return NULL;
}

void dc_clients_remove(uint32_t index, uint32_t generation) {
	struct dc_client_record *client = dc_client_get(index, generation);
	if (!client) return;
	atomic_fetch_or_explicit(&client->users, GONE, memory_order_acq_rel);
	dc_client_put(client);
	dc_workers_kick();
}

/* Whether the slot's request is ours to serve: it waits, and nobody has taken it. */
static bool claim(struct dc_client_record *client, unsigned index, uint32_t *sequence) {
	uint32_t word = atomic_load_explicit(&client->arena->slot[index].answer, memory_order_acquire);
	if (!dc_answer_awaited(word)) return false;
	*sequence = DC_ANSWER_SEQUENCE(word);
	uint32_t done = atomic_load_explicit(&client->done[index], memory_order_relaxed);
	return done != *sequence + 1 && atomic_compare_exchange_strong(&client->done[index], &done, *sequence + 1);
}

void dc_request_copy(struct dc_request *request, struct dc_client_record *client, unsigned index, struct dc_context *context) {
	struct dc_slot *slot = &client->arena->slot[index], copy;
	memcpy(&copy, slot, sizeof copy);
	__asm__ volatile("" ::: "memory");
	*request = (struct dc_request){.operation = copy.operation, .sequence = copy.sequence, .cpu = copy.cpu, .instance_id = copy.instance, .flags = copy.flags, .handle = copy.handle, .offset = copy.offset,
		.length = copy.length, .handle2 = copy.handle2, .path_length = copy.path_length, .path2_length = copy.path2_length, .mode = copy.mode, .mask = copy.mask,
		.index = (uint8_t)index, .client = client, .context = context, .buffer = dc_arena_buffer(client->arena, index), .slot = slot};
	memcpy(request->argument, copy.argument, sizeof request->argument);
}

/* Copies the request once; everything after looks at the copy only. */
bool dc_client_serve_slot(struct dc_worker *worker, struct dc_client_record *client, unsigned index) {
	uint32_t sequence;
	if (!claim(client, index, &sequence)) return false; /* a duplicate: somebody has it */
	struct dc_slot *slot = &client->arena->slot[index];
	if (atomic_load_explicit(&client->cut, memory_order_relaxed)) {
		dc_answer(slot, sequence, -EIO);
		return true;
	}
	slot->stage = DC_STAGE_NONE;
	__asm__ volatile("" ::: "memory"); /* a successor that sees `taken` must not see an older stage */
	__atomic_store_n(&slot->taken, DC_TAKEN(sequence), __ATOMIC_RELAXED);
	struct dc_context context = {.cred = &client->cred, .pid = client->pid, .worker = worker};
	struct dc_request request;
	dc_request_copy(&request, client, index, &context);
	if ((request.sequence & 0x3fffffffu) != sequence) dc_client_offends(client, DC_OFFENCE_REQUEST, "requests under another number than their answers");
	request.sequence = sequence;
	if (worker) worker->seat.sender_cpu = request.cpu;
	int64_t result = dc_request_execute(&request);
	/* All of the answer's line at once: its sender looks at it all the time, and each look takes it away from this CPU. */
	for (size_t i = 0; i < sizeof request.value / sizeof request.value[0]; i++) __atomic_store_n(&slot->value[i], request.value[i], __ATOMIC_RELAXED);
	dc_answer(slot, sequence, result);
	return true;
}

bool dc_client_answer_slot(struct dc_client_record *client, unsigned index, int64_t result) {
	uint32_t sequence;
	if (!claim(client, index, &sequence)) return false;
	dc_answer(&client->arena->slot[index], sequence, result);
	return true;
}

int64_t dc_request_execute(struct dc_request *request) {
	if (request->operation == DC_OP_NULL) return 0;
	request->instance = dc_instances_get(request->instance_id);
	int64_t result = request->instance ? dc_operation_execute(request) : -ESTALE;
	if (request->instance) dc_instances_put(request->instance);
	return result;
}

/* In the queue anybody may have put it. */
static void rang_for_nothing(struct dc_worker *worker, struct dc_client_record *client) {
	atomic_fetch_add_explicit(&worker->seat.spurious, 1, memory_order_relaxed);
	if (dc_workers_by_mailbox()) dc_client_offends(client, DC_OFFENCE_RING, "rings without requests");
}

void dc_clients_serve(struct dc_worker *worker, uint32_t item) {
	struct dc_client_record *client = dc_client_get(DC_ITEM_CLIENT(item), DC_ITEM_GENERATION(item));
	if (!client) { /* gone; or not known yet, and then whoever adds it either is seen here or sees the request */
		atomic_thread_fence(memory_order_seq_cst);
		client = dc_client_get(DC_ITEM_CLIENT(item), DC_ITEM_GENERATION(item));
		if (!client) return;
	}
	if (DC_ITEM_SLOT(item) == DC_SLOT_POSTS) {
		if (!dc_posts_rung(client, worker)) rang_for_nothing(worker, client);
	} else if (!dc_client_serve_slot(worker, client, DC_ITEM_SLOT(item))) {
		rang_for_nothing(worker, client);
	}
	dc_client_put(client);
}

struct dc_client_record *dc_client_next(uint32_t *index) {
	for (; *index < DC_CLIENTS_MAX; ++*index) {
		struct dc_client_record *record = atomic_load_explicit(&table[*index], memory_order_acquire);
		struct dc_client_record *client = record ? dc_client_get(*index, record->generation) : NULL;
		if (!client) continue;
		++*index;
		return client;
	}
	return NULL;
}

json_t *dc_clients_json(void) {
	json_t *list = json_array(), *uncarried = json_object();
	pthread_mutex_lock(&uncarried_lock);
	if (uncarried_dead) json_object_update(uncarried, uncarried_dead);
	pthread_mutex_unlock(&uncarried_lock);
	uint32_t next = 0;
	uint64_t leased = atomic_load(&leased_dead), answers = atomic_load(&answers_dead);
	for (struct dc_client_record *client; (client = dc_client_next(&next));) {
		char name[sizeof client->command];
		memcpy(name, client->command, sizeof name);
		read_command(client->pid, name, sizeof name); /* it may have become another since it attached */
		leased += leased_of(&dc_arena_post(client->arena)->leased);
		answers += leased_of(&dc_arena_post(client->arena)->leased_answers);
		fold_uncarried(uncarried, client->arena);
		json_t *command = json_string(name);
		json_array_append_new(list, json_pack("{s:i,s:i,s:o}", "id", (int)client->index, "pid", (int)client->pid, "command", command ? command : json_string("?")));
		dc_client_put(client);
	}
	struct dc_posts_counts posts;
	dc_posts_counts(&posts);
	json_t *posted = json_pack("{s:I,s:I,s:I,s:I,s:I}", "writes", (json_int_t)posts.writes, "bytes", (json_int_t)posts.bytes, "runs", (json_int_t)posts.runs, "errors",
		(json_int_t)posts.errors, "takenBack", (json_int_t)posts.taken_back);
	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:o,s:o,s:o}", "attached", (json_int_t)atomic_load(&attached), "attachedTotal", (json_int_t)atomic_load(&attached_total), "cutOff",
		(json_int_t)dc_offences_cut(), "leasedAnswers", (json_int_t)answers, "leasedReads", (json_int_t)leased, "posted", posted, "uncarried", uncarried, "list", list);
}

void dc_clients_drop_instance(struct dc_instance *instance) {
	uint32_t next = 0;
	for (struct dc_client_record *client; (client = dc_client_next(&next));) {
		dc_posts_lock(client); /* nobody makes a posted write meanwhile */
		dc_posts_take_back_locked(client);
		for (;;) {
			pthread_mutex_lock(&client->lock);
			struct dc_handle *found = client->handles;
			while (found && found->instance != instance) found = found->next;
			uint64_t number = found ? dc_handle_number(found) : 0;
			pthread_mutex_unlock(&client->lock);
			int error;
			struct dc_handle *handle = number ? dc_handle_get(client, number, &error) : NULL;
			if (!handle) break;
			dc_handle_close(handle);
			dc_handle_put(handle);
		}
		pthread_mutex_unlock(&client->posts.lock);
		dc_client_put(client);
	}
}
