/* The upstream client of a loop: HTTP/2 where the target says so and the server agrees, many requests on a connection;
 * else HTTP/1.1 by libcurl (upstream_curl.h). */
#ifndef BRINK_FETCH_UPSTREAM_H2_H
#define BRINK_FETCH_UPSTREAM_H2_H

#include "edge/fetch/upstream.h"

enum {
    UPSTREAM_H2_STREAMS = 100,         /* requests on one connection; more open another one */
    UPSTREAM_H2_WINDOW = 1024 * 1024,  /* bytes of one response that may come before its reader has taken any */
    UPSTREAM_H2_IDLE = 60000,          /* ms that a connection is kept without a request */
    UPSTREAM_H2_REMEMBER = 10 * 60000, /* ms that a server is taken for one of HTTP/1.1 after it declined HTTP/2 */
    UPSTREAM_H2_DECLINED_MAX = 1024,   /* such servers; then all are forgotten */
    UPSTREAM_H2_SENT_MAX = 3           /* times that a request is sent which a server says it has not looked at */
};

/* upstream_curl_global_init was called. NULL when libcurl or the system refuse. Belongs to the loop's thread. */
upstream_t *upstream_h2_new(loop_t *loop);
/* Calls still running are done as UPSTREAM_ABANDONED. The loop must run its messages once more, if it has any. */
void upstream_h2_free(upstream_t *u);
/* The descriptor that the loop watches for readability, and what it calls then. */
int upstream_h2_fd(const upstream_t *u);
void upstream_h2_ready(void *u);
/* What upstream_link_open wants. */
upstream_t *upstream_h2_links(upstream_t *u);

#endif
