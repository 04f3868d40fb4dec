/* Bytes of a peer on their way into text that must be UTF-8 (JSON, labels): how long is the character here, if it is
 * one? RFC 3629: no overlong forms, no surrogates, nothing beyond U+10FFFF. Pure. */
#ifndef BRINK_BASE_UTF8_H
#define BRINK_BASE_UTF8_H

#include "edge/base/span.h"

/* 1 … 4 bytes of the well-formed character at p (n ≥ 1 bytes are there), 0 when there is none. */
static inline size_t utf8_length(const char *p, size_t n)
{
    const unsigned char *s = (const unsigned char *)p;
    unsigned char low = 0x80, high = 0xbf; /* of the second byte */
    size_t want;
    if (s[0] < 0x80)
        return 1;
    if (s[0] >= 0xc2 && s[0] <= 0xdf)
        want = 2;
    else if (s[0] >= 0xe0 && s[0] <= 0xef) {
        want = 3;
        if (s[0] == 0xe0)
            low = 0xa0;
        else if (s[0] == 0xed)
            high = 0x9f;
    } else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
        want = 4;
        if (s[0] == 0xf0)
            low = 0x90;
        else if (s[0] == 0xf4)
            high = 0x8f;
    } else
        return 0;
    if (n < want || s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < want; i++)
        if (s[i] < 0x80 || s[i] > 0xbf)
            return 0;
    return want;
}

/* Characters alone, without control characters: a line that can be said in JSON as it is. */
static inline bool utf8_printable(span_t s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
            return false;
    for (size_t i = 0, n; i < s.n; i += n)
        if ((n = utf8_length(s.p + i, s.n - i)) == 0)
            return false;
    return true;
}

#endif
