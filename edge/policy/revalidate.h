/* Validation of a stored response (RFC 9111 4.3). Pure. */
#ifndef BRINK_POLICY_REVALIDATE_H
#define BRINK_POLICY_REVALIDATE_H

#include "edge/policy/stored.h"

/* Adds If-None-Match and If-Modified-Since for the stored response to an upstream request (both when both are known).
 * False: it has no validator, the request goes unconditional. */
bool revalidate_add_validators(const fieldblock_t *stored, fields_t *upstream_request, arena_t *a);
/* The strong validator of a stored response as If-Range says it (RFC 9110 13.1.5): its entity tag, or its Last-Modified
 * where that is a second or more before its Date (RFC 9110 8.8.2.2); .p NULL: it has none. A view into the block. */
span_t revalidate_strong(const fieldblock_t *stored);
/* Is a response with these fields the same representation, byte for byte (RFC 9110 8.8.1)? */
bool revalidate_same_bytes(const fieldblock_t *stored, const fields_t *response);
/* Takes a client's own conditions and ranges off what is forwarded on behalf of the cache. */
void revalidate_strip_conditions(fields_t *upstream_request);
/* Does this 304 speak of that stored response (RFC 9111 4.3.4)? */
bool revalidate_selects(const fieldblock_t *stored, const fields_t *not_modified);
/* The fields after freshening (RFC 9111 3.2): new ones replace, but Content-Length, Content-Encoding, Content-Type,
 * Content-Range, Transfer-Encoding, hop-by-hop and ETag of a different strength stay. Views into both inputs. */
err_t revalidate_merge(const fieldblock_t *stored, const fields_t *not_modified, arena_t *a, fields_t *out);

#endif
