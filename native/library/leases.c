/*
 * leases.c - mapped regions of the cache, and the page indexes that some of them begin with. Nothing here waits, so signal handlers may come in between anywhere. Addresses stay reserved until the
 * process ends, since a reader may be in a region at any time; what a dead service left is replaced by zeros, which no reader believes, so that its memory is given back.
 */
#include "leases.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#define REGIONS 4096u
#define INDEXES 256u
#define RUN_PAGES 32u
#define BEFORE_MAPPING 16u /* answers with a place: mapping the cache costs a process what about as many reads do */

struct region {
	_Atomic uint32_t number; /* 0: free */
	_Atomic bool void_now;   /* zeros */
	uint64_t bytes;
	unsigned char *data;
};
static struct region regions[REGIONS];
static _Atomic uint32_t region_count;
static _Atomic bool refused;

static struct dc_lease_index indexes[INDEXES];
static _Atomic uint32_t index_count, told;

static _Atomic uint64_t mapping, making; /* the locks of these two: who holds it, 0: nobody */

static uint32_t epoch_of(struct dc_client *client) {
	return atomic_load_explicit(&dc_arena_post(client->arena)->lease_epoch, memory_order_acquire);
}

struct dc_lease_time dc_lease_time(struct dc_client *client) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (struct dc_lease_time){(uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec, epoch_of(client)};
}

/* ---- locks that nobody waits for --------------------------------------------------------------------------------------------------------------------- */
/*
 * Held by a thread, in one life of the process. In a forked child the parent's other threads are gone and give nothing back, so what was held in another life is free; but for what the forking
 * thread itself held, in a signal handler: the frame that holds it came along, and gives it back in the child too.
 */
static bool take(_Atomic uint64_t *lock, uint64_t *held) {
	static _Atomic uint32_t threads;
	static TLS uint32_t self; /* not the thread's id, which is another one in the child */
	if (!self) self = atomic_fetch_add(&threads, 1) + 1;
	uint32_t life = dc_session_life();
	uint64_t seen = atomic_load(lock);
	if (seen >> 32 == life || (uint32_t)seen == self) return false;
	*held = (uint64_t)life << 32 | self;
	return atomic_compare_exchange_strong(lock, &seen, *held);
}

static void give(_Atomic uint64_t *lock, uint64_t held) {
	atomic_compare_exchange_strong(lock, &held, 0);
}

/* ---- regions --------------------------------------------------------------------------------------------------------------------------------------- */
static int receive(int fd, struct dc_region_answer *answer) {
	char control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = {answer, sizeof *answer};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	long received;
	do received = dc_raw6(SYS_recvmsg, fd, (long)&message, MSG_CMSG_CLOEXEC, 0, 0, 0);
	while (received == -EINTR);
	struct cmsghdr *header = received >= 0 ? CMSG_FIRSTHDR(&message) : NULL;
	int region = -1;
	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS && header->cmsg_len == CMSG_LEN(sizeof region)) memcpy(&region, CMSG_DATA(header), sizeof region);
	if (received == sizeof *answer && answer->magic == DC_REGION_MAGIC && !answer->error) return region;
	if (region >= 0) k_close(region);
	return -1;
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

/* Region numbers begin with their service's epoch. */
static void drop_others(uint32_t number) {
	uint32_t count = atomic_load(&region_count);
	for (uint32_t i = 0; i < count; i++) {
		struct region *region = &regions[i];
		if (atomic_load(&region->number) >> 20 == number >> 20 || atomic_load(&region->void_now)) continue;
		dc_raw6(SYS_mmap, (long)region->data, (long)region->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
		atomic_store(&region->void_now, true);
	}
}

/* What clients may not write is opened for reading only, so the wish for more is refused. */
static long map_region(int fd, uint64_t bytes) {
	long address = dc_raw6(SYS_mmap, 0, (long)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return address == -EACCES ? dc_raw6(SYS_mmap, 0, (long)bytes, PROT_READ, MAP_SHARED, fd, 0) : address;
}

/* By one thread at a time; the others copy through the buffer meanwhile. */
static struct region *map(struct dc_client *client, uint32_t number) {
	uint32_t count = atomic_load(&region_count);
	uint64_t held;
	if (count == REGIONS || atomic_load(&refused) || !take(&mapping, &held)) return NULL;
	struct region *found = find(number);
	struct dc_region_answer answer = {0};
	int fd = found ? -1 : ask(client, number, &answer);
	if (fd >= 0) {
		long address = map_region(fd, answer.bytes);
		k_close(fd);
		if (address > 0 || address < -4095) {
			drop_others(number);
			count = atomic_load(&region_count);
			found = &regions[count];
			found->bytes = answer.bytes;
			found->data = (unsigned char *)address;
			atomic_store(&found->number, number);
			atomic_store_explicit(&region_count, count + 1, memory_order_release);
		}
	} else if (!found && answer.error == EPERM && client == dc_session_if_ready()) { /* not of the parent's attachment, in whose name a call goes on that a signal handler's fork took along */
		atomic_store(&refused, true);
	}
	give(&mapping, held);
	return found;
}

const unsigned char *dc_lease_region(struct dc_client *client, uint32_t number, size_t *bytes) {
	struct region *region = find(number);
	if (!region) region = map(client, number);
	if (region) *bytes = region->bytes;
	return region ? region->data : NULL;
}

/* ---- page indexes ---------------------------------------------------------------------------------------------------------------------------------- */
static struct dc_lease_index *find_index(uint32_t number) {
	uint32_t count = atomic_load_explicit(&index_count, memory_order_acquire);
	for (uint32_t i = count; i-- > 0;) /* the newest is what is asked for */
		if (indexes[i].number == number) return &indexes[i];
	return NULL;
}

static bool fits(const struct dc_index_head *head, size_t bytes) {
	struct dc_index_head again = *head;
	return bytes >= sizeof *head && head->magic == DC_INDEX_MAGIC && head->bucket_mask <= UINT32_MAX && dc_index_layout(&again) <= bytes && !memcmp(head, &again, sizeof again);
}

static bool set_up(struct dc_client *client, struct dc_lease_index *made, uint32_t number) {
	size_t bytes, heat_bytes = 0;
	const unsigned char *region = dc_lease_region(client, number, &bytes), *heat = NULL;
	if (!region || !fits((const struct dc_index_head *)region, bytes)) return false;
	made->index = dc_index_at((void *)(uintptr_t)region);
	if (made->index.head->heat) heat = dc_lease_region(client, made->index.head->heat, &heat_bytes);
	made->heat = heat_bytes >= made->index.pages ? (_Atomic uint8_t *)(uintptr_t)heat : NULL;
	long table = dc_raw6(SYS_mmap, 0, (long)(made->index.blocks * sizeof *made->block), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (table <= 0 && table >= -4095) return false;
	made->block = (void *)table;
	made->number = number;
	return true;
}

/* One thread makes one; the others ask meanwhile. */
static struct dc_lease_index *index_of(struct dc_client *client, uint32_t number) {
	struct dc_lease_index *found = find_index(number);
	uint64_t held;
	if (found || !take(&making, &held)) return found;
	found = find_index(number);
	uint32_t count = atomic_load(&index_count);
	if (!found && count < INDEXES && set_up(client, &indexes[count], number)) {
		found = &indexes[count];
		atomic_store_explicit(&index_count, count + 1, memory_order_release);
	}
	give(&making, held);
	return found;
}

void dc_lease_place(struct dc_file *file, uint64_t place) {
	uint32_t epoch = epoch_of(file->client);
	if (place >> 52 != (epoch & 0xfff)) return; /* told by a service that has died since (region numbers begin with the epoch), or nothing at all */
	struct dc_lease_index *index = find_index((uint32_t)(place >> 32));
	if (!index && atomic_fetch_add_explicit(&told, 1, memory_order_relaxed) >= BEFORE_MAPPING) index = index_of(file->client, (uint32_t)(place >> 32));
	if (!index || (uint32_t)place >= index->index.files) return;
	const struct dc_index_file *entry = &index->index.file[(uint32_t)place];
	/* Several threads may be told at once, and the same: until the epoch is set nobody looks, and then it is. */
	atomic_store_explicit(&file->lease_file, entry, memory_order_relaxed);
	atomic_store_explicit(&file->lease_id, atomic_load_explicit(&entry->id, memory_order_acquire), memory_order_relaxed); /* ours, since our handle keeps the node */
	atomic_store_explicit(&file->lease_index, index, memory_order_relaxed);
	atomic_store_explicit(&file->lease_epoch, epoch, memory_order_release);
}

/* ---- reading --------------------------------------------------------------------------------------------------------------------------------------- */
static const unsigned char *block_of(struct dc_client *client, struct dc_lease_index *index, uint32_t block) {
	const unsigned char *data = atomic_load_explicit(&index->block[block], memory_order_acquire);
	if (data) return data;
	uint64_t place = atomic_load_explicit(&index->index.block[block], memory_order_acquire), at = (place & UINT32_MAX) * DC_INDEX_BLOCK_PAGES * DC_INDEX_PAGE;
	size_t bytes;
	data = place ? dc_lease_region(client, (uint32_t)(place >> 32), &bytes) : NULL;
	if (!data || bytes < DC_INDEX_BLOCK_PAGES * DC_INDEX_PAGE || at > bytes - DC_INDEX_BLOCK_PAGES * DC_INDEX_PAGE) return NULL;
	atomic_store_explicit(&index->block[block], data + at, memory_order_release);
	return data + at;
}

/* Neighbours in the file that lie side by side in memory as well: copied at once. */
struct run {
	uint32_t first, count;
	uint64_t generation[RUN_PAGES];
};

static uint32_t find_page(const struct dc_lease_index *index, uint64_t id, uint64_t number, uint64_t *generation) {
	uint32_t page = dc_index_find(&index->index, id, number, DC_INDEX_CHAIN_MAX);
	*generation = page ? dc_index_begin(&index->index.page[page], id, number) : 0;
	return *generation ? page : 0;
}

static bool find_run(const struct dc_lease_index *index, uint64_t id, uint64_t number, uint64_t last, struct run *run) {
	run->first = find_page(index, id, number, &run->generation[0]);
	uint32_t left = DC_INDEX_BLOCK_PAGES - run->first % DC_INDEX_BLOCK_PAGES; /* of its block */
	for (run->count = 1; run->count < RUN_PAGES && run->count < left && number + run->count <= last; run->count++)
		if (find_page(index, id, number + run->count, &run->generation[run->count]) != run->first + run->count) break;
	return run->first != 0;
}

static bool run_holds(struct dc_lease_index *index, const struct run *run) {
	for (uint32_t i = 0; i < run->count; i++)
		if (!dc_generation_holds(&index->index.page[run->first + i].generation, run->generation[i])) return false;
	for (uint32_t i = 0; index->heat && i < run->count; i++) dc_index_touch(&index->heat[run->first + i]);
	return true;
}

/* From `at` on, below `end`: how many bytes, 0: none without asking. */
static size_t read_run(struct dc_file *file, struct dc_lease_index *index, uint64_t id, struct dc_cursor *cursor, uint64_t at, uint64_t end) {
	struct run run;
	struct dc_cursor before = *cursor;
	if (!find_run(index, id, at / DC_INDEX_PAGE, (end - 1) / DC_INDEX_PAGE, &run)) return 0;
	const unsigned char *data = block_of(file->client, index, run.first / DC_INDEX_BLOCK_PAGES);
	if (!data) return 0;
	size_t within = at % DC_INDEX_PAGE, bytes = run.count * (size_t)DC_INDEX_PAGE - within;
	if (bytes > end - at) bytes = end - at;
	dc_cursor_out(cursor, DC_COPY_FROM_CACHE, data + run.first % DC_INDEX_BLOCK_PAGES * DC_INDEX_PAGE + within, bytes);
	if (run_holds(index, &run)) return bytes;
	*cursor = before;
	return 0;
}

/* A file as its index has it at one moment. */
struct sight {
	struct dc_lease_index *index;
	const struct dc_index_file *entry;
	uint64_t id;
	int64_t length;
};

/* False: its pages are not to be read without asking. */
static inline bool see(const struct dc_file *file, struct dc_lease_time time, struct sight *sight) {
	if (atomic_load_explicit(&file->lease_epoch, memory_order_acquire) != time.epoch) return false;
	sight->index = atomic_load_explicit(&file->lease_index, memory_order_relaxed);
	sight->entry = atomic_load_explicit(&file->lease_file, memory_order_relaxed);
	sight->id = atomic_load_explicit(&file->lease_id, memory_order_relaxed);
	return dc_index_open(sight->entry, sight->id, time.now, &sight->length);
}

/* How many of `size` bytes from `at` on the file has. */
static inline size_t within_file(const struct sight *sight, uint64_t at, size_t size) {
	uint64_t length = (uint64_t)sight->length, left = at < length ? length - at : 0;
	return size < left ? size : (size_t)left;
}

bool dc_lease_read(struct dc_file *file, struct dc_cursor *cursor, size_t size, off_t offset, struct dc_lease_time time, size_t *done) {
	struct sight sight;
	*done = 0;
	if (!see(file, time, &sight)) return false;
	struct dc_cursor start = *cursor;
	uint64_t at = (uint64_t)offset, end = at + within_file(&sight, at, size);
	for (size_t got = 1; at < end && got; at += got) got = read_run(file, sight.index, sight.id, cursor, at, end);
	if (!dc_index_holds(sight.entry, sight.id, sight.length)) {
		*cursor = start;
		return false;
	}
	*done = (size_t)(at - (uint64_t)offset);
	return at == end;
}

/* As dc_lease_read, for the one page that most reads are about: a third of what such a read takes besides the copy went into being general. */
bool dc_lease_read_page(struct dc_file *file, void *to, size_t size, off_t offset, size_t *done) {
	struct sight sight;
	if (!dc_lease_given(file->client) || !see(file, dc_lease_time(file->client), &sight)) return false;
	uint64_t at = (uint64_t)offset, generation;
	size_t bytes = within_file(&sight, at, size);
	if (bytes) {
		struct dc_lease_index *index = sight.index;
		uint32_t page = find_page(index, sight.id, at / DC_INDEX_PAGE, &generation);
		const unsigned char *data = page ? block_of(file->client, index, page / DC_INDEX_BLOCK_PAGES) : NULL;
		if (!data) return false;
		dc_copy(&dc_copier, DC_COPY_FROM_CACHE, to, data + page % DC_INDEX_BLOCK_PAGES * DC_INDEX_PAGE + at % DC_INDEX_PAGE, bytes);
		if (!dc_generation_holds(&index->index.page[page].generation, generation)) return false;
		if (index->heat) dc_index_touch(&index->heat[page]);
	}
	if (!dc_index_holds(sight.entry, sight.id, sight.length)) return false;
	dc_lease_count(file->client);
	*done = bytes;
	return true;
}
