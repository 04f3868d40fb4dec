/* Lists whose members have a weight (RFC 9110 12.4.2): Accept-Encoding, Accept-Language. Pure. */
#ifndef BRINK_HTTP_WEIGHTED_H
#define BRINK_HTTP_WEIGHTED_H

#include <stdbool.h>

#include "edge/base/span.h"

enum { WEIGHTED_ONE = 1000 }; /* weights are in thousandths */

/* Takes the next member off a list: up to a comma that stands in no quoted string, without the white space around it.
 * False: there is none left. Empty members are passed over. */
bool weighted_next(span_t *rest, span_t *member);
/* "gzip ; Q=0.50" → "gzip" (as written) and 500. False: it has another parameter, or no weight that is one. */
bool weighted_read(span_t member, span_t *name, unsigned *weight);

#endif
