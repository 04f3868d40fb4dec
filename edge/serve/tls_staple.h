/* OCSP responses to hand out with certificates (RFC 6066 8). The operator fetches them; brink checks and staples them.
 */
#ifndef BRINK_SERVE_TLS_STAPLE_H
#define BRINK_SERVE_TLS_STAPLE_H

#include <openssl/ssl.h>

#include "edge/base/err.h"
#include "edge/base/time.h"

typedef struct tls_staple {
    X509 *leaf; /* of the context that it is handed out by, which keeps it */
    unsigned char *der;
    size_t n;
    msec_t next_update; /* wall; not handed out after it */
    struct tls_staple *next;
} tls_staple_t;

/* Reads a DER response (openssl ocsp -respout) that must be good, current and for `leaf`, and puts it before *list.
 * ERR_CORRUPT with a sentence. */
err_t tls_staple_load(tls_staple_t **list, X509 *leaf, X509 *issuer, const char *path, msec_t now, char *err,
                      size_t err_size);
void tls_staple_free(tls_staple_t *list);
/* Has the context answer clients that ask for the status of its certificates. The list must outlive it. */
void tls_staple_use(SSL_CTX *ctx, tls_staple_t *const *list);

#endif
