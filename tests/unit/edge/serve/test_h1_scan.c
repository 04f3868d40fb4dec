#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "edge/base/span.h"
#include "edge/serve/h1_scan.h"

static const h1_scan_limits_t limits = {
    .header_bytes = 4096, .header_count = 20, .target_bytes = 256, .max_body = 1000, .room = UINT64_MAX};

/* Feeds in pieces of `step` as a server reads: what is before the current request is taken off the buffer. */
static h1_scan_result_t feed(const char *text, size_t n, size_t step)
{
    h1_scan_t s = {0};
    h1_scan_result_t all = {0};
    size_t start = 0, at = 0;
    while (at < n && all.status == 0) {
        size_t some = n - at < step ? n - at : step;
        bool idle = h1_scan_idle(&s);
        if (idle)
            start = at;
        h1_scan_result_t r = h1_scan_feed(&s, &limits, text + start, at - start, at + some - start);
        all.status = r.status;
        all.expects |= r.expects;
        all.requests += r.requests;
        if (r.requests > 0) {
            cr_assert_leq(r.refused_at, at + some - start);
            start += r.refused_at; /* where the request after the last whole one begins */
        }
        all.refused_at = start;
        at += some;
    }
    return all;
}

static int verdict(const char *text)
{
    size_t n = strlen(text);
    int whole = feed(text, n, n).status;
    for (size_t step = 1; step < 9; step++)
        cr_expect_eq(feed(text, n, step).status, whole, "in pieces of %zu: %s", step, text);
    return whole;
}

Test(h1_scan, requests_are_counted_whatever_the_pieces)
{
    const char text[] =
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab\r\nc"
        "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: 1\r\n\r\n"
        "\r\nGET /last HTTP/1.0\r\n\r\n";
    for (size_t step = 1; step < sizeof text; step++) {
        h1_scan_result_t r = feed(text, sizeof text - 1, step);
        cr_expect_eq(r.status, 0);
        cr_expect_eq(r.requests, 4, "in pieces of %zu: %zu", step, r.requests);
        cr_expect_eq(r.refused_at, sizeof text - 1);
    }
}

Test(h1_scan, a_bad_request_is_found_where_it_begins)
{
    const char good[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n", bad[] = "GET / HTTP/1.1\r\nHost : a\r\n\r\n";
    char text[200];
    snprintf(text, sizeof text, "%s%s%s", good, good, bad);
    for (size_t step = 1; step < sizeof good + sizeof bad; step++) {
        h1_scan_result_t r = feed(text, strlen(text), step);
        cr_expect_eq(r.status, 400);
        cr_expect_eq(r.requests, 2);
        cr_expect_eq(r.refused_at, 2 * (sizeof good - 1));
    }
}

Test(h1_scan, framing_that_two_parsers_may_read_differently)
{
#define HEAD "POST / HTTP/1.1\r\nHost: a\r\n"
    cr_expect_eq(verdict(HEAD "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
    cr_expect_eq(verdict(HEAD "Content-Length: 3\r\nContent-Length: 3\r\n\r\n"), 400);
    cr_expect_eq(verdict(HEAD "Content-Length: 3,3\r\n\r\n"), 400);
    cr_expect_eq(verdict(HEAD "Content-Length: \r\n\r\n"), 400);
    cr_expect_eq(verdict(HEAD "Content-Length: 1001\r\n\r\n"), 413);
    cr_expect_eq(verdict(HEAD "Content-Length: 1000\r\n\r\n"), 0);
    cr_expect_eq(verdict(HEAD "Transfer-Encoding: chunked, chunked\r\n\r\n"), 400);
    cr_expect_eq(verdict(HEAD "Transfer-Encoding: xchunked\r\n\r\n"), 400);
    cr_expect_eq(verdict("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
    cr_expect_eq(verdict(HEAD "Transfer-Encoding: chunked\r\n\r\n3;a=\"b\"; c=\"\\\"\"\r\n"), 0);
    cr_expect_eq(verdict(HEAD "Transfer-Encoding: chunked\r\n\r\n3;a=\"b\r\n"), 400, "a line that ends within quotes");
    cr_expect_eq(verdict(HEAD "Transfer-Encoding: chunked\r\n\r\n3;a=\"b\\\"\r\n"), 400);
    cr_expect_eq(verdict(HEAD "Transfer-Encoding: chunked\r\n\r\n3;a=\"b\\\r\n"), 400);
    cr_expect_eq(verdict(HEAD "Transfer-Encoding: chunked\r\n\r\n3;a=\"\"\"\r\n"), 400);
    cr_expect_eq(verdict(HEAD "Transfer-Encoding: chunked\r\n\r\n3e9\r\n"), 413);
    cr_expect_eq(verdict(HEAD "Transfer-Encoding: chunked\r\n\r\n3e8\r\n"), 0);
    cr_expect_eq(verdict(HEAD "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3e6\r\n"), 413);
#undef HEAD
}

Test(h1_scan, ceilings)
{
    char text[8192];
    memset(text, 'a', sizeof text);
    memcpy(text, "GET /", 5);
    cr_expect_eq(feed(text, 200, 200).status, 0, "not too long yet");
    cr_expect_eq(feed(text, 400, 7).status, 414, "found before the line ends");
    const char head[] = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
    memcpy(text, head, sizeof head - 1);
    cr_expect_eq(feed(text, 4000, 4000).status, 0);
    cr_expect_eq(feed(text, 5000, 11).status, 431);
    char *p = text + snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < 19; i++)
        p += sprintf(p, "A: b\r\n");
    strcpy(p, "\r\n");
    cr_expect_eq(verdict(text), 0);
    strcpy(p, "A: b\r\n\r\n");
    cr_expect_eq(verdict(text), 431);
    p = text + snprintf(text, sizeof text, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;");
    memset(p, 'e', 2000);
    cr_expect_eq(feed(text, (size_t)(p - text) + 2000, 13).status, 400, "extensions have a ceiling");
}

Test(h1_scan, idle_and_body_are_told)
{
    h1_scan_t s = {0};
    const char text[] = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nxy";
    size_t head = sizeof text - 3;
    cr_expect(h1_scan_idle(&s));
    h1_scan_feed(&s, &limits, text, 0, 3);
    cr_expect_not(h1_scan_idle(&s));
    cr_expect_not(h1_scan_in_body(&s));
    h1_scan_result_t r = h1_scan_feed(&s, &limits, text, 3, head);
    cr_expect(r.expects);
    cr_expect(h1_scan_in_body(&s));
    r = h1_scan_feed(&s, &limits, text, head, head + 2);
    cr_expect_eq(r.requests, 1);
    cr_expect(h1_scan_idle(&s));
}

static uint64_t limit_of(void *arg, const char *host, size_t n)
{
    (void)arg;
    return span_eq(span_of(host, n), SPAN("small.example:80")) ? 10 : 100;
}

Test(h1_scan, a_body_is_refused_by_its_site_when_the_head_ends)
{
    h1_scan_limits_t by_site = limits;
    by_site.body_limit = limit_of;
    by_site.room = 50;
    static const struct {
        const char *text;
        int status;
    } cases[] = {
        {"POST / HTTP/1.1\r\nHost: small.example:80\r\nContent-Length: 10\r\n\r\n", 0},
        {"POST / HTTP/1.1\r\nContent-Length: 11\r\nHost:  small.example:80 \r\n\r\n", 413},
        {"POST / HTTP/1.1\r\nHost: large\r\nContent-Length: 11\r\n\r\n", 0},
        {"POST / HTTP/1.1\r\nHost: large\r\nContent-Length: 101\r\n\r\n", 413},
        {"POST / HTTP/1.1\r\nHost: large\r\nContent-Length: 51\r\n\r\n", 503},
        {"POST http://small.example:80/a HTTP/1.1\r\nHost: large\r\nContent-Length: 11\r\n\r\n", 413},
        {"POST http://small.example:80?a HTTP/1.1\r\nHost: large\r\nContent-Length: 11\r\n\r\n", 413},
        {"POST / HTTP/1.1\r\nHost: small.example:80\r\nTransfer-Encoding: chunked\r\n\r\na\r\n", 0},
        {"POST / HTTP/1.1\r\nHost: small.example:80\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n", 413},
        {"GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST / HTTP/1.1\r\nHost: small.example:80\r\nContent-Length: 11\r\n\r\n",
         413},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        h1_scan_t s = {0};
        size_t n = strlen(cases[i].text);
        cr_expect_eq(h1_scan_feed(&s, &by_site, cases[i].text, 0, n).status, cases[i].status, "%s", cases[i].text);
        s = (h1_scan_t){0};
        h1_scan_result_t r = {0};
        size_t start = 0; /* a byte at a time */
        for (size_t at = 0; at < n && r.status == 0; at++) {
            r = h1_scan_feed(&s, &by_site, cases[i].text + start, at - start, at + 1 - start);
            start += r.requests > 0 ? r.refused_at : 0;
        }
        cr_expect_eq(r.status, cases[i].status, "a byte at a time: %s", cases[i].text);
    }
}

Test(h1_scan, words_for_people)
{
    static const struct {
        const char *head, *method, *target;
    } rows[] = {
        {"GET /a HTTP/1.1\r\nHost: a\r\n", "GET", "/a"}, {"GET /a b HTTP/1.1\r\n", "GET", "/a b"},
        {"\r\nGET /a HTTP/9\n", "GET", "/a"},             {"GET /a\r\n", "GET", "/a"},
        {"GET /half", "GET", "/half"},                      {"GET  HTTP/1.1\r\n", "GET", ""},
        {"GET HTTP/1.1\r\n", "GET", "HTTP/1.1"},           {"GET ", "GET", ""},
        {"G(T /a HTTP/1.1\r\n", NULL, "G(T /a HTTP/1.1"},  {"\x16\x03\x01 x", NULL, "\x16\x03\x01 x"},
        {"word", NULL, "word"},                             {"\r\n", NULL, ""},
        {"", NULL, ""},                                     {" /a HTTP/1.1\r\n", NULL, " /a HTTP/1.1"},
        {"PRI * HTTP/2.0\r\n", "PRI", "*"},                {"GET /a FTP/1.0\r\n", "GET", "/a FTP/1.0"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        span_t method, target;
        h1_scan_words(span_str(rows[i].head), &method, &target);
        cr_expect_eq(method.p == NULL, rows[i].method == NULL, "%s", rows[i].head);
        cr_expect(method.p == NULL || span_eq(method, span_str(rows[i].method)), "%s", rows[i].head);
        cr_expect(span_eq(target, span_str(rows[i].target)), "%s: %.*s", rows[i].head, SPAN_ARG(target));
    }
}
