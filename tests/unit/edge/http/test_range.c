/* RFC 9110 14. */
#include <stdio.h>
#include <inttypes.h>
#include <stdlib.h>

#include <criterion/criterion.h>

#include "edge/http/range.h"

/* "P 0-4 6-9", "I", "U" */
static const char *verdict(const char *value, uint64_t length)
{
    static char text[4096];
    range_t v[RANGE_MAX];
    size_t n = 99;
    range_verdict_t r = range_parse(span_str(value), length, v, &n);
    if (r != RANGE_PARTIAL) {
        cr_expect_eq(n, 0, "%s", value);
        return r == RANGE_IGNORE ? "I" : "U";
    }
    char *p = text + sprintf(text, "P");
    for (size_t i = 0; i < n; i++)
        p += sprintf(p, " %" PRIu64 "-%" PRIu64, v[i].first, v[i].last);
    return text;
}

Test(range, requests)
{
    static const struct {
        const char *value;
        uint64_t length;
        const char *want;
    } rows[] = {
        {"bytes=0-499", 10000, "P 0-499"}, /* examples of 14.1.2 */
        {"bytes=500-999", 10000, "P 500-999"},
        {"bytes=-500", 10000, "P 9500-9999"},
        {"bytes=9500-", 10000, "P 9500-9999"},
        {"bytes=0-0,-1", 10000, "P 0-0 9999-9999"},
        {"bytes= 0-999, 4500-5499, -1000", 10000, "P 0-999 4500-5499 9000-9999"},
        {"bytes=500-700,601-999", 10000, "P 500-999"}, /* overlapping: 14.2 */
        {"bytes=500-600,601-999", 10000, "P 500-600 601-999"},
        {"BYTES=0-1", 10, "P 0-1"}, /* units compare without case: 14.1 */
        {"bytes=0-", 10, "P 0-9"},  /* one range may be all of it */
        {"bytes=0-99999999999999999999999", 10, "P 0-9"},
        {"bytes=-99999999999999999999999", 10, "P 0-9"},
        {"bytes=9-9", 10, "P 9-9"},
        {"bytes=,,1-2,,", 10, "P 1-2"},     /* empty list members: 5.6.1 */
        {"bytes=20-30,1-2", 10, "P 1-2"},   /* one that can be met is enough */
        {"bytes=7-8,1-2", 10, "P 7-8 1-2"}, /* the order asked for */
        {"bytes=1-2,5-6,2-5", 10, "P 1-6"}, /* joined by a third */
        {"bytes=8-9,0-1,1-8", 20, "P 0-9"},
        {"bytes=10-", 10, "U"},
        {"bytes=10-20,30-40", 10, "U"},
        {"bytes=-0", 10, "U"},
        {"bytes=0-0", 0, "U"},
        {"bytes=-1", 0, "I"},
        {"bytes=0-4,5-9", 10, "I"}, /* all of it in pieces */
        {"bytes=0-,0-,0-", 10, "I"},
        {"", 10, "I"},
        {"bytes", 10, "I"},
        {"bytes=", 10, "I"},
        {"bytes=,", 10, "I"},
        {"bytes=-", 10, "I"},
        {"bytes=2-1", 10, "I"},
        {"bytes=99999999999999999999-0", 10, "I"},
        {"bytes=99999999999999999999-9999999999999999999", 10, "I"},
        {"bytes=0-1,x", 10, "I"}, /* one malformed spec spoils the set */
        {"bytes=0-1 2-3", 10, "I"},
        {"bytes=0 -1", 10, "I"},
        {"bytes=+0-1", 10, "I"},
        {"bytes=0--1", 10, "I"},
        {"bytes=0x0-1", 10, "I"},
        {"bytes =0-1", 10, "I"},
        {"lines=0-1", 10, "I"},
        {"bytes=0-1;2-3", 10, "I"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_expect_str_eq(verdict(rows[i].value, rows[i].length), rows[i].want, "%s of %" PRIu64 ": %s", rows[i].value,
                         rows[i].length, verdict(rows[i].value, rows[i].length));
}

Test(range, too_many_are_ignored)
{
    char text[1024] = "bytes=";
    for (int i = 0; i < RANGE_MAX; i++)
        sprintf(text + strlen(text), "%s%d-%d", i > 0 ? "," : "", i * 10, i * 10 + 1);
    cr_expect_eq(verdict(text, 100000)[0], 'P');
    strcat(text, ",9999-9999");
    cr_expect_str_eq(verdict(text, 100000), "I");
}

/* Whatever set is asked for: what is answered covers exactly the bytes asked for, without overlap. */
Test(range, coverage)
{
    unsigned short seed[3] = {14, 1, 2};
    for (int round = 0; round < 20000; round++) {
        enum { LENGTH = 40 };
        char text[256] = "bytes=";
        bool want[LENGTH] = {false}, got[LENGTH] = {false};
        int specs = 1 + (int)(erand48(seed) * 6), covered = 0;
        for (int i = 0; i < specs; i++) {
            int a = (int)(erand48(seed) * LENGTH), b = a + (int)(erand48(seed) * 8);
            sprintf(text + strlen(text), "%s%d-%d", i > 0 ? "," : "", a, b);
            for (int k = a; k <= b && k < LENGTH; k++)
                want[k] = true;
        }
        range_t v[RANGE_MAX];
        size_t n;
        range_verdict_t r = range_parse(span_str(text), LENGTH, v, &n);
        for (int k = 0; k < LENGTH; k++)
            covered += want[k];
        if (covered == LENGTH && specs > 1) {
            cr_assert_eq(r, RANGE_IGNORE);
            continue;
        }
        cr_assert_eq(r, RANGE_PARTIAL, "%s", text);
        for (size_t i = 0; i < n; i++)
            for (uint64_t k = v[i].first; k <= v[i].last; k++) {
                cr_assert(k < LENGTH && !got[k], "%s", text);
                got[k] = true;
            }
        cr_assert_arr_eq(got, want, sizeof got, "%s", text);
    }
}

Test(range, content_range)
{
    static const struct {
        const char *value;
        err_t e;
        uint64_t first, last;
        int64_t length;
    } rows[] = {
        {"bytes 42-1233/1234", ERR_OK, 42, 1233, 1234}, /* examples of 14.4 */
        {"bytes 42-1233/*", ERR_OK, 42, 1233, -1},
        {"bytes */1234", ERR_RANGE, 0, 0, 1234},
        {"Bytes 0-0/1", ERR_OK, 0, 0, 1},
        {"bytes 0-9223372036854775806/9223372036854775807", ERR_OK, 0, INT64_MAX - 1, INT64_MAX},
        {"bytes */*", ERR_SYNTAX, 0, 0, 0},
        {"bytes 5-4/10", ERR_SYNTAX, 0, 0, 0},
        {"bytes 0-10/10", ERR_SYNTAX, 0, 0, 0},
        {"bytes 0-0/0", ERR_SYNTAX, 0, 0, 0},
        {"bytes 0-1", ERR_SYNTAX, 0, 0, 0},
        {"bytes 0-1/", ERR_SYNTAX, 0, 0, 0},
        {"bytes 0-/5", ERR_SYNTAX, 0, 0, 0},
        {"bytes -5/5", ERR_SYNTAX, 0, 0, 0},
        {"bytes  0-1/5", ERR_SYNTAX, 0, 0, 0},
        {"bytes=0-1/5", ERR_SYNTAX, 0, 0, 0},
        {"bytes 0-1/5 ", ERR_SYNTAX, 0, 0, 0},
        {"items 0-1/5", ERR_SYNTAX, 0, 0, 0},
        {"bytes 0-9223372036854775807/*", ERR_SYNTAX, 0, 0, 0}, /* its length would be no int64_t */
        {"bytes 0-9223372036854775806/*", ERR_OK, 0, INT64_MAX - 1, -1},
        {"bytes 0-18446744073709551616/*", ERR_SYNTAX, 0, 0, 0},
        {"bytes 0-1/99999999999999999999", ERR_SYNTAX, 0, 0, 0},
        {"", ERR_SYNTAX, 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        range_t r = {0, 0};
        int64_t length = 0;
        cr_expect_eq(range_parse_content_range(span_str(rows[i].value), &r, &length), rows[i].e, "%s", rows[i].value);
        cr_expect_eq(r.first, rows[i].first, "%s", rows[i].value);
        cr_expect_eq(r.last, rows[i].last, "%s", rows[i].value);
        cr_expect_eq(length, rows[i].length, "%s", rows[i].value);
    }
}
