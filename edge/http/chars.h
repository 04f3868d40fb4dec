/* Which bytes may stand where in HTTP: one table for all parsers (RFC 9110 5.5, 5.6.2; RFC 3986 2; RFC 9651 3.1.2). Pure. */
#ifndef BRINK_HTTP_CHARS_H
#define BRINK_HTTP_CHARS_H

#include "edge/base/span.h"

enum chars_class {
    CHARS_TOKEN = 1u << 0,      /* tchar: RFC 9110 5.6.2 */
    CHARS_NAME = 1u << 1,       /* tchar, but no upper case: field names as brink keeps them */
    CHARS_VALUE = 1u << 2,      /* field value: HTAB, SP, VCHAR, obs-text */
    CHARS_UNRESERVED = 1u << 3, /* RFC 3986 2.3 */
    CHARS_URI = 1u << 4,        /* unreserved, sub-delims, ":@/?[]": stands in a path or query as it is */
    CHARS_DIGIT = 1u << 5,
    CHARS_SF_KEY = 1u << 6, /* of a key, but not first: RFC 9651 3.1.2 */
    CHARS_HOST = 1u << 7    /* letters, digits, "-._~" */
};

extern const uint8_t chars_table[256];

static inline bool chars_is(char c, unsigned classes)
{
    return (chars_table[(unsigned char)c] & classes) != 0;
}
/* All bytes of that class (an empty span too). */
static inline bool chars_all(span_t s, unsigned classes)
{
    for (size_t i = 0; i < s.n; i++)
        if (!chars_is(s.p[i], classes))
            return false;
    return true;
}
/* 0 … 15, or -1. */
static inline int chars_hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

#endif
