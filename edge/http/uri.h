/* Pieces of URIs in normal form (RFC 3986 6.2.2, RFC 9110 4.2.3), for cache keys and purge selectors. Pure; they write
 * into the caller's buffer and never allocate. ERR_SYNTAX: not a URI that we forward; ERR_TOO_BIG: it doesn't fit into
 * `cap`. Each function is a fixed point: its own output comes back unchanged.
 *
 * Whoever keys by the normal form must also forward the normal form, or two spellings that an origin tells apart would
 * share a key. */
#ifndef BRINK_HTTP_URI_H
#define BRINK_HTTP_URI_H

#include "edge/base/err.h"
#include "edge/base/span.h"

enum { URI_MAX_HOST = 255 }; /* name without port */

/* An absolute http or https URL in its parts, nothing normalised, all views. ERR_SYNTAX: another scheme, no authority,
 * userinfo (RFC 9110 4.2.4), a fragment. */
typedef struct uri {
    span_t scheme;    /* as written: compare with span_caseeq */
    span_t authority; /* host[:port] */
    span_t path;      /* empty, or begins with '/' */
    span_t query;     /* without '?'; .p NULL when there is none */
} uri_t;
err_t uri_split(span_t url, uri_t *out);
/* Origin form "/path?query" in its parts (scheme and authority empty). */
err_t uri_split_target(span_t target, uri_t *out);

/* Percent-encoding in normal form: unreserved characters decoded, hex digits upper case; what may not stand in a URI
 * but is sent all the same (bytes over 0x7f and "<>\^`{|}) encoded; at most three times as long. '?' is kept: cut the
 * query off first. ERR_SYNTAX: '%' without two hex digits, control characters, space, '#'. For paths, queries, or parts
 * of them. */
err_t uri_normalise_percent(span_t s, char *out, size_t cap, size_t *n);
/* RFC 3986 5.2.4 in place on an absolute path ("/…", n ≥ 1); answers the new length, at least 1. Empty segments are
 * kept. */
size_t uri_remove_dot_segments(char *path, size_t n);
/* Both in this order, so that "%2e%2e" counts as a dot segment. An empty path becomes "/". ERR_SYNTAX: doesn't begin
 * with '/'. */
err_t uri_normalise_path(span_t path, char *out, size_t cap, size_t *n);

/* Would a path in normal form have dot segments if an encoded slash or backslash were one ("/a/..%2Fb"), or without path
 * parameters ("/a/..;/b")? An origin that decodes or cuts before it looks at the path would answer for another one than
 * we have rules and a key for. */
bool uri_hides_dots(span_t path);

/* host[:port] in normal form: lower case, no trailing dot, no default port of `scheme` ("http", "https"; SPAN_NONE:
 * keeps any port), no empty port, no leading zeros in it; IPv6 as RFC 5952 writes it. Needs `cap` of at most host.n +
 * URI_HOST_SLACK. ERR_SYNTAX: letters, digits, '-', '_', '~' and single dots only; no percent-encoding (IDNs come as
 * xn--). */
enum { URI_HOST_SLACK = 46 };
err_t uri_normalise_host(span_t host, span_t scheme, char *out, size_t cap, size_t *n);
/* Takes the port off a host in normal form: "[::1]:81" → "[::1]", 81; port -1 when there is none. */
span_t uri_host_name(span_t host, int *port);

#endif
