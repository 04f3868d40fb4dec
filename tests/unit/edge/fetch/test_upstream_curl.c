/* The real client against a real socket: what it sends, what it makes of every way in which an answer can go wrong, and
 * that it can be stopped anywhere. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer.h"

static void serve_two(peer_conn_t *c)
{
    while (peer_read(c))
        peer_write(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Case: Kept\r\n\r\nhello");
}

static void one_then_close(peer_conn_t *c)
{
    if (peer_read(c))
        peer_write(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    usleep(30000);
}

Test(upstream_curl, keeps_the_connection)
{
    static peer_script_fn *const script[] = {serve_two, NULL};
    static peer_t p;
    bench_t b;
    seen_t s;
    peer_open(&p, script, NULL, NULL);
    bench_open(&b);
    for (int i = 0; i < 5; i++) {
        bench_get(&b, &p, &s);
        cr_expect(s.result == UPSTREAM_OK && s.status == 200 && s.length == 5 && s.n == 5);
        cr_expect_str_eq(s.body, "hello");
        cr_expect_str_eq(s.fields, "x-case: Kept\n");
        seen_release(&s);
    }
    cr_expect_eq(atomic_load(&p.connections), 1);
    cr_expect_eq(atomic_load(&p.requests), 5);
    bench_close(&b);
    peer_close(&p);
}

Test(upstream_curl, sends_the_request_as_given_and_nothing_of_its_own)
{
    static peer_script_fn *const script[] = {one_then_close, one_then_close, one_then_close, one_then_close, NULL};
    static peer_t p;
    bench_t b;
    seen_t s = {0};
    setenv("http_proxy", "http://127.0.0.1:1", 1); /* somebody else's business */
    setenv("all_proxy", "socks5://127.0.0.1:1", 1);
    peer_open(&p, script, NULL, NULL);
    bench_open(&b);
    bench_start(&b, &p, &s, (upstream_request_t){.target = SPAN("/a/../b//c?x=%41&y=[]|")}, "empty:\nx-y: z");
    bench_until(&b, &s.done);
    cr_expect_str_eq(p.request[0],
                     "GET /a/../b//c?x=%41&y=[]| HTTP/1.1\r\nHost: site.example\r\nempty:\r\nx-y: z\r\n\r\n");
    seen_release(&s);

    s = (seen_t){0};
    bench_start(&b, &p, &s,
                (upstream_request_t){.method = SPAN("POST"), .body = SPAN("a\0b"), .has_body = true, .once = true},
                "content-type: x/y\nexpect-nothing: 1");
    bench_until(&b, &s.done);
    cr_expect_eq(s.result, UPSTREAM_OK);
    static const char post[] = "POST / HTTP/1.1\r\nHost: site.example\r\ncontent-type: x/y\r\nexpect-nothing: "
                               "1\r\nContent-Length: 3\r\n\r\na\0b";
    cr_expect(memcmp(p.request[1], post, sizeof post) == 0, "%s", p.request[1]);
    seen_release(&s);

    s = (seen_t){0};
    bench_start(&b, &p, &s, (upstream_request_t){.method = SPAN("POST"), .has_body = true, .once = true}, NULL);
    bench_until(&b, &s.done);
    cr_expect_str_eq(p.request[2], "POST / HTTP/1.1\r\nHost: site.example\r\nContent-Length: 0\r\n\r\n");
    seen_release(&s);

    s = (seen_t){0};
    bench_start(&b, &p, &s, (upstream_request_t){.method = SPAN("BREW")}, NULL);
    bench_until(&b, &s.done);
    cr_expect_str_eq(p.request[3], "BREW / HTTP/1.1\r\nHost: site.example\r\n\r\n");
    seen_release(&s);
    bench_close(&b);
    peer_close(&p);
}

static void named_then_close(peer_conn_t *c)
{
    if (peer_read(c))
        peer_write(c, "HTTP/1.1 200 OK\r\nX-First: 1\r\nContent-Length: 0\r\nX-Last: of the first answer\r\n\r\n");
}

static void begins_folded(peer_conn_t *c)
{
    if (peer_read(c))
        peer_write(c, "HTTP/1.1 200 OK\r\n\tfolded onto nothing, and long enough to need other room than that\r\n\r\n");
}

/* libcurl appends such a line to the last field that it remembers: that of an earlier answer, which it has freed. */
Test(upstream_curl, an_answer_that_begins_folded_finds_nothing_of_the_one_before)
{
    static peer_script_fn *const script[] = {named_then_close, begins_folded,    named_then_close,
                                             begins_folded,    named_then_close, NULL};
    static peer_t p;
    bench_t b;
    peer_open(&p, script, NULL, NULL);
    bench_open(&b);
    for (int i = 0; i < 5; i++) {
        seen_t s;
        bench_get(&b, &p, &s);
        cr_expect_eq(s.result, i % 2 == 0 ? UPSTREAM_OK : UPSTREAM_MALFORMED);
        seen_release(&s);
    }
    bench_close(&b);
    peer_close(&p);
}

static void serve_head(peer_conn_t *c)
{
    while (peer_read(c))
        peer_write(c, "HTTP/1.1 200 OK\r\nContent-Length: 123456\r\n\r\n");
}

Test(upstream_curl, an_answer_to_head_has_no_body)
{
    static peer_script_fn *const script[] = {serve_head, NULL};
    static peer_t p;
    bench_t b;
    peer_open(&p, script, NULL, NULL);
    bench_open(&b);
    for (int i = 0; i < 2; i++) {
        seen_t s = {0};
        bench_start(&b, &p, &s, (upstream_request_t){.method = SPAN("HEAD"), .head = true}, NULL);
        bench_until(&b, &s.done);
        cr_expect(s.result == UPSTREAM_OK && s.length == 123456 && s.n == 0);
    }
    cr_expect(strncmp(p.request[0], "HEAD / HTTP/1.1\r\n", 17) == 0);
    cr_expect_eq(atomic_load(&p.connections), 1);
    bench_close(&b);
    peer_close(&p);
}

/* ---- answers that go wrong: one connection each ---- */

#define SERVE(name, text)                                                                                              \
    static void name(peer_conn_t *c)                                                                                   \
    {                                                                                                                  \
        if (peer_read(c))                                                                                              \
            peer_write_n(c, (text), sizeof(text) - 1);                                                                 \
    }

SERVE(cut_with_length, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
SERVE(cut_in_chunk, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n123")
SERVE(cut_between_chunks, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n")
SERVE(cut_before_last_chunk_ends, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n")
SERVE(bad_chunk_size, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n12345\r\n0\r\n\r\n")
SERVE(cut_in_head, "HTTP/1.1 200 OK\r\nContent-Len")
SERVE(nothing, "")
SERVE(no_http, "SSH-2.0-OpenSSH_9.2\r\n")
SERVE(http_09, "<html>hello</html>")
SERVE(two_lengths, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\n1234567")
SERVE(list_length, "HTTP/1.1 200 OK\r\nContent-Length: 5, 7\r\n\r\n1234567")
SERVE(plus_length, "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n12345")
SERVE(odd_length, "HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n12345")
SERVE(length_and_chunks, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
SERVE(gzip_coding, "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")
SERVE(chunks_in_10, "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
SERVE(bare_lf, "HTTP/1.1 200 OK\nContent-Length: 0\n\n")
SERVE(bare_lf_later, "HTTP/1.1 200 OK\r\nX: y\nContent-Length: 0\r\n\r\n")
SERVE(bare_cr, "HTTP/1.1 200 OK\r\nX: y\rZ: z\r\nContent-Length: 0\r\n\r\n")
SERVE(folded, "HTTP/1.1 200 OK\r\nX: y\r\n z\r\nContent-Length: 0\r\n\r\n")
SERVE(space_before_colon, "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n12345")
SERVE(nul_byte, "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n")
SERVE(switching, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
SERVE(status_999, "HTTP/1.1 999 no\r\nContent-Length: 0\r\n\r\n")
SERVE(hints_then_field, "HTTP/1.1 103 Early Hints\r\n\r\nContent-Length: 3\r\n\r\nabc")
SERVE(closed_by_end, "HTTP/1.1 200 OK\r\n\r\n12345")

static void reset_at_once(peer_conn_t *c)
{
    if (peer_read(c))
        peer_reset(c);
}

static void reset_in_body(peer_conn_t *c)
{
    if (!peer_read(c))
        return;
    peer_write(c, "HTTP/1.1 200 OK\r\n\r\n12345"); /* where the end of the connection is the only end */
    usleep(50000);
    peer_reset(c);
}

static void endless_head(peer_conn_t *c)
{
    if (!peer_read(c))
        return;
    peer_write(c, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 5000; i++)
        peer_write(c, "x-filler: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n");
}

static void endless_line(peer_conn_t *c)
{
    static char line[300000];
    if (!peer_read(c))
        return;
    memset(line, 'y', sizeof line);
    peer_write(c, "HTTP/1.1 200 OK\r\nx: ");
    peer_write_n(c, line, sizeof line);
}

Test(upstream_curl, says_what_went_wrong)
{
    static const struct {
        peer_script_fn *serve;
        upstream_result_t result;
        const char *name;
    } rows[] = {
        {cut_with_length, UPSTREAM_CUT, "cut with a length"},
        {cut_in_chunk, UPSTREAM_CUT, "cut in a chunk"},
        {cut_between_chunks, UPSTREAM_CUT, "cut between chunks"},
        {cut_before_last_chunk_ends, UPSTREAM_CUT, "cut before the last CRLF"},
        {bad_chunk_size, UPSTREAM_CUT, "no chunk size"},
        {cut_in_head, UPSTREAM_CLOSED, "cut in the head"},
        {nothing, UPSTREAM_CLOSED, "closed without a word"},
        {reset_at_once, UPSTREAM_CLOSED, "reset"},
        {reset_in_body, UPSTREAM_CUT, "reset in a body without length"},
        {no_http, UPSTREAM_MALFORMED, "SSH"},
        {http_09, UPSTREAM_MALFORMED, "HTTP/0.9"},
        {two_lengths, UPSTREAM_MALFORMED, "two lengths"},
        {list_length, UPSTREAM_MALFORMED, "5, 7"},
        {plus_length, UPSTREAM_MALFORMED, "+5"},
        {odd_length, UPSTREAM_MALFORMED, "abc"},
        {length_and_chunks, UPSTREAM_MALFORMED, "length and chunks"},
        {gzip_coding, UPSTREAM_MALFORMED, "gzip, chunked"},
        {chunks_in_10, UPSTREAM_MALFORMED, "chunks in HTTP/1.0"},
        {bare_lf, UPSTREAM_MALFORMED, "bare LF"},
        {bare_lf_later, UPSTREAM_MALFORMED, "bare LF in a field"},
        {bare_cr, UPSTREAM_MALFORMED, "bare CR"},
        {folded, UPSTREAM_MALFORMED, "folded"},
        {space_before_colon, UPSTREAM_MALFORMED, "space before the colon"},
        {nul_byte, UPSTREAM_MALFORMED, "NUL"},
        {switching, UPSTREAM_MALFORMED, "101"},
        {status_999, UPSTREAM_MALFORMED, "999"},
        {hints_then_field, UPSTREAM_MALFORMED, "a field after hints"},
        {endless_head, UPSTREAM_HEAD_TOO_BIG, "endless head"},
        {endless_line, UPSTREAM_HEAD_TOO_BIG, "endless line"},
        {closed_by_end, UPSTREAM_OK, "ends with the connection"},
    };
    bench_t b;
    bench_open(&b);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        static peer_t p;
        seen_t s;
        peer_script_fn *const script[] = {rows[i].serve, serve_two, NULL};
        peer_open(&p, script, NULL, NULL);
        bench_get(&b, &p, &s);
        cr_expect_eq(s.result, rows[i].result, "%s: %s, expected %s", rows[i].name, upstream_word(s.result),
                     upstream_word(rows[i].result));
        cr_expect(s.result == UPSTREAM_OK || s.result == UPSTREAM_CUT || !s.head, "%s: nothing of it may be told",
                  rows[i].name);
        seen_release(&s);
        bench_get(&b, &p, &s); /* on another connection */
        cr_expect(s.result == UPSTREAM_OK && s.n == 5 && atomic_load(&p.connections) == 2, "%s: then %s", rows[i].name,
                  upstream_word(s.result));
        seen_release(&s);
        peer_close(&p);
    }
    bench_close(&b);
}

Test(upstream_curl, refused_unresolved_and_silent)
{
    bench_t b;
    bench_open(&b);
    static peer_t none;
    seen_t s = {0};
    int fd = socket(AF_INET, SOCK_STREAM, 0); /* bound, not listening */
    peer_script_fn *const script[] = {serve_two, NULL};
    peer_open(&none, script, NULL, NULL);
    uint16_t port = none.port;
    peer_close(&none);
    close(fd);
    bench_start(&b, &none, &s, (upstream_request_t){.to.port = port}, NULL);
    bench_until(&b, &s.done);
    cr_expect_eq(s.result, UPSTREAM_REFUSED);
    s = (seen_t){0};
    bench_start(&b, &none, &s, (upstream_request_t){.to.port = port, .to.host = SPAN("no-such-host.invalid")}, NULL);
    bench_until(&b, &s.done);
    cr_expect_eq(s.result, UPSTREAM_DNS);
    bench_close(&b);
}

/* ---- time ---- */

static void silent(peer_conn_t *c)
{
    if (peer_read(c))
        peer_linger(c);
}

static void dripping_head(peer_conn_t *c)
{
    if (!peer_read(c))
        return;
    peer_write(c, "HTTP/1.1 200 OK\r\n");
    while (!atomic_load(&c->peer->stop)) {
        peer_write(c, "x: y\r\n");
        usleep(50000);
    }
}

static void stalls_in_body(peer_conn_t *c)
{
    if (!peer_read(c))
        return;
    peer_write(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345");
    peer_linger(c);
}

static void slow_but_steady(peer_conn_t *c)
{
    if (!peer_read(c))
        return;
    peer_write(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
    for (int i = 0; i < 10; i++) {
        usleep(60000);
        peer_write(c, "x");
    }
    peer_linger(c);
}

Test(upstream_curl, each_phase_has_its_timeout)
{
    static const struct {
        peer_script_fn *serve;
        msec_t total;
        upstream_result_t result;
    } rows[] = {
        {silent, 0, UPSTREAM_FIRST_BYTE_TIMEOUT},       {dripping_head, MSEC_NEVER, UPSTREAM_FIRST_BYTE_TIMEOUT},
        {stalls_in_body, 5000, UPSTREAM_IDLE_TIMEOUT},  {slow_but_steady, 5000, UPSTREAM_OK},
        {slow_but_steady, 350, UPSTREAM_TOTAL_TIMEOUT}, {silent, 200, UPSTREAM_TOTAL_TIMEOUT}};
    bench_t b;
    bench_open(&b);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        static peer_t p;
        seen_t s = {0};
        peer_script_fn *const script[] = {rows[i].serve, NULL};
        peer_open(&p, script, NULL, NULL);
        bench_start(
            &b, &p, &s,
            (upstream_request_t){.first_byte_timeout = 300, .idle_timeout = 300, .total_timeout = rows[i].total}, NULL);
        bench_until(&b, &s.done);
        cr_expect_eq(s.result, rows[i].result, "%zu: %s", i, upstream_word(s.result));
        seen_release(&s);
        peer_close(&p);
    }
    bench_close(&b);
}

/* ---- pausing, stopping ---- */

enum { LARGE = 5 * 1024 * 1024 };

static void large(peer_conn_t *c)
{
    while (peer_read(c)) {
        char *bytes = malloc(LARGE), head[64];
        for (size_t i = 0; i < LARGE; i++)
            bytes[i] = (char)('a' + i % 23);
        snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", LARGE);
        peer_write(c, head);
        peer_write_n(c, bytes, LARGE);
        free(bytes);
    }
}

static void large_in_chunks(peer_conn_t *c)
{
    static char chunk[10007];
    if (!peer_read(c))
        return;
    peer_write(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-t\r\n\r\n");
    for (size_t sent = 0; sent < LARGE;) {
        size_t n = LARGE - sent < sizeof chunk ? LARGE - sent : sizeof chunk;
        char head[16];
        for (size_t i = 0; i < n; i++)
            chunk[i] = (char)('a' + (sent + i) % 23);
        snprintf(head, sizeof head, "%zx\r\n", n);
        peer_write(c, head);
        peer_write_n(c, chunk, n);
        peer_write(c, "\r\n");
        sent += n;
    }
    peer_write(c, "0\r\nx-t: trailer\r\n\r\n");
    peer_linger(c);
}

Test(upstream_curl, a_reader_may_pause)
{
    static peer_script_fn *const script[] = {large, large_in_chunks, NULL};
    static peer_t p;
    bench_t b;
    peer_open(&p, script, NULL, NULL);
    bench_open(&b);
    for (int round = 0; round < 2; round++) {
        seen_t s = {.pause_every = 700000};
        bench_start(&b, &p, &s, (upstream_request_t){.idle_timeout = 200}, round == 0 ? "connection: close" : NULL);
        int pauses = 0;
        for (msec_t end = b.loop.now.boot + 20000; !s.done && b.loop.now.boot < end;) {
            bench_turn(&b);
            if (!s.paused)
                continue;
            if (pauses++ == 1)
                bench_for(&b, 500); /* slow readers are no reason for a timeout */
            s.paused = false;
            size_t before = s.n;
            b.client->ops->resume(s.call);
            (void)before;
        }
        cr_expect(s.done && s.result == UPSTREAM_OK, "round %d: %s", round, upstream_word(s.result));
        cr_expect_eq(s.n, LARGE);
        cr_expect_gt(pauses, 4);
        bool right = true;
        for (size_t i = 0; i < s.n; i++)
            right &= s.body[i] == (char)('a' + i % 23);
        cr_expect(right, "bytes are missing, doubled or out of order");
        cr_expect_null(strstr(s.fields, "x-t:"), "trailers are no fields");
        seen_release(&s);
        if (round == 0)
            bench_for(&b, 50);
    }
    bench_close(&b);
    peer_close(&p);
}

SERVE(hints,
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: "
      "5\r\n\r\nhello")

Test(upstream_curl, informational_heads_come_before_the_final_one)
{
    static peer_script_fn *const script[] = {hints, NULL};
    static peer_t p;
    bench_t b;
    seen_t s;
    peer_open(&p, script, NULL, NULL);
    bench_open(&b);
    bench_get(&b, &p, &s);
    cr_expect(s.result == UPSTREAM_OK && s.informational == 2 && s.status == 200 && s.n == 5);
    cr_expect_null(strstr(s.fields, "link"));
    seen_release(&s);
    bench_close(&b);
    peer_close(&p);
}

Test(upstream_curl, may_be_cancelled_from_within_any_event)
{
    bench_t b;
    bench_open(&b);
    for (int where = 1; where <= 3; where++) {
        static peer_t p;
        static peer_script_fn *const script[] = {hints, serve_two, NULL};
        seen_t s = {.cancel_in = where}, after;
        peer_open(&p, script, NULL, NULL);
        bench_start(&b, &p, &s, (upstream_request_t){0}, NULL);
        for (msec_t end = b.loop.now.boot + 5000; s.call != NULL && b.loop.now.boot < end;)
            bench_turn(&b);
        cr_expect_null(s.call);
        bench_get(&b, &p, &after); /* the client is none the worse; the half-read connection is not used again */
        cr_expect(after.result == UPSTREAM_OK && after.n == 5 && atomic_load(&p.connections) == 2, "cancel in %d",
                  where);
        cr_expect(!s.done);
        seen_release(&after);
        seen_release(&s);
        peer_close(&p);
    }
    bench_close(&b);
}

Test(upstream_curl, may_be_cancelled_in_body_after_a_pause_and_before_it_began)
{
    static peer_script_fn *const script[] = {large, serve_two, NULL};
    static peer_t p;
    bench_t b;
    seen_t s = {.pause_every = 100000}, never = {0}, after;
    peer_open(&p, script, NULL, NULL);
    bench_open(&b);
    bench_start(&b, &p, &s, (upstream_request_t){0}, NULL);
    bench_until(&b, &s.paused);
    s.cancel_in = 3; /* in the very call that resumes, when bytes that wait are told at once */
    b.client->ops->resume(s.call);
    bench_for(&b, 50);
    cr_expect(s.call == NULL && !s.done);
    seen_release(&s);
    bench_start(&b, &p, &never, (upstream_request_t){0}, NULL);
    b.client->ops->cancel(never.call);
    never.call = NULL;
    bench_get(&b, &p, &after);
    cr_expect(after.result == UPSTREAM_OK && !never.done && !never.head);
    seen_release(&after);
    bench_close(&b);
    peer_close(&p);
}

Test(upstream_curl, what_runs_at_the_end_is_abandoned)
{
    static peer_script_fn *const script[] = {stalls_in_body, NULL};
    static peer_t p;
    bench_t b;
    seen_t s = {0}, waiting = {0};
    peer_open(&p, script, NULL, NULL);
    bench_open(&b);
    bench_start(&b, &p, &s, (upstream_request_t){0}, NULL);
    bench_until(&b, &s.head);
    bench_start(&b, &p, &waiting, (upstream_request_t){0}, NULL); /* its kick is on the way when the client goes */
    bench_close(&b);
    cr_expect(s.done && s.result == UPSTREAM_ABANDONED);
    cr_expect(waiting.done && waiting.result == UPSTREAM_ABANDONED);
    seen_release(&s);
    peer_close(&p);
}

/* A kept connection that the server has closed meanwhile: a GET goes out again, a POST takes a fresh one from the
 * start. */
Test(upstream_curl, a_dead_kept_connection_costs_nobody_an_error)
{
    static peer_script_fn *const script[] = {one_then_close, one_then_close, one_then_close, one_then_close, NULL};
    static peer_t p;
    bench_t b;
    seen_t s;
    peer_open(&p, script, NULL, NULL);
    bench_open(&b);
    for (int i = 0; i < 2; i++) {
        bench_get(&b, &p, &s);
        cr_expect_eq(s.result, UPSTREAM_OK, "%s", upstream_word(s.result));
        seen_release(&s);
        bench_for(&b, 10); /* not yet closed when the next one goes out, or just then */
        s = (seen_t){0};
        bench_start(&b, &p, &s,
                    (upstream_request_t){.method = SPAN("POST"), .has_body = true, .body = SPAN("x"), .once = true},
                    NULL);
        bench_until(&b, &s.done);
        cr_expect_eq(s.result, UPSTREAM_OK, "%s", upstream_word(s.result));
        seen_release(&s);
    }
    cr_expect_eq(atomic_load(&p.requests), 4);
    bench_close(&b);
    peer_close(&p);
}

Test(upstream_curl, speaks_over_unix_sockets)
{
    static peer_script_fn *const script[] = {serve_two, NULL};
    static peer_t p;
    char path[64];
    bench_t b;
    seen_t s;
    snprintf(path, sizeof path, "/tmp/brink-peer-%d", (int)getpid());
    peer_open(&p, script, NULL, path);
    bench_open(&b);
    bench_get(&b, &p, &s);
    cr_expect(s.result == UPSTREAM_OK && s.n == 5);
    cr_expect(strstr(p.request[0], "Host: site.example\r\n") != NULL);
    seen_release(&s);
    bench_close(&b);
    peer_close(&p);
}

Test(upstream_curl, many_at_once)
{
    enum { MANY = 200 };
    static peer_script_fn *script[MANY + 1];
    static peer_t p;
    static seen_t s[MANY];
    bench_t b;
    for (int i = 0; i < MANY; i++)
        script[i] = one_then_close;
    script[MANY] = NULL;
    peer_open(&p, script, NULL, NULL);
    bench_open(&b);
    for (int i = 0; i < MANY; i++)
        bench_start(&b, &p, &s[i], (upstream_request_t){.first_byte_timeout = 60000, .connect_timeout = 60000}, NULL);
    for (int i = 0; i < MANY; i++)
        if (i % 3 == 0) {
            b.client->ops->cancel(s[i].call);
            s[i].call = NULL;
        }
    for (int i = 0; i < MANY; i++)
        if (i % 3 != 0) {
            bench_until(&b, &s[i].done);
            cr_expect(s[i].result == UPSTREAM_OK && s[i].n == 5, "%d: %s", i, upstream_word(s[i].result));
            seen_release(&s[i]);
        }
    bench_close(&b);
    peer_close(&p);
}
