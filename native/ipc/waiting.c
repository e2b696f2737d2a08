#include "waiting.h"

#include <errno.h>
#include <linux/futex.h>
#include <stddef.h>
#include <time.h>

#include "raw.h"

uint64_t dc_monotonic_ns(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Measured over 50 us at the first use: precise enough to bound a spin, and no thread waits for another that measures. */
uint32_t dc_ticks_per_us(void) {
	static _Atomic uint32_t cached;
	uint32_t known = atomic_load_explicit(&cached, memory_order_relaxed);
	if (known) return known;
	uint64_t start_ns = dc_monotonic_ns(), start = dc_ticks(), now_ns;
	do now_ns = dc_monotonic_ns();
	while (now_ns - start_ns < 50000);
	uint64_t rate = (dc_ticks() - start) * 1000u / (now_ns - start_ns);
	known = rate < 1 ? 1 : rate > 100000 ? 100000 : (uint32_t)rate;
	atomic_store_explicit(&cached, known, memory_order_relaxed);
	return known;
}

static struct timespec span(uint64_t ns) {
	return (struct timespec){.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
}

/* Raw: an application's errno is never touched. */
static long raw_futex(_Atomic uint32_t *word, int operation, uint32_t value, const struct timespec *timeout) {
	return dc_raw6(SYS_futex, (long)word, operation, value, (long)timeout, 0, 0);
}

int dc_futex_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ns) {
	struct timespec timeout = span(timeout_ns);
	return (int)raw_futex(word, FUTEX_WAIT, expected, timeout_ns ? &timeout : NULL);
}

int dc_futex_wake(_Atomic uint32_t *word, int count) {
	return (int)raw_futex(word, FUTEX_WAKE, (uint32_t)count, NULL);
}

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

int dc_futex_wait_any(const struct dc_futex_expectation *list, unsigned count, uint64_t timeout_ns) {
	/* As the kernel wants it; headers before 5.16 do not have it. */
	struct waiter {
		uint64_t value, address;
		uint32_t flags, reserved;
	} waiter[DC_FUTEX_WAIT_MAX];
	if (count > DC_FUTEX_WAIT_MAX) return -EINVAL;
	for (unsigned i = 0; i < count; i++) waiter[i] = (struct waiter){.value = list[i].expected, .address = (uint64_t)(uintptr_t)list[i].word, .flags = 2 /* FUTEX_32 */};
	struct timespec deadline = span(dc_monotonic_ns() + timeout_ns); /* absolute, unlike FUTEX_WAIT's */
	return (int)dc_raw6(SYS_futex_waitv, (long)waiter, count, 0, (long)(timeout_ns ? &deadline : NULL), CLOCK_MONOTONIC, 0);
}
