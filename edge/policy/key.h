/* The target URI in normal form, and the cache key made of it (RFC 9111 2, RFC 3986 6.2). Pure.
 *
 * Key = scheme, host (lower case, no default port, no trailing dot), path (dot segments removed, percent-encoding in
 * normal form: unreserved characters decoded, hex digits upper case), query (by the site's rules), chosen cookies. */
#ifndef BRINK_POLICY_KEY_H
#define BRINK_POLICY_KEY_H

#include "edge/base/arena.h"
#include "edge/base/hash.h"
#include "edge/http/fields.h"
#include "edge/policy/rules.h"

enum { KEY_MAX_URI = 16 * 1024 }; /* host/path?query; a longer one is 414 */

typedef struct key {
    span_t scheme;       /* "http" or "https" */
    span_t host;         /* normalised authority: "www.example.com", "localhost:8080", "[::1]:81" */
    span_t path;         /* normalised, begins with '/' */
    span_t query;        /* after the key's rules; .p NULL when there is none ("/a?" has an empty one = none) */
    span_t uri;          /* "host/path?query" as the purge selectors see it: no scheme, no cookies */
    span_t text;         /* the whole key: "scheme://uri" and, when cookies count, "\ncookie=name=value"… */
    digest_t digest;     /* of text: what stores are indexed by */
    digest_t uri_digest; /* of uri: what purges by URL match */
} cache_key_t;

/* All spans live in the arena. `target` is the request target in origin form ("/p?q") or absolute form (then its
 * authority wins over `host`: RFC 9112 3.2.2). ERR_SYNTAX: not a URI that we would forward (bad host, bad
 * percent-encoding, control characters, fragment); ERR_TOO_BIG. */
err_t key_make(arena_t *a, span_t scheme, span_t host, span_t target, const key_rules_t *rules, const fields_t *request,
               cache_key_t *out);
/* For purges: an absolute URL of either scheme to uri form (by the site's rules) and its digest. */
err_t key_from_url(arena_t *a, span_t url, const key_rules_t *rules, span_t *uri, digest_t *uri_digest);
/* Host alone in normal form (lower case, default port of the scheme and trailing dot off); scheme may be SPAN_NONE. */
err_t key_host(arena_t *a, span_t scheme, span_t host, span_t *out);
digest_t key_uri_digest(span_t uri);

#endif
