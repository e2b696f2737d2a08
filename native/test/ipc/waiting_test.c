/*
 * waiting_test.c - a request that nobody takes, since the one worker that may run does not come back: another is woken, though nobody told the service that the first one blocks. By both transports.
 * The same where it is at what should be brief, and counts as running until the other finds it so. There is nothing to time: without it the second client waits for ever.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "client.h"
#include "receiver.h"

#define WORKERS 2u
#define ROUNDS 20u

static struct dc_receiver receiver;
static struct dc_mailboxes mailboxes;
static struct dc_seat seats[WORKERS];
static struct dc_client clients[2];
static _Atomic uint32_t wake, second_done, first_taken;

static bool briefly;
static unsigned found_blocked;

static void serve(struct dc_seat *seat, uint32_t item) {
	unsigned client = DC_ITEM_CLIENT(item);
	struct dc_slot *slot = dc_client_slot(&clients[client], DC_ITEM_SLOT(item));
	uint32_t word = atomic_load(&slot->answer), sequence = DC_ANSWER_SEQUENCE(word);
	if (DC_ANSWER_STATE(word) != DC_ANSWER_PENDING && DC_ANSWER_STATE(word) != DC_ANSWER_WAITING) return; /* sent again */
	if (__atomic_exchange_n(&slot->taken, DC_TAKEN(sequence), __ATOMIC_RELAXED) == DC_TAKEN(sequence)) return;
	if (client == 0) {
		if (briefly) dc_receiver_block(&receiver, seat, true);
		atomic_store(&first_taken, 1);
		while (!atomic_load(&second_done)) dc_pause(); /* as if it had no CPU */
		if (briefly) found_blocked += atomic_load(&seat->state) == DC_WORKER_BLOCKED;
		if (briefly) dc_receiver_unblock(&receiver, seat);
	}
	dc_answer(slot, sequence, (int64_t)client);
}

static void *worker_main(void *argument) {
	struct dc_seat *seat = argument;
	dc_receiver_enter(&receiver, seat);
	while (!atomic_load(&receiver.stopping)) {
		uint32_t item;
		if (dc_receiver_next(&receiver, seat, &item) == DC_TAKE_ITEM) serve(seat, item);
	}
	dc_receiver_leave(&receiver);
	return NULL;
}

static void *attendant_main(void *unused) {
	static uint32_t calls[DC_LISTEN_MAX];
	while (!atomic_load(&receiver.stopping)) dc_receiver_attend(&receiver, 0, calls, &wake, 0);
	return unused;
}

static int64_t ask(unsigned which) {
	unsigned index = dc_client_acquire(&clients[which], 0, which + 1);
	int64_t result = dc_client_call(&clients[which], index);
	dc_client_release(&clients[which], index);
	return result;
}

static void *first_main(void *result) {
	*(int64_t *)result = ask(0);
	return NULL;
}

static void *memory(size_t size) {
	void *address = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (address != MAP_FAILED) return address;
	perror("mmap");
	exit(2);
}

static unsigned run(bool by_queue, bool in_brief) {
	struct dc_queue *queue = by_queue ? memory(sizeof *queue) : NULL;
	receiver = (struct dc_receiver){0};
	briefly = in_brief;
	found_blocked = 0;
	mailboxes.top = 0;
	dc_receiver_init(&receiver, queue, by_queue ? NULL : &mailboxes, 1, 20000, 300000);
	for (unsigned i = 0; i < 2; i++) {
		struct dc_arena *arena = memory(DC_ARENA_SIZE);
		dc_client_init(&clients[i], queue, arena, i, 1);
		if (by_queue) continue;
		int place = dc_mailboxes_reserve(&mailboxes, i, 1);
		dc_mailboxes_open(&mailboxes, (unsigned)place, &arena->mailbox[DC_MAILBOX_PLACE(i)]);
	}
	pthread_t worker[WORKERS], attendant, first;
	for (unsigned i = 0; i < WORKERS; i++) {
		seats[i] = (struct dc_seat){0};
		pthread_create(&worker[i], NULL, worker_main, &seats[i]);
	}
	if (!by_queue) pthread_create(&attendant, NULL, attendant_main, NULL);
	unsigned right = 0;
	for (unsigned round = 0; round < ROUNDS; round++) {
		int64_t results[2] = {-1, -1};
		atomic_store(&first_taken, 0);
		atomic_store(&second_done, 0);
		pthread_create(&first, NULL, first_main, &results[0]);
		while (!atomic_load(&first_taken)) sched_yield();
		results[1] = ask(1);
		atomic_store(&second_done, 1);
		pthread_join(first, NULL);
		right += results[0] == 0 && results[1] == 1;
	}
	atomic_store(&receiver.stopping, true);
	dc_receiver_kick(&receiver);
	atomic_fetch_add(&wake, 1);
	dc_futex_wake(&wake, 1);
	for (unsigned i = 0; i < WORKERS; i++) pthread_join(worker[i], NULL);
	if (!by_queue) pthread_join(attendant, NULL);
	atomic_store(&wake, 0);
	bool counted = DC_WORKERS_RUNNING(atomic_load(&receiver.own_board.workers)) == 0 && (found_blocked > 0) == briefly; /* not each time: the other may not have slept yet */
	printf("by %s%s: %u of %u rounds, found blocked %u\n", by_queue ? "the queue" : "mailboxes", briefly ? ", at something brief" : "", right, ROUNDS, found_blocked);
	return right == ROUNDS && counted;
}

int main(void) {
	unsigned passed = run(true, false) + run(false, false) + run(true, true) + run(false, true);
	printf("%u passed, %u failed\n", passed, 4 - passed);
	return passed != 4;
}
