/* One segment of the warm tier: one LMDB environment in one file, written once from front to back, then sealed, read,
 * and dropped whole.
 *
 *   i: digest (16 bytes) variant (8), big-endian → id, bytes of the stream. Written last: what has no entry here isn't
 *      there.
 *   d: id (8) chunk (4), big-endian → checksum, payload. Ids grow, so every write is an append.
 *   m: "form", "epoch", "first" (the first id), and when sealed "filter" (the Bloom filter).
 *
 * Threads: one writer at a time (segment_write* and segment_seal); readers at any time, each with its own transaction,
 * kept as short as a record takes. Errors: ERR_IO (errno is set), ERR_CORRUPT (LMDB found damage; drop the segment). */
#ifndef BRINK_WARM_SEGMENT_H
#define BRINK_WARM_SEGMENT_H

#include <lmdb.h>

#include "edge/warm/filter.h"
#include "edge/warm/record.h"

typedef struct segment {
    atomic_int refs; /* the tier's, and one for each reader at work; the last closes the environment */
    uint64_t number; /* grows; in the file's name */
    char *path;      /* as it is called now */
    char *lock_path; /* LMDB's lock file keeps the name that it was opened under */
    MDB_env *env;
    MDB_dbi i, d, m;
    uint64_t first_id, next_id; /* ids of this segment; next_id is the writer's until sealed */
    bool sealed;
    atomic_bool bad;                 /* found damaged: not asked any more, dropped by the writer */
    bool filtered;                   /* `set` or `bloom` knows everything that is here */
    filter_set_t set;                /* of an open segment */
    filter_bloom_t bloom;            /* of a sealed one */
    _Atomic uint8_t *hit;            /* of a sealed one: a bit an id, set when it was read */
    _Atomic uint64_t bytes, objects; /* bytes of file as last seen by the writer */
    /* ---- the writer's ---- */
    MDB_txn *txn;
    uint64_t txn_bytes; /* put into the transaction, tree pages estimated */
} segment_t;

/* What the bytes of one record cost in a segment, pages and index included. */
uint64_t segment_cost(uint64_t stream);

/* Creates DIRECTORY/NUMBER.open. */
err_t segment_create(const char *directory, uint64_t number, uint64_t map, uint64_t epoch, uint64_t first_id,
                     segment_t **out);
/* Opens one that exists, looking at its file before LMDB does. ERR_CORRUPT, ERR_REFUSED: another epoch's. */
err_t segment_open(const char *path, uint64_t number, bool sealed, uint64_t map, uint64_t epoch, segment_t **out);
segment_t *segment_ref(segment_t *s);
void segment_unref(segment_t *s);
/* Removes the files; readers at work go on. */
void segment_unlink(segment_t *s);

/* ---- writing: between segment_begin and segment_commit (or segment_abort) ---- */
err_t segment_begin(segment_t *s);
/* Sum and payload of a chunk into space inside the transaction: `*payload` is to be filled (n bytes), then
 * segment_chunk_done. */
err_t segment_write_chunk(segment_t *s, uint64_t id, uint32_t number, size_t n, char **chunk);
void segment_chunk_done(char *chunk, uint64_t id, uint32_t number, size_t n);
err_t segment_write_index(segment_t *s, digest_t digest, uint64_t variant, uint64_t id, uint64_t stream);
err_t segment_erase(segment_t *s, digest_t digest, uint64_t variant); /* ERR_NOT_FOUND */
err_t segment_commit(segment_t *s);                                   /* the transaction is gone in every case */
void segment_abort(segment_t *s);
/* Bytes of file that are certainly in use when the running transaction is committed. */
uint64_t segment_used(const segment_t *s);
/* Fills `set` of an open segment from its index; nothing may read the set meanwhile. */
err_t segment_scan(segment_t *s);
/* Makes it durable and gives it its final name. From here on commits are synchronous. The Bloom filter is built and
 * stored, but in use only after the caller has put it into `bloom`. */
err_t segment_seal(segment_t *s, filter_bloom_t *bloom);
void segment_make_hit_bits(segment_t *s);

/* ---- reading ---- */
err_t segment_read(segment_t *s, MDB_txn **txn);
typedef struct segment_entry {
    uint64_t variant, id, stream;
} segment_entry_t;
/* The next variant of the digest, in order; *cursor is NULL at first and closed by the call that answers ERR_NOT_FOUND
 * or an error, or by segment_variants_end. */
err_t segment_variants(segment_t *s, MDB_txn *txn, digest_t digest, MDB_cursor **cursor, segment_entry_t *out);
void segment_variants_end(MDB_cursor **cursor);
/* One variant. */
err_t segment_find(segment_t *s, MDB_txn *txn, digest_t digest, uint64_t variant, segment_entry_t *out);
/* Payload of a chunk as it lies in the file, its pages asked for in one go; the checksum beside it, not yet compared.
 */
err_t segment_chunk(segment_t *s, MDB_txn *txn, uint64_t id, uint32_t number, span_t *payload, uint64_t *sum);

static inline bool segment_owns(const segment_t *s, uint64_t id)
{
    return id >= s->first_id && id < s->next_id;
}
static inline bool segment_was_hit(const segment_t *s, uint64_t id)
{
    uint64_t at = id - s->first_id;
    return (atomic_load_explicit(&s->hit[at / 8], memory_order_relaxed) >> at % 8 & 1) != 0;
}
static inline void segment_hit(segment_t *s, uint64_t id)
{
    uint64_t at = id - s->first_id;
    if (s->hit != NULL && segment_owns(s, id) && !segment_was_hit(s, id))
        atomic_fetch_or_explicit(&s->hit[at / 8], (uint8_t)(1u << at % 8), memory_order_relaxed);
}

#endif
