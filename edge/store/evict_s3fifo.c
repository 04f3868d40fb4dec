/* S3-FIFO (Yang et al., SOSP 2023): a small queue (a tenth of the bytes) through which everything new passes, a main
 * queue for what was hit there more than once, and a ghost that remembers what the small queue let go. What comes back
 * while the ghost remembers it goes to the main queue at once. In the main queue each hit buys another round.
 *
 * The ghost is a table of fingerprints with the time of leaving, counted in bytes that left: an entry is valid while no
 * more has left since than the main queue holds. It is emptied when it has to grow, which happens a few times while the
 * cache fills. */
#include "edge/base/mem.h"
#include "edge/store/evict.h"

#include <stdlib.h>

enum { S3_SMALL, S3_MAIN, S3_WAYS = 4, S3_GHOST_LEAST = 1024, S3_SMALL_PERCENT = 10, S3_UNIT = 64, S3_PROMOTE = 2 };

typedef struct s3_ghost {
    uint32_t print, left; /* left: in units of S3_UNIT bytes; 0 with print 0 = free */
} s3_ghost_t;

typedef struct evict_s3fifo_state {
    list_t queue[2]; /* young at the front */
    uint64_t bytes[2], items;
    uint64_t small_most, main_most;
    uint64_t left; /* bytes that the small queue let go, ever */
    s3_ghost_t *ghost;
    size_t ghost_n; /* power of two */
} evict_s3fifo_state_t;

static void *evict_s3fifo_create(uint64_t bytes)
{
    evict_s3fifo_state_t *s = mem_zalloc(sizeof *s);
    list_init(&s->queue[S3_SMALL]);
    list_init(&s->queue[S3_MAIN]);
    s->small_most = bytes / 100 * S3_SMALL_PERCENT;
    s->main_most = bytes - s->small_most;
    s->ghost_n = S3_GHOST_LEAST;
    s->ghost = mem_zalloc(s->ghost_n * sizeof *s->ghost);
    return s;
}

static void evict_s3fifo_destroy(void *self)
{
    evict_s3fifo_state_t *s = self;
    CHECK(s->items == 0);
    free(s->ghost);
    free(s);
}

static s3_ghost_t *evict_s3fifo_set(evict_s3fifo_state_t *s, uint32_t id)
{
    return s->ghost + (id * (uint64_t)0x9e3779b97f4a7c15u >> 20 & (s->ghost_n - 1) & ~(uint64_t)(S3_WAYS - 1));
}

static uint32_t evict_s3fifo_print(uint32_t id)
{
    return id | 1;
}

/* How much left the small queue since the entry did, in units. */
static uint32_t evict_s3fifo_since(const evict_s3fifo_state_t *s, const s3_ghost_t *g)
{
    return (uint32_t)(s->left / S3_UNIT) - g->left;
}

static void evict_s3fifo_remember(evict_s3fifo_state_t *s, const evict_item_t *item)
{
    s3_ghost_t *set = evict_s3fifo_set(s, item->id), *worst = set;
    for (int i = 0; i < S3_WAYS && worst->print != 0; i++)
        if (set[i].print == 0 || evict_s3fifo_since(s, &set[i]) > evict_s3fifo_since(s, worst))
            worst = &set[i];
    s->left += evict_size(item);
    *worst = (s3_ghost_t){.print = evict_s3fifo_print(item->id), .left = (uint32_t)(s->left / S3_UNIT)};
}

static bool evict_s3fifo_recall(evict_s3fifo_state_t *s, uint32_t id)
{
    s3_ghost_t *set = evict_s3fifo_set(s, id);
    for (int i = 0; i < S3_WAYS; i++)
        if (set[i].print == evict_s3fifo_print(id)) {
            bool valid = evict_s3fifo_since(s, &set[i]) <= s->main_most / S3_UNIT;
            set[i] = (s3_ghost_t){0};
            return valid;
        }
    return false;
}

static void evict_s3fifo_place(evict_s3fifo_state_t *s, evict_item_t *item, uint8_t queue)
{
    item->queue = queue;
    list_push_front(&s->queue[queue], &item->link);
    s->bytes[queue] += evict_size(item);
    s->items++;
}

static void evict_s3fifo_remove(void *self, evict_item_t *item)
{
    evict_s3fifo_state_t *s = self;
    list_remove(&item->link);
    s->bytes[item->queue] -= evict_size(item);
    s->items--;
}

static void evict_s3fifo_insert(void *self, evict_item_t *item)
{
    evict_s3fifo_state_t *s = self;
    if (s->items * 2 > s->ghost_n) {
        free(s->ghost);
        s->ghost_n *= 2;
        s->ghost = mem_zalloc(s->ghost_n * sizeof *s->ghost);
    }
    evict_set_hits(item, 0);
    evict_s3fifo_place(s, item, evict_s3fifo_recall(s, item->id) ? S3_MAIN : S3_SMALL);
}

static void evict_s3fifo_keep(void *self, evict_item_t *item)
{
    evict_set_hits(item, 1);
    evict_s3fifo_place(self, item, S3_MAIN);
}

/* In whichever queue is looked at next. */
static void evict_s3fifo_demote(void *self, evict_item_t *item)
{
    evict_s3fifo_state_t *s = self;
    evict_s3fifo_remove(s, item);
    evict_set_hits(item, 0);
    item->queue = s->bytes[S3_SMALL] > s->small_most || list_empty(&s->queue[S3_MAIN]) ? S3_SMALL : S3_MAIN;
    list_push_back(&s->queue[item->queue], &item->link);
    s->bytes[item->queue] += evict_size(item);
    s->items++;
}

static evict_item_t *evict_s3fifo_oldest(evict_s3fifo_state_t *s, uint8_t queue)
{
    CHECK(!list_empty(&s->queue[queue]));
    return LIST_ITEM(s->queue[queue].prev, evict_item_t, link);
}

static evict_item_t *evict_s3fifo_victim(void *self)
{
    evict_s3fifo_state_t *s = self;
    evict_item_t *item;
    while (s->items > 0) {
        bool small = s->bytes[S3_SMALL] > s->small_most || list_empty(&s->queue[S3_MAIN]);
        if (small) {
            item = evict_s3fifo_oldest(s, S3_SMALL);
            evict_s3fifo_remove(s, item);
            if (evict_hits(item) < S3_PROMOTE) {
                evict_s3fifo_remember(s, item);
                return item;
            }
            evict_set_hits(item, 0);
            evict_s3fifo_place(s, item, S3_MAIN);
        } else {
            item = evict_s3fifo_oldest(s, S3_MAIN);
            evict_s3fifo_remove(s, item);
            uint8_t hits = evict_hits(item);
            if (hits == 0)
                return item;
            evict_set_hits(item, (uint8_t)(hits - 1));
            evict_s3fifo_place(s, item, S3_MAIN);
        }
    }
    return NULL;
}

static size_t evict_s3fifo_overhead(const void *self)
{
    const evict_s3fifo_state_t *s = self;
    return sizeof *s + s->ghost_n * sizeof *s->ghost;
}

const evict_policy_t evict_s3fifo = {
    .name = "s3fifo",
    .create = evict_s3fifo_create,
    .destroy = evict_s3fifo_destroy,
    .insert = evict_s3fifo_insert,
    .remove = evict_s3fifo_remove,
    .victim = evict_s3fifo_victim,
    .keep = evict_s3fifo_keep,
    .demote = evict_s3fifo_demote,
    .overhead = evict_s3fifo_overhead,
};
