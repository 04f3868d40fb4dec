/* Parameters in the query of a call (WHATWG URL 5.1, as far as calls need it): NAME=VALUE joined by '&', with
 * percent-encoding. Pure. */
#ifndef BRINK_HTTP_QUERY_H
#define BRINK_HTTP_QUERY_H

#include "edge/base/arena.h"
#include "edge/base/err.h"
#include "edge/http/handler.h"

typedef struct query_param {
    span_t name, value; /* value: decoded; .p NULL where it was not given */
} query_param_t;

/* Takes the next parameter off; both are views, still encoded. Empty ones are passed over. False: no more. */
bool query_next(span_t *rest, span_t *name, span_t *value);
/* Percent-encoding undone, and with `plus` a '+' is a space. ERR_SYNTAX: '%' without two hex digits; ERR_TOO_BIG: the
 * arena is full. */
err_t query_decode(arena_t *a, span_t text, bool plus, span_t *out);
/* All of a query into the parameters that a call knows; '+' is a space. False: it is malformed, names one that is not
 * among them, or one twice, and `resp` is the 400 that says so. The values live as long as the arena. */
bool query_read(arena_t *a, span_t query, query_param_t *params, size_t n, handler_response_t *resp);

#endif
