#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

int dc_fault_set(struct dc_fault *fault, int error, const char *format, ...) {
	va_list arguments;
	va_start(arguments, format);
	int length = vsnprintf(fault->message, sizeof fault->message, format, arguments);
	va_end(arguments);
	size_t used = length < 0 ? 0 : (size_t)length < sizeof fault->message ? (size_t)length : sizeof fault->message - 1;
	size_t asked = strlen(format);
	if (asked >= 2 && strcmp(format + asked - 2, ": ") == 0) snprintf(fault->message + used, sizeof fault->message - used, "%s", strerror(error));
	fault->error = error ? error : EIO;
	return -fault->error;
}

const char *dc_error_name(int error) {
	const char *name = strerrorname_np(error);
	return name ? name : "EIO";
}

ssize_t dc_read_file(int directory, const char *path, char *buffer, size_t size) {
	int fd = openat(directory, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) return -errno;
	size_t used = 0;
	while (used < size - 1) {
		ssize_t got = read(fd, buffer + used, size - 1 - used);
		if (got < 0 && errno == EINTR) continue;
		if (got < 0) {
			int error = errno;
			close(fd);
			return -error;
		}
		if (got == 0) break;
		used += (size_t)got;
	}
	close(fd);
	buffer[used] = 0;
	return (ssize_t)used;
}

int dc_write_all(int fd, const void *data, size_t size) {
	const char *at = data;
	while (size) {
		ssize_t written = write(fd, at, size);
		if (written < 0 && errno == EINTR) continue;
		if (written < 0) return -errno;
		at += written;
		size -= (size_t)written;
	}
	return 0;
}

int dc_write_atomically(int directory, const char *name, mode_t mode, const void *data, size_t size) {
	char temporary[128];
	snprintf(temporary, sizeof temporary, ".%s.new", name);
	int fd = openat(directory, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0) return -errno;
	int result = fchmod(fd, mode) == 0 ? 0 : -errno;
	if (result == 0) result = dc_write_all(fd, data, size);
	if (close(fd) != 0 && result == 0) result = -errno;
	if (result == 0 && renameat(directory, temporary, directory, name) != 0) result = -errno;
	if (result < 0) unlinkat(directory, temporary, 0);
	return result;
}

int dc_start_time(int process, const char *stat_path, uint64_t *ticks) {
	char text[1024];
	ssize_t length = dc_read_file(process, stat_path, text, sizeof text);
	if (length < 0) return (int)length;
	char *at = strrchr(text, ')'); /* the command may hold blanks and brackets */
	if (!at) return -EPROTO;
	at++;
	for (int field = 2; field < 21; field++) {
		at = strchr(at + 1, ' ');
		if (!at) return -EPROTO;
	}
	*ticks = strtoull(at + 1, NULL, 10);
	return 0;
}

long dc_proc_number(const char *text, const char *key) {
	size_t length = strlen(key);
	for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
		if (strncmp(line, key, length) == 0 && line[length] == ':') return strtol(line + length + 1, NULL, 10);
	return -1;
}

int dc_exit_status(int status) {
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

bool dc_is_normal_path(const char *path) {
	size_t length = strlen(path);
	if (path[0] != '/' || length < 2 || path[length - 1] == '/') return false;
	for (const char *at = path; at; at = strchr(at + 1, '/')) {
		size_t part = strcspn(at + 1, "/");
		if (part == 0 || (part == 1 && at[1] == '.') || (part == 2 && at[1] == '.' && at[2] == '.')) return false;
	}
	return true;
}

/* \040 and the like. */
static void unescape(char *text) {
	char *to = text;
	for (const char *from = text; *from; to++) {
		if (from[0] == '\\' && from[1] && from[2] && from[3]) {
			*to = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = 0;
}

bool dc_mountinfo_parse(char *line, struct dc_mountinfo *info) {
	char *type = strstr(line, " - "), *rest = NULL, *field[5];
	if (!type) return false;
	*type = 0;
	type += 3;
	type[strcspn(type, " \n")] = 0;
	for (int i = 0; i < 5; i++)
		if (!(field[i] = strtok_r(i ? NULL : line, " ", &rest))) return false;
	unescape(field[4]);
	*info = (struct dc_mountinfo){.mountpoint = field[4], .device = field[2], .type = type};
	return true;
}

/* ---- environment ------------------------------------------------------------------------------------------------------------ */
static size_t environment_count(char *const *environment) {
	size_t count = 0;
	while (environment && environment[count]) count++;
	return count;
}

char **dc_environment_copy(char *const *environment) {
	size_t count = environment_count(environment);
	char **copy = calloc(count + 1, sizeof *copy);
	if (!copy) return NULL;
	for (size_t i = 0; i < count; i++) {
		copy[i] = strdup(environment[i]);
		if (copy[i]) continue;
		dc_environment_free(copy);
		return NULL;
	}
	return copy;
}

void dc_environment_free(char **environment) {
	for (size_t i = 0; environment && environment[i]; i++) free(environment[i]);
	free(environment);
}

static ssize_t environment_find(char *const *environment, const char *name) {
	size_t length = strlen(name);
	for (size_t i = 0; environment && environment[i]; i++)
		if (strncmp(environment[i], name, length) == 0 && environment[i][length] == '=') return (ssize_t)i;
	return -1;
}

const char *dc_environment_get(char *const *environment, const char *name) {
	ssize_t at = environment_find(environment, name);
	return at < 0 ? NULL : environment[at] + strlen(name) + 1;
}

int dc_environment_set(char ***environment, const char *name, const char *value) {
	char *entry = NULL;
	if (value && asprintf(&entry, "%s=%s", name, value) < 0) return -ENOMEM;
	size_t count = environment_count(*environment);
	ssize_t at = environment_find(*environment, name);
	if (at >= 0) {
		free((*environment)[at]);
		(*environment)[at] = entry ? entry : (*environment)[count - 1];
		if (!entry) (*environment)[count - 1] = NULL;
		return 0;
	}
	if (!entry) return 0;
	char **grown = realloc(*environment, (count + 2) * sizeof **environment);
	if (!grown) {
		free(entry);
		return -ENOMEM;
	}
	grown[count] = entry;
	grown[count + 1] = NULL;
	*environment = grown;
	return 0;
}

/* Asks to switch off what is off; a kernel that does not know it says EINVAL. */
bool dc_dispatch_supported(void) {
#if defined(__x86_64__)
	return prctl(59 /* PR_SET_SYSCALL_USER_DISPATCH */, 0, 0, 0, 0) == 0;
#else
	return false; /* the library has it for x86-64 alone */
#endif
}

int dc_environment_door(char ***environment, const char *library, const char *pool_directory, bool dispatch) {
	int marked = dc_environment_set(environment, "DICICLO_SYSCALLS", library && dispatch ? "dispatch" : NULL);
	if (marked < 0) return marked;
	if (!library) return dc_environment_set(environment, "DICICLO_POOL_DIR", NULL);
	const char *before = dc_environment_get(*environment, "LD_PRELOAD");
	char *preload = NULL;
	if (before && strcmp(before, library) == 0) before = NULL;
	bool chained = before && *before;
	if (asprintf(&preload, "%s%s%s", library, chained ? ":" : "", chained ? before : "") < 0) return -ENOMEM;
	int result = dc_environment_set(environment, "LD_PRELOAD", preload);
	free(preload);
	return result < 0 ? result : dc_environment_set(environment, "DICICLO_POOL_DIR", pool_directory);
}

int dc_accept(int listener) {
	static int spare = -1;
	if (spare < 0) spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0 || (errno != EMFILE && errno != ENFILE)) return fd;
	close(spare);
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0) close(fd);
	spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return -1;
}

void dc_signals_reset(void) {
	struct sigaction action = {.sa_handler = SIG_DFL};
	for (int number = 1; number < NSIG; number++) sigaction(number, &action, NULL); /* KILL and STOP refuse, and need not */
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}
