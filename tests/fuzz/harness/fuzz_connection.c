/* A whole connection through the real accept path, guards and library: what a client sends, cut into reads as the input
 * says. First byte: 1 = HTTP/2 (the preface is put before), 2 = the client reads nothing until the end, 4 = a tiny send
 * buffer. Then slices: a byte of length, so many bytes; 0 = the client reads what there is. The path decides how a
 * request is answered. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "edge/base/clock.h"
#include "edge/base/hash.h"
#include "edge/serve/serve_priv.h"

static serve_shared_t *shared;
static loop_t loop;
static serve_worker_t *worker;
static char body[100000];
static size_t begun, gone;

static void on_gone(exchange_t *x)
{
    (void)x;
    gone++;
}

static void push(exchange_t *x)
{
    size_t *left = x->path, some = *left < 3000 ? *left : 3000;
    struct iovec v = {body, some};
    *left -= some;
    x->ops->send(x, &v, 1, *left == 0 ? EXCHANGE_FINAL : EXCHANGE_MORE);
}

static void push_and_cut(exchange_t *x)
{
    x->ops->send(x, NULL, 0, EXCHANGE_ABORT);
}

/* A tunnel that says everything again, and ends where it is told to. */
static void echo(exchange_t *x)
{
    bool end;
    span_t in = x->ops->input(x, &end);
    if (x->path == NULL)
        return; /* something is being written, or all is over */
    if (in.n > 0 && in.n < sizeof body) {
        struct iovec v = {body, in.n};
        bool last = in.p[0] == 'E', cut = in.p[0] == 'A';
        x->path = NULL;
        x->ops->take(x, in.n);
        x->ops->send(x, &v, cut ? 0 : 1, cut ? EXCHANGE_ABORT : last ? EXCHANGE_FINAL : EXCHANGE_MORE);
    } else if (end) {
        x->path = NULL;
        x->ops->send(x, NULL, 0, EXCHANGE_FINAL);
    }
}

static void echo_again(exchange_t *x)
{
    x->path = body;
    echo(x);
}

static void on_request(exchange_t *x, int listener, void *ctx)
{
    (void)listener, (void)ctx;
    static const field_t v[] = {{{"content-type", 12}, {"text/plain", 10}}, {{"x-a", 3}, {"b", 1}}};
    fields_t f = {(field_t *)v, 2, 2, NULL};
    struct iovec all = {body, 60000}, piece = {body, 100};
    char kind = x->target.n > 1 ? x->target.p[1] : 0;
    begun++;
    x->on_gone = on_gone;
    /* every view of the request must be readable */
    uint64_t sum = hash_64(x->target, 1) + hash_64(x->authority, 2) + hash_64(x->body, 3) + hash_64(x->method_name, 4);
    for (size_t i = 0; i < x->fields.n; i++)
        sum += hash_64(x->fields.v[i].name, 5) + hash_64(x->fields.v[i].value, 6);
    CHECK(sum != 1);
    switch (kind) {
    case 'b':
        x->ops->head(x, 200, &f, 60000);
        x->ops->send(x, &all, 1, EXCHANGE_FINAL);
        break;
    case 'p':
    case 'c':
        x->path = arena_alloc(x->arena, sizeof(size_t));
        *(size_t *)x->path = 20000;
        x->on_writable = push;
        x->ops->head(x, 206, &f, kind == 'p' ? 20000 : -1);
        push(x);
        break;
    case 'a':
        x->on_writable = push_and_cut;
        x->ops->head(x, 200, &f, 1000);
        x->ops->send(x, &piece, 1, EXCHANGE_MORE);
        break;
    case 'A':
        x->ops->send(x, NULL, 0, EXCHANGE_ABORT);
        break;
    case 'h':
        break;
    case 'u':
        if (x->upgrade.p == NULL)
            break;
        x->path = body;
        x->on_input = echo;
        x->on_writable = echo_again;
        x->ops->informational(x, 103, &f);
        x->ops->head(x, 101,
                     &(fields_t){(field_t[]){{SPAN("upgrade"), x->upgrade}, {SPAN("x-a"), SPAN("b")}}, 2, 2, NULL}, -1);
        break;
    default:
        x->ops->informational(x, 103, &f);
        x->ops->head(x, 404, &f, 100);
        x->ops->send(x, &piece, 1, EXCHANGE_FINAL);
    }
}

/* Hosts of one letter take more than others. */
static uint64_t body_limit(span_t authority, int listener, void *ctx)
{
    (void)listener, (void)ctx;
    return authority.n == 1 ? UINT64_MAX : 50;
}

static void open_once(void)
{
    serve_listen_t l = {.address = "127.0.0.1:0"};
    serve_options_t o = {.listens = &l, .listen_count = 1, .workers = 1};
    char err[SERVE_ERROR_MAX];
    serve_limits_default(&o.limits);
    o.limits.max_body = 10000;
    o.limits.flood_budget = 100000; /* what lies behind the budgets is to be seen */
    o.limits.reset_budget = 100000;
    memset(body, 'x', sizeof body);
    CHECK(serve_open(&o, &shared, err, sizeof err) == ERR_OK);
    CHECK(loop_init(&loop, 0, true) == ERR_OK);
    CHECK(serve_worker_start(shared, 0, &loop, on_request, NULL, &worker) == ERR_OK);
    serve_worker_limit_bodies(worker, body_limit);
}

static void close_at_exit(void)
{
    serve_worker_stop(worker);
    serve_close(shared);
    loop_release(&loop);
}

static void read_all(int fd)
{
    char sink[65536];
    while (recv(fd, sink, sizeof sink, MSG_DONTWAIT) > 0)
        ;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (worker == NULL) {
        open_once();
        atexit(close_at_exit);
    }
    int pair[2], tiny = 4096;
    if (size < 2 || size > 100000 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
        return 0;
    uint8_t mode = *data++;
    size--;
    if (mode & 4)
        setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &tiny, sizeof tiny);
    begun = gone = 0;
    if (mode & 1)
        CHECK(write(pair[1], "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24) == 24);
    accept_adopt(worker, 0, pair[0]);
    while (size > 0) {
        size_t some = *data++;
        size--;
        if (some == 0 && !(mode & 2))
            read_all(pair[1]);
        some = some < size ? some : size;
        if (some > 0 && write(pair[1], data, some) < 0)
            break;
        data += some;
        size -= some;
        serve_worker_run_once(worker, 0);
    }
    for (int i = 0; i < 20; i++) {
        serve_worker_run_once(worker, 0);
        read_all(pair[1]);
    }
    close(pair[1]);
    for (int i = 0; i < 100 && serve_worker_connections(worker) > 0; i++) {
        for (list_t *node = worker->conns.next; node != &worker->conns; node = node->next)
            conn_kill(LIST_ITEM(node, serve_conn_t, link));
        exchange_h2o_abort_all(worker);
        serve_worker_run_once(worker, 0);
    }
    CHECK(serve_worker_connections(worker) == 0);
    CHECK(serve_worker_requests(worker) == 0 && begun == gone);
    return 0;
}
