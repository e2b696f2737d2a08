#include "walk.h"

#include "covers.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINKS_MAX 40u /* as the kernel's MAXSYMLINKS */

bool dc_cred_in_group(const struct dc_cred *cred, gid_t gid) {
	if (cred->gid == gid) return true;
	for (uint32_t i = 0; i < cred->group_count; i++)
		if (cred->groups[i] == gid) return true;
	return false;
}

int dc_access_check(const struct dc_cred *cred, const struct dc_attr *attr, int mask) {
	mode_t mode = attr->st.st_mode;
	if (cred->uid == 0) {
		/* Root may do anything but run what nobody may run. */
		if ((mask & X_OK) && !S_ISDIR(mode) && !(mode & 0111)) return -EACCES;
		return 0;
	}
	unsigned bits = mode & 7u;
	if (cred->uid == attr->st.st_uid) bits = mode >> 6 & 7u;
	else if (dc_cred_in_group(cred, attr->st.st_gid)) bits = mode >> 3 & 7u;
	unsigned want = (mask & R_OK ? 4u : 0) | (mask & W_OK ? 2u : 0) | (mask & X_OK ? 1u : 0);
	return (bits & want) == want ? 0 : -EACCES;
}

int dc_walk_begin(struct dc_walk *walk, struct dc_instance *instance, struct dc_context *context, struct dc_node *base, const char *path, size_t length) {
	if (length >= DC_PATH_MAX) return -ENAMETOOLONG;
	walk->instance = instance;
	walk->context = context;
	walk->trail = NULL;
	walk->links = 0;
	walk->scope = 0;
	walk->directory = false;
	memcpy(walk->rest, path, length);
	walk->rest[length] = 0;
	/* A NUL inside would make the stack see another name than the one checked here. */
	walk->rest_length = strlen(walk->rest);
	walk->at = base;
	DC_FILE_CALL(instance->root, reference, base, 1);
	return 0;
}

void dc_walk_end(struct dc_walk *walk) {
	DC_FILE_CALL(walk->instance->root, forget, walk->at, 1);
	if (walk->scope) DC_FILE_CALL(walk->instance->root, forget, walk->base, 1);
}

void dc_walk_confine(struct dc_walk *walk, uint32_t scope) {
	walk->scope = scope & DC_PATH_SCOPE;
	walk->base = walk->at;
	if (walk->scope) DC_FILE_CALL(walk->instance->root, reference, walk->base, 1);
}

static void move_to(struct dc_walk *walk, struct dc_node *node) {
	DC_FILE_CALL(walk->instance->root, forget, walk->at, 1);
	walk->at = node;
}

static void consume(struct dc_walk *walk, size_t count) {
	walk->rest_length -= count;
	memmove(walk->rest, walk->rest + count, walk->rest_length + 1);
}

static int leave(struct dc_walk *walk, const char *absolute, const char *rest) {
	if (walk->scope) return walk->scope & DC_PATH_NO_XDEV ? -EXDEV : DC_RESULT_KERNEL;
	if (*rest == '/') rest += strspn(rest, "/") - (rest[strspn(rest, "/")] == 0); /* one is put between; at the end one says "a directory" */
	if (!strcmp(rest, "/") && absolute[strlen(absolute) - 1] == '/') rest = "";
	int length = snprintf(walk->leaves, sizeof walk->leaves, "%s%s%s", absolute, *rest && *rest != '/' && absolute[strlen(absolute) - 1] != '/' ? "/" : "", rest);
	return length < 0 || (size_t)length >= DC_PATH_MAX ? -ENAMETOOLONG : DC_RESULT_LEAVES;
}

/* May the caller search walk->at? */
static int searchable(struct dc_walk *walk) {
	if (!S_ISDIR(walk->at->type)) return -ENOTDIR;
	if (walk->context->cred->uid == 0) return 0;
	struct dc_attr attr;
	dc_trail_attributes(walk->trail, walk->at);
	int error = DC_FILE_CALL(walk->instance->root, getattr, walk->context, walk->at, &attr);
	return error ? error : dc_access_check(walk->context->cred, &attr, X_OK);
}

static int step_up(struct dc_walk *walk) {
	/* Whether ".." still leads back when directories move meanwhile is seen by the kernel alone. */
	if (walk->scope & DC_PATH_BENEATH) return walk->at == walk->base ? -EXDEV : DC_RESULT_KERNEL;
	dc_trail_lose(walk->trail);
	if (walk->at == walk->instance->root_node) {
		char up[sizeof walk->instance->mountpoint + 4];
		snprintf(up, sizeof up, "%s/..", walk->instance->mountpoint);
		return leave(walk, up, walk->rest);
	}
	struct dc_node *parent;
	size_t consumed;
	int error = DC_FILE_CALL(walk->instance->root, lookup, walk->context, walk->at, "..", 2, &parent, NULL, &consumed);
	if (error) return error;
	move_to(walk, parent);
	const struct dc_cover *cover = dc_covers_find(walk->instance, parent);
	return cover ? leave(walk, cover->mountpoint, walk->rest) : 0;
}

/* Puts a link's target before the rest, and goes to where it starts. walk->at is the directory that holds the link. */
static int follow(struct dc_walk *walk, struct dc_node *link) {
	if (++walk->links > LINKS_MAX || walk->scope & DC_PATH_NO_SYMLINKS) return -ELOOP;
	char target[DC_PATH_MAX];
	ssize_t length = DC_FILE_CALL(walk->instance->root, readlink, walk->context, link, target, sizeof target - 1);
	if (length < 0) return (int)length;
	target[length] = 0;
	if (length == 0) return -ENOENT;
	if (target[0] == '/') return walk->scope & DC_PATH_BENEATH ? -EXDEV : leave(walk, target, walk->rest);
	bool slash = walk->rest_length != 0;
	if ((size_t)length + slash + walk->rest_length >= DC_PATH_MAX) return -ENAMETOOLONG;
	memmove(walk->rest + length + slash, walk->rest, walk->rest_length + 1);
	memcpy(walk->rest, target, (size_t)length);
	if (slash) walk->rest[length] = '/';
	walk->rest_length += (size_t)length + slash;
	return 0;
}

int dc_walk_link(struct dc_walk *walk, struct dc_node *link) {
	walk->rest_length = 0;
	walk->rest[0] = 0;
	if (walk->directory) {
		strcpy(walk->rest, "/");
		walk->rest_length = 1;
	}
	return follow(walk, link);
}

/* Length of the first run of plain components of `rest` (single slashes between, none at the end), at most one component for those whose permissions count, and where mounts may be crossed. */
static size_t plain_run(const struct dc_walk *walk, bool single) {
	const char *rest = walk->rest;
	size_t end = 0, position = 0;
	while (position < walk->rest_length) {
		size_t length = strcspn(rest + position, "/");
		if (length == 0 || (rest[position] == '.' && (length == 1 || (length == 2 && rest[position + 1] == '.')))) break;
		end = position + length;
		if (single || rest[end] != '/') break;
		position = end + 1;
	}
	return end;
}

/* Skips slashes and "."; answers the length of the next component, 0 at the end. */
static size_t next_component(struct dc_walk *walk) {
	for (;;) {
		size_t slashes = strspn(walk->rest, "/");
		if (slashes) consume(walk, slashes);
		size_t length = strcspn(walk->rest, "/");
		if (length == 1 && walk->rest[0] == '.') {
			consume(walk, 1);
			if (walk->rest_length == 0) walk->directory = true; /* "x/." names a directory */
			continue;
		}
		return length;
	}
}

static bool only_slashes(const char *text) {
	return text[strspn(text, "/")] == 0;
}

/* For a lease the attributes must be younger than their stamp, which is known by the node. */
static int attributes(struct dc_walk *walk, struct dc_node *node, struct dc_attr *attr) {
	dc_trail_attributes(walk->trail, node);
	int error = DC_FILE_CALL(walk->instance->root, getattr, walk->context, node, attr);
	if (error) DC_FILE_CALL(walk->instance->root, forget, node, 1);
	return error;
}

/*
 * One lookup of a run. 0: walk->at moved behind it, or a link was put before the rest. 1: the run was the end of the path and *last is its node, *attr its attributes.
 */
static int lookup_run(struct dc_walk *walk, bool follow_last, struct dc_node **last, struct dc_attr *attr) {
	struct dc_libservice *root = walk->instance->root;
	int error = searchable(walk);
	if (error) return error;
	bool mounts = atomic_load_explicit(&walk->instance->covers, memory_order_relaxed) != NULL;
	size_t run = plain_run(walk, mounts || (walk->trail && walk->trail->stamps) || walk->context->cred->uid != 0), consumed = 0;
	struct dc_node *node = NULL;
	dc_trail_name(walk->trail, walk->at, walk->rest, run);
	error = DC_FILE_CALL(root, lookup, walk->context, walk->at, walk->rest, run, &node, walk->trail ? NULL : attr, &consumed);
	if (error) {
		if (node) DC_FILE_CALL(root, forget, node, 1);
		return error;
	}
	bool end = consumed == run && only_slashes(walk->rest + run), slash = end && walk->rest[run] == '/';
	if (S_ISLNK(node->type) && (!end || follow_last || slash)) {
		/* Its directory: everything before the last component that was consumed. */
		size_t before = consumed;
		while (before && walk->rest[before - 1] != '/') before--;
		struct dc_node *directory = NULL;
		if (before) {
			size_t ignored;
			error = DC_FILE_CALL(root, lookup, walk->context, walk->at, walk->rest, before - 1, &directory, NULL, &ignored);
			if (error && directory) DC_FILE_CALL(root, forget, directory, 1);
		}
		if (!error && directory) move_to(walk, directory);
		if (!error) {
			consume(walk, consumed);
			error = follow(walk, node);
		}
		DC_FILE_CALL(root, forget, node, 1);
		return error;
	}
	const struct dc_cover *cover = mounts ? dc_covers_find(walk->instance, node) : NULL;
	if (cover) { /* the path goes on in the instance that is mounted here */
		consume(walk, consumed);
		DC_FILE_CALL(root, forget, node, 1);
		return leave(walk, cover->mountpoint, walk->rest);
	}
	if (end) {
		if (slash) walk->directory = true;
		if (walk->trail && (error = attributes(walk, node, attr))) return error;
		*last = node;
		return 1;
	}
	consume(walk, consumed);
	if (!S_ISDIR(node->type)) {
		DC_FILE_CALL(root, forget, node, 1);
		return -ENOTDIR;
	}
	move_to(walk, node);
	return 0;
}

int dc_walk_full(struct dc_walk *walk, bool follow_last, struct dc_node **node, struct dc_attr *attr) {
	struct dc_libservice *root = walk->instance->root;
	for (;;) {
		size_t length = next_component(walk);
		int error;
		if (length == 0) {
			dc_trail_attributes(walk->trail, walk->at);
			error = attr ? DC_FILE_CALL(root, getattr, walk->context, walk->at, attr) : 0;
			if (error) return error;
			if (walk->directory && !S_ISDIR(walk->at->type)) return -ENOTDIR;
			DC_FILE_CALL(root, reference, walk->at, 1);
			*node = walk->at;
			return 0;
		}
		if (length == 2 && walk->rest[0] == '.' && walk->rest[1] == '.') {
			error = searchable(walk);
			consume(walk, 2);
			if (!error) error = step_up(walk);
			if (error) return error;
			continue;
		}
		error = lookup_run(walk, follow_last, node, attr);
		if (error < 0) return error;
		if (error == 0) continue;
		if (walk->directory && !S_ISDIR((*node)->type)) {
			DC_FILE_CALL(root, forget, *node, 1);
			return -ENOTDIR;
		}
		return 0;
	}
}

/* Sets the last component aside. 0: there is none (the root itself). */
static size_t split_last(struct dc_walk *walk) {
	size_t end = walk->rest_length;
	while (end && walk->rest[end - 1] == '/') end--;
	walk->directory = end != walk->rest_length;
	size_t start = end;
	while (start && walk->rest[start - 1] != '/') start--;
	size_t length = end - start;
	if (length && length <= DC_NAME_MAX) {
		memcpy(walk->name, walk->rest + start, length);
		walk->name[length] = 0;
	}
	walk->rest_length = start;
	walk->rest[start] = 0;
	return length;
}

int dc_walk_parent(struct dc_walk *walk, int dot) {
	size_t length = split_last(walk);
	if (length == 0) return dot;
	if (length > DC_NAME_MAX) return -ENAMETOOLONG;
	bool directory = walk->directory;
	walk->directory = false;
	if (walk->rest_length) {
		struct dc_node *node = NULL;
		int error = dc_walk_full(walk, true, &node, NULL);
		if (error == DC_RESULT_LEAVES) {
			size_t used = strlen(walk->leaves);
			if (used + length + 3 >= DC_PATH_MAX) return -ENAMETOOLONG;
			snprintf(walk->leaves + used, sizeof walk->leaves - used, "%s%s%s", used && walk->leaves[used - 1] == '/' ? "" : "/", walk->name, directory ? "/" : "");
		}
		if (error) return error;
		move_to(walk, node);
	}
	walk->directory = directory;
	walk->rest_length = 0;
	walk->rest[0] = 0;
	int error = searchable(walk);
	if (error) return error;
	return !strcmp(walk->name, ".") || !strcmp(walk->name, "..") ? dot : 0;
}
