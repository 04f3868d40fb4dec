/* A server for tests of edge/serve alone: what a request is answered is in its path.
 *   /b/N        N bytes with Content-Length, in one send
 *   /p/N/K      the same in pieces of K bytes, each after on_writable
 *   /c/N/K      N bytes of unknown length in pieces of K
 *   /echo       the request as it arrived, as text
 *   /hold       no answer until the client leaves
 *   /abort/N    a head that promises 2 N bytes, N of them, then cut; /cabort/N the same without a length
 *   /status/S   status S with an empty body;  /hints  103, then 200
 *   /stats      counters;  /reload  certificates;  /drain  drains and exits
 * usage: serve_probe [-u] [-s SNDBUF] [-w WORKERS] [-t SHORT_MS] [-p] [-b MAX_BODY] [-n MAX_CONNS] [-c CERT,KEY]…
 * ADDRESS… An ADDRESS that begins with "tls:" gets the certificates. Prints "ports P…" when it listens. -u: without the
 * HTTP/2 guard. -t: all timeouts. -p: PROXY protocol on all listeners. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "edge/base/clock.h"
#include "edge/base/mem.h"
#include "edge/serve/serve.h"

typedef struct probe_worker {
    pthread_t thread;
    loop_t loop;
    serve_worker_t *w;
    unsigned index;
} probe_worker_t;

typedef struct probe {
    exchange_t *x;
    size_t left, piece;
    bool abort;
} probe_t;

static serve_shared_t *shared;
static serve_listen_t listens[16];
static size_t listen_count;
static probe_worker_t *workers;
static unsigned worker_count = 1;
static atomic_bool draining;
static atomic_uint gone;
static char pattern[1 << 20];

static void probe_push(probe_t *p)
{
    size_t some = p->left < p->piece ? p->left : p->piece;
    some = some < sizeof pattern ? some : sizeof pattern;
    struct iovec v = {pattern, some};
    p->left -= some;
    if (p->left == 0 && p->abort) {
        if (some == 0)
            p->x->ops->send(p->x, NULL, 0, EXCHANGE_ABORT);
        else
            p->x->ops->send(p->x, &v, 1, EXCHANGE_MORE);
        return;
    }
    p->x->ops->send(p->x, &v, 1, p->left == 0 ? EXCHANGE_FINAL : EXCHANGE_MORE);
}

static void probe_writable(exchange_t *x)
{
    probe_push(x->path);
}

static void probe_gone(exchange_t *x)
{
    (void)x;
    atomic_fetch_add(&gone, 1);
}

static void probe_text(exchange_t *x, int status, span_t text)
{
    fields_t *f = arena_alloc(x->arena, sizeof *f);
    fields_init(f, x->arena);
    fields_add(f, SPAN("content-type"), SPAN("text/plain"));
    fields_add(f, SPAN("date"), SPAN("Sun, 06 Nov 1994 08:49:37 GMT"));
    fields_add(f, SPAN("set-cookie"), SPAN("a=b"));
    fields_add(f, SPAN("x-probe"), SPAN("yes"));
    struct iovec v = {(void *)text.p, text.n};
    x->ops->head(x, status, f, (int64_t)text.n);
    x->ops->send(x, &v, 1, EXCHANGE_FINAL);
}

static void probe_echo(exchange_t *x, int listener)
{
    size_t cap = 1 << 20, n = 0;
    char *b = arena_alloc(x->arena, cap);
    n += (size_t)snprintf(
        b + n, cap - n,
        "listener=%d protocol=%d scheme=%.*s method=%.*s authority=%.*s target=%.*s peer=%.*s body=%zu\n", listener,
        x->protocol, SPAN_ARG(x->scheme), SPAN_ARG(x->method_name), SPAN_ARG(x->authority), SPAN_ARG(x->target),
        SPAN_ARG(x->peer), x->body.n);
    for (size_t i = 0; i < x->fields.n && n < cap / 2; i++)
        n += (size_t)snprintf(b + n, cap - n, "[%.*s]=[%.*s]\n", SPAN_ARG(x->fields.v[i].name),
                              (int)(x->fields.v[i].value.n < 4000 ? x->fields.v[i].value.n : 4000),
                              x->fields.v[i].value.p);
    if (x->body.n > 0 && x->body.n < 4096)
        n += (size_t)snprintf(b + n, cap - n, "body:%.*s\n", SPAN_ARG(x->body));
    probe_text(x, 200, span_of(b, n));
}

static void probe_stats(exchange_t *x)
{
    size_t cap = 8192, n = 0;
    char *b = arena_alloc(x->arena, cap);
    serve_stats_t sum = {0};
    for (unsigned i = 0; i < worker_count; i++) {
        serve_stats_t s;
        serve_worker_stats(workers[i].w, &s);
        for (size_t k = 0; k < sizeof s / sizeof(uint64_t); k++)
            ((uint64_t *)&sum)[k] += ((uint64_t *)&s)[k];
    }
    for (int i = 0; i < SERVE_PROTOCOLS; i++)
        n += (size_t)snprintf(b + n, cap - n, "open.%s %lu\naccepted.%s %lu\n", serve_protocol_name(i), sum.open[i],
                              serve_protocol_name(i), sum.accepted[i]);
    for (int i = 0; i < SERVE_FLOODS; i++)
        n += (size_t)snprintf(b + n, cap - n, "flood.%s %lu\n", serve_flood_name(i), sum.floods[i]);
    for (int i = 0; i < SERVE_REAPS; i++)
        n += (size_t)snprintf(b + n, cap - n, "reap.%s %lu\n", serve_reap_name(i), sum.reaped[i]);
    n += (size_t)snprintf(
        b + n, cap - n,
        "requests %lu\nrefused %lu\nbytes_in %lu\nbytes_out %lu\nhandshakes_failed %lu\nover_limit %lu\ngone %u\n",
        sum.requests, sum.refused, sum.bytes_in, sum.bytes_out, sum.handshakes_failed, sum.over_limit,
        atomic_load(&gone));
    probe_text(x, 200, span_of(b, n));
}

static void probe_body(exchange_t *x, size_t bytes, size_t piece, bool known, bool abort)
{
    probe_t *p = arena_zalloc(x->arena, sizeof *p);
    *p = (probe_t){x, bytes, piece, abort};
    x->path = p;
    fields_t *f = arena_alloc(x->arena, sizeof *f);
    fields_init(f, x->arena);
    fields_add(f, SPAN("content-type"), SPAN("application/octet-stream"));
    x->ops->head(x, 200, f, known ? (int64_t)(abort ? 2 * bytes : bytes) : -1);
    probe_push(p);
}

static void probe_on_request(exchange_t *x, int listener, void *ctx)
{
    (void)ctx;
    char target[256];
    snprintf(target, sizeof target, "%.*s", SPAN_ARG(x->target));
    size_t n = 0, k = 0;
    int s = 0;
    x->on_gone = probe_gone;
    x->on_writable = probe_writable;
    if (sscanf(target, "/b/%zu", &n) == 1)
        probe_body(x, n, x->ops->send_most, true, false);
    else if (sscanf(target, "/p/%zu/%zu", &n, &k) == 2)
        probe_body(x, n, k, true, false);
    else if (sscanf(target, "/c/%zu/%zu", &n, &k) == 2)
        probe_body(x, n, k, false, false);
    else if (sscanf(target, "/abort/%zu", &n) == 1)
        probe_body(x, n, 65536, true, true);
    else if (sscanf(target, "/cabort/%zu", &n) == 1)
        probe_body(x, n, 65536, false, true);
    else if (sscanf(target, "/status/%d", &s) == 1)
        probe_text(x, s, SPAN_NONE);
    else if (strcmp(target, "/stats") == 0)
        probe_stats(x);
    else if (strcmp(target, "/hold") == 0)
        ;
    else if (strcmp(target, "/hints") == 0) {
        field_t link = {SPAN("link"), SPAN("</a.css>; rel=preload")};
        fields_t f = {&link, 1, 1, NULL};
        x->ops->informational(x, 103, &f);
        probe_text(x, 200, SPAN("hinted"));
    } else if (strcmp(target, "/reload") == 0) {
        char err[SERVE_ERROR_MAX] = "ok";
        serve_reload_certificates(shared, &(serve_options_t){.listens = listens, .listen_count = listen_count}, err,
                                  sizeof err);
        probe_text(x, 200, arena_copy(x->arena, span_str(err)));
    } else if (strcmp(target, "/drain") == 0) {
        atomic_store(&draining, true);
        probe_text(x, 200, SPAN("draining"));
    } else
        probe_echo(x, listener);
}

static void *probe_run(void *arg)
{
    probe_worker_t *p = arg;
    msec_t until = 0;
    while (serve_worker_run_once(p->w, 20) == 0) {
        if (!atomic_load(&draining))
            continue;
        serve_worker_drain(p->w);
        if (until == 0)
            until = p->loop.now.boot + 5000;
        if (serve_worker_connections(p->w) == 0 || p->loop.now.boot > until)
            break;
    }
    serve_worker_stop(p->w);
    loop_release(&p->loop);
    return NULL;
}

static void probe_on_signal(int sig)
{
    (void)sig;
    atomic_store(&draining, true);
}

int main(int argc, char **argv)
{
    static serve_certificate_t certs[8];
    static char cert_text[8][1024];
    serve_options_t o = {.listens = listens};
    serve_limits_default(&o.limits);
    size_t cert_count = 0;
    bool proxy = false;
    for (int c; (c = getopt(argc, argv, "us:w:t:pb:n:c:")) != -1;) {
        switch (c) {
        case 'u':
            o.limits.unguarded = true;
            break;
        case 's':
            o.limits.send_buffer = atoi(optarg);
            break;
        case 'w':
            worker_count = (unsigned)atoi(optarg);
            break;
        case 't':
            o.limits.handshake_timeout = o.limits.header_timeout = o.limits.body_timeout = o.limits.idle_timeout =
                o.limits.write_timeout = atoi(optarg);
            break;
        case 'p':
            proxy = true;
            break;
        case 'b':
            o.limits.max_body = (size_t)atol(optarg);
            break;
        case 'n':
            o.limits.connections = (size_t)atol(optarg);
            break;
        case 'c':
            snprintf(cert_text[cert_count], sizeof cert_text[0], "%s", optarg);
            certs[cert_count].certificate = strtok(cert_text[cert_count], ",");
            certs[cert_count++].key = strtok(NULL, ",");
            break;
        default:
            return 2;
        }
    }
    memset(pattern, 'x', sizeof pattern);
    for (int i = optind; i < argc && listen_count < 16; i++) {
        bool tls = strncmp(argv[i], "tls:", 4) == 0;
        listens[listen_count] = (serve_listen_t){.address = argv[i] + (tls ? 4 : 0),
                                                 .id = (int)listen_count,
                                                 .proxy_protocol = proxy,
                                                 .certificates = certs,
                                                 .certificate_count = tls ? cert_count : 0};
        listen_count++;
    }
    o.listen_count = listen_count;
    o.workers = worker_count;
    char err[SERVE_ERROR_MAX];
    if (serve_open(&o, &shared, err, sizeof err) != ERR_OK) {
        fprintf(stderr, "serve_probe: %s\n", err);
        return 1;
    }
    signal(SIGTERM, probe_on_signal);
    workers = mem_zalloc(worker_count * sizeof *workers);
    for (unsigned i = 0; i < worker_count; i++) {
        workers[i].index = i;
        loop_init(&workers[i].loop, (int)i, true);
        if (serve_worker_start(shared, i, &workers[i].loop, probe_on_request, NULL, &workers[i].w) != ERR_OK)
            return 1;
    }
    for (unsigned i = 0; i < worker_count; i++)
        pthread_create(&workers[i].thread, NULL, probe_run, &workers[i]);
    printf("ports");
    for (size_t i = 0; i < listen_count; i++)
        printf(" %d", serve_port(shared, i));
    printf("\n");
    fflush(stdout);
    for (unsigned i = 0; i < worker_count; i++)
        pthread_join(workers[i].thread, NULL);
    serve_close(shared);
    free(workers);
    printf("gone %u\n", atomic_load(&gone));
    return 0;
}
