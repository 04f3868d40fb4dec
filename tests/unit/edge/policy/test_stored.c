/* What a response's head says about freshness: one row a rule, with its section. */
#include "edge/policy/stored.h"
#include "tests/unit/edge/policy/policy_test.h"

#define LM_DAY_AGO "last-modified: Sat, 05 Nov 1994 08:49:37 GMT\n"
#define LM_YEARS_AGO "last-modified: Mon, 06 Nov 1989 08:49:37 GMT\n"
#define FOREVER (((msec_t)1 << 31) * SECOND)

static stored_t describe_with(int status, const char *response, const rules_t *rules, msec_t delay)
{
    arena_t a;
    arena_init(&a, 0);
    fields_t f = head(&a, response), request = head(&a, "host: www.example.com\naccept: text/html\n");
    stored_t s;
    stored_describe(&s, status, &f, &request, rules, T0 - delay, T0, &a);
    arena_release(&a);
    return s;
}

static stored_t describe(int status, const char *response)
{
    rules_t rules = RULES_DEFAULT;
    return describe_with(status, response, &rules, 0);
}

Test(stored, lifetime)
{
    static const struct {
        const char *section;
        int status;
        const char *response;
        msec_t lifetime;
        uint32_t flags; /* of HEURISTIC, NO_CACHE, MUST_REVALIDATE, NO_MAX_STALE, IMMUTABLE, AUTH_SHARED */
    } rows[] = {
        {"4.2.1 max-age", 200, DATE "cache-control: max-age=60\n", MINUTE, 0},
        {"4.2.1 s-maxage first", 200, DATE "cache-control: max-age=60, s-maxage=10\n", 10 * SECOND,
         STORED_MUST_REVALIDATE | STORED_AUTH_SHARED},
        {"4.2.1 max-age over Expires", 200, DATE "cache-control: max-age=60\nexpires: 0\n", MINUTE, 0},
        {"4.2.1 Expires - Date", 200, DATE "expires: Sun, 06 Nov 1994 08:50:37 GMT\n", MINUTE, 0},
        {"5.3 Expires without Date counts from its arrival", 200, "expires: Sun, 06 Nov 1994 08:50:37 GMT\n", MINUTE,
         0},
        {"5.3 Expires with invalid Date", 200, "date: foo\nexpires: Sun, 06 Nov 1994 08:50:37 GMT\n", MINUTE, 0},
        {"5.3 Expires in the past", 200, DATE "expires: Sun, 06 Nov 1994 08:49:36 GMT\n", 0, 0},
        {"5.3 Expires at Date", 200, DATE "expires: Sun, 06 Nov 1994 08:49:37 GMT\n", 0, 0},
        {"5.3 Expires 0", 200, DATE LM_DAY_AGO "expires: 0\n", 0, 0},
        {"5.3 Expires no date", 200, DATE LM_DAY_AGO "expires: tomorrow\n", 0, 0},
        {"4.2.1 several Expires: the earliest", 200,
         DATE "expires: Sun, 06 Nov 1994 09:49:37 GMT\nexpires: Sun, 06 Nov 1994 08:50:37 GMT\n"
              "expires: Sun, 06 Nov 1994 08:51:37 GMT\n",
         MINUTE, 0},
        {"4.2.1 several Expires, one invalid", 200, DATE "expires: Sun, 06 Nov 1994 09:49:37 GMT\nexpires: 0\n", 0, 0},
        {"1.2.2 beyond 2^31", 200, DATE "cache-control: max-age=99999999999\n", FOREVER, 0},
        {"1.2.2 Expires beyond 2^31", 200, DATE "expires: Fri, 01 Jan 9999 00:00:00 GMT\n", FOREVER, 0},
        {"4.2.1 unreadable max-age is stale", 200, DATE LM_DAY_AGO "cache-control: max-age=soon\n", 0, 0},
        {"4.2.2 a tenth of the time since modification", 200, DATE LM_DAY_AGO, DAY / 10, STORED_HEURISTIC},
        {"4.2.2 at most a day", 200, DATE LM_YEARS_AGO, DAY, STORED_HEURISTIC},
        {"4.2.2 not without Last-Modified", 200, DATE, 0, 0},
        {"4.2.2 not when modified after Date", 200, DATE "last-modified: Sun, 06 Nov 1994 08:49:38 GMT\n", 0, 0},
        {"4.2.2 not with an invalid one", 200, DATE "last-modified: lately\n", 0, 0},
        {"4.2.2 not one from before 1970", 200, DATE "last-modified: Mon, 06 Nov 1961 08:49:37 GMT\n", 0, 0},
        {"4.2.2 404 may be guessed", 404, DATE LM_DAY_AGO, DAY / 10, STORED_HEURISTIC},
        {"4.2.2 500 may not", 500, DATE LM_DAY_AGO, 0, 0},
        {"4.2.2 unless public", 599, DATE LM_DAY_AGO "cache-control: public\n", DAY / 10,
         STORED_HEURISTIC | STORED_AUTH_SHARED},
        {"9110 15.1 501, for a minute", 501, DATE LM_DAY_AGO "cache-control: public\n", MINUTE,
         STORED_HEURISTIC | STORED_AUTH_SHARED},
        {"an odd request's answer never", 400, DATE LM_DAY_AGO "cache-control: public\n", 0, STORED_AUTH_SHARED},
        {"an odd request's answer never", 413, DATE LM_DAY_AGO "cache-control: public\n", 0, STORED_AUTH_SHARED},
        {"9110 15.1 414, for a minute", 414, DATE LM_DAY_AGO "cache-control: public\n", MINUTE,
         STORED_HEURISTIC | STORED_AUTH_SHARED},
        {"an odd request's answer never", 431, DATE LM_DAY_AGO "cache-control: public\n", 0, STORED_AUTH_SHARED},
        {"5.4 Pragma in a response stops the guess", 200, DATE LM_DAY_AGO "pragma: No-Cache\n", 0, 0},
        {"5.4 but not beside Cache-Control", 200, DATE LM_DAY_AGO "cache-control: foo\npragma: no-cache\n", DAY / 10,
         STORED_HEURISTIC},
        {"5.4 other Pragma", 200, DATE LM_DAY_AGO "pragma: foo\n", DAY / 10, STORED_HEURISTIC},
        {"9213 2.2 targeted over Cache-Control and Expires", 200,
         DATE "cache-control: no-cache, max-age=1\nexpires: 0\ncdn-cache-control: max-age=60\n", MINUTE, 0},
        {"9213 2.2 own field first", 200, DATE "brink-cdn-cache-control: max-age=60\ncdn-cache-control: max-age=10\n",
         MINUTE, 0},
        {"9213 2.1 broken falls back", 200, DATE "cache-control: max-age=60\ncdn-cache-control: max-age=10, &\n",
         MINUTE, 0},
        {"9213 2.1 empty falls back", 200, DATE "cache-control: max-age=60\ncdn-cache-control:\n", MINUTE, 0},
        {"9213 2.2 targeted without lifetime ignores Expires", 200,
         DATE "cdn-cache-control: public\nexpires: Sun, 06 Nov 1994 08:50:37 GMT\n", 0, STORED_AUTH_SHARED},
        {"Surrogate-Control", 200, DATE "cache-control: max-age=1\nsurrogate-control: max-age=60\n", MINUTE, 0},
        {"Surrogate-Control after targeted", 200, DATE "surrogate-control: max-age=1\ncdn-cache-control: max-age=60\n",
         MINUTE, 0},
        {"Surrogate-Control that is silent on caching", 200,
         DATE "cache-control: max-age=60\nsurrogate-control: content=\"ESI/1.0\"\n", MINUTE, 0},
        {"Surrogate-Control no-store speaks", 200, DATE "cache-control: max-age=60\nsurrogate-control: no-store\n", 0,
         0},
        {"Surrogate-Control s-maxage speaks", 200, DATE "surrogate-control: s-maxage=60\n", MINUTE,
         STORED_MUST_REVALIDATE | STORED_AUTH_SHARED},
        {"5.2.2.4 no-cache", 200, DATE "cache-control: no-cache, max-age=60\n", MINUTE, STORED_NO_CACHE},
        {"5.2.2.4 qualified, field absent", 200, DATE "cache-control: no-cache=\"x\", max-age=60\n", MINUTE, 0},
        {"5.2.2.4 qualified, field present", 200, DATE "x: 1\ncache-control: no-cache=\"X\", max-age=60\n", MINUTE,
         STORED_NO_CACHE},
        {"5.2.2.2 must-revalidate", 200, DATE "cache-control: must-revalidate, max-age=60\n", MINUTE,
         STORED_MUST_REVALIDATE | STORED_AUTH_SHARED},
        {"5.2.2.8 proxy-revalidate", 200, DATE "cache-control: proxy-revalidate, max-age=60\n", MINUTE,
         STORED_MUST_REVALIDATE},
        {"5.2.2.10 s-maxage with own windows", 200, DATE "cache-control: s-maxage=60, stale-if-error=5\n", MINUTE,
         STORED_NO_MAX_STALE | STORED_AUTH_SHARED | STORED_STALE_SAID},
        {"5.2.2.10 s-maxage with windows of nothing", 200, DATE "cache-control: s-maxage=60, stale-if-error=0\n",
         MINUTE, STORED_MUST_REVALIDATE | STORED_AUTH_SHARED | STORED_STALE_SAID},
        {"3.5 s-maxage that can't be read permits nothing", 200, DATE "cache-control: s-maxage=x\n", 0,
         STORED_MUST_REVALIDATE},
        {"3.5 nor does one behind an open quote", 200, DATE "cache-control: foo=\", s-maxage=60\n", 0,
         STORED_MUST_REVALIDATE},
        {"3.5 must-revalidate with an argument restricts only", 200,
         DATE "cache-control: max-age=60, must-revalidate=1\n", MINUTE, STORED_MUST_REVALIDATE},
        {"3.5 s-maxage of a targeted field", 200, DATE "cdn-cache-control: s-maxage=60\n", MINUTE,
         STORED_MUST_REVALIDATE | STORED_AUTH_SHARED},
        {"8246 2 immutable", 200, DATE "cache-control: max-age=60, immutable\n", MINUTE, STORED_IMMUTABLE},
        {"5861 3 how long it may be stale", 200, DATE "cache-control: max-age=60, stale-while-revalidate=5\n", MINUTE,
         STORED_STALE_SAID},
        {"5861 4 not at all", 200, DATE "cache-control: max-age=60, stale-if-error=0\n", MINUTE, STORED_STALE_SAID},
    };
    const uint32_t looked_at = STORED_STALE_SAID | STORED_HEURISTIC | STORED_NO_CACHE | STORED_MUST_REVALIDATE |
                               STORED_NO_MAX_STALE | STORED_IMMUTABLE | STORED_AUTH_SHARED | STORED_RULE_TTL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        stored_t s = describe(rows[i].status, rows[i].response);
        cr_expect_eq(s.lifetime, rows[i].lifetime, "%s: lifetime %lld, not %lld", rows[i].section,
                     (long long)s.lifetime, (long long)rows[i].lifetime);
        cr_expect_eq(s.flags & looked_at, rows[i].flags, "%s: flags %x, not %x", rows[i].section, s.flags & looked_at,
                     rows[i].flags);
        cr_expect_eq(s.status, rows[i].status);
    }
}

Test(stored, stale_windows)
{
    rules_t none = RULES_DEFAULT, some = RULES_DEFAULT;
    some.stale_while_revalidate = 7 * SECOND;
    some.stale_if_error = 8 * SECOND;
    const struct {
        const char *section, *cache_control;
        const rules_t *rules;
        msec_t swr, sie;
    } rows[] = {
        {"5861 3", "max-age=1, stale-while-revalidate=5", &none, 5 * SECOND, 0},
        {"5861 4", "max-age=1, stale-if-error=5", &none, 0, 5 * SECOND},
        {"rule", "max-age=1", &some, 7 * SECOND, 8 * SECOND},
        {"own value wins", "max-age=1, stale-while-revalidate=0, stale-if-error=3", &some, 0, 3 * SECOND},
        {"s-maxage with own", "s-maxage=1, stale-while-revalidate=5", &none, 5 * SECOND, 0},
        {"s-maxage with rule", "s-maxage=1", &some, 7 * SECOND, 8 * SECOND},
        {"must-revalidate", "max-age=1, stale-while-revalidate=5, stale-if-error=5, must-revalidate", &some, 0, 0},
        {"proxy-revalidate", "max-age=1, stale-while-revalidate=5, stale-if-error=5, proxy-revalidate", &some, 0, 0},
        {"no-cache", "max-age=1, stale-while-revalidate=5, stale-if-error=5, no-cache", &some, 0, 0},
        {"must-revalidate beside s-maxage", "s-maxage=1, must-revalidate, stale-if-error=5", &none, 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[200];
        snprintf(text, sizeof text, DATE "cache-control: %s\n", rows[i].cache_control);
        stored_t s = describe_with(200, text, rows[i].rules, 0);
        cr_expect_eq(s.stale_while_revalidate, rows[i].swr, "%s", rows[i].section);
        cr_expect_eq(s.stale_if_error, rows[i].sie, "%s", rows[i].section);
        cr_expect((s.flags & STORED_STALE_SAID) != 0, "%s", rows[i].section);
    }
    const char *plain = DATE "cache-control: max-age=1\n";
    cr_expect(!(describe_with(200, plain, &none, 0).flags & STORED_STALE_SAID));
    rules_t one = RULES_DEFAULT;
    one.stale_while_revalidate = 0;
    cr_expect(describe_with(200, plain, &one, 0).flags & STORED_STALE_SAID, "a rule says it too");
    one = RULES_DEFAULT;
    one.stale_if_error = 0;
    cr_expect(describe_with(200, plain, &one, 0).flags & STORED_STALE_SAID, "either of them");
    one = RULES_DEFAULT;
    one.override_ttl = SECOND;
    cr_expect(describe_with(200, plain, &one, 0).flags & STORED_STALE_SAID, "the operator says how long it holds");
}

Test(stored, rules)
{
    rules_t ttl = RULES_DEFAULT, over = RULES_DEFAULT, over_private = RULES_DEFAULT;
    ttl.ttl = HOUR;
    over.override_ttl = HOUR;
    over_private.override_ttl = HOUR;
    over_private.override_private = true;
    rules_t seconds = RULES_DEFAULT;
    seconds.ttl = 5 * SECOND;
    const struct {
        const char *what;
        const rules_t *rules;
        int status;
        const char *response;
        msec_t lifetime;
        uint32_t flags; /* of RULE_TTL, HEURISTIC, NO_CACHE, AUTH_SHARED */
    } rows[] = {
        {"ttl where nothing is said", &ttl, 200, DATE, HOUR, STORED_RULE_TTL},
        {"ttl before a guess", &ttl, 200, DATE LM_DAY_AGO, HOUR, STORED_RULE_TTL},
        {"ttl not where max-age speaks", &ttl, 200, DATE "cache-control: max-age=60\n", MINUTE, 0},
        {"ttl not where max-age=0 speaks", &ttl, 200, DATE "cache-control: max-age=0\n", 0, 0},
        {"ttl not where Expires speaks", &ttl, 200, DATE "expires: 0\n", 0, 0},
        {"ttl not where no-cache speaks", &ttl, 200, DATE "cache-control: no-cache\n", 0, STORED_NO_CACHE},
        {"ttl for an absence: a minute", &ttl, 404, DATE, MINUTE, STORED_RULE_TTL},
        {"a short ttl for an absence", &seconds, 404, DATE, 5 * SECOND, STORED_RULE_TTL},
        {"ttl not for failures", &ttl, 503, DATE, 0, 0},
        {"ttl not for temporary redirects", &ttl, 302, DATE, 0, 0},
        {"override_ttl over max-age", &over, 200, DATE "cache-control: max-age=60\n", HOUR, STORED_RULE_TTL},
        {"override_ttl over no-cache", &over, 200, DATE "cache-control: no-cache\n", HOUR, STORED_RULE_TTL},
        {"override_ttl for temporary redirects", &over, 302, DATE, HOUR, STORED_RULE_TTL},
        {"override_ttl for 307", &over, 307, DATE, HOUR, STORED_RULE_TTL},
        {"override_ttl for an absence: a minute", &over, 410, DATE, MINUTE, STORED_RULE_TTL},
        {"override_ttl not for failures", &over, 500, DATE "cache-control: max-age=60\n", MINUTE, 0},
        {"override_ttl shares no authorization", &over, 200, DATE, HOUR, STORED_RULE_TTL},
        {"override_private does", &over_private, 200, DATE, HOUR, STORED_RULE_TTL | STORED_AUTH_SHARED},
    };
    const uint32_t looked_at = STORED_RULE_TTL | STORED_HEURISTIC | STORED_NO_CACHE | STORED_AUTH_SHARED;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        stored_t s = describe_with(rows[i].status, rows[i].response, rows[i].rules, 0);
        cr_expect_eq(s.lifetime, rows[i].lifetime, "%s: %lld", rows[i].what, (long long)s.lifetime);
        cr_expect_eq(s.flags & looked_at, rows[i].flags, "%s: %x", rows[i].what, s.flags & looked_at);
    }
}

Test(stored, age)
{
    rules_t rules = RULES_DEFAULT;
    static const struct {
        const char *section, *response;
        msec_t delay, age;
    } rows[] = {
        {"4.2.3 nothing known", DATE, 0, 0},
        {"4.2.3 apparent age", "date: Sun, 06 Nov 1994 08:49:27 GMT\n", 0, 10 * SECOND},
        {"4.2.3 a fast origin clock is no negative age", "date: Sun, 06 Nov 1994 08:50:37 GMT\n", 0, 0},
        {"4.2.3 Age", DATE "age: 30\n", 0, 30 * SECOND},
        {"4.2.3 response delay is added", DATE "age: 30\n", 1500, 31500},
        {"4.2.3 response delay alone", DATE, 1500, 1500},
        {"4.2.3 the larger of both", "date: Sun, 06 Nov 1994 08:49:27 GMT\nage: 3\n", 2 * SECOND, 10 * SECOND},
        {"4.2.3 a clock set back during the request", DATE, -500, 0},
        {"5.1 first member", DATE "age: 30, 0\n", 0, 30 * SECOND},
        {"5.1 first line", DATE "age: 0\nage: 30\n", 0, 0},
        {"5.1 rubbish ignored", DATE "age: abc\n", 0, 0},
        {"5.1 negative ignored", DATE "age: -7200\n", 0, 0},
        {"5.1 float ignored", DATE "age: 7200.0\n", 0, 0},
        {"5.1 empty ignored", DATE "age:\n", 0, 0},
        {"1.2.2 just over 2^31", DATE "age: 2147483649\n", 0, FOREVER},
        {"1.2.2 huge", DATE "age: 99999999999999999999999\n", 0, FOREVER},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        stored_t s = describe_with(200, rows[i].response, &rules, rows[i].delay);
        cr_expect_eq(stored_age(&s, T0), rows[i].age, "%s: %lld", rows[i].section, (long long)stored_age(&s, T0));
        cr_expect_eq(stored_age(&s, T0 + 5 * SECOND), rows[i].age + 5 * SECOND, "%s", rows[i].section);
        cr_expect_eq(stored_age(&s, T0 - DAY), rows[i].age + DAY, "%s: the clock was set back by a day",
                     rows[i].section);
    }
}

Test(stored, validators_and_length)
{
    static const struct {
        int status;
        const char *response;
        uint32_t flags;
        int64_t length;
        msec_t last_modified;
    } rows[] = {
        {200, DATE "etag: \"a\"\ncontent-length: 12\n", STORED_HAS_ETAG | STORED_STRONG_ETAG, 12, -1},
        {200, DATE "etag: W/\"a\"\ncontent-length: 1x\n", STORED_HAS_ETAG, -1, -1},
        {200, DATE "etag: \"\"\ncontent-length:\n", STORED_HAS_ETAG | STORED_STRONG_ETAG, -1, -1},
        {200, DATE "etag: abc\ncontent-length: 1234567890123456789\n", 0, -1, -1},
        {200, DATE "etag: \"\n", 0, -1, -1},
        {200, DATE "etag: \"a\n", 0, -1, -1},
        {200, DATE "etag: a\"\n", 0, -1, -1},
        {200, DATE "etag: \"a\"b\"\n", 0, -1, -1},
        {200, DATE "etag: \"a b\"\n", 0, -1, -1},
        {200, DATE "etag: \"a\x7f\"\n", 0, -1, -1},
        {200, DATE "etag: W/a\n", 0, -1, -1},
        {200, DATE "etag: \"a\"\netag: \"b\"\n", 0, -1, -1},
        {200, DATE "content-length: /\n" LM_DAY_AGO, STORED_HAS_LAST_MODIFIED, -1, T0 - DAY},
        {206, DATE "content-length: 2\ncontent-range: bytes 0-1/12\n", 0, 12, -1},
        {206, DATE "content-length: 2\ncontent-range: bytes 0-1/*\n", 0, -1, -1},
        {206, DATE "content-length: 2\ncontent-range: lines 0-1/12\n", 0, -1, -1},
        {206, DATE "content-length: 2\n", 0, -1, -1},
        {200, DATE "vary: Accept\n", STORED_VARY, -1, -1},
        {200, DATE "vary:\n", 0, -1, -1},
        {200, DATE "vary: accept\nvary: *\n", STORED_VARY | STORED_VARY_ANY, -1, -1},
    };
    const uint32_t looked_at =
        STORED_HAS_ETAG | STORED_STRONG_ETAG | STORED_HAS_LAST_MODIFIED | STORED_VARY | STORED_VARY_ANY;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        stored_t s = describe(rows[i].status, rows[i].response);
        cr_expect_eq(s.flags & looked_at, rows[i].flags, "%s: %x", rows[i].response, s.flags & looked_at);
        cr_expect_eq(s.content_length, rows[i].length, "%s: %lld", rows[i].response, (long long)s.content_length);
        cr_expect_eq(s.last_modified, rows[i].last_modified, "%s", rows[i].response);
    }
}

/* Whatever a head says, time makes nothing fresher. */
Test(stored, freshness_never_grows_with_time)
{
    static const char *const lines[] = {"age: 30\n",
                                        "age: x\n",
                                        "cache-control: max-age=60\n",
                                        "cache-control: s-maxage=5\n",
                                        "expires: Sun, 06 Nov 1994 08:50:37 GMT\n",
                                        "expires: 0\n",
                                        LM_DAY_AGO,
                                        "cdn-cache-control: max-age=7\n",
                                        "date: Sun, 06 Nov 1994 08:59:37 GMT\n",
                                        DATE};
    uint64_t seed = 88172645463325252u;
    for (int round = 0; round < 10000; round++) {
        char text[1024] = "";
        for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
            if (noise(&seed) % 3 == 0)
                strcat(text, lines[i]);
        rules_t rules = RULES_DEFAULT;
        if (noise(&seed) % 2)
            rules.ttl = (msec_t)(noise(&seed) % HOUR);
        stored_t s = describe_with(200, text, &rules, (msec_t)(noise(&seed) % 5000));
        cr_assert_geq(s.lifetime, 0, "%s", text);
        cr_assert_geq(s.initial_age, 0, "%s", text);
        msec_t now = T0; /* from its arrival on */
        for (int step = 0; step < 20; step++) {
            msec_t later = now + (msec_t)(noise(&seed) % MINUTE);
            cr_assert_leq(stored_ttl(&s, later), stored_ttl(&s, now), "%s", text);
            cr_assert_eq(stored_age(&s, later) + stored_ttl(&s, later), s.lifetime);
            now = later;
        }
    }
}
