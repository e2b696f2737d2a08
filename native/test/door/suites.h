#ifndef DOOR_TEST_SUITES_H
#define DOOR_TEST_SUITES_H

#include "harness.h"

#define DOOR_TESTS(X) \
	X(posix_differential) X(posix_names) X(posix_unlinked) X(posix_tmpfile) X(posix_mmap) X(posix_readdir) X(posix_io) X(posix_rights) X(rights_killed) X(rights_killed_behind) X(rights_groups)
#define DOOR_CACHED_TESTS(X) \
	X(posix_no_requests) X(coherence_kernels) \
	X(coherence_plain) X(coherence_open_descriptor) X(coherence_append) X(coherence_append_parts) X(coherence_storm) X(grow_mapped) X(grow_untouched) X(grow_shrunk) X(grow_races) X(grow_overtaken) X(grow_quiet) X(bench_changed) X(bench_program) \
	X(race_getattr) X(race_lookup) X(race_readdirplus) X(race_create) X(race_negative) X(race_positive) X(race_listing) X(race_read) X(race_setattr) X(race_write) X(race_attributes) \
	X(rights_no_questions) X(life_blocked_fsync) X(life_handle_names) X(life_forget) X(life_restart) X(life_resend) X(life_once) X(life_steps) X(life_kills) X(life_bad_init)

/* Also where the kernel's directory lock cannot be relied upon: dc_door_kernel_unlocked. */
#define DOOR_UNLOCKED_TESTS(X) \
	X(coherence_plain) X(coherence_open_descriptor) X(coherence_append) X(coherence_storm) X(grow_mapped) X(race_getattr) X(race_lookup) X(race_create) X(race_negative) X(race_positive) \
	X(race_listing) X(race_read) X(race_setattr) X(race_write)

#define X(name) void name(void);
DOOR_TESTS(X) DOOR_CACHED_TESTS(X)
#undef X

#endif
