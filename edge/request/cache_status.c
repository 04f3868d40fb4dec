/* What the cache did, in the words of RFC 9211 and in the short form that people grep for. */
#include <stdio.h>

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
        return "ERROR";
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

static size_t cache_status_member(request_t *rq, char *out, size_t size)
{
    size_t n = (size_t)snprintf(out, size, "%.*s", SPAN_ARG(rq->env->node_member));
#define ADD(...) n += n < size ? (size_t)snprintf(out + n, size - n, __VA_ARGS__) : 0
    if (rq->hit) {
        msec_t ttl = stored_ttl(&rq->object->meta, rq->env->loop->now.wall);
        ADD("; hit; ttl=%lld",
            (long long)(ttl >= 0 ? ttl / MSEC_PER_SEC : -((-ttl + MSEC_PER_SEC - 1) / MSEC_PER_SEC)));
    } else if (rq->forward != FORWARD_NONE) {
        const fetch_t *f = rq->reader.fetch;
        ADD("; fwd=%s", cache_status_forwards[rq->forward]);
        if (rq->fwd_status > 0)
            ADD("; fwd-status=%d", rq->fwd_status);
        if (f != NULL && fetch_phase(f) == FETCH_STREAMING && fetch_response(f)->sharable)
            ADD("; stored");
        if (rq->collapsed)
            ADD("; collapsed");
    }
    if (rq->detail != NULL)
        ADD("; detail=%s", rq->detail);
#undef ADD
    return n < size ? n : size - 1;
}

void cache_status_add(request_t *rq, fields_t *out, span_t upstream_members)
{
    enum { ROOM = 512 };
    const char *x_cache = cache_status_short(rq);
    size_t size = upstream_members.n + ROOM + rq->env->node_member.n, n = 0;
    char *text = arena_alloc(rq->x->arena, size);
    if (text == NULL)
        return;
    if (upstream_members.n > 0)
        n = (size_t)snprintf(text, size, "%.*s, ", SPAN_ARG(upstream_members));
    n += cache_status_member(rq, text + n, size - n);
    rq->cache_status = span_of(text, n);
    fields_add(out, SPAN("cache-status"), rq->cache_status);
    fields_add(out, SPAN("x-cache"), span_str(x_cache));
}
