/* Entering into the stream what is in force here and not there: purges accepted by this node, messages heard, gaps, and
 * what Redis lost. Only after the stream was read to its end on this very server, so that what is there already is
 * known. An XADD whose reply was lost is repeated: two entries for one purge do no harm, none would.
 *
 * What Redis lost is found missing by every node at the same time, and one entry of it is wanted. So Redis decides, in
 * one step with the XADD: a key with a short life says as what a lost entry was entered again, and whoever comes later
 * is answered with that ID, provided that the stream still has it. (If that was lost as well, the next one goes on from
 * there.) */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "edge/base/log.h"
#include "edge/base/mem.h"
#include "purge/purge_priv.h"

enum { OUTBOX_TRIM_EVERY = 60 * MSEC_PER_SEC };

/* KEYS: stream. ARGV: ID of the lost entry, `purge`, `by`, life of the key in ms. Answers the ID that it has now. */
static const char outbox_again[] =
    "local id=ARGV[1] for i=1,1000 do "
    "if #redis.call('XRANGE',KEYS[1],id,id)>0 then return id end "
    "local to=redis.call('GET',KEYS[1]..':again:'..id) if not to then break end id=to end "
    "local new=redis.call('XADD',KEYS[1],'*','purge',ARGV[2],'by',ARGV[3],'again',ARGV[1]) "
    "redis.call('SET',KEYS[1]..':again:'..id,new,'PX',ARGV[4]) return new";

typedef struct sent {
    purge_t *p;
    uint64_t number;
} sent_t;

static void outbox_sent(void *ctx, const redisReply *r)
{
    sent_t *s = ctx;
    purge_t *p = s->p;
    stream_id_t id;
    pending_t *d = apply_find(p, s->number); /* it may have been read back before the reply came */
    free(s);
    p->in_flight--;
    if (d != NULL)
        d->in_flight = false;
    if (r == NULL)
        return;
    if (redis_reply_id(redis_reply_text(r), &id) != ERR_OK) {
        log_error("redis %s: XADD %s: %s", p->o.redis.shown, p->o.stream,
                  r->type == REDIS_REPLY_ERROR ? r->str : "not an ID");
        redis_conn_fail(&p->command_conn, "a purge can't be entered");
        return;
    }
    if (d != NULL && d->id.ms == 0)
        apply_delivered(p, d, id, stream_id_cmp(id, purge_cursor_id(p)) <= 0);
    outbox_run(p);
}

static bool outbox_add(purge_t *p, pending_t *d)
{
    char by[JOURNAL_NODE_MAX + 32];
    sent_t *s = mem_alloc(sizeof *s);
    *s = (sent_t){.p = p, .number = d->number};
    snprintf(by, sizeof by, "%s/%" PRIu64, p->o.node, d->number);
    span_t body = span_of(d->json, d->json_n), whose = d->by != NULL ? span_str(d->by) : span_str(by);
    bool sent;
    if (d->lost.ms != 0) {
        char was[STREAM_ID_TEXT], life[24];
        redis_reply_id_text(d->lost, was);
        snprintf(life, sizeof life, "%" PRId64, 2 * JOURNAL_KEEP_RECORDS);
        sent = redis_conn_send(&p->command_conn, PURGE_COMMAND_LIMIT, outbox_sent, s, 8,
                               (span_t[]){SPAN("EVAL"), SPAN(outbox_again), SPAN("1"), span_str(p->o.stream),
                                          span_str(was), body, whose, span_str(life)});
    } else {
        sent =
            redis_conn_send(&p->command_conn, PURGE_COMMAND_LIMIT, outbox_sent, s, d->flags & JOURNAL_HEARD ? 11 : 9,
                            (span_t[]){SPAN("XADD"), span_str(p->o.stream), SPAN("*"), SPAN("purge"), body, SPAN("by"),
                                       whose, SPAN("life"), span_str(p->instance), SPAN("heard"), SPAN("1")});
    }
    if (!sent) {
        free(s);
        return false;
    }
    d->in_flight = true;
    p->in_flight++;
    return true;
}

static void outbox_trim(purge_t *p)
{
    char id[STREAM_ID_TEXT];
    msec_t now = p->loop.now.boot;
    if (p->o.keep <= 0 || now - p->trimmed < OUTBOX_TRIM_EVERY)
        return;
    p->trimmed = now;
    msec_t oldest = p->loop.now.wall - p->o.keep;
    snprintf(id, sizeof id, "%" PRId64 "-0", oldest > 0 ? oldest : 0);
    redis_conn_send(&p->command_conn, PURGE_COMMAND_LIMIT, service_ignore, p, 5,
                    (span_t[]){SPAN("XTRIM"), span_str(p->o.stream), SPAN("MINID"), SPAN("~"), span_str(id)});
}

void outbox_run(purge_t *p)
{
    if (!purge_has_redis(p) || !purge_commands(p))
        return;
    bool recorder = atomic_load(&p->recorder);
    msec_t now = p->loop.now.boot;
    for (list_t *n = p->outgoing.next; n != &p->outgoing && p->in_flight < PURGE_IN_FLIGHT; n = n->next) {
        pending_t *d = LIST_ITEM(n, pending_t, link);
        if (d->in_flight ||
            ((d->flags & JOURNAL_HEARD) && d->matchable && !recorder && now - d->boot < PURGE_HEARD_WAIT))
            continue;
        if (!outbox_add(p, d))
            return;
    }
    outbox_trim(p);
}
