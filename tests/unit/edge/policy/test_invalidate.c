/* Invalidation (RFC 9111 4.4): which methods, which answers, which URIs. */
#include "edge/policy/invalidate.h"
#include "edge/policy/tags.h"
#include "tests/unit/edge/policy/policy_test.h"

static const key_rules_t plain;

Test(invalidate, methods_and_statuses)
{
    arena_t a;
    arena_init(&a, 0);
    cache_key_t key;
    cr_assert_eq(key_make(&a, SPAN("http"), SPAN("h"), SPAN("/a"), &plain, NULL, &key), ERR_OK);
    fields_t f = head(&a, "location: /b\ncache-group-invalidation: \"g\"\n");
    for (method_t m = METHOD_GET; m <= METHOD_OTHER; m++)
        for (int status = 100; status < 600; status += 50) {
            span_t uris[INVALIDATE_MAX];
            digest_t digests[INVALIDATE_MAX], *groups;
            size_t n;
            bool safe = m == METHOD_GET || m == METHOD_HEAD || m == METHOD_OPTIONS || m == METHOD_TRACE;
            int expected = !safe && status >= 200 && status < 400 ? 2 : 0;
            cr_expect_eq(invalidate_targets(m, status, &key, &f, &plain, &a, uris, digests), expected, "%d %d", m,
                         status);
            cr_expect_eq(invalidate_groups(m, status, &key, &f, &a, &groups, &n), ERR_OK);
            cr_expect_eq(n, (size_t)expected / 2);
            if (n == 1)
                cr_expect(hash_eq(groups[0], tags_group_digest(SPAN("http"), SPAN("h"), SPAN("g"))));
        }
    arena_release(&a);
}

Test(invalidate, references)
{
    static const struct {
        const char *section, *reference, *uri; /* NULL: not of the same origin, or none at all */
    } rows[] = {
        {"absolute", "http://h.example/x", "h.example/x"},
        {"absolute, other spelling", "HTTP://H.example:80/y/../x", "h.example/x"},
        {"another host", "http://other.example/x", NULL},
        {"another scheme", "https://h.example/x", NULL},
        {"another port", "http://h.example:81/x", NULL},
        {"no HTTP", "mailto:a@h.example", NULL},
        {"no host", "http:///x", NULL},
        {"a bad host", "http://h..example/x", NULL},
        {"3986 5.2.2 network path", "//h.example/x", "h.example/x"},
        {"3986 5.2.2 network path elsewhere", "//other.example/x", NULL},
        {"3986 5.2.2 absolute path", "/x?y=1", "h.example/x?y=1"},
        {"3986 5.2.2 relative path", "x", "h.example/a/x"},
        {"3986 5.2.2 relative path with dots", "../x", "h.example/x"},
        {"3986 5.2.2 query", "?z=1", "h.example/a/b?z=1"},
        {"3986 5.2.2 fragment goes", "/x#f", "h.example/x"},
        {"3986 5.2.2 the target itself", "#f", "h.example/a/b?c=1"},
        {"3986 5.2.2 the target itself", "", "h.example/a/b?c=1"},
        {"a colon behind the first segment", "x/y:z", "h.example/a/x/y:z"},
        {"a colon in the query", "x?y:z", "h.example/a/x?y:z"},
        {"a colon first", ":x", "h.example/a/:x"},
        {"not a URI", "/a b", NULL},
        {"bad percent-encoding", "/%", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int where = 0; where < 2; where++) {
            arena_t a;
            arena_init(&a, 0);
            cache_key_t key;
            span_t uris[INVALIDATE_MAX];
            digest_t digests[INVALIDATE_MAX];
            cr_assert_eq(key_make(&a, SPAN("http"), SPAN("h.example"), SPAN("/a/b?c=1"), &plain, NULL, &key), ERR_OK);
            char text[200];
            snprintf(text, sizeof text, "%s: %s\n", where ? "content-location" : "location", rows[i].reference);
            fields_t f = head(&a, text);
            int n = invalidate_targets(METHOD_POST, 201, &key, &f, &plain, &a, uris, digests);
            cr_assert(span_eq(uris[0], key.uri) && hash_eq(digests[0], key.uri_digest));
            bool itself = rows[i].uri != NULL && span_eq(span_str(rows[i].uri), key.uri);
            cr_expect_eq(n, rows[i].uri != NULL && !itself ? 2 : 1, "%s: %s: %d", rows[i].section, rows[i].reference,
                         n);
            if (n == 2) {
                cr_expect(span_eq(uris[1], span_str(rows[i].uri)), "%s: %.*s", rows[i].section, SPAN_ARG(uris[1]));
                cr_expect(hash_eq(digests[1], key_uri_digest(uris[1])));
            }
            arena_release(&a);
        }
}

/* RFC 9110 9.3.3 */
Test(invalidate, a_representation_of_the_target_says_so)
{
    static const struct {
        const char *response;
        bool is;
    } rows[] = {
        {"", false},
        {"content-location: /a?b=1\n", true},
        {"content-location: http://h:80/x/../a?b=1\n", true},
        {"content-location: a?b=1\n", true},
        {"content-location:\n", false},
        {"content-location: /a\n", false},
        {"content-location: https://h/a?b=1\n", false},
        {"content-location: http://other/a?b=1\n", false},
        {"content-location: /a?b=1\ncontent-location: /a?b=1\n", false},
        {"location: /a?b=1\n", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        arena_t a;
        arena_init(&a, 0);
        cache_key_t key;
        cr_assert_eq(key_make(&a, SPAN("http"), SPAN("h"), SPAN("/a?b=1"), &plain, NULL, &key), ERR_OK);
        fields_t f = head(&a, rows[i].response);
        cr_expect_eq(invalidate_is_target(&key, &f, &plain, &a), rows[i].is, "%s", rows[i].response);
        arena_release(&a);
    }
}

Test(invalidate, both_fields_and_the_sites_rules)
{
    arena_t a;
    arena_init(&a, 0);
    const span_t except[] = {SPAN("utm_*")};
    const key_rules_t rules = {.query = KEY_QUERY_EXCEPT, .query_names = except, .query_names_n = 1};
    cache_key_t key;
    span_t uris[INVALIDATE_MAX];
    digest_t digests[INVALIDATE_MAX];
    cr_assert_eq(key_make(&a, SPAN("https"), SPAN("h:8443"), SPAN("/a"), &rules, NULL, &key), ERR_OK);
    fields_t f = head(&a, "location: /b?utm_x=1\ncontent-location: https://h:8443/c\n");
    cr_assert_eq(invalidate_targets(METHOD_DELETE, 204, &key, &f, &rules, &a, uris, digests), 3);
    cr_expect(span_eq(uris[0], SPAN("h:8443/a")) && span_eq(uris[1], SPAN("h:8443/b")) &&
              span_eq(uris[2], SPAN("h:8443/c")));
    fields_t same = head(&a, "location: /b\ncontent-location: /b\n");
    cr_expect_eq(invalidate_targets(METHOD_OTHER, 200, &key, &same, &rules, &a, uris, digests), 2);
    fields_t none = head(&a, "");
    cr_expect_eq(invalidate_targets(METHOD_PUT, 200, &key, &none, &rules, &a, uris, digests), 1);
    /* A target that isn't from key_make: nothing is read before its path. */
    cache_key_t bare = key;
    bare.path = SPAN("");
    fields_t relative = head(&a, "location: x\n");
    cr_expect_eq(invalidate_targets(METHOD_PUT, 200, &bare, &relative, &rules, &a, uris, digests), 1);
    /* Without memory the target itself is invalidated all the same. */
    arena_t tight = small_arena(1);
    cr_expect_eq(invalidate_targets(METHOD_PUT, 200, &key, &f, &rules, &tight, uris, digests), 1);
    arena_release(&tight);
    arena_release(&a);
}
