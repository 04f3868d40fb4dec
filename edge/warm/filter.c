/* Both filters work on one 64-bit hash of the digest: the set stores it, so a Bloom filter can be made of a set without
 * reading the segment again. */
#include "edge/warm/filter.h"

#include <stdlib.h>

#include "edge/base/check.h"
#include "edge/base/mem.h"

enum { FILTER_SET_LEAST = 256, FILTER_BITS = 12, FILTER_PROBES = 7, FILTER_BLOCK_BITS = 512 };

static _Atomic uint64_t *filter_slots(size_t n)
{
    return mem_zalloc(n * sizeof(uint64_t));
}

void filter_set_init(filter_set_t *s)
{
    *s = (filter_set_t){.slots = filter_slots(FILTER_SET_LEAST), .n = FILTER_SET_LEAST};
}

void filter_set_release(filter_set_t *s)
{
    free((void *)s->slots);
    *s = (filter_set_t){0};
}

bool filter_set_full(const filter_set_t *s)
{
    return (s->count + 1) * 4 > s->n * 3;
}

static bool filter_place(_Atomic uint64_t *slots, size_t n, uint64_t h)
{
    size_t at = h >> 16 & (n - 1);
    for (uint64_t k; (k = atomic_load_explicit(&slots[at], memory_order_relaxed)) != 0; at = (at + 1) & (n - 1))
        if (k == h)
            return false;
    atomic_store_explicit(&slots[at], h, memory_order_release);
    return true;
}

_Atomic uint64_t *filter_set_grown(const filter_set_t *s)
{
    _Atomic uint64_t *grown = filter_slots(s->n * 2);
    for (size_t i = 0; i < s->n; i++) {
        uint64_t h = atomic_load_explicit(&s->slots[i], memory_order_relaxed);
        if (h != 0)
            filter_place(grown, s->n * 2, h);
    }
    return grown;
}

_Atomic uint64_t *filter_set_swap(filter_set_t *s, _Atomic uint64_t *grown)
{
    _Atomic uint64_t *old = s->slots;
    s->slots = grown;
    s->n *= 2;
    return old;
}

void filter_set_add(filter_set_t *s, digest_t d)
{
    CHECK(!filter_set_full(s));
    if (filter_place(s->slots, s->n, filter_hash(d)))
        s->count++;
}

bool filter_set_maybe(const filter_set_t *s, digest_t d)
{
    uint64_t h = filter_hash(d);
    size_t at = h >> 16 & (s->n - 1);
    for (uint64_t k; (k = atomic_load_explicit(&s->slots[at], memory_order_acquire)) != 0; at = (at + 1) & (s->n - 1))
        if (k == h)
            return true;
    return false;
}

/* The bits of a block: a sequence of 9-bit positions drawn from the hash. */
static uint64_t (*filter_block(const filter_bloom_t *b, uint64_t h))[8]
{
    return &b->blocks[(size_t)((h >> 32) * b->n >> 32)];
}

static uint32_t filter_bit(uint64_t h, int probe)
{
    uint32_t low = (uint32_t)h * 0x85ebca6bu;
    return (low + (uint32_t)probe * ((low >> 9 | 1) * 0x27d4eb2fu)) >> 23;
}

filter_bloom_t filter_bloom_make(const filter_set_t *s)
{
    filter_bloom_t b = {.n = s->count * FILTER_BITS / FILTER_BLOCK_BITS + 1};
    b.blocks = mem_zalloc(b.n * sizeof *b.blocks);
    for (size_t i = 0; i < s->n; i++) {
        uint64_t h = atomic_load_explicit(&s->slots[i], memory_order_relaxed);
        for (int p = 0; h != 0 && p < FILTER_PROBES; p++) {
            uint32_t bit = filter_bit(h, p);
            (*filter_block(&b, h))[bit / 64] |= (uint64_t)1 << bit % 64;
        }
    }
    return b;
}

filter_bloom_t filter_bloom_load(span_t bytes)
{
    filter_bloom_t b = {.n = bytes.n / sizeof *b.blocks};
    if (b.n == 0 || bytes.n % sizeof *b.blocks != 0 || b.n > UINT32_MAX)
        return (filter_bloom_t){0};
    b.blocks = mem_alloc(bytes.n);
    memcpy(b.blocks, bytes.p, bytes.n);
    return b;
}

void filter_bloom_release(filter_bloom_t *b)
{
    free(b->blocks);
    *b = (filter_bloom_t){0};
}

bool filter_bloom_maybe(const filter_bloom_t *b, digest_t d)
{
    uint64_t h = filter_hash(d);
    for (int p = 0; p < FILTER_PROBES; p++) {
        uint32_t bit = filter_bit(h, p);
        if (((*filter_block(b, h))[bit / 64] >> bit % 64 & 1) == 0)
            return false;
    }
    return true;
}
