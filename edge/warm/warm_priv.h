/* What warm_io.c (threads and queues) asks of warm_lmdb.c (segments on disk). */
#ifndef BRINK_WARM_WARM_PRIV_H
#define BRINK_WARM_WARM_PRIV_H

#include <pthread.h>

#include "edge/warm/segment.h"
#include "edge/warm/warm.h"

enum {
    WARM_COMMIT_BYTES = 4 * 1024 * 1024,
    WARM_MAX_DAMAGE = 64,    /* records of a segment that can't be read; then it is dropped */
    WARM_MAX_SEGMENTS = 64,  /* more are left over only from a configuration with a larger size */
    WARM_SLACK = 256 * 1024, /* of tree pages that the estimate of a record does not see */
    WARM_ERASURE = 128,      /* bytes that an erasure costs */
    WARM_LARGEST_PART = 4,   /* one record takes at most so much of the disk */
    WARM_REINSERT_PART = 4   /* at most a quarter of a segment is filled with what was hit in the dropped one */
};

typedef struct warm_lmdb warm_lmdb_t;

typedef struct warm_counts {
    _Atomic uint64_t hits, misses, corrupt, reinserted, reinserted_bytes, removed;
    _Atomic uint64_t dropped_full, dropped_bad, dropped_epoch, dropped_boot;
} warm_counts_t;

typedef struct warm_erase {
    digest_t digest;
    uint64_t variant;
    bool whole_key;
} warm_erase_t;

typedef struct warm_verdict {
    uint32_t mark;
    uint64_t upto; /* position of the purge ledger that it holds for */
} warm_verdict_t;

/* A walk over one segment. */
typedef struct warm_walk {
    segment_t *s; /* NULL: none is on its way; not a reference, the writer's drop ends it */
    uint64_t goal, id, end;
    marks_t marks;
} warm_walk_t;

struct warm_lmdb {
    char *directory;
    int lock_fd;
    uint64_t size, limit, margin, epoch;
    warm_counts_t counts;

    pthread_rwlock_t lock;                 /* guards the list, and what a segment's sealing changes in it */
    segment_t *segment[WARM_MAX_SEGMENTS]; /* newest first */
    size_t n;

    /* ---- the writer's ---- */
    segment_t *open; /* also segment[0]; NULL = none yet */
    uint64_t next_number, next_id;
    warm_walk_t walk;
    err_t failed;        /* the running transaction was given up */
    warm_erase_t *erase; /* of the running transaction */
    size_t erase_n, erase_cap;
};

static inline void warm_count(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

err_t warm_lmdb_open(const warm_options_t *options, warm_lmdb_t **out, char *sentence);
void warm_lmdb_close(warm_lmdb_t *l); /* after the last writer's call: seals the open segment */
warm_counts_t *warm_lmdb_counts(warm_lmdb_t *l);
void warm_lmdb_measure(warm_lmdb_t *l, warm_stats_t *out); /* budget, bytes, objects, segments, memory */

/* ---- any thread; no disk ---- */
bool warm_lmdb_maybe(warm_lmdb_t *l, digest_t digest);
/* Notes a hit; false: it isn't there any more. */
bool warm_lmdb_touch(warm_lmdb_t *l, uint64_t id);
uint64_t warm_lmdb_most(const warm_lmdb_t *l); /* bytes of the largest record */

/* ---- helper threads ---- */
/* A reference, or NULL. `nowait`, on a loop: ERR_AGAIN = it would take the disk, or much copying; nothing was done. */
err_t warm_lmdb_lookup(warm_lmdb_t *l, warm_get_t *g, bool nowait, object_t **out);

/* ---- the one writer ---- */
/* Completes what a start left undone: segments that were not sealed are looked at whole, and written on. */
void warm_lmdb_prepare(warm_lmdb_t *l);
/* Adds to the running transaction (beginning one). ERR_AGAIN: commit first, then ask again. */
err_t warm_lmdb_write(warm_lmdb_t *l, object_t *o, warm_verdict_t v, uint64_t *id);
/* In force with the next commit. ERR_AGAIN: commit first, then ask again. */
err_t warm_lmdb_remove(warm_lmdb_t *l, warm_erase_t which);
err_t warm_lmdb_commit(warm_lmdb_t *l);
err_t warm_lmdb_sync(warm_lmdb_t *l);
/* Asks about a slice of what was not checked up to `goal`. ERR_NOT_FOUND: nothing is left, and that is on disk.
 * ERR_IO: try again later. With no transaction running. */
err_t warm_sweep_slice(warm_lmdb_t *l, const warm_options_t *ask, uint64_t goal);
void warm_sweep_forget(warm_lmdb_t *l, const segment_t *s); /* it is dropped */

/* ---- between the files of warm_lmdb ---- */
void warm_lmdb_drop(warm_lmdb_t *l, segment_t *s, _Atomic uint64_t *counter);
uint64_t warm_lmdb_bytes(warm_lmdb_t *l);
bool warm_lmdb_segment_maybe(const segment_t *s, digest_t digest); /* under the lock, or by the writer */
/* A damaged tree: the segment is not asked again, and the writer drops it. */
static inline void warm_lmdb_condemn(segment_t *s)
{
    atomic_store_explicit(&s->bad, true, memory_order_relaxed);
}

#endif
