/* The warm tier: stored responses on disk, so that they outlive memory and restarts.
 *
 * Losing any of it is allowed at any time (it is a cache); serving a wrong byte is not: everything that is read is
 * checked, and what fails is a miss. No call here waits for the disk unless it says so: reads are done by helper
 * threads and come back to the asking loop as a message, writes are queued.
 *
 * Purges: a record keeps its ledger stamp: where its fetch began, the mark, and the position that the mark holds for.
 * So the ledger's check at promotion finds everything that happened since. */
#ifndef BRINK_WARM_WARM_H
#define BRINK_WARM_WARM_H

#include "edge/base/err.h"
#include "edge/base/loop.h"
#include "edge/store/object.h"

enum {
    WARM_MAX_REMOVES = 262144,
    WARM_NOW_MOST = 16 * 1024, /* bytes of a record that are worth being copied on a loop */
    WARM_MAX_READS = 1024,     /* waiting for a helper thread; beyond: a miss at once */
    WARM_ERROR_BYTES = 512,    /* room for warm_open's sentence */
    WARM_QUEUE_BYTES = 16 * 1024 * 1024,
    WARM_MIN_SIZE = 16 * 1024 * 1024
};

typedef struct warm warm_t;

/* What the purge ledger is asked about a record. Borrowed for the call. */
typedef struct warm_subject {
    span_t uri;
    digest_t uri_digest;
    const digest_t *tags;
    size_t tags_n;
} warm_subject_t;

typedef struct warm_options {
    const char *path;     /* directory; made if it doesn't exist */
    uint64_t size;        /* bytes of all files together */
    uint64_t epoch;       /* of the purge ledger: what was written under another one is dropped unread */
    unsigned threads;     /* readers, 0 = 4; there is always one writer */
    uint64_t queue_bytes; /* of objects waiting to be written, 0 = WARM_QUEUE_BYTES; the rest is dropped (counted) */
    unsigned commit_ms;   /* a written object is safe from kill -9 after so long, 0 = 50 */
    /* The mark (mark_t) that entries after position `after` put on the subject; *upto: the position that this holds
     * for. On the writer's thread, when an object is written and by warm_sweep. NULL: nothing is ever purged. */
    uint32_t (*verdict)(void *arg, const warm_subject_t *s, uint64_t after, uint64_t *upto);
    void *verdict_arg;
} warm_options_t;

/* May wait for the disk. On error `sentence` (WARM_ERROR_BYTES) says what is wrong and what would be right: the
 * directory can't be written, is in use by another node, or the size is more than its whole file system. Damaged files
 * are dropped and counted, never an error. */
err_t warm_open(const warm_options_t *options, warm_t **out, char *sentence);
/* Writes what is queued (bounded by the queue), stops the threads. Gets that are still waiting are answered (without an
 * object) by messages to their loops, which must still exist. NULL is fine. */
void warm_close(warm_t *w);

/* ---- reading ---- */

/* A caller's question; embedded in its own structure, untouched by it from warm_get until `done`. */
typedef struct warm_get {
    loop_t *loop;
    digest_t digest;
    /* May this record's head be the answer? On a helper thread, without locks: it must only touch what is the
     * question's own and immutable meanwhile. It compares the key's text and the selecting fields; the newest accepted
     * one is read. */
    bool (*match)(const struct warm_get *g, span_t key, span_t selecting, const stored_t *meta);
    /* Room for so many bytes (object_bytes of what is about to be read), on a helper thread; false = answer with a
     * miss. NULL = always. What was granted is the caller's to give back (`granted`), whether or not an object came. */
    bool (*admit)(struct warm_get *g, uint64_t bytes);
    /* On the loop. `object`: a reference for the callee (a complete object with OBJECT_ON_DISK | OBJECT_FROM_DISK), or
     * NULL: not there, damaged, or the queue was full. Must check it with the purge ledger before use. */
    void (*done)(struct warm_get *g, object_t *object);
    /* Not NULL: looking on. Heads are read and no bodies, and no hit is noted. Each variant that is there is handed
     * over (on a helper thread; a reference for the callee, with an empty body; perhaps twice), with the bytes of its
     * body; `object` is then the accepted one's head. Not with warm_get_now. */
    void (*each)(struct warm_get *g, object_t *head, uint64_t body_size);
    uint64_t granted; /* what `admit` was asked for and allowed */
    size_t now_most;  /* warm_get_now copies records up to so many bytes, 0 = WARM_NOW_MOST */
    /* ---- the tier's own ---- */
    loop_message_t message;
    list_t link;
    object_t *object;
} warm_get_t;

/* False: certainly not there (a few hundred nanoseconds, no disk). Any thread. True may be wrong (1 in 200). */
bool warm_maybe(warm_t *w, digest_t digest);
/* Answers at once, if that takes nothing but the page cache and little copying: ERR_OK with a reference (as `done` gets
 * it; `match` and `admit` are called from here), ERR_NOT_FOUND: it isn't there, ERR_AGAIN: warm_get (give
 * `granted` back first). On the loop; some microseconds, for WARM_NOW_MOST. Of `g` only digest, match, admit, now_most
 * and granted are used. */
err_t warm_get_now(warm_t *w, warm_get_t *g, object_t **out);
/* Every helper thread has been in one read for longer than that: the disk doesn't answer now. Any thread. */
bool warm_stalled(const warm_t *w, msec_t longer);
/* `done` is called exactly once, later, from the loop. */
void warm_get(warm_t *w, warm_get_t *g);
/* A hit in memory of an object that came from here or was written here: keeps it from falling off the end. Any thread,
 * some nanoseconds. */
void warm_touch(warm_t *w, uint64_t disk_id);

/* ---- writing ---- */

/* Bytes of the largest body that can be written. */
uint64_t warm_most(const warm_t *w);
/* Queues an object unless the tier has it. ERR_EXISTS: it has (its hit is noted); ERR_AGAIN: the queue is full;
 * ERR_TOO_BIG: larger than a segment holds; ERR_REFUSED: it is OBJECT_DEAD, or hit-for-miss. Any thread. Sets
 * OBJECT_ON_DISK, and takes it off again if the write fails. */
err_t warm_put(warm_t *w, object_t *o);
/* The same, but waits for room in the queue until `deadline` (boot time): for shutdown. Not on a loop. */
err_t warm_put_wait(warm_t *w, object_t *o, msec_t deadline);
/* Forgets one variant, queued behind what was put before. Not refused while the queue of objects is full; behind
 * WARM_MAX_REMOVES others it is dropped and counted (the purge ledger still holds: this is for what the ledger doesn't
 * know, like marks that were set directly). */
void warm_remove(warm_t *w, digest_t digest, uint64_t variant);
/* The same for all variants of a key. */
void warm_remove_key(warm_t *w, digest_t digest);
/* Waits until what was queued before the call is committed and synced; ERR_TIMEOUT at the deadline (boot time). Not on
 * a loop. */
err_t warm_flush(warm_t *w, msec_t deadline);

/* ---- sweeping: so that the purge ledger may forget ---- */

/* Has everything that is here checked up to `position`, in slices between the writer's batches: what is dead is erased,
 * other marks are kept. Returns at once; a second call raises the goal. Any thread. */
void warm_sweep(warm_t *w, uint64_t position);
/* Everything that is here, or comes to be written, has been checked up to this position, and that is on disk. */
uint64_t warm_swept(warm_t *w);

/* ---- looking on ---- */

typedef struct warm_stats {
    uint64_t budget, bytes; /* of files */
    uint64_t objects, segments;
    uint64_t memory;          /* bytes of memory for filters and hit bits */
    uint64_t gets, gets_now;  /* answers of helper threads, and on the loops */
    uint64_t hits, misses;    /* of both; misses are the filters' errors */
    uint64_t refused_reads;   /* the queue of reads was full, or no room in memory */
    uint64_t puts, put_bytes; /* written: objects, and their bytes before the tier's own overhead */
    uint64_t dropped_full, dropped_big, dropped_error;
    uint64_t reinserted, removed;
    uint64_t segments_dropped_full, segments_dropped_bad, segments_dropped_epoch, segments_dropped_boot;
    uint64_t corrupt;       /* records that failed their check */
    uint64_t written_bytes; /* handed to the file system, pages included: write amplification = this / put_bytes */
    uint64_t read_queue, write_queue_bytes; /* now */
    uint64_t stalls;                        /* reads that took 100 ms or longer */
    uint64_t dropped_purged;                /* not written: the ledger said that it is dead */
} warm_stats_t;
void warm_stats(warm_t *w, warm_stats_t *out);

/* Fault injection: every disk operation of the helper threads first waits so long, and nothing is in the page cache.
 * 0 = off; who waits then goes on. */
void warm_stall(warm_t *w, msec_t each);

#endif
