/*
 * yielding.h - waiting for a peer on the same CPU by giving it the CPU: a yield on either side costs what the two switches cost, where sleeping takes a futex wait and a wake on either side besides.
 *
 * It pays only while the peer is the one who gets the CPU, and soon: who yields goes behind everybody who wants this CPU, at each call; who sleeps and is woken does not. So one yields a few times at
 * most, then sleeps, and learns whether it pays: a worker by each of its waits (dc_yielding), a client by comparing the two ways (dc_yield_trial).
 *
 * By no hooked operation (native/test/ipc/sim): no order depends on what was learned, and threads may learn at the same time: what one of them overwrites is one wait among many.
 */
#ifndef DICICLO_IPC_YIELDING_H
#define DICICLO_IPC_YIELDING_H

#include <sched.h>
#include <stdbool.h>

#include "waiting.h"

/* Once for the peer to run, once more should another have been next. */
#ifndef DC_YIELDS /* tests look through fewer orders */
#define DC_YIELDS 2u
#endif
#define DC_YIELD_NEVER UINT32_MAX /* as `skip`, `rounds`: sleeps, whatever comes: tests */
#define DC_YIELD_SLICE_US 1000u   /* beyond, somebody had a time slice */

#define DC_GET(of, field) __atomic_load_n(&(of)->field, __ATOMIC_RELAXED)
#define DC_SET(of, field, value) __atomic_store_n(&(of)->field, value, __ATOMIC_RELAXED)

/*
 * A worker's. Each time that nothing came it sleeps at once for twice as many waits, up to 255, and for thousands when somebody else ran for a time slice meanwhile; unless it has paid often enough
 * since the last time: what is lost now and then is less than what was saved.
 */
#define DC_YIELD_SKIP_MAX 255u
#define DC_YIELD_PAYS_US 200u /* beyond, what a yield saves is little beside how long requests from other CPUs may have waited */
#define DC_YIELD_SLICE_SKIP 1023u
#define DC_YIELD_SLICE_SKIP_MAX 16383u
/* In waits that paid. A yield saves a few microseconds, and costs one where nobody runs, or a slice. */
#define DC_YIELD_PRICE 8u
#define DC_YIELD_SLICE_PRICE 256u
#define DC_YIELD_CREDIT_MAX 1024u

struct dc_yielding {
	uint32_t skip;   /* so many waits sleep at once */
	uint32_t last;   /* how many it was the last time that it did not pay; 0: it does */
	uint32_t credit; /* waits that paid, less what was lost */
};

static inline bool dc_yield_pays(struct dc_yielding *yielding) {
	uint32_t skip = DC_GET(yielding, skip);
	if (skip && skip != DC_YIELD_NEVER) DC_SET(yielding, skip, skip - 1);
	return !skip;
}

/* After a wait that began with yields: whether what was waited for came, and how long it took. */
static inline void dc_yield_learn(struct dc_yielding *yielding, bool came, uint64_t ticks) {
	uint32_t last = DC_GET(yielding, last), credit = DC_GET(yielding, credit), rate = dc_ticks_per_us();
	bool slice = ticks > (uint64_t)DC_YIELD_SLICE_US * rate;
	if (came && ticks <= (uint64_t)DC_YIELD_PAYS_US * rate) {
		if (last) DC_SET(yielding, last, 0);
		if (credit < DC_YIELD_CREDIT_MAX) DC_SET(yielding, credit, credit + 1);
		return;
	}
	uint32_t price = slice ? DC_YIELD_SLICE_PRICE : DC_YIELD_PRICE;
	if (credit >= price) {
		DC_SET(yielding, credit, credit - price);
		return;
	}
	uint32_t least = slice ? DC_YIELD_SLICE_SKIP : 0, most = slice ? DC_YIELD_SLICE_SKIP_MAX : DC_YIELD_SKIP_MAX;
	last = 2 * last + 1 < least ? least : 2 * last + 1 > most ? most : 2 * last + 1;
	DC_SET(yielding, last, last);
	DC_SET(yielding, skip, last);
}

/*
 * A client's: with several threads on one CPU it is not each wait that pays or does not, but all of them together. While every one yields, one switch to the worker serves them all; as soon as some
 * sleep and are woken, each wake-up is a switch of its own. So a process waits in one way, or in the other, and measures what a wait takes: rounds of the better one, and one of the other now and
 * then, twice as rare each time that it was no better, soon again when what a wait takes has changed. What a wait takes is the time that threads have waited by the waits that ended (Little's law):
 * one that waits for long counts while it does.
 */
#define DC_TRIAL_ROUND 64u      /* waits that are measured */
#define DC_TRIAL_SETTLE 32u     /* after a change: threads are still waiting in the other way */
#define DC_TRIAL_APART_MIN 4u   /* rounds from one trial to the next */
#define DC_TRIAL_APART_MAX 256u
#define DC_TRIAL_LONG_US 250u   /* more than this from one event to the next counts as this: what was waited for may have taken that long by itself */

struct dc_yield_trial {
	uint64_t since, waited, mean; /* ticks: up to when, and how long, threads have waited in this round; a wait in the way that is kept to, 0: not known */
	uint32_t waiting;             /* threads. One that leaves by longjmp counts for good, in both ways */
	uint32_t ended;               /* waits in this round */
	uint32_t most, before;        /* threads that waited at the same time, in this round and in the one before */
	uint32_t rounds, apart;       /* until the next trial; how many it was from the last to the next */
	bool sleeps, trial;           /* how one waits now; that this is being tried */
};

static inline void dc_trial_begin_round(struct dc_yield_trial *trial, uint32_t settled) {
	DC_SET(trial, ended, settled);
	DC_SET(trial, waited, 0);
	DC_SET(trial, before, DC_GET(trial, most));
	DC_SET(trial, most, 0);
}

static inline void dc_trial_turn(struct dc_yield_trial *trial, bool tries, bool sleeps) {
	DC_SET(trial, trial, tries);
	DC_SET(trial, sleeps, sleeps);
	dc_trial_begin_round(trial, 0);
}

/* The way that is tried took `mean` ticks a wait. */
static inline void dc_trial_judge(struct dc_yield_trial *trial, uint64_t mean) {
	uint64_t kept = DC_GET(trial, mean);
	uint32_t apart = 2 * DC_GET(trial, apart);
	bool better = mean < kept - kept / 8, sleeps = DC_GET(trial, sleeps);
	if (better) DC_SET(trial, mean, mean);
	if (better || apart < DC_TRIAL_APART_MIN) apart = DC_TRIAL_APART_MIN;
	if (apart > DC_TRIAL_APART_MAX) apart = DC_TRIAL_APART_MAX;
	DC_SET(trial, apart, apart);
	DC_SET(trial, rounds, apart);
	dc_trial_turn(trial, false, better ? sleeps : !sleeps);
}

/* The way that is kept to took `mean` ticks a wait. */
static inline void dc_trial_keep(struct dc_yield_trial *trial, uint64_t mean) {
	uint64_t kept = DC_GET(trial, mean);
	uint32_t rounds = DC_GET(trial, rounds);
	bool changed = mean > kept + kept / 2 || mean < kept - kept / 3;
	if (changed) {
		DC_SET(trial, apart, DC_TRIAL_APART_MIN / 2);
		if (rounds > DC_TRIAL_APART_MIN / 2) rounds = DC_TRIAL_APART_MIN / 2;
	}
	DC_SET(trial, mean, changed ? mean : kept - kept / 4 + mean / 4);
	if (rounds <= 1) {
		dc_trial_turn(trial, true, !DC_GET(trial, sleeps));
		return;
	}
	DC_SET(trial, rounds, rounds - 1);
	dc_trial_begin_round(trial, DC_TRIAL_SETTLE);
}

/* `now`: somebody begins or ends a wait. */
static inline uint64_t dc_trial_count(struct dc_yield_trial *trial, uint64_t now, int32_t more) {
	uint64_t since = DC_GET(trial, since), most = (uint64_t)DC_TRIAL_LONG_US * dc_ticks_per_us(), waited = DC_GET(trial, waited);
	uint32_t waiting = __atomic_fetch_add(&trial->waiting, (uint32_t)more, __ATOMIC_RELAXED);
	if (now > since) waited += waiting * (now - since < most ? now - since : most);
	DC_SET(trial, since, now);
	DC_SET(trial, waited, waited);
	return waited;
}

/* Whether one thread waits at a time: there are no others to let run first. */
static inline bool dc_trial_alone(struct dc_yield_trial *trial) { return DC_GET(trial, most) <= 1 && DC_GET(trial, before) <= 1; }

/* Before a wait; whether it is to sleep at once. `now`: ticks. */
static inline bool dc_trial_begin(struct dc_yield_trial *trial, uint64_t now) {
	dc_trial_count(trial, now, 1);
	uint32_t waiting = DC_GET(trial, waiting);
	if (waiting > DC_GET(trial, most)) DC_SET(trial, most, waiting);
	return DC_GET(trial, rounds) == DC_YIELD_NEVER || DC_GET(trial, sleeps);
}

static inline void dc_trial_end(struct dc_yield_trial *trial, uint64_t now) {
	uint64_t waited = dc_trial_count(trial, now, -1), mean = DC_GET(trial, mean), most = (uint64_t)DC_TRIAL_LONG_US * dc_ticks_per_us();
	uint32_t ended = DC_GET(trial, ended) + 1, measured = ended > DC_TRIAL_SETTLE ? ended - DC_TRIAL_SETTLE : 0;
	if (DC_GET(trial, rounds) == DC_YIELD_NEVER) return;
	DC_SET(trial, ended, ended);
	if (DC_GET(trial, trial) && waited > DC_TRIAL_ROUND * mean) dc_trial_judge(trial, UINT64_MAX); /* as long already as the whole round would */
	else if (ended == DC_TRIAL_SETTLE) DC_SET(trial, waited, 0);
	else if (measured >= DC_TRIAL_ROUND) (DC_GET(trial, trial) ? dc_trial_judge : dc_trial_keep)(trial, waited / measured);
	else if (!mean && waited > 8 * most) dc_trial_keep(trial, waited / ended); /* the first round, and slices: no use in waiting for its end */
}

#undef DC_GET
#undef DC_SET

#endif
