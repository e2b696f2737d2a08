/*
 * workers.h - the service's worker threads: take requests from the queue, wait adaptively, count.
 *
 * Waiting: at most one worker spins at a time; it spins for about the cost of waking an idle virtual CPU (tens of microseconds), less while spinning has not paid, and not at all when
 * the last sender runs on the same CPU, which it would only keep from sending. Everybody else sleeps on one futex. Another worker is woken for waiting requests while fewer
 * than `running_target` run; a worker that may block (dc_block_begin) does not count as running meanwhile.
 */
#ifndef DICICLO_SERVICE_WORKERS_H
#define DICICLO_SERVICE_WORKERS_H

#include <jansson.h>
#include <pthread.h>

#include "instance.h"
#include "queue.h"

enum dc_worker_state { DC_WORKER_RUN, DC_WORKER_SPIN, DC_WORKER_SLEEP, DC_WORKER_BLOCKED };

struct dc_worker {
	unsigned id;
	pthread_t thread;
	uint32_t cpu;          /* last published */
	uint32_t sender_cpu;   /* of the last request */
	unsigned block_depth;
	unsigned together;         /* requests in a row from a sender on this very CPU */
	uint64_t parted_ns, part_interval_ns;
	uint64_t spin_ticks;   /* today's budget */
	_Atomic uint32_t state;
	_Atomic uint64_t handled, spins, sleeps;
};

/* Empties the queue that a dead service left; before dc_workers_start. */
void dc_workers_drop_items(struct dc_queue *queue);
/* Starts `count` workers on the queue. 0, or -errno. */
int dc_workers_start(struct dc_queue *queue, unsigned count, unsigned running_target);
void dc_workers_stop(void);
/* After a client's end: its wake-up may have died with it. */
void dc_workers_kick(void);
json_t *dc_workers_json(void); /* docs/contract.md §4 `queue` */
void dc_workers_reset(void);

/* counters.c: the counters of doors and operations, gathered from all threads. */
json_t *dc_counters_json(const struct dc_instance *instance);
void dc_counters_reset(void);

#endif
