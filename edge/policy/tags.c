/* Tags are opaque bytes; only the way they are listed differs: Surrogate-Key by white space, Cache-Tag by commas,
 * Cache-Groups as Structured Fields strings (RFC 9875 2; a field that can't be parsed is ignored, RFC 9651 4.2). A
 * response with more tags than are kept would be missed by a purge, so it is refused as a whole; and so is one with a
 * tag that no purge can name, since purges are written in JSON: what isn't UTF-8, or has control characters. */
#include "edge/policy/tags.h"

#include <stdlib.h>

#include "edge/base/utf8.h"
#include "edge/http/sf.h"

enum { SEED_TAG = 0x74616773, SEED_GROUP = 0x67727073 };

typedef struct sink {
    arena_t *a;
    size_t most;
    digest_t *v;
    size_t n, cap;
} sink_t;

static int order(const void *a, const void *b)
{
    const digest_t *x = a, *y = b;
    if (x->hi != y->hi)
        return x->hi < y->hi ? -1 : 1;
    return (x->lo > y->lo) - (x->lo < y->lo);
}

static void unique(sink_t *k)
{
    if (k->n == 0)
        return;
    qsort(k->v, k->n, sizeof *k->v, order);
    size_t kept = 1;
    for (size_t i = 1; i < k->n; i++)
        if (!hash_eq(k->v[i], k->v[kept - 1]))
            k->v[kept++] = k->v[i];
    k->n = kept;
}

static err_t put(sink_t *k, digest_t d)
{
    if (k->n == k->cap) {
        unique(k); /* repetitions are free */
        if (k->n > k->most)
            return ERR_TOO_BIG;
        if (k->n * 2 >= k->cap) {
            size_t cap = k->cap == 0 ? 16 : k->cap * 2;
            digest_t *v = arena_alloc(k->a, cap * sizeof *v);
            if (v == NULL)
                return ERR_TOO_BIG;
            if (k->n > 0)
                memcpy(v, k->v, k->n * sizeof *v);
            k->v = v;
            k->cap = cap;
        }
    }
    k->v[k->n++] = d;
    return ERR_OK;
}

static err_t put_tag(sink_t *k, span_t tag)
{
    if (tag.n == 0)
        return ERR_OK;
    if (!utf8_printable(tag))
        return ERR_SYNTAX;
    return tag.n > TAG_MAX_BYTES ? ERR_TOO_BIG : put(k, tags_digest(tag));
}

static err_t split_spaces(sink_t *k, span_t line)
{
    while (line.n > 0) {
        size_t n = 0;
        while (n < line.n && line.p[n] != ' ' && line.p[n] != '\t')
            n++;
        err_t e = put_tag(k, span_upto(line, n));
        if (e != ERR_OK)
            return e;
        line = span_from(line, n + 1);
    }
    return ERR_OK;
}

static err_t split_commas(sink_t *k, span_t line)
{
    while (line.n > 0) {
        size_t n = span_find(line, ',');
        err_t e = put_tag(k, span_trim(span_upto(line, n)));
        if (e != ERR_OK)
            return e;
        line = span_from(line, n + 1);
    }
    return ERR_OK;
}

typedef struct origin {
    span_t scheme, host;
} origin_t;

static err_t put_group(sink_t *k, span_t name, bool as_tag, const origin_t *origin)
{
    err_t e = as_tag ? put_tag(k, name) : ERR_OK;
    if (e == ERR_OK && origin != NULL)
        e = name.n > TAG_MAX_BYTES ? ERR_TOO_BIG : put(k, tags_group_digest(origin->scheme, origin->host, name));
    return e;
}

static err_t split_groups(sink_t *k, const fields_t *response, span_t field, bool as_tag, const origin_t *origin)
{
    span_t text = fields_join(response, field, k->a);
    if (text.p == NULL)
        return fields_has(response, field) ? ERR_TOO_BIG : ERR_OK;
    sf_t it;
    sf_value_t v;
    err_t e;
    sf_init(&it, text);
    while ((e = sf_list_next(&it, &v)) == ERR_OK)
        ;
    if (e != ERR_NOT_FOUND)
        return ERR_OK;
    sf_init(&it, text);
    while (sf_list_next(&it, &v) == ERR_OK) {
        if (v.type != SF_STRING)
            continue;
        span_t name = sf_text(&v, k->a);
        e = name.p == NULL ? ERR_TOO_BIG : put_group(k, name, as_tag, origin);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

static err_t finish(sink_t *k, digest_t **out, size_t *n)
{
    unique(k);
    *out = k->v;
    *n = k->n;
    return k->n > k->most ? ERR_TOO_BIG : ERR_OK;
}

static err_t collect(const fields_t *response, const origin_t *origin, arena_t *a, digest_t **out, size_t *n)
{
    sink_t k = {.a = a, .most = origin != NULL ? TAGS_MAX_SCOPED : TAGS_MAX};
    err_t e = ERR_OK;
    *out = NULL;
    *n = 0;
    for (size_t i = 0; e == ERR_OK && i < response->n; i++) {
        const field_t *f = &response->v[i];
        if (span_eq(f->name, SPAN("surrogate-key")))
            e = split_spaces(&k, f->value);
        else if (span_eq(f->name, SPAN("cache-tag")))
            e = split_commas(&k, f->value);
    }
    if (e == ERR_OK)
        e = split_groups(&k, response, SPAN("cache-groups"), true, origin);
    return e != ERR_OK ? e : finish(&k, out, n);
}

err_t tags_collect(const fields_t *response, arena_t *a, digest_t **out, size_t *n)
{
    return collect(response, NULL, a, out, n);
}

err_t tags_collect_scoped(const fields_t *response, span_t scheme, span_t host, arena_t *a, digest_t **out, size_t *n)
{
    origin_t origin = {.scheme = scheme, .host = host};
    return collect(response, &origin, a, out, n);
}

err_t tags_groups_invalidated(const fields_t *response, span_t scheme, span_t host, arena_t *a, digest_t **out,
                              size_t *n)
{
    sink_t k = {.a = a, .most = TAGS_MAX};
    origin_t origin = {.scheme = scheme, .host = host};
    *out = NULL;
    *n = 0;
    err_t e = split_groups(&k, response, SPAN("cache-group-invalidation"), false, &origin);
    return e != ERR_OK ? e : finish(&k, out, n);
}

digest_t tags_digest(span_t tag)
{
    return hash_digest_seed(tag, SEED_TAG);
}

digest_t tags_group_digest(span_t scheme, span_t host, span_t group)
{
    /* The origin goes into the seed, so no choice of names can make two origins meet. */
    return hash_digest_seed(group, hash_64(host, hash_64(scheme, SEED_GROUP)));
}
