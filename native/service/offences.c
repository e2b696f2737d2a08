#include "offences.h"

#include <syslog.h>

#include "host.h"
#include "workers.h"

/* What one offence of a kind costs, and how much may be owed: the debt is paid back by time. A library commits none of the first; of the others a few may come of calls that were left by longjmp. */
static const struct {
	uint64_t cost_ns, limit_ns;
} budgets[DC_OFFENCE_KINDS] = {
	[DC_OFFENCE_REQUEST] = {1000000000u, UINT64_C(64) * 1000000000u},
	[DC_OFFENCE_RING] = {1000000u, UINT64_C(10) * 1000000000u},
	[DC_OFFENCE_MEMORY] = {1, 0},
};

static void (*on_cut)(struct dc_client_record *client, const char *reason);
static _Atomic uint64_t cut_total;

void dc_offences_on_cut(void (*cut)(struct dc_client_record *client, const char *reason)) {
	on_cut = cut;
}

uint64_t dc_offences_cut(void) {
	return atomic_load_explicit(&cut_total, memory_order_relaxed);
}

/* What is under way ends with EIO, by whoever serves it; the record goes when the last call has left it. Holding a get, any lock but the link's. */
static void cut_off(struct dc_client_record *client, const char *reason) {
	if (atomic_exchange(&client->cut, true)) return;
	dc_log(LOG_WARNING, "client %u, pid %d (%s), is cut off: %s", client->index, (int)client->pid, client->command, reason);
	atomic_fetch_add_explicit(&cut_total, 1, memory_order_relaxed);
	if (on_cut) on_cut(client, reason); /* pool-init hears of it before the client does, which would attach again at once */
	atomic_store(&client->arena->closed, 1);
	dc_clients_remove(client->index, client->generation);
}

void dc_client_offends(struct dc_client_record *client, enum dc_offence kind, const char *reason) {
	uint64_t now = dc_monotonic_ns(), owed = atomic_load_explicit(&client->owed[kind], memory_order_relaxed), next;
	do next = (owed > now ? owed : now) + budgets[kind].cost_ns;
	while (!atomic_compare_exchange_weak_explicit(&client->owed[kind], &owed, next, memory_order_relaxed, memory_order_relaxed));
	if (next - now > budgets[kind].limit_ns) cut_off(client, reason);
}

void dc_offences_begin(struct dc_client_record *client) {
	for (unsigned kind = 0; kind < DC_OFFENCE_KINDS; kind++) atomic_store_explicit(&client->owed[kind], 0, memory_order_relaxed);
	client->complaints = 0;
	client->posts_rung = 0;
	atomic_store(&client->arena->closed, 0);
	atomic_store(&client->cut, false);
}
