/*
 * recover.c - requests that were under way when a service died.
 *
 * They stand in their senders' arenas, and the senders wait. What was not taken is served as if nothing had been. What was taken is answered as if the old service
 * had finished it, if that can be:
 *   - reads, positioned writes, and whatever else may be done twice, are done again;
 *   - an opening that came as far as the ledger is answered with its handle;
 *   - changes that must happen once say how far they came (DC_STAGE_*, dc_once_begin): not begun, they are served; finished, they are answered; between the two, the names are asked:
 *     what a name leads to tells whether a removal, a renaming or a linking has happened, and an absent name that nothing was made.
 * Only what remains is in doubt: answered EIO, and said in the log. Nobody else changes anything meanwhile: the workers do not run yet.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

#include "host.h"
#include "operations.h"
#include "posts.h"

#define DOUBTS_LOGGED 100u

enum verdict { REPEAT, ANSWERED, DOUBT };

static struct {
	unsigned served, repeated, answered, doubtful;
} tally;

/* ---- what a name leads to now ------------------------------------------------------------------------------------------------ */
/* The attributes of the request's path (or its second) without following a last link, into the slot. 0 or -errno. */
static int64_t look(const struct dc_request *request, bool second) {
	struct dc_request stat = *request;
	stat.operation = DC_OP_STAT;
	stat.flags = (stat.flags | DC_PATH_NOFOLLOW) & ~(uint32_t)DC_PATH_EMPTY;
	if (second) {
		stat.handle = request->handle2;
		stat.buffer += request->path_length;
		stat.path_length = request->path2_length;
	}
	return dc_request_execute(&stat);
}

static bool leads_to(const struct dc_request *request, bool second, uint64_t ino, int64_t *error) {
	*error = look(request, second);
	return *error == 0 && request->slot->attr.ino == ino;
}

/* ---- verdicts ---------------------------------------------------------------------------------------------------------------- */
static enum verdict judge_removal(const struct dc_request *request, uint64_t ino, int64_t *result) {
	int64_t error;
	if (leads_to(request, false, ino, &error)) return REPEAT;
	*result = 0;
	return error == 0 || error == -ENOENT ? ANSWERED : DOUBT;
}

static enum verdict judge_rename(const struct dc_request *request, uint64_t ino, int64_t *result) {
	int64_t error;
	if (request->mask & RENAME_EXCHANGE) return DOUBT;
	if (leads_to(request, false, ino, &error)) return REPEAT;
	*result = 0;
	return leads_to(request, true, ino, &error) ? ANSWERED : DOUBT;
}

/* What was about to be made: its name was seen to be absent before. */
static enum verdict judge_making(const struct dc_request *request, uint64_t ino, int64_t *result) {
	bool link = request->operation == DC_OP_LINK;
	int64_t error;
	bool same = leads_to(request, link, ino, &error);
	if (error == -ENOENT) return REPEAT;
	*result = 0;
	return link && same ? ANSWERED : DOUBT;
}

/* An opening: `request` is repeated unless its handle is there already. */
static enum verdict judge_open(struct dc_request *request, bool begun, int64_t *result) {
	struct dc_handle *handle = dc_handle_opened_by(request->client, request->index, request->sequence);
	if (!handle) return begun && request->operation == DC_OP_OPEN ? judge_making(request, 0, result) : REPEAT;
	struct dc_request stat = *request;
	stat.operation = DC_OP_STAT;
	stat.handle = dc_handle_number(handle);
	stat.flags = DC_PATH_EMPTY;
	stat.path_length = 0;
	*result = dc_request_execute(&stat);
	if (*result) return DOUBT;
	request->slot->value[0] = stat.handle;
	request->slot->value[1] = dc_door_knows(atomic_load(&handle->node));
	request->slot->value[2] = 0;
	return ANSWERED;
}

static enum verdict judge_begun(struct dc_request *request, uint64_t value, int64_t *result) {
	switch (request->operation) {
	case DC_OP_UNLINK:
	case DC_OP_RMDIR: return judge_removal(request, value, result);
	case DC_OP_RENAME: return judge_rename(request, value, result);
	case DC_OP_MKDIR:
	case DC_OP_MKNOD:
	case DC_OP_SYMLINK:
	case DC_OP_LINK: return judge_making(request, value, result);
	default: return DOUBT;
	}
}

static enum verdict judge(struct dc_request *request, int64_t *result) {
	uint64_t stage = request->slot->stage, value = request->slot->stage_value;
	*result = request->slot->result;
	if (request->path_length >= DC_PATH_MAX || request->path2_length >= DC_PATH_MAX) return REPEAT; /* a lie: refused there */
	if (request->operation == DC_OP_OPEN || request->operation == DC_OP_ADOPT) {
		if (stage == DC_STAGE_DONE) return ANSWERED; /* the path leaves the instance */
		return judge_open(request, stage == DC_STAGE_BEGUN, result);
	}
	if (request->operation == DC_OP_CLOSE) {
		int error;
		struct dc_handle *handle = dc_handle_get(request->client, request->handle, &error);
		if (handle) dc_handle_put(handle);
		*result = 0;
		return handle ? REPEAT : ANSWERED;
	}
	if (stage == DC_STAGE_NONE) return REPEAT;
	if (stage != DC_STAGE_DONE) return judge_begun(request, value, result);
	if (*result == 0 && (request->operation == DC_OP_MKDIR || request->operation == DC_OP_MKNOD || request->operation == DC_OP_SYMLINK || request->operation == DC_OP_LINK))
		look(request, request->operation == DC_OP_LINK); /* the answer carries attributes */
	return ANSWERED;
}

/* ---- one request ------------------------------------------------------------------------------------------------------------- */
static void say(const struct dc_request *request) {
	if (tally.doubtful > DOUBTS_LOGGED) return;
	char path[160];
	size_t length = request->path_length < sizeof path - 1 ? request->path_length : sizeof path - 1;
	memcpy(path, request->buffer, length);
	path[length] = 0;
	for (char *at = path; *at; at++)
		if (*at < 32 || *at > 126) *at = '?'; /* a client's text */
	dc_log(LOG_WARNING, "client %u (pid %d, %s): %s %s%s%swas under way when the service died and may have happened: answered EIO", request->client->index,
		(int)request->client->pid, request->client->command, dc_operation_name(request->operation), path[0] ? "of \"" : "", path, path[0] ? "\" " : "");
}

static void recover_slot(struct dc_client_record *client, unsigned index) {
	struct dc_slot *slot = &client->arena->slot[index];
	uint32_t word = atomic_load_explicit(&slot->answer, memory_order_acquire);
	if (!dc_answer_awaited(word)) return;
	if (slot->taken != DC_TAKEN(DC_ANSWER_SEQUENCE(word))) {
		tally.served++;
		dc_client_serve_slot(NULL, client, index);
		return;
	}
	struct dc_context context = {.cred = &client->cred, .pid = client->pid};
	struct dc_request request;
	dc_request_copy(&request, client, index, &context);
	request.sequence = DC_ANSWER_SEQUENCE(word);
	int64_t result = -EIO;
	switch (judge(&request, &result)) {
	case REPEAT:
		tally.repeated++;
		dc_client_serve_slot(NULL, client, index);
		return;
	case ANSWERED:
		tally.answered++;
		dc_client_answer_slot(client, index, result);
		return;
	case DOUBT:
		tally.doubtful++;
		say(&request);
		dc_client_answer_slot(client, index, -EIO);
	}
}

void dc_clients_recover(void) {
	uint32_t next = 0;
	for (struct dc_client_record *client; (client = dc_client_next(&next));) {
		dc_posts_take_back(client); /* before anything that it asked for later */
		for (unsigned slot = 0; slot < DC_REQUEST_SLOTS; slot++) recover_slot(client, slot);
		dc_client_put(client);
	}
	dc_log(LOG_NOTICE, "requests under way at the restart: %u served, %u repeated, %u answered with what had happened, %u in doubt", tally.served, tally.repeated, tally.answered,
		tally.doubtful);
}
