/*
 * link.c - the service's end of the link to pool-init (native/init/link.h): descriptors come in, clients and mounts come and go.
 */
#include "covers.h"
#include "link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <syslog.h>
#include <unistd.h>

#include "../init/link.h"
#include "clients.h"
#include "control.h"
#include "copying.h"
#include "handle_ledger.h"
#include "host.h"
#include "keeper.h"
#include "offences.h"
#include "posts.h"
#include "stamps.h"

#define PLAN_MAX_BYTES (1 << 20)

static struct {
	int fd;
	pthread_mutex_t send_lock;
	struct dc_modules *modules;
	const struct dc_host *host;
	struct dc_link_options options;
	bool going; /* `go` has been said */
} service_link = {.send_lock = PTHREAD_MUTEX_INITIALIZER};

struct message {
	json_t *json;
	int descriptor[DC_LINK_DESCRIPTORS_MAX];
	unsigned descriptor_count;
};

static void send_json(json_t *json) {
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	json_decref(json);
	if (!text) return;
	pthread_mutex_lock(&service_link.send_lock);
	while (send(service_link.fd, text, strlen(text), MSG_NOSIGNAL) < 0 && errno == EINTR) continue;
	pthread_mutex_unlock(&service_link.send_lock);
	free(text);
}

static void client_gone(uint32_t index, uint32_t generation) {
	send_json(json_pack("{s:s,s:i,s:i}", "type", DC_LINK_CLIENT_GONE, "client", (int)index, "generation", (int)generation));
}

static void client_cut(struct dc_client_record *client, const char *reason) {
	send_json(json_pack("{s:s,s:i,s:i,s:s}", "type", DC_LINK_CLIENT_CUT, "client", (int)client->index, "generation", (int)client->generation, "reason", reason));
}

/* Takes descriptor `n` out of the message: it is ours from now on. */
static int take(struct message *message, unsigned n) {
	if (n >= message->descriptor_count) return -1;
	int fd = message->descriptor[n];
	message->descriptor[n] = -1;
	return fd;
}

static bool receive(struct message *message) {
	static char text[DC_LINK_MESSAGE_MAX];
	char space[CMSG_SPACE(DC_LINK_DESCRIPTORS_MAX * sizeof(int))];
	struct iovec iov = {.iov_base = text, .iov_len = sizeof text};
	struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
	ssize_t length;
	do length = recvmsg(service_link.fd, &header, MSG_CMSG_CLOEXEC);
	while (length < 0 && errno == EINTR);
	if (length <= 0) return false;
	message->descriptor_count = 0;
	struct cmsghdr *control = CMSG_FIRSTHDR(&header);
	if (control && control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_RIGHTS) {
		message->descriptor_count = (unsigned)((control->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(message->descriptor, CMSG_DATA(control), message->descriptor_count * sizeof(int));
	}
	message->json = json_loadb(text, (size_t)length, 0, NULL);
	return true;
}

static void release(struct message *message) {
	for (unsigned i = 0; i < message->descriptor_count; i++)
		if (message->descriptor[i] >= 0) close(message->descriptor[i]);
	json_decref(message->json);
}

static int64_t number(const struct message *message, const char *name) {
	return json_integer_value(json_object_get(message->json, name));
}
static const char *text_of(const struct message *message, const char *name) {
	const char *text = json_string_value(json_object_get(message->json, name));
	return text ? text : "";
}

/* A child that holds our descriptors should we die: pool-init must know it before anything is served. */
static void start_keeper(void) {
	pid_t pid = dc_keeper_start();
	if (pid > 0) send_json(json_pack("{s:s,s:i}", "type", DC_LINK_KEEPER, "pid", (int)pid));
	else dc_log(LOG_WARNING, "no keeper (%s): a restart will lose what is open", strerror(-pid));
}

/* What the predecessors left: descriptors from `first` on. */
static void inherit(struct message *message, unsigned first) {
	json_t *list = json_object_get(message->json, "keepers");
	pid_t pids[DC_LINK_KEEPERS_MAX];
	int pidfds[DC_LINK_KEEPERS_MAX];
	unsigned count = 0;
	for (; count < json_array_size(list) && count < DC_LINK_KEEPERS_MAX; count++) {
		pids[count] = (pid_t)json_integer_value(json_array_get(list, count));
		pidfds[count] = take(message, first + count);
	}
	dc_keeper_inherit(pids, pidfds, count);
}

static void use_ledger(int fd) {
	int error = dc_ledger_map(fd);
	if (error) dc_log(LOG_WARNING, "cannot map the ledger of open files (%s): a restart will lose what is open", strerror(-error));
}

static bool on_start(struct message *message) {
	int fd = take(message, 0);
	bool by_mailbox = service_link.options.by_mailbox;
	struct dc_queue *queue = by_mailbox ? NULL : fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *queue, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd >= 0) close(fd);
	if (queue == MAP_FAILED) {
		dc_log(LOG_ERR, "cannot map the queue: %s", strerror(errno));
		return false;
	}
	dc_epoch_set((uint64_t)number(message, "epoch"));
	bool keep = json_is_true(json_object_get(message->json, "keep"));
	int ledger = keep ? take(message, 1) : -1;
	if (ledger >= 0) use_ledger(ledger);
	if (ledger >= 0) close(ledger);
	if (keep) start_keeper();
	if (keep) inherit(message, 2);
	service_link.host = dc_host_get(dc_epoch());
	struct dc_workers_options options = {.queue = queue, .count = service_link.options.workers, .running_target = service_link.options.running_target, .restarted = dc_epoch() > 1};
	int error = dc_workers_init(&options);
	if (error) {
		dc_log(LOG_ERR, "trust: process needs futex_waitv (Linux 5.16): %s", strerror(-error));
		return false;
	}
	error = dc_control_serve();
	if (error) dc_log(LOG_ERR, "cannot start a thread: %s", strerror(-error));
	return !error;
}

/* Everything that was is told: take what a predecessor left, then let the workers run. */
static bool on_go(void) {
	if (dc_epoch() > 1) {
		unsigned lost, restored = dc_handles_restore(&lost);
		dc_log(LOG_NOTICE, "took over after a restart: %u open files, %u lost", restored, lost);
		dc_clients_recover();
	}
	service_link.going = true;
	dc_instances_serve();
	dc_keeper_forget();
	int error = dc_workers_start();
	if (error) {
		dc_log(LOG_ERR, "cannot start %u workers: %s", service_link.options.workers, strerror(-error));
		return false;
	}
	const unsigned char *choice = (const unsigned char *)dc_copying_choice();
	json_t *copy = json_array();
	for (size_t i = 0; i < sizeof(struct dc_copy_choice); i++) json_array_append_new(copy, json_integer(choice[i]));
	send_json(json_pack("{s:s,s:I,s:i,s:o}", "type", DC_LINK_READY, "epoch", (json_int_t)dc_epoch(), "thread", (int)dc_control_thread(), "copy", copy));
	return true;
}

static void on_client_add(struct message *message) {
	struct dc_cred cred = {.uid = (uid_t)number(message, "uid"), .gid = (gid_t)number(message, "gid")};
	json_t *groups = json_object_get(message->json, "groups");
	for (size_t i = 0; i < json_array_size(groups) && cred.group_count < DC_GROUPS_MAX; i++)
		cred.groups[cred.group_count++] = (gid_t)json_integer_value(json_array_get(groups, i));
	uint32_t index = (uint32_t)number(message, "client"), generation = (uint32_t)number(message, "generation");
	int fd = take(message, 0);
	int error = fd < 0 ? -EBADF : dc_clients_add(index, generation, (pid_t)number(message, "pid"), text_of(message, "command"), &cred, fd);
	if (fd >= 0) close(fd);
	if (error) {
		dc_log(LOG_ERR, "client %u cannot attach: %s", index, strerror(-error));
		send_json(json_pack("{s:s,s:i,s:i,s:i}", "type", DC_LINK_CLIENT_ADDED, "client", (int)index, "generation", (int)generation, "error", -error));
		return;
	}
	if (service_link.going) dc_clients_early(index, generation); /* else they are recovered */
	send_json(json_pack("{s:s,s:i,s:i}", "type", DC_LINK_CLIENT_ADDED, "client", (int)index, "generation", (int)generation));
}

static size_t hex(const char *text, unsigned char *out, size_t size) {
	size_t length = 0;
	unsigned byte;
	for (; length < size && sscanf(text + 2 * length, "%2x", &byte) == 1; length++) out[length] = (unsigned char)byte;
	return length;
}

static char *read_plan(int fd, size_t *length) {
	struct stat st;
	if (fstat(fd, &st) || st.st_size <= 0 || st.st_size > PLAN_MAX_BYTES) return NULL;
	char *plan = malloc((size_t)st.st_size);
	if (plan && pread(fd, plan, (size_t)st.st_size, 0) != st.st_size) {
		free(plan);
		return NULL;
	}
	*length = (size_t)st.st_size;
	return plan;
}

static int build(struct dc_instance *instance, int plan_fd, struct dc_error *error) {
	size_t length;
	char *plan = plan_fd < 0 ? NULL : read_plan(plan_fd, &length);
	if (!plan) return dc_error_set(error, EINVAL, "The plan of %s cannot be read or is longer than 1 MiB.", instance->name);
	instance->stack = dc_stack_build(service_link.modules, service_link.host, plan, length, error);
	free(plan);
	if (!instance->stack) return -(error->code ? error->code : EINVAL);
	instance->root = dc_stamps_wrap(instance, dc_stack_root(instance->stack));
	if (instance->root->traits & DC_TRAIT_WRITE_BACK) instance->root = dc_posts_wrap(instance);
	struct dc_cred cred = {.uid = 0};
	struct dc_context context = {.cred = &cred};
	int result = DC_FILE_CALL(instance->root, root, &context, &instance->root_node);
	return result ? dc_error_set(error, -result, "The root of %s cannot be opened: %s.", instance->name, strerror(-result)) : 0;
}

static int open_door(struct dc_instance *instance, struct message *message, struct dc_error *error) {
	int fd = take(message, 1);
	if (fd < 0) return 0; /* no kernel door asked for */
	unsigned char init[512];
	struct utsname kernel;
	struct dc_door_options options = {.fuse_fd = fd, .init_request = init, .init_length = hex(text_of(message, "init"), init, sizeof init),
		.cache = strcmp(text_of(message, "cache"), "none") != 0, .unlocked = uname(&kernel) != 0 || dc_door_kernel_unlocked(kernel.release), .threads_max = service_link.options.door_threads, .held = !service_link.going};
	instance->door = dc_door_start(instance, &options, error);
	return instance->door ? 0 : -(error->code ? error->code : EIO);
}

static void tear_down(struct dc_instance *instance) {
	if (instance->door) dc_door_stop(instance->door);
	if (instance->root_node) DC_FILE_CALL(instance->root, forget, instance->root_node, 1);
	if (instance->stack) dc_stack_destroy(instance->stack);
	dc_stamps_drop(instance);
	instance->door = NULL;
	instance->stack = NULL;
}

static void answer(const char *type, const struct message *message, const struct dc_error *error) {
	json_t *json = json_pack("{s:s,s:I,s:b}", "type", type, "id", (json_int_t)number(message, "id"), "ok", error->code == 0);
	if (error->code) {
		json_object_set_new(json, "error", json_string(error->message));
		json_object_set_new(json, "code", json_string(strerrorname_np(error->code) ? strerrorname_np(error->code) : "EIO"));
	}
	send_json(json);
}

static void on_mount(struct message *message) {
	struct dc_error error = {0};
	struct dc_instance *instance = calloc(1, sizeof *instance);
	if (!instance) {
		dc_error_set(&error, ENOMEM, "Out of memory.");
		answer(DC_LINK_MOUNTED, message, &error);
		return;
	}
	instance->id = (uint32_t)number(message, "id");
	snprintf(instance->name, sizeof instance->name, "%s", text_of(message, "name"));
	snprintf(instance->mountpoint, sizeof instance->mountpoint, "%s", text_of(message, "mountpoint"));
	int plan_fd = take(message, 0);
	int result = build(instance, plan_fd, &error);
	if (plan_fd >= 0) close(plan_fd);
	if (!result) result = open_door(instance, message, &error);
	if (!result && dc_instances_add(instance)) result = dc_error_set(&error, ENOSPC, "Too many instances.");
	if (result) {
		tear_down(instance);
		free(instance);
		if (!error.code) error.code = -result;
	} else {
		dc_covers_changed(instance);
	}
	answer(DC_LINK_MOUNTED, message, &error);
}

static void on_unmount(struct message *message) {
	struct dc_error error = {0};
	struct dc_instance *instance = dc_instances_take((uint32_t)number(message, "id"));
	if (instance) {
		dc_covers_changed(NULL);
		dc_clients_drop_instance(instance);
		tear_down(instance);
	} else {
		dc_error_set(&error, ENOENT, "There is no such instance.");
	}
	answer(DC_LINK_UNMOUNTED, message, &error);
}

/* The workers and the doors finish what they have; what comes meanwhile waits for the next service. The stacks stay: their memory goes with us, their files are the keeper's. */
static void on_drain(void) {
	dc_workers_stop();
	dc_instances_hand_over();
	send_json(json_pack("{s:s}", "type", DC_LINK_DRAINED));
}

int dc_link_run(int fd, struct dc_modules *modules, const struct dc_link_options *options) {
	service_link.fd = fd;
	service_link.modules = modules;
	service_link.options = *options;
	dc_clients_on_gone(client_gone);
	dc_offences_on_cut(client_cut);
	bool started = false;
	struct message message;
	while (receive(&message)) {
		const char *type = text_of(&message, "type");
		bool quit = false, drain = !strcmp(type, DC_LINK_DRAIN);
		if (!strcmp(type, DC_LINK_START) && !started) quit = !(started = on_start(&message));
		else if (!strcmp(type, DC_LINK_QUIT) || drain) quit = true;
		else if (!started) dc_log(LOG_WARNING, "link: \"%s\" before start", type);
		else if (!strcmp(type, DC_LINK_GO)) quit = !on_go();
		else if (!strcmp(type, DC_LINK_CLIENT_ADD)) on_client_add(&message);
		else if (!strcmp(type, DC_LINK_CLIENT_DEL)) dc_clients_remove((uint32_t)number(&message, "client"), (uint32_t)number(&message, "generation"));
		else if (!strcmp(type, DC_LINK_MOUNT)) on_mount(&message);
		else if (!strcmp(type, DC_LINK_UNMOUNT)) on_unmount(&message);
		else if (!strcmp(type, DC_LINK_KEEP)) start_keeper();
		else dc_log(LOG_WARNING, "link: unknown message \"%s\"", type);
		release(&message);
		if (drain && started) on_drain();
		if (quit) return started ? 0 : 1;
	}
	return started ? 0 : 1; /* pool-init is gone, and the pool with it */
}
