/*
 * door_notify.c - telling the kernel what changed behind its back.
 *
 * The promise: when a change made through the library is acknowledged, no later call through the kernel sees the old state. Four things make it hold.
 *
 *  1. A handler announces what its reply will let the kernel cache (a bit in core.kernel_cached, a name in the directory's filter) *before* it reads from the stack;
 *     a changer changes the stack first and looks at the bits then, with a full fence between. So either the changer sees the bit and notifies, or the handler reads the new state.
 *  2. A notification may overtake a reply that is under way. The kernel guards most of that itself: attributes that it asked for before the notification are not kept
 *     (attribute version), pages under read are locked, and names and listings are under the directory's lock, which the notification of an entry takes too.
 *     What it does not guard is an inode that it does not have yet: the notification finds nothing, then the requester wakes up and makes the inode with old attributes. But it does so
 *     under the lock of the directory that it looked in. So a reply that may make an inode is marked too (FRESH, and the directory), and the changer first sends a notification for an
 *     impossible name in that directory: when that returns, whoever was looking there is through. (A lookup outside of the lock, d_revalidate, concerns an inode that exists and is held.)
 *     Linux 6.19 to 7.1 look the name up first and return when they do not have it, without the lock. There nothing of this holds, and the kernel is given no names, attributes and listings to
 *     keep (keeps_names): then nothing that is under way can leave anything old behind but pages, which have locks of their own.
 *  3. Bits are cleared only when the notification is through and nobody announced anything meanwhile: each announcement also counts in the upper bits of the word, and the
 *     clearing is a compare-and-swap. Two changers at once may both notify; neither relies on the other's being done.
 *  4. A file that grows: the kernel's size matters where it asks nobody, in a mapping, whose pages beyond that size fault. So a change that adds pages to a file of which the kernel has an
 *     inode pushes the size (tell_size), whether or not the kernel caches anything else.
 *  5. The kernel reads an inode's attributes without the lock under which it writes them. New ones it first declares valid and then writes (fuse_change_attributes_common), so who asks at
 *     that very moment gets old ones, or some old and some new, however long ago the change was acknowledged. A time of validity that has run out hides that. So the attributes of a file
 *     that is changed elsewhere are not to be kept: the kernel takes them, while what it had is out of date by its own clock. When nothing has changed for a while, and they have been
 *     taken once, they may be kept for a second (door_attributes_keep). What is left is the first change after a quiet time: what the kernel then holds is valid for long, and between two
 *     instructions of its own it still believes so.
 */
#include <sys/syscall.h>
#include <unistd.h>

#include "door_internal.h"

#define STREAK_MAX 8u
#define LOWERED_BITS 16u
#define QUIET_NS UINT64_C(2000000000)   /* more than DOOR_SHARED */
#define LANDING_NS UINT64_C(200000000)  /* more than a reply's way */
#define NO_NAME "\001diciclo"

void door_cached_set(struct dc_node *node, uint32_t bits) {
	uint32_t state = atomic_load_explicit(&node->core.kernel_cached, memory_order_relaxed);
	while (!atomic_compare_exchange_weak(&node->core.kernel_cached, &state, (state + DOOR_CACHED_STEP) | bits)) continue;
}

/* The count goes on: a changer that still holds an earlier word must not take the next use for it. */
void door_cached_none(struct dc_node *node) {
	uint32_t state = atomic_load(&node->core.kernel_cached);
	while (!atomic_compare_exchange_weak(&node->core.kernel_cached, &state, (state + DOOR_CACHED_STEP) & ~(uint32_t)(DOOR_CACHED_STEP - 1))) continue;
}

static void cached_clear(struct dc_node *node, uint32_t seen, uint32_t bits) {
	atomic_compare_exchange_strong(&node->core.kernel_cached, &seen, seen & ~bits);
}

static uint64_t name_hash(const char *name, size_t length) {
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	for (size_t i = 0; i < length; i++) hash = (hash ^ (unsigned char)name[i]) * UINT64_C(0x100000001b3);
	return hash ^ hash >> 29;
}

void door_cached_name(struct door_entry *directory, const char *name, size_t length) {
	uint64_t hash = name_hash(name, length);
	atomic_fetch_or(&directory->names[hash / 64 % DOOR_NAME_WORDS], UINT64_C(1) << (hash & 63));
	door_cached_set(atomic_load(&directory->node), DOOR_ENTRIES);
}

static bool name_may_be_cached(const struct door_entry *directory, const char *name, size_t length) {
	uint64_t hash = name_hash(name, length);
	return atomic_load(&directory->names[hash / 64 % DOOR_NAME_WORDS]) >> (hash & 63) & 1;
}

/* ---- the messages --------------------------------------------------------------------------------------------------------- */
static int send_notification(struct dc_door *door, int code, struct iovec *iov, int count) {
	struct fuse_out_header header = {.len = sizeof header, .error = code};
	iov[0] = (struct iovec){&header, sizeof header};
	for (int i = 1; i < count; i++) header.len += (uint32_t)iov[i].iov_len;
	ssize_t written;
	do written = syscall(SYS_writev, door->fd, iov, count); /* not libc's, of which a sanitizer looks at all data: push_size */
	while (written < 0 && errno == EINTR);
	return written < 0 ? -errno : 0;
}

int door_notify_inode(struct dc_door *door, uint64_t number, int64_t offset, int64_t length) {
	struct fuse_notify_inval_inode_out body = {.ino = number, .off = offset, .len = length};
	struct iovec iov[2] = {{0}, {&body, sizeof body}};
	return send_notification(door, FUSE_NOTIFY_INVAL_INODE, iov, 2);
}

int door_notify_entry(struct dc_door *door, uint64_t parent, const char *name, size_t length) {
	struct fuse_notify_inval_entry_out body = {.parent = parent, .namelen = (uint32_t)length};
	char end = 0;
	struct iovec iov[4] = {{0}, {&body, sizeof body}, {(void *)(uintptr_t)name, length}, {&end, 1}};
	return send_notification(door, FUSE_NOTIFY_INVAL_ENTRY, iov, 4);
}

int door_notify_bare(struct dc_door *door, int code) {
	struct iovec iov[1];
	return send_notification(door, code, iov, 1);
}

uint64_t door_cached_entry(struct door_entry *entry, uint64_t parent) {
	struct dc_node *node = atomic_load(&entry->node);
	uint64_t before = atomic_exchange(&entry->parent, parent);
	bool fresh = atomic_load(&node->core.kernel_cached) & DOOR_FRESH;
	door_cached_set(node, DOOR_ATTRIBUTES | DOOR_FRESH);
	return fresh && before && before != parent ? before : 0;
}

/* A node with names in two directories, replied for in both: only one is remembered, so see the other one's requests through now. Not before the reply, or two could wait for each other. */
void door_settle(struct dc_door *door, uint64_t parent) {
	door_step_aside(door);
	door_notify_entry(door, parent, NO_NAME, sizeof NO_NAME - 1);
}

/* ---- the kernel's attributes ----------------------------------------------------------------------------------------------- */
double door_attributes_keep(const struct dc_door *door, struct door_entry *entry) {
	uint64_t changed = atomic_load(&entry->changed_ns), landed = atomic_load(&entry->landed_ns);
	if (!changed || door->timeout <= 0) return door->timeout;
	uint64_t now = dc_now_ns();
	if (landed <= changed) atomic_compare_exchange_strong(&entry->landed_ns, &landed, now);
	return landed <= changed || now < landed + LANDING_NS || now < changed + QUIET_NS ? 0 : DOOR_SHARED;
}

/* ---- changes made elsewhere ----------------------------------------------------------------------------------------------- */
/* The kernel's view of a node as a changer finds it. False: nothing to tell. */
struct view {
	struct door_entry *entry;
	uint64_t number;
	uint32_t cached;
	bool seen_through;
};
static bool look(struct dc_door *door, struct dc_node *node, uint32_t bits, struct view *view) {
	if (!door) return false;
	view->seen_through = false;
	atomic_thread_fence(memory_order_seq_cst); /* the change, then the look: pairs with door_cached_set */
	view->cached = atomic_load(&node->core.kernel_cached);
	if (!(view->cached & bits) || !atomic_load(&door->serving)) return false; /* not serving yet: the kernel would wait for us; see dc_door_serve */
	view->entry = atomic_load(&node->core.door);
	if (!view->entry) return false; /* forgotten just now, cache and all */
	view->number = atomic_load(&view->entry->number);
	return view->number != 0 && atomic_load(&view->entry->node) == node; /* not the entry's next use */
}

/* Before the kernel is told. A directory's attributes that change with its names do not count: every path through it would ask. */
static void attributes_changed(const struct view *view) {
	if (view->cached & DOOR_ATTRIBUTES) atomic_store(&view->entry->changed_ns, dc_now_ns());
}

/* Whoever is about to make an inode from an earlier reply is through afterwards. */
static void see_through(struct dc_door *door, struct view *view) {
	if (!(view->cached & DOOR_FRESH) || view->seen_through) return;
	view->seen_through = true;
	uint64_t parent = atomic_load(&view->entry->parent);
	if (parent) door_notify_entry(door, parent, NO_NAME, sizeof NO_NAME - 1);
}

static void tell_inode(struct dc_door *door, struct dc_node *node, struct view *view, int64_t offset, int64_t length, uint32_t clears) {
	see_through(door, view);
	int result = door_notify_inode(door, view->number, offset, length);
	if (result == 0 || result == -ENOENT) cached_clear(node, view->cached, clears | DOOR_FRESH); /* ENOENT: it is not there any more, or was not looked up before the change */
}

void dc_door_changed_attr(struct dc_door *door, struct dc_node *node) {
	struct view view;
	if (!look(door, node, DOOR_ATTRIBUTES, &view)) return;
	attributes_changed(&view);
	tell_inode(door, node, &view, -1, 0, DOOR_ATTRIBUTES);
}

/* ---- the kernel's size ---------------------------------------------------------------------------------------------------- */
/*
 * Gives the kernel's inode a size of at least `size` bytes: a store notification, which does so before it copies data into the page cache. Its data lie where nobody can
 * read, so that nothing is copied: what belongs there may have changed by now, and a page that is read later is asked for as usual. The kernel answers EFAULT when the size is set.
 * It has then made an empty page where the data begin: always the same one of each span. 0, or ENOENT: it has no such inode.
 */
static int push_size(struct dc_door *door, uint64_t number, uint64_t size) {
	uint64_t start = (size - 1) / DOOR_STORE_SPAN * DOOR_STORE_SPAN;
	struct fuse_notify_store_out body = {.nodeid = number, .offset = start, .size = (uint32_t)(size - start)};
	struct iovec iov[3] = {{0}, {&body, sizeof body}, {door->unreadable, size - start}};
	int result = send_notification(door, FUSE_NOTIFY_STORE, iov, 3);
	return result == -EFAULT ? 0 : result;
}

void door_size_lowered(struct door_entry *entry, uint64_t size) {
	uint64_t word = atomic_load(&entry->pages), pages = (size + DOOR_PAGE_SIZE - 1) / DOOR_PAGE_SIZE, next;
	do {
		uint64_t now = word >> LOWERED_BITS;
		next = (now < pages ? now : pages) << LOWERED_BITS | (uint16_t)(word + 1);
	} while (!atomic_compare_exchange_weak(&entry->pages, &word, next));
}

/* `pages` is a lower bound of what the kernel believes: only a push raises it, and only if nothing lowered it meanwhile. Answers that carry a smaller size lower it. */
static void tell_size(struct dc_door *door, struct view *view, uint64_t size) {
	uint64_t word = atomic_load(&view->entry->pages), pages = (size + DOOR_PAGE_SIZE - 1) / DOOR_PAGE_SIZE;
	if (pages <= word >> LOWERED_BITS) return;
	see_through(door, view);
	if (push_size(door, view->number, size) == 0) atomic_compare_exchange_strong(&view->entry->pages, &word, pages << LOWERED_BITS | (uint16_t)word);
}

/* After a change that does not say where the file ends now. */
static void tell_size_of(struct dc_door *door, struct dc_node *node, struct view *view) {
	struct dc_cred cred = {0};
	struct dc_context context = {.cred = &cred};
	struct dc_attr attr;
	if (DOOR_CALL(door, getattr, &context, node, &attr)) return;
	door_size_lowered(view->entry, (uint64_t)attr.st.st_size);
	if (attr.st.st_size > 0) tell_size(door, view, (uint64_t)attr.st.st_size);
}

/* What the kernel has of the file's data and attributes. */
static void tell_data(struct dc_door *door, struct dc_node *node, struct view *view, off_t offset, off_t length) {
	if (!(view->cached & (DOOR_ATTRIBUTES | DOOR_PAGES))) return;
	if (!(view->cached & DOOR_PAGES)) {
		tell_inode(door, node, view, -1, 0, DOOR_ATTRIBUTES);
		return;
	}
	atomic_store(&view->entry->pushed_ns, dc_now_ns());
	bool whole = offset == 0 && length <= 0;
	/* A file that is written here again and again, and no longer read there: drop all of its pages once, and the next writes need not tell. */
	if (!whole && atomic_fetch_add(&view->entry->streak, 1) >= STREAK_MAX) whole = true;
	if (whole) tell_inode(door, node, view, 0, 0, DOOR_ATTRIBUTES | DOOR_PAGES);
	else tell_inode(door, node, view, offset, length > 0 ? length : 0, DOOR_ATTRIBUTES);
}

/*
 * The size last. An answer that was read before the change may be under way, with a smaller one: the notification makes it an old one that the kernel does not take, which a push alone does not where
 * the kernel believes in a larger size still. What came before the notification, the push puts right.
 */
void dc_door_changed_data(struct dc_door *door, struct dc_node *node, off_t offset, off_t length) {
	struct view view;
	if (!look(door, node, DOOR_ATTRIBUTES | DOOR_PAGES | DOOR_INODE, &view)) return;
	attributes_changed(&view);
	tell_data(door, node, &view, offset, length);
	if (length > 0) tell_size(door, &view, (uint64_t)offset + (uint64_t)length);
	else tell_size_of(door, node, &view);
}

void dc_door_changed_entry(struct dc_door *door, struct dc_node *parent, const char *name) {
	struct view view;
	if (!look(door, parent, DOOR_ATTRIBUTES | DOOR_PAGES | DOOR_ENTRIES, &view)) return;
	size_t length = strlen(name);
	/* A listing under way fills the kernel's directory pages only after its reply: the entry's notification waits for it (directory lock), so it goes first. */
	if ((view.cached & DOOR_PAGES) || ((view.cached & DOOR_ENTRIES) && name_may_be_cached(view.entry, name, length))) door_notify_entry(door, view.number, name, length);
	if (view.cached & (DOOR_ATTRIBUTES | DOOR_PAGES)) tell_inode(door, parent, &view, 0, 0, DOOR_ATTRIBUTES | DOOR_PAGES);
}
