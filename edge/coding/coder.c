/* A ring of jobs under a mutex. That a form was asked for is a flag of the object, so that a thousand hits on it make
 * one job, without a table. The flag is taken back when the job is done: if the coded form is evicted while the object
 * stays, it is made again. */
#include "edge/coding/coder.h"

#include <pthread.h>
#include <stdlib.h>

#include "edge/base/mem.h"
#include "edge/coding/encoder.h"
#include "edge/tbl/metrics.h"

enum {
    CODER_SLICE = 256 * 1024, /* coded between two looks at whether to stop */
    CODER_WORTH = 16          /* what a sixteenth of the body isn't saved of isn't kept */
};

typedef struct coder_job {
    object_t *object; /* a reference */
    coding_t coding;
} coder_job_t;

struct coder {
    store_t *store;
    bool threaded;
    pthread_t thread;
    atomic_bool stop;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t asked;
    coder_job_t job[CODER_QUEUE_MOST];
    size_t first, n;
};

static uint16_t coder_flag(coding_t c)
{
    static const uint16_t flags[CODINGS] = {0, OBJECT_CODE_ZSTD, OBJECT_CODE_BR, OBJECT_CODE_GZIP};
    return flags[c];
}

/* ERR_TOO_BIG: it doesn't become smaller. */
static err_t coder_encode(coder_t *c, const coder_job_t *j, encoded_t *out)
{
    const body_t *body = object_body(j->object);
    encoder_t *e = encoder_new(j->coding, ENCODER_KEPT, (int64_t)body_length(body));
    body_cursor_t at = {0};
    err_t err = e != NULL ? ERR_OK : ERR_IO;
    while (err == ERR_OK && at.at < body_length(body)) {
        struct iovec v;
        if (body_read(body, &at, UINT64_MAX, &v, 1, CODER_SLICE) != 1)
            err = ERR_CORRUPT;
        else
            err = encoder_put(e, span_of(v.iov_base, v.iov_len),
                              at.at == body_length(body) ? ENCODER_FINISH : ENCODER_MORE, out);
        if (atomic_load_explicit(&c->stop, memory_order_relaxed) || object_dead(j->object))
            err = err == ERR_OK ? ERR_REFUSED : err;
    }
    encoder_free(e);
    return err;
}

static unsigned coder_do(coder_t *c, const coder_job_t *j)
{
    object_t *o = j->object, *there = coded_peek(c->store, o, j->coding);
    object_unref(there);
    if (there != NULL)
        return LABEL_CODER_KEPT;
    size_t most = body_length(object_body(o)) - body_length(object_body(o)) / CODER_WORTH;
    encoded_t out = {.most = most};
    if (!store_reserve(c->store, most))
        return LABEL_CODER_BUDGET;
    err_t err = coder_encode(c, j, &out);
    store_unreserve(c->store, most);
    unsigned outcome = LABEL_CODER_GONE;
    if (err == ERR_TOO_BIG) {
        atomic_fetch_or_explicit(&o->flags, OBJECT_DENSE, memory_order_relaxed);
        outcome = LABEL_CODER_DENSE;
    } else if (err == ERR_OK && !object_dead(o)) {
        outcome =
            coded_keep(c->store, o, j->coding, span_of(out.p, out.n)) == ERR_OK ? LABEL_CODER_KEPT : LABEL_CODER_BUDGET;
    }
    free(out.p);
    return outcome;
}

static bool coder_take(coder_t *c, coder_job_t *out)
{
    if (c->n == 0)
        return false;
    *out = c->job[c->first];
    c->first = (c->first + 1) % CODER_QUEUE_MOST;
    c->n--;
    return true;
}

static void coder_finish(const coder_job_t *j, unsigned outcome)
{
    metrics_add(METRIC_CODER_JOBS, outcome, 1);
    atomic_fetch_and_explicit(&j->object->flags, (uint16_t)~coder_flag(j->coding), memory_order_relaxed);
    object_unref(j->object);
}

static void *coder_main(void *arg)
{
    coder_t *c = arg;
    pthread_setname_np(pthread_self(), "coder");
    pthread_mutex_lock(&c->mutex);
    while (!atomic_load(&c->stop)) {
        coder_job_t j;
        if (!coder_take(c, &j)) {
            pthread_cond_wait(&c->asked, &c->mutex);
            continue;
        }
        pthread_mutex_unlock(&c->mutex);
        coder_finish(&j, coder_do(c, &j));
        pthread_mutex_lock(&c->mutex);
    }
    pthread_mutex_unlock(&c->mutex);
    return NULL;
}

coder_t *coder_open(store_t *store, bool thread)
{
    coder_t *c = mem_zalloc(sizeof *c);
    c->store = store;
    c->threaded = thread;
    pthread_mutex_init(&c->mutex, NULL);
    pthread_cond_init(&c->asked, NULL);
    if (!thread || pthread_create(&c->thread, NULL, coder_main, c) == 0)
        return c;
    c->threaded = false;
    coder_close(c);
    return NULL;
}

void coder_close(coder_t *c)
{
    if (c == NULL)
        return;
    pthread_mutex_lock(&c->mutex);
    atomic_store(&c->stop, true);
    pthread_cond_signal(&c->asked);
    pthread_mutex_unlock(&c->mutex);
    if (c->threaded)
        pthread_join(c->thread, NULL);
    coder_job_t j;
    while (coder_take(c, &j))
        coder_finish(&j, LABEL_CODER_GONE);
    pthread_cond_destroy(&c->asked);
    pthread_mutex_destroy(&c->mutex);
    free(c);
}

void coder_ask(coder_t *c, object_t *o, coding_t coding)
{
    uint16_t flag = coder_flag(coding), known = flag | OBJECT_DENSE | OBJECT_DEAD;
    if (body_length(object_body(o)) > CODER_BODY_MOST ||
        (atomic_load_explicit(&o->flags, memory_order_relaxed) & known) != 0 ||
        (atomic_fetch_or_explicit(&o->flags, flag, memory_order_relaxed) & flag) != 0)
        return;
    coder_job_t j = {.object = object_ref(o), .coding = coding};
    pthread_mutex_lock(&c->mutex);
    bool room = c->n < CODER_QUEUE_MOST;
    if (room)
        c->job[(c->first + c->n++) % CODER_QUEUE_MOST] = j;
    pthread_cond_signal(&c->asked);
    pthread_mutex_unlock(&c->mutex);
    if (!room)
        coder_finish(&j, LABEL_CODER_QUEUE_FULL);
}

void coder_work(coder_t *c)
{
    coder_job_t j;
    for (;;) {
        pthread_mutex_lock(&c->mutex);
        bool have = coder_take(c, &j);
        pthread_mutex_unlock(&c->mutex);
        if (!have)
            return;
        coder_finish(&j, coder_do(c, &j));
    }
}

size_t coder_waiting(coder_t *c)
{
    pthread_mutex_lock(&c->mutex);
    size_t n = c->n;
    pthread_mutex_unlock(&c->mutex);
    return n;
}
