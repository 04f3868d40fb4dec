/* Walks over what is stored, a bit a second, so that dead responses don't wait for eviction and the purge ledger may
 * forget what can no longer matter.
 *
 * The ledger may forget the purges up to a position when everything that is stored was checked up to it. So the floor
 * is the least of: the head at the start of the last completed walk over memory; the same of the disk (warm_swept);
 * where the oldest running fetch began. What is on its way between memory and disk isn't waited for: it is checked when
 * it arrives, and if the ledger has forgotten too much by then to say anything about it, it is dropped.
 *
 * Threads: one, not an event loop; node_upkeep_tick takes milliseconds. */
#ifndef BRINK_EDGE_NODE_UPKEEP_H
#define BRINK_EDGE_NODE_UPKEEP_H

#include "edge/request/request.h"

enum {
    NODE_UPKEEP_STEPS = 20000,           /* stored responses looked at in a tick */
    NODE_UPKEEP_DISK_WORTH = 128 * 1024, /* values of the ledger that are worth more than a walk over the disk a day: it
                                            reads a page of each record */
    NODE_UPKEEP_EVERY = 60 * MSEC_PER_SEC,        /* between two compactions */
    NODE_UPKEEP_DISK_EVERY = 3600 * MSEC_PER_SEC, /* between two walks over the disk that are worth it, unless the
                                                     ledger is half full */
    NODE_UPKEEP_DISK_LEAST = 86400 * MSEC_PER_SEC /* and between two walks as long as there is any value */
};

typedef struct node_upkeep {
    store_t *store;
    purge_t *purge;
    collapse_t *collapse;
    bool disk;         /* there is one: without it (handed over) nothing may be forgotten */
    size_t disk_worth; /* as above; so below */
    msec_t every, disk_every, disk_least;
    /* ---- its own ---- */
    uint64_t cursor, began, memory; /* of the walk; head when it began; head when the last completed one began */
    uint64_t goal;                  /* of the walk over the disk */
    msec_t compacted_at, disk_at;   /* boot; 0: not yet */
} node_upkeep_t;

void node_upkeep_init(node_upkeep_t *u, store_t *store, purge_t *purge, collapse_t *collapse, bool disk);
/* About once a second. `warm` may be NULL. */
void node_upkeep_tick(node_upkeep_t *u, warm_t *warm, now_t now);

#endif
