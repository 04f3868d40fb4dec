/* RFC 9110 13. A row is the request's fields ("name: value" lines) and what the stored response has. */
#include <criterion/criterion.h>

#include "edge/http/conditional.h"

#define LM "Sun, 06 Nov 1994 08:49:37 GMT"
#define LM_MS 784111777000
#define BEFORE "Sun, 06 Nov 1994 08:49:36 GMT"
#define AFTER "Sun, 06 Nov 1994 08:49:38 GMT"

static fields_t parse(const char *text, field_t *array, size_t cap)
{
    fields_t f = {.v = array, .cap = cap};
    for (span_t s = span_str(text); s.n > 0;) {
        size_t end = span_find(s, '\n'), colon = span_find(s, ':');
        cr_assert_eq(fields_add(&f, span_upto(s, colon), span_trim(span_from(span_upto(s, end), colon + 1))), ERR_OK);
        s = span_from(s, end + 1);
    }
    return f;
}

Test(conditional, table)
{
    static const conditional_t letters[] = {
        ['P'] = CONDITIONAL_PROCEED, ['N'] = CONDITIONAL_NOT_MODIFIED, ['F'] = CONDITIONAL_FAILED};
    static const struct {
        method_t method;
        const char *request, *etag;
        msec_t last_modified;
        char want;
    } rows[] = {
        {METHOD_GET, "", "\"a\"", LM_MS, 'P'},
        /* 13.1.2 If-None-Match: weak comparison */
        {METHOD_GET, "if-none-match: \"a\"", "\"a\"", -1, 'N'},
        {METHOD_HEAD, "if-none-match: \"a\"", "\"a\"", -1, 'N'},
        {METHOD_GET, "if-none-match: W/\"a\"", "\"a\"", -1, 'N'},
        {METHOD_GET, "if-none-match: \"a\"", "W/\"a\"", -1, 'N'},
        {METHOD_GET, "if-none-match: W/\"a\"", "W/\"a\"", -1, 'N'},
        {METHOD_GET, "if-none-match: w/\"a\"", "\"a\"", -1, 'P'}, /* W is case-sensitive: 8.8.3 */
        {METHOD_GET, "if-none-match: \"b\"", "\"a\"", -1, 'P'},
        {METHOD_GET, "if-none-match: \"A\"", "\"a\"", -1, 'P'},
        {METHOD_GET, "if-none-match: \"b\", \"a\"", "\"a\"", -1, 'N'},
        {METHOD_GET, "if-none-match: ,\"b\" ,, W/\"a\",", "\"a\"", -1, 'N'},
        {METHOD_GET, "if-none-match: \"b\"\nif-none-match: \"a\"", "\"a\"", -1, 'N'},
        {METHOD_GET, "if-none-match: \"x,\"a\"", "\"a\"", -1, 'P'}, /* the tag is "x," and the rest is junk */
        {METHOD_GET, "if-none-match: \"x,y\"", "\"x,y\"", -1, 'N'},
        {METHOD_GET, "if-none-match: \"x, y\", \"a\"", "\"a\"", -1, 'N'},
        {METHOD_GET, "if-none-match: *", "\"a\"", -1, 'N'},
        {METHOD_GET, "if-none-match: *", NULL, -1, 'N'},
        {METHOD_PUT, "if-none-match: *", "\"a\"", -1, 'F'},
        {METHOD_GET, "if-none-match: \"a\"", NULL, -1, 'P'},
        {METHOD_GET, "if-none-match: \"\"", "\"\"", -1, 'N'}, /* an empty opaque tag is one */
        {METHOD_GET, "if-none-match: ", "\"a\"", -1, 'P'},
        {METHOD_GET, "if-none-match: \"a", "\"a", -1, 'N'}, /* never a tag, but the same bytes */
        {METHOD_GET, "if-none-match: abc", "abc", -1, 'N'},
        {METHOD_GET, "if-none-match: x, abc", "abc", -1, 'N'},
        {METHOD_GET, "if-none-match: abc", "\"abc\"", -1, 'P'},
        /* 13.1.3 If-Modified-Since */
        {METHOD_GET, "if-modified-since: " LM, NULL, LM_MS, 'N'},
        {METHOD_GET, "if-modified-since: " AFTER, NULL, LM_MS, 'N'},
        {METHOD_GET, "if-modified-since: " BEFORE, NULL, LM_MS, 'P'},
        {METHOD_GET, "if-modified-since: Sunday, 06-Nov-94 08:49:37 GMT", NULL, LM_MS, 'N'},
        {METHOD_GET, "if-modified-since: Sun Nov  6 08:49:37 1994", NULL, LM_MS, 'N'},
        {METHOD_POST, "if-modified-since: " LM, NULL, LM_MS, 'P'},
        {METHOD_GET, "if-modified-since: " LM, NULL, -1, 'P'},
        {METHOD_GET, "if-modified-since: 0", NULL, LM_MS, 'P'},
        {METHOD_GET, "if-modified-since: " LM "\nif-modified-since: " LM, NULL, LM_MS, 'P'},
        /* If-None-Match takes precedence: 13.2.2 */
        {METHOD_GET, "if-none-match: \"b\"\nif-modified-since: " LM, "\"a\"", LM_MS, 'P'},
        {METHOD_GET, "if-none-match: \"a\"\nif-modified-since: " BEFORE, "\"a\"", LM_MS, 'N'},
        /* 13.1.1 If-Match: strong comparison */
        {METHOD_GET, "if-match: \"a\"", "\"a\"", -1, 'P'},
        {METHOD_GET, "if-match: \"b\", \"a\"", "\"a\"", -1, 'P'},
        {METHOD_GET, "if-match: \"b\"", "\"a\"", -1, 'F'},
        {METHOD_GET, "if-match: W/\"a\"", "\"a\"", -1, 'F'},
        {METHOD_GET, "if-match: \"a\"", "W/\"a\"", -1, 'F'},
        {METHOD_GET, "if-match: W/\"a\"", "W/\"a\"", -1, 'F'},
        {METHOD_GET, "if-match: abc", "abc", -1, 'F'},
        {METHOD_GET, "if-match: \"a\"x", "\"a\"x", -1, 'F'},
        {METHOD_GET, "if-match: *", NULL, -1, 'P'},
        {METHOD_GET, "if-match: \"a\"", NULL, -1, 'F'},
        {METHOD_GET, "if-match: \"a\"\nif-none-match: \"a\"", "\"a\"", -1, 'N'},
        /* 13.1.4 If-Unmodified-Since */
        {METHOD_GET, "if-unmodified-since: " LM, NULL, LM_MS, 'P'},
        {METHOD_GET, "if-unmodified-since: " AFTER, NULL, LM_MS, 'P'},
        {METHOD_GET, "if-unmodified-since: " BEFORE, NULL, LM_MS, 'F'},
        {METHOD_GET, "if-unmodified-since: " BEFORE, NULL, -1, 'P'},
        {METHOD_GET, "if-unmodified-since: yesterday", NULL, LM_MS, 'P'},
        {METHOD_GET, "if-match: \"a\"\nif-unmodified-since: " BEFORE, "\"a\"", LM_MS, 'P'},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        field_t array[4];
        fields_t f = parse(rows[i].request, array, 4);
        conditional_t got = conditional_evaluate(rows[i].method, &f, span_str(rows[i].etag), rows[i].last_modified);
        cr_expect_eq(got, letters[(int)rows[i].want], "row %zu: %s against %s", i, rows[i].request, rows[i].etag);
    }
}

Test(conditional, if_range)
{
    static const struct {
        const char *request, *etag;
        msec_t last_modified, date;
        bool want;
    } rows[] = {
        {"", "\"a\"", -1, -1, true},
        {"if-range: \"a\"", "\"a\"", -1, -1, true},
        {"if-range: \"b\"", "\"a\"", -1, -1, false},
        {"if-range: W/\"a\"", "W/\"a\"", -1, -1, false}, /* 13.1.5: strong comparison */
        {"if-range: W/\"a\"", "\"a\"", -1, -1, false},
        {"if-range: \"a\"", "W/\"a\"", -1, -1, false},
        {"if-range: \"a\"", NULL, -1, -1, false},
        {"if-range: abc", "abc", -1, -1, false},
        {"if-range: ", "\"a\"", -1, -1, false},
        {"if-range: *", "\"a\"", -1, -1, false},
        {"if-range: \"a\"\nif-range: \"a\"", "\"a\"", -1, -1, false},
        {"if-range: " LM, NULL, LM_MS, LM_MS + 60000, true},
        {"if-range: Sun Nov  6 08:49:37 1994", NULL, LM_MS, LM_MS + 60000, true},
        {"if-range: Wed, 09 Nov 1994 08:49:37 GMT", NULL, LM_MS + 259200000, LM_MS + 259260000, true}, /* no tag */
        {"if-range: " AFTER, NULL, LM_MS, LM_MS + 60000, false}, /* an exact match, not "since" */
        {"if-range: " BEFORE, NULL, LM_MS, LM_MS + 60000, false},
        {"if-range: " LM, NULL, LM_MS, LM_MS + 1000, true},
        {"if-range: " LM, NULL, LM_MS, LM_MS, false}, /* 8.8.2.2: may have changed within the second */
        {"if-range: " LM, NULL, LM_MS, -1, false},
        {"if-range: " LM, NULL, -1, LM_MS, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        field_t array[4];
        fields_t f = parse(rows[i].request, array, 4);
        cr_expect_eq(conditional_if_range(&f, span_str(rows[i].etag), rows[i].last_modified, rows[i].date),
                     rows[i].want, "row %zu: %s against %s", i, rows[i].request, rows[i].etag);
    }
}
