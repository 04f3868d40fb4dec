/* A node without a network: the real request path, fetches, store, collapse table and ledger on a clock that the
 * scenario moves, between clients in memory and an upstream that answers when it is told to. Several loops stand for
 * several workers; nothing sleeps. */
#ifndef BRINK_TESTS_SIM_WORLD_H
#define BRINK_TESTS_SIM_WORLD_H

#include "edge/request/request.h"

enum { WORLD_LOOPS = 2, WORLD_CLIENTS = 2048, WORLD_CALLS = 4096 };

/* A request that reached the upstream. */
typedef struct world_call {
    upstream_t *client;
    bool to_shield;
    bool once, has_body, is_head;
    const upstream_events_t *events;
    void *arg;
    bool open, cancelled, paused;
    char method[16], target[320];
    uint16_t port; /* of the server that is asked */
    msec_t first_byte_timeout;
    fields_t fields; /* copied */
    char body[256];
} world_call_t;

typedef struct world_upstream {
    upstream_t u; /* first: the client is cast */
    struct world *world;
} world_upstream_t;

typedef struct world_client {
    exchange_t x;
    arena_t arena;
    bool head, done, aborted, writable, stalled; /* stalled: never becomes writable */
    int status;
    int64_t content_length;
    fields_t fields; /* copied */
    char *body;
    size_t n;
    int hints;
} world_client_t;

typedef struct world {
    now_t now;
    arena_t arena;
    conf_t *conf;
    char state[64];
    loop_t loop[WORLD_LOOPS];
    world_upstream_t up[WORLD_LOOPS];
    request_env_t env[WORLD_LOOPS];
    purge_t *purge;
    ledger_t *ledger;
    store_t *store;
    collapse_t *collapse;
    coder_t *coder; /* without a thread: coder_work does what was asked for */
    health_t *health;
    upstreams_t *upstreams;
    replay_t *replay;
    limiter_t *limiter;
    warm_t *warm; /* NULL: no disk */
    tier_key_t *edge_key[WORLD_LOOPS], *tier_key[WORLD_LOOPS];
    world_client_t *client[WORLD_CLIENTS];
    size_t clients;
    world_call_t *call[WORLD_CALLS];
    size_t calls;
} world_t;

typedef struct world_options {
    const char *node;        /* NULL: sim-1 */
    const char *origins;     /* YAML list; NULL: one */
    const char *site, *more; /* YAML lines of the one site "*", and at the top (memory is there if this is NULL) */
    bool disk, shield, tier; /* has a disk; goes to a shield; is one */
    msec_t clock;            /* how far its wall clock is ahead */
} world_options_t;

/* One site "*", its rules and memory as given in YAML lines (may be NULL). */
world_t *world_new(const char *site_yaml, const char *more_yaml);
world_t *world_open(const world_options_t *o);
/* Ends everything, and expects that nothing is left: no request, no fill, no byte of the budget. */
void world_free(world_t *w);
void world_run(world_t *w);             /* until nothing is left to do at this moment */
void world_pass(world_t *w, msec_t ms); /* lets time pass, then runs */

/* A request on worker `loop`; fields are "name: value" lines. */
world_client_t *world_get(world_t *w, unsigned loop, const char *target, const char *lines);
world_client_t *world_request(world_t *w, unsigned loop, const char *method, const char *target, const char *lines,
                              const char *body);
void world_leave(world_t *w, world_client_t *c); /* the client goes away */
void world_forget(world_t *w);                   /* clients that have been answered: makes room for more */
void world_forget_calls(world_t *w);             /* the same of calls that are over */
/* Waits (really) until the disk has answered all reads and written all that was queued. */
void world_disk(world_t *w);
/* The edge's call as a request to the shield; world_brought takes its answer back. */
world_client_t *world_carry(world_t *edge, world_call_t *call, world_t *shield);
void world_brought(world_t *edge, world_call_t *call, const world_client_t *answer);

/* The upstream answers call number i. */
world_call_t *world_last_call(world_t *w);
void world_head(world_t *w, world_call_t *c, int status, const char *lines, int64_t length);
bool world_body(world_t *w, world_call_t *c, const char *text);
bool world_bytes(world_t *w, world_call_t *c, const char *p, size_t n);
void world_end(world_t *w, world_call_t *c, upstream_result_t r);
/* All at once, with a Content-Length and the Date of now. */
void world_answer(world_t *w, world_call_t *c, int status, const char *lines, const char *body);

span_t world_field(const world_client_t *c, const char *name);
bool world_says(const world_client_t *c, const char *name, const char *part); /* the field's value contains it */
void world_purge(world_t *w, ledger_kind_t kind, const char *what, mark_t level);

#endif
