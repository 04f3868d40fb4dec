/* The record of a connection. It hangs on the socket's on_close, so it is there from accept(2) to close(2), whatever
 * protocol the socket speaks and however the library ends it; the library's own connection objects come and go
 * underneath. */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/base/mem.h"
#include "edge/serve/serve_priv.h"

void conn_address_text(const struct sockaddr *sa, socklen_t len, char *out, size_t size)
{
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;
    if (len >= (socklen_t)sizeof(struct sockaddr_in) && sa->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)sa)->sin_addr, out, (socklen_t)size);
    else if (len >= (socklen_t)sizeof *in6 && sa->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
        inet_ntop(AF_INET, &in6->sin6_addr.s6_addr[12], out, (socklen_t)size);
    else if (len >= (socklen_t)sizeof *in6 && sa->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &in6->sin6_addr, out, (socklen_t)size);
    else
        snprintf(out, size, "unix");
}

static void conn_on_close(void *data)
{
    serve_conn_t *c = data;
    serve_worker_t *w = c->worker;
    CHECK(c->magic == SERVE_CONN_MAGIC);
    c->magic = 0;
    list_remove(&c->link);
    list_remove(&c->rehook_link);
    w->conn_count--;
    if (c->counted)
        address_count_give(w->shared->addresses, &c->address);
    serve_count(&w->counters.bytes_in, c->bytes_in - c->counted_in);
    serve_count(&w->counters.bytes_out, c->sock->bytes_written - c->counted_out); /* the socket is freed later */
    serve_count(&w->counters.open[c->protocol], (uint64_t)-1);
    if (c->protocol == SERVE_H2 || c->protocol == SERVE_H2C)
        h2_head_release(&c->h2.head);
    tls_unref(c->tls);
    free(c);
}

serve_conn_t *conn_open(serve_worker_t *w, const accept_listener_t *a, h2o_socket_t *sock)
{
    serve_conn_t *c = mem_zalloc(sizeof *c);
    c->magic = SERVE_CONN_MAGIC;
    c->protocol = SERVE_NEW;
    c->sock = sock;
    c->worker = w;
    c->listener = a->listener;
    c->accepted = c->last_input = w->loop->now.boot;
    list_init(&c->rehook_link);
    list_push_back(&w->conns, &c->link);
    w->conn_count++;
    struct sockaddr_storage sa = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof sa;
    if (getpeername(h2o_socket_get_fd(sock), (struct sockaddr *)&sa, &len) != 0)
        len = 0;
    conn_address_text((struct sockaddr *)&sa, len, c->peer, sizeof c->peer);
    sock->on_close.cb = conn_on_close;
    sock->on_close.data = c;
    serve_count(&w->counters.open[SERVE_NEW], 1);
    serve_count(&w->counters.accepted[SERVE_NEW], 1);
    return c;
}

serve_conn_t *conn_of(h2o_socket_t *sock)
{
    serve_conn_t *c = sock->on_close.data;
    CHECK(sock->on_close.cb == conn_on_close && c->magic == SERVE_CONN_MAGIC);
    return c;
}

bool conn_count_address(serve_conn_t *c)
{
    serve_shared_t *s = c->worker->shared;
    network_address_t address;
    if (network_address(span_str(c->peer), &address) != ERR_OK) /* a unix socket */
        return true;
    c->address = network_client(&address);
    c->counted = address_count_take(s->addresses, &c->address, s->limits.connections_per_address);
    return c->counted;
}

void conn_set_protocol(serve_conn_t *c, serve_protocol_t p)
{
    serve_counters_t *counters = &c->worker->counters;
    serve_count(&counters->open[c->protocol], (uint64_t)-1);
    serve_count(&counters->open[p], 1);
    serve_count(&counters->accepted[p], 1);
    c->protocol = p;
}

void conn_kill(serve_conn_t *c)
{
    if (c->killed)
        return;
    c->killed = true;
    shutdown(h2o_socket_get_fd(c->sock), SHUT_RDWR);
}

void conn_count_bytes(serve_conn_t *c)
{
    serve_count(&c->worker->counters.bytes_in, c->bytes_in - c->counted_in);
    serve_count(&c->worker->counters.bytes_out, c->sock->bytes_written - c->counted_out);
    c->counted_in = c->bytes_in;
    c->counted_out = c->sock->bytes_written;
}
