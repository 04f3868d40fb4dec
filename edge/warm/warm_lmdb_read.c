/* Lookups: the variants of a digest from the newest segment to the oldest, heads first, then the body of the best.
 *
 * Everything is read as a copy and checked as that copy: whatever happens to the file meanwhile, the bytes that leave
 * here are those that were written. On a loop the same is done with reads that don't wait. */
#include <stdlib.h>

#include "edge/base/block.h"
#include "edge/base/check.h"
#include "edge/policy/reuse.h"
#include "edge/warm/warm_priv.h"

enum {
    WARM_VARIANTS_LOOKED = 256,  /* entries of one digest that one lookup reads */
    WARM_FIRST_READ = 16 * 1024, /* of a record: the head and, mostly, all of it */
    WARM_TRIES = 3,              /* until a segment that is being written holds still */
    WARM_AHEAD = 4 * 1024 * 1024
};

/* What a lookup has found so far. */
typedef struct warm_found {
    segment_t *s; /* NULL: nothing */
    segment_entry_t entry;
    record_t record; /* views into `bytes` */
    char *bytes;     /* the first `n` of the stream: a block of that size, the lookup's own */
    size_t n;
    uint64_t sum; /* of the first chunk */
    uint64_t swept;
    uint32_t mark; /* the purge ledger's word up to `swept` */
} warm_found_t;

typedef struct warm_lookup {
    warm_lmdb_t *l;
    warm_get_t *g;
    bool nowait;
    size_t seen_n;
    warm_found_t best;
    uint64_t seen[WARM_VARIANTS_LOOKED];
} warm_lookup_t;

static size_t warm_lmdb_pin(warm_lmdb_t *l, digest_t digest, segment_t **pins)
{
    size_t n = 0;
    pthread_rwlock_rdlock(&l->lock);
    for (size_t i = 0; i < l->n; i++)
        if (warm_lmdb_segment_maybe(l->segment[i], digest) &&
            !atomic_load_explicit(&l->segment[i]->bad, memory_order_relaxed))
            pins[n++] = segment_ref(l->segment[i]);
    pthread_rwlock_unlock(&l->lock);
    return n;
}

static size_t warm_lmdb_first_chunk(const segment_entry_t *e)
{
    return e->stream < RECORD_PAYLOAD ? (size_t)e->stream : RECORD_PAYLOAD;
}

/* What was read is read again, into more room. */
static void warm_lmdb_grow(warm_found_t *f, size_t n)
{
    block_free(f->bytes, f->n);
    f->bytes = block_alloc(n);
    f->n = n;
}

/* The beginning of a record, with its head whole. */
static err_t warm_lmdb_head(segment_reader_t *r, digest_t digest, warm_found_t *f)
{
    size_t whole = warm_lmdb_first_chunk(&f->entry);
    f->n = whole < WARM_FIRST_READ ? whole : WARM_FIRST_READ;
    f->bytes = block_alloc(f->n);
    err_t e = segment_chunk(r, f->entry.id, 0, f->entry.page, whole, 0, f->bytes, f->n, &f->sum);
    if (e == ERR_OK && record_parse(span_of(f->bytes, f->n), &f->record) != ERR_OK) {
        e = f->n < whole ? ERR_OK : ERR_CORRUPT; /* perhaps a long head */
        warm_lmdb_grow(f, whole < RECORD_MAX_HEAD ? whole : RECORD_MAX_HEAD);
        e = e != ERR_OK ? e : segment_chunk(r, f->entry.id, 0, f->entry.page, whole, 0, f->bytes, f->n, &f->sum);
        e = e != ERR_OK ? e : record_parse(span_of(f->bytes, f->n), &f->record);
    }
    if (e == ERR_OK && (!hash_eq(f->record.digest, digest) || f->record.variant != f->entry.variant ||
                        f->record.head_size + f->record.body_size != f->entry.stream))
        e = ERR_CORRUPT;
    return e;
}

static bool warm_lmdb_newer(const stored_t *a, const stored_t *b)
{
    return a->date != b->date ? a->date > b->date : a->response_time > b->response_time;
}

static bool warm_lmdb_seen(warm_lookup_t *k, uint64_t variant)
{
    for (size_t i = 0; i < k->seen_n; i++)
        if (k->seen[i] == variant)
            return true;
    k->seen[k->seen_n++] = variant;
    return false;
}

/* A record that can't be read is a miss; a segment with many of them is not worth asking. */
static void warm_lmdb_damaged(warm_lookup_t *k, segment_t *s)
{
    warm_count(&k->l->counts.corrupt);
    if (atomic_fetch_add_explicit(&s->damage, 1, memory_order_relaxed) + 1 >= WARM_MAX_DAMAGE)
        warm_lmdb_condemn(s);
}

/* Better than what newer segments have, and than what this one had so far? */
static bool warm_lmdb_better(const warm_lookup_t *k, const warm_found_t *mine, const warm_found_t *f)
{
    const record_t *r = &f->record;
    return r->mark != MARK_HARD && (mine->s == NULL || warm_lmdb_newer(&r->meta, &mine->record.meta)) &&
           (k->best.s == NULL || warm_lmdb_newer(&r->meta, &k->best.record.meta)) &&
           k->g->match(k->g, r->key, r->selecting, &r->meta);
}

static void warm_lmdb_restamp(warm_found_t *f)
{
    if (f->mark > f->record.mark)
        f->record.mark = f->mark;
    if (f->swept > f->record.checked)
        f->record.checked = f->swept;
}

/* The record without its body. */
static object_t *warm_lmdb_head_object(warm_found_t *f)
{
    record_t r;
    body_t *empty = body_new(0);
    body_end(empty, BODY_COMPLETE);
    warm_lmdb_restamp(f);
    r = f->record;
    r.body_size = 0;
    object_t *o = record_object(&r, empty);
    atomic_fetch_or_explicit(&o->flags, OBJECT_ON_DISK | OBJECT_FROM_DISK, memory_order_relaxed);
    return o;
}

static err_t warm_lmdb_ask(warm_lookup_t *k, segment_reader_t *r, warm_found_t *mine)
{
    warm_found_t f = {.s = r->s};
    err_t e = ERR_NOT_FOUND;
    while (k->seen_n < WARM_VARIANTS_LOOKED && (e = segment_variants(r, k->g->digest, &f.entry)) == ERR_OK) {
        if (warm_lmdb_seen(k, f.entry.variant) || f.entry.id == 0)
            continue; /* a newer segment has it, whatever it says; or it was erased */
        if ((f.mark = segment_mark(r->s, f.entry.id, &f.swept)) == MARK_HARD)
            continue; /* as if it was erased */
        e = warm_lmdb_head(r, k->g->digest, &f);
        if (e == ERR_OK && k->g->each != NULL && f.record.mark != MARK_HARD)
            k->g->each(k->g, warm_lmdb_head_object(&f), f.record.body_size);
        bool better = e == ERR_OK && warm_lmdb_better(k, mine, &f);
        warm_found_t *other = better ? mine : &f;
        block_free(other->bytes, other->n);
        if (better)
            *mine = f;
        if (e == ERR_AGAIN)
            return e;
        if (e != ERR_OK && segment_valid(r))
            warm_lmdb_damaged(k, r->s);
        e = ERR_NOT_FOUND;
    }
    return e;
}

/* The next older segment's word. Commits may have gone over what was being read: then once more. ERR_CLOSED: it didn't
 * hold still. */
static err_t warm_lmdb_ask_whole(warm_lookup_t *k, segment_t *s)
{
    size_t seen = k->seen_n;
    segment_reader_t r;
    for (unsigned tries = 0; tries < WARM_TRIES; tries++) {
        warm_found_t mine = {0};
        k->seen_n = seen;
        segment_read(&r, s, k->nowait);
        err_t e = warm_lmdb_ask(k, &r, &mine);
        if (e != ERR_AGAIN && segment_valid(&r)) {
            if (mine.s != NULL) {
                block_free(k->best.bytes, k->best.n);
                k->best = mine;
            }
            if (e == ERR_CORRUPT || e == ERR_IO)
                warm_lmdb_condemn(s);
            return ERR_OK;
        }
        block_free(mine.bytes, mine.n);
        if (e == ERR_AGAIN)
            return e;
    }
    return ERR_CLOSED;
}

/* ---- the body ---- */

/* Chunk `number` of n bytes, checked as the copy that it is: `head` of them to one place, the rest to another. */
static err_t warm_lmdb_chunk(const warm_found_t *f, uint32_t number, char *head_to, size_t head, char *to, size_t n,
                             bool nowait)
{
    segment_reader_t r;
    uint64_t sum, id = f->entry.id;
    for (unsigned tries = 0;; tries++) {
        segment_read(&r, f->s, nowait); /* the newest commit: older trees are written over */
        err_t e = segment_chunk(&r, id, number, f->entry.page, n, head, to, n - head, &sum);
        if (e == ERR_OK && head > 0)
            e = segment_chunk(&r, id, number, f->entry.page, n, 0, head_to, head, &sum);
        if (e == ERR_OK && sum == (head > 0 ? record_sum_parts(span_of(head_to, head), span_of(to, n - head), id, number)
                                            : record_sum(span_of(to, n), id, number)))
            return ERR_OK;
        if (e == ERR_AGAIN)
            return e;
        if (segment_valid(&r) || tries == WARM_TRIES)
            return e == ERR_OK ? ERR_CORRUPT : e;
    }
}

/* The head and what of the body is in its chunk. A small record is there already; else the head is read again, and
 * parsed again as what was checked. */
static err_t warm_lmdb_first(warm_found_t *f, body_t *body, bool nowait)
{
    size_t whole = warm_lmdb_first_chunk(&f->entry), head = f->record.head_size;
    digest_t digest = f->record.digest;
    if (f->n == whole)
        return record_sum(span_of(f->bytes, whole), f->entry.id, 0) == f->sum
                   ? body_append(body, span_from(span_of(f->bytes, whole), head), NULL)
                   : ERR_CORRUPT;
    err_t e = warm_lmdb_chunk(f, 0, f->bytes, head, body_room(body, whole - head), whole, nowait);
    if (e == ERR_OK)
        e = record_parse(span_of(f->bytes, head), &f->record);
    bool same = e == ERR_OK && hash_eq(f->record.digest, digest) && f->record.variant == f->entry.variant &&
                f->record.head_size == head && head + f->record.body_size == f->entry.stream;
    if (e == ERR_OK && !same)
        e = ERR_CORRUPT;
    if (e == ERR_OK)
        body_grow(body, whole - head);
    return e;
}

static err_t warm_lmdb_body(warm_found_t *f, body_t *body, bool nowait)
{
    uint64_t left = f->entry.stream - warm_lmdb_first_chunk(&f->entry);
    segment_reader_t r;
    err_t e = warm_lmdb_first(f, body, nowait);
    for (uint32_t k = 1; e == ERR_OK && left > 0; k++) {
        size_t n = left < RECORD_PAYLOAD ? (size_t)left : RECORD_PAYLOAD;
        if (!nowait && k % (WARM_AHEAD / RECORD_CHUNK) == 1) {
            segment_read(&r, f->s, false);
            segment_ahead(&r, &f->entry, (uint64_t)k * RECORD_CHUNK, left < WARM_AHEAD ? left : WARM_AHEAD);
        }
        if ((e = warm_lmdb_chunk(f, k, NULL, 0, body_room(body, n), n, nowait)) == ERR_OK)
            body_grow(body, n);
        left -= n;
    }
    return e;
}

static err_t warm_lmdb_object(warm_found_t *f, bool nowait, object_t **out)
{
    body_t *body = body_new((int64_t)f->record.body_size);
    err_t e = warm_lmdb_body(f, body, nowait);
    if (e != ERR_OK) {
        body_unref(body);
        return e;
    }
    body_end(body, BODY_COMPLETE);
    warm_lmdb_restamp(f);
    object_t *o = record_object(&f->record, body);
    atomic_store_explicit(&o->disk_id, f->entry.id, memory_order_relaxed);
    atomic_fetch_or_explicit(&o->flags, OBJECT_ON_DISK | OBJECT_FROM_DISK, memory_order_relaxed);
    *out = o;
    return ERR_OK;
}

/* ---- a lookup ---- */

static err_t warm_lmdb_answer(warm_lookup_t *k, object_t **out)
{
    warm_found_t *f = &k->best;
    if (f->s == NULL)
        return ERR_NOT_FOUND;
    if (k->g->each != NULL) {
        *out = warm_lmdb_head_object(f);
        return ERR_OK;
    }
    if (k->nowait && f->entry.stream > (k->g->now_most != 0 ? k->g->now_most : WARM_NOW_MOST))
        return ERR_AGAIN;
    uint64_t bytes = sizeof(object_t) + sizeof(body_t) + f->entry.stream + 256;
    if (k->g->admit != NULL) {
        if (!k->g->admit(k->g, bytes))
            return ERR_NOT_FOUND;
        k->g->granted = bytes;
    }
    err_t e = warm_lmdb_object(f, k->nowait, out);
    if (e != ERR_OK && e != ERR_AGAIN)
        warm_lmdb_damaged(k, f->s);
    return e;
}

err_t warm_lmdb_lookup(warm_lmdb_t *l, warm_get_t *g, bool nowait, object_t **out)
{
    segment_t *pins[WARM_MAX_SEGMENTS];
    warm_lookup_t k = {.l = l, .g = g, .nowait = nowait};
    size_t n = warm_lmdb_pin(l, g->digest, pins);
    err_t e = ERR_OK;
    *out = NULL;
    for (size_t i = 0; i < n && e == ERR_OK; i++)
        e = warm_lmdb_ask_whole(&k, pins[i]);
    if (e == ERR_OK)
        e = warm_lmdb_answer(&k, out);
    if (e == ERR_OK && g->each == NULL)
        warm_lmdb_touch(l, k.best.entry.id);
    block_free(k.best.bytes, k.best.n);
    for (size_t i = 0; i < n; i++)
        segment_unref(pins[i]);
    if (e == ERR_AGAIN || g->each != NULL)
        return e;
    warm_count(e == ERR_OK ? &l->counts.hits : &l->counts.misses);
    return e == ERR_OK ? ERR_OK : ERR_NOT_FOUND;
}
