/*
 * upgrade.c - the service replaced by another program, or by itself, while applications run: the running one finishes what it has begun and takes nothing more (`drain`), the new one finds
 * everything as a restarted one does. Requests that come meanwhile wait where they are, in the arenas and in the kernel. None is in doubt, since none was left half done.
 *
 * A program that cannot describe its modules, or lays out shared memory otherwise than pool-init and the processes do, is refused before anything is touched; one that does not become ready is given up for the one before.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log.h"
#include "pool.h"

#define DESCRIBE_MS 10000u
#define DRAIN_MS 20000u

static struct dc_upgrade {
	struct dc_pool *pool;
	struct dc_helper helper;
	struct dc_timer timer;
	struct dc_request *request; /* NULL: none in progress */
	char *service, *modules;    /* wanted; from the exchange on, what was before */
	bool exchanged, drained;
	uint64_t began_ms;          /* to drain */
} upgrade;

static void finish(void) {
	dc_timer_clear(&upgrade.pool->loop, &upgrade.timer);
	free(upgrade.service);
	free(upgrade.modules);
	memset(&upgrade, 0, sizeof upgrade);
}

/* ---- can it run at all? In a helper ------------------------------------------------------------------------------------------- */
static void describe(struct dc_helper *helper, struct dc_helper_answer *answer) {
	pid_t child = fork();
	if (child == 0) {
		int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
		for (int fd = 0; fd < 3; fd++) dup2(nowhere, fd);
		unsetenv("LD_PRELOAD");
		char layout[16];
		snprintf(layout, sizeof layout, "%u", DC_LAYOUT_VERSION);
		execl(upgrade.service, upgrade.service, "--modules", upgrade.modules, "--layout", layout, "--describe", (char *)NULL);
		_exit(127);
	}
	int status = 0;
	uint64_t end = dc_now_ms() + DESCRIBE_MS;
	pid_t got = child < 0 ? child : 0;
	while (got == 0 && (got = waitpid(child, &status, WNOHANG)) == 0 && dc_now_ms() < end) poll(NULL, 0, 5);
	if (got == 0) {
		kill(child, SIGKILL);
		waitpid(child, &status, 0);
	}
	if (got < 0) dc_fault_set(&answer->fault, errno, "cannot try the new service: ");
	else if (got == 0) dc_fault_set(&answer->fault, ETIMEDOUT, "%s did not describe its modules within %u s; nothing was changed", upgrade.service, DESCRIBE_MS / 1000);
	else if (dc_exit_status(status) == DC_LINK_OTHER_LAYOUT)
		dc_fault_set(&answer->fault, ENOEXEC, "%s lays out shared memory otherwise than this pool's processes (layout %u); it serves pools that are created with it; nothing was changed", upgrade.service,
			DC_LAYOUT_VERSION);
	else if (status != 0)
		dc_fault_set(&answer->fault, ENOEXEC, "%s --modules %s --describe ended with status %d; nothing was changed", upgrade.service, upgrade.modules, dc_exit_status(status));
}

/* ---- the exchange ------------------------------------------------------------------------------------------------------------- */
static void exchange_programs(void) {
	struct dc_options *options = &upgrade.pool->options;
	const char *service = options->service, *modules = options->modules;
	options->service = upgrade.service;
	options->modules = upgrade.modules;
	upgrade.service = (char *)(uintptr_t)service;
	upgrade.modules = (char *)(uintptr_t)modules;
}

static void on_drain_late(struct dc_timer *timer) {
	dc_log("the service did not finish what was under way within %u s; it is killed, its successor decides about that", DRAIN_MS / 1000);
	kill(upgrade.pool->service.process.child.pid, SIGKILL);
}

static void on_described(struct dc_helper *helper, const struct dc_helper_answer *answer) {
	struct dc_pool *pool = upgrade.pool;
	struct dc_fault fault = answer->fault;
	if (!fault.error && pool->service.state != DC_SERVICE_RUNNING) dc_fault_set(&fault, EBUSY, "the service is not running just now; try again");
	if (fault.error) {
		dc_request_fault(upgrade.request, &fault);
		finish();
		return;
	}
	dc_log("the service is replaced by %s", upgrade.service);
	upgrade.began_ms = dc_now_ms();
	pool->service.state = DC_SERVICE_DRAINING;
	dc_service_send(pool, json_pack("{s:s}", "type", DC_LINK_DRAIN), NULL, 0);
	dc_timer_set(&pool->loop, &upgrade.timer, DRAIN_MS, on_drain_late);
}

void dc_upgrade_drained(struct dc_pool *pool) {
	dc_timer_clear(&pool->loop, &upgrade.timer);
	exchange_programs();
	upgrade.exchanged = true;
	upgrade.drained = pool->drained;
}

bool dc_upgrade_failed(struct dc_pool *pool, int status) {
	if (!upgrade.exchanged) return false;
	struct dc_fault fault = DC_FAULT_INIT;
	dc_fault_set(&fault, EIO, "the new service %s ended with status %d before it was ready; the one before, %s, is started again", pool->options.service, dc_exit_status(status),
		upgrade.service);
	dc_log("%s", fault.message);
	exchange_programs();
	dc_request_fault(upgrade.request, &fault);
	/* The names that were replaced first stay: they may be the command line's. */
	finish();
	return true;
}

void dc_upgrade_ready(struct dc_pool *pool) {
	if (!upgrade.exchanged) return;
	const struct dc_service *service = &pool->service;
	dc_request_answer(upgrade.request, json_pack("{s:i, s:I, s:b, s:I}", "pid", (int)service->process.host_pid, "epoch", (json_int_t)service->epoch, "drained", (int)upgrade.drained,
		"milliseconds", (json_int_t)(dc_now_ms() - upgrade.began_ms)));
	upgrade.service = upgrade.modules = NULL; /* of the command line, or an earlier upgrade: a few bytes each, kept */
	finish();
}

void dc_upgrade_request(struct dc_pool *pool, struct dc_request *request) {
	json_t *message = dc_request_message(request), *service = json_object_get(message, "service"), *modules = json_object_get(message, "modules");
	if ((service && (!json_is_string(service) || json_string_value(service)[0] != '/')) || (modules && (!json_is_string(modules) || json_string_value(modules)[0] != '/'))) {
		dc_request_fail(request, EINVAL, "'service' and 'modules' must be absolute paths");
		return;
	}
	if (upgrade.request || pool->ending || pool->service.state != DC_SERVICE_RUNNING) {
		dc_request_fail(request, EBUSY, "%s", upgrade.request ? "an upgrade is in progress" : "the service is not running just now; try again");
		return;
	}
	upgrade.pool = pool;
	upgrade.request = request;
	upgrade.service = strdup(service ? json_string_value(service) : pool->options.service);
	upgrade.modules = strdup(modules ? json_string_value(modules) : pool->options.modules);
	int result = upgrade.service && upgrade.modules ? dc_helper_run(pool, &upgrade.helper, describe, on_described) : -ENOMEM;
	if (result == 0) return;
	dc_request_fail(request, -result, "cannot try the new service: %s", strerror(-result));
	finish();
}
