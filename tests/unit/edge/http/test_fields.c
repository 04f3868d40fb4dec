/* Field lists and their packed form. RFC 9110 5 and 7.6.1. */
#include <stdio.h>
#include <stdlib.h>

#include <criterion/criterion.h>

#include "edge/http/fields.h"

static arena_t arena;

static void setup(void)
{
    arena_init(&arena, 0);
}
static void teardown(void)
{
    arena_release(&arena);
}

TestSuite(fields, .init = setup, .fini = teardown);
TestSuite(fieldblock, .init = setup, .fini = teardown);

/* "a: 1|b: 2" to fields, and back. */
static fields_t parse(const char *text)
{
    fields_t f;
    fields_init(&f, &arena);
    for (span_t s = span_str(text); s.n > 0;) {
        size_t end = span_find(s, '|'), colon = span_find(s, ':');
        cr_assert_eq(fields_add(&f, span_upto(s, colon), span_trim(span_from(span_upto(s, end), colon + 1))), ERR_OK);
        s = span_from(s, end + 1);
    }
    return f;
}

static const char *print(const fields_t *f)
{
    span_t s = arena_copy(&arena, SPAN(""));
    for (size_t i = 0; i < f->n; i++)
        s = arena_printf(&arena, "%.*s%s%.*s: %.*s", SPAN_ARG(s), i > 0 ? "|" : "", SPAN_ARG(f->v[i].name),
                         SPAN_ARG(f->v[i].value));
    return s.p;
}

Test(fields, get_next_count)
{
    fields_t f = parse("a: 1|b: 2|a: 3|c:");
    size_t at = 0;
    span_t v;
    cr_expect(span_eq(fields_get(&f, SPAN("a")), SPAN("1")));
    cr_expect(span_eq(fields_get(&f, SPAN("b")), SPAN("2")));
    cr_expect_null(fields_get(&f, SPAN("d")).p);
    cr_expect_null(fields_get(&f, SPAN("A")).p);
    cr_expect_not_null(fields_get(&f, SPAN("c")).p); /* empty is not absent: 5.5 */
    cr_expect(fields_has(&f, SPAN("c")));
    cr_expect_not(fields_has(&f, SPAN("")));
    cr_expect_eq(fields_count(&f, SPAN("a")), 2);
    cr_expect_eq(fields_count(&f, SPAN("d")), 0);
    cr_assert(fields_next(&f, SPAN("a"), &at, &v));
    cr_expect(span_eq(v, SPAN("1")));
    cr_assert(fields_next(&f, SPAN("a"), &at, &v));
    cr_expect(span_eq(v, SPAN("3")));
    cr_expect_not(fields_next(&f, SPAN("a"), &at, &v));
    cr_expect_not(fields_next(&f, SPAN("a"), &at, &v));
}

Test(fields, an_absent_value_becomes_an_empty_one)
{
    fields_t f;
    fields_init(&f, &arena);
    cr_assert_eq(fields_add(&f, SPAN("a"), SPAN_NONE), ERR_OK);
    cr_expect(fields_has(&f, SPAN("a")));
}

Test(fields, join)
{
    fields_t f = parse("a: 1|b: x|a:|a: 3");
    cr_expect(span_eq(fields_join(&f, SPAN("a"), &arena), SPAN("1, , 3"))); /* 5.3 */
    size_t used = arena.used;
    cr_expect_eq(fields_join(&f, SPAN("b"), &arena).p, f.v[1].value.p); /* a single line is not copied */
    cr_expect_null(fields_join(&f, SPAN("c"), &arena).p);
    cr_expect_eq(arena.used, used);
    arena_t small;
    arena_init(&small, 4);
    cr_expect_null(fields_join(&f, SPAN("a"), &small).p);
    arena_release(&small);
}

Test(fields, remove_and_set_keep_order)
{
    fields_t f = parse("a: 1|b: 2|a: 3|c: 4");
    fields_remove(&f, SPAN("x"));
    cr_expect_str_eq(print(&f), "a: 1|b: 2|a: 3|c: 4");
    fields_remove(&f, SPAN("a"));
    cr_expect_str_eq(print(&f), "b: 2|c: 4");
    cr_expect_eq(fields_set(&f, SPAN("b"), SPAN("5")), ERR_OK);
    cr_expect_str_eq(print(&f), "c: 4|b: 5");
}

Test(fields, ceilings)
{
    fields_t f;
    fields_init(&f, &arena);
    for (int i = 0; i < FIELDS_MAX_COUNT; i++)
        cr_assert_eq(fields_add(&f, SPAN("a"), SPAN("b")), ERR_OK);
    cr_expect_eq(fields_add(&f, SPAN("a"), SPAN("b")), ERR_TOO_BIG);
    cr_expect_eq(f.n, FIELDS_MAX_COUNT);
    field_t array[2];
    fields_t fixed = {.v = array, .cap = 2};
    cr_expect_eq(fields_add(&fixed, SPAN("a"), SPAN("b")), ERR_OK);
    cr_expect_eq(fields_add(&fixed, SPAN("a"), SPAN("b")), ERR_OK);
    cr_expect_eq(fields_add(&fixed, SPAN("a"), SPAN("b")), ERR_TOO_BIG);
    arena_t small;
    arena_init(&small, 16);
    fields_init(&f, &small);
    cr_expect_eq(fields_add(&f, SPAN("a"), SPAN("b")), ERR_TOO_BIG);
    arena_release(&small);
}

Test(fields, hop_by_hop)
{
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"accept: x|host: h", "accept: x|host: h"},
        {"connection: close|keep-alive: timeout=5|te: trailers|trailer: x|transfer-encoding: chunked|upgrade: h2c|"
         "proxy-connection: close|proxy-authenticate: Basic|proxy-authorization: Basic x|proxy-authentication-info: x|"
         "http2-settings: x|a: 1",
         "a: 1"},
        {"connection: x-a, X-B|x-a: 1|x-b: 2|x-c: 3", "x-c: 3"}, /* 7.6.1: names compare without case */
        {"x-a: 1|connection: close|connection: ,, x-a ,", ""},   /* every line counts, wherever it stands */
        {"connection: cache-control, AGE, vary, etag, host, authorization, set-cookie, cdn-loop|cache-control: "
         "no-store|age: 1|"
         "vary: *|etag: x|host: h|authorization: b|set-cookie: s|cdn-loop: brink",
         "cache-control: no-store|age: 1|vary: *|etag: x|host: h|authorization: b|set-cookie: s|cdn-loop: brink"},
        {"connection: brink-cursor, brink|brink-cursor: 1|brink: 2", "brink-cursor: 1"},
        {"connection: x a|x: 1|a: 2", "x: 1|a: 2"},
        {"connection: |x: 1", "x: 1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fields_t f = parse(rows[i].in);
        fields_remove_hop_by_hop(&f);
        cr_expect_str_eq(print(&f), rows[i].out, "%s", rows[i].in);
    }
}

Test(fields, hop_by_hop_names_have_a_ceiling)
{
    char text[4096] = "";
    for (int i = 0; i < 64; i++)
        strcat(text, "x-junk,");
    strcat(text, "x-a");
    fields_t f = parse("x-a: 1");
    cr_assert_eq(fields_add(&f, SPAN("connection"), span_str(text)), ERR_OK);
    fields_remove_hop_by_hop(&f);
    cr_expect_str_eq(print(&f), "x-a: 1");
    f = parse("x-a: 1");
    cr_assert_eq(fields_add(&f, SPAN("connection"), span_str(text + strlen("x-junk,"))), ERR_OK);
    fields_remove_hop_by_hop(&f);
    cr_expect_str_eq(print(&f), "");
}

Test(fields, valid)
{
    cr_expect(fields_name_valid(SPAN("X-Foo_1!")));
    cr_expect_not(fields_name_valid(SPAN("")));
    cr_expect_not(fields_name_valid(SPAN("x y")));
    cr_expect_not(fields_name_valid(SPAN("x:")));
    cr_expect_not(fields_name_valid(SPAN("x\xc3\xa9")));
    cr_expect(fields_value_valid(SPAN("")));
    cr_expect(fields_value_valid(SPAN("a\tb \xff~")));
    static const char bad[] = {0, 1, '\n', '\r', 11, 27, 31, 127};
    for (size_t i = 0; i < sizeof bad; i++) {
        char text[3] = {'a', bad[i], 'b'};
        cr_expect_not(fields_value_valid(span_of(text, 3)), "%d", bad[i]);
    }
}

/* ---- packed ---- */

#define SPAN_OF_LITERAL(s)                                                                                             \
    {                                                                                                                  \
        s, sizeof s - 1                                                                                                \
    }

Test(fieldblock, there_and_back)
{
    fields_t f = parse("content-type: text/html|set-cookie: a|x:|set-cookie: b"), out;
    fieldblock_t *b;
    cr_assert_eq(fieldblock_pack(&f, &b), ERR_OK);
    cr_expect_eq(b->count, 4);
    cr_expect_eq(fieldblock_validate(b->bytes, b->size, b->count), ERR_OK);
    cr_expect(span_eq(fieldblock_get(b, SPAN("set-cookie")), SPAN("a")));
    cr_expect(span_eq(fieldblock_get(b, SPAN("x")), SPAN("")));
    cr_expect_not_null(fieldblock_get(b, SPAN("x")).p);
    cr_expect_null(fieldblock_get(b, SPAN("y")).p);
    cr_assert_eq(fieldblock_unpack(b, &arena, &out), ERR_OK);
    cr_expect_str_eq(print(&out), print(&f));
    cr_expect_eq(fields_add(&out, SPAN("more"), SPAN("1")), ERR_OK); /* the list may grow on */
    free(b);
}

Test(fieldblock, empty)
{
    fields_t f, out;
    field_t field;
    fieldblock_t *b;
    size_t pos = 0;
    fields_init(&f, &arena);
    cr_assert_eq(fieldblock_pack(&f, &b), ERR_OK);
    cr_expect_eq(b->size, 0);
    cr_expect_not(fieldblock_next(b, &pos, &field));
    cr_expect_eq(fieldblock_unpack(b, &arena, &out), ERR_OK);
    cr_expect_eq(out.n, 0);
    cr_expect_eq(fieldblock_validate(b->bytes, 0, 0), ERR_OK);
    cr_expect_eq(fieldblock_validate(b->bytes, 0, 1), ERR_CORRUPT);
    free(b);
}

Test(fieldblock, ceilings)
{
    static char big[FIELDS_MAX_BYTES + 1];
    memset(big, 'v', sizeof big);
    fieldblock_t *b;
    field_t array[FIELDS_MAX_COUNT + 1];
    array[0] = (field_t){SPAN("n"), span_of(big, FIELDS_MAX_BYTES - 1)};
    fields_t f = {.v = array, .n = 1, .cap = 1};
    cr_assert_eq(fieldblock_pack(&f, &b), ERR_OK);
    cr_expect_eq(fieldblock_validate(b->bytes, b->size, b->count), ERR_OK);
    cr_expect_eq(fieldblock_get(b, SPAN("n")).n, FIELDS_MAX_BYTES - 1);
    free(b);
    array[0].value.n++;
    cr_expect_eq(fieldblock_pack(&f, &b), ERR_TOO_BIG);
    array[0] = (field_t){span_of(big, FIELDS_MAX_BYTES + 1), SPAN("")};
    cr_expect_eq(fieldblock_pack(&f, &b), ERR_TOO_BIG);
    for (int i = 0; i <= FIELDS_MAX_COUNT; i++)
        array[i] = (field_t){SPAN("a"), SPAN("b")};
    f.n = FIELDS_MAX_COUNT + 1;
    cr_expect_eq(fieldblock_pack(&f, &b), ERR_TOO_BIG);
    f.n = FIELDS_MAX_COUNT;
    cr_assert_eq(fieldblock_pack(&f, &b), ERR_OK);
    cr_expect_eq(fieldblock_validate(b->bytes, b->size, b->count), ERR_OK);
    free(b);
    /* On disk no more than packing would have made: one entry too many, one byte too many. */
    static char raw[(FIELDS_MAX_COUNT + 1) * 4];
    for (size_t i = 0; i <= FIELDS_MAX_COUNT; i++)
        memcpy(raw + i * 4,
               "\x81"
               "a\1b",
               4);
    cr_expect_eq(fieldblock_validate(raw, FIELDS_MAX_COUNT * 4, FIELDS_MAX_COUNT), ERR_OK);
    cr_expect_eq(fieldblock_validate(raw, sizeof raw, FIELDS_MAX_COUNT + 1), ERR_CORRUPT);
    static char two[FIELDS_MAX_BYTES + 7];
    memset(two, 'v', sizeof two);
    for (uint16_t extra = 0; extra < 2; extra++) {
        memcpy(two, "\x81v\2vv\x81v\xff", 8);
        memcpy(two + 8, (uint16_t[]){(uint16_t)(FIELDS_MAX_BYTES - 4 + extra)}, 2);
        cr_expect_eq(fieldblock_validate(two, FIELDS_MAX_BYTES + 6u + extra, 2), extra == 0 ? ERR_OK : ERR_CORRUPT);
    }
}

/* Lengths on both sides of where another byte is needed, usual names and others. */
Test(fieldblock, every_length)
{
    static char long_name[400], long_value[400];
    memset(long_name, 'n', sizeof long_name);
    memset(long_value, 'v', sizeof long_value);
    for (size_t n = 1; n < 300; n++)
        for (size_t v = n % 50; v < 300; v += 50) {
            field_t array[2] = {{span_of(long_name, n), span_of(long_value, v)},
                                {SPAN("content-type"), span_of(long_value, n)}};
            fields_t f = {.v = array, .n = 2, .cap = 2};
            fieldblock_t *b;
            cr_assert_eq(fieldblock_pack(&f, &b), ERR_OK);
            cr_assert_eq(fieldblock_validate(b->bytes, b->size, 2), ERR_OK, "%zu %zu", n, v);
            cr_assert_leq(b->size, n + v + n + 10);
            cr_assert(span_eq(fieldblock_get(b, array[0].name), array[0].value));
            cr_assert(span_eq(fieldblock_get(b, array[1].name), array[1].value));
            free(b);
        }
}

/* Equal fields are equal bytes. */
Test(fieldblock, refuses_what_could_be_shorter)
{
    static const span_t bad[] = {SPAN_OF_LITERAL("\x84"
                                                 "date\0"),
                                 SPAN_OF_LITERAL("\xff\1\0a\0"),
                                 SPAN_OF_LITERAL("\x81"
                                                 "a\xff\1\0b"),
                                 SPAN_OF_LITERAL("\x7f\0"), SPAN_OF_LITERAL("\x80\0")};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_expect_eq(fieldblock_validate(bad[i].p, bad[i].n, 1), ERR_CORRUPT, "row %zu", i);
}

Test(fieldblock, packs_only_what_it_would_accept)
{
    static const struct {
        span_t name, value;
    } rows[] = {
        {{"Upper", 5}, {"x", 1}},  {{"", 0}, {"x", 1}},   {{"a b", 3}, {"x", 1}},
        {{"a", 1}, {"x\r\ny", 4}}, {{"a", 1}, {"\0", 1}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fieldblock_t *b;
        field_t array[1] = {{rows[i].name, rows[i].value}};
        fields_t f = {.v = array, .n = 1, .cap = 1};
        cr_expect_eq(fieldblock_pack(&f, &b), ERR_SYNTAX, "row %zu", i);
    }
}

/* Every single byte that is changed is either noticed or leaves a block that can be walked to its end. */
Test(fieldblock, damage)
{
    fields_t f = parse("content-type: text/html|etag: \"abc\"|x:|cache-control: max-age=60"), out;
    fieldblock_t *b;
    int noticed = 0;
    cr_assert_eq(fieldblock_pack(&f, &b), ERR_OK);
    for (size_t cut = 0; cut < b->size; cut++)
        cr_expect_eq(fieldblock_validate(b->bytes, cut, b->count), ERR_CORRUPT, "cut at %zu", cut);
    cr_expect_eq(fieldblock_validate(b->bytes, b->size, (uint16_t)(b->count - 1)), ERR_CORRUPT);
    cr_expect_eq(fieldblock_validate(b->bytes, b->size, (uint16_t)(b->count + 1)), ERR_CORRUPT);
    cr_expect_eq(fieldblock_validate(b->bytes, b->size, UINT16_MAX), ERR_CORRUPT);
    for (size_t i = 0; i < b->size; i++)
        for (int bit = 0; bit < 8; bit++) {
            b->bytes[i] = (char)(b->bytes[i] ^ 1 << bit);
            /* A copy without a byte to spare, so that reading behind the end is seen. */
            fieldblock_t *copy = malloc(sizeof *copy + b->size);
            memcpy(copy, b, sizeof *copy + b->size);
            if (fieldblock_validate(copy->bytes, copy->size, copy->count) == ERR_OK) {
                cr_expect_eq(fieldblock_unpack(copy, &arena, &out), ERR_OK);
                cr_expect_eq(out.n, copy->count);
                for (size_t k = 0; k < out.n; k++)
                    cr_expect(out.v[k].value.p + out.v[k].value.n <= copy->bytes + copy->size);
            } else
                noticed++;
            free(copy);
            b->bytes[i] = (char)(b->bytes[i] ^ 1 << bit);
        }
    cr_expect_gt(noticed, 32, "%d", noticed);
    free(b);
}
