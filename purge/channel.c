/* What applications say by PUBLISH, and who of the fleet writes it down.
 *
 * Redis keeps no messages, so one node, holder of a short lease, enters each message it hears into the stream. The
 * lease is renewed only by a node that is subscribed. When it lapses, whoever takes it must know that nothing was said
 * while nobody wrote: a node knows that if it has been subscribed since before the lease was last renewed, for then the
 * holder heard everything up to there and this node everything since. Otherwise it enters a gap first.
 *
 * What was heard and is not in the stream after a second is entered by anyone (outbox.c), so a holder that dies with
 * messages in hand loses none that another node heard. */
#include <stdio.h>
#include <string.h>

#include "edge/base/log.h"
#include "purge/purge_priv.h"

enum { CHANNEL_HEARTBEAT = 2000, CHANNEL_SILENCE = 6000 };

static const char channel_renew[] =
    "if redis.call('GET',KEYS[1])==ARGV[1] then return redis.call('PEXPIRE',KEYS[1],ARGV[2]) else return 0 end";
static const char channel_drop[] =
    "if redis.call('GET',KEYS[1])==ARGV[1] then return redis.call('DEL',KEYS[1]) else return 0 end";

void channel_up(purge_t *p)
{
    p->subscribed_since = 0;
    p->lease_covered = false;
    p->subscribe_sent = p->loop.now.boot;
    redis_conn_subscribe(&p->channel_conn, span_str(p->o.channel));
}

static void channel_not_recorder(purge_t *p)
{
    if (atomic_exchange(&p->recorder, false))
        log_info("no longer the recorder of channel %s", p->o.channel);
}

void channel_down(purge_t *p)
{
    p->subscribed_since = 0;
    p->lease_covered = false;
    channel_not_recorder(p);
    list_t *both[] = {&p->outgoing, &p->added};
    for (size_t i = 0; i < 2; i++)
        for (list_t *n = both[i]->next; n != both[i]; n = n->next)
            LIST_ITEM(n, pending_t, link)->matchable = false;
}

void channel_push(purge_t *p, const redisReply *r)
{
    if (r->type == REDIS_REPLY_ERROR) {
        log_error("redis %s: SUBSCRIBE %s: %s", p->o.redis.shown, p->o.channel, r->str);
        redis_conn_fail(&p->channel_conn, r->str);
        return;
    }
    span_t kind = r->type == REDIS_REPLY_ARRAY && r->elements == 3 ? redis_reply_text(r->element[0]) : SPAN_NONE;
    if (span_eq(kind, SPAN("subscribe"))) {
        if (p->subscribed_since == 0)
            p->subscribed_since = p->loop.now.boot;
    } else if (span_eq(kind, SPAN("message"))) {
        apply_heard(p, redis_reply_text(r->element[2]));
        outbox_run(p);
    }
}

/* ---- the lease ---- */

static span_t channel_lease_key(purge_t *p, char *buf, size_t size)
{
    return span_of(buf, (size_t)snprintf(buf, size, "%s:recorder", p->o.stream));
}

static void channel_taken(purge_t *p)
{
    if (p->subscribed_since == 0)
        return; /* lost meanwhile: it will lapse */
    if (!p->lease_covered)
        apply_gap(p, "no node was listening to the channel for a while", true);
    p->lease_covered = true;
    atomic_store(&p->recorder, true);
    log_info("recorder of channel %s", p->o.channel);
    outbox_run(p);
}

static void channel_lease_left(void *ctx, const redisReply *r)
{
    purge_t *p = ctx;
    p->lease_asked = false;
    if (r == NULL || r->type != REDIS_REPLY_INTEGER || r->integer <= 0 || r->integer > PURGE_LEASE ||
        p->subscribed_since == 0)
        return;
    /* the life left was read somewhere between question and answer: the question's time gives the earliest renewal */
    if (p->lease_sent - (PURGE_LEASE - (msec_t)r->integer) > p->subscribed_since)
        p->lease_covered = true;
}

static void channel_lease_asked(void *ctx, const redisReply *r)
{
    purge_t *p = ctx;
    char key[JOURNAL_NODE_MAX + 256];
    p->lease_asked = false;
    if (r == NULL)
        return;
    if (span_eq(redis_reply_text(r), SPAN("OK"))) {
        channel_taken(p);
        return;
    }
    if (r->type == REDIS_REPLY_ERROR)
        log_error("redis %s: the recorder's lease: %s", p->o.redis.shown, r->str);
    else if (p->lease_sent = p->loop.now.boot,
             redis_conn_send(&p->command_conn, PURGE_COMMAND_LIMIT, channel_lease_left, p, 2,
                             (span_t[]){SPAN("PTTL"), channel_lease_key(p, key, sizeof key)}))
        p->lease_asked = true;
}

static void channel_renewed(void *ctx, const redisReply *r)
{
    purge_t *p = ctx;
    p->lease_asked = false;
    if (r == NULL || (r->type == REDIS_REPLY_INTEGER && r->integer == 1))
        return;
    if (r->type == REDIS_REPLY_ERROR)
        log_error("redis %s: the recorder's lease: %s", p->o.redis.shown, r->str);
    channel_not_recorder(p); /* it lapsed, so somebody else may have written, or nobody */
    p->lease_covered = false;
}

static void channel_lease(purge_t *p)
{
    char key[JOURNAL_NODE_MAX + 256], ms[16];
    span_t k = channel_lease_key(p, key, sizeof key), v = span_str(p->lease_value);
    snprintf(ms, sizeof ms, "%d", PURGE_LEASE);
    if (p->lease_asked || p->subscribed_since == 0 || !purge_commands(p))
        return;
    if (atomic_load(&p->recorder))
        p->lease_asked = redis_conn_send(&p->command_conn, PURGE_COMMAND_LIMIT, channel_renewed, p, 6,
                                         (span_t[]){SPAN("EVAL"), SPAN(channel_renew), SPAN("1"), k, v, span_str(ms)});
    else
        p->lease_asked = redis_conn_send(&p->command_conn, PURGE_COMMAND_LIMIT, channel_lease_asked, p, 6,
                                         (span_t[]){SPAN("SET"), k, v, SPAN("NX"), SPAN("PX"), span_str(ms)});
}

void channel_stop(purge_t *p)
{
    char key[JOURNAL_NODE_MAX + 256];
    if (atomic_load(&p->recorder)) /* let another one take it now; it has been listening all the while */
        redis_conn_send(&p->command_conn, PURGE_COMMAND_LIMIT, service_ignore, p, 5,
                        (span_t[]){SPAN("EVAL"), SPAN(channel_drop), SPAN("1"), channel_lease_key(p, key, sizeof key),
                                   span_str(p->lease_value)});
}

/* Once a second. */
void channel_tick(purge_t *p)
{
    msec_t now = p->loop.now.boot;
    if (p->o.channel == NULL || !redis_conn_up(&p->channel_conn))
        return;
    if (now - p->channel_conn.heard_at > CHANNEL_SILENCE && now - p->subscribe_sent > CHANNEL_HEARTBEAT) {
        redis_conn_fail(&p->channel_conn, "it doesn't answer");
        return;
    }
    if (now - p->subscribe_sent >= CHANNEL_HEARTBEAT) { /* answered each time, and nothing is subscribed twice */
        p->subscribe_sent = now;
        redis_conn_subscribe(&p->channel_conn, span_str(p->o.channel));
    }
    channel_lease(p);
}
