/*
 * nested_test.c - an instance mounted inside another: a path that comes to its mount point by a symbolic link, by ".." or from a directory goes on there, as in the kernel.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "harness.h"
#include "steps.h"

/* Where a path of instance `instance`, from directory `handle`, leaves it to; "" when it does not. */
static const char *leads(struct dc_client *client, uint32_t instance, uint64_t handle, uint16_t operation, const char *path) {
	static char text[8192];
	struct call call = {.instance = instance, .operation = operation, .handle = handle, .path = path, .path2 = operation == DC_OP_RENAME ? "elsewhere" : NULL, .mode = 0755, .out = text};
	text[0] = 0;
	return harness_call(client, &call) == DC_RESULT_LEAVES ? text : "";
}
#define LEADS(to, ...) do { const char *to_ = leads(client, __VA_ARGS__); if (strcmp(to_, to)) fprintf(stderr, "  leads to \"%s\"\n", to_ ? to_ : "nothing"); check(!strcmp(to_, to), #__VA_ARGS__ " leads to " #to, 0); } while (0)

static void make(struct dc_client *client) {
	EXPECT(0, simple(client, DC_OP_MKDIR, "a", 0755));
	EXPECT(0, simple(client, DC_OP_MKDIR, "a/sub", 0755));
	EXPECT(0, simple(client, DC_OP_MKDIR, "a/sub/below", 0755));
	EXPECT(0, simple(client, DC_OP_MKDIR, "a/other", 0755));
	EXPECT(0, two(client, DC_OP_SYMLINK, "link", "a/sub", 0));
	EXPECT(0, two(client, DC_OP_SYMLINK, "a/deep", "./sub/x", 0));
	EXPECT(0, two(client, DC_OP_SYMLINK, "a/other/up", "../sub", 0));
}

static void mounted(struct dc_client *client, uint64_t a, uint64_t covered) {
	LEADS("/data/a/sub", 1, 0, DC_OP_STAT, "link");
	LEADS("/data/a/sub/", 1, 0, DC_OP_STAT, "link/");
	LEADS("/data/a/sub/x/y", 1, 0, DC_OP_STAT, "link/x/y");
	LEADS("/data/a/sub/x", 1, 0, DC_OP_STAT, "a/deep");
	LEADS("/data/a/sub/../x", 1, 0, DC_OP_STAT, "link/../x");
	LEADS("/data/a/sub/x", 1, 0, DC_OP_MKDIR, "link/x");
	LEADS("/data/a/sub/x", 1, 0, DC_OP_RENAME, "link/x");
	LEADS("/data/a/sub/f", 1, 0, DC_OP_STAT, "a/other/up/f");
	LEADS("/data/a/sub/f", 1, a, DC_OP_STAT, "sub/f");
	LEADS("/data/a/sub", 1, a, DC_OP_STAT, "other/../sub");
	LEADS("/data/a/sub/../..", 1, 0, DC_OP_STAT, "link/../..");
	struct call nofollow = {.operation = DC_OP_STAT, .path = "link", .flags = DC_PATH_NOFOLLOW};
	EXPECT(0, harness_call(client, &nofollow));
	/* Who was in the covered directory before stays in it; ".." to it from below is where the mount is. */
	struct call inside = {.operation = DC_OP_STAT, .handle = covered, .path = "below"};
	EXPECT(0, harness_call(client, &inside));
	LEADS("/data/a/sub/f", 1, covered, DC_OP_STAT, "below/../f");
	LEADS("", 1, a, DC_OP_STAT, "other");
	struct call root = {.instance = 2, .operation = DC_OP_STAT, .path = ""};
	EXPECT(0, harness_call(client, &root));
	LEADS("/data/a/sub/../x", 2, 0, DC_OP_STAT, "../x");
	/* It is in use. */
	EXPECT(-EBUSY, simple(client, DC_OP_RMDIR, "a/sub", 0));
	EXPECT(-EBUSY, two(client, DC_OP_RENAME, "a/sub", "moved", 0));
	EXPECT(-EBUSY, two(client, DC_OP_RENAME, "a/other", "a/sub", 0));
	EXPECT(-EEXIST, simple(client, DC_OP_MKDIR, "a/sub", 0755));
}

int main(void) {
	struct harness harness;
	struct dc_client clients[2], *client = &clients[0];
	uint64_t a, covered, ignored;
	harness_start(&harness, NULL);
	harness_attach(&harness, client, 0, 0);
	make(client);
	EXPECT(0, open_at(client, "a", O_RDONLY | O_DIRECTORY, 0, &a));
	EXPECT(0, open_at(client, "a/sub", O_RDONLY | O_DIRECTORY, 0, &covered));
	EXPECT(0, simple(client, DC_OP_STAT, "link/below", 0));

	harness_mount(&harness, 2, "/data/a/sub");
	mounted(client, a, covered);
	/* A mount on a mount of a mount, and one beside. */
	struct call make_inner = {.instance = 2, .operation = DC_OP_MKDIR, .path = "inner", .mode = 0755}, make_link = {.instance = 2, .operation = DC_OP_SYMLINK, .path = "to", .path2 = "inner"};
	EXPECT(0, harness_call(client, &make_inner));
	EXPECT(0, harness_call(client, &make_link));
	harness_mount(&harness, 3, "/data/a/sub/inner");
	harness_mount(&harness, 4, "/database");
	mounted(client, a, covered);
	LEADS("/data/a/sub/inner/f", 2, 0, DC_OP_STAT, "to/f");
	/* One whose directory is not there: nothing to cross, and nothing breaks. */
	harness_mount(&harness, 5, "/data/nowhere/sub");
	mounted(client, a, covered);

	harness_restart(&harness);
	EXPECT(0, open_at(client, "a", O_RDONLY | O_DIRECTORY, 0, &a));
	LEADS("/data/a/sub/x", 1, a, DC_OP_STAT, "sub/x");
	LEADS("/data/a/sub/inner/f", 2, 0, DC_OP_STAT, "to/f");
	harness_unmount(&harness, 3);
	LEADS("", 2, 0, DC_OP_STAT, "to/f");
	harness_unmount(&harness, 2);
	EXPECT(0, simple(client, DC_OP_STAT, "link/below", 0));
	EXPECT(0, open_at(client, "link/f", O_CREAT | O_RDWR, 0644, &ignored));
	EXPECT(0, two(client, DC_OP_RENAME, "a/sub", "moved", 0));
	harness_unmount(&harness, 4);
	harness_unmount(&harness, 5);
	harness_stop(&harness);
	printf("%u passed, %u failed\n", passed, failed);
	return failed != 0;
}
