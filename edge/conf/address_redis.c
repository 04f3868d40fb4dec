/* Redis URLs as most clients write them. hiredis has no TLS here, so rediss:// names the way that works; the password
 * is taken apart at once and never stands in what is shown. */
#include "edge/conf/address.h"

#include <stdio.h>

#include "edge/conf/units.h"

static err_t redis_bad(const char **why, const char *text)
{
    *why = text;
    return ERR_SYNTAX;
}

static int redis_hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static err_t redis_decode(arena_t *a, span_t s, span_t *out, const char **why)
{
    char *p = arena_alloc(a, s.n + 1);
    if (p == NULL)
        return ERR_NO_MEMORY;
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] != '%') {
            p[n++] = s.p[i];
            continue;
        }
        int hi = i + 2 < s.n ? redis_hex(s.p[i + 1]) : -1, lo = i + 2 < s.n ? redis_hex(s.p[i + 2]) : -1;
        if (hi < 0 || lo < 0 || hi + lo == 0)
            return redis_bad(why,
                             "a % in user or password is followed by two hex digits; write %25 for a percent sign");
        p[n++] = (char)(hi * 16 + lo);
        i += 2;
    }
    p[n] = '\0';
    *out = span_of(p, n);
    return ERR_OK;
}

static err_t redis_endpoints(arena_t *a, span_t list, uint16_t standard, conf_redis_t *out, const char **why)
{
    enum { MOST = 16 };
    conf_endpoint_t *hosts = arena_zalloc(a, MOST * sizeof *hosts);
    if (hosts == NULL)
        return ERR_NO_MEMORY;
    for (bool more = true; more;) {
        size_t comma = span_find(list, ',');
        span_t one = span_upto(list, comma);
        more = comma < list.n;
        list = span_from(list, comma + 1);
        if (out->hosts_n == MOST)
            return redis_bad(why, "at most 16 sentinels");
        conf_origin_t server;
        if (one.n == 0)
            return redis_bad(why, "the URL names no host, for example redis://127.0.0.1:6379/0");
        span_t url = arena_printf(a, "http://%.*s", SPAN_ARG(one));
        err_t e = url.p != NULL ? address_origin(a, url, SPAN_NONE, &server, why) : ERR_NO_MEMORY;
        if (e != ERR_OK)
            return e;
        /* Port 80 by default there, another one here: a port was written when a colon follows the host. */
        bool has_port = one.p[0] == '[' ? one.p[one.n - 1] != ']' : span_find(one, ':') < one.n;
        hosts[out->hosts_n++] = (conf_endpoint_t){.host = server.host, .port = has_port ? server.port : standard};
    }
    out->hosts = hosts;
    return ERR_OK;
}

static err_t redis_db(span_t s, int *out, const char **why)
{
    int64_t v;
    if (units_count(s, &v) != ERR_OK || v > 65535)
        return redis_bad(why, "the database is a number, 0 unless set");
    *out = (int)v;
    return ERR_OK;
}

/* user:password@rest, either part percent-encoded. */
static err_t redis_userinfo(arena_t *a, span_t *rest, conf_redis_t *out, const char **why)
{
    size_t at = rest->n;
    for (size_t i = 0; i < rest->n && rest->p[i] != '/'; i++)
        if (rest->p[i] == '@')
            at = i;
    if (at == rest->n)
        return ERR_OK;
    span_t info = span_upto(*rest, at);
    *rest = span_from(*rest, at + 1);
    size_t colon = span_find(info, ':');
    if (colon == info.n)
        return redis_bad(why, "before the @ stands :PASSWORD or USER:PASSWORD");
    err_t e = colon > 0 ? redis_decode(a, span_upto(info, colon), &out->user, why) : ERR_OK;
    return e == ERR_OK ? redis_decode(a, span_from(info, colon + 1), &out->password, why) : e;
}

static err_t redis_unix(arena_t *a, span_t rest, span_t dir, conf_redis_t *out, const char **why)
{
    size_t question = span_find(rest, '?');
    span_t options = question < rest.n ? span_from(rest, question + 1) : SPAN_NONE;
    span_t url = arena_printf(a, "unix:%.*s", SPAN_ARG(span_upto(rest, question)));
    conf_origin_t server;
    err_t e = url.p != NULL ? address_origin(a, url, dir, &server, why) : ERR_NO_MEMORY;
    if (e != ERR_OK)
        return e;
    out->kind = CONF_REDIS_UNIX;
    out->unix_path = server.unix_path;
    if (options.p != NULL && !span_starts(options, SPAN("db=")))
        return redis_bad(why, "after the path of the socket comes ?db=N or nothing");
    if (options.p != NULL)
        e = redis_db(span_from(options, 3), &out->db, why);
    out->shown = arena_printf(a, "redis+unix:%.*s?db=%d", SPAN_ARG(out->unix_path), out->db);
    return e;
}

static err_t redis_sentinel(arena_t *a, span_t rest, conf_redis_t *out, const char **why)
{
    err_t e = redis_userinfo(a, &rest, out, why);
    if (e != ERR_OK)
        return e;
    size_t slash = span_find(rest, '/');
    span_t hosts = span_upto(rest, slash), path = span_from(rest, slash + 1);
    size_t second = span_find(path, '/');
    span_t db = span_from(path, second + 1);
    out->kind = CONF_REDIS_SENTINEL;
    out->master = arena_copy(a, span_upto(path, second));
    if (out->master.n == 0)
        return redis_bad(why,
                         "after the sentinels comes the master's name: redis+sentinel://h1:26379,h2:26379/mymaster/0");
    e = redis_endpoints(a, hosts, 26379, out, why);
    if (e == ERR_OK && db.n > 0)
        e = redis_db(db, &out->db, why);
    out->shown = arena_printf(a, "redis+sentinel://%.*s/%.*s/%d", SPAN_ARG(hosts), SPAN_ARG(out->master), out->db);
    return e;
}

err_t address_redis(arena_t *a, span_t text, span_t dir, conf_redis_t *out, const char **why)
{
    *out = (conf_redis_t){.db = 0};
    if (span_starts(text, SPAN("rediss://")))
        return redis_bad(
            why, "TLS to Redis is not built in: run stunnel beside the node (client = yes, accept = 127.0.0.1:6390, "
                 "connect = REDIS:6379, verifyChain = yes) and write redis://127.0.0.1:6390/0");
    if (span_starts(text, SPAN("redis+unix:")))
        return redis_unix(a, span_from(text, span_starts(text, SPAN("redis+unix://")) ? 13 : 11), dir, out, why);
    if (span_starts(text, SPAN("redis+sentinel://")))
        return redis_sentinel(a, span_from(text, 17), out, why);
    if (!span_starts(text, SPAN("redis://")))
        return redis_bad(
            why,
            "write redis://HOST:6379/0, redis+unix:/run/redis.sock or redis+sentinel://HOST:26379,HOST:26379/MASTER/0");
    span_t rest = span_from(text, 8);
    err_t e = redis_userinfo(a, &rest, out, why);
    if (e != ERR_OK)
        return e;
    size_t slash = span_find(rest, '/');
    span_t db = span_from(rest, slash + 1), host = span_upto(rest, slash);
    out->kind = CONF_REDIS_TCP;
    if (span_find(host, ',') < host.n)
        return redis_bad(why, "one host; several sentinels are written redis+sentinel://…/MASTER/0");
    e = redis_endpoints(a, host, 6379, out, why);
    if (e == ERR_OK && db.n > 0)
        e = redis_db(db, &out->db, why);
    out->shown = arena_printf(a, "redis://%.*s/%d", SPAN_ARG(host), out->db);
    return e;
}
