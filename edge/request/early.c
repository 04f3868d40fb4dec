/* Refreshing popular responses a little before they expire, so that nobody ever waits for it (XFetch, after Vattani,
 * Chierichetti and Lowenstein, "Optimal Probabilistic Cache Stampede Prevention"): each request refreshes with a
 * probability that grows towards expiry, the earlier the longer the origin takes. Only for what is asked for often: a
 * quiet site sees no extra request. */
#include <math.h>

#include "edge/request/request_priv.h"

enum {
    EARLY_RATE = 100, /* requests a second from which a key is popular */
    EARLY_SURE = 10,  /* requests from which a rate can be told */
    EARLY_FACTOR = 2, /* how much earlier than the origin's own time */
    EARLY_REACH = 16, /* origin's times before expiry from which it isn't even considered: e^-8 a request */
    EARLY_DELTA = 5   /* ms: an origin that seems to take no time takes some */
};

/* xorshift64*: any loop's own sequence will do. */
static double early_random(request_env_t *env)
{
    uint64_t x = env->random != 0 ? env->random : 0x9e3779b97f4a7c15ULL + (uint64_t)env->worker;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    env->random = x;
    return ((double)((x * 0x2545f4914f6cdd1dULL) >> 11) + 1) / 9007199254740993.0; /* (0, 1] */
}

bool early_due(request_t *rq)
{
    const object_t *o = rq->stored;
    stored_t meta = object_meta(o);
    msec_t now = rq->env->loop->now.wall, ttl = stored_ttl(&meta, now);
    msec_t delta = meta.response_time - meta.request_time;
    if (delta < EARLY_DELTA)
        delta = EARLY_DELTA;
    if (!rq->site->early_refresh || ttl > delta * EARLY_REACH || (meta.flags & STORED_IMMUTABLE) != 0)
        return false;
    msec_t kept = now - meta.response_time;
    uint32_t hits = atomic_load_explicit(&o->hits, memory_order_relaxed);
    if (hits < EARLY_SURE || kept <= 0)
        return false;
    /* requests don't come evenly: what chance alone may have held back doesn't make a key quiet */
    double expected = (double)kept * EARLY_RATE / MSEC_PER_SEC;
    if (hits + 3 * sqrt(expected) < expected)
        return false;
    return -log(early_random(rq->env)) * (double)(delta * EARLY_FACTOR) >= (double)ttl;
}
