/* From acceptance to answer. A purge is in force when purge_submit returns; its answer waits for the journal, then a
 * little for Redis, then, if asked, for the fleet. Two messages go to the purge thread: the purge itself, and the
 * journal's word. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "edge/base/clock.h"
#include "edge/base/mem.h"
#include "edge/tbl/metrics.h"
#include "purge/purge_priv.h"

static void submit_release(submission_t *s)
{
    if (s->unsettled > 0 || !s->answered)
        return;
    atomic_fetch_sub(&s->p->waiters, 1);
    free((char *)s->receipt_id.p);
    free(s);
}

/* ---- the answer ---- */

static size_t submit_nodes(purge_t *p, const submission_t *s, purge_node_state_t *out)
{
    size_t n = 0;
    bool self = false;
    for (size_t i = 0; i < p->nodes_n; i++) {
        known_node_t *k = &p->nodes[i];
        bool me = strcmp(k->name, p->o.node) == 0;
        msec_t seen = s->boot;
        bool has = me || (s->delivered && receipts_has(k, s->id, &seen));
        double ms = me ? s->here_ms : seen > s->boot ? (double)(seen - s->boot) : 0;
        out[n++] = (purge_node_state_t){.name = k->name, .applied_ms = has ? ms : -1, .live = k->live || me};
        self |= me;
    }
    if (!self)
        out[n++] = (purge_node_state_t){.name = p->o.node, .applied_ms = s->here_ms, .live = true};
    return n;
}

static void submit_answer(purge_t *p, submission_t *s, err_t e)
{
    if (s->answered)
        return;
    purge_outcome_t o = {.err = e,
                         .sequence = s->position,
                         .in_redis = s->delivered,
                         .pending = purge_has_redis(p) && !s->delivered,
                         .accepted_wall = s->wall};
    if (s->delivered)
        redis_reply_id_text(s->id, o.id);
    else
        snprintf(o.id, sizeof o.id, "journal:%s:%" PRIu64, p->o.node, s->number);
    purge_node_state_t *nodes = NULL;
    if (s->wait != MESSAGE_WAIT_NONE) {
        nodes = mem_alloc((p->nodes_n + 1) * sizeof *nodes);
        o.nodes_n = submit_nodes(p, s, nodes);
        for (size_t i = 0; s->wait == MESSAGE_WAIT_LOCAL && i < o.nodes_n; i++)
            if (strcmp(nodes[i].name, p->o.node) == 0) {
                nodes[0] = nodes[i];
                o.nodes_n = 1;
            }
        o.nodes = nodes;
    }
    s->answered = true;
    if (s->pending != NULL)
        s->pending->waiting = NULL;
    s->pending = NULL;
    list_remove(&s->link);
    s->done(s->ctx, &o);
    free(nodes);
    submit_release(s);
}

static bool submit_fleet_has(purge_t *p, const submission_t *s)
{
    msec_t seen;
    if (p->polled_at < s->boot) /* what is known of the fleet is older than the purge */
        return false;
    for (size_t i = 0; i < p->nodes_n; i++)
        if (p->nodes[i].live && strcmp(p->nodes[i].name, p->o.node) != 0 && !receipts_has(&p->nodes[i], s->id, &seen))
            return false;
    return true;
}

/* Could Redis take a purge now, or within moments? (One connection to it is up, so the others are on their way.) */
static bool submit_redis_near(const purge_t *p)
{
    return purge_commands(p) || redis_conn_up(&p->stream_conn) || redis_conn_up(&p->command_conn);
}

static void submit_evaluate(purge_t *p, submission_t *s)
{
    msec_t now = p->loop.now.boot;
    if (s->answered || s->receipt_id.p != NULL || !s->journal_known)
        return;
    if (s->journal_err != ERR_OK) {
        submit_answer(p, s, s->journal_err);
        return;
    }
    bool fleet = s->wait == MESSAGE_WAIT_FLEET;
    if (!purge_has_redis(p)) {
        submit_answer(p, s, ERR_OK);
    } else if (s->delivered) {
        if (!fleet || submit_fleet_has(p, s))
            submit_answer(p, s, ERR_OK);
        else if (now >= s->deadline)
            submit_answer(p, s, ERR_TIMEOUT);
        else
            receipts_poll_soon(p);
    } else if (now >= s->redis_until || !submit_redis_near(p)) {
        submit_answer(p, s, fleet ? ERR_TIMEOUT : ERR_OK);
    }
}

void submit_settled(purge_t *p, submission_t *s)
{
    s->delivered = true;
    submit_evaluate(p, s);
}

/* ---- arriving ---- */

static void submit_arrived(loop_message_t *m)
{
    submission_t *s = CONTAINER_OF(m, submission_t, arrive);
    purge_t *p = s->p;
    s->unsettled--; /* the journal's word is still to come, so s stays */
    list_push_back(&p->submissions, &s->link);
    if (!purge_has_redis(p)) {
        apply_pending_free(s->pending);
        s->pending = NULL;
    } else if (s->pending != NULL) {
        apply_enqueue(p, s->pending);
        outbox_run(p);
    }
    submit_evaluate(p, s);
}

static void submit_journaled(loop_message_t *m)
{
    submission_t *s = CONTAINER_OF(m, submission_t, journaled);
    s->journal_known = true;
    submit_evaluate(s->p, s);
    s->unsettled--; /* only now: the answer may have been its end */
    submit_release(s);
}

static void submit_written(void *ctx, err_t e)
{
    submission_t *s = ctx;
    s->journal_err = e;
    loop_post(&s->p->loop, &s->journaled);
}

err_t purge_submit(purge_t *p, const message_t *m, purge_done_fn *done, void *ctx, char *bad, size_t bad_size)
{
    arena_t a;
    message_compiled_t c;
    span_t wrong = SPAN_NONE;
    size_t n = 0;
    uint64_t position = 0;
    int64_t began = clock_nanos();
    if (bad_size > 0)
        bad[0] = '\0';
    if (atomic_load(&p->undelivered) >= PURGE_MAX_UNDELIVERED ||
        atomic_load(&p->undelivered_bytes) >= PURGE_MAX_UNDELIVERED_BYTES)
        return ERR_AGAIN;
    if (atomic_fetch_add(&p->waiters, 1) >= PURGE_MAX_WAITERS) {
        atomic_fetch_sub(&p->waiters, 1);
        return ERR_AGAIN;
    }
    arena_init(&a, 0);
    err_t e = message_compile(m, p->o.normalise, p->o.normalise_ctx, false, &a, &c, &wrong);
    char *json = e == ERR_OK ? message_format(m, &n) : NULL;
    if (e == ERR_OK && (json == NULL || n > MESSAGE_MAX_BYTES))
        e = ERR_TOO_BIG;
    if (e == ERR_OK) {
        pthread_mutex_lock(&p->gate);
        if (p->stopping || !p->started)
            e = ERR_CLOSED;
        else { /* posted under the gate: the thread takes all that was posted before it ends */
            submission_t *s = mem_zalloc(sizeof *s);
            pending_t *d = apply_pending_new(atomic_fetch_add(&p->next_number, 1), json, n, &c);
            *s = (submission_t){.p = p,
                                .pending = d,
                                .done = done,
                                .ctx = ctx,
                                .wait = m->wait,
                                .wall = d->wall,
                                .boot = d->boot,
                                .redis_until = d->boot + PURGE_REDIS_WAIT,
                                .deadline = d->boot + (m->timeout >= 0 ? m->timeout : p->o.wait_timeout),
                                .number = d->number,
                                .unsettled = 2};
            list_init(&s->link);
            s->arrive.run = submit_arrived;
            s->journaled.run = submit_journaled;
            d->waiting = s;
            d->outside = purge_has_redis(p);
            d->flags = JOURNAL_OWN;
            ledger_entry_t entry = {
                .level = c.level, .values = c.values, .n = c.n, .outside = d->outside, .boot = d->boot};
            journal_record_t r = {.number = d->number,
                                  .accepted = d->wall,
                                  .flags = purge_has_redis(p) ? JOURNAL_OWN : JOURNAL_OWN | JOURNAL_DELIVERED,
                                  .json = span_of(json, n)};
            journal_item_t item = {
                .values = c.values, .n = c.n, .level = c.level, .record = &r, .done = submit_written, .ctx = s};
            s->position = d->position = r.position = item.position = position =
                ledger_append(p->ledger, &entry, &item.collapse);
            s->here_ms = (double)(clock_nanos() - began) / 1e6;
            apply_count(p, m, PURGE_FROM_API); /* from here on the answer may come, and the message go with it */
            loop_post(&p->loop, &s->arrive);
            journal_post(p->journal, &item);
        }
        pthread_mutex_unlock(&p->gate);
        if (e == ERR_OK) {
            metrics_observe(METRIC_PURGE_EFFECT, 0, clock_nanos() - began);
            if (p->o.sink.applied != NULL)
                p->o.sink.applied(p->o.sink.ctx, position, c.level);
        }
    } else if (e == ERR_RANGE && bad_size > 0) {
        snprintf(bad, bad_size, "%.*s", (int)(wrong.n < bad_size ? wrong.n : bad_size - 1), wrong.p);
    }
    if (e != ERR_OK)
        atomic_fetch_sub(&p->waiters, 1);
    free(json);
    arena_release(&a);
    return e;
}

/* ---- receipts ---- */

static bool submit_own_number(const purge_t *p, span_t id, uint64_t *number)
{
    size_t node = strlen(p->o.node);
    if (!span_starts(id, SPAN("journal:")) || id.n < 8 + node + 2 ||
        !span_eq(span_of(id.p + 8, node), span_str(p->o.node)) || id.p[8 + node] != ':' || id.n - 9 - node > 18)
        return false;
    *number = 0;
    for (size_t i = 9 + node; i < id.n; i++) {
        if (id.p[i] < '0' || id.p[i] > '9')
            return false;
        *number = *number * 10 + (uint64_t)(id.p[i] - '0');
    }
    return true;
}

/* What came from others has in its record when it was applied here; it was accepted when it got its ID, by the clock of
 * Redis. */
static void submit_found(purge_t *p, submission_t *s, const journal_receipt_t *r)
{
    journal_receipt_t own;
    bool other = r->ms != 0 && (msec_t)r->ms < r->accepted &&
                 journal_receipt_by_number(p->journal, r->number, &own) == ERR_NOT_FOUND;
    s->number = r->number;
    s->position = r->position;
    s->wall = other ? (msec_t)r->ms : r->accepted;
    s->here_ms = (double)(r->accepted - s->wall);
    s->boot = s->asked - (clock_now().wall - s->wall);
    s->id = (stream_id_t){r->ms, r->seq};
    s->delivered = r->ms != 0;
    s->looked_up = true;
}

/* What was answered or delivered a moment ago may still be on its way to the disk, so "unknown" and "not in the stream"
 * are final only when nothing waits there. */
static void submit_look_up(purge_t *p, submission_t *s)
{
    journal_receipt_t r = {0};
    stream_id_t id;
    err_t e = ERR_NOT_FOUND;
    bool settled = journal_backlog(p->journal) == 0 || p->loop.now.boot >= s->deadline;
    if (submit_own_number(p, s->receipt_id, &s->number))
        e = journal_receipt_by_number(p->journal, s->number, &r);
    else if (redis_reply_id(s->receipt_id, &id) == ERR_OK)
        e = journal_receipt_by_id(p->journal, id.ms, id.seq, &r);
    if (e == ERR_OK && (r.ms != 0 || settled)) {
        submit_found(p, s, &r);
    } else if (settled) {
        s->wait = MESSAGE_WAIT_NONE;
        submit_answer(p, s, e);
    }
}

static void submit_receipt_step(purge_t *p, submission_t *s)
{
    if (!s->looked_up) {
        submit_look_up(p, s);
        return; /* s may be gone; the next turn goes on */
    }
    if (p->polled_at >= s->asked || !purge_commands(p) || p->loop.now.boot >= s->deadline)
        submit_answer(p, s, ERR_OK);
    else
        receipts_poll_soon(p);
}

static void submit_receipt_arrived(loop_message_t *m)
{
    submission_t *s = CONTAINER_OF(m, submission_t, arrive);
    s->unsettled--;
    list_push_back(&s->p->submissions, &s->link);
    submit_look_up(s->p, s);
}

void purge_receipt(purge_t *p, span_t id, purge_done_fn *done, void *ctx)
{
    now_t now = clock_now();
    bool room = atomic_fetch_add(&p->waiters, 1) < PURGE_MAX_WAITERS;
    submission_t *s = mem_zalloc(sizeof *s);
    *s = (submission_t){.p = p,
                        .done = done,
                        .ctx = ctx,
                        .wait = MESSAGE_WAIT_FLEET,
                        .asked = now.boot,
                        .deadline = now.boot + PURGE_COMMAND_LIMIT,
                        .unsettled = 1};
    s->receipt_id = span_of(mem_dup(id.p, id.n), id.n);
    s->arrive.run = submit_receipt_arrived;
    list_init(&s->link);
    pthread_mutex_lock(&p->gate);
    bool open = room && p->started && !p->stopping;
    if (open)
        loop_post(&p->loop, &s->arrive);
    pthread_mutex_unlock(&p->gate);
    if (!open) {
        purge_outcome_t o = {.err = room ? ERR_CLOSED : ERR_AGAIN};
        s->unsettled = 0;
        s->answered = true;
        submit_release(s);
        done(ctx, &o);
    }
}

/* ---- time ---- */

void submit_tick(purge_t *p)
{
    for (list_t *n = p->submissions.next, *next; n != &p->submissions; n = next) {
        submission_t *s = LIST_ITEM(n, submission_t, link);
        next = n->next;
        if (s->receipt_id.p == NULL)
            submit_evaluate(p, s);
        else
            submit_receipt_step(p, s);
    }
}

void submit_stop(purge_t *p)
{
    for (list_t *n; (n = p->submissions.next) != &p->submissions;) {
        submission_t *s = LIST_ITEM(n, submission_t, link);
        submit_answer(
            p, s, s->journal_known && s->journal_err == ERR_OK && s->wait != MESSAGE_WAIT_FLEET ? ERR_OK : ERR_CLOSED);
    }
}
