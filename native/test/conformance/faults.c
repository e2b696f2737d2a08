/* faults.c - a child that fails, below the cache: errors surface, and nothing is kept of what failed. */
#include "special.h"
#include "testfault.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *module;

static struct testfault_rules *rules_of(const char *modules)
{
	char path[4352];

	snprintf(path, sizeof path, "%s/testfault.so", modules);
	module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	return module ? dlsym(module, "testfault_rules") : NULL;
}

static const char *with_rules(const char *modules, const char *directory, const char *(*run)(struct stand *, struct testfault_rules *))
{
	struct testfault_rules *rules = rules_of(modules);
	const char *wrong;
	struct stand stand;

	EXPECT(rules);
	memset(rules, 0, sizeof *rules);
	stand_open(&stand, modules, "cache-fault", directory);
	wrong = run(&stand, rules);
	memset(rules, 0, sizeof *rules);
	stand_close(&stand);
	dlclose(module);
	return wrong;
}

static const char *write_faults(struct stand *stand, struct testfault_rules *rules)
{
	struct dc_node *node = make_file(stand, "f", 20000, 1);
	static char two[20000];
	struct dc_attr attr;

	memset(two, 2, sizeof two);
	EXPECT(is_pattern(stand, node, 20000, 0, 1));
	rules->write = ENOSPC;
	EXPECT(write_at(stand, node, two, 20000, 0) == -ENOSPC);
	EXPECT(write_at(stand, node, two, 4096, 4096) == -ENOSPC);
	EXPECT(write_at(stand, node, two, 10, 19995) == -ENOSPC);
	EXPECT(is_pattern(stand, node, 20000, 0, 1));
	EXPECT(!CALL(stand, getattr, node, &attr) && attr.st.st_size == 20000);
	rules->write = 0;
	rules->short_write = 1000;
	EXPECT(write_at(stand, node, two, 8192, 4096) == 1000);
	EXPECT(is_pattern(stand, node, 4096, 0, 1) && is_pattern(stand, node, 1000, 4096, 2) && is_pattern(stand, node, 14904, 5096, 1));
	EXPECT(write_at(stand, node, two, 5000, 19500) == 1000);
	EXPECT(!CALL(stand, getattr, node, &attr) && attr.st.st_size == 20500);
	EXPECT(is_pattern(stand, node, 1000, 19500, 2));
	rules->short_write = 0;
	drop_file(stand, node);
	return NULL;
}

/* The same of writes that go past the pages: nothing old is found behind them. */
static const char *long_write_faults(struct stand *stand, struct testfault_rules *rules)
{
	static char data[300000];
	struct dc_node *node = make_file(stand, "f", 300000, 1);
	struct dc_attr attr;

	memset(data, 2, sizeof data);
	EXPECT(write_at(stand, node, data, 300000, 0) == 300000 && write_at(stand, node, data, 300000, 0) == 300000);
	EXPECT(stand_statistic(stand, "cache", "bypassedBytes") >= 300000);
	memset(data, 3, sizeof data);
	rules->write = ENOSPC;
	EXPECT(write_at(stand, node, data, 300000, 0) == -ENOSPC);
	EXPECT(is_pattern(stand, node, 300000, 0, 2));
	rules->write = 0;
	EXPECT(write_at(stand, node, data, 300000, 0) == 300000 && write_at(stand, node, data, 300000, 0) == 300000);
	memset(data, 4, sizeof data);
	rules->short_write = 1000;
	EXPECT(write_at(stand, node, data, 300000, 100) == 1000);
	EXPECT(is_pattern(stand, node, 100, 0, 3) && is_pattern(stand, node, 1000, 100, 4) && is_pattern(stand, node, 298900, 1100, 3));
	EXPECT(write_at(stand, node, data, 300000, 299500) == 1000);
	EXPECT(!CALL(stand, getattr, node, &attr) && attr.st.st_size == 300500);
	rules->short_write = 0;
	drop_file(stand, node);
	return NULL;
}

const char *special_long_write_faults(const char *modules, const char *shape, const char *directory) { return with_rules(modules, directory, long_write_faults); }

const char *special_write_faults(const char *modules, const char *shape, const char *directory) { return with_rules(modules, directory, write_faults); }

static const char *read_faults(struct stand *stand, struct testfault_rules *rules)
{
	struct dc_node *node = make_file(stand, "f", 40000, 1);
	static char buffer[65536];

	CALL(stand, fsync, node, false);
	rules->fsync = EIO; /* drops the pages, so that reads must go below */
	EXPECT(CALL(stand, fsync, node, false) == -EIO);
	rules->fsync = 0;
	rules->read = EIO;
	EXPECT(read_at(stand, node, buffer, 10, 0) == -EIO);
	EXPECT(read_at(stand, node, buffer, 40000, 0) == -EIO);
	rules->read = 0;
	EXPECT(is_pattern(stand, node, 10000, 0, 1));
	rules->read = EIO;
	EXPECT(is_pattern(stand, node, 8000, 0, 1)); /* what is cached needs no child */
	EXPECT(read_at(stand, node, buffer, 65536, 0) > 0); /* what came before the error counts */
	rules->read = 0;
	EXPECT(is_pattern(stand, node, 40000, 0, 1));
	drop_file(stand, node);
	return NULL;
}

const char *special_read_faults(const char *modules, const char *shape, const char *directory) { return with_rules(modules, directory, read_faults); }

static const char *fsync_faults(struct stand *stand, struct testfault_rules *rules)
{
	struct dc_node *node = make_file(stand, "f", 10000, 1);
	unsigned before = rules->fsyncs, reads = rules->reads;

	EXPECT(CALL(stand, fsync, node, false) == 0 && CALL(stand, fsync, node, true) == 0);
	EXPECT(rules->fsyncs == before + 2);
	EXPECT(is_pattern(stand, node, 10000, 0, 1) && rules->reads == reads);
	rules->fsync = EIO;
	EXPECT(CALL(stand, fsync, node, false) == -EIO);
	EXPECT(CALL(stand, fsync, node, true) == -EIO);
	rules->fsync = 0;
	EXPECT(is_pattern(stand, node, 10000, 0, 1) && rules->reads > reads); /* the pages were dropped */
	drop_file(stand, node);
	return NULL;
}

const char *special_fsync_faults(const char *modules, const char *shape, const char *directory) { return with_rules(modules, directory, fsync_faults); }

/* The child is out of descriptors: idle nodes are let go, and the call is tried again. */
static const char *child_short(struct stand *stand, struct testfault_rules *rules)
{
	struct dc_node *node;
	char name[32];
	int i;

	for (i = 0; i < 200; i++) {
		snprintf(name, sizeof name, "f%d", i);
		drop_file(stand, make_file(stand, name, 10, i));
	}
	EXPECT(stand_statistic(stand, "local", "nodes") == 201);
	rules->lookup_once = ENFILE;
	EXPECT(!find(stand, "none", &node, NULL) || node);
	FORGET(stand, node, 1);
	EXPECT(stand_statistic(stand, "local", "nodes") < 201);
	rules->lookup_once = EIO;
	EXPECT(find_only(stand, "other") == -EIO);
	return NULL;
}

const char *special_child_short(const char *modules, const char *shape, const char *directory) { return with_rules(modules, directory, child_short); }

/* Within the time to live, what is known is not asked for again: the point of the whole. */
static const char *asks_nobody(struct stand *stand, struct testfault_rules *rules)
{
	struct dc_node *directory, *node;
	struct dc_attr attr;
	unsigned lookups, getattrs, reads;
	int i;

	EXPECT(!CALL(stand, mkdir, stand->root, "d", 0755, &directory, NULL));
	FORGET(stand, directory, 1);
	node = make_file(stand, "f", 9000, 1);
	EXPECT(find_only(stand, "d/none") == -ENOENT && find_only(stand, "none/x") == -ENOENT && !find_only(stand, "d"));
	EXPECT(!CALL(stand, getattr, node, &attr));
	lookups = rules->lookups, getattrs = rules->getattrs, reads = rules->reads;
	for (i = 0; i < 100; i++) {
		EXPECT(find_only(stand, "d/none") == -ENOENT && find_only(stand, "none/x") == -ENOENT && !find_only(stand, "f") && !find_only(stand, "d"));
		EXPECT(!CALL(stand, getattr, node, &attr) && attr.st.st_size == 9000);
		EXPECT(is_pattern(stand, node, 9000, 0, 1));
	}
	/* The time to live may pass once or twice on a busy machine. */
	EXPECT(rules->lookups - lookups < 30 && rules->getattrs - getattrs < 30 && rules->reads == reads);
	drop_file(stand, node);
	/* Nor what was just made, and whether a file has other names when its only one goes. */
	lookups = rules->lookups, getattrs = rules->getattrs;
	for (i = 0; i < 100; i++) {
		EXPECT(find_only(stand, "made") == -ENOENT && !CALL(stand, create, stand->root, "made", 0600, O_RDWR, &node, &attr));
		CALL(stand, close, node, O_RDWR);
		EXPECT(!find_only(stand, "made") && !CALL(stand, unlink, stand->root, "made"));
		EXPECT(i % 10 || (!CALL(stand, getattr, node, &attr) && attr.st.st_nlink == 0));
		FORGET(stand, node, 1);
	}
	EXPECT(rules->lookups - lookups < 30 && rules->getattrs - getattrs < 40);
	EXPECT(stand_statistic(stand, "local", "nodes") < 10); /* and none is kept */
	return NULL;
}

const char *special_asks_nobody(const char *modules, const char *shape, const char *directory) { return with_rules(modules, directory, asks_nobody); }
