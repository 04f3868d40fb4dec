/* Four bits of one cache line for each key, 16 bits of filter a key: 0.2 % are taken for another. */
#include "edge/store/seen.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#include "edge/base/mem.h"

enum {
    SEEN_BITS = 16,
    SEEN_PROBES = 4,
    SEEN_LINE = 8, /* words */
    SEEN_ALL = 1 << 24,
    SEEN_SHIFT = 12 /* the share is over some 4096 questions */
};

struct seen {
    size_t most, lines;
    _Atomic size_t n;       /* keys in the newer filter */
    _Atomic int32_t share;  /* of what was seen before, of SEEN_ALL; a lost update doesn't matter */
    _Atomic unsigned newer; /* which of the two */
    _Atomic uint64_t *filter[2];
};

static size_t seen_lines(size_t n)
{
    return n * SEEN_BITS / (SEEN_LINE * 64) + 1;
}

size_t seen_bytes(size_t n)
{
    return sizeof(seen_t) + 2 * seen_lines(n) * SEEN_LINE * sizeof(uint64_t);
}

seen_t *seen_new(size_t n)
{
    seen_t *s = mem_zalloc(sizeof *s);
    s->most = n;
    s->lines = seen_lines(n);
    for (int i = 0; i < 2; i++)
        s->filter[i] = mem_zalloc(s->lines * SEEN_LINE * sizeof(uint64_t));
    return s;
}

void seen_free(seen_t *s)
{
    if (s == NULL)
        return;
    free((void *)s->filter[0]);
    free((void *)s->filter[1]);
    free(s);
}

static bool seen_in(seen_t *s, unsigned which, digest_t d, bool add)
{
    _Atomic uint64_t *line = s->filter[which] + d.hi % s->lines * SEEN_LINE;
    bool all = true;
    for (unsigned p = 0; p < SEEN_PROBES; p++) {
        unsigned at = (unsigned)(d.lo >> p * 9) % (SEEN_LINE * 64);
        uint64_t bit = (uint64_t)1 << at % 64;
        uint64_t word = atomic_load_explicit(&line[at / 64], memory_order_relaxed);
        if ((word & bit) == 0) {
            all = false;
            if (add)
                atomic_fetch_or_explicit(&line[at / 64], bit, memory_order_relaxed);
        }
    }
    return all;
}

bool seen_mostly(const seen_t *s)
{
    return atomic_load_explicit(&s->share, memory_order_relaxed) > SEEN_ALL / 2;
}

static bool seen_look(seen_t *s, digest_t digest)
{
    unsigned newer = atomic_load_explicit(&s->newer, memory_order_relaxed);
    bool older = seen_in(s, !newer, digest, false);
    if (seen_in(s, newer, digest, true))
        return true;
    if (atomic_fetch_add_explicit(&s->n, 1, memory_order_relaxed) + 1 == s->most) { /* one thread gets there */
        for (size_t i = 0; i < s->lines * SEEN_LINE; i++)
            atomic_store_explicit(&s->filter[!newer][i], 0, memory_order_relaxed);
        atomic_store_explicit(&s->newer, !newer, memory_order_relaxed);
        atomic_store_explicit(&s->n, 0, memory_order_relaxed);
    }
    return older;
}

bool seen_before(seen_t *s, digest_t digest)
{
    bool seen = seen_look(s, digest);
    int32_t share = atomic_load_explicit(&s->share, memory_order_relaxed);
    share += ((seen ? SEEN_ALL : 0) - share) / (1 << SEEN_SHIFT);
    atomic_store_explicit(&s->share, share, memory_order_relaxed);
    return seen;
}
