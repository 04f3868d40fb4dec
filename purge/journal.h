/* The ledger on disk: purged values with their positions, the stream cursor, and the purges of the last hour, in one
 * LMDB file DIRECTORY/purge.mdb. One writer thread commits in groups and synchronously: what was reported as written
 * survives kill -9 and a power cut. Effect and cursor of a batch are one item, so they are on disk together or not at
 * all.
 *
 * Threads: journal_post and journal_backlog from any thread; journal_receipt, journal_records and journal_settle too,
 * but they wait for the file: never on an event loop. Items are written in the order of their posts. */
#ifndef BRINK_PURGE_JOURNAL_H
#define BRINK_PURGE_JOURNAL_H

#include "edge/base/err.h"
#include "purge/ledger.h"

enum {
    JOURNAL_MAX_BACKLOG =
        64 * 1024 * 1024,            /* bytes of items that wait, before they collapse into marks on everything */
    JOURNAL_BATCH = 8 * 1024 * 1024, /* bytes of items in one transaction */
    JOURNAL_NODE_MAX = 128,
    JOURNAL_MAX_RECORD_PAGES =
        65536, /* 256 MiB of whole purges; beyond, the oldest that are in the stream go earlier */
    JOURNAL_MAX_RECEIPTS = 1000 * 1000
};
#define JOURNAL_MAP_SIZE ((size_t)4 << 30)                    /* of the file at most */
#define JOURNAL_KEEP_RECORDS ((msec_t)3600 * 1000)            /* whole purges, to enter them again if Redis lost them */
#define JOURNAL_KEEP_RECEIPTS ((msec_t)30 * 24 * 3600 * 1000) /* their IDs */

typedef struct journal journal_t;

typedef struct journal_cursor {
    ledger_cursor_t at;
    uint64_t entries_added; /* of the stream, when it was read up to `at` */
} journal_cursor_t;

enum journal_flag {
    JOURNAL_OWN = 1u << 0,       /* accepted by this node's API */
    JOURNAL_HEARD = 1u << 1,     /* from the channel */
    JOURNAL_DELIVERED = 1u << 2, /* is in the stream: id is known */
    JOURNAL_LOST = 1u << 3,      /* was in the stream under that id, and is to be entered again */
};

typedef struct journal_record {
    uint64_t number; /* this node's; what "by" says for own ones */
    uint64_t position;
    msec_t accepted;  /* wall */
    uint64_t ms, seq; /* ID in the stream, or 0-0 */
    uint32_t flags;
    span_t by; /* "NODE/NUMBER" of another node; "" for own ones and for what applications entered */
    span_t json;
} journal_record_t;

typedef struct journal_receipt {
    uint64_t number, position, ms, seq;
    msec_t accepted;
} journal_receipt_t;

/* What is to be written, copied by journal_post. Absent parts are zero. */
typedef struct journal_item {
    const ledger_value_t *values;
    size_t n;
    mark_t level;
    uint64_t position;
    ledger_collapse_t collapse;
    uint64_t compact; /* values up to this position may be forgotten: says so at once, and deletes them by and by */
    const journal_cursor_t *cursor;
    const journal_record_t *record; /* put, or replaced by its number */
    /* On the writer's thread, once: ERR_OK when it is on disk, ERR_IO at the first failure (it is tried again for as
     * long as the process lives). NULL: nobody waits. */
    void (*done)(void *ctx, err_t err);
    void *ctx;
} journal_item_t;

/* Opens or makes the file and loads the ledger, with a head that no position of an earlier process reaches. A sentence
 * in err. */
err_t journal_open(const char *directory, size_t max_values, journal_t **out, ledger_t **ledger, char *err,
                   size_t err_size);
err_t journal_start(journal_t *j);
void journal_stop(
    journal_t *j); /* writes what waits, once; then ends the thread. What can't be written is reported as ERR_CLOSED */
/* After journal_stop: gives up file and lock, for another process. Nothing can be read any more. */
void journal_release(journal_t *j);
void journal_close(journal_t *j);

void journal_post(journal_t *j, const journal_item_t *item);
size_t journal_backlog(const journal_t *j); /* bytes that wait */
/* Waits until what was posted before is on disk, `most` at most; false: it isn't. */
bool journal_settle(journal_t *j, msec_t most);
uint64_t journal_errors(const journal_t *j);

bool journal_has_cursor(journal_t *j, journal_cursor_t *out); /* as loaded */
uint64_t journal_next_number(journal_t *j);                   /* as loaded: the first that was never used */
/* All records, oldest first; the spans live during the call. Stops when each() is false. */
err_t journal_records(journal_t *j, bool (*each)(void *ctx, const journal_record_t *r), void *ctx);
err_t journal_receipt_by_number(journal_t *j, uint64_t number, journal_receipt_t *out); /* or ERR_NOT_FOUND */
err_t journal_receipt_by_id(journal_t *j, uint64_t ms, uint64_t seq, journal_receipt_t *out);

#endif
