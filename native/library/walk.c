/*
 * walk.c - calls by path: finds the instance, sends one request for the whole path, and goes on where a symbolic link or ".." leads out of the instance.
 */
#include "answers.h"

bool dc_locate(int dirfd, const char *path, uint32_t flags, struct dc_place *place, struct dc_file **base) {
	*base = NULL;
	if (!dc_active() || dc_bad_address(path)) return false;
	if (path[0] == '/') {
		if (dc_absolute_stopped) return false;
		if (dc_mounts_match(path, place)) {
			if (!dc_mounts_nested(place->entry) || !strstr(place->rest, "..")) return true;
			dc_uncarried(DC_UNCARRIED_nested);
			return false;
		}
		if (path[1] == 'p' || path[1] == 'd') dc_upgrade_proc_path(path);
		return false;
	}
	if (path[0] == 0 && !(flags & DC_PATH_EMPTY)) return false; /* ENOENT */
	struct dc_file *file = dirfd == AT_FDCWD ? dc_cwd() : dc_file_get(dirfd);
	if (!file) return false;
	if (dirfd != AT_FDCWD && path[0] && dc_mounts_nested(file->entry)) {
		dc_uncarried(DC_UNCARRIED_nested);
		dc_file_put(file);
		return false;
	}
	place->instance = file->instance;
	place->entry = file->entry;
	place->device = file->device;
	place->rest = path;
	*base = file;
	return true;
}

bool dc_early_base(int dirfd, const char *path) {
	if (!dc_active() || dc_bad_address(path) || path[0] == '/' || !path[0]) return false;
	return dirfd == AT_FDCWD ? dc_cwd_early() : dc_early_own(dirfd);
}

int dc_kernel_dirfd(int dirfd) {
	if (dirfd >= 0) dc_upgrade_fd(dirfd, DC_UNCARRIED_dirfd);
	return dirfd;
}

void dc_walk_start(struct dc_walk *walk, int dirfd, const char *path, uint32_t flags) {
	walk->dirfd = dirfd;
	walk->path = path;
	walk->flags = flags;
	walk->base = NULL;
	walk->result = 0;
	walk->restarts = 0;
	walk->early = walk->kernel = walk->done = walk->sent = walk->held = walk->second = walk->keeps = walk->asks = walk->kept = false;
}

static bool to_kernel(struct dc_walk *walk) {
	if (!dc_bad_address(walk->path) && walk->path[0] != '/') dc_kernel_dirfd(walk->dirfd);
	walk->kernel = true;
	return false;
}

static struct dc_question question_of(const struct dc_walk *walk, enum dc_operation operation) {
	return (struct dc_question){.client = walk->client, .base = walk->base ? walk->base->handle : 0, .instance = walk->place.instance, .flags = walk->flags, .mode = walk->mode,
		.operation = (uint16_t)operation, .path = walk->place.rest, .length = walk->length};
}

/* By an answer that was kept. That there is nothing is one answer for all who ask, and all that is kept of an open: where there was something, it is not worth asking for a lease. */
static bool answered(struct dc_walk *walk, enum dc_operation operation) {
	struct dc_question question = question_of(walk, operation);
	bool asks = false, done = false;
	if (operation != DC_OP_STAT) {
		struct dc_question missing = question_of(walk, DC_OP_STAT);
		missing.mode = 0;
		done = dc_answer_find(&missing, &walk->answer, &asks) && (walk->answer.result < 0 || (operation == DC_OP_ACCESS && walk->mode == F_OK));
		walk->asks = asks && walk->answer.result < 0;
	}
	if (!done && operation != DC_OP_OPEN) {
		done = dc_answer_find(&question, &walk->answer, &asks);
		walk->asks |= asks;
	}
	if (done) walk->result = walk->answer.result;
	return walk->done = walk->kept = done;
}

static void keep(const struct dc_walk *walk, int64_t result) {
	enum dc_operation operation = walk->call.slot->operation;
	bool missing = result == -ENOENT || (result == -ENOTDIR && operation != DC_OP_OPEN); /* O_DIRECTORY of a file that is there */
	struct dc_question question = question_of(walk, missing ? DC_OP_STAT : operation);
	if (missing) question.mode = 0;
	if (walk->asks) dc_answer_remember(&question, &walk->call, result);
	else if (missing) dc_answer_expect(&question, result);
}

bool dc_walk_next(struct dc_walk *walk, enum dc_operation operation) {
	if (walk->done) return false;
	if (walk->kernel) return to_kernel(walk);
	walk->client = NULL;
	if (!dc_locate(walk->dirfd, walk->path, walk->flags, &walk->place, &walk->base)) {
		walk->early = dc_early_base(walk->dirfd, walk->path);
		return to_kernel(walk);
	}
	walk->length = strnlen(walk->place.rest, PATH_MAX);
	walk->client = walk->base ? walk->base->client : dc_session_if_ready();
	if (!walk->client && !(walk->early = dc_early())) walk->client = dc_session();
	if (!walk->client || strnlen(walk->path, PATH_MAX) >= PATH_MAX) {
		dc_file_put(walk->base);
		walk->base = NULL;
		return to_kernel(walk);
	}
	if (walk->keeps && answered(walk, operation)) return false;
	dc_call_begin(&walk->call, walk->client, operation, walk->place.instance, walk->base ? walk->base->handle : 0);
	walk->held = true;
	struct dc_slot *slot = walk->call.slot;
	slot->flags = walk->flags | (walk->asks ? DC_PATH_LEASE : 0);
	slot->path_length = (uint32_t)walk->length;
	memcpy(walk->call.buffer, walk->place.rest, walk->length);
	return true;
}

void dc_walk_end(struct dc_walk *walk) {
	if (walk->held) dc_call_end(&walk->call);
	walk->held = false;
	dc_file_put(walk->base);
	walk->base = NULL;
}

/* Where the path goes on. Of two paths the kernel resolves both anew. */
static void leaves(struct dc_walk *walk) {
	uint64_t length = walk->call.slot->value[0];
	bool usable = length > 0 && length < sizeof walk->text && !walk->second;
	if (usable) {
		memcpy(walk->text, walk->call.buffer, length);
		walk->text[length] = 0;
		usable = walk->text[0] == '/' && strlen(walk->text) == length;
	}
	dc_walk_end(walk);
	if (!usable) {
		dc_uncarried(DC_UNCARRIED_leaves);
		walk->kernel = true;
		return;
	}
	if (++walk->restarts > DC_RESTARTS_MAX) {
		walk->done = true;
		walk->result = -ELOOP;
		return;
	}
	walk->path = walk->text;
	walk->flags &= ~(uint32_t)DC_PATH_EMPTY;
}

void dc_walk_post(struct dc_walk *walk) {
	if (atomic_load_explicit(&walk->client->arena->closed, memory_order_relaxed)) return; /* dc_walk_send says so */
	dc_call_start(&walk->call);
	walk->sent = true;
}

void dc_walk_send(struct dc_walk *walk) {
	bool cwd = walk->base && walk->dirfd == AT_FDCWD;
	int64_t result = walk->sent ? dc_call_await(&walk->call) : dc_call_send(&walk->call);
	walk->sent = false;
	if (result == DC_RESULT_LEAVES) {
		leaves(walk);
		return;
	}
	if (result == DC_RESULT_KERNEL || result == -ESTALE) {
		dc_walk_end(walk);
		if (result == -ESTALE && cwd) dc_cwd_changed(); /* a restarted service does not know the handle: adopt again next time */
		dc_uncarried(result == -ESTALE ? DC_UNCARRIED_stale : DC_UNCARRIED_special);
		walk->kernel = true;
		return;
	}
	if (walk->keeps) keep(walk, result);
	walk->result = result;
	walk->done = true;
}

long dc_walk_finish(struct dc_walk *walk) {
	int64_t result = walk->result;
	dc_walk_end(walk);
	return dc_return(result);
}
