/* An upstream client from end to end: real sockets, libcurl or nghttp2 or a tunnel, and a server that sends what the
 * input says. First byte: 0, 1, 2 = HTTP/1.1, HTTP/2 (the input is frames), a request for an upgrade; 4 = the reader
 * pauses, 8 = it cancels when the head comes, 16 = HEAD, 32 = two requests at once. Then slices as in fuzz_connection:
 * a byte of length, so many bytes; 0 = the server reads what there is.
 *
 * Whatever comes: each request ends once, a head comes at most once and before any body, and what is said to be whole
 * has the length that its head says. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "edge/base/check.h"
#include "edge/base/clock.h"
#include "edge/base/hash.h"
#include "edge/fetch/upstream_curl.h"
#include "edge/fetch/upstream_h2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FUZZ_CONNECTIONS = 8, FUZZ_TURNS = 400 };

typedef struct told {
    upstream_call_t *call; /* NULL: over */
    bool head, done, cancelled, pauses, cancels, is_head, upgrades, paused;
    int status;
    int64_t length;
    uint64_t n;
} told_t;

static loop_t loop;
static upstream_t *client;
static char folder[] = "/tmp/brink-fuzz-XXXXXX", path[64];
static int listener = -1;

static void on_informational(void *arg, int status, const fields_t *fields)
{
    told_t *t = arg;
    (void)fields;
    CHECK(!t->head && !t->done && status >= 100 && status < 200 && status != 101);
}

static void on_head(void *arg, int status, const fields_t *fields, int64_t length)
{
    told_t *t = arg;
    fieldblock_t *block;
    CHECK(!t->head && !t->done && !t->cancelled && length >= -1);
    CHECK((status >= 200 && status <= 599) || (status == 101 && t->upgrades && fields_has(fields, SPAN("upgrade"))));
    CHECK(fieldblock_pack(fields, &block) == ERR_OK);
    free(block);
    t->head = true;
    t->status = status;
    t->length = t->is_head || status == 204 || status == 304 ? -1 : length;
    if (t->cancels) {
        t->cancelled = true;
        client->ops->cancel(t->call);
        t->call = NULL;
    }
}

static bool on_body(void *arg, span_t bytes)
{
    told_t *t = arg;
    CHECK(t->head && !t->done && !t->cancelled && bytes.n > 0);
    CHECK(hash_64(bytes, 1) != 1); /* every byte is readable */
    if (t->pauses && !t->paused) {
        t->paused = true;
        return false;
    }
    t->paused = false;
    t->n += bytes.n;
    CHECK(t->length < 0 || t->n <= (uint64_t)t->length);
    return true;
}

static void on_done(void *arg, upstream_result_t result)
{
    told_t *t = arg;
    CHECK(!t->done && !t->cancelled);
    t->done = true;
    t->call = NULL;
    CHECK(result != UPSTREAM_OK || (t->head && (t->length < 0 || t->n == (uint64_t)t->length)));
}

static const upstream_events_t events = {
    .informational = on_informational, .head = on_head, .body = on_body, .done = on_done};

static void turn(void)
{
    struct epoll_event ev;
    loop.now = clock_now();
    int epoll = upstream_h2_fd(client);
    if (epoll_wait(epoll, &ev, 1, 0) > 0) /* looks only: level-triggered */
        upstream_h2_ready(client);
    loop_run_messages(&loop);
    loop_run_timers(&loop);
}

static void close_at_exit(void)
{
    upstream_h2_free(client);
    loop_run_messages(&loop);
    loop_release(&loop);
    close(listener);
    unlink(path);
    rmdir(folder);
}

static void open_once(void)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    CHECK(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/s", folder);
    memcpy(sa.sun_path, path, strlen(path) + 1);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    CHECK(listener >= 0 && bind(listener, (struct sockaddr *)&sa, sizeof sa) == 0 && listen(listener, 64) == 0);
    CHECK(upstream_curl_global_init() == ERR_OK && loop_init(&loop, 0, false) == 0);
    loop.now = clock_now();
    client = upstream_h2_new(&loop);
    CHECK(client != NULL);
    atexit(close_at_exit);
}

static void start(told_t *t, uint8_t mode)
{
    static const field_t v[] = {{{"host", 4}, {"a", 1}}, {{"accept", 6}, {"*/*", 3}}};
    fields_t fields = {(field_t *)v, 2, 2, NULL};
    *t = (told_t){
        .pauses = mode & 4, .cancels = mode & 8, .is_head = mode & 16, .upgrades = (mode & 3) == 2, .length = -1};
    upstream_request_t r = {
        .to = {.protocol = (mode & 3) == 1 ? UPSTREAM_H2C : UPSTREAM_HTTP1,
               .host = SPAN("a"),
               .unix_path = span_str(path)},
        .method = t->is_head ? SPAN("HEAD") : SPAN("GET"),
        .target = SPAN("/"),
        .fields = &fields,
        .head = t->is_head,
        .upgrade = t->upgrades ? SPAN("websocket") : SPAN_NONE,
        .connect_timeout = 5000,
        .first_byte_timeout = 5000,
        .idle_timeout = 5000,
    };
    t->call = client->ops->start(client, &r, &events, t);
}

/* The server's ends of all connections so far; the first gets the input, the others nothing but their end. */
static size_t take(int *fds, size_t n, bool over)
{
    for (int fd; n < FUZZ_CONNECTIONS && (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        if (over)
            close(fd);
        else
            fds[n++] = fd;
    }
    return n;
}

static void drink(int fd)
{
    char sink[65536];
    while (recv(fd, sink, sizeof sink, MSG_DONTWAIT) > 0)
        ;
}

static void resume(told_t *t)
{
    if (t->call != NULL && t->paused)
        client->ops->resume(t->call);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (client == NULL)
        open_once();
    if (size < 2 || size > 100000)
        return 0;
    uint8_t mode = *data++;
    told_t told[2] = {0};
    int fds[FUZZ_CONNECTIONS];
    size_t n = 0, count = mode & 32 ? 2 : 1;
    size--;
    for (size_t i = 0; i < count; i++)
        start(&told[i], mode);
    for (int i = 0; i < 50 && n == 0; i++) {
        turn();
        n = take(fds, n, false);
    }
    CHECK(n > 0);
    char first;
    for (int i = 0; i < 50 && recv(fds[0], &first, 1, MSG_PEEK | MSG_DONTWAIT) <= 0; i++)
        turn(); /* no server answers before it is asked */
    while (size > 0) {
        size_t some = *data++;
        size--;
        if (some == 0)
            drink(fds[0]);
        some = some < size ? some : size;
        if (some > 0 && send(fds[0], data, some, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
            break;
        data += some;
        size -= some;
        turn();
        for (size_t i = 0; i < count; i++)
            resume(&told[i]);
        n = take(fds, n, false);
    }
    for (size_t i = 0; i < n; i++) {
        drink(fds[i]);
        shutdown(fds[i], SHUT_WR);
    }
    bool over = false;
    for (int i = 0; i < FUZZ_TURNS && !over; i++) { /* what is sent again finds nobody to answer it */
        turn();
        take(fds, 0, true);
        over = true;
        for (size_t k = 0; k < count; k++) {
            resume(&told[k]);
            over &= told[k].call == NULL;
        }
    }
    for (size_t i = 0; i < n; i++)
        close(fds[i]);
    for (int i = 0; i < FUZZ_TURNS && !over; i++) {
        turn();
        take(fds, 0, true);
        over = true;
        for (size_t k = 0; k < count; k++) {
            resume(&told[k]);
            over &= told[k].call == NULL;
        }
    }
    CHECK(over);
    for (int i = 0; i < 5; i++) { /* connections that were kept find out that they are closed */
        turn();
        take(fds, 0, true);
    }
    return 0;
}
