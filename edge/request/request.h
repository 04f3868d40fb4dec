/* The path of a request, from a complete exchange to its last byte: accept, lookup, collapse, deliver, finish.
 *
 * One env a worker; all of it on that worker's loop. What workers share (store, collapse table, ledger) is thread-safe
 * by itself. */
#ifndef BRINK_REQUEST_REQUEST_H
#define BRINK_REQUEST_REQUEST_H

#include "edge/admin/accesslog.h"
#include "edge/admin/hot.h"
#include "edge/coding/coder.h"
#include "edge/conf/conf.h"
#include "edge/fetch/fetch.h"
#include "edge/http/handler.h"
#include "edge/request/exchange.h"
#include "edge/warm/warm.h"
#include "purge/purge.h"
#include "shield/replay.h"
#include "shield/upstreams.h"

typedef struct collapse collapse_t; /* the running fetches of the process, by key */
collapse_t *collapse_new(void);
void collapse_free(collapse_t *c); /* nothing may be running */
/* The ledger position at which the oldest of them began; UINT64_MAX: none runs. Any thread. */
uint64_t collapse_oldest(collapse_t *c);

typedef struct request_env {
    loop_t *loop;
    unsigned worker;
    const conf_t *conf;     /* replaced between requests at a reload, with what belongs to it: */
    upstreams_t *upstreams; /* the worker's reference, and with it the configuration's */
    tier_key_t *edge_key;   /* verifies what edges sign; NULL: this node is no shield */
    fetch_deps_t fetch;
    collapse_t *collapse;
    store_t *store;
    warm_t *warm; /* NULL: no disk */
    purge_t *purge;
    ledger_t *ledger;
    replay_t *replay;         /* shared by all workers */
    limiter_t *limiter;       /* shared by all workers */
    accesslog_t *log;         /* NULL: off */
    hot_t *hot;               /* what is asked for most; NULL: not counted */
    handler_fn *purge_method; /* PURGE on traffic listeners; NULL: 405 */
    void *purge_ctx;
    span_t node;                  /* name */
    span_t node_member;           /* as a member of Cache-Status: a token, or quoted */
    span_t via;                   /* this node's member of Via: "1.1 NODE (brink)" */
    msec_t started;               /* wall, of this process: older copies are infinitely old to a demand by duration */
    msec_t ahead;                 /* accept.c: of the wall clock before the other one */
    now_t (*clock)(void);         /* reads the clock, where the loop's (once a turn) is too old; NULL: the loop's */
    const unsigned *site_labels;  /* metrics label of each conf site */
    _Atomic uint32_t *refreshing; /* by conf site: background refreshes under way, of all workers; NULL: not limited */
    uint64_t random;              /* early.c */
    list_t promotions;            /* lookup_disk.c: reads from disk that are under way */
    size_t pieces_reading;        /* pieces.c: the same, of pieces */
    coder_t *coder;               /* makes coded forms of what is hit; NULL: bodies are coded for each client */
    size_t encoding;              /* encode.c: bodies that are being coded for one client */
    uint64_t encoding_bytes;      /* and the memory of their coders */
    size_t in_flight;
    size_t most_in_flight; /* beyond it only what is stored is answered */
} request_env_t;

void request_env_init(request_env_t *env);
/* Takes over the exchange; answers now or later. */
void request_begin(request_env_t *env, exchange_t *x);
/* A line in the access log for a request that never became an exchange. */
void request_refused(const request_env_t *env, const exchange_refused_t *refused);
/* GET /v1/explain?url=U[&header=NAME:VALUE…][&client=ADDRESS]: what is held for U, and what the next request for it
 * would be answered with, and why. ctx: none. Changes nothing. */
handler_fn explain_handle;
/* Answers an exchange by a handler (admin and purge API). */
void request_answer(request_env_t *env, exchange_t *x, handler_fn *handler, void *ctx);

#endif
