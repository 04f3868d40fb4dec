/* Routes, scopes and the answers that every node gives. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "edge/admin/admin.h"
#include "edge/base/check.h"
#include "edge/tbl/metrics.h"

/* ---- a caller ---- */
typedef struct answer {
    handler_reply_t reply;
    handler_response_t resp;
    int calls;
} answer_t;

static void take(handler_reply_t *r, handler_response_t *resp)
{
    answer_t *a = CONTAINER_OF(r, answer_t, reply);
    a->resp = *resp;
    a->calls++;
}

static const char *extra(const answer_t *a, const char *name)
{
    for (int i = 0; i < a->resp.extras; i++)
        if (strcmp(a->resp.extra_name[i], name) == 0)
            return a->resp.extra_value[i];
    return NULL;
}

static bool is_ready, loopback = true;
static admin_verdict_t verdict;
static admin_scope_t asked;
static int authorized;

static void fill(void *ctx, status_t *out, arena_t *a)
{
    (void)ctx;
    status_tier_t *t = arena_zalloc(a, sizeof *t);
    *t = (status_tier_t)(status_tier_t){.name = "memory", .objects = 3, .bytes = 4096, .budget = 1 << 20};
    out->node = SPAN("edge-1");
    out->tiers = t;
    out->tiers_n = 1;
    out->ready = is_ready;
}
static bool ready(void *ctx)
{
    (void)ctx;
    return is_ready;
}
static admin_verdict_t authorize(void *ctx, const handler_request_t *req, admin_scope_t scope)
{
    cr_assert_str_eq(ctx, "tokens");
    cr_assert_not_null(req);
    asked = scope;
    authorized++;
    return verdict;
}

static admin_t *made(bool tokens)
{
    admin_options_t o = {
        .status = {NULL, fill, ready}, .authorize = tokens ? authorize : NULL, .authorize_ctx = "tokens"};
    return admin_new(&o);
}

static answer_t call(admin_t *a, const char *method, const char *path)
{
    fields_t fields;
    fields_init(&fields, NULL);
    span_t m = span_str(method);
    handler_request_t req = {
        .method = METHOD_OTHER, .method_name = m, .path = span_str(path), .fields = &fields, .peer_loopback = loopback};
    static const struct {
        const char *name;
        method_t method;
    } methods[] = {{"GET", METHOD_GET}, {"HEAD", METHOD_HEAD}, {"POST", METHOD_POST}, {"DELETE", METHOD_DELETE}};
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (strcmp(methods[i].name, method) == 0)
            req.method = methods[i].method;
    answer_t out = {.reply = {take}};
    admin_handle(a, &req, &out.reply);
    cr_assert_leq(out.calls, 1);
    return out;
}

static handler_reply_t *late;
static void foreign(void *ctx, const handler_request_t *req, handler_reply_t *reply)
{
    (void)req;
    if (strcmp(ctx, "late") == 0) {
        late = reply;
        return;
    }
    handler_response_t resp = {.status = 0};
    handler_text(&resp, 202, "text/plain", ctx, strlen(ctx));
    handler_add(&resp, "cache-control", "max-age=1");
    reply->send(reply, &resp);
}

static void expect(admin_t *a, const char *method, const char *path, int status, const char *inside)
{
    answer_t r = call(a, method, path);
    cr_assert_eq(r.calls, 1, "%s %s", method, path);
    cr_assert_eq(r.resp.status, status, "%s %s gave %d %.*s", method, path, r.resp.status, (int)r.resp.body_len,
                 r.resp.body);
    char *body = strndup(r.resp.body, r.resp.body_len);
    cr_assert_not_null(strstr(body, inside), "%s %s: %s", method, path, body);
    free(body);
    if (status >= 400)
        cr_assert_str_eq(r.resp.content_type, "application/problem+json");
    handler_response_release(&r.resp);
}

Test(admin, patterns)
{
    static const struct {
        const char *pattern, *path;
        bool match;
    } rows[] = {
        {"/", "/", true},
        {"/", "", false},
        {"/", "/x", false},
        {"/healthz", "/healthz", true},
        {"/healthz", "/healthz/", false},
        {"/healthz", "/Healthz", false},
        {"/v1/purge/:", "/v1/purge/1700000000000-0", true},
        {"/v1/purge/:", "/v1/purge/", false},
        {"/v1/purge/:", "/v1/purge", false},
        {"/v1/purge/:", "/v1/purge/a/b", false},
        {"/client/v4/zones/:/purge_cache", "/client/v4/zones/z1/purge_cache", true},
        {"/client/v4/zones/:/purge_cache", "/client/v4/zones//purge_cache", false},
        {"/client/v4/zones/:/purge_cache", "/client/v4/zones/a/b/purge_cache", false},
        {"/service/:/purge/::", "/service/s/purge/key", true},
        {"/service/:/purge/::", "/service/s/purge/a/b/c", true},
        {"/service/:/purge/::", "/service/s/purge/", false},
        {"/service/:/purge/::", "/service/s/purge", false},
        {"/a", "a", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_assert_eq(admin_match(span_str(rows[i].pattern), span_str(rows[i].path)), rows[i].match, "%s on %s",
                     rows[i].pattern, rows[i].path);
}

Test(admin, health_and_readiness)
{
    admin_t *a = made(true);
    verdict = ADMIN_NO_TOKEN;
    loopback = false;
    expect(a, "GET", "/healthz", 200, "ok");
    expect(a, "HEAD", "/healthz", 200, "ok");
    expect(a, "GET", "/readyz", 503, "not ready");
    is_ready = true;
    expect(a, "GET", "/readyz", 200, "ready");
    expect(a, "GET", "/metrics", 200, "# TYPE brink_requests_total counter");
    expect(a, "GET", "/", 200, "<!doctype html>");
    cr_assert_eq(authorized, 0, "these need no token");
    cr_assert_eq(metrics_value(METRIC_ADMIN_REQUESTS, LABEL_STATUS_200), 5);
    cr_assert_eq(metrics_value(METRIC_ADMIN_REQUESTS, LABEL_STATUS_503), 1);
    admin_release(a);
}

Test(admin, metrics_content_type)
{
    admin_t *a = made(false);
    answer_t r = call(a, "GET", "/metrics");
    cr_assert_str_eq(r.resp.content_type, "text/plain; version=0.0.4; charset=utf-8");
    cr_assert_str_eq(extra(&r, "cache-control"), "no-store");
    cr_assert_str_eq(extra(&r, "cross-origin-resource-policy"), "same-origin");
    handler_response_release(&r.resp);
    admin_release(a);
}

Test(admin, status_with_tokens)
{
    admin_t *a = made(true);
    verdict = ADMIN_ALLOWED;
    expect(a, "GET", "/v1/status", 200, "\"node\":\"edge-1\"");
    cr_assert_eq(asked, ADMIN_READ);
    verdict = ADMIN_OUT_OF_SCOPE;
    expect(a, "GET", "/v1/status", 403, "read");
    verdict = ADMIN_BAD_TOKEN;
    expect(a, "GET", "/v1/status", 401, "unknown token");
    verdict = ADMIN_NO_TOKEN;
    answer_t r = call(a, "GET", "/v1/status");
    cr_assert_eq(r.resp.status, 401);
    cr_assert_str_eq(extra(&r, "www-authenticate"), "Bearer realm=\"brink\"");
    handler_response_release(&r.resp);
    verdict = ADMIN_TOO_MANY;
    r = call(a, "GET", "/v1/status");
    cr_assert_eq(r.resp.status, 429);
    cr_assert_not_null(extra(&r, "retry-after"));
    handler_response_release(&r.resp);
    admin_release(a);
}

Test(admin, without_tokens_loopback_reads_and_nobody_writes)
{
    admin_t *a = made(false);
    admin_route(a, &(admin_route_t){METHOD_POST, "/v1/purge", ADMIN_PURGE, foreign, "purged"});
    expect(a, "GET", "/v1/status", 200, "\"objects\":3");
    expect(a, "POST", "/v1/purge", 403, "no tokens are configured");
    loopback = false;
    expect(a, "GET", "/v1/status", 403, "no tokens are configured");
    expect(a, "POST", "/v1/purge", 403, "no tokens are configured");
    admin_release(a);
}

Test(admin, foreign_handlers)
{
    admin_t *a = made(true);
    verdict = ADMIN_ALLOWED;
    admin_route(a, &(admin_route_t){METHOD_POST, "/v1/purge", ADMIN_PURGE, foreign, "purged"});
    admin_route(a, &(admin_route_t){METHOD_GET, "/v1/purge/:", ADMIN_PURGE, foreign, "late"});
    admin_route(a, &(admin_route_t){METHOD_POST, "/service/:/purge/::", ADMIN_SELF, foreign, "by key"});
    expect(a, "POST", "/v1/purge", 202, "purged");
    cr_assert_eq(asked, ADMIN_PURGE);
    cr_assert_eq(authorized, 1);
    expect(a, "POST", "/service/x/purge/a/b", 202, "by key");
    cr_assert_eq(authorized, 1, "it asks for itself");

    answer_t r = call(a, "POST", "/v1/purge");
    cr_assert_str_eq(extra(&r, "cache-control"), "max-age=1", "a handler's own field stays");
    handler_response_release(&r.resp);

    fields_t fields;
    fields_init(&fields, NULL);
    handler_request_t req = {.method = METHOD_GET, .path = SPAN("/v1/purge/1-0"), .fields = &fields};
    answer_t out = {.reply = {take}};
    admin_handle(a, &req, &out.reply);
    cr_assert_eq(out.calls, 0);
    handler_response_t resp = {.status = 0};
    handler_text(&resp, 200, "text/plain", "later", 5);
    late->send(late, &resp);
    cr_assert_eq(out.calls, 1);
    cr_assert_eq(out.resp.status, 200);
    handler_response_release(&out.resp);
    admin_release(a);
}

Test(admin, mounted_handlers_get_every_method)
{
    admin_t *a = made(false);
    admin_mount(a, "/v1/purge", true, foreign, "exact");
    admin_mount(a, "/service/", false, foreign, "below");
    loopback = false;
    expect(a, "POST", "/v1/purge", 202, "exact");
    expect(a, "BREW", "/v1/purge", 202, "exact");
    expect(a, "GET", "/service/x/purge/a%2Fb/c", 202, "below");
    expect(a, "GET", "/service/", 202, "below");
    expect(a, "GET", "/service", 404, "none of the calls");
    expect(a, "POST", "/v1/purge/", 404, "none of the calls");
    admin_release(a);
}

Test(admin, unknown_paths_and_methods)
{
    admin_t *a = made(false);
    admin_route(a, &(admin_route_t){METHOD_GET, "/v1/both", ADMIN_OPEN, foreign, "g"});
    admin_route(a, &(admin_route_t){METHOD_POST, "/v1/both", ADMIN_OPEN, foreign, "p"});
    expect(a, "GET", "/nothing", 404, "/nothing");
    expect(a, "GET", "/v1", 404, "none of the calls");
    expect(a, "GET", "/<script>\"", 404, "\\\"");
    expect(a, "POST", "/metrics", 405, "GET, HEAD only");
    answer_t r = call(a, "DELETE", "/v1/both");
    cr_assert_eq(r.resp.status, 405);
    cr_assert_str_eq(extra(&r, "allow"), "GET, HEAD, POST");
    handler_response_release(&r.resp);
    r = call(a, "BREW", "/healthz");
    cr_assert_eq(r.resp.status, 405);
    cr_assert_str_eq(extra(&r, "allow"), "GET, HEAD");
    handler_response_release(&r.resp);
    char path[5000];
    memset(path, 'a', sizeof path);
    path[0] = '/';
    path[sizeof path - 1] = '\0';
    expect(a, "GET", path, 404, "aaa");
    admin_release(a);
}
