/* The table against the grammar, derived here a second time. */
#include <ctype.h>

#include <criterion/criterion.h>

#include "edge/http/chars.h"

Test(chars, table_is_the_grammar)
{
    for (int c = 0; c < 256; c++) {
        bool ascii = c < 128, alnum = ascii && isalnum(c), upper = ascii && isupper(c);
        bool token = alnum || (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL); /* RFC 9110 5.6.2 */
        bool unreserved = alnum || (c != 0 && strchr("-._~", c) != NULL);       /* RFC 3986 2.3 */
        bool uri = unreserved || (c != 0 && strchr("!$&'()*+,;=:@/?[]", c) != NULL);
        bool key = (alnum && !upper) || (c != 0 && strchr("_-.*", c) != NULL); /* RFC 9651 3.1.2 */
        cr_expect_eq(chars_is((char)c, CHARS_TOKEN), token, "%d", c);
        cr_expect_eq(chars_is((char)c, CHARS_NAME), token && !upper, "%d", c);
        cr_expect_eq(chars_is((char)c, CHARS_VALUE), c == '\t' || (c >= 32 && c != 127), "%d", c);
        cr_expect_eq(chars_is((char)c, CHARS_UNRESERVED), unreserved, "%d", c);
        cr_expect_eq(chars_is((char)c, CHARS_URI), uri, "%d", c);
        cr_expect_eq(chars_is((char)c, CHARS_DIGIT), ascii && isdigit(c), "%d", c);
        cr_expect_eq(chars_is((char)c, CHARS_SF_KEY), key, "%d", c);
        cr_expect_eq(chars_is((char)c, CHARS_HOST), unreserved, "%d", c);
        cr_expect_eq(chars_hex((char)c), ascii && isxdigit(c) ? (int)strtol((char[]){(char)c, 0}, NULL, 16) : -1, "%d",
                     c);
    }
}

Test(chars, all)
{
    cr_expect(chars_all(SPAN_NONE, CHARS_TOKEN));
    cr_expect(chars_all(SPAN("abc"), CHARS_TOKEN));
    cr_expect_not(chars_all(SPAN("ab c"), CHARS_TOKEN));
    cr_expect(chars_all(SPAN("ab c"), CHARS_TOKEN | CHARS_VALUE));
}
