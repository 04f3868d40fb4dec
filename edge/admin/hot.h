/* Which URLs are asked for most right now, for GET /v1/top: a sketch of bounded size a worker (Space-Saving: HOT_KEYS
 * counters; whoever has none takes the smallest one over, with its count), over the last HOT_WINDOW and what there is
 * of the present one. Of a busy worker's requests one in HOT_SAMPLE is looked at, and counts for so many.
 *
 * Threads: hot_count for a worker only on its thread; hot_handle on any. */
#ifndef BRINK_ADMIN_HOT_H
#define BRINK_ADMIN_HOT_H

#include "edge/base/hash.h"
#include "edge/base/time.h"
#include "edge/http/handler.h"

enum {
    HOT_KEYS = 128,
    HOT_KEY_BYTES = 240, /* of a URL that are kept; more is cut */
    HOT_WINDOW = 5000,   /* ms */
    HOT_ALL = 1000,      /* requests of a worker in a second that are all looked at */
    HOT_SAMPLE = 16,
    HOT_MOST = 100, /* URLs of one answer */
    HOT_USUAL = 20  /* where it isn't said how many */
};

typedef struct hot hot_t;

hot_t *hot_new(unsigned workers, msec_t boot);
void hot_free(hot_t *h); /* NULL is fine */
/* A request for `url` (host/path?query, with its digest) was answered with `bytes`. */
void hot_count(hot_t *h, unsigned worker, digest_t digest, span_t url, bool hit, uint64_t bytes, msec_t boot);
/* GET /v1/top[?n=20]; ctx: the hot_t. */
handler_fn hot_handle;
/* The same as JSON, at that moment; malloc'ed with a NUL. */
char *hot_json(hot_t *h, size_t most, msec_t boot, size_t *n);

#endif
