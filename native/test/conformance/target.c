/* target.c - the traced calls of target.h. */
#include "target.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct calls *calls_of(const struct target *t)
{
	return t->stand ? &stack_calls : &host_calls;
}

void trace_add(struct target *target, const char *format, ...)
{
	struct trace *trace = &target->trace;
	va_list arguments;
	int length;

	if (trace->size - trace->length < 4096) {
		trace->size = trace->size * 2 + 8192;
		trace->text = realloc(trace->text, trace->size);
		if (!trace->text)
			abort();
	}
	va_start(arguments, format);
	length = vsnprintf(trace->text + trace->length, 4096, format, arguments);
	va_end(arguments);
	trace->length += (size_t)(length < 4095 ? length : 4095);
}

/* One line: the call as the case wrote it, and its outcome. */
static ssize_t outcome(struct target *t, ssize_t result, const char *format, ...)
{
	char call[1024];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(call, sizeof call, format, arguments);
	va_end(arguments);
	if (result < 0)
		trace_add(t, "%.900s = %s\n", call, strerrorname_np((int)-result) ? strerrorname_np((int)-result) : "?");
	else
		trace_add(t, "%.900s = %zd\n", call, result);
	return result;
}
#define DONE(result, ...) outcome(t, result, __VA_ARGS__)

/* Names that the trace can hold. */
static const char *brief(const char *path)
{
	return strlen(path) > 80 ? "(long)" : path;
}

static void fill(char *buffer, int seed, size_t bytes)
{
	size_t i;
	for (i = 0; i < bytes; i++)
		buffer[i] = (char)(seed + (int)(i * 7 + i / 251));
}

static uint64_t digest(const char *buffer, size_t bytes)
{
	uint64_t hash = 14695981039346656037u;
	size_t i;
	for (i = 0; i < bytes; i++)
		hash = (hash ^ (unsigned char)buffer[i]) * 1099511628211u;
	return hash;
}

static int split(char *buffer, size_t bytes, size_t piece, struct iovec *vectors, int limit)
{
	size_t at = 0;
	int count = 0;
	while (at < bytes && count < limit) {
		size_t here = count == limit - 1 || bytes - at < piece ? bytes - at : piece;
		vectors[count++] = (struct iovec){buffer + at, here};
		at += here;
	}
	return count;
}

int t_open(struct target *t, int handle, const char *path, int flags, mode_t mode)
{
	return (int)DONE(calls_of(t)->open(t, handle, path, flags, mode), "open(%d, %s, %o, %o)", handle, brief(path), flags, mode);
}

void t_close(struct target *t, int handle)
{
	calls_of(t)->close(t, handle);
}

ssize_t t_readv(struct target *t, int handle, size_t bytes, size_t piece, off_t offset)
{
	char *buffer = calloc(1, bytes + 1);
	struct iovec vectors[200];
	int count = split(buffer, bytes, piece, vectors, 200);
	ssize_t got = calls_of(t)->read(t, handle, vectors, count, offset);

	DONE(got, "read(%d, %zu, %lld)", handle, bytes, (long long)offset);
	if (got > 0)
		trace_add(t, "  %016llx\n", (unsigned long long)digest(buffer, (size_t)got));
	free(buffer);
	return got;
}

ssize_t t_read(struct target *t, int handle, size_t bytes, off_t offset)
{
	return t_readv(t, handle, bytes, bytes ? bytes : 1, offset);
}

static ssize_t write_any(struct target *t, int handle, int seed, size_t bytes, size_t piece, off_t offset, bool append)
{
	char *buffer = malloc(bytes + 1);
	struct iovec vectors[200];
	int count;
	ssize_t put;

	fill(buffer, seed, bytes);
	count = split(buffer, bytes, piece, vectors, 200);
	put = calls_of(t)->write(t, handle, vectors, count, &offset, append);
	DONE(put, "write(%d, %zu, %s)", handle, bytes, append ? "append" : "");
	if (put > 0)
		trace_add(t, "  at %lld\n", (long long)offset);
	free(buffer);
	return put;
}

ssize_t t_write(struct target *t, int handle, int seed, size_t bytes, off_t offset)
{
	return write_any(t, handle, seed, bytes, bytes ? bytes : 1, offset, false);
}

ssize_t t_writev(struct target *t, int handle, int seed, size_t bytes, size_t piece, off_t offset)
{
	return write_any(t, handle, seed, bytes, piece, offset, false);
}

ssize_t t_append(struct target *t, int handle, int seed, size_t bytes)
{
	return write_any(t, handle, seed, bytes, bytes ? bytes : 1, 0, true);
}

int t_truncate(struct target *t, int handle, off_t size)
{
	return (int)DONE(calls_of(t)->truncate(t, handle, size), "truncate(%d, %lld)", handle, (long long)size);
}

static void trace_attributes(struct target *t, const struct attributes *a)
{
	trace_add(t, "  mode %o links %lu owner %u:%u", a->mode, (unsigned long)(S_ISDIR(a->mode) ? 0 : a->links), a->uid, a->gid);
	if (S_ISREG(a->mode) || S_ISLNK(a->mode))
		trace_add(t, " size %lld", (long long)a->size);
	if (S_ISCHR(a->mode) || S_ISBLK(a->mode))
		trace_add(t, " device %llx", (unsigned long long)a->device);
	trace_add(t, "\n");
}

int t_fstat(struct target *t, int handle)
{
	struct attributes a;
	int result = calls_of(t)->fstat(t, handle, &a);

	DONE(result, "fstat(%d)", handle);
	if (!result)
		trace_attributes(t, &a);
	return result;
}

int t_fsync(struct target *t, int handle, bool data_only)
{
	return (int)DONE(calls_of(t)->fsync(t, handle, data_only), "fsync(%d, %d)", handle, data_only);
}

int t_fallocate(struct target *t, int handle, int mode, off_t offset, off_t length)
{
	return (int)DONE(calls_of(t)->fallocate(t, handle, mode, offset, length), "fallocate(%d, %x, %lld, %lld)", handle, mode, (long long)offset, (long long)length);
}

off_t t_seek(struct target *t, int handle, off_t offset, int whence)
{
	return DONE(calls_of(t)->seek(t, handle, offset, whence), "seek(%d, %lld, %d)", handle, (long long)offset, whence);
}

ssize_t t_copy(struct target *t, int from, off_t from_offset, int to, off_t to_offset, size_t length)
{
	return DONE(calls_of(t)->copy(t, from, from_offset, to, to_offset, length), "copy(%d, %lld, %d, %lld, %zu)", from, (long long)from_offset, to, (long long)to_offset, length);
}

int t_tmpfile(struct target *t, int handle, const char *directory, int flags, mode_t mode)
{
	return (int)DONE(calls_of(t)->tmpfile(t, handle, directory, flags, mode), "tmpfile(%d, %s, %o)", handle, brief(directory), flags);
}

int t_link_handle(struct target *t, int handle, const char *path)
{
	return (int)DONE(calls_of(t)->link_handle(t, handle, path), "link(%d, %s)", handle, brief(path));
}

int t_stat(struct target *t, const char *path)
{
	struct attributes a;
	int result = calls_of(t)->stat(t, path, &a);

	DONE(result, "stat(%s)", brief(path));
	if (!result)
		trace_attributes(t, &a);
	return result;
}

int t_times(struct target *t, const char *path)
{
	struct attributes a;
	int result = calls_of(t)->stat(t, path, &a);

	DONE(result, "times(%s)", brief(path));
	if (!result)
		trace_add(t, "  %lld.%09ld %lld.%09ld\n", (long long)a.atime.tv_sec, a.atime.tv_nsec, (long long)a.mtime.tv_sec, a.mtime.tv_nsec);
	return result;
}

int t_set_times(struct target *t, const char *path, struct timespec atime, struct timespec mtime)
{
	return (int)DONE(calls_of(t)->set_times(t, path, atime, mtime), "utimens(%s)", brief(path));
}

int t_chmod(struct target *t, const char *path, mode_t mode)
{
	return (int)DONE(calls_of(t)->chmod(t, path, mode), "chmod(%s, %o)", brief(path), mode);
}

int t_chown(struct target *t, const char *path, uid_t uid, gid_t gid)
{
	return (int)DONE(calls_of(t)->chown(t, path, uid, gid), "chown(%s, %d, %d)", brief(path), (int)uid, (int)gid);
}

int t_mkdir(struct target *t, const char *path, mode_t mode)
{
	return (int)DONE(calls_of(t)->mkdir(t, path, mode), "mkdir(%s, %o)", brief(path), mode);
}

int t_mknod(struct target *t, const char *path, mode_t mode, dev_t device)
{
	return (int)DONE(calls_of(t)->mknod(t, path, mode, device), "mknod(%s, %o)", brief(path), mode);
}

int t_symlink(struct target *t, const char *text, const char *path)
{
	return (int)DONE(calls_of(t)->symlink(t, text, path), "symlink(%s, %s)", brief(text), brief(path));
}

ssize_t t_readlink(struct target *t, const char *path, size_t size)
{
	char buffer[8192];
	ssize_t got = calls_of(t)->readlink(t, path, buffer, size);

	DONE(got, "readlink(%s, %zu)", brief(path), size);
	if (got > 0)
		trace_add(t, "  %016llx\n", (unsigned long long)digest(buffer, (size_t)got));
	return got;
}

int t_link(struct target *t, const char *from, const char *to)
{
	return (int)DONE(calls_of(t)->link(t, from, to), "link(%s, %s)", brief(from), brief(to));
}

int t_unlink(struct target *t, const char *path)
{
	return (int)DONE(calls_of(t)->unlink(t, path), "unlink(%s)", brief(path));
}

int t_rmdir(struct target *t, const char *path)
{
	return (int)DONE(calls_of(t)->rmdir(t, path), "rmdir(%s)", brief(path));
}

int t_rename(struct target *t, const char *from, const char *to, unsigned flags)
{
	return (int)DONE(calls_of(t)->rename(t, from, to, flags), "rename(%s, %s, %u)", brief(from), brief(to), flags);
}

void entries_add(struct entries *entries, const char *name, size_t length, uint32_t type, uint64_t ino)
{
	if (entries->count == entries->size) {
		entries->size = entries->size * 2 + 64;
		entries->list = realloc(entries->list, entries->size * sizeof *entries->list);
		if (!entries->list)
			abort();
	}
	snprintf(entries->list[entries->count].name, 256, "%.*s", (int)length, name);
	entries->list[entries->count].type = type;
	entries->list[entries->count++].ino = ino;
}

static int compare_entries(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

int t_list(struct target *t, const char *path)
{
	struct entries entries = {0};
	int result = calls_of(t)->list(t, path, &entries);
	size_t i;

	DONE(result, "list(%s)", brief(path));
	if (entries.count)
		qsort(entries.list, entries.count, sizeof *entries.list, compare_entries);
	for (i = 0; i < entries.count; i++)
		trace_add(t, "  %o %.60s%s\n", entries.list[i].type, entries.list[i].name, strlen(entries.list[i].name) > 60 ? "..." : "");
	free(entries.list);
	return result;
}

ssize_t t_getxattr(struct target *t, const char *path, const char *name, size_t size)
{
	char value[65536];
	ssize_t got = calls_of(t)->getxattr(t, path, name, value, size);

	DONE(got, "getxattr(%s, %s, %zu)", brief(path), brief(name), size);
	if (got > 0 && size)
		trace_add(t, "  %016llx\n", (unsigned long long)digest(value, (size_t)got));
	return got;
}

int t_setxattr(struct target *t, const char *path, const char *name, const char *value, size_t size, int flags)
{
	return (int)DONE(calls_of(t)->setxattr(t, path, name, value, size, flags), "setxattr(%s, %s, %zu, %d)", brief(path), brief(name), size, flags);
}

ssize_t t_listxattr(struct target *t, const char *path, size_t size)
{
	char list[65536];
	ssize_t got = calls_of(t)->listxattr(t, path, list, size), at;

	DONE(got, "listxattr(%s, %zu)", brief(path), size);
	for (at = 0; size && at < got; at += (ssize_t)strlen(list + at) + 1)
		trace_add(t, "  %s\n", list + at);
	return got;
}

int t_removexattr(struct target *t, const char *path, const char *name)
{
	return (int)DONE(calls_of(t)->removexattr(t, path, name), "removexattr(%s, %s)", brief(path), brief(name));
}

int t_same(struct target *t, const char *a, const char *b)
{
	struct attributes of_a, of_b;
	int result = calls_of(t)->stat(t, a, &of_a);

	if (!result)
		result = calls_of(t)->stat(t, b, &of_b);
	return (int)DONE(result ? result : of_a.ino == of_b.ino, "same(%s, %s)", brief(a), brief(b));
}

int t_parent_is(struct target *t, const char *directory, const char *parent)
{
	struct attributes of_a, of_b;
	int result = calls_of(t)->parent(t, directory, &of_a);

	if (!result)
		result = calls_of(t)->stat(t, parent, &of_b);
	return (int)DONE(result ? result : of_a.ino == of_b.ino, "parent(%s, %s)", brief(directory), brief(parent));
}

void t_as(struct target *t, uid_t uid, gid_t gid)
{
	trace_add(t, "as %u:%u\n", uid, gid);
	calls_of(t)->as(t, uid, gid);
}
