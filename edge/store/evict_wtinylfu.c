/* W-TinyLFU for objects of different sizes (Einziger, Eytan, Friedman, Manes 2021, "aggregated victims"): a window of a
 * fifth of the bytes, through which everything new passes in order of use, and a main part of a probation and a
 * protected queue. What leaves the window enters the main part only if it was asked for more often than all that would
 * have to go for it together. How often is told by a count-min sketch of 4-bit counters that are halved now and then.
 *
 * Lazy like the others: hits count in the item, and reach sketch and order when the policy next looks at it. */
#include <stdlib.h>

#include "edge/base/check.h"
#include "edge/base/mem.h"
#include "edge/store/evict.h"

enum {
    TINY_WINDOW,
    TINY_PROBATION,
    TINY_PROTECTED,
    TINY_QUEUES,
    TINY_WINDOW_PERCENT = 20,
    TINY_PROTECTED_PERCENT = 80, /* of the main part */
    TINY_ROWS = 4,
    TINY_COUNTERS_LEAST = 1024, /* a row */
    TINY_SAMPLE = 10,           /* counts, by items, after which counters are halved */
    TINY_COMPARED = 16,         /* victims that are summed up at most */
    TINY_UNWANTED = 1           /* evict_item_t.frequency of what was demoted */
};

typedef struct evict_wtinylfu_state {
    list_t queue[TINY_QUEUES]; /* young at the front */
    uint64_t bytes[TINY_QUEUES], items;
    uint64_t protected_most;
    uint8_t *counter[TINY_ROWS]; /* two in a byte */
    size_t counters;             /* power of two */
    uint64_t counted;
} evict_wtinylfu_state_t;

static void evict_wtinylfu_sketch(evict_wtinylfu_state_t *s, size_t counters)
{
    for (int row = 0; row < TINY_ROWS; row++) {
        free(s->counter[row]);
        s->counter[row] = mem_zalloc(counters / 2);
    }
    s->counters = counters;
    s->counted = 0;
}

static void *evict_wtinylfu_create(uint64_t bytes)
{
    evict_wtinylfu_state_t *s = mem_zalloc(sizeof *s);
    for (int q = 0; q < TINY_QUEUES; q++)
        list_init(&s->queue[q]);
    s->protected_most = bytes / 100 * (100 - TINY_WINDOW_PERCENT) / 100 * TINY_PROTECTED_PERCENT;
    evict_wtinylfu_sketch(s, TINY_COUNTERS_LEAST);
    return s;
}

static void evict_wtinylfu_destroy(void *self)
{
    evict_wtinylfu_state_t *s = self;
    CHECK(s->items == 0);
    for (int row = 0; row < TINY_ROWS; row++)
        free(s->counter[row]);
    free(s);
}

/* ---- how often ---- */

static size_t evict_wtinylfu_at(const evict_wtinylfu_state_t *s, uint32_t id, int row)
{
    static const uint64_t seed[TINY_ROWS] = {0x9e3779b97f4a7c15u, 0xbf58476d1ce4e5b9u, 0x94d049bb133111ebu,
                                             0xd6e8feb86659fd93u};
    return (id + 1) * seed[row] >> 24 & (s->counters - 1);
}

static unsigned evict_wtinylfu_frequency(const evict_wtinylfu_state_t *s, uint32_t id)
{
    unsigned least = 15;
    for (int row = 0; row < TINY_ROWS; row++) {
        size_t at = evict_wtinylfu_at(s, id, row);
        unsigned n = s->counter[row][at / 2] >> at % 2 * 4 & 15;
        least = n < least ? n : least;
    }
    return least;
}

static void evict_wtinylfu_count(evict_wtinylfu_state_t *s, uint32_t id, unsigned times)
{
    for (; times > 0; times--, s->counted++)
        for (int row = 0; row < TINY_ROWS; row++) {
            size_t at = evict_wtinylfu_at(s, id, row);
            uint8_t *pair = &s->counter[row][at / 2];
            if ((*pair >> at % 2 * 4 & 15) < 15)
                *pair = (uint8_t)(*pair + (1u << at % 2 * 4));
        }
    if (s->counted < s->items * TINY_SAMPLE || s->counted < TINY_COUNTERS_LEAST)
        return;
    s->counted /= 2;
    for (int row = 0; row < TINY_ROWS; row++)
        for (size_t i = 0; i < s->counters / 2; i++)
            s->counter[row][i] = s->counter[row][i] >> 1 & 0x77;
}

/* ---- the queues ---- */

static void evict_wtinylfu_place(evict_wtinylfu_state_t *s, evict_item_t *item, uint8_t queue)
{
    item->queue = queue;
    list_push_front(&s->queue[queue], &item->link);
    s->bytes[queue] += evict_size(item);
    s->items++;
}

static void evict_wtinylfu_remove(void *self, evict_item_t *item)
{
    evict_wtinylfu_state_t *s = self;
    list_remove(&item->link);
    s->bytes[item->queue] -= evict_size(item);
    s->items--;
}

static void evict_wtinylfu_insert(void *self, evict_item_t *item)
{
    evict_wtinylfu_state_t *s = self;
    if (s->items * 8 > s->counters)
        evict_wtinylfu_sketch(s, s->counters * 2);
    evict_set_hits(item, 0);
    evict_wtinylfu_count(s, item->id, 1);
    evict_wtinylfu_place(s, item, TINY_WINDOW);
}

static void evict_wtinylfu_keep(void *self, evict_item_t *item)
{
    evict_set_hits(item, 1);
    evict_wtinylfu_place(self, item, TINY_PROBATION);
}

static void evict_wtinylfu_demote(void *self, evict_item_t *item)
{
    evict_wtinylfu_state_t *s = self;
    evict_wtinylfu_remove(s, item);
    evict_set_hits(item, 0);
    item->queue = TINY_PROBATION;
    item->frequency = TINY_UNWANTED;
    list_push_back(&s->queue[TINY_PROBATION], &item->link);
    s->bytes[TINY_PROBATION] += evict_size(item);
    s->items++;
}

static evict_item_t *evict_wtinylfu_oldest(const evict_wtinylfu_state_t *s, int queue)
{
    return list_empty(&s->queue[queue]) ? NULL : LIST_ITEM(s->queue[queue].prev, evict_item_t, link);
}

/* Brings the oldest of the queue that was not hit since to its end; NULL when the queue is empty. */
static evict_item_t *evict_wtinylfu_settle(evict_wtinylfu_state_t *s, int queue)
{
    evict_item_t *item;
    while ((item = evict_wtinylfu_oldest(s, queue)) != NULL && evict_hits(item) > 0) {
        evict_wtinylfu_count(s, item->id, evict_hits(item));
        evict_set_hits(item, 0);
        item->frequency = 0;
        evict_wtinylfu_remove(s, item);
        evict_wtinylfu_place(s, item, queue == TINY_WINDOW ? TINY_WINDOW : TINY_PROTECTED);
    }
    return item;
}

/* What the main part would let go first. */
static evict_item_t *evict_wtinylfu_last(evict_wtinylfu_state_t *s)
{
    evict_item_t *item;
    while (s->bytes[TINY_PROTECTED] > s->protected_most && (item = evict_wtinylfu_settle(s, TINY_PROTECTED)) != NULL) {
        evict_wtinylfu_remove(s, item);
        evict_wtinylfu_place(s, item, TINY_PROBATION);
    }
    item = evict_wtinylfu_settle(s, TINY_PROBATION);
    return item != NULL ? item : evict_wtinylfu_settle(s, TINY_PROTECTED);
}

/* Was the candidate asked for more often than all together that would have to go for it? */
static bool evict_wtinylfu_better(evict_wtinylfu_state_t *s, const evict_item_t *candidate, evict_item_t *first)
{
    unsigned mine = evict_wtinylfu_frequency(s, candidate->id), theirs = 0;
    uint64_t units = 0;
    const list_t *end = &s->queue[first->queue];
    int n = 0;
    for (list_t *link = &first->link; link != end && units < candidate->units && theirs < mine; link = link->prev) {
        const evict_item_t *item = LIST_ITEM(link, evict_item_t, link);
        theirs += evict_wtinylfu_frequency(s, item->id) + evict_hits(item);
        units += item->units;
        if (++n == TINY_COMPARED)
            return false;
    }
    return mine > theirs;
}

static evict_item_t *evict_wtinylfu_victim(void *self)
{
    evict_wtinylfu_state_t *s = self;
    while (s->items > 0) {
        evict_item_t *last = evict_wtinylfu_last(s), *candidate = NULL;
        uint64_t all = s->bytes[TINY_WINDOW] + s->bytes[TINY_PROBATION] + s->bytes[TINY_PROTECTED];
        uint64_t window = all / 100 * TINY_WINDOW_PERCENT;
        if (last == NULL || (s->bytes[TINY_WINDOW] >= window && last->frequency != TINY_UNWANTED))
            candidate = evict_wtinylfu_settle(s, TINY_WINDOW);
        if (candidate == NULL) {
            CHECK(last != NULL); /* there are items, and the window has none */
            evict_wtinylfu_remove(s, last);
            return last;
        }
        bool fits = last == NULL || s->bytes[TINY_WINDOW] >= window + evict_size(candidate);
        bool better = fits || evict_wtinylfu_better(s, candidate, last);
        evict_wtinylfu_remove(s, candidate);
        if (!better)
            return candidate;
        evict_wtinylfu_place(s, candidate, TINY_PROBATION);
        if (!fits) {
            evict_wtinylfu_remove(s, last);
            return last;
        }
    }
    return NULL;
}

static size_t evict_wtinylfu_overhead(const void *self)
{
    const evict_wtinylfu_state_t *s = self;
    return sizeof *s + TINY_ROWS * s->counters / 2;
}

const evict_policy_t evict_wtinylfu = {
    .name = "wtinylfu",
    .create = evict_wtinylfu_create,
    .destroy = evict_wtinylfu_destroy,
    .insert = evict_wtinylfu_insert,
    .remove = evict_wtinylfu_remove,
    .victim = evict_wtinylfu_victim,
    .keep = evict_wtinylfu_keep,
    .demote = evict_wtinylfu_demote,
    .overhead = evict_wtinylfu_overhead,
};
