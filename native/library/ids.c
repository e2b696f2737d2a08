/*
 * ids.c - a process that changes who it is attaches again, so that the service sees its new ids. Open descriptions stay: the kernel door's descriptors hold them over the change and are
 * adopted again at the first use. Also what makes absolute paths mean something else.
 */
#include "internal.h"

#include <grp.h>
#include <sched.h>
#include <sys/fsuid.h>

static void before(void) {
	if (dc_active() && dc_session_if_ready()) dc_share_table(DC_SHARE_ALL);
}

static int after(int result) {
	if (dc_active() && result == 0) dc_session_leave();
	return result;
}

EXPORT int setuid(uid_t uid) { before(); return after(NEXT(setuid)(uid)); }
EXPORT int seteuid(uid_t uid) { before(); return after(NEXT(seteuid)(uid)); }
EXPORT int setreuid(uid_t real, uid_t effective) { before(); return after(NEXT(setreuid)(real, effective)); }
EXPORT int setresuid(uid_t real, uid_t effective, uid_t saved) { before(); return after(NEXT(setresuid)(real, effective, saved)); }
EXPORT int setgid(gid_t gid) { before(); return after(NEXT(setgid)(gid)); }
EXPORT int setegid(gid_t gid) { before(); return after(NEXT(setegid)(gid)); }
EXPORT int setregid(gid_t real, gid_t effective) { before(); return after(NEXT(setregid)(real, effective)); }
EXPORT int setresgid(gid_t real, gid_t effective, gid_t saved) { before(); return after(NEXT(setresgid)(real, effective, saved)); }
EXPORT int setgroups(size_t count, const gid_t *groups) { before(); return after(NEXT(setgroups)(count, groups)); }
EXPORT int initgroups(const char *user, gid_t group) { before(); return after(NEXT(initgroups)(user, group)); }

/* These answer the former id and report no error. */
EXPORT int setfsuid(uid_t uid) {
	before();
	int former = NEXT(setfsuid)(uid);
	after(0);
	return former;
}

EXPORT int setfsgid(gid_t gid) {
	before();
	int former = NEXT(setfsgid)(gid);
	after(0);
	return former;
}

/* ---- namespaces ------------------------------------------------------------------------------------------------------------ */
static void namespaces_changed(int flags) {
	if (flags & (CLONE_NEWNS | CLONE_NEWUSER)) dc_absolute_stopped = true;
	if (flags & (CLONE_FS | CLONE_NEWNS | CLONE_NEWUSER)) dc_cwd_untracked(1); /* a working directory per thread: not ours to follow */
}

EXPORT int unshare(int flags) {
	int result = NEXT(unshare)(flags);
	if (result == 0 && dc_active()) namespaces_changed(flags);
	return result;
}

EXPORT int setns(int fd, int type) {
	int result = NEXT(setns)(fd, type);
	if (result == 0 && dc_active()) namespaces_changed(type ? type : CLONE_NEWNS);
	return result;
}
