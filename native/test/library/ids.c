/*
 * ids.c - a process that changes its ids, its root or its stack in the middle. usage: ids DIRECTORY (as root)
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

static sigjmp_buf again;

static void leave(int number) { siglongjmp(again, 1); }

/* A handler that leaves by siglongjmp in the middle of calls, more often than there are slots. */
static void jumps(void) {
	signal(SIGALRM, leave);
	volatile int count = 0;
	int fd = open("jumps", O_CREAT | O_RDWR, 0644);
	struct itimerval timer = {.it_value = {0, 400}};
	if (sigsetjmp(again, 1)) count++;
	while (count < 300) {
		setitimer(ITIMER_REAL, &timer, NULL);
		for (int i = 0; i < 100000; i++) {
			char byte = 'x';
			if (pwrite(fd, &byte, 1, 0) < 0) perror("pwrite");
		}
	}
	struct itimerval off = {0};
	setitimer(ITIMER_REAL, &off, NULL);
	printf("jumps %d\n", count);
	close(fd);
}

int main(int argc, char **argv) {
	if (argc < 2 || chdir(argv[1]) < 0) return 2;
	char buffer[8] = {0};
	jumps();
	int fd = open("secret", O_CREAT | O_RDWR, 0600);
	if (write(fd, "secret", 6) != 6) return 1;
	mkdir("open", 0777);
	chmod("open", 0777);
	if (setgroups(0, NULL) || setresgid(1234, 1234, 1234) || setresuid(1234, 1234, 1234)) return 3;
	printf("%d\n", open("secret", O_RDONLY) < 0 ? errno : 0);
	printf("%d\n", fchmod(fd, 0666) < 0 ? errno : 0);
	printf("%ld %s\n", (long)pread(fd, buffer, 6, 0), buffer);
	printf("%ld\n", (long)lseek(fd, 0, SEEK_CUR));
	int mine = open("open/mine", O_CREAT | O_WRONLY, 0644);
	struct stat st;
	fstat(mine, &st);
	printf("%d %d %d\n", mine >= 0, (int)st.st_uid, (int)st.st_gid);
	printf("%d\n", mkdir("no", 0755) < 0 ? errno : 0);
	printf("%d\n", unlink("open/mine"));
	return 0;
}
