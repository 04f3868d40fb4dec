/* What the files of this folder know of each other; the only header of brink that shows types of the HTTP library. */
#ifndef BRINK_SERVE_SERVE_PRIV_H
#define BRINK_SERVE_SERVE_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include <h2o.h>
#include <h2o/http1.h>
#include <h2o/http2.h>
#include <h2o/http2_internal.h>
#include <openssl/ssl.h>

#include "edge/base/check.h"
#include "edge/base/list.h"
#include "edge/serve/address_count.h"
#include "edge/serve/h1_scan.h"
#include "edge/serve/h2_count.h"
#include "edge/serve/h2_head.h"
#include "edge/serve/serve.h"

enum {
    SERVE_PEER_MAX = 64,     /* text of an address */
    SERVE_ADDRESS_MAX = 128, /* text of a listening address */
    SERVE_SECRET_BYTES = 32,
    SERVE_CONN_MAGIC = 0x636f6e6e
};

/* ---- shared by all workers ---- */

/* The TLS contexts of one listener: immutable, replaced as a whole by a reload, kept alive by connections in handshake.
 */
typedef struct tls_set tls_set_t;

/* `ticket_secret` is copied. */
err_t tls_load(const serve_listen_t *from, span_t ticket_secret, tls_set_t **out, char *err, size_t err_size);
tls_set_t *tls_ref(tls_set_t *t); /* any thread */
void tls_unref(tls_set_t *t);
SSL_CTX *tls_default(const tls_set_t *t);
/* Called by OpenSSL with a socket of ours: the connection that a handshake belongs to. Defined in conn.c. */
struct serve_conn;

typedef struct serve_listener {
    char address[SERVE_ADDRESS_MAX];
    int id;
    bool proxy_protocol, is_unix, secure;
    network_t *proxy_from; /* NULL: anybody */
    size_t proxy_from_n;
    int port;
    int *fds;              /* one a worker; -1 once its worker took and closed it */
    pthread_mutex_t mutex; /* guards `tls` (the pointer) */
    tls_set_t *tls;        /* NULL: cleartext */
} serve_listener_t;

struct serve_shared {
    serve_limits_t limits;
    unsigned workers;
    size_t count;
    serve_listener_t *listeners;
    bool keep_sockets;
    char secret[SERVE_SECRET_BYTES]; /* of session tickets, when none was given: of this process */
    address_count_t *addresses;
    _Atomic int64_t handshakes_full; /* as in edge/access/limiter.c, in microseconds of CLOCK_BOOTTIME */
};

typedef struct listener_address {
    struct sockaddr_storage sa;
    socklen_t len;
    bool v6_only; /* [::] takes IPv4, too, unless told so */
} listener_address_t;

/* Grammar of addresses as in serve.h; ERR_SYNTAX with a sentence. */
err_t listener_parse(const char *text, listener_address_t *out, char *err, size_t err_size);
/* Binds for all workers, see serve_open. fds are written to l->fds. */
err_t listener_bind(serve_listener_t *l, unsigned workers, const serve_options_t *o, char *err, size_t err_size);
void listener_close(serve_listener_t *l, unsigned workers, bool unlink_socket);

/* ---- a worker ---- */

typedef struct serve_counters {
    _Atomic uint64_t open[SERVE_PROTOCOLS], accepted[SERVE_PROTOCOLS], floods[SERVE_FLOODS], reaped[SERVE_REAPS];
    _Atomic uint64_t requests, refused, bytes_in, bytes_out, handshakes_failed, over_limit;
} serve_counters_t;

/* Only the worker's thread writes, so no locked instruction is needed. */
static inline void serve_count(_Atomic uint64_t *counter, uint64_t by)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + by, memory_order_relaxed);
}

typedef struct accept_listener {
    struct serve_worker *worker;
    size_t index;
    serve_listener_t *listener;
    h2o_socket_t *sock; /* NULL once closed */
    bool rests;         /* not a descriptor is left, not even the spare: accept_rested goes on */
} accept_listener_t;

struct serve_watch {
    struct serve_worker *worker;
    list_t link;
    h2o_socket_t *sock;
    void (*readable)(void *arg);
    void *arg;
};

typedef struct exchange_handler {
    h2o_handler_t super;
    struct serve_worker *worker;
} exchange_handler_t;

struct serve_worker {
    serve_shared_t *shared;
    unsigned index;
    loop_t *loop;
    serve_on_request_t *on_request;
    void *on_request_ctx;
    serve_body_limit_t *body_limit; /* NULL: limits.max_body for all */
    serve_on_refused_t *on_refused; /* NULL: nobody is told */

    h2o_evloop_t *evloop;
    h2o_globalconf_t conf;
    h2o_context_t context;
    h2o_accept_ctx_t accept_ctx;
    uint64_t ticked; /* h2o_now() at which loop->now was last read */

    accept_listener_t *accept;
    int spare_fd; /* given up to accept and close when the process is out of descriptors */
    serve_watch_t *wake;
    list_t watches;

    list_t conns;     /* serve_conn_t.link, all */
    list_t exchanges; /* of exchange_h2o.c */
    list_t rehook;    /* serve_conn_t.rehook_link: HTTP/1 connections to look at when the turn ends */
    size_t conn_count, exchange_count;
    size_t body_bytes; /* request bodies in memory: counted as they come and go, counted anew by each sweep */
    size_t head_bytes; /* of all exchanges, counted as limits.head_bytes says */
    bool draining, stopping;
    msec_t drain_began;

    h2o_timeout_t sweep_timeout;
    h2o_timeout_entry_t sweep_entry;
    serve_counters_t counters;
};

/* Time for everything that follows in this turn; called at every entry from the HTTP library, costs one comparison. */
void serve_worker_read_clock(serve_worker_t *w);
static inline void serve_worker_tick(serve_worker_t *w)
{
    if (w->ticked != h2o_now(w->evloop))
        serve_worker_read_clock(w);
}

/* ---- a connection: hung on h2o_socket_t.on_close, so it lives exactly as long as the socket ---- */

typedef struct h1_state {
    h1_scan_t scan;
    int refuse;            /* status to answer once the requests before are answered; 0 = none */
    size_t scanned, begun; /* requests that are complete, and those of them that the library has begun to answer */
    bool lingering;        /* over: what still comes is read and thrown away */
    size_t lingered;       /* bytes thrown away */
    msec_t header_began;   /* first byte of the request; 0 = between requests */
    msec_t body_began;
    uint64_t body_mark; /* body bytes when the pace was last checked */
} h1_state_t;

enum { H2_REFUSED_MAX = 16 };

typedef struct h2_state {
    ssize_t (*expect)(h2o_http2_conn_t *conn, const uint8_t *src, size_t len, const char **err);
    msec_t second;        /* start of the second that `idle_frames` counts */
    unsigned idle_frames; /* frames of no use in it */
    msec_t decade;        /* start of the 10 s that these count: */
    unsigned resets, errors, begun;
    unsigned continuations; /* of the block that is open */
    size_t block_bytes;     /* compressed size of it */
    h2_count_t block_fields;
    bool block_open;
    msec_t block_began, frame_began; /* 0 = none open */
    uint8_t frame_type;              /* of the incomplete frame */
    uint64_t window_updates, requests;
    uint32_t trailer_stream; /* stream whose trailers are being decoded: its fields from trailer_from on are not ours */
    size_t trailer_from;
    msec_t bodies_began;  /* start of the window in which request bodies must bring something; 0 = none open */
    uint64_t bodies_came; /* bytes of them in it */
    uint32_t refused[H2_REFUSED_MAX]; /* streams whose bodies were refused last: DATA for them is on its way */
    size_t refused_n;
    h2_head_t head; /* encoder of response heads */
} h2_state_t;

typedef struct serve_conn {
    uint32_t magic;
    serve_protocol_t protocol;
    list_t link, rehook_link;
    h2o_socket_t *sock;
    serve_worker_t *worker;
    const serve_listener_t *listener;
    tls_set_t *tls;
    bool counted; /* in shared->addresses, by this: */
    network_address_t address;
    bool killed; /* shutdown(2) was called: the library will close it */
    unsigned exchanges;
    struct exchange_h2o *tunnel;  /* HTTP/1: the connection is its tunnel; NULL: none */
    struct exchange_h2o *telling; /* HTTP/1: whose 1xx is being written; NULL: none */
    msec_t accepted, last_input;
    uint64_t bytes_in, counted_in, counted_out;
    msec_t write_began; /* start of the window in which write_mark must be left behind; 0 = nothing to write */
    uint64_t write_mark;
    char peer[SERVE_PEER_MAX];
    union {
        h1_state_t h1;
        h2_state_t h2;
    };
} serve_conn_t;

serve_conn_t *conn_open(serve_worker_t *w, const accept_listener_t *a, h2o_socket_t *sock);
serve_conn_t *conn_of(h2o_socket_t *sock); /* never NULL for an accepted socket */
/* Counts the connection to its client's address, which `sa` is. False: that has as many as it may. */
bool conn_count_address(serve_conn_t *c);
void conn_set_protocol(serve_conn_t *c, serve_protocol_t p);
void conn_kill(serve_conn_t *c); /* shutdown(2): the library notices and closes in its own way */
void conn_count_bytes(serve_conn_t *c);
/* Text of a socket address without port; IPv4 in IPv6 as IPv4; "unix" for unix sockets. */
void conn_address_text(const struct sockaddr *sa, socklen_t len, char *out, size_t size);

/* Counts a request that is refused here, and tells of it; see exchange_refused_t. */
void serve_refused(serve_conn_t *c, int status, int protocol, span_t method, span_t target, span_t authority);
/* The largest request body that is accepted on this connection for that authority. */
uint64_t serve_body_limit(const serve_conn_t *c, span_t authority);
/* Bytes of request bodies that this worker may still take into memory. */
size_t serve_body_room(const serve_worker_t *w);
/* A body of so many bytes has gone with its request; what goes otherwise is found out by the next sweep. */
void serve_body_gone(serve_worker_t *w, size_t bytes);

void accept_start(serve_worker_t *w); /* h2o sockets on all listeners of this worker */
/* The reaper's turn: listeners that rested for want of descriptors go on if there is one again. */
void accept_rested(serve_worker_t *w);
void accept_stop(serve_worker_t *w, bool empty_first);
/* Takes a connected descriptor as if it had come by that listener. */
void accept_adopt(serve_worker_t *w, size_t listener, int fd);

/* The raw way to answer before the library has the connection. Closes. */
void h1_guard_accept(serve_conn_t *c);   /* hands the socket to the library's HTTP/1 */
void h1_guard_rehook(serve_worker_t *w); /* at the end of each turn */
void h1_guard_answered(serve_conn_t *c); /* an exchange of an HTTP/1 connection is gone */
/* A request is about to be answered: has nothing at all come behind it? Once a request. */
bool h1_guard_is_last(serve_conn_t *c);
/* Ends a connection that the library waits for nothing on, and all that is on it. */
void h1_guard_close(h2o_socket_t *sock);
bool h1_guard_overdue(serve_conn_t *c, msec_t now, serve_reap_t *why);

void h2_guard_accept(serve_conn_t *c); /* hands the socket to the library's HTTP/2 */
/* The handler refused or cut a stream because of what the peer sent: counts against it. */
void h2_guard_note_error(serve_conn_t *c);
bool h2_guard_overdue(serve_conn_t *c, h2o_http2_conn_t *conn, msec_t now, serve_reap_t *why);
bool h2_guard_blocked(h2o_http2_conn_t *conn); /* has something to write that the peer's windows forbid */

typedef struct h2_block {
    int status;
    const field_t *v; /* names in lower case */
    size_t n;
    int64_t content_length; /* -1: none */
    bool last;              /* ends the stream */
} h2_block_t;

/* h2_block.c: HEADERS, and CONTINUATION when that is longer than the peer takes. */
void h2_block_write(serve_conn_t *c, h2o_http2_conn_t *conn, uint32_t stream, const h2_block_t *b);

/* h2_upload.c */
/* :authority, else Host; .p NULL: neither. Before there are trailers. */
span_t h2_upload_authority(const h2o_http2_stream_t *st);
/* A request's head is complete: may its body come? */
void h2_upload_announced(serve_conn_t *c, h2o_http2_conn_t *conn, uint32_t stream);
/* So many bytes more are about to be added. */
void h2_upload_check(serve_conn_t *c, h2o_http2_conn_t *conn, uint32_t stream, size_t bytes);
/* Is this DATA frame of a body that was refused? Then it counts for the connection's window and nothing else. */
bool h2_upload_swallow(serve_conn_t *c, h2o_http2_conn_t *conn, uint32_t stream, size_t length);

void reaper_start(serve_worker_t *w);
void reaper_stop(serve_worker_t *w);

void exchange_h2o_setup(serve_worker_t *w, h2o_pathconf_t *path);
void exchange_h2o_abort_all(serve_worker_t *w); /* when stopping: HTTP/1 exchanges that nothing else would end */

#endif
