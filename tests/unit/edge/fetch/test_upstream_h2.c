/* HTTP/2 to upstreams, against a server over nghttp2 that answers by path, in all the ways in which it can go wrong. */
#include <criterion/criterion.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "edge/fetch/upstream_h2.h"
#include "peer.h"

enum { STREAMS = 512 };

typedef struct answer {
    int32_t stream;
    char path[32];
    size_t body, told, got; /* bytes: of the answer, sent, and received with the request */
    bool rst;
} answer_t;

typedef struct server {
    peer_conn_t *c;
    nghttp2_session *session;
    answer_t answer[STREAMS];
    bool close;
} server_t;

static atomic_int refused, seen_posts, streams_most;

#define NV(n, v)                                                                                                       \
    {                                                                                                                  \
        (uint8_t *)(n), (uint8_t *)(v), sizeof(n) - 1, sizeof(v) - 1, NGHTTP2_NV_FLAG_NO_COPY_NAME                     \
    }
#define HEADS(X)                                                                                                       \
    X("/no-status", NV("x", "y"))                                                                                      \
    X("/status-letters", NV(":status", "2oo"))                                                                         \
    X("/status-99", NV(":status", "99"))                                                                               \
    X("/status-twice", NV(":status", "200"), NV(":status", "200"))                                                     \
    X("/status-101", NV(":status", "101"))                                                                             \
    X("/pseudo", NV(":status", "200"), NV(":path", "/"))                                                               \
    X("/pseudo-late", NV("x", "y"), NV(":status", "200"))                                                              \
    X("/upper", NV(":status", "200"), NV("X-Upper", "1"))                                                              \
    X("/space", NV(":status", "200"), NV("x y", "1"))                                                                  \
    X("/newline", NV(":status", "200"), NV("x", "a\r\nset-cookie: b"))                                                 \
    X("/nul", NV(":status", "200"), NV("x", "a\0b"))                                                                   \
    X("/connection", NV(":status", "200"), NV("connection", "close"))                                                  \
    X("/te", NV(":status", "200"), NV("transfer-encoding", "chunked"))                                                 \
    X("/length-twice", NV(":status", "200"), NV("content-length", "5"), NV("content-length", "5"))                     \
    X("/length-list", NV(":status", "200"), NV("content-length", "5, 5"))                                              \
    X("/length-plus", NV(":status", "200"), NV("content-length", "+5"))                                                \
    X("/length-long", NV(":status", "200"), NV("content-length", "6"))                                                 \
    X("/length-short", NV(":status", "200"), NV("content-length", "4"))

static ssize_t tell(nghttp2_session *session, int32_t stream, uint8_t *out, size_t room, uint32_t *flags,
                    nghttp2_data_source *source, void *arg)
{
    answer_t *a = source->ptr;
    size_t n = a->body - a->told < room ? a->body - a->told : room;
    (void)arg;
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)('a' + (a->told + i) % 23);
    a->told += n;
    if (a->told < a->body)
        return (ssize_t)n;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (strcmp(a->path, "/trailers") == 0) {
        const nghttp2_nv trailer[] = {NV("x-trailer", "1")};
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        nghttp2_submit_trailer(session, stream, trailer, 1);
    } else if (a->rst) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream, NGHTTP2_INTERNAL_ERROR);
    }
    return (ssize_t)n;
}

static void serve_path(server_t *s, answer_t *a)
{
    const nghttp2_nv ok[] = {NV(":status", "200"), NV("x-case", "kept"), NV("content-length", "5")}, *nv = ok;
    size_t n = 2;
    nghttp2_data_provider body = {.source.ptr = a, .read_callback = tell};
    const char *p = a->path;
    if (sscanf(p, "/bytes/%zu", &a->body) != 1)
        a->body = 5;
    if (strcmp(p, "/never") == 0)
        return;
    if (strcmp(p, "/refused") == 0 && atomic_fetch_add(&refused, 1) < 2) {
        nghttp2_submit_rst_stream(s->session, NGHTTP2_FLAG_NONE, a->stream, NGHTTP2_REFUSED_STREAM);
        return;
    }
    if (strcmp(p, "/refused-always") == 0 || strcmp(p, "/reset") == 0) {
        nghttp2_submit_rst_stream(s->session, NGHTTP2_FLAG_NONE, a->stream,
                                  p[4] == 'u' ? NGHTTP2_REFUSED_STREAM : NGHTTP2_INTERNAL_ERROR);
        return;
    }
    if (strcmp(p, "/goaway") == 0 && atomic_fetch_add(&refused, 1) == 0) {
        nghttp2_submit_goaway(s->session, NGHTTP2_FLAG_NONE, a->stream - 2, NGHTTP2_NO_ERROR, NULL, 0);
        return;
    }
    if (strcmp(p, "/close") == 0 && atomic_fetch_add(&refused, 1) == 0) {
        s->close = true;
        return;
    }
    if (strcmp(p, "/garbage") == 0) {
        peer_write(s->c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        return;
    }
    if (strcmp(p, "/hints") == 0) {
        const nghttp2_nv hints[] = {NV(":status", "103"), NV("link", "</a.css>")};
        nghttp2_submit_headers(s->session, NGHTTP2_FLAG_NONE, a->stream, NULL, hints, 2, NULL);
    }
    if (strcmp(p, "/huge") == 0) {
        nghttp2_nv lots[126];
        lots[0] = ok[0];
        for (size_t i = 1; i < 126; i++)
            lots[i] = (nghttp2_nv)NV("x-filler", "y");
        nghttp2_submit_response(s->session, a->stream, lots, 126, &body);
        return;
    }
    a->rst = strcmp(p, "/cut") == 0;
    if (a->rst || strcmp(p, "/head") == 0)
        n = 3;
    if (a->rst)
        a->body = 3;
#define X(name, ...)                                                                                                   \
    if (strcmp(p, name) == 0) {                                                                                        \
        static const nghttp2_nv head[] = {__VA_ARGS__};                                                                \
        nv = head;                                                                                                     \
        n = sizeof head / sizeof *head;                                                                                \
    }
    HEADS(X)
#undef X
    nghttp2_submit_response(s->session, a->stream, nv, n, strcmp(p, "/head") == 0 ? NULL : &body);
}

static int on_field(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n,
                    const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
    server_t *s = arg;
    answer_t *a = &s->answer[(frame->hd.stream_id / 2) % STREAMS];
    (void)session, (void)flags;
    if (name_n == 5 && memcmp(name, ":path", 5) == 0) {
        *a = (answer_t){.stream = frame->hd.stream_id};
        snprintf(a->path, sizeof a->path, "%.*s", (int)value_n, (const char *)value);
    }
    char *text = s->c->peer->request[atomic_load(&s->c->peer->requests) % PEER_REQUESTS];
    size_t at = strlen(text);
    snprintf(text + at, PEER_REQUEST_BYTES - at, "%.*s: %.*s\n", (int)name_n, (const char *)name, (int)value_n,
             (const char *)value);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data, size_t n, void *arg)
{
    server_t *s = arg;
    (void)session, (void)flags;
    s->answer[(stream / 2) % STREAMS].got += n;
    for (size_t i = 0; i < n; i++)
        cr_assert_eq(data[i], 'u');
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    server_t *s = arg;
    (void)session;
    if ((frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) ||
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0)
        return 0;
    answer_t *a = &s->answer[(frame->hd.stream_id / 2) % STREAMS];
    atomic_fetch_add(&s->c->peer->requests, 1);
    memset(s->c->peer->request[atomic_load(&s->c->peer->requests) % PEER_REQUESTS], 0, 1);
    if (a->got > 0)
        atomic_store(&seen_posts, (int)a->got);
    int now = (int)nghttp2_session_get_outbound_queue_size(session);
    if (now > atomic_load(&streams_most))
        atomic_store(&streams_most, now);
    serve_path(s, a);
    return 0;
}

static void serve_h2(peer_conn_t *c)
{
    static _Thread_local server_t server;
    nghttp2_session_callbacks *callbacks;
    server = (server_t){.c = c};
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_field);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_server_new(&server.session, callbacks, &server);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_submit_settings(server.session, NGHTTP2_FLAG_NONE, NULL, 0);
    for (;;) {
        const uint8_t *out;
        for (ssize_t n; (n = nghttp2_session_mem_send(server.session, &out)) > 0;)
            peer_write_n(c, (const char *)out, (size_t)n);
        char buf[16384];
        ssize_t n = server.close ? 0 : peer_recv(c, buf, sizeof buf);
        if (n <= 0 || nghttp2_session_mem_recv(server.session, (const uint8_t *)buf, (size_t)n) != n)
            break;
    }
    nghttp2_session_del(server.session);
}

static peer_script_fn *const many[] = {serve_h2, serve_h2, serve_h2, serve_h2, serve_h2, serve_h2,
                                       serve_h2, serve_h2, serve_h2, serve_h2, NULL};

static void start(bench_t *b, const peer_t *p, seen_t *s, const char *path, upstream_request_t r)
{
    r.target = span_str(path);
    r.to.protocol = UPSTREAM_H2C;
    bench_start(b, p, s, r, "accept: x/y\nx-request-id: 1");
}

static void get(bench_t *b, const peer_t *p, seen_t *s, const char *path)
{
    *s = (seen_t){0};
    start(b, p, s, path, (upstream_request_t){0});
    bench_until(b, &s->done);
}

static bool is_right(const seen_t *s, size_t n)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->body[i] != (char)('a' + i % 23))
            return false;
    return s->result == UPSTREAM_OK && s->status == 200 && s->n == n;
}

Test(upstream_h2, requests_share_a_connection)
{
    static peer_t p;
    static seen_t s[150];
    bench_t b;
    char path[150][32];
    peer_open(&p, many, NULL, NULL);
    bench_open(&b);
    get(&b, &p, &s[0], "/hello");
    cr_expect(is_right(&s[0], 5) && s[0].length == -1);
    cr_expect_str_eq(s[0].fields, "x-case: kept\n");
    cr_expect_str_eq(p.request[0], ":method: GET\n:scheme: http\n:authority: site.example\n:path: /hello\naccept: "
                                   "x/y\nx-request-id: 1\n");
    seen_release(&s[0]);
    for (int i = 0; i < 90; i++) {
        s[i] = (seen_t){0};
        snprintf(path[i], sizeof path[i], "/bytes/%d", i * 1000);
        start(&b, &p, &s[i], path[i], (upstream_request_t){0});
    }
    for (int i = 0; i < 90; i++) {
        bench_until(&b, &s[i].done);
        cr_expect(is_right(&s[i], (size_t)i * 1000), "%d: %s, %zu", i, upstream_word(s[i].result), s[i].n);
        seen_release(&s[i]);
    }
    cr_expect_eq(atomic_load(&p.connections), 1);
    bench_close(&b);
    peer_close(&p);
}

Test(upstream_h2, a_reader_that_pauses_holds_nobody_else_back)
{
    static peer_t p;
    bench_t b;
    seen_t slow = {.pause_every = 1}, other;
    peer_open(&p, many, NULL, NULL);
    bench_open(&b);
    start(&b, &p, &slow, "/bytes/8000000", (upstream_request_t){.idle_timeout = 1000});
    bench_until(&b, &slow.paused);
    bench_for(&b, 1200); /* it is we who are slow: no timeout */
    size_t before = slow.n;
    for (int i = 0; i < 3; i++) {
        get(&b, &p, &other, "/bytes/3000000");
        cr_expect(is_right(&other, 3000000));
        seen_release(&other);
    }
    cr_expect(!slow.done && slow.n == before);
    cr_expect(slow.aside > 0 && slow.aside <= UPSTREAM_H2_WINDOW, "%zu", slow.aside);
    slow.pause_every = 1000000;
    bench_turn(&b);
    while (!slow.done) {
        slow.paused = false;
        b.client->ops->resume(slow.call);
        for (int i = 0; i < 1000 && !slow.done && !slow.paused; i++)
            bench_turn(&b);
    }
    cr_expect(is_right(&slow, 8000000), "%zu %s", slow.n, upstream_word(slow.result));
    cr_expect_eq(slow.aside, 0);
    seen_release(&slow);
    cr_expect_eq(atomic_load(&p.connections), 1);
    bench_close(&b);
    peer_close(&p);
}

Test(upstream_h2, malformed_heads_are_refused)
{
    static const char *const paths[] = {
#define X(name, ...) name,
        HEADS(X)
#undef X
    };
    static peer_t p;
    bench_t b;
    seen_t s;
    peer_open(&p, many, NULL, NULL);
    bench_open(&b);
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        bool counted = strcmp(paths[i], "/length-long") == 0 || strcmp(paths[i], "/length-short") == 0;
        get(&b, &p, &s, paths[i]);
        cr_expect_eq(s.result, counted ? UPSTREAM_CUT : UPSTREAM_MALFORMED, "%s: %s", paths[i],
                     upstream_word(s.result));
        cr_expect(counted || !s.head, "%s", paths[i]);
        seen_release(&s);
    }
    get(&b, &p, &s, "/huge");
    cr_expect_eq(s.result, UPSTREAM_HEAD_TOO_BIG, "%s", upstream_word(s.result));
    seen_release(&s);
    get(&b, &p, &s, "/hello");
    cr_expect(is_right(&s, 5));
    seen_release(&s);
    bench_close(&b);
    peer_close(&p);
}

Test(upstream_h2, trailers_hints_and_heads_alone)
{
    static peer_t p;
    bench_t b;
    seen_t s;
    peer_open(&p, many, NULL, NULL);
    bench_open(&b);
    get(&b, &p, &s, "/trailers");
    cr_expect(is_right(&s, 5) && strstr(s.fields, "trailer") == NULL);
    seen_release(&s);
    get(&b, &p, &s, "/hints");
    cr_expect(is_right(&s, 5) && s.informational == 1 && strstr(s.fields, "link") == NULL);
    seen_release(&s);
    s = (seen_t){0};
    start(&b, &p, &s, "/head", (upstream_request_t){.method = SPAN("HEAD"), .head = true});
    bench_until(&b, &s.done);
    cr_expect(s.result == UPSTREAM_OK && s.length == 5 && s.n == 0);
    bench_close(&b);
    peer_close(&p);
}

Test(upstream_h2, bodies_go_up)
{
    static char body[3000000];
    static peer_t p;
    bench_t b;
    seen_t s = {0};
    memset(body, 'u', sizeof body);
    peer_open(&p, many, NULL, NULL);
    bench_open(&b);
    start(&b, &p, &s, "/hello",
          (upstream_request_t){
              .method = SPAN("POST"), .body = span_of(body, sizeof body), .has_body = true, .once = true});
    bench_until(&b, &s.done);
    cr_expect(is_right(&s, 5));
    cr_expect_eq(atomic_load(&seen_posts), (int)sizeof body);
    cr_expect(strstr(p.request[0], "content-length: 3000000\n") != NULL);
    seen_release(&s);
    s = (seen_t){0};
    start(&b, &p, &s, "/hello", (upstream_request_t){.method = SPAN("PUT"), .has_body = true, .once = true});
    bench_until(&b, &s.done);
    cr_expect(is_right(&s, 5) && strstr(p.request[1], "content-length: 0\n") != NULL);
    seen_release(&s);
    bench_close(&b);
    peer_close(&p);
}

Test(upstream_h2, what_the_server_has_not_looked_at_is_sent_again)
{
    static const struct {
        const char *path;
        bool once;
        upstream_result_t result;
        int connections;
    } rows[] = {
        {"/refused", true, UPSTREAM_OK, 1},         {"/refused-always", false, UPSTREAM_CLOSED, 1},
        {"/goaway", true, UPSTREAM_OK, 2},          {"/close", false, UPSTREAM_OK, 2},
        {"/close", true, UPSTREAM_CLOSED, 1}, /* it may have been looked at */
        {"/reset", false, UPSTREAM_CLOSED, 1},      {"/cut", false, UPSTREAM_CUT, 1},
        {"/garbage", false, UPSTREAM_MALFORMED, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        static peer_t p;
        bench_t b;
        seen_t s;
        atomic_store(&refused, 0);
        peer_open(&p, many, NULL, NULL);
        bench_open(&b);
        get(&b, &p, &s, "/hello"); /* now the connection is a kept one */
        seen_release(&s);
        s = (seen_t){0};
        start(&b, &p, &s, rows[i].path, (upstream_request_t){.once = rows[i].once});
        bench_until(&b, &s.done);
        cr_expect_eq(s.result, rows[i].result, "%s: %s", rows[i].path, upstream_word(s.result));
        cr_expect_eq(atomic_load(&p.connections), rows[i].connections, "%s: %d", rows[i].path, p.connections);
        seen_release(&s);
        get(&b, &p, &s, "/hello");
        cr_expect(is_right(&s, 5), "%s", rows[i].path);
        seen_release(&s);
        bench_close(&b);
        peer_close(&p);
    }
}

static void silent_server(peer_conn_t *c)
{
    peer_linger(c);
}

Test(upstream_h2, each_phase_has_its_timeout)
{
    static peer_script_fn *const quiet[] = {silent_server, silent_server, serve_h2, NULL};
    static peer_t p;
    bench_t b;
    seen_t s = {0};
    peer_open(&p, quiet, NULL, NULL);
    bench_open(&b);
    start(&b, &p, &s, "/hello", (upstream_request_t){.first_byte_timeout = 200});
    bench_until(&b, &s.done);
    cr_expect_eq(s.result, UPSTREAM_FIRST_BYTE_TIMEOUT, "%s", upstream_word(s.result));
    s = (seen_t){0}; /* a connection on which nothing came is not used again */
    start(&b, &p, &s, "/hello", (upstream_request_t){.first_byte_timeout = 2000, .total_timeout = 150});
    bench_until(&b, &s.done);
    cr_expect_eq(s.result, UPSTREAM_TOTAL_TIMEOUT, "%s", upstream_word(s.result));
    cr_expect_eq(atomic_load(&p.connections), 2);
    get(&b, &p, &s, "/hello");
    cr_expect(is_right(&s, 5));
    seen_release(&s);
    s = (seen_t){0};
    start(&b, &p, &s, "/never", (upstream_request_t){.first_byte_timeout = 200});
    bench_until(&b, &s.done);
    cr_expect_eq(s.result, UPSTREAM_FIRST_BYTE_TIMEOUT);
    bench_close(&b);
    peer_close(&p);

    peer_t nobody = {.port = 1};
    s = (seen_t){0};
    bench_open(&b);
    start(&b, &nobody, &s, "/", (upstream_request_t){0});
    bench_until(&b, &s.done);
    cr_expect_eq(s.result, UPSTREAM_REFUSED, "%s", upstream_word(s.result));
    bench_close(&b);
}

Test(upstream_h2, it_can_be_stopped_anywhere)
{
    static const char *const paths[] = {"/hello", "/hints", "/bytes/3000000", "/never", "/cut", "/huge"};
    static peer_t p;
    bench_t b;
    peer_open(&p, many, NULL, NULL);
    bench_open(&b);
    for (int where = 0; where <= 3; where++)
        for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
            seen_t s = {.cancel_in = where}, beside = {0};
            start(&b, &p, &beside, "/bytes/100000", (upstream_request_t){0});
            start(&b, &p, &s, paths[i], (upstream_request_t){.delay = i % 2 == 0 && where == 0 ? 20 : 0});
            bench_for(&b, where == 0 ? (msec_t)i * 3 : 15);
            if (s.call != NULL)
                b.client->ops->cancel(s.call);
            bench_until(&b, &beside.done);
            cr_expect(is_right(&beside, 100000), "%s", upstream_word(beside.result));
            seen_release(&s);
            seen_release(&beside);
        }
    seen_t left[4] = {{0}}, paused = {.pause_every = 1};
    start(&b, &p, &paused, "/bytes/3000000", (upstream_request_t){0});
    for (int i = 0; i < 3; i++) {
        start(&b, &p, &left[i], paths[i + 1], (upstream_request_t){0});
        bench_for(&b, 3);
    }
    start(&b, &p, &left[3], "/hello", (upstream_request_t){.delay = 1000});
    bench_close(&b); /* with calls in every state */
    for (int i = 0; i < 4; i++) {
        cr_expect(left[i].done);
        seen_release(&left[i]);
    }
    cr_expect(paused.done && paused.result == UPSTREAM_ABANDONED);
    seen_release(&paused);
    peer_close(&p);
}
