#include "host.h"
#include "copying.h"
#include "keeper.h"
#include "regions.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define REGIONS_MAX 65536u

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct { void *address; size_t bytes; int fd; uint32_t number; bool shared; } regions[REGIONS_MAX];
static uint32_t next_region; /* numbers are never used again, by no later service either: clients remember them */

static void log_line(int priority, const char *format, va_list arguments) {
	static const char *const names[] = {"emergency", "alert", "critical", "error", "warning", "notice", "info", "debug"};
	char text[1024], line[1200];
	vsnprintf(text, sizeof text, format, arguments);
	struct timespec now;
	struct tm utc;
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	int length = snprintf(line, sizeof line, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ %s: %s\n", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min,
		utc.tm_sec, now.tv_nsec / 1000000, names[priority & 7], text);
	if (length > 0 && write(STDERR_FILENO, line, (size_t)length) < 0) return; /* nowhere to complain */
}

void dc_log(int priority, const char *format, ...) {
	va_list arguments;
	va_start(arguments, format);
	log_line(priority, format, arguments);
	va_end(arguments);
}

static void host_log(const struct dc_host *host, int priority, const char *format, ...) {
	va_list arguments;
	va_start(arguments, format);
	log_line(priority, format, arguments);
	va_end(arguments);
}

/* A sealed memfd keeps its size, so that a mapping of it never faults with SIGBUS. */
static void *make_region(const struct dc_host *host, size_t bytes, bool shared, uint32_t *region) {
	pthread_mutex_lock(&lock);
	uint32_t slot = 0;
	while (slot < REGIONS_MAX && regions[slot].address) slot++;
	void *address = NULL;
	int fd = slot < REGIONS_MAX ? memfd_create("diciclo-cache", MFD_CLOEXEC | MFD_ALLOW_SEALING) : -1;
	/* Its mode keeps a client from opening what it was given once more, for writing; not root, which may look into the service as well. A seal would keep us from giving the memory back. */
	if (fd >= 0 && fchmod(fd, 0400) == 0 && ftruncate(fd, (off_t)bytes) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0) {
		address = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (address == MAP_FAILED) address = NULL;
	}
	int error = errno;
	if (address) {
		regions[slot].address = address;
		regions[slot].bytes = bytes;
		regions[slot].fd = fd;
		regions[slot].shared = shared;
		*region = regions[slot].number = (uint32_t)(host->epoch & 0xfffu) << 20 | (++next_region & 0xfffffu);
	} else if (fd >= 0) {
		close(fd);
	}
	pthread_mutex_unlock(&lock);
	errno = error;
	return address;
}

static void *cache_region(const struct dc_host *host, size_t bytes, uint32_t *region) {
	return make_region(host, bytes, false, region);
}
static void *shared_region(const struct dc_host *host, size_t bytes, uint32_t *region) {
	return make_region(host, bytes, true, region);
}

static void cache_release(const struct dc_host *host, uint32_t region) {
	pthread_mutex_lock(&lock);
	for (uint32_t slot = 0; slot < REGIONS_MAX; slot++) {
		if (!regions[slot].address || regions[slot].number != region) continue;
		/* Clients that have mapped it must not keep the memory. */
		madvise(regions[slot].address, regions[slot].bytes, MADV_REMOVE);
		munmap(regions[slot].address, regions[slot].bytes);
		close(regions[slot].fd);
		regions[slot].address = NULL;
		break;
	}
	pthread_mutex_unlock(&lock);
}

/* Read-only, but what is shared: a memfd opened anew has the rights of that open. */
int dc_host_region(uint32_t region, size_t *bytes) {
	int fd = -ENOENT;
	pthread_mutex_lock(&lock);
	for (uint32_t slot = 0; slot < REGIONS_MAX; slot++) {
		if (!regions[slot].address || regions[slot].number != region) continue;
		char path[48];
		snprintf(path, sizeof path, "/proc/self/fd/%d", regions[slot].fd);
		fd = open(path, (regions[slot].shared ? O_RDWR : O_RDONLY) | O_CLOEXEC);
		if (fd < 0) fd = -errno;
		*bytes = regions[slot].bytes;
		break;
	}
	pthread_mutex_unlock(&lock);
	return fd;
}

static int inherited(const struct dc_host *host, dev_t device, ino_t inode) {
	return dc_keeper_find(device, inode);
}

const struct dc_host *dc_host_get(uint64_t epoch) {
	static struct dc_host host = {.struct_size = sizeof host, .cache_region = cache_region, .cache_release = cache_release, .log = host_log, .inherited = inherited, .copier = &dc_copier,
		.shared_region = shared_region};
	host.epoch = epoch;
	return &host;
}
