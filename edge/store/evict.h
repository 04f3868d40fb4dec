/* Which object leaves memory next. A policy is one file behind this interface; it knows sizes, order and hits, nothing
 * of objects, time or locks, so that a trace can be replayed over it.
 *
 * Threads: everything but evict_touch under one lock of the caller. evict_touch from any thread at any time: that is
 * all that a hit does, so it takes no lock, and writes nothing once the object is known to be popular.
 *
 * Items are embedded in what they stand for and stay the caller's; an item is in a policy from insert (or keep) until
 * remove or until victim returned it. */
#ifndef BRINK_STORE_EVICT_H
#define BRINK_STORE_EVICT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "edge/base/list.h"

enum { EVICT_HITS_MOST = 3 };

typedef struct evict_item {
    union {
        list_t link; /* policies of queues */
        struct {
            size_t place;
            double rank;
        } heap; /* policies of order */
    };
    uint64_t id;          /* stays the same when the thing comes back: what ghosts remember */
    size_t size;          /* bytes it would give back */
    _Atomic uint8_t hits; /* since the policy last looked; stops at EVICT_HITS_MOST */
    uint8_t queue;        /* the policy's own */
} evict_item_t;

typedef struct evict_policy {
    const char *name;
    void *(*create)(uint64_t bytes); /* the budget, to which queues are proportioned */
    void (*destroy)(void *self);     /* must be empty of items */
    void (*insert)(void *self, evict_item_t *item);
    void (*remove)(void *self, evict_item_t *item);
    evict_item_t *(*victim)(void *self);          /* taken out; NULL when there is none */
    void (*keep)(void *self, evict_item_t *item); /* a victim that can't go now comes back as if newly hit */
    size_t (*overhead)(const void *self);         /* bytes of its own */
} evict_policy_t;

extern const evict_policy_t evict_s3fifo, evict_sieve, evict_lru, evict_gdsf;
/* By name ("s3fifo", "sieve", "lru", "gdsf"), or NULL. */
const evict_policy_t *evict_by_name(const char *name);

static inline void evict_item_init(evict_item_t *i, uint64_t id, size_t size)
{
    list_init(&i->link);
    i->id = id;
    i->size = size;
    atomic_store_explicit(&i->hits, 0, memory_order_relaxed);
    i->queue = 0;
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
