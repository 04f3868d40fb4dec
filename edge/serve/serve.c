/* What all workers share: opened once, in the order certificates (nothing is touched when one is bad), then sockets. */
#include "edge/serve/serve.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "edge/base/mem.h"
#include "edge/serve/serve_priv.h"

void serve_limits_default(serve_limits_t *l)
{
    *l = (serve_limits_t){
        .handshake_timeout = 10 * MSEC_PER_SEC,
        .header_timeout = 10 * MSEC_PER_SEC,
        .body_timeout = 30 * MSEC_PER_SEC,
        .body_rate = 512,
        .idle_timeout = 60 * MSEC_PER_SEC,
        .write_timeout = 30 * MSEC_PER_SEC,
        .write_rate = 256,
        .connections = 10000,
        .connections_per_address = 5000,
        .header_bytes = FIELDS_MAX_BYTES,
        .header_count = 84,
        .target_bytes = 16 * 1024,
        .max_body = 8 * 1024 * 1024,
        .body_bytes = 256 * 1024 * 1024,
        .head_bytes = 256 * 1024 * 1024,
        .flood_budget = 200,
        .reset_budget = 200,
        .continuations = 8,
    };
}

static err_t serve_load_certificates(const serve_shared_t *s, const serve_options_t *o, const serve_listen_t *from,
                                     tls_set_t **out, char *err, size_t err_size)
{
    *out = NULL;
    if (from->certificate_count == 0)
        return ERR_OK;
    span_t secret = o->ticket_secret.p != NULL ? o->ticket_secret : span_of(s->secret, sizeof s->secret);
    return tls_load(from, secret, out, err, err_size);
}

err_t serve_check(const serve_options_t *o, char *err, size_t err_size)
{
    static const serve_shared_t none = {.secret = {0}};
    err_t e = ERR_OK;
    for (size_t i = 0; i < o->listen_count && e == ERR_OK; i++) {
        tls_set_t *set;
        e = serve_load_certificates(&none, o, &o->listens[i], &set, err, err_size);
        tls_unref(set);
    }
    return e;
}

static err_t serve_open_listener(const serve_shared_t *s, const serve_options_t *o, serve_listener_t *l,
                                 const serve_listen_t *from, char *err, size_t err_size)
{
    size_t n = strlen(from->address);
    if (n >= sizeof l->address) {
        snprintf(err, err_size, "address %.40s… is longer than %zu bytes", from->address, sizeof l->address - 1);
        return ERR_SYNTAX;
    }
    memcpy(l->address, from->address, n + 1);
    l->id = from->id;
    l->proxy_protocol = from->proxy_protocol;
    if (from->proxy_from_n > 0)
        l->proxy_from =
            (network_t *)(void *)mem_dup((const char *)from->proxy_from, from->proxy_from_n * sizeof *from->proxy_from);
    l->proxy_from_n = from->proxy_from_n;
    l->secure = from->certificate_count > 0;
    return serve_load_certificates(s, o, from, &l->tls, err, err_size);
}

err_t serve_open(const serve_options_t *o, serve_shared_t **out, char *err, size_t err_size)
{
    CHECK(o->workers > 0);
    signal(SIGPIPE, SIG_IGN); /* the library writes with writev(2) */
    /* Large request bodies stay in memory, within limits.body_bytes; the library would map files in /tmp. */
    h2o_socket_buffer_mmap_settings.threshold = SIZE_MAX;
    /* Over HTTP/2 the library would drop Host unseen; exchange_request.c compares it with :authority, or takes it. */
    H2O_TOKEN_HOST->http2_should_reject = 0;
    serve_shared_t *s = mem_zalloc(sizeof *s);
    s->limits = o->limits;
    for (size_t i = 0; i < sizeof s->secret; i++) /* no line break: it is one line */
        s->secret[i] = (char)('0' + arc4random_uniform(64));
    s->workers = o->workers;
    s->addresses = address_count_new(o->limits.connections * o->workers, (uint64_t)arc4random() << 32 | arc4random());
    s->count = o->listen_count;
    s->listeners = mem_zalloc((s->count > 0 ? s->count : 1) * sizeof *s->listeners);
    err_t e = ERR_OK;
    for (size_t i = 0; i < s->count; i++) {
        serve_listener_t *l = &s->listeners[i];
        pthread_mutex_init(&l->mutex, NULL);
        l->fds = mem_alloc(o->workers * sizeof *l->fds);
        for (unsigned k = 0; k < o->workers; k++)
            l->fds[k] = -1;
    }
    for (size_t i = 0; i < s->count && e == ERR_OK; i++)
        e = serve_open_listener(s, o, &s->listeners[i], &o->listens[i], err, err_size);
    for (size_t i = 0; i < s->count && e == ERR_OK; i++)
        e = listener_bind(&s->listeners[i], o->workers, o, err, err_size);
    for (size_t k = 0; k < o->inherited_count; k++) {
        bool used = false;
        for (size_t i = 0; i < s->count; i++)
            for (unsigned w = 0; w < s->workers; w++)
                used |= s->listeners[i].fds[w] == o->inherited[k].fd;
        if (!used)
            close(o->inherited[k].fd);
    }
    if (e != ERR_OK) {
        s->keep_sockets = e == ERR_EXISTS; /* the file of a unix socket is the other program's */
        serve_close(s);
        return e;
    }
    *out = s;
    return ERR_OK;
}

void serve_close(serve_shared_t *s)
{
    for (size_t i = 0; i < s->count; i++) {
        serve_listener_t *l = &s->listeners[i];
        listener_close(l, s->workers, !s->keep_sockets);
        tls_unref(l->tls);
        pthread_mutex_destroy(&l->mutex);
        free(l->proxy_from);
        free(l->fds);
    }
    explicit_bzero(s->secret, sizeof s->secret);
    address_count_free(s->addresses);
    free(s->listeners);
    free(s);
}

static const serve_listen_t *serve_listen_of(const serve_listener_t *l, const serve_listen_t *listens, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(listens[i].address, l->address) == 0 && (listens[i].certificate_count > 0) == l->secure)
            return &listens[i];
    return NULL;
}

err_t serve_reload_certificates(serve_shared_t *s, const serve_options_t *o, char *err, size_t err_size)
{
    tls_set_t **fresh = mem_zalloc((s->count > 0 ? s->count : 1) * sizeof *fresh);
    err_t e = ERR_OK;
    for (size_t i = 0; i < s->count && e == ERR_OK; i++) {
        serve_listener_t *l = &s->listeners[i];
        const serve_listen_t *from = serve_listen_of(l, o->listens, o->listen_count);
        if (from != NULL && l->secure) /* this thread is the only one that replaces l->tls */
            e = serve_load_certificates(s, o, from, &fresh[i], err, err_size);
    }
    for (size_t i = 0; i < s->count; i++) {
        serve_listener_t *l = &s->listeners[i];
        tls_set_t *old = fresh[i];
        if (e == ERR_OK && old != NULL) {
            pthread_mutex_lock(&l->mutex);
            old = l->tls;
            l->tls = fresh[i];
            pthread_mutex_unlock(&l->mutex);
        }
        tls_unref(old);
    }
    free(fresh);
    return e;
}

int serve_port(const serve_shared_t *s, size_t listen)
{
    return s->listeners[listen].port;
}

bool serve_socket_at(const serve_shared_t *s, size_t i, serve_inherited_t *out)
{
    if (i >= s->count * s->workers)
        return false;
    const serve_listener_t *l = &s->listeners[i / s->workers];
    unsigned worker = (unsigned)(i % s->workers);
    *out = (serve_inherited_t){l->address, worker, l->fds[worker]};
    return true;
}

void serve_keep_sockets(serve_shared_t *s)
{
    s->keep_sockets = true;
}

const char *serve_protocol_name(serve_protocol_t p)
{
    static const char *const names[SERVE_PROTOCOLS] = {"new", "h1", "h1s", "h2c", "h2"};
    return names[p];
}

const char *serve_flood_name(serve_flood_t f)
{
    static const char *const names[SERVE_FLOODS] = {[SERVE_FLOOD_RESET] = "reset",
                                                    [SERVE_FLOOD_STREAM_ERROR] = "stream_error",
                                                    [SERVE_FLOOD_PING] = "ping",
                                                    [SERVE_FLOOD_SETTINGS] = "settings",
                                                    [SERVE_FLOOD_PRIORITY] = "priority",
                                                    [SERVE_FLOOD_WINDOW_UPDATE] = "window_update",
                                                    [SERVE_FLOOD_EMPTY_DATA] = "empty_data",
                                                    [SERVE_FLOOD_CONTINUATION] = "continuation",
                                                    [SERVE_FLOOD_UNKNOWN] = "unknown_frame",
                                                    [SERVE_FLOOD_HEADERS] = "headers",
                                                    [SERVE_FLOOD_BODY] = "body"};
    return names[f];
}

const char *serve_reap_name(serve_reap_t r)
{
    static const char *const names[SERVE_REAPS] = {"handshake", "header", "body", "idle", "write"};
    return names[r];
}
