/* Which connection a call goes on. Servers that take HTTP/2 get one connection for many calls; those that turn out not
 * to are remembered for a while and spoken to by libcurl, which also does everything else.
 *
 * libcurl's own HTTP/2 (7.88) is not used: a response whose reader pauses stops all others on its connection, and with
 * prior knowledge every request on a kept connection fails. Here a paused response holds at most its own window.
 *
 * Events may cancel and start calls. Calls are then freed, and connections looked at, when the stack is unwound. */
#include "edge/fetch/upstream_h2.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "edge/base/log.h"
#include "edge/base/mem.h"
#include "edge/fetch/upstream_curl.h"
#include "edge/fetch/upstream_h2_priv.h"
#include "edge/fetch/upstream_tunnel.h"

typedef struct upstream_h2_note {
    list_t link;
    msec_t until;
    char *server;
} upstream_h2_note_t;

static const upstream_ops_t upstream_h2_ops;

/* ---- servers that speak HTTP/1.1 only ---- */

static void upstream_h2_forget(upstream_h2_t *u, upstream_h2_note_t *n)
{
    list_remove(&n->link);
    u->declined_n--;
    free(n->server);
    free(n);
}

void upstream_h2_declined(upstream_h2_t *u, const char *server)
{
    if (u->declined_n == UPSTREAM_H2_DECLINED_MAX)
        while (!list_empty(&u->declined))
            upstream_h2_forget(u, LIST_ITEM(u->declined.next, upstream_h2_note_t, link));
    upstream_h2_note_t *n = mem_zalloc(sizeof *n);
    n->server = mem_dup(server, strlen(server));
    n->until = u->base.loop->now.boot + UPSTREAM_H2_REMEMBER;
    list_push_back(&u->declined, &n->link);
    u->declined_n++;
}

static bool upstream_h2_known(upstream_h2_t *u, span_t server)
{
    for (list_t *l = u->declined.next, *next; l != &u->declined; l = next) {
        upstream_h2_note_t *n = LIST_ITEM(l, upstream_h2_note_t, link);
        next = l->next;
        if (n->until <= u->base.loop->now.boot)
            upstream_h2_forget(u, n);
        else if (span_eq(span_str(n->server), server))
            return true;
    }
    return false;
}

/* ---- a call ---- */

static void upstream_h2_call_free(upstream_h2_call_t *c)
{
    loop_timer_stop(c->client->base.loop, &c->timer);
    list_remove(&c->link);
    head_release(&c->head);
    arena_release(&c->arena);
    free(c->held);
    free(c);
}

void upstream_h2_finish(upstream_h2_call_t *c, upstream_result_t result)
{
    const upstream_events_t *events = c->events;
    void *arg = c->arg;
    if (c->conn != NULL)
        upstream_h2_conn_drop(c->conn, c);
    upstream_h2_call_free(c);
    events->done(arg, result);
}

void upstream_h2_arm(upstream_h2_call_t *c, msec_t delay)
{
    loop_t *loop = c->client->base.loop;
    msec_t left = c->deadline == MSEC_NEVER ? delay : c->deadline - loop->now.boot;
    loop_timer_start(loop, &c->timer, left < delay ? (left > 0 ? left : 0) : delay);
}

static void upstream_h2_inner_informational(void *arg, int status, const fields_t *fields)
{
    upstream_h2_call_t *c = arg;
    if (c->events->informational != NULL)
        c->events->informational(c->arg, status, fields);
}

static void upstream_h2_inner_head(void *arg, int status, const fields_t *fields, int64_t length)
{
    upstream_h2_call_t *c = arg;
    c->events->head(c->arg, status, fields, length);
}

static bool upstream_h2_inner_body(void *arg, span_t bytes)
{
    upstream_h2_call_t *c = arg;
    return c->events->body(c->arg, bytes);
}

static void upstream_h2_inner_done(void *arg, upstream_result_t result)
{
    upstream_h2_finish(arg, result);
}

static const upstream_events_t upstream_h2_inner_events = {.informational = upstream_h2_inner_informational,
                                                           .head = upstream_h2_inner_head,
                                                           .body = upstream_h2_inner_body,
                                                           .done = upstream_h2_inner_done};

void upstream_h2_over_http1(upstream_h2_call_t *c)
{
    loop_t *loop = c->client->base.loop;
    loop_timer_stop(loop, &c->timer);
    list_remove(&c->link);
    list_init(&c->link);
    c->conn = NULL;
    c->r.to.protocol = UPSTREAM_HTTP1;
    c->r.delay = 0;
    if (c->deadline != MSEC_NEVER)
        c->r.total_timeout = c->deadline > loop->now.boot ? c->deadline - loop->now.boot : 1;
    c->inner = c->client->h1->ops->start(c->client->h1, &c->r, &upstream_h2_inner_events, c);
}

bool upstream_h2_again(upstream_h2_call_t *c)
{
    if (c->times >= UPSTREAM_H2_SENT_MAX || c->had_head)
        return false;
    if (c->conn != NULL)
        upstream_h2_conn_drop(c->conn, c);
    head_release(&c->head);
    head_init(&c->head);
    c->uploaded = 0;
    list_remove(&c->link);
    list_push_back(&c->client->pending, &c->link);
    upstream_h2_arm(c, c->r.connect_timeout + c->r.first_byte_timeout);
    upstream_h2_kick_soon(c->client);
    return true;
}

static void upstream_h2_place(upstream_h2_call_t *c)
{
    upstream_h2_t *u = c->client;
    if (upstream_h2_known(u, c->server)) {
        upstream_h2_over_http1(c);
        return;
    }
    upstream_h2_conn_t *best = NULL;
    for (list_t *l = u->conns.next; l != &u->conns; l = l->next) {
        upstream_h2_conn_t *k = LIST_ITEM(l, upstream_h2_conn_t, link);
        if (upstream_h2_conn_takes(k, c, u->base.loop->now.boot) && (best == NULL || k->n < best->n))
            best = k;
    }
    upstream_h2_conn_add(best != NULL ? best : upstream_h2_conn_open(u, c), c);
}

static void upstream_h2_timeout(loop_timer_t *t)
{
    upstream_h2_call_t *c = CONTAINER_OF(t, upstream_h2_call_t, timer);
    loop_t *loop = c->client->base.loop;
    if (c->delayed) {
        c->delayed = false;
        if (c->deadline != MSEC_NEVER)
            c->deadline = loop->now.boot + c->r.total_timeout;
        upstream_h2_arm(c, c->r.connect_timeout + c->r.first_byte_timeout);
        list_remove(&c->link);
        list_push_back(&c->client->pending, &c->link);
        upstream_h2_kick_soon(c->client);
        return;
    }
    if (!c->had_head && c->conn != NULL && c->stream != 0 && c->conn->active <= c->sent_at)
        c->conn->retiring = true; /* nothing came at all since then: others had better not wait there too */
    if (c->deadline != MSEC_NEVER && loop->now.boot >= c->deadline) {
        upstream_h2_finish(c, UPSTREAM_TOTAL_TIMEOUT);
        return;
    }
    if (c->had_head) {
        msec_t quiet = loop->now.boot - c->active;
        if (c->paused || quiet < c->r.idle_timeout) { /* it is we who are slow, or bytes came meanwhile */
            upstream_h2_arm(c, c->paused ? c->r.idle_timeout : c->r.idle_timeout - quiet);
            return;
        }
    }
    upstream_h2_finish(c, c->had_head      ? UPSTREAM_IDLE_TIMEOUT
                          : c->stream != 0 ? UPSTREAM_FIRST_BYTE_TIMEOUT
                                           : UPSTREAM_CONNECT_TIMEOUT);
}

/* ---- what others call ---- */

static void upstream_h2_copy(upstream_h2_call_t *c, const upstream_request_t *r)
{
    arena_t *a = &c->arena;
    c->r = *r;
    c->r.method = arena_copy(a, r->method);
    c->r.target = arena_copy(a, r->target);
    fields_init(&c->fields, a);
    for (size_t i = 0; i < r->fields->n; i++) {
        span_t name = arena_copy(a, r->fields->v[i].name), value = arena_copy(a, r->fields->v[i].value);
        CHECK(name.p != NULL && value.p != NULL && fields_add(&c->fields, name, value) == ERR_OK);
    }
    c->r.fields = &c->fields;
    c->server =
        arena_printf(a, "%d %.*s %u %.*s %.*s %.*s %.*s", (int)r->to.protocol, SPAN_ARG(r->to.host), r->to.port,
                     SPAN_ARG(r->to.unix_path), SPAN_ARG(r->to.ca), SPAN_ARG(r->to.certificate), SPAN_ARG(r->to.key));
    CHECK(c->server.p != NULL);
}

static upstream_call_t *upstream_h2_start(upstream_t *base, const upstream_request_t *r,
                                          const upstream_events_t *events, void *arg)
{
    upstream_h2_t *u = (upstream_h2_t *)base;
    if (r->upgrade.p != NULL)
        return u->tunnels->ops->start(u->tunnels, r, events, arg);
    if (r->to.protocol == UPSTREAM_HTTP1)
        return u->h1->ops->start(u->h1, r, events, arg);
    upstream_h2_call_t *c = mem_zalloc(sizeof *c);
    c->base.client = base;
    c->client = u;
    c->events = events;
    c->arg = arg;
    c->timer.run = upstream_h2_timeout;
    arena_init(&c->arena, 0);
    head_init(&c->head);
    list_init(&c->link);
    upstream_h2_copy(c, r);
    bool ends = r->total_timeout > 0 && r->total_timeout != MSEC_NEVER;
    c->deadline = ends ? base->loop->now.boot + r->total_timeout : MSEC_NEVER;
    if (r->delay > 0) {
        c->delayed = true;
        loop_timer_start(base->loop, &c->timer, r->delay);
        list_push_back(&u->over, &c->link);
    } else {
        upstream_h2_arm(c, r->connect_timeout + r->first_byte_timeout);
        list_push_back(&u->pending, &c->link);
        upstream_h2_kick_soon(u);
    }
    return &c->base;
}

static void upstream_h2_resume(upstream_call_t *call)
{
    if (call->client->ops != &upstream_h2_ops) {
        call->client->ops->resume(call);
        return;
    }
    upstream_h2_call_t *c = CONTAINER_OF(call, upstream_h2_call_t, base);
    upstream_h2_t *u = c->client;
    if (c->inner != NULL) {
        c->inner->client->ops->resume(c->inner);
        return;
    }
    if (!c->paused || c->cancelled)
        return;
    c->active = u->base.loop->now.boot;
    u->depth++;
    bool taken = c->held_n == 0 || c->events->body(c->arg, span_of(c->held, c->held_n));
    u->depth--;
    if (taken && !c->cancelled) {
        c->paused = false;
        if (c->conn != NULL)
            upstream_h2_conn_taken(c->conn, c->stream, c->held_n);
        free(c->held);
        c->held = NULL;
        c->held_n = 0;
        if (c->events->aside != NULL)
            c->events->aside(c->arg, 0);
    }
    upstream_h2_kick_soon(u);
}

static void upstream_h2_cancel(upstream_call_t *call)
{
    if (call->client->ops != &upstream_h2_ops) {
        call->client->ops->cancel(call);
        return;
    }
    upstream_h2_call_t *c = CONTAINER_OF(call, upstream_h2_call_t, base);
    upstream_h2_t *u = c->client;
    if (c->inner != NULL)
        c->inner->client->ops->cancel(c->inner);
    c->inner = NULL;
    if (c->conn != NULL)
        upstream_h2_conn_drop(c->conn, c);
    if (u->depth == 0) {
        upstream_h2_call_free(c);
    } else {
        c->cancelled = true;
        loop_timer_stop(u->base.loop, &c->timer);
        list_remove(&c->link);
        list_push_back(&u->dead, &c->link);
    }
    upstream_h2_kick_soon(u);
}

/* Only tunnels are sent to, and they have a client of their own. */
static size_t upstream_h2_send(upstream_call_t *call, span_t bytes)
{
    CHECK(call->client->ops != &upstream_h2_ops);
    return call->client->ops->send(call, bytes);
}

static bool upstream_h2_finish_sending(upstream_call_t *call)
{
    CHECK(call->client->ops != &upstream_h2_ops);
    return call->client->ops->finish(call);
}

static const upstream_ops_t upstream_h2_ops = {.start = upstream_h2_start,
                                               .resume = upstream_h2_resume,
                                               .cancel = upstream_h2_cancel,
                                               .send = upstream_h2_send,
                                               .finish = upstream_h2_finish_sending};

/* ---- the loop ---- */

static void upstream_h2_bury(upstream_h2_t *u)
{
    while (!list_empty(&u->dead))
        upstream_h2_call_free(LIST_ITEM(u->dead.next, upstream_h2_call_t, link));
    while (!list_empty(&u->graves))
        upstream_h2_conn_free(LIST_ITEM(u->graves.next, upstream_h2_conn_t, link));
}

static void upstream_h2_work(upstream_h2_t *u)
{
    list_t some;
    list_init(&some);
    list_take(&some, &u->pending);
    list_init(&u->pending);
    while (!list_empty(&some)) {
        upstream_h2_call_t *c = LIST_ITEM(some.next, upstream_h2_call_t, link);
        list_remove(&c->link);
        list_init(&c->link);
        upstream_h2_place(c);
    }
    for (list_t *l = u->over.next, *next; l != &u->over; l = next) {
        upstream_h2_call_t *c = LIST_ITEM(l, upstream_h2_call_t, link);
        next = l->next;
        if (c->whole && !c->paused) {
            upstream_h2_finish(c, UPSTREAM_OK);
            next = u->over.next; /* others may have gone with it */
        }
    }
    for (list_t *l = u->conns.next, *next; l != &u->conns; l = next) {
        upstream_h2_conn_t *k = LIST_ITEM(l, upstream_h2_conn_t, link);
        next = l->next; /* connections leave the list, but are freed below only */
        if (k->dirty)
            upstream_h2_conn_ready(k);
    }
}

static void upstream_h2_kick(loop_message_t *m)
{
    upstream_h2_t *u = CONTAINER_OF(m, upstream_h2_t, kick);
    u->kicked = false;
    if (u->closed) {
        free(u);
        return;
    }
    upstream_h2_work(u);
    upstream_h2_bury(u);
}

void upstream_h2_kick_soon(upstream_h2_t *u)
{
    if (u->kicked || u->closed)
        return;
    u->kicked = true;
    loop_post(u->base.loop, &u->kick);
}

void upstream_h2_ready(void *arg)
{
    upstream_h2_t *u = arg;
    struct epoll_event ev[64];
    int n = epoll_wait(u->epoll_fd, ev, 64, 0);
    for (int i = 0; i < n; i++)
        if (ev[i].data.ptr == NULL)
            upstream_curl_ready(u->h1);
        else if (ev[i].data.ptr == u->tunnels)
            upstream_tunnel_ready(u->tunnels);
        else
            upstream_h2_conn_ready(ev[i].data.ptr);
    upstream_h2_bury(u);
}

upstream_t *upstream_h2_new(loop_t *loop)
{
    upstream_h2_t *u = mem_zalloc(sizeof *u);
    u->base = (upstream_t){.ops = &upstream_h2_ops, .loop = loop};
    u->kick.run = upstream_h2_kick;
    list_t *lists[] = {&u->pending, &u->over, &u->dead, &u->conns, &u->graves, &u->declined};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        list_init(lists[i]);
    u->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    u->h1 = u->epoll_fd >= 0 ? upstream_curl_new(loop) : NULL;
    u->tunnels = u->h1 != NULL ? upstream_tunnel_new(loop, u->h1) : NULL;
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL},
                       tunnels = {.events = EPOLLIN, .data.ptr = u->tunnels};
    if (u->tunnels == NULL || epoll_ctl(u->epoll_fd, EPOLL_CTL_ADD, upstream_curl_fd(u->h1), &ev) != 0 ||
        epoll_ctl(u->epoll_fd, EPOLL_CTL_ADD, upstream_tunnel_fd(u->tunnels), &tunnels) != 0) {
        log_error("can't make an upstream client: out of descriptors or memory");
        upstream_h2_free(&u->base);
        return NULL;
    }
    return &u->base;
}

void upstream_h2_free(upstream_t *base)
{
    upstream_h2_t *u = (upstream_h2_t *)base;
    u->closed = true;
    if (u->h1 != NULL) /* what is under way there ends by its own events */
        for (list_t *l = u->conns.next; l != &u->conns; l = u->conns.next) {
            upstream_h2_conn_t *k = LIST_ITEM(l, upstream_h2_conn_t, link);
            while (!list_empty(&k->calls))
                upstream_h2_finish(LIST_ITEM(k->calls.next, upstream_h2_call_t, link), UPSTREAM_ABANDONED);
            upstream_h2_conn_close(k);
        }
    list_t *waiting[] = {&u->pending, &u->over};
    for (size_t i = 0; i < 2; i++)
        while (!list_empty(waiting[i]))
            upstream_h2_finish(LIST_ITEM(waiting[i]->next, upstream_h2_call_t, link), UPSTREAM_ABANDONED);
    upstream_h2_bury(u);
    while (!list_empty(&u->declined))
        upstream_h2_forget(u, LIST_ITEM(u->declined.next, upstream_h2_note_t, link));
    upstream_tunnel_free(u->tunnels);
    if (u->h1 != NULL)
        upstream_curl_free(u->h1);
    if (u->epoll_fd >= 0)
        close(u->epoll_fd);
    if (!u->kicked)
        free(u);
}

int upstream_h2_fd(const upstream_t *u)
{
    return ((const upstream_h2_t *)u)->epoll_fd;
}

upstream_t *upstream_h2_links(upstream_t *u)
{
    return ((upstream_h2_t *)u)->h1;
}
