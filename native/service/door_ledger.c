/*
 * door_ledger.c - the nodes in the kernel's hands, in a file that outlives the service.
 *
 * After a restart the kernel is told to distrust every name (its epoch). But files that are still open, or mapped, or locked, keep their inodes and go on asking by number. So every
 * number is written down when it is given out, with who the node is and how many lookups of it the kernel has. A successor finds the nodes again (`recover` of the stack) and puts
 * them back under their old numbers: a descriptor goes on working, and a path that is looked up anew leads to the same inode, with the locks that are on it. And since the
 * dead service may have changed a file without having said so, the kernel then drops what it keeps of each. What cannot be found again answers ESTALE.
 *
 * A count is written before the reply that it is about, so the kernel never has more than is written; one that died with its reply is counted twice when the request is sent again, and such a
 * node stays until the unmount.
 *
 * The file is sparse: a header, the requests under way (door_flights.c), then one entry per index of the table. It belongs to the service alone.
 */
#include "door_ledger.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "door.h"

#define MAGIC 0x64634c47u
#define VERSION 3u
#define NUMBERS (1u << 22) /* nodes beyond are not recorded; said in the log */
#define STEP 2048u

struct ledger_entry {
	_Atomic uint64_t number; /* 0: free */
	_Atomic uint32_t lookups;
	uint8_t length;          /* of the identity; 0: it has none */
	uint8_t identity[DC_IDENTITY_MAX];
	uint8_t reserved[7];
};
_Static_assert(sizeof(struct ledger_entry) == 56, "a ledger entry");

struct ledger_file {
	uint32_t magic, version;
	_Atomic uint32_t used; /* indices below may be set */
	uint32_t reserved[13];
	struct door_flight flights[DOOR_FLIGHTS];
	struct ledger_entry entries[];
};
_Static_assert(offsetof(struct ledger_file, flights) == 64, "the ledger's header is a cache line");
#define FILE_SIZE (sizeof(struct ledger_file) + NUMBERS * sizeof(struct ledger_entry))

struct door_ledger {
	struct ledger_file *file;
	int fd;
	uint32_t backed; /* numbers that have memory behind them: a full tmpfs must be an error here, not a SIGBUS at the store */
	bool full, fresh;
	char path[600];
};

static char directory[512];

void dc_door_ledger_directory(const char *path) {
	snprintf(directory, sizeof directory, "%s", path);
}

static bool back(struct door_ledger *ledger, uint32_t count) {
	if (count > NUMBERS || fallocate(ledger->fd, 0, 0, (off_t)(sizeof(struct ledger_file) + count * sizeof(struct ledger_entry)))) return false;
	ledger->backed = count;
	return true;
}

static bool map_file(struct door_ledger *ledger) {
	struct stat st;
	void *map = MAP_FAILED;
	ledger->fd = open(ledger->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (ledger->fd < 0) return false;
	struct ledger_file head = {0};
	ledger->fresh = pread(ledger->fd, &head, offsetof(struct ledger_file, flights), 0) < 0 || head.magic != MAGIC || head.version != VERSION;
	bool sized = (!ledger->fresh || ftruncate(ledger->fd, 0) == 0) && fstat(ledger->fd, &st) == 0;
	sized = sized && ((size_t)st.st_size == FILE_SIZE || ftruncate(ledger->fd, (off_t)FILE_SIZE) == 0);
	if (sized && back(ledger, STEP)) map = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, ledger->fd, 0);
	if (map != MAP_FAILED) {
		ledger->file = map;
		return true;
	}
	int error = errno;
	close(ledger->fd);
	errno = error;
	return false;
}

void door_ledger_open(struct dc_door *door) {
	if (!directory[0]) return;
	struct door_ledger *ledger = calloc(1, sizeof *ledger);
	if (!ledger) return;
	snprintf(ledger->path, sizeof ledger->path, "%s/door-%u", directory, door->instance->id);
	if (!door->restarted) unlink(ledger->path); /* a new connection: nothing is held */
	bool mapped = map_file(ledger);
	if (mapped && ledger->fresh) {
		ledger->file->version = VERSION;
		ledger->file->magic = MAGIC;
	}
	if (mapped) {
		door->ledger = ledger;
		door_flights_open(door, ledger->file->flights);
		return;
	}
	door_log(door, LOG_WARNING, "no ledger at %s (%s): after a restart, files still open may show old data", ledger->path, strerror(errno));
	free(ledger);
}

void door_ledger_close(struct dc_door *door) {
	if (!door->ledger) return;
	munmap(door->ledger->file, FILE_SIZE);
	close(door->ledger->fd);
	if (!door->handover) unlink(door->ledger->path);
	free(door->ledger);
	door->ledger = NULL;
}

struct door_flight *door_ledger_flights(struct dc_door *door) {
	return door->ledger ? door->ledger->file->flights : NULL;
}

bool door_ledger_new(const struct dc_door *door) {
	return door->ledger->fresh;
}

static struct ledger_entry *entry_at(struct dc_door *door, uint32_t index) {
	struct door_ledger *ledger = door->ledger;
	if (!ledger) return NULL;
	if (index >= ledger->backed && !ledger->full && !back(ledger, (index / STEP + 1) * STEP)) {
		door_log(door, LOG_WARNING, "no room in the ledger for more than %u nodes: a restart will not reach them all", ledger->backed);
		ledger->full = true;
	}
	return index < ledger->backed ? &ledger->file->entries[index] : NULL;
}

void door_ledger_set(struct dc_door *door, uint32_t index, uint64_t number, struct dc_node *node) {
	struct ledger_entry *entry = entry_at(door, index);
	if (!entry) return;
	if (node) {
		int length = DOOR_CALL(door, identify, node, entry->identity);
		entry->length = (uint8_t)(length < 0 ? 0 : length);
		atomic_store_explicit(&entry->lookups, 0, memory_order_relaxed);
	}
	atomic_store_explicit(&entry->number, number, memory_order_release);
	struct ledger_file *file = door->ledger->file;
	if (index >= atomic_load_explicit(&file->used, memory_order_relaxed)) atomic_store_explicit(&file->used, index + 1, memory_order_relaxed);
}

void door_ledger_count(struct dc_door *door, uint32_t index, uint64_t lookups) {
	struct ledger_entry *entry = door->ledger && index < door->ledger->backed ? &door->ledger->file->entries[index] : NULL;
	if (entry) atomic_store_explicit(&entry->lookups, lookups > UINT32_MAX ? UINT32_MAX : (uint32_t)lookups, memory_order_release);
}

/* ---- after a restart ------------------------------------------------------------------------------------------------------ */
/* The file may have entries that this process has not backed: they are there, a predecessor wrote them. */
static uint32_t entries_used(struct door_ledger *ledger) {
	uint32_t used = atomic_load(&ledger->file->used);
	if (used > NUMBERS) used = NUMBERS;
	if (used > ledger->backed && !back(ledger, used)) used = ledger->backed;
	return used;
}

static bool restore(struct dc_door *door, uint32_t index, struct ledger_entry *entry) {
	struct dc_cred service = {.uid = 0};
	struct dc_context context = {.cred = &service};
	struct dc_node *node;
	uint64_t number = atomic_load(&entry->number), lookups = atomic_load(&entry->lookups);
	if (!entry->length || entry->length > DC_IDENTITY_MAX || !lookups) return false;
	if (DOOR_CALL(door, recover, &context, entry->identity, entry->length, &node)) return false;
	if (door_entry_restore(door, index, number, lookups, node)) return true;
	DOOR_CALL(door, forget, node, 1);
	return false;
}

unsigned door_ledger_restore(struct dc_door *door, unsigned *lost) {
	unsigned restored = 0;
	*lost = 0;
	if (!door->ledger) return 0;
	uint32_t used = entries_used(door->ledger);
	if (door_table_extend(door, used)) used = 0;
	for (uint32_t i = 0; i < used; i++) {
		struct ledger_entry *entry = &door->ledger->file->entries[i];
		if (!atomic_load(&entry->number)) continue;
		if (restore(door, i, entry)) restored++;
		else (*lost)++;
	}
	door_table_gather(door);
	return restored;
}

unsigned door_ledger_invalidate(struct dc_door *door) {
	if (!door->ledger) return 0;
	uint32_t used = entries_used(door->ledger), told = 0;
	for (uint32_t i = 0; i < used; i++) {
		struct ledger_entry *entry = &door->ledger->file->entries[i];
		uint64_t number = atomic_load(&entry->number);
		if (!number || number >> 48 == door->table.epoch) continue; /* free, or ours: a resent lookup may have been served already */
		if (door_notify_inode(door, number, 0, 0) == 0) told++;
		if (!door_entry_of(door, number)) atomic_compare_exchange_strong(&entry->number, &number, 0);
	}
	return told;
}
