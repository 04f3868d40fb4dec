/* exchange_t over the library's request. One shared allocation in the request's pool holds it all; its dispose is the
 * only callback of the library that comes in every case (`stop` does not after the final send), so that is where
 * on_gone is called from. Names and values are views into the connection's input or the request's pool: nothing is
 * copied.
 *
 * What the library does to responses, and what is done about it:
 * - It writes a Date of its own and can't be told not to. Over HTTP/2 the head is written here (h2_head) and not by the
 * library. Over HTTP/1 the response's Date is put where the library takes its own from, for the time of one call. So
 * there is always exactly one Date: the response's if it has one of the usual length, else the current time.
 * - It encodes chunks only for status 200: chunks are made here and its filter is taken out.
 * - It knows no 1xx but its own 100: over HTTP/1 they are written to the socket here, and what is sent meanwhile waits.
 * - An empty h2o_send in progress ends an HTTP/1 response early: never done. Sends that would end the request within
 * the call are put off to the end of the turn, so the request path is never called back from its own call. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "edge/base/clock.h"
#include "edge/http/fields.h"
#include "edge/serve/exchange_priv.h"

enum {
    EXCHANGE_ARENA_MAX = 4 * 1024 * 1024, /* what the request path may take for one request */
    EXCHANGE_SEND_TLS = 256 * 1024,
    EXCHANGE_IOV_MAX = 16
};

static void exchange_h2o_head(exchange_t *x, int status, const fields_t *fields, int64_t content_length);
static void exchange_h2o_send(exchange_t *x, const struct iovec *v, size_t n, exchange_end_t end);
static void exchange_h2o_informational(exchange_t *x, int status, const fields_t *fields);

static const exchange_ops_t exchange_h2o_ops_clear = {.head = exchange_h2o_head,
                                                      .send = exchange_h2o_send,
                                                      .informational = exchange_h2o_informational,
                                                      .send_most = SIZE_MAX};
static const exchange_ops_t exchange_h2o_ops_framed = {.head = exchange_h2o_head,
                                                       .send = exchange_h2o_send,
                                                       .informational = exchange_h2o_informational,
                                                       .send_most = EXCHANGE_SEND_TLS};

exchange_h2o_t *exchange_h2o_of(exchange_t *x)
{
    exchange_h2o_t *e = CONTAINER_OF(x, exchange_h2o_t, x);
    CHECK(e->magic == EXCHANGE_MAGIC);
    return e;
}

static void exchange_h2o_dispose(void *p)
{
    exchange_h2o_t *e = p;
    serve_conn_t *c = e->conn;
    serve_worker_tick(c->worker);
    h2o_timeout_unlink(&e->timer);
    e->req = NULL;
    if (e->x.on_gone != NULL)
        e->x.on_gone(&e->x);
    exchange_tunnel_release(e);
    e->magic = 0;
    if (c->telling == e)
        c->telling = NULL;
    arena_release(&e->arena);
    list_remove(&e->link);
    c->worker->head_bytes -= e->counted;
    serve_body_gone(c->worker, e->x.body.n);
    c->exchanges--;
    c->worker->exchange_count--;
    if (!e->h2)
        h1_guard_answered(c);
}

/* ---- the response ---- */

void exchange_h2o_put_off(exchange_h2o_t *e, exchange_later_t what)
{
    e->later = what;
    if (!h2o_timeout_is_linked(&e->timer))
        h2o_timeout_link(e->conn->worker->evloop, &e->conn->worker->context.zero_timeout, &e->timer);
}

/* h2o_send with the Date of the response in the place of the library's: the head is flattened inside the call. */
static void exchange_h2o_pass(exchange_h2o_t *e, h2o_iovec_t *v, size_t n, h2o_send_state_t state)
{
    h2o_context_t *ctx = &e->conn->worker->context;
    h2o_req_t *req = e->req;
    if (state != H2O_SEND_STATE_IN_PROGRESS)
        e->req = NULL; /* it may be gone when the call returns */
    if (e->first_sent || e->h2 || e->date[0] == '\0') {
        e->first_sent = true;
        h2o_send(req, v, n, state);
        return;
    }
    char own[sizeof ctx->_timestamp_cache.value->rfc1123];
    e->first_sent = true;
    h2o_get_timestamp(ctx, NULL, NULL); /* brings the cache up to date, so that it is not renewed below */
    char *place = ctx->_timestamp_cache.value->rfc1123;
    memcpy(own, place, sizeof own);
    memcpy(place, e->date, sizeof e->date);
    h2o_send(req, v, n, state);
    memcpy(place, own, sizeof own);
}

/* A cut response must look cut: over HTTP/1 the connection ends before the promised length or the last chunk, and where
 * its end is the only sign, with a reset. Over HTTP/2 the stream is reset. */
static void exchange_h2o_cut(exchange_h2o_t *e)
{
    h2o_req_t *req = e->req;
    if (e->tunnel != NULL) {
        exchange_tunnel_cut(e);
        return;
    }
    if (e->h2) {
        h2o_http2_conn_t *conn = (h2o_http2_conn_t *)req->conn;
        h2o_http2_stream_t *st = H2O_STRUCT_FROM_MEMBER(h2o_http2_stream_t, req, req);
        if (conn->state < H2O_HTTP2_CONN_STATE_IS_CLOSING && st->state != H2O_HTTP2_STREAM_STATE_END_STREAM) {
            if (e->refused) /* the macro doesn't take NO_ERROR, and wants a constant */
                h2o_http2__encode_rst_stream_frame(&conn->_write.buf, st->stream_id, 0);
            else if (e->malformed)
                h2o_http2_encode_rst_stream_frame(&conn->_write.buf, st->stream_id, -H2O_HTTP2_ERROR_PROTOCOL);
            else
                h2o_http2_encode_rst_stream_frame(&conn->_write.buf, st->stream_id, -H2O_HTTP2_ERROR_INTERNAL);
            h2o_http2_conn_request_write(conn);
            e->req = NULL;
            h2o_http2_stream_reset(conn, st);
        }
        return;
    }
    req->http1_is_persistent = 0;
    if (!e->head_done) {
        e->req = NULL;
        h2o_send_error_generic(req, 500, "Internal Server Error", "", H2O_SEND_ERROR_HTTP1_CLOSE_CONNECTION);
        return;
    }
    if (!e->chunked && req->res.content_length == SIZE_MAX) {
        struct linger now = {1, 0};
        setsockopt(h2o_socket_get_fd(e->conn->sock), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    exchange_h2o_pass(e, NULL, 0, H2O_SEND_STATE_ERROR);
}

void exchange_h2o_hold(exchange_h2o_t *e, const struct iovec *v, size_t n, exchange_end_t end)
{
    e->held = true;
    e->held_v = n > 0 ? h2o_mem_alloc_pool(&e->req->pool, n * sizeof *v) : NULL;
    if (n > 0)
        memcpy(e->held_v, v, n * sizeof *v);
    e->held_n = n;
    e->held_end = end;
}

static void exchange_h2o_on_timer(h2o_timeout_entry_t *timer)
{
    exchange_h2o_t *e = H2O_STRUCT_FROM_MEMBER(exchange_h2o_t, timer, timer);
    exchange_later_t what = e->later;
    serve_worker_tick(e->conn->worker);
    e->later = LATER_NOTHING;
    if (e->req == NULL)
        return;
    switch (what) {
    case LATER_WRITABLE:
        e->in_flight = false;
        if (e->x.on_writable != NULL)
            e->x.on_writable(&e->x);
        break;
    case LATER_FINAL:
        if (e->tunnel != NULL)
            exchange_tunnel_end(e);
        else
            exchange_h2o_pass(e, NULL, 0, H2O_SEND_STATE_FINAL);
        break;
    case LATER_ABORT:
        if (e->telling) { /* one write at a time: the end of that one, which won't be long, is followed by the cut */
            exchange_h2o_hold(e, NULL, 0, EXCHANGE_ABORT);
            conn_kill(e->conn);
        } else {
            exchange_h2o_cut(e);
        }
        break;
    case LATER_NOTHING:
        break;
    }
}

static void exchange_h2o_proceed(h2o_generator_t *generator, h2o_req_t *req)
{
    exchange_h2o_t *e = (exchange_h2o_t *)generator;
    (void)req;
    serve_worker_tick(e->conn->worker);
    e->in_flight = false;
    if (e->x.on_writable != NULL)
        e->x.on_writable(&e->x);
}

/* Framing is the server's own business; whoever built the fields may have left these in. */
bool exchange_h2o_is_framing(span_t name)
{
    switch (name.n) {
    case 7:
        return span_eq(name, SPAN("upgrade"));
    case 10:
        return span_eq(name, SPAN("connection")) || span_eq(name, SPAN("keep-alive"));
    case 14:
        return span_eq(name, SPAN("content-length"));
    case 16:
        return span_eq(name, SPAN("proxy-connection"));
    case 17:
        return span_eq(name, SPAN("transfer-encoding"));
    default:
        return false;
    }
}

/* The response's fields without framing, and with a Date. */
static void exchange_h2o_write_block(exchange_h2o_t *e, int status, const fields_t *fields, int64_t content_length)
{
    h2o_http2_conn_t *conn = (h2o_http2_conn_t *)e->req->conn;
    h2o_http2_stream_t *st = H2O_STRUCT_FROM_MEMBER(h2o_http2_stream_t, req, e->req);
    field_t *v = arena_alloc(&e->arena, (fields->n + 1) * sizeof *v);
    size_t n = 0;
    bool dated = status < 200;
    for (size_t i = 0; v != NULL && i < fields->n; i++) {
        span_t name = fields->v[i].name;
        if (exchange_h2o_is_framing(name) || (span_eq(name, SPAN("date")) && dated))
            continue;
        dated |= span_eq(name, SPAN("date"));
        v[n++] = fields->v[i];
    }
    CHECK(v != NULL);
    if (!dated) {
        h2o_timestamp_t now;
        h2o_get_timestamp(&e->conn->worker->context, &e->req->pool, &now);
        v[n++] = (field_t){SPAN("date"), span_of(now.str->rfc1123, H2O_TIMESTR_RFC1123_LEN)};
    }
    h2_block_write(
        e->conn, conn, st->stream_id,
        &(h2_block_t){.status = status, .v = v, .n = n, .content_length = content_length, .last = e->refused});
}

static void exchange_h2o_head_h2(exchange_h2o_t *e, int status, const fields_t *fields, int64_t content_length)
{
    h2o_http2_conn_t *conn = (h2o_http2_conn_t *)e->req->conn;
    h2o_http2_stream_t *st = H2O_STRUCT_FROM_MEMBER(h2o_http2_stream_t, req, e->req);
    CHECK(st->state == H2O_HTTP2_STREAM_STATE_SEND_HEADERS);
    exchange_h2o_write_block(e, status, fields, content_length);
    h2o_http2_stream_set_state(conn, st, H2O_HTTP2_STREAM_STATE_SEND_BODY); /* so the library does not write one */
}

static void exchange_h2o_head_h1(exchange_h2o_t *e, const fields_t *fields)
{
    h2o_req_t *req = e->req;
    h2o_vector_reserve(&req->pool, &req->res.headers, fields->n + 1);
    h2o_iovec_t *names = h2o_mem_alloc_pool(&req->pool, (fields->n + 1) * sizeof *names);
    size_t n = 0;
    for (size_t i = 0; i < fields->n; i++) {
        const field_t *f = &fields->v[i];
        if (exchange_h2o_is_framing(f->name))
            continue;
        if (span_eq(f->name, SPAN("date"))) {
            if (f->value.n == H2O_TIMESTR_RFC1123_LEN && e->date[0] == '\0')
                memcpy(e->date, f->value.p, f->value.n);
            continue;
        }
        names[n] = h2o_iovec_init(f->name.p, f->name.n);
        req->res.headers.entries[n] = (h2o_header_t){&names[n], NULL, h2o_iovec_init(f->value.p, f->value.n)};
        n++;
    }
    if (e->chunked) {
        names[n] = h2o_iovec_init(H2O_STRLIT("transfer-encoding"));
        req->res.headers.entries[n] = (h2o_header_t){&names[n], NULL, h2o_iovec_init(H2O_STRLIT("chunked"))};
        n++;
    }
    req->res.headers.size = n;
}

static const char *exchange_h2o_reason(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {508, "Loop Detected"},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return status < 300 ? "Success" : status < 400 ? "Redirect" : "Error";
}

static void exchange_h2o_head(exchange_t *x, int status, const fields_t *fields, int64_t content_length)
{
    exchange_h2o_t *e = exchange_h2o_of(x);
    if (e->dropped)
        return;
    CHECK(!e->head_done && !e->ended && e->req != NULL);
    h2o_req_t *req = e->req;
    e->head_done = true;
    if (status == 101) {
        exchange_tunnel_open(e, fields);
        return;
    }
    bool no_length = status == 204 || status < 200;
    e->no_body = e->no_body || no_length || status == 304;
    req->res.status = status;
    req->res.reason = exchange_h2o_reason(status);
    req->res.content_length = content_length >= 0 && !no_length ? (size_t)content_length : SIZE_MAX;
    if (e->h2) {
        exchange_h2o_head_h2(e, status, fields, no_length ? -1 : content_length);
    } else {
        bool unframed = req->res.content_length == SIZE_MAX && !e->no_body;
        e->chunked = unframed && x->protocol >= 11;
        if ((unframed && !e->chunked) || e->conn->worker->draining)
            req->http1_is_persistent = 0;
        exchange_h2o_head_h1(e, fields);
    }
    h2o_start_response(req, &e->generator);
}

/* The bytes of one send as the library wants them, with chunk framing around. Returns the count. */
static size_t exchange_h2o_frame(exchange_h2o_t *e, const struct iovec *v, size_t n, size_t bytes, bool last,
                                 h2o_iovec_t *out)
{
    size_t k = 0;
    if (e->chunked && bytes > 0) {
        int len = snprintf(e->chunk_head, sizeof e->chunk_head, "%zx\r\n", bytes);
        out[k++] = h2o_iovec_init(e->chunk_head, (size_t)len);
    }
    for (size_t i = 0; i < n; i++)
        if (v[i].iov_len > 0)
            out[k++] = h2o_iovec_init(v[i].iov_base, v[i].iov_len);
    if (e->chunked && bytes > 0)
        out[k++] = last ? h2o_iovec_init(H2O_STRLIT("\r\n0\r\n\r\n")) : h2o_iovec_init(H2O_STRLIT("\r\n"));
    else if (e->chunked && last)
        out[k++] = h2o_iovec_init(H2O_STRLIT("0\r\n\r\n"));
    return k;
}

static void exchange_h2o_send(exchange_t *x, const struct iovec *v, size_t n, exchange_end_t end)
{
    exchange_h2o_t *e = exchange_h2o_of(x);
    if (e->dropped)
        return;
    CHECK(!e->ended && !e->in_flight && e->req != NULL);
    CHECK(e->head_done || end == EXCHANGE_ABORT);
    if (end == EXCHANGE_ABORT) {
        e->ended = true;
        exchange_h2o_put_off(e, LATER_ABORT);
        return;
    }
    if (e->telling) {
        exchange_h2o_hold(e, v, n, end);
        e->in_flight = end == EXCHANGE_MORE;
        e->ended = end == EXCHANGE_FINAL;
        return;
    }
    size_t bytes = 0;
    for (size_t i = 0; i < n && !e->no_body; i++)
        bytes += v[i].iov_len;
    e->in_flight = end == EXCHANGE_MORE;
    e->ended = end == EXCHANGE_FINAL;
    x->body_sent += bytes;
    h2o_iovec_t few[EXCHANGE_IOV_MAX + 2], *out = few;
    if (n > EXCHANGE_IOV_MAX)
        out = h2o_mem_alloc_pool(&e->req->pool, (n + 2) * sizeof *out);
    size_t k = exchange_h2o_frame(e, v, bytes > 0 ? n : 0, bytes, end == EXCHANGE_FINAL, out);
    if (end == EXCHANGE_FINAL) {
        if (k == 0 && !e->h2 && e->first_sent)
            exchange_h2o_put_off(e, LATER_FINAL); /* the library would end the request within the call */
        else
            exchange_h2o_pass(e, out, k, H2O_SEND_STATE_FINAL);
    } else if (k > 0 || (!e->first_sent && !e->no_body)) {
        exchange_h2o_pass(e, out, k, H2O_SEND_STATE_IN_PROGRESS); /* an empty first send carries the head */
    } else {
        exchange_h2o_put_off(e, LATER_WRITABLE);
    }
}

/* ---- 1xx ---- */

static void exchange_h2o_on_told(h2o_socket_t *sock, const char *err);

static void exchange_h2o_tell(exchange_h2o_t *e, span_t text)
{
    h2o_iovec_t v = h2o_iovec_init(text.p, text.n);
    e->telling = true;
    e->conn->telling = e;
    h2o_socket_write(e->conn->sock, &v, 1, exchange_h2o_on_told);
}

void exchange_h2o_tell_next(exchange_h2o_t *e, span_t text)
{
    if (!e->telling)
        exchange_h2o_tell(e, text);
    else if (e->tell_next.n == 0)
        e->tell_next = text;
    else
        e->tell_next = arena_printf(&e->arena, "%.*s%.*s", SPAN_ARG(e->tell_next), SPAN_ARG(text));
}

/* A connection that is closed first doesn't get here, and an error shows again at the next write. */
static void exchange_h2o_on_told(h2o_socket_t *sock, const char *err)
{
    serve_conn_t *c = conn_of(sock);
    exchange_h2o_t *e = c->telling;
    serve_worker_tick(c->worker);
    c->telling = NULL;
    CHECK(e != NULL && e->magic == EXCHANGE_MAGIC && e->telling);
    e->telling = false;
    if (e->tell_next.n > 0 && err == NULL) {
        span_t next = e->tell_next;
        e->tell_next = SPAN_NONE;
        exchange_h2o_tell(e, next);
        return;
    }
    if (e->tunnel != NULL) {
        exchange_tunnel_on_written(sock, err);
        return;
    }
    if (!e->held || e->req == NULL)
        return;
    e->held = e->in_flight = e->ended = false;
    if (e->held_end == EXCHANGE_ABORT) {
        e->ended = true;
        exchange_h2o_cut(e);
    } else {
        exchange_h2o_send(&e->x, e->held_v, e->held_n, e->held_end);
    }
}

static span_t exchange_h2o_informational_text(exchange_h2o_t *e, int status, const fields_t *fields)
{
    size_t room = 64;
    for (size_t i = 0; i < fields->n; i++)
        room += fields->v[i].name.n + fields->v[i].value.n + 4;
    char *text = arena_alloc(&e->arena, room);
    if (text == NULL)
        return SPAN_NONE;
    size_t n = (size_t)snprintf(text, room, "HTTP/1.1 %d %s\r\n", status,
                                status == 102   ? "Processing"
                                : status == 103 ? "Early Hints"
                                                : "Informational");
    for (size_t i = 0; i < fields->n; i++)
        if (!exchange_h2o_is_framing(fields->v[i].name))
            n += (size_t)snprintf(text + n, room - n, "%.*s: %.*s\r\n", SPAN_ARG(fields->v[i].name),
                                  SPAN_ARG(fields->v[i].value));
    n += (size_t)snprintf(text + n, room - n, "\r\n");
    return span_of(text, n);
}

static void exchange_h2o_informational(exchange_t *x, int status, const fields_t *fields)
{
    exchange_h2o_t *e = exchange_h2o_of(x);
    if (e->head_done || e->ended || e->req == NULL || status <= 100 || status >= 200 || status == 101)
        return;
    if (e->h2) {
        exchange_h2o_write_block(e, status, fields, -1);
        return;
    }
    /* RFC 9110 15.2: never to an HTTP/1.0 client */
    bool writing = !e->telling && h2o_socket_is_writing(e->conn->sock);
    span_t text = x->protocol >= 11 && !writing ? exchange_h2o_informational_text(e, status, fields) : SPAN_NONE;
    if (text.n == 0)
        return;
    exchange_h2o_tell_next(e, text);
}

/* ---- the request ---- */

/* A malformed request over HTTP/2 is a stream error (RFC 9113 8.1.1); the answer before it is for people. Of any other
 * the head is all that there is. It ends at once in both cases: the library would wait for a window to say the end. */
static void exchange_h2o_refuse(exchange_h2o_t *e, int status)
{
    static const field_t plain[] = {{{"cache-control", 13}, {"no-store", 8}}, {{"retry-after", 11}, {"1", 1}}};
    size_t n = status == 503 ? 2 : 1;
    fields_t fields = {(field_t *)plain, n, n, NULL};
    serve_refused(e->conn, status, e->x.protocol, e->x.method_name, e->x.target, e->x.authority);
    if (e->h2)
        h2_guard_note_error(e->conn);
    else
        e->req->http1_is_persistent = 0;
    e->malformed = e->h2 && status == 400;
    e->refused = e->h2 && !e->malformed;
    exchange_h2o_head(&e->x, status, &fields, e->malformed ? -1 : 0);
    exchange_h2o_send(&e->x, NULL, 0, e->h2 ? EXCHANGE_ABORT : EXCHANGE_FINAL);
}

/* A few bytes that name entries of the compression table again are a large head here, and a client that gives no window
 * makes it stay. So heads have a ceiling, all together: large ones are the first that must wait. */
static bool exchange_h2o_room(exchange_h2o_t *e)
{
    serve_worker_t *w = e->conn->worker;
    size_t most = w->shared->limits.head_bytes, bytes = e->head_bytes + SERVE_REQUEST_BYTES;
    if (w->head_bytes + bytes > (e->head_bytes > SERVE_REQUEST_BYTES ? most / 2 : most))
        return false;
    e->counted = bytes;
    w->head_bytes += bytes;
    return true;
}

static int exchange_h2o_on_request(h2o_handler_t *handler, h2o_req_t *req)
{
    serve_worker_t *w = ((exchange_handler_t *)handler)->worker;
    serve_worker_tick(w);
    exchange_h2o_t *e = h2o_mem_alloc_shared(&req->pool, sizeof *e, exchange_h2o_dispose);
    memset(e, 0, sizeof *e);
    e->generator = (h2o_generator_t){exchange_h2o_proceed, NULL};
    e->magic = EXCHANGE_MAGIC;
    e->req = req;
    e->conn = conn_of(req->conn->callbacks->get_socket(req->conn));
    e->timer.cb = exchange_h2o_on_timer;
    e->h2 = req->version >= 0x200;
    arena_init(&e->arena, EXCHANGE_ARENA_MAX);
    list_push_back(&w->exchanges, &e->link);
    e->conn->exchanges++;
    w->exchange_count++;
    e->x.ops = e->conn->protocol == SERVE_H1 ? &exchange_h2o_ops_clear : &exchange_h2o_ops_framed;
    int status = exchange_request_fill(e, req);
    if (status == 0 && (w->stopping || !exchange_h2o_room(e)))
        status = 503;
    if (status != 0) {
        exchange_h2o_refuse(e, status);
        return 0;
    }
    serve_count(&w->counters.requests, 1);
    w->on_request(&e->x, e->conn->listener->id, w->on_request_ctx);
    return 0;
}

/* The library's filters (chunked encoding) are taken out: chunks are made above. */
static void exchange_h2o_drop_filters(h2o_pathconf_t *path)
{
    for (size_t i = 0; i < path->filters.size; i++)
        free(path->filters.entries[i]);
    path->filters.size = 0;
}

void exchange_h2o_setup(serve_worker_t *w, h2o_pathconf_t *path)
{
    exchange_handler_t *handler = (exchange_handler_t *)h2o_create_handler(path, sizeof *handler);
    handler->super.on_req = exchange_h2o_on_request;
    handler->worker = w;
    exchange_h2o_drop_filters(path);
    path->error_log.emit_request_errors = 0;
}

void exchange_h2o_abort_all(serve_worker_t *w)
{
    for (list_t *node = w->exchanges.next; node != &w->exchanges; node = node->next) {
        exchange_h2o_t *e = LIST_ITEM(node, exchange_h2o_t, link);
        if (e->tunnel != NULL && e->ended) {
            conn_kill(e->conn);
        } else if (!e->h2 && !e->in_flight && !e->ended) {
            e->ended = e->dropped = true;
            exchange_h2o_put_off(e, LATER_ABORT);
        }
    }
}
