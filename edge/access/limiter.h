/* How many requests each client may make: token buckets for any number of clients in a fixed amount of memory.
 *
 * One limiter a process; any thread. A client is a digest. It owns its table; nothing it returns lives. */
#ifndef BRINK_ACCESS_LIMITER_H
#define BRINK_ACCESS_LIMITER_H

#include "edge/base/hash.h"
#include "edge/base/time.h"

enum {
    LIMITER_CLIENTS = 64 * 1024, /* that are remembered at once: 1.5 MiB */
    LIMITER_RATE_MOST = 1000 * 1000,
    LIMITER_BURST_MOST = 1000 * 1000
};

typedef struct limiter limiter_t;

/* `clients` is rounded up to a power of two, at least 64. `seed` keeps clients from choosing who they share a place
 * with. */
limiter_t *limiter_new(size_t clients, uint64_t seed);
void limiter_free(limiter_t *l);
/* Takes one request of a client that gets `rate` a second and `burst` at once (both 1 and more; the caller has
 * checked). 0: it may pass. Else: milliseconds until the next one may, and nothing is taken. `now` is CLOCK_BOOTTIME in
 * microseconds. */
msec_t limiter_take(limiter_t *l, digest_t client, uint32_t rate, uint32_t burst, int64_t now);
/* What limiter_take would return, and nothing is taken in any case: for what costs only if it turns out to be wrong. */
msec_t limiter_wait(limiter_t *l, digest_t client, uint32_t rate, uint32_t burst, int64_t now);

#endif
