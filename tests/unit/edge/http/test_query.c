/* Parameters of calls: percent-encoding, and what is none. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "edge/http/query.h"

Test(query, next)
{
    static const struct {
        const char *query, *told;
    } rows[] = {{"", ""},   {"a=1", "[a|1]"}, {"a=1&b=2=3&&c&=x&", "[a|1][b|2=3][c|][|x]"},
                {"&&", ""}, {"a", "[a|]"},    {"url=http://h/?x=1", "[url|http://h/?x=1]"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char told[128] = "";
        span_t rest = span_str(rows[i].query), name, value;
        while (query_next(&rest, &name, &value))
            sprintf(told + strlen(told), "[%.*s|%.*s]", SPAN_ARG(name), SPAN_ARG(value));
        cr_expect_str_eq(told, rows[i].told);
    }
}

Test(query, decode)
{
    static const struct {
        const char *text;
        bool plus;
        err_t err;
        const char *out;
    } rows[] = {{"", false, ERR_OK, ""},         {"a+b", false, ERR_OK, "a+b"},
                {"a+b", true, ERR_OK, "a b"},    {"%41%6a%2B", true, ERR_OK, "Aj+"},
                {"%", false, ERR_SYNTAX, ""},    {"%4", false, ERR_SYNTAX, ""},
                {"%g1", false, ERR_SYNTAX, ""},  {"%1g", false, ERR_SYNTAX, ""},
                {"x%ff", false, ERR_OK, "x\xff"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        arena_t a;
        arena_init(&a, 0);
        span_t out = SPAN_NONE;
        cr_expect_eq(query_decode(&a, span_str(rows[i].text), rows[i].plus, &out), rows[i].err, "%s", rows[i].text);
        cr_expect(rows[i].err != ERR_OK || span_eq(out, span_str(rows[i].out)), "%s", rows[i].text);
        arena_release(&a);
    }
    arena_t a;
    arena_init(&a, 2);
    span_t out;
    cr_expect_eq(query_decode(&a, SPAN("abc"), false, &out), ERR_TOO_BIG);
    arena_release(&a);
}

Test(query, read)
{
    static const struct {
        const char *query, *n, *host, *problem; /* values, "-" for none */
    } rows[] = {
        {"", "-", "-", NULL},
        {"n=5", "5", "-", NULL},
        {"%6e=%35&host=a+b", "5", "a b", NULL},
        {"n=&host", "", "", NULL},
        {"n=1&n=1", NULL, NULL, "once"},
        {"n=1&%6E=1", NULL, NULL, "once"},
        {"m=1", NULL, NULL, "\\\"m\\\" is none of n, host"},
        {"N=1", NULL, NULL, "is none of"},
        {"n=%", NULL, NULL, "hex digits"},
        {"%n=1", NULL, NULL, "hex digits"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        arena_t a;
        arena_init(&a, 0);
        query_param_t p[] = {{.name = SPAN("n")}, {.name = SPAN("host")}};
        handler_response_t resp = {.status = 0};
        bool good = query_read(&a, span_str(rows[i].query), p, 2, &resp);
        cr_expect_eq(good, rows[i].problem == NULL, "%s", rows[i].query);
        cr_expect_eq(resp.status, good ? 0 : 400, "%s", rows[i].query);
        if (good) {
            cr_expect(span_eq(p[0].value, span_str(rows[i].n)) || (p[0].value.p == NULL && rows[i].n[0] == '-'));
            cr_expect(span_eq(p[1].value, span_str(rows[i].host)) || (p[1].value.p == NULL && rows[i].host[0] == '-'));
        } else {
            cr_assert_not_null(resp.body);
            cr_expect_not_null(strstr(resp.body, rows[i].problem), "%s: %s", rows[i].query, resp.body);
        }
        handler_response_release(&resp);
        arena_release(&a);
    }
}
