/* How a stored response is written to disk: a head, checksummed by itself, and the body behind it; the whole stream is
 * cut into chunks that carry a checksum each. Pure. Integers are in the machine's order: the files never leave the
 * machine.
 *
 * Everything is checked when it is read, and a record is never trusted to be what its index entry says: bytes that
 * don't add up are ERR_CORRUPT, which callers treat as a miss. */
#ifndef BRINK_WARM_RECORD_H
#define BRINK_WARM_RECORD_H

#include "edge/base/err.h"
#include "edge/store/object.h"

enum {
    RECORD_CHUNK = 262128,             /* with a page's head of 16 bytes exactly 64 pages */
    RECORD_PAYLOAD = RECORD_CHUNK - 8, /* a chunk begins with its checksum */
    RECORD_MAX_HEAD = 176 * 1024, /* all ceilings of http and policy together fit, so a head is in the first chunk */
    RECORD_MAX_TAGS = 2000        /* digests: a group counts by its name and within its origin */
};

/* Views into the bytes that were parsed. */
typedef struct record {
    digest_t digest;
    uint64_t variant;
    uint64_t began, checked; /* positions of the purge ledger: where its fetch began, and what `mark` holds for */
    uint32_t mark;           /* mark_t */
    stored_t meta;
    span_t key, selecting, fields;
    uint16_t fields_n;
    uint32_t uri_at, uri_len, tags_n;
    const char *tags; /* tags_n digests, not aligned */
    uint32_t head_size;
    uint64_t body_size;
} record_t;

/* ERR_TOO_BIG: over RECORD_MAX_HEAD or RECORD_MAX_TAGS. */
err_t record_head_size(const object_t *o, size_t *size);
/* `mark`: the purge ledger's word up to position `checked`; size as answered above. */
void record_pack(const object_t *o, uint32_t mark, uint64_t checked, char *out, size_t size);
/* Says in a head that was parsed what is known since. */
void record_restamp(char *head, const record_t *r, uint32_t mark, uint64_t checked);
/* `bytes` begin with a head; more may follow. ERR_CORRUPT. */
err_t record_parse(span_t bytes, record_t *out);
/* Takes the reference to a complete body of r->body_size bytes. Its stamp is r->began, r->checked, r->mark. */
object_t *record_object(const record_t *r, body_t *body);

/* What the payload of chunk `number` of record `id` must add up to: a chunk in the wrong place doesn't. */
uint64_t record_sum(span_t payload, uint64_t id, uint32_t number);
/* The same of a payload that lies in two places. */
uint64_t record_sum_parts(span_t a, span_t b, uint64_t id, uint32_t number);
static inline uint64_t record_chunks(uint64_t stream)
{
    return (stream + RECORD_PAYLOAD - 1) / RECORD_PAYLOAD;
}

#endif
