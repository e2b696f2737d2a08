/* special.h - the tests without an oracle, by file; special.c lists those of its own, plans.c and faults.c, stress.c its own. */
#ifndef DICICLO_SPECIAL_H
#define DICICLO_SPECIAL_H

#include "target.h"

const char *fault(const char *format, ...) __attribute__((format(printf, 1, 2))); /* the message of a failed test; not freed */
#define EXPECT(condition) \
	do { \
		if (!(condition)) \
			return fault("%s:%d: %s", __FILE__, __LINE__, #condition); \
	} while (0)

/* Short forms on a stand. Data is one pattern byte. */
struct dc_node *make_file(struct stand *stand, const char *name, size_t bytes, int pattern); /* open for writing, referenced */
void drop_file(struct stand *stand, struct dc_node *node);
int find(struct stand *stand, const char *path, struct dc_node **node, struct dc_attr *attr); /* forget it if *node */
int find_only(struct stand *stand, const char *path); /* the result alone */
ssize_t read_at(struct stand *stand, struct dc_node *node, void *buffer, size_t bytes, off_t offset);
ssize_t write_at(struct stand *stand, struct dc_node *node, const void *buffer, size_t bytes, off_t offset);
bool is_pattern(struct stand *stand, struct dc_node *node, size_t bytes, off_t offset, int pattern);
int set_size(struct stand *stand, struct dc_node *node, off_t size);

const char *special_plans(const char *modules, const char *shape, const char *directory);
const char *special_write_faults(const char *modules, const char *shape, const char *directory);
const char *special_long_write_faults(const char *modules, const char *shape, const char *directory);
const char *special_read_faults(const char *modules, const char *shape, const char *directory);
const char *special_fsync_faults(const char *modules, const char *shape, const char *directory);
const char *special_child_short(const char *modules, const char *shape, const char *directory);
const char *special_asks_nobody(const char *modules, const char *shape, const char *directory);

#endif
