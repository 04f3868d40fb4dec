/* Selecting fields: what counts as the same request, and bytes from disk that make no sense. */
#include "edge/policy/vary.h"
#include "tests/unit/edge/policy/policy_test.h"

/* Does a response with this Vary, stored for `first`, answer `second`? */
static bool selects(const char *vary, const char *first, const char *second)
{
    arena_t a;
    arena_init(&a, 0);
    fields_t rs = head(&a, vary), one = head(&a, first), two = head(&a, second);
    span_t packed, other;
    bool match = vary_pack(&a, &rs, &one, &packed) == ERR_OK && vary_match(packed, &two, &a);
    if (vary_pack(&a, &rs, &two, &other) == ERR_OK && vary_pack(&a, &rs, &one, &packed) == ERR_OK) {
        cr_assert_eq(span_eq(packed, other), match, "packing and matching disagree on %s | %s", first, second);
        cr_assert_eq(vary_digest(packed) == vary_digest(other), match);
        cr_assert(vary_same_names(packed, other));
    }
    arena_release(&a);
    return match;
}

Test(vary, match)
{
    static const struct {
        const char *what, *vary, *first, *second;
        bool match;
    } rows[] = {
        {"no Vary", "", "foo: 1\n", "foo: 2\n", true},
        {"empty Vary", "vary: ,\nvary:\n", "foo: 1\n", "foo: 2\n", true},
        {"same", "vary: Foo\n", "foo: 1\n", "foo: 1\n", true},
        {"other value", "vary: Foo\n", "foo: 1\n", "foo: 2\n", false},
        {"absent in the second", "vary: Foo\n", "foo: 1\n", "", false},
        {"absent in the first", "vary: Foo\n", "", "foo: 1\n", false},
        {"absent in both", "vary: Foo\n", "bar: 1\n", "", true},
        {"empty is not absent", "vary: Foo\n", "foo:\n", "", false},
        {"one of two", "vary: Foo, Bar\n", "foo: 1\nbar: 1\n", "foo: 1\nbar: 2\n", false},
        {"two lines of Vary", "vary: Foo\nvary: Bar\n", "foo: 1\nbar: 1\n", "foo: 1\nbar: 2\n", false},
        {"not listed", "vary: Foo\n", "foo: 1\nbar: 1\n", "foo: 1\nbar: 2\n", true},
        {"white space around commas", "vary: foo\n", "foo: 1,2\n", "foo: 1 ,\t2\n", true},
        {"lines", "vary: foo\n", "foo: 1, 2\n", "foo: 1\nfoo: 2\n", true},
        {"empty members", "vary: foo\n", "foo: 1,,2,\n", "foo: 1\nfoo: 2\n", true},
        {"order of a list that we don't know", "vary: foo\n", "foo: 1, 2\n", "foo: 2, 1\n", false},
        {"case of a field that we don't know", "vary: foo\n", "foo: a\n", "foo: A\n", false},
        {"inside a quoted string", "vary: foo\n", "foo: \"a, b\"\n", "foo: \"a,b\"\n", false},
        {"escaped quotes", "vary: foo\n", "foo: \"a\\\", b\", c\n", "foo: \"a\\\", b\",c\n", true},
        {"an open quote", "vary: foo\n", "foo: \"a, b\\\n", "foo: \"a,b\\\n", false},
        {"a cookie is no list", "vary: cookie\n", "cookie: a=1, 2\n", "cookie: a=1,2\n", false},
        {"Accept-Language, order", "vary: accept-language\n", "accept-language: en, de\n", "accept-language: de,en\n",
         true},
        {"Accept-Language, case", "vary: accept-language\n", "accept-language: en, de\n", "accept-language: eN , De\n",
         true},
        {"Accept-Language, lines", "vary: accept-language\n", "accept-language: en, de\n",
         "accept-language: de\naccept-language: en\n", true},
        {"Accept-Language, weight", "vary: accept-language\n", "accept-language: en, de;q=0.5\n",
         "accept-language: en;q=0.5, de\n", false},
        {"weights written otherwise", "vary: accept-language\n", "accept-language: en;q=1, de;q=0.5\n",
         "accept-language: en ; Q=1.000, de; q=0.500\n", true},
        {"a weight of nothing", "vary: accept-encoding\n", "accept-encoding: gzip;q=0\n", "accept-encoding: gzip\n",
         false},
        {"Accept-Encoding, order", "vary: accept-encoding\n", "accept-encoding: gzip, br\n",
         "accept-encoding: br, gzip\n", true},
        {"8.4.1.3 x-gzip", "vary: accept-encoding\n", "accept-encoding: x-gzip, x-compress\n",
         "accept-encoding: compress, gzip\n", true},
        {"twice the same", "vary: accept-encoding\n", "accept-encoding: gzip, gzip\n", "accept-encoding: gzip\n", true},
        {"twice, weighed otherwise", "vary: accept-encoding\n", "accept-encoding: gzip, gzip;q=0.1\n",
         "accept-encoding: gzip\n", false},
        {"a prefix of the other", "vary: accept-encoding\n", "accept-encoding: br, brx\n", "accept-encoding: brx, br\n",
         true},
        {"no Accept-Encoding is not an empty one", "vary: accept-encoding\n", "accept-encoding:\n", "", false},
        {"unreadable weights keep their bytes", "vary: accept-encoding\n", "accept-encoding: gzip;q=2\n",
         "accept-encoding: gzip\n", false},
        {"unreadable never looks like readable", "vary: accept-encoding\n", "accept-encoding: gzip;500\n",
         "accept-encoding: gzip;q=0.5\n", false},
        {"q=1.5", "vary: accept-encoding\n", "accept-encoding: gzip;q=1.5\n", "accept-encoding: gzip;q=1\n", false},
        {"q=0.5000", "vary: accept-encoding\n", "accept-encoding: gzip;q=0.5000\n", "accept-encoding: gzip;q=0.5\n",
         false},
        {"q=", "vary: accept-encoding\n", "accept-encoding: gzip;q=\n", "accept-encoding: gzip;q=1\n", false},
        {"q=0x", "vary: accept-encoding\n", "accept-encoding: gzip;q=0x\n", "accept-encoding: gzip;q=0\n", false},
        {"q=0.x", "vary: accept-encoding\n", "accept-encoding: gzip;q=0.x\n", "accept-encoding: gzip;q=0\n", false},
        {"q=0./", "vary: accept-encoding\n", "accept-encoding: gzip;q=0./\n", "accept-encoding: gzip;q=0\n", false},
        {"another parameter", "vary: accept-encoding\n", "accept-encoding: gzip;p=1\n", "accept-encoding: gzip\n",
         false},
        {"no name", "vary: accept-encoding\n", "accept-encoding: ;q=1\n", "accept-encoding:\n", false},
        {"no token", "vary: accept-encoding\n", "accept-encoding: gzip br\n", "accept-encoding: br gzip\n", false},
        {"unreadable the same way", "vary: accept-encoding\n", "accept-encoding: gzip;x, br\n",
         "accept-encoding: gzip;x,br\n", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_expect_eq(selects(rows[i].vary, rows[i].first, rows[i].second), rows[i].match, "%s", rows[i].what);
}

/* A response in the language that a request prefers to all others answers it, whoever it was made for. */
Test(vary, language)
{
    static const struct {
        const char *what, *response, *first, *second;
        bool match;
    } rows[] = {
        {"preferred", "vary: accept-language\ncontent-language: de\n", "accept-language: en, de\n",
         "accept-language: fr;q=0.5, de;q=1.0\n", true},
        {"case", "vary: accept-language\ncontent-language: De\n", "accept-language: en\n", "accept-language: dE\n",
         true},
        {"a range of languages", "vary: accept-language\ncontent-language: de-AT\n", "accept-language: en\n",
         "accept-language: de\n", true},
        {"not the other way", "vary: accept-language\ncontent-language: de\n", "accept-language: en\n",
         "accept-language: de-AT\n", false},
        {"a prefix is no range", "vary: accept-language\ncontent-language: den\n", "accept-language: en\n",
         "accept-language: de\n", false},
        {"second best", "vary: accept-language\ncontent-language: de\n", "accept-language: en\n",
         "accept-language: fr, de;q=0.5\n", false},
        {"one of two best", "vary: accept-language\ncontent-language: de\n", "accept-language: en\n",
         "accept-language: fr, de\n", false},
        {"refused", "vary: accept-language\ncontent-language: de\n", "accept-language: en\n",
         "accept-language: de;q=0\n", false},
        {"nothing asked", "vary: accept-language\ncontent-language: de\n", "accept-language: en\n", "", false},
        {"unreadable", "vary: accept-language\ncontent-language: de\n", "accept-language: en\n",
         "accept-language: de;x\n", false},
        {"two languages", "vary: accept-language\ncontent-language: de, fr\n", "accept-language: en\n",
         "accept-language: de\n", false},
        {"on two lines", "vary: accept-language\ncontent-language: de\ncontent-language: fr\n", "accept-language: en\n",
         "accept-language: de\n", false},
        {"none named", "vary: accept-language\n", "accept-language: en\n", "accept-language: de\n", false},
        {"exactly the same", "vary: accept-language\ncontent-language: fr\n", "accept-language: en\n",
         "accept-language: en\n", true},
        {"another field differs", "vary: accept-language, foo\ncontent-language: de\n", "accept-language: en\nfoo: 1\n",
         "accept-language: de\nfoo: 2\n", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        arena_t a;
        arena_init(&a, 0);
        fields_t rs = head(&a, rows[i].response), one = head(&a, rows[i].first), two = head(&a, rows[i].second);
        fields_t plain = head(&a, rows[i].response);
        span_t packed, without;
        fields_remove(&plain, SPAN("content-language"));
        cr_assert_eq(vary_pack(&a, &rs, &one, &packed), ERR_OK);
        cr_assert_eq(vary_pack(&a, &plain, &one, &without), ERR_OK);
        cr_expect_eq(vary_match_language(packed, &two, &a), rows[i].match, "%s", rows[i].what);
        cr_expect(vary_match(packed, &one, &a) && vary_match_language(packed, &one, &a), "%s", rows[i].what);
        cr_expect_eq(vary_digest(packed), vary_digest(without), "%s: the language is no part of the identity",
                     rows[i].what);
        cr_expect(vary_same_names(packed, without), "%s", rows[i].what);
        arena_release(&a);
    }
}

static err_t pack(const char *vary, const char *request)
{
    arena_t a;
    arena_init(&a, 0);
    fields_t rs = head(&a, vary), rq = head(&a, request);
    span_t packed;
    err_t e = vary_pack(&a, &rs, &rq, &packed);
    arena_release(&a);
    return e;
}

/* RFC 9111 4.1: a member "*" always fails to match; so does what we can't keep. */
Test(vary, matches_nothing)
{
    cr_expect_eq(pack("vary: *\n", ""), ERR_RANGE);
    cr_expect_eq(pack("vary: *, *\n", ""), ERR_RANGE);
    cr_expect_eq(pack("vary: , *\n", ""), ERR_RANGE);
    cr_expect_eq(pack("vary: Foo, *\n", ""), ERR_RANGE);
    cr_expect_eq(pack("vary:\nvary: *\n", ""), ERR_RANGE);
    cr_expect_eq(pack("vary: no token\n", ""), ERR_RANGE);
    cr_expect_eq(pack("vary: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,a\n", ""), ERR_OK);
    cr_expect_eq(pack("vary: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q\n", ""), ERR_RANGE);
    char text[2 * VARY_MAX_BYTES] = "vary: ";
    memset(text + 6, 'x', 255);
    cr_expect_eq(pack(text, ""), ERR_OK);
    text[6 + 255] = 'x';
    cr_expect_eq(pack(text, ""), ERR_RANGE);
    memset(text, 0, sizeof text);
    strcpy(text, "foo: ");
    memset(text + 5, 'x', VARY_MAX_BYTES - 6);
    cr_expect_eq(pack("vary: foo\n", text), ERR_OK);
    text[5 + VARY_MAX_BYTES - 6] = 'x';
    cr_expect_eq(pack("vary: foo\n", text), ERR_RANGE);
}

Test(vary, names_count_once_in_any_order)
{
    arena_t a;
    arena_init(&a, 0);
    fields_t rq = head(&a, "foo: 1\nbar: 2\nbarn: 3\n");
    fields_t one = head(&a, "vary: Foo, BAR\nvary: barn\n"), two = head(&a, "vary: barn,foo,bar,Foo\n");
    fields_t three = head(&a, "vary: foo, bar\n"), none = head(&a, "");
    span_t p1, p2, p3, p0;
    cr_assert_eq(vary_pack(&a, &one, &rq, &p1), ERR_OK);
    cr_assert_eq(vary_pack(&a, &two, &rq, &p2), ERR_OK);
    cr_assert_eq(vary_pack(&a, &three, &rq, &p3), ERR_OK);
    cr_assert_eq(vary_pack(&a, &none, &rq, &p0), ERR_OK);
    cr_expect(span_eq(p1, p2));
    cr_expect(vary_same_names(p1, p2) && !vary_same_names(p1, p3) && !vary_same_names(p3, p1) &&
              !vary_same_names(p0, p1));
    cr_expect_eq(vary_digest(p1), vary_digest(p2));
    cr_expect_neq(vary_digest(p1), vary_digest(p3));
    cr_expect_eq(p0.n, 0);
    cr_expect_eq(vary_digest(p0), 0);
    cr_expect(vary_match(p0, &rq, &a));
    /* No request known: as one without fields. */
    cr_assert_eq(vary_pack(&a, &one, NULL, &p2), ERR_OK);
    cr_expect(vary_match(p2, &none, &a) && !vary_match(p2, &rq, &a));
    arena_release(&a);
}

Test(vary, malformed_bytes_select_nothing)
{
    static const struct {
        const char *bytes;
        size_t n;
    } rows[] = {
        {"\0\0\0", 3},        /* no name */
        {"\3f", 2},           /* cut */
        {"\3foo", 4},         /* no length */
        {"\3foo\0", 5},       /* half a length */
        {"\3foo\0\3x", 7},    /* the value is cut */
        {"\3foo\0\0\1", 7},   /* a good entry, then a bad one */
        {"\377foo\0\0", 6},   /* the name is cut */
        {"\3foo\377\377", 6}, /* the value is missing */
    };
    arena_t a;
    arena_init(&a, 0);
    fields_t rq = head(&a, "bar: 1\n");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        span_t packed = span_of(rows[i].bytes, rows[i].n);
        cr_expect(!vary_match(packed, &rq, &a), "row %zu", i);
        cr_expect(!vary_same_names(packed, packed), "row %zu", i);
        cr_expect_neq(vary_digest(packed), 0);
    }
    span_t one = span_of("\3foo\0\0", 6), two = span_of("\3foo\0\0\3goo\0\0", 12);
    cr_expect(!vary_same_names(one, two) && !vary_same_names(two, one));
    span_t good = span_of("\3foo\0\0", 6);
    cr_expect(vary_match(good, &rq, &a));
    cr_expect(vary_same_names(good, good) && !vary_same_names(good, span_of("\3foo", 4)));
    arena_release(&a);
}

/* When memory ends, nothing matches and nothing is packed: never a wrong match. */
Test(vary, full_arena)
{
    arena_t a;
    arena_init(&a, 0);
    fields_t rs = head(&a, "vary: foo, accept-encoding, cookie\n");
    fields_t rq = head(&a, "foo: 1\nfoo: 2\naccept-encoding: gzip, br\naccept-encoding: zstd\ncookie: a\ncookie: b\n");
    span_t packed, got;
    cr_assert_eq(vary_pack(&a, &rs, &rq, &packed), ERR_OK);
    bool fitted = false, matched = false;
    for (size_t bytes = 1; bytes < 1200; bytes++) {
        arena_t tight = small_arena(bytes);
        err_t e = vary_pack(&tight, &rs, &rq, &got);
        cr_assert(e == ERR_OK ? span_eq(got, packed) || !fitted : e == ERR_RANGE);
        fitted |= e == ERR_OK && span_eq(got, packed);
        arena_release(&tight);
        tight = small_arena(bytes);
        bool match = vary_match(packed, &rq, &tight);
        cr_assert(match || !matched, "%zu bytes are enough, more are not", bytes);
        matched |= match;
        arena_release(&tight);
    }
    cr_expect(fitted && matched);
    arena_release(&a);
}

/* Order and white space of a weighted list never matter; a changed member always does. */
Test(vary, weighted_lists_are_sets)
{
    static const char *const codings[] = {"gzip", "br", "zstd;q=0.9", "deflate;q=0.1", "identity;q=0", "*;q=0.5"};
    enum { N = sizeof codings / sizeof *codings };
    uint64_t seed = 7;
    for (int round = 0; round < 500; round++) {
        int order[N];
        char one[200] = "accept-encoding: ", two[200] = "accept-encoding: ", three[250];
        for (int i = 0; i < N; i++)
            order[i] = i;
        for (int i = N - 1; i > 0; i--) {
            int k = (int)(noise(&seed) % (uint64_t)(i + 1)), t = order[i];
            order[i] = order[k];
            order[k] = t;
        }
        for (int i = 0; i < N; i++) {
            strcat(one, i > 0 ? "," : "");
            strcat(one, codings[i]);
            strcat(two, i > 0 ? noise(&seed) % 2 ? " , " : ",\t" : "");
            strcat(two, codings[order[i]]);
        }
        snprintf(three, sizeof three, "%s, x%d\n", one, round);
        strcat(one, "\n");
        strcat(two, "\n");
        cr_assert(selects("vary: accept-encoding\n", one, two), "%s%s", one, two);
        cr_assert(!selects("vary: accept-encoding\n", one, three));
    }
}

Test(vary, told_field_by_field)
{
    arena_t a;
    arena_init(&a, 0);
    fields_t response = head(&a, "vary: X-Theme, accept-language, cookie\ncontent-language: de\n");
    fields_t request = head(&a, "accept-language: EN;q=0.5, de\nx-theme: dark ,b\n");
    fields_t other = head(&a, "accept-language: de, en;q=.5, en; q=0.50\nx-theme: light\n");
    span_t packed, entry, name, value;
    cr_assert_eq(vary_pack(&a, &response, &request, &packed), ERR_OK);
    static const struct {
        const char *name, *value;
    } rows[] = {{"accept-language", "de,en;500"}, {"cookie", NULL}, {"x-theme", "dark,b"}};
    span_t rest = packed;
    for (size_t i = 0; i < 3; i++) {
        cr_assert(vary_next(&rest, &entry, &name, &value));
        cr_expect(span_eq(name, span_str(rows[i].name)));
        cr_expect((value.p == NULL) == (rows[i].value == NULL) && span_eq(value, span_str(rows[i].value)), "%.*s",
                  SPAN_ARG(value));
        cr_expect(vary_match(entry, &request, &a));
        cr_expect_eq(vary_match(entry, &other, &a), i == 1, "%s", rows[i].name);
    }
    cr_expect(!vary_next(&rest, &entry, &name, &value));
    cr_expect(!vary_next(&(span_t){"\3x", 2}, &entry, &name, &value), "malformed");
    arena_release(&a);
}
