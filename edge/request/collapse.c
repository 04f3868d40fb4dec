/* One fetch for a key in a node, whichever workers ask. The table holds running fetches that newcomers may still join;
 * a fetch leaves it when it has ended or turns out not to be shared. A newcomer joins only a fetch that no purge has
 * overtaken; else it starts its own, which stands before the old one.
 *
 * A waiter whose answer turns out to be another variant looks again; one whose answer can't be shared goes on alone at
 * once, and a short note in the store (hit-for-miss) lets the next ones do so from the start. What comes of going alone
 * is stored like anything else, so one response that couldn't be shared costs no more than the time it stood for. */
#include <stdlib.h>

#include "edge/base/mem.h"
#include "edge/policy/part.h"
#include "edge/request/request_priv.h"

enum {
    COLLAPSE_SHARDS = 64,
    COLLAPSE_BUCKETS = 256,                  /* a shard */
    COLLAPSE_HIT_FOR_MISS = 5 * MSEC_PER_SEC /* a note that a key's responses can't be shared */
};

typedef struct collapse_entry {
    struct collapse_entry *next;
    fetch_t *fetch;            /* a reference */
    _Atomic uint32_t *counted; /* background refreshes of its site; NULL: not one of them */
} collapse_entry_t;

typedef struct collapse_shard {
    pthread_mutex_t mutex;
    collapse_entry_t *bucket[COLLAPSE_BUCKETS];
} collapse_shard_t;

struct collapse {
    collapse_shard_t shard[COLLAPSE_SHARDS];
};

collapse_t *collapse_new(void)
{
    collapse_t *c = mem_zalloc(sizeof *c);
    for (size_t i = 0; i < COLLAPSE_SHARDS; i++)
        pthread_mutex_init(&c->shard[i].mutex, NULL);
    return c;
}

void collapse_free(collapse_t *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < COLLAPSE_SHARDS; i++) {
        for (size_t b = 0; b < COLLAPSE_BUCKETS; b++)
            CHECK(c->shard[i].bucket[b] == NULL);
        pthread_mutex_destroy(&c->shard[i].mutex);
    }
    free(c);
}

/* ---- the table ---- */

static collapse_shard_t *collapse_shard(collapse_t *c, digest_t digest, collapse_entry_t ***bucket)
{
    collapse_shard_t *s = &c->shard[digest.lo % COLLAPSE_SHARDS];
    *bucket = &s->bucket[(digest.lo / COLLAPSE_SHARDS) % COLLAPSE_BUCKETS];
    return s;
}

/* Will that fetch bring what this request asks for, without much before it? */
static bool collapse_brings(request_t *rq, fetch_t *f)
{
    if (fetch_pieces_of(f) != NULL)
        return false;
    if (fetch_range(f).p != NULL)
        return rq->far && span_eq(fetch_range(f), rq->range);
    if (!rq->far)
        return true;
    if (fetch_phase(f) != FETCH_STREAMING)
        return false;
    const object_t *o = fetch_response(f)->object;
    range_t ranges[RANGE_MAX];
    size_t n;
    int64_t length = object_length(o);
    return length >= 0 &&
           range_parse(fields_get(&rq->x->fields, SPAN("range")), (uint64_t)length, ranges, &n) == RANGE_PARTIAL &&
           ranges[0].first <= body_length(object_body(o)) + PART_FAR;
}

/* May this request wait for that fetch's response? Under the shard's lock: only looks. */
static bool collapse_joinable(request_t *rq, fetch_t *f)
{
    if (!span_eq(fetch_key(f)->text, rq->key.text) || !collapse_brings(rq, f) || fetch_covered(f, rq->env->ledger))
        return false;
    if (collapse_past_shields(rq) && !fetch_past_shields(f))
        return false;
    if (lookup_too_old(rq, fetch_started(f)))
        return false;
    if (fetch_phase(f) != FETCH_STREAMING)
        return fetch_phase(f) == FETCH_WAITING;
    /* what has been arriving for a while is like a stored response: it may have become stale on its way */
    const object_t *o = fetch_response(f)->object;
    stored_t meta = object_meta(o);
    return fetch_response(f)->sharable && lookup_selects(rq, object_selecting(o)) &&
           reuse_decide(&meta, MARK_NONE, &rq->cc, rq->env->loop->now.wall).use == REUSE_HIT;
}

static fetch_t *collapse_look(collapse_entry_t *e, bool (*fits)(fetch_t *f, void *arg), void *arg)
{
    while (e != NULL && !fits(e->fetch, arg))
        e = e->next;
    return e != NULL ? fetch_ref(e->fetch) : NULL;
}

static fetch_t *collapse_enter_counted(collapse_t *c, digest_t digest, bool (*fits)(fetch_t *f, void *arg), void *arg,
                                       fetch_t *mine, _Atomic uint32_t *counted)
{
    collapse_entry_t **bucket, *fresh = mine != NULL ? mem_alloc(sizeof *fresh) : NULL;
    collapse_shard_t *s = collapse_shard(c, digest, &bucket);
    pthread_mutex_lock(&s->mutex);
    fetch_t *found = collapse_look(*bucket, fits, arg);
    if (found == NULL && mine != NULL) {
        *fresh = (collapse_entry_t){.next = *bucket, .fetch = fetch_ref(mine), .counted = counted};
        *bucket = fresh;
        fresh = NULL;
    }
    pthread_mutex_unlock(&s->mutex);
    free(fresh);
    return found;
}

fetch_t *collapse_running(collapse_t *c, digest_t digest, bool (*fits)(fetch_t *f, void *arg), void *arg, fetch_t *mine)
{
    return collapse_enter_counted(c, digest, fits, arg, mine, NULL);
}

static bool collapse_fits(fetch_t *f, void *arg)
{
    return collapse_joinable(arg, f);
}

static fetch_t *collapse_find(request_t *rq)
{
    return collapse_running(rq->env->collapse, rq->key.digest, collapse_fits, rq, NULL);
}

/* Enters a new fetch unless another one may be joined by now: then that one, with a reference. */
static fetch_t *collapse_enter(request_t *rq, fetch_t *mine, _Atomic uint32_t *counted)
{
    return collapse_enter_counted(rq->env->collapse, rq->key.digest, collapse_fits, rq, mine, counted);
}

void collapse_settled(fetch_t *f, void *arg)
{
    collapse_entry_t **at, *gone = NULL;
    collapse_shard_t *s = collapse_shard(arg, fetch_key(f)->digest, &at);
    pthread_mutex_lock(&s->mutex);
    for (; *at != NULL && gone == NULL; at = &(*at)->next)
        if ((*at)->fetch == f) {
            gone = *at;
            *at = gone->next;
            break;
        }
    pthread_mutex_unlock(&s->mutex);
    if (gone != NULL) {
        if (gone->counted != NULL)
            atomic_fetch_sub(gone->counted, 1);
        fetch_unref(gone->fetch);
        free(gone);
    }
}

uint64_t collapse_oldest(collapse_t *c)
{
    uint64_t oldest = UINT64_MAX;
    for (size_t i = 0; i < COLLAPSE_SHARDS; i++) {
        pthread_mutex_lock(&c->shard[i].mutex);
        for (size_t b = 0; b < COLLAPSE_BUCKETS; b++)
            for (const collapse_entry_t *e = c->shard[i].bucket[b]; e != NULL; e = e->next)
                if (fetch_began(e->fetch) < oldest)
                    oldest = fetch_began(e->fetch);
        pthread_mutex_unlock(&c->shard[i].mutex);
    }
    return oldest;
}

/* ---- starting ---- */

bool collapse_stale_allowed(request_t *rq)
{
    if (rq->stored == NULL)
        return false;
    stored_t meta = object_meta(rq->stored);
    return reuse_stale_if_error(&meta, lookup_mark(rq, rq->stored), &rq->cc, rq->env->loop->now.wall);
}

bool collapse_disconnected_allowed(request_t *rq)
{
    if (rq->stored == NULL)
        return false;
    stored_t meta = object_meta(rq->stored);
    return reuse_disconnected(&meta, lookup_mark(rq, rq->stored), &rq->cc, rq->env->loop->now.wall);
}

object_t *collapse_validates(request_t *rq)
{
    if (rq->stored == NULL)
        return NULL;
    rq->mark = lookup_mark(rq, rq->stored);
    /* nor may what the origin has forbidden to keep since: its 304 would bring that back */
    return rq->mark == MARK_HARD || object_dead(rq->stored) ? NULL : rq->stored;
}

bool collapse_past_shields(const request_t *rq)
{
    if (purge_in_doubt(rq->env->purge))
        return true;
    return rq->mark == MARK_STRICT && (rq->stored == NULL || lookup_strict(rq, rq->stored) != LEDGER_STRICT_DEMANDED);
}

static fetch_t *collapse_new_fetch(request_t *rq, bool share, bool together, bool background)
{
    exchange_t *x = rq->x;
    fields_t forward;
    bool own = rq->own = rq->cacheable && (share || rq->stored != NULL);
    if (forward_fields(rq, own, &forward) != ERR_OK)
        return NULL;
    span_t keyed = rq->key.query.p != NULL
                       ? arena_printf(x->arena, "%.*s?%.*s", SPAN_ARG(rq->key.path), SPAN_ARG(rq->key.query))
                       : rq->key.path;
    rq->began = ledger_head(rq->env->ledger);
    object_t *validate = collapse_validates(rq);
    /* validators go up only for what was checked up to the position that the answer will stand for */
    if (validate != NULL && atomic_load(&validate->stamp.checked_to) < rq->began)
        validate = NULL;
    bool ranged = share && rq->stored == NULL && rq->far;
    if (ranged && fields_add(&forward, SPAN("range"), rq->range) != ERR_OK)
        return NULL;
    if (rq->part != NULL && (!share || rq->stored != NULL || lookup_mark(rq, rq->part) != MARK_NONE ||
                             atomic_load(&rq->part->stamp.checked_to) < rq->began))
        request_take(&rq->part, NULL);
    fetch_spec_t spec = {
        .upstreams = rq->upstreams,
        .upstream_labels = rq->upstream_labels,
        .site = rq->site,
        .rules = rq->rules,
        .key = &rq->key,
        .method = share ? METHOD_GET : x->method,
        .method_name = share ? SPAN("GET") : x->method_name,
        .request = &x->fields,
        .forward = &forward,
        .target = own ? keyed : rq->pass_target,
        .body = x->body,
        .has_body = x->has_body,
        .upgrade = rq->upgrade,
        .share = share,
        .together = together,
        .hops = rq->from_tier ? rq->tier.hops : SPAN_NONE,
        .deadline = background ? 0 : rq->deadline,
        .past_shields = collapse_past_shields(rq),
        .optional = background || collapse_stale_allowed(rq),
        .validate = own ? validate : NULL,
        .part = rq->part,
        .range = ranged ? rq->range : SPAN_NONE,
        .slice = ranged ? rq->slice : (range_t){0},
        .began = rq->began,
        .on_settled = share ? collapse_settled : NULL,
        .arg = rq->env->collapse,
    };
    return fetch_new(&rq->env->fetch, &spec);
}

static void collapse_woken(notice_waiter_t *w)
{
    fetch_reader_t *r = CONTAINER_OF(w, fetch_reader_t, waiter);
    request_fsm_run(CONTAINER_OF(r, request_t, reader));
}

static request_go_t collapse_read(request_t *rq, fetch_t *f, bool leader)
{
    rq->leader = leader;
    if (!fetch_attach(f, &rq->reader, collapse_woken)) { /* it turned out not to be for us while we were looking */
        rq->collapsed = false;
        rq->tries++;
        fetch_unref(f);
        return REQUEST_MORE;
    }
    rq->step = REQUEST_AWAIT;
    if (leader)
        fetch_run(f);
    else
        metrics_add(METRIC_COLLAPSED, 0, 1);
    fetch_unref(f);
    return REQUEST_MORE;
}

static request_go_t collapse_serve_stale(request_t *rq, reuse_reason_t reason)
{
    collapse_leave(rq);
    rq->detail = reuse_word(reason);
    rq->stale_served = true;
    rq->unreached = false;
    rq->hit = rq->fwd_status == 0; /* nothing came back: RFC 9211 says hit or fwd; with a status it was forwarded */
    if (!rq->hit)
        rq->forward = FORWARD_STALE;
    deliver_object(rq, rq->stored);
    return REQUEST_MORE;
}

/* More requests are in flight than this worker may have: those that can be answered from what is stored still are. */
static request_go_t collapse_shed(request_t *rq)
{
    metrics_add(METRIC_SHED, 0, 1);
    if (collapse_stale_allowed(rq))
        return collapse_serve_stale(rq, REUSE_BECAUSE_STALE_IF_ERROR);
    rq->hit = false;
    rq->retry_after = MSEC_PER_SEC;
    return deliver_error(rq, 503, "overload", "more requests are in flight than this node allows (limits.requests)");
}

request_go_t collapse_step(request_t *rq)
{
    if (rq->cacheable && rq->cc.no_store && !rq->private_fetch) { /* RFC 9111 5.2.1.5: then nobody may wait for it */
        rq->private_fetch = true;
        if (rq->stored == NULL) {
            explain_ask(rq, PATH_NO_STORE, true);
            rq->forward = FORWARD_BYPASS;
            rq->detail = "no-store";
        }
    }
    if (rq->cacheable && !rq->private_fetch && forward_signs(rq)) { /* its answer is to fields that aren't in the key */
        rq->private_fetch = true;
        if (rq->stored == NULL) {
            rq->forward = FORWARD_BYPASS;
            rq->detail = "signed";
        }
    }
    bool head_alone = rq->x->method == METHOD_HEAD && rq->stored == NULL;
    bool share = rq->cacheable && !rq->private_fetch && !head_alone && rq->tries < REQUEST_COLLAPSE_TRIES;
    /* what one user was answered isn't for those who happen to wait; and a running fetch may be older than the edge
     * allows */
    bool together = share && !rq->alone && !rq->cc.has_authorization && !rq->distrust;
    fetch_t *other = together ? collapse_find(rq) : NULL, *mine = NULL;
    if (rq->why != NULL) {
        rq->own = rq->cacheable && (share || rq->stored != NULL);
        rq->collapsed = explain_ask(rq, PATH_JOIN, other != NULL);
        fetch_unref(other);
        return REQUEST_DONE;
    }
    if (other == NULL) {
        if (rq->env->most_in_flight > 0 && rq->env->in_flight > rq->env->most_in_flight)
            return collapse_shed(rq);
        mine = collapse_new_fetch(rq, share, together, false);
        if (mine == NULL)
            return deliver_error(rq, 431, "fields", "the request has more header fields than this cache passes on");
        if (together)
            other = collapse_enter(rq, mine, NULL);
    }
    if (other == NULL)
        return collapse_read(rq, mine, true);
    fetch_unref(mine);
    rq->own = rq->collapsed = true;
    return collapse_read(rq, other, false);
}

bool collapse_refresh(request_t *rq)
{
    _Atomic uint32_t *counted = rq->refreshing != NULL ? &rq->refreshing[rq->site->index] : NULL;
    if (counted != NULL && atomic_load_explicit(counted, memory_order_relaxed) >= rq->site->refill)
        return false; /* after a mass purge the origin is asked at a pace; the next request tries again */
    fetch_t *running = collapse_find(rq);
    if (running != NULL) {
        fetch_unref(running);
        return false;
    }
    fetch_t *mine = collapse_new_fetch(rq, true, true, true);
    if (mine == NULL)
        return false;
    fetch_t *other = collapse_enter(rq, mine, counted);
    if (other == NULL) {
        if (counted != NULL)
            atomic_fetch_add(counted, 1);
        metrics_add(METRIC_BACKGROUND, 0, 1);
        fetch_run(mine);
    }
    bool begun = other == NULL;
    fetch_unref(other);
    fetch_unref(mine);
    return begun;
}

void collapse_leave(request_t *rq)
{
    rq->interim = NULL;
    loop_timer_stop(rq->env->loop, &rq->late);
    fetch_detach(&rq->reader);
}

/* ---- the answer ---- */

static request_go_t collapse_failed_by(request_t *rq, upstream_result_t result)
{
    bool untried = result == UPSTREAM_NO_ROUTE || result == UPSTREAM_OVERLOAD;
    rq->unreached = upstream_disconnected(result);
    if (rq->unreached && collapse_disconnected_allowed(rq))
        return collapse_serve_stale(rq, REUSE_BECAUSE_DISCONNECTED);
    int status = untried ? 503 : upstream_timed_out(result) ? 504 : 502;
    rq->hit = false;
    collapse_leave(rq);
    if (untried) {
        rq->retry_after = MSEC_PER_SEC;
        metrics_add(METRIC_SHED, 0, 1);
    }
    return deliver_error(rq, status, upstream_word(result),
                         result == UPSTREAM_OVERLOAD ? "the upstream has as many requests as it may"
                         : untried                   ? "the upstream is out of order; somebody else is trying it"
                         : status == 504             ? "the upstream did not answer in time"
                                                     : "the upstream could not be reached, or did not answer as HTTP");
}

static request_go_t collapse_failed(request_t *rq, fetch_t *f)
{
    upstream_result_t result = fetch_result(f);
    if (collapse_stale_allowed(rq))
        return collapse_serve_stale(rq, REUSE_BECAUSE_STALE_IF_ERROR);
    bool untried = result == UPSTREAM_NO_ROUTE || result == UPSTREAM_OVERLOAD;
    if (untried && fetch_optional(f) && !rq->leader && rq->tries < REQUEST_COLLAPSE_TRIES) {
        collapse_leave(rq); /* whoever began it had something else to answer with */
        rq->collapsed = false;
        rq->tries++;
        rq->step = REQUEST_COLLAPSE;
        return REQUEST_MORE;
    }
    return collapse_failed_by(rq, result);
}

static void collapse_late(loop_timer_t *t)
{
    request_fsm_run(CONTAINER_OF(t, request_t, late));
}

/* A fetch ends by the deadline of whoever began it; that may be later than that of the edge which asks here. The fetch
 * goes on. */
static request_go_t collapse_waits(request_t *rq)
{
    enum { LATE = 4 }; /* ms: where both have the same one, the fetch's failure comes first, and says more */
    if (rq->deadline == 0 || rq->leader)
        return REQUEST_WAIT;
    msec_t left = rq->deadline + LATE - rq->env->loop->now.boot;
    if (left > 0) {
        rq->late.run = collapse_late;
        loop_timer_start(rq->env->loop, &rq->late, left);
        return REQUEST_WAIT;
    }
    if (collapse_stale_allowed(rq))
        return collapse_serve_stale(rq, REUSE_BECAUSE_STALE_IF_ERROR);
    return collapse_failed_by(rq, UPSTREAM_FIRST_BYTE_TIMEOUT);
}

/* A note in place of a response: who comes in the next seconds doesn't queue. Anything storable replaces it. */
static void collapse_note_unsharable(request_t *rq, const fetch_response_t *r)
{
    switch (r->storable) {
    case STORABLE_NO_STORE:
    case STORABLE_PRIVATE:
    case STORABLE_SET_COOKIE:
    case STORABLE_NO_FRESHNESS:
    case STORABLE_VARY_ANY:
    case STORABLE_TOO_MANY_TAGS:
    case STORABLE_TOO_LARGE:
        break;
    default:
        return; /* says something of this request or this attempt, not of the key */
    }
    if (rq->cc.has_authorization || object_meta(r->object).status >= 500)
        return; /* a failing origin must not cost us what we have, or what another request has just got */
    stored_t meta;
    storable_note(&meta, r->storable, rq->env->loop->now.wall, COLLAPSE_HIT_FOR_MISS);
    meta.date = object_meta(r->object).date; /* by the clock that it will be compared by with what is stored next */
    fields_t none = {0};
    fieldblock_t *block;
    if (fieldblock_pack(&none, &block) != ERR_OK)
        return;
    body_t *empty = body_new(0);
    body_end(empty, BODY_COMPLETE);
    object_t *note = object_new(&rq->key, object_selecting(r->object), &meta, rq->began, block, empty, NULL, 0);
    store_insert(rq->env->store, note, 0);
    object_unref(note);
}

/* May somebody who only waited use this response? It was made while the request waited; what remains is that it may be
 * shared, is the right variant, and doesn't ask to be validated each time (RFC 9111 4). */
static bool collapse_usable(request_t *rq, const fetch_response_t *r)
{
    stored_t meta = object_meta(r->object);
    const stored_t *m = &meta;
    if (r->failing)
        return r->failure_shared && (m->flags & STORED_NO_CACHE) == 0 &&
               lookup_selects(rq, object_selecting(r->object));
    if (!(r->sharable || r->stale_from_shield) || (rq->cc.has_authorization && (m->flags & STORED_AUTH_SHARED) == 0))
        return false;
    if (!lookup_selects(rq, object_selecting(r->object)) || (r->passing && rq->cc.has_range))
        return false;
    return r->stale_from_shield || ((m->flags & STORED_NO_CACHE) == 0 && m->lifetime > 0);
}

/* Nobody shall wait for this one, though its answer is stored if it turns out that it may be: the next ones then need
 * no fetch. Conditions and ranges are left to the upstream: asked for the whole each time, it would send what is likely
 * to be thrown away. */
void collapse_alone(request_t *rq)
{
    static const span_t names[] = {SPAN("range"), SPAN("if-none-match"), SPAN("if-modified-since"), SPAN("if-match"),
                                   SPAN("if-unmodified-since")};
    rq->alone = true;
    rq->private_fetch |= rq->x->method == METHOD_HEAD;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        rq->private_fetch |= fields_has(&rq->x->fields, names[i]);
}

static bool collapse_current(const object_t *o, void *arg)
{
    request_t *rq = arg;
    return span_eq(object_key(o), rq->key.text) && !object_part(o) &&
           (object_meta(o).flags & STORED_HIT_FOR_MISS) == 0 && lookup_selects(rq, object_selecting(o));
}

/* What was stored when this request came, and was freshened while it waited, is validated as it is now. */
static void collapse_renew(request_t *rq)
{
    if (rq->stored == NULL || !object_dead(rq->stored))
        return;
    object_t *now = store_peek(rq->env->store, rq->key.digest, collapse_current, rq);
    if (now != NULL)
        request_take(&rq->stored, now);
    object_unref(now);
}

static request_go_t collapse_again(request_t *rq, const fetch_response_t *r)
{
    bool variant = r->sharable && !lookup_selects(rq, object_selecting(r->object));
    collapse_leave(rq);
    rq->collapsed = rq->unreached = false;
    rq->fwd_status = 0;
    rq->tries++;
    if (!variant)
        collapse_alone(rq);
    collapse_renew(rq);
    rq->step = variant ? REQUEST_LOOKUP : REQUEST_COLLAPSE;
    return REQUEST_MORE;
}

/* The shield's member of Cache-Status is the last one; it says whether the answer came from its cache. */
static void collapse_count_shield(const fetch_response_t *r)
{
    span_t last = SPAN_NONE;
    field_t f;
    for (size_t pos = 0; fieldblock_next(object_fields(r->object), &pos, &f);)
        if (span_eq(f.name, SPAN("cache-status")))
            last = f.value;
    const char *comma = last.n > 0 ? memrchr(last.p, ',', last.n) : NULL;
    if (comma != NULL)
        last = span_from(last, (size_t)(comma - last.p));
    if (last.n > 0 && memmem(last.p, last.n, "; hit", 5) != NULL)
        metrics_add(METRIC_HITS, LABEL_TIER_SHIELD, 1);
}

/* A slice was asked for and is none of something that belongs on disk. Does it hold the range that the client wants? */
static bool collapse_slice_answers(const request_t *rq, const fetch_response_t *r)
{
    range_t ranges[RANGE_MAX];
    size_t n;
    return object_meta(r->object).status != 206 ||
           (object_part(r->object) && r->sharable && lookup_part_answers(rq, r->object, ranges, &n));
}

/* What was asked for is stored by now, or must be asked for as the client did. */
static request_go_t collapse_sliced(request_t *rq, const fetch_response_t *r)
{
    rq->brought = r->sliced && rq->leader;
    rq->detail = NULL;
    collapse_leave(rq);
    rq->narrow = true;
    rq->step = REQUEST_LOOKUP;
    return REQUEST_MORE;
}

/* What was waited for says that the upstream is failing, and isn't for others to read. */
static request_go_t collapse_fails_too(request_t *rq, int status)
{
    collapse_leave(rq);
    rq->hit = false;
    if (status == 503)
        rq->retry_after = MSEC_PER_SEC;
    return deliver_error(rq, status, "destination_unavailable", "the upstream said so when it was asked for this");
}

static request_go_t collapse_answered(request_t *rq, fetch_t *f)
{
    const fetch_response_t *r = fetch_response(f);
    rq->fwd_status = r->upstream_status;
    if (r->sliced || (rq->slice.last > 0 && fetch_range(f).p != NULL && !collapse_slice_answers(rq, r)))
        return collapse_sliced(rq, r);
    int status = object_meta(r->object).status;
    /* whatever else that answer is: nobody asks on their own for another */
    if ((status == 500 || status == 502 || status == 503 || status == 504) && collapse_stale_allowed(rq))
        return collapse_serve_stale(rq, REUSE_BECAUSE_STALE_IF_ERROR);
    rq->unreached = r->unreached;
    if (r->unreached && collapse_disconnected_allowed(rq))
        return collapse_serve_stale(rq, REUSE_BECAUSE_DISCONNECTED);
    if (!rq->leader && !collapse_usable(rq, r))
        return r->failing ? collapse_fails_too(rq, status) : collapse_again(rq, r);
    if (rq->leader && rq->cacheable && (!r->sharable || r->passing) && fetch_shares(f)) {
        collapse_note_unsharable(rq, r);
        if (rq->cc.has_range && rq->x->method == METHOD_GET && fetch_range(f).p == NULL &&
            status == 200) { /* the whole will not be kept: let the upstream make the part */
            collapse_leave(rq);
            rq->private_fetch = true;
            rq->fwd_status = 0;
            request_take(&rq->stored, NULL);
            rq->step = REQUEST_COLLAPSE;
            return REQUEST_MORE;
        }
    }
    if (rq->leader && r->via_shield && !r->validated)
        collapse_count_shield(r);
    if (rq->detail == NULL && rq->cacheable && !r->sharable && r->storable != STORABLE_YES)
        rq->detail = storable_word(r->storable);
    if (r->stale_from_shield)
        rq->stale_served = true;
    deliver_object(rq, r->whole ? fetch_pieces_of(f) : r->object);
    return REQUEST_MORE;
}

request_go_t collapse_await(request_t *rq)
{
    fetch_t *f = rq->reader.fetch;
    fetch_wait(&rq->reader, rq->env->loop);
    fetch_phase_t phase = fetch_phase(f);
    for (const fetch_interim_t *i; (i = fetch_interim(f, rq->interim)) != NULL;) {
        fields_t fields;
        rq->interim = i;
        /* what comes may be one user's, and nobody knows yet whether it is for those who wait */
        if (rq->leader && fieldblock_unpack(i->fields, rq->x->arena, &fields) == ERR_OK)
            rq->x->ops->informational(rq->x, i->status, &fields);
    }
    if (phase == FETCH_WAITING)
        return collapse_waits(rq);
    loop_timer_stop(rq->env->loop, &rq->late);
    notice_unsubscribe(&rq->reader.waiter);
    rq->upstream = fetch_upstream_name(f);
    rq->upstream_nanos = fetch_nanos(f);
    return phase == FETCH_FAILED ? collapse_failed(rq, f) : collapse_answered(rq, f);
}
