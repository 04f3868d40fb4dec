/* Parameters of a call. What is a byte and not a character stays one: nothing here asks for UTF-8. */
#include "edge/http/query.h"

#include "edge/http/chars.h"

bool query_next(span_t *rest, span_t *name, span_t *value)
{
    while (rest->n > 0) {
        span_t one = span_upto(*rest, span_find(*rest, '&'));
        *rest = span_from(*rest, one.n + 1);
        if (one.n == 0)
            continue;
        *name = span_upto(one, span_find(one, '='));
        *value = span_from(one, name->n + 1);
        return true;
    }
    return false;
}

err_t query_decode(arena_t *a, span_t text, bool plus, span_t *out)
{
    char *p = arena_alloc(a, text.n + 1);
    size_t n = 0;
    if (p == NULL)
        return ERR_TOO_BIG;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (c == '%') {
            if (text.n - i < 3 || chars_hex(text.p[i + 1]) < 0 || chars_hex(text.p[i + 2]) < 0)
                return ERR_SYNTAX;
            c = (char)(chars_hex(text.p[i + 1]) * 16 + chars_hex(text.p[i + 2]));
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        p[n++] = c;
    }
    *out = span_of(p, n);
    return ERR_OK;
}
