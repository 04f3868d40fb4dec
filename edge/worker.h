/* One thread, one event loop: listeners, connections, requests and fetches that began on it.
 *
 * worker_start returns when the loop accepts (or has failed to). All other functions may be called from any thread;
 * what they ask for happens on the worker's. */
#ifndef BRINK_EDGE_WORKER_H
#define BRINK_EDGE_WORKER_H

#include "edge/request/request.h"
#include "edge/serve/serve.h"

enum { WORKER_LISTEN_TRAFFIC = 0, WORKER_LISTEN_ADMIN = 1 };

typedef struct worker worker_t;

/* What belongs to one configuration; replaced as a whole at a reload. The worker makes its own signing keys from it. */
typedef struct worker_conf {
    upstreams_t *upstreams;          /* a reference for the worker */
    const unsigned *site_labels;     /* by conf_site_t.index; live until the process ends */
    const unsigned *upstream_labels; /* by conf_origin_t.index; likewise */
    _Atomic uint32_t *refreshing;    /* by conf_site_t.index; likewise */
} worker_conf_t;

typedef struct worker_options {
    unsigned index;
    serve_shared_t *serve;
    store_t *store;
    warm_t *warm;
    purge_t *purge;
    collapse_t *collapse;
    coder_t *coder; /* NULL: there is none */
    hot_t *hot;
    unsigned workers; /* how many there are */
    replay_t *replay;
    struct resolve *resolve; /* names of upstreams; NULL: each client asks for itself */
    limiter_t *limiter;
    accesslog_t *log;
    span_t node, node_member; /* live until the worker is freed */
    msec_t started;
    handler_fn *admin; /* WORKER_LISTEN_ADMIN */
    void *admin_ctx;
    handler_fn *purge_method; /* PURGE on traffic listeners */
    void *purge_ctx;
    worker_conf_t conf;
} worker_options_t;

worker_t *worker_new(const worker_options_t *o);
err_t worker_start(worker_t *w);
/* New configuration; takes over the reference. */
void worker_configure(worker_t *w, const worker_conf_t *conf);
/* Stop accepting; what is in flight goes on, and the loop with it, since other workers may read what is fetched here.
 */
void worker_drain(worker_t *w);
bool worker_idle(worker_t *w); /* after worker_drain: nobody is served any more */
/* From now on requests do without the disk (it is being handed over). */
void worker_forget_disk(worker_t *w);
bool worker_forgot_disk(worker_t *w); /* it is so */
/* Cuts what is left and ends the thread. */
void worker_stop(worker_t *w);
/* When all workers were stopped: runs what they still had to say to each other's loops. Returns how much it was; call
 * it for all workers until all say 0. The calling thread stands in for the worker's. */
size_t worker_settle(worker_t *w);
void worker_free(worker_t *w);
bool worker_stats(worker_t *w, serve_stats_t *out); /* false: not running */

#endif
