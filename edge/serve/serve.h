/* Everything between the kernel's sockets and exchange_t: listeners, TLS, the accept path, the guards of HTTP/1 and
 * HTTP/2, the reaper. The rest of brink sees no type of the HTTP library.
 *
 * Order of calls, at start:  serve_open (main thread, binds and loads all) → per worker thread: serve_worker_start,
 * then serve_worker_run_once in a loop.  At the end, per worker: serve_worker_drain, run_once until serve_worker_idle
 * or out of patience, serve_worker_stop; when all workers are stopped: serve_close.
 *
 * Threads: a serve_worker_t belongs to the thread that started it, except serve_worker_stats (any thread).
 * serve_shared_t: serve_reload_certificates may be called from any one thread at a time while the workers run. Options
 * are copied: nothing of them needs to live after the call. */
#ifndef BRINK_SERVE_SERVE_H
#define BRINK_SERVE_SERVE_H

#include "edge/access/network.h"
#include "edge/base/err.h"
#include "edge/base/loop.h"
#include "edge/request/exchange.h"

typedef struct serve_shared serve_shared_t; /* what all workers share: descriptors, TLS contexts, limits */
typedef struct serve_worker serve_worker_t; /* one a thread: the HTTP library's context and loop, connections, reaper */
typedef struct serve_watch serve_watch_t;

enum {
    SERVE_ERROR_MAX = 512,     /* an `err` buffer of that size holds any sentence of this folder */
    SERVE_REQUEST_BYTES = 4096 /* what a request takes at least, and a head that nobody would call large */
};

/* PEM files. The certificate file holds the chain, leaf first. Two for the same names, one ECDSA and one RSA, are one
 * choice for the client. */
typedef struct serve_certificate {
    const char *certificate, *key;
    const char *ocsp; /* DER file of an OCSP response to staple; NULL: none */
} serve_certificate_t;

typedef struct serve_listen {
    const char *address; /* "127.0.0.1:8080", "[::1]:8080", "*:8080" (all IPv4 and IPv6), "unix:/run/brink.sock"; port 0
                            = any */
    int id;              /* handed to on_request: tells traffic from admin */
    const network_t *proxy_from; /* sorted (network_sort): who may connect where proxy_protocol is on; none: anybody */
    size_t proxy_from_n;
    bool proxy_protocol; /* a PROXY v1 line (or v2 header) must come first; its address becomes exchange.peer */
    const serve_certificate_t *certificates; /* the first is the default, others by SNI; none: cleartext */
    size_t certificate_count;
    const char *client_ca; /* PEM file: only clients with a certificate by these authorities; NULL: all */
} serve_listen_t;

/* Every ceiling on what a peer can make grow. serve_limits_default fills it; 0 never means "none", but for handshakes.
 */
typedef struct serve_limits {
    msec_t handshake_timeout; /* 10 s: TLS handshake, sniffing and PROXY line together */
    msec_t header_timeout;    /* 10 s: from the first byte of an HTTP/1 request or HTTP/2 header block to its end */
    msec_t body_timeout;  /* 30 s without a byte of an expected request body, or slower than body_rate on the whole */
    size_t body_rate;     /* 512 bytes a second, after the first body_timeout */
    msec_t idle_timeout;  /* 60 s: keep-alive without a request */
    msec_t write_timeout; /* 30 s without progress while there is something to write (zero windows included) */
    size_t write_rate;    /* 256 bytes a second: slower than that over write_timeout is no progress */
    size_t connections_per_address; /* 5,000, over all workers; beyond, the newest is closed */
    unsigned handshakes;            /* TLS handshakes a second over all workers; the one 0 that means any number */
    size_t connections;  /* 10,000 a worker. (An HTTP/2 connection has at most 100 requests in flight: the library's) */
    size_t header_bytes; /* FIELDS_MAX_BYTES: names and values of one request; beyond 431 */
    size_t header_count; /* 84: request fields; beyond 431 */
    size_t target_bytes; /* 16 KiB; beyond 414 */
    size_t max_body;     /* 8 MiB: request bodies are buffered up to this, beyond 413. The largest over all sites */
    size_t body_bytes;   /* 256 MiB: request bodies in memory, a worker; beyond it uploads are cut off */
    /* 256 MiB: heads of requests in flight, a worker, each with SERVE_REQUEST_BYTES beside. From half of it on only
     * heads of up to as many bytes are taken, beyond it none: 503. */
    size_t head_bytes;
    unsigned flood_budget;  /* 200 frames of no use a second and connection, beyond ENHANCE_YOUR_CALM */
    unsigned reset_budget;  /* 200 streams reset by the peer, or by its errors, within 10 s on a connection */
    unsigned continuations; /* 8 CONTINUATION frames a header block */
    bool unguarded;         /* tests only: no HTTP/2 guard, to show what it is for */
    int send_buffer;        /* SO_SNDBUF of accepted connections; 0 = the kernel's choice (tests want small ones) */
} serve_limits_t;

void serve_limits_default(serve_limits_t *l);

/* A listening descriptor from outside (another process before its upgrade). Taken over by serve_open when address and
 * worker are among the options, else closed. */
typedef struct serve_inherited {
    const char *address;
    unsigned worker;
    int fd;
} serve_inherited_t;

typedef struct serve_options {
    const serve_listen_t *listens;
    size_t listen_count;
    unsigned workers;
    serve_limits_t limits;
    const serve_inherited_t *inherited;
    size_t inherited_count;
    span_t ticket_secret; /* see tls_ticket.h; .p NULL: one of this process */
} serve_options_t;

/* Loads all certificates, then binds every listener for every worker (SO_REUSEPORT, after a plain bind that finds a
 * second process; unix sockets: one descriptor for all, a stale file is removed). On error nothing stays open and `err`
 * says in one sentence what is wrong ("address 127.0.0.1:8080 is taken: …"). ERR_IO, ERR_SYNTAX (address), ERR_EXISTS
 * (taken), ERR_CORRUPT (certificate or key). */
err_t serve_open(const serve_options_t *o, serve_shared_t **out, char *err, size_t err_size);
/* After all workers were stopped. Unix sockets are unlinked unless they were handed on (serve_keep_sockets). */
void serve_close(serve_shared_t *s);
/* Reads all certificates anew, listeners matched by address (others are ignored); the ticket secret, too. New
 * connections use them; if one can't be used nothing changes. Any thread. */
/* Can the certificates be served? Reads their files and opens nothing. */
err_t serve_check(const serve_options_t *o, char *err, size_t err_size);
err_t serve_reload_certificates(serve_shared_t *s, const serve_options_t *o, char *err, size_t err_size);
/* The port that a listener got (for port 0); 0 for unix sockets. */
int serve_port(const serve_shared_t *s, size_t listen);
/* Enumerates listening descriptors (to hand them on): false when i is past the end. The address lives as long as s. */
bool serve_socket_at(const serve_shared_t *s, size_t i, serve_inherited_t *out);
void serve_keep_sockets(serve_shared_t *s);

/* A complete request. Called on the loop; may answer at once or later. `listener` is serve_listen_t.id. The functions
 * of exchange.ops never call on_writable or on_gone before they return. */
typedef void serve_on_request_t(exchange_t *x, int listener, void *ctx);

/* The largest request body that the site of that authority accepts (UINT64_MAX: as large as limits.max_body), asked
 * when a head has ended: what is announced as larger is answered with 413, and no 100 before it. */
typedef uint64_t serve_body_limit_t(span_t authority, int listener, void *ctx);

/* A request of that listener was answered here: it is malformed or too large, or the worker is stopping. On the loop.
 */
typedef void serve_on_refused_t(const exchange_refused_t *refused, int listener, void *ctx);

/* Starts accepting for worker `index`. The loop was initialised by the caller with an eventfd and outlives the worker.
 * exchange.loop is that loop. ERR_IO when the operating system refuses. */
err_t serve_worker_start(serve_shared_t *s, unsigned index, loop_t *loop, serve_on_request_t *on_request, void *ctx,
                         serve_worker_t **out);
/* Once, before the first turn; it gets the ctx of on_request. Without it limits.max_body is what all accept. */
void serve_worker_limit_bodies(serve_worker_t *w, serve_body_limit_t *limit);
/* Likewise. */
void serve_worker_tell_refused(serve_worker_t *w, serve_on_refused_t *on_refused);
/* One turn: waits for events at most max_wait (less when a timer of the loop is due), sets loop->now, handles sockets,
 * runs messages and timers of the loop. ERR_OK, or ERR_IO when the loop is broken. */
err_t serve_worker_run_once(serve_worker_t *w, msec_t max_wait);
/* Accepts what the kernel has queued, closes the listeners, GOAWAY on HTTP/2, no further keep-alive on HTTP/1. Once. */
void serve_worker_drain(serve_worker_t *w);
size_t serve_worker_connections(const serve_worker_t *w);
size_t serve_worker_requests(const serve_worker_t *w); /* exchanges that are not gone */
bool serve_worker_idle(const serve_worker_t *w);       /* after drain: no request in flight and nothing left to write */
/* Kills what is left (on_gone is called for every exchange) and frees the worker. On the worker's thread. */
void serve_worker_stop(serve_worker_t *w);

/* Calls back on the loop whenever fd is readable (level-triggered; the callback must make it unreadable). fd stays the
 * caller's and must outlive the watch. Unwatch also from within the callback. */
serve_watch_t *serve_worker_watch_fd(serve_worker_t *w, int fd, void (*readable)(void *arg), void *arg);
void serve_unwatch(serve_watch_t *watch);

/* ---- what was counted ---- */
typedef enum serve_protocol { SERVE_NEW, SERVE_H1, SERVE_H1S, SERVE_H2C, SERVE_H2, SERVE_PROTOCOLS } serve_protocol_t;
typedef enum serve_flood {
    SERVE_FLOOD_RESET,        /* rapid reset */
    SERVE_FLOOD_STREAM_ERROR, /* streams that the peer made us reset */
    SERVE_FLOOD_PING,
    SERVE_FLOOD_SETTINGS,
    SERVE_FLOOD_PRIORITY,
    SERVE_FLOOD_WINDOW_UPDATE,
    SERVE_FLOOD_EMPTY_DATA,
    SERVE_FLOOD_CONTINUATION, /* too many, empty, or dripped */
    SERVE_FLOOD_UNKNOWN,      /* frames of types that nobody knows */
    SERVE_FLOOD_HEADERS,      /* header block over the ceiling */
    SERVE_FLOOD_BODY,         /* uploads over limits.body_bytes */
    SERVE_FLOODS
} serve_flood_t;
typedef enum serve_reap {
    SERVE_REAP_HANDSHAKE, /* no request begun within handshake_timeout */
    SERVE_REAP_HEADER,
    SERVE_REAP_BODY,
    SERVE_REAP_IDLE,
    SERVE_REAP_WRITE,
    SERVE_REAPS
} serve_reap_t;

typedef struct serve_stats {
    uint64_t open[SERVE_PROTOCOLS];     /* gauge; SERVE_NEW: protocol not known yet */
    uint64_t accepted[SERVE_PROTOCOLS]; /* SERVE_NEW: all */
    uint64_t floods[SERVE_FLOODS];      /* connections ended for it */
    uint64_t reaped[SERVE_REAPS];
    uint64_t requests; /* handed to on_request */
    uint64_t refused;  /* requests refused here: 400, 413, 414, 431 */
    uint64_t bytes_in,
        bytes_out; /* as the HTTP layer sees them (TLS not counted); of closed connections and swept ones */
    uint64_t handshakes_failed;
    uint64_t over_limit; /* connections closed at once: over limits.connections or out of descriptors */
} serve_stats_t;

void serve_worker_stats(const serve_worker_t *w, serve_stats_t *out); /* any thread, until serve_worker_stop */
const char *serve_protocol_name(serve_protocol_t p);                  /* "h1", "h1s", "h2c", "h2", "new" */
const char *serve_flood_name(serve_flood_t f);
const char *serve_reap_name(serve_reap_t r);

#endif
