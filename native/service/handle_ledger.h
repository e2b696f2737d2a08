/*
 * handle_ledger.h - the open descriptions of libraries, written down where they outlive the service: a memfd of pool-init's (native/init/link.h, `start`).
 *
 * One entry per place of the table of handles. What opens a description writes its entry before the opening is answered, what closes it clears the entry first. So after a
 * death the ledger names every description that any client may know of; a client's request that was opening one is found by its slot and sequence number, and is answered with
 * it instead of being repeated. The ledger belongs to the service alone; no client maps it.
 */
#ifndef DICICLO_SERVICE_HANDLE_LEDGER_H
#define DICICLO_SERVICE_HANDLE_LEDGER_H

#include <diciclo/libservice.h>
#include <stdatomic.h>
#include <stdint.h>

#define DC_LEDGER_MAGIC UINT64_C(0x72656764656c6364) /* "dcledger" */
#define DC_LEDGER_VERSION 1u
#define DC_LEDGER_LIVE (UINT64_C(1) << 63)

struct dc_ledger_entry {
	_Atomic uint64_t word; /* the handle's last number, and LIVE while it is open; 0: never used */
	uint32_t instance;
	uint32_t flags;        /* of the description */
	uint32_t sequence;     /* of the request that opened it */
	uint16_t client, client_generation;
	uint8_t slot;          /* of that request */
	uint8_t length;        /* of the identity */
	uint8_t reserved[2];
	unsigned char identity[DC_IDENTITY_MAX];
};
_Static_assert(sizeof(struct dc_ledger_entry) == 64, "an entry is a cache line");

struct dc_ledger {
	uint64_t magic;
	uint32_t version;
	_Atomic uint32_t used; /* entries below may have been written */
	uint32_t reserved[12];
	struct dc_ledger_entry entry[];
};
_Static_assert(sizeof(struct dc_ledger) == 64, "the header is a cache line");

/* Maps it; 0 or -errno. Without one, handles do not survive. */
int dc_ledger_map(int fd);
struct dc_ledger *dc_ledger(void); /* NULL: none */

#endif
