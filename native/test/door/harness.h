/*
 * harness.h - a kernel door over the real stack in a private mount namespace. Each test runs in a process of its own, watched by a parent that aborts the FUSE connection
 * and kills it when it takes too long; the mount dies with the namespace.
 */
#ifndef DOOR_TEST_HARNESS_H
#define DOOR_TEST_HARNESS_H

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "door_internal.h"

/* What the hook above the stack's root may be told to do around an operation of the door (not around the test's own calls, which go below it). */
enum hooked { HOOK_LOOKUP, HOOK_GETATTR, HOOK_READ, HOOK_WRITE, HOOK_READDIR, HOOK_FSYNC, HOOK_SETATTR, HOOK_UNLINK, HOOK_CREATE, HOOK_COUNT };
typedef void (*hook_function)(struct dc_node *node);

struct world {
	char base[64];     /* everything of this test lies below */
	char mount[80];    /* the door */
	char backing[80];  /* what `local` serves */
	char oracle[80];   /* a plain directory of the same filesystem */
	int fuse_fd;       /* pool-init's: outlives doors */
	unsigned char init[512];
	size_t init_length;
	struct dc_host host;
	struct dc_modules *modules;
	struct dc_instance instance;
	struct dc_libservice *below; /* the real root */
	struct dc_libservice hook;
	struct dc_file_binding binding;
	_Atomic(hook_function) before[HOOK_COUNT], after[HOOK_COUNT]; /* threads of the door read them while a test sets them */
	_Atomic int lookup_error; /* the door's next lookup fails so */
	_Atomic uint64_t counts[DC_COUNTED_COUNT], errors[DC_COUNTED_COUNT];
	void (*_Atomic pushed)(void); /* after each size that the door has pushed to the kernel */
	bool unlocked;     /* as if the kernel were one that looks names up before it locks the directory */
	struct dc_node *_Atomic handle_node; /* what dc_handle_node answers for number 1 */
};
extern struct world world;

void world_door(bool cache, unsigned threads); /* starts (or starts again) a door on the connection */
void world_stack(void);                        /* stops door and stack, as a killed service would */
int run_tests(int argc, char **argv);

struct test {
	const char *name;
	void (*run)(void);
	bool cache, unlocked;
};
extern const struct test tests[];
/* name suites, NULL-terminated, for door_test.c */

const char *path(const char *name); /* below the mount; a few at a time */
const char *backing_path(const char *name);
const char *oracle_path(const char *name);

/* Changes as the library's back driver makes them: on the stack, then told to the door. */
struct dc_node *stack_node(const char *name); /* referenced */
void stack_forget(struct dc_node *node);
void change_create(const char *name, const char *text);
void change_write(const char *name, off_t offset, const char *text);
void change_truncate(const char *name, off_t size);
void change_mode(const char *name, mode_t mode);
void change_owner(const char *name, uid_t owner, mode_t mode);
void change_unlink(const char *name);
void change_rename(const char *from, const char *to);
void change_mkdir(const char *name);

void write_file(const char *full, const char *text);
char *read_file(const char *full); /* static buffer */
uint64_t carried(enum dc_counted operation);

_Noreturn void fail(const char *file, int line, const char *what);
#define CHECK(condition) ((condition) ? (void)0 : fail(__FILE__, __LINE__, #condition))
#define CHECK_ERRNO(call, expected) do { errno = 0; long check_result_ = (long)(call); if (check_result_ != -1 || errno != (expected)) { \
	fprintf(stderr, "  answered %ld, errno %d (%s), expected %d\n", check_result_, errno, strerror(errno), (expected)); fail(__FILE__, __LINE__, #call); } } while (0)

#endif
