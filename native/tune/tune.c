/*
 * tune.c - diciclo-tune: finds the best copy routine for each direction and size class of this machine, stores the profile, prints it as JSON. docs/contract.md §8.
 *
 * A candidate must win twice to take glibc's place: over all sizes of the class in a first measurement of all of them, and by 3 % in a second one of the two alone,
 * without losing at any size (by more than measurements differ). Both are made in passes, over some seconds.
 */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "copy_profile.h"
#include "measure.h"
#include "waiting.h"

#define MARGIN 1.03
#define TOLERANCE 0.97 /* at any one size in any pass: what two measurements of one routine differ by on a busy machine */
#define SIZES_MAX 5u
#define PASSES 3u
#define PAUSE_US 40000u /* for each round of a pass */

struct options {
	bool dry_run, show, reset;
	unsigned rounds;
};

struct row {
	unsigned routine, count;
	double gain, worst;     /* sum of logarithms of `count` ratios to glibc's; the lowest of them */
	double cost, libc_cost; /* nanoseconds for one copy of each size in each pass */
	size_t bytes;           /* of these together */
	double ratio;           /* how much longer libc's takes: the geometric mean over them */
};

static const size_t sizes[DC_COPY_CLASSES][SIZES_MAX] = {{32, 64, 128, 256, 512}, {1024, 2048, 4096}, {8192, 16384, 65536}, {131072, 262144}, {524288, 1048576}};

static unsigned candidates(unsigned *numbers, dc_copy_function **routines) {
	uint32_t features = dc_copy_features();
	unsigned count = 0;
	for (unsigned i = 0; i < DC_COPY_ROUTINES; i++) {
		dc_copy_function *call = dc_copy_routine(i, features, memcpy);
		if (!call) continue;
		numbers[count] = i;
		routines[count++] = call;
	}
	return count;
}

/* How much better each candidate is than glibc's in a class, in all of its sizes: a sum of logarithms. */
static void first_look(struct measure *measure, enum dc_copy_direction direction, unsigned class, dc_copy_function *const *routines, unsigned count, unsigned rounds, double *gain) {
	double costs[DC_COPY_ROUTINES];
	for (unsigned i = 0; i < SIZES_MAX && sizes[class][i]; i++) {
		measure_compare(measure, direction, sizes[class][i], routines, count, rounds, costs);
		for (unsigned k = 0; k < count; k++) gain[k] += log(costs[0] / costs[k]);
	}
}

/* The best of them against glibc's alone. */
static void second_look(struct measure *measure, enum dc_copy_direction direction, unsigned class, dc_copy_function *candidate, unsigned rounds, struct row *row) {
	dc_copy_function *both[2] = {memcpy, candidate};
	double costs[2];
	for (unsigned i = 0; i < SIZES_MAX && sizes[class][i]; i++, row->count++) {
		measure_compare(measure, direction, sizes[class][i], both, 2, rounds, costs);
		double ratio = costs[0] / costs[1];
		row->gain += log(ratio);
		if (!row->count || ratio < row->worst) row->worst = ratio;
		row->libc_cost += costs[0];
		row->cost += costs[1];
		row->bytes += sizes[class][i];
	}
}

/* Whether it stays; else the row is glibc's. */
static void decide(struct row *row) {
	row->ratio = exp(row->gain / row->count);
	if (row->routine != DC_COPY_LIBC && row->ratio >= MARGIN && row->worst >= TOLERANCE && row->cost < row->libc_cost) return;
	row->routine = DC_COPY_LIBC;
	row->cost = row->libc_cost;
	row->ratio = 1;
}

static json_t *row_json(enum dc_copy_direction direction, unsigned class, const struct row *row) {
	size_t limit = dc_copy_class_limit(class);
	return json_pack("{s:s,s:o,s:s,s:I,s:I,s:f}", "direction", dc_copy_direction_name(direction), "upTo", limit ? json_integer((json_int_t)limit) : json_null(), "routine",
		dc_copy_name(row->routine), "bytesPerSecond", (json_int_t)((double)row->bytes * 1e9 / row->cost), "libcBytesPerSecond", (json_int_t)((double)row->bytes * 1e9 / row->libc_cost),
		"ratio", round(row->ratio * 1000) / 1000);
}

static unsigned best_of(const double *gain, unsigned count) {
	unsigned best = 0;
	for (unsigned k = 1; k < count; k++)
		if (gain[k] > gain[best]) best = k;
	return best;
}

#define CELLS (DC_COPY_DIRECTIONS * DC_COPY_CLASSES)
#define DIRECTION(cell) ((enum dc_copy_direction)((cell) / DC_COPY_CLASSES))
#define CLASS(cell) ((cell) % DC_COPY_CLASSES)

/* `rounds` in passes with pauses between them: where a virtual machine's CPUs are, and so how far from each other, may change every few seconds, and what is chosen must serve there and here. */
static void look_all(struct measure *measure, const unsigned *numbers, dc_copy_function *const *routines, unsigned count, unsigned rounds, struct row rows[CELLS]) {
	static double gain[CELLS][DC_COPY_ROUTINES];
	unsigned best[CELLS], each = (rounds + PASSES - 1) / PASSES;
	for (unsigned pass = 0; pass < PASSES; pass++, usleep(each * PAUSE_US))
		for (unsigned cell = 0; cell < CELLS; cell++) first_look(measure, DIRECTION(cell), CLASS(cell), routines, count, each, gain[cell]);
	for (unsigned cell = 0; cell < CELLS; cell++) best[cell] = best_of(gain[cell], count);
	for (unsigned pass = 0; pass < PASSES; pass++) {
		if (pass) usleep(each * PAUSE_US);
		for (unsigned cell = 0; cell < CELLS; cell++) second_look(measure, DIRECTION(cell), CLASS(cell), routines[best[cell]], each * 4, &rows[cell]);
	}
	for (unsigned cell = 0; cell < CELLS; cell++) {
		rows[cell].routine = numbers[best[cell]];
		decide(&rows[cell]);
	}
}

static json_t *measure_all(const struct options *options) {
	struct measure *measure = measure_start();
	if (!measure) {
		fprintf(stderr, "diciclo-tune: cannot set up the measurement: %s\n", strerror(errno));
		return NULL;
	}
	unsigned numbers[DC_COPY_ROUTINES];
	dc_copy_function *routines[DC_COPY_ROUTINES];
	unsigned count = candidates(numbers, routines);
	uint64_t start = dc_monotonic_ns();
	static struct row found[CELLS];
	look_all(measure, numbers, routines, count, options->rounds, found);
	json_t *rows = json_array(), *names = json_array();
	for (unsigned i = 0; i < count; i++) json_array_append_new(names, json_string(dc_copy_name(numbers[i])));
	for (unsigned cell = 0; cell < CELLS; cell++) json_array_append_new(rows, row_json(DIRECTION(cell), CLASS(cell), &found[cell]));
	int cpus[2];
	measure_cpus(measure, cpus);
	measure_stop(measure);
	char cpu[DC_COPY_CPU_MAX], when[32];
	time_t now = time(NULL);
	struct tm utc;
	dc_copy_cpu(cpu);
	strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
	return json_pack("{s:i,s:s,s:s,s:[i,i],s:f,s:o,s:o}", "version", DC_COPY_PROFILE_VERSION, "cpu", cpu, "measured", when, "cpus", cpus[0], cpus[1], "seconds",
		(double)((dc_monotonic_ns() - start) / 1000000) / 1000, "candidates", names, "rows", rows);
}

static int fail_by(const char *what, const char *path, int error) {
	fprintf(stderr, "diciclo-tune: cannot %s %s: %s\n", what, path, strerror(-error));
	return error == -EACCES || error == -EPERM || error == -EROFS ? 3 : 1;
}

/* What the next service will find, with {profile, path, state} beside the profile's own. */
static int print(json_t *profile, const char *path, const char *state) {
	json_object_set_new(profile, "path", json_string(path));
	json_object_set_new(profile, "state", json_string(state));
	int result = json_dumpf(profile, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
	putchar('\n');
	return result || fflush(stdout) ? 1 : 0;
}

static int show(const char *path) {
	struct dc_copy_choice choice;
	char why[256];
	json_t *profile;
	int result = dc_copy_profile_load(path, &choice, why, sizeof why, &profile);
	const char *state = result == 0 ? "used" : result == -ENOENT ? "none" : result == -ESTALE ? "other-cpu" : "unreadable";
	if (!profile) profile = json_pack("{s:[]}", "rows");
	if (result && result != -ENOENT) json_object_set_new(profile, "reason", json_string(why));
	int status = print(profile, path, state);
	json_decref(profile);
	return status;
}

static int reset(const char *path) {
	if (unlink(path) && errno != ENOENT) return fail_by("remove", path, -errno);
	return show(path);
}

static int tune(const struct options *options, const char *path) {
	json_t *profile = measure_all(options);
	if (!profile) return 1;
	int error = options->dry_run ? 0 : dc_copy_profile_store(path, profile), result = error ? fail_by("write", path, error) : print(profile, path, options->dry_run ? "not-stored" : "stored");
	json_decref(profile);
	return result;
}

int main(int argc, char **argv) {
	static const struct option known[] = {{"dry-run", no_argument, 0, 'd'}, {"show", no_argument, 0, 's'}, {"reset", no_argument, 0, 'r'}, {"rounds", required_argument, 0, 'n'}, {0}};
	struct options options = {.rounds = 60};
	for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
		switch (option) {
		case 'd': options.dry_run = true; break;
		case 's': options.show = true; break;
		case 'r': options.reset = true; break;
		case 'n': options.rounds = (unsigned)strtoul(optarg, NULL, 10); break;
		default: options.rounds = 0;
		}
	}
	if (optind != argc || !options.rounds || options.rounds > 100 || options.dry_run + options.show + options.reset > 1) {
		fprintf(stderr, "usage: diciclo-tune [--dry-run | --show | --reset] [--rounds N]     N from 1 to 100, 60 unless told\n");
		return 2;
	}
	const char *path = dc_copy_profile_path();
	return options.show ? show(path) : options.reset ? reset(path) : tune(&options, path);
}
