/* How many fields a header block of HTTP/2 names, without decoding it: an entry of the table costs its sender one byte
 * and the decoder a field each time (an HPACK bomb). Table size updates count, too. Pure; counts on over any split. */
#ifndef BRINK_SERVE_H2_COUNT_H
#define BRINK_SERVE_H2_COUNT_H

#include "edge/base/span.h"

/* One for a block, zero-initialised; private but for `fields`. */
typedef struct h2_count {
    size_t fields;
    uint64_t skip; /* of a string: its length, or what is left of it */
    uint8_t step, shift;
    bool in_name, named; /* the string that comes is a name; the representation's own index names the field */
} h2_count_t;

/* The next bytes of the block. What is no HPACK is counted somehow; the decoder refuses it. */
void h2_count_feed(h2_count_t *c, span_t bytes);

#endif
