/*
 * servers.c - storage servers: started, watched, started again by policy, stopped with a grace. A server is known by its name until somebody stops it, however it ended.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log.h"
#include "pool.h"

#define NAME_MAX_BYTES 100u
#define WORDS_MAX 1024u
#define GRACE_MAX_S 3600.0
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

enum server_state { SERVER_STARTING, SERVER_RUNNING, SERVER_BACKOFF, SERVER_STOPPING, SERVER_STOPPED, SERVER_FAILED };
enum server_restart { RESTART_ALWAYS, RESTART_ON_FAILURE, RESTART_NEVER };

struct dc_server {
	struct dc_server *next;
	struct dc_pool *pool;
	char *name, *directory, *log;
	char **argv, **environment;
	enum server_restart restart;
	enum server_state state;
	struct dc_process process;
	struct dc_backoff backoff;
	struct dc_timer timer; /* back-off, or the grace of a stop */
	uint64_t restarts;
	int exit;              /* -1: it has not ended yet */
	bool disabled;         /* not to be started again by policy */
	bool known;            /* it has run: a start that fails later does not make it unknown */
	bool again;            /* server-restart: start when it has stopped */
	struct dc_request *starter, *stopper;
};

static void start(struct dc_server *server);

/* ---- table ------------------------------------------------------------------------------------------------------------------ */
static struct dc_server *find(struct dc_pool *pool, const char *name) {
	struct dc_server *server = pool->servers;
	while (server && strcmp(server->name, name) != 0) server = server->next;
	return server;
}

static void free_server(struct dc_server *server) {
	struct dc_pool *pool = server->pool;
	for (struct dc_server **at = &pool->servers; *at; at = &(*at)->next) {
		if (*at != server) continue;
		*at = server->next;
		pool->server_count--;
		break;
	}
	dc_timer_clear(&pool->loop, &server->timer);
	dc_environment_free(server->argv);
	dc_environment_free(server->environment);
	free(server->name);
	free(server->directory);
	free(server->log);
	free(server);
}

static void answer(struct dc_request **request, json_t *fields) {
	struct dc_request *waiting = *request;
	*request = NULL;
	if (waiting) dc_request_answer(waiting, fields);
	else json_decref(fields);
}

/* ---- its life --------------------------------------------------------------------------------------------------------------- */
static void on_backoff_over(struct dc_timer *timer) {
	start(dc_container_of(timer, struct dc_server, timer));
}

/* The program runs; or it does not, then its end follows at once and answers. */
static void on_started(struct dc_process *process, int error, const char *step) {
	struct dc_server *server = dc_container_of(process, struct dc_server, process);
	if (error) return;
	server->known = true;
	if (server->state == SERVER_STARTING) server->state = SERVER_RUNNING;
	answer(&server->starter, json_pack("{s:i}", "pid", (int)process->host_pid));
}

/* Answered when nothing of the server is left, so that the same name can be tried again at once. */
static void answer_failed_start(struct dc_server *server) {
	const char *what = strcmp(server->process.start_step, "chdir") == 0 ? server->directory : server->argv[0];
	int error = server->process.start_error;
	char message[512];
	snprintf(message, sizeof message, "cannot start server %s: %.300s: %s", server->name, what, strerror(error));
	dc_log("%s", message);
	struct dc_request *request = server->starter;
	server->starter = NULL;
	if (!server->known) free_server(server);
	if (request) dc_request_fail(request, error, "%s", message);
}

static bool wants_restart(const struct dc_server *server) {
	return !server->disabled && (server->restart == RESTART_ALWAYS || (server->restart == RESTART_ON_FAILURE && server->exit != 0));
}

static void on_ended(struct dc_process *process, int status) {
	struct dc_server *server = dc_container_of(process, struct dc_server, process);
	struct dc_pool *pool = server->pool;
	server->exit = dc_exit_status(status);
	dc_timer_clear(&pool->loop, &server->timer);
	if (server->process.start_error) {
		bool known = server->known, stopping = server->state == SERVER_STOPPING;
		server->known = known || stopping; /* whoever stops it wants an answer, too */
		answer_failed_start(server);
		if (!known && !stopping) return;
	}
	if (server->state == SERVER_STOPPING) {
		dc_log("server %s was stopped, status %d", server->name, server->exit);
		if (server->again) {
			server->again = false;
			start(server);
			return;
		}
		struct dc_request *request = server->stopper;
		json_t *fields = json_pack("{s:i}", "exit", server->exit);
		free_server(server);
		dc_request_answer(request, fields);
		return;
	}
	if (!wants_restart(server)) {
		server->state = server->exit && !server->disabled ? SERVER_FAILED : SERVER_STOPPED;
		dc_log("server %s ended with status %d", server->name, server->exit);
		return;
	}
	uint64_t delay = dc_backoff_next(&server->backoff);
	dc_log("server %s ended with status %d; it is started again in %llu ms", server->name, server->exit, (unsigned long long)delay);
	server->restarts++;
	server->state = SERVER_BACKOFF;
	dc_timer_set(&pool->loop, &server->timer, delay, on_backoff_over);
}

static void start_failed(struct dc_server *server, int error) {
	struct dc_request *request = server->starter;
	server->starter = NULL;
	dc_log("cannot start server %s: %s", server->name, strerror(error));
	if (request) dc_request_fail(request, error, "cannot start server %s: %s", server->name, strerror(error));
	server->state = SERVER_BACKOFF;
	if (!server->known) free_server(server);
	else dc_timer_set(&server->pool->loop, &server->timer, 1000, on_backoff_over);
}

static void start(struct dc_server *server) {
	struct dc_pool *pool = server->pool;
	dc_log_trim(pool->directory_fd, server->log);
	int output = dc_log_file(pool->directory_fd, server->log);
	if (output < 0) {
		start_failed(server, -output);
		return;
	}
	struct dc_program program = {.path = server->argv[0], .argv = server->argv, .environment = server->environment, .directory = server->directory, .output_fd = output,
		.descriptor3 = -1, .own_limits = true};
	server->state = SERVER_STARTING;
	server->process.started = on_started;
	server->process.ended = on_ended;
	server->process.child.kill_group = true; /* its process group goes with it: what it leaves would hold its ports and locks */
	int result = dc_process_start(pool, &server->process, &program);
	close(output);
	if (result < 0) start_failed(server, -result);
}

/* ---- requests --------------------------------------------------------------------------------------------------------------- */
static char **words(json_t *array) {
	size_t count = json_array_size(array);
	if (!json_is_array(array) || count == 0 || count > WORDS_MAX) return NULL;
	char **list = calloc(count + 1, sizeof *list);
	for (size_t i = 0; list && i < count; i++) {
		const char *word = json_string_value(json_array_get(array, i));
		list[i] = word ? strdup(word) : NULL;
		if (list[i]) continue;
		dc_environment_free(list);
		return NULL;
	}
	return list;
}

/* What every program needs of pool-init's own environment, then what the request says, then the door. */
static char **server_environment(struct dc_pool *pool, json_t *given, bool library, bool dispatch) {
	static const char *const kept[] = {"HOME", "LANG", "LC_ALL", "TZ", "USER", "LOGNAME", "SHELL", "TMPDIR"};
	char **environment = calloc(1, sizeof *environment);
	if (!environment) return NULL;
	const char *path = getenv("PATH");
	int result = dc_environment_set(&environment, "PATH", path && *path ? path : DEFAULT_PATH);
	for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
		if (getenv(kept[i]) && result == 0) result = dc_environment_set(&environment, kept[i], getenv(kept[i]));
	const char *name;
	json_t *value;
	json_object_foreach(given, name, value) {
		if (!json_is_string(value) || !name[0] || strchr(name, '=')) result = -EINVAL;
		if (result == 0) result = dc_environment_set(&environment, name, json_string_value(value));
	}
	if (result == 0) result = dc_environment_door(&environment, library ? pool->options.library : NULL, pool->options.directory, dispatch);
	if (result == 0) return environment;
	dc_environment_free(environment);
	return NULL;
}

static bool valid_name(const char *name) {
	return name && name[0] && name[0] != '.' && strlen(name) <= NAME_MAX_BYTES && strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == strlen(name);
}

static const char *optional_text(json_t *message, const char *key, const char *otherwise) {
	json_t *value = json_object_get(message, key);
	return !value || json_is_null(value) ? otherwise : json_is_string(value) ? json_string_value(value) : "";
}

/* One sentence, or NULL. */
static const char *check_start(struct dc_pool *pool, json_t *message, const char *name) {
	const char *restart = optional_text(message, "restart", "on-failure"), *door = optional_text(message, "door", "library");
	const char *directory = optional_text(message, "cwd", "/"), *log = optional_text(message, "log", "log"), *syscalls = optional_text(message, "syscalls", "symbols");
	json_t *environment = json_object_get(message, "env");
	if (!valid_name(name)) return "'name' must be 1 to 100 of the characters A-Z a-z 0-9 . _ -";
	if (strcmp(restart, "always") != 0 && strcmp(restart, "on-failure") != 0 && strcmp(restart, "never") != 0) return "'restart' must be \"always\", \"on-failure\" or \"never\"";
	if (strcmp(door, "library") != 0 && strcmp(door, "kernel") != 0) return "'door' must be \"library\" or \"kernel\"";
	if (strcmp(door, "library") == 0 && !pool->options.library) return "this pool was started without --library";
	if (strcmp(syscalls, "symbols") != 0 && strcmp(syscalls, "dispatch") != 0) return "'syscalls' must be \"symbols\" or \"dispatch\"";
	if (strcmp(syscalls, "dispatch") == 0 && strcmp(door, "library") != 0) return "'syscalls' \"dispatch\" needs 'door' \"library\"";
	if (strcmp(syscalls, "dispatch") == 0 && !dc_dispatch_supported()) return "'syscalls' \"dispatch\": this kernel cannot dispatch system calls to user space (Linux 5.11 or newer on x86-64 can)";
	if (directory[0] != '/') return "'cwd' must be an absolute path";
	if (!log[0]) return "'log' must be a path";
	if (environment && !json_is_null(environment) && !json_is_object(environment)) return "'env' must be an object of strings";
	return NULL;
}

static void forget_ended(struct dc_server *server) {
	if (server && (server->state == SERVER_STOPPED || server->state == SERVER_FAILED) && !dc_process_lives(&server->process)) free_server(server);
}

void dc_server_start_request(struct dc_pool *pool, struct dc_request *request) {
	json_t *message = dc_request_message(request);
	const char *name = json_string_value(json_object_get(message, "name")), *restart = optional_text(message, "restart", "on-failure");
	const char *wrong = check_start(pool, message, name);
	if (wrong || pool->ending) {
		dc_request_fail(request, wrong ? EINVAL : EBUSY, "%s", wrong ? wrong : "the pool is being stopped");
		return;
	}
	forget_ended(find(pool, name));
	if (find(pool, name) || pool->server_count >= DC_POOL_SERVERS_MAX) {
		if (find(pool, name)) dc_request_fail(request, EEXIST, "server %s exists already", name);
		else dc_request_fail(request, ENOSPC, "a pool has at most %u servers", DC_POOL_SERVERS_MAX);
		return;
	}
	struct dc_server *server = calloc(1, sizeof *server);
	char log[256];
	snprintf(log, sizeof log, "log/server-%s.log", name);
	if (server) {
		server->pool = pool;
		server->exit = -1;
		server->name = strdup(name);
		server->directory = strdup(optional_text(message, "cwd", "/"));
		server->log = strdup(optional_text(message, "log", log));
		server->argv = words(json_object_get(message, "argv"));
		server->environment = server_environment(pool, json_object_get(message, "env"), strcmp(optional_text(message, "door", "library"), "library") == 0,
			strcmp(optional_text(message, "syscalls", "symbols"), "dispatch") == 0);
		server->restart = strcmp(restart, "always") == 0 ? RESTART_ALWAYS : strcmp(restart, "never") == 0 ? RESTART_NEVER : RESTART_ON_FAILURE;
	}
	if (!server || !server->name || !server->directory || !server->log || !server->argv || !server->environment) {
		dc_request_fail(request, EINVAL, "'argv' must be a list of 1 to %u strings and 'env' an object of strings", WORDS_MAX);
		if (server) {
			pool->server_count++;
			server->next = pool->servers;
			pool->servers = server;
			free_server(server);
		}
		return;
	}
	struct dc_server **last = &pool->servers;
	while (*last) last = &(*last)->next;
	*last = server;
	pool->server_count++;
	server->starter = request;
	start(server);
}

static void on_grace_over(struct dc_timer *timer) {
	struct dc_server *server = dc_container_of(timer, struct dc_server, timer);
	dc_log("server %s did not stop in time; it is killed", server->name);
	if (dc_process_lives(&server->process)) kill(server->process.child.pid, SIGKILL);
}

static int signal_by_name(const char *name) {
	if (strncmp(name, "SIG", 3) == 0) name += 3;
	for (int number = 1; number < NSIG; number++) {
		const char *known = sigabbrev_np(number);
		if (known && strcmp(known, name) == 0) return number;
	}
	return -1;
}

static void begin_stop(struct dc_server *server, int signal_number, double grace_seconds) {
	server->state = SERVER_STOPPING;
	kill(server->process.child.pid, signal_number);
	dc_timer_set(&server->pool->loop, &server->timer, (uint64_t)(grace_seconds * 1000.0), on_grace_over);
}

static struct dc_server *named_server(struct dc_pool *pool, struct dc_request *request, double *grace_seconds) {
	json_t *message = dc_request_message(request), *grace = json_object_get(message, "graceSeconds");
	const char *name = json_string_value(json_object_get(message, "name"));
	*grace_seconds = grace ? json_number_value(grace) : 10.0;
	struct dc_server *server = name ? find(pool, name) : NULL;
	if (!name || (grace && !json_is_number(grace)) || !(*grace_seconds >= 0 && *grace_seconds <= GRACE_MAX_S))
		dc_request_fail(request, EINVAL, "'name' must be given, and 'graceSeconds' may be a number from 0 to %.0f", GRACE_MAX_S);
	else if (!server) dc_request_fail(request, ENOENT, "there is no server %s", name);
	else if (server->stopper || server->again) dc_request_fail(request, EBUSY, "server %s is being stopped by another request", name);
	else return server;
	return NULL;
}

void dc_server_stop_request(struct dc_pool *pool, struct dc_request *request) {
	double grace;
	struct dc_server *server = named_server(pool, request, &grace);
	if (!server) return;
	int number = signal_by_name(optional_text(dc_request_message(request), "signal", "TERM"));
	if (number < 0) {
		dc_request_fail(request, EINVAL, "'signal' must be a signal's name, such as TERM");
		return;
	}
	if (dc_process_lives(&server->process)) {
		server->stopper = request;
		begin_stop(server, number, grace);
		return;
	}
	json_t *fields = json_pack("{s:o}", "exit", server->exit < 0 ? json_null() : json_integer(server->exit));
	free_server(server);
	dc_request_answer(request, fields);
}

void dc_server_restart_request(struct dc_pool *pool, struct dc_request *request) {
	double grace;
	struct dc_server *server = named_server(pool, request, &grace);
	if (!server) return;
	if (server->starter) {
		dc_request_fail(request, EBUSY, "server %s is being started by another request", server->name);
		return;
	}
	int number = signal_by_name(optional_text(dc_request_message(request), "signal", "TERM"));
	if (number < 0) {
		dc_request_fail(request, EINVAL, "'signal' must be a signal's name, such as TERM");
		return;
	}
	server->disabled = false;
	server->backoff = (struct dc_backoff){0};
	server->starter = request;
	if (dc_process_lives(&server->process)) {
		server->again = true;
		begin_stop(server, number, grace);
		return;
	}
	dc_timer_clear(&pool->loop, &server->timer);
	start(server);
}

void dc_servers_disable(struct dc_pool *pool) {
	for (struct dc_server *server = pool->servers; server; server = server->next) {
		server->disabled = true;
		if (server->state != SERVER_BACKOFF) continue;
		dc_timer_clear(&pool->loop, &server->timer);
		server->state = SERVER_STOPPED;
	}
}

void dc_servers_trim_logs(struct dc_pool *pool) {
	for (struct dc_server *server = pool->servers; server; server = server->next) dc_log_trim(pool->directory_fd, server->log);
}

json_t *dc_servers_json(struct dc_pool *pool) {
	static const char *const names[] = {"starting", "running", "backoff", "stopping", "stopped", "failed"};
	json_t *list = json_array();
	for (struct dc_server *server = pool->servers; server; server = server->next) {
		bool lives = dc_process_lives(&server->process) && server->process.host_pid;
		json_array_append_new(list, json_pack("{s:s, s:o, s:s, s:I, s:o}", "name", server->name, "pid", lives ? json_integer(server->process.host_pid) : json_null(), "state",
			names[server->state], "restarts", (json_int_t)server->restarts, "exit", server->exit < 0 ? json_null() : json_integer(server->exit)));
	}
	return list;
}
