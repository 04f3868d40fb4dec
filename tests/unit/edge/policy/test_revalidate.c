/* Validation (RFC 9111 4.3): what is asked, what a 304 speaks of, and what it changes. */
#include "edge/policy/revalidate.h"
#include "tests/unit/edge/policy/policy_test.h"

#define LM "last-modified: Sat, 05 Nov 1994 08:49:37 GMT\n"
#define LM_850 "last-modified: Saturday, 05-Nov-94 08:49:37 GMT\n"
#define LM2 "last-modified: Sat, 05 Nov 1994 08:49:38 GMT\n"

/* "name: value\n…" again. */
static const char *shown(arena_t *a, const fields_t *f)
{
    span_t text = SPAN("");
    for (size_t i = 0; i < f->n; i++)
        text = arena_printf(a, "%.*s%.*s: %.*s\n", SPAN_ARG(text), SPAN_ARG(f->v[i].name), SPAN_ARG(f->v[i].value));
    return text.p;
}

Test(revalidate, conditions)
{
    static const struct {
        const char *section, *stored, *request;
    } rows[] = {
        {"4.3.1 both", "etag: \"a\"\n" LM, "if-none-match: \"a\"\nif-modified-since: Sat, 05 Nov 1994 08:49:37 GMT\n"},
        {"4.3.1 ETag alone", "etag: W/\"a\"\n", "if-none-match: W/\"a\"\n"},
        {"4.3.1 Last-Modified as it was written", LM_850, "if-modified-since: Saturday, 05-Nov-94 08:49:37 GMT\n"},
        {"no validator", DATE, ""},
        {"none that could be one", "etag: a\nlast-modified: lately\n", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        arena_t a;
        arena_init(&a, 0);
        fieldblock_t *b = block(&a, rows[i].stored);
        fields_t rq;
        fields_init(&rq, &a);
        cr_expect_eq(revalidate_add_validators(b, &rq, &a), rows[i].request[0] != '\0', "%s", rows[i].section);
        free(b); /* what was added is the request's own */
        cr_expect_str_eq(shown(&a, &rq), rows[i].request, "%s", rows[i].section);
        arena_release(&a);
    }
}

Test(revalidate, conditions_without_room)
{
    arena_t a, tight = small_arena(1);
    arena_init(&a, 0);
    fieldblock_t *b = block(&a, "etag: \"a\"\n" LM);
    fields_t none = {.v = NULL};
    cr_expect(!revalidate_add_validators(b, &none, &tight));
    cr_expect(!revalidate_add_validators(b, &none, &a));
    free(b);
    arena_release(&tight);
    arena_release(&a);
}

Test(revalidate, a_clients_own_conditions_go)
{
    arena_t a;
    arena_init(&a, 0);
    fields_t rq = head(&a, "host: h\nif-match: *\nif-none-match: \"a\"\nif-none-match: \"b\"\nif-modified-since: x\n"
                           "if-unmodified-since: x\nif-range: \"a\"\nrange: bytes=0-1\naccept: x\n");
    revalidate_strip_conditions(&rq);
    cr_expect_str_eq(shown(&a, &rq), "host: h\naccept: x\n");
    arena_release(&a);
}

Test(revalidate, selects)
{
    static const struct {
        const char *what, *stored, *not_modified;
        bool selects;
    } rows[] = {
        {"equal strong tags", "etag: \"a\"\n", "etag: \"a\"\n", true},
        {"other strong tags", "etag: \"a\"\n", "etag: \"b\"\n", false},
        {"a strong one doesn't select a weak one", "etag: W/\"a\"\n", "etag: \"a\"\n", false},
        {"a weak one corresponds to a strong one", "etag: \"a\"\n", "etag: W/\"a\"\n", true},
        {"equal weak tags", "etag: W/\"a\"\n", "etag: W/\"a\"\n", true},
        {"other weak tags", "etag: W/\"a\"\n", "etag: W/\"b\"\n", false},
        {"the tag decides", "etag: \"a\"\n" LM, "etag: \"a\"\n" LM2, true},
        {"the tag decides", "etag: \"a\"\n" LM, "etag: \"b\"\n" LM, false},
        {"equal dates", LM, LM, true},
        {"equal dates in other words", LM, LM_850, true},
        {"other dates", LM, LM2, false},
        {"a date where we have none", "etag: \"a\"\n", LM, false},
        {"a tag where we have none, equal dates", LM, "etag: \"a\"\n" LM, true},
        {"a tag where we have none", LM, "etag: \"a\"\n", false},
        {"a tag where ours is none", "etag: a\n" LM, "etag: \"a\"\n", false},
        {"no validator: it answers ours", "etag: \"a\"\n", DATE, true},
        {"a date that is none", LM, "last-modified: lately\n", true},
        {"a tag that is none", "etag: \"a\"\n", "etag: a\n", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        arena_t a;
        arena_init(&a, 0);
        fieldblock_t *b = block(&a, rows[i].stored);
        fields_t f = head(&a, rows[i].not_modified);
        cr_expect_eq(revalidate_selects(b, &f), rows[i].selects, "%s: %s / %s", rows[i].what, rows[i].stored,
                     rows[i].not_modified);
        free(b);
        arena_release(&a);
    }
}

Test(revalidate, merge)
{
    static const struct {
        const char *section, *stored, *not_modified, *merged;
    } rows[] = {
        {"3.2 new replaces", "x: 1\ny: 2\nx: 3\n", "x: 4\nx: 5\n", "y: 2\nx: 4\nx: 5\n"},
        {"3.2 new is added", "x: 1\n", "y: 2\n", "x: 1\ny: 2\n"},
        {"3.2 of the body", "content-length: 5\ncontent-type: a/b\ncontent-encoding: gzip\n",
         "content-length: 0\ncontent-type: c/d\ncontent-encoding: br\ncontent-range: bytes 0-1/2\ncontent-digest: x\n"
         "repr-digest: y\n",
         "content-length: 5\ncontent-type: a/b\ncontent-encoding: gzip\n"},
        {"3.2 other content fields are metadata", "content-foo: 1\ncontent-location: /a\n",
         "content-foo: 2\ncontent-location: /b\n", "content-foo: 2\ncontent-location: /b\n"},
        {"3.1 hop-by-hop", "x: 1\n", "connection: close, x\nkeep-alive: 5\ntransfer-encoding: chunked\nx: 2\ny: 3\n",
         "x: 1\ny: 3\n"},
        {"4.2.3 Date and Age of the first arrival go", "date: Sat, 05 Nov 1994 08:49:37 GMT\nage: 5\nx: 1\n", "",
         "x: 1\n"},
        {"4.2.3 Date and Age of the 304 count", "date: Sat, 05 Nov 1994 08:49:37 GMT\nage: 5\n", DATE "age: 7\n",
         DATE "age: 7\n"},
        {"3.2 freshness", "cache-control: max-age=1\nexpires: 0\n", "cache-control: max-age=9\n",
         "expires: 0\ncache-control: max-age=9\n"},
        {"8.8.3 the stored tag stays strong", "etag: \"a\"\n", "etag: W/\"a\"\n", "etag: \"a\"\n"},
        {"8.8.3 the same tag", "etag: \"a\"\n", "etag: \"a\"\n", "etag: \"a\"\n"},
        {"8.8.3 a tag where there was none", LM, LM "etag: \"a\"\n", LM "etag: \"a\"\n"},
        {"a cookie for one", "x: 1\n", "set-cookie: a=b\n", "x: 1\n"},
        {"a cookie for all", "set-cookie: a=b\nset-cookie: c=d\n", "set-cookie: a=c\n", "set-cookie: a=c\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        arena_t a;
        arena_init(&a, 0);
        fieldblock_t *b = block(&a, rows[i].stored);
        fields_t news = head(&a, rows[i].not_modified), merged;
        cr_assert_eq(revalidate_merge(b, &news, &a, &merged), ERR_OK);
        cr_expect_str_eq(shown(&a, &merged), rows[i].merged, "%s: %s", rows[i].section, shown(&a, &merged));
        cr_expect_str_eq(shown(&a, &news), rows[i].not_modified, "the 304 itself is left as it was");
        free(b);
        arena_release(&a);
    }
}

Test(revalidate, merge_ceilings)
{
    arena_t a;
    arena_init(&a, 0);
    fields_t many, extra;
    fields_init(&many, &a);
    fields_init(&extra, &a);
    for (int i = 0; i < FIELDS_MAX_COUNT; i++) {
        cr_assert_eq(fields_add(&many, arena_printf(&a, "a%d", i), SPAN("1")), ERR_OK);
        cr_assert_eq(fields_add(&extra, arena_printf(&a, "b%d", i), SPAN("1")), ERR_OK);
    }
    fieldblock_t *b = NULL;
    fields_t merged;
    cr_assert_eq(fieldblock_pack(&many, &b), ERR_OK);
    cr_expect_eq(revalidate_merge(b, &extra, &a, &merged), ERR_TOO_BIG);
    cr_expect_eq(revalidate_merge(b, &many, &a, &merged), ERR_OK);
    bool fitted = false;
    for (size_t bytes = 100; bytes < 32768; bytes += 100) {
        arena_t tight = small_arena(bytes);
        err_t e = revalidate_merge(b, &many, &tight, &merged);
        cr_assert(e == ERR_OK || (e == ERR_TOO_BIG && !fitted));
        fitted |= e == ERR_OK;
        arena_release(&tight);
    }
    cr_expect(fitted);
    fields_t few = head(&a, "x: 1\n");
    for (size_t bytes = 100; bytes < 32768; bytes += 100) {
        arena_t tight = small_arena(bytes);
        cr_assert_neq(revalidate_merge(b, &few, &tight, &merged), ERR_OK, "one line too many");
        arena_release(&tight);
    }
    free(b);
    arena_release(&a);
}

/* Whatever a 304 carries, what describes the stored bytes comes out as it went in. */
Test(revalidate, merge_never_touches_the_body)
{
    static const char *const names[] = {"content-length",
                                        "content-encoding",
                                        "content-type",
                                        "content-range",
                                        "content-digest",
                                        "etag",
                                        "x-a",
                                        "cache-control",
                                        "date",
                                        "set-cookie"};
    enum { N = sizeof names / sizeof *names, BODY = 5 };
    uint64_t seed = 3;
    for (int round = 0; round < 1000; round++) {
        arena_t a;
        arena_init(&a, 0);
        char stored[600] = "x: 1\n", not_modified[600] = "";
        for (uint64_t i = noise(&seed) % 8; i > 0; i--)
            sprintf(stored + strlen(stored), "%s: s%d\n", names[noise(&seed) % N], (int)i);
        for (uint64_t i = noise(&seed) % 8; i > 0; i--)
            sprintf(not_modified + strlen(not_modified), "%s: n%d\n", names[noise(&seed) % N], (int)i);
        fieldblock_t *b = block(&a, stored);
        fields_t before = head(&a, stored), news = head(&a, not_modified), merged;
        cr_assert_eq(revalidate_merge(b, &news, &a, &merged), ERR_OK);
        for (int i = 0; i < BODY; i++) {
            span_t old = fields_join(&before, span_str(names[i]), &a),
                   now = fields_join(&merged, span_str(names[i]), &a);
            cr_assert(span_eq(old, now) && (old.p == NULL) == (now.p == NULL), "%s\n%s\n%s", names[i], stored,
                      not_modified);
        }
        /* And merging the same 304 again changes nothing more. */
        fieldblock_t *once = NULL;
        fields_t twice;
        cr_assert_eq(fieldblock_pack(&merged, &once), ERR_OK);
        cr_assert_eq(revalidate_merge(once, &news, &a, &twice), ERR_OK);
        cr_assert_eq(twice.n, merged.n - (fields_count(&merged, SPAN("date")) - fields_count(&news, SPAN("date"))));
        free(b);
        free(once);
        arena_release(&a);
    }
}

Test(revalidate, strong)
{
    static const struct {
        const char *section, *stored, *validator, *other;
        bool same;
    } rows[] = {
        {"8.8.3.2 strong", "etag: \"a\"\n" LM, "\"a\"", "etag: \"a\"\n", true},
        {"8.8.3.2 another", "etag: \"a\"\n", "\"a\"", "etag: \"b\"\n", false},
        {"8.8.3.2 weak", "etag: \"a\"\n", "\"a\"", "etag: W/\"a\"\n", false},
        {"8.8.3.2 both weak", "etag: W/\"a\"\n" LM DATE, NULL, "etag: W/\"a\"\n" LM, false},
        {"two", "etag: \"a\"\n", "\"a\"", "etag: \"a\"\netag: \"a\"\n", false},
        {"none", "etag: \"a\"\n", "\"a\"", LM, false},
        {"8.8.2.2 a second before", LM "date: Sat, 05 Nov 1994 08:49:38 GMT\n", "Sat, 05 Nov 1994 08:49:37 GMT", LM,
         true},
        {"8.8.2.2 the same second", LM "date: Sat, 05 Nov 1994 08:49:37 GMT\n", NULL, LM, false},
        {"8.8.2.2 no clock", LM, NULL, LM, false},
        {"8.8.2.2 another", LM "date: Sat, 05 Nov 1994 08:49:39 GMT\n", "Sat, 05 Nov 1994 08:49:37 GMT", LM2, false},
        {"a tag that came later", LM "date: Sat, 05 Nov 1994 08:49:38 GMT\n", "Sat, 05 Nov 1994 08:49:37 GMT",
         LM "etag: \"a\"\n", false},
        {"no tag", "etag: a\n" LM "date: Sat, 05 Nov 1994 08:49:38 GMT\n", NULL, LM, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        arena_t a;
        arena_init(&a, 0);
        fieldblock_t *b = block(&a, rows[i].stored);
        fields_t other = head(&a, rows[i].other);
        span_t v = revalidate_strong(b);
        cr_expect(rows[i].validator == NULL ? v.p == NULL : v.p != NULL && span_eq(v, span_str(rows[i].validator)),
                  "%s", rows[i].section);
        cr_expect_eq(revalidate_same_bytes(b, &other), rows[i].same, "%s", rows[i].section);
        free(b);
        arena_release(&a);
    }
}
