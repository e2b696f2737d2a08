#include "loop.h"

#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_FIRST 64u /* so many in a row, then the timers have their turn */

uint64_t dc_now_ms(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

int dc_loop_init(struct dc_loop *loop) {
	*loop = (struct dc_loop){.epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
	return loop->epoll_fd < 0 ? -errno : 0;
}

int dc_source_add(struct dc_loop *loop, struct dc_source *source, int fd, uint32_t events, void (*ready)(struct dc_source *, uint32_t)) {
	struct epoll_event event = {.events = events, .data.ptr = source};
	source->fd = fd;
	source->ready = ready;
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0) return 0;
	source->fd = -1;
	return -errno;
}

void dc_source_change(struct dc_loop *loop, struct dc_source *source, uint32_t events) {
	struct epoll_event event = {.events = events, .data.ptr = source};
	if (source->fd >= 0) epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, source->fd, &event);
}

void dc_source_remove(struct dc_loop *loop, struct dc_source *source) {
	if (source->fd >= 0) epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
	source->fd = -1;
}

void dc_timer_clear(struct dc_loop *loop, struct dc_timer *timer) {
	for (struct dc_timer **at = &loop->timers; *at; at = &(*at)->next) {
		if (*at != timer) continue;
		*at = timer->next;
		break;
	}
	timer->due_ms = 0;
}

void dc_timer_set(struct dc_loop *loop, struct dc_timer *timer, uint64_t delay_ms, void (*fire)(struct dc_timer *)) {
	dc_timer_clear(loop, timer);
	timer->due_ms = dc_now_ms() + delay_ms;
	timer->fire = fire;
	struct dc_timer **at = &loop->timers;
	while (*at && (*at)->due_ms <= timer->due_ms) at = &(*at)->next;
	timer->next = *at;
	*at = timer;
}

void dc_child_watch(struct dc_loop *loop, struct dc_child *child, pid_t pid, void (*ended)(struct dc_child *, int)) {
	child->pid = pid;
	child->ended = ended;
	child->next = loop->children;
	loop->children = child;
}

static struct dc_child *take_child(struct dc_loop *loop, pid_t pid) {
	for (struct dc_child **at = &loop->children; *at; at = &(*at)->next) {
		struct dc_child *child = *at;
		if (child->pid != pid) continue;
		*at = child->next;
		return child;
	}
	return NULL;
}

void dc_child_abandon(struct dc_loop *loop, struct dc_child *child) {
	if (child->pid) take_child(loop, child->pid);
	child->pid = 0;
}

void dc_children_reap(struct dc_loop *loop) {
	for (;;) {
		siginfo_t info = {0};
		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) return;
		struct dc_child *child = take_child(loop, info.si_pid);
		if (child && child->kill_group) kill(-child->pid, SIGKILL);
		int status = 0;
		if (waitpid(info.si_pid, &status, WNOHANG) != info.si_pid) continue;
		if (!child) continue;
		child->pid = 0;
		child->ended(child, status);
	}
}

/* Milliseconds until a timer is due, for epoll_wait: -1 without one. */
static int time_left(const struct dc_loop *loop) {
	if (!loop->timers) return -1;
	uint64_t now = dc_now_ms(), due = loop->timers->due_ms;
	return due <= now ? 0 : due - now > 3600000u ? 3600000 : (int)(due - now);
}

/* Only those that are due by now: while they are seen to, what later ones wait for may come, and it is looked at first. */
static void fire_due(struct dc_loop *loop) {
	uint64_t now = dc_now_ms();
	while (!loop->done && loop->timers && loop->timers->due_ms <= now) {
		struct dc_timer *timer = loop->timers;
		loop->timers = timer->next;
		timer->due_ms = 0;
		timer->fire(timer);
	}
}

void dc_loop_run(struct dc_loop *loop) {
	for (unsigned events = 0; !loop->done;) {
		/* One event at a time: a handler may free any source, and no second event of the same batch can then name it. */
		struct epoll_event event;
		int got = epoll_wait(loop->epoll_fd, &event, 1, time_left(loop));
		if (got == 1) {
			struct dc_source *source = event.data.ptr;
			source->ready(source, event.events);
			/* What is there already comes before a timer that is due: it may be what that waits for, and it is we who are late. */
			if (++events < EVENTS_FIRST) continue;
		}
		events = 0;
		fire_due(loop);
	}
}
