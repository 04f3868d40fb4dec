/* The disk's part of a lookup. What lies in the page cache is answered on the spot, without a thread; else a helper
 * thread reads, and requests for one key that come meanwhile wait for the same read. What comes back passes the purge
 * ledger before it enters memory.
 *
 * Nobody waits for the disk longer than `disk.wait`: then the request goes upstream, while the read goes on and fills
 * memory for the next one. While no helper thread gets an answer from the disk at all, nobody waits for it. */
#include <stdlib.h>

#include "edge/base/clock.h"
#include "edge/base/mem.h"
#include "edge/policy/vary.h"
#include "edge/request/request_priv.h"

/* A read from disk on behalf of one or more requests. Outlives them: the helper thread looks at the copies in here. */
typedef struct promotion {
    warm_get_t get;
    list_t link; /* in env->promotions */
    request_env_t *env;
    arena_t arena;
    span_t key;
    fields_t fields;
    list_t waiting; /* request_t.promotion_link */
    int64_t began;  /* nanoseconds */
} promotion_t;

bool lookup_disk_selects(span_t key, span_t selecting, span_t asked, const fields_t *fields)
{
    if (!span_eq(key, asked))
        return false;
    arena_t scratch;
    arena_init(&scratch, 0);
    bool match = vary_match(selecting, fields, &scratch);
    arena_release(&scratch);
    return match;
}

static bool lookup_disk_match(const warm_get_t *g, span_t key, span_t selecting, const stored_t *meta)
{
    const promotion_t *p = CONTAINER_OF(g, promotion_t, get);
    (void)meta;
    return lookup_disk_selects(key, selecting, p->key, &p->fields);
}

static bool lookup_disk_admit(warm_get_t *g, uint64_t bytes)
{
    promotion_t *p = CONTAINER_OF(g, promotion_t, get);
    return store_reserve(p->env->store, bytes);
}

/* Into memory, unless it is too large for that: then it is counted until its readers have gone. What is left of the
 * reservation. */
static uint64_t lookup_promote(request_env_t *env, object_t *o, uint64_t granted)
{
    bool large = body_length(object_body(o)) > env->fetch.max_object;
    err_t err = large ? store_adopt(env->store, o, granted) : store_insert(env->store, o, granted);
    metrics_add(METRIC_PROMOTIONS, 0, err == ERR_OK);
    return err == ERR_OK ? 0 : granted;
}

/* What came from the disk, or NULL, passes the ledger and enters memory. The reference goes on to the caller. */
static object_t *lookup_disk_arrived(request_env_t *env, object_t *o, uint64_t granted)
{
    if (o != NULL) {
        ledger_subject_t subject = lookup_subject(o);
        if (ledger_stamp_check(env->ledger, &o->stamp, &subject) == MARK_HARD) {
            if (env->warm != NULL) /* handed over meanwhile: whoever has it now finds out by himself */
                warm_remove(env->warm, o->digest, object_variant(o));
            object_unref(o);
            o = NULL;
        } else {
            granted = lookup_promote(env, o, granted);
        }
    }
    if (granted > 0)
        store_unreserve(env->store, granted);
    return o;
}

static void lookup_disk_done(warm_get_t *g, object_t *o)
{
    promotion_t *p = CONTAINER_OF(g, promotion_t, get);
    metrics_observe(METRIC_DISK_READ_TIME, 0, clock_nanos() - p->began);
    o = lookup_disk_arrived(p->env, o, g->granted);
    list_remove(&p->link);
    for (list_t *node; (node = list_pop_front(&p->waiting)) != NULL;) {
        request_t *rq = LIST_ITEM(node, request_t, promotion_link);
        lookup_cancel(rq);
        if (o != NULL && lookup_match(o, rq))
            request_take(&rq->stored, o);
        request_fsm_run(rq);
    }
    object_unref(o);
    arena_release(&p->arena);
    free(p);
}

/* The disk takes too long: as if it had nothing. */
static void lookup_disk_give_up(request_t *rq)
{
    metrics_add(METRIC_DISK_STALLS, 0, 1);
    rq->tried_disk = rq->disk_gave_up = true;
}

static void lookup_disk_due(loop_timer_t *t)
{
    request_t *rq = CONTAINER_OF(t, request_t, disk_timer);
    lookup_cancel(rq);
    lookup_disk_give_up(rq);
    request_fsm_run(rq);
}

static void lookup_disk_wait(request_t *rq, promotion_t *p)
{
    rq->promotion = p;
    list_push_back(&p->waiting, &rq->promotion_link);
    msec_t most = rq->conf->disk.wait;
    rq->disk_timer.run = lookup_disk_due;
    if (most > 0 && !rq->cc.only_if_cached) /* who may not go upstream has nothing better to do */
        loop_timer_start(rq->env->loop, &rq->disk_timer, most);
}

/* False: it takes a helper thread. */
static bool lookup_disk_now(request_t *rq)
{
    request_env_t *env = rq->env;
    object_t *o;
    promotion_t p = {.get = {.digest = rq->key.digest, .match = lookup_disk_match, .admit = lookup_disk_admit},
                     .env = env,
                     .key = rq->key.text,
                     .fields = rq->x->fields,
                     .began = clock_nanos()};
    err_t e = warm_get_now(env->warm, &p.get, &o);
    if (e == ERR_AGAIN) {
        store_unreserve(env->store, p.get.granted);
        return false;
    }
    metrics_observe(METRIC_DISK_READ_TIME, 0, clock_nanos() - p.began);
    rq->tried_disk = true;
    o = lookup_disk_arrived(env, o, p.get.granted);
    request_take(&rq->stored, o);
    object_unref(o);
    return true;
}

static promotion_t *lookup_disk_running(request_env_t *env, digest_t digest)
{
    for (list_t *n = env->promotions.next; n != &env->promotions; n = n->next) {
        promotion_t *p = LIST_ITEM(n, promotion_t, link);
        if (hash_eq(p->get.digest, digest))
            return p;
    }
    return NULL;
}

bool lookup_disk(request_t *rq)
{
    request_env_t *env = rq->env;
    if (rq->tried_disk || env->warm == NULL || rq->distrust || !warm_maybe(env->warm, rq->key.digest))
        return false;
    if (rq->why != NULL) { /* explain has asked it already */
        rq->tried_disk = true;
        return true;
    }
    promotion_t *p = lookup_disk_running(env, rq->key.digest);
    if (p != NULL) {
        lookup_disk_wait(rq, p);
        return true;
    }
    if (lookup_disk_now(rq))
        return false;
    if (rq->conf->disk.wait > 0 && !rq->cc.only_if_cached && warm_stalled(env->warm, rq->conf->disk.wait)) {
        lookup_disk_give_up(rq);
        return false;
    }
    rq->tried_disk = true;
    p = mem_zalloc(sizeof *p);
    p->env = env;
    p->began = clock_nanos();
    arena_init(&p->arena, 0);
    p->key = arena_copy(&p->arena, rq->key.text);
    fields_init(&p->fields, &p->arena);
    for (size_t i = 0; i < rq->x->fields.n; i++)
        fields_add(&p->fields, arena_copy(&p->arena, rq->x->fields.v[i].name),
                   arena_copy(&p->arena, rq->x->fields.v[i].value));
    list_init(&p->waiting);
    list_push_back(&env->promotions, &p->link);
    p->get.loop = env->loop;
    p->get.digest = rq->key.digest;
    p->get.match = lookup_disk_match;
    p->get.admit = lookup_disk_admit;
    p->get.done = lookup_disk_done;
    lookup_disk_wait(rq, p);
    warm_get(env->warm, &p->get);
    return true;
}

void lookup_cancel(request_t *rq)
{
    list_remove(&rq->promotion_link); /* the read itself goes on: it fills memory */
    rq->promotion = NULL;
    loop_timer_stop(rq->env->loop, &rq->disk_timer);
}
