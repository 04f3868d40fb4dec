/* Ranks are 32-bit numbers that wrap around; the largest value is far below 2^31, so differences tell the order. */
#include "edge/store/evict_greedy.h"

#include <math.h>
#include <stdlib.h>

#include "edge/base/mem.h"

enum {
    GREEDY_WAYS = 4,
    GREEDY_STEPS = 4,        /* queues an octave of value */
    GREEDY_MOVED = 8,        /* items valued anew at an insertion */
    GREEDY_HALF_LIFE = 64,   /* epochs in which a remembered frequency halves */
    GREEDY_EPOCHS = 4,       /* in the time in which the whole cache is replaced once */
    GREEDY_SIZE_LEAST = 256, /* smaller ones are no cheaper to keep */
    GREEDY_SIZE_MOST = 1 << 24
};

void greedy_init(greedy_t *g, uint64_t bytes, size_t ghosts)
{
    *g = (greedy_t){.ghost_n = ghosts, .epoch = bytes / GREEDY_EPOCHS + 1};
    CHECK((ghosts & (ghosts - 1)) == 0 && ghosts >= GREEDY_WAYS);
    for (size_t i = 0; i < GREEDY_QUEUES; i++) {
        list_init(&g->queue[0][i]);
        list_init(&g->queue[1][i]);
    }
    list_init(&g->demoted);
    g->ghost = mem_zalloc(ghosts * sizeof *g->ghost);
}

void greedy_release(greedy_t *g)
{
    CHECK(g->items == 0);
    free(g->ghost);
}

/* ---- what is remembered of those that went ---- */

static greedy_ghost_t *greedy_set(greedy_t *g, uint32_t id)
{
    return g->ghost + ((id * (uint64_t)0x9e3779b97f4a7c15u >> 20) & (g->ghost_n - 1) & ~(size_t)(GREEDY_WAYS - 1));
}

static uint16_t greedy_print(uint32_t id)
{
    return (uint16_t)(id * (uint64_t)0xbf58476d1ce4e5b9u >> 48);
}

static unsigned greedy_faded(const greedy_t *g, const greedy_ghost_t *h)
{
    uint8_t since = (uint8_t)(g->left / g->epoch) - h->left;
    /* in sixteenths, a straight line between the halvings */
    unsigned halvings = since / GREEDY_HALF_LIFE, part = since % GREEDY_HALF_LIFE;
    return (h->frequency * 16u >> halvings) * (2 * GREEDY_HALF_LIFE - part) / (2 * GREEDY_HALF_LIFE);
}

static void greedy_remember(greedy_t *g, const evict_item_t *item)
{
    greedy_ghost_t *set = greedy_set(g, item->id), *worst = set;
    g->left += evict_size(item);
    for (int i = 1; i < GREEDY_WAYS && worst->frequency != 0; i++)
        if (set[i].frequency == 0 || greedy_faded(g, &set[i]) < greedy_faded(g, worst))
            worst = &set[i];
    *worst = (greedy_ghost_t){
        .print = greedy_print(item->id), .frequency = item->frequency, .left = (uint8_t)(g->left / g->epoch)};
}

static unsigned greedy_recall(greedy_t *g, uint32_t id)
{
    greedy_ghost_t *set = greedy_set(g, id);
    for (int i = 0; i < GREEDY_WAYS; i++)
        if (set[i].frequency != 0 && set[i].print == greedy_print(id)) {
            unsigned frequency = (greedy_faded(g, &set[i]) + 8) / 16;
            set[i] = (greedy_ghost_t){0};
            return frequency;
        }
    return 0;
}

/* ---- the order ---- */

static unsigned greedy_queue(const evict_item_t *item, unsigned exponent)
{
    double size = (double)evict_size(item);
    size = size < GREEDY_SIZE_LEAST ? GREEDY_SIZE_LEAST : size > GREEDY_SIZE_MOST ? GREEDY_SIZE_MOST : size;
    double value = log2((double)item->frequency) * exponent / 4 + (24 - log2(size)) * 0.85;
    unsigned queue = (unsigned)((value + 6) * GREEDY_STEPS); /* 6: small steps for large objects too */
    return queue < GREEDY_QUEUES ? queue : GREEDY_QUEUES - 1;
}

static uint32_t greedy_value(unsigned queue)
{
    return (uint32_t)exp2((double)queue / GREEDY_STEPS);
}

static void greedy_count(greedy_t *g, const evict_item_t *item)
{
    g->bytes += evict_size(item);
    g->items++;
}

/* item->queue: the number of the set, then of the queue. */
static void greedy_enter(greedy_t *g, evict_item_t *item, unsigned queue)
{
    item->queue = (uint8_t)(g->set * GREEDY_QUEUES + queue);
    g->filled[g->set][queue / 64] |= (uint64_t)1 << queue % 64;
    greedy_count(g, item);
}

void greedy_place(greedy_t *g, evict_item_t *item, unsigned exponent)
{
    unsigned frequency = item->frequency + evict_hits(item);
    item->frequency = (uint8_t)(frequency < GREEDY_FREQUENCY_MOST ? frequency : GREEDY_FREQUENCY_MOST);
    evict_set_hits(item, 0);
    unsigned queue = greedy_queue(item, exponent);
    item->rank = g->age + greedy_value(queue);
    list_push_front(&g->queue[g->set][queue], &item->link);
    greedy_enter(g, item, queue);
}

/* ---- valuing anew ---- */

bool greedy_turned(const greedy_t *g)
{
    return (g->filled[!g->set][0] | g->filled[!g->set][1]) == 0;
}

void greedy_turn(greedy_t *g)
{
    CHECK(greedy_turned(g));
    g->set = !g->set;
}

static uint32_t greedy_since(const evict_item_t *item)
{
    return item->rank - greedy_value(item->queue % GREEDY_QUEUES);
}

/* The latest first, each to the old end of its queue: so queues stay in the order of the ages at which their items were
 * valued, and what came after the turn is before all of them. */
static void greedy_move(greedy_t *g, unsigned exponent)
{
    for (int n = 0; n < GREEDY_MOVED && !greedy_turned(g); n++) {
        evict_item_t *latest = NULL;
        for (unsigned word = 0; word < 2; word++)
            for (uint64_t bits = g->filled[!g->set][word]; bits != 0; bits &= bits - 1) {
                unsigned queue = word * 64 + (unsigned)__builtin_ctzll(bits);
                evict_item_t *item = LIST_ITEM(g->queue[!g->set][queue].next, evict_item_t, link);
                if (latest == NULL || (int32_t)(greedy_since(item) - greedy_since(latest)) > 0)
                    latest = item;
            }
        CHECK(latest != NULL); /* else it was turned */
        uint32_t since = greedy_since(latest);
        greedy_remove(g, latest);
        unsigned queue = greedy_queue(latest, exponent);
        latest->rank = since + greedy_value(queue);
        list_push_back(&g->queue[g->set][queue], &latest->link);
        greedy_enter(g, latest, queue);
    }
}

void greedy_insert(greedy_t *g, evict_item_t *item, unsigned exponent)
{
    greedy_move(g, exponent);
    evict_set_hits(item, 0);
    item->frequency = (uint8_t)(1 + greedy_recall(g, item->id));
    greedy_place(g, item, exponent);
}

void greedy_remove(greedy_t *g, evict_item_t *item)
{
    list_remove(&item->link);
    unsigned set = item->queue / GREEDY_QUEUES, queue = item->queue % GREEDY_QUEUES;
    if (item->frequency != 0 && list_empty(&g->queue[set][queue]))
        g->filled[set][queue / 64] &= ~((uint64_t)1 << queue % 64);
    g->bytes -= evict_size(item);
    g->items--;
}

void greedy_demote(greedy_t *g, evict_item_t *item)
{
    greedy_remove(g, item);
    evict_set_hits(item, 0);
    item->frequency = 0;
    list_push_front(&g->demoted, &item->link);
    greedy_count(g, item);
}

static evict_item_t *greedy_least(const greedy_t *g)
{
    if (!list_empty(&g->demoted))
        return LIST_ITEM(g->demoted.prev, evict_item_t, link);
    evict_item_t *least = NULL;
    for (unsigned word = 0; word < 4; word++)
        for (uint64_t bits = g->filled[word / 2][word % 2]; bits != 0; bits &= bits - 1) {
            unsigned queue = word % 2 * 64 + (unsigned)__builtin_ctzll(bits);
            evict_item_t *item = LIST_ITEM(g->queue[word / 2][queue].prev, evict_item_t, link);
            if (least == NULL || (int32_t)(item->rank - least->rank) < 0)
                least = item;
        }
    return least;
}

evict_item_t *greedy_victim(greedy_t *g, unsigned exponent)
{
    for (evict_item_t *item; (item = greedy_least(g)) != NULL;) {
        greedy_remove(g, item);
        if (evict_hits(item) == 0) {
            if (item->frequency != 0) {
                g->age = item->rank;
                greedy_remember(g, item);
            }
            return item;
        }
        greedy_place(g, item, exponent);
    }
    return NULL;
}
