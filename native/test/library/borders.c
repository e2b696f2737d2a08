/*
 * borders.c - where the library's world ends: paths that lead in and out, /proc/self/fd, roots, descriptors of special kinds, copies and rings of the kernel's.
 * usage: borders DIRECTORY
 */
#include <dirent.h>
#include <limits.h>
#include <linux/aio_abi.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#ifdef HAVE_URING
#include <liburing.h>
#endif

#include "show.h"

static const char *top;

static void paths(void) {
	char path[PATH_MAX], target[PATH_MAX];
	struct stat st;
	mkdir("in", 0755);
	make("in/file", "inside");
	symlink("/etc", "out");
	symlink("out/passwd", "passwd");
	symlink("../../..", "in/up");
	snprintf(path, sizeof path, "%s/in", top);
	symlink(path, "back");
	snprintf(path, sizeof path, "/../..%s/./in//file", top);
	SHOW(access(path, R_OK));
	SHOW(access("out/passwd", R_OK));
	SHOW(access("passwd", R_OK));
	SHOW(access("in/up/../etc/passwd", R_OK) == access("/etc/passwd", R_OK));
	SHOW(access("back/file", R_OK));
	SHOW(access("back/../in/./file", R_OK));
	SHOW(readlink("passwd", target, sizeof target));
	SHOW(lstat("out/", &st));
	SHOW(S_ISDIR(st.st_mode));
	SHOW((long)strlen(realpath("back/file", target)) - (long)strlen(top));
	SHOW(strcmp(realpath("passwd", target), "/etc/passwd"));
	/* A host link into the mount, and files that move over the border. */
	char link_name[] = "/tmp/dc-border-XXXXXX";
	SHOW((long)(mkdtemp(link_name) != NULL));
	snprintf(path, sizeof path, "%s/link", link_name);
	SHOW(symlink(top, path));
	strcat(path, "/in/file");
	show_file("in/file");
	int fd = open(path, O_RDWR);
	SHOW(pwrite(fd, "INS", 3, 0));
	close(fd);
	show_file("in/file");
	snprintf(target, sizeof target, "%s/elsewhere", link_name);
	SHOW(rename("in/file", target) < 0 && errno == EXDEV ? 0 : (rename(target, "in/file"), 0));
	int host = open(link_name, O_RDONLY | O_DIRECTORY);
	SHOW(openat(host, "missing", O_RDONLY));
	fd = openat(host, "link/in/file", O_RDONLY);
	char bytes[8] = {0};
	SHOW(read(fd, bytes, 6));
	show_bytes("through", bytes, 6);
	close(fd);
	SHOW(fchdir(host));
	SHOW(chdir("link/in"));
	show_file("file");
	SHOW(access("../passwd", R_OK));
	SHOW(chdir(top));
	unlinkat(host, "link", 0);
	close(host);
	rmdir(link_name);
}

static void of_proc(void) {
	char name[64], target[PATH_MAX] = {0};
	int fd = open("in/file", O_RDWR), directory = open("in", O_RDONLY | O_DIRECTORY);
	snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
	SHOW(readlink(name, target, sizeof target) - (long)strlen(top));
	puts(target + strlen(top));
	struct stat st, same;
	SHOW(stat(name, &st) || fstat(fd, &same) || st.st_ino != same.st_ino);
	int again = open(name, O_RDONLY);
	char byte = 0;
	SHOW(read(again, &byte, 1));
	SHOW(byte);
	close(again);
	snprintf(name, sizeof name, "/dev/fd/%d", fd);
	SHOW(access(name, R_OK));
	SHOW(truncate(name, 4));
	snprintf(name, sizeof name, "/proc/self/fd/%d/file", directory);
	show_file(name);
	snprintf(name, sizeof name, "/proc/%d/fd/%d", (int)getpid(), directory);
	memset(target, 0, sizeof target);
	SHOW(readlink(name, target, sizeof target) - (long)strlen(top));
	SHOW(chdir(name));
	SHOW(access("file", F_OK));
	SHOW(chdir(top));
	int listed = 0;
	DIR *list = opendir("/proc/self/fd");
	for (struct dirent *entry; (entry = readdir(list));) listed += atoi(entry->d_name) == fd || atoi(entry->d_name) == directory;
	closedir(list);
	SHOW(listed);
	close(fd);
	close(directory);
}

static long open_how(int dirfd, const char *path, uint64_t flags, uint64_t resolve) {
	struct open_how how = {.flags = flags, .mode = flags & O_CREAT ? 0644 : 0, .resolve = resolve};
	long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof how);
	if (fd >= 0) {
		char byte;
		if (!(flags & (O_PATH | O_DIRECTORY | O_CREAT))) show("its first byte", read((int)fd, &byte, 1));
		close((int)fd);
		return 0;
	}
	return fd;
}

static void kinds_of_open(void) {
	int in = open("in", O_RDONLY | O_DIRECTORY);
	SHOW(open_how(in, "file", O_RDONLY, 0));
	SHOW(open_how(in, "made", O_CREAT | O_WRONLY, 0));
	SHOW(open_how(in, "../passwd", O_RDONLY, RESOLVE_BENEATH));
	SHOW(open_how(in, "file", O_RDONLY, RESOLVE_BENEATH));
	SHOW(open_how(in, "file", O_RDONLY | O_NOFOLLOW, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV));
	SHOW(open_how(in, "new", O_CREAT | O_EXCL | O_WRONLY, RESOLVE_BENEATH));
	SHOW(open_how(in, "new", O_CREAT | O_EXCL | O_WRONLY, RESOLVE_BENEATH));
	SHOW(open_how(in, "..", O_RDONLY, RESOLVE_BENEATH));
	SHOW(open_how(in, "..", O_RDONLY | O_DIRECTORY, RESOLVE_NO_SYMLINKS));
	SHOW(open_how(in, "./file", O_RDONLY, RESOLVE_BENEATH));
	SHOW(open_how(in, "file/", O_RDONLY, RESOLVE_BENEATH));
	SHOW(open_how(AT_FDCWD, "in/../in/file", O_RDONLY, RESOLVE_BENEATH));
	SHOW(symlinkat("file", in, "to-file"));
	SHOW(symlinkat("../in/file", in, "out-and-in"));
	SHOW(symlinkat("/etc/passwd", in, "out"));
	SHOW(symlinkat("/nowhere", in, "dangling"));
	for (unsigned resolve = 0; resolve <= (RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH); resolve++) {
		SHOW(open_how(in, "to-file", O_RDONLY, resolve));
		SHOW(open_how(in, "to-file", O_RDONLY | O_NOFOLLOW, resolve));
		SHOW(open_how(in, "to-file", O_PATH | O_NOFOLLOW, resolve));
		SHOW(open_how(in, "out-and-in", O_RDONLY, resolve));
		SHOW(open_how(in, "dangling", O_CREAT | O_EXCL | O_WRONLY, resolve));
		if (resolve & (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)) SHOW(open_how(in, "out", O_RDONLY, resolve)); /* without: over the border, where devices differ on one side only */
		if (resolve & RESOLVE_BENEATH) SHOW(open_how(in, "/file", O_RDONLY, resolve));
	}
	SHOW(open_how(AT_FDCWD, "back/file", O_RDONLY, RESOLVE_NO_SYMLINKS));
	SHOW(open_how(AT_FDCWD, "in/file", O_RDONLY, RESOLVE_NO_SYMLINKS));
	SHOW(open_how(in, "/file", O_RDONLY, RESOLVE_IN_ROOT));
	SHOW(open_how(in, "file", O_RDONLY, 1 << 20));
	SHOW(open_how(in, "file", UINT64_C(1) << 40, 0));
	SHOW(open_how(in, "missing", O_PATH, RESOLVE_NO_MAGICLINKS));
	/* O_PATH: a place, no file. */
	int place = open("in/file", O_PATH), directory = open("in", O_PATH | O_DIRECTORY);
	struct stat st;
	char bytes[8];
	SHOW(fstat(place, &st) || !S_ISREG(st.st_mode));
	SHOW(read(place, bytes, 1));
	SHOW(lseek(place, 0, SEEK_CUR));
	SHOW(fsync(place));
	SHOW(ftruncate(place, 1));
	SHOW((long)(mmap(NULL, 1, PROT_READ, MAP_SHARED, place, 0) == MAP_FAILED));
	SHOW(ioctl(place, 0x5401, bytes));
	SHOW(isatty(place));
	SHOW(fchownat(place, "", 5, 6, AT_EMPTY_PATH));
	SHOW(linkat(place, "", AT_FDCWD, "in/linked", AT_EMPTY_PATH));
	SHOW(openat(place, "x", O_RDONLY));
	SHOW(fcntl(place, F_GETFL) & (O_PATH | O_ACCMODE));
	SHOW(fchdir(directory));
	show_stat("linked");
	SHOW(chdir(top));
	SHOW(close(dup(place)));
	symlink("file", "in/soft");
	int soft = open("in/soft", O_PATH | O_NOFOLLOW);
	SHOW(fstat(soft, &st) || !S_ISLNK(st.st_mode));
	SHOW(readlinkat(soft, "", bytes, sizeof bytes));
	close(soft);
	/* O_TMPFILE: with O_EXCL it never gets a name. */
	int nameless = open(".", O_TMPFILE | O_RDWR | O_EXCL, 0600), named = open("in", O_TMPFILE | O_RDWR, 0640);
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", nameless);
	SHOW(linkat(AT_FDCWD, path, AT_FDCWD, "never", AT_SYMLINK_FOLLOW));
	SHOW(write(named, "named", 5));
	SHOW(linkat(named, "", AT_FDCWD, "in/named", AT_EMPTY_PATH));
	show_stat("in/named");
	SHOW(fstat(named, &st) || st.st_nlink != 1);
	SHOW(open("in/file", O_TMPFILE | O_RDWR, 0600));
	SHOW(open("in", O_TMPFILE | O_RDONLY, 0600));
	struct statx x;
	SHOW(statx(named, "", AT_EMPTY_PATH, STATX_ALL, &x));
	SHOW((x.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS);
	SHOW(x.stx_nlink);
	SHOW(statx(AT_FDCWD, "in/soft", AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC, STATX_TYPE, &x));
	SHOW(S_ISLNK(x.stx_mode));
	SHOW(statx(AT_FDCWD, "in/file", AT_STATX_SYNC_TYPE, STATX_TYPE, &x));
	SHOW(statx(AT_FDCWD, "in/file", 0, STATX__RESERVED, &x));
	close_range(3, 100, 0);
}

static void copying(void) {
	char bytes[64] = {0};
	make("source", "0123456789abcdef");
	int in = open("source", O_RDWR), out = open("target", O_CREAT | O_RDWR | O_TRUNC, 0644), host = memfd_create("host", 0), pair[2];
	SHOW(pipe(pair));
	off_t at = 4, to = 2;
	SHOW(copy_file_range(in, &at, out, &to, 5, 0));
	SHOW(at);
	SHOW(to);
	SHOW(copy_file_range(in, NULL, out, NULL, 100, 0));
	SHOW(lseek(in, 0, SEEK_CUR));
	SHOW(copy_file_range(in, &(off_t){0}, in, &(off_t){3}, 5, 0));
	SHOW(copy_file_range(in, &(off_t){0}, in, &(off_t){20}, 5, 0));
	SHOW(copy_file_range(in, NULL, out, NULL, 5, 1));
	show_file("target");
	/* Across the border the kernel does not copy. */
	int elsewhere = open("/", O_RDONLY | O_DIRECTORY), reads = open("/etc/passwd", O_RDONLY), named = open("/etc/passwd", O_PATH), appends = open("target", O_WRONLY | O_APPEND);
	SHOW(copy_file_range(in, NULL, host, NULL, 5, 0));
	SHOW(copy_file_range(host, &(off_t){0}, out, NULL, 5, 0));
	SHOW(copy_file_range(in, NULL, host, NULL, 5, 2));
	SHOW(copy_file_range(in, NULL, pair[1], NULL, 5, 0));
	SHOW(copy_file_range(pair[0], NULL, out, NULL, 5, 0));
	SHOW(copy_file_range(in, NULL, elsewhere, NULL, 5, 0));
	SHOW(copy_file_range(in, NULL, reads, NULL, 5, 0));
	SHOW(copy_file_range(reads, NULL, appends, NULL, 5, 0));
	SHOW(copy_file_range(named, NULL, out, NULL, 5, 0));
	SHOW(copy_file_range(in, NULL, -1, NULL, 5, 0));
	SHOW(fcntl(host, F_SETFL, O_APPEND));
	SHOW(copy_file_range(in, NULL, host, NULL, 5, 0));
	SHOW(fcntl(host, F_SETFL, 0));
	SHOW(lseek(in, 0, SEEK_CUR));
	close(elsewhere), close(reads), close(named), close(appends);
	SHOW(sendfile(host, in, &(off_t){2}, 4));
	SHOW(lseek(host, 0, SEEK_SET));
	SHOW(lseek(out, 0, SEEK_END));
	SHOW(sendfile(out, host, NULL, 4));
	SHOW(lseek(out, 0, SEEK_CUR));
	show_file("target");
	SHOW(lseek(in, 10, SEEK_SET));
	SHOW(splice(in, NULL, pair[1], NULL, 4, 0));
	SHOW(lseek(in, 0, SEEK_CUR));
	SHOW(splice(pair[0], NULL, out, &(off_t){0}, 4, 0));
	SHOW(splice(in, &(off_t){1}, pair[1], NULL, 3, 0));
	SHOW(read(pair[0], bytes, sizeof bytes));
	show_bytes("spliced", bytes, 3);
	SHOW(splice(in, NULL, out, NULL, 3, 0));
	SHOW(tee(in, pair[1], 3, 0));
	show_file("target");
	struct pollfd polled[2] = {{.fd = in, .events = POLLIN | POLLOUT}, {.fd = out, .events = POLLPRI}};
	SHOW(ppoll(polled, 2, &(struct timespec){0}, NULL));
	fd_set set;
	FD_ZERO(&set);
	FD_SET(in, &set);
	SHOW(select(in + 1, &set, NULL, NULL, &(struct timeval){0}));
	int epoll = epoll_create1(0);
	SHOW(epoll_ctl(epoll, EPOLL_CTL_ADD, in, &(struct epoll_event){.events = EPOLLIN}));
	SHOW(epoll_wait(in, &(struct epoll_event){0}, 1, 0));
	close_range(3, 100, 0);
}

static void numbers(void) {
	make("numbers", "0123456789");
	int fd = open("numbers", O_RDWR);
	struct rlimit limit;
	getrlimit(RLIMIT_NOFILE, &limit);
	struct rlimit more = {limit.rlim_max, limit.rlim_max};
	setrlimit(RLIMIT_NOFILE, &more);
	bool room = limit.rlim_max > 70000;
	char bytes[4];
	SHOW(!room || dup2(fd, 69999) == 69999);
	SHOW(!room || (lseek(69999, 3, SEEK_SET) == 3 && read(fd, bytes, 1) == 1 && bytes[0] == '3'));
	SHOW(!room || close(69999) == 0);
	SHOW(!room || fcntl(fd, F_DUPFD, 66000) == 66000);
	SHOW(!room || pwrite(66000, "A", 1, 0) == 1);
	close(66000);
	show_file("numbers");
	for (int number = 20; number < 30; number++) dup2(fd, number);
	SHOW(close_range(20, 24, CLOSE_RANGE_CLOEXEC));
	SHOW(fcntl(22, F_GETFD));
	SHOW(fcntl(26, F_GETFD));
	SHOW(close_range(25, 29, CLOSE_RANGE_UNSHARE));
	SHOW(fcntl(26, F_GETFD));
	SHOW(pread(22, bytes, 1, 1));
	SHOW(close_range(24, 20, 0));
	SHOW(close_range(20, 24, 99));
	closefrom(20);
	SHOW(fcntl(22, F_GETFD));
	more = (struct rlimit){12, limit.rlim_max};
	setrlimit(RLIMIT_NOFILE, &more);
	int last = -1, opened = 0;
	while (opened < 20 && (last = open("numbers", O_RDONLY)) >= 0) opened++;
	SHOW(last);
	SHOW(opened > 0 && opened < 12);
	closefrom(fd + 1);
	setrlimit(RLIMIT_NOFILE, &limit);
	/* A file must not grow beyond what the process may write. */
	struct rlimit size, small = {100, RLIM_INFINITY};
	getrlimit(RLIMIT_FSIZE, &size);
	small.rlim_max = size.rlim_max;
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &small);
	SHOW(pwrite(fd, bytes, 4, 98));
	SHOW(pwrite(fd, bytes, 4, 100));
	SHOW(ftruncate(fd, 101));
	SHOW(fallocate(fd, 0, 0, 200));
	SHOW(truncate("numbers", 90));
	setrlimit(RLIMIT_FSIZE, &size);
	SHOW(pwrite(fd, bytes, 4, 100));
	show_stat("numbers");
	close(fd);
}

static void kernel_aio(void) {
	aio_context_t context = 0;
	make("aio", "0123456789");
	int fd = open("aio", O_RDWR);
	char bytes[8] = {0};
	struct iocb get = {.aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = (uint32_t)fd, .aio_buf = (uintptr_t)bytes, .aio_nbytes = 4, .aio_offset = 3};
	struct iocb put = {.aio_lio_opcode = IOCB_CMD_PWRITE, .aio_fildes = (uint32_t)fd, .aio_buf = (uintptr_t) "XY", .aio_nbytes = 2, .aio_offset = 1};
	struct iocb *list[] = {&get, &put};
	struct io_event events[2];
	SHOW(syscall(SYS_io_setup, 4, &context));
	SHOW(syscall(SYS_io_submit, context, 2, list));
	SHOW(syscall(SYS_io_getevents, context, 2, 2, events, NULL));
	show_bytes("aio", bytes, 4);
	show_file("aio");
	SHOW(syscall(SYS_io_destroy, context));
	close(fd);
}

#ifdef HAVE_URING
static int submit(struct io_uring *ring) {
	struct io_uring_cqe *done;
	io_uring_submit(ring);
	if (io_uring_wait_cqe(ring, &done) < 0) return -EIO;
	int result = done->res;
	io_uring_cqe_seen(ring, done);
	return result;
}

/* A number that a ring closed, and what has it next: nothing but the file that it names now may be reached by it. */
static void reused(struct io_uring *ring) {
	char bytes[8] = {0};
	struct stat st;
	make("first", "first");
	make("second", "second file");
	int fd = open("first", O_RDONLY), copy = dup(fd);
	SHOW(pread(fd, bytes, 5, 0));
	io_uring_prep_close(io_uring_get_sqe(ring), fd);
	SHOW(submit(ring));
	SHOW(pread(fd, bytes, 5, 0)); /* nobody's */
	SHOW(fstat(fd, &st));
	io_uring_prep_openat(io_uring_get_sqe(ring), AT_FDCWD, "second", O_RDWR, 0);
	SHOW(submit(ring) == fd);
	SHOW(pread(fd, bytes, 6, 0));
	show_bytes("second", bytes, 6);
	SHOW(fstat(fd, &st));
	SHOW(st.st_size);
	SHOW(pread(copy, bytes, 5, 0));
	show_bytes("copy", bytes, 5);
	io_uring_prep_close(io_uring_get_sqe(ring), fd);
	SHOW(submit(ring));
	io_uring_prep_openat(io_uring_get_sqe(ring), AT_FDCWD, "second", O_RDONLY, 0); /* the same file, otherwise open */
	SHOW(submit(ring) == fd);
	SHOW(pwrite(fd, "no", 2, 0));
	SHOW(dup2(copy, fd) == fd);
	SHOW(pread(fd, bytes, 5, 0));
	show_bytes("dup2", bytes, 5);
	SHOW(close(fd));
	SHOW(close(copy));
}

/* Beside a ring: what is opened, read and written by calls, in the order of the ring's requests. */
static void beside(struct io_uring *ring) {
	char bytes[16] = {0};
	int fd = open("beside", O_RDWR | O_CREAT | O_TRUNC, 0644);
	SHOW(pwrite(fd, "0123456789", 10, 0));
	io_uring_prep_write(io_uring_get_sqe(ring), fd, "ring", 4, 2);
	SHOW(submit(ring));
	SHOW(pread(fd, bytes, 10, 0));
	show_bytes("beside", bytes, 10);
	SHOW(write(fd, "ab", 2)); /* by the position that the ring sees, too */
	io_uring_prep_write(io_uring_get_sqe(ring), fd, "cd", 2, -1);
	SHOW(submit(ring));
	SHOW(lseek(fd, 0, SEEK_CUR));
	io_uring_prep_fsync(io_uring_get_sqe(ring), fd, 0);
	SHOW(submit(ring));
	SHOW(fdatasync(fd));
	SHOW(ftruncate(fd, 7));
	io_uring_prep_read(io_uring_get_sqe(ring), fd, bytes, sizeof bytes, 0);
	SHOW(submit(ring));
	show_bytes("beside", bytes, 7);
	int directory = open(".", O_RDONLY | O_DIRECTORY);
	io_uring_prep_openat(io_uring_get_sqe(ring), directory, "beside", O_RDONLY, 0);
	int other = submit(ring);
	SHOW(other >= 0);
	SHOW(pread(other, bytes, 3, 4));
	show_bytes("by the directory", bytes, 3);
	SHOW(close(other));
	SHOW(close(directory));
	SHOW(close(fd));
	show_file("beside");
}
#endif

/* A ring's requests name descriptors of before; and open new ones. */
static void ring(void) {
#ifdef HAVE_URING
	struct io_uring ring;
	char bytes[8] = {0};
	make("ring", "0123456789");
	int before = open("ring", O_RDWR);
	SHOW(lseek(before, 2, SEEK_SET));
	if (io_uring_queue_init(8, &ring, 0) < 0) { /* not allowed here */
		puts("no ring");
		return;
	}
	io_uring_prep_read(io_uring_get_sqe(&ring), before, bytes, 3, -1);
	SHOW(submit(&ring));
	show_bytes("ring", bytes, 3);
	SHOW(lseek(before, 0, SEEK_CUR));
	io_uring_prep_write(io_uring_get_sqe(&ring), before, "RING", 4, 0);
	SHOW(submit(&ring));
	io_uring_prep_openat(io_uring_get_sqe(&ring), AT_FDCWD, "ring2", O_CREAT | O_WRONLY, 0644);
	int made = submit(&ring);
	SHOW(made >= 0);
	SHOW(write(made, "2", 1));
	SHOW(close(made));
	reused(&ring);
	beside(&ring);
	io_uring_queue_exit(&ring);
	show_file("ring");
	show_file("ring2");
	close(before);
#endif
}

/* Last: afterwards this process is elsewhere. */
static void roots(void) {
	mkdir("root", 0755);
	mkdir("root/etc", 0755);
	make("root/etc/name", "of the root");
	make("name", "outside");
	int outside = open(".", O_RDONLY | O_DIRECTORY);
	pid_t child = fork();
	if (child == 0) {
		char cwd[PATH_MAX];
		SHOW(chroot("root"));
		SHOW(chdir("/"));
		show_file("/etc/name");
		show_file("etc/name");
		SHOW(access("/../../name", F_OK));
		SHOW(access(top, F_OK));
		puts(getcwd(cwd, sizeof cwd));
		int fd = openat(outside, "name", O_RDONLY);
		SHOW(read(fd, cwd, 7));
		SHOW(fchdir(outside));
		show_file("name");
		fflush(stdout);
		_exit(0);
	}
	int status;
	waitpid(child, &status, 0);
	SHOW(status);
	SHOW(unshare(CLONE_FS));
	SHOW(chdir("root"));
	show_file("etc/name");
	SHOW(unshare(CLONE_NEWNS));
	show_file("../name");
	SHOW(chdir(top));
	show_file("name");
}

int main(int argc, char **argv) {
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	if (argc < 2 || chdir(argv[1]) < 0) return 2;
	top = argv[1];
	paths();
	of_proc();
	kinds_of_open();
	copying();
	numbers();
	kernel_aio();
	ring();
	fflush(stdout);
	roots();
	return 0;
}
