/*
 * stamps.c - leases on names and attributes: the shipped layer (service/stamps.c), walk (service/walk.c) and words (ipc/stamp.h) over a small stack of our own, whose state is a count of changes.
 * One client keeps what it was told and asks again only when a stamp has moved, another always asks; changers change. What must hold: nobody is ever told less than anybody has been told before,
 * or than a change that was acknowledged has made. Askers run the service's part of an answer themselves; process 1 is the one that keeps, and can be stopped at any step.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "regions.h"
#include "scenarios.h"
#include "walk.h"

static struct {
	const struct sim_scenario *scenario;
	struct dc_instance instance;
	struct dc_libservice bottom;
	struct dc_file_binding binding;
	struct dc_host host;
	struct dc_node root, file[2];
	_Atomic uint64_t board[DC_STAMPS];
	/* The stack's state. SIM_NAMES: the name "a" is there while `named` is even. SIM_LAST_NAMES: which file the names "a" and "b" have, 2: none. */
	pthread_mutex_t lock;
	_Atomic uint64_t version[2], named;
	unsigned bound[2];
	/* What anybody knows to have been. */
	_Atomic uint64_t known[2], known_name;
	unsigned kept;
} world;

static void raise_to(_Atomic uint64_t *known, uint64_t value) {
	uint64_t seen = atomic_load(known);
	while (seen < value && !atomic_compare_exchange_strong(known, &seen, value)) continue;
}

/* ---- the stack ------------------------------------------------------------------------------------------------------------------ */
static int bottom_lookup(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *path, size_t length, struct dc_node **node, struct dc_attr *attr, size_t *consumed) {
	unsigned which = world.scenario->stamps == SIM_LAST_NAMES ? world.bound[*path - 'a'] : atomic_load_explicit(&world.named, memory_order_acquire) & 1 ? 2 : 0;
	*consumed = length;
	*node = which < 2 ? &world.file[which] : NULL;
	return which < 2 ? 0 : -ENOENT;
}
static int bottom_getattr(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, struct dc_attr *attr) {
	attr->st.st_size = (off_t)atomic_load_explicit(&world.version[node == &world.file[1]], memory_order_acquire);
	return 0;
}
static int bottom_setattr(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const struct dc_attr *set, uint32_t mask, struct dc_attr *attr) {
	unsigned file = node == &world.file[1];
	dc_pause();
	attr->st.st_size = (off_t)atomic_fetch_add(&world.version[file], 1) + 1;
	raise_to(&world.known[file], (uint64_t)attr->st.st_size); /* from here on anybody may have seen it */
	dc_pause();
	return 0;
}
static int bottom_create(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name, mode_t mode, int flags, struct dc_node **node, struct dc_attr *attr) {
	atomic_fetch_add(&world.named, 1);
	return 0;
}
static void lose(unsigned *bound) {
	if (*bound < 2) atomic_fetch_add(&world.version[*bound], 1);
}
static int bottom_unlink(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name) {
	if (world.scenario->stamps == SIM_NAMES) {
		atomic_fetch_add(&world.named, 1);
		return 0;
	}
	pthread_mutex_lock(&world.lock);
	lose(&world.bound[*name - 'a']);
	world.bound[*name - 'a'] = 2;
	pthread_mutex_unlock(&world.lock);
	return 0;
}
static int bottom_rename(struct dc_libservice *self, struct dc_context *context, struct dc_node *from, const char *from_name, struct dc_node *to, const char *to_name, uint32_t flags) {
	pthread_mutex_lock(&world.lock);
	lose(&world.bound[*to_name - 'a']);
	lose(&world.bound[*from_name - 'a']);
	world.bound[*to_name - 'a'] = world.bound[*from_name - 'a'];
	world.bound[*from_name - 'a'] = 2;
	pthread_mutex_unlock(&world.lock);
	return 0;
}
static void bottom_reference(struct dc_libservice *self, struct dc_node *node, uint64_t count) {}
static uint64_t bottom_believed(struct dc_libservice *self, struct dc_node *node, const char *name, size_t length) { return 1000; }

/* ---- what the layer needs of the service ----------------------------------------------------------------------------------------- */
bool dc_regions_open(void) { return true; }
bool dc_stack_believes(const struct dc_libservice *root) { return true; }
bool dc_posts_looked_at(struct dc_node *node); /* service/posts.h */
bool dc_posts_looked_at(struct dc_node *node) { return false; } /* nobody posts here */
void dc_block_begin(struct dc_context *blocked) {}
void dc_block_end(struct dc_context *blocked) {}
static void *cache_region(const struct dc_host *host, size_t bytes, uint32_t *region) { return world.board; }
static void cache_release(const struct dc_host *host, uint32_t region) {}

/* ---- threads ----------------------------------------------------------------------------------------------------------------------- */
static struct dc_cred cred;
static struct dc_context context = {.cred = &cred};
#define CALL(operation, ...) DC_FILE_CALL(world.instance.root, operation, &context, __VA_ARGS__)

static void change(void *argument) {
	unsigned changer = (unsigned)(uintptr_t)argument;
	struct dc_attr attr = {0};
	struct dc_node *node;
	for (unsigned i = 0; i < world.scenario->requests; i++) {
		if (world.scenario->stamps == SIM_ATTRIBUTES) {
			CALL(setattr, &world.file[0], &attr, 0, &attr);
		} else if (world.scenario->stamps == SIM_NAMES) {
			if (i & 1) CALL(create, &world.root, "a", 0644, O_RDWR, &node, &attr);
			else CALL(unlink, &world.root, "a");
			raise_to(&world.known_name, i + 1);
		} else if (changer) {
			CALL(rename, &world.root, "b", &world.root, "a", 0);
		} else {
			CALL(unlink, &world.root, "a");
		}
	}
}

struct kept {
	struct dc_wire_lease lease;
	bool given;
	int64_t result;
	uint64_t version;
};

/* As the library does (library/answers.c). */
static bool holds(const struct kept *kept) {
	if (!kept->given) return false;
	for (unsigned i = 0; i < kept->lease.count; i++)
		if (!dc_stamp_holds(&world.board[kept->lease.stamp[i].index], kept->lease.stamp[i].word)) return false;
	return true;
}

/* As the service does (service/operations.c). */
static void ask(struct kept *kept, struct dc_node *by_handle) {
	struct dc_trail trail;
	struct dc_attr attr = {0};
	dc_trail_begin(&trail, &world.instance);
	if (by_handle) {
		dc_trail_attributes(&trail, by_handle);
		kept->result = CALL(getattr, by_handle, &attr);
	} else {
		struct dc_walk walk;
		struct dc_node *node;
		dc_walk_begin(&walk, &world.instance, &context, &world.root, "a", 1);
		walk.trail = &trail;
		kept->result = dc_walk_full(&walk, true, &node, &attr);
		dc_walk_end(&walk);
	}
	kept->version = (uint64_t)attr.st.st_size;
	kept->given = trail.stamps && trail.lease.count;
	kept->lease = trail.lease;
}

static void told(unsigned file, uint64_t version, uint64_t known) {
	if (version < known) sim_fail("an answer older than what was known before it was asked for");
	raise_to(&world.known[file], version);
}
static void told_name(bool there, uint64_t known) {
	if (there == !(known & 1)) return;
	if (atomic_load(&world.named) <= known) sim_fail("a name is said to be what it is no longer");
	raise_to(&world.known_name, known + 1);
}

static void look(void *argument) {
	bool keeps = argument != NULL;
	struct kept kept[2] = {0};
	for (unsigned i = 0; i < 2 * world.scenario->requests + 2; i++) {
		unsigned file = world.scenario->stamps == SIM_LAST_NAMES ? i & 1 : 0;
		uint64_t known = atomic_load(world.scenario->stamps == SIM_NAMES ? &world.known_name : &world.known[file]);
		bool held = keeps && holds(&kept[file]);
		if (!held) ask(&kept[file], world.scenario->stamps == SIM_LAST_NAMES ? &world.file[file] : NULL);
		world.kept += held;
		if (world.scenario->stamps == SIM_NAMES) told_name(kept[0].result == 0, known);
		else told(file, kept[file].version, known);
	}
}

/* ---- a run ---------------------------------------------------------------------------------------------------------------------- */
static const char *verdict(void) {
	sim_private(&world, sizeof world);
	for (unsigned i = 0; i < DC_STAMPS; i++)
		if (DC_STAMP_UNDER_WAY(atomic_load(&world.board[i]))) return "a change is under way for ever";
	return NULL;
}

static void begin(const struct sim_scenario *scenario) {
	sim_private(&world, sizeof world);
	dc_stamps_drop(&world.instance);
	memset(&world, 0, sizeof world);
	world.scenario = scenario;
	world.host = (struct dc_host){.cache_region = cache_region, .cache_release = cache_release};
	world.bottom.host = &world.host;
	world.bottom.file = &world.binding;
#define X(operation) world.binding.operation.call = bottom_##operation;
	world.binding.forget.call = bottom_reference;
	X(lookup) X(getattr) X(setattr) X(create) X(unlink) X(rename) X(reference) X(believed)
#undef X
	world.bound[1] = 1;
	world.root.ino = 1;
	world.root.type = S_IFDIR;
	for (unsigned i = 0; i < 2; i++) {
		world.file[i].ino = 2 + i;
		world.file[i].type = S_IFREG;
	}
	world.instance.root_node = &world.root;
	world.instance.root = dc_stamps_wrap(&world.instance, &world.bottom);
	sim_private(NULL, 0);
}

const char *sim_stamps_run(const struct sim_scenario *scenario, const struct sim_plan *plan) {
	static const char *const changers[] = {"changer 0", "changer 1"};
	sim_begin(plan);
	begin(scenario);
	for (unsigned i = 0; i < scenario->workers; i++) sim_thread(changers[i], 0, i, change, (void *)(uintptr_t)i);
	sim_thread("keeper", 1, 8, look, &world);
	sim_thread("asker", 2, 9, look, NULL);
	return sim_run(verdict);
}
