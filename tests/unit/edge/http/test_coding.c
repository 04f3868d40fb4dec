/* Which coding a request wants (RFC 9110 12.5.3), and the tags of coded forms (RFC 9110 8.8.3.3). */
#include <criterion/criterion.h>

#include "edge/http/coding.h"
#include "edge/http/weighted.h"

static const coding_t all[] = {CODING_ZSTD, CODING_BR, CODING_GZIP};

static coding_t chosen(const char *line, const coding_t *offered, size_t n)
{
    field_t v[1] = {{SPAN("accept-encoding"), span_str(line)}};
    fields_t f = {.v = v, .n = line != NULL ? 1 : 0};
    return coding_choose(&f, offered, n);
}

Test(coding, choice)
{
    static const struct {
        const char *line;
        coding_t wanted;
    } rows[] = {
        {NULL, CODING_IDENTITY}, /* nothing said: anything would do, but who says nothing often can't */
        {"", CODING_IDENTITY},
        {"gzip", CODING_GZIP},
        {"GZip", CODING_GZIP},
        {"x-gzip", CODING_GZIP},
        {"gzip, br, zstd", CODING_ZSTD},
        {"gzip, deflate, br", CODING_BR},
        {"gzip;q=1.0, br;q=0.9, zstd;q=0.1", CODING_GZIP},
        {"gzip;q=0", CODING_IDENTITY},
        {"gzip;q=0.000, br;q=0.001", CODING_BR},
        {"*", CODING_ZSTD},
        {"*;q=0", CODING_IDENTITY},
        {"zstd;q=0, *;q=0.5", CODING_BR},
        {"br;q=0, zstd;q=0, *", CODING_GZIP},
        {"identity;q=0, gzip;q=0.1", CODING_GZIP},
        {"identity, gzip;q=0.5", CODING_IDENTITY},
        {"identity;q=0.5, gzip;q=0.5", CODING_GZIP},
        {"identity;q=0", CODING_IDENTITY}, /* nothing else was offered either */
        {"identity;q=0, *;q=0", CODING_IDENTITY},
        {"deflate, compress", CODING_IDENTITY},
        {"gzip;q=2, br;level=5, zstd;q=x", CODING_IDENTITY}, /* what isn't understood isn't accepted */
        {"gzip;q=0, gzip", CODING_GZIP},
        {"gzip, br;q=0.9, gzip;q=0.5", CODING_GZIP},
        {" , ,gzip ; Q=0.5,", CODING_GZIP},
        {"gzipped, xgzip, br2", CODING_IDENTITY},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        coding_t c = chosen(rows[i].line, all, 3);
        cr_expect_eq(c, rows[i].wanted, "%s: %.*s", rows[i].line, SPAN_ARG(coding_name(c)));
    }
}

Test(coding, the_site_decides_among_equals_and_what_is_offered)
{
    static const coding_t order[] = {CODING_GZIP, CODING_BR}, none[1] = {CODING_IDENTITY};
    cr_expect_eq(chosen("br, gzip, zstd", order, 2), CODING_GZIP);
    cr_expect_eq(chosen("br, gzip;q=0.9, zstd", order, 2), CODING_BR);
    cr_expect_eq(chosen("zstd", order, 2), CODING_IDENTITY);
    cr_expect_eq(chosen("gzip", none, 0), CODING_IDENTITY);
}

Test(coding, several_lines_are_one_list)
{
    field_t v[] = {{SPAN("accept-encoding"), SPAN("gzip;q=0.5")}, {SPAN("accept-encoding"), SPAN("br;q=0.7")}};
    fields_t f = {.v = v, .n = 2};
    cr_expect_eq(coding_choose(&f, all, 3), CODING_BR);
}

Test(coding, tags)
{
    static const struct {
        const char *identity, *coded;
    } rows[] = {
        {"\"abc\"", "W/\"abc-gzip\""},
        {"\"\"", "W/\"-gzip\""},
        {"W/\"abc\"", "W/\"abc\""},
        {"bare", "bare"},
        {"\"", "\""},
        {"\"open", "\"open"},
    };
    arena_t a;
    arena_init(&a, 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        span_t tag = coding_tag(span_str(rows[i].identity), CODING_GZIP, &a), bare;
        cr_expect(span_eq(tag, span_str(rows[i].coded)), "%.*s", SPAN_ARG(tag));
        bool back = coding_untag(tag, &a, &bare);
        cr_expect_eq(back, strcmp(rows[i].identity, rows[i].coded) != 0);
        cr_expect(!back || span_eq(bare, span_str(rows[i].identity)), "%.*s", SPAN_ARG(bare));
    }
    cr_expect_null(coding_tag(SPAN_NONE, CODING_BR, &a).p);
    cr_expect(span_eq(coding_tag(SPAN("\"a\""), CODING_IDENTITY, &a), SPAN("\"a\"")));
    static const char *const others[] = {"\"abc-gzip\"", "W/\"abc-deflate\"", "W/\"abcgzip\"", "W/", "W/\"", "",
                                         "W/\"gzip\"",   "W/\"abc-gzip"};
    span_t bare;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        cr_expect(!coding_untag(span_str(others[i]), &a, &bare), "%s", others[i]);
    arena_release(&a);
}

Test(coding, conditions_know_both_forms)
{
    arena_t a;
    arena_init(&a, 0);
    field_t v[] = {{SPAN("if-none-match"), SPAN("\"x,y-gzip\", W/\"a-br\" ,W/\"b,c-gzip\"")},
                   {SPAN("if-match"), SPAN("W/\"m-zstd\"")},
                   {SPAN("if-range"), SPAN("W/\"r-zstd\"")},
                   {SPAN("accept"), SPAN("W/\"q-zstd\"")}};
    fields_t f = {.v = v, .n = 4}, out;
    cr_assert(coding_untag_fields(&f, &a, &out));
    cr_expect(span_eq(fields_get(&out, SPAN("if-none-match")),
                      SPAN("\"x,y-gzip\", W/\"a-br\" ,W/\"b,c-gzip\", \"a\", \"b,c\"")),
              "%.*s", SPAN_ARG(fields_get(&out, SPAN("if-none-match"))));
    cr_expect(span_eq(fields_get(&out, SPAN("if-match")), SPAN("W/\"m-zstd\", \"m\"")));
    cr_expect(span_eq(fields_get(&out, SPAN("if-range")), SPAN("W/\"r-zstd\"")), "bytes of two forms are never one");
    cr_expect(span_eq(fields_get(&out, SPAN("accept")), SPAN("W/\"q-zstd\"")));
    f.v = v + 3;
    f.n = 1;
    cr_expect(!coding_untag_fields(&f, &a, &out));
    field_t odd[] = {{SPAN("if-none-match"), SPAN("\t, \t\"a\"\t,W/")}};
    f.v = odd;
    cr_expect(!coding_untag_fields(&f, &a, &out));
    arena_release(&a);
}

Test(coding, a_304_names_the_form_that_the_client_holds)
{
    arena_t a;
    arena_init(&a, 0);
    field_t v[] = {{SPAN("if-none-match"), SPAN("\"z\", W/\"a-br\", \"a\"")}};
    fields_t f = {.v = v, .n = 1};
    span_t etag = SPAN("\"a\"");
    cr_expect(span_eq(coding_tag_held(&f, etag, SPAN("W/\"a-gzip\""), &a), SPAN("W/\"a-br\"")),
              "not the one it would get");
    cr_expect(span_eq(coding_tag_held(&f, etag, etag, &a), etag), "what it would get, where it has that");
    v[0].value = SPAN("W/\"b-br\", W/\"c-gzip\"");
    cr_expect(span_eq(coding_tag_held(&f, etag, etag, &a), etag), "forms of something else");
    v[0].value = SPAN("*");
    cr_expect(span_eq(coding_tag_held(&f, etag, SPAN("W/\"a-gzip\""), &a), SPAN("W/\"a-gzip\"")));
    arena_release(&a);
}

Test(weighted, members)
{
    span_t rest = SPAN("a, ,\"b,\\\"c\" ,d"), m, name;
    unsigned w;
    cr_assert(weighted_next(&rest, &m));
    cr_expect(span_eq(m, SPAN("a")));
    cr_assert(weighted_next(&rest, &m));
    cr_expect(span_eq(m, SPAN("\"b,\\\"c\"")));
    cr_assert(weighted_next(&rest, &m));
    cr_expect(span_eq(m, SPAN("d")));
    cr_expect(!weighted_next(&rest, &m));
    static const struct {
        const char *text;
        int weight; /* -1: refused */
    } rows[] = {{"a", 1000},         {"a;q=1", 1000}, {"a; q=0.5", 500}, {"a ;Q=0.123", 123},
                {"a;q=1.000", 1000}, {"a;q=0.", 0},   {"a;q=1.001", -1}, {"a;q=0.1234", -1},
                {"a;q=", -1},        {"a;q=.5", -1},  {"a;x=1", -1},     {"a;q", -1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool read = weighted_read(span_str(rows[i].text), &name, &w);
        cr_expect_eq(read, rows[i].weight >= 0, "%s", rows[i].text);
        cr_expect(!read || (int)w == rows[i].weight, "%s: %u", rows[i].text, w);
        cr_expect(span_eq(name, SPAN("a")));
    }
}
