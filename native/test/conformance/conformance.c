/*
 * conformance.c - runs every stack of file libservices through every case, beside the host's own filesystem as the oracle, and through what has no oracle.
 * Usage: conformance MODULES TESTMODULE [-s SHAPE] [-c CASE] [-d DIRECTORY] [-v]. Prints "N passed, N failed"; exit status 1 when one failed.
 */
#include "target.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static unsigned passed, failed, skipped;
static bool verbose;

static void verdict(const char *shape, const char *name, const char *fault)
{
	if (fault)
		printf("not ok %s %s: %s\n", shape, name, fault);
	else if (verbose)
		printf("ok %s %s\n", shape, name);
	fflush(stdout);
	*(fault ? &failed : &passed) += 1;
}

/* ---- work folders --------------------------------------------------------------------------------------------------------- */
static int remove_one(const char *path, const struct stat *status, int type, struct FTW *at)
{
	return remove(path);
}

static void remove_tree(const char *path)
{
	nftw(path, remove_one, 64, FTW_DEPTH | FTW_PHYS);
}

static char *make_folder(const char *base, const char *name)
{
	char *path = NULL;

	if (asprintf(&path, "%s/%s", base, name) < 0 || (mkdir(path, 0755) && errno != EEXIST) || chmod(path, 0755)) {
		perror("work folder");
		exit(1);
	}
	return path;
}

static unsigned count_descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	unsigned count = 0;

	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

/* The built modules and the test's own, in one directory, as the loader wants them. */
static char *gather_modules(const char *base, const char *modules, const char *test_module)
{
	char *gathered = make_folder(base, "modules"), from[4300], to[4300], *real;
	DIR *directory = opendir(modules);
	struct dirent *entry;

	while (directory && (entry = readdir(directory))) {
		size_t length = strlen(entry->d_name);
		if (length < 4 || strcmp(entry->d_name + length - 3, ".so"))
			continue;
		snprintf(from, sizeof from, "%s/%s", modules, entry->d_name);
		snprintf(to, sizeof to, "%s/%s", gathered, entry->d_name);
		real = realpath(from, NULL);
		if (!real || symlink(real, to))
			perror(to);
		free(real);
	}
	if (directory)
		closedir(directory);
	snprintf(to, sizeof to, "%s/testfault.so", gathered);
	real = realpath(test_module, NULL);
	if (!real || symlink(real, to))
		perror(test_module);
	free(real);
	return gathered;
}

/* ---- cases against the oracle --------------------------------------------------------------------------------------------- */
static void target_reset(struct target *t)
{
	size_t i;

	memset(t, 0, sizeof *t);
	for (i = 0; i < HANDLES; i++)
		t->descriptors[i] = -1;
}

/* The first line that differs, with both sides. */
static char *difference(const struct trace *host, const struct trace *stack)
{
	size_t at = 0, line = 0;
	char *text = NULL;

	while (at < host->length && at < stack->length && host->text[at] == stack->text[at]) {
		if (host->text[at] == '\n')
			line = at + 1;
		at++;
	}
	if (at == host->length && at == stack->length)
		return NULL;
	while (line > 1 && host->text[line] == ' ') /* the call that the attributes belong to */
		for (line--; line && host->text[line - 1] != '\n'; line--)
			;
	if (asprintf(&text, "the host says\n%.*s\n  and the stack\n%.*s", (int)(host->length - line < 200 ? host->length - line : 200), host->text + line,
	             (int)(stack->length - line < 200 ? stack->length - line : 200), stack->text + line) < 0)
		abort();
	return text;
}

static void run_case(const char *modules, const char *shape, const struct test_case *test, const char *base)
{
	char *on_host = make_folder(base, "host"), *below = make_folder(base, "below"), *fault;
	unsigned before = count_descriptors(), after;
	struct target host, stack;
	struct stand stand;
	int64_t nodes, resident, size;

	target_reset(&host);
	host.root = open(on_host, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	test->run(&host);
	close(host.root);
	target_reset(&stack);
	stand_open(&stand, modules, shape, below);
	stack.stand = &stand;
	test->run(&stack);
	nodes = stand_statistic(&stand, "local", "nodes");
	resident = stand_statistic(&stand, "cache", "residentBytes");
	size = stand_statistic(&stand, "cache", "sizeBytes");
	stand_close(&stand);
	after = count_descriptors();
	fault = difference(&host.trace, &stack.trace);
	if (!fault && strncmp(shape, "cache", 5) && nodes != 1 && asprintf(&fault, "%lld nodes are left", (long long)nodes) < 0)
		abort();
	if (!fault && resident > size && asprintf(&fault, "%lld bytes in a cache of %lld", (long long)resident, (long long)size) < 0)
		abort();
	if (!fault && before != after && asprintf(&fault, "%u descriptors before, %u after", before, after) < 0)
		abort();
	verdict(shape, test->name, fault);
	free(fault);
	free(host.trace.text);
	free(stack.trace.text);
	remove_tree(on_host);
	remove_tree(below);
	free(on_host);
	free(below);
}

static void run_special(const char *modules, const char *shape, const struct special *special, const char *base)
{
	char *below = make_folder(base, "below"), *fault = NULL;
	unsigned before = count_descriptors(), after;
	const char *wrong = special->run(modules, shape, below);

	after = count_descriptors();
	if (!wrong && before != after && asprintf(&fault, "%u descriptors before, %u after", before, after) < 0)
		abort();
	verdict(shape, special->name, wrong ? wrong : fault);
	free(fault);
	remove_tree(below);
	free(below);
}

/* Is `shape` among the words of `list`? NULL: everywhere. */
static bool concerns(const char *list, const char *shape)
{
	char words[256], *word, *rest = words;

	if (!list)
		return true;
	snprintf(words, sizeof words, "%s", list);
	while ((word = strsep(&rest, " ")))
		if (!strcmp(word, shape))
			return true;
	return false;
}

static void run_shape(const char *modules, const char *shape, const char *only, const char *base)
{
	size_t i;

	for (i = 0; i < case_count; i++) {
		if (only && strcmp(only, cases[i].name))
			continue;
		if (cases[i].needs_root && geteuid())
			skipped++;
		else
			run_case(modules, shape, &cases[i], base);
	}
	for (i = 0; i < special_count; i++)
		if ((!only || !strcmp(only, specials[i].name)) && concerns(specials[i].shapes, shape))
			run_special(modules, shape, &specials[i], base);
	for (i = 0; i < stress_count; i++)
		if ((!only || !strcmp(only, stresses[i].name)) && concerns(stresses[i].shapes, shape))
			run_special(modules, shape, &stresses[i], base);
}

int main(int argc, char **argv)
{
	const char *only_shape = NULL, *only = NULL, *where = getenv("TMPDIR");
	struct rlimit limit;
	char *base = NULL, *modules;
	size_t i;
	int option;

	while ((option = getopt(argc, argv, "s:c:d:v")) != -1)
		switch (option) {
		case 's': only_shape = optarg; break;
		case 'c': only = optarg; break;
		case 'd': where = optarg; break;
		case 'v': verbose = true; break;
		default: return 2;
		}
	if (argc - optind != 2) {
		fprintf(stderr, "usage: %s [-s SHAPE] [-c CASE] [-d DIRECTORY] [-v] MODULES TESTMODULE\n", argv[0]);
		return 2;
	}
	umask(0);
	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	if (asprintf(&base, "%s/diciclo-conformance-XXXXXX", where ? where : "/tmp") < 0 || !mkdtemp(base) || chmod(base, 0755)) {
		perror("work folder");
		return 1;
	}
	modules = gather_modules(base, argv[optind], argv[optind + 1]);
	for (i = 0; stand_shapes[i]; i++)
		if (!only_shape || !strcmp(only_shape, stand_shapes[i]))
			run_shape(modules, stand_shapes[i], only, base);
	remove_tree(base);
	free(modules);
	free(base);
	printf("%u passed, %u failed", passed, failed);
	if (skipped)
		printf(", %u skipped (they need root)", skipped);
	printf("\n");
	return failed || !passed;
}
