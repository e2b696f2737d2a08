/*
 * sim.c - explores the scenarios: each exhaustively, with 0, 1 and 2 preemptions, up to a number of orders, and as many at random.
 *   sim [SCENARIO [ORDERS]]          exits 0 when all hold; else it prints what does not and the last steps that led there
 *   sim --find SCENARIO [ORDERS]     for a build with a seeded bug (mutate.py): exits 0 when it is found
 * SCENARIO is a part of a name. The orders are the same in every run.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scenarios.h"

#define Q .running_target = 1
static const struct sim_scenario scenarios[] = {
	{"queue: one sender", .workers = 1, .clients = 1, .requests = 3, Q},
	{"queue: one worker", .workers = 1, .clients = 2, .requests = 2, Q},
	{"queue: two workers", .workers = 2, .clients = 3, .requests = 2, .running_target = 2},
	{"queue: full", .workers = 1, .clients = 4, .requests = 1, Q},
	{"queue: on one CPU", .workers = 2, .clients = 2, .requests = 2, Q, .together = true},
	{"queue: yields", .workers = 2, .clients = 2, .requests = 2, Q, .together = true, .yields = true},
	{"queue: yields, threads", .workers = 2, .clients = 1, .requests = 2, .more_threads = 2, Q, .together = true, .more_together = true, .yields = true},
	{"queue: yields, sender elsewhere", .workers = 2, .clients = 1, .requests = 2, .more_threads = 1, Q, .together = true, .yields = true},
	{"queue: yields, sender stands still", .workers = 2, .clients = 2, .requests = 2, Q, .together = true, .yields = true, .stop = SIM_STOP_AND_GO_ON},
	{"queue: blocked worker", .workers = 2, .clients = 2, .requests = 1, Q, .blocks = true},
	{"queue: blocked again", .workers = 2, .clients = 2, .requests = 2, Q, .blocks = true, .again = true},
	{"queue: blocked worker, late sender", .workers = 2, .clients = 2, .requests = 2, Q, .blocks = true, .late = true},
	{"queue: sender dies", .workers = 2, .clients = 3, .requests = 1, Q, .stop = SIM_STOP_FOR_EVER},
	{"queue: sender dies, on time", .workers = 1, .clients = 2, .requests = 2, Q, .stop = SIM_STOP_FOR_EVER, .punctual = true},
	{"queue: sender stands still", .workers = 1, .clients = 3, .requests = 2, Q, .stop = SIM_STOP_AND_GO_ON},
	{"mailboxes: one sender", .mailboxes = true, .workers = 1, .clients = 1, .requests = 3, Q},
	{"mailboxes: one worker", .mailboxes = true, .workers = 1, .clients = 2, .requests = 2, Q},
	{"mailboxes: two workers", .mailboxes = true, .workers = 2, .clients = 2, .requests = 2, .running_target = 2},
	{"mailboxes: threads", .mailboxes = true, .workers = 1, .clients = 1, .requests = 2, .more_threads = 2, Q},
	{"mailboxes: on one CPU", .mailboxes = true, .workers = 2, .clients = 2, .requests = 2, Q, .together = true},
	{"mailboxes: yields", .mailboxes = true, .workers = 2, .clients = 2, .requests = 2, Q, .together = true, .yields = true},
	{"mailboxes: yields, sender dies", .mailboxes = true, .workers = 2, .clients = 2, .requests = 2, Q, .together = true, .yields = true, .stop = SIM_STOP_FOR_EVER},
	{"mailboxes: blocked worker", .mailboxes = true, .workers = 2, .clients = 2, .requests = 2, Q, .blocks = true, .together = true},
	{"mailboxes: blocked again", .mailboxes = true, .workers = 2, .clients = 2, .requests = 2, Q, .blocks = true, .again = true},
	{"mailboxes: blocked worker, late ring", .mailboxes = true, .workers = 2, .clients = 2, .requests = 2, Q, .blocks = true, .late = true},
	{"mailboxes: more than one can listen to", .mailboxes = true, .workers = 1, .clients = 3, .requests = 1, Q},
	{"mailboxes: attach", .mailboxes = true, .workers = 2, .clients = 2, .requests = 2, Q, .attaches = true},
	{"mailboxes: sender dies, on time", .mailboxes = true, .workers = 1, .clients = 2, .requests = 2, Q, .stop = SIM_STOP_FOR_EVER, .punctual = true},
	{"mailboxes: sender stands still", .mailboxes = true, .workers = 2, .clients = 2, .requests = 2, Q, .stop = SIM_STOP_AND_GO_ON},
	{"mailboxes: a thread leaves", .mailboxes = true, .workers = 2, .clients = 1, .requests = 2, .more_threads = 2, Q, .leaves = true, .stop = SIM_STOP_FOR_EVER},
	{"mailboxes: attacker", .mailboxes = true, .workers = 1, .clients = 2, .requests = 2, Q, .hostile = true},
	{"stamps: attributes", .stamps = SIM_ATTRIBUTES, .workers = 1, .requests = 2},
	{"stamps: two changers", .stamps = SIM_ATTRIBUTES, .workers = 2, .requests = 2},
	{"stamps: names", .stamps = SIM_NAMES, .workers = 1, .requests = 3},
	{"stamps: whose last name", .stamps = SIM_LAST_NAMES, .workers = 2, .requests = 1},
	{"stamps: keeper dies", .stamps = SIM_ATTRIBUTES, .workers = 2, .requests = 1, .stop = SIM_STOP_FOR_EVER},
	{"stamps: keeper stands still", .stamps = SIM_NAMES, .workers = 1, .requests = 2, .stop = SIM_STOP_AND_GO_ON},
	{"pages: updated", .pages = SIM_UPDATES, .requests = 2},
	{"pages: replaced", .pages = SIM_REPLACEMENTS, .requests = 2},
	{"pages: another file's in between", .pages = SIM_EVICTIONS, .requests = 2},
	{"pages: posted", .pages = SIM_POSTS, .requests = 2},
	{"pages: file replaced", .pages = SIM_FILES, .requests = 2},
	{"pages: reader dies", .pages = SIM_UPDATES, .requests = 2, .stop = SIM_STOP_FOR_EVER},
	{"pages: reader stands still", .pages = SIM_EVICTIONS, .requests = 2, .stop = SIM_STOP_AND_GO_ON},
};
#define SCENARIOS (sizeof scenarios / sizeof scenarios[0])

static unsigned orders_max = 12000;

static struct sim_plan plan_of(const struct sim_scenario *scenario, enum sim_order order) {
	return (struct sim_plan){.order = order, .preemptions = 2, .changes = 3, .stop = scenario->stop, .early_loads = scenario->stamps || scenario->pages, .steps_max = 20000};
}

static bool report(const struct sim_scenario *scenario, const char *order, unsigned run, const char *wrong, bool print) {
	if (!wrong) return false;
	printf("%s: %s (%s run %u)\n", scenario->name, wrong, order, run);
	if (print) sim_trace();
	return true;
}

static bool explore(const struct sim_scenario *scenario, bool print, unsigned long *runs) {
	sim_scenario_longest_ns();
	for (unsigned preemptions = 0; preemptions <= 2; preemptions++) {
		struct sim_plan plan = plan_of(scenario, SIM_EXHAUSTIVE);
		plan.preemptions = preemptions;
		sim_first();
		unsigned run = 0;
		do {
			++*runs;
			if (report(scenario, "exhaustive", run, sim_scenario_run(scenario, &plan), print)) return true;
		} while (++run < orders_max && sim_next());
		if (print) printf("%-42s %u preemptions: %6u orders%s, longest %llu ns\n", scenario->name, preemptions, run, run < orders_max ? " (all)" : "", (unsigned long long)sim_scenario_longest_ns());
	}
	struct sim_plan plan = plan_of(scenario, SIM_RANDOM);
	struct sim_scenario unhurried = *scenario;
	unhurried.punctual = false; /* a thread of low priority may wait for ever so long */
	sim_first();
	for (; plan.seed < orders_max; plan.seed++) {
		++*runs;
		if (report(scenario, "random", (unsigned)plan.seed, sim_scenario_run(&unhurried, &plan), print)) return true;
	}
	return false;
}

int main(int argc, char **argv) {
	bool find = argc > 1 && !strcmp(argv[1], "--find");
	const char *only = argc > 1 + find ? argv[1 + find] : "";
	if (argc > 2 + find) orders_max = (unsigned)strtoul(argv[2 + find], NULL, 10);
	bool found = false;
	unsigned long runs = 0;
	for (unsigned i = 0; i < SCENARIOS && !(find && found); i++)
		if (strstr(scenarios[i].name, only)) found |= explore(&scenarios[i], !find, &runs);
	printf("%lu orders, %s\n", runs, found ? "wrong" : "all hold");
	return found != find || !runs;
}
