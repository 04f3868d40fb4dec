/* TLS to upstreams: who signed the certificate, and for which name. The certificates are made here. */
#include <criterion/criterion.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <unistd.h>

#include "peer.h"

typedef struct authority {
    EVP_PKEY *key;
    X509 *cert;
    char file[64];
} authority_t;

static X509 *issue(EVP_PKEY *key, const char *cn, const char *san, const authority_t *by, bool ca, long from, long to)
{
    X509 *x = X509_new();
    static long serial = 1;
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), serial++);
    X509_gmtime_adj(X509_getm_notBefore(x), from);
    X509_gmtime_adj(X509_getm_notAfter(x), to);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0);
    X509_set_issuer_name(x, by != NULL ? X509_get_subject_name(by->cert) : X509_get_subject_name(x));
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, by != NULL ? by->cert : x, x, NULL, NULL, 0);
    const struct {
        int nid;
        const char *value;
    } extensions[] = {{NID_basic_constraints, ca ? "critical,CA:TRUE" : "CA:FALSE"}, {NID_subject_alt_name, san}};
    for (size_t i = 0; i < 2; i++) {
        if (extensions[i].value == NULL)
            continue;
        X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, extensions[i].nid, extensions[i].value);
        cr_assert_not_null(e);
        X509_add_ext(x, e, -1);
        X509_EXTENSION_free(e);
    }
    cr_assert(X509_sign(x, by != NULL ? by->key : key, EVP_sha256()) > 0);
    return x;
}

static void authority_open(authority_t *a, const char *name)
{
    a->key = EVP_EC_gen("P-256");
    a->cert = issue(a->key, name, NULL, NULL, true, -3600, 86400);
    snprintf(a->file, sizeof a->file, "/tmp/brink-ca-%s-%d.pem", name, (int)getpid());
    FILE *f = fopen(a->file, "w");
    cr_assert_not_null(f);
    PEM_write_X509(f, a->cert);
    fclose(f);
}

static void authority_close(authority_t *a)
{
    unlink(a->file);
    X509_free(a->cert);
    EVP_PKEY_free(a->key);
}

static SSL_CTX *server(const authority_t *by, const char *san, long from, long to)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = issue(key, "server", san, by, false, from, to);
    cr_assert(SSL_CTX_use_certificate(ctx, cert) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1);
    X509_free(cert);
    EVP_PKEY_free(key);
    return ctx;
}

static void serve(peer_conn_t *c)
{
    while (peer_read(c))
        peer_write(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
}

/* The end of the connection is the end of the body, and it comes without the TLS alert that proves it. */
static void cut_without_alert(peer_conn_t *c)
{
    if (peer_read(c))
        peer_write(c, "HTTP/1.1 200 OK\r\n\r\nhello");
    SSL_set_quiet_shutdown(c->ssl, 1);
}

static void closed_with_alert(peer_conn_t *c)
{
    if (peer_read(c))
        peer_write(c, "HTTP/1.1 200 OK\r\n\r\nhello");
    SSL_shutdown(c->ssl);
}

static upstream_result_t ask(SSL_CTX *tls, peer_script_fn *script, const char *host, const char *ca)
{
    static peer_t p;
    bench_t b;
    seen_t s = {0};
    peer_open(&p, (peer_script_fn *const[]){script, NULL}, tls, NULL);
    bench_open(&b);
    upstream_request_t r = {.to = {.https = true, .host = span_str(host), .ca = span_str(ca)}};
    bench_start(&b, &p, &s, r, NULL);
    bench_until(&b, &s.done);
    cr_expect(s.result == UPSTREAM_OK || s.result == UPSTREAM_CUT || atomic_load(&p.requests) == 0,
              "no request goes to a stranger");
    seen_release(&s);
    bench_close(&b);
    peer_close(&p);
    return s.result;
}

Test(upstream_tls, believes_who_is_signed_for_that_name_only)
{
    authority_t ours, theirs;
    authority_open(&ours, "ours");
    authority_open(&theirs, "theirs");
    const struct {
        const authority_t *by;
        const char *san;
        long from, to;
        const char *host, *ca;
        upstream_result_t result;
        const char *name;
    } rows[] = {
        {&ours, "DNS:localhost", -3600, 3600, "localhost", ours.file, UPSTREAM_OK, "right"},
        {&ours, "IP:127.0.0.1", -3600, 3600, "127.0.0.1", ours.file, UPSTREAM_OK, "an address"},
        {&ours, "DNS:other.example", -3600, 3600, "localhost", ours.file, UPSTREAM_TLS_CERTIFICATE, "another name"},
        {&ours, "DNS:localhost", -3600, 3600, "127.0.0.1", ours.file, UPSTREAM_TLS_CERTIFICATE,
         "a name for an address"},
        {&theirs, "DNS:localhost", -3600, 3600, "localhost", ours.file, UPSTREAM_TLS_CERTIFICATE, "unknown authority"},
        {&ours, "DNS:localhost", -3600, 3600, "localhost", NULL, UPSTREAM_TLS_CERTIFICATE, "not in the system's list"},
        {&ours, "DNS:localhost", -7200, -3600, "localhost", ours.file, UPSTREAM_TLS_CERTIFICATE, "expired"},
        {&ours, "DNS:localhost", 3600, 7200, "localhost", ours.file, UPSTREAM_TLS_CERTIFICATE, "not yet valid"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        SSL_CTX *tls = server(rows[i].by, rows[i].san, rows[i].from, rows[i].to);
        upstream_result_t result = ask(tls, serve, rows[i].host, rows[i].ca);
        cr_expect_eq(result, rows[i].result, "%s: %s", rows[i].name, upstream_word(result));
        SSL_CTX_free(tls);
    }
    authority_close(&ours);
    authority_close(&theirs);
}

Test(upstream_tls, old_versions_are_refused)
{
    authority_t ours;
    authority_open(&ours, "old");
    SSL_CTX *tls = server(&ours, "DNS:localhost", -3600, 3600);
    SSL_CTX_set_max_proto_version(tls, TLS1_1_VERSION);
    SSL_CTX_set_cipher_list(tls, "ALL:@SECLEVEL=0");
    cr_expect_eq(ask(tls, serve, "localhost", ours.file), UPSTREAM_TLS);
    SSL_CTX_free(tls);
    authority_close(&ours);
}

Test(upstream_tls, a_body_ended_without_the_closing_alert_is_cut)
{
    authority_t ours;
    authority_open(&ours, "alert");
    SSL_CTX *tls = server(&ours, "DNS:localhost", -3600, 3600);
    cr_expect_eq(ask(tls, closed_with_alert, "localhost", ours.file), UPSTREAM_OK);
    upstream_result_t result = ask(tls, cut_without_alert, "localhost", ours.file);
    cr_expect_eq(result, UPSTREAM_CUT, "%s", upstream_word(result)); /* RFC 9112 9.8 */
    SSL_CTX_free(tls);
    authority_close(&ours);
}

/* ---- sessions and clients' certificates ---- */

static atomic_int reused, presented;

static void serve_once(peer_conn_t *c)
{
    atomic_fetch_add(&reused, SSL_session_reused(c->ssl));
    X509 *shown = SSL_get1_peer_certificate(c->ssl);
    atomic_fetch_add(&presented, shown != NULL);
    X509_free(shown);
    if (peer_read(c))
        peer_write(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
    SSL_shutdown(c->ssl);
}

Test(upstream_tls, sessions_are_resumed)
{
    static peer_script_fn *const script[] = {serve_once, serve_once, serve_once, NULL};
    static peer_t p;
    authority_t ours;
    bench_t b;
    authority_open(&ours, "resume");
    SSL_CTX *tls = server(&ours, "DNS:localhost", -3600, 3600);
    SSL_CTX_set_session_id_context(tls, (const unsigned char *)"x", 1);
    peer_open(&p, script, tls, NULL);
    bench_open(&b);
    atomic_store(&reused, 0);
    for (int i = 0; i < 3; i++) {
        seen_t s = {0}, other = {0};
        upstream_request_t r = {.to = {.https = true, .host = SPAN("localhost"), .ca = span_str(ours.file)}};
        bench_start(&b, &p, &s, r, NULL);
        if (i == 1) { /* another handle than that of the first request: what one learns is known to all */
            peer_t nobody = {.port = 1};
            bench_start(&b, &nobody, &other, (upstream_request_t){0}, NULL);
            bench_until(&b, &other.done);
        }
        bench_until(&b, &s.done);
        cr_expect_eq(s.result, UPSTREAM_OK, "%s", upstream_word(s.result));
        seen_release(&s);
    }
    cr_expect_eq(atomic_load(&reused), 2);
    bench_close(&b);
    peer_close(&p);
    SSL_CTX_free(tls);
    authority_close(&ours);
}

static void write_client(const authority_t *by, const char *certificate, const char *key)
{
    EVP_PKEY *k = EVP_EC_gen("P-256");
    X509 *x = issue(k, "edge", NULL, by, false, -3600, 3600);
    FILE *f = fopen(certificate, "w"), *g = fopen(key, "w");
    PEM_write_X509(f, x);
    PEM_write_PrivateKey(g, k, NULL, NULL, 0, NULL, NULL);
    fclose(f);
    fclose(g);
    X509_free(x);
    EVP_PKEY_free(k);
}

Test(upstream_tls, shows_its_certificate_where_it_has_one)
{
    static peer_script_fn *const script[] = {serve_once, NULL};
    static peer_t p;
    authority_t ours;
    authority_open(&ours, "client");
    char certificate[64], key[64];
    snprintf(certificate, sizeof certificate, "/tmp/brink-client-%d.pem", (int)getpid());
    snprintf(key, sizeof key, "/tmp/brink-client-%d.key", (int)getpid());
    write_client(&ours, certificate, key);
    SSL_CTX *tls = server(&ours, "DNS:localhost", -3600, 3600);
    SSL_CTX_load_verify_locations(tls, ours.file, NULL);
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    for (int with = 0; with < 2; with++) {
        bench_t b;
        seen_t s = {0};
        upstream_request_t r = {.to = {.https = true, .host = SPAN("localhost"), .ca = span_str(ours.file)}};
        if (with) {
            r.to.certificate = span_str(certificate);
            r.to.key = span_str(key);
        }
        atomic_store(&presented, 0);
        peer_open(&p, script, tls, NULL);
        bench_open(&b);
        bench_start(&b, &p, &s, r, NULL);
        bench_until(&b, &s.done);
        cr_expect_eq(s.result == UPSTREAM_OK, with, "%s", upstream_word(s.result));
        cr_expect_eq(atomic_load(&presented), with);
        seen_release(&s);
        bench_close(&b);
        peer_close(&p);
    }
    unlink(certificate);
    unlink(key);
    SSL_CTX_free(tls);
    authority_close(&ours);
}
