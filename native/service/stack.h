/*
 * stack.h - from an instance's plan (docs/contract.md §5) to a running stack of libservices.
 * Loads modules, checks the plan against their tables, builds children before parents, binds operations, destroys in reverse.
 */
#ifndef DICICLO_SERVICE_STACK_H
#define DICICLO_SERVICE_STACK_H

#include <diciclo/libservice.h>
#include <jansson.h>

struct dc_modules; /* the modules of one directory */
struct dc_stack;   /* one instance's tree */

/* Opens every `*.so` of `directory`. A module that cannot be loaded costs that libservice alone: it stays listed with the reason. */
struct dc_modules *dc_modules_load(const char *directory, struct dc_error *error);
void dc_modules_unload(struct dc_modules *modules);
json_t *dc_modules_describe(const struct dc_modules *modules); /* docs/contract.md §7; caller owns */

/* NULL on error. `plan` is untrusted text of `length` bytes. */
struct dc_stack *dc_stack_build(struct dc_modules *modules, const struct dc_host *host, const char *plan, size_t length, struct dc_error *error);
void dc_stack_destroy(struct dc_stack *stack);
struct dc_libservice *dc_stack_root(const struct dc_stack *stack);
bool dc_stack_believes(const struct dc_libservice *root); /* it says until when its answers may be kept (`believed`) */
const char *dc_stack_instance(const struct dc_stack *stack);
json_t *dc_stack_json(const struct dc_stack *stack);       /* `root` of the `stack` answer, §4 */
json_t *dc_stack_statistics(const struct dc_stack *stack); /* `layers` of §6 */
void dc_stack_reset(struct dc_stack *stack);

#endif
