/* Keys and values of a segment's trees, for the files of segment. */
#ifndef BRINK_WARM_SEGMENT_PRIV_H
#define BRINK_WARM_SEGMENT_PRIV_H

#include <endian.h>

#include "edge/warm/segment.h"

enum { SEGMENT_FORM = 3, SEGMENT_DBS = 3, SEGMENT_SUM = 8 };

typedef struct segment_index_key {
    uint64_t hi, lo, variant;
} segment_index_key_t;
typedef struct segment_chunk_key {
    uint64_t id;
    uint32_t number;
} __attribute__((packed)) segment_chunk_key_t;
typedef struct segment_index_value {
    uint64_t id, stream, page;
} segment_index_value_t;

static inline segment_index_key_t segment_index_key(digest_t d, uint64_t variant)
{
    return (segment_index_key_t){htobe64(d.hi), htobe64(d.lo), htobe64(variant)};
}
static inline segment_chunk_key_t segment_chunk_key(uint64_t id, uint32_t number)
{
    return (segment_chunk_key_t){.id = htobe64(id), .number = htobe32(number)};
}

/* Key and value of an index entry: ERR_CORRUPT. */
static inline err_t segment_index_entry(span_t key, span_t value, segment_entry_t *out)
{
    segment_index_key_t k;
    segment_index_value_t v;
    if (key.n != sizeof k || value.p == NULL || value.n != sizeof v)
        return ERR_CORRUPT;
    memcpy(&k, key.p, sizeof k);
    memcpy(&v, value.p, sizeof v);
    *out = (segment_entry_t){.variant = be64toh(k.variant), .id = v.id, .stream = v.stream, .page = v.page};
    return ERR_OK;
}

/* segment.c */
segment_t *segment_new(char *path, uint64_t number, uint64_t epoch);
void segment_close(segment_t *s);
void segment_measure(segment_t *s);
/* Reads the last commit from the file and shows it to readers. */
err_t segment_publish(segment_t *s);

#endif
