/* RFC 9110 9: names are case-sensitive; what is safe and what may be repeated. */
#include <criterion/criterion.h>

#include "edge/http/method.h"

Test(method, names)
{
    static const struct {
        const char *name;
        method_t method;
        bool safe, idempotent;
    } rows[] = {
        {"GET", METHOD_GET, true, true},           {"HEAD", METHOD_HEAD, true, true},
        {"OPTIONS", METHOD_OPTIONS, true, true},   {"TRACE", METHOD_TRACE, true, true},    /* 9.2.1 */
        {"PUT", METHOD_PUT, false, true},          {"DELETE", METHOD_DELETE, false, true}, /* 9.2.2 */
        {"POST", METHOD_POST, false, false},       {"PATCH", METHOD_PATCH, false, false},
        {"CONNECT", METHOD_CONNECT, false, false}, {"PURGE", METHOD_PURGE, false, false},
        {"get", METHOD_OTHER, false, false},       {"GETS", METHOD_OTHER, false, false},
        {"", METHOD_OTHER, false, false},          {"PROPFIND", METHOD_OTHER, false, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        method_t m = method_parse(span_str(rows[i].name));
        cr_expect_eq(m, rows[i].method, "%s", rows[i].name);
        cr_expect_eq(method_safe(m), rows[i].safe, "%s", rows[i].name);
        cr_expect_eq(method_idempotent(m), rows[i].idempotent, "%s", rows[i].name);
    }
}

Test(method, valid_is_a_token)
{
    cr_expect(method_valid(SPAN("M-SEARCH")));
    cr_expect(method_valid(SPAN("get")));
    cr_expect_not(method_valid(SPAN("")));
    cr_expect_not(method_valid(SPAN("GE T")));
    cr_expect_not(method_valid(SPAN("GET\r")));
    cr_expect_not(method_valid(SPAN("G\xc3\x89T")));
}
