#include <criterion/criterion.h>
#include <stdio.h>

#include "shield/replay.h"
#include "shield/tier.h"

static const tier_request_t request = {
    .method = {"GET", 3}, .scheme = {"http", 4}, .host = {"www.example.com", 15}, .target = {"/a?b=c", 6}};
#define SECRET SPAN("0123456789abcdef0123456789abcdef")
#define NOW ((msec_t)1700000000000)

static arena_t arena;

static tier_t edge(void)
{
    return (tier_t){.node = SPAN("edge-1"),
                    .run = SPAN("0f5a0f5a0f5a0f5a0f5a0f5a0f5a0f5a0f5a0f5a"),
                    .cursor = SPAN("1699999999999-12"),
                    .newer_than = 1500,
                    .patience = 15000};
}

static span_t sign(const tier_t *in, msec_t wall)
{
    tier_key_t *k = tier_key_new(SECRET);
    span_t v = tier_sign(k, &arena, &request, in, wall);
    tier_key_free(k);
    return v;
}

static err_t verify(span_t value, const tier_request_t *req, msec_t wall, tier_t *out)
{
    tier_key_t *k = tier_key_new(SECRET);
    err_t e = tier_verify(k, value, req, wall, out);
    tier_key_free(k);
    return e;
}

Test(tier, what_is_signed_is_verified)
{
    tier_t in = edge(), out;
    span_t v = sign(&in, NOW);
    cr_assert_not_null(v.p);
    cr_assert_eq(verify(v, &request, NOW + 5, &out), ERR_OK);
    cr_assert(span_eq(out.node, SPAN("edge-1")));
    cr_assert(span_eq(out.hops, SPAN("edge-1")));
    cr_assert(span_eq(out.run, in.run));
    cr_assert(span_eq(out.cursor, in.cursor));
    cr_assert_eq(out.newer_than, 1500);
    cr_assert_eq(out.patience, 15000);
    cr_assert_eq(out.sent, NOW);

    /* The next hop. */
    tier_t next = {.node = SPAN("a b;c"), .hops = out.hops, .newer_than = -1};
    span_t w = sign(&next, NOW);
    cr_assert_eq(verify(w, &request, NOW, &out), ERR_OK);
    cr_assert(span_eq(out.hops, SPAN("edge-1,a b;c")));
    cr_assert_null(out.run.p);
    cr_assert_null(out.cursor.p);
    cr_assert_eq(out.newer_than, -1);
}

Test(tier, looks_as_documented)
{
    tier_t in = edge();
    span_t v = sign(&in, NOW);
    cr_assert(span_starts(v, SPAN("v=1; node=\"edge-1\"; t=1700000000000; nonce=")));
    cr_assert_not_null(strstr(v.p, "; hops=\"edge-1\"; run=0f5a0f5a0f5a0f5a0f5a0f5a0f5a0f5a0f5a0f5a; "
                                   "cursor=1699999999999-12; newer-than-ms=1500; patience-ms=15000; mac="));
}

/* Fixed bytes: nodes of different versions must understand each other. */
Test(tier, is_the_same_in_every_version)
{
    tier_t out;
    span_t fixed = SPAN(
        "v=1; node=\"edge-1\"; t=1700000000000; nonce=000102030405060708090a0b; hops=\"edge-1\"; later=\"x;y\"; mac="
        "b2cac54b08312454d8cd8256cf1870fd1779a2fd71c7209c59f1da88a8aa0c4c");
    cr_assert_eq(verify(fixed, &request, NOW, &out), ERR_OK);
}

Test(tier, every_bit_counts)
{
    tier_t in = edge(), out;
    span_t v = sign(&in, NOW);
    char copy[TIER_MAX_VALUE];
    for (size_t i = 0; i < v.n; i++)
        for (int bit = 0; bit < 8; bit++) {
            memcpy(copy, v.p, v.n);
            copy[i] = (char)(copy[i] ^ 1 << bit);
            err_t e = verify(span_of(copy, v.n), &request, NOW, &out);
            cr_assert(e == ERR_SYNTAX || e == ERR_REFUSED, "byte %zu bit %d: %d", i, bit, e);
        }
}

Test(tier, is_bound_to_its_request)
{
    tier_t in = edge(), out;
    span_t v = sign(&in, NOW);
    tier_request_t r = request;
    r.method = SPAN("HEAD");
    cr_assert_eq(verify(v, &r, NOW, &out), ERR_REFUSED);
    r = request, r.scheme = SPAN("https");
    cr_assert_eq(verify(v, &r, NOW, &out), ERR_REFUSED);
    r = request, r.host = SPAN("www.example.org");
    cr_assert_eq(verify(v, &r, NOW, &out), ERR_REFUSED);
    r = request, r.target = SPAN("/a?b=d");
    cr_assert_eq(verify(v, &r, NOW, &out), ERR_REFUSED);
    /* Moving a byte from one part to the next is another request. */
    r = request, r.host = SPAN("www.example.com/"), r.target = SPAN("a?b=c");
    cr_assert_eq(verify(v, &r, NOW, &out), ERR_REFUSED);
    tier_key_t *other = tier_key_new(SPAN("another secret that is as long"));
    cr_assert_eq(tier_verify(other, v, &request, NOW, &out), ERR_REFUSED);
    tier_key_free(other);
}

Test(tier, clocks)
{
    tier_t in = edge(), out;
    span_t v = sign(&in, NOW);
    cr_assert_eq(verify(v, &request, NOW + TIER_WINDOW, &out), ERR_OK);
    cr_assert_eq(verify(v, &request, NOW - TIER_WINDOW, &out), ERR_OK);
    cr_assert_eq(verify(v, &request, NOW + TIER_WINDOW + 1, &out), ERR_TIMEOUT);
    cr_assert_eq(verify(v, &request, NOW - TIER_WINDOW - 1, &out), ERR_TIMEOUT);
    cr_assert_str_eq(tier_refusal(ERR_TIMEOUT), "clock");
}

#define HEAD "v=1; node=\"e\"; t=1; nonce=000102030405060708090a0b; hops=\"e\""
#define MAC "; mac=0000000000000000000000000000000000000000000000000000000000000000"

Test(tier, forms)
{
    tier_t out;
    span_t part;
    unsigned char mac[32];
    cr_assert_eq(tier_parse(SPAN(HEAD MAC), &out, &part, mac), ERR_OK);
    cr_assert(span_eq(part, SPAN(HEAD)));
    cr_assert_eq(tier_parse(SPAN(HEAD "; cursor=0-0; run=a; future=1; other=\"a; b\"" MAC), &out, &part, mac), ERR_OK);
    const char *bad[] = {
        "",
        "v=1",
        MAC,
        "v=1" MAC,
        HEAD,
        "v=2; node=\"e\"; t=1; nonce=000102030405060708090a0b; hops=\"e\"" MAC,
        "node=\"e\"; v=1; t=1; nonce=000102030405060708090a0b; hops=\"e\"" MAC,
        HEAD "; v=1" MAC,
        HEAD "; t=2" MAC,
        HEAD "; run=" MAC,
        HEAD "; run=\"a\"" MAC,
        HEAD "; run=a b" MAC,
        HEAD ";run=a" MAC,
        HEAD "; run=a;" MAC,
        HEAD "; cursor=1" MAC,
        HEAD "; cursor=-1" MAC,
        HEAD "; cursor=1-" MAC,
        HEAD "; cursor=1-2-3" MAC,
        HEAD "; cursor=111111111111111111111-1" MAC,
        HEAD "; newer-than-ms=-1" MAC,
        HEAD "; newer-than-ms=1111111111111111" MAC,
        HEAD "; newer-than-ms=1x" MAC,
        HEAD "; patience-ms=-1" MAC,
        HEAD "; patience-ms=1; patience-ms=1" MAC,
        HEAD "; x" MAC,
        HEAD "; =x" MAC,
        HEAD "; x=\"y" MAC,
        HEAD "; x=\"y\"z" MAC,
        HEAD "; " MAC,
        HEAD " " MAC,
        "v=1; node=e; t=1; nonce=000102030405060708090a0b; hops=\"e\"" MAC,
        "v=1; node=\"\"; t=1; nonce=000102030405060708090a0b; hops=\"\"" MAC,
        "v=1; node=\"e\"; t=1; nonce=000102030405060708090A0B; hops=\"e\"" MAC,
        "v=1; node=\"e\"; t=1; nonce=0001; hops=\"e\"" MAC,
        "v=1; node=\"e\"; t=1; nonce=000102030405060708090a0b; hops=\"f\"" MAC,
        "v=1; node=\"e\"; t=1; nonce=000102030405060708090a0b; hops=\"e,f\"" MAC,
        "v=1; node=\"e\"; t=1; nonce=000102030405060708090a0b; hops=\"fe\"" MAC,
        "v=1; node=\"e\"; nonce=000102030405060708090a0b; hops=\"e\"" MAC,
        HEAD "; mac=000000000000000000000000000000000000000000000000000000000000000g",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_eq(tier_parse(span_str(bad[i]), &out, &part, mac), ERR_SYNTAX, "%s", bad[i]);
}

Test(tier, what_cannot_be_sent)
{
    tier_t in = edge();
    in.node = SPAN("a\"b");
    cr_assert_null(sign(&in, NOW).p);
    in.node = SPAN("a,b");
    cr_assert_null(sign(&in, NOW).p);
    in = edge(), in.cursor = SPAN("x");
    cr_assert_null(sign(&in, NOW).p);
    in = edge(), in.run = SPAN("a b");
    cr_assert_null(sign(&in, NOW).p);
    char hops[TIER_MAX_VALUE];
    memset(hops, 'h', sizeof hops);
    in = edge(), in.hops = span_of(hops, sizeof hops);
    cr_assert_null(sign(&in, NOW).p);
    in.hops = span_of(hops, TIER_MAX_VALUE - 300);
    cr_assert_not_null(sign(&in, NOW).p);
}

Test(tier, loops)
{
    tier_t t = {.hops = SPAN("edge-1,mid,shield-1")};
    cr_assert(tier_loops(&t, SPAN("mid")));
    cr_assert(tier_loops(&t, SPAN("edge-1")));
    cr_assert(tier_loops(&t, SPAN("shield-1")));
    cr_assert_not(tier_loops(&t, SPAN("shield")));
    cr_assert_not(tier_loops(&t, SPAN("edge-2")));
    t.hops = SPAN("a,b,c,d");
    cr_assert_not(tier_loops(&t, SPAN("e")));
    t.hops = SPAN("a,b,c,d,e");
    cr_assert(tier_loops(&t, SPAN("f")));
}

Test(tier, internal_fields_are_taken_off)
{
    field_t v[] = {{SPAN("host"), SPAN("a")},
                   {SPAN("brink-tier"), SPAN("x")},
                   {SPAN("brink-tier-stale"), SPAN("1")},
                   {SPAN("brink-tiers"), SPAN("b")},
                   {SPAN("brink-tier"), SPAN("y")}};
    fields_t f = {.v = v, .n = 5, .cap = 5};
    tier_strip(&f);
    cr_assert_eq(f.n, 2);
    cr_assert(span_eq(f.v[0].name, SPAN("host")));
    cr_assert(span_eq(f.v[1].name, SPAN("brink-tiers")));
    cr_assert(tier_internal(TIER_FIELD) && tier_internal(TIER_STALE_FIELD) && tier_internal(TIER_REFUSED_FIELD));
}

Test(tier, nonces_differ)
{
    tier_key_t *k = tier_key_new(SECRET);
    tier_t in = edge(), a, b;
    span_t part;
    unsigned char mac[32];
    cr_assert_eq(tier_parse(tier_sign(k, &arena, &request, &in, NOW), &a, &part, mac), ERR_OK);
    cr_assert_eq(tier_parse(tier_sign(k, &arena, &request, &in, NOW), &b, &part, mac), ERR_OK);
    cr_assert_neq(memcmp(a.nonce, b.nonce, sizeof a.nonce), 0);
    tier_key_free(k);
}

/* ---- replay ---- */
static now_t at(msec_t wall)
{
    return (now_t){wall, wall - NOW + 5000};
}

static tier_t numbered(uint64_t i, msec_t sent)
{
    tier_t t = {.sent = sent};
    memcpy(t.nonce, &i, sizeof i);
    return t;
}

Test(replay, once_only)
{
    replay_t *r = replay_new(at(NOW), TIER_WINDOW, 100000);
    for (uint64_t i = 0; i < 20000; i++) {
        tier_t t = numbered(i, NOW + 1);
        cr_assert_eq(replay_seen(r, &t, at(NOW + 1)), ERR_OK);
    }
    cr_assert_eq(replay_count(r), 20000);
    for (uint64_t i = 0; i < 20000; i++) {
        tier_t t = numbered(i, NOW + 1);
        cr_assert_eq(replay_seen(r, &t, at(NOW + 2)), ERR_EXISTS);
    }
    replay_free(r);
}

Test(replay, what_was_sent_before_the_start_is_refused)
{
    replay_t *r = replay_new(at(NOW), TIER_WINDOW, 1000);
    tier_t t = numbered(1, NOW - 1);
    cr_assert_eq(replay_seen(r, &t, at(NOW)), ERR_EXISTS);
    t.sent = NOW;
    cr_assert_eq(replay_seen(r, &t, at(NOW)), ERR_OK);
    replay_free(r);
}

/* Over half an hour of traffic, nothing that the window still lets in is accepted twice, nothing new is refused, and
 * what is remembered stays within two and a half windows. */
Test(replay, forgets_what_has_run_out)
{
    replay_t *r = replay_new(at(NOW), TIER_WINDOW, 1 << 20);
    uint64_t next = 0;
    size_t most = 0;
    for (msec_t now = NOW; now < NOW + 1800000; now += 20) {
        /* Clocks of the edges: right, 10 s behind, 20 s ahead. */
        for (int e = 0; e < 3; e++) {
            tier_t t = numbered(next++, now + (e == 1 ? -10000 : e == 2 ? 20000 : 0));
            if (t.sent < NOW)
                continue;
            cr_assert_eq(replay_seen(r, &t, at(now)), ERR_OK, "at %lld", (long long)(now - NOW));
            tier_t old = numbered(next - 1, t.sent);
            cr_assert_eq(replay_seen(r, &old, at(now)), ERR_EXISTS);
        }
        size_t n = replay_count(r);
        most = n > most ? n : most;
    }
    cr_assert_lt(most, 3 * 50 * 200);
    cr_assert_gt(most, 3 * 50 * 30);
    replay_free(r);
}

/* More than fits: new ones go on being accepted, old ones never are again. */
Test(replay, a_flood_shrinks_the_window_and_opens_nothing)
{
    replay_t *r = replay_new(at(NOW), TIER_WINDOW, 1600);
    size_t refused = 0;
    enum { ROUNDS = 20000 };
    for (uint64_t i = 0; i < ROUNDS; i++) {
        msec_t now = NOW + (msec_t)i; /* one a millisecond: 1600 are 1.6 s, the window 30 s */
        tier_t t = numbered(i, now);
        refused += replay_seen(r, &t, at(now)) != ERR_OK;
        cr_assert_leq(replay_count(r), 1600);
        if (i % 7 == 0) {
            uint64_t back = i * 7919 % (i + 1);
            tier_t old = numbered(back, NOW + (msec_t)back);
            cr_assert_eq(replay_seen(r, &old, at(now)), ERR_EXISTS, "%llu of %llu", (unsigned long long)back,
                         (unsigned long long)i);
        }
    }
    cr_assert_eq(refused, 0);
    replay_free(r);
}

/* A wall clock that is set, while the other goes on. */
static now_t stepped(msec_t passed, msec_t step)
{
    return (now_t){NOW + passed + step, 5000 + passed};
}

Test(replay, a_clock_that_is_set_back_does_not_shut_the_tier_out)
{
    const msec_t back = -3600 * 1000;
    replay_t *r = replay_new(at(NOW), TIER_WINDOW, 100000);
    uint64_t next = 0;
    for (msec_t passed = 0; passed < 300000; passed += 100) {
        tier_t t = numbered(next++, NOW + passed);
        cr_assert_eq(replay_seen(r, &t, stepped(passed, 0)), ERR_OK);
    }
    tier_t last = numbered(next - 1, NOW + 300000 + back), before = numbered(next++, NOW + 300000 + back - 1);
    cr_expect_eq(replay_seen(r, &before, stepped(300000, back)), ERR_EXISTS, "as at a start");
    cr_expect_eq(replay_seen(r, &last, stepped(300000, back)), ERR_EXISTS, "what was seen is still known");
    size_t most = 0;
    for (msec_t passed = 300000; passed < 900000; passed += 20) {
        tier_t t = numbered(next++, NOW + passed + back);
        cr_assert_eq(replay_seen(r, &t, stepped(passed, back)), ERR_OK, "%lld ms on", (long long)passed);
        cr_assert_eq(replay_seen(r, &t, stepped(passed, back)), ERR_EXISTS);
        size_t n = replay_count(r);
        most = n > most ? n : most;
    }
    cr_expect_lt(most, 150 * 50, "it forgets as before");
    replay_free(r);
}

Test(replay, nor_does_one_that_is_set_forward_let_anything_in_twice)
{
    const msec_t forward = 20000;
    replay_t *r = replay_new(at(NOW), TIER_WINDOW, 100000);
    for (uint64_t i = 0; i < 1000; i++) { /* of an edge whose clock is right, that of the shield was behind */
        tier_t t = numbered(i, NOW + 20000 + (msec_t)i);
        cr_assert_eq(replay_seen(r, &t, stepped((msec_t)i, 0)), ERR_OK);
    }
    for (msec_t passed = 1000; passed < 100000; passed += 50) {
        tier_t t = numbered(100000 + (uint64_t)passed, NOW + passed + forward);
        cr_assert_eq(replay_seen(r, &t, stepped(passed, forward)), ERR_OK);
        for (uint64_t i = 0; i < 1000; i += 97) {
            tier_t again = numbered(i, NOW + 20000 + (msec_t)i);
            bool within = again.sent >= NOW + passed + forward - TIER_WINDOW;
            cr_assert(!within || replay_seen(r, &again, stepped(passed, forward)) == ERR_EXISTS);
        }
    }
    replay_free(r);
}
