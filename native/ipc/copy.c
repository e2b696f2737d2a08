/*
 * copy.c - routines for copying data. Which of them is best depends on the machine, the size and on whose cache the two ends are in, so they are measured (native/tune) and chosen by number.
 *
 * All vector routines have one shape: an unaligned vector at the begin, aligned stores in blocks, single vectors, and an unaligned vector at the end. Some bytes are read twice, the last
 * reading counts; what lands at the target is one reading of each byte. They are compiled for their CPUs by attribute, and given out only where the CPU has what they need.
 */
#include "copy.h"

#include <stdio.h>
#include <string.h>

#define HAS_ERMS 1u
#define HAS_AVX2 2u
#define HAS_AVX512 4u
#define HAS_PREFETCHW 8u

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>

/* Their sources may change meanwhile (a cache's page, which a generation vouches for afterwards; a client's memory): none of the thread sanitizer's business. */
#define ROUTINE(isa) __attribute__((target(isa), no_sanitize("thread"))) static void *

#define INLINE_COPY(type) \
	do { \
		type first, last; \
		__builtin_memcpy(&first, from, sizeof first); \
		__builtin_memcpy(&last, from + bytes - sizeof last, sizeof last); \
		__builtin_memcpy(to, &first, sizeof first); \
		__builtin_memcpy(to + bytes - sizeof last, &last, sizeof last); \
	} while (0)

/* Less than a vector of 64 bytes. */
static inline __attribute__((always_inline)) void copy_small(unsigned char *to, const unsigned char *from, size_t bytes) {
	if (bytes >= 32) {
		__m128i a = _mm_loadu_si128((const void *)from), b = _mm_loadu_si128((const void *)(from + 16));
		__m128i c = _mm_loadu_si128((const void *)(from + bytes - 32)), d = _mm_loadu_si128((const void *)(from + bytes - 16));
		_mm_storeu_si128((void *)to, a);
		_mm_storeu_si128((void *)(to + 16), b);
		_mm_storeu_si128((void *)(to + bytes - 32), c);
		_mm_storeu_si128((void *)(to + bytes - 16), d);
	} else if (bytes >= 16) INLINE_COPY(__m128i);
	else if (bytes >= 8) INLINE_COPY(uint64_t);
	else if (bytes >= 4) INLINE_COPY(uint32_t);
	else if (bytes >= 2) INLINE_COPY(uint16_t);
	else if (bytes) *to = *from;
}

#define NONE(line) ((void)0)
#define AHEAD_512(line) _mm_prefetch((const char *)(from + 512 + (line)), _MM_HINT_T0)
#define AHEAD_1024(line) _mm_prefetch((const char *)(from + 1024 + (line)), _MM_HINT_T0)
#define AHEAD_ONCE_512(line) _mm_prefetch((const char *)(from + 512 + (line)), _MM_HINT_NTA)
#define OWN_512(line) __builtin_prefetch(to + 512 + (line), 1) /* the target's lines are another CPU's: ask for them early, to write */

/* The empty asm keeps the compiler from seeing a memcpy in the loops and calling it. */
#define VECTOR_ROUTINE(name, isa, vector, load, store_unaligned, store, unroll, prefetch, finish) \
	ROUTINE(isa) name(void *restrict target, const void *restrict source, size_t bytes) { \
		enum { WIDTH = sizeof(vector), BLOCK = WIDTH * (unroll) }; \
		unsigned char *to = target, *end = to + bytes - WIDTH; \
		const unsigned char *from = source; \
		if (bytes < WIDTH) { \
			copy_small(to, from, bytes); \
			return target; \
		} \
		vector last = load((const void *)(from + bytes - WIDTH)); \
		size_t skip = WIDTH - ((uintptr_t)to & (WIDTH - 1)); \
		store_unaligned((void *)to, load((const void *)from)); \
		for (to += skip, from += skip, bytes -= skip; bytes >= BLOCK; to += BLOCK, from += BLOCK, bytes -= BLOCK) { \
			vector piece[unroll]; \
			__asm__ volatile("" : "+r"(to), "+r"(from)); \
			_Pragma("GCC unroll 8") for (unsigned line = 0; line < BLOCK; line += 64) prefetch(line); \
			_Pragma("GCC unroll 8") for (unsigned i = 0; i < (unroll); i++) piece[i] = load((const void *)(from + i * WIDTH)); \
			_Pragma("GCC unroll 8") for (unsigned i = 0; i < (unroll); i++) store((void *)(to + i * WIDTH), piece[i]); \
		} \
		for (; bytes >= WIDTH; to += WIDTH, from += WIDTH, bytes -= WIDTH) { \
			__asm__ volatile("" : "+r"(to), "+r"(from)); \
			store((void *)to, load((const void *)from)); \
		} \
		store_unaligned((void *)end, last); \
		finish; \
		return target; \
	}
#define SSE2(name, unroll, prefetch) VECTOR_ROUTINE(name, "sse2", __m128i, _mm_loadu_si128, _mm_storeu_si128, _mm_store_si128, unroll, prefetch, (void)0)
#define AVX2(name, isa, unroll, prefetch) VECTOR_ROUTINE(name, isa, __m256i, _mm256_loadu_si256, _mm256_storeu_si256, _mm256_store_si256, unroll, prefetch, (void)0)
#define AVX512(name, isa, unroll, prefetch) VECTOR_ROUTINE(name, isa, __m512i, _mm512_loadu_si512, _mm512_storeu_si512, _mm512_store_si512, unroll, prefetch, (void)0)
/* Past the caches. The fence: what is published by a later store must not overtake the data. */
#define AVX2_NT(name, unroll, prefetch) VECTOR_ROUTINE(name, "avx2", __m256i, _mm256_loadu_si256, _mm256_storeu_si256, _mm256_stream_si256, unroll, prefetch, _mm_sfence())
#define AVX512_NT(name, unroll, prefetch) VECTOR_ROUTINE(name, "avx512f", __m512i, _mm512_loadu_si512, _mm512_storeu_si512, _mm512_stream_si512, unroll, prefetch, _mm_sfence())

SSE2(sse2_4, 4, NONE)
AVX2(avx2_4, "avx2", 4, NONE)
AVX2(avx2_8, "avx2", 8, NONE)
AVX2(avx2_4_ahead_512, "avx2", 4, AHEAD_512)
AVX2(avx2_4_ahead_1024, "avx2", 4, AHEAD_1024)
AVX2(avx2_4_own_512, "avx2,prfchw", 4, OWN_512)
AVX512(avx512_2, "avx512f", 2, NONE)
AVX512(avx512_4, "avx512f", 4, NONE)
AVX512(avx512_8, "avx512f", 8, NONE)
AVX512(avx512_4_ahead_512, "avx512f", 4, AHEAD_512)
AVX512(avx512_4_ahead_1024, "avx512f", 4, AHEAD_1024)
AVX512(avx512_4_own_512, "avx512f,prfchw", 4, OWN_512)
AVX2_NT(avx2_4_nt, 4, NONE)
AVX2_NT(avx2_4_nt_ahead_512, 4, AHEAD_ONCE_512)
AVX512_NT(avx512_4_nt, 4, NONE)
AVX512_NT(avx512_4_nt_ahead_512, 4, AHEAD_ONCE_512)

static void *movsb(void *restrict to, const void *restrict from, size_t bytes) {
	void *target = to;
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
	return target;
}

static uint64_t enabled_by_system(void) {
	uint32_t low, high;
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (uint64_t)high << 32 | low;
}

uint32_t dc_copy_features(void) {
	uint32_t a, b, c, d, features = 0;
	if (__get_cpuid(0x80000001u, &a, &b, &c, &d) && c & 1u << 8) features |= HAS_PREFETCHW;
	if (!__get_cpuid(1, &a, &b, &c, &d)) return features;
	uint64_t system = c & 1u << 27 ? enabled_by_system() : 0;
	if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return features;
	if (b & 1u << 9) features |= HAS_ERMS;
	if (b & 1u << 5 && (system & 0x06) == 0x06) features |= HAS_AVX2;
	if (b & 1u << 16 && (system & 0xe6) == 0xe6) features |= HAS_AVX512;
	return features;
}

static void trim(char *text) {
	size_t to = 0;
	for (size_t from = 0; text[from]; from++)
		if (text[from] != ' ' || (to && text[to - 1] != ' ')) text[to++] = text[from] < 32 || text[from] > 126 || text[from] == '"' || text[from] == '\\' ? '?' : text[from];
	while (to && text[to - 1] == ' ') to--;
	text[to] = 0;
}

void dc_copy_cpu(char out[DC_COPY_CPU_MAX]) {
	uint32_t a = 0, b = 0, c = 0, d = 0, signature = 0, name[12] = {0};
	char vendor[13] = {0}, brand[49] = {0};
	if (__get_cpuid(0, &a, &b, &c, &d)) {
		memcpy(vendor, &b, 4);
		memcpy(vendor + 4, &d, 4);
		memcpy(vendor + 8, &c, 4);
	}
	if (!__get_cpuid(1, &signature, &b, &c, &d)) signature = 0;
	for (uint32_t i = 0; i < 3; i++)
		if (!__get_cpuid(0x80000002u + i, &name[4 * i], &name[4 * i + 1], &name[4 * i + 2], &name[4 * i + 3])) break;
	memcpy(brand, name, sizeof name);
	uint32_t family = signature >> 8 & 0xf, model = signature >> 4 & 0xf;
	if (family == 6 || family == 15) model |= signature >> 12 & 0xf0;
	if (family == 15) family += signature >> 20 & 0xff;
	snprintf(out, DC_COPY_CPU_MAX, "%s %u.%u.%u %s", vendor, family, model, signature & 0xf, brand);
	trim(out);
}

static const struct {
	const char *name;
	dc_copy_function *call; /* NULL: libc's */
	uint32_t needs;
} routines[DC_COPY_ROUTINES] = {
	[DC_COPY_LIBC] = {"libc", NULL, 0},
	[DC_COPY_MOVSB] = {"rep-movsb", movsb, HAS_ERMS},
	[DC_COPY_SSE2_4] = {"sse2x4", sse2_4, 0},
	[DC_COPY_AVX2_4] = {"avx2x4", avx2_4, HAS_AVX2},
	[DC_COPY_AVX2_8] = {"avx2x8", avx2_8, HAS_AVX2},
	[DC_COPY_AVX2_4_AHEAD_512] = {"avx2x4-ahead512", avx2_4_ahead_512, HAS_AVX2},
	[DC_COPY_AVX2_4_AHEAD_1024] = {"avx2x4-ahead1024", avx2_4_ahead_1024, HAS_AVX2},
	[DC_COPY_AVX2_4_OWN_512] = {"avx2x4-own512", avx2_4_own_512, HAS_AVX2 | HAS_PREFETCHW},
	[DC_COPY_AVX512_2] = {"avx512x2", avx512_2, HAS_AVX512},
	[DC_COPY_AVX512_4] = {"avx512x4", avx512_4, HAS_AVX512},
	[DC_COPY_AVX512_8] = {"avx512x8", avx512_8, HAS_AVX512},
	[DC_COPY_AVX512_4_AHEAD_512] = {"avx512x4-ahead512", avx512_4_ahead_512, HAS_AVX512},
	[DC_COPY_AVX512_4_AHEAD_1024] = {"avx512x4-ahead1024", avx512_4_ahead_1024, HAS_AVX512},
	[DC_COPY_AVX512_4_OWN_512] = {"avx512x4-own512", avx512_4_own_512, HAS_AVX512 | HAS_PREFETCHW},
	[DC_COPY_AVX2_4_NT] = {"avx2x4-nt", avx2_4_nt, HAS_AVX2},
	[DC_COPY_AVX2_4_NT_AHEAD_512] = {"avx2x4-nt-ahead512", avx2_4_nt_ahead_512, HAS_AVX2},
	[DC_COPY_AVX512_4_NT] = {"avx512x4-nt", avx512_4_nt, HAS_AVX512},
	[DC_COPY_AVX512_4_NT_AHEAD_512] = {"avx512x4-nt-ahead512", avx512_4_nt_ahead_512, HAS_AVX512},
};
#else
/* Other machines: libc knows best until somebody measures. */
static const struct {
	const char *name;
	dc_copy_function *call;
	uint32_t needs;
} routines[DC_COPY_ROUTINES] = {[DC_COPY_LIBC] = {"libc", NULL, 0}};

uint32_t dc_copy_features(void) {
	return 0;
}

void dc_copy_cpu(char out[DC_COPY_CPU_MAX]) {
	strcpy(out, "unknown");
}
#endif

const char *dc_copy_name(unsigned routine) {
	return routine < DC_COPY_ROUTINES ? routines[routine].name : NULL;
}

const char *dc_copy_direction_name(enum dc_copy_direction direction) {
	static const char *const names[DC_COPY_DIRECTIONS] = {"toShared", "fromShared", "within", "fromCache"};
	return names[direction];
}

size_t dc_copy_class_limit(unsigned class) {
	static const size_t limits[DC_COPY_CLASSES] = {512, 4096, 65536, 262144, 0};
	return limits[class];
}

dc_copy_function *dc_copy_routine(unsigned routine, uint32_t features, dc_copy_function *libc) {
	if (routine == DC_COPY_LIBC) return libc;
	if (routine >= DC_COPY_ROUTINES || !routines[routine].call || routines[routine].needs & ~features) return NULL;
	return routines[routine].call;
}

void dc_copier_bind(struct dc_copier *copier, const struct dc_copy_choice *choice, dc_copy_function *libc) {
	struct dc_copy_choice copy = {0};
	uint32_t features = 0;
	if (choice) {
		copy = *(const volatile struct dc_copy_choice *)choice;
		for (unsigned i = 0; i < sizeof copy.routine; i++) features |= (&copy.routine[0][0])[i];
		if (features) features = dc_copy_features(); /* nothing to ask when it is libc throughout */
	}
	for (unsigned direction = 0; direction < DC_COPY_DIRECTIONS; direction++) {
		for (unsigned class = 0; class < DC_COPY_CLASSES; class++) {
			dc_copy_function *call = dc_copy_routine(copy.routine[direction][class], features, libc);
			atomic_store_explicit(&copier->call[direction][class], call ? call : libc, memory_order_relaxed);
		}
	}
}
