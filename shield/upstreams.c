/* Gathers what the pure router wants to know, asks it, and takes a place at the server that it chose. */
#include "shield/upstreams.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "edge/base/check.h"
#include "edge/base/mem.h"
#include "edge/tbl/metrics.h"

struct upstreams {
    atomic_uint refs;
    conf_t *conf;
    health_view_t *health;
    budget_t *budget;
    ring_t ring;
    _Atomic uint64_t counter; /* makes the router's random number */
};

upstreams_t *upstreams_new(health_t *health, const conf_t *conf)
{
    upstreams_t *u = mem_zalloc(sizeof *u);
    span_t names[RING_MAX_NODES];
    uint32_t weights[RING_MAX_NODES];
    size_t n = conf->shield.nodes_n < RING_MAX_NODES ? conf->shield.nodes_n : RING_MAX_NODES;
    for (size_t i = 0; i < n; i++) {
        names[i] = conf->shield.nodes[i].url;
        weights[i] = conf->shield.nodes[i].weight;
    }
    atomic_init(&u->refs, 1);
    u->conf = conf_ref(conf);
    u->health = health_view_new(health, conf);
    u->budget = health_budget(health);
    ring_init(&u->ring, names, weights, n);
    return u;
}

upstreams_t *upstreams_ref(upstreams_t *u)
{
    CHECK(atomic_fetch_add_explicit(&u->refs, 1, memory_order_relaxed) > 0);
    return u;
}

void upstreams_unref(upstreams_t *u)
{
    if (u == NULL || atomic_fetch_sub_explicit(&u->refs, 1, memory_order_acq_rel) > 1)
        return;
    health_view_unref(u->health);
    conf_unref(u->conf);
    free(u);
}

const conf_t *upstreams_conf(const upstreams_t *u)
{
    return u->conf;
}

health_view_t *upstreams_health(const upstreams_t *u)
{
    return u->health;
}

/* SplitMix64: any counter becomes a number whose halves are worth choosing by. */
static uint64_t upstreams_random(upstreams_t *u, digest_t key)
{
    uint64_t x = (atomic_fetch_add_explicit(&u->counter, 1, memory_order_relaxed) + 1) * 0x9e3779b97f4a7c15ULL ^ key.lo;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
    return x ^ x >> 31;
}

static uint64_t upstreams_usable(const upstreams_t *u, const conf_origin_t *servers, size_t n, msec_t boot)
{
    uint64_t set = 0;
    for (size_t i = 0; i < n; i++)
        if (health_usable(health_at(u->health, servers[i].index), boot))
            set |= 1ULL << i;
    return set;
}

/* Bounded loads (Mirrokni, Thorup and Zadimoghaddam): no node takes much more than its share of what is under way; but
 * only what can't be collapsed spills, since a fetch that is shared would be made twice. */
static uint64_t upstreams_avoid(const upstreams_t *u, const upstreams_want_t *want, uint64_t usable, msec_t boot)
{
    const conf_shield_t *shield = &u->conf->shield;
    size_t n = shield->nodes_n < ROUTE_MAX ? shield->nodes_n : ROUTE_MAX;
    uint64_t total = 1, weights = 0, avoid = 0;
    for (size_t i = 0; i < n; i++)
        if (usable >> i & 1) {
            total += health_in_flight(health_at(u->health, shield->nodes[i].index));
            weights += shield->nodes[i].weight;
        }
    for (size_t i = 0; i < n; i++) {
        const health_server_t *s = health_at(u->health, shield->nodes[i].index);
        uint64_t load = health_in_flight(s);
        bool full = load >= u->conf->upstream.max_in_flight;
        bool over = load >= UPSTREAMS_FLOOR && load * 100 * weights > UPSTREAMS_BOUND * total * shield->nodes[i].weight;
        /* a node that starts slowly gets the same part of its keys from every edge */
        bool slow = want->key.hi % HEALTH_SHARE >= health_share(s, boot);
        if (full || slow || (over && !want->shared))
            avoid |= 1ULL << i;
    }
    return avoid;
}

typedef struct upstreams_loads {
    uint32_t in_flight[ROUTE_MAX], weight[ROUTE_MAX];
} upstreams_loads_t;

static void upstreams_gather(const upstreams_t *u, const conf_site_t *site, route_choice_t *c, upstreams_loads_t *l,
                             msec_t boot)
{
    for (size_t i = 0; i < c->origin_n; i++) {
        const conf_origin_t *o = &site->origins[i];
        const health_server_t *s = health_at(u->health, o->index);
        l->in_flight[i] = health_in_flight(s);
        l->weight[i] = o->weight * health_share(s, boot);
        if (o->backup)
            c->origin_backup |= 1ULL << i;
        if (l->in_flight[i] >= u->conf->upstream.max_in_flight)
            c->origin_full |= 1ULL << i;
    }
    c->origin_in_flight = l->in_flight;
    c->origin_weight = l->weight;
}

static bool upstreams_affords(const upstreams_t *u, const route_t *route, msec_t boot)
{
    if (route->shield_tries + route->origin_tries > 0) {
        bool affords = budget_retry(u->budget, u->conf->upstream.retry_budget, boot);
        if (!affords)
            metrics_add(METRIC_UPSTREAM_RETRIES_DENIED, 0, 1);
        return affords;
    }
    budget_request(u->budget, boot);
    return true;
}

upstreams_target_t upstreams_next(const upstreams_t *u, const upstreams_want_t *want, route_t *route, msec_t boot)
{
    const conf_shield_t *shield = &u->conf->shield;
    const conf_site_t *site = want->site;
    uint8_t order[RING_MAX_NODES];
    upstreams_loads_t loads;
    route_choice_t choice = {.shield_order = order,
                             .shield_n = shield->present ? ring_order(&u->ring, want->key, order) : 0,
                             .fall_back = shield->fallback == CONF_FALLBACK_ORIGIN,
                             .origin_n = site->origins_n < ROUTE_MAX ? site->origins_n : ROUTE_MAX,
                             .retries = u->conf->upstream.retries,
                             .random = upstreams_random((upstreams_t *)u, want->key)};
    upstreams_gather(u, site, &choice, &loads, boot);
    bool tried = route->shield_tries + route->origin_tries > 0;
    /* A server that didn't admit us isn't usable at the next turn; the bound is for servers that recover and fail again
     * meanwhile. */
    for (unsigned turn = 0; turn < 2 * ROUTE_MAX; turn++) {
        route_t before = *route;
        choice.shield_usable = upstreams_usable(u, shield->nodes, choice.shield_n, boot);
        choice.shield_avoid = upstreams_avoid(u, want, choice.shield_usable, boot);
        choice.origin_usable = upstreams_usable(u, site->origins, choice.origin_n, boot);
        route_target_t t = route_next(route, &choice);
        if (t.kind == ROUTE_NONE)
            return (upstreams_target_t){.verdict = tried || !route->optional ? UPSTREAMS_NONE : UPSTREAMS_OUT};
        if (turn == 0 && !upstreams_affords(u, &before, boot))
            return (upstreams_target_t){.verdict = UPSTREAMS_NONE};
        const conf_origin_t *server = t.kind == ROUTE_SHIELD ? &shield->nodes[t.index] : &site->origins[t.index];
        upstreams_target_t out = {.kind = t.kind, .server = server, .health = health_at(u->health, server->index)};
        health_ask_t ask = {.last = t.forced,
                            .limit = u->conf->upstream.max_in_flight,
                            .queue = u->conf->upstream.max_queue,
                            .waiter = route->optional ? NULL : want->waiter};
        switch (health_enter(out.health, &ask, boot)) {
        case HEALTH_GO:
            out.verdict = UPSTREAMS_GO;
            return out;
        case HEALTH_QUEUED:
            out.verdict = UPSTREAMS_QUEUED;
            return out;
        case HEALTH_FULL:
            return (upstreams_target_t){.verdict = UPSTREAMS_FULL};
        case HEALTH_OUT:
            if (t.forced)
                return (upstreams_target_t){.verdict = UPSTREAMS_OUT};
            route_failed(route, ROUTE_NOT_ADMITTED);
        }
    }
    return (upstreams_target_t){.verdict = UPSTREAMS_OUT};
}

/* ---- outliers ---- */

static int upstreams_by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void upstreams_compare(const upstreams_t *u, const conf_origin_t *servers, size_t n, msec_t boot)
{
    uint64_t mean[ROUTE_MAX], sorted[ROUTE_MAX];
    size_t with = 0, well = 0;
    for (size_t i = 0; i < n; i++) {
        health_server_t *s = health_at(u->health, servers[i].index);
        mean[i] = health_usable(s, boot) ? health_latency(s, boot) : 0;
        well += health_usable(s, boot);
        if (mean[i] > 0)
            sorted[with++] = mean[i];
    }
    if (with < 2)
        return;
    qsort(sorted, with, sizeof *sorted, upstreams_by_size);
    uint64_t median = sorted[(with - 1) / 2]; /* of two, the quicker one's */
    for (size_t i = 0; i < n; i++)
        if (mean[i] > HEALTH_SLOWER * median && mean[i] > median + HEALTH_SLOWER_MICROS && 2 * (well - 1) >= n) {
            health_outlier(health_at(u->health, servers[i].index), boot);
            well--;
        }
}

void upstreams_sweep(const upstreams_t *u, msec_t boot)
{
    const conf_t *c = u->conf;
    for (size_t i = 0; i < c->sites_n; i++)
        if (c->sites[i].origins_n > 1)
            upstreams_compare(u, c->sites[i].origins,
                              c->sites[i].origins_n < ROUTE_MAX ? c->sites[i].origins_n : ROUTE_MAX, boot);
}
