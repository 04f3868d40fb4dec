/* The router on the living state: what fetch asks for the next server to send a request to.
 *
 * An upstreams_t belongs to one configuration snapshot (it holds references to the snapshot and to the health view), is
 * immutable, atomically counted, and may be used on any thread. */
#ifndef BRINK_SHIELD_UPSTREAMS_H
#define BRINK_SHIELD_UPSTREAMS_H

#include "edge/conf/conf.h"
#include "shield/health.h"
#include "shield/route.h"

typedef struct upstreams upstreams_t;

upstreams_t *upstreams_new(health_t *health, const conf_t *conf);
upstreams_t *upstreams_ref(upstreams_t *u);
void upstreams_unref(upstreams_t *u);
const conf_t *upstreams_conf(const upstreams_t *u);
health_view_t *upstreams_health(const upstreams_t *u);

typedef struct upstreams_target {
    route_kind_t kind;           /* ROUTE_NONE: nothing (more) to try: 502, or 504 after a timeout */
    const conf_origin_t *server; /* lives as long as the snapshot */
    health_server_t *health;     /* call health_begin and health_end around the request */
} upstreams_target_t;

/* The next server for a request for `site` with that key. `route` is kept by the caller from try to try; after a
 * failure call route_failed(route, …) and ask again. */
upstreams_target_t upstreams_next(const upstreams_t *u, const conf_site_t *site, digest_t key, route_t *route,
                                  msec_t boot);

#endif
