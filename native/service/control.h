/*
 * control.h - the service's control socket (docs/contract.md §4): a thread of its own, so that it answers whatever the load.
 */
#ifndef DICICLO_SERVICE_CONTROL_H
#define DICICLO_SERVICE_CONTROL_H

#include <sys/types.h>

struct dc_modules;

/* Listens at `path` (replacing a stale socket). Who calls waits until there is something to ask about: dc_control_serve(). 0, or -errno. */
int dc_control_listen(const char *path, struct dc_modules *modules);
/* Answers from now on, by a thread of its own: what it tells of (epoch, workers' pool, host) is laid out. 0, or -errno. */
int dc_control_serve(void);
/* Its thread's id: it never waits in the kernel for long, so its end is the process's. */
pid_t dc_control_thread(void);

#endif
