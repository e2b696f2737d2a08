/*
 * nodes.c - one node per inode, and the descriptor behind it.
 *
 * A live node holds one descriptor: O_PATH at first, raised in place (dup3 onto the same number) to a readable or writable one when data are
 * wanted. As long as it is held, the inode cannot be freed and its number not be reused, so (device, inode) identifies it. The process must not run out of
 * descriptors however many nodes the doors hold: beyond three quarters of RLIMIT_NOFILE, idle nodes are *parked*: they trade the descriptor for a file handle
 * (name_to_handle_at) and are reopened on use. A parked inode may be freed behind our back by a host process; then its node answers ESTALE, and its number is told
 * from a newer inode's by comparing handles. Where the filesystem has no handles, running out is answered by ENFILE.
 *
 * A restarted service finds the inodes of its predecessor by (device, inode) among the descriptors that this one left behind (dc_host.inherited): they kept every inode alive, so the
 * number means the same file still, with a name or without. It costs nothing before the restart. A parked node is not found again, so open files are parked only when nothing else is left.
 */
#include "local.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PARK_BATCH 64u

/* Descriptors belong to the process, so their count does too: the one thing that all `local` objects of a process must share. */
static _Atomic size_t process_descriptors;

size_t local_descriptors(void)
{
	return process_descriptors;
}

static size_t descriptor_budget(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur == RLIM_INFINITY)
		return 1u << 20;
	return limit.rlim_cur / 4 * 3;
}

/* ---- inode numbers -------------------------------------------------------------------------------------------------------- */
/* Another filesystem mounted below the root: its inode numbers get a tag in the top 16 bits, derived from its device number and unique in this instance. */
static uint16_t device_tag(struct local *local, dev_t device)
{
	uint32_t count = atomic_load(&local->device_count), i;
	uint16_t tag;

	for (i = 0; i < count; i++)
		if (local->devices[i] == device)
			return local->device_tags[i];
	pthread_mutex_lock(&local->table_lock);
	count = local->device_count;
	tag = (uint16_t)((device * 0x9e3779b97f4a7c15u) >> 48) | 1;
	for (i = 0; i < count && local->devices[i] != device; i++)
		if (local->device_tags[i] == tag) {
			tag = (uint16_t)(tag + 2);
			i = UINT32_MAX; /* start again with the new tag */
		}
	if (i == count && count < LOCAL_DEVICES_MAX) {
		local->devices[count] = device;
		local->device_tags[count] = tag;
		atomic_store(&local->device_count, count + 1);
	}
	pthread_mutex_unlock(&local->table_lock);
	return tag;
}

uint64_t local_ino(struct local *local, dev_t device, ino_t inode)
{
	return device == local->root->device ? inode : inode ^ (uint64_t)device_tag(local, device) << 48;
}

/* ---- the table ------------------------------------------------------------------------------------------------------------ */
static size_t bucket_of(const struct local *local, dev_t device, ino_t inode)
{
	return ((inode ^ (device << 32)) * 0x9e3779b97f4a7c15u >> 20) & (local->bucket_count - 1);
}

static struct local_node *table_find(struct local *local, dev_t device, ino_t inode)
{
	struct local_node *node = local->buckets[bucket_of(local, device, inode)];

	while (node && (node->inode != inode || node->device != device))
		node = node->chain;
	return node;
}

static void table_grow(struct local *local)
{
	size_t old_count = local->bucket_count, i;
	struct local_node **old = local->buckets, **wider = calloc(old_count * 2, sizeof *wider), *node, *next;

	if (!wider)
		return; /* longer chains, nothing worse */
	local->buckets = wider;
	local->bucket_count = old_count * 2;
	for (i = 0; i < old_count; i++)
		for (node = old[i]; node; node = next) {
			size_t bucket = bucket_of(local, node->device, node->inode);
			next = node->chain;
			node->chain = wider[bucket];
			wider[bucket] = node;
		}
	free(old);
}

static void table_add(struct local *local, struct local_node *node)
{
	size_t bucket;

	if (local->node_count >= local->bucket_count)
		table_grow(local);
	bucket = bucket_of(local, node->device, node->inode);
	node->chain = local->buckets[bucket];
	local->buckets[bucket] = node;
	local->node_count++;
	node->hashed = true;
}

static void table_remove(struct local *local, struct local_node *node)
{
	struct local_node **link = &local->buckets[bucket_of(local, node->device, node->inode)];

	if (!node->hashed)
		return;
	while (*link != node)
		link = &(*link)->chain;
	*link = node->chain;
	local->node_count--;
	node->hashed = false;
}

/* ---- the ring of descriptors ---------------------------------------------------------------------------------------------- */
static void ring_add(struct local *local, struct local_node *node)
{
	if (!local->ring) {
		node->newer = node->older = local->ring = node;
	} else {
		node->newer = local->ring;
		node->older = local->ring->older;
		node->older->newer = node->newer->older = node;
	}
	process_descriptors++;
}

static void ring_remove(struct local *local, struct local_node *node)
{
	if (!node->newer)
		return;
	if (node->newer == node) {
		local->ring = NULL;
	} else {
		if (local->ring == node)
			local->ring = node->newer;
		node->newer->older = node->older;
		node->older->newer = node->newer;
	}
	node->newer = node->older = NULL;
	process_descriptors--;
}

static struct file_handle *handle_of(int descriptor)
{
	struct file_handle *handle = malloc(sizeof *handle + MAX_HANDLE_SZ), *small;
	int mount;

	if (!handle)
		return NULL;
	handle->handle_bytes = MAX_HANDLE_SZ;
	if (name_to_handle_at(descriptor, "", handle, &mount, AT_EMPTY_PATH)) {
		free(handle);
		return NULL;
	}
	small = realloc(handle, sizeof *handle + handle->handle_bytes);
	return small ? small : handle;
}

/* Table lock held. A call that is just starting either sees -1 and waits for the lock, or its `users` is seen here and the descriptor put back. */
static bool park(struct local *local, struct local_node *node)
{
	struct statx status;
	int descriptor = node->descriptor;

	if (node == local->root || node->device != local->root->device || node->users || descriptor < 0)
		return false;
	if (local_status(descriptor, &status) || !status.stx_nlink)
		return false; /* without a name it would be gone for good */
	if (!node->handle)
		node->handle = handle_of(descriptor);
	if (!node->handle)
		return false;
	descriptor = atomic_exchange(&node->descriptor, -1);
	if (node->users) {
		atomic_store(&node->descriptor, descriptor);
		return false;
	}
	ring_remove(local, node);
	node->level = LOCAL_PATH;
	local->parked++;
	close(descriptor);
	return true;
}

int local_make_room(struct local *local)
{
	size_t budget = local->budget, seen, limit, freed = 0;
	int open;

	if (process_descriptors < budget)
		return 0;
	if (local->handles) {
		pthread_mutex_lock(&local->table_lock);
		limit = 2 * local->node_count;
		for (open = 0; open < 2 && !freed; open++)
			for (seen = 0; local->ring && seen < limit && freed < PARK_BATCH; seen++) {
				struct local_node *node = local->ring;
				local->ring = node->newer;
				if ((open || !node->opens) && !atomic_exchange(&node->recent, false))
					freed += park(local, node);
			}
		pthread_mutex_unlock(&local->table_lock);
	}
	/* The remaining quarter is the service's; a little of it is better than an error, all of it is not. */
	return process_descriptors < budget + budget / 8 ? 0 : -ENFILE;
}

/* Table lock held. */
static int unpark(struct local *local, struct local_node *node)
{
	int descriptor;

	if (node->descriptor >= 0)
		return 0;
	descriptor = open_by_handle_at(local->root->descriptor, node->handle, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (descriptor < 0)
		return errno == EMFILE ? -ENFILE : -ESTALE;
	local->parked--;
	local->reopens++;
	ring_add(local, node);
	atomic_store(&node->descriptor, descriptor);
	return 0;
}

int local_use(struct local *local, struct local_node *node)
{
	int descriptor, result;

	if (!atomic_load_explicit(&node->recent, memory_order_relaxed))
		atomic_store_explicit(&node->recent, true, memory_order_relaxed);
	atomic_fetch_add(&node->users, 1);
	descriptor = atomic_load(&node->descriptor);
	if (descriptor >= 0)
		return descriptor;
	local_make_room(local);
	pthread_mutex_lock(&local->table_lock);
	result = unpark(local, node);
	descriptor = node->descriptor;
	pthread_mutex_unlock(&local->table_lock);
	if (!result)
		return descriptor;
	local_done(node);
	return result;
}

void local_done(struct local_node *node)
{
	atomic_fetch_sub(&node->users, 1);
}

void local_keep(struct local *local, dev_t device, ino_t inode)
{
	struct local_node *node;

	pthread_mutex_lock(&local->table_lock);
	node = table_find(local, device, inode);
	if (node) {
		node->recent = true;
		unpark(local, node);
	}
	pthread_mutex_unlock(&local->table_lock);
}

/* ---- making and forgetting nodes ------------------------------------------------------------------------------------------ */
static bool same_inode(const struct local_node *node, int descriptor)
{
	struct file_handle *handle = handle_of(descriptor);
	bool same = handle && handle->handle_type == node->handle->handle_type && handle->handle_bytes == node->handle->handle_bytes &&
	            !memcmp(handle->f_handle, node->handle->f_handle, handle->handle_bytes);

	free(handle);
	return same;
}

static struct local_node *node_new(struct local *local, int descriptor, int level, const struct statx *status)
{
	struct local_node *node = calloc(1, sizeof *node);

	if (!node)
		return NULL;
	node->device = makedev(status->stx_dev_major, status->stx_dev_minor);
	node->inode = status->stx_ino;
	dc_node_init(&node->node, local->self, local->root ? local_ino(local, node->device, node->inode) : node->inode, status->stx_mode);
	node->descriptor = descriptor;
	node->level = level;
	pthread_mutex_init(&node->lock, NULL);
	return node;
}

static void node_free(struct local_node *node)
{
	if (node->descriptor >= 0)
		close(node->descriptor);
	pthread_mutex_destroy(&node->lock);
	free(node->handle);
	free(node);
}

int local_node_get(struct local *local, int descriptor, int level, const struct statx *status, struct local_node **out)
{
	struct local_node *fresh = node_new(local, descriptor, level, status), *node;

	if (!fresh) {
		close(descriptor);
		return -ENOMEM;
	}
	pthread_mutex_lock(&local->table_lock);
	node = table_find(local, fresh->device, fresh->inode);
	if (node && node->descriptor < 0 && !same_inode(node, descriptor)) {
		table_remove(local, node); /* its inode is gone, and the number is in use again */
		node = NULL;
	}
	if (node) {
		atomic_fetch_add(&node->node.references, 1);
		if (node->descriptor < 0) { /* the descriptor at hand saves the reopening */
			local->parked--;
			ring_add(local, node);
			node->level = level;
			atomic_store(&node->descriptor, descriptor);
			fresh->descriptor = -1;
		}
	} else {
		node = fresh;
		fresh = NULL;
		table_add(local, node);
		ring_add(local, node);
	}
	pthread_mutex_unlock(&local->table_lock);
	if (fresh)
		node_free(fresh);
	*out = node;
	return 0;
}

void local_node_reference(struct local_node *node, uint64_t count)
{
	atomic_fetch_add(&node->node.references, count);
}

void local_node_forget(struct local *local, struct local_node *node, uint64_t count)
{
	uint64_t references = atomic_load(&node->node.references);

	while (references > count)
		if (atomic_compare_exchange_weak(&node->node.references, &references, references - count))
			return;
	/* Perhaps the last: decided under the lock, since a lookup may find the node at the same moment. */
	pthread_mutex_lock(&local->table_lock);
	if (atomic_fetch_sub(&node->node.references, count) != count) {
		pthread_mutex_unlock(&local->table_lock);
		return;
	}
	table_remove(local, node);
	if (node->descriptor < 0)
		local->parked--;
	ring_remove(local, node);
	pthread_mutex_unlock(&local->table_lock);
	node_free(node);
}

/* ---- restarts ------------------------------------------------------------------------------------------------------------- */
struct identity {
	uint64_t device, inode;
	uint32_t type;
};
_Static_assert(sizeof(struct identity) <= DC_IDENTITY_MAX, "an identity fits");

int local_identify(struct dc_libservice *self, struct dc_node *node, void *identity)
{
	const struct local_node *at = local_node_of(node);
	struct identity own = {.device = at->device, .inode = at->inode, .type = node->type};

	memcpy(identity, &own, sizeof own);
	return (int)sizeof own;
}

int local_recover(struct dc_libservice *self, struct dc_context *context, const void *identity, size_t length, struct dc_node **out)
{
	struct local *local = local_of(self);
	const struct dc_host *host = self->host;
	struct local_node *node;
	struct identity want;
	struct statx status;
	int descriptor, result;

	if (length != sizeof want)
		return -EINVAL;
	memcpy(&want, identity, sizeof want);
	pthread_mutex_lock(&local->table_lock);
	node = table_find(local, want.device, want.inode); /* the predecessor's descriptor still holds the inode, so it is no newer one of that number */
	if (node && node->node.type == want.type)
		atomic_fetch_add(&node->node.references, 1);
	else
		node = NULL;
	pthread_mutex_unlock(&local->table_lock);
	if (node) {
		*out = &node->node;
		return 0;
	}
	if (!host || host->struct_size <= offsetof(struct dc_host, inherited) || !host->inherited)
		return -ESTALE;
	result = local_make_room(local);
	if (result)
		return result;
	descriptor = host->inherited(host, want.device, want.inode);
	if (descriptor < 0)
		return descriptor == -ENOENT ? -ESTALE : descriptor;
	result = local_status(descriptor, &status);
	if (!result && (status.stx_mode & S_IFMT) != want.type)
		result = -ESTALE;
	if (result) {
		close(descriptor);
		return result;
	}
	/* LOCAL_PATH whatever it can do: its position is not ours alone. */
	result = local_node_get(local, descriptor, LOCAL_PATH, &status, &node);
	if (!result)
		*out = &node->node;
	return result;
}

/* ---- levels --------------------------------------------------------------------------------------------------------------- */
static int reopen(struct local_node *node, int descriptor, int flags)
{
	char path[32];
	int opened;

	snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
	opened = open(path, flags | O_CLOEXEC | O_NOCTTY | (S_ISDIR(node->node.type) ? O_DIRECTORY : 0));
	if (opened < 0)
		return errno == EMFILE ? -ENFILE : -errno;
	if (dup3(opened, descriptor, O_CLOEXEC) < 0) {
		int failed = -errno;
		close(opened);
		return failed;
	}
	close(opened);
	return 0;
}

int local_raise(struct local *local, struct dc_context *context, struct local_node *node, int descriptor, int level)
{
	int result = 0;

	if (atomic_load_explicit(&node->level, memory_order_acquire) >= level)
		return 0;
	if (S_ISDIR(node->node.type) && level == LOCAL_WRITE)
		return -EISDIR;
	if (!S_ISDIR(node->node.type) && !S_ISREG(node->node.type))
		return S_ISLNK(node->node.type) ? -ELOOP : -ENXIO; /* devices, pipes and sockets are the doors' affair: never opened here */
	if (local->read_only && level == LOCAL_WRITE)
		return -EROFS;
	dc_block_begin_briefly(context);
	pthread_mutex_lock(&node->lock);
	if (node->level < level) {
		result = reopen(node, descriptor, level == LOCAL_WRITE ? O_RDWR : O_RDONLY);
		if (!result) {
			node->directory_position = 0;
			atomic_store_explicit(&node->level, level, memory_order_release);
		}
	}
	pthread_mutex_unlock(&node->lock);
	dc_block_end(context);
	return result;
}

/* Back to a readable descriptor, so that the host may execute the file (a writable one answers ETXTBSY). Best effort: failing leaves it as it was. */
void local_lower(struct local_node *node, int descriptor)
{
	if (node->level != LOCAL_WRITE || node->write_opens)
		return;
	pthread_mutex_lock(&node->lock);
	/* `level` falls first: a writer that read the old one gets EBADF at worst, raises it again and repeats (see data.c). */
	if (node->level == LOCAL_WRITE && !node->write_opens) {
		atomic_store(&node->level, LOCAL_PATH);
		if (!reopen(node, descriptor, O_RDONLY))
			atomic_store(&node->level, LOCAL_READ);
		else
			atomic_store(&node->level, LOCAL_WRITE);
	}
	pthread_mutex_unlock(&node->lock);
}

/* ---- start and stop ------------------------------------------------------------------------------------------------------- */
int local_nodes_start(struct local *local, const char *path, struct dc_error *error, const char *id)
{
	struct file_handle *handle;
	struct statx status;
	int descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), probe = -1;

	if (descriptor < 0)
		return dc_error_set(error, errno, "%s: option \"path\" is \"%.300s\", expected an existing directory: %s", id, path, strerror(errno));
	pthread_mutex_init(&local->table_lock, NULL);
	local->budget = descriptor_budget();
	local->bucket_count = 1024;
	local->buckets = calloc(local->bucket_count, sizeof *local->buckets);
	if (!local->buckets || local_status(descriptor, &status)) {
		close(descriptor);
		free(local->buckets);
		return dc_error_set(error, ENOMEM, "%s: not enough memory, or \"%.300s\" cannot be read", id, path);
	}
	local->root = node_new(local, descriptor, LOCAL_READ, &status);
	if (!local->root) {
		close(descriptor);
		free(local->buckets);
		return dc_error_set(error, ENOMEM, "%s: not enough memory", id);
	}
	table_add(local, local->root);
	ring_add(local, local->root);
	handle = handle_of(descriptor);
	if (handle)
		probe = open_by_handle_at(descriptor, handle, O_PATH | O_CLOEXEC);
	local->handles = probe >= 0;
	if (probe >= 0)
		close(probe);
	free(handle);
	return 0;
}

void local_nodes_stop(struct local *local)
{
	size_t i;

	for (i = 0; i < local->bucket_count; i++)
		while (local->buckets[i]) {
			struct local_node *node = local->buckets[i];
			table_remove(local, node);
			ring_remove(local, node);
			node_free(node);
		}
	free(local->buckets);
	pthread_mutex_destroy(&local->table_lock);
}
