/* See world.h. Upstream bodies are kept when the reader says "not now", and told again after resume, as the real client
 * does. */
#include "world.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "edge/base/clock.h"
#include "edge/base/mem.h"
#include "edge/http/date.h"
#include "edge/policy/tags.h"
#include "edge/tbl/metrics.h"

static void world_lines(fields_t *f, arena_t *a, const char *lines)
{
    fields_init(f, a);
    while (lines != NULL && *lines != '\0') {
        size_t n = strcspn(lines, "\n"), colon = strcspn(lines, ":");
        fields_add(f, arena_copy(a, span_of(lines, colon)),
                   arena_copy(a, span_trim(span_of(lines + colon + 1, n - colon - 1))));
        lines += n + (lines[n] == '\n');
    }
}

static void world_copy(fields_t *to, arena_t *a, const fields_t *from)
{
    fields_init(to, a);
    for (size_t i = 0; i < from->n; i++)
        fields_add(to, arena_copy(a, from->v[i].name), arena_copy(a, from->v[i].value));
}

/* ---- the upstream ---- */

static upstream_call_t *world_start(upstream_t *u, const upstream_request_t *r, const upstream_events_t *events,
                                    void *arg)
{
    world_t *w = ((world_upstream_t *)u)->world;
    world_call_t *c = mem_zalloc(sizeof *c);
    cr_assert_lt(w->calls, WORLD_CALLS);
    w->call[w->calls++] = c;
    c->client = u;
    c->events = events;
    c->arg = arg;
    c->open = true;
    c->port = r->to.port;
    c->first_byte_timeout = r->first_byte_timeout;
    c->to_shield = r->to.port == 8;
    c->once = r->once;
    c->has_body = r->has_body;
    c->is_head = r->head;
    snprintf(c->method, sizeof c->method, "%.*s", SPAN_ARG(r->method));
    snprintf(c->target, sizeof c->target, "%.*s", SPAN_ARG(r->target));
    snprintf(c->body, sizeof c->body, "%.*s", SPAN_ARG(r->body));
    world_copy(&c->fields, &w->arena, r->fields);
    return (upstream_call_t *)c;
}

static void world_resume(upstream_call_t *call)
{
    ((world_call_t *)call)->paused = false;
}

static void world_cancel(upstream_call_t *call)
{
    world_call_t *c = (world_call_t *)call;
    c->open = false;
    c->cancelled = true;
}

static const upstream_ops_t world_upstream = {.start = world_start, .resume = world_resume, .cancel = world_cancel};

world_call_t *world_last_call(world_t *w)
{
    cr_assert_gt(w->calls, 0, "nothing was sent upstream");
    return w->call[w->calls - 1];
}

void world_head(world_t *w, world_call_t *c, int status, const char *lines, int64_t length)
{
    fields_t f;
    char date[DATE_LEN + 1];
    cr_assert(c->open, "the call is over");
    world_lines(&f, &w->arena, lines);
    date_format(w->now.wall, date);
    if (!fields_has(&f, SPAN("date")))
        fields_add(&f, SPAN("date"), arena_copy(&w->arena, span_str(date)));
    c->events->head(c->arg, status, &f, length);
}

bool world_bytes(world_t *w, world_call_t *c, const char *p, size_t n)
{
    (void)w;
    if (!c->open || c->paused)
        return false;
    bool taken = c->events->body(c->arg, span_of(p, n));
    c->paused = c->open && !taken;
    return taken;
}

bool world_body(world_t *w, world_call_t *c, const char *text)
{
    return world_bytes(w, c, text, strlen(text));
}

void world_end(world_t *w, world_call_t *c, upstream_result_t r)
{
    cr_assert(c->open, "the call is over");
    c->open = false;
    c->events->done(c->arg, r);
    world_run(w);
}

void world_answer(world_t *w, world_call_t *c, int status, const char *lines, const char *body)
{
    world_head(w, c, status, lines, status == 304 ? -1 : (int64_t)strlen(body));
    if (c->open && body[0] != '\0')
        world_body(w, c, body);
    if (c->open)
        world_end(w, c, UPSTREAM_OK);
    world_run(w);
}

/* ---- clients ---- */

static void world_x_head(exchange_t *x, int status, const fields_t *fields, int64_t content_length)
{
    world_client_t *c = CONTAINER_OF(x, world_client_t, x);
    cr_assert(!c->head, "two heads");
    c->head = true;
    c->status = status;
    c->content_length = content_length;
    world_copy(&c->fields, &c->arena, fields);
}

static void world_x_send(exchange_t *x, const struct iovec *v, size_t n, exchange_end_t end)
{
    world_client_t *c = CONTAINER_OF(x, world_client_t, x);
    cr_assert(c->head && !c->done && !c->writable, "a send out of turn");
    for (size_t i = 0; i < n; i++) {
        c->body = mem_realloc(c->body, c->n + v[i].iov_len + 1);
        memcpy(c->body + c->n, v[i].iov_base, v[i].iov_len);
        c->n += v[i].iov_len;
        c->body[c->n] = '\0';
    }
    x->body_sent = c->n;
    c->writable = true;
    c->done = end != EXCHANGE_MORE;
    c->aborted = end == EXCHANGE_ABORT;
}

static void world_x_informational(exchange_t *x, int status, const fields_t *fields)
{
    (void)status;
    (void)fields;
    CONTAINER_OF(x, world_client_t, x)->hints++;
}

static const exchange_ops_t world_exchange = {
    .head = world_x_head, .send = world_x_send, .informational = world_x_informational, .send_most = 65536};

world_client_t *world_request(world_t *w, unsigned loop, const char *method, const char *target, const char *lines,
                              const char *body)
{
    world_client_t *c = mem_zalloc(sizeof *c);
    cr_assert_lt(w->clients, WORLD_CLIENTS);
    w->client[w->clients++] = c;
    arena_init(&c->arena, 4 * 1024 * 1024);
    exchange_t *x = &c->x;
    x->ops = &world_exchange;
    x->loop = &w->loop[loop];
    x->arena = &c->arena;
    x->method_name = span_str(method);
    x->method = method_parse(x->method_name);
    x->scheme = SPAN("http");
    x->authority = SPAN("site.example");
    x->target = arena_copy(&c->arena, span_str(target));
    world_lines(&x->fields, &c->arena, lines);
    x->body = span_str(body);
    x->has_body = body != NULL;
    x->peer = SPAN("192.0.2.7");
    x->protocol = 11;
    x->began_nanos = clock_nanos();
    request_begin(&w->env[loop], x);
    world_run(w);
    return c;
}

world_client_t *world_get(world_t *w, unsigned loop, const char *target, const char *lines)
{
    return world_request(w, loop, "GET", target, lines, NULL);
}

static void world_gone(world_client_t *c)
{
    if (c->x.on_gone == NULL)
        return;
    void (*gone)(exchange_t *) = c->x.on_gone;
    c->x.on_gone = NULL;
    gone(&c->x);
}

void world_leave(world_t *w, world_client_t *c)
{
    c->done = true;
    world_gone(c);
    world_run(w);
}

static void world_free_client(world_client_t *c)
{
    arena_release(&c->arena);
    free(c->body);
    free(c);
}

void world_forget(world_t *w)
{
    size_t kept = 0;
    for (size_t i = 0; i < w->clients; i++) {
        world_client_t *c = w->client[i];
        if (c->done && c->x.on_gone == NULL)
            world_free_client(c);
        else
            w->client[kept++] = c;
    }
    w->clients = kept;
}

void world_forget_calls(world_t *w)
{
    size_t kept = 0;
    for (size_t i = 0; i < w->calls; i++)
        if (w->call[i]->open)
            w->call[kept++] = w->call[i];
        else
            free(w->call[i]);
    w->calls = kept;
}

span_t world_field(const world_client_t *c, const char *name)
{
    return fields_get(&c->fields, span_str(name));
}

bool world_says(const world_client_t *c, const char *name, const char *part)
{
    span_t v = world_field(c, name);
    return v.p != NULL && memmem(v.p, v.n, part, strlen(part)) != NULL;
}

/* ---- the world ---- */

static int worlds;

static err_t world_normalise(void *ctx, arena_t *a, span_t url, span_t *uri, digest_t *uri_digest)
{
    (void)ctx;
    return key_from_url(a, url, &(key_rules_t){.query = KEY_QUERY_ALL}, uri, uri_digest);
}

static size_t world_turn(world_t *w)
{
    size_t did = 0;
    for (size_t i = 0; i < WORLD_LOOPS; i++)
        did += loop_run_messages(&w->loop[i]) + loop_run_timers(&w->loop[i]);
    for (size_t i = 0; i < w->clients; i++) {
        world_client_t *c = w->client[i];
        if (c->x.on_gone == NULL || !c->writable || c->stalled)
            continue;
        c->writable = false;
        did++;
        if (c->done)
            world_gone(c);
        else
            c->x.on_writable(&c->x);
    }
    return did;
}

void world_run(world_t *w)
{
    while (world_turn(w) > 0)
        ;
}

void world_pass(world_t *w, msec_t ms)
{
    w->now.wall += ms;
    w->now.boot += ms;
    for (size_t i = 0; i < WORLD_LOOPS; i++)
        w->loop[i].now = w->now;
    world_run(w);
}

void world_purge(world_t *w, ledger_kind_t kind, const char *what, mark_t level)
{
    ledger_collapse_t collapsed;
    ledger_value_t v = {.kind = kind, .length = kind == LEDGER_PREFIX ? (uint32_t)strlen(what) : 0};
    v.digest = kind == LEDGER_TAG   ? tags_digest(span_str(what))
               : kind == LEDGER_URL ? key_uri_digest(span_str(what))
                                    : (digest_t){0};
    ledger_append(w->ledger, &(ledger_entry_t){.level = level, .values = &v, .n = 1, .boot = w->now.boot}, &collapsed);
}

static uint32_t world_verdict(void *arg, const warm_subject_t *s, uint64_t after, uint64_t *upto)
{
    world_t *w = arg;
    ledger_subject_t subject = {.uri = s->uri, .uri_digest = s->uri_digest, .tags = s->tags, .tags_n = s->tags_n};
    return ledger_check(w->ledger, &subject, after, upto);
}

static void world_on_evict(object_t *o, store_why_t why, void *arg)
{
    world_t *w = arg;
    if (w->warm == NULL || (atomic_load(&o->flags) & OBJECT_CODED) != 0)
        return;
    if (why != STORE_EVICTED)
        warm_remove(w->warm, o->digest, object_variant(o));
    else if (why == STORE_EVICTED && atomic_load(&o->hits) > 0)
        warm_put(w->warm, o);
}

static void world_on_worthy(object_t *o, void *arg)
{
    world_t *w = arg;
    if (w->warm != NULL)
        warm_put(w->warm, o);
}

world_t *world_new(const char *site_yaml, const char *more_yaml)
{
    return world_open(&(world_options_t){.site = site_yaml, .more = more_yaml});
}

world_t *world_open(const world_options_t *o)
{
    const char *node = o->node != NULL ? o->node : "sim-1";
    static const unsigned labels[8];
    char yaml[4096], err[512];
    conf_error_t error;
    world_t *w = mem_zalloc(sizeof *w);
    worlds++;
    arena_init(&w->arena, 0);
    snprintf(w->state, sizeof w->state, "/tmp/brink-sim-XXXXXX");
    cr_assert_not_null(mkdtemp(w->state));
    char secret[128], tiers[512] = "";
    snprintf(secret, sizeof secret, "%s/secret", w->state);
    FILE *f = fopen(secret, "w");
    cr_assert_not_null(f);
    fputs("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", f);
    fclose(f);
    cr_assert_eq(chmod(secret, 0600), 0);
    if (o->shield)
        snprintf(tiers, sizeof tiers, "shield: {nodes: [\"http://127.0.0.1:8\"], secret_file: %s}\n", secret);
    if (o->tier)
        snprintf(tiers, sizeof tiers, "tier: {secret_file: %s}\n", secret);
    snprintf(yaml, sizeof yaml,
             "node: %s\nlisten: [{address: \"127.0.0.1:1\"}]\n%s\n%ssites:\n  - hosts: [\"*\"]\n    origins: %s\n%s\n",
             node, o->more != NULL ? o->more : "memory: {size: 64MiB, max_object: 8MiB}", tiers,
             o->origins != NULL ? o->origins : "['http://127.0.0.1:9']", o->site != NULL ? o->site : "");
    cr_assert_eq(conf_parse(span_str(yaml), "sim.yaml", &w->conf, &error), ERR_OK, "%s", error.message);
    w->now = (now_t){.wall = 1700000000000 + o->clock, .boot = 5000000};
    purge_options_t po = {.node = node,
                          .version = "0",
                          .state = w->state,
                          .stream = "brink:purge",
                          .start_without_redis = 0,
                          .max_disconnected = MSEC_NEVER,
                          .normalise = world_normalise,
                          .keep = 1000};
    cr_assert_eq(purge_open(&po, &w->purge, err, sizeof err), ERR_OK, "%s", err);
    cr_assert_eq(purge_start(w->purge, false), ERR_OK);
    w->ledger = purge_ledger(w->purge);
    w->store = store_open(&(store_options_t){.bytes = w->conf->memory.size,
                                             .shards = 4,
                                             .on_evict = world_on_evict,
                                             .on_worthy = world_on_worthy,
                                             .arg = w});
    if (o->disk) {
        char path[128];
        snprintf(path, sizeof path, "%s/warm", w->state);
        warm_options_t wo = {.path = path,
                             .size = 64 << 20,
                             .epoch = ledger_epoch(w->ledger),
                             .commit_ms = 1,
                             .queue_bytes = 1 << 20,
                             .verdict = world_verdict,
                             .verdict_arg = w};
        cr_assert_eq(warm_open(&wo, &w->warm, err), ERR_OK, "%s", err);
    }
    w->collapse = collapse_new();
    w->coder = coder_open(w->store, false);
    w->health = health_new();
    w->upstreams = upstreams_new(w->health, w->conf);
    w->replay = replay_new(w->now, TIER_WINDOW, 1024);
    w->limiter = limiter_new(1024, 1);
    for (int i = 0; i < WORLD_LOOPS; i++) {
        cr_assert_eq(loop_init(&w->loop[i], i, false), ERR_OK);
        w->loop[i].now = w->now;
        w->up[i] = (world_upstream_t){.u = {.ops = &world_upstream, .loop = &w->loop[i]}, .world = w};
        w->edge_key[i] = w->conf->tier.present ? tier_key_new(w->conf->tier.secret) : NULL;
        w->tier_key[i] = w->conf->shield.present ? tier_key_new(w->conf->shield.secret) : NULL;
        w->env[i] = (request_env_t){.loop = &w->loop[i],
                                    .worker = (unsigned)i,
                                    .conf = w->conf,
                                    .upstreams = w->upstreams,
                                    .collapse = w->collapse,
                                    .coder = w->coder,
                                    .store = w->store,
                                    .purge = w->purge,
                                    .ledger = w->ledger,
                                    .replay = w->replay,
                                    .limiter = w->limiter,
                                    .warm = w->warm,
                                    .edge_key = w->edge_key[i],
                                    .node = w->conf->node,
                                    .node_member = w->conf->node,
                                    .via = arena_printf(&w->arena, "1.1 %s (brink)", node),
                                    .started = w->now.wall - 1000,
                                    .site_labels = labels};
        request_env_init(&w->env[i]);
        w->env[i].fetch = (fetch_deps_t){.loop = &w->loop[i],
                                         .client = &w->up[i].u,
                                         .store = w->store,
                                         .ledger = w->ledger,
                                         .node = w->conf->node,
                                         .tier_key = w->tier_key[i],
                                         .warm = w->warm,
                                         .upstream_labels = labels,
                                         .max_object = w->conf->memory.max_object};
        fetch_deps_init(&w->env[i].fetch);
    }
    return w;
}

void world_disk(world_t *w)
{
    if (w->warm == NULL)
        return;
    for (int ms = 0;; ms++) {
        bool reading = false;
        world_run(w);
        for (int i = 0; i < WORLD_LOOPS; i++)
            reading |= !list_empty(&w->env[i].promotions) || w->env[i].pieces_reading > 0;
        if (!reading)
            break;
        cr_assert_lt(ms, 10000, "the disk doesn't answer");
        usleep(1000);
    }
    cr_assert_eq(warm_flush(w->warm, clock_now().boot + 10000), ERR_OK);
}

/* ---- two tiers ---- */

world_client_t *world_carry(world_t *edge, world_call_t *call, world_t *shield)
{
    cr_assert(call->open && call->to_shield, "not a request to the shield");
    shield->now.boot = edge->now.boot; /* the same moment; each has a wall clock of its own */
    char lines[4096] = "";
    size_t n = 0;
    for (size_t i = 0; i < call->fields.n; i++)
        if (!span_eq(call->fields.v[i].name, SPAN("host")))
            n += (size_t)snprintf(lines + n, sizeof lines - n, "%.*s: %.*s\n", SPAN_ARG(call->fields.v[i].name),
                                  SPAN_ARG(call->fields.v[i].value));
    return world_request(shield, 0, call->method, call->target, lines, call->has_body ? call->body : NULL);
}

void world_brought(world_t *edge, world_call_t *call, const world_client_t *answer)
{
    cr_assert(answer->head && answer->done);
    call->events->head(call->arg, answer->status, &answer->fields, answer->content_length);
    if (call->open && answer->n > 0)
        world_bytes(edge, call, answer->body, answer->n);
    if (call->open)
        world_end(edge, call, answer->aborted ? UPSTREAM_CUT : UPSTREAM_OK);
    world_run(edge);
}

void world_free(world_t *w)
{
    for (size_t i = 0; i < w->clients; i++)
        world_gone(w->client[i]);
    world_disk(w);
    warm_close(w->warm);
    world_run(w);
    for (size_t i = 0; i < w->calls; i++)
        if (w->call[i]->open) {
            w->call[i]->open = false;
            w->call[i]->events->done(w->call[i]->arg, UPSTREAM_ABANDONED);
        }
    world_run(w);
    for (size_t i = 0; i < w->clients; i++)
        world_free_client(w->client[i]);
    for (size_t i = 0; i < w->calls; i++)
        free(w->call[i]);
    for (int i = 0; i < WORLD_LOOPS; i++) {
        cr_expect_eq(w->env[i].in_flight, 0, "requests are left");
        cr_expect_eq(w->loop[i].timers, 0, "timers are left");
        tier_key_free(w->edge_key[i]);
        tier_key_free(w->tier_key[i]);
        loop_release(&w->loop[i]);
    }
    store_stats_t stats;
    store_stats(w->store, &stats);
    cr_expect_eq(w->env[0].encoding + w->env[1].encoding, 0, "coders are left");
    cr_expect_eq(stats.reserved, 0, "%llu bytes of the budget were never given back",
                 (unsigned long long)stats.reserved);
    if (--worlds == 0) /* both are of the process */
        cr_expect_eq(metrics_total(METRIC_IN_FLIGHT), 0);
    if (worlds == 0)
        cr_expect_eq(metrics_total(METRIC_FILLS_RUNNING), 0, "fills are still counted");
    collapse_free(w->collapse);
    coder_close(w->coder);
    store_close(w->store);
    upstreams_unref(w->upstreams);
    health_free(w->health);
    replay_free(w->replay);
    limiter_free(w->limiter);
    purge_stop(w->purge);
    purge_free(w->purge);
    conf_unref(w->conf);
    arena_release(&w->arena);
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", w->state);
    cr_expect_eq(system(command), 0);
    free(w);
}
