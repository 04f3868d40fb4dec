/* Where the next try of a request goes: a shield node in the ring's order, an origin, or nowhere. Pure: health comes in
 * as plain values, and randomness as an argument. upstreams.h ties it to the living state. */
#ifndef BRINK_SHIELD_ROUTE_H
#define BRINK_SHIELD_ROUTE_H

#include "edge/base/hash.h"
#include "shield/ring.h"

enum { ROUTE_MAX = 64 }; /* shield nodes, and origins of a site */

typedef enum route_kind { ROUTE_NONE, ROUTE_SHIELD, ROUTE_ORIGIN } route_kind_t;

typedef struct route_target {
    route_kind_t kind;
    size_t index; /* into the shield's nodes or the site's origins */
    bool forced;  /* no one was healthy: tried although it is ejected */
} route_target_t;

/* How the try before ended. */
typedef enum route_failure {
    ROUTE_UNSENT,      /* nothing of the request can have reached the server: any method may be tried elsewhere */
    ROUTE_SENT,        /* it may have been acted on: only idempotent requests are tried again (RFC 9110 9.2.2) */
    ROUTE_TIMED_OUT,   /* so too, and the same server is not asked again: it would be waited for once more, in vain */
    ROUTE_NOT_ADMITTED /* it was not tried at all: another request is the trial of an ejected server just now */
} route_failure_t;

/* One request's way. Plain data: zero it, set what is wanted, then route_next and, after a failure, route_failed and so
 * on. */
typedef struct route {
    /* set by the caller */
    bool idempotent;
    bool no_shield; /* go to the origin at once: the shield can't be used for this request */
    bool optional;  /* there is something else to answer with: what is ejected isn't tried, */
    bool untried;   /* nor, of the origins, what was tried before */
    /* private */
    uint64_t tried_shield, tried_origin;   /* bits by index */
    uint64_t silent_shield, silent_origin; /* those that did not answer in time */
    unsigned shield_tries, origin_tries;
    route_target_t last;
    bool ended;
} route_t;

/* What there is to choose from. */
typedef struct route_choice {
    const uint8_t *shield_order; /* from ring_order */
    size_t shield_n;             /* 0: no shield */
    uint64_t shield_usable;      /* bit i: node i is healthy */
    uint64_t shield_avoid;       /* bit i: the next in order had better take this one, if it may */
    bool fall_back;              /* to the origin when no shield answers */
    size_t origin_n;
    uint64_t origin_usable;
    uint64_t origin_backup;           /* bit i: only while none of the others is usable */
    uint64_t origin_full;             /* bit i: has no place free */
    const uint32_t *origin_in_flight; /* requests under way, by origin: the less loaded of two is taken */
    const uint32_t *origin_weight;    /* any unit; NULL: all alike */
    unsigned retries;                 /* of each layer; a second shield node is tried even with 0 */
    uint64_t random;                  /* any number that differs from request to request */
} route_choice_t;

route_target_t route_next(route_t *r, const route_choice_t *choice);
void route_failed(route_t *r, route_failure_t how);

#endif
