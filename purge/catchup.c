/* A shield must not answer an edge from before what the edge has applied. Usually it is there already; else the entry
 * is on its way (the edge has read it, so it is in Redis), and a short wait is cheaper than a request to the origin. On
 * another history than the edge's an ID alone says nothing: then the stream here must have that very entry. */
#include <stdlib.h>
#include <string.h>

#include "edge/base/clock.h"
#include "edge/base/mem.h"
#include "purge/purge_priv.h"

struct catchup {
    list_t link;
    loop_message_t arrive;
    purge_t *p;
    ledger_cursor_t theirs;
    msec_t deadline;
    void (*done)(void *ctx, bool has);
    void *ctx;
    bool asking;
};

purge_has_t purge_has(purge_t *p, const ledger_cursor_t *theirs)
{
    ledger_cursor_t ours;
    if (theirs->run_id[0] == '\0')
        return PURGE_HAS_YES;
    if (!purge_has_redis(p))
        return PURGE_HAS_NO;
    ledger_cursor(p->ledger, &ours);
    bool has = stream_id_cmp((stream_id_t){theirs->ms, theirs->seq}, (stream_id_t){ours.ms, ours.seq}) <= 0;
    return has && strcmp(ours.run_id, theirs->run_id) == 0 ? PURGE_HAS_YES : PURGE_HAS_ASK;
}

static void catchup_end(purge_t *p, catchup_t *c, bool has)
{
    list_remove(&c->link);
    atomic_fetch_sub(&p->waiters, 1);
    c->done(c->ctx, has);
    free(c);
}

static void catchup_found(void *ctx, const redisReply *r)
{
    catchup_t *c = ctx;
    catchup_end(c->p, c, r != NULL && r->type == REDIS_REPLY_ARRAY && r->elements == 1);
}

static void catchup_step(purge_t *p, catchup_t *c)
{
    char id[STREAM_ID_TEXT];
    stream_id_t theirs = {c->theirs.ms, c->theirs.seq};
    if (c->asking)
        return; /* its reply ends it */
    bool passed = stream_id_cmp(theirs, purge_cursor_id(p)) <= 0;
    if (passed && strcmp(c->theirs.run_id, p->cursor.at.run_id) == 0) {
        catchup_end(p, c, true);
    } else if (p->loop.now.boot >= c->deadline || !purge_commands(p)) {
        catchup_end(p, c, false);
    } else if (passed) {
        redis_reply_id_text(theirs, id);
        c->asking = redis_conn_send(&p->command_conn, PURGE_COMMAND_LIMIT, catchup_found, c, 4,
                                    (span_t[]){SPAN("XRANGE"), span_str(p->o.stream), span_str(id), span_str(id)});
        if (!c->asking)
            catchup_end(p, c, false);
    }
}

static void catchup_arrived(loop_message_t *m)
{
    catchup_t *c = CONTAINER_OF(m, catchup_t, arrive);
    list_push_back(&c->p->catchups, &c->link);
    catchup_step(c->p, c);
}

void catchup_run(purge_t *p)
{
    for (list_t *n = p->catchups.next, *next; n != &p->catchups; n = next) {
        next = n->next;
        catchup_step(p, LIST_ITEM(n, catchup_t, link));
    }
}

void catchup_stop(purge_t *p)
{
    for (list_t *n; (n = p->catchups.next) != &p->catchups;)
        catchup_end(p, LIST_ITEM(n, catchup_t, link), false);
}

void purge_catch_up(purge_t *p, const ledger_cursor_t *theirs, msec_t most, void (*done)(void *ctx, bool has),
                    void *ctx)
{
    purge_has_t has = purge_has(p, theirs);
    if (has != PURGE_HAS_ASK || atomic_fetch_add(&p->waiters, 1) >= PURGE_MAX_WAITERS) {
        if (has == PURGE_HAS_ASK)
            atomic_fetch_sub(&p->waiters, 1);
        done(ctx, has == PURGE_HAS_YES);
        return;
    }
    catchup_t *c = mem_zalloc(sizeof *c);
    *c = (catchup_t){.p = p, .theirs = *theirs, .deadline = clock_now().boot + most, .done = done, .ctx = ctx};
    c->arrive.run = catchup_arrived;
    pthread_mutex_lock(&p->gate);
    bool open = p->started && !p->stopping;
    if (open)
        loop_post(&p->loop, &c->arrive);
    pthread_mutex_unlock(&p->gate);
    if (!open) {
        atomic_fetch_sub(&p->waiters, 1);
        done(ctx, false);
        free(c);
    }
}
