/* A borrowed run of bytes: never owns, never NUL-terminated by contract. Whoever returns a span says how long it lives.
 */
#ifndef BRINK_BASE_SPAN_H
#define BRINK_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct span {
    const char *p;
    size_t n;
} span_t;

#define SPAN(literal) ((span_t){(literal), sizeof(literal) - 1})
#define SPAN_NONE ((span_t){NULL, 0})
#define SPAN_ARG(s) (int)(s).n, (s).p /* for "%.*s" */

static inline span_t span_of(const char *p, size_t n)
{
    return (span_t){p, n};
}
static inline span_t span_str(const char *z)
{
    return (span_t){z, z != NULL ? strlen(z) : 0};
}
static inline bool span_eq(span_t a, span_t b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
static inline char span_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}
/* ASCII case-insensitive equality, as field names and most tokens of HTTP compare. */
static inline bool span_caseeq(span_t a, span_t b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (span_lower(a.p[i]) != span_lower(b.p[i]))
            return false;
    return true;
}
static inline bool span_starts(span_t s, span_t prefix)
{
    return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}
static inline bool span_ends(span_t s, span_t suffix)
{
    return s.n >= suffix.n && (suffix.n == 0 || memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0);
}
static inline span_t span_from(span_t s, size_t at)
{
    return at >= s.n ? (span_t){s.n > 0 ? s.p + s.n : s.p, 0} : (span_t){s.p + at, s.n - at};
}
static inline span_t span_upto(span_t s, size_t n)
{
    return (span_t){s.p, n < s.n ? n : s.n};
}
/* Optional whitespace of HTTP (SP, HTAB) taken off both ends: RFC 9110 5.6.3. */
static inline span_t span_trim(span_t s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
        s.p++, s.n--;
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}
/* Offset of the first c, or s.n. */
static inline size_t span_find(span_t s, char c)
{
    const char *at = s.n > 0 ? memchr(s.p, c, s.n) : NULL;
    return at != NULL ? (size_t)(at - s.p) : s.n;
}

#endif
