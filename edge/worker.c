/* A worker owns everything that is touched by its requests without a lock: the loop, the connections, the upstream
 * client, the signing keys. What comes from outside (a reload, the order to drain) comes as a message and so finds no
 * request half way through a step.
 *
 * At the end all workers first stop accepting and go on until none serves anybody (one may read what another one
 * fetches), then each cuts what is left and ends, and last their loops are emptied of what they had to say to each
 * other. */
#include "edge/worker.h"

#include <pthread.h>
#include <stdlib.h>

#include "edge/base/clock.h"
#include "edge/base/log.h"
#include "edge/base/mem.h"
#include "edge/fetch/probe.h"
#include "edge/fetch/upstream_curl.h"
#include "edge/fetch/upstream_h2.h"
#include "edge/http/chars.h"

enum { WORKER_TURN = 1000, WORKER_DRAIN_TURN = 10 }; /* ms that a turn waits at most */

struct worker {
    worker_options_t o;
    pthread_t thread;
    loop_t loop;
    request_env_t env;
    serve_worker_t *serve;
    serve_watch_t *watch;
    upstream_t *client;
    probe_t *probes; /* NULL: another worker's business */
    span_t via;

    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t started;
    bool running, failed;
    worker_conf_t next; /* .upstreams NULL: none */
    bool configure_posted, drain_posted, forget_posted, stop_posted;
    loop_message_t configure, drain, forget, stop;
    bool draining, stopping; /* the worker's thread only */
    atomic_bool idle, forgot;
};

/* ---- on the worker's thread ---- */

static void worker_on_request(exchange_t *x, int listener, void *ctx)
{
    worker_t *w = ctx;
    if (listener == WORKER_LISTEN_ADMIN)
        request_answer(&w->env, x, w->o.admin, w->o.admin_ctx);
    else
        request_begin(&w->env, x);
}

static void worker_on_refused(const exchange_refused_t *refused, int listener, void *ctx)
{
    const worker_t *w = ctx;
    if (listener == WORKER_LISTEN_TRAFFIC)
        request_refused(&w->env, refused);
}

/* The admin API has a ceiling of its own, and hosts of no site are refused for that. */
static uint64_t worker_body_limit(span_t authority, int listener, void *ctx)
{
    const worker_t *w = ctx;
    const conf_site_t *site = listener == WORKER_LISTEN_TRAFFIC ? conf_site_for(w->env.conf, authority) : NULL;
    return site != NULL ? site->max_body : UINT64_MAX;
}

static void worker_apply(worker_t *w, const worker_conf_t *c)
{
    const conf_t *conf = upstreams_conf(c->upstreams);
    upstreams_unref(w->env.upstreams);
    tier_key_free(w->env.edge_key);
    tier_key_free(w->env.fetch.tier_key);
    w->env.upstreams = c->upstreams;
    w->env.conf = conf;
    w->env.edge_key = conf->tier.present ? tier_key_new(conf->tier.secret) : NULL;
    w->env.fetch.tier_key = conf->shield.present ? tier_key_new(conf->shield.secret) : NULL;
    w->env.most_in_flight = (conf->limits.requests + w->o.workers - 1) / w->o.workers;
    w->env.site_labels = c->site_labels;
    w->env.refreshing = c->refreshing;
    w->env.fetch.upstream_labels = c->upstream_labels;
    w->env.fetch.max_object = conf->memory.max_object;
    w->env.fetch.windows_most = conf->memory.size / FETCH_WINDOWS;
    if (w->probes != NULL)
        probe_configure(w->probes, c->upstreams);
}

static void worker_run_configure(loop_message_t *m)
{
    worker_t *w = CONTAINER_OF(m, worker_t, configure);
    pthread_mutex_lock(&w->mutex);
    worker_conf_t c = w->next;
    w->next.upstreams = NULL;
    w->configure_posted = false;
    pthread_mutex_unlock(&w->mutex);
    if (c.upstreams != NULL)
        worker_apply(w, &c);
}

static void worker_run_drain(loop_message_t *m)
{
    worker_t *w = CONTAINER_OF(m, worker_t, drain);
    if (!w->draining) {
        w->draining = true;
        serve_worker_drain(w->serve);
    }
}

static void worker_run_forget(loop_message_t *m)
{
    worker_t *w = CONTAINER_OF(m, worker_t, forget);
    w->env.warm = w->env.fetch.warm = NULL;
    atomic_store(&w->forgot, true);
}

static err_t worker_open(worker_t *w)
{
    w->env = (request_env_t){
        .loop = &w->loop,
        .worker = w->o.index,
        .collapse = w->o.collapse,
        .coder = w->o.coder,
        .hot = w->o.hot,
        .store = w->o.store,
        .warm = w->o.warm,
        .purge = w->o.purge,
        .ledger = purge_ledger(w->o.purge),
        .replay = w->o.replay,
        .limiter = w->o.limiter,
        .log = w->o.log,
        .purge_method = w->o.purge_method,
        .purge_ctx = w->o.purge_ctx,
        .node = w->o.node,
        .node_member = w->o.node_member,
        .via = w->via,
        .started = w->o.started,
        .clock = clock_now,
    };
    request_env_init(&w->env);
    w->env.fetch = (fetch_deps_t){
        .loop = &w->loop, .store = w->o.store, .warm = w->o.warm, .ledger = w->env.ledger, .node = w->o.node};
    fetch_deps_init(&w->env.fetch);
    worker_apply(w, &w->o.conf);
    w->o.conf.upstreams = NULL;
    w->loop.now = clock_now();
    w->client = w->env.fetch.client = upstream_h2_new(&w->loop);
    if (w->client == NULL)
        return ERR_IO;
    upstream_curl_resolve_by(upstream_h2_links(w->client), w->o.resolve);
    if (w->o.index == 0) { /* one worker asks for all of them */
        w->probes = probe_new(&w->loop, w->client);
        probe_configure(w->probes, w->env.upstreams);
    }
    err_t err = serve_worker_start(w->o.serve, w->o.index, &w->loop, worker_on_request, w, &w->serve);
    if (err == ERR_OK) {
        serve_worker_limit_bodies(w->serve, worker_body_limit);
        serve_worker_tell_refused(w->serve, worker_on_refused);
    }
    if (err == ERR_OK)
        w->watch = serve_worker_watch_fd(w->serve, upstream_h2_fd(w->client), upstream_h2_ready, w->client);
    return err;
}

static void worker_run_stop(loop_message_t *m)
{
    CONTAINER_OF(m, worker_t, stop)->stopping = true;
}

static void worker_run(worker_t *w)
{
    while (!w->stopping && serve_worker_run_once(w->serve, w->draining ? WORKER_DRAIN_TURN : WORKER_TURN) == ERR_OK)
        if (w->draining)
            atomic_store(&w->idle, serve_worker_idle(w->serve) && w->env.in_flight == 0);
    atomic_store(&w->idle, true);
}

static void worker_close(worker_t *w)
{
    if (w->watch != NULL)
        serve_unwatch(w->watch);
    if (w->env.fetch.client != NULL)
        fetch_stop(&w->env.fetch);
    probe_free(w->probes);
    if (w->client != NULL)
        upstream_h2_free(w->client); /* ends every fetch that still runs here */
    if (w->serve != NULL)
        serve_worker_stop(w->serve);
}

static void *worker_main(void *arg)
{
    worker_t *w = arg;
    char name[16];
    snprintf(name, sizeof name, "worker %u", w->o.index);
    pthread_setname_np(pthread_self(), name);
    err_t err = worker_open(w);
    pthread_mutex_lock(&w->mutex);
    w->running = err == ERR_OK;
    w->failed = err != ERR_OK;
    pthread_cond_signal(&w->started);
    pthread_mutex_unlock(&w->mutex);
    if (err == ERR_OK)
        worker_run(w);
    pthread_mutex_lock(&w->mutex);
    w->running = false; /* nobody asks for statistics from here on */
    pthread_mutex_unlock(&w->mutex);
    worker_close(w);
    return NULL;
}

/* ---- from outside ---- */

worker_t *worker_new(const worker_options_t *o)
{
    worker_t *w = mem_zalloc(sizeof *w);
    w->o = *o;
    w->loop.wake_fd = -1; /* until it is started */
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->started, NULL);
    w->configure.run = worker_run_configure;
    w->drain.run = worker_run_drain;
    w->forget.run = worker_run_forget;
    w->stop.run = worker_run_stop;
    size_t n = o->node.n + sizeof "1.1  (brink)";
    char *via = mem_alloc(n);
    snprintf(via, n, "1.1 %.*s (brink)", SPAN_ARG(o->node));
    for (char *c = via + 4; c < via + 4 + o->node.n; c++) /* a pseudonym is a token (RFC 9110 7.6.3) */
        *c = chars_is(*c, CHARS_TOKEN) ? *c : '-';
    w->via = span_str(via);
    return w;
}

err_t worker_start(worker_t *w)
{
    if (loop_init(&w->loop, (int)w->o.index, true) != ERR_OK)
        return ERR_IO;
    if (pthread_create(&w->thread, NULL, worker_main, w) != 0)
        return ERR_IO;
    pthread_mutex_lock(&w->mutex);
    while (!w->running && !w->failed)
        pthread_cond_wait(&w->started, &w->mutex);
    bool failed = w->failed;
    pthread_mutex_unlock(&w->mutex);
    return failed ? ERR_IO : ERR_OK;
}

static void worker_post_once(worker_t *w, bool *posted, loop_message_t *m)
{
    pthread_mutex_lock(&w->mutex);
    bool post = !*posted && w->running;
    *posted |= post;
    pthread_mutex_unlock(&w->mutex);
    if (post)
        loop_post(&w->loop, m);
}

void worker_configure(worker_t *w, const worker_conf_t *conf)
{
    pthread_mutex_lock(&w->mutex);
    upstreams_t *before = w->next.upstreams;
    w->next = *conf;
    pthread_mutex_unlock(&w->mutex);
    upstreams_unref(before);
    worker_post_once(w, &w->configure_posted, &w->configure);
}

void worker_drain(worker_t *w)
{
    worker_post_once(w, &w->drain_posted, &w->drain);
}

bool worker_idle(worker_t *w)
{
    return atomic_load(&w->idle);
}

void worker_forget_disk(worker_t *w)
{
    worker_post_once(w, &w->forget_posted, &w->forget);
}

bool worker_forgot_disk(worker_t *w)
{
    return atomic_load(&w->forgot) || atomic_load(&w->idle);
}

void worker_stop(worker_t *w)
{
    worker_post_once(w, &w->stop_posted, &w->stop);
    pthread_join(w->thread, NULL);
}

size_t worker_settle(worker_t *w)
{
    return loop_run_messages(&w->loop);
}

void worker_free(worker_t *w)
{
    if (w == NULL)
        return;
    upstreams_unref(w->o.conf.upstreams); /* of one that was never started */
    upstreams_unref(w->env.upstreams);
    upstreams_unref(w->next.upstreams);
    tier_key_free(w->env.edge_key);
    tier_key_free(w->env.fetch.tier_key);
    loop_release(&w->loop);
    pthread_cond_destroy(&w->started);
    pthread_mutex_destroy(&w->mutex);
    free((char *)w->via.p);
    free(w);
}

bool worker_stats(worker_t *w, serve_stats_t *out)
{
    pthread_mutex_lock(&w->mutex);
    bool running = w->running;
    if (running)
        serve_worker_stats(w->serve, out); /* a copy of atomics; the lock keeps the worker from ending meanwhile */
    pthread_mutex_unlock(&w->mutex);
    return running;
}
