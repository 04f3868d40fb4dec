/* Is there a stored response for this request, in memory or on disk, and may it be used? Memory is asked on the spot.
 * The disk is asked by a helper thread, unless its filter knows that it has nothing; requests for one key that come
 * meanwhile wait for the same read. What comes back passes the purge ledger before it enters memory. */
#include <stdlib.h>

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
} promotion_t;

ledger_subject_t lookup_subject(const object_t *o)
{
    return (ledger_subject_t){.uri = object_uri(o), .uri_digest = o->uri_digest, .tags = o->tags, .tags_n = o->tags_n};
}

bool lookup_too_old(const request_t *rq, msec_t started)
{
    if (!rq->from_tier || rq->tier.newer_than < 0)
        return false;
    return started < rq->env->started || started < rq->tier_newer;
}

mark_t lookup_mark(request_t *rq, object_t *o)
{
    ledger_subject_t subject = lookup_subject(o);
    mark_t mark = ledger_stamp_check(rq->env->ledger, &o->stamp, &subject);
    if (mark < MARK_STRICT && purge_in_doubt(rq->env->purge))
        mark = MARK_STRICT;
    if (rq->from_tier && (rq->distrust || lookup_too_old(rq, o->meta.request_time)))
        mark = MARK_HARD; /* the edge knows of a purge that we don't: not even its validators may go up */
    return mark;
}

/* With memory of its own: many variants and a long field must not use up what the exchange may take. */
static bool lookup_vary(const request_t *rq, bool (*matches)(span_t, const fields_t *, arena_t *), span_t selecting)
{
    arena_t scratch;
    arena_init(&scratch, 0);
    bool match = matches(selecting, &rq->x->fields, &scratch);
    arena_release(&scratch);
    return match;
}

bool lookup_selects(const request_t *rq, span_t selecting)
{
    return lookup_vary(rq, vary_match, selecting);
}

/* ---- memory ---- */

static bool lookup_match(const object_t *o, void *arg)
{
    request_t *rq = arg;
    return span_eq(object_key(o), rq->key.text) && lookup_selects(rq, object_selecting(o));
}

static bool lookup_match_language(const object_t *o, void *arg)
{
    request_t *rq = arg;
    return span_eq(object_key(o), rq->key.text) && lookup_vary(rq, vary_match_language, object_selecting(o));
}

/* ---- disk ---- */

static bool lookup_disk_match(const warm_get_t *g, span_t key, span_t selecting, const stored_t *meta)
{
    const promotion_t *p = CONTAINER_OF(g, promotion_t, get);
    (void)meta;
    if (!span_eq(key, p->key))
        return false;
    arena_t scratch;
    arena_init(&scratch, 0);
    bool match = vary_match(selecting, &p->fields, &scratch);
    arena_release(&scratch);
    return match;
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
    bool large = body_length(o->body) > env->fetch.max_object;
    err_t err = large ? store_adopt(env->store, o, granted) : store_insert(env->store, o, granted);
    metrics_add(METRIC_PROMOTIONS, 0, err == ERR_OK);
    return err == ERR_OK ? 0 : granted;
}

static void lookup_disk_done(warm_get_t *g, object_t *o)
{
    promotion_t *p = CONTAINER_OF(g, promotion_t, get);
    request_env_t *env = p->env;
    uint64_t granted = g->granted;
    if (o != NULL) {
        ledger_subject_t subject = lookup_subject(o);
        if (ledger_stamp_check(env->ledger, &o->stamp, &subject) == MARK_HARD) {
            if (env->warm != NULL) /* handed over meanwhile: whoever has it now finds out by himself */
                warm_remove(env->warm, o->digest, o->variant);
            object_unref(o);
            o = NULL;
        } else {
            granted = lookup_promote(env, o, granted);
        }
    }
    if (granted > 0)
        store_unreserve(env->store, granted);
    list_remove(&p->link);
    for (list_t *node; (node = list_pop_front(&p->waiting)) != NULL;) {
        request_t *rq = LIST_ITEM(node, request_t, promotion_link);
        rq->promotion = NULL;
        if (o != NULL && lookup_match(o, rq))
            request_take(&rq->stored, o);
        request_fsm_run(rq);
    }
    object_unref(o);
    arena_release(&p->arena);
    free(p);
}

static bool lookup_disk(request_t *rq)
{
    request_env_t *env = rq->env;
    if (rq->tried_disk || env->warm == NULL || rq->distrust || !warm_maybe(env->warm, rq->key.digest))
        return false;
    for (list_t *n = env->promotions.next; n != &env->promotions; n = n->next) {
        promotion_t *p = LIST_ITEM(n, promotion_t, link);
        if (hash_eq(p->get.digest, rq->key.digest)) {
            rq->promotion = p;
            list_push_back(&p->waiting, &rq->promotion_link);
            return true;
        }
    }
    rq->tried_disk = true;
    promotion_t *p = mem_zalloc(sizeof *p);
    p->env = env;
    arena_init(&p->arena, 0);
    p->key = arena_copy(&p->arena, rq->key.text);
    fields_init(&p->fields, &p->arena);
    for (size_t i = 0; i < rq->x->fields.n; i++)
        fields_add(&p->fields, arena_copy(&p->arena, rq->x->fields.v[i].name),
                   arena_copy(&p->arena, rq->x->fields.v[i].value));
    list_init(&p->waiting);
    list_push_back(&env->promotions, &p->link);
    list_push_back(&p->waiting, &rq->promotion_link);
    rq->promotion = p;
    p->get.loop = env->loop;
    p->get.digest = rq->key.digest;
    p->get.match = lookup_disk_match;
    p->get.admit = lookup_disk_admit;
    p->get.done = lookup_disk_done;
    warm_get(env->warm, &p->get);
    return true;
}

void lookup_cancel(request_t *rq)
{
    list_remove(&rq->promotion_link); /* the read itself goes on: it fills memory */
    rq->promotion = NULL;
}

/* ---- the decision ---- */

static bool lookup_match_key(const object_t *o, void *arg)
{
    request_t *rq = arg;
    return span_eq(object_key(o), rq->key.text) && (o->meta.flags & STORED_HIT_FOR_MISS) == 0;
}

static bool lookup_has_other_variant(request_t *rq)
{
    object_t *o = store_peek(rq->env->store, rq->key.digest, lookup_match_key, rq);
    object_unref(o);
    return o != NULL;
}

static request_go_t lookup_missed(request_t *rq)
{
    if (rq->cc.only_if_cached)
        return deliver_error(rq, 504, "only-if-cached", "nothing is stored for this request, and it asked for no more");
    rq->forward = lookup_has_other_variant(rq) ? FORWARD_VARY_MISS : FORWARD_URI_MISS;
    rq->step = REQUEST_COLLAPSE;
    return REQUEST_MORE;
}

static void lookup_count_hit(request_t *rq)
{
    bool first_from_disk =
        (atomic_fetch_and_explicit(&rq->stored->flags, ~(uint32_t)OBJECT_FROM_DISK, memory_order_relaxed) &
         OBJECT_FROM_DISK) != 0;
    if (rq->detail == NULL)
        rq->detail = first_from_disk ? "disk" : "memory";
    if (!first_from_disk && rq->stored->disk_id != 0 && rq->env->warm != NULL)
        warm_touch(rq->env->warm, rq->stored->disk_id);
    metrics_add(METRIC_HITS, first_from_disk ? LABEL_TIER_DISK : LABEL_TIER_MEMORY, 1);
}

static request_go_t lookup_decide(request_t *rq)
{
    rq->mark = lookup_mark(rq, rq->stored);
    rq->verdict = reuse_decide(&rq->stored->meta, rq->mark, &rq->cc, rq->env->loop->now.wall);
    switch (rq->verdict.use) {
    case REUSE_STALE_REVALIDATE:
        collapse_refresh(rq);
        /* fall through */
    case REUSE_STALE:
        rq->detail = reuse_word(rq->verdict.reason);
        rq->stale_served = true;
        /* fall through */
    case REUSE_HIT:
        if (rq->verdict.use == REUSE_HIT && early_due(rq) && collapse_refresh(rq))
            metrics_add(METRIC_EARLY, 0, 1);
        lookup_count_hit(rq);
        rq->hit = true;
        deliver_object(rq, rq->stored);
        return REQUEST_MORE;
    case REUSE_VALIDATE:
        rq->forward = rq->verdict.reason == REUSE_BECAUSE_REQUEST_NO_CACHE ||
                              rq->verdict.reason == REUSE_BECAUSE_REQUEST_MAX_AGE ||
                              rq->verdict.reason == REUSE_BECAUSE_MIN_FRESH
                          ? FORWARD_REQUEST
                          : FORWARD_STALE;
        if (rq->mark != MARK_NONE || rq->forward == FORWARD_REQUEST || rq->verdict.reason == REUSE_BECAUSE_NO_CACHE)
            rq->detail = reuse_word(rq->verdict.reason);
        break;
    case REUSE_UNUSABLE:
        rq->forward = FORWARD_URI_MISS;
        if (rq->verdict.reason == REUSE_BECAUSE_HIT_FOR_MISS) {
            metrics_add(METRIC_HIT_FOR_MISS, 0, 1);
            rq->private_fetch = true;
            rq->forward = FORWARD_BYPASS;
        }
        if ((rq->stored->meta.flags & STORED_HIT_FOR_MISS) == 0 || rq->private_fetch)
            rq->detail = reuse_word(rq->verdict.reason);
        request_take(&rq->stored, NULL);
        break;
    case REUSE_GATEWAY_TIMEOUT:
        return deliver_error(rq, 504, "only-if-cached",
                             "what is stored may not be used, and the request asked for no more");
    }
    if (rq->cc.only_if_cached)
        return deliver_error(rq, 504, "only-if-cached",
                             "what is stored may not be used, and the request asked for no more");
    rq->step = REQUEST_COLLAPSE;
    return REQUEST_MORE;
}

request_go_t lookup_step(request_t *rq)
{
    if (rq->promotion != NULL)
        return REQUEST_WAIT;
    object_t *o = store_lookup(rq->env->store, rq->key.digest, lookup_match, rq);
    if (o == NULL && rq->stored == NULL && fields_has(&rq->x->fields, SPAN("accept-language")))
        o = store_lookup(rq->env->store, rq->key.digest, lookup_match_language, rq);
    if (o != NULL) { /* also in place of what came from disk: memory has the newest */
        object_unref(rq->stored);
        rq->stored = o;
    }
    if (rq->stored != NULL)
        return lookup_decide(rq);
    return lookup_disk(rq) ? REQUEST_WAIT : lookup_missed(rq);
}
