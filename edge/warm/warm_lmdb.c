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
#include "edge/warm/guard.h"
#include "edge/warm/warm_priv.h"

warm_counts_t *warm_lmdb_counts(warm_lmdb_t *l)
{
    return &l->counts;
}

uint64_t warm_lmdb_most(const warm_lmdb_t *l)
{
    return l->size / WARM_LARGEST_PART;
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
    warm_sweep_forget(l, s);
    segment_finish(s);
    metrics_add2(METRIC_EVICTIONS, LABEL_TIER_DISK,
                 counter == &l->counts.dropped_full ? LABEL_REASON_ROTATED : LABEL_REASON_DAMAGED,
                 atomic_load_explicit(&s->objects, memory_order_relaxed));
    segment_unlink(s);
    segment_unref(s);
    warm_count(counter);
}

static void warm_lmdb_open_is(warm_lmdb_t *l, segment_t *s)
{
    l->open = s;
    guard_mark(l->directory, s->number);
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

/* A record of another segment, chunk by chunk under a new number. ERR_NOT_FOUND: it can't be read; its first chunks are
 * then without an index entry, so nobody finds them. */
static err_t warm_lmdb_copy(warm_lmdb_t *l, segment_reader_t *from, const segment_entry_t *e, const record_t *r,
                            warm_verdict_t v)
{
    segment_entry_t copy = {.variant = e->variant, .id = l->next_id, .stream = e->stream};
    uint64_t left = e->stream, page, sum;
    l->open->next_id = ++l->next_id;
    for (uint32_t k = 0; left > 0; k++) {
        size_t n = left < RECORD_PAYLOAD ? (size_t)left : RECORD_PAYLOAD;
        char *chunk;
        err_t err = ERR_OK;
        if (l->open->txn_bytes >= WARM_COMMIT_BYTES && (err = segment_commit(l->open)) == ERR_OK)
            err = segment_begin(l->open);
        if (err == ERR_OK)
            err = segment_write_chunk(l->open, copy.id, k, n, &chunk, &page);
        if (err != ERR_OK)
            return err;
        if (segment_chunk(from, e->id, k, e->page, n, 0, chunk + 8, n, &sum) != ERR_OK ||
            record_sum(span_of(chunk + 8, n), e->id, k) != sum) {
            memset(chunk, 0, n + 8);
            warm_count(&l->counts.corrupt);
            return ERR_NOT_FOUND;
        }
        if (k == 0) {
            record_restamp(chunk + 8, r, v.mark, v.upto);
            copy.page = page;
        }
        segment_chunk_done(chunk, copy.id, k, n);
        left -= n;
    }
    warm_lmdb_learn(l, l->open, r->digest);
    return segment_write_index(l->open, r->digest, &copy);
}

/* Does a newer segment say anything of it? One that can't be read might. */
static bool warm_lmdb_superseded(warm_lmdb_t *l, const segment_t *by, digest_t digest, uint64_t variant)
{
    segment_reader_t r;
    segment_entry_t e;
    for (size_t i = 0; i < l->n && l->segment[i] != by; i++) { /* only this thread changes the list */
        segment_t *s = l->segment[i];
        if (!warm_lmdb_segment_maybe(s, digest))
            continue;
        segment_read(&r, s, false);
        if ((s->txn != NULL ? segment_pending(s, digest, variant, &e) : segment_find(&r, digest, variant, &e)) !=
            ERR_NOT_FOUND)
            return true;
    }
    return false;
}

/* What is worth copying under that number. */
static bool warm_lmdb_worth(warm_lmdb_t *l, segment_reader_t *from, uint64_t id, char *head, record_t *r,
                            segment_entry_t *entry, warm_verdict_t *v)
{
    size_t n;
    v->mark = segment_mark(from->s, id, &v->upto);
    return v->mark != MARK_HARD && segment_first(from, id, head, RECORD_MAX_HEAD, &n) == ERR_OK &&
           record_parse(span_of(head, n), r) == ERR_OK && r->mark != MARK_HARD &&
           segment_find(from, r->digest, r->variant, entry) == ERR_OK && entry->id == id &&
           entry->stream == r->head_size + r->body_size && !warm_lmdb_superseded(l, from->s, r->digest, r->variant);
}

static err_t warm_lmdb_second_chance(warm_lmdb_t *l, segment_t *victim)
{
    uint64_t left = l->limit / WARM_REINSERT_PART;
    if (!victim->sealed || victim->hit == NULL || atomic_load_explicit(&victim->bad, memory_order_relaxed))
        return ERR_OK;
    segment_reader_t from;
    char *head = mem_alloc(RECORD_MAX_HEAD);
    segment_read(&from, victim, false);
    err_t e = segment_begin(l->open);
    for (uint64_t id = victim->first_id; e == ERR_OK && id < victim->next_id; id++) {
        record_t r;
        segment_entry_t entry;
        warm_verdict_t v;
        if (!segment_was_hit(victim, id) || !warm_lmdb_worth(l, &from, id, head, &r, &entry, &v))
            continue;
        uint64_t cost = segment_cost(entry.stream);
        if (cost > left)
            continue;
        v.mark = v.mark > r.mark ? v.mark : r.mark;
        v.upto = v.upto > r.checked ? v.upto : r.checked;
        e = warm_lmdb_copy(l, &from, &entry, &r, v);
        if (e == ERR_NOT_FOUND) {
            e = ERR_OK;
            continue;
        }
        left -= cost;
        warm_count(&l->counts.reinserted);
        atomic_fetch_add_explicit(&l->counts.reinserted_bytes, entry.stream, memory_order_relaxed);
        if (e == ERR_OK && l->open->txn_bytes >= WARM_COMMIT_BYTES && (e = segment_commit(l->open)) == ERR_OK)
            e = segment_begin(l->open);
    }
    free(head);
    if (e == ERR_OK)
        return segment_commit(l->open);
    segment_abort(l->open);
    return e;
}

/* A new open segment, and room for it to grow to its limit, or beyond where one record takes more. */
static err_t warm_lmdb_rotate(warm_lmdb_t *l, uint64_t cost)
{
    uint64_t room = cost + cost / 8 > l->limit ? cost + cost / 8 : l->limit;
    if (l->open != NULL)
        warm_lmdb_seal(l, l->open); /* if it fails the segment is gone, which is room too */
    while (l->n > 0 && (l->n >= WARM_MAX_SEGMENTS - 1 || warm_lmdb_bytes(l) + l->margin > l->size))
        warm_lmdb_drop(l, l->segment[l->n - 1], &l->counts.dropped_full);
    segment_t *s;
    err_t e = segment_create(l->directory, l->next_number, room * 4, l->epoch, l->next_id, &s);
    if (e != ERR_OK) {
        log_warn("warm tier: no new segment in %s: %s", l->directory, e == ERR_IO ? strerror(errno) : err_text(e));
        return e;
    }
    l->next_number++;
    warm_lmdb_add(l, s);
    warm_lmdb_open_is(l, s);
    while (l->n > 1 && warm_lmdb_bytes(l) + room + l->margin > l->size) {
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
static err_t warm_lmdb_write_stream(warm_lmdb_t *l, object_t *o, warm_verdict_t verdict, size_t head, uint64_t stream)
{
    body_cursor_t cursor = {0};
    uint64_t left = stream, page;
    segment_entry_t entry = {.variant = object_variant(o), .id = l->open->next_id - 1, .stream = stream};
    err_t e;
    for (uint32_t k = 0; left > 0; k++) {
        size_t n = left < RECORD_PAYLOAD ? (size_t)left : RECORD_PAYLOAD, at = 8;
        char *chunk;
        if (l->open->txn_bytes >= WARM_COMMIT_BYTES &&
            ((e = segment_commit(l->open)) != ERR_OK || (e = segment_begin(l->open)) != ERR_OK))
            return e;
        if ((e = segment_write_chunk(l->open, entry.id, k, n, &chunk, &page)) != ERR_OK)
            return e;
        if (k == 0) {
            entry.page = page;
            record_pack(o, verdict.mark, verdict.upto, chunk + at, head);
            at += head;
        }
        struct iovec v;
        for (; at < n + 8; at += v.iov_len) {
            CHECK(body_read(object_body(o), &cursor, UINT64_MAX, &v, 1, n + 8 - at) == 1);
            memcpy(chunk + at, v.iov_base, v.iov_len);
        }
        segment_chunk_done(chunk, entry.id, k, n);
        left -= n;
    }
    warm_lmdb_learn(l, l->open, o->digest);
    return segment_write_index(l->open, o->digest, &entry);
}

/* Room for `cost` in a running transaction of the open segment. ERR_AGAIN: commit first, then ask again. */
static err_t warm_lmdb_room(warm_lmdb_t *l, uint64_t cost)
{
    bool running = l->open != NULL && l->open->txn != NULL;
    if (running && l->open->txn_bytes >= WARM_COMMIT_BYTES)
        return ERR_AGAIN;
    if (l->open == NULL || segment_used(l->open) + cost + cost / 8 > l->limit) {
        if (running)
            return ERR_AGAIN;
        err_t e = warm_lmdb_commit(l);
        if (e == ERR_OK)
            e = warm_lmdb_rotate(l, cost);
        if (e != ERR_OK)
            return e;
    }
    return l->open->txn == NULL ? segment_begin(l->open) : ERR_OK;
}

err_t warm_lmdb_write(warm_lmdb_t *l, object_t *o, warm_verdict_t v, uint64_t *id)
{
    size_t head;
    if (record_head_size(o, &head) != ERR_OK)
        return ERR_TOO_BIG;
    uint64_t stream = head + body_length(object_body(o)), cost = segment_cost(stream);
    if (cost > warm_lmdb_most(l))
        return ERR_TOO_BIG;
    err_t e = warm_lmdb_room(l, cost);
    if (e != ERR_OK)
        return e;
    *id = l->next_id++;
    l->open->next_id = l->next_id;
    e = warm_lmdb_write_stream(l, o, v, head, stream);
    if (e != ERR_OK) {
        /* all of the transaction is lost with it: the next commit says so */
        if (l->open->txn != NULL)
            segment_abort(l->open);
        l->failed = e;
    }
    return e;
}

/* ---- erasing ----
 *
 * Only the open segment is ever changed: an entry without a record stands there for what is erased, and every reader
 * meets it before what is older. It is as long-lived as it must be: older segments are dropped before it. */

static err_t warm_lmdb_erase_variant(warm_lmdb_t *l, digest_t digest, uint64_t variant)
{
    segment_reader_t r;
    segment_entry_t found = {0}, own;
    for (size_t i = 0; i < l->n; i++) {
        segment_t *s = l->segment[i];
        if (s == l->open || !warm_lmdb_segment_maybe(s, digest))
            continue;
        segment_read(&r, s, false);
        err_t e = segment_find(&r, digest, variant, &found);
        if (e == ERR_OK)
            break; /* also an erasure: what is below is erased */
        if (e != ERR_NOT_FOUND)
            warm_lmdb_condemn(s); /* what can't be erased must not be found */
    }
    if (found.id == 0 && (l->open == NULL || !warm_lmdb_segment_maybe(l->open, digest)))
        return ERR_OK;
    err_t e = warm_lmdb_room(l, WARM_ERASURE);
    if (e != ERR_OK)
        return e;
    e = warm_lmdb_segment_maybe(l->open, digest) ? segment_pending(l->open, digest, variant, &own) : ERR_NOT_FOUND;
    if (e == ERR_NOT_FOUND)
        own = found;
    else if (e != ERR_OK)
        return e;
    if (own.id == 0)
        return ERR_OK; /* erased already, or nowhere */
    l->open->txn_bytes += WARM_ERASURE;
    warm_count(&l->counts.removed);
    warm_lmdb_learn(l, l->open, digest);
    return segment_write_index(l->open, digest, &(segment_entry_t){.variant = variant});
}

static err_t warm_lmdb_erase_key(warm_lmdb_t *l, digest_t digest)
{
    segment_reader_t r;
    segment_entry_t entry;
    err_t e = ERR_OK;
    for (size_t i = 0; i < l->n; i++) {
        segment_t *s = l->segment[i];
        if (s == l->open || !warm_lmdb_segment_maybe(s, digest))
            continue;
        for (segment_read(&r, s, false); (e = segment_variants(&r, digest, &entry)) == ERR_OK;)
            if (entry.id != 0 && (e = warm_lmdb_erase_variant(l, digest, entry.variant)) != ERR_OK)
                return e;
        if (e != ERR_NOT_FOUND)
            warm_lmdb_condemn(s);
    }
    if (l->open == NULL || !warm_lmdb_segment_maybe(l->open, digest))
        return ERR_OK;
    if ((e = warm_lmdb_room(l, WARM_ERASURE)) != ERR_OK)
        return e;
    for (uint64_t from = 0; (e = segment_pending_next(l->open, digest, from, &entry)) == ERR_OK;) {
        if (entry.id != 0 && (e = warm_lmdb_erase_variant(l, digest, entry.variant)) != ERR_OK)
            return e;
        if (entry.variant == UINT64_MAX)
            return ERR_OK;
        from = entry.variant + 1;
    }
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

/* With room from the beginning: whoever looks first and rotates then has looked at another list of segments. */
static err_t warm_lmdb_erase(warm_lmdb_t *l, const warm_erase_t *x)
{
    bool maybe = false;
    for (size_t i = 0; i < l->n && !maybe; i++)
        maybe = warm_lmdb_segment_maybe(l->segment[i], x->digest);
    err_t e = maybe ? warm_lmdb_room(l, WARM_ERASURE) : ERR_NOT_FOUND;
    if (e != ERR_OK)
        return e == ERR_NOT_FOUND ? ERR_OK : e;
    return x->whole_key ? warm_lmdb_erase_key(l, x->digest) : warm_lmdb_erase_variant(l, x->digest, x->variant);
}

err_t warm_lmdb_remove(warm_lmdb_t *l, warm_erase_t which)
{
    err_t e = warm_lmdb_erase(l, &which);
    if (e == ERR_AGAIN)
        return e;
    if (e != ERR_OK)
        l->failed = e;
    if (l->erase_n == l->erase_cap) {
        l->erase_cap = l->erase_cap == 0 ? 64 : l->erase_cap * 2;
        l->erase = mem_realloc(l->erase, l->erase_cap * sizeof *l->erase);
    }
    l->erase[l->erase_n++] = which;
    return e;
}

/* After a commit that failed: what was erased with it must not be found, so segments that may hold it go. */
static void warm_lmdb_erase_at_any_price(warm_lmdb_t *l)
{
    for (size_t k = 0; k < l->erase_n; k++)
        for (size_t i = 0; i < l->n; i++)
            if (warm_lmdb_segment_maybe(l->segment[i], l->erase[k].digest))
                warm_lmdb_condemn(l->segment[i]);
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
        int reason = errno;
        segment_abort(l->open);
        log_warn("warm tier: %s can't be written: %s", l->open->path, e == ERR_IO ? strerror(reason) : err_text(e));
        warm_lmdb_erase_at_any_price(l);
        if (e != ERR_IO || (reason != ENOSPC && !warm_lmdb_no_space(l)))
            warm_lmdb_condemn(l->open); /* a new file may do better */
        else if (l->n > 1)
            warm_lmdb_drop(l, l->segment[l->n - 1], &l->counts.dropped_full);
    }
    l->erase_n = 0;
    warm_lmdb_drop_condemned(l);
    return e;
}

err_t warm_lmdb_sync(warm_lmdb_t *l)
{
    return l->open == NULL ? ERR_OK : segment_sync(l->open);
}

void warm_lmdb_prepare(warm_lmdb_t *l)
{
    for (size_t i = l->n; i-- > 0;) {
        segment_t *s = l->segment[i];
        if (s->sealed || s->filtered)
            continue;
        err_t e = segment_scan(s);
        if (e == ERR_OK)
            e = segment_continue(s, l->limit * 4);
        if (e != ERR_OK) {
            log_warn("warm tier: %s is damaged and is dropped: %s", s->path, err_text(e));
            warm_lmdb_drop(l, s, &l->counts.dropped_bad);
            continue;
        }
        pthread_rwlock_wrlock(&l->lock);
        s->filtered = true;
        pthread_rwlock_unlock(&l->lock);
        if (i == 0)
            warm_lmdb_open_is(l, s);
        else
            warm_lmdb_seal(l, s);
    }
}

void warm_lmdb_close(warm_lmdb_t *l)
{
    warm_lmdb_commit(l);
    if (l->open != NULL)
        warm_lmdb_seal(l, l->open);
    guard_mark(NULL, 0);
    marks_release(&l->walk.marks);
    for (size_t i = 0; i < l->n; i++)
        segment_unref(l->segment[i]);
    close(l->lock_fd);
    pthread_rwlock_destroy(&l->lock);
    free(l->directory);
    free(l->erase);
    free(l);
}
