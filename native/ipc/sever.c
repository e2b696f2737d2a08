/*
 * sever.c - what is left of an attachment in a forked child. A signal handler may fork on top of a call in progress, and the child returns into that call: it must neither wait for an answer in the
 * parent's arena nor take a slot there, since the parent goes on with the same call. So the child gets memory of its own where the arena was, which nobody serves: with the call's answer and data
 * if they had come before the fork; else the call is answered -EINTR.
 */
#include "client.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "raw.h"

static struct dc_arena *map_at(void *address) {
	long result = dc_raw6(SYS_mmap, (long)address, (long)DC_ARENA_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (address ? MAP_FIXED : 0), -1, 0);
	return result < 0 && result > -4096 ? NULL : (struct dc_arena *)result;
}

static void interrupt(struct dc_slot *slot, uint32_t sequence) {
	slot->result = -EINTR;
	atomic_store_explicit(&slot->answer, DC_ANSWER(sequence & 0x3fffffffu, DC_ANSWER_DONE), memory_order_release);
}

static void copy_slot(struct dc_arena *copy, struct dc_client *client, unsigned index) {
	struct dc_slot *from = dc_client_slot(client, index), *to = &copy->slot[index];
	bool awaited = dc_answer_awaited(atomic_load_explicit(&from->answer, memory_order_acquire));
	memcpy(to, from, sizeof *to);
	if (awaited) {
		interrupt(to, client->use[index].sequence);
		return;
	}
	/* What an answer left, or what a request that is not sent yet begins with. */
	size_t size = to->result > 4096 ? (size_t)to->result : 4096;
	memcpy(dc_arena_buffer(copy, index), dc_client_buffer(client, index), size < DC_BUFFER_SIZE ? size : DC_BUFFER_SIZE);
}

struct dc_arena *dc_client_copy(struct dc_client *client, uint32_t owner) {
	struct dc_arena *copy = map_at(NULL);
	if (!copy) return NULL;
	memcpy(copy, client->arena, offsetof(struct dc_arena, mailbox));
	for (unsigned index = 0; index < DC_REQUEST_SLOTS; index++)
		if (atomic_load_explicit(&client->use[index].owner, memory_order_relaxed) == owner) copy_slot(copy, client, index);
	return copy;
}

void dc_client_drop_copy(struct dc_arena *copy) {
	if (copy) dc_raw6(SYS_munmap, (long)copy, DC_ARENA_SIZE, 0, 0, 0, 0);
}

void dc_client_sever(struct dc_client *client, struct dc_arena *copy, uint32_t owner, uint32_t now) {
	bool copied = copy && dc_raw6(SYS_mremap, (long)copy, DC_ARENA_SIZE, DC_ARENA_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, (long)client->arena, 0) == (long)client->arena;
	bool own = copied || map_at(client->arena); /* else there is no memory for it: nothing is sent any more, at least */
	atomic_store_explicit(&client->severed, true, memory_order_relaxed);
	for (unsigned index = 0; index < DC_REQUEST_SLOTS; index++) {
		uint32_t user = atomic_load_explicit(&client->use[index].owner, memory_order_relaxed);
		if (!user) continue;
		if (user == owner && own && !copied) interrupt(dc_client_slot(client, index), client->use[index].sequence);
		atomic_store_explicit(&client->use[index].owner, user == owner ? now : 0, memory_order_relaxed); /* the parent's other threads are not here */
	}
}
