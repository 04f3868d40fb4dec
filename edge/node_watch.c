/* What can be seen of the whole node: the picture behind /v1/status, and the numbers that are read only when metrics
 * are exported. */
#include <stdlib.h>

#include "edge/admin/process.h"
#include "edge/base/clock.h"
#include "edge/base/mem.h"
#include "edge/node_priv.h"
#include "edge/tbl/metrics.h"

bool node_ready(void *ctx)
{
    node_t *n = ctx;
    return purge_ready(n->purge) && !atomic_load(&n->draining);
}

static const char *node_redis_word(purge_redis_t r)
{
    static const char *const words[] = {"none", "connected", "disconnected"};
    return words[r];
}

static void node_status_upstreams(node_t *n, status_t *out, arena_t *a)
{
    upstreams_t *u = node_upstreams(n);
    const conf_t *conf = upstreams_conf(u);
    status_upstream_t *list = arena_zalloc(a, (conf->upstreams_n + 1) * sizeof *list);
    msec_t boot = clock_now().boot;
    for (size_t i = 0; i < conf->upstreams_n; i++) {
        health_state_t s;
        health_read(health_at(upstreams_health(u), i), boot, &s);
        list[i] = (status_upstream_t){.name = arena_copy(a, s.url),
                                      .healthy = s.healthy,
                                      .requests = s.requests,
                                      .failures = s.failures,
                                      .in_flight = s.in_flight,
                                      .waiting = s.waiting,
                                      .latency_micros = s.latency_micros,
                                      .ejections = s.ejections,
                                      .ejected_for = s.ejected_for,
                                      .circuit = health_word(&s),
                                      .why = health_why(s.why)};
        for (size_t k = 0; k < conf->shield.nodes_n; k++)
            list[i].shield |= conf->shield.nodes[k].index == i;
    }
    out->upstreams = list;
    out->upstreams_n = conf->upstreams_n;
    upstreams_unref(u);
}

/* What is counted for a tier wherever it happens. */
static void node_status_counts(status_tier_t *t, unsigned tier, arena_t *a)
{
    static const struct {
        const char *name;
        unsigned reason;
    } reasons[] = {{"space", LABEL_REASON_SPACE},     {"replaced", LABEL_REASON_REPLACED},
                   {"removed", LABEL_REASON_REMOVED}, {"crowded", LABEL_REASON_CROWDED},
                   {"purged", LABEL_REASON_PURGED},   {"rotated", LABEL_REASON_ROTATED},
                   {"damaged", LABEL_REASON_DAMAGED}, {"released", LABEL_REASON_RELEASED}};
    enum { N = sizeof reasons / sizeof *reasons };
    status_count_t *counts = arena_zalloc(a, N * sizeof *counts);
    for (size_t i = 0; i < N; i++) {
        uint64_t n = metrics_value(METRIC_EVICTIONS, metrics_label2(METRIC_EVICTIONS, tier, reasons[i].reason));
        if (n > 0)
            counts[t->evictions_n++] = (status_count_t){reasons[i].name, n};
    }
    t->evictions = counts;
}

static void node_status_tiers(node_t *n, status_t *out, arena_t *a)
{
    status_tier_t *tiers = arena_zalloc(a, 2 * sizeof *tiers);
    status_disk_t *more = arena_zalloc(a, sizeof *more);
    store_stats_t memory;
    store_stats(n->store, &memory);
    double all = (double)(metrics_total(METRIC_REQUESTS) > 0 ? metrics_total(METRIC_REQUESTS) : 1);
    uint64_t hits = metrics_value(METRIC_HITS, LABEL_TIER_MEMORY);
    tiers[out->tiers_n++] = (status_tier_t){.name = "memory",
                                            .objects = memory.objects,
                                            .bytes = memory.used,
                                            .budget = memory.budget,
                                            .hits = hits,
                                            .part = (double)hits / all};
    warm_t *warm = atomic_load(&n->warm);
    if (warm != NULL && more != NULL) {
        warm_stats_t disk;
        warm_stats(warm, &disk);
        hits = metrics_value(METRIC_HITS, LABEL_TIER_DISK);
        *more = (status_disk_t){.write_amplification =
                                    disk.put_bytes > 0 ? (double)disk.written_bytes / (double)disk.put_bytes : 1,
                                .segments = disk.segments,
                                .stalls = metrics_value(METRIC_DISK_STALLS, 0),
                                .damaged = disk.corrupt + disk.segments_dropped_bad,
                                .errors = disk.dropped_error,
                                .queue_bytes = disk.write_queue_bytes};
        tiers[out->tiers_n++] = (status_tier_t){.name = "disk",
                                                .objects = disk.objects,
                                                .bytes = disk.bytes,
                                                .budget = disk.budget,
                                                .hits = hits,
                                                .part = (double)hits / all,
                                                .disk = more};
        node_status_counts(&tiers[1], LABEL_TIER_DISK, a);
    }
    node_status_counts(&tiers[0], LABEL_TIER_MEMORY, a);
    out->tiers = tiers;
}

void node_status(void *ctx, status_t *out, arena_t *a)
{
    node_t *n = ctx;
    now_t now = clock_now();
    out->version = BRINK_VERSION;
    out->node = n->conf->node;
    out->role = n->conf->tier.present ? "shield" : "edge";
    out->started = n->started.wall;
    out->uptime = now.boot - n->started.boot;
    out->ready = node_ready(n);
    out->draining = atomic_load(&n->draining);
    node_status_tiers(n, out, a);
    node_status_upstreams(n, out, a);
    status_worker_t *workers = arena_zalloc(a, (n->workers_n + 1) * sizeof *workers);
    for (unsigned i = 0; i < n->workers_n; i++) {
        serve_stats_t s;
        if (!worker_stats(n->workers[i], &s))
            continue;
        for (int p = 0; p < SERVE_PROTOCOLS; p++)
            workers[i].connections += s.open[p];
        workers[i].accepted = s.accepted[SERVE_NEW];
        workers[i].requests = s.requests;
    }
    out->workers = workers;
    out->workers_n = n->workers_n;
    purge_status_t p;
    purge_status(n->purge, &p);
    out->purge = (status_purge_t){.cursor = arena_copy(a, span_str(p.cursor)).p,
                                  .position = p.position,
                                  .gaps = p.gaps,
                                  .undelivered = p.undelivered,
                                  .lag_seconds = p.lag_seconds,
                                  .redis = node_redis_word(p.redis),
                                  .in_doubt = p.in_doubt,
                                  .recorder = p.recorder};
}

/* ---- metrics ---- */

static void node_measure_serve(node_t *n)
{
    serve_stats_t sum = {0};
    for (unsigned i = 0; i < n->workers_n; i++) {
        serve_stats_t s;
        if (!worker_stats(n->workers[i], &s))
            continue;
        for (int p = 0; p < SERVE_PROTOCOLS; p++)
            sum.open[p] += s.open[p], sum.accepted[p] += s.accepted[p];
        for (int f = 0; f < SERVE_FLOODS; f++)
            sum.floods[f] += s.floods[f];
        for (int r = 0; r < SERVE_REAPS; r++)
            sum.reaped[r] += s.reaped[r];
        sum.handshakes_failed += s.handshakes_failed;
        sum.over_limit += s.over_limit;
        sum.refused += s.refused;
    }
    for (unsigned p = 0; p < SERVE_PROTOCOLS; p++) {
        metrics_gauge_set(METRIC_CONNECTIONS, p, (int64_t)sum.open[p]);
        metrics_gauge_set(METRIC_ACCEPTED, p, (int64_t)sum.accepted[p]);
    }
    for (unsigned f = 0; f < SERVE_FLOODS; f++)
        metrics_gauge_set(METRIC_FLOODS, f, (int64_t)sum.floods[f]);
    for (unsigned r = 0; r < SERVE_REAPS; r++)
        metrics_gauge_set(METRIC_REAPED, r, (int64_t)sum.reaped[r]);
    metrics_gauge_set(METRIC_OVER_LIMIT, 0, (int64_t)sum.over_limit);
    metrics_gauge_set(METRIC_REFUSED, 0, (int64_t)sum.refused);
    metrics_gauge_set(METRIC_HANDSHAKES, LABEL_OUTCOME_OK, (int64_t)(sum.accepted[SERVE_H1S] + sum.accepted[SERVE_H2]));
    metrics_gauge_set(METRIC_HANDSHAKES, LABEL_OUTCOME_FAILED, (int64_t)sum.handshakes_failed);
}

static void node_measure_tiers(node_t *n)
{
    store_stats_t m;
    store_stats(n->store, &m);
    metrics_gauge_set(METRIC_OBJECTS, LABEL_TIER_MEMORY, (int64_t)m.objects);
    metrics_gauge_set(METRIC_BYTES_STORED, LABEL_TIER_MEMORY, (int64_t)m.used);
    metrics_gauge_set(METRIC_BUDGET, LABEL_TIER_MEMORY, (int64_t)m.budget);
    warm_t *warm = atomic_load(&n->warm);
    if (warm == NULL)
        return;
    warm_stats_t d;
    warm_stats(warm, &d);
    metrics_gauge_set(METRIC_OBJECTS, LABEL_TIER_DISK, (int64_t)d.objects);
    metrics_gauge_set(METRIC_BYTES_STORED, LABEL_TIER_DISK, (int64_t)d.bytes);
    metrics_gauge_set(METRIC_BUDGET, LABEL_TIER_DISK, (int64_t)d.budget);
    metrics_gauge_set(METRIC_DISK_QUEUE, 0, (int64_t)d.write_queue_bytes);
    metrics_gauge_set(METRIC_SEGMENTS, 0, (int64_t)d.segments);
    metrics_gauge_set(METRIC_DISK_STORED, 0, (int64_t)d.put_bytes);
    metrics_gauge_set(METRIC_DISK_WRITTEN, 0, (int64_t)d.written_bytes);
    metrics_gauge_set(METRIC_DISK_DAMAGED, 0, (int64_t)(d.corrupt + d.segments_dropped_bad));
    metrics_gauge_set(METRIC_WRITE_AMPLIFICATION, 0,
                      d.put_bytes > 0 ? (double)d.written_bytes / (double)d.put_bytes : 1);
    metrics_gauge_set(METRIC_ADMISSIONS, LABEL_ADMISSION_WRITTEN, (int64_t)d.puts);
    metrics_gauge_set(METRIC_ADMISSIONS, LABEL_ADMISSION_REFUSED,
                      (int64_t)atomic_load_explicit(&n->writes_spared, memory_order_relaxed));
    metrics_gauge_set(METRIC_ADMISSIONS, LABEL_ADMISSION_QUEUE_FULL, (int64_t)d.dropped_full);
    metrics_gauge_set(METRIC_ADMISSIONS, LABEL_ADMISSION_FAILED, (int64_t)(d.dropped_big + d.dropped_error));
    metrics_gauge_set(METRIC_DISK_READS, LABEL_READ_THREAD, (int64_t)d.gets);
    metrics_gauge_set(METRIC_DISK_READS, LABEL_READ_RESIDENT, (int64_t)d.gets_now);
    metrics_gauge_set(METRIC_DISK_ERRORS, 0, (int64_t)d.dropped_error);
}

static void node_measure_purge(node_t *n)
{
    purge_status_t p;
    purge_status(n->purge, &p);
    metrics_gauge_set(METRIC_PURGE_LAG, 0, p.lag_seconds);
    metrics_gauge_set(METRIC_PURGE_GAPS, 0, (int64_t)p.gaps);
    metrics_gauge_set(METRIC_PURGE_POSITION, 0, (int64_t)p.position);
    metrics_gauge_set(METRIC_LEDGER_ENTRIES, 0, (int64_t)p.ledger.values);
    metrics_gauge_set(METRIC_LEDGER_BYTES, 0, (int64_t)p.ledger.bytes);
    metrics_gauge_set(METRIC_LEDGER_FLOOR_RAISED, 0, (int64_t)p.ledger.collapses);
    metrics_gauge_set(METRIC_REDIS_RECONNECTS, 0, (int64_t)p.reconnects);
    metrics_gauge_set(METRIC_JOURNAL_WAITING, 0, (int64_t)p.undelivered);
    metrics_gauge_set(METRIC_REDIS_CONNECTED, 0, p.redis == PURGE_REDIS_CONNECTED);
    for (unsigned k = 0; k < MESSAGE_KINDS; k++)
        for (unsigned s = 0; s < PURGE_SOURCES; s++)
            metrics_gauge_set(METRIC_PURGES, metrics_label2(METRIC_PURGES, k, s), (int64_t)p.count[k][s]);
}

static void node_measure(void *arg)
{
    node_t *n = arg;
    node_measure_serve(n);
    node_measure_tiers(n);
    node_measure_purge(n);
    metrics_gauge_set(METRIC_READY, 0, node_ready(n));
    metrics_gauge_set(METRIC_WORKERS, 0, n->workers_n);
    upstreams_t *u = node_upstreams(n);
    const conf_t *conf = upstreams_conf(u);
    msec_t boot = clock_now().boot;
    for (size_t i = 0; i < conf->upstreams_n; i++) {
        health_state_t s;
        unsigned label = metrics_label_register(METRIC_DIM_UPSTREAM, conf->upstreams[i]->url);
        health_read(health_at(upstreams_health(u), i), boot, &s);
        metrics_gauge_set(METRIC_UPSTREAM_HEALTHY, label, s.healthy);
        metrics_gauge_set(METRIC_UPSTREAM_IN_FLIGHT, label, s.in_flight);
    }
    upstreams_unref(u);
}

void node_watch(node_t *n)
{
    process_metrics();
    metrics_hook(node_measure, n);
}

void node_unwatch(node_t *n)
{
    metrics_hook(NULL, n);
}
