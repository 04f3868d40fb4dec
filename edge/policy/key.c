/* The key of a request. Scheme, host and path come in normal form from edge/http/uri.h; the query goes through the
 * site's rules; everything is laid out once, in the key's text, and the other spans are views of it. What the key
 * leaves out must not reach the origin either, or it could change what everybody gets: whoever forwards takes path and
 * query from here. */
#include "edge/policy/key.h"

#include <stdlib.h>

#include "edge/http/uri.h"

enum { SEED_URI = 0x75726931 };

typedef struct param {
    span_t text, name;
    size_t at; /* place in the query, for a stable order */
} param_t;

static int hex(char c)
{
    return c <= '9' ? c - '0' : c - 'A' + 10; /* in normal form: upper case */
}

/* `name` is in normal form ("caf%C3%A9"), `pattern` is what an operator wrote: the name itself, encoded or not; a '*'
 * at the end stands for any rest. */
static bool name_matches(span_t name, span_t pattern)
{
    bool open = pattern.n > 0 && pattern.p[pattern.n - 1] == '*';
    size_t i = 0, k = 0, n = pattern.n - open;
    for (; i < name.n && k < n; i++, k++) {
        if (name.p[i] == '%' && pattern.p[k] != '%') {
            if ((char)(hex(name.p[i + 1]) * 16 + hex(name.p[i + 2])) != pattern.p[k])
                return false;
            i += 2;
        } else if (name.p[i] != pattern.p[k]) {
            return false;
        }
    }
    return k == n && (open || i == name.n);
}

static bool kept(const key_rules_t *rules, span_t name)
{
    if (rules->query != KEY_QUERY_ONLY && rules->query != KEY_QUERY_EXCEPT)
        return true;
    bool listed = false;
    for (size_t i = 0; i < rules->query_names_n && !listed; i++)
        listed = name_matches(name, rules->query_names[i]);
    return listed == (rules->query == KEY_QUERY_ONLY);
}

static int by_name(const void *a, const void *b)
{
    const param_t *x = a, *y = b;
    size_t n = x->name.n < y->name.n ? x->name.n : y->name.n;
    int c = memcmp(x->name.p, y->name.p, n);
    if (c != 0)
        return c;
    if (x->name.n != y->name.n)
        return x->name.n < y->name.n ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

/* Applies the rules to a query in normal form, in place; answers its new length. */
static err_t query_by_rules(arena_t *a, const key_rules_t *rules, char *query, size_t *n)
{
    if (rules->query == KEY_QUERY_NONE)
        *n = 0;
    if (*n == 0 || (rules->query == KEY_QUERY_ALL && !rules->sort))
        return ERR_OK;
    size_t most = 1, count = 0;
    for (size_t i = 0; i < *n; i++)
        most += query[i] == '&';
    span_t rest = arena_copy(a, span_of(query, *n));
    param_t *v = arena_alloc(a, most * sizeof *v);
    if (rest.p == NULL || v == NULL)
        return ERR_TOO_BIG;
    while (rest.n > 0) {
        size_t end = span_find(rest, '&');
        span_t text = span_upto(rest, end);
        span_t name = span_upto(text, span_find(text, '='));
        rest = span_from(rest, end + 1);
        if (text.n > 0 && kept(rules, name)) {
            v[count] = (param_t){.text = text, .name = name, .at = count};
            count++;
        }
    }
    if (rules->sort)
        qsort(v, count, sizeof *v, by_name);
    size_t to = 0;
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            query[to++] = '&';
        memcpy(query + to, v[i].text.p, v[i].text.n);
        to += v[i].text.n;
    }
    *n = to;
    return ERR_OK;
}

/* ---- cookies ---- */

/* Calls for each pair of that name, in order. An origin may look at the first or at the last, so all of them count. */
static size_t put_cookies(span_t name, const fields_t *request, char *to)
{
    size_t n = 0;
    span_t line;
    for (size_t i = 0; fields_next(request, SPAN("cookie"), &i, &line);)
        while (line.n > 0) {
            size_t end = span_find(line, ';');
            span_t pair = span_trim(span_upto(line, end));
            size_t equals = span_find(pair, '=');
            line = span_from(line, end + 1);
            if (equals == pair.n || !span_eq(span_trim(span_upto(pair, equals)), name))
                continue;
            span_t value = span_trim(span_from(pair, equals + 1));
            if (to != NULL) {
                memcpy(to + n, "\ncookie=", 8);
                memcpy(to + n + 8, name.p, name.n);
                to[n + 8 + name.n] = '=';
                if (value.n > 0)
                    memcpy(to + n + 9 + name.n, value.p, value.n);
            }
            n += 9 + name.n + value.n;
        }
    return n;
}

static size_t put_all_cookies(const key_rules_t *rules, const fields_t *request, char *to)
{
    size_t n = 0;
    if (request != NULL)
        for (size_t i = 0; i < rules->cookies_n; i++)
            n += put_cookies(rules->cookies[i], request, to != NULL ? to + n : NULL);
    return n;
}

/* ---- the whole ---- */

/* "host/path?query" into the arena, with room for `before` and `after` bytes around it. */
static err_t put_uri(arena_t *a, span_t scheme, const uri_t *parts, const key_rules_t *rules, size_t before,
                     size_t after, cache_key_t *out)
{
    size_t host_n, path_n, query_n = 0;
    if (parts->path.n + parts->query.n > KEY_MAX_URI || parts->authority.n > KEY_MAX_URI)
        return ERR_TOO_BIG;
    size_t cap = parts->authority.n + URI_HOST_SLACK + 3 * (parts->path.n + parts->query.n) + 2;
    char *buffer = arena_alloc(a, before + cap + after);
    if (buffer == NULL)
        return ERR_TOO_BIG;
    char *p = buffer + before, *end = p + cap;
    err_t e = uri_normalise_host(parts->authority, scheme, p, cap, &host_n);
    if (e != ERR_OK)
        return e;
    char *path = p + host_n;
    if ((e = uri_normalise_path(parts->path, path, (size_t)(end - path), &path_n)) != ERR_OK)
        return e;
    char *query = path + path_n + 1;
    if (parts->query.n > 0 &&
        (e = uri_normalise_percent(parts->query, query, (size_t)(end - query), &query_n)) != ERR_OK)
        return e;
    if ((e = query_by_rules(a, rules, query, &query_n)) != ERR_OK)
        return e;
    if (query_n > 0)
        query[-1] = '?';
    size_t n = host_n + path_n + (query_n > 0 ? query_n + 1 : 0);
    if (n > KEY_MAX_URI)
        return ERR_TOO_BIG;
    out->host = span_of(p, host_n);
    out->path = span_of(path, path_n);
    out->query = query_n > 0 ? span_of(query, query_n) : SPAN_NONE;
    out->uri = span_of(p, n);
    out->uri_digest = key_uri_digest(out->uri);
    return ERR_OK;
}

/* The span in lower case as a literal; .p NULL for another scheme. */
static span_t known_scheme(span_t scheme)
{
    if (span_caseeq(scheme, SPAN("https")))
        return SPAN("https");
    return span_caseeq(scheme, SPAN("http")) ? SPAN("http") : SPAN_NONE;
}

err_t key_make(arena_t *a, span_t scheme, span_t host, span_t target, const key_rules_t *rules, const fields_t *request,
               cache_key_t *out)
{
    uri_t parts;
    *out = (cache_key_t){.scheme = known_scheme(scheme)};
    if (out->scheme.p == NULL)
        return ERR_SYNTAX;
    if (uri_split_target(target, &parts) == ERR_OK)
        parts.authority = host;
    else if (uri_split(target, &parts) != ERR_OK)
        return ERR_SYNTAX;
    size_t before = out->scheme.n + 3, after = put_all_cookies(rules, request, NULL);
    err_t e = put_uri(a, out->scheme, &parts, rules, before, after, out);
    if (e != ERR_OK)
        return e;
    char *text = (char *)out->uri.p - before;
    memcpy(text, out->scheme.p, out->scheme.n);
    memcpy(text + out->scheme.n, "://", 3);
    put_all_cookies(rules, request, text + before + out->uri.n);
    out->text = span_of(text, before + out->uri.n + after);
    out->digest = hash_digest(out->text);
    return ERR_OK;
}

err_t key_from_url(arena_t *a, span_t url, const key_rules_t *rules, span_t *uri, digest_t *uri_digest)
{
    uri_t parts;
    cache_key_t key;
    if (uri_split(url, &parts) != ERR_OK)
        return ERR_SYNTAX;
    err_t e = put_uri(a, parts.scheme, &parts, rules, 0, 0, &key);
    if (e != ERR_OK)
        return e;
    *uri = key.uri;
    *uri_digest = key.uri_digest;
    return ERR_OK;
}

err_t key_host(arena_t *a, span_t scheme, span_t host, span_t *out)
{
    size_t n;
    if (host.n > KEY_MAX_URI)
        return ERR_TOO_BIG;
    char *p = arena_alloc(a, host.n + URI_HOST_SLACK);
    if (p == NULL)
        return ERR_TOO_BIG;
    err_t e = uri_normalise_host(host, scheme, p, host.n + URI_HOST_SLACK, &n);
    if (e == ERR_OK)
        *out = span_of(p, n);
    return e;
}

digest_t key_uri_digest(span_t uri)
{
    return hash_digest_seed(uri, SEED_URI);
}
