/*
 * diciclo-pool-init - the first process of a container pool (docs/contract.md §3).
 *
 * The process that is started joins the control groups, makes the namespaces and waits; its child is pid 1 of the pool, holds what must outlive the service, and runs one loop. When it
 * ends, however it ends, the kernel ends all of the pool with it: no process, no mount and no memory can stay behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log.h"
#include "pool.h"

#define CGROUPS_MAX 32
#define TRIM_MS 30000u
#define WATCHDOG_MS 10000u
#define WATCHDOG_MAX_S 3600.0
#define OPEN_FILES_WANTED 65536u

static struct dc_pool pool;

/* ---- saying why ------------------------------------------------------------------------------------------------------------- */
_Noreturn static void die(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
_Noreturn static void die(int status, const char *format, ...) {
	va_list arguments;
	va_start(arguments, format);
	fputs("diciclo-pool-init: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	_exit(status); /* not exit: a leak sanitizer's thread cannot be made any more once children belong to another pid namespace */
}

static void remove_files(void) {
	static const char *const names[] = {"attach.sock", "control.sock", "regions.sock", "service.sock", "mounts", "init.json"};
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) unlinkat(pool.directory_fd, names[i], 0);
}

void dc_pool_give_up(struct dc_pool *this, const char *format, ...) {
	char message[800];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(message, sizeof message, format, arguments);
	va_end(arguments);
	dc_log("the pool could not be started: %s", message);
	remove_files();
	if (this->ready_fd >= 0) dc_write_all(this->ready_fd, message, strlen(message));
	_exit(1);
}

void dc_pool_is_ready(struct dc_pool *this) {
	if (this->ready_fd < 0) return;
	prctl(PR_SET_PDEATHSIG, 0); /* before it is told: it ends at once */
	/* The engine may have given up on us: then nobody wants this pool. */
	if (dc_write_all(this->ready_fd, "\n", 1) < 0) dc_pool_give_up(this, "who started it is gone");
	close(this->ready_fd);
	this->ready_fd = -1;
}

/* ---- arguments -------------------------------------------------------------------------------------------------------------- */
static const char usage[] = "usage: diciclo-pool-init --dir POOLDIR --name TENANT/POOL --service PATH --modules DIR --library PATH [--workers N] [--trust pool|process] [--watchdog SECONDS]\n                         [--cgroup FILE]...\n";

/* Seconds; 0: none. Less than a second would take a busy machine for a hung service. */
static uint64_t parse_watchdog(const char *text) {
	char *end;
	double seconds = strtod(text, &end);
	if (!*text || *end || !(seconds == 0 || (seconds >= 1 && seconds <= WATCHDOG_MAX_S))) die(2, "--watchdog must be 0 (none) or 1 to %.0f seconds, not '%s'", WATCHDOG_MAX_S, text);
	return (uint64_t)(seconds * 1000.0);
}

static void parse(int argc, char **argv, const char **cgroups, unsigned *cgroup_count) {
	static const struct option known[] = {{"dir", 1, 0, 'd'}, {"name", 1, 0, 'n'}, {"service", 1, 0, 's'}, {"modules", 1, 0, 'm'}, {"library", 1, 0, 'l'}, {"workers", 1, 0, 'w'},
		{"trust", 1, 0, 't'}, {"cgroup", 1, 0, 'c'}, {"watchdog", 1, 0, 'W'}, {"help", 0, 0, 'h'}, {0}};
	struct dc_options *options = &pool.options;
	options->workers = 0; /* the service chooses */
	options->trust = "pool";
	options->watchdog_ms = WATCHDOG_MS;
	for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
		if (option == 'd') options->directory = optarg;
		else if (option == 'n') options->name = optarg;
		else if (option == 's') options->service = optarg;
		else if (option == 'm') options->modules = optarg;
		else if (option == 'l') options->library = optarg;
		else if (option == 't') options->trust = optarg;
		else if (option == 'W') options->watchdog_ms = parse_watchdog(optarg);
		else if (option == 'w') {
			char *end;
			unsigned long workers = strtoul(optarg, &end, 10);
			if (*end || workers > DC_WORKERS_MAX) die(2, "--workers must be a number from 0 (chosen) to %u, not '%s'", DC_WORKERS_MAX, optarg);
			options->workers = (unsigned)workers;
		} else if (option == 'c') {
			if (*cgroup_count == CGROUPS_MAX) die(2, "more than %d --cgroup", CGROUPS_MAX);
			cgroups[(*cgroup_count)++] = optarg;
		} else if (option == 'h') {
			fputs(usage, stdout);
			exit(0);
		} else {
			fputs(usage, stderr);
			exit(2);
		}
	}
	if (optind < argc) die(2, "unexpected argument '%s'", argv[optind]);
	if (!options->directory || !options->name || !options->service || !options->modules || !options->library) die(2, "--dir, --name, --service, --modules and --library are needed");
	if (options->directory[0] != '/') die(2, "--dir must be an absolute path, not '%s'", options->directory);
	if (!strchr(options->name, '/') || strlen(options->name) > 200) die(2, "--name must be TENANT/POOL, not '%s'", options->name);
	if (strcmp(options->trust, "pool") != 0 && strcmp(options->trust, "process") != 0) die(2, "--trust must be pool or process, not '%s'", options->trust);
}

/* ---- before the namespaces -------------------------------------------------------------------------------------------------- */
static void join_cgroups(const char **files, unsigned count) {
	for (unsigned i = 0; i < count; i++) {
		int fd = open(files[i], O_WRONLY | O_CLOEXEC);
		/* "0" is whoever writes: right in every pid namespace. */
		if (fd < 0 || dc_write_all(fd, "0", 1) < 0) die(1, "cannot join the control group %s: %s", files[i], strerror(errno));
		close(fd);
	}
}

static bool has_capability(int number) {
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};
	return syscall(SYS_capget, &header, data) == 0 && data[number / 32].effective >> (number % 32) & 1;
}

static void check_machine(void) {
	if (geteuid() != 0) die(1, "must be started as root (uid 0), not as uid %u", (unsigned)geteuid());
	if (!has_capability(CAP_SYS_ADMIN)) die(1, "lacks the capability CAP_SYS_ADMIN, which mounts and namespaces need");
	if (access("/dev/fuse", R_OK | W_OK) != 0) die(1, "/dev/fuse: %s; load the fuse module, or allow the device to this container", strerror(errno));
	if (access(pool.options.service, X_OK) != 0) die(1, "the service %s cannot be executed: %s", pool.options.service, strerror(errno));
}

static void open_directory(void) {
	pool.directory_fd = open(pool.options.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (pool.directory_fd < 0) die(1, "cannot open the pool directory %s: %s", pool.options.directory, strerror(errno));
	/* Held as long as a process of ours has it open; leaves nothing on disk. */
	if (flock(pool.directory_fd, LOCK_EX | LOCK_NB) != 0) die(1, "another pool-init runs in %s already", pool.options.directory);
	int result = dc_log_open(pool.directory_fd);
	if (result < 0) die(1, "cannot open %s/log/init.log: %s", pool.options.directory, strerror(-result));
	pool.host_proc_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (pool.host_proc_fd < 0 || faccessat(pool.host_proc_fd, "self/stat", R_OK, 0) != 0) die(1, "/proc is not mounted");
}

/* ---- pid 1 of the pool ------------------------------------------------------------------------------------------------------ */
static void check(struct dc_pool *this, int result, const char *what) {
	if (result < 0) dc_pool_give_up(this, "cannot %s: %s", what, strerror(-result));
}

static void set_up_namespaces(void) {
	setsid();
	/* What the host mounts later shows up here; nothing of ours shows up there. */
	if (mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) != 0) check(&pool, -errno, "make the pool's mounts its own");
	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0) check(&pool, -errno, "mount the pool's own /proc");
}

static void learn_who_we_are(void) {
	char number[16];
	ssize_t length = readlinkat(pool.host_proc_fd, "self", number, sizeof number - 1);
	if (length <= 0) check(&pool, -errno, "read the host's /proc");
	number[length] = 0;
	pool.host_pid = atoi(number);
	check(&pool, dc_start_time(pool.host_proc_fd, "self/stat", &pool.start_time), "read the host's /proc/self/stat");
	if ((length = readlink("/proc/self/ns/ipc", pool.ipc_namespace, sizeof pool.ipc_namespace - 1)) > 0) pool.ipc_namespace[length] = 0;
	if ((length = readlink("/proc/self/ns/mnt", pool.mount_namespace, sizeof pool.mount_namespace - 1)) > 0) pool.mount_namespace[length] = 0;
	static char cgroups[8192];
	/* Without one of its own the pool's group is that of whoever started it, and says nothing. */
	pool.cgroups = pool.own_cgroups && dc_read_file(-1, "/proc/self/cgroup", cgroups, sizeof cgroups) > 0 ? cgroups : NULL;
	getrlimit(RLIMIT_NOFILE, &pool.files_limit);
	struct rlimit more = {.rlim_cur = OPEN_FILES_WANTED, .rlim_max = OPEN_FILES_WANTED};
	if (pool.files_limit.rlim_max > more.rlim_max) more.rlim_max = pool.files_limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &more) == 0) return;
	more.rlim_cur = more.rlim_max = pool.files_limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &more);
}

static void on_signal(struct dc_source *source, uint32_t events) {
	struct signalfd_siginfo info;
	while (read(source->fd, &info, sizeof info) == (ssize_t)sizeof info) {
		if (info.ssi_signo == SIGCHLD) dc_children_reap(&pool.loop);
		else if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT) dc_stop_request(&pool, NULL);
	}
}

static void watch_signals(void) {
	sigset_t set;
	sigemptyset(&set);
	static const int numbers[] = {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGPIPE};
	for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) sigaddset(&set, numbers[i]);
	/* Blocked, not ignored: pid 1 gets a signal only when it is blocked or handled, and SIGCHLD must not be ignored. */
	sigprocmask(SIG_SETMASK, &set, NULL);
	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0) check(&pool, -errno, "watch signals");
	check(&pool, dc_source_add(&pool.loop, &pool.signals, fd, EPOLLIN, on_signal), "watch signals");
}

static void on_trim(struct dc_timer *timer) {
	dc_log_trim(pool.directory_fd, "log/init.log");
	dc_log_trim(pool.directory_fd, "log/service.log");
	dc_servers_trim_logs(&pool);
	dc_timer_set(&pool.loop, timer, TRIM_MS, on_trim);
}

static void make_queue(void) {
	pool.queue_fd = memfd_create("diciclo-queue", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	pool.ledger_fd = memfd_create("diciclo-ledger", MFD_CLOEXEC);
	if (pool.ledger_fd < 0 || ftruncate(pool.ledger_fd, (off_t)DC_LINK_LEDGER_BYTES) != 0) dc_pool_give_up(&pool, "no memory for the ledger: %s", strerror(errno));
	if (pool.queue_fd < 0 || ftruncate(pool.queue_fd, (off_t)sizeof(struct dc_queue)) != 0 || fcntl(pool.queue_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
		check(&pool, -errno, "make the queue's memory");
}

static void detach_from_caller(void) {
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int log = dc_log_file(pool.directory_fd, "log/init.log");
	if (null < 0 || log < 0) check(&pool, -EIO, "open /dev/null and the log");
	dup2(null, 0);
	dup2(log, 1);
	dup2(log, 2); /* a sanitizer's report, above all */
	close(null);
	close(log);
}

_Noreturn static void run_pool(int ready_fd) {
	pool.ready_fd = ready_fd;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN);
	detach_from_caller();
	set_up_namespaces();
	learn_who_we_are();
	remove_files();
	pool.backoff_forbidden = getenv("DICICLO_TEST_NO_BACKOFF") != NULL;
	pool.resend_forbidden = getenv("DICICLO_TEST_NO_RESEND") != NULL;
	check(&pool, dc_loop_init(&pool.loop), "make the event loop");
	watch_signals();
	dc_log("pool %s: pid %d", pool.options.name, (int)pool.host_pid);
	make_queue();
	check(&pool, dc_mounts_create(&pool), "make the mount table");
	check(&pool, dc_mounts_watch(&pool), "watch the mounts");
	check(&pool, dc_attach_listen(&pool), "listen on attach.sock");
	check(&pool, dc_control_listen(&pool), "listen on control.sock");
	on_trim(&pool.trim);
	dc_service_start(&pool);
	dc_loop_run(&pool.loop);
	_exit(0);
}

/* ---- the starter ------------------------------------------------------------------------------------------------------------ */
int main(int argc, char **argv) {
	const char *cgroups[CGROUPS_MAX];
	unsigned cgroup_count = 0;
	syscall(SYS_close_range, 3u, ~0u, 0u);
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0) (void)!open("/dev/null", O_RDWR);
	parse(argc, argv, cgroups, &cgroup_count);
	join_cgroups(cgroups, cgroup_count);
	pool.own_cgroups = cgroup_count > 0;
	check_machine();
	umask(022);
	if (chdir("/") != 0) die(1, "cannot change to /: %s", strerror(errno));
	open_directory();

	int ready[2];
	if (pipe2(ready, O_CLOEXEC) != 0) die(1, "cannot make a pipe: %s", strerror(errno));
	if (unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWPID) != 0) die(1, "cannot make namespaces: %s", strerror(errno));
	pid_t child = fork();
	if (child < 0) die(1, "cannot fork: %s", strerror(errno));
	if (child == 0) {
		close(ready[0]);
		run_pool(ready[1]);
	}
	close(ready[1]);
	char message[1024];
	size_t used = 0;
	for (ssize_t got; used < sizeof message - 1 && ((got = read(ready[0], message + used, sizeof message - 1 - used)) > 0 || (got < 0 && errno == EINTR));) {
		if (got > 0) used += (size_t)got;
		if (used && message[0] == '\n') _exit(0);
	}
	message[used] = 0;
	int status = 0;
	waitpid(child, &status, 0);
	if (used) die(1, "%s", message);
	die(1, "the pool's first process ended with status %d before it was ready; see %s/log/init.log", dc_exit_status(status), pool.options.directory);
}
