/* Was a TLS connection ended by its peer, or cut? libcurl 7.88 takes both for the end, so we listen for the closing
 * alert ourselves. On the loop of the client that the connection belongs to. */
#ifndef BRINK_FETCH_UPSTREAM_TLS_H
#define BRINK_FETCH_UPSTREAM_TLS_H

#include <curl/curl.h>
#include <stdbool.h>

#include "edge/base/err.h"
#include "edge/base/span.h"

typedef struct upstream_tls upstream_tls_t; /* what is known of one connection; counted, not thread-safe */

/* Once a process, before threads are started. */
bool upstream_tls_global_init(void);
/* For CURLOPT_SSL_CTX_FUNCTION. */
CURLcode upstream_tls_on_context(CURL *easy, void *ctx, void *data);
/* The connection that a transfer uses now, with a reference; NULL where it isn't TLS. Within curl's callbacks only. */
upstream_tls_t *upstream_tls_of(CURL *easy);
/* The same for a context that upstream_tls_on_context has seen. */
upstream_tls_t *upstream_tls_of_context(void *ctx);
void upstream_tls_unref(upstream_tls_t *t);
bool upstream_tls_ended(const upstream_tls_t *t); /* the closing alert came */
/* Can these files be used for https upstreams (PEM; .p NULL: none)? Else `err` names the one that can't and why. Reads
 * them; never on a loop. */
err_t upstream_tls_check(span_t ca, span_t certificate, span_t key, char *err, size_t err_size);
bool upstream_tls_h2(const upstream_tls_t *t); /* "h2" was agreed on (ALPN) */

#endif
