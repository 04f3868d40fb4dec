/* The upstream client for requests that ask for a change of protocol (RFC 9110 7.8): one connection each, HTTP/1.1,
 * never used again. A server that agrees gets a tunnel; one that doesn't answers as it would anything else. */
#ifndef BRINK_FETCH_UPSTREAM_TUNNEL_H
#define BRINK_FETCH_UPSTREAM_TUNNEL_H

#include "edge/fetch/upstream.h"

enum {
    UPSTREAM_TUNNEL_READ = 64 * 1024, /* bytes read at once, and held at most while the reader pauses */
    UPSTREAM_TUNNEL_READS = 8         /* in one turn of the loop */
};

/* `curl`: what connections are made with (upstream_curl_new); outlives it. NULL when the system refuses. */
upstream_t *upstream_tunnel_new(loop_t *loop, upstream_t *curl);
/* Calls still running are done as UPSTREAM_ABANDONED. The loop must run its messages once more, if it has any. */
void upstream_tunnel_free(upstream_t *u);
/* The descriptor that the loop watches for readability, and what it calls then. */
int upstream_tunnel_fd(const upstream_t *u);
void upstream_tunnel_ready(void *u);

#endif
