/*
 * endure.c - a writer that verifies everything, for as long as its filesystem's service is killed, stopped and replaced under it.
 *
 * Usage: endure DIRECTORY SECONDS THREADS SEED. Each thread has files of its own, knows what must be in them, and goes on with the same descriptors from the beginning to the end: a
 * file that is renamed and unlinked while it is open, one that never had a name, one that is appended to. What may be repeated must never fail. What must happen once
 * (rename, unlink, create, append, mkdir, rmdir) may answer EIO; then it has happened or not, and nothing else. Prints "OPERATIONS DOUBTS"; a wrong answer ends it with 3 and a
 * sentence on stdout.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define FILE_MAX (256u << 10)
#define IO_MAX 20000u
#define RECORD 16

struct writer {
	pthread_t thread;
	unsigned id;
	uint64_t random;
	int fd;              /* the file; it has a name, or not */
	bool named;
	unsigned name;       /* which of its two */
	size_t size;
	unsigned char *shadow;
	int nameless;        /* O_TMPFILE; -1: not to be had here */
	uint64_t nameless_value;
	int log;             /* O_APPEND */
	uint64_t records;
	bool directory;
	uint64_t operations, doubts;
};

static const char *root;
static time_t end;

_Noreturn static void wrong(const struct writer *writer, const char *format, ...) {
	int error = errno;
	char text[300];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	printf("WRONG: writer %u, operation %llu: %s (%s)\n", writer->id, (unsigned long long)writer->operations, text, strerror(error));
	fflush(stdout);
	_exit(3);
}

static uint64_t draw(struct writer *writer, uint64_t below) {
	writer->random ^= writer->random << 13;
	writer->random ^= writer->random >> 7;
	writer->random ^= writer->random << 17;
	return writer->random % below;
}

static const char *path_of(const struct writer *writer, char *path, const char *what, unsigned which) {
	snprintf(path, 300, "%s/%s-%u-%u", root, what, writer->id, which);
	return path;
}

/* Of what must happen once: true when it has succeeded, false when it is in doubt. */
static bool once(struct writer *writer, int result, const char *what) {
	if (result >= 0) return true;
	if (errno != EIO) wrong(writer, "%s", what);
	writer->doubts++;
	return false;
}

static bool exists(struct writer *writer, const char *path) {
	struct stat st;
	if (lstat(path, &st) == 0) return true;
	if (errno != ENOENT) wrong(writer, "lstat %s", path);
	return false;
}

/* ---- the file ----------------------------------------------------------------------------------------------------------------- */
static void check_range(struct writer *writer, size_t at, size_t length) {
	static _Thread_local unsigned char data[FILE_MAX + IO_MAX];
	ssize_t got = pread(writer->fd, data, length, (off_t)at);
	size_t expected = at >= writer->size ? 0 : writer->size - at < length ? writer->size - at : length;
	if (got != (ssize_t)expected) wrong(writer, "read of %zu at %zu gave %zd, the file has %zu", length, at, got, writer->size);
	if (memcmp(data, writer->shadow + at, expected)) wrong(writer, "other data at %zu, %zu bytes", at, expected);
}

static void write_some(struct writer *writer) {
	size_t at = draw(writer, FILE_MAX - IO_MAX), length = 1 + draw(writer, IO_MAX - 1);
	if (at > writer->size) memset(writer->shadow + writer->size, 0, at - writer->size);
	for (size_t i = 0; i < length; i += 8) {
		uint64_t value = draw(writer, UINT64_MAX);
		memcpy(writer->shadow + at + i, &value, length - i < 8 ? length - i : 8);
	}
	ssize_t done = pwrite(writer->fd, writer->shadow + at, length, (off_t)at);
	if (done != (ssize_t)length) wrong(writer, "write of %zu at %zu gave %zd", length, at, done);
	if (at + length > writer->size) writer->size = at + length;
}

static void truncate_it(struct writer *writer) {
	size_t size = draw(writer, FILE_MAX);
	if (ftruncate(writer->fd, (off_t)size)) wrong(writer, "ftruncate to %zu", size);
	if (size > writer->size) memset(writer->shadow + writer->size, 0, size - writer->size);
	writer->size = size;
	struct stat st;
	if (fstat(writer->fd, &st)) wrong(writer, "fstat");
	if ((size_t)st.st_size != size) wrong(writer, "%lld bytes after a truncation to %zu", (long long)st.st_size, size);
}

static void rename_it(struct writer *writer) {
	char from[300], to[300];
	if (!writer->named) return;
	path_of(writer, from, "file", writer->name);
	path_of(writer, to, "file", !writer->name);
	if (!once(writer, rename(from, to), "rename")) {
		bool old = exists(writer, from), new = exists(writer, to);
		if (old == new) wrong(writer, "a rename in doubt left %s", old ? "both names" : "none");
		if (old) return;
	}
	writer->name = !writer->name;
}

static void unlink_it(struct writer *writer) {
	char path[300];
	if (!writer->named) return;
	if (!once(writer, unlink(path_of(writer, path, "file", writer->name)), "unlink") && exists(writer, path)) return;
	writer->named = false;
}

/* A new file with a name, in place of one that has lost it; the old one is checked a last time. */
static void make_it(struct writer *writer) {
	char path[300];
	if (writer->named) return;
	path_of(writer, path, "file", writer->name);
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0644);
	if (!once(writer, fd, "create")) {
		if (!exists(writer, path)) return;
		fd = open(path, O_RDWR);
		if (fd < 0) wrong(writer, "open after a creation in doubt");
	}
	if (writer->fd >= 0) {
		check_range(writer, 0, FILE_MAX);
		if (close(writer->fd)) wrong(writer, "close");
	}
	writer->fd = fd;
	writer->size = 0;
	writer->named = true;
}

static void reopen_it(struct writer *writer) {
	char path[300];
	if (!writer->named) return;
	if (close(writer->fd)) wrong(writer, "close");
	writer->fd = open(path_of(writer, path, "file", writer->name), O_RDWR);
	if (writer->fd < 0) wrong(writer, "open %s", path);
}

/* ---- the others --------------------------------------------------------------------------------------------------------------- */
static void use_nameless(struct writer *writer) {
	uint64_t value;
	if (writer->nameless < 0) return;
	if (pread(writer->nameless, &value, sizeof value, 4096) != sizeof value) wrong(writer, "read of a file that never had a name");
	if (value != writer->nameless_value) wrong(writer, "other data in a file that never had a name");
	writer->nameless_value = draw(writer, UINT64_MAX);
	if (pwrite(writer->nameless, &writer->nameless_value, sizeof value, 4096) != sizeof value) wrong(writer, "write of a file that never had a name");
}

static void append_record(struct writer *writer) {
	char record[RECORD + 1], last[RECORD + 1] = {0}, path[300];
	snprintf(record, sizeof record, "%015llu\n", (unsigned long long)writer->records);
	struct stat st;
	ssize_t written = write(writer->log, record, RECORD);
	if (written != RECORD && once(writer, (int)written, "append")) wrong(writer, "an append of %zd bytes", written);
	if (stat(path_of(writer, path, "log", 0), &st)) wrong(writer, "stat of the log");
	if (written == RECORD || (uint64_t)st.st_size == (writer->records + 1) * RECORD) writer->records++;
	if ((uint64_t)st.st_size != writer->records * RECORD) wrong(writer, "%lld bytes in a log of %llu records", (long long)st.st_size, (unsigned long long)writer->records);
	if (writer->records && pread(writer->log, last, RECORD, st.st_size - RECORD) != RECORD) wrong(writer, "read of the log");
	if (writer->records && strtoull(last, NULL, 10) != writer->records - 1) wrong(writer, "the log ends with %s", last);
}

static void use_directory(struct writer *writer) {
	char path[300];
	path_of(writer, path, "directory", 0);
	int result = writer->directory ? rmdir(path) : mkdir(path, 0755);
	if (once(writer, result, writer->directory ? "rmdir" : "mkdir")) writer->directory = !writer->directory;
	else writer->directory = exists(writer, path);
	if (exists(writer, path) != writer->directory) wrong(writer, "a directory that is %s", writer->directory ? "missing" : "there still");
}

static void use_attribute(struct writer *writer) {
	uint64_t value = draw(writer, UINT64_MAX), read = 0;
	if (fsetxattr(writer->log, "user.endure", &value, sizeof value, 0)) {
		if (errno == EOPNOTSUPP) return;
		wrong(writer, "fsetxattr");
	}
	ssize_t got = fgetxattr(writer->log, "user.endure", &read, sizeof read);
	if (got < 0 && errno == EIO) writer->doubts++; /* the answer stands where the question stood */
	else if (got != sizeof read || read != value) wrong(writer, "fgetxattr gave %zd bytes", got);
}

static void one_operation(struct writer *writer) {
	unsigned dice = (unsigned)draw(writer, 100);
	writer->operations++;
	if (dice < 40) write_some(writer);
	else if (dice < 70) check_range(writer, draw(writer, FILE_MAX - IO_MAX), 1 + draw(writer, IO_MAX));
	else if (dice < 74) truncate_it(writer);
	else if (dice < 77) use_nameless(writer);
	else if (dice < 82) rename_it(writer);
	else if (dice < 84) unlink_it(writer);
	else if (dice < 88) make_it(writer);
	else if (dice < 91) append_record(writer);
	else if (dice < 93) use_directory(writer);
	else if (dice < 95) use_attribute(writer);
	else if (dice < 98) reopen_it(writer);
	else if (fsync(writer->fd)) wrong(writer, "fsync");
}

static void *run(void *argument) {
	struct writer *writer = argument;
	char path[300];
	writer->shadow = calloc(1, FILE_MAX + IO_MAX);
	writer->fd = -1;
	while (writer->fd < 0) make_it(writer);
	do writer->log = open(path_of(writer, path, "log", 0), O_RDWR | O_CREAT | O_APPEND, 0644);
	while (writer->log < 0 && errno == EIO);
	if (writer->log < 0) wrong(writer, "open of the log");
	writer->nameless = open(root, O_TMPFILE | O_RDWR, 0600);
	if (writer->nameless >= 0 && pwrite(writer->nameless, &writer->nameless_value, 8, 4096) != 8) wrong(writer, "the first write of a file without a name");
	while (time(NULL) < end) one_operation(writer);
	check_range(writer, 0, FILE_MAX);
	return NULL;
}

int main(int argc, char **argv) {
	if (argc != 5) return 2;
	root = argv[1];
	unsigned threads = (unsigned)atoi(argv[3]);
	struct writer *writers = calloc(threads, sizeof *writers);
	uint64_t operations = 0, doubts = 0;
	end = time(NULL) + atoi(argv[2]);
	for (unsigned i = 0; i < threads; i++) {
		writers[i].id = (unsigned)atoi(argv[4]) * 100 + i;
		writers[i].random = 0x9e3779b97f4a7c15u * (writers[i].id + 1);
		if (pthread_create(&writers[i].thread, NULL, run, &writers[i])) return 1;
	}
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(writers[i].thread, NULL);
		operations += writers[i].operations;
		doubts += writers[i].doubts;
	}
	printf("%llu %llu\n", (unsigned long long)operations, (unsigned long long)doubts);
	return 0;
}
