/* Request bodies over HTTP/2, before the library has them. A body that is announced as larger than its site accepts, or
 * than there is room for, is answered when its head is complete: the client has not been told to go on (RFC 9110
 * 10.1.1), and the stream is closed without an error behind the whole answer (RFC 9113 8.1). One that nobody announced
 * is answered when it has become too large. What is on its way then is nobody's fault: it is swallowed here, where the
 * library would answer each frame with an error, which the guard counts.
 *
 * The library knows no Expect over HTTP/2, so the 100 is written here, too. */
#include "edge/serve/serve_priv.h"

/* The first field of that name; .p NULL: none. */
static span_t h2_upload_field(const h2o_http2_stream_t *st, span_t name)
{
    for (size_t i = 0; i < st->req.headers.size; i++) {
        const h2o_header_t *f = &st->req.headers.entries[i];
        if (span_eq(span_of(f->name->base, f->name->len), name))
            return span_of(f->value.base, f->value.len);
    }
    return SPAN_NONE;
}

span_t h2_upload_authority(const h2o_http2_stream_t *st)
{
    h2o_iovec_t authority = st->req.input.authority;
    bool given =
        authority.base != NULL &&
        (st->req.hostconf == NULL || authority.base != st->req.hostconf->authority.hostport.base); /* a stand-in */
    return given ? span_of(authority.base, authority.len) : h2_upload_field(st, SPAN("host"));
}

static uint64_t h2_upload_limit(const serve_conn_t *c, const h2o_http2_stream_t *st)
{
    return serve_body_limit(c, h2_upload_authority(st));
}

static void h2_upload_refuse(serve_conn_t *c, h2o_http2_conn_t *conn, h2o_http2_stream_t *st, int status)
{
    static const field_t v[] = {{{"cache-control", 13}, {"no-store", 8}}};
    h2_state_t *h = &c->h2;
    uint32_t stream = st->stream_id;
    const h2o_req_t *req = &st->req;
    serve_refused(c, status, 20, span_of(req->input.method.base, req->input.method.len),
                  span_of(req->input.path.base, req->input.path.len), h2_upload_authority(st));
    h->refused[h->refused_n++ % H2_REFUSED_MAX] = stream;
    h2_block_write(c, conn, stream, &(h2_block_t){.status = status, .v = v, .n = 1, .content_length = 0, .last = true});
    h2o_http2__encode_rst_stream_frame(&conn->_write.buf, stream, 0); /* NO_ERROR, which the macro doesn't take */
    h2o_http2_conn_request_write(conn);
    h2o_http2_stream_reset(conn, st);
}

void h2_upload_announced(serve_conn_t *c, h2o_http2_conn_t *conn, uint32_t stream)
{
    h2o_http2_stream_t *st = h2o_http2_conn_get_stream(conn, stream);
    if (st == NULL || st->state != H2O_HTTP2_STREAM_STATE_RECV_BODY || conn->state >= H2O_HTTP2_CONN_STATE_IS_CLOSING)
        return;
    uint64_t length = st->_expected_content_length != SIZE_MAX ? st->_expected_content_length : 0;
    if (length > h2_upload_limit(c, st))
        h2_upload_refuse(c, conn, st, 413);
    else if (length > serve_body_room(c->worker))
        h2_upload_refuse(c, conn, st, 503);
    else if (span_caseeq(h2_upload_field(st, SPAN("expect")), SPAN("100-continue")))
        h2_block_write(c, conn, stream, &(h2_block_t){.status = 100, .content_length = -1});
}

void h2_upload_check(serve_conn_t *c, h2o_http2_conn_t *conn, uint32_t stream, size_t bytes)
{
    h2o_http2_stream_t *st = h2o_http2_conn_get_stream(conn, stream);
    if (st == NULL || st->state != H2O_HTTP2_STREAM_STATE_RECV_BODY || conn->state >= H2O_HTTP2_CONN_STATE_IS_CLOSING)
        return;
    if (st->_req_body->size + bytes > h2_upload_limit(c, st))
        h2_upload_refuse(c, conn, st, 413);
}

bool h2_upload_swallow(serve_conn_t *c, h2o_http2_conn_t *conn, uint32_t stream, size_t length)
{
    const h2_state_t *h = &c->h2;
    size_t at = 0;
    while (at < H2_REFUSED_MAX && h->refused[at] != stream)
        at++;
    if (at == H2_REFUSED_MAX || stream == 0 || conn->state >= H2O_HTTP2_CONN_STATE_IS_CLOSING)
        return false;
    ssize_t most = H2O_HTTP2_SETTINGS_HOST.initial_window_size;
    c->bytes_in += length;
    h2o_http2_window_consume_window(&conn->_input_window, length);
    ssize_t left = h2o_http2_window_get_window(&conn->_input_window);
    if (left * 2 < most) {
        h2o_http2_encode_window_update_frame(&conn->_write.buf, 0, (int32_t)(most - left));
        h2o_http2_conn_request_write(conn);
        h2o_http2_window_update(&conn->_input_window, most - left);
    }
    return true;
}
