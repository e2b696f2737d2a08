/* cases_attributes.c - modes, owners, times and extended attributes. */
#include "cases.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

static void make(struct target *t, const char *path, mode_t mode)
{
	t_open(t, 9, path, O_RDWR | O_CREAT, mode);
	t_write(t, 9, 1, 10, 0);
	t_close(t, 9);
}

void case_modes(struct target *t)
{
	mode_t mode;

	for (mode = 0; mode < 010000; mode += 0111) {
		make(t, "f", mode);
		t_stat(t, "f");
		t_unlink(t, "f");
	}
	make(t, "f", 0644);
	t_chmod(t, "f", 07777);
	t_stat(t, "f");
	t_chmod(t, "f", 0);
	t_stat(t, "f");
	t_mkdir(t, "d", 02755);
	t_stat(t, "d");
	t_chmod(t, "d", 03711);
	t_stat(t, "d");
	t_symlink(t, "f", "s");
	t_chmod(t, "s", 0600);
	t_stat(t, "s");
	t_chmod(t, "none", 0600);
}

void case_times(struct target *t)
{
	const struct timespec early = {1000, 5}, late = {2000000000, 999999999}, before = {-1000, 0}, omit = {0, UTIME_OMIT};

	make(t, "f", 0600);
	t_set_times(t, "f", early, late);
	t_times(t, "f");
	t_set_times(t, "f", omit, early);
	t_times(t, "f");
	t_set_times(t, "f", before, omit);
	t_times(t, "f");
	t_set_times(t, "f", omit, omit);
	t_times(t, "f");
	t_open(t, 0, "f", O_RDWR, 0);
	t_set_times(t, "f", early, late);
	t_chmod(t, "f", 0640);
	t_times(t, "f"); /* a change of mode leaves them alone */
	t_link(t, "f", "g");
	t_times(t, "g");
	t_close(t, 0);
	t_mkdir(t, "d", 0755);
	t_set_times(t, "d", early, early);
	t_times(t, "d");
	t_symlink(t, "none", "s");
	t_set_times(t, "s", early, late);
	t_times(t, "s");
	t_set_times(t, "none", early, late);
}

void case_xattrs(struct target *t)
{
	make(t, "f", 0600);
	t_getxattr(t, "f", "user.a", 100);
	t_setxattr(t, "f", "user.a", "value", 5, 0);
	t_getxattr(t, "f", "user.a", 100);
	t_getxattr(t, "f", "user.a", 0);
	t_getxattr(t, "f", "user.a", 4);
	t_setxattr(t, "f", "user.a", "other", 5, XATTR_CREATE);
	t_setxattr(t, "f", "user.a", "longer value", 12, XATTR_REPLACE);
	t_setxattr(t, "f", "user.b", "x", 1, XATTR_REPLACE);
	t_setxattr(t, "f", "user.b", "", 0, XATTR_CREATE);
	t_getxattr(t, "f", "user.a", 100);
	t_getxattr(t, "f", "user.b", 100);
	t_listxattr(t, "f", 1000);
	t_listxattr(t, "f", 0);
	t_listxattr(t, "f", 3);
	t_removexattr(t, "f", "user.a");
	t_removexattr(t, "f", "user.a");
	t_listxattr(t, "f", 1000);
	t_mkdir(t, "d", 0755);
	t_setxattr(t, "d", "user.on.directory", "v", 1, 0);
	t_getxattr(t, "d", "user.on.directory", 10);
	t_symlink(t, "f", "s");
	t_setxattr(t, "s", "user.a", "v", 1, 0);
	t_getxattr(t, "s", "user.b", 10);
	t_setxattr(t, "none", "user.a", "v", 1, 0);
	t_link(t, "f", "g");
	t_getxattr(t, "g", "user.b", 10);
}

void case_xattr_limits(struct target *t)
{
	char name[400], *value = calloc(1, 70000);

	make(t, "f", 0600);
	t_setxattr(t, "f", "", "v", 1, 0);
	t_setxattr(t, "f", "user.", "v", 1, 0);
	t_setxattr(t, "f", "bogus.name", "v", 1, 0);
	t_setxattr(t, "f", "noprefix", "v", 1, 0);
	memset(name, 'n', sizeof name);
	memcpy(name, "user.", 5);
	name[255] = 0;
	t_setxattr(t, "f", name, "v", 1, 0);
	t_getxattr(t, "f", name, 10);
	name[255] = 'n';
	name[256] = 0;
	t_setxattr(t, "f", name, "v", 1, 0);
	t_setxattr(t, "f", "user.large", value, 65537, 0);
	t_setxattr(t, "f", "user.a", "v", 1, 77);
	free(value);
}

/* ---- as an unprivileged user: needs root on both sides ---------------------------------------------------------------------------------- */
#define USER 4242
#define GROUP 4243

void case_owners(struct target *t)
{
	t_mkdir(t, "d", 0777);
	t_chmod(t, "d", 0777);
	t_as(t, USER, GROUP);
	make(t, "d/f", 0644);
	t_stat(t, "d/f");
	t_mkdir(t, "d/e", 0755);
	t_stat(t, "d/e");
	t_symlink(t, "x", "d/s");
	t_stat(t, "d/s");
	t_mknod(t, "d/p", S_IFIFO | 0600, 0);
	t_stat(t, "d/p");
	t_mknod(t, "d/dev", S_IFCHR | 0600, 0x103);
	t_tmpfile(t, 0, "d", O_RDWR, 0600);
	t_fstat(t, 0);
	t_close(t, 0);
	t_as(t, 0, 0);
	t_chown(t, "d/f", 5, 6);
	t_stat(t, "d/f");
	t_chown(t, "d/f", (uid_t)-1, 7);
	t_stat(t, "d/f");
	t_chown(t, "d/f", 8, (gid_t)-1);
	t_stat(t, "d/f");
	t_chown(t, "d/s", 5, 6);
	t_stat(t, "d/s");
}

void case_setgid_directories(struct target *t)
{
	t_mkdir(t, "d", 0777);
	t_chown(t, "d", 0, 555);
	t_chmod(t, "d", 02777);
	t_stat(t, "d");
	make(t, "d/root", 0644);
	t_stat(t, "d/root");
	t_as(t, USER, GROUP);
	make(t, "d/f", 0644);
	t_stat(t, "d/f");
	make(t, "d/g", 02775);
	t_stat(t, "d/g");
	make(t, "d/u", 04755);
	t_stat(t, "d/u");
	t_mkdir(t, "d/e", 0755);
	t_stat(t, "d/e");
	t_mkdir(t, "d/e/deeper", 0755);
	t_stat(t, "d/e/deeper");
	t_as(t, 0, 0);
}

void case_set_id_bits(struct target *t)
{
	static const mode_t modes[] = {04755, 02755, 06755, 02644, 06644, 04644};
	size_t i;

	for (i = 0; i < 6; i++) {
		make(t, "f", 0666);
		t_chown(t, "f", USER, GROUP);
		t_chmod(t, "f", modes[i] | 0666);
		t_open(t, 0, "f", O_RDWR, 0);
		t_write(t, 0, 1, 10, 0); /* root keeps them */
		t_fstat(t, 0);
		t_as(t, USER, GROUP);
		t_write(t, 0, 1, 10, 0);
		t_fstat(t, 0);
		t_as(t, 0, 0);
		t_chmod(t, "f", modes[i] | 0666);
		t_fstat(t, 0);
		t_as(t, USER, GROUP);
		t_truncate(t, 0, 5);
		t_fstat(t, 0);
		t_as(t, 0, 0);
		t_chmod(t, "f", modes[i] | 0666);
		t_chown(t, "f", USER, GROUP + 1);
		t_fstat(t, 0);
		t_as(t, USER, GROUP);
		t_chmod(t, "f", 02755); /* not of the file's group */
		t_fstat(t, 0);
		t_as(t, 0, 0);
		t_close(t, 0);
		t_unlink(t, "f");
	}
}

void case_xattr_privilege(struct target *t)
{
	make(t, "f", 0666);
	t_chmod(t, "f", 0666);
	t_setxattr(t, "f", "trusted.a", "v", 1, 0);
	t_getxattr(t, "f", "trusted.a", 10);
	t_as(t, USER, GROUP);
	t_getxattr(t, "f", "trusted.a", 10);
	t_setxattr(t, "f", "trusted.b", "v", 1, 0);
	t_setxattr(t, "f", "user.b", "v", 1, 0);
	t_removexattr(t, "f", "trusted.a");
	t_as(t, 0, 0);
	t_getxattr(t, "f", "trusted.a", 10);
}
