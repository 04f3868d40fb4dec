/* One queue, one thread, one transaction for all that waits.
 *
 * A write that fails (disk full, I/O error) is not forgotten: its waiters are told once, and the thread tries it again
 * every second for as long as the process lives, since a later cursor on disk without an earlier effect would be a lost
 * purge. What has piled up beyond the ceiling meanwhile collapses into marks on everything before it, the only thing
 * that is small and still true. */
#include "purge/journal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "edge/base/check.h"
#include "edge/base/clock.h"
#include "edge/base/list.h"
#include "edge/base/log.h"
#include "edge/base/mem.h"
#include "purge/journal_lmdb.h"

enum { JOURNAL_RETRY = MSEC_PER_SEC, JOURNAL_PRUNE_EVERY = 10 * MSEC_PER_SEC };

typedef struct queued {
    list_t link;
    size_t bytes;
    bool told;
    journal_item_t item; /* its pointers go into data */
    journal_cursor_t cursor;
    journal_record_t record;
    _Alignas(16) char data[];
} queued_t;

struct journal {
    journal_file_t file;
    journal_loaded_t loaded;
    pthread_t thread;
    bool started;
    pthread_mutex_t mutex; /* guards the rest but the atomics */
    pthread_cond_t wake, settled;
    list_t queue;
    uint64_t posted, gone; /* items, ever: that came, and that are in the queue no more (nor in the writer's hands) */
    bool stopping;
    /* what the backlog lost to its ceiling */
    ledger_marks_t lost;
    bool lost_cursor_set;
    journal_cursor_t lost_cursor;
    _Atomic size_t backlog;
    _Atomic uint64_t errors;
    msec_t pruned;       /* writer's; so below */
    journal_drop_t drop; /* values that the ledger has forgotten: a slice a transaction */
};

err_t journal_open(const char *directory, size_t max_values, journal_t **out, ledger_t **ledger, char *err,
                   size_t err_size)
{
    journal_t *j = mem_zalloc(sizeof *j);
    err_t e = journal_lmdb_open(&j->file, directory, err, err_size);
    if (e == ERR_OK && (e = journal_lmdb_load(&j->file, max_values, &j->loaded, ledger, err, err_size)) != ERR_OK)
        journal_lmdb_close(&j->file);
    if (e != ERR_OK) {
        free(j);
        return e;
    }
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&j->wake, &attr);
    pthread_cond_init(&j->settled, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&j->mutex, NULL);
    list_init(&j->queue);
    j->drop.cut = j->loaded.drop;
    *out = j;
    return ERR_OK;
}

/* ---- posting ---- */

static queued_t *journal_copy(const journal_item_t *item)
{
    const journal_record_t *r = item->record;
    size_t values = item->n * sizeof *item->values, by = r != NULL ? r->by.n : 0, json = r != NULL ? r->json.n : 0;
    queued_t *q = mem_alloc(sizeof *q + values + by + json);
    *q = (queued_t){.bytes = sizeof *q + values + by + json, .item = *item};
    if (values > 0)
        memcpy(q->data, item->values, values);
    q->item.values = (const ledger_value_t *)q->data;
    if (item->cursor != NULL) {
        q->cursor = *item->cursor;
        q->item.cursor = &q->cursor;
    }
    if (r != NULL) {
        q->record = *r;
        q->record.by = span_of(q->data + values, by);
        q->record.json = span_of(q->data + values + by, json);
        if (by > 0)
            memcpy(q->data + values, r->by.p, by);
        if (json > 0)
            memcpy(q->data + values + by, r->json.p, json);
        q->item.record = &q->record;
    }
    return q;
}

static void journal_tell(queued_t *q, err_t e)
{
    if (!q->told && q->item.done != NULL)
        q->item.done(q->item.ctx, e);
    q->told = true;
}

/* Only of items that failed once: their waiters know. Under the mutex. */
static void journal_give_up_oldest(journal_t *j)
{
    size_t backlog = atomic_load(&j->backlog);
    while (backlog > JOURNAL_MAX_BACKLOG / 2 && !list_empty(&j->queue)) {
        queued_t *q = LIST_ITEM(j->queue.next, queued_t, link);
        if (!q->told && q->item.done != NULL)
            break;
        uint64_t *at = q->item.level == MARK_HARD ? &j->lost.hard : &j->lost.strict;
        if (q->item.n > 0 && q->item.position > *at)
            *at = q->item.position;
        if (q->item.collapse.hard > j->lost.hard)
            j->lost.hard = q->item.collapse.hard;
        if (q->item.collapse.strict > j->lost.strict)
            j->lost.strict = q->item.collapse.strict;
        if (q->item.cursor != NULL) {
            j->lost_cursor = q->cursor;
            j->lost_cursor_set = true;
        }
        list_remove(&q->link);
        j->gone++;
        backlog -= q->bytes;
        free(q);
    }
    atomic_store(&j->backlog, backlog);
}

void journal_post(journal_t *j, const journal_item_t *item)
{
    queued_t *q = journal_copy(item);
    pthread_mutex_lock(&j->mutex);
    bool closed = j->stopping;
    if (!closed) {
        list_push_back(&j->queue, &q->link);
        j->posted++;
        if (atomic_fetch_add(&j->backlog, q->bytes) + q->bytes > JOURNAL_MAX_BACKLOG)
            journal_give_up_oldest(j);
        pthread_cond_signal(&j->wake);
    }
    pthread_mutex_unlock(&j->mutex);
    if (closed) {
        journal_tell(q, ERR_CLOSED);
        free(q);
    }
}

size_t journal_backlog(const journal_t *j)
{
    return atomic_load_explicit(&j->backlog, memory_order_relaxed);
}

uint64_t journal_errors(const journal_t *j)
{
    return atomic_load_explicit(&j->errors, memory_order_relaxed);
}

/* ---- the writer ---- */

static int journal_write_item(journal_t *j, MDB_txn *t, const journal_item_t *i)
{
    int rc = 0;
    if (i->n > 0)
        rc = journal_lmdb_values(&j->file, t, i->values, i->n, i->level, i->position);
    if (rc == 0 && (i->collapse.hard != 0 || i->collapse.strict != 0))
        rc = journal_lmdb_raise_all(&j->file, t,
                                    &(ledger_marks_t){.hard = i->collapse.hard, .strict = i->collapse.strict});
    if (rc == 0 && i->compact != 0)
        rc = journal_lmdb_compact(&j->file, t, i->compact);
    uint64_t cut = i->compact > i->collapse.cut ? i->compact : i->collapse.cut;
    if (rc == 0 && cut > j->drop.cut)
        j->drop = (journal_drop_t){.cut = cut}; /* from the beginning */
    if (rc == 0 && i->record != NULL)
        rc = journal_lmdb_record(&j->file, t, i->record);
    if (rc == 0 && i->cursor != NULL)
        rc = journal_lmdb_cursor(&j->file, t, i->cursor);
    return rc;
}

static int journal_write_batch(journal_t *j, list_t *batch, const ledger_marks_t *lost,
                               const journal_cursor_t *lost_cursor)
{
    MDB_txn *t;
    int rc = mdb_txn_begin(j->file.env, NULL, 0, &t);
    if (rc != 0)
        return rc;
    if (lost->hard != 0 || lost->strict != 0)
        rc = journal_lmdb_raise_all(&j->file, t, lost);
    if (rc == 0 && lost_cursor != NULL)
        rc = journal_lmdb_cursor(&j->file, t, lost_cursor);
    for (list_t *n = batch->next; rc == 0 && n != batch; n = n->next)
        rc = journal_write_item(j, t, &LIST_ITEM(n, queued_t, link)->item);
    if (rc == 0 && j->drop.cut != 0)
        rc = journal_lmdb_drop(&j->file, t, &j->drop);
    now_t now = clock_now();
    if (rc == 0 && now.boot - j->pruned >= JOURNAL_PRUNE_EVERY) {
        j->pruned = now.boot;
        rc = journal_lmdb_prune(&j->file, t, now.wall);
    }
    if (rc == 0)
        rc = mdb_txn_commit(t);
    else
        mdb_txn_abort(t);
    if (rc != 0)
        j->drop.next_n = 0; /* what this one had deleted is there again */
    return rc;
}

static struct timespec journal_until(msec_t most)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += most / MSEC_PER_SEC;
    until.tv_nsec += most % MSEC_PER_SEC * 1000 * 1000;
    if (until.tv_nsec >= 1000 * 1000 * 1000) {
        until.tv_sec++;
        until.tv_nsec -= 1000 * 1000 * 1000;
    }
    return until;
}

bool journal_settle(journal_t *j, msec_t most)
{
    struct timespec until = journal_until(most);
    pthread_mutex_lock(&j->mutex);
    uint64_t all = j->posted;
    while (j->gone < all && !j->stopping && pthread_cond_timedwait(&j->settled, &j->mutex, &until) == 0)
        ;
    bool done = j->gone >= all;
    pthread_mutex_unlock(&j->mutex);
    return done;
}

static void journal_pause(journal_t *j)
{
    struct timespec until = journal_until(JOURNAL_RETRY);
    while (!j->stopping && pthread_cond_timedwait(&j->wake, &j->mutex, &until) == 0)
        ;
}

static void *journal_run(void *arg)
{
    journal_t *j = arg;
    pthread_mutex_lock(&j->mutex);
    for (;;) {
        while (list_empty(&j->queue) && !j->stopping && j->drop.cut == 0)
            pthread_cond_wait(&j->wake, &j->mutex);
        if (list_empty(&j->queue) && j->stopping)
            break;
        list_t batch;
        list_init(&batch);
        size_t bytes = 0, count = 0;
        while (!list_empty(&j->queue) && bytes < JOURNAL_BATCH) {
            queued_t *q = LIST_ITEM(list_pop_front(&j->queue), queued_t, link);
            bytes += q->bytes;
            count++;
            list_push_back(&batch, &q->link);
        }
        ledger_marks_t lost = j->lost;
        journal_cursor_t lost_cursor = j->lost_cursor;
        bool lost_cursor_set = j->lost_cursor_set;
        pthread_mutex_unlock(&j->mutex);
        int rc = journal_write_batch(j, &batch, &lost, lost_cursor_set ? &lost_cursor : NULL);
        if (rc != 0 && atomic_fetch_add(&j->errors, 1) == 0)
            log_error("purge journal can't be written: %s; purges are in force in memory only, and the write is tried "
                      "again every "
                      "second",
                      mdb_strerror(rc));
        for (list_t *n = batch.next; n != &batch; n = n->next)
            journal_tell(LIST_ITEM(n, queued_t, link), rc == 0 ? ERR_OK : ERR_IO);
        if (rc == 0) {
            for (list_t *n; (n = list_pop_front(&batch)) != NULL;)
                free(LIST_ITEM(n, queued_t, link));
            atomic_fetch_sub(&j->backlog, bytes);
        }
        pthread_mutex_lock(&j->mutex);
        if (rc == 0) {
            j->gone += count;
            pthread_cond_broadcast(&j->settled);
            if (lost.hard == j->lost.hard && lost.strict == j->lost.strict) {
                j->lost = (ledger_marks_t){0};
                j->lost_cursor_set = false;
            }
            continue;
        }
        for (list_t *n = batch.prev; n != &batch; n = batch.prev) { /* back to the front, in their order */
            list_remove(n);
            list_push_front(&j->queue, n);
        }
        if (j->stopping)
            break; /* what can't be written now never will be */
        journal_pause(j);
    }
    list_t left;
    list_init(&left);
    list_take(&left, &j->queue);
    pthread_mutex_unlock(&j->mutex);
    for (list_t *n; (n = list_pop_front(&left)) != NULL;) {
        queued_t *q = LIST_ITEM(n, queued_t, link);
        journal_tell(q, ERR_CLOSED);
        free(q);
    }
    return NULL;
}

err_t journal_start(journal_t *j)
{
    if (pthread_create(&j->thread, NULL, journal_run, j) != 0)
        return ERR_IO;
    j->started = true;
    return ERR_OK;
}

void journal_stop(journal_t *j)
{
    pthread_mutex_lock(&j->mutex);
    j->stopping = true;
    pthread_cond_signal(&j->wake);
    pthread_cond_broadcast(&j->settled);
    pthread_mutex_unlock(&j->mutex);
    if (j->started)
        pthread_join(j->thread, NULL);
    j->started = false;
}

void journal_release(journal_t *j)
{
    CHECK(!j->started);
    journal_lmdb_close(&j->file);
}

void journal_close(journal_t *j)
{
    if (j == NULL)
        return;
    for (list_t *n; (n = list_pop_front(&j->queue)) != NULL;)
        free(LIST_ITEM(n, queued_t, link));
    journal_lmdb_close(&j->file);
    pthread_cond_destroy(&j->wake);
    pthread_cond_destroy(&j->settled);
    pthread_mutex_destroy(&j->mutex);
    free(j);
}

/* ---- reading ---- */

bool journal_has_cursor(journal_t *j, journal_cursor_t *out)
{
    *out = j->loaded.cursor;
    return j->loaded.has_cursor;
}

uint64_t journal_next_number(journal_t *j)
{
    return j->loaded.next_number;
}

err_t journal_records(journal_t *j, bool (*each)(void *ctx, const journal_record_t *r), void *ctx)
{
    return journal_lmdb_records(&j->file, each, ctx);
}

err_t journal_receipt_by_number(journal_t *j, uint64_t number, journal_receipt_t *out)
{
    return journal_lmdb_receipt(&j->file, 'n', number, 0, out);
}

err_t journal_receipt_by_id(journal_t *j, uint64_t ms, uint64_t seq, journal_receipt_t *out)
{
    return journal_lmdb_receipt(&j->file, 's', ms, seq, out);
}
