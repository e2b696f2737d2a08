#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "covers.h"
#include "operations.h"

/* A name was made, removed or replaced below `parent`. */
static void changed(struct dc_request *request, struct dc_node *parent, const char *name) {
	dc_door_changed_entry(request->instance->door, parent, name);
}

/* The parent and name of something to be made. `slash`: a trailing slash is allowed (directories). */
static int begin_make(struct dc_request *request, bool second, bool slash, struct dc_walk *walk) {
	int error = dc_request_parent(request, second, walk, -EEXIST);
	if (error) return error;
	struct dc_node *node;
	error = dc_lookup_name(request, walk->at, walk->name, &node, NULL);
	if (!error) {
		dc_forget(request, node);
		error = -EEXIST;
	} else if (error == -ENOENT) {
		error = walk->directory && !slash ? -ENOENT : dc_may_change(request, walk->at, NULL);
	}
	if (error) dc_walk_end(walk);
	return error;
}

static int64_t end_make(struct dc_request *request, struct dc_walk *walk, int error, struct dc_node *node, const struct dc_attr *attr) {
	if (!error) {
		changed(request, walk->at, walk->name);
		dc_answer_attr(request, attr);
		dc_forget(request, node);
	}
	dc_walk_end(walk);
	return error;
}

int64_t dc_op_mkdir(struct dc_request *request) {
	struct dc_walk walk;
	struct dc_node *node = NULL;
	struct dc_attr attr;
	int error = begin_make(request, false, true, &walk);
	if (error) return error;
	dc_once_begin(request, 0);
	error = (int)dc_once_end(request, DC_REQUEST_CALL(request, mkdir, walk.at, walk.name, request->mode & 07777, &node, &attr));
	return end_make(request, &walk, error, node, &attr);
}

int64_t dc_op_mknod(struct dc_request *request) {
	struct dc_walk walk;
	struct dc_node *node = NULL;
	struct dc_attr attr;
	mode_t type = request->mode & S_IFMT;
	if (type == 0) request->mode |= type = S_IFREG;
	if (type == S_IFDIR) return -EPERM;
	if (type != S_IFREG && type != S_IFIFO && type != S_IFSOCK && type != S_IFCHR && type != S_IFBLK) return -EINVAL;
	if ((type == S_IFCHR || type == S_IFBLK) && request->context->cred->uid != 0) return -EPERM;
	int error = begin_make(request, false, false, &walk);
	if (error) return error;
	dc_once_begin(request, 0);
	error = (int)dc_once_end(request,
		DC_REQUEST_CALL(request, mknod, walk.at, walk.name, request->mode & (S_IFMT | 07777), (dev_t)request->argument[0], &node, &attr));
	return end_make(request, &walk, error, node, &attr);
}

int64_t dc_op_symlink(struct dc_request *request) {
	char target[DC_PATH_MAX];
	int error = dc_request_text(request, target, sizeof target);
	if (error) return error;
	if (!target[0]) return -ENOENT;
	struct dc_walk walk;
	struct dc_node *node = NULL;
	struct dc_attr attr;
	error = begin_make(request, false, false, &walk);
	if (error) return error;
	dc_once_begin(request, 0);
	error = (int)dc_once_end(request, DC_REQUEST_CALL(request, symlink, walk.at, walk.name, target, &node, &attr));
	return end_make(request, &walk, error, node, &attr);
}

int64_t dc_op_link(struct dc_request *request) {
	struct dc_node *node;
	struct dc_attr attr;
	if (request->flags & DC_PATH2_FOLLOW) request->flags &= ~(uint32_t)DC_PATH_NOFOLLOW;
	else request->flags |= DC_PATH_NOFOLLOW;
	request->value[1] = 0;
	int error = dc_request_node(request, &node, &attr);
	if (error) return error;
	struct dc_walk walk;
	error = S_ISDIR(node->type) ? -EPERM : begin_make(request, true, false, &walk);
	if (error) {
		dc_forget(request, node);
		return error;
	}
	dc_once_begin(request, node->ino);
	error = (int)dc_once_end(request, DC_REQUEST_CALL(request, link, node, walk.at, walk.name, &attr));
	if (error) dc_forget(request, node);
	else dc_door_changed_attr(request->instance->door, node);
	return end_make(request, &walk, error, node, &attr);
}

/* unlink and rmdir: what is there, and may it go? On 0 *node is referenced and the walk open. */
static int begin_remove(struct dc_request *request, int dot, struct dc_walk *walk, struct dc_node **node) {
	int error = dc_request_parent(request, false, walk, dot);
	if (error) return error;
	error = dc_lookup_name(request, walk->at, walk->name, node, NULL);
	if (!error) {
		error = dc_may_change(request, walk->at, *node);
		if (error) dc_forget(request, *node);
	}
	if (error) dc_walk_end(walk);
	return error;
}

static int64_t end_remove(struct dc_request *request, struct dc_walk *walk, struct dc_node *node, int error) {
	if (!error) {
		changed(request, walk->at, walk->name);
		dc_door_changed_attr(request->instance->door, node);
	}
	dc_forget(request, node);
	dc_walk_end(walk);
	return error;
}

int64_t dc_op_unlink(struct dc_request *request) {
	struct dc_walk walk;
	struct dc_node *node;
	int error = begin_remove(request, -EISDIR, &walk, &node);
	if (error) return error;
	if (S_ISDIR(node->type)) error = -EISDIR;
	else if (walk.directory) error = -ENOTDIR;
	else {
		dc_once_begin(request, node->ino);
		error = (int)dc_once_end(request, DC_REQUEST_CALL(request, unlink, walk.at, walk.name));
	}
	return end_remove(request, &walk, node, error);
}

/* rmdir(2): "." EINVAL, ".." ENOTEMPTY, the root EBUSY. */
static int rmdir_dot(const struct dc_request *request) {
	const char *path = (const char *)request->buffer;
	size_t length = request->path_length;
	while (length && path[length - 1] == '/') length--;
	if (length && path[length - 1] == '.') return length > 1 && path[length - 2] == '.' ? -ENOTEMPTY : -EINVAL;
	return -EBUSY;
}

int64_t dc_op_rmdir(struct dc_request *request) {
	struct dc_walk walk;
	struct dc_node *node;
	int error = begin_remove(request, rmdir_dot(request), &walk, &node);
	if (error) return error;
	if (dc_covers_find(request->instance, node)) return end_remove(request, &walk, node, -EBUSY);
	dc_once_begin(request, node->ino);
	error = S_ISDIR(node->type) ? DC_REQUEST_CALL(request, rmdir, walk.at, walk.name) : -ENOTDIR;
	dc_once_end(request, error);
	return end_remove(request, &walk, node, error);
}

/* The order of checks is rename(2)'s. */
static int rename_checks(struct dc_request *request, const struct dc_walk *from, const struct dc_walk *to, struct dc_node *old, struct dc_node *existing) {
	bool exchange = request->mask & RENAME_EXCHANGE;
	if (existing && request->mask & RENAME_NOREPLACE) return -EEXIST;
	if (exchange && !existing) return -ENOENT;
	if (!S_ISDIR(old->type) && (from->directory || (to->directory && !exchange))) return -ENOTDIR;
	if (existing && to->directory && !S_ISDIR(existing->type)) return -ENOTDIR;
	int error = dc_may_change(request, from->at, old);
	if (!error) error = dc_may_change(request, to->at, existing);
	if (!error && (dc_covers_find(request->instance, old) || (existing && dc_covers_find(request->instance, existing)))) error = -EBUSY;
	if (!error && S_ISDIR(old->type) && from->at != to->at && request->context->cred->uid != 0) {
		struct dc_attr attr; /* its ".." changes */
		error = DC_REQUEST_CALL(request, getattr, old, &attr);
		if (!error) error = dc_access_check(request->context->cred, &attr, W_OK);
	}
	return error;
}

static int64_t rename_between(struct dc_request *request, struct dc_walk *from, struct dc_walk *to) {
	struct dc_node *old, *existing = NULL;
	int error = dc_lookup_name(request, from->at, from->name, &old, NULL);
	if (error) return error;
	error = dc_lookup_name(request, to->at, to->name, &existing, NULL);
	if (error == -ENOENT) error = 0;
	if (!error) error = rename_checks(request, from, to, old, existing);
	if (!error) {
		dc_once_begin(request, old->ino);
		error = (int)dc_once_end(request, DC_REQUEST_CALL(request, rename, from->at, from->name, to->at, to->name, request->mask));
	}
	if (!error) {
		changed(request, from->at, from->name);
		changed(request, to->at, to->name);
		dc_door_changed_attr(request->instance->door, old);
		if (existing) dc_door_changed_attr(request->instance->door, existing);
		request->value[0] = (S_ISDIR(old->type) && dc_door_knows(old)) || (existing && S_ISDIR(existing->type) && dc_door_knows(existing));
	}
	dc_forget(request, old);
	dc_forget(request, existing);
	return error;
}

int64_t dc_op_rename(struct dc_request *request) {
	if (request->mask & ~(uint32_t)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT)) return -EINVAL;
	if ((request->mask & RENAME_EXCHANGE) && (request->mask & (RENAME_NOREPLACE | RENAME_WHITEOUT))) return -EINVAL;
	struct dc_walk from, to;
	int error = dc_request_parent(request, false, &from, -EBUSY);
	if (error) return error;
	error = dc_request_parent(request, true, &to, request->mask & RENAME_NOREPLACE ? -EEXIST : -EBUSY);
	if (!error) {
		error = (int)rename_between(request, &from, &to);
		dc_walk_end(&to);
	}
	dc_walk_end(&from);
	return error;
}
