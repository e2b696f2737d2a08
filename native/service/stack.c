/*
 * stack.c - from an instance's plan (docs/contract.md §5) to a running stack: parse, check, build children before parents, bind, destroy in reverse; and
 * what a stack says about itself. The plan is untrusted text: bounded in size and number of nodes, acyclic by its order, and nothing is built from a node before all of
 * it is checked.
 */
#include "stack_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct dc_stack_node *stack_find(const struct dc_stack *stack, const char *id)
{
	uint32_t i;

	for (i = 0; i < stack->count; i++)
		if (!strcmp(stack->nodes[i].object.id, id))
			return &stack->nodes[i];
	return NULL;
}

/* ---- children ------------------------------------------------------------------------------------------------------------- */
static int attach_child(struct dc_stack *stack, struct dc_stack_node *node, uint32_t role, const json_t *reference, struct dc_error *error)
{
	const struct dc_role *wanted = &node->object.type->roles[role];
	const char *id = json_string_value(reference);
	struct dc_stack_node *child;

	if (!id)
		return dc_error_set(error, EINVAL, "%s: role \"%s\" holds something that is not a string, expected the id of a node", node->object.id, wanted->name);
	child = stack_find(stack, id);
	if (!child)
		return dc_error_set(error, EINVAL, "%s: role \"%s\" names \"%.64s\", which is no node before it (children come before parents)", node->object.id, wanted->name, id);
	if (child->object.type->kind != wanted->kind)
		return dc_error_set(error, EINVAL, "%s: role \"%s\" takes a libservice of kind %s, but \"%s\" (%s) is of kind %s", node->object.id, wanted->name,
			dc_kind_name(wanted->kind), child->object.id, child->object.type->name, dc_kind_name(child->object.type->kind));
	if (child->claimed || (wanted->claim && child->parents))
		return dc_error_set(error, EBUSY, "%s: \"%s\" already has a parent, and a child that its parent writes cannot be shared", node->object.id, child->object.id);
	child->parents++;
	child->claimed = wanted->claim;
	node->object.child[role][node->object.child_count[role]++] = &child->object;
	return 0;
}

static int attach_children(struct dc_stack *stack, struct dc_stack_node *node, const json_t *children, struct dc_error *error)
{
	const struct dc_type *type = node->object.type;
	const char *name;
	json_t *list;
	uint32_t role;
	size_t i;
	int result;

	if (!json_is_object(children))
		return dc_error_set(error, EINVAL, "%s: \"children\" is expected to be an object", node->object.id);
	json_object_foreach((json_t *)children, name, list) {
		for (role = 0; role < DC_ROLE_MAX && type->roles[role].name && strcmp(type->roles[role].name, name); role++)
			;
		if (role == DC_ROLE_MAX || !type->roles[role].name)
			return dc_error_set(error, EINVAL, "%s: %s has no child role \"%.64s\"", node->object.id, type->name, name);
		if (!json_is_array(list))
			return dc_error_set(error, EINVAL, "%s: role \"%s\" is expected to be a list of node ids", node->object.id, name);
		if (json_array_size(list) > type->roles[role].maximum)
			return dc_error_set(error, EINVAL, "%s: role \"%s\" has %zu children, expected at most %u", node->object.id, name, json_array_size(list), type->roles[role].maximum);
		for (i = 0; i < json_array_size(list); i++) {
			result = attach_child(stack, node, role, json_array_get(list, i), error);
			if (result)
				return result;
		}
	}
	for (role = 0; role < DC_ROLE_MAX && type->roles[role].name; role++)
		if (node->object.child_count[role] < type->roles[role].minimum)
			return dc_error_set(error, EINVAL, "%s: role \"%s\" of %s has %u children, expected at least %u", node->object.id, type->roles[role].name, type->name,
				node->object.child_count[role], type->roles[role].minimum);
	return 0;
}

/* ---- one node ------------------------------------------------------------------------------------------------------------- */
static int node_type(struct dc_modules *modules, struct dc_stack_node *node, const char *type, const char *kind, struct dc_error *error)
{
	const struct dc_module *module = dc_modules_find(modules, type);
	char missing[256] = "it is not available";

	if (!module)
		return dc_error_set(error, ENOENT, "%s: there is no libservice \"%.64s\"", node->object.id, type);
	if (!module->type)
		return dc_error_set(error, ENOENT, "%s: libservice \"%s\" could not be loaded: %s", node->object.id, module->name, module->failure);
	if (strcmp(kind, dc_kind_name(module->type->kind)))
		return dc_error_set(error, EINVAL, "%s: \"kind\" is \"%.16s\", but %s is of kind %s", node->object.id, kind, module->type->name, dc_kind_name(module->type->kind));
	if (module->type->probe && !module->type->probe(missing, sizeof missing))
		return dc_error_set(error, ENOENT, "%s: libservice \"%s\" cannot run here: %s", node->object.id, type, missing);
	node->object.type = module->type;
	return 0;
}

/* Checks plan node number stack->count and attaches its children; creates nothing. */
static int node_check(struct dc_modules *modules, struct dc_stack *stack, const json_t *plan, struct dc_error *error)
{
	static const char *const keys[] = {"id", "type", "kind", "options", "children", NULL};
	struct dc_stack_node *node = &stack->nodes[stack->count];
	const char *id = json_string_value(json_object_get(plan, "id")), *type = json_string_value(json_object_get(plan, "type"));
	const char *kind = json_string_value(json_object_get(plan, "kind"));
	char what[160];
	uint32_t role;
	int result;

	if (!json_is_object(plan) || !id || !dc_stack_name_valid(id))
		return dc_error_set(error, EINVAL, "plan: node %u has no valid \"id\" (1 to 127 printable characters)", stack->count);
	snprintf(what, sizeof what, "%s: the node", id);
	result = dc_stack_check_keys(what, plan, keys, error);
	if (result)
		return result;
	if (!type || !kind)
		return dc_error_set(error, EINVAL, "%s: \"type\" and \"kind\" are expected to be strings", id);
	if (stack_find(stack, id))
		return dc_error_set(error, EEXIST, "plan: two nodes have the id \"%s\"", id);
	snprintf(node->object.id, sizeof node->object.id, "%s", id);
	for (role = 0; role < DC_ROLE_MAX; role++)
		node->object.child[role] = &node->children[role * DC_CHILD_MAX];
	result = node_type(modules, node, type, kind, error);
	if (!result)
		result = dc_stack_check_options(id, node->object.type, json_object_get(plan, "options"), error);
	if (!result)
		result = attach_children(stack, node, json_object_get(plan, "children"), error);
	if (!result)
		node->options = json_incref(json_object_get(plan, "options"));
	return result;
}

static int node_create(const struct dc_host *host, struct dc_stack_node *node, struct dc_error *error)
{
	struct dc_options options = {node->options};
	int result;

	node->object.host = host;
	dc_stack_bind(node);
	error->message[0] = '\0';
	if (node->object.type->flags & DC_TYPE_FILTER)
		node->object.traits = node->object.child[0][0]->traits;
	result = node->object.type->create(&node->object, &options, error);
	if (!result)
		node->created = true;
	else if (!error->message[0])
		dc_error_set(error, -result, "%s: %s could not be started: %s", node->object.id, node->object.type->name, strerror(-result));
	return result;
}

/* ---- the whole plan ------------------------------------------------------------------------------------------------------- */
static int plan_check(struct dc_modules *modules, struct dc_stack *stack, struct dc_error *error)
{
	static const char *const keys[] = {"version", "instance", "root", "nodes", NULL};
	const json_t *nodes = json_object_get(stack->plan, "nodes"), *version = json_object_get(stack->plan, "version");
	const char *instance = json_string_value(json_object_get(stack->plan, "instance")), *root = json_string_value(json_object_get(stack->plan, "root"));
	uint32_t i;
	int result = dc_stack_check_keys("plan: it", stack->plan, keys, error);

	if (result)
		return result;
	if (!json_is_integer(version) || json_integer_value(version) != 1)
		return dc_error_set(error, EINVAL, "plan: \"version\" is expected to be 1");
	if (!instance || !dc_stack_name_valid(instance))
		return dc_error_set(error, EINVAL, "plan: \"instance\" is expected to be a name of 1 to 127 printable characters");
	if (!root)
		return dc_error_set(error, EINVAL, "plan: \"root\" is expected to be the id of a node");
	if (!json_is_array(nodes) || !json_array_size(nodes) || json_array_size(nodes) > DC_STACK_NODES_MAX)
		return dc_error_set(error, EINVAL, "plan: \"nodes\" is expected to be a list of 1 to %u nodes", DC_STACK_NODES_MAX);
	snprintf(stack->instance, sizeof stack->instance, "%s", instance);
	stack->nodes = calloc(json_array_size(nodes), sizeof *stack->nodes);
	if (!stack->nodes)
		return dc_error_set(error, ENOMEM, "not enough memory for a stack of %zu nodes", json_array_size(nodes));
	for (i = 0; i < json_array_size(nodes); i++) {
		result = node_check(modules, stack, json_array_get(nodes, i), error);
		if (result)
			return result;
		stack->count++;
	}
	stack->root = stack_find(stack, root);
	if (!stack->root)
		return dc_error_set(error, EINVAL, "plan: \"root\" names \"%.64s\", which is no node", root);
	if (stack->root->object.type->kind != DC_KIND_FILE)
		return dc_error_set(error, EINVAL, "plan: the root \"%s\" is of kind %s, expected file", stack->root->object.id, dc_kind_name(stack->root->object.type->kind));
	for (i = 0; i < stack->count; i++)
		if ((&stack->nodes[i] == stack->root) != !stack->nodes[i].parents)
			return dc_error_set(error, EINVAL, "plan: node \"%s\" %s", stack->nodes[i].object.id,
				stack->nodes[i].parents ? "is the root, but another node is its parent" : "is not reached from the root");
	return 0;
}

struct dc_stack *dc_stack_build(struct dc_modules *modules, const struct dc_host *host, const char *plan, size_t length, struct dc_error *error)
{
	struct dc_error ignored;
	struct dc_stack *stack;
	json_error_t fault;
	uint32_t i;

	if (!error)
		error = &ignored;
	if (length > DC_STACK_PLAN_BYTES_MAX) {
		dc_error_set(error, E2BIG, "plan: it has %zu bytes, expected at most %u", length, DC_STACK_PLAN_BYTES_MAX);
		return NULL;
	}
	stack = calloc(1, sizeof *stack);
	if (!stack) {
		dc_error_set(error, ENOMEM, "not enough memory for a stack");
		return NULL;
	}
	stack->plan = json_loadb(plan, length, JSON_REJECT_DUPLICATES, &fault);
	if (!stack->plan || !json_is_object(stack->plan)) {
		dc_error_set(error, EINVAL, "plan: it is not a JSON object (line %d: %.100s)", stack->plan ? 1 : fault.line, stack->plan ? "another value" : fault.text);
		goto fail;
	}
	if (plan_check(modules, stack, error))
		goto fail;
	for (i = 0; i < stack->count; i++)
		if (node_create(host, &stack->nodes[i], error))
			goto fail;
	return stack;
fail:
	dc_stack_destroy(stack);
	return NULL;
}

void dc_stack_destroy(struct dc_stack *stack)
{
	uint32_t i;

	if (!stack)
		return;
	for (i = stack->count; stack->nodes && i-- > 0;) {
		if (stack->nodes[i].created)
			stack->nodes[i].object.type->destroy(&stack->nodes[i].object);
		json_decref(stack->nodes[i].options);
	}
	free(stack->nodes);
	json_decref(stack->plan);
	free(stack);
}

struct dc_libservice *dc_stack_root(const struct dc_stack *stack)
{
	return &stack->root->object;
}

const char *dc_stack_instance(const struct dc_stack *stack)
{
	return stack->instance;
}

/* ---- what it says about itself -------------------------------------------------------------------------------------------- */
struct json_sink {
	struct dc_statistics_sink sink;
	json_t *object;
};

static void json_number(struct dc_statistics_sink *sink, const char *name, int64_t value)
{
	json_object_set_new(((struct json_sink *)sink)->object, name, json_integer(value));
}

static json_t *node_statistics(const struct dc_stack_node *node)
{
	struct json_sink sink = {{json_number}, json_object()};

	if (node->object.type->stat)
		node->object.type->stat((struct dc_libservice *)&node->object, &sink.sink);
	return sink.object;
}

/* `seen`: a child with several parents is written out once, later only named, so that the answer is never larger than the plan. */
static json_t *node_json(const struct dc_stack *stack, const struct dc_stack_node *node, bool *seen)
{
	const struct dc_type *type = node->object.type;
	json_t *children, *list;
	uint32_t role, i;

	if (seen[node - stack->nodes])
		return json_pack("{s:s, s:s, s:s}", "id", node->object.id, "type", type->name, "kind", dc_kind_name(type->kind));
	seen[node - stack->nodes] = true;
	children = json_object();
	for (role = 0; role < DC_ROLE_MAX && type->roles[role].name; role++) {
		list = json_array();
		for (i = 0; i < node->object.child_count[role]; i++)
			json_array_append_new(list, node_json(stack, (const struct dc_stack_node *)node->object.child[role][i], seen));
		json_object_set_new(children, type->roles[role].name, list);
	}
	return json_pack("{s:s, s:s, s:s, s:O, s:o, s:o}", "id", node->object.id, "type", type->name, "kind", dc_kind_name(type->kind), "options", node->options,
		"statistics", node_statistics(node), "children", children);
}

json_t *dc_stack_json(const struct dc_stack *stack)
{
	bool seen[DC_STACK_NODES_MAX] = {false};
	return node_json(stack, stack->root, seen);
}

json_t *dc_stack_statistics(const struct dc_stack *stack)
{
	json_t *layers = json_array();
	uint32_t i;

	for (i = stack->count; i-- > 0;)
		json_array_append_new(layers, json_pack("{s:s, s:s, s:o}", "id", stack->nodes[i].object.id, "type", stack->nodes[i].object.type->name,
			"statistics", node_statistics(&stack->nodes[i])));
	return layers;
}

void dc_stack_reset(struct dc_stack *stack)
{
	uint32_t i;

	for (i = 0; i < stack->count; i++)
		if (stack->nodes[i].object.type->stat_reset)
			stack->nodes[i].object.type->stat_reset(&stack->nodes[i].object);
}
