/* Rings and the writer. An entry is the record's numbers, the lengths of its texts and the texts, one after the other:
 * copying it costs the loop about a tenth of what making the line would. Entries lie whole in the ring; one that does
 * not fit before the end is put at the start, behind a mark that says so.
 *
 * The producer publishes `tail`, then looks whether the writer sleeps; the writer says that it sleeps, then looks at
 * the tails once more. Both sequentially consistent, so one of them sees the other. A wake-up is a write to an eventfd,
 * at most one every ACCESSLOG_NAP_MS: after it the writer naps, so that a busy node writes hundreds of lines with one
 * call; a ring that is half full ends the nap. */
#include "edge/admin/accesslog.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "edge/admin/accesslog_sink.h"
#include "edge/admin/recent.h"
#include "edge/base/check.h"
#include "edge/base/clock.h"
#include "edge/base/log.h"
#include "edge/base/mem.h"
#include "edge/tbl/metrics.h"

enum {
    LINE = 64,                 /* of the processor's cache */
    BUFFER_BYTES = 256 * 1024, /* lines made but not written */
    CLOSE_MS = 1000,           /* how long close waits for a reader */
    WRAP = 0                   /* entry.size: go on at the start of the ring */
};
_Static_assert(BUFFER_BYTES > 2 * ACCESSLOG_LINE_MAX, "the buffer holds a longest line and more");

enum accesslog_text {
#define X(name, most) TEXT_##name,
    ACCESSLOG_TEXTS(X)
#undef X
        TEXTS
};

typedef struct accesslog_entry {
    uint32_t size; /* of the entry, header and padding included */
    int32_t status;
    int32_t protocol;
    uint16_t length[TEXTS];
    uint16_t present; /* bit of each text that is not absent */
    int64_t time, duration_us, upstream_us;
    uint64_t bytes;
} accesslog_entry_t; /* the texts follow */
_Static_assert(TEXTS <= 16, "a bit for each text");

typedef struct accesslog_ring {
    _Alignas(LINE) _Atomic uint64_t tail; /* bytes ever put in; the producer's */
    uint64_t head_seen;                   /* the producer's last look at head */
    _Alignas(LINE) _Atomic uint64_t head; /* bytes ever taken out; the writer's */
    _Alignas(LINE) char *bytes;
    size_t size; /* power of two */
} accesslog_ring_t;

typedef enum accesslog_state { AWAKE, NAPPING, ASLEEP } accesslog_state_t;

struct accesslog {
    accesslog_format_t format;
    bool off;         /* lines go to `recent` only */
    recent_t *recent; /* NULL: nobody can ask for lines */
    char *line;       /* room for one, where what is kept isn't what is written */
    char *path;
    unsigned workers;
    accesslog_ring_t *rings;
    accesslog_sink_t sink;
    char *buffer;
    size_t buffered, lines; /* bytes and lines in buffer */
    int wake_fd;
    pthread_t writer;
    _Atomic accesslog_state_t state;
    _Atomic bool reopen, stop;
    uint64_t dropped_said;
    msec_t said; /* boot time */
};

static void accesslog_wake(accesslog_t *log)
{
    uint64_t one = 1;
    if (write(log->wake_fd, &one, sizeof one) < 0)
        return; /* the counter is full: it is awake */
}

bool accesslog_wanted(const accesslog_t *log, msec_t wall)
{
    return log != NULL && (!log->off || recent_watched(log->recent, wall));
}

/* ---- the worker's side ---- */
bool accesslog_write(accesslog_t *log, unsigned worker, const accesslog_record_t *r)
{
    if (log == NULL)
        return false;
    CHECK(worker < log->workers);
    accesslog_ring_t *ring = &log->rings[worker];
    accesslog_entry_t e = {.status = r->status,
                           .protocol = r->protocol,
                           .time = r->time,
                           .duration_us = r->duration_us,
                           .upstream_us = r->upstream_us,
                           .bytes = r->bytes};
    size_t need = sizeof e;
#define X(name, most)                                                                                                  \
    e.length[TEXT_##name] = (uint16_t)(r->name.n < (most) ? r->name.n : (most));                                       \
    e.present |= (uint16_t)((r->name.p != NULL) << TEXT_##name);                                                       \
    need += e.length[TEXT_##name];
    ACCESSLOG_TEXTS(X)
#undef X
    need = (need + 7) & ~(size_t)7;
    e.size = (uint32_t)need;

    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    size_t at = (size_t)(tail & (ring->size - 1)), to_end = ring->size - at;
    size_t take = need <= to_end ? need : to_end + need;
    if (tail + take - ring->head_seen > ring->size) {
        ring->head_seen = atomic_load_explicit(&ring->head, memory_order_acquire);
        if (tail + take - ring->head_seen > ring->size) {
            metrics_add(METRIC_LOG_DROPPED, 0, 1);
            return false;
        }
    }
    if (need > to_end) {
        memset(ring->bytes + at, WRAP, sizeof(uint32_t));
        at = 0;
    }
    char *to = ring->bytes + at;
    memcpy(to, &e, sizeof e);
    to += sizeof e;
#define X(name, most)                                                                                                  \
    if (r->name.p != NULL)                                                                                             \
        memcpy(to, r->name.p, e.length[TEXT_##name]);                                                                  \
    to += e.length[TEXT_##name];
    ACCESSLOG_TEXTS(X)
#undef X
    atomic_store(&ring->tail, tail + take);
    accesslog_state_t state = atomic_load(&log->state);
    if (state == AWAKE)
        return true;
    if (state == NAPPING) {
        if (tail + take - ring->head_seen < ring->size / 2)
            return true;
        ring->head_seen = atomic_load_explicit(&ring->head, memory_order_acquire);
        if (tail + take - ring->head_seen < ring->size / 2)
            return true;
    }
    if (atomic_exchange(&log->state, AWAKE) != AWAKE)
        accesslog_wake(log);
    return true;
}

/* ---- the writer's side ---- */
static void accesslog_lost(accesslog_t *log)
{
    metrics_add(METRIC_LOG_DROPPED, 0, log->lines);
    log->buffered = log->lines = 0;
}

/* Writes the buffer. False: the reader has stopped and the rest is still there. */
static bool accesslog_flush(accesslog_t *log)
{
    if (log->buffered == 0)
        return true;
    ssize_t n = accesslog_sink_write(&log->sink, log->buffer, log->buffered);
    if (n < 0) {
        accesslog_lost(log);
        return true;
    }
    size_t rest = log->buffered - (size_t)n, written = log->lines;
    if (rest > 0) {
        memmove(log->buffer, log->buffer + n, rest);
        size_t left = 0;
        for (size_t i = 0; i < rest; i++)
            left += log->buffer[i] == '\n';
        written -= left;
    }
    metrics_add(METRIC_LOG_LINES, 0, written);
    log->lines -= written;
    log->buffered = rest;
    return rest == 0;
}

static void accesslog_make_line(accesslog_t *log, const char *from)
{
    accesslog_entry_t e;
    memcpy(&e, from, sizeof e);
    from += sizeof e;
    accesslog_record_t r = {.time = e.time,
                            .duration_us = e.duration_us,
                            .upstream_us = e.upstream_us,
                            .bytes = e.bytes,
                            .status = e.status,
                            .protocol = e.protocol};
#define X(name, most)                                                                                                  \
    r.name = (e.present >> TEXT_##name & 1) != 0 ? span_of(from, e.length[TEXT_##name]) : SPAN_NONE;                   \
    from += e.length[TEXT_##name];
    ACCESSLOG_TEXTS(X)
#undef X
    if (log->off || (log->recent != NULL && log->format != ACCESSLOG_JSON && recent_watched(log->recent, e.time)))
        recent_add(log->recent, &r, span_of(log->line, accesslog_line(ACCESSLOG_JSON, &r, log->line) - 1));
    if (log->off)
        return;
    size_t n = accesslog_line(log->format, &r, log->buffer + log->buffered);
    if (log->recent != NULL && log->format == ACCESSLOG_JSON)
        recent_add(log->recent, &r, span_of(log->buffer + log->buffered, n - 1));
    log->buffered += n;
    log->lines++;
}

/* Turns what is in the ring into lines. False: no room left for them, the reader has stopped. */
static bool accesslog_drain(accesslog_t *log, accesslog_ring_t *ring, bool *any)
{
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed), tail = atomic_load(&ring->tail);
    while (head != tail) {
        if (log->buffered + ACCESSLOG_LINE_MAX > BUFFER_BYTES && !accesslog_flush(log) &&
            log->buffered + ACCESSLOG_LINE_MAX > BUFFER_BYTES)
            return false;
        size_t at = (size_t)(head & (ring->size - 1));
        uint32_t size;
        memcpy(&size, ring->bytes + at, sizeof size);
        if (size == WRAP)
            head += ring->size - at;
        else {
            accesslog_make_line(log, ring->bytes + at);
            head += size;
        }
        atomic_store_explicit(&ring->head, head, memory_order_release);
        *any = true;
    }
    return true;
}

static void accesslog_say_dropped(accesslog_t *log)
{
    uint64_t dropped = metrics_total(METRIC_LOG_DROPPED);
    msec_t now = clock_now().boot;
    if (dropped == log->dropped_said || (log->said != 0 && now - log->said < 60 * 1000))
        return;
    log_warn("access log: %llu lines dropped, what reads it is too slow or refuses them",
             (unsigned long long)(dropped - log->dropped_said));
    log->dropped_said = dropped;
    log->said = now;
}

static void accesslog_rest(accesslog_t *log, int ms)
{
    struct pollfd p = {.fd = log->wake_fd, .events = POLLIN};
    uint64_t n;
    if (poll(&p, 1, ms) == 1 && read(log->wake_fd, &n, sizeof n) < 0)
        CHECK(errno == EAGAIN || errno == EINTR);
    atomic_store(&log->state, AWAKE);
}

static void *accesslog_run(void *arg)
{
    accesslog_t *log = arg;
    msec_t give_up = MSEC_NEVER;
    pthread_setname_np(pthread_self(), "brink-log");
    for (;;) {
        bool stop = atomic_load(&log->stop); /* before the last look at the rings */
        bool any = false, room = true;
        for (unsigned i = 0; i < log->workers && room; i++)
            room = accesslog_drain(log, &log->rings[i], &any);
        bool clear = accesslog_flush(log);
        if (atomic_exchange(&log->reopen, false) && !log->off)
            accesslog_sink_reopen(&log->sink);
        accesslog_say_dropped(log);
        if (stop) {
            msec_t now = clock_now().boot;
            if (give_up == MSEC_NEVER)
                give_up = now + CLOSE_MS;
            if ((!any && clear) || now >= give_up)
                break;
            continue;
        }
        if (!clear)
            continue; /* the sink has waited */
        if (any) {
            atomic_store(&log->state, NAPPING);
            accesslog_rest(log, ACCESSLOG_NAP_MS);
            continue;
        }
        atomic_store(&log->state, ASLEEP);
        bool empty = !atomic_load(&log->stop) && !atomic_load(&log->reopen);
        for (unsigned i = 0; i < log->workers && empty; i++)
            empty = atomic_load(&log->rings[i].tail) == atomic_load_explicit(&log->rings[i].head, memory_order_relaxed);
        accesslog_rest(log, empty ? -1 : 0);
    }
    if (log->buffered > 0)
        accesslog_lost(log);
    return NULL;
}

/* ---- life ---- */
err_t accesslog_open(const accesslog_options_t *o, accesslog_t **out, char *err, size_t err_size)
{
    *out = NULL;
    if (o->to == ACCESSLOG_OFF && o->recent == NULL)
        return ERR_OK;
    CHECK(o->workers > 0);
    accesslog_t *log = mem_zalloc(sizeof *log);
    log->format = o->format;
    log->off = o->to == ACCESSLOG_OFF;
    log->recent = o->recent;
    log->workers = o->workers;
    log->path = o->path != NULL ? mem_dup(o->path, strlen(o->path)) : NULL;
    err_t e = log->off ? ERR_OK : accesslog_sink_open(&log->sink, o->to, log->path, err, err_size);
    if (e != ERR_OK) {
        free(log->path);
        free(log);
        return e;
    }
    log->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK(log->wake_fd >= 0);
    size_t size = 4096;
    while (size < (o->ring_bytes > 0 ? o->ring_bytes : log->off ? ACCESSLOG_RING_OFF : ACCESSLOG_RING_BYTES))
        size *= 2;
    log->rings = aligned_alloc(LINE, log->workers * sizeof *log->rings);
    CHECK(log->rings != NULL);
    memset(log->rings, 0, log->workers * sizeof *log->rings);
    for (unsigned i = 0; i < log->workers; i++) {
        log->rings[i].bytes = mem_alloc(size);
        log->rings[i].size = size;
    }
    log->buffer = mem_alloc(BUFFER_BYTES);
    log->line = mem_alloc(ACCESSLOG_LINE_MAX);
    log->dropped_said = metrics_total(METRIC_LOG_DROPPED);
    sigset_t all, before; /* signals are for other threads, and a pipe that nobody reads is an error, not a SIGPIPE */
    sigfillset(&all);
    CHECK(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    CHECK(pthread_create(&log->writer, NULL, accesslog_run, log) == 0);
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    *out = log;
    return ERR_OK;
}

void accesslog_reopen(accesslog_t *log)
{
    if (log == NULL)
        return;
    atomic_store(&log->reopen, true);
    accesslog_wake(log);
}

void accesslog_close(accesslog_t *log)
{
    if (log == NULL)
        return;
    atomic_store(&log->stop, true);
    accesslog_wake(log);
    pthread_join(log->writer, NULL);
    if (!log->off)
        accesslog_sink_close(&log->sink);
    close(log->wake_fd);
    for (unsigned i = 0; i < log->workers; i++)
        free(log->rings[i].bytes);
    free(log->rings);
    free(log->buffer);
    free(log->line);
    free(log->path);
    free(log);
}
