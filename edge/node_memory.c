/* A reservation in the store that nothing is ever put into: evicting for it, and keeping the budget, is what the store
 * does for fills anyway. */
#include "edge/node_memory.h"

#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

#include "edge/base/block.h"
#include "edge/tbl/metrics.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define NODE_MEMORY_UNKNOWN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define NODE_MEMORY_UNKNOWN 1
#endif
#endif
#ifndef NODE_MEMORY_UNKNOWN
#define NODE_MEMORY_UNKNOWN 0
#endif

void node_memory_init(node_memory_t *m, store_t *store, uint64_t budget)
{
    mallopt(M_MMAP_THRESHOLD, NODE_MEMORY_MAP);
    *m = (node_memory_t){.store = store, .budget = budget};
}

void node_memory_tick(node_memory_t *m, uint64_t resident, msec_t now_boot)
{
    uint64_t limit = m->budget + NODE_MEMORY_FREE, most = m->budget / NODE_MEMORY_MOST;
    uint64_t excess = resident > limit ? resident - limit : 0;
    msec_t every = excess >= NODE_MEMORY_URGENT ? NODE_MEMORY_TRIM_URGENT : NODE_MEMORY_TRIM_EVERY;
    if (excess >= NODE_MEMORY_STEP && now_boot - m->trimmed >= every) {
        m->trimmed = now_boot;
        malloc_trim(0);
    }
    if (resident == 0 || (excess <= m->excess && m->excess - excess < NODE_MEMORY_STEP))
        return;
    /* Never less than grew: below the limit nothing is held, above it each byte counts at once. */
    uint64_t held = excess < most / NODE_MEMORY_GAIN ? excess * NODE_MEMORY_GAIN : most;
    if (held > m->held && !store_reserve(m->store, held - m->held))
        return; /* what is being sent can't be evicted: the next time */
    if (held < m->held)
        store_unreserve(m->store, m->held - held);
    m->held = held;
    m->excess = excess;
    metrics_gauge_set(METRIC_MEMORY_HELD, 0, (double)held);
}

uint64_t node_memory_resident(void)
{
    unsigned long long size = 0, resident = 0, shared = 0;
    if (NODE_MEMORY_UNKNOWN)
        return 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f == NULL)
        return 0;
    int n = fscanf(f, "%llu %llu %llu", &size, &resident, &shared);
    fclose(f);
    if (n != 3 || resident <= shared)
        return 0;
    uint64_t bytes = (resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE), kept = block_kept();
    return kept < bytes ? bytes - kept : 0;
}
