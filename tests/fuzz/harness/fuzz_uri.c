/* A path, query, host and URL: normal forms are fixed points, say the same in any room that suffices, and have no dot
 * segments. */
#include <stdlib.h>

#include "edge/base/check.h"
#include "edge/base/mem.h"
#include "edge/http/uri.h"

static void path(span_t s)
{
    size_t n, m;
    char *once = mem_alloc(s.n * 3 + 1);
    if (uri_normalise_path(s, once, s.n * 3 + 1, &n) == ERR_OK) {
        char *twice = mem_alloc(n);
        CHECK(n > 0 && once[0] == '/');
        CHECK(uri_normalise_path(span_of(once, n), twice, n, &m) == ERR_OK);
        CHECK(span_eq(span_of(once, n), span_of(twice, m)));
        for (span_t rest = span_of(once, n); rest.n > 0;) {
            span_t segment = span_upto(span_from(rest, 1), span_find(span_from(rest, 1), '/'));
            CHECK(!span_eq(segment, SPAN(".")) && !span_eq(segment, SPAN("..")));
            rest = span_from(rest, segment.n + 1);
        }
        free(twice);
    }
    free(once);
}

static void query(span_t s)
{
    size_t n, m;
    char *once = mem_alloc(s.n * 3), *less;
    if (uri_normalise_percent(s, once, s.n * 3, &n) == ERR_OK) {
        char *twice = mem_alloc(n);
        CHECK(uri_normalise_percent(span_of(once, n), twice, n, &m) == ERR_OK);
        CHECK(span_eq(span_of(once, n), span_of(twice, m)));
        free(twice);
        less = mem_alloc(n > 0 ? n - 1 : 0);
        CHECK(n == 0 || uri_normalise_percent(s, less, n - 1, &m) == ERR_TOO_BIG);
        free(less);
    }
    free(once);
}

static void host(span_t s, span_t scheme)
{
    size_t n, m;
    int port;
    char *once = mem_alloc(s.n + URI_HOST_SLACK);
    err_t e = uri_normalise_host(s, scheme, once, s.n + URI_HOST_SLACK, &n);
    CHECK(e != ERR_TOO_BIG || s.n > URI_MAX_HOST);
    if (e == ERR_OK) {
        char *twice = mem_alloc(n + URI_HOST_SLACK);
        CHECK(uri_normalise_host(span_of(once, n), scheme, twice, n + URI_HOST_SLACK, &m) == ERR_OK);
        CHECK(span_eq(span_of(once, n), span_of(twice, m)));
        CHECK(uri_host_name(span_of(once, n), &port).n > 0 && port >= -1 && port <= 65535);
        free(twice);
    }
    free(once);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    span_t s = span_of((const char *)data, size);
    uri_t u;
    int port;
    path(s);
    query(s);
    host(s, SPAN("http"));
    host(s, SPAN_NONE);
    uri_host_name(s, &port);
    if (uri_split(s, &u) == ERR_OK) {
        CHECK(u.authority.n > 0 && (u.path.n == 0 || u.path.p[0] == '/'));
        CHECK(u.scheme.n + 3 + u.authority.n + u.path.n + (u.query.p != NULL ? u.query.n + 1 : 0) == s.n);
        host(u.authority, u.scheme);
        path(u.path);
    }
    if (uri_split_target(s, &u) == ERR_OK)
        CHECK(u.path.n > 0 && u.path.n + (u.query.p != NULL ? u.query.n + 1 : 0) == s.n);
    return 0;
}
