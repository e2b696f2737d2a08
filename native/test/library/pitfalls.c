/*
 * pitfalls.c - what interposing libraries get wrong (the table in docs/library.md, "Tests"), where no other test here has it: programs that fail to start, environments that lose the library,
 * other libraries between, cancelled threads, forks in the middle of others' calls, walks that libc makes unseen, calls by number.
 * usage: pitfalls DIRECTORY
 */
#include <dlfcn.h>
#include <fts.h>
#include <ftw.h>
#include <glob.h>
#include <pthread.h>
#include <pwd.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <wordexp.h>

#include "show.h"

static int waited(pid_t child) {
	int status = -1;
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -status;
}

/* An exec that fails changes nothing: offsets, flags and close-on-exec stay, by each of its names. */
static void failed_exec(void) {
	make("exec", "0123456789");
	make("notexec", "#!/nonexistent/interpreter\n");
	chmod("notexec", 0755);
	char *argv[] = {"x", NULL}, *empty[] = {NULL}, buffer[8] = {0};
	int fd = open("exec", O_RDWR | O_CLOEXEC), kept = open("exec", O_RDWR | O_APPEND);
	read(fd, buffer, 3);
	SHOW(execve("missing", argv, empty));
	SHOW(execv("exec", argv));
	SHOW(execv("./notexec", argv));
	SHOW(execvp("not-in-the-path", argv));
	SHOW(execveat(AT_FDCWD, "missing", argv, empty, 0));
	pid_t child;
	SHOW(posix_spawn(&child, "missing", NULL, NULL, argv, empty));
	child = vfork();
	if (child == 0) {
		execv("missing", argv);
		_exit(7);
	}
	SHOW(waited(child));
	SHOW(read(fd, buffer, 3));
	show_bytes("after", buffer, 3);
	SHOW(write(kept, "end", 3));
	SHOW(fcntl(fd, F_GETFD));
	SHOW(lseek(fd, 0, SEEK_CUR));
	show_file("exec");
	close(fd);
	close(kept);
}

/* Environments made by hand, as scons and many daemons do. What runs there is carried all the same: the count is asserted by the caller. */
static void own_environment(void) {
	char *empty[] = {NULL}, *some[] = {"LD_PRELOAD=", "PATH=/usr/bin:/bin", NULL};
	char *script[] = {"sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do echo $i >> env; done; test -r env && rm env; pwd > where", NULL};
	pid_t child;
	SHOW(posix_spawn(&child, "/bin/sh", NULL, NULL, script, empty));
	SHOW(waited(child));
	if ((child = fork()) == 0) {
		execve("/bin/sh", script, some);
		_exit(1);
	}
	SHOW(waited(child));
	if ((child = fork()) == 0) {
		clearenv();
		execl("/bin/sh", "sh", "-c", script[2], NULL);
		_exit(1);
	}
	SHOW(waited(child));
	struct stat st;
	SHOW(stat("where", &st));
	/* A script that lies here, by its descriptor. */
	make("script", "#!/bin/sh\necho from a descriptor > described\n");
	chmod("script", 0755);
	int fd = open("script", O_RDONLY);
	if ((child = fork()) == 0) {
		fexecve(fd, (char *[]){"script", NULL}, (char *[]){"PATH=/bin:/usr/bin", NULL});
		_exit(1);
	}
	close(fd);
	SHOW(waited(child));
	show_file("described");
}

/* Another library that defines the same calls, before ours and in a namespace of its own: each reaches the next one. */
static void between_libraries(void) {
	make("shim.c", "#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <fcntl.h>\n#include <unistd.h>\n"
		"static int opened;\nint open(const char *p, int f, ...) { opened++; return ((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, \"open\"))(p, f, 0644); }\n"
		"int shimmed(void) { int fd = open(\"shim.c\", O_RDONLY); char c = 0; long got = read(fd, &c, 1); close(fd); return got == 1 && c == '#' ? opened : -1; }\n");
	make("uses.c", "#include <dlfcn.h>\n#include <fcntl.h>\n#include <stdio.h>\n#include <unistd.h>\n"
		"int main(void) { int (*shimmed)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, \"shimmed\"); int fd = open(\"made\", O_CREAT | O_WRONLY, 0644); printf(\"%ld %d\\n\", (long)write(fd, \"x\", 1), shimmed ? shimmed() : -2); return 0; }\n");
	fflush(stdout);
	if (system("gcc -shared -fPIC -o shim.so shim.c && gcc -o uses uses.c && LD_PRELOAD=\"$PWD/shim.so $LD_PRELOAD\" ./uses && LD_PRELOAD=\"$LD_PRELOAD $PWD/shim.so\" ./uses > /dev/null")) puts("not built");
	/* In a namespace of its own it finds libc's calls, and through them the kernel door. */
	char path[4096];
	void *handle = realpath("shim.so", path) ? dlmopen(LM_ID_NEWLM, path, RTLD_NOW) : NULL;
	int (*shimmed)(void) = handle ? (int (*)(void))dlsym(handle, "shimmed") : NULL;
	SHOW(shimmed ? shimmed() : -1);
	if (handle) dlclose(handle);
}

static atomic_int going;
static void *busy(void *name) {
	for (int i = 0; atomic_load(&going); i++) {
		int fd = open(name, O_CREAT | O_RDWR, 0644);
		char byte = (char)i;
		if (pwrite(fd, &byte, 1, i % 5000) != 1 || close(fd)) return (void *)1;
	}
	return NULL;
}

/* Cancelled wherever they are: what they held is given back, since the others go on. Carried calls are no cancellation points, so each loop has its own. */
static void cancelled(void) {
	long wrong = 0;
	for (int round = 0; round < 20; round++) {
		pthread_t threads[4];
		atomic_store(&going, 1);
		for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, busy, i % 2 ? "cancel-a" : "cancel-b");
		usleep(300);
		for (int i = 0; i < 4; i++) pthread_cancel(threads[i]);
		usleep(300);
		atomic_store(&going, 0);
		for (int i = 0; i < 4; i++) {
			void *result;
			pthread_join(threads[i], &result);
			wrong += result != NULL && result != PTHREAD_CANCELED;
		}
	}
	SHOW(wrong);
	make("cancel-a", "still here");
	show_file("cancel-a");
}

/* A fork catches the other threads anywhere; the child has to work, and the parent's descriptors stay its own. */
static void forks_among_threads(void) {
	pthread_t threads[3];
	atomic_store(&going, 1);
	for (int i = 0; i < 3; i++) pthread_create(&threads[i], NULL, busy, "forks");
	long wrong = 0;
	for (int i = 0; i < 30; i++) {
		pid_t child = fork();
		if (child == 0) {
			char name[20];
			snprintf(name, sizeof name, "child-%d", i);
			int fd = open(name, O_CREAT | O_EXCL | O_RDWR, 0600);
			_exit(fd >= 0 && write(fd, name, 5) == 5 && lseek(fd, 0, SEEK_SET) == 0 && read(fd, name, 9) == 5 && unlink(name) == 0 ? 0 : 1);
		}
		wrong += waited(child) != 0;
	}
	atomic_store(&going, 0);
	for (int i = 0; i < 3; i++) {
		void *result;
		pthread_join(threads[i], &result);
		wrong += result != NULL;
	}
	SHOW(wrong);
	struct stat st;
	SHOW(stat("forks", &st));
}

static int visited;
static int visit(const char *path, const struct stat *st, int kind, struct FTW *where) {
	visited += kind == FTW_F ? 1 : kind == FTW_D ? 100 : 10000;
	return strlen(path) > 0 && st && where ? 0 : 1;
}

/* glibc's own walks, and its other ways to open a file that a program never sees. */
static void unseen(void) {
	mkdir("walk", 0755);
	mkdir("walk/below", 0755);
	make("walk/one", "1");
	make("walk/below/two", "2");
	symlink("one", "walk/link");
	SHOW(nftw("walk", visit, 8, FTW_PHYS));
	SHOW(visited);
	char *roots[] = {"walk", NULL};
	FTS *fts = fts_open(roots, FTS_PHYSICAL, NULL);
	int entries = 0;
	for (FTSENT *entry; (entry = fts_read(fts));) entries += entry->fts_info == FTS_F ? 1 : entry->fts_info == FTS_D ? 10 : 0;
	SHOW(fts_close(fts));
	SHOW(entries);
	glob_t found;
	SHOW(glob("walk/*", 0, NULL, &found));
	for (size_t i = 0; i < found.gl_pathc; i++) puts(found.gl_pathv[i]);
	globfree(&found);
	wordexp_t words;
	SHOW(wordexp("walk/b*", &words, 0));
	printf("%s\n", words.we_wordv[0]);
	wordfree(&words);
	FILE *stream = tmpfile();
	SHOW(fputs("anonymous", stream) >= 0);
	SHOW(fclose(stream));
	make("passwd", "me:x:77:78:Me:/home:/bin/sh\n");
	stream = fopen("passwd", "r");
	struct passwd *entry = fgetpwent(stream);
	SHOW(entry ? (long)entry->pw_uid : -1);
	stream = freopen("walk/one", "r", stream);
	SHOW(fgetc(stream));
	SHOW(fclose(stream));
	char name[] = "walk/tmpXXXXXX";
	SHOW(close(mkstemp(name)));
	SHOW(remove(name));
	SHOW(remove("walk/below"));
}

static void by_number(void) {
	char buffer[64] = {0};
	struct stat st;
	struct statx stx;
	make("number", "0123456789");
	int fd = (int)syscall(SYS_openat, AT_FDCWD, "number", O_RDWR, 0);
	SHOW(syscall(SYS_read, fd, buffer, 4));
	SHOW(syscall(SYS_pwrite64, fd, "XY", 2, 8));
	SHOW(syscall(SYS_lseek, fd, 0, SEEK_CUR));
	SHOW(syscall(SYS_fstat, fd, &st));
	SHOW(syscall(SYS_newfstatat, fd, "", &st, AT_EMPTY_PATH));
	SHOW(syscall(SYS_statx, AT_FDCWD, "number", 0, STATX_SIZE, &stx));
	SHOW((long)stx.stx_size);
	SHOW(syscall(SYS_faccessat2, AT_FDCWD, "number", R_OK, AT_EACCESS));
	SHOW(syscall(SYS_renameat2, AT_FDCWD, "number", AT_FDCWD, "renamed", 0));
	int directory = (int)syscall(SYS_open, ".", O_RDONLY | O_DIRECTORY);
	SHOW(syscall(SYS_getdents64, directory, buffer, sizeof buffer) > 0);
	SHOW(syscall(SYS_close, directory));
	SHOW(syscall(SYS_dup3, fd, 500, O_CLOEXEC));
	SHOW(syscall(SYS_close_range, 500, 500, 0));
	SHOW(syscall(SYS_read, 500, buffer, 1));
	SHOW(syscall(SYS_fchmod, fd, 0600));
	SHOW(syscall(SYS_ftruncate, fd, 4));
	SHOW(syscall(SYS_fsync, fd));
	SHOW(syscall(SYS_unlinkat, AT_FDCWD, "renamed", 0));
	SHOW(syscall(SYS_close, fd));
	SHOW(syscall(SYS_close, fd));
}

int main(int argc, char **argv) {
	if (argc < 2 || chdir(argv[1]) < 0) return 2;
	failed_exec();
	own_environment();
	between_libraries();
	cancelled();
	forks_among_threads();
	unseen();
	by_number();
	return 0;
}
