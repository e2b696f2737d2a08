/*
 * temporary.c - the mkstemp family and realpath: glibc makes and reads names unseen.
 */
#include "dispatch.h"
#include "internal.h"

#include <stdlib.h>
#include <sys/random.h>

#include "queue.h"

#define TRIES 238328 /* as glibc: 62^3 */

static uint64_t random_bits(void) {
	uint64_t bits;
	if (dc_raw6(SYS_getrandom, (long)&bits, sizeof bits, 1 /* GRND_NONBLOCK */, 0, 0, 0) == sizeof bits) return bits;
	return dc_monotonic_ns() * UINT64_C(0x9e3779b97f4a7c15) + dc_tid();
}

static bool below_mount(const char *path) {
	struct dc_place place;
	struct dc_file *base = NULL;
	bool found = dc_locate(AT_FDCWD, path, 0, &place, &base);
	dc_file_put(base);
	return found || dc_early_base(AT_FDCWD, path);
}

/* The six X in front of the suffix, or NULL: EINVAL. */
static char *pattern(char *path, int suffix) {
	size_t length = strlen(path);
	if (suffix < 0 || length < 6 + (size_t)suffix) return NULL;
	char *at = path + length - 6 - suffix;
	return strncmp(at, "XXXXXX", 6) ? NULL : at;
}

/* Tries names until `make` answers something but EEXIST. */
static int make_name(char *path, int suffix, int flags, int (*make)(const char *path, int flags)) {
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
	char *at = pattern(path, suffix);
	if (!at) return (int)dc_return(-EINVAL);
	int before = errno;
	for (int i = 0; i < TRIES; i++) {
		uint64_t bits = random_bits();
		for (int letter = 0; letter < 6; letter++, bits /= 62) at[letter] = letters[bits % 62];
		int result = make(path, flags);
		if (result >= 0) errno = before;
		if (result >= 0 || errno != EEXIST) return result;
	}
	return -1;
}

static int make_file(const char *path, int flags) {
	return dc_open_at(AT_FDCWD, path, (flags & ~O_ACCMODE) | O_RDWR | O_CREAT | O_EXCL, 0600);
}

static int make_directory(const char *path, int flags) {
	return mkdir(path, 0700);
}

static int make_nothing(const char *path, int flags) {
	struct stat st;
	if (lstat(path, &st) == 0) return (int)dc_return(-EEXIST);
	return errno == ENOENT ? 0 : -1;
}

EXPORT int mkostemps(char *path, int suffix, int flags) {
	if (!below_mount(path)) {
		int fd = NEXT(mkostemps)(path, suffix, flags);
		return dc_dispatching ? fd : dc_forget_new(fd);
	}
	return make_name(path, suffix, flags, make_file);
}
ALIAS(mkostemps64, mkostemps);

EXPORT int mkostemp(char *path, int flags) { return mkostemps(path, 0, flags); }
ALIAS(mkostemp64, mkostemp);
EXPORT int mkstemps(char *path, int suffix) { return mkostemps(path, suffix, 0); }
ALIAS(mkstemps64, mkstemps);
EXPORT int mkstemp(char *path) { return mkostemps(path, 0, 0); }
ALIAS(mkstemp64, mkstemp);

EXPORT char *mkdtemp(char *path) {
	if (!below_mount(path)) return NEXT(mkdtemp)(path);
	return make_name(path, 0, 0, make_directory) < 0 ? NULL : path;
}

EXPORT char *mktemp(char *path) {
	if (!below_mount(path)) return NEXT(mktemp)(path);
	if (make_name(path, 0, 0, make_nothing) < 0) path[0] = 0;
	return path;
}
ALIAS(__mktemp, mktemp);

/* ---- realpath ------------------------------------------------------------------------------------------------------------------ */
struct resolution {
	char done[PATH_MAX]; /* absolute, without links; no trailing slash; "" is the root */
	size_t length;
	char rest[PATH_MAX];
	unsigned links;
};

static int prepend(struct resolution *at, const char *target, size_t length) {
	size_t left = strlen(at->rest);
	if (length + left >= sizeof at->rest) return -ENAMETOOLONG;
	memmove(at->rest + length, at->rest, left + 1); /* what is left is empty or begins with a slash */
	memcpy(at->rest, target, length);
	return 0;
}

/* One component: appended to `done`, or its link's target put before the rest. */
static int step(struct resolution *at, const char *name, size_t length) {
	if (length == 1 && name[0] == '.') return 0;
	if (length == 2 && name[0] == '.' && name[1] == '.') {
		while (at->length && at->done[--at->length] != '/') continue;
		at->done[at->length] = 0;
		return 0;
	}
	if (at->length + 1 + length >= sizeof at->done) return -ENAMETOOLONG;
	size_t before = at->length;
	at->done[at->length++] = '/';
	memcpy(at->done + at->length, name, length);
	at->length += length;
	at->done[at->length] = 0;
	char target[PATH_MAX];
	ssize_t got = readlink(at->done, target, sizeof target - 1);
	if (got >= 0) {
		if (++at->links > DC_RESTARTS_MAX) return -ELOOP;
		at->length = target[0] == '/' ? 0 : before;
		at->done[at->length] = 0;
		return prepend(at, target, (size_t)got);
	}
	if (errno != EINVAL) return -errno;
	if (!at->rest[0]) return 0;
	struct stat st;
	if (stat(at->done, &st) < 0) return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

static int resolve(const char *path, struct resolution *at) {
	if (strlen(path) >= sizeof at->rest) return -ENAMETOOLONG;
	at->length = at->links = 0;
	at->done[0] = 0;
	strcpy(at->rest, path);
	if (path[0] != '/') {
		long length = dc_raw6(SYS_getcwd, (long)at->done, sizeof at->done, 0, 0, 0, 0);
		if (length < 0) return (int)length;
		if (at->done[0] != '/') return -ENOENT;
		at->length = length == 2 ? 0 : (size_t)length - 1;
		at->done[at->length] = 0;
	}
	for (;;) {
		size_t slashes = strspn(at->rest, "/"), length = strcspn(at->rest + slashes, "/");
		if (length == 0) return 0;
		char name[NAME_MAX + 1];
		if (length > NAME_MAX) return -ENAMETOOLONG;
		memcpy(name, at->rest + slashes, length);
		memmove(at->rest, at->rest + slashes + length, strlen(at->rest + slashes + length) + 1);
		int error = step(at, name, length);
		if (error) return error;
	}
}

EXPORT char *realpath(const char *restrict path, char *restrict out) {
	if (!dc_active() || !path || !path[0] || !below_mount(path)) return NEXT(realpath)(path, out);
	struct resolution at;
	int before = errno, error = resolve(path, &at);
	if (!error && !at.length) strcpy(at.done, "/");
	if (out && (!error || error == -ENOENT || error == -EACCES)) strcpy(out, at.done); /* glibc leaves there where it failed */
	if (error) {
		errno = -error;
		return NULL;
	}
	errno = before;
	return out ? out : strdup(at.done);
}

char *__realpath_chk(const char *path, char *out, size_t space);
EXPORT char *__realpath_chk(const char *path, char *out, size_t space) {
	return space < PATH_MAX ? NEXT(__realpath_chk)(path, out, space) : realpath(path, out);
}

EXPORT char *canonicalize_file_name(const char *path) { return realpath(path, NULL); }
