/* Where the end of the connection is the only end of a body, an attacker who can cut the connection can shorten it, and
 * only TLS's closing alert tells the difference (RFC 9112 9.8). libcurl makes a TLS context for each connection; a note
 * hangs from it that the context's own callback writes, and that outlives the connection for whoever asks late. */
#include "edge/fetch/upstream_tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>

#include "edge/base/check.h"
#include "edge/base/mem.h"

struct upstream_tls {
    int refs;
    bool ended, h2;
};

static int upstream_tls_index = -1;

void upstream_tls_unref(upstream_tls_t *t)
{
    if (t != NULL && --t->refs == 0)
        free(t);
}

static void upstream_tls_drop(void *parent, void *note, CRYPTO_EX_DATA *data, int index, long l, void *p)
{
    (void)parent, (void)data, (void)index, (void)l, (void)p;
    upstream_tls_unref(note);
}

bool upstream_tls_global_init(void)
{
    if (upstream_tls_index < 0)
        upstream_tls_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, upstream_tls_drop);
    return upstream_tls_index >= 0;
}

static upstream_tls_t *upstream_tls_note(const SSL *ssl)
{
    return SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), upstream_tls_index);
}

static void upstream_tls_on_event(const SSL *ssl, int where, int value)
{
    upstream_tls_t *t = upstream_tls_note(ssl);
    if (t == NULL)
        return;
    if (where == SSL_CB_READ_ALERT && (value & 0xff) == SSL_AD_CLOSE_NOTIFY)
        t->ended = true;
    if (where == SSL_CB_HANDSHAKE_DONE) {
        const unsigned char *name = NULL;
        unsigned n = 0;
        SSL_get0_alpn_selected(ssl, &name, &n);
        t->h2 = n == 2 && memcmp(name, "h2", 2) == 0;
    }
}

CURLcode upstream_tls_on_context(CURL *easy, void *ctx, void *data)
{
    (void)easy, (void)data;
    upstream_tls_t *t = mem_zalloc(sizeof *t);
    t->refs = 1;
    if (SSL_CTX_set_ex_data(ctx, upstream_tls_index, t) != 1) {
        free(t);
        return CURLE_ABORTED_BY_CALLBACK;
    }
    SSL_CTX_set_info_callback(ctx, upstream_tls_on_event);
    return CURLE_OK;
}

upstream_tls_t *upstream_tls_of_context(void *ctx)
{
    upstream_tls_t *t = SSL_CTX_get_ex_data(ctx, upstream_tls_index);
    t->refs++;
    return t;
}

bool upstream_tls_h2(const upstream_tls_t *t)
{
    return t->h2;
}

upstream_tls_t *upstream_tls_of(CURL *easy)
{
    struct curl_tlssessioninfo *info = NULL;
    if (curl_easy_getinfo(easy, CURLINFO_TLS_SSL_PTR, &info) != CURLE_OK || info == NULL || info->internals == NULL ||
        info->backend != CURLSSLBACKEND_OPENSSL)
        return NULL;
    upstream_tls_t *t = upstream_tls_note(info->internals);
    if (t != NULL)
        t->refs++;
    return t;
}

bool upstream_tls_ended(const upstream_tls_t *t)
{
    return t->ended;
}

static err_t upstream_tls_unusable(const char *what, span_t file, char *err, size_t err_size)
{
    unsigned long e = ERR_peek_last_error();
    const char *why = ERR_SYSTEM_ERROR(e) ? strerror(ERR_GET_REASON(e)) : ERR_reason_error_string(e);
    snprintf(err, err_size, "%s %.*s can't be used: %s", what, SPAN_ARG(file), why != NULL ? why : "it holds none");
    ERR_clear_error();
    return ERR_IO;
}

err_t upstream_tls_check(span_t ca, span_t certificate, span_t key, char *err, size_t err_size)
{
    err_t e = ERR_OK;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    CHECK(ctx != NULL);
    ERR_clear_error();
    if (ca.p != NULL && SSL_CTX_load_verify_file(ctx, ca.p) != 1)
        e = upstream_tls_unusable("ca", ca, err, err_size);
    else if (certificate.p != NULL && SSL_CTX_use_certificate_chain_file(ctx, certificate.p) != 1)
        e = upstream_tls_unusable("client_certificate", certificate, err, err_size);
    else if (key.p != NULL && SSL_CTX_use_PrivateKey_file(ctx, key.p, SSL_FILETYPE_PEM) != 1)
        e = upstream_tls_unusable("client_key", key, err, err_size);
    SSL_CTX_free(ctx);
    return e;
}
