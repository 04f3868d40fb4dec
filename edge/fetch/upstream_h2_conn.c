/* One HTTP/2 connection (RFC 9113) to an upstream: nghttp2 reads and writes the frames, head.c judges the heads as it
 * does those of HTTP/1.1.
 *
 * Flow control: the connection's window is given back as bytes come, a stream's as its reader takes them. So a slow
 * reader costs at most one window of memory, and holds nobody else back. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "edge/base/mem.h"
#include "edge/fetch/upstream_h2_priv.h"

enum {
    UPSTREAM_H2_CONN_WINDOW = 16 * 1024 * 1024,
    UPSTREAM_H2_READ = 64 * 1024, /* at once, */
    UPSTREAM_H2_READS = 16,       /* in one turn */
    UPSTREAM_H2_WRITE = 64 * 1024,
    UPSTREAM_H2_STALE =
        1000 /* ms of silence after which a request that must not be sent twice takes a new connection */
};

static upstream_h2_call_t *upstream_h2_conn_call(nghttp2_session *session, int32_t stream)
{
    return nghttp2_session_get_stream_user_data(session, stream);
}

static msec_t upstream_h2_conn_now(const upstream_h2_conn_t *k)
{
    return k->client->base.loop->now.boot;
}

static void upstream_h2_conn_dirty(upstream_h2_conn_t *k)
{
    k->dirty = true;
    upstream_h2_kick_soon(k->client);
}

/* Our own refusal of a response: what follows of it is nobody's. */
static void upstream_h2_conn_refuse(upstream_h2_conn_t *k, upstream_h2_call_t *c, head_verdict_t why)
{
    c->why = why == HEAD_OVER ? UPSTREAM_HEAD_TOO_BIG : UPSTREAM_MALFORMED;
    nghttp2_submit_rst_stream(k->session, NGHTTP2_FLAG_NONE, c->stream, NGHTTP2_PROTOCOL_ERROR);
}

/* ---- what nghttp2 tells ---- */

static int upstream_h2_conn_on_field(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                                     size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
    upstream_h2_conn_t *k = arg;
    upstream_h2_call_t *c = upstream_h2_conn_call(session, frame->hd.stream_id);
    (void)flags;
    if (c == NULL || c->had_head || c->why != UPSTREAM_OK) /* trailers are dropped (RFC 9110 6.5.1 lets us) */
        return 0;
    span_t n = span_of((const char *)name, name_n), v = span_of((const char *)value, value_n);
    head_verdict_t verdict = span_eq(n, SPAN(":status")) ? head_begin(&c->head, v) : head_field(&c->head, n, v);
    if (verdict != HEAD_MORE)
        upstream_h2_conn_refuse(k, c, verdict);
    return 0;
}

/* nghttp2 would leave it out and go on. */
static int upstream_h2_conn_on_bad_field(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                                         size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
    upstream_h2_call_t *c = upstream_h2_conn_call(session, frame->hd.stream_id);
    (void)name, (void)name_n, (void)value, (void)value_n, (void)flags;
    if (c != NULL && c->why == UPSTREAM_OK && !c->had_head)
        upstream_h2_conn_refuse(arg, c, HEAD_BAD);
    return 0;
}

static void upstream_h2_conn_head(upstream_h2_conn_t *k, upstream_h2_call_t *c)
{
    head_verdict_t verdict = head_finish(&c->head);
    c->active = upstream_h2_conn_now(k);
    if (verdict == HEAD_INFORMATIONAL) {
        if (c->events->informational != NULL)
            c->events->informational(c->arg, c->head.status, &c->head.fields);
        return;
    }
    if (verdict != HEAD_FINAL) {
        upstream_h2_conn_refuse(k, c, verdict);
        return;
    }
    c->had_head = true;
    k->served = true;
    upstream_h2_arm(c, c->r.idle_timeout);
    c->events->head(c->arg, c->head.status, &c->head.fields, c->head.content_length);
}

/* The whole response is here; what is left of the upload is of no use to anybody. */
static void upstream_h2_conn_whole(upstream_h2_conn_t *k, upstream_h2_call_t *c)
{
    if (!c->had_head) {
        upstream_h2_conn_refuse(k, c, HEAD_BAD);
        return;
    }
    c->whole = true;
    upstream_h2_conn_drop(k, c);
    if (c->paused)
        list_push_back(&c->client->over, &c->link);
    else
        upstream_h2_finish(c, UPSTREAM_OK);
}

static int upstream_h2_conn_on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    upstream_h2_conn_t *k = arg;
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        k->retiring = true;
        return 0;
    }
    upstream_h2_call_t *c = upstream_h2_conn_call(session, frame->hd.stream_id);
    if (c == NULL || c->why != UPSTREAM_OK)
        return 0;
    if (frame->hd.type == NGHTTP2_RST_STREAM)
        c->reset = true;
    if (frame->hd.type == NGHTTP2_HEADERS && !c->had_head)
        upstream_h2_conn_head(k, c);
    if (!c->cancelled && c->why == UPSTREAM_OK &&
        (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
        upstream_h2_conn_whole(k, c);
    return 0;
}

static void upstream_h2_conn_hold(upstream_h2_call_t *c, span_t bytes)
{
    CHECK(c->held_n + bytes.n <= UPSTREAM_H2_WINDOW); /* the library sees to it that the peer keeps to its window */
    c->held = mem_realloc(c->held, c->held_n + bytes.n);
    memcpy(c->held + c->held_n, bytes.p, bytes.n);
    c->held_n += bytes.n;
    c->paused = true;
    if (c->events->aside != NULL)
        c->events->aside(c->arg, c->held_n);
}

static int upstream_h2_conn_on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data,
                                    size_t n, void *arg)
{
    upstream_h2_conn_t *k = arg;
    upstream_h2_call_t *c = upstream_h2_conn_call(session, stream);
    span_t bytes = span_of((const char *)data, n);
    (void)flags;
    nghttp2_session_consume_connection(session, n);
    if (c == NULL || c->why != UPSTREAM_OK || !c->had_head)
        return 0;
    c->active = upstream_h2_conn_now(k);
    if (c->paused) {
        upstream_h2_conn_hold(c, bytes);
        return 0;
    }
    bool taken = c->events->body(c->arg, bytes);
    if (c->cancelled)
        return 0;
    if (taken)
        nghttp2_session_consume_stream(session, stream, n);
    else
        upstream_h2_conn_hold(c, bytes);
    return 0;
}

/* Only streams that did not end well still have their call. */
static int upstream_h2_conn_on_close(nghttp2_session *session, int32_t stream, uint32_t code, void *arg)
{
    upstream_h2_conn_t *k = arg;
    upstream_h2_call_t *c = upstream_h2_conn_call(session, stream);
    if (c == NULL)
        return 0;
    c->stream = 0; /* nothing to reset any more */
    upstream_result_t broken = c->had_head ? UPSTREAM_CUT : c->reset ? UPSTREAM_CLOSED : UPSTREAM_MALFORMED;
    if (c->why != UPSTREAM_OK) {
        upstream_h2_finish(c, c->why);
    } else if (code == NGHTTP2_HTTP_1_1_REQUIRED && !c->had_head && c->r.to.protocol == UPSTREAM_HTTP2) {
        upstream_h2_conn_drop(k, c);
        upstream_h2_over_http1(c);
    } else if (code != NGHTTP2_REFUSED_STREAM || !upstream_h2_again(c)) { /* RFC 9113 8.7 */
        upstream_h2_finish(c, code == NGHTTP2_REFUSED_STREAM && !c->had_head ? UPSTREAM_CLOSED : broken);
    }
    return 0;
}

static ssize_t upstream_h2_conn_upload(nghttp2_session *session, int32_t stream, uint8_t *out, size_t room,
                                       uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    upstream_h2_call_t *c = upstream_h2_conn_call(session, stream);
    (void)source, (void)arg;
    if (c == NULL)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    size_t left = c->r.body.n - c->uploaded, n = left < room ? left : room;
    if (n > 0)
        memcpy(out, c->r.body.p + c->uploaded, n);
    c->uploaded += n;
    if (n == left)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (!c->had_head) /* from the request sent */
        upstream_h2_arm(c, c->r.first_byte_timeout);
    return (ssize_t)n;
}

/* ---- a request goes out ---- */

/* Fields that differ from request to request would only push those out of the table that don't. */
static bool upstream_h2_conn_unindexed(span_t name)
{
    return span_eq(name, SPAN("x-request-id")) || span_eq(name, SPAN("authorization")) ||
           span_eq(name, SPAN("x-forwarded-for")) || span_eq(name, SPAN("forwarded")) ||
           span_starts(name, SPAN("brink-")) || span_starts(name, SPAN("if-")) || span_eq(name, SPAN("range"));
}

static nghttp2_nv upstream_h2_conn_nv(span_t name, span_t value)
{
    return (nghttp2_nv){.name = (uint8_t *)name.p,
                        .namelen = name.n,
                        .value = (uint8_t *)value.p,
                        .valuelen = value.n,
                        .flags = upstream_h2_conn_unindexed(name) ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE};
}

static bool upstream_h2_conn_skipped(span_t name)
{
    return span_eq(name, SPAN("host")) || span_eq(name, SPAN("connection")) || span_eq(name, SPAN("te")) ||
           span_eq(name, SPAN("keep-alive")) || span_eq(name, SPAN("upgrade")) ||
           span_eq(name, SPAN("transfer-encoding")) || span_eq(name, SPAN("content-length"));
}

static void upstream_h2_conn_submit(upstream_h2_conn_t *k, upstream_h2_call_t *c)
{
    nghttp2_nv v[FIELDS_MAX_COUNT + 8];
    size_t n = 0;
    bool sends = c->r.has_body && !c->r.head;
    v[n++] = upstream_h2_conn_nv(SPAN(":method"), c->r.method);
    v[n++] = upstream_h2_conn_nv(SPAN(":scheme"), c->r.to.https ? SPAN("https") : SPAN("http"));
    v[n++] = upstream_h2_conn_nv(SPAN(":authority"), fields_get(&c->fields, SPAN("host")));
    v[n++] = upstream_h2_conn_nv(SPAN(":path"), c->r.target);
    for (size_t i = 0; i < c->fields.n && i < FIELDS_MAX_COUNT; i++)
        if (!upstream_h2_conn_skipped(c->fields.v[i].name))
            v[n++] = upstream_h2_conn_nv(c->fields.v[i].name, c->fields.v[i].value);
    char length[24];
    if (sends) {
        int digits = snprintf(length, sizeof length, "%zu", c->r.body.n);
        v[n++] = upstream_h2_conn_nv(SPAN("content-length"), span_of(length, (size_t)digits));
    }
    nghttp2_data_provider body = {.read_callback = upstream_h2_conn_upload};
    int32_t stream = nghttp2_submit_request(k->session, NULL, v, n, sends && c->r.body.n > 0 ? &body : NULL, c);
    if (stream < 0) { /* out of stream numbers, or of memory */
        k->retiring = true;
        if (!upstream_h2_again(c))
            upstream_h2_finish(c, UPSTREAM_CLOSED);
        return;
    }
    c->stream = stream;
    c->times++;
    c->sent_at = c->active = upstream_h2_conn_now(k);
    upstream_h2_arm(c, c->r.first_byte_timeout);
    upstream_h2_conn_dirty(k);
}

bool upstream_h2_conn_takes(const upstream_h2_conn_t *k, const upstream_h2_call_t *c, msec_t now)
{
    if (k->retiring || k->dead || k->n >= UPSTREAM_H2_STREAMS || !span_eq(span_str(k->server), c->server))
        return false;
    if (k->session == NULL)
        return true;
    if (c->r.once && k->n == 0 && now - k->active > UPSTREAM_H2_STALE)
        return false;
    return k->n < nghttp2_session_get_remote_settings(k->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}

void upstream_h2_conn_add(upstream_h2_conn_t *k, upstream_h2_call_t *c)
{
    loop_timer_stop(k->client->base.loop, &k->timer);
    list_push_back(&k->calls, &c->link);
    k->n++;
    c->conn = k;
    c->stream = 0;
    if (k->session != NULL)
        upstream_h2_conn_submit(k, c);
}

void upstream_h2_conn_drop(upstream_h2_conn_t *k, upstream_h2_call_t *c)
{
    list_remove(&c->link);
    k->n--;
    c->conn = NULL;
    if (c->stream != 0 && k->session != NULL && !k->dead) {
        nghttp2_session_set_stream_user_data(k->session, c->stream, NULL);
        bool sent = !c->r.has_body || c->r.head || c->uploaded == c->r.body.n;
        if (!c->whole || !sent)
            nghttp2_submit_rst_stream(k->session, NGHTTP2_FLAG_NONE, c->stream, NGHTTP2_CANCEL);
    }
    c->stream = 0;
    if (k->n == 0)
        loop_timer_start(k->client->base.loop, &k->timer, k->session != NULL ? UPSTREAM_H2_IDLE : 0);
    upstream_h2_conn_dirty(k);
}

void upstream_h2_conn_taken(upstream_h2_conn_t *k, int32_t stream, size_t n)
{
    if (k->session == NULL || k->dead || stream == 0)
        return;
    nghttp2_session_consume_stream(k->session, stream, n);
    upstream_h2_conn_dirty(k);
}

/* ---- the connection ---- */

static nghttp2_session *upstream_h2_conn_session(upstream_h2_conn_t *k)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    nghttp2_session *session;
    CHECK(nghttp2_session_callbacks_new(&callbacks) == 0 && nghttp2_option_new(&option) == 0);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, upstream_h2_conn_on_field);
    nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks, upstream_h2_conn_on_bad_field);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, upstream_h2_conn_on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, upstream_h2_conn_on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, upstream_h2_conn_on_close);
    nghttp2_option_set_no_auto_window_update(option, 1);
    CHECK(nghttp2_session_client_new2(&session, callbacks, k, option) == 0);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
                                               {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, UPSTREAM_H2_WINDOW},
                                               {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, FIELDS_MAX_BYTES}};
    CHECK(nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, 3) == 0);
    CHECK(nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, UPSTREAM_H2_CONN_WINDOW) == 0);
    return session;
}

static void upstream_h2_conn_watch(upstream_h2_conn_t *k, bool writes)
{
    struct epoll_event ev = {.events = EPOLLIN | (writes ? EPOLLOUT : 0), .data.ptr = k};
    if (k->writes != writes)
        epoll_ctl(k->client->epoll_fd, EPOLL_CTL_MOD, upstream_link_fd(k->transport), &ev);
    k->writes = writes;
}

static void upstream_h2_conn_fail(upstream_h2_conn_t *k, bool malformed)
{
    k->retiring = true;
    upstream_h2_conn_close(k);
    while (!list_empty(&k->calls)) {
        upstream_h2_call_t *c = LIST_ITEM(k->calls.next, upstream_h2_call_t, link);
        bool stale = !malformed && k->served && !c->r.once; /* a kept connection that was closed meanwhile */
        if (c->why == UPSTREAM_OK && !c->had_head && stale && upstream_h2_again(c))
            continue;
        upstream_h2_finish(c, c->why != UPSTREAM_OK ? c->why
                              : c->had_head         ? UPSTREAM_CUT
                              : malformed           ? UPSTREAM_MALFORMED
                                                    : UPSTREAM_CLOSED);
    }
}

/* False: the connection is of no use any more. */
static bool upstream_h2_conn_send(upstream_h2_conn_t *k)
{
    for (;;) {
        while (k->out_at < k->out_n) {
            ssize_t did = upstream_link_write(k->transport, k->out + k->out_at, k->out_n - k->out_at);
            if (did == UPSTREAM_LINK_AGAIN) {
                upstream_h2_conn_watch(k, true);
                return true;
            }
            if (did <= 0)
                return false;
            k->out_at += (size_t)did;
        }
        k->out_at = k->out_n = 0;
        while (k->out_n < UPSTREAM_H2_WRITE) {
            const uint8_t *data;
            ssize_t n = nghttp2_session_mem_send(k->session, &data);
            if (n < 0)
                return false;
            if (n == 0)
                break;
            if (k->out_n + (size_t)n > k->out_cap) {
                k->out_cap = k->out_n + (size_t)n + 4096;
                k->out = mem_realloc(k->out, k->out_cap);
            }
            memcpy(k->out + k->out_n, data, (size_t)n);
            k->out_n += (size_t)n;
        }
        if (k->out_n == 0) {
            upstream_h2_conn_watch(k, false);
            return true;
        }
    }
}

/* 1 go on, 0 the peer has closed, -1 it does not speak HTTP/2 as it should. */
static int upstream_h2_conn_receive(upstream_h2_conn_t *k)
{
    static _Thread_local char buf[UPSTREAM_H2_READ];
    for (int i = 0; i < UPSTREAM_H2_READS; i++) {
        ssize_t n = upstream_link_read(k->transport, buf, sizeof buf);
        if (n == UPSTREAM_LINK_AGAIN)
            return 1;
        if (n <= 0)
            return 0;
        k->active = upstream_h2_conn_now(k);
        if (nghttp2_session_mem_recv(k->session, (const uint8_t *)buf, (size_t)n) != n)
            return -1;
    }
    upstream_h2_conn_dirty(k); /* others first; TLS may hold more than the descriptor shows */
    return 1;
}

void upstream_h2_conn_ready(upstream_h2_conn_t *k)
{
    upstream_h2_t *u = k->client;
    k->dirty = false;
    if (k->dead || k->session == NULL)
        return;
    u->depth++;
    int got = upstream_h2_conn_receive(k);
    bool sent = upstream_h2_conn_send(k); /* also what it is told of its mistake */
    u->depth--;
    bool over = nghttp2_session_want_read(k->session) == 0 && nghttp2_session_want_write(k->session) == 0;
    if (got <= 0 || !sent || over)
        upstream_h2_conn_fail(k, got < 0 || (over && got > 0));
    else if (k->retiring && k->n == 0)
        upstream_h2_conn_close(k);
}

static void upstream_h2_conn_on_link(void *arg, upstream_result_t result)
{
    upstream_h2_conn_t *k = arg;
    upstream_h2_t *u = k->client;
    if (result == UPSTREAM_OK) {
        const upstream_h2_call_t *first =
            list_empty(&k->calls) ? NULL : LIST_ITEM(k->calls.next, upstream_h2_call_t, link);
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = k};
        bool agreed = upstream_link_h2(k->transport) || (first != NULL && first->r.to.protocol == UPSTREAM_H2C);
        if (first != NULL && agreed &&
            epoll_ctl(u->epoll_fd, EPOLL_CTL_ADD, upstream_link_fd(k->transport), &ev) == 0) {
            k->session = upstream_h2_conn_session(k);
            k->active = upstream_h2_conn_now(k);
            list_t some;
            list_init(&some);
            list_take(&some, &k->calls);
            list_init(&k->calls);
            for (list_t *l; (l = list_pop_front(&some)) != NULL;) {
                list_push_back(&k->calls, l);
                upstream_h2_conn_submit(k, LIST_ITEM(l, upstream_h2_call_t, link));
            }
            return;
        }
        if (first != NULL)
            upstream_h2_declined(u, k->server);
    } else {
        k->transport = NULL;
    }
    upstream_h2_conn_close(k);
    while (!list_empty(&k->calls)) {
        upstream_h2_call_t *c = LIST_ITEM(k->calls.next, upstream_h2_call_t, link);
        upstream_h2_conn_drop(k, c);
        if (result == UPSTREAM_OK)
            upstream_h2_over_http1(c);
        else
            upstream_h2_finish(c, result);
    }
}

static void upstream_h2_conn_idle(loop_timer_t *t)
{
    upstream_h2_conn_t *k = CONTAINER_OF(t, upstream_h2_conn_t, timer);
    if (k->n == 0)
        upstream_h2_conn_close(k);
}

upstream_h2_conn_t *upstream_h2_conn_open(upstream_h2_t *u, const upstream_h2_call_t *first)
{
    upstream_h2_conn_t *k = mem_zalloc(sizeof *k);
    k->client = u;
    k->server = mem_dup(first->server.p, first->server.n);
    k->timer.run = upstream_h2_conn_idle;
    list_init(&k->calls);
    list_push_back(&u->conns, &k->link);
    k->transport = upstream_link_open(u->h1, &first->r.to, first->r.to.protocol == UPSTREAM_HTTP2,
                                      first->r.connect_timeout, upstream_h2_conn_on_link, k);
    return k;
}

void upstream_h2_conn_close(upstream_h2_conn_t *k)
{
    if (k->dead)
        return;
    if (k->session != NULL && nghttp2_session_want_write(k->session) == 0 && k->out_n == 0) {
        nghttp2_session_terminate_session(k->session, NGHTTP2_NO_ERROR); /* a courtesy: it may not get through */
        k->client->depth++;
        upstream_h2_conn_send(k);
        k->client->depth--;
    }
    k->dead = true;
    loop_timer_stop(k->client->base.loop, &k->timer);
    list_remove(&k->link);
    list_push_back(&k->client->graves, &k->link);
    upstream_h2_kick_soon(k->client);
}

void upstream_h2_conn_free(upstream_h2_conn_t *k)
{
    CHECK(k->dead && list_empty(&k->calls) && k->client->depth == 0);
    loop_timer_stop(k->client->base.loop, &k->timer);
    list_remove(&k->link);
    if (k->session != NULL) {
        epoll_ctl(k->client->epoll_fd, EPOLL_CTL_DEL, upstream_link_fd(k->transport), NULL);
        nghttp2_session_del(k->session);
    }
    upstream_link_close(k->transport);
    free(k->server);
    free(k->out);
    free(k);
}
