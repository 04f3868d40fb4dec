/* From a response (stored, arriving, or our own) to the client: conditions and ranges are answered, fields for the
 * cache alone taken off, ours put on, and the body is sent while it arrives. What arrives cut is passed on as visibly
 * cut. */
#include <stdio.h>

#include "edge/base/clock.h"
#include "edge/base/text.h"
#include "edge/http/cache_control.h"
#include "edge/http/conditional.h"
#include "edge/policy/revalidate.h"
#include "edge/request/request_priv.h"

enum { DELIVER_PART_HEAD = 512 };

void deliver_object(request_t *rq, object_t *o)
{
    request_take(&rq->object, o);
    rq->step = REQUEST_DELIVER;
}

/* ---- fields ---- */

/* For the cache alone (RFC 9213, and what tags are called elsewhere): edge and shield exchange them, clients don't see
 * them. */
static bool deliver_cache_only(span_t name)
{
    static const span_t names[] = {SPAN("cdn-cache-control"), SPAN("brink-cdn-cache-control"),
                                   SPAN("surrogate-control"), SPAN("surrogate-key"), SPAN("cache-tag")};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (span_eq(name, names[i]))
            return true;
    return false;
}

/* What CDN-Cache-Control forbids is passed on: a CDN in front of this one would else take Cache-Control for the whole
 * truth and store it. What it allows has been used up here (RFC 9213 3.1 leaves both to us). */
static bool deliver_warns(field_t f)
{
    const uint32_t forbids = CACHE_CONTROL_PRIVATE | CACHE_CONTROL_NO_STORE | CACHE_CONTROL_NO_CACHE;
    if (f.name.n != 17 || !span_eq(f.name, SPAN("cdn-cache-control")))
        return false;
    cache_control_t cc;
    cache_control_init(&cc);
    cache_control_add(&cc, f.value);
    return (cc.flags & forbids) != 0;
}

/* What a 304 says again of the representation (RFC 9110 15.4.5). */
static bool deliver_in_304(span_t name)
{
    static const span_t names[] = {SPAN("cache-control"), SPAN("content-location"), SPAN("date"),
                                   SPAN("etag"),          SPAN("expires"),          SPAN("vary"),
                                   SPAN("last-modified"), SPAN("set-cookie")};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (span_eq(name, names[i]) || deliver_cache_only(name))
            return true;
    return false;
}

/* 412 and 416 are about this request (RFC 9110 15.5.13, 15.5.17): neither do they have the content that these fields
 * describe, nor may a cache behind us keep them for as long as it might the content. */
static bool deliver_refuses(int status)
{
    return status == 412 || status == 416;
}

static bool deliver_of_content(span_t name)
{
    static const span_t names[] = {SPAN("cache-control"),    SPAN("expires"),      SPAN("pragma"),
                                   SPAN("content-type"),     SPAN("content-range"), SPAN("content-encoding"),
                                   SPAN("content-language"), SPAN("content-location"), SPAN("content-disposition"),
                                   SPAN("content-md5"),      SPAN("content-digest"), SPAN("repr-digest"),
                                   SPAN("digest"),           SPAN("set-cookie")};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (span_eq(name, names[i]))
            return true;
    return deliver_cache_only(name);
}

static span_t deliver_number(request_t *rq, long long n)
{
    text_t t = text_in(rq->x->arena, 24);
    text_number(&t, n);
    return text_span(&t);
}

static bool deliver_has_age(request_t *rq)
{
    if (rq->hit || rq->stale_served)
        return true;
    const fetch_t *f = rq->reader.fetch;
    if (f != NULL && (fetch_response(f)->validated || fetch_response(f)->via_shield))
        return true;
    stored_t m = object_meta(rq->object);
    return m.initial_age - (m.response_time - m.request_time) >= MSEC_PER_SEC; /* an upstream cache said so */
}

static void deliver_add_ours(request_t *rq, fields_t *out, span_t via, span_t members)
{
    exchange_t *x = rq->x;
    if (rq->object != NULL && deliver_has_age(rq)) {
        stored_t meta = object_meta(rq->object);
        fields_add(out, SPAN("age"), deliver_number(rq, stored_age(&meta, rq->env->loop->now.wall) / MSEC_PER_SEC));
    }
    fields_add(out, SPAN("via"),
               via.n > 0 ? arena_printf(x->arena, "%.*s, %.*s", SPAN_ARG(via), SPAN_ARG(rq->env->via)) : rq->env->via);
    cache_status_add(rq, out, members);
    if (rq->from_tier && rq->stale_served)
        fields_add(out, TIER_STALE_FIELD, SPAN("1"));
    if (rq->from_tier && rq->unreached)
        fields_add(out, TIER_UNREACHED_FIELD, SPAN("1"));
    if (rq->tier_refused != NULL)
        fields_add(out, TIER_REFUSED_FIELD, span_str(rq->tier_refused));
    if (rq->site != NULL && rq->site->hsts != RULES_UNSET && !rq->from_tier && span_eq(x->scheme, SPAN("https")) &&
        !fields_has(out, SPAN("strict-transport-security")))
        fields_add(out, SPAN("strict-transport-security"),
                   arena_printf(x->arena, "max-age=%lld", (long long)(rq->site->hsts / MSEC_PER_SEC)));
    if (rq->site != NULL && rq->site->server_timing)
        fields_add(out, SPAN("server-timing"),
                   arena_printf(x->arena, "brink;dur=%.3f", (double)(clock_nanos() - x->began_nanos) / 1e6));
}

/* Who it was fetched for gets the fields that others don't (RFC 9111 5.2.2.4, 5.2.2.7). */
static const fieldblock_t *deliver_block(const request_t *rq)
{
    const fetch_t *f = rq->leader ? rq->reader.fetch : NULL;
    const fetch_response_t *r = f != NULL && fetch_phase(f) == FETCH_STREAMING ? fetch_response(f) : NULL;
    bool its = r != NULL && (r->object == rq->object || r->whole);
    return its && r->full != NULL ? r->full : object_fields(rq->object);
}

/* The answer to a range that went up as it was goes down as it came, whatever its Content-Range claims. */
static bool deliver_received(const request_t *rq)
{
    return deliver_block(rq) != object_fields(rq->object);
}

/* The stored fields for this client, then ours. `skip_content`: the two that describe the whole, where a part is sent.
 */
static void deliver_fields(request_t *rq, int status, bool multipart, encode_fields_t *coded, fields_t *out)
{
    span_t via = SPAN_NONE, members = SPAN_NONE;
    bool refuses = deliver_refuses(status) && object_meta(rq->object).status != status;
    field_t f;
    for (size_t pos = 0; fieldblock_next(deliver_block(rq), &pos, &f);) {
        if (f.name.n == 3 && span_eq(f.name, SPAN("via"))) {
            via = via.n > 0 ? arena_printf(rq->x->arena, "%.*s, %.*s", SPAN_ARG(via), SPAN_ARG(f.value)) : f.value;
            continue;
        }
        if (f.name.n == 12 && span_eq(f.name, SPAN("cache-status"))) {
            members = members.n > 0 ? arena_printf(rq->x->arena, "%.*s, %.*s", SPAN_ARG(members), SPAN_ARG(f.value))
                                    : f.value;
            continue;
        }
        if (!rq->from_tier && deliver_cache_only(f.name) && !deliver_warns(f))
            continue;
        if (status == 304 && !deliver_in_304(f.name))
            continue;
        if (refuses && deliver_of_content(f.name))
            continue;
        if (status != 206 && object_part(rq->object) && span_eq(f.name, SPAN("content-range")))
            continue;
        if (span_eq(f.name, SPAN("x-cache")) || (multipart && span_eq(f.name, SPAN("content-type"))))
            continue;
        if (encode_field(rq, coded, &f))
            fields_add(out, f.name, f.value);
    }
    encode_fields_end(coded, out);
    if (refuses)
        fields_add(out, SPAN("cache-control"), SPAN("no-store"));
    deliver_add_ours(rq, out, via, members);
}

/* ---- parts ---- */

static void deliver_whole(request_t *rq)
{
    uint64_t end = object_pieces(rq->object) ? (uint64_t)object_length(rq->object) : UINT64_MAX;
    rq->whole = (request_segment_t){.first = 0, .end = end};
    rq->segments = &rq->whole;
    rq->segments_n = 1;
}

/* multipart/byteranges (RFC 9110 14.6): texts and ranges in turn. Returns the length of the body; -1: there is no
 * memory for it. */
static int64_t deliver_multipart(request_t *rq, const range_t *ranges, size_t n, uint64_t base, int64_t length,
                                 span_t type, span_t *content_type)
{
    arena_t *a = rq->x->arena;
    int64_t total = 0;
    char boundary[32];
    snprintf(boundary, sizeof boundary, "brink%016llx",
             (unsigned long long)(rq->object->digest.lo ^ (uint64_t)rq->x->began_nanos));
    rq->segments_n = 0;
    rq->segments = arena_zalloc(a, (2 * n + 1) * sizeof *rq->segments);
    if (rq->segments == NULL)
        return -1;
    for (size_t i = 0; i < n; i++) {
        span_t text =
            arena_printf(a, "%s--%s\r\n%s%.*s%sContent-Range: bytes %llu-%llu/%lld\r\n\r\n", i > 0 ? "\r\n" : "",
                         boundary, type.n > 0 ? "Content-Type: " : "", SPAN_ARG(type), type.n > 0 ? "\r\n" : "",
                         (unsigned long long)ranges[i].first, (unsigned long long)ranges[i].last, (long long)length);
        rq->segments[rq->segments_n++] = (request_segment_t){.text = text};
        rq->segments[rq->segments_n++] =
            (request_segment_t){.first = ranges[i].first - base, .end = ranges[i].last + 1 - base};
        total += (int64_t)text.n + (int64_t)(ranges[i].last + 1 - ranges[i].first);
    }
    span_t end = arena_printf(a, "\r\n--%s--\r\n", boundary);
    rq->segments[rq->segments_n++] = (request_segment_t){.text = end};
    *content_type = arena_printf(a, "multipart/byteranges; boundary=%s", boundary);
    return total + (int64_t)end.n;
}

static int deliver_one(request_t *rq, range_t range, uint64_t base, int64_t length, int64_t *body_length,
                       fields_t *extra)
{
    rq->whole = (request_segment_t){.first = range.first - base, .end = range.last + 1 - base};
    rq->segments = &rq->whole;
    rq->segments_n = 1;
    *body_length = (int64_t)(range.last + 1 - range.first);
    fields_add(extra, SPAN("content-range"),
               arena_printf(rq->x->arena, "bytes %llu-%llu/%lld", (unsigned long long)range.first,
                            (unsigned long long)range.last, (long long)length));
    return 206;
}

/* Which parts are sent, and with which status. */
static int deliver_ranges(request_t *rq, span_t etag, int64_t length, int64_t *body_length, fields_t *extra)
{
    exchange_t *x = rq->x;
    range_t ranges[RANGE_MAX];
    size_t n;
    bool known = length >= 0 && body_declared(object_body(rq->object)) >= 0;
    span_t asked = fields_join(&x->fields, SPAN("range"), x->arena);
    range_verdict_t verdict = RANGE_IGNORE;
    uint64_t base = 0; /* place of the body's first byte within the whole */
    stored_t meta = object_meta(rq->object);
    if (object_part(rq->object)) {
        /* it holds what is asked for, or is what the upstream made of the same Range */
        base = (uint64_t)meta.part_first;
        if (!lookup_part_answers(rq, rq->object, ranges, &n)) {
            ranges[0] = (range_t){base, base + (uint64_t)length - 1};
            n = 1;
        }
        verdict = RANGE_PARTIAL;
        length = meta.content_length;
    } else if (known && asked.p != NULL && x->method == METHOD_GET &&
               conditional_if_range(&x->fields, etag, meta.last_modified, meta.date)) {
        verdict = range_parse(asked, (uint64_t)length, ranges, &n);
    }
    switch (verdict) {
    case RANGE_IGNORE:
        deliver_whole(rq);
        *body_length = length;
        return 200;
    case RANGE_UNSATISFIABLE:
        fields_add(extra, SPAN("content-range"), arena_printf(x->arena, "bytes */%lld", (long long)length));
        *body_length = 0;
        return 416;
    case RANGE_PARTIAL:
        break;
    }
    if (n == 1)
        return deliver_one(rq, ranges[0], base, length, body_length, extra);
    span_t content_type;
    *body_length = deliver_multipart(rq, ranges, n, base, length,
                                     fieldblock_get(object_fields(rq->object), SPAN("content-type")), &content_type);
    if (*body_length < 0 && object_part(rq->object)) /* the first will do (RFC 9110 15.3.7) */
        return deliver_one(rq, ranges[0], base, length, body_length, extra);
    if (*body_length < 0) {
        deliver_whole(rq);
        *body_length = length;
        return 200;
    }
    fields_add(extra, SPAN("content-type"), content_type);
    return 206;
}

/* ---- head and body ---- */

static void deliver_observe(request_t *rq, int status)
{
    rq->sent_status = status;
    rq->head_sent = true;
    metrics_observe(METRIC_FIRST_BYTE, rq->result, clock_nanos() - rq->x->began_nanos);
}

/* What If-Modified-Since is compared with: Date stands in for an absent Last-Modified (RFC 9111 4.3.2). Not so for
 * If-Unmodified-Since: RFC 9110 13.1.4. */
static msec_t deliver_modified(const request_t *rq)
{
    stored_t m = object_meta(rq->object);
    return m.last_modified != -1 || fields_has(&rq->x->fields, SPAN("if-unmodified-since")) ? m.last_modified : m.date;
}

/* What is to be sent. */
typedef struct deliver_plan {
    int status;
    int64_t length, body_length;
    fields_t extra;
    bool could; /* its body would be coded for a client that wants it, */
    coding_t coding;
} deliver_plan_t;

static void deliver_plan(request_t *rq, deliver_plan_t *plan)
{
    exchange_t *x = rq->x;
    object_t *o = rq->object;
    stored_t meta = object_meta(o);
    const fetch_t *f = rq->reader.fetch;
    bool bodiless = f != NULL && fetch_response(f)->bodiless;
    int64_t length = bodiless ? meta.content_length : object_length(o);
    *plan = (deliver_plan_t){.status = meta.status, .length = length, .body_length = length};
    fields_t asked;
    fields_init(&plan->extra, x->arena);
    plan->could = encode_could(rq, o, &meta, length);
    plan->coding = plan->could ? encode_wanted(rq, o) : CODING_IDENTITY;
    bool ours = rq->own || rq->hit || rq->stale_served;
    if (!ours || meta.status < 200 || meta.status >= 300) {
        deliver_whole(rq);
        return;
    }
    span_t etag = fieldblock_get(object_fields(o), SPAN("etag"));
    bool more = !rq->from_tier && coding_untag_fields(&x->fields, x->arena, &asked);
    switch (conditional_evaluate(x->method, more ? &asked : &x->fields, etag, deliver_modified(rq))) {
    case CONDITIONAL_NOT_MODIFIED:
        plan->status = 304;
        break;
    case CONDITIONAL_FAILED:
        plan->status = 412;
        plan->body_length = 0;
        break;
    case CONDITIONAL_PROCEED:
        if (meta.status == 200 || (object_part(o) && !deliver_received(rq)))
            plan->status = deliver_ranges(rq, etag, length, &plan->body_length, &plan->extra);
        else
            deliver_whole(rq);
    }
    if (x->method == METHOD_HEAD || plan->status == 304 || plan->status == 204)
        rq->segments_n = 0;
}

static void deliver_head(request_t *rq, deliver_plan_t *plan)
{
    exchange_t *x = rq->x;
    fields_t out;
    encode_fields_t coded;
    int status = plan->status;
    fields_init(&out, x->arena);
    if (status == 200 && plan->coding != CODING_IDENTITY)
        plan->coding = encode_begin(rq, plan->coding, plan->length, &plan->body_length);
    else if (status != 304)
        plan->coding = CODING_IDENTITY;
    stored_t meta = object_meta(rq->object);
    bool varies = plan->could || encode_holds(rq, &meta);
    encode_fields_begin(&coded, deliver_block(rq), status, varies, plan->coding);
    const fields_t *extra = &plan->extra;
    deliver_fields(rq, status, extra->n > 0 && span_eq(extra->v[0].name, SPAN("content-type")), &coded, &out);
    for (size_t i = 0; i < extra->n; i++)
        fields_add(&out, extra->v[i].name, extra->v[i].value);
    if (x->method == METHOD_HEAD || status == 304 || status == 204)
        rq->segments_n = 0;
    if (status == 304)
        plan->body_length = -1; /* 0 would say that of the representation (RFC 9110 8.6) */
    deliver_observe(rq, status);
    if (status == 101)
        tunnel_open(rq);
    x->ops->head(x, status, &out, plan->body_length);
}

/* What was found is no more: as if it hadn't been found. */
static request_go_t deliver_anew(request_t *rq)
{
    pieces_close(rq);
    store_remove(rq->env->store, rq->object);
    request_take(&rq->object, NULL);
    request_take(&rq->stored, NULL);
    rq->hit = rq->stale_served = rq->brought = false;
    rq->tried_disk = true;
    rq->mark = MARK_NONE;
    rq->forward = FORWARD_NONE;
    rq->detail = NULL;
    rq->tries++;
    rq->step = REQUEST_LOOKUP;
    return REQUEST_MORE;
}

/* May the head of what lies on disk in pieces be sent? Else `*go` says how it goes on. */
static bool deliver_sure(request_t *rq, request_go_t *go)
{
    upstream_result_t away = UPSTREAM_OK;
    if (rq->reader.fetch != NULL || rq->segments_n == 0 || rq->tries >= REQUEST_COLLAPSE_TRIES)
        return true;
    switch (pieces_sure(rq, rq->segments, rq->segments_n, &away)) {
    case PIECES_SURE:
        return true;
    case PIECES_WAIT:
        *go = REQUEST_WAIT;
        return false;
    case PIECES_GONE:
        *go = deliver_anew(rq);
        return false;
    case PIECES_AWAY:
        break;
    }
    pieces_close(rq);
    request_take(&rq->object, NULL);
    rq->forward = FORWARD_PARTIAL;
    rq->unreached = upstream_disconnected(away);
    *go = deliver_error(rq, upstream_timed_out(away) ? 504 : 502, upstream_word(away),
                        "a part of it is missing here, and the upstream could not be asked for it");
    return false;
}

/* Bytes of the current segments; moves on over segments that are done. `*last`: nothing comes after these. */
static size_t deliver_gather(request_t *rq, struct iovec *v, bool *last)
{
    body_t *body = object_body(rq->coded != NULL ? rq->coded : rq->object);
    size_t n = 0, left = rq->x->ops->send_most;
    bool pieces = object_pieces(rq->object);
    if (pieces)
        pieces_sent(rq);
    while (rq->segment < rq->segments_n && n < REQUEST_IOV && left > 0) {
        request_segment_t *s = &rq->segments[rq->segment];
        if (s->text.n > 0) {
            v[n++] = (struct iovec){.iov_base = (char *)s->text.p, .iov_len = s->text.n};
            left -= s->text.n < left ? s->text.n : left;
            rq->segment++;
            continue;
        }
        bool elsewhere = rq->cursor.at < s->first || rq->cursor.at > s->end;
        if (elsewhere && pieces && n > 0)
            break; /* what was gathered is held until it is sent, and these are other pieces */
        if (elsewhere && pieces)
            rq->cursor.at = s->first;
        else if (elsewhere)
            body_seek(body, &rq->cursor, s->first);
        body_state_t state = body_state(body); /* before the bytes: what is complete now has no more than we find */
        uint64_t from = rq->cursor.at;
        n += pieces ? pieces_read(rq, s->end, v + n, REQUEST_IOV - n, left)
                    : body_read(body, &rq->cursor, s->end, v + n, REQUEST_IOV - n, left);
        left -= rq->cursor.at - from < left ? (size_t)(rq->cursor.at - from) : left;
        bool end = rq->cursor.at >= s->end || (!pieces && state == BODY_COMPLETE && rq->cursor.at >= body_length(body));
        if (!end)
            break;
        rq->segment++;
    }
    *last = rq->segment >= rq->segments_n;
    return n;
}

static request_go_t deliver_body(request_t *rq)
{
    exchange_t *x = rq->x;
    struct iovec v[REQUEST_IOV];
    bool last, failed = false, on = !rq->tunnel.open || tunnel_pump(rq);
    if (rq->writing)
        return REQUEST_WAIT;
    if (!on) {
        x->ops->send(x, NULL, 0, EXCHANGE_FINAL);
        return REQUEST_DONE;
    }
    if (rq->reader.fetch != NULL)
        fetch_wait(&rq->reader, rq->env->loop);
    body_state_t state = body_state(object_body(rq->object));
    size_t n = rq->encoder != NULL ? encode_gather(rq, v, &last, &failed) : deliver_gather(rq, v, &last);
    if (n > 0 && rq->tunnel.open)
        tunnel_sent(rq);
    if (last && !failed) {
        x->ops->send(x, v, n, EXCHANGE_FINAL);
        return REQUEST_DONE;
    }
    bool lost = n == 0 && object_pieces(rq->object) && pieces_lost(rq);
    if (lost && revalidate_strong(object_fields(rq->object)).p == NULL)
        store_remove(rq->env->store, rq->object); /* nothing can be added to it: the next one fetches it anew */
    if (lost || failed || (n == 0 && state == BODY_FAILED)) {
        x->ops->send(x, NULL, 0, EXCHANGE_ABORT);
        return REQUEST_DONE;
    }
    if (n > 0 || !rq->flushed) { /* the head doesn't wait for the first bytes */
        rq->flushed = rq->writing = true;
        x->ops->send(x, v, n, EXCHANGE_MORE);
        return REQUEST_WAIT;
    }
    return REQUEST_WAIT; /* the fetch wakes us */
}

request_go_t deliver_step(request_t *rq)
{
    if (!rq->head_sent) {
        deliver_plan_t plan;
        request_go_t go;
        deliver_plan(rq, &plan);
        if (object_pieces(rq->object) && !deliver_sure(rq, &go))
            return go;
        deliver_head(rq, &plan);
        if (object_pieces(rq->object))
            collapse_leave(rq); /* its bytes are taken piece by piece, whoever brings them */
    }
    return deliver_body(rq);
}

void deliver_writable(request_t *rq)
{
    rq->writing = false;
    if (rq->reader.fetch != NULL)
        fetch_consumed(&rq->reader, rq->cursor.at);
    request_fsm_run(rq);
}

/* ---- our own words ---- */

request_go_t deliver_error(request_t *rq, int status, const char *detail, const char *sentence)
{
    if (rq->why != NULL)
        return explain_refused(rq, status, detail, sentence);
    exchange_t *x = rq->x;
    fields_t out;
    fields_init(&out, x->arena);
    rq->detail = detail;
    rq->hit = rq->stale_served = false;
    rq->synthetic = sentence[0] != '\0' ? arena_printf(x->arena, "%s\n", sentence) : span_of("", 0);
    date_format(rq->env->loop->now.wall, rq->date);
    fields_add(&out, SPAN("date"), span_of(rq->date, DATE_LEN));
    if (rq->synthetic.n > 0)
        fields_add(&out, SPAN("content-type"), SPAN("text/plain; charset=utf-8"));
    if (status == 204 || status == 405)
        fields_add(&out, SPAN("allow"), SPAN("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    if (rq->retry_after > 0)
        fields_add(&out, SPAN("retry-after"),
                   arena_printf(x->arena, "%lld", (long long)((rq->retry_after + MSEC_PER_SEC - 1) / MSEC_PER_SEC)));
    fields_add(&out, SPAN("cache-control"), SPAN("no-store"));
    deliver_add_ours(rq, &out, SPAN_NONE, SPAN_NONE);
    deliver_observe(rq, status);
    struct iovec v = {.iov_base = (char *)rq->synthetic.p, .iov_len = rq->synthetic.n};
    bool body = x->method != METHOD_HEAD && status != 204 && v.iov_len > 0;
    x->ops->head(x, status, &out, (int64_t)rq->synthetic.n);
    x->ops->send(x, &v, body ? 1 : 0, EXCHANGE_FINAL);
    return REQUEST_DONE;
}
