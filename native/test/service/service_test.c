/*
 * service_test.c - the back driver through shared memory, without a library: answers, errnos, permissions, paths that leave, contention, restart, and a client that lies.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"
#include "mailbox.h"
#include "queue.h"
#include "steps.h"

static void test_files(struct dc_client *client) {
	uint64_t handle, other;
	char text[64] = {0};
	EXPECT(-ENOENT, open_at(client, "a", O_RDWR, 0, &handle));
	EXPECT(0, open_at(client, "a", O_RDWR | O_CREAT, 0640, &handle));
	EXPECT(-EEXIST, open_at(client, "a", O_RDWR | O_CREAT | O_EXCL, 0640, &other));
	EXPECT(5, write_at(client, handle, 0, "hello"));
	EXPECT(3, write_at(client, handle, 10, "end"));
	EXPECT(13, read_at(client, handle, 0, text, sizeof text));
	check(!memcmp(text, "hello\0\0\0\0\0end", 13), "read back", 0);
	/* A write may go on in other slots' buffers: not in its own again, nor in the ring's. */
	struct call gathers = {.operation = DC_OP_WRITE, .flags = DC_WRITE_GATHER, .handle = handle, .length = DC_BUFFER_SIZE + 1, .argument0 = UINT64_C(1) << DC_SLOT_POSTS};
	EXPECT(-EINVAL, harness_call(client, &gathers));
	EXPECT(0, read_at(client, handle, 13, text, 10));
	EXPECT(0, open_at(client, "a", O_WRONLY | O_APPEND, 0, &other));
	EXPECT(1, write_at(client, other, 0, "!"));
	EXPECT(-EBADF, read_at(client, other, 0, text, 1));
	EXPECT(14, read_at(client, handle, 0, text, sizeof text));
	EXPECT(0, close_handle(client, other));
	EXPECT(-EBADF, close_handle(client, other));
	EXPECT(-EBADF, read_at(client, other, 0, text, 1));
	EXPECT(-EBADF, read_at(client, handle ^ 0x1000000, 0, text, 1));
	EXPECT(-EISDIR, simple(client, DC_OP_UNLINK, "", 0));
	EXPECT(0, simple(client, DC_OP_UNLINK, "a", 0));
	EXPECT(14, read_at(client, handle, 0, text, sizeof text));
	EXPECT(0, close_handle(client, handle));
	EXPECT(-ENOTDIR, (simple(client, DC_OP_MKNOD, "f", S_IFREG | 0644), open_at(client, "f/", O_RDONLY, 0, &handle)));
	EXPECT(-ENOTDIR, open_at(client, "f/x", O_RDONLY, 0, &handle));
	EXPECT(-ELOOP, (two(client, DC_OP_SYMLINK, "loop", "loop", 0), open_at(client, "loop", O_RDONLY, 0, &handle)));
	EXPECT(-EINVAL, simple(client, DC_OP_RMDIR, "d/.", (uint32_t)simple(client, DC_OP_MKDIR, "d", 0755)));
	EXPECT(-EBUSY, simple(client, DC_OP_RMDIR, "", 0));
}

static void test_paths(struct dc_client *client) {
	uint64_t handle;
	char text[256] = {0};
	EXPECT(0, simple(client, DC_OP_MKDIR, "p", 0755));
	EXPECT(0, simple(client, DC_OP_MKDIR, "p/q", 0755));
	EXPECT(0, simple(client, DC_OP_MKDIR, "p/q/r", 0755));
	EXPECT(0, open_at(client, "p//q/./r/../r/x", O_RDWR | O_CREAT, 0644, &handle));
	EXPECT(0, close_handle(client, handle));
	EXPECT(0, two(client, DC_OP_SYMLINK, "p/l", "q/r", 0));
	EXPECT(0, two(client, DC_OP_SYMLINK, "p/up", "../p/l", 0));
	EXPECT(0, simple(client, DC_OP_STAT, "p/l/x", 0));
	EXPECT(0, simple(client, DC_OP_STAT, "p/up/x", 0));
	EXPECT(0, simple(client, DC_OP_STAT, "p/up/../r/x", 0));
	EXPECT(-ENOENT, simple(client, DC_OP_STAT, "p/nowhere/../q", 0));
	EXPECT(0, two(client, DC_OP_SYMLINK, "p/new", "q/made", 0));
	EXPECT(0, open_at(client, "p/new", O_RDWR | O_CREAT, 0644, &handle));
	EXPECT(0, close_handle(client, handle));
	EXPECT(0, simple(client, DC_OP_STAT, "p/q/made", 0));
	EXPECT(0, two(client, DC_OP_SYMLINK, "abs", "/etc", 0));
	struct call call = {.operation = DC_OP_STAT, .path = "abs/passwd", .out = text};
	EXPECT(DC_RESULT_LEAVES, harness_call(client, &call));
	struct call up = {.operation = DC_OP_STAT, .path = "p/../../etc/passwd"};
	EXPECT(DC_RESULT_LEAVES, harness_call(client, &up));
	EXPECT(0, two(client, DC_OP_RENAME, "p/q", "p/moved", 0));
	EXPECT(-ENOENT, simple(client, DC_OP_STAT, "p/q/r/x", 0));
	EXPECT(0, simple(client, DC_OP_STAT, "p/moved/r/x", 0));
	EXPECT(-EINVAL, two(client, DC_OP_RENAME, "p/moved", "p/moved/r/below", 0));
	char name[300];
	memset(name, 'n', sizeof name);
	name[256] = 0;
	EXPECT(-ENAMETOOLONG, open_at(client, name, O_RDWR | O_CREAT, 0644, &handle));
}

static void test_permissions(struct dc_client *root, struct dc_client *user) {
	uint64_t handle;
	struct call call = {.operation = DC_OP_SETATTR, .path = "", .mask = 1u << 0, .attr = {.mode = 01777}};
	EXPECT(0, harness_call(root, &call));
	EXPECT(0, open_at(user, "mine", O_RDWR | O_CREAT, 0600, &handle));
	struct call stat_call = {.operation = DC_OP_STAT, .path = "mine"};
	EXPECT(0, harness_call(root, &stat_call));
	EXPECT(1000, stat_call.attr.uid);
	EXPECT(1000, stat_call.attr.gid);
	EXPECT(0600, stat_call.attr.mode & 07777);
	EXPECT(0, open_at(root, "roots", O_RDWR | O_CREAT, 0600, &handle));
	EXPECT(-EACCES, open_at(user, "roots", O_RDONLY, 0, &handle));
	EXPECT(-EPERM, simple(user, DC_OP_UNLINK, "roots", 0));
	EXPECT(0, simple(root, DC_OP_MKDIR, "closed", 0700));
	EXPECT(-EACCES, simple(user, DC_OP_STAT, "closed/x", 0));
	EXPECT(-EACCES, simple(user, DC_OP_MKDIR, "closed/x", 0755));
	struct call chown_call = {.operation = DC_OP_SETATTR, .path = "mine", .mask = 1u << 1, .attr = {.uid = 0}};
	EXPECT(-EPERM, harness_call(user, &chown_call));
	EXPECT(0, simple(user, DC_OP_UNLINK, "mine", 0));
}

/* ---- eight clients, each its own file, all at once --------------------------------------------------------------------------- */
struct loader {
	struct dc_client *client;
	unsigned id, rounds;
	unsigned wrong;
};
static void *load(void *argument) {
	struct loader *loader = argument;
	char path[32], block[4096], back[4096];
	uint64_t handle;
	snprintf(path, sizeof path, "load-%u", loader->id);
	loader->wrong += open_at(loader->client, path, O_RDWR | O_CREAT, 0644, &handle) != 0;
	for (unsigned round = 0; round < loader->rounds; round++) {
		memset(block, (int)(loader->id * 16 + round % 16), sizeof block);
		struct call write_call = {.operation = DC_OP_WRITE, .handle = handle, .offset = (round % 50) * 4096, .data = block, .length = sizeof block};
		loader->wrong += harness_call(loader->client, &write_call) != sizeof block;
		loader->wrong += read_at(loader->client, handle, (round % 50) * 4096, back, sizeof back) != sizeof back || memcmp(block, back, sizeof back) != 0;
	}
	loader->wrong += close_handle(loader->client, handle) != 0;
	return NULL;
}
static void test_contention(struct dc_client *clients, unsigned count, unsigned rounds) {
	struct loader loader[16];
	pthread_t thread[16];
	unsigned wrong = 0;
	for (unsigned i = 0; i < count; i++) {
		loader[i] = (struct loader){.client = &clients[i], .id = i, .rounds = rounds};
		pthread_create(&thread[i], NULL, load, &loader[i]);
	}
	for (unsigned i = 0; i < count; i++) pthread_join(thread[i], NULL), wrong += loader[i].wrong;
	EXPECT(0, (int64_t)wrong);
	/* And many threads of one client. */
	for (unsigned i = 0; i < count; i++) {
		loader[i] = (struct loader){.client = &clients[0], .id = i, .rounds = rounds};
		pthread_create(&thread[i], NULL, load, &loader[i]);
	}
	wrong = 0;
	for (unsigned i = 0; i < count; i++) pthread_join(thread[i], NULL), wrong += loader[i].wrong;
	EXPECT(0, (int64_t)wrong);
}

/* ---- a client that writes garbage while another works ------------------------------------------------------------------------ */
static void lie(struct dc_client *client, unsigned rounds) {
	unsigned seed = 7, unanswered = 0;
	for (unsigned round = 0; round < rounds; round++) {
		unsigned index = (unsigned)rand_r(&seed) % DC_REQUEST_SLOTS;
		struct dc_slot *slot = dc_client_slot(client, index);
		for (unsigned word = 0; word < 44; word++)
			if (rand_r(&seed) % 3 == 0) ((uint32_t *)&slot->operation)[word] = (uint32_t)rand_r(&seed) * (uint32_t)rand_r(&seed) >> rand_r(&seed) % 32;
		slot->operation = (uint16_t)(rand_r(&seed) % (DC_OP_COUNT + 2));
		/* Not what would change files that others use: paths go nowhere. */
		memset(dc_client_buffer(client, index), 'z', 64);
		if (rand_r(&seed) % 2) slot->instance = 1;
		if (rand_r(&seed) % 2) slot->path_length = (uint32_t)rand_r(&seed) % 40;
		if (rand_r(&seed) % 4) slot->handle = 0;
		uint32_t sequence = (uint32_t)round + 1;
		slot->sequence = sequence;
		atomic_store(&slot->answer, DC_ANSWER(sequence, DC_ANSWER_PENDING));
		if (!client->queue) {
			/* All that it can reach: its own mailbox. */
			client->mailbox[0] = (struct dc_mailbox){.bells = (uint64_t)rand_r(&seed) << 32 | (uint32_t)rand_r(&seed), .ear = (uint32_t)rand_r(&seed) % 3, .spin_ns = (uint32_t)rand_r(&seed)};
			dc_mailbox_ring(client->mailbox, index);
		} else dc_queue_put(client->queue, rand_r(&seed) % 8 ? DC_ITEM(1, client->index, index) : (uint32_t)rand_r(&seed) & 0x3fffffff, 1000000);
		/* Who is cut off is not answered any more, and lies on. */
		unsigned patience = unanswered < 20 ? 20000 : 100;
		for (unsigned wait = 0; wait < patience && DC_ANSWER_STATE(atomic_load(&slot->answer)) == DC_ANSWER_PENDING; wait++) dc_pause();
		unanswered = DC_ANSWER_STATE(atomic_load(&slot->answer)) == DC_ANSWER_PENDING ? unanswered + 1 : 0;
	}
}

static void test_hostile(struct harness *harness, struct dc_client *honest, struct dc_client *liar) {
	pid_t child = fork();
	if (child == 0) {
		lie(liar, 20000);
		_exit(0);
	}
	struct loader loader = {.client = honest, .id = 9, .rounds = 3000};
	load(&loader);
	int status;
	waitpid(child, &status, 0);
	EXPECT(0, status);
	EXPECT(0, (int64_t)loader.wrong);
	EXPECT(0, kill(harness->service, 0));
	EXPECT(0, waitpid(harness->service, NULL, WNOHANG));
}

static void test_restart(struct harness *harness, struct dc_client *client) {
	uint64_t handle, fresh;
	char text[16] = {0};
	EXPECT(0, open_at(client, "kept", O_RDWR | O_CREAT, 0644, &handle));
	EXPECT(4, write_at(client, handle, 0, "kept"));
	struct call sync_call = {.operation = DC_OP_FSYNC, .handle = handle};
	EXPECT(0, harness_call(client, &sync_call));
	harness_restart(harness);
	EXPECT(4, read_at(client, handle, 0, text, 16));
	check(!memcmp(text, "kept", 4), "an open file stays open", 0);
	EXPECT(0, close_handle(client, handle));
	EXPECT(-EBADF, read_at(client, handle, 0, text, 4));
	EXPECT(0, open_at(client, "kept", O_RDWR, 0, &fresh));
	EXPECT(4, read_at(client, fresh, 0, text, 16));
	check(!memcmp(text, "kept", 4), "what was fsynced is there", 0);
	EXPECT(0, close_handle(client, fresh));
}

/* By the queue pool-init answers a process before the service has taken it: what that asks first is found, though whoever looked at the queue may not have known whose it was. Nobody sends it again. */
static void test_early(struct harness *harness, struct dc_client *known, struct dc_client *client) {
	if (harness->by_mailbox) return;
	harness_make_client(harness, client);
	unsigned index = dc_client_acquire(client, 0, (uint32_t)gettid());
	dc_client_slot(client, index)->operation = DC_OP_NULL;
	dc_client_send(client, index);
	for (unsigned i = 0; i < 100; i++) EXPECT(0, simple(known, DC_OP_NULL, NULL, 0)); /* behind it in the queue: the workers have seen it */
	_Atomic uint32_t *answer = &dc_client_slot(client, index)->answer;
	check(DC_ANSWER_STATE(atomic_load(answer)) == DC_ANSWER_PENDING, "a stranger's request is not served", 0);
	harness_tell_client(harness, client, 0, 0);
	for (unsigned round = 0; DC_ANSWER_STATE(atomic_load(answer)) != DC_ANSWER_DONE && round < 10000; round++) usleep(1000);
	check(DC_ANSWER_STATE(atomic_load(answer)) == DC_ANSWER_DONE, "what was asked early is answered", 0);
	dc_client_release(client, index);
}

int main(void) {
	struct harness harness;
	struct dc_client client[11];
	harness_start(&harness, NULL);
	for (unsigned i = 0; i < 8; i++) harness_attach(&harness, &client[i], 0, 0);
	harness_attach(&harness, &client[8], 1000, 1000);
	harness_attach(&harness, &client[9], 0, 0);
	EXPECT(0, simple(&client[0], DC_OP_NULL, NULL, 0));
	EXPECT(-ENOSYS, simple(&client[0], 999, NULL, 0));
	test_files(&client[0]);
	test_paths(&client[0]);
	test_permissions(&client[0], &client[8]);
	test_contention(client, 8, 300);
	test_hostile(&harness, &client[0], &client[9]);
	test_early(&harness, &client[0], &client[10]);
	test_restart(&harness, &client[0]);
	harness_stop(&harness);
	printf("%u passed, %u failed\n", passed, failed);
	return failed != 0;
}
