/* One counter, a few tables, one reader-writer lock.
 *
 * The counter is the position of the last entry. It is stored after the tables were written and before the lock is let
 * go, so whoever sees a head has, with the lock in shared mode, every entry up to it. A check only ever looks at what
 * came after the position it was last done for, and for each kind of value the ledger remembers the last position at
 * all: a purge by tag costs the check of a response without tags one comparison.
 *
 * What can't be kept for ever leaves by ledger_room.c. */
#include "purge/ledger.h"

#include <pthread.h>
#include <stdlib.h>

#include "edge/base/check.h"
#include "edge/base/mem.h"
#include "purge/ledger_priv.h"

digest_t ledger_site_digest(span_t pattern)
{
    return hash_digest_seed(pattern, 0x73697465 /* "site": apart from hosts */);
}

digest_t ledger_site_tag_digest(span_t pattern, digest_t tag)
{
    digest_t both[2] = {ledger_site_digest(pattern), tag};
    return hash_digest(span_of((const char *)both, sizeof both));
}

ledger_t *ledger_new(uint64_t epoch, size_t max_values)
{
    ledger_t *l = mem_zalloc(sizeof *l);
    l->epoch = epoch;
    l->max_values = max_values != 0 ? max_values : LEDGER_MAX_VALUES;
    pthread_rwlockattr_t attr;
    pthread_rwlockattr_init(&attr);
    /* a purge must not wait for a pause in the traffic */
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    CHECK(pthread_rwlock_init(&l->lock, &attr) == 0);
    pthread_rwlockattr_destroy(&attr);
    slots_init(&l->slots);
    return l;
}

void ledger_free(ledger_t *l)
{
    if (l == NULL)
        return;
    slots_release(&l->slots);
    invalidated_release(&l->invalidated);
    pthread_rwlock_destroy(&l->lock);
    free(l);
}

uint64_t ledger_head(const ledger_t *l)
{
    return atomic_load_explicit(&l->head, memory_order_acquire);
}

uint64_t ledger_epoch(const ledger_t *l)
{
    return l->epoch;
}

/* ---- asking ---- */

static mark_t ledger_mark(const ledger_marks_t *m, uint64_t after)
{
    return m->hard > after ? MARK_HARD : m->strict > after ? MARK_STRICT : m->soft > after ? MARK_SOFT : MARK_NONE;
}

static mark_t ledger_worse(mark_t a, mark_t b)
{
    return a > b ? a : b;
}

static const slot_t *ledger_slot(const ledger_t *l, ledger_kind_t kind, digest_t digest, uint32_t length)
{
    return slots_find(&l->slots, slots_key(kind, digest, length));
}

static mark_t ledger_value_mark(const ledger_t *l, ledger_kind_t kind, digest_t digest, uint32_t length, uint64_t after)
{
    const slot_t *s = ledger_slot(l, kind, digest, length);
    return s != NULL ? ledger_mark(&s->marks, after) : MARK_NONE;
}

static span_t ledger_uri_host(span_t uri)
{
    return span_upto(uri, span_find(uri, '/'));
}

/* "www.example.com:8080" and "[::1]:81" without their port. */
static span_t ledger_host_name(span_t host)
{
    size_t i = host.n;
    while (i > 0 && host.p[i - 1] >= '0' && host.p[i - 1] <= '9')
        i--;
    return i > 1 && i < host.n && host.p[i - 1] == ':' ? span_upto(host, i - 1) : host;
}

/* The patterns that name a host, one a call: itself, itself without port, "*.parent" for each parent, "*". */
static bool ledger_next_pattern(span_t host, unsigned *step, char *buf, size_t size, span_t *out)
{
    span_t name = ledger_host_name(host);
    unsigned i = (*step)++;
    if (i == 0)
        return *out = host, true;
    if (i == 1)
        return *out = name, true;
    if (i == 2)
        return *out = SPAN("*"), true;
    for (i -= 2; i > 0; i--) {
        size_t dot = span_find(name, '.');
        if (dot >= name.n)
            return false;
        name = span_from(name, dot + 1);
    }
    if (name.n + 2 > size) /* no site's pattern is that long; its parents may be */
        return ledger_next_pattern(host, step, buf, size, out);
    buf[0] = '*';
    buf[1] = '.';
    memcpy(buf + 2, name.p, name.n);
    return *out = span_of(buf, name.n + 2), true;
}

static mark_t ledger_sites_mark(const ledger_t *l, const ledger_subject_t *s, uint64_t after)
{
    mark_t m = MARK_NONE;
    char buf[512]; /* a host name has at most 253 bytes */
    span_t pattern, host = ledger_uri_host(s->uri);
    for (unsigned step = 0; m != MARK_HARD && ledger_next_pattern(host, &step, buf, sizeof buf, &pattern);) {
        if (l->last[LEDGER_SITE] > after)
            m = ledger_worse(m, ledger_value_mark(l, LEDGER_SITE, ledger_site_digest(pattern), 0, after));
        for (size_t i = 0; l->last[LEDGER_SITE_TAG] > after && i < s->tags_n; i++)
            m = ledger_worse(
                m, ledger_value_mark(l, LEDGER_SITE_TAG, ledger_site_tag_digest(pattern, s->tags[i]), 0, after));
    }
    return m;
}

/* Under the lock, shared or exclusive. */
static mark_t ledger_verdict(const ledger_t *l, const ledger_subject_t *s, uint64_t after)
{
    mark_t m = ledger_mark(&l->all, after);
    if (after < l->compacted) /* nothing like that should be left, and what was forgotten can't be told */
        m = MARK_HARD;
    if (m != MARK_HARD && l->last[LEDGER_URL] > after)
        m = ledger_worse(m, ledger_value_mark(l, LEDGER_URL, s->uri_digest, 0, after));
    if (m < MARK_STRICT && l->invalidated.last > after) {
        msec_t boot;
        if (invalidated_find(&l->invalidated, s->uri_digest, &boot) > after)
            m = MARK_STRICT;
        for (size_t i = 0; m < MARK_STRICT && i < s->tags_n; i++)
            if (invalidated_find(&l->invalidated, s->tags[i], &boot) > after)
                m = MARK_STRICT;
    }
    for (size_t i = 0; m != MARK_HARD && l->last[LEDGER_TAG] > after && i < s->tags_n; i++)
        m = ledger_worse(m, ledger_value_mark(l, LEDGER_TAG, s->tags[i], 0, after));
    if (m != MARK_HARD && l->last[LEDGER_HOST] > after) {
        span_t host = ledger_uri_host(s->uri), name = ledger_host_name(host);
        m = ledger_worse(m, ledger_value_mark(l, LEDGER_HOST, hash_digest(host), 0, after));
        if (name.n != host.n)
            m = ledger_worse(m, ledger_value_mark(l, LEDGER_HOST, hash_digest(name), 0, after));
    }
    for (size_t i = 0; m != MARK_HARD && l->last[LEDGER_PREFIX] > after && i < l->lengths_n; i++) {
        const prefix_length_t *p = &l->lengths[i];
        if (p->last > after && p->length <= s->uri.n)
            m = ledger_worse(
                m, ledger_value_mark(l, LEDGER_PREFIX, hash_digest(span_upto(s->uri, p->length)), p->length, after));
    }
    if (m != MARK_HARD && (l->last[LEDGER_SITE] > after || l->last[LEDGER_SITE_TAG] > after))
        m = ledger_worse(m, ledger_sites_mark(l, s, after));
    return m;
}

mark_t ledger_check(ledger_t *l, const ledger_subject_t *s, uint64_t began, uint64_t *upto)
{
    CHECK(pthread_rwlock_rdlock(&l->lock) == 0);
    uint64_t head = atomic_load_explicit(&l->head, memory_order_relaxed);
    /* a position that was never given is another ledger's: nothing is known about it */
    mark_t m = began > head ? MARK_HARD : ledger_verdict(l, s, began);
    pthread_rwlock_unlock(&l->lock);
    if (upto != NULL)
        *upto = head;
    return m;
}

void ledger_stamp_init(ledger_stamp_t *st, uint64_t began)
{
    ledger_stamp_restore(st, began, began, MARK_NONE);
}

void ledger_stamp_restore(ledger_stamp_t *st, uint64_t began, uint64_t checked_to, mark_t mark)
{
    st->began = began;
    atomic_init(&st->mark, (uint32_t)mark);
    atomic_init(&st->checked_to, checked_to > began ? checked_to : began);
}

void ledger_stamp_raise(ledger_stamp_t *st, mark_t mark)
{
    uint32_t old = atomic_load_explicit(&st->mark, memory_order_relaxed);
    while (old < (uint32_t)mark && !atomic_compare_exchange_weak_explicit(&st->mark, &old, (uint32_t)mark,
                                                                          memory_order_relaxed, memory_order_relaxed))
        ;
}

mark_t ledger_stamp_check(ledger_t *l, ledger_stamp_t *st, const ledger_subject_t *s)
{
    uint64_t done = atomic_load_explicit(&st->checked_to, memory_order_acquire);
    if (done != ledger_head(l)) {
        uint64_t upto;
        mark_t m = ledger_check(l, s, done, &upto);
        /* the verdict first: whoever sees the new checked_to sees it too */
        ledger_stamp_raise(st, m);
        while (done < upto && !atomic_compare_exchange_weak_explicit(&st->checked_to, &done, upto, memory_order_release,
                                                                     memory_order_relaxed))
            ;
    }
    return (mark_t)atomic_load_explicit(&st->mark, memory_order_relaxed);
}

mark_t ledger_stamp_look(ledger_t *l, const ledger_stamp_t *st, const ledger_subject_t *s)
{
    uint64_t upto, done = atomic_load_explicit(&st->checked_to, memory_order_acquire);
    mark_t known = (mark_t)atomic_load_explicit(&st->mark, memory_order_relaxed);
    mark_t since = done != ledger_head(l) ? ledger_check(l, s, done, &upto) : MARK_NONE;
    return since > known ? since : known;
}

ledger_strict_t ledger_strict(ledger_t *l, const ledger_subject_t *s, uint64_t began)
{
    CHECK(pthread_rwlock_rdlock(&l->lock) == 0);
    msec_t boot;
    uint64_t uri = invalidated_find(&l->invalidated, s->uri_digest, &boot), group = l->invalidated.displaced;
    for (size_t i = 0; i < s->tags_n; i++) {
        uint64_t at = invalidated_find(&l->invalidated, s->tags[i], &boot);
        group = at > group ? at : group;
    }
    bool gap = l->all.strict > began;
    pthread_rwlock_unlock(&l->lock);
    if (gap)
        return LEDGER_STRICT_GAP;
    /* a demand speaks of URIs alone: what came later for a group, or is forgotten, isn't in it */
    return uri > began && (group <= began || group < uri) ? LEDGER_STRICT_DEMANDED : LEDGER_STRICT_INVALIDATED;
}

/* ---- the tier ---- */

void ledger_demand(ledger_t *l, const ledger_subject_t *s, msec_t now_boot, ledger_demand_t *out)
{
    CHECK(pthread_rwlock_rdlock(&l->lock) == 0);
    out->cursor = l->cursor;
    msec_t newest = l->outside_n > 0 ? l->outside_boot : -1, boot = -1;
    if (l->gap && l->gap_boot > newest)
        newest = l->gap_boot;
    if (invalidated_find(&l->invalidated, s->uri_digest, &boot) != 0 && boot > newest)
        newest = boot;
    span_t host = ledger_uri_host(s->uri), name = ledger_host_name(host);
    const slot_t *found[3] = {ledger_slot(l, LEDGER_URL, s->uri_digest, 0),
                              ledger_slot(l, LEDGER_HOST, hash_digest(host), 0),
                              name.n != host.n ? ledger_slot(l, LEDGER_HOST, hash_digest(name), 0) : NULL};
    for (size_t i = 0; i < 3; i++)
        if (found[i] != NULL && found[i]->outside_n > 0 && found[i]->outside_boot > newest)
            newest = found[i]->outside_boot;
    for (size_t i = 0; i < l->lengths_n; i++) {
        uint32_t n = l->lengths[i].length;
        const slot_t *p = n <= s->uri.n ? ledger_slot(l, LEDGER_PREFIX, hash_digest(span_upto(s->uri, n)), n) : NULL;
        if (p != NULL && p->outside_n > 0 && p->outside_boot > newest)
            newest = p->outside_boot;
    }
    pthread_rwlock_unlock(&l->lock);
    out->newer_than = newest < 0 ? -1 : now_boot > newest ? now_boot - newest : 0;
}

void ledger_cursor(ledger_t *l, ledger_cursor_t *out)
{
    CHECK(pthread_rwlock_rdlock(&l->lock) == 0);
    *out = l->cursor;
    pthread_rwlock_unlock(&l->lock);
}

void ledger_set_cursor(ledger_t *l, const ledger_cursor_t *c)
{
    CHECK(pthread_rwlock_wrlock(&l->lock) == 0);
    l->cursor = *c;
    pthread_rwlock_unlock(&l->lock);
}

static bool ledger_by_uri(ledger_kind_t k)
{
    return k == LEDGER_URL || k == LEDGER_PREFIX || k == LEDGER_HOST;
}

static void ledger_outside_one(ledger_t *l, const ledger_value_t *v, slot_t *s, msec_t boot)
{
    if (s != NULL && ledger_by_uri(v->kind)) {
        s->outside_n++;
        if (boot > s->outside_boot || s->outside_n == 1)
            s->outside_boot = boot;
    } else {
        l->outside_n++;
    }
    /* While collapsed ones are outside, which of two entries of a value is confirmed can't be told: demand the newest
     * of all. */
    if ((s == NULL || !ledger_by_uri(v->kind) || l->outside_collapsed > 0) && boot > l->outside_boot)
        l->outside_boot = boot;
}

void ledger_outside(ledger_t *l, const ledger_value_t *values, size_t n, msec_t boot)
{
    CHECK(pthread_rwlock_wrlock(&l->lock) == 0);
    for (size_t i = 0; i < n; i++)
        ledger_outside_one(l, &values[i],
                           slots_find(&l->slots, slots_key(values[i].kind, values[i].digest, values[i].length)), boot);
    pthread_rwlock_unlock(&l->lock);
}

void ledger_confirm(ledger_t *l, const ledger_value_t *values, size_t n)
{
    CHECK(pthread_rwlock_wrlock(&l->lock) == 0);
    for (size_t i = 0; i < n; i++) {
        const ledger_value_t *v = &values[i];
        slot_t *s = ledger_by_uri(v->kind) ? slots_find(&l->slots, slots_key(v->kind, v->digest, v->length)) : NULL;
        if (s != NULL && s->outside_n > 0) {
            s->outside_n--;
        } else if (l->outside_n > 0) {
            l->outside_n--;
            if (ledger_by_uri(v->kind) && l->outside_collapsed > 0)
                l->outside_collapsed--;
            if (l->outside_n == 0) {
                l->outside_boot = 0;
                l->outside_collapsed = 0;
            }
        }
    }
    pthread_rwlock_unlock(&l->lock);
}

/* ---- appending ---- */

static void ledger_set_mark(ledger_marks_t *m, mark_t level, uint64_t position)
{
    uint64_t *at = level == MARK_HARD ? &m->hard : level == MARK_STRICT ? &m->strict : &m->soft;
    if (position > *at)
        *at = position;
}

/* The value's slot, made if it isn't there. */
static slot_t *ledger_put(ledger_t *l, const ledger_value_t *v, uint64_t position, ledger_collapse_t *out)
{
    bool fresh;
    prefix_length_t *p = v->kind == LEDGER_PREFIX ? ledger_room_length(l, v->length, out) : NULL;
    slot_t *s = slots_put(&l->slots, slots_key(v->kind, v->digest, v->length), &fresh);
    s->kind = (uint8_t)v->kind;
    s->length = v->length;
    if (p != NULL) {
        p->last = position > p->last ? position : p->last;
        p->n += fresh;
    }
    return s;
}

static void ledger_append_value(ledger_t *l, const ledger_entry_t *e, const ledger_value_t *v, uint64_t position,
                                ledger_collapse_t *out)
{
    l->last[v->kind] = position;
    slot_t *s = NULL;
    if (v->kind == LEDGER_ALL) {
        ledger_set_mark(&l->all, e->level, position);
    } else {
        s = ledger_put(l, v, position, out);
        ledger_set_mark(&s->marks, e->level, position);
    }
    if (e->outside)
        ledger_outside_one(l, v, s, e->boot);
}

uint64_t ledger_append(ledger_t *l, const ledger_entry_t *e, ledger_collapse_t *collapsed)
{
    static const ledger_value_t everything = {.kind = LEDGER_ALL};
    ledger_collapse_t none = {0}, *out = collapsed != NULL ? collapsed : &none;
    *out = none;
    CHECK(e->n == 0 || (e->level > MARK_NONE && e->level <= MARK_HARD));
    CHECK(pthread_rwlock_wrlock(&l->lock) == 0);
    uint64_t position = atomic_load_explicit(&l->head, memory_order_relaxed);
    if (e->n > 0) {
        position++;
        if (e->n > l->max_values) { /* more than the whole table: as good as everything */
            for (size_t i = 1; e->outside && i < e->n; i++)
                ledger_outside_one(l, &everything, NULL, e->boot); /* ledger_confirm counts values */
            ledger_append_value(l, e, &everything, position, out);
            l->outside_collapsed += e->outside ? e->n : 0;
        } else {
            ledger_room_make(l, e->n, out);
            for (size_t i = 0; i < e->n; i++)
                ledger_append_value(l, e, &e->values[i], position, out);
        }
    }
    if (e->gap && (!l->gap || e->boot > l->gap_boot))
        l->gap_boot = e->boot;
    l->gap |= e->gap;
    if (e->cursor != NULL)
        l->cursor = *e->cursor;
    atomic_store_explicit(&l->head, position, memory_order_release);
    pthread_rwlock_unlock(&l->lock);
    return position;
}

uint64_t ledger_invalidate(ledger_t *l, digest_t digest, msec_t now_boot)
{
    CHECK(pthread_rwlock_wrlock(&l->lock) == 0);
    uint64_t position = atomic_load_explicit(&l->head, memory_order_relaxed) + 1;
    invalidated_put(&l->invalidated, LEDGER_MAX_INVALIDATED, digest, position, now_boot);
    atomic_store_explicit(&l->head, position, memory_order_release);
    pthread_rwlock_unlock(&l->lock);
    return position;
}

void ledger_stats(ledger_t *l, ledger_stats_t *out)
{
    CHECK(pthread_rwlock_rdlock(&l->lock) == 0);
    *out = (ledger_stats_t){.head = atomic_load_explicit(&l->head, memory_order_relaxed),
                            .floor = l->floor,
                            .compacted = l->compacted,
                            .collapses = l->collapses,
                            .values = l->slots.n,
                            .max_values = l->max_values,
                            .bytes = sizeof *l + l->slots.cap * sizeof(slot_t) +
                                     l->invalidated.sets * 4 * sizeof *l->invalidated.v,
                            .lengths = l->lengths_n,
                            .invalidated = l->invalidated.n,
                            .outside = l->outside_n};
    pthread_rwlock_unlock(&l->lock);
}

/* ---- loading ---- */

void ledger_load_value(ledger_t *l, const ledger_value_t *v, const ledger_marks_t *m)
{
    ledger_collapse_t ignored = {0};
    uint64_t last = slots_last(m);
    ledger_room_make(l, 1, &ignored); /* the file may have more: it is cleared a while after the table */
    ledger_put(l, v, last, &ignored)->marks = *m;
    if (last > l->last[v->kind])
        l->last[v->kind] = last;
}

void ledger_load_all(ledger_t *l, const ledger_marks_t *all, uint64_t compacted)
{
    l->all = *all;
    l->compacted = compacted;
}

void ledger_load_head(ledger_t *l, uint64_t head)
{
    atomic_store_explicit(&l->head, head, memory_order_release);
}
