/* Two tables with opposite tempers. `slots` may never lose a value, so it only grows, and shrinks, a part at a time,
 * when its owner has decided what the lost values turn into. `invalidated` may lose anything (its users mark the
 * objects themselves), so it is a fixed cache that a flood of unsafe requests can only churn. */
#include "purge/slots.h"

#include <stdlib.h>

#include "edge/base/check.h"
#include "edge/base/mem.h"

enum { SLOTS_FIRST = 16, INVALIDATED_WAYS = 4 };

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
    *t = (slots_t){.n = 0};
}

void slots_release(slots_t *t)
{
    for (size_t i = 0; i < SLOTS_PARTS; i++)
        free(t->part[i].v);
    *t = (slots_t){.n = 0};
}

static struct slots_part *slots_part(const slots_t *t, digest_t key)
{
    return (struct slots_part *)&t->part[key.hi % SLOTS_PARTS];
}

/* The slot of the key, or the empty one where it would go. */
static slot_t *slots_probe(const struct slots_part *p, digest_t key)
{
    for (size_t i = key.lo & (p->cap - 1);; i = (i + 1) & (p->cap - 1)) {
        slot_t *s = &p->v[i];
        if (!slots_used(s) || hash_eq(s->key, key))
            return s;
    }
}

slot_t *slots_find(const slots_t *t, digest_t key)
{
    const struct slots_part *p = slots_part(t, key);
    slot_t *s = p->n > 0 ? slots_probe(p, key) : NULL;
    return s != NULL && hash_eq(s->key, key) ? s : NULL;
}

static void slots_rebuild(slots_t *t, struct slots_part *p, size_t cap, bool (*drop)(void *, const slot_t *), void *ctx)
{
    struct slots_part other = {.v = cap > 0 ? mem_zalloc(cap * sizeof(slot_t)) : NULL, .cap = cap};
    for (size_t i = 0; i < p->cap; i++) {
        const slot_t *s = &p->v[i];
        if (!slots_used(s) || (drop != NULL && drop(ctx, s)))
            continue;
        *slots_probe(&other, s->key) = *s;
        other.n++;
    }
    t->cap += other.cap - p->cap;
    t->n += other.n - p->n;
    free(p->v);
    *p = other;
}

slot_t *slots_put(slots_t *t, digest_t key, bool *fresh)
{
    struct slots_part *p = slots_part(t, key);
    slot_t *s = p->cap > 0 ? slots_probe(p, key) : NULL;
    *fresh = s == NULL || !hash_eq(s->key, key);
    if (!*fresh)
        return s;
    if ((p->n + 1) * 4 > p->cap * 3) {
        slots_rebuild(t, p, p->cap > 0 ? p->cap * 2 : SLOTS_FIRST, NULL, NULL);
        s = slots_probe(p, key);
    }
    CHECK(s != NULL);
    s->key = key;
    p->n++;
    t->n++;
    return s;
}

size_t slots_sweep(slots_t *t, size_t part, bool (*drop)(void *ctx, const slot_t *s), void *ctx)
{
    struct slots_part *p = &t->part[part];
    size_t before = p->n, fit = SLOTS_FIRST;
    if (before == 0)
        return 0;
    slots_rebuild(t, p, p->cap, drop, ctx);
    while (fit < p->n * 2)
        fit *= 2;
    if (fit < p->cap)
        slots_rebuild(t, p, p->n > 0 ? fit : 0, NULL, NULL);
    return before - p->n;
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
    if (!hash_eq(at->uri, uri) && at->position > t->displaced)
        t->displaced = at->position;
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
