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

/* A client's posted writes (posts.c); under the lock. */
struct dc_posts {
	pthread_mutex_t lock;       /* dc_posts_lock */
	_Atomic uint32_t wanted;    /* who waits for it */
	uint64_t head;
	uint32_t generation;
	bool listed;              /* the ticker looks at the ring */
	unsigned idle_ticks;
	struct dc_handle *granted;
};

/* What a client is held to account for (offences.h). */
enum dc_offence {
	DC_OFFENCE_REQUEST, /* a request that no library makes: an unknown operation, lengths out of range, another's handle, a sequence that is not the answer word's */
	DC_OFFENCE_RING,    /* a bell without a request */
	DC_OFFENCE_MEMORY,  /* nonsense where only whole records are published; an ear that is touched without end */
	DC_OFFENCE_KINDS
};

struct dc_client_record {
	/* Calls in progress, and the GONE bit: whoever takes it to zero with the bit set tears the client down. */
	_Atomic uint64_t users;
	_Atomic bool torn_down;
	struct dc_client_record *next_free;
	uint32_t index;
	_Atomic uint32_t generation; /* looked at without a reference: the record may be another's by then */
	struct dc_arena *arena;
	int place;          /* of its mailbox */
	struct dc_cred cred;
	pid_t pid;
	_Atomic uint32_t done[DC_SLOTS_MAX]; /* sequence of the last request taken from each slot: a duplicate item is dropped */
	pthread_mutex_t lock;                /* of `handles` */
	struct dc_handle *handles;
	struct dc_posts posts;
	_Atomic bool cut;                          /* its requests end with EIO */
	_Atomic uint64_t owed[DC_OFFENCE_KINDS];   /* until when its offences are paid for; CLOCK_MONOTONIC, ns */
	uint64_t posts_rung;                       /* tail of the post ring when it last rang for it; any worker, a hint */
	unsigned complaints;                       /* posts.lock; lines in the log about its posted writes */
	char command[64];
};

/* An open description of a client. Never freed, only reused with another generation. */
struct dc_handle {
	_Atomic uint64_t state; /* {generation:32, closing:1, claimed:1, users:30} */
	uint32_t index;
	uint32_t lost; /* generation of a description that could not be found again after a restart; 0: none */
	int flags; /* as open(2) */
	uint8_t slot;  /* of the request that opened it, and its number: a successor answers that request by them */
	uint32_t sequence;
	struct dc_client_record *client;
	struct dc_instance *instance;
	_Atomic(struct dc_node *) node; /* NULL: free */
	struct dc_handle *next, *previous; /* of the client's list */
	struct dc_handle *next_free;
	struct dc_handle *granted_next;    /* posts.lock */
	_Atomic bool named;                /* the kernel may know it by its handle's name (dc_door_unname) */
	uint32_t grant;                    /* posts.lock; generation, 0: none */
	_Atomic int post_error;            /* of a posted write, to be answered once: 0 or -errno */
};

struct dc_client_record *dc_client_get(uint32_t index, uint32_t generation); /* balanced by put; NULL: gone */
void dc_client_put(struct dc_client_record *client);
struct dc_client_record *dc_client_hold(uint32_t index); /* as get, whoever's it is by now, also one that is gone: its end begins with the put, if it had not begun. Its arena may be unmapped */
int dc_clients_add(uint32_t index, uint32_t generation, pid_t pid, const char *command, const struct dc_cred *cred, int arena_fd);
/* Has served what it asked before it was added. */
void dc_clients_early(uint32_t index, uint32_t generation);
/* Marks the client gone; `gone` of dc_clients_on_gone is called when nothing uses it any more (any thread). */
void dc_clients_remove(uint32_t index, uint32_t generation);
void dc_clients_on_gone(void (*gone)(uint32_t index, uint32_t generation));
/* A worker serves the request that the item names. */
void dc_clients_serve(struct dc_worker *worker, uint32_t item);
json_t *dc_clients_json(void); /* docs/contract.md §6 `clients` */
/* Closes every handle on the instance. */
void dc_clients_drop_instance(struct dc_instance *instance);
uint64_t dc_epoch(void);
void dc_epoch_set(uint64_t epoch);

/* A client that lives, by index and generation; balanced by put. */
struct dc_client_record *dc_client_get(uint32_t index, uint32_t generation);
void dc_client_put(struct dc_client_record *client);
/* The first client that lives at *index or behind it, to be put back; moves *index on. NULL: no more. */
struct dc_client_record *dc_client_next(uint32_t *index);

/* Handles. Numbers are never used twice, also not by another service of the pool: 0 is none; those lost in a restart answer -ESTALE. */
struct dc_request;
int dc_handle_open(struct dc_request *request, struct dc_node *node, int flags, uint64_t *number); /* takes the node's reference and open */
uint64_t dc_handle_number(const struct dc_handle *handle);
struct dc_handle *dc_handle_get(struct dc_client_record *client, uint64_t number, int *error); /* balanced by put */
void dc_handle_put(struct dc_handle *handle);
void dc_handle_close(struct dc_handle *handle); /* holding a get */

/* ---- after a restart, once, when clients and instances are told and before the workers run (recover.c, handles.c) ---------------- */
/* The predecessor's open descriptions are ours; how many, and how many of living clients could not be found again. */
unsigned dc_handles_restore(unsigned *lost);
struct dc_handle *dc_handle_opened_by(struct dc_client_record *client, unsigned slot, uint32_t sequence);
/* Requests that were under way: serves what was not taken, repeats what may be repeated, answers what is known to have happened; EIO and a line in the log for the rest. */
void dc_clients_recover(void);

/* ---- instances.c ---------------------------------------------------------------------------------------------------------- */
#define DC_INSTANCES_MAX 1024u /* numbers are never reused; a slot is, once its instance is gone */
int dc_instances_add(struct dc_instance *instance);
struct dc_instance *dc_instances_get(uint32_t id); /* users + 1; NULL when unknown or closing */
void dc_instances_put(struct dc_instance *instance);
unsigned dc_instances_all(struct dc_instance **all); /* room for DC_INSTANCES_MAX; each to be put back */
struct dc_instance *dc_instances_take(uint32_t id); /* out of the table, waits until no call uses it */
json_t *dc_instances_json(void);
json_t *dc_instances_stack_json(const char *mountpoint);
void dc_instances_reset(void);
/* Their doors were held until a predecessor's requests were decided about. */
void dc_instances_serve(void);
/* Before another service takes over: the doors end and leave their nodes to it, and every stack makes durable what it held back. */
void dc_instances_hand_over(void);

/* ---- operations.c ---------------------------------------------------------------------------------------------------------- */
/* One request, private copy. */
struct dc_request {
	uint16_t operation, cpu;
	uint32_t instance_id;
	uint32_t flags;
	uint64_t handle, offset, length, handle2;
	uint32_t path_length, path2_length, mode, mask;
	uint64_t argument[5];
	struct dc_instance *instance;
	struct dc_client_record *client;
	struct dc_context *context;
	struct dc_trail *trail; /* NULL: no lease is asked for */
	uint8_t index;          /* of the slot */
	uint32_t sequence;
	unsigned char *buffer;  /* shared with the client, DC_BUFFER_SIZE bytes */
	uint64_t value[3];      /* the answer's, see protocol.h */
	struct dc_slot *slot;   /* for the answer's attributes */
};
int64_t dc_operation_execute(struct dc_request *request);
const char *dc_operation_name(unsigned operation);

/* ---- clients.c, for recover.c */
void dc_request_copy(struct dc_request *request, struct dc_client_record *client, unsigned index, struct dc_context *context);
int64_t dc_request_execute(struct dc_request *request);
/* Serves the request that waits in the slot. False: there was none, or somebody has it. */
bool dc_client_serve_slot(struct dc_worker *worker, struct dc_client_record *client, unsigned index);
/* Answers it instead. False: somebody has it. */
bool dc_client_answer_slot(struct dc_client_record *client, unsigned index, int64_t result);

#endif
