/* Where the next attempt goes, and what that hop must be told: the Host it knows the site by; for a shield the tier's
 * signed field with the purges that the edge has applied, so that no older copy comes back. */
#include "edge/base/clock.h"
#include "edge/base/log.h"
#include "edge/fetch/fetch_priv.h"
#include "edge/tbl/metrics.h"

static err_t fetch_route_sign(fetch_t *f, fields_t *fields)
{
    const fetch_deps_t *d = f->deps;
    ledger_subject_t subject = {.uri = f->key.uri, .uri_digest = f->key.uri_digest};
    ledger_demand_t demand;
    ledger_demand(d->ledger, &subject, d->loop->now.boot, &demand);
    tier_t mine = {.node = d->node, .hops = f->spec.hops, .newer_than = demand.newer_than};
    if (demand.cursor.run_id[0] != '\0') {
        mine.run = span_str(demand.cursor.run_id);
        mine.cursor = arena_printf(&f->arena, "%llu-%llu", (unsigned long long)demand.cursor.ms,
                                   (unsigned long long)demand.cursor.seq);
    }
    tier_request_t bound = {
        .method = f->spec.method_name, .scheme = f->key.scheme, .host = f->key.host, .target = f->spec.target};
    span_t value = tier_sign(d->tier_key, &f->arena, &bound, &mine, d->loop->now.wall);
    return value.p != NULL ? fields_add(fields, TIER_FIELD, value) : ERR_TOO_BIG;
}

bool fetch_route_next(fetch_t *f, fields_t *fields)
{
    f->route.no_shield |= f->spec.past_shields || f->deps->tier_key == NULL;
    for (;;) {
        upstreams_target_t t =
            upstreams_next(f->spec.upstreams, f->spec.site, f->key.digest, &f->route, f->deps->loop->now.boot);
        if (t.kind == ROUTE_NONE)
            return false;
        f->hop = t;
        span_t host = t.kind == ROUTE_SHIELD            ? f->key.host
                      : f->spec.site->origin_host.n > 0 ? f->spec.site->origin_host
                                                        : f->key.host;
        if (fields_add(fields, SPAN("host"), host) != ERR_OK)
            return false;
        if (t.kind == ROUTE_ORIGIN || fetch_route_sign(f, fields) == ERR_OK)
            break;
        log_warn("request to shield %.*s can't be signed: going to the origin", SPAN_ARG(t.server->url));
        f->route.no_shield = true;
        fields_remove(fields, SPAN("host"));
        route_failed(&f->route, ROUTE_UNSENT);
    }
    health_begin(f->hop.health);
    if (f->failed != NULL)
        metrics_add(METRIC_UPSTREAM_RETRIES, f->labels[f->failed->index], 1);
    f->failed = NULL;
    f->answered = false;
    f->sent_nanos = clock_nanos();
    return true;
}

void fetch_route_answered(fetch_t *f, int status)
{
    f->answered = true;
    metrics_add2(METRIC_UPSTREAM_REQUESTS, f->labels[f->hop.server->index], metrics_status(status), 1);
    metrics_observe(METRIC_UPSTREAM_FIRST_BYTE, 0, clock_nanos() - f->sent_nanos);
}

/* What we gave up says nothing of the server unless it had answered by then. */
static health_result_t fetch_route_health(const fetch_t *f, upstream_result_t result)
{
    if (result == UPSTREAM_ABANDONED)
        return f->answered ? HEALTH_OK : HEALTH_UNKNOWN;
    return result == UPSTREAM_OK ? HEALTH_OK : HEALTH_FAILED;
}

void fetch_route_ended(fetch_t *f, upstream_result_t result)
{
    if (f->hop.health == NULL)
        return;
    unsigned label = f->labels[f->hop.server->index];
    health_end(f->hop.health, fetch_route_health(f, result), f->deps->loop->now.boot);
    f->hop.health = NULL;
    if (!f->answered)
        metrics_add2(METRIC_UPSTREAM_REQUESTS, label, metrics_status(0), 1);
    if (result == UPSTREAM_OK)
        metrics_observe(METRIC_UPSTREAM_DURATION, 0, clock_nanos() - f->sent_nanos);
    if (result == UPSTREAM_OK || result == UPSTREAM_ABANDONED)
        return;
    metrics_add2(METRIC_UPSTREAM_ERRORS, label, (unsigned)result, 1); /* the rows of both tables agree */
    f->failed = f->hop.server;
}
