/*
 * door_ledger.c - the node numbers in the kernel's hands, in a file that outlives the service.
 *
 * After a restart the kernel is told to distrust every name (its epoch), so paths lead to new numbers. But files that are still open keep their inodes, with pages and attributes
 * cached for ever, and a new service, which does not know those numbers, would never invalidate them: old data, when the library has changed the file since. So every
 * number is written down here when it is given out, and a successor has the kernel drop what it keeps of each. From then on such a descriptor asks, and hears ESTALE.
 *
 * The file is sparse: a header, then one number per index of the table. It belongs to the service alone; what is read back is used for nothing but notifications.
 */
#include "door_ledger.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "door.h"

#define MAGIC 0x64634c47u
#define VERSION 1u
#define NUMBERS (1u << 22) /* nodes beyond are not recorded; said in the log */
#define STEP 8192u

struct ledger_file {
	uint32_t magic, version;
	_Atomic uint32_t used; /* indices below may be set */
	uint32_t reserved[13];
	_Atomic uint64_t numbers[];
};
_Static_assert(sizeof(struct ledger_file) == 64, "the ledger's header is a cache line");
#define FILE_SIZE (sizeof(struct ledger_file) + NUMBERS * sizeof(uint64_t))

struct door_ledger {
	struct ledger_file *file;
	int fd;
	uint32_t backed; /* numbers that have memory behind them: a full tmpfs must be an error here, not a SIGBUS at the store */
	bool full;
	char path[600];
};

static char directory[512];

void dc_door_ledger_directory(const char *path) {
	snprintf(directory, sizeof directory, "%s", path);
}

static bool back(struct door_ledger *ledger, uint32_t count) {
	if (count > NUMBERS || fallocate(ledger->fd, 0, 0, (off_t)(sizeof(struct ledger_file) + count * sizeof(uint64_t)))) return false;
	ledger->backed = count;
	return true;
}

static bool map_file(struct door_ledger *ledger) {
	struct stat st;
	void *map = MAP_FAILED;
	ledger->fd = open(ledger->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (ledger->fd < 0) return false;
	bool sized = fstat(ledger->fd, &st) == 0 && ((size_t)st.st_size == FILE_SIZE || ftruncate(ledger->fd, (off_t)FILE_SIZE) == 0);
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
	if (mapped && (ledger->file->magic != MAGIC || ledger->file->version != VERSION)) {
		atomic_store(&ledger->file->used, 0);
		ledger->file->version = VERSION;
		ledger->file->magic = MAGIC;
	}
	if (mapped) {
		door->ledger = ledger;
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

void door_ledger_set(struct dc_door *door, uint32_t index, uint64_t number) {
	struct door_ledger *ledger = door->ledger;
	if (!ledger) return;
	if (index >= ledger->backed && !ledger->full && !back(ledger, (index / STEP + 1) * STEP)) {
		door_log(door, LOG_WARNING, "no room in the ledger for more than %u nodes: a restart will not reach them all", ledger->backed);
		ledger->full = true;
	}
	if (index >= ledger->backed) return;
	atomic_store_explicit(&ledger->file->numbers[index], number, memory_order_relaxed);
	if (index >= atomic_load_explicit(&ledger->file->used, memory_order_relaxed)) atomic_store_explicit(&ledger->file->used, index + 1, memory_order_relaxed);
}

unsigned door_ledger_invalidate(struct dc_door *door) {
	if (!door->ledger) return 0;
	struct ledger_file *file = door->ledger->file;
	uint32_t used = atomic_load(&file->used), told = 0;
	for (uint32_t i = 0; i < used && i < NUMBERS; i++) {
		uint64_t number = atomic_load(&file->numbers[i]);
		if (!number || number >> 48 == door->table.epoch) continue; /* free, or ours: a resent lookup may have been served already */
		if (door_notify_inode(door, number, 0, 0) == 0) told++;
		atomic_compare_exchange_strong(&file->numbers[i], &number, 0);
	}
	return told;
}
