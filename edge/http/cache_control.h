/* Cache-Control of requests and responses (RFC 9111 5.2, RFC 5861, RFC 8246), and the targeted fields that take its
 * place (RFC 9213). Pure, no allocation but for joining the lines of a targeted field.
 *
 * Where input is contradictory or broken, the more restrictive reading counts: of several max-age the smallest, of
 * qualified and unqualified no-cache the unqualified; an argument that is no number makes max-age, s-maxage and stale-*
 * 0 (RFC 9111 4.2.1). Names compare without case, arguments may be tokens or quoted strings, unknown directives are
 * skipped (RFC 9111 5.2.3). One structure serves both directions; whoever reads a request doesn't look at response
 * directives. */
#ifndef BRINK_HTTP_CACHE_CONTROL_H
#define BRINK_HTTP_CACHE_CONTROL_H

#include "edge/http/fields.h"

enum {
    CACHE_CONTROL_MAX_NAMES =
        16 /* in the field lists of no-cache="…" and private="…"; more: the unqualified form counts */
};
#define CACHE_CONTROL_ABSENT ((int64_t)-1)
#define CACHE_CONTROL_MOST ((int64_t)1 << 31) /* seconds; larger ones become this: RFC 9111 1.2.2 */

enum cache_control_flag {
    CACHE_CONTROL_NO_STORE = 1u << 0,
    CACHE_CONTROL_NO_CACHE = 1u << 1, /* unqualified */
    CACHE_CONTROL_NO_CACHE_FIELDS =
        1u << 2,                     /* qualified; no_cache_names lists them. Never together with the flag above */
    CACHE_CONTROL_PRIVATE = 1u << 3, /* unqualified */
    CACHE_CONTROL_PRIVATE_FIELDS = 1u << 4, /* qualified; private_names lists them */
    CACHE_CONTROL_MUST_REVALIDATE = 1u << 5,
    CACHE_CONTROL_PROXY_REVALIDATE = 1u << 6,
    CACHE_CONTROL_MUST_UNDERSTAND = 1u << 7,
    CACHE_CONTROL_PUBLIC = 1u << 8,
    CACHE_CONTROL_NO_TRANSFORM = 1u << 9,
    CACHE_CONTROL_IMMUTABLE = 1u << 10,
    CACHE_CONTROL_ONLY_IF_CACHED = 1u << 11, /* request */
    CACHE_CONTROL_MAX_STALE_ANY = 1u << 12,  /* request: max-stale without a number (and none with one) */
    /* Both restrict, and permit to share answers to Authorization (RFC 9111 3.5). What is odd about them or before them
     * takes away the second only. */
    CACHE_CONTROL_MUST_REVALIDATE_SHARES = 1u << 13,
    CACHE_CONTROL_S_MAXAGE_SHARES = 1u << 14,
};

typedef struct cache_control {
    uint32_t flags; /* enum cache_control_flag */
    /* Seconds, 0 … CACHE_CONTROL_MOST, or CACHE_CONTROL_ABSENT. */
    int64_t max_age, s_maxage, stale_while_revalidate, stale_if_error;
    int64_t min_fresh,
        max_stale; /* requests; an unreadable min-fresh is CACHE_CONTROL_MOST, an unreadable max-stale 0 */
    /* Field names as written (compare with span_caseeq); views into the parsed field. */
    span_t no_cache_names[CACHE_CONTROL_MAX_NAMES], private_names[CACHE_CONTROL_MAX_NAMES];
    size_t no_cache_names_n, private_names_n;
} cache_control_t;

void cache_control_init(cache_control_t *cc);
/* Adds what one field line says. */
void cache_control_add(cache_control_t *cc, span_t line);
/* init, then every line of `name` ("cache-control", "surrogate-control"). False: there was no such line. */
bool cache_control_parse(cache_control_t *cc, const fields_t *f, span_t name);

typedef enum cache_control_targeted {
    CACHE_CONTROL_TARGETED_NONE, /* absent, empty, no dictionary, or a directive of the wrong type: fall back to the
                                    next field */
    CACHE_CONTROL_TARGETED_VALID /* this field alone counts: Cache-Control and Expires are ignored (RFC 9213 2.2) */
} cache_control_targeted_t;

/* init, then the targeted field `name` ("cdn-cache-control") as a Structured Fields dictionary. Of a repeated key the
 * last member counts, parameters and unknown keys are ignored; seconds must be integers from 0, flags true, lists true
 * or a string (RFC 9213 2.1): one known directive of another type and the field doesn't count. The views live as long
 * as the field and the arena, which is used only when there are several lines (a full one: NONE). After NONE *cc is as
 * after cache_control_init. */
cache_control_targeted_t cache_control_parse_targeted(cache_control_t *cc, const fields_t *f, span_t name,
                                                      arena_t *scratch);

/* Is `name` (any case) in the field list? */
bool cache_control_lists(const span_t *names, size_t n, span_t name);

#endif
