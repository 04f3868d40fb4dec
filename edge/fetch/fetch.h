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
#include "edge/fetch/upstream.h"
#include "edge/http/range.h"
#include "edge/policy/storable.h"
#include "edge/store/store.h"
#include "edge/warm/warm.h"
#include "purge/ledger.h"
#include "shield/tier.h"
#include "shield/upstreams.h"

enum {
    FETCH_INTERIM_MAX = 8,          /* 1xx of one response that are passed on */
    FETCH_SLICE_PIECES = 32,        /* that one fetch may bring for those who wait for them */
    FETCH_WINDOW = 1024 * 1024,     /* bytes of a response that isn't stored held for its reader, */
    FETCH_WINDOW_LEAST = 64 * 1024, /* if all such responses together hold more than windows_most */
    FETCH_WINDOWS = 16              /* which is this part of the memory budget */
};

typedef struct fetch fetch_t;

/* What fetches of one loop work with. Must outlive them. */
typedef struct fetch_deps {
    loop_t *loop;
    upstream_t *client;
    store_t *store;
    ledger_t *ledger;
    span_t node;                     /* this node's name */
    tier_key_t *tier_key;            /* signs requests to shields; NULL: there is no tier. Belongs to this loop */
    const unsigned *upstream_labels; /* of metrics, by conf_origin_t.index */
    warm_t *warm;                    /* NULL: no disk */
    uint64_t windows_most;           /* bytes; 0: any */
    uint64_t max_object; /* bytes; a larger response lives on disk only, or streams through where there is none */
    list_t cutting;      /* responses that go to disk in pieces; initialised by fetch_deps_init */
    list_t queued;       /* fetches that wait for a place at an upstream; initialised by fetch_deps_init */
    msec_t disk_refused; /* boot: a response was last given up because the disk took no more of it; 0: never */
    bool stopping;       /* fetch_stop was called */
} fetch_deps_t;

void fetch_deps_init(fetch_deps_t *d);
/* The loop ends: what waits for a place is given up, and nothing new is sent. Before the client is freed. */
void fetch_stop(fetch_deps_t *d);

/* What to fetch. Everything is copied (upstreams are referenced, and with them the configuration). */
typedef struct fetch_spec {
    upstreams_t *upstreams;
    const unsigned *upstream_labels; /* of metrics, for the servers of `upstreams`; NULL: those of the deps */
    const conf_site_t *site;
    rules_t rules;
    const cache_key_t *key;
    method_t method;
    span_t method_name;
    const fields_t *request; /* the client's: decides storing and selecting */
    const fields_t *forward; /* what goes upstream, but for host and tier fields */
    span_t target;           /* origin form, as sent upstream */
    span_t body;
    bool has_body;
    span_t upgrade;  /* protocols that a tunnel may be opened for; .p NULL: none. Not with `share` */
    bool share;      /* GET that may be stored and shared; else it streams to one reader */
    bool together;   /* then: others find it while it runs */
    span_t hops;     /* authenticated list of the nodes it came through; for the tier */
    msec_t deadline; /* boot: whoever asked has to be told of a head, or the failure, by then; 0: as long as it takes */
    bool past_shields; /* must reach the origin (strict validation) */
    bool optional;     /* there is something stale to answer with, or nobody waits: no server that is out is tried for
                          it, and no place at a busy one waited for */
    object_t
        *validate;  /* stored response whose validators are sent; NULL: none. Checked to `began` and not hard-purged */
    object_t *part; /* stored part of which the rest is asked for (RFC 9111 3.4); NULL: none. Checked to `began` and
                       without a mark */
    object_t *pieces; /* head of which `range` brings pieces that are missing (fetch_slice.c); NULL: none */
    range_t slice;  /* then, or where it may turn out to be such: `range` in numbers, from the beginning of a piece on,
                       of  FETCH_SLICE_PIECES at most; else 0 to 0 */
    span_t range;   /* .p NULL: the whole is asked for; else the one range that `forward` asks for */
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
    bool passing;        /* sharable, but kept in pieces on disk: readers of now get all of it, from the beginning */
    bool failing;        /* it says that the server is failing, whoever asks: who waits doesn't ask again */
    bool failure_shared; /* then: who waits may have this very answer, though it isn't kept */
    bool sliced;         /* it brings pieces of what is stored by now: look it up there */
    bool whole; /* it brings all pieces of what is stored by now: deliver fetch_pieces_of in place of `object` */
    bool stale_from_shield;
    bool unreached; /* a shield's own error: it could reach nobody */
    bool via_shield;
    bool bodiless;       /* answers HEAD: the length is what the head said, not that of the body */
    fieldblock_t *full;  /* what the client gets who it was fetched for, where others get less (RFC 9111 5.2.2.4,
                            5.2.2.7); NULL: the same */
    storable_t storable; /* why (not) */
} fetch_response_t;

/* Not yet running: it may be thrown away with fetch_unref, or started once with fetch_run on the owner's loop. */
fetch_t *fetch_new(fetch_deps_t *deps, const fetch_spec_t *spec);
void fetch_run(fetch_t *f);
fetch_t *fetch_ref(fetch_t *f);
void fetch_unref(fetch_t *f);

fetch_phase_t fetch_phase(const fetch_t *f);              /* acquire: what it publishes may be read */
const fetch_response_t *fetch_response(const fetch_t *f); /* STREAMING only */
upstream_result_t fetch_result(const fetch_t *f);         /* FAILED only */
/* The 1xx that came before the head (at most FETCH_INTERIM_MAX), in order; they live as long as the fetch. */
typedef struct fetch_interim {
    struct fetch_interim *_Atomic next;
    int status;
    fieldblock_t *fields;
} fetch_interim_t;
/* The one after `last` (NULL: the first); NULL if there is none (yet). */
const fetch_interim_t *fetch_interim(const fetch_t *f, const fetch_interim_t *last);
msec_t fetch_started(const fetch_t *f); /* wall; of its oldest bytes */
uint64_t fetch_began(const fetch_t *f); /* the lowest ledger position that its response may carry */
const cache_key_t *fetch_key(const fetch_t *f);
bool fetch_shares(const fetch_t *f);
span_t fetch_range(const fetch_t *f); /* as in the spec */
/* Head of the pieces that it brings: as in the spec, or what it turned out to be (before STREAMING); NULL: none. */
object_t *fetch_pieces_of(const fetch_t *f);
/* Is that one of them, and still to come, soon, or held for those who wait? Any thread. */
bool fetch_brings(const fetch_t *f, uint64_t number);
/* A piece that it has brought, with a reference; NULL: not yet, or not any more. Any thread. */
object_t *fetch_piece(fetch_t *f, uint64_t number);
/* It was brought, and is on disk by now. Any thread. */
bool fetch_piece_passed(const fetch_t *f, uint64_t number);
/* It brings no more of them. Any thread; ask before fetch_piece. */
bool fetch_pieces_over(const fetch_t *f);
/* FAILED: the answer said that what the pieces belong to is no more. */
bool fetch_disowned(const fetch_t *f);
bool fetch_past_shields(const fetch_t *f);
bool fetch_optional(const fetch_t *f);
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

/* On the reader's loop. `run` is called there once after each fetch_wait, when something changed. False: it takes no
 * new readers any more, since what it held is being given back as it is read. Never before fetch_run. */
bool fetch_attach(fetch_t *f, fetch_reader_t *r, void (*run)(notice_waiter_t *));
/* Attaches a reader that takes pieces and no bytes, and so holds nothing back. False: it brings no more of them. */
bool fetch_attach_pieces(fetch_t *f, fetch_reader_t *r, void (*run)(notice_waiter_t *));
void fetch_wait(fetch_reader_t *r, loop_t *loop);      /* before looking at the state for the last time */
void fetch_consumed(fetch_reader_t *r, uint64_t upto); /* bytes that won't be read again; lets the upstream go on */
void fetch_detach(fetch_reader_t *r);

/* ---- tunnels: a response of status 101 to a fetch with `upgrade`. On the owner's loop ---- */
/* What goes to the server: how many of the bytes were taken. If not all, readers are woken when it takes more. */
size_t fetch_send(fetch_t *f, span_t bytes);
/* Nothing more will be sent. False: the server can't be told so without ending the tunnel both ways. */
bool fetch_finish(fetch_t *f);

#endif
