/* What leaves the ledger: by compaction what can no longer matter, by collapse what there is no room for.
 *
 * A collapse turns values that were not purged for longest into marks on everything, at the positions that they had:
 * that says more than was purged, never less. It goes through the table part by part, as far as room is needed, and
 * each part's values are in the marks before the lock is let go: at no moment is anything forgotten, and nobody waits
 * for more than a part.
 *
 * Compaction is told by whoever has looked at everything that is stored, running and queued (ledger_compact). */
#include <stdlib.h>

#include "edge/base/check.h"
#include "purge/ledger_priv.h"

enum { LEDGER_SAMPLE = 4 /* values of a part that the median is taken from */ };

/* One value less of that length. */
static void ledger_room_length_less(ledger_t *l, uint32_t length)
{
    for (size_t i = 0; i < l->lengths_n; i++)
        if (l->lengths[i].length == length) {
            if (--l->lengths[i].n == 0)
                l->lengths[i] = l->lengths[--l->lengths_n];
            return;
        }
}

/* ---- collapse ---- */

typedef struct collapse {
    ledger_t *l;
    uint64_t cut;
    bool prefixes; /* only these */
} collapse_t;

static bool ledger_room_collapse(void *ctx, const slot_t *s)
{
    collapse_t *c = ctx;
    ledger_t *l = c->l;
    if (slots_last(&s->marks) > c->cut || (c->prefixes && s->kind != LEDGER_PREFIX))
        return false;
    uint64_t less = s->marks.soft > s->marks.strict ? s->marks.soft : s->marks.strict;
    if (s->marks.hard > l->all.hard)
        l->all.hard = s->marks.hard;
    if (less > l->all.strict)
        l->all.strict = less;
    if (slots_last(&s->marks) > l->floor)
        l->floor = slots_last(&s->marks);
    if (s->outside_n > 0) {
        l->outside_n += s->outside_n;
        l->outside_collapsed += s->outside_n;
        if (s->outside_boot > l->outside_boot)
            l->outside_boot = s->outside_boot;
    }
    if (s->kind == LEDGER_PREFIX)
        ledger_room_length_less(l, s->length);
    return true;
}

static int ledger_room_compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* About half of the values were last purged at this position or before. Where a key lies says nothing of its age, so
 * the first of each part are a fair sample. */
static uint64_t ledger_room_median(const ledger_t *l)
{
    uint64_t sample[SLOTS_PARTS * LEDGER_SAMPLE];
    size_t n = 0;
    for (size_t i = 0; i < SLOTS_PARTS; i++) {
        const struct slots_part *p = &l->slots.part[i];
        size_t taken = 0;
        for (size_t k = 0; k < p->cap && taken < LEDGER_SAMPLE; k++)
            if (slots_used(&p->v[k])) {
                sample[n++] = slots_last(&p->v[k].marks);
                taken++;
            }
    }
    qsort(sample, n, sizeof *sample, ledger_room_compare);
    return n > 0 ? sample[n / 2] : 0;
}

static void ledger_room_say(const ledger_t *l, ledger_collapse_t *out)
{
    out->hard = l->all.hard;
    out->strict = l->all.strict;
}

void ledger_room_make(ledger_t *l, size_t more, ledger_collapse_t *out)
{
    CHECK(more <= l->max_values);
    while (l->slots.n + more > l->max_values) {
        if (l->collapse_cut == 0) {
            l->collapse_cut = ledger_room_median(l);
            l->collapse_part = 0;
            l->collapses++;
        }
        collapse_t c = {.l = l, .cut = l->collapse_cut};
        slots_sweep(&l->slots, l->collapse_part, ledger_room_collapse, &c);
        ledger_room_say(l, out);
        if (++l->collapse_part == SLOTS_PARTS) {
            out->cut = l->collapse_cut;
            l->collapse_cut = 0;
        }
    }
}

/* The half of the lengths that were not purged for longest. Their values in the file stay until compaction. */
static void ledger_room_lengths(ledger_t *l, ledger_collapse_t *out)
{
    uint64_t last[LEDGER_MAX_LENGTHS];
    for (size_t i = 0; i < l->lengths_n; i++)
        last[i] = l->lengths[i].last;
    qsort(last, l->lengths_n, sizeof *last, ledger_room_compare);
    collapse_t c = {.l = l, .cut = last[l->lengths_n / 2], .prefixes = true};
    l->collapses++;
    for (size_t i = 0; i < SLOTS_PARTS; i++)
        slots_sweep(&l->slots, i, ledger_room_collapse, &c);
    ledger_room_say(l, out);
}

prefix_length_t *ledger_room_length(ledger_t *l, uint32_t length, ledger_collapse_t *out)
{
    for (size_t i = 0; i < l->lengths_n; i++)
        if (l->lengths[i].length == length)
            return &l->lengths[i];
    if (l->lengths_n == LEDGER_MAX_LENGTHS)
        ledger_room_lengths(l, out);
    CHECK(l->lengths_n < LEDGER_MAX_LENGTHS);
    l->lengths[l->lengths_n] = (prefix_length_t){.length = length};
    return &l->lengths[l->lengths_n++];
}

/* ---- compaction ---- */

static bool ledger_room_compacted(void *ctx, const slot_t *s)
{
    ledger_t *l = ctx;
    if (s->outside_n > 0 || slots_last(&s->marks) > l->compacted)
        return false;
    if (s->kind == LEDGER_PREFIX)
        ledger_room_length_less(l, s->length);
    return true;
}

size_t ledger_compact(ledger_t *l, uint64_t floor)
{
    size_t dropped = 0;
    CHECK(pthread_rwlock_wrlock(&l->lock) == 0);
    bool right = floor > l->compacted && floor <= atomic_load_explicit(&l->head, memory_order_relaxed);
    if (right)
        l->compacted = floor;
    pthread_rwlock_unlock(&l->lock);
    for (size_t i = 0; right && i < SLOTS_PARTS; i++) {
        CHECK(pthread_rwlock_wrlock(&l->lock) == 0);
        dropped += slots_sweep(&l->slots, i, ledger_room_compacted, l);
        pthread_rwlock_unlock(&l->lock);
    }
    return dropped;
}
