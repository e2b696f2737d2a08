/* testfault.h - a libservice that fails on demand, for the tests alone. */
#ifndef DICICLO_TESTFAULT_H
#define DICICLO_TESTFAULT_H

#include <stdatomic.h>

/* The module exports one as "testfault_rules": errno values, 0 for none. */
struct testfault_rules {
	_Atomic int read, write, fsync, lookup, getattr;
	_Atomic int short_write; /* bytes that a write is cut to, 0: not */
	_Atomic unsigned lookups, getattrs, reads, fsyncs; /* how many calls came by */
	_Atomic int lookup_once; /* an errno for the next lookup alone */
};

#endif
