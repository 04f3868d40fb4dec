/* A slice: some pieces of a large response that are missing on disk, asked for together by Range with If-Range. Only
 * bytes of the same representation are taken (the strong validator and the length of the whole agree, and Content-Range
 * says what was asked for); a server that ignores Range and sends the same whole is taken at its word, and then all of
 * it goes to disk. Anything else is another version, and what is stored of the old one is dropped. */
#include <stdlib.h>

#include "edge/fetch/fetch_priv.h"
#include "edge/policy/part.h"
#include "edge/policy/revalidate.h"
#include "edge/store/piece.h"

/* Which bytes of the whole that the pieces belong to the body of a response is; false: it is none of it. */
static bool fetch_slice_fits(const fetch_t *f, int status, const fields_t *fields, int64_t content_length,
                             range_t *bytes)
{
    const object_t *head = fetch_pieces_of(f);
    stored_t came = {.status = status}, whole = object_meta(head);
    if (!revalidate_same_bytes(object_fields(head), fields))
        return false;
    *bytes = f->spec.slice;
    if (status == 206)
        return part_describe(&came, fields, content_length) && part_fits(&came, &whole) &&
               (uint64_t)came.part_first == bytes->first && (uint64_t)content_length == bytes->last - bytes->first + 1;
    *bytes = (range_t){0, (uint64_t)whole.content_length - 1};
    return status == 200 && content_length == whole.content_length;
}

/* Does that answer say that what is stored is no more? Not if the server can't answer just now. */
static bool fetch_slice_disowned(int status)
{
    return status < 500 && status != 429;
}

fetch_fill_verdict_t fetch_slice_head(fetch_t *f, int status, const fields_t *fields, int64_t content_length)
{
    object_t *head = atomic_load_explicit(&f->slice.of, memory_order_relaxed);
    fetch_response_t *r = &f->response;
    range_t bytes;
    if (!fetch_slice_fits(f, status, fields, content_length, &bytes)) {
        f->slice.disowned = fetch_slice_disowned(status);
        if (f->slice.disowned)
            store_remove(f->deps->store, head);
        return FETCH_FILL_NOT_IT;
    }
    stored_t meta = object_meta(head);
    meta.flags &= ~(uint32_t)STORED_PIECES;
    r->object = object_new(&f->key, object_selecting(head), &meta, f->object_began,
                           fieldblock_copy(object_fields(head)), body_new(-1), object_tags(head), head->tags_n);
    r->sharable = true;
    f->expected = content_length;
    fetch_pieces_begin_at(f, bytes);
    atomic_store_explicit(&f->windowed, true, memory_order_seq_cst); /* what was cut isn't needed any more */
    return FETCH_FILL_OK;
}

/* ---- the first slice of something ---- */

bool fetch_slice_found(const fetch_t *f, const stored_t *meta, const fields_t *fields, int64_t content_length)
{
    range_t asked = f->spec.slice;
    uint64_t whole = (uint64_t)meta->content_length, end = asked.last < whole ? asked.last + 1 : whole;
    fieldblock_t *block;
    if (asked.last == 0 || whole <= f->deps->max_object || f->deps->warm == NULL || f->deps->stopping ||
        (meta->flags & STORED_PART_ALONE) != 0 || (uint64_t)meta->part_first != asked.first ||
        (uint64_t)content_length != end - asked.first || fieldblock_pack(fields, &block) != ERR_OK)
        return false;
    bool strong = revalidate_strong(block).p != NULL;
    free(block);
    return strong;
}

void fetch_slice_begin(fetch_t *f)
{
    fetch_response_t *r = &f->response;
    uint64_t whole = (uint64_t)object_meta(r->object).content_length;
    range_t bytes = {f->spec.slice.first, f->spec.slice.last < whole ? f->spec.slice.last : whole - 1};
    fetch_pieces_announce(f, whole, bytes);
    r->sharable = r->sliced = true;
    fetch_pieces_begin_at(f, bytes);
    atomic_store_explicit(&f->windowed, true, memory_order_seq_cst);
}
