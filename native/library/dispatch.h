/*
 * dispatch.h - the second way in: system calls that do not pass libc's symbols (dispatch.c), and what wrappers call then in libc's place (direct.c).
 */
#ifndef DICICLO_LIBRARY_DISPATCH_H
#define DICICLO_LIBRARY_DISPATCH_H

#include <stdbool.h>

extern bool dc_dispatching; /* set once, before the program's own code runs */
/* 0, or -errno: ENOSYS where kernel or processor do not have it. By the loading thread, after dc_mounts_start. */
int dc_dispatch_start(void);
/* The function that makes this call without libc; NULL: libc's own must do. */
void *dc_direct(const char *name);
/* This thread is in our fork(), which has done what a process copied by number would need. */
bool dc_fork_announce(bool begins);

#endif
