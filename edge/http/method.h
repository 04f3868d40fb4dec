/* Request methods as caches see them (RFC 9110 9, RFC 9111). Methods are case-sensitive. */
#ifndef BRINK_HTTP_METHOD_H
#define BRINK_HTTP_METHOD_H

#include "edge/base/span.h"

typedef enum method {
    METHOD_GET,
    METHOD_HEAD,
    METHOD_POST,
    METHOD_PUT,
    METHOD_PATCH,
    METHOD_DELETE,
    METHOD_OPTIONS,
    METHOD_TRACE,
    METHOD_CONNECT,
    METHOD_PURGE,
    METHOD_OTHER /* a token that we don't know: treated as unsafe */
} method_t;

method_t method_parse(span_t name);
bool method_valid(span_t name);     /* a token */
bool method_safe(method_t m);       /* GET HEAD OPTIONS TRACE: RFC 9110 9.2.1 */
bool method_idempotent(method_t m); /* may be retried: RFC 9110 9.2.2 */

#endif
