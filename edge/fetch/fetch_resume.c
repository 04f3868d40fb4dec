/* A body whose connection was cut goes on where it stopped, so that readers see one whole body and not the cut: the
 * rest is asked for by Range, with the strong validator of what came in If-Range (RFC 9110 13.1.5, 14.2). Only bytes
 * that are provably of the same representation are put behind those that were given out already: a 206 that begins at
 * the right place and carries the same strong validator, or a 200 with that validator from a server that knows no
 * ranges, of which the beginning is thrown away. Anything else ends the body as cut.
 *
 * The response keeps the ledger position that it began with, which is the lowest of all its parts. */
#include "edge/base/log.h"
#include "edge/fetch/fetch_priv.h"
#include "edge/http/range.h"
#include "edge/policy/revalidate.h"
#include "edge/tbl/metrics.h"

enum {
    FETCH_RESUMES_MAX = 16,  /* of one body */
    FETCH_RESUMES_IDLE = 4,  /* of these, in a row that brought nothing */
    FETCH_RESUME_PAUSE = 100 /* ms before the second of those; doubled each time */
};

static const upstream_events_t fetch_resume_events;

static bool fetch_resume_possible(const fetch_t *f, upstream_result_t result)
{
    const fetch_response_t *r = &f->response;
    bool cut = result == UPSTREAM_CUT || result == UPSTREAM_CLOSED || result == UPSTREAM_IDLE_TIMEOUT;
    return cut && f->spec.method == METHOD_GET && r->upstream_status == 200 && !r->validated &&
           f->resume.tries < FETCH_RESUMES_MAX && revalidate_strong(object_fields(r->object)).p != NULL;
}

static bool fetch_resume_fields(fetch_t *f, fields_t *fields)
{
    fields_init(fields, &f->arena);
    for (size_t i = 0; i < f->forward.n; i++)
        fields_add(fields, f->forward.v[i].name, f->forward.v[i].value);
    revalidate_strip_conditions(fields);
    uint64_t at = body_length(object_body(f->response.object));
    span_t range = arena_printf(&f->arena, "bytes=%llu-", (unsigned long long)at);
    span_t validator = arena_copy(&f->arena, revalidate_strong(object_fields(f->response.object)));
    return range.p != NULL && validator.p != NULL && fields_add(fields, SPAN("range"), range) == ERR_OK &&
           fields_add(fields, SPAN("if-range"), validator) == ERR_OK;
}

/* The next hop that takes the request for the rest; false: none does, or it is enough. */
static bool fetch_resume_send(fetch_t *f)
{
    fields_t fields;
    if (f->resume.tries == FETCH_RESUMES_MAX || f->resume.idle == FETCH_RESUMES_IDLE ||
        !fetch_resume_fields(f, &fields))
        return false;
    if (fetch_route_next(f, false) != FETCH_ROUTE_GO) {
        f->route = (route_t){.idempotent = true, .no_shield = f->spec.past_shields}; /* all of them once more */
        if (fetch_route_next(f, false) != FETCH_ROUTE_GO)
            return false;
    }
    if (!fetch_route_address(f, &fields))
        return false;
    msec_t pause = f->resume.idle > 0 ? (msec_t)FETCH_RESUME_PAUSE << (f->resume.idle - 1) : 0;
    f->resume.tries++;
    f->resume.idle++;
    f->paused = false;
    metrics_add(METRIC_UPSTREAM_RESUMES, f->labels[f->hop.server->index], 1);
    fetch_fsm_start(f, &fields, &fetch_resume_events, pause);
    return true;
}

bool fetch_resume_begin(fetch_t *f, upstream_result_t result)
{
    if (!fetch_resume_possible(f, result))
        return false;
    log_info("upstream %s: response to %.*s cut after %llu bytes (%s): asking for the rest", f->hop.server->url.p,
             SPAN_ARG(f->key.uri), (unsigned long long)body_length(object_body(f->response.object)),
             upstream_word(result));
    f->route = (route_t){.idempotent = true, .no_shield = f->spec.past_shields};
    return fetch_resume_send(f);
}

/* That attempt is over, and it wasn't the rest. */
static void fetch_resume_failed(fetch_t *f, upstream_result_t result, route_failure_t how)
{
    f->call = NULL;
    fetch_route_ended(f, result);
    route_failed(&f->route, how);
    if (!fetch_resume_send(f))
        fetch_fsm_give_up(f, result);
}

/* Where the rest of an equal representation would begin, if this is it. */
static bool fetch_resume_fits(fetch_t *f, int status, const fields_t *fields, int64_t content_length)
{
    const object_t *o = f->response.object;
    uint64_t at = body_length(object_body(o));
    int64_t declared = object_meta(o).content_length;
    int64_t whole = declared >= 0 ? declared : f->resume.whole > 0 ? f->resume.whole : -1;
    if (!revalidate_same_bytes(object_fields(o), fields))
        return false;
    if (status == 200) {
        f->resume.skip = at;
        return whole < 0 || content_length < 0 || content_length == whole;
    }
    range_t part;
    int64_t length;
    if (status != 206 || fields_count(fields, SPAN("content-range")) != 1 ||
        range_parse_content_range(fields_get(fields, SPAN("content-range")), &part, &length) != ERR_OK || length < 0)
        return false;
    f->resume.skip = 0;
    if (part.first != at || (whole >= 0 && length != whole) || part.last >= (uint64_t)length ||
        (content_length >= 0 && (uint64_t)content_length != part.last - part.first + 1))
        return false;
    f->resume.whole = length;
    return true;
}

static void fetch_resume_on_head(void *arg, int status, const fields_t *fields, int64_t content_length)
{
    fetch_t *f = arg;
    fetch_route_answered(f, status);
    bool other_node = status >= 500 || status == 429 || status == 403;
    if (!other_node && fetch_resume_fits(f, status, fields, content_length))
        return;
    f->deps->client->ops->cancel(f->call);
    if (other_node) { /* that server can't just now; it answers, all the same */
        fetch_route_ended(f, UPSTREAM_OK);
        fetch_resume_failed(f, UPSTREAM_CLOSED, ROUTE_SENT);
        return;
    }
    f->call = NULL;
    fetch_route_ended(f, UPSTREAM_OK); /* nothing wrong with the server: the resource is another one now */
    fetch_fsm_give_up(f, UPSTREAM_CUT);
}

static bool fetch_resume_on_body(void *arg, span_t bytes)
{
    fetch_t *f = arg;
    uint64_t skip = f->resume.skip;
    if (bytes.n <= skip) {
        f->resume.skip -= bytes.n;
        return true;
    }
    f->resume.skip = 0;
    f->resume.idle = 0;
    bool taken = fetch_fsm_on_body(f, span_from(bytes, (size_t)skip)); /* which may end the fetch */
    if (!taken)
        f->resume.skip = skip; /* all of it is told again */
    return taken;
}

static void fetch_resume_on_done(void *arg, upstream_result_t result)
{
    fetch_t *f = arg;
    bool answered = f->status != 0;
    uint64_t length = body_length(object_body(f->response.object));
    if (result == UPSTREAM_OK && (f->resume.skip > 0 || (f->resume.whole > 0 && length != (uint64_t)f->resume.whole)))
        result = UPSTREAM_CUT; /* it gave less than was left */
    if (answered || result == UPSTREAM_ABANDONED)
        fetch_fsm_on_done(f, result);
    else
        fetch_resume_failed(f, result, upstream_untouched(result) ? ROUTE_UNSENT : ROUTE_SENT);
}

static const upstream_events_t fetch_resume_events = {
    .head = fetch_resume_on_head,
    .body = fetch_resume_on_body,
    .aside = fetch_fsm_on_aside,
    .done = fetch_resume_on_done,
};
