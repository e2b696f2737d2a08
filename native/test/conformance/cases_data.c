/* cases_data.c - what is in files. */
#include "cases.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <unistd.h>

void case_create_and_read(struct target *t)
{
	t_open(t, 0, "f", O_RDWR | O_CREAT | O_EXCL, 0640);
	t_fstat(t, 0);
	t_read(t, 0, 100, 0);
	t_write(t, 0, 1, 100, 0);
	t_read(t, 0, 100, 0);
	t_read(t, 0, 100, 50);
	t_read(t, 0, 100, 99);
	t_read(t, 0, 100, 100);
	t_read(t, 0, 100, 1 << 20);
	t_read(t, 0, 0, 0);
	t_write(t, 0, 1, 0, 5000);
	t_read(t, 0, 10, -1);
	t_write(t, 0, 1, 10, -1);
	t_fstat(t, 0);
	t_close(t, 0);
	t_stat(t, "f");
}

void case_open_flags(struct target *t)
{
	t_open(t, 0, "none", O_RDONLY, 0);
	t_open(t, 0, "f", O_WRONLY | O_CREAT, 0600);
	t_write(t, 0, 3, 5000, 0);
	t_read(t, 0, 10, 0);
	t_close(t, 0);
	t_open(t, 0, "f", O_RDWR | O_CREAT | O_EXCL, 0600);
	t_open(t, 0, "f", O_RDWR | O_CREAT, 0600);
	t_read(t, 0, 6000, 0);
	t_close(t, 0);
	t_open(t, 0, "f", O_RDONLY, 0);
	t_write(t, 0, 3, 10, 0);
	t_read(t, 0, 6000, 0);
	t_open(t, 1, "f", O_RDWR | O_TRUNC, 0);
	t_read(t, 0, 6000, 0);
	t_fstat(t, 1);
	t_close(t, 1);
	t_close(t, 0);
	t_mkdir(t, "d", 0755);
	t_open(t, 0, "d", O_RDWR, 0);
	t_open(t, 0, "d", O_RDWR | O_CREAT, 0644);
	t_open(t, 0, "f", O_RDONLY | O_DIRECTORY, 0);
	t_open(t, 0, "d", O_RDONLY | O_DIRECTORY, 0);
	t_read(t, 0, 10, 0);
	t_fsync(t, 0, false);
	t_fsync(t, 0, true);
	t_close(t, 0);
	t_open(t, 0, "none/f", O_RDWR | O_CREAT, 0600);
	t_open(t, 0, "f/f", O_RDWR | O_CREAT, 0600);
}

void case_read_and_write(struct target *t)
{
	static const size_t sizes[] = {1, 511, 512, 4095, 4096, 4097, 8192, 12345, 65536};
	size_t i, j;

	t_open(t, 0, "f", O_RDWR | O_CREAT, 0600);
	for (i = 0; i < 9; i++)
		for (j = 0; j < 9; j++) {
			t_write(t, 0, (int)(i * 9 + j), sizes[i], (off_t)sizes[j]);
			t_read(t, 0, 200000, 0);
			t_read(t, 0, sizes[j], (off_t)sizes[i] - 1);
		}
	t_fstat(t, 0);
	t_close(t, 0);
}

void case_vectors(struct target *t)
{
	t_open(t, 0, "f", O_RDWR | O_CREAT, 0600);
	t_writev(t, 0, 1, 100000, 1000, 0);
	t_writev(t, 0, 2, 8192, 100, 4096);
	t_writev(t, 0, 3, 40000, 4096, 8192);
	t_writev(t, 0, 4, 10, 1, 3);
	t_readv(t, 0, 100000, 777, 0);
	t_readv(t, 0, 100000, 4096, 100);
	t_readv(t, 0, 150, 1, 99950);
	t_readv(t, 0, 300000, 65536, 0);
	t_close(t, 0);
}

void case_append(struct target *t)
{
	int i;

	t_open(t, 0, "f", O_RDWR | O_CREAT, 0600);
	for (i = 0; i < 60; i++) {
		t_append(t, 0, i, (size_t)(i * 137 + 1));
		if (i % 10 == 3)
			t_read(t, 0, 300000, 0);
	}
	t_append(t, 0, 7, 300000);
	t_append(t, 0, 8, 5000000);
	t_fstat(t, 0);
	t_read(t, 0, 600000, 100);
	t_truncate(t, 0, 5000);
	t_append(t, 0, 8, 100);
	t_append(t, 0, 9, 4096);
	t_read(t, 0, 600000, 0);
	t_truncate(t, 0, 8192);
	t_append(t, 0, 8, 8192);
	t_read(t, 0, 600000, 0);
	t_close(t, 0);
}

void case_sparse(struct target *t)
{
	t_open(t, 0, "f", O_RDWR | O_CREAT, 0600);
	t_write(t, 0, 1, 10, 1000000);
	t_read(t, 0, 1000100, 0);
	t_write(t, 0, 2, 10, 500000);
	t_read(t, 0, 1000100, 0);
	t_write(t, 0, 3, 5000, (off_t)1 << 40);
	t_read(t, 0, 10000, ((off_t)1 << 40) - 5000);
	t_fstat(t, 0);
	t_truncate(t, 0, (off_t)1 << 35);
	t_read(t, 0, 10000, ((off_t)1 << 40) - 5000);
	t_write(t, 0, 4, 5000, ((off_t)1 << 40) + 3);
	t_read(t, 0, 20000, ((off_t)1 << 40) - 5000);
	t_close(t, 0);
}

/* What was cut off must not come back when the file grows again. */
void case_truncate_stale(struct target *t)
{
	static const off_t cuts[] = {0, 1, 4095, 4096, 4097, 10000, 16384, 20000};
	size_t i;

	t_open(t, 0, "f", O_RDWR | O_CREAT, 0600);
	for (i = 0; i < 8; i++) {
		t_write(t, 0, (int)i, 40000, 0);
		t_read(t, 0, 40000, 0);
		t_truncate(t, 0, cuts[i]);
		t_read(t, 0, 50000, 0);
		t_truncate(t, 0, 30000);
		t_read(t, 0, 50000, 0);
		t_truncate(t, 0, cuts[i]);
		t_write(t, 0, 99, 10, 35000);
		t_read(t, 0, 50000, 0);
		t_truncate(t, 0, cuts[i]);
		t_append(t, 0, 98, 3);
		t_truncate(t, 0, 25000);
		t_read(t, 0, 50000, 0);
	}
	t_close(t, 0);
}

void case_truncate_edges(struct target *t)
{
	t_open(t, 0, "f", O_RDWR | O_CREAT, 0600);
	t_truncate(t, 0, -1);
	t_truncate(t, 0, 100);
	t_fstat(t, 0);
	t_truncate(t, 0, INT64_MAX);
	t_fstat(t, 0);
	t_write(t, 0, 1, 100, INT64_MAX - 50);
	t_read(t, 0, 200, 0);
	t_close(t, 0);
}

void case_holes(struct target *t)
{
	t_open(t, 0, "f", O_RDWR | O_CREAT, 0600);
	t_write(t, 0, 1, 100000, 0);
	t_read(t, 0, 100000, 0);
	t_fallocate(t, 0, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5000, 20000);
	t_read(t, 0, 100000, 0);
	t_fallocate(t, 0, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 40960, 4096);
	t_read(t, 0, 100000, 0);
	t_fallocate(t, 0, FALLOC_FL_PUNCH_HOLE, 0, 4096);
	t_fallocate(t, 0, FALLOC_FL_ZERO_RANGE, 50000, 3000);
	t_read(t, 0, 100000, 0);
	t_fallocate(t, 0, 0, 0, 150000);
	t_fstat(t, 0);
	t_read(t, 0, 200000, 0);
	t_fallocate(t, 0, FALLOC_FL_KEEP_SIZE, 0, 300000);
	t_fstat(t, 0);
	t_fallocate(t, 0, 0, 0, 0);
	t_fallocate(t, 0, 0, -1, 10);
	t_fallocate(t, 0, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 140000, 100000);
	t_read(t, 0, 200000, 0);
	t_close(t, 0);
}

void case_move_ranges(struct target *t)
{
	t_open(t, 0, "f", O_RDWR | O_CREAT, 0600);
	t_write(t, 0, 1, 65536, 0);
	t_read(t, 0, 65536, 0);
	t_fallocate(t, 0, FALLOC_FL_COLLAPSE_RANGE, 8192, 4096);
	t_read(t, 0, 100000, 0);
	t_fallocate(t, 0, FALLOC_FL_INSERT_RANGE, 4096, 8192);
	t_read(t, 0, 100000, 0);
	t_fallocate(t, 0, FALLOC_FL_COLLAPSE_RANGE, 100, 4096);
	t_fstat(t, 0);
	t_close(t, 0);
}

void case_copy_ranges(struct target *t)
{
	t_open(t, 0, "a", O_RDWR | O_CREAT, 0600);
	t_open(t, 1, "b", O_RDWR | O_CREAT, 0600);
	t_write(t, 0, 1, 50000, 0);
	t_write(t, 1, 2, 70000, 0);
	t_read(t, 1, 70000, 0);
	t_copy(t, 0, 1000, 1, 5000, 30000);
	t_read(t, 1, 70000, 0);
	t_copy(t, 0, 49000, 1, 69000, 10000);
	t_read(t, 1, 100000, 0);
	t_copy(t, 0, 60000, 1, 0, 100);
	t_copy(t, 0, 0, 0, 60000, 20000);
	t_copy(t, 0, 0, 0, 100, 20000);
	t_read(t, 0, 100000, 0);
	t_fstat(t, 0);
	t_fstat(t, 1);
	t_close(t, 0);
	t_close(t, 1);
}

void case_unlinked_open(struct target *t)
{
	t_open(t, 0, "f", O_RDWR | O_CREAT, 0600);
	t_write(t, 0, 1, 10000, 0);
	t_unlink(t, "f");
	t_stat(t, "f");
	t_fstat(t, 0);
	t_read(t, 0, 10000, 0);
	t_write(t, 0, 2, 10000, 5000);
	t_read(t, 0, 20000, 0);
	t_open(t, 1, "f", O_RDWR | O_CREAT | O_EXCL, 0600);
	t_write(t, 1, 3, 100, 0);
	t_read(t, 0, 20000, 0);
	t_read(t, 1, 20000, 0);
	t_truncate(t, 0, 3);
	t_fsync(t, 0, false);
	t_fstat(t, 0);
	t_close(t, 0);
	t_read(t, 1, 100, 0);
	t_open(t, 0, "g", O_RDWR | O_CREAT, 0600);
	t_write(t, 0, 4, 50, 0);
	t_rename(t, "f", "g", 0);
	t_read(t, 0, 100, 0);
	t_fstat(t, 0);
	t_close(t, 0);
	t_close(t, 1);
	t_open(t, 0, "g", O_RDONLY, 0);
	t_read(t, 0, 100, 0);
	t_close(t, 0);
}

void case_tmpfiles(struct target *t)
{
	t_mkdir(t, "d", 0755);
	t_tmpfile(t, 0, "d", O_RDWR, 0640);
	t_fstat(t, 0);
	t_write(t, 0, 1, 5000, 0);
	t_read(t, 0, 6000, 0);
	t_list(t, "d");
	t_link_handle(t, 0, "d/kept");
	t_fstat(t, 0);
	t_close(t, 0);
	t_open(t, 0, "d/kept", O_RDONLY, 0);
	t_read(t, 0, 6000, 0);
	t_close(t, 0);
	t_tmpfile(t, 0, "d", O_RDWR | O_EXCL, 0600);
	t_link_handle(t, 0, "d/not");
	t_close(t, 0);
	t_tmpfile(t, 0, "d", O_RDONLY, 0600);
	t_list(t, "d");
}

void case_fsyncs(struct target *t)
{
	t_open(t, 0, "f", O_RDWR | O_CREAT, 0600);
	t_write(t, 0, 1, 5000, 0);
	t_fsync(t, 0, false);
	t_fsync(t, 0, true);
	t_close(t, 0);
	t_open(t, 0, "f", O_RDONLY, 0);
	t_fsync(t, 0, false);
	t_close(t, 0);
}

void case_large_calls(struct target *t)
{
	t_open(t, 0, "f", O_RDWR | O_CREAT, 0600);
	t_write(t, 0, 1, 4 << 20, 0);
	t_read(t, 0, 4 << 20, 0);
	t_write(t, 0, 2, (4 << 20) - 17, 11);
	t_read(t, 0, 5 << 20, 0);
	t_writev(t, 0, 3, 3 << 20, 40000, 8192);
	t_readv(t, 0, 5 << 20, 30000, 1);
	t_write(t, 0, 4, 300 * 4096, 4096);
	t_read(t, 0, 5 << 20, 0);
	t_close(t, 0);
}

static unsigned next(unsigned *state)
{
	*state = *state * 1103515245u + 12345u;
	return *state >> 8;
}

void case_random_data(struct target *t)
{
	unsigned state = 42, i;

	t_open(t, 0, "f", O_RDWR | O_CREAT, 0600);
	for (i = 0; i < 1500; i++) {
		off_t offset = next(&state) % 200000;
		size_t bytes = next(&state) % 20000;
		switch (next(&state) % 10) {
		case 0: t_truncate(t, 0, offset); break;
		case 1: t_append(t, 0, (int)i, bytes / 10); break;
		case 2: t_fallocate(t, 0, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, (off_t)bytes + 1); break;
		case 3: t_write(t, 0, (int)i, bytes & ~4095u, offset & ~4095); break;
		case 4: t_writev(t, 0, (int)i, bytes, 1000, offset); break;
		case 5: t_write(t, 0, (int)i, bytes, offset); break;
		case 6: t_copy(t, 0, offset, 0, (off_t)(next(&state) % 200000), bytes); break;
		default: t_read(t, 0, bytes, offset); break;
		}
		if (i % 100 == 0)
			t_fstat(t, 0);
	}
	t_read(t, 0, 400000, 0);
	t_close(t, 0);
}

void case_seek_data(struct target *t)
{
	t_open(t, 0, "f", O_RDWR | O_CREAT, 0600);
	t_write(t, 0, 1, 4096, 1 << 20);
	t_fsync(t, 0, false);
	t_seek(t, 0, 0, SEEK_HOLE);
	t_seek(t, 0, 0, SEEK_DATA);
	t_seek(t, 0, 1 << 20, SEEK_HOLE);
	t_seek(t, 0, (1 << 20) + 4096, SEEK_DATA);
	t_seek(t, 0, 1 << 21, SEEK_HOLE);
	t_seek(t, 0, -1, SEEK_DATA);
	t_close(t, 0);
}

/* Sequential, backward, strided and repeated: whatever reads ahead or evicts must not show. */
void case_overwrite_patterns(struct target *t)
{
	int i;

	t_open(t, 0, "f", O_RDWR | O_CREAT, 0600);
	for (i = 0; i < 400; i++)
		t_write(t, 0, i, 8000, i * 8000);
	for (i = 0; i < 400; i++)
		t_read(t, 0, 8000, i * 8000);
	for (i = 399; i >= 0; i -= 3)
		t_read(t, 0, 4096, i * 8000);
	for (i = 0; i < 300; i++)
		t_write(t, 0, i + 7, 4096, (i * 7 % 700) * 4096);
	for (i = 0; i < 800; i++)
		t_read(t, 0, 4000, i * 4000);
	t_close(t, 0);
}
