#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "util.h"

static int log_fd = -1;

int dc_log_file(int pool_directory, const char *path) {
	int fd = openat(pool_directory, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0640);
	return fd < 0 ? -errno : fd;
}

int dc_log_open(int pool_directory) {
	if (mkdirat(pool_directory, "log", 0750) != 0 && errno != EEXIST) return -errno;
	int fd = dc_log_file(pool_directory, "log/init.log");
	if (fd < 0) return fd;
	log_fd = fd;
	return 0;
}

void dc_log(const char *format, ...) {
	char line[1024];
	struct timespec now;
	struct tm parts;
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &parts);
	size_t used = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &parts);
	used += (size_t)snprintf(line + used, sizeof line - used, ".%03ldZ ", now.tv_nsec / 1000000);
	va_list arguments;
	va_start(arguments, format);
	int length = vsnprintf(line + used, sizeof line - used - 1, format, arguments);
	va_end(arguments);
	size_t end = length < 0 ? used : used + (size_t)length < sizeof line - 1 ? used + (size_t)length : sizeof line - 2;
	for (size_t i = used; i < end; i++) /* what peers say is quoted here: one entry stays one line */
		if ((unsigned char)line[i] < 32 || line[i] == 127) line[i] = '?';
	line[end++] = '\n';
	if (log_fd >= 0) dc_write_all(log_fd, line, end);
}

static void copy_tail(int from, int to, off_t size) {
	char block[65536];
	off_t at = size > (off_t)DC_LOG_BYTES_MAX ? size - (off_t)DC_LOG_BYTES_MAX : 0;
	ssize_t got;
	while (at < size && (got = pread(from, block, sizeof block, at)) > 0) {
		if (dc_write_all(to, block, (size_t)got) < 0) return;
		at += got;
	}
}

void dc_log_trim(int pool_directory, const char *path) {
	int from = openat(pool_directory, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (from < 0) return;
	struct stat about;
	if (fstat(from, &about) == 0 && S_ISREG(about.st_mode) && about.st_size > (off_t)DC_LOG_BYTES_MAX) {
		char older[512];
		snprintf(older, sizeof older, "%s.1", path);
		int to = openat(pool_directory, older, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
		if (to >= 0) {
			copy_tail(from, to, about.st_size);
			close(to);
		}
		if (ftruncate(from, 0) != 0) dc_log("cannot truncate %s: %s", path, strerror(errno));
	}
	close(from);
}

void dc_log_last_line(int pool_directory, const char *path, char *line, size_t size) {
	line[0] = 0;
	int fd = openat(pool_directory, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0) return;
	char tail[4096];
	struct stat about;
	off_t from = fstat(fd, &about) == 0 && about.st_size > (off_t)sizeof tail - 1 ? about.st_size - (off_t)sizeof tail + 1 : 0;
	ssize_t got = pread(fd, tail, sizeof tail - 1, from);
	close(fd);
	while (got > 0 && (tail[got - 1] == '\n' || tail[got - 1] == '\r')) got--;
	if (got <= 0) return;
	tail[got] = 0;
	const char *last = strrchr(tail, '\n');
	snprintf(line, size, "%s", last ? last + 1 : tail);
}
