/* One request to the next tier or the origin, and the response that it fills: read by everyone who waits for it while
 * it arrives, stored when it is whole and may be.
 *
 * Life: fetch_new gives the caller a reference; the running fetch (fetch_run) holds one of its own. Counted atomically.
 * Threads: a fetch runs on the loop it was started on (its owner). Others look at it through fetch_phase and what that
 * publishes, wait with fetch_wait on their own loop, and read the object's body, which grows.
 *
 * Phases: WAITING → STREAMING (head known, `response` is set and never changes; the body's own state tells the rest) or
 * FAILED (no head came from anywhere). */
#ifndef BRINK_FETCH_FETCH_H
#define BRINK_FETCH_FETCH_H

#include "edge/base/notice.h"
#include "edge/conf/conf.h"
#include "edge/fetch/upstream.h"
#include "edge/policy/storable.h"
#include "edge/store/store.h"
#include "purge/ledger.h"

enum {
    FETCH_WINDOW = 1024 * 1024, /* bytes of a response that isn't stored held for its reader */
    FETCH_HOPS_MAX = 8          /* attempts for one fetch, whatever is configured */
};

/* What fetches of one loop work with. Must outlive them. */
typedef struct fetch_deps {
    loop_t *loop;
    upstream_t *client;
    store_t *store;
    ledger_t *ledger;
    const struct fetch_router *router;
    uint64_t max_object; /* bytes; a larger response streams through */
} fetch_deps_t;

/* Where the next attempt goes. */
typedef struct fetch_hop {
    const conf_origin_t *to;
    span_t ca;
    bool shield;
} fetch_hop_t;

typedef struct fetch fetch_t;

/* Chooses upstreams and tells them apart; implemented by fetch_route.c over shield/, by tests over a table. */
typedef struct fetch_router {
    void *arg;
    /* The attempt-th try (from 0) for this fetch; false: nobody left. Adds what that hop needs to the request's fields
     * (host, tier). */
    bool (*next)(void *arg, fetch_t *f, unsigned attempt, fetch_hop_t *hop, fields_t *fields, arena_t *a);
    /* How it went: health and metrics. status 0: no head came. */
    void (*report)(void *arg, fetch_t *f, const fetch_hop_t *hop, upstream_result_t result, int status,
                   int64_t nanos_to_head);
} fetch_router_t;

/* What to fetch. Everything is copied (conf is referenced). */
typedef struct fetch_spec {
    const conf_t *conf;
    const conf_site_t *site;
    rules_t rules;
    const cache_key_t *key;
    method_t method;
    span_t method_name;
    const fields_t *request; /* the client's: decides storing and selecting */
    const fields_t *forward; /* what goes upstream, but for host and tier fields */
    span_t client_host;      /* sent as Host unless the site says otherwise */
    span_t target;           /* origin form, as sent upstream */
    span_t body;
    bool has_body;
    bool share;        /* GET that may be stored and shared; else it streams to one reader */
    bool past_shields; /* must reach the origin (strict validation) */
    object_t
        *validate;  /* stored response whose validators are sent; NULL: none. Checked to `began` and not hard-purged */
    uint64_t began; /* ledger position read before */
    /* Called on the owner's loop when nobody new may join (settled: ended, or not to be shared). Once. */
    void (*on_settled)(fetch_t *f, void *arg);
    void *arg;
} fetch_spec_t;

typedef enum fetch_phase { FETCH_WAITING, FETCH_STREAMING, FETCH_FAILED } fetch_phase_t;

/* Published with FETCH_STREAMING. */
typedef struct fetch_response {
    object_t *object;    /* head and (growing) body; the fetch's reference */
    int upstream_status; /* what came over the wire: 304 where object->meta.status is 200 */
    bool validated;      /* a stored response was freshened by a 304 */
    bool sharable;       /* others may use it and it will be stored if it ends well */
    bool stale_from_shield;
    bool via_shield;
    storable_t storable; /* why (not) */
} fetch_response_t;

/* Not yet running: it may be thrown away with fetch_unref, or started once with fetch_run on the owner's loop. */
fetch_t *fetch_new(const fetch_deps_t *deps, const fetch_spec_t *spec);
void fetch_run(fetch_t *f);
fetch_t *fetch_ref(fetch_t *f);
void fetch_unref(fetch_t *f);

fetch_phase_t fetch_phase(const fetch_t *f);              /* acquire: what it publishes may be read */
const fetch_response_t *fetch_response(const fetch_t *f); /* STREAMING only */
upstream_result_t fetch_result(const fetch_t *f);         /* FAILED only */
/* Early hints that came before the head; NULL if none (yet). Lives as long as the fetch. */
const fieldblock_t *fetch_early_hints(const fetch_t *f);
uint64_t fetch_began(const fetch_t *f);
const cache_key_t *fetch_key(const fetch_t *f);
const fields_t *fetch_request_fields(const fetch_t *f);
method_t fetch_method(const fetch_t *f);
span_t fetch_target(const fetch_t *f);
span_t fetch_client_host(const fetch_t *f);
const conf_t *fetch_conf(const fetch_t *f);
const conf_site_t *fetch_site(const fetch_t *f);
bool fetch_shares(const fetch_t *f);
bool fetch_past_shields(const fetch_t *f);
const char *
fetch_upstream_name(const fetch_t *f); /* of the last attempt; STREAMING or FAILED; lives as long as the fetch */
int64_t fetch_nanos(const fetch_t *f); /* from start to head; STREAMING or FAILED */
bool fetch_covered(fetch_t *f,
                   ledger_t *l); /* a purge after its beginning covers it (or may: tags are unknown until the head) */

/* ---- readers ---- */
/* A reader holds back a response that isn't stored, and keeps it alive: without readers it is given up. */
typedef struct fetch_reader {
    list_t link;
    fetch_t *fetch; /* NULL: not attached */
    notice_waiter_t waiter;
    _Atomic uint64_t consumed;
} fetch_reader_t;

/* On the reader's loop. `run` is called there once after each fetch_wait, when something changed. */
void fetch_attach(fetch_t *f, fetch_reader_t *r, void (*run)(notice_waiter_t *));
void fetch_wait(fetch_reader_t *r, loop_t *loop);      /* before looking at the state for the last time */
void fetch_consumed(fetch_reader_t *r, uint64_t upto); /* bytes that won't be read again; lets the upstream go on */
void fetch_detach(fetch_reader_t *r);

#endif
