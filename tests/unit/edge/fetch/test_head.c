/* A response head, line by line: what is taken, and every form of framing that two parsers could read in two ways. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "edge/fetch/head.h"

/* Feeds a head split behind each LF; the verdict of the last line that was read. */
static head_verdict_t feed(head_t *h, span_t text)
{
    head_verdict_t v = HEAD_MORE;
    while (text.n > 0 && (v == HEAD_MORE || v == HEAD_INFORMATIONAL)) {
        size_t n = span_find(text, '\n');
        n += n < text.n;
        v = head_line(h, span_upto(text, n));
        text = span_from(text, n);
    }
    return v;
}

static head_verdict_t verdict(span_t text)
{
    head_t h;
    head_init(&h);
    head_verdict_t v = feed(&h, text);
    head_release(&h);
    return v;
}

#define LINE(text)                                                                                                     \
    {                                                                                                                  \
        (text), sizeof(text) - 1                                                                                       \
    }

Test(head, refuses_what_can_be_read_in_two_ways)
{
    static const span_t bad[] = {
        /* status lines */
        LINE("HTTP/1.1 20\r\n"),
        LINE("HTTP/1.1 2000\r\n"),
        LINE("HTTP/1.1 2x0 OK\r\n"),
        LINE("HTTP/1.1  200 OK\r\n"),
        LINE("HTTP/1.1\t200 OK\r\n"),
        LINE("HTTP/1.1 099 no\r\n"),
        LINE("HTTP/1.1 600 no\r\n"),
        LINE("HTTP/2 200\r\n"),
        LINE("HTTP/1.2 200 OK\r\n"),
        LINE("HTTP/1.10 200 OK\r\n"),
        LINE("http/1.1 200 OK\r\n"),
        LINE("ICY 200 OK\r\n"),
        LINE(" HTTP/1.1 200 OK\r\n"),
        LINE("\r\n"),
        LINE("200 OK\r\n"),
        LINE("content-length: 0\r\n"),
        LINE("HTTP/1.1 200 OK\n"),
        LINE("HTTP/1.1 200 OK\r\r\n"),
        LINE("HTTP/1.1 200 O\0K\r\n"),
        LINE("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n"),
        /* line ends, white space, bytes */
        LINE("HTTP/1.1 200 OK\r\na: b\n"),
        LINE("HTTP/1.1 200 OK\r\na: b\rc: d\r\n"),
        LINE("HTTP/1.1 200 OK\r\na: b\r\r\n"),
        LINE("HTTP/1.1 200 OK\r\na: b\r\n continued\r\n"),
        LINE("HTTP/1.1 200 OK\r\na: b\r\n\tcontinued\r\n"),
        LINE("HTTP/1.1 200 OK\r\n folded: first\r\n"),
        LINE("HTTP/1.1 200 OK\r\nname : value\r\n"),
        LINE("HTTP/1.1 200 OK\r\nname\t: value\r\n"),
        LINE("HTTP/1.1 200 OK\r\nna me: value\r\n"),
        LINE("HTTP/1.1 200 OK\r\n: value\r\n"),
        LINE("HTTP/1.1 200 OK\r\nno colon\r\n"),
        LINE("HTTP/1.1 200 OK\r\nname: a\0b\r\n"),
        LINE("HTTP/1.1 200 OK\r\nname: a\001b\r\n"),
        LINE("HTTP/1.1 200 OK\r\nname: a\177b\r\n"),
        LINE("HTTP/1.1 200 OK\r\nn\0me: ab\r\n"),
        LINE("HTTP/1.1 200 OK\r\nn\303\244me: ab\r\n"),
        LINE("HTTP/1.1 200 OK\r\n\n"),
        LINE("HTTP/1.1 200 OK\r\na: b"),
        /* Content-Length */
        LINE("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n"),
        LINE("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n"),
        LINE("HTTP/1.1 200 OK\r\nContent-Length: 5, 7\r\n"),
        LINE("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n"),
        LINE("HTTP/1.1 200 OK\r\nContent-Length: +5\r\n"),
        LINE("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n"),
        LINE("HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n"),
        LINE("HTTP/1.1 200 OK\r\nContent-Length: 5 5\r\n"),
        LINE("HTTP/1.1 200 OK\r\nContent-Length: 5;\r\n"),
        LINE("HTTP/1.1 200 OK\r\nContent-Length: \"5\"\r\n"),
        LINE("HTTP/1.1 200 OK\r\nContent-Length: 5.0\r\n"),
        LINE("HTTP/1.1 200 OK\r\nContent-Length: 1e3\r\n"),
        LINE("HTTP/1.1 200 OK\r\nContent-Length:\r\n"),
        LINE("HTTP/1.1 200 OK\r\nContent-Length: abc\r\n"),
        LINE("HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n"),
        LINE("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n"),
        /* Transfer-Encoding */
        LINE("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n"),
        LINE("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n"),
        LINE("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n"),
        LINE("HTTP/1.1 200 OK\r\nTransfer-Encoding: x-gzip\r\n"),
        LINE("HTTP/1.1 200 OK\r\nTransfer-Encoding: identity, chunked\r\n"),
        LINE("HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"),
        LINE("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
        LINE("HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 5\r\n\r\n"),
        LINE("HTTP/1.0 200 OK\r\nTransfer-Encoding: identity\r\n\r\n"),
        LINE("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked;q=1\r\n"),
        LINE("HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n"),
        LINE("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        LINE("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"),
        LINE("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
        LINE("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        /* around informational heads */
        LINE("HTTP/1.1 100 Continue\r\n\r\ncontent-length: 3\r\n"),
        LINE("HTTP/1.1 100 Continue\r\n\r\n\r\n"),
        LINE("HTTP/1.1 103 Early Hints\r\nHTTP/1.1 200 OK\r\n"),
        LINE("HTTP/1.1 200 OK\r\nHTTP/1.1 200 OK\r\n"),
        LINE("HTTP/1.1 103 Early Hints\r\ncontent-length: x\r\n"),
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_expect_eq(verdict(bad[i]), HEAD_BAD, "%zu: %.*s", i, SPAN_ARG(bad[i]));
}

Test(head, takes_what_is_well_formed)
{
    static const struct {
        span_t text;
        int status, minor;
        int64_t length;
        bool chunked;
    } good[] = {
        {LINE("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), 200, 1, 5, false},
        {LINE("HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n"), 200, 1, 0, false},
        {LINE("HTTP/1.1 200 OK\r\ncontent-length:  \t007 \t\r\n\r\n"), 200, 1, 7, false},
        {LINE("HTTP/1.1 200 OK\r\ncontent-length: 999999999999999999\r\n\r\n"), 200, 1, 999999999999999999, false},
        {LINE("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"), 200, 1, -1, true},
        {LINE("HTTP/1.1 404\r\n\r\n"), 404, 1, -1, false},
        {LINE("HTTP/1.1 404 \r\n\r\n"), 404, 1, -1, false},
        {LINE("HTTP/1.0 599 \303\234ber alles\r\n\r\n"), 599, 0, -1, false},
        {LINE("HTTP/1.1 304 Not Modified\r\nContent-Length: 12\r\n\r\n"), 304, 1, 12, false},
        {LINE("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
         200, 1, -1, false},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        head_t h;
        head_init(&h);
        cr_expect_eq(feed(&h, good[i].text), HEAD_FINAL, "%zu: %.*s", i, SPAN_ARG(good[i].text));
        cr_expect(h.status == good[i].status && h.minor == good[i].minor && h.chunked == good[i].chunked &&
                      h.content_length == good[i].length,
                  "%zu", i);
        head_release(&h);
    }
}

Test(head, lowers_names_and_takes_off_framing_and_hop_by_hop)
{
    head_t h;
    head_init(&h);
    cr_assert_eq(feed(&h, SPAN("HTTP/1.1 200 OK\r\nX-Mixed-CASE:  two words \r\nContent-Length: 3\r\nConnection: "
                               "close, x-mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\nSet-Cookie: a=1\r\nset-cookie: "
                               "b=2\r\nempty:\r\nutf: \303\244\r\n\r\n")),
                 HEAD_FINAL);
    cr_expect(span_eq(fields_get(&h.fields, SPAN("x-mixed-case")), SPAN("two words")));
    cr_expect(!fields_has(&h.fields, SPAN("content-length")) && !fields_has(&h.fields, SPAN("connection")) &&
              !fields_has(&h.fields, SPAN("x-mine")) && !fields_has(&h.fields, SPAN("keep-alive")));
    cr_expect_eq(fields_count(&h.fields, SPAN("set-cookie")), 2);
    cr_expect(fields_has(&h.fields, SPAN("empty")) && fields_get(&h.fields, SPAN("empty")).n == 0);
    cr_expect(span_eq(fields_get(&h.fields, SPAN("utf")), SPAN("\303\244")));
    head_release(&h);
}

Test(head, an_informational_head_leaves_nothing_to_the_final_one)
{
    head_t h;
    head_init(&h);
    cr_assert_eq(feed(&h, SPAN("HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\ncontent-length: 9\r\n\r\n")),
                 HEAD_INFORMATIONAL);
    cr_expect(h.status == 103 && fields_has(&h.fields, SPAN("link")));
    cr_assert_eq(feed(&h, SPAN("HTTP/1.1 200 OK\r\netag: \"1\"\r\n\r\n")), HEAD_FINAL);
    cr_expect(h.status == 200 && h.content_length == -1 && !fields_has(&h.fields, SPAN("link")) &&
              fields_has(&h.fields, SPAN("etag")));
    head_release(&h);
}

Test(head, has_ceilings)
{
    head_t h;
    char line[128];
    head_verdict_t v = HEAD_MORE;
    head_init(&h);
    head_line(&h, SPAN("HTTP/1.1 200 OK\r\n"));
    int n;
    for (n = 0; n < 1000 && v == HEAD_MORE; n++) {
        snprintf(line, sizeof line, "x-%d: y\r\n", n);
        v = head_line(&h, span_str(line));
    }
    cr_expect_eq(v, HEAD_OVER);
    cr_expect_lt(n, FIELDS_MAX_COUNT, "there is room for what is added later");
    head_release(&h);

    static char big[FIELDS_MAX_BYTES / 2];
    memset(big, 'a', sizeof big);
    memcpy(big, "x: ", 3);
    memcpy(big + sizeof big - 2, "\r\n", 2);
    head_init(&h);
    head_line(&h, SPAN("HTTP/1.1 200 OK\r\n"));
    cr_expect_eq(head_line(&h, span_of(big, sizeof big)), HEAD_MORE);
    cr_expect_eq(head_line(&h, span_of(big, sizeof big)), HEAD_MORE);
    cr_expect_eq(head_line(&h, span_of(big, sizeof big)), HEAD_OVER);
    head_release(&h);
}

Test(head, a_change_of_protocol_only_where_it_was_asked_for)
{
    static const span_t good = LINE("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Switching Protocols\r\nConnection: "
                                    "keep-alive, Upgrade\r\nUpgrade: websocket\r\nX-A: b\r\n\r\n");
    static const span_t bad[] = {
        LINE("HTTP/1.0 101 a\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n"),
        LINE("HTTP/1.1 101 a\r\nConnection: close\r\nUpgrade: a\r\n\r\n"),
        LINE("HTTP/1.1 101 a\r\nConnection: upgrade\r\n\r\n"),
        LINE("HTTP/1.1 101 a\r\nConnection: upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n\r\n"),
        LINE("HTTP/1.1 101 a\r\nConnection: upgrade\r\nUpgrade: a\r\nContent-Length: 0\r\n\r\n"),
        LINE("HTTP/1.1 101 a\r\nConnection: upgrade\r\nUpgrade: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
    };
    head_t h;
    cr_expect_eq(verdict(good), HEAD_BAD, "nobody asked");
    head_init(&h);
    h.may_upgrade = true;
    cr_expect_eq(feed(&h, good), HEAD_FINAL);
    cr_expect(h.status == 101 && span_eq(h.upgrade, SPAN("websocket")) && h.fields.n == 1, "hop-by-hop fields are off");
    head_release(&h);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        head_init(&h);
        h.may_upgrade = true;
        cr_expect_eq(feed(&h, bad[i]), HEAD_BAD, "%.*s", SPAN_ARG(bad[i]));
        head_release(&h);
    }
}
