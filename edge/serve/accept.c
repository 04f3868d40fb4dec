/* brink's own accept path. The library's would let connections pass the guards by: it switches to HTTP/2 in several
 * places of its own. Here a connection goes through PROXY header, TLS handshake and the choice of protocol (ALPN, or
 * the preface of RFC 9113 3.4 in cleartext) before the library sees it; the reaper limits all of that by one timeout.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "edge/base/log.h"
#include "edge/serve/proxy_line.h"
#include "edge/serve/serve_priv.h"

enum { ACCEPT_BATCH = 64 }; /* a turn; the rest waits for the next */

static void accept_choose(serve_conn_t *c);

static void accept_on_handshake(h2o_socket_t *sock, const char *err)
{
    serve_conn_t *c = conn_of(sock);
    serve_worker_tick(c->worker);
    if (err != NULL) {
        serve_count(&c->worker->counters.handshakes_failed, 1);
        h2o_socket_close(sock);
        return;
    }
    h2o_iovec_t chosen = h2o_socket_ssl_get_selected_protocol(sock);
    if (h2o_memis(chosen.base, chosen.len, H2O_STRLIT("h2"))) {
        conn_set_protocol(c, SERVE_H2);
        h2_guard_accept(c);
    } else {
        conn_set_protocol(c, SERVE_H1S);
        h1_guard_accept(c);
    }
}

static void accept_on_first_bytes(h2o_socket_t *sock, const char *err)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    serve_conn_t *c = conn_of(sock);
    serve_worker_tick(c->worker);
    if (err != NULL) {
        h2o_socket_close(sock);
        return;
    }
    size_t n = sock->input->size < sizeof preface - 1 ? sock->input->size : sizeof preface - 1;
    if (n == 0)
        return;
    if (memcmp(sock->input->bytes, preface, n) != 0) {
        h2o_socket_read_stop(sock);
        conn_set_protocol(c, SERVE_H1);
        h1_guard_accept(c);
    } else if (n == sizeof preface - 1) {
        h2o_socket_read_stop(sock);
        conn_set_protocol(c, SERVE_H2C);
        h2_guard_accept(c);
    }
}

/* One bucket for all workers: the time at which it would be full moves on by a handshake's share. */
static bool accept_may_shake(serve_worker_t *w)
{
    enum { MICROS = 1000 * 1000 };
    unsigned rate = w->shared->limits.handshakes;
    if (rate == 0)
        return true;
    int64_t now = w->loop->now.boot * (MICROS / MSEC_PER_SEC), each = rate < MICROS ? MICROS / rate : 1;
    int64_t full = atomic_load_explicit(&w->shared->handshakes_full, memory_order_relaxed), next;
    do {
        next = (full > now ? full : now) + each;
        if (next - now > MICROS)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&w->shared->handshakes_full, &full, next, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

/* What comes next once the transport is bare; bytes may be waiting in sock->input. */
static void accept_choose(serve_conn_t *c)
{
    serve_listener_t *l = (serve_listener_t *)c->listener;
    if (l->secure && !accept_may_shake(c->worker)) {
        serve_count(&c->worker->counters.over_limit, 1);
        h2o_socket_close(c->sock);
        return;
    }
    if (l->secure) {
        pthread_mutex_lock(&l->mutex);
        c->tls = tls_ref(l->tls);
        pthread_mutex_unlock(&l->mutex);
        h2o_socket_ssl_handshake(c->sock, tls_default(c->tls), NULL, accept_on_handshake);
        return;
    }
    h2o_socket_read_start(c->sock, accept_on_first_bytes);
    if (c->sock->input->size > 0)
        accept_on_first_bytes(c->sock, NULL);
}

/* The client's address is known: that of the connection, or what the PROXY header says. */
static void accept_known(serve_conn_t *c)
{
    if (conn_count_address(c)) {
        accept_choose(c);
        return;
    }
    serve_count(&c->worker->counters.over_limit, 1);
    h2o_socket_close(c->sock);
}

static void accept_on_proxy_header(h2o_socket_t *sock, const char *err)
{
    serve_conn_t *c = conn_of(sock);
    serve_worker_tick(c->worker);
    proxy_line_t line;
    size_t used = 0;
    err_t e = err != NULL ? ERR_CLOSED : proxy_line_parse(sock->input->bytes, sock->input->size, &line, &used);
    if (e == ERR_AGAIN)
        return;
    if (e != ERR_OK) {
        serve_count(&c->worker->counters.refused, e == ERR_MALFORMED);
        h2o_socket_close(sock);
        return;
    }
    h2o_socket_read_stop(sock);
    h2o_buffer_consume(&sock->input, used);
    if (line.len > 0)
        conn_address_text((struct sockaddr *)&line.source, line.len, c->peer, sizeof c->peer);
    accept_known(c);
}

static bool accept_spare(serve_worker_t *w)
{
    if (w->spare_fd < 0)
        w->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return w->spare_fd >= 0;
}

/* Out of descriptors the listener would stay readable and the loop spin: the spare is given up to take and drop one. If
 * another thread was faster and has it now, the listener rests until the reaper's next sweep. */
static void accept_shed(accept_listener_t *a)
{
    serve_worker_t *w = a->worker;
    if (!accept_spare(w)) {
        a->rests = true;
        h2o_socket_read_stop(a->sock);
        return;
    }
    close(w->spare_fd);
    w->spare_fd = -1;
    int fd = accept4(h2o_socket_get_fd(a->sock), NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        close(fd);
        serve_count(&w->counters.over_limit, 1);
    }
    accept_spare(w);
}

/* A PROXY line is believed whoever sends it, so it matters who may. Addresses of unix sockets are file permissions. */
static bool accept_is_proxy(const serve_conn_t *c)
{
    const serve_listener_t *l = c->listener;
    network_address_t address;
    return l->proxy_from == NULL || l->is_unix ||
           (network_address(span_str(c->peer), &address) == ERR_OK &&
            network_holds(l->proxy_from, l->proxy_from_n, &address));
}

static void accept_begin(accept_listener_t *a, h2o_socket_t *sock)
{
    serve_worker_t *w = a->worker;
    if (w->shared->limits.send_buffer > 0)
        setsockopt(h2o_socket_get_fd(sock), SOL_SOCKET, SO_SNDBUF, &w->shared->limits.send_buffer,
                   sizeof w->shared->limits.send_buffer);
    serve_conn_t *c = conn_open(w, a, sock);
    if (a->listener->proxy_protocol && !accept_is_proxy(c)) {
        serve_count(&w->counters.refused, 1);
        h2o_socket_close(sock);
    } else if (a->listener->proxy_protocol)
        h2o_socket_read_start(sock, accept_on_proxy_header);
    else
        accept_known(c);
}

void accept_adopt(serve_worker_t *w, size_t listener, int fd)
{
    accept_begin(&w->accept[listener], h2o_evloop_socket_create(w->evloop, fd, H2O_SOCKET_FLAG_IS_ACCEPTED_CONNECTION));
}

/* Returns how many were taken from the queue. */
static size_t accept_some(accept_listener_t *a, size_t most)
{
    serve_worker_t *w = a->worker;
    size_t n = 0;
    for (; n < most; n++) {
        errno = 0;
        h2o_socket_t *sock = h2o_evloop_socket_accept(a->sock);
        if (sock == NULL) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                accept_shed(a);
            else if (errno == ECONNABORTED || errno == EINTR)
                continue;
            break;
        }
        if (w->conn_count >= w->shared->limits.connections) {
            serve_count(&w->counters.over_limit, 1);
            h2o_socket_close(sock);
            continue;
        }
        accept_begin(a, sock);
    }
    return n;
}

static void accept_on_ready(h2o_socket_t *listener, const char *err)
{
    accept_listener_t *a = listener->data;
    serve_worker_tick(a->worker);
    if (err == NULL)
        accept_some(a, ACCEPT_BATCH);
}

void accept_rested(serve_worker_t *w)
{
    for (size_t i = 0; i < w->shared->count; i++) {
        accept_listener_t *a = &w->accept[i];
        if (a->sock != NULL && a->rests && accept_spare(w)) {
            a->rests = false;
            h2o_socket_read_start(a->sock, accept_on_ready);
        }
    }
}

void accept_start(serve_worker_t *w)
{
    w->spare_fd = -1;
    accept_spare(w);
    for (size_t i = 0; i < w->shared->count; i++) {
        serve_listener_t *l = &w->shared->listeners[i];
        accept_listener_t *a = &w->accept[i];
        *a = (accept_listener_t){.worker = w, .index = i, .listener = l};
        if (l->fds[w->index] < 0)
            continue;
        a->sock = h2o_evloop_socket_create(w->evloop, l->fds[w->index], H2O_SOCKET_FLAG_DONT_READ);
        a->sock->data = a;
        h2o_socket_read_start(a->sock, accept_on_ready);
    }
}

void accept_stop(serve_worker_t *w, bool empty_first)
{
    for (size_t i = 0; i < w->shared->count; i++) {
        accept_listener_t *a = &w->accept[i];
        if (a->sock == NULL)
            continue;
        while (empty_first && accept_some(a, ACCEPT_BATCH) == ACCEPT_BATCH)
            ;
        h2o_socket_close(a->sock); /* closes the descriptor too */
        a->sock = NULL;
        a->listener->fds[w->index] = -1;
    }
    if (w->spare_fd >= 0)
        close(w->spare_fd);
    w->spare_fd = -1;
}
