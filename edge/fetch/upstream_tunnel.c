/* A call is a connection:
 *
 *   connecting ─► request goes out ─► head ─► 101: tunnel, until either side ends it
 *                                        └──► anything else: its body, framed as the head says
 *
 * Back-pressure without buffers of our own: what the reader doesn't take stays in the one piece that was read, and
 * nothing more is read; what the server doesn't take stays with the sender, who is told when it does.
 *
 * Events may cancel calls. They are freed when the stack is unwound, outside of libcurl's callbacks. */
#include "edge/fetch/upstream_tunnel.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "edge/base/mem.h"
#include "edge/fetch/head.h"
#include "edge/fetch/upstream_link.h"
#include "edge/http/chunked.h"
#include "edge/http/upgrade.h"

typedef struct upstream_tunnel {
    upstream_t base;
    upstream_t *curl;
    int epoll_fd;
    list_t calls, dirty, dead; /* dirty: to look at in the next turn */
    unsigned depth;            /* within events */
    loop_message_t kick;
    bool kicked;
    bool closed; /* only the kick that is on its way still needs it */
} upstream_tunnel_t;

typedef enum upstream_tunnel_state {
    TUNNEL_CONNECTING,
    TUNNEL_HEAD,
    TUNNEL_LENGTH,  /* a body of `left` bytes */
    TUNNEL_CHUNKED, /* a chunked body */
    TUNNEL_CLOSE,   /* a body that ends with the connection */
    TUNNEL_OPEN
} upstream_tunnel_state_t;

typedef struct upstream_tunnel_call {
    upstream_call_t base;
    list_t link, dirty_link;
    upstream_tunnel_t *client;
    upstream_link_t *transport; /* NULL: it failed */
    const upstream_events_t *events;
    void *arg;
    upstream_tunnel_state_t state;
    char *request; /* head and body, as they go out; freed with the call */
    size_t request_n, request_at;
    span_t upgrade; /* within `names` */
    char *names;
    head_t head;
    chunked_t chunks;
    uint64_t left;
    char *in; /* UPSTREAM_TUNNEL_READ bytes; [in_at, in_n) were read and not taken yet */
    size_t in_at, in_n;
    loop_timer_t timer;
    msec_t first_byte_timeout, idle_timeout, deadline, active; /* boot; deadline MSEC_NEVER: none */
    bool watched;                                              /* by the epoll set, for */
    uint32_t interest;
    bool is_head, delayed, paused, wants_write, dead;
    upstream_request_t start; /* `to` alone: until it is connected; spans within `names` */
} upstream_tunnel_call_t;

/* The next turn of the loop looks at `c` (and buries the dead). */
static void upstream_tunnel_kick_soon(upstream_tunnel_call_t *c)
{
    upstream_tunnel_t *u = c->client;
    list_remove(&c->dirty_link);
    list_push_back(c->dead ? &u->dead : &u->dirty, c->dead ? &c->link : &c->dirty_link);
    if (u->kicked || u->closed)
        return;
    u->kicked = true;
    loop_post(u->base.loop, &u->kick);
}

/* ---- the end of a call ---- */

static void upstream_tunnel_retire(upstream_tunnel_call_t *c)
{
    if (c->dead)
        return;
    c->dead = true;
    loop_timer_stop(c->client->base.loop, &c->timer);
    list_remove(&c->link);
    upstream_tunnel_kick_soon(c);
}

static void upstream_tunnel_unwatch(upstream_tunnel_call_t *c)
{
    if (c->watched)
        epoll_ctl(c->client->epoll_fd, EPOLL_CTL_DEL, upstream_link_fd(c->transport), NULL);
    c->watched = false;
}

static void upstream_tunnel_bury(upstream_tunnel_t *u)
{
    for (list_t *l; u->depth == 0 && (l = list_pop_front(&u->dead)) != NULL;) {
        upstream_tunnel_call_t *c = LIST_ITEM(l, upstream_tunnel_call_t, link);
        upstream_tunnel_unwatch(c);
        upstream_link_close(c->transport);
        head_release(&c->head);
        free(c->request);
        free(c->names);
        free(c->in);
        free(c);
    }
}

static void upstream_tunnel_finish(upstream_tunnel_call_t *c, upstream_result_t result)
{
    upstream_tunnel_retire(c);
    c->client->depth++;
    c->events->done(c->arg, result);
    c->client->depth--;
}

static void upstream_tunnel_arm(upstream_tunnel_call_t *c, msec_t delay)
{
    loop_t *loop = c->client->base.loop;
    msec_t left = c->deadline == MSEC_NEVER ? delay : c->deadline - loop->now.boot;
    loop_timer_start(loop, &c->timer, left < delay ? (left > 0 ? left : 0) : delay);
}

/* `hung`: epoll tells of a connection that is gone whether it is asked or not, and would over and over while the reader
 * pauses. */
static bool upstream_tunnel_watch(upstream_tunnel_call_t *c, bool hung)
{
    bool sending = c->request_at < c->request_n || c->wants_write;
    struct epoll_event ev = {.events = (c->paused ? 0u : (uint32_t)EPOLLIN) | (sending ? (uint32_t)EPOLLOUT : 0u),
                             .data.ptr = c};
    if (c->dead)
        return true;
    if (hung && c->paused) {
        upstream_tunnel_unwatch(c);
        return true;
    }
    if (c->watched && c->interest == ev.events)
        return true;
    int op = c->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    c->interest = ev.events;
    c->watched = epoll_ctl(c->client->epoll_fd, op, upstream_link_fd(c->transport), &ev) == 0;
    return c->watched;
}

/* ---- what comes ---- */

static void upstream_tunnel_on_head(upstream_tunnel_call_t *c)
{
    loop_t *loop = c->client->base.loop;
    head_t *h = &c->head;
    if (h->status == 101) {
        if (!upgrade_agreed(c->upgrade, h->upgrade) || fields_add(&h->fields, SPAN("upgrade"), h->upgrade) != ERR_OK) {
            upstream_tunnel_finish(c, UPSTREAM_MALFORMED);
            return;
        }
        c->state = TUNNEL_OPEN;
        loop_timer_stop(loop, &c->timer);
    } else {
        bool none = c->is_head || h->status == 204 || h->status == 304;
        c->state = none || h->content_length >= 0 ? TUNNEL_LENGTH : h->chunked ? TUNNEL_CHUNKED : TUNNEL_CLOSE;
        c->left = none ? 0 : h->content_length >= 0 ? (uint64_t)h->content_length : 0;
        upstream_tunnel_arm(c, c->idle_timeout);
    }
    c->events->head(c->arg, h->status, &h->fields, h->content_length);
}

/* Complete lines of what was read; false: there is none. */
static bool upstream_tunnel_line(upstream_tunnel_call_t *c)
{
    const char *at = c->in + c->in_at, *end = memchr(at, '\n', c->in_n - c->in_at);
    if (end == NULL) {
        if (c->in_at == 0 && c->in_n == UPSTREAM_TUNNEL_READ)
            upstream_tunnel_finish(c, UPSTREAM_HEAD_TOO_BIG);
        return false;
    }
    size_t n = (size_t)(end - at) + 1;
    c->in_at += n;
    switch (head_line(&c->head, span_of(at, n))) {
    case HEAD_MORE:
        break;
    case HEAD_INFORMATIONAL:
        if (c->events->informational != NULL)
            c->events->informational(c->arg, c->head.status, &c->head.fields);
        break;
    case HEAD_FINAL:
        upstream_tunnel_on_head(c);
        break;
    case HEAD_BAD:
        upstream_tunnel_finish(c, UPSTREAM_MALFORMED);
        break;
    case HEAD_OVER:
        upstream_tunnel_finish(c, UPSTREAM_HEAD_TOO_BIG);
        break;
    }
    return true;
}

/* A part of the body, and what is taken of the input with it. Not taken: it is told again after resume. */
static bool upstream_tunnel_tell(upstream_tunnel_call_t *c, span_t bytes)
{
    bool taken = c->events->body(c->arg, bytes);
    c->paused = !taken && !c->dead;
    return taken && !c->dead;
}

static bool upstream_tunnel_length(upstream_tunnel_call_t *c)
{
    size_t some = c->in_n - c->in_at;
    if (some > c->left)
        some = (size_t)c->left;
    if (some > 0 && !upstream_tunnel_tell(c, span_of(c->in + c->in_at, some)))
        return false;
    c->in_at += some;
    c->left -= some;
    if (c->left == 0)
        upstream_tunnel_finish(c, UPSTREAM_OK);
    return some > 0;
}

static bool upstream_tunnel_chunked(upstream_tunnel_call_t *c)
{
    chunked_t before = c->chunks;
    span_t in = span_of(c->in + c->in_at, c->in_n - c->in_at), data;
    switch (chunked_next(&c->chunks, &in, &data)) {
    case CHUNKED_MORE:
        c->in_at = c->in_n;
        return false;
    case CHUNKED_DATA:
        if (!upstream_tunnel_tell(c, data)) {
            c->chunks = before; /* once more, from here */
            return false;
        }
        c->in_at = (size_t)(in.p - c->in);
        return true;
    case CHUNKED_END:
        upstream_tunnel_finish(c, UPSTREAM_OK);
        return false;
    case CHUNKED_BAD:
        upstream_tunnel_finish(c, UPSTREAM_MALFORMED);
        return false;
    }
    return false;
}

static bool upstream_tunnel_rest(upstream_tunnel_call_t *c)
{
    if (!upstream_tunnel_tell(c, span_of(c->in + c->in_at, c->in_n - c->in_at)))
        return false;
    c->in_at = c->in_n;
    return true;
}

/* All that was read, as far as it goes. */
static void upstream_tunnel_digest(upstream_tunnel_call_t *c)
{
    bool more = true;
    while (more && !c->dead && !c->paused && (c->in_at < c->in_n || (c->state == TUNNEL_LENGTH && c->left == 0))) {
        more = c->state == TUNNEL_HEAD      ? upstream_tunnel_line(c)
               : c->state == TUNNEL_LENGTH  ? upstream_tunnel_length(c)
               : c->state == TUNNEL_CHUNKED ? upstream_tunnel_chunked(c)
                                            : upstream_tunnel_rest(c);
    }
    if (c->in_at > 0 && c->in_at < c->in_n)
        memmove(c->in, c->in + c->in_at, c->in_n - c->in_at);
    c->in_n -= c->in_at;
    c->in_at = 0;
}

static void upstream_tunnel_on_end(upstream_tunnel_call_t *c, bool broken)
{
    bool ends = c->state == TUNNEL_OPEN || (c->state == TUNNEL_CLOSE && upstream_link_ended(c->transport));
    upstream_tunnel_finish(c, c->state == TUNNEL_HEAD ? UPSTREAM_CLOSED : broken || !ends ? UPSTREAM_CUT : UPSTREAM_OK);
}

static void upstream_tunnel_read(upstream_tunnel_call_t *c)
{
    for (int i = 0; i < UPSTREAM_TUNNEL_READS && !c->dead && !c->paused; i++) {
        ssize_t n = upstream_link_read(c->transport, c->in + c->in_n, UPSTREAM_TUNNEL_READ - c->in_n);
        if (n == UPSTREAM_LINK_AGAIN)
            return;
        if (n <= 0) {
            upstream_tunnel_on_end(c, n < 0);
            return;
        }
        c->active = c->client->base.loop->now.boot;
        c->in_n += (size_t)n;
        upstream_tunnel_digest(c);
    }
    if (!c->dead && !c->paused) /* others first; TLS may hold more than the descriptor shows */
        upstream_tunnel_kick_soon(c);
}

/* ---- what goes ---- */

/* False: the connection is of no use any more. */
static bool upstream_tunnel_write(upstream_tunnel_call_t *c)
{
    while (c->request_at < c->request_n) {
        ssize_t did = upstream_link_write(c->transport, c->request + c->request_at, c->request_n - c->request_at);
        if (did == UPSTREAM_LINK_AGAIN)
            return true;
        if (did <= 0)
            return false;
        c->request_at += (size_t)did;
        if (c->state == TUNNEL_HEAD) /* from the request sent */
            upstream_tunnel_arm(c, c->first_byte_timeout);
    }
    if (c->wants_write) {
        c->wants_write = false;
        if (c->events->writable != NULL)
            c->events->writable(c->arg);
    }
    return true;
}

static void upstream_tunnel_turn(upstream_tunnel_call_t *c, uint32_t events)
{
    bool hung = (events & (EPOLLHUP | EPOLLERR)) != 0, writable = hung || (events & EPOLLOUT) != 0;
    upstream_tunnel_t *u = c->client;
    if (c->dead || c->state == TUNNEL_CONNECTING)
        return;
    list_remove(&c->dirty_link);
    u->depth++;
    bool sent = !writable || upstream_tunnel_write(c);
    if (!c->dead) /* a server may answer before it has read all, and then close */
        upstream_tunnel_read(c);
    if (!c->dead && !sent)
        upstream_tunnel_on_end(c, true);
    if (!c->dead && !upstream_tunnel_watch(c, hung))
        upstream_tunnel_on_end(c, true);
    u->depth--;
}

static void upstream_tunnel_on_link(void *arg, upstream_result_t result)
{
    upstream_tunnel_call_t *c = arg;
    if (result != UPSTREAM_OK) {
        c->transport = NULL; /* the link is gone */
        upstream_tunnel_finish(c, result);
        return;
    }
    c->state = TUNNEL_HEAD;
    c->in = mem_alloc(UPSTREAM_TUNNEL_READ);
    upstream_tunnel_arm(c, c->first_byte_timeout);
    upstream_tunnel_turn(c, EPOLLOUT);
}

static void upstream_tunnel_begin(upstream_tunnel_call_t *c)
{
    c->delayed = false;
    upstream_tunnel_arm(c, c->start.connect_timeout + c->first_byte_timeout);
    c->transport =
        upstream_link_open(c->client->curl, &c->start.to, false, c->start.connect_timeout, upstream_tunnel_on_link, c);
}

static void upstream_tunnel_timeout(loop_timer_t *t)
{
    upstream_tunnel_call_t *c = CONTAINER_OF(t, upstream_tunnel_call_t, timer);
    loop_t *loop = c->client->base.loop;
    if (c->delayed) {
        upstream_tunnel_begin(c);
        return;
    }
    bool total = c->deadline != MSEC_NEVER && loop->now.boot >= c->deadline, body = c->state > TUNNEL_HEAD;
    msec_t quiet = loop->now.boot - c->active;
    if (!total && body && (c->paused || quiet < c->idle_timeout)) { /* it is we who are slow, or bytes came meanwhile */
        upstream_tunnel_arm(c, c->paused ? c->idle_timeout : c->idle_timeout - quiet);
        return;
    }
    upstream_tunnel_finish(c, total                           ? UPSTREAM_TOTAL_TIMEOUT
                              : body                          ? UPSTREAM_IDLE_TIMEOUT
                              : c->state == TUNNEL_CONNECTING ? UPSTREAM_CONNECT_TIMEOUT
                                                              : UPSTREAM_FIRST_BYTE_TIMEOUT);
}

/* ---- a call ---- */

static span_t upstream_tunnel_keep(char **at, span_t s)
{
    if (s.p == NULL)
        return s;
    memcpy(*at, s.p, s.n);
    (*at)[s.n] = '\0';
    span_t kept = span_of(*at, s.n);
    *at += s.n + 1;
    return kept;
}

/* Names that live as long as the call: where it goes, and what it offers. */
static void upstream_tunnel_names(upstream_tunnel_call_t *c, const upstream_request_t *r)
{
    const upstream_target_t *t = &r->to;
    char *at = c->names =
        mem_alloc(t->host.n + t->unix_path.n + t->ca.n + t->certificate.n + t->key.n + r->upgrade.n + 6);
    c->start.to = *t;
    c->start.to.protocol = UPSTREAM_HTTP1;
    c->start.to.host = upstream_tunnel_keep(&at, t->host);
    c->start.to.unix_path = upstream_tunnel_keep(&at, t->unix_path);
    c->start.to.ca = upstream_tunnel_keep(&at, t->ca);
    c->start.to.certificate = upstream_tunnel_keep(&at, t->certificate);
    c->start.to.key = upstream_tunnel_keep(&at, t->key);
    c->upgrade = upstream_tunnel_keep(&at, r->upgrade);
}

static void upstream_tunnel_message(upstream_tunnel_call_t *c, const upstream_request_t *r)
{
    size_t room = r->method.n + r->target.n + r->upgrade.n + r->body.n + 256;
    for (size_t i = 0; i < r->fields->n; i++)
        room += r->fields->v[i].name.n + r->fields->v[i].value.n + 4;
    char *p = c->request = mem_alloc(room);
    size_t n = (size_t)snprintf(p, room, "%.*s %.*s HTTP/1.1\r\n", SPAN_ARG(r->method), SPAN_ARG(r->target));
    for (size_t i = 0; i < r->fields->n; i++)
        n += (size_t)snprintf(p + n, room - n, "%.*s: %.*s\r\n", SPAN_ARG(r->fields->v[i].name),
                              SPAN_ARG(r->fields->v[i].value));
    n += (size_t)snprintf(p + n, room - n, "connection: upgrade\r\nupgrade: %.*s\r\n", SPAN_ARG(r->upgrade));
    if (r->has_body)
        n += (size_t)snprintf(p + n, room - n, "content-length: %zu\r\n", r->body.n);
    n += (size_t)snprintf(p + n, room - n, "\r\n");
    if (r->has_body && r->body.n > 0)
        memcpy(p + n, r->body.p, r->body.n);
    c->request_n = n + (r->has_body ? r->body.n : 0);
}

static upstream_call_t *upstream_tunnel_start(upstream_t *base, const upstream_request_t *r,
                                              const upstream_events_t *events, void *arg)
{
    upstream_tunnel_t *u = (upstream_tunnel_t *)base;
    upstream_tunnel_call_t *c = mem_zalloc(sizeof *c);
    c->base.client = base;
    c->client = u;
    c->events = events;
    c->arg = arg;
    c->is_head = r->head;
    c->timer.run = upstream_tunnel_timeout;
    c->first_byte_timeout = r->first_byte_timeout;
    c->idle_timeout = r->idle_timeout;
    c->start.connect_timeout = r->connect_timeout;
    bool ends = r->total_timeout > 0 && r->total_timeout != MSEC_NEVER;
    c->deadline = ends ? base->loop->now.boot + r->delay + r->total_timeout : MSEC_NEVER;
    head_init(&c->head);
    c->head.may_upgrade = true;
    upstream_tunnel_names(c, r);
    upstream_tunnel_message(c, r);
    list_init(&c->dirty_link);
    list_push_back(&u->calls, &c->link);
    if (r->delay > 0) {
        c->delayed = true;
        loop_timer_start(base->loop, &c->timer, r->delay);
    } else {
        upstream_tunnel_begin(c);
    }
    return &c->base;
}

static void upstream_tunnel_resume(upstream_call_t *call)
{
    upstream_tunnel_call_t *c = CONTAINER_OF(call, upstream_tunnel_call_t, base);
    if (!c->paused || c->dead)
        return;
    c->paused = false;
    c->active = c->client->base.loop->now.boot;
    c->client->depth++;
    upstream_tunnel_digest(c);
    c->client->depth--;
    if (!c->dead && !c->paused)
        upstream_tunnel_kick_soon(c);
}

static void upstream_tunnel_cancel(upstream_call_t *call)
{
    upstream_tunnel_retire(CONTAINER_OF(call, upstream_tunnel_call_t, base));
}

static size_t upstream_tunnel_send(upstream_call_t *call, span_t bytes)
{
    upstream_tunnel_call_t *c = CONTAINER_OF(call, upstream_tunnel_call_t, base);
    size_t n = 0;
    if (c->dead)
        return bytes.n;
    while (n < bytes.n) {
        ssize_t did = upstream_link_write(c->transport, bytes.p + n, bytes.n - n);
        if (did <= 0) { /* full; or broken, which the next read tells */
            c->wants_write = did == UPSTREAM_LINK_AGAIN;
            upstream_tunnel_watch(c, false);
            return c->wants_write ? n : bytes.n;
        }
        n += (size_t)did;
    }
    return n;
}

static bool upstream_tunnel_finish_sending(upstream_call_t *call)
{
    upstream_tunnel_call_t *c = CONTAINER_OF(call, upstream_tunnel_call_t, base);
    return c->dead || upstream_link_finish(c->transport);
}

static const upstream_ops_t upstream_tunnel_ops = {.start = upstream_tunnel_start,
                                                   .resume = upstream_tunnel_resume,
                                                   .cancel = upstream_tunnel_cancel,
                                                   .send = upstream_tunnel_send,
                                                   .finish = upstream_tunnel_finish_sending};

/* ---- the loop ---- */

static void upstream_tunnel_kick(loop_message_t *m)
{
    upstream_tunnel_t *u = CONTAINER_OF(m, upstream_tunnel_t, kick);
    u->kicked = false;
    if (u->closed) {
        free(u);
        return;
    }
    list_t some;
    list_init(&some);
    list_take(&some, &u->dirty);
    list_init(&u->dirty);
    for (list_t *l; (l = list_pop_front(&some)) != NULL;)
        upstream_tunnel_turn(LIST_ITEM(l, upstream_tunnel_call_t, dirty_link), 0);
    upstream_tunnel_bury(u);
}

void upstream_tunnel_ready(void *arg)
{
    upstream_tunnel_t *u = arg;
    struct epoll_event ev[64];
    int n = epoll_wait(u->epoll_fd, ev, 64, 0);
    for (int i = 0; i < n; i++)
        upstream_tunnel_turn(ev[i].data.ptr, ev[i].events);
    upstream_tunnel_bury(u);
}

upstream_t *upstream_tunnel_new(loop_t *loop, upstream_t *curl)
{
    upstream_tunnel_t *u = mem_zalloc(sizeof *u);
    u->base = (upstream_t){.ops = &upstream_tunnel_ops, .loop = loop};
    u->curl = curl;
    u->kick.run = upstream_tunnel_kick;
    list_init(&u->calls);
    list_init(&u->dirty);
    list_init(&u->dead);
    u->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (u->epoll_fd < 0) {
        free(u);
        return NULL;
    }
    return &u->base;
}

void upstream_tunnel_free(upstream_t *base)
{
    upstream_tunnel_t *u = (upstream_tunnel_t *)base;
    if (u == NULL)
        return;
    while (!list_empty(&u->calls))
        upstream_tunnel_finish(LIST_ITEM(u->calls.next, upstream_tunnel_call_t, link), UPSTREAM_ABANDONED);
    upstream_tunnel_bury(u);
    close(u->epoll_fd);
    u->closed = true;
    if (!u->kicked)
        free(u);
}

int upstream_tunnel_fd(const upstream_t *u)
{
    return ((const upstream_tunnel_t *)u)->epoll_fd;
}
