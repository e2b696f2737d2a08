/*
 * diciclo-service - the filesystem service of one pool. Started by pool-init; see docs/contract.md.
 */
#include <getopt.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "../init/link.h"
#include "control.h"
#include "copying.h"
#include "door.h"
#include "host.h"
#include "link.h"
#include "regions.h"
#include "segment.h"
#include "stack.h"
#include "workers.h"

struct arguments {
	int link;
	const char *directory, *name, *modules;
	unsigned workers;
	unsigned long layout; /* of shared memory, pool-init's; 0: it does not say */
	bool describe, by_mailbox;
};

static int parse(int argc, char **argv, struct arguments *arguments) {
	static const struct option options[] = {{"link", required_argument, 0, 'l'}, {"dir", required_argument, 0, 'd'}, {"name", required_argument, 0, 'n'},
		{"modules", required_argument, 0, 'm'}, {"workers", required_argument, 0, 'w'}, {"trust", required_argument, 0, 't'}, {"layout", required_argument, 0, 'y'}, {"describe", no_argument, 0, 'D'}, {0}};
	int option;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'l': arguments->link = atoi(optarg); break;
		case 'd': arguments->directory = optarg; break;
		case 'n': arguments->name = optarg; break;
		case 'm': arguments->modules = optarg; break;
		case 'w': arguments->workers = (unsigned)strtoul(optarg, NULL, 10); break;
		case 't':
			if (strcmp(optarg, "pool") && strcmp(optarg, "process")) {
				fprintf(stderr, "diciclo-service: --trust must be pool or process, not \"%s\".\n", optarg);
				return 2;
			}
			arguments->by_mailbox = !strcmp(optarg, "process");
			break;
		case 'y': arguments->layout = strtoul(optarg, NULL, 10); break;
		case 'D': arguments->describe = true; break;
		default: return 2;
		}
	}
	if (!arguments->modules || (!arguments->describe && (arguments->link < 0 || !arguments->directory))) {
		fprintf(stderr, "usage: diciclo-service --link FD --dir POOLDIR --name TENANT/POOL --modules DIR --layout N [--workers N] [--trust pool|process]\n"
			"       diciclo-service --modules DIR [--layout N] --describe\n");
		return 2;
	}
	return 0;
}

static int describe(struct dc_modules *modules) {
	json_t *json = dc_modules_describe(modules);
	int result = json_dumpf(json, stdout, JSON_INDENT(1) | JSON_SORT_KEYS);
	putchar('\n');
	json_decref(json);
	return result ? 1 : 0;
}

/* Nodes hold descriptors: as many as we may have. */
static void raise_limits(void) {
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* Files are made under the ids of who asks, with the rights of the service: before there are threads. Without CAP_SETPCAP they are handed over afterwards. */
static void keep_rights(void) {
	int bits = prctl(PR_GET_SECUREBITS);
	if (bits >= 0) prctl(PR_SET_SECUREBITS, bits | SECBIT_NO_SETUID_FIXUP);
}

static unsigned usable_cpus(void) {
	cpu_set_t set;
	return sched_getaffinity(0, sizeof set, &set) ? 1 : (unsigned)CPU_COUNT(&set);
}

/* Who only describes itself may not have been asked. */
static bool fits(const struct arguments *arguments) {
	if (arguments->layout == DC_LAYOUT_VERSION || (arguments->describe && !arguments->layout)) return true;
	fprintf(stderr, "diciclo-service: shared memory has layout %u here and %lu at pool-init: a pool is served by the build that started it.\n", DC_LAYOUT_VERSION, arguments->layout);
	return false;
}

int main(int argc, char **argv) {
	struct arguments arguments = {.link = -1};
	int status = parse(argc, argv, &arguments);
	if (status) return status;
	if (!fits(&arguments)) return DC_LINK_OTHER_LAYOUT;
	struct dc_error error = {0};
	struct dc_modules *modules = dc_modules_load(arguments.modules, &error);
	if (!modules) {
		fprintf(stderr, "diciclo-service: %s\n", error.message);
		return 1;
	}
	if (arguments.describe) {
		status = describe(modules);
		dc_modules_unload(modules);
		return status;
	}
	signal(SIGPIPE, SIG_IGN);
	umask(0);
	keep_rights();
	raise_limits();
	dc_copying_start();
	dc_door_ledger_directory(arguments.directory);
	char path[4096];
	snprintf(path, sizeof path, "%s/service.sock", arguments.directory);
	int result = dc_control_listen(path, modules);
	if (result) {
		dc_log(LOG_ERR, "cannot listen at %s: %s", path, strerror(-result));
		return 1;
	}
	if (!arguments.by_mailbox) {
		snprintf(path, sizeof path, "%s/regions.sock", arguments.directory);
		result = dc_regions_start(path);
		if (result) dc_log(LOG_WARNING, "cannot listen at %s: %s; reads are copied", path, strerror(-result));
	}
	/* Many threads, few awake: the rest wait to stand in for those that block (workers.h). */
	unsigned cpus = usable_cpus(), workers = arguments.workers ? arguments.workers : cpus * 4 < 8 ? 8 : cpus * 4;
	struct dc_link_options options = {.workers = workers > DC_WORKERS_MAX ? DC_WORKERS_MAX : workers, .running_target = cpus > 3 ? cpus / 2 : 1, .by_mailbox = arguments.by_mailbox, .door_threads = 16};
	dc_log(LOG_INFO, "%s: %u workers on %u cpus", arguments.name ? arguments.name : "?", options.workers, cpus);
	status = dc_link_run(arguments.link, modules, &options);
	/* No orderly teardown: the kernel takes everything back faster, and nothing is kept here that must be saved. */
	_exit(status);
}
