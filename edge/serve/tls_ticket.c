/* A ticket key that never changes would open everything that was ever recorded of TLS 1.2 sessions it resumed, so keys
 * change every few hours. The key of a period is the HMAC of the period's number: nothing is stored, distributed or
 * rotated by hand, and a ticket of one node is good at every other one. A ticket of the period before is still taken
 * (and replaced), one of the next too, since clocks differ. */
#include "edge/serve/tls_ticket.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#include "edge/base/check.h"
#include "edge/base/clock.h"

enum { TICKET_REFUSED = 0, TICKET_TAKEN = 1, TICKET_TAKEN_RENEW = 2, TICKET_FAILED = -1 };

static void tls_ticket_derive(span_t secret, const char *what, int64_t period, unsigned char *out, size_t n)
{
    char message[64];
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    int text = snprintf(message, sizeof message, "brink ticket %s %lld", what, (long long)period);
    CHECK(HMAC(EVP_sha256(), secret.p, (int)secret.n, (unsigned char *)message, (size_t)text, mac, &length) != NULL);
    CHECK(length >= n);
    memcpy(out, mac, n);
    OPENSSL_cleanse(mac, sizeof mac);
}

void tls_ticket_key(span_t secret, int64_t period, tls_ticket_key_t *out)
{
    tls_ticket_derive(secret, "name", period, out->name, sizeof out->name);
    tls_ticket_derive(secret, "mac", period, out->mac, sizeof out->mac);
    tls_ticket_derive(secret, "cipher", period, out->cipher, sizeof out->cipher);
}

static span_t tls_ticket_line(span_t *rest)
{
    size_t end = span_find(*rest, '\n');
    span_t line = span_trim(span_upto(*rest, end));
    *rest = span_from(*rest, end < rest->n ? end + 1 : end);
    return line;
}

static bool tls_ticket_set(const tls_ticket_key_t *key, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                           const unsigned char *iv, int encrypt)
{
    OSSL_PARAM params[] = {OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)key->mac, sizeof key->mac),
                           OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
                           OSSL_PARAM_construct_end()};
    return EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv, encrypt) == 1 &&
           EVP_MAC_CTX_set_params(mac, params) == 1;
}

static int tls_ticket_on(SSL *ssl, unsigned char name[TLS_TICKET_NAME], unsigned char *iv, EVP_CIPHER_CTX *cipher,
                         EVP_MAC_CTX *mac, int encrypt)
{
    const span_t *secret = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    int64_t period = clock_now().wall / TLS_TICKET_ROTATION;
    span_t rest = *secret;
    tls_ticket_key_t key;
    int verdict = TICKET_REFUSED;
    for (int i = 0; i < TLS_TICKET_SECRETS && rest.n > 0 && verdict == TICKET_REFUSED; i++) {
        span_t line = tls_ticket_line(&rest);
        if (line.n == 0)
            continue;
        for (int64_t at = period - 1; at <= period + 1 && verdict == TICKET_REFUSED; at++) {
            if (encrypt && at != period)
                continue;
            tls_ticket_key(line, at, &key);
            if (encrypt)
                memcpy(name, key.name, sizeof key.name);
            else if (CRYPTO_memcmp(name, key.name, sizeof key.name) != 0)
                continue;
            if ((encrypt && RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) != 1) ||
                !tls_ticket_set(&key, cipher, mac, iv, encrypt))
                verdict = TICKET_FAILED;
            else
                verdict = encrypt || (i == 0 && at == period) ? TICKET_TAKEN : TICKET_TAKEN_RENEW;
        }
    }
    OPENSSL_cleanse(&key, sizeof key);
    return verdict;
}

void tls_ticket_use(SSL_CTX *ctx, const span_t *secret)
{
    CHECK(SSL_CTX_set_app_data(ctx, (void *)secret) == 1);
    CHECK(SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, tls_ticket_on) == 1);
}
