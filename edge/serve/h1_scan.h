/* What stands between an HTTP/1 client and the library's lax parser: every byte is looked at here first, and only
 * messages that two parsers can't read differently are let through (RFC 9112). Pure: bytes in, verdict out.
 *
 * Refused with 400: line ends other than CR LF, whitespace before the colon or at the start of a line (obs-fold), NUL
 * and other control characters, a request line with anything but single spaces, targets in none of the four forms,
 * several Host fields or none in HTTP/1.1, Content-Length that is repeated or not digits, Transfer-Encoding other than
 * "chunked", in HTTP/1.0 or beside Content-Length, chunk sizes that are not plain hexadecimal, chunk extensions
 * that end within quotes, chunk data without its CR LF, malformed trailers. 413, 414, 431, 505 for what they stand for;
 * 503 for a body that finds no room. A body that is announced as too large is refused when its head ends, so nobody is
 * told to go on and send it (RFC 9110 10.1.1). */
#ifndef BRINK_SERVE_H1_SCAN_H
#define BRINK_SERVE_H1_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "edge/base/span.h"

enum {
    H1_SCAN_CHUNK_LINE_MAX = 1024,   /* one chunk-size line with extensions */
    H1_SCAN_CHUNK_EXTRA_MAX = 16384, /* all extensions and trailers of one request */
    H1_SCAN_FOREIGN = 1              /* as a status: a line that ends in no version of HTTP */
};

typedef struct h1_scan_limits {
    size_t header_bytes, header_count, target_bytes;
    uint64_t max_body;
    /* What the host that is asked for accepts, if that is less (n 0: HTTP/1.0 names none); NULL: max_body for all. */
    uint64_t (*body_limit)(void *arg, const char *host, size_t n);
    void *arg;
    uint64_t room; /* bytes of bodies that may still come */
} h1_scan_limits_t;

typedef enum h1_scan_phase {
    H1_SCAN_REQUEST_LINE,
    H1_SCAN_FIELDS,
    H1_SCAN_BODY,
    H1_SCAN_CHUNK_SIZE,
    H1_SCAN_CHUNK_DATA,
    H1_SCAN_CHUNK_END,
    H1_SCAN_TRAILERS
} h1_scan_phase_t;

/* One for a connection, zero-initialised; private but for what is commented. */
typedef struct h1_scan {
    h1_scan_phase_t phase; /* REQUEST_LINE and line == size == 0: between requests */
    size_t size;           /* bytes of the current request's head that were seen */
    size_t line;           /* of these, where the unfinished line begins */
    size_t field_count;
    unsigned hosts, lengths, codings;
    bool minor_zero, skipped_empty, is_options, is_connect, absolute;
    size_t host_at, host_n; /* of the head's bytes: the authority that is asked for */
    uint64_t most;          /* bytes of body that are accepted; known when the head has ended */
    bool expects;           /* has "Expect": the library will pause to send 100 */
    uint64_t length;        /* Content-Length, or what is left of body or chunk */
    uint64_t body;          /* body bytes of the current request so far */
    unsigned digits;        /* of the chunk size, or the step within CR LF */
    size_t extra;           /* bytes of chunk lines and trailers of this request */
    size_t trailer_line;    /* bytes in the current chunk or trailer line */
    bool in_extension, in_quotes, escaped, saw_cr, in_name;
} h1_scan_t;

typedef struct h1_scan_result {
    int status;        /* 0: all is well so far; else what to answer, and then close; or H1_SCAN_FOREIGN */
    size_t refused_at; /* offset at which the refused request began; requests before it are whole and well */
    size_t requests;   /* requests that became complete */
    bool expects;      /* one of the requests carries Expect */
} h1_scan_result_t;

/* Scans buf[from..to). Unless a body is being read, buf[0] is the first byte of the current request, of which
 * buf[0..from) was scanned before. */
h1_scan_result_t h1_scan_feed(h1_scan_t *s, const h1_scan_limits_t *limits, const char *buf, size_t from, size_t to);
/* What the first line of a head says, whether it is well or not: without the form of one, all of it is `target` and
 * `method` is .p NULL. For people; nothing is decided by it. */
void h1_scan_words(span_t head, span_t *method, span_t *target);
bool h1_scan_idle(const h1_scan_t *s); /* between requests */
bool h1_scan_in_body(const h1_scan_t *s);

#endif
