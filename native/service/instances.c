/*
 * instances.c - the service's mounted instances.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "clients.h"
#include "host.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(struct dc_instance *) table[DC_INSTANCES_MAX];

int dc_instances_add(struct dc_instance *instance) {
	int result = 0;
	pthread_mutex_lock(&lock);
	_Atomic(struct dc_instance *) *slot = &table[instance->id % DC_INSTANCES_MAX];
	if (atomic_load(slot)) result = -ENOSPC;
	else atomic_store_explicit(slot, instance, memory_order_release);
	pthread_mutex_unlock(&lock);
	return result;
}

/* An instance's memory is never freed (a kilobyte each, bounded by mounts), so that a late user of its address finds it closing. */
struct dc_instance *dc_instances_get(uint32_t id) {
	struct dc_instance *instance = atomic_load_explicit(&table[id % DC_INSTANCES_MAX], memory_order_acquire);
	if (!instance || instance->id != id) return NULL;
	atomic_fetch_add_explicit(&instance->users, 1, memory_order_seq_cst);
	if (!atomic_load_explicit(&instance->closing, memory_order_seq_cst)) return instance;
	atomic_fetch_sub_explicit(&instance->users, 1, memory_order_release);
	return NULL;
}

void dc_instances_put(struct dc_instance *instance) {
	atomic_fetch_sub_explicit(&instance->users, 1, memory_order_release);
}

unsigned dc_instances_all(struct dc_instance **all) {
	unsigned count = 0;
	for (unsigned i = 0; i < DC_INSTANCES_MAX; i++) {
		struct dc_instance *instance = atomic_load_explicit(&table[i], memory_order_acquire);
		if (instance && (instance = dc_instances_get(instance->id))) all[count++] = instance;
	}
	return count;
}

struct dc_instance *dc_instances_take(uint32_t id) {
	pthread_mutex_lock(&lock);
	struct dc_instance *instance = atomic_load(&table[id % DC_INSTANCES_MAX]);
	if (instance && instance->id == id) atomic_store_explicit(&instance->closing, true, memory_order_seq_cst);
	else instance = NULL;
	pthread_mutex_unlock(&lock);
	if (!instance) return NULL;
	while (atomic_load_explicit(&instance->users, memory_order_acquire)) usleep(100);
	atomic_store(&table[id % DC_INSTANCES_MAX], NULL);
	return instance;
}

static json_t *one_json(const struct dc_instance *instance) {
	return json_pack("{s:s,s:s,s:o,s:o}", "instance", instance->name, "mountpoint", instance->mountpoint, "doors", dc_counters_json(instance), "layers",
		dc_stack_statistics(instance->stack));
}

json_t *dc_instances_json(void) {
	json_t *list = json_array();
	for (unsigned i = 0; i < DC_INSTANCES_MAX; i++) {
		struct dc_instance *instance = atomic_load(&table[i]);
		if (!instance || !(instance = dc_instances_get(instance->id))) continue;
		json_array_append_new(list, one_json(instance));
		dc_instances_put(instance);
	}
	return list;
}

json_t *dc_instances_stack_json(const char *mountpoint) {
	json_t *found = NULL;
	for (unsigned i = 0; i < DC_INSTANCES_MAX && !found; i++) {
		struct dc_instance *instance = atomic_load(&table[i]);
		if (!instance || strcmp(instance->mountpoint, mountpoint) != 0 || !(instance = dc_instances_get(instance->id))) continue;
		found = json_pack("{s:s,s:s,s:o}", "instance", instance->name, "mountpoint", instance->mountpoint, "root", dc_stack_json(instance->stack));
		dc_instances_put(instance);
	}
	return found;
}

void dc_instances_reset(void) {
	dc_counters_reset();
	for (unsigned i = 0; i < DC_INSTANCES_MAX; i++) {
		struct dc_instance *instance = atomic_load(&table[i]);
		if (!instance || !(instance = dc_instances_get(instance->id))) continue;
		dc_stack_reset(instance->stack);
		dc_instances_put(instance);
	}
}

void dc_instances_serve(void) {
	for (unsigned i = 0; i < DC_INSTANCES_MAX; i++) {
		struct dc_instance *instance = atomic_load(&table[i]);
		int result = instance && instance->door ? dc_door_serve(instance->door) : 0;
		if (result) dc_log(LOG_ERR, "%s: no thread for the kernel door: %s", instance->name, strerror(-result));
	}
}

void dc_instances_hand_over(void) {
	struct dc_cred service = {.uid = 0};
	struct dc_context context = {.cred = &service};
	for (unsigned i = 0; i < DC_INSTANCES_MAX; i++) {
		struct dc_instance *instance = atomic_load(&table[i]);
		if (!instance || !(instance = dc_instances_get(instance->id))) continue;
		if (instance->door) dc_door_hand_over(instance->door);
		int result = DC_FILE_CALL(instance->root, sync, &context);
		if (result) dc_log(LOG_ERR, "%s: cannot be made durable before another service takes over: %s", instance->name, strerror(-result));
		dc_instances_put(instance);
	}
}
