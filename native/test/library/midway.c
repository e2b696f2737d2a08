/*
 * midway.c - a process forks at the very moment when one of its threads maps the cache: the child maps it too, as soon as nothing of its own is in the way. This program stands between the library
 * and the service, where the library asks for the cache's regions: it keeps the first to ask waiting and sends all others on.
 * usage: midway FILE DIRECTORY SOCKET   DIRECTORY: the library's pool directory, without regions.sock; SOCKET: the service's
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define READS 300 /* the library maps the cache at the seventeenth or so */
#define SECONDS 100

enum { PARENT, FORKED, FORKED_BY_NUMBER, IN_HANDLER, IN_HANDLER_TWICE, PROCESSES };
static const char *const names[] = {"parent", "forked by another thread", "forked by number", "forked by the thread itself", "and once more"};
/* How often each has the cache mapped, plus one: in the signal handler on top of the mapping, and in the end. */
static struct {
	_Atomic int inside, after;
} *seen;
static int self = PARENT, asked = -1, file;
static _Atomic bool enough;

static void need(bool holds, const char *what) {
	if (holds) return;
	perror(what);
	_exit(1);
}

static int mapped(void) {
	FILE *maps = fopen("/proc/self/maps", "r");
	need(maps, "maps");
	char line[512];
	int count = 1;
	while (fgets(line, sizeof line, maps)) count += strstr(line, "diciclo-cache") != NULL;
	fclose(maps);
	return count;
}

static void read_often(void) {
	for (int i = 0; i < READS; i++) {
		char data[4096];
		need(pread(file, data, sizeof data, 0) == sizeof data && data[0] == 'a' && data[sizeof data - 1] == 'a', "read");
	}
}

/* One of the first reads is held up, and returns in three processes. */
static void *reader(void *unused) {
	while (!atomic_load(&enough)) read_often();
	read_often();
	atomic_store(&seen[self].after, mapped());
	if (self != PARENT) _exit(0);
	return unused;
}

static void begin(int process) {
	self = process;
	alarm(SECONDS);
	close(asked); /* whoever asked hears no more only when every copy is closed */
}

static void forks(int number) {
	(void)number;
	if (fork() != 0) return;
	begin(fork() == 0 ? IN_HANDLER_TWICE : IN_HANDLER);
	read_often();
	atomic_store(&enough, true);
	atomic_store(&seen[self].inside, mapped());
}

static void fork_beside(int process) {
	pid_t child = process == FORKED_BY_NUMBER ? (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) : fork();
	if (child != 0) {
		waitpid(child, NULL, 0);
		return;
	}
	begin(process);
	read_often();
	atomic_store(&seen[self].after, mapped());
	_exit(0);
}

static int listen_at(const char *directory, struct sockaddr_un *address) {
	int listener = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	address->sun_family = AF_UNIX;
	snprintf(address->sun_path, sizeof address->sun_path, "%s/regions.sock", directory);
	need(bind(listener, (struct sockaddr *)address, sizeof *address) == 0 && listen(listener, 1) == 0, "listen");
	return listener;
}

static void await(_Atomic int *value) {
	while (!atomic_load(value)) usleep(1000);
}

int main(int argc, char **argv) {
	need(argc == 4, "usage");
	file = open(argv[1], O_RDONLY);
	seen = mmap(NULL, sizeof *seen * PROCESSES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct sockaddr_un address = {0};
	int listener = listen_at(argv[2], &address);
	signal(SIGUSR1, forks);
	alarm(SECONDS);
	pthread_t thread;
	pthread_create(&thread, NULL, reader, NULL);
	asked = accept(listener, NULL, NULL);
	need(asked >= 0 && unlink(address.sun_path) == 0 && symlink(argv[3], address.sun_path) == 0, "accept");
	fork_beside(FORKED);
	fork_beside(FORKED_BY_NUMBER);
	pthread_kill(thread, SIGUSR1);
	await(&seen[IN_HANDLER].inside);
	await(&seen[IN_HANDLER_TWICE].inside);
	atomic_store(&enough, true);
	close(asked);
	pthread_join(thread, NULL);
	await(&seen[IN_HANDLER].after);
	await(&seen[IN_HANDLER_TWICE].after);
	int wrong = 0;
	for (int i = 0; i < PROCESSES; i++) {
		bool right = seen[i].inside < 2 && seen[i].after > 1;
		printf("%s: mapped %d times%s\n", names[i], seen[i].after - 1, right ? "" : seen[i].inside > 1 ? ", and in the midst of the mapping: WRONG" : ": WRONG");
		wrong += !right;
	}
	return wrong != 0;
}
