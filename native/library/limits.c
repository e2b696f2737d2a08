/*
 * limits.c - RLIMIT_FSIZE, which the kernel holds against writes that it sees. Ours are checked here; the limit is read once and again when this process changes it.
 */
#include "internal.h"

#include <signal.h>
#include <sys/resource.h>

static _Atomic uint64_t limit; /* plus one; 0: not known */

uint64_t dc_size_limit(void) {
	uint64_t known = atomic_load_explicit(&limit, memory_order_relaxed);
	if (__builtin_expect(known != 0, 1)) return known - 1;
	struct rlimit now;
	uint64_t value = dc_raw6(SYS_prlimit64, 0, RLIMIT_FSIZE, 0, (long)&now, 0, 0) < 0 || now.rlim_cur > DC_SIZE_UNLIMITED ? DC_SIZE_UNLIMITED : now.rlim_cur;
	atomic_store(&limit, value + 1);
	return value;
}

int dc_size_exceeded(void) {
	dc_raw6(SYS_tgkill, dc_raw6(SYS_getpid, 0, 0, 0, 0, 0, 0), k_gettid(), SIGXFSZ, 0, 0, 0);
	return -EFBIG;
}

EXPORT int setrlimit(__rlimit_resource_t resource, const struct rlimit *value) {
	int result = NEXT(setrlimit)(resource, value);
	if (resource == RLIMIT_FSIZE) atomic_store(&limit, 0);
	return result;
}
ALIAS(setrlimit64, setrlimit);

EXPORT int prlimit(pid_t pid, enum __rlimit_resource resource, const struct rlimit *value, struct rlimit *former) {
	int result = NEXT(prlimit)(pid, resource, value, former);
	if (resource == RLIMIT_FSIZE && value) atomic_store(&limit, 0);
	return result;
}
ALIAS(prlimit64, prlimit);
