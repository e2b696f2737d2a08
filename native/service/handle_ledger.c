#include "handle_ledger.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "../init/link.h"

_Static_assert(DC_LINK_LEDGER_BYTES >= sizeof(struct dc_ledger) + ((size_t)1 << 24) * sizeof(struct dc_ledger_entry), "an entry for every handle that a number can name");

static struct dc_ledger *ledger;

int dc_ledger_map(int fd) {
	struct stat st;
	if (fstat(fd, &st)) return -errno;
	if ((size_t)st.st_size < DC_LINK_LEDGER_BYTES) return -EINVAL;
	struct dc_ledger *map = mmap(NULL, DC_LINK_LEDGER_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (map == MAP_FAILED) return -errno;
	if (map->magic != DC_LEDGER_MAGIC || map->version != DC_LEDGER_VERSION) {
		/* New, or another build's: what it says means nothing to us. */
		if (map->magic && madvise(map, DC_LINK_LEDGER_BYTES, MADV_REMOVE)) {
			int error = errno;
			munmap(map, DC_LINK_LEDGER_BYTES);
			return -error;
		}
		map->version = DC_LEDGER_VERSION;
		map->magic = DC_LEDGER_MAGIC;
	}
	ledger = map;
	return 0;
}

struct dc_ledger *dc_ledger(void) {
	return ledger;
}
