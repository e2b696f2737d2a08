/*
 * leases.c - mapped regions of the cache, and a table of pages by file and number. The table is direct-mapped and lossy; each entry has a version of its own, odd while it is written, and a
 * writer that finds it odd gives up. Nothing here waits, so signal handlers may come in between anywhere. Regions stay mapped until the process ends: a reader may be in them at any time.
 */
#include "leases.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#define ENTRIES 16384u
#define REGIONS 256u

static struct entry {
	alignas(64) _Atomic uint32_t version;
	uint32_t instance, epoch, bytes;
	uint64_t ino, page, until;
	struct dc_lease lease;
} entries[ENTRIES];

static struct region {
	_Atomic uint32_t number; /* 0: free */
	uint64_t bytes;
	const unsigned char *data;
} regions[REGIONS];
static _Atomic uint32_t region_count, mapping;
static _Atomic bool refused;

static uint32_t epoch_of(struct dc_client *client) {
	return atomic_load_explicit(&dc_arena_post(client->arena)->lease_epoch, memory_order_acquire);
}

static struct entry *entry_of(const struct dc_file *file, uint64_t page) {
	uint64_t hash = (file->ino ^ (uint64_t)file->instance << 40) * UINT64_C(0x9e3779b97f4a7c15);
	return &entries[((hash >> 40) + page) % ENTRIES]; /* a file's pages stand side by side: they do not push each other out, and a long read walks along */
}

struct dc_lease_time dc_lease_time(struct dc_client *client) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (struct dc_lease_time){(uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec, epoch_of(client)};
}

bool dc_lease_lookup(struct dc_file *file, uint64_t page, size_t bytes, struct dc_lease_time time, struct dc_lease *lease) {
	struct entry *entry = entry_of(file, page);
	uint32_t version = atomic_load_explicit(&entry->version, memory_order_acquire);
	if (version & 1 || entry->ino != file->ino || entry->page != page || entry->instance != file->instance || entry->bytes < bytes) return false;
	uint64_t until = entry->until;
	uint32_t epoch = entry->epoch;
	*lease = entry->lease;
	atomic_thread_fence(memory_order_acquire);
	if (atomic_load_explicit(&entry->version, memory_order_relaxed) != version) return false;
	return epoch == time.epoch && time.now < until;
}

void dc_lease_remember(struct dc_file *file, uint64_t page, const struct dc_lease *lease, uint32_t bytes, uint64_t until) {
	struct entry *entry = entry_of(file, page);
	uint32_t version = atomic_load_explicit(&entry->version, memory_order_relaxed);
	if (version & 1 || !atomic_compare_exchange_strong_explicit(&entry->version, &version, version + 1, memory_order_acquire, memory_order_relaxed)) return;
	atomic_thread_fence(memory_order_release);
	entry->instance = file->instance;
	entry->epoch = epoch_of(file->client);
	entry->bytes = bytes;
	entry->ino = file->ino;
	entry->page = page;
	entry->until = until;
	entry->lease = *lease;
	atomic_store_explicit(&entry->version, version + 2, memory_order_release);
}

/* ---- regions --------------------------------------------------------------------------------------------------------------------------------------- */
static int receive(int fd, struct dc_region_answer *answer) {
	char control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = {answer, sizeof *answer};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	long received;
	do received = dc_raw6(SYS_recvmsg, fd, (long)&message, MSG_CMSG_CLOEXEC, 0, 0, 0);
	while (received == -EINTR);
	if (received != sizeof *answer || answer->magic != DC_REGION_MAGIC || answer->error) return -1;
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	int region = -1;
	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS && header->cmsg_len == CMSG_LEN(sizeof region)) memcpy(&region, CMSG_DATA(header), sizeof region);
	return region;
}

static int ask(struct dc_client *client, uint32_t number, struct dc_region_answer *answer) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (strlen(dc_pool_dir) + sizeof "/regions.sock" > sizeof address.sun_path) return -1;
	strcpy(address.sun_path, dc_pool_dir);
	strcat(address.sun_path, "/regions.sock");
	struct dc_region_request request = {DC_REGION_MAGIC, client->index, client->generation, number};
	int fd = (int)dc_raw6(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, 0, 0, 0), region = -1;
	if (fd < 0) return -1;
	if (dc_raw6(SYS_connect, fd, (long)&address, sizeof address, 0, 0, 0) == 0 && dc_raw6(SYS_sendto, fd, (long)&request, sizeof request, MSG_NOSIGNAL, 0, 0) == sizeof request)
		region = receive(fd, answer);
	k_close(fd);
	return region;
}

static struct region *find(uint32_t number) {
	uint32_t count = atomic_load_explicit(&region_count, memory_order_acquire);
	for (uint32_t i = 0; i < count; i++)
		if (atomic_load_explicit(&regions[i].number, memory_order_relaxed) == number) return &regions[i];
	return NULL;
}

/* By one thread at a time; the others copy through the buffer meanwhile. */
static struct region *map(struct dc_client *client, uint32_t number) {
	uint32_t count = atomic_load(&region_count), free = 0;
	if (count == REGIONS || atomic_load(&refused) || !atomic_compare_exchange_strong(&mapping, &free, 1)) return NULL;
	struct region *found = find(number);
	struct dc_region_answer answer = {0};
	int fd = found ? -1 : ask(client, number, &answer);
	if (fd >= 0) {
		long address = dc_raw6(SYS_mmap, 0, (long)answer.bytes, PROT_READ, MAP_SHARED, fd, 0);
		k_close(fd);
		if (address > 0 || address < -4095) {
			count = atomic_load(&region_count);
			found = &regions[count];
			found->bytes = answer.bytes;
			found->data = (const unsigned char *)address;
			atomic_store(&found->number, number);
			atomic_store_explicit(&region_count, count + 1, memory_order_release);
		}
	} else if (!found && answer.error == EPERM) {
		atomic_store(&refused, true);
	}
	atomic_store_explicit(&mapping, 0, memory_order_release);
	return found;
}

const unsigned char *dc_lease_region(struct dc_client *client, uint32_t number, size_t *bytes) {
	struct region *region = find(number);
	if (!region) region = map(client, number);
	if (region) *bytes = region->bytes;
	return region ? region->data : NULL;
}

bool dc_lease_find_region(struct dc_file *file, const struct dc_reference *reference, struct dc_lease *lease) {
	struct region *region = find(reference->region);
	if (!region) region = map(file->client, reference->region);
	if (!region || reference->offset > region->bytes - DC_LEASE_PAGE || reference->stamp > region->bytes - sizeof(uint64_t)) return false;
	*lease = (struct dc_lease){region->data + reference->offset, (const _Atomic uint64_t *)(const void *)(region->data + reference->stamp), reference->generation};
	return true;
}
