/* door_test.c - `door-test [NAME...]`: every test, or those whose names hold one of the words. */
#include "suites.h"

const struct test tests[] = {
#define X(function) {#function, function, true, false},
	DOOR_TESTS(X) DOOR_CACHED_TESTS(X)
#undef X
#define X(function) {#function "/none", function, false, false},
	DOOR_TESTS(X)
#undef X
#define X(function) {#function "/unlocked", function, true, true},
	DOOR_UNLOCKED_TESTS(X)
#undef X
	{0},
};

int main(int argc, char **argv) {
	return run_tests(argc, argv);
}
