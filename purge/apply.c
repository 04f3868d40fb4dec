/* How a purge takes effect on this node: ledger first (in force from there on), then the journal, then whoever wants to
 * know.
 *
 * The same purge may come more than once: accepted here and read back, heard and read. The second time it moves only
 * the cursor, and from then on other nodes can be expected to have it. Which entry belongs to which heard message can't
 * be told when two messages are equal; it is enough to match the oldest, since each message was applied when it was
 * heard: skipping an entry is right as long as every message that was published is heard. So what was heard before a
 * subscription was lost is not matched. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "edge/base/clock.h"
#include "edge/base/log.h"
#include "edge/base/mem.h"
#include "edge/tbl/metrics.h"
#include "purge/purge_priv.h"

pending_t *apply_pending_new(uint64_t number, const char *json, size_t json_n, const message_compiled_t *c)
{
    pending_t *d = mem_zalloc(sizeof *d);
    now_t now = clock_now();
    d->number = number;
    d->wall = now.wall;
    d->boot = now.boot;
    d->json = mem_dup(json, json_n);
    d->json_n = json_n;
    d->n = c->n;
    d->values = mem_alloc((c->n > 0 ? c->n : 1) * sizeof *d->values);
    if (c->n > 0)
        memcpy(d->values, c->values, c->n * sizeof *d->values);
    list_init(&d->link);
    return d;
}

void apply_pending_free(pending_t *d)
{
    if (d == NULL)
        return;
    free(d->json);
    free(d->by);
    free(d->values);
    free(d);
}

void apply_count(purge_t *p, const message_t *m, purge_source_t source)
{
    size_t n[MESSAGE_KINDS] = {m->urls.n, m->tags.n, m->prefixes.n, m->hosts.n, m->everything, m->gap};
    for (int k = 0; k < MESSAGE_KINDS; k++)
        if (n[k] > 0)
            atomic_fetch_add_explicit(&p->count[k][source], n[k], memory_order_relaxed);
}

pending_t *apply_find(purge_t *p, uint64_t number)
{
    list_t *both[] = {&p->added, &p->outgoing};
    for (size_t i = 0; i < 2; i++)
        for (list_t *n = both[i]->next; n != both[i]; n = n->next)
            if (LIST_ITEM(n, pending_t, link)->number == number)
                return LIST_ITEM(n, pending_t, link);
    return NULL;
}

void apply_enqueue(purge_t *p, pending_t *d)
{
    list_push_back(d->id.ms != 0 ? &p->added : &p->outgoing, &d->link);
    atomic_fetch_add(&p->undelivered, 1);
    atomic_fetch_add(&p->undelivered_bytes, d->json_n + d->n * sizeof *d->values);
}

static journal_record_t apply_record(const pending_t *d)
{
    stream_id_t id = d->flags & JOURNAL_LOST ? d->lost : d->id;
    return (journal_record_t){.number = d->number,
                              .position = d->position,
                              .accepted = d->wall,
                              .ms = id.ms,
                              .seq = id.seq,
                              .flags = d->flags,
                              .by = span_str(d->by),
                              .json = span_of(d->json, d->json_n)};
}

void apply_lost(purge_t *p, pending_t *d)
{
    d->lost = d->id;
    d->id = (stream_id_t){0, 0};
    d->flags = (d->flags & ~(uint32_t)JOURNAL_DELIVERED) | JOURNAL_LOST;
    journal_record_t r = apply_record(d);
    journal_post(p->journal, &(journal_item_t){.record = &r});
}

void apply_delivered(purge_t *p, pending_t *d, stream_id_t id, bool read_back)
{
    bool fresh = d->id.ms == 0;
    d->id = id;
    d->flags = (d->flags & ~(uint32_t)JOURNAL_LOST) | JOURNAL_DELIVERED;
    if (fresh) {
        journal_record_t r = apply_record(d);
        journal_post(p->journal, &(journal_item_t){.record = &r});
        list_remove(&d->link);
        list_push_back(&p->added, &d->link);
        if (d->waiting != NULL) {
            submission_t *s = d->waiting;
            d->waiting = NULL;
            s->pending = NULL;
            s->id = id;
            submit_settled(p, s);
        }
    }
    if (!read_back)
        return;
    if (d->outside)
        ledger_confirm(p->ledger, d->values, d->n);
    list_remove(&d->link);
    atomic_fetch_sub(&p->undelivered, 1);
    atomic_fetch_sub(&p->undelivered_bytes, d->json_n + d->n * sizeof *d->values);
    apply_pending_free(d);
}

/* An entry that was trimmed before it could be read back won't come any more, and whoever missed it found the gap: it
 * is behind the cursor like those that did come. */
void apply_passed(purge_t *p)
{
    for (list_t *n = p->added.next, *next; n != &p->added; n = next) {
        pending_t *d = LIST_ITEM(n, pending_t, link);
        next = n->next;
        if (stream_id_cmp(d->id, purge_cursor_id(p)) <= 0)
            apply_delivered(p, d, d->id, true);
    }
}

void apply_cursor(purge_t *p)
{
    ledger_append(p->ledger, &(ledger_entry_t){.cursor = &p->cursor.at}, NULL);
    journal_post(p->journal, &(journal_item_t){.cursor = &p->cursor});
}

/* ---- gaps ---- */

static const ledger_value_t apply_everything = {.kind = LEDGER_ALL};

static void apply_tell(purge_t *p, uint64_t position, mark_t level)
{
    if (p->o.sink.applied != NULL)
        p->o.sink.applied(p->o.sink.ctx, position, level);
}

static mark_t apply_gap_level(const purge_t *p)
{
    return p->o.on_gap == PURGE_GAP_FLUSH ? MARK_HARD : p->o.on_gap == PURGE_GAP_REVALIDATE ? MARK_STRICT : MARK_NONE;
}

static void apply_gap_seen(purge_t *p, const char *why)
{
    static const char *const then[] = {"everything stored is validated before it is used again",
                                       "everything stored is dropped", "ignored, as configured"};
    atomic_fetch_add(&p->gaps, 1);
    atomic_fetch_add(&p->count[MESSAGE_GAP][PURGE_FROM_NODE], 1);
    log_warn("purges may have been lost: %s; %s", why, then[p->o.on_gap]);
}

static void apply_gap_done(purge_t *p, const char *why)
{
    if (p->o.sink.gap != NULL)
        p->o.sink.gap(p->o.sink.ctx, p->o.on_gap, why);
}

static const char apply_gap_json[] = "{\"gap\":true}";

bool apply_is_gap(span_t json)
{
    return span_eq(json, SPAN(apply_gap_json));
}

void apply_gap(purge_t *p, const char *why, bool tell_others)
{
    mark_t level = apply_gap_level(p);
    uint64_t position = ledger_head(p->ledger), number = 0;
    apply_gap_seen(p, why);
    pending_t *d = NULL;
    if (tell_others) {
        number = atomic_fetch_add(&p->next_number, 1);
        message_compiled_t c = {.values = (ledger_value_t *)&apply_everything, .n = level != MARK_NONE};
        d = apply_pending_new(number, apply_gap_json, sizeof apply_gap_json - 1, &c);
    }
    journal_item_t item = {.level = level};
    if (level != MARK_NONE) {
        ledger_entry_t e = {.level = level,
                            .values = &apply_everything,
                            .n = 1,
                            .outside = purge_has_redis(p) && tell_others,
                            .gap = purge_has_redis(p) && !tell_others, /* nothing will come back of it */
                            .boot = clock_now().boot};
        position = ledger_append(p->ledger, &e, &item.collapse);
        item.values = &apply_everything;
        item.n = 1;
        item.position = position;
        apply_tell(p, position, level);
    }
    journal_record_t r;
    if (d != NULL) {
        d->position = position;
        d->outside = level != MARK_NONE && purge_has_redis(p);
        r = apply_record(d);
        item.record = &r;
    }
    journal_post(p->journal, &item);
    if (d != NULL)
        apply_enqueue(p, d);
    apply_gap_done(p, why);
}

void apply_baseline(purge_t *p)
{
    journal_item_t item = {.level = MARK_STRICT, .values = &apply_everything, .n = 1, .cursor = &p->cursor};
    ledger_entry_t e = {.level = MARK_STRICT, .values = &apply_everything, .n = 1, .cursor = &p->cursor.at};
    item.position = ledger_append(p->ledger, &e, &item.collapse);
    journal_post(p->journal, &item);
    apply_tell(p, item.position, MARK_STRICT);
}

/* ---- entries of the stream ---- */

static pending_t *apply_own(purge_t *p, const stream_entry_t *e)
{
    size_t slash = e->by.n;
    if (e->life.n > 0 && !span_eq(e->life, span_str(p->instance)))
        return NULL;
    while (slash > 0 && e->by.p[slash - 1] != '/')
        slash--;
    if (slash < 2 || !span_eq(span_upto(e->by, slash - 1), span_str(p->o.node)) || e->by.n - slash > 19)
        return NULL;
    uint64_t number = 0;
    for (size_t i = slash; i < e->by.n; i++) {
        if (e->by.p[i] < '0' || e->by.p[i] > '9')
            return NULL;
        number = number * 10 + (uint64_t)(e->by.p[i] - '0');
    }
    pending_t *d = apply_find(p, number);
    /* the same number of another life of this node is another purge */
    return d != NULL && d->by == NULL && span_eq(e->purge, span_of(d->json, d->json_n)) ? d : NULL;
}

static pending_t *apply_heard_before(purge_t *p, const stream_entry_t *e)
{
    list_t *both[] = {&p->added, &p->outgoing};
    if (!e->heard || e->again.ms != 0)
        return NULL;
    for (size_t i = 0; i < 2; i++)
        for (list_t *n = both[i]->next; n != both[i]; n = n->next) {
            pending_t *d = LIST_ITEM(n, pending_t, link);
            if (d->matchable && d->id.ms == 0 && span_eq(e->purge, span_of(d->json, d->json_n)))
                return d;
        }
    return NULL;
}

/* What this node has entered again for another one says its name and not ours: known by its ID. What it still waits to
 * enter again, and another node was quicker with, by the one that it stands for. */
static pending_t *apply_entered(purge_t *p, const stream_entry_t *e)
{
    for (list_t *n = p->added.next; n != &p->added; n = n->next)
        if (stream_id_cmp(LIST_ITEM(n, pending_t, link)->id, e->id) == 0)
            return LIST_ITEM(n, pending_t, link);
    for (list_t *n = p->outgoing.next; e->again.ms != 0 && n != &p->outgoing; n = n->next) {
        pending_t *d = LIST_ITEM(n, pending_t, link);
        if (stream_id_cmp(d->lost, e->again) == 0 && span_eq(e->purge, span_of(d->json, d->json_n)))
            return d;
    }
    return NULL;
}

/* It has been in force since it came first. A later loss must not find it missing under the ID that it had before. */
static void apply_again(purge_t *p, const stream_entry_t *e, const repeat_t *known)
{
    repeat_t r = *known;
    journal_record_t record = {.number = r.number,
                               .position = r.position,
                               .accepted = r.accepted,
                               .ms = e->id.ms,
                               .seq = e->id.seq,
                               .flags = (r.flags & ~(uint32_t)JOURNAL_LOST) | JOURNAL_DELIVERED,
                               .by = r.flags & (JOURNAL_OWN | JOURNAL_HEARD) ? SPAN_NONE : e->by,
                               .json = e->purge};
    repeat_add(p, e, &r);
    ledger_append(p->ledger, &(ledger_entry_t){.cursor = &p->cursor.at}, NULL);
    journal_post(p->journal, &(journal_item_t){.cursor = &p->cursor, .record = &record});
}

static void apply_unreadable(purge_t *p, const stream_entry_t *e, const char *why)
{
    char id[STREAM_ID_TEXT];
    atomic_fetch_add(&p->malformed, 1);
    log_warn("entry %s of stream %s is no purge: %s", redis_reply_id_text(e->id, id), p->o.stream, why);
    apply_cursor(p);
    if (e->by.n > 0) /* a node meant something by it, perhaps a newer one */
        apply_gap(p, "an entry of another node can't be read", false);
}

/* IDs are times of the Redis server; where clocks differ by more than a purge takes, the least is nothing. */
static void apply_measure(stream_id_t id)
{
    msec_t since = clock_now().wall - (msec_t)id.ms;
    metrics_observe(METRIC_PURGE_EFFECT, 0, since > 0 ? since * 1000000 : 0);
}

static void apply_new(purge_t *p, const stream_entry_t *e, const message_t *m, arena_t *a)
{
    message_compiled_t c;
    span_t bad;
    if (message_compile(m, p->o.normalise, p->o.normalise_ctx, true, a, &c, &bad) != ERR_OK) {
        apply_unreadable(p, e, "too large");
        return;
    }
    if (c.left_out > 0)
        log_warn("%zu URLs of a purge can't be URLs of any site, and purge nothing", c.left_out);
    if (m->gap) {
        c.level = apply_gap_level(p);
        c.n = c.level != MARK_NONE ? c.n : 0;
        apply_gap_seen(p, "a node entered a gap into the stream");
    }
    ledger_entry_t entry = {
        .level = c.level, .values = c.values, .n = c.n, .boot = p->loop.now.boot, .cursor = &p->cursor.at};
    journal_item_t item = {.values = c.values, .n = c.n, .level = c.level, .cursor = &p->cursor};
    apply_count(p, m,
                e->by.n > 0 ? PURGE_FROM_NODE : PURGE_FROM_STREAM); /* before: who sees the effect sees the count */
    item.position = ledger_append(p->ledger, &entry, &item.collapse);
    apply_measure(e->id);
    journal_record_t r = {.number = atomic_fetch_add(&p->next_number, 1),
                          .position = item.position,
                          .accepted = clock_now().wall,
                          .ms = e->id.ms,
                          .seq = e->id.seq,
                          .flags = JOURNAL_DELIVERED,
                          .by = e->by,
                          .json = e->purge};
    item.record = &r;
    journal_post(p->journal, &item);
    repeat_add(p, e, &(repeat_t){.number = r.number, .position = r.position, .accepted = r.accepted, .flags = r.flags});
    if (c.n > 0)
        apply_tell(p, item.position, c.level);
    if (m->gap)
        apply_gap_done(p, "a node entered a gap into the stream");
}

void apply_entry(purge_t *p, const stream_entry_t *e)
{
    p->cursor.at.ms = e->id.ms;
    p->cursor.at.seq = e->id.seq;
    p->cursor.entries_added++;
    if (e->purge.p == NULL) {
        apply_unreadable(p, e, "it has no field `purge`");
        return;
    }
    pending_t *d = apply_entered(p, e);
    if (d == NULL)
        d = apply_own(p, e);
    if (d == NULL)
        d = apply_heard_before(p, e);
    if (d != NULL) {
        apply_cursor(p); /* first the cursor, then no longer outside: a demand in between has both */
        repeat_add(p, e,
                   &(repeat_t){.number = d->number, .position = d->position, .accepted = d->wall, .flags = d->flags});
        apply_delivered(p, d, e->id, true);
        return;
    }
    const repeat_t *known = repeat_find(p, e);
    if (known != NULL) {
        apply_again(p, e, known);
        return;
    }
    arena_t a;
    message_t m;
    message_error_t err;
    arena_init(&a, 0);
    if (message_parse(e->purge, MESSAGE_FROM_STREAM, &a, &m, &err) != ERR_OK)
        apply_unreadable(p, e, err.text);
    else
        apply_new(p, e, &m, &a);
    arena_release(&a);
}

/* ---- messages of the channel ---- */

void apply_heard(purge_t *p, span_t payload)
{
    arena_t a;
    message_t m;
    message_error_t err;
    message_compiled_t c;
    span_t bad;
    size_t n = 0;
    arena_init(&a, 0);
    if (message_parse_payload(payload, &a, &m, &err) != ERR_OK) {
        atomic_fetch_add(&p->malformed, 1);
        log_warn("message on channel %s is no purge: %s", p->o.channel, err.text);
        arena_release(&a);
        return;
    }
    char *json = message_format(&m, &n);
    if (json != NULL && message_compile(&m, p->o.normalise, p->o.normalise_ctx, true, &a, &c, &bad) == ERR_OK) {
        if (c.left_out > 0)
            log_warn("%zu URLs of a purge can't be URLs of any site, and purge nothing", c.left_out);
        pending_t *d = apply_pending_new(atomic_fetch_add(&p->next_number, 1), json, n, &c);
        ledger_entry_t entry = {.level = c.level, .values = c.values, .n = c.n, .outside = true, .boot = d->boot};
        journal_item_t item = {.values = c.values, .n = c.n, .level = c.level};
        d->outside = c.n > 0;
        d->flags = JOURNAL_HEARD;
        d->matchable = true;
        apply_count(p, &m, PURGE_FROM_CHANNEL);
        d->position = item.position = ledger_append(p->ledger, &entry, &item.collapse);
        journal_record_t r = apply_record(d);
        item.record = &r;
        journal_post(p->journal, &item);
        bool full = atomic_load(&p->undelivered) >= PURGE_MAX_UNDELIVERED ||
                    atomic_load(&p->undelivered_bytes) >= PURGE_MAX_UNDELIVERED_BYTES;
        apply_enqueue(p, d);
        if (c.n > 0)
            apply_tell(p, d->position, c.level);
        if (full) { /* only the stream itself can have stopped taking entries: say the one thing that covers them all */
            apply_gap(p, "more messages were heard than could be entered into the stream", true); /* before they go */
            while (!list_empty(&p->outgoing)) {
                pending_t *old = LIST_ITEM(p->outgoing.next, pending_t, link);
                if (!(old->flags & JOURNAL_HEARD) || old->in_flight)
                    break;
                stream_id_t none = {0, 0};
                old->id.ms = 1; /* forget it without a word to the journal */
                apply_delivered(p, old, none, true);
            }
        }
    }
    free(json);
    arena_release(&a);
}
