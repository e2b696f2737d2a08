#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "operations.h"
#include "posts.h"

/* Flags that a handle keeps. */
#define KEPT (O_ACCMODE | O_APPEND | O_SYNC | O_DSYNC | O_DIRECT | O_PATH | O_NOATIME | O_DIRECTORY)

static int wanted(int flags) {
	int mode = flags & O_ACCMODE;
	int mask = mode == O_RDONLY ? R_OK : mode == O_WRONLY ? W_OK : R_OK | W_OK;
	return flags & O_TRUNC ? mask | W_OK : mask;
}

/* Hands the node (its reference is ours, and open unless O_PATH) to a new handle. */
static int64_t give_handle(struct dc_request *request, struct dc_node *node, const struct dc_attr *attr, int flags) {
	uint64_t number;
	int error = dc_handle_open(request, node, flags & KEPT, &number);
	if (error) {
		if (!(flags & O_PATH)) DC_REQUEST_CALL(request, close, node, flags & KEPT);
		dc_forget(request, node);
		return error;
	}
	request->value[0] = number;
	request->value[1] = dc_door_knows(node);
	request->value[2] = dc_shared_place(request, node, flags);
	dc_answer_attr(request, attr);
	return 0;
}

static int check_existing(struct dc_request *request, const struct dc_node *node, const struct dc_attr *attr, int flags) {
	if (S_ISLNK(node->type)) return flags & O_PATH ? 0 : -ELOOP; /* O_NOFOLLOW */
	if ((flags & O_DIRECTORY) && !S_ISDIR(node->type)) return -ENOTDIR;
	if (flags & O_PATH) return 0;
	if (S_ISDIR(node->type) && ((flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT))) return -EISDIR;
	if (!S_ISDIR(node->type) && !S_ISREG(node->type)) return DC_RESULT_KERNEL;
	return dc_access_check(request->context->cred, attr, wanted(flags));
}

/* The node is there (reference ours). */
static int64_t open_existing(struct dc_request *request, struct dc_node *node, struct dc_attr *attr, int flags) {
	int error = check_existing(request, node, attr, flags);
	if (!error && !(flags & O_PATH)) error = DC_REQUEST_CALL(request, open, node, flags & KEPT);
	if (!error && (flags & O_TRUNC) && S_ISREG(node->type)) {
		struct dc_attr set = {.st = {.st_size = 0}};
		error = DC_REQUEST_CALL(request, setattr, node, &set, DC_SET_SIZE, attr);
		if (error) DC_REQUEST_CALL(request, close, node, flags & KEPT);
		else dc_door_changed_data(request->instance->door, node, 0, 0);
	}
	if (error) {
		dc_forget(request, node);
		return error;
	}
	return give_handle(request, node, attr, flags);
}

static int64_t created(struct dc_request *request, struct dc_walk *walk, struct dc_node *node, const struct dc_attr *attr, int flags) {
	int64_t result = give_handle(request, node, attr, flags); /* first: by its handle a successor knows that the file was made, and telling the kernel may take long */
	dc_door_changed_entry(request->instance->door, walk->at, walk->name);
	return result;
}

/* O_CREAT: the last component is made if it is not there; links that lead to nowhere are followed to where it would be. */
static int64_t open_create(struct dc_request *request, struct dc_walk *walk, int flags) {
	for (;;) {
		if (walk->directory) return -EISDIR;
		struct dc_node *node;
		struct dc_attr attr;
		int error = dc_lookup_name(request, walk->at, walk->name, &node, flags & O_EXCL ? NULL : &attr);
		if (!error && (flags & O_EXCL)) {
			dc_forget(request, node);
			return -EEXIST;
		}
		if (!error && S_ISLNK(node->type) && !(flags & O_NOFOLLOW)) {
			error = dc_walk_link(walk, node);
			dc_forget(request, node);
			if (!error) error = dc_walk_parent(walk, -EISDIR);
			if (error) return dc_request_leaves(request, walk, error);
			continue;
		}
		if (!error) return open_existing(request, node, &attr, flags);
		if (error != -ENOENT) return error;
		error = dc_may_change(request, walk->at, NULL);
		if (!error && flags & O_EXCL) dc_once_begin(request, 0);
		if (!error) error = DC_REQUEST_CALL(request, create, walk->at, walk->name, request->mode & 07777, flags & KEPT, &node, &attr);
		if (!error) return created(request, walk, node, &attr, flags);
		if (error != -EEXIST || (flags & O_EXCL)) return error; /* EEXIST: somebody was quicker: open that one */
	}
}

static int64_t open_tmpfile(struct dc_request *request, int flags) {
	if ((flags & O_ACCMODE) == O_RDONLY) return -EINVAL;
	struct dc_node *directory, *node;
	struct dc_attr attr;
	int error = dc_request_node(request, &directory, &attr);
	if (error) return error;
	if (!S_ISDIR(directory->type)) error = -ENOTDIR;
	if (!error) error = dc_may_change(request, directory, NULL);
	if (!error) error = DC_REQUEST_CALL(request, tmpfile, directory, request->mode & 07777, flags & KEPT, &node, &attr);
	dc_forget(request, directory);
	return error ? error : give_handle(request, node, &attr, flags & ~O_TMPFILE);
}

int64_t dc_op_open(struct dc_request *request) {
	int flags = (int)request->mask;
	if ((flags & O_ACCMODE) == O_ACCMODE) return -EINVAL;
	if (flags & O_PATH) flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW;
	if (flags & O_NOFOLLOW) request->flags |= DC_PATH_NOFOLLOW;
	else request->flags &= ~(uint32_t)DC_PATH_NOFOLLOW;
	if ((flags & O_TMPFILE) == O_TMPFILE) return open_tmpfile(request, flags);
	if (!(flags & O_CREAT)) {
		struct dc_node *node;
		struct dc_attr attr;
		int error = dc_request_node(request, &node, &attr);
		return error ? error : open_existing(request, node, &attr, flags);
	}
	if (flags & O_DIRECTORY) return -EINVAL;
	struct dc_walk walk;
	int error = dc_request_parent(request, false, &walk, flags & O_EXCL ? -EEXIST : -EISDIR);
	if (error) return error;
	int64_t result = open_create(request, &walk, flags);
	dc_walk_end(&walk);
	return result;
}

int64_t dc_op_close(struct dc_request *request) {
	int error;
	struct dc_handle *handle = dc_handle_get(request->client, request->handle, &error);
	if (!handle) return error;
	error = dc_posts_closed(handle);
	dc_handle_close(handle);
	dc_handle_put(handle);
	return error;
}

/*
 * Does the process hold what it names: descriptor `number` (-1: its working directory) of this instance's file `ino`, opened for at least what `flags` says? By its /proc, without a request
 * to the kernel door (AT_STATX_DONT_SYNC), which may be waiting for us.
 */
static bool holds(const struct dc_request *request, uint64_t ino, int64_t number, int flags) {
	char path[64], text[512] = "";
	snprintf(path, sizeof path, number < 0 ? "/proc/%d/cwd" : "/proc/%d/fd/%lld", (int)request->client->pid, (long long)number);
	struct statx held, mount;
	int fd = open(path, O_PATH | O_CLOEXEC);
	if (fd < 0) return false;
	bool same = statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &held) == 0 &&
		statx(AT_FDCWD, request->instance->mountpoint, AT_STATX_DONT_SYNC, STATX_INO, &mount) == 0 && held.stx_ino == ino && held.stx_dev_major == mount.stx_dev_major &&
		held.stx_dev_minor == mount.stx_dev_minor;
	close(fd);
	if (!same) return false;
	if (number < 0) return flags & O_PATH;
	snprintf(path, sizeof path, "/proc/%d/fdinfo/%lld", (int)request->client->pid, (long long)number);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	if (fd >= 0) close(fd);
	const char *line = length > 0 ? strstr(text, "flags:") : NULL;
	int granted = line ? (int)strtol(line + sizeof "flags:" - 1, NULL, 8) : O_PATH;
	if (flags & O_PATH) return line != NULL;
	return line && !(granted & O_PATH) && ((granted & O_ACCMODE) == O_RDWR || (granted & O_ACCMODE) == (flags & O_ACCMODE));
}

/* The kernel let the process have this descriptor, so its mode was checked then. That the process really holds it is trusted where processes trust each other, and of root. */
int64_t dc_op_adopt(struct dc_request *request) {
	if (!request->instance->door) return -EXDEV;
	if (dc_workers_by_mailbox() && request->context->cred->uid != 0 && !holds(request, request->argument[0], (int64_t)request->argument[1] - 1, (int)request->mask)) return -EBADF;
	struct dc_node *node = dc_door_find(request->instance->door, request->argument[0]);
	if (!node) return -ESTALE;
	int flags = (int)request->mask & ~(O_CREAT | O_EXCL | O_TRUNC);
	struct dc_attr attr;
	int error = DC_REQUEST_CALL(request, getattr, node, &attr);
	if (!error && !S_ISREG(node->type) && !S_ISDIR(node->type) && !(flags & O_PATH)) error = DC_RESULT_KERNEL;
	if (!error && !(flags & O_PATH)) error = DC_REQUEST_CALL(request, open, node, flags & KEPT);
	if (error) {
		dc_forget(request, node);
		return error;
	}
	return give_handle(request, node, &attr, flags);
}
