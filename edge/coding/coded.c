/* A coded form has the key, head and tags of its identity form (so purges, sweeps and object_same see the same), no
 * fields, and a digest that no request has. */
#include "edge/coding/coded.h"

/* Any three constants would do: they only have to lead away from the digests of requests. */
static digest_t coded_digest(digest_t d, coding_t c)
{
    static const uint64_t away[CODINGS] = {0, 0x9e3779b97f4a7c15, 0xc2b2ae3d27d4eb4f, 0x165667b19e3779f9};
    return (digest_t){d.lo ^ away[c], d.hi ^ away[c]};
}

static bool coded_match(const object_t *o, void *arg)
{
    const object_t *of = arg;
    return object_same(o, of);
}

object_t *coded_find(store_t *s, const object_t *o, coding_t c)
{
    return store_lookup(s, coded_digest(o->digest, c), coded_match, (void *)(uintptr_t)o);
}

object_t *coded_peek(store_t *s, const object_t *o, coding_t c)
{
    return store_peek(s, coded_digest(o->digest, c), coded_match, (void *)(uintptr_t)o);
}

/* Takes over the reference to `body`. */
static err_t coded_insert(store_t *s, const object_t *o, coding_t c, body_t *body)
{
    fields_t none = {0};
    fieldblock_t *fields;
    stored_t meta = object_meta(o);
    if (fieldblock_pack(&none, &fields) != ERR_OK) {
        body_unref(body);
        return ERR_TOO_BIG;
    }
    object_t *coded =
        object_restore(coded_digest(o->digest, c), object_variant(o), object_key(o), o->uri_at, o->uri_len,
                       object_selecting(o), &meta, o->stamp.began, fields, body, object_tags(o), o->tags_n);
    /* "on disk": it isn't worth a write, however often it is hit */
    atomic_fetch_or_explicit(&coded->flags, OBJECT_CODED | OBJECT_ON_DISK, memory_order_relaxed);
    err_t err = store_insert(s, coded, 0);
    object_unref(coded);
    return err;
}

err_t coded_keep(store_t *s, const object_t *o, coding_t c, span_t bytes)
{
    body_t *body = body_new((int64_t)bytes.n);
    err_t err = body_append(body, bytes, NULL);
    if (err != ERR_OK) {
        body_unref(body);
        return err;
    }
    body_end(body, BODY_COMPLETE);
    return coded_insert(s, o, c, body);
}

void coded_carry(store_t *s, const object_t *from, object_t *to)
{
    if ((object_meta(to).flags & STORED_CODABLE) == 0)
        return;
    unsigned dense = atomic_load_explicit(&from->flags, memory_order_relaxed) & OBJECT_DENSE;
    atomic_fetch_or_explicit(&to->flags, (uint16_t)dense, memory_order_relaxed);
    for (int i = CODING_ZSTD; i < CODINGS; i++) {
        coding_t c = (coding_t)i;
        object_t *coded = coded_peek(s, from, c);
        if (coded != NULL)
            coded_insert(s, to, c, object_share_body(coded));
        object_unref(coded);
    }
}
