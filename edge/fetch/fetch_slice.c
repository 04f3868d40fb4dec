/* A slice: some pieces of a large response that are missing on disk, asked for together by Range with If-Range. Only
 * bytes of the same representation are taken (the strong validator and the length of the whole agree, and Content-Range
 * says what was asked for); a server that ignores Range and sends the same whole is taken at its word, and then all of
 * it goes to disk. Anything else is another version, and what is stored of the old one is dropped. */
#include "edge/fetch/fetch_priv.h"
#include "edge/policy/part.h"
#include "edge/policy/revalidate.h"

/* Where the body of a response begins within the whole that the pieces belong to; false: it doesn't belong there. */
static bool fetch_slice_fits(const fetch_t *f, int status, const fields_t *fields, int64_t content_length,
                             uint64_t *place)
{
    const object_t *head = f->spec.pieces;
    stored_t came = {.status = status}, whole = object_meta(head);
    if (!revalidate_same_bytes(object_fields(head), fields))
        return false;
    *place = f->spec.slice.first;
    if (status == 206)
        return part_describe(&came, fields, content_length) && part_fits(&came, &whole) &&
               (uint64_t)came.part_first == *place &&
               (uint64_t)content_length == f->spec.slice.last - f->spec.slice.first + 1;
    *place = 0;
    return status == 200 && content_length == whole.content_length;
}

/* Does that answer say that what is stored is no more? */
static bool fetch_slice_disowned(int status)
{
    return status == 200 || status == 206 || status == 404 || status == 410 || status == 412 || status == 416;
}

fetch_fill_verdict_t fetch_slice_head(fetch_t *f, int status, const fields_t *fields, int64_t content_length)
{
    object_t *head = f->spec.pieces;
    fetch_response_t *r = &f->response;
    uint64_t place;
    if (!fetch_slice_fits(f, status, fields, content_length, &place)) {
        if (fetch_slice_disowned(status))
            store_remove(f->deps->store, head);
        return FETCH_FILL_NOT_IT;
    }
    stored_t meta = object_meta(head);
    meta.flags &= ~(uint32_t)STORED_PIECES;
    r->object = object_new(&f->key, object_selecting(head), &meta, f->object_began,
                           fieldblock_copy(object_fields(head)), body_new(-1), object_tags(head), head->tags_n);
    r->sharable = true;
    f->expected = content_length;
    fetch_pieces_begin_at(f, head, place);
    atomic_store_explicit(&f->windowed, true, memory_order_seq_cst); /* what was cut isn't needed any more */
    return FETCH_FILL_OK;
}
