/* Tokens: who is let in, where, and how often. */
#include <criterion/criterion.h>
#include <openssl/sha.h>

#include "purge/auth.h"

static arena_t a;
static auth_t *auth;
static span_t sites[] = {{"www.example.com", 15}, {"*.example.org", 13}};

static auth_token_t token(const char *name, const char *secret, unsigned allow, const span_t *s, size_t n)
{
    auth_token_t t = {.name = span_str(name), .allow = allow, .sites = s, .sites_n = n};
    SHA256((const unsigned char *)secret, strlen(secret), t.sha256);
    return t;
}

static void setup(void)
{
    auth_token_t tokens[] = {token("all", "secret-1", AUTH_PURGE | AUTH_READ, NULL, 0),
                             token("site", "secret-2", AUTH_PURGE, sites, 2),
                             token("reader", "secret-3", AUTH_READ, NULL, 0)};
    arena_init(&a, 0);
    auth = auth_new(tokens, 3);
}
static void teardown(void)
{
    auth_free(auth);
    arena_release(&a);
}
TestSuite(auth, .init = setup, .fini = teardown, .timeout = 60);

static span_t peer = {"192.0.2.1", 9};
static msec_t now = 1000;

static int check(const char *name, const char *value, unsigned need, auth_who_t *who)
{
    fields_t f;
    fields_init(&f, &a);
    if (name != NULL)
        fields_add(&f, span_str(name), span_str(value));
    return auth_check(auth, &(handler_request_t){.fields = &f, .peer = peer, .peer_loopback = true}, need, now, &a, who);
}

Test(auth, who_is_let_in)
{
    auth_who_t who;
    cr_assert_eq(check("authorization", "Bearer secret-1", AUTH_PURGE, &who), 200);
    cr_assert_str_eq(who.name, "all");
    cr_assert_eq(who.sites_n, 0);
    cr_assert_eq(check("authorization", "bearer  secret-1 ", AUTH_READ, &who), 200);
    cr_assert_eq(check("fastly-key", "secret-2", AUTH_PURGE, &who), 200);
    cr_assert_str_eq(who.name, "site");
    cr_assert_eq(who.sites_n, 2);
    cr_assert_eq(check("fastly-key", "secret-2", AUTH_READ, &who), 403);
    cr_assert_eq(check("authorization", "Bearer secret-3", AUTH_PURGE, &who), 403);
    cr_assert_eq(check("authorization", "Bearer secret-", AUTH_READ, &who), 401);
    cr_assert_eq(check("authorization", "Bearer secret-33", AUTH_READ, &who), 401);
    cr_assert_eq(check("authorization", "Bearer ", AUTH_READ, &who), 401);
    cr_assert_eq(check("authorization", "Basic secret-3", AUTH_READ, &who), 401);
    cr_assert_eq(check(NULL, NULL, AUTH_READ, &who), 401);
}

Test(auth, no_tokens_at_all)
{
    auth_who_t who;
    fields_t f;
    auth_replace(auth, NULL, 0);
    fields_init(&f, &a);
    handler_request_t here = {.fields = &f, .peer = SPAN("127.0.0.1"), .peer_loopback = true}, there = {.fields = &f, .peer = peer};
    cr_assert_eq(auth_check(auth, &here, AUTH_READ, now, &a, &who), 200);
    cr_assert_eq(auth_check(auth, &here, AUTH_PURGE, now, &a, &who), 403);
    cr_assert_eq(auth_check(auth, &there, AUTH_READ, now, &a, &who), 403);
    for (int i = 0; i < 2 * AUTH_WRONG_BURST; i++)
        cr_assert_eq(check("authorization", "Bearer secret-1", AUTH_PURGE, &who), 403, "there is nothing to guess");
}

/* Whoever guesses waits, also with the right token: else the answer would tell. Others don't. */
Test(auth, wrong_tokens_are_slowed_down)
{
    auth_who_t who;
    peer = SPAN("2001:db8::1");
    for (int i = 0; i < AUTH_WRONG_BURST; i++) {
        cr_assert_eq(check("authorization", "Bearer secret-1", AUTH_READ, &who), 200, "right ones cost nothing");
        cr_assert_eq(check("authorization", "Bearer guess", AUTH_READ, &who), 401);
    }
    cr_assert_eq(check("authorization", "Bearer guess", AUTH_READ, &who), 429);
    cr_assert_eq(check("authorization", "Bearer secret-1", AUTH_READ, &who), 429);
    cr_assert_eq(check("fastly-key", "secret-2", AUTH_PURGE, &who), 429);
    cr_assert_eq(check(NULL, NULL, AUTH_READ, &who), 401, "none was sent");
    peer = SPAN("2001:db8::2:1");
    cr_assert_eq(check("authorization", "Bearer secret-1", AUTH_READ, &who), 429, "one subscriber has the first 64 bits");
    peer = SPAN("2001:db8:0:1::1");
    cr_assert_eq(check("authorization", "Bearer secret-1", AUTH_READ, &who), 200);
    peer = SPAN("2001:db8::1");
    now += MSEC_PER_SEC / AUTH_WRONG_RATE;
    cr_assert_eq(check("authorization", "Bearer secret-1", AUTH_READ, &who), 200);
    cr_assert_eq(check("authorization", "Bearer guess", AUTH_READ, &who), 401);
    cr_assert_eq(check("authorization", "Bearer guess", AUTH_READ, &who), 429);
}

Test(auth, sites)
{
    auth_who_t who;
    cr_assert_eq(check("fastly-key", "secret-2", AUTH_PURGE, &who), 200);
    cr_assert(auth_covers(&who, SPAN("www.example.com")));
    cr_assert(auth_covers(&who, SPAN("WWW.example.com:8080")));
    cr_assert(auth_covers(&who, SPAN("a.b.example.org:81")));
    cr_assert_not(auth_covers(&who, SPAN("example.org")));
    cr_assert_not(auth_covers(&who, SPAN("badexample.org")));
    cr_assert_not(auth_covers(&who, SPAN("www.example.co")));
    cr_assert_not(auth_covers(&who, SPAN("")));
    cr_assert_eq(check("authorization", "Bearer secret-1", AUTH_PURGE, &who), 200);
    cr_assert(auth_covers(&who, SPAN("any")));
}

Test(auth, rate)
{
    auth_who_t who, other;
    cr_assert_eq(check("authorization", "Bearer secret-1", AUTH_PURGE, &who), 200);
    cr_assert_eq(check("fastly-key", "secret-2", AUTH_PURGE, &other), 200);
    for (int i = 0; i < AUTH_BURST; i++)
        cr_assert_eq(auth_rate(auth, &who, 1000), 0);
    cr_assert_eq(auth_rate(auth, &who, 1000), 1);
    cr_assert_eq(auth_rate(auth, &other, 1000), 0);
    cr_assert_eq(auth_rate(auth, &who, 1000 + MSEC_PER_SEC / AUTH_RATE + 1), 0);
    cr_assert_eq(auth_rate(auth, &who, 1000 + MSEC_PER_SEC), 0);
}
