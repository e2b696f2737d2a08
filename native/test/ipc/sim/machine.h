/*
 * machine.h - a machine of a few processors that runs one thread at a time, step by step, in an order of our choosing: threads are coroutines, a step is one atomic operation or system call,
 * time is virtual. Two ways to choose:
 *   exhaustive   every order with at most `preemptions` switches away from a thread that could go on (CHESS), depth first; switches at a wait cost nothing;
 *   random       random priorities with a few random points where the running thread falls behind all others (PCT), or is kept from running for a random time, by seed.
 * Memory is x86's (TSO): a store that is no read-modify-write and not sequentially consistent may stand in its thread's buffer for a while, invisible to others, until the thread does one
 * that is, or a system call. With `early_loads` a relaxed load may besides answer what the word
 * was at any time since its thread's last load that was not, read-modify-write or acquire fence. Weaker machines than that are the thread sanitizer's part.
 * A process can be stopped at any of its steps: for ever (as good as killed: its stores do arrive), or until nobody else can go on.
 */
#ifndef DICICLO_SIM_MACHINE_H
#define DICICLO_SIM_MACHINE_H

#include "hooks.h"

#define SIM_THREADS 8u
#define SIM_STEP_NS 10u
#define SIM_PAUSE_NS 40u
#define SIM_YIELD_NS 500u
#define SIM_KEPT_NS 40000u /* longest time for which a thread is kept from running */

enum sim_order { SIM_EXHAUSTIVE, SIM_RANDOM };
enum sim_stop { SIM_NO_STOP, SIM_STOP_FOR_EVER, SIM_STOP_AND_GO_ON };

struct sim_plan {
	enum sim_order order;
	unsigned preemptions;   /* exhaustive */
	unsigned changes;       /* random: points of change */
	uint64_t seed;          /* random */
	enum sim_stop stop;     /* of process 1 */
	bool early_loads;       /* loads need not be made in the program's order, as on machines other than x86 */
	unsigned steps_max;     /* a run of more steps hangs */
};

/* What a run is made of. `idle` is asked when no thread can go on: an explanation of what is wrong, or NULL: the run is over. */
typedef void (*sim_body)(void *argument);
void sim_begin(const struct sim_plan *plan);
void sim_thread(const char *name, unsigned process, unsigned cpu, sim_body body, void *argument);
/* Operations on memory in this range are nobody else's business: no steps. */
void sim_private(const void *from, size_t size);
/* Runs until nobody can go on. NULL, or what went wrong. */
const char *sim_run(const char *(*idle)(void));
/* After a run, exhaustive order: whether there is another; random: the seed counts up. */
bool sim_next(void);
void sim_first(void); /* before the first run of an exploration */

/* From within threads. */
void sim_fail(const char *what);          /* does not return */
void sim_wait_until(bool (*condition)(void *argument), void *argument);
uint64_t sim_now(void);
bool sim_stopped(void);                   /* process 1 has been stopped in this run */
bool sim_halted(void);                    /* and still is */
uint64_t sim_random(uint64_t below);      /* by seed; the same in every exhaustive run */
void sim_trace(void);                     /* prints the last steps of the run */

#endif
