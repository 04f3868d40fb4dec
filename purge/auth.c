/* All tokens are compared, whichever matches, so that time tells nothing about which bytes were right.
 *
 * Guessing is slowed down by a bucket for each client address, which only wrong tokens empty. Who shares the address of
 * one that guesses waits, too, as long as it goes on; a request without a token is never held up. */
#include "purge/auth.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "edge/access/limiter.h"
#include "edge/access/network.h"
#include "edge/base/check.h"
#include "edge/base/mem.h"

typedef struct auth_entry {
    char name[AUTH_NAME_MAX];
    unsigned char sha256[32];
    unsigned allow;
    span_t *sites;
    size_t sites_n;
    double room; /* of the bucket */
    msec_t filled;
} auth_entry_t;

struct auth {
    pthread_mutex_t mutex;
    auth_entry_t *v;
    size_t n;
    limiter_t *wrong; /* tokens, by client address; locks itself */
};

static void auth_clear(auth_t *a)
{
    for (size_t i = 0; i < a->n; i++) {
        for (size_t j = 0; j < a->v[i].sites_n; j++)
            free((char *)a->v[i].sites[j].p);
        free(a->v[i].sites);
    }
    free(a->v);
    a->v = NULL;
    a->n = 0;
}

static void auth_fill(auth_t *a, const auth_token_t *tokens, size_t n)
{
    a->v = mem_zalloc((n > 0 ? n : 1) * sizeof *a->v);
    a->n = n;
    for (size_t i = 0; i < n; i++) {
        auth_entry_t *e = &a->v[i];
        snprintf(e->name, sizeof e->name, "%.*s", SPAN_ARG(tokens[i].name));
        memcpy(e->sha256, tokens[i].sha256, sizeof e->sha256);
        e->allow = tokens[i].allow;
        e->sites_n = tokens[i].sites_n;
        e->sites = mem_zalloc((e->sites_n > 0 ? e->sites_n : 1) * sizeof *e->sites);
        for (size_t j = 0; j < e->sites_n; j++)
            e->sites[j] = span_of(mem_dup(tokens[i].sites[j].p, tokens[i].sites[j].n), tokens[i].sites[j].n);
        e->room = AUTH_BURST;
    }
}

auth_t *auth_new(const auth_token_t *tokens, size_t n)
{
    auth_t *a = mem_zalloc(sizeof *a);
    pthread_mutex_init(&a->mutex, NULL);
    a->wrong = limiter_new(AUTH_ADDRESSES, (uint64_t)arc4random() << 32 | arc4random());
    auth_fill(a, tokens, n);
    return a;
}

void auth_replace(auth_t *a, const auth_token_t *tokens, size_t n)
{
    pthread_mutex_lock(&a->mutex);
    auth_clear(a);
    auth_fill(a, tokens, n);
    pthread_mutex_unlock(&a->mutex);
}

void auth_free(auth_t *a)
{
    if (a == NULL)
        return;
    auth_clear(a);
    limiter_free(a->wrong);
    pthread_mutex_destroy(&a->mutex);
    free(a);
}

static span_t auth_presented(const fields_t *fields)
{
    span_t v = fields_get(fields, SPAN("authorization"));
    if (v.n > 7 && span_caseeq(span_upto(v, 7), SPAN("bearer ")))
        return span_trim(span_from(v, 7));
    v = fields_get(fields, SPAN("fastly-key"));
    return v.p != NULL ? v : fields_get(fields, SPAN("x-auth-key")); /* older clients of the other CDN */
}

/* What an address is counted as; a unix socket is one client. */
static digest_t auth_client(span_t peer)
{
    network_address_t address = {{0}};
    if (network_address(peer, &address) == ERR_OK)
        address = network_client(&address);
    return hash_digest(span_of((const char *)address.bytes, sizeof address.bytes));
}

int auth_check(auth_t *a, const handler_request_t *req, unsigned need, msec_t now, arena_t *arena, auth_who_t *who)
{
    span_t token = auth_presented(req->fields);
    unsigned char digest[32];
    int status = 401;
    *who = (auth_who_t){.sites_n = 0};
    bool presented = token.p != NULL && token.n > 0 && token.n <= AUTH_TOKEN_MAX;
    digest_t client = auth_client(req->peer);
    int64_t micros = (int64_t)now * 1000;
    if (presented && limiter_wait(a->wrong, client, AUTH_WRONG_RATE, AUTH_WRONG_BURST, micros) > 0)
        return 429;
    if (presented)
        SHA256((const unsigned char *)token.p, token.n, digest);
    pthread_mutex_lock(&a->mutex);
    if (a->n == 0) {
        status = need == AUTH_READ && req->peer_loopback ? 200 : 403;
        snprintf(who->name, sizeof who->name, "loopback");
    }
    auth_entry_t *match = NULL;
    for (size_t i = 0; presented && i < a->n; i++)
        if (CRYPTO_memcmp(a->v[i].sha256, digest, sizeof digest) == 0)
            match = &a->v[i];
    if (match != NULL) {
        status = (match->allow & need) == need ? 200 : 403;
        memcpy(who->name, match->name, sizeof who->name);
        who->sites = arena_alloc(arena, (match->sites_n + 1) * sizeof *who->sites);
        for (size_t j = 0; who->sites != NULL && j < match->sites_n; j++) {
            who->sites[j] = arena_copy(arena, match->sites[j]);
            who->sites_n++;
        }
        if (who->sites_n < match->sites_n)
            status = 403; /* no memory to say where it may: nowhere */
    }
    bool wrong = presented && match == NULL && a->n > 0;
    pthread_mutex_unlock(&a->mutex);
    if (wrong)
        limiter_take(a->wrong, client, AUTH_WRONG_RATE, AUTH_WRONG_BURST, micros);
    return status;
}

int auth_rate(auth_t *a, const auth_who_t *who, msec_t now)
{
    int wait = 0;
    pthread_mutex_lock(&a->mutex);
    for (size_t i = 0; i < a->n; i++) {
        auth_entry_t *e = &a->v[i];
        if (strcmp(e->name, who->name) != 0)
            continue;
        if (e->filled != 0)
            e->room += (double)(now - e->filled) * AUTH_RATE / MSEC_PER_SEC;
        e->filled = now;
        if (e->room > AUTH_BURST)
            e->room = AUTH_BURST;
        if (e->room >= 1)
            e->room -= 1;
        else
            wait = 1;
        break;
    }
    pthread_mutex_unlock(&a->mutex);
    return wait;
}

static span_t auth_without_port(span_t host)
{
    size_t i = host.n;
    while (i > 0 && host.p[i - 1] >= '0' && host.p[i - 1] <= '9')
        i--;
    return i > 1 && i < host.n && host.p[i - 1] == ':' ? span_upto(host, i - 1) : host;
}

bool auth_covers(const auth_who_t *who, span_t host)
{
    span_t name = auth_without_port(host);
    for (size_t i = 0; i < who->sites_n; i++) {
        span_t s = who->sites[i];
        if (span_eq(s, SPAN("*")) || span_caseeq(s, host) || span_caseeq(s, name))
            return true;
        if (span_starts(s, SPAN("*.")) && name.n > s.n - 1 &&
            span_caseeq(span_from(name, name.n - (s.n - 1)), span_from(s, 1)))
            return true;
    }
    return who->sites_n == 0;
}
