/* special.c - confinement, limits, and what happens behind the stack's back. */
#include "special.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

const char *fault(const char *format, ...)
{
	static char message[1024];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(message, sizeof message, format, arguments);
	va_end(arguments);
	return message;
}

/* ---- short forms ---------------------------------------------------------------------------------------------------------- */
ssize_t read_at(struct stand *stand, struct dc_node *node, void *buffer, size_t bytes, off_t offset)
{
	struct iovec vector = {buffer, bytes};
	return CALL(stand, read, node, &vector, 1, offset, 0);
}

ssize_t write_at(struct stand *stand, struct dc_node *node, const void *buffer, size_t bytes, off_t offset)
{
	struct iovec vector = {(void *)buffer, bytes};
	return CALL(stand, write, node, &vector, 1, &offset, 0);
}

struct dc_node *make_file(struct stand *stand, const char *name, size_t bytes, int pattern)
{
	char *data = malloc(bytes + 1);
	struct dc_node *node;

	memset(data, pattern, bytes);
	if (CALL(stand, create, stand->root, name, 0644, O_RDWR, &node, NULL) || (bytes && write_at(stand, node, data, bytes, 0) != (ssize_t)bytes)) {
		fprintf(stderr, "cannot make %s\n", name);
		abort();
	}
	free(data);
	return node;
}

void drop_file(struct stand *stand, struct dc_node *node)
{
	CALL(stand, close, node, O_RDWR);
	FORGET(stand, node, 1);
}

int find(struct stand *stand, const char *path, struct dc_node **node, struct dc_attr *attr)
{
	size_t consumed;
	return CALL(stand, lookup, stand->root, path, strlen(path), node, attr, &consumed);
}

int find_only(struct stand *stand, const char *path)
{
	struct dc_node *node;
	int result = find(stand, path, &node, NULL);

	if (node)
		FORGET(stand, node, 1);
	return result;
}

bool is_pattern(struct stand *stand, struct dc_node *node, size_t bytes, off_t offset, int pattern)
{
	unsigned char *data = malloc(bytes + 1);
	ssize_t got = read_at(stand, node, data, bytes, offset);
	size_t i;

	for (i = 0; got == (ssize_t)bytes && i < bytes && data[i] == (unsigned char)pattern; i++)
		;
	free(data);
	return i == bytes;
}

int set_size(struct stand *stand, struct dc_node *node, off_t size)
{
	struct dc_attr set = {.st.st_size = size};
	return CALL(stand, setattr, node, &set, DC_SET_SIZE, NULL);
}

static int host_file(const char *directory, const char *name, size_t bytes, int pattern, int flags)
{
	char path[8704], *data = malloc(bytes + 1);
	int opened;
	ssize_t put;

	memset(data, pattern, bytes);
	snprintf(path, sizeof path, "%s/%s", directory, name);
	opened = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0644);
	put = opened < 0 ? -1 : write(opened, data, bytes);
	if (opened >= 0)
		close(opened);
	free(data);
	return put == (ssize_t)bytes ? 0 : -1;
}

/* `run` on a stand of this shape. */
static const char *on(const char *modules, const char *shape, const char *directory, const char *(*run)(struct stand *, const char *))
{
	struct stand stand;
	const char *wrong;

	stand_open(&stand, modules, shape, directory);
	wrong = run(&stand, directory);
	stand_close(&stand);
	return wrong;
}
#define SPECIAL(name, as) static const char *special_##name(const char *modules, const char *shape, const char *directory) { return on(modules, as, directory, name); }

/* ---- confinement ---------------------------------------------------------------------------------------------------------- */
struct flipper { char a[4352], b[4352]; _Atomic bool stop; };

static void *flip(void *argument)
{
	struct flipper *flipper = argument;
	while (!flipper->stop)
		renameat2(AT_FDCWD, flipper->a, AT_FDCWD, flipper->b, RENAME_EXCHANGE);
	return NULL;
}

static const char *confined(struct stand *stand, const char *directory)
{
	struct flipper flipper = {.stop = false};
	struct dc_node *node, *beyond;
	struct dc_attr attr;
	struct stat outside;
	pthread_t thread;
	size_t consumed;
	int i;

	stat("/etc/passwd", &outside);
	snprintf(flipper.a, sizeof flipper.a, "%s/flip", directory);
	snprintf(flipper.b, sizeof flipper.b, "%s/flop", directory);
	EXPECT(!mkdir(flipper.a, 0755) && !symlink("/etc", flipper.b));
	EXPECT(!find(stand, "flop", &node, &attr) && S_ISLNK(attr.st.st_mode));
	FORGET(stand, node, 1);
	EXPECT(!CALL(stand, lookup, stand->root, "flop/passwd", 11, &node, &attr, &consumed) && consumed == 4 && S_ISLNK(node->type));
	EXPECT(CALL(stand, lookup, node, "passwd", 6, &beyond, &attr, &consumed) == -ENOTDIR && !beyond);
	FORGET(stand, node, 1);
	EXPECT(CALL(stand, lookup, stand->root, "..", 2, &node, &attr, &consumed) == -EXDEV && !node);
	pthread_create(&thread, NULL, flip, &flipper);
	for (i = 0; i < 3000; i++) {
		int result = find(stand, "flip/passwd", &node, &attr);
		if (!result && attr.st.st_ino == outside.st_ino && S_ISREG(attr.st.st_mode))
			return "a lookup got out";
		if (node)
			FORGET(stand, node, 1);
	}
	flipper.stop = true;
	pthread_join(thread, NULL);
	return NULL;
}
SPECIAL(confined, shape)

/* A directory that is moved out while it is held: its ".." must not lead to where it is now. */
static const char *moved_out(struct stand *stand, const char *directory)
{
	struct dc_node *deep, *parent = NULL;
	char from[4352], to[4352];
	size_t consumed;
	int result;

	snprintf(from, sizeof from, "%s/a", directory);
	snprintf(to, sizeof to, "%s/../moved", directory);
	EXPECT(!mkdir(from, 0755));
	strcat(from, "/b");
	EXPECT(!mkdir(from, 0755));
	EXPECT(!find(stand, "a/b", &deep, NULL));
	EXPECT(!rename(from, to));
	result = CALL(stand, lookup, deep, "..", 2, &parent, NULL, &consumed);
	FORGET(stand, deep, 1);
	rmdir(to);
	EXPECT(result == -ESTALE && !parent);
	return NULL;
}
SPECIAL(moved_out, shape)

static const char *read_only(struct stand *stand, const char *directory)
{
	struct dc_attr set = {.st.st_mode = 0600};
	struct dc_node *node, *made;
	off_t offset = 0;
	struct iovec vector = {(void *)"x", 1};

	EXPECT(!host_file(directory, "f", 10, 1, 0) && !find(stand, "f", &node, NULL));
	EXPECT(CALL(stand, open, node, O_RDWR) == -EROFS && !CALL(stand, open, node, O_RDONLY));
	EXPECT(is_pattern(stand, node, 10, 0, 1));
	EXPECT(CALL(stand, write, node, &vector, 1, &offset, 0) == -EROFS && CALL(stand, setattr, node, &set, DC_SET_MODE, NULL) == -EROFS);
	EXPECT(set_size(stand, node, 0) == -EROFS && CALL(stand, fallocate, node, 0, 0, 10) == -EROFS);
	EXPECT(CALL(stand, create, stand->root, "g", 0600, O_RDWR, &made, NULL) == -EROFS && CALL(stand, mkdir, stand->root, "g", 0700, &made, NULL) == -EROFS);
	EXPECT(CALL(stand, symlink, stand->root, "g", "x", &made, NULL) == -EROFS && CALL(stand, link, node, stand->root, "g", NULL) == -EROFS);
	EXPECT(CALL(stand, unlink, stand->root, "f") == -EROFS && CALL(stand, rename, stand->root, "f", stand->root, "g", 0) == -EROFS);
	EXPECT(CALL(stand, setxattr, node, "user.a", "v", 1, 0) == -EROFS && CALL(stand, removexattr, node, "user.a") == -EROFS);
	EXPECT(CALL(stand, tmpfile, stand->root, 0600, O_RDWR, &made, NULL) == -EROFS);
	CALL(stand, close, node, O_RDONLY);
	FORGET(stand, node, 1);
	return NULL;
}
SPECIAL(read_only, "local-readonly")

/* ---- more files than descriptors ------------------------------------------------------------------------------------------ */
#define MANY 1000
static const char *many_files(struct stand *stand, const char *directory)
{
	static struct dc_node *nodes[MANY];
	char name[32];
	int i;

	for (i = 0; i < MANY; i++) {
		snprintf(name, sizeof name, "f%d", i);
		nodes[i] = make_file(stand, name, 100, i);
	}
	EXPECT(stand_statistic(stand, "local", "parked") > 0);
	EXPECT(!CALL(stand, unlink, stand->root, "f7") && !CALL(stand, rename, stand->root, "f8", stand->root, "f9", 0));
	for (i = 0; i < MANY; i++)
		if (!is_pattern(stand, nodes[i], 100, 0, i))
			return fault("file %d of %d cannot be read again", i, MANY);
	for (i = 0; i < MANY; i++) {
		struct dc_node *node;
		snprintf(name, sizeof name, "f%d", i);
		if (i < 7 || i > 9) {
			EXPECT(!find(stand, name, &node, NULL) && node == nodes[i]);
			FORGET(stand, node, 1);
		}
		drop_file(stand, nodes[i]);
	}
	return NULL;
}

static const char *special_many_files(const char *modules, const char *shape, const char *directory)
{
	struct rlimit limit, low;
	const char *wrong;

	getrlimit(RLIMIT_NOFILE, &limit);
	low = limit;
	low.rlim_cur = 200;
	setrlimit(RLIMIT_NOFILE, &low);
	wrong = on(modules, shape, directory, many_files);
	setrlimit(RLIMIT_NOFILE, &limit);
	return wrong;
}

/* ---- the host beside it --------------------------------------------------------------------------------------------------- */
/* A descriptor that is kept open for writing would make the host's exec answer ETXTBSY. */
static const char *executable(struct stand *stand, const char *directory)
{
	char path[4352], *program = malloc(4 << 20);
	int own = open("/bin/true", O_RDONLY | O_CLOEXEC), status;
	ssize_t bytes = read(own, program, 4 << 20);
	struct dc_attr set = {.st.st_mode = 0755};
	struct dc_node *node;
	pid_t child;

	close(own);
	node = make_file(stand, "program", 0, 0);
	EXPECT(bytes > 0 && write_at(stand, node, program, (size_t)bytes, 0) == bytes);
	free(program);
	EXPECT(!CALL(stand, setattr, node, &set, DC_SET_MODE, NULL));
	CALL(stand, close, node, O_RDWR);
	snprintf(path, sizeof path, "%s/program", directory);
	child = fork();
	if (!child) {
		execl(path, path, (char *)NULL);
		_exit(errno);
	}
	EXPECT(waitpid(child, &status, 0) == child && WIFEXITED(status));
	if (WEXITSTATUS(status))
		return fault("the host cannot execute it: %s", strerrorname_np(WEXITSTATUS(status)));
	EXPECT(write_at(stand, node, "\x7f", 1, 0) == 1); /* and writing goes on */
	FORGET(stand, node, 1);
	return NULL;
}
SPECIAL(executable, shape)

/* Another filesystem below the root is part of it, with inode numbers of its own. In a mount namespace of this test. */
static const char *mounted_below(struct stand *stand, const char *directory)
{
	struct dc_node *node;
	struct dc_attr attr, raw;
	struct stat status;
	char path[4352];
	int result;

	EXPECT(!find(stand, "m/f", &node, &attr));
	snprintf(path, sizeof path, "%s/m/f", directory);
	EXPECT(!stat(path, &status) && (attr.st.st_ino & ((1ull << 48) - 1)) == (status.st_ino & ((1ull << 48) - 1)) && attr.st.st_ino != status.st_ino);
	FORGET(stand, node, 1);
	EXPECT(!find(stand, "m", &node, &raw));
	result = CALL(stand, rename, node, "f", stand->root, "f", 0);
	FORGET(stand, node, 1);
	EXPECT(result == -EXDEV);
	return NULL;
}

static const char *special_mounted_below(const char *modules, const char *shape, const char *directory)
{
	const char *wrong = NULL;
	char path[4352];

	snprintf(path, sizeof path, "%s/m", directory);
	EXPECT(!mkdir(path, 0755));
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount("test", path, "tmpfs", 0, "size=1m"))
		return NULL; /* not allowed here */
	if (host_file(path, "f", 10, 1, 0))
		wrong = "cannot write to the mounted filesystem";
	if (!wrong)
		wrong = on(modules, shape, directory, mounted_below);
	umount2(path, MNT_DETACH);
	return wrong;
}

/* ---- listing a directory that changes ------------------------------------------------------------------------------------- */
struct lister { struct dc_dirent_sink sink; int room; uint64_t cookie; unsigned char seen[1200]; bool twice; };

static bool lister_add(struct dc_dirent_sink *sink, const char *name, size_t length, uint64_t ino, uint32_t type, uint64_t cookie)
{
	struct lister *lister = (struct lister *)sink;
	int number;

	if (!lister->room)
		return false;
	lister->room--;
	lister->cookie = cookie;
	if (sscanf(name, "stays%d", &number) == 1)
		lister->twice |= lister->seen[number]++ > 0;
	return true;
}

static const char *changing_list(struct stand *stand, const char *directory)
{
	static struct lister lister;
	char name[64];
	int i, round = 0;

	memset(&lister, 0, sizeof lister);
	lister.sink.add = lister_add;
	for (i = 0; i < 1200; i++) {
		snprintf(name, sizeof name, "%s%d-with-a-name-long-enough-for-many-buffers", i % 2 ? "stays" : "goes", i);
		EXPECT(!host_file(directory, name, 0, 0, 0));
	}
	do {
		lister.room = 50;
		EXPECT(!CALL(stand, readdir, stand->root, lister.cookie, &lister.sink));
		for (i = round * 40; i < round * 40 + 40 && i < 1200; i += 2) {
			snprintf(name, sizeof name, "goes%d-with-a-name-long-enough-for-many-buffers", i);
			EXPECT(!CALL(stand, unlink, stand->root, name));
			snprintf(name, sizeof name, "new%d", i);
			drop_file(stand, make_file(stand, name, 0, 0));
		}
		round++;
	} while (lister.room < 50 && round < 1000);
	EXPECT(!lister.twice);
	for (i = 1; i < 1200; i += 2)
		if (!lister.seen[i])
			return fault("entry %d was there all the time and not listed", i);
	return NULL;
}
SPECIAL(changing_list, shape)

/* ---- behind the stack's back ---------------------------------------------------------------------------------------------- */
static const char *behind_back(struct stand *stand, const char *directory)
{
	struct dc_node *node;
	struct dc_attr attr;
	char path[4352], buffer[100];

	snprintf(path, sizeof path, "%s/f", directory);
	EXPECT(!host_file(directory, "f", 10000, 1, 0) && !find(stand, "f", &node, NULL));
	EXPECT(is_pattern(stand, node, 10000, 0, 1) && find_only(stand, "g") == -ENOENT);
	usleep(80000);
	EXPECT(!host_file(directory, "f", 10000, 2, 0)); /* same size, other data */
	EXPECT(!host_file(directory, "g", 10, 1, 0));
	usleep(80000);
	EXPECT(is_pattern(stand, node, 10000, 0, 2) && !find_only(stand, "g"));
	EXPECT(!host_file(directory, "f", 5000, 3, O_APPEND));
	usleep(80000);
	EXPECT(is_pattern(stand, node, 10000, 0, 2) && is_pattern(stand, node, 5000, 10000, 3));
	EXPECT(!truncate(path, 50));
	usleep(80000);
	EXPECT(read_at(stand, node, buffer, 100, 0) == 50 && !CALL(stand, getattr, node, &attr) && attr.st.st_size == 50);
	EXPECT(write_at(stand, node, "x", 1, 99) == 1);
	EXPECT(is_pattern(stand, node, 49, 50, 0));
	EXPECT(!unlink(path));
	usleep(80000);
	EXPECT(find_only(stand, "f") == -ENOENT);
	EXPECT(!host_file(directory, "f", 10, 7, 0));
	usleep(80000);
	FORGET(stand, node, 1);
	EXPECT(!find(stand, "f", &node, NULL) && is_pattern(stand, node, 10, 0, 7));
	FORGET(stand, node, 1);
	return NULL;
}
SPECIAL(behind_back, "cache-brief")
static const char *special_behind_back_at_once(const char *modules, const char *shape, const char *directory) { return on(modules, "cache-ttl0", directory, behind_back); }

/* Within the time to live too: a file that was cut reads short, never past its end. */
static const char *cut_short(struct stand *stand, const char *directory)
{
	struct dc_node *node;
	char path[4352], *buffer = malloc(100000);
	ssize_t got;

	snprintf(path, sizeof path, "%s/f", directory);
	EXPECT(!host_file(directory, "f", 100000, 1, 0) && !find(stand, "f", &node, NULL));
	EXPECT(is_pattern(stand, node, 4096, 0, 1));
	EXPECT(!truncate(path, 30000));
	got = read_at(stand, node, buffer, 100000, 0);
	EXPECT(got == 30000);
	got = read_at(stand, node, buffer, 100000, 0);
	EXPECT(got == 30000);
	free(buffer);
	FORGET(stand, node, 1);
	return NULL;
}
SPECIAL(cut_short, "cache")

/* ---- a small cache -------------------------------------------------------------------------------------------------------- */
static bool within_size(struct stand *stand)
{
	int64_t size = stand_statistic(stand, "cache", "sizeBytes");
	return stand_statistic(stand, "cache", "residentBytes") <= size && stand_region_bytes() <= size;
}

static const char *never_above_size(struct stand *stand, const char *directory)
{
	struct dc_node *node;
	char name[64];
	int i;

	for (i = 0; i < 2000; i++) {
		snprintf(name, sizeof name, "file-%d", i);
		node = make_file(stand, name, (size_t)(i % 50) * 1000, i);
		drop_file(stand, node);
		snprintf(name, sizeof name, "a-name-that-is-not-there-at-all-%d", i);
		EXPECT(find_only(stand, name) == -ENOENT);
		if (i % 100 == 0 && !within_size(stand))
			return fault("%lld bytes after %d files", (long long)stand_statistic(stand, "cache", "residentBytes"), i);
	}
	EXPECT(within_size(stand));
	EXPECT(stand_statistic(stand, "cache", "evictions") > 0);
	EXPECT(stand_statistic(stand, "cache", "nodeEvictions") > 0);
	for (i = 0; i < 2000; i += 7) {
		snprintf(name, sizeof name, "file-%d", i);
		EXPECT(!find(stand, name, &node, NULL) && is_pattern(stand, node, (size_t)(i % 50) * 1000, 0, i));
		FORGET(stand, node, 1);
	}
	EXPECT(within_size(stand));
	return NULL;
}
SPECIAL(never_above_size, "cache-small")

/* A long stream goes by, and what is used again and again stays. */
static const char *stream_passes(struct stand *stand, const char *directory)
{
	struct dc_node *hot = make_file(stand, "hot", 50 * 4096, 1), *stream = make_file(stand, "stream", 16 << 20, 2);
	char buffer[8192];
	int64_t misses;
	int i, round;

	for (round = 0; round < 5; round++)
		EXPECT(is_pattern(stand, hot, 50 * 4096, 0, 1));
	for (i = 0; i < 2048; i++) {
		EXPECT(read_at(stand, stream, buffer, 8192, (off_t)i * 8192) == 8192);
		if (i % 32 == 0)
			EXPECT(is_pattern(stand, hot, 50 * 4096, 0, 1));
	}
	misses = stand_statistic(stand, "cache", "misses");
	EXPECT(is_pattern(stand, hot, 50 * 4096, 0, 1));
	misses = stand_statistic(stand, "cache", "misses") - misses;
	if (misses > 10)
		return fault("%lld of 50 hot pages were lost to a stream", (long long)misses);
	if (stand_statistic(stand, "cache", "readaheadPages") < 1000)
		return fault("only %lld pages were read ahead, with %lld misses", (long long)stand_statistic(stand, "cache", "readaheadPages"),
			(long long)stand_statistic(stand, "cache", "misses"));
	drop_file(stand, hot);
	drop_file(stand, stream);
	return NULL;
}
SPECIAL(stream_passes, "cache-small")

/* What is written again before anybody has read it is not worth pages; what is new, or read in between, is. By long writes of whole pages and others. */
static const char *rewritten_unread(struct stand *stand, const char *directory)
{
	static char data[600000], back[600000];
	struct dc_node *node = make_file(stand, "f", 0, 0);
	int64_t passed, misses;
	int i;

	for (i = 0; i < 4; i++) {
		size_t bytes = i % 2 ? 600000 : 524288;
		off_t offset = i % 2 ? 100 : 0;
		memset(data, 'a' + i, bytes);
		passed = stand_statistic(stand, "cache", "bypassedBytes");
		EXPECT(write_at(stand, node, data, bytes, offset) == (ssize_t)bytes);
		passed = stand_statistic(stand, "cache", "bypassedBytes") - passed;
		if (passed != (i ? (int64_t)bytes : 0))
			return fault("write %d: %lld bytes went past the cache", i, (long long)passed);
	}
	EXPECT(is_pattern(stand, node, 600000, 100, 'd') && is_pattern(stand, node, 100, 0, 'c'));
	for (i = 0; i < 3; i++) { /* the pages that the reads brought in were read by one read or two */
		EXPECT(read_at(stand, node, back, 600000, 0) == 600000);
		memset(data, 'A' + i, 524288);
		passed = stand_statistic(stand, "cache", "bypassedBytes");
		misses = stand_statistic(stand, "cache", "misses");
		EXPECT(read_at(stand, node, back, 600000, 0) == 600000);
		EXPECT(write_at(stand, node, data, 524288, 4096) == 524288);
		EXPECT(is_pattern(stand, node, 524288, 4096, 'A' + i));
		if (stand_statistic(stand, "cache", "bypassedBytes") != passed || stand_statistic(stand, "cache", "misses") != misses)
			return fault("write %d: what is read between two writes was not kept", i);
	}
	EXPECT(is_pattern(stand, node, 3996, 100, 'd') && is_pattern(stand, node, 100, 528384, 'd'));
	drop_file(stand, node);
	return NULL;
}
SPECIAL(rewritten_unread, "cache")

/* O_DIRECT goes past the cache, and what it overwrote goes out of it. */
static const char *direct_writes(struct stand *stand, const char *directory)
{
	struct dc_node *node = make_file(stand, "f", 65536, 1);
	char *data = aligned_alloc(4096, 16384);
	struct iovec iov = {data, 16384};
	off_t offset = 8192;

	memset(data, 2, 16384);
	EXPECT(is_pattern(stand, node, 65536, 0, 1));
	EXPECT(CALL(stand, write, node, &iov, 1, &offset, DC_IO_DIRECT) == 16384);
	EXPECT(is_pattern(stand, node, 8192, 0, 1) && is_pattern(stand, node, 16384, 8192, 2) && is_pattern(stand, node, 40960, 24576, 1));
	EXPECT(stand_statistic(stand, "cache", "bypassedBytes") == 16384);
	free(data);
	drop_file(stand, node);
	return NULL;
}
SPECIAL(direct_writes, "cache")

/* The last name and the last reference go: so do the pages and the child's node, and with it the space. */
static const char *gone_is_gone(struct stand *stand, const char *directory)
{
	struct dc_node *node = make_file(stand, "f", 100000, 1);
	int64_t nodes = stand_statistic(stand, "local", "nodes");

	EXPECT(!CALL(stand, unlink, stand->root, "f") && is_pattern(stand, node, 100000, 0, 1));
	EXPECT(node->flags & DC_NODE_UNLINKED);
	drop_file(stand, node);
	EXPECT(stand_statistic(stand, "local", "nodes") == nodes - 1);
	node = make_file(stand, "f", 10, 1);
	drop_file(stand, node);
	EXPECT(!CALL(stand, unlink, stand->root, "f"));
	EXPECT(stand_statistic(stand, "local", "nodes") == nodes - 1);
	return NULL;
}
SPECIAL(gone_is_gone, "cache")

#ifndef __SANITIZE_THREAD__ /* a race on purpose */
/* A client scribbles into its buffer while it is being written: cache and child must still agree. */
struct scribbler { unsigned char *buffer; _Atomic bool stop; };

static void *scribble(void *argument)
{
	struct scribbler *scribbler = argument;
	volatile unsigned char *at = scribbler->buffer;
	unsigned i = 0;

	while (!scribbler->stop)
		at[(i += 641) % 20000]++;
	return NULL;
}

static const char *scribbling_client(struct stand *stand, const char *directory)
{
	static unsigned char shared[20000], cached[20000], below[20000];
	struct scribbler scribbler = {shared, false};
	struct dc_node *node = make_file(stand, "f", 20000, 0);
	pthread_t thread;
	char path[4352];
	int host, i;

	snprintf(path, sizeof path, "%s/f", directory);
	host = open(path, O_RDONLY | O_CLOEXEC);
	pthread_create(&thread, NULL, scribble, &scribbler);
	for (i = 0; i < 300; i++) {
		off_t offset = i % 3 ? (i % 3) * 100 : 0;
		size_t bytes = i % 3 ? 15000u : 16384u;
		EXPECT(write_at(stand, node, shared, bytes, offset) == (ssize_t)bytes);
		EXPECT(read_at(stand, node, cached, 20000, 0) == 20000 && pread(host, below, 20000, 0) == 20000);
		EXPECT(!memcmp(cached, below, 20000));
	}
	scribbler.stop = true;
	pthread_join(thread, NULL);
	close(host);
	drop_file(stand, node);
	return NULL;
}
SPECIAL(scribbling_client, "cache")
#endif

const struct special specials[] = {
	{"plans", special_plans, "local"},
	{"confined", special_confined, "local cache"},
	{"moved_out", special_moved_out, "local"},
	{"read_only", special_read_only, "local"},
	{"many_files", special_many_files, "local cache"},
	{"executable", special_executable, NULL},
	{"mounted_below", special_mounted_below, "local cache"},
	{"changing_list", special_changing_list, NULL},
	{"behind_back", special_behind_back, "cache"},
	{"behind_back_at_once", special_behind_back_at_once, "cache-ttl0"},
	{"cut_short", special_cut_short, "cache"},
	{"never_above_size", special_never_above_size, "cache-small"},
	{"stream_passes", special_stream_passes, "cache-small"},
	{"rewritten_unread", special_rewritten_unread, "cache"},
	{"direct_writes", special_direct_writes, "cache"},
	{"gone_is_gone", special_gone_is_gone, "cache"},
#ifndef __SANITIZE_THREAD__
	{"scribbling_client", special_scribbling_client, "cache"},
#endif
	{"write_faults", special_write_faults, "cache"},
	{"long_write_faults", special_long_write_faults, "cache"},
	{"read_faults", special_read_faults, "cache"},
	{"fsync_faults", special_fsync_faults, "cache"},
	{"child_short", special_child_short, "cache"},
	{"asks_nobody", special_asks_nobody, "cache"},
};
const size_t special_count = sizeof specials / sizeof specials[0];
