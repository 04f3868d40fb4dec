/* One request of a client and the way to answer it, as the request path sees them. serve/ implements it over h2o, tests
 * over plain memory. Everything here happens on the event loop of the client's connection.
 *
 * Order of calls: serve fills the request part and calls request_begin(x). The path answers with
 *   exchange_head() once, then exchange_send() any number of times, the last with EXCHANGE_FINAL or EXCHANGE_ABORT.
 * After each exchange_send() that is not final the path waits for on_writable before it sends again.
 *
 * A tunnel: where `upgrade` says what the client offers, a head of 101 with a field "upgrade" (what was agreed on)
 * hands the connection over. What is sent then is raw; what comes is told by on_input, and waits until it is taken.
 * FINAL ends both directions once all is sent, ABORT at once. on_gone is called at most once, whenever the exchange
 * ends for whatever reason (final sent and flushed, client left, connection killed): release then; the exchange must
 * not be touched after it. */
#ifndef BRINK_REQUEST_EXCHANGE_H
#define BRINK_REQUEST_EXCHANGE_H

#include "edge/base/loop.h"
#include "edge/http/fields.h"
#include "edge/http/method.h"

struct iovec;
typedef struct exchange exchange_t;

typedef enum exchange_end { EXCHANGE_MORE, EXCHANGE_FINAL, EXCHANGE_ABORT } exchange_end_t;

/* How the server sends; one static table an implementation. */
typedef struct exchange_ops {
    /* Status and fields (end-to-end only, already complete with Date, Age, Via …); content_length -1 when unknown.
     * Names and values must stay valid until on_gone. */
    void (*head)(exchange_t *x, int status, const fields_t *fields, int64_t content_length);
    /* The bytes must stay valid until the next on_writable or on_gone. ABORT: the response is visibly cut (RST_STREAM,
     * or the connection closed before the end), never completed. */
    void (*send)(exchange_t *x, const struct iovec *v, size_t n, exchange_end_t end);
    /* A 1xx with fields, before the head (RFC 9110 15.2, RFC 8297); not for HTTP/1.0, whose clients know none. */
    void (*informational)(exchange_t *x, int status, const fields_t *fields);
    /* After a 101: what has come and was not taken; `*end`: nothing comes after it. The view lives until the path
     * returns, or takes of it. NULL where `upgrade` is never set. */
    span_t (*input)(exchange_t *x, bool *end);
    void (*take)(exchange_t *x, size_t n);
    size_t send_most; /* bytes that are best given to one send (SIZE_MAX: the more the better) */
} exchange_ops_t;

struct exchange {
    const exchange_ops_t *ops;
    loop_t *loop;
    arena_t *arena; /* lives until after on_gone */

    /* ---- the request, filled by serve; spans live until on_gone ---- */
    method_t method;
    span_t method_name;
    span_t scheme;    /* "http" or "https" */
    span_t authority; /* Host or :authority as received */
    span_t target;    /* origin form, "/path?query", or absolute form, or "*" */
    fields_t
        fields;  /* names lower case, no pseudo fields, framing fields (content-length, transfer-encoding) taken off */
    span_t body; /* whole, already within max_body */
    bool has_body;       /* also an empty one, but for GET and HEAD */
    span_t peer;         /* client's address as text, without port */
    span_t upgrade;      /* the client's Upgrade (RFC 9110 7.8), where it counts; .p NULL: none */
    int protocol;        /* 10, 11, 20 */
    int64_t began_nanos; /* CLOCK_MONOTONIC when the request was complete */

    /* ---- filled by the request path before the first await ---- */
    void *path; /* its own state */
    void (*on_writable)(exchange_t *x);
    void (*on_gone)(exchange_t *x);
    void (*on_input)(exchange_t *x); /* of a tunnel; set before its head is sent */

    /* ---- counted by serve for the log ---- */
    uint64_t body_sent;
};

/* A request that was refused before it became an exchange. Views that live within the call; they hold whatever bytes
 * the client sent, and what couldn't be told apart in them is .p NULL. */
typedef struct exchange_refused {
    span_t method, target; /* without a method: the whole line that was none */
    span_t scheme, authority, peer;
    int status; /* as answered; 0: the connection was closed without a word */
    int protocol;
} exchange_refused_t;

#endif
