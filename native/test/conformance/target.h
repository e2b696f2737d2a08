/*
 * target.h - one set of calls by path and handle, answered either by a stack of libservices or by the host's kernel (the oracle). A case makes the same
 * calls on both; every call writes a line of what came out of it (results, errnos, attributes, bytes) and the lines are compared.
 * Symbolic links are never followed by either side: that is the doors' affair.
 */
#ifndef DICICLO_TARGET_H
#define DICICLO_TARGET_H

#include "stand.h"

#define HANDLES 32

struct trace {
	char *text;
	size_t length, size;
};

struct target {
	const char *name;
	struct stand *stand; /* NULL: the host */
	int root;            /* the host's directory */
	int descriptors[HANDLES];
	struct dc_node *nodes[HANDLES];
	int modes[HANDLES];
	struct trace trace;
};

void trace_add(struct target *target, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Each answers what it traced: a count, 0, or -errno. Handles are small numbers that the case chooses. */
int t_open(struct target *t, int handle, const char *path, int flags, mode_t mode);
void t_close(struct target *t, int handle);
ssize_t t_read(struct target *t, int handle, size_t bytes, off_t offset);
ssize_t t_readv(struct target *t, int handle, size_t bytes, size_t piece, off_t offset);
ssize_t t_write(struct target *t, int handle, int seed, size_t bytes, off_t offset);
ssize_t t_writev(struct target *t, int handle, int seed, size_t bytes, size_t piece, off_t offset);
ssize_t t_append(struct target *t, int handle, int seed, size_t bytes);
int t_truncate(struct target *t, int handle, off_t size);
int t_fstat(struct target *t, int handle);
int t_fsync(struct target *t, int handle, bool data_only);
int t_fallocate(struct target *t, int handle, int mode, off_t offset, off_t length);
off_t t_seek(struct target *t, int handle, off_t offset, int whence);
ssize_t t_copy(struct target *t, int from, off_t from_offset, int to, off_t to_offset, size_t length);
int t_tmpfile(struct target *t, int handle, const char *directory, int flags, mode_t mode);
int t_link_handle(struct target *t, int handle, const char *path);

int t_stat(struct target *t, const char *path);
int t_times(struct target *t, const char *path);
int t_set_times(struct target *t, const char *path, struct timespec atime, struct timespec mtime); /* UTIME_OMIT, UTIME_NOW too */
int t_chmod(struct target *t, const char *path, mode_t mode);
int t_chown(struct target *t, const char *path, uid_t uid, gid_t gid);
int t_mkdir(struct target *t, const char *path, mode_t mode);
int t_mknod(struct target *t, const char *path, mode_t mode, dev_t device);
int t_symlink(struct target *t, const char *text, const char *path);
ssize_t t_readlink(struct target *t, const char *path, size_t size);
int t_link(struct target *t, const char *from, const char *to);
int t_unlink(struct target *t, const char *path);
int t_rmdir(struct target *t, const char *path);
int t_rename(struct target *t, const char *from, const char *to, unsigned flags);
int t_list(struct target *t, const char *path); /* names and types, sorted */
ssize_t t_getxattr(struct target *t, const char *path, const char *name, size_t size);
int t_setxattr(struct target *t, const char *path, const char *name, const char *value, size_t size, int flags);
ssize_t t_listxattr(struct target *t, const char *path, size_t size);
int t_removexattr(struct target *t, const char *path, const char *name);
int t_same(struct target *t, const char *a, const char *b); /* 1: one inode */
int t_parent_is(struct target *t, const char *directory, const char *parent);
void t_as(struct target *t, uid_t uid, gid_t gid); /* for the following calls; 0, 0 goes back */

/* target_host.c and target_stack.c: the calls themselves, untraced. */
struct attributes { mode_t mode; nlink_t links; uid_t uid; gid_t gid; off_t size; ino_t ino; struct timespec atime, mtime; dev_t device; };
struct entry { char name[256]; uint32_t type; uint64_t ino; };
struct entries { struct entry *list; size_t count, size; };
struct calls {
	int (*open)(struct target *t, int handle, const char *path, int flags, mode_t mode);
	void (*close)(struct target *t, int handle);
	ssize_t (*read)(struct target *t, int handle, const struct iovec *iov, int count, off_t offset);
	ssize_t (*write)(struct target *t, int handle, const struct iovec *iov, int count, off_t *offset, bool append);
	int (*truncate)(struct target *t, int handle, off_t size);
	int (*fstat)(struct target *t, int handle, struct attributes *attributes);
	int (*fsync)(struct target *t, int handle, bool data_only);
	int (*fallocate)(struct target *t, int handle, int mode, off_t offset, off_t length);
	off_t (*seek)(struct target *t, int handle, off_t offset, int whence);
	ssize_t (*copy)(struct target *t, int from, off_t from_offset, int to, off_t to_offset, size_t length);
	int (*tmpfile)(struct target *t, int handle, const char *directory, int flags, mode_t mode);
	int (*link_handle)(struct target *t, int handle, const char *path);
	int (*stat)(struct target *t, const char *path, struct attributes *attributes);
	int (*set_times)(struct target *t, const char *path, struct timespec atime, struct timespec mtime);
	int (*chmod)(struct target *t, const char *path, mode_t mode);
	int (*chown)(struct target *t, const char *path, uid_t uid, gid_t gid);
	int (*mkdir)(struct target *t, const char *path, mode_t mode);
	int (*mknod)(struct target *t, const char *path, mode_t mode, dev_t device);
	int (*symlink)(struct target *t, const char *text, const char *path);
	ssize_t (*readlink)(struct target *t, const char *path, char *buffer, size_t size);
	int (*link)(struct target *t, const char *from, const char *to);
	int (*unlink)(struct target *t, const char *path);
	int (*rmdir)(struct target *t, const char *path);
	int (*rename)(struct target *t, const char *from, const char *to, unsigned flags);
	int (*list)(struct target *t, const char *path, struct entries *entries);
	ssize_t (*getxattr)(struct target *t, const char *path, const char *name, char *value, size_t size);
	int (*setxattr)(struct target *t, const char *path, const char *name, const char *value, size_t size, int flags);
	ssize_t (*listxattr)(struct target *t, const char *path, char *list, size_t size);
	int (*removexattr)(struct target *t, const char *path, const char *name);
	void (*as)(struct target *t, uid_t uid, gid_t gid);
	int (*parent)(struct target *t, const char *directory, struct attributes *attributes);
};
extern const struct calls host_calls, stack_calls;
void entries_add(struct entries *entries, const char *name, size_t length, uint32_t type, uint64_t ino);

/* cases_*.c */
struct test_case { const char *name; void (*run)(struct target *t); bool needs_root; };
extern const struct test_case cases[];
extern const size_t case_count;

/* special.c, stress.c: what has no oracle. Each answers NULL or what went wrong. */
struct special { const char *name; const char *(*run)(const char *modules, const char *shape, const char *directory); const char *shapes; };
extern const struct special specials[];
extern const size_t special_count;
extern const struct special stresses[];
extern const size_t stress_count;

#endif
