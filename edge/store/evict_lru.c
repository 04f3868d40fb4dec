/* LRU with lazy promotion: one queue; what was hit since it was placed goes back to the young end when it reaches the
 * old one. The order within the queue is that of placing, not of hits, which is what makes a hit lock-free; it keeps
 * slightly more than strict LRU does. */
#include "edge/base/mem.h"
#include "edge/store/evict.h"

#include <stdlib.h>

typedef struct evict_lru_state {
    list_t queue; /* young at the front */
} evict_lru_state_t;

static void *evict_lru_create(uint64_t bytes)
{
    (void)bytes;
    evict_lru_state_t *s = mem_zalloc(sizeof *s);
    list_init(&s->queue);
    return s;
}

static void evict_lru_destroy(void *self)
{
    evict_lru_state_t *s = self;
    CHECK(list_empty(&s->queue));
    free(s);
}

static void evict_lru_insert(void *self, evict_item_t *item)
{
    evict_lru_state_t *s = self;
    evict_set_hits(item, 0);
    list_push_front(&s->queue, &item->link);
}

static void evict_lru_remove(void *self, evict_item_t *item)
{
    (void)self;
    list_remove(&item->link);
}

static evict_item_t *evict_lru_victim(void *self)
{
    evict_lru_state_t *s = self;
    while (!list_empty(&s->queue)) {
        evict_item_t *item = LIST_ITEM(s->queue.prev, evict_item_t, link);
        list_remove(&item->link);
        if (evict_hits(item) == 0)
            return item;
        evict_lru_insert(s, item);
    }
    return NULL;
}

static void evict_lru_demote(void *self, evict_item_t *item)
{
    evict_lru_state_t *s = self;
    list_remove(&item->link);
    evict_set_hits(item, 0);
    list_push_back(&s->queue, &item->link);
}

static size_t evict_lru_overhead(const void *self)
{
    (void)self;
    return sizeof(evict_lru_state_t);
}

const evict_policy_t evict_lru = {
    .name = "lru",
    .create = evict_lru_create,
    .destroy = evict_lru_destroy,
    .insert = evict_lru_insert,
    .remove = evict_lru_remove,
    .victim = evict_lru_victim,
    .keep = evict_lru_insert,
    .demote = evict_lru_demote,
    .overhead = evict_lru_overhead,
};
