/* See peer.h. */
#include "peer.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "edge/base/clock.h"
#include "edge/base/mem.h"
#include "edge/fetch/upstream_curl.h"
#include "edge/fetch/upstream_h2.h"

/* ---- the server ---- */

ssize_t peer_recv(peer_conn_t *c, char *p, size_t n)
{
    while (c->ssl == NULL || SSL_pending(c->ssl) == 0) {
        struct pollfd poll_fd = {.fd = c->fd, .events = POLLIN};
        if (atomic_load(&c->peer->stop))
            return -1;
        if (poll(&poll_fd, 1, 20) > 0)
            break;
    }
    return c->ssl != NULL ? SSL_read(c->ssl, p, (int)n) : recv(c->fd, p, n, 0);
}

bool peer_read(peer_conn_t *c)
{
    char *text = c->peer->request[atomic_load(&c->peer->requests) % PEER_REQUESTS];
    size_t n = 0, want = 0;
    memset(text, 0, PEER_REQUEST_BYTES);
    while (want == 0 || n < want) {
        ssize_t got = peer_recv(c, text + n, PEER_REQUEST_BYTES - 1 - n);
        if (got <= 0)
            return false;
        n += (size_t)got;
        const char *end = strstr(text, "\r\n\r\n"), *length = strcasestr(text, "\r\ncontent-length: ");
        if (end != NULL)
            want = (size_t)(end - text) + 4 + (length != NULL && length < end ? strtoul(length + 18, NULL, 10) : 0);
    }
    atomic_fetch_add(&c->peer->requests, 1);
    return true;
}

void peer_write_n(peer_conn_t *c, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t did = c->ssl != NULL ? SSL_write(c->ssl, p, (int)n) : send(c->fd, p, n, MSG_NOSIGNAL);
        if (did <= 0)
            return;
        p += did;
        n -= (size_t)did;
    }
}

void peer_write(peer_conn_t *c, const char *text)
{
    peer_write_n(c, text, strlen(text));
}

void peer_reset(peer_conn_t *c)
{
    struct linger now = {1, 0};
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(c->fd);
    c->fd = -1;
}

void peer_linger(peer_conn_t *c)
{
    char byte;
    while (peer_recv(c, &byte, 1) > 0)
        ;
}

static void *peer_main(void *arg)
{
    peer_t *p = arg;
    for (size_t i = 0; p->script[i] != NULL && !atomic_load(&p->stop);) {
        struct pollfd poll_fd = {.fd = p->listen_fd, .events = POLLIN};
        if (poll(&poll_fd, 1, 20) <= 0)
            continue;
        peer_conn_t c = {.peer = p, .fd = accept(p->listen_fd, NULL, NULL)};
        if (c.fd < 0)
            continue;
        atomic_fetch_add(&p->connections, 1);
        if (p->tls != NULL) {
            c.ssl = SSL_new(p->tls);
            SSL_set_fd(c.ssl, c.fd);
        }
        if (c.ssl == NULL || SSL_accept(c.ssl) == 1)
            p->script[i++](&c);
        SSL_free(c.ssl);
        if (c.fd >= 0)
            close(c.fd);
    }
    return NULL;
}

void peer_open(peer_t *p, peer_script_fn *const *script, SSL_CTX *tls, const char *path)
{
    signal(SIGPIPE, SIG_IGN);
    *p = (peer_t){.script = script, .tls = tls};
    p->listen_fd = socket(path != NULL ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_geq(p->listen_fd, 0);
    if (path != NULL) {
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        snprintf(un.sun_path, sizeof un.sun_path, "%s", path);
        snprintf(p->path, sizeof p->path, "%s", path);
        cr_assert_eq(bind(p->listen_fd, (struct sockaddr *)&un, sizeof un), 0);
    } else {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t n = sizeof in;
        cr_assert_eq(bind(p->listen_fd, (struct sockaddr *)&in, n), 0);
        cr_assert_eq(getsockname(p->listen_fd, (struct sockaddr *)&in, &n), 0);
        p->port = ntohs(in.sin_port);
    }
    cr_assert_eq(listen(p->listen_fd, 64), 0);
    cr_assert_eq(pthread_create(&p->thread, NULL, peer_main, p), 0);
}

void peer_close(peer_t *p)
{
    atomic_store(&p->stop, true);
    pthread_join(p->thread, NULL);
    close(p->listen_fd);
    if (p->path[0] != '\0')
        unlink(p->path);
}

/* ---- the loop ---- */

void bench_open(bench_t *b)
{
    static bool once;
    if (!once)
        cr_assert_eq(upstream_curl_global_init(), ERR_OK);
    once = true;
    cr_assert_eq(loop_init(&b->loop, 0, true), ERR_OK);
    b->loop.now = clock_now();
    b->client = upstream_h2_new(&b->loop);
    cr_assert_not_null(b->client);
}

void bench_close(bench_t *b)
{
    upstream_h2_free(b->client);
    while (loop_run_messages(&b->loop) > 0)
        ;
    cr_expect_eq(b->loop.timers, 0, "timers are left");
    loop_release(&b->loop);
}

void bench_turn(bench_t *b)
{
    struct pollfd fds[2] = {{.fd = upstream_h2_fd(b->client), .events = POLLIN},
                            {.fd = b->loop.wake_fd, .events = POLLIN}};
    poll(fds, 2, (int)loop_wait(&b->loop, 10));
    b->loop.now = clock_now();
    if (fds[0].revents != 0)
        upstream_h2_ready(b->client);
    loop_run_messages(&b->loop);
    loop_run_timers(&b->loop);
}

void bench_until(bench_t *b, const bool *flag)
{
    msec_t end = clock_now().boot + 10000;
    while (!*flag) {
        bench_turn(b);
        cr_assert_lt(clock_now().boot, end, "nothing happens");
    }
}

void bench_for(bench_t *b, msec_t ms)
{
    for (msec_t end = clock_now().boot + ms; clock_now().boot < end;)
        bench_turn(b);
}

static bool seen_cancels(seen_t *s, int where)
{
    if (s->cancel_in != where)
        return false;
    s->bench->client->ops->cancel(s->call);
    s->call = NULL;
    return true;
}

static void seen_informational(void *arg, int status, const fields_t *fields)
{
    seen_t *s = arg;
    (void)fields;
    cr_expect(status >= 100 && status < 200 && !s->head);
    s->informational++;
    seen_cancels(s, 1);
}

static void seen_head(void *arg, int status, const fields_t *fields, int64_t length)
{
    seen_t *s = arg;
    cr_assert(!s->head && !s->done && s->call != NULL);
    s->head = true;
    s->status = status;
    s->length = length;
    size_t n = 0;
    for (size_t i = 0; i < fields->n && n < sizeof s->fields; i++)
        n += (size_t)snprintf(s->fields + n, sizeof s->fields - n, "%.*s: %.*s\n", SPAN_ARG(fields->v[i].name),
                              SPAN_ARG(fields->v[i].value));
    seen_cancels(s, 2);
}

static bool seen_body(void *arg, span_t bytes)
{
    seen_t *s = arg;
    cr_assert(s->head && !s->done && s->call != NULL);
    if (seen_cancels(s, 3))
        return true;
    if (s->pause_every > 0 && s->since_pause >= s->pause_every) {
        s->since_pause = 0;
        s->paused = true;
        return false;
    }
    s->body = mem_realloc(s->body, s->n + bytes.n + 1);
    memcpy(s->body + s->n, bytes.p, bytes.n);
    s->n += bytes.n;
    s->body[s->n] = '\0';
    s->since_pause += bytes.n;
    return true;
}

static void seen_aside(void *arg, size_t bytes)
{
    seen_t *s = arg;
    cr_assert(s->head && !s->done && s->call != NULL);
    s->aside = bytes;
}

static void seen_done(void *arg, upstream_result_t result)
{
    seen_t *s = arg;
    cr_assert(!s->done && s->call != NULL, "done after cancel, or twice");
    s->done = true;
    s->call = NULL;
    s->result = result;
}

static const upstream_events_t seen_events = {
    .informational = seen_informational, .head = seen_head, .body = seen_body, .aside = seen_aside, .done = seen_done};

void bench_start(bench_t *b, const peer_t *p, seen_t *s, upstream_request_t r, const char *lines)
{
    arena_t a;
    fields_t f;
    arena_init(&a, 0);
    fields_init(&f, &a);
    fields_add(&f, SPAN("host"), SPAN("site.example"));
    for (const char *at = lines; at != NULL && *at != '\0';) {
        size_t n = strcspn(at, "\n"), colon = strcspn(at, ":");
        fields_add(&f, span_of(at, colon), span_trim(span_of(at + colon + 1, n - colon - 1)));
        at += n + (at[n] == '\n');
    }
    r.fields = &f;
    if (r.to.host.p == NULL)
        r.to.host = SPAN("127.0.0.1");
    if (r.to.port == 0)
        r.to.port = p->port;
    if (p != NULL && p->path[0] != '\0') {
        r.to.unix_path = span_str(p->path);
        r.to.port = 0;
    }
    if (r.method.p == NULL)
        r.method = SPAN("GET");
    if (r.target.p == NULL)
        r.target = SPAN("/");
    msec_t *limits[] = {&r.connect_timeout, &r.first_byte_timeout, &r.idle_timeout};
    for (size_t i = 0; i < 3; i++)
        if (*limits[i] == 0)
            *limits[i] = 5000;
    s->bench = b;
    s->call = b->client->ops->start(b->client, &r, &seen_events, s);
    cr_assert(!s->head && !s->done, "an event from within start");
    arena_release(&a); /* but for the target and the body, all was copied */
}

void bench_get(bench_t *b, const peer_t *p, seen_t *s)
{
    *s = (seen_t){0};
    bench_start(b, p, s, (upstream_request_t){0}, "user-agent: test");
    bench_until(b, &s->done);
}

void seen_release(seen_t *s)
{
    free(s->body);
    s->body = NULL;
}
