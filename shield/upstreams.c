/* Gathers what the pure router wants to know, asks it, and claims the trial when the choice is an ejected server whose
 * time is over. */
#include "shield/upstreams.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "edge/base/check.h"
#include "edge/base/mem.h"

struct upstreams {
    atomic_uint refs;
    conf_t *conf;
    health_view_t *health;
    ring_t ring;
    _Atomic uint64_t counter; /* makes the router's random number */
};

upstreams_t *upstreams_new(health_t *health, const conf_t *conf)
{
    upstreams_t *u = mem_zalloc(sizeof *u);
    span_t names[RING_MAX_NODES];
    size_t n = conf->shield.nodes_n < RING_MAX_NODES ? conf->shield.nodes_n : RING_MAX_NODES;
    for (size_t i = 0; i < n; i++)
        names[i] = conf->shield.nodes[i].url;
    atomic_init(&u->refs, 1);
    u->conf = conf_ref(conf);
    u->health = health_view_new(health, conf);
    ring_init(&u->ring, names, NULL, n);
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

static uint64_t upstreams_usable(const upstreams_t *u, const conf_origin_t *servers, size_t n, msec_t boot)
{
    uint64_t set = 0;
    for (size_t i = 0; i < n; i++)
        if (health_usable(health_at(u->health, servers[i].index), boot))
            set |= 1ULL << i;
    return set;
}

/* SplitMix64: any counter becomes a number whose halves are worth choosing by. */
static uint64_t upstreams_random(upstreams_t *u, digest_t key)
{
    uint64_t x = (atomic_fetch_add_explicit(&u->counter, 1, memory_order_relaxed) + 1) * 0x9e3779b97f4a7c15ULL ^ key.lo;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
    return x ^ x >> 31;
}

upstreams_target_t upstreams_next(const upstreams_t *u, const conf_site_t *site, digest_t key, route_t *route,
                                  msec_t boot)
{
    const conf_shield_t *shield = &u->conf->shield;
    uint8_t order[RING_MAX_NODES];
    uint32_t in_flight[ROUTE_MAX] = {0};
    size_t origins = site->origins_n < ROUTE_MAX ? site->origins_n : ROUTE_MAX;
    for (size_t i = 0; i < origins; i++)
        in_flight[i] = health_in_flight(health_at(u->health, site->origins[i].index));
    route_choice_t choice = {.shield_order = order,
                             .shield_n = shield->present ? ring_order(&u->ring, key, order) : 0,
                             .fall_back = shield->fallback == CONF_FALLBACK_ORIGIN,
                             .origin_n = origins,
                             .origin_in_flight = in_flight,
                             .retries = u->conf->upstream.retries,
                             .random = upstreams_random((upstreams_t *)u, key)};
    upstreams_target_t out = {.kind = ROUTE_NONE};
    /* A server that didn't admit us isn't usable at the next turn; the bound is for servers that recover and fail again
     * meanwhile. */
    for (unsigned turn = 0; turn < 2 * ROUTE_MAX; turn++) {
        choice.shield_usable = upstreams_usable(u, shield->nodes, choice.shield_n, boot);
        choice.origin_usable = upstreams_usable(u, site->origins, origins, boot);
        route_target_t t = route_next(route, &choice);
        if (t.kind == ROUTE_NONE)
            return (upstreams_target_t){.kind = ROUTE_NONE};
        const conf_origin_t *server = t.kind == ROUTE_SHIELD ? &shield->nodes[t.index] : &site->origins[t.index];
        out = (upstreams_target_t){.kind = t.kind, .server = server, .health = health_at(u->health, server->index)};
        if (t.forced || health_admit(out.health, boot))
            return out;
        route_failed(route, ROUTE_NOT_ADMITTED);
    }
    return out;
}
