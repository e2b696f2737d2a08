/*
 * answers.h - answers about names and attributes that the service lets us keep (trust: pool): what was asked, what was answered, and the stamps on which it depends. As long as they have not
 * moved the same question has the same answer, and no request is made. See docs/internals.md, "Answers under a lease".
 */
#ifndef DICICLO_LIBRARY_ANSWERS_H
#define DICICLO_LIBRARY_ANSWERS_H

#include "internal.h"

/* Is the answer known? Else `*asks`: it is worth asking for a lease (it was asked for before), which the request's flags then say, and answer->result is what it last was, if anything. */
bool dc_answer_find(const struct dc_question *question, struct dc_answer *answer, bool *asks);
/* After a request with DC_PATH_LEASE, before its slot is given back. */
void dc_answer_remember(const struct dc_question *question, const struct dc_call *call, int64_t result);
/* After a request without: this was asked, and answered. */
void dc_answer_expect(const struct dc_question *question, int64_t result);

#endif
