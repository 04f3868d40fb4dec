/* RFC 3986 5.2.4, 6.2.2; RFC 9110 4.2. */
#include <stdlib.h>

#include <criterion/criterion.h>

#include "edge/http/uri.h"

static const char *said(err_t e, const char *buffer, size_t n)
{
    static char text[4096];
    if (e != ERR_OK)
        return e == ERR_SYNTAX ? "SYNTAX" : e == ERR_TOO_BIG ? "BIG" : "?";
    memcpy(text, buffer, n);
    text[n] = '\0';
    return text;
}

static const char *path_of(const char *text)
{
    static char buffer[1024];
    size_t n = 0;
    err_t e = uri_normalise_path(span_str(text), buffer, sizeof buffer, &n);
    return said(e, buffer, n);
}

static const char *percent_of(const char *text)
{
    static char buffer[1024];
    size_t n = 0;
    err_t e = uri_normalise_percent(span_str(text), buffer, sizeof buffer, &n);
    return said(e, buffer, n);
}

static const char *host_of(const char *text, const char *scheme)
{
    static char buffer[1024];
    size_t n = 0;
    err_t e = uri_normalise_host(span_str(text), span_str(scheme), buffer, strlen(text) + URI_HOST_SLACK, &n);
    return said(e, buffer, n);
}

typedef struct row {
    const char *in, *out;
} row_t;

Test(uri, dot_segments_behind_encoded_slashes)
{
    static const struct {
        const char *path;
        bool hides;
    } rows[] = {
        {"/", false},        {"/a/b", false},          {"/a%2Fb", false},          {"/a%2F", false},
        {"/a/..b", false},   {"/a/...", false},        {"/a%2F...", false},        {"/a%2F.b", false},
        {"/a.%2Fb", false},  {"/%252F..", false},      {"/..%2Fa", true},          {"/a%2F..", true},
        {"/a%2F../b", true}, {"/a/..%2Fb", true},      {"/a/.%2Fb", true},         {"/a%5C..%5Cb", true},
        {"/a/..%5Cb", true}, {"/a%2F%2F..%2Fb", true}, {"/x%2F..%2F..%2Fa", true},
        {"/a/..;/b", true},  {"/a/..;x=1/b", true},    {"/a/.;/b", true},          {"/a/..%3Bx/b", true},
        {"/a;/..b", false},  {"/a/...;/b", false},     {"/a/b;/c", false},         {"/;/a", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_expect_eq(uri_hides_dots(span_str(rows[i].path)), rows[i].hides, "%s", rows[i].path);
}

Test(uri, paths)
{
    static const row_t rows[] = {
        {"", "/"},
        {"/", "/"},
        {"/a/b/c/./../../g", "/a/g"}, /* the RFC's own example */
        {"/.", "/"},
        {"/..", "/"},
        {"/../a", "/a"},
        {"/../../../a", "/a"},
        {"/./a", "/a"},
        {"/a/.", "/a/"},
        {"/a/..", "/"},
        {"/a/b/..", "/a/"},
        {"/a/b/../", "/a/"},
        {"/a/./b", "/a/b"},
        {"/a/...", "/a/..."},
        {"/a/.b", "/a/.b"},
        {"/a/b.", "/a/b."},
        {"/a/..b", "/a/..b"},
        {"//", "//"}, /* empty segments are segments */
        {"//a", "//a"},
        {"/a//b", "/a//b"},
        {"/a//..", "/a/"},
        {"/a//../b", "/a/b"},
        {"//..", "/"},
        {"/%2e%2e/a", "/a"},
        {"/a/%2E%2e/b", "/b"},
        {"/a%2fb", "/a%2Fb"}, /* an encoded slash is no slash */
        {"/a/..%2fb", "/a/..%2Fb"},
        {"/%41%7a%30%2D%5f%7E", "/Az0-_~"},
        {"/%c3%a4", "/%C3%A4"},
        {"/\xc3\xa4", "/%C3%A4"},
        {"/a|b", "/a%7Cb"},
        {"/a\\b", "/a%5Cb"},
        {"/!$&'()*+,;=:@[]", "/!$&'()*+,;=:@[]"},
        {"/%21%2B%3d", "/%21%2B%3D"}, /* reserved characters stay as they came */
        {"/%25", "/%25"},
        {"/%2541", "/%2541"}, /* decoded once, not twice */
        {"/%00", "/%00"},
        {"a", "SYNTAX"},
        {"?", "SYNTAX"},
        {"/%", "SYNTAX"},
        {"/%4", "SYNTAX"},
        {"/%4g", "SYNTAX"},
        {"/%g4", "SYNTAX"},
        {"/a b", "SYNTAX"},
        {"/a#b", "SYNTAX"},
        {"/a\tb", "SYNTAX"},
        {"/a\nb", "SYNTAX"},
        {"/a\x7f", "SYNTAX"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_expect_str_eq(path_of(rows[i].in), rows[i].out, "%s: %s", rows[i].in, path_of(rows[i].in));
}

Test(uri, queries)
{
    static const row_t rows[] = {
        {"", ""},
        {"a=1&b=2", "a=1&b=2"},
        {"a=%61+%20", "a=a+%20"},
        {"a=b?c/d", "a=b?c/d"},
        {"../x", "../x"},
        {"q={\"x\":1}", "q=%7B%22x%22:1%7D"},
        {"a=%zz", "SYNTAX"},
        {"a=b c", "SYNTAX"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_expect_str_eq(percent_of(rows[i].in), rows[i].out, "%s", rows[i].in);
}

Test(uri, room)
{
    char buffer[8];
    size_t n;
    cr_expect_eq(uri_normalise_percent(SPAN("12345678"), buffer, 8, &n), ERR_OK);
    cr_expect_eq(uri_normalise_percent(SPAN("123456789"), buffer, 8, &n), ERR_TOO_BIG);
    cr_expect_eq(uri_normalise_percent(SPAN("12345\xff"), buffer, 8, &n), ERR_OK);
    cr_expect_eq(uri_normalise_percent(SPAN("123456\xff"), buffer, 8, &n), ERR_TOO_BIG);
    cr_expect_eq(uri_normalise_percent(SPAN("a"), buffer, 0, &n), ERR_TOO_BIG);
    cr_expect_eq(uri_normalise_host(SPAN("abcdefgh"), SPAN_NONE, buffer, 8, &n), ERR_OK);
    cr_expect_eq(uri_normalise_host(SPAN("abcdefghi"), SPAN_NONE, buffer, 8, &n), ERR_TOO_BIG);
    cr_expect_eq(uri_normalise_host(SPAN("abcdefg:1"), SPAN_NONE, buffer, 8, &n), ERR_TOO_BIG);
    cr_expect_eq(uri_normalise_host(SPAN("[1:2::3:4]"), SPAN_NONE, buffer, 8, &n), ERR_TOO_BIG);
}

Test(uri, hosts)
{
    static const struct {
        const char *in, *scheme, *out;
    } rows[] = {
        {"www.Example.COM", "http", "www.example.com"},
        {"example.com.", "http", "example.com"},
        {"example.com.:80", "http", "example.com"},
        {"example.com:80", "http", "example.com"},
        {"example.com:0080", "http", "example.com"},
        {"example.com:", "http", "example.com"}, /* RFC 3986 6.2.3 */
        {"example.com:80", "https", "example.com:80"},
        {"example.com:443", "HTTPS", "example.com"},
        {"example.com:443", NULL, "example.com:443"},
        {"localhost:08080", "http", "localhost:8080"},
        {"h:0", "http", "h:0"},
        {"h:65535", "http", "h:65535"},
        {"127.0.0.1:8080", "http", "127.0.0.1:8080"},
        {"a_b-c~d", "http", "a_b-c~d"},
        {"[::1]", "http", "[::1]"},
        {"[::1]:81", "http", "[::1]:81"},
        {"[::1]:80", "http", "[::1]"},
        {"[0:0:0:0:0:0:0:1]:80", "http", "[::1]"},
        {"[2001:DB8:0:0:0:0:0:A]", "http", "[2001:db8::a]"}, /* RFC 5952 */
        {"[::]", "http", "[::]"},
        {"[::ffff:1.2.3.4]", "http", "[::ffff:1.2.3.4]"},
        {"", "http", "SYNTAX"},
        {".", "http", "SYNTAX"},
        {"..", "http", "SYNTAX"},
        {":80", "http", "SYNTAX"},
        {".example.com", "http", "SYNTAX"},
        {"a..b", "http", "SYNTAX"},
        {"a..", "http", "SYNTAX"},
        {"a:b", "http", "SYNTAX"},
        {"a:-1", "http", "SYNTAX"},
        {"a:65536", "http", "SYNTAX"},
        {"a:99999999999999999999", "http", "SYNTAX"},
        {"a:80:80", "http", "SYNTAX"},
        {"a b", "http", "SYNTAX"},
        {"a/b", "http", "SYNTAX"},
        {"user@a", "http", "SYNTAX"},
        {"a%41", "http", "SYNTAX"},
        {"a,b", "http", "SYNTAX"},
        {"\xc3\xa4.example", "http", "SYNTAX"},
        {"[", "http", "SYNTAX"},
        {"[]", "http", "SYNTAX"},
        {"[::1", "http", "SYNTAX"},
        {"[::1]x", "http", "SYNTAX"},
        {"[1.2.3.4]", "http", "SYNTAX"},
        {"[v1.a]", "http", "SYNTAX"},
        {"[fe80::1%25eth0]", "http", "SYNTAX"},
        {"::1", "http", "SYNTAX"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_expect_str_eq(host_of(rows[i].in, rows[i].scheme), rows[i].out, "%s: %s", rows[i].in,
                         host_of(rows[i].in, rows[i].scheme));
}

Test(uri, host_lengths)
{
    char text[400];
    memset(text, 'a', sizeof text);
    text[63] = '\0';
    cr_expect_str_eq(host_of(text, "http"), text);
    text[63] = 'a', text[64] = '\0';
    cr_expect_str_eq(host_of(text, "http"), "SYNTAX");
    for (size_t i = 50; i < sizeof text; i += 51)
        text[i] = '.';
    text[64] = text[254] = 'a';
    text[URI_MAX_HOST + 1] = '\0';
    cr_expect_str_eq(host_of(text, "http"), "BIG");
    text[URI_MAX_HOST] = '\0';
    cr_expect_str_eq(host_of(text, "http"), text);
    text[URI_MAX_HOST - 1] = '\0';
    cr_expect_str_eq(host_of(text, "http"), text);
    cr_expect_str_eq(host_of("[::1\0:2]", "http"), "SYNTAX");
    char nul[] = "[::1\0::]";
    char buffer[64];
    size_t n;
    cr_expect_eq(uri_normalise_host(span_of(nul, sizeof nul - 1), SPAN_NONE, buffer, sizeof buffer, &n), ERR_SYNTAX);
}

Test(uri, host_name)
{
    int port;
    cr_expect(span_eq(uri_host_name(SPAN("a.b:81"), &port), SPAN("a.b")));
    cr_expect_eq(port, 81);
    cr_expect(span_eq(uri_host_name(SPAN("a.b"), &port), SPAN("a.b")));
    cr_expect_eq(port, -1);
    cr_expect(span_eq(uri_host_name(SPAN("[::1]:81"), &port), SPAN("[::1]")));
    cr_expect_eq(port, 81);
    cr_expect(span_eq(uri_host_name(SPAN("[::1]"), &port), SPAN("[::1]")));
    cr_expect_eq(port, -1);
}

Test(uri, split)
{
    static const struct {
        const char *url, *scheme, *authority, *path, *query;
    } rows[] = {
        {"http://a", "http", "a", "", NULL},
        {"HTTPS://a:1/b?c", "HTTPS", "a:1", "/b", "c"},
        {"http://a?q", "http", "a", "", "q"},
        {"http://a/b?", "http", "a", "/b", ""},
        {"http://a/b?c?d/e", "http", "a", "/b", "c?d/e"},
        {"http://[::1]:1/", "http", "[::1]:1", "/", NULL},
        {"http://a/x@y", "http", "a", "/x@y", NULL},
        {"http:///b", NULL, NULL, NULL, NULL},
        {"http://?q", NULL, NULL, NULL, NULL},
        {"http://u@a/", NULL, NULL, NULL, NULL},
        {"http://u:p@a/", NULL, NULL, NULL, NULL},
        {"http://a/#f", NULL, NULL, NULL, NULL},
        {"http://a#f", NULL, NULL, NULL, NULL},
        {"ftp://a/", NULL, NULL, NULL, NULL},
        {"http:/a", NULL, NULL, NULL, NULL},
        {"http:a", NULL, NULL, NULL, NULL},
        {"http", NULL, NULL, NULL, NULL},
        {"//a/b", NULL, NULL, NULL, NULL},
        {"/b", NULL, NULL, NULL, NULL},
        {"", NULL, NULL, NULL, NULL},
        {" http://a", NULL, NULL, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uri_t u;
        err_t e = uri_split(span_str(rows[i].url), &u);
        cr_expect_eq(e, rows[i].scheme != NULL ? ERR_OK : ERR_SYNTAX, "%s", rows[i].url);
        if (e != ERR_OK)
            continue;
        cr_expect(span_eq(u.scheme, span_str(rows[i].scheme)), "%s", rows[i].url);
        cr_expect(span_eq(u.authority, span_str(rows[i].authority)), "%s", rows[i].url);
        cr_expect(span_eq(u.path, span_str(rows[i].path)), "%s", rows[i].url);
        cr_expect(span_eq(u.query, span_str(rows[i].query)), "%s", rows[i].url);
        cr_expect_eq(u.query.p == NULL, rows[i].query == NULL, "%s", rows[i].url);
    }
    uri_t u;
    cr_expect_eq(uri_split_target(SPAN("/a?b"), &u), ERR_OK);
    cr_expect(span_eq(u.path, SPAN("/a")) && span_eq(u.query, SPAN("b")) && u.authority.n == 0);
    cr_expect_eq(uri_split_target(SPAN("*"), &u), ERR_SYNTAX);
    cr_expect_eq(uri_split_target(SPAN("a"), &u), ERR_SYNTAX);
    cr_expect_eq(uri_split_target(SPAN("/a#b"), &u), ERR_SYNTAX);
    cr_expect_eq(uri_split_target(SPAN_NONE, &u), ERR_SYNTAX);
    cr_expect_eq(uri_split(SPAN_NONE, &u), ERR_SYNTAX);
}

/* What is in normal form stays as it is, and has no dot segment left. */
Test(uri, normal_form_is_a_fixed_point)
{
    static const char *pieces[] = {"/", ".", "..", "%2e", "%2F", "a", "%41", "%c3", "\xe4", "|", "%25", "=", "//", "~"};
    unsigned short seed[3] = {3, 9, 86};
    for (int round = 0; round < 100000; round++) {
        char text[128] = "/", once[512], twice[512];
        size_t n, m;
        for (int i = (int)(erand48(seed) * 12); i > 0; i--)
            strcat(text, pieces[(size_t)(erand48(seed) * (sizeof pieces / sizeof *pieces))]);
        cr_assert_eq(uri_normalise_path(span_str(text), once, sizeof once, &n), ERR_OK, "%s", text);
        cr_assert_eq(uri_normalise_path(span_of(once, n), twice, sizeof twice, &m), ERR_OK);
        cr_assert(span_eq(span_of(once, n), span_of(twice, m)), "%s: %.*s", text, (int)n, once);
        once[n] = '\0';
        cr_assert_eq(once[0], '/');
        cr_assert_null(strstr(once, "/./"));
        cr_assert_null(strstr(once, "/../"));
        cr_assert_not(span_ends(span_of(once, n), SPAN("/..")));
        cr_assert_not(span_ends(span_of(once, n), SPAN("/.")));
    }
}
