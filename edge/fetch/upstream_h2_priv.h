/* What the client and its connections know of each other. */
#ifndef BRINK_FETCH_UPSTREAM_H2_PRIV_H
#define BRINK_FETCH_UPSTREAM_H2_PRIV_H

#include <nghttp2/nghttp2.h>

#include "edge/fetch/head.h"
#include "edge/fetch/upstream_h2.h"
#include "edge/fetch/upstream_link.h"

typedef struct upstream_h2 {
    upstream_t base;
    upstream_t *h1, *tunnels; /* owned */
    int epoll_fd;             /* their descriptors, and those of all connections */
    loop_message_t kick;
    bool kicked;
    bool closed;    /* only the kick that is on its way still needs it */
    unsigned depth; /* within events or the protocol library: calls and connections are then freed later */
    list_t pending; /* calls that have no connection yet */
    list_t over;    /* calls whose response is here as a whole and is still being read; and those that are put off */
    list_t dead;    /* cancelled calls, to be freed */
    list_t conns, graves;
    list_t declined; /* servers of HTTP/1.1 */
    size_t declined_n;
} upstream_h2_t;

typedef struct upstream_h2_call {
    upstream_call_t base;
    list_t link; /* in the client's `pending`, `over` or `dead`, or in its connection's `calls` */
    upstream_h2_t *client;
    struct upstream_h2_conn *conn; /* NULL: none */
    int32_t stream;                /* 0: not sent */
    upstream_call_t *inner;        /* goes over HTTP/1.1 after all */
    const upstream_events_t *events;
    void *arg;
    arena_t arena; /* what the request says */
    upstream_request_t r;
    fields_t fields;
    span_t server; /* key of its connections */
    head_t head;
    char *held; /* came while the reader was paused: at most UPSTREAM_H2_WINDOW */
    size_t held_n;
    size_t uploaded;
    loop_timer_t timer;
    msec_t sent_at, active, deadline;                        /* boot time; deadline MSEC_NEVER: none */
    unsigned times;                                          /* sent */
    bool delayed, had_head, whole, paused, reset, cancelled; /* reset: by the server */
    upstream_result_t why;                                   /* what we found wrong with the response */
} upstream_h2_call_t;

typedef struct upstream_h2_conn {
    list_t link; /* in the client's `conns`, or `graves` */
    upstream_h2_t *client;
    char *server;
    upstream_link_t *transport;
    nghttp2_session *session; /* NULL: connecting */
    list_t calls;
    size_t n;      /* of them */
    bool retiring; /* takes no more */
    bool served;   /* has brought a response */
    bool writes;   /* the descriptor is watched for writability */
    bool dirty;    /* something may be to write, or left to read */
    bool dead;
    msec_t active; /* last bytes from the peer */
    loop_timer_t timer;
    char *out;
    size_t out_n, out_at, out_cap;
} upstream_h2_conn_t;

/* upstream_h2.c */
void upstream_h2_kick_soon(upstream_h2_t *u);
/* The call is over, and freed. */
void upstream_h2_finish(upstream_h2_call_t *c, upstream_result_t result);
/* The server has not looked at it: it is sent again, elsewhere. False: that was enough. */
bool upstream_h2_again(upstream_h2_call_t *c);
void upstream_h2_over_http1(upstream_h2_call_t *c);
/* The server agreed on something else than HTTP/2. */
void upstream_h2_declined(upstream_h2_t *u, const char *server);
void upstream_h2_arm(upstream_h2_call_t *c, msec_t delay);

/* upstream_h2_conn.c */
upstream_h2_conn_t *upstream_h2_conn_open(upstream_h2_t *u, const upstream_h2_call_t *first);
bool upstream_h2_conn_takes(const upstream_h2_conn_t *k, const upstream_h2_call_t *c, msec_t now);
void upstream_h2_conn_add(upstream_h2_conn_t *k, upstream_h2_call_t *c);
/* Takes a call off; the stream is reset if it runs. */
void upstream_h2_conn_drop(upstream_h2_conn_t *k, upstream_h2_call_t *c);
/* The reader has taken so many bytes. */
void upstream_h2_conn_taken(upstream_h2_conn_t *k, int32_t stream, size_t n);
void upstream_h2_conn_ready(upstream_h2_conn_t *k);
void upstream_h2_conn_flush(upstream_h2_conn_t *k);
void upstream_h2_conn_close(upstream_h2_conn_t *k); /* without calls */
void upstream_h2_conn_free(upstream_h2_conn_t *k);

#endif
