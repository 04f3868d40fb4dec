/* RFC 9111 5.2, 4.2.1; RFC 5861; RFC 8246; RFC 9213. */
#include <stdio.h>
#include <stdlib.h>

#include <criterion/criterion.h>

#include "edge/http/cache_control.h"

#define BIG "2147483648"

/* What was understood, in a fixed order: "no-store max-age=5 private(a,b)". */
static const char *print(const cache_control_t *cc)
{
    static char text[2048];
    static const char *flags[] = {
        "no-store",         "no-cache",        NULL,     NULL,           NULL,        "must-revalidate",
        "proxy-revalidate", "must-understand", "public", "no-transform", "immutable", "only-if-cached",
        "max-stale"};
    const struct {
        const char *name;
        int64_t v;
    } seconds[] = {{"max-age", cc->max_age},    {"s-maxage", cc->s_maxage},   {"swr", cc->stale_while_revalidate},
                   {"sie", cc->stale_if_error}, {"min-fresh", cc->min_fresh}, {"max-stale", cc->max_stale}};
    char *p = text;
    *p = '\0';
    for (unsigned i = 0; i < 13; i++)
        if (flags[i] != NULL && cc->flags & 1u << i)
            p += sprintf(p, " %s", flags[i]);
    if (cc->flags & CACHE_CONTROL_PRIVATE)
        p += sprintf(p, " private");
    for (int i = 0; i < 6; i++)
        if (seconds[i].v != CACHE_CONTROL_ABSENT)
            p += sprintf(p, " %s=%lld", seconds[i].name, (long long)seconds[i].v);
    if (cc->flags & CACHE_CONTROL_NO_CACHE_FIELDS)
        for (size_t i = 0; i < cc->no_cache_names_n; i++)
            p += sprintf(p, "%s%.*s", i > 0 ? "," : " no-cache:", SPAN_ARG(cc->no_cache_names[i]));
    if (cc->flags & CACHE_CONTROL_PRIVATE_FIELDS)
        for (size_t i = 0; i < cc->private_names_n; i++)
            p += sprintf(p, "%s%.*s", i > 0 ? "," : " private:", SPAN_ARG(cc->private_names[i]));
    cr_expect_eq((cc->flags & CACHE_CONTROL_NO_CACHE_FIELDS) != 0, cc->no_cache_names_n > 0);
    cr_expect_eq((cc->flags & CACHE_CONTROL_PRIVATE_FIELDS) != 0, cc->private_names_n > 0);
    return text[0] == ' ' ? text + 1 : text;
}

/* Lines are separated by '|'. */
static fields_t lines_of(const char *text, field_t *array, size_t cap)
{
    fields_t f = {.v = array, .cap = cap};
    for (span_t s = span_str(text);;) {
        size_t end = span_find(s, '|');
        cr_assert_eq(fields_add(&f, SPAN("cc"), span_upto(s, end)), ERR_OK);
        if (end == s.n)
            return f;
        s = span_from(s, end + 1);
    }
}

static const char *parsed(const char *text)
{
    field_t array[8];
    fields_t f = lines_of(text, array, 8);
    cache_control_t cc;
    cr_expect(cache_control_parse(&cc, &f, SPAN("cc")));
    return print(&cc);
}

typedef struct row {
    const char *in, *out;
} row_t;

static void expect_rows(const row_t *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        cr_expect_str_eq(parsed(rows[i].in), rows[i].out, "%s: %s", rows[i].in, parsed(rows[i].in));
}
#define EXPECT(rows) expect_rows(rows, sizeof rows / sizeof *rows)

Test(cache_control, directives)
{
    static const row_t rows[] = {
        {"", ""},
        {"max-age=60", "max-age=60"},
        {"MAX-AGE=60, No-Store", "no-store max-age=60"}, /* 5.2: names compare without case */
        {"max-age=\"60\"", "max-age=60"},                /* token or quoted-string */
        {"s-maxage=1,max-age=2", "max-age=2 s-maxage=1"},
        {"public, must-revalidate, proxy-revalidate, no-transform, immutable, must-understand",
         "must-revalidate proxy-revalidate must-understand public no-transform immutable"},
        {"stale-while-revalidate=5, stale-if-error=6", "swr=5 sie=6"},
        {"no-cache, private", "no-cache private"},
        {"no-cache=\"a, B\", private=\"set-cookie\"", "no-cache:a,B private:set-cookie"}, /* 5.2.2.4, 5.2.2.7 */
        {"private=x-a", "private:x-a"},                            /* token form: to be understood all the same */
        {"only-if-cached, max-stale", "only-if-cached max-stale"}, /* 5.2.1 */
        {"max-stale=5, min-fresh=6", "min-fresh=6 max-stale=5"},
        {"community=\"UCI\", x=1, y, max-age=3", "max-age=3"}, /* 5.2.3: extensions */
        {"x=\"a, no-store, b\", max-age=3", "max-age=3"},      /* a comma within quotes separates nothing */
        {"x=\"a\\\", no-store\", max-age=3", "max-age=3"},
        {" ,, max-age=3 ,\t, no-store ,", "no-store max-age=3"},             /* RFC 9110 5.6.1 */
        {"max-age=1|no-store||s-maxage=2", "no-store max-age=1 s-maxage=2"}, /* several lines */
        {"max-agex=5, xmax-age=6", ""},
    };
    EXPECT(rows);
}

Test(cache_control, seconds)
{
    static const row_t rows[] = {
        {"max-age=0", "max-age=0"},
        {"max-age=007", "max-age=7"},
        {"max-age=2147483647", "max-age=2147483647"}, /* 1.2.2: 2^31 is the most */
        {"max-age=2147483648", "max-age=" BIG},
        {"max-age=2147483649", "max-age=" BIG},
        {"max-age=99999999999999999999999999999999", "max-age=" BIG},
        {"max-age=00000000000000000000000000000001", "max-age=1"},
        {"max-age", "max-age=0"}, /* 4.2.1: invalid freshness information is stale */
        {"max-age=", "max-age=0"},
        {"max-age=\"\"", "max-age=0"},
        {"max-age=-1", "max-age=0"},
        {"max-age=+1", "max-age=0"},
        {"max-age=1.5", "max-age=0"},
        {"max-age=1e3", "max-age=0"},
        {"max-age=60s", "max-age=0"},
        {"max-age=a60", "max-age=0"},
        {"max-age='60'", "max-age=0"},
        {"max-age=\"6\\0\"", "max-age=0"},
        {"max-age= 60", "max-age=0"},
        {"max-age =60", "max-age=0"},
        {"max-age=60 x", "max-age=0"},
        {"max-age=60;no-store", "max-age=0"},
        {"s-maxage=x, max-age=60", "max-age=60 s-maxage=0"},
        {"stale-while-revalidate=x, stale-if-error", "swr=0 sie=0"},
        {"min-fresh=x, max-stale=x", "min-fresh=" BIG " max-stale=0"},
    };
    EXPECT(rows);
}

/* The most restrictive reading of what contradicts itself: 4.2.1. */
Test(cache_control, conflicts)
{
    static const row_t rows[] = {
        {"max-age=60, max-age=30", "max-age=30"},
        {"max-age=30|max-age=60", "max-age=30"},
        {"max-age=60, max-age=x", "max-age=0"},
        {"min-fresh=1, min-fresh=5", "min-fresh=5"},
        {"max-stale=5, max-stale=1", "max-stale=1"},
        {"max-stale, max-stale=5", "max-stale=5"},
        {"max-stale=5, max-stale", "max-stale=5"},
        {"no-cache, no-cache=\"a\"", "no-cache"},
        {"no-cache=\"a\", no-cache", "no-cache"},
        {"private=\"a\"|private=\"b\"", "private:a,b"},
        {"private=\"\"", "private"},
        {"private=\",\"", "private"},
        {"private=\"a b\"", "private"},
        {"private=\"a, b c\"", "private"},
        {"private=\"a\\b\"", "private"},
        {"private=", "private"},
        {"private=\"a\" x", "private"},
        {"private=\"a\", private=\"\"", "private"},
        {"private=\"1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16\"", "private:1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16"},
        {"private=\"1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17\"", "private"},
        {"no-store=x", "no-store"},
        {"no-store x", "no-store"},
        {"public=x", ""},
        {"public x, immutable;", ""},
    };
    EXPECT(rows);
}

/* A quote that is never closed: what restricts counts, what permits doesn't. */
Test(cache_control, open_quotes)
{
    static const row_t rows[] = {
        {"private=\"x, no-store", "no-store private"},
        {"x=\"y, max-age=60, public, no-store", "no-store max-age=0"},
        {"max-age=\"60", "max-age=0"},
        {"max-age=60, x \"y, no-store, public", "no-store max-age=60"},
        {"max-age=60, \"", "max-age=60"},
        {"x=\"\\", ""},
        {"\"no-store\", max-age=1", "max-age=1"},
        {"x=\"a|max-age=5", "max-age=5"}, /* a line ends it */
    };
    EXPECT(rows);
}

Test(cache_control, absent)
{
    fields_t f = {0};
    cache_control_t cc;
    cr_expect_not(cache_control_parse(&cc, &f, SPAN("cc")));
    cr_expect_str_eq(print(&cc), "");
    cr_expect_eq(cc.max_age, CACHE_CONTROL_ABSENT);
}

Test(cache_control, lists)
{
    span_t names[] = {SPAN("Set-Cookie"), SPAN("x-a")};
    cr_expect(cache_control_lists(names, 2, SPAN("set-cookie")));
    cr_expect(cache_control_lists(names, 2, SPAN("x-a")));
    cr_expect_not(cache_control_lists(names, 1, SPAN("x-a")));
    cr_expect_not(cache_control_lists(names, 2, SPAN("x")));
}

/* RFC 9213 2.1; NULL: the field doesn't count. */
Test(cache_control, targeted)
{
    static const row_t rows[] = {
        {"max-age=60", "max-age=60"},
        {"max-age=60, no-store", "no-store max-age=60"},
        {"max-age=60;x=1, s-maxage=5;y", "max-age=60 s-maxage=5"}, /* parameters are ignored */
        {"max-age=0, s-maxage=0", "max-age=0 s-maxage=0"},
        {"max-age=1, max-age=60", "max-age=60"}, /* the last of a key counts */
        {"max-age=x, max-age=60", "max-age=60"},
        {"max-age=60|stale-if-error=5", "max-age=60 sie=5"},
        {"private=\"a,b\"", "private:a,b"},
        {"private=\"\"", "private"},
        {"no-cache", "no-cache"},
        {"no-cache=?1", "no-cache"},
        {"unknown=(1 2);a, max-age=7", "max-age=7"},
        {"unknown", ""},
        {"max-age=999999999999999", "max-age=" BIG},
        {"max-stale=x, min-fresh=(), only-if-cached=1", ""}, /* requests' directives mean nothing here */
        {"", NULL},
        {" ", NULL},
        {"max-age=60, &&&&&", NULL},
        {"max-age=\"60\"", NULL},
        {"max-age=60.0", NULL},
        {"max-age=-1", NULL},
        {"max-age", NULL},
        {"max-age=(60)", NULL},
        {"no-store=?0, max-age=60", NULL},
        {"no-store=1", NULL},
        {"private=a", NULL},
        {"no-cache=()", NULL},
        {"public=\"x\"", NULL},
        {"Max-Age=60", NULL}, /* keys are lower case: RFC 9651 3.1.2 */
        {"max-age=60,", NULL},
        {"max-age=60,|no-store", NULL},
        {"max-age=60, max-age=x", NULL},
        {"max-age=9999999999999999", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        arena_t arena;
        field_t array[8];
        fields_t f = lines_of(rows[i].in, array, 8);
        cache_control_t cc;
        arena_init(&arena, 0);
        cache_control_targeted_t got = cache_control_parse_targeted(&cc, &f, SPAN("cc"), &arena);
        cr_expect_eq(got, rows[i].out != NULL ? CACHE_CONTROL_TARGETED_VALID : CACHE_CONTROL_TARGETED_NONE, "%s",
                     rows[i].in);
        cr_expect_str_eq(print(&cc), rows[i].out != NULL ? rows[i].out : "", "%s: %s", rows[i].in, print(&cc));
        arena_release(&arena);
    }
    fields_t none = {0};
    cache_control_t cc;
    arena_t arena;
    arena_init(&arena, 0);
    cr_expect_eq(cache_control_parse_targeted(&cc, &none, SPAN("cc"), &arena), CACHE_CONTROL_TARGETED_NONE);
}

/* Adding a line never makes an answer more permissive, whatever it says. */
Test(cache_control, more_lines_never_permit_more_freshness)
{
    static const char *pieces[] = {"max-age=", "5", "60", "\"",        ",",        " ",  "no-store",
                                   "private",  "=", "x",  "s-maxage=", "no-cache", "\\", "a"};
    static const uint32_t restricts = CACHE_CONTROL_NO_STORE | CACHE_CONTROL_NO_CACHE | CACHE_CONTROL_PRIVATE;
    unsigned short seed[3] = {9, 1, 11};
    for (int round = 0; round < 50000; round++) {
        char text[2][256] = {"", ""};
        cache_control_t one, both;
        for (int line = 0; line < 2; line++)
            for (int i = (int)(erand48(seed) * 14); i > 0; i--)
                strcat(text[line], pieces[(size_t)(erand48(seed) * (sizeof pieces / sizeof *pieces))]);
        cache_control_init(&one);
        cache_control_add(&one, span_str(text[0]));
        both = one;
        cache_control_add(&both, span_str(text[1]));
        cr_assert_eq(one.flags & restricts & ~both.flags, 0, "%s | %s", text[0], text[1]);
        cr_assert(one.max_age == CACHE_CONTROL_ABSENT || (both.max_age >= 0 && both.max_age <= one.max_age), "%s | %s",
                  text[0], text[1]);
        cr_assert(one.s_maxage == CACHE_CONTROL_ABSENT || (both.s_maxage >= 0 && both.s_maxage <= one.s_maxage));
    }
}
