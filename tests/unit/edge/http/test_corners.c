/* What no ordinary message does: each grammar left at every place where it can be left, and memory that ends in the
 * middle. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/http/cache_control.h"
#include "edge/http/chunked.h"
#include "edge/http/conditional.h"
#include "edge/http/date.h"
#include "edge/http/fields.h"
#include "edge/http/range.h"
#include "edge/http/sf.h"
#include "edge/http/upgrade.h"
#include "edge/http/uri.h"

static fields_t one(field_t *f, const char *name, const char *value)
{
    *f = (field_t){span_str(name), span_str(value)};
    return (fields_t){.v = f, .n = 1, .cap = 1};
}

static arena_t full(void)
{
    arena_t a;
    arena_init(&a, 1);
    return a;
}

/* A date with one byte wrong, or without its end, is none. */
Test(corners, dates)
{
    static const char *const good[] = {"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
                                       "Sun Nov  6 08:49:37 1994", "Sun Nov 16 08:49:37 1994"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        size_t n = strlen(good[i]);
        msec_t out;
        cr_assert_eq(date_parse(span_str(good[i]), 0, &out), ERR_OK);
        for (size_t at = 0; at < n; at++) {
            char bad[40];
            memcpy(bad, good[i], n + 1);
            bad[at] = '~';
            cr_expect_eq(date_parse(span_str(bad), 0, &out), ERR_SYNTAX, "%s", bad);
            cr_expect_eq(date_parse(span_of(good[i], at), 0, &out), ERR_SYNTAX, "%.*s", (int)at, good[i]);
        }
        char longer[40];
        snprintf(longer, sizeof longer, "%s ", good[i]);
        cr_expect_eq(date_parse(span_str(longer), 0, &out), ERR_SYNTAX, "%s", longer);
    }
}

Test(corners, cache_control)
{
    static const struct {
        const char *value;
        int64_t min_fresh, max_stale;
        bool any;
    } rows[] = {{"min-fresh=10, min-fresh=5", 10, CACHE_CONTROL_ABSENT, false},
                {"min-fresh=5, min-fresh=10", 10, CACHE_CONTROL_ABSENT, false},
                {"max-stale", CACHE_CONTROL_ABSENT, CACHE_CONTROL_ABSENT, true},
                {"max-stale junk", CACHE_CONTROL_ABSENT, 0, false},
                {"max-stale, max-stale=5", CACHE_CONTROL_ABSENT, 5, false},
                {"max-stale=5, max-stale", CACHE_CONTROL_ABSENT, 5, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cache_control_t cc;
        field_t f;
        fields_t request = one(&f, "cache-control", rows[i].value);
        cr_assert(cache_control_parse(&cc, &request, SPAN("cache-control")));
        cr_expect_eq(cc.min_fresh, rows[i].min_fresh, "%s", rows[i].value);
        cr_expect_eq(cc.max_stale, rows[i].max_stale, "%s", rows[i].value);
        cr_expect_eq((cc.flags & CACHE_CONTROL_MAX_STALE_ANY) != 0, rows[i].any, "%s", rows[i].value);
    }
}

Test(corners, targeted_types)
{
    static const struct {
        const char *value;
        bool valid;
    } rows[] = {{"no-cache=\"a\"", true}, {"private=\"a\"", true},  {"no-store=\"a\"", false},
                {"no-store=?0", false},   {"private=?1", true},     {"must-revalidate=(a)", false},
                {"max-age=-1", false},    {"max-age=\"1\"", false}, {"private=a", false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cache_control_t cc;
        arena_t a;
        field_t f;
        fields_t response = one(&f, "cdn-cache-control", rows[i].value);
        arena_init(&a, 0);
        cr_expect_eq(cache_control_parse_targeted(&cc, &response, SPAN("cdn-cache-control"), &a) ==
                         CACHE_CONTROL_TARGETED_VALID,
                     rows[i].valid, "%s", rows[i].value);
        arena_release(&a);
    }
}

static chunked_verdict_t chunks(const char *text, size_t n)
{
    chunked_t c = {0};
    span_t in = span_of(text, n), data;
    chunked_verdict_t v;
    while ((v = chunked_next(&c, &in, &data)) == CHUNKED_DATA)
        ;
    return v;
}

Test(corners, chunked)
{
    static const char *const bad[] = {"g\r\n",     "G\r\n",      "/\r\n",          "1;\x01\r\n",  "1;a\n",
                                      "0\r\n\x01", "0\r\na\x01", "0\r\na:\x01",    "0\r\na:b\rx", "0\r\n\rx",
                                      "1\r\naXY",  "1\r\na\rX",  "0\r\n:b\r\n\r\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_expect_eq(chunks(bad[i], strlen(bad[i])), CHUNKED_BAD, "%s", bad[i]);
    cr_expect_eq(chunks("1;a=b\r\nx\r\n0\r\na:b\r\n\r\n", 22), CHUNKED_END);
    cr_expect_eq(chunks("a\r\n0123456789\r\n0\r\n\r\n", 20), CHUNKED_END);
    /* lines and all of them together have ceilings */
    static const char *const before[] = {"1;", "0\r\n", "0\r\na:"};
    for (size_t i = 0; i < 3; i++) {
        char text[CHUNKED_LINE_MAX + 64];
        size_t n = strlen(before[i]);
        memcpy(text, before[i], n);
        memset(text + n, 'a', CHUNKED_LINE_MAX + 8);
        cr_expect_eq(chunks(text, n + CHUNKED_LINE_MAX / 2), CHUNKED_MORE);
        cr_expect_eq(chunks(text, n + CHUNKED_LINE_MAX + 8), CHUNKED_BAD, "%s", before[i]);
    }
    for (size_t length = 1; length <= 64; length += 63) { /* the ceiling met at a line's end, and within a value */
        chunked_t c = {0};
        span_t in = SPAN("0\r\n"), data;
        char line[80] = "a:";
        memset(line + 2, 'v', length - 1);
        memcpy(line + 1 + length, "\r\n", 2);
        chunked_verdict_t v = chunked_next(&c, &in, &data);
        for (size_t i = 0; v == CHUNKED_MORE && i < (size_t)CHUNKED_EXTRA_MAX * 2; i++) {
            in = span_of(line, length + 3);
            v = chunked_next(&c, &in, &data);
        }
        cr_expect_eq(v, CHUNKED_BAD, "%zu", length);
    }
}

Test(corners, conditions)
{
    static const struct {
        const char *name, *value, *etag;
        conditional_t want;
    } rows[] = {{"if-none-match", "\"b\",\t\"a\"", "\"a\"", CONDITIONAL_NOT_MODIFIED},
                {"if-none-match", "W/", "\"a\"", CONDITIONAL_PROCEED},
                {"if-none-match", "\"a", "\"a\"", CONDITIONAL_PROCEED},
                {"if-none-match", "\"a\"", "", CONDITIONAL_PROCEED},
                {"if-none-match", "\"a\"", ",", CONDITIONAL_PROCEED},
                {"if-match", "\"a\"", NULL, CONDITIONAL_FAILED}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        field_t f;
        fields_t request = one(&f, rows[i].name, rows[i].value);
        cr_expect_eq(conditional_evaluate(METHOD_GET, &request, span_str(rows[i].etag), -1), rows[i].want, "%s: %s",
                     rows[i].name, rows[i].value);
    }
    static const struct {
        msec_t modified, date;
        bool want;
    } dates[] = {{784111777000, 784111778000, true},
                 {784111777000, 784111777999, false},
                 {-1, 784111778000, false},
                 {784111777000, -1, false},
                 {784111776000, 784111778000, false}};
    for (size_t i = 0; i < sizeof dates / sizeof *dates; i++) {
        field_t f;
        fields_t request = one(&f, "if-range", "Sun, 06 Nov 1994 08:49:37 GMT");
        cr_expect_eq(conditional_if_range(&request, SPAN_NONE, dates[i].modified, dates[i].date), dates[i].want);
    }
    field_t f;
    fields_t request = one(&f, "if-range", "soon");
    cr_expect_not(conditional_if_range(&request, SPAN_NONE, 784111777000, 784111779000));
}

/* Blocks that fieldblock_pack did not make, or cut: read as far as they make sense. */
Test(corners, fieldblock)
{
    arena_t a = full();
    fields_t f = {0};
    fieldblock_t *b = calloc(1, sizeof *b + 8);
    b->count = 2;
    cr_expect_eq(fieldblock_unpack(b, &a, &f), ERR_TOO_BIG);
    arena_init(&a, 0);
    b->size = 2;
    memcpy(b->bytes, "\x00\x01", 2); /* content-type, and a value of one byte that isn't there */
    cr_expect_eq(fieldblock_unpack(b, &a, &f), ERR_OK);
    cr_expect_eq(f.n, 0);
    b->size = 3;
    memcpy(b->bytes, "\x00\x01x", 3);
    cr_expect_eq(fieldblock_unpack(b, &a, &f), ERR_OK);
    cr_expect(f.n == 1 && span_eq(fieldblock_get(b, SPAN("content-type")), SPAN("x")));
    cr_expect_eq(fieldblock_validate("\x00", 1, 1), ERR_CORRUPT, "a name alone");
    cr_expect_eq(fieldblock_validate("\xff", 1, 1), ERR_CORRUPT, "a long name without its length");
    cr_expect_eq(fieldblock_validate("\x00\xff", 2, 1), ERR_CORRUPT, "a long value without its length");
    cr_expect_eq(fieldblock_validate("\x00\xff\x01", 3, 1), ERR_CORRUPT, "with half of it");
    free(b);
    arena_release(&a);

    static char big[FIELDS_MAX_BYTES + 2];
    memset(big, 'a', sizeof big - 1);
    field_t large[] = {{SPAN("x"), span_str(big)}, {span_str(big), SPAN("x")}};
    for (size_t i = 0; i < 2; i++) {
        fields_t too = {.v = &large[i], .n = 1, .cap = 1};
        cr_expect_eq(fieldblock_pack(&too, &b), ERR_TOO_BIG);
    }
}

Test(corners, ranges)
{
    static const char *const ignored[] = {"bytes=-", "bytes=-x", "bytes=-1x", "bytes=x",    "bytes=x-1",
                                          "bytes=1", "bytes=1x", "bytes=1-x", "bytes=1-2x", "bytes=2-1"};
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) {
        range_t v[RANGE_MAX];
        size_t n;
        cr_expect_eq(range_parse(span_str(ignored[i]), 10, v, &n), RANGE_IGNORE, "%s", ignored[i]);
    }
    static const char *const bad[] = {"bytes",
                                      "bytes ",
                                      "bytes x-2/3",
                                      "bytes 1",
                                      "bytes 1x2/3",
                                      "bytes 1-",
                                      "bytes 1-x/3",
                                      "bytes 2-1/3",
                                      "bytes 1-2",
                                      "bytes 1-2x3",
                                      "bytes 1-2/x",
                                      "bytes 1-2/3x",
                                      "bytes */*",
                                      "bytes */",
                                      "bytes 1-3/3",
                                      "items 1-2/3",
                                      "bytes 0-9223372036854775807/*",
                                      "bytes 0-1/9223372036854775808"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        range_t r;
        int64_t length;
        cr_expect_eq(range_parse_content_range(span_str(bad[i]), &r, &length), ERR_SYNTAX, "%s", bad[i]);
    }
}

Test(corners, structured_fields)
{
    sf_value_t v;
    sf_t it;
    span_t key;
    static const char *const bad[] = {"=", "]", "\x7f", "_a", ")", "A;=1", "a b"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_expect_eq(sf_item(span_str(bad[i]), &v), ERR_SYNTAX, "%s", bad[i]);
    sf_init(&it, SPAN("a=1")); /* parameters begin with a semicolon */
    cr_expect_eq(sf_params_next(&it, &key, &v), ERR_SYNTAX);
    sf_init(&it, SPAN("1\"a\"")); /* an inner list's items stand apart */
    cr_expect_eq(sf_inner_next(&it, &v), ERR_OK);
    cr_expect_eq(sf_inner_next(&it, &v), ERR_SYNTAX);
    arena_t a, none = full();
    arena_init(&a, 0);
    cr_expect(span_eq(sf_text(&(sf_value_t){.type = SF_STRING, .text = SPAN("a\\")}, &a), SPAN("a\\")));
    cr_expect_null(sf_text(&(sf_value_t){.type = SF_DISPLAY, .text = SPAN("%zz")}, &a).p);
    cr_expect_null(sf_text(&(sf_value_t){.type = SF_STRING, .text = SPAN("a\\\"")}, &none).p);
    cr_expect_null(sf_text(&(sf_value_t){.type = SF_DISPLAY, .text = SPAN("%c3%a4")}, &none).p);
    cr_expect_null(sf_text(&(sf_value_t){.type = SF_BYTES, .text = SPAN("aGk=")}, &none).p);
    cr_expect_null(sf_write_name(&none, SPAN("a b")).p);
    arena_release(&a);
}

Test(corners, upgrades)
{
    arena_t a = full();
    field_t f;
    fields_t request = one(&f, "x", "y");
    const span_t allowed[] = {SPAN("irc"), SPAN("tcp")};
    static const method_t never[] = {METHOD_HEAD, METHOD_CONNECT, METHOD_TRACE, METHOD_PURGE};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        cr_expect_null(upgrade_select(SPAN("irc"), allowed, 2, never[i], &request, &a).p);
    cr_expect(span_eq(upgrade_select(SPAN("irc"), allowed, 2, METHOD_GET, &request, &a), SPAN("irc")));
    cr_expect_null(upgrade_select(SPAN("irc, tcp"), allowed, 2, METHOD_GET, &request, &a).p, "no memory for both");
}

Test(corners, dots_between_separators)
{
    static const struct {
        const char *path;
        bool hides;
    } rows[] = {{"/a\\..", true}, {"/a\\.b", false}, {"/%5C../b", true},
                {"/%2F.", true},  {"/...", false},   {"/", false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_expect_eq(uri_hides_dots(span_str(rows[i].path)), rows[i].hides, "%s", rows[i].path);
}

Test(corners, hosts)
{
    char out[128];
    size_t n;
    int port;
    cr_expect_eq(
        uri_normalise_host(SPAN("[1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa]"), SPAN_NONE, out, sizeof out, &n),
        ERR_SYNTAX);
    cr_expect_eq(uri_normalise_host(SPAN("[::1\0]"), SPAN_NONE, out, sizeof out, &n), ERR_SYNTAX);
    cr_expect_eq(uri_normalise_host(SPAN("[::z]"), SPAN_NONE, out, sizeof out, &n), ERR_SYNTAX);
    cr_expect(span_eq(uri_host_name(SPAN("a.example:x"), &port), SPAN("a.example")) && port == -1);
}
