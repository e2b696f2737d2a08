/* appends.h - the library's appends to a file, and those that the kernel cuts in two (appends.c). */
#ifndef DICICLO_SERVICE_APPENDS_H
#define DICICLO_SERVICE_APPENDS_H

#include <stdatomic.h>
#include <stdbool.h>

#include "diciclo/libservice.h"

extern _Atomic unsigned dc_append_hold_us; /* how long the second part of an append is waited for: 10 ms */

/* Around an append of the library, and nothing else: what holds them back may wait for its end. */
void dc_append_begin(struct dc_node *node);
void dc_append_end(struct dc_node *node);
/* Before an append of the kernel's: no append of the library is under way or begins. `more`: the rest of it may follow; else only if this may be the rest of one. Whether they are held back now. */
bool dc_append_hold(struct dc_node *node, bool more);
void dc_append_release(struct dc_node *node, bool more); /* `more`: dc_append_hold_us from now */

#endif
