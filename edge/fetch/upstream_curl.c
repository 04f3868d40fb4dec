/* libcurl on our event loop: its sockets sit in an epoll set of their own, whose one descriptor the loop watches, so
 * curl may open and close sockets as it likes; its timer is one of the loop's.
 *
 * libcurl keeps connections, verifies certificates and times out; but it reads responses leniently. So every raw header
 * line goes through head.c first, and what is refused there aborts the transfer, which makes curl close the connection.
 * What curl would add or decide by itself (Accept, User-Agent, Expect, proxies from the environment, path clean-up,
 * decoding, redirects) is switched off. */
#include "edge/fetch/upstream_curl_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "edge/base/log.h"
#include "edge/base/mem.h"
#include "edge/fetch/head.h"
#include "edge/fetch/resolve.h"
#include "edge/fetch/upstream_tls.h"

#define UPSTREAM_CURL_SYSTEM_CA "/etc/ssl/certs"

typedef struct upstream_curl_call {
    upstream_call_t base;
    upstream_job_t job;
    upstream_curl_t *client;
    struct curl_slist *lines;
    const upstream_events_t *events;
    void *arg;
    head_t head;
    loop_timer_t timer; /* first byte, then idle */
    msec_t connect_timeout, first_byte_timeout, idle_timeout, total_timeout, began, active;
    curl_off_t uploaded;
    bool delayed, had_head, cancelled, paused, bodiless;
    upstream_tls_t *tls;   /* asked how it ended, where the body ends with the connection; else NULL */
    upstream_result_t why; /* set before a callback aborts the transfer */
    char *target, *method;
} upstream_curl_call_t;

static void upstream_curl_run(upstream_curl_t *u, curl_socket_t fd, int what);

err_t upstream_curl_global_init(void)
{
    return curl_global_init(CURL_GLOBAL_ALL) == CURLE_OK && upstream_tls_global_init() ? ERR_OK : ERR_IO;
}

/* ---- what curl asks of the loop ---- */

static int upstream_curl_on_socket(CURL *easy, curl_socket_t fd, int what, void *data, void *known)
{
    upstream_curl_t *u = data;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(u->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
        return 0;
    }
    struct epoll_event ev = {.events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0),
                             .data.fd = fd};
    /* descriptors are closed and used again behind our back: what is known of one may be of its predecessor */
    if (epoll_ctl(u->epoll_fd, known != NULL ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &ev) != 0)
        epoll_ctl(u->epoll_fd, errno == EEXIST ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &ev);
    curl_multi_assign(u->multi, fd, u);
    return 0;
}

static int upstream_curl_on_timer(CURLM *multi, long ms, void *data)
{
    upstream_curl_t *u = data;
    (void)multi;
    if (ms < 0)
        loop_timer_stop(u->base.loop, &u->timer);
    else
        loop_timer_start(u->base.loop, &u->timer, ms);
    return 0;
}

static void upstream_curl_timer_due(loop_timer_t *t)
{
    upstream_curl_run(CONTAINER_OF(t, upstream_curl_t, timer), CURL_SOCKET_TIMEOUT, 0);
}

/* ---- what curl tells of a transfer ---- */

/* The connection stands and the request goes out now. */
static int upstream_curl_on_ready(void *data, char *ip, char *local_ip, int port, int local_port)
{
    upstream_curl_call_t *c = data;
    (void)ip, (void)local_ip, (void)port, (void)local_port;
    if (c->cancelled)
        return CURL_PREREQFUNC_ABORT;
    loop_timer_start(c->client->base.loop, &c->timer, c->first_byte_timeout);
    return CURL_PREREQFUNC_OK;
}

/* As long as the request moves, nobody waits for the answer yet. */
static int upstream_curl_on_progress(void *data, curl_off_t down_all, curl_off_t down, curl_off_t up_all, curl_off_t up)
{
    upstream_curl_call_t *c = data;
    (void)down_all, (void)down, (void)up_all;
    if (!c->cancelled && !c->had_head && up > c->uploaded) {
        c->uploaded = up;
        loop_timer_start(c->client->base.loop, &c->timer, c->first_byte_timeout);
    }
    return 0;
}

static size_t upstream_curl_on_header(char *p, size_t size, size_t n, void *data)
{
    upstream_curl_call_t *c = data;
    n *= size;
    if (c->cancelled)
        return 0;
    if (c->had_head)
        return n; /* trailers: dropped (RFC 9110 6.5.1 lets us) */
    c->active = c->client->base.loop->now.boot;
    switch (head_line(&c->head, span_of(p, n))) {
    case HEAD_MORE:
        return n;
    case HEAD_INFORMATIONAL:
        if (c->events->informational != NULL)
            c->events->informational(c->arg, c->head.status, &c->head.fields);
        return c->cancelled ? 0 : n;
    case HEAD_FINAL:
        c->had_head = true;
        if (!c->head.chunked && c->head.content_length < 0)
            c->tls = upstream_tls_of(c->job.easy);
        loop_timer_start(c->client->base.loop, &c->timer, c->idle_timeout);
        c->events->head(c->arg, c->head.status, &c->head.fields, c->head.content_length);
        return c->cancelled ? 0 : n;
    case HEAD_BAD:
        c->why = UPSTREAM_MALFORMED;
        return 0;
    case HEAD_OVER:
        c->why = UPSTREAM_HEAD_TOO_BIG;
        return 0;
    }
    return 0;
}

static size_t upstream_curl_on_body(char *p, size_t size, size_t n, void *data)
{
    upstream_curl_call_t *c = data;
    n *= size;
    if (c->cancelled)
        return CURL_WRITEFUNC_ERROR;
    if (!c->had_head) { /* HTTP/0.9 or the like */
        c->why = UPSTREAM_MALFORMED;
        return CURL_WRITEFUNC_ERROR;
    }
    c->active = c->client->base.loop->now.boot;
    bool taken = c->events->body(c->arg, span_of(p, n));
    if (c->cancelled)
        return CURL_WRITEFUNC_ERROR;
    c->paused = !taken;
    return taken ? n : CURL_WRITEFUNC_PAUSE;
}

void upstream_curl_easy_back(upstream_curl_t *u, upstream_job_t *j)
{
    curl_multi_remove_handle(u->multi, j->easy);
    curl_easy_cleanup(j->easy);
    curl_slist_free_all(j->addresses);
    free(j->url);
    j->easy = NULL;
    j->addresses = NULL;
    j->url = NULL;
}

static void upstream_curl_free_call(upstream_curl_call_t *c)
{
    upstream_curl_t *u = c->client;
    loop_timer_stop(u->base.loop, &c->timer);
    list_remove(&c->job.link);
    upstream_curl_easy_back(u, &c->job);
    curl_slist_free_all(c->lines);
    head_release(&c->head);
    upstream_tls_unref(c->tls);
    free(c->target);
    free(c->method);
    free(c);
}

static void upstream_curl_finish(upstream_curl_call_t *c, upstream_result_t result)
{
    const upstream_events_t *events = c->events;
    void *arg = c->arg;
    upstream_curl_free_call(c);
    events->done(arg, result);
}

static bool upstream_curl_was_cut(const upstream_curl_call_t *c)
{
    bool bodiless = c->bodiless || c->head.status == 204 || c->head.status == 304;
    return c->tls != NULL && !bodiless && !upstream_tls_ended(c->tls);
}

upstream_result_t upstream_curl_connected(CURLcode code)
{
    switch (code) {
    case CURLE_OK:
        return UPSTREAM_OK;
    case CURLE_COULDNT_RESOLVE_HOST:
        return UPSTREAM_DNS;
    case CURLE_COULDNT_CONNECT:
    case CURLE_URL_MALFORMAT:
        return UPSTREAM_REFUSED;
    case CURLE_OPERATION_TIMEDOUT:
        return UPSTREAM_CONNECT_TIMEOUT;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CERTPROBLEM: /* our own, for clients */
        return UPSTREAM_TLS;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
        return UPSTREAM_TLS_CERTIFICATE;
    default:
        return UPSTREAM_CLOSED;
    }
}

static upstream_result_t upstream_curl_result(const upstream_curl_call_t *c, CURLcode code)
{
    if (c->why != UPSTREAM_OK)
        return c->why;
    switch (code) {
    case CURLE_OK:
        return !c->had_head ? UPSTREAM_CLOSED : upstream_curl_was_cut(c) ? UPSTREAM_CUT : UPSTREAM_OK;
    case CURLE_OPERATION_TIMEDOUT: /* our own timers run on c->timer */
        if (c->total_timeout > 0 && c->client->base.loop->now.boot - c->began >= c->total_timeout)
            return UPSTREAM_TOTAL_TIMEOUT;
        return c->had_head ? UPSTREAM_IDLE_TIMEOUT : UPSTREAM_CONNECT_TIMEOUT;
    case CURLE_OUT_OF_MEMORY: /* what curl says of a header line over its own limit */
        return c->had_head ? UPSTREAM_CUT : UPSTREAM_HEAD_TOO_BIG;
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_BAD_CONTENT_ENCODING:
        return UPSTREAM_MALFORMED;
    case CURLE_PARTIAL_FILE:
        return UPSTREAM_CUT;
    default:
        return c->had_head ? UPSTREAM_CUT : upstream_curl_connected(code);
    }
}

static void upstream_curl_over(upstream_job_t *j, CURLcode code)
{
    upstream_curl_call_t *c = CONTAINER_OF(j, upstream_curl_call_t, job);
    if (c->cancelled)
        upstream_curl_free_call(c);
    else
        upstream_curl_finish(c, upstream_curl_result(c, code));
}

static void upstream_curl_stop(upstream_job_t *j)
{
    upstream_curl_finish(CONTAINER_OF(j, upstream_curl_call_t, job), UPSTREAM_ABANDONED);
}

static void upstream_curl_reap(upstream_curl_t *u)
{
    CURLMsg *m;
    int left;
    while ((m = curl_multi_info_read(u->multi, &left)) != NULL) {
        if (m->msg != CURLMSG_DONE)
            continue;
        upstream_job_t *j = NULL;
        CURLcode code = m->data.result;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&j);
        j->over(j, code);
    }
}

static void upstream_curl_bury(upstream_curl_t *u)
{
    while (!list_empty(&u->dead))
        upstream_curl_free_call(LIST_ITEM(u->dead.next, upstream_curl_call_t, job.link));
}

/* The one way into curl: events may cancel calls, which are freed when curl is off the stack. */
static void upstream_curl_run(upstream_curl_t *u, curl_socket_t fd, int what)
{
    int running;
    u->depth++;
    curl_multi_socket_action(u->multi, fd, what, &running);
    u->depth--;
    if (u->depth > 0)
        return;
    upstream_curl_reap(u);
    upstream_curl_bury(u);
}

void upstream_curl_ready(void *arg)
{
    upstream_curl_t *u = arg;
    struct epoll_event ev[64];
    int n = epoll_wait(u->epoll_fd, ev, 64, 0);
    for (int i = 0; i < n; i++)
        upstream_curl_run(u, ev[i].data.fd,
                          (ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) ? CURL_CSELECT_IN : 0) |
                              (ev[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0));
}

static void upstream_curl_kick_soon(upstream_curl_t *u)
{
    if (u->kicked)
        return;
    u->kicked = true;
    loop_post(u->base.loop, &u->kick);
}

/* A crowd of requests is sent over several turns of the loop: curl looks through all of its connections for each. */
static void upstream_curl_kick(loop_message_t *m)
{
    upstream_curl_t *u = CONTAINER_OF(m, upstream_curl_t, kick);
    u->kicked = false;
    if (u->closed) {
        free(u);
        return;
    }
    list_t *node;
    for (int i = 0; i < UPSTREAM_CURL_BATCH && (node = list_pop_front(&u->pending)) != NULL; i++) {
        list_push_back(&u->calls, node);
        CHECK(curl_multi_add_handle(u->multi, LIST_ITEM(node, upstream_job_t, link)->easy) == CURLM_OK);
    }
    if (!list_empty(&u->pending))
        upstream_curl_kick_soon(u);
    upstream_curl_run(u, CURL_SOCKET_TIMEOUT, 0);
}

void upstream_curl_submit(upstream_curl_t *u, upstream_job_t *j)
{
    list_remove(&j->link);
    list_push_back(&u->pending, &j->link);
    upstream_curl_kick_soon(u);
}

static void upstream_curl_begin(upstream_curl_call_t *c)
{
    upstream_curl_t *u = c->client;
    c->delayed = false;
    c->began = u->base.loop->now.boot;
    /* curl watches the connecting; this is for the case that it doesn't come to an end */
    loop_timer_start(u->base.loop, &c->timer, c->connect_timeout + c->first_byte_timeout);
    upstream_curl_submit(u, &c->job);
}

static void upstream_curl_timeout(loop_timer_t *t)
{
    upstream_curl_call_t *c = CONTAINER_OF(t, upstream_curl_call_t, timer);
    loop_t *loop = c->client->base.loop;
    if (c->delayed) {
        upstream_curl_begin(c);
        return;
    }
    if (c->had_head) {
        msec_t quiet = loop->now.boot - c->active;
        if (c->paused || quiet < c->idle_timeout) { /* it is we who are slow, or bytes came meanwhile */
            loop_timer_start(loop, t, c->paused ? c->idle_timeout : c->idle_timeout - quiet);
            return;
        }
    }
    upstream_curl_finish(c, c->had_head ? UPSTREAM_IDLE_TIMEOUT : UPSTREAM_FIRST_BYTE_TIMEOUT);
}

/* ---- a call ---- */

static void upstream_curl_line(upstream_curl_call_t *c, span_t name, span_t value)
{
    /* curl's own form for a field with an empty value ends in a semicolon */
    char *line = mem_alloc(name.n + value.n + 4);
    if (value.n > 0)
        snprintf(line, name.n + value.n + 4, "%.*s: %.*s", SPAN_ARG(name), SPAN_ARG(value));
    else
        snprintf(line, name.n + value.n + 4, "%.*s;", SPAN_ARG(name));
    struct curl_slist *more = curl_slist_append(c->lines, line);
    CHECK(more != NULL);
    c->lines = more;
    free(line);
}

static void upstream_curl_suppress(upstream_curl_call_t *c, const fields_t *f, span_t name)
{
    if (fields_has(f, name))
        return;
    char line[64];
    snprintf(line, sizeof line, "%.*s:", SPAN_ARG(name));
    struct curl_slist *more = curl_slist_append(c->lines, line);
    CHECK(more != NULL);
    c->lines = more;
}

/* The addresses that are known already: curl then asks nobody. Without them it asks in a thread of its own. */
static void upstream_curl_resolve(upstream_curl_t *u, const upstream_target_t *to, upstream_job_t *j)
{
    char addresses[RESOLVE_TEXT], line[RESOLVE_TEXT + 300];
    if (u->resolve == NULL || to->unix_path.p != NULL || resolve_get(u->resolve, to->host, addresses) == 0)
        return;
    snprintf(line, sizeof line, "%.*s:%u:%s", SPAN_ARG(to->host), to->port, addresses);
    j->addresses = curl_slist_append(NULL, line);
    CHECK(j->addresses != NULL);
    curl_easy_setopt(j->easy, CURLOPT_RESOLVE, j->addresses);
    curl_easy_setopt(j->easy, CURLOPT_MAXLIFETIME_CONN, (long)UPSTREAM_CURL_LIFETIME);
}

CURL *upstream_curl_easy(upstream_curl_t *u, const upstream_target_t *to, upstream_job_t *j)
{
    /* Never one that was used before: libcurl until 8.1.0 remembers the last field of a handle's last answer after it
     * was freed, and an answer that begins with whitespace is appended to it. */
    CURL *e = j->easy = curl_easy_init();
    CHECK(e != NULL);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_PROXY, "");
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    bool v6 = to->host.n > 0 && memchr(to->host.p, ':', to->host.n) != NULL;
    size_t n = to->host.n + 32;
    j->url = mem_alloc(n);
    int len = snprintf(j->url, n, "%s://%s%.*s%s", to->https ? "https" : "http", v6 ? "[" : "", SPAN_ARG(to->host),
                       v6 ? "]" : "");
    if (to->port != 0)
        snprintf(j->url + len, n - (size_t)len, ":%u/", to->port);
    curl_easy_setopt(e, CURLOPT_URL, j->url);
    upstream_curl_resolve(u, to, j);
    if (to->unix_path.p != NULL)
        curl_easy_setopt(e, CURLOPT_UNIX_SOCKET_PATH, to->unix_path.p);
    if (to->https) {
        curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 1L);
        curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 2L);
        curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
        curl_easy_setopt(e, CURLOPT_CAPATH, UPSTREAM_CURL_SYSTEM_CA);
        curl_easy_setopt(e, CURLOPT_SSL_CTX_FUNCTION, upstream_tls_on_context);
        if (to->ca.p != NULL)
            curl_easy_setopt(e, CURLOPT_CAINFO, to->ca.p);
        if (to->certificate.p != NULL) {
            curl_easy_setopt(e, CURLOPT_SSLCERT, to->certificate.p);
            curl_easy_setopt(e, CURLOPT_SSLKEY, to->key.p);
        }
        curl_easy_setopt(e, CURLOPT_SHARE, u->share);
    }
    return e;
}

static void upstream_curl_message(upstream_curl_call_t *c, const upstream_request_t *r)
{
    CURL *e = c->job.easy;
    for (size_t i = 0; i < r->fields->n; i++)
        upstream_curl_line(c, r->fields->v[i].name, r->fields->v[i].value);
    upstream_curl_suppress(c, r->fields, SPAN("accept"));
    upstream_curl_suppress(c, r->fields, SPAN("user-agent"));
    upstream_curl_suppress(c, r->fields, SPAN("expect"));
    c->target = mem_dup(r->target.p, r->target.n);
    c->method = mem_dup(r->method.p, r->method.n);
    curl_easy_setopt(e, CURLOPT_REQUEST_TARGET, c->target);
    if (r->head) {
        curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
    } else if (r->has_body) {
        upstream_curl_suppress(c, r->fields, SPAN("content-type"));
        curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body.n);
        curl_easy_setopt(e, CURLOPT_POSTFIELDS, r->body.n > 0 ? r->body.p : "");
    }
    curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, c->method);
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, c->lines);
}

static upstream_call_t *upstream_curl_start(upstream_t *base, const upstream_request_t *r,
                                            const upstream_events_t *events, void *arg)
{
    upstream_curl_t *u = (upstream_curl_t *)base;
    upstream_curl_call_t *c = mem_zalloc(sizeof *c);
    c->base.client = base;
    c->job.over = upstream_curl_over;
    c->job.stop = upstream_curl_stop;
    c->client = u;
    c->events = events;
    c->arg = arg;
    c->connect_timeout = r->connect_timeout;
    c->idle_timeout = r->idle_timeout;
    c->bodiless = r->head;
    c->first_byte_timeout = r->first_byte_timeout;
    c->timer.run = upstream_curl_timeout;
    head_init(&c->head);
    CURL *e = c->job.easy = upstream_curl_easy(u, &r->to, &c->job);
    curl_easy_setopt(e, CURLOPT_PRIVATE, &c->job);
    curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_HTTP_CONTENT_DECODING, 0L);
    curl_easy_setopt(e, CURLOPT_BUFFERSIZE, (long)UPSTREAM_CURL_BUFFER);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)r->connect_timeout);
    c->total_timeout = r->total_timeout == MSEC_NEVER ? 0 : r->total_timeout;
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)c->total_timeout);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, upstream_curl_on_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, c);
    curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, upstream_curl_on_ready);
    curl_easy_setopt(e, CURLOPT_PREREQDATA, c);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, upstream_curl_on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, c);
    upstream_curl_message(c, r);
    if (r->has_body && r->body.n > 0) {
        /* a server that answers without having read it may take it for the next request */
        curl_easy_setopt(e, CURLOPT_FORBID_REUSE, 1L);
        curl_easy_setopt(e, CURLOPT_XFERINFOFUNCTION, upstream_curl_on_progress);
        curl_easy_setopt(e, CURLOPT_XFERINFODATA, c);
        curl_easy_setopt(e, CURLOPT_NOPROGRESS, 0L);
    }
    if (r->once) /* libcurl sends again by itself when a kept connection turns out to be closed */
        curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L);
    list_init(&c->job.link);
    if (r->delay > 0) {
        c->delayed = true;
        list_push_back(&u->calls, &c->job.link);
        loop_timer_start(base->loop, &c->timer, r->delay);
    } else {
        upstream_curl_begin(c);
    }
    return &c->base;
}

static void upstream_curl_resume(upstream_call_t *call)
{
    upstream_curl_call_t *c = CONTAINER_OF(call, upstream_curl_call_t, base);
    upstream_curl_t *u = c->client;
    if (!c->paused || c->cancelled)
        return;
    c->paused = false;
    c->active = u->base.loop->now.boot;
    u->depth++;
    curl_easy_pause(c->job.easy, CURLPAUSE_CONT); /* may tell of bytes at once */
    if (--u->depth == 0)
        upstream_curl_bury(u);
    upstream_curl_kick_soon(u); /* an error in there is only found by running curl */
}

static void upstream_curl_cancel(upstream_call_t *call)
{
    upstream_curl_call_t *c = CONTAINER_OF(call, upstream_curl_call_t, base);
    upstream_curl_t *u = c->client;
    if (u->depth == 0) {
        upstream_curl_free_call(c);
        return;
    }
    c->cancelled = true;
    list_remove(&c->job.link);
    list_push_back(&u->dead, &c->job.link);
}

static const upstream_ops_t upstream_curl_ops = {
    .start = upstream_curl_start,
    .resume = upstream_curl_resume,
    .cancel = upstream_curl_cancel,
};

upstream_t *upstream_curl_new(loop_t *loop)
{
    upstream_curl_t *u = mem_zalloc(sizeof *u);
    u->base = (upstream_t){.ops = &upstream_curl_ops, .loop = loop};
    u->timer.run = upstream_curl_timer_due;
    u->kick.run = upstream_curl_kick;
    list_init(&u->pending);
    list_init(&u->calls);
    list_init(&u->dead);
    u->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    u->multi = curl_multi_init();
    u->share = curl_share_init();
    if (u->epoll_fd < 0 || u->multi == NULL || u->share == NULL ||
        curl_share_setopt(u->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION) != CURLSHE_OK) {
        log_error("can't make an upstream client: out of descriptors or memory");
        upstream_curl_free(&u->base);
        return NULL;
    }
    curl_multi_setopt(u->multi, CURLMOPT_SOCKETFUNCTION, upstream_curl_on_socket);
    curl_multi_setopt(u->multi, CURLMOPT_SOCKETDATA, u);
    curl_multi_setopt(u->multi, CURLMOPT_TIMERFUNCTION, upstream_curl_on_timer);
    curl_multi_setopt(u->multi, CURLMOPT_TIMERDATA, u);
    curl_multi_setopt(u->multi, CURLMOPT_MAXCONNECTS, (long)UPSTREAM_CURL_POOL);
    return &u->base;
}

void upstream_curl_free(upstream_t *base)
{
    upstream_curl_t *u = (upstream_curl_t *)base;
    list_t *running[] = {&u->pending, &u->calls};
    for (size_t i = 0; i < 2; i++)
        while (!list_empty(running[i])) {
            upstream_job_t *j = LIST_ITEM(running[i]->next, upstream_job_t, link);
            j->stop(j);
        }
    upstream_curl_bury(u);
    loop_timer_stop(base->loop, &u->timer);
    if (u->multi != NULL)
        curl_multi_cleanup(u->multi);
    if (u->share != NULL)
        curl_share_cleanup(u->share);
    if (u->epoll_fd >= 0)
        close(u->epoll_fd);
    u->closed = true;
    if (!u->kicked)
        free(u);
}

void upstream_curl_resolve_by(upstream_t *u, struct resolve *r)
{
    ((upstream_curl_t *)u)->resolve = r;
}

int upstream_curl_fd(const upstream_t *u)
{
    return ((const upstream_curl_t *)u)->epoll_fd;
}
