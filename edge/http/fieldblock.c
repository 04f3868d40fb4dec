/* The packed form of header fields. A field is
 *
 *     name: 0 to 127 = a number in the list of usual names; else 128 + length, then its bytes
 *     value: length, then its bytes
 *
 * where a length that doesn't fit (126 and more of a name, 255 and more of a value) is written as 127 or 255 and two
 * bytes. There is one way to write each list of fields, so that equal lists are equal bytes.
 *
 * The blocks go to disk as they are: a change to the list of names is a change of the format. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "edge/base/mem.h"
#include "edge/http/chars.h"
#include "edge/http/fields.h"

enum { NAMED = 128, NAME_LONG = 127, VALUE_LONG = 255, ENTRY_MOST = 6 };

#define NAME(s)                                                                                                        \
    {                                                                                                                  \
        s, sizeof s - 1                                                                                                \
    }
static const span_t names[] = {
    NAME("content-type"),
    NAME("cache-control"),
    NAME("date"),
    NAME("etag"),
    NAME("last-modified"),
    NAME("expires"),
    NAME("vary"),
    NAME("server"),
    NAME("via"),
    NAME("content-encoding"),
    NAME("accept-ranges"),
    NAME("set-cookie"),
    NAME("location"),
    NAME("link"),
    NAME("strict-transport-security"),
    NAME("content-security-policy"),
    NAME("x-content-type-options"),
    NAME("x-frame-options"),
    NAME("x-xss-protection"),
    NAME("referrer-policy"),
    NAME("permissions-policy"),
    NAME("access-control-allow-origin"),
    NAME("access-control-allow-credentials"),
    NAME("access-control-allow-headers"),
    NAME("access-control-allow-methods"),
    NAME("access-control-expose-headers"),
    NAME("access-control-max-age"),
    NAME("timing-allow-origin"),
    NAME("cross-origin-resource-policy"),
    NAME("cross-origin-opener-policy"),
    NAME("cross-origin-embedder-policy"),
    NAME("cdn-cache-control"),
    NAME("brink-cdn-cache-control"),
    NAME("surrogate-control"),
    NAME("surrogate-key"),
    NAME("cache-tag"),
    NAME("cache-groups"),
    NAME("cache-status"),
    NAME("content-language"),
    NAME("content-disposition"),
    NAME("content-location"),
    NAME("content-range"),
    NAME("alt-svc"),
    NAME("pragma"),
    NAME("p3p"),
    NAME("server-timing"),
    NAME("x-powered-by"),
    NAME("x-request-id"),
    NAME("x-cache"),
    NAME("x-cache-hits"),
    NAME("x-served-by"),
    NAME("x-timer"),
    NAME("x-robots-tag"),
    NAME("x-ua-compatible"),
    NAME("x-amz-id-2"),
    NAME("x-amz-request-id"),
    NAME("x-amz-version-id"),
    NAME("x-amz-meta-mtime"),
    NAME("x-goog-hash"),
    NAME("x-goog-generation"),
    NAME("x-goog-storage-class"),
    NAME("report-to"),
    NAME("nel"),
    NAME("digest"),
    NAME("repr-digest"),
    NAME("content-digest"),
    NAME("content-md5"),
    NAME("accept-ch"),
    NAME("critical-ch"),
    NAME("origin-agent-cluster"),
    NAME("x-dns-prefetch-control"),
    NAME("x-download-options"),
    NAME("x-permitted-cross-domain-policies"),
    NAME("deprecation"),
    NAME("sunset"),
    NAME("retry-after"),
    NAME("allow"),
    NAME("www-authenticate"),
    NAME("content-length"),
    NAME("age"),
};
#define NAMES (sizeof names / sizeof *names)
_Static_assert(sizeof names / sizeof *names <= NAMED, "the number of a name is one byte");

/* The number of a usual name, or NAMED. */
static unsigned name_number(span_t name)
{
    for (unsigned i = 0; i < NAMES; i++)
        if (names[i].n == name.n && memcmp(names[i].p, name.p, name.n) == 0)
            return i;
    return NAMED;
}

static bool packable(span_t name, span_t value)
{
    return name.n > 0 && chars_all(name, CHARS_NAME) && fields_value_valid(value);
}

static char *put_length(char *to, size_t n, unsigned base, unsigned most)
{
    uint16_t length = (uint16_t)n;
    if (n < most) {
        *to++ = (char)(base + n);
        return to;
    }
    *to = (char)(base + most);
    memcpy(to + 1, &length, sizeof length);
    return to + 1 + sizeof length;
}

static char *put_bytes(char *to, span_t s)
{
    if (s.n > 0)
        memcpy(to, s.p, s.n);
    return to + s.n;
}

fieldblock_t *fieldblock_copy(const fieldblock_t *b)
{
    fieldblock_t *copy = mem_alloc(sizeof *copy + b->size);
    memcpy(copy, b, offsetof(fieldblock_t, bytes) + b->size);
    return copy;
}

err_t fieldblock_pack(const fields_t *f, fieldblock_t **out)
{
    size_t bytes = 0;
    if (f->n > FIELDS_MAX_COUNT)
        return ERR_TOO_BIG;
    for (size_t i = 0; i < f->n; i++) {
        span_t name = f->v[i].name, value = f->v[i].value;
        if (name.n > FIELDS_MAX_BYTES || value.n > FIELDS_MAX_BYTES)
            return ERR_TOO_BIG;
        bytes += name.n + value.n;
        if (bytes > FIELDS_MAX_BYTES)
            return ERR_TOO_BIG;
        if (!packable(name, value))
            return ERR_SYNTAX;
    }
    fieldblock_t *b = mem_alloc(sizeof *b + bytes + f->n * ENTRY_MOST);
    char *to = b->bytes;
    for (size_t i = 0; i < f->n; i++) {
        unsigned number = name_number(f->v[i].name);
        if (number < NAMED)
            *to++ = (char)number;
        else
            to = put_bytes(put_length(to, f->v[i].name.n, NAMED, NAME_LONG), f->v[i].name);
        to = put_bytes(put_length(to, f->v[i].value.n, 0, VALUE_LONG), f->v[i].value);
    }
    b->count = (uint8_t)f->n;
    b->size = (uint32_t)(to - b->bytes) & 0xffffff;
    *out = b;
    return ERR_OK;
}

/* The length at *p, which moves behind it. False: it isn't all there, or could be written shorter. */
static inline bool get_length(const char **p, const char *end, unsigned base, unsigned most, size_t *n)
{
    uint16_t length;
    if (*p == end)
        return false;
    *n = (unsigned char)*(*p)++ - base;
    if (*n < most)
        return true;
    if ((size_t)(end - *p) < sizeof length)
        return false;
    memcpy(&length, *p, sizeof length);
    *p += sizeof length;
    *n = length;
    return length >= most;
}

/* *p is before the end. */
static inline bool get_field(const char **p, const char *end, field_t *out)
{
    size_t n;
    unsigned first = (unsigned char)**p;
    if (first < NAMED) {
        if (first >= NAMES)
            return false;
        out->name = names[first];
        (*p)++;
    } else {
        if (!get_length(p, end, NAMED, NAME_LONG, &n) || (size_t)(end - *p) < n)
            return false;
        out->name = span_of(*p, n);
        *p += n;
    }
    if (!get_length(p, end, 0, VALUE_LONG, &n) || (size_t)(end - *p) < n)
        return false;
    out->value = span_of(*p, n);
    *p += n;
    return true;
}

bool fieldblock_next(const fieldblock_t *b, size_t *pos, field_t *out)
{
    const char *p = b->bytes + *pos;
    if (*pos >= b->size || !get_field(&p, b->bytes + b->size, out))
        return false;
    *pos = (size_t)(p - b->bytes);
    return true;
}

span_t fieldblock_get(const fieldblock_t *b, span_t name)
{
    field_t f;
    for (size_t pos = 0; fieldblock_next(b, &pos, &f);)
        if (span_eq(f.name, name))
            return f.value;
    return SPAN_NONE;
}

err_t fieldblock_unpack(const fieldblock_t *b, arena_t *arena, fields_t *out)
{
    fields_init(out, arena);
    if (b->count == 0)
        return ERR_OK;
    out->v = arena_alloc(arena, b->count * sizeof *out->v);
    if (out->v == NULL)
        return ERR_TOO_BIG;
    out->cap = b->count;
    for (size_t pos = 0; out->n < out->cap && fieldblock_next(b, &pos, &out->v[out->n]);)
        out->n++;
    return ERR_OK;
}

err_t fieldblock_validate(const char *bytes, size_t size, uint16_t count)
{
    size_t n = 0, sum = 0;
    if (count > FIELDS_MAX_COUNT)
        return ERR_CORRUPT;
    for (const char *p = bytes, *end = bytes + size; p < end; n++) {
        field_t f;
        bool numbered = (unsigned char)*p < NAMED;
        if (!get_field(&p, end, &f) || !packable(f.name, f.value) || (!numbered && name_number(f.name) != NAMED))
            return ERR_CORRUPT;
        sum += f.name.n + f.value.n;
    }
    return n == count && sum <= FIELDS_MAX_BYTES ? ERR_OK : ERR_CORRUPT;
}
