/* h1_scan between the socket and the library's HTTP/1. The library's read callback is replaced by ours, which scans
 * what came before the library looks at it. The library sets its own callback again after every response (and after a
 * 100), but it can't be called before the next turn of the loop: so what may have been replaced is looked at when each
 * turn ends.
 *
 * Refusal: the requests before the bad one are answered first, what follows them is cut off the input. Then the answer
 * is written by us, and the connection lingers (RFC 9112 9.6) so that the answer is not lost to a reset. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/serve/serve_priv.h"

enum { LINGER_MAX_BYTES = 64 * 1024 * 1024 }; /* within the two seconds that the reaper leaves it */

/* The library's own callback, the same for all HTTP/1 connections; learnt when the first is accepted. */
static _Thread_local h2o_socket_cb h1_guard_library_read;

static void h1_guard_on_read(h2o_socket_t *sock, const char *err);

bool h1_guard_is_last(serve_conn_t *c)
{
    h1_state_t *h = &c->h1;
    return ++h->begun == h->scanned && h->refuse == 0 && h1_scan_idle(&h->scan);
}

void h1_guard_close(h2o_socket_t *sock)
{
    h1_guard_library_read(sock, h2o_socket_error_closed); /* an error there closes the connection and frees it */
}

static void h1_guard_on_lingering_read(h2o_socket_t *sock, const char *err)
{
    serve_conn_t *c = conn_of(sock);
    serve_worker_tick(c->worker);
    c->h1.lingered += sock->input->size;
    h2o_buffer_consume(&sock->input, sock->input->size);
    if (err != NULL || c->h1.lingered > LINGER_MAX_BYTES)
        h1_guard_close(sock);
}

static void h1_guard_on_refused(h2o_socket_t *sock, const char *err)
{
    serve_conn_t *c = conn_of(sock);
    serve_worker_tick(c->worker);
    if (err != NULL || sock->ssl != NULL) {
        h1_guard_close(sock);
        return;
    }
    shutdown(h2o_socket_get_fd(sock), SHUT_WR);
    c->h1.lingering = true;
    c->last_input = c->worker->loop->now.boot; /* the reaper ends it */
    h2o_buffer_consume(&sock->input, sock->input->size);
    h2o_socket_read_start(sock, h1_guard_on_lingering_read);
}

static h2o_iovec_t h1_guard_answer(int status)
{
#define ANSWER(line)                                                                                                   \
    {                                                                                                                  \
        H2O_STRLIT("HTTP/1.1 " line "\r\nConnection: close\r\nContent-Length: 0\r\nCache-Control: no-store\r\n\r\n")   \
    }
    static const struct {
        int status;
        h2o_iovec_t text;
    } answers[] = {
        {400, ANSWER("400 Bad Request")},         {413, ANSWER("413 Content Too Large")},
        {414, ANSWER("414 URI Too Long")},        {431, ANSWER("431 Request Header Fields Too Large")},
        {503, ANSWER("503 Service Unavailable")}, {505, ANSWER("505 HTTP Version Not Supported")},
    };
#undef ANSWER
    for (size_t i = 1; i < sizeof answers / sizeof answers[0]; i++)
        if (answers[i].status == status)
            return answers[i].text;
    return answers[0].text;
}

/* `head`: what is there of the request. A body that has been read moves nothing: the library keeps the head before it.
 */
static void h1_guard_tell(serve_conn_t *c, int status, span_t head)
{
    const h1_scan_t *s = &c->h1.scan;
    span_t method, target;
    h1_scan_words(head, &method, &target);
    if (status == H1_SCAN_FOREIGN)
        status = c->h1.scanned == 0 ? 0 : 400;
    serve_refused(c, status, s->minor_zero ? 10 : 11, method, target,
                  s->host_n > 0 ? span_from(span_upto(head, s->host_at + s->host_n), s->host_at) : SPAN_NONE);
}

static void h1_guard_refuse(serve_conn_t *c, int status)
{
    /* Three words, and the last one isn't HTTP's: somebody tries HTTP/2 and begins it wrongly, or another protocol.
     * What HTTP/1 would answer there would be read as a frame (RFC 9113 3.4), so such a connection just ends. */
    if (status == H1_SCAN_FOREIGN && c->h1.scanned == 0) {
        h1_guard_close(c->sock);
        return;
    }
    h2o_iovec_t answer = h1_guard_answer(status);
    h2o_socket_read_stop(c->sock);
    h2o_socket_write(c->sock, &answer, 1, h1_guard_on_refused);
}

/* Keeps the reaper's clocks after a read: when did the head begin, when the body? */
static void h1_guard_mark(serve_conn_t *c, const h1_scan_result_t *r)
{
    h1_state_t *h = &c->h1;
    msec_t now = c->worker->loop->now.boot;
    if (r->requests > 0 || h1_scan_idle(&h->scan))
        h->header_began = h->body_began = 0;
    if (h1_scan_in_body(&h->scan)) {
        if (h->body_began == 0) {
            h->body_began = now;
            h->body_mark = h->scan.body;
        }
    } else if (!h1_scan_idle(&h->scan) && h->header_began == 0) {
        h->header_began = now;
    }
}

static uint64_t h1_guard_body_limit(void *arg, const char *host, size_t n)
{
    return serve_body_limit(arg, span_of(host, n));
}

static void h1_guard_on_read(h2o_socket_t *sock, const char *err)
{
    serve_conn_t *c = conn_of(sock);
    serve_worker_t *w = c->worker;
    serve_worker_tick(w);
    if (err == NULL && sock->bytes_read > 0) {
        const serve_limits_t *l = &w->shared->limits;
        h1_scan_limits_t limits = {.header_bytes = l->header_bytes,
                                   .header_count = l->header_count,
                                   .target_bytes = l->target_bytes,
                                   .max_body = l->max_body,
                                   .body_limit = h1_guard_body_limit,
                                   .arg = c,
                                   .room = serve_body_room(w)};
        size_t size = sock->input->size, fresh = sock->bytes_read < size ? sock->bytes_read : size;
        bool in_body = h1_scan_in_body(&c->h1.scan);
        c->last_input = w->loop->now.boot;
        c->bytes_in += fresh;
        h1_scan_result_t r = h1_scan_feed(&c->h1.scan, &limits, sock->input->bytes, size - fresh, size);
        if (in_body && (w->body_bytes += fresh) > l->body_bytes && r.status == 0 && r.requests == 0) {
            serve_count(&w->counters.floods[SERVE_FLOOD_BODY], 1);
            r.status = 503;
        }
        c->h1.scanned += r.requests;
        h1_guard_mark(c, &r);
        if (r.status != 0)
            h1_guard_tell(c, r.status, span_from(span_of(sock->input->bytes, size), r.requests > 0 ? r.refused_at : 0));
        if (r.status != 0 && r.requests == 0) {
            h1_guard_refuse(c, r.status);
            return;
        }
        if (r.status != 0) {
            c->h1.refuse = r.status;
            sock->input->size = r.refused_at;
        }
        if (r.expects && list_empty(&c->rehook_link))
            list_push_back(&w->rehook, &c->rehook_link);
    }
    h1_guard_library_read(sock, err); /* c may be gone after this */
}

void h1_guard_accept(serve_conn_t *c)
{
    h2o_socket_t *sock = c->sock;
    serve_worker_t *w = c->worker;
    struct timeval at = *h2o_get_timestamp(&w->context, NULL, NULL);
    memset(&c->h1, 0, sizeof c->h1);
    /* The library must not look at what is there already before we did. */
    h2o_buffer_t *input = sock->input;
    h2o_buffer_init(&sock->input, &h2o_socket_buffer_prototype);
    h2o_http1_accept(&w->accept_ctx, sock, at);
    CHECK(sock->_cb.read != NULL);
    h1_guard_library_read = sock->_cb.read;
    sock->_cb.read = h1_guard_on_read;
    h2o_buffer_dispose(&sock->input);
    sock->input = input;
    if (input->size > 0) {
        sock->bytes_read = input->size;
        h1_guard_on_read(sock, NULL);
    }
}

void h1_guard_answered(serve_conn_t *c)
{
    if (list_empty(&c->rehook_link))
        list_push_back(&c->worker->rehook, &c->rehook_link);
}

void h1_guard_rehook(serve_worker_t *w)
{
    list_t some;
    list_init(&some);
    list_take(&some, &w->rehook);
    list_init(&w->rehook);
    for (list_t *node; (node = list_pop_front(&some)) != NULL;) {
        serve_conn_t *c = LIST_ITEM(node, serve_conn_t, rehook_link);
        if (c->sock->_cb.read == h1_guard_library_read) {
            c->sock->_cb.read = h1_guard_on_read;
            c->last_input =
                w->loop->now.boot; /* an idle time begins, or that of a head that came with its predecessor */
            if (c->h1.header_began != 0)
                c->h1.header_began = c->last_input;
            if (c->h1.refuse != 0)
                h1_guard_refuse(c, c->h1.refuse);
        } else if (c->sock->_cb.read == NULL && c->h1.scan.expects && c->exchanges == 0) {
            list_push_back(&w->rehook, &c->rehook_link); /* a 100 is being written */
        }
    }
}

/* Called by the reaper for connections that wait for input. */
bool h1_guard_overdue(serve_conn_t *c, msec_t now, serve_reap_t *why)
{
    const serve_limits_t *l = &c->worker->shared->limits;
    h1_state_t *h = &c->h1;
    if ((c->exchanges > 0 && !h->lingering) || !h2o_socket_is_reading(c->sock))
        return false;
    if (h->lingering || (c->worker->draining && h1_scan_idle(&h->scan))) {
        *why = SERVE_REAP_IDLE;
        return now - c->last_input >= 2 * MSEC_PER_SEC;
    }
    if (h->body_began != 0) {
        *why = SERVE_REAP_BODY;
        if (now - h->body_began < l->body_timeout)
            return false;
        uint64_t came = h->scan.body - h->body_mark;
        bool slow = came * MSEC_PER_SEC < l->body_rate * (uint64_t)(now - h->body_began);
        h->body_began = now;
        h->body_mark = h->scan.body;
        return slow;
    }
    if (h->header_began != 0) {
        *why = SERVE_REAP_HEADER;
        return now - h->header_began >= l->header_timeout;
    }
    *why = SERVE_REAP_IDLE;
    return now - c->last_input >= l->idle_timeout;
}
