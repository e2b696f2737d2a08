/*
 * diciclo.h - for programs that link the filesystem library (-ldiciclo) instead of having it preloaded. Interface version 1.
 *
 * The library's file functions have libc's names, so a program that is linked with it needs no call of this header to be carried: where DICICLO_POOL_DIR is set (`diciclo run` sets it)
 * open(2), read(2) and all the others below a mount go to the service. What linking gains over preloading:
 *   - it cannot be lost where environments are cleared (env -i, sudo, cron, ssh) or not believed (set-user-id programs, which must name the pool themselves);
 *   - a program that was started without knowing its pool joins it by name at run time (diciclo_use), as a server does that serves several;
 *   - the attach (one socket message, under a millisecond) happens when the program likes (diciclo_attach), not in its first request;
 *   - the program can ask what nobody tells a preloaded one: through which door a file goes, and what went round the library (diciclo_door_of_*, diciclo_uncarried).
 * The library must come before libc in link order, which -ldiciclo on the command line does. Processes that the program starts get the library preloaded, as in a pool.
 *
 * All functions may be called from any thread; none but diciclo_use and diciclo_attach takes longer than a file call. Errors: -1 and errno, as system calls.
 * Names and meanings of version 1 stay; later versions add.
 */
#ifndef DICICLO_DICICLO_H
#define DICICLO_DICICLO_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DICICLO_INTERFACE_VERSION 1

/* The interface version of the library that runs, which may be newer than the header. */
int diciclo_interface_version(void);
/* Its release, such as "0.1.0". */
const char *diciclo_version(void);

/*
 * Carries calls below the mounts of the pool whose directory this is (contract.md §2; `diciclo pool show -o json` names it), from now on. Descriptors that are open already are looked at
 * when they are next used. The process must be in the pool (`diciclo run --door kernel`, or a container of it); what another pool's mounts are cannot be told to it.
 * ENOENT no running pool there, EPROTO its service is of another layout, EBUSY this process has another pool already, EINVAL no absolute path or too long.
 */
int diciclo_use(const char *pool_directory);

/* Attaches now. 0 when attached (already or now). ENOTCONN there is no pool, ECONNREFUSED the pool does not have us: the kernel door serves. */
int diciclo_attach(void);

/* From now on this process uses the kernel door alone; open files go on. There is no way back. */
void diciclo_leave(void);

enum diciclo_door {
	DICICLO_DOOR_NONE = 0,    /* not a file of an instance */
	DICICLO_DOOR_LIBRARY = 1, /* carried */
	DICICLO_DOOR_KERNEL = 2,  /* the instance's kernel door: right and slower */
};
/* Through which door calls on this path, or on this descriptor, go now. A path need not exist. */
enum diciclo_door diciclo_door_of_path(const char *path);
enum diciclo_door diciclo_door_of_descriptor(int fd);

/* What this process left to the kernel door since it attached, by libc call (names: `uncarried` of `diciclo stats`). */
struct diciclo_count {
	const char *name; /* for good */
	uint64_t count;
};
/* Fills `out` with at most `space` of those that are not zero; answers how many there are. */
size_t diciclo_uncarried(struct diciclo_count *out, size_t space);

#ifdef __cplusplus
}
#endif

#endif
