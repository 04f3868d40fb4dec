/* How the nodes of a tier know each other: one header field on the request from an edge to its shield, authenticated
 * with HMAC-SHA256 under the tier's secret.
 *
 *   brink-tier: v=1; node="edge-1"; t=1700000000000; nonce=0123456789abcdef01234567; hops="edge-1"; run=…;
 * cursor=1700000000000-0; newer-than-ms=1500; mac=…64 hex digits…
 *
 * The MAC covers method, scheme, host, target (path and query) and the bytes of the value before "; mac=", each as
 * sent. `run`, `cursor` and `newer-than-ms` may be absent. Why it is so stands in shield/README.md. */
#ifndef BRINK_SHIELD_TIER_H
#define BRINK_SHIELD_TIER_H

#include "edge/base/arena.h"
#include "edge/base/err.h"
#include "edge/base/time.h"
#include "edge/http/fields.h"

#define TIER_FIELD SPAN("brink-tier")
/* On a response from a shield: "1" when the copy is stale (softly purged included); the edge never stores it as fresh.
 */
#define TIER_STALE_FIELD SPAN("brink-tier-stale")
/* On a 403 or 508 from a shield: why the field was not believed, a word of tier_refusal(). The edge then goes on as if
 * the shield were down. */
#define TIER_REFUSED_FIELD SPAN("brink-tier-refused")

/* On an error of a shield's own: "1" when it stands for an upstream that could not be reached. The edge then is cut
 * off, too, and may send what it has (RFC 9111 4.2.4). */
#define TIER_UNREACHED_FIELD SPAN("brink-tier-unreached")

enum {
    TIER_WINDOW = 30 * 1000, /* ms that the clocks of two nodes may differ, transit included */
    TIER_MAX_HOPS = 4,
    TIER_MAX_VALUE = 1024, /* bytes of the field's value */
    TIER_NONCE_BYTES = 12
};

typedef struct tier_request {            /* what the MAC binds the field to; the same bytes on both sides */
    span_t method, scheme, host, target; /* "GET", "http" or "https", Host as sent, "/path?query" as sent */
} tier_request_t;

typedef struct tier {
    span_t node; /* the sender */
    msec_t sent; /* Unix ms by the sender's clock */
    unsigned char nonce[TIER_NONCE_BYTES];
    span_t hops;       /* names of the nodes that it came through, the sender last, joined by ',' */
    span_t run;        /* run_id of the Redis that the cursor was read under; absent */
    span_t cursor;     /* stream ID that the sender has applied; absent */
    msec_t newer_than; /* no copy older than so many ms may be used; -1: no such demand */
    msec_t patience;   /* the sender waits so many ms for a head; 0: it doesn't say */
} tier_t;

/* The secret made ready for signing. Belongs to one thread (each worker has its own). */
typedef struct tier_key tier_key_t;
tier_key_t *tier_key_new(span_t secret);
void tier_key_free(tier_key_t *k);

/* The field's value, in the arena; .p NULL when a part can't be sent (over TIER_MAX_VALUE, a quote in a name). `in`
 * gives node, run, cursor, newer_than, patience and in hops the list that the request itself came with (authenticated;
 * absent at the first edge): the node's own name is added to it. Nonce and time are filled in here: the time from
 * `wall`, the nonce at random. */
span_t tier_sign(tier_key_t *k, arena_t *a, const tier_request_t *req, const tier_t *in, msec_t wall);

/* ERR_SYNTAX: not of the form; ERR_REFUSED: the MAC is not right; ERR_TIMEOUT: the clocks differ by more than the
 * window. The spans of `out` are views into value. The caller then asks replay_seen (replay.h) and tier_loops. */
err_t tier_verify(tier_key_t *k, span_t value, const tier_request_t *req, msec_t wall, tier_t *out);
/* The form only, without the MAC: for logs and fuzzing. */
err_t tier_parse(span_t value, tier_t *out, span_t *signed_part, unsigned char mac[32]);
/* The node's own name is among the hops, or there are more than TIER_MAX_HOPS: 508. */
bool tier_loops(const tier_t *t, span_t own_name);
/* Fields that only nodes of the tier may send each other ("brink-tier", "brink-tier-…"): taken off whatever comes from
 * or goes to anyone else. */
bool tier_internal(span_t name);
void tier_strip(fields_t *fields);
/* A word for the log and TIER_REFUSED_FIELD: "syntax", "mac", "clock", "replay" (ERR_EXISTS), "loop" (ERR_RANGE). */
const char *tier_refusal(err_t e);

#endif
