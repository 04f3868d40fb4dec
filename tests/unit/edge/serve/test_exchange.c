/* A worker on one thread with itself as client: the order of callbacks that the request path relies on. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "edge/serve/serve_priv.h"

typedef struct bench {
    serve_shared_t *shared;
    loop_t loop;
    serve_worker_t *w;
    exchange_t *x; /* the last one */
    int requests, gone, writable, listener;
    bool inside; /* a function of the exchange is being called */
    void (*answer)(struct bench *b);
    char input[1 << 16];
    size_t got;
} bench_t;

static bench_t *bench; /* of the running test */

static void bench_gone(exchange_t *x)
{
    cr_assert(!bench->inside, "on_gone within a call");
    if (x == bench->x)
        bench->x = NULL;
    bench->gone++;
}

static void bench_writable(exchange_t *x)
{
    cr_assert(!bench->inside, "on_writable within a call");
    cr_assert_eq(x, bench->x);
    bench->writable++;
}

static void bench_on_request(exchange_t *x, int listener, void *ctx)
{
    bench_t *b = ctx;
    b->x = x;
    b->requests++;
    b->listener = listener;
    x->on_gone = bench_gone;
    x->on_writable = bench_writable;
    if (b->answer != NULL)
        b->answer(b);
}

static void bench_open(bench_t *b)
{
    memset(b, 0, sizeof *b);
    bench = b;
    serve_listen_t l = {.address = "127.0.0.1:0", .id = 42};
    serve_options_t o = {.listens = &l, .listen_count = 1, .workers = 1};
    char err[SERVE_ERROR_MAX];
    serve_limits_default(&o.limits);
    cr_assert_eq(serve_open(&o, &b->shared, err, sizeof err), ERR_OK, "%s", err);
    cr_assert_eq(loop_init(&b->loop, 0, true), ERR_OK);
    cr_assert_eq(serve_worker_start(b->shared, 0, &b->loop, bench_on_request, b, &b->w), ERR_OK);
}

static void bench_close(bench_t *b)
{
    serve_worker_stop(b->w);
    cr_expect_eq(b->requests, b->gone, "%d requests, %d gone", b->requests, b->gone);
    loop_release(&b->loop);
    serve_close(b->shared);
}

static int bench_client(bench_t *b, const char *text)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)serve_port(b->shared, 0))};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&in, sizeof in), 0);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    b->got = 0;
    return fd;
}

/* Runs turns until the client has read `until` somewhere, or the end when NULL. False: not within a second. */
static bool bench_read(bench_t *b, int fd, const char *until)
{
    for (int i = 0; i < 1000; i++) {
        cr_assert_eq(serve_worker_run_once(b->w, 1), ERR_OK);
        ssize_t n = recv(fd, b->input + b->got, sizeof b->input - 1 - b->got, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno == ECONNRESET))
            return until == NULL;
        if (n > 0)
            b->got += (size_t)n;
        b->input[b->got] = '\0';
        if (until != NULL && strstr(b->input, until) != NULL)
            return true;
    }
    return false;
}

static void bench_turns(bench_t *b, int n)
{
    while (n-- > 0)
        cr_assert_eq(serve_worker_run_once(b->w, 1), ERR_OK);
}

static void bench_head(bench_t *b, int64_t length)
{
    static field_t v[] = {{{"content-type", 12}, {"text/plain", 10}}};
    fields_t f = {v, 1, 1, NULL};
    b->inside = true;
    b->x->ops->head(b->x, 200, &f, length);
    b->inside = false;
}

static void bench_send(bench_t *b, const char *text, exchange_end_t end)
{
    struct iovec v = {(void *)text, strlen(text)};
    b->inside = true;
    b->x->ops->send(b->x, &v, v.iov_len > 0 ? 1 : 0, end);
    b->inside = false;
}

static void answer_at_once(bench_t *b)
{
    bench_head(b, 5);
    bench_send(b, "hello", EXCHANGE_FINAL);
}

#define REQUEST "GET /path?q HTTP/1.1\r\nHost: a.example\r\nX-Name:  value \r\n\r\n"

Test(exchange, the_request_is_filled)
{
    bench_t b;
    bench_open(&b);
    int fd =
        bench_client(&b, "POST /path?q HTTP/1.1\r\nHost: a.example\r\nX-Name:  value \r\nContent-Length: 3\r\n\r\nabc");
    bench_turns(&b, 5);
    cr_assert_eq(b.requests, 1);
    cr_expect_eq(b.listener, 42);
    const exchange_t *x = b.x;
    cr_expect_eq(x->method, METHOD_POST);
    cr_expect(span_eq(x->target, SPAN("/path?q")));
    cr_expect(span_eq(x->authority, SPAN("a.example")));
    cr_expect(span_eq(x->scheme, SPAN("http")));
    cr_expect(span_eq(x->peer, SPAN("127.0.0.1")));
    cr_expect(span_eq(x->body, SPAN("abc")) && x->has_body);
    cr_expect_eq(x->protocol, 11);
    cr_expect_eq(x->fields.n, 1U);
    cr_expect(span_eq(fields_get(&x->fields, SPAN("x-name")), SPAN("value")));
    cr_expect_eq(x->loop, &b.loop);
    close(fd);
    bench_close(&b);
}

Test(exchange, pipelined_requests_come_one_after_the_other)
{
    bench_t b;
    bench_open(&b);
    b.answer = answer_at_once;
    int fd = bench_client(&b, REQUEST REQUEST REQUEST "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    cr_expect(bench_read(&b, fd, NULL));
    cr_expect_eq(b.requests, 4);
    cr_expect_eq(b.gone, 4);
    close(fd);
    bench_close(&b);
}

Test(exchange, nothing_is_called_back_within_a_call)
{
    bench_t b;
    bench_open(&b);
    int fd = bench_client(&b, REQUEST);
    bench_turns(&b, 5);
    bench_head(&b, 10);
    bench_send(&b, "01234", EXCHANGE_MORE);
    bench_turns(&b, 5);
    cr_expect_eq(b.writable, 1);
    bench_send(&b, "", EXCHANGE_MORE); /* nothing to send yet: comes back writable, must not end the response */
    bench_turns(&b, 2);
    cr_expect_eq(b.writable, 2);
    bench_send(&b, "56789", EXCHANGE_MORE);
    bench_turns(&b, 5);
    cr_expect_eq(b.writable, 3);
    bench_send(&b, "", EXCHANGE_FINAL); /* the library would end the request within the call */
    cr_expect_eq(b.gone, 0);
    bench_turns(&b, 5);
    cr_expect_eq(b.gone, 1);
    cr_expect(bench_read(&b, fd, "0123456789"));
    cr_expect_eq(b.writable, 3);
    close(fd);
    bench_close(&b);
}

Test(exchange, the_head_can_go_before_the_body)
{
    bench_t b;
    bench_open(&b);
    int fd = bench_client(&b, REQUEST);
    bench_turns(&b, 5);
    bench_head(&b, -1);
    bench_send(&b, "", EXCHANGE_MORE);
    cr_expect(bench_read(&b, fd, "transfer-encoding: chunked\r\n\r\n"));
    cr_expect_eq(b.writable, 1);
    bench_send(&b, "abc", EXCHANGE_FINAL);
    cr_expect(bench_read(&b, fd, "3\r\nabc\r\n0\r\n\r\n"));
    cr_expect_eq(b.gone, 1);
    close(fd);
    bench_close(&b);
}

Test(exchange, an_abort_closes_and_comes_later)
{
    for (int kind = 0; kind < 3; kind++) {
        bench_t b;
        bench_open(&b);
        int fd = bench_client(&b, REQUEST);
        bench_turns(&b, 5);
        if (kind > 0)
            bench_head(&b, kind == 1 ? 10 : -1);
        if (kind > 0) {
            bench_send(&b, "01234", EXCHANGE_MORE);
            bench_turns(&b, 5);
        }
        bench_send(&b, "", EXCHANGE_ABORT);
        cr_expect_eq(b.gone, 0);
        cr_expect(bench_read(&b, fd, NULL));
        cr_expect_eq(b.gone, 1);
        cr_expect(strstr(b.input, "\r\n0\r\n") == NULL);
        close(fd);
        bench_close(&b);
    }
}

Test(exchange, a_client_that_leaves_in_the_middle)
{
    bench_t b;
    bench_open(&b);
    int fd = bench_client(&b, REQUEST);
    bench_turns(&b, 5);
    bench_head(&b, 1 << 30);
    static char much[1 << 20];
    struct iovec v = {much, sizeof much};
    for (int i = 0; i < 100 && b.x != NULL; i++) {
        int before = b.writable;
        b.x->ops->send(b.x, &v, 1, EXCHANGE_MORE);
        if (i == 2) {
            struct linger now = {1, 0};
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
            close(fd);
        }
        for (int k = 0; k < 100 && b.x != NULL && b.writable == before; k++) {
            bench_turns(&b, 1);
            if (i < 2)
                while (recv(fd, b.input, sizeof b.input, MSG_DONTWAIT) > 0)
                    ;
        }
    }
    cr_expect_eq(b.gone, 1);
    cr_expect_null(b.x);
    bench_close(&b);
}

Test(exchange, stop_ends_what_is_pending)
{
    bench_t b;
    bench_open(&b);
    int one = bench_client(&b, REQUEST), two = bench_client(&b, REQUEST), idle = bench_client(&b, "GET");
    bench_turns(&b, 5);
    cr_expect_eq(b.requests, 2);
    cr_expect_eq(serve_worker_requests(b.w), 2U);
    cr_expect_eq(serve_worker_connections(b.w), 3U);
    bench_head(&b, 5); /* of one of them */
    bench_close(&b);
    cr_expect_eq(b.gone, 2);
    close(one), close(two), close(idle);
}

static int messages, readable, timers;

static void on_message(loop_message_t *m)
{
    (void)m;
    messages++;
}

static void on_timer(loop_timer_t *t)
{
    (void)t;
    timers++;
}

static void on_readable(void *arg)
{
    char c;
    readable += (int)read(*(int *)arg, &c, 1);
}

Test(exchange, the_loop_runs_messages_timers_and_watches)
{
    bench_t b;
    bench_open(&b);
    loop_message_t m = {.run = on_message};
    loop_timer_t t = {.run = on_timer};
    int pair[2];
    cr_assert_eq(pipe(pair), 0);
    serve_watch_t *watch = serve_worker_watch_fd(b.w, pair[0], on_readable, &pair[0]);
    loop_post(&b.loop, &m);
    loop_timer_start(&b.loop, &t, 20);
    cr_assert_eq(write(pair[1], "ab", 2), 2);
    msec_t began = b.loop.now.boot;
    for (int i = 0; i < 50 && timers == 0; i++)
        serve_worker_run_once(b.w, 1000);
    cr_expect_eq(messages, 1);
    cr_expect_eq(readable, 2);
    cr_expect_eq(timers, 1);
    cr_expect_geq(b.loop.now.boot - began, 20);
    cr_expect_lt(b.loop.now.boot - began, 900, "the timer shortens the wait");
    serve_unwatch(watch);
    cr_assert_eq(write(pair[1], "c", 1), 1);
    bench_turns(&b, 3);
    cr_expect_eq(readable, 2);
    cr_expect_eq(close(pair[0]), 0, "the descriptor stayed the caller's");
    close(pair[1]);
    bench_close(&b);
}

static loop_timer_t piece_timer;

static void on_piece(loop_timer_t *t)
{
    (void)t;
    bench_send(bench, "x", EXCHANGE_MORE);
}

static void on_writable_again(exchange_t *x)
{
    (void)x;
    if (++bench->writable < 20)
        loop_timer_start(&bench->loop, &piece_timer, 1);
}

Test(exchange, what_a_timer_sends_is_not_held_up)
{
    bench_t b;
    bench_open(&b);
    int fd = bench_client(&b, REQUEST);
    bench_turns(&b, 5);
    bench_head(&b, 100);
    b.x->on_writable = on_writable_again;
    piece_timer = (loop_timer_t){.run = on_piece};
    loop_timer_start(&b.loop, &piece_timer, 1);
    msec_t began = b.loop.now.boot;
    while (b.writable < 20 && b.loop.now.boot - began < 5000)
        cr_assert_eq(serve_worker_run_once(b.w, 1000), ERR_OK);
    cr_expect_lt(b.loop.now.boot - began, 500, "%d pieces in %d ms", b.writable, (int)(b.loop.now.boot - began));
    close(fd);
    bench_close(&b);
}
