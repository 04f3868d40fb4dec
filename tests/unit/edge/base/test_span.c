#include <criterion/criterion.h>

#include "edge/base/span.h"

Test(span, equality)
{
    cr_expect(span_eq(SPAN("ab"), SPAN("ab")));
    cr_expect_not(span_eq(SPAN("ab"), SPAN("aB")));
    cr_expect_not(span_eq(SPAN("ab"), SPAN("abc")));
    cr_expect(span_eq(SPAN_NONE, SPAN("")));
    cr_expect(span_caseeq(SPAN("Ab-1"), SPAN("aB-1")));
    cr_expect_not(span_caseeq(SPAN("ab"), SPAN("ac")));
    cr_expect_not(span_caseeq(SPAN("@"), SPAN("`"))); /* neighbours of the letters are no letters */
    cr_expect_not(span_caseeq(SPAN("["), SPAN("{")));
    cr_expect_not(span_caseeq(SPAN("\xc4"), SPAN("\xe4")));
    cr_expect(span_caseeq(SPAN_NONE, SPAN("")));
    cr_expect(span_eq(span_str(NULL), SPAN_NONE));
    cr_expect(span_eq(span_str("abc"), SPAN("abc")));
}

Test(span, cutting)
{
    span_t s = SPAN("hello");
    cr_expect(span_eq(span_from(s, 2), SPAN("llo")));
    cr_expect(span_eq(span_from(s, 5), SPAN("")));
    cr_expect(span_eq(span_from(s, 6), SPAN("")));
    cr_expect(span_eq(span_from(s, SIZE_MAX), SPAN("")));
    cr_expect_null(span_from(SPAN_NONE, 3).p);
    cr_expect(span_eq(span_upto(s, 2), SPAN("he")));
    cr_expect(span_eq(span_upto(s, 99), s));
    cr_expect(span_starts(s, SPAN("he")));
    cr_expect(span_starts(s, SPAN("")));
    cr_expect_not(span_starts(s, SPAN("hello!")));
    cr_expect(span_ends(s, SPAN("lo")));
    cr_expect(span_ends(s, SPAN_NONE));
    cr_expect_not(span_ends(s, SPAN("xhello")));
    cr_expect_eq(span_find(s, 'l'), 2);
    cr_expect_eq(span_find(s, 'x'), 5);
    cr_expect_eq(span_find(SPAN_NONE, 'x'), 0);
}

Test(span, trim)
{
    cr_expect(span_eq(span_trim(SPAN(" \t a b \t")), SPAN("a b")));
    cr_expect(span_eq(span_trim(SPAN("\r\na")), SPAN("\r\na"))); /* OWS is SP and HTAB: RFC 9110 5.6.3 */
    cr_expect_eq(span_trim(SPAN(" \t ")).n, 0);
    cr_expect_eq(span_trim(SPAN_NONE).n, 0);
}
