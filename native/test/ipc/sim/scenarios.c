/*
 * scenarios.c - small services and clients made of the shipped sources, and what must hold for them in whatever order they run:
 *   no request of a client that lives is lost (nobody can go on and it has no answer), whatever died or stopped meanwhile, and none is taken twice;
 *   none waits longer than the dead tickets before it cost (their patience each);
 *   at the end nothing is left: every slot free for its next lap, every bell off, every worker asleep and counted so.
 */
#include "scenarios.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "receiver.h"

#define CLIENTS 4u
#define PATIENCE_NS 4000u
#define SPIN_NS 300u
/* What a request costs at most when nothing is wrong, other threads' turns included. */
#define FAIR_NS 16000u

static struct {
	const struct sim_scenario *scenario;
	struct dc_queue queue;
	struct dc_mailboxes mailboxes;
	struct dc_receiver receiver;
	struct dc_seat seat[4];
	struct dc_arena arena[CLIENTS];
	struct dc_client client[CLIENTS];
	uint32_t done[CLIENTS][DC_ARENA_SLOTS];   /* as the service's table: sequence + 1 of what was taken */
	unsigned answered[CLIENTS], wanted[CLIENTS];
	unsigned attached;
	_Atomic uint32_t ear_wake;
	bool blocking;
	uint64_t longest_ns;
} world;

static bool is_hostile(unsigned client) { return world.scenario->hostile && client == 1; }
static bool is_victim(unsigned client) { return client == 1; }

/* ---- the service -------------------------------------------------------------------------------------------------------------- */
static bool others_answered(void *sequence) {
	if (world.scenario->again) return world.answered[1] >= (uintptr_t)sequence;
	return world.answered[0] + world.answered[1] + world.answered[2] >= 1;
}

static void serve(struct dc_seat *seat, uint32_t item) {
	unsigned client = DC_ITEM_CLIENT(item), index = DC_ITEM_SLOT(item);
	if (client >= world.scenario->clients || DC_ITEM_GENERATION(item) != 1) sim_fail("an item that nobody sent");
	struct dc_slot *slot = &world.arena[client].slot[index];
	uint32_t word = atomic_load_explicit(&slot->answer, memory_order_acquire), sequence = DC_ANSWER_SEQUENCE(word);
	bool pending = DC_ANSWER_STATE(word) == DC_ANSWER_PENDING || DC_ANSWER_STATE(word) == DC_ANSWER_WAITING;
	if (is_hostile(client)) {
		if (pending) dc_answer(slot, sequence, 0);
		return;
	}
	if (!pending) sim_fail("an item without a request: taken twice, or never sent");
	if (world.done[client][index] == sequence + 1) sim_fail("a request was taken twice");
	world.done[client][index] = sequence + 1;
	if (slot->sequence != sequence) sim_fail("a request was taken before it was written");
	seat->sender_cpu = slot->cpu;
	*(volatile uint32_t *)&slot->taken = DC_TAKEN(sequence);
	if (world.scenario->blocks && client == 0 && (sequence == 1 || world.scenario->again)) {
		/* An answer that needs another worker. */
		world.blocking = true;
		dc_receiver_block(&world.receiver, seat, false);
		sim_wait_until(others_answered, (void *)(uintptr_t)sequence);
		dc_receiver_unblock(&world.receiver, seat);
	}
	dc_answer(slot, sequence, (int64_t)client * 1000 + sequence);
}

static void worker(void *argument) {
	struct dc_seat *seat = argument;
	dc_receiver_enter(&world.receiver, seat);
	for (;;) {
		uint32_t item;
		if (dc_receiver_next(&world.receiver, seat, &item) == DC_TAKE_ITEM) serve(seat, item);
	}
}

static void ear(void *argument) {
	for (;;) dc_receiver_overhear(&world.receiver, (unsigned)(uintptr_t)argument, &world.ear_wake, 0);
}

/* ---- clients ------------------------------------------------------------------------------------------------------------------ */
static void attach(unsigned index) {
	struct dc_mailbox *box = world.client[index].mailbox;
	box->spin_ns = SPIN_NS;
	int place = dc_mailboxes_reserve(&world.mailboxes, index, 1);
	dc_mailboxes_open(&world.mailboxes, (unsigned)place, box);
}

static bool may_begin(void *argument) {
	if (world.scenario->blocks && (uintptr_t)argument == 1) return world.blocking;
	return DC_WORKERS_SLEEPING(*(volatile uint32_t *)&world.receiver.board->workers) == world.scenario->workers;
}

static void send(void *argument) {
	unsigned thread = (unsigned)(uintptr_t)argument, index = thread & 15, hint = thread >> 4;
	if (world.scenario->late) sim_wait_until(may_begin, argument);
	struct dc_client *client = &world.client[index];
	if (world.scenario->attaches && index == 1) {
		attach(index);
		dc_receiver_kick(&world.receiver);
	}
	for (unsigned i = 0; i < world.scenario->requests; i++) {
		unsigned slot = dc_client_acquire(client, (int)hint, thread + 1);
		uint64_t before = sim_now();
		int64_t result = dc_client_call(client, slot);
		uint64_t took = sim_now() - before;
		if (result != (int64_t)index * 1000 + dc_client_slot(client, slot)->sequence) sim_fail("a wrong answer");
		if (!is_victim(index) && took > world.longest_ns) world.longest_ns = took;
		if (world.scenario->punctual && !is_victim(index) && took > FAIR_NS + (sim_stopped() ? PATIENCE_NS : 0)) sim_fail("a living sender waits longer than the patience");
		dc_client_release(client, slot);
		if (!hint || !world.scenario->leaves) world.answered[index]++;
	}
}

/* Rings for nothing and scribbles over all that it can reach. */
static void attack(void *argument) {
	struct dc_client *client = &world.client[1];
	for (unsigned i = 0; i < 6; i++) {
		uint64_t what = sim_random(4);
		if (what == 0) atomic_store(&client->mailbox->bells, sim_random(16));
		else if (what == 1) atomic_store(&client->mailbox->ear, (uint32_t)sim_random(4));
		else if (what == 2) atomic_store(&client->arena->slot[sim_random(4)].answer, (uint32_t)sim_random(64));
		else dc_mailbox_ring(client->mailbox, (unsigned)sim_random(4));
	}
}

/* ---- verdicts ----------------------------------------------------------------------------------------------------------------- */
static const char *queue_is_clean(void) {
	uint64_t tail = atomic_load_explicit(&world.queue.tail, memory_order_relaxed), head = atomic_load_explicit(&world.receiver.reader.head, memory_order_relaxed);
	if (head != tail) return "tickets are left";
	for (unsigned i = 0; i < DC_QUEUE_SLOTS; i++) {
		uint64_t next = tail + ((i - tail) & (DC_QUEUE_SLOTS - 1));
		uint64_t word = atomic_load_explicit(&world.queue.slot[i].word, memory_order_relaxed);
		if (word != DC_WORD(next >> DC_QUEUE_SHIFT, DC_WORD_FREE, 0)) return "a slot of the queue leaks";
	}
	return NULL;
}

/* Nobody can go on. Plain looks from here on: sim_private covers all of the world. */
static const char *verdict(void) {
	const struct sim_scenario *scenario = world.scenario;
	sim_private(&world, sizeof world);
	const char *wrong = NULL;
	for (unsigned i = 0; i < scenario->clients && !wrong; i++)
		if (world.answered[i] < world.wanted[i] && !(is_victim(i) && (sim_stopped() || scenario->hostile))) wrong = "a living sender's request is never answered";
	uint32_t workers = atomic_load(&world.receiver.board->workers);
	/* The run may not be over: a client that stands still will go on, and what it has put in without waking anybody is not left for good. */
	bool again = sim_halted() && scenario->stop == SIM_STOP_AND_GO_ON;
	if (!wrong && (DC_WORKERS_SLEEPING(workers) != scenario->workers || DC_WORKERS_SPINNING(workers) || DC_WORKERS_RUNNING(workers) || !(workers & DC_WORKERS_FIRST_SLEEPS)))
		wrong = "the workers are counted wrongly";
	if (!wrong && !scenario->mailboxes && !again) wrong = queue_is_clean();
	for (unsigned i = 0; i < scenario->clients && !wrong && scenario->mailboxes; i++) {
		/* A stopped client may have put its request in and not woken anybody. */
		bool sound = !scenario->leaves && !(is_victim(i) && (sim_stopped() || scenario->hostile));
		if (sound && atomic_load(&world.client[i].mailbox->bells)) wrong = "a bell is left on";
		if (sound && dc_client_in_use(&world.client[i])) wrong = "a slot of an arena leaks";
	}
	if (again) sim_private(world.seat, sizeof world.seat);
	return wrong;
}

/* A victim's item may stand in the queue without a wake-up: the kick at its end brings a worker. */
static bool victim_is_gone(void *unused) { return sim_stopped(); }
static void kick(void *unused) {
	sim_wait_until(victim_is_gone, NULL);
	dc_receiver_kick(&world.receiver);
}

static void begin(const struct sim_scenario *scenario) {
	world.scenario = scenario;
	memset(&world.queue, 0, sizeof world.queue);
	memset(&world.receiver, 0, sizeof world.receiver);
	memset(world.seat, 0, sizeof world.seat);
	memset(world.done, 0, sizeof world.done);
	world.mailboxes.top = 0;
	memset(world.mailboxes.place, 0, CLIENTS * sizeof world.mailboxes.place[0]);
	memset(world.answered, 0, sizeof world.answered);
	world.blocking = false;
	/* Never inside a run yet: all of it is private, so that nothing is a step. */
	sim_private(&world, sizeof world);
	dc_receiver_init(&world.receiver, scenario->mailboxes ? NULL : &world.queue, scenario->mailboxes ? &world.mailboxes : NULL, scenario->running_target, SPIN_NS, PATIENCE_NS);
	for (unsigned i = 0; i < scenario->clients; i++) {
		memset(world.arena[i].mailbox, 0, sizeof world.arena[i].mailbox);
		memset(world.arena[i].slot, 0, 4 * sizeof world.arena[i].slot[0]);
		dc_client_init(&world.client[i], scenario->mailboxes ? NULL : &world.queue, &world.arena[i], i, 1);
		if (!scenario->yields) dc_trial_fix(&world.client[i].yields);
		world.wanted[i] = is_hostile(i) ? 0 : scenario->requests * (1 + (i == 0 && !scenario->leaves ? scenario->more_threads : 0));
		if (scenario->mailboxes && !(scenario->attaches && i == 1)) attach(i);
	}
	for (unsigned i = 0; i < scenario->workers && !scenario->yields; i++) world.seat[i].yielding[0].skip = world.seat[i].yielding[1].skip = DC_YIELD_NEVER;
	sim_private(world.seat, sizeof world.seat);
}

const char *sim_scenario_run(const struct sim_scenario *scenario, const struct sim_plan *plan) {
	static const char *const workers[] = {"worker 0", "worker 1", "worker 2", "worker 3"}, *const clients[] = {"client 0", "client 1", "client 2", "client 3"};
	if (scenario->stamps) return sim_stamps_run(scenario, plan);
	if (scenario->pages) return sim_pages_run(scenario, plan);
	sim_begin(plan);
	begin(scenario);
	/* Processes: 0 the service, 1 the victim or the attacker, others 2 and above. CPUs: apart, or all on one. */
	for (unsigned i = 0; i < scenario->workers; i++) sim_thread(workers[i], 0, scenario->together ? 0 : i, worker, &world.seat[i]);
	for (unsigned i = 0; i < scenario->clients; i++)
		sim_thread(clients[i], i == 1 && !scenario->leaves ? 1 : 2 + i, scenario->together ? 0 : 8 + i, is_hostile(i) ? attack : send, (void *)(uintptr_t)i);
	for (unsigned i = 0; i < scenario->more_threads; i++) sim_thread("thread of 0", scenario->leaves ? 1 : 2, scenario->more_together ? 0 : 12, send, (void *)(uintptr_t)((i + 1) << 4));
	for (unsigned i = 1; scenario->mailboxes && i * DC_LISTEN_MAX < scenario->clients; i++) sim_thread("ear", 0, 3, ear, (void *)(uintptr_t)i);
	if (plan->stop == SIM_STOP_FOR_EVER && !scenario->leaves) sim_thread("kick", 0, 3, kick, NULL);
	return sim_run(verdict);
}

uint64_t sim_scenario_longest_ns(void) {
	uint64_t longest = world.longest_ns;
	world.longest_ns = 0;
	return longest;
}
