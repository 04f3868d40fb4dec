/* Rendezvous hashing asks every node for a score: O(nodes) a lookup, which for the at most 64 nodes of a tier costs
 * less than a miss's first packet, and in exchange there is no table to build, to keep in step, or to balance with
 * virtual nodes. With weights the score is -ln(u)/w, whose smallest is node i with probability w_i / Σw. */
#include "shield/ring.h"

#include <math.h>

#include "edge/base/check.h"

enum { RING_SEED = 0x62726e6b };

void ring_init(ring_t *r, const span_t *names, const uint32_t *weights, size_t n)
{
    *r = (ring_t){.n = n < RING_MAX_NODES ? n : RING_MAX_NODES};
    for (size_t i = 0; i < r->n; i++) {
        r->seed[i] = hash_64(names[i], RING_SEED);
        r->weight[i] = weights != NULL && weights[i] > 0 ? weights[i] : 1;
        r->weighted |= r->weight[i] != r->weight[0];
    }
}

/* Larger is better. */
static double ring_score(const ring_t *r, size_t i, uint64_t hash)
{
    double u = ((double)(hash >> 11) + 0.5) * 0x1p-53; /* in (0, 1) */
    return log(u) / r->weight[i];
}

/* Does node a come before node b? Equal hashes (one in 2^64) are settled by the seed, so all edges still agree. */
static bool ring_before(const ring_t *r, const uint64_t *hash, const double *score, size_t a, size_t b)
{
    if (r->weighted && score[a] != score[b])
        return score[a] > score[b];
    return hash[a] != hash[b] ? hash[a] > hash[b] : r->seed[a] > r->seed[b];
}

size_t ring_order(const ring_t *r, digest_t key, uint8_t out[RING_MAX_NODES])
{
    uint64_t hash[RING_MAX_NODES];
    double score[RING_MAX_NODES];
    span_t bytes = span_of((const char *)&key, sizeof key);
    for (size_t i = 0; i < r->n; i++) {
        hash[i] = hash_64(bytes, r->seed[i]);
        score[i] = r->weighted ? ring_score(r, i, hash[i]) : 0;
        size_t at = i;
        for (; at > 0 && ring_before(r, hash, score, i, out[at - 1]); at--)
            out[at] = out[at - 1];
        out[at] = (uint8_t)i;
    }
    return r->n;
}

size_t ring_owner(const ring_t *r, digest_t key)
{
    uint8_t order[RING_MAX_NODES];
    CHECK(ring_order(r, key, order) > 0);
    return order[0];
}
