/*
 * walk.h - paths of requests to nodes, as path_resolution(7): symbolic links, "." and "..", search permission on every directory for those who are not root.
 */
#ifndef DICICLO_SERVICE_WALK_H
#define DICICLO_SERVICE_WALK_H

#include "instance.h"
#include "protocol.h"
#include "stamps.h"

struct dc_walk {
	struct dc_instance *instance;
	struct dc_context *context;
	struct dc_trail *trail;       /* NULL after dc_walk_begin: no lease is asked for */
	struct dc_node *at;           /* referenced directory where `rest` goes on */
	char rest[2 * DC_PATH_MAX];
	size_t rest_length;
	unsigned links;
	uint32_t scope;               /* DC_PATH_SCOPE of the request */
	struct dc_node *base;         /* referenced while `scope` is not 0: where the walk began */
	char name[DC_NAME_MAX + 1];   /* dc_walk_parent: the last component */
	bool directory;               /* it had a trailing slash */
	char leaves[2 * DC_PATH_MAX]; /* with DC_RESULT_LEAVES: the absolute path to go on with */
};

/* Starts at `base` (a reference is taken). 0 or -ENAMETOOLONG. */
int dc_walk_begin(struct dc_walk *walk, struct dc_instance *instance, struct dc_context *context, struct dc_node *base, const char *path, size_t length);
void dc_walk_end(struct dc_walk *walk);
/* Right after the begin: how far the walk may go (openat2(2)). -EXDEV and -ELOOP as there, DC_RESULT_KERNEL where only the kernel can tell. */
void dc_walk_confine(struct dc_walk *walk, uint32_t scope);
/* All of it. `follow`: a symbolic link in the last component too. On 0 *node is referenced and *attr (may be NULL) filled. */
int dc_walk_full(struct dc_walk *walk, bool follow, struct dc_node **node, struct dc_attr *attr);
/*
 * All but the last component: walk->at is the directory, walk->name the component. -EEXIST-like cases of a path that names the root, "." or "..": answers `dot` (an errno of the
 * caller's choice, negative).
 */
int dc_walk_parent(struct dc_walk *walk, int dot);
/* The last component turned out to be a symbolic link `link` (below walk->at): go on with what it says; then dc_walk_parent again. */
int dc_walk_link(struct dc_walk *walk, struct dc_node *link);

/* Permission bits R_OK|W_OK|X_OK of `attr` for the caller: 0 or -EACCES (POSIX 4.7, capabilities(7) DAC_OVERRIDE for uid 0). */
int dc_access_check(const struct dc_cred *cred, const struct dc_attr *attr, int mask);
bool dc_cred_in_group(const struct dc_cred *cred, gid_t gid);

#endif
