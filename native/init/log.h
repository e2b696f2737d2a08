/*
 * log.h - pool-init's own log and the files that the service and the servers write to. Those write for themselves (O_APPEND, no byte passes through pool-init), so a log that has grown
 * too long is copied to NAME.1 and truncated in place; what is written between the two steps is lost.
 */
#ifndef DICICLO_INIT_LOG_H
#define DICICLO_INIT_LOG_H

#include <stddef.h>

#define DC_LOG_BYTES_MAX (16u << 20)

/* Opens POOLDIR/log/init.log (made where missing). 0 or -errno. */
int dc_log_open(int pool_directory);
void dc_log(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A descriptor for appending; `path` absolute or below POOLDIR. -errno. */
int dc_log_file(int pool_directory, const char *path);
/* Trims a log that is too long. */
void dc_log_trim(int pool_directory, const char *path);
/* The last line that is not empty, without its newline; "" when there is none. */
void dc_log_last_line(int pool_directory, const char *path, char *line, size_t size);

#endif
