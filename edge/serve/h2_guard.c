/* The guard in front of the library's HTTP/2 frame parser. Stock libh2o 2.2.5 can be aborted by any client (an
 * assertion when a window reopens for a stream whose last write is in flight), loops for ever on a CONTINUATION after
 * its own GOAWAY, and limits none of the floods that were published since 2019. All frames go through
 * h2o_http2_conn_t._read_expect, so that is where this stands: each whole frame is weighed before the library sees it.
 * What is too much ends the connection with GOAWAY(ENHANCE_YOUR_CALM), RFC 9113 10.5.
 *
 * Weights: frames that cost the peer nothing and us something (PING, SETTINGS, PRIORITY, empty DATA, unknown types,
 * more WINDOW_UPDATE than data and requests explain) share a budget a second. Streams that the peer resets, or makes us
 * reset, share one for ten seconds. A header block has a ceiling of bytes, of fields (h2_count.h) and of CONTINUATION
 * frames, and the reaper gives it a time. */
#include <stdlib.h>
#include <string.h>

#include "edge/serve/library_caches.h"
#include "edge/serve/serve_priv.h"

enum {
    FRAME_HEAD = 9,
    FRAME_MAX = 16384, /* SETTINGS_MAX_FRAME_SIZE that the library announces */
    TYPE_DATA = 0,
    TYPE_HEADERS,
    TYPE_PRIORITY,
    TYPE_RST_STREAM,
    TYPE_SETTINGS,
    TYPE_PUSH_PROMISE,
    TYPE_PING,
    TYPE_GOAWAY,
    TYPE_WINDOW_UPDATE,
    TYPE_CONTINUATION,
    FLAG_END_STREAM = 1,
    FLAG_ACK = 1,
    FLAG_END_HEADERS = 4,
    FLAG_PADDED = 8,
    FLAG_PRIORITY = 32,
    PRIORITY_BYTES = 5,
    PSEUDO_FIELDS = 4,
    SETTING_HEADER_TABLE_SIZE = 1,
    SMALL_DATA = 16, /* payload that is worth no frame */
    SMALL_CONTINUATION = 64,
    WINDOW_UPDATES_FREE = 100,
    WINDOW_UPDATE_BYTES = 1024, /* one is earned by so many bytes written */
    WINDOW_UPDATES_PER_REQUEST = 4
};

typedef struct h2_frame {
    size_t length; /* of the payload */
    uint8_t type, flags;
    uint32_t stream;
    const uint8_t *payload;
} h2_frame_t;

static ssize_t h2_guard_calm(serve_conn_t *c, serve_flood_t kind, const char *what, const char **err)
{
    serve_count(&c->worker->counters.floods[kind], 1);
    *err = what;
    return H2O_HTTP2_ERROR_ENHANCE_YOUR_CALM;
}

/* Is there still budget for `cost` more useless frames in this second? */
static bool h2_guard_spend(serve_conn_t *c, unsigned cost)
{
    h2_state_t *h = &c->h2;
    msec_t now = c->worker->loop->now.boot;
    if (now - h->second >= MSEC_PER_SEC) {
        h->second = now;
        h->idle_frames = 0;
    }
    h->idle_frames += cost;
    return h->idle_frames <= c->worker->shared->limits.flood_budget;
}

static void h2_guard_decade(serve_conn_t *c)
{
    h2_state_t *h = &c->h2;
    msec_t now = c->worker->loop->now.boot;
    if (now - h->decade >= 10 * MSEC_PER_SEC) {
        h->decade = now;
        h->resets = h->errors = h->begun = 0;
    }
}

void h2_guard_note_error(serve_conn_t *c)
{
    h2_guard_decade(c);
    c->h2.errors++;
}

/* A finished stream that waits for its last bytes to be written is in a list by the same link as the scheduler's; the
 * library asserts that its window can't reopen. A window that was never closed can't. */
static void h2_guard_keep_window_open(h2o_http2_stream_t *st)
{
    if (st != NULL && st->state == H2O_HTTP2_STREAM_STATE_END_STREAM && st->output_window._avail <= 0)
        st->output_window._avail = 1;
}

static bool h2_guard_data(serve_conn_t *c, h2o_http2_conn_t *conn, const h2_frame_t *f, const char **err,
                          ssize_t *answer)
{
    size_t padding = 0;
    if ((f->flags & FLAG_PADDED) && f->length > 0)
        padding = 1U + f->payload[0];
    size_t payload = f->length > padding ? f->length - padding : 0;
    serve_worker_t *w = c->worker;
    c->h2.bodies_came += payload;
    w->body_bytes += payload;
    if (w->body_bytes > w->shared->limits.body_bytes) {
        *answer = h2_guard_calm(c, SERVE_FLOOD_BODY, "too many uploads", err);
        return false;
    }
    if (payload < SMALL_DATA && !(f->flags & FLAG_END_STREAM) && !h2_guard_spend(c, 1)) {
        *answer = h2_guard_calm(c, SERVE_FLOOD_EMPTY_DATA, "too many empty DATA frames", err);
        return false;
    }
    h2_upload_check(c, conn, f->stream, payload);
    return true;
}

/* The part of a header block in a frame. */
static span_t h2_guard_fragment(const h2_frame_t *f)
{
    span_t all = span_of((const char *)f->payload, f->length);
    if (f->type == TYPE_CONTINUATION)
        return all;
    size_t padding = (f->flags & FLAG_PADDED) != 0 && f->length > 0 ? f->payload[0] : 0;
    size_t head = ((f->flags & FLAG_PADDED) != 0 ? 1 : 0) + ((f->flags & FLAG_PRIORITY) != 0 ? PRIORITY_BYTES : 0);
    return head + padding > f->length ? SPAN_NONE : span_from(span_upto(all, f->length - padding), head);
}

static bool h2_guard_block(serve_conn_t *c, h2o_http2_conn_t *conn, const h2_frame_t *f, const char **err,
                           ssize_t *answer)
{
    const serve_limits_t *l = &c->worker->shared->limits;
    h2_state_t *h = &c->h2;
    if (f->type == TYPE_HEADERS) {
        h->continuations = 0;
        h->block_bytes = 0;
        h->block_fields = (h2_count_t){0};
        h->block_began = c->worker->loop->now.boot;
        h->requests++;
        h2_guard_decade(c);
        h->begun++;
        h2o_http2_stream_t *st = h2o_http2_conn_get_stream(conn, f->stream);
        if (st != NULL && st->state == H2O_HTTP2_STREAM_STATE_RECV_BODY) {
            h->trailer_stream = f->stream;
            h->trailer_from = st->req.headers.size;
        }
    } else {
        if (!h->block_open) /* the library refuses it */
            return true;
        if (++h->continuations > l->continuations ||
            (f->length < SMALL_CONTINUATION && !(f->flags & FLAG_END_HEADERS) && !h2_guard_spend(c, 10))) {
            *answer = h2_guard_calm(c, SERVE_FLOOD_CONTINUATION, "too many CONTINUATION frames", err);
            return false;
        }
        /* After a GOAWAY of ours the library consumes nothing of this frame, over and over. */
        if (conn->state >= H2O_HTTP2_CONN_STATE_HALF_CLOSED) {
            *err = "header block after GOAWAY";
            *answer = H2O_HTTP2_ERROR_PROTOCOL;
            return false;
        }
    }
    h->block_bytes += f->length;
    if (h->block_bytes > l->header_bytes) {
        *answer = h2_guard_calm(c, SERVE_FLOOD_HEADERS, "header block is too large", err);
        return false;
    }
    /* 431 is for who errs. The library would make a field of each byte of a bomb before anybody can count them. */
    h2_count_feed(&h->block_fields, h2_guard_fragment(f));
    if (h->block_fields.fields > PSEUDO_FIELDS + 2 * l->header_count) {
        *answer = h2_guard_calm(c, SERVE_FLOOD_HEADERS, "header block names too many fields", err);
        return false;
    }
    h->block_open = !(f->flags & FLAG_END_HEADERS);
    if (!h->block_open)
        h->block_began = 0;
    return true;
}

/* Anything else than CONTINUATION while a block is open is the library's to refuse. */
static bool h2_guard_control(serve_conn_t *c, h2o_http2_conn_t *conn, const h2_frame_t *f, const char **err,
                             ssize_t *answer)
{
    h2_state_t *h = &c->h2;
    serve_flood_t kind;
    const char *what;
    bool costs = true;
    switch (f->type) {
    case TYPE_PRIORITY:
        kind = SERVE_FLOOD_PRIORITY;
        what = "too many PRIORITY frames";
        break;
    case TYPE_SETTINGS:
        kind = SERVE_FLOOD_SETTINGS;
        what = "too many SETTINGS frames";
        if (!(f->flags & FLAG_ACK)) {
            h2o_http2_stream_t *st;
            kh_foreach_value(conn->streams, st, { h2_guard_keep_window_open(st); });
        }
        break;
    case TYPE_WINDOW_UPDATE:
        kind = SERVE_FLOOD_WINDOW_UPDATE;
        what = "too many WINDOW_UPDATE frames";
        costs = ++h->window_updates > WINDOW_UPDATES_FREE + c->sock->bytes_written / WINDOW_UPDATE_BYTES +
                                          h->requests * WINDOW_UPDATES_PER_REQUEST;
        if (f->stream != 0)
            h2_guard_keep_window_open(h2o_http2_conn_get_stream(conn, f->stream));
        break;
    case TYPE_RST_STREAM:
        h2_guard_decade(c);
        kind = SERVE_FLOOD_RESET;
        what = "too many streams reset";
        costs = false;
        if (++h->resets > c->worker->shared->limits.reset_budget && h->resets * 2 > h->begun) {
            *answer = h2_guard_calm(c, kind, what, err);
            return false;
        }
        break;
    case TYPE_PING:
    case TYPE_GOAWAY:
    case TYPE_PUSH_PROMISE:
        kind = SERVE_FLOOD_PING;
        what = "too many PING frames";
        break;
    default:
        kind = SERVE_FLOOD_UNKNOWN;
        what = "too many frames of unknown types";
        break;
    }
    if (costs && !h2_guard_spend(c, 1)) {
        *answer = h2_guard_calm(c, kind, what, err);
        return false;
    }
    return true;
}

/* What a SETTINGS frame means to the encoder of response heads. */
static void h2_guard_apply_settings(serve_conn_t *c, const h2_frame_t *f)
{
    for (size_t i = 0; !(f->flags & FLAG_ACK) && i + 6 <= f->length; i += 6) {
        const uint8_t *p = f->payload + i;
        if (((unsigned)p[0] << 8 | p[1]) == SETTING_HEADER_TABLE_SIZE)
            h2_head_set_capacity(&c->h2.head, (uint32_t)p[2] << 24 | (uint32_t)p[3] << 16 | (uint32_t)p[4] << 8 | p[5]);
    }
}

static uint64_t h2_guard_stream_errors(const h2o_http2_conn_t *conn)
{
    uint64_t n = 0;
    for (int i = 0; i < H2O_HTTP2_ERROR_MAX; i++)
        n += conn->super.ctx->http2.events.protocol_level_errors[i];
    return n;
}

static ssize_t h2_guard_expect(h2o_http2_conn_t *conn, const uint8_t *src, size_t len, const char **err);

/* Lets the library handle one frame (or the preface), and counts the streams that it had to reset for it. */
static ssize_t h2_guard_pass(serve_conn_t *c, h2o_http2_conn_t *conn, const uint8_t *src, size_t len, const char **err)
{
    uint64_t before = h2_guard_stream_errors(conn);
    ssize_t r = c->h2.expect(conn, src, len, err);
    if (conn->_read_expect != h2_guard_expect) {
        c->h2.expect = conn->_read_expect;
        conn->_read_expect = h2_guard_expect;
    }
    if (r > 0)
        c->bytes_in += (uint64_t)r;
    if (r == H2O_HTTP2_ERROR_ENHANCE_YOUR_CALM) /* its own limit: streams that exist by their priority alone */
        serve_count(&c->worker->counters.floods[SERVE_FLOOD_PRIORITY], 1);
    uint64_t fresh = h2_guard_stream_errors(conn) - before;
    if (fresh > 0) {
        h2_guard_decade(c);
        c->h2.errors += (unsigned)fresh;
    }
    if (c->h2.errors > c->worker->shared->limits.reset_budget && r > 0)
        return h2_guard_calm(c, SERVE_FLOOD_STREAM_ERROR, "too many stream errors", err);
    return r;
}

/* A field with bytes that none may have: the library answers that by itself. */
static void h2_guard_tell_refused(serve_conn_t *c, h2o_http2_conn_t *conn, uint32_t stream)
{
    const h2o_http2_stream_t *st = h2o_http2_conn_get_stream(conn, stream);
    if (st == NULL || st->req.res.status != 400 || st->req.res.reason == NULL ||
        strcmp(st->req.res.reason, "Invalid Headers") != 0)
        return;
    const h2o_req_t *req = &st->req;
    serve_refused(c, 400, 20, span_of(req->input.method.base, req->input.method.len),
                  span_of(req->input.path.base, req->input.path.len), h2_upload_authority(st));
}

static ssize_t h2_guard_expect(h2o_http2_conn_t *conn, const uint8_t *src, size_t len, const char **err)
{
    serve_conn_t *c = conn_of(conn->sock);
    serve_worker_t *w = c->worker;
    serve_worker_tick(w);
    c->last_input = w->loop->now.boot;
    if (src[0] == 'P') /* the preface; a frame that long would be refused for its size */
        return h2_guard_pass(c, conn, src, len, err);
    h2_frame_t f = {0};
    if (len >= FRAME_HEAD) {
        f = (h2_frame_t){(size_t)src[0] << 16 | (size_t)src[1] << 8 | src[2], src[3], src[4],
                         (uint32_t)(src[5] & 0x7f) << 24 | (uint32_t)src[6] << 16 | (uint32_t)src[7] << 8 | src[8],
                         src + FRAME_HEAD};
        c->h2.frame_type = f.type;
    } else {
        c->h2.frame_type = TYPE_HEADERS;
    }
    if (len < FRAME_HEAD || (f.length <= FRAME_MAX && len < FRAME_HEAD + f.length)) { /* incomplete */
        if (c->h2.frame_began == 0)
            c->h2.frame_began = w->loop->now.boot;
        return h2_guard_pass(c, conn, src, len, err);
    }
    c->h2.frame_began = 0;
    if (f.length > FRAME_MAX)
        return h2_guard_pass(c, conn, src, len, err);
    ssize_t answer = 0;
    bool well = f.type == TYPE_DATA                                     ? h2_guard_data(c, conn, &f, err, &answer)
                : f.type == TYPE_HEADERS || f.type == TYPE_CONTINUATION ? h2_guard_block(c, conn, &f, err, &answer)
                                                                        : h2_guard_control(c, conn, &f, err, &answer);
    if (!well)
        return answer;
    if (f.type > TYPE_CONTINUATION && !c->h2.block_open) /* the library would print a line for each */
        return (ssize_t)(FRAME_HEAD + f.length);
    if (f.type == TYPE_SETTINGS)
        h2_guard_apply_settings(c, &f);
    if (f.type == TYPE_DATA && h2_upload_swallow(c, conn, f.stream, f.length))
        return (ssize_t)(FRAME_HEAD + f.length);
    ssize_t r = h2_guard_pass(c, conn, src, len, err);
    if (r > 0 && (f.type == TYPE_HEADERS || f.type == TYPE_CONTINUATION) && !c->h2.block_open) {
        h2_guard_tell_refused(c, conn, f.stream);
        h2_upload_announced(c, conn, f.stream);
    }
    return r;
}

void h2_guard_accept(serve_conn_t *c)
{
    h2o_socket_t *sock = c->sock;
    serve_worker_t *w = c->worker;
    struct timeval at = *h2o_get_timestamp(&w->context, NULL, NULL);
    memset(&c->h2, 0, sizeof c->h2);
    h2_head_init(&c->h2.head);
    c->h2.second = c->h2.decade = w->loop->now.boot;
    /* The input is hidden so that the library does not parse before the guard stands. */
    h2o_buffer_t *input = sock->input;
    h2o_buffer_init(&sock->input, &h2o_socket_buffer_prototype);
    h2o_http2_accept(&w->accept_ctx, sock, at);
    h2o_http2_conn_t *conn = sock->data;
    library_caches_learn(conn->_write.buf);
    if (!w->shared->limits.unguarded) {
        c->h2.expect = conn->_read_expect;
        conn->_read_expect = h2_guard_expect;
    }
    h2o_buffer_dispose(&sock->input);
    sock->input = input;
    if (input->size > 0)
        sock->_cb.read(sock, NULL); /* the connection may be gone after this */
}

bool h2_guard_blocked(h2o_http2_conn_t *conn)
{
    h2o_http2_stream_t *st;
    bool no_window = h2o_http2_window_get_window(&conn->_write.window) <= 0;
    kh_foreach_value(conn->streams, st, {
        bool has = h2o_http2_stream_has_pending_data(st) || st->state == H2O_HTTP2_STREAM_STATE_SEND_BODY_IS_FINAL;
        if (has && (no_window || h2o_http2_window_get_window(&st->output_window) <= 0))
            return true;
    });
    return false;
}

/* Bodies are expected: have all of them together brought too little in the last body_timeout? As over HTTP/1, where a
 * connection has one. */
static bool h2_guard_bodies_stand(serve_conn_t *c, msec_t now)
{
    const serve_limits_t *l = &c->worker->shared->limits;
    h2_state_t *h = &c->h2;
    bool over = h->bodies_began != 0 && now - h->bodies_began >= l->body_timeout;
    bool slow = over && h->bodies_came * MSEC_PER_SEC < l->body_rate * (uint64_t)(now - h->bodies_began);
    if (h->bodies_began == 0 || over) {
        h->bodies_began = now;
        h->bodies_came = 0;
    }
    return slow;
}

bool h2_guard_overdue(serve_conn_t *c, h2o_http2_conn_t *conn, msec_t now, serve_reap_t *why)
{
    const serve_limits_t *l = &c->worker->shared->limits;
    h2_state_t *h = &c->h2;
    if (h->block_began != 0 && now - h->block_began >= l->header_timeout) {
        *why = SERVE_REAP_HEADER;
        return true;
    }
    if (h->frame_began != 0) {
        *why = h->frame_type == TYPE_DATA ? SERVE_REAP_BODY : SERVE_REAP_HEADER;
        if (now - h->frame_began >= (h->frame_type == TYPE_DATA ? l->body_timeout : l->header_timeout))
            return true;
    }
    if (conn->num_streams.pull.open <= conn->num_streams.pull.half_closed) {
        h->bodies_began = 0;
    } else if (h2o_socket_is_reading(c->sock)) {
        h2o_http2_stream_t *st;
        msec_t wall = c->worker->loop->now.wall;
        *why = SERVE_REAP_BODY;
        if (h2_guard_bodies_stand(c, now))
            return true;
        kh_foreach_value(conn->streams, st, {
            if (st->state != H2O_HTTP2_STREAM_STATE_RECV_BODY || st->_req_body == NULL)
                continue;
            msec_t since = (msec_t)st->req.timestamps.request_body_begin_at.tv_sec * MSEC_PER_SEC +
                           st->req.timestamps.request_body_begin_at.tv_usec / 1000;
            msec_t age = wall - since;
            if (age >= l->body_timeout && (uint64_t)st->_req_body->size * MSEC_PER_SEC < l->body_rate * (uint64_t)age)
                return true;
        });
    }
    return false;
}
