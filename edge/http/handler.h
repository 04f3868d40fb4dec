/* A request that brink answers itself (admin and purge API): plain structures in, plain structures out, so that
 * handlers know nothing of the server. A handler is called on an event loop and must not block; it replies at once or
 * later. */
#ifndef BRINK_HTTP_HANDLER_H
#define BRINK_HTTP_HANDLER_H

#include "edge/http/fields.h"
#include "edge/http/method.h"

struct request_env;

typedef struct handler_request {
    method_t method;
    span_t method_name, path, query; /* path without query; query without '?', .p NULL if none */
    span_t scheme, host;
    const fields_t *fields;
    span_t body;
    struct request_env *env; /* of the loop that it is called on: for a handler that follows the path of requests */
    span_t peer;             /* client address as text */
    bool peer_loopback;      /* and it calls by an address or as localhost; or over a unix socket */
} handler_request_t;

typedef struct handler_response {
    int status;
    const char *content_type; /* static */
    char *body;               /* malloc'ed, the receiver frees it; may be NULL */
    size_t body_len;
    const char *extra_name[4]; /* static names, lower case */
    char *extra_value[4];      /* malloc'ed, the receiver frees them */
    int extras;
} handler_response_t;

/* Hand over the answer. May be called on any thread, exactly once; takes what `resp` owns. The request's spans live
 * until then. */
typedef struct handler_reply {
    void (*send)(struct handler_reply *r, handler_response_t *resp);
} handler_reply_t;

typedef void handler_fn(void *ctx, const handler_request_t *req, handler_reply_t *reply);

/* All of these fill a response that was zeroed at first; they may be called in any order, and a second body replaces
 * the first. */

/* application/problem+json (RFC 9457) into `resp`: title says what is wrong, detail what would be right ("" for none;
 * cut at 1 KiB). Both may hold any bytes of a client's: they are escaped, and what is no UTF-8 is replaced. */
void handler_problem(handler_response_t *resp, int status, const char *title, const char *detail_fmt, ...)
    __attribute__((format(printf, 4, 5)));
void handler_text(handler_response_t *resp, int status, const char *content_type, const char *text,
                  size_t n);                                                     /* copies */
void handler_add(handler_response_t *resp, const char *name, const char *value); /* copies value; at most four */
void handler_response_release(handler_response_t *resp);

#endif
