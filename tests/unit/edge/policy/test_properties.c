/* What holds for whatever comes: merging a 304 takes only what it may, and requests that mean the same select the same
 * variant, however they are written. */
#include <string.h>

#include "edge/policy/part.h"
#include "edge/policy/reuse.h"
#include "edge/policy/revalidate.h"
#include "edge/policy/storable.h"
#include "edge/policy/vary.h"
#include "tests/unit/edge/policy/policy_test.h"

#define LM "last-modified: Sat, 05 Nov 1994 08:49:37 GMT\n"

/* ---- a 304 (RFC 9111 3.2) ---- */

static bool any_of(span_t name, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (span_eq(name, span_str(names[i])))
            return true;
    return false;
}

/* All lines of a name, in order; a field that isn't there is not an empty one. */
static span_t lines_of(const fields_t *f, const char *name, arena_t *a)
{
    return fields_join(f, span_str(name), a);
}

static bool same(span_t a, span_t b)
{
    return (a.p == NULL) == (b.p == NULL) && span_eq(a, b);
}

Test(properties, merging_takes_only_what_it_may)
{
    static const char *const names[] = {"content-length",
                                        "content-encoding",
                                        "content-type",
                                        "content-range",
                                        "content-digest",
                                        "repr-digest",
                                        "transfer-encoding",
                                        "connection",
                                        "keep-alive",
                                        "te",
                                        "upgrade",
                                        "etag",
                                        "cache-control",
                                        "date",
                                        "age",
                                        "set-cookie",
                                        "vary",
                                        "expires",
                                        "x-a",
                                        "x-b",
                                        "warning",
                                        "last-modified"};
    enum { N = sizeof names / sizeof *names };
    static const char *const body[] = {"content-length", "content-encoding", "content-type",
                                       "content-range",  "content-digest",   "repr-digest"};
    static const char *const hops[] = {"transfer-encoding", "connection", "keep-alive", "te", "upgrade"};
    uint64_t seed = 304;
    for (int round = 0; round < 20000; round++) {
        arena_t a;
        arena_init(&a, 0);
        char stored[800] = "", not_modified[800] = "";
        for (uint64_t i = noise(&seed) % 9; i > 0; i--) {
            const char *name = names[noise(&seed) % N];
            if (!any_of(span_str(name), hops, sizeof hops / sizeof *hops)) /* they are never stored */
                sprintf(stored + strlen(stored), "%s: s%d\n", name, (int)i);
        }
        for (uint64_t i = noise(&seed) % 9; i > 0; i--)
            sprintf(not_modified + strlen(not_modified), "%s: n%d\n", names[noise(&seed) % N], (int)i);
        fieldblock_t *b = block(&a, stored);
        fields_t before = head(&a, stored), news = head(&a, not_modified), merged;
        cr_assert_eq(revalidate_merge(b, &news, &a, &merged), ERR_OK);
        for (int i = 0; i < N; i++) {
            span_t old = lines_of(&before, names[i], &a), new = lines_of(&news, names[i], &a),
                   now = lines_of(&merged, names[i], &a);
            const char *name = names[i];
            if (any_of(span_str(name), hops, sizeof hops / sizeof *hops))
                cr_assert_null(now.p, "%s joined\n%s\n%s", name, stored, not_modified);
            else if (any_of(span_str(name), body, sizeof body / sizeof *body))
                cr_assert(same(now, old), "%s changed\n%s\n%s", name, stored, not_modified);
            else if (strcmp(name, "date") == 0 || strcmp(name, "age") == 0)
                cr_assert(same(now, new), "%s is not the 304's\n%s\n%s", name, stored, not_modified);
            else if (strcmp(name, "etag") == 0 || strcmp(name, "set-cookie") == 0)
                cr_assert(same(now, old) || same(now, new));
            else
                cr_assert(same(now, new.p != NULL ? new : old), "%s\n%s\n%s", name, stored, not_modified);
        }
        free(b);
        arena_release(&a);
    }
}

/* ---- variants (RFC 9111 4.1) ---- */

enum { KINDS = 4, MEMBERS = 4 };
static const char *const kinds[KINDS] = {"accept-encoding", "accept-language", "x-list", "cookie"};

/* What a request means: for each field whether it is there, and which members, with which weights. */
typedef struct meaning {
    bool there[KINDS];
    int member[KINDS][MEMBERS]; /* 0: not; else a weight of a weighted list; x-list: place in the list */
} meaning_t;

static meaning_t meant(uint64_t *seed)
{
    meaning_t m = {0};
    for (int k = 0; k < KINDS; k++) {
        m.there[k] = noise(seed) % 4 > 0;
        for (int i = 0; i < MEMBERS; i++)
            m.member[k][i] = m.there[k] ? (int)(noise(seed) % 3) : 0;
    }
    return m;
}

/* A weighted list in any order, case, spacing, spread over lines; the others as what they are. */
static void spell(const meaning_t *m, uint64_t *seed, char *out)
{
    static const char *const members[] = {"gzip", "br", "de", "en-us"}, *const upper[] = {"GZIP", "Br", "DE", "en-US"};
    static const char *const spaces[] = {"", " ", "\t", "  "};
    out[0] = '\0';
    for (int k = 0; k < KINDS; k++) {
        if (!m->there[k])
            continue;
        bool weighted = k < 2, open = false;
        int from = weighted ? (int)(noise(seed) % MEMBERS) : 0;
        for (int i = 0; i < MEMBERS; i++) {
            int at = (from + i) % MEMBERS;
            if (m->member[k][at] == 0)
                continue;
            if (!open)
                sprintf(out + strlen(out), "%s: ", kinds[k]);
            else if (k < 3 && noise(seed) % 4 == 0)
                sprintf(out + strlen(out), "\n%s: ", kinds[k]);
            else if (k < 3)
                sprintf(out + strlen(out), "%s,%s", spaces[noise(seed) % 4], spaces[noise(seed) % 4]);
            else
                strcat(out, "; ");
            open = true;
            strcat(out, weighted && noise(seed) % 2 ? upper[at] : members[at]);
            if (weighted && m->member[k][at] == 1) {
                static const char *const halves[] = {";q=0.5", "; q=0.50", " ;Q=0.500"};
                strcat(out, halves[noise(seed) % 3]);
            } else if (weighted && noise(seed) % 3 == 0) {
                strcat(out, ";q=1.0");
            } else if (!weighted && m->member[k][at] == 1) {
                strcat(out, "=x");
            }
        }
        if (!open)
            sprintf(out + strlen(out), "%s:", kinds[k]);
        strcat(out, "\n");
    }
}

static bool means_the_same(const meaning_t *a, const meaning_t *b)
{
    return memcmp(a->there, b->there, sizeof a->there) == 0 && memcmp(a->member, b->member, sizeof a->member) == 0;
}

Test(properties, equal_meaning_selects_the_same_variant)
{
    uint64_t seed = 41;
    int different = 0;
    for (int round = 0; round < 20000; round++) {
        arena_t a;
        arena_init(&a, 0);
        meaning_t one = meant(&seed), two = noise(&seed) % 2 ? one : meant(&seed);
        char first[800], second[800];
        spell(&one, &seed, first);
        spell(&two, &seed, second);
        fields_t response = head(&a, noise(&seed) % 2 ? "vary: Accept-Encoding, accept-language\nvary: X-List,cookie\n"
                                                      : "vary: cookie , X-LIST,accept-language,Accept-Encoding\n");
        fields_t f = head(&a, first), g = head(&a, second);
        span_t packed, other;
        cr_assert_eq(vary_pack(&a, &response, &f, &packed), ERR_OK);
        cr_assert_eq(vary_pack(&a, &response, &g, &other), ERR_OK);
        bool equal = means_the_same(&one, &two);
        different += !equal;
        cr_assert_eq(vary_match(packed, &g, &a), equal, "%s---\n%s", first, second);
        cr_assert_eq(vary_digest(packed) == vary_digest(other), equal, "%s---\n%s", first, second);
        arena_release(&a);
    }
    cr_expect_gt(different, 5000);
}

/* ---- what no ordinary message does ---- */

Test(properties, nobody_asked)
{
    arena_t a;
    arena_init(&a, 0);
    rules_t rules = RULES_DEFAULT;
    fields_t response = head(&a, DATE LM "vary: x\n");
    stored_t s;
    stored_describe(&s, 414, &response, NULL, &rules, T0, T0, &a);
    cr_expect_eq(s.flags & STORED_HEURISTIC, STORED_HEURISTIC, "no request is no large one");
    arena_release(&a);
}

Test(properties, any_staleness_beside_a_bound)
{
    stored_t s = {.status = 200, .response_time = T0, .lifetime = SECOND};
    request_cc_t rq = {.max_age = -1, .min_fresh = -1, .max_stale = 5 * SECOND, .stale_if_error = -1};
    cr_expect_eq(reuse_decide(&s, MARK_NONE, &rq, T0 + MINUTE).use, REUSE_VALIDATE);
    rq.max_stale_any = true;
    cr_expect_eq(reuse_decide(&s, MARK_NONE, &rq, T0 + MINUTE).use, REUSE_STALE);
}

Test(properties, strong_dates)
{
    static const struct {
        const char *stored;
        bool strong;
    } rows[] = {{"", false},
                {"date: Sat, 05 Nov 1994 08:49:38 GMT\n", false},
                {"last-modified: soon\ndate: Sat, 05 Nov 1994 08:49:38 GMT\n", false},
                {LM "date: soon\n", false},
                {"etag: W/\"a\"\n" LM "date: Sat, 05 Nov 1994 08:49:38 GMT\n", false},
                {LM "date: Sat, 05 Nov 1994 08:49:38 GMT\n", true}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        arena_t a;
        arena_init(&a, 0);
        fieldblock_t *b = block(&a, rows[i].stored);
        cr_expect_eq(revalidate_strong(b).p != NULL, rows[i].strong, "%s", rows[i].stored);
        free(b);
        arena_release(&a);
    }
}

Test(properties, public_is_no_word_for_odd_requests)
{
    static const struct {
        int status;
        const char *response;
        storable_t verdict;
    } rows[] = {{400, "cache-control: public\netag: \"a\"\n", STORABLE_NO_FRESHNESS},
                {302, "cache-control: public\netag: \"a\"\n", STORABLE_YES},
                {302, "etag: \"a\"\n", STORABLE_NO_FRESHNESS}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        arena_t a;
        arena_init(&a, 0);
        rules_t rules = RULES_DEFAULT;
        fields_t response = head(&a, rows[i].response), request = head(&a, "");
        stored_t s;
        stored_describe(&s, rows[i].status, &response, &request, &rules, T0, T0, &a);
        cr_expect_eq(storable_decide(METHOD_GET, &request, rows[i].status, &response, &s, &rules, &a), rows[i].verdict,
                     "%d %s", rows[i].status, rows[i].response);
        arena_release(&a);
    }
}

Test(properties, parts)
{
    arena_t a;
    arena_init(&a, 0);
    rules_t rules = RULES_DEFAULT;
    fields_t response = head(&a, "cache-control: max-age=60\ncontent-range: bytes 0-4/10\netag: \"a\"\n"),
             request = head(&a, "");
    stored_t s;
    stored_describe(&s, 206, &response, &request, &rules, T0, T0, &a);
    cr_expect_eq(storable_decide(METHOD_GET, &request, 206, &response, &s, &rules, &a), STORABLE_PARTIAL);
    cr_assert(part_describe(&s, &response, 5));
    cr_expect_eq(storable_decide(METHOD_GET, &request, 206, &response, &s, &rules, &a), STORABLE_YES);
    arena_release(&a);
}

Test(properties, a_language_too_long_to_keep)
{
    arena_t a;
    arena_init(&a, 0);
    char text[200] = "vary: accept-language\ncontent-language: ";
    memset(text + strlen(text), 'a', 65);
    strcat(text, "\n");
    fields_t long_one = head(&a, text),
             two = head(&a, "vary: accept-language\ncontent-language: de\ncontent-language: en\n"),
             one = head(&a, "vary: accept-language\ncontent-language: de\n"),
             asked = head(&a, "accept-language: de, en;q=0.5\n"), other = head(&a, "accept-language: de\n");
    span_t packed;
    cr_assert_eq(vary_pack(&a, &one, &asked, &packed), ERR_OK);
    cr_expect(vary_match_language(packed, &other, &a));
    cr_assert_eq(vary_pack(&a, &two, &asked, &packed), ERR_OK);
    cr_expect_not(vary_match_language(packed, &other, &a));
    cr_assert_eq(vary_pack(&a, &long_one, &asked, &packed), ERR_OK);
    cr_expect_not(vary_match_language(packed, &other, &a));
    arena_release(&a);
}
