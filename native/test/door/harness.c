#include "harness.h"

#include "door.h"
#include "raw.h"

#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define TEST_SECONDS 120

struct world world;

_Noreturn void fail(const char *file, int line, const char *what) {
	fprintf(stderr, "  %s:%d: %s (errno: %s)\n", strrchr(file, '/') ? strrchr(file, '/') + 1 : file, line, what, strerror(errno));
	umount2(world.mount, MNT_FORCE | MNT_DETACH); /* aborts: nobody hangs, so this process can end */
	_exit(1);
}

/* ---- what the door takes from the service --------------------------------------------------------------------------------- */
void dc_count(struct dc_instance *instance, enum dc_door_kind door, enum dc_counted operation, int64_t result, uint64_t nanoseconds) {
	(void)instance, (void)nanoseconds;
	if (door != DC_DOOR_KERNEL) fail(__FILE__, __LINE__, "counted for another door");
	atomic_fetch_add(&world.counts[operation], 1);
	if (result < 0) atomic_fetch_add(&world.errors[operation], 1);
}
uint64_t dc_now_ns(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
bool dc_handle_lives(uint64_t handle) {
	return handle == 1;
}

struct dc_node *dc_handle_node(struct dc_instance *instance, uint64_t handle) {
	(void)instance;
	struct dc_node *node = handle == 1 ? world.handle_node : NULL;
	if (node) DC_FILE_CALL(world.below, reference, node, 1);
	return node;
}
void dc_block_begin(struct dc_context *context) {
	(void)context;
}
void dc_block_begin_briefly(struct dc_context *context) {
	(void)context;
}
void dc_block_end(struct dc_context *context) {
	(void)context;
}
static void host_log(const struct dc_host *host, int priority, const char *format, ...) {
	(void)host;
	if (priority > LOG_WARNING && !getenv("DOOR_TEST_VERBOSE")) return;
	va_list arguments;
	va_start(arguments, format);
	fputs("    log: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
}

/*
 * libc's, for this program: the door sends its notifications by it. As the other kernels do at worst, it finds no name and waits for nobody.
 */
long syscall(long number, ...) {
	long argument[6];
	va_list arguments;
	va_start(arguments, number);
	for (int i = 0; i < 6; i++) argument[i] = va_arg(arguments, long);
	va_end(arguments);
	if (number == SYS_writev && world.unlocked) {
		const struct fuse_out_header *header = ((const struct iovec *)argument[1])->iov_base;
		if (header->unique == 0 && header->error == FUSE_NOTIFY_INVAL_ENTRY) {
			errno = ENOENT;
			return -1;
		}
	}
	long result = dc_raw6(number, argument[0], argument[1], argument[2], argument[3], argument[4], argument[5]);
	void (*pushed)(void) = number == SYS_writev ? atomic_load(&world.pushed) : NULL;
	if (pushed && ((const struct fuse_out_header *)((const struct iovec *)argument[1])->iov_base)->error == FUSE_NOTIFY_STORE) pushed();
	if (result < 0) errno = (int)-result;
	return result < 0 ? -1 : result;
}

/* ---- the hook ------------------------------------------------------------------------------------------------------------- */
static void run_hook(_Atomic(hook_function) *place, struct dc_node *node) {
	hook_function function = atomic_load(place);
	if (function) function(node);
}
#define AROUND(which, node, call) \
	run_hook(&world.before[which], node); \
	__typeof__(call) result = call; \
	run_hook(&world.after[which], node); \
	return result

static int hook_lookup(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name, size_t length, struct dc_node **node, struct dc_attr *attr,
                       size_t *consumed) {
	(void)self;
	int error = atomic_exchange(&world.lookup_error, 0);
	if (error) return error;
	AROUND(HOOK_LOOKUP, parent, DC_FILE_CALL(world.below, lookup, context, parent, name, length, node, attr, consumed));
}
static int hook_getattr(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, struct dc_attr *attr) {
	(void)self;
	AROUND(HOOK_GETATTR, node, DC_FILE_CALL(world.below, getattr, context, node, attr));
}
static int hook_setattr(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const struct dc_attr *set, uint32_t mask, struct dc_attr *attr) {
	(void)self;
	AROUND(HOOK_SETATTR, node, DC_FILE_CALL(world.below, setattr, context, node, set, mask, attr));
}
static ssize_t hook_read(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const struct iovec *iov, int count, off_t offset, uint32_t flags) {
	(void)self;
	AROUND(HOOK_READ, node, DC_FILE_CALL(world.below, read, context, node, iov, count, offset, flags));
}
static ssize_t hook_write(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, const struct iovec *iov, int count, off_t *offset, uint32_t flags) {
	(void)self;
	AROUND(HOOK_WRITE, node, DC_FILE_CALL(world.below, write, context, node, iov, count, offset, flags));
}
static int hook_readdir(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, uint64_t cookie, struct dc_dirent_sink *sink) {
	(void)self;
	AROUND(HOOK_READDIR, node, DC_FILE_CALL(world.below, readdir, context, node, cookie, sink));
}
static int hook_fsync(struct dc_libservice *self, struct dc_context *context, struct dc_node *node, bool data_only) {
	(void)self;
	AROUND(HOOK_FSYNC, node, DC_FILE_CALL(world.below, fsync, context, node, data_only));
}
static int hook_unlink(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name) {
	(void)self;
	AROUND(HOOK_UNLINK, parent, DC_FILE_CALL(world.below, unlink, context, parent, name));
}
static int hook_create(struct dc_libservice *self, struct dc_context *context, struct dc_node *parent, const char *name, mode_t mode, int flags, struct dc_node **node,
                       struct dc_attr *attr) {
	(void)self;
	AROUND(HOOK_CREATE, parent, DC_FILE_CALL(world.below, create, context, parent, name, mode, flags, node, attr));
}

static void hook_install(void) {
	world.binding = *world.below->file;
#define HOOK(operation) world.binding.operation.call = hook_##operation, world.binding.operation.self = &world.hook
	HOOK(lookup), HOOK(getattr), HOOK(setattr), HOOK(read), HOOK(write), HOOK(readdir), HOOK(fsync), HOOK(unlink), HOOK(create);
	world.hook = *world.below;
	world.hook.file = &world.binding;
	world.hook.host = &world.host;
}

/* ---- the world ------------------------------------------------------------------------------------------------------------ */
static void stack_up(void) {
	struct dc_error error = {0};
	char plan[1024];
	int length = snprintf(plan, sizeof plan, "{\"version\":1,\"instance\":\"test\",\"root\":\"t.0\",\"nodes\":[{\"id\":\"t.0\",\"type\":\"local\",\"kind\":\"file\","
		"\"options\":{\"path\":\"%s\",\"readOnly\":false},\"children\":{}}]}", world.backing);
	world.host = (struct dc_host){.struct_size = sizeof world.host, .log = host_log, .epoch = world.host.epoch + 1};
	if (!world.modules && !(world.modules = dc_modules_load(getenv("DICICLO_MODULES"), &error))) fprintf(stderr, "  %s\n", error.message);
	CHECK(world.modules);
	world.instance.stack = dc_stack_build(world.modules, &world.host, plan, (size_t)length, &error);
	if (!world.instance.stack) fprintf(stderr, "  %s\n", error.message);
	CHECK(world.instance.stack);
	world.below = dc_stack_root(world.instance.stack);
	hook_install();
	world.instance.root = &world.hook;
	struct dc_cred cred = {0};
	struct dc_context context = {.cred = &cred};
	CHECK(DC_FILE_CALL(world.below, root, &context, &world.instance.root_node) == 0);
}

void world_stack(void) {
	if (!world.instance.stack) return;
	world.instance.door->handover = true; /* as if it had been killed */
	dc_door_stop(world.instance.door);
	world.instance.door = NULL;
	stack_forget(world.instance.root_node);
	dc_stack_destroy(world.instance.stack);
	world.instance.stack = NULL;
}

void world_door(bool cache, unsigned threads) {
	struct dc_error error = {0};
	if (!world.instance.stack) stack_up();
	struct dc_door_options options = {.fuse_fd = fcntl(world.fuse_fd, F_DUPFD_CLOEXEC, 0), .init_request = world.init, .init_length = world.init_length, .cache = cache, .unlocked = world.unlocked, .threads_max = threads};
	world.instance.door = dc_door_start(&world.instance, &options, &error);
	if (!world.instance.door) fprintf(stderr, "  %s\n", error.message);
	CHECK(world.instance.door);
}

static void mount_connection(void) {
	char options[128];
	static unsigned char buffer[(1u << 20) + 65536];
	CHECK(unshare(CLONE_NEWNS) == 0);
	CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	world.fuse_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	CHECK(world.fuse_fd >= 0);
	snprintf(options, sizeof options, "fd=%d,rootmode=40755,user_id=0,group_id=0,allow_other,default_permissions", world.fuse_fd);
	CHECK(mount("test", world.mount, "fuse.diciclo", MS_NOSUID | MS_NODEV, options) == 0);
	ssize_t length = read(world.fuse_fd, buffer, sizeof buffer);
	CHECK(length > 0 && (size_t)length <= sizeof world.init);
	memcpy(world.init, buffer, (size_t)length);
	world.init_length = (size_t)length;
}

static void world_make(void) {
	/* $TMPDIR: where extended attributes and handles are those of a disk filesystem */
	const char *parent = getenv("TMPDIR");
	CHECK(snprintf(world.base, sizeof world.base, "%s/door-test-XXXXXX", parent && strlen(parent) < 32 ? parent : "/var/tmp") < (int)sizeof world.base);
	CHECK(mkdtemp(world.base));
	CHECK(chmod(world.base, 0755) == 0);
	snprintf(world.mount, sizeof world.mount, "%s/mount", world.base);
	snprintf(world.backing, sizeof world.backing, "%s/backing", world.base);
	snprintf(world.oracle, sizeof world.oracle, "%s/oracle", world.base);
	CHECK(mkdir(world.mount, 0755) == 0 && mkdir(world.backing, 0755) == 0 && mkdir(world.oracle, 0755) == 0);
}

static int remove_one(const char *name, const struct stat *status, int type, struct FTW *state) {
	(void)status, (void)type, (void)state;
	return remove(name);
}

/* ---- paths ---------------------------------------------------------------------------------------------------------------- */
static const char *joined(const char *directory, const char *name) {
	static _Thread_local char buffers[8][512];
	static _Thread_local unsigned next;
	char *buffer = buffers[next++ % 8];
	snprintf(buffer, sizeof buffers[0], "%s/%s", directory, name);
	return buffer;
}
const char *path(const char *name) {
	return joined(world.mount, name);
}
const char *backing_path(const char *name) {
	return joined(world.backing, name);
}
const char *oracle_path(const char *name) {
	return joined(world.oracle, name);
}

/* ---- the other door ------------------------------------------------------------------------------------------------------- */
static struct dc_cred root_cred;
static struct dc_context test_context = {.cred = &root_cred};

struct dc_node *stack_node(const char *name) {
	struct dc_node *node = NULL;
	size_t consumed, length = strlen(name);
	if (!length) {
		DC_FILE_CALL(world.below, reference, world.instance.root_node, 1);
		return world.instance.root_node;
	}
	CHECK(DC_FILE_CALL(world.below, lookup, &test_context, world.instance.root_node, name, length, &node, NULL, &consumed) == 0 && consumed == length);
	return node;
}
void stack_forget(struct dc_node *node) {
	DC_FILE_CALL(world.below, forget, node, 1);
}

static struct dc_node *parent_of(const char *name, const char **last) {
	const char *slash = strrchr(name, '/');
	char directory[256];
	snprintf(directory, sizeof directory, "%.*s", slash ? (int)(slash - name) : 0, name);
	*last = slash ? slash + 1 : name;
	return stack_node(directory);
}

static void write_node(struct dc_node *node, off_t offset, const char *text) {
	struct iovec iov = {(void *)(uintptr_t)text, strlen(text)};
	CHECK(DC_FILE_CALL(world.below, write, &test_context, node, &iov, 1, &offset, 0) == (ssize_t)iov.iov_len);
}

void change_create(const char *name, const char *text) {
	const char *last;
	struct dc_node *parent = parent_of(name, &last), *node;
	CHECK(DC_FILE_CALL(world.below, create, &test_context, parent, last, 0644, O_RDWR, &node, NULL) == 0);
	if (*text) write_node(node, 0, text);
	DC_FILE_CALL(world.below, close, &test_context, node, O_RDWR);
	dc_door_changed_entry(world.instance.door, parent, last);
	stack_forget(node);
	stack_forget(parent);
}
void change_write(const char *name, off_t offset, const char *text) {
	struct dc_node *node = stack_node(name);
	write_node(node, offset, text);
	dc_door_changed_data(world.instance.door, node, offset, (off_t)strlen(text));
	stack_forget(node);
}
void change_truncate(const char *name, off_t size) {
	struct dc_node *node = stack_node(name);
	struct dc_attr set = {.st.st_size = size}, attr;
	CHECK(DC_FILE_CALL(world.below, setattr, &test_context, node, &set, DC_SET_SIZE, &attr) == 0);
	dc_door_changed_data(world.instance.door, node, 0, 0);
	stack_forget(node);
}
void change_mode(const char *name, mode_t mode) {
	struct dc_node *node = stack_node(name);
	struct dc_attr set = {.st.st_mode = mode}, attr;
	CHECK(DC_FILE_CALL(world.below, setattr, &test_context, node, &set, DC_SET_MODE, &attr) == 0);
	dc_door_changed_attr(world.instance.door, node);
	stack_forget(node);
}
void change_owner(const char *name, uid_t owner, mode_t mode) {
	struct dc_node *node = stack_node(name);
	struct dc_attr set = {.st.st_uid = owner, .st.st_mode = mode}, attr;
	CHECK(DC_FILE_CALL(world.below, setattr, &test_context, node, &set, DC_SET_UID | DC_SET_MODE, &attr) == 0);
	dc_door_changed_attr(world.instance.door, node);
	stack_forget(node);
}
void change_unlink(const char *name) {
	const char *last;
	struct dc_node *parent = parent_of(name, &last), *node = stack_node(name);
	CHECK(DC_FILE_CALL(world.below, unlink, &test_context, parent, last) == 0);
	dc_door_changed_entry(world.instance.door, parent, last);
	dc_door_changed_attr(world.instance.door, node);
	stack_forget(node);
	stack_forget(parent);
}
void change_rename(const char *from, const char *to) {
	const char *from_last, *to_last;
	struct dc_node *from_parent = parent_of(from, &from_last), *to_parent = parent_of(to, &to_last);
	CHECK(DC_FILE_CALL(world.below, rename, &test_context, from_parent, from_last, to_parent, to_last, 0) == 0);
	dc_door_changed_entry(world.instance.door, from_parent, from_last);
	dc_door_changed_entry(world.instance.door, to_parent, to_last);
	stack_forget(from_parent);
	stack_forget(to_parent);
}
void change_mkdir(const char *name) {
	const char *last;
	struct dc_node *parent = parent_of(name, &last), *node;
	CHECK(DC_FILE_CALL(world.below, mkdir, &test_context, parent, last, 0755, &node, NULL) == 0);
	dc_door_changed_entry(world.instance.door, parent, last);
	stack_forget(node);
	stack_forget(parent);
}

/* ---- helpers -------------------------------------------------------------------------------------------------------------- */
void write_file(const char *full, const char *text) {
	int fd = open(full, O_CREAT | O_TRUNC | O_WRONLY, 0644);
	CHECK(fd >= 0);
	CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	CHECK(close(fd) == 0);
}
char *read_file(const char *full) {
	static _Thread_local char buffer[65536];
	int fd = open(full, O_RDONLY);
	CHECK(fd >= 0);
	ssize_t length = read(fd, buffer, sizeof buffer - 1);
	CHECK(length >= 0);
	close(fd);
	buffer[length] = 0;
	return buffer;
}
uint64_t carried(enum dc_counted operation) {
	return atomic_load(&world.counts[operation]);
}

/* ---- running -------------------------------------------------------------------------------------------------------------- */
static void child(const struct test *test) {
	mount_connection();
	dc_door_ledger_directory(world.base);
	world.unlocked = test->unlocked;
	world_door(test->cache, 8);
	test->run();
	if (world.instance.door && umount2(world.mount, 0) != 0) fail(__FILE__, __LINE__, "the mount is busy after the test");
	world_stack();
	dc_modules_unload(world.modules);
}

/* The child's threads serve what its main thread waits for: a bug there leaves it unkillable until somebody else aborts the connection. */
static void abort_connection(int namespace_fd) {
	pid_t helper = fork();
	if (helper == 0) {
		if (setns(namespace_fd, CLONE_NEWNS) == 0) umount2(world.mount, MNT_FORCE | MNT_DETACH);
		_exit(0);
	}
	waitpid(helper, NULL, 0);
}

/* Where every thread of a hung test sits in the kernel. */
static void show_stacks(pid_t pid) {
	char command[200];
	snprintf(command, sizeof command, "for t in /proc/%d/task/*; do echo \"  == $t $(cat $t/wchan)\"; cat $t/stack; done >&2", (int)pid);
	if (system(command)) fputs("  no stacks\n", stderr);
}

static bool run_one(const struct test *test) {
	world_make();
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		child(test);
		exit(0);
	}
	int status = 0, namespace_fd = -1;
	int limit = getenv("DOOR_TEST_SECONDS") ? atoi(getenv("DOOR_TEST_SECONDS")) : TEST_SECONDS;
	struct timespec tick = {.tv_nsec = 10000000};
	for (int ticks = 0; waitpid(pid, &status, WNOHANG) == 0; ticks++) {
		nanosleep(&tick, NULL);
		char name[64];
		snprintf(name, sizeof name, "/proc/%d/ns/mnt", (int)pid);
		if (namespace_fd < 0 && ticks >= 20) namespace_fd = open(name, O_RDONLY | O_CLOEXEC);
		if (ticks != limit * 100) continue;
		fprintf(stderr, "  takes too long\n");
		show_stacks(pid);
		abort_connection(namespace_fd);
		nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
		kill(pid, SIGKILL);
	}
	if (namespace_fd >= 0) close(namespace_fd);
	nftw(world.base, remove_one, 32, FTW_DEPTH | FTW_PHYS);
	bool ok = WIFEXITED(status) && WEXITSTATUS(status) == 0;
	if (!ok && WIFSIGNALED(status)) fprintf(stderr, "  killed by signal %d\n", WTERMSIG(status));
	printf("%s %s\n", ok ? "ok    " : "FAILED", test->name);
	fflush(stdout);
	return ok;
}

int run_tests(int argc, char **argv) {
	if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) != 0) {
		printf("skipped: needs root and /dev/fuse\n");
		return 77;
	}
	if (!getenv("DICICLO_MODULES")) {
		fprintf(stderr, "DICICLO_MODULES: where the built libservices are\n");
		return 2;
	}
	struct rlimit files = {65536, 65536};
	setrlimit(RLIMIT_NOFILE, &files);
	int failed = 0, ran = 0;
	for (const struct test *test = tests; test->name; test++) {
		bool wanted = argc < 2;
		for (int i = 1; i < argc; i++)
			if (strstr(test->name, argv[i])) wanted = true;
		if (!wanted) continue;
		ran++;
		if (!run_one(test)) failed++;
	}
	return failed || !ran ? 1 : 0;
}
