/*
 * sharing.c - what several processes share: offsets and flags over fork, vfork, spawn, exec and SCM_RIGHTS, appends, locks of three kinds across processes and doors.
 * usage: sharing DIRECTORY (DOOR in the environment: the path of the static helper door)
 */
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "show.h"

extern char **environ;
static const char *door;

static int ended(pid_t child) {
	int status = -1;
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

/* The helper with two or three words; its exit status. */
static int run_door(const char *what, const char *file, const char *number) {
	fflush(stdout);
	char *argv[] = {"door", (char *)what, (char *)file, (char *)number, NULL};
	pid_t child;
	return posix_spawn(&child, door, NULL, NULL, argv, environ) ? -1 : ended(child);
}

static void offsets(void) {
	char buffer[16] = {0};
	make("offsets", "0123456789abcdefghijklmnopqrstuvwxyz");
	int fd = open("offsets", O_RDWR);
	SHOW(read(fd, buffer, 2));
	SHOW(run_door("read", "3", NULL)); /* fd is the lowest: 3 */
	SHOW(fd == 3);
	SHOW(lseek(fd, 0, SEEK_CUR));
	SHOW(read(fd, buffer, 2));
	SHOW(run_door("seek", "3", "20"));
	SHOW(read(fd, buffer, 2));
	show_bytes("after seek", buffer, 2);
	pid_t child = vfork();
	if (child == 0) {
		execl(door, "door", "seek", "3", "5", NULL);
		_exit(127);
	}
	SHOW(ended(child));
	SHOW(lseek(fd, 0, SEEK_CUR));
	/* A child that only looks; then the parent has the offset for itself again. */
	child = fork();
	if (child == 0) _exit(pread(fd, buffer, 1, 3) == 1 && lseek(fd, 1, SEEK_CUR) == 6 ? 0 : 1);
	SHOW(ended(child));
	SHOW(read(fd, buffer, 1));
	show_bytes("after child", buffer, 1);
	/* Two generations; the grandchild outlives its parent. */
	int pair[2];
	SHOW(pipe(pair));
	child = fork();
	if (child == 0) {
		if (fork() == 0) {
			char byte;
			close(pair[1]);
			if (read(pair[0], &byte, 1) == 0) lseek(fd, 30, SEEK_SET);
			_exit(0);
		}
		_exit(0);
	}
	SHOW(ended(child));
	SHOW(lseek(fd, 0, SEEK_CUR));
	close(pair[0]);
	close(pair[1]); /* the grandchild goes on */
	off_t seen = 0;
	for (int i = 0; i < 500 && (seen = lseek(fd, 0, SEEK_CUR)) != 30; i++) usleep(2000);
	SHOW(seen);
	/* What spawn's actions do with it. */
	posix_spawn_file_actions_t actions;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fd, 77);
	posix_spawn_file_actions_addopen(&actions, 1, "spawned", O_CREAT | O_WRONLY, 0644);
	posix_spawn_file_actions_addclose(&actions, fd);
	char *argv[] = {"door", "read", "77", NULL};
	SHOW(posix_spawn(&child, door, &actions, NULL, argv, environ));
	SHOW(ended(child));
	show_file("spawned");
	SHOW(lseek(fd, 0, SEEK_CUR));
	posix_spawn_file_actions_destroy(&actions);
	/* Close-on-exec means closed; a failed exec changes nothing. */
	SHOW(fcntl(fd, F_SETFD, FD_CLOEXEC));
	SHOW(run_door("seek", "3", "1"));
	SHOW(execl("/no/such/program", "x", NULL));
	SHOW(read(fd, buffer, 2));
	show_bytes("after failed exec", buffer, 2);
	close(fd);
}

static void rights(void) {
	int pair[2];
	SHOW(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	pid_t child = fork();
	if (child == 0) {
		char byte, space[CMSG_SPACE(2 * sizeof(int))], bytes[8] = {0};
		struct iovec iov = {&byte, 1};
		struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
		if (recvmsg(pair[1], &message, 0) != 1) _exit(1);
		int got[2];
		memcpy(got, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof got);
		if (read(got[0], bytes, 3) != 3 || memcmp(bytes, "234", 3)) _exit(2);
		if (fcntl(got[0], F_SETFL, O_APPEND) || write(got[0], "!", 1) != 1) _exit(3);
		struct stat st;
		if (fstat(got[1], &st) || !S_ISDIR(st.st_mode) || fstatat(got[1], "rights", &st, 0)) _exit(4);
		int inside = openat(got[1], "by rights", O_CREAT | O_WRONLY, 0644);
		_exit(write(inside, "x", 1) == 1 ? 0 : 5);
	}
	make("rights", "0123456789");
	char bytes[8] = {0};
	int fd[2] = {open("rights", O_RDWR), open(".", O_RDONLY | O_DIRECTORY)};
	SHOW(read(fd[0], bytes, 2));
	char byte = 'x', space[CMSG_SPACE(sizeof fd)] = {0};
	struct iovec iov = {&byte, 1};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	*header = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fd)};
	memcpy(CMSG_DATA(header), fd, sizeof fd);
	SHOW(sendmsg(pair[0], &message, 0));
	SHOW(ended(child));
	SHOW(fcntl(fd[0], F_GETFL) & O_APPEND);
	SHOW(lseek(fd[0], 0, SEEK_CUR));
	SHOW(write(fd[0], "?", 1));
	show_file("rights");
	show_stat("by rights");
	for (int i = 0; i < 2; i++) close(fd[i]), close(pair[i]);
}

/* Everybody's line is whole, none is lost, whichever door wrote it. */
static void appends(void) {
	int fd = open("appends", O_CREAT | O_WRONLY | O_APPEND, 0644);
	pid_t child[4];
	for (int i = 0; i < 4; i++) {
		child[i] = fork();
		if (child[i]) continue;
		int own = i % 2 ? fd : open("appends", O_WRONLY | O_APPEND);
		for (int k = 0; k < 200; k++)
			if (write(own, "library doo\n", 12) != 12) _exit(1);
		_exit(0);
	}
	SHOW(run_door("append", "appends", "200"));
	for (int i = 0; i < 4; i++) SHOW(ended(child[i]));
	FILE *stream = fopen("appends", "r");
	char line[64];
	int whole = 0, other = 0;
	while (fgets(line, sizeof line, stream)) *(strlen(line) == 12 ? &whole : &other) += 1;
	SHOW(whole);
	SHOW(other);
	fclose(stream);
	/* Taken away and given back, here and by a child that shares the description. */
	SHOW(fcntl(fd, F_SETFL, 0));
	SHOW(pwrite(fd, "START", 5, 0));
	SHOW(fcntl(fd, F_GETFL) & O_APPEND);
	pid_t other_child = fork();
	if (other_child == 0) _exit(fcntl(fd, F_SETFL, O_APPEND | O_NONBLOCK));
	SHOW(ended(other_child));
	SHOW(fcntl(fd, F_GETFL) & (O_APPEND | O_NONBLOCK));
	SHOW(lseek(fd, 0, SEEK_SET));
	SHOW(write(fd, "end", 3));
	SHOW(lseek(fd, 0, SEEK_CUR));
	close(fd);
}

static int try_lock(int fd, int command, short type) {
	struct flock lock = {.l_type = type, .l_whence = SEEK_SET};
	return fcntl(fd, command, &lock);
}

static void locks(void) {
	make("locks", "x");
	int fd = open("locks", O_RDWR), second = open("locks", O_RDWR);
	SHOW(run_door("flock", "locks", NULL));
	SHOW(flock(fd, LOCK_EX | LOCK_NB));
	SHOW(flock(second, LOCK_EX | LOCK_NB));
	SHOW(run_door("flock", "locks", NULL));
	SHOW(flock(fd, LOCK_UN));
	SHOW(try_lock(fd, F_SETLK, F_WRLCK));
	SHOW(try_lock(second, F_SETLK, F_WRLCK)); /* the same process: no conflict */
	SHOW(run_door("lock", "locks", NULL));
	pid_t child = fork();
	if (child == 0) {
		int own = open("locks", O_RDWR);
		_exit(try_lock(own, F_SETLK, F_WRLCK) < 0 ? 10 : 11);
	}
	SHOW(ended(child));
	SHOW(try_lock(fd, F_SETLK, F_UNLCK));
	SHOW(run_door("lock", "locks", NULL));
	SHOW(try_lock(fd, F_OFD_SETLK, F_WRLCK));
	SHOW(try_lock(second, F_OFD_SETLK, F_WRLCK));
	SHOW(run_door("ofd", "locks", NULL));
	SHOW(dup2(fd, second));
	SHOW(try_lock(second, F_OFD_SETLK, F_UNLCK));
	SHOW(run_door("ofd", "locks", NULL));
	SHOW(close(second));
	SHOW(second = open("locks", O_RDWR));
	/* Any close of the file by the process gives its POSIX locks back. */
	SHOW(try_lock(fd, F_SETLK, F_WRLCK));
	SHOW(close(open("locks", O_RDONLY)));
	SHOW(run_door("lock", "locks", NULL));
	SHOW(try_lock(fd, F_SETLK, F_WRLCK));
	SHOW(close(open("locks", O_RDWR | O_CREAT, 0644)));
	SHOW(run_door("lock", "locks", NULL));
	/* But nothing else does: not what the library does for a map of another descriptor that was open before, or to a new one. */
	SHOW(try_lock(fd, F_SETLK, F_WRLCK));
	char *map = mmap(NULL, 1, PROT_READ, MAP_SHARED, second, 0), byte;
	SHOW(map[0]);
	int third = open("locks", O_RDWR);
	SHOW(pread(third, &byte, 1, 0));
	map = mmap(NULL, 1, PROT_READ, MAP_SHARED, third, 0);
	SHOW(map[0]);
	SHOW(run_door("lock", "locks", NULL));
	int fourth = open("locks", O_RDWR | O_CREAT, 0644); /* its number is reserved before the file is opened */
	SHOW(fourth - third);
	SHOW(run_door("lock", "locks", NULL));
	int fifth = open("locks", O_RDONLY);
	SHOW(fifth - fourth);
	SHOW(run_door("lock", "locks", NULL));
	SHOW(close(third));
	SHOW(run_door("lock", "locks", NULL));
	SHOW(lockf(fd, F_TLOCK, 0));
	SHOW(run_door("lock", "locks", NULL));
	SHOW(lockf(fd, F_ULOCK, 0));
	close(fd);
	close(second);
	close(fourth);
	close(fifth);
}

/* One file, two views: a mapping here and a writer through the other door, and the other way round. */
static void maps(void) {
	make("map", "0123456789");
	int fd = open("map", O_RDWR);
	char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), *own = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	own[0] = 'p';
	SHOW(pwrite(fd, "AB", 2, 0));
	show_bytes("map", map, 10);
	memcpy(map + 5, "map", 3);
	SHOW(msync(map, 4096, MS_SYNC));
	show_file("map");
	SHOW(run_door("cat", "map", NULL));
	puts("");
	pid_t child = fork();
	if (child == 0) {
		map[9] = '!';
		_exit(0);
	}
	SHOW(ended(child));
	SHOW(msync(map, 4096, MS_SYNC));
	show_file("map");
	SHOW(ftruncate(fd, 5000));
	char *longer = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	longer[4999] = 'z';
	SHOW(msync(longer, 8192, MS_SYNC));
	char byte = 0;
	SHOW(pread(fd, &byte, 1, 4999));
	SHOW(byte);
	SHOW(munmap(longer, 8192));
	SHOW((long)(mmap(NULL, 10, PROT_READ, MAP_SHARED, open(".", O_RDONLY), 0) == MAP_FAILED));
	int out = open("map", O_WRONLY);
	SHOW((long)(mmap(NULL, 10, PROT_READ, MAP_SHARED, out, 0) == MAP_FAILED));
	close(out);
	close(fd);
}

/* A child of vfork borrows the memory: what it does to its descriptors, directory, mask and limits must not show in its parent, but through descriptions that they share. */
static volatile int borrowed;
static char *const *inherited_environment;

static int borrower(void *number) {
	return dup2(*(int *)number, 1) == 1 && close(*(int *)number) == 0 && write(1, "cloned\n", 7) == 7 ? 14 : 15;
}

static void borrowers(void) {
	char text[64] = {0};
	static char *const bare[] = {"PATH=/usr/bin:/bin", NULL};
	struct rlimit limit = {1 << 20, RLIM_INFINITY};
	int kept = open("kept", O_CREAT | O_RDWR | O_TRUNC, 0644), out = open("out", O_CREAT | O_RDWR | O_TRUNC | O_CLOEXEC, 0644), pair[2];
	SHOW(write(kept, "0123456789", 10));
	SHOW(lseek(kept, 3, SEEK_SET));
	SHOW(pipe(pair));
	mkdir("deeper", 0755);
	for (int i = 0; i < 4; i++) {
		pid_t child = vfork();
		if (child == 0) {
			borrowed = i + 1;
			if (dup2(out, 1) != 1) _exit(10);
			close(kept);
			close(pair[0]);
			dup2(kept < 100 ? pair[1] : 0, out); /* another file under a number of the parent's */
			int own = open("deeper/own", O_CREAT | O_RDWR | O_APPEND, 0600);
			if (own < 0 || write(own, "x", 1) != 1 || close(own)) _exit(11);
			chdir("deeper");
			umask(0);
			setrlimit(RLIMIT_FSIZE, &limit);
			close_range(3, 200, 0);
			if (i == 1) execl("/no/such/program", "none", NULL);
			if (i == 3) _exit(12);
			execle("/bin/sh", "sh", "-c", "echo from $0; pwd | sed 's,.*/,,'; umask", "below", NULL, i == 2 ? bare : inherited_environment);
			_exit(13);
		}
		SHOW(ended(child));
		if (!getenv("SYSCALLS")) SHOW(borrowed); /* dispatched, it has a copy */
		SHOW(lseek(kept, 0, SEEK_CUR));
		SHOW(lseek(out, 0, SEEK_CUR));
		SHOW(read(kept, text, 1));
		SHOW(text[0]);
	}
	static char stack[65536] __attribute__((aligned(16)));
	SHOW(ended(clone(borrower, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, &out)));
	SHOW(lseek(out, 0, SEEK_CUR));
	show_file("out");
	show_file("deeper/own");
	SHOW(umask(022));
	SHOW(getrlimit(RLIMIT_FSIZE, &limit));
	SHOW((long)(limit.rlim_cur == RLIM_INFINITY));
	SHOW(open("made", O_CREAT | O_WRONLY | O_EXCL, 0666) >= 0);
	struct stat st;
	SHOW(stat("made", &st));
	SHOW(st.st_mode);
	SHOW(write(pair[1], "p", 1));
	SHOW(read(pair[0], text, 1));
	/* A description that a child's child still has is shared for good; one that nobody has is this process's alone again. */
	int alone = open("alone", O_CREAT | O_RDWR | O_TRUNC | O_CLOEXEC, 0644);
	SHOW(write(alone, "abc", 3));
	pid_t child = vfork();
	if (child == 0) {
		fcntl(alone, F_SETFD, 0);
		execle("/bin/sh", "sh", "-c", "(sleep 0.2; eval \"echo later >&$0\") & :", alone == 0 ? "0" : (char[]){(char)('0' + alone % 10), 0}, NULL, inherited_environment);
		_exit(13);
	}
	SHOW(ended(child));
	for (int round = 0; round < 500 && lseek(alone, 0, SEEK_CUR) != 9; round++) usleep(10000);
	SHOW(lseek(alone, 0, SEEK_CUR));
	show_file("alone");
	close(alone), close(kept), close(out), close(pair[0]), close(pair[1]);
}

int main(int argc, char **argv) {
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	door = getenv("DOOR");
	if (argc < 2 || !door || chdir(argv[1]) < 0) return 2;
	offsets();
	rights();
	appends();
	locks();
	maps();
	inherited_environment = environ;
	borrowers();
	return 0;
}
