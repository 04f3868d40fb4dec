/* What GET /v1/explain says: what a node holds for a URI, and what the next request for it would be answered with, rule
 * by rule; a plain picture, filled in by the request path (edge/request/explain.c), written as JSON here.
 *
 * Ownership: everything is borrowed until explanation_json returns. Durations are ms, moments Unix ms. */
#ifndef BRINK_ADMIN_EXPLANATION_H
#define BRINK_ADMIN_EXPLANATION_H

#include "edge/conf/conf.h"
#include "edge/http/fields.h"
#include "edge/policy/why.h"

enum { EXPLANATION_WORDS = 16 };

/* A field that selected a stored response (RFC 9111 4.1). */
typedef struct explanation_field {
    span_t name, value; /* in normal form; value.p NULL: the request had none */
    bool same;          /* this request says the same */
} explanation_field_t;

typedef struct explanation_stored {
    const char *tier; /* "memory", "disk" */
    bool chosen;      /* what this request would be answered with, or validate */
    bool selected;    /* its selecting fields are this request's */
    bool note;        /* no response: what came last could not be shared, because of `storing` */
    int status;
    msec_t stored_at, age, lifetime, stale_while_revalidate, stale_if_error;
    const char *lifetime_from, *lifetime_section, *lifetime_field; /* NULL: by rules that have been changed since */
    msec_t lifetime_now;                                           /* by the rules as they are; may be the same */
    const char *says[EXPLANATION_WORDS];                           /* "no-cache", "must-revalidate" … */
    size_t says_n;
    span_t etag, modified; /* .p NULL: none */
    bool part;             /* not the whole: its bytes from `first` on */
    int64_t first;
    uint64_t bytes; /* of its body that are here */
    int64_t length; /* of the whole; -1: unknown */
    uint64_t hits;
    size_t tags;
    const explanation_field_t *vary;
    size_t vary_n;
    const char *purge;  /* "none", "soft", "invalidated", "gap", "hard" */
    span_t coding;         /* that this request would get; of a note .p NULL */
    why_rule_t coding_why;
    why_rule_t storing; /* whether it would be stored now, if it came as the answer to a plain request */
} explanation_stored_t;

typedef struct explanation {
    span_t node, url;
    msec_t at;
    span_t site, key, uri; /* .p NULL: it didn't get so far */
    const conf_rule_view_t *rules;
    size_t rules_n; /* of the site, that match the path */
    const rules_t *settings;
    const char *decision; /* "hit", "stale", "revalidate", "miss", "pass", "refuse" */
    int status;           /* of a refusal */
    why_rule_t because;
    span_t cache_status; /* what the field says at that moment */
    const why_t *why;
    const explanation_stored_t *stored;
    size_t stored_n;
    const char *asks; /* the upstream: "before", "in the background", "no" */
    bool joins, past_shields, stale_on_error;
    const fields_t *validators;
    bool client; /* access rules by address were asked */
} explanation_t;

/* malloc'ed with a NUL; free() releases. Bytes that are no UTF-8 are replaced. */
char *explanation_json(const explanation_t *e, size_t *n);

#endif
