/* What a check says of a stored response after each kind of purge, and that nothing is ever forgotten at the ceilings.
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "edge/policy/key.h"
#include "edge/policy/tags.h"
#include "purge/ledger.h"

TestSuite(ledger, .timeout = 60);

static ledger_subject_t subject(const char *uri, const digest_t *tags, size_t n)
{
    span_t u = span_str(uri);
    return (ledger_subject_t){.uri = u, .uri_digest = key_uri_digest(u), .tags = tags, .tags_n = n};
}

static ledger_value_t url(const char *uri)
{
    return (ledger_value_t){.kind = LEDGER_URL, .digest = key_uri_digest(span_str(uri))};
}
static ledger_value_t tag(const char *t)
{
    return (ledger_value_t){.kind = LEDGER_TAG, .digest = tags_digest(span_str(t))};
}
static ledger_value_t prefix(const char *t)
{
    return (ledger_value_t){.kind = LEDGER_PREFIX, .digest = hash_digest(span_str(t)), .length = (uint32_t)strlen(t)};
}
static ledger_value_t host(const char *t)
{
    return (ledger_value_t){.kind = LEDGER_HOST, .digest = hash_digest(span_str(t))};
}
static ledger_value_t site_tag(const char *pattern, const char *t)
{
    return (ledger_value_t){.kind = LEDGER_SITE_TAG,
                            .digest = ledger_site_tag_digest(span_str(pattern), tags_digest(span_str(t)))};
}
static ledger_value_t site(const char *pattern)
{
    return (ledger_value_t){.kind = LEDGER_SITE, .digest = ledger_site_digest(span_str(pattern))};
}
static const ledger_value_t all = {.kind = LEDGER_ALL};

static uint64_t put(ledger_t *l, mark_t level, ledger_value_t v)
{
    return ledger_append(l, &(ledger_entry_t){.level = level, .values = &v, .n = 1}, NULL);
}

static mark_t ask(ledger_t *l, const char *uri, const char *t, uint64_t began)
{
    digest_t d = tags_digest(span_str(t));
    ledger_subject_t s = subject(uri, &d, t != NULL);
    uint64_t upto;
    mark_t m = ledger_check(l, &s, began, &upto);
    cr_assert_eq(upto, ledger_head(l));
    return m;
}

Test(ledger, covers_only_what_began_before)
{
    ledger_t *l = ledger_new(7, 0);
    cr_assert_eq(ledger_epoch(l), 7);
    cr_assert_eq(ask(l, "h/a", "x", 0), MARK_NONE);
    uint64_t at = put(l, MARK_HARD, url("h/a"));
    cr_assert_eq(at, 1);
    cr_assert_eq(ledger_head(l), 1);
    cr_assert_eq(ask(l, "h/a", NULL, 0), MARK_HARD);
    cr_assert_eq(ask(l, "h/a", NULL, 1), MARK_NONE);
    cr_assert_eq(ask(l, "h/b", NULL, 0), MARK_NONE);
    cr_assert_eq(ask(l, "h/a?", NULL, 0), MARK_NONE);
    ledger_free(l);
}

Test(ledger, every_selector)
{
    static const struct {
        ledger_value_t (*make)(const char *);
        const char *value, *uri, *tag;
        bool covered;
    } rows[] = {
        {url, "h/a?q=1", "h/a?q=1", NULL, true},
        {url, "h/a?q=1", "h/a", NULL, false},
        {tag, "t1", "h/a", "t1", true},
        {tag, "t1", "h/a", "T1", false},
        {tag, "t1", "h/t1", NULL, false},
        {prefix, "h/blog/", "h/blog/x", NULL, true},
        {prefix, "h/blog/", "h/blog/", NULL, true},
        {prefix, "h/blog/", "h/blog", NULL, false},
        {prefix, "h/blog/", "h/blo", NULL, false},
        {prefix, "h/blog/", "h/Blog/x", NULL, false},
        {prefix, "h/bl", "h/blog/x", NULL, true},
        {prefix, "h", "hh.example/x", NULL, true},
        {host, "h", "h/a", NULL, true},
        {host, "h", "h:8080/a", NULL, true},
        {host, "h:8080", "h:8080/a", NULL, true},
        {host, "h:8080", "h/a", NULL, false},
        {host, "h", "hh/a", NULL, false},
        {host, "[::1]", "[::1]:81/a", NULL, true},
        {host, "[::1]", "[::1]/a", NULL, true},
        {site, "*.example.com", "a.b.example.com/x", NULL, true},
        {site, "*.example.com", "a.b.example.com:81/x", NULL, true},
        {site, "*.example.com", "example.com/x", NULL, false},
        {site, "*.example.com", "badexample.com/x", NULL, false},
        {site, "www.example.com", "www.example.com/x", NULL, true},
        {site, "www.example.com", "www.example.com:81/x", NULL, true},
        {site, "*", "any/x", NULL, true},
        {site, "h", "g/x", NULL, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (mark_t level = MARK_SOFT; level <= MARK_HARD; level++) {
            ledger_t *l = ledger_new(1, 0);
            put(l, level, rows[i].make(rows[i].value));
            mark_t want = rows[i].covered ? level : MARK_NONE;
            cr_expect_eq(ask(l, rows[i].uri, rows[i].tag, 0), want, "row %zu: %s on %s", i, rows[i].value, rows[i].uri);
            cr_expect_eq(ask(l, rows[i].uri, rows[i].tag, 1), MARK_NONE, "row %zu after", i);
            ledger_free(l);
        }
}

Test(ledger, tags_within_sites)
{
    ledger_t *l = ledger_new(1, 0);
    put(l, MARK_HARD, site_tag("*.example.com", "t"));
    cr_assert_eq(ask(l, "www.example.com/x", "t", 0), MARK_HARD);
    cr_assert_eq(ask(l, "www.example.com/x", "u", 0), MARK_NONE);
    cr_assert_eq(ask(l, "www.example.org/x", "t", 0), MARK_NONE);
    put(l, MARK_SOFT, all);
    cr_assert_eq(ask(l, "www.example.org/x", NULL, 0), MARK_SOFT);
    cr_assert_eq(ask(l, "www.example.org/x", NULL, 2), MARK_NONE);
    ledger_free(l);
}

Test(ledger, the_most_severe_wins_whatever_the_order)
{
    for (mark_t first = MARK_SOFT; first <= MARK_HARD; first++)
        for (mark_t second = MARK_SOFT; second <= MARK_HARD; second++) {
            ledger_t *l = ledger_new(1, 0);
            put(l, first, tag("t"));
            put(l, second, tag("t"));
            cr_assert_eq(ask(l, "h/a", "t", 0), first > second ? first : second);
            cr_assert_eq(ask(l, "h/a", "t", 1), second);
            cr_assert_eq(ask(l, "h/a", "t", 2), MARK_NONE);
            put(l, first, url("h/b"));
            put(l, second, tag("v"));
            cr_assert_eq(ask(l, "h/b", "v", 2), first > second ? first : second);
            ledger_free(l);
        }
}

Test(ledger, a_position_of_another_ledger_is_dead)
{
    ledger_t *l = ledger_new(1, 0);
    cr_assert_eq(ask(l, "h/a", NULL, 5), MARK_HARD);
    ledger_free(l);
}

Test(ledger, looking_on_leaves_a_stamp_as_it_is)
{
    ledger_t *l = ledger_new(1, 0);
    ledger_stamp_t st;
    ledger_subject_t s = subject("a.example/x", NULL, 0);
    ledger_stamp_init(&st, ledger_head(l));
    cr_expect_eq(ledger_stamp_look(l, &st, &s), MARK_NONE);
    put(l, MARK_SOFT, url("a.example/x"));
    for (int i = 0; i < 2; i++) {
        cr_expect_eq(ledger_stamp_look(l, &st, &s), MARK_SOFT);
        cr_expect_eq(atomic_load(&st.mark), MARK_NONE);
        cr_expect_eq(atomic_load(&st.checked_to), st.began);
    }
    ledger_stamp_raise(&st, MARK_STRICT);
    cr_expect_eq(ledger_stamp_look(l, &st, &s), MARK_STRICT, "the graver of both");
    put(l, MARK_HARD, url("a.example/x"));
    cr_expect_eq(ledger_stamp_look(l, &st, &s), MARK_HARD);
    cr_expect_eq(ledger_stamp_check(l, &st, &s), MARK_HARD);
    cr_expect_eq(ledger_stamp_look(l, &st, &s), MARK_HARD);
    ledger_free(l);
}

Test(ledger, stamps_remember_their_verdict)
{
    ledger_t *l = ledger_new(1, 0);
    ledger_stamp_t st;
    digest_t d = tags_digest(SPAN("t"));
    ledger_subject_t s = subject("h/a", &d, 1), nobody = subject("h/other", NULL, 0);
    put(l, MARK_HARD, tag("t"));
    ledger_stamp_init(&st, ledger_head(l));
    cr_assert_eq(ledger_stamp_check(l, &st, &s), MARK_NONE);
    put(l, MARK_SOFT, tag("t"));
    cr_assert_eq(ledger_stamp_check(l, &st, &s), MARK_SOFT);
    cr_assert_eq(atomic_load(&st.checked_to), 2);
    /* the fast path asks nobody: even another subject gets the remembered verdict */
    cr_assert_eq(ledger_stamp_check(l, &st, &nobody), MARK_SOFT);
    put(l, MARK_HARD, url("h/b"));
    cr_assert_eq(ledger_stamp_check(l, &st, &s), MARK_SOFT);
    put(l, MARK_HARD, url("h/a"));
    cr_assert_eq(ledger_stamp_check(l, &st, &s), MARK_HARD);
    put(l, MARK_SOFT, url("h/a"));
    cr_assert_eq(ledger_stamp_check(l, &st, &s), MARK_HARD);
    /* back from disk without its verdict: found again */
    ledger_stamp_restore(&st, 1, 1, MARK_NONE);
    cr_assert_eq(ledger_stamp_check(l, &st, &s), MARK_HARD);
    ledger_stamp_restore(&st, 1, ledger_head(l), MARK_STRICT);
    cr_assert_eq(ledger_stamp_check(l, &st, &s), MARK_STRICT);
    ledger_stamp_raise(&st, MARK_SOFT);
    cr_assert_eq(ledger_stamp_check(l, &st, &s), MARK_STRICT);
    ledger_stamp_raise(&st, MARK_HARD);
    cr_assert_eq(ledger_stamp_check(l, &st, &s), MARK_HARD);
    ledger_free(l);
}

Test(ledger, overflow_raises_the_floor_and_never_forgets)
{
    enum { MOST = 100, PURGES = 5000 };
    for (int soft = 0; soft < 2; soft++) {
        ledger_t *l = ledger_new(1, MOST);
        char name[32];
        for (int i = 0; i < PURGES; i++) {
            snprintf(name, sizeof name, "t%d", i);
            put(l, soft ? MARK_SOFT : MARK_HARD, tag(name));
        }
        ledger_stats_t st;
        ledger_stats(l, &st);
        cr_assert_leq(st.values, MOST);
        cr_assert_gt(st.collapses, 0);
        cr_assert_gt(st.floor, PURGES - 2 * MOST);
        cr_assert_lt(st.floor, PURGES);
        for (int i = 0; i < PURGES; i++) {
            snprintf(name, sizeof name, "t%d", i);
            mark_t m = ask(l, "h/a", name, (uint64_t)i); /* began just before its purge */
            cr_assert(soft ? m == MARK_SOFT || m == MARK_STRICT : m == MARK_HARD, "purge %d of %s: %d", i, name, m);
            cr_assert_eq(ask(l, "h/a", name, PURGES), MARK_NONE);
        }
        /* what began after the floor is not hurt by it */
        cr_assert_eq(ask(l, "h/a", "untouched", st.floor), MARK_NONE);
        cr_assert_eq(ask(l, "h/a", "untouched", 0), soft ? MARK_STRICT : MARK_HARD);
        ledger_free(l);
    }
}

Test(ledger, an_entry_larger_than_the_table)
{
    enum { N = 300 };
    ledger_value_t v[N];
    char name[32];
    ledger_t *l = ledger_new(1, 100);
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "h/%d", i);
        v[i] = url(name);
    }
    ledger_append(l, &(ledger_entry_t){.level = MARK_HARD, .values = v, .n = N}, NULL);
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "h/%d", i);
        cr_assert_eq(ask(l, name, NULL, 0), MARK_HARD);
        cr_assert_eq(ask(l, name, NULL, 1), MARK_NONE);
    }
    ledger_free(l);
}

Test(ledger, more_lengths_of_prefixes_than_are_kept)
{
    enum { N = LEDGER_MAX_LENGTHS + 50 };
    ledger_t *l = ledger_new(1, 0);
    char uri[N + 8] = "h/";
    for (int i = 0; i < N; i++) {
        uri[2 + i] = 'a';
        uri[3 + i] = '\0';
        put(l, MARK_HARD, prefix(uri));
    }
    ledger_stats_t st;
    ledger_stats(l, &st);
    cr_assert_leq(st.lengths, LEDGER_MAX_LENGTHS);
    for (int i = 0; i < N; i++) {
        char one[N + 8];
        memcpy(one, uri, (size_t)i + 3);
        one[i + 3] = '\0';
        cr_assert_eq(ask(l, one, NULL, (uint64_t)i), MARK_HARD, "length %d", i + 3);
    }
    /* all of them in one entry */
    ledger_value_t v[N];
    for (int i = 0; i < N; i++) {
        char one[N + 8];
        memset(one, 'b', sizeof one);
        one[i + 1] = '\0';
        v[i] = prefix(one);
    }
    uint64_t before = ledger_head(l);
    ledger_append(l, &(ledger_entry_t){.level = MARK_SOFT, .values = v, .n = N}, NULL);
    for (int i = 0; i < N; i++) {
        char one[N + 8];
        memset(one, 'b', sizeof one);
        one[i + 1] = '\0';
        cr_assert_neq(ask(l, one, NULL, before), MARK_NONE);
        cr_assert_eq(ask(l, one, NULL, before + 1), MARK_NONE);
    }
    ledger_free(l);
}

Test(ledger, unsafe_methods_invalidate_and_cannot_flush_the_cache)
{
    ledger_t *l = ledger_new(1, 0);
    ledger_invalidate(l, key_uri_digest(SPAN("h/a")), 1000);
    cr_assert_eq(ask(l, "h/a", NULL, 0), MARK_STRICT);
    cr_assert_eq(ask(l, "h/a", NULL, 1), MARK_NONE);
    cr_assert_eq(ask(l, "h/b", NULL, 0), MARK_NONE);
    put(l, MARK_HARD, url("h/kept"));
    char name[32];
    for (int i = 0; i < 4 * LEDGER_MAX_INVALIDATED; i++) {
        snprintf(name, sizeof name, "h/%d", i);
        ledger_invalidate(l, key_uri_digest(span_str(name)), 1000);
    }
    ledger_stats_t st;
    ledger_stats(l, &st);
    cr_assert_leq(st.invalidated, LEDGER_MAX_INVALIDATED);
    cr_assert_eq(st.floor, 0);
    cr_assert_eq(ask(l, "h/never", NULL, 0), MARK_NONE);
    cr_assert_eq(ask(l, "h/kept", NULL, 0), MARK_HARD);
    cr_assert_eq(ask(l, name, NULL, 0), MARK_STRICT); /* the newest is there */
    ledger_free(l);
}

/* RFC 9875 3: what is invalidated is a group within an origin, found among the tags. */
Test(ledger, an_invalidated_group_covers_what_belongs_to_it)
{
    ledger_t *l = ledger_new(1, 0);
    digest_t tags[2] = {tags_digest(SPAN("t")), tags_group_digest(SPAN("https"), SPAN("h"), SPAN("g"))};
    ledger_subject_t in = {.uri = SPAN("h/a"), .uri_digest = key_uri_digest(SPAN("h/a")), .tags = tags, .tags_n = 2};
    ledger_subject_t out = in;
    out.tags_n = 1;
    cr_expect_eq(ledger_invalidate(l, tags[1], 1000), 1);
    cr_expect_eq(ledger_check(l, &in, 0, NULL), MARK_STRICT);
    cr_expect_eq(ledger_check(l, &in, 1, NULL), MARK_NONE);
    cr_expect_eq(ledger_check(l, &out, 0, NULL), MARK_NONE);
    cr_expect_eq(ledger_invalidate(l, tags_group_digest(SPAN("https"), SPAN("other"), SPAN("g")), 1000), 2);
    cr_expect_eq(ledger_check(l, &in, 1, NULL), MARK_NONE);
    ledger_free(l);
}

Test(ledger, compaction_forgets_only_what_was_checked)
{
    ledger_t *l = ledger_new(1, 0);
    digest_t d = tags_digest(SPAN("t"));
    ledger_subject_t s = subject("h/a", &d, 1);
    ledger_stamp_t swept, missed;
    ledger_stamp_init(&swept, 0);
    ledger_stamp_init(&missed, 0);
    put(l, MARK_SOFT, tag("t"));
    put(l, MARK_HARD, prefix("h/x"));
    cr_assert_eq(ledger_stamp_check(l, &swept, &s), MARK_SOFT);
    uint64_t floor = ledger_head(l);
    put(l, MARK_HARD, tag("later"));
    cr_assert_eq(ledger_compact(l, floor), 2);
    ledger_stats_t st;
    ledger_stats(l, &st);
    cr_assert_eq(st.values, 1);
    cr_assert_eq(st.lengths, 0);
    cr_assert_eq(ledger_stamp_check(l, &swept, &s), MARK_SOFT); /* its mark was kept, and it was checked to the floor */
    cr_assert_eq(ledger_stamp_check(l, &missed, &s), MARK_HARD); /* nobody looked: it may have been purged hard */
    cr_assert_eq(ask(l, "h/q", "later", floor), MARK_HARD);
    cr_assert_eq(ledger_compact(l, ledger_head(l) + 1), 0); /* a position that was never given */
    ledger_free(l);
}

/* ---- the tier ---- */

static msec_t demand(ledger_t *l, const char *uri, msec_t now)
{
    ledger_subject_t s = subject(uri, NULL, 0);
    ledger_demand_t d;
    ledger_demand(l, &s, now, &d);
    return d.newer_than;
}

static void outside(ledger_t *l, ledger_value_t v, msec_t boot)
{
    ledger_append(l, &(ledger_entry_t){.level = MARK_HARD, .values = &v, .n = 1, .outside = true, .boot = boot}, NULL);
}

/* A gap that a node found itself stays outside the stream. It must not keep there what comes after it. */
Test(ledger, a_gap_is_demanded_for_good_and_nothing_else_is)
{
    ledger_t *l = ledger_new(1, 0);
    ledger_value_t all = {.kind = LEDGER_ALL}, t = tag("t");
    ledger_subject_t s = {.uri = SPAN("h/a"), .uri_digest = key_uri_digest(SPAN("h/a"))};
    ledger_demand_t d;
    ledger_append(l, &(ledger_entry_t){.level = MARK_STRICT, .values = &all, .n = 1, .gap = true, .boot = 1000}, NULL);
    ledger_demand(l, &s, 5000, &d);
    cr_expect_eq(d.newer_than, 4000);
    outside(l, t, 4000);
    ledger_demand(l, &s, 5000, &d);
    cr_expect_eq(d.newer_than, 1000);
    ledger_confirm(l, &t, 1);
    ledger_demand(l, &s, 6000, &d);
    cr_expect_eq(d.newer_than, 5000, "%lld", (long long)d.newer_than);
    ledger_append(l, &(ledger_entry_t){.level = MARK_STRICT, .values = &all, .n = 1, .gap = true, .boot = 5500}, NULL);
    ledger_demand(l, &s, 6000, &d);
    cr_expect_eq(d.newer_than, 500);
    ledger_stats_t stats;
    ledger_stats(l, &stats);
    cr_expect_eq(stats.outside, 0);
    ledger_free(l);
}

Test(ledger, demands_of_purges_outside_the_stream)
{
    ledger_t *l = ledger_new(1, 0);
    cr_assert_eq(demand(l, "h/a", 5000), -1);
    outside(l, url("h/a"), 1000);
    cr_assert_eq(demand(l, "h/a", 5000), 4000);
    cr_assert_eq(demand(l, "h/b", 5000), -1);
    outside(l, prefix("h/b"), 2000);
    cr_assert_eq(demand(l, "h/bc", 5000), 3000);
    outside(l, host("h"), 3000);
    cr_assert_eq(demand(l, "h:80/zz", 5000), 2000);
    outside(l, url("h/a"), 3500);
    cr_assert_eq(demand(l, "h/a", 5000), 1500);
    ledger_value_t v = url("h/a");
    ledger_confirm(l, &v, 1); /* one of the two; which one is not known, so the newest still counts */
    cr_assert_eq(demand(l, "h/a", 5000), 1500);
    ledger_confirm(l, &v, 1);
    cr_assert_eq(demand(l, "h/a", 5000), 2000);
    v = host("h");
    ledger_confirm(l, &v, 1);
    cr_assert_eq(demand(l, "h/a", 5000), -1);
    /* a tag may be on any copy that the shield has */
    outside(l, tag("t"), 4000);
    cr_assert_eq(demand(l, "x/y", 5000), 1000);
    v = tag("t");
    ledger_confirm(l, &v, 1);
    cr_assert_eq(demand(l, "x/y", 5000), -1);
    ledger_invalidate(l, key_uri_digest(SPAN("h/post")), 4500);
    cr_assert_eq(demand(l, "h/post", 5000), 500);
    ledger_free(l);
}

Test(ledger, demands_survive_a_collapse)
{
    ledger_t *l = ledger_new(1, 50);
    char name[32];
    outside(l, url("h/a"), 1000);
    for (int i = 0; i < 500; i++) {
        snprintf(name, sizeof name, "t%d", i);
        put(l, MARK_HARD, tag(name));
    }
    cr_assert_eq(demand(l, "h/a", 5000), 4000);
    outside(l, url("h/a"), 2000); /* the same value again, which is now two: here and collapsed */
    ledger_value_t v = url("h/a");
    ledger_confirm(l, &v, 1);
    cr_assert_eq(demand(l, "h/a", 5000), 3000);
    ledger_confirm(l, &v, 1);
    cr_assert_eq(demand(l, "h/a", 5000), -1);
    ledger_free(l);
}

Test(ledger, the_cursor_moves_with_its_entry)
{
    ledger_t *l = ledger_new(1, 0);
    ledger_cursor_t c = {.ms = 17, .seq = 3, .run_id = "abc"};
    ledger_value_t v = url("h/a");
    cr_assert_eq(ledger_append(l, &(ledger_entry_t){.level = MARK_HARD, .values = &v, .n = 1, .cursor = &c}, NULL), 1);
    ledger_subject_t s = subject("h/a", NULL, 0);
    ledger_demand_t d;
    ledger_demand(l, &s, 0, &d);
    cr_assert_eq(d.cursor.ms, 17);
    cr_assert_str_eq(d.cursor.run_id, "abc");
    c.ms = 18;
    cr_assert_eq(ledger_append(l, &(ledger_entry_t){.cursor = &c}, NULL), 1); /* no entry: no position */
    ledger_cursor(l, &c);
    cr_assert_eq(c.ms, 18);
    ledger_free(l);
}

/* What a shield may be asked about in place of the origin: only what the demand surely covers. */
Test(ledger, why_it_is_strict)
{
    ledger_t *l = ledger_new(1, 0);
    span_t uri = SPAN("h/a");
    digest_t tag = tags_digest(SPAN("group"));
    ledger_subject_t s = {.uri = uri, .uri_digest = key_uri_digest(uri), .tags = &tag, .tags_n = 1};
    ledger_demand_t d;
    uint64_t began = ledger_head(l);
    ledger_invalidate(l, s.uri_digest, 1000);
    cr_expect_eq(ledger_strict(l, &s, began), LEDGER_STRICT_DEMANDED);
    ledger_demand(l, &(ledger_subject_t){.uri = uri, .uri_digest = s.uri_digest}, 1500, &d);
    cr_expect_eq(d.newer_than, 500);
    ledger_invalidate(l, tag, 2000); /* later, and no demand says so */
    cr_expect_eq(ledger_strict(l, &s, began), LEDGER_STRICT_INVALIDATED);
    ledger_invalidate(l, s.uri_digest, 3000);
    cr_expect_eq(ledger_strict(l, &s, began), LEDGER_STRICT_DEMANDED);
    /* a flood: what falls out may have been the group's */
    began = ledger_head(l);
    for (uint64_t i = 0; i < 3 * LEDGER_MAX_INVALIDATED; i++)
        ledger_invalidate(l, hash_digest(span_of((const char *)&i, sizeof i)), 4000);
    ledger_invalidate(l, tag, 5000);
    cr_expect_eq(ledger_strict(l, &s, began), LEDGER_STRICT_INVALIDATED);
    static const ledger_value_t everything = {.kind = LEDGER_ALL};
    ledger_append(l, &(ledger_entry_t){.level = MARK_STRICT, .values = &everything, .n = 1}, NULL);
    cr_expect_eq(ledger_strict(l, &s, began), LEDGER_STRICT_GAP);
    ledger_free(l);
}
