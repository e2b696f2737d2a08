/*
 * linked.c - a program that links the library: joins its pool by name, attaches before its work begins, and reports at the end what was not carried.
 * Build:  cc -o linked linked.c -I native/include -L build/library -ldiciclo -Wl,-rpath,$PWD/build/library
 * Run:    diciclo run POOL --door kernel -- ./linked /run/diciclo/pools/TENANT/POOL /data
 */
#include <diciclo/diciclo.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *name_of(enum diciclo_door door) {
	return door == DICICLO_DOOR_LIBRARY ? "library" : door == DICICLO_DOOR_KERNEL ? "kernel" : "none";
}

/* A log that is appended to and made durable, as a server keeps one: nothing here knows of Diciclo. */
static int keep_log(const char *path, int records) {
	int fd = open(path, O_CREAT | O_WRONLY | O_APPEND | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0) return -1;
	printf("the log's descriptor: %s\n", name_of(diciclo_door_of_descriptor(fd)));
	for (int i = 0; i < records; i++) {
		char record[64];
		int length = snprintf(record, sizeof record, "record %d\n", i);
		if (write(fd, record, (size_t)length) != length) return -1;
	}
	if (fdatasync(fd) < 0) return -1;
	return close(fd);
}

int main(int argc, char **argv) {
	if (argc != 3) {
		fprintf(stderr, "usage: %s POOLDIR MOUNT\n", argv[0]);
		return 2;
	}
	printf("libdiciclo %s, interface %d\n", diciclo_version(), diciclo_interface_version());
	if (diciclo_interface_version() < DICICLO_INTERFACE_VERSION) return 1;
	printf("before: %s\n", name_of(diciclo_door_of_path(argv[2])));
	if (diciclo_use(argv[1]) < 0 || diciclo_attach() < 0) printf("not carried (%s), the kernel door serves\n", strerror(errno));
	printf("the mount: %s, /etc: %s\n", name_of(diciclo_door_of_path(argv[2])), name_of(diciclo_door_of_path("/etc")));
	if (diciclo_use("/another") == 0 || errno != EBUSY) return 1;

	char path[4096];
	snprintf(path, sizeof path, "%s/log", argv[2]);
	if (keep_log(path, 1000) < 0) {
		perror(path);
		return 1;
	}
	FILE *stream = fopen(path, "r");
	int lines = 0;
	for (char line[64]; stream && fgets(line, sizeof line, stream);) lines++;
	if (stream) fclose(stream);
	printf("%d records, then %s\n", lines, system("true") == 0 ? "a child" : "no child");

	struct diciclo_count count[64];
	size_t counts = diciclo_uncarried(count, 64);
	for (size_t i = 0; i < counts && i < 64; i++) printf("not carried: %s %llu\n", count[i].name, (unsigned long long)count[i].count);
	diciclo_leave();
	printf("after: %s\n", name_of(diciclo_door_of_path(path)));
	return 0;
}
