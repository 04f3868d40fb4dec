/* The upstream client over libcurl's multi interface: keep-alive pool, verified TLS, HTTP/1.1. */
#ifndef BRINK_FETCH_UPSTREAM_CURL_H
#define BRINK_FETCH_UPSTREAM_CURL_H

#include "edge/fetch/upstream.h"

/* Once a process, before threads are started. */
err_t upstream_curl_global_init(void);
/* NULL when libcurl or the system refuse. Belongs to the loop's thread. */
upstream_t *upstream_curl_new(loop_t *loop);
/* Where it learns addresses from; before the first call. `r` outlives it. */
struct resolve;
void upstream_curl_resolve_by(upstream_t *u, struct resolve *r);
/* Calls still running are done as UPSTREAM_ABANDONED. The loop must run its messages once more, if it has any. */
void upstream_curl_free(upstream_t *u);
/* The descriptor that the loop watches for readability, and what it calls then. */
int upstream_curl_fd(const upstream_t *u);
void upstream_curl_ready(void *u);

#endif
