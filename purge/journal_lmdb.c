/* Four databases in one file. `slots` is the ledger's table and as bounded as that; `records` holds whole purges for an
 * hour (those not yet in the stream: until they are); `receipts` maps numbers and stream IDs to each other for a month;
 * `meta` the rest. Keys are big-endian, so that LMDB's order is the order of time, and pruning starts at the front and
 * stops at what is young.
 *
 * Positions are (run << 32 | n), where the run is counted up, on disk, before the first position is given: whatever an
 * earlier process applied and had no time to write, and whatever was fetched after it, is behind every position of this
 * one. */
#include "purge/journal_lmdb.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "edge/base/check.h"
#include "edge/base/mem.h"

enum { JOURNAL_FORMAT = 1, JOURNAL_PRUNE_MOST = 50000, JOURNAL_DROP_STEPS = 8192 };

typedef struct slot_value {
    ledger_marks_t marks;
    uint32_t length, kind;
} slot_value_t;

typedef struct record_head { /* then by, then json */
    uint64_t position, ms, seq;
    msec_t accepted;
    uint32_t flags, by_n, json_n, unused;
} record_head_t;

typedef struct meta_state {
    uint64_t format, epoch, run, next_number, compacted;
    ledger_marks_t all;
} meta_state_t;

__attribute__((format(printf, 3, 4))) static void journal_say(char *err, size_t size, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err, size, fmt, ap);
    va_end(ap);
}

/* ---- opening ---- */

static int journal_make_directory(const char *path)
{
    char *copy = mem_dup(path, strlen(path));
    int rc = 0;
    for (char *p = copy + 1; rc == 0 && *p != '\0'; p++)
        if (*p == '/') {
            *p = '\0';
            rc = mkdir(copy, 0755) != 0 && errno != EEXIST ? -1 : 0;
            *p = '/';
        }
    if (rc == 0 && mkdir(path, 0750) != 0 && errno != EEXIST)
        rc = -1;
    free(copy);
    return rc;
}

static int journal_open_dbs(journal_file_t *f)
{
    MDB_txn *t;
    int rc = mdb_txn_begin(f->env, NULL, 0, &t);
    if (rc != 0)
        return rc;
    if ((rc = mdb_dbi_open(t, "meta", MDB_CREATE, &f->meta)) == 0 &&
        (rc = mdb_dbi_open(t, "slots", MDB_CREATE, &f->slots)) == 0 &&
        (rc = mdb_dbi_open(t, "records", MDB_CREATE, &f->records)) == 0 &&
        (rc = mdb_dbi_open(t, "receipts", MDB_CREATE, &f->receipts)) == 0)
        return mdb_txn_commit(t);
    mdb_txn_abort(t);
    return rc;
}

err_t journal_lmdb_open(journal_file_t *f, const char *directory, char *err, size_t err_size)
{
    char path[4096];
    *f = (journal_file_t){.lock = -1};
    if (snprintf(path, sizeof path, "%s/purge.mdb", directory) >= (int)sizeof path - 8) {
        journal_say(err, err_size, "state directory: the path is too long");
        return ERR_TOO_BIG;
    }
    if (journal_make_directory(directory) != 0) {
        journal_say(err, err_size,
                    "state directory %s can't be made: %s; set `state` to a directory that the node may write",
                    directory, strerror(errno));
        return ERR_IO;
    }
    char lock[4104];
    snprintf(lock, sizeof lock, "%s.own", path);
    f->lock = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (f->lock < 0) {
        journal_say(err, err_size, "%s can't be written: %s; set `state` to a directory that the node may write", lock,
                    strerror(errno));
        return ERR_IO;
    }
    if (flock(f->lock, LOCK_EX | LOCK_NB) != 0) {
        journal_say(err, err_size, "state directory %s is in use by another process; give each node its own `state`",
                    directory);
        close(f->lock);
        f->lock = -1;
        return ERR_EXISTS;
    }
    int rc = mdb_env_create(&f->env);
    if (rc == 0 && (rc = mdb_env_set_maxdbs(f->env, 4)) == 0 &&
        (rc = mdb_env_set_mapsize(f->env, JOURNAL_MAP_SIZE)) == 0 &&
        (rc = mdb_env_open(f->env, path, MDB_NOSUBDIR | MDB_NOTLS | MDB_NORDAHEAD, 0640)) == 0)
        rc = journal_open_dbs(f);
    if (rc != 0) {
        journal_say(err, err_size, "purge journal %s can't be opened: %s%s", path, mdb_strerror(rc),
                    rc == MDB_INVALID || rc == MDB_CORRUPTED || rc == MDB_VERSION_MISMATCH
                        ? "; move it away: the node then starts with empty caches"
                        : "");
        journal_lmdb_close(f);
        return ERR_IO;
    }
    return ERR_OK;
}

void journal_lmdb_close(journal_file_t *f)
{
    if (f->env != NULL)
        mdb_env_close(f->env);
    if (f->lock >= 0)
        close(f->lock);
    *f = (journal_file_t){.lock = -1};
}

/* ---- meta ---- */

static int journal_meta_get(journal_file_t *f, MDB_txn *t, const char *name, void *out, size_t size)
{
    MDB_val k = {strlen(name), (void *)name}, v;
    int rc = mdb_get(t, f->meta, &k, &v);
    if (rc == 0 && v.mv_size != size)
        return MDB_CORRUPTED;
    if (rc == 0)
        memcpy(out, v.mv_data, size);
    return rc;
}

static int journal_meta_put(journal_file_t *f, MDB_txn *t, const char *name, const void *in, size_t size)
{
    MDB_val k = {strlen(name), (void *)name}, v = {size, (void *)in};
    return mdb_put(t, f->meta, &k, &v, 0);
}

static int journal_load_slots(journal_file_t *f, MDB_txn *t, ledger_t *l, journal_loaded_t *out, uint64_t compacted)
{
    MDB_cursor *c;
    MDB_val k, v;
    int rc = mdb_cursor_open(t, f->slots, &c);
    if (rc != 0)
        return rc;
    for (rc = mdb_cursor_get(c, &k, &v, MDB_FIRST); rc == 0; rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) {
        slot_value_t s;
        digest_t d;
        if (v.mv_size != sizeof s || k.mv_size != sizeof d + 5) {
            rc = MDB_CORRUPTED;
            break;
        }
        memcpy(&s, v.mv_data, sizeof s);
        memcpy(&d, k.mv_data, sizeof d);
        if (s.kind >= LEDGER_KINDS || s.kind == LEDGER_ALL) {
            rc = MDB_CORRUPTED;
            break;
        }
        if (s.marks.hard <= compacted && s.marks.soft <= compacted && s.marks.strict <= compacted) {
            out->drop = compacted;
            continue;
        }
        ledger_load_value(l, &(ledger_value_t){.digest = d, .length = s.length, .kind = (ledger_kind_t)s.kind},
                          &s.marks);
    }
    mdb_cursor_close(c);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

err_t journal_lmdb_load(journal_file_t *f, size_t max_values, journal_loaded_t *out, ledger_t **ledger, char *err,
                        size_t err_size)
{
    MDB_txn *t;
    meta_state_t m = {0};
    ledger_t *l = NULL;
    *out = (journal_loaded_t){0};
    int rc = mdb_txn_begin(f->env, NULL, 0, &t);
    if (rc != 0)
        goto bad;
    rc = journal_meta_get(f, t, "state", &m, sizeof m);
    if (rc == MDB_NOTFOUND) {
        m = (meta_state_t){.format = JOURNAL_FORMAT, .next_number = 1};
        rc = getrandom(&m.epoch, sizeof m.epoch, 0) == sizeof m.epoch ? 0 : EIO;
    } else {
        m.run++;
    }
    if (rc == 0 && m.format != JOURNAL_FORMAT)
        rc = MDB_VERSION_MISMATCH;
    if (rc != 0 || (rc = journal_meta_put(f, t, "state", &m, sizeof m)) != 0)
        goto abort;
    rc = journal_meta_get(f, t, "cursor", &out->cursor, sizeof out->cursor);
    out->has_cursor = rc == 0;
    if (rc != 0 && rc != MDB_NOTFOUND)
        goto abort;
    out->cursor.at.run_id[sizeof out->cursor.at.run_id - 1] = '\0';
    out->epoch = m.epoch;
    out->next_number = m.next_number;
    l = ledger_new(m.epoch, max_values);
    ledger_load_all(l, &m.all, m.compacted);
    ledger_load_head(l, m.run << 32);
    if (out->has_cursor)
        ledger_set_cursor(l, &out->cursor.at);
    if ((rc = journal_load_slots(f, t, l, out, m.compacted)) != 0)
        goto abort;
    if ((rc = mdb_txn_commit(t)) != 0)
        goto bad;
    *ledger = l;
    return ERR_OK;
abort:
    mdb_txn_abort(t);
bad:
    ledger_free(l);
    journal_say(err, err_size, "purge journal can't be read or written: %s", mdb_strerror(rc));
    return rc == MDB_CORRUPTED ? ERR_CORRUPT : ERR_IO;
}

/* ---- writing ---- */

static void journal_max(uint64_t *at, uint64_t v)
{
    if (v > *at)
        *at = v;
}

static int journal_change_state(journal_file_t *f, MDB_txn *t, const ledger_marks_t *raise, uint64_t compacted,
                                uint64_t next_number)
{
    meta_state_t m;
    int rc = journal_meta_get(f, t, "state", &m, sizeof m);
    if (rc != 0)
        return rc;
    if (raise != NULL) {
        journal_max(&m.all.hard, raise->hard);
        journal_max(&m.all.soft, raise->soft);
        journal_max(&m.all.strict, raise->strict);
    }
    journal_max(&m.compacted, compacted);
    journal_max(&m.next_number, next_number);
    return journal_meta_put(f, t, "state", &m, sizeof m);
}

int journal_lmdb_raise_all(journal_file_t *f, MDB_txn *t, const ledger_marks_t *m)
{
    return journal_change_state(f, t, m, 0, 0);
}

int journal_lmdb_values(journal_file_t *f, MDB_txn *t, const ledger_value_t *values, size_t n, mark_t level,
                        uint64_t position)
{
    for (size_t i = 0; i < n; i++) {
        const ledger_value_t *v = &values[i];
        ledger_marks_t one = {.hard = level == MARK_HARD ? position : 0,
                              .soft = level == MARK_SOFT ? position : 0,
                              .strict = level == MARK_STRICT ? position : 0};
        int rc;
        if (v->kind == LEDGER_ALL) {
            if ((rc = journal_lmdb_raise_all(f, t, &one)) != 0)
                return rc;
            continue;
        }
        unsigned char key[sizeof v->digest + 5];
        memcpy(key, &v->digest, sizeof v->digest);
        key[sizeof v->digest] = (unsigned char)v->kind;
        memcpy(key + sizeof v->digest + 1, &v->length, 4);
        MDB_val k = {sizeof key, key}, old;
        slot_value_t s = {.marks = one, .length = v->length, .kind = (uint32_t)v->kind};
        rc = mdb_get(t, f->slots, &k, &old);
        if (rc == 0 && old.mv_size == sizeof s) {
            slot_value_t was;
            memcpy(&was, old.mv_data, sizeof was);
            journal_max(&s.marks.hard, was.marks.hard);
            journal_max(&s.marks.soft, was.marks.soft);
            journal_max(&s.marks.strict, was.marks.strict);
        } else if (rc != 0 && rc != MDB_NOTFOUND) {
            return rc;
        }
        MDB_val val = {sizeof s, &s};
        if ((rc = mdb_put(t, f->slots, &k, &val, 0)) != 0)
            return rc;
    }
    return 0;
}

int journal_lmdb_compact(journal_file_t *f, MDB_txn *t, uint64_t floor)
{
    return journal_change_state(f, t, NULL, floor, 0);
}

int journal_lmdb_drop(journal_file_t *f, MDB_txn *t, journal_drop_t *d)
{
    MDB_cursor *c;
    MDB_val k = {d->next_n, d->next}, v;
    int rc = mdb_cursor_open(t, f->slots, &c);
    if (rc != 0)
        return rc;
    rc = mdb_cursor_get(c, &k, &v, d->next_n > 0 ? MDB_SET_RANGE : MDB_FIRST);
    for (int steps = 0; rc == 0 && steps < JOURNAL_DROP_STEPS; rc = mdb_cursor_get(c, &k, &v, MDB_NEXT), steps++) {
        slot_value_t s;
        if (v.mv_size != sizeof s) {
            rc = MDB_CORRUPTED;
            break;
        }
        memcpy(&s, v.mv_data, sizeof s);
        if (s.marks.hard <= d->cut && s.marks.soft <= d->cut && s.marks.strict <= d->cut &&
            (rc = mdb_cursor_del(c, 0)) != 0)
            break;
    }
    if (rc == 0 && k.mv_size <= sizeof d->next) {
        memcpy(d->next, k.mv_data, k.mv_size);
        d->next_n = k.mv_size;
    } else if (rc == MDB_NOTFOUND) {
        *d = (journal_drop_t){0};
        rc = 0;
    }
    mdb_cursor_close(c);
    return rc;
}

int journal_lmdb_cursor(journal_file_t *f, MDB_txn *t, const journal_cursor_t *c)
{
    return journal_meta_put(f, t, "cursor", c, sizeof *c);
}

static size_t journal_receipt_key(unsigned char out[17], char kind, uint64_t a, uint64_t b)
{
    uint64_t be[2] = {htobe64(a), htobe64(b)};
    out[0] = (unsigned char)kind;
    memcpy(out + 1, be, sizeof be);
    return 17;
}

static int journal_put_receipt(journal_file_t *f, MDB_txn *t, char kind, uint64_t a, uint64_t b,
                               const journal_receipt_t *r)
{
    unsigned char key[17];
    MDB_val k = {journal_receipt_key(key, kind, a, b), key}, v = {sizeof *r, (void *)r};
    return mdb_put(t, f->receipts, &k, &v, 0);
}

int journal_lmdb_record(journal_file_t *f, MDB_txn *t, const journal_record_t *r)
{
    record_head_t h = {.position = r->position,
                       .ms = r->ms,
                       .seq = r->seq,
                       .accepted = r->accepted,
                       .flags = r->flags,
                       .by_n = (uint32_t)r->by.n,
                       .json_n = (uint32_t)r->json.n};
    uint64_t number = htobe64(r->number);
    MDB_val k = {sizeof number, &number}, v = {sizeof h + r->by.n + r->json.n, NULL};
    int rc = mdb_put(t, f->records, &k, &v, MDB_RESERVE);
    if (rc != 0)
        return rc;
    char *to = v.mv_data;
    memcpy(to, &h, sizeof h);
    if (r->by.n > 0)
        memcpy(to + sizeof h, r->by.p, r->by.n);
    if (r->json.n > 0)
        memcpy(to + sizeof h + r->by.n, r->json.p, r->json.n);
    bool there = r->ms != 0 && !(r->flags & JOURNAL_LOST);
    journal_receipt_t receipt = {.number = r->number,
                                 .position = r->position,
                                 .ms = there ? r->ms : 0,
                                 .seq = there ? r->seq : 0,
                                 .accepted = r->accepted};
    if (r->flags & JOURNAL_OWN)
        rc = journal_put_receipt(f, t, 'n', r->number, 0, &receipt);
    if (rc == 0 && there)
        rc = journal_put_receipt(f, t, 's', r->ms, r->seq, &receipt);
    return rc != 0 ? rc : journal_change_state(f, t, NULL, 0, r->number + 1);
}

static bool journal_is_large(MDB_txn *t, MDB_dbi db, size_t entries, size_t pages)
{
    MDB_stat st;
    if (mdb_stat(t, db, &st) != 0)
        return false;
    return st.ms_entries > entries || st.ms_leaf_pages + st.ms_overflow_pages > pages;
}

static int journal_prune_records(journal_file_t *f, MDB_txn *t, msec_t before)
{
    MDB_cursor *c;
    MDB_val k, v;
    int rc = mdb_cursor_open(t, f->records, &c), steps = 0;
    if (rc != 0)
        return rc;
    for (rc = mdb_cursor_get(c, &k, &v, MDB_FIRST); rc == 0 && steps++ < JOURNAL_PRUNE_MOST;
         rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) {
        record_head_t h;
        if (v.mv_size < sizeof h) {
            rc = MDB_CORRUPTED;
            break;
        }
        memcpy(&h, v.mv_data, sizeof h);
        if (h.accepted >= before && !journal_is_large(t, f->records, SIZE_MAX, JOURNAL_MAX_RECORD_PAGES))
            break;
        if ((h.flags & JOURNAL_DELIVERED) && (rc = mdb_cursor_del(c, 0)) != 0)
            break;
    }
    mdb_cursor_close(c);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int journal_prune_receipts(journal_file_t *f, MDB_txn *t, char kind, msec_t before)
{
    MDB_cursor *c;
    unsigned char first[17];
    MDB_val k = {journal_receipt_key(first, kind, 0, 0), first}, v;
    int rc = mdb_cursor_open(t, f->receipts, &c), steps = 0;
    if (rc != 0)
        return rc;
    for (rc = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE); rc == 0 && steps++ < JOURNAL_PRUNE_MOST;
         rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) {
        journal_receipt_t r;
        if (v.mv_size != sizeof r) {
            rc = MDB_CORRUPTED;
            break;
        }
        memcpy(&r, v.mv_data, sizeof r);
        if (((const char *)k.mv_data)[0] != kind ||
            (r.accepted >= before && !journal_is_large(t, f->receipts, JOURNAL_MAX_RECEIPTS, SIZE_MAX)) ||
            (rc = mdb_cursor_del(c, 0)) != 0)
            break;
    }
    mdb_cursor_close(c);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int journal_lmdb_prune(journal_file_t *f, MDB_txn *t, msec_t now)
{
    int rc = journal_prune_records(f, t, now - JOURNAL_KEEP_RECORDS);
    if (rc == 0) /* those of the stream first: an own journal ID is asked for longer */
        rc = journal_prune_receipts(f, t, 's', now - JOURNAL_KEEP_RECEIPTS);
    return rc != 0 ? rc : journal_prune_receipts(f, t, 'n', now - JOURNAL_KEEP_RECEIPTS);
}

/* ---- reading ---- */

err_t journal_lmdb_records(journal_file_t *f, bool (*each)(void *ctx, const journal_record_t *r), void *ctx)
{
    MDB_txn *t;
    MDB_cursor *c;
    MDB_val k, v;
    if (mdb_txn_begin(f->env, NULL, MDB_RDONLY, &t) != 0)
        return ERR_IO;
    int rc = mdb_cursor_open(t, f->records, &c);
    if (rc != 0) {
        mdb_txn_abort(t);
        return ERR_IO;
    }
    for (rc = mdb_cursor_get(c, &k, &v, MDB_FIRST); rc == 0; rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) {
        record_head_t h;
        uint64_t number;
        if (k.mv_size != sizeof number || v.mv_size < sizeof h) {
            rc = MDB_CORRUPTED;
            break;
        }
        memcpy(&number, k.mv_data, sizeof number);
        memcpy(&h, v.mv_data, sizeof h);
        if ((uint64_t)h.by_n + h.json_n != v.mv_size - sizeof h) {
            rc = MDB_CORRUPTED;
            break;
        }
        const char *rest = (const char *)v.mv_data + sizeof h;
        journal_record_t r = {.number = be64toh(number),
                              .position = h.position,
                              .accepted = h.accepted,
                              .ms = h.ms,
                              .seq = h.seq,
                              .flags = h.flags,
                              .by = span_of(rest, h.by_n),
                              .json = span_of(rest + h.by_n, h.json_n)};
        if (!each(ctx, &r))
            break;
    }
    mdb_cursor_close(c);
    mdb_txn_abort(t);
    return rc == 0 || rc == MDB_NOTFOUND ? ERR_OK : ERR_CORRUPT;
}

err_t journal_lmdb_receipt(journal_file_t *f, char kind, uint64_t a, uint64_t b, journal_receipt_t *out)
{
    MDB_txn *t;
    unsigned char key[17];
    MDB_val k = {journal_receipt_key(key, kind, a, b), key}, v;
    if (mdb_txn_begin(f->env, NULL, MDB_RDONLY, &t) != 0)
        return ERR_IO;
    err_t e = ERR_NOT_FOUND;
    if (mdb_get(t, f->receipts, &k, &v) == 0 && v.mv_size == sizeof *out) {
        memcpy(out, v.mv_data, sizeof *out);
        e = ERR_OK;
    }
    mdb_txn_abort(t);
    return e;
}
