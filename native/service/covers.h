/* covers.h - directories of an instance on which another instance of the pool is mounted: a path that comes to one goes on there. */
#ifndef DICICLO_SERVICE_COVERS_H
#define DICICLO_SERVICE_COVERS_H

#include <stdatomic.h>

#include "instance.h"

struct dc_cover {
	uint64_t ino;                /* of the directory, in the outer instance */
	uint32_t inner;              /* the instance on it */
	char mountpoint[1000];
};
struct dc_covers {
	unsigned count;
	struct dc_cover cover[];
};

/* After an instance came, or (NULL) went, by the thread that tells of mounts. */
void dc_covers_changed(const struct dc_instance *come);

/* The cover of a directory, or NULL. For an instance without mounts below its own it costs one load. */
static inline const struct dc_cover *dc_covers_find(const struct dc_instance *instance, const struct dc_node *node) {
	const struct dc_covers *covers = atomic_load_explicit(&((struct dc_instance *)(uintptr_t)instance)->covers, memory_order_acquire);
	for (unsigned i = 0; covers && i < covers->count; i++)
		if (covers->cover[i].ino == node->ino) return &covers->cover[i];
	return NULL;
}

#endif
