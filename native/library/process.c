/*
 * process.c - fork, exec and their relatives.
 *
 * Before a process is copied every carried description becomes the kernel door's own and its offset the kernel's, so that parent and child share it as POSIX says, whatever
 * the child runs. The child drops all that was the parent's and adopts what it uses. The library's environment is put back where a program replaced it.
 *
 * A child of vfork(2) borrows our memory, tables and all, and what it does with its descriptors must not show in them. It needs none of them, since what it has are the kernel's own descriptors:
 * to that thread, until it is the parent's again, the library is not there (dc_borrowed).
 */
#include "dispatch.h"
#include "internal.h"

#include <dlfcn.h>
#include <pty.h>
#include <sched.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

extern char **environ;

/* ---- the environment ------------------------------------------------------------------------------------------------------- */
#define ENVIRONMENT_MAX 131072

static const char *value_of(char *const *environment, const char *name, size_t length) {
	for (; environment && *environment; environment++)
		if (!strncmp(*environment, name, length) && (*environment)[length] == '=') return *environment + length + 1;
	return NULL;
}

struct environment {
	char **list; /* the caller's, or ours */
	void *map;
	size_t size;
};

static TLS struct environment left; /* by a child that borrows our memory, and execs */

/* Async-signal-safe: memory comes from mmap and goes with the exec. */
static void with_library(struct environment *out, char *const *given) {
	*out = (struct environment){.list = (char **)given};
	if (!dc_activated || !dc_library_path[0]) return;
	const char *preload = value_of(given, "LD_PRELOAD", 10), *directory = value_of(given, "DICICLO_POOL_DIR", 16);
	const char *syscalls = dc_dispatching ? value_of(given, "DICICLO_SYSCALLS", 16) : "dispatch";
	bool has_library = preload && strstr(preload, dc_library_path), has_directory = directory && !strcmp(directory, dc_pool_dir);
	bool has_syscalls = syscalls && !strcmp(syscalls, "dispatch");
	if (has_library && has_directory && has_syscalls) return;
	size_t count = 0, text = sizeof dc_library_path + sizeof dc_pool_dir + 128 + (preload ? strlen(preload) : 0);
	while (given && given[count]) count++;
	if (count > ENVIRONMENT_MAX) return;
	size_t size = (count + 4) * sizeof(char *) + text;
	long map = dc_raw6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map < 0 && map > -4096) return;
	char **list = (char **)map, *at = (char *)(list + count + 4);
	size_t used = 0;
	for (size_t i = 0; i < count; i++)
		if (strncmp(given[i], "LD_PRELOAD=", 11) && strncmp(given[i], "DICICLO_POOL_DIR=", 17) && (!dc_dispatching || strncmp(given[i], "DICICLO_SYSCALLS=", 17))) list[used++] = given[i];
	list[used++] = at;
	at = stpcpy(stpcpy(at, "LD_PRELOAD="), has_library ? preload : dc_library_path);
	if (!has_library && preload && preload[0]) at = stpcpy(stpcpy(at, ":"), preload);
	list[used++] = ++at;
	at = stpcpy(stpcpy(at, "DICICLO_POOL_DIR="), dc_pool_dir);
	if (dc_dispatching) list[used++] = strcpy(at + 1, "DICICLO_SYSCALLS=dispatch");
	list[used] = NULL;
	*out = (struct environment){.list = list, .map = list, .size = size};
	if (dc_borrowed) left = *out;
}

static void drop_environment(struct environment *environment) {
	if (environment->map) dc_raw6(SYS_munmap, (long)environment->map, (long)environment->size, 0, 0, 0, 0);
	if (dc_borrowed) left.map = NULL;
	environment->map = NULL;
}

/* ---- fork ------------------------------------------------------------------------------------------------------------------ */
static pid_t fork_with(pid_t (*real)(void)) {
	if (!dc_active()) return real();
	dc_early_hold();
	dc_share_table(DC_SHARE_FORK);
	dc_children_prepare();
	struct dc_arena *copy[DC_SESSIONS];
	dc_session_before_fork(copy);
	bool outer = dc_fork_announce(true);
	pid_t child = real();
	dc_fork_announce(outer);
	if (child == 0) dc_forked_child(copy);
	else dc_session_after_fork(copy);
	dc_children_made(child);
	if (child) dc_early_end();
	return child;
}

EXPORT pid_t fork(void) { return fork_with(NEXT(fork)); }
ALIAS(__fork, fork);
EXPORT pid_t _Fork(void) { return fork_with(NEXT(_Fork)); }

/* ---- vfork ----------------------------------------------------------------------------------------------------------------- */
TLS int dc_borrowed;

static void lend_memory(void) {
	if (dc_active()) {
		dc_early_hold();
		dc_share_table(DC_SHARE_FORK);
		dc_children_prepare();
	}
	dc_borrowed++;
}

static void memory_is_back(long child) {
	dc_borrowed--;
	drop_environment(&left);
	if (!dc_active()) return;
	if (child > 0) dc_children_made((pid_t)child);
	dc_early_end();
}

#ifdef __x86_64__
/* Whether it may be: a dispatched child would have to be told from its parent by its memory. POSIX allows a fork instead. */
__attribute__((used)) static int vfork_begin(void) {
	if (dc_dispatching) return 0;
	lend_memory();
	return 1;
}

__attribute__((used)) static pid_t vfork_end(long result) {
	memory_is_back(result);
	return (pid_t)dc_return(result);
}

__attribute__((used)) static pid_t vfork_copies(void) { return fork_with(NEXT(fork)); }

/*
 * The child returns to our caller and goes on there, on the parent's stack: where the return address was is then something else. So it is kept in a register meanwhile, as libc's does (the kernel
 * preserves rdi).
 */
_Static_assert(SYS_vfork == 58, "below");
EXPORT __attribute__((naked)) pid_t vfork(void) {
	__asm__("sub $8, %rsp\n"
		"call vfork_begin\n"
		"add $8, %rsp\n"
		"test %eax, %eax\n"
		"jz vfork_copies\n"
		"pop %rdi\n"
		"mov $58, %eax\n"
		"syscall\n"
		"push %rdi\n"
		"test %rax, %rax\n"
		"jz 1f\n"
		"mov %rax, %rdi\n"
		"jmp vfork_end\n"
		"1: ret\n");
}
#else
EXPORT pid_t vfork(void) { return fork_with(NEXT(fork)); }
#endif
ALIAS(__vfork, vfork);

/* glibc's fork inside these is not seen. */
EXPORT int daemon(int nochdir, int noclose) {
	dc_children_escaped();
	dc_share_table(DC_SHARE_ALL);
	int result = NEXT(daemon)(nochdir, noclose);
	if (dc_active() && result == 0) {
		dc_forked_child(NULL);
		for (int fd = 0; fd < 3; fd++) dc_known[fd] = 0;
	}
	return result;
}

EXPORT int forkpty(int *master, char *name, const struct termios *terminal, const struct winsize *size) {
	dc_children_escaped();
	dc_share_table(DC_SHARE_ALL);
	int result = NEXT(forkpty)(master, name, terminal, size);
	if (dc_active() && result == 0) dc_forked_child(NULL);
	if (result > 0 && master) dc_forget_new(*master);
	return result;
}

EXPORT int clone(int (*function)(void *), void *stack, int flags, void *argument, ...) {
	va_list list;
	va_start(list, argument);
	pid_t *parent = va_arg(list, pid_t *);
	void *tls = va_arg(list, void *);
	pid_t *child = va_arg(list, pid_t *);
	va_end(list);
	if (!(flags & CLONE_VM)) { /* the wiped page tells the child */
		dc_children_escaped();
		dc_share_table(DC_SHARE_ALL);
	}
	bool borrows = !dc_dispatching && (flags & (CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_SETTLS)) == (CLONE_VM | CLONE_VFORK);
	if (borrows) lend_memory();
	int result = NEXT(clone)(function, stack, flags, argument, parent, tls, child);
	if (borrows) memory_is_back(result);
	return result;
}
ALIAS(__clone, clone);

/* ---- exec ------------------------------------------------------------------------------------------------------------------ */
/* A failed exec leaves everything as it was, but for descriptions that are counted as shared from now on. */
EXPORT int execve(const char *path, char *const argv[], char *const envp[]) {
	struct environment environment;
	with_library(&environment, envp);
	dc_children_inherited();
	dc_share_table(DC_SHARE_INHERITABLE);
	int result = NEXT(execve)(path, argv, environment.list);
	drop_environment(&environment);
	return result;
}

EXPORT int execv(const char *path, char *const argv[]) { return execve(path, argv, environ); }

EXPORT int execvpe(const char *file, char *const argv[], char *const envp[]) {
	struct environment environment;
	with_library(&environment, envp);
	dc_children_inherited();
	dc_share_table(DC_SHARE_INHERITABLE);
	int result = NEXT(execvpe)(file, argv, environment.list);
	drop_environment(&environment);
	return result;
}

EXPORT int execvp(const char *file, char *const argv[]) { return execvpe(file, argv, environ); }

EXPORT int fexecve(int fd, char *const argv[], char *const envp[]) {
	struct environment environment;
	with_library(&environment, envp);
	dc_upgrade_fd(fd, DC_UNCARRIED_fexecve);
	dc_children_inherited();
	dc_share_table(DC_SHARE_INHERITABLE);
	int result = NEXT(fexecve)(fd, argv, environment.list);
	drop_environment(&environment);
	return result;
}

EXPORT int execveat(int dirfd, const char *path, char *const argv[], char *const envp[], int flags) {
	struct environment environment;
	with_library(&environment, envp);
	dc_upgrade_fd(dirfd, DC_UNCARRIED_fexecve);
	dc_children_inherited();
	dc_share_table(DC_SHARE_INHERITABLE);
	int result = NEXT(execveat)(dirfd, path, argv, environment.list, flags);
	drop_environment(&environment);
	return result;
}

#define ARGUMENTS_MAX 1024

/* The list forms. More arguments than that are not found in a list written by hand. */
static int gather(char *argv[ARGUMENTS_MAX + 1], const char *first, va_list list) {
	int count = 0;
	for (const char *argument = first; argument; argument = va_arg(list, const char *)) {
		if (count == ARGUMENTS_MAX) return -1;
		argv[count++] = (char *)argument;
	}
	argv[count] = NULL;
	return count;
}

EXPORT int execl(const char *path, const char *first, ...) {
	char *argv[ARGUMENTS_MAX + 1];
	va_list list;
	va_start(list, first);
	int count = gather(argv, first, list);
	va_end(list);
	return count < 0 ? (int)dc_return(-E2BIG) : execv(path, argv);
}

EXPORT int execlp(const char *file, const char *first, ...) {
	char *argv[ARGUMENTS_MAX + 1];
	va_list list;
	va_start(list, first);
	int count = gather(argv, first, list);
	va_end(list);
	return count < 0 ? (int)dc_return(-E2BIG) : execvp(file, argv);
}

EXPORT int execle(const char *path, const char *first, ...) {
	char *argv[ARGUMENTS_MAX + 1];
	va_list list;
	va_start(list, first);
	int count = gather(argv, first, list);
	char *const *envp = count < 0 ? NULL : va_arg(list, char *const *);
	va_end(list);
	return count < 0 ? (int)dc_return(-E2BIG) : execve(path, argv, envp);
}

/* ---- spawn: glibc's child acts on the descriptors unseen --------------------------------------------------------------------- */
static int spawn(__typeof__(&posix_spawn) real, pid_t *restrict pid, const char *restrict path, const posix_spawn_file_actions_t *actions,
                 const posix_spawnattr_t *restrict attributes, char *const argv[restrict], char *const envp[restrict]) {
	struct environment environment;
	with_library(&environment, envp);
	if (actions) dc_children_escaped();
	else dc_children_inherited();
	dc_share_table(actions ? DC_SHARE_ALL : DC_SHARE_INHERITABLE);
	int result = real(pid, path, actions, attributes, argv, environment.list);
	drop_environment(&environment);
	return result;
}

EXPORT int posix_spawn(pid_t *restrict pid, const char *restrict path, const posix_spawn_file_actions_t *actions,
                       const posix_spawnattr_t *restrict attributes, char *const argv[restrict], char *const envp[restrict]) {
	return spawn(NEXT(posix_spawn), pid, path, actions, attributes, argv, envp);
}

EXPORT int posix_spawnp(pid_t *restrict pid, const char *restrict path, const posix_spawn_file_actions_t *actions,
                        const posix_spawnattr_t *restrict attributes, char *const argv[restrict], char *const envp[restrict]) {
	return spawn(NEXT(posix_spawnp), pid, path, actions, attributes, argv, envp);
}

/* glibc 2.39. */
int pidfd_spawn(int *restrict pidfd, const char *restrict path, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *restrict attributes, char *const argv[restrict],
                char *const envp[restrict]);
int pidfd_spawnp(int *restrict pidfd, const char *restrict path, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *restrict attributes, char *const argv[restrict],
                 char *const envp[restrict]);
EXPORT int pidfd_spawn(int *restrict pidfd, const char *restrict path, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *restrict attributes,
                       char *const argv[restrict], char *const envp[restrict]) {
	return spawn(NEXT(pidfd_spawn), pidfd, path, actions, attributes, argv, envp);
}

EXPORT int pidfd_spawnp(int *restrict pidfd, const char *restrict path, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *restrict attributes,
                        char *const argv[restrict], char *const envp[restrict]) {
	return spawn(NEXT(pidfd_spawnp), pidfd, path, actions, attributes, argv, envp);
}

EXPORT int system(const char *command) {
	dc_children_inherited();
	dc_share_table(DC_SHARE_INHERITABLE);
	return NEXT(system)(command);
}

EXPORT FILE *popen(const char *command, const char *mode) {
	dc_children_inherited();
	dc_share_table(DC_SHARE_INHERITABLE);
	FILE *stream = NEXT(popen)(command, mode);
	if (stream && !dc_dispatching) dc_forget_new(fileno(stream));
	return stream;
}
ALIAS(_IO_popen, popen);
