/*
 * posts_test.c - posted writes (service/posts.h): nobody sees that one is not made yet, a sender's changes are made in its order, errors come out, nonsense harms nobody else.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "queue.h"
#include "steps.h"

static const char plan[] = "{\"version\":1,\"instance\":\"data\",\"root\":\"data.0\",\"nodes\":[{\"id\":\"data.1\",\"type\":\"local\",\"kind\":\"file\",\"options\":{\"path\":"
	"\"%s\",\"readOnly\":false},\"children\":{}},{\"id\":\"data.0\",\"type\":\"cache\",\"kind\":\"file\",\"options\":{\"size\":16777216,\"mode\":\"write-back\",\"ttl\":1000},"
	"\"children\":{\"below\":[\"data.1\"]}}]}";

/* Opens, writes "x" at 0, and answers the grant that comes with it. */
static uint32_t granted(struct dc_client *client, const char *path, uint64_t *handle) {
	EXPECT(0, open_at(client, path, O_RDWR | O_CREAT, 0644, handle));
	struct call call = {.operation = DC_OP_WRITE, .handle = *handle, .data = "x", .length = 1};
	EXPECT(1, harness_call(client, &call));
	return (uint32_t)call.value1;
}

static bool post(struct dc_client *client, uint32_t grant, uint64_t handle, uint64_t offset, const void *data, size_t bytes) {
	void *place = dc_client_post_begin(client, grant, handle, offset, (uint32_t)bytes);
	if (!place) return false;
	memcpy(place, data, bytes);
	return dc_client_post_end(client, grant);
}

static bool on_host(const struct harness *harness, const char *name, const char *text) {
	char path[400], found[64] = {0};
	snprintf(path, sizeof path, "%s/%s", harness->data, name);
	int fd = open(path, O_RDONLY);
	ssize_t length = fd < 0 ? -1 : read(fd, found, sizeof found - 1);
	if (fd >= 0) close(fd);
	return length >= 0 && !strcmp(found, text);
}

static void sleep_ms(unsigned milliseconds) {
	nanosleep(&(struct timespec){milliseconds / 1000, milliseconds % 1000 * 1000000L}, NULL);
}

static void test_seen_at_once(struct harness *harness, struct dc_client *writer, struct dc_client *reader) {
	uint64_t handle, other;
	char text[64] = {0};
	uint32_t grant = granted(writer, "seen", &handle);
	check(grant != 0, "a write-back instance grants posting", grant);
	EXPECT(true, post(writer, grant, handle, 0, "hello", 5));
	EXPECT(0, open_at(reader, "seen", O_RDWR, 0, &other));
	EXPECT(5, read_at(reader, other, 0, text, sizeof text));
	check(!memcmp(text, "hello", 5), "the other client reads what was posted", 0);
	EXPECT(true, post(writer, grant, handle, 5, " world", 6));
	struct call stat_call = {.operation = DC_OP_STAT, .path = "seen"};
	EXPECT(0, harness_call(reader, &stat_call));
	EXPECT(11, (int64_t)stat_call.attr.size);
	/* Over each other: the later one stays. */
	EXPECT(true, post(writer, grant, handle, 0, "HELLO", 5));
	EXPECT(1, write_at(reader, other, 0, "J"));
	EXPECT(true, post(writer, grant, handle, 1, "elly", 4));
	EXPECT(11, read_at(writer, handle, 0, text, sizeof text));
	check(!memcmp(text, "Jelly world", 11), "in the order in which they were acknowledged", 0);
	/* Nobody looks: it gets there all the same. */
	EXPECT(true, post(writer, grant, handle, 0, "quiet", 5));
	for (unsigned i = 0; i < 100 && !on_host(harness, "seen", "quiet world"); i++) sleep_ms(50);
	check(on_host(harness, "seen", "quiet world"), "made without being asked", 0);
	EXPECT(0, close_handle(reader, other));
	EXPECT(0, close_handle(writer, handle));
}

/* What the same process does afterwards comes afterwards; what it promises to be durable is below. */
static void test_order(struct harness *harness, struct dc_client *client) {
	uint64_t handle;
	uint32_t grant = granted(client, "order", &handle);
	EXPECT(true, post(client, grant, handle, 0, "data", 4));
	EXPECT(0, two(client, DC_OP_RENAME, "order", "ordered", 0));
	check(on_host(harness, "ordered", "data"), "a rename comes after the data", 0);
	EXPECT(true, post(client, grant, handle, 0, "DATA", 4));
	struct call sync_call = {.operation = DC_OP_FSYNC, .handle = handle};
	EXPECT(0, harness_call(client, &sync_call));
	check(on_host(harness, "ordered", "DATA"), "fsync comes after the data", 0);
	EXPECT(true, post(client, grant, handle, 4, "!", 1));
	EXPECT(0, close_handle(client, handle));
	check(on_host(harness, "ordered", "DATA!"), "so does close", 0);
}

static void test_errors(struct dc_client *client) {
	uint64_t handle;
	uint32_t grant = granted(client, "errors", &handle);
	EXPECT(true, post(client, grant, handle, INT64_MAX - 1, "too far", 7));
	struct call sync_call = {.operation = DC_OP_FSYNC, .handle = handle};
	EXPECT(-EFBIG, harness_call(client, &sync_call));
	EXPECT(0, harness_call(client, &sync_call));
	EXPECT(true, post(client, grant, handle, INT64_MAX - 1, "too far", 7));
	EXPECT(-EFBIG, write_at(client, handle, 0, "a"));
	EXPECT(1, write_at(client, handle, 0, "a"));
	EXPECT(true, post(client, grant, handle, INT64_MAX - 1, "too far", 7));
	EXPECT(-EFBIG, close_handle(client, handle));
	/* No grant where each write has to be durable, or its place is not known. */
	static const int flags[] = {O_APPEND, O_DSYNC, O_SYNC, O_DIRECT};
	for (unsigned i = 0; i < 4; i++) {
		EXPECT(0, open_at(client, "errors", O_RDWR | flags[i], 0644, &handle));
		struct call call = {.operation = DC_OP_WRITE, .handle = handle, .data = "x", .length = 1};
		harness_call(client, &call);
		EXPECT(0, (int64_t)call.value1);
		EXPECT(0, close_handle(client, handle));
	}
}

/* Far more than the ring holds, in pieces that do not fit its end. */
static void test_full_ring(struct dc_client *client) {
	static unsigned char block[5000], back[5000];
	uint64_t handle;
	uint32_t grant = granted(client, "full", &handle);
	unsigned posted = 0, sent = 0, wrong = 0;
	for (unsigned i = 0; i < 2000; i++) {
		memset(block, (int)i, sizeof block);
		if (grant && post(client, grant, handle, (uint64_t)i * sizeof block, block, sizeof block)) {
			posted++;
			continue;
		}
		struct call call = {.operation = DC_OP_WRITE, .handle = handle, .offset = (uint64_t)i * sizeof block, .data = block, .length = sizeof block};
		wrong += harness_call(client, &call) != sizeof block;
		grant = (uint32_t)call.value1;
		sent++;
	}
	EXPECT(0, wrong);
	check(posted > 1000, "most were posted", posted);
	for (unsigned i = 0; i < 2000; i++) {
		memset(block, (int)i, sizeof block);
		wrong += read_at(client, handle, (uint64_t)i * sizeof block, (char *)back, sizeof back) != sizeof back || memcmp(block, back, sizeof back) != 0;
	}
	EXPECT(0, wrong);
	EXPECT(0, close_handle(client, handle));
}

/* A writer publishes each number after its write was acknowledged; whoever reads afterwards must not find an older one. */
struct race {
	struct dc_client *client;
	_Atomic uint64_t *published;
	unsigned rounds, wrong, posted;
};
static void *number(void *argument) {
	struct race *race = argument;
	uint64_t handle;
	uint32_t grant = granted(race->client, "race", &handle);
	for (uint64_t i = 1; i <= race->rounds; i++) {
		if (grant && post(race->client, grant, handle, 0, &i, sizeof i)) {
			race->posted++;
		} else {
			struct call call = {.operation = DC_OP_WRITE, .handle = handle, .data = &i, .length = sizeof i};
			race->wrong += harness_call(race->client, &call) != sizeof i;
			grant = (uint32_t)call.value1;
		}
		atomic_store(race->published, i);
		if (i % 64 == 0) sched_yield();
	}
	race->wrong += close_handle(race->client, handle) != 0;
	return NULL;
}
static void *follow(void *argument) {
	struct race *race = argument;
	uint64_t handle, found;
	while (!atomic_load(race->published)) sched_yield();
	race->wrong += open_at(race->client, "race", O_RDONLY, 0, &handle) != 0;
	for (unsigned round = 0; round < race->rounds; round++) {
		uint64_t least = atomic_load(race->published);
		race->wrong += read_at(race->client, handle, 0, (char *)&found, sizeof found) != sizeof found || found < least;
	}
	return NULL;
}
static void test_race(struct dc_client *writer, struct dc_client *readers, unsigned count) {
	_Atomic uint64_t published = 0;
	struct race race[8] = {{.client = writer, .published = &published, .rounds = 30000}};
	pthread_t thread[8];
	for (unsigned i = 1; i <= count; i++) race[i] = (struct race){.client = &readers[i - 1], .published = &published, .rounds = 3000};
	for (unsigned i = 0; i <= count; i++) pthread_create(&thread[i], NULL, i ? follow : number, &race[i]);
	unsigned wrong = 0;
	for (unsigned i = 0; i <= count; i++) pthread_join(thread[i], NULL), wrong += race[i].wrong;
	EXPECT(0, wrong);
	check(race[0].posted > 0, "posts took part", race[0].posted);
}

/* The sender's process has ended, and the service is about to make what it left: who looks meanwhile sees it, too. */
static void test_last_words(struct harness *harness, struct dc_client *writer, struct dc_client *reader) {
	uint64_t last = 0, found, handle, other;
	unsigned wrong = 0;
	for (unsigned round = 0; round < 40; round++) {
		uint32_t grant = granted(writer, "last words", &handle);
		EXPECT(0, open_at(reader, "last words", O_RDONLY, 0, &other));
		for (unsigned i = 0; i < 1000; i++) {
			last++;
			wrong += !post(writer, grant, handle, 0, &last, sizeof last);
		}
		harness_end_client(harness, writer);
		nanosleep(&(struct timespec){.tv_nsec = round % 20 * 100000}, NULL); /* a look before it has heard makes all itself */
		for (unsigned i = 0; i < 10; i++) wrong += read_at(reader, other, 0, (char *)&found, sizeof found) != sizeof found || found != last;
		harness_await_end(harness);
		harness_tell_client(harness, writer, 0, 0);
		EXPECT(0, close_handle(reader, other));
	}
	EXPECT(0, wrong);
}

static void test_idle(struct dc_client *client) {
	uint64_t handle;
	uint32_t grant = granted(client, "idle", &handle);
	bool lapsed = false;
	for (unsigned i = 0; i < 200 && !lapsed; i++) {
		sleep_ms(50);
		lapsed = atomic_load(&dc_arena_post(client->arena)->generation) != grant;
	}
	check(lapsed, "a grant that nobody uses lapses, so that nothing has to look at the ring", 0);
	EXPECT(false, post(client, grant, handle, 0, "late", 4));
	EXPECT(4, write_at(client, handle, 0, "sent"));
	EXPECT(0, close_handle(client, handle));
}

/* A new liar each time: who is found out is not served any more. */
static void test_nonsense(struct harness *harness, struct dc_client *honest) {
	uint64_t handle, mine, theirs;
	unsigned found = 0;
	char text[16];
	for (unsigned round = 0; round < 40; round++) {
		struct dc_client one, *liar = &one;
		harness_attach(harness, liar, 0, 0);
		struct dc_post_ring *ring = dc_arena_post(liar->arena);
		uint32_t grant = granted(liar, "lies", &handle);
		unsigned seed = round;
		for (unsigned i = 0; i < 4096; i += 4) *(uint32_t *)(dc_arena_posts(liar->arena) + i + (atomic_load(&ring->head) & (DC_POST_BYTES - 1)) / 4096 * 4096 % (DC_POST_BYTES - 8192)) = (uint32_t)rand_r(&seed) >> rand_r(&seed) % 32;
		if (round % 3 == 0) post(liar, grant, handle ^ (uint64_t)rand_r(&seed), (uint64_t)rand_r(&seed) << 33, "zzzz", 4);
		atomic_store(&ring->tail, round % 2 ? atomic_load(&ring->head) + 32 * (uint64_t)(rand_r(&seed) % 100) : (uint64_t)rand_r(&seed) << (rand_r(&seed) % 32));
		if (round % 5 == 0) atomic_store(&ring->head, (uint64_t)rand_r(&seed));
		if (round % 7 == 6) { /* who looks at the file finds the nonsense */
			EXPECT(0, open_at(honest, "lies", O_RDONLY, 0, &theirs));
			int64_t length = read_at(honest, theirs, 0, text, sizeof text);
			check(length >= 0, "a look at the liar's file", length);
			EXPECT(0, close_handle(honest, theirs));
		}
		int64_t closed = close_handle(liar, handle), next = write_at(liar, handle, 0, "sent");
		found += next == -EIO;
		check(closed == 0 || closed == -EIO || closed == -EBADF || closed == -EFBIG, "the liar hears an error at most", closed);
		if (round == 0) granted(honest, "truth", &mine);
		EXPECT(5, write_at(honest, mine, 0, "truth"));
		EXPECT(5, read_at(honest, mine, 0, text, sizeof text));
	}
	EXPECT(0, close_handle(honest, mine));
	check(found > 20, "liars are cut off", found);
}

/* Posted, perhaps not made, and the service dies: its successor makes it before it answers anybody. */
static void test_restart(struct harness *harness, struct dc_client *client) {
	uint64_t handle;
	uint32_t grant = granted(client, "restart", &handle);
	struct call sync_call = {.operation = DC_OP_FSYNC, .handle = handle};
	EXPECT(true, post(client, grant, handle, 0, "synced", 6));
	EXPECT(0, harness_call(client, &sync_call));
	EXPECT(true, post(client, grant, handle, 6, " and more", 9));
	harness_restart(harness);
	EXPECT(0, simple(client, DC_OP_STAT, "restart", 0));
	check(on_host(harness, "restart", "synced and more"), "what was acknowledged is there", 0);
	EXPECT(false, post(client, grant, handle, 0, "late", 4));
	EXPECT(4, write_at(client, handle, 0, "sent"));
	struct call cut = {.operation = DC_OP_SETATTR, .path = "restart", .mask = 1u << 3};
	EXPECT(0, harness_call(client, &cut));
	EXPECT(0, close_handle(client, handle));
	grant = granted(client, "restart", &handle);
	EXPECT(true, post(client, grant, handle, 0, "Synced", 6));
	EXPECT(0, close_handle(client, handle));
	check(on_host(harness, "restart", "Synced"), "posting goes on", 0);
}

int main(void) {
	struct harness harness;
	struct dc_client client[4];
	harness_start(&harness, plan);
	for (unsigned i = 0; i < 4; i++) harness_attach(&harness, &client[i], 0, 0);
	test_seen_at_once(&harness, &client[0], &client[1]);
	test_order(&harness, &client[0]);
	test_errors(&client[0]);
	test_full_ring(&client[0]);
	test_race(&client[0], &client[1], 3);
	test_last_words(&harness, &client[3], &client[1]);
	test_idle(&client[0]);
	test_nonsense(&harness, &client[0]);
	test_restart(&harness, &client[1]);
	harness_stop(&harness);
	printf("%u passed, %u failed\n", passed, failed);
	return failed != 0;
}
