/* What a shared cache keeps: one row a rule. */
#include <signal.h>

#include "edge/policy/storable.h"
#include "edge/policy/tags.h"
#include "tests/unit/edge/policy/policy_test.h"

#define LM "last-modified: Sat, 05 Nov 1994 08:49:37 GMT\n"
#define CC(directives) "cache-control: " directives "\n"

static storable_t decide(const rules_t *rules, method_t method, const char *request, int status, const char *response)
{
    arena_t a;
    arena_init(&a, 0);
    fields_t rq = head(&a, request), rs = head(&a, response);
    stored_t s;
    stored_describe(&s, status, &rs, &rq, rules, T0, T0, &a);
    storable_t v = storable_decide(method, &rq, status, &rs, &s, rules, &a);
    arena_release(&a);
    return v;
}

typedef struct row {
    const char *section, *request;
    int status;
    const char *response;
    storable_t verdict;
} row_t;

static void check(const rules_t *rules, const row_t *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        storable_t v = decide(rules, METHOD_GET, rows[i].request, rows[i].status, rows[i].response);
        cr_expect_eq(v, rows[i].verdict, "%s (%d): %s, not %s", rows[i].section, rows[i].status, storable_word(v),
                     storable_word(rows[i].verdict));
    }
}

Test(storable, by_the_rfc)
{
    static const row_t rows[] = {
        {"3 max-age", "", 200, DATE CC("max-age=60"), STORABLE_YES},
        {"3 Expires", "", 200, DATE "expires: Sun, 06 Nov 1994 08:50:37 GMT\n", STORABLE_YES},
        {"3 s-maxage", "", 200, DATE CC("s-maxage=60"), STORABLE_YES},
        {"3 heuristic status with a validator", "", 200, DATE LM, STORABLE_YES},
        {"3 ETag alone: validated each time", "", 200, DATE "etag: \"a\"\n", STORABLE_YES},
        {"3 nothing at all", "", 200, DATE, STORABLE_NO_FRESHNESS},
        {"3 public without a validator", "", 200, DATE CC("public"), STORABLE_NO_FRESHNESS},
        {"3 stale at once, no validator", "", 200, DATE CC("max-age=0"), STORABLE_NO_FRESHNESS},
        {"3 stale at once, validator", "", 200, DATE CC("max-age=0") "etag: \"a\"\n", STORABLE_YES},
        {"5861 3 stale at once, with a window", "", 200, DATE CC("max-age=0, stale-while-revalidate=9"), STORABLE_YES},
        {"5861 4 stale at once, with a window", "", 200, DATE CC("max-age=0, stale-if-error=9"), STORABLE_YES},
        {"5.3 Expires 0", "", 200, DATE "expires: 0\n", STORABLE_NO_FRESHNESS},
        {"5.3 Expires -1", "", 200, DATE "expires: -1\n", STORABLE_NO_FRESHNESS},
        {"5.3 Expires that is no date", "", 200, DATE "expires: soon\n", STORABLE_MALFORMED},
        {"5.3 Expires in the past", "", 200, DATE "expires: Sun, 06 Nov 1994 08:40:37 GMT\n", STORABLE_NO_FRESHNESS},
        {"3 other status, nothing explicit", "", 403, DATE LM, STORABLE_NO_FRESHNESS},
        {"3 other status, public", "", 403, DATE LM CC("public"), STORABLE_YES},
        {"3 other status, explicit", "", 403, DATE CC("max-age=60"), STORABLE_YES},
        {"3 unknown status, explicit", "", 599, DATE CC("max-age=60"), STORABLE_YES},
        {"3 unknown status, said illegibly", "", 599,
         DATE LM "cache-control: stale-while-revalidate=9, foo=\", max-age=60s\n", STORABLE_NO_FRESHNESS},
        {"3 server error, explicit", "", 503, DATE CC("max-age=60"), STORABLE_YES},
        {"3 a final status only", "", 103, DATE CC("max-age=60"), STORABLE_STATUS},
        {"9110 15 no status", "", 600, DATE CC("max-age=60"), STORABLE_STATUS},
        {"3.3 partial", "", 206, DATE CC("max-age=60"), STORABLE_PARTIAL},
        {"3 not a 304", "", 304, DATE CC("max-age=60"), STORABLE_STATUS},
        {"about one request", "", 412, DATE CC("max-age=60"), STORABLE_STATUS},
        {"about one request", "", 416, DATE CC("max-age=60"), STORABLE_STATUS},
        {"about one request", "", 417, DATE CC("max-age=60"), STORABLE_STATUS},
        {"6585 3", "", 428, DATE CC("max-age=60"), STORABLE_STATUS},
        {"6585 4", "", 429, DATE CC("max-age=60"), STORABLE_STATUS},
        {"6585 5", "", 431, DATE CC("max-age=60"), STORABLE_STATUS},
        {"6585 6", "", 511, DATE CC("max-age=60"), STORABLE_STATUS},
        {"poisoning: no guess", "", 400, DATE LM, STORABLE_NO_FRESHNESS},
        {"poisoning: no guess", "", 413, DATE LM CC("public"), STORABLE_NO_FRESHNESS},
        {"poisoning: no guess", "", 431, DATE LM, STORABLE_STATUS},
        {"9110 15.1 414 to an ordinary request", "", 414, DATE LM, STORABLE_YES},
        {"9110 15.1 501 to an ordinary request", "", 501, DATE LM, STORABLE_YES},
        {"9110 15.1 but not without anything to guess from", "", 501, DATE, STORABLE_NO_FRESHNESS},
        {"explicit is the origin's own word", "", 400, DATE CC("max-age=60"), STORABLE_YES},
        {"explicit is the origin's own word", "", 501, DATE CC("max-age=60"), STORABLE_YES},
        {"5.2.2.5 no-store", "", 200, DATE CC("no-store, max-age=60"), STORABLE_NO_STORE},
        {"5.2.2.3 must-understand, understood", "", 200, DATE CC("must-understand, no-store, max-age=60"),
         STORABLE_YES},
        {"5.2.2.3 must-understand, not understood", "", 299, DATE CC("must-understand, max-age=60"), STORABLE_STATUS},
        {"5.2.1.5 no-store", CC("no-store"), 200, DATE CC("max-age=60"), STORABLE_REQUEST_NO_STORE},
        {"5.2.1 another directive", CC("no-cache"), 200, DATE CC("max-age=60"), STORABLE_YES},
        {"5.2.2.7 private", "", 200, DATE CC("private, max-age=60"), STORABLE_PRIVATE},
        {"5.2.2.7 qualified, absent", "", 200, DATE CC("private=\"x\", max-age=60"), STORABLE_YES},
        {"5.2.2.7 qualified, present", "", 200, DATE "x: 1\n" CC("private=\"X\", max-age=60"), STORABLE_PRIVATE},
        {"5.2.2.4 no-cache without a validator is of no use", "", 200, DATE CC("no-cache, max-age=60"),
         STORABLE_NO_FRESHNESS},
        {"5.2.2.4 no-cache", "", 200, DATE "etag: \"a\"\n" CC("no-cache"), STORABLE_YES},
        {"3.5 Authorization", "authorization: x\n", 200, DATE CC("max-age=60"), STORABLE_AUTHORIZATION},
        {"3.5 public", "authorization: x\n", 200, DATE CC("max-age=60, public"), STORABLE_YES},
        {"3.5 must-revalidate", "authorization: x\n", 200, DATE CC("max-age=60, must-revalidate"), STORABLE_YES},
        {"3.5 s-maxage", "authorization: x\n", 200, DATE CC("s-maxage=60"), STORABLE_YES},
        {"3.5 proxy-revalidate doesn't", "authorization: x\n", 200, DATE CC("max-age=60, proxy-revalidate"),
         STORABLE_AUTHORIZATION},
        {"3.5 a targeted max-age doesn't", "authorization: x\n", 200, DATE "cdn-cache-control: max-age=60\n",
         STORABLE_AUTHORIZATION},
        {"7.3 Set-Cookie, explicitly fresh", "", 200, DATE "set-cookie: a=b\n" CC("max-age=60"), STORABLE_YES},
        {"7.3 by Expires", "", 200, DATE "set-cookie: a=b\nexpires: Sun, 06 Nov 1994 09:49:37 GMT\n", STORABLE_YES},
        {"7.3 a guess shares no cookie", "", 200, DATE LM "set-cookie: a=b\n", STORABLE_SET_COOKIE},
        {"7.3 nor an answer to somebody's cookie", "cookie: a=a\n", 200, DATE "set-cookie: a=b\n" CC("max-age=60"),
         STORABLE_SET_COOKIE},
        {"7.3 unless it is for all", "cookie: a=a\n", 200, DATE "set-cookie: a=b\n" CC("public, max-age=60"),
         STORABLE_YES},
        {"7.3 public", "", 200, DATE "set-cookie: a=b\n" CC("max-age=60, public"), STORABLE_YES},
        {"7.3 s-maxage", "", 200, DATE "set-cookie: a=b\n" CC("s-maxage=60"), STORABLE_YES},
        {"7.3 s-maxage that can't be read", "cookie: a=a\n", 200,
         DATE "set-cookie: a=b\netag: \"a\"\n" CC("s-maxage=x"), STORABLE_SET_COOKIE},
        {"7.3 targeted", "", 200, DATE "set-cookie: a=b\ncdn-cache-control: max-age=60\n", STORABLE_YES},
        {"4.1 Vary: *", "", 200, DATE "vary: *\n" CC("max-age=60"), STORABLE_VARY_ANY},
        {"9213 2.2 no-store there is no matter", "", 200, DATE CC("no-store") "cdn-cache-control: max-age=60\n",
         STORABLE_YES},
        {"9213 2.2 no-store here is", "", 200, DATE CC("max-age=60") "cdn-cache-control: no-store\n",
         STORABLE_NO_STORE},
        {"9213 2.2 private here is", "", 200, DATE CC("max-age=60") "cdn-cache-control: private\n", STORABLE_PRIVATE},
        {"Surrogate-Control no-store", "", 200, DATE CC("max-age=60") "surrogate-control: no-store\n",
         STORABLE_NO_STORE},
    };
    rules_t rules = RULES_DEFAULT;
    check(&rules, rows, sizeof rows / sizeof *rows);
}

/* What is said of an enormous head may be about fields that aren't in the key. */
Test(storable, odd_request_is_no_ground_for_a_guess)
{
    char big[5000] = "x: ";
    memset(big + 3, 'a', sizeof big - 5);
    big[sizeof big - 2] = '\n';
    rules_t rules = RULES_DEFAULT;
    cr_expect_eq(decide(&rules, METHOD_GET, big, 414, DATE LM), STORABLE_NO_FRESHNESS);
    cr_expect_eq(decide(&rules, METHOD_GET, big, 501, DATE LM), STORABLE_NO_FRESHNESS);
    cr_expect_eq(decide(&rules, METHOD_GET, big, 404, DATE LM), STORABLE_YES);
}

Test(storable, methods)
{
    rules_t rules = RULES_DEFAULT;
    for (method_t m = METHOD_HEAD; m <= METHOD_OTHER; m++)
        if (m != METHOD_POST)
            cr_expect_eq(decide(&rules, m, "", 200, DATE CC("max-age=60, public")), STORABLE_METHOD, "method %d", m);
}

/* RFC 9110 9.3.3: with explicit freshness. (That it represents the target is the caller's to see.) */
Test(storable, post)
{
    rules_t rules = RULES_DEFAULT;
    cr_expect_eq(decide(&rules, METHOD_POST, "", 200, DATE CC("max-age=60")), STORABLE_YES);
    cr_expect_eq(decide(&rules, METHOD_POST, "", 200, DATE LM), STORABLE_METHOD, "a guess is not enough");
    cr_expect_eq(decide(&rules, METHOD_POST, "", 200, DATE LM CC("public")), STORABLE_METHOD);
    cr_expect_eq(decide(&rules, METHOD_POST, "", 200, DATE LM CC("max-age=1m")), STORABLE_METHOD, "nor is rubbish");
    cr_expect_eq(decide(&rules, METHOD_POST, "", 200, DATE CC("s-maxage=60")), STORABLE_YES);
    cr_expect_eq(decide(&rules, METHOD_POST, "", 200, DATE "expires: Sun, 06 Nov 1994 08:50:37 GMT\n"), STORABLE_YES);
    cr_expect_eq(decide(&rules, METHOD_POST, "", 200, DATE LM "expires: soon\n"), STORABLE_METHOD);
    cr_expect_eq(decide(&rules, METHOD_POST, "", 201, DATE CC("max-age=60")), STORABLE_METHOD);
    cr_expect_eq(decide(&rules, METHOD_POST, "", 200, DATE CC("max-age=60, private")), STORABLE_PRIVATE);
}

Test(storable, by_the_rules)
{
    static const row_t off[] = {{"cache: false", "", 200, DATE CC("max-age=60"), STORABLE_RULE}};
    static const row_t over[] = {
        {"override_ttl", "", 200, DATE, STORABLE_YES},
        {"override_ttl shares nothing private", "", 200, DATE CC("private"), STORABLE_PRIVATE},
        {"override_ttl keeps no no-store", "", 200, DATE CC("no-store"), STORABLE_NO_STORE},
        {"override_ttl shares no authorization", "authorization: x\n", 200, DATE, STORABLE_AUTHORIZATION},
        {"override_ttl shares no cookie", "", 200, DATE "set-cookie: a=b\n", STORABLE_SET_COOKIE},
        {"override_ttl for a temporary redirect", "", 302, DATE, STORABLE_YES},
        {"override_ttl not for a failure", "", 500, DATE, STORABLE_NO_FRESHNESS},
    };
    static const row_t over_private[] = {
        {"override_private", "", 200, DATE CC("private"), STORABLE_YES},
        {"override_private", "", 200, DATE CC("no-store"), STORABLE_YES},
        {"override_private", "authorization: x\n", 200, DATE, STORABLE_YES},
        {"override_private", "", 200, DATE "set-cookie: a=b\n", STORABLE_YES},
        {"but a client's no-store stands", CC("no-store"), 200, DATE, STORABLE_REQUEST_NO_STORE},
    };
    static const row_t ttl[] = {
        {"ttl", "", 200, DATE, STORABLE_YES},
        {"ttl not for no-store", "", 200, DATE CC("no-store"), STORABLE_NO_STORE},
        {"ttl not for a failure", "", 500, DATE, STORABLE_NO_FRESHNESS},
    };
    static const row_t lonely[] = {
        {"override_private without override_ttl", "", 200, DATE CC("private, max-age=60"), STORABLE_PRIVATE}};
    rules_t rules = RULES_DEFAULT;
    rules.cache = false;
    check(&rules, off, 1);
    rules = RULES_DEFAULT;
    rules.override_private = true;
    check(&rules, lonely, 1);
    rules.override_ttl = HOUR;
    check(&rules, over_private, sizeof over_private / sizeof *over_private);
    rules.override_private = false;
    check(&rules, over, sizeof over / sizeof *over);
    rules = RULES_DEFAULT;
    rules.ttl = HOUR;
    check(&rules, ttl, sizeof ttl / sizeof *ttl);
}

Test(storable, statuses_that_must_understand_knows)
{
    static const int known[] = {200, 201, 205, 300, 303, 307, 308, 400, 401, 404,
                                405, 410, 414, 415, 421, 422, 426, 500, 505};
    static const int unknown[] = {207, 299, 304, 305, 306, 309, 399, 402, 418, 420, 423, 499, 506, 599};
    rules_t rules = RULES_DEFAULT;
    const char *response = DATE CC("must-understand, no-store, max-age=60");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        cr_expect_eq(decide(&rules, METHOD_GET, "", known[i], response), STORABLE_YES, "%d", known[i]);
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        cr_expect_eq(decide(&rules, METHOD_GET, "", unknown[i], response), STORABLE_STATUS, "%d", unknown[i]);
}

Test(storable, too_many_tags)
{
    char text[TAG_MAX_BYTES + 200] = DATE CC("max-age=60") "cache-tag: ";
    size_t n = strlen(text);
    memset(text + n, 'x', TAG_MAX_BYTES + 1);
    rules_t rules = RULES_DEFAULT;
    cr_expect_eq(decide(&rules, METHOD_GET, "", 200, text), STORABLE_TOO_MANY_TAGS);
    text[n + TAG_MAX_BYTES] = '\0';
    cr_expect_eq(decide(&rules, METHOD_GET, "", 200, text), STORABLE_YES);
}

/* A purge is written in JSON, which has no such bytes: it could never be found. */
Test(storable, tags_that_no_purge_can_name)
{
    static const struct {
        const char *tags;
        storable_t what;
    } rows[] = {{"surrogate-key: caf\xe9\n", STORABLE_TOO_MANY_TAGS},
                {"surrogate-key: fine caf\xc3\xa9 \xff\n", STORABLE_TOO_MANY_TAGS},
                {"cache-tag: a, b\x80\n", STORABLE_TOO_MANY_TAGS},
                {"cache-tag: a\tb\n", STORABLE_TOO_MANY_TAGS},
                {"cache-tag: \xed\xa0\x80\n", STORABLE_TOO_MANY_TAGS},
                {"cache-tag: caf\xc3\xa9\t, b\n", STORABLE_YES},
                {"surrogate-key: caf\xc3\xa9\tb\n", STORABLE_YES}};
    rules_t rules = RULES_DEFAULT;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[200];
        snprintf(text, sizeof text, DATE CC("max-age=60") "%s", rows[i].tags);
        cr_expect_eq(decide(&rules, METHOD_GET, "", 200, text), rows[i].what, "row %zu", i);
    }
}

/* RFC 9111 5.2.2.4 and 5.2.2.7: without the listed fields the rest may be stored. */
Test(storable, strip)
{
    arena_t a;
    arena_init(&a, 0);
    rules_t rules = RULES_DEFAULT;
    fields_t rq = head(&a, "");
    fields_t rs = head(
        &a, DATE "a: 1\nb: 2\nset-cookie: s\nc: 3\na: 4\n" CC("max-age=60, no-cache=\"A, b\", private=set-cookie"));
    stored_t s;
    stored_describe(&s, 200, &rs, &rq, &rules, T0, T0, &a);
    cr_expect(s.flags & STORED_NO_CACHE);
    cr_expect_eq(storable_decide(METHOD_GET, &rq, 200, &rs, &s, &rules, &a), STORABLE_PRIVATE);
    storable_strip(&rs, &a);
    cr_expect_eq(rs.n, 3);
    cr_expect(fields_has(&rs, SPAN("c")) && fields_has(&rs, SPAN("date")) && fields_has(&rs, SPAN("cache-control")));
    stored_describe(&s, 200, &rs, &rq, &rules, T0, T0, &a);
    cr_expect(!(s.flags & STORED_NO_CACHE));
    cr_expect_eq(storable_decide(METHOD_GET, &rq, 200, &rs, &s, &rules, &a), STORABLE_YES);
    arena_release(&a);
}

Test(storable, every_reason_has_words)
{
#define STORABLE_REASON(id, word, section)                                                                             \
    cr_expect_str_eq(storable_word(id), word);                                                                         \
    cr_expect_str_eq(storable_section(id), section);
#include "edge/policy/storable.def"
}

Test(storable, a_note_keeps_its_reason)
{
    stored_t s;
    storable_note(&s, STORABLE_PRIVATE, T0, 2 * SECOND);
    cr_expect_eq(s.flags, STORED_HIT_FOR_MISS);
    cr_expect_eq(stored_ttl(&s, T0), 2 * SECOND);
    cr_expect_eq(stored_ttl(&s, T0 + 3 * SECOND), -SECOND);
    cr_expect_eq(storable_noted(&s), STORABLE_PRIVATE);
}

Test(storable, only_a_note_has_one, .signal = SIGABRT)
{
    storable_noted(&(stored_t){.status = STORABLE_PRIVATE});
}

Test(storable, no_word_for_no_reason, .signal = SIGABRT)
{
    storable_word((storable_t)1000);
}

Test(storable, no_section_for_no_reason, .signal = SIGABRT)
{
    storable_section((storable_t)1000);
}
