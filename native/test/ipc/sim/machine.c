/* A jump from one coroutine's stack to another's is what a hardened libc forbids. */
#undef _FORTIFY_SOURCE

#include "machine.h"

#undef memcpy

#include <errno.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define STACK_BYTES 65536u
#define BUFFER 8u
#define BUFFER_NS 400u /* no store stands in a buffer for longer */
#define WORDS 4u
#define CHOICES 8192u
#define TRACE 64u
#define PAST 64u

struct buffered {
	volatile void *at;
	unsigned size;
	uint64_t value, since;
};

enum thread_state { READY, SLEEPS, WAITS, DONE };
struct thread {
	const char *name;
	unsigned process, cpu;
	enum thread_state state;
	/* A switch is a jump: swapcontext asks the kernel for the signal mask each time. `resume` is one of both: its start, made once, or where it was left. */
	jmp_buf start, left;
	jmp_buf *resume;
	sim_body body;
	void *argument;
	struct buffered buffer[BUFFER];
	unsigned buffered;
	unsigned barrier; /* no load after it was made before this step */
	/* asleep on these words */
	volatile void *word[WORDS];
	unsigned words;
	int woken;
	uint64_t since; /* order of sleepers */
	bool (*condition)(void *argument);
	void *condition_argument;
	int64_t priority;
	uint64_t kept_until;
};

/* What a word was before a store became visible. */
struct past {
	const volatile void *at;
	uint64_t value;
	unsigned step, thread;
};

/* One decision of an exhaustive exploration: of how many, and which. */
struct choice {
	unsigned char of, taken;
};

static struct {
	struct sim_plan plan;
	struct thread thread[SIM_THREADS];
	unsigned threads, started, current;
	jmp_buf outside;
	const char *failure;
	uint64_t now;
	unsigned steps, preemptions;
	bool stopped, halted; /* process 1: was stopped in this run; is */
	bool may_stop;
	const char *private_from, *private_to;
	struct past past[PAST];
	unsigned pokes;
	uint64_t random;
	/* exhaustive */
	struct choice choice[CHOICES];
	unsigned choices, choice_count;
	/* random */
	unsigned change_at[8];
	unsigned stop_at, victim_steps, victim_steps_seen, steps_seen;
	int64_t lowest;
	struct { const char *what; unsigned char thread; uint64_t now; const volatile void *at; uint64_t value; } trace[TRACE];
} sim;
static unsigned char stacks[SIM_THREADS][STACK_BYTES] __attribute__((aligned(64)));

static struct thread *self(void) { return &sim.thread[sim.current]; }
uint64_t sim_now(void) { return sim.now; }
bool sim_stopped(void) { return sim.stopped; }
bool sim_halted(void) { return sim.halted; }

uint64_t sim_random(uint64_t below) {
	sim.random ^= sim.random << 13;
	sim.random ^= sim.random >> 7;
	sim.random ^= sim.random << 17;
	return sim.random % below;
}

static void note(const char *what, const volatile void *at, uint64_t value) {
	unsigned i = sim.steps % TRACE;
	sim.trace[i].what = what;
	sim.trace[i].thread = (unsigned char)sim.current;
	sim.trace[i].now = sim.now;
	sim.trace[i].at = at;
	sim.trace[i].value = value;
}

void sim_trace(void) {
	for (unsigned i = sim.steps < TRACE ? 0 : sim.steps - TRACE + 1; i <= sim.steps; i++)
		if (sim.trace[i % TRACE].what)
			fprintf(stderr, "%8llu ns %-10s %-8s %p = %llx\n", (unsigned long long)sim.trace[i % TRACE].now, sim.thread[sim.trace[i % TRACE].thread].name, sim.trace[i % TRACE].what,
				(void *)(uintptr_t)sim.trace[i % TRACE].at, (unsigned long long)sim.trace[i % TRACE].value);
}

/* ---- decisions -------------------------------------------------------------------------------------------------------------- */
static unsigned decide(unsigned of) {
	if (of < 2) return 0;
	if (sim.choices >= CHOICES) return 0; /* so deep that the rest goes on by itself */
	struct choice *choice = &sim.choice[sim.choices++];
	if (sim.choices > sim.choice_count) {
		*choice = (struct choice){(unsigned char)of, 0};
		sim.choice_count = sim.choices;
	}
	return choice->taken;
}

void sim_first(void) {
	sim.choice_count = 0;
	sim.victim_steps_seen = 40;
	sim.steps_seen = 200;
}

bool sim_next(void) {
	while (sim.choice_count) {
		struct choice *last = &sim.choice[sim.choice_count - 1];
		if (++last->taken < last->of) return true;
		sim.choice_count--;
	}
	return false;
}

/* ---- memory ----------------------------------------------------------------------------------------------------------------- */
static uint64_t peek(const volatile void *at, unsigned size) {
	return size == 8 ? *(const volatile uint64_t *)at : size == 4 ? *(const volatile uint32_t *)at : *(const volatile uint8_t *)at;
}
/* A store of `thread` becomes visible. */
static void poke(const struct thread *thread, volatile void *at, unsigned size, uint64_t value) {
	sim.past[sim.pokes++ % PAST] = (struct past){at, peek(at, size), sim.steps, (unsigned)(thread - sim.thread)};
	if (size == 8) *(volatile uint64_t *)at = value;
	else if (size == 4) *(volatile uint32_t *)at = (uint32_t)value;
	else *(volatile uint8_t *)at = (uint8_t)value;
}

static void drain(struct thread *thread, unsigned count) {
	for (unsigned i = 0; i < count; i++) poke(thread, thread->buffer[i].at, thread->buffer[i].size, thread->buffer[i].value);
	thread->buffered -= count;
	memmove(thread->buffer, thread->buffer + count, thread->buffered * sizeof thread->buffer[0]);
}

static void drain_old(void) {
	for (unsigned i = 0; i < sim.threads; i++) {
		struct thread *thread = &sim.thread[i];
		unsigned old = 0;
		while (old < thread->buffered && sim.now - thread->buffer[old].since > BUFFER_NS) old++;
		if (old) drain(thread, old);
	}
}

static bool is_private(const volatile void *at) {
	return (const volatile char *)at >= sim.private_from && (const volatile char *)at < sim.private_to;
}

/* ---- whose turn it is ------------------------------------------------------------------------------------------------------- */
static bool can_run(struct thread *thread) {
	if (sim.halted && thread->process == 1) return false;
	if (thread->state == WAITS && thread->condition(thread->condition_argument)) thread->state = READY;
	return thread->state == READY && thread->kept_until <= sim.now;
}

/* Nobody else is there: time passes until the first of those that were kept from running. */
static bool release_kept(void) {
	struct thread *first = NULL;
	for (unsigned i = 0; i < sim.threads; i++)
		if (sim.thread[i].kept_until > sim.now && (!first || sim.thread[i].kept_until < first->kept_until)) first = &sim.thread[i];
	if (!first) return false;
	sim.now = first->kept_until;
	return true;
}

static unsigned others(unsigned list[SIM_THREADS]) {
	unsigned count = 0;
	for (unsigned i = 1; i < sim.threads; i++) {
		unsigned at = sim.current + i;
		if (at >= sim.threads) at -= sim.threads;
		if (can_run(&sim.thread[at])) list[count++] = at;
	}
	return count;
}

static void go(unsigned next) {
	if (next == sim.current) return;
	unsigned before = sim.current;
	sim.current = next;
	sim.thread[before].resume = &sim.thread[before].left;
	if (!_setjmp(sim.thread[before].left)) _longjmp(*sim.thread[next].resume, 1);
}

static _Noreturn void leave(const char *failure) {
	sim.failure = failure;
	_longjmp(sim.outside, 1);
}

void sim_fail(const char *what) { leave(what); }

static unsigned highest(const unsigned *list, unsigned count) {
	unsigned best = list[0];
	for (unsigned i = 1; i < count; i++)
		if (sim.thread[list[i]].priority > sim.thread[best].priority) best = list[i];
	return best;
}

static void stop_victim(void) {
	for (unsigned i = 0; i < sim.threads; i++)
		if (sim.thread[i].process == 1) drain(&sim.thread[i], sim.thread[i].buffered);
	sim.stopped = sim.halted = true;
	note("STOPPED", NULL, 0);
}

static const char *(*idle_question)(void);

/* The current thread cannot go on: somebody else must. */
static void hand_over(void) {
	unsigned list[SIM_THREADS], count;
	while (!(count = others(list))) {
		for (unsigned i = 0; i < sim.threads; i++) drain(&sim.thread[i], sim.thread[i].buffered);
		if (can_run(self())) return;
		if (others(list) || release_kept()) continue;
		const char *wrong = idle_question();
		if (wrong) leave(wrong);
		if (sim.halted && sim.plan.stop == SIM_STOP_AND_GO_ON) {
			sim.halted = false;
			note("GOES ON", NULL, 0);
			if (can_run(self())) return;
			continue;
		}
		leave(NULL);
	}
	go(sim.plan.order == SIM_RANDOM ? highest(list, count) : list[decide(count)]);
}

/* After halting the victim it may be the current one. */
static void off_if_halted(void) {
	while (sim.halted && self()->process == 1) hand_over();
}

static void explore_exhaustively(void) {
	unsigned list[SIM_THREADS], count = sim.preemptions < sim.plan.preemptions ? others(list) : 0;
	bool may_stop = sim.may_stop && !sim.stopped && self()->process == 1;
	unsigned taken = decide(1 + count + may_stop);
	if (!taken) return;
	if (taken <= count) {
		sim.preemptions++;
		go(list[taken - 1]);
		return;
	}
	stop_victim();
	off_if_halted();
}

static void explore_randomly(void) {
	struct thread *thread = self();
	if (thread->process == 1 && sim.may_stop && !sim.stopped && sim.victim_steps++ == sim.stop_at) {
		stop_victim();
		off_if_halted();
		return;
	}
	if (thread->process == 1) sim.victim_steps += !sim.may_stop;
	for (unsigned i = 0; i < sim.plan.changes; i++)
		if (sim.steps == sim.change_at[i]) {
			thread->priority = --sim.lowest;
			if (sim_random(2)) thread->kept_until = sim.now + sim_random(SIM_KEPT_NS);
		}
	while (!can_run(thread)) {
		hand_over();
		if (thread->kept_until <= sim.now && can_run(thread)) return;
	}
	unsigned list[SIM_THREADS], count = others(list);
	list[count++] = sim.current;
	go(highest(list, count));
}

/* Before each operation. */
static void step(const char *what, const volatile void *at, uint64_t value) {
	sim.steps++;
	sim.now += SIM_STEP_NS;
	note(what, at, value);
	drain_old();
	if (sim.steps > sim.plan.steps_max) leave("hangs: too many steps");
	if (sim.plan.order == SIM_RANDOM) explore_randomly();
	else explore_exhaustively();
}

/* Nothing to do but to wait: the others go first. */
static void give_way(uint64_t ns, const char *what) {
	sim.steps++;
	sim.now += ns;
	note(what, NULL, 0);
	drain_old();
	if (sim.steps > sim.plan.steps_max) leave("hangs: too many steps");
	self()->priority = --sim.lowest;
	unsigned list[SIM_THREADS], count = others(list);
	if (count) go(sim.plan.order == SIM_RANDOM ? highest(list, count) : list[0]);
}

/* A load that nothing orders may have been made at any time since the last one that something did. */
static uint64_t early(const struct thread *thread, const volatile void *at, uint64_t value) {
	uint64_t before = value;
	for (unsigned i = 1; i <= PAST && i <= sim.pokes; i++) {
		const struct past *past = &sim.past[(sim.pokes - i) % PAST];
		if (past->step <= thread->barrier || (past->at == at && past->thread == thread - sim.thread)) break;
		if (past->at == at) before = past->value;
	}
	if (before == value) return value;
	return (sim.plan.order == SIM_RANDOM ? sim_random(2) : decide(2)) ? before : value;
}

/* ---- what the sources call -------------------------------------------------------------------------------------------------- */
uint64_t sim_load(const volatile void *at, unsigned size, int order) {
	if (is_private(at)) return peek(at, size);
	step("load", at, 0);
	struct thread *thread = self();
	for (unsigned i = thread->buffered; i-- > 0;)
		if (thread->buffer[i].at == at) return thread->buffer[i].value;
	uint64_t value = order == memory_order_relaxed && sim.plan.early_loads ? early(thread, at, peek(at, size)) : peek(at, size);
	if (order != memory_order_relaxed) thread->barrier = sim.steps;
	sim.trace[sim.steps % TRACE].value = value;
	return value;
}

void sim_store(volatile void *at, unsigned size, uint64_t value, int order) {
	if (is_private(at)) {
		poke(self(), at, size, value);
		return;
	}
	step("store", at, value);
	struct thread *thread = self();
	if (order == memory_order_seq_cst || thread->buffered == BUFFER) drain(thread, thread->buffered);
	if (order == memory_order_seq_cst) poke(self(), at, size, value);
	else if (sim.plan.order == SIM_RANDOM && !thread->buffered && sim_random(2)) poke(self(), at, size, value);
	else thread->buffer[thread->buffered++] = (struct buffered){at, size, value, sim.now};
}

uint64_t sim_update(volatile void *at, unsigned size, enum sim_update update, uint64_t operand) {
	if (!is_private(at)) step("update", at, operand);
	drain(self(), self()->buffered);
	self()->barrier = sim.steps;
	uint64_t before = peek(at, size);
	switch (update) {
	case SIM_ADD: poke(self(), at, size, before + operand); break;
	case SIM_SUB: poke(self(), at, size, before - operand); break;
	case SIM_OR: poke(self(), at, size, before | operand); break;
	case SIM_AND: poke(self(), at, size, before & operand); break;
	case SIM_SET: poke(self(), at, size, operand); break;
	}
	return before;
}

/* No step: what it orders is the steps around it. */
void sim_fence(int order) {
	if (order != memory_order_release) self()->barrier = sim.steps;
	if (order == memory_order_seq_cst) drain(self(), self()->buffered);
}

static bool is_unlocked(void *word) { return *(volatile uint32_t *)word == 0; }
int sim_mutex_lock(void *mutex) {
	uint32_t unlocked = 0;
	while (!sim_swap(mutex, sizeof unlocked, &unlocked, 1)) {
		unlocked = 0;
		sim_wait_until(is_unlocked, mutex);
	}
	return 0;
}
int sim_mutex_unlock(void *mutex) {
	sim_update(mutex, sizeof(uint32_t), SIM_SET, 0);
	return 0;
}

bool sim_swap(volatile void *at, unsigned size, void *expected, uint64_t desired) {
	if (!is_private(at)) step("swap", at, desired);
	drain(self(), self()->buffered);
	self()->barrier = sim.steps;
	uint64_t before = peek(at, size);
	if (before == peek(expected, size)) {
		poke(self(), at, size, desired);
		return true;
	}
	note("swap no", at, before);
	memcpy(expected, &before, size); /* the caller's own */
	return false;
}

uint64_t dc_monotonic_ns(void) { return sim.now; }
uint64_t dc_ticks(void) { return sim.now; }
uint32_t dc_ticks_per_us(void) { return 1000; }
void dc_pause(void) { give_way(SIM_PAUSE_NS, "pause"); }
int sim_cpu(void) { return (int)self()->cpu; }
int sim_yield(void) {
	drain(self(), self()->buffered);
	give_way(SIM_YIELD_NS, "yield");
	return 0;
}

int dc_futex_wait_any(const struct dc_futex_expectation *list, unsigned count, uint64_t timeout_ns) {
	step("sleep", list[0].word, list[0].expected);
	struct thread *thread = self();
	drain(thread, thread->buffered);
	if (count > WORDS) leave("sleeps on too many words");
	for (unsigned i = 0; i < count; i++)
		if (peek(list[i].word, 4) != list[i].expected) return -EAGAIN;
	for (unsigned i = 0; i < count; i++) thread->word[i] = list[i].word;
	thread->words = count;
	thread->since = sim.steps;
	thread->state = SLEEPS; /* no time-out: what only a time-out helps is what we look for */
	hand_over();
	return thread->woken;
}

int dc_futex_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ns) {
	return dc_futex_wait_any(&(struct dc_futex_expectation){word, expected}, 1, timeout_ns) == -EAGAIN ? -EAGAIN : 0;
}

int dc_futex_wake(_Atomic uint32_t *word, int count) {
	step("wake", word, (uint64_t)count);
	drain(self(), self()->buffered);
	int woken = 0;
	while (woken < count) {
		struct thread *found = NULL;
		for (unsigned i = 0; i < sim.threads; i++) {
			struct thread *thread = &sim.thread[i];
			if (thread->state != SLEEPS || (found && found->since <= thread->since)) continue;
			for (unsigned k = 0; k < thread->words; k++)
				if (thread->word[k] == word) {
					found = thread;
					thread->woken = (int)k;
				}
		}
		if (!found) break;
		found->state = READY;
		woken++;
	}
	return woken;
}

void sim_wait_until(bool (*condition)(void *argument), void *argument) {
	struct thread *thread = self();
	drain(thread, thread->buffered);
	if (condition(argument)) return;
	thread->condition = condition;
	thread->condition_argument = argument;
	thread->state = WAITS;
	hand_over();
}

/* ---- a run ------------------------------------------------------------------------------------------------------------------ */
void sim_begin(const struct sim_plan *plan) {
	sim.plan = *plan;
	sim.threads = sim.steps = sim.pokes = sim.preemptions = sim.choices = sim.victim_steps = 0;
	sim.now = 1000;
	sim.stopped = sim.halted = false;
	sim.may_stop = plan->stop != SIM_NO_STOP;
	sim.failure = NULL;
	sim.random = (plan->seed + 1) * UINT64_C(0x9e3779b97f4a7c15) | 1;
	for (unsigned i = 0; i < 8; i++) sim_random(2);
	sim.private_from = sim.private_to = NULL;
	sim.lowest = 0;
	memset(sim.trace, 0, sizeof sim.trace);
	if (plan->order != SIM_RANDOM) return;
	for (unsigned i = 0; i < plan->changes; i++) sim.change_at[i] = (unsigned)sim_random(sim.steps_seen) + 1;
	sim.stop_at = (unsigned)sim_random(sim.victim_steps_seen);
}

/* At the foot of a stack; each run starts from here again, whatever the one before left on it. */
static void thread_main(void) {
	if (!_setjmp(self()->start)) _longjmp(sim.outside, 1);
	self()->body(self()->argument);
	drain(self(), self()->buffered);
	self()->state = DONE;
	for (;;) hand_over();
}

/* What a thread starts from: the one time that its stack is entered by the system's means. */
static void make_start(unsigned at) {
	static ucontext_t context;
	getcontext(&context);
	context.uc_stack.ss_sp = stacks[at];
	context.uc_stack.ss_size = STACK_BYTES;
	context.uc_link = NULL;
	makecontext(&context, thread_main, 0);
	sim.current = at;
	if (!_setjmp(sim.outside)) setcontext(&context);
	sim.started = at + 1;
}

void sim_thread(const char *name, unsigned process, unsigned cpu, sim_body body, void *argument) {
	unsigned at = sim.threads++;
	if (at >= SIM_THREADS) abort();
	struct thread *thread = &sim.thread[at];
	if (at == sim.started) make_start(at);
	memset(thread, 0, offsetof(struct thread, start));
	thread->name = name;
	thread->process = process;
	thread->cpu = cpu;
	thread->body = body;
	thread->argument = argument;
	thread->buffered = thread->words = thread->barrier = 0;
	thread->kept_until = 0;
	thread->state = READY;
	thread->priority = (int64_t)sim_random(1u << 20) + 1;
	thread->resume = &thread->start;
}

void sim_private(const void *from, size_t size) {
	sim.private_from = from;
	sim.private_to = sim.private_from + size;
}

const char *sim_run(const char *(*idle)(void)) {
	idle_question = idle;
	if (!_setjmp(sim.outside)) {
		unsigned list[SIM_THREADS];
		sim.current = sim.threads - 1;
		unsigned count = others(list);
		list[count++] = sim.current;
		sim.current = sim.plan.order == SIM_RANDOM ? highest(list, count) : list[decide(count)];
		_longjmp(*self()->resume, 1);
	}
	if (sim.victim_steps > sim.victim_steps_seen) sim.victim_steps_seen = sim.victim_steps;
	if (sim.steps > sim.steps_seen && sim.steps < 4000) sim.steps_seen = sim.steps;
	return sim.failure;
}
