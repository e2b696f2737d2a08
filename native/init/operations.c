/*
 * operations.c - what pool-init can be asked (docs/contract.md §3).
 */
#include <errno.h>
#include <string.h>

#include "pool.h"

static void status(struct dc_pool *pool, struct dc_request *request) {
	dc_request_answer(request, json_pack("{s:{s:i}, s:o, s:o, s:o, s:o}", "init", "pid", (int)pool->host_pid, "service", dc_service_json(pool), "mounts", dc_mounts_json(pool),
		"servers", dc_servers_json(pool), "clients", dc_clients_json(pool)));
}

static const struct {
	const char *name;
	void (*run)(struct dc_pool *pool, struct dc_request *request);
} operations[] = {
	{"status", status},
	{"mount", dc_mount_request},
	{"unmount", dc_unmount_request},
	{"server-start", dc_server_start_request},
	{"server-stop", dc_server_stop_request},
	{"server-restart", dc_server_restart_request},
	{"service-upgrade", dc_upgrade_request},
	{"kill", dc_kill_request},
	{"stop", dc_stop_request},
};

void dc_operation_run(struct dc_pool *pool, struct dc_request *request) {
	const char *name = json_string_value(json_object_get(dc_request_message(request), "op"));
	for (size_t i = 0; name && i < sizeof operations / sizeof operations[0]; i++) {
		if (strcmp(operations[i].name, name) != 0) continue;
		operations[i].run(pool, request);
		return;
	}
	if (name) dc_request_fail(request, EINVAL, "pool-init does not know the operation '%.64s'", name);
	else dc_request_fail(request, EINVAL, "a request must have 'op', a string");
}
