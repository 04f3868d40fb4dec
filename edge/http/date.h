/* HTTP dates (RFC 9110 5.6.7). Pure: `now` is an argument, needed for two-digit years only.
 *
 * All three forms are read: IMF-fixdate, RFC 850, asctime. Letter case is ignored (RFC 9111 4.2), the day name must be
 * one but is not compared with the date, the zone must be GMT. Anything else is an error: a cache treats an unreadable
 * Expires as the past, so guessing would only keep wrong responses alive. Dates are whole seconds, so -1 (ms) never is
 * one and may stand for "none". */
#ifndef BRINK_HTTP_DATE_H
#define BRINK_HTTP_DATE_H

#include "edge/base/err.h"
#include "edge/base/span.h"
#include "edge/base/time.h"

enum { DATE_LEN = 29 }; /* "Sun, 06 Nov 1994 08:49:37 GMT" */

/* Unix milliseconds (negative before 1970). ERR_SYNTAX leaves *out alone. A leap second counts as the second after it.
 */
err_t date_parse(span_t text, msec_t now_wall, msec_t *out);
/* IMF-fixdate with a NUL behind it; milliseconds are dropped (downwards). Years outside 0000 … 9999 are clamped. */
void date_format(msec_t wall, char out[DATE_LEN + 1]);

#endif
