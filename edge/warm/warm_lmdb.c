/* The segments of a warm tier, newest first: all but the newest are sealed and read-only (but for erased index
 * entries), the newest is written, and when all together would pass the budget the oldest is dropped whole. One
 * environment with deletions would fragment until nothing fits; a queue of append-only files never does.
 *
 * First in, first out would throw away what is popular, so what was hit in a segment (a bit in memory) is copied to the
 * newest before its segment is dropped, up to a quarter of a segment.
 *
 * A variant that is written again is simply newer: lookups ask from the newest to the oldest, and the first entry for a
 * variant counts, whatever older segments say. */
#include <errno.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "edge/base/check.h"
#include "edge/base/log.h"
#include "edge/base/mem.h"
#include "edge/policy/reuse.h"
#include "edge/tbl/metrics.h"
#include "edge/warm/warm_priv.h"

warm_counts_t *warm_lmdb_counts(warm_lmdb_t *l)
{
    return &l->counts;
}

uint64_t warm_lmdb_most(const warm_lmdb_t *l)
{
    return l->limit - l->limit / 8 - WARM_SLACK / 4;
}

/* ---- the list ---- */

static void warm_lmdb_add(warm_lmdb_t *l, segment_t *s)
{
    CHECK(l->n < WARM_MAX_SEGMENTS);
    pthread_rwlock_wrlock(&l->lock);
    memmove(&l->segment[1], &l->segment[0], l->n * sizeof *l->segment);
    l->segment[0] = s;
    l->n++;
    pthread_rwlock_unlock(&l->lock);
}

void warm_lmdb_drop(warm_lmdb_t *l, segment_t *s, _Atomic uint64_t *counter)
{
    pthread_rwlock_wrlock(&l->lock);
    size_t at = 0;
    while (l->segment[at] != s)
        at++;
    l->n--;
    memmove(&l->segment[at], &l->segment[at + 1], (l->n - at) * sizeof *l->segment);
    pthread_rwlock_unlock(&l->lock);
    if (l->open == s)
        l->open = NULL;
    if (s->txn != NULL)
        segment_abort(s);
    metrics_add2(METRIC_EVICTIONS, LABEL_TIER_DISK,
                 counter == &l->counts.dropped_full ? LABEL_REASON_ROTATED : LABEL_REASON_DAMAGED,
                 atomic_load_explicit(&s->objects, memory_order_relaxed));
    segment_unlink(s);
    segment_unref(s);
    warm_count(counter);
}

uint64_t warm_lmdb_bytes(warm_lmdb_t *l)
{
    uint64_t bytes = 0;
    pthread_rwlock_rdlock(&l->lock);
    for (size_t i = 0; i < l->n; i++)
        bytes += atomic_load_explicit(&l->segment[i]->bytes, memory_order_relaxed);
    pthread_rwlock_unlock(&l->lock);
    return bytes;
}

void warm_lmdb_measure(warm_lmdb_t *l, warm_stats_t *out)
{
    out->budget = l->size;
    pthread_rwlock_rdlock(&l->lock);
    out->segments = l->n;
    for (size_t i = 0; i < l->n; i++) {
        const segment_t *s = l->segment[i];
        out->bytes += atomic_load_explicit(&s->bytes, memory_order_relaxed);
        out->objects += atomic_load_explicit(&s->objects, memory_order_relaxed);
        out->memory += sizeof *s + s->set.n * sizeof(uint64_t) + s->bloom.n * sizeof *s->bloom.blocks;
        if (s->hit != NULL)
            out->memory += (s->next_id - s->first_id) / 8 + 1;
    }
    pthread_rwlock_unlock(&l->lock);
}

bool warm_lmdb_segment_maybe(const segment_t *s, digest_t digest)
{
    if (!s->filtered)
        return true;
    return s->sealed ? filter_bloom_maybe(&s->bloom, digest) : filter_set_maybe(&s->set, digest);
}

bool warm_lmdb_maybe(warm_lmdb_t *l, digest_t digest)
{
    bool maybe = false;
    pthread_rwlock_rdlock(&l->lock);
    for (size_t i = 0; i < l->n && !maybe; i++)
        maybe = warm_lmdb_segment_maybe(l->segment[i], digest);
    pthread_rwlock_unlock(&l->lock);
    return maybe;
}

bool warm_lmdb_touch(warm_lmdb_t *l, uint64_t id)
{
    bool there = false;
    pthread_rwlock_rdlock(&l->lock);
    for (size_t i = 0; i < l->n; i++) {
        segment_t *s = l->segment[i];
        if (id < s->first_id)
            continue;
        there = !s->sealed || id < s->next_id;
        if (there && s->sealed)
            segment_hit(s, id);
        break;
    }
    pthread_rwlock_unlock(&l->lock);
    return there;
}

/* ---- writing ---- */

static void warm_lmdb_learn(warm_lmdb_t *l, segment_t *s, digest_t digest)
{
    if (filter_set_full(&s->set)) {
        _Atomic uint64_t *grown = filter_set_grown(&s->set);
        pthread_rwlock_wrlock(&l->lock);
        _Atomic uint64_t *old = filter_set_swap(&s->set, grown);
        pthread_rwlock_unlock(&l->lock);
        free((void *)old);
    }
    filter_set_add(&s->set, digest);
}

static err_t warm_lmdb_seal(warm_lmdb_t *l, segment_t *s)
{
    filter_bloom_t bloom;
    err_t e = segment_seal(s, &bloom);
    if (e != ERR_OK) {
        log_warn("warm tier: segment %s can't be sealed and is dropped: %s", s->path,
                 e == ERR_IO ? strerror(errno) : err_text(e));
        warm_lmdb_drop(l, s, &l->counts.dropped_bad);
        return e;
    }
    pthread_rwlock_wrlock(&l->lock);
    filter_set_t set = s->set;
    s->set = (filter_set_t){0};
    s->bloom = bloom;
    s->sealed = true;
    segment_make_hit_bits(s);
    pthread_rwlock_unlock(&l->lock);
    filter_set_release(&set);
    if (l->open == s)
        l->open = NULL;
    return ERR_OK;
}

/* A record of another segment, chunk by chunk under a new number. */
static err_t warm_lmdb_copy(warm_lmdb_t *l, segment_t *from, MDB_txn *txn, const segment_entry_t *e, digest_t digest)
{
    uint64_t id = l->next_id, chunks = record_chunks(e->stream);
    for (uint32_t k = 0; k < chunks; k++) {
        span_t payload;
        uint64_t sum;
        char *chunk;
        err_t err = segment_chunk(from, txn, e->id, k, &payload, &sum);
        if (err == ERR_OK && record_sum(payload, e->id, k) != sum)
            err = ERR_CORRUPT;
        if (err == ERR_OK)
            err = segment_write_chunk(l->open, id, k, payload.n, &chunk);
        if (err != ERR_OK)
            return err;
        memcpy(chunk + 8, payload.p, payload.n);
        segment_chunk_done(chunk, id, k, payload.n);
    }
    l->next_id++;
    l->open->next_id = l->next_id;
    warm_lmdb_learn(l, l->open, digest);
    return segment_write_index(l->open, digest, e->variant, id, e->stream);
}

static bool warm_lmdb_superseded(warm_lmdb_t *l, const segment_t *by, digest_t digest, uint64_t variant)
{
    for (size_t i = 0; i < l->n && l->segment[i] != by; i++) { /* only this thread changes the list */
        segment_t *s = l->segment[i];
        MDB_txn *txn;
        segment_entry_t e;
        if (!warm_lmdb_segment_maybe(s, digest))
            continue;
        if (s->txn != NULL) {
            if (segment_find(s, s->txn, digest, variant, &e) == ERR_OK)
                return true;
        } else if (segment_read(s, &txn) == ERR_OK) {
            err_t err = segment_find(s, txn, digest, variant, &e);
            mdb_txn_abort(txn);
            if (err == ERR_OK)
                return true;
        }
    }
    return false;
}

static err_t warm_lmdb_second_chance(warm_lmdb_t *l, segment_t *victim)
{
    MDB_txn *txn;
    uint64_t left = l->limit / WARM_REINSERT_PART;
    if (!victim->sealed || victim->hit == NULL || segment_read(victim, &txn) != ERR_OK)
        return ERR_OK;
    err_t e = segment_begin(l->open);
    for (uint64_t id = victim->first_id; e == ERR_OK && id < victim->next_id; id++) {
        if (!segment_was_hit(victim, id))
            continue;
        span_t first;
        uint64_t sum;
        record_t r;
        segment_entry_t entry;
        if (segment_chunk(victim, txn, id, 0, &first, &sum) != ERR_OK || record_parse(first, &r) != ERR_OK ||
            segment_find(victim, txn, r.digest, r.variant, &entry) != ERR_OK || entry.id != id ||
            entry.stream != r.head_size + r.body_size || r.mark == MARK_HARD)
            continue;
        uint64_t cost = segment_cost(entry.stream);
        if (cost > left)
            continue;
        if (warm_lmdb_superseded(l, victim, r.digest, r.variant))
            continue;
        digest_t digest = r.digest;
        e = warm_lmdb_copy(l, victim, txn, &entry, digest);
        if (e == ERR_CORRUPT) {
            /* its first chunks are without an index entry: never found */
            warm_count(&l->counts.corrupt);
            l->next_id++;
            l->open->next_id = l->next_id;
            e = ERR_OK;
            continue;
        }
        left -= cost;
        warm_count(&l->counts.reinserted);
        atomic_fetch_add_explicit(&l->counts.reinserted_bytes, entry.stream, memory_order_relaxed);
        if (e == ERR_OK && l->open->txn_bytes >= WARM_COMMIT_BYTES && (e = segment_commit(l->open)) == ERR_OK)
            e = segment_begin(l->open);
    }
    mdb_txn_abort(txn);
    if (l->open->txn != NULL) {
        if (e == ERR_OK)
            e = segment_commit(l->open);
        else
            segment_abort(l->open);
    }
    return e;
}

/* A new open segment, and room for it to grow to its limit. */
static err_t warm_lmdb_rotate(warm_lmdb_t *l)
{
    if (l->open != NULL)
        warm_lmdb_seal(l, l->open); /* if it fails the segment is gone, which is room too */
    while (l->n > 0 && (l->n >= WARM_MAX_SEGMENTS - 1 || warm_lmdb_bytes(l) + l->margin > l->size))
        warm_lmdb_drop(l, l->segment[l->n - 1], &l->counts.dropped_full);
    segment_t *s;
    err_t e = segment_create(l->directory, l->next_number, l->limit * 4, l->epoch, l->next_id, &s);
    if (e != ERR_OK) {
        log_warn("warm tier: no new segment in %s: %s", l->directory, e == ERR_IO ? strerror(errno) : err_text(e));
        return e;
    }
    l->next_number++;
    warm_lmdb_add(l, s);
    l->open = s;
    while (l->n > 1 && warm_lmdb_bytes(l) + l->limit + l->margin > l->size) {
        segment_t *victim = l->segment[l->n - 1];
        e = warm_lmdb_second_chance(l, victim);
        warm_lmdb_drop(l, victim, &l->counts.dropped_full);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

static void warm_lmdb_drop_condemned(warm_lmdb_t *l)
{
    for (size_t i = l->n; i-- > 0;)
        if (atomic_load_explicit(&l->segment[i]->bad, memory_order_relaxed)) {
            log_warn("warm tier: segment %s is damaged and is dropped", l->segment[i]->path);
            warm_lmdb_drop(l, l->segment[i], &l->counts.dropped_bad);
        }
}

/* Under the newest number of the open segment. */
static err_t warm_lmdb_write_stream(warm_lmdb_t *l, object_t *o, uint32_t mark, size_t head, uint64_t stream)
{
    body_cursor_t cursor = {0};
    uint64_t left = stream, id = l->open->next_id - 1;
    err_t e;
    for (uint32_t k = 0; left > 0; k++) {
        size_t n = left < RECORD_PAYLOAD ? (size_t)left : RECORD_PAYLOAD, at = 8;
        char *chunk;
        if (l->open->txn_bytes >= WARM_COMMIT_BYTES &&
            ((e = segment_commit(l->open)) != ERR_OK || (e = segment_begin(l->open)) != ERR_OK))
            return e;
        if ((e = segment_write_chunk(l->open, id, k, n, &chunk)) != ERR_OK)
            return e;
        if (k == 0) {
            record_pack(o, mark, chunk + at, head);
            at += head;
        }
        struct iovec v;
        for (; at < n + 8; at += v.iov_len) {
            CHECK(body_read(o->body, &cursor, UINT64_MAX, &v, 1, n + 8 - at) == 1);
            memcpy(chunk + at, v.iov_base, v.iov_len);
        }
        segment_chunk_done(chunk, id, k, n);
        left -= n;
    }
    warm_lmdb_learn(l, l->open, o->digest);
    return segment_write_index(l->open, o->digest, o->variant, id, stream);
}

err_t warm_lmdb_write(warm_lmdb_t *l, object_t *o, uint32_t mark, uint64_t *id)
{
    size_t head;
    if (record_head_size(o, &head) != ERR_OK)
        return ERR_TOO_BIG;
    uint64_t stream = head + body_length(o->body), cost = segment_cost(stream);
    if (cost > warm_lmdb_most(l))
        return ERR_TOO_BIG;
    bool running = l->open != NULL && l->open->txn != NULL;
    if (running && l->open->txn_bytes >= WARM_COMMIT_BYTES)
        return ERR_AGAIN;
    if (l->open == NULL || segment_used(l->open) + cost + cost / 8 > l->limit) {
        if (running)
            return ERR_AGAIN;
        err_t e = warm_lmdb_commit(l); /* erasures in older segments: nothing erased may be copied */
        if (e == ERR_OK)
            e = warm_lmdb_rotate(l);
        if (e != ERR_OK)
            return e;
    }
    err_t e = ERR_OK;
    if (l->open->txn == NULL && (e = segment_begin(l->open)) != ERR_OK)
        return e;
    *id = l->next_id++;
    l->open->next_id = l->next_id;
    e = warm_lmdb_write_stream(l, o, mark, head, stream);
    if (e != ERR_OK) {
        /* all of the transaction is lost with it: the next commit says so */
        if (l->open->txn != NULL)
            segment_abort(l->open);
        l->failed = e;
    }
    return e;
}

/* Erases in the segment's running transaction, beginning one if there is something to erase. */
static err_t warm_lmdb_erase_one(warm_lmdb_t *l, segment_t *s, const warm_erase_t *x)
{
    if (!warm_lmdb_segment_maybe(s, x->digest))
        return ERR_OK;
    err_t e = s->txn == NULL ? segment_begin(s) : ERR_OK;
    for (bool more = true; e == ERR_OK && more; more = x->whole_key) {
        segment_entry_t entry = {.variant = x->variant};
        if (x->whole_key) {
            MDB_cursor *cursor = NULL;
            e = segment_variants(s, s->txn, x->digest, &cursor, &entry);
            segment_variants_end(&cursor);
        }
        if (e == ERR_OK && (e = segment_erase(s, x->digest, entry.variant)) == ERR_OK)
            warm_count(&l->counts.removed);
    }
    if (e == ERR_OK || e == ERR_NOT_FOUND)
        return ERR_OK;
    warm_lmdb_condemn(s); /* what can't be erased must not be found */
    return e;
}

/* In the open segment at once; in sealed ones at the commit, one after the other, so that no two write transactions are
 * open at a time. What the running transaction puts is newer than any of those. */
void warm_lmdb_remove(warm_lmdb_t *l, warm_erase_t which)
{
    if (l->open != NULL)
        warm_lmdb_erase_one(l, l->open, &which);
    if (l->erase_n == l->erase_cap) {
        l->erase_cap = l->erase_cap == 0 ? 64 : l->erase_cap * 2;
        l->erase = mem_realloc(l->erase, l->erase_cap * sizeof *l->erase);
    }
    l->erase[l->erase_n++] = which;
}

static void warm_lmdb_erase(warm_lmdb_t *l, segment_t *s)
{
    err_t e = ERR_OK;
    for (size_t i = 0; i < l->erase_n && e == ERR_OK; i++)
        e = warm_lmdb_erase_one(l, s, &l->erase[i]);
    if (s->txn != NULL && segment_commit(s) != ERR_OK)
        warm_lmdb_condemn(s);
}

/* LMDB calls a write that was cut short by a full file system an I/O error. */
static bool warm_lmdb_no_space(const warm_lmdb_t *l)
{
    struct statvfs fs;
    return statvfs(l->directory, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize < 2 * WARM_COMMIT_BYTES;
}

err_t warm_lmdb_commit(warm_lmdb_t *l)
{
    err_t e = l->failed;
    l->failed = ERR_OK;
    if (e == ERR_OK && l->open != NULL && l->open->txn != NULL)
        e = segment_commit(l->open);
    if (e != ERR_OK && l->open != NULL) {
        log_warn("warm tier: %s can't be written: %s", l->open->path, e == ERR_IO ? strerror(errno) : err_text(e));
        if (e != ERR_IO || (errno != ENOSPC && !warm_lmdb_no_space(l)))
            warm_lmdb_condemn(l->open); /* a new file may do better */
        else if (l->n > 1)
            warm_lmdb_drop(l, l->segment[l->n - 1], &l->counts.dropped_full);
    }
    for (size_t i = 0; i < l->n && l->erase_n > 0; i++)
        if (l->segment[i] != l->open)
            warm_lmdb_erase(l, l->segment[i]);
    l->erase_n = 0;
    warm_lmdb_drop_condemned(l);
    return e;
}

err_t warm_lmdb_sync(warm_lmdb_t *l)
{
    return l->open == NULL || mdb_env_sync(l->open->env, 1) == 0 ? ERR_OK : ERR_IO;
}

void warm_lmdb_prepare(warm_lmdb_t *l)
{
    for (size_t i = l->n; i-- > 0;) {
        segment_t *s = l->segment[i];
        if (s->sealed || s->filtered)
            continue;
        if (segment_scan(s) != ERR_OK) {
            warm_lmdb_drop(l, s, &l->counts.dropped_bad);
            continue;
        }
        pthread_rwlock_wrlock(&l->lock);
        s->filtered = true;
        pthread_rwlock_unlock(&l->lock);
        if (i == 0)
            l->open = s;
        else
            warm_lmdb_seal(l, s);
    }
}

void warm_lmdb_close(warm_lmdb_t *l)
{
    warm_lmdb_commit(l);
    if (l->open != NULL)
        warm_lmdb_seal(l, l->open);
    for (size_t i = 0; i < l->n; i++) {
        unlink(l->segment[i]->lock_path);
        segment_unref(l->segment[i]);
    }
    close(l->lock_fd);
    pthread_rwlock_destroy(&l->lock);
    free(l->directory);
    free(l->erase);
    free(l);
}
