/* From what arrives to a stored response: the head becomes an object with everything policy derives from it, the bytes
 * go into its body, and when the body is whole the purge ledger is asked once more before it is stored.
 *
 * Memory: a fill holds what its body takes from the budget before it takes it. Where there is no room, or the response
 * is larger than may be stored, it streams through: readers go on undisturbed, and what all of them have read is freed.
 */
#include <stdlib.h>

#include "edge/base/log.h"
#include "edge/base/mem.h"
#include "edge/coding/coded.h"
#include "edge/fetch/fetch_priv.h"
#include "edge/http/date.h"
#include "edge/policy/invalidate.h"
#include "edge/policy/part.h"
#include "edge/policy/revalidate.h"
#include "edge/policy/tags.h"
#include "edge/policy/vary.h"
#include "edge/tbl/metrics.h"
#include "shield/tier.h"

/* Is a response of that many bytes (-1: unknown yet) one that only the disk has room for? */
static bool fetch_fill_in_pieces(const fetch_t *f, int64_t bytes)
{
    const fetch_deps_t *d = f->deps;
    return bytes > (int64_t)d->max_object && d->warm != NULL && !d->stopping && bytes <= (int64_t)warm_most(d->warm);
}

static bool fetch_fill_reserve(fetch_t *f, size_t bytes)
{
    if (bytes == 0)
        return true;
    if (!store_reserve(f->deps->store, bytes))
        return false;
    f->reserved += bytes;
    return true;
}

/* The fields as they are stored: without Age (it is added anew at each use) and the tier's own; with a Date (RFC
 * 9110 6.6.1). */
static void fetch_fill_clean(fetch_t *f, fields_t *fields, msec_t now_wall)
{
    fields_remove(fields, SPAN("age"));
    fields_remove(fields, SPAN("content-length"));
    tier_strip(fields);
    for (size_t i = fields->n; i-- > 0;) /* how long a shield took for this answer says nothing of the next use */
        if (span_eq(fields->v[i].name, SPAN("server-timing")) && span_starts(fields->v[i].value, SPAN("brink;"))) {
            memmove(&fields->v[i], &fields->v[i + 1], (fields->n - i - 1) * sizeof *fields->v);
            fields->n--;
        }
    msec_t parsed;
    span_t date = fields_get(fields, SPAN("date"));
    if (date.p == NULL || date_parse(date, now_wall, &parsed) != ERR_OK) {
        char *text = arena_alloc(&f->arena, DATE_LEN + 1);
        date_format(now_wall, text);
        fields_set(fields, SPAN("date"), span_of(text, DATE_LEN));
    }
}

static object_t *fetch_fill_object(fetch_t *f, const fields_t *kept, const stored_t *meta, body_t *body,
                                   span_t selecting)
{
    digest_t *tags = NULL;
    size_t tags_n = 0;
    fieldblock_t *block;
    if (fieldblock_pack(kept, &block) != ERR_OK)
        return NULL;
    if (tags_collect_scoped(kept, f->key.scheme, f->key.host, &f->arena, &tags, &tags_n) != ERR_OK) {
        tags_n = 0;
        if (f->response.storable == STORABLE_YES) {
            f->response.storable = STORABLE_TOO_MANY_TAGS;
            metrics_add(METRIC_TOO_MANY_TAGS, 0, 1);
            log_warn("%.*s carries more or longer tags than allowed, or one that isn't UTF-8: not stored",
                     SPAN_ARG(f->key.uri));
        }
    }
    return object_new(&f->key, selecting, meta, f->object_began, block, body, tags, tags_n);
}

/* What others get and what is stored: without the fields that a qualified private or no-cache names. The client that it
 * was fetched for gets them all (RFC 9111 5.2.2.4, 5.2.2.7). */
static err_t fetch_fill_strip(fetch_t *f, const fields_t *all, fields_t *kept)
{
    fields_init(kept, &f->arena);
    for (size_t i = 0; i < all->n; i++)
        if (fields_add(kept, all->v[i].name, all->v[i].value) != ERR_OK)
            return ERR_TOO_BIG;
    storable_strip(kept, &f->arena);
    return ERR_OK;
}

static err_t fetch_fill_full(fetch_t *f, fields_t *all, msec_t now)
{
    fetch_fill_clean(f, all, now);
    return fieldblock_pack(all, &f->response.full);
}

/* While something stored may be used in their place, these count as no answer (RFC 9111 4.3.3, RFC 5861 4), however
 * fresh they say they are: they must not take its place. */
static bool fetch_fill_error(int status)
{
    return status == 500 || status == 502 || status == 503 || status == 504;
}

/* Does the answer say that the server is failing, whoever asks? Then nobody who waits asks for the same again: a crowd
 * would fall upon a server that is down already. 502, 503 and 504 are a gateway's; a 500 may be about the one whose
 * cookie went up. Who waits gets the answer itself if freshness is all that it lacks for being kept (an error seldom
 * has any) and it is short, as readers hold it back; else an error of ours that says the same. */
static void fetch_fill_failing(fetch_t *f, int status, int64_t declared)
{
    fetch_response_t *r = &f->response;
    r->failing = fetch_fill_error(status) && (status != 500 || !fields_has(&f->request, SPAN("cookie"))) &&
                 f->spec.share && f->spec.range.p == NULL && r->storable != STORABLE_YES &&
                 r->storable != STORABLE_RULE;
    r->failure_shared =
        r->failing && declared <= FETCH_WINDOW_LEAST &&
        (r->storable == STORABLE_NO_FRESHNESS || r->storable == STORABLE_MALFORMED || r->storable == STORABLE_STAND_IN);
}

/* The origin's word that what is stored may not be kept any longer: a 304 or a new response says no-store or private,
 * or a 304 makes of it what is not stored for another reason, say a cookie without the word that it is for all (RFC
 * 9111 4.3.4). Else a stale one would go on being sent within its windows. What is one user's says nothing of what all
 * may have, and a failing origin must not cost us what we have. */
static void fetch_fill_disowned(fetch_t *f, int status)
{
    object_t *old = f->spec.validate;
    bool forbidden = false;
    switch (f->response.storable) {
    case STORABLE_NO_STORE:
    case STORABLE_PRIVATE:
        forbidden = status < 500;
        break;
    case STORABLE_STATUS: /* must-understand */
    case STORABLE_SET_COOKIE:
    case STORABLE_VARY_ANY:
    case STORABLE_NO_FRESHNESS:
    case STORABLE_TOO_MANY_TAGS:
    case STORABLE_MALFORMED:
        forbidden = status == 304;
        break;
    default:
        break;
    }
    if (!forbidden || fields_has(&f->request, SPAN("authorization")))
        return;
    if (old != NULL)
        store_remove(f->deps->store, old);
    if (f->spec.part != NULL)
        store_remove(f->deps->store, f->spec.part);
}

/* The same stored response, perhaps freshened since. */
static bool fetch_fill_same(const object_t *o, void *arg)
{
    const object_t *old = arg;
    span_t etag = fieldblock_get(object_fields(old), SPAN("etag"));
    return span_eq(object_key(o), object_key(old)) && object_variant(o) == object_variant(old) && etag.p != NULL &&
           span_eq(fieldblock_get(object_fields(o), SPAN("etag")), etag) && object_length(o) == object_length(old);
}

/* What a 304 changes is the stored response as it is now: another validation may have freshened it while this one was
 * under way, and what that one forbade stays forbidden. */
static err_t fetch_fill_merge(fetch_t *f, const fields_t *fields, fields_t *merged)
{
    object_t *old = f->spec.validate, *now = store_peek(f->deps->store, old->digest, fetch_fill_same, old);
    const fieldblock_t *base = object_fields(now != NULL ? now : old);
    fields_t views;
    err_t err = revalidate_merge(base, fields, &f->arena, &views);
    fields_init(merged, &f->arena);
    for (size_t i = 0; err == ERR_OK && i < views.n; i++) {
        span_t name = arena_copy(&f->arena, views.v[i].name), value = arena_copy(&f->arena, views.v[i].value);
        err = name.p == NULL || value.p == NULL ? ERR_TOO_BIG : fields_add(merged, name, value);
    }
    object_unref(now);
    return err;
}

static bool fetch_fill_variant(const object_t *o, void *arg)
{
    const object_t *old = arg;
    return span_eq(object_key(o), object_key(old)) && object_variant(o) == object_variant(old) &&
           (object_meta(o).flags & STORED_HIT_FOR_MISS) == 0;
}

/* Did something forbid to keep it while this validation was under way? Then there is nothing left to update. */
static bool fetch_fill_forbidden(fetch_t *f)
{
    object_t *old = f->spec.validate;
    if (!object_dead(old))
        return false;
    object_t *now = store_peek(f->deps->store, old->digest, fetch_fill_variant, old);
    object_unref(now);
    return now == NULL;
}

/* A validation that succeeded: a new object around the stored bytes. It takes the place of the old one also where the
 * request went alone: what the origin says of a stored response updates it, whoever had it asked (RFC 9111 4.3.4). */
static fetch_fill_verdict_t fetch_fill_not_modified(fetch_t *f, const fields_t *fields, msec_t now)
{
    object_t *old = f->spec.validate;
    fields_t merged;
    stored_t meta, before = object_meta(old);
    if (!revalidate_selects(object_fields(old), fields))
        return FETCH_FILL_AGAIN_UNCONDITIONAL;
    if (fetch_fill_merge(f, fields, &merged) != ERR_OK)
        return FETCH_FILL_BAD;
    /* Age speaks of this validation, so it is read from the 304, not from what is stored */
    fields_t with_age;
    fields_init(&with_age, &f->arena);
    for (size_t i = 0; i < merged.n; i++)
        if (!span_eq(merged.v[i].name, SPAN("age")))
            fields_add(&with_age, merged.v[i].name, merged.v[i].value);
    span_t age;
    for (size_t i = 0; fields_next(fields, SPAN("age"), &i, &age);)
        fields_add(&with_age, SPAN("age"), age);
    fields_t all = with_age;
    if (fetch_fill_strip(f, &all, &with_age) != ERR_OK ||
        (all.n != with_age.n && fetch_fill_full(f, &all, now) != ERR_OK))
        return FETCH_FILL_BAD;
    stored_describe(&meta, before.status, &with_age, &f->request, &f->spec.rules, f->request_time, now, &f->arena);
    meta.content_length = before.content_length;
    meta.flags |= before.flags & STORED_PIECES;
    f->response.storable =
        storable_decide(METHOD_GET, &f->request, before.status, &with_age, &meta, &f->spec.rules, &f->arena);
    if (f->response.storable == STORABLE_YES && fetch_fill_forbidden(f))
        f->response.storable = STORABLE_NO_STORE;
    span_t selecting = SPAN_NONE;
    if (vary_pack(&f->arena, &with_age, &f->request, &selecting) != ERR_OK)
        f->response.storable = STORABLE_VARY_ANY;
    fetch_fill_clean(f, &with_age, now);
    body_t *body = object_share_body(old);
    f->response.object = fetch_fill_object(f, &with_age, &meta, body, selecting);
    if (f->response.object == NULL) {
        body_unref(body);
        return FETCH_FILL_BAD;
    }
    f->response.validated = true;
    f->response.sharable = f->response.storable == STORABLE_YES && !f->response.stale_from_shield;
    fetch_fill_disowned(f, 304);
    return FETCH_FILL_OK;
}

static bool fetch_fill_conditional(const fields_t *request)
{
    return fields_has(request, SPAN("if-none-match")) || fields_has(request, SPAN("if-modified-since"));
}

static void fetch_fill_counted(fetch_t *f, bool filling)
{
    if (f->filling != filling)
        metrics_gauge_add(METRIC_FILLS_RUNNING, 0, filling ? 1 : -1);
    f->filling = filling;
}

/* The answer to a POST that is itself what a GET of the target would answer (RFC 9110 9.3.3). */
static bool fetch_fill_represents(fetch_t *f, const fields_t *fields)
{
    return f->spec.method == METHOD_POST && invalidate_is_target(&f->key, fields, &f->spec.site->key, &f->arena);
}

fetch_fill_verdict_t fetch_fill_head(fetch_t *f, int status, const fields_t *received, int64_t content_length)
{
    msec_t now = f->deps->loop->now.wall;
    fields_t fields;
    fields_init(&fields, &f->arena);
    for (size_t i = 0; i < received->n; i++) { /* the call's views end with it */
        span_t name = arena_copy(&f->arena, received->v[i].name), value = arena_copy(&f->arena, received->v[i].value);
        if (name.p == NULL || value.p == NULL || fields_add(&fields, name, value) != ERR_OK)
            return FETCH_FILL_BAD;
    }
    fetch_response_t *r = &f->response;
    *r = (fetch_response_t){.upstream_status = status,
                            .via_shield = f->hop.kind == ROUTE_SHIELD,
                            .bodiless = f->spec.method == METHOD_HEAD && status != 304};
    r->stale_from_shield = r->via_shield && fields_has(&fields, TIER_STALE_FIELD);
    r->unreached = r->via_shield && fetch_fill_error(status) && fields_has(&fields, TIER_UNREACHED_FIELD);
    if (status == 304 && f->validators_sent)
        return fetch_fill_not_modified(f, &fields, now);
    if (status == 304 && !fetch_fill_conditional(&f->forward))
        return FETCH_FILL_BAD; /* nobody asked whether anything was modified: there is no content to speak of */

    if (fetch_pieces_of(f) != NULL)
        return fetch_slice_head(f, status, &fields, content_length);
    if (f->completing && (status == 206 || status == 416)) {
        fields_t whole;
        if (status == 416 || !fetch_parts_completes(f, &fields, content_length, &whole))
            return FETCH_FILL_AGAIN_UNCONDITIONAL;
        fields = whole;
        status = 200;
        content_length = object_meta(f->spec.part).content_length;
        f->object_began = f->oldest;
    } else {
        f->completing = false;
    }
    fields_t all = fields;
    bool keep = f->spec.share || fetch_fill_represents(f, &fields);
    if (keep && (fetch_fill_strip(f, &all, &fields) != ERR_OK ||
                 (all.n != fields.n && fetch_fill_full(f, &all, now) != ERR_OK)))
        return FETCH_FILL_BAD;
    stored_t meta;
    stored_describe(&meta, status, &fields, &f->request, &f->spec.rules, f->request_time, now, &f->arena);
    bool no_body = f->spec.method == METHOD_HEAD || status == 204 || status == 304;
    bool part = f->spec.range.p != NULL && part_describe(&meta, &fields, content_length);
    if (!part)
        meta.content_length = no_body && f->spec.method != METHOD_HEAD ? 0 : content_length;
    if (f->completing)
        fetch_parts_date(f, &meta);
    r->storable = storable_decide(f->spec.method, &f->request, status, &fields, &meta, &f->spec.rules, &f->arena);
    if (r->storable == STORABLE_YES && f->spec.optional && fetch_fill_error(status))
        r->storable = STORABLE_STAND_IN;
    span_t selecting = SPAN_NONE;
    if (vary_pack(&f->arena, &fields, &f->request, &selecting) != ERR_OK && r->storable == STORABLE_YES)
        r->storable = STORABLE_VARY_ANY;
    fetch_fill_clean(f, &fields, now);

    int64_t declared = no_body ? 0 : content_length;
    bool wanted = keep && r->storable == STORABLE_YES && !r->stale_from_shield;
    bool pieces = wanted && !part && fetch_fill_in_pieces(f, declared);
    bool sliced = part && wanted && fetch_slice_found(f, &meta, &fields, content_length);
    bool room = wanted && !sliced && declared <= (int64_t)f->deps->max_object;
    f->expected = f->spec.method == METHOD_HEAD ? -1 : declared;
    if (wanted && !room && !pieces && !sliced) {
        metrics_add(METRIC_FILLS, LABEL_FILL_TOO_BIG, 1);
        if (!part && r->storable == STORABLE_YES)
            r->storable = STORABLE_TOO_LARGE;
    }
    if (room && declared > 0 && !fetch_fill_reserve(f, (size_t)declared + FIELDS_MAX_COUNT)) {
        metrics_add(METRIC_FILLS, LABEL_FILL_BUDGET, 1);
        room = false;
    }
    if (part &&
        room) { /* each use makes its own Content-Range; who it was fetched for is told what the upstream said */
        bool as_asked = f->spec.slice.last == 0;
        if (as_asked && r->full == NULL && fetch_fill_full(f, &all, now) != ERR_OK)
            return FETCH_FILL_BAD;
        fields_remove(&fields, SPAN("content-range"));
    } else if (part) { /* it passes as it came */
        if (sliced)
            fields_remove(&fields, SPAN("content-range"));
        meta.flags &= ~(uint32_t)(STORED_PART | STORED_PART_ALONE);
        meta.part_first = 0;
    }
    /* one chunk for the whole only where the whole will stay in memory */
    body_t *body = body_new(room ? declared : -1);
    if (!room)
        body_window(body);
    r->object = fetch_fill_object(f, &fields, &meta, body, selecting);
    if (r->object == NULL) {
        body_unref(body);
        return FETCH_FILL_BAD;
    }
    if (r->via_shield)
        atomic_fetch_or(&r->object->flags, OBJECT_VIA_SHIELD);
    if (f->completing) {
        fetch_parts_stamp(f, r->object);
        if (fetch_parts_before(f) != ERR_OK)
            return FETCH_FILL_BAD;
    }
    if (sliced) {
        fetch_slice_begin(f);
        return FETCH_FILL_OK;
    }
    if (!method_safe(f->spec.method))
        fetch_invalidate(f, status, &fields);
    r->passing = pieces && r->storable == STORABLE_YES;
    r->sharable = (room && r->storable == STORABLE_YES) || r->passing;
    fetch_fill_failing(f, status, declared);
    fetch_fill_counted(f, r->sharable && !r->passing);
    fetch_fill_disowned(f, status);
    if (r->passing)
        fetch_pieces_begin(f);
    r->passing = r->passing && !r->whole;
    if (r->sharable && !r->passing && !r->whole) {
        atomic_store_explicit(&f->windowed, false, memory_order_seq_cst);
    } else if (!r->whole) {
        fetch_close(f);
        if (f->spec.share && !wanted)
            metrics_add(METRIC_FILLS, LABEL_FILL_UNCACHEABLE, 1);
    }
    return FETCH_FILL_OK;
}

/* Too large for memory after all: from here on only readers hold it, and the disk may be one of them. */
static void fetch_fill_overflow(fetch_t *f, unsigned why)
{
    fetch_fill_counted(f, false);
    body_window(object_body(f->response.object));
    if (why == LABEL_FILL_TOO_BIG && fetch_fill_in_pieces(f, (int64_t)f->deps->max_object + 1))
        fetch_pieces_begin(f);
    else
        metrics_add(METRIC_FILLS, why, 1);
    fetch_close(f);
    fetch_settle(f);
}

err_t fetch_fill_body(fetch_t *f, span_t bytes)
{
    body_t *body = object_body(f->response.object);
    if (f->filling && body_declared(body) < 0) {
        if (body_length(body) + bytes.n > f->deps->max_object)
            fetch_fill_overflow(f, LABEL_FILL_TOO_BIG);
        else if (!fetch_fill_reserve(f, body_would_grow(body, bytes.n)))
            fetch_fill_overflow(f, LABEL_FILL_BUDGET);
    }
    if (atomic_load_explicit(&f->windowed, memory_order_relaxed))
        fetch_window_grows(f, body_would_grow(body, bytes.n));
    metrics_add(METRIC_BYTES_MOVED, LABEL_DIRECTION_UPSTREAM_IN, bytes.n);
    err_t err = body_append(body, bytes, NULL);
    if (err == ERR_OK)
        fetch_pieces_go_on(f);
    return err;
}

static void fetch_fill_commit(fetch_t *f)
{
    object_t *o = f->response.object;
    ledger_subject_t subject = {
        .uri = f->key.uri, .uri_digest = f->key.uri_digest, .tags = object_tags(o), .tags_n = o->tags_n};
    mark_t mark = ledger_stamp_check(f->deps->ledger, &o->stamp, &subject);
    if (mark >= MARK_STRICT || (f->completing && fetch_parts_mark(f) != MARK_NONE)) {
        metrics_add(METRIC_FILLS, LABEL_FILL_PURGED, 1);
        return;
    }
    bool part = object_part(o);
    /* a small one is stored as a copy without slack; what was reserved stands for the first until its readers go */
    object_t *packed = part ? NULL : object_packed(o);
    err_t err = part             ? fetch_parts_store(f, o, &f->reserved)
                : packed != NULL ? store_insert(f->deps->store, packed, 0)
                                 : store_insert(f->deps->store, o, f->reserved);
    if (err == ERR_OK && object_pieces(o) && f->deps->warm != NULL)
        warm_put(f->deps->warm, packed != NULL ? packed : o); /* its bytes are there already */
    if (err == ERR_OK && f->response.validated)
        coded_carry(f->deps->store, f->spec.validate, packed != NULL ? packed : o);
    object_unref(packed);
    if (err == ERR_OK) {
        if (!part) {
            f->reserved = packed != NULL ? f->reserved : 0;
            fetch_parts_superseded(f, o);
        }
        metrics_add(METRIC_FILLS, LABEL_FILL_STORED, 1);
    } else {
        metrics_add(METRIC_FILLS, LABEL_FILL_BUDGET, 1);
    }
}

static bool fetch_fill_whole(fetch_t *f, upstream_result_t result)
{
    body_t *body = object_body(f->response.object);
    if (result == UPSTREAM_OK && f->completing && fetch_parts_behind(f) != ERR_OK)
        return false;
    return result == UPSTREAM_OK && (f->expected < 0 || body_length(body) == (uint64_t)f->expected);
}

void fetch_fill_end(fetch_t *f, upstream_result_t result)
{
    bool cut = result == UPSTREAM_CUT || result == UPSTREAM_CLOSED || result == UPSTREAM_IDLE_TIMEOUT ||
               (result == UPSTREAM_ABANDONED && !f->deps->stopping);
    if (f->response.validated) {
        if (result == UPSTREAM_OK && f->response.sharable)
            fetch_fill_commit(f);
    } else {
        bool whole = fetch_fill_whole(f, result);
        body_end(object_body(f->response.object), whole ? BODY_COMPLETE : BODY_FAILED);
        if (f->pieces != NULL) {
            fetch_pieces_end(f, whole);
        } else if (f->filling && whole) {
            fetch_fill_commit(f);
        } else if (f->filling) {
            metrics_add(METRIC_FILLS, LABEL_FILL_CUT, 1);
            if (cut)
                fetch_parts_keep_cut(f);
        }
    }
    fetch_fill_counted(f, false);
}
