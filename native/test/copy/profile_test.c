/*
 * profile_test.c - the copy profile: what is stored is loaded; what is no profile, of another CPU or cut off is libc's memcpy throughout, and says why.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "copy_profile.h"

static char directory[] = "/tmp/diciclo-profile-XXXXXX", path[128];
static unsigned failures;
#define EXPECT(condition) ((condition) ? (void)0 : (void)(failures++, fprintf(stderr, "line %d: %s\n", __LINE__, #condition)))

static void write_file(const char *text, size_t size) {
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0644);
	if (fd < 0 || write(fd, text, size) != (ssize_t)size || close(fd)) {
		perror(path);
		exit(1);
	}
}

static int load(struct dc_copy_choice *choice) {
	char why[256];
	int result = dc_copy_profile_load(path, choice, why, sizeof why, NULL);
	EXPECT((result != 0) == (why[0] != 0));
	return result;
}

static bool all_libc(const struct dc_copy_choice *choice) {
	static const struct dc_copy_choice none;
	return !memcmp(choice, &none, sizeof none);
}

/* The text is refused with `expected`, and leaves nothing chosen. */
static void refused(const char *text, int expected) {
	struct dc_copy_choice choice;
	memset(&choice, 1, sizeof choice);
	write_file(text, strlen(text));
	int result = load(&choice);
	if (result != expected) failures++, fprintf(stderr, "%d instead of %d for %s\n", result, expected, text);
	EXPECT(all_libc(&choice));
}

static json_t *good(const char *routine) {
	char cpu[DC_COPY_CPU_MAX];
	dc_copy_cpu(cpu);
	return json_pack("{s:i,s:s,s:[{s:s,s:i,s:s},{s:s,s:n,s:s}]}", "version", DC_COPY_PROFILE_VERSION, "cpu", cpu, "rows", "direction", "toShared", "upTo", 4096, "routine", "sse2x4",
		"direction", "within", "upTo", "routine", routine);
}

static void what_is_stored_is_loaded(void) {
	struct dc_copy_choice choice;
	json_t *profile = good("rep-movsb"), *back = NULL;
	char why[256];
	struct stat st;
	EXPECT(dc_copy_profile_store(path, profile) == 0);
	EXPECT(stat(path, &st) == 0 && (st.st_mode & 0777) == 0644);
	EXPECT(dc_copy_profile_load(path, &choice, why, sizeof why, &back) == 0);
	EXPECT(back && json_equal(back, profile));
	EXPECT(choice.routine[DC_COPY_TO_SHARED][1] == DC_COPY_SSE2_4);
	EXPECT(choice.routine[DC_COPY_WITHIN][DC_COPY_CLASSES - 1] == DC_COPY_MOVSB);
	EXPECT(choice.routine[DC_COPY_FROM_SHARED][1] == DC_COPY_LIBC);
	json_decref(back);
	json_decref(profile);
	profile = good("of a later build");
	EXPECT(dc_copy_profile_store(path, profile) == 0 && load(&choice) == 0);
	EXPECT(choice.routine[DC_COPY_WITHIN][DC_COPY_CLASSES - 1] == DC_COPY_LIBC && choice.routine[DC_COPY_TO_SHARED][1] == DC_COPY_SSE2_4);
	json_decref(profile);
}

static void what_is_cut_off_is_refused(void) {
	json_t *profile = good("rep-movsb");
	char *text = json_dumps(profile, 0);
	struct dc_copy_choice choice;
	for (size_t size = 0; size < strlen(text); size++) {
		write_file(text, size);
		EXPECT(load(&choice) == -EINVAL && all_libc(&choice));
	}
	free(text);
	json_object_set_new(profile, "cpu", json_string("GenuineIntel 6.1.1 another"));
	text = json_dumps(profile, 0);
	refused(text, -ESTALE);
	free(text);
	json_object_set_new(profile, "version", json_integer(DC_COPY_PROFILE_VERSION + 1));
	text = json_dumps(profile, 0);
	refused(text, -EINVAL);
	free(text);
	json_decref(profile);
}

/* The version that is read, so that what is refused is refused for the rest. */
#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)
#define VERSION TEXT(DC_COPY_PROFILE_VERSION)
static void what_is_no_profile_is_refused(void) {
	char cpu[DC_COPY_CPU_MAX], text[512];
	static const char *const rows[] = {"7", "[7]", "[{}]", "[{\"direction\":\"up\",\"upTo\":512,\"routine\":\"libc\"}]", "[{\"direction\":\"within\",\"upTo\":255,\"routine\":\"libc\"}]",
		"[{\"direction\":\"within\",\"upTo\":0,\"routine\":\"libc\"}]", "[{\"direction\":\"within\",\"routine\":\"libc\"}]", "[{\"direction\":\"within\",\"upTo\":512,\"routine\":3}]",
		"[{\"direction\":\"toShared\",\"upTo\":512,\"routine\":\"sse2x4\"},null]"};
	static const char *const garbage[] = {"", "\n", "null", "[]", "7", "\"text\"", "{}", "{\"version\":" VERSION "}", "{\"version\":\"" VERSION "\",\"cpu\":\"x\",\"rows\":[]}", "{\"version\":" VERSION ",\"cpu\":7,\"rows\":[]}",
		"\x7f" "ELF", "\xff\xfe\xfd"};
	dc_copy_cpu(cpu);
	for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++) refused(garbage[i], -EINVAL);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		snprintf(text, sizeof text, "{\"version\":" VERSION ",\"cpu\":\"%s\",\"rows\":%s}", cpu, rows[i]);
		refused(text, -EINVAL);
	}
}

static void what_is_no_file_is_refused(void) {
	struct dc_copy_choice choice;
	unlink(path);
	EXPECT(load(&choice) == -ENOENT && all_libc(&choice));
	EXPECT(mkdir(path, 0755) == 0 && load(&choice) == -EINVAL && rmdir(path) == 0);
	EXPECT(mkfifo(path, 0644) == 0 && load(&choice) == -EINVAL && unlink(path) == 0);
	EXPECT(symlink("/dev/zero", path) == 0 && load(&choice) == -EINVAL && unlink(path) == 0);
	write_file("{", 1);
	EXPECT(truncate(path, 300 << 10) == 0 && load(&choice) == -EINVAL);
}

static void a_store_that_fails_leaves_the_old_one(void) {
	json_t *profile = good("libc");
	char below[160];
	EXPECT(dc_copy_profile_store(path, profile) == 0);
	snprintf(below, sizeof below, "%s/x", path); /* its parent is a file */
	EXPECT(dc_copy_profile_store(below, profile) < 0);
	struct dc_copy_choice choice;
	EXPECT(load(&choice) == 0);
	json_decref(profile);
}

int main(void) {
	if (!mkdtemp(directory)) return 1;
	snprintf(path, sizeof path, "%s/copy.json", directory);
	what_is_stored_is_loaded();
	what_is_cut_off_is_refused();
	what_is_no_profile_is_refused();
	what_is_no_file_is_refused();
	a_store_that_fails_leaves_the_old_one();
	unlink(path);
	if (rmdir(directory)) failures++, perror(directory); /* a store left its temporary file */
	setenv("DICICLO_COPY_PROFILE", "", 1);
	EXPECT(!strcmp(dc_copy_profile_path(), DC_COPY_PROFILE_DEFAULT));
	setenv("DICICLO_COPY_PROFILE", "/x", 1);
	EXPECT(!strcmp(dc_copy_profile_path(), "/x"));
	return failures != 0;
}
