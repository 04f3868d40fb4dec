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
    tier_t mine = {
        .node = d->node, .hops = f->spec.hops, .newer_than = demand.newer_than, .patience = fetch_fsm_patience(f)};
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

/* ---- waiting for a place ---- */

static void fetch_route_stop_waiting(fetch_t *f)
{
    f->queued = false;
    list_remove(&f->queued_link);
    loop_timer_stop(f->deps->loop, &f->patience);
}

/* On any thread: whoever ended a request there hands its place on. */
static void fetch_route_granted(health_waiter_t *w)
{
    fetch_t *f = CONTAINER_OF(w, fetch_t, waiter);
    loop_post(f->deps->loop, &f->told);
}

static void fetch_route_told(loop_message_t *m)
{
    fetch_t *f = CONTAINER_OF(m, fetch_t, told);
    bool wanted = f->queued; /* else it was given up while this message was on its way */
    if (wanted)
        fetch_route_stop_waiting(f);
    if (f->waiter.granted && !wanted) {
        health_end(f->place, HEALTH_UNKNOWN, 0, f->deps->loop->now.boot);
    } else if (f->waiter.granted) {
        f->hop.health = f->place;
        fetch_fsm_admitted(f);
    } else if (wanted) { /* elsewhere, if somebody else is well */
        f->route.optional = true;
        route_failed(&f->route, ROUTE_NOT_ADMITTED);
        if (fetch_route_next(f, false) == FETCH_ROUTE_GO)
            fetch_fsm_admitted(f);
        else
            fetch_fsm_unrouted(f);
    }
    fetch_unref(f); /* the waiter's */
}

static void fetch_route_impatient(loop_timer_t *t)
{
    fetch_t *f = CONTAINER_OF(t, fetch_t, patience);
    if (!health_leave(f->place, &f->waiter))
        return; /* the message that it may go is on its way */
    fetch_route_stop_waiting(f);
    if (f->result == UPSTREAM_OK)
        f->result = UPSTREAM_OVERLOAD;
    fetch_fsm_unrouted(f);
    fetch_unref(f); /* the waiter's */
}

void fetch_route_leave(fetch_t *f)
{
    if (!f->queued)
        return;
    fetch_route_stop_waiting(f);
    if (health_leave(f->place, &f->waiter))
        fetch_unref(f); /* the waiter's; else the message is on its way, and brings it */
}

void fetch_deps_init(fetch_deps_t *d)
{
    list_init(&d->queued);
    list_init(&d->cutting);
    d->stopping = false;
}

void fetch_stop(fetch_deps_t *d)
{
    d->stopping = true;
    for (list_t *l; (l = list_pop_front(&d->queued)) != NULL;)
        fetch_fsm_abandon(LIST_ITEM(l, fetch_t, queued_link));
    fetch_pieces_abandon(d);
}

/* ---- the next hop ---- */

void fetch_route_init(fetch_t *f)
{
    list_init(&f->waiter.link);
    list_init(&f->queued_link);
    f->waiter.run = fetch_route_granted;
    f->told.run = fetch_route_told;
    f->patience.run = fetch_route_impatient;
}

static void fetch_route_wait(fetch_t *f)
{
    fetch_ref(f);
    f->queued = true;
    list_push_back(&f->deps->queued, &f->queued_link);
    msec_t timeout = upstreams_conf(f->spec.upstreams)->upstream.queue_timeout;
    loop_timer_start(f->deps->loop, &f->patience, fetch_fsm_at_most(f, timeout));
}

fetch_route_verdict_t fetch_route_next(fetch_t *f, bool may_wait)
{
    upstreams_want_t want = {
        .site = f->spec.site, .key = f->key.digest, .shared = f->spec.share, .waiter = may_wait ? &f->waiter : NULL};
    f->route.no_shield |= f->spec.past_shields || f->deps->tier_key == NULL;
    if (f->deps->stopping)
        return FETCH_ROUTE_NONE;
    upstreams_target_t t = upstreams_next(f->spec.upstreams, &want, &f->route, f->deps->loop->now.boot);
    switch (t.verdict) {
    case UPSTREAMS_GO:
        f->hop = t;
        return FETCH_ROUTE_GO;
    case UPSTREAMS_QUEUED:
        f->hop = t;
        f->hop.health = NULL; /* nothing is under way yet */
        f->place = t.health;
        fetch_route_wait(f);
        return FETCH_ROUTE_WAIT;
    case UPSTREAMS_FULL:
        if (f->result == UPSTREAM_OK)
            f->result = UPSTREAM_OVERLOAD;
        return FETCH_ROUTE_NONE;
    case UPSTREAMS_NONE:
    case UPSTREAMS_OUT:
        break;
    }
    return FETCH_ROUTE_NONE;
}

static bool fetch_route_gateway_error(int status)
{
    return status == 502 || status == 503 || status == 504;
}

/* Not from a shield: it has tried all that there are. */
bool fetch_route_elsewhere(fetch_t *f, int status)
{
    if (!fetch_route_gateway_error(status) || f->hop.kind != ROUTE_ORIGIN || !f->route.idempotent || f->deps->stopping)
        return false;
    upstreams_want_t want = {.site = f->spec.site, .key = f->key.digest, .shared = f->spec.share};
    route_t other = f->route;
    other.optional = other.untried = true;
    upstreams_target_t t = upstreams_next(f->spec.upstreams, &want, &other, f->deps->loop->now.boot);
    if (t.verdict != UPSTREAMS_GO)
        return false;
    other.optional = f->route.optional;
    other.untried = f->route.untried;
    f->failed = f->hop.server;
    fetch_route_ended(f, UPSTREAM_OK);
    f->route = other;
    f->hop = t;
    return true;
}

upstream_target_t fetch_route_target(const conf_t *conf, const conf_origin_t *server, const conf_site_t *site)
{
    bool shield = site == NULL;
    return (upstream_target_t){.https = server->https,
                               .host = server->host,
                               .port = server->port,
                               .unix_path = server->unix_path,
                               .protocol = server->h2c                             ? UPSTREAM_H2C
                                           : server->https && conf->upstream.http2 ? UPSTREAM_HTTP2
                                                                                   : UPSTREAM_HTTP1,
                               .ca = shield ? conf->shield.ca : site->ca,
                               .certificate = shield ? conf->shield.client_certificate : site->client_certificate,
                               .key = shield ? conf->shield.client_key : site->client_key};
}

bool fetch_route_address(fetch_t *f, fields_t *fields)
{
    bool shield = f->hop.kind == ROUTE_SHIELD;
    span_t host = !shield && f->spec.site->origin_host.n > 0 ? f->spec.site->origin_host : f->key.host;
    if (fields_add(fields, SPAN("host"), host) != ERR_OK || (shield && fetch_route_sign(f, fields) != ERR_OK)) {
        log_warn("request to %.*s can't be %s", SPAN_ARG(f->hop.server->url),
                 shield ? "signed: going to the origin" : "made: it has too many fields");
        health_end(f->hop.health, HEALTH_UNKNOWN, 0, f->deps->loop->now.boot);
        f->hop.health = NULL;
        f->route.no_shield = true;
        f->route.ended = !shield;
        route_failed(&f->route, ROUTE_UNSENT);
        return false;
    }
    if (f->failed != NULL)
        metrics_add(METRIC_UPSTREAM_RETRIES, f->labels[f->failed->index], 1);
    f->failed = NULL;
    f->status = 0;
    f->sent_nanos = clock_nanos();
    f->sent = f->deps->loop->now.boot;
    return true;
}

void fetch_route_answered(fetch_t *f, int status)
{
    int64_t took = clock_nanos() - f->sent_nanos;
    f->status = status;
    health_answered(f->hop.health, took, f->deps->loop->now.boot);
    metrics_add2(METRIC_UPSTREAM_REQUESTS, f->labels[f->hop.server->index], metrics_status(status), 1);
    metrics_observe(METRIC_UPSTREAM_FIRST_BYTE, 0, took);
}

/* What we gave up says nothing of the server unless it had answered by then. A gateway's errors are an origin's own; a
 * shield only passes them on. */
static health_result_t fetch_route_health(const fetch_t *f, upstream_result_t result)
{
    bool gateway = f->hop.kind == ROUTE_ORIGIN && fetch_route_gateway_error(f->status);
    if (result == UPSTREAM_ABANDONED && f->status == 0)
        return HEALTH_UNKNOWN;
    if (result == UPSTREAM_FIRST_BYTE_TIMEOUT)
        return HEALTH_SILENT;
    if (result != UPSTREAM_OK && result != UPSTREAM_ABANDONED)
        return HEALTH_FAILED;
    return gateway ? HEALTH_ERROR : HEALTH_OK;
}

void fetch_route_ended(fetch_t *f, upstream_result_t result)
{
    if (f->hop.health == NULL)
        return;
    unsigned label = f->labels[f->hop.server->index];
    if (f->status == 101 && result != UPSTREAM_ABANDONED) /* how a tunnel ends is the business of its two ends */
        result = UPSTREAM_OK;
    health_end(f->hop.health, fetch_route_health(f, result), f->sent, f->deps->loop->now.boot);
    f->hop.health = NULL;
    if (f->status == 0)
        metrics_add2(METRIC_UPSTREAM_REQUESTS, label, metrics_status(0), 1);
    if (result == UPSTREAM_OK && f->status != 101)
        metrics_observe(METRIC_UPSTREAM_DURATION, 0, clock_nanos() - f->sent_nanos);
    if (result == UPSTREAM_OK || result == UPSTREAM_ABANDONED)
        return;
    metrics_add2(METRIC_UPSTREAM_ERRORS, label, (unsigned)result, 1); /* the rows of both tables agree */
    f->failed = f->hop.server;
}
