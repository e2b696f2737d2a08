/*
 * yielding_test.c - what a client learns of the two ways of waiting beside a worker on its CPU, and a worker of its yields, in made-up time: threads that ask again as soon as they are answered, on a
 * CPU where a call takes so and so long in either way.
 */
#include <stdio.h>

#include "yielding.h"

#define THREADS_MAX 16u

static unsigned passed, failed;
static void check(bool ok, const char *what, unsigned share) {
	if (ok) passed++;
	else failed++;
	if (!ok) fprintf(stderr, "FAILED: %s (%u per 1000 yielded)\n", what, share);
}

struct costs {
	unsigned yields_us, sleeps_us; /* a call */
	unsigned alone;                /* who sleeps and wakes has the CPU for so many calls, while the others wait */
	unsigned long_every, long_us;  /* each so manyeth call takes so long by itself */
};

static uint64_t now;
static unsigned calls;

/* How many of 1000 calls began with yields. */
static unsigned run(struct dc_yield_trial *trial, unsigned threads, unsigned count, struct costs costs) {
	bool sleeps[THREADS_MAX];
	unsigned yielded = 0, turn = 0;
	for (unsigned i = 0; i < threads; i++) sleeps[i] = dc_trial_begin(trial, now);
	for (unsigned i = 0; i < count; i++) {
		bool slept = sleeps[turn], is_long = costs.long_every && ++calls % costs.long_every == 0;
		now += (uint64_t)(is_long ? costs.long_us : slept ? costs.sleeps_us : costs.yields_us) * dc_ticks_per_us();
		dc_trial_end(trial, now);
		yielded += !slept;
		sleeps[turn] = dc_trial_begin(trial, now);
		if (!slept || !costs.alone || i % costs.alone == 0) turn = (turn + 1) % threads;
	}
	for (unsigned i = 0; i < threads; i++) dc_trial_end(trial, now);
	return (unsigned)(1000ull * yielded / count);
}

/* The same, after `settle` calls that do not count. */
static unsigned run_settled(struct dc_yield_trial *trial, unsigned threads, unsigned settle, unsigned count, struct costs costs) {
	run(trial, threads, settle, costs);
	return run(trial, threads, count, costs);
}

static void trials(void) {
	struct dc_yield_trial trial = {0};
	const struct costs yields = {.yields_us = 8, .sleeps_us = 17}, sleeps = {.yields_us = 17, .sleeps_us = 8}, slices = {.yields_us = 3000, .sleeps_us = 20};
	unsigned share = run(&trial, 8, 50000, yields);
	check(share > 950, "eight threads: yields, which are quicker", share);
	share = run_settled(&trial, 8, 4000, 50000, sleeps);
	check(share < 50, "then sleeps, which are quicker now", share);
	share = run_settled(&trial, 1, 4000, 50000, yields);
	check(share > 950, "one thread after eight: yields", share);
	share = run_settled(&trial, 1, 1000, 100000, slices);
	check(share < 2, "beside a neighbour that takes its time slices: next to no yields", share);
	share = run_settled(&trial, 1, 100000, 100000, yields);
	check(share > 950, "and after it yields again", share);

	trial = (struct dc_yield_trial){0};
	share = run(&trial, 1, 1000, slices);
	check(share < 30, "from the beginning beside such a neighbour: few yields", share);
	trial = (struct dc_yield_trial){0};
	share = run(&trial, 8, 50000, (struct costs){.yields_us = 10, .sleeps_us = 17, .alone = 180});
	check(share > 950, "the one that is served out of turn does not hide that seven wait", share);
	trial = (struct dc_yield_trial){0};
	share = run(&trial, 4, 200000, (struct costs){.yields_us = 10, .sleeps_us = 20, .long_every = 1000, .long_us = 5000});
	check(share > 800, "calls that take long by themselves are no reason to sleep", share);
}

/* A worker's: how many of `count` waits began with yields, of which every `bad`th takes `us` and brings nothing, and the others save `saves`. */
static unsigned wait(struct dc_yielding *yielding, unsigned count, unsigned bad, unsigned us, unsigned saves) {
	unsigned yielded = 0;
	for (unsigned i = 0; i < count; i++) {
		if (!dc_yield_pays(yielding)) continue;
		bool vain = ++yielded % bad == 0;
		dc_yield_learn(yielding, !vain, (uint64_t)(vain ? us : 20) * dc_ticks_per_us(), saves);
	}
	return (unsigned)(1000ull * yielded / count);
}

static void workers(void) {
	const unsigned one = DC_YIELD_SAVES_US, several = DC_YIELD_SAVES_SEVERAL_US;
	struct dc_yielding yielding = {0};
	unsigned share = wait(&yielding, 100000, 1, 2, several);
	check(share < 10, "a worker: nothing ever comes", share);
	yielding = (struct dc_yielding){0};
	share = wait(&yielding, 1000000, 1, 3000, several);
	check(share < 2, "a slice each time", share);
	yielding = (struct dc_yielding){0};
	wait(&yielding, 2000, UINT32_MAX, 0, several);
	share = wait(&yielding, 100000, 1000, 3000, several);
	check(share == 1000, "a slice in a thousand waits that served several", share);
	share = wait(&yielding, 100000, 3, 2, several);
	check(share == 1000, "nothing, one time in three", share);
	yielding = (struct dc_yielding){0};
	share = wait(&yielding, 100000, 2, 2, one);
	check(share < 900, "nothing, one time in two, for one", share);
	yielding = (struct dc_yielding){0};
	share = wait(&yielding, 100000, 200, 3000, one);
	check(share < 250, "a slice in two hundred waits that served one", share);
}

int main(void) {
	trials();
	workers();
	printf("%u passed, %u failed\n", passed, failed);
	return failed != 0;
}
