/*
 * record.c - init.json, by which the engine and diciclo-enter find the pool; and pids as the host sees them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "pool.h"

void dc_record_write(struct dc_pool *pool) {
	json_t *record = json_pack("{s:i, s:I, s:{s:i, s:I, s:I}, s:s}", "pid", (int)pool->host_pid, "startTime", (json_int_t)pool->start_time, "service", "pid",
		(int)pool->service.process.host_pid, "epoch", (json_int_t)pool->service.epoch, "restarts", (json_int_t)pool->service.restarts, "name", pool->options.name);
	char *text = record ? json_dumps(record, 0) : NULL;
	json_decref(record);
	int result = text ? dc_write_atomically(pool->directory_fd, "init.json", 0644, text, strlen(text)) : -1;
	free(text);
	if (result < 0) dc_log("cannot write init.json: %s", strerror(-result));
}

pid_t dc_host_pid(struct dc_pool *pool, int pidfd) {
	/* fdinfo shows pids as the proc mount that it is read through sees them. */
	char path[64], text[1024];
	snprintf(path, sizeof path, "self/fdinfo/%d", pidfd);
	if (dc_read_file(pool->host_proc_fd, path, text, sizeof text) <= 0) return 0;
	long pid = dc_proc_number(text, "Pid");
	return pid > 0 ? (pid_t)pid : 0;
}
