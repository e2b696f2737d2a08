/* cases.c - the list of cases. */
#include "cases.h"

const struct test_case cases[] = {
#define X(name, root) {#name, case_##name, root},
	CASES(X)
#undef X
};
const size_t case_count = sizeof cases / sizeof cases[0];
