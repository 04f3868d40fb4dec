/* Making and freeing of stored responses. The texts share one allocation; the body is counted by itself, since a
 * response that a 304 freshened is a new object around the same bytes. */
#include "edge/store/object.h"

#include <stdlib.h>

#include "edge/base/check.h"
#include "edge/base/mem.h"
#include "edge/policy/vary.h"

object_t *object_restore(digest_t digest, digest_t uri_digest, uint64_t variant, span_t key_text, uint32_t uri_at,
                         uint32_t uri_len, span_t selecting, const stored_t *meta, uint64_t began, fieldblock_t *fields,
                         body_t *body, const digest_t *tags, size_t tags_n)
{
    CHECK(body != NULL && fields != NULL && (uint64_t)uri_at + uri_len <= key_text.n);
    object_t *o = mem_zalloc(sizeof *o);
    atomic_init(&o->refs, 1);
    o->digest = digest;
    o->uri_digest = uri_digest;
    o->variant = variant;
    o->meta = *meta;
    stamp_init(&o->stamp, began);
    o->fields = fields;
    o->body = body;
    if (tags_n > 0) {
        o->tags = mem_alloc(tags_n * sizeof *tags);
        memcpy(o->tags, tags, tags_n * sizeof *tags);
        o->tags_n = (uint32_t)tags_n;
    }
    o->text = mem_alloc(key_text.n + selecting.n);
    memcpy(o->text, key_text.p, key_text.n);
    if (selecting.n > 0)
        memcpy(o->text + key_text.n, selecting.p, selecting.n);
    o->key_len = (uint32_t)key_text.n;
    o->selecting_len = (uint32_t)selecting.n;
    o->uri_at = uri_at;
    o->uri_len = uri_len;
    return o;
}

object_t *object_new(const cache_key_t *key, span_t selecting, const stored_t *meta, uint64_t began,
                     fieldblock_t *fields, body_t *body, const digest_t *tags, size_t tags_n)
{
    /* key.text is "scheme://uri…", so the uri is always a part of it */
    uint32_t uri_at = (uint32_t)key->scheme.n + 3;
    CHECK(uri_at + key->uri.n <= key->text.n && memcmp(key->text.p + uri_at, key->uri.p, key->uri.n) == 0);
    return object_restore(key->digest, key->uri_digest, selecting.n > 0 ? vary_digest(selecting) : 0, key->text, uri_at,
                          (uint32_t)key->uri.n, selecting, meta, began, fields, body, tags, tags_n);
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
    CHECK(!o->stored);
    if (o->account != NULL)
        account_release(o->account, object_own_bytes(o));
    body_unref(o->body);
    free(o->fields);
    free(o->tags);
    free(o->text);
    free(o);
}

enum { OBJECT_MALLOC = 16 }; /* glibc's head and rounding of one allocation, on average */

size_t object_own_bytes(const object_t *o)
{
    return sizeof *o + sizeof(fieldblock_t) + o->fields->size + o->tags_n * sizeof(digest_t) + o->key_len +
           o->selecting_len + (o->tags_n > 0 ? 4 : 3) * OBJECT_MALLOC;
}

size_t object_bytes(const object_t *o)
{
    return object_own_bytes(o) + body_bytes(o->body);
}
