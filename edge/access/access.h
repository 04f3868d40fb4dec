/* Who may ask a site for anything at all: networks, rate, signatures. Asked before anything is looked up; what comes
 * from the tier has been asked by the edge. */
#ifndef BRINK_ACCESS_ACCESS_H
#define BRINK_ACCESS_ACCESS_H

#include "edge/access/limiter.h"
#include "edge/access/network.h"
#include "edge/access/signature.h"

/* What an operator may say of a site; conf fills it in. All of it lives as long as the configuration. */
typedef struct access_rules {
    const network_t *allow; /* as network_sort leaves them; none: everybody */
    size_t allow_n;
    const network_t *deny; /* stronger than allow */
    size_t deny_n;
    uint32_t rate;  /* requests a second that a client may make; 0: any number */
    uint32_t burst; /* at once; 0: as many as in a second */
    span_t by;      /* name of a request field that tells clients apart, lower case; absent: the address */
    span_t secret;  /* of signatures; absent: nothing is signed */
} access_rules_t;

typedef enum access_verdict {
    ACCESS_YES,
    ACCESS_NETWORK,   /* 403 */
    ACCESS_RATE,      /* 429 */
    ACCESS_UNSIGNED,  /* 403 */
    ACCESS_SIGNATURE, /* 403 */
    ACCESS_EXPIRED    /* 403 */
} access_verdict_t;

/* By address and rate. `peer`: the client's address as text; what has none (a unix socket) is in no network and is
 * counted as one client. `site` keeps the counts of sites apart. `now`: CLOCK_BOOTTIME in microseconds. *wait:
 * ACCESS_RATE: milliseconds until it may come again. Without a limiter the rate isn't asked. */
access_verdict_t access_client(const access_rules_t *r, limiter_t *limiter, unsigned site, span_t peer,
                               const fields_t *request, int64_t now, msec_t *wait);
/* By signature; path and host in normal form, `now` is wall time. */
access_verdict_t access_signed(const access_rules_t *r, arena_t *a, span_t host, span_t path,
                               const signature_url_t *url, const fields_t *request, msec_t now);

#endif
