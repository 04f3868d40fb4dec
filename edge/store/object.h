/* A stored response: its key, what policy derived from its head, its fields, its body. Immutable once it is published,
 * but for the atomics; shared between threads by counted references (object_ref/object_unref from any thread).
 *
 * There may be millions of them, so everything but a large body is one allocation without gaps, and is reached by
 * functions. What they return lives as long as the object.
 *
 * The body may still be growing while readers have the object (a fill in flight); the store only takes complete ones,
 * and small ones in the form that object_packed gives them. */
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
    OBJECT_ON_DISK = 1u << 0,    /* the warm tier has it, or has it in its queue */
    OBJECT_FROM_DISK = 1u << 1,  /* came back from there (Cache-Status detail=disk on its first use) */
    OBJECT_DEAD = 1u << 2,       /* replaced or removed: never to be stored again */
    OBJECT_VIA_SHIELD = 1u << 3, /* the upstream that gave it was a shield */
    OBJECT_SEEN_AGAIN = 1u << 4, /* evicted before and asked for again: worth a place on disk at once */
    OBJECT_CODE_ZSTD = 1u << 5,  /* asked for in that coding; the coded form is made once (edge/coding/coder.h) */
    OBJECT_CODE_BR = 1u << 6,
    OBJECT_CODE_GZIP = 1u << 7,
    OBJECT_DENSE = 1u << 8, /* coding has not made it smaller */
    OBJECT_CODED = 1u << 9, /* a coded form of another object (edge/coding/coded.h): of no use by itself */
    OBJECT_PIECES = 1u << 10,    /* STORED_PIECES: the head of a large response (piece.h); never changes */
    OBJECT_PART = 1u << 11,      /* STORED_PART; never changes */
    /* ---- the store's own ---- */
    OBJECT_VARIES = 1u << 12,  /* has selecting fields, or is a part; never changes */
    OBJECT_FLAT = 1u << 13,    /* its body is in its own allocation; never changes */
    OBJECT_CHARGED = 1u << 14, /* its own bytes are in its body's account */
    OBJECT_STORED = 1u << 15   /* changed under the store's mutex */
};

enum {
    OBJECT_FLAT_MOST = 32 * 1024, /* largest body that is kept in the object's own allocation */
    OBJECT_MAX_URI = UINT16_MAX,
    OBJECT_MAX_TAGS = UINT16_MAX
};

typedef struct object_varies {
    uint64_t variant;
    uint64_t selecting_n;
} object_varies_t;

typedef struct object {
    atomic_int refs;
    _Atomic uint32_t hits;  /* saturating is not needed: only small values are compared */
    _Atomic uint16_t flags; /* object_flag */
    uint16_t tags_n, uri_len;
    uint8_t uri_at, meta_n;
    digest_t digest;          /* of the cache key */
    stamp_t stamp;            /* stamp.owner: length of the key */
    body_t *body;             /* a reference; NULL when flat */
    _Atomic uint64_t disk_id; /* the warm tier's number for it, to find its hit bit; 0 = none */
    /* ---- the store's own, under its locks ---- */
    struct object *chain; /* next in the hash bucket */
    evict_item_t evict;
    char data[]; /* tags, object_varies_t if OBJECT_VARIES, flat body's head, fields, key, selecting, meta, body
                  */
} object_t;

/* Takes ownership of `fields` and of one reference to `body`; copies tags, key and selecting. */
object_t *object_new(const cache_key_t *key, span_t selecting, const stored_t *meta, uint64_t began,
                     fieldblock_t *fields, body_t *body, const digest_t *tags, size_t tags_n);
/* The same from the bytes that a disk record keeps (uri_at/uri_len locate the uri within key_text; at most 255 and
 * OBJECT_MAX_URI). */
object_t *object_restore(digest_t digest, uint64_t variant, span_t key_text, uint32_t uri_at, uint32_t uri_len,
                         span_t selecting, const stored_t *meta, uint64_t began, fieldblock_t *fields, body_t *body,
                         const digest_t *tags, size_t tags_n);
/* A copy in one allocation of an object whose body is complete and small, with what is known of it; NULL when there is
 * nothing to gain (its body is large, or it is flat already). */
object_t *object_packed(const object_t *o);
/* Do both stand for one response as it came: the same key, variant, beginning of the fetch, and head? Then their content
 * is the same, whatever memory it is in and whichever coding it has. */
bool object_same(const object_t *a, const object_t *b);
object_t *object_ref(object_t *o);
void object_unref(object_t *o); /* NULL is fine */

/* ---- what it consists of ---- */

static inline bool object_flat(const object_t *o)
{
    return (atomic_load_explicit(&o->flags, memory_order_relaxed) & OBJECT_FLAT) != 0;
}
static inline const digest_t *object_tags(const object_t *o) /* tags_n of them */
{
    return (const digest_t *)(const void *)o->data;
}
static inline size_t object_variant_at(const object_t *o)
{
    return o->tags_n * sizeof(digest_t);
}
/* Not the whole representation, but the bytes from meta.part_first on (edge/policy/part.h). */
static inline bool object_part(const object_t *o)
{
    return (atomic_load_explicit(&o->flags, memory_order_relaxed) & OBJECT_PART) != 0;
}
static inline bool object_pieces(const object_t *o)
{
    return (atomic_load_explicit(&o->flags, memory_order_relaxed) & OBJECT_PIECES) != 0;
}
static inline bool object_varies(const object_t *o)
{
    return (atomic_load_explicit(&o->flags, memory_order_relaxed) & OBJECT_VARIES) != 0;
}
static inline const object_varies_t *object_varies_of(const object_t *o)
{
    return (const object_varies_t *)(const void *)(o->data + object_variant_at(o));
}
/* Identity within the key: vary_digest of the selecting fields, 0 if there are none; for a part, part_variant of that.
 */
static inline uint64_t object_variant(const object_t *o)
{
    return object_varies(o) ? object_varies_of(o)->variant : 0;
}
static inline size_t object_flat_at(const object_t *o)
{
    return object_variant_at(o) + (object_varies(o) ? sizeof(object_varies_t) : 0);
}
static inline body_t *object_body(const object_t *o) /* never NULL; object_share_body for a reference */
{
    return object_flat(o) ? (body_t *)(void *)(uintptr_t)(o->data + object_flat_at(o)) : o->body;
}
static inline const fieldblock_t *object_fields(const object_t *o) /* end-to-end fields as received, without Age */
{
    return (const fieldblock_t *)(const void *)(o->data + object_flat_at(o) + (object_flat(o) ? sizeof(body_t) : 0));
}
static inline const char *object_text(const object_t *o) /* the whole key, then the selecting fields' packed form */
{
    const fieldblock_t *f = object_fields(o);
    return f->bytes + f->size;
}
static inline span_t object_key(const object_t *o)
{
    return span_of(object_text(o), o->stamp.owner);
}
static inline span_t object_uri(const object_t *o)
{
    return span_of(object_text(o) + o->uri_at, o->uri_len);
}
static inline span_t object_selecting(const object_t *o)
{
    return span_of(object_text(o) + o->stamp.owner, object_varies(o) ? object_varies_of(o)->selecting_n : 0);
}
stored_t object_meta(const object_t *o);       /* unpacked: some 10 ns */
digest_t object_uri_digest(const object_t *o); /* what purges by URL match; reckoned */
/* A reference of the caller's to the same bytes, or to a copy of them when they are in the object itself. */
body_t *object_share_body(const object_t *o);
/* Length of the body: what arrived if that is all, else what was declared; -1 unknown (yet). That of the whole
 * representation, unless the response is a part. */
int64_t object_length(const object_t *o);

/* Replaced or removed, so never to be stored again; what was merely evicted isn't. */
static inline bool object_dead(const object_t *o)
{
    return (atomic_load_explicit(&o->flags, memory_order_acquire) & OBJECT_DEAD) != 0;
}
/* Everything it takes in memory: itself, key, fields, tags, body, with the allocator's share. */
size_t object_bytes(const object_t *o);
/* The same without a body of its own allocation, which several objects may share. */
size_t object_own_bytes(const object_t *o);

#endif
