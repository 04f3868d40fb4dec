/* Decoder of the chunked transfer coding (RFC 9112 7.1), as strict as h1_scan is with clients: line ends are CR LF,
 * sizes plain hexadecimal, an extension follows the size at once. Trailers are checked for their form and dropped.
 * Pure; the verdict doesn't depend on how the bytes are split. */
#ifndef BRINK_HTTP_CHUNKED_H
#define BRINK_HTTP_CHUNKED_H

#include "edge/base/span.h"

enum {
    CHUNKED_LINE_MAX = 4096,  /* bytes of one size line with its extensions, and of one trailer */
    CHUNKED_EXTRA_MAX = 65536 /* of all trailers */
};

/* Zero-initialised at the beginning of a body; private. */
typedef struct chunked {
    int state;
    uint64_t left; /* of the chunk */
    size_t digits, line, extra;
} chunked_t;

typedef enum chunked_verdict { CHUNKED_MORE, CHUNKED_DATA, CHUNKED_END, CHUNKED_BAD } chunked_verdict_t;

/* Takes bytes off the front of *in. DATA: *data is a part of the content, a view into them, and there may be more.
 * MORE: all were taken. END: the body is whole, and what is left in *in isn't part of it. */
chunked_verdict_t chunked_next(chunked_t *c, span_t *in, span_t *data);

#endif
