/*
 * measure.h - what it costs to pass data from one process to another by a routine.
 *
 * A peer process stands in for the other side: it writes or reads the shared memory before and after, on another CPU, so that the lines are where they are in real use. The cost of a copy is
 * the time that it takes and the time that the data's next user then takes to read them: a store past the caches is quick, and dear for who comes after.
 */
#ifndef DICICLO_TUNE_MEASURE_H
#define DICICLO_TUNE_MEASURE_H

#include <stdbool.h>

#include "copy.h"

struct measure;

struct measure *measure_start(void); /* NULL and errno. The calling thread stays on one CPU from now on, the peer on another where there is one */
void measure_stop(struct measure *measure);
void measure_cpus(const struct measure *measure, int cpus[2]);

/*
 * For each of `count` routines the median cost of `rounds` copies of `bytes`, in nanoseconds per copy, into `costs`. They are measured in turn, so that whatever else the machine does meets
 * all of them.
 */
void measure_compare(struct measure *measure, enum dc_copy_direction direction, size_t bytes, dc_copy_function *const *routines, unsigned count, unsigned rounds, double *costs);

#endif
