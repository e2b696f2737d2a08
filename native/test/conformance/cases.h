/* cases.h - the cases, by file; cases.c lists them. */
#ifndef DICICLO_CASES_H
#define DICICLO_CASES_H

#include "target.h"

#define CASES(X) \
	X(create_and_read, false) X(open_flags, false) X(read_and_write, false) X(vectors, false) X(append, false) X(sparse, false) X(truncate_stale, false) \
	X(truncate_edges, false) X(holes, false) X(move_ranges, false) X(copy_ranges, false) X(unlinked_open, false) X(tmpfiles, false) X(fsyncs, false) X(large_calls, false) \
	X(random_data, false) X(seek_data, false) X(overwrite_patterns, false) \
	X(mkdir_rmdir, false) X(unlink_kinds, false) X(hard_links, false) X(symlinks, false) X(mknods, false) X(rename_matrix, false) X(rename_flags, false) \
	X(rename_trees, false) X(long_names, false) X(not_directories, false) X(odd_names, false) X(listing, false) X(dot_dot, false) X(negative_names, false) X(deep_paths, false) \
	X(modes, false) X(times, false) X(xattrs, false) X(xattr_limits, false) \
	X(owners, true) X(setgid_directories, true) X(set_id_bits, true) X(xattr_privilege, true)
#define X(name, root) void case_##name(struct target *t);
CASES(X)
#undef X

#endif
