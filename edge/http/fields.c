/* Fields are few (dozens), so they are an array searched from the front: a search compares lengths and touches bytes
 * only where those agree. The packed block is the same array laid end to end: two 16-bit lengths, the name, the value,
 * in the machine's own byte order, so a stored response's head is walked without being parsed or copied. 16 bits
 * suffice since names and values together have a ceiling of 64 KiB and a name has at least one byte. */
#include "edge/http/fields.h"

#include <stdlib.h>

#include "edge/base/mem.h"
#include "edge/http/chars.h"

enum { FIRST_CAP = 16, CONNECTION_NAMES_MAX = 64 };

void fields_init(fields_t *f, arena_t *arena)
{
    *f = (fields_t){.arena = arena};
}

err_t fields_add(fields_t *f, span_t name, span_t value)
{
    if (f->n >= FIELDS_MAX_COUNT)
        return ERR_TOO_BIG;
    if (f->n == f->cap) {
        if (f->arena == NULL)
            return ERR_TOO_BIG;
        size_t cap = f->cap > 0 ? f->cap * 2 : FIRST_CAP;
        field_t *v = arena_alloc(f->arena, cap * sizeof *v);
        if (v == NULL)
            return ERR_TOO_BIG;
        if (f->n > 0)
            memcpy(v, f->v, f->n * sizeof *v);
        f->v = v;
        f->cap = cap;
    }
    if (value.p == NULL)
        value.p = ""; /* a NULL means "no such field" to those who look it up */
    f->v[f->n++] = (field_t){name, value};
    return ERR_OK;
}

bool fields_next(const fields_t *f, span_t name, size_t *at, span_t *value)
{
    for (; *at < f->n; (*at)++)
        if (span_eq(f->v[*at].name, name)) {
            *value = f->v[(*at)++].value;
            return true;
        }
    return false;
}

span_t fields_get(const fields_t *f, span_t name)
{
    size_t at = 0;
    span_t value;
    return fields_next(f, name, &at, &value) ? value : SPAN_NONE;
}

bool fields_has(const fields_t *f, span_t name)
{
    return fields_get(f, name).p != NULL;
}

size_t fields_count(const fields_t *f, span_t name)
{
    size_t n = 0;
    span_t value;
    for (size_t at = 0; fields_next(f, name, &at, &value);)
        n++;
    return n;
}

span_t fields_join(const fields_t *f, span_t name, arena_t *arena)
{
    size_t lines = 0, bytes = 0;
    span_t value, first = SPAN_NONE;
    for (size_t at = 0; fields_next(f, name, &at, &value); bytes += value.n)
        if (lines++ == 0)
            first = value;
    if (lines < 2)
        return first;
    bytes += 2 * (lines - 1);
    char *p = arena_alloc(arena, bytes), *to = p;
    if (p == NULL)
        return SPAN_NONE;
    for (size_t at = 0; fields_next(f, name, &at, &value);) {
        if (to != p) {
            memcpy(to, ", ", 2);
            to += 2;
        }
        if (value.n > 0)
            memcpy(to, value.p, value.n);
        to += value.n;
    }
    return span_of(p, (size_t)(to - p));
}

void fields_remove(fields_t *f, span_t name)
{
    size_t kept = 0;
    for (size_t i = 0; i < f->n; i++)
        if (!span_eq(f->v[i].name, name))
            f->v[kept++] = f->v[i];
    f->n = kept;
}

err_t fields_set(fields_t *f, span_t name, span_t value)
{
    fields_remove(f, name);
    return fields_add(f, name, value);
}

static bool listed(span_t name, const span_t *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (span_caseeq(list[i], name))
            return true;
    return false;
}

#define NAME(literal)                                                                                                  \
    {                                                                                                                  \
        (literal), sizeof(literal) - 1                                                                                 \
    }
#define COUNT(array) (sizeof(array) / sizeof *(array))

/* What concerns one connection only: RFC 9110 7.6.1. The Proxy-* ones are between a client and the proxy it chose
 * (11.7), which a gateway is not; trailers and Upgrade are not passed on. */
static const span_t hop_by_hop[] = {
    NAME("connection"),
    NAME("keep-alive"),
    NAME("proxy-connection"),
    NAME("proxy-authenticate"),
    NAME("proxy-authorization"),
    NAME("proxy-authentication-info"),
    NAME("te"),
    NAME("trailer"),
    NAME("transfer-encoding"),
    NAME("upgrade"),
    NAME("http2-settings"),
};

/* End-to-end fields that decide what is stored, for whom, or whether requests loop: "Connection: cdn-loop" or
 * "Connection: set-cookie" must not make them vanish between the sender and the cache (RFC 9110 7.6.1, RFC 8586 2). */
static const span_t end_to_end[] = {
    NAME("age"),
    NAME("authorization"),
    NAME("cache-control"),
    NAME("cache-group-invalidation"),
    NAME("cache-groups"),
    NAME("cache-status"),
    NAME("cache-tag"),
    NAME("cdn-cache-control"),
    NAME("cdn-loop"),
    NAME("content-encoding"),
    NAME("content-language"),
    NAME("content-length"),
    NAME("content-location"),
    NAME("content-range"),
    NAME("content-type"),
    NAME("cookie"),
    NAME("date"),
    NAME("etag"),
    NAME("expires"),
    NAME("forwarded"),
    NAME("host"),
    NAME("if-match"),
    NAME("if-modified-since"),
    NAME("if-none-match"),
    NAME("if-range"),
    NAME("if-unmodified-since"),
    NAME("last-modified"),
    NAME("location"),
    NAME("pragma"),
    NAME("range"),
    NAME("set-cookie"),
    NAME("surrogate-control"),
    NAME("surrogate-key"),
    NAME("vary"),
    NAME("via"),
    NAME("www-authenticate"),
    NAME("x-forwarded-for"),
    NAME("x-request-id"),
};

static bool may_be_named(span_t name)
{
    span_t own = SPAN("brink-"); /* what edge and shield tell each other */
    return !listed(name, end_to_end, COUNT(end_to_end)) && !span_caseeq(span_upto(name, own.n), own);
}

void fields_remove_hop_by_hop(fields_t *f)
{
    span_t named[CONNECTION_NAMES_MAX], line;
    size_t named_n = 0, kept = 0;
    for (size_t at = 0; fields_next(f, SPAN("connection"), &at, &line);)
        while (line.n > 0 && named_n < CONNECTION_NAMES_MAX) {
            size_t comma = span_find(line, ',');
            span_t name = span_trim(span_upto(line, comma));
            if (name.n > 0 && may_be_named(name))
                named[named_n++] = name;
            line = span_from(line, comma + 1);
        }
    for (size_t i = 0; i < f->n; i++)
        if (!listed(f->v[i].name, hop_by_hop, COUNT(hop_by_hop)) && !listed(f->v[i].name, named, named_n))
            f->v[kept++] = f->v[i];
    f->n = kept;
}

bool fields_name_valid(span_t name)
{
    return name.n > 0 && chars_all(name, CHARS_TOKEN);
}

bool fields_value_valid(span_t value)
{
    return chars_all(value, CHARS_VALUE);
}
