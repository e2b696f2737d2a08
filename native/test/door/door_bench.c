/* door_bench.c - figures, by hand: `door-test bench_`. */
#include "suites.h"

#include <sys/wait.h>

enum { PAGE_BYTES = 4096 };

/* What telling costs the library's write, ns per call, without the write itself. */
static double changed_ns(struct dc_node *node, int count, off_t step) {
	uint64_t start = dc_now_ns();
	for (int i = 0; i < count; i++) dc_door_changed_data(world.instance.door, node, (i + 1) * step, PAGE_BYTES);
	return (double)(dc_now_ns() - start) / count;
}
void bench_changed(void) {
	struct stat st;
	change_create("b", "x");
	struct dc_node *node = stack_node("b");
	printf("  unknown to the kernel %.1f ns", changed_ns(node, 1000000, PAGE_BYTES));
	CHECK(stat(path("b"), &st) == 0);
	CHECK(truncate(path("b"), 1) == 0);
	changed_ns(node, 1, 0);
	printf(", known and not larger %.1f ns", changed_ns(node, 100000, 0));
	printf(", known and a page larger each time %.1f ns\n", changed_ns(node, 100000, PAGE_BYTES));
	stack_forget(node);
}

/* $DOOR_BENCH, a program that is run with the mount and the directory beneath as arguments (bench/door-bench.c). */
void bench_program(void) {
	const char *program = getenv("DOOR_BENCH");
	int status;
	if (!program) return;
	pid_t pid = fork();
	if (pid == 0) {
		execl(program, program, world.mount, world.backing, NULL);
		_exit(127);
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
