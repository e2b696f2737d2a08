/*
 * util.h - small things that pool-init and diciclo-enter share: whole small files, /proc, errors as one sentence.
 */
#ifndef DICICLO_INIT_UTIL_H
#define DICICLO_INIT_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* An errno name for programs and a sentence for people. */
struct dc_fault {
	int error;
	char message[512];
};
#define DC_FAULT_INIT {.error = 0, .message = ""}
/* Sets it and answers -error. The message ends with strerror(error) when `format` ends with ": ". */
int dc_fault_set(struct dc_fault *fault, int error, const char *format, ...) __attribute__((format(printf, 3, 4), nonnull(3)));
const char *dc_error_name(int error); /* "ENOENT" */

/* The file's first `size` - 1 bytes, NUL-terminated; bytes read or -errno. */
ssize_t dc_read_file(int directory, const char *path, char *buffer, size_t size);
/* Temporary file, fsync-free (the runtime directory does not outlive the machine), rename. */
int dc_write_atomically(int directory, const char *name, mode_t mode, const void *data, size_t size);
int dc_write_all(int fd, const void *data, size_t size);

/* Field 22 of /proc/PID/stat, `process` being a descriptor of the process's directory or of a proc mount's "self". 0 or -errno. */
int dc_start_time(int process, const char *stat_path, uint64_t *ticks);
/* Number N of a "Key:\tN" line, or -1. */
long dc_proc_number(const char *text, const char *key);

/* Of what waitpid gives: 128 + N for signal N, else the exit status. */
int dc_exit_status(int status);

/* Absolute, no "//", "/./", "/../", no trailing slash, not "/" itself. */
bool dc_is_normal_path(const char *path);

/* One line of /proc/PID/mountinfo, in place: mount point (unescaped), "major:minor", filesystem type. False: not such a line. */
struct dc_mountinfo {
	const char *mountpoint, *device, *type;
};
bool dc_mountinfo_parse(char *line, struct dc_mountinfo *info);

/* Environment in the form of execve: a copy with NAME=value set (replaced or added). NULL value: removed. */
char **dc_environment_copy(char *const *environment);
int dc_environment_set(char ***environment, const char *name, const char *value);
const char *dc_environment_get(char *const *environment, const char *name);
void dc_environment_free(char **environment);
/* LD_PRELOAD with the library in front, DICICLO_POOL_DIR; or neither (library NULL). dispatch: DICICLO_SYSCALLS, so that the library catches system calls too. */
int dc_environment_door(char ***environment, const char *library, const char *pool_directory, bool dispatch);
bool dc_dispatch_supported(void);

/* accept4 of a nonblocking connection; out of descriptors, the caller in the queue is hung up on, so that it does not keep the loop awake. */
int dc_accept(int listener);

/* Signal mask and handlers as a fresh process has them. */
void dc_signals_reset(void);

#endif
