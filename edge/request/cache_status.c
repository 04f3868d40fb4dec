/* What the cache did, in the words of RFC 9211 and in the short form that people grep for. */
#include "edge/base/text.h"
#include "edge/http/sf.h"
#include "edge/request/request_priv.h"

static const char *const cache_status_forwards[] = {
#define X(id, word) word,
    REQUEST_FORWARDS(X)
#undef X
};

/* The verdict for X-Cache and the metrics. */
static const char *cache_status_short(request_t *rq)
{
    if (rq->synthetic.p != NULL && rq->object == NULL) {
        rq->result = LABEL_RESULT_ERROR;
        return rq->forward == FORWARD_NONE ? "BYPASS" : "MISS"; /* the log says ERROR */
    }
    if (rq->stale_served) {
        rq->result = LABEL_RESULT_STALE;
        return "STALE";
    }
    if (rq->hit) {
        rq->result = LABEL_RESULT_HIT;
        return "HIT";
    }
    if (rq->forward == FORWARD_BYPASS || rq->forward == FORWARD_METHOD) {
        rq->result = LABEL_RESULT_BYPASS;
        return "BYPASS";
    }
    const fetch_response_t *r = rq->reader.fetch != NULL && fetch_phase(rq->reader.fetch) == FETCH_STREAMING
                                    ? fetch_response(rq->reader.fetch)
                                    : NULL;
    if (r != NULL && r->validated) {
        rq->result = LABEL_RESULT_REVALIDATED;
        return "REVALIDATED";
    }
    rq->result = LABEL_RESULT_MISS;
    return "MISS";
}

static void cache_status_member(request_t *rq, text_t *t)
{
    text_add(t, rq->env->node_member);
    if (rq->hit) {
        stored_t meta = object_meta(rq->object);
        msec_t ttl = stored_ttl(&meta, rq->env->loop->now.wall);
        if (ttl > 0 && rq->mark == MARK_SOFT) /* purged softly: nothing of its lifetime remains */
            ttl = 0;
        text_add(t, SPAN("; hit; ttl="));
        text_number(t, ttl >= 0 ? ttl / MSEC_PER_SEC : -((-ttl + MSEC_PER_SEC - 1) / MSEC_PER_SEC));
    } else if (rq->forward != FORWARD_NONE) {
        const fetch_t *f = rq->reader.fetch;
        text_add(t, SPAN("; fwd="));
        text_add(t, span_str(cache_status_forwards[rq->forward]));
        if (rq->fwd_status > 0) {
            text_add(t, SPAN("; fwd-status="));
            text_number(t, rq->fwd_status);
        }
        if (f != NULL && fetch_phase(f) == FETCH_STREAMING && fetch_response(f)->sharable)
            text_add(t, SPAN("; stored"));
        if (rq->collapsed)
            text_add(t, SPAN("; collapsed"));
    }
    if (rq->detail != NULL) {
        text_add(t, SPAN("; detail="));
        text_add(t, span_str(rq->detail));
    }
}

/* A field that is no list is none as a whole (RFC 9651 4.2): behind such members nobody could read ours. */
static bool cache_status_readable(span_t members)
{
    sf_t it;
    sf_value_t v;
    err_t e;
    sf_init(&it, members);
    while ((e = sf_list_next(&it, &v)) == ERR_OK)
        ;
    return e == ERR_NOT_FOUND;
}

void cache_status_add(request_t *rq, fields_t *out, span_t upstream_members)
{
    enum { MEMBER_MOST = 256 }; /* of ours beside the node's name */
    const char *x_cache = cache_status_short(rq);
    text_t t = text_in(rq->x->arena, upstream_members.n + rq->env->node_member.n + MEMBER_MOST);
    if (upstream_members.n > 0 && cache_status_readable(upstream_members)) {
        text_add(&t, upstream_members);
        text_add(&t, SPAN(", "));
    }
    cache_status_member(rq, &t);
    rq->cache_status = text_span(&t);
    fields_add(out, SPAN("cache-status"), rq->cache_status);
    fields_add(out, SPAN("x-cache"), span_str(x_cache));
}
