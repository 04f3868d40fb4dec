/* May this stored response answer this request now? RFC 9111 4, 5.2.1; RFC 5861; RFC 8246. Pure. The verdict carries
 * its reason. */
#ifndef BRINK_POLICY_REUSE_H
#define BRINK_POLICY_REUSE_H

#include "edge/policy/stored.h"
#include "edge/policy/why.h"

/* What the purge ledger says of a stored response; the order is the severity. */
typedef enum mark {
    MARK_NONE,
    MARK_SOFT,   /* stale from now on */
    MARK_STRICT, /* not used without a validation that reached the origin */
    MARK_HARD    /* never used again */
} mark_t;

/* Directives of a request, parsed once. */
typedef struct request_cc {
    bool no_cache, no_store, only_if_cached;
    bool max_stale_any;
    msec_t max_age, min_fresh, max_stale; /* -1 when absent */
    msec_t stale_if_error;                /* -1 when absent: RFC 5861 4 */
    bool has_authorization;
    bool has_range;
    bool no_transform; /* RFC 9111 5.2.1.6 */
} request_cc_t;

void request_cc_parse(request_cc_t *out,
                      const fields_t *request); /* Cache-Control, and Pragma where that is absent (RFC 9111 5.4) */

typedef enum reuse {
    REUSE_HIT,              /* fresh: send it */
    REUSE_STALE,            /* stale but allowed, nothing to refresh (max-stale) */
    REUSE_STALE_REVALIDATE, /* stale-while-revalidate: send it, refresh in the background */
    REUSE_VALIDATE,         /* ask the origin first, with validators if there are any */
    REUSE_UNUSABLE,         /* as if it weren't there; no validators either */
    REUSE_GATEWAY_TIMEOUT   /* only-if-cached and nothing to send: 504 */
} reuse_t;

/* Why: a row of reuse.def. */
typedef enum reuse_reason {
#define REUSE_REASON(id, word, section) id,
#include "edge/policy/reuse.def"
} reuse_reason_t;

typedef struct reuse_verdict {
    reuse_t use;
    reuse_reason_t reason;
} reuse_verdict_t;

reuse_verdict_t reuse_decide(const stored_t *s, mark_t mark, const request_cc_t *rq, msec_t now_wall);
/* The same decision, told rule by rule. */
reuse_verdict_t reuse_explain(const stored_t *s, mark_t mark, const request_cc_t *rq, msec_t now_wall, why_t *why);
/* The forwarded attempt failed (connect error, timeout) or gave 500, 502, 503 or 504: may the stored response be sent
 * instead? */
bool reuse_stale_if_error(const stored_t *s, mark_t mark, const request_cc_t *rq, msec_t now_wall);
/* Nobody upstream could be reached, or what answered did not speak HTTP: may the stored response be sent although
 * nothing was said about that? RFC 9111 4.2.4 allows a disconnected cache to serve what is stale; for how long is its
 * own to say: reuse_disconnected_most after it became stale (0: never). */
bool reuse_disconnected(const stored_t *s, mark_t mark, const request_cc_t *rq, msec_t now_wall);
msec_t reuse_disconnected_most(const stored_t *s);
const char *reuse_then(reuse_t use); /* what follows, in a word or two: "hit", "revalidate" … */
const char *reuse_word(reuse_reason_t r);
const char *reuse_section(reuse_reason_t r);

#endif
