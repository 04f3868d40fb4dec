/* Runs the steps of a request. A step decides and acts; it returns WAIT only after somebody was told to call
 * request_fsm_run again. Steps and callbacks may ask for a run while one is on the stack: it is then repeated, never
 * nested.
 *
 * The request lives in the exchange's arena as long as the exchange; where another thread may still call back, it is
 * held, and its own memory is separate: it is freed with the last hold. */
#include <stdlib.h>

#include "edge/base/mem.h"
#include "edge/request/request_priv.h"

static request_go_t (*const request_steps[])(request_t *) = {
#define REQUEST_STEP(id, fn) fn,
#include "edge/tbl/request_steps.def"
#undef REQUEST_STEP
};

void request_env_init(request_env_t *env)
{
    list_init(&env->promotions);
    now_t now = env->clock != NULL ? env->clock() : env->loop->now;
    env->ahead = now.wall - now.boot;
}

void request_hold(request_t *rq)
{
    atomic_fetch_add_explicit(&rq->holds, 1, memory_order_relaxed);
}

void request_drop(request_t *rq)
{
    if (atomic_fetch_sub_explicit(&rq->holds, 1, memory_order_acq_rel) == 1)
        free(rq);
}

object_t **request_take(object_t **slot, object_t *o)
{
    if (o != NULL)
        object_ref(o);
    object_unref(*slot);
    *slot = o;
    return slot;
}

void request_fsm_run(request_t *rq)
{
    if (rq->over) /* answered: what still wakes us (a fetch that goes on) has nothing to say any more */
        return;
    if (rq->running) {
        rq->again = true;
        return;
    }
    rq->running = true;
    request_hold(rq);
    do {
        rq->again = false;
        request_go_t go;
        do
            go = rq->gone ? REQUEST_DONE : request_steps[rq->step](rq);
        while (go == REQUEST_MORE);
        rq->over = go == REQUEST_DONE;
        if (rq->over)
            break;
    } while (rq->again);
    rq->running = false;
    request_drop(rq);
}

static void request_on_writable(exchange_t *x)
{
    request_t *rq = x->path;
    deliver_writable(rq);
}

void request_end(request_t *rq)
{
    object_unref(rq->stored);
    object_unref(rq->part);
    object_unref(rq->object);
    rq->stored = rq->part = rq->object = NULL;
    upstreams_unref(rq->upstreams);
    rq->upstreams = NULL;
    rq->x = NULL;
    request_drop(rq);
}

static void request_on_gone(exchange_t *x)
{
    request_t *rq = x->path;
    rq->gone = true;
    tunnel_close(rq);
    finish_request(rq);
    lookup_cancel(rq);
    collapse_leave(rq);
    pieces_close(rq);
    encode_close(rq);
    rq->env->in_flight--;
    metrics_gauge_add(METRIC_IN_FLIGHT, 0, -1);
    request_end(rq);
}

request_t *request_new(request_env_t *env, exchange_t *x)
{
    request_t *rq = mem_zalloc(sizeof *rq);
    atomic_init(&rq->holds, 1);
    rq->env = env;
    rq->x = x;
    rq->upstreams = upstreams_ref(env->upstreams);
    rq->conf = env->conf;
    rq->site_labels = env->site_labels;
    rq->refreshing = env->refreshing;
    rq->upstream_labels = env->fetch.upstream_labels;
    rq->result = LABEL_RESULT_ERROR;
    list_init(&rq->promotion_link);
    return rq;
}

void request_begin(request_env_t *env, exchange_t *x)
{
    if (x->method == METHOD_PURGE && env->purge_method != NULL) {
        request_answer(env, x, env->purge_method, env->purge_ctx);
        return;
    }
    request_t *rq = request_new(env, x);
    x->path = rq;
    x->on_writable = request_on_writable;
    x->on_gone = request_on_gone;
    env->in_flight++;
    metrics_gauge_add(METRIC_IN_FLIGHT, 0, 1);
    request_fsm_run(rq);
}
