/*
 * names.c - lookups and everything that changes a directory. A change asks the child first and always; what the cache knows follows, and only where
 * no other change of the same directory was on its way meanwhile. A changed name is forgotten in every other case.
 */
#include "cache.h"

#include <stdio.h>

#define RECLAIM_NODES 64u

/* The child ran out of descriptors or memory, which idle nodes of ours may hold. True: worth another try. */
static bool child_short(struct cache *cache, int result)
{
	if (result != -ENFILE && result != -EMFILE && result != -ENOMEM)
		return false;
	cache_reclaim(cache, RECLAIM_NODES);
	return true;
}

/* ---- lookup --------------------------------------------------------------------------------------------------------------- */
static int ask(struct cache *cache, struct dc_context *context, struct cache_node *parent, const char *path, size_t length, struct cache_node **node,
               struct dc_attr *attr, size_t *consumed)
{
	uint64_t changes = atomic_load(&cache->changes);
	struct dc_node *below = NULL;
	int result = CACHE_CALL(cache, lookup, context, parent->below, path, length, &below, attr, consumed), wrapped;

	if (child_short(cache, result))
		result = CACHE_CALL(cache, lookup, context, parent->below, path, length, &below, attr, consumed);
	if (result && result != -ENOENT)
		return result;
	if (!below)
		return result;
	wrapped = cache_node_get(cache, below, result ? NULL : attr, changes, node);
	return wrapped ? wrapped : result;
}

/* One component, which the cache does not know: ask, and remember the answer. `directory` is referenced; on success *node is. */
static int ask_component(struct cache *cache, struct dc_context *context, struct cache_node *directory, const char *name, size_t length, struct cache_node **node,
                         struct dc_attr *attr)
{
	uint32_t version;
	size_t consumed = 0;
	bool quiet;
	int result;

	version = cache_version(directory, &quiet);
	*node = NULL;
	result = ask(cache, context, directory, name, length, node, attr, &consumed);
	if (result == -ENOENT && *node) {
		cache_node_forget(cache, *node, 1); /* the directory itself */
		*node = NULL;
	}
	if (quiet && (!result || result == -ENOENT))
		cache_entry_learn(cache, directory, name, length, *node, version);
	return result;
}

/* The cache does not know the whole path: component by component, so that the next time it does. */
static int walk_asking(struct cache *cache, struct dc_context *context, struct cache_node *parent, const char *path, size_t length, uint64_t now,
                       struct cache_node **node, struct dc_attr *attr, size_t *consumed)
{
	struct cache_node *directory = parent, *next;
	size_t at = 0;
	int result;

	atomic_fetch_add(&parent->node.references, 1);
	for (*consumed = 0;; at = *consumed + 1) {
		const char *slash = memchr(path + at, '/', length - at);
		size_t name = slash ? (size_t)(slash - (path + at)) : length - at, ignored;
		enum cache_found found = cache_walk(cache, directory, path + at, name, now, &next, &ignored);

		if (found == CACHE_NEGATIVE) {
			*node = next; /* the directory, which is ours already */
			cache_node_forget(cache, directory, 1);
			return -ENOENT;
		}
		result = 0;
		if (found == CACHE_MISS)
			result = ask_component(cache, context, directory, path + at, name, &next, attr);
		if (result == -ENOENT) {
			*node = directory;
			return result;
		}
		cache_node_forget(cache, directory, 1);
		if (result)
			return result;
		*consumed = at + name;
		if (!slash || !S_ISDIR(next->node.type)) {
			*node = next;
			return 0;
		}
		directory = next;
	}
}

static int attr_of(struct cache *cache, struct dc_context *context, struct cache_node *node, struct dc_attr *attr, uint64_t now)
{
	return !attr || cache_attr_copy(node, attr, now) ? 0 : cache_validate(cache, context, node, attr);
}

int cache_lookup(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *path, size_t length, struct dc_node **node,
                 struct dc_attr *attr, size_t *consumed)
{
	struct cache *cache = cache_of(self);
	struct cache_node *found = NULL, *from = cache_node_of(parent);
	uint64_t now = cache_now();
	struct dc_attr answer;
	int result;

	*node = NULL;
	*consumed = 0;
	if (!S_ISDIR(parent->type))
		return -ENOTDIR;
	if (!cache->ttl || (length == 2 && !memcmp(path, "..", 2))) {
		result = ask(cache, context, from, path, length, &found, attr ? attr : &answer, consumed);
		*node = found ? &found->node : NULL;
		return result;
	}
	switch (cache_walk(cache, from, path, length, now, &found, consumed)) {
	case CACHE_FOUND:
		CACHE_COUNT(cache, lookup_hits, 1);
		result = 0;
		break;
	case CACHE_NEGATIVE:
		CACHE_COUNT(cache, negative_hits, 1);
		result = -ENOENT;
		break;
	default:
		CACHE_COUNT(cache, lookup_misses, 1);
		result = walk_asking(cache, context, from, path, length, now, &found, &answer, consumed);
	}
	if (result && result != -ENOENT)
		return result;
	*node = &found->node;
	if (!result && attr_of(cache, context, found, attr, now)) {
		cache_node_forget(cache, found, 1); /* it went away between its name and its attributes */
		*node = NULL;
		*consumed = 0;
		return -ESTALE;
	}
	return result;
}

/* ---- making --------------------------------------------------------------------------------------------------------------- */
/* What follows a call to the child that makes a name; the change of the parent began before it. */
static int made(struct cache *cache, struct cache_node *parent, const char *name, struct cache_change change, uint64_t changes, int result, struct dc_node *below,
                const struct dc_attr *answer, struct dc_node **node, struct dc_attr *attr)
{
	struct cache_node *found;

	if (!result)
		result = cache_node_get(cache, below, answer, changes, &found);
	if (!result) {
		if (name)
			cache_entry_set(cache, parent, name, strlen(name), found, &change);
		*node = &found->node;
		if (attr)
			*attr = *answer;
	} else if (name) {
		cache_entry_drop(cache, parent, name, strlen(name));
	}
	cache_change_end(cache, parent, change, NULL);
	return result;
}

/* `call` is the child's call with its arguments; the begin of the change counts as one of cache->changes. */
#define MAKE(name, ...) \
	struct cache *cache = cache_of(self); \
	struct cache_node *directory = cache_node_of(parent); \
	struct cache_change change = cache_change_begin(cache, directory); \
	uint64_t changes = atomic_load(&cache->changes); \
	struct dc_node *below = NULL; \
	struct dc_attr answer; \
	int result = CACHE_CALL(cache, __VA_ARGS__); \
	if (child_short(cache, result)) { \
		changes = atomic_load(&cache->changes); \
		result = CACHE_CALL(cache, __VA_ARGS__); \
	} \
	return made(cache, directory, name, change, changes, result, below, &answer, node, attr)

static int create(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name, mode_t mode, int flags, struct dc_node **node,
                  struct dc_attr *attr)
{
	MAKE(name, create, context, directory->below, name, mode, flags, &below, &answer);
}

int cache_create(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name, mode_t mode, int flags, struct dc_node **node,
                 struct dc_attr *attr)
{
	struct cache_node *there;
	size_t consumed;

	/* open(O_CREAT) of a file that is there: no need to ask. */
	if (cache_walk(cache_of(self), cache_node_of(parent), name, strlen(name), cache_now(), &there, &consumed) == CACHE_FOUND) {
		cache_node_forget(cache_of(self), there, 1);
		return -EEXIST;
	}
	return create(self, context, parent, name, mode, flags, node, attr);
}

int cache_tmpfile(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, mode_t mode, int flags, struct dc_node **node, struct dc_attr *attr)
{
	MAKE(NULL, tmpfile, context, directory->below, mode, flags, &below, &answer);
}

int cache_mkdir(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name, mode_t mode, struct dc_node **node, struct dc_attr *attr)
{
	MAKE(name, mkdir, context, directory->below, name, mode, &below, &answer);
}

int cache_mknod(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name, mode_t mode, dev_t device, struct dc_node **node,
                struct dc_attr *attr)
{
	MAKE(name, mknod, context, directory->below, name, mode, device, &below, &answer);
}

int cache_symlink(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name, const char *target, struct dc_node **node,
                  struct dc_attr *attr)
{
	MAKE(name, symlink, context, directory->below, name, target, &below, &answer);
}

int cache_link(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, struct dc_node *parent, const char *name, struct dc_attr *attr)
{
	struct cache *cache = cache_of(self);
	struct cache_node *directory = cache_node_of(parent), *target = cache_node_of(node);
	struct cache_change of_directory = cache_change_begin(cache, directory), of_target = cache_change_begin(cache, target);
	struct dc_attr answer;
	int result = CACHE_CALL(cache, link, context, target->below, directory->below, name, &answer);

	if (!result) {
		atomic_fetch_and(&node->flags, ~(uint32_t)DC_NODE_UNLINKED);
		cache_entry_set(cache, directory, name, strlen(name), target, &of_directory);
		if (attr)
			*attr = answer;
	} else {
		cache_entry_drop(cache, directory, name, strlen(name));
	}
	cache_change_end(cache, target, of_target, result ? NULL : &answer);
	cache_change_end(cache, directory, of_directory, NULL);
	return result;
}

/* ---- removing and renaming ------------------------------------------------------------------------------------------------ */
/* Who has this name now? Its attributes and perhaps its last name are about to change. Referenced; NULL when there is none. */
static struct cache_node *holder(struct cache *cache, struct dc_context *context, struct cache_node *parent, const char *name)
{
	struct cache_node *node = NULL;
	struct dc_attr attr;
	size_t consumed, length = strlen(name);

	if (length > DC_NAME_MAX || !strcmp(name, ".") || !strcmp(name, ".."))
		return NULL;
	switch (cache_walk(cache, parent, name, length, cache_now(), &node, &consumed)) {
	case CACHE_FOUND:
		return node;
	case CACHE_NEGATIVE:
		cache_node_forget(cache, node, 1);
		return NULL;
	case CACHE_MISS:
		break;
	}
	if (ask(cache, context, parent, name, length, &node, &attr, &consumed)) {
		if (node)
			cache_node_forget(cache, node, 1);
		return NULL;
	}
	return node;
}

static int remove_name(struct cache *cache, struct dc_context *context, struct cache_node *parent, const char *name, bool directory)
{
	struct cache_node *victim = holder(cache, context, parent, name);
	struct cache_change of_parent = cache_change_begin(cache, parent), of_victim = {0};
	bool last = false;
	int result;

	if (victim)
		of_victim = cache_change_begin_unlink(cache, victim, &last);
	result = directory ? CACHE_CALL(cache, rmdir, context, parent->below, name) : CACHE_CALL(cache, unlink, context, parent->below, name);
	if (!result)
		cache_entry_set(cache, parent, name, strlen(name), NULL, &of_parent);
	else
		cache_entry_drop(cache, parent, name, strlen(name));
	cache_change_end(cache, parent, of_parent, NULL);
	if (!victim)
		return result;
	last = last && cache_change_alone(victim, of_victim);
	cache_change_end(cache, victim, of_victim, NULL);
	if (!result && directory)
		cache_entries_drop_below(cache, victim);
	if (!result)
		cache_node_unlinked(cache, context, victim, last);
	cache_node_forget(cache, victim, 1);
	return result;
}

int cache_unlink(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name)
{
	return remove_name(cache_of(self), context, cache_node_of(parent), name, false);
}

int cache_rmdir(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name)
{
	return remove_name(cache_of(self), context, cache_node_of(parent), name, true);
}

/* Up to four nodes change in a rename; each counts once, or it would not be alone. */
struct renaming {
	struct cache_node *from, *to, *source, *victim;
	struct cache_change of_from, of_to, of_source, of_victim;
	bool last; /* the victim's name */
};

static void rename_begin(struct cache *cache, struct renaming *renaming)
{
	renaming->of_from = cache_change_begin(cache, renaming->from);
	renaming->of_to = renaming->to == renaming->from ? renaming->of_from : cache_change_begin(cache, renaming->to);
	if (renaming->source)
		renaming->of_source = cache_change_begin(cache, renaming->source);
	if (renaming->victim && renaming->victim != renaming->source)
		renaming->of_victim = cache_change_begin_unlink(cache, renaming->victim, &renaming->last);
}

static void rename_end(struct cache *cache, struct dc_context *context, struct renaming *renaming, bool replaced)
{
	cache_change_end(cache, renaming->from, renaming->of_from, NULL);
	if (renaming->to != renaming->from)
		cache_change_end(cache, renaming->to, renaming->of_to, NULL);
	if (renaming->source)
		cache_change_end(cache, renaming->source, renaming->of_source, NULL);
	if (renaming->victim && renaming->victim != renaming->source) {
		bool last = renaming->last && cache_change_alone(renaming->victim, renaming->of_victim);
		cache_change_end(cache, renaming->victim, renaming->of_victim, NULL);
		if (replaced && S_ISDIR(renaming->victim->node.type))
			cache_entries_drop_below(cache, renaming->victim);
		if (replaced)
			cache_node_unlinked(cache, context, renaming->victim, last);
	}
	if (renaming->source)
		cache_node_forget(cache, renaming->source, 1);
	if (renaming->victim)
		cache_node_forget(cache, renaming->victim, 1);
}

int cache_rename(struct dc_libservice *self, struct dc_context *context, struct dc_node *from, const char *from_name, struct dc_node *to, const char *to_name, uint32_t flags)
{
	struct cache *cache = cache_of(self);
	struct renaming renaming = {.from = cache_node_of(from), .to = cache_node_of(to)};
	bool moved;
	int result;

	renaming.source = holder(cache, context, renaming.from, from_name);
	renaming.victim = holder(cache, context, renaming.to, to_name);
	rename_begin(cache, &renaming);
	result = CACHE_CALL(cache, rename, context, renaming.from->below, from_name, renaming.to->below, to_name, flags);
	/* Two names of one file: a rename that does nothing. An exchange is rare enough to be looked up again. */
	moved = !result && renaming.source && renaming.source != renaming.victim && !(flags & RENAME_EXCHANGE);
	if (moved) {
		cache_entry_set(cache, renaming.from, from_name, strlen(from_name), NULL, &renaming.of_from);
		cache_entry_set(cache, renaming.to, to_name, strlen(to_name), renaming.source, &renaming.of_to);
	} else {
		cache_entry_drop(cache, renaming.from, from_name, strlen(from_name));
		cache_entry_drop(cache, renaming.to, to_name, strlen(to_name));
	}
	rename_end(cache, context, &renaming, moved);
	return result;
}
