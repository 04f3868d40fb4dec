/* GDSF (Cherkasova 1998): rank = age + frequency / size, the lowest goes, and the age of the cache is the rank of what
 * went last. Keeps many small objects instead of a few large ones: best in object hits, not in byte hits.
 *
 * Lazy: a hit only counts in the item; the rank is made anew when the item comes to the top of the heap. So frequency
 * is that of the hits since the last look (at most EVICT_HITS_MOST) added to what was there before. */
#include "edge/base/mem.h"
#include "edge/store/evict.h"

#include <stdlib.h>

enum { GDSF_FREQUENCY_MOST = 255, GDSF_LEAST = 64 };

typedef struct gdsf_entry {
    evict_item_t *item; /* item->rank is its place here */
    double rank;
} gdsf_entry_t;

typedef struct evict_gdsf_state {
    gdsf_entry_t *heap;
    size_t n, cap;
    double age;
} evict_gdsf_state_t;

static void *evict_gdsf_create(uint64_t bytes)
{
    (void)bytes;
    return mem_zalloc(sizeof(evict_gdsf_state_t));
}

static void evict_gdsf_destroy(void *self)
{
    evict_gdsf_state_t *s = self;
    CHECK(s->n == 0);
    free(s->heap);
    free(s);
}

static void evict_gdsf_set(evict_gdsf_state_t *s, size_t at, gdsf_entry_t e)
{
    s->heap[at] = e;
    e.item->rank = (uint32_t)at;
}

static void evict_gdsf_up(evict_gdsf_state_t *s, size_t at, gdsf_entry_t e)
{
    while (at > 0 && s->heap[(at - 1) / 2].rank > e.rank) {
        evict_gdsf_set(s, at, s->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    evict_gdsf_set(s, at, e);
}

static void evict_gdsf_down(evict_gdsf_state_t *s, size_t at, gdsf_entry_t e)
{
    for (size_t child; (child = 2 * at + 1) < s->n; at = child) {
        if (child + 1 < s->n && s->heap[child + 1].rank < s->heap[child].rank)
            child++;
        if (s->heap[child].rank >= e.rank)
            break;
        evict_gdsf_set(s, at, s->heap[child]);
    }
    evict_gdsf_set(s, at, e);
}

static gdsf_entry_t evict_gdsf_rank(const evict_gdsf_state_t *s, evict_item_t *item)
{
    unsigned frequency = item->frequency + evict_hits(item);
    item->frequency = (uint8_t)(frequency < GDSF_FREQUENCY_MOST ? frequency : GDSF_FREQUENCY_MOST);
    evict_set_hits(item, 0);
    return (gdsf_entry_t){item, s->age + (double)item->frequency / (double)(item->units > 0 ? item->units : 1)};
}

static void evict_gdsf_add(evict_gdsf_state_t *s, evict_item_t *item)
{
    if (s->n == s->cap) {
        s->cap = s->cap == 0 ? GDSF_LEAST : s->cap * 2;
        s->heap = mem_realloc(s->heap, s->cap * sizeof *s->heap);
    }
    s->n++;
    evict_gdsf_up(s, s->n - 1, evict_gdsf_rank(s, item));
}

static void evict_gdsf_insert(void *self, evict_item_t *item)
{
    item->frequency = 1;
    evict_set_hits(item, 0);
    evict_gdsf_add(self, item);
}

static void evict_gdsf_keep(void *self, evict_item_t *item)
{
    evict_touch(item);
    evict_gdsf_add(self, item);
}

static void evict_gdsf_remove(void *self, evict_item_t *item)
{
    evict_gdsf_state_t *s = self;
    size_t at = item->rank;
    gdsf_entry_t last = s->heap[--s->n];
    if (last.item == item)
        return;
    if (at > 0 && s->heap[(at - 1) / 2].rank > last.rank)
        evict_gdsf_up(s, at, last);
    else
        evict_gdsf_down(s, at, last);
}

static evict_item_t *evict_gdsf_victim(void *self)
{
    evict_gdsf_state_t *s = self;
    while (s->n > 0) {
        gdsf_entry_t e = s->heap[0];
        if (evict_hits(e.item) == 0) {
            evict_gdsf_remove(s, e.item);
            if (e.rank > s->age)
                s->age = e.rank;
            return e.item;
        }
        evict_gdsf_down(s, 0, evict_gdsf_rank(s, e.item));
    }
    return NULL;
}

static void evict_gdsf_demote(void *self, evict_item_t *item)
{
    evict_gdsf_state_t *s = self;
    evict_gdsf_remove(s, item);
    evict_set_hits(item, 0);
    s->n++;
    evict_gdsf_up(s, s->n - 1, (gdsf_entry_t){item, -1});
}

static size_t evict_gdsf_overhead(const void *self)
{
    const evict_gdsf_state_t *s = self;
    return sizeof *s + s->cap * sizeof *s->heap;
}

const evict_policy_t evict_gdsf = {
    .name = "gdsf",
    .create = evict_gdsf_create,
    .destroy = evict_gdsf_destroy,
    .insert = evict_gdsf_insert,
    .remove = evict_gdsf_remove,
    .victim = evict_gdsf_victim,
    .keep = evict_gdsf_keep,
    .demote = evict_gdsf_demote,
    .overhead = evict_gdsf_overhead,
};
