/* The generic cell rate algorithm: a token bucket in one number, the time at which the bucket would be full again
 * ("theoretical arrival time"). A request moves it on by 1/rate; it may be at most burst/rate ahead of the clock.
 *
 * So a bucket whose time has passed is the same as none, and its place is free: the table needs no timers, no sweep and
 * no allocation. Each client has eight places where it may stand. If all are taken by buckets that still count, the one
 * that will be full first makes room: whoever floods the table with new addresses makes it forget those who used
 * little, never those who are over their limit. */
#include "edge/access/limiter.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "edge/base/check.h"
#include "edge/base/mem.h"

enum { LIMITER_WAYS = 8, LIMITER_LOCKS = 64 };

typedef struct limiter_bucket {
    uint64_t client[2];
    int64_t full; /* microseconds; <= now: as good as empty */
} limiter_bucket_t;

struct limiter {
    limiter_bucket_t *buckets;
    size_t sets; /* a power of two */
    uint64_t seed;
    pthread_mutex_t locks[LIMITER_LOCKS]; /* of the sets with that number modulo LIMITER_LOCKS */
};

limiter_t *limiter_new(size_t clients, uint64_t seed)
{
    limiter_t *l = mem_zalloc(sizeof *l);
    l->sets = LIMITER_WAYS;
    while (l->sets * LIMITER_WAYS < clients)
        l->sets *= 2;
    l->seed = seed;
    l->buckets = mem_zalloc(l->sets * LIMITER_WAYS * sizeof *l->buckets);
    for (int i = 0; i < LIMITER_LOCKS; i++)
        CHECK(pthread_mutex_init(&l->locks[i], NULL) == 0);
    return l;
}

void limiter_free(limiter_t *l)
{
    if (l == NULL)
        return;
    for (int i = 0; i < LIMITER_LOCKS; i++)
        pthread_mutex_destroy(&l->locks[i]);
    free(l->buckets);
    free(l);
}

/* The client's bucket; if it has none and `make`, the one that is given up for it, else NULL. */
static limiter_bucket_t *limiter_find(limiter_bucket_t *set, const uint64_t client[2], bool make)
{
    limiter_bucket_t *least = set;
    for (int i = 0; i < LIMITER_WAYS; i++) {
        if (set[i].client[0] == client[0] && set[i].client[1] == client[1])
            return &set[i];
        if (set[i].full < least->full)
            least = &set[i];
    }
    if (!make)
        return NULL;
    *least = (limiter_bucket_t){.client = {client[0], client[1]}};
    return least;
}

static msec_t limiter_ask(limiter_t *l, digest_t client, uint32_t rate, uint32_t burst, int64_t now, bool take)
{
    digest_t d = hash_digest_seed(span_of((const char *)&client, sizeof client), l->seed);
    size_t set = (size_t)d.hi & (l->sets - 1);
    int64_t each = rate < 1000 * 1000 ? 1000 * 1000 / rate : 1;
    int64_t ahead = (int64_t)burst * each;
    pthread_mutex_t *lock = &l->locks[set % LIMITER_LOCKS];
    CHECK(pthread_mutex_lock(lock) == 0);
    limiter_bucket_t *b = limiter_find(l->buckets + set * LIMITER_WAYS, (const uint64_t[2]){d.hi, d.lo}, take);
    int64_t full = (b != NULL && b->full > now ? b->full : now) + each;
    int64_t wait = full - now - ahead;
    if (wait <= 0 && take && b != NULL)
        b->full = full;
    CHECK(pthread_mutex_unlock(lock) == 0);
    return wait <= 0 ? 0 : (wait + 999) / 1000;
}

msec_t limiter_take(limiter_t *l, digest_t client, uint32_t rate, uint32_t burst, int64_t now)
{
    return limiter_ask(l, client, rate, burst, now, true);
}

msec_t limiter_wait(limiter_t *l, digest_t client, uint32_t rate, uint32_t burst, int64_t now)
{
    return limiter_ask(l, client, rate, burst, now, false);
}
