/* The default: Greedy-Dual-Size-Frequency that remembers frequencies beyond eviction and finds out by itself how much
 * they are worth.
 *
 * GDSF forgets what it evicts, so what comes back begins anew; remembered for some 16 replacements of the whole cache
 * it is told from the crowd that never comes back. How steeply the value should rise with the frequency depends on the
 * workload: f^2 is best where most keys are asked for once (web pages), f^1 where popularity is steady, f^(1/4), which
 * is nearly LRU, where it drifts and the cache is large. So ghosts, caches of names and sizes only, run the candidates
 * side by side on a sample of the keys, with as large a share of the budget, and the one that misses least is followed.
 * At the start it is f^2.
 *
 * The sample learns of hits through a small ring that evict_hit fills and the next insertion empties; what doesn't fit
 * is forgotten. */
#include <stdlib.h>

#include "edge/base/mem.h"
#include "edge/store/evict_greedy.h"

enum {
    HINDSIGHT_CHOICES = 4,
    HINDSIGHT_RING = 512,
    HINDSIGHT_START = 3,
    HINDSIGHT_GHOST_SHARE = 2048,       /* bytes of budget for one remembered frequency */
    HINDSIGHT_SAMPLE_SHARE = 16 * 1024, /* bytes of budget for one sampled item */
    HINDSIGHT_SAMPLE_LEAST = 64,
    HINDSIGHT_SAMPLE_MOST = 8192,
    HINDSIGHT_MEMORY = 16, /* requests, in samples, after which what was seen counts half */
    HINDSIGHT_MARGIN = 128 /* a change must save one miss in so many */
};
static const unsigned hindsight_exponent[HINDSIGHT_CHOICES] = {1, 3, 5, 8}; /* in quarters */

typedef struct hindsight_shadow {
    greedy_t order;
    evict_item_t *item; /* sample_n, of which some are free */
    uint32_t *chain;    /* next in the same bucket or in the free list; numbers from 1 */
    uint32_t *bucket;
    uint32_t free, taken;
    double missed;
} hindsight_shadow_t;

typedef struct hindsight_request {
    uint32_t id, units;
} hindsight_request_t;

typedef struct evict_hindsight_state {
    greedy_t order;
    unsigned choice;
    uint64_t budget, overhead;
    uint32_t sample_n;       /* power of two */
    _Atomic unsigned sparse; /* one in 2^sparse keys is in the sample */
    double requests;
    hindsight_shadow_t shadow[HINDSIGHT_CHOICES];
    _Atomic uint32_t ring_n;
    _Atomic uint64_t ring[HINDSIGHT_RING]; /* id, units */
} evict_hindsight_state_t;

static uint64_t hindsight_power(uint64_t n)
{
    uint64_t p = 4;
    while (p * 2 <= n)
        p *= 2;
    return p;
}

static void *evict_hindsight_create(uint64_t bytes)
{
    evict_hindsight_state_t *s = mem_zalloc(sizeof *s);
    uint64_t n = bytes / HINDSIGHT_SAMPLE_SHARE;
    n = n < HINDSIGHT_SAMPLE_LEAST ? HINDSIGHT_SAMPLE_LEAST : n > HINDSIGHT_SAMPLE_MOST ? HINDSIGHT_SAMPLE_MOST : n;
    s->sample_n = (uint32_t)hindsight_power(n);
    s->budget = bytes;
    s->choice = HINDSIGHT_START;
    size_t ghosts = (size_t)hindsight_power(bytes / HINDSIGHT_GHOST_SHARE), few = s->sample_n * (size_t)4;
    greedy_init(&s->order, bytes, ghosts);
    s->overhead = sizeof *s + ghosts * sizeof(greedy_ghost_t);
    for (int c = 0; c < HINDSIGHT_CHOICES; c++) {
        hindsight_shadow_t *h = &s->shadow[c];
        greedy_init(&h->order, bytes, few);
        h->item = mem_alloc(s->sample_n * sizeof *h->item);
        h->chain = mem_alloc((s->sample_n + 1) * sizeof *h->chain);
        h->bucket = mem_zalloc(s->sample_n * sizeof *h->bucket);
        for (uint32_t i = 0; i < s->sample_n; i++)
            h->chain[i + 1] = i + 2;
        h->chain[s->sample_n] = 0;
        h->free = 1;
        s->overhead +=
            few * sizeof(greedy_ghost_t) + s->sample_n * (sizeof *h->item + sizeof *h->chain + sizeof *h->bucket);
    }
    return s;
}

/* ---- the ghosts ---- */

static uint32_t hindsight_hash(uint32_t id)
{
    return (uint32_t)(id * (uint64_t)0x94d049bb133111ebu >> 32);
}

static bool hindsight_sampled(const evict_hindsight_state_t *s, uint32_t id)
{
    return (hindsight_hash(id) & ((1u << s->sparse) - 1)) == 0;
}

static uint32_t *hindsight_bucket(evict_hindsight_state_t *s, hindsight_shadow_t *h, uint32_t id)
{
    return &h->bucket[hindsight_hash(id) >> 12 & (s->sample_n - 1)];
}

/* Out of the index; it has left the order. */
static void hindsight_forget(evict_hindsight_state_t *s, hindsight_shadow_t *h, evict_item_t *item)
{
    uint32_t number = (uint32_t)(item - h->item) + 1, *at = hindsight_bucket(s, h, item->id);
    while (*at != number)
        at = &h->chain[*at];
    *at = h->chain[number];
    h->chain[number] = h->free;
    h->free = number;
    h->taken--;
}

/* Half the keys leave the sample when it would outgrow its place. */
static void hindsight_thin(evict_hindsight_state_t *s)
{
    atomic_store_explicit(&s->sparse, s->sparse + 1, memory_order_relaxed);
    s->requests /= 2;
    for (int c = 0; c < HINDSIGHT_CHOICES; c++) {
        hindsight_shadow_t *h = &s->shadow[c];
        h->missed /= 2;
        h->order.epoch = h->order.epoch / 2 + 1;
        h->order.left /= 2;
        for (uint32_t b = 0; b < s->sample_n; b++)
            for (uint32_t number = h->bucket[b], next; number != 0; number = next) {
                evict_item_t *item = &h->item[number - 1];
                next = h->chain[number];
                if (!hindsight_sampled(s, item->id)) {
                    greedy_remove(&h->order, item);
                    hindsight_forget(s, h, item);
                }
            }
    }
}

static void hindsight_replay(evict_hindsight_state_t *s, hindsight_shadow_t *h, unsigned exponent,
                             hindsight_request_t r)
{
    uint64_t budget = s->budget >> s->sparse;
    for (uint32_t number = *hindsight_bucket(s, h, r.id); number != 0; number = h->chain[number])
        if (h->item[number - 1].id == r.id) {
            evict_touch(&h->item[number - 1]);
            return;
        }
    h->missed++;
    uint64_t size = (uint64_t)r.units * EVICT_UNIT;
    if (size > budget)
        return;
    while (h->free == 0 || h->order.bytes + size > budget)
        hindsight_forget(s, h, greedy_victim(&h->order, exponent));
    uint32_t number = h->free, *bucket = hindsight_bucket(s, h, r.id);
    h->free = h->chain[number];
    h->taken++;
    evict_item_t *item = &h->item[number - 1];
    evict_item_init(item, r.id, size);
    h->chain[number] = *bucket;
    *bucket = number;
    greedy_insert(&h->order, item, exponent);
}

static void hindsight_choose(evict_hindsight_state_t *s)
{
    unsigned best = s->choice;
    for (unsigned c = 0; c < HINDSIGHT_CHOICES; c++)
        if (s->shadow[c].missed < s->shadow[best].missed)
            best = c;
    double now = s->shadow[s->choice].missed;
    if (now - s->shadow[best].missed > now / HINDSIGHT_MARGIN + 8 && greedy_turned(&s->order)) {
        s->choice = best;
        greedy_turn(&s->order);
    }
    if (s->requests >= (double)s->sample_n * HINDSIGHT_MEMORY) {
        s->requests /= 2;
        for (int c = 0; c < HINDSIGHT_CHOICES; c++)
            s->shadow[c].missed /= 2;
    }
}

static void hindsight_request(evict_hindsight_state_t *s, hindsight_request_t r)
{
    if (!hindsight_sampled(s, r.id))
        return;
    for (int c = 0; c < HINDSIGHT_CHOICES; c++)
        if (s->shadow[c].free == 0) {
            hindsight_thin(s);
            if (!hindsight_sampled(s, r.id))
                return;
            break;
        }
    s->requests++;
    for (int c = 0; c < HINDSIGHT_CHOICES; c++)
        hindsight_replay(s, &s->shadow[c], hindsight_exponent[c], r);
}

static void hindsight_drain(evict_hindsight_state_t *s)
{
    uint32_t n = atomic_load_explicit(&s->ring_n, memory_order_relaxed);
    if (n == 0)
        return;
    for (uint32_t i = 0; i < n && i < HINDSIGHT_RING; i++) {
        uint64_t r = atomic_exchange_explicit(&s->ring[i], 0, memory_order_relaxed);
        if (r != 0)
            hindsight_request(s, (hindsight_request_t){(uint32_t)(r >> 32), (uint32_t)r});
    }
    atomic_store_explicit(&s->ring_n, 0, memory_order_relaxed);
}

/* ---- the objects ---- */

static void evict_hindsight_destroy(void *self)
{
    evict_hindsight_state_t *s = self;
    for (int c = 0; c < HINDSIGHT_CHOICES; c++) {
        hindsight_shadow_t *h = &s->shadow[c];
        while (greedy_victim(&h->order, 0) != NULL)
            ;
        greedy_release(&h->order);
        free(h->item);
        free(h->chain);
        free(h->bucket);
    }
    greedy_release(&s->order);
    free(s);
}

static void evict_hindsight_insert(void *self, evict_item_t *item)
{
    evict_hindsight_state_t *s = self;
    hindsight_drain(s);
    hindsight_request(s, (hindsight_request_t){item->id, item->units});
    hindsight_choose(s);
    greedy_insert(&s->order, item, hindsight_exponent[s->choice]);
}

static void evict_hindsight_remove(void *self, evict_item_t *item)
{
    evict_hindsight_state_t *s = self;
    greedy_remove(&s->order, item);
}

static evict_item_t *evict_hindsight_victim(void *self)
{
    evict_hindsight_state_t *s = self;
    return greedy_victim(&s->order, hindsight_exponent[s->choice]);
}

static void evict_hindsight_keep(void *self, evict_item_t *item)
{
    evict_hindsight_state_t *s = self;
    evict_touch(item);
    greedy_place(&s->order, item, hindsight_exponent[s->choice]);
}

static void evict_hindsight_demote(void *self, evict_item_t *item)
{
    evict_hindsight_state_t *s = self;
    greedy_demote(&s->order, item);
}

/* `sparse` only grows, and a stale look at it only lets one more request pass. */
static void evict_hindsight_hit(void *self, const evict_item_t *item)
{
    evict_hindsight_state_t *s = self;
    if (!hindsight_sampled(s, item->id) || atomic_load_explicit(&s->ring_n, memory_order_relaxed) >= HINDSIGHT_RING)
        return;
    uint32_t at = atomic_fetch_add_explicit(&s->ring_n, 1, memory_order_relaxed);
    if (at < HINDSIGHT_RING)
        atomic_store_explicit(&s->ring[at], (uint64_t)item->id << 32 | item->units, memory_order_relaxed);
}

static size_t evict_hindsight_overhead(const void *self)
{
    const evict_hindsight_state_t *s = self;
    return s->overhead;
}

const evict_policy_t evict_hindsight = {
    .name = "hindsight",
    .create = evict_hindsight_create,
    .destroy = evict_hindsight_destroy,
    .insert = evict_hindsight_insert,
    .remove = evict_hindsight_remove,
    .victim = evict_hindsight_victim,
    .keep = evict_hindsight_keep,
    .demote = evict_hindsight_demote,
    .hit = evict_hindsight_hit,
    .overhead = evict_hindsight_overhead,
};
