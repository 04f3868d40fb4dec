/* A bare connection to an upstream, for what libcurl doesn't speak well: HTTP/2, tunnels. It is made by libcurl, with
 * all that belongs to it (names, unix sockets, verified TLS, clients' certificates, resumed sessions, the time limit);
 * from then on its bytes are its owner's.
 *
 * Threads: the loop of the client that it was made with. Never called from within a callback of that client. */
#ifndef BRINK_FETCH_UPSTREAM_LINK_H
#define BRINK_FETCH_UPSTREAM_LINK_H

#include <sys/types.h>

#include "edge/fetch/upstream.h"

typedef struct upstream_link upstream_link_t;

enum { UPSTREAM_LINK_AGAIN = -1, UPSTREAM_LINK_BROKEN = -2 };

/* `curl`: from upstream_curl_new. h2: ALPN offers "h2" before "http/1.1". `done` comes once, later: OK, or why not (the
 * link is gone then). */
upstream_link_t *upstream_link_open(upstream_t *curl, const upstream_target_t *to, bool h2, msec_t timeout,
                                    void (*done)(void *arg, upstream_result_t result), void *arg);
/* Any time; before `done` too, which is then not called. */
void upstream_link_close(upstream_link_t *l);

/* Once it is open: */
int upstream_link_fd(const upstream_link_t *l);  /* for readability and writability */
bool upstream_link_h2(const upstream_link_t *l); /* "h2" was agreed on */
/* Bytes read, 0 at the end, UPSTREAM_LINK_AGAIN (until the descriptor is readable), UPSTREAM_LINK_BROKEN. TLS may hold
 * bytes that the descriptor doesn't show: read until AGAIN. */
ssize_t upstream_link_read(upstream_link_t *l, char *p, size_t n);
ssize_t upstream_link_write(upstream_link_t *l, const char *p, size_t n);
/* Ends our direction alone. False: that can't be done over TLS. */
bool upstream_link_finish(upstream_link_t *l);
/* After a read of 0: was it the peer who ended it? Over TLS an attacker can end the connection beneath. */
bool upstream_link_ended(const upstream_link_t *l);

#endif
