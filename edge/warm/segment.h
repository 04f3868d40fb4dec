/* One segment of the warm tier: one LMDB environment in one file, written once from front to back, then sealed, read,
 * and dropped whole. LMDB writes it (segment_write.c); it is read by tree.h, so no reader ever touches a mapped page.
 *
 *   i: digest (16 bytes) variant (8), big-endian → id, bytes of the stream, page. Written last: what has no entry here
 *      isn't there. id 0: erased, and so in all older segments.
 *   d: id (8) chunk (4), big-endian → checksum, payload. Ids grow, so every write is an append.
 *   m: "form", "epoch", "first" (the first id), and when sealed "filter" (checksum, Bloom filter).
 *
 * Beside it NUMBER.marks: what the purge ledger said of the records afterwards (marks.h).
 *
 * Readers see the last commit (segment_view_t). LMDB may reuse its tree pages from the third commit after, so a reader
 * asks at the end whether what it saw was still whole (segment_view_valid).
 *
 * Threads: one writer at a time (segment_begin and what follows it); readers at any time. Errors: ERR_IO (errno is
 * set), ERR_CORRUPT (damage; drop the segment), ERR_AGAIN (only when asked not to wait: it isn't in the page cache). */
#ifndef BRINK_WARM_SEGMENT_H
#define BRINK_WARM_SEGMENT_H

#include <lmdb.h>
#include <pthread.h>

#include "edge/warm/filter.h"
#include "edge/warm/marks.h"
#include "edge/warm/record.h"
#include "edge/warm/tree.h"

/* Of one commit. */
typedef struct segment_view {
    uint64_t txnid, pages;
    tree_db_t i, d;
} segment_view_t;

typedef struct segment {
    atomic_int refs; /* the tier's, and one for each reader at work */
    uint64_t number; /* grows; in the file's name */
    char *path;      /* as it is called now */
    int fd;          /* for reading */
    pthread_mutex_t view_lock;
    segment_view_t view;
    marks_t marks; /* under view_lock; changed by the writer */
    uint64_t epoch;
    uint64_t first_id, next_id; /* ids of this segment; next_id is the writer's until sealed */
    bool sealed;
    atomic_uint damage;              /* records that couldn't be read */
    atomic_bool bad;                 /* found damaged: not asked any more, dropped by the writer */
    bool filtered;                   /* `set` or `bloom` knows everything that is here */
    filter_set_t set;                /* of an open segment */
    filter_bloom_t bloom;            /* of a sealed one */
    _Atomic uint8_t *hit;            /* of a sealed one: a bit an id, set when it was read */
    _Atomic uint64_t bytes, objects; /* bytes of file as last seen by the writer; entries that aren't erasures */
    /* ---- the writer's ---- */
    MDB_env *env; /* NULL unless it is the open one */
    MDB_dbi i, d, m;
    MDB_txn *txn;
    uint64_t txn_bytes;  /* put into the transaction, tree pages estimated */
    uint64_t tombstones; /* in `i` */
} segment_t;

/* What the bytes of one record cost in a segment, pages and index included. */
uint64_t segment_cost(uint64_t stream);

/* Creates DIRECTORY/NUMBER.open; until it can be read it is called NUMBER.begin. */
err_t segment_create(const char *directory, uint64_t number, uint64_t map, uint64_t epoch, uint64_t first_id,
                     segment_t **out);
/* Opens one that exists, for reading. ERR_CORRUPT, ERR_REFUSED: another epoch's. */
err_t segment_open(const char *path, uint64_t number, bool sealed, uint64_t epoch, segment_t **out);
segment_t *segment_ref(segment_t *s);
void segment_unref(segment_t *s); /* the writer has ended its part by then: segment_seal or segment_finish */
/* Removes the file; readers at work go on. */
void segment_unlink(segment_t *s);
char *segment_marks_path(const char *path); /* the caller's to free */

/* ---- writing ---- */
/* Makes a segment that was opened unsealed the writer's, after all of its trees were looked at. Waits for the disk. */
err_t segment_continue(segment_t *s, uint64_t map);
/* Ends the writer's part without sealing. */
void segment_finish(segment_t *s);
err_t segment_begin(segment_t *s);
/* Sum and payload of a chunk into space inside the transaction: `*payload` is to be filled (n bytes), then
 * segment_chunk_done. `*page`: where it will lie in the file if it has pages of its own, else 0. */
err_t segment_write_chunk(segment_t *s, uint64_t id, uint32_t number, size_t n, char **chunk, uint64_t *page);
void segment_chunk_done(char *chunk, uint64_t id, uint32_t number, size_t n);
typedef struct segment_entry {
    uint64_t variant, id, stream, page; /* id 0: erased; page of the first chunk, 0: look it up */
} segment_entry_t;
err_t segment_write_index(segment_t *s, digest_t digest, const segment_entry_t *entry);
/* What the running transaction has for it. */
err_t segment_pending(segment_t *s, digest_t digest, uint64_t variant, segment_entry_t *out);
/* The first variant of the digest from `variant` on in the running transaction. */
err_t segment_pending_next(segment_t *s, digest_t digest, uint64_t variant, segment_entry_t *out);
err_t segment_commit(segment_t *s); /* the transaction is gone in every case */
void segment_abort(segment_t *s);
err_t segment_sync(segment_t *s);
/* Bytes of file that are certainly in use when the running transaction is committed. */
uint64_t segment_used(const segment_t *s);
/* Makes it durable and gives it its final name; the writer's part is over. The Bloom filter is built and stored, but in
 * use only after the caller has put it into `bloom`. */
err_t segment_seal(segment_t *s, filter_bloom_t *bloom);
void segment_make_hit_bits(segment_t *s);

/* ---- reading ---- */
/* Reading one segment as it was at a commit; nothing to release. Large: one a thread and level. */
typedef struct segment_reader {
    segment_t *s;
    segment_view_t view;
    tree_file_t file;
    tree_cursor_t cursor;
    bool begun; /* segment_variants */
} segment_reader_t;
void segment_read(segment_reader_t *r, segment_t *s, bool nowait);
/* What was read, and what wasn't found, was so at that commit. False: read again. */
bool segment_valid(const segment_reader_t *r);
/* The next variant of the digest, in order, erasures too; ERR_NOT_FOUND: no more. */
err_t segment_variants(segment_reader_t *r, digest_t digest, segment_entry_t *out);
/* One variant. */
err_t segment_find(segment_reader_t *r, digest_t digest, uint64_t variant, segment_entry_t *out);
/* `n` payload bytes from `from` on of a chunk that has `whole` of them, and the sum of these; `page` as in the entry,
 * for chunk 0. */
err_t segment_chunk(segment_reader_t *r, uint64_t id, uint32_t number, uint64_t page, size_t whole, size_t from,
                    char *to, size_t n, uint64_t *sum);
/* Up to n payload bytes of the first chunk, without knowing its length. */
err_t segment_first(segment_reader_t *r, uint64_t id, char *to, size_t n, size_t *got);
/* Hints that a record will be read from `from` on, `n` bytes: its chunks lie one behind the other, mostly. */
void segment_ahead(segment_reader_t *r, const segment_entry_t *entry, uint64_t from, uint64_t n);
/* What the ledger said of a record after it was written, and up to which position that holds (0: never asked). */
uint32_t segment_mark(segment_t *s, uint64_t id, uint64_t *swept);
/* The writer's: takes over `m`, durably. On error (ERR_IO) it is released, and what was known before stays. */
err_t segment_set_marks(segment_t *s, marks_t *m);
/* Fills `set` of an open segment from its index; nothing may read the set meanwhile. */
err_t segment_scan(segment_t *s);

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
