/* Is there a stored response for this request, in memory or on disk (lookup_disk.c), and may it be used? */
#include "edge/base/mem.h"
#include "edge/policy/part.h"
#include "edge/policy/revalidate.h"
#include "edge/policy/vary.h"
#include "edge/request/request_priv.h"

ledger_subject_t lookup_subject(const object_t *o)
{
    return (ledger_subject_t){
        .uri = object_uri(o), .uri_digest = object_uri_digest(o), .tags = object_tags(o), .tags_n = o->tags_n};
}

/* Nothing was purged since it was last checked: then there is no need to say what it is. */
static mark_t lookup_check(const request_t *rq, object_t *o)
{
    request_env_t *env = rq->env;
    if (atomic_load_explicit(&o->stamp.checked_to, memory_order_acquire) == ledger_head(env->ledger))
        return (mark_t)atomic_load_explicit(&o->stamp.mark, memory_order_relaxed);
    ledger_subject_t subject = lookup_subject(o);
    if (rq->why != NULL)
        return ledger_stamp_look(env->ledger, &o->stamp, &subject);
    return ledger_stamp_check(env->ledger, &o->stamp, &subject);
}

bool lookup_too_old(const request_t *rq, msec_t started)
{
    if (!rq->from_tier || rq->tier.newer_than < 0)
        return false;
    return started < rq->env->started || started < rq->tier_newer;
}

mark_t lookup_mark(request_t *rq, object_t *o)
{
    mark_t mark = lookup_check(rq, o);
    if (mark < MARK_STRICT && purge_in_doubt(rq->env->purge))
        mark = MARK_STRICT;
    if (rq->from_tier && (rq->distrust || lookup_too_old(rq, object_meta(o).request_time)))
        mark = MARK_HARD; /* the edge knows of a purge that we don't: not even its validators may go up */
    return mark;
}

ledger_strict_t lookup_strict(const request_t *rq, const object_t *o)
{
    ledger_subject_t subject = lookup_subject(o);
    return purge_in_doubt(rq->env->purge) ? LEDGER_STRICT_GAP
                                          : ledger_strict(rq->env->ledger, &subject, o->stamp.began);
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

bool lookup_part_answers(const request_t *rq, const object_t *o, range_t ranges[RANGE_MAX], size_t *n)
{
    int64_t held = object_length(o);
    arena_t scratch;
    arena_init(&scratch, 0);
    stored_t meta = object_meta(o);
    bool answers = rq->x->method == METHOD_GET && held >= 0 &&
                   part_answers(&meta, fieldblock_get(object_fields(o), SPAN("etag")), (uint64_t)held, &rq->x->fields,
                                &scratch, ranges, n);
    arena_release(&scratch);
    return answers;
}

/* ---- memory ---- */

/* A note whose time is over must not stand before what may be used. */
static bool lookup_void(const request_t *rq, const object_t *o)
{
    stored_t meta = object_meta(o);
    return (meta.flags & STORED_HIT_FOR_MISS) != 0 && stored_ttl(&meta, rq->env->loop->now.wall) <= 0;
}

/* Could this response be what the request asks for? A part only if it holds it all (RFC 9111 3.3). */
static bool lookup_candidate(const request_t *rq, const object_t *o)
{
    range_t ranges[RANGE_MAX];
    size_t n;
    return span_eq(object_key(o), rq->key.text) && (!object_part(o) || lookup_part_answers(rq, o, ranges, &n));
}

bool lookup_match(const object_t *o, void *arg)
{
    request_t *rq = arg;
    return !lookup_void(rq, o) && lookup_candidate(rq, o) && lookup_selects(rq, object_selecting(o));
}

static bool lookup_match_language(const object_t *o, void *arg)
{
    request_t *rq = arg;
    return lookup_candidate(rq, o) && lookup_vary(rq, vary_match_language, object_selecting(o));
}

/* ---- the decision ---- */

static bool lookup_match_key(const object_t *o, void *arg)
{
    request_t *rq = arg;
    return span_eq(object_key(o), rq->key.text) && !object_part(o) && (object_meta(o).flags & STORED_HIT_FOR_MISS) == 0;
}

/* A part that one more request makes whole: its validator is strong, and it is the beginning or the end. */
static bool lookup_match_part(const object_t *o, void *arg)
{
    request_t *rq = arg;
    range_t lacks;
    if (!object_part(o) || !span_eq(object_key(o), rq->key.text))
        return false;
    stored_t meta = object_meta(o);
    return part_lacks(&meta, body_length(object_body(o)), &lacks) && revalidate_strong(object_fields(o)).p != NULL &&
           lookup_selects(rq, object_selecting(o));
}

/* It may be used only by who might use the whole, and after nothing was purged. */
static void lookup_find_part(request_t *rq)
{
    if (rq->x->method != METHOD_GET || rq->cc.no_cache || rq->cc.no_store || rq->cc.has_authorization || rq->far)
        return;
    object_t *o = store_peek(rq->env->store, rq->key.digest, lookup_match_part, rq);
    if (o != NULL && (object_meta(o).flags & STORED_NO_CACHE) == 0 && lookup_mark(rq, o) == MARK_NONE)
        request_take(&rq->part, o);
    object_unref(o);
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
    lookup_find_part(rq);
    bool others = rq->part == NULL && lookup_has_other_variant(rq);
    explain_ask(rq, rq->part != NULL ? PATH_REST : others ? PATH_OTHER_VARIANTS : PATH_NOTHING, true);
    rq->forward = rq->part != NULL ? FORWARD_PARTIAL : others ? FORWARD_VARY_MISS : FORWARD_URI_MISS;
    if (rq->disk_gave_up)
        rq->detail = "disk-wait";
    rq->step = REQUEST_COLLAPSE;
    return REQUEST_MORE;
}

static void lookup_count_hit(request_t *rq)
{
    uint32_t flags = rq->why != NULL ? atomic_load_explicit(&rq->stored->flags, memory_order_relaxed)
                                     : atomic_fetch_and_explicit(&rq->stored->flags, ~(uint32_t)OBJECT_FROM_DISK,
                                                                 memory_order_relaxed);
    bool first_from_disk = (flags & OBJECT_FROM_DISK) != 0, disk = first_from_disk || object_pieces(rq->stored);
    if (rq->detail == NULL)
        rq->detail = disk ? "disk" : "memory";
    if (rq->why != NULL)
        return;
    if (!first_from_disk && rq->stored->disk_id != 0 && rq->env->warm != NULL)
        warm_touch(rq->env->warm, rq->stored->disk_id);
    metrics_add(METRIC_HITS, disk ? LABEL_TIER_DISK : LABEL_TIER_MEMORY, 1);
}

static request_go_t lookup_decide(request_t *rq)
{
    if (object_pieces(rq->stored) && !pieces_there(rq, rq->stored)) {
        if (rq->why == NULL)
            store_remove(rq->env->store, rq->stored);
        request_take(&rq->stored, NULL);
        return lookup_missed(rq);
    }
    rq->mark = lookup_mark(rq, rq->stored);
    stored_t meta = object_meta(rq->stored);
    if (rq->mark == MARK_STRICT && lookup_strict(rq, rq->stored) != LEDGER_STRICT_GAP)
        meta.flags |= STORED_INVALIDATED;
    rq->verdict = rq->why != NULL ? reuse_explain(&meta, rq->mark, &rq->cc, rq->env->loop->now.wall, rq->why)
                                  : reuse_decide(&meta, rq->mark, &rq->cc, rq->env->loop->now.wall);
    bool part = object_part(rq->stored);
    if (part && explain_ask(rq, PATH_PART, rq->verdict.use != REUSE_HIT)) {
        request_take(&rq->stored, NULL);
        rq->mark = MARK_NONE;
        return lookup_missed(rq);
    }
    switch (rq->verdict.use) {
    case REUSE_STALE_REVALIDATE:
        if (rq->why == NULL)
            collapse_refresh(rq);
        /* fall through */
    case REUSE_STALE:
        rq->detail = reuse_word(rq->verdict.reason);
        rq->stale_served = true;
        /* fall through */
    case REUSE_HIT:
        if (rq->verdict.use == REUSE_HIT && !part && rq->why == NULL && early_due(rq) && collapse_refresh(rq))
            metrics_add(METRIC_EARLY, 0, 1);
        if (!rq->brought)
            lookup_count_hit(rq);
        rq->hit = !rq->brought;
        rq->own |= rq->brought;
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
            metrics_add(METRIC_HIT_FOR_MISS, 0, rq->why == NULL);
            collapse_alone(rq);
            rq->forward = FORWARD_BYPASS;
        }
        if ((meta.flags & STORED_HIT_FOR_MISS) == 0 || rq->alone)
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

static bool lookup_match_after(const object_t *o, void *arg)
{
    request_t *rq = arg;
    stored_t meta = object_meta(o);
    return (meta.flags & STORED_HIT_FOR_MISS) == 0 && meta.response_time >= object_meta(rq->stored).response_time &&
           lookup_match(o, rq);
}

/* Explain only looks on. */
static object_t *lookup_memory(request_t *rq, store_match_fn *match)
{
    return (rq->why != NULL ? store_peek : store_lookup)(rq->env->store, rq->key.digest, match, rq);
}

/* A note says what came last: whatever was stored after it, by an origin whose clock is behind, stands before it. */
static void lookup_past_note(request_t *rq)
{
    if (rq->stored == NULL || (object_meta(rq->stored).flags & STORED_HIT_FOR_MISS) == 0)
        return;
    object_t *o = lookup_memory(rq, lookup_match_after);
    if (o != NULL)
        request_take(&rq->stored, o);
    object_unref(o);
}

/* What goes up for a far range: where there is a disk, the slice that it begins in, for all who want anything of it. */
static void lookup_slice(request_t *rq)
{
    rq->slice = rq->far && !rq->narrow && rq->env->warm != NULL ? slices_widened(rq) : (range_t){0};
    rq->range = rq->slice.last > 0 ? arena_printf(rq->x->arena, "bytes=%llu-%llu", (unsigned long long)rq->slice.first,
                                                  (unsigned long long)rq->slice.last)
                                   : fields_get(&rq->x->fields, SPAN("range"));
}

request_go_t lookup_step(request_t *rq)
{
    if (rq->promotion != NULL)
        return REQUEST_WAIT;
    rq->far = rq->x->method == METHOD_GET && rq->cc.has_range && !fields_has(&rq->x->fields, SPAN("if-range")) &&
              part_far(&rq->x->fields, rq->x->arena);
    lookup_slice(rq);
    object_t *o = lookup_memory(rq, lookup_match);
    if (o == NULL && rq->stored == NULL && fields_has(&rq->x->fields, SPAN("accept-language")))
        o = lookup_memory(rq, lookup_match_language);
    if (o != NULL) { /* also in place of what came from disk: memory has the newest */
        object_unref(rq->stored);
        rq->stored = o;
    }
    lookup_past_note(rq);
    if (rq->stored == NULL && lookup_disk(rq))
        return REQUEST_WAIT;
    return rq->stored != NULL ? lookup_decide(rq) : lookup_missed(rq);
}
