/* One thread over c-ares, which gives TTLs (getaddrinfo doesn't) and reads /etc/hosts as well. Names come from the
 * configuration alone, so their number is bounded by it. Only the thread starts lookups and frees names; the mutex
 * guards what it shows. */
#include "edge/fetch/resolve.h"

#include <ares.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "edge/base/clock.h"
#include "edge/base/log.h"
#include "edge/base/mem.h"
#include "edge/tbl/metrics.h"

enum { RESOLVE_QUERY_TIMEOUT = 2000, RESOLVE_QUERY_TRIES = 2, RESOLVE_IDLE = 60 * 1000, RESOLVE_POLL_STEP = 5 * 1000 };

typedef struct resolve_name {
    struct resolve_name *next;
    resolve_t *owner;
    char *host;
    bool wanted, tried;
    bool running; /* the thread's alone, like due and pause */
    msec_t due, pause;
    char text[RESOLVE_TEXT]; /* "": no answer so far */
} resolve_name_t;

struct resolve {
    pthread_t thread;
    pthread_mutex_t mutex; /* guards what follows, and what is shown of the names */
    resolve_name_t *names;
    msec_t max_ttl;
    char server[300]; /* "": the system's */
    bool server_changed, stopping;
    int wake_fd;
    ares_channel channel; /* the thread's alone */
};

static void resolve_wake(resolve_t *r)
{
    uint64_t one = 1;
    if (write(r->wake_fd, &one, sizeof one) < 0 && errno != EAGAIN)
        log_error("can't wake the name lookups");
}

/* ---- on the thread ---- */

static size_t resolve_write(const struct ares_addrinfo *found, char out[RESOLVE_TEXT], int *ttl)
{
    size_t n = 0, count = 0;
    for (const struct ares_addrinfo_node *a = found->nodes; a != NULL && count < RESOLVE_ADDRESSES; a = a->ai_next) {
        char one[INET6_ADDRSTRLEN];
        bool v6 = a->ai_family == AF_INET6;
        const void *bytes = v6 ? (const void *)&((const struct sockaddr_in6 *)(const void *)a->ai_addr)->sin6_addr
                               : (const void *)&((const struct sockaddr_in *)(const void *)a->ai_addr)->sin_addr;
        if ((!v6 && a->ai_family != AF_INET) || inet_ntop(a->ai_family, bytes, one, sizeof one) == NULL)
            continue;
        n += (size_t)snprintf(out + n, RESOLVE_TEXT - n, "%s%s%s%s", n > 0 ? "," : "", v6 ? "[" : "", one,
                              v6 ? "]" : "");
        *ttl = count == 0 || a->ai_ttl < *ttl ? a->ai_ttl : *ttl;
        count++;
    }
    return n;
}

static void resolve_answered(void *arg, int status, int timeouts, struct ares_addrinfo *found)
{
    (void)timeouts;
    resolve_name_t *name = arg;
    resolve_t *r = name->owner;
    char text[RESOLVE_TEXT] = "";
    int ttl = 0;
    bool good = status == ARES_SUCCESS && resolve_write(found, text, &ttl) > 0;
    if (found != NULL)
        ares_freeaddrinfo(found);
    if (status == ARES_EDESTRUCTION || status == ARES_ECANCELLED)
        return;
    metrics_add(METRIC_DNS_LOOKUPS, good ? LABEL_OUTCOME_OK : LABEL_OUTCOME_FAILED, 1);
    name->running = false;
    pthread_mutex_lock(&r->mutex);
    msec_t wait = (msec_t)ttl * MSEC_PER_SEC;
    wait = wait < RESOLVE_TTL_LEAST ? RESOLVE_TTL_LEAST : wait > r->max_ttl ? r->max_ttl : wait;
    if (good)
        memcpy(name->text, text, sizeof text);
    name->tried = true;
    bool stale = name->text[0] != '\0';
    pthread_mutex_unlock(&r->mutex);
    if (good && name->pause > 0)
        log_info("the name %s is found again", name->host);
    if (!good && name->pause == 0)
        log_warn("the name %s can't be looked up (%s)%s", name->host, ares_strerror(status),
                 stale ? ": its last addresses are used" : "");
    name->pause = good                                   ? 0
                  : name->pause == 0                     ? RESOLVE_RETRY_FIRST
                  : name->pause * 2 < RESOLVE_RETRY_MOST ? name->pause * 2
                                                         : RESOLVE_RETRY_MOST;
    name->due = clock_now().boot + (good ? wait : name->pause);
}

static void resolve_open(resolve_t *r)
{
    struct ares_options o = {.timeout = RESOLVE_QUERY_TIMEOUT, .tries = RESOLVE_QUERY_TRIES};
    if (ares_init_options(&r->channel, &o, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES) != ARES_SUCCESS)
        r->channel = NULL;
}

/* Another server: a channel of its own, since c-ares can't go back to the system's. */
static void resolve_change_server(resolve_t *r)
{
    char server[sizeof r->server];
    pthread_mutex_lock(&r->mutex);
    bool changed = r->server_changed;
    resolve_name_t *first = r->names; /* others put names in front only */
    memcpy(server, r->server, sizeof server);
    r->server_changed = false;
    pthread_mutex_unlock(&r->mutex);
    if (!changed)
        return;
    if (r->channel != NULL)
        ares_destroy(r->channel); /* ends what is running */
    resolve_open(r);
    for (resolve_name_t *n = first; n != NULL; n = n->next) {
        n->running = false;
        n->due = 0;
    }
    if (r->channel != NULL && server[0] != '\0' && ares_set_servers_ports_csv(r->channel, server) != ARES_SUCCESS)
        log_error("upstream.dns_server: %s is no address of a name server: write one like 192.0.2.53 or [::1]:5353",
                  server);
}

/* Starts what is due, frees what nobody wants; how long until the next. */
static msec_t resolve_start(resolve_t *r)
{
    static const struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    msec_t now = clock_now().boot, next = RESOLVE_IDLE;
    resolve_name_t *gone = NULL;
    pthread_mutex_lock(&r->mutex);
    for (resolve_name_t **at = &r->names, *n; (n = *at) != NULL;) {
        if (n->wanted || n->running) {
            at = &n->next;
            continue;
        }
        *at = n->next;
        n->next = gone;
        gone = n;
    }
    resolve_name_t *first = r->names; /* others put names in front only */
    pthread_mutex_unlock(&r->mutex);
    for (resolve_name_t *n; (n = gone) != NULL;) {
        gone = n->next;
        free(n->host);
        free(n);
    }
    for (resolve_name_t *n = first; n != NULL && r->channel != NULL; n = n->next) {
        if (!n->running && n->due <= now) {
            n->running = true;
            ares_getaddrinfo(r->channel, n->host, NULL, &hints, resolve_answered, n);
        }
        if (!n->running && n->due - now < next)
            next = n->due > now ? n->due - now : 0;
    }
    return next;
}

static void resolve_poll(resolve_t *r, msec_t most)
{
    ares_socket_t sockets[ARES_GETSOCK_MAXNUM];
    struct pollfd fds[ARES_GETSOCK_MAXNUM + 1] = {{.fd = r->wake_fd, .events = POLLIN}};
    nfds_t n = 1;
    /* one bit a socket to read from, and 16 bits on one to write to (the macros shift into the sign) */
    unsigned bits = r->channel != NULL ? (unsigned)ares_getsock(r->channel, sockets, ARES_GETSOCK_MAXNUM) : 0;
    for (unsigned i = 0; i < ARES_GETSOCK_MAXNUM; i++) {
        bool reads = bits >> i & 1, writes = bits >> (i + ARES_GETSOCK_MAXNUM) & 1;
        if (reads || writes)
            fds[n++] =
                (struct pollfd){.fd = sockets[i], .events = (short)((reads ? POLLIN : 0) | (writes ? POLLOUT : 0))};
    }
    struct timeval limit = {.tv_sec = most / MSEC_PER_SEC, .tv_usec = most % MSEC_PER_SEC * 1000}, left;
    struct timeval *t = r->channel != NULL ? ares_timeout(r->channel, &limit, &left) : &limit;
    poll(fds, n, (int)(t->tv_sec * 1000 + t->tv_usec / 1000 + 1));
    uint64_t count;
    if (fds[0].revents != 0 && read(r->wake_fd, &count, sizeof count) < 0)
        return;
    if (r->channel == NULL)
        return;
    for (nfds_t i = 1; i < n; i++)
        if (fds[i].revents != 0)
            ares_process_fd(r->channel, fds[i].revents & (POLLIN | POLLERR | POLLHUP) ? fds[i].fd : ARES_SOCKET_BAD,
                            fds[i].revents & POLLOUT ? fds[i].fd : ARES_SOCKET_BAD);
    ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD); /* timeouts */
}

static void *resolve_main(void *arg)
{
    resolve_t *r = arg;
    pthread_setname_np(pthread_self(), "names");
    resolve_open(r);
    for (;;) {
        pthread_mutex_lock(&r->mutex);
        bool stopping = r->stopping;
        pthread_mutex_unlock(&r->mutex);
        if (stopping)
            break;
        resolve_change_server(r);
        resolve_poll(r, resolve_start(r));
    }
    if (r->channel != NULL)
        ares_destroy(r->channel);
    return NULL;
}

/* ---- for others ---- */

resolve_t *resolve_new(void)
{
    resolve_t *r = mem_zalloc(sizeof *r);
    pthread_mutex_init(&r->mutex, NULL);
    r->max_ttl = RESOLVE_IDLE;
    r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r->wake_fd >= 0 && ares_library_init(ARES_LIB_INIT_ALL) == ARES_SUCCESS &&
        pthread_create(&r->thread, NULL, resolve_main, r) == 0)
        return r;
    if (r->wake_fd >= 0)
        close(r->wake_fd);
    pthread_mutex_destroy(&r->mutex);
    free(r);
    return NULL;
}

static bool resolve_is_name(const conf_origin_t *o)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    return o->unix_path.p == NULL && inet_pton(AF_INET, o->host.p, bytes) != 1 &&
           inet_pton(AF_INET6, o->host.p, bytes) != 1;
}

static resolve_name_t *resolve_find(resolve_t *r, span_t host)
{
    for (resolve_name_t *n = r->names; n != NULL; n = n->next)
        if (span_eq(span_str(n->host), host))
            return n;
    return NULL;
}

void resolve_configure(resolve_t *r, const conf_t *conf)
{
    char server[sizeof r->server] = "";
    if (conf->upstream.dns_server.p != NULL)
        snprintf(server, sizeof server, "%.*s", SPAN_ARG(conf->upstream.dns_server));
    pthread_mutex_lock(&r->mutex);
    r->server_changed |= strcmp(server, r->server) != 0;
    memcpy(r->server, server, sizeof server);
    r->max_ttl = conf->upstream.dns_max_ttl;
    for (resolve_name_t *n = r->names; n != NULL; n = n->next)
        n->wanted = false;
    for (size_t i = 0; i < conf->upstreams_n; i++) {
        const conf_origin_t *o = conf->upstreams[i];
        if (!resolve_is_name(o))
            continue;
        resolve_name_t *n = resolve_find(r, o->host);
        if (n == NULL) {
            n = mem_zalloc(sizeof *n);
            n->owner = r;
            n->host = mem_dup(o->host.p, o->host.n);
            n->next = r->names;
            r->names = n;
        }
        n->wanted = true;
    }
    pthread_mutex_unlock(&r->mutex);
    resolve_wake(r);
}

void resolve_settle(resolve_t *r, msec_t most)
{
    for (msec_t end = clock_now().boot + most;;) {
        bool all = true;
        pthread_mutex_lock(&r->mutex);
        for (const resolve_name_t *n = r->names; n != NULL; n = n->next)
            all &= n->tried;
        pthread_mutex_unlock(&r->mutex);
        if (all || clock_now().boot >= end)
            return;
        usleep(RESOLVE_POLL_STEP);
    }
}

size_t resolve_get(resolve_t *r, span_t host, char out[RESOLVE_TEXT])
{
    out[0] = '\0';
    pthread_mutex_lock(&r->mutex);
    const resolve_name_t *n = resolve_find(r, host);
    if (n != NULL)
        memcpy(out, n->text, sizeof n->text);
    pthread_mutex_unlock(&r->mutex);
    return strlen(out);
}

void resolve_free(resolve_t *r)
{
    if (r == NULL)
        return;
    pthread_mutex_lock(&r->mutex);
    r->stopping = true;
    pthread_mutex_unlock(&r->mutex);
    resolve_wake(r);
    pthread_join(r->thread, NULL);
    for (resolve_name_t *n; (n = r->names) != NULL;) {
        r->names = n->next;
        free(n->host);
        free(n);
    }
    ares_library_cleanup();
    close(r->wake_fd);
    pthread_mutex_destroy(&r->mutex);
    free(r);
}
