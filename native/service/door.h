/* door.h - what the service's main tells the kernel door besides dc_door_start (instance.h). */
#ifndef DICICLO_SERVICE_DOOR_H
#define DICICLO_SERVICE_DOOR_H

/*
 * Where node numbers are kept for a successor (files `door-<instance id>`, removed when a door is stopped): a directory that outlives the service but not the mounts, best the pool
 * directory. To be called once, before the first door starts. Without it what is open through the kernel is stale after a restart.
 */
void dc_door_ledger_directory(const char *directory);

#endif
