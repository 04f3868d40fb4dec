/* Reuse: one row a rule. A stored response here is 100 s fresh and stored at T0 unless the row says otherwise. */
#include <signal.h>

#include "edge/policy/reuse.h"
#include "tests/unit/edge/policy/policy_test.h"

static request_cc_t asked(const char *request)
{
    arena_t a;
    arena_init(&a, 0);
    fields_t f = head(&a, request);
    request_cc_t rq;
    request_cc_parse(&rq, &f);
    arena_release(&a);
    return rq;
}

static stored_t response(uint32_t flags, msec_t swr, msec_t sie)
{
    return (stored_t){.status = 200,
                      .flags = flags,
                      .date = T0,
                      .request_time = T0,
                      .response_time = T0,
                      .lifetime = 100 * SECOND,
                      .stale_while_revalidate = swr,
                      .stale_if_error = sie,
                      .last_modified = -1,
                      .content_length = -1};
}

#define FRESH (T0 + 40 * SECOND)
#define STALE (T0 + 110 * SECOND)
#define CC(directives) "cache-control: " directives "\n"
#define AUTH "authorization: Bearer x\n"

Test(reuse, decide)
{
    static const struct {
        const char *section;
        uint32_t flags;
        msec_t swr;
        mark_t mark;
        const char *request;
        msec_t now;
        reuse_t use;
        reuse_reason_t reason;
    } rows[] = {
        {"4.2 fresh", 0, 0, MARK_NONE, "", FRESH, REUSE_HIT, REUSE_BECAUSE_FRESH},
        {"4.2 fresh while lifetime > age", 0, 0, MARK_NONE, "", T0 + 100 * SECOND - 1, REUSE_HIT, REUSE_BECAUSE_FRESH},
        {"4.2 stale when they are equal", 0, 0, MARK_NONE, "", T0 + 100 * SECOND, REUSE_VALIDATE, REUSE_BECAUSE_STALE},
        {"4.2.4 stale", 0, 0, MARK_NONE, "", STALE, REUSE_VALIDATE, REUSE_BECAUSE_STALE},
        {"5.2.2.4 no-cache", STORED_NO_CACHE, 0, MARK_NONE, "", FRESH, REUSE_VALIDATE, REUSE_BECAUSE_NO_CACHE},
        {"5.2.1.4 no-cache", 0, 0, MARK_NONE, CC("no-cache"), FRESH, REUSE_VALIDATE, REUSE_BECAUSE_REQUEST_NO_CACHE},
        {"5.2.1.4 its odd form", 0, 0, MARK_NONE, CC("no-cache=\"x\""), FRESH, REUSE_VALIDATE,
         REUSE_BECAUSE_REQUEST_NO_CACHE},
        {"5.4 Pragma", 0, 0, MARK_NONE, "pragma: x, No-Cache\n", FRESH, REUSE_VALIDATE, REUSE_BECAUSE_REQUEST_NO_CACHE},
        {"5.4 other Pragma", 0, 0, MARK_NONE, "pragma: x\n", FRESH, REUSE_HIT, REUSE_BECAUSE_FRESH},
        {"5.4 not beside Cache-Control", 0, 0, MARK_NONE, "pragma: no-cache\n" CC("max-age=50"), FRESH, REUSE_HIT,
         REUSE_BECAUSE_FRESH},
        {"5.2.1.1 max-age met", 0, 0, MARK_NONE, CC("max-age=40"), FRESH, REUSE_HIT, REUSE_BECAUSE_FRESH},
        {"5.2.1.1 max-age not met", 0, 0, MARK_NONE, CC("max-age=39"), FRESH, REUSE_VALIDATE,
         REUSE_BECAUSE_REQUEST_MAX_AGE},
        {"5.2.1.1 max-age=0 at once", 0, 0, MARK_NONE, CC("max-age=0"), T0, REUSE_VALIDATE,
         REUSE_BECAUSE_REQUEST_MAX_AGE},
        {"5.2.1.3 min-fresh met", 0, 0, MARK_NONE, CC("min-fresh=60"), FRESH, REUSE_HIT, REUSE_BECAUSE_FRESH},
        {"5.2.1.3 min-fresh not met", 0, 0, MARK_NONE, CC("min-fresh=61"), FRESH, REUSE_VALIDATE,
         REUSE_BECAUSE_MIN_FRESH},
        {"5.2.1.2 max-stale allows", 0, 0, MARK_NONE, CC("max-stale=10"), STALE, REUSE_STALE, REUSE_BECAUSE_MAX_STALE},
        {"5.2.1.2 not that much", 0, 0, MARK_NONE, CC("max-stale=9"), STALE, REUSE_VALIDATE, REUSE_BECAUSE_STALE},
        {"5.2.1.2 any", 0, 0, MARK_NONE, CC("max-stale"), STALE + DAY, REUSE_STALE, REUSE_BECAUSE_MAX_STALE},
        {"5.2.1.2 beside max-age that is met", 0, 0, MARK_NONE, CC("max-stale, max-age=200"), STALE, REUSE_STALE,
         REUSE_BECAUSE_MAX_STALE},
        {"5.2.1.2 beside max-age that is not", 0, 0, MARK_NONE, CC("max-stale, max-age=20"), STALE, REUSE_VALIDATE,
         REUSE_BECAUSE_REQUEST_MAX_AGE},
        {"5.2.1.3 min-fresh wants no stale", 0, 60 * SECOND, MARK_NONE, CC("max-stale, min-fresh=0"), STALE,
         REUSE_VALIDATE, REUSE_BECAUSE_STALE},
        {"5.2.2.2 must-revalidate", STORED_MUST_REVALIDATE, 0, MARK_NONE, CC("max-stale"), STALE, REUSE_VALIDATE,
         REUSE_BECAUSE_STALE},
        {"5.2.2.10 s-maxage with windows", STORED_NO_MAX_STALE, 60 * SECOND, MARK_NONE, "", STALE,
         REUSE_STALE_REVALIDATE, REUSE_BECAUSE_SWR},
        {"5.2.2.10 beyond them max-stale is nothing", STORED_NO_MAX_STALE, 5 * SECOND, MARK_NONE, CC("max-stale"),
         STALE, REUSE_VALIDATE, REUSE_BECAUSE_STALE},
        {"5861 3 in the window", 0, 10 * SECOND, MARK_NONE, "", STALE, REUSE_STALE_REVALIDATE, REUSE_BECAUSE_SWR},
        {"5861 3 behind it", 0, 9 * SECOND, MARK_NONE, "", STALE, REUSE_VALIDATE, REUSE_BECAUSE_STALE},
        {"5861 3 the window before max-stale", 0, 10 * SECOND, MARK_NONE, CC("max-stale"), STALE,
         REUSE_STALE_REVALIDATE, REUSE_BECAUSE_SWR},
        {"5.2.1.1 max-age wants no stale", 0, 60 * SECOND, MARK_NONE, CC("max-age=200"), STALE, REUSE_VALIDATE,
         REUSE_BECAUSE_STALE},
        {"8246 2 reload", STORED_IMMUTABLE, 0, MARK_NONE, CC("max-age=0"), FRESH, REUSE_HIT, REUSE_BECAUSE_IMMUTABLE},
        {"8246 2 no-cache", STORED_IMMUTABLE, 0, MARK_NONE, CC("no-cache"), FRESH, REUSE_HIT, REUSE_BECAUSE_IMMUTABLE},
        {"8246 2 max-age", STORED_IMMUTABLE, 0, MARK_NONE, CC("max-age=1"), FRESH, REUSE_HIT, REUSE_BECAUSE_IMMUTABLE},
        {"8246 2 without reload", STORED_IMMUTABLE, 0, MARK_NONE, "", FRESH, REUSE_HIT, REUSE_BECAUSE_FRESH},
        {"8246 2 only while fresh", STORED_IMMUTABLE, 0, MARK_NONE, CC("no-cache"), STALE, REUSE_VALIDATE,
         REUSE_BECAUSE_REQUEST_NO_CACHE},
        {"8246 2 not after a soft purge", STORED_IMMUTABLE, 0, MARK_SOFT, CC("max-age=0"), FRESH, REUSE_VALIDATE,
         REUSE_BECAUSE_REQUEST_MAX_AGE},
        {"3.5 Authorization", 0, 0, MARK_NONE, AUTH, FRESH, REUSE_VALIDATE, REUSE_BECAUSE_AUTHORIZATION},
        {"3.5 shareable", STORED_AUTH_SHARED, 0, MARK_NONE, AUTH, FRESH, REUSE_HIT, REUSE_BECAUSE_FRESH},
        {"4.1 Vary: *", STORED_VARY | STORED_VARY_ANY, 0, MARK_NONE, "", FRESH, REUSE_UNUSABLE, REUSE_BECAUSE_VARY},
        {"hit-for-miss", STORED_HIT_FOR_MISS, 0, MARK_NONE, "", FRESH, REUSE_UNUSABLE, REUSE_BECAUSE_HIT_FOR_MISS},
        {"hit-for-miss, over", STORED_HIT_FOR_MISS, 60 * SECOND, MARK_NONE, "", STALE, REUSE_UNUSABLE,
         REUSE_BECAUSE_STALE},
        {"soft purge", 0, 0, MARK_SOFT, "", FRESH, REUSE_VALIDATE, REUSE_BECAUSE_SOFT_PURGE},
        {"soft purge in the window", 0, 1, MARK_SOFT, "", FRESH, REUSE_STALE_REVALIDATE, REUSE_BECAUSE_SWR},
        {"soft purge behind it", 0, 9 * SECOND, MARK_SOFT, "", STALE, REUSE_VALIDATE, REUSE_BECAUSE_SOFT_PURGE},
        {"soft purge is not the client's to lift", 0, 0, MARK_SOFT, CC("max-stale"), FRESH, REUSE_VALIDATE,
         REUSE_BECAUSE_SOFT_PURGE},
        {"soft purge of must-revalidate", STORED_MUST_REVALIDATE, 60 * SECOND, MARK_SOFT, "", FRESH, REUSE_VALIDATE,
         REUSE_BECAUSE_SOFT_PURGE},
        {"strict", 0, 60 * SECOND, MARK_STRICT, CC("max-stale"), FRESH, REUSE_VALIDATE, REUSE_BECAUSE_STRICT},
        {"invalidated", STORED_INVALIDATED, 0, MARK_STRICT, "", FRESH, REUSE_VALIDATE, REUSE_BECAUSE_INVALIDATED},
        {"invalidated once, validated since", STORED_INVALIDATED, 0, MARK_NONE, "", FRESH, REUSE_HIT,
         REUSE_BECAUSE_FRESH},
        {"strict and immutable", STORED_IMMUTABLE, 0, MARK_STRICT, "", FRESH, REUSE_VALIDATE, REUSE_BECAUSE_STRICT},
        {"hard", STORED_IMMUTABLE, 60 * SECOND, MARK_HARD, "", FRESH, REUSE_UNUSABLE, REUSE_BECAUSE_HARD_PURGE},
        {"stale at the shield", STORED_WAS_STALE, 0, MARK_NONE, "", FRESH, REUSE_VALIDATE, REUSE_BECAUSE_STALE},
        {"stale at the shield, in the window", STORED_WAS_STALE, 1, MARK_NONE, "", FRESH, REUSE_STALE_REVALIDATE,
         REUSE_BECAUSE_SWR},
        {"stale at the shield is not the client's to lift", STORED_WAS_STALE, 0, MARK_NONE, CC("max-stale"), FRESH,
         REUSE_VALIDATE, REUSE_BECAUSE_STALE},
        {"5.2.1.7 something to send", 0, 0, MARK_NONE, CC("only-if-cached"), FRESH, REUSE_HIT, REUSE_BECAUSE_FRESH},
        {"5.2.1.7 stale but allowed", 0, 60 * SECOND, MARK_NONE, CC("only-if-cached"), STALE, REUSE_STALE_REVALIDATE,
         REUSE_BECAUSE_SWR},
        {"5.2.1.7 nothing fresh", 0, 0, MARK_NONE, CC("only-if-cached"), STALE, REUSE_GATEWAY_TIMEOUT,
         REUSE_BECAUSE_ONLY_IF_CACHED},
        {"5.2.1.7 purged", 0, 0, MARK_HARD, CC("only-if-cached"), FRESH, REUSE_GATEWAY_TIMEOUT,
         REUSE_BECAUSE_ONLY_IF_CACHED},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        stored_t s = response(rows[i].flags, rows[i].swr, 0);
        request_cc_t rq = asked(rows[i].request);
        reuse_verdict_t v = reuse_decide(&s, rows[i].mark, &rq, rows[i].now);
        cr_expect_eq(v.use, rows[i].use, "%s: %d, not %d", rows[i].section, v.use, rows[i].use);
        cr_expect_eq(v.reason, rows[i].reason, "%s: %s", rows[i].section, reuse_word(v.reason));
    }
}

Test(reuse, stale_if_error)
{
    static const struct {
        const char *section;
        uint32_t flags;
        msec_t sie;
        mark_t mark;
        const char *request;
        msec_t now;
        bool may;
    } rows[] = {
        {"5861 4 in the window", 0, 10 * SECOND, MARK_NONE, "", STALE, true},
        {"5861 4 behind it", 0, 9 * SECOND, MARK_NONE, "", STALE, false},
        {"5861 4 never said", 0, 0, MARK_NONE, "", STALE, false},
        {"5861 4 never said, fresh, but a reload", 0, 0, MARK_NONE, CC("no-cache"), FRESH, false},
        {"5861 4 regardless of other freshness information", 0, SECOND, MARK_NONE, CC("no-cache"), FRESH, true},
        {"5861 4 the client's own", 0, 0, MARK_NONE, CC("stale-if-error=10"), STALE, true},
        {"5861 4 the client's own, behind it", 0, 0, MARK_NONE, CC("stale-if-error=9"), STALE, false},
        {"the client can't lift a soft purge", 0, 0, MARK_SOFT, CC("stale-if-error=10"), STALE, false},
        {"the client can't lift s-maxage", STORED_NO_MAX_STALE, 0, MARK_NONE, CC("stale-if-error=10"), STALE, false},
        {"the client can't lift a shield's mark", STORED_WAS_STALE, 0, MARK_NONE, CC("stale-if-error=10"), STALE,
         false},
        {"5.2.2.2 must-revalidate", STORED_MUST_REVALIDATE, 60 * SECOND, MARK_NONE, "", STALE, false},
        {"5.2.2.4 no-cache", STORED_NO_CACHE, 60 * SECOND, MARK_NONE, "", STALE, false},
        {"4.1 Vary: *", STORED_VARY_ANY, 60 * SECOND, MARK_NONE, "", STALE, false},
        {"no response", STORED_HIT_FOR_MISS, 60 * SECOND, MARK_NONE, "", STALE, false},
        {"soft purge", 0, 60 * SECOND, MARK_SOFT, "", FRESH, true},
        {"soft purge, behind the window", 0, 9 * SECOND, MARK_SOFT, "", STALE, false},
        {"strict", 0, 60 * SECOND, MARK_STRICT, "", FRESH, false},
        {"hard", 0, 60 * SECOND, MARK_HARD, "", FRESH, false},
        {"3.5 Authorization", 0, 60 * SECOND, MARK_NONE, AUTH, STALE, false},
        {"3.5 shareable", STORED_AUTH_SHARED, 60 * SECOND, MARK_NONE, AUTH, STALE, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        stored_t s = response(rows[i].flags, 0, rows[i].sie);
        request_cc_t rq = asked(rows[i].request);
        cr_expect_eq(reuse_stale_if_error(&s, rows[i].mark, &rq, rows[i].now), rows[i].may, "%s", rows[i].section);
    }
}

Test(reuse, disconnected)
{
    static const struct {
        const char *section;
        uint32_t flags;
        msec_t lifetime;
        mark_t mark;
        const char *request;
        msec_t late; /* since it became stale */
        bool may;
    } rows[] = {
        {"4.2.4 disconnected", 0, 100 * SECOND, MARK_NONE, "", 10 * SECOND, true},
        {"as long again as it was fresh", 0, 100 * SECOND, MARK_NONE, "", 100 * SECOND, true},
        {"and no longer", 0, 100 * SECOND, MARK_NONE, "", 100 * SECOND + 1, false},
        {"at least a minute", 0, SECOND, MARK_NONE, "", MINUTE, true},
        {"at least a minute, and no longer", 0, SECOND, MARK_NONE, "", MINUTE + 1, false},
        {"at most a day", 0, 365 * DAY, MARK_NONE, "", DAY, true},
        {"at most a day, and no longer", 0, 365 * DAY, MARK_NONE, "", DAY + 1, false},
        {"what was never fresh", 0, 0, MARK_NONE, "", 1, false},
        {"fresh, but the client wants it validated", 0, 100 * SECOND, MARK_NONE, CC("no-cache"), -SECOND, false},
        {"5.2.1.1 max-age wants no stale", 0, 100 * SECOND, MARK_NONE, CC("max-age=200"), SECOND, false},
        {"5.2.1.3 nor does min-fresh", 0, 100 * SECOND, MARK_NONE, CC("min-fresh=0"), SECOND, false},
        {"5.2.1.2 max-stale within", 0, 100 * SECOND, MARK_NONE, CC("max-stale=5"), SECOND, true},
        {"5.2.1.2 max-stale beyond", 0, 100 * SECOND, MARK_NONE, CC("max-stale=5"), 6 * SECOND, false},
        {"5.2.2.2, 5.2.2.8, 5.2.2.10", STORED_MUST_REVALIDATE, 100 * SECOND, MARK_NONE, "", SECOND, false},
        {"5.2.2.4 no-cache", STORED_NO_CACHE, 100 * SECOND, MARK_NONE, "", SECOND, false},
        {"5.2.2.4 no-cache, though it is fresh", STORED_NO_CACHE, 100 * SECOND, MARK_NONE, "", -SECOND, false},
        {"5.2.2.10 beside windows", STORED_NO_MAX_STALE, 100 * SECOND, MARK_NONE, "", SECOND, false},
        {"5861 a window was said", STORED_STALE_SAID, 100 * SECOND, MARK_NONE, "", SECOND, false},
        {"stale at the shield", STORED_WAS_STALE, 100 * SECOND, MARK_NONE, "", SECOND, false},
        {"4.1 Vary: *", STORED_VARY_ANY, 100 * SECOND, MARK_NONE, "", SECOND, false},
        {"no response", STORED_HIT_FOR_MISS, 100 * SECOND, MARK_NONE, "", SECOND, false},
        {"soft purge", 0, 100 * SECOND, MARK_SOFT, "", SECOND, false},
        {"strict", 0, 100 * SECOND, MARK_STRICT, "", SECOND, false},
        {"hard", 0, 100 * SECOND, MARK_HARD, "", SECOND, false},
        {"3.5 Authorization", 0, 100 * SECOND, MARK_NONE, AUTH, SECOND, false},
        {"3.5 shareable", STORED_AUTH_SHARED, 100 * SECOND, MARK_NONE, AUTH, SECOND, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        stored_t s = response(rows[i].flags, 0, 0);
        s.lifetime = rows[i].lifetime;
        request_cc_t rq = asked(rows[i].request);
        cr_expect_eq(reuse_disconnected(&s, rows[i].mark, &rq, T0 + s.lifetime + rows[i].late), rows[i].may, "%s",
                     rows[i].section);
    }
}

Test(reuse, request_directives)
{
    request_cc_t rq =
        asked(AUTH "range: bytes=0-1\n" CC("no-store, only-if-cached, max-age=1, min-fresh=2, max-stale=3, "
                                           "stale-if-error=4"));
    cr_expect(rq.has_authorization && rq.has_range && rq.no_store && rq.only_if_cached && !rq.no_cache &&
              !rq.max_stale_any);
    cr_expect_eq(rq.max_age, SECOND);
    cr_expect_eq(rq.min_fresh, 2 * SECOND);
    cr_expect_eq(rq.max_stale, 3 * SECOND);
    cr_expect_eq(rq.stale_if_error, 4 * SECOND);
    rq = asked("");
    cr_expect(!rq.has_authorization && !rq.has_range && !rq.no_store && !rq.only_if_cached && !rq.no_cache);
    cr_expect(rq.max_age == -1 && rq.min_fresh == -1 && rq.max_stale == -1 && rq.stale_if_error == -1);
    cr_expect(asked(CC("max-stale")).max_stale_any);
}

Test(reuse, every_reason_has_words)
{
#define REUSE_REASON(id, word, section)                                                                                \
    cr_expect_str_eq(reuse_word(id), word);                                                                            \
    cr_expect_str_eq(reuse_section(id), section);
#include "edge/policy/reuse.def"
}

/* As time goes by a verdict only gets worse, and a graver mark never makes it better. */
Test(reuse, verdicts_only_worsen)
{
    static const char *const requests[] = {
        "", CC("max-age=50"), CC("max-stale=20"), CC("min-fresh=10"), CC("max-stale"), CC("no-cache"), AUTH};
    /* Hit and the two kinds of stale answers are in this order by how fresh they are; UNUSABLE is the last. */
    static const int rank[] = {
        [REUSE_HIT] = 0, [REUSE_STALE_REVALIDATE] = 1, [REUSE_STALE] = 2, [REUSE_VALIDATE] = 3, [REUSE_UNUSABLE] = 4};
    uint64_t seed = 42;
    for (int round = 0; round < 3000; round++) {
        stored_t s = response((uint32_t)(noise(&seed) & ((1u << 14) - 1) & ~(uint32_t)STORED_HIT_FOR_MISS),
                              (msec_t)(noise(&seed) % 3) * 15 * SECOND, (msec_t)(noise(&seed) % 3) * 15 * SECOND);
        request_cc_t rq = asked(requests[noise(&seed) % (sizeof requests / sizeof *requests)]);
        for (mark_t mark = MARK_NONE; mark <= MARK_HARD; mark++) {
            int before = 0;
            bool error_before = true;
            for (msec_t now = T0; now < T0 + 200 * SECOND; now += 7 * SECOND) {
                reuse_t use = reuse_decide(&s, mark, &rq, now).use;
                cr_assert_geq(rank[use], before, "flags %x mark %d", s.flags, mark);
                before = rank[use];
                bool error = reuse_stale_if_error(&s, mark, &rq, now);
                cr_assert(error_before || !error);
                error_before = error;
                if (mark != MARK_NONE) {
                    reuse_t better = reuse_decide(&s, mark - 1, &rq, now).use;
                    cr_assert_geq(rank[use], rank[better], "flags %x mark %d", s.flags, mark);
                }
                if (mark >= MARK_STRICT)
                    cr_assert(use == REUSE_VALIDATE || use == REUSE_UNUSABLE);
                if (mark == MARK_SOFT || (s.flags & STORED_WAS_STALE))
                    cr_assert_neq(use, REUSE_HIT);
            }
        }
    }
}

Test(reuse, no_word_for_no_reason, .signal = SIGABRT)
{
    reuse_word((reuse_reason_t)1000);
}

Test(reuse, no_section_for_no_reason, .signal = SIGABRT)
{
    reuse_section((reuse_reason_t)1000);
}
