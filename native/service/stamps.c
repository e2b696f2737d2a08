/*
 * stamps.c - see stamps.h. Stamps are chosen by hash: of a directory's inode number and a name, or of an inode number alone. Two that share one cost a lease now and then, never a wrong one.
 *
 * Whose last name an unlink or a rename takes must be known before it does, so operations on one name go one after the other (names, below). No lock is held but by calls of the stack.
 */
#include "stamps.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "posts.h"
#include "regions.h"

#define NAME_LOCKS 1024u
#define CHANGE_MAX 6u

struct dc_stamps {
	struct dc_libservice front; /* first: `self` of the operations below */
	struct dc_file_binding file;
	_Atomic uint64_t *board;
	uint32_t region;
	pthread_mutex_t names[NAME_LOCKS];
};

static uint32_t stamp_of(uint64_t ino, const char *name, size_t length) {
	uint64_t hash = (ino + 1) * UINT64_C(0x9e3779b97f4a7c15);
	if (name) hash ^= UINT64_C(0x2545f4914f6cdd1d); /* no name is empty */
	for (size_t i = 0; i < length; i++) hash = (hash ^ (unsigned char)name[i]) * UINT64_C(0x100000001b3);
	hash ^= hash >> 32;
	return (uint32_t)(hash * UINT64_C(0xd6e8feb86659fd93) >> 40) % DC_STAMPS;
}

/* ---- changes --------------------------------------------------------------------------------------------------------------------------------------- */
struct change {
	struct dc_stamps *stamps;
	unsigned count;
	uint32_t stamp[CHANGE_MAX];
};

static void changes(struct change *change, uint32_t stamp) {
	change->stamp[change->count++] = stamp;
	dc_stamp_begin(&change->stamps->board[stamp]);
}
static void changes_name(struct change *change, const struct dc_node *parent, const char *name) {
	changes(change, stamp_of(parent->ino, name, strlen(name)));
	changes(change, stamp_of(parent->ino, NULL, 0));
}
static void changes_attributes(struct change *change, const struct dc_node *node) {
	changes(change, stamp_of(node->ino, NULL, 0));
}
static void changed(struct change *change) {
	while (change->count) dc_stamp_end(&change->stamps->board[change->stamp[--change->count]]);
}

#define SELF struct dc_libservice *self, struct dc_context *context
#define BELOW(operation, ...) DC_FILE_CALL((struct dc_libservice *)self->state, operation, __VA_ARGS__)
#define STAMPS ((struct dc_stamps *)self)

/* What the name names. The name's lock is held, so it stays so until the operation has been made. */
static void changes_named(struct change *change, SELF, struct dc_node *parent, const char *name) {
	struct dc_node *node = NULL;
	size_t length = strlen(name), consumed;
	if (length == 0 || length > DC_NAME_MAX || !strcmp(name, ".") || !strcmp(name, "..")) return;
	int error = BELOW(lookup, context, parent, name, length, &node, NULL, &consumed);
	if (!error) changes_attributes(change, node);
	if (node) BELOW(forget, node, 1);
}

static pthread_mutex_t *name_lock(struct dc_libservice *self, const struct dc_node *parent, const char *name) {
	return &STAMPS->names[stamp_of(parent->ino, name, strlen(name)) % NAME_LOCKS];
}
static void lock_name(struct dc_context *context, pthread_mutex_t *lock) {
	if (pthread_mutex_trylock(lock) == 0) return;
	dc_block_begin(context); /* its holder may wait for its child */
	pthread_mutex_lock(lock);
	dc_block_end(context);
}

#define CHANGE struct change change = {.stamps = STAMPS}
#define NAMED(parent, name) \
	pthread_mutex_t *lock = name_lock(self, parent, name); \
	lock_name(context, lock); \
	CHANGE; \
	changes_name(&change, parent, name)
#define DONE(result_) \
	__auto_type result = result_; \
	changed(&change); \
	return result
#define NAME_DONE(result_) \
	__auto_type result = result_; \
	changed(&change); \
	pthread_mutex_unlock(lock); \
	return result

static int stamps_setattr(SELF, struct dc_node *node, const struct dc_attr *set, uint32_t mask, struct dc_attr *attr) {
	CHANGE;
	changes_attributes(&change, node);
	DONE(BELOW(setattr, context, node, set, mask, attr));
}
static ssize_t stamps_write(SELF, struct dc_node *node, const struct iovec *iov, int iovcnt, off_t *offset, uint32_t flags) {
	CHANGE;
	changes_attributes(&change, node);
	DONE(BELOW(write, context, node, iov, iovcnt, offset, flags));
}
static int stamps_fallocate(SELF, struct dc_node *node, int mode, off_t offset, off_t length) {
	CHANGE;
	changes_attributes(&change, node);
	DONE(BELOW(fallocate, context, node, mode, offset, length));
}
static ssize_t stamps_copy(SELF, struct dc_node *from, off_t from_offset, struct dc_node *to, off_t to_offset, size_t length) {
	CHANGE;
	changes_attributes(&change, to);
	DONE(BELOW(copy, context, from, from_offset, to, to_offset, length));
}
static int stamps_setxattr(SELF, struct dc_node *node, const char *name, const void *value, size_t size, int flags) {
	CHANGE;
	changes_attributes(&change, node);
	DONE(BELOW(setxattr, context, node, name, value, size, flags));
}
static int stamps_removexattr(SELF, struct dc_node *node, const char *name) {
	CHANGE;
	changes_attributes(&change, node);
	DONE(BELOW(removexattr, context, node, name));
}
static int stamps_create(SELF, struct dc_node *parent, const char *name, mode_t mode, int flags, struct dc_node **node, struct dc_attr *attr) {
	NAMED(parent, name);
	NAME_DONE(BELOW(create, context, parent, name, mode, flags, node, attr));
}
static int stamps_tmpfile(SELF, struct dc_node *parent, mode_t mode, int flags, struct dc_node **node, struct dc_attr *attr) {
	CHANGE;
	changes_attributes(&change, parent);
	DONE(BELOW(tmpfile, context, parent, mode, flags, node, attr));
}
static int stamps_mkdir(SELF, struct dc_node *parent, const char *name, mode_t mode, struct dc_node **node, struct dc_attr *attr) {
	NAMED(parent, name);
	NAME_DONE(BELOW(mkdir, context, parent, name, mode, node, attr));
}
static int stamps_mknod(SELF, struct dc_node *parent, const char *name, mode_t mode, dev_t device, struct dc_node **node, struct dc_attr *attr) {
	NAMED(parent, name);
	NAME_DONE(BELOW(mknod, context, parent, name, mode, device, node, attr));
}
static int stamps_symlink(SELF, struct dc_node *parent, const char *name, const char *target, struct dc_node **node, struct dc_attr *attr) {
	NAMED(parent, name);
	NAME_DONE(BELOW(symlink, context, parent, name, target, node, attr));
}
static int stamps_link(SELF, struct dc_node *node, struct dc_node *parent, const char *name, struct dc_attr *attr) {
	NAMED(parent, name);
	changes_attributes(&change, node);
	NAME_DONE(BELOW(link, context, node, parent, name, attr));
}
static int stamps_unlink(SELF, struct dc_node *parent, const char *name) {
	NAMED(parent, name);
	changes_named(&change, self, context, parent, name);
	NAME_DONE(BELOW(unlink, context, parent, name));
}
static int stamps_rmdir(SELF, struct dc_node *parent, const char *name) {
	NAMED(parent, name);
	changes_named(&change, self, context, parent, name);
	NAME_DONE(BELOW(rmdir, context, parent, name));
}
static int stamps_rename(SELF, struct dc_node *from, const char *from_name, struct dc_node *to, const char *to_name, uint32_t flags) {
	pthread_mutex_t *first = name_lock(self, from, from_name), *second = name_lock(self, to, to_name);
	lock_name(context, first < second ? first : second);
	if (first != second) lock_name(context, first < second ? second : first);
	CHANGE;
	changes_name(&change, from, from_name);
	changes_name(&change, to, to_name);
	changes_named(&change, self, context, from, from_name);
	changes_named(&change, self, context, to, to_name);
	int result = BELOW(rename, context, from, from_name, to, to_name, flags);
	changed(&change);
	if (first != second) pthread_mutex_unlock(second);
	pthread_mutex_unlock(first);
	return result;
}

/* ---- life ------------------------------------------------------------------------------------------------------------------------------------------ */
static void bind_changes(struct dc_stamps *stamps) {
#define X(operation) \
	stamps->file.operation.call = stamps_##operation; \
	stamps->file.operation.self = &stamps->front;
	X(setattr) X(write) X(fallocate) X(copy) X(setxattr) X(removexattr) X(create) X(tmpfile) X(mkdir) X(mknod) X(symlink) X(link) X(unlink) X(rmdir) X(rename)
#undef X
}

struct dc_libservice *dc_stamps_wrap(struct dc_instance *instance, struct dc_libservice *root) {
	if (!dc_regions_open() || !dc_stack_believes(root)) return root;
	struct dc_stamps *stamps = calloc(1, sizeof *stamps);
	const struct dc_host *host = root->host;
	void *board = stamps ? host->cache_region(host, DC_STAMPS * sizeof *stamps->board, &stamps->region) : NULL;
	if (!board) { /* it goes without */
		free(stamps);
		return root;
	}
	stamps->board = board;
	for (unsigned i = 0; i < NAME_LOCKS; i++) pthread_mutex_init(&stamps->names[i], NULL);
	stamps->front = *root;
	stamps->front.state = root;
	stamps->file = *root->file;
	stamps->front.file = &stamps->file;
	bind_changes(stamps);
	instance->stamps = stamps;
	return &stamps->front;
}

/* The region's words are zero from now on for those who have mapped it: nothing that they were given holds. */
void dc_stamps_drop(struct dc_instance *instance) {
	if (!instance->stamps) return;
	const struct dc_host *host = instance->stamps->front.host;
	host->cache_release(host, instance->stamps->region);
	for (unsigned i = 0; i < NAME_LOCKS; i++) pthread_mutex_destroy(&instance->stamps->names[i]);
	free(instance->stamps);
	instance->stamps = NULL;
}

static void move(_Atomic uint64_t *stamp) {
	dc_stamp_begin(stamp);
	dc_stamp_end(stamp);
}

void dc_stamps_moved(struct dc_instance *instance, const struct dc_node *node) {
	if (instance->stamps) move(&instance->stamps->board[stamp_of(node->ino, NULL, 0)]);
}

void dc_stamps_moved_all(struct dc_instance *instance) {
	for (unsigned i = 0; instance->stamps && i < DC_STAMPS; i++) move(&instance->stamps->board[i]);
}

/* ---- trails ---------------------------------------------------------------------------------------------------------------------------------------- */
void dc_trail_begin(struct dc_trail *trail, struct dc_instance *instance) {
	trail->instance = instance;
	trail->stamps = instance->stamps;
	trail->lease.count = 0;
	trail->lease.until = UINT64_MAX;
	if (trail->stamps) trail->lease.region = trail->stamps->region;
}

static void note(struct dc_trail *trail, struct dc_node *node, const char *name, size_t length) {
	struct dc_wire_lease *lease = &trail->lease;
	uint32_t stamp = stamp_of(node->ino, name, length);
	uint64_t word = lease->count < DC_LEASE_STAMPS ? dc_stamp_read(&trail->stamps->board[stamp]) : 0;
	uint64_t until = word ? DC_FILE_CALL(trail->instance->root, believed, node, name, length) : 0;
	if (until < lease->until) lease->until = until;
	if (!word || !until) {
		trail->stamps = NULL;
		return;
	}
	lease->stamp[lease->count++] = (struct dc_wire_stamp){.index = stamp, .word = word};
}

void dc_trail_name(struct dc_trail *trail, struct dc_node *parent, const char *name, size_t length) {
	if (trail && trail->stamps) note(trail, parent, name, length);
}

/* Who may post writes to the node changes it without our seeing it. Counted first, then the stamp moves (dc_posts_grant); here the stamp first, then the count. */
void dc_trail_attributes(struct dc_trail *trail, struct dc_node *node) {
	if (!trail || !trail->stamps) return;
	if (atomic_load_explicit(&node->core.posters, memory_order_seq_cst) && !dc_posts_looked_at(node)) {
		trail->stamps = NULL;
		return;
	}
	note(trail, node, NULL, 0);
	if (atomic_load_explicit(&node->core.posters, memory_order_seq_cst)) trail->stamps = NULL;
}
