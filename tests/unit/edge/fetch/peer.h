/* A scripted server on loopback, in a thread of its own: each connection is handed to the next function of the script.
 * And the loop's side: a call whose events are written down. */
#ifndef BRINK_TESTS_PEER_H
#define BRINK_TESTS_PEER_H

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "edge/fetch/upstream.h"

enum { PEER_REQUESTS = 16, PEER_REQUEST_BYTES = 64 * 1024 };

typedef struct peer peer_t;

typedef struct peer_conn {
    peer_t *peer;
    int fd;
    SSL *ssl; /* NULL: cleartext */
} peer_conn_t;

typedef void peer_script_fn(peer_conn_t *c);

struct peer {
    int listen_fd;
    uint16_t port;
    char path[64]; /* of a unix socket */
    SSL_CTX *tls;
    pthread_t thread;
    peer_script_fn *const *script; /* ends with NULL */
    atomic_int connections, requests;
    char request[PEER_REQUESTS][PEER_REQUEST_BYTES]; /* as they came, head and body */
    atomic_bool stop;                                /* scripts that wait look at it */
};

/* tls NULL: cleartext. path NULL: TCP on 127.0.0.1. */
void peer_open(peer_t *p, peer_script_fn *const *script, SSL_CTX *tls, const char *path);
void peer_close(peer_t *p);

/* For scripts. */
ssize_t peer_recv(peer_conn_t *c, char *p, size_t n); /* <= 0: the client is gone, or the test over */
bool peer_read(peer_conn_t *c); /* one request, with its body by Content-Length; false: the client is gone */
void peer_write(peer_conn_t *c, const char *text);
void peer_write_n(peer_conn_t *c, const char *p, size_t n);
void peer_reset(peer_conn_t *c);  /* closes with RST */
void peer_linger(peer_conn_t *c); /* waits until the client closes or the test is over */

/* ---- the loop's side ---- */

typedef struct seen {
    struct bench *bench;
    upstream_call_t *call;
    int informational, status;
    int64_t length;
    char fields[4096]; /* "name: value\n"… */
    char *body;
    size_t n;
    bool head, done;
    upstream_result_t result;
    /* what the reader does */
    size_t pause_every; /* says "not now" after so many bytes; 0 = never */
    size_t since_pause; /* bytes */
    bool paused;
    size_t aside; /* what the client holds meanwhile */
    int cancel_in; /* 1: in informational, 2: in head, 3: in body */
} seen_t;

typedef struct bench {
    loop_t loop;
    upstream_t *client;
} bench_t;

void bench_open(bench_t *b);
void bench_close(bench_t *b);
void bench_turn(bench_t *b);                    /* waits a few ms at most */
void bench_until(bench_t *b, const bool *flag); /* fails the test after 10 s */
void bench_for(bench_t *b, msec_t ms);

/* A request with these lines ("name: value\n"); more can be set in *r by the caller before. */
void bench_start(bench_t *b, const peer_t *p, seen_t *s, upstream_request_t r, const char *lines);
/* GET / and everything until done. */
void bench_get(bench_t *b, const peer_t *p, seen_t *s);
void seen_release(seen_t *s);

#endif
