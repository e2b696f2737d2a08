/*
 * early.c - what a process opened through the kernel door before it attached goes on through the library: the same bytes at the same places, whoever shares them. usage: early DIRECTORY
 * Each part is a process of its own, with first calls of its own.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LINES = 600, LINE = 10, THREADS = 3 };

#define SHOW(call) printf("%s = %ld\n", #call, (long)(call))

static void line_of(char *out, int number) { snprintf(out, LINE + 1, "line %04d\n", number); }

static void make_lines(const char *name) {
	FILE *stream = fopen(name, "w");
	char line[LINE + 1];
	for (int i = 0; i < LINES; i++) {
		line_of(line, i);
		fputs(line, stream);
	}
	fclose(stream);
}

/* How many of the file's lines are those of make_lines, in order. */
static int right_lines(const char *name) {
	char line[LINE + 1], wanted[LINE + 1];
	int fd = open(name, O_RDONLY), count = 0;
	for (;; count++) {
		line_of(wanted, count);
		if (read(fd, line, LINE) != LINE || memcmp(line, wanted, LINE)) break;
	}
	close(fd);
	return count;
}

static void sequential(void) {
	make_lines("lines");
	SHOW(right_lines("lines"));
	int fd = open("sequential", O_CREAT | O_RDWR | O_TRUNC, 0644);
	char line[LINE + 1];
	for (int i = 0; i < LINES; i++) {
		line_of(line, i);
		if (write(fd, line, LINE) != LINE) perror("write");
		if (i % 100 == 50) SHOW(lseek(fd, 0, SEEK_CUR));
	}
	SHOW(lseek(fd, 0, SEEK_SET));
	for (int i = 0; i < LINES / 2; i++)
		if (read(fd, line, LINE) != LINE) perror("read");
	SHOW(lseek(fd, 0, SEEK_CUR));
	SHOW(pread(fd, line, LINE, 20));
	SHOW(close(fd));
	SHOW(right_lines("sequential"));
}

static void streams(void) {
	FILE *out = fopen("stream", "w+"), *in = fopen("lines", "r");
	char line[64];
	int count = 0;
	while (fgets(line, sizeof line, in)) count += fputs(line, out) >= 0;
	SHOW(count);
	SHOW(ftell(out));
	fseek(out, 100, SEEK_SET);
	SHOW(fgets(line, sizeof line, out) != NULL);
	printf("%s", line);
	fclose(out);
	fclose(in);
	int fd = open("stream", O_RDWR);
	FILE *late = fdopen(fd, "a+");
	fprintf(late, "the end\n");
	fclose(late);
	struct stat st;
	SHOW(stat("stream", &st) == 0 ? st.st_size : -1);
	FILE *made = fopen("stream", "wx");
	SHOW(made == NULL && errno == EEXIST);
}

static void append(void) {
	int fd = open("append", O_CREAT | O_WRONLY | O_APPEND, 0644), other = open("append", O_WRONLY | O_APPEND);
	char line[LINE + 1];
	for (int i = 0; i < LINES; i++) {
		line_of(line, i);
		if (write(i % 2 ? fd : other, line, LINE) != LINE) perror("write");
	}
	SHOW(lseek(fd, 0, SEEK_CUR));
	close(fd);
	close(other);
	SHOW(right_lines("append"));
}

/* Two numbers of one description, and one that a child has too. */
static void copies(void) {
	int fd = open("lines", O_RDONLY), copy = dup(fd);
	char line[LINE + 1] = {0};
	for (int i = 0; i < LINES; i++)
		if (read(i % 3 ? fd : copy, line, LINE) != LINE) perror("read");
	SHOW(lseek(fd, 0, SEEK_CUR));
	SHOW(lseek(copy, 30, SEEK_SET));
	SHOW(read(fd, line, LINE));
	printf("%s", line);
	close(copy);
	int shared = open("lines", O_RDONLY);
	SHOW(read(shared, line, LINE));
	pid_t child = fork();
	if (child == 0) {
		for (int i = 0; i < 100; i++)
			if (read(shared, line, LINE) != LINE) _exit(1);
		_exit(0);
	}
	int status;
	SHOW(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
	SHOW(lseek(shared, 0, SEEK_CUR));
	for (int i = 101; i < LINES; i++)
		if (read(shared, line, LINE) != LINE) perror("read");
	SHOW(read(shared, line, LINE));
	printf("%s", line);
	/* A child that outlives this process's next calls. */
	SHOW(lseek(shared, 0, SEEK_SET));
	int pair[2];
	SHOW(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	child = vfork();
	if (child == 0) _exit(0);
	waitpid(child, NULL, 0);
	child = fork();
	if (child == 0) {
		char byte;
		for (int i = 0; i < 50; i++)
			if (read(pair[1], &byte, 1) != 1 || read(shared, line, LINE) != LINE || write(pair[1], "x", 1) != 1) _exit(1);
		_exit(0);
	}
	for (int i = 0; i < 50; i++) {
		char byte;
		if (read(shared, line, LINE) != LINE || write(pair[0], "x", 1) != 1 || read(pair[0], &byte, 1) != 1) perror("turn");
	}
	SHOW(lseek(shared, 0, SEEK_CUR));
	SHOW(waitpid(child, &status, 0) == child && status == 0);
}

/* A parent and its child read in turn: both attach on the way, and go on from where the other one was. */
static void turns(void) {
	int fd = open("lines", O_RDONLY), pair[2], status, right = 0;
	char byte = 0, line[LINE + 1], wanted[LINE + 1];
	SHOW(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	pid_t child = fork();
	for (int i = 0; i < LINES / 2; i++) {
		if (child == 0 && read(pair[1], &byte, 1) != 1) _exit(1);
		line_of(wanted, 2 * i + (child == 0));
		right += read(fd, line, LINE) == LINE && !memcmp(line, wanted, LINE);
		if (write(pair[child == 0], &byte, 1) != 1 || (child && read(pair[0], &byte, 1) != 1)) right = -LINES;
	}
	if (child == 0) _exit(right != LINES / 2);
	SHOW(right);
	SHOW(waitpid(child, &status, 0) == child && status == 0);
	SHOW(lseek(fd, 0, SEEK_CUR));
	close(fd);
}

static int together;
static _Atomic int taken[LINES];
static void *reader(void *unused) {
	(void)unused;
	char line[LINE + 1] = {0};
	while (read(together, line, LINE) == LINE) taken[atoi(line + 5)]++;
	return NULL;
}

/* Threads that read from one description while it is adopted: each line is somebody's. */
static void threads(void) {
	for (int round = 0; round < 20; round++) {
		together = open("lines", O_RDONLY);
		pthread_t thread[THREADS];
		for (int i = 0; i < LINES; i++) taken[i] = 0;
		for (int i = 0; i < THREADS; i++) pthread_create(&thread[i], NULL, reader, NULL);
		for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
		int once = 0;
		for (int i = 0; i < LINES; i++) once += taken[i] == 1;
		if (once != LINES) SHOW(once);
		close(together);
		if (round % 4 == 3 && fork() == 0) continue; /* a new process: first calls again */
		if (round % 4 == 3) break;
	}
	while (wait(NULL) > 0) continue;
}

static volatile sig_atomic_t interrupted;
static int handled = -1;
static void on_alarm(int number) {
	(void)number;
	char line[LINE];
	if (handled >= 0 && read(handled, line, LINE) == LINE) interrupted++;
}

/* A handler that reads from the description that is being read. */
static void handlers(void) {
	struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
	struct itimerval often = {{0, 150}, {0, 150}}, off = {0};
	sigaction(SIGALRM, &action, NULL);
	char line[LINE];
	handled = open("lines", O_RDONLY);
	setitimer(ITIMER_REAL, &often, NULL);
	int count = 0;
	while (read(handled, line, LINE) == LINE) count++;
	setitimer(ITIMER_REAL, &off, NULL);
	SHOW(count + interrupted >= LINES); /* both may have the same line: the lock of an offset lets a handler pass that comes on top of its owner */
	close(handled);
}

static void locks(void) {
	int fd = open("locked", O_CREAT | O_RDWR, 0644);
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	SHOW(fcntl(fd, F_SETLK, &lock));
	char byte;
	for (int i = 0; i < 100; i++) SHOW(pread(fd, &byte, 1, 0)); /* attached by now */
	int other = open("locked", O_RDWR);
	pid_t child = fork();
	if (child == 0) {
		lock.l_type = F_WRLCK;
		_exit(fcntl(open("locked", O_RDWR), F_SETLK, &lock) == 0);
	}
	int status;
	SHOW(waitpid(child, &status, 0) == child && status == 0); /* it is locked */
	close(other); /* and no more: any close gives it back */
	child = fork();
	if (child == 0) {
		lock.l_type = F_WRLCK;
		_exit(fcntl(open("locked", O_RDWR), F_SETLK, &lock) == 0);
	}
	SHOW(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 1);
	close(fd);
}

static void directories(void) {
	mkdir("directory", 0755);
	int directory = open("directory", O_RDONLY | O_DIRECTORY);
	for (int i = 0; i < 100; i++) {
		char name[16];
		snprintf(name, sizeof name, "f%d", i);
		close(openat(directory, name, O_CREAT | O_WRONLY, 0644));
	}
	DIR *stream = fdopendir(directory);
	int entries = 0;
	while (readdir(stream)) entries++;
	SHOW(entries);
	closedir(stream);
	SHOW(chdir("directory"));
	struct stat st;
	for (int i = 0; i < 100; i++) {
		char name[16];
		snprintf(name, sizeof name, "f%d", i);
		if (stat(name, &st) || unlink(name)) perror(name);
	}
	SHOW(chdir(".."));
	SHOW(rmdir("directory"));
}

static void moved(void) {
	int in = open("lines", O_RDONLY), out = open("moved", O_CREAT | O_RDWR | O_TRUNC, 0644);
	char line[LINE + 1] = {0};
	for (int i = 0; i < LINES / 3; i++) {
		if (read(in, line, LINE) != LINE || write(out, line, LINE) != LINE) perror("copy");
		if (sendfile(out, in, NULL, LINE) != LINE) perror("sendfile");
		if (copy_file_range(in, NULL, out, NULL, LINE, 0) != LINE) perror("copy_file_range");
	}
	SHOW(lseek(in, 0, SEEK_CUR));
	SHOW(lseek(out, 0, SEEK_CUR));
	close(in);
	close(out);
	SHOW(right_lines("moved"));
	char name[] = "made-XXXXXX";
	int fd = mkstemp(name);
	unlink(name);
	for (int i = 0; i < LINES; i++) {
		line_of(line, i);
		if (write(fd, line, LINE) != LINE) perror("write");
	}
	SHOW(ftruncate(fd, 50));
	SHOW(lseek(fd, 0, SEEK_END));
	struct stat st;
	SHOW(fstat(fd, &st) == 0 ? st.st_nlink : 9);
	close(fd);
}

int main(int argc, char **argv) {
	if (argc < 2 || chdir(argv[1]) < 0) return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	void (*const parts[])(void) = {sequential, streams, append, copies, turns, threads, handlers, locks, directories, moved};
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		pid_t child = fork();
		if (child == 0) {
			parts[i]();
			fflush(stdout);
			_exit(0);
		}
		int status;
		waitpid(child, &status, 0);
		printf("part %zu: %d\n", i, status);
	}
	return 0;
}
