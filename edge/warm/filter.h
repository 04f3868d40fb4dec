/* Which digests a segment may hold. While it is written: an exact set, since nobody knows how many there will be. Once
 * it is sealed: a blocked Bloom filter of 12 bits a digest, made from the set and stored in the segment (1 wrong answer
 * in about 200, one cache line a question). Pure.
 *
 * Threads: one writer; readers meanwhile, except during filter_set_grow and release. */
#ifndef BRINK_WARM_FILTER_H
#define BRINK_WARM_FILTER_H

#include <stdatomic.h>

#include "edge/base/hash.h"

typedef struct filter_set {
    _Atomic uint64_t *slots; /* power of two; 0 = free */
    size_t n, count;
} filter_set_t;

static inline uint64_t filter_hash(digest_t d)
{
    uint64_t h = (d.lo ^ d.hi >> 1) * 0x9e3779b97f4a7c15u;
    return h != 0 ? h : 1;
}

void filter_set_init(filter_set_t *s);
void filter_set_release(filter_set_t *s);
bool filter_set_full(const filter_set_t *s); /* the next add needs filter_set_grow first */
/* Prepares a table of twice the size; filter_set_swap puts it in place (nobody may be reading during that instant), and
 * what it returns is then freed. */
_Atomic uint64_t *filter_set_grown(const filter_set_t *s);
_Atomic uint64_t *filter_set_swap(filter_set_t *s, _Atomic uint64_t *grown);
void filter_set_add(filter_set_t *s, digest_t d);
bool filter_set_maybe(const filter_set_t *s, digest_t d);

typedef struct filter_bloom {
    uint64_t (*blocks)[8];
    size_t n;
} filter_bloom_t;

/* From a set, or from stored bytes (copied): ERR-free, .n == 0 says that the bytes can't be a filter. */
filter_bloom_t filter_bloom_make(const filter_set_t *s);
filter_bloom_t filter_bloom_load(span_t bytes);
void filter_bloom_release(filter_bloom_t *b);
bool filter_bloom_maybe(const filter_bloom_t *b, digest_t d);
static inline span_t filter_bloom_bytes(const filter_bloom_t *b)
{
    return span_of((const char *)b->blocks, b->n * sizeof *b->blocks);
}

#endif
