/* The addresses of upstreams that are configured by name: looked up in a thread of its own, again whenever their TTL
 * (or upstream.dns_max_ttl) is over; while that fails, the last good answer stays. So no request waits for a name
 * server, and none fails because one is away.
 *
 * Threads: any, except where it says otherwise. */
#ifndef BRINK_FETCH_RESOLVE_H
#define BRINK_FETCH_RESOLVE_H

#include "edge/conf/conf.h"

enum {
    RESOLVE_ADDRESSES = 16, /* of a name that are kept */
    RESOLVE_TEXT = 48 * RESOLVE_ADDRESSES,
    RESOLVE_TTL_LEAST = 1000,      /* ms: a shorter TTL is taken for this */
    RESOLVE_RETRY_FIRST = 1000,    /* ms after a lookup that failed; doubled each time, */
    RESOLVE_RETRY_MOST = 30 * 1000 /* up to this */
};

typedef struct resolve resolve_t;

resolve_t *resolve_new(void); /* NULL: no thread, or no memory */
/* Looks up the names of this configuration from now on, and no others. What is known of them stays. */
void resolve_configure(resolve_t *r, const conf_t *conf);
/* Waits until every name was looked up once, or so long. */
void resolve_settle(resolve_t *r, msec_t most);
/* "192.0.2.1,[2001:db8::1]" into `out`, with a NUL; its length. 0: the name isn't known (yet). */
size_t resolve_get(resolve_t *r, span_t host, char out[RESOLVE_TEXT]);
void resolve_free(resolve_t *r); /* NULL is allowed */

#endif
