/*
 * door.c - the kernel door: a FUSE session on the same instance, and the same nodes, as the library.
 *
 * pool-init owns the mount and the descriptor's origin; a service that starts anew gets a duplicate and the INIT request that the kernel sent once. libfuse insists on an INIT of its own,
 * so the saved one is fed to it first. Its answer is written every time: the kernel takes the first and refuses the others with ENOENT, which is how a restart is noticed.
 * After a restart the kernel is told to distrust all names (protocol 7.44) and to send again what it was waiting for (7.40), before the first request is read.
 *
 * Threads: one waits for requests; when it gets one and nobody else waits, it starts another, up to threads_max. More than IDLE_MAX waiting ones end, once for IDLE_NS no
 * more were needed: a thread costs a megabyte and a millisecond. Waiting is a blocking read.
 */
#include "door_internal.h"

#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "door_ledger.h"

#define IDLE_MAX 2
#define IDLE_NS UINT64_C(1000000000)
#define STACK_SIZE (256u << 10)

struct door_thread {
	struct dc_door *door;
	struct door_thread *next;
	pthread_t id;
	unsigned char *buffer; /* header page and a transfer */
};

_Thread_local struct door_request door_current;

void door_log(const struct dc_door *door, int priority, const char *format, ...) {
	char text[512];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	const struct dc_host *host = door->root->host;
	if (host && host->log) host->log(host, priority, "kernel door of %s: %s", door->instance->name, text);
}

/* ---- the device ----------------------------------------------------------------------------------------------------------- */
const struct fuse_lowlevel_ops door_operations = {
	.init = door_init, .lookup = door_lookup, .forget = door_forget, .forget_multi = door_forget_multi, .getattr = door_getattr, .setattr = door_setattr,
	.readlink = door_readlink, .mknod = door_mknod, .mkdir = door_mkdir, .unlink = door_unlink, .rmdir = door_rmdir, .symlink = door_symlink, .rename = door_rename,
	.link = door_link, .create = door_create, .open = door_open, .read = door_read, .write = door_write, .flush = door_flush, .release = door_release, .fsync = door_fsync,
	.opendir = door_opendir, .readdir = door_readdir, .readdirplus = door_readdirplus, .releasedir = door_release, .fsyncdir = door_fsync, .statfs = door_statfs,
	.setxattr = door_setxattr, .getxattr = door_getxattr, .listxattr = door_listxattr, .removexattr = door_removexattr, .fallocate = door_fallocate,
	.copy_file_range = door_copy_file_range, .lseek = door_lseek,
	/* access: the kernel checks by itself (default_permissions). Locks, ioctl, poll, bmap: the kernel's own answers to ENOSYS are the right ones. */
};

static ssize_t device_write(int fd, struct iovec *iov, int count, void *userdata) {
	struct dc_door *door = userdata;
	struct fuse_out_header *header = iov[0].iov_base;
	bool init = door->init_unique && header->unique == door->init_unique;
	if (init && !header->error && count == 2 && iov[1].iov_len == sizeof(struct fuse_init_out)) door_init_answer(door, iov[1].iov_base);
	ssize_t written;
	DOOR_BEFORE_ANSWER(door);
	do written = writev(fd, iov, count);
	while (written < 0 && errno == EINTR);
	if (init) {
		door->init_unique = 0;
		if (written < 0 && errno == ENOENT) {
			door->restarted = true;
			return header->len;
		}
	}
	return written;
}

static ssize_t device_read(int fd, void *buffer, size_t size, void *userdata) {
	struct dc_door *door = userdata;
	if (door->init_request) {
		if (door->init_length > size) {
			errno = EINVAL;
			return -1;
		}
		memcpy(buffer, door->init_request, door->init_length);
		door->init_request = NULL;
		return (ssize_t)door->init_length;
	}
	return read(fd, buffer, size);
}

/* Before the first request is read: what was asked of a predecessor must not be sent again once we have taken it. pool-init may have done so already; twice is no harm here. */
static void take_over(struct dc_door *door) {
	int epoch = door->kernel_minor >= 44 ? door_notify_bare(door, DOOR_NOTIFY_INC_EPOCH) : -EOPNOTSUPP;
	int resend = door_notify_bare(door, DOOR_NOTIFY_RESEND);
	door_log(door, LOG_NOTICE, "took over after a restart (names distrusted: %s; pending requests sent again: %s)", epoch ? strerror(-epoch) : "yes", resend ? strerror(-resend) : "yes");
}

/* ---- one request ---------------------------------------------------------------------------------------------------------- */
static int counted_operation(const struct fuse_in_header *header) {
	static const signed char table[] = {
		[FUSE_LOOKUP] = DC_COUNTED_lookup + 1, [FUSE_GETATTR] = DC_COUNTED_getattr + 1, [FUSE_SETATTR] = DC_COUNTED_setattr + 1, [FUSE_READLINK] = DC_COUNTED_readlink + 1,
		[FUSE_SYMLINK] = DC_COUNTED_symlink + 1, [FUSE_MKNOD] = DC_COUNTED_mknod + 1, [FUSE_MKDIR] = DC_COUNTED_mkdir + 1, [FUSE_UNLINK] = DC_COUNTED_unlink + 1,
		[FUSE_RMDIR] = DC_COUNTED_rmdir + 1, [FUSE_RENAME] = DC_COUNTED_rename + 1, [FUSE_LINK] = DC_COUNTED_link + 1, [FUSE_OPEN] = DC_COUNTED_open + 1,
		[FUSE_READ] = DC_COUNTED_read + 1, [FUSE_WRITE] = DC_COUNTED_write + 1, [FUSE_STATFS] = DC_COUNTED_statfs + 1, [FUSE_RELEASE] = DC_COUNTED_close + 1,
		[FUSE_FSYNC] = DC_COUNTED_fsync + 1, [FUSE_SETXATTR] = DC_COUNTED_setxattr + 1, [FUSE_GETXATTR] = DC_COUNTED_getxattr + 1, [FUSE_LISTXATTR] = DC_COUNTED_listxattr + 1,
		[FUSE_REMOVEXATTR] = DC_COUNTED_removexattr + 1, [FUSE_OPENDIR] = DC_COUNTED_opendir + 1, [FUSE_READDIR] = DC_COUNTED_readdir + 1, [FUSE_FSYNCDIR] = DC_COUNTED_fsync + 1,
		[FUSE_ACCESS] = DC_COUNTED_access + 1, [FUSE_CREATE] = DC_COUNTED_create + 1, [FUSE_FALLOCATE] = DC_COUNTED_fallocate + 1, [FUSE_READDIRPLUS] = DC_COUNTED_readdir + 1,
		[FUSE_RENAME2] = DC_COUNTED_rename + 1, [FUSE_LSEEK] = DC_COUNTED_seek + 1, [FUSE_COPY_FILE_RANGE] = DC_COUNTED_copy + 1, [DOOR_OPCODE_TMPFILE] = DC_COUNTED_create + 1,
		[DOOR_OPCODE_STATX] = DC_COUNTED_getattr + 1,
	};
	return header->opcode < sizeof table ? table[header->opcode] - 1 : -1;
}

static void serve(struct door_thread *thread, struct fuse_buf *buffer) {
	struct dc_door *door = thread->door;
	const struct fuse_in_header *header = buffer->mem;
	uint64_t start = dc_now_ns();
	door_current = (struct door_request){
		.door = door, .header = header, .scratch = thread->buffer + 4096, .resent = (header->unique & DOOR_UNIQUE_RESEND) != 0, .counted = counted_operation(header), .result = -ENOSYS};
	if (header->opcode != DOOR_OPCODE_TMPFILE && header->opcode != DOOR_OPCODE_STATX) fuse_session_process_buf(door->session, buffer);
	else if (!door_raw_request(door, header, buffer->size)) fuse_session_process_buf(door->session, buffer); /* libfuse answers ENOSYS */
	door_once_answered();
	if (door_current.counted >= 0) dc_count(door->instance, DC_DOOR_KERNEL, (enum dc_counted)door_current.counted, door_current.result, dc_now_ns() - start);
}

/* ---- threads -------------------------------------------------------------------------------------------------------------- */
static void *thread_main(void *argument);

static void interrupt_nothing(int signal_number) {
	(void)signal_number;
}
/* Only ends a blocking read; SA_RESTART is not wanted. */
static int kick_signal(void) {
	return SIGRTMIN + 6;
}
static void install_kick(void) {
	struct sigaction action = {.sa_handler = interrupt_nothing};
	sigemptyset(&action.sa_mask);
	sigaction(kick_signal(), &action, NULL);
}

static struct door_thread *thread_new(struct dc_door *door) {
	struct door_thread *thread = calloc(1, sizeof *thread);
	if (!thread) return NULL;
	thread->door = door;
	/*
	 * Populated, and for good: a thread that has been killed while it waited still takes the next request, and the kernel copies it; finds it no memory at once it gives up with a dead
	 * process, and answers the request EIO instead of keeping it for our successor.
	 */
	thread->buffer = mmap(NULL, DOOR_BUFFER_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (thread->buffer != MAP_FAILED) return thread;
	free(thread);
	return NULL;
}
static void thread_free(struct door_thread *thread) {
	munmap(thread->buffer, DOOR_BUFFER_SIZE);
	free(thread);
}

static int thread_start(struct dc_door *door, bool beyond_limit) {
	struct door_thread *thread = thread_new(door);
	if (!thread) return -ENOMEM;
	sigset_t block, old;
	sigfillset(&block);
	sigdelset(&block, kick_signal());
	sigdelset(&block, SIGSEGV);
	sigdelset(&block, SIGBUS);
	pthread_attr_t attributes;
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	int result = -EAGAIN;
	pthread_mutex_lock(&door->lock);
	if (!atomic_load(&door->stopping) && (beyond_limit || door->thread_count < door->threads_max)) {
		pthread_sigmask(SIG_SETMASK, &block, &old);
		result = -pthread_create(&thread->id, &attributes, thread_main, thread);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
	}
	if (!result) {
		thread->next = door->threads;
		door->threads = thread;
		door->thread_count++;
		atomic_store(&door->thread_wanted_ns, dc_now_ns());
		atomic_fetch_add(&door->available, 1);
	}
	pthread_mutex_unlock(&door->lock);
	pthread_attr_destroy(&attributes);
	if (result) thread_free(thread);
	return result;
}

static void thread_end(struct door_thread *thread) {
	struct dc_door *door = thread->door;
	pthread_mutex_lock(&door->lock);
	struct door_thread **place = &door->threads;
	while (*place != thread) place = &(*place)->next;
	*place = thread->next;
	munmap(thread->buffer, DOOR_BUFFER_SIZE);
	free(thread);
	door->thread_count--;
	pthread_cond_signal(&door->gone);
	pthread_mutex_unlock(&door->lock); /* the last touch of the door */
}

static void thread_taken(struct dc_door *door) {
	if (atomic_fetch_sub(&door->available, 1) == 1) thread_start(door, false);
}

void door_step_aside(struct dc_door *door) {
	/* This thread is busy already; only if none waits must one more be made, limit or not: the kernel may need it before it lets us go on. */
	if (atomic_load(&door->available) <= 0 && thread_start(door, true)) door_log(door, LOG_WARNING, "no memory for one more thread");
}

/* True: go on waiting. */
static bool thread_back(struct dc_door *door) {
	int available = atomic_load(&door->available);
	while (available < IDLE_MAX || dc_now_ns() - atomic_load(&door->thread_wanted_ns) < IDLE_NS)
		if (atomic_compare_exchange_weak(&door->available, &available, available + 1)) return true;
	return false;
}

static bool is_forget(const struct fuse_buf *buffer) {
	uint32_t opcode = ((const struct fuse_in_header *)buffer->mem)->opcode;
	return opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET;
}

static void *thread_main(void *argument) {
	struct door_thread *thread = argument;
	struct dc_door *door = thread->door;
	bool waiting = true;
	while (!atomic_load(&door->stopping)) {
		struct fuse_buf buffer = {.mem = thread->buffer, .size = DOOR_BUFFER_SIZE};
		int length = fuse_session_receive_buf(door->session, &buffer);
		if (length == -EINTR || length == -EAGAIN) continue;
		if (length <= 0) break; /* unmounted, or stopping */
		bool forget = is_forget(&buffer); /* a burst of these is no reason for more threads */
		if (!forget) thread_taken(door);
		serve(thread, &buffer);
		if (!forget && !(waiting = thread_back(door))) break;
	}
	if (waiting) atomic_fetch_sub(&door->available, 1);
	thread_end(thread);
	return NULL;
}

/* ---- start and stop ------------------------------------------------------------------------------------------------------- */
static void door_free(struct dc_door *door) {
	munmap(door->unreadable, DOOR_STORE_SPAN);
	if (door->session) fuse_session_destroy(door->session); /* closes the descriptor, if it has it */
	else if (door->fd >= 0) close(door->fd);
	door_table_close(door);
	door_ledger_close(door);
	pthread_cond_destroy(&door->gone);
	pthread_mutex_destroy(&door->lock);
	free(door);
}

static int session_open(struct dc_door *door, struct dc_error *error) {
	static char program[] = "diciclo-service";
	char *argv[] = {program, NULL};
	struct fuse_args arguments = FUSE_ARGS_INIT(1, argv);
	static const struct fuse_custom_io io = {.writev = device_write, .read = device_read};
	struct fuse_session *session = fuse_session_new(&arguments, &door_operations, sizeof door_operations, door);
	fuse_opt_free_args(&arguments);
	if (!session) return dc_error_set(error, ENOMEM, "libfuse made no session");
	door->session = session;
	if (fuse_session_custom_io(session, &io, door->fd)) return dc_error_set(error, EBADF, "libfuse refused the descriptor %d", door->fd);
	return 0;
}

struct dc_door *dc_door_start(struct dc_instance *instance, const struct dc_door_options *options, struct dc_error *error) {
	struct dc_door *door = calloc(1, sizeof *door);
	void *unreadable = door ? mmap(NULL, DOOR_STORE_SPAN, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) : MAP_FAILED;
	if (unreadable == MAP_FAILED) {
		free(door);
		close(options->fuse_fd);
		dc_error_set(error, ENOMEM, "no memory for a kernel door");
		return NULL;
	}
	door->unreadable = unreadable;
	door->instance = instance;
	door->root = instance->root;
	door->fd = options->fuse_fd;
	door->cache = options->cache;
	door->keeps_names = options->cache && !options->unlocked;
	door->threads_max = options->threads_max ? options->threads_max : 1;
	pthread_mutex_init(&door->lock, NULL);
	pthread_cond_init(&door->gone, NULL);
	int result = door_table_open(door);
	if (result) dc_error_set(error, -result, "no memory for the kernel door's table");
	if (!result) result = session_open(door, error);
	if (!result) result = door_serve_init(door, options, error);
	if (result) {
		door_free(door);
		return NULL;
	}
	door_ledger_open(door);
	unsigned lost = 0, restored = door->restarted ? door_ledger_restore(door, &lost) : 0;
	if (door->restarted) door_log(door, LOG_NOTICE, "%u nodes of the kernel's are known again, %u are not", restored, lost);
	if (!options->held && (result = dc_door_serve(door))) {
		dc_error_set(error, -result, "no thread for the kernel door");
		door_free(door);
		return NULL;
	}
	return door;
}

int dc_door_serve(struct dc_door *door) {
	if (door->restarted) take_over(door);
	install_kick();
	atomic_store(&door->serving, true);
	int result = thread_start(door, true);
	if (!result && door->restarted) door_log(door, LOG_NOTICE, "had the kernel drop what it kept of %u nodes", door_ledger_invalidate(door));
	return result;
}

static void stop_threads(struct dc_door *door) {
	atomic_store(&door->stopping, true);
	if (!door->handover) fuse_session_exit(door->session); /* after which libfuse drops what it has just read */
	pthread_mutex_lock(&door->lock);
	while (door->thread_count) {
		/* A kick that comes before its thread reads is lost, so kick until all are gone. */
		for (struct door_thread *thread = door->threads; thread; thread = thread->next) pthread_kill(thread->id, kick_signal());
		struct timespec until;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 1000000;
		if (until.tv_nsec >= 1000000000) {
			until.tv_nsec -= 1000000000;
			until.tv_sec++;
		}
		pthread_cond_timedwait(&door->gone, &door->lock, &until);
	}
	pthread_mutex_unlock(&door->lock);
}

void dc_door_stop(struct dc_door *door) {
	if (!door) return;
	stop_threads(door);
	door_free(door);
}

/* Nothing is let go of: a file without a name would be gone with its last descriptor. */
void dc_door_hand_over(struct dc_door *door) {
	if (!door) return;
	door->handover = true;
	stop_threads(door);
}
