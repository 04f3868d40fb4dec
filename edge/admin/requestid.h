/* A name for each request, carried upstream in X-Request-Id and written to the log: 128 bits, never the same twice in a
 * fleet, and not to be guessed from the one before. No system call but the first in each thread.
 *
 * Threads: any; each draws from a sequence of its own. */
#ifndef BRINK_ADMIN_REQUESTID_H
#define BRINK_ADMIN_REQUESTID_H

#include "edge/base/span.h"

enum {
    REQUESTID_BYTES = 32, /* hex digits */
    REQUESTID_MOST = 128  /* bytes of an id that came from elsewhere and is kept */
};

/* Writes REQUESTID_BYTES lower-case hex digits and a NUL. */
void requestid_make(char out[REQUESTID_BYTES + 1]);
/* May an id that a trusted peer sent be passed on and logged as it is? Letters, digits and "-_.:+/=@" only, not empty,
 * at most REQUESTID_MOST. */
bool requestid_valid(span_t id);

#endif
