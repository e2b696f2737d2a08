/*
 * bugs.c - what broke in libraries of this kind before: each function is one entry of the list that DAOS' history makes (see docs/library.md, "Tests"), where calls.c has it not already.
 * usage: bugs DIRECTORY
 */
#include <dirent.h>
#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <termios.h>

#include "show.h"

ssize_t __read_chk(int fd, void *buffer, size_t size, size_t space);
ssize_t __pread64_chk(int fd, void *buffer, size_t size, off_t offset, size_t space);
int __open64_2(const char *path, int flags);
int __openat64_2(int dirfd, const char *path, int flags);
ssize_t __readlink_chk(const char *path, char *buffer, size_t size, size_t space);

/* What -D_FORTIFY_SOURCE and 32-bit habits make of a call. */
static void other_names(void) {
	char buffer[16] = {0};
	SHOW(close(creat64("creat64", 0640)));
	show_stat("creat64");
	int fd = open64("chk", O_CREAT | O_RDWR, 0644);
	SHOW(pwrite64(fd, "0123456789", 10, 0));
	SHOW(__read_chk(fd, buffer, 4, sizeof buffer));
	SHOW(__pread64_chk(fd, buffer, 4, 5, sizeof buffer));
	show_bytes("chk", buffer, 4);
	SHOW(close(__open64_2("chk", O_RDONLY)) == 0);
	SHOW(close(__openat64_2(AT_FDCWD, "chk", O_RDONLY)) == 0);
	symlink("chk", "link");
	SHOW(__readlink_chk("link", buffer, 3, sizeof buffer));
	SHOW(lseek64(fd, 3, SEEK_SET));
	SHOW(truncate64("chk", 7));
	SHOW(close(fd));
	/* O_CREAT without a mode: whatever stands there, no crash. */
	int modeless = open("modeless", O_CREAT | O_RDWR);
	SHOW(modeless >= 0);
	close(modeless);
	SHOW(unlink("modeless"));
}

static void between_directories(void) {
	mkdir("from", 0755);
	mkdir("to", 0755);
	make("from/a", "a");
	int from = open("from", O_RDONLY | O_DIRECTORY), to = open("to", O_PATH | O_DIRECTORY);
	SHOW(renameat(from, "a", to, "b"));
	SHOW(renameat2(to, "b", from, "c", RENAME_NOREPLACE));
	SHOW(renameat(from, "c", to, "missing/x"));
	SHOW(linkat(from, "c", to, "hard", 0));
	SHOW(symlinkat("../from/c", to, "soft"));
	struct stat st;
	SHOW(fstatat(to, "soft", &st, 0));
	struct dirent **found;
	int count = scandirat(to, ".", &found, NULL, alphasort);
	for (int i = 0; i < count; i++) puts(found[i]->d_name);
	SHOW(scandirat(from, "missing", &found, NULL, NULL));
	SHOW(unlinkat(to, "hard", 0));
	SHOW(faccessat(from, "c", R_OK, 0));
	SHOW(fchownat(from, "c", 3, 4, 0));
	SHOW(fchmodat(to, "soft", 0600, AT_SYMLINK_NOFOLLOW));
	SHOW(lchmod("from/c", 0604));
	show_stat("from/c");
	/* A directory that is somewhere else by now still is a place to start from. */
	SHOW(rename("from", "moved"));
	SHOW(close(openat(from, "inside", O_CREAT | O_WRONLY, 0644)));
	SHOW(fchdir(from));
	char cwd[PATH_MAX];
	puts(strrchr(getcwd(cwd, sizeof cwd), '/'));
	show_stat("inside");
	SHOW(chdir(".."));
	SHOW(unlinkat(from, "inside", 0));
	close(from);
	close(to);
}

static void deep_directory(void) {
	char path[1500] = "";
	int top = open(".", O_RDONLY | O_DIRECTORY);
	for (int i = 0; i < 8; i++) {
		snprintf(path + strlen(path), 80, "%s%060d", i ? "/" : "", i);
		mkdir(path, 0755);
	}
	int fd = open(path, O_RDONLY | O_DIRECTORY);
	SHOW(fchdir(fd));
	char cwd[PATH_MAX];
	printf("%.8s\n", strrchr(getcwd(cwd, sizeof cwd), '/') + 53);
	make("leaf", "deep");
	SHOW(fchdir(top));
	strcat(path, "/leaf");
	show_stat(path + strlen(path) - 4);
	show_file(path);
	close(fd);
	close(top);
}

static void copies_of_numbers(void) {
	char buffer[16] = {0};
	make("dup", "0123456789");
	int fd = open("dup", O_RDWR);
	SHOW(dup3(fd, 90, O_NONBLOCK));
	SHOW(dup3(fd, 90, O_CLOEXEC));
	SHOW(dup3(fd, -1, 0));
	SHOW(fcntl(90, F_GETFD));
	SHOW(fcntl(fd, F_GETFD));
	SHOW(close(fd));
	/* The description outlives the number that made it, in writes, streams and at exit. */
	SHOW(write(90, "ab", 2));
	int again = dup(90);
	SHOW(close(90));
	SHOW(write(again, "cd", 2));
	SHOW(dup2(again, 91));
	SHOW(dup2(91, again));
	SHOW(lseek(91, 0, SEEK_CUR));
	FILE *stream = fdopen(dup(again), "r+");
	SHOW(fgetc(stream));
	close(91);
	close(again);
	SHOW(fputs("Z", stream) >= 0);
	show_file("dup");
	for (int i = 0; i < 200; i++) {
		int one = open("dup", O_RDONLY), two = dup(one);
		close(one);
		int three = open("dup", O_RDONLY);
		if (read(two, buffer, 1) != 1 || buffer[0] != '0') puts("wrong");
		close(two);
		close(three);
	}
	/* `stream` stays open: the exit flushes it. */
}

static void vectors(void) {
	char a[3], b[0x1001], c[2];
	int fd = open("vectors", O_CREAT | O_RDWR | O_TRUNC, 0644);
	struct iovec out[] = {{"head", 4}, {"", 0}, {"body", 4}, {"tail", 4}}, in[] = {{a, sizeof a}, {NULL, 0}, {b, sizeof b}, {c, sizeof c}};
	SHOW(writev(fd, out, 4));
	SHOW(lseek(fd, 0, SEEK_SET));
	SHOW(readv(fd, in, 4));
	show_bytes("b", b, 9);
	SHOW(readv(fd, in, 4));
	SHOW(readv(fd, in, 0));
	SHOW(pwritev(fd, out, 4, 100));
	SHOW(preadv(fd, in, 4, 102));
	show_bytes("b", b, 7);
	SHOW(pwritev2(fd, out, 1, 0, RWF_APPEND));
	SHOW(lseek(fd, 0, SEEK_CUR));
	SHOW(pwritev2(fd, out, 1, -1, 0));
	SHOW(lseek(fd, 0, SEEK_CUR));
	SHOW(pwritev2(fd, out, 1, 0, 0x4000));
	SHOW(preadv2(fd, in, 1, 0, RWF_NOWAIT) >= -1);
	in[0].iov_len = SIZE_MAX;
	SHOW(readv(fd, in, 4));
	SHOW(preadv(fd, in, 1, -2));
	SHOW(close(fd));
}

/* The third argument of fcntl is a number or a pointer; FIOCLEX is as good as FD_CLOEXEC. */
static void arguments(void) {
	int fd = open("arguments", O_CREAT | O_RDWR, 0644);
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 5, .l_len = 10};
	SHOW(fcntl(fd, F_SETLK, &lock));
	lock.l_pid = 0;
	SHOW(fcntl(fd, F_OFD_GETLK, &lock));
	SHOW(lock.l_type == F_WRLCK);
	lock = (struct flock){.l_type = F_UNLCK, .l_whence = SEEK_SET};
	SHOW(fcntl(fd, F_SETLK, &lock));
	SHOW(fcntl(fd, F_SETLK, NULL));
	SHOW(ioctl(fd, FIOCLEX));
	SHOW(fcntl(fd, F_GETFD));
	SHOW(ioctl(fd, FIONCLEX));
	SHOW(fcntl(fd, F_GETFD));
	SHOW(fcntl(fd, F_SETFD, FD_CLOEXEC));
	SHOW(fcntl(fd, F_GETFD));
	SHOW(fcntl(fd, F_SETFL, O_APPEND));
	SHOW(write(fd, "one", 3));
	SHOW(pwrite(fd, "two", 3, 0));
	SHOW(fcntl(fd, F_SETFL, 0));
	SHOW(pwrite(fd, "ONE", 3, 0));
	SHOW(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND));
	show_file("arguments");
	SHOW(fcntl(fd, 9999, 0));
	SHOW(fcntl(fd, F_GETPIPE_SZ));
	SHOW(fcntl(fd, F_DUPFD, -1));
	uint64_t hint = 3;
	SHOW(fcntl(fd, F_SET_RW_HINT, &hint));
	hint = 0;
	SHOW(fcntl(fd, F_GET_RW_HINT, &hint));
	SHOW(hint);
	/* A file that is asked for another kind of file. */
	struct termios terminal;
	char name[32];
	SHOW(tcgetattr(fd, &terminal));
	SHOW(tcsetattr(fd, TCSANOW, &terminal));
	SHOW(isatty(fd));
	SHOW((long)ttyname_r(fd, name, sizeof name) == ENOTTY);
	SHOW(tcgetpgrp(fd));
	struct sockaddr address;
	socklen_t length = sizeof address;
	int value;
	SHOW(getsockname(fd, &address, &length));
	SHOW(getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &length));
	SHOW(send(fd, "x", 1, 0));
	SHOW(listen(fd, 1));
	SHOW(fpathconf(fd, _PC_NAME_MAX));
	SHOW(fpathconf(fd, _PC_PIPE_BUF));
	close(fd);
}

/* getcwd is the kernel's: right after renames, and an error where the directory is gone. */
static void working_directory(void) {
	char cwd[PATH_MAX];
	mkdir("w", 0755);
	mkdir("w/x", 0755);
	SHOW(chdir("w/x"));
	SHOW(rename("../../w", "../../v"));
	puts(getcwd(cwd, sizeof cwd) + strlen(cwd) - 4);
	make("here", "h");
	SHOW(access("../x/here", R_OK));
	SHOW(unlink("here"));
	SHOW(rmdir("../x"));
	SHOW((long)(getcwd(cwd, sizeof cwd) == NULL));
	SHOW(open("late", O_CREAT | O_WRONLY, 0644));
	SHOW(access(".", F_OK));
	SHOW(access("..", F_OK));
	SHOW(chdir(".."));
	SHOW(chdir(".."));
	SHOW(rmdir("v"));
}

/* Numbers that scripts and daemons hard-code: closed, replaced, all of them; nothing of the library's is there to be hit. */
static void low_numbers(void) {
	int fd = open("low", O_CREAT | O_RDWR, 0644);
	make("other", "other");
	SHOW(dup2(fd, 255));
	for (int number = 3; number < 255; number++)
		if (number != fd) close(number);
	SHOW(write(255, "255", 3));
	for (int number = 3; number < 10; number++) dup2(255, number);
	SHOW(write(9, "9", 1));
	SHOW(close(255));
	for (int number = 3; number < 10; number++) SHOW(close(number));
	show_file("low");
	SHOW(open("other", O_RDONLY));
	close(3);
	pid_t child = fork();
	if (child == 0) { /* a daemon without any number */
		for (int number = 0; number < 1024; number++) close(number);
		int zero = open("low", O_RDWR), one = open("other", O_RDWR), two = open("daemon", O_CREAT | O_WRONLY, 0644);
		dprintf(two, "%d%d%d", zero, one, two);
		fprintf(stderr, "said");
		if (write(one, "O", 1) != 1) _exit(1);
		execl("/bin/sh", "sh", "-c", "read x; printf %s \"<$x>\"; echo err >&2", NULL);
		_exit(2);
	}
	int status;
	waitpid(child, &status, 0);
	SHOW(status);
	show_file("daemon");
	show_file("other");
}

/* A library that lies on the mount, and whose constructor works there. */
static void nested_dlopen(void) {
	make("plug.c", "#include <fcntl.h>\n#include <stdio.h>\n#include <unistd.h>\n"
		"__attribute__((constructor)) static void start(void) { FILE *f = fopen(\"plugged\", \"w\"); fputs(\"constructor\", f); fclose(f); }\n"
		"int answer(void) { int fd = open(\"plugged\", O_RDONLY); char c = 0; long got = read(fd, &c, 1); close(fd); return got == 1 && c == 'c' ? 42 : -1; }\n");
	if (system("gcc -shared -fPIC -o plug.so plug.c 2> /dev/null")) puts("no compiler");
	char path[PATH_MAX];
	if (!realpath("plug.so", path)) return;
	void *handle = dlopen(path, RTLD_NOW);
	int (*answer)(void) = handle ? (int (*)(void))dlsym(handle, "answer") : NULL;
	SHOW(answer ? answer() : -1);
	show_file("plugged");
	if (handle) SHOW(dlclose(handle));
}

/* Here and not in threads.c: an unwound stack is nothing that the sanitizer's run-time hears of. */
static void *until_cancelled(void *argument) {
	char byte = 'x';
	int fd = open("cancelled", O_CREAT | O_RDWR | O_TRUNC, 0644);
	for (;;) switch ((long)argument) {
		case 0: (void)!pread(fd, &byte, 1, 0); break;
		case 1: (void)!pwrite(fd, &byte, 1, 0); break;
		case 2: (void)!read(fd, &byte, 1); break;
		case 3: fsync(fd); break;
		case 4: close(open("cancelled", O_RDONLY)); break;
		}
	return NULL;
}

static void cancelled(void) {
	for (long which = 0; which < 5; which++) {
		pthread_t thread;
		void *result;
		pthread_create(&thread, NULL, until_cancelled, (void *)which);
		usleep(10000);
		pthread_cancel(thread);
		pthread_join(thread, &result);
		printf("cancelled %d\n", result == PTHREAD_CANCELED);
	}
}

/* Without a number for it no file may be made, cut or found. */
static void out_of_numbers(void) {
	struct rlimit before, none;
	make("kept", "kept");
	int next = dup(0);
	close(next);
	getrlimit(RLIMIT_NOFILE, &before);
	none = before;
	none.rlim_cur = (rlim_t)next;
	setrlimit(RLIMIT_NOFILE, &none);
	SHOW(open("unmade", O_CREAT | O_WRONLY, 0644));
	SHOW(open("kept", O_CREAT | O_WRONLY | O_TRUNC, 0644));
	SHOW(open("no/where", O_CREAT | O_WRONLY, 0644));
	setrlimit(RLIMIT_NOFILE, &before);
	SHOW(access("unmade", F_OK));
	show_file("kept");
	int fd = open("made", O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
	SHOW(fd == next);
	SHOW(fcntl(fd, F_GETFD));
	SHOW(open("made", O_CREAT | O_EXCL | O_WRONLY, 0644));
	close(fd);
}

int main(int argc, char **argv) {
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	if (argc < 2 || chdir(argv[1]) < 0) return 2;
	other_names();
	between_directories();
	deep_directory();
	vectors();
	arguments();
	working_directory();
	nested_dlopen();
	cancelled();
	out_of_numbers();
	fflush(stdout);
	low_numbers();
	copies_of_numbers();
	return 0;
}
