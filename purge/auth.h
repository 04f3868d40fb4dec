/* Who may purge and read: bearer tokens, known by their SHA-256 only, compared in constant time, limited by action,
 * site and rate. Who sends wrong ones has to wait, by client address. Thread-safe. */
#ifndef BRINK_PURGE_AUTH_H
#define BRINK_PURGE_AUTH_H

#include "edge/base/arena.h"
#include "edge/base/time.h"
#include "edge/http/handler.h"

enum { AUTH_PURGE = 1u << 0, AUTH_READ = 1u << 1 }; /* as conf's */

enum {
    AUTH_RATE = 1000,  /* purges a second and token, sustained */
    AUTH_BURST = 5000, /* and at once */
    AUTH_NAME_MAX = 64,
    AUTH_TOKEN_MAX = 1024,  /* bytes */
    AUTH_WRONG_BURST = 10,  /* wrong tokens that one address may send at once, */
    AUTH_WRONG_RATE = 1,    /* and a second */
    AUTH_ADDRESSES = 4096   /* that are remembered for it */
};

typedef struct auth_token { /* copied */
    span_t name;
    unsigned char sha256[32];
    unsigned allow;
    const span_t *sites; /* host patterns: "www.example.com", "*.example.com", "*"; none = all */
    size_t sites_n;
} auth_token_t;

typedef struct auth auth_t;

auth_t *auth_new(const auth_token_t *tokens, size_t n);
void auth_replace(auth_t *a, const auth_token_t *tokens, size_t n); /* a reload */
void auth_free(auth_t *a);

typedef struct auth_who {
    char name[AUTH_NAME_MAX];
    span_t *sites; /* in the caller's arena; n 0 = all */
    size_t sites_n;
} auth_who_t;

/* 200: allowed, *who filled. 401: no token, or an unknown one. 403: a known one that may not, or no tokens are
 * configured at all (then loopback may read). 429: too many wrong tokens came from this address (Retry-After: 1); this
 * one was not even compared, else the answer would say whether it is right. `need`: AUTH_PURGE or AUTH_READ. Of the
 * request only fields and peer are looked at. */
int auth_check(auth_t *a, const handler_request_t *req, unsigned need, msec_t now_boot, arena_t *arena,
               auth_who_t *who);
/* One purge against the token's rate: 0, or the seconds until there is room (Retry-After). */
int auth_rate(auth_t *a, const auth_who_t *who, msec_t now_boot);
/* May it purge at this host (with or without port)? */
bool auth_covers(const auth_who_t *who, span_t host);

#endif
