/*
 * rights_test.c - set-id bits and file capabilities go with a change of the contents or the owner, as on the host: the kernel has left that to the door (FUSE_HANDLE_KILLPRIV_V2), and in
 * return does not ask for security.capability before each write.
 */
#include "suites.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/xattr.h>
#include <sys/wait.h>
#include <sys/xattr.h>

enum { WRITE, APPEND, TRUNCATE, FTRUNCATE, OPEN_TRUNC, ALLOCATE, COPY, CHOWN, CHGRP, CHMOD, ACTIONS };
static const char *const action_names[] = {"write", "append", "truncate", "ftruncate", "open-trunc", "fallocate", "copy", "chown", "chgrp", "chmod"};
static const mode_t modes[] = {0777, 04777, 02777, 06777, 06767, 06755};

static void act(unsigned action, const char *file, const char *source) {
	int fd = -1, from = -1;
	switch (action) {
	case WRITE: fd = open(file, O_WRONLY); if (fd >= 0 && pwrite(fd, "new", 3, 0) != 3) _exit(errno); break;
	case APPEND: fd = open(file, O_WRONLY | O_APPEND); if (fd >= 0 && write(fd, "new", 3) != 3) _exit(errno); break;
	case TRUNCATE: if (truncate(file, 2) && errno != EACCES) _exit(errno); break;
	case FTRUNCATE: fd = open(file, O_WRONLY); if (fd >= 0 && ftruncate(fd, 2)) _exit(errno); break;
	case OPEN_TRUNC: fd = open(file, O_WRONLY | O_TRUNC); break;
	case ALLOCATE: fd = open(file, O_WRONLY); if (fd >= 0 && fallocate(fd, 0, 0, 8192)) _exit(errno); break;
	case COPY: fd = open(file, O_WRONLY); from = open(source, O_RDONLY); if (fd >= 0 && copy_file_range(from, NULL, fd, NULL, 4, 0) != 4) _exit(errno); break;
	case CHOWN: if (chown(file, 7, (gid_t)-1) && errno != EPERM) _exit(errno); break;
	case CHGRP: if (chown(file, (uid_t)-1, 8) && errno != EPERM) _exit(errno); break;
	default: if (chmod(file, 06711) && errno != EPERM) _exit(errno); break;
	}
	if (fd >= 0) close(fd);
	if (from >= 0) close(from);
}

static void act_as(uid_t uid, unsigned action, const char *file, const char *source) {
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		if (uid && (setgid(uid) || setuid(uid))) _exit(8);
		act(action, file, source);
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	if (!WIFEXITED(status) || WEXITSTATUS(status)) fprintf(stderr, "  %s as %u: status %x\n", action_names[action], (unsigned)uid, (unsigned)status);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static const struct vfs_cap_data capability = {.magic_etc = VFS_CAP_REVISION_2, .data[0].permitted = 1u << CAP_NET_RAW};

static void prepare(const char *file, mode_t mode) {
	write_file(file, "old contents");
	CHECK(chown(file, 0, 0) == 0 && setxattr(file, XATTR_NAME_CAPS, &capability, XATTR_CAPS_SZ_2, 0) == 0 && chmod(file, mode) == 0);
}

/* After the kernel has seen a file without any of it, and remembers, the library puts the bits on. */
static void prepare_behind(const char *name, mode_t mode) {
	struct stat st;
	int fd = open(path(name), O_CREAT | O_RDWR, 0666);
	CHECK(fd >= 0 && fchmod(fd, 0777) == 0 && pwrite(fd, "old contents", 12, 0) == 12 && pwrite(fd, "old contents", 12, 0) == 12 && fstat(fd, &st) == 0);
	CHECK(pwrite(fd, "old contents", 12, 0) == 12 && close(fd) == 0);
	struct dc_node *node = stack_node(name);
	struct dc_cred cred = {0};
	struct dc_context context = {.cred = &cred};
	CHECK(DC_FILE_CALL(world.below, setxattr, &context, node, XATTR_NAME_CAPS, &capability, XATTR_CAPS_SZ_2, 0) == 0);
	dc_door_changed_attr(world.instance.door, node);
	stack_forget(node);
	change_mode(name, mode);
}

static void compare(const char *what, const char *name, bool of_root) {
	struct stat ours, host, under;
	CHECK(stat(path(name), &ours) == 0 && stat(oracle_path(name), &host) == 0 && stat(backing_path(name), &under) == 0);
	bool our_caps = getxattr(path(name), XATTR_NAME_CAPS, NULL, 0) >= 0, host_caps = getxattr(oracle_path(name), XATTR_NAME_CAPS, NULL, 0) >= 0;
	if (getenv("RIGHTS_VERBOSE")) fprintf(stderr, "  %s: %o %d\n", what, host.st_mode, host_caps);
	if (ours.st_mode == host.st_mode && under.st_mode == host.st_mode && our_caps == host_caps && ours.st_uid == host.st_uid && ours.st_gid == host.st_gid) return;
	fprintf(stderr, "  %s%s: mode %o, beneath %o, the host's %o; capability %d, the host's %d; size %ld, the host's %ld\n", what, of_root ? " by root" : "", ours.st_mode, under.st_mode, host.st_mode,
	        our_caps, host_caps, (long)ours.st_size, (long)host.st_size);
	fail(__FILE__, __LINE__, "rights differ");
}

static void every_action(bool behind) {
	char what[64];
	write_file(path("source"), "source");
	write_file(oracle_path("source"), "source");
	for (unsigned action = 0; action < ACTIONS; action++)
		for (unsigned i = 0; i < sizeof modes / sizeof *modes; i++)
			for (uid_t uid = 0; uid <= 1000; uid += 1000) {
				prepare(oracle_path("p"), modes[i]);
				if (behind) prepare_behind("p", modes[i]);
				else prepare(path("p"), modes[i]);
				act_as(uid, action, path("p"), path("source"));
				act_as(uid, action, oracle_path("p"), oracle_path("source"));
				snprintf(what, sizeof what, "%s of %o%s", action_names[action], modes[i], behind ? " set by the library" : "");
				compare(what, "p", uid == 0);
				CHECK(unlink(path("p")) == 0 && unlink(oracle_path("p")) == 0);
			}
}
void rights_killed(void) {
	every_action(false);
}
void rights_killed_behind(void) {
	every_action(true);
}

/* One question about capabilities per refreshed inode, not one per write. */
void rights_no_questions(void) {
	char data[4096] = {0};
	int fd = open(path("f"), O_CREAT | O_RDWR, 0644);
	CHECK(fd >= 0);
	uint64_t asked = carried(DC_COUNTED_getxattr), written = carried(DC_COUNTED_write);
	for (int i = 0; i < 100; i++) CHECK(pwrite(fd, data, sizeof data, 0) == sizeof data);
	for (int i = 0; i < 500 && carried(DC_COUNTED_write) - written < 100; i++) usleep(1000); /* counted after the answer */
	asked = carried(DC_COUNTED_getxattr) - asked;
	written = carried(DC_COUNTED_write) - written;
	if (written != 100 || asked > 2) fprintf(stderr, "  %lu writes, %lu questions\n", (unsigned long)written, (unsigned long)asked);
	CHECK(written == 100 && asked <= 2);
	CHECK(close(fd) == 0);
}

/* A caller of the file's group by a supplementary group may set its set-group-id bit, and keeps it, where no group may execute, when writing. */
static void as_member(const char *file) {
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		gid_t groups[] = {1234, 1235};
		int fd;
		if (setgroups(2, groups) || setgid(1000) || setuid(1000)) _exit(8);
		if ((fd = open(file, O_CREAT | O_RDWR, 0664)) < 0 || fchown(fd, (uid_t)-1, 1235) || fchmod(fd, 02775)) _exit(7);
		close(fd);
		struct stat st;
		if (stat(file, &st) || (st.st_mode & 07777) != 02775 || st.st_gid != 1235) _exit(6);
		if (chmod(file, 02765) || truncate(file, 3) || (fd = open(file, O_WRONLY)) < 0 || write(fd, "x", 1) != 1 || fallocate(fd, 0, 0, 9)) _exit(5);
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
void rights_groups(void) {
	CHECK(mkdir(path("d"), 0777) == 0 && chmod(path("d"), 0777) == 0 && mkdir(oracle_path("d"), 0777) == 0 && chmod(oracle_path("d"), 0777) == 0);
	as_member(path("d/g"));
	as_member(oracle_path("d/g"));
	compare("member of the group", "d/g", false);
}
