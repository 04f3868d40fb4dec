/* Keeps what the process really takes within the memory budget.
 *
 * The store counts every byte that it asks malloc for, yet the kernel counts pages: what lies between objects of all
 * sizes that come and go, the ledger, connections, TLS. So what is resident beyond the budget and NODE_MEMORY_FREE is
 * taken out of the store's budget, NODE_MEMORY_GAIN times as much: freed memory is reused before malloc asks for more,
 * so that the excess stops growing soon. It is given back as it goes away; once a minute malloc is asked to return the
 * whole pages that are free in it (its locks are held for milliseconds by that, hence not more often), and every few
 * seconds while much is lost: after a purge of many objects they lie free between others, too small for large bodies,
 * which are mapped beside them.
 *
 * Threads: one, not an event loop. */
#ifndef BRINK_EDGE_NODE_MEMORY_H
#define BRINK_EDGE_NODE_MEMORY_H

#include "edge/store/store.h"

enum {
    NODE_MEMORY_FREE = 16 * 1024 * 1024, /* the program itself, its threads, a thousand connections */
    NODE_MEMORY_GAIN = 4,
    NODE_MEMORY_MOST = 4,               /* at most this part of the budget (a quarter) is held back */
    NODE_MEMORY_STEP = 4 * 1024 * 1024, /* smaller ways back don't matter */
    /* Larger blocks are mapped one by one and go back to the kernel when freed. Left alone, glibc raises this to 32 MiB
     * by and by, and large bodies tear holes into the heap. */
    NODE_MEMORY_MAP = 128 * 1024,
    NODE_MEMORY_TRIM_EVERY = 60 * MSEC_PER_SEC,
    NODE_MEMORY_URGENT = 12 * 1024 * 1024, /* beyond what is free: then */
    NODE_MEMORY_TRIM_URGENT = 4 * MSEC_PER_SEC
};

typedef struct node_memory {
    store_t *store;
    uint64_t budget;
    uint64_t excess; /* that is held back for */
    uint64_t held;   /* bytes of the store's budget */
    msec_t trimmed;  /* boot */
} node_memory_t;

void node_memory_init(node_memory_t *m, store_t *store, uint64_t budget);
/* About once a second. `resident`: anonymous memory of the process, 0 if it isn't known. */
void node_memory_tick(node_memory_t *m, uint64_t resident, msec_t now_boot);

/* Anonymous resident memory of this process in bytes, without the blocks that are kept for the next bodies (block.h:
 * with them a small budget would be held back for memory that is as good as free). 0: can't be read; or a sanitizer is
 * in it, whose own memory would be counted. */
uint64_t node_memory_resident(void);

#endif
