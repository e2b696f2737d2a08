/* posix_test.c - the door against the host filesystem: the same calls on both, the same answers, the same tree. */
#include "suites.h"

#include <dirent.h>
#include <ftw.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>

/* ---- random differential -------------------------------------------------------------------------------------------------- */
static uint64_t seed = 0x9e3779b97f4a7c15u;
static unsigned dice(unsigned sides) {
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)(seed >> 33) % sides;
}

struct pick { char name[64]; };
static struct pick pick_name(void) {
	struct pick pick;
	static const char *const directories[] = {"", "d0/", "d1/", "d0/e/"};
	snprintf(pick.name, sizeof pick.name, "%s%s%u", directories[dice(4)], dice(3) ? "f" : "d", dice(6));
	return pick;
}

struct answer { long result; int error; uint64_t detail; };

static uint64_t checksum(const void *data, size_t length) {
	uint64_t sum = 1469598103934665603u;
	for (size_t i = 0; i < length; i++) sum = (sum ^ ((const unsigned char *)data)[i]) * 1099511628211u;
	return sum;
}

static uint64_t stat_detail(const char *full) {
	struct stat st;
	if (lstat(full, &st)) return 0;
	return st.st_mode ^ (uint64_t)(S_ISDIR(st.st_mode) ? 0 : st.st_size) << 20 ^ (uint64_t)st.st_nlink << 52 ^ (uint64_t)st.st_uid << 40;
}

/* One action with fixed arguments on one of the trees. */
struct action { unsigned kind; struct pick a, b; unsigned n, m; };
static struct answer act(const char *root, const struct action *action) {
	char a[256], b[256];
	struct answer answer = {0};
	static const int open_flags[] = {O_RDWR | O_CREAT, O_RDWR | O_CREAT | O_EXCL, O_RDWR | O_CREAT | O_TRUNC, O_WRONLY | O_APPEND | O_CREAT, O_RDONLY, O_RDWR, O_WRONLY | O_TRUNC, O_RDONLY | O_DIRECTORY};
	snprintf(a, sizeof a, "%s/%s", root, action->a.name);
	snprintf(b, sizeof b, "%s/%s", root, action->b.name);
	errno = 0;
	switch (action->kind) {
	case 0: case 1: case 2: {
		int flags = open_flags[action->n % 8], fd = open(a, flags | O_NONBLOCK, 0600 | (action->m & 077));
		answer.result = fd < 0 ? -1 : 0;
		if (fd < 0) break;
		char data[9000];
		memset(data, 'a' + (int)(action->m % 26), sizeof data);
		if ((flags & O_ACCMODE) != O_RDONLY) answer.detail = (uint64_t)pwrite(fd, data, action->m % sizeof data, (off_t)(action->n * 37 % 20000));
		static char back[65536];
		if ((flags & O_ACCMODE) != O_WRONLY && !(flags & O_DIRECTORY)) {
			ssize_t got = pread(fd, back, sizeof back, 0);
			answer.detail ^= got < 0 ? (uint64_t)-errno : checksum(back, (size_t)got);
		}
		close(fd);
		errno = 0;
		break;
	}
	case 3: answer.result = mkdir(a, 0700 | (action->m & 077)); break;
	case 4: answer.result = unlink(a); break;
	case 5: answer.result = rmdir(a); break;
	case 6: answer.result = rename(a, b); break;
	case 7: answer.result = link(a, b); break;
	case 8: answer.result = symlink(action->b.name, a); break;
	case 9: answer.result = truncate(a, (off_t)(action->n % 30000)); break;
	case 10: answer.result = chmod(a, action->m & 07777); break;
	case 11: answer.result = lchown(a, (uid_t)(action->m % 4), (gid_t)(action->n % 4)); break;
	case 12: answer.result = renameat2(AT_FDCWD, a, AT_FDCWD, b, dice(2) ? RENAME_NOREPLACE : RENAME_EXCHANGE); break;
	case 13: { char text[256]; answer.result = readlink(a, text, sizeof text); if (answer.result > 0) answer.detail = checksum(text, (size_t)answer.result); break; }
	case 14: answer.result = setxattr(a, "user.x", &action->m, sizeof action->m, (int)(action->n % 3)); break;
	case 15: { unsigned value = 0; answer.result = getxattr(a, "user.x", &value, sizeof value); answer.detail = value; break; }
	case 16: answer.result = removexattr(a, "user.x"); break;
	case 17: { struct timespec times[2] = {{(time_t)action->n, action->m}, {(time_t)action->m, action->n}}; answer.result = utimensat(AT_FDCWD, a, times, AT_SYMLINK_NOFOLLOW);
		struct stat st; if (!lstat(a, &st)) answer.detail = (uint64_t)st.st_mtim.tv_nsec ^ (uint64_t)st.st_atim.tv_sec << 32; break; }
	case 18: { struct stat st; answer.result = stat(a, &st); break; }
	default: answer.result = mknod(a, (action->n & 1 ? S_IFIFO : S_IFREG) | 0640, 0); break;
	}
	answer.error = answer.result < 0 ? errno : 0;
	answer.detail ^= stat_detail(a) ^ stat_detail(b) * 3;
	return answer;
}

static int entries_other;
static const char *compare_root, *compare_with;
static int compare_one(const char *name, const struct stat *st, int type, struct FTW *state) {
	(void)type, (void)state;
	char other[512];
	struct stat other_st;
	snprintf(other, sizeof other, "%s%s", compare_with, name + strlen(compare_root));
	entries_other++;
	if (lstat(other, &other_st)) return 1;
	if (st->st_mode != other_st.st_mode || st->st_nlink != other_st.st_nlink || st->st_uid != other_st.st_uid || (!S_ISDIR(st->st_mode) && st->st_size != other_st.st_size)) {
		fprintf(stderr, "  %s: mode %o/%o links %lu/%lu size %ld/%ld\n", name, st->st_mode, other_st.st_mode, (long)st->st_nlink, (long)other_st.st_nlink, (long)st->st_size, (long)other_st.st_size);
		return 1;
	}
	if (S_ISREG(st->st_mode)) {
		char *copy = strdup(read_file(name));
		int differ = strcmp(copy, read_file(other));
		free(copy);
		return differ ? 1 : 0;
	}
	return 0;
}
static void compare_trees(const char *a, const char *b) {
	int counts[2] = {0};
	for (int turn = 0; turn < 2; turn++) {
		compare_root = turn ? b : a;
		compare_with = turn ? a : b;
		entries_other = 0;
		CHECK(nftw(compare_root, compare_one, 32, FTW_PHYS) == 0);
		counts[turn] = entries_other;
	}
	CHECK(counts[0] == counts[1]);
}

void posix_differential(void) {
	for (unsigned round = 0; round < 12000; round++) {
		struct action action = {dice(20), pick_name(), pick_name(), dice(1u << 20), dice(1u << 20)};
		uint64_t keep = seed;
		struct answer ours = act(world.mount, &action);
		seed = keep;
		struct answer theirs = act(world.oracle, &action);
		if (ours.result != theirs.result || ours.error != theirs.error || ours.detail != theirs.detail) {
			fprintf(stderr, "  round %u kind %u %s %s n=%u m=%u: ours %ld %s %lx, the host's %ld %s %lx\n", round, action.kind, action.a.name, action.b.name, action.n, action.m, ours.result,
			        strerror(ours.error), (long)ours.detail, theirs.result, strerror(theirs.error), (long)theirs.detail);
			fail(__FILE__, __LINE__, "the doors differ");
		}
		if (round == 4) mkdir(path("d0"), 0755), mkdir(oracle_path("d0"), 0755), mkdir(path("d0/e"), 0755), mkdir(oracle_path("d0/e"), 0755), mkdir(path("d1"), 0755), mkdir(oracle_path("d1"), 0755);
	}
	compare_trees(world.mount, world.oracle);
	compare_trees(world.backing, world.oracle);
}

/* ---- single points -------------------------------------------------------------------------------------------------------- */
void posix_names(void) {
	char longest[300];
	memset(longest, 'n', sizeof longest);
	longest[255] = 0;
	write_file(path(longest), "x");
	CHECK(!strcmp(read_file(path(longest)), "x"));
	longest[255] = 'n', longest[256] = 0;
	CHECK_ERRNO(open(path(longest), O_CREAT | O_RDWR, 0600), ENAMETOOLONG);
	CHECK_ERRNO(mkdir(path(".diciclo-handle-0000000000000001"), 0700), EPERM);
	CHECK_ERRNO(open(path(".diciclo-handle-00000000000000ff"), O_RDONLY), ENOENT);
	CHECK_ERRNO(open(path("missing/x"), O_RDONLY), ENOENT);
	write_file(path("f"), "x");
	CHECK_ERRNO(open(path("f/x"), O_RDONLY), ENOTDIR);
	struct statvfs ours, theirs;
	CHECK(statvfs(world.mount, &ours) == 0 && statvfs(world.backing, &theirs) == 0);
	CHECK(ours.f_bsize == theirs.f_bsize && ours.f_blocks == theirs.f_blocks);
	CHECK(mkdir(path("mmm"), 0755) == 0);
	struct stat a, b;
	CHECK(stat(path("mmm/.."), &a) == 0 && stat(world.mount, &b) == 0 && a.st_ino == b.st_ino);
}

void posix_unlinked(void) {
	write_file(path("u"), "still here");
	int fd = open(path("u"), O_RDWR);
	struct stat st;
	CHECK(fd >= 0 && unlink(path("u")) == 0);
	CHECK_ERRNO(stat(path("u"), &st), ENOENT);
	write_file(path("u"), "another");
	char text[32] = {0};
	CHECK(pread(fd, text, sizeof text, 0) == 10 && !strcmp(text, "still here"));
	CHECK(pwrite(fd, "more", 4, 10) == 4);
	CHECK(fstat(fd, &st) == 0 && st.st_size == 14 && st.st_nlink == 0);
	CHECK(ftruncate(fd, 3) == 0 && fstat(fd, &st) == 0 && st.st_size == 3);
	CHECK(fsync(fd) == 0 && close(fd) == 0);
	CHECK(!strcmp(read_file(path("u")), "another"));
}

void posix_tmpfile(void) {
	int fd = open(world.mount, O_TMPFILE | O_RDWR, 0600);
	if (fd < 0 && errno == EOPNOTSUPP) return; /* a kernel before 6.2 */
	CHECK(fd >= 0);
	CHECK(write(fd, "abc", 3) == 3);
	struct stat st;
	CHECK(fstat(fd, &st) == 0 && st.st_size == 3 && st.st_nlink == 0);
	char proc[64];
	snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
	CHECK(linkat(AT_FDCWD, proc, AT_FDCWD, path("named"), AT_SYMLINK_FOLLOW) == 0);
	CHECK(close(fd) == 0);
	CHECK(!strcmp(read_file(path("named")), "abc"));
}

void posix_mmap(void) {
	write_file(path("m"), "0123456789");
	CHECK(truncate(path("m"), 8192) == 0);
	int fd = open(path("m"), O_RDWR);
	char *map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED && errno == ENODEV && !world.instance.door->cache && !(world.instance.door->kernel_flags & DOOR_INIT_DIRECT_IO_ALLOW_MMAP)) return; /* before Linux 6.6 */
	CHECK(map != MAP_FAILED);
	CHECK(!memcmp(map, "0123456789", 10));
	map[5000] = 'z';
	CHECK(msync(map, 8192, MS_SYNC) == 0);
	char one = 0;
	int back = open(backing_path("m"), O_RDONLY);
	CHECK(pread(back, &one, 1, 5000) == 1 && one == 'z');
	change_write("m", 4, "CHANGED"); /* by the library: a map sees it */
	CHECK(!memcmp(map, "0123CHANGED", 11));
	map[6000] = 'y';                  /* dirty while the other door writes another page (within one page the map's would win: docs/doors.md) */
	change_write("m", 100, "lib");
	CHECK(map[6000] == 'y' && !memcmp(map + 100, "lib", 3));
	/* Door and application are one process here: munmap would wait for dirty pages under the address space's lock, which the door may need to serve them. */
	CHECK(msync(map, 8192, MS_SYNC) == 0 && munmap(map, 8192) == 0 && close(fd) == 0);
	CHECK(pread(back, &one, 1, 6000) == 1 && one == 'y');
	close(back);
}

void posix_readdir(void) {
	CHECK(mkdir(path("big"), 0755) == 0);
	enum { FILES = 1500 };
	for (int i = 0; i < FILES; i++) {
		char name[64];
		snprintf(name, sizeof name, "big/%s%d", i % 7 ? "entry-" : "a-much-longer-name-of-an-entry-", i);
		int fd = open(path(name), O_CREAT | O_WRONLY, 0644);
		CHECK(fd >= 0 && close(fd) == 0);
	}
	for (int pass = 0; pass < 3; pass++) {
		DIR *directory = opendir(path("big"));
		CHECK(directory);
		int count = 0, special = 0;
		struct dirent *entry;
		while ((entry = readdir(directory))) {
			struct stat st;
			if (entry->d_name[0] == '.') special++;
			else count++;
			CHECK(entry->d_type == (entry->d_name[0] == '.' ? DT_DIR : DT_REG));
			if (pass == 1 && entry->d_name[0] != '.') CHECK(fstatat(dirfd(directory), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino == entry->d_ino);
		}
		CHECK(count == FILES && special == 2);
		closedir(directory);
	}
	/* Removing while reading loses nothing else. */
	DIR *directory = opendir(path("big"));
	struct dirent *entry;
	int removed = 0;
	while ((entry = readdir(directory)))
		if (entry->d_name[0] != '.') CHECK(unlinkat(dirfd(directory), entry->d_name, 0) == 0), removed++;
	closedir(directory);
	CHECK(removed == FILES && rmdir(path("big")) == 0);
}

void posix_io(void) {
	int fd = open(path("io"), O_CREAT | O_RDWR, 0644);
	enum { SIZE = 5 << 20 };
	char *data = malloc(SIZE), *back = malloc(SIZE);
	for (int i = 0; i < SIZE; i++) data[i] = (char)(i * 7 + i / 4096);
	CHECK(pwrite(fd, data, SIZE, 0) == SIZE);
	CHECK(pread(fd, back, SIZE, 0) == SIZE && !memcmp(data, back, SIZE));
	CHECK(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0);
	CHECK(pread(fd, back, SIZE, 0) == SIZE && !memcmp(data, back, SIZE));
	CHECK(pread(fd, back, 100, SIZE - 50) == 50 && pread(fd, back, 100, SIZE) == 0);
	CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192, 8192) == 0 || errno == EOPNOTSUPP);
	CHECK(fallocate(fd, 0, SIZE, 100000) == 0);
	struct stat st;
	CHECK(fstat(fd, &st) == 0 && st.st_size == SIZE + 100000);
	CHECK(lseek(fd, 0, SEEK_HOLE) > 0 && lseek(fd, 0, SEEK_DATA) == 0);
	int to = open(path("copy"), O_CREAT | O_RDWR, 0644);
	off_t from_offset = 100, to_offset = 5;
	CHECK(copy_file_range(fd, &from_offset, to, &to_offset, 10000, 0) == 10000);
	CHECK(pread(to, back, 10000, 5) == 10000);
	CHECK(pread(fd, data, 10000, 100) == 10000 && !memcmp(data, back, 10000));
	int direct = open(path("io"), O_RDONLY | O_DIRECT);
	void *aligned;
	CHECK(posix_memalign(&aligned, 4096, 65536) == 0);
	CHECK(direct >= 0 && pread(direct, aligned, 65536, 65536) == 65536 && pread(fd, back, 65536, 65536) == 65536 && !memcmp(aligned, back, 65536));
	CHECK(flock(fd, LOCK_EX) == 0 && flock(direct, LOCK_EX | LOCK_NB) == -1);
	CHECK(fsync(fd) == 0 && fdatasync(to) == 0);
	free(aligned);
	free(data);
	free(back);
	close(direct);
	close(fd);
	close(to);
}

void posix_rights(void) {
	CHECK(mkdir(path("open"), 01777) == 0 && chmod(path("open"), 01777) == 0);
	CHECK(mkdir(path("group"), 0777) == 0 && chown(path("group"), 0, 1234) == 0 && chmod(path("group"), 02777) == 0);
	write_file(path("secret"), "s");
	write_file(path("setid"), "s");
	CHECK(chmod(path("secret"), 0600) == 0 && chmod(path("setid"), 06777) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		struct stat st;
		CHECK(setgid(1000) == 0 && setuid(1000) == 0);
		umask(027);
		CHECK_ERRNO(open(path("secret"), O_RDONLY), EACCES);
		CHECK_ERRNO(open(path("new"), O_CREAT | O_RDWR, 0644), EACCES);
		CHECK_ERRNO(unlink(path("secret")), EACCES);
		write_file(path("open/mine"), "m");
		CHECK(stat(path("open/mine"), &st) == 0 && st.st_uid == 1000 && st.st_gid == 1000 && (st.st_mode & 07777) == 0640);
		write_file(path("group/mine"), "m");
		CHECK(stat(path("group/mine"), &st) == 0 && st.st_uid == 1000 && st.st_gid == 1234);
		CHECK(mkdir(path("group/sub"), 0755) == 0 && stat(path("group/sub"), &st) == 0 && st.st_gid == 1234 && (st.st_mode & S_ISGID));
		int fd = open(path("setid"), O_WRONLY);
		CHECK(fd >= 0 && write(fd, "t", 1) == 1 && fstat(fd, &st) == 0 && (st.st_mode & 06000) == 0);
		fd = open(path("open/readonly"), O_CREAT | O_RDWR, 0400); /* its maker may write */
		CHECK(fd >= 0 && write(fd, "t", 1) == 1);
		CHECK_ERRNO(open(path("open/readonly"), O_WRONLY), EACCES);
		_exit(0);
	}
	int status;
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
	struct stat st;
	CHECK(chmod(path("setid"), 06755) == 0 && chown(path("setid"), 5, 6) == 0 && stat(path("setid"), &st) == 0 && (st.st_mode & 07777) == 0755);
}

/* An open and close of what the kernel knows cost no request; nor do repeated reads, stats, listings and misses. */
void posix_no_requests(void) {
	write_file(path("known"), "text");
	struct stat st;
	CHECK(!strcmp(read_file(path("known")), "text") && stat(path("known"), &st) == 0);
	CHECK_ERRNO(stat(path("unknown"), &st), ENOENT);
	for (int pass = 0; pass < 2; pass++) { /* plus first, then the cached listing */
		DIR *directory = opendir(world.mount);
		while (readdir(directory)) continue;
		closedir(directory);
	}
	uint64_t before = 0, after = 0;
	for (unsigned i = 0; i < DC_COUNTED_COUNT; i++) before += carried((enum dc_counted)i);
	for (int i = 0; i < 100; i++) {
		CHECK(!strcmp(read_file(path("known")), "text") && stat(path("known"), &st) == 0);
		CHECK_ERRNO(stat(path("unknown"), &st), ENOENT);
		DIR *directory = opendir(world.mount);
		while (readdir(directory)) continue;
		closedir(directory);
	}
	for (unsigned i = 0; i < DC_COUNTED_COUNT; i++) after += carried((enum dc_counted)i);
	if (after - before > 2) fprintf(stderr, "  %lu requests for 100 rounds\n", (unsigned long)(after - before));
	CHECK(after - before <= 2);
}
