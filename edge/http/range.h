/* Byte ranges (RFC 9110 14). Pure. */
#ifndef BRINK_HTTP_RANGE_H
#define BRINK_HTTP_RANGE_H

#include "edge/base/err.h"
#include "edge/base/span.h"

enum { RANGE_MAX = 32 }; /* ranges in one request; more: the whole representation is sent (RFC 9110 14.2, 17.15) */

typedef struct range {
    uint64_t first, last; /* inclusive, first <= last < length */
} range_t;

typedef enum range_verdict {
    RANGE_IGNORE,       /* no Range, another unit, malformed, too many, or it would not save anything: 200 */
    RANGE_PARTIAL,      /* 206 with n ranges, in the order asked for, overlapping ones coalesced */
    RANGE_UNSATISFIABLE /* 416 */
} range_verdict_t;

range_verdict_t range_parse(span_t value, uint64_t length, range_t out[RANGE_MAX], size_t *n);
/* Content-Range of an upstream's 206: "bytes a-b/len"; length -1 for "*". */
err_t range_parse_content_range(span_t value, range_t *out, int64_t *length);

#endif
