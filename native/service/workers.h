/*
 * workers.h - the service's worker threads: they take requests (ipc/receiver.h, where the waiting is), serve them, count.
 */
#ifndef DICICLO_SERVICE_WORKERS_H
#define DICICLO_SERVICE_WORKERS_H

#include <jansson.h>
#include <pthread.h>

#include "instance.h"
#include "receiver.h"

struct dc_worker {
	unsigned id;
	pthread_t thread;
	struct dc_seat seat;
	unsigned together;         /* requests in a row from a sender on this very CPU */
	uint64_t together_since, pace_together; /* ticks: of the first of them; from one to the next */
	uint64_t parted_at, part_interval_us;   /* ticks: when it last stepped to another CPU */
	bool parted;                            /* and is not judged yet */
	unsigned apart;                         /* requests from another CPU since */
};

struct dc_workers_options {
	struct dc_queue *queue; /* trust: pool; NULL: mailboxes, trust: process */
	unsigned count;
	unsigned running_target;
	bool restarted;         /* the queue's memory is a dead service's */
};
/* Before any client is added: which transport it is. 0, or -errno (-ENOSYS: mailboxes need futex_waitv(2), Linux 5.16). */
int dc_workers_init(const struct dc_workers_options *options);
/* Starts the threads. 0, or -errno. */
int dc_workers_start(void);
void dc_workers_stop(void);
/* After a client's end: its wake-up may have died with it. */
void dc_workers_kick(void);
/* In a client's name. By mailboxes it does nothing: there no process is answered before its mailbox is open. */
void dc_workers_item(uint32_t item);
/* A client's mailbox, by its arena's descriptor (nothing to do where there is a queue). The place to give to del, or -errno. One caller at a time for add; del from any thread. */
int dc_workers_add_client(int arena_fd, uint32_t index, uint32_t generation);
void dc_workers_del_client(int place);
bool dc_workers_by_mailbox(void);
json_t *dc_workers_json(void); /* docs/contract.md §4 `queue` */
void dc_workers_reset(void);

/* counters.c: the counters of doors and operations, gathered from all threads. */
json_t *dc_counters_json(const struct dc_instance *instance);
void dc_counters_reset(void);

#endif
