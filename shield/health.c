/* A mutex a server guards all that changes; what choosing reads of every candidate is atomic besides. Whoever ends a
 * request hands its place to the first who waits: such a place is never free in between, so nobody overtakes. */
#include "shield/health.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "edge/base/check.h"
#include "edge/base/log.h"
#include "edge/base/mem.h"
#include "edge/tbl/metrics.h"

/* A trial that never ends must not keep a server out for good. */
enum { HEALTH_TRIAL_MOST = 30 * 1000 };

struct health_server {
    list_t link; /* guarded by the registry's mutex, like refs */
    size_t refs; /* views that hold it */
    span_t url;  /* owned */
    unsigned label;
    atomic_uint in_flight;
    _Atomic msec_t ejected_until; /* 0: healthy */
    _Atomic msec_t trial_until;   /* ejected: until when a trial is waited for; 0: there is none */
    _Atomic msec_t returned;      /* when it last came back; 0: never */

    pthread_mutex_t mutex; /* guards the above where it is written, and: */
    list_t waiting;        /* health_waiter_t */
    uint32_t waiting_n, limit;
    uint32_t failures, errors, probes; /* in a row */
    msec_t answered;                   /* when the last head came */
    health_why_t why;
    msec_t backoff;
    window_t window;
    uint64_t requests, failed, ejections;
};

struct health {
    pthread_mutex_t mutex; /* guards the list */
    list_t servers;
    budget_t budget;
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
    budget_init(&h->budget);
    return h;
}

void health_free(health_t *h)
{
    if (h == NULL)
        return;
    CHECK(list_empty(&h->servers));
    budget_release(&h->budget);
    pthread_mutex_destroy(&h->mutex);
    free(h);
}

budget_t *health_budget(health_t *h)
{
    return &h->budget;
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
    s->label = metrics_label_register(METRIC_DIM_UPSTREAM, url);
    pthread_mutex_init(&s->mutex, NULL);
    list_init(&s->waiting);
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
        CHECK(list_empty(&s->waiting));
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

/* ---- choosing ---- */

bool health_usable(const health_server_t *s, msec_t boot)
{
    msec_t until = atomic_load_explicit(&s->ejected_until, memory_order_relaxed);
    return until == 0 || (boot >= until && boot >= atomic_load_explicit(&s->trial_until, memory_order_relaxed));
}

uint32_t health_in_flight(const health_server_t *s)
{
    return atomic_load_explicit(&s->in_flight, memory_order_relaxed);
}

uint32_t health_share(const health_server_t *s, msec_t boot)
{
    msec_t since = atomic_load_explicit(&s->returned, memory_order_relaxed), age = boot - since;
    if (since == 0 || age >= HEALTH_SLOW_START)
        return HEALTH_SHARE;
    return HEALTH_SHARE_FIRST + (uint32_t)(age > 0 ? age * (HEALTH_SHARE - HEALTH_SHARE_FIRST) / HEALTH_SLOW_START : 0);
}

/* ---- the circuit; the mutex is held ---- */

static bool health_is_out(const health_server_t *s)
{
    return atomic_load_explicit(&s->ejected_until, memory_order_relaxed) != 0;
}

/* Out, or out for longer. */
static void health_eject(health_server_t *s, health_why_t why, msec_t least, msec_t boot)
{
    msec_t returned = atomic_load_explicit(&s->returned, memory_order_relaxed);
    bool out = health_is_out(s), again = out || (returned != 0 && boot - returned < HEALTH_MEMORY);
    s->backoff = !again || s->backoff == 0              ? HEALTH_BACKOFF_FIRST
                 : s->backoff * 2 < HEALTH_BACKOFF_MOST ? s->backoff * 2
                                                        : HEALTH_BACKOFF_MOST;
    msec_t pause = s->backoff > least ? s->backoff : least;
    atomic_store_explicit(&s->trial_until, 0, memory_order_relaxed);
    atomic_store_explicit(&s->ejected_until, boot + pause, memory_order_relaxed);
    if (out)
        return;
    s->why = why;
    s->ejections++;
    metrics_add(METRIC_UPSTREAM_EJECTIONS, s->label, 1);
    log_warn("upstream %.*s is left out: %s", SPAN_ARG(s->url), health_why(why));
}

static void health_return(health_server_t *s, msec_t boot)
{
    log_info("upstream %.*s is back", SPAN_ARG(s->url));
    atomic_store_explicit(&s->ejected_until, 0, memory_order_relaxed);
    atomic_store_explicit(&s->trial_until, 0, memory_order_relaxed);
    atomic_store_explicit(&s->returned, boot > 0 ? boot : 1, memory_order_relaxed);
    s->failures = s->errors = s->probes = 0;
    s->why = HEALTH_WHY_NONE;
    window_clear(&s->window); /* what led to the ejection is settled */
}

/* It answers, if badly or slowly: as the last of its group it is used without a limit of one. */
static bool health_alive(const health_server_t *s)
{
    return s->why == HEALTH_WHY_ERRORS || s->why == HEALTH_WHY_RATE || s->why == HEALTH_WHY_LATENCY;
}

/* ---- places ---- */

static void health_settle(health_server_t *s, bool granted, list_t *told)
{
    health_waiter_t *w = LIST_ITEM(list_pop_front(&s->waiting), health_waiter_t, link);
    s->waiting_n--;
    w->queued = false;
    w->granted = granted;
    if (granted) {
        atomic_fetch_add_explicit(&s->in_flight, 1, memory_order_relaxed);
        s->requests++;
    }
    list_push_back(told, &w->link);
}

/* Moves whoever may go now, or must not wait any longer, to `told`. */
static void health_serve(health_server_t *s, bool refuse, list_t *told)
{
    bool open = !health_is_out(s) || health_alive(s);
    while (s->waiting_n > 0 && (open ? health_in_flight(s) < s->limit : refuse))
        health_settle(s, open, told);
}

static void health_tell(list_t *told)
{
    for (list_t *l; (l = list_pop_front(told)) != NULL;) {
        health_waiter_t *w = LIST_ITEM(l, health_waiter_t, link);
        w->run(w);
    }
}

static health_entry_t health_enter_locked(health_server_t *s, const health_ask_t *ask, msec_t boot)
{
    s->limit = ask->limit;
    bool full = health_in_flight(s) >= ask->limit;
    if (health_is_out(s)) {
        bool trial = boot < atomic_load_explicit(&s->trial_until, memory_order_relaxed);
        bool due = boot >= atomic_load_explicit(&s->ejected_until, memory_order_relaxed);
        if (!ask->last && (trial || !due))
            return HEALTH_OUT;
        if (!trial && (due || !health_alive(s))) { /* nobody needs to wait for what was hanging when it went out */
            atomic_store_explicit(&s->trial_until, boot + HEALTH_TRIAL_MOST, memory_order_relaxed);
            full = false;
        } else if (!health_alive(s)) {
            if (ask->waiter == NULL)
                return HEALTH_OUT;
            full = true;
        }
    }
    if (full || (s->waiting_n > 0 && !health_is_out(s))) {
        if (ask->waiter == NULL || s->waiting_n >= ask->queue)
            return HEALTH_FULL;
        ask->waiter->queued = true;
        list_push_back(&s->waiting, &ask->waiter->link);
        s->waiting_n++;
        return HEALTH_QUEUED;
    }
    atomic_fetch_add_explicit(&s->in_flight, 1, memory_order_relaxed);
    s->requests++;
    return HEALTH_GO;
}

health_entry_t health_enter(health_server_t *s, const health_ask_t *ask, msec_t boot)
{
    pthread_mutex_lock(&s->mutex);
    health_entry_t e = health_enter_locked(s, ask, boot);
    pthread_mutex_unlock(&s->mutex);
    return e;
}

bool health_leave(health_server_t *s, health_waiter_t *w)
{
    pthread_mutex_lock(&s->mutex);
    bool waiting = w->queued;
    if (waiting) {
        list_remove(&w->link);
        w->queued = false;
        s->waiting_n--;
    }
    pthread_mutex_unlock(&s->mutex);
    return waiting;
}

/* ---- what requests tell ---- */

void health_answered(health_server_t *s, int64_t nanos, msec_t boot)
{
    pthread_mutex_lock(&s->mutex);
    window_counts_t *c = window_now(&s->window, boot);
    c->timed++;
    c->micros += (uint64_t)nanos / 1000;
    s->answered = boot;
    pthread_mutex_unlock(&s->mutex);
}

static void health_went_well(health_server_t *s, msec_t boot)
{
    s->failures = s->errors = 0;
    if (!health_is_out(s) || s->why == HEALTH_WHY_PROBE)
        return;
    /* for the slow and the half broken, what was under way when they went out proves nothing */
    bool trial = atomic_load_explicit(&s->trial_until, memory_order_relaxed) != 0;
    if (trial || s->why == HEALTH_WHY_FAILURES || s->why == HEALTH_WHY_ERRORS)
        health_return(s, boot);
}

/* True: it is out, or its trial has failed, and those who wait had better go elsewhere. */
static bool health_went_badly(health_server_t *s, health_result_t how, msec_t boot)
{
    s->failed++;
    window_now(&s->window, boot)->failed++;
    if (how == HEALTH_ERROR)
        s->errors++;
    else if (how == HEALTH_FAILED)
        s->failures++;
    if (health_is_out(s)) {
        /* Requests that were under way when it was ejected fail one after the other: they don't lengthen the time, nor
         * does a trial that was made early because nobody else was left. */
        bool trial = atomic_load_explicit(&s->trial_until, memory_order_relaxed) != 0;
        if (trial && boot >= atomic_load_explicit(&s->ejected_until, memory_order_relaxed))
            health_eject(s, s->why, 0, boot);
        atomic_store_explicit(&s->trial_until, 0, memory_order_relaxed);
        return trial;
    }
    window_counts_t sum = window_sum(&s->window, boot);
    health_why_t why = s->failures >= HEALTH_FAILURES                              ? HEALTH_WHY_FAILURES
                       : s->errors >= HEALTH_ERRORS                                ? HEALTH_WHY_ERRORS
                       : sum.all >= HEALTH_RATE_LEAST && sum.failed * 2 >= sum.all ? HEALTH_WHY_RATE
                                                                                   : HEALTH_WHY_NONE;
    if (why != HEALTH_WHY_NONE)
        health_eject(s, why, 0, boot);
    return why != HEALTH_WHY_NONE;
}

/* The trial may have been this one: let another come. */
static void health_went_nowhere(health_server_t *s, list_t *told, msec_t boot)
{
    if (!health_is_out(s) || atomic_load_explicit(&s->trial_until, memory_order_relaxed) == 0)
        return;
    bool next = s->waiting_n > 0 && !health_alive(s);
    atomic_store_explicit(&s->trial_until, next ? boot + HEALTH_TRIAL_MOST : 0, memory_order_relaxed);
    if (next)
        health_settle(s, true, told);
}

void health_end(health_server_t *s, health_result_t result, msec_t sent, msec_t boot)
{
    list_t told;
    list_init(&told);
    pthread_mutex_lock(&s->mutex);
    bool refuse = false;
    unsigned before = atomic_fetch_sub_explicit(&s->in_flight, 1, memory_order_relaxed);
    CHECK(before > 0);
    if (result != HEALTH_UNKNOWN)
        window_now(&s->window, boot)->all++;
    if (result == HEALTH_SILENT && s->answered <= sent)
        result = HEALTH_FAILED;
    if (result == HEALTH_OK)
        health_went_well(s, boot);
    else if (result != HEALTH_UNKNOWN)
        refuse = health_went_badly(s, result, boot);
    else
        health_went_nowhere(s, &told, boot);
    health_serve(s, refuse || health_in_flight(s) == 0, &told);
    pthread_mutex_unlock(&s->mutex);
    health_tell(&told);
}

void health_probed(health_server_t *s, bool well, msec_t patience, msec_t boot)
{
    list_t told;
    list_init(&told);
    pthread_mutex_lock(&s->mutex);
    bool out = health_is_out(s);
    if (well) {
        s->probes = 0;
        if (health_is_out(s) &&
            (s->why == HEALTH_WHY_PROBE || boot >= atomic_load_explicit(&s->ejected_until, memory_order_relaxed)))
            health_return(s, boot);
    } else if (++s->probes >= HEALTH_PROBES) {
        if (!health_is_out(s))
            health_eject(s, HEALTH_WHY_PROBE, patience, boot);
        else if (atomic_load_explicit(&s->ejected_until, memory_order_relaxed) < boot + patience)
            atomic_store_explicit(&s->ejected_until, boot + patience, memory_order_relaxed);
    }
    health_serve(s, !out && health_is_out(s), &told);
    pthread_mutex_unlock(&s->mutex);
    health_tell(&told);
}

/* ---- among equals ---- */

uint64_t health_latency(health_server_t *s, msec_t boot)
{
    pthread_mutex_lock(&s->mutex);
    window_counts_t sum = window_sum(&s->window, boot);
    pthread_mutex_unlock(&s->mutex);
    return sum.timed >= HEALTH_RATE_LEAST ? sum.micros / sum.timed : 0;
}

void health_outlier(health_server_t *s, msec_t boot)
{
    pthread_mutex_lock(&s->mutex);
    if (!health_is_out(s))
        health_eject(s, HEALTH_WHY_LATENCY, 0, boot);
    pthread_mutex_unlock(&s->mutex);
}

/* ---- what can be seen ---- */

void health_read(health_server_t *s, msec_t boot, health_state_t *out)
{
    pthread_mutex_lock(&s->mutex);
    window_counts_t sum = window_sum(&s->window, boot);
    msec_t until = atomic_load_explicit(&s->ejected_until, memory_order_relaxed);
    *out = (health_state_t){
        .url = s->url,
        .healthy = until == 0,
        .trial = until != 0 && boot<atomic_load_explicit(&s->trial_until, memory_order_relaxed), .why = s->why,
                                    .consecutive_failures = s->failures, .in_flight = health_in_flight(s),
                                    .waiting = s->waiting_n, .share = health_share(s, boot), .ejected_for = until>
                                   boot
                     ? until - boot
                     : 0,
        .requests = s->requests,
        .failures = s->failed,
        .ejections = s->ejections,
        .latency_micros = sum.timed > 0 ? sum.micros / sum.timed : 0,
    };
    pthread_mutex_unlock(&s->mutex);
}

const char *health_why(health_why_t why)
{
    static const char *const words[] = {
        [HEALTH_WHY_FAILURES] = "several requests in a row got no answer",
        [HEALTH_WHY_ERRORS] = "several answers in a row were 502, 503 or 504",
        [HEALTH_WHY_RATE] = "half of the latest requests failed",
        [HEALTH_WHY_LATENCY] = "its answers take much longer than those of its equals",
        [HEALTH_WHY_PROBE] = "probes failed",
    };
    return words[why];
}

const char *health_word(const health_state_t *s)
{
    return s->trial ? "half-open" : !s->healthy ? "open" : s->share < HEALTH_SHARE ? "slow-start" : "closed";
}
