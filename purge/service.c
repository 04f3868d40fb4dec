/* The purge thread: one poll over three connections and the inbox. The channel's connection is served before the
 * stream's, since what is heard should be known when its entry is read. */
#include <poll.h>
#include <string.h>

#include "edge/base/clock.h"
#include "edge/base/log.h"
#include "purge/purge_priv.h"

enum { SERVICE_TICK = 200, SERVICE_TURN = 100 };

void service_ignore(void *ctx, const redisReply *r)
{
    purge_t *p = ctx;
    if (r != NULL && r->type == REDIS_REPLY_ERROR)
        log_error("redis %s: %s", p->o.redis.shown, r->str);
}

static void service_policy(void *ctx, const redisReply *r)
{
    purge_t *p = ctx;
    span_t policy = redis_reply_info(redis_reply_text(r), SPAN("maxmemory_policy"));
    if (span_starts(policy, SPAN("allkeys")))
        log_warn("redis %s has maxmemory-policy %.*s: it may drop the purge stream; set one of the volatile kind",
                 p->o.redis.shown, SPAN_ARG(policy));
}

static void service_up(void *ctx, redis_conn_t *c)
{
    purge_t *p = ctx;
    redis_conn_t *all[] = {&p->channel_conn, &p->stream_conn, &p->command_conn};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i] != c)
            redis_conn_hurry(all[i]);
    if (c == &p->stream_conn) {
        atomic_store(&p->connected, true);
        atomic_fetch_add(&p->reconnects, p->connected_before);
        p->connected_before = true;
        stream_up(p);
    } else if (c == &p->channel_conn) {
        channel_up(p);
    } else {
        redis_conn_send(c, PURGE_COMMAND_LIMIT, service_policy, p, 2, (span_t[]){SPAN("INFO"), SPAN("memory")});
        receipts_up(p);
        outbox_run(p);
        channel_ask(p);
    }
}

static void service_down(void *ctx, redis_conn_t *c, const char *why)
{
    purge_t *p = ctx;
    if (c == &p->stream_conn) {
        log_warn("redis %s lost: %s", p->o.redis.shown, why);
        atomic_store(&p->connected, false);
        stream_down(p);
    } else if (c == &p->channel_conn) {
        channel_down(p);
    }
}

static void service_push(void *ctx, redis_conn_t *c, const redisReply *r)
{
    (void)c;
    channel_push(ctx, r);
}

static void service_tick(loop_timer_t *t)
{
    purge_t *p = CONTAINER_OF(t, purge_t, tick);
    channel_tick(p);
    stream_tick(p);
    loop_timer_start(&p->loop, t, SERVICE_TICK);
}

static void service_stop(loop_message_t *m)
{
    CONTAINER_OF(m, purge_t, stop)->stop_now = true;
}

static void service_turn(purge_t *p, redis_conn_t **conns, size_t n)
{
    struct pollfd fds[4];
    for (size_t i = 0; i < n; i++) {
        redis_conn_tick(conns[i]);
        redis_conn_poll(conns[i], &fds[i]);
    }
    fds[n] = (struct pollfd){.fd = p->loop.wake_fd, .events = POLLIN};
    msec_t wait = loop_wait(&p->loop, list_empty(&p->submissions) && list_empty(&p->catchups) ? SERVICE_TURN : 2);
    if (poll(fds, n + 1, (int)wait) < 0)
        memset(fds, 0, sizeof fds); /* EINTR: nothing is ready */
    p->loop.now = clock_now();
    for (size_t i = 0; i < n; i++)
        redis_conn_ready(conns[i], fds[i].revents);
}

static void *service_run(void *arg)
{
    purge_t *p = arg;
    redis_conn_t *conns[] = {&p->channel_conn, &p->stream_conn, &p->command_conn};
    size_t n = purge_has_redis(p) ? 3 : 0, first = p->o.channel != NULL ? 0 : 1;
    p->loop.now = clock_now();
    p->disconnected_since = p->started_boot = p->loop.now.boot;
    for (size_t i = first; i < n; i++)
        redis_conn_start(conns[i]);
    p->tick.run = service_tick;
    if (n > 0)
        loop_timer_start(&p->loop, &p->tick, SERVICE_TICK);
    while (!p->stop_now) {
        loop_run_messages(&p->loop);
        loop_run_timers(&p->loop);
        if (n > 0) {
            receipts_tick(p);
            if (!list_empty(&p->outgoing))
                outbox_run(p);
        }
        submit_tick(p);
        catchup_run(p);
        service_turn(p, conns, n);
    }
    if (n > 0) {
        channel_stop(p);
        for (size_t i = 0; i < n; i++) {
            if (conns[i]->c != NULL)
                redis_conn_tick(conns[i]); /* the last words */
            redis_conn_release(conns[i]);
        }
    }
    submit_stop(p);
    catchup_stop(p);
    return NULL;
}

err_t service_start(purge_t *p)
{
    redis_conn_events_t e = {.up = service_up, .down = service_down, .push = service_push, .ctx = p};
    if (purge_has_redis(p)) {
        redis_conn_init(&p->stream_conn, &p->loop, &p->o.redis, "stream", &e);
        redis_conn_init(&p->channel_conn, &p->loop, &p->o.redis, "channel", &e);
        redis_conn_init(&p->command_conn, &p->loop, &p->o.redis, "commands", &e);
    }
    p->stop.run = service_stop;
    return pthread_create(&p->thread, NULL, service_run, p) == 0 ? ERR_OK : ERR_IO;
}
