/* stand.h - a stack of libservices on a test stand: without workers, doors or shared memory. */
#ifndef DICICLO_STAND_H
#define DICICLO_STAND_H

#include "../../service/stack.h"

struct stand {
	struct dc_modules *modules;
	struct dc_stack *stack;
	struct dc_libservice *top;
	struct dc_node *root;
	struct dc_host host;
};

extern const char *const stand_shapes[]; /* NULL-terminated: "local", "passthrough", "cache" ... */

/* `modules`: the directory of the built modules; `shape` over the host directory `path`. Ends the program when it cannot. */
void stand_open(struct stand *stand, const char *modules, const char *shape, const char *path);
void stand_close(struct stand *stand);
struct dc_stack *stand_build(struct stand *stand, const char *plan, struct dc_error *error);
char *stand_plan(const char *shape, const char *path); /* free it */
int64_t stand_statistic(struct stand *stand, const char *type, const char *name); /* -1: there is none */
int64_t stand_region_bytes(void); /* cache memory that the system really holds */
struct dc_context *stand_context(void); /* of this thread; root until changed */
void stand_credentials(uid_t uid, gid_t gid);

#define CALL(stand, operation, ...) DC_FILE_CALL((stand)->top, operation, stand_context(), __VA_ARGS__)
#define FORGET(stand, node, count) DC_FILE_CALL((stand)->top, forget, node, count)

#endif
