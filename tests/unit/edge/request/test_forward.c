/* What goes upstream: which of the client's fields pass, and what is said of the way so far. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "edge/request/request_priv.h"

typedef struct bench {
    arena_t arena;
    request_env_t env;
    exchange_t x;
    request_t rq;
    fields_t out;
} bench_t;

static void bench_open(bench_t *b, const char *lines, const char *peer)
{
    *b = (bench_t){0};
    arena_init(&b->arena, 1024 * 1024);
    b->env.via = SPAN("1.1 edge-1 (brink)");
    b->x = (exchange_t){.arena = &b->arena, .peer = span_str(peer), .method = METHOD_GET};
    b->rq = (request_t){.env = &b->env, .x = &b->x};
    b->rq.key.host = SPAN("www.example.com");
    b->rq.key.scheme = SPAN("https");
    fields_init(&b->x.fields, &b->arena);
    while (lines != NULL && *lines != '\0') {
        size_t n = strcspn(lines, "\n"), colon = strcspn(lines, ":");
        fields_add(&b->x.fields, span_of(lines, colon), span_trim(span_of(lines + colon + 1, n - colon - 1)));
        lines += n + (lines[n] == '\n');
    }
}

static span_t got(const bench_t *b, const char *name)
{
    cr_expect_leq(fields_count(&b->out, span_str(name)), 1, "%s more than once", name);
    return fields_get(&b->out, span_str(name));
}

#define EXPECT_FIELD(b, name, value)                                                                                   \
    cr_expect(span_eq(got(b, name), SPAN(value)), "%s: %.*s", name, SPAN_ARG(got(b, name)))

Test(forward, a_clients_word_of_its_way_does_not_pass)
{
    bench_t b;
    bench_open(
        &b,
        "host: evil.example\nx-forwarded-for: 10.0.0.1\nforwarded: for=10.0.0.1\nx-forwarded-proto: "
        "gopher\nx-request-id: mine\nvia: 1.0 client-proxy\ncdn-loop: other; x=1\nbrink-tier: v=1\nmax-forwards: "
        "3\nexpect: 100-continue\ncontent-length: 3\naccept: */*\ncookie: a=b\nauthorization: Bearer x",
        "192.0.2.7");
    cr_assert_eq(forward_fields(&b.rq, true, &b.out), ERR_OK);
    EXPECT_FIELD(&b, "x-forwarded-for", "192.0.2.7");
    EXPECT_FIELD(&b, "forwarded", "for=192.0.2.7;host=\"www.example.com\";proto=https");
    EXPECT_FIELD(&b, "x-forwarded-proto", "https");
    EXPECT_FIELD(&b, "via", "1.0 client-proxy, 1.1 edge-1 (brink)");
    EXPECT_FIELD(&b, "cdn-loop", "other; x=1, brink");
    EXPECT_FIELD(&b, "accept", "*/*");
    EXPECT_FIELD(&b, "cookie", "a=b");
    EXPECT_FIELD(&b, "authorization", "Bearer x");
    cr_expect(!span_eq(got(&b, "x-request-id"), SPAN("mine")) && got(&b, "x-request-id").n > 8);
    static const char *const gone[] = {"host", "brink-tier", "max-forwards", "expect", "content-length"};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        cr_expect_null(got(&b, gone[i]).p, "%s", gone[i]);
    arena_release(&b.arena);
}

Test(forward, a_frameworks_own_field_passes_on_its_own_urls_alone)
{
    static const struct {
        const char *path;
        bool own, passes;
    } rows[] = {{"/a", true, false}, {"/_next/data/b1/a.json", true, true}, {"/_next/dat", true, false}, {"/a", false, true}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bench_t b;
        bench_open(&b, "x-nextjs-data: 1\nx-nextjs-other: 1", "192.0.2.7");
        b.rq.key.path = span_str(rows[i].path);
        cr_assert_eq(forward_fields(&b.rq, rows[i].own, &b.out), ERR_OK);
        cr_expect_eq(got(&b, "x-nextjs-data").p != NULL, rows[i].passes, "%s", rows[i].path);
        EXPECT_FIELD(&b, "x-nextjs-other", "1");
        arena_release(&b.arena);
    }
}

Test(forward, the_tiers_word_is_kept_and_added_to)
{
    bench_t b;
    bench_open(&b,
               "x-forwarded-for: 192.0.2.1\nx-forwarded-for: 192.0.2.2\nforwarded: for=192.0.2.1\nx-request-id: "
               "0123456789abcdef0123456789abcdef\nvia: 1.1 edge-1 (brink)\ncdn-loop: brink",
               "2001:db8::1");
    b.rq.from_tier = true;
    b.env.via = SPAN("1.1 shield-1 (brink)");
    cr_assert_eq(forward_fields(&b.rq, true, &b.out), ERR_OK);
    EXPECT_FIELD(&b, "x-forwarded-for", "192.0.2.1, 192.0.2.2, 2001:db8::1");
    EXPECT_FIELD(&b, "forwarded", "for=192.0.2.1, for=\"[2001:db8::1]\";host=\"www.example.com\";proto=https");
    EXPECT_FIELD(&b, "via", "1.1 edge-1 (brink), 1.1 shield-1 (brink)");
    EXPECT_FIELD(&b, "cdn-loop", "brink");
    EXPECT_FIELD(&b, "x-request-id", "0123456789abcdef0123456789abcdef");
    arena_release(&b.arena);
}

Test(forward, what_would_be_taken_for_the_target_does_not_pass)
{
    static const char *const names[] = {"x-forwarded-host",   "x-forwarded-port",
                                        "x-forwarded-scheme", "x-forwarded-prefix",
                                        "x-original-url",     "x-rewrite-url",
                                        "x-http-method",      "x-http-method-override",
                                        "x-method-override",  "x-host",
                                        "x-real-ip",          "true-client-ip",
                                        "front-end-https",    "proxy",
                                        "x-forwarded-ssl"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        bench_t b;
        char line[64];
        snprintf(line, sizeof line, "%s: poison\nx-ok: 1", names[i]);
        bench_open(&b, line, "192.0.2.7");
        cr_assert_eq(forward_fields(&b.rq, false, &b.out), ERR_OK);
        cr_expect(got(&b, names[i]).p == NULL && got(&b, "x-ok").p != NULL, "%s", names[i]);
        arena_release(&b.arena);
    }
}

Test(forward, names_with_underscores_are_what_applications_read)
{
    static const char lines[] = "x_forwarded_host: 1\nx-http_method-override: 1\ncontent_length: 1\n"
                                "transfer_encoding: 1\naccept_language: 1\nmy_field: 1\n"
                                "a_very_long_name_that_an_application_made_up_for_itself_and_nobody_else: 1";
    static const char *const ours[] = {"x_forwarded_host", "x-http_method-override", "content_length",
                                       "transfer_encoding"};
    static const char *const theirs[] = {"accept_language", "my_field",
                                         "a_very_long_name_that_an_application_made_up_for_itself_and_nobody_else"};
    for (int own = 0; own < 2; own++) {
        bench_t b;
        bench_open(&b, lines, "192.0.2.7");
        cr_assert_eq(forward_fields(&b.rq, own == 1, &b.out), ERR_OK);
        for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
            cr_expect_null(got(&b, ours[i]).p, "%s", ours[i]);
        for (size_t i = 0; i < sizeof theirs / sizeof *theirs; i++)
            cr_expect_eq(got(&b, theirs[i]).p == NULL, own == 1, "%s", theirs[i]);
        arena_release(&b.arena);
    }
}

Test(forward, conditions_and_ranges_are_the_caches_or_the_clients)
{
    static const char lines[] =
        "if-none-match: \"1\"\nif-modified-since: x\nrange: bytes=0-1\nif-range: \"1\"\nif-match: "
        "\"2\"\nif-unmodified-since: y";
    static const char *const names[] = {"if-none-match", "if-modified-since", "range",
                                        "if-range",      "if-match",          "if-unmodified-since"};
    for (int own = 0; own < 2; own++) {
        bench_t b;
        bench_open(&b, lines, "192.0.2.7");
        cr_assert_eq(forward_fields(&b.rq, own, &b.out), ERR_OK);
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            cr_expect_eq(got(&b, names[i]).p != NULL, !own, "%s", names[i]);
        arena_release(&b.arena);
    }
}

Test(forward, connection_fields_end_here)
{
    bench_t b;
    bench_open(&b,
               "connection: close, x-mine, cdn-loop\nx-mine: 1\nte: trailers\nupgrade: h2c\nkeep-alive: 5\ncdn-loop: a",
               "");
    cr_assert_eq(forward_fields(&b.rq, false, &b.out), ERR_OK);
    static const char *const gone[] = {"connection", "x-mine", "te", "upgrade", "keep-alive"};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        cr_expect_null(got(&b, gone[i]).p, "%s", gone[i]);
    EXPECT_FIELD(&b, "cdn-loop", "a, brink"); /* not even if Connection names it */
    EXPECT_FIELD(&b, "x-forwarded-for", "unknown");
    EXPECT_FIELD(&b, "forwarded", "for=unknown;host=\"www.example.com\";proto=https");
    arena_release(&b.arena);
}

Test(forward, more_fields_than_can_be_passed_on)
{
    bench_t b;
    bench_open(&b, NULL, "192.0.2.7");
    static char names[FIELDS_MAX_COUNT][16];
    for (int i = 0; i < FIELDS_MAX_COUNT; i++) {
        snprintf(names[i], sizeof names[i], "x-%d", i);
        fields_add(&b.x.fields, span_str(names[i]), SPAN("1"));
    }
    cr_expect_eq(forward_fields(&b.rq, false, &b.out), ERR_TOO_BIG);
    arena_release(&b.arena);
    bench_open(&b, "a: b", "192.0.2.7");
    b.arena.ceiling = b.arena.used + 16;
    cr_expect_eq(forward_fields(&b.rq, false, &b.out), ERR_TOO_BIG);
    arena_release(&b.arena);
}
