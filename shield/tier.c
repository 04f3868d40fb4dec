/* Every request from an edge to its shield is signed and verified, so the HMAC's keyed state is made once for each
 * thread and only wound back for each message: two compressions of SHA-256 are saved, and all allocation. The MAC is
 * over the bytes as sent, each part behind its length; nothing is parsed, ordered or re-encoded before it is checked,
 * so there is no second reading of a request for an attacker to find. */
#include "shield/tier.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdlib.h>

#include "edge/base/check.h"
#include "edge/base/mem.h"

enum { TIER_MAC_BYTES = 32 };

struct tier_key {
    EVP_MAC *mac;
    EVP_MAC_CTX *ctx;
    /* Unique by a random start and a counter: no system call a request. */
    unsigned char nonce[TIER_NONCE_BYTES];
};

tier_key_t *tier_key_new(span_t secret)
{
    tier_key_t *k = mem_zalloc(sizeof *k);
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
                           OSSL_PARAM_construct_end()};
    k->mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    k->ctx = k->mac != NULL ? EVP_MAC_CTX_new(k->mac) : NULL;
    CHECK(k->ctx != NULL);
    CHECK(EVP_MAC_init(k->ctx, (const unsigned char *)secret.p, secret.n, params) == 1);
    CHECK(RAND_bytes(k->nonce, sizeof k->nonce) == 1);
    return k;
}

void tier_key_free(tier_key_t *k)
{
    if (k == NULL)
        return;
    EVP_MAC_CTX_free(k->ctx);
    EVP_MAC_free(k->mac);
    free(k);
}

static void tier_mac_part(tier_key_t *k, span_t part)
{
    unsigned char length[4] = {(unsigned char)(part.n >> 24), (unsigned char)(part.n >> 16),
                               (unsigned char)(part.n >> 8), (unsigned char)part.n};
    CHECK(EVP_MAC_update(k->ctx, length, sizeof length) == 1);
    CHECK(part.n == 0 || EVP_MAC_update(k->ctx, (const unsigned char *)part.p, part.n) == 1);
}

static void tier_mac(tier_key_t *k, const tier_request_t *req, span_t value, unsigned char out[TIER_MAC_BYTES])
{
    size_t n = 0;
    CHECK(EVP_MAC_init(k->ctx, NULL, 0, NULL) == 1); /* the same key again */
    tier_mac_part(k, SPAN("brink-tier 1"));
    tier_mac_part(k, req->method);
    tier_mac_part(k, req->scheme);
    tier_mac_part(k, req->host);
    tier_mac_part(k, req->target);
    tier_mac_part(k, value);
    CHECK(EVP_MAC_final(k->ctx, out, &n, TIER_MAC_BYTES) == 1 && n == TIER_MAC_BYTES);
}

static void tier_hex(const unsigned char *p, size_t n, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    out[2 * n] = '\0';
}

/* Lower case only: one way to write it. */
static bool tier_unhex(span_t s, unsigned char *out, size_t n)
{
    if (s.n != 2 * n)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (v < 0)
            return false;
        out[i / 2] = (unsigned char)(i % 2 == 0 ? v << 4 : out[i / 2] | v);
    }
    return true;
}

/* ---- what may stand in the parameters ---- */
static bool tier_quotable(span_t s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < ' ' || s.p[i] >= 0x7f || s.p[i] == '"' || s.p[i] == '\\')
            return false;
    return s.n > 0;
}

static bool tier_word(span_t s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= '0' && s.p[i] <= '9') || (span_lower(s.p[i]) >= 'a' && span_lower(s.p[i]) <= 'z') ||
              s.p[i] == '-'))
            return false;
    return s.n > 0;
}

static bool tier_number(span_t s, msec_t *out)
{
    msec_t v = 0;
    if (s.n == 0 || s.n > 15)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        v = v * 10 + (s.p[i] - '0');
    }
    *out = v;
    return true;
}

/* ID of a stream entry: two numbers of at most 20 digits. */
static bool tier_cursor(span_t s)
{
    size_t dash = span_find(s, '-'), rest = s.n - dash - (dash < s.n);
    for (size_t i = 0; i < s.n; i++)
        if (i != dash && (s.p[i] < '0' || s.p[i] > '9'))
            return false;
    return dash > 0 && dash <= 20 && rest > 0 && rest <= 20;
}

/* ---- signing ---- */
static void tier_next_nonce(tier_key_t *k)
{
    for (size_t i = TIER_NONCE_BYTES; i-- > 0 && ++k->nonce[i] == 0;)
        ;
}

static void tier_duration(char *out, size_t n, const char *name, msec_t ms)
{
    snprintf(out, n, "; %s=%lld", name, (long long)(ms < 999999999999999 ? ms : 999999999999999));
}

span_t tier_sign(tier_key_t *k, arena_t *a, const tier_request_t *req, const tier_t *in, msec_t wall)
{
    bool comma = span_find(in->node, ',') < in->node.n;
    if (!tier_quotable(in->node) || comma || (in->hops.n > 0 && !tier_quotable(in->hops)) ||
        (in->run.n > 0 && !tier_word(in->run)) || (in->cursor.n > 0 && !tier_cursor(in->cursor)))
        return SPAN_NONE;
    char value[TIER_MAX_VALUE + 1], nonce[2 * TIER_NONCE_BYTES + 1], mac_text[2 * TIER_MAC_BYTES + 1];
    char newer[48] = "", patience[48] = "";
    unsigned char mac[TIER_MAC_BYTES];
    tier_next_nonce(k);
    tier_hex(k->nonce, sizeof k->nonce, nonce);
    if (in->newer_than >= 0)
        tier_duration(newer, sizeof newer, "newer-than-ms", in->newer_than);
    if (in->patience > 0)
        tier_duration(patience, sizeof patience, "patience-ms", in->patience);
    int n = snprintf(value, sizeof value, "v=1; node=\"%.*s\"; t=%lld; nonce=%s; hops=\"%.*s%s%.*s\"%s%.*s%s%.*s%s%s",
                     SPAN_ARG(in->node), (long long)wall, nonce, SPAN_ARG(in->hops), in->hops.n > 0 ? "," : "",
                     SPAN_ARG(in->node), in->run.n > 0 ? "; run=" : "", SPAN_ARG(in->run),
                     in->cursor.n > 0 ? "; cursor=" : "", SPAN_ARG(in->cursor), newer, patience);
    static const char mac_name[] = "; mac=";
    if (n < 0 || (size_t)n + sizeof mac_name - 1 + 2 * TIER_MAC_BYTES > TIER_MAX_VALUE)
        return SPAN_NONE;
    tier_mac(k, req, span_of(value, (size_t)n), mac);
    tier_hex(mac, sizeof mac, mac_text);
    return arena_printf(a, "%.*s%s%s", n, value, mac_name, mac_text);
}

/* ---- reading ---- */
enum {
    TIER_HAS_V = 1,
    TIER_HAS_NODE = 2,
    TIER_HAS_T = 4,
    TIER_HAS_NONCE = 8,
    TIER_HAS_HOPS = 16,
    TIER_HAS_RUN = 32,
    TIER_HAS_CURSOR = 64,
    TIER_HAS_NEWER = 128,
    TIER_HAS_PATIENCE = 256,
    TIER_NEEDED = TIER_HAS_V | TIER_HAS_NODE | TIER_HAS_T | TIER_HAS_NONCE | TIER_HAS_HOPS
};

/* One parameter; unknown names are passed over, so that a newer edge can talk to an older shield. */
static bool tier_parameter(span_t name, span_t v, bool quoted, tier_t *out, unsigned *has)
{
    unsigned bit = 0;
    bool good = true;
    if (span_eq(name, SPAN("v"))) {
        bit = TIER_HAS_V;
        good = !quoted && span_eq(v, SPAN("1"));
    } else if (span_eq(name, SPAN("node"))) {
        bit = TIER_HAS_NODE;
        good = quoted && tier_quotable(v);
        out->node = v;
    } else if (span_eq(name, SPAN("t"))) {
        bit = TIER_HAS_T;
        good = !quoted && tier_number(v, &out->sent);
    } else if (span_eq(name, SPAN("nonce"))) {
        bit = TIER_HAS_NONCE;
        good = !quoted && tier_unhex(v, out->nonce, TIER_NONCE_BYTES);
    } else if (span_eq(name, SPAN("hops"))) {
        bit = TIER_HAS_HOPS;
        good = quoted && tier_quotable(v);
        out->hops = v;
    } else if (span_eq(name, SPAN("run"))) {
        bit = TIER_HAS_RUN;
        good = !quoted && tier_word(v);
        out->run = v;
    } else if (span_eq(name, SPAN("cursor"))) {
        bit = TIER_HAS_CURSOR;
        good = !quoted && tier_cursor(v);
        out->cursor = v;
    } else if (span_eq(name, SPAN("newer-than-ms"))) {
        bit = TIER_HAS_NEWER;
        good = !quoted && tier_number(v, &out->newer_than);
    } else if (span_eq(name, SPAN("patience-ms"))) {
        bit = TIER_HAS_PATIENCE;
        good = !quoted && tier_number(v, &out->patience);
    }
    if (!good || *has & bit)
        return false;
    *has |= bit;
    return true;
}

err_t tier_parse(span_t value, tier_t *out, span_t *signed_part, unsigned char mac[TIER_MAC_BYTES])
{
    const size_t tail = 6 + 2 * TIER_MAC_BYTES; /* "; mac=" and the digits */
    *out = (tier_t){.newer_than = -1};
    if (value.n > TIER_MAX_VALUE || value.n < tail)
        return ERR_SYNTAX;
    span_t rest = span_upto(value, value.n - tail), end = span_from(value, value.n - tail);
    if (!span_starts(end, SPAN("; mac=")) || !tier_unhex(span_from(end, 6), mac, TIER_MAC_BYTES) ||
        !span_starts(rest, SPAN("v=")))
        return ERR_SYNTAX;
    *signed_part = rest;
    unsigned has = 0;
    for (bool more = true; more;) {
        size_t equals = span_find(rest, '=');
        span_t name = span_upto(rest, equals);
        if (!tier_word(name) || equals == rest.n)
            return ERR_SYNTAX;
        rest = span_from(rest, equals + 1);
        bool quoted = rest.n > 0 && rest.p[0] == '"';
        if (quoted)
            rest = span_from(rest, 1);
        size_t stop = span_find(rest, quoted ? '"' : ';');
        span_t v = span_upto(rest, stop);
        if ((quoted && stop == rest.n) || (!quoted && !tier_word(v)) || !tier_parameter(name, v, quoted, out, &has))
            return ERR_SYNTAX;
        rest = span_from(rest, stop + quoted);
        more = rest.n > 0;
        if (more && !span_starts(rest, SPAN("; ")))
            return ERR_SYNTAX;
        rest = span_from(rest, 2);
    }
    if ((has & TIER_NEEDED) != TIER_NEEDED)
        return ERR_SYNTAX;
    /* The sender is the last hop. */
    bool alone = span_eq(out->hops, out->node);
    bool last = span_ends(out->hops, out->node) && out->hops.n > out->node.n &&
                out->hops.p[out->hops.n - out->node.n - 1] == ',';
    return alone || last ? ERR_OK : ERR_SYNTAX;
}

err_t tier_verify(tier_key_t *k, span_t value, const tier_request_t *req, msec_t wall, tier_t *out)
{
    unsigned char theirs[TIER_MAC_BYTES], ours[TIER_MAC_BYTES];
    span_t signed_part;
    err_t e = tier_parse(value, out, &signed_part, theirs);
    if (e != ERR_OK)
        return e;
    tier_mac(k, req, signed_part, ours);
    if (CRYPTO_memcmp(ours, theirs, sizeof ours) != 0)
        return ERR_REFUSED;
    return out->sent < wall - TIER_WINDOW || out->sent > wall + TIER_WINDOW ? ERR_TIMEOUT : ERR_OK;
}

bool tier_loops(const tier_t *t, span_t own_name)
{
    size_t hops = 0;
    for (span_t rest = t->hops; rest.n > 0; hops++) {
        size_t comma = span_find(rest, ',');
        if (span_eq(span_upto(rest, comma), own_name))
            return true;
        rest = span_from(rest, comma + 1);
    }
    return hops > TIER_MAX_HOPS;
}

bool tier_internal(span_t name)
{
    return span_eq(name, TIER_FIELD) || span_starts(name, SPAN("brink-tier-"));
}

void tier_strip(fields_t *fields)
{
    size_t kept = 0;
    for (size_t i = 0; i < fields->n; i++)
        if (!tier_internal(fields->v[i].name))
            fields->v[kept++] = fields->v[i];
    fields->n = kept;
}

const char *tier_refusal(err_t e)
{
    return e == ERR_REFUSED   ? "mac"
           : e == ERR_TIMEOUT ? "clock"
           : e == ERR_EXISTS  ? "replay"
           : e == ERR_RANGE   ? "loop"
                              : "syntax";
}
