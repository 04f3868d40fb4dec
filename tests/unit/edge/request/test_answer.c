/* Exchanges that are answered by a handler: at once, later, from another thread, and when the client has left. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>

#include "edge/request/request.h"

typedef struct bench {
    loop_t loop;
    request_env_t env;
    arena_t arena;
    exchange_t x;
    int heads, sends, status;
    int64_t length;
    char body[64], cache_control[32], extra[32];
    size_t n;
} bench_t;

static void bench_head(exchange_t *x, int status, const fields_t *fields, int64_t length)
{
    bench_t *b = CONTAINER_OF(x, bench_t, x);
    b->heads++;
    b->status = status;
    b->length = length;
    cr_expect(fields_has(fields, SPAN("date")));
    snprintf(b->cache_control, sizeof b->cache_control, "%.*s", SPAN_ARG(fields_get(fields, SPAN("cache-control"))));
    snprintf(b->extra, sizeof b->extra, "%.*s", SPAN_ARG(fields_get(fields, SPAN("www-authenticate"))));
}

static void bench_send(exchange_t *x, const struct iovec *v, size_t n, exchange_end_t end)
{
    bench_t *b = CONTAINER_OF(x, bench_t, x);
    cr_assert(b->heads == 1 && b->sends == 0 && end == EXCHANGE_FINAL);
    b->sends++;
    for (size_t i = 0; i < n; i++) {
        memcpy(b->body + b->n, v[i].iov_base, v[i].iov_len);
        b->n += v[i].iov_len;
    }
}

static const exchange_ops_t bench_ops = {.head = bench_head, .send = bench_send, .send_most = SIZE_MAX};

static void bench_open(bench_t *b, const char *method, const char *target)
{
    *b = (bench_t){0};
    cr_assert_eq(loop_init(&b->loop, 0, false), ERR_OK);
    b->loop.now.wall = 1700000000000;
    arena_init(&b->arena, 0);
    b->env.loop = &b->loop;
    request_env_init(&b->env);
    b->x = (exchange_t){.ops = &bench_ops, .loop = &b->loop, .arena = &b->arena, .method_name = span_str(method)};
    b->x.method = method_parse(b->x.method_name);
    b->x.target = span_str(target);
    b->x.peer = SPAN("127.0.0.1");
    fields_init(&b->x.fields, &b->arena);
    fields_add(&b->x.fields, SPAN("x-a"), SPAN("1"));
}

static void bench_gone(bench_t *b)
{
    b->x.on_gone(&b->x);
    arena_release(&b->arena);
}

static void bench_close(bench_t *b)
{
    while (loop_run_messages(&b->loop) > 0)
        ;
    cr_expect_eq(b->env.in_flight, 0);
    loop_release(&b->loop);
}

static handler_reply_t *waiting;
static const handler_request_t *asked;

static void at_once(void *ctx, const handler_request_t *req, handler_reply_t *reply)
{
    handler_response_t r = {0};
    cr_expect_str_eq(ctx, "context");
    cr_expect(span_eq(req->path, SPAN("/v1/x")) && span_eq(req->query, SPAN("a=b")) && req->peer_loopback);
    cr_expect(span_eq(fields_get(req->fields, SPAN("x-a")), SPAN("1")));
    handler_text(&r, 200, "text/plain", "hello", 5);
    reply->send(reply, &r);
}

static void later(void *ctx, const handler_request_t *req, handler_reply_t *reply)
{
    (void)ctx;
    asked = req;
    waiting = reply;
}

static void *send_from_elsewhere(void *arg)
{
    handler_response_t r = {0};
    (void)arg;
    cr_expect(span_eq(asked->path, SPAN("/later")), "the request's spans outlive the exchange");
    handler_text(&r, 401, "text/plain", "later", 5);
    handler_add(&r, "www-authenticate", "Bearer");
    handler_add(&r, "cache-control", "max-age=5");
    waiting->send(waiting, &r);
    return NULL;
}

static void from_elsewhere(void)
{
    pthread_t t;
    cr_assert_eq(pthread_create(&t, NULL, send_from_elsewhere, NULL), 0);
    pthread_join(t, NULL);
}

Test(answer, at_once)
{
    bench_t b;
    bench_open(&b, "GET", "/v1/x?a=b");
    request_answer(&b.env, &b.x, at_once, "context");
    cr_expect_eq(b.sends, 0, "not from within the call");
    loop_run_messages(&b.loop);
    cr_expect(b.sends == 1 && b.status == 200 && b.length == 5 && memcmp(b.body, "hello", 5) == 0);
    cr_expect_str_eq(b.cache_control, "no-store");
    cr_expect_eq(b.env.in_flight, 1, "until it is gone");
    bench_gone(&b);
    bench_close(&b);
}

Test(answer, head_has_the_length_and_no_body)
{
    bench_t b;
    bench_open(&b, "HEAD", "/v1/x?a=b");
    request_answer(&b.env, &b.x, at_once, "context");
    loop_run_messages(&b.loop);
    cr_expect(b.sends == 1 && b.length == 5 && b.n == 0);
    bench_gone(&b);
    bench_close(&b);
}

Test(answer, later_from_another_thread)
{
    bench_t b;
    bench_open(&b, "GET", "/later");
    request_answer(&b.env, &b.x, later, NULL);
    loop_run_messages(&b.loop);
    cr_expect_eq(b.sends, 0);
    from_elsewhere();
    loop_run_messages(&b.loop);
    cr_expect(b.sends == 1 && b.status == 401);
    cr_expect_str_eq(b.extra, "Bearer");
    cr_expect_str_eq(b.cache_control, "max-age=5");
    bench_gone(&b);
    bench_close(&b);
}

Test(answer, the_client_leaves_before_the_answer)
{
    bench_t b;
    bench_open(&b, "GET", "/later");
    request_answer(&b.env, &b.x, later, NULL);
    bench_gone(&b);
    from_elsewhere();
    bench_close(&b);
    cr_expect_eq(b.heads, 0);
}

Test(answer, the_client_leaves_while_the_answer_is_on_its_way)
{
    bench_t b;
    bench_open(&b, "GET", "/later");
    request_answer(&b.env, &b.x, later, NULL);
    from_elsewhere();
    bench_gone(&b);
    bench_close(&b);
    cr_expect_eq(b.heads, 0);
}
