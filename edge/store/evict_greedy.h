/* Greedy-Dual over quantised values, with a memory of past frequencies: the machine behind evict_hindsight, once for
 * the objects themselves and once for each of its ghosts. Private to the policies. Not thread-safe.
 *
 * rank = age + value, the lowest rank goes, and the age is the rank of what went last. The value is
 * frequency^exponent / size^0.85. Values are rounded to quarters of an octave, so that all items of one value form a
 * first-in-first-out queue (the age never falls), and the victim is the least of at most 128 heads: no heap, and every
 * operation but that look is O(1).
 *
 * When the exponent changes, what is there has to be valued anew, or what was popular under the old one would stay far
 * too long. So there are two sets of queues: greedy_turn begins to use the other one, and each insertion moves a few.
 */
#ifndef BRINK_STORE_EVICT_GREEDY_H
#define BRINK_STORE_EVICT_GREEDY_H

#include "edge/store/evict.h"

enum { GREEDY_QUEUES = 128, GREEDY_FREQUENCY_MOST = 31 };

typedef struct greedy_ghost {
    uint16_t print;
    uint8_t frequency, left; /* left: when, in epochs; frequency 0 = free */
} greedy_ghost_t;

typedef struct greedy {
    list_t queue[2][GREEDY_QUEUES]; /* young at the front */
    uint64_t filled[2][2];          /* a bit for each queue that isn't empty */
    list_t demoted;                 /* their frequency is 0 */
    unsigned set;                   /* in use; the other one is being emptied */
    uint32_t age;                   /* ranks wrap around: only differences count */
    uint64_t bytes, items;
    greedy_ghost_t *ghost;
    size_t ghost_n;       /* power of two */
    uint64_t left, epoch; /* bytes that went, ever; bytes of one epoch of the ghost */
} greedy_t;

/* `bytes`: of the cache that this orders; `ghosts`: how many that went are remembered, a power of two. */
void greedy_init(greedy_t *g, uint64_t bytes, size_t ghosts);
void greedy_release(greedy_t *g);
/* `exponent` in quarters. Takes the remembered frequency into account. */
void greedy_insert(greedy_t *g, evict_item_t *item, unsigned exponent);
/* Back into the order by frequency and hits as they are. */
void greedy_place(greedy_t *g, evict_item_t *item, unsigned exponent);
void greedy_remove(greedy_t *g, evict_item_t *item);
void greedy_demote(greedy_t *g, evict_item_t *item);
evict_item_t *greedy_victim(greedy_t *g, unsigned exponent);
/* The next exponent will be another one. Only when greedy_turned. */
void greedy_turn(greedy_t *g);
bool greedy_turned(const greedy_t *g);

#endif
