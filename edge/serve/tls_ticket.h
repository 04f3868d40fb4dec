/* Keys of session tickets (RFC 5077 4, RFC 8446 4.6.1), derived from a secret and the time: every worker, and every
 * node with the same secret, has the same keys without a word about it, and they change by themselves. Any thread. */
#ifndef BRINK_SERVE_TLS_TICKET_H
#define BRINK_SERVE_TLS_TICKET_H

#include <openssl/ssl.h>

#include "edge/base/span.h"
#include "edge/base/time.h"

enum {
    TLS_TICKET_ROTATION = 6 * 3600 * 1000, /* ms that a key encrypts; it decrypts for as long again */
    TLS_TICKET_SECRETS = 4,                /* lines of a secret: the first encrypts, all decrypt */
    TLS_TICKET_NAME = 16
};

typedef struct tls_ticket_key {
    unsigned char name[TLS_TICKET_NAME], mac[32], cipher[32];
} tls_ticket_key_t;

/* The key of a secret (one line) at a time. Pure. */
void tls_ticket_key(span_t secret, int64_t period, tls_ticket_key_t *out);
/* Has the context make and read its tickets with the secret, which must outlive it. */
void tls_ticket_use(SSL_CTX *ctx, const span_t *secret);

#endif
