/* Reading the log of record, exactly the entries after the cursor, and noticing when some are missing.
 *
 * Each read is one MULTI: XRANGE after the cursor, and XINFO at the same instant. A reply that isn't full has reached
 * the end, and then the stream's `entries-added` must have grown by exactly the entries that were read; trimming and
 * deletion, also while connected, show as a difference. XREAD BLOCK is only the alarm clock: what it brings can't be
 * counted, and whoever had applied it would speak for an entry before it that was trimmed.
 *
 * A server with another run_id is another history until shown otherwise: it must still have the entry at the cursor (or
 * end there). If it hasn't, that is a gap; reading goes on from the last entry that both know, and what this node
 * applied in the last hour and the stream lacks is entered again (outbox.c).
 *
 * Gaps are not: whoever reads the stream after a loss finds one itself. Except where the loss was only of the end: a
 * node that was away since before it finds nothing missing, so the latest lost gap is entered again, which covers all
 * earlier ones. (What others have entered again by the time this node looks says nothing of the end.) */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "edge/base/log.h"
#include "edge/base/mem.h"
#include "purge/purge_priv.h"

enum {
    STREAM_BLOCK = 1000,
    STREAM_BLOCK_SOON = 50, /* as long as it isn't known whether that is all */
    STREAM_PROBES = 2000,
    STREAM_SETTLE = 1000, /* ms that a loss, which is rare, waits for the disk */
    STREAM_BACKLOG = 8 * 1024 * 1024
};

static void stream_read(purge_t *p);

static span_t stream_name(const purge_t *p)
{
    return span_str(p->o.stream);
}

static void stream_multi(purge_t *p, redis_conn_fn *fn, int argc, const span_t *range)
{
    redis_conn_t *c = &p->stream_conn;
    redis_conn_send(c, PURGE_COMMAND_LIMIT, service_ignore, p, 1, (span_t[]){SPAN("MULTI")});
    redis_conn_send(c, PURGE_COMMAND_LIMIT, service_ignore, p, argc, range);
    redis_conn_send(c, PURGE_COMMAND_LIMIT, service_ignore, p, 3,
                    (span_t[]){SPAN("XINFO"), SPAN("STREAM"), stream_name(p)});
    redis_conn_send(c, PURGE_COMMAND_LIMIT, fn, p, 1, (span_t[]){SPAN("EXEC")});
}

/* The two replies of such a MULTI. NULL: connection failed. */
static const redisReply *stream_exec(purge_t *p, const redisReply *r, stream_info_t *info)
{
    if (r == NULL)
        return NULL;
    if (r->type == REDIS_REPLY_ARRAY && r->elements == 2 && r->element[0]->type == REDIS_REPLY_ARRAY &&
        redis_reply_stream_info(r->element[1], info) == ERR_OK)
        return r->element[0];
    const redisReply *bad = r->type == REDIS_REPLY_ARRAY && r->elements > 0 ? r->element[0] : r;
    if (bad->type == REDIS_REPLY_ERROR)
        log_error("redis %s: stream %s can't be read: %s", p->o.redis.shown, p->o.stream, bad->str);
    else
        log_error("redis %s: XRANGE and XINFO STREAM %s gave what no Redis 7.0 gives", p->o.redis.shown, p->o.stream);
    redis_conn_fail(&p->stream_conn, "the stream can't be read");
    return NULL;
}

/* ---- caught up ---- */

static void stream_seen(purge_t *p, const stream_info_t *info)
{
    uint64_t at = p->cursor.at.ms;
    atomic_store(&p->lag, info->exists && info->last.ms > at ? (int64_t)(info->last.ms - at) : 0);
    atomic_store(&p->lag_at, p->loop.now.boot);
}

void stream_ready(purge_t *p)
{
    if (!atomic_exchange(&p->ready, true))
        log_info("the purge log is caught up with");
    atomic_store(&p->doubt, false);
}

/* Applies entries behind the cursor. False: they are none, and the connection has been failed. */
static bool stream_take(purge_t *p, const redisReply *entries)
{
    for (size_t i = 0; i < entries->elements; i++) {
        stream_entry_t e;
        if (redis_reply_entry(entries->element[i], &e) != ERR_OK || stream_id_cmp(e.id, purge_cursor_id(p)) <= 0) {
            redis_conn_fail(&p->stream_conn, "the stream's entries are what no Redis 7.0 gives");
            return false;
        }
        apply_entry(p, &e);
    }
    return true;
}

static void stream_woken(void *ctx, const redisReply *r)
{
    purge_t *p = ctx;
    if (r == NULL)
        return;
    if (r->type == REDIS_REPLY_ERROR) {
        log_error("redis %s: XREAD of %s: %s", p->o.redis.shown, p->o.stream, r->str);
        redis_conn_fail(&p->stream_conn, r->str);
        return;
    }
    stream_read(p);
}

static void stream_wait(purge_t *p)
{
    char id[STREAM_ID_TEXT], block[16];
    snprintf(block, sizeof block, "%d", p->trusted ? STREAM_BLOCK : STREAM_BLOCK_SOON);
    redis_reply_id_text(purge_cursor_id(p), id);
    redis_conn_send(&p->stream_conn, STREAM_BLOCK + PURGE_COMMAND_LIMIT, stream_woken, p, 8,
                    (span_t[]){SPAN("XREAD"), SPAN("BLOCK"), span_str(block), SPAN("COUNT"), SPAN("1"), SPAN("STREAMS"),
                               stream_name(p), span_str(id)});
}

static void stream_at_end(purge_t *p)
{
    if (!p->caught_up) {
        p->caught_up = true;
        receipts_up(p);
        outbox_run(p);
    }
    if (!p->trusted && channel_settled(p) && p->name_checked) {
        p->trusted = true;
        stream_ready(p);
    }
    if (!p->trusted)
        channel_ask(p);
    p->disconnected_since = 0;
    p->ended = purge_cursor_id(p);
    apply_passed(p);
    if (stream_id_cmp(p->receipt_of, purge_cursor_id(p)) != 0)
        receipts_applied(p);
    catchup_run(p);
    stream_wait(p);
}

/* ---- reading ---- */

static void stream_gap(purge_t *p, const char *why, const stream_info_t *info)
{
    p->cursor.at.ms = info->last.ms;
    p->cursor.at.seq = info->last.seq;
    p->cursor.entries_added = info->entries_added;
    apply_gap(p, why, false); /* before the cursor: a crash in between finds the gap again */
    apply_cursor(p);
}

static void stream_lost(purge_t *p, const stream_info_t *info);

static void stream_got(void *ctx, const redisReply *r)
{
    purge_t *p = ctx;
    stream_info_t info;
    const redisReply *entries = stream_exec(p, r, &info);
    if (entries == NULL)
        return;
    if (stream_id_cmp(info.last, purge_cursor_id(p)) < 0 ||
        (!p->added_unknown && info.entries_added < p->cursor.entries_added)) {
        stream_lost(p, &info);
        return;
    }
    if (!stream_take(p, entries))
        return;
    stream_seen(p, &info);
    if (entries->elements >= PURGE_READ_COUNT) {
        receipts_applied(p);
        catchup_run(p);
        stream_read(p);
        return;
    }
    if (!p->added_unknown && p->cursor.entries_added > info.entries_added) {
        stream_lost(p, &info); /* more was read than the stream has grown by: others have begun to fill a new one */
        return;
    }
    if (p->added_unknown) {
        p->added_unknown = false;
        p->cursor.entries_added = info.entries_added;
        apply_cursor(p);
    } else if (p->cursor.entries_added != info.entries_added) {
        stream_gap(p, "entries left the stream before they were read", &info);
    }
    stream_at_end(p);
}

static void stream_read(purge_t *p)
{
    char from[STREAM_ID_TEXT + 1] = "(", count[16];
    redis_reply_id_text(purge_cursor_id(p), from + 1);
    snprintf(count, sizeof count, "%d", PURGE_READ_COUNT);
    if (journal_backlog(p->journal) >
        STREAM_BACKLOG) { /* far behind: the disk sets the pace; try again a moment later */
        redis_conn_send(&p->stream_conn, PURGE_COMMAND_LIMIT, stream_woken, p, 1, (span_t[]){SPAN("PING")});
        return;
    }
    stream_multi(p, stream_got, 6,
                 (span_t[]){SPAN("XRANGE"), stream_name(p), span_str(from), SPAN("+"), SPAN("COUNT"), span_str(count)});
}

/* ---- another history ---- */

typedef struct probe {
    purge_t *p;
    pending_t *d; /* the record, to be entered again if the stream lacks it */
    stream_id_t id;
} probe_t;

static void stream_probes_done(purge_t *p)
{
    stream_id_t at = p->probe_best;
    if (at.ms == 0 && at.seq == 0) /* nothing in common: IDs are times, so what lies behind the cursor came later */
        at = stream_id_cmp(p->probe_info.last, purge_cursor_id(p)) < 0 ? p->probe_info.last : purge_cursor_id(p);
    p->cursor.at.ms = at.ms;
    p->cursor.at.seq = at.seq;
    memcpy(p->cursor.at.run_id, p->stream_conn.run_id, sizeof p->cursor.at.run_id);
    p->added_unknown = true;
    apply_cursor(p);
    if (p->probe_gap != NULL && p->probe_common) {
        apply_lost(p, p->probe_gap);
        apply_enqueue(p, p->probe_gap);
    } else {
        apply_pending_free(p->probe_gap);
    }
    p->probe_gap = NULL;
    if (p->probes_missing > 0)
        log_warn("%zu purges of the last hour are missing in stream %s and are entered again", p->probes_missing,
                 p->o.stream);
    stream_read(p);
}

static void stream_probed(void *ctx, const redisReply *r)
{
    probe_t *b = ctx;
    purge_t *p = b->p;
    p->probes--;
    bool there = r != NULL && r->type == REDIS_REPLY_ARRAY && r->elements == 1;
    if (there && stream_id_cmp(b->id, p->probe_best) > 0)
        p->probe_best = b->id;
    if (there && stream_id_cmp(b->id, p->ended) <= 0)
        p->probe_common = true;
    const stream_info_t *info = &p->probe_info;
    bool trimmed = info->first.ms != 0 && stream_id_cmp(b->id, info->first) < 0 && info->entries_added > info->length;
    if (r != NULL && !there && !trimmed && apply_is_gap(span_of(b->d->json, b->d->json_n))) {
        b->d->id = b->id;
        apply_pending_free(p->probe_gap); /* at most one was kept */
        p->probe_gap = b->d;
    } else if (r != NULL && !there && !trimmed) {
        p->probes_missing++;
        b->d->id = b->id;
        apply_lost(p, b->d);
        apply_enqueue(p, b->d);
    } else {
        apply_pending_free(b->d);
    }
    free(b);
    if (p->probes == 0 && r != NULL)
        stream_probes_done(p);
}

typedef struct probe_list {
    purge_t *p;
    probe_t *v[STREAM_PROBES];
    size_t n;
    probe_t *gap; /* the latest */
} probe_list_t;

static void stream_probe_free(probe_t *b)
{
    if (b != NULL)
        apply_pending_free(b->d);
    free(b);
}

static bool stream_collect(void *ctx, const journal_record_t *r)
{
    probe_list_t *l = ctx;
    if (r->ms == 0 || r->json.n == 0)
        return true;
    probe_t *b = mem_zalloc(sizeof *b);
    b->p = l->p;
    b->id = (stream_id_t){r->ms, r->seq};
    message_compiled_t none = {0};
    b->d = apply_pending_new(r->number, r->json.p, r->json.n, &none);
    b->d->flags = r->flags & ~(uint32_t)JOURNAL_DELIVERED;
    b->d->position = r->position;
    b->d->wall = r->accepted;
    if (!(r->flags & (JOURNAL_OWN | JOURNAL_HEARD)) && r->by.n > 0)
        b->d->by = mem_dup(r->by.p, r->by.n);
    if (apply_is_gap(r->json)) {
        bool later = l->gap == NULL || stream_id_cmp(b->id, l->gap->id) > 0;
        stream_probe_free(later ? l->gap : b);
        l->gap = later ? b : l->gap;
        return true;
    }
    size_t at = l->n++ % STREAM_PROBES; /* the latest are what a restart can have lost */
    stream_probe_free(l->v[at]);
    l->v[at] = b;
    return true;
}

/* What had been entered, and waits to be read back, may be lost as well: back to the outbox, where it is asked first
 * whether it is still there. */
static void stream_unsettle(purge_t *p)
{
    for (list_t *n; (n = p->added.next) != &p->added;) {
        pending_t *d = LIST_ITEM(n, pending_t, link);
        if (apply_is_gap(span_of(d->json, d->json_n))) {
            apply_delivered(p, d, d->id, true); /* the gap that this loss is covers it */
            continue;
        }
        list_remove(n);
        apply_lost(p, d);
        list_push_back(&p->outgoing, &d->link);
    }
}

static void stream_lost(purge_t *p, const stream_info_t *info)
{
    p->caught_up = p->trusted = false;
    receipts_lost(p);
    p->probe_info = *info;
    p->probe_best = (stream_id_t){0, 0};
    p->probe_common = false;
    p->probes_missing = p->probes = 0;
    apply_pending_free(p->probe_gap);
    p->probe_gap = NULL;
    apply_gap(p, "the stream lacks what this node has applied (Redis lost data, or is another one)", false);
    stream_unsettle(p);
    probe_list_t *l = mem_zalloc(sizeof *l);
    l->p = p;
    journal_settle(p->journal, STREAM_SETTLE); /* also what was applied just now */
    journal_records(p->journal, stream_collect, l);
    size_t n = l->n < STREAM_PROBES ? l->n : STREAM_PROBES;
    p->probes = n + (l->gap != NULL);
    for (size_t i = 0; i <= n; i++) {
        probe_t *b = i < n ? l->v[(l->n - n + i) % STREAM_PROBES] : l->gap;
        if (b == NULL)
            break;
        char id[STREAM_ID_TEXT];
        redis_reply_id_text(b->id, id);
        bool known = apply_find(p, b->d->number) != NULL; /* waits in the outbox anyway */
        if (known || !redis_conn_send(&p->stream_conn, PURGE_COMMAND_LIMIT * 5, stream_probed, b, 4,
                                      (span_t[]){SPAN("XRANGE"), stream_name(p), span_str(id), span_str(id)})) {
            p->probes--;
            stream_probe_free(b);
        }
    }
    free(l);
    if (p->probes == 0)
        stream_probes_done(p);
}

static void stream_first(purge_t *p, const stream_info_t *info)
{
    p->cursor.at.ms = info->last.ms;
    p->cursor.at.seq = info->last.seq;
    memcpy(p->cursor.at.run_id, p->stream_conn.run_id, sizeof p->cursor.at.run_id);
    p->cursor.entries_added = info->entries_added;
    p->has_cursor = true;
    if (p->stored_objects)
        apply_gap(p, "there are stored objects, but no cursor into the stream", false);
    /* whatever was fetched before the cursor was read may have missed an entry before it */
    apply_baseline(p);
    stream_at_end(p);
}

static void stream_checked(void *ctx, const redisReply *r)
{
    purge_t *p = ctx;
    stream_info_t info;
    const redisReply *at = stream_exec(p, r, &info);
    if (at == NULL)
        return;
    bool same = strcmp(p->cursor.at.run_id, p->stream_conn.run_id) == 0;
    stream_id_t cursor = p->ended = purge_cursor_id(p);
    if (!p->has_cursor) {
        stream_first(p, &info);
        return;
    }
    bool begins = cursor.ms == 0 && cursor.seq == 0; /* the stream was empty when it was last read */
    bool ends = stream_id_cmp(info.last, cursor) == 0 && info.entries_added == p->cursor.entries_added;
    if (stream_id_cmp(info.last, cursor) < 0 || (!same && !begins && !ends && at->elements == 0)) {
        stream_lost(p, &info);
        return;
    }
    memcpy(p->cursor.at.run_id, p->stream_conn.run_id, sizeof p->cursor.at.run_id);
    apply_cursor(p);
    stream_read(p);
}

void stream_up(purge_t *p)
{
    char id[STREAM_ID_TEXT];
    p->caught_up = p->trusted = false;
    log_info("redis %s connected", p->o.redis.shown);
    redis_reply_id_text(purge_cursor_id(p), id);
    stream_multi(p, stream_checked, 4, (span_t[]){SPAN("XRANGE"), stream_name(p), span_str(id), span_str(id)});
}

void stream_down(purge_t *p)
{
    p->caught_up = p->trusted = false;
    if (p->disconnected_since == 0)
        p->disconnected_since = p->loop.now.boot;
}

/* ---- without Redis ---- */

void stream_tick(purge_t *p)
{
    msec_t now = p->loop.now.boot;
    bool deaf = p->caught_up && !channel_settled(p);
    bool unnamed = p->caught_up && !p->name_checked && p->foreign_at[0] == '\0'; /* receipts can't be written */
    if (!atomic_load(&p->ready) && (deaf || unnamed || !redis_conn_up(&p->stream_conn)) &&
        now - p->started_boot >= p->o.start_without_redis) {
        log_warn("redis %s can't be %s; the node goes on without it", p->o.redis.shown,
                 deaf ? "listened to" : "reached");
        apply_gap(p, deaf ? "the node started without the channel" : "the node started without Redis", false);
        stream_ready(p);
    }
    if (atomic_load(&p->ready) && p->o.max_disconnected != MSEC_NEVER && p->disconnected_since != 0 &&
        now - p->disconnected_since >= p->o.max_disconnected && p->o.on_gap != PURGE_GAP_IGNORE &&
        !atomic_load(&p->doubt)) {
        apply_gap(p, "Redis has been away for longer than max_disconnected", false);
        atomic_store(&p->doubt, true);
    }
}
