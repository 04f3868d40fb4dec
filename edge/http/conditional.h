/* A client's conditional request against a selected representation (RFC 9110 13). Pure. */
#ifndef BRINK_HTTP_CONDITIONAL_H
#define BRINK_HTTP_CONDITIONAL_H

#include "edge/base/time.h"
#include "edge/http/fields.h"
#include "edge/http/method.h"

typedef enum conditional { CONDITIONAL_PROCEED, CONDITIONAL_NOT_MODIFIED, CONDITIONAL_FAILED } conditional_t;

/* In the precedence of RFC 9110 13.2.2: If-Match, If-Unmodified-Since, If-None-Match, If-Modified-Since. `etag` is the
 * stored one as written (.p NULL for none); last_modified in Unix ms or -1. Only for 2xx stored responses. */
conditional_t conditional_evaluate(method_t method, const fields_t *request, span_t etag, msec_t last_modified);
/* If-Range (RFC 9110 13.1.5): true when the Range may be applied (also when there is no If-Range). Strong comparison. */
bool conditional_if_range(const fields_t *request, span_t etag, msec_t last_modified, msec_t date);

#endif
