/*
 * wide.c - wide characters: the first one makes a stream glibc's own file stream, over the kernel door's descriptor (stdio.c). Every entry that may bring the first one is here;
 * those without a stream act on stdin or stdout, which a program may have set to a stream of its own.
 */
#include "internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <wchar.h>

EXPORT int fwide(FILE *stream, int mode) { return NEXT(fwide)(mode > 0 ? dc_widened(stream) : stream, mode); }

/* ---- one character, one line ------------------------------------------------------------------------------------------------------- */
EXPORT wint_t fgetwc(FILE *stream) { return NEXT(fgetwc)(dc_widened(stream)); }
ALIAS(getwc, fgetwc);
EXPORT wint_t fgetwc_unlocked(FILE *stream) { return NEXT(fgetwc_unlocked)(dc_widened(stream)); }
ALIAS(getwc_unlocked, fgetwc_unlocked);
EXPORT wint_t getwchar(void) { return fgetwc(stdin); }
EXPORT wint_t getwchar_unlocked(void) { return fgetwc_unlocked(stdin); }
EXPORT wint_t fputwc(wchar_t character, FILE *stream) { return NEXT(fputwc)(character, dc_widened(stream)); }
ALIAS(putwc, fputwc);
EXPORT wint_t fputwc_unlocked(wchar_t character, FILE *stream) { return NEXT(fputwc_unlocked)(character, dc_widened(stream)); }
ALIAS(putwc_unlocked, fputwc_unlocked);
EXPORT wint_t putwchar(wchar_t character) { return fputwc(character, stdout); }
EXPORT wint_t putwchar_unlocked(wchar_t character) { return fputwc_unlocked(character, stdout); }
EXPORT wint_t ungetwc(wint_t character, FILE *stream) { return NEXT(ungetwc)(character, dc_widened(stream)); }
EXPORT wchar_t *fgetws(wchar_t *restrict out, int count, FILE *restrict stream) { return NEXT(fgetws)(out, count, dc_widened(stream)); }
EXPORT wchar_t *fgetws_unlocked(wchar_t *restrict out, int count, FILE *restrict stream) { return NEXT(fgetws_unlocked)(out, count, dc_widened(stream)); }
EXPORT int fputws(const wchar_t *restrict text, FILE *restrict stream) { return NEXT(fputws)(text, dc_widened(stream)); }
EXPORT int fputws_unlocked(const wchar_t *restrict text, FILE *restrict stream) { return NEXT(fputws_unlocked)(text, dc_widened(stream)); }

wchar_t *__fgetws_chk(wchar_t *out, size_t space, int count, FILE *stream);
EXPORT wchar_t *__fgetws_chk(wchar_t *out, size_t space, int count, FILE *stream) { return NEXT(__fgetws_chk)(out, space, count, dc_widened(stream)); }
wchar_t *__fgetws_unlocked_chk(wchar_t *out, size_t space, int count, FILE *stream);
EXPORT wchar_t *__fgetws_unlocked_chk(wchar_t *out, size_t space, int count, FILE *stream) { return NEXT(__fgetws_unlocked_chk)(out, space, count, dc_widened(stream)); }

/* ---- printing: the list form is glibc's, the others call it ------------------------------------------------------------------------- */
#define WITH_LIST(last, call) \
	va_list list; \
	va_start(list, last); \
	int result = call; \
	va_end(list); \
	return result

EXPORT int vfwprintf(FILE *restrict stream, const wchar_t *restrict format, va_list list) { return NEXT(vfwprintf)(dc_widened(stream), format, list); }
EXPORT int vwprintf(const wchar_t *restrict format, va_list list) { return vfwprintf(stdout, format, list); }
EXPORT int fwprintf(FILE *restrict stream, const wchar_t *restrict format, ...) { WITH_LIST(format, vfwprintf(stream, format, list)); }
EXPORT int wprintf(const wchar_t *restrict format, ...) { WITH_LIST(format, vfwprintf(stdout, format, list)); }

int __vfwprintf_chk(FILE *stream, int flag, const wchar_t *format, va_list list);
EXPORT int __vfwprintf_chk(FILE *stream, int flag, const wchar_t *format, va_list list) { return NEXT(__vfwprintf_chk)(dc_widened(stream), flag, format, list); }
int __vwprintf_chk(int flag, const wchar_t *format, va_list list);
EXPORT int __vwprintf_chk(int flag, const wchar_t *format, va_list list) { return __vfwprintf_chk(stdout, flag, format, list); }
int __fwprintf_chk(FILE *stream, int flag, const wchar_t *format, ...);
EXPORT int __fwprintf_chk(FILE *stream, int flag, const wchar_t *format, ...) { WITH_LIST(format, __vfwprintf_chk(stream, flag, format, list)); }
int __wprintf_chk(int flag, const wchar_t *format, ...);
EXPORT int __wprintf_chk(int flag, const wchar_t *format, ...) { WITH_LIST(format, __vfwprintf_chk(stdout, flag, format, list)); }

/* ---- scanning: three generations of the same four names (GNU, C99, C23), each with its own meaning of the format ---------------------- */
#define SCANNING(vfwscanf_, vwscanf_, fwscanf_, wscanf_) \
	int vfwscanf_(FILE *restrict stream, const wchar_t *restrict format, va_list list); \
	EXPORT int vfwscanf_(FILE *restrict stream, const wchar_t *restrict format, va_list list) { return NEXT(vfwscanf_)(dc_widened(stream), format, list); } \
	int vwscanf_(const wchar_t *restrict format, va_list list); \
	EXPORT int vwscanf_(const wchar_t *restrict format, va_list list) { return vfwscanf_(stdin, format, list); } \
	int fwscanf_(FILE *restrict stream, const wchar_t *restrict format, ...); \
	EXPORT int fwscanf_(FILE *restrict stream, const wchar_t *restrict format, ...) { WITH_LIST(format, vfwscanf_(stream, format, list)); } \
	int wscanf_(const wchar_t *restrict format, ...); \
	EXPORT int wscanf_(const wchar_t *restrict format, ...) { WITH_LIST(format, vfwscanf_(stdin, format, list)); }

/* The headers give the C99 names to whoever says vfwscanf; the old ones are meant by name. */
#define PLAIN(name) __asm__(#name)
int gnu_vfwscanf(FILE *restrict stream, const wchar_t *restrict format, va_list list) PLAIN(vfwscanf);
int gnu_vwscanf(const wchar_t *restrict format, va_list list) PLAIN(vwscanf);
int gnu_fwscanf(FILE *restrict stream, const wchar_t *restrict format, ...) PLAIN(fwscanf);
int gnu_wscanf(const wchar_t *restrict format, ...) PLAIN(wscanf);

EXPORT int gnu_vfwscanf(FILE *restrict stream, const wchar_t *restrict format, va_list list) {
	static _Atomic(void *) next;
	void *found = atomic_load_explicit(&next, memory_order_relaxed);
	return ((__typeof__(&gnu_vfwscanf))(found ? found : dc_next(&next, "vfwscanf")))(dc_widened(stream), format, list);
}
EXPORT int gnu_vwscanf(const wchar_t *restrict format, va_list list) { return gnu_vfwscanf(stdin, format, list); }
EXPORT int gnu_fwscanf(FILE *restrict stream, const wchar_t *restrict format, ...) { WITH_LIST(format, gnu_vfwscanf(stream, format, list)); }
EXPORT int gnu_wscanf(const wchar_t *restrict format, ...) { WITH_LIST(format, gnu_vfwscanf(stdin, format, list)); }

SCANNING(__isoc99_vfwscanf, __isoc99_vwscanf, __isoc99_fwscanf, __isoc99_wscanf)
SCANNING(__isoc23_vfwscanf, __isoc23_vwscanf, __isoc23_fwscanf, __isoc23_wscanf)
