/* Reading an upstream's response head, line by line, as strictly as a cache must (RFC 9112). Pure. */
#ifndef BRINK_FETCH_HEAD_H
#define BRINK_FETCH_HEAD_H

#include "edge/http/fields.h"

typedef struct head {
    arena_t arena;          /* of this head; emptied by each new status line */
    fields_t fields;        /* lower-case names; framing fields and hop-by-hop fields taken off when done */
    int status;             /* 0 until a status line was read */
    int minor;              /* of HTTP/1.x */
    int64_t content_length; /* -1 unknown */
    bool chunked;
    bool unknown_coding; /* a Transfer-Encoding that names none: the body ends with the connection */
    bool ended;          /* an informational head was told: what follows is another one */
    bool may_upgrade;    /* set by who asked for it: a 101 that is well formed is FINAL then */
    span_t upgrade;      /* of such a 101: what the connection is for from now on */
    size_t bytes;
} head_t;

typedef enum head_verdict { HEAD_MORE, HEAD_INFORMATIONAL, HEAD_FINAL, HEAD_BAD, HEAD_OVER } head_verdict_t;

void head_init(head_t *h);
void head_release(head_t *h);
/* One line as it came off the wire, with its CRLF. INFORMATIONAL and FINAL come with the empty line; a head of 101 is
 * bad unless may_upgrade was set (nobody asked for an upgrade). After INFORMATIONAL the next line must be a status
 * line. */
head_verdict_t head_line(head_t *h, span_t line);

/* The same of HTTP/2, whose framing was checked before (RFC 9113 8.1, 8.2): the status begins a head; each field; the
 * end. A field that only a connection of HTTP/1 could have is bad. */
head_verdict_t head_begin(head_t *h, span_t status);
head_verdict_t head_field(head_t *h, span_t name, span_t value);
head_verdict_t head_finish(head_t *h);

#endif
