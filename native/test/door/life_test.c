/* life_test.c - restarts, blocked requests, handle names, what is left behind. */
#include "suites.h"

#include <semaphore.h>
#include <sys/mman.h>
#include <signal.h>
#include <sys/wait.h>

static sem_t reached, go_on;
static _Atomic int hold;
static void hold_here(struct dc_node *node) {
	(void)node;
	if (atomic_fetch_sub(&hold, 1) <= 0) return;
	sem_post(&reached);
	while (sem_wait(&go_on)) continue;
}
static void arm(int count) {
	sem_init(&reached, 0, 0);
	sem_init(&go_on, 0, 0);
	atomic_store(&hold, count);
}

static unsigned thread_count(void) {
	struct dc_door *door = world.instance.door;
	pthread_mutex_lock(&door->lock);
	unsigned count = door->thread_count;
	pthread_mutex_unlock(&door->lock);
	return count;
}
static uint32_t node_count(void) {
	struct door_table *table = &world.instance.door->table;
	pthread_mutex_lock(&table->lock);
	uint32_t count = table->count;
	pthread_mutex_unlock(&table->lock);
	return count;
}

static void *fsync_main(void *argument) {
	char name[32]; /* files of their own: the kernel lets one fsync of a file through at a time */
	snprintf(name, sizeof name, "slow%d", (int)(intptr_t)argument);
	int fd = open(path(name), O_RDWR | O_CREAT, 0644);
	CHECK(fd >= 0 && fsync(fd) == 0 && close(fd) == 0);
	return NULL;
}
/* Six blocked fsyncs of eight threads: others go on, and the extra threads end afterwards. */
void life_blocked_fsync(void) {
	pthread_t threads[6];
	write_file(path("slow"), "x");
	world.before[HOOK_FSYNC] = hold_here;
	arm(6);
	for (int i = 0; i < 6; i++) pthread_create(&threads[i], NULL, fsync_main, (void *)(intptr_t)i);
	for (int i = 0; i < 6; i++) while (sem_wait(&reached)) continue;
	for (int i = 0; i < 200; i++) {
		char name[32];
		snprintf(name, sizeof name, "other%d", i);
		write_file(path(name), "text");
		CHECK(!strcmp(read_file(path(name)), "text"));
	}
	for (int i = 0; i < 6; i++) sem_post(&go_on);
	for (int i = 0; i < 6; i++) pthread_join(threads[i], NULL);
	for (int i = 0; i < 500 && thread_count() > 3; i++) usleep(10000), write_file(path("slow"), "y");
	CHECK(thread_count() <= 3);
}

void life_handle_names(void) {
	struct stat a, b;
	write_file(path("h"), "by handle");
	world.handle_node = stack_node("h");
	const char *name = ".diciclo-handle-0000000000000001";
	CHECK(!strcmp(read_file(path(name)), "by handle"));
	CHECK(stat(path(name), &a) == 0 && stat(path("h"), &b) == 0 && a.st_ino == b.st_ino);
	CHECK(unlink(path("h")) == 0);
	int fd = open(path(name), O_RDWR); /* unlinked, but open elsewhere */
	CHECK(fd >= 0 && pwrite(fd, "BY", 2, 0) == 2 && close(fd) == 0);
	CHECK(!strcmp(read_file(path(name)), "BY handle"));
	CHECK_ERRNO(unlink(path(name)), EPERM);
	CHECK_ERRNO(rename(path(name), path("x")), EPERM);
	struct dc_node *gone = world.handle_node;
	world.handle_node = NULL;
	stack_forget(gone);
	CHECK_ERRNO(open(path(name), O_RDONLY), ENOENT);
	CHECK_ERRNO(open(path(".diciclo-handle-zz"), O_RDONLY), ENOENT);
	world.handle_node = stack_node("");
	CHECK_ERRNO(open(path(name), O_RDONLY), EISDIR);
	stack_forget(world.handle_node);
}

/* dc_door_find and dc_door_knows follow the kernel's lookups and forgets. */
void life_forget(void) {
	struct stat st;
	CHECK(mkdir(path("d"), 0755) == 0);
	for (int i = 0; i < 3000; i++) {
		char name[32];
		snprintf(name, sizeof name, "d/f%d", i);
		write_file(path(name), "x");
	}
	CHECK(stat(path("d/f7"), &st) == 0);
	struct dc_node *node = dc_door_find(world.instance.door, st.st_ino);
	CHECK(node && dc_door_knows(node) && node->ino == st.st_ino);
	for (int i = 0; i < 3000; i++) {
		char name[32];
		snprintf(name, sizeof name, "d/f%d", i);
		CHECK(unlink(path(name)) == 0);
	}
	for (int i = 0; i < 500 && dc_door_knows(node); i++) usleep(10000);
	CHECK(!dc_door_knows(node) && !dc_door_find(world.instance.door, st.st_ino));
	stack_forget(node);
	for (int i = 0; i < 500 && node_count() > 2; i++) usleep(10000);
	CHECK(node_count() <= 2); /* the root and d */
	CHECK(dc_door_find(world.instance.door, 0x123456789) == NULL);
}

/* ---- restarts ------------------------------------------------------------------------------------------------------------- */
static bool kernel_resends(void) {
	struct fuse_init_in init;
	memcpy(&init, world.init + sizeof(struct fuse_in_header), 16);
	return init.minor >= 40;
}

void life_restart(void) {
	if (!kernel_resends()) return;
	write_file(path("f"), "before");
	CHECK(mkdir(path("d"), 0755) == 0);
	write_file(path("d/g"), "deep");
	for (int round = 0; round < 5; round++) {
		char text[32], name[32];
		int fd = open(path("f"), O_RDWR), root = open(world.mount, O_RDONLY | O_DIRECTORY);
		CHECK(fd >= 0 && root >= 0);
		CHECK(!strcmp(read_file(path("d/g")), round ? text : "deep") || round);
		world_stack();
		/* While no service runs, somebody else changes the files. */
		snprintf(text, sizeof text, "round %d!", round);
		write_file(backing_path("f"), text);
		snprintf(name, sizeof name, "new%d", round);
		write_file(backing_path(name), "n");
		if (round) {
			snprintf(name, sizeof name, "new%d", round - 1);
			CHECK(unlink(backing_path(name)) == 0);
		}
		world_door(true, 8);
		struct stat st;
		CHECK(stat(path("f"), &st) == 0 && st.st_size == (off_t)strlen(text));
		CHECK(!strcmp(read_file(path("f")), text) && !strcmp(read_file(path("d/g")), "deep"));
		snprintf(name, sizeof name, "new%d", round);
		CHECK(stat(path(name), &st) == 0);
		if (round) {
			snprintf(name, sizeof name, "new%d", round - 1);
			CHECK_ERRNO(stat(path(name), &st), ENOENT);
		}
		/* The root keeps its number: a descriptor of it goes on. */
		CHECK(fstatat(root, "f", &st, 0) == 0);
		char old[32] = {0};
		ssize_t got = pread(fd, old, sizeof old, 0); /* an old descriptor: an error or the truth */
		CHECK(got < 0 ? errno == ESTALE || errno == EIO : !strcmp(old, text));
		CHECK(pwrite(fd, "x", 1, 0) < 0 || !strncmp(read_file(backing_path("f")), "x", 1));
		close(fd);
		close(root);
	}
}

static void *resent_stat(void *argument) {
	struct stat st;
	return stat(path("d/g"), &st) == 0 ? argument : NULL;
}
static void *resent_unlink(void *argument) {
	(void)argument;
	return (void *)(intptr_t)(unlink(path("victim")) == 0 ? 0 : errno);
}

/* Requests under way when the service dies: stat is repeated, unlink (done, but unanswered) answers EIO and is not done twice. Made in two processes: the service half is killed. */
void life_resend(void) {
	if (!kernel_resends()) return;
	CHECK(mkdir(path("d"), 0755) == 0);
	write_file(path("d/g"), "deep");
	write_file(path("victim"), "v");
	world_stack();
	/* A service in a child process, which holds one lookup and one done unlink, and is killed. */
	int ready[2];
	CHECK(pipe(ready) == 0);
	pid_t service = fork();
	if (service == 0) {
		close(ready[0]);
		arm(2);
		world.before[HOOK_LOOKUP] = NULL;
		world_door(true, 8);
		world.after[HOOK_UNLINK] = hold_here;
		world.after[HOOK_READDIR] = hold_here;
		CHECK(write(ready[1], "r", 1) == 1);
		while (sem_wait(&reached)) continue; /* the unlink is done */
		CHECK(write(ready[1], "u", 1) == 1);
		pause();
	}
	close(ready[1]);
	world.host.epoch++; /* the child's */
	char c;
	CHECK(read(ready[0], &c, 1) == 1);
	pthread_t unlinker, statter;
	CHECK(pthread_create(&unlinker, NULL, resent_unlink, NULL) == 0);
	CHECK(read(ready[0], &c, 1) == 1 && c == 'u');
	CHECK(kill(service, SIGSTOP) == 0);
	CHECK(pthread_create(&statter, NULL, resent_stat, &service) == 0);
	usleep(50000);
	CHECK(kill(service, SIGKILL) == 0 && waitpid(service, NULL, 0) == service);
	world_door(true, 8);
	void *unlinked, *found;
	pthread_join(unlinker, &unlinked);
	pthread_join(statter, &found);
	CHECK((int)(intptr_t)unlinked == EIO);
	CHECK(found);
	struct stat st;
	CHECK_ERRNO(stat(path("victim"), &st), ENOENT);
	write_file(path("victim"), "again");
	CHECK(!strcmp(read_file(path("victim")), "again"));
}

/* Nonsense in place of the INIT request is refused; the descriptor is closed, nothing else happens. */
void life_bad_init(void) {
	struct dc_error error = {0};
	for (size_t length = 0; length < 200; length += 13) {
		unsigned char junk[200];
		memset(junk, (int)length, sizeof junk);
		struct dc_door_options options = {.fuse_fd = open("/dev/null", O_RDWR), .init_request = junk, .init_length = length, .cache = true, .threads_max = 2};
		CHECK(dc_door_start(&world.instance, &options, &error) == NULL && error.message[0]);
		CHECK(fcntl(options.fuse_fd, F_GETFD) == -1);
	}
	/* dc_door_table_open and close of the failed doors took the root's entry: make it ours again for the end of the test. */
	world_stack();
	world_door(true, 2);
}
