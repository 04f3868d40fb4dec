/* One HTTP request to one upstream server, streaming. The implementation may be libcurl (upstream_curl.h) or a test's
 * fake.
 *
 * Threads: everything on the loop that the client was made for. Events are never delivered from within upstream_start.
 * Strictness: what the peer sends is checked before it is told (RFC 9112): contradictory or odd framing, bare CR or LF,
 * folded or malformed fields, a cut body. Such a response ends with UPSTREAM_MALFORMED or UPSTREAM_CUT and its
 * connection is closed. */
#ifndef BRINK_FETCH_UPSTREAM_H
#define BRINK_FETCH_UPSTREAM_H

#include "edge/base/loop.h"
#include "edge/http/fields.h"

/* One row a result: id, the error type of RFC 9209 that says it, whether the request surely had no effect (may be
 * retried elsewhere whatever its method). */
#define UPSTREAM_RESULTS(X)                                                                                            \
    X(UPSTREAM_OK, "ok", false)                                                                                        \
    X(UPSTREAM_DNS, "dns_error", true)                                                                                 \
    X(UPSTREAM_REFUSED, "connection_refused", true)                                                                    \
    X(UPSTREAM_CONNECT_TIMEOUT, "connection_timeout", true)                                                            \
    X(UPSTREAM_TLS, "tls_protocol_error", true)                                                                        \
    X(UPSTREAM_TLS_CERTIFICATE, "tls_certificate_error", true)                                                         \
    X(UPSTREAM_FIRST_BYTE_TIMEOUT, "http_response_timeout", false)                                                     \
    X(UPSTREAM_IDLE_TIMEOUT, "connection_read_timeout", false)                                                         \
    X(UPSTREAM_CLOSED, "connection_terminated", false)                                                                 \
    X(UPSTREAM_CUT, "http_response_incomplete", false)                                                                 \
    X(UPSTREAM_MALFORMED, "http_protocol_error", false)                                                                \
    X(UPSTREAM_HEAD_TOO_BIG, "http_response_header_section_size", false)                                               \
    X(UPSTREAM_NO_ROUTE, "destination_unavailable", true)                                                              \
    X(UPSTREAM_ABANDONED, "abandoned", false)                                                                          \
    X(UPSTREAM_TOTAL_TIMEOUT, "total_timeout", false)                                                                  \
    X(UPSTREAM_OVERLOAD, "connection_limit_reached", true)

typedef enum upstream_result {
#define X(id, word, retry) id,
    UPSTREAM_RESULTS(X)
#undef X
} upstream_result_t;

const char *upstream_word(upstream_result_t r);
bool upstream_untouched(upstream_result_t r); /* the request surely had no effect */
bool upstream_timed_out(upstream_result_t r); /* 504 rather than 502 */
/* It is the upstream that is away (RFC 9111 4.2.4), and no ceiling or end of ours that was in the way. */
bool upstream_disconnected(upstream_result_t r);

/* Where to. Spans live as long as the call. */
typedef enum upstream_protocol {
    UPSTREAM_HTTP1,
    UPSTREAM_HTTP2, /* offered by ALPN, over TLS; else HTTP/1.1 */
    UPSTREAM_H2C    /* known to be spoken, without TLS (RFC 9113 3.3) */
} upstream_protocol_t;

typedef struct upstream_target {
    bool https;
    upstream_protocol_t protocol;
    span_t host; /* name or address, without brackets; the name that a certificate is checked for */
    uint16_t port;
    span_t unix_path;        /* .p NULL: TCP */
    span_t ca;               /* file of certificates to trust besides the system's; .p NULL: none */
    span_t certificate, key; /* files: the client's; .p NULL: it has none */
} upstream_target_t;

typedef struct upstream_request {
    upstream_target_t to;
    span_t method, target;  /* origin form */
    const fields_t *fields; /* complete, with host; no framing fields */
    span_t body;
    bool has_body;
    bool once; /* must not be sent a second time, whatever happens to the connection */
    bool head; /* the answer has no body whatever it says */
    span_t
        upgrade; /* protocols that the connection may be changed to (RFC 9110 7.8): goes over HTTP/1.1; .p NULL: none */
    msec_t connect_timeout, first_byte_timeout, idle_timeout;
    msec_t total_timeout; /* of all of it; 0 or MSEC_NEVER: none */
    msec_t delay;         /* it is sent so much later */
} upstream_request_t;

typedef struct upstream_events {
    void (*informational)(void *arg, int status, const fields_t *fields);
    /* The final head. content_length -1 when unknown; fields are without framing fields and live during the call only.
     * 101 comes only where `upgrade` was asked for, with a field "upgrade" that names one of these: from then on the
     * body is what the server sends through the tunnel, and send and finish are for what goes the other way. */
    void (*head)(void *arg, int status, const fields_t *fields, int64_t content_length);
    /* Some bytes. False: not now; they are told again after upstream_resume. */
    bool (*body)(void *arg, span_t bytes);
    /* So many bytes that `body` did not take are held by the client now, for the budget of memory. May be NULL. */
    void (*aside)(void *arg, size_t bytes);
    /* A tunnel takes bytes again, after it did not take all of them. May be NULL. */
    void (*writable)(void *arg);
    /* Once, last; not after upstream_cancel. The call is gone when it returns. */
    void (*done)(void *arg, upstream_result_t result);
} upstream_events_t;

typedef struct upstream upstream_t; /* a client: the connections and calls of one loop */
typedef struct upstream_call upstream_call_t;

typedef struct upstream_ops {
    upstream_call_t *(*start)(upstream_t *u, const upstream_request_t *r, const upstream_events_t *events, void *arg);
    void (*resume)(upstream_call_t *c);
    void (*cancel)(upstream_call_t *c); /* may be called from within an event; no event comes after it */
    /* After a 101 only: how many of the bytes were taken; if not all, `writable` follows. */
    size_t (*send)(upstream_call_t *c, span_t bytes);
    /* Likewise: nothing more will be sent. False: the server can't be told so without closing both ways. */
    bool (*finish)(upstream_call_t *c);
} upstream_ops_t;

struct upstream {
    const upstream_ops_t *ops;
    loop_t *loop;
};

/* A call begins with this, whatever its client keeps behind it. */
struct upstream_call {
    upstream_t *client;
};

#endif
