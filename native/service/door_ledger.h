/* door_ledger.h - the nodes that the kernel may hold, for whoever serves the connection next (door_ledger.c). */
#ifndef DICICLO_SERVICE_DOOR_LEDGER_H
#define DICICLO_SERVICE_DOOR_LEDGER_H

#include "door_internal.h"

void door_ledger_open(struct dc_door *door);
void door_ledger_close(struct dc_door *door);
/* Under the table's lock: `number` is in use at `index` for `node`, or nothing is (0, NULL). */
void door_ledger_set(struct dc_door *door, uint32_t index, uint64_t number, struct dc_node *node);
/* Under the table's lock: how many lookups the kernel has of what is there. */
void door_ledger_count(struct dc_door *door, uint32_t index, uint64_t lookups);
/* After a restart, before any thread serves: the nodes of earlier incarnations are in the table again, as far as they can be found. How many; *lost: how many not. */
unsigned door_ledger_restore(struct dc_door *door, unsigned *lost);
/* Tells the kernel to drop pages and attributes of all nodes of earlier incarnations; how many. Threads must be serving: pages may be locked by requests that are sent again. */
unsigned door_ledger_invalidate(struct dc_door *door);

#endif
