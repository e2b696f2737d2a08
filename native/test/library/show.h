/*
 * show.h - prints what calls answer, so that a run on a host directory and one under the library can be compared.
 */
#ifndef DICICLO_TEST_LIBRARY_SHOW_H
#define DICICLO_TEST_LIBRARY_SHOW_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The result, and the error's name when there is one. */
static inline void show(const char *what, long result) {
	int error = errno;
	if (result < 0) printf("%s = %ld %s\n", what, result, strerrorname_np(error));
	else printf("%s = %ld\n", what, result);
	errno = 0;
}
#define SHOW(call) show(#call, (long)(errno = 0, call))

static inline void show_stat(const char *name) {
	struct stat st;
	if (lstat(name, &st) < 0) {
		show(name, -1);
		return;
	}
	printf("%s: mode %o links %ld uid %d gid %d size %ld mtime %ld.%09ld\n", name, st.st_mode, (long)st.st_nlink, (int)st.st_uid, (int)st.st_gid,
		S_ISDIR(st.st_mode) ? 0 : (long)st.st_size, st.st_mtim.tv_sec > 1500000000 ? 0 : st.st_mtim.tv_sec, st.st_mtim.tv_sec > 1500000000 ? 0 : st.st_mtim.tv_nsec);
}

static inline void show_bytes(const char *what, const char *bytes, long count) {
	printf("%s %ld [", what, count);
	for (long i = 0; i < count && i < 60; i++) putchar(bytes[i] >= 32 && bytes[i] < 127 ? bytes[i] : '.');
	printf("]\n");
}

static inline void make(const char *name, const char *text) {
	int fd = open(name, O_CREAT | O_TRUNC | O_WRONLY, 0644);
	if (fd < 0 || write(fd, text, strlen(text)) < 0) perror(name);
	close(fd);
}

/* What the file holds now. */
static inline void show_file(const char *name) {
	char bytes[4096];
	int fd = open(name, O_RDONLY);
	long got = fd < 0 ? -1 : (long)read(fd, bytes, sizeof bytes);
	if (got < 0) show(name, got);
	else show_bytes(name, bytes, got);
	if (fd >= 0) close(fd);
}

#endif
