/* A client's conditional request against a selected representation (RFC 9110 13). Pure. */
#ifndef BRINK_HTTP_CONDITIONAL_H
#define BRINK_HTTP_CONDITIONAL_H

#include "edge/base/time.h"
#include "edge/http/fields.h"
#include "edge/http/method.h"

typedef enum conditional { CONDITIONAL_PROCEED, CONDITIONAL_NOT_MODIFIED, CONDITIONAL_FAILED } conditional_t;

/* In the precedence of RFC 9110 13.2.2: If-Match, If-Unmodified-Since, If-None-Match, If-Modified-Since. `etag` is the
 * stored one as written (.p NULL for none); last_modified in Unix ms or -1 (a cache passes Date where there is none:
 * RFC 9111 4.3.2). Malformed dates and those on several lines are ignored; a tag without quotes equals only itself,
 * weakly. To be asked only for stored responses that are 2xx (RFC 9110 13.2.1). */
conditional_t conditional_evaluate(method_t method, const fields_t *request, span_t etag, msec_t last_modified);
/* If-Range (RFC 9110 13.1.5): true when the Range may be applied (also when there is no If-Range). Strong comparison; a
 * date is a strong validator only when it equals last_modified and `date`, the stored response's Date in Unix ms or -1,
 * is a second or more later. */
bool conditional_if_range(const fields_t *request, span_t etag, msec_t last_modified, msec_t date);

#endif
