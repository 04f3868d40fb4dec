/* The composition root. Order matters: addresses and keys, for which root may be needed, then root is left; the purge
 * ledger (the disk asks for its epoch, and no response may be stored without it), then the tiers, then what the outside
 * can reach; torn down in reverse. */
#include "edge/node.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "edge/base/clock.h"
#include "edge/base/log.h"
#include "edge/base/mem.h"
#include "edge/fetch/upstream_curl.h"
#include "edge/node_priv.h"
#include "edge/privilege.h"
#include "edge/tbl/metrics.h"

enum {
    NODE_SAVE_STEPS = 20000,    /* stored responses written between two looks at the clock */
    NODE_DRAIN_POLL = 5 * 1000, /* µs */
    NODE_NAMES_WAIT = 2000,     /* ms that a start waits for the addresses of upstreams */
    NODE_SETTLE_ROUNDS = 1000,
    NODE_GHOST_OBJECT = 8 * 1024, /* bytes of disk for each key that is remembered when it leaves memory */
    NODE_GHOST_SHARE = 64,        /* of memory, at most */
    NODE_QUEUE_SHARE = 8          /* of memory: what waits for the disk at most, it can't be evicted meanwhile */
};

/* ---- what the tiers say to each other ---- */

static void node_on_evict(object_t *o, store_why_t why, void *arg)
{
    node_t *n = arg;
    if ((atomic_load_explicit(&o->flags, memory_order_relaxed) & OBJECT_CODED) != 0)
        return; /* it is made again where it is wanted */
    static const unsigned reasons[STORE_WHYS] = {LABEL_REASON_SPACE, LABEL_REASON_REPLACED, LABEL_REASON_PURGED,
                                                 LABEL_REASON_SPACE};
    metrics_add2(METRIC_EVICTIONS, LABEL_TIER_MEMORY, reasons[why], 1);
    bool seen_again = atomic_load_explicit(&o->hits, memory_order_relaxed) > 0;
    bool on_disk = (atomic_load_explicit(&o->flags, memory_order_relaxed) & OBJECT_ON_DISK) != 0;
    pthread_rwlock_rdlock(&n->warm_gate);
    warm_t *warm = atomic_load(&n->warm);
    if (warm != NULL) {
        /* asked for again after it was filled, or filled again after it was evicted; what was seen once mostly never
         * is, unless most of what leaves has been here before */
        if (why == STORE_EVICTED && !seen_again && !on_disk && n->evicted != NULL) {
            seen_again = seen_before(n->evicted, o->digest) || seen_mostly(n->evicted);
            if (!seen_again)
                atomic_fetch_add_explicit(&n->writes_spared, 1, memory_order_relaxed);
        }
        if (why == STORE_EVICTED && seen_again)
            warm_put(warm, o);
        else if (why != STORE_EVICTED || (!on_disk && warm_maybe(warm, o->digest)))
            warm_remove(warm, o->digest, object_variant(o)); /* else an older copy would come back from there */
    }
    pthread_rwlock_unlock(&n->warm_gate);
}

static void node_on_worthy(object_t *o, void *arg)
{
    node_t *n = arg;
    pthread_rwlock_rdlock(&n->warm_gate);
    warm_t *warm = atomic_load(&n->warm);
    if (warm != NULL)
        warm_put(warm, o);
    pthread_rwlock_unlock(&n->warm_gate);
}

static void node_on_gap(void *ctx, purge_on_gap_t what, const char *why)
{
    (void)ctx;
    static const char *const words[] = {"revalidating what is stored", "dropping what is stored",
                                        "going on regardless"};
    log_warn("purges may have been lost (%s): %s", why, words[what]);
}

static void node_on_refused(void *ctx, const char *why)
{
    node_t *n = ctx;
    pthread_mutex_lock(&n->mutex);
    snprintf(n->refused, sizeof n->refused, "%s", why);
    pthread_mutex_unlock(&n->mutex);
}

/* ---- opening ---- */

/* A member of Cache-Status is a token or a string (RFC 9211 2, RFC 9651 3.3). `out`: twice the name's length and 3
 * bytes. */
static void node_member(span_t name, char *out)
{
    bool token = name.n > 0 && (name.p[0] == '*' || (span_lower(name.p[0]) >= 'a' && span_lower(name.p[0]) <= 'z')) &&
                 fields_name_valid(name);
    size_t n = 0;
    if (!token)
        out[n++] = '"';
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] == '"' || name.p[i] == '\\')
            out[n++] = '\\';
        out[n++] = name.p[i];
    }
    if (!token)
        out[n++] = '"';
    out[n] = '\0';
}

static err_t node_open_purge(node_t *n, arena_t *a, msec_t patience, char *err)
{
    const conf_t *c = n->conf;
    purge_options_t o = {
        .node = node_cstr(a, c->node),
        .version = BRINK_VERSION,
        .state = node_cstr(a, c->state),
        .stream = node_cstr(a, c->purge.stream),
        .channel = c->purge.channel.p != NULL ? node_cstr(a, c->purge.channel) : NULL,
        .keep = c->purge.keep,
        .on_gap = (purge_on_gap_t)c->purge.on_gap,
        .wait_timeout = c->purge.wait_timeout,
        .start_without_redis = c->purge.start_without_redis,
        .max_disconnected = c->purge.max_disconnected,
        .normalise = node_normalise,
        .normalise_ctx = n,
        .sink = {.ctx = n, .gap = node_on_gap, .refused = node_on_refused},
    };
    node_redis(c, &o.redis, a);
    for (msec_t end = clock_now().boot + patience;;) { /* the process that this one replaces may still hold it */
        err_t e = purge_open(&o, &n->purge, err, NODE_ERROR_MAX);
        if (e == ERR_OK || clock_now().boot >= end)
            return e;
        usleep(NODE_DRAIN_POLL);
    }
}

/* As many as the disk holds of middling size, within a part of the memory budget. */
static void node_open_ghosts(node_t *n, const conf_t *c)
{
    uint64_t keys = c->disk.size / NODE_GHOST_OBJECT, most = c->memory.size / NODE_GHOST_SHARE / 4;
    keys = keys < most ? keys : most;
    uint64_t bytes = seen_bytes((size_t)keys);
    if (!store_reserve(n->store, bytes))
        return;
    n->evicted_bytes = bytes;
    n->evicted = seen_new((size_t)keys);
}

/* What the ledger says of a record on disk. */
static uint32_t node_verdict(void *arg, const warm_subject_t *s, uint64_t after, uint64_t *upto)
{
    node_t *n = arg;
    ledger_subject_t subject = {.uri = s->uri, .uri_digest = s->uri_digest, .tags = s->tags, .tags_n = s->tags_n};
    return ledger_check(purge_ledger(n->purge), &subject, after, upto);
}

/* Bytes of objects that may wait for the disk. */
static uint64_t node_disk_queue(const conf_t *c)
{
    uint64_t share = c->memory.size / NODE_QUEUE_SHARE;
    return share < WARM_QUEUE_BYTES ? share : WARM_QUEUE_BYTES;
}

static err_t node_open_disk(node_t *n, arena_t *a, msec_t patience, char *err)
{
    const conf_t *c = n->conf;
    if (!c->disk.present)
        return ERR_OK;
    warm_options_t o = {.path = node_cstr(a, c->disk.path),
                        .size = c->disk.size,
                        .queue_bytes = node_disk_queue(c),
                        .epoch = ledger_epoch(purge_ledger(n->purge)),
                        .verdict = node_verdict,
                        .verdict_arg = n};
    for (msec_t end = clock_now().boot + patience;;) {
        warm_t *warm = NULL;
        err_t e = warm_open(&o, &warm, err);
        if (e == ERR_OK)
            node_open_ghosts(n, c);
        atomic_store(&n->warm, warm);
        if (e == ERR_OK || clock_now().boot >= end)
            return e;
        usleep(NODE_DRAIN_POLL);
    }
}

static err_t node_open_log(node_t *n, arena_t *a, char *err)
{
    const conf_t *c = n->conf;
    static const accesslog_to_t to[] = {ACCESSLOG_OFF, ACCESSLOG_STDOUT, ACCESSLOG_SYSLOG, ACCESSLOG_FILE};
    accesslog_options_t o = {.to = to[c->log.access],
                             .format = c->log.format == CONF_FORMAT_COMBINED ? ACCESSLOG_COMBINED : ACCESSLOG_JSON,
                             .path = c->log.path.p != NULL ? node_cstr(a, c->log.path) : NULL,
                             .recent = n->recent = recent_new(),
                             .workers = n->workers_n};
    return accesslog_open(&o, &n->log, err, NODE_ERROR_MAX);
}

err_t node_open(const conf_t *conf, const node_inherited_t *inherited, node_t **out, char *err)
{
    node_t *n = mem_zalloc(sizeof *n);
    *out = n;
    arena_t a;
    arena_init(&a, 0);
    n->conf = conf_ref(conf);
    n->started = clock_now();
    n->workers_n = node_workers(conf);
    pthread_mutex_init(&n->mutex, NULL);
    pthread_rwlock_init(&n->warm_gate, NULL);
    msec_t patience = inherited != NULL ? inherited->patience : 0;
    n->node_member = mem_alloc(2 * conf->node.n + 3);
    node_member(conf->node, n->node_member);
    n->health = health_new();
    n->resolve = resolve_new();
    if (n->resolve != NULL)
        resolve_configure(n->resolve, conf);
    n->upstreams = upstreams_new(n->health, conf);
    n->replay = replay_new(n->started, TIER_WINDOW, REPLAY_DEFAULT_CAPACITY);
    n->limiter = limiter_new(LIMITER_CLIENTS, (uint64_t)arc4random() << 32 | arc4random());
    n->collapse = collapse_new();
    n->hot = hot_new(n->workers_n, n->started.boot);
    n->store = store_open(&(store_options_t){.bytes = conf->memory.size,
                                             .policy = evict_at(conf->memory.eviction),
                                             .on_evict = node_on_evict,
                                             .on_worthy = node_on_worthy,
                                             .arg = n});
    serve_options_t serve;
    err_t e = node_serve_options(conf, n->workers_n, inherited, &serve, &a);
    if (e == ERR_OK)
        e = node_check_upstreams(conf, err);
    if (e == ERR_OK)
        e = serve_open(&serve, &n->serve, err, NODE_ERROR_MAX);
    if (e == ERR_OK && conf->user.p != NULL)
        e = privilege_drop(conf->user, (span_t[]){conf->state, conf->disk.present ? conf->disk.path : SPAN_NONE}, 2,
                           err, NODE_ERROR_MAX);
    if (e == ERR_OK)
        e = node_open_log(n, &a, err);
    if (e == ERR_OK)
        e = node_open_purge(n, &a, patience, err);
    if (e == ERR_OK)
        e = node_open_disk(n, &a, patience, err);
    if (e == ERR_OK) {
        node_upkeep_init(&n->upkeep, n->store, n->purge, n->collapse, conf->disk.present);
        node_memory_init(&n->memory, n->store, conf->memory.size);
        node_admin_open(n);
    }
    arena_release(&a);
    if (e != ERR_OK) {
        node_free(n);
        *out = NULL;
    }
    return e;
}

err_t node_start(node_t *n, char *err)
{
    warm_stats_t disk = {0};
    warm_t *warm = atomic_load(&n->warm);
    if (warm != NULL)
        warm_stats(warm, &disk);
    node_watch(n);
    err_t e = purge_start(n->purge, disk.objects > 0);
    n->purge_started = e == ERR_OK;
    if (e != ERR_OK)
        snprintf(err, NODE_ERROR_MAX, "the threads of the purge log can't be started");
    n->coder = coder_open(n->store, true);
    worker_conf_t labels;
    node_labels(n, n->conf, &labels);
    if (n->resolve != NULL)
        resolve_settle(n->resolve, NODE_NAMES_WAIT);
    n->workers = mem_zalloc(n->workers_n * sizeof *n->workers);
    for (unsigned i = 0; i < n->workers_n; i++) { /* all are there before the first may be asked for status */
        worker_options_t o = {.index = i,
                              .serve = n->serve,
                              .store = n->store,
                              .warm = warm,
                              .purge = n->purge,
                              .collapse = n->collapse,
                              .coder = n->coder,
                              .hot = n->hot,
                              .workers = n->workers_n,
                              .replay = n->replay,
                              .resolve = n->resolve,
                              .limiter = n->limiter,
                              .log = n->log,
                              .node = n->conf->node,
                              .node_member = span_str(n->node_member),
                              .started = n->started.wall,
                              .admin = admin_handle,
                              .admin_ctx = n->admin,
                              .purge_method = api_purge_method,
                              .purge_ctx = &n->api};
        o.conf = labels;
        o.conf.upstreams = upstreams_ref(n->upstreams);
        n->workers[i] = worker_new(&o);
    }
    for (unsigned i = 0; e == ERR_OK && i < n->workers_n; i++) {
        e = worker_start(n->workers[i]);
        if (e == ERR_OK)
            n->workers_started++;
        else
            snprintf(err, NODE_ERROR_MAX, "worker %u can't be started: out of memory, threads or descriptors", i);
    }
    return e;
}

/* ---- running ---- */

/* For tests: the file that BRINK_TEST_DISK_STALL names says how many milliseconds each operation of the disk threads
 * takes longer. */
static void node_test_stall(node_t *n)
{
    const char *path = getenv("BRINK_TEST_DISK_STALL");
    warm_t *warm = atomic_load(&n->warm);
    FILE *f = path != NULL && warm != NULL ? fopen(path, "re") : NULL;
    long long ms = 0;
    if (f == NULL)
        return;
    if (fscanf(f, "%lld", &ms) == 1)
        warm_stall(warm, ms);
    fclose(f);
}

bool node_tick(node_t *n, char *err)
{
    node_test_stall(n);
    node_upkeep_tick(&n->upkeep, atomic_load(&n->warm), clock_now());
    node_memory_tick(&n->memory, node_memory_resident(), clock_now().boot);
    upstreams_t *u = node_upstreams(n);
    upstreams_sweep(u, clock_now().boot);
    upstreams_unref(u);
    pthread_mutex_lock(&n->mutex);
    bool refused = n->refused[0] != '\0';
    snprintf(err, NODE_ERROR_MAX, "%s", n->refused);
    pthread_mutex_unlock(&n->mutex);
    return refused;
}

err_t node_reload(node_t *n, const conf_t *conf, char *err)
{
    arena_t a;
    serve_options_t serve;
    arena_init(&a, 0);
    err_t e = node_serve_options(conf, n->workers_n, NULL, &serve, &a);
    if (e == ERR_OK)
        e = node_check_upstreams(conf, err);
    if (e == ERR_OK)
        e = serve_reload_certificates(n->serve, &serve, err, NODE_ERROR_MAX);
    arena_release(&a);
    if (e != ERR_OK)
        return e;
    size_t at = 0;
    for (const char *what; (what = conf_restart_needed(n->conf, conf, &at)) != NULL;)
        log_warn("the change of \"%s\" takes effect at the next start", what);
    node_admin_tokens(n, conf);
    upstreams_t *fresh = upstreams_new(n->health, conf);
    worker_conf_t c;
    node_labels(n, conf, &c);
    if (n->resolve != NULL)
        resolve_configure(n->resolve, conf);
    for (unsigned i = 0; i < n->workers_started; i++) {
        c.upstreams = upstreams_ref(fresh);
        worker_configure(n->workers[i], &c);
    }
    pthread_mutex_lock(&n->mutex);
    upstreams_t *before = n->upstreams;
    n->upstreams = fresh;
    pthread_mutex_unlock(&n->mutex);
    upstreams_unref(before);
    node_reopen_log(n);
    return ERR_OK;
}

void node_reloaded(bool ok)
{
    metrics_add(METRIC_RELOADS, ok ? LABEL_OUTCOME_OK : LABEL_OUTCOME_FAILED, 1);
}

void node_reopen_log(node_t *n)
{
    if (n->log != NULL)
        accesslog_reopen(n->log);
}

bool node_socket_at(node_t *n, size_t i, serve_inherited_t *out)
{
    return serve_socket_at(n->serve, i, out);
}

/* ---- stopping ---- */

typedef struct node_saving {
    node_t *node;
    warm_t *warm;
    msec_t deadline;
} node_saving_t;

/* SIGTERM keeps what is fresh, whether it was hit twice or not. Never takes anything out. */
static store_fate_t node_save(object_t *o, void *arg)
{
    node_saving_t *s = arg;
    stored_t meta = object_meta(o);
    bool coded = (atomic_load_explicit(&o->flags, memory_order_relaxed) & OBJECT_CODED) != 0;
    if (!coded && (meta.flags & STORED_HIT_FOR_MISS) == 0 && stored_ttl(&meta, clock_now().wall) > 0 &&
        clock_now().boot < s->deadline)
        warm_put_wait(s->warm, o, s->deadline);
    return STORE_KEEP;
}

static void node_close_disk(node_t *n, msec_t deadline)
{
    pthread_rwlock_wrlock(&n->warm_gate);
    warm_t *warm = atomic_exchange(&n->warm, NULL);
    pthread_rwlock_unlock(&n->warm_gate);
    if (warm == NULL)
        return;
    node_saving_t s = {.node = n, .warm = warm, .deadline = deadline};
    uint64_t cursor = 0;
    do
        store_sweep(n->store, &cursor, NODE_SAVE_STEPS, node_save, &s);
    while (cursor != 0 && clock_now().boot < deadline);
    if (warm_flush(warm, deadline) != ERR_OK)
        log_warn("not everything that was fresh could be written to disk within the drain time");
    warm_close(warm);
}

/* Disk and state go to the new process at once; what is still served here does without them, and trusts nothing stored.
 */
static void node_give_up_files(node_t *n, msec_t deadline)
{
    if (n->purge_started)
        purge_stop(n->purge);
    for (unsigned i = 0; i < n->workers_started; i++)
        worker_forget_disk(n->workers[i]);
    for (unsigned i = 0; i < n->workers_started; i++)
        while (!worker_forgot_disk(n->workers[i]) && clock_now().boot < deadline)
            usleep(NODE_DRAIN_POLL);
    node_close_disk(n, deadline);
}

void node_stop(node_t *n, bool handing_over)
{
    msec_t deadline = clock_now().boot + n->conf->drain;
    atomic_store(&n->draining, true);
    if (handing_over)
        serve_keep_sockets(n->serve);
    for (unsigned i = 0; i < n->workers_started; i++)
        worker_drain(n->workers[i]);
    if (handing_over)
        node_give_up_files(n, deadline);
    for (unsigned i = 0; i < n->workers_started; i++)
        while (!worker_idle(n->workers[i]) && clock_now().boot < deadline)
            usleep(NODE_DRAIN_POLL);
    node_unwatch(n);
    for (unsigned i = 0; i < n->workers_started; i++)
        worker_stop(n->workers[i]);
    /* saving has a share of its own when requests used the time up */
    node_close_disk(n, deadline > clock_now().boot + 1000 ? deadline : clock_now().boot + 1000);
    if (n->purge_started)
        purge_stop(n->purge);
    size_t ran = 1;
    for (unsigned round = 0; ran > 0 && round < NODE_SETTLE_ROUNDS; round++) {
        ran = 0;
        for (unsigned i = 0; i < n->workers_started; i++)
            ran += worker_settle(n->workers[i]);
    }
}

void node_free(node_t *n)
{
    if (n == NULL)
        return;
    for (unsigned i = 0; i < n->workers_n && n->workers != NULL; i++)
        worker_free(n->workers[i]);
    free(n->workers);
    coder_close(n->coder);
    if (n->admin != NULL)
        admin_release(n->admin);
    auth_free(n->auth);
    warm_close(atomic_load(&n->warm));
    if (n->purge != NULL)
        purge_free(n->purge);
    if (n->serve != NULL)
        serve_close(n->serve);
    if (n->log != NULL)
        accesslog_close(n->log);
    recent_free(n->recent);
    hot_free(n->hot);
    if (n->evicted != NULL)
        store_unreserve(n->store, n->evicted_bytes);
    store_close(n->store);
    seen_free(n->evicted);
    collapse_free(n->collapse);
    replay_free(n->replay);
    limiter_free(n->limiter);
    upstreams_unref(n->upstreams);
    health_free(n->health);
    resolve_free(n->resolve);
    while (n->labels != NULL) {
        node_labels_t *l = n->labels;
        n->labels = l->next;
        free(l);
    }
    free(n->node_member);
    conf_unref(n->conf);
    pthread_rwlock_destroy(&n->warm_gate);
    pthread_mutex_destroy(&n->mutex);
    free(n);
}
