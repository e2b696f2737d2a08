/*
 * copying.c - the routines by which this process copies to and from shared memory (ipc/copy.h): the service's choice, found in the arena, as far as this CPU has them; else libc's memcpy.
 *
 * libc's own, not the first in the process: a memcpy that a program or another preload brings along may be anything, slow checks included.
 */
#include "internal.h"

#include <dlfcn.h>

struct dc_copier dc_copier;

void dc_copying_attached(struct dc_client *client) {
	static _Atomic(void *) libc_memcpy; /* found once: a fork's child attaches anew */
	void *found = atomic_load_explicit(&libc_memcpy, memory_order_relaxed);
	if (!found) {
		void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
		found = libc ? dlsym(libc, "memcpy") : NULL;
		if (!found) found = (void *)memcpy;
		atomic_store_explicit(&libc_memcpy, found, memory_order_relaxed);
	}
	dc_copier_bind(&dc_copier, &client->arena->copy, (dc_copy_function *)found);
}
