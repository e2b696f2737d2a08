/* regions.h - hands out the cache's memory, read-only, to the processes of a pool whose processes trust each other (docs/internals.md, "One copy, or none"). */
#ifndef DICICLO_SERVICE_REGIONS_H
#define DICICLO_SERVICE_REGIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int dc_regions_start(const char *path); /* listens; 0 or -errno */
bool dc_regions_open(void);             /* it does: clients can be told where data lie */

/* host.c: a new read-only descriptor of a region, or -errno. */
int dc_host_region(uint32_t region, size_t *bytes);

#endif
