/*
 * waiting.h - clock, pause and futex: everything by which the transports wait. Apart from the rest so that the scheduler of native/test/ipc/sim can put its own in its place and step the
 * unchanged sources.
 */
#ifndef DICICLO_IPC_WAITING_H
#define DICICLO_IPC_WAITING_H

#include <stdatomic.h>
#include <stdint.h>

static inline void dc_pause(void) {
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

uint64_t dc_monotonic_ns(void);
/* Monotonic ticks for bounding spins: the time stamp counter where there is one (about 10 ns), else nanoseconds. */
static inline uint64_t dc_ticks(void) {
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#else
	return dc_monotonic_ns();
#endif
}
/* Ticks per microsecond, measured once, at the first use. */
uint32_t dc_ticks_per_us(void);

/* Process-shared futex. `expected` unchanged: sleep at most timeout_ns (0: no bound). 0, or -errno. */
int dc_futex_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ns);
/* How many were woken, or -errno. */
int dc_futex_wake(_Atomic uint32_t *word, int count);

/* Sleeps on all of the words at once, while each holds what is expected of it (futex_waitv(2), Linux 5.16). The index of the one that was rung, or -errno (-EAGAIN: one has changed already). */
#define DC_FUTEX_WAIT_MAX 128u
struct dc_futex_expectation {
	_Atomic uint32_t *word;
	uint32_t expected;
};
int dc_futex_wait_any(const struct dc_futex_expectation *list, unsigned count, uint64_t timeout_ns);

#endif
