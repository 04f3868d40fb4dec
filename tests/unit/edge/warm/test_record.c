/* What is written comes back as it was, and nothing else comes back at all. */
#include <criterion/criterion.h>

#include "edge/policy/reuse.h"
#include "edge/warm/record.h"
#include "tests/unit/edge/store/make.h"

static char *pack(const object_t *o, size_t *n)
{
    cr_assert_eq(record_head_size(o, n), ERR_OK);
    char *bytes = mem_alloc(*n);
    record_pack(o, MARK_SOFT, 8, bytes, *n);
    return bytes;
}

static const stored_t odd = {.status = 203,
                             .flags = 0x1fff,
                             .date = 3,
                             .request_time = 4,
                             .response_time = 5,
                             .initial_age = 6,
                             .lifetime = 7,
                             .stale_while_revalidate = 8,
                             .stale_if_error = 9,
                             .last_modified = 10,
                             .content_length = 1000};

static object_t *with_fields(uint64_t n)
{
    arena_t a;
    arena_init(&a, 0);
    fields_t f;
    fields_init(&f, &a);
    cr_assert_eq(fields_add(&f, SPAN("content-type"), SPAN("text/html")), ERR_OK);
    cr_assert_eq(fields_add(&f, SPAN("etag"), SPAN("\"abc\"")), ERR_OK);
    cr_assert_eq(fields_add(&f, SPAN("x-empty"), SPAN("")), ERR_OK);
    fieldblock_t *block;
    cr_assert_eq(fieldblock_pack(&f, &block), ERR_OK);
    arena_release(&a);
    object_t *o = make_object_full(n, 9, 3, 1000);
    object_t *with = object_restore(o->digest, 9, object_key(o), o->uri_at, o->uri_len, object_selecting(o), &odd, 3,
                                    block, object_share_body(o), object_tags(o), o->tags_n);
    object_unref(o);
    return with;
}

Test(record, everything_of_a_response_comes_back)
{
    for (uint64_t n = 0; n < 3; n++) {
        object_t *o = with_fields(n);
        size_t size;
        char *bytes = pack(o, &size);
        record_t r;
        cr_assert_eq(record_parse(span_of(bytes, size), &r), ERR_OK);
        cr_assert_eq(r.body_size, 1000);
        cr_assert_eq(r.head_size, size);
        object_t *back = record_object(&r, object_share_body(o));
        cr_assert(make_verify(back, n));
        stored_t meta = object_meta(back);
        cr_assert_eq(memcmp(&meta, &odd, sizeof meta), 0);
        cr_assert_eq(object_variant(back), 9);
        cr_assert(span_eq(object_selecting(back), SPAN("v9")));
        cr_assert(span_eq(object_uri(back), object_uri(o)));
        cr_assert_eq(object_fields(back)->count, 3);
        cr_assert(span_eq(fieldblock_get(object_fields(back), SPAN("etag")), SPAN("\"abc\"")));
        cr_assert_eq(atomic_load(&back->stamp.mark), MARK_SOFT);
        cr_assert_eq(back->stamp.began, o->stamp.began);
        cr_assert_eq(atomic_load(&back->stamp.checked_to), 8, "and what the mark holds for");
        object_unref(back);
        object_unref(o);
        free(bytes);
    }
}

Test(record, no_changed_bit_passes)
{
    object_t *o = with_fields(2);
    size_t size;
    char *bytes = pack(o, &size);
    record_t r;
    for (size_t i = 0; i < size; i++)
        for (int bit = 0; bit < 8; bit++) {
            bytes[i] ^= (char)(1 << bit);
            cr_assert_eq(record_parse(span_of(bytes, size), &r), ERR_CORRUPT, "byte %zu bit %d", i, bit);
            bytes[i] ^= (char)(1 << bit);
        }
    for (size_t n = 0; n < size; n++)
        cr_assert_eq(record_parse(span_of(bytes, n), &r), ERR_CORRUPT, "cut at %zu", n);
    cr_assert_eq(record_parse(span_of(bytes, size), &r), ERR_OK);
    free(bytes);
    object_unref(o);
}

Test(record, a_chunk_in_the_wrong_place_does_not_add_up)
{
    span_t s = SPAN("the same bytes");
    cr_assert_neq(record_sum(s, 1, 0), record_sum(s, 1, 1));
    cr_assert_neq(record_sum(s, 1, 0), record_sum(s, 2, 0));
    cr_assert_eq(record_sum(s, 1, 0), record_sum(s, 1, 0));
}

Test(record, a_sum_of_two_places_is_that_of_the_whole)
{
    static char bytes[100000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)make_mix(i);
    const size_t sizes[] = {0, 1, 200, 240, 241, 1000, 5000, sizeof bytes};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (size_t at = 0; at <= sizes[i]; at += at < 300 ? 7 : 1009)
            cr_assert_eq(
                record_sum_parts(span_of(bytes, at), span_of(bytes + at, sizes[i] - at), 77, 3),
                record_sum(span_of(bytes, sizes[i]), 77, 3), "%zu of %zu", at, sizes[i]);
}

Test(record, a_head_over_the_ceiling_is_refused)
{
    static const digest_t tags[RECORD_MAX_TAGS + 1];
    for (size_t n = RECORD_MAX_TAGS; n <= RECORD_MAX_TAGS + 1; n++) {
        size_t size;
        object_t *o = object_restore(make_digest(1), 0, SPAN("http://host/"), 7, 5, SPAN_NONE, &odd, 1,
                                     mem_zalloc(sizeof(fieldblock_t)), body_new(0), tags, n);
        cr_assert_eq(record_head_size(o, &size), n == RECORD_MAX_TAGS ? ERR_OK : ERR_TOO_BIG);
        object_unref(o);
    }
}

/* A record holds whole responses: a part that came back would be taken for one. */
Test(record, a_part_is_none)
{
    object_t *o = make_object(1, 100);
    stored_t meta = object_meta(o);
    meta.flags |= STORED_PART;
    fieldblock_t *none = mem_zalloc(sizeof *none);
    object_t *part = object_restore(o->digest, 7, object_key(o), o->uri_at, o->uri_len, SPAN_NONE, &meta, 1, none,
                                    object_share_body(o), NULL, 0);
    size_t n;
    char *bytes = pack(part, &n);
    record_t r;
    cr_expect_eq(record_parse(span_of(bytes, n), &r), ERR_CORRUPT);
    free(bytes);
    object_unref(part);
    object_unref(o);
}

Test(record, chunks_are_counted)
{
    cr_assert_eq(record_chunks(1), 1);
    cr_assert_eq(record_chunks(RECORD_PAYLOAD), 1);
    cr_assert_eq(record_chunks(RECORD_PAYLOAD + 1), 2);
}

Test(record, what_is_known_since_is_put_into_the_head)
{
    object_t *o = with_fields(2);
    size_t size;
    char *bytes = pack(o, &size);
    record_t r, again;
    cr_assert_eq(record_parse(span_of(bytes, size), &r), ERR_OK);
    record_restamp(bytes, &r, MARK_STRICT, 77);
    cr_assert_eq(record_parse(span_of(bytes, size), &again), ERR_OK);
    cr_assert_eq(again.mark, MARK_STRICT);
    cr_assert_eq(again.checked, 77);
    cr_assert_eq(again.began, r.began);
    cr_assert(span_eq(again.fields, r.fields));
    record_restamp(bytes, &r, MARK_STRICT, r.began - 1); /* nobody can have checked it before it began */
    cr_assert_eq(record_parse(span_of(bytes, size), &again), ERR_CORRUPT);
    free(bytes);
    object_unref(o);
}
