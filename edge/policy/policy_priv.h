/* What the files of this folder share and nobody else needs. */
#ifndef BRINK_POLICY_PRIV_H
#define BRINK_POLICY_PRIV_H

#include "edge/base/time.h"
#include "edge/http/cache_control.h"
#include "edge/http/fields.h"

/* Which field the caching directives in force were read from (RFC 9213 2.2). */
typedef enum directives_source {
    DIRECTIVES_CACHE_CONTROL, /* Cache-Control and Expires, or neither */
    DIRECTIVES_BRINK,         /* one of the targeted fields, alone: Brink-CDN-Cache-Control */
    DIRECTIVES_CDN,           /* CDN-Cache-Control */
    DIRECTIVES_SURROGATE      /* Surrogate-Control */
} directives_source_t;

typedef struct directives {
    cache_control_t cc;
    directives_source_t source;
    bool expires;           /* there is an Expires and it counts */
    bool expires_malformed; /* … but it is no date, and not the customary "0" or "-1" either */
    bool no_cache, private; /* unqualified, or a qualified one whose fields are still there */
} directives_t;

/* The views in cc live as long as the response's fields and the arena. */
void directives_read(directives_t *d, const fields_t *response, arena_t *scratch);
bool directives_explicit(const directives_t *d); /* says how long it is fresh: RFC 9111 4.2.1 */
bool directives_lasting(const directives_t *d);  /* and says so legibly: for longer than no time, or until a date */

/* RFC 9110 15.1; minus what answers an odd request rather than the resource (400, 413, 414, 431, 501): such an answer
 * would be given to everybody else for as long as the guess says. */
bool directives_status_heuristic(int status);
/* The same with 414 and 501, which RFC 9110 15.1 lists too: for a request with nothing unusual about it, and then
 * because of the URI, which is in the key, or of the resource. */
bool directives_status_guessable(int status, const fields_t *request);
bool directives_status_odd(int status);

/* Opaque part of an entity tag with its quotes (RFC 9110 8.8.3), .p NULL when it is none. */
span_t directives_etag(span_t value, bool *strong);
/* delta-seconds (RFC 9111 1.2.2), at most CACHE_CONTROL_MOST; -1 when it is none. */
int64_t directives_seconds(span_t digits);

#endif
