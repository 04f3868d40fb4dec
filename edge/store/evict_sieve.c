/* SIEVE (Zhang et al., NSDI 2024): one queue in order of arrival and a hand that moves from the old end to the young
 * one. What was hit since the hand last passed stays where it is; what was not goes. Unlike in LRU nothing moves, so
 * new objects must be hit before the hand comes by, and old popular ones are left alone. */
#include "edge/base/mem.h"
#include "edge/store/evict.h"

#include <stdlib.h>

typedef struct evict_sieve_state {
    list_t queue; /* young at the front */
    list_t *hand; /* next to be looked at; the anchor = begin at the old end */
} evict_sieve_state_t;

static void *evict_sieve_create(uint64_t bytes)
{
    (void)bytes;
    evict_sieve_state_t *s = mem_zalloc(sizeof *s);
    list_init(&s->queue);
    s->hand = &s->queue;
    return s;
}

static void evict_sieve_destroy(void *self)
{
    evict_sieve_state_t *s = self;
    CHECK(list_empty(&s->queue));
    free(s);
}

static void evict_sieve_insert(void *self, evict_item_t *item)
{
    evict_sieve_state_t *s = self;
    evict_set_hits(item, 0);
    list_push_front(&s->queue, &item->link);
}

static void evict_sieve_remove(void *self, evict_item_t *item)
{
    evict_sieve_state_t *s = self;
    if (s->hand == &item->link)
        s->hand = item->link.prev;
    list_remove(&item->link);
}

static evict_item_t *evict_sieve_victim(void *self)
{
    evict_sieve_state_t *s = self;
    while (!list_empty(&s->queue)) {
        if (s->hand == &s->queue)
            s->hand = s->queue.prev;
        evict_item_t *item = LIST_ITEM(s->hand, evict_item_t, link);
        s->hand = s->hand->prev;
        if (evict_hits(item) == 0) {
            list_remove(&item->link);
            return item;
        }
        evict_set_hits(item, 0);
    }
    return NULL;
}

static void evict_sieve_demote(void *self, evict_item_t *item)
{
    evict_sieve_state_t *s = self;
    evict_sieve_remove(s, item);
    evict_set_hits(item, 0);
    list_push_back(&s->queue, &item->link);
    s->hand = &item->link;
}

static size_t evict_sieve_overhead(const void *self)
{
    (void)self;
    return sizeof(evict_sieve_state_t);
}

const evict_policy_t evict_sieve = {
    .name = "sieve",
    .create = evict_sieve_create,
    .destroy = evict_sieve_destroy,
    .insert = evict_sieve_insert,
    .remove = evict_sieve_remove,
    .victim = evict_sieve_victim,
    .keep = evict_sieve_insert,
    .demote = evict_sieve_demote,
    .overhead = evict_sieve_overhead,
};
