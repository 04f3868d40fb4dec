/* The access log: one line a request, never at the price of the event loop. A worker copies the raw record into its own
 * ring (bounded, one producer, one consumer, no lock); one writer thread turns records into lines and writes them. When
 * the ring is full, because whoever reads the log is slower than the traffic, the line is dropped and counted as
 * brink_log_dropped_total.
 *
 * Threads: accesslog_write(log, worker, …) only on that worker's thread; accesslog_reopen from any thread (not from a
 * signal handler); open and close from the thread that owns the log. A NULL log swallows everything. */
#ifndef BRINK_ADMIN_ACCESSLOG_H
#define BRINK_ADMIN_ACCESSLOG_H

#include "edge/base/err.h"
#include "edge/base/span.h"
#include "edge/base/time.h"

enum {
    ACCESSLOG_RING_BYTES = 2 * 1024 * 1024, /* a worker: some 5,000 requests */
    ACCESSLOG_RING_OFF = 256 * 1024,        /* … where the log is off, for those who ask for lines */
    ACCESSLOG_NAP_MS = 20                   /* lines are gathered so long before they are written */
};

/* What is known of a request when it ended. Text fields and the bytes of each that are kept; more is cut. An absent one
 * (.p NULL) is left out of JSON and "-" in the combined format. */
#define ACCESSLOG_TEXTS(X)                                                                                             \
    X(client, 64) /* address without port */                                                                           \
    X(method, 32)                                                                                                      \
    X(scheme, 8)                                                                                                       \
    X(host, 260)                                                                                                       \
    X(target, 8192)       /* as received: path and query */                                                            \
    X(cache, 16)          /* accesslog_cache_word */                                                                   \
    X(cache_status, 1024) /* the value of Cache-Status */                                                              \
    X(tier, 8)            /* memory, disk, shield */                                                                   \
    X(upstream, 260)                                                                                                   \
    X(request_id, 128)                                                                                                 \
    X(referer, 2048)                                                                                                   \
    X(user_agent, 1024)                                                                                                \
    X(site, 260)                                                                                                       \
    X(node, 256)

typedef struct accesslog_record {
#define X(name, most) span_t name;
    ACCESSLOG_TEXTS(X)
#undef X
    msec_t time;         /* Unix ms when the request was complete */
    int64_t duration_us; /* from then to the end */
    int64_t upstream_us; /* to the head of the upstream's response; -1: nothing was sent upstream */
    uint64_t bytes;      /* of the body sent */
    int status;          /* 0: the client left before there was one */
    int protocol;        /* 10, 11, 20 */
} accesslog_record_t;

typedef enum accesslog_format { ACCESSLOG_JSON, ACCESSLOG_COMBINED } accesslog_format_t;
typedef enum accesslog_to { ACCESSLOG_OFF, ACCESSLOG_STDOUT, ACCESSLOG_FILE, ACCESSLOG_SYSLOG } accesslog_to_t;

typedef struct recent recent_t; /* recent.h */

typedef struct accesslog_options { /* copied */
    accesslog_to_t to;
    accesslog_format_t format;
    const char *path;  /* of the file; for SYSLOG its socket, NULL = /dev/log */
    unsigned workers;  /* rings */
    recent_t *recent;  /* where lines are kept for who asks for them; must outlive the log. NULL: nowhere */
    size_t ring_bytes; /* 0 = ACCESSLOG_RING_BYTES; rounded up to a power of two */
} accesslog_options_t;

typedef struct accesslog accesslog_t;

/* ERR_IO with a sentence in `err` when the file can't be opened. OFF without `recent` gives ERR_OK and *out == NULL. */
err_t accesslog_open(const accesslog_options_t *o, accesslog_t **out, char *err, size_t err_size);
/* Is a record of a request that ended at `wall` wanted? Not where the log is off and nobody asks for lines. Any thread. */
bool accesslog_wanted(const accesslog_t *log, msec_t wall);
/* True: the line will be written. Nothing of the record is needed after the call. */
bool accesslog_write(accesslog_t *log, unsigned worker, const accesslog_record_t *r);
/* The file was moved away: the writer goes on in a new one of the same name (the old one if that can't be opened). */
void accesslog_reopen(accesslog_t *log);
/* Writes what is in the rings, at most 1 s against a reader that has stopped, and joins the writer. No accesslog_write
 * may run any more. */
void accesslog_close(accesslog_t *log);

/* ---- the lines: pure ---- */
enum { ACCESSLOG_LINE_MAX = 96 * 1024 }; /* of a record whose fields are within their ceilings */
/* One line with its newline into buf (ACCESSLOG_LINE_MAX bytes of room); returns its length. JSON as RFC 8259 says it:
 * UTF-8 (bytes that are none become U+FFFD), control characters escaped. Combined as Apache's: what is not printable
 * ASCII as \xhh. */
size_t accesslog_line(accesslog_format_t format, const accesslog_record_t *r, char *buf);
/* What stands under "cache" for a result (LABEL_RESULT_…); .p NULL beyond the last. */
span_t accesslog_cache_word(unsigned result);

/* What lines are chosen by. The statuses that a text means, inclusive; false: it is none of ACCESSLOG_STATUSES. */
#define ACCESSLOG_STATUSES "a status from 100 to 599, a class from 1xx to 5xx, or 0: the client left before there was one"
bool accesslog_statuses(span_t text, int *from, int *to);
/* Is it a word of those, in any case? */
#define ACCESSLOG_CACHE_WORDS "HIT, MISS, STALE, REVALIDATED, BYPASS or ERROR"
bool accesslog_is_cache_word(span_t text);

#endif
