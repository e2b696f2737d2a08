/*
 * offences.h - clients that do what no library does: counted, and cut off when they go on (docs/internals.md, "Hostile clients").
 *
 * Only what stands in a client's own arena counts, since nobody else can have written it. The queue is shared, so what is found there accuses nobody: a forged item would have an honest client
 * cut off.
 */
#ifndef DICICLO_SERVICE_OFFENCES_H
#define DICICLO_SERVICE_OFFENCES_H

#include "clients.h"

/* `reason` is text for the log. The caller holds a get of the client. May be called with any lock held. */
void dc_client_offends(struct dc_client_record *client, enum dc_offence kind, const char *reason);
/* Of a client that is being added. */
void dc_offences_begin(struct dc_client_record *client);
/* Told once for each client that is cut off, before it is removed. */
void dc_offences_on_cut(void (*cut)(struct dc_client_record *client, const char *reason));
uint64_t dc_offences_cut(void); /* how many were */

#endif
