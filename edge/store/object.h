/* A stored response: its key, what policy derived from its head, its fields, its body. Immutable once it is published,
 * but for the atomics; shared between threads by counted references (object_ref/object_unref from any thread).
 *
 * The body may still be growing while readers have the object (a fill in flight); the store only takes complete ones.
 */
#ifndef BRINK_STORE_OBJECT_H
#define BRINK_STORE_OBJECT_H

#include "edge/base/hash.h"
#include "edge/base/stamp.h"
#include "edge/http/fields.h"
#include "edge/policy/key.h"
#include "edge/policy/stored.h"
#include "edge/store/body.h"
#include "edge/store/evict.h"

enum object_flag {
    OBJECT_ON_DISK = 1u << 0,   /* the warm tier has it, or has it in its queue */
    OBJECT_FROM_DISK = 1u << 1, /* came back from there (Cache-Status detail=disk on its first use) */
    OBJECT_DEAD = 1u << 2,      /* replaced or removed: never to be stored again */
    OBJECT_VIA_SHIELD = 1u << 3 /* the upstream that gave it was a shield */
};

typedef struct object {
    atomic_int refs;
    _Atomic uint32_t flags; /* object_flag */
    _Atomic uint32_t hits;  /* saturating is not needed: only small values are compared */
    digest_t digest;        /* of the cache key */
    digest_t uri_digest;    /* what purges by URL match */
    uint64_t variant;       /* vary_digest of `selecting` */
    stored_t meta;
    stamp_t stamp;
    fieldblock_t *fields; /* end-to-end fields as received, without Age; owned */
    body_t *body;         /* a reference; never NULL */
    digest_t *tags;       /* owned, may be NULL */
    uint32_t tags_n;
    uint32_t key_len, uri_at, uri_len, selecting_len;
    char *text;               /* owned: the whole key, then the selecting fields' packed form */
    _Atomic uint64_t disk_id; /* the warm tier's number for it, to find its hit bit; 0 = none */
    account_t *account;       /* where its bytes are counted until it is freed; NULL before it is stored */
    /* ---- the store's own, under its locks ---- */
    struct object *chain; /* next in the hash bucket */
    evict_item_t evict;
    bool stored;
} object_t;

/* Takes ownership of `fields` and of one reference to `body`; copies tags, key and selecting. */
object_t *object_new(const cache_key_t *key, span_t selecting, const stored_t *meta, uint64_t began,
                     fieldblock_t *fields, body_t *body, const digest_t *tags, size_t tags_n);
/* The same from the bytes that a disk record keeps (uri_at/uri_len locate the uri within key_text). */
object_t *object_restore(digest_t digest, digest_t uri_digest, uint64_t variant, span_t key_text, uint32_t uri_at,
                         uint32_t uri_len, span_t selecting, const stored_t *meta, uint64_t began, fieldblock_t *fields,
                         body_t *body, const digest_t *tags, size_t tags_n);
object_t *object_ref(object_t *o);
void object_unref(object_t *o); /* NULL is fine */

static inline span_t object_key(const object_t *o)
{
    return span_of(o->text, o->key_len);
}
static inline span_t object_uri(const object_t *o)
{
    return span_of(o->text + o->uri_at, o->uri_len);
}
static inline span_t object_selecting(const object_t *o)
{
    return span_of(o->text + o->key_len, o->selecting_len);
}
/* Length of the whole representation: what arrived if that is all, else what was declared; -1 unknown (yet). */
static inline int64_t object_length(const object_t *o)
{
    return body_state(o->body) == BODY_COMPLETE ? (int64_t)body_length(o->body) : o->meta.content_length;
}
/* Replaced or removed, so never to be stored again; what was merely evicted isn't. */
static inline bool object_dead(const object_t *o)
{
    return (atomic_load_explicit(&o->flags, memory_order_acquire) & OBJECT_DEAD) != 0;
}
/* Everything it takes in memory: itself, key, fields, tags, body, with the allocator's share. */
size_t object_bytes(const object_t *o);
/* The same without the body, which several objects may share. */
size_t object_own_bytes(const object_t *o);

#endif
