#include <criterion/criterion.h>
#include <stdlib.h>
#include <time.h>

#include "edge/conf/glob.h"

static bool match(const char *pattern, const char *path)
{
    arena_t a;
    glob_t g;
    const char *why;
    arena_init(&a, 0);
    err_t e = glob_compile(&a, span_str(pattern), &g, &why);
    cr_assert_eq(e, ERR_OK, "%s: %s", pattern, why);
    bool m = glob_match(&g, span_str(path));
    arena_release(&a);
    return m;
}

static const char *refused(const char *pattern)
{
    static arena_t a;
    glob_t g;
    const char *why;
    return glob_compile(&a, span_str(pattern), &g, &why) == ERR_OK ? NULL : why;
}

Test(glob, exact)
{
    cr_assert(match("/", "/"));
    cr_assert(match("/a/b", "/a/b"));
    cr_assert_not(match("/a/b", "/a/b/"));
    cr_assert_not(match("/a/b", "/a"));
    cr_assert_not(match("/a/b", "/A/b"));
}

Test(glob, a_star_stays_in_its_segment)
{
    cr_assert(match("/a/*.css", "/a/x.css"));
    cr_assert(match("/a/*.css", "/a/.css"));
    cr_assert_not(match("/a/*.css", "/a/b/x.css"));
    cr_assert_not(match("/a/*.css", "/a/x.css.map"));
    cr_assert(match("/a/*.css", "/a/x.css.css"));
    cr_assert(match("/*/b/*", "/x/b/"));
    cr_assert_not(match("/*/b/*", "/x/y/b/z"));
    cr_assert(match("/*", "/"));
    cr_assert_not(match("/*", "/a/"));
    cr_assert(match("/*a*b*", "/xxaxxbxx"));
    cr_assert_not(match("/*a*b*", "/xxbxxa"));
}

Test(glob, two_stars_cross_segments)
{
    cr_assert(match("/a/**", "/a/"));
    cr_assert(match("/a/**", "/a/b"));
    cr_assert(match("/a/**", "/a/b/c/"));
    cr_assert_not(match("/a/**", "/a"));
    cr_assert_not(match("/a/**", "/ab/c"));
    cr_assert(match("/**", "/"));
    cr_assert(match("**", "/anything/at/all"));
    cr_assert(match("/**/*.jpg", "/x.jpg"));
    cr_assert(match("/**/*.jpg", "/a/b/x.jpg"));
    cr_assert_not(match("/**/*.jpg", "/a/b/x.jpg/y"));
    cr_assert(match("/**.jpg", "/a/b/x.jpg"));
    cr_assert(match("**/x", "/x"));
    cr_assert(match("**/x", "/a/x"));
    cr_assert_not(match("**/x", "/ax"));
}

Test(glob, a_directory_of_stars_may_be_none)
{
    cr_assert(match("/a/**/b", "/a/b"));
    cr_assert(match("/a/**/b", "/a/x/b"));
    cr_assert(match("/a/**/b", "/a/x/y/b"));
    cr_assert_not(match("/a/**/b", "/a/xb"));
    cr_assert_not(match("/a/**/b", "/ab"));
    cr_assert(match("/a/**/b/**/c", "/a/b/c"));
    cr_assert_not(match("/a/**/b/**/c", "/a/c"));
}

Test(glob, paths_are_in_normal_form)
{
    cr_assert(match("/%7euser/*", "/~user/x"));
    cr_assert(match("/a%2fb", "/a%2Fb"));
    cr_assert(match("/caf\xc3\xa9", "/caf%C3%A9"));
    cr_assert(match("/a b", "/a%20b"));
    cr_assert(match("/%00", "/%00"));
    cr_assert_not(match("/%2a", "/x"));
    cr_assert(match("/%2a", "/%2A"));
}

Test(glob, what_is_refused_says_why)
{
    cr_assert_not_null(strstr(refused("static/**"), "begins with /"));
    cr_assert_not_null(strstr(refused("*.jpg"), "/**/*.jpg"));
    cr_assert_not_null(refused(""));
    cr_assert_not_null(strstr(refused("/a?b=1"), "query"));
    cr_assert_not_null(strstr(refused("/a%zz"), "%25"));
    cr_assert_not_null(strstr(refused("/a%2"), "%25"));
    char longest[300];
    memset(longest, 'a', sizeof longest);
    longest[0] = '/';
    longest[255] = '\0';
    cr_assert_null(refused(longest));
    cr_assert(match(longest, longest));
    longest[255] = 'a', longest[256] = '\0';
    cr_assert_not_null(strstr(refused(longest), "255"));
}

Test(glob, states_cross_word_borders)
{
    char pattern[260] = "/", path[600] = "/";
    for (int i = 0; i < 120; i++)
        strcat(pattern, i % 2 ? "*/" : "x/"), strcat(path, i % 2 ? "yyy/" : "x/");
    cr_assert(match(pattern, path));
    path[1] = 'y';
    cr_assert_not(match(pattern, path));
}

/* The plain definition, exponential and obviously right. */
static bool oracle(const char *p, const char *s, const char *from)
{
    if (*p == '\0')
        return *s == '\0';
    if (p[0] == '*' && p[1] == '*') {
        const char *rest = p;
        while (*rest == '*')
            rest++;
        if (p > from && p[-1] == '/' && *rest == '/' && oracle(rest + 1, s, from))
            return true; /* no directory at all */
        for (const char *t = s;; t++) {
            if (oracle(rest, t, from))
                return true;
            if (*t == '\0')
                return false;
        }
    }
    if (*p == '*') {
        for (const char *t = s;; t++) {
            if (oracle(p + 1, t, from))
                return true;
            if (*t == '\0' || *t == '/')
                return false;
        }
    }
    return *p == *s && oracle(p + 1, s + 1, from);
}

Test(glob, agrees_with_its_definition)
{
    srand(7);
    int matched = 0;
    for (int round = 0; round < 60000; round++) {
        char pattern[12] = "/", path[12] = "/";
        int n = rand() % 8, m = rand() % 9;
        for (int i = 0; i < n; i++)
            pattern[1 + i] = "ab/**"[rand() % 5], pattern[2 + i] = '\0';
        for (int i = 0; i < m; i++)
            path[1 + i] = "ab/"[rand() % 3], path[2 + i] = '\0';
        bool want = oracle(pattern, path, pattern);
        cr_assert_eq(match(pattern, path), want, "%s on %s", pattern, path);
        matched += want;
    }
    cr_assert_gt(matched, 3000);
}

/* The glob that backtracking matchers die of. */
Test(glob, time_grows_with_the_path_only)
{
    arena_t a;
    glob_t g;
    const char *why;
    arena_init(&a, 0);
    cr_assert_eq(glob_compile(&a, SPAN("/**a**a**a**a**a**a**a**a*a*a*a*a*a*a*a*a*b"), &g, &why), ERR_OK);
    static char path[16384];
    memset(path, 'a', sizeof path);
    path[0] = '/';
    clock_t t0 = clock();
    for (int i = 0; i < 20; i++)
        cr_assert_not(glob_match(&g, span_of(path, sizeof path)));
    cr_assert_lt((double)(clock() - t0) / CLOCKS_PER_SEC, 2.0);
    arena_release(&a);
}

Test(glob, dot_segments_would_never_match)
{
    static const char *const never[] = {"/a/../b", "/./b", "/a/.", "/a/..", "/..", "/%2e/b", "/a/%2E%2e/**", "/**/../x"};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++) {
        const char *why = refused(never[i]);
        cr_assert_not_null(why, "%s", never[i]);
        cr_expect_not_null(strstr(why, "dot segments"), "%s", why);
    }
    cr_expect(match("/.well-known/**", "/.well-known/x") && match("/a/.*", "/a/.b") && match("/a/...", "/a/..."));
    cr_expect(match("/a/*.", "/a/b.") && match("/..a", "/..a") && match("/a.", "/a.") && match("/.**", "/.x/y"));
}

Test(glob, covers)
{
    static const struct {
        const char *a, *b;
        bool yes;
    } rows[] = {{"/**", "/a", true},   {"**", "/a/*.jpg", true}, {"/a/**", "/a/b/**", true}, {"/a/**", "/a/", true},
                {"/a/**", "/a", false}, {"/a", "/a", true},      {"/a/*", "/a/b", false},    {"/a/b", "/a/**", false},
                {"/a/**", "/*/b", false}, {"/**/x", "/a/x", false}};
    arena_t a;
    arena_init(&a, 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        glob_t x, y;
        const char *why;
        cr_assert_eq(glob_compile(&a, span_str(rows[i].a), &x, &why), ERR_OK);
        cr_assert_eq(glob_compile(&a, span_str(rows[i].b), &y, &why), ERR_OK);
        cr_expect_eq(glob_covers(&x, &y), rows[i].yes, "%s %s", rows[i].a, rows[i].b);
    }
    arena_release(&a);
}
