/*
 * grow_test.c - a file that grows through the library while a process has it mapped through the kernel: what was grown can be read there, and nobody dies of SIGBUS.
 * The readers are processes of their own, as door and changer are in this one, and ask the kernel for nothing but pages.
 */
#include "suites.h"

#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { PAGE_BYTES = 4096, PAGES = 64 };

/* ---- a process that has the file mapped ----------------------------------------------------------------------------------- */
struct mapper {
	pid_t pid;
	int line;
};

/* Answers for each page number what byte stands at its start, or -1: it faults. */
static sigjmp_buf faulted;
static void on_fault(int number) {
	(void)number;
	siglongjmp(faulted, 1);
}
static _Noreturn void mapper_main(int line, const char *name) {
	int fd = open(path(name), O_RDONLY);
	const volatile char *map = mmap(NULL, DOOR_STORE_SPAN + PAGE_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	signal(SIGBUS, on_fault);
	int number = map == MAP_FAILED ? -2 : 0;
	if (write(line, &number, sizeof number) != sizeof number) _exit(1);
	while (read(line, &number, sizeof number) == sizeof number) {
		int answer = sigsetjmp(faulted, 1) ? -1 : map[number];
		if (write(line, &answer, sizeof answer) != sizeof answer) break;
	}
	_exit(0);
}
static int ask(const struct mapper *mapper, int offset) {
	int answer = -3;
	CHECK(write(mapper->line, &offset, sizeof offset) == sizeof offset);
	CHECK(read(mapper->line, &answer, sizeof answer) == sizeof answer);
	return answer;
}
static struct mapper mapper_start(const char *name) {
	int pair[2], ready = -1;
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	struct mapper mapper = {.line = pair[0]};
	mapper.pid = fork();
	if (mapper.pid == 0) {
		close(pair[0]);
		mapper_main(pair[1], name);
	}
	close(pair[1]);
	CHECK(read(mapper.line, &ready, sizeof ready) == sizeof ready && ready == 0);
	return mapper;
}
static void mapper_end(const struct mapper *mapper) {
	int status;
	close(mapper->line);
	CHECK(waitpid(mapper->pid, &status, 0) == mapper->pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void grow_page(const char *name, int page) {
	char text[PAGE_BYTES + 1];
	memset(text, 'A' + page % 26, PAGE_BYTES);
	text[PAGE_BYTES] = 0;
	change_write(name, (off_t)page * PAGE_BYTES, text);
}

/* ---- tests ---------------------------------------------------------------------------------------------------------------- */
void grow_mapped(void) {
	change_create("f", "");
	grow_page("f", 0);
	struct mapper mapper = mapper_start("f");
	CHECK(ask(&mapper, 0) == 'A' && ask(&mapper, PAGE_BYTES) == -1);
	for (int page = 1; page < PAGES / 2; page++) {
		grow_page("f", page);
		CHECK(ask(&mapper, page * PAGE_BYTES) == 'A' + page % 26);
		CHECK(ask(&mapper, page * PAGE_BYTES + PAGE_BYTES - 1) == 'A' + page % 26);
		CHECK(ask(&mapper, (page + 1) * PAGE_BYTES) == -1);
	}
	/* By small appends, the last page seen half full. */
	off_t end = PAGES / 2 * PAGE_BYTES;
	for (int i = 0; i < 100; i++, end += 100) {
		char text[101];
		memset(text, 'a' + i % 26, 100);
		text[100] = 0;
		change_write("f", end, text);
		CHECK(ask(&mapper, (int)end) == 'a' + i % 26 && ask(&mapper, (int)end + 99) == 'a' + i % 26);
	}
	/* By ftruncate, and across a hole. */
	change_truncate("f", (PAGES - 8) * PAGE_BYTES + 1);
	CHECK(ask(&mapper, (PAGES - 8) * PAGE_BYTES) == 0 && ask(&mapper, (PAGES - 7) * PAGE_BYTES) == -1);
	change_write("f", (PAGES - 2) * PAGE_BYTES + 5, "x");
	CHECK(ask(&mapper, (PAGES - 2) * PAGE_BYTES + 5) == 'x' && ask(&mapper, (PAGES - 3) * PAGE_BYTES) == 0);
	struct stat st;
	CHECK(stat(path("f"), &st) == 0 && st.st_size == (PAGES - 2) * PAGE_BYTES + 6);
	change_write("f", DOOR_STORE_SPAN - 1, "y");
	CHECK(ask(&mapper, DOOR_STORE_SPAN - 1) == 'y' && ask(&mapper, DOOR_STORE_SPAN) == -1);
	change_write("f", DOOR_STORE_SPAN, "z");
	CHECK(ask(&mapper, DOOR_STORE_SPAN) == 'z');
	mapper_end(&mapper);
}

/* Nothing of the file was read through the kernel before it grew, and its attributes were dropped there. */
void grow_untouched(void) {
	for (int round = 0; round < 10; round++) {
		change_create("u", "");
		if (round & 1) grow_page("u", 0);
		struct mapper mapper = mapper_start("u");
		change_mode("u", 0640);
		for (int page = 0; page < 20; page++) grow_page("u", page);
		CHECK(ask(&mapper, 19 * PAGE_BYTES) == 'A' + 19 && ask(&mapper, 0) == 'A' && ask(&mapper, 7 * PAGE_BYTES + 77) == 'A' + 7);
		mapper_end(&mapper);
		change_unlink("u");
	}
}

/* Made smaller through either door, and larger again. */
void grow_shrunk(void) {
	struct stat st;
	change_create("s", "");
	struct mapper mapper = mapper_start("s");
	for (int round = 0; round < 40; round++) {
		for (int page = 0; page < 10; page++) grow_page("s", page);
		CHECK(ask(&mapper, 9 * PAGE_BYTES) == 'A' + 9);
		if (round % 3 == 0) change_truncate("s", 100);
		else if (round % 3 == 1) CHECK(truncate(path("s"), 100) == 0);
		else CHECK(chmod(path("s"), 0600 | (round & 077)) == 0 && truncate(path("s"), 0) == 0);
		if (round & 1) CHECK(stat(path("s"), &st) == 0 && st.st_size <= 100);
		if (round % 4 == 3) CHECK(strlen(read_file(path("s"))) <= 100);
	}
	mapper_end(&mapper);
}

/* Grown by the library while the kernel asks for attributes, names and pages, and drops what it has. */
static _Atomic bool over;
static void *noise(void *argument) {
	for (unsigned n = 0; !atomic_load(&over); n++) {
		struct stat st;
		if (n % 4 == 0) door_notify_entry(world.instance.door, FUSE_ROOT_ID, "r", 1);
		if (n % 4 != 2) stat(path("r"), &st);
		else read_file(path("r"));
	}
	return argument;
}
void grow_races(void) {
	pthread_t threads[2];
	atomic_store(&over, false);
	change_create("r", "");
	grow_page("r", 0);
	struct mapper mapper = mapper_start("r");
	for (unsigned i = 0; i < 2; i++) CHECK(pthread_create(&threads[i], NULL, noise, NULL) == 0);
	for (int round = 0; round < 60; round++) {
		for (int page = 1; page < PAGES; page++) {
			grow_page("r", page);
			int seen = ask(&mapper, page * PAGE_BYTES + 17);
			if (seen != 'A' + page % 26) fprintf(stderr, "  round %d: page %d shows %d\n", round, page, seen);
			CHECK(seen == 'A' + page % 26);
		}
		change_truncate("r", PAGE_BYTES);
	}
	atomic_store(&over, true);
	for (unsigned i = 0; i < 2; i++) pthread_join(threads[i], NULL);
	mapper_end(&mapper);
}

/*
 * An answer that was read before the file grew, and comes when the size has been pushed. The kernel believed in more pages still, from before the file was made smaller: then a push says nothing new,
 * and does not by itself make the answer an old one.
 */
static sem_t read_it, answer_it;
static pthread_t asker;
static void hold_answer(struct dc_node *node) {
	(void)node;
	world.after[HOOK_GETATTR] = NULL;
	sem_post(&read_it);
	while (sem_wait(&answer_it)) continue;
}
static void answer_now(void) {
	atomic_store(&world.pushed, NULL);
	sem_post(&answer_it);
	pthread_join(asker, NULL);
}
static void *ask_attributes(void *argument) {
	struct stat st;
	stat(argument, &st);
	return NULL;
}
void grow_overtaken(void) {
	sem_init(&read_it, 0, 0);
	sem_init(&answer_it, 0, 0);
	for (int round = 0; round < 5; round++) {
		change_create("o", "");
		for (int page = 0; page < 4; page++) grow_page("o", page);
		struct mapper mapper = mapper_start("o");
		CHECK(ask(&mapper, 3 * PAGE_BYTES) == 'A' + 3);
		change_truncate("o", PAGE_BYTES);
		world.after[HOOK_GETATTR] = hold_answer;
		CHECK(pthread_create(&asker, NULL, ask_attributes, (void *)(uintptr_t)path("o")) == 0);
		while (sem_wait(&read_it)) continue;
		atomic_store(&world.pushed, answer_now);
		grow_page("o", 1);
		CHECK(atomic_load(&world.pushed) == NULL); /* it was pushed */
		CHECK(ask(&mapper, PAGE_BYTES + 17) == 'A' + 1);
		mapper_end(&mapper);
		change_unlink("o");
	}
}

/* What does not add a page, or of which the kernel has no inode, tells nothing. */
void grow_quiet(void) {
	change_create("q", "");
	grow_page("q", 0);
	struct dc_node *node = stack_node("q");
	CHECK(!dc_door_knows(node)); /* unknown: one load */
	struct stat st;
	CHECK(stat(path("q"), &st) == 0 && dc_door_knows(node));
	struct door_entry *entry = atomic_load(&node->core.door);
	grow_page("q", 1);
	uint64_t word = atomic_load(&entry->pages);
	CHECK(word >> 16 == 2);
	for (int i = 0; i < 100; i++) grow_page("q", i % 2);
	CHECK(atomic_load(&entry->pages) == word);
	grow_page("q", 2);
	CHECK(atomic_load(&entry->pages) >> 16 == 3);
	stack_forget(node);
}
