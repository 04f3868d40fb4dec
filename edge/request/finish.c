/* The end of a request, however it came: a line in the access log, and the counters. One that was refused before it was
 * a request leaves a line, too: who looks for the reason of a 400 finds it where all requests are. */
#include "edge/base/clock.h"
#include "edge/request/request_priv.h"

void finish_request(request_t *rq)
{
    exchange_t *x = rq->x;
    int64_t nanos = clock_nanos() - x->began_nanos;
    metrics_add2(METRIC_REQUESTS, rq->site != NULL ? rq->site_labels[rq->site->index] : 0, rq->result, 1);
    metrics_add(METRIC_STATUSES, metrics_status(rq->sent_status), 1);
    metrics_add(METRIC_BYTES_MOVED, LABEL_DIRECTION_OUT, x->body_sent);
    metrics_add(METRIC_BYTES_MOVED, LABEL_DIRECTION_IN, (x->has_body ? x->body.n : 0) + rq->tunnel.in);
    if (rq->sent_status != 101)
        metrics_observe(METRIC_REQUEST_DURATION, 0, nanos);
    if (rq->env->hot != NULL && rq->key.uri.p != NULL)
        hot_count(rq->env->hot, rq->env->worker, rq->key.uri_digest, rq->key.uri, rq->hit, x->body_sent,
                  rq->env->loop->now.boot);
    if (!accesslog_wanted(rq->env->log, rq->env->loop->now.wall))
        return;
    accesslog_record_t r = {
        .client = x->peer,
        .method = x->method_name,
        .scheme = x->scheme,
        .host = x->authority,
        .target = x->target,
        .cache = accesslog_cache_word(rq->result),
        .cache_status = rq->cache_status,
        .tier = rq->hit && rq->detail != NULL && strcmp(rq->detail, "disk") == 0 ? SPAN("disk")
                : rq->hit                                                        ? SPAN("memory")
                                                                                 : SPAN_NONE,
        .upstream = rq->upstream != NULL ? span_str(rq->upstream) : SPAN_NONE,
        .request_id = rq->id,
        .referer = fields_get(&x->fields, SPAN("referer")),
        .user_agent = fields_get(&x->fields, SPAN("user-agent")),
        .site = rq->site != NULL ? rq->site->name : SPAN_NONE,
        .node = rq->env->node,
        .time = rq->env->loop->now.wall - nanos / 1000000,
        .duration_us = nanos / 1000,
        .upstream_us = rq->upstream != NULL ? rq->upstream_nanos / 1000 : -1,
        .bytes = x->body_sent,
        .status = rq->sent_status,
        .protocol = x->protocol,
    };
    accesslog_write(rq->env->log, rq->env->worker, &r);
}

void request_refused(const request_env_t *env, const exchange_refused_t *refused)
{
    if (!accesslog_wanted(env->log, env->loop->now.wall))
        return;
    accesslog_record_t r = {
        .client = refused->peer,
        .method = refused->method,
        .scheme = refused->scheme,
        .host = refused->authority,
        .target = refused->target,
        .cache = accesslog_cache_word(LABEL_RESULT_ERROR),
        .node = env->node,
        .time = env->loop->now.wall,
        .upstream_us = -1,
        .status = refused->status,
        .protocol = refused->protocol,
    };
    accesslog_write(env->log, env->worker, &r);
}
