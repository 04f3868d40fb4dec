/* One content coding of one body, piece by piece, by zlib, brotli or zstd.
 *
 * A coder belongs to whoever made it, and to one thread at a time. What comes out is appended to a buffer of the
 * caller's. */
#ifndef BRINK_CODING_ENCODER_H
#define BRINK_CODING_ENCODER_H

#include "edge/base/err.h"
#include "edge/http/coding.h"

typedef enum encoder_effort {
    ENCODER_LIVE, /* for one client, on an event loop: 40 to 400 MB/s */
    ENCODER_KEPT  /* for all who come, by a helper thread */
} encoder_effort_t;

typedef enum encoder_end {
    ENCODER_MORE,
    ENCODER_FLUSH, /* what went in can be decoded from what came out */
    ENCODER_FINISH /* the body is complete; nothing more goes in */
} encoder_end_t;

typedef struct encoded {
    char *p; /* malloc'ed; NULL: nothing yet */
    size_t n, room;
    size_t most; /* ceiling of n: more is ERR_TOO_BIG */
} encoded_t;

typedef struct encoder encoder_t;

/* length: of the body, or -1 when unknown; it must be right. NULL: there is no memory for it. */
encoder_t *encoder_new(coding_t c, encoder_effort_t effort, int64_t length);
void encoder_free(encoder_t *e);
/* Takes all of `in`. ERR_TOO_BIG: over out->most; any error ends the coder. */
err_t encoder_put(encoder_t *e, span_t in, encoder_end_t end, encoded_t *out);
/* Memory that one takes at most, without its output. */
size_t encoder_bytes(coding_t c, encoder_effort_t effort);

#endif
