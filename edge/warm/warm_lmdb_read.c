/* Lookups: the variants of a digest from the newest segment to the oldest, heads first, then the body of the best.
 *
 * What the file says is looked at in place, but used only as a copy that was checked after it was made: whatever
 * happens to the file meanwhile, the bytes that leave here are those that were written. */
#include <stdlib.h>

#include "edge/base/check.h"
#include "edge/base/mem.h"
#include "edge/policy/reuse.h"
#include "edge/warm/warm_priv.h"

enum { WARM_VARIANTS_LOOKED = 256 /* entries of one digest that one lookup reads */ };

typedef struct warm_pin {
    segment_t *s;
    MDB_txn *txn;
} warm_pin_t;

static size_t warm_lmdb_pin(warm_lmdb_t *l, digest_t digest, warm_pin_t *pins)
{
    size_t n = 0;
    pthread_rwlock_rdlock(&l->lock);
    for (size_t i = 0; i < l->n; i++)
        if (warm_lmdb_segment_maybe(l->segment[i], digest))
            pins[n++] = (warm_pin_t){.s = segment_ref(l->segment[i])};
    pthread_rwlock_unlock(&l->lock);
    return n;
}

static void warm_lmdb_unpin(warm_pin_t *pins, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (pins[i].txn != NULL)
            mdb_txn_abort(pins[i].txn);
        segment_unref(pins[i].s);
    }
}

static err_t warm_lmdb_head(segment_t *s, MDB_txn *txn, const segment_entry_t *e, digest_t digest, record_t *r,
                            span_t *first)
{
    uint64_t sum;
    err_t err = segment_chunk(s, txn, e->id, 0, first, &sum);
    if (err == ERR_OK)
        err = record_parse(*first, r);
    if (err == ERR_OK &&
        (!hash_eq(r->digest, digest) || r->variant != e->variant || r->head_size + r->body_size != e->stream))
        err = ERR_CORRUPT;
    return err;
}

/* The body, copied and then checked as it was copied: nobody can change it between. */
static body_t *warm_lmdb_body(segment_t *s, MDB_txn *txn, const segment_entry_t *e, const record_t *r)
{
    body_t *body = body_new((int64_t)r->body_size);
    body_cursor_t cursor = {0};
    uint64_t left = e->stream, chunks = record_chunks(e->stream);
    for (uint32_t k = 0; k < chunks; k++) {
        span_t payload;
        uint64_t sum;
        if (segment_chunk(s, txn, e->id, k, &payload, &sum) != ERR_OK ||
            payload.n != (left < RECORD_PAYLOAD ? left : RECORD_PAYLOAD))
            goto bad;
        left -= payload.n;
        char *copy = NULL;
        span_t part = payload;
        if (k == 0) {
            /* the head was checked by itself, but its copy is what the sum covers */
            part = span_from(payload, r->head_size);
            copy = mem_alloc(payload.n);
            memcpy(copy, payload.p, payload.n);
            bool right = record_sum(span_of(copy, payload.n), e->id, k) == sum &&
                         body_append(body, span_of(copy + r->head_size, part.n), NULL) == ERR_OK;
            free(copy);
            if (!right)
                goto bad;
            body_seek(body, &cursor, part.n);
            continue;
        }
        struct iovec v;
        if (body_append(body, part, NULL) != ERR_OK || body_read(body, &cursor, UINT64_MAX, &v, 1, SIZE_MAX) != 1 ||
            v.iov_len != part.n || record_sum(span_of(v.iov_base, v.iov_len), e->id, k) != sum)
            goto bad;
    }
    body_end(body, BODY_COMPLETE);
    return body;
bad:
    body_unref(body);
    return NULL;
}

/* What of `r` points into the file is copied, so that it is checked and used as the same bytes. */
static object_t *warm_lmdb_object(segment_t *s, MDB_txn *txn, const segment_entry_t *e, const record_t *mapped,
                                  span_t first)
{
    object_t *o = NULL;
    char *head = mem_alloc(mapped->head_size);
    memcpy(head, first.p, mapped->head_size);
    record_t r;
    if (record_parse(span_of(head, mapped->head_size), &r) == ERR_OK && hash_eq(r.digest, mapped->digest) &&
        r.body_size == mapped->body_size) {
        body_t *body = warm_lmdb_body(s, txn, e, &r);
        if (body != NULL)
            o = record_object(&r, body);
    }
    free(head);
    if (o != NULL) {
        atomic_store_explicit(&o->disk_id, e->id, memory_order_relaxed);
        atomic_store_explicit(&o->flags, OBJECT_ON_DISK | OBJECT_FROM_DISK, memory_order_relaxed);
    }
    return o;
}

static bool warm_lmdb_newer(const stored_t *a, const stored_t *b)
{
    return a->date != b->date ? a->date > b->date : a->response_time > b->response_time;
}

object_t *warm_lmdb_lookup(warm_lmdb_t *l, warm_get_t *g)
{
    warm_pin_t pins[WARM_MAX_SEGMENTS];
    uint64_t seen[WARM_VARIANTS_LOOKED];
    size_t seen_n = 0, n = warm_lmdb_pin(l, g->digest, pins);
    const warm_pin_t *from = NULL;
    segment_entry_t entry, best_entry = {0};
    record_t r, best = {0};
    span_t first, best_first = SPAN_NONE;
    for (size_t i = 0; i < n; i++) {
        segment_t *s = pins[i].s;
        if (atomic_load_explicit(&s->bad, memory_order_relaxed))
            continue;
        err_t e = segment_read(s, &pins[i].txn);
        if (e != ERR_OK) {
            pins[i].txn = NULL;
            continue;
        }
        MDB_cursor *cursor = NULL;
        while (seen_n < WARM_VARIANTS_LOOKED &&
               (e = segment_variants(s, pins[i].txn, g->digest, &cursor, &entry)) == ERR_OK) {
            size_t k = 0;
            while (k < seen_n && seen[k] != entry.variant)
                k++;
            if (k < seen_n)
                continue; /* a newer segment has it, whatever it says */
            seen[seen_n++] = entry.variant;
            if (warm_lmdb_head(s, pins[i].txn, &entry, g->digest, &r, &first) != ERR_OK) {
                warm_count(&l->counts.corrupt);
                continue;
            }
            if (r.mark == MARK_HARD || (from != NULL && !warm_lmdb_newer(&r.meta, &best.meta)) ||
                !g->match(g, r.key, r.selecting, &r.meta))
                continue;
            from = &pins[i];
            best = r;
            best_first = first;
            best_entry = entry;
        }
        segment_variants_end(&cursor);
        if (e == ERR_CORRUPT)
            warm_lmdb_condemn(s);
    }
    object_t *o = NULL;
    if (from != NULL) {
        uint64_t bytes = sizeof(object_t) + sizeof(body_t) + best_entry.stream + 256;
        bool room = g->admit == NULL || g->admit(g, bytes);
        if (room && g->admit != NULL)
            g->granted = bytes;
        if (room && (o = warm_lmdb_object(from->s, from->txn, &best_entry, &best, best_first)) == NULL)
            warm_count(&l->counts.corrupt);
    }
    warm_lmdb_unpin(pins, n);
    if (o != NULL)
        warm_lmdb_touch(l, best_entry.id);
    warm_count(o != NULL ? &l->counts.hits : &l->counts.misses);
    return o;
}
