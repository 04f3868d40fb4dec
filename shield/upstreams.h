/* The router on the living state: what fetch asks for the next server to send a request to.
 *
 * An upstreams_t belongs to one configuration snapshot (it holds references to the snapshot and to the health view), is
 * immutable, atomically counted, and may be used on any thread. */
#ifndef BRINK_SHIELD_UPSTREAMS_H
#define BRINK_SHIELD_UPSTREAMS_H

#include "edge/conf/conf.h"
#include "shield/health.h"
#include "shield/route.h"

/* A shield node is overloaded from here on: more under way than UPSTREAMS_BOUND percent of its share, and at least
 * UPSTREAMS_FLOOR. */
enum { UPSTREAMS_BOUND = 125, UPSTREAMS_FLOOR = 16 };

typedef struct upstreams upstreams_t;

upstreams_t *upstreams_new(health_t *health, const conf_t *conf);
upstreams_t *upstreams_ref(upstreams_t *u);
void upstreams_unref(upstreams_t *u);
const conf_t *upstreams_conf(const upstreams_t *u);
health_view_t *upstreams_health(const upstreams_t *u);

typedef enum upstreams_verdict {
    UPSTREAMS_GO,     /* the request counts as under way: health_end follows */
    UPSTREAMS_QUEUED, /* a place at `server` is waited for: the waiter is told */
    UPSTREAMS_NONE,   /* nothing (more) to try: 502, or 504 after a timeout */
    UPSTREAMS_OUT,    /* nobody is well: 503 */
    UPSTREAMS_FULL    /* no place free, and none to wait at: 503 */
} upstreams_verdict_t;

typedef struct upstreams_target {
    upstreams_verdict_t verdict;
    route_kind_t kind;
    const conf_origin_t *server; /* lives as long as the snapshot */
    health_server_t *health;
} upstreams_target_t;

typedef struct upstreams_want {
    const conf_site_t *site;
    digest_t key;
    bool shared;             /* one fetch for many: it stays with the owner of its key, however loaded that is */
    health_waiter_t *waiter; /* NULL: doesn't wait */
} upstreams_want_t;

/* The next server. `route` is kept by the caller from try to try; after a failure call route_failed(route, …) and ask
 * again. All but the first try take from the node's retry budget. */
upstreams_target_t upstreams_next(const upstreams_t *u, const upstreams_want_t *want, route_t *route, msec_t boot);

/* Takes out origins that answer much slower than the others of their site, at most half of them. Not shield nodes: how
 * long those take depends on the keys that they own. To be called every second or so. */
void upstreams_sweep(const upstreams_t *u, msec_t boot);

#endif
