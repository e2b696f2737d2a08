#include "mailbox.h"

#include <errno.h>

void dc_mailbox_put(struct dc_mailbox *mailbox, unsigned slot) {
	atomic_fetch_or_explicit(&mailbox->bells, UINT64_C(1) << slot, memory_order_seq_cst);
}

void dc_mailbox_wake(struct dc_mailbox *mailbox) {
	if (atomic_load_explicit(&mailbox->ear, memory_order_seq_cst) == DC_EAR_QUIET) return;
	/* Armed, or rung by a thread that may be left by longjmp before it wakes anybody: so everybody who finds it so wakes, until a worker has come and made it quiet. */
	atomic_exchange_explicit(&mailbox->ear, DC_EAR_RUNG, memory_order_seq_cst);
	dc_futex_wake(&mailbox->ear, 1);
}

void dc_mailbox_ring(struct dc_mailbox *mailbox, unsigned slot) {
	dc_mailbox_put(mailbox, slot);
	dc_mailbox_wake(mailbox);
}

void dc_mailbox_call(struct dc_mailbox *mailbox) {
	atomic_fetch_add_explicit(&mailbox->late, 1, memory_order_seq_cst);
	dc_futex_wake(&mailbox->late, 1);
}

int dc_mailboxes_reserve(struct dc_mailboxes *mailboxes, uint32_t client, uint32_t generation) {
	unsigned top = atomic_load_explicit(&mailboxes->top, memory_order_relaxed), at = 0;
	while (at < top && atomic_load_explicit(&mailboxes->place[at].box, memory_order_relaxed)) at++;
	if (at == DC_CLIENTS_MAX) return -ENOSPC;
	/* Before the client's memory can be seen there: see take_one. */
	atomic_store_explicit(&mailboxes->place[at].name, DC_ITEM(generation, client, 0) >> 6, memory_order_seq_cst);
	__atomic_store_n(&mailboxes->place[at].alarms, 0, __ATOMIC_RELAXED);
	return (int)at;
}

void dc_mailboxes_open(struct dc_mailboxes *mailboxes, unsigned place, struct dc_mailbox *box) {
	atomic_store_explicit(&mailboxes->place[place].box, box, memory_order_seq_cst);
	if (place >= atomic_load_explicit(&mailboxes->top, memory_order_relaxed)) atomic_store_explicit(&mailboxes->top, place + 1, memory_order_seq_cst);
}

void dc_mailboxes_remove(struct dc_mailboxes *mailboxes, unsigned place) {
	atomic_store_explicit(&mailboxes->place[place].box, NULL, memory_order_seq_cst);
	unsigned top = atomic_load_explicit(&mailboxes->top, memory_order_relaxed);
	while (top && !atomic_load_explicit(&mailboxes->place[top - 1].box, memory_order_relaxed)) top--;
	atomic_store_explicit(&mailboxes->top, top, memory_order_seq_cst);
}

/*
 * An ear that is found rung explains itself by a bell, then or soon. A client that only touches its ear keeps the listener from sleeping: counted, and whoever takes requests finds its place
 * in `alarmist`. Not by the hooked operations: no order depends on these.
 */
#define ALARMS_A_BELL 64u

static void explain_alarms(struct dc_place *place) {
	uint32_t alarms = __atomic_load_n(&place->alarms, __ATOMIC_RELAXED);
	if (alarms) __atomic_store_n(&place->alarms, alarms > ALARMS_A_BELL ? alarms - ALARMS_A_BELL : 0, __ATOMIC_RELAXED);
}

static void count_alarm(struct dc_mailboxes *mailboxes, unsigned at) {
	struct dc_place *place = &mailboxes->place[at];
	uint32_t alarms = __atomic_load_n(&place->alarms, __ATOMIC_RELAXED) + 1;
	__atomic_store_n(&place->alarms, alarms, __ATOMIC_RELAXED);
	if (alarms >= DC_ALARMS_MAX) __atomic_store_n(&mailboxes->alarmist, at + 1, __ATOMIC_RELAXED);
}

/* One request out of a box. Clearing a bit decides who has it. */
static bool take_one(struct dc_place *place, struct dc_mailbox *box, uint64_t bells, uint32_t *item) {
	unsigned turn = atomic_load_explicit(&place->turn, memory_order_relaxed) & 63;
	uint64_t turned = bells >> turn | bells << (-turn & 63);
	unsigned slot = ((unsigned)__builtin_ctzll(turned) + turn) & 63;
	uint64_t bit = UINT64_C(1) << slot;
	if (!(atomic_fetch_and_explicit(&box->bells, ~bit, memory_order_acq_rel) & bit)) return false;
	atomic_store_explicit(&place->turn, slot + 1, memory_order_relaxed);
	explain_alarms(place);
	/* Read after the bell is ours: should another client stand here by now, it was that one's bell. */
	*item = atomic_load_explicit(&place->name, memory_order_acquire) << 6 | slot;
	return true;
}

enum dc_take dc_mailboxes_take(struct dc_mailboxes *mailboxes, unsigned *cursor, bool listened, uint32_t cpu, uint32_t *item) {
	unsigned top = atomic_load_explicit(&mailboxes->top, memory_order_acquire);
	unsigned at = *cursor;
	for (unsigned round = 0; round < top; round++, at++) {
		if (at >= top) at = 0;
		struct dc_place *place = &mailboxes->place[at];
		struct dc_mailbox *box = atomic_load_explicit(&place->box, memory_order_acquire);
		uint64_t bells = box ? atomic_load_explicit(&box->bells, memory_order_acquire) : 0;
		if (!bells || !take_one(place, box, bells, item)) continue;
		/* We are awake, nobody sleeps on it, and whoever is about to arms it first and then looks at the bells again. */
		uint32_t rung = DC_EAR_RUNG;
		if (!listened && at < DC_LISTEN_MAX && atomic_load_explicit(&box->ear, memory_order_relaxed) == DC_EAR_RUNG)
			atomic_compare_exchange_strong_explicit(&box->ear, &rung, DC_EAR_QUIET, memory_order_seq_cst, memory_order_relaxed);
		if (atomic_load_explicit(&box->worker_cpu, memory_order_relaxed) != cpu) atomic_store_explicit(&box->worker_cpu, cpu, memory_order_relaxed);
		*cursor = at + 1;
		return DC_TAKE_ITEM;
	}
	return DC_TAKE_EMPTY;
}

bool dc_mailboxes_empty(struct dc_mailboxes *mailboxes) {
	unsigned top = atomic_load_explicit(&mailboxes->top, memory_order_seq_cst);
	for (unsigned at = 0; at < top; at++) {
		struct dc_mailbox *box = atomic_load_explicit(&mailboxes->place[at].box, memory_order_acquire);
		if (box && atomic_load_explicit(&box->bells, memory_order_seq_cst)) return false;
	}
	return true;
}

uint64_t dc_mailboxes_depth(struct dc_mailboxes *mailboxes) {
	uint64_t depth = 0;
	for (unsigned at = 0, top = atomic_load(&mailboxes->top); at < top; at++) {
		struct dc_mailbox *box = atomic_load(&mailboxes->place[at].box);
		if (box) depth += (uint64_t)__builtin_popcountll(atomic_load(&box->bells));
	}
	return depth;
}

/* Behind the last place of a group that may be in use. */
static unsigned group_end(struct dc_mailboxes *mailboxes, unsigned group) {
	unsigned top = atomic_load_explicit(&mailboxes->top, memory_order_seq_cst), end = (group + 1) * DC_LISTEN_MAX;
	return end < top ? end : top;
}

unsigned dc_mailboxes_arm(struct dc_mailboxes *mailboxes, unsigned group, struct dc_futex_expectation *list) {
	unsigned count = 0;
	for (unsigned at = group * DC_LISTEN_MAX, end = group_end(mailboxes, group); at < end; at++) {
		struct dc_mailbox *box = atomic_load_explicit(&mailboxes->place[at].box, memory_order_seq_cst);
		if (!box) continue;
		/* Most are armed still since the last sleep: only who rang has to be armed again. */
		if (atomic_load_explicit(&box->ear, memory_order_seq_cst) != DC_EAR_ARMED) {
			atomic_exchange_explicit(&box->ear, DC_EAR_ARMED, memory_order_seq_cst);
			count_alarm(mailboxes, at);
		}
		list[count++] = (struct dc_futex_expectation){&box->ear, DC_EAR_ARMED};
	}
	return count;
}

unsigned dc_mailboxes_calls(struct dc_mailboxes *mailboxes, unsigned group, uint32_t seen[DC_LISTEN_MAX], struct dc_futex_expectation *list, bool *called) {
	unsigned from = group * DC_LISTEN_MAX, end = group_end(mailboxes, group), count = 0;
	*called = false;
	for (unsigned at = from; at < end; at++) {
		struct dc_mailbox *box = atomic_load_explicit(&mailboxes->place[at].box, memory_order_seq_cst);
		if (!box) continue;
		uint32_t late = atomic_load_explicit(&box->late, memory_order_seq_cst);
		if (late != seen[at - from]) *called = true; /* or another client stands there now: no harm */
		seen[at - from] = late;
		list[count++] = (struct dc_futex_expectation){&box->late, late};
	}
	return count;
}
