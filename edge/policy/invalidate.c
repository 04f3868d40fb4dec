/* After a successful unsafe request what is stored for the target may be wrong, and so may what is stored for the URIs
 * that the answer names (RFC 9111 4.4). Those count only within the target's own origin: otherwise one site could empty
 * another's cache. */
#include "edge/policy/invalidate.h"

#include "edge/http/uri.h"
#include "edge/policy/tags.h"

static bool counts(method_t method, int status)
{
    return !method_safe(method) && status >= 200 && status < 400;
}

/* "scheme:" at the beginning of a reference (RFC 3986 3.1). */
static bool has_scheme(span_t ref)
{
    size_t end = 0;
    while (end < ref.n && ref.p[end] != ':' && ref.p[end] != '/' && ref.p[end] != '?')
        end++;
    return end > 0 && end < ref.n && ref.p[end] == ':';
}

/* The reference resolved against the target (RFC 3986 5.2.2) as an absolute URL; dot segments are left to the key. .p
 * NULL: of another scheme, or the arena is full. */
static span_t resolve(arena_t *a, const cache_key_t *target, span_t ref)
{
    ref = span_upto(ref, span_find(ref, '#'));
    span_t scheme = target->scheme, host = target->host, path = target->path;
    if (has_scheme(ref))
        return ref;
    if (span_starts(ref, SPAN("//")))
        return arena_printf(a, "%.*s:%.*s", SPAN_ARG(scheme), SPAN_ARG(ref));
    if (ref.n == 0)
        return arena_printf(a, "%.*s://%.*s", SPAN_ARG(scheme), SPAN_ARG(target->uri));
    if (ref.p[0] == '/')
        path.n = 0;
    else if (ref.p[0] != '?')
        while (path.n > 0 && path.p[path.n - 1] != '/')
            path.n--; /* relative to the folder: the path up to its last slash */
    return arena_printf(a, "%.*s://%.*s%.*s%.*s", SPAN_ARG(scheme), SPAN_ARG(host), SPAN_ARG(path), SPAN_ARG(ref));
}

/* Same scheme, host and port (RFC 9110 4.3.1); then its uri form. */
static bool same_origin(arena_t *a, const cache_key_t *target, span_t url, const key_rules_t *rules, span_t *uri,
                        digest_t *digest)
{
    uri_t parts;
    span_t host;
    return url.p != NULL && uri_split(url, &parts) == ERR_OK && span_caseeq(parts.scheme, target->scheme) &&
           key_host(a, parts.scheme, parts.authority, &host) == ERR_OK && span_eq(host, target->host) &&
           key_from_url(a, url, rules, uri, digest) == ERR_OK;
}

int invalidate_targets(method_t method, int status, const cache_key_t *target, const fields_t *response,
                       const key_rules_t *rules, arena_t *a, span_t uris[INVALIDATE_MAX],
                       digest_t digests[INVALIDATE_MAX])
{
    const span_t names[] = {SPAN("location"), SPAN("content-location")};
    if (!counts(method, status))
        return 0;
    int n = 1;
    uris[0] = target->uri;
    digests[0] = target->uri_digest;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        span_t ref = fields_get(response, names[i]);
        if (ref.p == NULL || !same_origin(a, target, resolve(a, target, ref), rules, &uris[n], &digests[n]))
            continue;
        bool known = false;
        for (int k = 0; k < n; k++)
            known |= span_eq(uris[k], uris[n]);
        n += !known;
    }
    return n;
}

bool invalidate_is_target(const cache_key_t *target, const fields_t *response, const key_rules_t *rules, arena_t *a)
{
    span_t uri, ref = fields_get(response, SPAN("content-location"));
    digest_t digest;
    return ref.n > 0 && fields_count(response, SPAN("content-location")) == 1 &&
           same_origin(a, target, resolve(a, target, ref), rules, &uri, &digest) && span_eq(uri, target->uri);
}

err_t invalidate_groups(method_t method, int status, const cache_key_t *target, const fields_t *response, arena_t *a,
                        digest_t **out, size_t *n)
{
    *out = NULL;
    *n = 0;
    if (!counts(method, status))
        return ERR_OK;
    return tags_groups_invalidated(response, target->scheme, target->host, a, out, n);
}
