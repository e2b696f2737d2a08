/* stand.c - see stand.h. It stands in for the service: cache memory, log, and workers that never block. */
#include "stand.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void dc_block_begin(struct dc_context *context) {}
void dc_block_begin_briefly(struct dc_context *context) {}
void dc_block_end(struct dc_context *context) {}

/* ---- cache memory: as the service gives it, sealed memfds ------------------------------------------------------------------------------- */
#define REGIONS 256
static struct { void *address; size_t bytes; int descriptor; } regions[REGIONS];
static pthread_mutex_t regions_lock = PTHREAD_MUTEX_INITIALIZER;

static void *region_get(const struct dc_host *host, size_t bytes, uint32_t *region)
{
	void *address = NULL;
	uint32_t i;

	pthread_mutex_lock(&regions_lock);
	for (i = 0; i < REGIONS && regions[i].address; i++)
		;
	if (i < REGIONS) {
		int descriptor = memfd_create("test-cache", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		if (descriptor < 0 || ftruncate(descriptor, (off_t)bytes))
			abort();
		address = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
		if (address == MAP_FAILED)
			abort();
		regions[i].address = address;
		regions[i].bytes = bytes;
		regions[i].descriptor = descriptor;
		*region = i;
	}
	pthread_mutex_unlock(&regions_lock);
	if (!address)
		errno = ENOMEM;
	return address;
}

static void region_release(const struct dc_host *host, uint32_t region)
{
	pthread_mutex_lock(&regions_lock);
	munmap(regions[region].address, regions[region].bytes);
	close(regions[region].descriptor);
	regions[region].address = NULL;
	pthread_mutex_unlock(&regions_lock);
}

int64_t stand_region_bytes(void)
{
	int64_t bytes = 0;
	struct stat status;
	uint32_t i;

	pthread_mutex_lock(&regions_lock);
	for (i = 0; i < REGIONS; i++)
		if (regions[i].address && !fstat(regions[i].descriptor, &status))
			bytes += (int64_t)status.st_blocks * 512;
	pthread_mutex_unlock(&regions_lock);
	return bytes;
}

__attribute__((format(printf, 3, 4))) static void stand_log(const struct dc_host *host, int priority, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
}

/* ---- who asks ------------------------------------------------------------------------------------------------------------- */
static _Thread_local struct dc_cred credentials;
static _Thread_local struct dc_context context;

struct dc_context *stand_context(void)
{
	context.cred = &credentials;
	return &context;
}

void stand_credentials(uid_t uid, gid_t gid)
{
	credentials.uid = uid;
	credentials.gid = gid;
}

/* ---- stacks --------------------------------------------------------------------------------------------------------------- */
const char *const stand_shapes[] = {"local", "passthrough", "cache", "cache-passthrough", "cache-small", "cache-ttl0", NULL};

static const char *cache_node(const char *shape)
{
	if (!strcmp(shape, "cache-small"))
		return "\"size\": 1048576, \"ttl\": 1000";
	if (!strcmp(shape, "cache-ttl0"))
		return "\"size\": 16777216, \"ttl\": 0";
	if (!strcmp(shape, "cache-fault") || !strcmp(shape, "cache-brief"))
		return "\"size\": 4194304, \"ttl\": 50";
	return "\"size\": 67108864, \"ttl\": 1000";
}

char *stand_plan(const char *shape, const char *path)
{
	bool cached = !strncmp(shape, "cache", 5), passes = strstr(shape, "passthrough"), fails = strstr(shape, "fault");
	const char *below = passes || fails ? "t.1" : "t.0", *root = cached ? "t.2" : below;
	char *plan = NULL, middle[256] = "", top[512] = "";

	if (passes || fails)
		snprintf(middle, sizeof middle, ", {\"id\": \"t.1\", \"type\": \"%s\", \"kind\": \"file\", \"options\": {}, \"children\": {\"below\": [\"t.0\"]}}",
			passes ? "passthrough" : "testfault");
	if (cached)
		snprintf(top, sizeof top, ", {\"id\": \"t.2\", \"type\": \"cache\", \"kind\": \"file\", \"options\": {%s, \"mode\": \"write-through\"}, "
			"\"children\": {\"below\": [\"%s\"]}}", cache_node(shape), below);
	if (asprintf(&plan, "{\"version\": 1, \"instance\": \"test\", \"root\": \"%s\", \"nodes\": [{\"id\": \"t.0\", \"type\": \"local\", \"kind\": \"file\", "
		"\"options\": {\"path\": \"%s\", \"readOnly\": %s}, \"children\": {}}%s%s]}", root, path, strstr(shape, "readonly") ? "true" : "false", middle, top) < 0)
		abort();
	return plan;
}

struct dc_stack *stand_build(struct stand *stand, const char *plan, struct dc_error *error)
{
	return dc_stack_build(stand->modules, &stand->host, plan, strlen(plan), error);
}

void stand_open(struct stand *stand, const char *modules, const char *shape, const char *path)
{
	struct dc_error error = {0};
	char *plan = stand_plan(shape, path);

	memset(stand, 0, sizeof *stand);
	stand->host = (struct dc_host){.struct_size = sizeof stand->host, .cache_region = region_get, .cache_release = region_release, .log = stand_log, .epoch = 1};
	stand->modules = dc_modules_load(modules, &error);
	stand->stack = stand->modules ? stand_build(stand, plan, &error) : NULL;
	free(plan);
	if (!stand->stack) {
		fprintf(stderr, "%s: %s\n", shape, error.message);
		exit(1);
	}
	stand->top = dc_stack_root(stand->stack);
	if (CALL(stand, root, &stand->root))
		abort();
}

void stand_close(struct stand *stand)
{
	FORGET(stand, stand->root, 1);
	dc_stack_destroy(stand->stack);
	dc_modules_unload(stand->modules);
}

int64_t stand_statistic(struct stand *stand, const char *type, const char *name)
{
	json_t *layers = dc_stack_statistics(stand->stack), *layer, *value = NULL;
	int64_t number;
	size_t i;

	json_array_foreach(layers, i, layer)
		if (!strcmp(json_string_value(json_object_get(layer, "type")), type))
			value = json_object_get(json_object_get(layer, "statistics"), name);
	number = value ? json_integer_value(value) : -1;
	json_decref(layers);
	return number;
}
