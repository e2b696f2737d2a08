/*
 * watchdog.c - a service that runs but does not answer: its control thread is asked, over service.sock, TICKS times in the watchdog's time. When none was answered, it is ended and started
 * again as if it had died. SIGABRT first, for a core where those are kept; SIGKILL soon after, which ends a stopped process too.
 *
 * Unanswered questions are counted, not time: after a sleep of the whole pool (a frozen control group, a suspended machine) the service gets its chance like everybody.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"
#include "pool.h"

#define TICKS 4u
#define ABORT_MS 1000u
static const char question[] = "{\"op\":\"ping\"}\n";

static struct dc_watchdog *watchdog_of(struct dc_pool *pool) {
	return &pool->watchdog;
}

static void hang_up(struct dc_pool *pool) {
	struct dc_source *line = &watchdog_of(pool)->line;
	int fd = line->fd;
	if (fd < 0) return;
	dc_source_remove(&pool->loop, line);
	close(fd);
	line->fd = -1;
}

/* Whatever it says, it lives. */
static void on_answer(struct dc_source *source, uint32_t events) {
	struct dc_pool *pool = dc_container_of(source, struct dc_pool, watchdog.line);
	char text[4096];
	ssize_t got = recv(source->fd, text, sizeof text, MSG_DONTWAIT);
	if (got > 0) watchdog_of(pool)->unanswered = 0;
	else if (got == 0 || (errno != EAGAIN && errno != EINTR)) hang_up(pool);
}

static void ask(struct dc_pool *pool) {
	struct dc_watchdog *watchdog = watchdog_of(pool);
	watchdog->unanswered++;
	if (watchdog->line.fd < 0) {
		struct sockaddr_un address = {.sun_family = AF_UNIX};
		if ((size_t)snprintf(address.sun_path, sizeof address.sun_path, "%s/service.sock", pool->options.directory) >= sizeof address.sun_path) return;
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (fd < 0) return;
		if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0 || dc_source_add(&pool->loop, &watchdog->line, fd, EPOLLIN, on_answer) < 0) {
			close(fd);
			watchdog->line.fd = -1;
			return;
		}
	}
	if (send(watchdog->line.fd, question, sizeof question - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EAGAIN) hang_up(pool);
}

static void on_abort_late(struct dc_timer *timer) {
	struct dc_pool *pool = dc_container_of(timer, struct dc_pool, watchdog.timer);
	if (dc_process_lives(&pool->service.process)) kill(pool->service.process.child.pid, SIGKILL);
}

static void on_tick(struct dc_timer *timer) {
	struct dc_pool *pool = dc_container_of(timer, struct dc_pool, watchdog.timer);
	struct dc_watchdog *watchdog = watchdog_of(pool);
	if (pool->service.state != DC_SERVICE_RUNNING) return;
	if (watchdog->unanswered >= TICKS) {
		dc_log("the service has not answered for %.1f s: it is ended and started again", pool->options.watchdog_ms / 1000.0);
		kill(pool->service.process.child.pid, SIGABRT);
		dc_timer_set(&pool->loop, timer, ABORT_MS, on_abort_late);
		return;
	}
	ask(pool);
	dc_timer_set(&pool->loop, timer, pool->options.watchdog_ms / TICKS, on_tick);
}

void dc_watchdog_start(struct dc_pool *pool) {
	dc_watchdog_stop(pool);
	if (pool->options.watchdog_ms) dc_timer_set(&pool->loop, &watchdog_of(pool)->timer, pool->options.watchdog_ms / TICKS, on_tick);
}

void dc_watchdog_stop(struct dc_pool *pool) {
	dc_timer_clear(&pool->loop, &watchdog_of(pool)->timer);
	watchdog_of(pool)->unanswered = 0;
	hang_up(pool);
}
