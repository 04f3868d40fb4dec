/* XXH3 behind the project's own names. */
#include "edge/base/hash.h"

#include <xxhash.h>

digest_t hash_digest_seed(span_t s, uint64_t seed)
{
    XXH128_hash_t h = XXH3_128bits_withSeed(s.p != NULL ? s.p : "", s.n, seed);
    return (digest_t){.hi = h.high64, .lo = h.low64};
}

digest_t hash_digest(span_t s)
{
    return hash_digest_seed(s, 0);
}

uint64_t hash_64(span_t s, uint64_t seed)
{
    return XXH3_64bits_withSeed(s.p != NULL ? s.p : "", s.n, seed);
}
