/* RFC 9651 4.2: what parses, to what, and what doesn't. */
#include <stdio.h>
#include <stdlib.h>

#include <criterion/criterion.h>

#include "edge/http/sf.h"

static arena_t arena;

static void setup(void)
{
    arena_init(&arena, 0);
}
static void teardown(void)
{
    arena_release(&arena);
}
TestSuite(sf, .init = setup, .fini = teardown);

/* A canonical text of a value, so that rows can be compared: i5 d1500 s"x" tx b<68> ?1 @7 %x (…), parameters behind. */
static char *put_value(char *p, const sf_value_t *v)
{
    span_t text = sf_text(v, &arena), key;
    sf_value_t inner;
    sf_t it;
    switch (v->type) {
    case SF_INTEGER:
        p += sprintf(p, "i%lld", (long long)v->number);
        break;
    case SF_DECIMAL:
        p += sprintf(p, "d%lld", (long long)v->number);
        break;
    case SF_BOOLEAN:
        p += sprintf(p, "?%lld", (long long)v->number);
        break;
    case SF_DATE:
        p += sprintf(p, "@%lld", (long long)v->number);
        break;
    case SF_STRING:
        p += sprintf(p, "s<%.*s>", SPAN_ARG(text));
        break;
    case SF_TOKEN:
        p += sprintf(p, "t%.*s", SPAN_ARG(text));
        break;
    case SF_DISPLAY:
        p += sprintf(p, "%%<%.*s>", SPAN_ARG(text));
        break;
    case SF_BYTES:
        p += sprintf(p, "b<");
        for (size_t i = 0; i < text.n; i++)
            p += sprintf(p, "%02x", (unsigned char)text.p[i]);
        p += sprintf(p, ">");
        break;
    case SF_INNER_LIST: {
        err_t e;
        p += sprintf(p, "(");
        sf_init(&it, v->text);
        for (bool first = true; (e = sf_inner_next(&it, &inner)) == ERR_OK; first = false) {
            p += sprintf(p, "%s", first ? "" : " ");
            p = put_value(p, &inner);
        }
        cr_expect_eq(e, ERR_NOT_FOUND);
        p += sprintf(p, ")");
        break;
    }
    }
    sf_init(&it, v->params);
    err_t e;
    while ((e = sf_params_next(&it, &key, &inner)) == ERR_OK) {
        p += sprintf(p, ";%.*s=", SPAN_ARG(key));
        p = put_value(p, &inner);
    }
    cr_expect_eq(e, ERR_NOT_FOUND);
    return p;
}

typedef enum top { ITEM, LIST, DICTIONARY } top_t;

static const char *parsed(top_t top, span_t text)
{
    static char out[65536];
    sf_value_t v;
    sf_t it;
    span_t key;
    err_t e;
    char *p = out;
    *p = '\0';
    if (top == ITEM) {
        e = sf_item(text, &v);
        if (e == ERR_OK)
            put_value(p, &v);
        return e == ERR_OK ? out : "FAIL";
    }
    sf_init(&it, text);
    while ((e = top == LIST ? sf_list_next(&it, &v) : sf_dictionary_next(&it, &key, &v)) == ERR_OK) {
        p += sprintf(p, "%s", p > out ? ", " : "");
        if (top == DICTIONARY)
            p += sprintf(p, "%.*s=", SPAN_ARG(key));
        p = put_value(p, &v);
    }
    /* Asked again it says the same. */
    cr_expect_eq(top == LIST ? sf_list_next(&it, &v) : sf_dictionary_next(&it, &key, &v), e);
    return e == ERR_NOT_FOUND ? out : "FAIL";
}

typedef struct row {
    const char *in, *out;
} row_t;

static void expect_rows(top_t top, const row_t *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        cr_expect_str_eq(parsed(top, span_str(rows[i].in)), rows[i].out, "<%s>: %s", rows[i].in,
                         parsed(top, span_str(rows[i].in)));
}
#define EXPECT(top, rows) expect_rows(top, rows, sizeof rows / sizeof *rows)

Test(sf, numbers)
{
    static const row_t rows[] = {
        {"42", "i42"},
        {"-42", "i-42"},
        {"-0", "i0"},
        {"00", "i0"},
        {"0042", "i42"},
        {"999999999999999", "i999999999999999"},
        {"-999999999999999", "i-999999999999999"},
        {"1000000000000000", "FAIL"},
        {"1.5", "d1500"},
        {"-1.5", "d-1500"},
        {"4.567", "d4567"},
        {"0.001", "d1"},
        {"123456789012.1", "d123456789012100"},
        {"1234567890123.1", "FAIL"},
        {"1.2345", "FAIL"},
        {"1.", "FAIL"},
        {"1.a", "FAIL"},
        {".5", "FAIL"},
        {"-", "FAIL"},
        {"--1", "FAIL"},
        {"- 1", "FAIL"},
        {"+1", "FAIL"},
        {"1e5", "FAIL"},
        {"1 1", "FAIL"},
        {" 1 ", "i1"},
        {"\t1", "FAIL"},
        {"1\t", "FAIL"},
        {"", "FAIL"},
        {"  ", "FAIL"},
    };
    EXPECT(ITEM, rows);
}

Test(sf, strings_and_tokens)
{
    static const row_t rows[] = {
        {"\"\"", "s<>"},      {"\"a b\"", "s<a b>"}, {"\"a\\\"b\\\\\"", "s<a\"b\\>"},
        {"\"a\\b\"", "FAIL"}, {"\"a\\", "FAIL"},     {"\"a", "FAIL"},
        {"\"", "FAIL"},       {"\" !~\"", "s< !~>"}, {"\"\x1f\"", "FAIL"},
        {"\"a\tb\"", "FAIL"}, {"\"\x7f\"", "FAIL"},  {"\"\xc3\xa4\"", "FAIL"},
        {"'a'", "FAIL"},      {"a", "ta"},           {"*a", "t*a"},
        {"*", "t*"},          {"A/b:c", "tA/b:c"},   {"a!#$%&'*+-.^_`|~9", "ta!#$%&'*+-.^_`|~9"},
        {"a\"b\"", "FAIL"},   {"a,b", "FAIL"},       {"/a", "FAIL"},
        {"_a", "FAIL"},       {"a@", "FAIL"},
    };
    EXPECT(ITEM, rows);
}

Test(sf, bytes)
{
    static const row_t rows[] = {
        {":aGVsbG8=:", "b<68656c6c6f>"},
        {":aGVsbG8:", "b<68656c6c6f>"}, /* 4.2.7: padding may be missing */
        {":AAEC/+8=:", "b<000102ffef>"},
        {"::", "b<>"},
        {":iZ==:", "b<89>"}, /* bits that are left over are not looked at */
        {":a:", "FAIL"},
        {":aGVsbG8=", "FAIL"},
        {":aGVsbG8", "FAIL"},
        {":aGVsbG8=", "FAIL"},
        {":aGVsbG8==:", "FAIL"},
        {":aGVs====:", "FAIL"},
        {":=:", "FAIL"},
        {":aG=VsbG8:", "FAIL"},
        {":_-Ah:", "FAIL"}, /* not the URL alphabet */
        {":aGVs bG8=:", "FAIL"},
        {":", "FAIL"},
    };
    EXPECT(ITEM, rows);
}

Test(sf, booleans_dates_display_strings)
{
    static const row_t rows[] = {
        {"?1", "?1"},
        {"?0", "?0"},
        {"?2", "FAIL"},
        {"?", "FAIL"},
        {"?T", "FAIL"},
        {"?11", "FAIL"},
        {"@1659578233", "@1659578233"},
        {"@-1", "@-1"},
        {"@1.5", "FAIL"},
        {"@", "FAIL"},
        {"@x", "FAIL"},
        {"%\"This is %c3%bc.\"", "%<This is \xc3\xbc.>"},
        {"%\"\"", "%<>"},
        {"%\" ~%00\"", "%< ~>"},
        {"%\"\x7f\"", "FAIL"},
        {"%\"\x1f\"", "FAIL"},
        {"%\"a\\b\"", "%<a\\b>"}, /* no backslash escapes here */
        {"%\"%e2%82%ac%f0%9f%98%80\"", "%<\xe2\x82\xac\xf0\x9f\x98\x80>"},
        {"%\"%C3%BC\"", "FAIL"}, /* hex digits are lower case */
        {"%\"%c3\"", "FAIL"},
        {"%\"%c3x\"", "FAIL"},
        {"%\"%ed%a0%80\"", "FAIL"},
        {"%\"%c0%af\"", "FAIL"},
        {"%\"%ff\"", "FAIL"},
        {"%\"%8\"", "FAIL"},
        {"%\"%\"", "FAIL"},
        {"%\"a", "FAIL"},
        {"%a", "FAIL"},
        {"%", "FAIL"},
        {"%\"\xc3\xbc\"", "FAIL"},
    };
    EXPECT(ITEM, rows);
}

Test(sf, parameters)
{
    static const row_t rows[] = {
        {"a;b", "ta;b=?1"},
        {"a;b=1;c=\"x\"", "ta;b=i1;c=s<x>"},
        {"a; b=1;  *c=?0", "ta;b=i1;*c=?0"},
        {"a;b=1;b=2", "ta;b=i1;b=i2"},
        {"a;b-_.*9", "ta;b-_.*9=?1"},
        {"a ;b", "FAIL"},
        {"a;", "FAIL"},
        {"a;B", "FAIL"},
        {"a;9", "FAIL"},
        {"a;b=", "FAIL"},
        {"a;b= 1", "FAIL"},
        {"a;b =1", "FAIL"},
        {"a;b=(1)", "FAIL"},
        {"a;\tb", "FAIL"},
        {"(1)", "FAIL"}, /* an item is no list */
    };
    EXPECT(ITEM, rows);
    sf_value_t v, p;
    cr_assert_eq(sf_item(SPAN("a;b=1;c;b=2"), &v), ERR_OK);
    cr_assert(sf_param(&v, SPAN("b"), &p));
    cr_expect_eq(p.number, 2); /* the last counts */
    cr_assert(sf_param(&v, SPAN("c"), &p));
    cr_expect(p.type == SF_BOOLEAN && p.number == 1);
    cr_expect_not(sf_param(&v, SPAN("d"), &p));
}

Test(sf, lists)
{
    static const row_t rows[] = {
        {"", ""}, /* an empty field is an empty list: 4.2 */
        {"  ", ""},
        {"a", "ta"},
        {"a, b", "ta, tb"},
        {"a,b", "ta, tb"},
        {"a \t,\t b ", "ta, tb"},
        {"(a b);x, c", "(ta tb);x=?1, tc"},
        {"()", "()"},
        {"( )", "()"},
        {"( a  b )", "(ta tb)"},
        {"(a;x b;y=1);z", "(ta;x=?1 tb;y=i1);z=?1"},
        {"(\"a) b\" c)", "(s<a) b> tc)"},
        {"a,", "FAIL"},
        {"a, ", "FAIL"},
        {",a", "FAIL"},
        {"a,,b", "FAIL"},
        {"a b", "FAIL"},
        {"(a", "FAIL"},
        {"(a b", "FAIL"},
        {"(a,b)", "FAIL"},
        {"(a\tb)", "FAIL"},
        {"((a))", "FAIL"},
        {"(a)b", "FAIL"},
        {"(a\"b\")", "FAIL"},
        {")", "FAIL"},
        {"(", "FAIL"},
        {"\ta", "FAIL"},
        {"a\t", "ta"},
        {"a, &", "FAIL"},
    };
    EXPECT(LIST, rows);
}

Test(sf, dictionaries)
{
    static const row_t rows[] = {
        {"", ""},
        {"a=1, b", "a=i1, b=?1"},
        {"a;x=1, b=2;y", "a=?1;x=i1, b=i2;y=?1"},
        {"a=(1 2);x, *b=?0", "a=(i1 i2);x=?1, *b=?0"},
        {"a=1,a=2", "a=i1, a=i2"},
        {"a=\"x, b=2\"", "a=s<x, b=2>"},
        {"a=1,", "FAIL"},
        {"a=", "FAIL"},
        {"a= 1", "FAIL"},
        {"a =1", "FAIL"},
        {"A=1", "FAIL"},
        {"1=a", "FAIL"},
        {"=1", "FAIL"},
        {"a=1 b=2", "FAIL"},
        {"a=1;", "FAIL"},
        {"a=1,,b=2", "FAIL"},
        {"(a)=1", "FAIL"},
    };
    EXPECT(DICTIONARY, rows);
}

Test(sf, a_missing_field_is_empty)
{
    cr_expect_str_eq(parsed(LIST, SPAN_NONE), "");
    cr_expect_str_eq(parsed(DICTIONARY, SPAN_NONE), "");
    cr_expect_str_eq(parsed(ITEM, SPAN_NONE), "FAIL");
}

Test(sf, text_needs_the_arena_only_for_escapes)
{
    sf_value_t v;
    arena_t full;
    arena_init(&full, 1);
    cr_assert_eq(sf_item(SPAN("\"abc\""), &v), ERR_OK);
    cr_expect(span_eq(sf_text(&v, &full), SPAN("abc")));
    cr_assert_eq(sf_item(SPAN("\"a\\\\c\""), &v), ERR_OK);
    cr_expect_null(sf_text(&v, &full).p);
    cr_assert_eq(sf_item(SPAN("1"), &v), ERR_OK);
    cr_expect_null(sf_text(&v, &full).p);
    arena_release(&full);
}

Test(sf, write_name)
{
    static const row_t rows[] = {
        {"edge-1", "edge-1"},         {"*", "*"},   {"a/b:c", "a/b:c"},    {"1edge", "\"1edge\""}, {"a b", "\"a b\""},
        {"a\"b\\", "\"a\\\"b\\\\\""}, {"", "\"\""}, {"k\xc3\xb6ln", NULL}, {"a\n", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        span_t got = sf_write_name(&arena, span_str(rows[i].in));
        cr_expect_eq(got.p == NULL, rows[i].out == NULL, "%s", rows[i].in);
        if (rows[i].out == NULL)
            continue;
        cr_expect(span_eq(got, span_str(rows[i].out)), "%s: %.*s", rows[i].in, SPAN_ARG(got));
        sf_value_t v;
        cr_expect_eq(sf_item(got, &v), ERR_OK);
        cr_expect(span_eq(sf_text(&v, &arena), span_str(rows[i].in)), "%s", rows[i].in);
    }
}

/* Cut anywhere or damaged anywhere, it is parsed to an end within its bytes (the sanitizers look on). */
Test(sf, damage)
{
    span_t text = SPAN("a=(1 \"x\\\"y\" :aGk=: ?1);p=%\"%c3%bc\", b=tok;q=@5, c=-1.25, d");
    cr_expect_str_neq(parsed(DICTIONARY, text), "FAIL");
    for (size_t i = 0; i <= text.n; i++) {
        char *copy = malloc(i > 0 ? i : 1);
        memcpy(copy, text.p, i);
        parsed(DICTIONARY, span_of(copy, i));
        parsed(LIST, span_of(copy, i));
        free(copy);
    }
    for (size_t i = 0; i < text.n; i++)
        for (int c = 0; c < 256; c += 3) {
            char *copy = malloc(text.n);
            memcpy(copy, text.p, text.n);
            copy[i] = (char)c;
            parsed(DICTIONARY, span_of(copy, text.n));
            free(copy);
        }
}
