/*
 * hostile.c - a client that attaches as any other, and then writes what it likes into the memory that it was given. Everything follows from the seed.
 *   hostile POOLDIR DIRECTORY MODE SEED MILLISECONDS
 * One line of JSON at the end: whether it was cut off, and what a new attach answered then. Modes: see `modes`.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "page_index.h"
#include "client.h"
#include "mailbox.h"
#include "queue.h"
#include <diciclo/libservice.h>

#define CREATE (O_RDWR | O_CREAT)

static struct dc_client client;
static char attach_path[108], regions_path[108];
static const char *mount_path;
static uint64_t state, deadline_ns, rounds;
static uint64_t handle;
static uint32_t grant;
static uint32_t instance = 1;

static uint64_t next(void) {
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state * UINT64_C(0x2545f4914f6cdd1d);
}
static uint32_t below(uint32_t limit) { return (uint32_t)(next() >> 33) % limit; }

static bool over(void) { return atomic_load(&client.arena->closed) || dc_monotonic_ns() > deadline_ns; }

/* A value as a liar would choose it: near a border, or anything. */
static uint64_t nasty(void) {
	static const uint64_t borders[] = {0, 1, 63, 64, 4095, 4096, 65535, 65536, 1u << 20, (1u << 20) + 1, INT32_MAX, UINT32_MAX, INT64_MAX, UINT64_MAX, UINT64_MAX - 4096, UINT64_C(1) << 56, 0x7ffff000};
	return below(3) ? borders[below(sizeof borders / sizeof *borders)] + (uint64_t)below(5) - 2 : next() >> below(64);
}

/* ---- proper requests ---------------------------------------------------------------------------------------------------------- */
static int64_t call(struct dc_slot *fields, const char *path) {
	unsigned index = dc_client_acquire(&client, -1, (uint32_t)gettid());
	struct dc_slot *slot = dc_client_slot(&client, index);
	slot->operation = fields->operation;
	slot->flags = fields->flags;
	slot->instance = instance;
	slot->handle = fields->handle;
	slot->offset = fields->offset;
	slot->length = fields->length;
	slot->mode = fields->mode;
	slot->mask = fields->mask;
	slot->handle2 = 0;
	slot->path_length = path ? (uint32_t)strlen(path) : 0;
	slot->path2_length = 0;
	memcpy(slot->argument, fields->argument, sizeof slot->argument);
	if (path) memcpy(dc_client_buffer(&client, index), path, strlen(path));
	int64_t result = dc_client_call(&client, index);
	memcpy(fields->value, slot->value, sizeof fields->value);
	dc_client_release(&client, index);
	return result;
}

static int64_t open_own(const char *path) {
	struct dc_slot fields = {.operation = DC_OP_OPEN, .mode = 0600, .mask = CREATE};
	int64_t result = call(&fields, path);
	if (result == 0) handle = fields.value[0];
	return result;
}

static int64_t write_own(uint64_t offset, uint64_t length) {
	struct dc_slot fields = {.operation = DC_OP_WRITE, .handle = handle, .offset = offset, .length = length};
	int64_t result = call(&fields, NULL);
	if (result > 0) grant = (uint32_t)fields.value[1];
	return result;
}

static void notify(unsigned slot) {
	if (client.queue) dc_queue_put(client.queue, DC_ITEM(client.generation, client.index, slot), 1000000);
	else dc_mailbox_ring(client.mailbox, slot);
}

/* ---- lies --------------------------------------------------------------------------------------------------------------------- */
/* Any word of the arena's header and slots, with requests in between. */
static void flip_arena(void) {
	uint32_t *words = (uint32_t *)client.arena;
	for (unsigned i = 0; i < 64; i++) {
		uint32_t at = below(DC_ARENA_DATA_OFFSET / 4);
		if (at == offsetof(struct dc_arena, closed) / 4) continue;
		words[at] = below(2) ? (uint32_t)nasty() : words[at] ^ 1u << below(32);
	}
	notify(below(64));
}

/* A proper request with some of its fields lies. */
static void lie_in_fields(void) {
	unsigned index = below(DC_REQUEST_SLOTS);
	struct dc_slot *slot = dc_client_slot(&client, index);
	static const char path[] = "lies/../lies/./file"; /* in a directory of its own: what it asks may be proper, and done to that */
	uint32_t sequence = DC_ANSWER_SEQUENCE(atomic_load(&slot->answer)) + 1 + (below(50) == 0);
	slot->operation = (uint16_t)below(DC_OP_COUNT);
	slot->flags = below(32);
	slot->instance = instance;
	slot->handle = below(2) ? handle : 0;
	slot->handle2 = below(2) ? handle : 0;
	slot->offset = below(1 << 20);
	slot->length = below(1 << 16);
	slot->path_length = below(sizeof path);
	slot->path2_length = below(16);
	slot->mode = below(01000);
	slot->mask = below(8);
	slot->sequence = sequence & 0x3fffffff;
	memcpy(dc_client_buffer(&client, index), path, sizeof path);
	for (unsigned lies = below(3); lies; lies--) {
		switch (below(12)) {
		case 0: slot->operation = (uint16_t)nasty(); break;
		case 1: slot->instance = (uint32_t)nasty(); break;
		case 2: slot->handle = nasty(); break;
		case 3: slot->handle2 = nasty(); break;
		case 4: slot->offset = nasty(); break;
		case 5: slot->length = nasty(); break;
		case 6: slot->path_length = (uint32_t)nasty(); break;
		case 7: slot->path2_length = (uint32_t)nasty(); break;
		case 8: slot->mask = (uint32_t)nasty(); break;
		case 9: slot->mode = (uint32_t)nasty(); break;
		case 10: slot->argument[below(5)] = nasty(); break;
		default: slot->attr.size = nasty(); slot->attr.mtime_ns = (uint32_t)nasty(); break;
		}
	}
	atomic_store(&slot->answer, DC_ANSWER(sequence, DC_ANSWER_PENDING + below(2)));
	notify(index);
	/* And while it is served. */
	for (unsigned i = below(200); i; i--) {
		uint64_t *line = (uint64_t *)(void *)&slot->operation;
		line[2 + below(14)] = nasty(); /* the number of the request stays: others are to be found out too */
		dc_client_buffer(&client, index)[below(64)] = (unsigned char)next();
	}
}

/* Answer words, epochs, stages: of what is under way. */
static void flip_answers(void) {
	for (unsigned i = 0; i < 16; i++) {
		struct dc_slot *slot = dc_client_slot(&client, below(64));
		switch (below(4)) {
		case 0: atomic_store(&slot->answer, (uint32_t)next()); break;
		case 1: slot->taken = (uint32_t)nasty(); break;
		case 2: slot->stage = below(4); slot->stage_value = nasty(); break;
		default: slot->result = (int64_t)nasty(); break;
		}
	}
	lie_in_fields();
}

static void ring_for_nothing(void) {
	for (unsigned i = 0; i < 100; i++) notify(below(64));
}

static void flip_ears(void) {
	for (unsigned i = 0; i < 64; i++) {
		atomic_store(&client.mailbox->ear, below(2) ? DC_EAR_RUNG : (uint32_t)nasty());
		dc_futex_wake(&client.mailbox->ear, 1);
	}
}

static void lie_in_posts(void) {
	struct dc_post_ring *ring = dc_arena_post(client.arena);
	for (unsigned i = 0; i < 16; i++) {
		struct dc_post_record *record = (struct dc_post_record *)(dc_arena_posts(client.arena) + below(DC_POST_BYTES / DC_POST_ALIGN - 1) * DC_POST_ALIGN);
		*record = (struct dc_post_record){.length = below(2) ? DC_POST_ALIGN * (1 + below(8)) : (uint32_t)nasty(), .bytes = (uint32_t)nasty(), .handle = below(2) ? handle : nasty(), .offset = nasty(),
			.generation = below(2) ? grant : (uint32_t)nasty(), .kind = below(5)};
	}
	if (below(2)) atomic_store(&ring->tail, atomic_load(&ring->head) + DC_POST_ALIGN * below(64));
	else if (below(8) == 0) atomic_store(&ring->tail, nasty());
	if (below(4) == 0) atomic_store(&ring->head, nasty());
	if (below(4) == 0) atomic_store(&ring->generation, (uint32_t)nasty());
	notify(DC_SLOT_POSTS);
	write_own(below(1 << 16), 100);
}

/* Every word of the queue. Its slots, its tail, what it says about workers, its header. */
static void flip_queue(void) {
	struct dc_queue *queue = client.queue;
	if (!queue) return;
	for (unsigned i = 0; i < 8; i++) {
		_Atomic uint64_t *word = &queue->slot[below(DC_QUEUE_SLOTS)].word;
		switch (below(11)) {
		case 0: atomic_store(word, next()); break;
		case 1: atomic_fetch_xor(word, UINT64_C(1) << below(64)); break;
		case 2: atomic_store(&queue->tail, nasty()); break;
		case 3: atomic_fetch_add(&queue->tail, nasty() >> below(64)); break;
		case 4: atomic_fetch_sub(&queue->tail, below(4096)); break;
		case 5: atomic_store(&queue->board.workers, (uint32_t)nasty()); break;
		case 6: atomic_store(&queue->board.worker_cpu, below(4)); break;
		case 7: queue->running_target = (uint32_t)nasty(); break;
		case 8: queue->spin_ns = (uint32_t)nasty(); break;
		case 9: atomic_store(&queue->board.wake, (uint32_t)next()); break;
		default: dc_queue_put(queue, (uint32_t)next() & 0x3fffffff, 1000); break;
		}
	}
	usleep(below(2000));
}

/* Items and handles of other clients. */
static void forge(void) {
	for (unsigned i = 0; i < 64; i++) {
		if (client.queue) dc_queue_put(client.queue, DC_ITEM(below(1024), below(64), below(64)), 1000000);
		if (i % 8 == 0) call(&(struct dc_slot){.operation = DC_OP_FSYNC, .handle = handle | UINT64_C(1) << 60}, NULL);
		struct dc_slot fields = {.operation = below(2) ? DC_OP_READ : DC_OP_WRITE, .handle = (handle & ~UINT64_C(0xffffff)) + ((uint64_t)below(4) << 24) + below(64), .length = 100};
		if (fields.handle != handle && call(&fields, NULL) > 0) {
			printf("{\"mode\": \"forge\", \"stolen\": true}\n");
			exit(1);
		}
	}
}

/* ---- what it must not get ------------------------------------------------------------------------------------------------------ */
static int ask_region(uint32_t number, uint32_t index, int *error) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	strcpy(address.sun_path, regions_path);
	struct dc_region_request request = {DC_REGION_MAGIC, index, client.generation, number};
	struct dc_region_answer answer = {0};
	char control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = {&answer, sizeof answer};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0), region = -1;
	if (connect(fd, (struct sockaddr *)&address, sizeof address) || send(fd, &request, sizeof request, 0) < 0 || recvmsg(fd, &message, 0) < 0) answer.error = errno;
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	if (!answer.error && header) memcpy(&region, CMSG_DATA(header), sizeof region);
	close(fd);
	*error = answer.error;
	return region;
}

/* The pages' heat is for clients to write: it can be nonsense, and no larger or smaller than it is. */
static int spoil_heat(const struct dc_index_head *head) {
	int error, fd = ask_region(head->heat, client.index, &error);
	if (fd < 0) return 8;
	unsigned char *heat = mmap(NULL, head->pages, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (heat == MAP_FAILED) return 9;
	for (uint32_t i = 0; i < head->pages; i++) heat[i] = (unsigned char)(i * 37);
	return ftruncate(fd, 0) == 0 || ftruncate(fd, (off_t)1 << 30) == 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == 0 ? 10 : 0;
}

/* A region of the cache, by the honest way; then more than one is given. What it got, or 0. */
static int take_regions(void) {
	unsigned index = dc_client_acquire(&client, -1, (uint32_t)gettid());
	struct dc_slot *slot = dc_client_slot(&client, index);
	write_own(0, 8192);
	bool given = false;
	for (unsigned i = 0; i < 100 && !given; i++) { /* not while our grant to post lasts */
		*slot = (struct dc_slot){.answer = atomic_load(&slot->answer), .operation = DC_OP_READ, .instance = instance, .handle = handle, .length = 4096, .flags = DC_READ_PLACE};
		given = dc_client_call(&client, index) > 0 && slot->value[0];
	}
	if (!given) return client.queue ? 1 : 0; /* without trust there is none */
	uint32_t region = (uint32_t)(slot->value[0] >> 32);
	dc_client_release(&client, index);
	int error, fd = ask_region(region, client.index, &error);
	if (fd < 0) return 2;
	const struct dc_index_head *head = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	if (head == MAP_FAILED) return 3;
	if (mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED) return 4;
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	if (open(path, O_RDWR) >= 0 || open(path, O_WRONLY) >= 0) return 5;
	if (ftruncate(fd, 0) == 0 || write(fd, "x", 1) == 1 || fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == 0) return 6;
	if (ask_region(region, client.index + 1, &error) >= 0) return 7;
	return spoil_heat(head);
}

static int raw_attach(int descriptors[2], struct dc_attach_answer *answer) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	strcpy(address.sun_path, attach_path);
	struct dc_attach_request request = {DC_ATTACH_MAGIC, DC_LAYOUT_VERSION};
	char space[CMSG_SPACE(2 * sizeof(int))];
	struct iovec iov = {answer, sizeof *answer};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	if (connect(fd, (struct sockaddr *)&address, sizeof address) || send(fd, &request, sizeof request, 0) < 0 || recvmsg(fd, &message, 0) < 0 || !CMSG_FIRSTHDR(&message)) return -1;
	memcpy(descriptors, CMSG_DATA(CMSG_FIRSTHDR(&message)), CMSG_FIRSTHDR(&message)->cmsg_len - CMSG_LEN(0));
	close(fd);
	return 0;
}

/* An arena that came by inheritance, its owner dead: nobody serves it, and nothing of the owner's is open any more. */
static int use_of_the_dead(void) {
	int pair[2];
	struct message {
		struct dc_attach_answer answer;
		uint64_t handle;
	} told;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair)) return 1;
	pid_t owner = fork();
	if (owner == 0) {
		int given[2] = {-1, -1};
		if (raw_attach(given, &told.answer)) _exit(1);
		struct dc_queue *queue = told.answer.queue_size ? mmap(NULL, sizeof *queue, PROT_READ | PROT_WRITE, MAP_SHARED, given[1], 0) : NULL;
		dc_client_init(&client, queue, mmap(NULL, DC_ARENA_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, given[0], 0), told.answer.client, told.answer.generation);
		if (open_own("own/of-the-dead")) _exit(2);
		told.handle = handle;
		char space[CMSG_SPACE(sizeof(int))] = {0};
		struct iovec iov = {&told, sizeof told};
		struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
		*CMSG_FIRSTHDR(&message) = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), given, sizeof(int));
		_exit(sendmsg(pair[1], &message, 0) < 0 ? 3 : 0);
	}
	char space[CMSG_SPACE(sizeof(int))];
	struct iovec iov = {&told, sizeof told};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
	int status, fd;
	if (waitpid(owner, &status, 0) != owner || status || recvmsg(pair[0], &message, MSG_DONTWAIT) < 0) return 2;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
	usleep(300000); /* the service hears of its end */
	struct dc_client ghost;
	dc_client_init(&ghost, client.queue, mmap(NULL, DC_ARENA_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), told.answer.client, told.answer.generation);
	struct dc_slot *slot = dc_client_slot(&ghost, 5), fields = {.operation = DC_OP_WRITE, .handle = told.handle, .length = 5};
	slot->operation = DC_OP_STAT;
	slot->instance = instance;
	slot->sequence = 77;
	atomic_store(&slot->answer, DC_ANSWER(77, DC_ANSWER_PENDING));
	if (ghost.queue) dc_queue_put(ghost.queue, DC_ITEM(ghost.generation, ghost.index, 5), 1000000);
	else dc_mailbox_ring(ghost.mailbox, 5);
	usleep(300000);
	if (DC_ANSWER_STATE(atomic_load(&slot->answer)) == DC_ANSWER_DONE) return 3;
	return call(&fields, NULL) == -EBADF ? 0 : 4;
}

/* Handles of files that others hold: the kernel gave this process no descriptor of them, nor one for writing of what it may read. */
static int adopt_others(void) {
	char path[256];
	struct stat secret, shown;
	snprintf(path, sizeof path, "%s/shown", mount_path);
	int fd = open(path, O_RDONLY);
	if (fd < 0 || fstat(fd, &shown)) return 1;
	snprintf(path, sizeof path, "%s/secret", mount_path);
	if (stat(path, &secret) || open(path, O_RDONLY) >= 0) return 2;
	if (client.queue) return 0; /* trust: pool believes */
	struct dc_slot wrong[] = {
		{.argument = {secret.st_ino, 0}, .mask = O_RDONLY},
		{.argument = {secret.st_ino, 0}, .mask = O_PATH | O_DIRECTORY},
		{.argument = {secret.st_ino, (uint64_t)fd + 1}, .mask = O_RDONLY},
		{.argument = {secret.st_ino, (uint64_t)fd + 1}, .mask = O_PATH},
		{.argument = {shown.st_ino, (uint64_t)fd + 1}, .mask = O_RDWR},
		{.argument = {shown.st_ino, (uint64_t)fd + 1}, .mask = O_WRONLY},
		{.argument = {shown.st_ino, UINT64_MAX}, .mask = O_RDONLY},
		{.argument = {shown.st_ino, (uint64_t)fd + 2}, .mask = O_RDONLY},
	};
	for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		wrong[i].operation = DC_OP_ADOPT;
		if (call(&wrong[i], NULL) >= 0) return 10 + (int)i;
	}
	struct dc_slot right = {.operation = DC_OP_ADOPT, .argument = {shown.st_ino, (uint64_t)fd + 1}, .mask = O_RDONLY};
	return call(&right, NULL) == 0 ? 0 : 3;
}

static const struct mode {
	const char *name;
	void (*round)(void);
	int (*once)(void);
} modes[] = {
	{"arena", flip_arena, NULL}, {"fields", lie_in_fields, NULL}, {"answers", flip_answers, NULL}, {"rings", ring_for_nothing, NULL}, {"ears", flip_ears, NULL}, {"posts", lie_in_posts, NULL},
	{"queue", flip_queue, NULL}, {"forge", forge, NULL}, {"regions", NULL, take_regions}, {"dead", NULL, use_of_the_dead}, {"adopt", NULL, adopt_others},
};

int main(int argc, char **argv) {
	if (argc != 6) return 2;
	const struct mode *mode = modes;
	while (mode < modes + sizeof modes / sizeof *modes && strcmp(mode->name, argv[3])) mode++;
	if (mode == modes + sizeof modes / sizeof *modes) return 2;
	snprintf(attach_path, sizeof attach_path, "%s/attach.sock", argv[1]);
	snprintf(regions_path, sizeof regions_path, "%s/regions.sock", argv[1]);
	mount_path = argv[2];
	state = (strtoull(argv[4], NULL, 10) + 1) * UINT64_C(0x9e3779b97f4a7c15);
	deadline_ns = dc_monotonic_ns() + strtoull(argv[5], NULL, 10) * 1000000u;
	int error = dc_client_attach(&client, attach_path, NULL);
	char own[64];
	bool fields = !strcmp(mode->name, "fields");
	snprintf(own, sizeof own, "%s/%s", fields ? "lies" : "own", fields ? "file" : mode->name);
	if (error || open_own(own) || write_own(0, 100) != 100) {
		printf("{\"mode\": \"%s\", \"error\": %d}\n", mode->name, error);
		return 1;
	}
	int once = mode->once ? mode->once() : 0;
	for (; mode->round && !over(); rounds++) mode->round();
	bool cut = atomic_load(&client.arena->closed);
	struct dc_client again;
	int second = cut ? dc_client_attach(&again, attach_path, NULL) : 0;
	printf("{\"mode\": \"%s\", \"pid\": %d, \"rounds\": %llu, \"cut\": %s, \"again\": %d, \"once\": %d}\n", mode->name, (int)getpid(), (unsigned long long)rounds, cut ? "true" : "false", second, once);
	return once != 0;
}
