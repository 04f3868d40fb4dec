/* A response that has run out is worse than none: clients take the connection for attacked. So it is checked when it is
 * loaded, where the operator sees the error, and each time before it is handed out. */
#include "edge/serve/tls_staple.h"

#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "edge/base/check.h"
#include "edge/base/clock.h"
#include "edge/base/mem.h"

enum { TLS_STAPLE_MAX = 64 * 1024, TLS_STAPLE_SKEW = 300 /* s that clocks may differ */ };

static msec_t tls_staple_time(const ASN1_GENERALIZEDTIME *t)
{
    struct tm tm;
    return t != NULL && ASN1_TIME_to_tm(t, &tm) == 1 ? (msec_t)timegm(&tm) * MSEC_PER_SEC : MSEC_NEVER;
}

/* NULL: it is what it should be. */
static const char *tls_staple_judge(OCSP_BASICRESP *basic, X509 *leaf, X509 *issuer, tls_staple_t *out, msec_t now)
{
    int status, reason;
    ASN1_GENERALIZEDTIME *revoked, *this_update, *next_update;
    OCSP_CERTID *id = OCSP_cert_to_id(NULL, leaf, issuer);
    const char *why = NULL;
    if (id == NULL || OCSP_resp_find_status(basic, id, &status, &reason, &revoked, &this_update, &next_update) != 1)
        why = "it is not about this certificate (or was asked for with another digest than SHA-1)";
    else if (status != V_OCSP_CERTSTATUS_GOOD)
        why = "it says that the certificate is not good";
    else if (OCSP_check_validity(this_update, next_update, TLS_STAPLE_SKEW, -1) != 1 ||
             tls_staple_time(next_update) <= now)
        why = "it has run out, or is from the future";
    else
        out->next_update = tls_staple_time(next_update);
    OCSP_CERTID_free(id);
    return why;
}

err_t tls_staple_load(tls_staple_t **list, X509 *leaf, X509 *issuer, const char *path, msec_t now, char *err,
                      size_t err_size)
{
    tls_staple_t *s = mem_zalloc(sizeof *s);
    s->leaf = leaf;
    s->der = mem_alloc(TLS_STAPLE_MAX);
    FILE *f = fopen(path, "re");
    s->n = f != NULL ? fread(s->der, 1, TLS_STAPLE_MAX, f) : 0;
    if (f != NULL)
        fclose(f);
    const unsigned char *p = s->der;
    OCSP_RESPONSE *response = s->n > 0 && s->n < TLS_STAPLE_MAX ? d2i_OCSP_RESPONSE(NULL, &p, (long)s->n) : NULL;
    OCSP_BASICRESP *basic = response != NULL ? OCSP_response_get1_basic(response) : NULL;
    const char *why = basic == NULL    ? "it can't be read, or is no DER response (openssl ocsp -respout)"
                      : issuer == NULL ? "the certificate's file has no issuer behind the leaf"
                                       : tls_staple_judge(basic, leaf, issuer, s, now);
    OCSP_BASICRESP_free(basic);
    OCSP_RESPONSE_free(response);
    ERR_clear_error();
    if (why != NULL) {
        snprintf(err, err_size, "OCSP response %s can't be used: %s", path, why);
        tls_staple_free(s);
        return ERR_CORRUPT;
    }
    s->next = *list;
    *list = s;
    return ERR_OK;
}

void tls_staple_free(tls_staple_t *list)
{
    for (tls_staple_t *next; list != NULL; list = next) {
        next = list->next;
        free(list->der);
        free(list);
    }
}

static int tls_staple_on(SSL *ssl, void *arg)
{
    tls_staple_t *const *list = arg;
    const X509 *leaf = SSL_get_certificate(ssl);
    msec_t now = clock_now().wall;
    for (const tls_staple_t *s = *list; s != NULL; s = s->next)
        if (s->leaf == leaf && s->next_update > now) {
            unsigned char *copy = OPENSSL_memdup(s->der, s->n); /* OpenSSL frees it */
            if (copy == NULL)
                return SSL_TLSEXT_ERR_NOACK;
            SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)s->n);
            return SSL_TLSEXT_ERR_OK;
        }
    return SSL_TLSEXT_ERR_NOACK;
}

void tls_staple_use(SSL_CTX *ctx, tls_staple_t *const *list)
{
    SSL_CTX_set_tlsext_status_cb(ctx, tls_staple_on);
    SSL_CTX_set_tlsext_status_arg(ctx, (void *)list);
}
