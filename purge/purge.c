/* Opening and closing, and what can be asked without the purge thread. */
#include "purge/purge.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "edge/base/clock.h"
#include "edge/base/log.h"
#include "edge/base/mem.h"
#include "purge/purge_priv.h"

const char *const purge_source_names[PURGE_SOURCES] = {"api", "stream", "channel", "node", "journal"};

static const char *purge_keep_string(purge_t *p, const char *s)
{
    return s != NULL ? arena_copy(&p->strings, span_str(s)).p : NULL;
}

static void purge_keep_options(purge_t *p, const purge_options_t *o)
{
    p->o = *o;
    p->o.node = purge_keep_string(p, o->node);
    p->o.version = purge_keep_string(p, o->version != NULL ? o->version : "");
    p->o.state = purge_keep_string(p, o->state);
    p->o.stream = purge_keep_string(p, o->stream != NULL ? o->stream : "brink:purge");
    p->o.channel = purge_keep_string(p, o->channel);
    p->o.redis.shown = purge_keep_string(p, o->redis.shown != NULL ? o->redis.shown : "");
    p->o.redis.path = purge_keep_string(p, o->redis.path);
    p->o.redis.user = purge_keep_string(p, o->redis.user);
    p->o.redis.password = purge_keep_string(p, o->redis.password);
    p->o.redis.master = purge_keep_string(p, o->redis.master);
    for (size_t i = 0; i < o->redis.hosts_n; i++)
        p->o.redis.hosts[i].host = purge_keep_string(p, o->redis.hosts[i].host);
}

/* What is in force since an earlier life and not known to be behind the cursor. */
static bool purge_load_record(void *ctx, const journal_record_t *r)
{
    purge_t *p = ctx;
    stream_id_t id = {r->ms, r->seq};
    bool delivered = (r->flags & JOURNAL_DELIVERED) != 0, lost = (r->flags & JOURNAL_LOST) != 0;
    if (r->ms != 0)
        repeat_add(
            p, &(stream_entry_t){.id = id, .purge = r->json, .by = r->by},
            &(repeat_t){.number = r->number, .position = r->position, .accepted = r->accepted, .flags = r->flags});
    if (delivered && (r->ms == 0 || !p->has_cursor || stream_id_cmp(id, purge_cursor_id(p)) <= 0))
        return true;
    if (r->json.n == 0 || (delivered && !(r->flags & (JOURNAL_OWN | JOURNAL_HEARD))))
        return true;
    arena_t a;
    message_t m;
    message_error_t err;
    message_compiled_t c;
    span_t bad;
    arena_init(&a, 0);
    if (message_parse(r->json, MESSAGE_FROM_STREAM, &a, &m, &err) == ERR_OK &&
        message_compile(&m, p->o.normalise, p->o.normalise_ctx, true, &a, &c, &bad) == ERR_OK) {
        pending_t *d = apply_pending_new(r->number, r->json.p, r->json.n, &c);
        d->position = r->position;
        d->wall = r->accepted;
        d->flags = r->flags;
        d->id = delivered ? id : (stream_id_t){0, 0};
        d->lost = lost ? id : (stream_id_t){0, 0};
        d->outside = true;
        if (!(r->flags & (JOURNAL_OWN | JOURNAL_HEARD)) && r->by.n > 0)
            d->by = mem_dup(r->by.p, r->by.n);
        apply_count(p, &m, PURGE_FROM_JOURNAL);
        ledger_outside(p->ledger, d->values, d->n, d->boot);
        apply_enqueue(p, d);
    }
    arena_release(&a);
    return true;
}

err_t purge_open(const purge_options_t *o, purge_t **out, char *err, size_t err_size)
{
    *out = NULL;
    if (o->node == NULL || o->node[0] == '\0' || strlen(o->node) >= JOURNAL_NODE_MAX || strchr(o->node, '/') != NULL) {
        snprintf(err, err_size, "node: a name of 1 to %d bytes without \"/\" is needed", JOURNAL_NODE_MAX - 1);
        return ERR_RANGE;
    }
    CHECK(o->normalise != NULL && o->state != NULL);
    purge_t *p = mem_zalloc(sizeof *p);
    arena_init(&p->strings, 0);
    purge_keep_options(p, o);
    list_init(&p->outgoing);
    list_init(&p->added);
    list_init(&p->submissions);
    list_init(&p->catchups);
    pthread_mutex_init(&p->gate, NULL);
    err_t e = journal_open(o->state, o->max_values, &p->journal, &p->ledger, err, err_size);
    if (e == ERR_OK && (e = loop_init(&p->loop, 0, true)) != ERR_OK)
        snprintf(err, err_size, "no file descriptor is left");
    if (e != ERR_OK) {
        purge_free(p);
        return e;
    }
    p->has_cursor = journal_has_cursor(p->journal, &p->cursor);
    atomic_store(&p->next_number, journal_next_number(p->journal));
    atomic_store(&p->doubt, purge_has_redis(p));
    atomic_store(&p->ready, !purge_has_redis(p));
    snprintf(p->instance, sizeof p->instance, "%016" PRIx64, ledger_epoch(p->ledger));
    snprintf(p->lease_value, sizeof p->lease_value, "%s/%016" PRIx64, p->o.node,
             ledger_epoch(p->ledger) ^ (uint64_t)getpid());
    if (purge_has_redis(p))
        journal_records(p->journal, purge_load_record, p);
    *out = p;
    return ERR_OK;
}

err_t purge_start(purge_t *p, bool stored_objects)
{
    p->stored_objects = stored_objects;
    err_t e = journal_start(p->journal);
    if (e == ERR_OK)
        e = service_start(p);
    pthread_mutex_lock(&p->gate);
    p->started = e == ERR_OK;
    pthread_mutex_unlock(&p->gate);
    return e;
}

void purge_stop(purge_t *p)
{
    pthread_mutex_lock(&p->gate);
    bool running = p->started && !p->stopping;
    p->stopping = true;
    pthread_mutex_unlock(&p->gate);
    if (!running)
        return;
    journal_stop(p->journal); /* tells everyone who waits for it; the thread passes that on before it ends */
    loop_post(&p->loop, &p->stop);
    pthread_join(p->thread, NULL);
    journal_release(p->journal);
    atomic_store(&p->doubt, true); /* purges are no longer heard of */
}

static void purge_free_list(list_t *l)
{
    for (list_t *n; l->next != NULL && (n = list_pop_front(l)) != NULL;)
        apply_pending_free(LIST_ITEM(n, pending_t, link));
}

void purge_free(purge_t *p)
{
    if (p == NULL)
        return;
    purge_free_list(&p->outgoing);
    purge_free_list(&p->added);
    free(p->nodes);
    free(p->repeats);
    apply_pending_free(p->probe_gap);
    if (p->journal != NULL)
        loop_release(&p->loop);
    journal_close(p->journal);
    ledger_free(p->ledger);
    pthread_mutex_destroy(&p->gate);
    arena_release(&p->strings);
    free(p);
}

ledger_t *purge_ledger(purge_t *p)
{
    return p->ledger;
}

const char *purge_node(const purge_t *p)
{
    return p->o.node;
}

err_t purge_normalise(purge_t *p, arena_t *a, span_t url, span_t *uri, digest_t *uri_digest)
{
    return p->o.normalise(p->o.normalise_ctx, a, url, uri, uri_digest);
}

bool purge_ready(const purge_t *p)
{
    return atomic_load_explicit(&p->ready, memory_order_acquire);
}

bool purge_in_doubt(const purge_t *p)
{
    return atomic_load_explicit(&p->doubt, memory_order_acquire);
}

void purge_demand(purge_t *p, const ledger_subject_t *s, msec_t now_boot, ledger_demand_t *out)
{
    bool doubt = purge_in_doubt(p);
    ledger_demand(p->ledger, s, now_boot, out);
    if (doubt)
        out->newer_than = 0;
}

void purge_compact(purge_t *p, uint64_t floor)
{
    ledger_compact(p->ledger, floor);
    journal_post(p->journal, &(journal_item_t){.compact = floor});
}

static double purge_lag(const purge_t *p)
{
    if (!purge_has_redis(p))
        return 0;
    msec_t since = clock_now().boot - atomic_load(&p->lag_at);
    double lag = (double)atomic_load(&p->lag) / MSEC_PER_SEC;
    /* while connected the stream is looked at every second */
    return atomic_load(&p->connected) || atomic_load(&p->lag_at) == 0 ? lag : lag + (double)since / MSEC_PER_SEC;
}

void purge_status(purge_t *p, purge_status_t *out)
{
    ledger_cursor_t c;
    *out = (purge_status_t){.position = ledger_head(p->ledger),
                            .lag_seconds = purge_lag(p),
                            .gaps = atomic_load(&p->gaps),
                            .redis = !purge_has_redis(p)          ? PURGE_REDIS_NONE
                                     : atomic_load(&p->connected) ? PURGE_REDIS_CONNECTED
                                                                  : PURGE_REDIS_DISCONNECTED,
                            .ready = purge_ready(p),
                            .in_doubt = purge_in_doubt(p),
                            .recorder = atomic_load(&p->recorder),
                            .undelivered = atomic_load(&p->undelivered),
                            .journal_errors = journal_errors(p->journal),
                            .malformed = atomic_load(&p->malformed),
                            .reconnects = atomic_load(&p->reconnects)};
    ledger_cursor(p->ledger, &c);
    if (c.run_id[0] != '\0')
        redis_reply_id_text((stream_id_t){c.ms, c.seq}, out->cursor);
    for (int k = 0; k < MESSAGE_KINDS; k++)
        for (int s = 0; s < PURGE_SOURCES; s++)
            out->count[k][s] = atomic_load_explicit(&p->count[k][s], memory_order_relaxed);
    ledger_stats(p->ledger, &out->ledger);
}
