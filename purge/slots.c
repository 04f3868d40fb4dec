/* Two tables with opposite tempers. `slots` may never lose a value, so it only grows, and shrinks by rebuilding when
 * its owner has decided what the lost values turn into. `invalidated` may lose anything (its users mark the objects
 * themselves), so it is a fixed cache that a flood of unsafe requests can only churn. */
#include "purge/slots.h"

#include <stdlib.h>

#include "edge/base/check.h"
#include "edge/base/mem.h"

enum { SLOTS_FIRST = 256, INVALIDATED_WAYS = 4 };

_Static_assert(sizeof(slot_t) == 64, "a purged value is one cache line");

digest_t slots_key(ledger_kind_t kind, digest_t digest, uint32_t length)
{
    digest_t k = {.hi = digest.hi ^ (uint64_t)(kind + 1) * 0x9e3779b97f4a7c15u,
                  .lo = digest.lo ^ (uint64_t)length * 0xc2b2ae3d27d4eb4fu};
    if (k.hi == 0 && k.lo == 0)
        k.lo = 1;
    return k;
}

void slots_init(slots_t *t)
{
    *t = (slots_t){.v = mem_zalloc(SLOTS_FIRST * sizeof(slot_t)), .cap = SLOTS_FIRST};
}

void slots_release(slots_t *t)
{
    free(t->v);
    *t = (slots_t){0};
}

/* The slot of the key, or the empty one where it would go. */
static slot_t *slots_probe(const slots_t *t, digest_t key)
{
    for (size_t i = key.lo & (t->cap - 1);; i = (i + 1) & (t->cap - 1)) {
        slot_t *s = &t->v[i];
        if ((s->key.hi == 0 && s->key.lo == 0) || hash_eq(s->key, key))
            return s;
    }
}

slot_t *slots_find(const slots_t *t, digest_t key)
{
    slot_t *s = slots_probe(t, key);
    return hash_eq(s->key, key) ? s : NULL;
}

static void slots_rebuild(slots_t *t, size_t cap, bool (*drop)(void *, const slot_t *), void *ctx)
{
    slots_t bigger = {.v = mem_zalloc(cap * sizeof(slot_t)), .cap = cap};
    for (size_t i = 0; i < t->cap; i++) {
        const slot_t *s = &t->v[i];
        if ((s->key.hi == 0 && s->key.lo == 0) || (drop != NULL && drop(ctx, s)))
            continue;
        *slots_probe(&bigger, s->key) = *s;
        bigger.n++;
    }
    free(t->v);
    *t = bigger;
}

slot_t *slots_put(slots_t *t, digest_t key, bool *fresh)
{
    slot_t *s = slots_probe(t, key);
    *fresh = !hash_eq(s->key, key);
    if (!*fresh)
        return s;
    if ((t->n + 1) * 2 > t->cap) {
        slots_rebuild(t, t->cap * 2, NULL, NULL);
        s = slots_probe(t, key);
    }
    s->key = key;
    t->n++;
    return s;
}

size_t slots_sweep(slots_t *t, bool (*drop)(void *ctx, const slot_t *s), void *ctx)
{
    size_t before = t->n;
    slots_rebuild(t, t->cap, drop, ctx);
    size_t fit = SLOTS_FIRST;
    while (fit < t->n * 4)
        fit *= 2;
    if (fit < t->cap)
        slots_rebuild(t, fit, NULL, NULL);
    return before - t->n;
}

void invalidated_release(invalidated_t *t)
{
    free(t->v);
    *t = (invalidated_t){0};
}

void invalidated_put(invalidated_t *t, size_t most, digest_t uri, uint64_t position, msec_t boot)
{
    if (t->v == NULL) {
        t->sets = most / INVALIDATED_WAYS;
        t->v = mem_zalloc(t->sets * INVALIDATED_WAYS * sizeof *t->v);
    }
    struct invalidated_way *set = &t->v[uri.lo % t->sets * INVALIDATED_WAYS], *at = &set[0];
    for (size_t i = 0; i < INVALIDATED_WAYS; i++) {
        if (set[i].position != 0 && hash_eq(set[i].uri, uri)) {
            at = &set[i];
            break;
        }
        if (set[i].position < at->position)
            at = &set[i];
    }
    t->n += at->position == 0;
    *at = (struct invalidated_way){.uri = uri, .position = position, .boot = boot};
    t->last = position;
}

uint64_t invalidated_find(const invalidated_t *t, digest_t uri, msec_t *boot)
{
    if (t->v == NULL)
        return 0;
    const struct invalidated_way *set = &t->v[uri.lo % t->sets * INVALIDATED_WAYS];
    for (size_t i = 0; i < INVALIDATED_WAYS; i++)
        if (set[i].position != 0 && hash_eq(set[i].uri, uri)) {
            *boot = set[i].boot;
            return set[i].position;
        }
    return 0;
}
