/*
 * dispatch.c - a program whose file calls pass libc's symbols: system calls in its own code, and libc's own calls inside of libc (its functions are taken from libc itself, past any preload).
 *
 * usage: dispatch DIR            everything: threads, processes, signals
 *        dispatch DIR inline     calls of its own alone: with the library and without dispatch nothing of it may be carried
 */
#include <dirent.h>
#include <dlfcn.h>
#include <ftw.h>
#include <glob.h>
#include <linux/sched.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <wchar.h>

#include "show.h"

extern char **environ;
static const char *directory, *self;

/* The call as a compiler that knows no libc makes it. -errno. */
__attribute__((noinline)) static long own(long number, long a, long b, long c, long d, long e, long f) {
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
	return result;
}
#define OWN6(n, a, b, c, d, e, f, ...) own(SYS_##n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define OWN(...) OWN6(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)
#define SHOW_OWN(...) show_own(#__VA_ARGS__, OWN(__VA_ARGS__))

static void show_own(const char *what, long result) {
	if (result < 0) printf("%s = %s\n", what, strerrorname_np((int)-result));
	else printf("%s = %ld\n", what, result);
}

/* ---- calls of its own ----------------------------------------------------------------------------------------------------------- */
static void entries(int fd) {
	char buffer[4096];
	long got, count = 0;
	while ((got = OWN(getdents64, fd, buffer, sizeof buffer)) > 0)
		for (long at = 0; at < got; at += *(uint16_t *)(buffer + at + 16)) count++;
	printf("entries %ld %ld\n", count, got);
}

static void files(void) {
	char bytes[64] = {0};
	struct stat st;
	long fd = OWN(openat, AT_FDCWD, "one", O_RDWR | O_CREAT | O_TRUNC, 0640);
	printf("openat %d\n", fd >= 0);
	SHOW_OWN(write, fd, "hello world", 11);
	SHOW_OWN(pwrite64, fd, "J", 1, 0);
	SHOW_OWN(pread64, fd, bytes, 5, 0);
	SHOW_OWN(lseek, fd, 6, SEEK_SET);
	SHOW_OWN(read, fd, bytes + 5, 20);
	printf("[%s]\n", bytes);
	SHOW_OWN(ftruncate, fd, 5);
	SHOW_OWN(fstat, fd, &st);
	printf("size %ld mode %o\n", (long)st.st_size, st.st_mode);
	SHOW_OWN(fsync, fd);
	SHOW_OWN(fallocate, fd, 0, 0, 100);
	SHOW_OWN(fchmod, fd, 0600);
	long copy = OWN(dup, fd), high = OWN(fcntl, fd, F_DUPFD_CLOEXEC, 100);
	SHOW_OWN(fcntl, high, F_GETFD);
	SHOW_OWN(fcntl, copy, F_GETFL);
	SHOW_OWN(close, fd);
	SHOW_OWN(pwrite64, copy, "copy", 4, 1);
	SHOW_OWN(close, copy);
	SHOW_OWN(pread64, high, bytes, 8, 0);
	printf("[%.8s]\n", bytes);
	char *map = (char *)OWN(mmap, 0, 4096, PROT_READ, MAP_SHARED, high, 0);
	printf("map %.5s\n", (uintptr_t)map < (uintptr_t)-4096 ? map : "none");
	SHOW_OWN(munmap, map, 4096);
	SHOW_OWN(close, high);
	SHOW_OWN(pread64, high, bytes, 8, 0);
}

static void names(void) {
	char bytes[64] = {0};
	struct stat st;
	struct statx stx;
	SHOW_OWN(mkdir, "dir", 0755);
	SHOW_OWN(mkdir, "dir", 0755);
	SHOW_OWN(rename, "one", "dir/two");
	SHOW_OWN(link, "dir/two", "dir/three");
	SHOW_OWN(symlink, "dir/two", "link");
	SHOW_OWN(readlink, "link", bytes, sizeof bytes);
	SHOW_OWN(newfstatat, AT_FDCWD, "link", &st, AT_SYMLINK_NOFOLLOW);
	printf("%o\n", st.st_mode);
	SHOW_OWN(statx, AT_FDCWD, "link", 0, STATX_BASIC_STATS, &stx);
	printf("%o %u\n", stx.stx_mode, stx.stx_nlink);
	SHOW_OWN(chmod, "dir/two", 0400);
	SHOW_OWN(access, "dir/two", R_OK);
	SHOW_OWN(open, "none", O_RDONLY);
	SHOW_OWN(openat, AT_FDCWD, NULL, O_RDONLY);
	SHOW_OWN(openat, -7, "one", O_RDONLY);
	SHOW_OWN(truncate, "dir/two", 3);
	long fd = OWN(open, "dir", O_RDONLY | O_DIRECTORY);
	entries((int)fd);
	SHOW_OWN(unlinkat, fd, "three", 0);
	SHOW_OWN(fchdir, fd);
	SHOW_OWN(unlink, "two");
	SHOW_OWN(chdir, "..");
	SHOW_OWN(close, fd);
	SHOW_OWN(rmdir, "dir");
	SHOW_OWN(unlink, "link");
}

/* What the handler must leave alone: the red zone, vector registers, errno, registers that a call keeps. */
__attribute__((noinline)) static long untouched(void) {
	long ok;
	__asm__ volatile("movq $0x1234567, -8(%%rsp)\n\tmovq $0x89abcd, -120(%%rsp)\n\tmovq $77, %%r12\n\tmovq %%r12, %%xmm7\n\tmovq $78, %%r15\n\tstd\n\tcld\n\tmov $39, %%eax\n\tsyscall\n\t"
		"xor %%ecx, %%ecx\n\tcmpq $0x1234567, -8(%%rsp)\n\tjne 1f\n\tcmpq $0x89abcd, -120(%%rsp)\n\tjne 1f\n\tmovq %%xmm7, %%r11\n\tcmp $77, %%r11\n\tjne 1f\n\tcmp $77, %%r12\n\tjne 1f\n\t"
		"cmp $78, %%r15\n\tjne 1f\n\tmov $1, %%ecx\n1:\tmovq %%rcx, %0" : "=r"(ok) : : "rax", "rcx", "r11", "r12", "r15", "xmm7", "memory", "cc");
	return ok;
}

static void own_calls(void) {
	errno = 77;
	files();
	names();
	printf("errno %d, registers %ld, pid %d\n", errno, untouched(), OWN(getpid) == getpid());
}

/* ---- libc's own ------------------------------------------------------------------------------------------------------------------- */
static void *libc_;
#define LIBC(name) ((__typeof__(&name))dlsym(libc_, #name))

static int visited;
static int visit(const char *path, const struct stat *st, int kind, struct FTW *at) {
	(void)path, (void)st, (void)kind, (void)at;
	visited++;
	return 0;
}

static void streams(void) {
	char line[100] = {0};
	FILE *stream = LIBC(fopen)("stream", "w+");
	show("fopen", stream ? 0 : -1);
	for (int i = 0; i < 3000; i++) LIBC(fprintf)(stream, "line %d\n", i);
	show("fseek", LIBC(fseek)(stream, 7, SEEK_SET));
	show("fgets", LIBC(fgets)(line, sizeof line, stream) ? 0 : -1);
	printf("%s", line);
	show("fileno's size", fstat(fileno(stream), &(struct stat){0}));
	stream = LIBC(freopen)("stream2", "w", stream);
	LIBC(fputs)("again\n", stream);
	show("fclose", fclose(stream)); /* ours, of libc's stream: what is in its buffer must arrive */
	show_file("stream2");
	stream = fopen("wide", "w+");
	fputws(L"wide words\n", stream);
	show("wide fclose", fclose(stream));
	show_file("wide");
	int fd = LIBC(open)("printed", O_RDWR | O_CREAT, 0600);
	dprintf(fd, "%d %s\n", 5, "five");
	close(fd);
	show_file("printed");
	show_stat("stream");
}

static void walks(void) {
	mkdir("tree", 0755);
	for (int i = 0; i < 20; i++) {
		char name[32];
		snprintf(name, sizeof name, "tree/f%02d", i);
		make(name, "x");
	}
	visited = 0;
	show("nftw", nftw("tree", visit, 8, FTW_PHYS));
	show("nftw moving", nftw("tree", visit, 8, FTW_PHYS | FTW_CHDIR | FTW_DEPTH));
	printf("visited %d\n", visited);
	glob_t found;
	show("glob", glob("tree/f1*", 0, NULL, &found));
	printf("%zu %s\n", found.gl_pathc, found.gl_pathv[0]);
	globfree(&found);
	struct dirent **list;
	int count = LIBC(scandir)("tree", &list, NULL, alphasort);
	printf("scandir %d %s\n", count, list[5]->d_name);
	for (int i = 0; i < count; i++) free(list[i]);
	free(list);
	DIR *open_directory = LIBC(opendir)("tree");
	count = 0;
	while (LIBC(readdir)(open_directory)) count++;
	printf("readdir %d\n", count);
	LIBC(closedir)(open_directory);
	char *real = LIBC(realpath)("tree/../tree/f00", NULL), name[] = "tree/tmpXXXXXX";
	printf("realpath %s\n", real ? strrchr(real, '/') : "none");
	free(real);
	int fd = LIBC(mkstemp)(name);
	show("mkstemp", write(fd, "abc", 3));
	close(fd);
	show("remove", LIBC(remove)(name));
	show("syscall", LIBC(syscall)(SYS_access, "tree/f00", R_OK));
	show("chmod", LIBC(fchmodat)(AT_FDCWD, "tree/f00", 0444, AT_SYMLINK_NOFOLLOW));
	show_stat("tree/f00");
}

/* ---- threads ------------------------------------------------------------------------------------------------------------------------ */
static void *work(void *argument) {
	char name[32], bytes[8];
	long wrong = 0;
	snprintf(name, sizeof name, "thread%ld", (long)argument);
	for (int i = 0; i < 200; i++) {
		long fd = OWN(openat, AT_FDCWD, name, O_RDWR | O_CREAT, 0600);
		wrong += OWN(pwrite64, fd, "thread", 6, i) != 6;
		wrong += OWN(pread64, fd, bytes, 6, i) != 6 || memcmp(bytes, "thread", 6);
		wrong += OWN(close, fd) != 0;
	}
	return (void *)wrong;
}

static int pipe_[2];
static void *blocks(void *in_libc) {
	char byte;
	if (in_libc) LIBC(read)(pipe_[0], &byte, 1);
	else (void)!read(pipe_[0], &byte, 1);
	return NULL;
}

static int on_own_stack(void *argument) {
	(void)argument;
	long fd = OWN(open, "cloned", O_WRONLY | O_CREAT, 0600);
	OWN(write, fd, "cloned", 6);
	OWN(close, fd);
	return 7;
}

static void threads(void) {
	pthread_t thread[4];
	void *wrong;
	for (long i = 0; i < 4; i++) pthread_create(&thread[i], NULL, work, (void *)i);
	for (int i = 0; i < 4; i++) {
		pthread_join(thread[i], &wrong);
		printf("thread %ld\n", (long)wrong);
	}
	(void)!pipe(pipe_);
	for (long in_libc = 0; in_libc < 2; in_libc++) {
		pthread_create(&thread[0], NULL, blocks, (void *)in_libc);
		usleep(20000);
		pthread_cancel(thread[0]);
		pthread_join(thread[0], &wrong);
		printf("cancelled %d\n", wrong == PTHREAD_CANCELED);
	}
	close(pipe_[0]);
	close(pipe_[1]);
	static char stack[65536] __attribute__((aligned(16)));
	int status = 0;
	pid_t child = clone(on_own_stack, stack + sizeof stack, SIGCHLD, NULL);
	waitpid(child, &status, 0);
	printf("clone %d\n", WEXITSTATUS(status));
	show_file("cloned");
}

/* ---- processes ---------------------------------------------------------------------------------------------------------------------- */
static void ended(const char *how, long child) {
	int status = 0;
	long result = OWN(wait4, child, &status, 0, NULL);
	printf("%s: %d status %d\n", how, result == child, WEXITSTATUS(status));
}

static void child_writes(const char *name) {
	long fd = OWN(open, name, O_WRONLY | O_CREAT, 0600);
	OWN(write, fd, name, strlen(name));
	OWN(close, fd);
}

static void processes(void) {
	long shared = OWN(open, "shared", O_RDWR | O_CREAT, 0600), child = fork();
	if (child == 0) {
		child_writes("forked");
		OWN(write, shared, "child ", 6);
		OWN(exit_group, 3);
	}
	ended("fork", child);
	OWN(write, shared, "parent", 6);
	OWN(close, shared);
	show_file("forked");
	show_file("shared");
	child = OWN(fork);
	if (child == 0) {
		child_writes("forked by number");
		OWN(exit_group, 4);
	}
	ended("SYS_fork", child);
	show_file("forked by number");
	__asm__ volatile("syscall" : "=a"(child) : "a"(SYS_vfork) : "rcx", "r11", "memory"); /* here: its child must not return from a function */
	if (child == 0) {
		const char *argv[] = {"sh", "-c", "exit 5", NULL};
		OWN(execve, "/bin/sh", argv, environ);
		OWN(exit_group, 1);
	}
	ended("SYS_vfork", child);
	pid_t spawned;
	posix_spawn(&spawned, "/bin/sh", NULL, NULL, (char *[]){"sh", "-c", "echo spawned > spawned; exit 6", NULL}, environ);
	ended("posix_spawn", spawned);
	show_file("spawned");
	printf("system %d\n", WEXITSTATUS(system("echo system > system; exit 8")));
	show_file("system");
	FILE *out = popen("cat system", "r");
	char line[20] = {0};
	printf("popen %s", fgets(line, sizeof line, out) ? line : "nothing\n");
	pclose(out);
	fflush(stdout);
	child = fork(); /* with an empty environment: what it needs comes along */
	if (child == 0) OWN(execve, self, ((const char *[]){"dispatch", directory, "child", NULL}), ((const char *[]){NULL}));
	ended("exec", child);
}

/* ---- signals ------------------------------------------------------------------------------------------------------------------------ */
static volatile sig_atomic_t handled, handled_wrong;
static int handler_fd;
static void handler(int number) {
	char bytes[4];
	(void)number;
	int error = errno;
	if (OWN(pread64, handler_fd, bytes, 4, 0) != 4 || memcmp(bytes, "sign", 4)) handled_wrong++;
	if (pread(handler_fd, bytes, 4, 0) != 4) handled_wrong++;
	handled++;
	errno = error;
}

static sigjmp_buf away;
static void leaves(int number) {
	(void)number;
	siglongjmp(away, 1);
}

static void install(int number, void (*function)(int), int flags) {
	struct sigaction action = {.sa_handler = function, .sa_flags = flags};
	sigfillset(&action.sa_mask); /* SIGSYS with it */
	sigaction(number, &action, NULL);
}

static void *interrupter(void *argument) {
	usleep(30000);
	pthread_kill(*(pthread_t *)argument, SIGUSR1);
	usleep(30000);
	(void)!write(pipe_[1], "x", 1);
	return NULL;
}

static void interrupted(void) {
	pthread_t me = pthread_self(), other;
	char byte;
	for (int restarted = 0; restarted < 2; restarted++) {
		(void)!pipe(pipe_);
		install(SIGUSR1, handler, restarted ? SA_RESTART : 0);
		handled = 0;
		pthread_create(&other, NULL, interrupter, &me);
		show_own("read of a pipe", OWN(read, pipe_[0], &byte, 1));
		pthread_join(other, NULL);
		printf("handled %d\n", (int)handled);
		close(pipe_[0]);
		close(pipe_[1]);
	}
}

static void blocked(void) {
	sigset_t all, before, none;
	char bytes[4];
	sigfillset(&all);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &all, &before);
	show_own("all blocked", OWN(pread64, handler_fd, bytes, 4, 0));
	sigset_t now;
	sigprocmask(SIG_SETMASK, NULL, &now);
	printf("SIGSYS blocked: %d, before: %d\n", sigismember(&now, SIGSYS), sigismember(&before, SIGSYS));
	handled = 0;
	raise(SIGUSR1);
	printf("handled %d\n", (int)handled);
	sigset_t but = all;
	sigdelset(&but, SIGUSR1);
	show("sigsuspend", sigsuspend(&but));
	printf("handled %d\n", (int)handled);
	raise(SIGUSR1);
	show("ppoll", ppoll(NULL, 0, &(struct timespec){5, 0}, &but));
	printf("handled %d\n", (int)handled);
	sigprocmask(SIG_SETMASK, &before, NULL);
	struct sigaction old;
	sigaction(SIGUSR1, NULL, &old);
	printf("mask kept %d %d, wrong %d\n", sigismember(&old.sa_mask, SIGSYS), sigismember(&old.sa_mask, SIGHUP), (int)handled_wrong);
	show("sigaction", OWN(rt_sigaction, SIGUSR1, 8, NULL, 8) == -EFAULT ? 0 : 1);
}

static volatile sig_atomic_t own_sigsys;
static void on_sigsys(int number) {
	(void)number;
	own_sigsys++;
}

static void own_handler_of_sigsys(void) {
	sigset_t set, before;
	install(SIGSYS, on_sigsys, 0);
	raise(SIGSYS);
	show_own("call", OWN(pread64, handler_fd, (char[4]){0}, 4, 0));
	printf("own SIGSYS %d\n", (int)own_sigsys);
	sigemptyset(&set);
	sigaddset(&set, SIGSYS);
	sigprocmask(SIG_BLOCK, &set, &before);
	raise(SIGSYS);
	printf("blocked %d\n", (int)own_sigsys);
	sigprocmask(SIG_SETMASK, &before, NULL);
	printf("unblocked %d\n", (int)own_sigsys);
	signal(SIGSYS, SIG_DFL);
	pid_t child = fork();
	if (child == 0) {
		raise(SIGSYS);
		_exit(0);
	}
	int status;
	waitpid(child, &status, 0);
	printf("default %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

/* A timer's handler, on top of wrappers, libc and calls of its own; some of the time it leaves by longjmp. */
static void storm(void) {
	struct itimerval often = {{0, 300}, {0, 300}}, off = {{0, 0}, {0, 0}};
	long wrong = 0;
	char bytes[8];
	install(SIGALRM, handler, SA_RESTART);
	handled = 0;
	setitimer(ITIMER_REAL, &often, NULL);
	for (int i = 0; i < 3000 || handled < 20; i++) {
		wrong += OWN(pwrite64, handler_fd, "sign", 4, 0) != 4;
		wrong += pread(handler_fd, bytes, 4, 0) != 4;
		struct stat st;
		wrong += OWN(fstat, handler_fd, &st) != 0;
	}
	setitimer(ITIMER_REAL, &off, NULL);
	printf("storm: wrong %ld, handler's %d\n", wrong, (int)handled_wrong);
	install(SIGALRM, leaves, 0);
	for (volatile int jumps = 0; jumps < 100; jumps++) {
		if (sigsetjmp(away, 1)) continue;
		ualarm(300, 0);
		for (int i = 0;; i++) OWN(pwrite64, handler_fd, "sign", 4, i % 4096);
	}
	OWN(ftruncate, handler_fd, 4);
	OWN(pwrite64, handler_fd, "sign", 4, 0);
	show_own("after the jumps", OWN(pread64, handler_fd, bytes, 4, 0));
	int state;
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state);
	printf("can be cancelled %d\n", state == PTHREAD_CANCEL_ENABLE);
}

/* ---- stacks --------------------------------------------------------------------------------------------------------------------------- */
static void *seen_stack;
static void on_stack(int number) {
	(void)number;
	stack_t now;
	seen_stack = __builtin_frame_address(0);
	sigaltstack(NULL, &now);
	printf("on the stack: %d, set there: ", now.ss_flags);
	show("sigaltstack", sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL));
}

static ucontext_t main_context, small_context;
static volatile long small_result[3];
static void on_small_stack(void) {
	small_result[0] = OWN(open, "small", O_RDWR | O_CREAT, 0600);
	small_result[1] = OWN(write, small_result[0], "small", 5);
	small_result[2] = OWN(close, small_result[0]);
}

static void stacks(void) {
	char *stack = mmap(NULL, 1 << 17, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *small = stack + 65536;
	stack_t now;
	show("sigaltstack", sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = 100}, NULL));
	show("sigaltstack", sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = 32768}, NULL));
	sigaltstack(NULL, &now);
	printf("kept %d %zu %d\n", now.ss_sp == stack, now.ss_size, now.ss_flags);
	install(SIGUSR2, on_stack, SA_ONSTACK);
	raise(SIGUSR2);
	printf("ran there %d\n", (char *)seen_stack >= stack && (char *)seen_stack < stack + 32768);
	/* As goroutines have it: room for a few frames, a page that faults below, and a large stack for signals. */
	mprotect(small, 4096, PROT_NONE);
	getcontext(&small_context);
	small_context.uc_stack.ss_sp = small + 4096;
	small_context.uc_stack.ss_size = 2048;
	small_context.uc_link = &main_context;
	makecontext(&small_context, on_small_stack, 0);
	swapcontext(&main_context, &small_context);
	printf("small stack: %d %ld %ld\n", small_result[0] >= 0, small_result[1], small_result[2]);
	show_file("small");
	sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL);
	sigaltstack(NULL, &now);
	printf("off %d\n", now.ss_flags);
	munmap(stack, 1 << 17);
}

static void signals(void) {
	handler_fd = (int)OWN(open, "signal", O_RDWR | O_CREAT | O_TRUNC, 0600);
	OWN(write, handler_fd, "sign", 4);
	interrupted();
	blocked();
	own_handler_of_sigsys();
	storm();
	stacks();
	OWN(close, handler_fd);
}

int main(int argc, char **argv) {
	directory = argv[1];
	self = argv[0];
	setvbuf(stdout, NULL, _IOLBF, 0);
	umask(022);
	if (OWN(chdir, directory) < 0) return 1;
	if (argc > 2 && !strcmp(argv[2], "child")) {
		child_writes("executed");
		return 9;
	}
	own_calls();
	if (argc > 2) return 0;
	libc_ = dlopen("libc.so.6", RTLD_NOW);
	streams();
	walks();
	threads();
	processes();
	show_file("executed");
	signals();
	return 0;
}
