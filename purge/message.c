/* Reading is strict and complete before anything is applied: a purge is done as written or not at all. Writing is
 * canonical (fixed order of members, values in the order given), because nodes recognise a message that they have
 * already heard by its bytes. */
#include "purge/message.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "edge/base/utf8.h"
#include "edge/http/uri.h"
#include "edge/policy/key.h"
#include "edge/policy/tags.h"

const char *const message_kind_names[MESSAGE_KINDS] = {"url", "tag", "prefix", "host", "everything", "gap"};

enum { MESSAGE_MAX_TIMEOUT = 600 * MSEC_PER_SEC, MESSAGE_MAX_HOST = 260 };

__attribute__((format(printf, 4, 5))) static err_t message_fail(message_error_t *err, err_t e, int status,
                                                                const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    err->status = status;
    vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    return e;
}

/* ---- what a value may be ---- */

static bool message_printable(span_t s)
{
    return s.n > 0 && utf8_printable(s); /* JSON carries nothing else */
}

static bool message_host_valid(span_t s)
{
    char normal[MESSAGE_MAX_HOST + URI_HOST_SLACK];
    size_t n;
    return s.n <= MESSAGE_MAX_HOST && uri_normalise_host(s, SPAN_NONE, normal, sizeof normal, &n) == ERR_OK;
}

static bool message_url(span_t s)
{
    return (s.n > 7 && span_caseeq(span_upto(s, 7), SPAN("http://"))) ||
           (s.n > 8 && span_caseeq(span_upto(s, 8), SPAN("https://")));
}

static bool message_pattern_valid(span_t s)
{
    return span_eq(s, SPAN("*")) || message_host_valid(span_starts(s, SPAN("*.")) ? span_from(s, 2) : s);
}

static err_t message_validate_list(const message_list_t *l, const char *what, bool (*ok)(span_t), size_t most,
                                   const char *right, message_error_t *err)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->v[i].n > most || !message_printable(l->v[i]) || (ok != NULL && !ok(l->v[i])))
            return message_fail(err, ERR_RANGE, 422, "%s[%zu] \"%.*s\" can't be: %s", what, i,
                                (int)(l->v[i].n < 80 ? l->v[i].n : 80), l->v[i].p, right);
    return ERR_OK;
}

err_t message_validate(const message_t *m, message_error_t *err)
{
    err_t e;
    if ((e = message_validate_list(&m->urls, "urls", message_url, KEY_MAX_URI, "an absolute http:// or https:// URL",
                                   err)) != ERR_OK ||
        (e = message_validate_list(&m->tags, "tags", NULL, TAG_MAX_BYTES,
                                   "a tag has 1 to 1024 bytes of UTF-8 without control characters", err)) != ERR_OK ||
        (e = message_validate_list(&m->prefixes, "prefixes", NULL, 3 * KEY_MAX_URI, "the beginning of host/path?query",
                                   err)) != ERR_OK ||
        (e = message_validate_list(&m->hosts, "hosts", message_host_valid, MESSAGE_MAX_HOST,
                                   "a host name, with or without port", err)) != ERR_OK ||
        (e = message_validate_list(&m->sites, "sites", message_pattern_valid, MESSAGE_MAX_HOST,
                                   "a host name, *.name or *", err)) != ERR_OK)
        return e;
    if (m->urls.n + m->tags.n + m->prefixes.n + m->hosts.n > MESSAGE_MAX_VALUES)
        return message_fail(err, ERR_TOO_BIG, 413, "more than %d values", MESSAGE_MAX_VALUES);
    if (m->sites.n > MESSAGE_MAX_SITES)
        return message_fail(err, ERR_TOO_BIG, 413, "more than %d sites", MESSAGE_MAX_SITES);
    if (m->urls.n + m->tags.n + m->prefixes.n + m->hosts.n == 0 && !m->everything && !m->gap)
        return message_fail(err, ERR_RANGE, 422,
                            "no selector: one of urls, tags, prefixes, hosts, everything is needed");
    return ERR_OK;
}

/* ---- normal forms, as in keys ---- */

static span_t message_lower(arena_t *a, span_t s)
{
    span_t c = arena_copy(a, s);
    for (size_t i = 0; c.p != NULL && i < c.n; i++)
        ((char *)c.p)[i] = span_lower(c.p[i]);
    return c;
}

/* What can't be a host stays as it is, and is refused by its name. */
static span_t message_normal_host(arena_t *a, span_t s)
{
    size_t cap = s.n + URI_HOST_SLACK, n = 0;
    char *p = arena_alloc(a, cap);
    return p != NULL && uri_normalise_host(s, SPAN_NONE, p, cap, &n) == ERR_OK ? span_of(p, n) : s;
}

static span_t message_normal_site(arena_t *a, span_t s)
{
    if (!span_starts(s, SPAN("*.")))
        return message_normal_host(a, s);
    span_t name = message_normal_host(a, span_from(s, 2));
    return arena_printf(a, "*.%.*s", SPAN_ARG(name));
}

/* Bytes at the end of `s` that begin a percent-encoding and don't finish it: a prefix may end anywhere. */
static size_t message_cut_escape(span_t s)
{
    for (size_t n = 1; n <= 2 && n <= s.n; n++)
        if (s.p[s.n - n] == '%')
            return n;
    return 0;
}

/* The beginning of host/path?query in normal form, or it would match nothing. Dot segments go where they are whole. */
static err_t message_normal_prefix(arena_t *a, span_t s, span_t *out)
{
    if (message_url(s))
        s = span_from(s, span_find(s, '/') + 2);
    size_t slash = span_find(s, '/'), cut = message_cut_escape(span_from(s, slash)), n = 0;
    if (slash == s.n) { /* within the host */
        *out = message_lower(a, s);
        return ERR_OK;
    }
    span_t host = message_normal_host(a, span_upto(s, slash)), rest = span_from(s, slash);
    char *p = arena_alloc(a, host.n + 3 * rest.n);
    if (p == NULL)
        return ERR_TOO_BIG;
    memcpy(p, host.p, host.n);
    char *path = p + host.n;
    err_t e = uri_normalise_percent(span_upto(rest, rest.n - cut), path, 3 * rest.n, &n);
    if (e != ERR_OK || !message_host_valid(host))
        return ERR_SYNTAX;
    size_t mark = span_find(span_of(path, n), '?'), whole = mark;
    while (mark == n && path[whole - 1] != '/')
        whole--;
    size_t left = uri_remove_dot_segments(path, whole);
    memmove(path + left, path + whole, n - whole);
    n = left + n - whole;
    for (size_t i = rest.n - cut; i < rest.n; i++) {
        char c = rest.p[i];
        path[n++] = c >= 'a' && c <= 'f' ? (char)(c - 'a' + 'A') : c;
    }
    *out = span_of(p, host.n + n);
    return ERR_OK;
}

/* ---- JSON to message ---- */

static err_t message_read_list(const json_t *v, const char *name, arena_t *a, message_list_t *out, message_error_t *err)
{
    size_t n = json_array_size(v), i;
    json_t *item;
    if (!json_is_array(v))
        return message_fail(err, ERR_RANGE, 422, "\"%s\" must be a list of strings", name);
    if (out->n + n > MESSAGE_MAX_VALUES)
        return message_fail(err, ERR_TOO_BIG, 413, "more than %d values", MESSAGE_MAX_VALUES);
    span_t *all = arena_alloc(a, (out->n + n) * sizeof *all);
    if (all == NULL)
        return message_fail(err, ERR_TOO_BIG, 413, "too large");
    if (out->n > 0)
        memcpy(all, out->v, out->n * sizeof *all); /* "urls" and "files" may both stand there */
    json_array_foreach((json_t *)v, i, item)
    {
        if (!json_is_string(item))
            return message_fail(err, ERR_RANGE, 422, "\"%s\" must be a list of strings, [%zu] is none", name, i);
        all[out->n] = arena_copy(a, span_of(json_string_value(item), json_string_length(item)));
        if (all[out->n++].p == NULL)
            return message_fail(err, ERR_TOO_BIG, 413, "too large");
    }
    out->v = all;
    return ERR_OK;
}

static err_t message_read_bool(const json_t *v, const char *name, bool *out, message_error_t *err)
{
    if (!json_is_boolean(v))
        return message_fail(err, ERR_RANGE, 422, "\"%s\" must be true or false", name);
    *out = *out || json_is_true(v);
    return ERR_OK;
}

static err_t message_read_wait(const json_t *v, message_wait_t *out, message_error_t *err)
{
    static const char *const words[] = {"none", "local", "fleet"};
    for (int i = 0; i < 3; i++)
        if (json_is_string(v) && strcmp(json_string_value(v), words[i]) == 0) {
            *out = (message_wait_t)i;
            return ERR_OK;
        }
    return message_fail(err, ERR_RANGE, 422, "\"wait\" must be \"none\", \"local\" or \"fleet\"");
}

static err_t message_read_timeout(const json_t *v, msec_t *out, message_error_t *err)
{
    const char *s = json_is_string(v) ? json_string_value(v) : "";
    char *end;
    errno = 0;
    long long n = strtoll(s, &end, 10);
    msec_t unit = strcmp(end, "ms") == 0  ? 1
                  : strcmp(end, "s") == 0 ? MSEC_PER_SEC
                  : strcmp(end, "m") == 0 ? 60 * MSEC_PER_SEC
                                          : 0;
    if (s[0] < '0' || s[0] > '9' || errno != 0 || unit == 0 || n > MESSAGE_MAX_TIMEOUT / unit)
        return message_fail(err, ERR_RANGE, 422, "\"timeout\" must be a duration up to 10m, as \"500ms\" or \"2s\"");
    *out = n * unit;
    return ERR_OK;
}

static err_t message_read_member(const char *name, const json_t *v, message_from_t from, arena_t *a, message_t *out,
                                 message_error_t *err)
{
    struct {
        const char *name;
        message_list_t *list;
        bool *flag;
        bool stream_only;
    } known[] = {{"urls", &out->urls, NULL, false},   {"files", &out->urls, NULL, false},
                 {"tags", &out->tags, NULL, false},   {"prefixes", &out->prefixes, NULL, false},
                 {"hosts", &out->hosts, NULL, false}, {"everything", NULL, &out->everything, false},
                 {"soft", NULL, &out->soft, false},   {"purge_everything", NULL, &out->everything, false},
                 {"sites", &out->sites, NULL, true},  {"gap", NULL, &out->gap, true}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(name, known[i].name) == 0 && !(known[i].stream_only && from == MESSAGE_FROM_CLIENT))
            return known[i].list != NULL ? message_read_list(v, name, a, known[i].list, err)
                                         : message_read_bool(v, name, known[i].flag, err);
    if (strcmp(name, "wait") == 0)
        return message_read_wait(v, &out->wait, err);
    if (strcmp(name, "timeout") == 0)
        return message_read_timeout(v, &out->timeout, err);
    return message_fail(
        err, ERR_SYNTAX, 400,
        "unknown member \"%.64s\"; known are urls, tags, prefixes, hosts, everything, soft, wait, timeout", name);
}

static err_t message_normalise(message_t *m, arena_t *a, message_error_t *err)
{
    for (size_t i = 0; i < m->hosts.n; i++)
        m->hosts.v[i] = message_normal_host(a, m->hosts.v[i]);
    for (size_t i = 0; i < m->sites.n; i++)
        m->sites.v[i] = message_normal_site(a, m->sites.v[i]);
    for (size_t i = 0; i < m->prefixes.n; i++) {
        span_t given = m->prefixes.v[i];
        if (message_printable(given) && message_normal_prefix(a, given, &m->prefixes.v[i]) != ERR_OK)
            return message_fail(err, ERR_RANGE, 422, "prefixes[%zu] \"%.*s\" can't be the beginning of host/path?query",
                                i, (int)(given.n < 80 ? given.n : 80), given.p);
    }
    return ERR_OK;
}

err_t message_parse(span_t json, message_from_t from, arena_t *a, message_t *out, message_error_t *err)
{
    *out = (message_t){.timeout = -1};
    if (json.n > MESSAGE_MAX_BYTES)
        return message_fail(err, ERR_TOO_BIG, 413, "larger than %d bytes", MESSAGE_MAX_BYTES);
    json_error_t at;
    json_t *root = json_loadb(json.p != NULL ? json.p : "", json.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &at);
    if (root == NULL)
        return message_fail(err, ERR_SYNTAX, 400, "not JSON: line %d, column %d: %s", at.line, at.column, at.text);
    err_t e = json_is_object(root) ? ERR_OK : message_fail(err, ERR_SYNTAX, 400, "the body must be a JSON object");
    const char *name;
    json_t *v;
    if (e == ERR_OK)
        json_object_foreach(root, name, v)
        {
            if ((e = message_read_member(name, v, from, a, out, err)) != ERR_OK)
                break;
        }
    json_decref(root);
    if (e != ERR_OK)
        return e;
    e = message_normalise(out, a, err);
    return e != ERR_OK ? e : message_validate(out, err);
}

err_t message_parse_payload(span_t payload, arena_t *a, message_t *out, message_error_t *err)
{
    if (payload.n > 0 && payload.p[0] == '{')
        return message_parse(payload, MESSAGE_FROM_CLIENT, a, out, err);
    *out = (message_t){.timeout = -1};
    if (payload.n > KEY_MAX_URI)
        return message_fail(err, ERR_TOO_BIG, 413, "payload of %zu bytes", payload.n);
    span_t *one = arena_alloc(a, sizeof *one);
    *one = arena_copy(a, payload);
    message_list_t *list = message_url(payload) ? &out->urls : &out->tags;
    list->v = one;
    list->n = 1;
    return message_validate(out, err);
}

/* ---- message to JSON ---- */

static void message_put_list(json_t *root, const char *name, const message_list_t *l)
{
    if (l->n == 0)
        return;
    json_t *v = json_array();
    for (size_t i = 0; i < l->n; i++) {
        json_t *s = json_stringn(l->v[i].p, l->v[i].n);
        json_array_append_new(v, s != NULL ? s : json_null());
    }
    json_object_set_new(root, name, v);
}

char *message_format(const message_t *m, size_t *n)
{
    json_t *root = json_object();
    message_put_list(root, "urls", &m->urls);
    message_put_list(root, "tags", &m->tags);
    message_put_list(root, "prefixes", &m->prefixes);
    message_put_list(root, "hosts", &m->hosts);
    if (m->everything)
        json_object_set_new(root, "everything", json_true());
    if (m->gap)
        json_object_set_new(root, "gap", json_true());
    message_put_list(root, "sites", &m->sites);
    if (m->soft)
        json_object_set_new(root, "soft", json_true());
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    *n = text != NULL ? strlen(text) : 0;
    return text;
}

/* ---- message to values ---- */

/* A host may be named by a port that is one scheme's default, and keys have no default port. */
static span_t message_without_port(arena_t *a, span_t s)
{
    span_t host = span_upto(s, span_find(s, '/')), rest = span_from(s, host.n);
    int port;
    span_t name = uri_host_name(host, &port);
    return port == 80 || port == 443 ? arena_printf(a, "%.*s%.*s", SPAN_ARG(name), SPAN_ARG(rest)) : SPAN_NONE;
}

static void message_add(message_compiled_t *out, ledger_kind_t kind, digest_t digest, size_t length)
{
    out->values[out->n++] = (ledger_value_t){.digest = digest, .length = (uint32_t)length, .kind = kind};
}

err_t message_compile(const message_t *m, message_normalise_fn *normalise, void *ctx, bool lenient, arena_t *a,
                      message_compiled_t *out, span_t *bad)
{
    size_t sites = m->sites.n > 0 ? m->sites.n : 1;
    size_t most =
        m->urls.n + m->tags.n * sites + 2 * (m->prefixes.n + m->hosts.n) + (m->everything || m->gap ? sites : 0);
    *out = (message_compiled_t){.level = m->gap ? MARK_STRICT : m->soft ? MARK_SOFT : MARK_HARD};
    out->values = arena_alloc(a, (most > 0 ? most : 1) * sizeof *out->values);
    if (out->values == NULL)
        return ERR_TOO_BIG;
    for (size_t i = 0; i < m->urls.n; i++) {
        span_t uri;
        digest_t digest;
        if (normalise(ctx, a, m->urls.v[i], &uri, &digest) == ERR_OK) {
            message_add(out, LEDGER_URL, digest, 0);
        } else if (lenient) {
            out->left_out++;
        } else {
            *bad = m->urls.v[i];
            return ERR_RANGE;
        }
    }
    for (size_t i = 0; i < m->prefixes.n; i++) {
        span_t bare = message_without_port(a, m->prefixes.v[i]);
        message_add(out, LEDGER_PREFIX, hash_digest(m->prefixes.v[i]), m->prefixes.v[i].n);
        if (bare.p != NULL)
            message_add(out, LEDGER_PREFIX, hash_digest(bare), bare.n);
    }
    for (size_t i = 0; i < m->hosts.n; i++) {
        span_t bare = message_without_port(a, m->hosts.v[i]);
        message_add(out, LEDGER_HOST, hash_digest(m->hosts.v[i]), 0);
        if (bare.p != NULL)
            message_add(out, LEDGER_HOST, hash_digest(bare), 0);
    }
    for (size_t i = 0; i < m->tags.n; i++) {
        digest_t tag = tags_digest(m->tags.v[i]);
        for (size_t j = 0; j < m->sites.n; j++)
            message_add(out, LEDGER_SITE_TAG, ledger_site_tag_digest(m->sites.v[j], tag), 0);
        if (m->sites.n == 0)
            message_add(out, LEDGER_TAG, tag, 0);
    }
    if (m->gap || (m->everything && m->sites.n == 0))
        message_add(out, LEDGER_ALL, (digest_t){0, 0}, 0);
    else if (m->everything)
        for (size_t j = 0; j < m->sites.n; j++)
            message_add(out, LEDGER_SITE, ledger_site_digest(m->sites.v[j]), 0);
    return ERR_OK;
}
