/* plans.c - the plan is untrusted: wrong ones are refused with a sentence that names what is wrong, and none breaks anything. */
#include "special.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOCAL "{\"id\":\"l\",\"type\":\"local\",\"kind\":\"file\",\"options\":{\"path\":\"/tmp\",\"readOnly\":false},\"children\":{}}"
#define PASS(id, below) "{\"id\":\"" id "\",\"type\":\"passthrough\",\"kind\":\"file\",\"options\":{},\"children\":{\"below\":[" below "]}}"
#define CACHE(size, mode, ttl) \
	"{\"id\":\"c\",\"type\":\"cache\",\"kind\":\"file\",\"options\":{\"size\":" size ",\"mode\":" mode ",\"ttl\":" ttl "},\"children\":{\"below\":[\"l\"]}}"
#define PLAN(root, nodes) "{\"version\":1,\"instance\":\"i\",\"root\":\"" root "\",\"nodes\":[" nodes "]}"

static const struct { const char *plan, *says; } wrong[] = {
	{"", "not a JSON object"},
	{"[]", "not a JSON object"},
	{"{\"version\":1,\"version\":1}", "not a JSON object"},
	{"{}", "lacks \"version\""},
	{"{\"version\":2,\"instance\":\"i\",\"root\":\"l\",\"nodes\":[" LOCAL "]}", "\"version\" is expected to be 1"},
	{"{\"version\":1,\"instance\":\"i\",\"root\":\"l\",\"nodes\":[" LOCAL "],\"more\":1}", "unknown key \"more\""},
	{"{\"version\":1,\"instance\":\"\",\"root\":\"l\",\"nodes\":[" LOCAL "]}", "\"instance\" is expected"},
	{"{\"version\":1,\"instance\":\"i\",\"root\":7,\"nodes\":[" LOCAL "]}", "\"root\" is expected"},
	{PLAN("l", ""), "1 to 256 nodes"},
	{PLAN("x", LOCAL), "\"x\", which is no node"},
	{PLAN("l", LOCAL "," LOCAL), "two nodes have the id \"l\""},
	{PLAN("l", "7"), "no valid \"id\""},
	{PLAN("l", "{\"id\":\"a b\"}"), "no valid \"id\""},
	{PLAN("l", "{\"id\":\"l\",\"type\":\"local\",\"kind\":\"file\",\"options\":{}}"), "lacks \"children\""},
	{PLAN("l", "{\"id\":\"l\",\"type\":\"nosuch\",\"kind\":\"file\",\"options\":{},\"children\":{}}"), "no libservice \"nosuch\""},
	{PLAN("l", "{\"id\":\"l\",\"type\":\"local\",\"kind\":\"block\",\"options\":{},\"children\":{}}"), "local is of kind file"},
	{PLAN("l", "{\"id\":\"l\",\"type\":\"local\",\"kind\":\"file\",\"options\":[],\"children\":{}}"), "\"options\" is a list"},
	{PLAN("l", "{\"id\":\"l\",\"type\":\"local\",\"kind\":\"file\",\"options\":{\"path\":\"/tmp\"},\"children\":{}}"), "option \"readOnly\" of local is missing"},
	{PLAN("l", "{\"id\":\"l\",\"type\":\"local\",\"kind\":\"file\",\"options\":{\"path\":1,\"readOnly\":false},\"children\":{}}"), "option \"path\" is an integer, expected a string"},
	{PLAN("l", "{\"id\":\"l\",\"type\":\"local\",\"kind\":\"file\",\"options\":{\"path\":\"\",\"readOnly\":false},\"children\":{}}"), "expected a path"},
	{PLAN("l", "{\"id\":\"l\",\"type\":\"local\",\"kind\":\"file\",\"options\":{\"path\":\"tmp\",\"readOnly\":false},\"children\":{}}"), "expected an absolute path"},
	{PLAN("l", "{\"id\":\"l\",\"type\":\"local\",\"kind\":\"file\",\"options\":{\"path\":\"/no/such\",\"readOnly\":false},\"children\":{}}"), "expected an existing directory"},
	{PLAN("l", "{\"id\":\"l\",\"type\":\"local\",\"kind\":\"file\",\"options\":{\"path\":\"/etc/passwd\",\"readOnly\":false},\"children\":{}}"), "expected an existing directory"},
	{PLAN("l", "{\"id\":\"l\",\"type\":\"local\",\"kind\":\"file\",\"options\":{\"path\":\"/tmp\",\"readOnly\":0},\"children\":{}}"), "expected true or false"},
	{PLAN("l", "{\"id\":\"l\",\"type\":\"local\",\"kind\":\"file\",\"options\":{\"path\":\"/tmp\",\"readOnly\":false,\"speed\":9},\"children\":{}}"), "local has no option \"speed\""},
	{PLAN("l", "{\"id\":\"l\",\"type\":\"local\",\"kind\":\"file\",\"options\":{\"path\":\"/tmp\",\"readOnly\":false},\"children\":{\"below\":[]}}"), "local has no child role \"below\""},
	{PLAN("p", PASS("p", "\"l\"") "," LOCAL), "children come before parents"},
	{PLAN("p", LOCAL "," PASS("p", "")), "expected at least 1"},
	{PLAN("p", LOCAL "," PASS("p", "\"l\",\"l\"")), "expected at most 1"},
	{PLAN("p", LOCAL "," PASS("p", "\"p\"")), "which is no node before it"},
	{PLAN("p", LOCAL "," PASS("p", "9")), "expected the id of a node"},
	{PLAN("q", LOCAL "," PASS("p", "\"l\"") "," PASS("q", "\"l\"")), "already has a parent"},
	{PLAN("l", LOCAL "," PASS("p", "\"l\"")), "is the root, but another node is its parent"},
	{PLAN("l", LOCAL ",{\"id\":\"m\",\"type\":\"local\",\"kind\":\"file\",\"options\":{\"path\":\"/tmp\",\"readOnly\":false},\"children\":{}}"), "not reached from the root"},
	{PLAN("c", LOCAL "," CACHE("1000", "\"write-through\"", "0")), "option \"size\" is 1000, expected at least 1048576"},
	{PLAN("c", LOCAL "," CACHE("9000000000000000000", "\"write-through\"", "0")), "expected at most"},
	{PLAN("c", LOCAL "," CACHE("1048576.5", "\"write-through\"", "0")), "option \"size\" is a fraction, expected a size in bytes"},
	{PLAN("c", LOCAL "," CACHE("1048576", "\"write-around\"", "0")), "expected one of \"write-back\", \"write-through\""},
	{PLAN("c", LOCAL "," CACHE("1048576", "\"write-through\"", "-1")), "not negative"},
	{PLAN("c", LOCAL "," CACHE("1048576", "\"write-through\"", "\"1s\"")), "a duration in milliseconds"},
};

static const char *check_wrong(struct stand *stand)
{
	struct dc_error error;
	struct dc_stack *stack;
	size_t i;

	for (i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		memset(&error, 0, sizeof error);
		stack = stand_build(stand, wrong[i].plan, &error);
		if (stack) {
			dc_stack_destroy(stack);
			return fault("this plan was accepted: %s", wrong[i].plan);
		}
		if (!error.code || !strstr(error.message, wrong[i].says))
			return fault("expected a message with '%s', got %d '%s'", wrong[i].says, error.code, error.message);
	}
	return NULL;
}

/* Bytes changed, removed and doubled at random: refused or built, never worse. */
static void mutate(char *plan, size_t size, unsigned *seed)
{
	static const char interesting[] = "{}[]\",:0123456789-.eE\\ultrnf\x80\xff\x01";
	unsigned times = 1 + (unsigned)rand_r(seed) % 4;

	while (times--) {
		size_t length = strlen(plan), at = (size_t)rand_r(seed) % (length + 1), bytes = (size_t)rand_r(seed) % 20;
		switch (rand_r(seed) % 3) {
		case 0:
			if (at < length)
				plan[at] = interesting[(size_t)rand_r(seed) % (sizeof interesting - 1)];
			break;
		case 1:
			if (at + bytes < length)
				memmove(plan + at, plan + at + bytes, length - at - bytes + 1);
			break;
		default:
			if (at + bytes < length && length + bytes + 1 < size)
				memmove(plan + at + bytes, plan + at, length - at + 1);
		}
	}
}

static const char *fuzz(struct stand *stand, const char *path)
{
	char *plan = stand_plan("cache-passthrough", path), copy[4096];
	unsigned seed = 11;
	int i;

	for (i = 0; i < 4000; i++) {
		struct dc_error error = {0};
		struct dc_stack *stack;
		snprintf(copy, sizeof copy, "%s", plan);
		mutate(copy, sizeof copy, &seed);
		stack = stand_build(stand, copy, &error);
		if (stack)
			dc_stack_destroy(stack);
		else if (!error.code || !error.message[0])
			return fault("refused without a word: %s", copy);
	}
	free(plan);
	return NULL;
}

/* As many nodes as there may be, and one more. */
static const char *chain(struct stand *stand, const char *path)
{
	unsigned count, i;

	for (count = 256; count <= 257; count++) {
		static char plan[65536];
		struct dc_error error = {0};
		struct dc_stack *stack;
		int at = snprintf(plan, sizeof plan, "{\"version\":1,\"instance\":\"i\",\"root\":\"p%u\",\"nodes\":[{\"id\":\"p1\",\"type\":\"local\",\"kind\":\"file\","
			"\"options\":{\"path\":\"%s\",\"readOnly\":false},\"children\":{}}", count, path);
		for (i = 2; i <= count; i++)
			at += snprintf(plan + at, sizeof plan - (size_t)at,
				",{\"id\":\"p%u\",\"type\":\"passthrough\",\"kind\":\"file\",\"options\":{},\"children\":{\"below\":[\"p%u\"]}}", i, i - 1);
		snprintf(plan + at, sizeof plan - (size_t)at, "]}");
		stack = stand_build(stand, plan, &error);
		if (!stack != (count > 256))
			return fault("a chain of %u nodes: %s", count, error.message);
		if (stack) {
			json_t *json = dc_stack_json(stack);
			if (!json)
				return "a deep stack cannot be shown";
			json_decref(json);
			dc_stack_destroy(stack);
		}
	}
	return NULL;
}

const char *special_plans(const char *modules, const char *shape, const char *directory)
{
	struct stand stand;
	const char *wrong_plan;
	json_t *description;

	stand_open(&stand, modules, "local", directory);
	wrong_plan = check_wrong(&stand);
	if (!wrong_plan)
		wrong_plan = fuzz(&stand, directory);
	if (!wrong_plan)
		wrong_plan = chain(&stand, directory);
	description = dc_modules_describe(stand.modules);
	if (!wrong_plan && json_array_size(json_object_get(description, "libservices")) < 4)
		wrong_plan = "the description lacks libservices";
	json_decref(description);
	stand_close(&stand);
	return wrong_plan;
}
