/* Once a second each worker looks at all of its connections, because the library has no timeout for writes, for
 * handshakes of our own accept path, or for the parts of an upload. Who is overdue is shut down with shutdown(2), which
 * the library then notices by itself; nothing is freed from here.
 *
 * Progress of a write is what the peer acknowledged (TCP_INFO), since the library counts bytes when it is handed them.
 */
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>

#include "edge/serve/serve_priv.h"

enum { REAPER_PERIOD = 1000 };

/* A number that grows while the peer takes bytes. */
static uint64_t reaper_progress(const serve_conn_t *c)
{
    struct tcp_info info;
    socklen_t len = sizeof info;
    memset(&info, 0, sizeof info);
    int fd = h2o_socket_get_fd(c->sock);
    if (!c->listener->is_unix && getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0)
        return info.tcpi_bytes_acked;
    int queued = 0;
    ioctl(fd, SIOCOUTQ, &queued);
    return c->sock->bytes_written - (uint64_t)queued;
}

/* `wants`: there is something to write. Has too little of it gone out in the last write_timeout? */
static bool reaper_stalled(serve_conn_t *c, bool wants, msec_t now)
{
    const serve_limits_t *l = &c->worker->shared->limits;
    if (!wants) {
        c->write_began = 0;
        return false;
    }
    uint64_t progress = reaper_progress(c), least = l->write_rate * (uint64_t)l->write_timeout / MSEC_PER_SEC;
    if (c->write_began == 0 || progress - c->write_mark >= least) {
        c->write_began = now;
        c->write_mark = progress;
    }
    return now - c->write_began >= l->write_timeout;
}

static void reaper_kill(serve_conn_t *c, serve_reap_t why)
{
    if (!c->killed)
        serve_count(&c->worker->counters.reaped[why], 1);
    conn_kill(c);
}

static void reaper_look(serve_conn_t *c, msec_t now)
{
    serve_reap_t why = SERVE_REAP_IDLE;
    conn_count_bytes(c);
    if (c->protocol == SERVE_NEW) {
        if (now - c->accepted >= c->worker->shared->limits.handshake_timeout)
            reaper_kill(c, SERVE_REAP_HANDSHAKE);
        return;
    }
    if (reaper_stalled(c, h2o_socket_is_writing(c->sock), now)) {
        reaper_kill(c, SERVE_REAP_WRITE);
        return;
    }
    if ((c->protocol == SERVE_H1 || c->protocol == SERVE_H1S) && h1_guard_overdue(c, now, &why))
        reaper_kill(c, why);
}

/* HTTP/2 connections that the library still has: only for these may its structures be looked at. */
static void reaper_look_h2(serve_conn_t *c, h2o_http2_conn_t *conn, msec_t now, size_t *body_bytes)
{
    serve_reap_t why = SERVE_REAP_IDLE;
    bool writing = h2o_socket_is_writing(c->sock);
    if (!writing && reaper_stalled(c, conn->num_streams.pull.half_closed > 0 && h2_guard_blocked(conn), now))
        reaper_kill(c, SERVE_REAP_WRITE);
    else if (h2_guard_overdue(c, conn, now, &why))
        reaper_kill(c, why);
    h2o_http2_stream_t *st;
    kh_foreach_value(conn->streams, st, {
        if (st->_req_body != NULL)
            *body_bytes += st->_req_body->size;
    });
}

static void reaper_sweep(h2o_timeout_entry_t *entry)
{
    serve_worker_t *w = H2O_STRUCT_FROM_MEMBER(serve_worker_t, sweep_entry, entry);
    serve_worker_tick(w);
    msec_t now = w->loop->now.boot;
    size_t body_bytes = 0;
    list_t *next;
    for (list_t *node = w->conns.next; node != &w->conns; node = next) {
        next = node->next;
        serve_conn_t *c = LIST_ITEM(node, serve_conn_t, link);
        bool h2 = c->protocol == SERVE_H2 || c->protocol == SERVE_H2C;
        if (h2 && !h2o_socket_is_writing(c->sock)) {
            conn_count_bytes(c); /* the rest below */
            continue;
        }
        reaper_look(c, now);
        if (!h2 && c->protocol != SERVE_NEW && (c->exchanges > 0 || h1_scan_in_body(&c->h1.scan)))
            body_bytes += c->sock->input->size;
    }
    for (h2o_linklist_t *node = w->context.http2._conns.next; node != &w->context.http2._conns; node = node->next) {
        h2o_http2_conn_t *conn = H2O_STRUCT_FROM_MEMBER(h2o_http2_conn_t, _conns, node);
        reaper_look_h2(conn_of(conn->sock), conn, now, &body_bytes);
    }
    w->body_bytes = body_bytes;
    accept_rested(w);
    h2o_timeout_link(w->evloop, &w->sweep_timeout, &w->sweep_entry);
}

void reaper_start(serve_worker_t *w)
{
    h2o_timeout_init(w->evloop, &w->sweep_timeout, REAPER_PERIOD);
    w->sweep_entry.cb = reaper_sweep;
    h2o_timeout_link(w->evloop, &w->sweep_timeout, &w->sweep_entry);
}

void reaper_stop(serve_worker_t *w)
{
    h2o_timeout_unlink(&w->sweep_entry);
    h2o_timeout_dispose(w->evloop, &w->sweep_timeout);
}
