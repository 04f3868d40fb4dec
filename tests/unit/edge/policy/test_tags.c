/* Tags: how they are listed, how many there may be, and that groups stay within their origin. */
#include "edge/policy/tags.h"
#include "tests/unit/edge/policy/policy_test.h"

static bool has(const digest_t *v, size_t n, digest_t d)
{
    for (size_t i = 0; i < n; i++)
        if (hash_eq(v[i], d))
            return true;
    return false;
}

Test(tags, how_they_are_listed)
{
    static const struct {
        const char *response, *tags[5];
    } rows[] = {
        {"", {NULL}},
        {"surrogate-key: a b\n", {"a", "b"}},
        {"surrogate-key: a  \t b,c\n", {"a", "b,c"}},
        {"cache-tag: a, b c ,,d\n", {"a", "b c", "d"}},
        {"cache-tag: a\ncache-tag: b\nsurrogate-key: b c\n", {"a", "b", "c"}},
        {"cache-groups: \"a\", \"b c\";x=1\n", {"a", "b c"}},
        {"cache-groups: \"a\"\ncache-groups: \"b\\\"\"\n", {"a", "b\""}},
        {"cache-groups: \"a\", token, 1, \"b\"\n", {"a", "b"}},
        {"cache-groups: \"a\", broken,,\ncache-tag: t\n", {"t"}},
        {"cache-groups: \"\"\n", {NULL}},
        {"cache-tag: A, a\n", {"A", "a"}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        arena_t a;
        arena_init(&a, 0);
        fields_t f = head(&a, rows[i].response);
        digest_t *v;
        size_t n, expected = 0;
        cr_assert_eq(tags_collect(&f, &a, &v, &n), ERR_OK, "%s", rows[i].response);
        for (; expected < 5 && rows[i].tags[expected] != NULL; expected++)
            cr_expect(has(v, n, tags_digest(span_str(rows[i].tags[expected]))), "%s: %s", rows[i].response,
                      rows[i].tags[expected]);
        cr_expect_eq(n, expected, "%s: %zu tags", rows[i].response, n);
        arena_release(&a);
    }
}

static err_t many(size_t from, size_t to, size_t repeat, size_t *n)
{
    arena_t a;
    arena_init(&a, 0);
    char *text = arena_alloc(&a, (to - from) * repeat * 8 + 100), *p = text;
    p += sprintf(p, "surrogate-key:");
    for (size_t r = 0; r < repeat; r++)
        for (size_t i = from; i < to; i++)
            p += sprintf(p, " t%zu", i);
    fields_t f = head(&a, text);
    digest_t *v;
    err_t e = tags_collect(&f, &a, &v, n);
    arena_release(&a);
    return e;
}

Test(tags, ceilings)
{
    size_t n;
    cr_expect_eq(many(0, TAGS_MAX, 1, &n), ERR_OK);
    cr_expect_eq(n, TAGS_MAX);
    cr_expect_eq(many(0, TAGS_MAX + 1, 1, &n), ERR_TOO_BIG);
    cr_expect_eq(many(0, 5 * TAGS_MAX, 1, &n), ERR_TOO_BIG);
    cr_expect_eq(many(0, TAGS_MAX, 9, &n), ERR_OK, "repetitions are free");
    cr_expect_eq(n, TAGS_MAX);

    arena_t a;
    arena_init(&a, 0);
    static const char *const lines[] = {"cache-tag: ", "surrogate-key: ", "cache-groups: \""};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        for (size_t over = 0; over < 2; over++) {
            char text[TAG_MAX_BYTES + 50];
            digest_t *v;
            size_t at = (size_t)sprintf(text, "%s", lines[i]);
            memset(text + at, 'x', TAG_MAX_BYTES + over);
            strcpy(text + at + TAG_MAX_BYTES + over, i == 2 ? "\"\n" : "\n");
            fields_t f = head(&a, text);
            cr_expect_eq(tags_collect(&f, &a, &v, &n), over ? ERR_TOO_BIG : ERR_OK, "%s %zu", lines[i], over);
            cr_expect_eq(tags_collect_scoped(&f, SPAN("http"), SPAN("h"), &a, &v, &n), over ? ERR_TOO_BIG : ERR_OK);
        }
    arena_release(&a);
}

/* The ceiling is that of names: a response of as many groups as there may be tags is stored. */
Test(tags, every_group_may_be_kept_twice)
{
    arena_t a;
    arena_init(&a, 0);
    char *text = arena_alloc(&a, TAGS_MAX * 16), *p = text + sprintf(text, "cache-groups: \"g0\"");
    for (int i = 1; i < TAGS_MAX; i++)
        p += sprintf(p, ", \"g%d\"", i);
    fields_t f = head(&a, text);
    digest_t *v;
    size_t n;
    cr_expect_eq(tags_collect(&f, &a, &v, &n), ERR_OK);
    cr_expect_eq(n, TAGS_MAX);
    cr_expect_eq(tags_collect_scoped(&f, SPAN("http"), SPAN("h"), &a, &v, &n), ERR_OK);
    cr_expect_eq(n, TAGS_MAX_SCOPED);
    arena_release(&a);
}

/* RFC 9875 2.1: a group is shared by responses of one origin only. */
Test(tags, groups_belong_to_their_origin)
{
    arena_t a;
    arena_init(&a, 0);
    fields_t f = head(&a, "cache-groups: \"scripts\"\ncache-tag: t\n");
    digest_t *v;
    size_t n;
    cr_assert_eq(tags_collect_scoped(&f, SPAN("https"), SPAN("a.example"), &a, &v, &n), ERR_OK);
    cr_expect_eq(n, 3);
    cr_expect(has(v, n, tags_digest(SPAN("t"))) && has(v, n, tags_digest(SPAN("scripts"))));
    cr_expect(has(v, n, tags_group_digest(SPAN("https"), SPAN("a.example"), SPAN("scripts"))));
    cr_expect(!has(v, n, tags_group_digest(SPAN("http"), SPAN("a.example"), SPAN("scripts"))));
    cr_expect(!has(v, n, tags_group_digest(SPAN("https"), SPAN("b.example"), SPAN("scripts"))));
    cr_expect(!has(v, n, tags_group_digest(SPAN("https"), SPAN("a.example"), SPAN("Scripts"))));

    fields_t order = head(&a, "cache-group-invalidation: \"scripts\", \"styles\", \"\"\ncache-groups: \"x\"\n");
    digest_t *gone;
    cr_assert_eq(tags_groups_invalidated(&order, SPAN("https"), SPAN("a.example"), &a, &gone, &n), ERR_OK);
    cr_expect_eq(n, 3, "a group may have an empty name");
    cr_expect(has(gone, n, tags_group_digest(SPAN("https"), SPAN("a.example"), SPAN("scripts"))));
    fields_t none = head(&a, "cache-group-invalidation: \"scripts\n");
    cr_assert_eq(tags_groups_invalidated(&none, SPAN("https"), SPAN("a.example"), &a, &gone, &n), ERR_OK);
    cr_expect_eq(n, 0);
    char text[TAG_MAX_BYTES + 50] = "cache-group-invalidation: \"";
    size_t at = strlen(text);
    memset(text + at, 'x', TAG_MAX_BYTES + 1);
    strcpy(text + at + TAG_MAX_BYTES + 1, "\"\n");
    fields_t long_name = head(&a, text);
    cr_expect_eq(tags_groups_invalidated(&long_name, SPAN("https"), SPAN("a.example"), &a, &gone, &n), ERR_TOO_BIG);
    arena_release(&a);
}

/* A response whose tags don't fit into memory must not be taken for one without tags. */
Test(tags, full_arena)
{
    arena_t a;
    arena_init(&a, 0);
    fields_t f = head(&a, "cache-groups: \"a\\\"\"\ncache-groups: \"b\", \"c\", \"d\", \"e\"\nsurrogate-key: 1 2 3 4 5 "
                          "6 7 8 9 a b c d e f g h\n");
    fields_t g = head(&a, "cache-group-invalidation: \"a\\\"\"\ncache-group-invalidation: \"b\"\n");
    bool fitted = false;
    for (size_t bytes = 1; bytes < 2000; bytes++) {
        digest_t *v;
        size_t n;
        arena_t tight = small_arena(bytes);
        err_t e = tags_collect(&f, &tight, &v, &n);
        cr_assert(e == ERR_TOO_BIG ? !fitted : n == 18, "%zu bytes: %zu", bytes, n);
        fitted |= e == ERR_OK;
        arena_release(&tight);
        tight = small_arena(bytes);
        e = tags_groups_invalidated(&g, SPAN("http"), SPAN("h"), &tight, &v, &n);
        cr_assert(e == ERR_TOO_BIG || n == 2);
        arena_release(&tight);
    }
    cr_expect(fitted);
    arena_release(&a);
}
