/*
 * mounts.c - instances: from request to unmount, and over the service's deaths. A state machine per mount; whatever may block runs in a helper (doors.c).
 */
#include "mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "log.h"

#define TAKEN_AWAY_MAX 10u

static void renew_next(struct dc_pool *pool);

static void free_mount(struct dc_pool_mount *mount) {
	struct dc_pool *pool = mount->pool;
	for (struct dc_pool_mount **at = &pool->mounts; *at; at = &(*at)->next) {
		if (*at != mount) continue;
		*at = mount->next;
		break;
	}
	dc_mount_table_remove(pool, mount->id);
	dc_door_close(mount);
	if (mount->plan_fd >= 0) close(mount->plan_fd);
	free(mount->covered);
	free(mount->name);
	free(mount->mountpoint);
	free(mount);
}

static bool established(const struct dc_pool_mount *mount) {
	return mount->state == DC_MOUNT_LIVE || mount->state == DC_MOUNT_RENEWING || mount->state == DC_MOUNT_DEAD || mount->state == DC_MOUNT_LEAVING;
}

/* ---- telling the service ---------------------------------------------------------------------------------------------------- */
static void tell(struct dc_pool_mount *mount, bool resend) {
	struct dc_pool *pool = mount->pool;
	if (pool->service.line.source.fd < 0 || mount->told) return; /* the next service is told of all */
	char hex[2 * DC_INIT_REQUEST_MAX + 1];
	for (size_t i = 0; i < mount->init_length; i++) snprintf(hex + 2 * i, 3, "%02x", mount->init[i]);
	dc_door_clone(mount, pool->service.clones);
	int descriptors[DC_LINK_DESCRIPTORS_MAX] = {mount->plan_fd, mount->fuse_fd};
	memcpy(descriptors + 2, mount->clones, mount->clone_count * sizeof(int));
	json_t *message = json_pack("{s:s, s:I, s:s, s:s, s:s, s:s, s:b}", "type", DC_LINK_MOUNT, "id", (json_int_t)mount->id, "name", mount->name, "mountpoint", mount->mountpoint,
		"cache", mount->cache ? "auto" : "none", "init", hex, "resend", (int)resend);
	mount->told = true;
	mount->fresh = false;
	dc_service_send(pool, message, descriptors, 2 + mount->clone_count);
}

void dc_mounts_tell(struct dc_pool *pool) {
	for (struct dc_pool_mount *mount = pool->mounts; mount; mount = mount->next) {
		bool wanted = mount->state == DC_MOUNT_ASKING || mount->state == DC_MOUNT_LIVE || (mount->state == DC_MOUNT_LEAVING && mount->fuse_fd >= 0);
		if (wanted && !mount->stale) tell(mount, !mount->fresh);
	}
}

/* ---- failing ---------------------------------------------------------------------------------------------------------------- */
static void on_undone(struct dc_helper *helper, const struct dc_helper_answer *answer) {
	struct dc_pool_mount *mount = dc_container_of(helper, struct dc_pool_mount, helper);
	struct dc_request *request = mount->request;
	struct dc_fault fault = mount->fault;
	free_mount(mount);
	dc_request_fault(request, &fault);
}

/* A new mount failed: takes back all that was made; then the request fails with mount->fault. */
static void undo(struct dc_pool_mount *mount) {
	mount->state = DC_MOUNT_UNDOING;
	dc_log("mount of %s failed: %s", mount->mountpoint, mount->fault.message);
	dc_door_close(mount);
	struct dc_helper_answer nothing = {0};
	if (dc_helper_run(mount->pool, &mount->helper, dc_door_undo, on_undone) < 0) on_undone(&mount->helper, &nothing);
}

/* One that was mounted cannot be served again. */
static void bury(struct dc_pool_mount *mount) {
	dc_log("%s is served no more and answers errors until it is unmounted: %s", mount->mountpoint, mount->fault.message);
	mount->state = DC_MOUNT_DEAD;
	mount->stale = false;
	dc_mount_table_publish(mount->pool, mount, 0);
	dc_door_close(mount);
	renew_next(mount->pool);
}

/* ---- mounting --------------------------------------------------------------------------------------------------------------- */
static json_t *made_directories(const struct dc_pool_mount *mount) {
	json_t *list = json_array();
	size_t length = strlen(mount->mountpoint);
	for (size_t at = mount->made_length; at && at <= length; at += 1 + strcspn(mount->mountpoint + at + 1, "/")) {
		json_array_append_new(list, json_stringn(mount->mountpoint, at));
		if (at == length) break;
	}
	return list;
}

static json_t *device_text(const struct dc_pool_mount *mount) {
	return json_sprintf("%u:%u", major(mount->device), minor(mount->device));
}

static void on_made(struct dc_helper *helper, const struct dc_helper_answer *answer) {
	struct dc_pool_mount *mount = dc_container_of(helper, struct dc_pool_mount, helper);
	if (answer->fault.error) {
		dc_request_fault(mount->request, &answer->fault);
		free_mount(mount);
		return;
	}
	mount->device = answer->device;
	mount->made_length = answer->made_length;
	if (dc_door_read_init(mount, &mount->fault) < 0) {
		undo(mount);
		return;
	}
	mount->state = DC_MOUNT_ASKING;
	mount->fresh = true;
	tell(mount, false);
}

void dc_mounts_mounted(struct dc_pool *pool, uint32_t id, bool ok, const char *code, const char *error) {
	struct dc_pool_mount *mount = pool->mounts;
	while (mount && mount->id != id) mount = mount->next;
	if (!mount || !mount->told) return;
	if (mount->state == DC_MOUNT_ASKING && ok) {
		mount->state = DC_MOUNT_LIVE;
		dc_mount_table_publish(pool, mount, DC_MOUNT_CARRIED);
		dc_log("mounted %s at %s", mount->name, mount->mountpoint);
		struct dc_request *request = mount->request;
		mount->request = NULL;
		dc_request_answer(request, json_pack("{s:o, s:o}", "device", device_text(mount), "madeDirectory", made_directories(mount)));
		dc_mounts_look(pool);
		return;
	}
	if (ok) {
		if (mount->state != DC_MOUNT_LIVE) return;
		mount->restored = true;
		mount->taken_away = 0;
		dc_log("%s is served again", mount->mountpoint);
		renew_next(pool); /* those that are mounted below this one */
		return;
	}
	if (mount->state != DC_MOUNT_ASKING && mount->state != DC_MOUNT_LIVE) return;
	bool served_before = mount->state == DC_MOUNT_LIVE;
	mount->told = false; /* the service does not know it */
	int number = EIO;
	for (int candidate = 1; candidate < 134; candidate++)
		if (strcmp(dc_error_name(candidate), code) == 0) number = candidate;
	dc_fault_set(&mount->fault, number, "%s", error[0] ? error : "the service could not open the stack");
	if (served_before) bury(mount);
	else undo(mount);
}

static int make_plan(json_t *plan) {
	char *text = json_dumps(plan, JSON_COMPACT);
	if (!text) return -ENOMEM;
	int fd = memfd_create("diciclo-plan", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int result = fd < 0 ? -errno : dc_write_all(fd, text, strlen(text));
	free(text);
	if (result == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0) result = -errno;
	if (result == 0) return fd;
	if (fd >= 0) close(fd);
	return result;
}

static bool check_request(struct dc_pool *pool, struct dc_request *request) {
	json_t *message = dc_request_message(request), *door = json_object_get(message, "door"), *make = json_object_get(message, "makeDirectory");
	const char *mountpoint = json_string_value(json_object_get(message, "mountpoint")), *name = json_string_value(json_object_get(message, "instance"));
	const char *cache = json_string_value(json_object_get(door, "cache"));
	unsigned count = 0;
	if (!name || !name[0] || strlen(name) > 127) dc_request_fail(request, EINVAL, "'instance' must be a name of 1 to 127 bytes");
	else if (!mountpoint || !dc_is_normal_path(mountpoint)) dc_request_fail(request, EINVAL, "'mountpoint' must be an absolute path without '.', '..', '//' and a trailing '/'");
	else if (strlen(mountpoint) >= sizeof pool->mount_table->entry[0].path) dc_request_fail(request, ENAMETOOLONG, "the mount point is longer than %zu bytes", sizeof pool->mount_table->entry[0].path - 1);
	else if (!json_is_object(json_object_get(message, "plan"))) dc_request_fail(request, EINVAL, "'plan' must be an object");
	else if (door && !(cache && (strcmp(cache, "auto") == 0 || strcmp(cache, "none") == 0))) dc_request_fail(request, EINVAL, "'door.cache' must be \"auto\" or \"none\"");
	else if (make && !json_is_boolean(make)) dc_request_fail(request, EINVAL, "'makeDirectory' must be true or false");
	else if (pool->ending) dc_request_fail(request, EBUSY, "the pool is being stopped");
	else {
		for (struct dc_pool_mount *mount = pool->mounts; mount; mount = mount->next, count++) {
			if (strcmp(mount->mountpoint, mountpoint) != 0) continue;
			dc_request_fail(request, EEXIST, "%s is mounted already", mountpoint);
			return false;
		}
		if (count < DC_MOUNTS_MAX) return true;
		dc_request_fail(request, ENOSPC, "a pool has at most %u mounts", DC_MOUNTS_MAX);
	}
	return false;
}

void dc_mount_request(struct dc_pool *pool, struct dc_request *request) {
	if (!check_request(pool, request)) return;
	json_t *message = dc_request_message(request);
	struct dc_pool_mount *mount = calloc(1, sizeof *mount);
	if (!mount) {
		dc_request_fail(request, ENOMEM, "out of memory");
		return;
	}
	const char *cache = json_string_value(json_object_get(json_object_get(message, "door"), "cache"));
	mount->pool = pool;
	mount->fuse_fd = -1;
	mount->request = request;
	mount->name = strdup(json_string_value(json_object_get(message, "instance")));
	mount->mountpoint = strdup(json_string_value(json_object_get(message, "mountpoint")));
	mount->cache = !cache || strcmp(cache, "auto") == 0;
	mount->make_directory = json_is_true(json_object_get(message, "makeDirectory"));
	mount->plan_fd = make_plan(json_object_get(message, "plan"));
	mount->id = ++pool->mount_next_id;
	struct dc_pool_mount **last = &pool->mounts;
	while (*last) last = &(*last)->next;
	*last = mount;
	int result = !mount->name || !mount->mountpoint ? dc_fault_set(&mount->fault, ENOMEM, "out of memory") : mount->plan_fd < 0 ?
		dc_fault_set(&mount->fault, -mount->plan_fd, "cannot keep the plan: %s", strerror(-mount->plan_fd)) : dc_door_open(mount, &mount->fault);
	if (result == 0) {
		result = dc_helper_run(pool, &mount->helper, dc_door_mount, on_made);
		if (result < 0) dc_fault_set(&mount->fault, -result, "cannot start a helper process: %s", strerror(-result));
	}
	if (result == 0) return;
	dc_request_fault(request, &mount->fault);
	free_mount(mount);
}

/* ---- unmounting ------------------------------------------------------------------------------------------------------------- */
static void finish_unmount(struct dc_pool_mount *mount) {
	struct dc_request *request = mount->request;
	struct dc_pool *pool = mount->pool;
	dc_log("unmounted %s", mount->mountpoint);
	free_mount(mount);
	dc_request_answer(request, NULL);
	renew_next(pool);
}

/* The kernel's side is gone: now the service's. */
static void close_stack(struct dc_pool_mount *mount) {
	struct dc_pool *pool = mount->pool;
	bool told = mount->told && pool->service.line.source.fd >= 0;
	mount->state = DC_MOUNT_CLOSING;
	if (told) dc_service_send(pool, json_pack("{s:s, s:I}", "type", DC_LINK_UNMOUNT, "id", (json_int_t)mount->id), NULL, 0);
	dc_door_close(mount); /* the service has its own copies for as long as it needs them */
	if (!told) dc_mounts_unmounted(pool, mount->id, true, "");
}

static void on_left(struct dc_helper *helper, const struct dc_helper_answer *answer) {
	struct dc_pool_mount *mount = dc_container_of(helper, struct dc_pool_mount, helper);
	struct dc_pool *pool = mount->pool;
	if (answer->fault.error && !mount->force) {
		struct dc_request *request = mount->request;
		mount->request = NULL;
		mount->state = mount->fuse_fd < 0 ? DC_MOUNT_DEAD : DC_MOUNT_LIVE; /* its connection may have died meanwhile */
		dc_mount_table_publish(pool, mount, mount->fuse_fd < 0 ? 0 : DC_MOUNT_CARRIED);
		dc_request_fault(request, &answer->fault);
		return;
	}
	dc_mount_table_remove(pool, mount->id);
	close_stack(mount);
}

static void leave(struct dc_pool_mount *mount) {
	mount->state = DC_MOUNT_LEAVING;
	int result = dc_helper_run(mount->pool, &mount->helper, dc_door_unmount, on_left);
	if (result == 0) return;
	struct dc_helper_answer answer = {0};
	dc_fault_set(&answer.fault, -result, "cannot start a helper process: %s", strerror(-result));
	mount->force = false;
	on_left(&mount->helper, &answer);
}

static void begin_unmount(struct dc_pool_mount *mount, struct dc_request *request, bool force) {
	mount->request = request;
	mount->force = force;
	dc_mount_table_publish(mount->pool, mount, 0); /* libraries leave it to the kernel from now on */
	leave(mount);
}

void dc_unmount_request(struct dc_pool *pool, struct dc_request *request) {
	json_t *message = dc_request_message(request), *force = json_object_get(message, "force");
	const char *mountpoint = json_string_value(json_object_get(message, "mountpoint"));
	if (!mountpoint || (force && !json_is_boolean(force))) {
		dc_request_fail(request, EINVAL, "unmount needs 'mountpoint', a path, and may have 'force', true or false");
		return;
	}
	struct dc_pool_mount *mount = pool->mounts;
	while (mount && strcmp(mount->mountpoint, mountpoint) != 0) mount = mount->next;
	if (!mount) dc_request_fail(request, ENOENT, "nothing is mounted at %s", mountpoint);
	else if (mount->state != DC_MOUNT_LIVE && mount->state != DC_MOUNT_DEAD) dc_request_fail(request, EBUSY, "%s is being mounted or unmounted by another request", mountpoint);
	else begin_unmount(mount, request, json_is_true(force));
}

void dc_mounts_unmounted(struct dc_pool *pool, uint32_t id, bool ok, const char *error) {
	struct dc_pool_mount *mount = pool->mounts;
	while (mount && mount->id != id) mount = mount->next;
	if (!mount || mount->state != DC_MOUNT_CLOSING) return;
	if (!ok) dc_log("closing the stack of %s: %s", mount->mountpoint, error);
	if (mount->again) {
		mount->again = mount->told = false;
		mount->state = DC_MOUNT_LIVE;
		mount->stale = true;
		renew_next(pool);
		return;
	}
	finish_unmount(mount);
}

static bool is_nested(const struct dc_pool_mount *mount, bool unserved_only);

void dc_mount_lost(struct dc_pool_mount *mount) {
	struct dc_pool *pool = mount->pool;
	mount->again = mount->state == DC_MOUNT_LIVE && is_nested(mount, false);
	mount->covered_count = 0;
	dc_log("%s is not mounted any more%s", mount->mountpoint, mount->again ? "; it is mounted again" : ": somebody else has unmounted it");
	if (mount->stale) return; /* about to be mounted again anyway */
	if (!mount->again) dc_mount_table_remove(pool, mount->id);
	close_stack(mount);
}

bool dc_mounts_clear(struct dc_pool *pool) {
	struct dc_pool_mount *last = pool->mounts;
	for (struct dc_pool_mount *mount = last; mount; mount = mount->next) {
		if (mount->state != DC_MOUNT_LIVE && mount->state != DC_MOUNT_DEAD) return false; /* on its way, one way or the other */
		last = mount;
	}
	if (!last) return true;
	begin_unmount(last, NULL, true);
	return false;
}

/* ---- over the service's death ----------------------------------------------------------------------------------------------- */
void dc_mounts_service_ended(struct dc_pool *pool) {
	for (struct dc_pool_mount *mount = pool->mounts, *next; mount; mount = next) {
		next = mount->next;
		bool told = mount->told;
		mount->told = false;
		if (!told) continue;
		if (mount->state == DC_MOUNT_ASKING) {
			/* Perhaps this stack is what killed it: not again. */
			dc_fault_set(&mount->fault, EIO, "the service ended while it opened the stack of %s; see its log", mount->name);
			undo(mount);
		} else if (mount->state == DC_MOUNT_CLOSING && mount->again) {
			dc_mounts_unmounted(pool, mount->id, true, "");
		} else if (mount->state == DC_MOUNT_CLOSING) {
			dc_log("the service ended while it closed the stack of %s; what was not synced may be lost", mount->mountpoint);
			finish_unmount(mount);
		} else if (!pool->drained && !dc_door_resend(mount)) { /* a drained service has answered all that it took */
			dc_door_close(mount); /* ends the connection: whoever waits gets an error now instead of waiting for ever */
			mount->stale = mount->state == DC_MOUNT_LIVE;
		}
	}
}

static bool cover(struct dc_pool_mount *mount) {
	uint64_t *grown = realloc(mount->covered, (mount->covered_count + 1) * sizeof *grown);
	if (!grown) return false;
	mount->covered = grown;
	mount->covered[mount->covered_count++] = mount->device;
	return true;
}

/* The kernel may replace the directory that a nested mount stands on once more just when it has been mounted: its connection is gone before anything came of it. */
static bool again_taken_away(struct dc_pool_mount *mount) {
	if (!is_nested(mount, false) || ++mount->taken_away > TAKEN_AWAY_MAX) return false;
	dc_log("%s was taken away as soon as it was mounted; it is mounted again", mount->mountpoint);
	dc_door_close(mount);
	mount->covered_count = 0;
	mount->stale = true;
	renew_next(mount->pool);
	return true;
}

static void on_renewed(struct dc_helper *helper, const struct dc_helper_answer *answer) {
	struct dc_pool_mount *mount = dc_container_of(helper, struct dc_pool_mount, helper);
	mount->state = DC_MOUNT_LIVE;
	mount->stale = false;
	bool failed = answer->fault.error != 0;
	if (failed) {
		mount->fault = answer->fault;
	} else {
		failed = !cover(mount);
		mount->device = answer->device;
		bool gone = !failed && dc_door_read_init(mount, &mount->fault) < 0;
		if (gone && again_taken_away(mount)) return;
		failed = failed || gone;
	}
	if (failed) {
		bury(mount);
		return;
	}
	mount->fresh = true;
	dc_mount_table_publish(mount->pool, mount, DC_MOUNT_CARRIED);
	dc_log("mounted %s anew: this kernel cannot resend what the service before had taken; files open through the kernel answer errors", mount->mountpoint);
	struct dc_pool *pool = mount->pool;
	if (!pool->mounts_renewed) tell(mount, false);
	renew_next(pool);
	dc_mounts_look(pool);
}

/* Below another mount of the pool: its mount point is that one's directory, so that one must be served first. */
static bool is_nested(const struct dc_pool_mount *mount, bool unserved_only) {
	for (const struct dc_pool_mount *other = mount->pool->mounts; other; other = other->next) {
		size_t length = strlen(other->mountpoint);
		if (other == mount || !established(other) || strncmp(other->mountpoint, mount->mountpoint, length) != 0 || mount->mountpoint[length] != '/') continue;
		if (!unserved_only || other->stale || !other->told) return true;
	}
	return false;
}

/* One at a time, so that the order stays. Before the service starts: those that need no service; afterwards the nested ones, each when what is above it is served. */
static void renew_next(struct dc_pool *pool) {
	bool before = pool->mounts_renewed != NULL;
	for (struct dc_pool_mount *mount = pool->mounts; mount; mount = mount->next) {
		if (mount->state == DC_MOUNT_RENEWING) return;
		if (mount->state != DC_MOUNT_LIVE || !mount->stale || is_nested(mount, !before)) continue;
		if (!before && !dc_service_answers(pool)) return;
		mount->state = DC_MOUNT_RENEWING;
		int result = dc_door_open(mount, &mount->fault);
		if (result == 0) result = dc_helper_run(pool, &mount->helper, dc_door_renew, on_renewed);
		if (result == 0) return;
		dc_fault_set(&mount->fault, -result, "cannot mount anew: %s", strerror(-result));
		bury(mount);
		return; /* which has gone on with the next */
	}
	void (*done)(struct dc_pool *) = pool->mounts_renewed;
	pool->mounts_renewed = NULL;
	if (done) done(pool);
}

void dc_mounts_renew(struct dc_pool *pool, void (*done)(struct dc_pool *)) {
	pool->mounts_renewed = done;
	renew_next(pool);
}

void dc_mounts_service_ready(struct dc_pool *pool) {
	renew_next(pool);
}

json_t *dc_mounts_json(struct dc_pool *pool) {
	json_t *list = json_array();
	for (struct dc_pool_mount *mount = pool->mounts; mount; mount = mount->next) {
		if (!established(mount)) continue;
		json_array_append_new(list, json_pack("{s:s, s:s, s:o, s:b, s:s}", "instance", mount->name, "mountpoint", mount->mountpoint, "device", device_text(mount), "restored",
			(int)mount->restored, "state", mount->state == DC_MOUNT_DEAD ? "failed" : "served"));
	}
	return list;
}
