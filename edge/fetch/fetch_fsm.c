/* The attempts of a fetch, from the first hop to the end of the body.
 *
 *   begin ─► next hop ─► send ─► head ─► body… ─► end
 *               ▲          │       │        │
 *               └─ failed ─┘       │        └─ cut: the rest is asked for (fetch_resume.c), or the body fails
 *                  before a head   ├─ 304 that selects nothing: once more without validators
 *                                  └─ 502, 503, 504 while another origin is well: there
 *
 * A request goes to another hop only if it surely had no effect on the first, or its method is idempotent. */
#include "edge/base/log.h"
#include "edge/base/mem.h"
#include "edge/fetch/fetch_priv.h"
#include "edge/policy/revalidate.h"

static const upstream_events_t fetch_fsm_events;

static void fetch_fsm_finish(fetch_t *f)
{
    f->ended = true;
    f->call = NULL;
    fetch_forget_message(f); /* who reads slowly shall not hold that, too */
    if (f->pieces == NULL || !f->response.sharable || f->response.passing)
        fetch_settle(f); /* else those who come may still join it, until the disk has what it brought */
    notice_wake(&f->notice);
    fetch_unref(f); /* the running fetch's own */
}

static void fetch_fsm_fail(fetch_t *f, upstream_result_t result)
{
    f->result = result;
    atomic_store_explicit(&f->slice.over, true, memory_order_release);
    fetch_publish(f, FETCH_FAILED);
    fetch_fsm_finish(f);
}

static bool fetch_fsm_expects_body(method_t m)
{
    return m == METHOD_POST || m == METHOD_PUT || m == METHOD_PATCH;
}

enum {
    FETCH_LEAST = 20,            /* ms: what can't be a try any more */
    FETCH_LATE = 2,              /* ms: an attempt's own timeout comes first, and says more */
    FETCH_UPLOAD = 1000,         /* bytes a ms: at least so fast a shield is expected to pass a body on */
    FETCH_TRANSIT = MSEC_PER_SEC /* what an edge waits longer than its shield may for an origin */
};

static msec_t fetch_fsm_left(const fetch_t *f)
{
    if (f->spec.deadline == 0 || fetch_phase(f) != FETCH_WAITING)
        return MSEC_NEVER;
    msec_t left = f->spec.deadline - f->deps->loop->now.boot;
    return left > 1 ? left : 1;
}

msec_t fetch_fsm_at_most(const fetch_t *f, msec_t timeout)
{
    msec_t left = fetch_fsm_left(f);
    return timeout < left ? timeout : left;
}

msec_t fetch_fsm_patience(const fetch_t *f)
{
    const conf_upstream_t *u = &upstreams_conf(f->spec.upstreams)->upstream;
    bool shield = f->hop.kind == ROUTE_SHIELD;
    msec_t upload = (msec_t)(f->spec.body.n / FETCH_UPLOAD);
    return fetch_fsm_at_most(f, u->first_byte_timeout + (shield ? u->connect_timeout + FETCH_TRANSIT + upload : 0));
}

void fetch_fsm_start(fetch_t *f, const fields_t *fields, const upstream_events_t *events, msec_t delay)
{
    const conf_t *conf = upstreams_conf(f->spec.upstreams);
    upstream_request_t r = {
        .to = fetch_route_target(conf, f->hop.server, f->hop.kind == ROUTE_SHIELD ? NULL : f->spec.site),
        .method = f->spec.method_name,
        .target = f->spec.target,
        .fields = fields,
        .body = f->spec.body,
        .has_body =
            f->spec.has_body || fetch_fsm_expects_body(f->spec.method), /* says so when there is none: RFC 9110 8.6 */
        .once = !f->route.idempotent,
        .head = f->spec.method == METHOD_HEAD,
        .upgrade = fetch_phase(f) == FETCH_WAITING ? f->spec.upgrade : SPAN_NONE,
        .connect_timeout = fetch_fsm_at_most(f, conf->upstream.connect_timeout),
        .first_byte_timeout = fetch_fsm_patience(f),
        .idle_timeout = conf->upstream.idle_timeout,
        .total_timeout = conf->upstream.total_timeout,
        .delay = delay,
    };
    f->call = f->deps->client->ops->start(f->deps->client, &r, events, f);
}

static void fetch_fsm_send(fetch_t *f)
{
    if (f->result != UPSTREAM_OK && fetch_fsm_left(f) < FETCH_LEAST) { /* no time for another try */
        fetch_fsm_unrouted(f);
        return;
    }
    switch (fetch_route_next(f, true)) {
    case FETCH_ROUTE_GO:
        fetch_fsm_admitted(f);
        break;
    case FETCH_ROUTE_WAIT:
        break;
    case FETCH_ROUTE_NONE:
        fetch_fsm_unrouted(f);
        break;
    }
}

void fetch_fsm_unrouted(fetch_t *f)
{
    fetch_fsm_fail(f, f->result != UPSTREAM_OK ? f->result : UPSTREAM_NO_ROUTE);
}

void fetch_fsm_admitted(fetch_t *f)
{
    fields_t fields;
    fields_init(&fields, &f->arena);
    for (size_t i = 0; i < f->forward.n; i++)
        fields_add(&fields, f->forward.v[i].name, f->forward.v[i].value);
    if (!fetch_route_address(f, &fields)) {
        fetch_fsm_send(f);
        return;
    }
    f->upstream_name = f->hop.server->url.p; /* the fetch holds the configuration */
    f->validators_sent =
        f->spec.validate != NULL && revalidate_add_validators(object_fields(f->spec.validate), &fields, &f->arena);
    f->completing = !f->validators_sent && f->spec.part != NULL && fetch_parts_ask(f, &fields);
    f->request_time = f->deps->loop->now.wall;
    fetch_fsm_start(f, &fields, &fetch_fsm_events, 0);
}

static void fetch_fsm_on_informational(void *arg, int status, const fields_t *fields)
{
    fetch_t *f = arg;
    fieldblock_t *block;
    /* 100 is about our own sending: no client's, who was told by the server here (RFC 9110 15.2) */
    if (status == 100 || f->interims == FETCH_INTERIM_MAX || fieldblock_pack(fields, &block) != ERR_OK)
        return;
    fetch_interim_t *one = mem_zalloc(sizeof *one);
    one->status = status;
    one->fields = block;
    atomic_store_explicit(f->last_interim != NULL ? &f->last_interim->next : &f->interim, one, memory_order_release);
    f->last_interim = one;
    f->interims++;
    notice_wake(&f->notice);
}

/* A shield that doesn't believe us is as good as none. */
static bool fetch_fsm_refused_by_shield(const fetch_t *f, int status, const fields_t *fields)
{
    return f->hop.kind == ROUTE_SHIELD && (status == 403 || status == 508) && fields_has(fields, TIER_REFUSED_FIELD);
}

static void fetch_fsm_on_writable(void *arg)
{
    notice_wake(&((fetch_t *)arg)->notice);
}

static void fetch_fsm_on_head(void *arg, int status, const fields_t *fields, int64_t content_length)
{
    fetch_t *f = arg;
    if (fetch_fsm_refused_by_shield(f, status, fields)) {
        span_t why = fields_get(fields, TIER_REFUSED_FIELD);
        log_warn("shield %s refused our signature (%.*s): is its secret_file the same, and its clock right?",
                 fetch_upstream_name(f), SPAN_ARG(why));
        f->deps->client->ops->cancel(f->call);
        f->call = NULL;
        fetch_route_answered(f, status);
        fetch_route_ended(f, UPSTREAM_CLOSED);
        f->result = UPSTREAM_CLOSED;
        route_failed(&f->route, ROUTE_UNSENT);
        fetch_fsm_send(f);
        return;
    }
    fetch_route_answered(f, status);
    if (fetch_route_elsewhere(f, status)) {
        f->deps->client->ops->cancel(f->call);
        f->call = NULL;
        fetch_fsm_admitted(f);
        return;
    }
    switch (fetch_fill_head(f, status, fields, content_length)) {
    case FETCH_FILL_OK:
        fetch_publish(f, FETCH_STREAMING);
        if (!f->response.sharable || f->response.passing)
            fetch_settle(f);
        notice_wake(&f->notice);
        if (fetch_unwanted(f)) /* nobody waits any more, and it is not for the cache */
            fetch_fsm_abandon(f);
        break;
    case FETCH_FILL_AGAIN_UNCONDITIONAL:
        f->deps->client->ops->cancel(f->call);
        f->call = NULL;
        fetch_route_ended(f, UPSTREAM_OK);
        object_unref(f->spec.validate);
        object_unref(f->spec.part);
        f->spec.validate = f->spec.part = NULL;
        f->route = (route_t){.idempotent = f->route.idempotent,
                             .no_shield = f->route.no_shield,
                             .optional = f->route.optional}; /* nothing failed */
        fetch_fsm_send(f);
        break;
    case FETCH_FILL_NOT_IT:
        f->deps->client->ops->cancel(f->call);
        f->call = NULL;
        fetch_route_ended(f, UPSTREAM_OK);
        fetch_fsm_fail(f, UPSTREAM_CUT);
        break;
    case FETCH_FILL_BAD:
        f->deps->client->ops->cancel(f->call);
        f->call = NULL;
        fetch_route_ended(f, UPSTREAM_MALFORMED);
        fetch_fsm_fail(f, UPSTREAM_MALFORMED);
        break;
    }
}

bool fetch_fsm_on_body(void *arg, span_t bytes)
{
    fetch_t *f = arg;
    if (f->response.validated)
        return true; /* a 304 has no body; what comes all the same is nobody's */
    if (atomic_load_explicit(&f->windowed, memory_order_relaxed) && fetch_window_full(f)) {
        f->paused = true;
        return false;
    }
    if (fetch_fill_body(f, bytes) != ERR_OK) {
        f->deps->client->ops->cancel(f->call);
        fetch_route_ended(f, UPSTREAM_MALFORMED);
        fetch_fill_end(f, UPSTREAM_MALFORMED);
        fetch_fsm_finish(f);
        return true;
    }
    notice_wake(&f->notice);
    if (fetch_unwanted(f))
        fetch_fsm_abandon(f);
    return true;
}

void fetch_fsm_on_aside(void *arg, size_t bytes)
{
    fetch_aside(arg, bytes);
}

void fetch_fsm_give_up(fetch_t *f, upstream_result_t result)
{
    log_warn("upstream %s: response to %.*s %.*s not complete: %s", fetch_upstream_name(f),
             SPAN_ARG(f->spec.method_name), SPAN_ARG(f->key.uri), upstream_word(result));
    fetch_fill_end(f, result);
    fetch_fsm_finish(f);
}

void fetch_fsm_on_done(void *arg, upstream_result_t result)
{
    fetch_t *f = arg;
    f->call = NULL;
    fetch_aside(f, 0);
    fetch_route_ended(f, result);
    if (fetch_phase(f) == FETCH_STREAMING) {
        if (fetch_resume_begin(f, result))
            return;
        if (result != UPSTREAM_OK && result != UPSTREAM_ABANDONED && f->status != 101) {
            fetch_fsm_give_up(f, result);
            return;
        }
        fetch_fill_end(f, result);
        fetch_fsm_finish(f);
        return;
    }
    f->result = result;
    if (result == UPSTREAM_ABANDONED) { /* the node stops */
        fetch_fsm_fail(f, result);
        return;
    }
    route_failed(&f->route, upstream_untouched(result)              ? ROUTE_UNSENT
                            : result == UPSTREAM_FIRST_BYTE_TIMEOUT ? ROUTE_TIMED_OUT
                                                                    : ROUTE_SENT);
    fetch_fsm_send(f); /* the router says when it is enough */
}

static const upstream_events_t fetch_fsm_events = {
    .informational = fetch_fsm_on_informational,
    .head = fetch_fsm_on_head,
    .body = fetch_fsm_on_body,
    .aside = fetch_fsm_on_aside,
    .writable = fetch_fsm_on_writable,
    .done = fetch_fsm_on_done,
};

/* The phases of an attempt have a time each (a name, a connection, an answer), which together may be more than is left.
 */
static void fetch_fsm_late(loop_timer_t *t)
{
    fetch_t *f = CONTAINER_OF(t, fetch_t, late);
    if (f->call != NULL)
        f->deps->client->ops->cancel(f->call);
    f->call = NULL;
    fetch_route_leave(f);
    fetch_route_ended(f, UPSTREAM_FIRST_BYTE_TIMEOUT);
    fetch_fsm_fail(f, UPSTREAM_FIRST_BYTE_TIMEOUT);
}

void fetch_fsm_begin(fetch_t *f)
{
    f->late.run = fetch_fsm_late;
    if (f->spec.deadline != 0)
        loop_timer_start(f->deps->loop, &f->late, fetch_fsm_left(f) + FETCH_LATE);
    f->route.idempotent = method_idempotent(f->spec.method);
    f->route.optional = f->spec.optional;
    /* a shield can do nothing for a tunnel, and is spared where the edge may go to the origin itself */
    f->route.no_shield = f->spec.upgrade.p != NULL && f->spec.site->origins_n > 0 &&
                         upstreams_conf(f->spec.upstreams)->shield.fallback == CONF_FALLBACK_ORIGIN;
    fetch_fsm_send(f);
}

void fetch_fsm_resume(fetch_t *f)
{
    f->paused = false;
    if (f->call != NULL)
        f->deps->client->ops->resume(f->call);
}

void fetch_fsm_abandon(fetch_t *f)
{
    if (f->call != NULL)
        f->deps->client->ops->cancel(f->call);
    f->call = NULL;
    fetch_route_leave(f);
    fetch_route_ended(f, UPSTREAM_ABANDONED);
    if (fetch_phase(f) == FETCH_STREAMING) {
        fetch_fill_end(f, UPSTREAM_ABANDONED);
        fetch_fsm_finish(f);
    } else {
        fetch_fsm_fail(f, UPSTREAM_ABANDONED);
    }
}
