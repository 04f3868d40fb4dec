/* Heads written as they look on the wire, for tables of cases. */
#ifndef BRINK_TEST_POLICY_H
#define BRINK_TEST_POLICY_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "edge/base/arena.h"
#include "edge/http/fields.h"
#include "edge/policy/rules.h"
#include "edge/policy/stored.h"

#define SECOND ((msec_t)1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
/* Sun, 06 Nov 1994 08:49:37 GMT */
#define T0 ((msec_t)784111777 * SECOND)
#define DATE "date: Sun, 06 Nov 1994 08:49:37 GMT\n"

/* "name: value\n…"; the text must live as long as the fields. */
static inline fields_t head(arena_t *a, const char *text)
{
    fields_t f;
    fields_init(&f, a);
    for (span_t rest = span_str(text); rest.n > 0;) {
        size_t end = span_find(rest, '\n');
        span_t line = span_upto(rest, end);
        size_t colon = span_find(line, ':');
        cr_assert(colon < line.n, "no colon in %.*s", SPAN_ARG(line));
        cr_assert_eq(fields_add(&f, span_upto(line, colon), span_trim(span_from(line, colon + 1))), ERR_OK);
        rest = span_from(rest, end + 1);
    }
    return f;
}

static inline fieldblock_t *block(arena_t *a, const char *text)
{
    fieldblock_t *b = NULL;
    fields_t f = head(a, text);
    cr_assert_eq(fieldblock_pack(&f, &b), ERR_OK);
    return b;
}

/* An arena whose ceiling is reached after `bytes`: what happens when memory ends in the middle. */
static inline arena_t small_arena(size_t bytes)
{
    arena_t a;
    arena_init(&a, bytes);
    return a;
}

/* Deterministic noise for property tests. */
static inline uint64_t noise(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

#endif
