/* Changing the protocol of an HTTP/1.1 connection (RFC 9110 7.8). Pure.
 *
 * A tunnel is only opened for protocols that were allowed by name, and the server must name one of those that it was
 * offered: what comes behind is not looked at, so it must not be HTTP. */
#ifndef BRINK_HTTP_UPGRADE_H
#define BRINK_HTTP_UPGRADE_H

#include "edge/http/fields.h"
#include "edge/http/method.h"

/* protocol-name ["/" protocol-version], and none that would carry requests past the cache: h2c, HTTP, TLS, connect-udp
 * and their like. */
bool upgrade_permissible(span_t protocol);

/* Does Connection say "upgrade"? */
bool upgrade_asked(const fields_t *f);

/* What of `offered` (the value of Upgrade) is allowed, as a list for the next hop; .p NULL: nothing, and the request is
 * one like any other (a server may ignore Upgrade). "websocket" only as RFC 6455 4.1 has it: GET, a key, version 13. */
span_t upgrade_select(span_t offered, const span_t *allowed, size_t n, method_t method, const fields_t *request,
                      arena_t *arena);

/* Is what the server says it has changed to one thing, and among what it was offered? */
bool upgrade_agreed(span_t offered, span_t answered);

#endif
