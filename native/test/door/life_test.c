/* life_test.c - restarts, blocked requests, handle names, what is left behind. */
#include "suites.h"

#include <dirent.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

static unsigned threads_now(void) {
	unsigned count = 0;
	DIR *tasks = opendir("/proc/self/task");
	CHECK(tasks);
	for (struct dirent *entry; (entry = readdir(tasks));) count += entry->d_name[0] != '.';
	closedir(tasks);
	return count;
}

/* Until the door's threads are gone, which are detached: one that ends holds locks of the address sanitizer, and a fork would copy them as they are. The thread sanitizer has a thread of its own. */
static void stop_stack(void) {
	world_stack();
	for (unsigned tries = 0; threads_now() > 1 && tries < 500; tries++) usleep(1000);
}

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

/* Requests under way when the service dies: stat is repeated, unlink (done, but neither noted nor answered) is answered by what its name says and is not done twice. In two processes: the service half is killed. */
void life_resend(void) {
	if (!kernel_resends()) return;
	CHECK(mkdir(path("d"), 0755) == 0);
	write_file(path("d/g"), "deep");
	write_file(path("victim"), "v");
	stop_stack();
	/* A service in a child process, which holds one lookup and one done unlink, and is killed. */
	int ready[2];
	CHECK(pipe(ready) == 0);
	pid_t service = fork();
	if (service == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
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
	CHECK((int)(intptr_t)unlinked == 0);
	CHECK(found);
	struct stat st;
	CHECK_ERRNO(stat(path("victim"), &st), ENOENT);
	write_file(path("victim"), "again");
	CHECK(!strcmp(read_file(path("victim")), "again"));
}

/* ---- what must happen once, killed at each of its steps --------------------------------------------------------------------- */
static void *once_create(void *argument) {
	(void)argument;
	struct stat st;
	CHECK_ERRNO(stat(path("once"), &st), ENOENT); /* the kernel has noted that */
	errno = 0;
	int fd = open(path("once"), O_CREAT | O_EXCL | O_WRONLY, 0640);
	return (void *)(intptr_t)(fd >= 0 ? close(fd) : errno);
}
static void *once_unlink(void *argument) {
	(void)argument;
	return (void *)(intptr_t)(unlink(path("once")) == 0 ? 0 : errno);
}
static void created_then_hold(struct dc_node *node) {
	(void)node;
	world.after[HOOK_GETATTR] = hold_here; /* the answer's */
}
/* The kernel's own lookup of the name succeeds, the door's one before it removes it does not. */
static void next_lookup_fails(struct dc_node *node) {
	(void)node;
	world.after[HOOK_LOOKUP] = NULL;
	world.lookup_error = -ENOMEM;
}

/* The operation's errno when the service is killed where a hook holds it, and a successor goes on. */
static int killed_at(void *(*operation)(void *), hook_function before_create, hook_function after_create, hook_function before_unlink, hook_function after_unlink) {
	int ready[2];
	char c;
	pthread_t caller;
	void *result;
	stop_stack();
	CHECK(pipe(ready) == 0);
	pid_t service = fork();
	if (service == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		arm(1);
		world_door(true, 8);
		world.before[HOOK_CREATE] = before_create;
		world.after[HOOK_CREATE] = after_create;
		world.before[HOOK_UNLINK] = before_unlink;
		world.after[HOOK_UNLINK] = after_unlink;
		CHECK(write(ready[1], "r", 1) == 1);
		while (sem_wait(&reached)) continue;
		CHECK(write(ready[1], "h", 1) == 1);
		for (;;) pause();
	}
	world.host.epoch++; /* the child's */
	CHECK(read(ready[0], &c, 1) == 1);
	CHECK(pthread_create(&caller, NULL, operation, NULL) == 0);
	CHECK(read(ready[0], &c, 1) == 1 && c == 'h');
	CHECK(kill(service, SIGKILL) == 0 && waitpid(service, NULL, 0) == service);
	close(ready[0]);
	close(ready[1]);
	world_door(true, 8);
	pthread_join(caller, &result);
	return (int)(intptr_t)result;
}

void life_once(void) {
	if (!kernel_resends()) return;
	struct stat st;
	CHECK(killed_at(once_create, hold_here, NULL, NULL, NULL) == 0); /* begun, not made */
	CHECK(stat(path("once"), &st) == 0 && (st.st_mode & 0777) == 0640);
	CHECK(killed_at(once_unlink, NULL, NULL, hold_here, NULL) == 0); /* begun, not removed */
	CHECK_ERRNO(stat(path("once"), &st), ENOENT);
	CHECK(killed_at(once_create, NULL, created_then_hold, NULL, NULL) == 0); /* made and noted */
	CHECK(stat(path("once"), &st) == 0);
	CHECK(killed_at(once_unlink, NULL, NULL, NULL, hold_here) == 0); /* removed, not noted: the name tells */
	CHECK_ERRNO(stat(path("once"), &st), ENOENT);
	CHECK(killed_at(once_create, NULL, hold_here, NULL, NULL) == EIO); /* made, not noted: perhaps by somebody else */
	CHECK(stat(path("once"), &st) == 0);
	world.after[HOOK_LOOKUP] = next_lookup_fails;
	CHECK(killed_at(once_unlink, NULL, NULL, NULL, hold_here) == EIO); /* removed, not noted, and not known what was there */
	world.after[HOOK_LOOKUP] = NULL;
	world.lookup_error = 0;
	CHECK_ERRNO(stat(path("once"), &st), ENOENT);
}

/* A service that may die between any two instructions of what it writes down (the record is in shared memory): whichever it was, the successor reads the truth. */
#define STEPPED 77u /* the kernel's number of the request */
static void write_down(void) {
	struct fuse_in_header header = {.unique = STEPPED};
	door_current = (struct door_request){.door = world.instance.door, .header = &header};
	raise(SIGSTOP);
	door_once_begin(world.instance.door, 7);
	door_once_end(-5, 9);
	door_once_answered();
	raise(SIGSTOP);
	_exit(0);
}
void life_steps(void) {
	struct fuse_in_header header = {.unique = STEPPED | DOOR_UNIQUE_RESEND};
	unsigned steps[4] = {0};
	int status;
	stop_stack();
	world_door(true, 1);
	pid_t service = fork();
	if (service == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0) write_down();
		_exit(1);
	}
	CHECK(waitpid(service, &status, 0) == service && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
	do {
		CHECK(ptrace(PTRACE_SINGLESTEP, service, NULL, NULL) == 0);
		CHECK(waitpid(service, &status, 0) == service && WIFSTOPPED(status));
		struct door_seen seen;
		door_current = (struct door_request){.door = world.instance.door, .header = &header, .resent = true};
		enum door_stage stage = door_once_seen(world.instance.door, &seen);
		CHECK(stage <= DOOR_DONE);
		steps[stage]++;
		if (stage == DOOR_BEGUN) CHECK(seen.value == 7);
		if (stage == DOOR_DONE) CHECK(seen.value == 9 && seen.result == -5);
	} while (WSTOPSIG(status) == SIGTRAP);
	CHECK(steps[DOOR_NOT_BEGUN] && steps[DOOR_BEGUN] && steps[DOOR_DONE]);
	CHECK(kill(service, SIGKILL) == 0 && waitpid(service, NULL, 0) == service);
	memset(&door_current, 0, sizeof door_current);
}

/*
 * Killed again and again at any moment, while threads make, rename, link and remove names of their own. Every answer must be true, and EIO the exception.
 * KILLS: how many (default 40).
 */
#define MAKERS 3u
static struct { /* shared: the makers are a process of their own, so that who forks the services has no threads, with locks of the address sanitizer in their hands */
	_Atomic bool over;
	_Atomic unsigned done, doubt;
} *killing;

/* A name that a step left behind or not: after EIO either is right. */
static bool step(int result, const char *what) {
	if (result == 0) {
		atomic_fetch_add(&killing->done, 1);
		return true;
	}
	if (errno != EIO) fprintf(stderr, "  %s: %s\n", what, strerror(errno));
	CHECK(errno == EIO);
	atomic_fetch_add(&killing->doubt, 1);
	return false;
}
static bool present(const char *name) {
	return access(backing_path(name), F_OK) == 0;
}
static void *make_and_remove(void *argument) {
	unsigned maker = (unsigned)(uintptr_t)argument;
	char first[32], second[32], third[32];
	for (unsigned i = 0; !atomic_load(&killing->over); i++) {
		snprintf(first, sizeof first, "m%u-%u", maker, i);
		snprintf(second, sizeof second, "n%u-%u", maker, i);
		snprintf(third, sizeof third, "l%u-%u", maker, i);
		if (i % 4 == 3) { /* a directory */
			if (step(mkdir(path(first), 0755), "mkdir")) CHECK(present(first));
			if (present(first) && step(rmdir(path(first)), "rmdir")) CHECK(!present(first));
			rmdir(backing_path(first));
			continue;
		}
		int fd = open(path(first), O_CREAT | O_EXCL | O_WRONLY, 0644);
		if (step(fd < 0 ? -1 : 0, "create")) CHECK(close(fd) == 0 && present(first));
		if (present(first) && step(rename(path(first), path(second)), "rename")) CHECK(!present(first) && present(second));
		int linked = -1; /* a node that a dead service gave out is lost here (no keeper), and has not been linked */
		errno = ESTALE;
		for (int tries = 0; tries < 100 && linked && errno == ESTALE && present(second); tries++) linked = link(path(second), path(third));
		if (present(second) && step(linked, "link")) CHECK(present(third));
		if (present(second) && step(unlink(path(second)), "unlink")) CHECK(!present(second));
		unlink(backing_path(first)), unlink(backing_path(second)), unlink(backing_path(third));
	}
	return NULL;
}

static pid_t start_makers(int go) {
	pid_t pid = fork();
	if (pid) return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pthread_t makers[MAKERS];
	char c;
	CHECK(read(go, &c, 1) == 1);
	for (uintptr_t j = 0; j < MAKERS; j++) CHECK(pthread_create(&makers[j], NULL, make_and_remove, (void *)j) == 0);
	for (unsigned j = 0; j < MAKERS; j++) pthread_join(makers[j], NULL);
	_exit(0);
}

void life_kills(void) {
	if (!kernel_resends()) return;
	unsigned kills = getenv("KILLS") ? (unsigned)atoi(getenv("KILLS")) : 40, random = 1;
	int ready[2], go[2], status;
	char c;
	stop_stack();
	CHECK(pipe(ready) == 0 && pipe(go) == 0);
	killing = mmap(NULL, sizeof *killing, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(killing != MAP_FAILED);
	pid_t makers = start_makers(go[0]);
	for (unsigned i = 0; i <= kills; i++) {
		pid_t service = fork();
		if (service == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			world_door(true, 8);
			CHECK(write(ready[1], "r", 1) == 1);
			for (;;) pause();
		}
		world.host.epoch++;
		CHECK(read(ready[0], &c, 1) == 1);
		if (i == 0) CHECK(write(go[1], "g", 1) == 1);
		unsigned before = atomic_load(&killing->done); /* each service gets something done, however busy the machine */
		while (atomic_load(&killing->done) == before && waitpid(makers, &status, WNOHANG) == 0) usleep(1000);
		CHECK(atomic_load(&killing->done) != before);
		random = random * 1103515245u + 12345u;
		usleep((random >> 8) % 20000);
		if (i == kills) {
			atomic_store(&killing->over, true);
			CHECK(waitpid(makers, &status, 0) == makers && status == 0);
		}
		CHECK(kill(service, SIGKILL) == 0 && waitpid(service, NULL, 0) == service);
	}
	for (int i = 0; i < 2; i++) close(ready[i]), close(go[i]);
	world_door(true, 8);
	printf("  %u kills: %u operations answered, %u in doubt\n", kills, atomic_load(&killing->done), atomic_load(&killing->doubt));
	munmap(killing, sizeof *killing);
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
