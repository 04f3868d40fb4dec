/* The warm tier's threads: some that read, one that writes, and the two bounded queues before them.
 *
 * Reads come back to the asking loop as messages. Writes are taken together for a few tens of milliseconds (or 4 MB),
 * so that small objects share a transaction; a disk that doesn't keep up fills the queue, and what doesn't fit is not
 * written: a cache may forget, but it must not make anybody wait. */
#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "edge/base/check.h"
#include "edge/base/clock.h"
#include "edge/base/log.h"
#include "edge/base/mem.h"
#include "edge/policy/reuse.h"
#include "edge/warm/warm_priv.h"

enum {
    WARM_READERS = 4,
    WARM_MAX_READERS = 64,
    WARM_COMMIT_MS = 50,
    WARM_MAX_BATCH = 4096, /* objects in one transaction */
    WARM_ROTATIONS = 3,    /* commits before one write fits: the transaction, the segment */
    WARM_STALL_MS = 100,
    WARM_RETRY_MS = 1000, /* after a failure to write, so long nothing is tried */
    WARM_SWEEP_PAUSE = 5  /* ms between two slices of a sweep: readers come first */
};

typedef struct warm_write {
    list_t link;
    object_t *o; /* NULL = remove */
    digest_t digest;
    uint64_t variant, bytes;
    bool whole_key;
    uint32_t mark;
} warm_write_t;

struct warm {
    warm_lmdb_t *disk;
    warm_options_t options; /* `verdict` alone; strings are the caller's */
    pthread_t readers[WARM_MAX_READERS], writer;
    unsigned readers_n;
    atomic_uint readers_begun;
    uint64_t queue_most;
    msec_t commit_ms;
    _Atomic int64_t stall;
    _Atomic int64_t busy_since[WARM_MAX_READERS]; /* nanoseconds; 0: that reader is free */

    pthread_mutex_t read_mutex;
    pthread_cond_t read_ready;
    list_t reads;
    size_t reads_n;
    bool reads_stop;

    pthread_mutex_t write_mutex; /* never taken together with the other */
    pthread_cond_t write_ready;  /* for the writer */
    pthread_cond_t write_done;   /* for those who wait for room or a flush */
    list_t writes;
    uint64_t writes_bytes; /* of objects in the queue and in the running batch */
    size_t removes_n;
    uint64_t queued, synced; /* counts of writes, in order: the first `synced` of them are on disk for good */
    uint64_t sync_wanted;
    uint64_t sweep_wanted; /* position of the purge ledger */
    bool writes_stop;
    _Atomic uint64_t swept; /* reached, and on disk */

    _Atomic uint64_t gets, gets_now, refused_reads, puts, put_bytes, dropped_full, dropped_big, dropped_error,
        dropped_purged, written_bytes, stalls;
};

static void warm_add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static void warm_injected_stall(warm_t *w)
{
    int64_t began = clock_nanos();
    while (clock_nanos() - began < atomic_load_explicit(&w->stall, memory_order_relaxed) * 1000000)
        usleep(1000);
}

void warm_stall(warm_t *w, msec_t each)
{
    atomic_store_explicit(&w->stall, each, memory_order_relaxed);
}

/* ---- reading ---- */

static void warm_answer(loop_message_t *m)
{
    warm_get_t *g = CONTAINER_OF(m, warm_get_t, message);
    object_t *o = g->object;
    g->object = NULL;
    g->done(g, o);
}

bool warm_maybe(warm_t *w, digest_t digest)
{
    return warm_lmdb_maybe(w->disk, digest);
}

err_t warm_get_now(warm_t *w, warm_get_t *g, object_t **out)
{
    if (atomic_load_explicit(&w->stall, memory_order_relaxed) > 0)
        return ERR_AGAIN;
    g->granted = 0;
    err_t e = warm_lmdb_lookup(w->disk, g, true, out);
    if (e != ERR_AGAIN)
        warm_add(&w->gets_now, 1);
    return e;
}

bool warm_stalled(const warm_t *w, msec_t longer)
{
    int64_t now = 0;
    for (unsigned i = 0; i < w->readers_n; i++) {
        int64_t since = atomic_load_explicit(&w->busy_since[i], memory_order_relaxed);
        if (since == 0)
            return false;
        now = now != 0 ? now : clock_nanos();
        if (now - since < longer * 1000000)
            return false;
    }
    return true;
}

void warm_get(warm_t *w, warm_get_t *g)
{
    g->object = NULL;
    g->granted = 0;
    g->message.run = warm_answer;
    pthread_mutex_lock(&w->read_mutex);
    bool taken = w->reads_n < WARM_MAX_READS && !w->reads_stop;
    if (taken) {
        list_push_back(&w->reads, &g->link);
        w->reads_n++;
        pthread_cond_signal(&w->read_ready);
    }
    pthread_mutex_unlock(&w->read_mutex);
    if (!taken) {
        warm_add(&w->refused_reads, 1);
        loop_post(g->loop, &g->message);
    }
}

static void *warm_reader(void *arg)
{
    warm_t *w = arg;
    _Atomic int64_t *busy_since = &w->busy_since[atomic_fetch_add(&w->readers_begun, 1)];
    pthread_mutex_lock(&w->read_mutex);
    for (;;) {
        while (list_empty(&w->reads) && !w->reads_stop)
            pthread_cond_wait(&w->read_ready, &w->read_mutex);
        list_t *link = list_pop_front(&w->reads);
        if (link == NULL)
            break;
        w->reads_n--;
        bool stop = w->reads_stop;
        pthread_mutex_unlock(&w->read_mutex);
        warm_get_t *g = LIST_ITEM(link, warm_get_t, link);
        if (!stop) {
            int64_t began = clock_nanos();
            atomic_store_explicit(busy_since, began, memory_order_relaxed);
            warm_injected_stall(w);
            (void)warm_lmdb_lookup(w->disk, g, false, &g->object);
            warm_add(&w->gets, 1);
            if (clock_nanos() - began >= WARM_STALL_MS * (int64_t)1000000)
                warm_add(&w->stalls, 1);
            atomic_store_explicit(busy_since, 0, memory_order_relaxed);
        }
        loop_post(g->loop, &g->message); /* `g` is the loop's again */
        pthread_mutex_lock(&w->read_mutex);
    }
    pthread_mutex_unlock(&w->read_mutex);
    return NULL;
}

void warm_touch(warm_t *w, uint64_t disk_id)
{
    if (disk_id != 0)
        warm_lmdb_touch(w->disk, disk_id);
}

/* ---- queueing writes ---- */

static void warm_forget(object_t *o)
{
    atomic_store_explicit(&o->disk_id, 0, memory_order_relaxed);
    atomic_fetch_and_explicit(&o->flags, ~(uint32_t)OBJECT_ON_DISK, memory_order_release);
}

/* At most so long, and not longer than a tenth of a second: callers look again at what they wait for. */
static void warm_wait(warm_t *w, pthread_cond_t *c, msec_t ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (ms < 100 ? ms : 100) * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_cond_timedwait(c, &w->write_mutex, &until);
}

static err_t warm_enqueue(warm_t *w, object_t *o, msec_t deadline)
{
    uint32_t flags = atomic_load_explicit(&o->flags, memory_order_acquire);
    if ((flags & (OBJECT_DEAD | OBJECT_PART)) != 0 || (object_meta(o).flags & STORED_HIT_FOR_MISS) != 0)
        return ERR_REFUSED; /* records hold whole responses */
    if ((flags & OBJECT_ON_DISK) != 0) {
        uint64_t id = atomic_load_explicit(&o->disk_id, memory_order_relaxed);
        if (id == 0 || warm_lmdb_touch(w->disk, id))
            return ERR_EXISTS;
        warm_forget(o); /* its segment fell off the end */
    }
    uint64_t bytes = object_bytes(o);
    if (segment_cost(object_own_bytes(o) + body_length(object_body(o))) > warm_lmdb_most(w->disk)) {
        warm_add(&w->dropped_big, 1);
        return ERR_TOO_BIG;
    }
    if ((atomic_fetch_or_explicit(&o->flags, OBJECT_ON_DISK, memory_order_acq_rel) & OBJECT_ON_DISK) != 0)
        return ERR_EXISTS;
    warm_write_t *x = mem_alloc(sizeof *x);
    *x = (warm_write_t){.o = object_ref(o), .bytes = bytes};
    err_t e = ERR_OK;
    pthread_mutex_lock(&w->write_mutex);
    while (w->writes_bytes > 0 && w->writes_bytes + bytes > w->queue_most && !w->writes_stop && e == ERR_OK) {
        msec_t left = deadline - clock_now().boot;
        if (left <= 0) {
            e = ERR_AGAIN;
        } else {
            warm_wait(w, &w->write_done, left);
        }
    }
    if (w->writes_stop)
        e = ERR_CLOSED;
    if (e == ERR_OK) {
        list_push_back(&w->writes, &x->link);
        w->writes_bytes += bytes;
        w->queued++;
        pthread_cond_signal(&w->write_ready);
    }
    pthread_mutex_unlock(&w->write_mutex);
    if (e != ERR_OK) {
        warm_add(&w->dropped_full, 1);
        warm_forget(o);
        object_unref(x->o);
        free(x);
    }
    return e;
}

uint64_t warm_most(const warm_t *w)
{
    uint64_t most = warm_lmdb_most(w->disk);
    uint64_t head = most / 16 + FIELDS_MAX_BYTES * 2; /* chunks' own heads, key, fields and tags */
    return most > head ? most - head : 0;
}

err_t warm_put(warm_t *w, object_t *o)
{
    return warm_enqueue(w, o, INT64_MIN / 2);
}

err_t warm_put_wait(warm_t *w, object_t *o, msec_t deadline)
{
    return warm_enqueue(w, o, deadline);
}

static void warm_enqueue_remove(warm_t *w, digest_t digest, uint64_t variant, bool whole_key)
{
    warm_write_t *x = mem_alloc(sizeof *x);
    *x = (warm_write_t){.digest = digest, .variant = variant, .whole_key = whole_key};
    pthread_mutex_lock(&w->write_mutex);
    bool taken = w->removes_n < WARM_MAX_REMOVES;
    if (taken) {
        list_push_back(&w->writes, &x->link);
        w->removes_n++;
        w->queued++;
        pthread_cond_signal(&w->write_ready);
    }
    pthread_mutex_unlock(&w->write_mutex);
    if (!taken) {
        warm_add(&w->dropped_full, 1);
        free(x);
    }
}

void warm_remove(warm_t *w, digest_t digest, uint64_t variant)
{
    warm_enqueue_remove(w, digest, variant, false);
}

void warm_remove_key(warm_t *w, digest_t digest)
{
    warm_enqueue_remove(w, digest, 0, true);
}

err_t warm_flush(warm_t *w, msec_t deadline)
{
    pthread_mutex_lock(&w->write_mutex);
    uint64_t mine = w->queued;
    if (w->sync_wanted < mine)
        w->sync_wanted = mine;
    pthread_cond_signal(&w->write_ready);
    while (w->synced < mine) {
        msec_t left = deadline - clock_now().boot;
        if (left <= 0)
            break;
        warm_wait(w, &w->write_done, left);
    }
    err_t e = w->synced >= mine ? ERR_OK : ERR_TIMEOUT;
    pthread_mutex_unlock(&w->write_mutex);
    return e;
}

/* ---- sweeping ---- */

void warm_sweep(warm_t *w, uint64_t position)
{
    pthread_mutex_lock(&w->write_mutex);
    if (position > w->sweep_wanted && w->options.verdict != NULL)
        w->sweep_wanted = position;
    pthread_cond_signal(&w->write_ready);
    pthread_mutex_unlock(&w->write_mutex);
}

uint64_t warm_swept(warm_t *w)
{
    return atomic_load_explicit(&w->swept, memory_order_acquire);
}

/* ---- the writer ---- */

/* Objects that are in the running transaction: only its commit makes them be on disk. */
typedef struct warm_batch {
    struct {
        warm_write_t *x;
        uint64_t id;
    } of[WARM_MAX_BATCH];
    size_t n;
} warm_batch_t;

static void warm_finish(warm_t *w, warm_write_t *x)
{
    pthread_mutex_lock(&w->write_mutex);
    if (x->o != NULL)
        w->writes_bytes -= x->bytes;
    else
        w->removes_n--;
    pthread_cond_broadcast(&w->write_done);
    pthread_mutex_unlock(&w->write_mutex);
    object_unref(x->o);
    free(x);
}

static err_t warm_commit(warm_t *w, warm_batch_t *b)
{
    warm_injected_stall(w);
    err_t e = warm_lmdb_commit(w->disk);
    for (size_t i = 0; i < b->n; i++) {
        warm_write_t *x = b->of[i].x;
        if (x->o != NULL && e != ERR_OK) {
            warm_add(&w->dropped_error, 1);
            warm_forget(x->o);
        } else if (x->o != NULL) {
            warm_add(&w->puts, 1);
            size_t head = 0;
            (void)record_head_size(x->o, &head);
            warm_add(&w->put_bytes, head + body_length(object_body(x->o)));
            atomic_store_explicit(&x->o->disk_id, b->of[i].id, memory_order_relaxed);
            /* marked or replaced while it was being written: the record says less than is known */
            if (object_dead(x->o) || atomic_load_explicit(&x->o->stamp.mark, memory_order_acquire) > x->mark) {
                warm_forget(x->o);
                warm_remove(w, x->o->digest, object_variant(x->o));
            }
        }
        warm_finish(w, x);
    }
    b->n = 0;
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    atomic_store_explicit(&w->written_bytes, (uint64_t)usage.ru_oublock * 512, memory_order_relaxed);
    return e;
}

/* What is written says what the ledger says now. */
static warm_verdict_t warm_verdict(warm_t *w, object_t *o)
{
    warm_verdict_t v = {.upto = atomic_load_explicit(&o->stamp.checked_to, memory_order_acquire)};
    uint32_t mark = atomic_load_explicit(&o->stamp.mark, memory_order_acquire);
    if (w->options.verdict != NULL) {
        warm_subject_t s = {
            .uri = object_uri(o), .uri_digest = object_uri_digest(o), .tags = object_tags(o), .tags_n = o->tags_n};
        v.mark = w->options.verdict(w->options.verdict_arg, &s, v.upto, &v.upto);
    }
    v.mark = mark > v.mark ? mark : v.mark;
    return v;
}

static err_t warm_write_one(warm_t *w, warm_batch_t *b, warm_write_t *x)
{
    uint64_t id = 0;
    err_t e;
    if (x->o == NULL) {
        warm_erase_t which = {x->digest, x->variant, x->whole_key};
        e = warm_lmdb_remove(w->disk, which);
        for (unsigned tries = 0; e == ERR_AGAIN && tries < WARM_ROTATIONS; tries++) {
            warm_commit(w, b);
            e = warm_lmdb_remove(w->disk, which);
        }
    } else {
        if (object_dead(x->o)) {
            warm_forget(x->o);
            warm_finish(w, x);
            return ERR_OK;
        }
        warm_verdict_t v = warm_verdict(w, x->o);
        if (v.mark == MARK_HARD) {
            warm_add(&w->dropped_purged, 1);
            warm_forget(x->o);
            warm_finish(w, x);
            return ERR_OK;
        }
        x->mark = v.mark;
        e = warm_lmdb_write(w->disk, x->o, v, &id);
        for (unsigned tries = 0; e == ERR_AGAIN && tries < WARM_ROTATIONS; tries++) {
            warm_commit(w, b);
            e = warm_lmdb_write(w->disk, x->o, v, &id);
        }
        if (e != ERR_OK) {
            warm_add(e == ERR_TOO_BIG ? &w->dropped_big : &w->dropped_error, 1);
            warm_forget(x->o);
            warm_finish(w, x);
            return e == ERR_TOO_BIG ? ERR_OK : e;
        }
    }
    b->of[b->n].x = x;
    b->of[b->n++].id = id;
    return b->n == WARM_MAX_BATCH ? warm_commit(w, b) : ERR_OK;
}

static bool warm_urgent(const warm_t *w)
{
    return w->writes_stop || w->sync_wanted > w->synced || w->writes_bytes >= WARM_COMMIT_BYTES ||
           w->writes_bytes * 2 >= w->queue_most;
}

/* Waits until there is something to do: with a sweep on its way that is soon. */
static void warm_wait_for_work(warm_t *w, bool sweeping)
{
    while (list_empty(&w->writes) && !w->writes_stop && w->sync_wanted <= w->synced) {
        if (sweeping)
            warm_wait(w, &w->write_ready, WARM_SWEEP_PAUSE);
        else if (w->sweep_wanted <= w->swept)
            pthread_cond_wait(&w->write_ready, &w->write_mutex);
        if (w->sweep_wanted > w->swept)
            break;
    }
    msec_t until = clock_now().boot + w->commit_ms;
    for (msec_t left; !list_empty(&w->writes) && !warm_urgent(w) && (left = until - clock_now().boot) > 0;)
        warm_wait(w, &w->write_ready, left);
}

/* Between two batches: no transaction is running. */
static err_t warm_sweep_on(warm_t *w, uint64_t goal)
{
    warm_injected_stall(w);
    err_t e = warm_sweep_slice(w->disk, &w->options, goal);
    if (e == ERR_NOT_FOUND)
        atomic_store_explicit(&w->swept, goal, memory_order_release);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

static void *warm_writer(void *arg)
{
    warm_t *w = arg;
    warm_batch_t *b = mem_zalloc(sizeof *b);
    warm_lmdb_prepare(w->disk);
    pthread_mutex_lock(&w->write_mutex);
    for (;;) {
        warm_wait_for_work(w, w->sweep_wanted > w->swept);
        list_t batch;
        list_init(&batch);
        list_take(&batch, &w->writes);
        bool stop = w->writes_stop && list_empty(&batch);
        bool sync = w->sync_wanted > w->synced;
        uint64_t upto = w->queued, sweep = w->sweep_wanted;
        pthread_mutex_unlock(&w->write_mutex);

        err_t e = ERR_OK;
        for (list_t *link; (link = list_pop_front(&batch)) != NULL;) {
            err_t one = warm_write_one(w, b, LIST_ITEM(link, warm_write_t, link));
            e = e != ERR_OK ? e : one;
        }
        err_t committed = warm_commit(w, b);
        e = e != ERR_OK ? e : committed;
        bool synced = sync && warm_lmdb_sync(w->disk) == ERR_OK;
        if (sweep > w->swept && !stop && e == ERR_OK)
            e = warm_sweep_on(w, sweep);

        pthread_mutex_lock(&w->write_mutex);
        if (synced) {
            w->synced = upto;
            pthread_cond_broadcast(&w->write_done);
        } else if (sync) {
            w->sync_wanted = w->synced; /* whoever waits for it runs into its deadline */
        }
        if (stop)
            break;
        for (msec_t again = clock_now().boot + WARM_RETRY_MS;
             e != ERR_OK && !w->writes_stop && clock_now().boot < again;)
            warm_wait(w, &w->write_ready, again - clock_now().boot);
    }
    pthread_mutex_unlock(&w->write_mutex);
    free(b);
    return NULL;
}

/* ---- beginning and end ---- */

err_t warm_open(const warm_options_t *options, warm_t **out, char *sentence)
{
    warm_lmdb_t *disk;
    err_t e = warm_lmdb_open(options, &disk, sentence);
    if (e != ERR_OK)
        return e;
    warm_t *w = mem_zalloc(sizeof *w);
    w->disk = disk;
    w->options = *options;
    w->queue_most = options->queue_bytes != 0 ? options->queue_bytes : WARM_QUEUE_BYTES;
    w->commit_ms = options->commit_ms != 0 ? options->commit_ms : WARM_COMMIT_MS;
    w->readers_n = options->threads != 0 ? options->threads : WARM_READERS;
    if (w->readers_n > WARM_MAX_READERS)
        w->readers_n = WARM_MAX_READERS;
    list_init(&w->reads);
    list_init(&w->writes);
    pthread_mutex_init(&w->read_mutex, NULL);
    pthread_mutex_init(&w->write_mutex, NULL);
    pthread_cond_init(&w->read_ready, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w->write_ready, &attr);
    pthread_cond_init(&w->write_done, &attr);
    pthread_condattr_destroy(&attr);
    for (unsigned i = 0; i < w->readers_n; i++)
        CHECK(pthread_create(&w->readers[i], NULL, warm_reader, w) == 0);
    CHECK(pthread_create(&w->writer, NULL, warm_writer, w) == 0);
    *out = w;
    return ERR_OK;
}

void warm_close(warm_t *w)
{
    if (w == NULL)
        return;
    pthread_mutex_lock(&w->read_mutex);
    w->reads_stop = true;
    pthread_cond_broadcast(&w->read_ready);
    pthread_mutex_unlock(&w->read_mutex);
    pthread_mutex_lock(&w->write_mutex);
    w->writes_stop = true;
    pthread_cond_broadcast(&w->write_ready);
    pthread_mutex_unlock(&w->write_mutex);
    for (unsigned i = 0; i < w->readers_n; i++)
        pthread_join(w->readers[i], NULL);
    pthread_join(w->writer, NULL);
    warm_lmdb_close(w->disk);
    pthread_mutex_destroy(&w->read_mutex);
    pthread_mutex_destroy(&w->write_mutex);
    pthread_cond_destroy(&w->read_ready);
    pthread_cond_destroy(&w->write_ready);
    pthread_cond_destroy(&w->write_done);
    free(w);
}

void warm_stats(warm_t *w, warm_stats_t *out)
{
    *out = (warm_stats_t){0};
    warm_lmdb_measure(w->disk, out);
    const warm_counts_t *c = warm_lmdb_counts(w->disk);
    out->gets = w->gets;
    out->gets_now = w->gets_now;
    out->hits = c->hits;
    out->misses = c->misses;
    out->refused_reads = w->refused_reads;
    out->puts = w->puts;
    out->put_bytes = w->put_bytes;
    out->dropped_full = w->dropped_full;
    out->dropped_big = w->dropped_big;
    out->dropped_error = w->dropped_error;
    out->reinserted = c->reinserted;
    out->removed = c->removed;
    out->segments_dropped_full = c->dropped_full;
    out->segments_dropped_bad = c->dropped_bad;
    out->segments_dropped_epoch = c->dropped_epoch;
    out->segments_dropped_boot = c->dropped_boot;
    out->corrupt = c->corrupt;
    out->written_bytes = w->written_bytes;
    out->stalls = w->stalls;
    out->dropped_purged = w->dropped_purged;
    pthread_mutex_lock(&w->read_mutex);
    out->read_queue = w->reads_n;
    pthread_mutex_unlock(&w->read_mutex);
    pthread_mutex_lock(&w->write_mutex);
    out->write_queue_bytes = w->writes_bytes;
    pthread_mutex_unlock(&w->write_mutex);
}
