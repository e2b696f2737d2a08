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
#define DC_YIELD_NEVER UINT32_MAX /* as `skip`: sleeps, whatever comes: tests */
#define DC_YIELD_SLICE_US 1000u   /* beyond, somebody had a time slice */

#define DC_GET(of, field) __atomic_load_n(&(of)->field, __ATOMIC_RELAXED)
#define DC_SET(of, field, value) __atomic_store_n(&(of)->field, value, __ATOMIC_RELAXED)

/*
 * A worker's. Each time that nothing came it sleeps at once for twice as many waits, up to 255, and for one to four thousand when somebody else ran for a time slice meanwhile; unless it has paid often enough
 * since the last time: what is lost now and then is less than what was saved.
 */
#define DC_YIELD_SKIP_MAX 255u
#define DC_YIELD_PAYS_US 200u /* beyond, what a yield saves is little beside how long requests from other CPUs may have waited */
#define DC_YIELD_SLICE_SKIP 1023u
#define DC_YIELD_SLICE_SKIP_MAX 4095u
/* In microseconds: what a yield saves, for one that asks and for several, whom one switch serves; what it costs is measured. */
#define DC_YIELD_SAVES_US 2u
#define DC_YIELD_SAVES_SEVERAL_US 8u
#define DC_YIELD_COSTS_US 4u /* at least */
#define DC_YIELD_CREDIT_MAX_US 16384u

struct dc_yielding {
	uint32_t skip;   /* so many waits sleep at once */
	uint32_t last;   /* how many it was the last time that it did not pay; 0: it does */
	uint32_t credit; /* microseconds saved, less what was lost */
};

static inline bool dc_yield_pays(struct dc_yielding *yielding) {
	uint32_t skip = DC_GET(yielding, skip);
	if (skip && skip != DC_YIELD_NEVER) DC_SET(yielding, skip, skip - 1);
	return !skip;
}

/* After a wait that began with yields: whether what was waited for came, how long it took, and what it saves then. */
static inline void dc_yield_learn(struct dc_yielding *yielding, bool came, uint64_t ticks, uint32_t saves_us) {
	uint32_t last = DC_GET(yielding, last), credit = DC_GET(yielding, credit), rate = dc_ticks_per_us();
	bool slice = ticks > (uint64_t)DC_YIELD_SLICE_US * rate;
	if (came && ticks <= (uint64_t)DC_YIELD_PAYS_US * rate) {
		if (last) DC_SET(yielding, last, 0);
		if (credit < DC_YIELD_CREDIT_MAX_US) DC_SET(yielding, credit, credit + saves_us);
		return;
	}
	uint64_t cost = ticks / rate < DC_YIELD_COSTS_US ? DC_YIELD_COSTS_US : ticks / rate;
	if (credit >= cost) {
		DC_SET(yielding, credit, credit - (uint32_t)cost);
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
 * then. What a wait takes is the time that threads have waited by the waits that ended (Little's law): one that waits for long counts while it does.
 *
 * A trial that is lost may cost a neighbour's time slice, so it comes to its end as soon as it is lost, and the next one is 32 times as far as it was long; then 64 times, up to 512, and 32 again when
 * what a wait takes has changed.
 */
#define DC_TRIAL_ROUND 64u    /* waits that are measured */
#define DC_TRIAL_SETTLE 32u   /* after a change: threads are still waiting in the other way */
#define DC_TRIAL_APART_WON 4u /* soon: it may have been chance */
#define DC_TRIAL_APART_MIN 32u
#define DC_TRIAL_APART_MAX 512u
#define DC_TRIAL_LONG_US 4000u /* a slice. More than this from one event to the next counts as this: what was waited for may have taken that long by itself */

struct dc_yield_trial {
	uint64_t since, waited;       /* ticks: up to when, and how long, threads have waited in this round */
	uint64_t mean, last;          /* ticks: a wait in the way that is kept to, 0: not known; in its last round alone */
	uint64_t began, took, next;   /* ticks: the trial; the one before; when the next one is */
	uint32_t waiting;             /* threads. One that leaves by longjmp counts for good, in both ways */
	uint32_t ended;               /* waits in this round */
	uint32_t most, before;        /* threads that waited at the same time, in this round and in the one before */
	uint32_t apart;               /* times as far as `took` */
	bool sleeps, trial, fixed;    /* how one waits now; that this is being tried; for good */
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

static inline void dc_trial_plan(struct dc_yield_trial *trial, uint64_t now, uint32_t apart) {
	DC_SET(trial, apart, apart < DC_TRIAL_APART_MAX ? apart : DC_TRIAL_APART_MAX);
	DC_SET(trial, next, now + DC_GET(trial, apart) * DC_GET(trial, took));
}

/* The way that is tried took `mean` ticks a wait. */
static inline void dc_trial_judge(struct dc_yield_trial *trial, uint64_t mean, uint64_t now) {
	uint64_t kept = DC_GET(trial, mean);
	uint32_t apart = 2 * DC_GET(trial, apart);
	bool better = mean < kept - kept / 8, sleeps = DC_GET(trial, sleeps);
	if (better) {
		DC_SET(trial, mean, mean);
		DC_SET(trial, last, mean);
	}
	DC_SET(trial, took, now - DC_GET(trial, began));
	dc_trial_plan(trial, now, better ? DC_TRIAL_APART_WON : apart < DC_TRIAL_APART_MIN ? DC_TRIAL_APART_MIN : apart);
	dc_trial_turn(trial, false, better ? sleeps : !sleeps);
}

/* The way that is kept to took `mean` ticks a wait. Of two rounds the better one counts: the other may have had something long in it. */
static inline void dc_trial_keep(struct dc_yield_trial *trial, uint64_t mean, uint64_t now) {
	uint64_t kept = DC_GET(trial, mean), last = DC_GET(trial, last), better = last && last < mean ? last : mean;
	bool changed = better > kept + kept / 2 || better < kept - kept / 3;
	DC_SET(trial, last, mean);
	DC_SET(trial, mean, changed ? better : kept - kept / 4 + better / 4);
	if (changed && DC_GET(trial, apart) > DC_TRIAL_APART_MIN) dc_trial_plan(trial, DC_GET(trial, began) + DC_GET(trial, took), DC_TRIAL_APART_MIN);
	if (now < DC_GET(trial, next)) {
		dc_trial_begin_round(trial, DC_TRIAL_SETTLE);
		return;
	}
	DC_SET(trial, began, now);
	dc_trial_turn(trial, true, !DC_GET(trial, sleeps));
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
	return DC_GET(trial, sleeps);
}

static inline void dc_trial_end(struct dc_yield_trial *trial, uint64_t now) {
	uint64_t waited = dc_trial_count(trial, now, -1), mean = DC_GET(trial, mean);
	uint32_t ended = DC_GET(trial, ended) + 1, measured = ended > DC_TRIAL_SETTLE ? ended - DC_TRIAL_SETTLE : 0;
	if (DC_GET(trial, fixed)) return;
	DC_SET(trial, ended, ended);
	bool tries = DC_GET(trial, trial);
	if (tries && waited > DC_TRIAL_ROUND * mean) dc_trial_judge(trial, UINT64_MAX, now); /* as long already as the whole round would */
	else if (ended == DC_TRIAL_SETTLE) DC_SET(trial, waited, 0);
	else if (measured >= DC_TRIAL_ROUND) (tries ? dc_trial_judge : dc_trial_keep)(trial, waited / measured, now);
	else if (!mean && waited > 2ull * DC_TRIAL_LONG_US * dc_ticks_per_us()) dc_trial_keep(trial, waited / ended, now); /* the first round, and slices: no use in waiting for its end */
}

/* Sleeps, whatever comes: tests. */
static inline void dc_trial_fix(struct dc_yield_trial *trial) { trial->sleeps = trial->fixed = true; }

#undef DC_GET
#undef DC_SET

#endif
