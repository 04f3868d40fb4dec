/* What is asked for, of which site, by whom. Everything that is refused is refused here, before anything is looked up:
 * methods that no cache forwards, targets that two parsers could read differently, hosts that are nobody's, requests
 * that have been here before. What a client says in the tier's own fields counts only with a valid signature. */
#include <stdio.h>

#include "edge/http/uri.h"
#include "edge/request/request_priv.h"

enum {
    ACCEPT_CATCH_UP = 250, /* ms that a request from an edge waits for the purge stream before it goes to the origin */
    ACCEPT_ROUNDING = 2,   /* ms by which a duration and a copy's start may be off together */
    ACCEPT_MARGIN = 8      /* one in so many of the ms of an edge's patience is for the way back */
};

/* A comma ends a member even within a quoted string: with a quote that a client left open nobody shall hide what we add
 * behind it. */
static bool accept_been_here(const request_t *rq)
{
    span_t line;
    for (size_t at = 0; fields_next(&rq->x->fields, SPAN("cdn-loop"), &at, &line);) {
        while (line.n > 0) { /* cdn-info *( OWS ";" OWS parameter ), RFC 8586 2 */
            size_t comma = span_find(line, ',');
            span_t member = span_trim(span_upto(line, comma));
            span_t id = span_trim(span_upto(member, span_find(member, ';')));
            if (span_caseeq(id, SPAN("brink")))
                return true;
            line = span_from(line, comma + 1);
        }
    }
    return false;
}

static err_t accept_cursor(const tier_t *t, ledger_cursor_t *out)
{
    *out = (ledger_cursor_t){0};
    if (t->cursor.p == NULL || t->run.n >= sizeof out->run_id)
        return ERR_OK;
    unsigned long long ms, seq;
    char text[64];
    snprintf(text, sizeof text, "%.*s", SPAN_ARG(t->cursor));
    if (sscanf(text, "%20llu-%20llu", &ms, &seq) != 2)
        return ERR_SYNTAX;
    *out = (ledger_cursor_t){.ms = ms, .seq = seq};
    memcpy(out->run_id, t->run.p, t->run.n);
    return ERR_OK;
}

static msec_t accept_ahead(now_t now)
{
    return now.wall - now.boot;
}

/* Copies say by the wall clock when they were asked for. Where that is set back, some lie in what is future again, and
 * seem to be young when they are not: all from before count like those from before the start. */
static void accept_clock(request_env_t *env, now_t now)
{
    enum { READ_AGAIN = 3 }; /* whoever is stopped between reading the one clock and the other sees them apart */
    for (int i = 0; i < READ_AGAIN && env->clock != NULL && env->ahead - accept_ahead(now) > ACCEPT_ROUNDING; i++)
        now = env->clock();
    msec_t back = env->ahead - accept_ahead(now);
    if (back > ACCEPT_ROUNDING && env->started < now.wall + back)
        env->started = now.wall + back;
    env->ahead = accept_ahead(now);
}

/* From a duration to a time by our own clock. The request was sent before now, by the clock as it is and not as it was
 * when this turn of the loop began (a node may have been stopped in between). Both nodes count in whole ms. */
static void accept_demand(request_t *rq)
{
    now_t now = rq->env->clock != NULL ? rq->env->clock() : rq->env->loop->now;
    accept_clock(rq->env, now);
    rq->tier_newer = now.wall - rq->tier.newer_than + ACCEPT_ROUNDING;
}

/* An edge gives its shield up after a while and goes on without it. So the shield stops trying a little before, and
 * tells the failure: else an origin that hangs would make the edges think that the shield does. */
static msec_t accept_patience(const tier_t *t)
{
    return t->patience - t->patience / ACCEPT_MARGIN;
}

msec_t accept_deadline(const request_t *rq)
{
    if (rq->deadline == 0 || !rq->head_sent)
        return rq->deadline;
    /* from the head on the edge waits anew for each next byte */
    return rq->env->loop->now.boot + accept_patience(&rq->tier);
}

/* The tier's signature, if this node is a shield and the request carries one. It speaks for the scheme that the client
 * used, which the connection between the two nodes doesn't show. Before anything is made of the request. */
static err_t accept_tier(request_t *rq)
{
    exchange_t *x = rq->x;
    span_t signature = fields_get(&x->fields, TIER_FIELD);
    if (rq->env->edge_key == NULL || signature.p == NULL || rq->why != NULL)
        return ERR_OK;
    span_t scheme = fields_get(&x->fields, SPAN("x-forwarded-proto"));
    if (!span_eq(scheme, SPAN("https")))
        scheme = SPAN("http");
    msec_t wall = rq->env->loop->now.wall;
    tier_request_t bound = {.method = x->method_name, .scheme = scheme, .host = x->authority, .target = x->target};
    err_t err = tier_verify(rq->env->edge_key, signature, &bound, wall, &rq->tier);
    if (err == ERR_OK)
        err = replay_seen(rq->env->replay, &rq->tier, rq->env->loop->now);
    if (err == ERR_OK)
        err = accept_cursor(&rq->tier, &rq->tier_cursor);
    if (err != ERR_OK) {
        metrics_add(METRIC_TIER_REFUSED, 0, 1);
        rq->tier_refused = tier_refusal(err);
        return err;
    }
    if (rq->tier.newer_than >= 0)
        accept_demand(rq);
    if (rq->tier.patience > 0)
        rq->deadline = rq->env->loop->now.boot + accept_patience(&rq->tier);
    rq->from_tier = true;
    x->scheme = scheme;
    return ERR_OK;
}

static bool accept_loops(request_t *rq)
{
    bool loops = rq->from_tier ? tier_loops(&rq->tier, rq->env->node) : accept_been_here(rq);
    if (loops) {
        if (rq->why == NULL)
            metrics_add(METRIC_LOOPS, 0, 1);
        rq->tier_refused = rq->from_tier ? "loop" : NULL;
    }
    return loops;
}

/* ---- a shield waits for the purges that the edge has seen (no copy that they cover may go out) ---- */

static void accept_run_caught_up(loop_message_t *m)
{
    request_t *rq = CONTAINER_OF(m, request_t, caught_up);
    if (!rq->gone)
        request_fsm_run(rq);
    request_drop(rq);
}

static void accept_catch_up_done(void *arg, bool has)
{
    request_t *rq = arg;
    atomic_store_explicit(&rq->catch_up_state, has ? 1 : 2, memory_order_release);
    loop_post(rq->env->loop, &rq->caught_up);
}

static request_go_t accept_purges(request_t *rq)
{
    rq->step = REQUEST_LOOKUP;
    if (!rq->from_tier || !rq->cacheable)
        return REQUEST_MORE;
    switch (purge_has(rq->env->purge, &rq->tier_cursor)) {
    case PURGE_HAS_YES:
        return REQUEST_MORE;
    case PURGE_HAS_NO:
        rq->distrust = true;
        return REQUEST_MORE;
    case PURGE_HAS_ASK:
        break;
    }
    metrics_add(METRIC_TIER_BEHIND, 0, 1);
    rq->step = REQUEST_CATCH_UP;
    rq->caught_up.run = accept_run_caught_up;
    request_hold(rq);
    purge_catch_up(rq->env->purge, &rq->tier_cursor, ACCEPT_CATCH_UP, accept_catch_up_done, rq);
    return REQUEST_WAIT;
}

request_go_t accept_caught_up(request_t *rq)
{
    int state = atomic_load_explicit(&rq->catch_up_state, memory_order_acquire);
    if (state == 0)
        return REQUEST_WAIT;
    rq->distrust = state == 2;
    rq->step = REQUEST_LOOKUP;
    return REQUEST_MORE;
}

/* Max-Forwards: 0 on OPTIONS is for us (RFC 9110 7.6.2). */
static bool accept_is_last_hop(const request_t *rq)
{
    span_t hops = fields_get(&rq->x->fields, SPAN("max-forwards"));
    bool zero = hops.n > 0;
    for (size_t i = 0; i < hops.n; i++)
        zero &= hops.p[i] == '0';
    return rq->x->method == METHOD_OPTIONS && zero;
}

static err_t accept_key(request_t *rq)
{
    static const key_rules_t none = {.query = KEY_QUERY_ALL};
    exchange_t *x = rq->x;
    err_t err = admit_split(rq);
    return err != ERR_OK ? err
                         : key_make(x->arena, x->scheme, x->authority, x->target,
                                    rq->site != NULL ? &rq->site->key : &none, &x->fields, &rq->key);
}

request_go_t accept_step(request_t *rq)
{
    exchange_t *x = rq->x;
    if (rq->env->edge_key != NULL)
        accept_clock(rq->env, rq->env->loop->now);
    if (x->method == METHOD_TRACE)
        return deliver_error(rq, 405, "method", "TRACE is not answered here");
    if (x->method == METHOD_CONNECT)
        return deliver_error(rq, 405, "method", "CONNECT is not answered here: this is no forward proxy");
    if (!method_valid(x->method_name))
        return deliver_error(rq, 400, "malformed", "the method is not a token");
    if (accept_is_last_hop(rq) || (x->method == METHOD_OPTIONS && span_eq(x->target, SPAN("*"))))
        return deliver_error(rq, 204, NULL, "");
    if (accept_tier(rq) != ERR_OK)
        return deliver_error(
            rq, 403, "tier",
            "the tier's signature is not valid here: is secret_file the same on both nodes, and are the clocks right?");
    rq->site = conf_site_for(rq->conf, x->authority);
    err_t err = accept_key(rq);
    if (err == ERR_OK && x->target.n > 0 &&
        x->target.p[0] != '/') { /* absolute form: its authority counts (RFC 9112 3.2.2) */
        rq->site = conf_site_for(rq->conf, rq->key.host);
        err = rq->site != NULL ? accept_key(rq) : ERR_OK;
    }
    if (err == ERR_OK && uri_hides_dots(rq->key.path))
        return deliver_error(rq, 400, "uri", "the path hides dot segments behind an encoded slash or before a semicolon");
    if (err == ERR_TOO_BIG)
        return deliver_error(rq, 414, "uri", "the URI is longer than this cache accepts");
    if (err != ERR_OK)
        return deliver_error(rq, 400, "uri", "the Host or the request target is malformed");
    if (rq->site == NULL)
        return deliver_error(rq, 421, "host", "no site of this node has that host name");
    request_go_t go;
    if (!admit_client(rq, &go))
        return go;
    if (accept_loops(rq))
        return deliver_error(
            rq, 508, "loop",
            "this request has been through this cache already: does the origin's address lead back to it?");
    if (x->has_body && x->body.n > rq->site->max_body)
        return deliver_error(rq, 413, "body", "the request body is larger than this site accepts");
    rq->rules = conf_rules_for(rq->site, rq->key.path);
    if (!admit_signed(rq, &go))
        return go;
    request_cc_parse(&rq->cc, &x->fields);
    rq->cacheable =
        !tunnel_wanted(rq) && (x->method == METHOD_GET || x->method == METHOD_HEAD) && rq->rules.cache && !x->has_body;
    /* when nothing is cached the origin sees the query as the client wrote it; what is stored depends on the key alone
     */
    rq->pass_target = rq->key.path;
    span_t raw = x->target;
    size_t question = span_find(raw, '?');
    if (question + 1 < raw.n) {
        span_t whole =
            arena_printf(x->arena, "%.*s?%.*s", SPAN_ARG(rq->key.path), SPAN_ARG(span_from(raw, question + 1)));
        if (whole.p == NULL)
            return deliver_error(rq, 414, "uri", "the URI is longer than this cache accepts");
        rq->pass_target = whole;
    }
    explain_ask(rq, PATH_CACHE_FALSE, !rq->rules.cache);
    if (!rq->cacheable) {
        if (rq->cc.only_if_cached && method_safe(x->method))
            return deliver_error(rq, 504, "only-if-cached", "this is never stored, and the request asked for no more");
        rq->private_fetch = true;
        rq->forward = rq->x->method == METHOD_GET || rq->x->method == METHOD_HEAD ? FORWARD_BYPASS : FORWARD_METHOD;
        rq->detail = rq->upgrade.p != NULL              ? "upgrade"
                     : rq->forward != FORWARD_BYPASS ? NULL
                     : rq->rules.cache               ? "body"
                                                     : "rule";
        rq->step = REQUEST_COLLAPSE;
        return REQUEST_MORE;
    }
    return accept_purges(rq);
}
