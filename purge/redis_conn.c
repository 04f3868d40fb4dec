/* Failure is a state, not an event: whatever goes wrong only marks the connection, and the next tick takes it down, so
 * that no callback finds its connection freed under it. */
#include "purge/redis_conn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "edge/base/check.h"
#include "edge/base/hash.h"
#include "edge/base/log.h"
#include "edge/base/mem.h"

enum {
    CONNECT_LIMIT = 2000, /* ms; each step of the setup as well */
    BACKOFF_FIRST = 50,
    BACKOFF_MOST = 2000
};

static void redis_conn_connect(redis_conn_t *c);

static void redis_conn_retry(loop_timer_t *t)
{
    redis_conn_connect(CONTAINER_OF(t, redis_conn_t, retry));
}

void redis_conn_init(redis_conn_t *c, loop_t *loop, const purge_server_t *server, const char *what,
                     const redis_conn_events_t *events)
{
    *c = (redis_conn_t){.loop = loop, .server = server, .what = what, .events = *events, .backoff = BACKOFF_FIRST};
    c->pending = mem_alloc(REDIS_CONN_MAX_PENDING * sizeof *c->pending);
    c->retry.run = redis_conn_retry;
}

void redis_conn_start(redis_conn_t *c)
{
    redis_conn_connect(c);
}

bool redis_conn_up(const redis_conn_t *c)
{
    return c->state == REDIS_CONN_UP && !c->failed;
}

void redis_conn_fail(redis_conn_t *c, const char *why)
{
    if (c->failed)
        return;
    c->failed = true;
    snprintf(c->why, sizeof c->why, "%s", why);
}

/* ---- commands ---- */

static bool redis_conn_append(redis_conn_t *c, msec_t limit, redis_conn_fn *fn, void *ctx, int argc, const span_t *argv)
{
    enum { MOST = 32 };
    const char *p[MOST];
    size_t n[MOST];
    CHECK(argc <= MOST);
    if (c->c == NULL || c->failed || c->count == REDIS_CONN_MAX_PENDING)
        return false;
    for (int i = 0; i < argc; i++) {
        p[i] = argv[i].p;
        n[i] = argv[i].n;
    }
    if (redisAppendCommandArgv(c->c, argc, p, n) != REDIS_OK) {
        redis_conn_fail(c, "out of memory");
        return false;
    }
    if (fn != NULL)
        c->pending[(c->first + c->count++) % REDIS_CONN_MAX_PENDING] =
            (struct redis_conn_command){.fn = fn, .ctx = ctx, .deadline = c->loop->now.boot + limit};
    return true;
}

bool redis_conn_send(redis_conn_t *c, msec_t limit, redis_conn_fn *fn, void *ctx, int argc, const span_t *argv)
{
    return redis_conn_up(c) && !c->subscribed && redis_conn_append(c, limit, fn, ctx, argc, argv);
}

void redis_conn_subscribe(redis_conn_t *c, span_t channel)
{
    if (redis_conn_up(c) && redis_conn_append(c, 0, NULL, NULL, 2, (span_t[]){SPAN("SUBSCRIBE"), channel}))
        c->subscribed = true;
}

/* ---- setup: AUTH, SELECT, INFO; at a sentinel its question ---- */

static void redis_conn_is_up(redis_conn_t *c)
{
    c->state = REDIS_CONN_UP;
    c->backoff = BACKOFF_FIRST;
    c->told[0] = '\0';
    if (c->events.up != NULL)
        c->events.up(c->events.ctx, c);
}

static void redis_conn_setup_done(void *ctx, const redisReply *r)
{
    redis_conn_t *c = ctx;
    if (r == NULL)
        return;
    if (r->type == REDIS_REPLY_ERROR) {
        redis_conn_fail(c, r->str);
        return;
    }
    if (c->count > 0)
        return; /* AUTH's or SELECT's OK; INFO is the last */
    span_t text = redis_reply_text(r), run_id = redis_reply_info(text, SPAN("run_id")),
           role = redis_reply_info(text, SPAN("role"));
    if (run_id.n == 0 || run_id.n >= sizeof c->run_id) {
        redis_conn_fail(c, "INFO says no run_id");
        return;
    }
    if (c->server->kind == PURGE_SERVER_SENTINEL && role.n > 0 && !span_eq(role, SPAN("master"))) {
        redis_conn_fail(c, "the server that Sentinel named is no master (yet)");
        return;
    }
    span_t loading = redis_reply_info(text, SPAN("loading"));
    if (span_eq(loading, SPAN("1"))) {
        redis_conn_fail(c, "it is loading its data");
        return;
    }
    memcpy(c->run_id, run_id.p, run_id.n);
    c->run_id[run_id.n] = '\0';
    redis_conn_is_up(c);
}

static void redis_conn_sentinel_said(void *ctx, const redisReply *r)
{
    redis_conn_t *c = ctx;
    uint64_t port = 0;
    if (r == NULL)
        return;
    span_t host = r->type == REDIS_REPLY_ARRAY && r->elements == 2 ? redis_reply_text(r->element[0]) : SPAN_NONE;
    span_t digits = host.p != NULL ? redis_reply_text(r->element[1]) : SPAN_NONE;
    for (size_t i = 0; i < digits.n && i < 6; i++)
        port = port * 10 + (uint64_t)(digits.p[i] - '0');
    if (host.n == 0 || host.n >= sizeof c->master_host || port == 0 || port > 65535) {
        redis_conn_fail(c, "the sentinel doesn't know the master");
        return;
    }
    memcpy(c->master_host, host.p, host.n);
    c->master_host[host.n] = '\0';
    c->master_port = (uint16_t)port;
    redis_conn_fail(c, ""); /* on to the master, at once */
}

static void redis_conn_setup(redis_conn_t *c)
{
    const purge_server_t *s = c->server;
    c->state = REDIS_CONN_SETUP;
    if (c->to_sentinel) {
        redis_conn_append(c, CONNECT_LIMIT, redis_conn_sentinel_said, c, 3,
                          (span_t[]){SPAN("SENTINEL"), SPAN("get-master-addr-by-name"), span_str(s->master)});
        return;
    }
    if (s->user != NULL && s->user[0] != '\0')
        redis_conn_append(c, CONNECT_LIMIT, redis_conn_setup_done, c, 3,
                          (span_t[]){SPAN("AUTH"), span_str(s->user), span_str(s->password)});
    else if (s->password != NULL && s->password[0] != '\0')
        redis_conn_append(c, CONNECT_LIMIT, redis_conn_setup_done, c, 2,
                          (span_t[]){SPAN("AUTH"), span_str(s->password)});
    char db[16];
    snprintf(db, sizeof db, "%d", s->db);
    if (s->db != 0)
        redis_conn_append(c, CONNECT_LIMIT, redis_conn_setup_done, c, 2, (span_t[]){SPAN("SELECT"), span_str(db)});
    redis_conn_append(c, CONNECT_LIMIT, redis_conn_setup_done, c, 1, (span_t[]){SPAN("INFO")});
}

/* ---- connecting and going down ---- */

static void redis_conn_connect(redis_conn_t *c)
{
    const purge_server_t *s = c->server;
    c->state = REDIS_CONN_CONNECTING;
    c->failed = c->subscribed = false;
    c->to_sentinel = s->kind == PURGE_SERVER_SENTINEL && c->master_port == 0;
    c->connect_deadline = c->loop->now.boot + CONNECT_LIMIT;
    if (s->kind == PURGE_SERVER_UNIX)
        c->c = redisConnectUnixNonBlock(s->path);
    else if (c->to_sentinel) {
        size_t at = c->sentinel++ % s->hosts_n;
        c->c = redisConnectNonBlock(s->hosts[at].host, s->hosts[at].port);
    } else if (s->kind == PURGE_SERVER_SENTINEL) {
        c->c = redisConnectNonBlock(c->master_host, c->master_port);
        c->master_port = 0; /* whenever it is lost, the sentinels are asked again */
    } else
        c->c = redisConnectNonBlock(s->hosts[0].host, s->hosts[0].port);
    if (c->c == NULL || c->c->err != 0)
        redis_conn_fail(c, c->c != NULL ? c->c->errstr : "out of memory");
    else if (fcntl(c->c->fd, F_SETFD, FD_CLOEXEC) != 0)
        redis_conn_fail(c, strerror(errno));
}

static void redis_conn_drop_pending(redis_conn_t *c)
{
    while (c->count > 0) {
        struct redis_conn_command *p = &c->pending[c->first];
        redis_conn_fn *fn = p->fn;
        void *ctx = p->ctx;
        c->first = (c->first + 1) % REDIS_CONN_MAX_PENDING;
        c->count--;
        fn(ctx, NULL);
    }
}

static void redis_conn_down(redis_conn_t *c)
{
    bool was_up = c->state == REDIS_CONN_UP;
    if (c->c != NULL)
        redisFree(c->c);
    c->c = NULL;
    c->state = REDIS_CONN_IDLE;
    redis_conn_drop_pending(c);
    c->failed = false;
    if (was_up && c->events.down != NULL)
        c->events.down(c->events.ctx, c, c->why);
    if (c->closed)
        return;
    if (c->why[0] == '\0' && c->master_port != 0) {
        redis_conn_connect(c);
        return;
    }
    if (!was_up && strcmp(c->why, c->told) != 0) {
        memcpy(c->told, c->why, sizeof c->told);
        log_warn("redis %s (%s): %s; trying again", c->server->shown, c->what, c->why);
    }
    /* half fixed, half random: a fleet that lost its Redis doesn't come back in one instant */
    uint64_t jitter = hash_64(span_of((const char *)&c->loop->now, sizeof c->loop->now), (uint64_t)(uintptr_t)c);
    loop_timer_start(c->loop, &c->retry, c->backoff / 2 + (msec_t)(jitter % (uint64_t)c->backoff));
    c->backoff = c->backoff * 2 < BACKOFF_MOST ? c->backoff * 2 : BACKOFF_MOST;
}

void redis_conn_hurry(redis_conn_t *c)
{
    if (c->retry.at == 0) /* up, on its way, or not wanted */
        return;
    c->backoff = BACKOFF_FIRST;
    loop_timer_start(c->loop, &c->retry, 0);
}

void redis_conn_release(redis_conn_t *c)
{
    c->closed = true;
    loop_timer_stop(c->loop, &c->retry);
    if (c->c != NULL)
        redisFree(c->c);
    c->c = NULL;
    c->state = REDIS_CONN_IDLE;
    redis_conn_drop_pending(c);
    free(c->pending);
    c->pending = NULL;
}

/* ---- the loop's side ---- */

void redis_conn_poll(const redis_conn_t *c, struct pollfd *out)
{
    *out = (struct pollfd){.fd = -1};
    if (c->c == NULL || c->failed)
        return;
    bool write = c->state == REDIS_CONN_CONNECTING || sdslen(c->c->obuf) > 0;
    *out = (struct pollfd){.fd = c->c->fd, .events = (short)(POLLIN | (write ? POLLOUT : 0))};
}

static void redis_conn_take(redis_conn_t *c, redisReply *r)
{
    c->heard_at = c->loop->now.boot;
    if (c->subscribed) {
        c->events.push(c->events.ctx, c, r);
    } else if (c->count == 0) {
        redis_conn_fail(c, "a reply that nobody asked for");
    } else {
        struct redis_conn_command p = c->pending[c->first];
        c->first = (c->first + 1) % REDIS_CONN_MAX_PENDING;
        c->count--;
        if (redis_reply_is_error(r, "READONLY") || redis_reply_is_error(r, "LOADING") ||
            redis_reply_is_error(r, "MASTERDOWN"))
            redis_conn_fail(c, r->str); /* no longer the server to talk to */
        p.fn(p.ctx, r);
    }
}

static void redis_conn_read(redis_conn_t *c)
{
    if (redisBufferRead(c->c) != REDIS_OK) {
        redis_conn_fail(c, c->c->errstr);
        return;
    }
    if (c->c->reader->len > REDIS_CONN_MAX_REPLY) {
        redis_conn_fail(c, "a reply beyond all bounds");
        return;
    }
    while (!c->failed) {
        void *r = NULL;
        if (redisGetReplyFromReader(c->c, &r) != REDIS_OK) {
            redis_conn_fail(c, c->c->errstr);
            return;
        }
        if (r == NULL)
            return;
        redis_conn_take(c, r);
        freeReplyObject(r);
    }
}

void redis_conn_ready(redis_conn_t *c, short revents)
{
    if (c->c == NULL || c->failed || revents == 0)
        return;
    if (c->state == REDIS_CONN_CONNECTING) {
        int error = 0;
        socklen_t n = sizeof error;
        if (getsockopt(c->c->fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0 || error != 0) {
            redis_conn_fail(c, strerror(error != 0 ? error : errno));
            return;
        }
        if (!(revents & POLLOUT))
            return;
        c->c->flags |= REDIS_CONNECTED;
        redis_conn_setup(c);
    }
    if (revents & (POLLIN | POLLHUP | POLLERR))
        redis_conn_read(c);
}

void redis_conn_tick(redis_conn_t *c)
{
    msec_t now = c->loop->now.boot;
    int done;
    if (c->c != NULL && !c->failed && c->state > REDIS_CONN_CONNECTING && sdslen(c->c->obuf) > 0 &&
        redisBufferWrite(c->c, &done) != REDIS_OK)
        redis_conn_fail(c, c->c->errstr);
    if (c->state == REDIS_CONN_CONNECTING && now > c->connect_deadline)
        redis_conn_fail(c, "no answer to connecting");
    if (c->count > 0 && now > c->pending[c->first].deadline)
        redis_conn_fail(c, "no reply in time");
    if (c->failed)
        redis_conn_down(c);
}
