/* Receipts: each node says in a hash of its own, with a short life, up to where it has applied the stream; whoever
 * waits for the fleet reads them all. A node that is gone drops out of the waiting by itself.
 *
 * A Redis that has lost its data has lost the receipts, too, and each node writes its own again as soon as it has found
 * that out. Until then the others remember how long the receipt had still to live: a node that has it as long as that
 * counts, and is waited for. What it said of the lost stream doesn't.
 *
 * The hash also guards the name: it carries the epoch of the state directory. Whoever writes it first has the name; a
 * node that finds another epoch there isn't ready until the receipt has run out, and refuses to go on when it is
 * written twice more. (Its own former life has the same epoch, or falls silent.) */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/base/log.h"
#include "edge/base/mem.h"
#include "purge/purge_priv.h"

enum { RECEIPTS_POLL_PAUSE = 2, RECEIPTS_NAME = 512, RECEIPTS_FOREIGN_LIMIT = 2 };

static span_t receipts_key(purge_t *p, span_t node, char *buf, size_t size)
{
    int n = snprintf(buf, size, "%s:node:%.*s", p->o.stream, SPAN_ARG(node));
    return span_of(buf, (size_t)n < size ? (size_t)n : size - 1);
}

/* ---- this node's ---- */

static void receipts_written(void *ctx, const redisReply *r)
{
    purge_t *p = ctx;
    p->receipt_busy = false;
    if (r != NULL && r->type == REDIS_REPLY_ERROR)
        log_error("redis %s: the receipt: %s", p->o.redis.shown, r->str);
    else if (p->receipt_dirty && r != NULL)
        receipts_applied(p);
}

static void receipts_write(purge_t *p)
{
    redis_conn_t *c = &p->command_conn;
    char key[RECEIPTS_NAME], names[RECEIPTS_NAME], applied[STREAM_ID_TEXT], at[24], life[16];
    span_t k = receipts_key(p, span_str(p->o.node), key, sizeof key);
    snprintf(names, sizeof names, "%s:nodes", p->o.stream);
    snprintf(at, sizeof at, "%" PRId64, p->loop.now.wall);
    snprintf(life, sizeof life, "%d", PURGE_RECEIPT_LIFE);
    redis_reply_id_text(purge_cursor_id(p), applied);
    p->receipt_of = purge_cursor_id(p);
    p->receipt_dirty = false;
    p->receipt_at = p->loop.now.boot;
    redis_conn_send(c, PURGE_COMMAND_LIMIT, service_ignore, p, 10,
                    (span_t[]){SPAN("HSET"), k, SPAN("applied"), span_str(applied), SPAN("at"), span_str(at),
                               SPAN("version"), span_str(p->o.version), SPAN("instance"), span_str(p->instance)});
    redis_conn_send(c, PURGE_COMMAND_LIMIT, service_ignore, p, 3, (span_t[]){SPAN("EXPIRE"), k, span_str(life)});
    p->receipt_busy = redis_conn_send(c, PURGE_COMMAND_LIMIT, receipts_written, p, 3,
                                      (span_t[]){SPAN("SADD"), span_str(names), span_str(p->o.node)});
}

void receipts_applied(purge_t *p)
{
    p->receipt_dirty = true;
    if (p->name_checked && !p->receipt_busy && purge_commands(p))
        receipts_write(p);
}

/* ---- is the name free? ---- */

static void receipts_name_seen(void *ctx, const redisReply *r)
{
    purge_t *p = ctx;
    if (r == NULL || r->type != REDIS_REPLY_ARRAY || r->elements != 2)
        return;
    span_t instance = redis_reply_text(r->element[0]), at = redis_reply_text(r->element[1]);
    if (span_eq(instance, span_str(p->instance))) {
        p->name_checked = true;
        receipts_write(p);
        return;
    }
    if (instance.p == NULL)
        return; /* it ran out in between, or can't be written */
    if (p->foreign_at[0] == '\0')
        log_warn("the name %s was in use by another node on stream %s a moment ago; waiting for its receipt to run out",
                 p->o.node, p->o.stream);
    if (p->foreign_at[0] != '\0' && at.n < sizeof p->foreign_at && !span_eq(at, span_str(p->foreign_at)) &&
        ++p->foreign_seen >= RECEIPTS_FOREIGN_LIMIT) {
        log_error("another node named %s is alive on stream %s; give each node its own name", p->o.node, p->o.stream);
        p->foreign_seen = 0;
        if (p->o.sink.refused != NULL)
            p->o.sink.refused(p->o.sink.ctx, "the node's name is in use by another node");
    }
    snprintf(p->foreign_at, sizeof p->foreign_at, "%.*s", SPAN_ARG(at.n > 0 ? at : SPAN("?")));
}

/* Of two that start at the same time one is first. */
static void receipts_check_name(purge_t *p)
{
    redis_conn_t *c = &p->command_conn;
    char key[RECEIPTS_NAME], life[16];
    span_t k = receipts_key(p, span_str(p->o.node), key, sizeof key);
    snprintf(life, sizeof life, "%d", PURGE_RECEIPT_LIFE);
    redis_conn_send(c, PURGE_COMMAND_LIMIT, service_ignore, p, 4,
                    (span_t[]){SPAN("HSETNX"), k, SPAN("instance"), span_str(p->instance)});
    redis_conn_send(c, PURGE_COMMAND_LIMIT, service_ignore, p, 4,
                    (span_t[]){SPAN("EXPIRE"), k, span_str(life), SPAN("NX")}); /* a namesake's runs out as it would */
    redis_conn_send(c, PURGE_COMMAND_LIMIT, receipts_name_seen, p, 4,
                    (span_t[]){SPAN("HMGET"), k, SPAN("instance"), SPAN("at")});
}

void receipts_up(purge_t *p)
{
    if (!purge_commands(p))
        return;
    receipts_poll_soon(p); /* whoever waits for the fleet while Redis is away should hear who is missing */
    if (p->name_checked)
        receipts_applied(p);
    else
        receipts_check_name(p);
}

/* ---- the others' ---- */

void receipts_lost(purge_t *p)
{
    for (size_t i = 0; i < p->nodes_n; i++)
        p->nodes[i].seen_n = 0;
}

static stream_id_t receipts_last(const known_node_t *k)
{
    return k->seen_n > 0 ? k->seen[(k->seen_n - 1) % PURGE_SEEN].applied : (stream_id_t){0, 0};
}

bool receipts_has(const known_node_t *k, stream_id_t id, msec_t *seen)
{
    if (stream_id_cmp(receipts_last(k), id) < 0)
        return false;
    for (size_t i = k->seen_n; i > 0 && k->seen_n - i < PURGE_SEEN; i--)
        if (stream_id_cmp(k->seen[(i - 1) % PURGE_SEEN].applied, id) >= 0)
            *seen = k->seen[(i - 1) % PURGE_SEEN].boot;
        else
            break;
    return true;
}

typedef struct receipt_asked {
    purge_t *p;
    int replies; /* that are still to come */
    msec_t left; /* of the receipt's life; -1: not known */
    char name[JOURNAL_NODE_MAX];
} receipt_asked_t;

static void receipts_polled(purge_t *p)
{
    p->poll_busy = false;
    p->polled_at = p->poll_began;
    submit_tick(p);
}

static void receipts_replied(receipt_asked_t *a)
{
    if (--a->replies == 0)
        free(a);
}

static void receipts_life(void *ctx, const redisReply *r)
{
    receipt_asked_t *a = ctx;
    if (r != NULL && r->type == REDIS_REPLY_INTEGER)
        a->left = r->integer;
    receipts_replied(a);
}

static void receipts_answer(void *ctx, const redisReply *r)
{
    receipt_asked_t *a = ctx;
    purge_t *p = a->p;
    stream_id_t id = {0, 0};
    msec_t now = p->loop.now.boot, life = PURGE_RECEIPT_LIFE * MSEC_PER_SEC;
    bool live = r != NULL && r->type == REDIS_REPLY_ARRAY && r->elements == 1 &&
                redis_reply_id(redis_reply_text(r->element[0]), &id) == ERR_OK;
    for (size_t i = 0; r != NULL && i < p->nodes_n; i++) { /* without an answer, what was known last stands */
        known_node_t *k = &p->nodes[i];
        if (strcmp(k->name, a->name) != 0)
            continue;
        if (live)
            k->until = now + (a->left >= 0 && a->left < life ? a->left : life);
        k->live = live || now < k->until;
        if (live && stream_id_cmp(id, receipts_last(k)) != 0) {
            k->seen[k->seen_n % PURGE_SEEN].applied = id;
            k->seen[k->seen_n++ % PURGE_SEEN].boot = now;
        }
    }
    receipts_replied(a);
    p->poll_left--;
    if (r == NULL)
        p->poll_busy = p->poll_left > 0;
    else if (p->poll_left == 0)
        receipts_polled(p);
}

static void receipts_know(purge_t *p, span_t name)
{
    if (name.n == 0 || name.n >= JOURNAL_NODE_MAX || p->nodes_n >= PURGE_NODES_MAX)
        return;
    for (size_t i = 0; i < p->nodes_n; i++)
        if (span_eq(name, span_str(p->nodes[i].name)))
            return;
    p->nodes = mem_realloc(p->nodes, (p->nodes_n + 1) * sizeof *p->nodes);
    known_node_t *k = &p->nodes[p->nodes_n++];
    *k = (known_node_t){.live = false};
    memcpy(k->name, name.p, name.n);
}

static void receipts_ask(purge_t *p, const known_node_t *k)
{
    redis_conn_t *c = &p->command_conn;
    char key[RECEIPTS_NAME];
    span_t of = receipts_key(p, span_str(k->name), key, sizeof key);
    receipt_asked_t *a = mem_alloc(sizeof *a);
    *a = (receipt_asked_t){.p = p, .replies = 1, .left = -1};
    memcpy(a->name, k->name, sizeof a->name);
    a->replies += redis_conn_send(c, PURGE_COMMAND_LIMIT, receipts_life, a, 2, (span_t[]){SPAN("PTTL"), of});
    if (redis_conn_send(c, PURGE_COMMAND_LIMIT, receipts_answer, a, 3, (span_t[]){SPAN("HMGET"), of, SPAN("applied")}))
        p->poll_left++;
    else
        receipts_replied(a);
}

static void receipts_named(void *ctx, const redisReply *r)
{
    purge_t *p = ctx;
    p->poll_busy = false;
    if (r == NULL || r->type != REDIS_REPLY_ARRAY)
        return;
    for (size_t i = 0; i < r->elements; i++)
        receipts_know(p, redis_reply_text(r->element[i]));
    for (const known_node_t *k = p->nodes; k != NULL && k < p->nodes + p->nodes_n; k++)
        receipts_ask(p, k);
    p->poll_busy = p->poll_left > 0;
    if (p->poll_left == 0)
        receipts_polled(p);
}

static void receipts_poll(purge_t *p)
{
    char names[RECEIPTS_NAME];
    snprintf(names, sizeof names, "%s:nodes", p->o.stream);
    p->poll_again = false;
    p->poll_began = p->loop.now.boot;
    p->poll_busy = redis_conn_send(&p->command_conn, PURGE_COMMAND_LIMIT, receipts_named, p, 2,
                                   (span_t[]){SPAN("SMEMBERS"), span_str(names)});
}

void receipts_poll_soon(purge_t *p)
{
    if (p->poll_busy || p->poll_again || !purge_commands(p))
        return;
    p->poll_again = true; /* at the next turn with the clock moved on, see receipts_tick */
}

/* Every turn of the loop. */
void receipts_tick(purge_t *p)
{
    if (!purge_commands(p)) {
        p->poll_again = false;
        return;
    }
    if (p->name_checked && p->loop.now.boot - p->poll_began >= PURGE_RECEIPT_EVERY)
        receipts_poll_soon(p); /* so that it is known who is missing when Redis is away */
    if (p->poll_again && !p->poll_busy && p->loop.now.boot - p->poll_began >= RECEIPTS_POLL_PAUSE)
        receipts_poll(p);
    if (p->loop.now.boot - p->receipt_at < (p->name_checked ? PURGE_RECEIPT_EVERY : MSEC_PER_SEC))
        return;
    p->receipt_at = p->loop.now.boot;
    if (p->name_checked)
        receipts_applied(p);
    else
        receipts_check_name(p);
}
