/* The purge calls of two CDNs, so that clients and plugins written for them work when pointed here. A zone or service
 * ID names nothing here: the token decides what may be purged. */
#include <stdlib.h>

#include "purge/api_priv.h"

/* ---- Cloudflare: POST /client/v4/zones/ZONE/purge_cache; some clients still send DELETE ---- */

static span_t compat_rest(span_t path, size_t at)
{
    for (size_t i = 0; i <= at; i++)
        path = span_from(path, span_find(path, '/') + 1);
    return path;
}

static span_t compat_segment(span_t path, size_t at)
{
    path = compat_rest(path, at);
    return span_upto(path, span_find(path, '/'));
}

static void compat_cloudflare_fail(api_call_t *c, int status, const char *title, const char *detail)
{
    int code = status == 401 || status == 403 ? 10000 : status == 429 ? 10429 : 1012;
    json_t *message = json_sprintf("%s: %s", title, detail);
    json_t *body = json_pack("{s:b, s:[{s:i, s:o}], s:[], s:n}", "success", 0, "errors", "code", code, "message",
                             message != NULL ? message : json_string(title), "messages", "result");
    api_reply_json(c, status, "application/json", body);
}

static void compat_cloudflare_done(api_call_t *c, const purge_outcome_t *o)
{
    api_reply_json(c, 200, "application/json",
                   json_pack("{s:b, s:[], s:[], s:{s:s}}", "success", 1, "errors", "messages", "result", "id", o->id));
}

static const api_dialect_t compat_as_cloudflare = {compat_cloudflare_done, compat_cloudflare_fail};

/* "files" may hold objects {"url": …, "headers": …}: variants are covered anyway. */
static char *compat_flatten_files(span_t body)
{
    json_t *root = json_loadb(body.p != NULL ? body.p : "", body.n, JSON_REJECT_DUPLICATES, NULL), *item;
    json_t *files = json_is_object(root) ? json_object_get(root, "files") : NULL;
    size_t i;
    json_array_foreach(files, i, item)
    {
        json_t *url = json_is_object(item) ? json_object_get(item, "url") : NULL;
        if (json_is_string(url))
            json_array_set(files, i, url);
    }
    char *text = root != NULL ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    return text;
}

void compat_cloudflare(void *ctx, const handler_request_t *req, handler_reply_t *reply)
{
    api_call_t *c = api_begin(ctx, req, reply, &compat_as_cloudflare);
    if (!span_eq(compat_segment(req->path, 4), SPAN("purge_cache")) || compat_segment(req->path, 3).n == 0) {
        api_fail(c, 404, "Not found", "POST /client/v4/zones/ZONE/purge_cache is what there is");
        return;
    }
    bool deletes = req->method == METHOD_DELETE;
    if ((!deletes && !api_method(c, METHOD_POST, "POST")) || !api_allowed(c, AUTH_PURGE) || !api_body_is_json(c))
        return;
    message_error_t bad;
    char *flat = req->body.n <= MESSAGE_MAX_BYTES ? compat_flatten_files(req->body) : NULL;
    err_t e =
        message_parse(flat != NULL ? span_str(flat) : req->body, MESSAGE_FROM_CLIENT, &c->arena, &c->message, &bad);
    free(flat);
    if (e != ERR_OK) {
        api_fail(c, bad.status == 422 ? 400 : bad.status, "Invalid purge request", "%s", bad.text);
        return;
    }
    c->message.wait = MESSAGE_WAIT_NONE;
    api_submit(c);
}

/* ---- Fastly: POST /service/ID/purge… ---- */

static void compat_fastly_fail(api_call_t *c, int status, const char *title, const char *detail)
{
    json_t *d = json_string(detail);
    api_reply_json(c, status, "application/json",
                   json_pack("{s:s, s:o}", "msg", title, "detail", d != NULL ? d : json_null()));
}

static void compat_fastly_done(api_call_t *c, const purge_outcome_t *o)
{
    bool batch = span_eq(compat_segment(c->req->path, 2), SPAN("purge")) && compat_segment(c->req->path, 3).n == 0;
    json_t *body = json_object();
    for (size_t i = 0; batch && i < c->message.tags.n; i++) {
        json_object_set_new(body, c->message.tags.v[i].p, json_string(o->id)); /* arena_copy: has a NUL */
    }
    if (!batch) {
        json_object_set_new(body, "status", json_string("ok"));
        json_object_set_new(body, "id", json_string(o->id));
    }
    api_reply_json(c, 200, "application/json", body);
}

static const api_dialect_t compat_as_fastly = {compat_fastly_done, compat_fastly_fail};

static bool compat_fastly_keys(api_call_t *c)
{
    const handler_request_t *req = c->req;
    span_t v;
    for (size_t i = 0; fields_next(req->fields, SPAN("surrogate-key"), &i, &v);)
        api_add_words(c, &c->message.tags, v);
    if (c->message.tags.n > 0)
        return true;
    json_t *root = json_loadb(req->body.p != NULL ? req->body.p : "",
                              req->body.n <= MESSAGE_MAX_BYTES ? req->body.n : 0, 0, NULL),
           *item;
    json_t *keys = json_is_object(root) ? json_object_get(root, "surrogate_keys") : NULL;
    size_t i, n = json_array_size(keys);
    bool ok = n > 0 && n <= MESSAGE_MAX_VALUES;
    message_list_t *l = &c->message.tags;
    l->v = arena_alloc(&c->arena, (ok ? n : 1) * sizeof *l->v);
    json_array_foreach(keys, i, item)
    {
        ok = ok && json_is_string(item);
        if (ok)
            l->v[l->n++] = arena_copy(&c->arena, span_of(json_string_value(item), json_string_length(item)));
    }
    json_decref(root);
    if (!ok)
        api_fail(c, 400, "Bad request", "name the keys in Surrogate-Key, or as {\"surrogate_keys\": [\"key\", …]}");
    return ok;
}

static int compat_hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* Clients write a key as a segment of a path; what isn't percent-encoding stands for itself. */
static span_t compat_decode(arena_t *a, span_t s)
{
    char *out = arena_alloc(a, s.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        int hi = s.p[i] == '%' && i + 2 < s.n ? compat_hex(s.p[i + 1]) : -1, lo = hi >= 0 ? compat_hex(s.p[i + 2]) : -1;
        out[n++] = lo >= 0 ? (char)(hi << 4 | lo) : s.p[i];
        i += lo >= 0 ? 2 : 0;
    }
    return span_of(out, n);
}

/* "https://host/path" may have lost a slash on its way, as a path. */
void compat_fastly_url(void *ctx, const handler_request_t *req, handler_reply_t *reply)
{
    api_call_t *c = api_begin(ctx, req, reply, &compat_as_fastly);
    if (!api_method(c, METHOD_POST, "POST") || !api_allowed(c, AUTH_PURGE))
        return;
    span_t url = compat_rest(req->path, 1), scheme = SPAN("http");
    size_t colon = span_find(url, ':');
    if (colon + 1 < url.n && url.p[colon + 1] == '/') {
        scheme = span_upto(url, colon);
        url = span_from(url, colon + 1);
        while (url.n > 0 && url.p[0] == '/')
            url = span_from(url, 1);
    }
    c->message.soft = span_eq(fields_get(req->fields, SPAN("fastly-soft-purge")), SPAN("1"));
    api_add_value(c, &c->message.urls,
                  arena_printf(&c->arena, "%.*s://%.*s%s%.*s", SPAN_ARG(scheme), SPAN_ARG(url),
                               req->query.p != NULL ? "?" : "", SPAN_ARG(req->query)));
    api_submit(c);
}

void compat_fastly(void *ctx, const handler_request_t *req, handler_reply_t *reply)
{
    api_call_t *c = api_begin(ctx, req, reply, &compat_as_fastly);
    span_t verb = compat_segment(req->path, 2), key = compat_rest(req->path, 3);
    bool all = span_eq(verb, SPAN("purge_all")) && key.n == 0, one = span_eq(verb, SPAN("purge")) && key.n > 0;
    if (!all && !span_eq(verb, SPAN("purge"))) {
        api_fail(c, 404, "Record not found",
                 "POST /service/ID/purge/KEY, /service/ID/purge and /service/ID/purge_all is what there is");
        return;
    }
    if (!api_method(c, METHOD_POST, "POST") || !api_allowed(c, AUTH_PURGE))
        return;
    c->message.soft = span_eq(fields_get(req->fields, SPAN("fastly-soft-purge")), SPAN("1"));
    c->message.everything = all;
    if (one)
        api_add_value(c, &c->message.tags, compat_decode(&c->arena, key));
    else if (!all && !compat_fastly_keys(c))
        return;
    api_submit(c);
}
