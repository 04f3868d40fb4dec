/* From the library's request to what the path sees of it, as views; and the last checks of what the library lets
 * through.
 *
 * The scheme is that of the connection, whatever :scheme says: the library tells only "https" from anything else; the
 * node is no proxy, to which it would be a target; and a load balancer that ends TLS writes what its client used over
 * cleartext, which RFC 9110 7.4 lets a trusted gateway do. So nobody can have another scheme's key by a word. */
#include <string.h>

#include "edge/base/clock.h"
#include "edge/http/uri.h"
#include "edge/serve/exchange_priv.h"

static bool exchange_request_visible(h2o_iovec_t s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.base[i] <= ' ' || (unsigned char)s.base[i] >= 0x7f || s.base[i] == '#')
            return false;
    return s.len > 0;
}

static bool exchange_request_same_host(exchange_h2o_t *e, span_t a, span_t b)
{
    size_t an = 0, bn = 0, room = a.n + b.n + 2 * URI_HOST_SLACK;
    if (span_caseeq(a, b))
        return true;
    char *p = arena_alloc(&e->arena, 2 * room);
    return p != NULL && uri_normalise_host(a, e->x.scheme, p, room, &an) == ERR_OK &&
           uri_normalise_host(b, e->x.scheme, p + room, room, &bn) == ERR_OK &&
           span_eq(span_of(p, an), span_of(p + room, bn));
}

/* RFC 9113 8.3.1: what was HTTP/1.1 before may come with Host alone; beside :authority it has to say the same. `hosts`:
 * how many there were. */
static int exchange_request_authority(exchange_h2o_t *e, span_t host, unsigned hosts)
{
    span_t *authority = &e->x.authority;
    if (hosts > 1 || (hosts == 1 && authority->p != NULL && !exchange_request_same_host(e, *authority, host)))
        return 400;
    if (authority->p == NULL)
        *authority = host;
    bool good = authority->p != NULL && exchange_request_visible((h2o_iovec_t){(char *)authority->p, authority->n}) &&
                memchr(authority->p, '/', authority->n) == NULL && memchr(authority->p, '@', authority->n) == NULL;
    return good ? 0 : 400;
}

/* What HTTP/2 lets through the library that RFC 9113 8.2 and 8.3 do not. HTTP/1 was scanned before. */
static int exchange_request_check_h2(const exchange_h2o_t *e, h2o_req_t *req)
{
    const serve_limits_t *l = &e->conn->worker->shared->limits;
    const h2o_http2_stream_t *st = H2O_STRUCT_FROM_MEMBER(h2o_http2_stream_t, req, req);
    bool asterisk = req->path.len == 1 && req->path.base[0] == '*';
    if (!method_valid(span_of(req->method.base, req->method.len)) || !exchange_request_visible(req->path))
        return 400;
    if (req->path.base[0] != '/' && !(asterisk && e->x.method == METHOD_OPTIONS))
        return 400;
    if (st->_expected_content_length != SIZE_MAX && st->_expected_content_length != req->entity.len)
        return 400;
    return req->path.len > l->target_bytes ? 414 : 0;
}

/* The crumbs of RFC 9113 8.2.3 put together: everything behind expects one Cookie field. */
static void exchange_request_join_cookies(exchange_h2o_t *e)
{
    fields_t *f = &e->x.fields;
    size_t count = 0, bytes = 0, first = 0;
    for (size_t i = 0; i < f->n; i++)
        if (span_eq(f->v[i].name, SPAN("cookie"))) {
            first = count++ == 0 ? i : first;
            bytes += f->v[i].value.n + 2;
        }
    char *joined = count > 1 ? arena_alloc(&e->arena, bytes) : NULL;
    if (joined == NULL)
        return;
    size_t at = 0, kept = 0;
    for (size_t i = 0; i < f->n; i++) {
        if (span_eq(f->v[i].name, SPAN("cookie"))) {
            if (at > 0) {
                memcpy(joined + at, "; ", 2);
                at += 2;
            }
            memcpy(joined + at, f->v[i].value.p, f->v[i].value.n);
            at += f->v[i].value.n;
            if (i != first)
                continue;
        }
        f->v[kept++] = f->v[i];
    }
    f->n = kept;
    f->v[first].value = span_of(joined, at);
}

static int exchange_request_take_fields(exchange_h2o_t *e, h2o_req_t *req)
{
    const serve_limits_t *l = &e->conn->worker->shared->limits;
    size_t n = req->headers.size, bytes = 0;
    span_t host = SPAN_NONE;
    unsigned hosts = 0;
    if (e->h2) {
        const h2o_http2_stream_t *st = H2O_STRUCT_FROM_MEMBER(h2o_http2_stream_t, req, req);
        if (st->stream_id == e->conn->h2.trailer_stream && e->conn->h2.trailer_from < n)
            n = e->conn->h2.trailer_from; /* trailers were put behind the fields: RFC 9110 6.5.1 forbids merging */
    }
    fields_init(&e->x.fields, &e->arena);
    if (n > l->header_count)
        return 431;
    e->x.fields.v = arena_alloc(&e->arena, (n > 0 ? n : 1) * sizeof *e->x.fields.v);
    e->x.fields.cap = n;
    for (size_t i = 0; i < n; i++)
        e->head_bytes += req->headers.entries[i].name->len + req->headers.entries[i].value.len;
    for (size_t i = 0; i < n; i++) {
        const h2o_header_t *h = &req->headers.entries[i];
        span_t name = span_of(h->name->base, h->name->len), value = span_trim(span_of(h->value.base, h->value.len));
        if (e->h2 && (!fields_name_valid(name) || !fields_value_valid(value)))
            return 400;
        bytes += name.n + value.n;
        if (bytes > l->header_bytes)
            return 431;
        if (e->h2 && span_eq(name, SPAN("host"))) { /* over HTTP/1 the library took it out */
            host = value;
            hosts++;
        } else if (!span_eq(name, SPAN("expect")))
            e->x.fields.v[e->x.fields.n++] = (field_t){name, value};
    }
    if (!e->h2)
        return 0;
    exchange_request_join_cookies(e);
    return exchange_request_authority(e, host, hosts);
}

int exchange_request_fill(exchange_h2o_t *e, h2o_req_t *req)
{
    exchange_t *x = &e->x;
    serve_conn_t *c = e->conn;
    bool secure = c->protocol == SERVE_H2 || c->protocol == SERVE_H1S;
    x->loop = c->worker->loop;
    x->arena = &e->arena;
    x->method_name = span_of(req->method.base, req->method.len);
    x->method = method_parse(x->method_name);
    x->scheme = secure ? SPAN("https") : SPAN("http");
    if (req->authority.base != req->hostconf->authority.hostport.base) /* the library's stand-in for none */
        x->authority = span_trim(span_of(req->authority.base, req->authority.len));
    x->target = span_of(req->path.base, req->path.len);
    x->body = span_of(req->entity.base, req->entity.len);
    bool reads = x->method == METHOD_GET || x->method == METHOD_HEAD; /* there no content says nothing */
    x->has_body = req->entity.base != NULL && (req->entity.len > 0 || !reads);
    x->peer = span_str(c->peer);
    x->protocol = e->h2 ? 20 : req->version >= 0x101 ? 11 : 10;
    x->began_nanos = clock_nanos();
    e->no_body = x->method == METHOD_HEAD;
    if (!e->h2 && h1_guard_is_last(c) && req->version >= 0x101 && req->upgrade.base != NULL)
        x->upgrade = span_of(req->upgrade.base, req->upgrade.len);
    e->head_bytes = req->path.len;
    int status = e->h2 ? exchange_request_check_h2(e, req) : 0;
    return status != 0 ? status : exchange_request_take_fields(e, req);
}
