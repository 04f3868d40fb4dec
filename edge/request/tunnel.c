/* A connection that changes its protocol (RFC 9110 7.8): WebSocket, and what else the site lets through by name. It is
 * an uncached response of status 101 whose body is what the origin sends, with the other direction beside it; so
 * places, limits, health, log and the end of the node apply to it as to any response that streams for long.
 *
 * Nobody looks into a tunnel. It is opened only when the origin itself has agreed, to a protocol by the name that it
 * was offered: a proxy that believes in a change the origin refused lets requests pass by its rules. */
#include "edge/http/upgrade.h"
#include "edge/request/request_priv.h"

bool tunnel_wanted(request_t *rq)
{
    exchange_t *x = rq->x;
    if (x->upgrade.p != NULL)
        rq->upgrade =
            upgrade_select(x->upgrade, rq->site->upgrade, rq->site->upgrade_n, x->method, &x->fields, x->arena);
    return rq->upgrade.p != NULL;
}

static void tunnel_on_input(exchange_t *x)
{
    request_fsm_run(x->path);
}

static void tunnel_tick(loop_timer_t *t)
{
    request_t *rq = CONTAINER_OF(t, request_t, tunnel.timer);
    msec_t most = rq->conf->upstream.tunnel_timeout, quiet = rq->env->loop->now.boot - rq->tunnel.active;
    if (rq->over) /* its last bytes are on their way */
        return;
    if (quiet < most) {
        loop_timer_start(rq->env->loop, t, most - quiet);
        return;
    }
    metrics_add(METRIC_TUNNELS_IDLE, 0, 1);
    rq->tunnel.over = true;
    request_fsm_run(rq);
}

void tunnel_open(request_t *rq)
{
    rq->tunnel.open = true;
    rq->tunnel.active = rq->env->loop->now.boot;
    rq->tunnel.timer.run = tunnel_tick;
    rq->x->on_input = tunnel_on_input;
    loop_timer_start(rq->env->loop, &rq->tunnel.timer, rq->conf->upstream.tunnel_timeout);
    metrics_gauge_add(METRIC_TUNNELS, 0, 1);
    metrics_add(METRIC_TUNNELS_OPENED, 0, 1);
}

bool tunnel_pump(request_t *rq)
{
    exchange_t *x = rq->x;
    fetch_t *f = rq->reader.fetch;
    bool end = false;
    fetch_wait(&rq->reader, rq->env->loop); /* for room, whatever the other direction waits for */
    span_t in = x->ops->input(x, &end);
    while (in.n > 0) {
        size_t n = fetch_send(f, in);
        if (n == 0)
            break;
        x->ops->take(x, n);
        rq->tunnel.in += n;
        rq->tunnel.active = rq->env->loop->now.boot;
        in = x->ops->input(x, &end);
    }
    if (end && in.n == 0 && !rq->tunnel.finished) {
        rq->tunnel.finished = true;
        rq->tunnel.over |= !fetch_finish(f);
    }
    return !rq->tunnel.over;
}

void tunnel_sent(request_t *rq)
{
    rq->tunnel.active = rq->env->loop->now.boot;
}

void tunnel_close(request_t *rq)
{
    if (!rq->tunnel.open)
        return;
    loop_timer_stop(rq->env->loop, &rq->tunnel.timer);
    metrics_gauge_add(METRIC_TUNNELS, 0, -1);
}
