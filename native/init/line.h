/*
 * line.h - pool-init's end of the link (link.h): JSON packets with descriptors, both ways, without ever blocking.
 */
#ifndef DICICLO_INIT_LINE_H
#define DICICLO_INIT_LINE_H

#include <jansson.h>

#include "loop.h"

struct dc_packet;

struct dc_line {
	struct dc_source source; /* fd -1: nobody there */
	struct dc_loop *loop;
	struct dc_packet *first, **last; /* not sent yet */
	unsigned waiting;
	void (*received)(struct dc_line *line, json_t *message); /* borrowed */
	void (*closed)(struct dc_line *line);                    /* the peer's end is closed; the line is closed already */
};

/* One packet with descriptors (DC_LINK_DESCRIPTORS_MAX at most) to a peer that must take it now. 0 or -errno. */
int dc_packet_send(int fd, const void *data, size_t size, const int *descriptors, unsigned count);

/* Takes the descriptor. 0 or -errno. */
int dc_line_open(struct dc_line *line, struct dc_loop *loop, int fd);
void dc_line_close(struct dc_line *line);
/* The peer has ended: what it said last is received, then the line is closed; `closed` is not called. */
void dc_line_finish(struct dc_line *line);
/* Sends or queues; the message is stolen, the descriptors are duplicated where they must wait. 0 or -errno. */
int dc_line_send(struct dc_line *line, json_t *message, const int *descriptors, unsigned count);

#endif
