/* Certificates and the contexts made of them. A listener has one context a certificate, all configured alike; the name
 * that the client asks for (SNI, RFC 6066 3) chooses: exact names before wildcards of one label, the first certificate
 * otherwise. Two certificates for the same names and of different kinds (ECDSA and RSA) share a context, and the
 * client's abilities choose. A reload makes a whole new set; ticket keys come from a secret (tls_ticket.c), so sessions
 * survive it.
 *
 * Who resumes a session isn't asked for a certificate again, and tickets are good wherever their secret is. So a
 * session belongs to what was demanded of it (its ID context): one that anybody may begin opens no listener with
 * client_ca.
 *
 * TLS 1.2 with forward secrecy and AEAD only, and 1.3 (RFC 9325). ALPN is strict (RFC 7301 3.2): a client that offers
 * only protocols that we don't speak is told so. */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/base/clock.h"
#include "edge/base/mem.h"
#include "edge/base/span.h"
#include "edge/serve/serve_priv.h"
#include "edge/serve/tls_staple.h"
#include "edge/serve/tls_ticket.h"

enum { TLS_NAME_MAX = 255, TLS_NAMES_MAX = 1000 };

typedef struct tls_name {
    char *text; /* lower case; of a wildcard what follows "*." */
    bool wildcard;
    SSL_CTX *ctx; /* of the same set */
} tls_name_t;

struct tls_set {
    atomic_size_t refs;
    SSL_CTX **ctxs; /* the first is the default */
    size_t count;
    tls_name_t *names;
    size_t name_count;
    tls_staple_t *staples;
    span_t ticket_secret; /* owned */
};

tls_set_t *tls_ref(tls_set_t *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

void tls_unref(tls_set_t *t)
{
    if (t == NULL || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < t->count; i++)
        SSL_CTX_free(t->ctxs[i]);
    for (size_t i = 0; i < t->name_count; i++)
        free(t->names[i].text);
    tls_staple_free(t->staples);
    if (t->ticket_secret.n > 0)
        OPENSSL_cleanse((char *)t->ticket_secret.p, t->ticket_secret.n);
    free((char *)t->ticket_secret.p);
    free(t->ctxs);
    free(t->names);
    free(t);
}

SSL_CTX *tls_default(const tls_set_t *t)
{
    return t->ctxs[0];
}

static const tls_name_t *tls_find(const tls_set_t *t, const char *name)
{
    const char *dot = strchr(name, '.');
    for (size_t i = 0; i < t->name_count; i++)
        if (!t->names[i].wildcard && strcasecmp(t->names[i].text, name) == 0)
            return &t->names[i];
    for (size_t i = 0; dot != NULL && dot != name && i < t->name_count; i++)
        if (t->names[i].wildcard && strcasecmp(t->names[i].text, dot + 1) == 0)
            return &t->names[i];
    return NULL;
}

static int tls_on_servername(SSL *ssl, int *alert, void *arg)
{
    (void)alert;
    const tls_set_t *t = arg;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    const tls_name_t *found = name != NULL ? tls_find(t, name) : NULL;
    if (found != NULL)
        SSL_set_SSL_CTX(ssl, found->ctx);
    return SSL_TLSEXT_ERR_OK;
}

static int tls_on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                       unsigned in_len, void *arg)
{
    static const span_t ours[] = {{"h2", 2}, {"http/1.1", 8}, {"http/1.0", 8}};
    (void)ssl, (void)arg;
    for (size_t k = 0; k < sizeof ours / sizeof ours[0]; k++)
        for (unsigned i = 0; i + 1 <= in_len && i + 1 + in[i] <= in_len; i += 1U + in[i])
            if (span_eq(ours[k], span_of((const char *)in + i + 1, in[i]))) {
                *out = in + i + 1;
                *out_len = in[i];
                return SSL_TLSEXT_ERR_OK;
            }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* Two things that the library does not do. After close_notify nothing that the peer sends can mean anything, but the
 * library would go on collecting it undecrypted. And when a handshake fails the alert that says why stays in its
 * buffer: up to the ClientHello alerts go in the clear (RFC 8446 6), so it can be sent past it. (A ClientHello on a
 * connection that is established asks for renegotiation; what answers that is encrypted.) */
static void tls_on_info(const SSL *ssl, int where, int value)
{
    OSSL_HANDSHAKE_STATE state = SSL_get_state(ssl);
    h2o_socket_t *sock = BIO_get_data(SSL_get_rbio(ssl));
    if ((where & SSL_CB_READ_ALERT) == SSL_CB_READ_ALERT && (value & 0xff) == SSL_AD_CLOSE_NOTIFY) {
        shutdown(h2o_socket_get_fd(sock), SHUT_RD);
    } else if ((where & SSL_CB_WRITE_ALERT) == SSL_CB_WRITE_ALERT && value >> 8 == SSL3_AL_FATAL &&
               (state == TLS_ST_BEFORE || state == TLS_ST_SR_CLNT_HELLO) && conn_of(sock)->protocol == SERVE_NEW) {
        unsigned char alert[7] = {SSL3_RT_ALERT, 3, 3, 0, 2, SSL3_AL_FATAL, (unsigned char)value};
        ssize_t sent = send(h2o_socket_get_fd(sock), alert, sizeof alert, MSG_DONTWAIT | MSG_NOSIGNAL);
        (void)sent; /* it is a courtesy */
    }
}

static void tls_add_name(tls_set_t *t, SSL_CTX *ctx, const char *p, size_t n)
{
    bool wildcard = n > 2 && p[0] == '*' && p[1] == '.';
    if (wildcard)
        p += 2, n -= 2;
    if (n == 0 || n > TLS_NAME_MAX || memchr(p, '\0', n) != NULL || memchr(p, '*', n) != NULL ||
        t->name_count == TLS_NAMES_MAX)
        return;
    t->names = mem_realloc(t->names, (t->name_count + 1) * sizeof *t->names);
    t->names[t->name_count++] = (tls_name_t){mem_dup(p, n), wildcard, ctx};
}

/* The names that a certificate is for: subjectAltName, or the common name of one that has none. */
static void tls_add_names(tls_set_t *t, SSL_CTX *ctx)
{
    X509 *x = SSL_CTX_get0_certificate(ctx);
    GENERAL_NAMES *alt = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; alt != NULL && i < sk_GENERAL_NAME_num(alt); i++) {
        const GENERAL_NAME *g = sk_GENERAL_NAME_value(alt, i);
        if (g->type == GEN_DNS)
            tls_add_name(t, ctx, (const char *)ASN1_STRING_get0_data(g->d.dNSName),
                         (size_t)ASN1_STRING_length(g->d.dNSName));
    }
    if (alt == NULL) {
        char cn[TLS_NAME_MAX + 1];
        int n = X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, cn, sizeof cn);
        if (n > 0)
            tls_add_name(t, ctx, cn, (size_t)n);
    }
    GENERAL_NAMES_free(alt);
}

static const char *tls_reason(void)
{
    unsigned long e = ERR_peek_error();
    if (ERR_GET_LIB(e) == ERR_LIB_SYS)
        return strerror(ERR_GET_REASON(e));
    if (ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE)
        return "it is not a PEM file of that kind";
    const char *reason = ERR_reason_error_string(e);
    return reason != NULL ? reason : "unknown reason";
}

static SSL_CTX *tls_context(void)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    CHECK(ctx != NULL);
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
                                 SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20");
    /* 128 bits first, as in TLS 1.2: what most servers choose, and less work for large bodies */
    SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256");
    SSL_CTX_set1_groups_list(ctx, "X25519:P-256:P-384");
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* tickets: no memory a client */
    SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"brink", 5);
    SSL_CTX_set_num_tickets(ctx, 1);
    SSL_CTX_set_alpn_select_cb(ctx, tls_on_alpn, NULL);
    SSL_CTX_set_info_callback(ctx, tls_on_info);
    return ctx;
}

/* Puts certificate and key into a context; a second pair stands beside a first one of another kind. */
static err_t tls_use(SSL_CTX *ctx, const serve_certificate_t *c, char *err, size_t err_size)
{
    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(ctx, c->certificate) != 1) {
        snprintf(err, err_size, "certificate %s can't be used: %s", c->certificate, tls_reason());
        goto fail;
    }
    ERR_clear_error();
    if (SSL_CTX_use_PrivateKey_file(ctx, c->key, SSL_FILETYPE_PEM) != 1) {
        if (ERR_GET_REASON(ERR_peek_error()) == X509_R_KEY_VALUES_MISMATCH ||
            ERR_GET_REASON(ERR_peek_error()) == X509_R_KEY_TYPE_MISMATCH)
            snprintf(err, err_size, "key %s does not belong to certificate %s", c->key, c->certificate);
        else
            snprintf(err, err_size, "key %s can't be used: %s", c->key, tls_reason());
        goto fail;
    }
    if (SSL_CTX_check_private_key(ctx) != 1) {
        snprintf(err, err_size, "key %s does not belong to certificate %s", c->key, c->certificate);
        goto fail;
    }
    return ERR_OK;
fail:
    ERR_clear_error();
    return ERR_CORRUPT;
}

/* Sessions are resumed only where the same authorities are asked for (RFC 8446 4.6.1 leaves that to the server). */
static void tls_bind_sessions(SSL_CTX *ctx)
{
    const STACK_OF(X509_OBJECT) *authorities = X509_STORE_get0_objects(SSL_CTX_get_cert_store(ctx));
    unsigned char all[SHA256_DIGEST_LENGTH] = {0}, both[2 * SHA256_DIGEST_LENGTH];
    unsigned n = 0;
    for (int i = 0; i < sk_X509_OBJECT_num(authorities); i++) {
        const X509 *x = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(authorities, i));
        if (x == NULL)
            continue;
        memcpy(both, all, sizeof all);
        CHECK(X509_digest(x, EVP_sha256(), both + sizeof all, &n) == 1);
        SHA256(both, sizeof both, all);
    }
    CHECK(SSL_CTX_set_session_id_context(ctx, all, sizeof all) == 1);
}

/* Who may connect at all: only those with a certificate by one of these authorities. */
static err_t tls_demand_clients(SSL_CTX *ctx, const char *client_ca, char *err, size_t err_size)
{
    ERR_clear_error();
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(client_ca);
    if (names == NULL || SSL_CTX_load_verify_file(ctx, client_ca) != 1) {
        snprintf(err, err_size, "client_ca %s can't be used: %s", client_ca, tls_reason());
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        ERR_clear_error();
        return ERR_CORRUPT;
    }
    SSL_CTX_set_client_CA_list(ctx, names);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    tls_bind_sessions(ctx);
    return ERR_OK;
}

/* ---- a set ---- */

/* An earlier context for the same names that has no key of this kind yet. */
static SSL_CTX *tls_twin(tls_set_t *t, SSL_CTX *probe)
{
    int kind = EVP_PKEY_get_base_id(X509_get0_pubkey(SSL_CTX_get0_certificate(probe)));
    size_t first = t->name_count;
    tls_add_names(t, probe);
    size_t n = t->name_count - first;
    SSL_CTX *twin = NULL;
    for (size_t i = 0; i < t->count && twin == NULL && n > 0; i++) {
        size_t same = 0, all = 0;
        for (size_t k = 0; k < first; k++)
            if (t->names[k].ctx == t->ctxs[i]) {
                all++;
                for (size_t m = first; m < first + n; m++)
                    same += t->names[m].wildcard == t->names[k].wildcard &&
                            strcasecmp(t->names[m].text, t->names[k].text) == 0;
            }
        bool taken = false;
        for (int ok = SSL_CTX_set_current_cert(t->ctxs[i], SSL_CERT_SET_FIRST); ok == 1;
             ok = SSL_CTX_set_current_cert(t->ctxs[i], SSL_CERT_SET_NEXT))
            taken |= EVP_PKEY_get_base_id(X509_get0_pubkey(SSL_CTX_get0_certificate(t->ctxs[i]))) == kind;
        if (same == n && all == n && !taken)
            twin = t->ctxs[i];
    }
    if (twin != NULL) /* they are its own already */
        while (t->name_count > first)
            free(t->names[--t->name_count].text);
    return twin;
}

static err_t tls_add_staple(tls_set_t *t, SSL_CTX *ctx, const serve_certificate_t *c, char *err, size_t err_size)
{
    STACK_OF(X509) *chain = NULL;
    SSL_CTX_get0_chain_certs(ctx, &chain);
    X509 *issuer = chain != NULL && sk_X509_num(chain) > 0 ? sk_X509_value(chain, 0) : NULL;
    return tls_staple_load(&t->staples, SSL_CTX_get0_certificate(ctx), issuer, c->ocsp, clock_now().wall, err,
                           err_size);
}

static err_t tls_add(tls_set_t *t, const serve_listen_t *from, const serve_certificate_t *c, char *err, size_t err_size)
{
    SSL_CTX *ctx = tls_context();
    err_t e = tls_use(ctx, c, err, err_size);
    if (e != ERR_OK) {
        SSL_CTX_free(ctx);
        return e;
    }
    SSL_CTX *twin = tls_twin(t, ctx);
    if (twin != NULL) {
        SSL_CTX_free(ctx);
        ctx = twin;
        e = tls_use(ctx, c, err, err_size); /* it read well a moment ago */
    } else {
        t->ctxs[t->count++] = ctx;
        SSL_CTX_set_tlsext_servername_callback(ctx, tls_on_servername);
        SSL_CTX_set_tlsext_servername_arg(ctx, t);
        tls_ticket_use(ctx, &t->ticket_secret);
        tls_staple_use(ctx, &t->staples);
        if (from->client_ca != NULL)
            e = tls_demand_clients(ctx, from->client_ca, err, err_size);
    }
    return e == ERR_OK && c->ocsp != NULL ? tls_add_staple(t, ctx, c, err, err_size) : e;
}

err_t tls_load(const serve_listen_t *from, span_t ticket_secret, tls_set_t **out, char *err, size_t err_size)
{
    tls_set_t *t = mem_zalloc(sizeof *t);
    atomic_init(&t->refs, 1);
    t->ctxs = mem_zalloc(from->certificate_count * sizeof *t->ctxs);
    t->ticket_secret = span_of(mem_dup(ticket_secret.p, ticket_secret.n), ticket_secret.n);
    for (size_t i = 0; i < from->certificate_count; i++) {
        err_t e = tls_add(t, from, &from->certificates[i], err, err_size);
        if (e != ERR_OK) {
            tls_unref(t);
            return e;
        }
    }
    *out = t;
    return ERR_OK;
}
