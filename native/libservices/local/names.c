/*
 * names.c - everything that goes by a name. Every path is resolved by openat2 with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS from a directory's
 * descriptor, so that neither ".." nor a symbolic link (magic ones of /proc included) nor a race with a host process leads out of the directory.
 */
#include "local.h"

#include <dirent.h>
#include <linux/openat2.h>
#include <linux/securebits.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RACES_MAX 16

static int open_how(int directory, const char *path, uint64_t flags, mode_t mode, uint64_t resolve)
{
	struct open_how how = {.flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve | RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS};
	long opened;
	int tries = 0;

	do /* RESOLVE_BENEATH answers EAGAIN when a rename raced with ".." handling */
		opened = syscall(SYS_openat2, directory, path, &how, sizeof how);
	while (opened < 0 && (errno == EINTR || (errno == EAGAIN && !(resolve & RESOLVE_CACHED))) && ++tries < RACES_MAX);
	if (opened < 0)
		return errno == EMFILE ? -ENFILE : -errno;
	return (int)opened;
}

int local_open_beneath(int directory, const char *path, uint64_t flags, mode_t mode)
{
	return open_how(directory, path, flags, mode, 0);
}

/* Without waiting when the kernel has the names at hand, else between dc_block_begin and dc_block_end. */
static int open_path(struct dc_context *context, int directory, const char *path)
{
	int opened = open_how(directory, path, O_PATH | O_NOFOLLOW, 0, RESOLVE_CACHED);

	if (opened == -EAGAIN || opened == -EINVAL || opened == -EOPNOTSUPP) {
		dc_block_begin(context);
		opened = open_how(directory, path, O_PATH | O_NOFOLLOW, 0, 0);
		dc_block_end(context);
	}
	return opened;
}

static int name_check(const char *name)
{
	size_t length = strlen(name);

	if (!length || memchr(name, '/', length))
		return -EINVAL;
	return length > DC_NAME_MAX ? -ENAMETOOLONG : 0;
}

/* Takes over `descriptor`, whose file is as `status` says. */
static int node_of(struct local *local, int descriptor, int level, const struct statx *status, struct dc_node **node, struct dc_attr *attr)
{
	struct local_node *found;
	int result = local_node_get(local, descriptor, level, status, &found);

	if (result)
		return result;
	local_fill(local, found, status, attr);
	*node = &found->node;
	return 0;
}

/* Takes over `descriptor`. */
static int node_from(struct local *local, int descriptor, int level, struct dc_node **node, struct dc_attr *attr)
{
	struct statx status;
	int result = local_status(descriptor, &status);

	if (!result)
		return node_of(local, descriptor, level, &status, node, attr);
	close(descriptor);
	return result;
}

/* ---- lookup --------------------------------------------------------------------------------------------------------------- */
static bool same_file(const struct statx *a, const struct statx *b)
{
	return a->stx_ino == b->stx_ino && a->stx_dev_major == b->stx_dev_major && a->stx_dev_minor == b->stx_dev_minor;
}

/* Is the directory at or below the root? A host process may have moved it out; then its ".." must not be followed. */
static int is_inside(struct local *local, int directory)
{
	struct statx root, here, before = {0};
	int at = fcntl(directory, F_DUPFD_CLOEXEC, 0), above, result, depth;

	if (at < 0)
		return -errno;
	result = local_status(local->root->descriptor, &root);
	for (depth = 0; !result && depth < (int)DC_PATH_MAX; depth++) {
		result = local_status(at, &here);
		if (result || same_file(&here, &root))
			break;
		if (depth && same_file(&here, &before)) {
			result = -ESTALE; /* the host's own root */
			break;
		}
		before = here;
		above = openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (above < 0) {
			result = -errno;
			break;
		}
		close(at);
		at = above;
	}
	close(at);
	return depth == (int)DC_PATH_MAX ? -ESTALE : result;
}

static int lookup_parent(struct local *local, struct dc_context *context, struct local_node *directory, int descriptor, struct dc_node **node, struct dc_attr *attr)
{
	int above, result;

	if (directory == local->root)
		return -EXDEV;
	dc_block_begin(context);
	above = openat(descriptor, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
	result = above < 0 ? -errno : is_inside(local, above);
	dc_block_end(context);
	if (result) {
		if (above >= 0)
			close(above);
		return result;
	}
	return node_from(local, above, LOCAL_PATH, node, attr);
}

/* The longest prefix of path[0..length) that can be opened: its end, 0 for none; *why is what stopped the next component. */
static int open_prefix(struct dc_context *context, int directory, char *path, size_t length, size_t *end, int *why)
{
	int opened;

	*why = 0;
	for (*end = length;;) {
		opened = open_path(context, directory, path);
		if (opened >= 0)
			return opened;
		if (opened != -ENOENT && opened != -ENOTDIR && opened != -ELOOP)
			return opened;
		*why = opened;
		while (*end && path[*end - 1] != '/')
			(*end)--;
		if (!*end)
			return opened;
		path[--*end] = '\0';
	}
}

static int lookup_below(struct local *local, struct dc_context *context, struct local_node *parent, int directory, const char *path, size_t length,
                        struct dc_node **node, struct dc_attr *attr, size_t *consumed)
{
	char copy[DC_PATH_MAX];
	int opened, why, result, tries;

	for (tries = 0; tries < RACES_MAX; tries++) {
		memcpy(copy, path, length);
		copy[length] = '\0';
		opened = open_prefix(context, directory, copy, length, consumed, &why);
		if (opened < 0 && *consumed)
			return opened;
		if (opened < 0) {
			if (opened != -ENOENT)
				return opened;
			local_node_reference(parent, 1);
			*node = &parent->node;
			return -ENOENT;
		}
		result = node_from(local, opened, LOCAL_PATH, node, attr);
		if (result || *consumed == length || !S_ISDIR((*node)->type))
			return result;
		if (why == -ENOENT)
			return -ENOENT;
		/* It was a link or a file a moment ago and is a directory now: look again. */
		local_node_forget(local, local_node_of(*node), 1);
		*node = NULL;
	}
	return -ESTALE;
}

int local_lookup(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *path, size_t length, struct dc_node **node,
                 struct dc_attr *attr, size_t *consumed)
{
	struct local *local = local_of(self);
	struct local_node *directory = local_node_of(parent);
	int descriptor, result;

	*node = NULL;
	*consumed = 0;
	if (!length)
		return -EINVAL;
	if (length >= DC_PATH_MAX)
		return -ENAMETOOLONG;
	if (!S_ISDIR(parent->type))
		return -ENOTDIR;
	atomic_fetch_add_explicit(&local->lookups, 1, memory_order_relaxed);
	result = local_make_room(local);
	descriptor = result ? result : local_use(local, directory);
	if (descriptor < 0)
		return descriptor;
	if (length == 2 && !memcmp(path, "..", 2)) {
		result = lookup_parent(local, context, directory, descriptor, node, attr);
		*consumed = result ? 0 : length;
	} else {
		result = lookup_below(local, context, directory, descriptor, path, length, node, attr, consumed);
	}
	local_done(directory);
	return result;
}

/* ---- making --------------------------------------------------------------------------------------------------------------- */
/* What the service made belongs to itself: give it to who asked, with the mode the kernel would have given them. `status` is what was made, and stays so. */
static int give(struct local *local, struct dc_context *context, int directory, int made, struct statx *status)
{
	const struct dc_cred *cred = context->cred;
	bool inherits = false, owner, bits;
	struct statx parent;
	mode_t mode;
	int result;
	gid_t gid;

	if (cred->uid == 0 && cred->gid == 0 && local->uid == 0)
		return 0;
	gid = status->stx_gid;
	if (gid != cred->gid) {
		result = local_status(directory, &parent);
		if (result)
			return result;
		inherits = parent.stx_mode & S_ISGID;
		if (!inherits)
			gid = cred->gid;
	}
	mode = status->stx_mode & 07777;
	if (S_ISREG(status->stx_mode) && (mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && inherits && !local_in_group(cred, gid))
		mode &= ~(mode_t)S_ISGID;
	owner = status->stx_uid != cred->uid || status->stx_gid != gid;
	bits = !S_ISLNK(status->stx_mode) && (mode & (S_ISUID | S_ISGID) || mode != (status->stx_mode & 07777));
	if (owner && fchownat(made, "", cred->uid, gid, AT_EMPTY_PATH))
		return -errno;
	if (bits) {
		char path[32];
		snprintf(path, sizeof path, "/proc/self/fd/%d", made);
		if (chmod(path, mode))
			return -errno;
	}
	return owner || bits ? local_status(made, status) : 0;
}

/*
 * What is made belongs to the caller from its first moment: others find it by its name at once, and must not be refused because it is still ours. The service keeps its rights under other
 * filesystem ids when it has SECBIT_NO_SETUID_FIXUP; elsewhere (tests without it) give() has to do.
 */
static bool other_ids(const struct dc_context *context)
{
	static _Thread_local int rights = -1;

	if (context->cred->uid == 0 && context->cred->gid == 0)
		return false;
	if (rights < 0) {
		int bits = prctl(PR_GET_SECUREBITS);
		rights = bits >= 0 && bits & SECBIT_NO_SETUID_FIXUP;
	}
	return rights;
}

/* Raw: libc's would change all threads where it can; these are the calling thread's. */
static void make_as_caller(struct dc_context *context)
{
	dc_block_begin_briefly(context);
	if (other_ids(context)) {
		syscall(SYS_setfsgid, context->cred->gid);
		syscall(SYS_setfsuid, context->cred->uid);
	}
}

static int made_as_caller(struct local *local, struct dc_context *context, int result)
{
	if (other_ids(context)) {
		syscall(SYS_setfsuid, local->uid);
		syscall(SYS_setfsgid, local->gid);
	}
	return result;
}

/* Room for a descriptor, a checked name, a parent in use: the start of every call that makes something. The parent's descriptor, or -errno. */
static int make_begin(struct local *local, struct dc_node *parent, const char *name)
{
	int result = name ? name_check(name) : 0;

	if (result)
		return result;
	if (!S_ISDIR(parent->type))
		return -ENOTDIR;
	if (local->read_only)
		return -EROFS;
	result = local_make_room(local);
	return result ? result : local_use(local, local_node_of(parent));
}

static int make_node(struct local *local, struct dc_context *context, int directory, const char *name, int made, int level, int remove_flags,
                     struct dc_node **node, struct dc_attr *attr)
{
	struct statx status;
	int result = made < 0 ? made : local_status(made, &status);

	if (!result)
		result = give(local, context, directory, made, &status);
	if (!result)
		return node_of(local, made, level, &status, node, attr);
	if (made >= 0)
		close(made);
	if (name)
		unlinkat(directory, name, remove_flags);
	return result;
}

int local_create(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name, mode_t mode, int flags, struct dc_node **node,
                 struct dc_attr *attr)
{
	struct local *local = local_of(self);
	int directory = make_begin(local, parent, name), made, result;
	bool writes = (flags & O_ACCMODE) != O_RDONLY;

	if (directory < 0)
		return directory;
	make_as_caller(context);
	made = local_open_beneath(directory, name, O_CREAT | O_EXCL | O_NOFOLLOW | (writes ? O_RDWR : O_RDONLY), mode & 07777);
	made = made_as_caller(local, context, made);
	dc_block_end(context);
	if (made == -EISDIR || made == -EXDEV)
		made = -EEXIST; /* "." and ".." */
	result = made < 0 ? made : make_node(local, context, directory, name, made, writes ? LOCAL_WRITE : LOCAL_READ, 0, node, attr);
	if (!result) {
		local_node_of(*node)->opens++;
		local_node_of(*node)->write_opens += writes;
	}
	local_done(local_node_of(parent));
	return result;
}

int local_tmpfile(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, mode_t mode, int flags, struct dc_node **node, struct dc_attr *attr)
{
	struct local *local = local_of(self);
	int directory = make_begin(local, parent, NULL), made, result;

	if (directory < 0)
		return directory;
	if ((flags & O_ACCMODE) == O_RDONLY) {
		local_done(local_node_of(parent));
		return -EINVAL; /* as open(2) says */
	}
	make_as_caller(context);
	made = local_open_beneath(directory, ".", O_TMPFILE | O_RDWR | (unsigned)(flags & O_EXCL), mode & 07777);
	made = made_as_caller(local, context, made);
	dc_block_end(context);
	result = make_node(local, context, directory, NULL, made, LOCAL_WRITE, 0, node, attr);
	if (!result) {
		local_node_of(*node)->opens++;
		local_node_of(*node)->write_opens++;
	}
	local_done(local_node_of(parent));
	return result;
}

/* mkdir, mknod and symlink answer no descriptor: open what was just made. */
static int made_by_name(struct local *local, struct dc_context *context, struct dc_node *parent, int directory, const char *name, int failed, int remove_flags,
                        struct dc_node **node, struct dc_attr *attr)
{
	int result = failed ? failed : make_node(local, context, directory, name, local_open_beneath(directory, name, O_PATH | O_NOFOLLOW, 0), LOCAL_PATH,
	                                         remove_flags, node, attr);

	dc_block_end(context);
	local_done(local_node_of(parent));
	return result;
}

int local_mkdir(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name, mode_t mode, struct dc_node **node, struct dc_attr *attr)
{
	int directory = make_begin(local_of(self), parent, name);

	if (directory < 0)
		return directory;
	make_as_caller(context);
	return made_by_name(local_of(self), context, parent, directory, name, made_as_caller(local_of(self), context, mkdirat(directory, name, mode & 07777) ? -errno : 0), AT_REMOVEDIR, node, attr);
}

int local_mknod(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name, mode_t mode, dev_t device, struct dc_node **node,
                struct dc_attr *attr)
{
	int directory;

	if ((S_ISCHR(mode) || S_ISBLK(mode)) && context->cred->uid != 0 && !(S_ISCHR(mode) && device == 0))
		return -EPERM;
	directory = make_begin(local_of(self), parent, name);
	if (directory < 0)
		return directory;
	make_as_caller(context);
	return made_by_name(local_of(self), context, parent, directory, name, made_as_caller(local_of(self), context, mknodat(directory, name, mode & (S_IFMT | 07777), device) ? -errno : 0), 0, node, attr);
}

int local_symlink(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name, const char *target, struct dc_node **node,
                  struct dc_attr *attr)
{
	int directory = make_begin(local_of(self), parent, name);

	if (directory < 0)
		return directory;
	make_as_caller(context);
	return made_by_name(local_of(self), context, parent, directory, name, made_as_caller(local_of(self), context, symlinkat(target, directory, name) ? -errno : 0), 0, node, attr);
}

/* ---- names alone ---------------------------------------------------------------------------------------------------------- */
int local_link(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, struct dc_node *parent, const char *name, struct dc_attr *attr)
{
	struct local *local = local_of(self);
	int directory, descriptor, result = 0;

	if (S_ISDIR(node->type))
		return -EPERM;
	directory = make_begin(local, parent, name);
	if (directory < 0)
		return directory;
	descriptor = local_use(local, local_node_of(node));
	if (descriptor < 0) {
		local_done(local_node_of(parent));
		return descriptor;
	}
	dc_block_begin_briefly(context);
	if (linkat(descriptor, "", directory, name, AT_EMPTY_PATH)) {
		char path[32];
		snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
		/* Without CAP_DAC_READ_SEARCH the kernel says ENOENT to an empty path. */
		result = errno != ENOENT ? -errno : linkat(AT_FDCWD, path, directory, name, AT_SYMLINK_FOLLOW) ? -errno : 0;
	}
	dc_block_end(context);
	if (!result) {
		atomic_fetch_and(&node->flags, ~(uint32_t)DC_NODE_UNLINKED);
		result = local_getattr(self, context, node, attr);
	}
	local_done(local_node_of(node));
	local_done(local_node_of(parent));
	return result;
}

/* A parked node whose file loses its last name would be lost: take its descriptor back first. */
static void keep_victim(struct local *local, int directory, const char *name)
{
	struct stat status;

	if (local->parked && !fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW))
		local_keep(local, status.st_dev, status.st_ino);
}

static int remove_name(struct local *local, struct dc_context *context, struct dc_node *parent, const char *name, int flags)
{
	int directory = make_begin(local, parent, name), result;

	if (directory < 0)
		return directory;
	dc_block_begin_briefly(context);
	keep_victim(local, directory, name);
	result = unlinkat(directory, name, flags) ? -errno : 0;
	dc_block_end(context);
	local_done(local_node_of(parent));
	return result;
}

int local_unlink(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name)
{
	return remove_name(local_of(self), context, parent, name, 0);
}

int local_rmdir(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name)
{
	return remove_name(local_of(self), context, parent, name, AT_REMOVEDIR);
}

int local_rename(struct dc_libservice *self, struct dc_context *context, struct dc_node *from, const char *from_name, struct dc_node *to, const char *to_name, uint32_t flags)
{
	struct local *local = local_of(self);
	int source, target, result = name_check(from_name);

	if (flags & ~(uint32_t)(RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	if (result)
		return result;
	if (!S_ISDIR(from->type))
		return -ENOTDIR;
	target = make_begin(local, to, to_name);
	if (target < 0)
		return target;
	source = local_use(local, local_node_of(from));
	if (source < 0) {
		local_done(local_node_of(to));
		return source;
	}
	dc_block_begin_briefly(context);
	keep_victim(local, target, to_name);
	result = renameat2(source, from_name, target, to_name, flags) ? -errno : 0;
	dc_block_end(context);
	local_done(local_node_of(from));
	local_done(local_node_of(to));
	return result;
}

ssize_t local_readlink(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, char *buffer, size_t size)
{
	int descriptor = local_use(local_of(self), local_node_of(node));
	ssize_t result;

	if (descriptor < 0)
		return descriptor;
	result = S_ISLNK(node->type) ? readlinkat(descriptor, "", buffer, size) : (ssize_t)-EINVAL;
	if (result == -1)
		result = -errno;
	local_done(local_node_of(node));
	return result;
}

/* ---- directories ---------------------------------------------------------------------------------------------------------- */
/* The kernel's own offsets are the cookies. The descriptor's position is shared by all readers of the directory: one at a time, and seek when it is elsewhere. */
static long fill_entries(struct local_node *node, int descriptor, uint64_t cookie, char *buffer, size_t size)
{
	long used = 0;

	pthread_mutex_lock(&node->lock);
	if ((cookie == 0 || node->directory_position != cookie) && lseek(descriptor, (off_t)cookie, SEEK_SET) < 0)
		used = -errno;
	if (!used) {
		used = syscall(SYS_getdents64, descriptor, buffer, size);
		if (used < 0)
			used = -errno;
	}
	node->directory_position = UINT64_MAX;
	if (used > 0) {
		const struct dirent64 *entry;
		long at = 0;
		do {
			entry = (const struct dirent64 *)(buffer + at);
			at += entry->d_reclen;
		} while (at < used);
		node->directory_position = (uint64_t)entry->d_off;
	}
	pthread_mutex_unlock(&node->lock);
	return used;
}

static uint64_t entry_ino(struct local *local, const struct local_node *directory, const struct dirent64 *entry)
{
	if (directory == local->root && !strcmp(entry->d_name, ".."))
		return directory->node.ino;
	return local_ino(local, directory->device, entry->d_ino);
}

int local_readdir(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, uint64_t cookie, struct dc_dirent_sink *sink)
{
	struct local *local = local_of(self);
	struct local_node *directory = local_node_of(node);
	_Alignas(8) char buffer[16384];
	int descriptor, result;
	bool room = true;
	long used = 0, at;

	if (!S_ISDIR(node->type))
		return -ENOTDIR;
	descriptor = local_use(local, directory);
	if (descriptor < 0)
		return descriptor;
	result = local_raise(local, context, directory, descriptor, LOCAL_READ);
	while (!result && room) {
		dc_block_begin_briefly(context);
		used = fill_entries(directory, descriptor, cookie, buffer, sizeof buffer);
		dc_block_end(context);
		if (used <= 0)
			break;
		for (at = 0; at < used && room;) {
			const struct dirent64 *entry = (const struct dirent64 *)(buffer + at);
			room = sink->add(sink, entry->d_name, strlen(entry->d_name), entry_ino(local, directory, entry), DTTOIF(entry->d_type), (uint64_t)entry->d_off);
			cookie = (uint64_t)entry->d_off;
			at += entry->d_reclen;
		}
	}
	local_done(directory);
	if (result)
		return result;
	return used == -ENOENT ? 0 : used < 0 ? (int)used : 0; /* a removed directory is empty */
}
