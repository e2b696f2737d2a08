/*
 * keepers.c - children of services that share their descriptor tables (native/service/keeper.h) and are left when a service dies: the next one copies from them what was open.
 * They are ended when a service is ready, all but its own.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "log.h"
#include "pool.h"

static void end(struct dc_pool *pool, unsigned index) {
	struct dc_keepers *keepers = &pool->keepers;
	struct dc_keeper *keeper = keepers->list[index];
	int pidfd = keeper->death.fd;
	dc_source_remove(&pool->loop, &keeper->death);
	syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	close(pidfd);
	free(keeper);
	keepers->count--;
	memmove(&keepers->list[index], &keepers->list[index + 1], (keepers->count - index) * sizeof(struct dc_keeper *));
}

static void on_death(struct dc_source *source, uint32_t events) {
	struct dc_keeper *keeper = dc_container_of(source, struct dc_keeper, death);
	struct dc_pool *pool = keeper->pool;
	bool current = keeper->epoch == pool->service.epoch;
	for (unsigned i = 0; i < pool->keepers.count; i++)
		if (pool->keepers.list[i] == keeper) {
			end(pool, i);
			break;
		}
	if (!current || pool->service.state == DC_SERVICE_ENDING || pool->service.state == DC_SERVICE_ENDED) return;
	dc_log("the keeper of the service's descriptors died; %s", pool->service.line.source.fd < 0 ? "what was open is lost" : "another is started");
	dc_service_send(pool, json_pack("{s:s}", "type", DC_LINK_KEEP), NULL, 0);
}

void dc_keepers_add(struct dc_pool *pool, pid_t pid) {
	struct dc_keepers *keepers = &pool->keepers;
	if (keepers->count == DC_LINK_KEEPERS_MAX) end(pool, 1); /* the oldest has the most, the youngest what is newest */
	struct dc_keeper *keeper = calloc(1, sizeof *keeper);
	int pidfd = pid > 0 && keeper ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
	int result = pidfd < 0 ? -errno : dc_source_add(&pool->loop, &keeper->death, pidfd, EPOLLIN, on_death);
	if (result < 0) {
		dc_log("cannot watch the service's keeper, pid %d: %s; a restart will lose what is open", (int)pid, strerror(-result));
		if (pidfd >= 0) close(pidfd);
		free(keeper);
		return;
	}
	keeper->pool = pool;
	keeper->pid = pid;
	keeper->epoch = pool->service.epoch;
	keepers->list[keepers->count++] = keeper;
}

void dc_keepers_settle(struct dc_pool *pool) {
	while (pool->keepers.count && pool->keepers.list[0]->epoch != pool->service.epoch) end(pool, 0);
}

void dc_keepers_end(struct dc_pool *pool) {
	while (pool->keepers.count) end(pool, 0);
}
