/* The journal's file: what one transaction does. For journal.c alone. */
#ifndef BRINK_PURGE_JOURNAL_LMDB_H
#define BRINK_PURGE_JOURNAL_LMDB_H

#include <lmdb.h>

#include "purge/journal.h"

typedef struct journal_file {
    MDB_env *env;
    MDB_dbi meta, slots, records, receipts;
    int lock; /* flock'ed: one process a directory */
} journal_file_t;

typedef struct journal_drop {
    uint64_t cut;
    unsigned char next[32]; /* key to go on from */
    size_t next_n;
} journal_drop_t;

typedef struct journal_loaded {
    uint64_t epoch, next_number;
    bool has_cursor;
    journal_cursor_t cursor;
    uint64_t drop; /* values up to this position are left over from a deletion that was not completed; 0: none */
} journal_loaded_t;

err_t journal_lmdb_open(journal_file_t *f, const char *directory, char *err, size_t err_size);
void journal_lmdb_close(journal_file_t *f);
/* Epoch, next run and everything else; the ledger is made here. */
err_t journal_lmdb_load(journal_file_t *f, size_t max_values, journal_loaded_t *out, ledger_t **ledger, char *err,
                        size_t err_size);

/* LMDB's return codes. */
int journal_lmdb_values(journal_file_t *f, MDB_txn *t, const ledger_value_t *v, size_t n, mark_t level,
                        uint64_t position);
int journal_lmdb_raise_all(journal_file_t *f, MDB_txn *t, const ledger_marks_t *m);
int journal_lmdb_compact(journal_file_t *f, MDB_txn *t, uint64_t floor);
/* A slice of the deletion of values whose positions are all <= d->cut; d->cut is 0 when all are gone. */
int journal_lmdb_drop(journal_file_t *f, MDB_txn *t, journal_drop_t *d);
int journal_lmdb_cursor(journal_file_t *f, MDB_txn *t, const journal_cursor_t *c);
int journal_lmdb_record(journal_file_t *f, MDB_txn *t, const journal_record_t *r);
int journal_lmdb_prune(journal_file_t *f, MDB_txn *t, msec_t now_wall);

err_t journal_lmdb_records(journal_file_t *f, bool (*each)(void *ctx, const journal_record_t *r), void *ctx);
err_t journal_lmdb_receipt(journal_file_t *f, char kind, uint64_t a, uint64_t b, journal_receipt_t *out);

#endif
