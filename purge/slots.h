/* The ledger's tables: purged value → last positions. Pure; the ledger holds the lock. */
#ifndef BRINK_PURGE_SLOTS_H
#define BRINK_PURGE_SLOTS_H

#include "purge/ledger.h"

/* One purged value. 64 bytes. */
typedef struct slot {
    digest_t key; /* {0, 0} = empty */
    ledger_marks_t marks;
    msec_t outside_boot; /* newest entry of this value that is outside the stream */
    uint32_t outside_n;  /* how many entries are; 0: outside_boot means nothing */
    uint32_t length;     /* of a prefix */
    uint8_t kind;
} slot_t;

enum { SLOTS_PARTS = 256 };

/* Open addressing, linear probing, at most three quarters full, in parts by the key: what grows, shrinks or is swept
 * under the ledger's lock is one part at a time, half a megabyte at the ceiling. Nothing is deleted one by one. */
typedef struct slots {
    struct slots_part {
        slot_t *v;
        size_t cap, n;
    } part[SLOTS_PARTS];
    size_t cap, n; /* of all */
} slots_t;

void slots_init(slots_t *t);
void slots_release(slots_t *t);
slot_t *slots_find(const slots_t *t, digest_t key);       /* NULL when it isn't there */
slot_t *slots_put(slots_t *t, digest_t key, bool *fresh); /* valid until the next slots_put */
/* Drops the values of one part for which drop() is true. Returns how many. */
size_t slots_sweep(slots_t *t, size_t part, bool (*drop)(void *ctx, const slot_t *s), void *ctx);
/* The key of a value: kinds (and lengths of prefixes) never meet. */
digest_t slots_key(ledger_kind_t kind, digest_t digest, uint32_t length);

static inline bool slots_used(const slot_t *s)
{
    return s->key.hi != 0 || s->key.lo != 0;
}
static inline uint64_t slots_last(const ledger_marks_t *m)
{
    uint64_t a = m->hard > m->soft ? m->hard : m->soft;
    return a > m->strict ? a : m->strict;
}

/* URIs invalidated by unsafe methods: four-way sets, in each the oldest falls out. Memory comes with the first one. */
typedef struct invalidated {
    struct invalidated_way {
        digest_t uri;
        uint64_t position;
        msec_t boot;
    } * v;
    size_t sets, n;
    uint64_t last, displaced; /* positions: the latest, and the latest that has fallen out */
} invalidated_t;

void invalidated_release(invalidated_t *t);
void invalidated_put(invalidated_t *t, size_t most, digest_t uri, uint64_t position, msec_t boot);
/* 0 when it isn't there. */
uint64_t invalidated_find(const invalidated_t *t, digest_t uri, msec_t *boot);

#endif
