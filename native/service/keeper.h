/*
 * keeper.h - what keeps a service's descriptors when it dies.
 *
 * The keeper is a child that shares the service's descriptor table (CLONE_FILES) and does nothing. Every descriptor that the service opens is in its hands from that moment at no cost,
 * and when the service is killed, no inode that it had open goes away: not the unlinked ones, not those of O_TMPFILE, nor those renamed by a host process. Its successor copies
 * from the keeper's table what it needs (pidfd_getfd), found by (device, inode); then pool-init ends the keeper.
 */
#ifndef DICICLO_SERVICE_KEEPER_H
#define DICICLO_SERVICE_KEEPER_H

#include <sys/types.h>

/* Starts this service's own keeper: its pid, or -errno. */
pid_t dc_keeper_start(void);

/* Looks through the tables of dead services' keepers: pids as this process sees them, and pidfds (closed by dc_keeper_forget). */
void dc_keeper_inherit(const pid_t *pids, const int *pidfds, unsigned count);
/* dc_host.inherited: a copy of a descriptor of this inode, or -ENOENT or another -errno. Any thread, until dc_keeper_forget. */
int dc_keeper_find(dev_t device, ino_t inode);
void dc_keeper_forget(void);

#endif
