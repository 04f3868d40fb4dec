/* Which object leaves memory next. A policy is one file behind this interface; it knows sizes, order and hits, nothing
 * of objects, time or locks, so that a trace can be replayed over it.
 *
 * Threads: everything but evict_touch and `hit` under one lock of the caller. Those two from any thread at any time:
 * they are all that a hit does, so it takes no lock, and writes nothing once the object is known to be popular.
 *
 * Items are embedded in what they stand for and stay the caller's; an item is in a policy from insert (or keep) until
 * remove or until victim returned it. */
#ifndef BRINK_STORE_EVICT_H
#define BRINK_STORE_EVICT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "edge/base/list.h"

enum { EVICT_HITS_MOST = 3, EVICT_UNIT = 16 };

/* 32 bytes, since there is one for each stored response. */
typedef struct evict_item {
    list_t link;
    uint32_t rank;        /* the policy's own */
    uint32_t id;          /* stays the same when the thing comes back: what ghosts remember */
    uint32_t units;       /* of EVICT_UNIT bytes that it would give back */
    _Atomic uint8_t hits; /* since the policy last looked; stops at EVICT_HITS_MOST */
    uint8_t queue;        /* the policy's own */
    uint8_t frequency;    /* the policy's own */
} evict_item_t;
_Static_assert(sizeof(evict_item_t) == 32, "counted in every object");

typedef struct evict_policy {
    const char *name;
    void *(*create)(uint64_t bytes); /* the budget, to which queues are proportioned */
    void (*destroy)(void *self);     /* must be empty of items */
    void (*insert)(void *self, evict_item_t *item);
    void (*remove)(void *self, evict_item_t *item);
    evict_item_t *(*victim)(void *self);               /* taken out; NULL when there is none */
    void (*keep)(void *self, evict_item_t *item);      /* a victim that can't go now comes back as if newly hit */
    void (*demote)(void *self, evict_item_t *item);    /* nobody will want it: it goes next, unless it is hit before */
    void (*hit)(void *self, const evict_item_t *item); /* beside evict_touch, for those that learn from hits; or NULL */
    size_t (*overhead)(const void *self);              /* bytes of its own */
} evict_policy_t;

extern const evict_policy_t evict_hindsight, evict_s3fifo, evict_sieve, evict_lru, evict_gdsf, evict_wtinylfu;
/* In the order of the words of the setting `memory.eviction`; NULL beyond the last. */
const evict_policy_t *evict_at(unsigned number);
/* By name ("hindsight", "s3fifo", "sieve", "lru", "gdsf", "wtinylfu"), or NULL. */
const evict_policy_t *evict_by_name(const char *name);

static inline size_t evict_size(const evict_item_t *i)
{
    return (size_t)i->units * EVICT_UNIT;
}
static inline void evict_item_init(evict_item_t *i, uint64_t id, uint64_t size)
{
    list_init(&i->link);
    size = (size + EVICT_UNIT - 1) / EVICT_UNIT;
    i->id = (uint32_t)(id ^ id >> 32);
    i->units = size < UINT32_MAX ? (uint32_t)size : UINT32_MAX;
    i->rank = 0;
    atomic_store_explicit(&i->hits, 0, memory_order_relaxed);
    i->queue = i->frequency = 0;
}
/* Two threads may lose a hit to each other: the order of eviction is a guess anyway. */
static inline void evict_touch(evict_item_t *i)
{
    uint8_t hits = atomic_load_explicit(&i->hits, memory_order_relaxed);
    if (hits < EVICT_HITS_MOST)
        atomic_store_explicit(&i->hits, (uint8_t)(hits + 1), memory_order_relaxed);
}
static inline uint8_t evict_hits(const evict_item_t *i)
{
    return atomic_load_explicit(&i->hits, memory_order_relaxed);
}
static inline void evict_set_hits(evict_item_t *i, uint8_t hits)
{
    atomic_store_explicit(&i->hits, hits, memory_order_relaxed);
}

#endif
