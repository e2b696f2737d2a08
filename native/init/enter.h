/* enter.h - the parts of diciclo-enter. */
#ifndef DICICLO_INIT_ENTER_H
#define DICICLO_INIT_ENTER_H

#include <stdarg.h>
#include <stdbool.h>

/* One sentence, exit status 125. */
_Noreturn void enter_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

struct enter_namespaces {
	int mount, ipc, pid;
};
/* Of the pool-init that init.json names, and of no other process that has its number by now. */
struct enter_namespaces enter_open_namespaces(const char *pool_directory);
void enter_join(struct enter_namespaces *namespaces);

int enter_host_mount(const char *pool_directory, const char *mountpoint);
int enter_host_unmount(const char *mountpoint);

#endif
