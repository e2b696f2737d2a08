/* cases_names.c - directories, links and renames. */
#include "cases.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static void touch(struct target *t, const char *path, int seed)
{
	t_open(t, 9, path, O_RDWR | O_CREAT, 0644);
	t_write(t, 9, seed, 10, 0);
	t_close(t, 9);
}

static void show(struct target *t, const char *path)
{
	t_stat(t, path);
	if (!t_open(t, 9, path, O_RDONLY, 0)) {
		t_read(t, 9, 20, 0);
		t_close(t, 9);
	}
}

void case_mkdir_rmdir(struct target *t)
{
	t_mkdir(t, "d", 0750);
	t_mkdir(t, "d", 0750);
	t_stat(t, "d");
	t_mkdir(t, "d/e", 01777);
	t_stat(t, "d/e");
	t_mkdir(t, "n/e", 0755);
	t_rmdir(t, "d");
	touch(t, "d/e/f", 1);
	t_rmdir(t, "d/e");
	t_rmdir(t, "d/e/f");
	t_unlink(t, "d/e");
	t_unlink(t, "d/e/f");
	t_rmdir(t, "d/e");
	t_stat(t, "d/e");
	t_mkdir(t, "d/e", 0700);
	t_stat(t, "d/e");
	t_list(t, "d");
	t_rmdir(t, "d/e");
	t_rmdir(t, "d");
	t_rmdir(t, "d");
	t_list(t, "");
}

void case_unlink_kinds(struct target *t)
{
	touch(t, "f", 1);
	t_symlink(t, "f", "s");
	t_mknod(t, "p", S_IFIFO | 0600, 0);
	t_unlink(t, "s");
	t_unlink(t, "p");
	t_stat(t, "f");
	t_unlink(t, "f");
	t_unlink(t, "f");
	t_unlink(t, "f/g");
	t_list(t, "");
}

void case_hard_links(struct target *t)
{
	touch(t, "a", 1);
	t_mkdir(t, "d", 0755);
	t_link(t, "a", "b");
	t_link(t, "a", "d/c");
	t_same(t, "a", "b");
	t_same(t, "a", "d/c");
	t_stat(t, "a");
	t_open(t, 0, "b", O_RDWR, 0);
	t_write(t, 0, 9, 20, 5);
	show(t, "a");
	show(t, "d/c");
	t_truncate(t, 0, 4);
	show(t, "d/c");
	t_link(t, "a", "b");
	t_link(t, "d", "e");
	t_link(t, "none", "e");
	t_unlink(t, "a");
	t_stat(t, "b");
	t_fstat(t, 0);
	show(t, "d/c");
	t_unlink(t, "b");
	t_unlink(t, "d/c");
	t_fstat(t, 0);
	t_link_handle(t, 0, "again");
	t_close(t, 0);
	t_stat(t, "again");
	t_symlink(t, "d", "s");
	t_link(t, "s", "s2");
	t_stat(t, "s2");
	t_same(t, "s", "s2");
}

void case_symlinks(struct target *t)
{
	char text[4096];

	t_mkdir(t, "d", 0755);
	touch(t, "d/f", 1);
	t_symlink(t, "d", "s");
	t_symlink(t, "s/none", "d/dangling");
	t_symlink(t, "loop", "loop");
	t_stat(t, "s");
	t_readlink(t, "s", 100);
	t_readlink(t, "s", 1);
	t_readlink(t, "d/dangling", 4096);
	t_readlink(t, "d", 100);
	t_readlink(t, "d/f", 100);
	t_stat(t, "s/f");
	t_open(t, 0, "s/f", O_RDONLY, 0);
	t_open(t, 0, "s", O_RDONLY, 0);
	t_open(t, 0, "loop", O_RDWR | O_CREAT, 0600);
	t_stat(t, "loop/x");
	t_mkdir(t, "s/e", 0755);
	t_mkdir(t, "s", 0755);
	t_symlink(t, "x", "s");
	t_rmdir(t, "s");
	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = 0;
	t_symlink(t, text, "longest");
	text[4094] = 0;
	t_symlink(t, text, "longer");
	t_readlink(t, "longest", 4096);
	t_readlink(t, "longer", 4096);
	t_symlink(t, "", "empty");
	t_list(t, "");
	t_unlink(t, "s");
	t_stat(t, "d/f");
}

void case_mknods(struct target *t)
{
	t_mknod(t, "p", S_IFIFO | 0640, 0);
	t_stat(t, "p");
	t_mknod(t, "r", S_IFREG | 0604, 0);
	t_stat(t, "r");
	t_mknod(t, "s", S_IFSOCK | 0600, 0);
	t_stat(t, "s");
	t_mknod(t, "p", S_IFIFO | 0640, 0);
	t_list(t, "");
	t_open(t, 0, "s", O_RDONLY, 0);
}

/* Every kind onto every kind. */
void case_rename_matrix(struct target *t)
{
	static const char *const kinds[] = {"none", "file", "empty", "full", "link"};
	char from[64], to[64], below[80];
	size_t i, j, side;

	for (i = 0; i < 5; i++)
		for (j = 0; j < 5; j++) {
			snprintf(from, sizeof from, "%s-%zu-%zu.from", kinds[i], i, j);
			snprintf(to, sizeof to, "%s-%zu-%zu.to", kinds[j], i, j);
			for (side = 0; side < 2; side++) {
				const char *path = side ? to : from;
				switch (side ? j : i) {
				case 1: touch(t, path, (int)(i * 10 + side)); break;
				case 2: t_mkdir(t, path, 0755); break;
				case 3:
					t_mkdir(t, path, 0755);
					snprintf(below, sizeof below, "%s/f", path);
					touch(t, below, (int)side);
					break;
				case 4: t_symlink(t, path, path); break;
				default: t_stat(t, path);
				}
			}
			t_rename(t, from, to, 0);
			t_stat(t, from);
			show(t, to);
			t_rename(t, to, to, 0);
			t_stat(t, to);
		}
	t_list(t, "");
}

void case_rename_flags(struct target *t)
{
	touch(t, "a", 1);
	touch(t, "b", 2);
	t_mkdir(t, "d", 0755);
	touch(t, "d/x", 3);
	t_rename(t, "a", "b", RENAME_NOREPLACE);
	show(t, "a");
	t_rename(t, "a", "c", RENAME_NOREPLACE);
	t_stat(t, "a");
	show(t, "c");
	t_rename(t, "b", "c", RENAME_EXCHANGE);
	show(t, "b");
	show(t, "c");
	t_rename(t, "b", "d", RENAME_EXCHANGE);
	show(t, "b/x");
	show(t, "d");
	t_stat(t, "d/x");
	t_rename(t, "b", "none", RENAME_EXCHANGE);
	t_rename(t, "b", "c", RENAME_EXCHANGE | RENAME_NOREPLACE);
	t_link(t, "c", "c2");
	t_rename(t, "c", "c2", 0);
	t_stat(t, "c");
	t_stat(t, "c2");
	t_list(t, "");
}

void case_rename_trees(struct target *t)
{
	t_mkdir(t, "a", 0755);
	t_mkdir(t, "a/b", 0755);
	t_mkdir(t, "a/b/c", 0755);
	touch(t, "a/b/c/f", 1);
	t_stat(t, "a/b/c/f");
	t_rename(t, "a", "a/b/x", 0);
	t_rename(t, "a/b", "a", 0);
	t_rename(t, "a/b", "z", 0);
	t_stat(t, "a/b/c/f");
	t_stat(t, "a/b");
	show(t, "z/c/f");
	t_mkdir(t, "a/b", 0700);
	t_stat(t, "a/b/c/f");
	touch(t, "a/b/c", 5);
	show(t, "a/b/c");
	t_stat(t, "a/b/c/f");
	t_rename(t, "z/c/f", "a/b/c", 0);
	show(t, "a/b/c");
	t_list(t, "z/c");
	t_parent_is(t, "z/c", "z");
	t_rename(t, "z/c", "a/c", 0);
	t_parent_is(t, "a/c", "a");
	t_rmdir(t, "a/c");
	t_list(t, "a");
}

static void long_path(char *path, size_t bytes)
{
	memset(path, 'n', bytes);
	path[bytes] = 0;
}

void case_long_names(struct target *t)
{
	char name[400], path[800];
	size_t lengths[] = {254, 255, 256, 300}, i;

	t_mkdir(t, "d", 0755);
	for (i = 0; i < 4; i++) {
		long_path(name, lengths[i]);
		t_stat(t, name);
		t_open(t, 0, name, O_RDWR | O_CREAT, 0600);
		if (t->nodes[0] || t->descriptors[0] >= 0)
			t_close(t, 0);
		t_stat(t, name);
		t_unlink(t, name);
		t_mkdir(t, name, 0755);
		snprintf(path, sizeof path, "%s/%s", name, name);
		t_mkdir(t, path, 0755);
		t_stat(t, path);
		t_rmdir(t, path);
		t_symlink(t, "x", path);
		t_unlink(t, path);
		t_mknod(t, path, S_IFIFO | 0600, 0);
		t_unlink(t, path);
		t_rename(t, "d", path, 0);
		t_rename(t, path, "d", 0);
		t_link(t, "d", path);
		t_rmdir(t, name);
	}
	snprintf(path, sizeof path, "none/%s", name);
	t_stat(t, path);
	t_list(t, "");
}

void case_not_directories(struct target *t)
{
	touch(t, "f", 1);
	t_mkdir(t, "d", 0755);
	t_stat(t, "f/x");
	t_stat(t, "f/x/y");
	t_stat(t, "d/x/y");
	t_stat(t, "d/x");
	t_mkdir(t, "f/x", 0755);
	t_rename(t, "f/x", "d/y", 0);
	t_rename(t, "f", "f/x", 0);
	t_rename(t, "d", "f/x", 0);
	t_symlink(t, "x", "f/x");
	t_link(t, "f", "f/x");
	t_rmdir(t, "f");
	t_list(t, "f");
	t_list(t, "none");
	t_readlink(t, "f/x", 10);
}

void case_odd_names(struct target *t)
{
	static const char *const names[] = {" ", "a b", "\t\n", "\x01\xff\xfe", "...", ".hidden", "-rf", "*", "\xc3\xa9\xe2\x82\xac", "~", "a\\b", "a:b"};
	size_t i;

	for (i = 0; i < sizeof names / sizeof names[0]; i++) {
		touch(t, names[i], (int)i);
		show(t, names[i]);
	}
	t_list(t, "");
	for (i = 0; i < sizeof names / sizeof names[0]; i++)
		t_unlink(t, names[i]);
	t_list(t, "");
}

void case_listing(struct target *t)
{
	char path[64];
	int i;

	t_mkdir(t, "d", 0755);
	t_list(t, "d");
	for (i = 0; i < 500; i++) {
		snprintf(path, sizeof path, "d/entry-with-a-longer-name-%d", i * 37 % 500);
		if (i % 3 == 0)
			t_mkdir(t, path, 0755);
		else if (i % 3 == 1)
			t_symlink(t, "x", path);
		else
			touch(t, path, i);
	}
	t_list(t, "d");
	for (i = 0; i < 500; i += 2) {
		snprintf(path, sizeof path, "d/entry-with-a-longer-name-%d", i);
		if (t_unlink(t, path))
			t_rmdir(t, path);
	}
	t_list(t, "d");
}

void case_dot_dot(struct target *t)
{
	t_mkdir(t, "a", 0755);
	t_mkdir(t, "a/b", 0755);
	t_parent_is(t, "a/b", "a");
	t_parent_is(t, "a", "");
	t_rename(t, "a/b", "b", 0);
	t_parent_is(t, "b", "");
	t_rmdir(t, "a");
	t_list(t, "b");
}

/* What was asked for in vain must be found once it is there, however it came. */
void case_negative_names(struct target *t)
{
	t_mkdir(t, "d", 0755);
	t_stat(t, "d/x");
	t_stat(t, "d/x/y");
	touch(t, "d/x", 1);
	t_stat(t, "d/x");
	t_stat(t, "d/y");
	t_rename(t, "d/x", "d/y", 0);
	t_stat(t, "d/x");
	t_stat(t, "d/y");
	t_link(t, "d/y", "d/x");
	t_stat(t, "d/x");
	t_stat(t, "d/s");
	t_symlink(t, "t", "d/s");
	t_stat(t, "d/s");
	t_stat(t, "d/e");
	t_mkdir(t, "d/e", 0755);
	t_stat(t, "d/e");
	t_stat(t, "d/e/f");
	t_unlink(t, "d/x");
	t_stat(t, "d/x");
	t_mknod(t, "d/x", S_IFIFO | 0600, 0);
	t_stat(t, "d/x");
	t_stat(t, "q/e/f");
	t_rename(t, "d", "q", 0);
	t_stat(t, "q/e");
	t_stat(t, "d/e");
	touch(t, "q/e/f", 3);
	t_stat(t, "q/e/f");
	t_tmpfile(t, 0, "q", O_RDWR, 0600);
	t_stat(t, "q/z");
	t_link_handle(t, 0, "q/z");
	t_stat(t, "q/z");
	t_close(t, 0);
}

void case_deep_paths(struct target *t)
{
	char path[1024] = "p";
	int i;

	t_mkdir(t, path, 0755);
	for (i = 0; i < 100; i++) {
		strcat(path, "/deeper");
		t_mkdir(t, path, 0755);
	}
	t_stat(t, path);
	strcat(path, "/f");
	touch(t, path, 1);
	show(t, path);
	t_rename(t, "p", "q", 0);
	t_stat(t, path);
	path[0] = 'q';
	show(t, path);
}
