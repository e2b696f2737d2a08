/*
 * answer.c - the library's end of attach.sock: an answer of any content with any descriptors. A thread plays pool-init.
 */
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "client.h"
#include "ground.h"
#include "queue.h"

static int listener, files[6];
static struct bytes input;
static sem_t ready;
#define SOCKET "/mnt/attach.sock"

static void answer(int fd) {
	unsigned char text[256];
	struct dc_attach_answer proper = {.magic = DC_ATTACH_MAGIC, .client = 1, .generation = 1, .queue_size = sizeof(struct dc_queue), .arena_size = DC_ARENA_SIZE, .epoch = 1};
	unsigned count = (unsigned)take_number(&input, 1) % 5, used = 0;
	int descriptors[4];
	for (; used < count; used++) descriptors[used] = files[take_number(&input, 1) % 6];
	size_t size = sizeof proper;
	memcpy(text, &proper, size);
	while (input.at < input.end) text[take_number(&input, 1) % sizeof text] = (unsigned char)take_number(&input, 1);
	if (text[250] & 1) size = text[251];
	char space[CMSG_SPACE(sizeof descriptors)] = {0};
	struct iovec iov = {text, size};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	if (count) {
		message.msg_control = space;
		message.msg_controllen = CMSG_SPACE(count * sizeof(int));
		*CMSG_FIRSTHDR(&message) = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(count * sizeof(int))};
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), descriptors, count * sizeof(int));
	}
	sendmsg(fd, &message, MSG_NOSIGNAL);
}

static void *pool_init(void *unused) {
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		if (fd < 0) continue;
		answer(fd);
		close(fd);
		sem_post(&ready);
	}
	return unused;
}

static int file(size_t size, bool arena, bool queue) {
	int fd = memfd_create("given", MFD_CLOEXEC);
	struct dc_arena header = {.magic = DC_ARENA_MAGIC, .version = DC_LAYOUT_VERSION};
	if (ftruncate(fd, (off_t)size) || (arena && pwrite(fd, &header, 32, 0) != 32)) abort();
	if (queue) dc_queue_init(mmap(NULL, sizeof(struct dc_queue), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), 1, 0);
	return fd;
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
	(void)argc, (void)argv;
	fuzz_directory();
	files[0] = file(DC_ARENA_SIZE, true, false);
	files[1] = file(sizeof(struct dc_queue), false, true);
	files[2] = file(0, false, false);
	files[3] = file(100, false, false);
	files[4] = open("/dev/null", O_RDWR | O_CLOEXEC);
	files[5] = open("/mnt", O_RDONLY | O_CLOEXEC);
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = SOCKET};
	listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	pthread_t thread;
	if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4) || sem_init(&ready, 0, 0) || pthread_create(&thread, NULL, pool_init, NULL)) abort();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	static int lowest = -1;
	struct dc_client client;
	input = (struct bytes){data, data + size};
	int result = dc_client_attach(&client, SOCKET, NULL);
	while (sem_wait(&ready)) continue;
	if (result == 0) dc_client_detach(&client);
	if (result > 0) abort();
	int now = dup(0); /* a descriptor that was left open shows in the next number; one is taken, or not yet, by pool_init's next accept */
	if (now < 0) abort();
	close(now);
	if (lowest < 0) lowest = now;
	if (now > lowest + 1) abort();
	return 0;
}
