/* From a request to a message, from an outcome to an answer. The order of refusals is that of the trust they need:
 * method, token, form, content, rate. */
#include "purge/api.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "edge/base/clock.h"
#include "edge/base/log.h"
#include "edge/base/mem.h"
#include "edge/tbl/metrics.h"
#include "purge/api_priv.h"

enum { API_AUDIT_BYTES = 1024, API_DIGITS = 15 /* of a number: all that a double surely has */ };

const api_route_t api_routes[] = {
    {"/v1/purge", true, api_purge},
    {"/v1/purge/", false, api_receipt},
    {"/client/v4/zones/", false, compat_cloudflare},
    {"/purge/", false, compat_fastly_url},
    {"/service/", false, compat_fastly},
};
const size_t api_routes_n = sizeof api_routes / sizeof *api_routes;

/* ---- a call ---- */

api_call_t *api_begin(api_t *api, const handler_request_t *req, handler_reply_t *reply, const api_dialect_t *dialect)
{
    api_call_t *c = mem_zalloc(sizeof *c);
    *c = (api_call_t){.api = api, .req = req, .reply = reply, .dialect = dialect, .message = {.timeout = -1}};
    arena_init(&c->arena, 0);
    return c;
}

void api_reply(api_call_t *c, handler_response_t *r)
{
    handler_reply_t *reply = c->reply;
    arena_release(&c->arena);
    free(c);
    reply->send(reply, r);
}

/* What HTTP wants beside some status codes (RFC 9110 11.6.1, 15.5.6), whatever the dialect. */
static void api_status_fields(const api_call_t *c, handler_response_t *r)
{
    if (r->status == 401)
        handler_add(r, "www-authenticate", "Bearer");
    if (r->status == 405)
        handler_add(r, "allow", c->allow);
    if (r->status == 429 || r->status == 503)
        handler_add(r, "retry-after", "1");
}

void api_reply_json(api_call_t *c, int status, const char *content_type, json_t *body)
{
    handler_response_t r = {.status = status};
    api_status_fields(c, &r);
    char *text = json_dumps(body, JSON_COMPACT | JSON_REAL_PRECISION(API_DIGITS));
    json_decref(body);
    handler_text(&r, status, content_type, text != NULL ? text : "{}", text != NULL ? strlen(text) : 2);
    free(text);
    api_reply(c, &r);
}

static unsigned api_refusal(int status)
{
    return status == 401   ? LABEL_REFUSAL_TOKEN
           : status == 403 ? LABEL_REFUSAL_SCOPE
           : status == 429 ? LABEL_REFUSAL_RATE
           : status == 503 ? LABEL_REFUSAL_UNAVAILABLE
                           : LABEL_REFUSAL_SYNTAX;
}

void api_fail(api_call_t *c, int status, const char *title, const char *fmt, ...)
{
    char detail[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(detail, sizeof detail, fmt, ap);
    va_end(ap);
    if (c->req->method != METHOD_GET) /* a receipt is no purge */
        metrics_add(METRIC_PURGE_REFUSED, api_refusal(status), 1);
    c->dialect->fail(c, status, title, detail);
}

bool api_method(api_call_t *c, method_t method, const char *allow)
{
    if (c->req->method == method)
        return true;
    c->allow = allow;
    api_fail(c, 405, "Method not allowed", "use %s", allow);
    return false;
}

bool api_allowed(api_call_t *c, unsigned need)
{
    int status = auth_check(c->api->auth, c->req, need, clock_now().boot, &c->arena, &c->who);
    if (status == 401)
        api_fail(c, 401, "Unauthorized", "send a known token as \"Authorization: Bearer TOKEN\"");
    else if (status == 403)
        api_fail(c, 403, "Forbidden",
                 c->who.name[0] != '\0' && strcmp(c->who.name, "loopback") != 0
                     ? "this token is not allowed to do this"
                     : "no tokens are configured: set admin.tokens");
    else if (status == 429)
        api_fail(c, 429, "Too many wrong tokens", "they came from this address; try again in a second");
    return status == 200;
}

bool api_body_is_json(api_call_t *c)
{
    span_t type = fields_get(c->req->fields, SPAN("content-type"));
    span_t media = span_trim(span_upto(type, span_find(type, ';')));
    if (type.p == NULL || span_caseeq(media, SPAN("application/json")) ||
        (media.n > 5 && span_caseeq(span_from(media, media.n - 5), SPAN("+json"))))
        return true;
    api_fail(c, 415, "Unsupported media type", "send the body as application/json");
    return false;
}

void api_add_value(api_call_t *c, message_list_t *l, span_t v)
{
    span_t *all =
        arena_alloc(&c->arena, (l->n + 1) * sizeof *all); /* headers are short: growing by one is good enough */
    if (l->n > 0)
        memcpy(all, l->v, l->n * sizeof *all);
    all[l->n] = arena_copy(&c->arena, v);
    l->v = all;
    l->n++;
}

void api_add_words(api_call_t *c, message_list_t *l, span_t words)
{
    while (words.n > 0) {
        size_t n = span_find(words, ' ');
        span_t w = span_trim(span_upto(words, n));
        words = span_from(words, n + 1);
        if (w.n > 0)
            api_add_value(c, l, w);
    }
}

/* ---- scope ---- */

static bool api_in_scope(api_call_t *c, span_t what, span_t uri, bool whole_host)
{
    size_t slash = span_find(uri, '/');
    /* a prefix that ends within the host may name another one as well */
    if ((whole_host || slash < uri.n) && auth_covers(&c->who, span_upto(uri, slash)))
        return true;
    api_fail(c, 403, "Forbidden", "token %s may not purge \"%.*s\"", c->who.name, (int)(what.n < 200 ? what.n : 200),
             what.p);
    return false;
}

static bool api_limit(api_call_t *c)
{
    message_t *m = &c->message;
    if (c->who.sites_n == 0)
        return true;
    for (size_t i = 0; i < m->urls.n; i++) {
        span_t uri;
        digest_t digest;
        if (purge_normalise(c->api->purge, &c->arena, m->urls.v[i], &uri, &digest) != ERR_OK)
            continue; /* said later, as what it is */
        if (!api_in_scope(c, m->urls.v[i], uri, true))
            return false;
    }
    for (size_t i = 0; i < m->prefixes.n; i++)
        if (!api_in_scope(c, m->prefixes.v[i], m->prefixes.v[i], false))
            return false;
    for (size_t i = 0; i < m->hosts.n; i++)
        if (!api_in_scope(c, m->hosts.v[i], m->hosts.v[i], true))
            return false;
    if (m->tags.n > 0 || m->everything)
        m->sites = (message_list_t){c->who.sites, c->who.sites_n};
    return true;
}

/* ---- submitting ---- */

static void api_done(void *ctx, const purge_outcome_t *o)
{
    api_call_t *c = ctx;
    if (o->err == ERR_IO)
        api_fail(c, 503, "The purge is in force, but not durable",
                 "the journal of node %s can't be written; the purge may be lost when it restarts",
                 purge_node(c->api->purge));
    else if (o->err == ERR_CLOSED)
        api_fail(c, 503, "Shutting down", "ask another node");
    else
        c->dialect->done(c, o);
}

static void api_audit(api_call_t *c)
{
    size_t n = 0;
    char *json = message_format(&c->message, &n);
    if (json != NULL)
        log_info("audit: purge by token %s from %.*s: %.*s%s", c->who.name, SPAN_ARG(c->req->peer),
                 (int)(n < API_AUDIT_BYTES ? n : API_AUDIT_BYTES), json, n > API_AUDIT_BYTES ? "…" : "");
    free(json);
}

void api_submit(api_call_t *c)
{
    message_error_t bad;
    char value[256];
    if (message_validate(&c->message, &bad) != ERR_OK) {
        api_fail(c, bad.status, bad.status == 413 ? "Too large" : "Not a purge", "%s", bad.text);
        return;
    }
    if (!api_limit(c))
        return;
    if (auth_rate(c->api->auth, &c->who, clock_now().boot) > 0) {
        api_fail(c, 429, "Too many purges", "token %s purges more than %d times a second", c->who.name, AUTH_RATE);
        return;
    }
    api_audit(c); /* before: the call may be over when purge_submit returns */
    err_t e = purge_submit(c->api->purge, &c->message, api_done, c, value, sizeof value);
    if (e == ERR_RANGE)
        api_fail(c, 422, "Not a purge", "\"%s\" can't be the URL of anything", value);
    else if (e == ERR_TOO_BIG)
        api_fail(c, 413, "Too large", "send it in several calls");
    else if (e != ERR_OK)
        api_fail(c, 503, "Not now",
                 e == ERR_AGAIN ? "too many purges wait for Redis; nothing was purged" : "the node is shutting down");
}

/* ---- brink's own dialect ---- */

static void api_own_fail(api_call_t *c, int status, const char *title, const char *detail)
{
    handler_response_t r = {.status = status};
    handler_problem(&r, status, title, "%s", detail);
    api_status_fields(c, &r);
    api_reply(c, &r);
}

static void api_put_nodes(json_t *body, const purge_outcome_t *o)
{
    json_t *nodes = json_array(), *missing = json_array(), *absent = json_array();
    for (size_t i = 0; i < o->nodes_n; i++) {
        const purge_node_state_t *s = &o->nodes[i];
        if (s->applied_ms >= 0)
            json_array_append_new(
                nodes, json_pack("{s:s, s:f}", "node", s->name, "applied_ms", round(s->applied_ms * 1000) / 1000));
        else
            json_array_append_new(s->live ? missing : absent, json_string(s->name));
    }
    json_object_set_new(body, "nodes", nodes);
    json_object_set_new(body, "missing", missing);
    if (json_array_size(absent) > 0)
        json_object_set_new(body, "absent", absent);
    else
        json_decref(absent);
}

static json_t *api_outcome(const purge_outcome_t *o)
{
    json_t *body = json_pack("{s:s, s:I, s:s}", "id", o->id, "sequence", (json_int_t)o->sequence, "durable",
                             o->in_redis ? "redis" : "journal");
    if (o->pending)
        json_object_set_new(body, "pending", json_true());
    return body;
}

static void api_own_done(api_call_t *c, const purge_outcome_t *o)
{
    json_t *body = api_outcome(o);
    bool waited = c->message.wait != MESSAGE_WAIT_NONE;
    if (waited)
        api_put_nodes(body, o);
    if (o->err == ERR_TIMEOUT) {
        json_object_set_new(body, "title", json_string("Not every node has applied the purge in time"));
        json_object_set_new(body, "status", json_integer(504));
        json_object_set_new(
            body, "detail",
            json_string(
                "it is in force here and stays so; the missing nodes apply it as soon as they read the stream"));
        api_reply_json(c, 504, "application/problem+json", body);
        return;
    }
    if (json_array_size(json_object_get(body, "missing")) == 0)
        json_object_del(body, "missing");
    api_reply_json(c, waited ? 200 : 202, "application/json", body);
}

static const api_dialect_t api_own = {api_own_done, api_own_fail};

void api_purge(void *ctx, const handler_request_t *req, handler_reply_t *reply)
{
    api_call_t *c = api_begin(ctx, req, reply, &api_own);
    message_error_t bad;
    if (!api_method(c, METHOD_POST, "POST") || !api_allowed(c, AUTH_PURGE) || !api_body_is_json(c))
        return;
    if (req->query.n > 0) { /* who writes ?soft=true must not get a hard purge */
        api_fail(c, 400, "Malformed request", "there are no parameters: all of a purge stands in the body");
        return;
    }
    if (message_parse(req->body, MESSAGE_FROM_CLIENT, &c->arena, &c->message, &bad) != ERR_OK) {
        api_fail(c, bad.status,
                 bad.status == 400   ? "Malformed request"
                 : bad.status == 413 ? "Too large"
                                     : "Not a purge",
                 "%s", bad.text);
        return;
    }
    api_submit(c);
}

/* ---- receipts ---- */

static void api_receipt_done(void *ctx, const purge_outcome_t *o)
{
    api_call_t *c = ctx;
    if (o->err != ERR_OK) {
        if (o->err == ERR_NOT_FOUND)
            api_fail(c, 404, "Unknown purge", "this node knows no purge with this ID");
        else
            api_fail(c, 503, "Not now", "the node is shutting down or overloaded");
        return;
    }
    json_t *body = api_outcome(o);
    json_object_set_new(body, "accepted_at", json_integer(o->accepted_wall));
    api_put_nodes(body, o);
    api_reply_json(c, 200, "application/json", body);
}

void api_receipt(void *ctx, const handler_request_t *req, handler_reply_t *reply)
{
    static const span_t prefix = {"/v1/purge/", 10};
    api_call_t *c = api_begin(ctx, req, reply, &api_own);
    if (!api_method(c, METHOD_GET, "GET") || !api_allowed(c, AUTH_READ))
        return;
    span_t id = span_starts(req->path, prefix) ? span_from(req->path, prefix.n) : SPAN_NONE;
    if (id.n == 0 || id.n >= PURGE_ID_MAX) {
        api_fail(c, 404, "Unknown purge", "GET /v1/purge/ID, with the \"id\" that POST /v1/purge gave");
        return;
    }
    purge_receipt(c->api->purge, id, api_receipt_done, c);
}

/* ---- PURGE on traffic listeners ---- */

static void api_method_done(api_call_t *c, const purge_outcome_t *o)
{
    api_reply_json(c, 200, "application/json", json_pack("{s:s, s:s}", "status", "ok", "id", o->id));
}

static const api_dialect_t api_by_method = {api_method_done, api_own_fail};

void api_purge_method(void *ctx, const handler_request_t *req, handler_reply_t *reply)
{
    api_call_t *c = api_begin(ctx, req, reply, &api_by_method);
    if (!api_allowed(c, AUTH_PURGE))
        return;
    message_t *m = &c->message;
    m->soft = span_eq(fields_get(req->fields, SPAN("fastly-soft-purge")), SPAN("1"));
    span_t v;
    for (size_t i = 0; fields_next(req->fields, SPAN("surrogate-key"), &i, &v);)
        api_add_words(c, &m->tags, v);
    for (size_t i = 0; fields_next(req->fields, SPAN("xkey"), &i, &v);)
        api_add_words(c, &m->tags, v);
    if (m->tags.n == 0)
        api_add_value(c, &m->urls,
                      arena_printf(&c->arena, "%.*s://%.*s%.*s%s%.*s", SPAN_ARG(req->scheme), SPAN_ARG(req->host),
                                   SPAN_ARG(req->path), req->query.p != NULL ? "?" : "", SPAN_ARG(req->query)));
    api_submit(c);
}
