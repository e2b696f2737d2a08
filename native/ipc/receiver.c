#include "receiver.h"

#include <limits.h>

#define SLEEPING 1u
#define SPINNING (1u << 8)
#define RUNNING (1u << 16)
/* A sleeper looks by itself now and then: in the queue, a sender that dies between publishing and waking takes the wake-up with it; its end kicks us sooner. */
#define SLEEP_NS 5000000000u
#define SPIN_MIN_US 2u
#define CALLS_PAUSE_NS 200000u
#define BRIEF_NS 50000u

void dc_receiver_init(struct dc_receiver *receiver, struct dc_queue *queue, struct dc_mailboxes *mailboxes, uint32_t running_target, uint32_t spin_ns, uint64_t patience_ns) {
	receiver->transport = queue ? DC_BY_QUEUE : DC_BY_MAILBOXES;
	receiver->running_target = running_target;
	receiver->spin_ns = spin_ns;
	receiver->board = queue ? &queue->board : &receiver->own_board;
	receiver->reader.queue = queue;
	receiver->reader.patience_ns = patience_ns;
	receiver->mailboxes = mailboxes;
	if (queue) dc_queue_init(queue, running_target, spin_ns);
}

/*
 * The counts are ours; senders by the queue look at a copy on its board, which any of them may overwrite. Whoever changes the counts writes the copy, and again until it is what the counts are:
 * so the last to write it is right. It may be wrong for a moment, before another changer comes to its second look, but whoever changes the counts looks for requests afterwards.
 */
static void show(struct dc_receiver *receiver) {
	if (receiver->transport == DC_BY_MAILBOXES) return;
	uint32_t workers = atomic_load_explicit(&receiver->own_board.workers, memory_order_seq_cst), shown;
	do {
		shown = workers;
		atomic_exchange_explicit(&receiver->board->workers, shown, memory_order_seq_cst);
		workers = atomic_load_explicit(&receiver->own_board.workers, memory_order_seq_cst);
	} while (workers != shown);
}

static void move(struct dc_receiver *receiver, uint32_t from, uint32_t to) {
	atomic_fetch_add_explicit(&receiver->own_board.workers, to - from, memory_order_seq_cst);
	show(receiver);
}

static uint32_t counts(struct dc_receiver *receiver) {
	return atomic_load_explicit(&receiver->own_board.workers, memory_order_seq_cst);
}

/*
 * One that has been woken and has not come to look yet, since it waits for a CPU, counts as running: where all share one, each block would make the system call to wake it anew. `expected` is only
 * ever what somebody, woken after `come` was read, will make it.
 */
static void wake_another(struct dc_receiver *receiver) {
	uint32_t come = atomic_load_explicit(&receiver->come, memory_order_seq_cst);
	bool coming = (int32_t)(atomic_load_explicit(&receiver->expected, memory_order_relaxed) - come) > 0;
	if (dc_board_wake(receiver->board, counts(receiver) + (coming ? RUNNING : 0), receiver->running_target))
		atomic_store_explicit(&receiver->expected, come + 1, memory_order_relaxed);
}

static void set_state(struct dc_seat *seat, enum dc_worker_state state) {
	atomic_store_explicit(&seat->state, state, memory_order_relaxed);
}

static void bump(_Atomic uint64_t *counter) {
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1, memory_order_relaxed);
}

static uint64_t ticks(uint64_t ns) {
	return ns * dc_ticks_per_us() / 1000u;
}

bool dc_receiver_empty(struct dc_receiver *receiver) {
	return receiver->transport == DC_BY_QUEUE ? dc_queue_empty(&receiver->reader) : dc_mailboxes_empty(receiver->mailboxes);
}

uint64_t dc_receiver_depth(struct dc_receiver *receiver) {
	if (receiver->transport == DC_BY_MAILBOXES) return dc_mailboxes_depth(receiver->mailboxes);
	uint64_t head = atomic_load(&receiver->reader.head), tail = atomic_load(&receiver->reader.queue->tail);
	return tail > head ? tail - head : 0;
}

/* Requests wait and nobody is about to look: pass the baton. */
static void pass_on(struct dc_receiver *receiver) {
	if (!dc_receiver_empty(receiver)) wake_another(receiver);
}

/* Whether somebody will notice a client that rings from now on without being told by one of us. */
static bool attended(uint32_t workers) {
	return (workers & DC_WORKERS_FIRST_SLEEPS) || DC_WORKERS_SPINNING(workers);
}

void dc_receiver_block(struct dc_receiver *receiver, struct dc_seat *seat, bool briefly) {
	if (seat->block_depth++) return;
	if (briefly) {
		atomic_store_explicit(&seat->brief_since, dc_ticks(), memory_order_relaxed);
		atomic_store_explicit(&seat->state, DC_WORKER_BRIEF, memory_order_release);
		return;
	}
	set_state(seat, DC_WORKER_BLOCKED);
	move(receiver, RUNNING, 0);
	/* Clients of the queue wake a sleeper by themselves when they find that too few run; of the mailboxes only the listener, so there must be one. */
	if (receiver->transport == DC_BY_MAILBOXES && !attended(counts(receiver)))
		wake_another(receiver);
	else
		pass_on(receiver);
}

void dc_receiver_unblock(struct dc_receiver *receiver, struct dc_seat *seat) {
	uint32_t brief = DC_WORKER_BRIEF;
	if (--seat->block_depth) return;
	if (atomic_compare_exchange_strong_explicit(&seat->state, &brief, DC_WORKER_RUN, memory_order_acq_rel, memory_order_relaxed)) return;
	move(receiver, 0, RUNNING);
	set_state(seat, DC_WORKER_RUN);
}

/* By one that was woken: who has been for long at what should be brief does not run. */
static void look_for_blocked(struct dc_receiver *receiver) {
	uint32_t seats = __atomic_load_n(&receiver->seats, __ATOMIC_ACQUIRE);
	uint64_t now = dc_ticks();
	for (uint32_t i = 0; i < seats && i < DC_WORKERS_MAX; i++) {
		struct dc_seat *seat = __atomic_load_n(&receiver->seat[i], __ATOMIC_ACQUIRE);
		uint32_t brief = DC_WORKER_BRIEF;
		if (!seat || atomic_load_explicit(&seat->state, memory_order_acquire) != brief) continue;
		uint64_t since = atomic_load_explicit(&seat->brief_since, memory_order_relaxed);
		if (now > since && now - since > ticks(BRIEF_NS) && atomic_compare_exchange_strong_explicit(&seat->state, &brief, DC_WORKER_BLOCKED, memory_order_acq_rel, memory_order_relaxed))
			move(receiver, RUNNING, 0);
	}
}

static bool spin(struct dc_receiver *receiver, struct dc_seat *seat) {
	uint64_t start = dc_ticks();
	bump(&seat->spins);
	for (unsigned round = 1;; round++) {
		if (!dc_receiver_empty(receiver)) return true;
		dc_pause();
		if ((round & 7) == 0 && dc_ticks() - start > seat->spin_ticks) return false;
	}
}

/* As a spinner, beside a sender on this very CPU: it has to run before anything can come. */
static bool yield(struct dc_receiver *receiver, struct dc_seat *seat) {
	uint64_t start = dc_ticks();
	bool came = !dc_receiver_empty(receiver);
	for (unsigned round = 0; !came && round < DC_YIELDS; round++) {
		sched_yield();
		came = !dc_receiver_empty(receiver);
	}
	dc_yield_learn(&seat->yielding[seat->again], came, dc_ticks() - start, seat->again ? DC_YIELD_SAVES_US : DC_YIELD_SAVES_SEVERAL_US);
	return came;
}

/* Returns whether something came. Called as a spinner. */
static bool spin_or_yield(struct dc_receiver *receiver, struct dc_seat *seat, bool together) {
	if (together) return yield(receiver, seat);
	uint64_t minimum = (uint64_t)SPIN_MIN_US * dc_ticks_per_us();
	bool came = spin(receiver, seat);
	if (came) seat->spin_ticks = ticks(receiver->spin_ns);
	else seat->spin_ticks = seat->spin_ticks * 3 / 4 < minimum ? minimum : seat->spin_ticks * 3 / 4;
	return came;
}

/* To senders by the queue; those by mailboxes are told when their request is taken. */
static void publish_cpu(struct dc_receiver *receiver, struct dc_seat *seat) {
	uint32_t cpu = (uint32_t)sched_getcpu();
	atomic_store_explicit(&seat->cpu, cpu, memory_order_relaxed);
	if (atomic_load_explicit(&receiver->board->worker_cpu, memory_order_relaxed) != cpu)
		atomic_store_explicit(&receiver->board->worker_cpu, cpu, memory_order_relaxed);
}

void dc_receiver_depart(struct dc_receiver *receiver, struct dc_seat *seat) {
	_Atomic uint32_t *cpu = &receiver->board->worker_cpu;
	if (receiver->transport == DC_BY_MAILBOXES) {
		struct dc_mailbox *box = seat->cursor ? atomic_load_explicit(&receiver->mailboxes->place[seat->cursor - 1].box, memory_order_acquire) : NULL;
		if (!box) return;
		cpu = &box->worker_cpu;
	}
	atomic_store_explicit(cpu, UINT32_MAX, memory_order_relaxed);
}

/* Sleeps as the first (the listener, by mailboxes) or in reserve. `first` was announced. */
static void sleep_now(struct dc_receiver *receiver, struct dc_seat *seat, bool first) {
	struct dc_board *board = receiver->board;
	struct dc_futex_expectation list[DC_FUTEX_WAIT_MAX];
	bool listens = first && receiver->transport == DC_BY_MAILBOXES;
	_Atomic uint32_t *word = first ? &board->wake : &board->wake_reserve;
	uint32_t seen = atomic_load_explicit(word, memory_order_seq_cst);
	unsigned count = listens ? dc_mailboxes_arm(receiver->mailboxes, 0, list) : 0;
	/* Announced; look once more: a sender looks for sleepers after it has put its request in. */
	if (!dc_receiver_empty(receiver) || atomic_load(&receiver->stopping)) return;
	/* The listener may have gone since we saw that there is one; whom it told to follow it was nobody yet. */
	if (receiver->transport == DC_BY_MAILBOXES && !first && !attended(counts(receiver))) return;
	set_state(seat, DC_WORKER_SLEEP);
	bump(&seat->sleeps);
	uint64_t before = dc_ticks();
	if (listens) {
		list[count] = (struct dc_futex_expectation){word, seen};
		int index = dc_futex_wait_any(list, count + 1, SLEEP_NS);
		if (index >= 0 && index < (int)count) bump(&seat->rung);
	} else {
		dc_futex_wait(word, seen, SLEEP_NS);
	}
	atomic_fetch_add_explicit(&receiver->come, 1, memory_order_seq_cst);
	look_for_blocked(receiver);
	set_state(seat, DC_WORKER_RUN);
	/* Something came so soon that spinning for it would have been cheaper. */
	if (dc_ticks() - before < ticks(2ull * receiver->spin_ns)) seat->spin_ticks = ticks(receiver->spin_ns);
}

static void sleep_for_requests(struct dc_receiver *receiver, struct dc_seat *seat, uint32_t from) {
	move(receiver, from, SLEEPING);
	bool first = !(atomic_fetch_or_explicit(&receiver->own_board.workers, DC_WORKERS_FIRST_SLEEPS, memory_order_seq_cst) & DC_WORKERS_FIRST_SLEEPS);
	if (first) show(receiver);
	sleep_now(receiver, seat, first);
	if (first) atomic_fetch_and_explicit(&receiver->own_board.workers, ~DC_WORKERS_FIRST_SLEEPS, memory_order_seq_cst);
	move(receiver, SLEEPING, RUNNING);
}

/* Nothing to do: spin, or yield to a sender on this CPU, if that may pay, else sleep. Enters and leaves as a running worker. */
static void idle(struct dc_receiver *receiver, struct dc_seat *seat) {
	uint32_t workers = atomic_load_explicit(&receiver->own_board.workers, memory_order_relaxed);
	bool together = seat->sender_cpu == (uint32_t)sched_getcpu();
	uint32_t from = RUNNING;
	bump(&seat->waits);
	if (!DC_WORKERS_SPINNING(workers) && (!together || dc_yield_pays(&seat->yielding[seat->again]))) {
		set_state(seat, DC_WORKER_SPIN);
		publish_cpu(receiver, seat);
		move(receiver, RUNNING, SPINNING);
		from = SPINNING;
		if (spin_or_yield(receiver, seat, together)) {
			bump(&seat->caught);
			move(receiver, SPINNING, RUNNING);
			set_state(seat, DC_WORKER_RUN);
			return;
		}
	}
	sleep_for_requests(receiver, seat, from);
}

void dc_receiver_enter(struct dc_receiver *receiver, struct dc_seat *seat) {
	seat->spin_ticks = ticks(receiver->spin_ns);
	seat->sender_cpu = UINT32_MAX;
	if (!seat->known) {
		uint32_t place = __atomic_fetch_add(&receiver->seats, 1, __ATOMIC_ACQ_REL); /* not by the hooked operations: what it is for is not in the simulated machine */
		if (place < DC_WORKERS_MAX) __atomic_store_n(&receiver->seat[place], seat, __ATOMIC_RELEASE);
		seat->known = true;
	}
	move(receiver, 0, RUNNING);
}

void dc_receiver_leave(struct dc_receiver *receiver) {
	move(receiver, RUNNING, 0);
}

enum dc_take dc_receiver_next(struct dc_receiver *receiver, struct dc_seat *seat, uint32_t *item) {
	enum dc_take taken;
	if (receiver->transport == DC_BY_QUEUE) {
		taken = dc_queue_take(&receiver->reader, item);
		if (taken == DC_TAKE_ITEM) publish_cpu(receiver, seat);
	} else {
		atomic_store_explicit(&seat->cpu, (uint32_t)sched_getcpu(), memory_order_relaxed);
		bool listened = counts(receiver) & DC_WORKERS_FIRST_SLEEPS;
		taken = dc_mailboxes_take(receiver->mailboxes, &seat->cursor, listened, seat->cpu, item);
	}
	if (taken == DC_TAKE_ITEM) {
		seat->again = *item == seat->last;
		seat->last = *item;
		pass_on(receiver);
		bump(&seat->handled);
	} else if (taken == DC_TAKE_EMPTY) {
		idle(receiver, seat);
	}
	return taken;
}

void dc_receiver_kick(struct dc_receiver *receiver) {
	for (unsigned i = 0; i < 2; i++) {
		_Atomic uint32_t *word = i ? &receiver->board->wake_reserve : &receiver->board->wake;
		atomic_fetch_add_explicit(word, 1, memory_order_seq_cst);
		dc_futex_wake(word, INT_MAX);
	}
}

void dc_receiver_overhear(struct dc_receiver *receiver, unsigned group, _Atomic uint32_t *wake, uint32_t seen) {
	struct dc_futex_expectation list[DC_FUTEX_WAIT_MAX];
	unsigned count = dc_mailboxes_arm(receiver->mailboxes, group, list);
	/* What was rung for before the ears were armed; what comes later changes an ear. */
	pass_on(receiver);
	list[count] = (struct dc_futex_expectation){wake, seen};
	dc_futex_wait_any(list, count + 1, SLEEP_NS);
}

void dc_receiver_attend(struct dc_receiver *receiver, unsigned group, uint32_t calls[DC_LISTEN_MAX], _Atomic uint32_t *wake, uint32_t seen) {
	struct dc_futex_expectation list[DC_FUTEX_WAIT_MAX];
	bool called;
	unsigned count = dc_mailboxes_calls(receiver->mailboxes, group, calls, list, &called);
	if (called && !dc_receiver_empty(receiver)) dc_board_rouse(receiver->board, counts(receiver));
	if (called) {
		dc_futex_wait(wake, seen, CALLS_PAUSE_NS); /* who calls without end has no worker woken more often than that */
		return;
	}
	list[count] = (struct dc_futex_expectation){wake, seen};
	dc_futex_wait_any(list, count + 1, 0);
}

void dc_answer(struct dc_slot *slot, uint32_t sequence, int64_t result) {
	__atomic_store_n(&slot->result, result, __ATOMIC_RELAXED); /* two workers may be here for a client that lies */
	uint32_t before = atomic_exchange_explicit(&slot->answer, DC_ANSWER(sequence, DC_ANSWER_DONE), memory_order_acq_rel);
	if (DC_ANSWER_STATE(before) == DC_ANSWER_WAITING) dc_futex_wake(&slot->answer, 1);
}
