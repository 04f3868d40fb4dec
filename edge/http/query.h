/* Parameters in the query of a call (WHATWG URL 5.1, as far as calls need it): NAME=VALUE joined by '&', with
 * percent-encoding. Pure. */
#ifndef BRINK_HTTP_QUERY_H
#define BRINK_HTTP_QUERY_H

#include "edge/base/arena.h"
#include "edge/base/err.h"

/* Takes the next parameter off; both are views, still encoded. Empty ones are passed over. False: no more. */
bool query_next(span_t *rest, span_t *name, span_t *value);
/* Percent-encoding undone, and with `plus` a '+' is a space. ERR_SYNTAX: '%' without two hex digits; ERR_TOO_BIG: the
 * arena is full. */
err_t query_decode(arena_t *a, span_t text, bool plus, span_t *out);

#endif
