/* Content codings (RFC 9110 8.4.1) that a node can apply: which one a request wants, and how entity tags of coded forms
 * are named. Pure.
 *
 * A coded form may not share a strong validator with the identity form (RFC 9110 8.8.3.3), and two runs of a coder need
 * not give the same bytes. So where the origin's tag is strong, "abc" becomes W/"abc-gzip": weak, so nobody puts bytes
 * of two forms together, and named, so that it can be turned back into what the origin knows, for If-None-Match and
 * (which no weak tag of an origin's could do) If-Match. A weak tag stays as it is: it says no more than that the
 * content means the same. */
#ifndef BRINK_HTTP_CODING_H
#define BRINK_HTTP_CODING_H

#include "edge/http/fields.h"

typedef enum coding { CODING_IDENTITY, CODING_ZSTD, CODING_BR, CODING_GZIP } coding_t;
enum { CODINGS = 4 };

span_t coding_name(coding_t c); /* "zstd" … */

/* Which of `offered` (by preference) the request's Accept-Encoding wants most (RFC 9110 12.5.3); identity when it wants
 * none of them, has no such field, or prefers identity by its weight. */
coding_t coding_choose(const fields_t *request, const coding_t *offered, size_t n);

/* The tag of a coded form, in the arena where it differs from the identity form's; .p NULL where that is. */
span_t coding_tag(span_t etag, coding_t c, arena_t *arena);
/* Is this one member of an entity tag list such a tag? Then `*bare` is the identity form's ("abc", in the arena). */
bool coding_untag(span_t tag, arena_t *arena, span_t *bare);
/* The request's fields with the identity form's tags beside those of coded forms in If-None-Match and If-Match; `out`
 * gets views, its array and what is new from the arena. False: there are none, and `out` isn't set. */
bool coding_untag_fields(const fields_t *request, arena_t *arena, fields_t *out);
/* Of an answer 304 to this request, for an identity form tagged `etag`: the tag of the form that the client says it
 * has; `otherwise` when it names none of them. */
span_t coding_tag_held(const fields_t *request, span_t etag, span_t otherwise, arena_t *arena);

#endif
