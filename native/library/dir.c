/*
 * dir.c - directory streams and getdents64.
 *
 * A stream over a carried directory is our own object; it holds a descriptor, a cookie and a buffer of the service's records. glibc's streams and ours are told apart by the first
 * word: glibc's begins with a descriptor, ours with a number that is none.
 */
#include "internal.h"

#include <dirent.h>
#include <stdlib.h>

#define MAGIC UINT64_C(0xd1c1c10dfffffff0)
#define BUFFER 32768u

struct stream {
	uint64_t magic;
	int fd;
	int64_t cookie;       /* behind the entry returned last */
	int64_t buffer_end;   /* cookie behind the buffer's last record */
	uint32_t used, size;
	struct dirent entry;
	unsigned char buffer[BUFFER] __attribute__((aligned(8)));
};

static struct stream *ours(DIR *directory) {
	struct stream *stream = (struct stream *)(void *)directory;
	return stream && stream->magic == MAGIC ? stream : NULL;
}

int64_t dc_records(struct dc_client *client, uint32_t instance, uint64_t handle, int64_t cookie, void *out, size_t size) {
	struct dc_call call;
	dc_call_begin(&call, client, DC_OP_READDIR, instance, handle);
	call.slot->offset = (uint64_t)cookie;
	call.slot->length = size;
	int64_t result = dc_call_send(&call);
	if (result > (int64_t)size) result = -EIO;
	if (result > 0) memcpy(out, call.buffer, (size_t)result);
	dc_call_end(&call);
	return result == -ESTALE ? -EIO : result;
}

static int64_t records(struct dc_file *file, int64_t cookie, void *out, size_t size) {
	return dc_records(file->client, file->instance, file->handle, cookie, out, size);
}

const struct dc_wire_dirent *dc_record_at(const unsigned char *buffer, uint32_t used, uint32_t size) {
	if (used + sizeof(struct dc_wire_dirent) > size) return NULL;
	const struct dc_wire_dirent *record = (const struct dc_wire_dirent *)(buffer + used);
	if (used + record->record > size || offsetof(struct dc_wire_dirent, name) + record->name_length + 1u > record->record) return NULL;
	return record;
}

/* ---- getdents64 ------------------------------------------------------------------------------------------------------------ */
struct linux_dirent64 {
	uint64_t d_ino;
	int64_t d_off;
	uint16_t d_reclen;
	uint8_t d_type;
	char d_name[];
};

int64_t dc_read_directory(struct dc_file *file, int64_t *cookie, void *out, size_t size, bool linux_form) {
	unsigned char buffer[8192] __attribute__((aligned(8)));
	size_t done = 0;
	for (;;) {
		/* A wire record is never smaller than the linux one of the same name, so what is asked for fits. */
		size_t ask = size - done < sizeof buffer ? size - done : sizeof buffer;
		int64_t got = ask < 32 && done ? 0 : records(file, *cookie, buffer, ask);
		if (got == -EINVAL && done) got = 0;
		if (got <= 0) return done ? (int64_t)done : got;
		const struct dc_wire_dirent *record;
		for (uint32_t used = 0; (record = dc_record_at(buffer, used, (uint32_t)got)); used += record->record) {
			size_t length = (offsetof(struct linux_dirent64, d_name) + record->name_length + 1 + 7) & ~(size_t)7;
			if (done + length > size) return (int64_t)done;
			struct linux_dirent64 *entry = (struct linux_dirent64 *)((unsigned char *)out + done);
			entry->d_ino = record->ino;
			entry->d_off = (int64_t)record->cookie;
			entry->d_reclen = (uint16_t)length;
			entry->d_type = record->type;
			memcpy(entry->d_name, record->name, record->name_length);
			entry->d_name[record->name_length] = 0;
			done += length;
			*cookie = (int64_t)record->cookie;
		}
		if (linux_form) return (int64_t)done; /* one request per call */
	}
}

EXPORT ssize_t getdents64(int fd, void *buffer, size_t size) {
	struct dc_file *file = dc_file_get(fd);
	if (!file) return NEXT(getdents64)(fd, buffer, size);
	if (atomic_load(&file->shared)) {
		dc_uncarried(DC_UNCARRIED_read_shared);
		dc_file_put(file);
		return NEXT(getdents64)(fd, buffer, size);
	}
	bool locked = dc_file_lock(file);
	int64_t cookie = atomic_load(&file->offset);
	int64_t result = file->flags & O_PATH ? -EBADF : !file->directory ? -ENOTDIR : dc_bad_address(buffer) ? -EFAULT : dc_read_directory(file, &cookie, buffer, size, true);
	if (result > 0) atomic_store(&file->offset, cookie);
	dc_file_unlock(file, locked);
	dc_file_put(file);
	return dc_return(result);
}

EXPORT ssize_t getdirentries(int fd, char *restrict buffer, size_t size, off_t *restrict base) {
	struct dc_file *file = dc_file_get(fd);
	if (!file) return NEXT(getdirentries)(fd, buffer, size, base);
	dc_file_put(file);
	off_t position = lseek(fd, 0, SEEK_CUR);
	ssize_t result = getdents64(fd, buffer, size);
	if (result >= 0) *base = position;
	return result;
}
ALIAS(getdirentries64, getdirentries);

/* ---- streams --------------------------------------------------------------------------------------------------------------- */
static DIR *stream_new(int fd) {
	struct stream *stream = malloc(sizeof *stream);
	if (!stream) return NULL;
	stream->magic = MAGIC;
	stream->fd = fd;
	stream->cookie = stream->buffer_end = 0;
	stream->used = stream->size = 0;
	return (DIR *)stream;
}

EXPORT DIR *opendir(const char *path) {
	if (!dc_active() || dc_bad_address(path) || !path[0]) return NEXT(opendir)(path);
	int fd = dc_open_carried(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK, 0, 0);
	if (fd == DC_RESULT_KERNEL) {
		DIR *directory = NEXT(opendir)(path);
		if (directory) dc_forget_new(NEXT(dirfd)(directory));
		return directory;
	}
	if (fd < 0) {
		errno = -fd;
		return NULL;
	}
	DIR *directory = stream_new(fd);
	if (!directory) dc_close_fd(fd);
	return directory;
}

EXPORT DIR *fdopendir(int fd) {
	struct dc_file *file = dc_file_get(fd);
	if (!file) return NEXT(fdopendir)(fd);
	int error = file->flags & O_PATH ? EBADF : file->directory ? 0 : ENOTDIR;
	int64_t cookie = atomic_load(&file->shared) ? 0 : atomic_load(&file->offset);
	dc_file_put(file);
	if (error) {
		errno = error;
		return NULL;
	}
	DIR *directory = stream_new(fd);
	if (directory) {
		k_fcntl(fd, F_SETFD, FD_CLOEXEC); /* as glibc does */
		ours(directory)->cookie = ours(directory)->buffer_end = cookie;
	}
	return directory;
}

static bool fill(struct stream *stream, int64_t *error) {
	struct dc_file *file = dc_file_get(stream->fd);
	if (!file) {
		*error = -EBADF;
		return false;
	}
	int64_t got = records(file, stream->buffer_end, stream->buffer, sizeof stream->buffer);
	dc_file_put(file);
	*error = got < 0 ? got : 0;
	stream->used = 0;
	stream->size = got > 0 ? (uint32_t)got : 0;
	return got > 0;
}

/* The next entry; NULL at the end (*error 0) or on an error. */
static struct dirent *next(struct stream *stream, int64_t *error) {
	*error = 0;
	const struct dc_wire_dirent *record = dc_record_at(stream->buffer, stream->used, stream->size);
	if (!record) {
		if (!fill(stream, error)) return NULL;
		record = dc_record_at(stream->buffer, 0, stream->size);
		if (!record) return NULL;
	}
	stream->used += record->record;
	stream->cookie = stream->buffer_end = (int64_t)record->cookie;
	struct dirent *entry = &stream->entry;
	entry->d_ino = record->ino;
	entry->d_off = (int64_t)record->cookie;
	entry->d_type = record->type;
	entry->d_reclen = (uint16_t)((offsetof(struct dirent, d_name) + record->name_length + 1u + 7u) & ~7u);
	memcpy(entry->d_name, record->name, record->name_length);
	entry->d_name[record->name_length] = 0;
	return entry;
}

EXPORT struct dirent *readdir(DIR *directory) {
	struct stream *stream = ours(directory);
	if (!stream) return NEXT(readdir)(directory);
	int64_t error;
	struct dirent *entry = next(stream, &error);
	if (error) errno = (int)-error;
	return entry;
}
ALIAS(readdir64, readdir);

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
EXPORT int readdir_r(DIR *restrict directory, struct dirent *restrict entry, struct dirent **restrict result) {
	struct stream *stream = ours(directory);
	if (!stream) return NEXT(readdir_r)(directory, entry, result);
	int64_t error;
	struct dirent *found = next(stream, &error);
	if (found) memcpy(entry, found, found->d_reclen);
	*result = found ? entry : NULL;
	return (int)-error;
}
#pragma GCC diagnostic pop
ALIAS(readdir64_r, readdir_r);

EXPORT int closedir(DIR *directory) {
	struct stream *stream = ours(directory);
	if (!stream) {
		if (directory && dc_active()) dc_table_forget(NEXT(dirfd)(directory));
		return NEXT(closedir)(directory);
	}
	int fd = stream->fd;
	stream->magic = 0;
	free(stream);
	return close(fd);
}

EXPORT int dirfd(DIR *directory) {
	struct stream *stream = ours(directory);
	return stream ? stream->fd : NEXT(dirfd)(directory);
}

static void move_to(struct stream *stream, int64_t cookie) {
	stream->cookie = stream->buffer_end = cookie;
	stream->used = stream->size = 0;
}

EXPORT void rewinddir(DIR *directory) {
	struct stream *stream = ours(directory);
	if (stream) move_to(stream, 0);
	else NEXT(rewinddir)(directory);
}

EXPORT void seekdir(DIR *directory, long position) {
	struct stream *stream = ours(directory);
	if (stream) move_to(stream, position);
	else NEXT(seekdir)(directory, position);
}

EXPORT long telldir(DIR *directory) {
	struct stream *stream = ours(directory);
	return stream ? (long)stream->cookie : NEXT(telldir)(directory);
}

/* ---- scandir: glibc's own opens without being seen -------------------------------------------------------------------------- */
typedef int (*filter_function)(const struct dirent *);
typedef int (*compare_function)(const struct dirent **, const struct dirent **);

static void free_list(struct dirent **list, size_t count) {
	while (count) free(list[--count]);
	free(list);
}

static int collect(DIR *directory, struct dirent ***out, filter_function filter) {
	struct dirent **list = NULL, *entry;
	size_t count = 0, space = 0;
	for (;;) {
		errno = 0;
		entry = readdir(directory);
		if (!entry) break;
		if (filter && !filter(entry)) continue;
		if (count == space) {
			struct dirent **grown = realloc(list, (space = space ? 2 * space : 16) * sizeof *list);
			if (!grown) break;
			list = grown;
		}
		struct dirent *copy = malloc(entry->d_reclen);
		if (!copy) break;
		list[count++] = memcpy(copy, entry, entry->d_reclen);
	}
	if (errno) {
		int error = errno;
		free_list(list, count);
		errno = error;
		return -1;
	}
	*out = list ? list : malloc(1);
	return (int)count;
}

EXPORT int scandirat(int dirfd, const char *restrict path, struct dirent ***restrict out, filter_function filter, compare_function compare) {
	int before = errno;
	int fd = dc_open_at(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK, 0);
	if (fd < 0) return -1;
	DIR *directory = fdopendir(fd);
	if (!directory) {
		close(fd);
		return -1;
	}
	int count = collect(directory, out, filter), error = errno;
	closedir(directory);
	if (count < 0) {
		errno = error;
		return -1;
	}
	if (compare && count) qsort(*out, (size_t)count, sizeof **out, (int (*)(const void *, const void *))compare);
	errno = before;
	return count;
}
ALIAS(scandirat64, scandirat);

EXPORT int scandir(const char *restrict path, struct dirent ***restrict out, filter_function filter, compare_function compare) {
	return scandirat(AT_FDCWD, path, out, filter, compare);
}
ALIAS(scandir64, scandir);
