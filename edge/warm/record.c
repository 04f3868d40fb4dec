/* The head is a fixed part, then key, selecting fields, tags and fields, in this order, without gaps. Its checksum
 * covers everything behind itself. Lengths are checked against the head's own size before anything is looked at, and
 * the fields' inner lengths by whoever knows their form. */
#include "edge/warm/record.h"

#if defined(__x86_64__)
#include <xxh_x86dispatch.h> /* by what the processor can do: 23 µs a mebibyte with AVX2, 52 without */
#else
#include <xxhash.h>
#endif

#include "edge/base/check.h"
#include "edge/base/mem.h"
#include "edge/policy/reuse.h"

#define RECORD_MAGIC 0x336b6e697262u /* "brink3" */

typedef struct record_fixed {
    uint64_t magic, sum; /* sum: of all that follows */
    uint32_t head_size, mark;
    uint64_t body_size, began, checked, variant;
    digest_t digest;
    int32_t status;
    uint32_t flags;
    int64_t date, request_time, response_time, initial_age, lifetime, stale_while_revalidate, stale_if_error,
        last_modified, content_length;
    uint32_t key_n, uri_at, uri_n, selecting_n, tags_n, fields_size, fields_n, zero;
} record_fixed_t;
_Static_assert(sizeof(record_fixed_t) == 184, "no padding in what is written");

enum { RECORD_SUMMED = 16 }; /* offset of what the checksum covers */

err_t record_head_size(const object_t *o, size_t *size)
{
    size_t n = sizeof(record_fixed_t) + object_key(o).n + object_selecting(o).n + (size_t)o->tags_n * sizeof(digest_t) +
               object_fields(o)->size;
    if (n > RECORD_MAX_HEAD || o->tags_n > RECORD_MAX_TAGS)
        return ERR_TOO_BIG;
    *size = n;
    return ERR_OK;
}

static char *record_add(char *at, const void *bytes, size_t n)
{
    if (n > 0)
        memcpy(at, bytes, n);
    return at + n;
}

void record_pack(const object_t *o, uint32_t mark, uint64_t checked, char *out, size_t size)
{
    stored_t meta = object_meta(o);
    record_fixed_t f = {
        .magic = RECORD_MAGIC,
        .head_size = (uint32_t)size,
        .mark = mark,
        .body_size = body_length(object_body(o)),
        .began = o->stamp.began,
        .checked = checked,
        .variant = object_variant(o),
        .digest = o->digest,
        .status = meta.status,
        .flags = meta.flags,
        .date = meta.date,
        .request_time = meta.request_time,
        .response_time = meta.response_time,
        .initial_age = meta.initial_age,
        .lifetime = meta.lifetime,
        .stale_while_revalidate = meta.stale_while_revalidate,
        .stale_if_error = meta.stale_if_error,
        .last_modified = meta.last_modified,
        .content_length = meta.content_length,
        .key_n = (uint32_t)object_key(o).n,
        .uri_at = o->uri_at,
        .uri_n = o->uri_len,
        .selecting_n = (uint32_t)object_selecting(o).n,
        .tags_n = o->tags_n,
        .fields_size = object_fields(o)->size,
        .fields_n = object_fields(o)->count,
    };
    char *at = out + sizeof f;
    at = record_add(at, object_text(o), object_key(o).n + object_selecting(o).n);
    at = record_add(at, object_tags(o), o->tags_n * sizeof(digest_t));
    at = record_add(at, object_fields(o)->bytes, object_fields(o)->size);
    CHECK(at == out + size);
    memcpy(out, &f, sizeof f);
    f.sum = XXH3_64bits(out + RECORD_SUMMED, size - RECORD_SUMMED);
    memcpy(out, &f, RECORD_SUMMED);
}

void record_restamp(char *head, const record_t *r, uint32_t mark, uint64_t checked)
{
    record_fixed_t f;
    memcpy(&f, head, sizeof f);
    f.mark = mark;
    f.checked = checked;
    memcpy(head, &f, sizeof f);
    f.sum = XXH3_64bits(head + RECORD_SUMMED, r->head_size - RECORD_SUMMED);
    memcpy(head, &f, RECORD_SUMMED);
}

err_t record_parse(span_t b, record_t *out)
{
    record_fixed_t f;
    if (b.n < sizeof f)
        return ERR_CORRUPT;
    memcpy(&f, b.p, sizeof f);
    if (f.magic != RECORD_MAGIC || f.head_size < sizeof f || f.head_size > b.n || f.head_size > RECORD_MAX_HEAD)
        return ERR_CORRUPT;
    if (XXH3_64bits(b.p + RECORD_SUMMED, f.head_size - RECORD_SUMMED) != f.sum)
        return ERR_CORRUPT;
    if (f.tags_n > RECORD_MAX_TAGS || f.fields_n > FIELDS_MAX_COUNT ||
        sizeof f + (uint64_t)f.key_n + f.selecting_n + f.tags_n * sizeof(digest_t) + f.fields_size != f.head_size ||
        (uint64_t)f.uri_at + f.uri_n > f.key_n || f.mark > MARK_HARD || f.checked < f.began || f.uri_at > UINT8_MAX ||
        f.uri_n > OBJECT_MAX_URI || f.body_size > INT64_MAX || (f.flags & STORED_PART) != 0 ||
        ((f.flags & STORED_PIECES) != 0 && f.content_length < 0) || (f.selecting_n == 0 && f.variant != 0))
        return ERR_CORRUPT;
    *out = (record_t){
        .digest = f.digest,
        .variant = f.variant,
        .began = f.began,
        .checked = f.checked,
        .mark = f.mark,
        .meta = {.status = f.status,
                 .flags = f.flags,
                 .date = f.date,
                 .request_time = f.request_time,
                 .response_time = f.response_time,
                 .initial_age = f.initial_age,
                 .lifetime = f.lifetime,
                 .stale_while_revalidate = f.stale_while_revalidate,
                 .stale_if_error = f.stale_if_error,
                 .last_modified = f.last_modified,
                 .content_length = f.content_length},
        .uri_at = f.uri_at,
        .uri_len = f.uri_n,
        .tags_n = f.tags_n,
        .fields_n = (uint16_t)f.fields_n,
        .head_size = f.head_size,
        .body_size = f.body_size,
    };
    span_t rest = span_from(span_upto(b, f.head_size), sizeof f);
    out->key = span_upto(rest, f.key_n);
    rest = span_from(rest, f.key_n);
    out->selecting = span_upto(rest, f.selecting_n);
    rest = span_from(rest, f.selecting_n);
    out->tags = rest.p;
    out->fields = span_from(rest, f.tags_n * sizeof(digest_t));
    return fieldblock_validate(out->fields.p, out->fields.n, out->fields_n) == ERR_OK ? ERR_OK : ERR_CORRUPT;
}

object_t *record_object(const record_t *r, body_t *body)
{
    CHECK(body_state(body) == BODY_COMPLETE && body_length(body) == r->body_size);
    fieldblock_t *fields = mem_alloc(sizeof *fields + r->fields.n);
    fields->size = (uint32_t)r->fields.n;
    fields->count = r->fields_n;
    if (r->fields.n > 0)
        memcpy(fields->bytes, r->fields.p, r->fields.n);
    digest_t *tags = NULL;
    if (r->tags_n > 0) {
        tags = mem_alloc(r->tags_n * sizeof *tags);
        memcpy(tags, r->tags, r->tags_n * sizeof *tags);
    }
    object_t *o = object_restore(r->digest, r->variant, r->key, r->uri_at, r->uri_len, r->selecting, &r->meta, r->began,
                                 fields, body, tags, r->tags_n);
    free(tags);
    atomic_store_explicit(&o->stamp.mark, r->mark, memory_order_relaxed);
    atomic_store_explicit(&o->stamp.checked_to, r->checked, memory_order_release);
    return o;
}

static uint64_t record_seed(uint64_t id, uint32_t number)
{
    return id * 0x9e3779b97f4a7c15u + number;
}

uint64_t record_sum(span_t payload, uint64_t id, uint32_t number)
{
    return XXH3_64bits_withSeed(payload.p, payload.n, record_seed(id, number));
}

uint64_t record_sum_parts(span_t a, span_t b, uint64_t id, uint32_t number)
{
    XXH3_state_t *s = XXH3_createState();
    CHECK(s != NULL && XXH3_64bits_reset_withSeed(s, record_seed(id, number)) == XXH_OK &&
          XXH3_64bits_update(s, a.p, a.n) == XXH_OK && XXH3_64bits_update(s, b.p, b.n) == XXH_OK);
    uint64_t sum = XXH3_64bits_digest(s);
    XXH3_freeState(s);
    return sum;
}
