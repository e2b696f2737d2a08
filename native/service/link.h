/*
 * link.h - runs the service's side of the link to pool-init.
 */
#ifndef DICICLO_SERVICE_LINK_H
#define DICICLO_SERVICE_LINK_H

#include <stdbool.h>

struct dc_modules;

struct dc_link_options {
	unsigned workers;        /* threads */
	unsigned running_target; /* of them, how many run at once before waiting requests stop waking more */
	bool by_mailbox;         /* trust: process */
	unsigned door_threads;   /* most threads of one kernel door */
};

/* Returns when pool-init says quit or ends: the service's exit status. */
int dc_link_run(int fd, struct dc_modules *modules, const struct dc_link_options *options);

#endif
