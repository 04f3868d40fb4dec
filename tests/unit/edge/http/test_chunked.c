#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "edge/http/chunked.h"

/* The content as text, then "|" and what was left where the body ended, "…" where it didn't, "!" where it is none. */
static const char *decode(const char *text, size_t n, size_t step)
{
    static char out[4096];
    size_t k = 0;
    chunked_t c = {0};
    for (size_t at = 0; at < n; at += step) {
        span_t in = span_of(text + at, n - at < step ? n - at : step), data;
        for (;;) {
            chunked_verdict_t v = chunked_next(&c, &in, &data);
            if (v == CHUNKED_MORE)
                break;
            if (v == CHUNKED_BAD) {
                strcpy(out + k, "!");
                return out;
            }
            if (v == CHUNKED_END) {
                snprintf(out + k, sizeof out - k, "|%.*s", (int)(text + n - in.p), in.p);
                return out;
            }
            cr_assert_gt(data.n, 0);
            memcpy(out + k, data.p, data.n);
            k += data.n;
        }
    }
    strcpy(out + k, "…");
    return out;
}

static void expect(const char *text, const char *content)
{
    for (size_t step = 1; step <= strlen(text); step++)
        cr_expect_str_eq(decode(text, strlen(text), step), content, "in pieces of %zu: %s", step, text);
}

Test(chunked, content_and_what_follows)
{
    expect("0\r\n\r\n", "|");
    expect("3\r\nabc\r\n0\r\n\r\nrest", "abc|rest");
    expect("3\r\nabc\r\n00009\r\n\r\n34567\r\n\r\n0\r\n\r\n", "abc\r\n34567\r\n|");
}

Test(chunked, extensions_and_trailers_are_dropped)
{
    expect("A;a=b;c=\"d\"\r\n0123456789\r\n00\r\nX-A: b\r\nY:\r\n\r\n", "0123456789|");
    expect("1\r\nx\r\n0;last\r\n\r\n", "x|");
}

Test(chunked, what_two_parsers_may_read_differently)
{
    static const char *const bad[] = {
        "\r\n",
        "g\r\n",
        "0x3\r\nabc\r\n",
        " 3\r\nabc\r\n",
        "3 \r\nabc\r\n",
        "3\nabc\r\n",
        "+3\r\nabc",
        "-1\r\n",
        "3\r\r\n",
        ";a\r\n",
        "1000000000000000\r\n",
        "0\r\n \r\n",
        "0\r\n: a\r\n",
        "0\r\nA : b\r\n",
        "0\r\nA\r\n",
        "0\r\nA: \1\r\n",
        "0\r\n\n",
        "0\r\nA: b\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (size_t step = 1; step <= strlen(bad[i]); step++) {
            const char *out = decode(bad[i], strlen(bad[i]), step);
            cr_expect(out[strlen(out) - 1] == '!' || strstr(out, "!") != NULL, "%s gave %s", bad[i], out);
        }
    expect("3\r\nabcd\r\n", "abc!");
    expect("3\r\nabc\n", "abc!");
    expect("3\r\nabc\r0", "abc!");
}

Test(chunked, a_cut_is_no_end)
{
    expect("3\r\nab", "ab…");
    expect("3\r\nabc\r\n", "abc…");
    expect("3\r\nabc\r\n0\r\n", "abc…");
    expect("0\r\nA: b\r\n\r", "…");
}

Test(chunked, lines_have_a_ceiling)
{
    static char text[CHUNKED_EXTRA_MAX + 10000];
    chunked_t c = {0};
    span_t data, in;
    memset(text, 'x', sizeof text);
    memcpy(text, "3;", 2);
    in = span_of(text, CHUNKED_LINE_MAX);
    cr_expect_eq(chunked_next(&c, &in, &data), CHUNKED_MORE);
    in = span_of(text + 2, 100);
    cr_expect_eq(chunked_next(&c, &in, &data), CHUNKED_BAD);
    c = (chunked_t){0};
    size_t n = 3;
    memcpy(text, "0\r\n", 3);
    while (n < sizeof text - 1100) {
        memset(text + n, 'v', 1000);
        memcpy(text + n, "A:", 2);
        memcpy(text + n + 998, "\r\n", 2);
        n += 1000;
    }
    in = span_of(text, n);
    cr_expect_eq(chunked_next(&c, &in, &data), CHUNKED_BAD, "trailers without end");
}
