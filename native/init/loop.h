/*
 * loop.h - pool-init's one thread: descriptors, timers and children, each a struct that its owner embeds. Nothing in a handler may block: whatever may (the filesystem, above all one that
 * needs the service) runs in a helper process (process.h).
 */
#ifndef DICICLO_INIT_LOOP_H
#define DICICLO_INIT_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define dc_container_of(pointer, type, member) ((type *)(void *)((char *)(pointer) - offsetof(type, member)))

struct dc_source {
	int fd; /* -1: not watched */
	void (*ready)(struct dc_source *source, uint32_t events);
};

struct dc_timer {
	uint64_t due_ms; /* 0: off */
	void (*fire)(struct dc_timer *timer);
	struct dc_timer *next;
};

struct dc_child {
	pid_t pid; /* 0: none */
	bool kill_group; /* what is left of its process group when it ends is killed, while its id cannot be anybody else's yet */
	void (*ended)(struct dc_child *child, int status); /* as waitpid gives it */
	struct dc_child *next;
};

struct dc_loop {
	int epoll_fd;
	bool done;
	struct dc_timer *timers;
	struct dc_child *children;
};

int dc_loop_init(struct dc_loop *loop);
/* Runs until `done` is set. */
void dc_loop_run(struct dc_loop *loop);

/* `events` are EPOLL*; 0: hang-up and error only. The descriptor stays the owner's. */
int dc_source_add(struct dc_loop *loop, struct dc_source *source, int fd, uint32_t events, void (*ready)(struct dc_source *, uint32_t));
void dc_source_change(struct dc_loop *loop, struct dc_source *source, uint32_t events);
void dc_source_remove(struct dc_loop *loop, struct dc_source *source);

void dc_timer_set(struct dc_loop *loop, struct dc_timer *timer, uint64_t delay_ms, void (*fire)(struct dc_timer *));
void dc_timer_clear(struct dc_loop *loop, struct dc_timer *timer);
uint64_t dc_now_ms(void);

void dc_child_watch(struct dc_loop *loop, struct dc_child *child, pid_t pid, void (*ended)(struct dc_child *, int));
/* Reaps whatever has ended: watched children are told, orphans of the pool just go. */
void dc_child_abandon(struct dc_loop *loop, struct dc_child *child); /* reaped when it ends, and nobody told */
void dc_children_reap(struct dc_loop *loop);

#endif
