/*
 * control.c - control.sock: one JSON object per line in, one per line out. Requests of one connection are answered in order, one at a time; connections do not wait for one another.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"
#include "pool.h"

#define LINE_MAX_BYTES (1u << 20)
#define CONNECTIONS_MAX 256u

struct connection {
	struct dc_pool *pool;
	struct dc_source source;
	struct dc_request *current; /* being answered; nothing more is read meanwhile */
	char *input;
	size_t input_size, input_space;
	size_t scanned; /* of the input, known to hold no newline */
	char *output;
	size_t output_size, output_sent;
	bool finished; /* the peer will send no more, or is cut off: close when the answer is out */
	bool processing;
};

struct dc_request {
	struct connection *connection; /* NULL: hung up */
	json_t *message;
};

static void process(struct connection *connection);

/* While it is being processed only the descriptor goes; process() frees it at its end. */
static void close_connection(struct connection *connection) {
	struct dc_pool *pool = connection->pool;
	int fd = connection->source.fd;
	if (fd >= 0) {
		dc_source_remove(&pool->loop, &connection->source);
		close(fd);
		pool->connections--;
	}
	if (connection->current) connection->current->connection = NULL; /* what it asked for goes on */
	connection->current = NULL;
	if (connection->processing) return;
	free(connection->input);
	free(connection->output);
	free(connection);
}

static void watch(struct connection *connection) {
	uint32_t events = connection->output ? EPOLLOUT : connection->current || connection->finished ? 0 : EPOLLIN;
	dc_source_change(&connection->pool->loop, &connection->source, events);
}

/* ---- answering -------------------------------------------------------------------------------------------------------------- */
json_t *dc_request_message(struct dc_request *request) {
	return request->message;
}

static void flush(struct connection *connection) {
	while (connection->output) {
		ssize_t sent = send(connection->source.fd, connection->output + connection->output_sent, connection->output_size - connection->output_sent, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0 && errno == EINTR) continue;
		if (sent < 0 && errno != EAGAIN) close_connection(connection);
		if (sent < 0) return;
		connection->output_sent += (size_t)sent;
		if (connection->output_sent < connection->output_size) continue;
		free(connection->output);
		connection->output = NULL;
	}
}

/* Steals the answer. */
static void respond(struct connection *connection, json_t *answer) {
	char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
	json_decref(answer);
	size_t size = text ? strlen(text) : 0;
	char *line = text ? realloc(text, size + 1) : NULL;
	if (!line) {
		free(text);
		close_connection(connection);
		return;
	}
	line[size] = '\n';
	connection->output = line;
	connection->output_size = size + 1;
	connection->output_sent = 0;
	if (!connection->processing) process(connection);
}

static json_t *failure(int error, const char *message) {
	json_t *text = json_string(message);
	if (!text) text = json_string("(a message that is not text)");
	return json_pack("{s:b, s:{s:s, s:o}}", "ok", 0, "error", "code", dc_error_name(error), "message", text);
}

static void complete(struct dc_request *request, json_t *answer) {
	struct connection *connection = request->connection;
	json_decref(request->message);
	free(request);
	if (!connection) {
		json_decref(answer);
		return;
	}
	connection->current = NULL;
	respond(connection, answer);
}

void dc_request_answer(struct dc_request *request, json_t *fields) {
	if (!request) {
		json_decref(fields);
		return;
	}
	json_t *answer = json_pack("{s:b}", "ok", 1);
	if (answer && fields) json_object_update(answer, fields);
	json_decref(fields);
	complete(request, answer);
}

void dc_request_fail(struct dc_request *request, int error, const char *format, ...) {
	if (!request) return;
	char message[1024];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(message, sizeof message, format, arguments);
	va_end(arguments);
	complete(request, failure(error, message));
}

void dc_request_fault(struct dc_request *request, const struct dc_fault *fault) {
	dc_request_fail(request, fault->error, "%s", fault->message);
}

/* ---- reading ---------------------------------------------------------------------------------------------------------------- */
static void run_line(struct connection *connection, const char *line, size_t size) {
	json_error_t error;
	json_t *message = json_loadb(line, size, JSON_REJECT_DUPLICATES, &error);
	if (!json_is_object(message)) {
		char text[256];
		snprintf(text, sizeof text, message ? "a request must be a JSON object" : "not JSON: %s (column %d)", error.text, error.column);
		json_decref(message);
		respond(connection, failure(EINVAL, text));
		return;
	}
	struct dc_request *request = calloc(1, sizeof *request);
	if (!request) {
		json_decref(message);
		respond(connection, failure(ENOMEM, "out of memory"));
		return;
	}
	request->connection = connection;
	request->message = message;
	connection->current = request;
	dc_operation_run(connection->pool, request);
}

static bool take_line(struct connection *connection) {
	char *newline = connection->input_size > connection->scanned ? memchr(connection->input + connection->scanned, '\n', connection->input_size - connection->scanned) : NULL;
	if (!newline) {
		connection->scanned = connection->input_size;
		return false;
	}
	size_t size = (size_t)(newline - connection->input);
	char *line = connection->input;
	/* The line leaves the buffer first: an operation may answer at once, and the connection may be gone then. */
	char *copy = malloc(size + 1);
	if (copy) memcpy(copy, line, size);
	memmove(line, newline + 1, connection->input_size - size - 1);
	connection->input_size -= size + 1;
	connection->scanned = 0;
	if (copy && size) run_line(connection, copy, size);
	free(copy);
	return true;
}

/* Goes on while there are whole lines and answers leave as they come. */
static void process(struct connection *connection) {
	connection->processing = true;
	while (connection->source.fd >= 0) {
		flush(connection);
		if (connection->source.fd < 0 || connection->output || connection->current) break;
		if (take_line(connection)) continue;
		if (connection->finished) {
			close_connection(connection);
		} else if (connection->input_size >= LINE_MAX_BYTES) {
			dc_log("control.sock: a line longer than %u bytes; the connection is closed", LINE_MAX_BYTES);
			connection->finished = true;
			connection->input_size = connection->scanned = 0;
			respond(connection, failure(EMSGSIZE, "a request is at most 1 MiB long"));
		} else break;
	}
	connection->processing = false;
	if (connection->source.fd < 0) close_connection(connection);
	else watch(connection);
}

static void read_input(struct connection *connection) {
	if (connection->input_space - connection->input_size < 4096) {
		size_t space = connection->input_space ? connection->input_space * 2 : 8192;
		char *grown = realloc(connection->input, space);
		if (!grown) {
			close_connection(connection);
			return;
		}
		connection->input = grown;
		connection->input_space = space;
	}
	ssize_t got = recv(connection->source.fd, connection->input + connection->input_size, connection->input_space - connection->input_size, MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
	if (got < 0) {
		close_connection(connection);
		return;
	}
	if (got == 0) connection->finished = true;
	connection->input_size += (size_t)got;
	process(connection);
}

static void on_ready(struct dc_source *source, uint32_t events) {
	struct connection *connection = dc_container_of(source, struct connection, source);
	if (connection->output) process(connection);
	else if (connection->current && events & (EPOLLHUP | EPOLLERR)) close_connection(connection); /* it waits no longer */
	else if (!connection->current) read_input(connection);
}

/* ---- connections ------------------------------------------------------------------------------------------------------------ */
static bool is_owner(int fd) {
	struct ucred credentials;
	socklen_t length = sizeof credentials;
	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0 && (credentials.uid == 0 || credentials.uid == geteuid());
}

static void on_connection(struct dc_source *source, uint32_t events) {
	struct dc_pool *pool = dc_container_of(source, struct dc_pool, control);
	int fd = dc_accept(source->fd);
	if (fd < 0) return;
	struct connection *connection = pool->connections < CONNECTIONS_MAX && is_owner(fd) ? calloc(1, sizeof *connection) : NULL;
	if (connection) connection->pool = pool;
	if (!connection || dc_source_add(&pool->loop, &connection->source, fd, EPOLLIN, on_ready) < 0) {
		free(connection);
		close(fd);
		return;
	}
	pool->connections++;
}

int dc_control_listen(struct dc_pool *pool) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if ((size_t)snprintf(address.sun_path, sizeof address.sun_path, "%s/control.sock", pool->options.directory) >= sizeof address.sun_path) return -ENAMETOOLONG;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) return -errno;
	unlinkat(pool->directory_fd, "control.sock", 0);
	mode_t mask = umask(0177);
	int result = bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 1024) == 0 ? 0 : -errno;
	umask(mask);
	if (result == 0) result = dc_source_add(&pool->loop, &pool->control, fd, EPOLLIN, on_connection);
	if (result < 0) close(fd);
	return result;
}

void dc_control_stop(struct dc_pool *pool) {
	int fd = pool->control.fd;
	dc_source_remove(&pool->loop, &pool->control);
	if (fd >= 0) close(fd);
	unlinkat(pool->directory_fd, "control.sock", 0);
}
