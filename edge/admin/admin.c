/* Find the route, ask whether the caller may, count the answer. A path that exists under another method is 405 with
 * Allow, whoever asks: which calls there are is no secret, they are documented. */
#include "edge/admin/admin.h"

#include <stdio.h>
#include <stdlib.h>

#include "edge/admin/dashboard.h"
#include "edge/base/check.h"
#include "edge/base/mem.h"
#include "edge/tbl/metrics.h"

typedef enum admin_how { ROUTED, MOUNTED, MOUNTED_EXACTLY } admin_how_t;

typedef struct admin_entry {
    admin_route_t route;
    admin_how_t how;
} admin_entry_t;

struct admin {
    admin_options_t options;
    admin_entry_t entries[ADMIN_ROUTES_MAX];
    size_t n;
};

/* ---- answers are counted, and completed, on their way out ---- */
typedef struct admin_reply {
    handler_reply_t reply;
    handler_reply_t *to;
} admin_reply_t;

static void admin_add(handler_response_t *resp, const char *name, const char *value)
{
    for (int i = 0; i < resp->extras; i++)
        if (strcmp(resp->extra_name[i], name) == 0)
            return;
    if (resp->extras < (int)(sizeof resp->extra_name / sizeof *resp->extra_name))
        handler_add(resp, name, value);
}

static void admin_send(handler_reply_t *r, handler_response_t *resp)
{
    admin_reply_t *mine = CONTAINER_OF(r, admin_reply_t, reply);
    handler_reply_t *to = mine->to;
    free(mine);
    admin_add(resp, "cache-control", "no-store");
    admin_add(resp, "cross-origin-resource-policy", "same-origin"); /* no page of another origin may take it in */
    metrics_add(METRIC_ADMIN_REQUESTS, metrics_status(resp->status), 1);
    to->send(to, resp);
}

/* ---- routes ---- */
bool admin_match(span_t pattern, span_t path)
{
    for (;;) {
        if (pattern.n == 0 || path.n == 0)
            return pattern.n == 0 && path.n == 0;
        if (pattern.p[0] != '/' || path.p[0] != '/')
            return false;
        pattern = span_from(pattern, 1);
        path = span_from(path, 1);
        if (span_eq(pattern, SPAN("::")))
            return path.n > 0;
        span_t want = span_upto(pattern, span_find(pattern, '/')), have = span_upto(path, span_find(path, '/'));
        if (span_eq(want, SPAN(":")) ? have.n == 0 : !span_eq(want, have))
            return false;
        pattern = span_from(pattern, want.n);
        path = span_from(path, have.n);
    }
}

void admin_route(admin_t *a, const admin_route_t *r)
{
    CHECK(a->n < ADMIN_ROUTES_MAX);
    a->entries[a->n++] = (admin_entry_t){*r, ROUTED};
}

void admin_mount(admin_t *a, const char *prefix, bool exact, handler_fn *handler, void *ctx)
{
    CHECK(a->n < ADMIN_ROUTES_MAX);
    a->entries[a->n++] = (admin_entry_t){.route = {METHOD_OTHER, prefix, ADMIN_SELF, handler, ctx},
                                         .how = exact ? MOUNTED_EXACTLY : MOUNTED};
}

static bool admin_at(const admin_entry_t *e, span_t path)
{
    span_t pattern = span_str(e->route.path);
    if (e->how == ROUTED)
        return admin_match(pattern, path);
    return e->how == MOUNTED ? span_starts(path, pattern) : span_eq(path, pattern);
}

static const char *admin_method_name(method_t m)
{
    switch (m) {
    case METHOD_GET:
        return "GET, HEAD";
    case METHOD_POST:
        return "POST";
    case METHOD_PUT:
        return "PUT";
    case METHOD_DELETE:
        return "DELETE";
    case METHOD_PURGE:
        return "PURGE";
    default:
        return NULL;
    }
}

/* 405 when the path is known under other methods, else 404. */
static void admin_none(const admin_t *a, const handler_request_t *req, handler_response_t *resp)
{
    char allow[64] = "";
    size_t n = 0;
    unsigned named = 0;
    for (size_t i = 0; i < a->n; i++) {
        const admin_route_t *r = &a->entries[i].route;
        const char *name = admin_method_name(r->method);
        if (name == NULL || (named >> r->method & 1) != 0 || !admin_at(&a->entries[i], req->path))
            continue;
        named |= 1u << r->method;
        n += (size_t)snprintf(allow + n, sizeof allow - n, "%s%s", n > 0 ? ", " : "", name);
        CHECK(n < sizeof allow);
    }
    if (n == 0) {
        handler_problem(resp, 404, "no such call", "%.*s is none of the calls of the admin API",
                        SPAN_ARG(span_upto(req->path, 200)));
        return;
    }
    handler_problem(resp, 405, "method not allowed", "this call is answered to %s only", allow);
    handler_add(resp, "allow", allow);
}

/* ---- who may ---- */
static bool admin_allowed(const admin_t *a, const handler_request_t *req, admin_scope_t scope, handler_response_t *resp)
{
    if (scope == ADMIN_OPEN || scope == ADMIN_SELF)
        return true;
    const char *needs = scope == ADMIN_READ ? "read" : "purge";
    if (a->options.authorize == NULL) {
        if (scope == ADMIN_READ && req->peer_loopback)
            return true;
        handler_problem(resp, 403, "no tokens are configured",
                        "without admin.tokens this API is read-only, and for this machine only, by its address or as "
                        "localhost; add a token that allows \"%s\"",
                        needs);
        return false;
    }
    switch (a->options.authorize(a->options.authorize_ctx, req, scope)) {
    case ADMIN_ALLOWED:
        return true;
    case ADMIN_OUT_OF_SCOPE:
        handler_problem(resp, 403, "out of scope", "the token is known, but it does not allow \"%s\"", needs);
        return false;
    case ADMIN_TOO_MANY:
        handler_problem(resp, 429, "too many wrong tokens", "try again in a second");
        handler_add(resp, "retry-after", "1");
        return false;
    case ADMIN_NO_TOKEN:
        handler_problem(resp, 401, "a token is needed",
                        "send \"Authorization: Bearer TOKEN\" with a token that allows \"%s\"", needs);
        break;
    default:
        handler_problem(resp, 401, "unknown token", "the token is none of admin.tokens");
    }
    handler_add(resp, "www-authenticate", "Bearer realm=\"brink\"");
    return false;
}

void admin_handle(void *ctx, const handler_request_t *req, handler_reply_t *reply)
{
    admin_t *a = ctx;
    admin_reply_t *mine = mem_alloc(sizeof *mine);
    mine->reply.send = admin_send;
    mine->to = reply;
    handler_response_t resp = {.status = 0};
    method_t method = req->method == METHOD_HEAD ? METHOD_GET : req->method;
    for (size_t i = 0; i < a->n; i++) {
        const admin_route_t *r = &a->entries[i].route;
        if ((a->entries[i].how == ROUTED && r->method != method) || !admin_at(&a->entries[i], req->path))
            continue;
        if (admin_allowed(a, req, r->scope, &resp))
            r->handler(r->ctx, req, &mine->reply);
        else
            mine->reply.send(&mine->reply, &resp);
        return;
    }
    admin_none(a, req, &resp);
    mine->reply.send(&mine->reply, &resp);
}

/* ---- the node's own calls ---- */
static void admin_healthz(void *ctx, const handler_request_t *req, handler_reply_t *reply)
{
    (void)ctx, (void)req;
    handler_response_t resp = {.status = 0};
    handler_text(&resp, 200, "text/plain; charset=utf-8", "ok\n", 3);
    reply->send(reply, &resp);
}

static void admin_readyz(void *ctx, const handler_request_t *req, handler_reply_t *reply)
{
    (void)req;
    const admin_t *a = ctx;
    handler_response_t resp = {.status = 0};
    if (a->options.status.ready(a->options.status.ctx))
        handler_text(&resp, 200, "text/plain; charset=utf-8", "ready\n", 6);
    else {
        handler_problem(&resp, 503, "not ready",
                        "the purge log has not been caught up with; stored responses are validated until then");
        handler_add(&resp, "retry-after", "1");
    }
    reply->send(reply, &resp);
}

static void admin_metrics(void *ctx, const handler_request_t *req, handler_reply_t *reply)
{
    (void)ctx, (void)req;
    handler_response_t resp = {.status = 200, .content_type = METRICS_CONTENT_TYPE};
    resp.body = metrics_export_text(&resp.body_len);
    reply->send(reply, &resp);
}

static void admin_status(void *ctx, const handler_request_t *req, handler_reply_t *reply)
{
    (void)req;
    const admin_t *a = ctx;
    arena_t arena;
    arena_init(&arena, 0);
    status_t s = {.version = BRINK_VERSION};
    a->options.status.fill(a->options.status.ctx, &s, &arena);
    handler_response_t resp = {.status = 200, .content_type = "application/json"};
    resp.body = status_json(&s, &resp.body_len);
    arena_release(&arena);
    reply->send(reply, &resp);
}

admin_t *admin_new(const admin_options_t *o)
{
    admin_t *a = mem_zalloc(sizeof *a);
    a->options = *o;
    const admin_route_t own[] = {
        {METHOD_GET, "/", ADMIN_OPEN, dashboard_page, NULL},
        {METHOD_GET, "/healthz", ADMIN_OPEN, admin_healthz, NULL},
        {METHOD_GET, "/readyz", ADMIN_OPEN, admin_readyz, a},
        {METHOD_GET, "/metrics", ADMIN_OPEN, admin_metrics, NULL},
        {METHOD_GET, "/v1/status", ADMIN_READ, admin_status, a},
    };
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        admin_route(a, &own[i]);
    return a;
}

void admin_release(admin_t *a)
{
    free(a);
}
