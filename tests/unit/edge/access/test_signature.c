#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "edge/access/access.h"

#define SECRET "0123456789abcdef0123456789abcdef"
#define NOW ((msec_t)1700000000 * 1000)

static arena_t arena;

static span_t target_without(const char *target, signature_url_t *url)
{
    span_t t = span_str(target);
    cr_assert_eq(signature_split(&arena, &t, url), ERR_OK, "%s", target);
    return t;
}

static fields_t with(const char *name, const char *value)
{
    fields_t f;
    fields_init(&f, &arena);
    if (name != NULL)
        fields_add(&f, span_str(name), span_str(value));
    return f;
}

static err_t asks(const char *secret, const char *path, const char *query, const char *cookie)
{
    signature_url_t url;
    char target[512];
    snprintf(target, sizeof target, "%s%s", path, query);
    target_without(target, &url);
    fields_t f = with(cookie != NULL ? "cookie" : NULL, cookie);
    return signature_verify(&arena, span_str(secret), SPAN("www.example.com"), span_str(path), &url, &f, NOW);
}

static const char *sign(bool cookie, const char *rest, const char *expires)
{
    static char hex[SIGNATURE_HEX + 1];
    cr_assert_eq(
        signature_sign(&arena, SPAN(SECRET), cookie, SPAN("www.example.com"), span_str(rest), span_str(expires), hex),
        ERR_OK);
    return hex;
}

static void begin(void)
{
    arena_init(&arena, 0);
}
static void end(void)
{
    arena_release(&arena);
}
TestSuite(signature, .init = begin, .fini = end);

Test(signature, is_taken_out_of_the_target)
{
    static const struct {
        const char *target, *left, *query, *expires, *mac;
    } rows[] = {{"/a", "/a", NULL, NULL, NULL},
                {"/a?", "/a?", NULL, NULL, NULL},
                {"/a?x=1&y", "/a?x=1&y", "x=1&y", NULL, NULL},
                {"/a?brink-expires=1&brink-signature=2", "/a", NULL, "1", "2"},
                {"/a?x=1&brink-expires=1&y=2&brink-signature=2&z", "/a?x=1&y=2&z", "x=1&y=2&z", "1", "2"},
                {"/a?&brink-expires=1&", "/a?&", "&", "1", NULL},
                {"/a?brink-signature=", "/a", NULL, NULL, ""},
                {"/a?xbrink-signature=1&brink-signaturex=2", "/a?xbrink-signature=1&brink-signaturex=2",
                 "xbrink-signature=1&brink-signaturex=2", NULL, NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        signature_url_t u;
        span_t left = target_without(rows[i].target, &u);
        cr_expect(span_eq(left, span_str(rows[i].left)), "%s: %.*s", rows[i].target, SPAN_ARG(left));
        span_t got[] = {u.query, u.expires, u.mac};
        const char *want[] = {rows[i].query, rows[i].expires, rows[i].mac};
        for (int k = 0; k < 3; k++)
            cr_expect(want[k] == NULL ? got[k].p == NULL : got[k].p != NULL && span_eq(got[k], span_str(want[k])),
                      "%s, %d", rows[i].target, k);
    }
    span_t twice = SPAN("/a?brink-expires=1&brink-expires=2");
    signature_url_t u;
    cr_expect_eq(signature_split(&arena, &twice, &u), ERR_SYNTAX, "which of both?");
}

Test(signature, of_a_url)
{
    char q[300];
    snprintf(q, sizeof q, "?w=1&brink-expires=1700000060&brink-signature=%s",
             sign(false, "/v/a.mp4?w=1", "1700000060"));
    cr_expect_eq(asks(SECRET, "/v/a.mp4", q, NULL), ERR_OK);
    cr_expect_eq(asks("another-secret-of-32-bytes-or-so\n" SECRET, "/v/a.mp4", q, NULL), ERR_OK, "an older secret");
    cr_expect_eq(asks("another-secret-of-32-bytes-or-so", "/v/a.mp4", q, NULL), ERR_REFUSED);
    cr_expect_eq(asks(SECRET, "/v/b.mp4", q, NULL), ERR_REFUSED, "another path");
    q[3] = '2';
    cr_expect_eq(asks(SECRET, "/v/a.mp4", q, NULL), ERR_REFUSED, "another query");
    snprintf(q, sizeof q, "?brink-expires=1700000061&brink-signature=%s", sign(false, "/v/a.mp4", "1700000060"));
    cr_expect_eq(asks(SECRET, "/v/a.mp4", q, NULL), ERR_REFUSED, "another time");
    snprintf(q, sizeof q, "?brink-expires=1700000000&brink-signature=%s", sign(false, "/v/a.mp4", "1700000000"));
    cr_expect_eq(asks(SECRET, "/v/a.mp4", q, NULL), ERR_TIMEOUT);
    snprintf(q, sizeof q, "?brink-expires=1700000060&brink-signature=%s", sign(true, "/v/a.mp4", "1700000060"));
    cr_expect_eq(asks(SECRET, "/v/a.mp4", q, NULL), ERR_REFUSED, "that of a cookie is none of a URL");
    cr_expect_eq(asks(SECRET, "/v/a.mp4", "", NULL), ERR_NOT_FOUND);
    cr_expect_eq(asks(SECRET, "/v/a.mp4", "?brink-expires=1700000060", NULL), ERR_REFUSED);
    cr_expect_eq(asks(SECRET, "/v/a.mp4", "?brink-signature=00", NULL), ERR_REFUSED);
    static const char *const times[] = {"", "-1", "1e9", "170000006000", "17000000x0"};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        snprintf(q, sizeof q, "?brink-expires=%s&brink-signature=%s", times[i], sign(false, "/v/a.mp4", times[i]));
        cr_expect_eq(asks(SECRET, "/v/a.mp4", q, NULL), ERR_REFUSED, "%s", times[i]);
    }
}

/* HMAC-SHA256 by another hand: printf 'url\nwww.example.com\n/v/a.mp4\n1700000060' | openssl dgst -sha256 -hmac SECRET
 */
Test(signature, is_the_documented_one)
{
    cr_expect_str_eq(sign(false, "/v/a.mp4", "1700000060"),
                     "f8ccf3a021cb401cfc559614db25f17f5965dccacf1165ac210b526fa622f6ab");
}

Test(signature, of_a_cookie)
{
    char c[400];
    snprintf(c, sizeof c, "a=b; brink-signed=1700000060~/v/~%s; c=d", sign(true, "/v/", "1700000060"));
    cr_expect_eq(asks(SECRET, "/v/a.mp4", "", c), ERR_OK);
    cr_expect_eq(asks(SECRET, "/v/x/y", "?z", c), ERR_OK, "all below");
    cr_expect_eq(asks(SECRET, "/va", "", c), ERR_REFUSED);
    cr_expect_eq(asks(SECRET, "/w/a", "", c), ERR_REFUSED);
    snprintf(c, sizeof c, "brink-signed=1600000000~/v/~%s", sign(true, "/v/", "1600000000"));
    cr_expect_eq(asks(SECRET, "/v/a", "", c), ERR_TIMEOUT);
    snprintf(c, sizeof c, "brink-signed=1700000060~/v~%s", sign(true, "/v", "1700000060"));
    cr_expect_eq(asks(SECRET, "/v/a", "", c), ERR_REFUSED, "/v would open /very-secret, too");
    static const char *const rubbish[] = {"brink-signed=", "brink-signed=~~", "brink-signed=1~/~",
                                          "brink-signed=~/v/~zz", "brink-signed=1700000060~/v/"};
    for (size_t i = 0; i < sizeof rubbish / sizeof *rubbish; i++)
        cr_expect_eq(asks(SECRET, "/v/a", "", rubbish[i]), ERR_REFUSED, "%s", rubbish[i]);
    cr_expect_eq(asks(SECRET, "/v/a", "", "x=brink-signed=1"), ERR_NOT_FOUND);
}
