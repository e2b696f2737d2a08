#ifndef DICICLO_SIM_SCENARIOS_H
#define DICICLO_SIM_SCENARIOS_H

#include <stddef.h>

#include "machine.h"

enum sim_stamps { SIM_NO_STAMPS, SIM_ATTRIBUTES, SIM_NAMES, SIM_LAST_NAMES };
struct sim_scenario {
	const char *name;
	enum sim_stamps stamps; /* stamps.c: of what `workers` changers make `requests` changes each */
	enum sim_pages { SIM_NO_PAGES, SIM_UPDATES, SIM_REPLACEMENTS, SIM_EVICTIONS, SIM_POSTS, SIM_FILES } pages; /* pages.c: how `requests` changes are made */
	bool mailboxes;        /* else the queue, of 1 << DC_QUEUE_SHIFT slots */
	unsigned workers, clients, requests;
	unsigned running_target;
	unsigned more_threads; /* of client 0 */
	enum sim_stop stop;    /* of client 1 */
	bool hostile;          /* client 1 */
	bool blocks;           /* the first request of client 0 is answered only when another has been */
	bool again;            /* with `blocks`: so is each, when as many of client 1's have been */
	bool late;             /* clients begin when all workers sleep; client 1, with `blocks`, when a worker has blocked */
	bool leaves;           /* the further threads of client 0 may stop for ever in the middle of a call, as by longjmp */
	bool attaches;         /* client 1 comes while the workers are at it */
	bool together;         /* all on one CPU: nobody spins */
	bool more_together;    /* so are the further threads, else on a CPU of their own */
	bool yields;           /* who waits beside its peer yields first; else it sleeps at once, as after yields that did not pay, which is where wake-ups can be lost */
	bool punctual;         /* in exhaustive runs, where nobody is kept from running: how long requests take is checked */
};

const char *sim_scenario_run(const struct sim_scenario *scenario, const struct sim_plan *plan);
const char *sim_stamps_run(const struct sim_scenario *scenario, const struct sim_plan *plan);
const char *sim_pages_run(const struct sim_scenario *scenario, const struct sim_plan *plan);
uint64_t sim_scenario_longest_ns(void);

#endif
