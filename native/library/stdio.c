/*
 * stdio.c - FILE streams over carried descriptions. glibc's streams read and write without being seen, so a carried file gets a cookie stream (fopencookie) that calls us.
 *
 * A cookie stream lacks two things that programs expect of a file's stream: its number (fileno) and a place for wide characters. Both are put into the FILE, whose layout is checked at
 * the first use; if it is not the known one, the stream is glibc's own over the kernel door's descriptor (counted: stdio-layout).
 * Wide-oriented streams, freopen and the standard streams are glibc's own over the kernel door.
 */
#include "dispatch.h"
#include "internal.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>

#define WIDE_WORDS 29  /* struct _IO_wide_data: 28 words of state, then its table of functions */
#define MAGIC UINT64_C(0xd1c1c10d57d10000)
#define GLIBC_IS_FILEBUF 0x2000

struct wide {
	FILE *owner;
	uint64_t magic;
	void *words[WIDE_WORDS + 3];
};

static _Atomic int layout; /* 0 unknown, 1 known, -1 another */
static void *wide_functions;

/* ---- the stream's functions --------------------------------------------------------------------------------------------------- */
static ssize_t stream_read(void *cookie, char *buffer, size_t size) {
	return read((int)(intptr_t)cookie, buffer, size);
}

static ssize_t stream_write(void *cookie, const char *buffer, size_t size) {
	size_t done = 0;
	while (done < size) {
		ssize_t put = write((int)(intptr_t)cookie, buffer + done, size - done);
		if (put <= 0) break;
		done += (size_t)put;
	}
	return (ssize_t)done;
}

static int stream_seek(void *cookie, off64_t *offset, int whence) {
	off_t result = lseek((int)(intptr_t)cookie, *offset, whence);
	if (result < 0) return -1;
	*offset = result;
	return 0;
}

static TLS bool releasing;

static int stream_close(void *cookie) {
	return releasing ? 0 : close((int)(intptr_t)cookie);
}

/* ---- making one ------------------------------------------------------------------------------------------------------------------ */
static FILE *cookie_stream(int fd, const char *mode) {
	cookie_io_functions_t functions = {.read = stream_read, .write = stream_write, .seek = stream_seek, .close = stream_close};
	return fopencookie((void *)(intptr_t)fd, mode, functions);
}

static bool as_expected(const FILE *cookie) {
	extern FILE _IO_2_1_stdin_ __attribute__((weak));
	FILE *real = &_IO_2_1_stdin_;
	wide_functions = dlsym(RTLD_DEFAULT, "_IO_wfile_jumps");
	if (!real || !wide_functions || cookie->_fileno != -2 || !(cookie->_flags & GLIBC_IS_FILEBUF)) return false;
	void **words = (void **)real->_wide_data;
	return words && words != (void **)-1 && words[WIDE_WORDS - 1] == wide_functions;
}

static bool layout_known(const FILE *cookie) {
	int known = atomic_load(&layout);
	if (!known) atomic_store(&layout, known = as_expected(cookie) ? 1 : -1);
	return known > 0;
}

/* NULL: glibc's own must do (errno 0), or an error. */
static FILE *stream_over(int fd, const char *mode) {
	char plain[4] = {mode[0], strchr(mode, '+') ? '+' : 0, 0, 0};
	FILE *stream = atomic_load(&layout) < 0 ? NULL : cookie_stream(fd, plain);
	errno = stream || atomic_load(&layout) < 0 ? 0 : ENOMEM;
	if (!stream) return NULL;
	struct wide *wide = layout_known(stream) ? calloc(1, sizeof *wide) : NULL;
	if (!wide) {
		int error = atomic_load(&layout) < 0 ? 0 : ENOMEM;
		releasing = true; /* the stream's close must not take the descriptor along */
		NEXT(fclose)(stream);
		releasing = false;
		errno = error;
		return NULL;
	}
	wide->owner = stream;
	wide->magic = MAGIC;
	wide->words[WIDE_WORDS - 1] = wide_functions;
	stream->_wide_data = (struct _IO_wide_data *)wide->words;
	stream->_mode = 0;
	stream->_fileno = fd;
	return stream;
}

static struct wide *ours(FILE *stream) {
	uintptr_t words = stream ? (uintptr_t)stream->_wide_data : 0;
	if (words < 65536 || words == UINTPTR_MAX || words % sizeof(void *)) return NULL;
	struct wide *wide = (struct wide *)(words - offsetof(struct wide, words));
	return wide->magic == MAGIC && wide->owner == stream ? wide : NULL;
}

/* fopen(3)'s mode. -1: EINVAL. */
static int flags_of(const char *mode) {
	int flags;
	switch (mode[0]) {
	case 'r': flags = O_RDONLY; break;
	case 'w': flags = O_WRONLY | O_CREAT | O_TRUNC; break;
	case 'a': flags = O_WRONLY | O_CREAT | O_APPEND; break;
	default: return -1;
	}
	for (const char *at = mode + 1; *at && *at != ','; at++) {
		if (*at == '+') flags = (flags & ~O_ACCMODE) | O_RDWR;
		else if (*at == 'x') flags |= O_EXCL;
		else if (*at == 'e') flags |= O_CLOEXEC;
	}
	return flags;
}

static FILE *forget_stream(FILE *stream) {
	if (stream && !dc_dispatching) dc_forget_new(stream->_fileno); /* dispatched, glibc's calls were seen */
	return stream;
}

/* glibc's own stream over the kernel door's descriptor. */
static FILE *kernel_stream(int fd, const char *mode, enum dc_uncarried why) {
	dc_uncarried(why);
	dc_share_fd(fd);
	return NEXT(fdopen)(fd, mode);
}

EXPORT FILE *fopen(const char *restrict path, const char *restrict mode) {
	int flags = flags_of(mode);
	if (!dc_active() || dc_bad_address(path) || flags < 0 || strstr(mode, ",ccs=")) return forget_stream(NEXT(fopen)(path, mode));
	int before = errno, fd = dc_open_early(path, flags, 0666);
	if (fd == DC_RESULT_KERNEL) return forget_stream(NEXT(fopen)(path, mode));
	if (fd < 0) {
		errno = -fd;
		return NULL;
	}
	/* By what is called for the stream an early one is carried as soon as it is adopted. */
	bool ours = dc_file_moves(fd) && (atomic_load(&dc_table[fd]) || dc_early_is_file(fd));
	if (!ours) dc_early_shared(fd);
	FILE *stream = ours ? stream_over(fd, mode) : NEXT(fdopen)(fd, mode);
	if (!stream && errno == 0) stream = kernel_stream(fd, mode, DC_UNCARRIED_stdio);
	if (!stream) {
		int error = errno;
		close(fd);
		errno = error;
		return NULL;
	}
	if (mode[0] == 'a') lseek(fd, 0, SEEK_END);
	errno = before;
	return stream;
}
ALIAS(fopen64, fopen);
ALIAS(_IO_fopen, fopen);

EXPORT FILE *fdopen(int fd, const char *mode) {
	struct dc_file *file = dc_file_get(fd);
	if (!file && !dc_early_is_file(fd)) return NEXT(fdopen)(fd, mode);
	int flags = flags_of(mode), have = file ? dc_file_flags(file, fd) : (int)k_fcntl(fd, F_GETFL, 0), want = flags & O_ACCMODE;
	bool fits = flags >= 0 && !(have & O_PATH) && ((have & O_ACCMODE) == O_RDWR || (have & O_ACCMODE) == want), shared = file && atomic_load(&file->shared);
	bool append = have & O_APPEND;
	dc_file_put(file);
	if (!fits) {
		errno = EINVAL;
		return NULL;
	}
	if (mode[0] == 'a' && !append) fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_APPEND);
	if (shared || strstr(mode, ",ccs=")) return kernel_stream(fd, mode, DC_UNCARRIED_stdio);
	int before = errno;
	FILE *stream = stream_over(fd, mode);
	if (!stream && errno == 0) return kernel_stream(fd, mode, DC_UNCARRIED_stdio);
	if (stream) errno = before;
	if (stream && mode[0] == 'a' && !strchr(mode, '+')) lseek(fd, 0, SEEK_END);
	return stream;
}
ALIAS(_IO_fdopen, fdopen);

EXPORT int fclose(FILE *stream) {
	struct wide *wide = ours(stream);
	if (!wide && stream && dc_active() && !dc_dispatching && stream->_fileno >= 0) dc_table_forget(stream->_fileno); /* glibc closes it unseen */
	int result = NEXT(fclose)(stream);
	if (wide) {
		wide->magic = 0;
		free(wide);
	}
	return result;
}
ALIAS(_IO_fclose, fclose);

/* glibc closes, opens and copies onto the old number, all unseen; what comes out is the kernel's. */
EXPORT FILE *freopen(const char *restrict path, const char *restrict mode, FILE *restrict stream) {
	if (!dc_active() || !stream) return NEXT(freopen)(path, mode, stream);
	int fd = stream->_fileno;
	struct wide *wide = ours(stream);
	if (path) dc_count_path(path, DC_UNCARRIED_freopen);
	if (fd >= 0 && (unsigned)fd < DC_FD_MAX && atomic_load(&dc_table[fd])) {
		if (!path) dc_uncarried(DC_UNCARRIED_freopen), dc_share_fd(fd); /* it opens /proc/self/fd/N */
		if (!wide && !dc_dispatching) dc_table_forget(fd);
	}
	FILE *result = NEXT(freopen)(path, mode, stream);
	if (fd >= 0 && !dc_dispatching) dc_forget_new(fd);
	return forget_stream(result);
}
ALIAS(freopen64, freopen);

EXPORT FILE *tmpfile(void) { return forget_stream(NEXT(tmpfile)()); }
ALIAS(tmpfile64, tmpfile);

/* ---- glibc writes to a descriptor unseen ------------------------------------------------------------------------------------------ */
EXPORT int vdprintf(int fd, const char *restrict format, va_list list) {
	dc_share_fd(fd);
	return NEXT(vdprintf)(fd, format, list);
}

EXPORT int dprintf(int fd, const char *restrict format, ...) {
	va_list list;
	va_start(list, format);
	int result = vdprintf(fd, format, list);
	va_end(list);
	return result;
}

int __vdprintf_chk(int fd, int flag, const char *format, va_list list);
EXPORT int __vdprintf_chk(int fd, int flag, const char *format, va_list list) {
	dc_share_fd(fd);
	return NEXT(__vdprintf_chk)(fd, flag, format, list);
}

int __dprintf_chk(int fd, int flag, const char *format, ...);
EXPORT int __dprintf_chk(int fd, int flag, const char *format, ...) {
	va_list list;
	va_start(list, format);
	int result = __vdprintf_chk(fd, flag, format, list);
	va_end(list);
	return result;
}

/* ---- wide characters (wide.c) ------------------------------------------------------------------------------------------------------ */
FILE *dc_widened(FILE *stream) {
	if (ours(stream) && stream->_mode <= 0) {
		dc_uncarried(DC_UNCARRIED_wide);
		dc_share_fd(stream->_fileno);
	}
	return stream;
}
