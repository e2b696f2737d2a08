/*
 * stamps_test.c - leases on names and attributes (service/stamps.h): for every operation that changes something, what client A was told before is void when client B's change is acknowledged,
 * and what it is told then is the new state; and what no change touched still holds.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "queue.h"
#include "steps.h"

#define SET_MODE 1u
#define SET_UID 2u
#define SET_SIZE 8u
#define SET_MTIME 32u

static struct harness harness;
static struct dc_client a, b, user;

static uint64_t now_ns(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- the board ---------------------------------------------------------------------------------------------------------------------------------- */
static int receive_fd(int sock, struct dc_region_answer *answer) {
	char control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = {answer, sizeof *answer};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	int fd = -1;
	if (recvmsg(sock, &message, MSG_CMSG_CLOEXEC) != sizeof *answer || answer->error) return -1;
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	if (header) memcpy(&fd, CMSG_DATA(header), sizeof fd);
	return fd;
}

static const _Atomic uint64_t *map_board(uint32_t region) {
	static struct { uint32_t region; const _Atomic uint64_t *board; } known[8];
	for (unsigned i = 0; i < 8; i++) {
		if (known[i].board && known[i].region == region) return known[i].board;
		if (known[i].board) continue;
		struct sockaddr_un address = {.sun_family = AF_UNIX};
		int length = snprintf(address.sun_path, sizeof address.sun_path, "%s/regions.sock", harness.directory);
		if (length < 0 || (size_t)length >= sizeof address.sun_path) return NULL;
		int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
		struct dc_region_request request = {DC_REGION_MAGIC, 0, 1, region};
		struct dc_region_answer answer = {0};
		int fd = connect(sock, (struct sockaddr *)&address, sizeof address) == 0 && send(sock, &request, sizeof request, 0) == sizeof request ? receive_fd(sock, &answer) : -1;
		close(sock);
		void *board = fd < 0 ? MAP_FAILED : mmap(NULL, answer.bytes, PROT_READ, MAP_SHARED, fd, 0);
		check(fd >= 0 && board != MAP_FAILED, "the board can be mapped", fd);
		check(fd >= 0 && mmap(NULL, answer.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED, "and not written", 0);
		if (fd >= 0) close(fd);
		known[i].region = region;
		known[i].board = board == MAP_FAILED ? NULL : board;
		return known[i].board;
	}
	return NULL;
}

static bool holds(const struct dc_wire_lease *lease) {
	const _Atomic uint64_t *board = map_board(lease->region);
	if (!board || now_ns() >= lease->until) return false;
	for (unsigned i = 0; i < lease->count; i++)
		if (!dc_stamp_holds(&board[lease->stamp[i].index], lease->stamp[i].word)) return false;
	return true;
}

/* ---- questions ---------------------------------------------------------------------------------------------------------------------------------- */
static struct call ask(struct dc_client *client, uint16_t operation, const char *path, uint64_t handle, int64_t *result) {
	struct call call = {.operation = operation, .path = path, .handle = handle, .flags = DC_PATH_LEASE | (path ? 0 : DC_PATH_EMPTY), .length = operation == DC_OP_READLINK ? 4096 : 0,
		.mode = operation == DC_OP_ACCESS ? R_OK : 0};
	*result = harness_call(client, &call);
	return call;
}

/* Asked until there is a lease: the second time at the latest, but that what the cache believes may end in between. */
static struct call lease_of(struct dc_client *client, uint16_t operation, const char *path, uint64_t handle, int64_t *result) {
	struct call call = {0};
	for (unsigned i = 0; i < 8 && !call.value2; i++) call = ask(client, operation, path, handle, result);
	if (!call.value2) fprintf(stderr, "no lease on %s (%lld)\n", path ? path : "a handle", (long long)*result);
	check(call.value2 == 1, "a lease is given", *result);
	return call;
}

static bool same(const struct dc_wire_attr *one, const struct dc_wire_attr *other) {
	struct dc_wire_attr left = *one, right = *other;
	left.atime = right.atime = 0; /* which a read may move */
	left.atime_ns = right.atime_ns = 0;
	return !memcmp(&left, &right, sizeof left);
}

/* ---- what changes, and what must not hold after it ------------------------------------------------------------------------------------------------ */
static uint64_t opened; /* by B, "f" for reading and writing; `copied` "h" of its own */
static int64_t set(const char *path, uint32_t mask, struct dc_wire_attr attr) {
	struct call call = {.operation = DC_OP_SETATTR, .path = path, .mask = mask, .attr = attr};
	return harness_call(&b, &call);
}
static int64_t by_open(const char *path, int flags) {
	uint64_t handle;
	int64_t result = open_at(&b, path, flags, 0644, &handle);
	return result ? result : close_handle(&b, handle);
}
static int64_t xattr(uint16_t operation) {
	struct call call = {.operation = operation, .path = "w/f", .path2 = "user.x", .data = operation == DC_OP_SETXATTR ? "v" : NULL, .length = operation == DC_OP_SETXATTR};
	return harness_call(&b, &call);
}
static int64_t c_create(void) { return by_open("w/new", O_CREAT | O_EXCL | O_WRONLY); }
static int64_t c_mkdir(void) { return simple(&b, DC_OP_MKDIR, "w/new", 0755); }
static int64_t c_mknod(void) { return simple(&b, DC_OP_MKNOD, "w/new", S_IFIFO | 0644); }
static int64_t c_symlink(void) { return two(&b, DC_OP_SYMLINK, "w/new", "f", 0); }
static int64_t c_link(void) { return two(&b, DC_OP_LINK, "w/f", "w/new", 0); }
static int64_t c_unlink(void) { return simple(&b, DC_OP_UNLINK, "w/f", 0); }
static int64_t c_rmdir(void) { return simple(&b, DC_OP_RMDIR, "w/d/empty", 0); }
static int64_t c_rename(void) { return two(&b, DC_OP_RENAME, "w/f", "w/new", 0); }
static int64_t c_rename_over(void) { return two(&b, DC_OP_RENAME, "w/g", "w/f", 0); }
static int64_t c_rename_away(void) { return two(&b, DC_OP_RENAME, "w/f", "w/d/new", 0); }
static int64_t c_rename_directory(void) { return two(&b, DC_OP_RENAME, "w/d", "w/new", 0); }
static int64_t c_exchange(void) { return two(&b, DC_OP_RENAME, "w/f", "w/g", RENAME_EXCHANGE); }
static int64_t c_chmod(void) { return set("w/f", SET_MODE, (struct dc_wire_attr){.mode = 0600}); }
static int64_t c_chown(void) { return set("w/f", SET_UID, (struct dc_wire_attr){.uid = 7}); }
static int64_t c_times(void) { return set("w/f", SET_MTIME, (struct dc_wire_attr){.mtime = 77}); }
static int64_t c_truncate(void) { return set("w/f", SET_SIZE, (struct dc_wire_attr){.size = 12345}); }
static int64_t c_open_truncate(void) { return by_open("w/f", O_WRONLY | O_TRUNC); }
static int64_t c_write(void) { return write_at(&b, opened, 5000, "more") - 4; }
static int64_t c_append(void) {
	struct call call = {.operation = DC_OP_WRITE, .handle = opened, .data = "end", .length = 3, .mask = 0x10 /* RWF_APPEND */};
	return harness_call(&b, &call) - 3;
}
static int64_t c_fallocate(void) {
	struct call call = {.operation = DC_OP_FALLOCATE, .handle = opened, .length = 1 << 20};
	return harness_call(&b, &call);
}
static int64_t c_copy(void) {
	struct call call = {.operation = DC_OP_COPY, .handle = opened, .handle2 = opened, .offset = 0, .argument0 = 8192, .length = 4};
	return harness_call(&b, &call) - 4;
}
static int64_t c_setxattr(void) { return xattr(DC_OP_SETXATTR); }
static int64_t c_removexattr(void) { return xattr(DC_OP_REMOVEXATTR); }
static int64_t c_retarget(void) {
	int64_t error = two(&b, DC_OP_SYMLINK, "w/link-new", "g", 0);
	return error ? error : two(&b, DC_OP_RENAME, "w/link-new", "w/link", 0);
}
static int64_t c_tmpfile(void) {
	uint64_t handle;
	int64_t error = open_at(&b, "w", O_TMPFILE | O_RDWR, 0644, &handle);
	struct call call = {.operation = DC_OP_LINK, .handle = handle, .path2 = "w/new", .flags = DC_PATH_EMPTY};
	if (!error) error = harness_call(&b, &call);
	return error ? error : close_handle(&b, handle);
}

#define F "w/f", "w/link", "w/h", "handle"
static const struct {
	const char *what;
	int64_t (*change)(void);
	const char *void_after[8]; /* paths; "!" before one: ACCESS, "@": READLINK; "handle": A's of w/f */
} cases[] = {
	{"create", c_create, {"w/new", "!w/new", "@w/new", "w"}}, {"mkdir", c_mkdir, {"w/new", "w"}}, {"mknod", c_mknod, {"w/new", "w"}}, {"symlink", c_symlink, {"w/new", "@w/new", "w"}},
	{"link", c_link, {"w/new", "w", F}}, {"unlink", c_unlink, {"!w/f", "w", F}}, {"rmdir", c_rmdir, {"w/d/empty", "w/d/empty/x", "w/d"}}, {"rename", c_rename, {"w/new", "w", F}},
	{"rename over", c_rename_over, {"w/g", "w", F}}, {"rename away", c_rename_away, {"w/d/new", "w", "w/d", F}}, {"rename of a directory", c_rename_directory, {"w/d", "w/d/x", "w/new", "w/d/none"}},
	{"exchange", c_exchange, {"w/g", "w", F}}, {"chmod", c_chmod, {"!w/f", F}}, {"chown", c_chown, {F}}, {"utimens", c_times, {F}}, {"truncate", c_truncate, {F}},
	{"open with O_TRUNC", c_open_truncate, {F}}, {"write", c_write, {F}}, {"append", c_append, {F}}, {"fallocate", c_fallocate, {F}}, {"copy", c_copy, {F}}, {"setxattr", c_setxattr, {F}},
	{"removexattr", c_removexattr, {F}}, {"another link", c_retarget, {"@w/link", "w/link", "w"}}, {"a temporary file gets its name", c_tmpfile, {"w/new", "w"}},
};

static void prepare(void) {
	EXPECT(0, simple(&b, DC_OP_MKDIR, "w", 0755));
	EXPECT(0, simple(&b, DC_OP_MKDIR, "w/d", 0755));
	EXPECT(0, simple(&b, DC_OP_MKDIR, "w/d/empty", 0755));
	EXPECT(0, by_open("w/d/x", O_CREAT | O_WRONLY));
	EXPECT(0, by_open("w/g", O_CREAT | O_WRONLY));
	EXPECT(0, by_open("w/still", O_CREAT | O_WRONLY));
	EXPECT(0, open_at(&b, "w/f", O_CREAT | O_RDWR, 0644, &opened));
	EXPECT(4, write_at(&b, opened, 0, "data"));
	EXPECT(0, two(&b, DC_OP_LINK, "w/f", "w/h", 0));
	EXPECT(0, two(&b, DC_OP_SYMLINK, "w/link", "f", 0));
	xattr(DC_OP_SETXATTR);
}

static const char *const leftovers[] = {"w/d/x", "w/d/empty", "w/d/new", "w/new/x", "w/new/empty", "w/new", "w/d", "w/f", "w/g", "w/h", "w/link", "w/still"};
static void tidy(void) {
	close_handle(&b, opened);
	for (unsigned i = 0; i < sizeof leftovers / sizeof *leftovers; i++)
		if (simple(&b, DC_OP_UNLINK, leftovers[i], 0)) simple(&b, DC_OP_RMDIR, leftovers[i], 0);
	EXPECT(0, simple(&b, DC_OP_RMDIR, "w", 0));
}

static struct call question(const char *text, uint64_t handle, int64_t *result, bool again) {
	uint16_t operation = *text == '!' ? DC_OP_ACCESS : *text == '@' ? DC_OP_READLINK : DC_OP_STAT;
	bool by_handle = !strcmp(text, "handle");
	const char *path = by_handle ? NULL : text + (operation != DC_OP_STAT);
	return again ? ask(&a, operation, path, by_handle ? handle : 0, result) : lease_of(&a, operation, path, by_handle ? handle : 0, result);
}

static void test_case(unsigned n) {
	struct call before[8], after, still;
	int64_t result[8], then, truth;
	uint64_t handle;
	prepare();
	EXPECT(0, open_at(&a, "w/f", O_RDONLY, 0, &handle));
	for (unsigned i = 0; i < 8 && cases[n].void_after[i]; i++) before[i] = question(cases[n].void_after[i], handle, &result[i], false);
	still = lease_of(&a, DC_OP_STAT, "w/still", 0, &then);
	bool held = holds(&still.lease);
	check(held, "a lease holds while nothing changes", 0);
	EXPECT(0, cases[n].change());
	for (unsigned i = 0; i < 8 && cases[n].void_after[i]; i++) {
		char what[100];
		snprintf(what, sizeof what, "after %s no lease on %s holds", cases[n].what, cases[n].void_after[i]);
		check(!holds(&before[i].lease), what, 0);
		after = question(cases[n].void_after[i], handle, &then, true);
		struct call plain = {.operation = after.operation, .path = after.path, .handle = after.handle, .flags = after.flags & ~DC_PATH_LEASE, .length = after.length, .mode = after.mode};
		truth = harness_call(&b, &plain);
		snprintf(what, sizeof what, "after %s both are told the same of %s", cases[n].what, cases[n].void_after[i]);
		if (strcmp(cases[n].void_after[i], "handle")) check(then == truth && (then || after.operation != DC_OP_STAT || same(&after.attr, &plain.attr)), what, then);
	}
	check(holds(&still.lease), "what nobody changed still holds", n);
	EXPECT(0, close_handle(&a, handle));
	tidy();
}

/* ---- what gets no lease, and how long one may last -------------------------------------------------------------------------------------------------- */
static bool leased(struct dc_client *client, const char *path) {
	int64_t result;
	bool given = false;
	for (unsigned i = 0; i < 4 && !given; i++) given = ask(client, DC_OP_STAT, path, 0, &result).value2;
	return given;
}

static void test_limits(void) {
	int64_t result;
	struct call call;
	prepare();
	call = lease_of(&a, DC_OP_STAT, "w/f", 0, &result);
	check(call.lease.until <= now_ns() + 1000000000u, "no longer than the cache believes", 0);
	EXPECT(3, (int64_t)call.lease.count); /* two names, the file's attributes */
	check(!leased(&a, "w/../w/f"), "none on a path with ..", 0);
	check(leased(&a, "w/./f"), "one on a path with .", 0);
	EXPECT(0, simple(&b, DC_OP_MKDIR, "w/d/1", 0755));
	char deep[200] = "w/d/1";
	for (unsigned i = 0; i < 12; i++) EXPECT(0, simple(&b, DC_OP_MKDIR, strcat(deep, "/1"), 0755));
	check(!leased(&a, deep), "none on a path with too many names", 0);
	for (unsigned i = 0; i < 13; i++) {
		EXPECT(0, simple(&b, DC_OP_RMDIR, deep, 0));
		deep[strlen(deep) - 2] = 0;
	}
	/* An open: that there is nothing, and no more. */
	call = (struct call){.operation = DC_OP_OPEN, .path = "w/f", .flags = DC_PATH_LEASE, .mask = O_RDONLY};
	EXPECT(0, harness_call(&a, &call));
	EXPECT(0, (int64_t)call.value2);
	EXPECT(0, close_handle(&a, call.value0));
	call = (struct call){.operation = DC_OP_OPEN, .path = "w/f", .flags = DC_PATH_LEASE, .mask = O_RDONLY | O_DIRECTORY};
	EXPECT(-ENOTDIR, harness_call(&a, &call));
	EXPECT(0, (int64_t)call.value2);
	for (unsigned i = 0; i < 2; i++) {
		call = (struct call){.operation = DC_OP_OPEN, .path = "w/none", .flags = DC_PATH_LEASE, .mask = O_RDONLY};
		EXPECT(-ENOENT, harness_call(&a, &call));
	}
	EXPECT(1, (int64_t)call.value2);
	tidy();
}

/* Somebody else on the host: seen when the time is over. */
static void test_behind(void) {
	int64_t result;
	char path[400];
	prepare();
	struct call call = lease_of(&a, DC_OP_STAT, "w/f", 0, &result);
	snprintf(path, sizeof path, "%s/w/f", harness.data);
	EXPECT(0, truncate(path, 4321));
	uint64_t changed = now_ns();
	while (now_ns() <= changed + 1000000000u) usleep(1000);
	check(!holds(&call.lease), "no lease holds longer than the cache believes", 0);
	call = ask(&a, DC_OP_STAT, "w/f", 0, &result);
	EXPECT(4321, (int64_t)call.attr.size);
	tidy();
}

/* Search permission is part of the answer for those whose permissions count. */
static void test_permissions(void) {
	int64_t result;
	prepare();
	struct call call = lease_of(&user, DC_OP_STAT, "w/d/x", 0, &result);
	EXPECT(0, result);
	EXPECT(0, set("w/d", SET_MODE, (struct dc_wire_attr){.mode = 0700}));
	check(!holds(&call.lease), "a directory closed to others", 0);
	call = lease_of(&user, DC_OP_STAT, "w/d/x", 0, &result);
	EXPECT(-EACCES, result);
	EXPECT(0, set("w/d", SET_MODE, (struct dc_wire_attr){.mode = 0755}));
	check(!holds(&call.lease), "and opened again", 0);
	ask(&user, DC_OP_STAT, "w/d/x", 0, &result);
	EXPECT(0, result);
	tidy();
}

/* Another instance comes to lie on a directory, and goes. */
static void test_mounts(void) {
	int64_t result;
	prepare();
	EXPECT(0, two(&b, DC_OP_SYMLINK, "w/new", "d/x", 0));
	struct call call = lease_of(&a, DC_OP_STAT, "w/new", 0, &result);
	EXPECT(0, result);
	harness_mount(&harness, 2, "/data/w/d");
	check(!holds(&call.lease), "a mount on the way", 0);
	call = ask(&a, DC_OP_STAT, "w/new", 0, &result);
	EXPECT(DC_RESULT_LEAVES, result);
	EXPECT(0, (int64_t)call.value2);
	call = lease_of(&a, DC_OP_STAT, "w/f", 0, &result);
	struct call local = {.operation = DC_OP_STAT, .instance = 2, .path = "none", .flags = DC_PATH_LEASE};
	for (unsigned i = 0; i < 3; i++) EXPECT(-ENOENT, harness_call(&a, &local));
	EXPECT(0, (int64_t)local.value2); /* no cache that says how long */
	harness_unmount(&harness, 2);
	check(!holds(&call.lease), "it is gone again", 0);
	ask(&a, DC_OP_STAT, "w/new", 0, &result);
	EXPECT(0, result);
	tidy();
}

/* ---- a race -------------------------------------------------------------------------------------------------------------------------------------- */
/* Publishes each size after the write that made it was acknowledged; who then looks, by a lease or by asking, must not find less. A name comes and goes besides. */
struct race {
	struct dc_client *client;
	_Atomic uint64_t *published, *named;
	_Atomic bool *over;
	unsigned wrong, kept, asked;
};
static void *grow(void *argument) {
	struct race *race = argument;
	uint64_t handle;
	race->wrong += open_at(race->client, "w/f", O_RDWR, 0, &handle) != 0;
	for (uint64_t i = 5; i < 6000; i++) {
		race->wrong += write_at(race->client, handle, i - 1, "x") != 1;
		atomic_store(race->published, i);
		if (i % 4) continue;
		uint64_t other;
		race->wrong += open_at(race->client, "w/come", O_CREAT | O_EXCL | O_RDWR, 0644, &other) != 0 || close_handle(race->client, other) != 0;
		atomic_store(race->named, 2 * i + 1); /* odd: it is there */
		if (i % 64 == 0) usleep(200);
		atomic_store(race->named, 2 * i + 2); /* about to go */
		race->wrong += simple(race->client, DC_OP_UNLINK, "w/come", 0) != 0;
	}
	race->wrong += close_handle(race->client, handle) != 0;
	atomic_store(race->over, true);
	return NULL;
}
static void *look(void *argument) {
	struct race *race = argument;
	struct call size = {0}, name = {0};
	int64_t result, there = 0;
	while (!atomic_load(race->over)) {
		uint64_t least = atomic_load(race->published);
		bool kept = size.value2 && holds(&size.lease);
		if (!kept) size = ask(race->client, DC_OP_STAT, "w/f", 0, &result);
		race->wrong += size.attr.size < least;
		uint64_t before = atomic_load(race->named);
		bool kept_name = name.value2 && holds(&name.lease);
		if (!kept_name) name = ask(race->client, DC_OP_STAT, "w/come", 0, &there);
		if (before & 1 && atomic_load(race->named) == before) race->wrong += there != 0;
		race->kept += kept + kept_name;
		race->asked += !kept + !kept_name;
	}
	return NULL;
}
static void test_race(void) {
	_Atomic uint64_t published = 4, named = 0;
	_Atomic bool over = false;
	prepare();
	struct race race[3] = {{.client = &b}, {.client = &a}, {.client = &user}};
	pthread_t thread[3];
	for (unsigned i = 0; i < 3; i++) race[i].published = &published, race[i].named = &named, race[i].over = &over;
	for (unsigned i = 0; i < 3; i++) pthread_create(&thread[i], NULL, i ? look : grow, &race[i]);
	for (unsigned i = 0; i < 3; i++) pthread_join(thread[i], NULL);
	EXPECT(0, race[0].wrong + race[1].wrong + race[2].wrong);
	check(race[1].kept > 0 && race[1].asked > 0, "leases were used, and revoked", race[1].kept);
	tidy();
}

static void test_restart(void) {
	int64_t result;
	prepare();
	lease_of(&a, DC_OP_STAT, "w/f", 0, &result);
	uint32_t epoch = atomic_load(&dc_arena_post(a.arena)->lease_epoch);
	harness_restart(&harness);
	check(atomic_load(&dc_arena_post(a.arena)->lease_epoch) != epoch, "a new service has another epoch", epoch);
	struct call call = lease_of(&a, DC_OP_STAT, "w/f", 0, &result);
	EXPECT(0, c_chmod());
	check(!holds(&call.lease), "its own leases end as they should", 0);
	tidy();
}

/* Whoever may post writes to a file changes it without a word: no lease on its attributes, and the grant ends those that were given. */
static void test_posting(void) {
	static const char plan[] = "{\"version\":1,\"instance\":\"data\",\"root\":\"data.0\",\"nodes\":[{\"id\":\"data.1\",\"type\":\"local\",\"kind\":\"file\",\"options\":{\"path\":"
		"\"%s\",\"readOnly\":false},\"children\":{}},{\"id\":\"data.0\",\"type\":\"cache\",\"kind\":\"file\",\"options\":{\"size\":16777216,\"mode\":\"write-back\",\"ttl\":1000},"
		"\"children\":{\"below\":[\"data.1\"]}}]}";
	int64_t result;
	uint64_t handle;
	harness_start(&harness, plan);
	harness_attach(&harness, &a, 0, 0);
	harness_attach(&harness, &b, 0, 0);
	EXPECT(0, open_at(&b, "f", O_RDWR | O_CREAT, 0644, &handle));
	struct call call = lease_of(&a, DC_OP_STAT, "f", 0, &result), write = {.operation = DC_OP_WRITE, .handle = handle, .data = "x", .length = 1};
	EXPECT(1, harness_call(&b, &write));
	check(write.value1 != 0, "writes may be posted", 0);
	check(!holds(&call.lease), "the grant ends the lease", 0);
	void *place = dc_client_post_begin(&b, (uint32_t)write.value1, handle, 1, 5);
	check(place != NULL, "a write is posted", 0);
	if (place) memcpy(place, "yyyyy", 5);
	EXPECT(true, place && dc_client_post_end(&b, (uint32_t)write.value1));
	check(!leased(&a, "f"), "no lease while writes may be posted", 0);
	call = ask(&a, DC_OP_STAT, "f", 0, &result);
	EXPECT(6, (int64_t)call.attr.size);
	EXPECT(0, close_handle(&b, handle));
	check(leased(&a, "f"), "one when they no longer may", 0);
	harness_stop(&harness);
}

int main(void) {
	harness_start(&harness, NULL);
	harness_attach(&harness, &a, 0, 0);
	harness_attach(&harness, &b, 0, 0);
	harness_attach(&harness, &user, 1000, 1000);
	for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) test_case(i);
	test_limits();
	test_behind();
	test_permissions();
	test_mounts();
	test_race();
	test_restart();
	harness_stop(&harness);
	test_posting();
	setenv("DICICLO_TRUST", "process", 1);
	harness_start(&harness, NULL);
	harness_attach(&harness, &a, 0, 0);
	check(!leased(&a, "none"), "none where processes do not trust each other", 0);
	harness_stop(&harness);
	printf("%u passed, %u failed\n", passed, failed);
	return failed != 0;
}
