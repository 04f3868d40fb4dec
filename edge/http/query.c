/* Parameters of a call. What is a byte and not a character stays one: nothing here asks for UTF-8. */
#include "edge/http/query.h"

#include <stdio.h>

#include "edge/http/chars.h"

enum { QUERY_SHOWN = 200 /* bytes of a name, in a message */ };

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

/* "a, b, c", for messages. */
static void query_names(const query_param_t *params, size_t n, char *to, size_t room)
{
    size_t at = 0;
    to[0] = '\0';
    for (size_t i = 0; i < n && at < room; i++)
        at += (size_t)snprintf(to + at, room - at, "%s%.*s", i > 0 ? ", " : "", SPAN_ARG(params[i].name));
}

bool query_read(arena_t *a, span_t query, query_param_t *params, size_t n, handler_response_t *resp)
{
    char names[QUERY_SHOWN];
    span_t name, value;
    while (query_next(&query, &name, &value)) {
        size_t i = 0;
        if (query_decode(a, name, true, &name) != ERR_OK || query_decode(a, value, true, &value) != ERR_OK) {
            handler_problem(resp, 400, "malformed query", "a %% in it has no two hex digits behind it: write it as %%25");
            return false;
        }
        while (i < n && !span_eq(name, params[i].name))
            i++;
        if (i == n) {
            query_names(params, n, names, sizeof names);
            handler_problem(resp, 400, "unknown parameter", "\"%.*s\" is none of %s",
                            SPAN_ARG(span_upto(name, QUERY_SHOWN)), names);
            return false;
        }
        if (params[i].value.p != NULL) {
            handler_problem(resp, 400, "a parameter is given twice", "give \"%.*s\" once", SPAN_ARG(name));
            return false;
        }
        params[i].value = value;
    }
    return true;
}
