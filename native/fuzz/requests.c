/*
 * requests.c - the request decoder: any slot, buffer and post ring of a client, through dc_clients_serve, on `local` and on a write-back cache over `local` (tmpfs). An input is a list of steps;
 * a step is a request, raw bytes over a slot, records in the post ring, a ring, or an ended client.
 */
#include <diciclo/libservice.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "clients.h"
#include "ground.h"
#include "host.h"
#include "offences.h"
#include "posts.h"
#include "protocol.h"
#include "queue.h"
#include "stack.h"
#include "workers.h"

#define STEPS_MAX 64
#define GENERATION 1
#define SOME_SLOTS 3

static struct dc_worker worker;
static struct dc_modules *modules;
static struct dc_arena *arena;
static int arena_fd;
static uint64_t handles[8];
static unsigned handle_count, inputs;
static char directory[2][64];

static const char *const plans[2] = {
	"{\"version\":1,\"instance\":\"a\",\"root\":\"a.0\",\"nodes\":[{\"id\":\"a.0\",\"type\":\"local\",\"kind\":\"file\",\"options\":{\"path\":\"%s\",\"readOnly\":false},\"children\":{}}]}",
	"{\"version\":1,\"instance\":\"b\",\"root\":\"b.0\",\"nodes\":[{\"id\":\"b.1\",\"type\":\"local\",\"kind\":\"file\",\"options\":{\"path\":\"%s\",\"readOnly\":false},\"children\":{}},"
	"{\"id\":\"b.0\",\"type\":\"cache\",\"kind\":\"file\",\"options\":{\"mode\":\"write-back\",\"size\":16777216,\"ttl\":0},\"children\":{\"below\":[\"b.1\"]}}]}",
};

static void mount_one(unsigned which) {
	struct dc_instance *instance = calloc(1, sizeof *instance);
	char text[1024];
	struct dc_error error = {0};
	snprintf(directory[which], sizeof directory[which], "%s/%c", fuzz_directory(), "ab"[which]);
	mkdir(directory[which], 0777);
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(text, sizeof text, plans[which], directory[which]);
	instance->id = which + 1;
	snprintf(instance->name, sizeof instance->name, "%c", "ab"[which]);
	snprintf(instance->mountpoint, sizeof instance->mountpoint, "/data/%c", "ab"[which]);
	instance->stack = dc_stack_build(modules, dc_host_get(1), text, strlen(text), &error);
	if (!instance->stack) {
		fprintf(stderr, "%s\n", error.message);
		exit(2);
	}
	instance->root = dc_stack_root(instance->stack);
	if (instance->root->traits & DC_TRAIT_WRITE_BACK) instance->root = dc_posts_wrap(instance);
	struct dc_cred cred = {.uid = 0};
	struct dc_context context = {.cred = &cred};
	if (DC_FILE_CALL(instance->root, root, &context, &instance->root_node) || dc_instances_add(instance)) abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
	(void)argc, (void)argv;
	struct dc_error error = {0};
	modules = dc_modules_load(fuzz_modules(), &error);
	if (!modules) abort();
	umask(0);
	/* Complaints are not looked at. */
	int null = open("/dev/null", O_WRONLY);
	if (!getenv("FUZZ_LOG")) dup2(null, 4);
	static struct dc_queue queue;
	dc_epoch_set(1);
	if (dc_workers_init(&(struct dc_workers_options){.queue = &queue, .count = 1, .running_target = 1})) abort();
	mount_one(0);
	mount_one(1);
	arena_fd = memfd_create("arena", MFD_CLOEXEC);
	if (ftruncate(arena_fd, (off_t)DC_ARENA_SIZE)) abort();
	arena = mmap(NULL, DC_ARENA_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, arena_fd, 0);
	return 0;
}

static void serve(unsigned slot) {
	dc_clients_serve(&worker, DC_ITEM(GENERATION, 1, slot));
	struct dc_slot *at = &arena->slot[slot];
	if (slot < DC_REQUEST_SLOTS && (at->operation == DC_OP_OPEN || at->operation == DC_OP_ADOPT) && at->result == 0) handles[handle_count++ % 8] = at->value[0];
}

static uint64_t some_handle(struct bytes *bytes) {
	uint8_t kind = (uint8_t)take_number(bytes, 1);
	return kind < 16 ? 0 : kind < 240 ? handles[kind % 8] : take_number(bytes, 8);
}

static uint32_t some_size(struct bytes *bytes, size_t text) {
	uint8_t kind = (uint8_t)take_number(bytes, 1);
	return kind < 220 ? (uint32_t)text : (uint32_t)take_length(bytes);
}

/* Fields that make sense now and then, so that most requests come as far as the stack. */
static void request(struct bytes *bytes) {
	unsigned index = (unsigned)take_number(bytes, 1) % SOME_SLOTS;
	struct dc_slot *slot = &arena->slot[index];
	unsigned char *buffer = dc_arena_buffer(arena, index);
	uint32_t sequence = DC_ANSWER_SEQUENCE(atomic_load(&slot->answer)) + 1;
	const uint8_t *first, *second, *rest;
	slot->operation = (uint16_t)take_number(bytes, 1) % (DC_OP_COUNT + 1);
	slot->instance = (uint32_t)take_number(bytes, 1) % 4;
	slot->flags = (uint32_t)take_number(bytes, 1);
	slot->handle = some_handle(bytes);
	slot->handle2 = some_handle(bytes);
	slot->offset = take_length(bytes);
	slot->length = take_length(bytes);
	slot->mode = (uint32_t)take_number(bytes, 2);
	slot->mask = (uint32_t)take_number(bytes, 3);
	slot->argument[0] = take_length(bytes);
	size_t one = take_text(bytes, &first, 255), two = take_text(bytes, &second, 255), three = take_text(bytes, &rest, 255);
	memcpy(buffer, first, one);
	memcpy(buffer + one, second, two);
	memcpy(buffer + one + two, rest, three);
	slot->path_length = some_size(bytes, one);
	slot->path2_length = some_size(bytes, two);
	if (slot->operation == DC_OP_SETATTR) {
		slot->attr.size = take_length(bytes);
		slot->attr.mode = (uint32_t)take_number(bytes, 2);
		slot->attr.uid = slot->attr.gid = (uint32_t)take_number(bytes, 1);
		slot->attr.mtime = (int64_t)take_length(bytes);
		slot->attr.mtime_ns = (uint32_t)take_length(bytes);
	}
	slot->sequence = sequence & 0x3fffffff;
	atomic_store(&slot->answer, DC_ANSWER(sequence, DC_ANSWER_PENDING));
	serve(index);
}

static void raw_slot(struct bytes *bytes) {
	unsigned index = (unsigned)take_number(bytes, 1) % SOME_SLOTS, offset = (unsigned)take_number(bytes, 1);
	const uint8_t *text;
	size_t size = take_text(bytes, &text, sizeof(struct dc_slot) - offset);
	memcpy((unsigned char *)&arena->slot[index] + offset, text, size);
	serve(index);
}

static void posted(struct bytes *bytes) {
	struct dc_post_ring *ring = dc_arena_post(arena);
	uint64_t tail = atomic_load(&ring->tail);
	struct dc_post_record *record = (struct dc_post_record *)(dc_arena_posts(arena) + (tail & (DC_POST_BYTES - DC_POST_ALIGN)));
	const uint8_t *text;
	uint8_t lies = (uint8_t)take_number(bytes, 1);
	size_t room = DC_POST_BYTES - (tail & (DC_POST_BYTES - 1)), size = take_text(bytes, &text, 255);
	if (sizeof *record + size > room) size = 0;
	*record = (struct dc_post_record){.length = (uint32_t)(sizeof *record + ((size + 31) & ~(size_t)31)), .bytes = (uint32_t)size, .handle = some_handle(bytes), .offset = take_length(bytes),
		.generation = atomic_load(&ring->generation), .kind = DC_POST_WRITE};
	memcpy(record + 1, text, size);
	tail += record->length;
	if (lies & 1) record->length = (uint32_t)take_length(bytes);
	if (lies & 2) record->bytes = (uint32_t)take_length(bytes);
	if (lies & 4) record->kind = (uint32_t)take_number(bytes, 1);
	if (lies & 8) record->generation = (uint32_t)take_length(bytes);
	if (lies & 16) tail = take_length(bytes);
	if (lies & 32) atomic_store(&ring->head, take_length(bytes));
	atomic_store(&ring->tail, tail);
	if (!(lies & 64)) serve(DC_SLOT_POSTS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct bytes bytes = {data, data + size};
	struct dc_cred cred = {.uid = size & 1 ? 1000 : 0, .gid = size & 1 ? 1000 : 0};
	/* As pool-init gives it. */
	fallocate(arena_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)DC_ARENA_SIZE);
	memset(handles, 0, sizeof handles);
	handle_count = 0;
	if (dc_clients_add(1, GENERATION, getpid(), "fuzz", &cred, arena_fd)) abort();
	for (unsigned step = 0; step < STEPS_MAX && bytes.at < bytes.end; step++) {
		uint8_t kind = (uint8_t)take_number(&bytes, 1);
		if (kind < 200) request(&bytes);
		else if (kind < 225) posted(&bytes);
		else if (kind < 245) raw_slot(&bytes);
		else dc_clients_serve(&worker, (uint32_t)take_number(&bytes, 4) & 0x3fffffff);
	}
	dc_clients_remove(1, GENERATION);
	struct dc_client_record *left = dc_client_get(1, GENERATION);
	if (left) abort(); /* something of the client is held for ever */
	if (inputs++ % 16 == 0)
		for (unsigned i = 0; i < 2; i++) fuzz_clear(directory[i]);
	return 0;
}
