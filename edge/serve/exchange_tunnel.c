/* An exchange whose connection has become a tunnel. The library still holds the request, so all that hangs on it (the
 * exchange, its place among those in flight, what a stop waits for) stays as it is; but after the head of 101 it is we
 * who read the socket and write it. At the end the library is told that the connection broke, which frees it all.
 *
 * The request's names and values are views into the connection's input, which reading would move: the tunnel gets an
 * input of its own. What is in it and isn't taken stops the reading. Without TLS we read by ourselves, a bounded piece
 * at a time, since the library reads as long as the peer keeps up with it (8 MB were seen); over TLS it must, and holds
 * at most what the kernel held for the connection. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "edge/serve/exchange_priv.h"

enum { EXCHANGE_TUNNEL_IOV = 64, EXCHANGE_TUNNEL_READ = 64 * 1024 };

typedef struct exchange_tunnel {
    h2o_buffer_t *request; /* the input that the request stands in */
    bool writing, eof;
} exchange_tunnel_t;

static void exchange_tunnel_send(exchange_t *x, const struct iovec *v, size_t n, exchange_end_t end);
static span_t exchange_tunnel_input(exchange_t *x, bool *end);
static void exchange_tunnel_take(exchange_t *x, size_t n);

static const exchange_ops_t exchange_tunnel_clear = {
    .send = exchange_tunnel_send, .input = exchange_tunnel_input, .take = exchange_tunnel_take, .send_most = SIZE_MAX};

static const exchange_ops_t exchange_tunnel_tls = {
    .send = exchange_tunnel_send, .input = exchange_tunnel_input, .take = exchange_tunnel_take, .send_most = 65536};

/* ---- what comes ---- */

/* False: there is nothing yet. */
static bool exchange_tunnel_read(h2o_socket_t *sock, const char **err)
{
    h2o_iovec_t room = h2o_buffer_reserve(&sock->input, EXCHANGE_TUNNEL_READ);
    ssize_t n = room.base != NULL ? read(h2o_socket_get_fd(sock), room.base, EXCHANGE_TUNNEL_READ) : -1;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    *err = n > 0 ? NULL : n == 0 ? h2o_socket_error_closed : h2o_socket_error_io;
    sock->bytes_read = n > 0 ? (size_t)n : 0;
    sock->input->size += sock->bytes_read;
    return true;
}

static void exchange_tunnel_on_read(h2o_socket_t *sock, const char *err)
{
    serve_conn_t *c = conn_of(sock);
    exchange_h2o_t *e = c->tunnel;
    exchange_tunnel_t *t = e->tunnel;
    serve_worker_tick(c->worker);
    if (err == NULL && sock->ssl == NULL && !exchange_tunnel_read(sock, &err))
        return;
    c->bytes_in += err == NULL ? sock->bytes_read : 0;
    if (e->ended || e->dropped) { /* only its last bytes are waited for, or nothing at all */
        h2o_buffer_consume(&sock->input, sock->input->size);
        if (err != NULL && !t->writing)
            h1_guard_close(sock);
        else if (err != NULL)
            h2o_socket_read_stop(sock);
        return;
    }
    if (err != NULL && err != h2o_socket_error_closed) {
        h1_guard_close(sock);
        return;
    }
    t->eof = err != NULL;
    if (e->x.on_input != NULL)
        e->x.on_input(&e->x);
    if (t->eof || sock->input->size > 0)
        h2o_socket_read_stop(sock);
}

static span_t exchange_tunnel_input(exchange_t *x, bool *end)
{
    exchange_h2o_t *e = exchange_h2o_of(x);
    h2o_buffer_t *input = e->conn->sock->input;
    *end = e->tunnel->eof;
    return span_of(input->bytes, input->size);
}

static void exchange_tunnel_take(exchange_t *x, size_t n)
{
    exchange_h2o_t *e = exchange_h2o_of(x);
    h2o_socket_t *sock = e->conn->sock;
    h2o_buffer_consume(&sock->input, n);
    if (sock->input->size == 0 && !e->tunnel->eof && !h2o_socket_is_reading(sock))
        h2o_socket_read_start(sock, exchange_tunnel_on_read);
}

/* ---- what goes ---- */

static void exchange_tunnel_write(exchange_h2o_t *e, const struct iovec *v, size_t n)
{
    h2o_iovec_t out[EXCHANGE_TUNNEL_IOV];
    CHECK(n <= EXCHANGE_TUNNEL_IOV);
    for (size_t i = 0; i < n; i++) {
        out[i] = h2o_iovec_init(v[i].iov_base, v[i].iov_len);
        e->x.body_sent += v[i].iov_len;
    }
    e->tunnel->writing = true;
    h2o_socket_write(e->conn->sock, out, n, exchange_tunnel_on_written); /* copies the array */
}

static void exchange_tunnel_send(exchange_t *x, const struct iovec *v, size_t n, exchange_end_t end)
{
    exchange_h2o_t *e = exchange_h2o_of(x);
    if (e->dropped)
        return;
    CHECK(!e->ended && !e->in_flight);
    e->in_flight = end == EXCHANGE_MORE;
    e->ended = end != EXCHANGE_MORE;
    if (end == EXCHANGE_ABORT)
        exchange_h2o_put_off(e, LATER_ABORT);
    else if (e->tunnel->writing) /* the head */
        exchange_h2o_hold(e, v, n, end);
    else if (n > 0)
        exchange_tunnel_write(e, v, n);
    else
        exchange_h2o_put_off(e, end == EXCHANGE_MORE ? LATER_WRITABLE : LATER_FINAL);
}

void exchange_tunnel_on_written(h2o_socket_t *sock, const char *err)
{
    serve_conn_t *c = conn_of(sock);
    exchange_h2o_t *e = c->tunnel;
    serve_worker_tick(c->worker);
    e->tunnel->writing = false;
    if (err != NULL) {
        h1_guard_close(sock);
        return;
    }
    if (e->held) {
        e->held = false;
        if (e->held_n > 0) {
            struct iovec *v = e->held_v;
            exchange_tunnel_write(e, v, e->held_n);
            return;
        }
    }
    if (e->later == LATER_ABORT)
        return;
    if (e->ended) {
        exchange_tunnel_end(e);
        return;
    }
    if (e->in_flight) {
        e->in_flight = false;
        e->x.on_writable(&e->x);
    }
}

/* The client may still be sending: closing now would reset the connection and with it what is on its way to the client
 * (RFC 9112 9.6 has the same of responses). Over TLS the closing alert says what there is to say. */
void exchange_tunnel_end(exchange_h2o_t *e)
{
    serve_conn_t *c = e->conn;
    h2o_socket_t *sock = c->sock;
    if (sock->ssl != NULL || e->tunnel->eof || shutdown(h2o_socket_get_fd(sock), SHUT_WR) != 0) {
        h1_guard_close(sock);
        return;
    }
    c->h1.lingering = true;
    c->last_input = c->worker->loop->now.boot; /* the reaper ends it */
    h2o_buffer_consume(&sock->input, sock->input->size);
    if (!h2o_socket_is_reading(sock))
        h2o_socket_read_start(sock, exchange_tunnel_on_read);
}

void exchange_tunnel_cut(exchange_h2o_t *e)
{
    struct linger now = {1, 0};
    if (!e->dropped)
        setsockopt(h2o_socket_get_fd(e->conn->sock), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    h1_guard_close(e->conn->sock);
}

/* ---- the change ---- */

void exchange_tunnel_open(exchange_h2o_t *e, const fields_t *fields)
{
    h2o_socket_t *sock = e->conn->sock;
    span_t protocol = fields_get(fields, SPAN("upgrade"));
    CHECK(!e->h2 && e->x.upgrade.p != NULL && protocol.p != NULL);
    exchange_tunnel_t *t = e->tunnel = h2o_mem_alloc_pool(&e->req->pool, sizeof *t);
    *t = (exchange_tunnel_t){.request = sock->input, .writing = true};
    h2o_buffer_init(&sock->input, &h2o_socket_buffer_prototype);
    e->conn->tunnel = e;
    e->x.ops = sock->ssl != NULL ? &exchange_tunnel_tls : &exchange_tunnel_clear;
    size_t room = 256 + protocol.n;
    for (size_t i = 0; i < fields->n; i++)
        room += fields->v[i].name.n + fields->v[i].value.n + 4;
    char *text = h2o_mem_alloc_pool(&e->req->pool, room);
    size_t n = (size_t)snprintf(
        text, room, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %.*s\r\n", SPAN_ARG(protocol));
    for (size_t i = 0; i < fields->n; i++)
        if (!exchange_h2o_is_framing(fields->v[i].name))
            n += (size_t)snprintf(text + n, room - n, "%.*s: %.*s\r\n", SPAN_ARG(fields->v[i].name),
                                  SPAN_ARG(fields->v[i].value));
    n += (size_t)snprintf(text + n, room - n, "\r\n");
    exchange_h2o_tell_next(e, span_of(text, n));
    if (sock->ssl == NULL)
        h2o_socket_dont_read(sock, 1);
    h2o_socket_read_start(sock, exchange_tunnel_on_read);
}

void exchange_tunnel_release(exchange_h2o_t *e)
{
    if (e->tunnel == NULL)
        return;
    h2o_buffer_dispose(&e->tunnel->request);
    e->conn->tunnel = NULL;
}
