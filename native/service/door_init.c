/*
 * door_init.c - the handshake: what the kernel offers, what is taken, and why. docs/doors.md has the same list for readers, with figures.
 */
#include <stdio.h>
#include <stdlib.h>

#include "door_internal.h"

static void want(struct fuse_conn_info *conn, unsigned capability, bool on) {
	if (on && (conn->capable & capability)) conn->want |= capability;
	if (!on) conn->want &= ~capability;
}

void door_init(void *userdata, struct fuse_conn_info *conn) {
	struct dc_door *door = userdata;
	conn->max_write = DOOR_TRANSFER_MAX;
	conn->max_readahead = DOOR_TRANSFER_MAX;
	conn->max_background = 64;
	conn->congestion_threshold = 48;
	want(conn, FUSE_CAP_ATOMIC_O_TRUNC, false);  /* truncation comes as SETATTR, so that open needs no request */
	want(conn, FUSE_CAP_WRITEBACK_CACHE, false); /* the service is the only truth */
	want(conn, FUSE_CAP_POSIX_LOCKS, false);     /* locks stay in the kernel: they hold between all processes of this machine */
	want(conn, FUSE_CAP_FLOCK_LOCKS, false);
	want(conn, FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE, false); /* data go to and from memory: a pipe would be one copy more */
	want(conn, FUSE_CAP_AUTO_INVAL_DATA, false); /* pages go when we say so, not when a time changed */
	want(conn, FUSE_CAP_EXPLICIT_INVAL_DATA, true);
	want(conn, FUSE_CAP_ASYNC_READ, true);
	want(conn, FUSE_CAP_PARALLEL_DIROPS, true);
	want(conn, FUSE_CAP_READDIRPLUS, door->keeps_names);
	want(conn, FUSE_CAP_READDIRPLUS_AUTO, door->keeps_names);
	want(conn, FUSE_CAP_CACHE_SYMLINKS, door->cache); /* a link's text never changes; a new link is a new node */
	want(conn, FUSE_CAP_POSIX_ACL, true);
	want(conn, FUSE_CAP_EXPORT_SUPPORT, true);
	door->no_open = door->cache && (conn->capable & FUSE_CAP_NO_OPEN_SUPPORT);
	door->no_opendir = door->keeps_names && (conn->capable & FUSE_CAP_NO_OPENDIR_SUPPORT);
}

/* The names of the flags as the kernel has them (include/uapi/linux/fuse.h), for the log. */
static const struct { uint64_t flag; const char *name; } flag_names[] = {
	{FUSE_ASYNC_READ, "async-read"}, {FUSE_POSIX_LOCKS, "posix-locks"}, {FUSE_ATOMIC_O_TRUNC, "atomic-o-trunc"}, {FUSE_EXPORT_SUPPORT, "export"}, {FUSE_BIG_WRITES, "big-writes"},
	{FUSE_DONT_MASK, "dont-mask"}, {FUSE_SPLICE_WRITE, "splice-write"}, {FUSE_SPLICE_MOVE, "splice-move"}, {FUSE_SPLICE_READ, "splice-read"}, {FUSE_FLOCK_LOCKS, "flock-locks"},
	{FUSE_AUTO_INVAL_DATA, "auto-inval-data"}, {FUSE_DO_READDIRPLUS, "readdirplus"}, {FUSE_READDIRPLUS_AUTO, "readdirplus-auto"}, {FUSE_ASYNC_DIO, "async-dio"},
	{FUSE_WRITEBACK_CACHE, "writeback-cache"}, {FUSE_NO_OPEN_SUPPORT, "no-open"}, {FUSE_PARALLEL_DIROPS, "parallel-dirops"}, {FUSE_HANDLE_KILLPRIV, "handle-killpriv"},
	{FUSE_POSIX_ACL, "posix-acl"}, {FUSE_MAX_PAGES, "max-pages"}, {FUSE_CACHE_SYMLINKS, "cache-symlinks"}, {FUSE_NO_OPENDIR_SUPPORT, "no-opendir"},
	{FUSE_EXPLICIT_INVAL_DATA, "explicit-inval-data"}, {DOOR_INIT_HANDLE_KILLPRIV_V2, "handle-killpriv-v2"}, {FUSE_INIT_EXT, "init-ext"},
	{DOOR_INIT_DIRECT_IO_ALLOW_MMAP, "direct-io-allow-mmap"},
};

static void log_answer(const struct dc_door *door, const struct fuse_init_out *out, uint64_t flags) {
	char text[400];
	size_t used = 0;
	text[0] = 0;
	for (unsigned i = 0; i < sizeof flag_names / sizeof *flag_names && used < sizeof text; i++)
		if (flags & flag_names[i].flag) used += (size_t)snprintf(text + used, sizeof text - used, " %s", flag_names[i].name);
	door_log(door, LOG_INFO, "FUSE 7.%u (the kernel has 7.%u), max_write %u, max_pages %u, max_readahead %u, max_background %u,%s", out->minor, door->kernel_minor, out->max_write, out->max_pages,
	         out->max_readahead, out->max_background, text);
}

/* Flags that libfuse 3.14 has no word for. */
void door_init_answer(struct dc_door *door, struct fuse_init_out *out) {
	uint64_t flags = out->flags | (uint64_t)out->flags2 << 32;
	flags |= door->kernel_flags & DOOR_INIT_HANDLE_KILLPRIV_V2; /* else the kernel asks for security.capability before every write */
	if (!door->cache && (door->kernel_flags & FUSE_INIT_EXT)) flags |= door->kernel_flags & DOOR_INIT_DIRECT_IO_ALLOW_MMAP;
	flags |= door->kernel_flags & FUSE_PARALLEL_DIROPS; /* libfuse 3.14 forgets to pass it on */
	out->flags = (uint32_t)flags;
	out->flags2 = (uint32_t)(flags >> 32);
	log_answer(door, out, flags);
}

/*
 * From 6.19 (VFS: start_removing_noperm()) until that was taken back for 7.2 ("fuse: do not use start_removing_noperm()"; in 7.1.y too, since its July 2026, but which kernels of distributions have
 * it nobody can tell).
 */
bool dc_door_kernel_unlocked(const char *release) {
	int major = 0, minor = 0;
	if (sscanf(release, "%d.%d", &major, &minor) != 2) return true;
	return (major == 6 && minor >= 19) || (major == 7 && minor < 2);
}

int door_serve_init(struct dc_door *door, const struct dc_door_options *options, struct dc_error *error) {
	struct fuse_in_header header;
	struct fuse_init_in init = {0};
	size_t minimum = sizeof header + offsetof(struct fuse_init_in, flags2);
	if (options->init_length < minimum || options->init_length > 4096) return dc_error_set(error, EINVAL, "the saved INIT request has %zu bytes", options->init_length);
	memcpy(&header, options->init_request, sizeof header);
	size_t body = options->init_length - sizeof header;
	memcpy(&init, options->init_request + sizeof header, body < sizeof init ? body : sizeof init);
	if (header.opcode != FUSE_INIT || init.major != FUSE_KERNEL_VERSION || init.minor < 31)
		return dc_error_set(error, EPROTO, "the kernel offers FUSE %u.%u (request %u), this door needs 7.31 or later", init.major, init.minor, header.opcode);
	door->kernel_minor = init.minor;
	door->kernel_flags = init.flags | (init.flags & FUSE_INIT_EXT ? (uint64_t)init.flags2 << 32 : 0);
	/* Names that outlive us can be distrusted from 7.44 on; before, they must expire by themselves. */
	door->timeout = !door->keeps_names ? 0 : init.minor >= 44 ? DOOR_FOREVER : 1;
	/* A whole struct for libfuse, whatever the kernel's length was. */
	unsigned char whole[sizeof header + sizeof init];
	memcpy(whole, &header, sizeof header);
	memcpy(whole + sizeof header, &init, sizeof init);
	door->init_request = whole;
	door->init_length = sizeof whole;
	door->init_unique = header.unique;
	struct fuse_buf buffer = {0};
	int length = fuse_session_receive_buf(door->session, &buffer);
	if (length > 0) fuse_session_process_buf(door->session, &buffer);
	free(buffer.mem);
	door->init_request = NULL;
	if (length <= 0 || fuse_session_exited(door->session)) return dc_error_set(error, EPROTO, "the FUSE handshake failed");
	return 0;
}
