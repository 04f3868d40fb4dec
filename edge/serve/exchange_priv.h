/* What exchange_h2o.c, exchange_request.c and exchange_tunnel.c know of each other. */
#ifndef BRINK_SERVE_EXCHANGE_PRIV_H
#define BRINK_SERVE_EXCHANGE_PRIV_H

#include "edge/serve/serve_priv.h"

enum { EXCHANGE_MAGIC = 0x65786368 };

typedef enum exchange_later { LATER_NOTHING, LATER_WRITABLE, LATER_FINAL, LATER_ABORT } exchange_later_t;

typedef struct exchange_h2o {
    h2o_generator_t generator; /* first: the library hands it back */
    exchange_t x;
    arena_t arena;
    uint32_t magic;
    h2o_req_t *req; /* NULL after the final send */
    serve_conn_t *conn;
    list_t link; /* in the worker's list */
    h2o_timeout_entry_t timer;
    exchange_later_t later;
    size_t head_bytes, counted; /* as it came; and what of it is in the worker's sum */
    bool h2, head_done, first_sent, in_flight, no_body, chunked, ended;
    bool malformed;                         /* over HTTP/2: its stream is reset for it */
    bool refused;                           /* over HTTP/2: answered by a head alone */
    bool dropped;                           /* the server stops and ends it; the path may not know yet */
    char date[H2O_TIMESTR_RFC1123_LEN + 1]; /* empty: the library's own */
    char chunk_head[20];
    /* HTTP/1: a 1xx is on its way to the socket, another one behind it, and what was sent after it */
    bool telling, held;
    span_t tell_next;
    struct iovec *held_v;
    size_t held_n;
    exchange_end_t held_end;
    struct exchange_tunnel *tunnel; /* NULL: it is none */
} exchange_h2o_t;

exchange_h2o_t *exchange_h2o_of(exchange_t *x);
/* Something to do at the end of the turn, so that the path is never called back from its own call. */
void exchange_h2o_put_off(exchange_h2o_t *e, exchange_later_t what);
/* What is sent while something else is being written. */
void exchange_h2o_hold(exchange_h2o_t *e, const struct iovec *v, size_t n, exchange_end_t end);
/* A head before the last, written to the socket behind what is being written so. The text lives with the exchange. */
void exchange_h2o_tell_next(exchange_h2o_t *e, span_t text);
bool exchange_h2o_is_framing(span_t name);

/* exchange_request.c: 0, or the status of a refusal. */
int exchange_request_fill(exchange_h2o_t *e, h2o_req_t *req);

/* exchange_tunnel.c */
void exchange_tunnel_open(exchange_h2o_t *e, const fields_t *fields);
void exchange_tunnel_on_written(h2o_socket_t *sock, const char *err);
void exchange_tunnel_end(exchange_h2o_t *e); /* all was sent */
void exchange_tunnel_cut(exchange_h2o_t *e); /* `e` is gone when it returns */
void exchange_tunnel_release(exchange_h2o_t *e);

#endif
