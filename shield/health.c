/* A healthy server costs two atomic additions a request and a load. Only failures, and everything that happens to a
 * server while it is ejected, take its mutex. */
#include "shield/health.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "edge/base/check.h"
#include "edge/base/list.h"
#include "edge/base/mem.h"

/* A trial that never ends must not keep a server out for good. */
enum { HEALTH_TRIAL_MOST = 30 * 1000 };

struct health_server {
    list_t link;                     /* guarded by the registry's mutex, like refs */
    size_t refs;                     /* views that hold it */
    span_t url;                      /* owned */
    atomic_uint in_flight, failures; /* failures in a row */
    _Atomic msec_t ejected_until;    /* 0: healthy */
    _Atomic uint64_t requests, failed, ejections;
    pthread_mutex_t mutex; /* guards transitions of the two above, and: */
    msec_t backoff, trial_until;
};

struct health {
    pthread_mutex_t mutex; /* guards the list */
    list_t servers;
};

struct health_view {
    atomic_uint refs;
    health_t *health;
    size_t n;
    health_server_t *servers[];
};

health_t *health_new(void)
{
    health_t *h = mem_zalloc(sizeof *h);
    pthread_mutex_init(&h->mutex, NULL);
    list_init(&h->servers);
    return h;
}

void health_free(health_t *h)
{
    if (h == NULL)
        return;
    CHECK(list_empty(&h->servers));
    pthread_mutex_destroy(&h->mutex);
    free(h);
}

static health_server_t *health_server_get(health_t *h, span_t url)
{
    for (list_t *l = h->servers.next; l != &h->servers; l = l->next) {
        health_server_t *s = LIST_ITEM(l, health_server_t, link);
        if (span_eq(s->url, url)) {
            s->refs++;
            return s;
        }
    }
    health_server_t *s = mem_zalloc(sizeof *s);
    s->refs = 1;
    s->url = span_of(mem_dup(url.p, url.n), url.n);
    pthread_mutex_init(&s->mutex, NULL);
    list_push_back(&h->servers, &s->link);
    return s;
}

health_view_t *health_view_new(health_t *h, const conf_t *conf)
{
    health_view_t *v = mem_zalloc(sizeof *v + conf->upstreams_n * sizeof v->servers[0]);
    atomic_init(&v->refs, 1);
    v->health = h;
    v->n = conf->upstreams_n;
    pthread_mutex_lock(&h->mutex);
    for (size_t i = 0; i < v->n; i++)
        v->servers[i] = health_server_get(h, conf->upstreams[i]->url);
    pthread_mutex_unlock(&h->mutex);
    return v;
}

health_view_t *health_view_ref(health_view_t *v)
{
    CHECK(atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed) > 0);
    return v;
}

void health_view_unref(health_view_t *v)
{
    if (v == NULL || atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) > 1)
        return;
    pthread_mutex_lock(&v->health->mutex);
    for (size_t i = 0; i < v->n; i++) {
        health_server_t *s = v->servers[i];
        if (--s->refs > 0)
            continue;
        list_remove(&s->link);
        pthread_mutex_destroy(&s->mutex);
        free((char *)s->url.p);
        free(s);
    }
    pthread_mutex_unlock(&v->health->mutex);
    free(v);
}

health_server_t *health_at(const health_view_t *v, size_t index)
{
    CHECK(index < v->n);
    return v->servers[index];
}

size_t health_count(const health_view_t *v)
{
    return v->n;
}

bool health_usable(const health_server_t *s, msec_t boot)
{
    msec_t until = atomic_load_explicit(&s->ejected_until, memory_order_relaxed);
    return until == 0 || boot >= until;
}

bool health_admit(health_server_t *s, msec_t boot)
{
    if (atomic_load_explicit(&s->ejected_until, memory_order_relaxed) == 0)
        return true;
    pthread_mutex_lock(&s->mutex);
    msec_t until = atomic_load_explicit(&s->ejected_until, memory_order_relaxed);
    bool admitted = until == 0 || boot >= until;
    /* Whoever gets in is the trial; the others see it ejected until the trial has ended. */
    if (until != 0 && admitted) {
        s->trial_until = boot + HEALTH_TRIAL_MOST;
        atomic_store_explicit(&s->ejected_until, s->trial_until, memory_order_relaxed);
    }
    pthread_mutex_unlock(&s->mutex);
    return admitted;
}

void health_begin(health_server_t *s)
{
    atomic_fetch_add_explicit(&s->in_flight, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->requests, 1, memory_order_relaxed);
}

static void health_recovered(health_server_t *s)
{
    if (atomic_load_explicit(&s->failures, memory_order_relaxed) == 0 &&
        atomic_load_explicit(&s->ejected_until, memory_order_relaxed) == 0)
        return;
    pthread_mutex_lock(&s->mutex);
    atomic_store_explicit(&s->failures, 0, memory_order_relaxed);
    atomic_store_explicit(&s->ejected_until, 0, memory_order_relaxed);
    s->backoff = s->trial_until = 0;
    pthread_mutex_unlock(&s->mutex);
}

static void health_failed(health_server_t *s, msec_t boot)
{
    atomic_fetch_add_explicit(&s->failed, 1, memory_order_relaxed);
    pthread_mutex_lock(&s->mutex);
    unsigned failures = atomic_fetch_add_explicit(&s->failures, 1, memory_order_relaxed) + 1;
    bool ejected = atomic_load_explicit(&s->ejected_until, memory_order_relaxed) != 0;
    /* Requests that were under way when it was ejected fail one after the other: they don't lengthen the time, a failed
     * trial does. */
    bool trial = ejected && s->trial_until != 0;
    if ((!ejected && failures >= HEALTH_EJECT_AFTER) || trial) {
        s->backoff = !ejected                               ? HEALTH_BACKOFF_FIRST
                     : s->backoff * 2 < HEALTH_BACKOFF_MOST ? s->backoff * 2
                                                            : HEALTH_BACKOFF_MOST;
        s->trial_until = 0;
        atomic_store_explicit(&s->ejected_until, boot + s->backoff, memory_order_relaxed);
        atomic_fetch_add_explicit(&s->ejections, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&s->mutex);
}

/* The trial may have been this one: let another come. */
static void health_undecided(health_server_t *s, msec_t boot)
{
    if (atomic_load_explicit(&s->ejected_until, memory_order_relaxed) == 0)
        return;
    pthread_mutex_lock(&s->mutex);
    if (s->trial_until != 0) {
        s->trial_until = 0;
        atomic_store_explicit(&s->ejected_until, boot > 0 ? boot : 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&s->mutex);
}

void health_end(health_server_t *s, health_result_t result, msec_t boot)
{
    unsigned before = atomic_fetch_sub_explicit(&s->in_flight, 1, memory_order_relaxed);
    CHECK(before > 0);
    if (result == HEALTH_OK)
        health_recovered(s);
    else if (result == HEALTH_FAILED)
        health_failed(s, boot);
    else
        health_undecided(s, boot);
}

uint32_t health_in_flight(const health_server_t *s)
{
    return atomic_load_explicit(&s->in_flight, memory_order_relaxed);
}

void health_read(const health_server_t *s, msec_t boot, health_state_t *out)
{
    msec_t until = atomic_load_explicit(&s->ejected_until, memory_order_relaxed);
    *out = (health_state_t){
        .url = s->url,
        .healthy = until == 0,
        .consecutive_failures = atomic_load_explicit(&s->failures, memory_order_relaxed),
        .in_flight = health_in_flight(s),
        .ejected_for = until > boot ? until - boot : 0,
        .requests = atomic_load_explicit(&s->requests, memory_order_relaxed),
        .failures = atomic_load_explicit(&s->failed, memory_order_relaxed),
        .ejections = atomic_load_explicit(&s->ejections, memory_order_relaxed),
    };
}
