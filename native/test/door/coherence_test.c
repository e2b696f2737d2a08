/*
 * coherence_test.c - what one door changes, the other sees at once. The races are made with hooks that hold a request of the kernel where it has read the old state from the stack and
 * not yet answered.
 */
#include "suites.h"

#include "appends.h"

#include <dirent.h>
#include <sched.h>
#include <semaphore.h>

static bool listed(const char *name) {
	DIR *directory = opendir(world.mount);
	bool found = false;
	struct dirent *entry;
	CHECK(directory);
	while ((entry = readdir(directory)))
		if (!strcmp(entry->d_name, name)) found = true;
	closedir(directory);
	return found;
}
static off_t size_of(const char *name) {
	struct stat st;
	CHECK(stat(path(name), &st) == 0);
	return st.st_size;
}
static bool exists(const char *name) {
	struct stat st;
	return stat(path(name), &st) == 0;
}

void coherence_kernels(void) {
	static const char *const locked[] = {"6.1.0-37-amd64", "6.18.44", "7.2.0-rc1", "7.2", "8.0.1"}, *const unlocked[] = {"6.19.0", "6.20", "7.0.0-14-generic", "7.1.9"};
	for (size_t i = 0; i < sizeof locked / sizeof *locked; i++) CHECK(!dc_door_kernel_unlocked(locked[i]));
	for (size_t i = 0; i < sizeof unlocked / sizeof *unlocked; i++) CHECK(dc_door_kernel_unlocked(unlocked[i]));
}

void coherence_plain(void) {
	for (int round = 0; round < 50; round++) {
		char text[32];
		CHECK(!exists("f") && !listed("f"));
		change_create("f", "hello");
		CHECK(exists("f") && listed("f") && size_of("f") == 5);
		CHECK(!strcmp(read_file(path("f")), "hello"));
		snprintf(text, sizeof text, "round %d", round);
		change_write("f", 2, text);
		CHECK(!strncmp(read_file(path("f")) + 2, text, strlen(text)) && size_of("f") == 2 + (off_t)strlen(text));
		change_truncate("f", 3);
		CHECK(size_of("f") == 3 && strlen(read_file(path("f"))) == 3);
		change_truncate("f", 6);
		CHECK(size_of("f") == 6);
		struct stat st;
		change_mode("f", 0600 | (mode_t)(round & 7));
		CHECK(stat(path("f"), &st) == 0 && (st.st_mode & 07777) == (0600u | (unsigned)(round & 7)));
		CHECK(!exists("g"));
		change_rename("f", "g");
		CHECK(!exists("f") && exists("g") && listed("g") && !listed("f"));
		change_unlink("g");
		CHECK(!exists("g") && !listed("g"));
	}
}

/* Through one open descriptor, without lookups: only pages, size and attributes. */
void coherence_open_descriptor(void) {
	write_file(path("f"), "0123456789");
	int fd = open(path("f"), O_RDWR);
	char text[64] = {0};
	struct stat st;
	CHECK(pread(fd, text, 64, 0) == 10);
	change_truncate("f", 4); /* a shrunk file ends where it ends, though no stat came between */
	CHECK(pread(fd, text, 64, 0) == 4);
	change_write("f", 4, "abcdef");
	CHECK(pread(fd, text, 64, 0) == 10 && !memcmp(text, "0123abcdef", 10));
	change_truncate("f", 2);
	CHECK(pread(fd, text, 2, 1) == 1);
	CHECK(lseek(fd, 0, SEEK_END) == 2);
	change_write("f", 2, "XYZ");
	CHECK(lseek(fd, 0, SEEK_END) == 5 && fstat(fd, &st) == 0 && st.st_size == 5);
	close(fd);
}

/* An append that the kernel sends in two parts, between which the library appends. */
static struct dc_node *appended_to;
static _Atomic uint64_t parts;
static void *append_by_library(void *unused) {
	(void)unused;
	off_t at = 0;
	struct iovec iov = {(void *)(uintptr_t)"library\n", 8};
	struct dc_cred cred = {0};
	struct dc_context context = {.cred = &cred};
	dc_append_begin(appended_to);
	CHECK(DC_FILE_CALL(world.below, write, &context, appended_to, &iov, 1, &at, DC_IO_APPEND) == 8);
	dc_append_end(appended_to);
	dc_door_changed_data(world.instance.door, appended_to, at - 8, 8);
	return NULL;
}
static pthread_t appender;
static void append_in_between(struct dc_node *node) {
	if (node != appended_to || atomic_fetch_add(&parts, 1)) return;
	CHECK(pthread_create(&appender, NULL, append_by_library, NULL) == 0);
	nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL); /* its chance */
}

void coherence_append_parts(void) {
	char text[DOOR_PAGE_SIZE];
	memset(text, 'x', sizeof text - 5);
	strcpy(text + sizeof text - 6, "\n");
	change_create("log", text); /* the kernel has nothing of the page that the append begins in */
	appended_to = stack_node("log");
	int fd = open(path("log"), O_WRONLY | O_APPEND);
	dc_append_hold_us = 10000000; /* the machine may be busy */
	world.after[HOOK_WRITE] = append_in_between;
	CHECK(write(fd, "kern\nel\n", 8) == 8);
	CHECK(pthread_join(appender, NULL) == 0);
	CHECK(!strcmp(read_file(backing_path("log")) + strlen(text), "kern\nel\nlibrary\n"));
	printf("  sent in %llu parts\n", (unsigned long long)atomic_load(&parts));
	dc_append_hold_us = 10000;
	/* What ends with a page and has no other part does not keep the library out for long. */
	change_truncate("log", DOOR_PAGE_SIZE - 4);
	CHECK(write(fd, "end\n", 4) == 4);
	append_by_library(NULL);
	CHECK(!strcmp(read_file(backing_path("log")) + DOOR_PAGE_SIZE - 4, "end\nlibrary\n"));
	world.after[HOOK_WRITE] = NULL;
	stack_forget(appended_to);
	close(fd);
}

void coherence_append(void) {
	write_file(path("log"), "one\n");
	int fd = open(path("log"), O_WRONLY | O_APPEND);
	struct stat st;
	CHECK(fstat(fd, &st) == 0);
	for (int i = 0; i < 20; i++) {
		/* The library appends and has not told yet when the kernel, with its old size, appends too. */
		struct dc_node *node = stack_node("log");
		off_t at = st.st_size;
		struct iovec iov = {(void *)(uintptr_t)"lib\n", 4};
		struct dc_cred cred = {0};
		struct dc_context context = {.cred = &cred};
		CHECK(DC_FILE_CALL(world.below, write, &context, node, &iov, 1, &at, DC_IO_APPEND) == 4);
		CHECK(write(fd, "ker\n", 4) == 4);
		dc_door_changed_data(world.instance.door, node, at - 4, 4);
		stack_forget(node);
		CHECK(fstat(fd, &st) == 0 && st.st_size == 4 + (i + 1) * 8);
	}
	char *text = strdup(read_file(backing_path("log")));
	CHECK(!strcmp(text, read_file(path("log"))));
	int libs = 0, kernels = 0;
	for (char *line = text; *line; line += 4) libs += !strncmp(line, "lib\n", 4), kernels += !strncmp(line, "ker\n", 4);
	CHECK(libs == 20 && kernels == 20);
	free(text);
	close(fd);
}

/* ---- the races ------------------------------------------------------------------------------------------------------------ */
static sem_t reached, go_on;
static _Atomic int hold; /* how many calls to hold */
static _Atomic uint64_t hold_ino;

static void hold_here(struct dc_node *node) {
	if (hold_ino && node->ino != hold_ino) return;
	int left = atomic_load(&hold);
	while (left > 0 && !atomic_compare_exchange_weak(&hold, &left, left - 1)) continue;
	if (left <= 0) return;
	sem_post(&reached);
	while (sem_wait(&go_on)) continue;
}
static void arm(enum hooked which, uint64_t ino) {
	sem_init(&reached, 0, 0);
	sem_init(&go_on, 0, 0);
	hold_ino = ino;
	world.after[which] = hold_here;
	atomic_store(&hold, 1);
}
static void disarm(enum hooked which) {
	world.after[which] = NULL;
	atomic_store(&hold, 0);
}
static void await_reached(void) {
	while (sem_wait(&reached)) continue;
}
static uint64_t backing_ino(const char *name) {
	struct stat st;
	CHECK(stat(backing_path(name), &st) == 0);
	return st.st_ino;
}

struct job {
	void (*run)(void);
	pthread_t thread;
	_Atomic bool done;
};
static void *job_main(void *argument) {
	struct job *job = argument;
	job->run();
	atomic_store(&job->done, true);
	return NULL;
}
static void job_start(struct job *job, void (*run)(void)) {
	*job = (struct job){.run = run};
	CHECK(pthread_create(&job->thread, NULL, job_main, job) == 0);
}
static void job_join(struct job *job) {
	pthread_join(job->thread, NULL);
}
static void pause_ms(long ms) {
	nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

static void stat_f(void) {
	struct stat st;
	stat(path("f"), &st);
}
static void grow_f(void) {
	change_write("f", 0, "grown by the library");
}
static void make_f(void) {
	change_create("f", "made");
}
static void list_all(void) {
	listed("nothing");
}
static void read_f(void) {
	read_file(path("f"));
}
static void remove_f(void) {
	change_unlink("f");
}
static void chmod_f(void) {
	CHECK(chmod(path("f"), 0640) == 0);
}
static void create_f(void) {
	int fd = open(path("f"), O_CREAT | O_WRONLY, 0644);
	CHECK(fd >= 0 && close(fd) == 0);
}

/* GETATTR has read the old size; the library changes and acknowledges; then the answer arrives. */
void race_getattr(void) {
	write_file(path("f"), "old");
	for (int round = 0; round < 20; round++) {
		struct job reader;
		change_truncate("f", 3); /* so that stat asks */
		arm(HOOK_GETATTR, backing_ino("f"));
		job_start(&reader, stat_f);
		await_reached();
		grow_f();
		sem_post(&go_on);
		job_join(&reader);
		disarm(HOOK_GETATTR);
		CHECK(size_of("f") == 20);
	}
}

/* The kernel does not have the inode yet: nothing can be invalidated, and the change must not be acknowledged before that is settled. */
static void race_entry(void (*kernel_side)(void)) {
	for (int round = 0; round < 20; round++) {
		struct job reader, changer;
		change_create("f", "old");
		CHECK(!exists("other"));
		arm(HOOK_GETATTR, backing_ino("f"));
		job_start(&reader, kernel_side);
		await_reached();
		job_start(&changer, grow_f);
		pause_ms(20);
		bool early = atomic_load(&changer.done);
		if (early && !world.unlocked) CHECK(size_of("f") == 20); /* allowed only if it holds already; else whoever asks waits for the lookup that is held */
		sem_post(&go_on);
		job_join(&changer);
		CHECK(size_of("f") == 20);
		job_join(&reader);
		disarm(HOOK_GETATTR);
		CHECK(size_of("f") == 20 && !strcmp(read_file(path("f")), "grown by the library"));
		change_unlink("f");
	}
}
void race_lookup(void) {
	race_entry(stat_f);
}
void race_readdirplus(void) {
	race_entry(list_all);
}

/* Made by the kernel, written by the library before the kernel has heard of its own making. */
static void made_by_kernel(struct dc_node *parent) {
	(void)parent;
	hold_ino = backing_ino("f");
	atomic_store(&hold, 1);
}
void race_create(void) {
	world.after[HOOK_CREATE] = made_by_kernel;
	for (int round = 0; round < 20; round++) {
		struct job maker, changer;
		arm(HOOK_GETATTR, 1);
		atomic_store(&hold, 0);
		job_start(&maker, create_f);
		await_reached();
		job_start(&changer, grow_f);
		pause_ms(10);
		sem_post(&go_on);
		job_join(&changer);
		job_join(&maker);
		disarm(HOOK_GETATTR);
		CHECK(size_of("f") == 20);
		CHECK(unlink(path("f")) == 0);
	}
}

/* A lookup has found nothing; the library makes the file. */
void race_negative(void) {
	for (int round = 0; round < 20; round++) {
		struct job reader, changer;
		arm(HOOK_LOOKUP, 0);
		job_start(&reader, stat_f);
		await_reached();
		job_start(&changer, make_f);
		pause_ms(10);
		sem_post(&go_on);
		job_join(&changer);
		CHECK(exists("f"));
		job_join(&reader);
		disarm(HOOK_LOOKUP);
		CHECK(exists("f") && listed("f"));
		change_unlink("f");
	}
}

/* A lookup has found the file; the library removes it. */
void race_positive(void) {
	for (int round = 0; round < 20; round++) {
		struct job reader, changer;
		change_create("f", "x");
		arm(HOOK_LOOKUP, 0);
		job_start(&reader, stat_f);
		await_reached();
		job_start(&changer, remove_f);
		pause_ms(10);
		sem_post(&go_on);
		job_join(&changer);
		CHECK(!exists("f"));
		job_join(&reader);
		disarm(HOOK_LOOKUP);
		CHECK(!exists("f") && !listed("f"));
	}
}

/* A listing under way is kept by the kernel: not the old one. */
void race_listing(void) {
	for (int i = 0; i < 5; i++) change_create((char[]){'a', (char)('0' + i), 0}, "");
	for (int round = 0; round < 20; round++) {
		struct job reader, changer;
		list_all();
		list_all();
		change_create("z", ""); /* drops the kernel's listing */
		change_unlink("z");
		arm(HOOK_READDIR, 0);
		job_start(&reader, list_all);
		await_reached();
		job_start(&changer, make_f);
		pause_ms(10);
		sem_post(&go_on);
		job_join(&changer);
		CHECK(listed("f"));
		job_join(&reader);
		disarm(HOOK_READDIR);
		CHECK(listed("f"));
		change_unlink("f");
		CHECK(!listed("f"));
	}
}

/* Pages under read when the library writes. */
void race_read(void) {
	change_create("f", "old");
	for (int round = 0; round < 20; round++) {
		struct job reader, changer;
		change_write("f", 0, "old contents of f...");
		arm(HOOK_READ, 0);
		job_start(&reader, read_f);
		await_reached();
		job_start(&changer, grow_f);
		pause_ms(10);
		sem_post(&go_on);
		job_join(&changer);
		CHECK(!strcmp(read_file(path("f")), "grown by the library"));
		job_join(&reader);
		disarm(HOOK_READ);
		CHECK(!strcmp(read_file(path("f")), "grown by the library"));
	}
}

/* The kernel keeps a SETATTR answer whatever was notified meanwhile. */
void race_setattr(void) {
	write_file(path("f"), "old");
	for (int round = 0; round < 20; round++) {
		struct job setter;
		struct stat st;
		change_truncate("f", 3);
		CHECK(size_of("f") == 3);
		arm(HOOK_SETATTR, 0);
		job_start(&setter, chmod_f);
		await_reached();
		grow_f();
		sem_post(&go_on);
		job_join(&setter);
		disarm(HOOK_SETATTR);
		CHECK(stat(path("f"), &st) == 0 && st.st_size == 20 && (st.st_mode & 0777) == 0640);
		CHECK(chmod(path("f"), 0600) == 0);
	}
}

/* The kernel writes a page; before that arrives in the stack, the library writes the same page and tells, and a reader fetches it again. */
static void write_kernel(void) {
	int fd = open(path("f"), O_WRONLY);
	CHECK(fd >= 0 && pwrite(fd, "KERNEL", 6, 0) == 6 && close(fd) == 0);
}
static void hold_before_write(struct dc_node *node) {
	hold_here(node);
}
void race_write(void) {
	char zeros[4097];
	memset(zeros, '.', 4096);
	zeros[4096] = 0;
	write_file(path("f"), zeros);
	int reader = open(path("f"), O_RDONLY); /* kept open: on Linux 6.1 a close waits for the write that is held */
	for (int round = 0; round < 20; round++) {
		struct job writer;
		CHECK(read_file(path("f"))[4095] == '.');
		arm(HOOK_WRITE, 0);
		world.after[HOOK_WRITE] = NULL;
		world.before[HOOK_WRITE] = hold_before_write;
		job_start(&writer, write_kernel);
		await_reached();
		change_write("f", 100, "LIBRARY");
		char back[8] = {0};
		CHECK(pread(reader, back, 7, 100) == 7 && !strcmp(back, "LIBRARY")); /* fetched anew, without the kernel's write */
		sem_post(&go_on);
		job_join(&writer);
		world.before[HOOK_WRITE] = NULL;
		pause_ms(2); /* the invalidation follows the answer */
		char *text = read_file(path("f"));
		CHECK(!strncmp(text, "KERNEL", 6) && !strncmp(text + 100, "LIBRARY", 7));
		change_write("f", 0, "......");
		change_write("f", 100, ".......");
	}
	close(reader);
}

/*
 * The kernel declares an inode's new attributes valid before it has written them (door_notify.c, 5): one thread's stat brings them in, another one looks at about that time. All fields at once must
 * be those of the acknowledged change. There is no hook inside of the kernel, so the look's time is scattered over the time that the stat takes, often enough.
 */
#define MOMENT_SECONDS 3u
static int moment_fd;
static _Atomic unsigned moment_asked, moment_brought;
static _Atomic uint64_t moment_took;

static void moment_bring(void) {
	struct stat st;
	for (unsigned last = 0, asked; (asked = atomic_load(&moment_asked)) != UINT32_MAX;) {
		if (asked == last) {
			sched_yield();
			continue;
		}
		uint64_t start = dc_now_ns();
		CHECK(fstat(moment_fd, &st) == 0);
		atomic_store(&moment_took, (atomic_load(&moment_took) * 7 + dc_now_ns() - start) / 8);
		atomic_store(&moment_brought, last = asked);
	}
}
void race_attributes(void) {
	struct job bringer;
	struct stat st;
	unsigned scatter = 1, number = 1, old = 0;
	write_file(path("f"), "x");
	moment_fd = open(path("f"), O_RDONLY);
	atomic_store(&moment_took, 20000);
	job_start(&bringer, moment_bring);
	for (uint64_t end = dc_now_ns() + MOMENT_SECONDS * UINT64_C(1000000000); dc_now_ns() < end; number++) {
		CHECK(fstat(moment_fd, &st) == 0); /* the kernel has them, if it keeps any */
		change_owner("f", number, 0600 | (number & 077));
		atomic_store(&moment_asked, number);
		uint64_t took = atomic_load(&moment_took), start = dc_now_ns();
		scatter = scatter * 1103515245u + 12345u;
		while (dc_now_ns() - start < took * 3 / 4 + (scatter >> 8) % (took / 2 + 1)) continue;
		CHECK(fstat(moment_fd, &st) == 0);
		if (st.st_uid != number || (st.st_mode & 0777) != (0600u | (number & 077))) old++;
		while (atomic_load(&moment_brought) != number) sched_yield();
	}
	atomic_store(&moment_asked, UINT32_MAX);
	job_join(&bringer);
	close(moment_fd);
	if (old) fprintf(stderr, "  %u of %u changes were not seen at once\n", old, number - 1);
	CHECK(!old);
}

/* ---- storm: every acknowledged change is seen ----------------------------------------------------------------------------- */
#define STORM_FILES 4
static _Atomic bool storm_over;

static void storm_name(char *name, int i) {
	snprintf(name, 32, "storm%d", i);
}
/* Keeps the kernel instantiating and dropping inodes, listings and attributes. */
static void storm_noise(void) {
	unsigned n = 0;
	struct dc_door *door = world.instance.door;
	while (!atomic_load(&storm_over)) {
		char name[32];
		storm_name(name, (int)(n % STORM_FILES));
		struct stat st;
		stat(path(name), &st);
		if (n % 3 == 0) list_all();
		if (n % 2) door_notify_entry(door, FUSE_ROOT_ID, name, strlen(name)); /* drops the name, and with it the inode */
		n++;
	}
}
static void storm_check(int file) {
	char name[32], text[64];
	storm_name(name, file);
	for (unsigned value = 1; !atomic_load(&storm_over); value++) {
		snprintf(text, sizeof text, "%08u", value);
		change_write(name, 0, text);
		char *seen = read_file(path(name));
		CHECK(seen);
		if (strcmp(seen, text)) fprintf(stderr, "  wrote %s, read %s\n", text, seen);
		CHECK(!strcmp(seen, text));
		change_truncate(name, 8 + value % 50);
		CHECK(size_of(name) == 8 + (off_t)(value % 50));
		change_truncate(name, 8);
		change_mode(name, 0600 | value % 64);
		struct stat st, later;
		int result = stat(path(name), &st);
		if (result || (st.st_mode & 077) != value % 64 || st.st_size != 8) {
			pause_ms(10);
			stat(path(name), &later);
			fprintf(stderr, "  value %u: stat %d mode %o size %ld; later mode %o size %ld; expected mode %o size 8\n", value, result, st.st_mode, (long)st.st_size, later.st_mode,
			        (long)later.st_size, 0600 | value % 64);
			fail(__FILE__, __LINE__, "old attributes");
		}
	}
}
static void storm_check0(void) {
	storm_check(0);
}
static void storm_check1(void) {
	storm_check(1);
}
static void storm_names(void) {
	for (unsigned value = 0; !atomic_load(&storm_over); value++) {
		CHECK(!exists("comes-and-goes") && !listed("comes-and-goes"));
		change_create("comes-and-goes", "x");
		CHECK(exists("comes-and-goes") && listed("comes-and-goes"));
		change_unlink("comes-and-goes");
	}
}
void coherence_storm(void) {
	for (int i = 0; i < STORM_FILES; i++) {
		char name[32];
		storm_name(name, i);
		write_file(path(name), "00000000");
	}
	struct job jobs[5];
	job_start(&jobs[0], storm_check0);
	job_start(&jobs[1], storm_check1);
	job_start(&jobs[2], storm_names);
	job_start(&jobs[3], storm_noise);
	job_start(&jobs[4], storm_noise);
	pause_ms(4000);
	atomic_store(&storm_over, true);
	for (int i = 0; i < 5; i++) job_join(&jobs[i]);
}
