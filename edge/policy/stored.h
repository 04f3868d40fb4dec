/* What a cache must know of a stored response to decide about its reuse without parsing a field again. Computed once,
 * when the response's head arrives (stored_describe), or when a 304 freshens it. Plain data: goes to disk as it is.
 * Pure. */
#ifndef BRINK_POLICY_STORED_H
#define BRINK_POLICY_STORED_H

#include "edge/base/time.h"
#include "edge/http/fields.h"
#include "edge/http/method.h"
#include "edge/policy/rules.h"
#include "edge/policy/why.h"

enum stored_flag {
    STORED_MUST_REVALIDATE =
        1u << 0,                /* must-revalidate, proxy-revalidate, s-maxage without an own stale-*: RFC 9111 5.2.2 */
    STORED_NO_CACHE = 1u << 1,  /* unqualified no-cache: validate before each reuse */
    STORED_IMMUTABLE = 1u << 2, /* RFC 8246 */
    STORED_HEURISTIC = 1u << 3, /* the lifetime is a guess: RFC 9111 4.2.2 */
    STORED_AUTH_SHARED = 1u << 4, /* may answer requests with Authorization: RFC 9111 3.5 */
    STORED_HAS_ETAG = 1u << 5,
    STORED_HAS_LAST_MODIFIED = 1u << 6,
    STORED_STRONG_ETAG = 1u << 7,
    STORED_VARY = 1u << 8,          /* has selecting fields */
    STORED_VARY_ANY = 1u << 9,      /* Vary: *: matches nothing */
    STORED_RULE_TTL = 1u << 10,     /* the lifetime comes from the site's rules */
    STORED_HIT_FOR_MISS = 1u << 11, /* no response at all: a note that the key's responses can't be shared */
    STORED_WAS_STALE = 1u << 12,    /* came from a shield marked as stale: never fresh */
    STORED_NO_MAX_STALE =
        1u << 13, /* s-maxage beside an own stale-*: stale use within those windows only, whatever a client allows */
    STORED_PART = 1u << 14,       /* a part: the bytes from part_first on, of a whole of content_length (part.h) */
    STORED_PART_ALONE = 1u << 15, /* … that is never put together with another */
    STORED_PIECES = 1u << 16,     /* a head whose bytes lie on disk in pieces (edge/store/piece.h) */
    STORED_CODABLE = 1u << 17,    /* its body may be given a content coding (codable.h) */
    STORED_STALE_SAID = 1u << 18, /* the response or a rule says for how long it may be used stale, or decides otherwise
                                     over its freshness: stale use within that only, whoever is away */
    STORED_INVALIDATED = 1u << 19, /* of a copy, for one decision: MARK_STRICT is an unsafe method's doing, no gap's */
};

typedef struct stored {
    int32_t status;
    uint32_t flags;
    msec_t date;                   /* Date of the response in Unix ms; response_time when absent or invalid */
    msec_t request_time;           /* wall, when the request was sent */
    msec_t response_time;          /* wall, when the head arrived */
    msec_t initial_age;            /* corrected_initial_age, ms: RFC 9111 4.2.3 */
    msec_t lifetime;               /* freshness_lifetime, ms; 0 = stale at once */
    msec_t stale_while_revalidate; /* ms beyond the lifetime; 0 = none */
    msec_t stale_if_error;
    msec_t last_modified;   /* Unix ms, or -1 */
    int64_t content_length; /* of the whole representation, or -1 while unknown */
    int64_t part_first;     /* STORED_PART: place of the first byte; else 0 */
} stored_t;

/* Derives `out` from a response head. Parses Date, Age, the caching directives (targeted fields first: RFC 9213),
 * validators, Vary. */
void stored_describe(stored_t *out, int status, const fields_t *response, const fields_t *request, const rules_t *rules,
                     msec_t request_time, msec_t response_time, arena_t *scratch);
/* Where a lifetime comes from. */
typedef enum lifetime {
#define LIFETIME_SOURCE(id, word, section, says, condition) id,
#include "edge/policy/lifetime.def"
#undef LIFETIME_SOURCE
} lifetime_t;

/* The same as stored_describe, told rule by rule as far as the lifetime is concerned. *field: the name of the field
 * that governs (RFC 9213 2.2), static. */
lifetime_t stored_explain(stored_t *out, int status, const fields_t *response, const fields_t *request,
                          const rules_t *rules, msec_t request_time, msec_t response_time, arena_t *scratch, why_t *why,
                          const char **field);
const char *stored_lifetime_word(lifetime_t source);
const char *stored_lifetime_section(lifetime_t source);
/* current_age and remaining lifetime (negative when stale), in ms: RFC 9111 4.2.3. */
msec_t stored_age(const stored_t *s, msec_t now_wall);
msec_t stored_ttl(const stored_t *s, msec_t now_wall);

#endif
