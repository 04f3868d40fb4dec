/* What applications say by PUBLISH, and who of the fleet writes it down.
 *
 * Redis keeps no messages, so one node, holder of a short lease, enters each message it hears into the stream. The
 * lease is renewed only by a node that is subscribed. When it lapses, whoever takes it must know that nothing was said
 * while nobody wrote: a node knows that if it has been subscribed since before the lease was last renewed, for then the
 * holder heard everything up to there and this node everything since: it is covered. Otherwise it enters a gap first.
 *
 * A node that isn't covered leaves the lease to one that may be, for a while, as long as other nodes are alive: the
 * recorder of a fleet may be restarted faster than anyone looks. And it isn't ready: until it is covered, or has
 * entered the gap, it doesn't know whether it missed a message while it was away. A holder that stops leaves the lease
 * without a name, as its last renewal.
 *
 * What was heard and is not in the stream after a second is entered by anyone (outbox.c), so a holder that dies with
 * messages in hand loses none that another node heard. */
#include <stdio.h>
#include <string.h>

#include "edge/base/log.h"
#include "purge/purge_priv.h"

enum {
    CHANNEL_HEARTBEAT = 2000,
    CHANNEL_SILENCE = 6000,
    CHANNEL_MARGIN = 50, /* ms that a message needs at most from Redis to a listener that lives */
    CHANNEL_PATIENCE =
        PURGE_LEASE + 1500 /* ms that a lease is left to others: until a dead one's lapses and is seen to */
};

enum channel_answer { CHANNEL_HELD, CHANNEL_TAKEN, CHANNEL_TAKEN_UNCOVERED, CHANNEL_LEFT };

/* KEYS: lease, names of nodes. ARGV: value, life, "1" if covered, ms since the subscription, "NODE/", NODE, prefix of
 * receipts, "1" to take it at any rate. Answers {0, life left}: another holds it; {1}, {2}: taken, covered or not; {3}:
 * left to others. */
static const char channel_take[] =
    "local v=redis.call('GET',KEYS[1]) local left=redis.call('PTTL',KEYS[1]) "
    "local mine=v and string.sub(v,1,#ARGV[5])==ARGV[5] "
    "if v and v~='' and not mine then return {0,left} end "
    "local covered=ARGV[3]=='1' or (v=='' and left>=0 and ARGV[2]-left<tonumber(ARGV[4])) "
    "if not covered and ARGV[8]=='0' then for _,n in ipairs(redis.call('SMEMBERS',KEYS[2])) do "
    "if n~=ARGV[6] and redis.call('EXISTS',ARGV[7]..n)==1 then return {3,0} end end end "
    "redis.call('SET',KEYS[1],ARGV[1],'PX',ARGV[2]) if covered then return {1,0} end return {2,0}";

static const char channel_renew[] =
    "if redis.call('GET',KEYS[1])==ARGV[1] then return redis.call('PEXPIRE',KEYS[1],ARGV[2]) else return 0 end";
static const char channel_drop[] =
    "if redis.call('GET',KEYS[1])==ARGV[1] then return redis.call('SET',KEYS[1],'','PX',ARGV[2]) else return 0 end";

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
        if (p->subscribed_since == 0) {
            p->subscribed_since = p->loop.now.boot;
            channel_ask(p);
        }
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

static void channel_lease_asked(void *ctx, const redisReply *r)
{
    purge_t *p = ctx;
    p->lease_asked = false;
    if (r == NULL || p->subscribed_since == 0)
        return;
    if (r->type != REDIS_REPLY_ARRAY || r->elements != 2 || r->element[0]->type != REDIS_REPLY_INTEGER ||
        r->element[1]->type != REDIS_REPLY_INTEGER) {
        log_error("redis %s: the recorder's lease: %s", p->o.redis.shown,
                  r->type == REDIS_REPLY_ERROR ? r->str : "an answer that can't be");
        return;
    }
    long long what = r->element[0]->integer, left = r->element[1]->integer;
    if (what == CHANNEL_TAKEN || what == CHANNEL_TAKEN_UNCOVERED) {
        p->lease_covered |= what == CHANNEL_TAKEN;
        channel_taken(p);
    } else if (what == CHANNEL_HELD && left > 0 && left <= PURGE_LEASE &&
               /* what is left was read somewhere between question and answer: the question's time gives the earliest
                  renewal */
               p->lease_sent - (PURGE_LEASE - (msec_t)left) > p->subscribed_since + CHANNEL_MARGIN) {
        p->lease_covered = true;
    }
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

static void channel_renew_lease(purge_t *p, span_t key)
{
    char ms[16];
    snprintf(ms, sizeof ms, "%d", PURGE_LEASE);
    p->lease_asked = redis_conn_send(
        &p->command_conn, PURGE_COMMAND_LIMIT, channel_renewed, p, 6,
        (span_t[]){SPAN("EVAL"), SPAN(channel_renew), SPAN("1"), key, span_str(p->lease_value), span_str(ms)});
}

static void channel_take_lease(purge_t *p, span_t key)
{
    char ms[16], since[24], names[JOURNAL_NODE_MAX + 256], nodes[JOURNAL_NODE_MAX + 256], mine[JOURNAL_NODE_MAX + 2];
    msec_t age = p->loop.now.boot - p->subscribed_since;
    snprintf(ms, sizeof ms, "%d", PURGE_LEASE);
    snprintf(since, sizeof since, "%lld", (long long)(age > CHANNEL_MARGIN ? age - CHANNEL_MARGIN : 0));
    snprintf(names, sizeof names, "%s:nodes", p->o.stream);
    snprintf(nodes, sizeof nodes, "%s:node:", p->o.stream);
    snprintf(mine, sizeof mine, "%s/", p->o.node);
    p->lease_sent = p->loop.now.boot;
    p->lease_asked = redis_conn_send(
        &p->command_conn, PURGE_COMMAND_LIMIT, channel_lease_asked, p, 13,
        (span_t[]){SPAN("EVAL"), SPAN(channel_take), SPAN("2"), key, span_str(names), span_str(p->lease_value),
                   span_str(ms), p->lease_covered ? SPAN("1") : SPAN("0"), span_str(since), span_str(mine),
                   span_str(p->o.node), span_str(nodes), age >= CHANNEL_PATIENCE ? SPAN("1") : SPAN("0")});
}

void channel_ask(purge_t *p)
{
    char key[JOURNAL_NODE_MAX + 256];
    if (p->o.channel == NULL || p->lease_asked || p->subscribed_since == 0 || !purge_commands(p))
        return;
    span_t k = channel_lease_key(p, key, sizeof key);
    if (atomic_load(&p->recorder))
        channel_renew_lease(p, k);
    else
        channel_take_lease(p, k);
}

bool channel_settled(const purge_t *p)
{
    return p->o.channel == NULL || (p->subscribed_since != 0 && p->lease_covered);
}

void channel_stop(purge_t *p)
{
    char key[JOURNAL_NODE_MAX + 256], ms[16];
    snprintf(ms, sizeof ms, "%d", PURGE_LEASE);
    if (atomic_load(&p->recorder)) /* let another one take it now; it has been listening all the while */
        redis_conn_send(&p->command_conn, PURGE_COMMAND_LIMIT, service_ignore, p, 6,
                        (span_t[]){SPAN("EVAL"), SPAN(channel_drop), SPAN("1"), channel_lease_key(p, key, sizeof key),
                                   span_str(p->lease_value), span_str(ms)});
}

/* Several times within a lease. */
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
    channel_ask(p);
}
