/* Keys: what is one URI and what is another, the site's rules for queries and cookies, and that a key of a key is
 * itself. */
#include "edge/policy/key.h"
#include "tests/unit/edge/policy/policy_test.h"

static const key_rules_t plain;

/* The key's text, or "" when there is none. */
static const char *text_of(arena_t *a, const char *scheme, const char *host, const char *target,
                           const key_rules_t *rules, const char *request)
{
    cache_key_t key;
    fields_t f = head(a, request);
    if (key_make(a, span_str(scheme), span_str(host), span_str(target), rules, &f, &key) != ERR_OK)
        return "";
    cr_assert(hash_eq(key.digest, hash_digest(key.text)));
    cr_assert(hash_eq(key.uri_digest, key_uri_digest(key.uri)));
    cr_assert(span_starts(span_from(key.text, key.scheme.n + 3), key.uri));
    cr_assert(span_starts(key.uri, key.host) && span_starts(span_from(key.uri, key.host.n), key.path));
    cr_assert_eq(key.query.p == NULL, key.uri.n == key.host.n + key.path.n);
    return arena_copy(a, key.text).p;
}

Test(key, normal_form)
{
    static const struct {
        const char *section, *scheme, *host, *target, *text;
    } rows[] = {
        {"as it is", "http", "www.example.com", "/", "http://www.example.com/"},
        {"3986 6.2.2.1 case", "HTTP", "WWW.Example.COM", "/A", "http://www.example.com/A"},
        {"3986 6.2.3 default port", "http", "a.example:80", "/", "http://a.example/"},
        {"3986 6.2.3 default port", "https", "a.example:443", "/", "https://a.example/"},
        {"3986 6.2.3 another port", "https", "a.example:80", "/", "https://a.example:80/"},
        {"trailing dot", "http", "a.example.", "/", "http://a.example/"},
        {"IPv6", "http", "[::0001]:8080", "/", "http://[::1]:8080/"},
        {"3986 6.2.2.3 dot segments", "http", "h", "/a/./b/../c", "http://h/a/c"},
        {"3986 5.2.4 above the root", "http", "h", "/../../a", "http://h/a"},
        {"encoded dot segments", "http", "h", "/a/%2e%2E/b", "http://h/b"},
        {"3986 6.2.2.2 unreserved decoded", "http", "h", "/%7Eu%73er?%61=%62", "http://h/~user?a=b"},
        {"3986 6.2.2.1 hex upper case", "http", "h", "/a%2fb?c=%2f", "http://h/a%2Fb?c=%2F"},
        {"reserved is not decoded", "http", "h", "/a%3Fb?c", "http://h/a%3Fb?c"},
        {"empty query", "http", "h", "/a?", "http://h/a"},
        {"query with a question mark", "http", "h", "/a?b?c", "http://h/a?b?c"},
        {"order is kept", "http", "h", "/?b=2&a=1&&", "http://h/?b=2&a=1&&"},
        {"double slash is a path", "http", "h", "//x/y", "http://h//x/y"},
        {"9112 3.2.2 absolute form", "http", "h", "http://Other.example:80/x?y", "http://other.example/x?y"},
        {"absolute form without a path", "http", "h", "http://other.example?y", "http://other.example/?y"},
        {"the connection's scheme counts", "http", "h", "https://other.example/x", "http://other.example/x"},
        {"bad scheme", "ftp", "h", "/", ""},
        {"bad host", "http", "a b", "/", ""},
        {"no host", "http", "", "/", ""},
        {"userinfo", "http", "u@h", "/", ""},
        {"asterisk form", "http", "h", "*", ""},
        {"empty target", "http", "h", "", ""},
        {"fragment", "http", "h", "/a#b", ""},
        {"bad percent-encoding", "http", "h", "/a%2", ""},
        {"bad percent-encoding in the query", "http", "h", "/a?%zz", ""},
        {"space", "http", "h", "/a b", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        arena_t a;
        arena_init(&a, 0);
        cr_expect_str_eq(text_of(&a, rows[i].scheme, rows[i].host, rows[i].target, &plain, ""), rows[i].text, "%s: %s",
                         rows[i].section, rows[i].target);
        arena_release(&a);
    }
}

Test(key, query_rules)
{
    const span_t only[] = {SPAN("page"), SPAN("q"), SPAN("f*")},
                 except[] = {SPAN("utm_*"), SPAN("caf\xc3\xa9"), SPAN("%5Bx")};
    const span_t all[] = {SPAN("*")}, nothing[] = {{NULL, 0}};
    const struct {
        const char *what, *query, *kept;
        key_rules_t rules;
    } rows[] = {
        {"none", "a=1", "", {.query = KEY_QUERY_NONE}},
        {"only",
         "a=1&q=2&page=3&pages=4&Q=5&f=6&foo=7",
         "?q=2&page=3&f=6&foo=7",
         {.query = KEY_QUERY_ONLY, .query_names = only, .query_names_n = 3}},
        {"only, nothing left", "a=1&b=2", "", {.query = KEY_QUERY_ONLY, .query_names = only, .query_names_n = 3}},
        {"only nothing", "a=1", "", {.query = KEY_QUERY_ONLY}},
        {"only, names without values",
         "q&page=",
         "?q&page=",
         {.query = KEY_QUERY_ONLY, .query_names = only, .query_names_n = 3}},
        {"except",
         "utm_source=x&a=1&utm_=2&utm=3",
         "?a=1&utm=3",
         {.query = KEY_QUERY_EXCEPT, .query_names = except, .query_names_n = 3}},
        {"except, encoded",
         "%75tm_source=x&a=1&caf%C3%A9=2&%5bx=3&caf%C3%A8=4&caf%C3=5",
         "?a=1&caf%C3%A8=4&caf%C3=5",
         {.query = KEY_QUERY_EXCEPT, .query_names = except, .query_names_n = 3}},
        {"except everything", "a&b", "", {.query = KEY_QUERY_EXCEPT, .query_names = all, .query_names_n = 1}},
        {"an empty name", "=1&a=2&&", "?a=2", {.query = KEY_QUERY_EXCEPT, .query_names = nothing, .query_names_n = 1}},
        {"sorted, stable", "b=2&a=2&b=1&a=1&&ab=0", "?a=2&a=1&ab=0&b=2&b=1", {.query = KEY_QUERY_ALL, .sort = true}},
        {"sorted and chosen",
         "q=2&a=1&page=1",
         "?page=1&q=2",
         {.query = KEY_QUERY_ONLY, .query_names = only, .query_names_n = 3, .sort = true}},
        {"nothing to choose from", "", "", {.query = KEY_QUERY_ONLY, .query_names = only, .query_names_n = 3}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        arena_t a;
        arena_init(&a, 0);
        char target[200], text[200];
        snprintf(target, sizeof target, "/p?%s", rows[i].query);
        snprintf(text, sizeof text, "http://h/p%s", rows[i].kept);
        cr_expect_str_eq(text_of(&a, "http", "h", target, &rows[i].rules, ""), text, "%s", rows[i].what);
        arena_release(&a);
    }
}

Test(key, cookies)
{
    const span_t names[] = {SPAN("lang"), SPAN("ab")};
    const key_rules_t rules = {.cookies = names, .cookies_n = 2};
    static const struct {
        const char *request, *text;
    } rows[] = {
        {"", "http://h/"},
        {"cookie: session=1\n", "http://h/"},
        {"cookie: session=1; lang=de\n", "http://h/\ncookie=lang=de"},
        {"cookie: ab=2;lang = de \n", "http://h/\ncookie=lang=de\ncookie=ab=2"},
        {"cookie: ab=2\ncookie: lang=de\n", "http://h/\ncookie=lang=de\ncookie=ab=2"},
        {"cookie: lang=\n", "http://h/\ncookie=lang="},
        {"cookie: lang; Lang=x; langs=y\n", "http://h/"},
        {"cookie: lang=de; lang=en\n", "http://h/\ncookie=lang=de\ncookie=lang=en"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        arena_t a;
        arena_init(&a, 0);
        cr_expect_str_eq(text_of(&a, "http", "h", "/", &rules, rows[i].request), rows[i].text, "%s", rows[i].request);
        arena_release(&a);
    }
    arena_t a;
    arena_init(&a, 0);
    fields_t with = head(&a, "cookie: lang=de\n");
    cache_key_t one, two;
    cr_assert_eq(key_make(&a, SPAN("http"), SPAN("h"), SPAN("/"), &rules, &with, &one), ERR_OK);
    cr_assert_eq(key_make(&a, SPAN("http"), SPAN("h"), SPAN("/"), &rules, NULL, &two), ERR_OK);
    cr_expect(!hash_eq(one.digest, two.digest));
    cr_expect(hash_eq(one.uri_digest, two.uri_digest), "a purge by URL covers all cookies");
    arena_release(&a);
}

Test(key, purges_cover_both_schemes)
{
    arena_t a;
    arena_init(&a, 0);
    const span_t except[] = {SPAN("utm_*")};
    const key_rules_t rules = {.query = KEY_QUERY_EXCEPT, .query_names = except, .query_names_n = 1};
    static const char *const schemes[] = {"http", "https"};
    for (int i = 0; i < 2; i++) {
        cache_key_t key;
        cr_assert_eq(key_make(&a, span_str(schemes[i]), SPAN("h.example"), SPAN("/a?b=1"), &rules, NULL, &key), ERR_OK);
        for (int k = 0; k < 2; k++) {
            span_t uri;
            digest_t d;
            span_t url = arena_printf(&a, "%s://H.example:%s/x/../%%61?utm_source=y&b=1", schemes[k], k ? "443" : "80");
            cr_assert_eq(key_from_url(&a, url, &rules, &uri, &d), ERR_OK);
            cr_expect(span_eq(uri, key.uri) && hash_eq(d, key.uri_digest));
        }
    }
    span_t uri;
    digest_t d;
    cr_expect_eq(key_from_url(&a, SPAN("/a"), &rules, &uri, &d), ERR_SYNTAX);
    cr_expect_eq(key_from_url(&a, SPAN("http://h/%"), &rules, &uri, &d), ERR_SYNTAX);
    arena_release(&a);
}

Test(key, host)
{
    arena_t a;
    arena_init(&a, 0);
    span_t host;
    cr_expect(key_host(&a, SPAN("https"), SPAN("WWW.example.com.:443"), &host) == ERR_OK &&
              span_eq(host, SPAN("www.example.com")));
    cr_expect(key_host(&a, SPAN_NONE, SPAN("a:443"), &host) == ERR_OK && span_eq(host, SPAN("a:443")));
    cr_expect_eq(key_host(&a, SPAN("http"), SPAN("a/b"), &host), ERR_SYNTAX);
    static char long_host[KEY_MAX_URI + 2];
    memset(long_host, 'a', KEY_MAX_URI + 1);
    cr_expect_eq(key_host(&a, SPAN("http"), span_str(long_host), &host), ERR_TOO_BIG);
    arena_t tight = small_arena(1);
    cr_expect_eq(key_host(&tight, SPAN("http"), SPAN("a"), &host), ERR_TOO_BIG);
    arena_release(&tight);
    arena_release(&a);
}

Test(key, ceilings)
{
    arena_t a;
    arena_init(&a, 0);
    cache_key_t key;
    static char target[KEY_MAX_URI + 2], host[KEY_MAX_URI + 2];
    memset(host, 'a', KEY_MAX_URI + 1);
    cr_expect_eq(key_make(&a, SPAN("http"), span_str(host), SPAN("/"), &plain, NULL, &key), ERR_TOO_BIG);
    memset(target, 'a', KEY_MAX_URI - 1);
    target[0] = '/';
    cr_expect_eq(key_make(&a, SPAN("http"), SPAN("h"), span_str(target), &plain, NULL, &key), ERR_OK);
    cr_expect_eq(key.uri.n, KEY_MAX_URI);
    target[KEY_MAX_URI - 1] = 'a';
    cr_expect_eq(key_make(&a, SPAN("http"), SPAN("h"), span_str(target), &plain, NULL, &key), ERR_TOO_BIG,
                 "with the host");
    target[KEY_MAX_URI] = 'a';
    cr_expect_eq(key_make(&a, SPAN("http"), SPAN("h"), span_str(target), &plain, NULL, &key), ERR_TOO_BIG);
    memset(target, '"', KEY_MAX_URI - 2);
    target[0] = '/';
    target[KEY_MAX_URI - 2] = '\0';
    cr_expect_eq(key_make(&a, SPAN("http"), SPAN("h"), span_str(target), &plain, NULL, &key), ERR_TOO_BIG,
                 "once encoded");

    const key_rules_t sorted = {.query = KEY_QUERY_ALL, .sort = true};
    bool fitted = false;
    for (size_t bytes = 1; bytes < 800; bytes += 3) {
        arena_t tight = small_arena(bytes);
        err_t e = key_make(&tight, SPAN("http"), SPAN("h"), SPAN("/p?b&a"), &sorted, NULL, &key);
        cr_assert(e == ERR_OK ? span_eq(key.text, SPAN("http://h/p?a&b")) : e == ERR_TOO_BIG && !fitted);
        fitted |= e == ERR_OK;
        arena_release(&tight);
    }
    cr_expect(fitted);
    arena_release(&a);
}

/* Whatever may be forwarded has a key, and the key of its normal form is the same key. */
Test(key, fixed_point)
{
    static const char *const pieces[] = {"/",   "a",       ".", "..",  "%2e",    "%2F", "%7E", "?",  "&",    "=",
                                         "b=2", "utm_x=1", "A", "%41", "%c3%a9", "\"",  "+",   "//", "/../", ";"};
    const span_t names[] = {SPAN("utm_*")};
    const key_rules_t rules[] = {{.query = KEY_QUERY_ALL},
                                 {.query = KEY_QUERY_ALL, .sort = true},
                                 {.query = KEY_QUERY_NONE},
                                 {.query = KEY_QUERY_EXCEPT, .query_names = names, .query_names_n = 1},
                                 {.query = KEY_QUERY_ONLY, .query_names = names, .query_names_n = 1, .sort = true}};
    static const char *const hosts[] = {"H.example", "h.example:80", "H:8080", "[::0]:80", "h.example."};
    uint64_t seed = 99;
    int made = 0;
    for (int round = 0; round < 20000; round++) {
        arena_t a;
        arena_init(&a, 0);
        char target[200] = "/";
        for (uint64_t i = noise(&seed) % 12; i > 0; i--)
            strcat(target, pieces[noise(&seed) % (sizeof pieces / sizeof *pieces)]);
        const key_rules_t *r = &rules[noise(&seed) % (sizeof rules / sizeof *rules)];
        cache_key_t one, two;
        span_t uri;
        digest_t d;
        if (key_make(&a, SPAN("http"), span_str(hosts[noise(&seed) % 5]), span_str(target), r, NULL, &one) == ERR_OK) {
            span_t again =
                arena_printf(&a, "%.*s%s%.*s", SPAN_ARG(one.path), one.query.p != NULL ? "?" : "", SPAN_ARG(one.query));
            cr_assert_eq(key_make(&a, one.scheme, one.host, again, r, NULL, &two), ERR_OK, "%.*s", SPAN_ARG(again));
            cr_assert(span_eq(one.text, two.text) && hash_eq(one.digest, two.digest), "%s: %.*s, then %.*s", target,
                      SPAN_ARG(one.text), SPAN_ARG(two.text));
            cr_assert_eq(key_from_url(&a, one.text, r, &uri, &d), ERR_OK);
            cr_assert(span_eq(uri, one.uri) && hash_eq(d, one.uri_digest));
            made++;
        }
        arena_release(&a);
    }
    cr_expect_gt(made, 3000);
}
