/*
 * door.c - linked statically, so that it uses the kernel door whatever is preloaded: the other party in tests of what both doors must agree on.
 * usage: door lock|flock|ofd FILE      0: got the lock, 1: somebody has it
 *        door append FILE COUNT        writes COUNT lines with O_APPEND
 *        door read FD | door seek FD N  of an inherited descriptor
 *        door cat FILE
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static int cat(int fd, size_t most) {
	char bytes[4096];
	ssize_t got = read(fd, bytes, most < sizeof bytes ? most : sizeof bytes);
	if (got < 0) perror("read");
	else if (write(1, bytes, (size_t)got) < 0) return 3;
	return got < 0;
}

int main(int argc, char **argv) {
	if (argc < 3) return 2;
	const char *what = argv[1];
	int number = argc > 3 ? atoi(argv[3]) : 0;
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	if (!strcmp(what, "read")) return cat(atoi(argv[2]), 4);
	if (!strcmp(what, "seek")) return lseek(atoi(argv[2]), number, SEEK_SET) != number;
	int fd = open(argv[2], !strcmp(what, "append") ? O_WRONLY | O_APPEND : O_RDWR);
	if (fd < 0) {
		perror(argv[2]);
		return 3;
	}
	if (!strcmp(what, "cat")) return cat(fd, 4096);
	if (!strcmp(what, "lock")) return fcntl(fd, F_SETLK, &lock) < 0;
	if (!strcmp(what, "ofd")) return fcntl(fd, F_OFD_SETLK, &lock) < 0;
	if (!strcmp(what, "flock")) return flock(fd, LOCK_EX | LOCK_NB) < 0;
	for (int i = 0; i < number; i++)
		if (write(fd, "kernel door\n", 12) != 12) return 4;
	return 0;
}
