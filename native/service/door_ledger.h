/* door_ledger.h - the nodes that the kernel may hold, for whoever serves the connection next (door_ledger.c). */
#ifndef DICICLO_SERVICE_DOOR_LEDGER_H
#define DICICLO_SERVICE_DOOR_LEDGER_H

#include "door_internal.h"

/* One request under way (door_flights.c). */
#define DOOR_FLIGHTS 256u
struct door_flight {
	_Atomic uint64_t unique; /* the kernel's number of the request; 0: free */
	_Atomic uint32_t stage;  /* enum door_stage */
	_Atomic uint32_t epoch;  /* of the incarnation that wrote it */
	int64_t result;          /* DONE: what it came to */
	uint64_t begun, made;    /* what door_once_begin and door_once_end were told: apart, since a service may die between the second one's first store and DONE */
	uint64_t reserved[3];
};
_Static_assert(sizeof(struct door_flight) == 64, "a record is a cache line");

struct door_flight *door_ledger_flights(struct dc_door *door); /* NULL: there is no ledger */
void door_flights_open(struct dc_door *door, struct door_flight *flights); /* before any thread serves */
bool door_ledger_new(const struct dc_door *door);              /* no predecessor has written it, or one that wrote it otherwise */

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
