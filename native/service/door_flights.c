/*
 * door_flights.c - requests of the kernel that must happen once, written down where they outlive the service: who killed it in their middle still gets their answer.
 *
 * A thread that is about to change something takes a record of the door's ledger, under the request's number: BEGUN, with what the successor will need to judge by; then the stack's operation;
 * then DONE, with its result; then the reply; then the record is free. The kernel sends again to a successor what was not answered. No record, or one that did not begin: nothing has
 * happened, it is done now. DONE: it is answered with the result. BEGUN: between the two, the names are asked (door_names.c); only what they cannot tell is answered EIO.
 *
 * A record whose answer arrived when the service died is never asked for: it stays until its place is needed.
 */
#include "door_ledger.h"

void door_flights_open(struct dc_door *door, struct door_flight *flights) {
	for (unsigned i = 0; i < DOOR_FLIGHTS; i++)
		if (!atomic_load(&flights[i].unique)) atomic_store(&flights[i].epoch, (uint32_t)door->table.epoch);
}

static uint64_t own_unique(void) {
	return door_current.header->unique & ~DOOR_UNIQUE_RESEND;
}

enum door_stage door_once_seen(struct dc_door *door, struct door_seen *seen) {
	*seen = (struct door_seen){0};
	if (!door_current.resent) return DOOR_NOT_BEGUN;
	struct door_flight *flights = door_ledger_flights(door);
	if (!flights || door_ledger_new(door)) return DOOR_UNKNOWN;
	uint64_t unique = own_unique();
	for (unsigned i = 0; i < DOOR_FLIGHTS; i++) {
		struct door_flight *flight = &flights[i];
		if (atomic_load_explicit(&flight->unique, memory_order_acquire) != unique) continue;
		door_current.flight = flight;
		enum door_stage stage = atomic_load_explicit(&flight->stage, memory_order_acquire);
		*seen = (struct door_seen){.result = flight->result, .value = stage == DOOR_DONE ? flight->made : flight->begun};
		return stage;
	}
	return DOOR_NOT_BEGUN;
}

#define BETWEEN UINT64_MAX /* unique: on its way to another request */

/* A free record; if there is none, one of an earlier incarnation (those that were free when we began have our epoch), which must not be taken for the new request's with its old stage. */
static struct door_flight *take(struct dc_door *door, struct door_flight *flights, uint64_t unique) {
	uint32_t own = (uint32_t)door->table.epoch;
	for (;;) {
		struct door_flight *oldest = NULL;
		for (unsigned i = 0; i < DOOR_FLIGHTS; i++) {
			uint64_t free = 0;
			if (atomic_compare_exchange_strong(&flights[i].unique, &free, unique)) return &flights[i];
			if (flights[i].epoch != own && (!oldest || flights[i].epoch < oldest->epoch)) oldest = &flights[i];
		}
		if (!oldest) return NULL; /* more threads than records: there are not */
		uint64_t stale = atomic_load(&oldest->unique);
		if (!stale || oldest->epoch == own || !atomic_compare_exchange_strong(&oldest->unique, &stale, BETWEEN)) continue;
		oldest->epoch = own;
		atomic_store(&oldest->stage, DOOR_NOT_BEGUN);
		atomic_store(&oldest->unique, unique);
		return oldest;
	}
}

void door_once_begin(struct dc_door *door, uint64_t value) {
	struct door_flight *flights = door_ledger_flights(door);
	if (!door_current.flight && flights) door_current.flight = take(door, flights, own_unique());
	struct door_flight *flight = door_current.flight;
	if (!flight) return;
	atomic_store_explicit(&flight->epoch, (uint32_t)door->table.epoch, memory_order_relaxed);
	flight->begun = value;
	atomic_store_explicit(&flight->stage, DOOR_BEGUN, memory_order_release);
}

void door_once_end(int64_t result, uint64_t value) {
	struct door_flight *flight = door_current.flight;
	if (!flight) return;
	flight->result = result;
	flight->made = value;
	atomic_store_explicit(&flight->stage, DOOR_DONE, memory_order_release);
}

void door_once_answered(void) {
	struct door_flight *flight = door_current.flight;
	if (!flight) return;
	door_current.flight = NULL;
	atomic_store_explicit(&flight->epoch, (uint32_t)door_current.door->table.epoch, memory_order_relaxed);
	atomic_store_explicit(&flight->stage, DOOR_NOT_BEGUN, memory_order_release);
	atomic_store_explicit(&flight->unique, 0, memory_order_release);
}
