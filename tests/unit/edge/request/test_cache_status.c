/* Cache-Status (RFC 9211) and X-Cache for every way in which a request can end. */
#include <criterion/criterion.h>

#include "edge/base/mem.h"
#include "edge/request/request_priv.h"

typedef struct bench {
    arena_t arena;
    loop_t loop;
    request_env_t env;
    exchange_t x;
    request_t rq;
    object_t *object;
} bench_t;

static void bench_open(bench_t *b)
{
    *b = (bench_t){0};
    arena_init(&b->arena, 0);
    cr_assert_eq(loop_init(&b->loop, 0, false), ERR_OK);
    b->loop.now = (now_t){.wall = 1700000100000, .boot = 1};
    b->env.loop = &b->loop;
    b->env.node_member = SPAN("edge-1");
    b->x.arena = &b->arena;
    b->rq.env = &b->env;
    b->rq.x = &b->x;
    fields_t none = {0};
    fieldblock_t *block;
    cr_assert_eq(fieldblock_pack(&none, &block), ERR_OK);
    cache_key_t key;
    fields_t request = {0};
    cr_assert_eq(
        key_make(&b->arena, SPAN("http"), SPAN("a"), SPAN("/"), &(key_rules_t){.query = KEY_QUERY_ALL}, &request, &key),
        ERR_OK);
    stored_t meta = {.status = 200,
                     .date = 1700000000000,
                     .request_time = 1700000000000,
                     .response_time = 1700000000000,
                     .lifetime = 157000,
                     .content_length = 0};
    body_t *body = body_new(0);
    body_end(body, BODY_COMPLETE);
    b->object = object_new(&key, SPAN_NONE, &meta, 0, block, body, NULL, 0);
}

static void bench_close(bench_t *b)
{
    object_unref(b->object);
    loop_release(&b->loop);
    arena_release(&b->arena);
}

static void expect(bench_t *b, const char *members, const char *status, const char *x_cache, unsigned result)
{
    fields_t out;
    fields_init(&out, &b->arena);
    cache_status_add(&b->rq, &out, span_str(members));
    span_t got = fields_get(&out, SPAN("cache-status")), x = fields_get(&out, SPAN("x-cache"));
    cr_expect(span_eq(got, span_str(status)), "%.*s instead of %s", SPAN_ARG(got), status);
    cr_expect(span_eq(x, span_str(x_cache)), "%.*s instead of %s", SPAN_ARG(x), x_cache);
    cr_expect_eq(b->rq.result, result);
    cr_expect(span_eq(b->rq.cache_status, got), "what the log says");
}

Test(cache_status, hits)
{
    bench_t b;
    bench_open(&b);
    b.rq.object = b.object;
    b.rq.hit = true;
    b.rq.detail = "memory";
    expect(&b, NULL, "edge-1; hit; ttl=57; detail=memory", "HIT", LABEL_RESULT_HIT);
    b.rq.detail = "disk";
    expect(&b, "shield-1; hit; ttl=60", "shield-1; hit; ttl=60, edge-1; hit; ttl=57; detail=disk", "HIT",
           LABEL_RESULT_HIT);
    static const char *const unreadable[] = {"shield-1; hit,", "shield-1; hit; ;", "\"shield-1", "HIT from (cache"};
    for (size_t i = 0; i < sizeof unreadable / sizeof *unreadable; i++)
        expect(&b, unreadable[i], "edge-1; hit; ttl=57; detail=disk", "HIT", LABEL_RESULT_HIT);
    b.env.node_member = SPAN("\"two words\"");
    expect(&b, NULL, "\"two words\"; hit; ttl=57; detail=disk", "HIT", LABEL_RESULT_HIT);
    b.env.node_member = SPAN("edge-1");
    b.rq.stale_served = true;
    b.rq.detail = "stale-while-revalidate";
    b.loop.now.wall = 1700000157001;
    expect(&b, NULL, "edge-1; hit; ttl=-1; detail=stale-while-revalidate", "STALE", LABEL_RESULT_STALE);
    b.loop.now.wall = 1700000160000;
    expect(&b, NULL, "edge-1; hit; ttl=-3; detail=stale-while-revalidate", "STALE", LABEL_RESULT_STALE);
    b.loop.now.wall = 1700000157000;
    expect(&b, NULL, "edge-1; hit; ttl=0; detail=stale-while-revalidate", "STALE", LABEL_RESULT_STALE);
    bench_close(&b);
}

Test(cache_status, forwards)
{
    static const struct {
        request_forward_t forward;
        int status;
        bool collapsed, stale;
        const char *detail, *text, *x_cache;
        unsigned result;
    } rows[] = {
        {FORWARD_URI_MISS, 200, false, false, NULL, "edge-1; fwd=uri-miss; fwd-status=200", "MISS", LABEL_RESULT_MISS},
        {FORWARD_URI_MISS, 200, true, false, NULL, "edge-1; fwd=uri-miss; fwd-status=200; collapsed", "MISS",
         LABEL_RESULT_MISS},
        {FORWARD_VARY_MISS, 404, false, false, NULL, "edge-1; fwd=vary-miss; fwd-status=404", "MISS",
         LABEL_RESULT_MISS},
        {FORWARD_BYPASS, 200, false, false, "no-store", "edge-1; fwd=bypass; fwd-status=200; detail=no-store", "BYPASS",
         LABEL_RESULT_BYPASS},
        {FORWARD_METHOD, 201, false, false, NULL, "edge-1; fwd=method; fwd-status=201", "BYPASS", LABEL_RESULT_BYPASS},
        {FORWARD_REQUEST, 200, false, false, "request-no-cache",
         "edge-1; fwd=request; fwd-status=200; detail=request-no-cache", "MISS", LABEL_RESULT_MISS},
        {FORWARD_STALE, 503, false, true, "stale-if-error", "edge-1; fwd=stale; fwd-status=503; detail=stale-if-error",
         "STALE", LABEL_RESULT_STALE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bench_t b;
        bench_open(&b);
        b.rq.object = b.object;
        b.rq.forward = rows[i].forward;
        b.rq.fwd_status = rows[i].status;
        b.rq.collapsed = rows[i].collapsed;
        b.rq.stale_served = rows[i].stale;
        b.rq.detail = rows[i].detail;
        expect(&b, NULL, rows[i].text, rows[i].x_cache, rows[i].result);
        bench_close(&b);
    }
}

Test(cache_status, errors_of_our_own_count_as_errors)
{
    bench_t b;
    bench_open(&b);
    b.rq.synthetic = SPAN("no\n");
    b.rq.detail = "host";
    expect(&b, NULL, "edge-1; detail=host", "BYPASS", LABEL_RESULT_ERROR);
    b.rq.forward = FORWARD_URI_MISS;
    b.rq.detail = "connection_refused";
    expect(&b, NULL, "edge-1; fwd=uri-miss; detail=connection_refused", "MISS", LABEL_RESULT_ERROR);
    bench_close(&b);
}
