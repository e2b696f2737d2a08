/*
 * clients.h - attached processes and their open descriptions: the service's private tables.
 */
#ifndef DICICLO_SERVICE_CLIENTS_H
#define DICICLO_SERVICE_CLIENTS_H

#include <jansson.h>

#include "instance.h"
#include "protocol.h"
#include "workers.h"

struct dc_handle;

struct dc_client_record {
	/* Calls in progress, and the GONE bit: whoever takes it to zero with the bit set tears the client down. */
	_Atomic uint64_t users;
	_Atomic bool torn_down;
	struct dc_client_record *next_free;
	uint32_t index, generation;
	struct dc_arena *arena;
	int place;          /* of its mailbox */
	struct dc_cred cred;
	pid_t pid;
	_Atomic uint32_t done[DC_SLOTS_MAX]; /* sequence of the last request taken from each slot: a duplicate item is dropped */
	pthread_mutex_t lock;                /* of `handles` */
	struct dc_handle *handles;
	char command[64];
};

/* An open description of a client. Never freed, only reused with another generation. */
struct dc_handle {
	_Atomic uint64_t state; /* {generation:32, closing:1, claimed:1, users:30} */
	uint32_t index;
	int flags; /* as open(2) */
	struct dc_client_record *client;
	struct dc_instance *instance;
	_Atomic(struct dc_node *) node; /* NULL: free */
	struct dc_handle *next, *previous; /* of the client's list */
	struct dc_handle *next_free;
};

int dc_clients_add(uint32_t index, uint32_t generation, pid_t pid, const struct dc_cred *cred, int arena_fd);
/* Marks the client gone; `gone` of dc_clients_on_gone is called when nothing uses it any more (any thread). */
void dc_clients_remove(uint32_t index, uint32_t generation);
void dc_clients_on_gone(void (*gone)(uint32_t index, uint32_t generation));
/* A worker serves the request that the item names. */
void dc_clients_serve(struct dc_worker *worker, uint32_t item);
/* After a restart, once, before the workers run: answers EIO to what the dead service had taken, serves what it had not. */
void dc_clients_recover(void);
json_t *dc_clients_json(void); /* docs/contract.md §6 `clients` */
/* Closes every handle on the instance. */
void dc_clients_drop_instance(struct dc_instance *instance);
uint64_t dc_epoch(void);
void dc_epoch_set(uint64_t epoch);

/* Handles. Numbers carry the epoch, so that those of an earlier service are recognised: -ESTALE. */
int dc_handle_open(struct dc_client_record *client, struct dc_instance *instance, struct dc_node *node, int flags, uint64_t *number); /* takes the node's reference and open */
struct dc_handle *dc_handle_get(struct dc_client_record *client, uint64_t number, int *error); /* balanced by put */
void dc_handle_put(struct dc_handle *handle);
void dc_handle_close(struct dc_handle *handle); /* holding a get */

/* ---- instances.c ---------------------------------------------------------------------------------------------------------- */
int dc_instances_add(struct dc_instance *instance);
struct dc_instance *dc_instances_get(uint32_t id); /* users + 1; NULL when unknown or closing */
void dc_instances_put(struct dc_instance *instance);
struct dc_instance *dc_instances_take(uint32_t id); /* out of the table, waits until no call uses it */
json_t *dc_instances_json(void);
json_t *dc_instances_stack_json(const char *mountpoint);
void dc_instances_reset(void);

/* ---- operations.c ---------------------------------------------------------------------------------------------------------- */
/* One request, private copy. */
struct dc_request {
	uint16_t operation;
	uint32_t flags;
	uint64_t handle, offset, length, handle2;
	uint32_t path_length, path2_length, mode, mask;
	uint64_t argument[5];
	struct dc_instance *instance;
	struct dc_client_record *client;
	struct dc_context *context;
	unsigned char *buffer;  /* shared with the client, DC_BUFFER_SIZE bytes */
	struct dc_slot *slot;   /* for answers: value[], attr */
};
int64_t dc_operation_execute(struct dc_request *request);

#endif
