/*
 * hooks.h - put in front of the shipped sources (-include): every atomic operation, futex call, pause, yield and look at a clock or the CPU's number becomes a step of the simulated machine
 * (machine.h), which decides after each whose turn it is. The sources themselves are the shipped ones, letter for letter.
 */
#ifndef DICICLO_SIM_HOOKS_H
#define DICICLO_SIM_HOOKS_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

/* In place of ipc/waiting.h. Few words at once, so that the threads that listen for others are needed soon. */
#define DICICLO_IPC_WAITING_H
#define DC_FUTEX_WAIT_MAX 3u
struct dc_futex_expectation {
	_Atomic uint32_t *word;
	uint32_t expected;
};
void dc_pause(void);
uint64_t dc_ticks(void);
uint64_t dc_monotonic_ns(void);
uint32_t dc_ticks_per_us(void);
int dc_futex_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ns);
int dc_futex_wake(_Atomic uint32_t *word, int count);
int dc_futex_wait_any(const struct dc_futex_expectation *list, unsigned count, uint64_t timeout_ns);

/* As many as make a difference. */
#define DC_YIELDS 1u

int sim_yield(void);
int sim_cpu(void);
void sim_fence(int order);
int sim_mutex_lock(void *mutex);
int sim_mutex_unlock(void *mutex);
#define pthread_mutex_lock sim_mutex_lock
#define pthread_mutex_unlock sim_mutex_unlock
void *sim_memcpy(void *to, const void *from, size_t bytes);
#define memcpy sim_memcpy
/* Thousands of runs a second begin with tables that are zero: the system is not asked for new pages each time. */
void *sim_zeroes(size_t bytes);
int sim_zeroes_over(void *memory, size_t bytes);
#define mmap(at, bytes, ...) sim_zeroes(bytes)
#define munmap(memory, bytes) sim_zeroes_over(memory, bytes)
#define sched_yield sim_yield
#define sched_getcpu sim_cpu

uint64_t sim_load(const volatile void *at, unsigned size, int order);
void sim_store(volatile void *at, unsigned size, uint64_t value, int order);
enum sim_update { SIM_ADD, SIM_SUB, SIM_OR, SIM_AND, SIM_SET };
uint64_t sim_update(volatile void *at, unsigned size, enum sim_update update, uint64_t operand);
bool sim_swap(volatile void *at, unsigned size, void *expected, uint64_t desired);

#define SIM_TYPE(p) __typeof__(((void)0, *(p)))
#undef atomic_thread_fence
#define atomic_thread_fence(order) sim_fence(order)
#undef atomic_load_explicit
#undef atomic_store_explicit
#undef atomic_exchange_explicit
#undef atomic_compare_exchange_strong_explicit
#undef atomic_compare_exchange_weak_explicit
#undef atomic_fetch_add_explicit
#undef atomic_fetch_sub_explicit
#undef atomic_fetch_or_explicit
#undef atomic_fetch_and_explicit
#undef atomic_load
#undef atomic_store
#undef atomic_exchange
#undef atomic_compare_exchange_strong
#undef atomic_compare_exchange_weak
#undef atomic_fetch_add
#undef atomic_fetch_sub
#undef atomic_fetch_or
#undef atomic_fetch_and
#define atomic_load_explicit(p, order) ((SIM_TYPE(p))sim_load((const volatile void *)(p), sizeof *(p), (order)))
#define atomic_store_explicit(p, value, order) sim_store((volatile void *)(p), sizeof *(p), (uint64_t)(value), (order))
#define atomic_exchange_explicit(p, value, order) ((SIM_TYPE(p))sim_update((volatile void *)(p), sizeof *(p), SIM_SET, (uint64_t)(value)))
#define atomic_compare_exchange_strong_explicit(p, expected, desired, success, failure) sim_swap((volatile void *)(p), sizeof *(p), (expected), (uint64_t)(desired))
#define atomic_compare_exchange_weak_explicit atomic_compare_exchange_strong_explicit
#define atomic_fetch_add_explicit(p, value, order) ((SIM_TYPE(p))sim_update((volatile void *)(p), sizeof *(p), SIM_ADD, (uint64_t)(value)))
#define atomic_fetch_sub_explicit(p, value, order) ((SIM_TYPE(p))sim_update((volatile void *)(p), sizeof *(p), SIM_SUB, (uint64_t)(value)))
#define atomic_fetch_or_explicit(p, value, order) ((SIM_TYPE(p))sim_update((volatile void *)(p), sizeof *(p), SIM_OR, (uint64_t)(value)))
#define atomic_fetch_and_explicit(p, value, order) ((SIM_TYPE(p))sim_update((volatile void *)(p), sizeof *(p), SIM_AND, (uint64_t)(value)))
#define atomic_load(p) atomic_load_explicit(p, memory_order_seq_cst)
#define atomic_store(p, value) atomic_store_explicit(p, value, memory_order_seq_cst)
#define atomic_exchange(p, value) atomic_exchange_explicit(p, value, memory_order_seq_cst)
#define atomic_compare_exchange_strong(p, expected, desired) sim_swap((volatile void *)(p), sizeof *(p), (expected), (uint64_t)(desired))
#define atomic_compare_exchange_weak atomic_compare_exchange_strong
#define atomic_fetch_add(p, value) atomic_fetch_add_explicit(p, value, memory_order_seq_cst)
#define atomic_fetch_sub(p, value) atomic_fetch_sub_explicit(p, value, memory_order_seq_cst)
#define atomic_fetch_or(p, value) atomic_fetch_or_explicit(p, value, memory_order_seq_cst)
#define atomic_fetch_and(p, value) atomic_fetch_and_explicit(p, value, memory_order_seq_cst)

#endif
