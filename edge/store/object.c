/* Making and freeing of stored responses. One allocation; a large body is counted by itself, since a response that a
 * 304 freshened is a new object around the same bytes.
 *
 * Parts that need alignment come first (tags, variant, the head of a flat body, fields), then bytes without gaps. */
#include "edge/store/object.h"

#include <malloc.h>
#include <stddef.h>
#include <stdlib.h>

#include "edge/base/check.h"
#include "edge/base/mem.h"
#include "edge/policy/part.h"
#include "edge/policy/vary.h"
#include "edge/store/meta.h"

enum { OBJECT_MALLOC = 8 }; /* what the allocator keeps before each allocation */

static size_t object_fields_size(const fieldblock_t *f)
{
    return offsetof(fieldblock_t, bytes) + f->size;
}

/* Bytes of a complete body that is to be in the object's allocation; -1: it isn't. */
static int64_t object_flat_size(const body_t *body)
{
    if (body_state(body) != BODY_COMPLETE || body_length(body) > OBJECT_FLAT_MOST)
        return -1;
    return (int64_t)body_length(body);
}

static void object_copy_body(const body_t *body, char *to)
{
    body_cursor_t c = {0};
    struct iovec v;
    while (body_read(body, &c, UINT64_MAX, &v, 1, SIZE_MAX) == 1) {
        memcpy(to, v.iov_base, v.iov_len);
        to += v.iov_len;
    }
}

typedef struct object_parts {
    digest_t digest;
    uint64_t variant;
    span_t key, selecting;
    uint32_t uri_at, uri_len;
    unsigned kind; /* OBJECT_PART, OBJECT_PIECES */
    const char *meta;
    size_t meta_n;
    const fieldblock_t *fields;
    const body_t *body;
    const digest_t *tags;
    size_t tags_n;
} object_parts_t;

static char *object_put(char *at, const void *bytes, size_t n)
{
    if (n > 0)
        memcpy(at, bytes, n);
    return at + n;
}

/* Without a reference to a body that isn't copied. */
static object_t *object_make(const object_parts_t *p)
{
    CHECK((uint64_t)p->uri_at + p->uri_len <= p->key.n && p->uri_at <= UINT8_MAX && p->uri_len <= OBJECT_MAX_URI &&
          p->tags_n <= OBJECT_MAX_TAGS);
    int64_t flat = object_flat_size(p->body);
    size_t fields_n = object_fields_size(p->fields);
    bool varies = p->selecting.n > 0 || (p->kind & OBJECT_PART) != 0;
    size_t size = sizeof(object_t) + p->tags_n * sizeof *p->tags + (varies ? sizeof(object_varies_t) : 0) +
                  (flat >= 0 ? sizeof(body_t) + (size_t)flat : 0) + fields_n + p->key.n + p->selecting.n + p->meta_n;
    object_t *o = mem_alloc(size);
    *o = (object_t){.digest = p->digest,
                    .tags_n = (uint16_t)p->tags_n,
                    .uri_at = (uint8_t)p->uri_at,
                    .uri_len = (uint16_t)p->uri_len,
                    .meta_n = (uint8_t)p->meta_n,
                    .stamp = {.owner = (uint32_t)p->key.n}};
    atomic_init(&o->refs, 1);
    atomic_init(&o->flags,
                (uint16_t)((flat >= 0 ? OBJECT_FLAT : 0) | (varies ? OBJECT_VARIES : 0) | p->kind));
    char *at = object_put(o->data, p->tags, p->tags_n * sizeof *p->tags);
    if (varies)
        at = object_put(at, &(object_varies_t){p->variant, p->selecting.n}, sizeof(object_varies_t));
    if (flat >= 0)
        at += sizeof(body_t);
    at = object_put(at, p->fields, fields_n);
    at = object_put(at, p->key.p, p->key.n);
    at = object_put(at, p->selecting.p, p->selecting.n);
    at = object_put(at, p->meta, p->meta_n);
    if (flat >= 0) {
        body_t *body = object_body(o);
        body_init_flat(body, (uint32_t)(at - (char *)body), (uint64_t)flat);
        object_copy_body(p->body, at);
        at += flat;
    }
    CHECK(at == (char *)o + size);
    return o;
}

object_t *object_restore(digest_t digest, uint64_t variant, span_t key_text, uint32_t uri_at, uint32_t uri_len,
                         span_t selecting, const stored_t *meta, uint64_t began, fieldblock_t *fields, body_t *body,
                         const digest_t *tags, size_t tags_n)
{
    CHECK(body != NULL && fields != NULL);
    char packed[META_MOST];
    object_parts_t parts = {.digest = digest,
                            .variant = variant,
                            .key = key_text,
                            .selecting = selecting,
                            .uri_at = uri_at,
                            .uri_len = uri_len,
                            .kind = ((meta->flags & STORED_PART) != 0 ? OBJECT_PART : 0) |
                                    ((meta->flags & STORED_PIECES) != 0 ? OBJECT_PIECES : 0),
                            .meta = packed,
                            .meta_n = meta_pack(meta, packed),
                            .fields = fields,
                            .body = body,
                            .tags = tags,
                            .tags_n = tags_n};
    object_t *o = object_make(&parts);
    stamp_init(&o->stamp, began);
    free(fields);
    if (object_flat(o))
        body_unref(body);
    else
        o->body = body;
    return o;
}

object_t *object_new(const cache_key_t *key, span_t selecting, const stored_t *meta, uint64_t began,
                     fieldblock_t *fields, body_t *body, const digest_t *tags, size_t tags_n)
{
    /* key.text is "scheme://uri…", so the uri is always a part of it */
    uint32_t uri_at = (uint32_t)key->scheme.n + 3;
    CHECK(uri_at + key->uri.n <= key->text.n && memcmp(key->text.p + uri_at, key->uri.p, key->uri.n) == 0);
    uint64_t variant = selecting.n > 0 ? vary_digest(selecting) : 0;
    if ((meta->flags & STORED_PART) != 0)
        variant = part_variant(variant, meta);
    return object_restore(key->digest, variant, key->text, uri_at, (uint32_t)key->uri.n, selecting, meta, began, fields,
                          body, tags, tags_n);
}

static const char *object_meta_at(const object_t *o)
{
    return object_text(o) + object_key(o).n + object_selecting(o).n;
}

object_t *object_packed(const object_t *o)
{
    if (object_flat(o) || object_flat_size(o->body) < 0)
        return NULL;
    object_parts_t parts = {.digest = o->digest,
                            .variant = object_variant(o),
                            .key = object_key(o),
                            .selecting = object_selecting(o),
                            .uri_at = o->uri_at,
                            .uri_len = o->uri_len,
                            .kind = atomic_load_explicit(&o->flags, memory_order_relaxed) & (OBJECT_PART | OBJECT_PIECES),
                            .meta = object_meta_at(o),
                            .meta_n = o->meta_n,
                            .fields = object_fields(o),
                            .body = o->body,
                            .tags = object_tags(o),
                            .tags_n = o->tags_n};
    object_t *copy = object_make(&parts);
    stamp_copy(&copy->stamp, &o->stamp);
    unsigned known = OBJECT_DEAD | OBJECT_VIA_SHIELD | OBJECT_SEEN_AGAIN;
    atomic_fetch_or_explicit(&copy->flags, (uint16_t)(atomic_load_explicit(&o->flags, memory_order_acquire) & known),
                             memory_order_relaxed);
    return copy;
}

bool object_same(const object_t *a, const object_t *b)
{
    return a->meta_n == b->meta_n && memcmp(object_meta_at(a), object_meta_at(b), a->meta_n) == 0 &&
           object_variant(a) == object_variant(b) && a->stamp.began == b->stamp.began &&
           span_eq(object_key(a), object_key(b));
}

object_t *object_ref(object_t *o)
{
    atomic_fetch_add_explicit(&o->refs, 1, memory_order_relaxed);
    return o;
}

void object_unref(object_t *o)
{
    if (o == NULL || atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel) != 1)
        return;
    unsigned flags = atomic_load_explicit(&o->flags, memory_order_relaxed);
    CHECK((flags & OBJECT_STORED) == 0);
    if ((flags & OBJECT_CHARGED) != 0)
        account_release(atomic_load_explicit(&object_body(o)->account, memory_order_relaxed), object_own_bytes(o));
    body_unref(o->body);
    free(o);
}

stored_t object_meta(const object_t *o)
{
    stored_t meta;
    meta_unpack(object_meta_at(o), &meta);
    return meta;
}

digest_t object_uri_digest(const object_t *o)
{
    return key_uri_digest(object_uri(o));
}

body_t *object_share_body(const object_t *o)
{
    if (!object_flat(o))
        return body_ref(o->body);
    const body_t *flat = object_body(o);
    body_t *copy = body_new((int64_t)body_length(flat));
    body_cursor_t c = {0};
    struct iovec v;
    if (body_read(flat, &c, UINT64_MAX, &v, 1, SIZE_MAX) == 1)
        CHECK(body_append(copy, span_of(v.iov_base, v.iov_len), NULL) == ERR_OK);
    body_end(copy, BODY_COMPLETE);
    return copy;
}

int64_t object_length(const object_t *o)
{
    const body_t *body = object_body(o);
    if (object_pieces(o))
        return object_meta(o).content_length;
    if (body_state(body) == BODY_COMPLETE)
        return (int64_t)body_length(body);
    return object_part(o) ? body_declared(body) : object_meta(o).content_length;
}

size_t object_own_bytes(const object_t *o)
{
    return malloc_usable_size((void *)(uintptr_t)o) + OBJECT_MALLOC;
}

size_t object_bytes(const object_t *o)
{
    return object_own_bytes(o) + body_bytes(object_body(o));
}
