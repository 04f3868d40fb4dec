/* The PROXY protocol, versions 1 and 2, as a receiver reads it (haproxy.org, proxy-protocol.txt). Pure. */
#ifndef BRINK_SERVE_PROXY_LINE_H
#define BRINK_SERVE_PROXY_LINE_H

#include <stddef.h>
#include <sys/socket.h>

#include "edge/base/err.h"

enum { PROXY_LINE_MAX = 536 }; /* longest header that is read: version 2 with addresses and TLVs */

typedef struct proxy_line {
    struct sockaddr_storage source;
    socklen_t len; /* 0: none given (UNKNOWN, LOCAL): the connection's own address counts */
} proxy_line_t;

/* ERR_OK: *used bytes are the header. ERR_AGAIN: more bytes are needed. ERR_MALFORMED: not a PROXY header. */
err_t proxy_line_parse(const char *buf, size_t n, proxy_line_t *out, size_t *used);

#endif
