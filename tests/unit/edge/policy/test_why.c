/* Decisions told rule by rule: the same verdict as without the telling, and in it the rules in their order up to the
 * one that decided. */
#include "edge/policy/reuse.h"
#include "edge/policy/storable.h"
#include "tests/unit/edge/policy/policy_test.h"

/* The rules that were asked, as "word word!": the last one holds. */
static const char *told(const why_t *why)
{
    static char text[1024];
    size_t n = 0;
    text[0] = '\0';
    for (size_t i = 0; i < why->n; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s%s", i > 0 ? " " : "", why->rule[i].word,
                              why->rule[i].then != NULL ? "!" : "");
    return text;
}

static void well_told(const why_t *why)
{
    cr_assert_gt(why->n, 0);
    for (size_t i = 0; i < why->n; i++) {
        const why_rule_t *r = &why->rule[i];
        cr_assert(r->word[0] != '\0' && r->section[0] != '\0' && r->says[0] != '\0');
    }
}

Test(why, reuse)
{
    static const struct {
        uint32_t flags;
        mark_t mark;
        const char *request;
        msec_t age;
        const char *told, *then;
    } rows[] = {
        {0, MARK_HARD, "", 0, "purged! only-if-cached", "miss"},
        {0, MARK_NONE, "", 0,
         "purged hit-for-miss stale vary invalidated gap authorization no-cache request-no-cache request-max-age "
         "min-fresh "
         "immutable fresh! only-if-cached",
         "hit"},
        {STORED_IMMUTABLE, MARK_NONE, "cache-control: no-cache\n", 0,
         "purged hit-for-miss stale vary invalidated gap authorization no-cache request-no-cache request-max-age "
         "min-fresh "
         "immutable! only-if-cached",
         "hit"},
        {STORED_INVALIDATED, MARK_STRICT, "", 0, "purged hit-for-miss stale vary invalidated! only-if-cached",
         "revalidate"},
        {0, MARK_STRICT, "", 0, "purged hit-for-miss stale vary invalidated gap! only-if-cached", "revalidate"},
        {STORED_NO_CACHE, MARK_NONE, "", 0,
         "purged hit-for-miss stale vary invalidated gap authorization no-cache! only-if-cached", "revalidate"},
        {0, MARK_SOFT, "cache-control: only-if-cached\n", 0,
         "purged hit-for-miss stale vary invalidated gap authorization no-cache request-no-cache request-max-age "
         "min-fresh "
         "immutable fresh stale-while-revalidate max-stale soft-purge! only-if-cached!",
         "504"},
        {0, MARK_NONE, "cache-control: max-stale\n", 200 * SECOND,
         "purged hit-for-miss stale vary invalidated gap authorization no-cache request-no-cache request-max-age "
         "min-fresh "
         "immutable fresh stale-while-revalidate max-stale! only-if-cached",
         "stale"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        arena_t a;
        arena_init(&a, 0);
        fields_t f = head(&a, rows[i].request);
        request_cc_t rq;
        request_cc_parse(&rq, &f);
        stored_t s = {.status = 200, .flags = rows[i].flags, .response_time = T0, .lifetime = 100 * SECOND};
        why_t why = {.n = 0};
        reuse_verdict_t v = reuse_explain(&s, rows[i].mark, &rq, T0 + rows[i].age, &why);
        well_told(&why);
        cr_expect_str_eq(told(&why), rows[i].told);
        cr_expect_str_eq(reuse_then(v.use), rows[i].then, "%s", reuse_then(v.use));
        arena_release(&a);
    }
}

Test(why, reuse_says_what_it_does)
{
    static const char *const requests[] = {"",
                                           "cache-control: max-age=50\n",
                                           "cache-control: max-stale=20\n",
                                           "cache-control: only-if-cached, min-fresh=10\n",
                                           "authorization: x\n",
                                           "cache-control: no-cache\n"};
    uint64_t seed = 7;
    for (int round = 0; round < 20000; round++) {
        arena_t a;
        arena_init(&a, 0);
        fields_t f = head(&a, requests[noise(&seed) % (sizeof requests / sizeof *requests)]);
        request_cc_t rq;
        request_cc_parse(&rq, &f);
        stored_t s = {.status = 200,
                      .flags = (uint32_t)(noise(&seed) & noise(&seed) & ((1u << 14) - 1)),
                      .response_time = T0,
                      .lifetime = 100 * SECOND,
                      .stale_while_revalidate = (msec_t)(noise(&seed) % 2) * 20 * SECOND};
        mark_t mark = noise(&seed) % 3 == 0 ? (mark_t)(noise(&seed) % 4) : MARK_NONE;
        msec_t now = T0 + (msec_t)(noise(&seed) % 150) * SECOND;
        why_t why = {.n = 0};
        reuse_verdict_t v = reuse_decide(&s, mark, &rq, now), w = reuse_explain(&s, mark, &rq, now, &why);
        cr_assert(v.use == w.use && v.reason == w.reason);
        well_told(&why);
        const why_rule_t *last = &why.rule[why.n - 1];
        if (last->then == NULL)
            last--; /* only-if-cached was asked, and changed nothing */
        cr_assert_str_eq(last->word, reuse_word(v.reason));
        cr_assert_str_eq(last->section, reuse_section(v.reason));
        cr_assert_str_eq(last->then, reuse_then(v.use));
        arena_release(&a);
    }
}

Test(why, storable)
{
    static const struct {
        const char *response, *request;
        storable_t verdict;
        const char *told;
    } rows[] = {
        {"cache-control: max-age=60\n", "", STORABLE_YES,
         "rule method request-no-store partial status method status no-store private authorization set-cookie vary "
         "too-many-tags no-freshness stored!"},
        {"cache-control: private\n", "", STORABLE_PRIVATE,
         "rule method request-no-store partial status method status no-store private!"},
        {"cache-control: max-age=60\n", "cache-control: no-store\n", STORABLE_REQUEST_NO_STORE,
         "rule method request-no-store!"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        arena_t a;
        arena_init(&a, 0);
        fields_t response = head(&a, rows[i].response), request = head(&a, rows[i].request);
        rules_t rules = RULES_DEFAULT;
        stored_t s;
        why_t why = {.n = 0};
        stored_describe(&s, 200, &response, &request, &rules, T0, T0, &a);
        cr_expect_eq(storable_explain(METHOD_GET, &request, 200, &response, &s, &rules, &a, &why), rows[i].verdict);
        well_told(&why);
        cr_expect_str_eq(told(&why), rows[i].told);
        cr_expect_str_eq(why.rule[why.n - 1].then, rows[i].verdict == STORABLE_YES ? "store" : "don't store");
        arena_release(&a);
    }
}

Test(why, lifetime)
{
    static const struct {
        const char *response;
        msec_t ttl, override_ttl;
        lifetime_t source;
        const char *field, *told;
        msec_t lifetime;
    } rows[] = {
        {"cache-control: s-maxage=5, max-age=60\n", RULES_UNSET, RULES_UNSET, LIFETIME_S_MAXAGE, "Cache-Control",
         "override_ttl s-maxage!", 5 * SECOND},
        {"cache-control: max-age=60\ncdn-cache-control: max-age=7\n", RULES_UNSET, RULES_UNSET, LIFETIME_MAX_AGE,
         "CDN-Cache-Control", "override_ttl s-maxage max-age!", 7 * SECOND},
        {"brink-cdn-cache-control: max-age=3\ncdn-cache-control: max-age=7\n", RULES_UNSET, RULES_UNSET,
         LIFETIME_MAX_AGE, "Brink-CDN-Cache-Control", "override_ttl s-maxage max-age!", 3 * SECOND},
        {"surrogate-control: max-age=9\n", RULES_UNSET, RULES_UNSET, LIFETIME_MAX_AGE, "Surrogate-Control",
         "override_ttl s-maxage max-age!", 9 * SECOND},
        {"surrogate-control: content=x\ncache-control: max-age=60\n", RULES_UNSET, RULES_UNSET, LIFETIME_MAX_AGE,
         "Cache-Control", "override_ttl s-maxage max-age!", MINUTE},
        {"cache-control: max-age=60\n", 9 * SECOND, 8 * SECOND, LIFETIME_OVERRIDE, "Cache-Control", "override_ttl!",
         8 * SECOND},
        {DATE "expires: Sun, 06 Nov 1994 08:50:37 GMT\n", RULES_UNSET, RULES_UNSET, LIFETIME_EXPIRES, "Cache-Control",
         "override_ttl s-maxage max-age expires!", MINUTE},
        {"etag: \"x\"\n", 9 * SECOND, RULES_UNSET, LIFETIME_TTL, "Cache-Control",
         "override_ttl s-maxage max-age expires ttl!", 9 * SECOND},
        {DATE "last-modified: Sun, 06 Nov 1994 08:32:57 GMT\n", RULES_UNSET, RULES_UNSET, LIFETIME_HEURISTIC,
         "Cache-Control", "override_ttl s-maxage max-age expires ttl heuristic!", 100 * SECOND},
        {"etag: \"x\"\n", RULES_UNSET, RULES_UNSET, LIFETIME_NONE, "Cache-Control",
         "override_ttl s-maxage max-age expires ttl heuristic none!", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        arena_t a;
        arena_init(&a, 0);
        fields_t response = head(&a, rows[i].response), request = head(&a, "");
        rules_t rules = RULES_DEFAULT;
        rules.ttl = rows[i].ttl;
        rules.override_ttl = rows[i].override_ttl;
        stored_t s;
        why_t why = {.n = 0};
        const char *field;
        lifetime_t source = stored_explain(&s, 200, &response, &request, &rules, T0, T0, &a, &why, &field);
        well_told(&why);
        cr_expect_eq(source, rows[i].source, "%s", rows[i].response);
        cr_expect_str_eq(field, rows[i].field);
        cr_expect_str_eq(told(&why), rows[i].told, "%s", told(&why));
        cr_expect_eq(s.lifetime, rows[i].lifetime);
        cr_expect_str_eq(stored_lifetime_word(source), why.rule[why.n - 1].word);
        cr_expect_str_eq(stored_lifetime_section(source), why.rule[why.n - 1].section);
        arena_release(&a);
    }
}
