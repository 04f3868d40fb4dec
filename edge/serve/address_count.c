/* A table of open addressing with linear probing, at most half full, since every entry has at least one connection and
 * connections are limited. An entry is removed with its last connection by moving back what was probed over it, so
 * there are no tombstones and nothing is ever rebuilt. Counting costs one short lock a connection, not a request. */
#include "edge/serve/address_count.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "edge/base/check.h"
#include "edge/base/hash.h"
#include "edge/base/mem.h"

typedef struct address_count_entry {
    network_address_t address;
    uint32_t connections; /* 0: free */
} address_count_entry_t;

struct address_count {
    pthread_mutex_t mutex;
    uint64_t seed;
    size_t mask, used, most;
    address_count_entry_t *entries;
};

address_count_t *address_count_new(size_t connections, uint64_t seed)
{
    address_count_t *c = mem_zalloc(sizeof *c);
    size_t slots = 16;
    while (slots < 2 * connections)
        slots *= 2;
    c->seed = seed;
    c->mask = slots - 1;
    c->most = connections;
    c->entries = mem_zalloc(slots * sizeof *c->entries);
    CHECK(pthread_mutex_init(&c->mutex, NULL) == 0);
    return c;
}

void address_count_free(address_count_t *c)
{
    if (c == NULL)
        return;
    pthread_mutex_destroy(&c->mutex);
    free(c->entries);
    free(c);
}

static size_t address_count_home(const address_count_t *c, const network_address_t *a)
{
    return (size_t)hash_64(span_of((const char *)a->bytes, sizeof a->bytes), c->seed) & c->mask;
}

/* Its entry, or the free one where it belongs. */
static size_t address_count_at(const address_count_t *c, const network_address_t *a)
{
    size_t i = address_count_home(c, a);
    while (c->entries[i].connections > 0 && memcmp(&c->entries[i].address, a, sizeof *a) != 0)
        i = (i + 1) & c->mask;
    return i;
}

bool address_count_take(address_count_t *c, const network_address_t *address, size_t most)
{
    CHECK(pthread_mutex_lock(&c->mutex) == 0);
    address_count_entry_t *e = &c->entries[address_count_at(c, address)];
    bool fits = e->connections < most && (e->connections > 0 || c->used < c->most);
    if (fits && e->connections++ == 0) {
        e->address = *address;
        c->used++;
    }
    CHECK(pthread_mutex_unlock(&c->mutex) == 0);
    return fits;
}

static void address_count_remove(address_count_t *c, size_t hole)
{
    c->entries[hole].connections = 0;
    c->used--;
    for (size_t i = (hole + 1) & c->mask; c->entries[i].connections > 0; i = (i + 1) & c->mask) {
        size_t home = address_count_home(c, &c->entries[i].address);
        if (((i - home) & c->mask) < ((i - hole) & c->mask))
            continue; /* it begins behind the hole: found without it */
        c->entries[hole] = c->entries[i];
        c->entries[i].connections = 0;
        hole = i;
    }
}

void address_count_give(address_count_t *c, const network_address_t *address)
{
    CHECK(pthread_mutex_lock(&c->mutex) == 0);
    size_t i = address_count_at(c, address);
    CHECK(c->entries[i].connections > 0);
    if (--c->entries[i].connections == 0)
        address_count_remove(c, i);
    CHECK(pthread_mutex_unlock(&c->mutex) == 0);
}

size_t address_count_addresses(address_count_t *c)
{
    CHECK(pthread_mutex_lock(&c->mutex) == 0);
    size_t n = c->used;
    CHECK(pthread_mutex_unlock(&c->mutex) == 0);
    return n;
}
