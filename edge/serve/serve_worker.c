/* One thread's server: the library's context on a loop of its own, and the turn of that loop. The clock is read when
 * epoll returns: every callback from the library calls serve_worker_tick first, which notices that the library's own
 * clock moved on. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "edge/base/clock.h"
#include "edge/base/log.h"
#include "edge/base/mem.h"
#include "edge/serve/library_caches.h"
#include "edge/serve/serve_priv.h"

enum {
    LIBRARY_TIMEOUT =
        3600 * 1000,       /* the library's own for HTTP/1: never the one that strikes, the reaper's are finer */
    LIBRARY_STREAMS = 256, /* more than SETTINGS_MAX_CONCURRENT_STREAMS, so that it never queues requests */
    STOP_TURNS = 200
};

void serve_worker_read_clock(serve_worker_t *w)
{
    w->ticked = h2o_now(w->evloop);
    w->loop->now = clock_now();
}

static void serve_worker_on_wake(void *arg)
{
    serve_worker_t *w = arg;
    loop_run_messages(w->loop);
}

static void serve_worker_configure(serve_worker_t *w)
{
    const serve_limits_t *l = &w->shared->limits;
    h2o_config_init(&w->conf);
    w->conf.server_name = (h2o_iovec_t){NULL, 0}; /* no Server field but the response's own */
    w->conf.max_request_entity_size = l->max_body + 1;
    w->conf.http1.req_timeout = LIBRARY_TIMEOUT;
    w->conf.http1.upgrade_to_http2 = 0; /* those connections would pass the guard by */
    w->conf.http2.idle_timeout = (uint64_t)l->idle_timeout;
    w->conf.http2.max_concurrent_requests_per_connection = LIBRARY_STREAMS;
    h2o_hostconf_t *host = h2o_config_register_host(&w->conf, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    host->http2.push_preload = 0;
    exchange_h2o_setup(w, h2o_config_register_path(host, "/", 0));
    exchange_h2o_setup(w, &host->fallback_path); /* targets that the library does not take for paths */
}

err_t serve_worker_start(serve_shared_t *s, unsigned index, loop_t *loop, serve_on_request_t *on_request, void *ctx,
                         serve_worker_t **out)
{
    CHECK(index < s->workers);
    serve_worker_t *w = mem_zalloc(sizeof *w);
    w->shared = s;
    w->index = index;
    w->loop = loop;
    w->on_request = on_request;
    w->on_request_ctx = ctx;
    list_init(&w->watches);
    list_init(&w->conns);
    list_init(&w->exchanges);
    list_init(&w->rehook);
    loop->now = clock_now();
    w->evloop = h2o_evloop_create();
    serve_worker_configure(w);
    h2o_context_init(&w->context, w->evloop, &w->conf);
    w->accept_ctx = (h2o_accept_ctx_t){.ctx = &w->context, .hosts = w->conf.hosts};
    w->accept = mem_zalloc((s->count > 0 ? s->count : 1) * sizeof *w->accept);
    reaper_start(w);
    w->wake = loop->wake_fd >= 0 ? serve_worker_watch_fd(w, loop->wake_fd, serve_worker_on_wake, w) : NULL;
    accept_start(w);
    if (w->spare_fd < 0 || (loop->wake_fd >= 0 && w->wake == NULL)) {
        serve_worker_stop(w);
        return ERR_IO;
    }
    *out = w;
    return ERR_OK;
}

void serve_worker_limit_bodies(serve_worker_t *w, serve_body_limit_t *limit)
{
    w->body_limit = limit;
}

void serve_worker_tell_refused(serve_worker_t *w, serve_on_refused_t *on_refused)
{
    w->on_refused = on_refused;
}

void serve_refused(serve_conn_t *c, int status, int protocol, span_t method, span_t target, span_t authority)
{
    serve_worker_t *w = c->worker;
    bool secure = c->protocol == SERVE_H2 || c->protocol == SERVE_H1S;
    serve_count(&w->counters.refused, 1);
    if (w->on_refused == NULL)
        return;
    exchange_refused_t r = {.method = method,
                            .target = target,
                            .scheme = secure ? SPAN("https") : SPAN("http"),
                            .authority = authority,
                            .peer = span_str(c->peer),
                            .status = status,
                            .protocol = protocol};
    w->on_refused(&r, c->listener->id, w->on_request_ctx);
}

uint64_t serve_body_limit(const serve_conn_t *c, span_t authority)
{
    const serve_worker_t *w = c->worker;
    uint64_t most = w->shared->limits.max_body;
    uint64_t here =
        w->body_limit != NULL ? w->body_limit(authority, c->listener->id, w->on_request_ctx) : (uint64_t)most;
    return here < most ? here : most;
}

size_t serve_body_room(const serve_worker_t *w)
{
    size_t most = w->shared->limits.body_bytes;
    return w->body_bytes < most ? most - w->body_bytes : 0;
}

void serve_body_gone(serve_worker_t *w, size_t bytes)
{
    w->body_bytes -= bytes < w->body_bytes ? bytes : w->body_bytes;
}

err_t serve_worker_run_once(serve_worker_t *w, msec_t max_wait)
{
    w->loop->now = clock_now();
    msec_t wait = loop_wait(w->loop, max_wait);
    /* What timers wrote is complete already, but the library tells so only after it has waited for events. */
    if (w->evloop->_pending_as_server != NULL || w->evloop->_pending_as_client != NULL)
        wait = 0;
    if (h2o_evloop_run(w->evloop, (int32_t)(wait < INT32_MAX ? wait : INT32_MAX)) != 0 && errno != EINTR)
        return ERR_IO;
    serve_worker_read_clock(w);
    loop_run_timers(w->loop);
    h1_guard_rehook(w);
    return ERR_OK;
}

void serve_worker_drain(serve_worker_t *w)
{
    if (w->draining)
        return;
    w->draining = true;
    accept_stop(w, true);
    h2o_context_request_shutdown(&w->context);
}

size_t serve_worker_connections(const serve_worker_t *w)
{
    return w->conn_count;
}

size_t serve_worker_requests(const serve_worker_t *w)
{
    return w->exchange_count;
}

bool serve_worker_idle(const serve_worker_t *w)
{
    if (w->exchange_count > 0)
        return false;
    for (const list_t *node = w->conns.next; node != &w->conns; node = node->next) {
        const serve_conn_t *c = LIST_ITEM(node, serve_conn_t, link);
        if (h2o_socket_is_writing(c->sock))
            return false;
    }
    return true;
}

void serve_worker_stop(serve_worker_t *w)
{
    w->draining = w->stopping = true;
    accept_stop(w, false);
    for (int turn = 0; w->conn_count > 0 && turn < STOP_TURNS; turn++) {
        for (list_t *node = w->conns.next; node != &w->conns; node = node->next)
            conn_kill(LIST_ITEM(node, serve_conn_t, link));
        exchange_h2o_abort_all(w);
        serve_worker_run_once(w, 1);
    }
    for (list_t *node; (node = w->watches.next) != &w->watches;)
        serve_unwatch(LIST_ITEM(node, serve_watch_t, link));
    reaper_stop(w);
    h2o_timeout_unlink(&w->context.http2._graceful_shutdown_timeout);
    if (w->conn_count > 0) {
        log_error("%zu connections could not be closed; their memory is given up", w->conn_count);
        return;
    }
    h2o_evloop_run(w->evloop, 0);                      /* frees the sockets that were closed last */
    h2o_multithread_queue_t *queue = w->context.queue; /* the library forgets to free it */
    h2o_context_dispose(&w->context);
    h2o_evloop_run(w->evloop, 0);
    h2o_config_dispose(&w->conf);
    h2o_evloop_destroy(w->evloop);
    free(queue);
    library_caches_release();
    free(w->accept);
    free(w);
}

/* ---- other descriptors on the same loop ---- */

static void serve_on_watched(h2o_socket_t *sock, const char *err)
{
    serve_watch_t *watch = sock->data;
    (void)err;
    serve_worker_tick(watch->worker);
    watch->readable(watch->arg);
}

serve_watch_t *serve_worker_watch_fd(serve_worker_t *w, int fd, void (*readable)(void *arg), void *arg)
{
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0); /* the library closes its descriptors; the caller's stays */
    if (own < 0)
        return NULL;
    serve_watch_t *watch = mem_zalloc(sizeof *watch);
    watch->worker = w;
    watch->readable = readable;
    watch->arg = arg;
    watch->sock = h2o_evloop_socket_create(w->evloop, own, H2O_SOCKET_FLAG_DONT_READ);
    watch->sock->data = watch;
    list_push_back(&w->watches, &watch->link);
    h2o_socket_read_start(watch->sock, serve_on_watched);
    return watch;
}

void serve_unwatch(serve_watch_t *watch)
{
    list_remove(&watch->link);
    h2o_socket_close(watch->sock); /* the library keeps the memory until the turn ends */
    free(watch);
}

/* ---- counters ---- */

void serve_worker_stats(const serve_worker_t *w, serve_stats_t *out)
{
    const serve_counters_t *c = &w->counters;
#define COPY(name) out->name = atomic_load_explicit(&c->name, memory_order_relaxed)
#define COPY_ALL(name, n)                                                                                              \
    for (size_t i = 0; i < (n); i++)                                                                                   \
    COPY(name[i])
    COPY_ALL(open, SERVE_PROTOCOLS);
    COPY_ALL(accepted, SERVE_PROTOCOLS);
    COPY_ALL(floods, SERVE_FLOODS);
    COPY_ALL(reaped, SERVE_REAPS);
    COPY(requests);
    COPY(refused);
    COPY(bytes_in);
    COPY(bytes_out);
    COPY(handshakes_failed);
    COPY(over_limit);
#undef COPY_ALL
#undef COPY
}
