/* What the files of the composition root share. */
#ifndef BRINK_EDGE_NODE_PRIV_H
#define BRINK_EDGE_NODE_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "edge/admin/admin.h"
#include "edge/admin/hot.h"
#include "edge/admin/recent.h"
#include "edge/fetch/resolve.h"
#include "edge/node.h"
#include "edge/node_memory.h"
#include "edge/node_upkeep.h"
#include "edge/store/seen.h"
#include "edge/worker.h"
#include "purge/api.h"

/* Metric labels of one configuration, and its counters of background refreshes. */
typedef struct node_labels {
    struct node_labels *next;
    unsigned numbers[];
} node_labels_t;

struct node {
    conf_t *conf; /* the first: what needs a restart to change is read from it */
    now_t started;
    char *node_member; /* of Cache-Status */
    purge_t *purge;
    auth_t *auth;
    api_t api;
    health_t *health;
    replay_t *replay;
    resolve_t *resolve; /* NULL: no thread could be started */
    limiter_t *limiter;
    store_t *store;
    seen_t *evicted;                /* what left memory unasked for: the second time it goes to disk */
    uint64_t evicted_bytes;         /* of the memory budget */
    _Atomic uint64_t writes_spared; /* what was seen once and not written */
    warm_t *_Atomic warm;           /* NULL: none, or handed over */
    pthread_rwlock_t warm_gate;     /* shared while the store's callbacks use `warm`, exclusive to take it away */
    collapse_t *collapse;
    coder_t *coder;
    recent_t *recent;
    hot_t *hot;
    accesslog_t *log;
    admin_t *admin;
    serve_shared_t *serve;
    worker_t **workers;
    unsigned workers_n, workers_started;
    node_labels_t *labels;
    bool purge_started;
    atomic_bool draining;
    node_upkeep_t upkeep;
    node_memory_t memory;

    pthread_mutex_t mutex;  /* guards upstreams, refused */
    upstreams_t *upstreams; /* of the configuration in force */
    char refused[256];      /* why the node must stop; "" = it needn't */
};

/* node_conf.c: what a configuration means to the other parts. */
err_t node_serve_options(const conf_t *conf, unsigned workers, const node_inherited_t *inherited, serve_options_t *out,
                         arena_t *a);
err_t node_check_upstreams(const conf_t *conf, char *err); /* the files of their TLS */
void node_redis(const conf_t *conf, purge_server_t *out, arena_t *a);
void node_labels(node_t *n, const conf_t *conf, worker_conf_t *out);
upstreams_t *node_upstreams(node_t *n); /* a reference to those in force */
err_t node_normalise(void *ctx, arena_t *a, span_t url, span_t *uri, digest_t *uri_digest);
unsigned node_workers(const conf_t *conf);
char *node_cstr(arena_t *a, span_t s);

/* node_admin.c: the routes of the admin listener, and who may use them. */
void node_admin_open(node_t *n);
void node_admin_tokens(node_t *n, const conf_t *conf); /* at a reload */

/* node_watch.c: status and metrics. */
void node_watch(node_t *n);
void node_unwatch(node_t *n);
void node_status(void *ctx, status_t *out, arena_t *a);
bool node_ready(void *ctx);

#endif
