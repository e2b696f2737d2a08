/*
 * walkers.c - ftw, fts and glob: glibc walks unseen, through the kernel door: right, and counted. Those that change the working directory are followed.
 */
#include "dispatch.h"
#include "internal.h"

#include <fts.h>
#include <ftw.h>
#include <glob.h>

void dc_count_path(const char *path, enum dc_uncarried which) {
	struct dc_place place;
	struct dc_file *base = NULL;
	if (dc_dispatching) return; /* seen */
	if (dc_locate(AT_FDCWD, path, 0, &place, &base)) dc_uncarried(which);
	dc_file_put(base);
}

EXPORT int ftw(const char *path, __ftw_func_t function, int descriptors) {
	dc_count_path(path, DC_UNCARRIED_ftw);
	return NEXT(ftw)(path, function, descriptors);
}
ALIAS(ftw64, ftw);

EXPORT int nftw(const char *path, __nftw_func_t function, int descriptors, int flags) {
	dc_count_path(path, DC_UNCARRIED_ftw);
	bool moves = dc_active() && !dc_dispatching && (flags & FTW_CHDIR);
	if (moves) dc_cwd_untracked(1);
	int result = NEXT(nftw)(path, function, descriptors, flags);
	if (moves) dc_cwd_untracked(-1);
	return result;
}
ALIAS(nftw64, nftw);

EXPORT int glob(const char *restrict pattern, int flags, int (*error)(const char *, int), glob_t *restrict out) {
	if (!(flags & GLOB_ALTDIRFUNC)) dc_count_path(pattern, DC_UNCARRIED_glob);
	return NEXT(glob)(pattern, flags, error, out);
}
ALIAS(glob64, glob);

/* Every step may change the working directory. */
EXPORT FTS *fts_open(char *const *paths, int options, int (*compare)(const FTSENT **, const FTSENT **)) {
	if (dc_active() && paths && paths[0]) dc_count_path(paths[0], DC_UNCARRIED_fts);
	FTS *result = NEXT(fts_open)(paths, options, compare);
	dc_cwd_changed();
	return result;
}
ALIAS(fts64_open, fts_open);

EXPORT FTSENT *fts_read(FTS *stream) {
	FTSENT *result = NEXT(fts_read)(stream);
	dc_cwd_changed();
	return result;
}
ALIAS(fts64_read, fts_read);

EXPORT FTSENT *fts_children(FTS *stream, int options) {
	FTSENT *result = NEXT(fts_children)(stream, options);
	dc_cwd_changed();
	return result;
}
ALIAS(fts64_children, fts_children);

EXPORT int fts_close(FTS *stream) {
	int result = NEXT(fts_close)(stream);
	dc_cwd_changed();
	return result;
}
ALIAS(fts64_close, fts_close);
