/* Active probes: asks the servers of a configuration, each at its interval and one request at a time, whether they are
 * well, and tells health. A server that several sites name is asked as the first of them says.
 *
 * Threads: everything on the loop that it was made for. */
#ifndef BRINK_FETCH_PROBE_H
#define BRINK_FETCH_PROBE_H

#include "edge/fetch/upstream.h"
#include "shield/upstreams.h"

typedef struct probe probe_t;

probe_t *probe_new(loop_t *loop, upstream_t *client); /* which must outlive it */
/* Asks the servers of these from now on, and no others; takes a reference of its own. */
void probe_configure(probe_t *p, upstreams_t *u);
void probe_free(probe_t *p); /* NULL is allowed */

#endif
