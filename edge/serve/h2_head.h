/* Encoder of HTTP/2 response heads (HPACK, RFC 7541), in place of the library's, which indexes every field: fields that
 * differ by object (ETag, Age, Cache-Status …) would churn the dynamic table and cost two allocations each. Here a
 * field enters the table when the same name and value are sent for the second time, so what repeats costs one byte and
 * what doesn't costs nothing but its bytes. Set-Cookie is never indexed (RFC 7541 7.1.3). The peer's
 * SETTINGS_HEADER_TABLE_SIZE is obeyed, which the library does not do.
 *
 * One for a connection; zero-initialise, then h2_head_init. */
#ifndef BRINK_SERVE_H2_HEAD_H
#define BRINK_SERVE_H2_HEAD_H

#include "edge/http/fields.h"

enum { H2_HEAD_TABLE_BYTES = 4096, H2_HEAD_ENTRIES = 128, H2_HEAD_SEEN = 64, H2_HEAD_OVERHEAD = 64 };

typedef struct h2_head_entry {
    uint32_t hash, name_hash;
    uint32_t name_len, value_len;
    char *bytes; /* name, then value */
} h2_head_entry_t;

typedef struct h2_head {
    h2_head_entry_t *ring;       /* allocated with the first entry */
    uint32_t first, count;       /* ring[first] is the newest: HPACK index 62 */
    uint32_t bytes, capacity;    /* of the dynamic table, as RFC 7541 4.1 counts */
    uint32_t lowest;             /* lowest capacity since the last block */
    bool changed;                /* a size update must open the next block */
    uint32_t seen[H2_HEAD_SEEN]; /* hashes of fields sent before, by their low bits */
} h2_head_t;

void h2_head_init(h2_head_t *h);
void h2_head_release(h2_head_t *h);
/* The peer's SETTINGS_HEADER_TABLE_SIZE, every time it comes (RFC 7541 4.2). */
void h2_head_set_capacity(h2_head_t *h, uint32_t peer);
/* Somebody else wrote a block on the connection: both tables start anew with the next one. */
void h2_head_resync(h2_head_t *h);
/* Most bytes that h2_head_encode can write. */
size_t h2_head_bound(const field_t *v, size_t n);
/* Writes the block to dst and returns its size. status: 100 to 999; content_length -1: none. Names must be lower case.
 */
size_t h2_head_encode(h2_head_t *h, uint8_t *dst, int status, const field_t *v, size_t n, int64_t content_length);

#endif
