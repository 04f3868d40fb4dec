/* libcurl connects and then steps aside (CURLOPT_CONNECT_ONLY). Its easy handle stays with the multi handle as long as
 * the connection is used: that is where curl looks it up. */
#include "edge/fetch/upstream_link.h"

#include <openssl/ssl.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "edge/base/mem.h"
#include "edge/fetch/upstream_curl_priv.h"
#include "edge/fetch/upstream_tls.h"

struct upstream_link {
    upstream_job_t job; /* .easy NULL: the client ended first */
    upstream_curl_t *client;
    void (*done)(void *arg, upstream_result_t result); /* NULL: was called */
    void *arg;
    int fd;
    bool offer, h2;
    upstream_tls_t *tls; /* of the connection that is tried; NULL: none yet */
};

static CURLcode upstream_link_on_context(CURL *easy, void *ctx, void *data)
{
    static const unsigned char both[] = "\x02h2\x08http/1.1", one[] = "\x08http/1.1";
    upstream_link_t *l = data;
    if (SSL_CTX_set_alpn_protos(ctx, l->offer ? both : one, l->offer ? sizeof both - 1 : sizeof one - 1) != 0)
        return CURLE_ABORTED_BY_CALLBACK;
    CURLcode code = upstream_tls_on_context(easy, ctx, NULL);
    if (code == CURLE_OK) {
        upstream_tls_unref(l->tls);
        l->tls = upstream_tls_of_context(ctx);
    }
    return code;
}

static void upstream_link_free(upstream_link_t *l)
{
    list_remove(&l->job.link);
    if (l->job.easy != NULL)
        upstream_curl_easy_back(l->client, &l->job);
    upstream_tls_unref(l->tls);
    free(l);
}

static void upstream_link_fail(upstream_link_t *l, upstream_result_t result)
{
    void (*done)(void *, upstream_result_t) = l->done;
    void *arg = l->arg;
    upstream_link_free(l);
    done(arg, result);
}

static void upstream_link_over(upstream_job_t *j, CURLcode code)
{
    upstream_link_t *l = CONTAINER_OF(j, upstream_link_t, job);
    curl_socket_t fd = CURL_SOCKET_BAD;
    if (code == CURLE_OK && curl_easy_getinfo(j->easy, CURLINFO_ACTIVESOCKET, &fd) == CURLE_OK && fd == CURL_SOCKET_BAD)
        code = CURLE_COULDNT_CONNECT;
    if (code != CURLE_OK) {
        upstream_link_fail(l, upstream_curl_connected(code));
        return;
    }
    l->fd = fd;
    l->h2 = l->offer && l->tls != NULL && upstream_tls_h2(l->tls);
    void (*done)(void *, upstream_result_t) = l->done;
    l->done = NULL;
    done(l->arg, UPSTREAM_OK);
}

/* The client ends. Who holds an open link closes it later, and finds it broken until then. */
static void upstream_link_stop(upstream_job_t *j)
{
    upstream_link_t *l = CONTAINER_OF(j, upstream_link_t, job);
    if (l->done != NULL) {
        upstream_link_fail(l, UPSTREAM_ABANDONED);
        return;
    }
    list_remove(&j->link);
    upstream_curl_easy_back(l->client, j);
}

upstream_link_t *upstream_link_open(upstream_t *curl, const upstream_target_t *to, bool h2, msec_t timeout,
                                    void (*done)(void *arg, upstream_result_t result), void *arg)
{
    upstream_curl_t *u = (upstream_curl_t *)curl;
    upstream_link_t *l = mem_zalloc(sizeof *l);
    l->job.over = upstream_link_over;
    l->job.stop = upstream_link_stop;
    l->client = u;
    l->done = done;
    l->arg = arg;
    l->fd = -1;
    l->offer = h2;
    CURL *e = upstream_curl_easy(u, to, &l->job);
    curl_easy_setopt(e, CURLOPT_PRIVATE, &l->job);
    curl_easy_setopt(e, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)timeout);
    curl_easy_setopt(e, CURLOPT_SSL_ENABLE_ALPN, 0L); /* it is set below: curl would go on to speak what it finds */
    if (to->https) {
        curl_easy_setopt(e, CURLOPT_SSL_CTX_FUNCTION, upstream_link_on_context);
        curl_easy_setopt(e, CURLOPT_SSL_CTX_DATA, l);
    }
    list_init(&l->job.link);
    upstream_curl_submit(u, &l->job);
    return l;
}

void upstream_link_close(upstream_link_t *l)
{
    if (l == NULL)
        return;
    CHECK(l->job.easy == NULL || l->client->depth == 0);
    upstream_link_free(l);
}

int upstream_link_fd(const upstream_link_t *l)
{
    return l->fd;
}

bool upstream_link_h2(const upstream_link_t *l)
{
    return l->h2;
}

ssize_t upstream_link_read(upstream_link_t *l, char *p, size_t n)
{
    size_t got = 0;
    CURLcode code = l->job.easy != NULL ? curl_easy_recv(l->job.easy, p, n, &got) : CURLE_RECV_ERROR;
    return code == CURLE_OK ? (ssize_t)got : code == CURLE_AGAIN ? UPSTREAM_LINK_AGAIN : UPSTREAM_LINK_BROKEN;
}

ssize_t upstream_link_write(upstream_link_t *l, const char *p, size_t n)
{
    size_t did = 0;
    CURLcode code = l->job.easy != NULL ? curl_easy_send(l->job.easy, p, n, &did) : CURLE_SEND_ERROR;
    return code == CURLE_OK ? (ssize_t)did : code == CURLE_AGAIN ? UPSTREAM_LINK_AGAIN : UPSTREAM_LINK_BROKEN;
}

bool upstream_link_finish(upstream_link_t *l)
{
    return l->tls == NULL && shutdown(l->fd, SHUT_WR) == 0;
}

bool upstream_link_ended(const upstream_link_t *l)
{
    return l->tls == NULL || upstream_tls_ended(l->tls);
}
