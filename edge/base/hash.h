/* 128-bit digests of keys, URIs, tags (XXH3). Not against an attacker who may choose both inputs of a collision at
 * will: whoever finds an object by its digest also compares the key's bytes. */
#ifndef BRINK_BASE_HASH_H
#define BRINK_BASE_HASH_H

#include "edge/base/span.h"

typedef struct digest {
    uint64_t hi, lo;
} digest_t;

digest_t hash_digest(span_t s); /* pure */
digest_t hash_digest_seed(span_t s,
                          uint64_t seed); /* another family for each seed: kinds of purge selectors, ring nodes */
uint64_t hash_64(span_t s, uint64_t seed);
static inline bool hash_eq(digest_t a, digest_t b)
{
    return a.hi == b.hi && a.lo == b.lo;
}

#endif
