/*
 * diciclo-enter - runs one command inside a pool (docs/contract.md §3), or shows one of the pool's mounts on the host.
 *
 * The command stays in the caller's session, process group and terminal; this process stays outside the pool's pid namespace and is what the caller sees of the command: it passes signals on,
 * stops when the command stops, and ends as it ends. 125 is its own failure, as env and timeout have it.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "enter.h"
#include "util.h"

#define OWN_FAILURE 125
#define CGROUPS_MAX 32

struct arguments {
	const char *directory, *library, *working_directory, *host_mount, *host_unmount;
	const char *cgroups[CGROUPS_MAX];
	unsigned cgroup_count;
	bool use_library, dispatch;
	char **command;
};

static const int forwarded[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT, SIGTSTP};
#define FORWARDED (sizeof forwarded / sizeof forwarded[0])

_Noreturn void enter_fail(const char *format, ...) {
	va_list list;
	va_start(list, format);
	fputs("diciclo-enter: ", stderr);
	vfprintf(stderr, format, list);
	fputc('\n', stderr);
	va_end(list);
	_exit(OWN_FAILURE); /* not exit: as below */
}

/* ---- arguments -------------------------------------------------------------------------------------------------------------- */
static const char usage[] = "usage: diciclo-enter --dir POOLDIR [--door library|kernel] [--library PATH] [--syscalls symbols|dispatch] [--cgroup FILE]... [--cwd DIR] -- CMD ARG...\n"
							"       diciclo-enter --dir POOLDIR --host-mount MOUNTPOINT | --host-unmount MOUNTPOINT\n"
							"       diciclo-enter --features\n";

static void parse(int argc, char **argv, struct arguments *arguments) {
	static const struct option known[] = {{"dir", 1, 0, 'd'}, {"door", 1, 0, 'o'}, {"library", 1, 0, 'l'}, {"cgroup", 1, 0, 'c'}, {"cwd", 1, 0, 'w'}, {"host-mount", 1, 0, 'm'},
		{"host-unmount", 1, 0, 'u'}, {"syscalls", 1, 0, 's'}, {"features", 0, 0, 'f'}, {"help", 0, 0, 'h'}, {0}};
	const char *door = NULL, *syscalls = NULL;
	for (int option; (option = getopt_long(argc, argv, "+", known, NULL)) != -1;) {
		if (option == 'd') arguments->directory = optarg;
		else if (option == 'o') door = optarg;
		else if (option == 'l') arguments->library = optarg;
		else if (option == 's') syscalls = optarg;
		else if (option == 'w') arguments->working_directory = optarg;
		else if (option == 'm') arguments->host_mount = optarg;
		else if (option == 'u') arguments->host_unmount = optarg;
		else if (option == 'h') {
			fputs(usage, stdout);
			exit(0);
		} else if (option == 'f') {
			printf("{\"dispatch\":%s}\n", dc_dispatch_supported() ? "true" : "false");
			exit(0);
		} else if (option == 'c' && arguments->cgroup_count < CGROUPS_MAX) {
			arguments->cgroups[arguments->cgroup_count++] = optarg;
		} else {
			fputs(usage, stderr);
			exit(OWN_FAILURE);
		}
	}
	arguments->command = argv + optind;
	if (!arguments->directory) enter_fail("--dir is needed");
	if (door && strcmp(door, "library") != 0 && strcmp(door, "kernel") != 0) enter_fail("--door must be library or kernel, not '%s'", door);
	arguments->use_library = door ? strcmp(door, "library") == 0 : arguments->library != NULL;
	if (arguments->use_library && !arguments->library) enter_fail("--door library needs --library");
	if (syscalls && strcmp(syscalls, "symbols") != 0 && strcmp(syscalls, "dispatch") != 0) enter_fail("--syscalls must be symbols or dispatch, not '%s'", syscalls);
	arguments->dispatch = syscalls && strcmp(syscalls, "dispatch") == 0;
	if (arguments->dispatch && !arguments->use_library) enter_fail("--syscalls dispatch needs --door library");
	if (arguments->dispatch && !dc_dispatch_supported()) enter_fail("--syscalls dispatch: this kernel cannot dispatch system calls to user space (Linux 5.11 or newer on x86-64 can)");
	if (!arguments->host_mount && !arguments->host_unmount && !arguments->command[0]) enter_fail("a command is needed");
	if ((arguments->host_mount != NULL) + (arguments->host_unmount != NULL) + (arguments->command[0] != NULL) > 1) enter_fail("one of a command, --host-mount and --host-unmount");
}

static void join_cgroups(const struct arguments *arguments) {
	for (unsigned i = 0; i < arguments->cgroup_count; i++) {
		int fd = open(arguments->cgroups[i], O_WRONLY | O_CLOEXEC);
		if (fd < 0 || dc_write_all(fd, "0", 1) < 0) enter_fail("cannot join the control group %s: %s", arguments->cgroups[i], strerror(errno));
		close(fd);
	}
}

/* ---- the command ------------------------------------------------------------------------------------------------------------ */
struct stage {
	sigset_t mask;       /* the caller's */
	int alive_fd;        /* hangs up when this process dies */
	char **environment;
	const char *working_directory;
	bool told_directory; /* --cwd: PWD follows */
};

_Noreturn static void become(struct stage *stage, char **command) {
	/* The parent may have died before the kernel knew that we want to die with it. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	struct pollfd parent = {.fd = stage->alive_fd, .events = POLLIN};
	if (poll(&parent, 1, 0) != 0) _exit(OWN_FAILURE);
	close(stage->alive_fd);
	if (chdir(stage->working_directory) != 0) {
		fprintf(stderr, "diciclo: the working directory %s cannot be used inside the pool: %s\n", stage->working_directory, strerror(errno));
		_exit(OWN_FAILURE);
	}
	if (stage->told_directory) dc_environment_set(&stage->environment, "PWD", stage->working_directory);
	sigprocmask(SIG_SETMASK, &stage->mask, NULL);
	environ = stage->environment;
	execvp(command[0], command);
	int error = errno;
	bool missing = error == ENOENT || error == ENOTDIR;
	if (missing && !strchr(command[0], '/')) fprintf(stderr, "diciclo: %s: command not found\n", command[0]);
	else fprintf(stderr, "diciclo: %s: %s\n", command[0], strerror(error));
	_exit(missing ? 127 : 126);
}

/* The terminal's foreground process group when we are in it, to be given back: a shell in the pool takes it and cannot name ours. */
static int foreground_terminal(void) {
	int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	if (fd < 0) return -1;
	if (tcgetpgrp(fd) == getpgrp()) return fd;
	close(fd);
	return -1;
}

static void take_terminal(int terminal) {
	if (terminal < 0 || tcgetpgrp(terminal) == getpgrp()) return;
	sigset_t set, before;
	sigemptyset(&set);
	sigaddset(&set, SIGTTOU);
	sigprocmask(SIG_BLOCK, &set, &before); /* blocked, it does not stop who is in the background */
	tcsetpgrp(terminal, getpgrp());
	sigprocmask(SIG_SETMASK, &before, NULL);
}

/* True when the command has ended. */
static bool reap(pid_t child, int terminal, int *status) {
	while (waitpid(child, status, WNOHANG | WUNTRACED) == child) {
		if (!WIFSTOPPED(*status)) return true;
		take_terminal(terminal);
		raise(SIGSTOP); /* the caller's shell sees its job stop; its SIGCONT brings us here again */
		kill(child, SIGCONT);
	}
	return false;
}

static int supervise(pid_t child, const sigset_t *set, int terminal) {
	for (int status;;) {
		siginfo_t info;
		if (sigwaitinfo(set, &info) < 0) continue;
		if (info.si_signo == SIGCHLD) {
			if (!reap(child, terminal, &status)) continue;
			take_terminal(terminal);
			return dc_exit_status(status);
		}
		/* What the terminal sends it sends to the command as well, which is in the same process group. */
		if (info.si_code != SI_KERNEL || info.si_signo == SIGCONT) kill(child, info.si_signo);
	}
}

static void wait_set(sigset_t *set) {
	sigemptyset(set);
	sigaddset(set, SIGCHLD);
	for (size_t i = 0; i < FORWARDED; i++) {
		struct sigaction action;
		/* What the caller ignores (nohup) stays ignored, here and in the command. */
		if (sigaction(forwarded[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN) sigaddset(set, forwarded[i]);
	}
}

static int run(const struct arguments *arguments) {
	struct stage stage = {.told_directory = arguments->working_directory != NULL};
	static char current[PATH_MAX];
	stage.working_directory = arguments->working_directory;
	if (!stage.working_directory && !(stage.working_directory = getcwd(current, sizeof current))) enter_fail("the working directory is gone: %s", strerror(errno));
	if (stage.working_directory[0] != '/') enter_fail("the working directory must be absolute, not '%s'", stage.working_directory);
	stage.environment = dc_environment_copy(environ);
	if (!stage.environment || dc_environment_door(&stage.environment, arguments->use_library ? arguments->library : NULL, arguments->directory, arguments->dispatch) < 0) enter_fail("out of memory");

	struct enter_namespaces namespaces = enter_open_namespaces(arguments->directory);
	int terminal = foreground_terminal();
	join_cgroups(arguments);
	enter_join(&namespaces);

	int alive[2];
	sigset_t set;
	wait_set(&set);
	signal(SIGCHLD, SIG_DFL);
	sigprocmask(SIG_BLOCK, &set, &stage.mask);
	if (pipe2(alive, O_CLOEXEC) != 0) enter_fail("cannot make a pipe: %s", strerror(errno));
	pid_t child = fork();
	if (child < 0) enter_fail(errno == ENOMEM ? "the pool has just ended" : "cannot fork: %s", strerror(errno));
	if (child == 0) {
		close(alive[1]);
		stage.alive_fd = alive[0];
		become(&stage, arguments->command);
	}
	close(alive[0]);
	return supervise(child, &set, terminal);
}

int main(int argc, char **argv) {
	struct arguments arguments = {0};
	parse(argc, argv, &arguments);
	if (arguments.host_mount) return enter_host_mount(arguments.directory, arguments.host_mount);
	if (arguments.host_unmount) return enter_host_unmount(arguments.host_unmount);
	_exit(run(&arguments)); /* not exit: a leak sanitizer's thread cannot be made any more once children belong to another pid namespace */
}
