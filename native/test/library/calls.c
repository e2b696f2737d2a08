/*
 * calls.c - every file call that the library knows, with its errors. Prints what each answered; the same program on a host directory is the oracle (run.py compares).
 * usage: calls DIRECTORY
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utime.h>
#include <wchar.h>

#include "show.h"

static void opens(void) {
	umask(027);
	int fd = open("a", O_CREAT | O_RDWR | O_EXCL, 0666);
	SHOW(write(fd, "0123456789", 10));
	SHOW(open("a", O_CREAT | O_EXCL | O_RDWR, 0600));
	SHOW(open("missing", O_RDONLY));
	SHOW(open("", O_RDONLY));
	SHOW(open(NULL, O_RDONLY));
	SHOW(open("a/", O_RDONLY));
	SHOW(open("a/b", O_RDONLY));
	SHOW(open(".", O_WRONLY));
	SHOW(open("a", O_DIRECTORY));
	SHOW(open("new/", O_CREAT | O_WRONLY, 0600));
	symlink("a", "l");
	symlink("loop", "loop");
	symlink("later", "dangling");
	SHOW(open("l", O_NOFOLLOW | O_RDONLY));
	SHOW(open("loop", O_RDONLY));
	SHOW(close(open("dangling", O_CREAT | O_WRONLY, 0666)));
	show_stat("later");
	show_stat("a");
	SHOW(close(creat("c", 0777)));
	show_stat("c");
	char name[5000];
	memset(name, 'x', sizeof name);
	name[300] = 0;
	SHOW(open(name, O_CREAT | O_WRONLY, 0600));
	name[300] = 'x';
	name[4999] = 0;
	SHOW(open(name, O_RDONLY));
	int path = open("a", O_PATH);
	char byte;
	SHOW(read(path, &byte, 1));
	SHOW(fchmod(path, 0600));
	SHOW(fcntl(path, F_GETFL) & O_PATH ? 1 : 0);
	SHOW(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND));
	SHOW(fcntl(fd, F_GETFD));
	int temporary = open(".", O_TMPFILE | O_RDWR, 0600);
	if (temporary >= 0) {
		SHOW(write(temporary, "t", 1));
		char link_name[64];
		snprintf(link_name, sizeof link_name, "/proc/self/fd/%d", temporary);
		SHOW(linkat(AT_FDCWD, link_name, AT_FDCWD, "linked", AT_SYMLINK_FOLLOW));
		show_stat("linked");
	}
	close(path);
	close(temporary);
	close(fd);
	umask(022);
}

static void reads_and_writes(void) {
	char buffer[64] = {0};
	int fd = open("rw", O_CREAT | O_RDWR | O_TRUNC, 0644), in = open("rw", O_RDONLY), out = open("rw", O_WRONLY);
	SHOW(write(fd, "hello world", 11));
	SHOW(lseek(fd, 0, SEEK_CUR));
	SHOW(pwrite(fd, "HE", 2, 0));
	SHOW(pread(fd, buffer, 5, 0));
	show_bytes("pread", buffer, 5);
	SHOW(read(in, buffer, sizeof buffer));
	show_bytes("read", buffer, 11);
	SHOW(read(in, buffer, sizeof buffer));
	SHOW(read(out, buffer, 1));
	SHOW(write(in, buffer, 1));
	SHOW(write(in, buffer, 0));
	SHOW(pread(fd, buffer, 1, -5));
	SHOW(pwrite(fd, buffer, 1, -5));
	SHOW(lseek(fd, -1, SEEK_SET));
	SHOW(lseek(fd, -1, SEEK_END));
	SHOW(lseek(fd, 100, SEEK_END));
	SHOW(write(fd, "x", 1));
	SHOW(lseek(fd, 0, SEEK_END));
	SHOW(lseek(fd, 0, 99));
	SHOW(lseek(fd, 0, SEEK_DATA));
	SHOW(lseek(fd, 0, SEEK_HOLE));
	SHOW(lseek(fd, 1000, SEEK_DATA));
	struct iovec iov[3] = {{buffer, 3}, {buffer + 3, 0}, {buffer + 10, 5}};
	SHOW(preadv(fd, iov, 3, 0));
	show_bytes("preadv", buffer, 3);
	show_bytes("preadv", buffer + 10, 5);
	SHOW(pwritev(fd, iov, 3, 200));
	SHOW(preadv2(fd, iov, 3, 0, 0));
	SHOW(lseek(fd, 0, SEEK_SET));
	SHOW(readv(fd, iov, 3));
	SHOW(pwritev2(fd, iov, 1, 0, RWF_DSYNC));
	SHOW(preadv2(fd, iov, 1, 0, 0x4000));
	SHOW(writev(fd, iov, 3));
	SHOW(readv(fd, iov, -1));
	SHOW(readv(fd, iov, 5000));
	SHOW(ftruncate(fd, 5));
	SHOW(ftruncate(in, 5));
	SHOW(ftruncate(fd, -1));
	SHOW(truncate("rw", 7));
	SHOW(truncate("missing", 7));
	SHOW(truncate(".", 7));
	SHOW(fallocate(fd, 0, 0, 8192));
	show_stat("rw");
	SHOW(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 16384));
	SHOW(fallocate(in, 0, 0, 1));
	SHOW(fallocate(fd, 0, -1, 1));
	SHOW(fallocate(fd, 0, 0, 0));
	SHOW(posix_fallocate(fd, 0, 20000));
	SHOW(posix_fallocate(in, 0, 1));
	SHOW(posix_fadvise(fd, 0, 0, POSIX_FADV_WILLNEED));
	SHOW(posix_fadvise(fd, 0, 0, 77));
	SHOW(fsync(fd));
	SHOW(fdatasync(fd));
	SHOW(sync_file_range(fd, 0, 10, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER));
	SHOW(syncfs(fd));
	SHOW(isatty(fd));
	int left = 0;
	SHOW(lseek(fd, 19000, SEEK_SET));
	SHOW(ioctl(fd, FIONREAD, &left));
	SHOW(left);
	SHOW(ioctl(fd, FIOCLEX));
	SHOW(fcntl(fd, F_GETFD));
	SHOW(fsync(99));
	SHOW(close(in));
	SHOW(close(in));
	SHOW(close(out));
	SHOW(close(fd));
}

static void big_transfers(void) {
	size_t size = 5 << 20;
	unsigned char *data = malloc(size), *back = malloc(size);
	for (size_t i = 0; i < size; i++) data[i] = (unsigned char)(i * 7 + i / 4096);
	int fd = open("big", O_CREAT | O_RDWR | O_TRUNC, 0644);
	SHOW(write(fd, data, size));
	SHOW(lseek(fd, 0, SEEK_SET));
	SHOW(read(fd, back, size));
	SHOW(memcmp(data, back, size));
	SHOW(pread(fd, back, size, 12345));
	SHOW(memcmp(data + 12345, back, size - 12345));
	struct iovec iov[2] = {{back, 1500000}, {back + 1500000, size - 1500000}};
	SHOW(preadv(fd, iov, 2, 0));
	SHOW(memcmp(data, back, size));
	int append = open("big", O_WRONLY | O_APPEND);
	SHOW(write(append, "end", 3));
	SHOW(lseek(append, 0, SEEK_CUR));
	SHOW(fcntl(fd, F_SETFL, O_APPEND));
	SHOW(lseek(fd, 0, SEEK_SET));
	SHOW(write(fd, "more", 4));
	SHOW(lseek(fd, 0, SEEK_CUR));
	SHOW(fcntl(fd, F_GETFL) & O_APPEND);
	SHOW(fcntl(append, F_SETFL, 0));
	SHOW(pwrite(append, "START", 5, 0));
	SHOW(pread(fd, back, 5, 0));
	show_bytes("start", (char *)back, 5);
	close(append);
	close(fd);
	free(data);
	free(back);
}

static void names(void) {
	char buffer[256];
	make("one", "1");
	SHOW(mkdir("d", 0777));
	SHOW(mkdir("d", 0777));
	SHOW(mkdir("x/y", 0777));
	SHOW(mkdir("d/e/", 0700));
	SHOW(rename("one", "d/e/two"));
	SHOW(rename("missing", "x"));
	SHOW(rename("d", "d/e/f"));
	SHOW(rename("d/e/two", "d/e"));
	SHOW(link("d/e/two", "three"));
	SHOW(link("missing", "four"));
	SHOW(link("d", "four"));
	SHOW(link("three", "d/e/two"));
	show_stat("three");
	SHOW(symlink("three", "s"));
	SHOW(symlink("three", "s"));
	SHOW(symlink("", "empty"));
	SHOW(readlink("s", buffer, sizeof buffer));
	SHOW(readlink("s", buffer, 2));
	SHOW(readlink("three", buffer, sizeof buffer));
	SHOW(readlink("", buffer, sizeof buffer));
	SHOW(unlink("d"));
	SHOW(rmdir("d"));
	SHOW(rmdir("three"));
	SHOW(rmdir("."));
	SHOW(rmdir("d/.."));
	SHOW(unlink("missing"));
	SHOW(unlink("three/"));
	SHOW(remove("d/e/two"));
	SHOW(remove("d/e"));
	SHOW(remove("missing"));
	make("p", "p");
	make("q", "q");
	SHOW(renameat2(AT_FDCWD, "p", AT_FDCWD, "q", RENAME_NOREPLACE));
	SHOW(renameat2(AT_FDCWD, "p", AT_FDCWD, "q", RENAME_EXCHANGE));
	SHOW(mkfifo("fifo", 0640));
	show_stat("fifo");
	SHOW(mknod("plain", S_IFREG | 0604, 0));
	show_stat("plain");
	SHOW(access("plain", R_OK | W_OK));
	SHOW(access("plain", X_OK));
	SHOW(access("missing", F_OK));
	SHOW(access("plain", 99));
	SHOW(euidaccess("plain", R_OK));
	SHOW(faccessat(AT_FDCWD, "s", F_OK, AT_SYMLINK_NOFOLLOW));
	SHOW(rename("one/", "two"));
	SHOW(rename("p", "q/"));
}

static void attributes(void) {
	make("at", "text");
	SHOW(chmod("at", 0641));
	show_stat("at");
	int fd = open("at", O_RDONLY);
	SHOW(fchmod(fd, 06711));
	show_stat("at");
	SHOW(chown("at", 12, 34));
	show_stat("at");
	SHOW(fchown(fd, -1, 56));
	SHOW(lchown("missing", 1, 1));
	SHOW(fchownat(fd, "", 1, 2, AT_EMPTY_PATH));
	show_stat("at");
	struct timespec times[2] = {{1000, 5}, {2000, 7}};
	SHOW(futimens(fd, times));
	show_stat("at");
	times[0].tv_nsec = UTIME_OMIT;
	times[1].tv_sec = 3000;
	SHOW(utimensat(AT_FDCWD, "at", times, 0));
	show_stat("at");
	times[1].tv_nsec = 1000000000;
	SHOW(utimensat(AT_FDCWD, "at", times, 0));
	SHOW(utimensat(fd, NULL, NULL, 0));
	SHOW(utimensat(AT_FDCWD, "missing", NULL, 0));
	struct timeval old[2] = {{100, 200}, {300, 400}};
	SHOW(utimes("at", old));
	show_stat("at");
	old[1].tv_usec = -1;
	SHOW(utimes("at", old));
	struct utimbuf older = {11, 22};
	SHOW(utime("at", &older));
	show_stat("at");
	char value[64];
	SHOW(setxattr("at", "user.one", "1234", 4, 0));
	SHOW(setxattr("at", "user.one", "1234", 4, XATTR_CREATE));
	SHOW(setxattr("at", "user.two", "1234", 4, XATTR_REPLACE));
	SHOW(getxattr("at", "user.one", value, sizeof value));
	SHOW(getxattr("at", "user.one", value, 2));
	SHOW(getxattr("at", "user.one", NULL, 0));
	SHOW(fgetxattr(fd, "user.none", value, sizeof value));
	SHOW(fsetxattr(fd, "user.three", "", 0, 0));
	SHOW(flistxattr(fd, value, sizeof value) > 8);
	SHOW(listxattr("missing", value, sizeof value));
	SHOW(removexattr("at", "user.one"));
	SHOW(fremovexattr(fd, "user.one"));
	SHOW(lgetxattr("at", "user.three", value, sizeof value));
	struct statx x;
	SHOW(statx(AT_FDCWD, "at", 0, STATX_BASIC_STATS, &x));
	SHOW(x.stx_size);
	SHOW(x.stx_mode);
	SHOW(statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &x));
	SHOW(statx(fd, "", 0, STATX_BASIC_STATS, &x));
	struct stat st;
	SHOW(fstatat(fd, "", &st, AT_EMPTY_PATH));
	SHOW(fstatat(fd, "x", &st, 0));
	SHOW(fstatat(-7, "x", &st, 0));
	SHOW(fstatat(AT_FDCWD, "at", &st, 0x800000));
	struct statvfs vfs;
	struct statfs fs;
	SHOW(statvfs(".", &vfs));
	SHOW(fstatvfs(fd, &vfs));
	SHOW(statfs("missing", &fs));
	SHOW(fstatfs(fd, &fs));
	close(fd);
}

static int compare_names(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static int only_numbers(const struct dirent *entry) { return entry->d_name[0] == 'n'; }

static void directories(void) {
	mkdir("many", 0755);
	char name[300];
	for (int i = 0; i < 3000; i++) {
		snprintf(name, sizeof name, "many/n%04d-%.*s", i, i % 200, "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy");
		close(open(name, O_CREAT | O_WRONLY, 0600));
	}
	DIR *directory = opendir("many");
	char **list = malloc(4000 * sizeof *list);
	int count = 0;
	long middle = 0;
	char expected[300] = "";
	for (struct dirent *entry; (entry = readdir(directory));) {
		if (count == 1500) strcpy(expected, entry->d_name);
		list[count++] = strdup(entry->d_name);
		if (count == 1500) middle = telldir(directory);
	}
	qsort(list, (size_t)count, sizeof *list, compare_names);
	printf("%d entries, %s %s %s %s\n", count, list[0], list[1], list[2], list[count - 1]);
	seekdir(directory, middle);
	printf("seekdir: %d\n", strcmp(readdir(directory)->d_name, expected));
	rewinddir(directory);
	int again = 0;
	while (readdir(directory)) again++;
	SHOW(again);
	SHOW(dirfd(directory) >= 0);
	struct stat st;
	SHOW(fstatat(dirfd(directory), list[5], &st, 0));
	SHOW(closedir(directory));
	struct dirent **found;
	SHOW(scandir("many", &found, only_numbers, alphasort));
	printf("%s\n", found[0]->d_name);
	SHOW((long)(opendir("missing") == NULL));
	SHOW((long)(opendir("many/n0000-") == NULL));
	int fd = open("many", O_RDONLY | O_DIRECTORY);
	char buffer[1000];
	int total = 0;
	for (ssize_t got; (got = getdents64(fd, buffer, sizeof buffer)) > 0;)
		for (ssize_t at = 0; at < got; at += ((struct dirent *)(buffer + at))->d_reclen) total++;
	SHOW(total);
	SHOW(lseek(fd, 0, SEEK_SET));
	SHOW(read(fd, buffer, 1));
	SHOW(getdents64(fd, buffer, 5));
	SHOW(unlinkat(fd, "n0001-y", 0));
	SHOW(mkdirat(fd, "sub", 0755));
	SHOW(symlinkat("../rw", fd, "up"));
	SHOW(fstatat(fd, "up", &st, AT_SYMLINK_NOFOLLOW));
	SHOW(renameat(fd, "sub", AT_FDCWD, "moved"));
	SHOW(linkat(fd, "n0000-", AT_FDCWD, "hard", 0));
	SHOW(readlinkat(fd, "up", buffer, sizeof buffer));
	SHOW(fchmodat(fd, "n0000-", 0751, 0));
	SHOW(mkfifoat(fd, "pipe", 0600));
	SHOW(unlinkat(fd, ".", AT_REMOVEDIR));
	SHOW(openat(fd, "n0000-/x", O_RDONLY));
	SHOW(fchdir(fd));
	SHOW(access("n0000-", F_OK));
	SHOW(chdir(".."));
	SHOW(fsync(fd));
	SHOW(ftruncate(fd, 0));
	SHOW(lseek(fd, 0, SEEK_SET));
	close(fd);
	SHOW(chdir("many/n0000-"));
	SHOW(chdir("missing"));
}

static void streams(void) {
	char line[200] = "";
	FILE *file = fopen("stream", "w+");
	SHOW(fileno(file) >= 0);
	SHOW(fprintf(file, "%s %d\n", "first", 1));
	for (int i = 0; i < 5000; i++) fprintf(file, "line %d of many\n", i);
	SHOW(fseek(file, 0, SEEK_SET));
	SHOW((long)(fgets(line, sizeof line, file) != NULL));
	show_bytes("fgets", line, (long)strlen(line));
	SHOW(ftell(file));
	SHOW(ungetc('Z', file));
	SHOW(fgetc(file));
	SHOW(fseeko(file, -10, SEEK_END));
	SHOW((long)fread(line, 1, 100, file));
	SHOW(feof(file) != 0);
	SHOW(fflush(file));
	struct stat st;
	SHOW(fstat(fileno(file), &st));
	SHOW(st.st_size);
	SHOW(fclose(file));
	file = fopen("stream", "a");
	SHOW(ftell(file));
	fputs("appended\n", file);
	SHOW(ftell(file));
	SHOW(fclose(file));
	file = fopen("stream", "r");
	SHOW(fputc('x', file));
	SHOW(ferror(file) != 0);
	clearerr(file);
	size_t space = 0;
	char *text = NULL;
	int lines = 0;
	while (getline(&text, &space, file) > 0) lines++;
	SHOW(lines);
	show_bytes("last", text, (long)strlen(text));
	rewind(file);
	int number = 0;
	SHOW(fscanf(file, "first %d", &number));
	SHOW(number);
	SHOW((long)(freopen("other", "w", file) != NULL));
	fputs("other text\n", file);
	SHOW(fclose(file));
	show_stat("other");
	SHOW((long)(fopen("missing", "r") == NULL));
	SHOW((long)(fopen("stream", "q") == NULL));
	SHOW((long)(fopen("stream", "wx") == NULL));
	file = fopen("wide", "w+");
	SHOW(fwprintf(file, L"wide %d\n", 7));
	SHOW(fseek(file, 0, SEEK_SET));
	wchar_t wide[50];
	SHOW((long)(fgetws(wide, 50, file) != NULL));
	SHOW((long)wcslen(wide));
	SHOW(fclose(file));
	show_stat("wide");
	int fd = open("stream", O_RDWR);
	file = fdopen(fd, "r+");
	setvbuf(file, NULL, _IONBF, 0);
	SHOW(fgetc(file));
	SHOW(lseek(fd, 0, SEEK_CUR));
	SHOW((long)(fdopen(fd, "z") == NULL));
	SHOW(fclose(file));
	SHOW(fcntl(fd, F_GETFD));
	fd = open("stream", O_RDONLY);
	SHOW((long)(fdopen(fd, "w") == NULL));
	close(fd);
	fd = open("dp", O_CREAT | O_RDWR, 0644);
	SHOW(dprintf(fd, "%d", 42));
	SHOW(lseek(fd, 0, SEEK_CUR));
	close(fd);
	char temporary[] = "tmp-XXXXXX";
	fd = mkstemp(temporary);
	SHOW(fd >= 0);
	show("mkstemp name", strlen(temporary) == 10 && strcmp(temporary, "tmp-XXXXXX"));
	unlink(temporary);
	close(fd);
	char bad[] = "tmp-XXX";
	SHOW(mkstemp(bad));
	char directory[] = "dir-XXXXXX";
	SHOW((long)(mkdtemp(directory) != NULL));
	SHOW(rmdir(directory));
	free(text);
}

static void descriptors(void) {
	char buffer[32] = {0};
	make("dup", "0123456789");
	int fd = open("dup", O_RDWR), copy = dup(fd);
	SHOW(lseek(fd, 4, SEEK_SET));
	SHOW(read(copy, buffer, 2));
	show_bytes("dup", buffer, 2);
	SHOW(lseek(fd, 0, SEEK_CUR));
	SHOW(dup2(fd, 200));
	SHOW(read(200, buffer, 1));
	SHOW(lseek(copy, 0, SEEK_CUR));
	SHOW(dup3(fd, 201, O_CLOEXEC));
	SHOW(fcntl(201, F_GETFD));
	SHOW(dup3(fd, fd, 0));
	SHOW(dup2(fd, fd) == fd);
	SHOW(dup2(999, 200));
	SHOW(fcntl(fd, F_DUPFD, 300));
	SHOW(fcntl(fd, F_DUPFD_CLOEXEC, 300));
	SHOW(close_range(300, 400, 0));
	SHOW(lseek(300, 0, SEEK_CUR));
	SHOW(close(fd));
	SHOW(read(copy, buffer, 1));
	show_bytes("copy", buffer, 1);
	char *map = mmap(NULL, 10, PROT_READ, MAP_SHARED, copy, 0);
	show_bytes("mmap", map, 10);
	pwrite(copy, "AB", 2, 0);
	SHOW(flock(copy, LOCK_EX | LOCK_NB));
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	SHOW(fcntl(copy, F_SETLK, &lock));
	SHOW(lockf(copy, F_TLOCK, 1));
	struct pollfd polled = {.fd = copy, .events = POLLIN | POLLOUT};
	SHOW(poll(&polled, 1, 0));
	SHOW(polled.revents);
	SHOW(read(copy, buffer, 1));
	show_bytes("after", buffer, 1);
	int out = open("copied", O_CREAT | O_RDWR | O_TRUNC, 0644);
	off_t at = 2;
	SHOW(sendfile(out, copy, &at, 3));
	SHOW(at);
	SHOW(sendfile(out, copy, NULL, 2));
	SHOW(lseek(copy, 0, SEEK_CUR));
	SHOW(lseek(out, 0, SEEK_CUR));
	SHOW(lseek(copy, 0, SEEK_SET));
	SHOW(copy_file_range(copy, NULL, out, NULL, 4, 0));
	SHOW(lseek(copy, 0, SEEK_CUR));
	SHOW(pread(out, buffer, 20, 0));
	show_bytes("out", buffer, 9);
	int pair[2];
	SHOW(pipe(pair));
	SHOW(lseek(copy, 1, SEEK_SET));
	SHOW(splice(copy, NULL, pair[1], NULL, 3, 0));
	SHOW(lseek(copy, 0, SEEK_CUR));
	SHOW(read(pair[0], buffer, 20));
	SHOW(syscall(SYS_lseek, copy, 5, SEEK_SET));
	SHOW(syscall(SYS_read, copy, buffer, 1));
	SHOW(syscall(SYS_openat, AT_FDCWD, "missing", O_RDONLY));
	SHOW(lseek(copy, 0, SEEK_CUR));
	close_range(3, 1000, 0);
}

/* The offset of a description belongs to all processes that have it. */
static void processes(void) {
	char buffer[32] = {0};
	make("proc", "0123456789abcdefghij");
	int fd = open("proc", O_RDWR);
	read(fd, buffer, 3);
	pid_t child = fork();
	if (child == 0) {
		char own[8];
		if (read(fd, own, 4) != 4 || memcmp(own, "3456", 4)) _exit(1);
		if (pread(fd, own, 2, 10) != 2 || memcmp(own, "ab", 2)) _exit(2);
		int other = open("child", O_CREAT | O_WRONLY, 0600);
		_exit(write(other, "c", 1) == 1 && lseek(fd, 1, SEEK_CUR) == 8 ? 0 : 3);
	}
	int status;
	waitpid(child, &status, 0);
	SHOW(status);
	SHOW(lseek(fd, 0, SEEK_CUR));
	SHOW(read(fd, buffer, 2));
	show_bytes("parent", buffer, 2);
	show_stat("child");
	int append = open("append", O_CREAT | O_WRONLY | O_APPEND, 0644);
	for (int i = 0; i < 4; i++)
		if (fork() == 0) {
			for (int k = 0; k < 100; k++)
				if (write(append, "0123456789", 10) != 10) _exit(1);
			_exit(0);
		}
	while (wait(&status) > 0)
		if (status) SHOW(status);
	SHOW(lseek(append, 0, SEEK_END));
	fflush(stdout);
	int out = open("shell", O_CREAT | O_RDWR | O_TRUNC, 0644), keep = dup(1);
	dup2(out, 1);
	SHOW(system("echo from shell; printf 'and again\n'"));
	fflush(stdout);
	dup2(keep, 1);
	SHOW(lseek(out, 0, SEEK_CUR));
	SHOW(pread(out, buffer, 20, 0));
	show_bytes("shell", buffer, 20);
	FILE *pipe_stream = popen("cat proc", "r");
	SHOW((long)fread(buffer, 1, 20, pipe_stream));
	SHOW(pclose(pipe_stream));
	close(fd);
	close(out);
	child = vfork();
	if (child == 0) {
		execlp("sh", "sh", "-c", "echo vfork > vf", NULL);
		_exit(127);
	}
	waitpid(child, &status, 0);
	show_stat("vf");
}

static volatile sig_atomic_t handled;
static int signal_fd;

static void on_alarm(int number) {
	char byte;
	handled += pread(signal_fd, &byte, 1, 0) == 1 && write(signal_fd, "s", 1) == 1;
}

/* Handlers that call in the middle of calls. */
static void signals(void) {
	signal_fd = open("sig", O_CREAT | O_RDWR, 0644);
	write(signal_fd, "s", 1);
	signal(SIGALRM, on_alarm);
	struct itimerval timer = {.it_interval = {0, 300}, .it_value = {0, 300}}, off = {0};
	setitimer(ITIMER_REAL, &timer, NULL);
	int fd = open("busy", O_CREAT | O_RDWR, 0644), wrong = 0;
	for (int i = 0; i < 3000; i++) {
		char bytes[8];
		if (pwrite(fd, &i, sizeof i, 0) != sizeof i || pread(fd, bytes, 4, 0) != 4 || memcmp(bytes, &i, 4)) wrong++;
	}
	setitimer(ITIMER_REAL, &off, NULL);
	SHOW(wrong);
	SHOW(handled > 0);
	struct stat st;
	fstat(signal_fd, &st);
	SHOW(st.st_size == handled + 1);
	close(fd);
	close(signal_fd);
}

/* Pointers that are none: EFAULT, and nothing has happened. */
static void bad_pointer(void *bad, int fd, int directory) {
	const char *path = bad;
	struct iovec one = {bad, 4}, two[2] = {{"good", 4}, {bad, 4}}, room[2] = {{(char[4]){0}, 4}, {bad, 4}};
	SHOW(open(path, O_RDONLY));
	SHOW(openat(directory, path, O_RDWR | O_CREAT, 0600));
	SHOW(access(path, F_OK));
	SHOW(stat(path, &(struct stat){0}));
	SHOW(lstat(path, &(struct stat){0}));
	SHOW(stat("fault", bad));
	SHOW(lstat("no such name", bad));
	SHOW(fstat(fd, bad));
	SHOW(fstatat(directory, path, &(struct stat){0}, AT_EMPTY_PATH));
	SHOW(statx(AT_FDCWD, "fault", 0, STATX_BASIC_STATS, bad));
	SHOW(statx(AT_FDCWD, path, 0, STATX_BASIC_STATS, &(struct statx){0}));
	SHOW(statfs(path, &(struct statfs){0}));
	SHOW(statfs("fault", bad));
	SHOW(fstatfs(fd, bad));
	SHOW(mkdir(path, 0700));
	SHOW(rmdir(path));
	SHOW(unlink(path));
	SHOW(mkfifo(path, 0600));
	SHOW(rename(path, "fault2"));
	SHOW(rename("fault", path));
	SHOW(link(path, "fault2"));
	SHOW(link("fault", path));
	SHOW(symlink(path, "fault2"));
	SHOW(symlink("fault", path));
	SHOW(readlink(path, (char[8]){0}, 8));
	SHOW(readlink("fault.link", bad, 8));
	SHOW(chmod(path, 0600));
	SHOW(chown(path, 0, 0));
	SHOW(truncate(path, 0));
	SHOW(chdir(path));
	SHOW(utimensat(AT_FDCWD, path, (struct timespec[2]){{1, 0}, {1, 0}}, 0));
	if (bad) SHOW(utimensat(AT_FDCWD, "fault", bad, 0));
	if (bad) SHOW(futimens(fd, bad));
	SHOW(getxattr(path, "user.a", (char[8]){0}, 8));
	SHOW(getxattr("fault", bad, (char[8]){0}, 8));
	SHOW(getxattr("fault", "user.a", bad, 8));
	SHOW(fgetxattr(fd, "user.a", bad, 8));
	SHOW(listxattr(path, NULL, 0));
	SHOW(setxattr("fault", bad, "x", 1, 0));
	SHOW(setxattr("fault", "user.b", bad, 1, 0));
	SHOW(removexattr("fault", bad));
	SHOW(fopen(path, "r") != NULL);
	SHOW(lseek(fd, 2, SEEK_SET));
	SHOW(read(fd, bad, 4));
	SHOW(pread(fd, bad, 4, 0));
	SHOW(write(fd, bad, 4));
	SHOW(pwrite(fd, bad, 4, 0));
	SHOW(readv(fd, &one, 1));
	SHOW(writev(fd, &one, 1));
	SHOW(lseek(fd, 0, SEEK_CUR));
	SHOW(preadv(fd, room, 2, 0));
	SHOW(pwritev(fd, two, 2, 0));
	SHOW(preadv(fd, bad, 2, 0));
	SHOW(pwritev(fd, bad, 2, 0));
	SHOW(read(fd, bad, 0));
	SHOW(write(fd, bad, 0));
	SHOW(getdents64(directory, bad, 4096));
}
static void bad_pointers(void) {
	int fd = open("fault", O_CREAT | O_RDWR, 0644), directory = open(".", O_RDONLY | O_DIRECTORY);
	write(fd, "0123456789", 10);
	symlink("fault", "fault.link");
	setxattr("fault", "user.a", "v", 1, 0);
	const uintptr_t bad[] = {0, 8, 4095, UINTPTR_MAX, UINTPTR_MAX - 4096, (uintptr_t)1 << 63, 0xdeadc0de};
	const char *library = getenv("LIBRARY");
	bool sanitized = library && strstr(library, "sanitized"); /* the address sanitizer has memory of its own at the last of them */
	for (unsigned i = 0; i < sizeof bad / sizeof bad[0] - sanitized; i++) bad_pointer((void *)bad[i], fd, directory);
	struct stat st;
	SHOW(fstat(fd, &st) == 0 && st.st_size == 10);
	SHOW(access("fault2", F_OK));
	char *low = mmap((void *)0x10000000, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0); /* as the heap of a program that is not position-independent */
	SHOW(pread(fd, low, 8192, 0));
	SHOW(pread(fd, low, 1 << 20, 0)); /* there is not so much room, nor so much file */
	SHOW(pread(fd, low, (size_t)1 << 46, 0));
	SHOW(pread(fd, low, SSIZE_MAX, 0));
	SHOW(pwrite(fd, low + 2, 4, 12));
	strcpy(low, "fault");
	SHOW(stat(low, (struct stat *)(low + 4096)));
	munmap(low, 8192);
	close(fd);
	close(directory);
}

int main(int argc, char **argv) {
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	if (argc < 2 || chdir(argv[1]) < 0) return 2;
	opens();
	reads_and_writes();
	big_transfers();
	names();
	attributes();
	directories();
	streams();
	descriptors();
	processes();
	bad_pointers();
	signals();
	return 0;
}
